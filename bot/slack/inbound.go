package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	slackgo "github.com/slack-go/slack"

	"kgent/bot/card"
	"kgent/bot/thread"
)

// The types below are what kgent reads of Slack's payloads and no more. The
// client library's own decoding takes in whole messages, and rejects an event
// because of one block in it that it does not like.

// callback is a delivery of the Events API.
type callback struct {
	Type      string          `json:"type"`
	Challenge string          `json:"challenge"`
	TeamID    string          `json:"team_id"`
	EventID   string          `json:"event_id"`
	EventTime int64           `json:"event_time"`
	Shared    bool            `json:"is_ext_shared_channel"`
	Event     json.RawMessage `json:"event"`
}

// message is an event about a message, or app_home_opened.
type message struct {
	Type        string          `json:"type"`
	Subtype     string          `json:"subtype"`
	User        string          `json:"user"`
	BotID       string          `json:"bot_id"`
	Text        string          `json:"text"`
	TS          string          `json:"ts"`
	ThreadTS    string          `json:"thread_ts"`
	Channel     string          `json:"channel"`
	ChannelType string          `json:"channel_type"`
	Team        string          `json:"team"`
	UserTeam    string          `json:"user_team"`
	SourceTeam  string          `json:"source_team"`
	Edited      json.RawMessage `json:"edited"`
	Hidden      bool            `json:"hidden"`
	Tab         string          `json:"tab"`
	Attachments []attachment    `json:"attachments"`
	Files       []sharedFile    `json:"files"`
}

type attachment struct {
	Fallback string `json:"fallback"`
	Title    string `json:"title"`
	Text     string `json:"text"`
}

// command is a slash command.
type command struct {
	TeamID      string `json:"team_id"`
	ChannelID   string `json:"channel_id"`
	UserID      string `json:"user_id"`
	UserName    string `json:"user_name"`
	Command     string `json:"command"`
	Text        string `json:"text"`
	TriggerID   string `json:"trigger_id"`
	ResponseURL string `json:"response_url"`
}

// interaction is a pressed button, a sent form or a message's shortcut.
type interaction struct {
	Type       string `json:"type"`
	CallbackID string `json:"callback_id"`
	TriggerID  string `json:"trigger_id"`
	ActionTS   string `json:"action_ts"`
	Response   string `json:"response_url"`
	Team       struct {
		ID string `json:"id"`
	} `json:"team"`
	User struct {
		ID       string `json:"id"`
		TeamID   string `json:"team_id"`
		Username string `json:"username"`
		Name     string `json:"name"`
	} `json:"user"`
	Channel struct {
		ID string `json:"id"`
	} `json:"channel"`
	Container struct {
		Type      string `json:"type"`
		MessageTS string `json:"message_ts"`
		ThreadTS  string `json:"thread_ts"`
		ChannelID string `json:"channel_id"`
		ViewID    string `json:"view_id"`
	} `json:"container"`
	Message   message `json:"message"`
	MessageTS string  `json:"message_ts"`
	Actions   []struct {
		ActionID string `json:"action_id"`
		Value    string `json:"value"`
		ActionTS string `json:"action_ts"`
	} `json:"actions"`
	View struct {
		ID              string `json:"id"`
		Type            string `json:"type"`
		Hash            string `json:"hash"`
		CallbackID      string `json:"callback_id"`
		PrivateMetadata string `json:"private_metadata"`
		State           struct {
			Values map[string]map[string]struct {
				Value string `json:"value"`
			} `json:"values"`
		} `json:"state"`
	} `json:"view"`
}

// shortcutCallback is the callback id of the message shortcut "Trace this".
const shortcutCallback = "kgent_trace"

// inbound is an event, and the trigger with which a form can be opened for it.
type inbound struct {
	event   thread.Event
	trigger string
	shared  bool // people of other workspaces are in the channel
}

// decode makes an event of a delivery: kind is "events_api", "interactive" or
// "slash_commands", as in Socket Mode. It returns nil for what is nothing to
// kgent, and an error for what it cannot read.
func (a *Adapter) decode(me self, kind string, payload []byte) (*inbound, error) {
	var err error
	switch kind {
	case "events_api":
		var c callback
		if err = json.Unmarshal(payload, &c); err == nil {
			return a.event(me, c)
		}
	case "interactive":
		var i interaction
		if err = json.Unmarshal(payload, &i); err == nil {
			return a.interaction(me, i)
		}
	case "slash_commands":
		var c command
		if err = json.Unmarshal(payload, &c); err == nil {
			return a.command(me, c)
		}
	default:
		return nil, nil
	}
	return nil, fmt.Errorf("reading %s of Slack: %w", kind, err)
}

func (a *Adapter) event(me self, c callback) (*inbound, error) {
	if c.Type != "event_callback" {
		return nil, nil
	}
	var m message
	if err := json.Unmarshal(c.Event, &m); err != nil {
		return nil, fmt.Errorf("reading event of Slack: %w", err)
	}
	tenant := or(c.TeamID, me.Team)
	e := thread.Event{
		Key:   surface + ":" + c.EventID,
		By:    thread.Account{Surface: surface, Tenant: or(m.UserTeam, or(m.SourceTeam, or(m.Team, tenant))), User: m.User},
		Place: thread.Place{Surface: surface, Tenant: tenant, Channel: m.Channel, Thread: or(m.ThreadTS, m.TS)},
		At:    a.at(m.TS),
	}
	switch {
	case m.User == "" || m.User == me.User || m.BotID != "" || m.User == "USLACKBOT":
		return nil, nil // bots, workflows and kgent itself
	case m.Type == "app_home_opened":
		if m.Tab != "" && m.Tab != "home" {
			return nil, nil
		}
		e.Kind = thread.Home
		e.Place = thread.Place{Surface: surface, Tenant: tenant, Home: m.User}
		if c.EventTime > 0 {
			e.At = time.Unix(c.EventTime, 0)
		}
	case m.TS == "" || m.Channel == "" || m.Hidden || edited(m.Edited) || !said(m.Subtype):
		return nil, nil
	case m.Type == "app_mention":
		e.Kind = thread.Ask
	case m.Type != "message":
		return nil, nil
	case m.ChannelType == "im":
		e.Kind = thread.Ask
	case m.ThreadTS == "" || m.ThreadTS == m.TS || mentions(m.Text, me.User):
		return nil, nil // not in a thread, or it comes as app_mention too
	default:
		e.Kind = thread.Reply
	}
	if e.Kind != thread.Home {
		e.Message, e.Text, e.Files = m.TS, words(m.Text, me.User), attachedTo(m)
		if e.Kind == thread.Reply && e.Text == "" {
			return nil, nil // a file without a word
		}
	}
	if c.EventID == "" {
		return nil, errors.New("reading event of Slack: it has no event_id")
	}
	return &inbound{event: e, shared: c.Shared}, nil
}

// edited reports whether a message is delivered because it was edited: what it
// asked for was asked for when it was written.
func edited(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// said reports whether a message of a subtype is what a person said.
func said(subtype string) bool {
	return subtype == "" || subtype == "file_share" || subtype == "thread_broadcast"
}

func (a *Adapter) command(me self, c command) (*inbound, error) {
	if c.UserID == "" || c.TriggerID == "" || c.ChannelID == "" {
		return nil, errors.New("reading slash command of Slack: it names no user, channel or trigger")
	}
	tenant := or(c.TeamID, me.Team)
	return &inbound{event: thread.Event{
		Key: surface + ":" + c.TriggerID, Kind: thread.Ask,
		By:       thread.Account{Surface: surface, Tenant: tenant, User: c.UserID, Name: c.UserName},
		Place:    thread.Place{Surface: surface, Tenant: tenant, Channel: c.ChannelID},
		Text:     words(c.Text, me.User),
		Rootless: true, Reply: a.hook(c.ResponseURL), At: a.now(),
	}}, nil
}

func (a *Adapter) interaction(me self, i interaction) (*inbound, error) {
	if i.User.ID == "" {
		return nil, errors.New("reading interaction of Slack: it names no user")
	}
	tenant := or(i.Team.ID, me.Team)
	by := thread.Account{Surface: surface, Tenant: or(i.User.TeamID, tenant), User: i.User.ID, Name: or(i.User.Username, i.User.Name)}
	e := thread.Event{By: by, At: a.now()}
	switch i.Type {
	case "block_actions":
		return a.click(e, tenant, i)
	case "view_submission":
		if i.View.CallbackID != formCallback {
			return nil, nil
		}
		return a.submission(e, i)
	case "message_action":
		if i.CallbackID != shortcutCallback {
			return nil, nil
		}
		m := i.Message
		ts := or(m.TS, i.MessageTS)
		if ts == "" || i.Channel.ID == "" {
			return nil, errors.New("reading shortcut of Slack: it names no message")
		}
		e.Key = key(tenant, i.Channel.ID, ts, i.ActionTS, by.User)
		e.Kind, e.Message, e.At = thread.Ask, ts, a.at(i.ActionTS)
		e.Place = thread.Place{Surface: surface, Tenant: tenant, Channel: i.Channel.ID, Thread: or(m.ThreadTS, ts)}
		e.Text, e.Reply, e.Files = words(contents(m), me.User), a.hook(i.Response), attachedTo(m)
		return &inbound{event: e}, nil
	}
	return nil, nil
}

// contents is a message's text, or that of its attachments: alerts mostly
// have nothing else.
func contents(m message) string {
	if strings.TrimSpace(m.Text) != "" {
		return m.Text
	}
	var parts []string
	for _, at := range m.Attachments {
		if at.Title == "" && at.Text == "" {
			at.Title = at.Fallback
		}
		for _, s := range []string{at.Title, at.Text} {
			if s != "" {
				parts = append(parts, s)
			}
		}
	}
	return strings.Join(parts, "\n")
}

func (a *Adapter) click(e thread.Event, tenant string, i interaction) (*inbound, error) {
	for _, act := range i.Actions {
		v, ours := pressed(act.ActionID)
		if !ours {
			continue
		}
		e.Kind, e.Verb, e.ID = thread.Click, v, act.Value
		e.At, e.Reply = a.at(act.ActionTS), a.hook(i.Response)
		channel, ts := or(i.Container.ChannelID, i.Channel.ID), or(i.Container.MessageTS, i.Message.TS)
		switch {
		case channel != "" && ts != "":
			e.Key = key(tenant, channel, ts, act.ActionTS, e.By.User)
			e.Message = ts
			e.Place = thread.Place{Surface: surface, Tenant: tenant, Channel: channel,
				Thread: or(i.Container.ThreadTS, or(i.Message.ThreadTS, ts))}
		case i.View.Type == "home":
			e.Key = key(tenant, i.View.ID, act.ActionTS, e.By.User)
			e.Place = thread.Place{Surface: surface, Tenant: tenant, Home: e.By.User}
		default:
			return nil, errors.New("reading click of Slack: it is neither on a message nor on a home page")
		}
		if act.ActionTS == "" {
			return nil, errors.New("reading click of Slack: it has no time, so a second delivery could not be told from a second click")
		}
		return &inbound{event: e, trigger: i.TriggerID}, nil
	}
	return nil, nil
}

func (a *Adapter) submission(e thread.Event, i interaction) (*inbound, error) {
	var o origin
	if err := json.Unmarshal([]byte(i.View.PrivateMetadata), &o); err != nil {
		return nil, fmt.Errorf("reading form of Slack: where it was opened: %w", err)
	}
	if !verb(o.Verb) || i.View.ID == "" {
		return nil, errors.New("reading form of Slack: it has no verb or id")
	}
	e.Key = key(i.View.ID, i.View.Hash)
	e.Kind, e.Verb, e.ID, e.Message = thread.Submit, o.Verb, o.ID, o.Message
	e.Place = thread.Place{Surface: surface, Tenant: o.Tenant, Channel: o.Channel, Thread: o.Thread, Home: o.Home}
	e.Fields = map[string]string{}
	for name, block := range i.View.State.Values {
		if in, ok := block[name]; ok {
			e.Fields[name] = in.Value
		}
	}
	return &inbound{event: e}, nil
}

// key names an interaction as every delivery of it does.
func key(parts ...string) string { return surface + ":" + strings.Join(parts, ":") }

// at is the time in a message's id.
func (a *Adapter) at(ts string) time.Time {
	sec, frac, _ := strings.Cut(ts, ".")
	s, err := strconv.ParseInt(sec, 10, 64)
	if err != nil || s <= 0 || s > 1<<40 {
		return a.now()
	}
	micro, err := strconv.ParseInt(frac, 10, 64)
	if err != nil || len(frac) != 6 || micro < 0 {
		micro = 0
	}
	return time.Unix(s, micro*1000)
}

// hook returns a response URL if it is one of Slack's, which it always is
// unless somebody else has a say in what is delivered.
func (a *Adapter) hook(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return ""
	}
	if api, err := url.Parse(a.cfg.APIURL); err == nil && a.cfg.APIURL != slackgo.APIURL && u.Scheme == api.Scheme && u.Host == api.Host {
		return raw
	}
	if u.Scheme == "https" && (u.Host == "hooks.slack.com" || u.Host == "hooks.slack-gov.com") {
		return raw
	}
	return ""
}

// handleTime is how long an event may take until it is acknowledged: Slack
// waits 3 s, and part of that is the way.
const handleTime = 2500 * time.Millisecond

// sharedTime is how long it is remembered that a channel was shared.
const sharedTime = 24 * time.Hour

// nameTime bounds the question for a display name, which is only for looks.
const nameTime = 400 * time.Millisecond

// formErrors is the answer to a form that is not taken: it stays open.
type formErrors struct {
	Action string            `json:"response_action"`
	Errors map[string]string `json:"errors"`
}

// handle gives a delivery to the conversation. Slack may be told that it was
// received, with the answer if there is one, if the error is nil.
func (a *Adapter) handle(ctx context.Context, front thread.Front, kind string, payload []byte) (answer any, err error) {
	ctx, cancel := context.WithTimeout(ctx, handleTime)
	defer cancel()
	me, err := a.self(ctx)
	if err != nil {
		return nil, err
	}
	in, err := a.decode(me, kind, payload)
	if err != nil {
		// Delivered again, it would be no better. The text may hold anything, so
		// only its size is logged.
		a.log.Error("an event of Slack is left out", "kind", kind, "bytes", len(payload), "err", err)
		return nil, nil
	}
	if in == nil {
		return nil, nil
	}
	if e := in.event; e.Kind == thread.Submit {
		shown := map[string]string{}
		for input, why := range front.Wrong(ctx, e) {
			if _, there := e.Fields[input]; there { // Slack takes errors of its blocks only
				shown[input] = cut(line(why), maxFormError)
			}
		}
		if len(shown) > 0 {
			return formErrors{"errors", shown}, nil
		}
	}
	return nil, a.deliver(ctx, front, *in)
}

// maxFormError is how much of what is wrong with an input is shown below it.
const maxFormError = 150

func (a *Adapter) deliver(ctx context.Context, front thread.Front, in inbound) error {
	e := in.event
	if e.Place.Thread != "" && e.Message != "" && e.Message != e.Place.Thread {
		a.replied(e.Place) // it is itself a reply
	}
	if !a.cfg.SharedChannels && a.isShared(in) {
		if e.Kind != thread.Ask {
			return nil
		}
		return a.answer(ctx, e, card.Card{Title: "Not taken", Tone: card.Bad, Blocks: []card.Block{card.Text{
			Body: "People of another workspace read this channel, and what kgent shows is not for them. Ask in a channel of this workspace, or by direct message."}}})
	}
	if e.Kind != thread.Home {
		e.By.Name = a.name(ctx, e)
	}
	if e.Kind == thread.Click && in.trigger != "" {
		if _, again := a.opened.get(e.Key); again {
			return nil // its form was opened at the first delivery
		}
		form, answer := front.Form(ctx, e)
		switch {
		case form != nil:
			return a.open(ctx, e, in.trigger, *form)
		case answer != nil:
			return a.answer(ctx, e, *answer)
		}
	}
	return front.Receive(ctx, e)
}

// isShared reports whether people of other workspaces are in the channel of
// something said. Only messages say so; of commands and shortcuts it is known
// when there was a message there before, which in such a channel there mostly was.
func (a *Adapter) isShared(in inbound) bool {
	channel := in.event.Place.Channel
	if in.shared {
		a.shared.put(channel, struct{}{})
	}
	_, before := a.shared.get(channel)
	return before && (in.event.Kind == thread.Ask || in.event.Kind == thread.Reply)
}

// open opens a form. Slack lets it be opened within three seconds of the
// click; somebody for whom it came too late is told.
func (a *Adapter) open(ctx context.Context, e thread.Event, trigger string, f card.Form) error {
	view, err := modal(f, origin{Verb: f.Verb, ID: f.ID, Message: e.Message,
		Tenant: e.Place.Tenant, Channel: e.Place.Channel, Thread: e.Place.Thread, Home: e.Place.Home})
	if err != nil {
		return err
	}
	_, err = a.api.OpenViewContext(ctx, trigger, view)
	refusal, refused := errors.AsType[slackgo.SlackErrorResponse](err)
	switch {
	case err == nil, refused && refusal.Err == "exchanged_trigger_id":
		// With an exchanged trigger another delivery of the click has opened it.
		a.opened.put(e.Key, struct{}{})
		return nil
	case refused && (refusal.Err == "expired_trigger_id" || refusal.Err == "trigger_expired"):
		return a.answer(ctx, e, card.Card{Title: "That took too long", Tone: card.Warning,
			Blocks: []card.Block{card.Text{Body: "Slack opens a form only within three seconds of the click. Please press the button again."}}})
	}
	a.log.Error("a form could not be opened", "verb", f.Verb, "err", a.failed(err))
	return a.answer(ctx, e, card.Card{Title: "The form could not be opened", Tone: card.Bad,
		Blocks: []card.Block{card.Text{Body: "Slack did not open it. Please press the button again."}}})
}

// answer shows a card to whoever clicked.
func (a *Adapter) answer(ctx context.Context, e thread.Event, c card.Card) error {
	_, err := a.Post(ctx, thread.Message{Key: e.Key, Place: e.Place, Only: e.By.User, Reply: e.Reply, Card: c, Class: thread.Urgent})
	if err != nil {
		a.log.Error("a click was not answered", "err", err)
	}
	return err
}

// name is what to call whoever did something: nothing is decided by it. For
// replies, most of which are not for kgent, nobody is asked, unless they stop a
// run.
func (a *Adapter) name(ctx context.Context, e thread.Event) string {
	if n, ok := a.names.get(e.By.User); ok {
		return n
	}
	if e.Kind != thread.Reply || strings.EqualFold(strings.Trim(e.Text, " \t\n.!"), "stop") {
		ctx, cancel := context.WithTimeout(ctx, nameTime)
		defer cancel()
		if u, err := a.user(ctx, e.By.User); err == nil {
			return called(u)
		}
	}
	return or(e.By.Name, e.By.User)
}

func called(u *slackgo.User) string {
	return or(u.Profile.DisplayName, or(u.Profile.RealName, or(u.RealName, or(u.Name, u.ID))))
}

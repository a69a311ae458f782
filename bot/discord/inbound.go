package discord

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bwmarrin/discordgo"

	"kgent/bot/card"
	"kgent/bot/thread"
)

// message is what is read of a message. Everything else in it is none of our
// business, and nothing in it makes it unreadable.
type message struct {
	ID         string  `json:"id"`
	ChannelID  string  `json:"channel_id"`
	GuildID    string  `json:"guild_id"`
	Type       int     `json:"type"`
	Author     user    `json:"author"`
	Member     *member `json:"member"`
	WebhookID  string  `json:"webhook_id"`
	Content    string  `json:"content"`
	Mentions   []user  `json:"mentions"`
	Components []shown `json:"components"`
	Embeds     []embed `json:"embeds"`

	Attachments []seenFile `json:"attachments"`
}

type embed struct {
	Title       string `json:"title"`
	Description string `json:"description"`
}

// shown is a component of a message or form that came from Discord.
type shown struct {
	Type       discordgo.ComponentType `json:"type"`
	ID         int                     `json:"id"`
	CustomID   string                  `json:"custom_id"`
	Value      string                  `json:"value"`
	Content    string                  `json:"content"`
	Components []shown                 `json:"components"`
	Component  *shown                  `json:"component"`
}

type channel struct {
	ID       string                `json:"id"`
	Type     discordgo.ChannelType `json:"type"`
	GuildID  string                `json:"guild_id"`
	ParentID string                `json:"parent_id"`
}

func (c channel) isThread() bool {
	switch c.Type {
	case discordgo.ChannelTypeGuildNewsThread, discordgo.ChannelTypeGuildPublicThread, discordgo.ChannelTypeGuildPrivateThread:
		return true
	}
	return false
}

// takesThreads reports whether a message in it can have a thread.
func (c channel) takesThreads() bool {
	return c.Type == discordgo.ChannelTypeGuildText || c.Type == discordgo.ChannelTypeGuildNews
}

// channel returns what is known of a channel. A channel keeps its kind and
// parent.
func (a *Adapter) channel(ctx context.Context, id string) (channel, error) {
	if ch, ok := a.channels.get(id, time.Time{}); ok {
		return ch, nil
	}
	var ch channel
	if err := a.get(ctx, "/channels/"+id, "/channels/"+id, &ch); err != nil {
		return channel{}, gone(notSent(err))
	}
	a.channels.put(id, ch, a.now())
	return ch, nil
}

// place is where an answer to something in a channel goes: its thread if it is
// one, else the thread of the message root.
func place(guild string, ch channel, root string) thread.Place {
	p := thread.Place{Surface: Surface, Tenant: guild, Channel: ch.ID}
	switch {
	case guild == "":
	case ch.isThread():
		p.Channel, p.Thread = ch.ParentID, ch.ID
	case ch.takesThreads():
		p.Thread = root
	}
	return p
}

// Types of messages that people write.
const (
	typeDefault = 0
	typeReply   = 19
)

// concerns reports whether a message can be one for us, as far as it can be
// told without asking anybody.
func (a *Adapter) concerns(m message) bool {
	a.mu.Lock()
	me := a.me
	a.mu.Unlock()
	switch {
	case m.Author.Bot, m.Author.System, m.WebhookID != "", m.Author.ID == "", m.Author.ID == me:
		return false
	case m.Type != typeDefault && m.Type != typeReply, !a.serves(m.GuildID):
		return false
	}
	if m.GuildID == "" || a.addressed(m) {
		return true
	}
	if strings.TrimSpace(m.Content) == "" {
		return false
	}
	ch, ok := a.channels.get(m.ChannelID, time.Time{})
	return !ok || ch.isThread()
}

// addressed reports whether a message is to the bot: it names it, or answers it
// with a ping.
func (a *Adapter) addressed(m message) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range m.Mentions {
		if u.ID == a.me {
			return true
		}
	}
	return mentions(m.Content, a.me)
}

func mentions(content, me string) bool {
	return strings.Contains(content, "<@"+me+">") || strings.Contains(content, "<@!"+me+">")
}

// words are what a message says, without the mention of the bot, and with the
// names of others in place of their ids.
func words(m message, me string) string {
	s := strings.NewReplacer("<@"+me+">", " ", "<@!"+me+">", " ").Replace(m.Content)
	for _, u := range m.Mentions {
		if u.ID != me {
			s = strings.NewReplacer("<@"+u.ID+">", "@"+name(u, nil), "<@!"+u.ID+">", "@"+name(u, nil)).Replace(s)
		}
	}
	return strings.TrimSpace(s)
}

// said hands a message to the conversation. Discord does not send it again, so
// it is tried for a while, and then refused.
func (a *Adapter) said(ctx context.Context, front thread.Front, m message, arrived time.Time) {
	ctx, cancel := context.WithTimeout(ctx, a.retry)
	defer cancel()
	wait := 100 * time.Millisecond
	for {
		err := a.sayOnce(ctx, front, m, arrived)
		if err == nil {
			return
		}
		a.log.Warn("storing a message from Discord", "message", m.ID, "err", err)
		var away *thread.GoneError
		if errors.As(err, &away) {
			return
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, 5*time.Second)
			continue
		case <-ctx.Done():
		}
		break
	}
	a.log.Error("a message from Discord was not taken", "message", m.ID)
	if m.GuildID != "" && !a.addressed(m) {
		return // perhaps none of ours
	}
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	body := compose(card.Card{Tone: card.Bad, Title: "Not taken", Blocks: []card.Block{card.Text{
		Body: "What kgent keeps its work in cannot be reached, so nothing was done about this. Ask again in a minute."}}}, nil, mark{}, flagNoEmbeds)
	body.Nonce, body.EnforceNonce = nonceOf("refused "+m.ID), true
	body.Reference = &reference{MessageID: m.ID}
	at := "/channels/" + m.ChannelID + "/messages"
	if _, err := a.call(ctx, request{method: http.MethodPost, path: at, route: at, body: body, urgent: true}); err != nil {
		a.log.Error("saying that a message was not taken", "message", m.ID, "err", err)
	}
}

// sayOnce returns nil when the message is stored or is not for us.
func (a *Adapter) sayOnce(ctx context.Context, front thread.Front, m message, arrived time.Time) error {
	me, err := a.self(ctx)
	if err != nil {
		return err
	}
	ch := channel{ID: m.ChannelID, Type: discordgo.ChannelTypeDM}
	if m.GuildID != "" {
		if ch, err = a.channel(ctx, m.ChannelID); err != nil {
			return err
		}
	}
	e := thread.Event{
		Key: Surface + ":" + m.ID, Kind: thread.Ask, Message: m.ID, At: arrived,
		By:    thread.Account{Surface: Surface, Tenant: m.GuildID, User: m.Author.ID, Name: name(m.Author, m.Member)},
		Place: place(m.GuildID, ch, m.ID), Text: words(m, me), Files: attachedTo(m),
	}
	switch {
	case m.GuildID == "" || mentions(m.Content, me):
	case ch.isThread():
		e.Kind = thread.Reply
		if e.Text == "" {
			return nil
		}
	case !a.addressed(m):
		return nil
	}
	if m.GuildID == "" {
		e.By.Tenant = a.home(ctx, m.Author.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return front.Receive(ctx, e)
}

// storeTime is how long the conversation has to store an event; it promises a
// second.
const storeTime = 1500 * time.Millisecond

// interaction is what is read of one.
type interaction struct {
	ID            string   `json:"id"`
	ApplicationID string   `json:"application_id"`
	Type          int      `json:"type"`
	Token         string   `json:"token"`
	GuildID       string   `json:"guild_id"`
	ChannelID     string   `json:"channel_id"`
	Channel       *channel `json:"channel"`
	Member        *member  `json:"member"`
	User          *user    `json:"user"`
	Message       *message `json:"message"`
	Data          struct {
		Name     string   `json:"name"`
		Type     int      `json:"type"`
		TargetID string   `json:"target_id"`
		Options  []option `json:"options"`
		Resolved struct {
			Messages map[string]message `json:"messages"`
		} `json:"resolved"`
		CustomID   string  `json:"custom_id"`
		Components []shown `json:"components"`
	} `json:"data"`
}

type option struct {
	Name    string   `json:"name"`
	Type    int      `json:"type"`
	Value   any      `json:"value"`
	Focused bool     `json:"focused"`
	Options []option `json:"options"`
}

// Kinds of interactions.
const (
	kindPing         = 1
	kindCommand      = 2
	kindComponent    = 3
	kindAutocomplete = 4
	kindForm         = 5
)

// answer is the first answer to an interaction.
type answer struct {
	Type int `json:"type"`
	Data any `json:"data,omitempty"`
}

// Kinds of answers.
const (
	answerPong     = 1
	answerMessage  = 4
	answerLater    = 5 // a message follows
	answerTaken    = 6 // the message with the button stays as it is for now
	answerComplete = 8
	answerForm     = 9
)

// tell answers with a card that only this person sees.
func tell(c card.Card) answer {
	return answer{answerMessage, compose(c, nil, mark{}, flagEphemeral)}
}

func tellText(tone card.Tone, text string) answer {
	return tell(card.Card{Tone: tone, Blocks: []card.Block{card.Text{Body: text}}})
}

const notStored = "What kgent keeps its work in cannot be reached: nothing was taken. Try again in a moment."

// answerTime is how long finding the answer to an interaction may take; Discord
// waits three seconds for it to arrive.
const answerTime = 2200 * time.Millisecond

// answerGateway answers an interaction that came over the gateway.
func (a *Adapter) answerGateway(ctx context.Context, front thread.Front, raw []byte, arrived time.Time) {
	var in interaction
	if err := json.Unmarshal(raw, &in); err != nil || !snowflake(in.ID) || in.Token == "" {
		a.log.Error("an interaction from Discord cannot be read", "err", err)
		return
	}
	ans := a.interact(ctx, front, in, arrived)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for {
		_, err := a.call(ctx, request{
			method: http.MethodPost, path: "/interactions/" + in.ID + "/" + in.Token + "/callback", route: "/interactions/" + in.ID,
			body: ans, urgent: true, free: true,
		})
		switch c := code(err); {
		case err == nil:
			return
		case c == codeAnswered, c == codeUnknownInteraction:
			// Answered before (a replay after RESUME), or too late.
			a.log.Info("Discord takes no answer to an interaction any more", "interaction", in.ID, "code", c)
			return
		}
		a.log.Warn("answering an interaction on Discord", "interaction", in.ID, "err", err)
		var said *apiError
		if errors.As(err, &said) {
			return
		}
		// It was stored: an answer that arrives twice does no harm.
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// interact hands an interaction to the conversation and says what to answer.
func (a *Adapter) interact(ctx context.Context, front thread.Front, in interaction, arrived time.Time) answer {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	who := in.User
	if in.Member != nil {
		who = &in.Member.User
	}
	if who == nil || !snowflake(who.ID) {
		return tellText(card.Bad, "Discord did not say who this is.")
	}
	if in.Type == kindAutocomplete {
		if !a.serves(in.GuildID) || who.Bot {
			return choices(nil)
		}
		if in.GuildID == "" {
			in.GuildID = a.home(ctx, who.ID)
		}
		return a.complete(ctx, front, in, thread.Account{Surface: Surface, Tenant: in.GuildID, User: who.ID})
	}
	if !a.serves(in.GuildID) {
		return tellText(card.Warning, "kgent does not serve this server.")
	}
	if who.Bot || who.System {
		return tellText(card.Bad, "Only people may do this.")
	}
	ch := channel{ID: in.ChannelID, Type: discordgo.ChannelTypeDM}
	if in.GuildID != "" {
		if in.Channel != nil && in.Channel.ID == in.ChannelID && (!in.Channel.isThread() || in.Channel.ParentID != "") {
			ch = *in.Channel
		} else {
			var err error
			if ch, err = a.channel(ctx, in.ChannelID); err != nil {
				a.log.Warn("asking Discord about a channel", "err", err)
				return tellText(card.Bad, "Discord does not tell kgent about this channel: nothing was taken. Try again, and if it stays so, give the bot's role the permission View Channel here.")
			}
		}
	}
	e := thread.Event{
		Key: Surface + ":" + in.ID, At: arrived,
		By:    thread.Account{Surface: Surface, Tenant: in.GuildID, User: who.ID, Name: name(*who, in.Member)},
		Reply: reply{in.ApplicationID, in.Token, arrived}.String(),
	}
	if in.GuildID == "" {
		e.By.Tenant = a.home(ctx, who.ID)
	}
	store := func(ok answer) answer {
		ctx, cancel := context.WithTimeout(ctx, storeTime)
		defer cancel()
		if err := front.Receive(ctx, e); err != nil {
			a.log.Warn("storing an interaction from Discord", "interaction", in.ID, "err", err)
			return tellText(card.Bad, notStored)
		}
		return ok
	}

	switch in.Type {
	case kindCommand:
		e.Kind = thread.Ask
		if in.Data.Type == int(discordgo.MessageApplicationCommand) {
			target, ok := in.Data.Resolved.Messages[in.Data.TargetID]
			if !ok {
				return tellText(card.Bad, "Discord did not say which message this is about.")
			}
			e.Message, e.Place, e.Text = target.ID, place(in.GuildID, ch, target.ID), a.textOf(target)
			if e.Text == "" {
				return tellText(card.Warning, "This message has no text to trace. Say what you want to know with /kgent ask.")
			}
			return store(tellText(card.Working, "On it: the answer comes in the message's thread."))
		}
		text, asks, ok := commandText(in.Data.Name, in.Data.Options)
		if !ok {
			return tellText(card.Warning, "kgent has no such command any more. Try /kgent help.")
		}
		e.Text, e.Place = text, place(in.GuildID, ch, "")
		// A thread and a direct message are places to answer in; a channel needs
		// a message first.
		e.Rootless = in.GuildID != "" && e.Place.Thread == ""
		if !asks {
			return store(answer{answerLater, map[string]any{"flags": flagEphemeral}})
		}
		where := "here"
		if e.Rootless && ch.takesThreads() {
			where = "in a thread in this channel"
		}
		return store(tellText(card.Working, "On it: the answer comes "+where+"."))

	case kindComponent, kindForm:
		verb, id, ok := strings.Cut(in.Data.CustomID, ":")
		if !ok || verb == "" {
			return tellText(card.Warning, "This is not one of kgent's buttons.")
		}
		e.Verb, e.ID = verb, id
		root := ""
		if in.Message != nil {
			e.Message, root = in.Message.ID, in.Message.ID
		}
		e.Place = place(in.GuildID, ch, root)
		if in.Type == kindForm {
			e.Kind, e.Fields = thread.Submit, map[string]string{}
			collect(in.Data.Components, e.Fields)
			if in.Message == nil {
				return store(tellText(card.Working, "Taken."))
			}
			return store(answer{Type: answerTaken})
		}
		e.Kind = thread.Click
		form, refusal := front.Form(ctx, e)
		switch {
		case form != nil:
			return answer{answerForm, renderForm(*form)}
		case refusal != nil:
			return tell(*refusal)
		}
		return store(answer{Type: answerTaken})
	}
	return tellText(card.Warning, "This kgent does not know what that was.")
}

// collect reads what was filled in, however Discord wraps it.
func collect(cs []shown, into map[string]string) {
	for _, c := range cs {
		if c.CustomID != "" {
			into[c.CustomID] = c.Value
		}
		collect(c.Components, into)
		if c.Component != nil {
			collect([]shown{*c.Component}, into)
		}
	}
}

// maxTarget is how much is read of a message that "Trace this" is used on.
const maxTarget = 2000

// textOf is what a message says to people, however it says it: alerts often
// come as embeds or components.
func (a *Adapter) textOf(m message) string {
	a.mu.Lock()
	me := a.me
	a.mu.Unlock()
	parts := []string{words(m, me)}
	for _, e := range m.Embeds {
		parts = append(parts, e.Title, e.Description)
	}
	var walk func([]shown)
	walk = func(cs []shown) {
		for _, c := range cs {
			parts = append(parts, c.Content)
			walk(c.Components)
		}
	}
	walk(m.Components)
	var out []string
	for _, p := range parts {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return clip(strings.Join(out, "\n"), maxTarget)
}

package slackd

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// User is somebody who acts: what they do is what a person can do in Slack's
// own client, no more.
type User struct {
	s  *Server
	ID string
}

// User returns the account with that id.
func (s *Server) User(id string) *User { return &User{s: s, ID: id} }

// errNo is a refusal of Slack's client itself; the app hears nothing of it.
func errNo(format string, args ...any) error {
	return fmt.Errorf("slack: "+format, args...)
}

// may checks that the user can write in a channel.
func (u *User) may(channel string) (*Channel, error) {
	p := u.s.users[u.ID]
	c := u.s.channels[channel]
	switch {
	case p == nil:
		return nil, errNo("no user %s", u.ID)
	case p.Deactivated:
		return nil, errNo("%s is deactivated", p.Name)
	case c == nil:
		return nil, errNo("no channel %s", channel)
	case c.Archived:
		return nil, errNo("#%s is archived", c.Name)
	case !slices.Contains(c.Members, u.ID):
		return nil, errNo("%s is not in #%s", p.Name, c.Name)
	}
	return c, nil
}

// Upload is a file that somebody sends with a message.
type Upload struct {
	Name string
	Data []byte
}

// PostFiles writes in a channel, or in a thread of it, with files. Text may be empty, as with
// a file that is dropped into a channel.
func (u *User) PostFiles(channel, thread, text string, files ...Upload) (Message, error) {
	u.s.mu.Lock()
	var attached []File
	for _, f := range files {
		if len(f.Data) > maxUpload {
			u.s.mu.Unlock()
			return Message{}, errNo("%s is too large", f.Name)
		}
		kind, _, _ := strings.Cut(mime.TypeByExtension(path.Ext(f.Name)), ";")
		if kind == "" {
			kind = "text/plain"
		}
		stored := &storedFile{File: File{ID: u.s.id("F"), Name: f.Name, Title: f.Name, User: u.ID, Size: len(f.Data), MIME: kind},
			data: slices.Clone(f.Data), uploaded: true, at: u.s.now(), shared: map[string][]string{}}
		u.s.files[stored.ID] = stored
		attached = append(attached, stored.File)
	}
	u.s.mu.Unlock()
	m, err := u.send(channel, thread, text, false, attached)
	if err != nil {
		return m, err
	}
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	for _, f := range attached {
		u.s.files[f.ID].shared[m.Channel] = append(u.s.files[f.ID].shared[m.Channel], m.TS)
	}
	return m, nil
}

func (u *User) post(channel, thread, text string, broadcast bool) (Message, error) {
	return u.send(channel, thread, text, broadcast, nil)
}

func (u *User) send(channel, thread, text string, broadcast bool, files []File) (Message, error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	c, err := u.may(channel)
	if err != nil {
		return Message{}, err
	}
	if text == "" && len(files) == 0 {
		return Message{}, errNo("an empty message cannot be sent")
	}
	if thread != "" {
		root := u.s.live(c.ID, thread)
		if root == nil {
			return Message{}, errNo("the thread is gone")
		}
		if root.ThreadTS != "" {
			thread = root.ThreadTS
		}
	}
	m := &Message{Channel: c.ID, ThreadTS: thread, User: u.ID, Text: text, Broadcast: broadcast, Blocks: typedText(u.s.id(""), text), Files: files}
	if u.s.users[u.ID].Bot {
		m.BotID = "B" + strings.TrimPrefix(u.ID, "U")
	}
	u.s.add(m)
	return *m, nil
}

// Post writes in a channel. Text is in Slack's own form: <@U…> mentions, and
// "&", "<" and ">" that mean themselves are written &amp;, &lt; and &gt;.
func (u *User) Post(channel, text string) (Message, error) { return u.post(channel, "", text, false) }

// Mention writes in a channel and mentions the bot first.
func (u *User) Mention(channel, text string) (Message, error) {
	return u.post(channel, "", u.s.At()+" "+text, false)
}

// At is what mentions the bot in a text.
func (s *Server) At() string { return "<@" + s.cfg.BotUser + ">" }

// Reply writes in the thread that m is in, or begins one below m.
func (u *User) Reply(m Message, text string) (Message, error) {
	return u.post(m.Channel, m.TS, text, false)
}

// DM writes to the bot directly.
func (u *User) DM(text string) (Message, error) {
	u.s.mu.Lock()
	if u.s.users[u.ID] == nil {
		u.s.mu.Unlock()
		return Message{}, errNo("no user %s", u.ID)
	}
	c := u.s.im(u.ID)
	u.s.mu.Unlock()
	return u.post(c.ID, "", text, false)
}

// own finds a message that the user may edit or delete.
func (u *User) own(m Message) (*Message, error) {
	if _, err := u.may(m.Channel); err != nil {
		return nil, err
	}
	live := u.s.live(m.Channel, m.TS)
	admin := u.s.users[u.ID].Admin
	switch {
	case live == nil:
		return nil, errNo("the message is gone")
	case live.User != u.ID && !admin:
		return nil, errNo("only the author can do that")
	}
	return live, nil
}

// Edit changes an own message.
func (u *User) Edit(m Message, text string) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	live, err := u.own(m)
	if err != nil {
		return err
	}
	if live.User != u.ID {
		return errNo("only the author can do that")
	}
	u.s.change(live, func(m *Message) {
		m.Text, m.Blocks = text, typedText(u.s.id(""), text)
	})
	return nil
}

// Delete deletes an own message; an administrator may delete anybody's.
func (u *User) Delete(m Message) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	live, err := u.own(m)
	if err != nil {
		return err
	}
	u.s.remove(live)
	return nil
}

// React puts an emoji on a message.
func (u *User) React(m Message, name string) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if _, err := u.may(m.Channel); err != nil {
		return err
	}
	live := u.s.live(m.Channel, m.TS)
	if live == nil {
		return errNo("the message is gone")
	}
	u.s.react(live, u.ID, name)
	return nil
}

// Invite adds somebody, such as the bot, to a channel.
func (u *User) Invite(channel, user string) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	c, err := u.may(channel)
	if err != nil {
		return err
	}
	if u.s.users[user] == nil {
		return errNo("no user %s", user)
	}
	if slices.Contains(c.Members, user) {
		return nil
	}
	c.Members = append(c.Members, user)
	if u.s.hears(c, "member_joined_channel") {
		u.s.tell(c, map[string]any{"type": "member_joined_channel", "user": user, "channel": c.ID, "channel_type": "C", "team": u.s.cfg.Team.ID,
			"inviter": u.ID, "event_ts": u.s.nextTS()})
	}
	u.s.touch()
	return nil
}

// element is an interactive element of a block.
type element map[string]any

func (e element) word(name string) string {
	t, _ := e[name].(string)
	return t
}

// separator is between a block id and an action id.
const separator = "\x1f"

// In names an element by its block too, wherever an action id is asked for:
// several blocks may have elements with the same one.
func In(block, action string) string { return block + separator + action }

// find looks for the interactive element with an action id; of several, the
// first.
func find(blocks json.RawMessage, action string) (block string, e element, ok bool) {
	var list []struct {
		ID        string    `json:"block_id"`
		Accessory element   `json:"accessory"`
		Elements  []element `json:"elements"`
		Element   element   `json:"element"`
	}
	if json.Unmarshal(blocks, &list) != nil {
		return "", nil, false
	}
	in, id, named := strings.Cut(action, separator)
	if named {
		action = id
	}
	for _, b := range list {
		for _, e := range append(b.Elements, b.Accessory, b.Element) {
			if e != nil && e.word("action_id") == action && action != "" && (!named || b.ID == in) {
				return b.ID, e, true
			}
		}
	}
	return "", nil, false
}

// pressed is the entry of a payload's "actions" for an element, with what was
// chosen, of a kind that has choices.
func (s *Server) pressed(block string, e element, chosen []string) (map[string]any, error) {
	a := map[string]any{"action_id": e["action_id"], "block_id": block, "type": e["type"], "action_ts": s.nextTS()}
	if e.word("type") == "button" {
		a["text"] = e["text"]
		for _, name := range []string{"value", "style", "url"} {
			if v, ok := e[name]; ok {
				a[name] = v
			}
		}
		return a, nil
	}
	value, err := entered(e, chosen)
	if err != nil {
		return nil, err
	}
	for name, v := range value {
		a[name] = v
	}
	return a, nil
}

// entered is the state of an input element after the user chose or typed.
func entered(e element, values []string) (map[string]any, error) {
	kind := e.word("type")
	state := map[string]any{"type": kind}
	one := func() any {
		if len(values) == 0 || values[0] == "" {
			return nil
		}
		return values[0]
	}
	pick := func(value string) (any, error) {
		var groups struct {
			Options []element `json:"options"`
			Groups  []struct {
				Options []element `json:"options"`
			} `json:"option_groups"`
		}
		raw, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(raw, &groups); err != nil {
			return nil, err
		}
		options := groups.Options
		for _, g := range groups.Groups {
			options = append(options, g.Options...)
		}
		for _, o := range options {
			if o.word("value") == value {
				return o, nil
			}
		}
		return nil, errNo("there is no option %q", value)
	}
	list := func() []string {
		if values == nil {
			return []string{}
		}
		return values
	}
	switch kind {
	case "plain_text_input", "number_input", "email_text_input", "url_text_input":
		state["value"] = one()
		n := 0
		if len(values) > 0 {
			n = utf8.RuneCountInString(values[0])
		}
		if low, ok := e["min_length"].(float64); ok && n > 0 && n < int(low) {
			return nil, errNo("at least %d characters are needed", int(low))
		}
		high, ok := e["max_length"].(float64)
		if !ok {
			high = 3000
		}
		if n > int(high) {
			return nil, errNo("at most %d characters are allowed", int(high))
		}
	case "static_select", "radio_buttons", "overflow", "external_select":
		state["selected_option"] = nil
		if len(values) > 0 && values[0] != "" {
			o, err := pick(values[0])
			if err != nil {
				return nil, err
			}
			state["selected_option"] = o
		}
	case "multi_static_select", "checkboxes", "multi_external_select":
		chosen := []any{}
		for _, v := range values {
			o, err := pick(v)
			if err != nil {
				return nil, err
			}
			chosen = append(chosen, o)
		}
		state["selected_options"] = chosen
	case "users_select":
		state["selected_user"] = one()
	case "multi_users_select":
		state["selected_users"] = list()
	case "conversations_select":
		state["selected_conversation"] = one()
	case "multi_conversations_select":
		state["selected_conversations"] = list()
	case "channels_select":
		state["selected_channel"] = one()
	case "multi_channels_select":
		state["selected_channels"] = list()
	case "datepicker":
		state["selected_date"] = one()
	case "timepicker":
		state["selected_time"] = one()
	default:
		return nil, errNo("the stand-in knows no input of type %q", kind)
	}
	return state, nil
}

// initial is what an input element shows before the user touched it.
func initial(e element) []string {
	value := func(v any) string {
		o, _ := v.(map[string]any)
		t, _ := o["value"].(string)
		return t
	}
	for _, name := range []string{"initial_value", "initial_user", "initial_conversation", "initial_channel", "initial_date", "initial_time"} {
		if t := e.word(name); t != "" {
			return []string{t}
		}
	}
	if o := e["initial_option"]; o != nil {
		return []string{value(o)}
	}
	var values []string
	for _, name := range []string{"initial_options", "initial_users", "initial_conversations", "initial_channels"} {
		items, _ := e[name].([]any)
		for _, item := range items {
			if t, ok := item.(string); ok {
				values = append(values, t)
			} else {
				values = append(values, value(item))
			}
		}
	}
	return values
}

// inState is the state of all inputs in blocks, given what the user entered,
// by action id; what they did not touch is as it was.
func inState(blocks json.RawMessage, kept map[string]map[string]map[string]any, values map[string][]string) (state map[string]map[string]map[string]any, err error) {
	state = map[string]map[string]map[string]any{}
	var list []struct {
		ID       string    `json:"block_id"`
		Type     string    `json:"type"`
		Optional bool      `json:"optional"`
		Label    element   `json:"label"`
		Element  element   `json:"element"`
		Elements []element `json:"elements"`
		Acc      element   `json:"accessory"`
	}
	if len(blocks) > 0 {
		if err := json.Unmarshal(blocks, &list); err != nil {
			return nil, err
		}
	}
	used := 0
	for _, b := range list {
		for _, e := range append(b.Elements, b.Acc, b.Element) {
			action := e.word("action_id")
			if e == nil || action == "" || e.word("type") == "button" || e.word("type") == "overflow" {
				continue
			}
			chosen, touched := values[In(b.ID, action)]
			if !touched {
				chosen, touched = values[action]
			}
			if touched {
				used++
			} else if was, ok := kept[b.ID][action]; ok {
				if state[b.ID] == nil {
					state[b.ID] = map[string]map[string]any{}
				}
				state[b.ID][action] = was
				continue
			} else {
				chosen = initial(e)
			}
			if b.Type == "input" && !b.Optional && (len(chosen) == 0 || chosen[0] == "") {
				return nil, errNo("%q must be filled in", b.Label.word("text"))
			}
			value, err := entered(e, chosen)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", action, err)
			}
			if state[b.ID] == nil {
				state[b.ID] = map[string]map[string]any{}
			}
			state[b.ID][action] = value
		}
	}
	if used < len(values) {
		return nil, errNo("the form has no such field: %v", values)
	}
	return state, nil
}

// interaction is what all interactive payloads have in common.
func (u *User) interaction(kind, trigger string) map[string]any {
	s := u.s
	p := s.users[u.ID]
	return map[string]any{"type": kind, "token": "verification-token", "api_app_id": s.cfg.AppID, "trigger_id": trigger,
		"team":                  map[string]any{"id": s.cfg.Team.ID, "domain": s.cfg.Team.Domain},
		"user":                  map[string]any{"id": u.ID, "username": p.Name, "name": p.Name, "team_id": p.Team},
		"is_enterprise_install": false, "enterprise": nil}
}

func (s *Server) namedChannel(c *Channel) map[string]any {
	name := c.Name
	if c.IM != "" {
		name = "directmessage"
	}
	return map[string]any{"id": c.ID, "name": name}
}

// outcome waits for what the app makes of an action. What the user would see
// of a failure is a notice too.
func (u *User) outcome(ctx context.Context, done <-chan response) (json.RawMessage, error) {
	var r response
	select {
	case r = <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-u.s.ctx.Done():
		return nil, ErrNotConnected
	}
	if r.err != nil {
		u.s.mu.Lock()
		u.s.notify(u.ID, "This app did not respond: "+r.err.Error())
		u.s.mu.Unlock()
	}
	return r.payload, r.err
}

// Click presses a button of a message, or uses another interactive element of
// it with the values chosen, and waits until the app acknowledged. The element,
// given by its action id or by [In], must be in the present version of the
// message, and the user must see it.
func (u *User) Click(ctx context.Context, m Message, action string, chosen ...string) error {
	u.s.mu.Lock()
	live := u.s.message(m.Channel, m.TS)
	if live == nil || !live.visible(u.ID) {
		u.s.mu.Unlock()
		return errNo("the message is gone")
	}
	done, err := u.click(live, live.Blocks, live.Attachments, action, chosen)
	u.s.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = u.outcome(ctx, done)
	return err
}

// StaleClick presses a button of an earlier version of a message (0 is the
// first), as somebody does whose screen is not up to date. The message that
// the app is told of is the present one.
func (u *User) StaleClick(ctx context.Context, m Message, revision int, action string) error {
	u.s.mu.Lock()
	live := u.s.message(m.Channel, m.TS)
	if live == nil || revision < 0 || revision >= len(live.Revisions) {
		u.s.mu.Unlock()
		return errNo("the message has no version %d", revision)
	}
	old := live.Revisions[revision]
	done, err := u.click(live, old.Blocks, old.Attachments, action, nil)
	u.s.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = u.outcome(ctx, done)
	return err
}

func (u *User) click(m *Message, blocks, attachments json.RawMessage, action string, chosen []string) (<-chan response, error) {
	s := u.s
	p := s.users[u.ID]
	c := s.channels[m.Channel]
	if p == nil || p.Deactivated {
		return nil, errNo("no user %s", u.ID)
	}
	// Who is not in a public channel can look at it and click all the same.
	if c.kind() != "channel" && !slices.Contains(c.Members, u.ID) {
		return nil, errNo("%s cannot see the message", p.Name)
	}
	block, e, ok := find(blocks, action)
	if !ok {
		var list []struct{ Blocks json.RawMessage }
		if json.Unmarshal(attachments, &list) == nil {
			for _, a := range list {
				if block, e, ok = find(a.Blocks, action); ok {
					break
				}
			}
		}
	}
	if !ok {
		return nil, errNo("the message has no element %q", action)
	}
	pressed, err := s.pressed(block, e, chosen)
	if err != nil {
		return nil, err
	}
	payload := u.interaction("block_actions", s.newTrigger(u.ID, ""))
	container := map[string]any{"type": "message", "message_ts": m.TS, "channel_id": m.Channel, "is_ephemeral": m.EphemeralTo != ""}
	if m.ThreadTS != "" {
		container["thread_ts"] = m.ThreadTS
	}
	payload["container"], payload["channel"], payload["actions"] = container, s.namedChannel(c), []any{pressed}
	payload["state"] = map[string]any{"values": map[string]any{}}
	if m.EphemeralTo == "" {
		payload["message"] = s.wire(m)
	}
	thread := ""
	if m.ThreadTS != m.TS {
		thread = m.ThreadTS
	}
	payload["response_url"] = s.newHook(&hook{channel: m.Channel, user: u.ID, message: m.TS, thread: thread})
	return s.deliver(&delivery{kind: "interactive", on: "interaction:block_actions", channel: m.Channel, payload: payload}), nil
}

// ClickView presses a button in the user's uppermost modal or, if home is
// set, in the App Home.
func (u *User) ClickView(ctx context.Context, home bool, action string, chosen ...string) error {
	s := u.s
	s.mu.Lock()
	id := s.homes[u.ID]
	if stack := s.modals[u.ID]; !home && len(stack) > 0 {
		id = stack[len(stack)-1]
	} else if !home {
		id = ""
	}
	v := s.views[id]
	if v == nil {
		s.mu.Unlock()
		return errNo("%s has no such view open", u.ID)
	}
	block, e, ok := find(v.Blocks, action)
	if !ok {
		s.mu.Unlock()
		return errNo("the view has no element %q", action)
	}
	pressed, err := s.pressed(block, e, chosen)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	if e.word("type") != "button" && e.word("type") != "overflow" {
		if v.state == nil {
			v.state = map[string]map[string]map[string]any{}
		}
		if v.state[block] == nil {
			v.state[block] = map[string]map[string]any{}
		}
		v.state[block][e.word("action_id")], _ = entered(e, chosen)
	}
	from := v.ID
	if v.Type == "home" {
		from = ""
	}
	payload := u.interaction("block_actions", s.newTrigger(u.ID, from))
	payload["container"] = map[string]any{"type": "view", "view_id": v.ID}
	payload["view"], payload["actions"] = s.wireView(v), []any{pressed}
	done := s.deliver(&delivery{kind: "interactive", on: "interaction:block_actions", payload: payload})
	s.mu.Unlock()
	_, err = u.outcome(ctx, done)
	return err
}

// Submit fills in the user's uppermost modal and sends it. values are by
// action id or [In]; what is not in it stays as the modal shows it. The outcome is the
// modal the user looks at afterwards, with the errors the app found, if there
// still is one.
func (u *User) Submit(ctx context.Context, values map[string][]string) (next View, open bool, err error) {
	s := u.s
	s.mu.Lock()
	stack := s.modals[u.ID]
	if len(stack) == 0 {
		s.mu.Unlock()
		return View{}, false, errNo("%s has no modal open", u.ID)
	}
	v := s.views[stack[len(stack)-1]]
	state, err := inState(v.Blocks, v.state, values)
	if err != nil {
		s.mu.Unlock()
		return *v, true, err
	}
	v.state = state
	payload := u.interaction("view_submission", s.newTrigger(u.ID, v.ID))
	payload["view"], payload["response_urls"] = s.wireView(v), []any{}
	done := s.deliver(&delivery{kind: "interactive", on: "interaction:view_submission", payload: payload, accepts: true})
	s.mu.Unlock()
	answer, err := u.outcome(ctx, done)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = s.submitted(u.ID, v, answer)
	}
	if err != nil {
		s.notify(u.ID, "We had some trouble connecting. Try again?")
	}
	next, open = s.modal(u.ID)
	return next, open, err
}

// submitted does what the app answered to a form.
func (s *Server) submitted(user string, v *View, answer json.RawMessage) error {
	var a struct {
		Action string            `json:"response_action"`
		Errors map[string]string `json:"errors"`
		View   json.RawMessage   `json:"view"`
	}
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &a); err != nil {
			return fmt.Errorf("the app's answer to the form: %w", err)
		}
	}
	uppermost := func() bool {
		stack := s.modals[user]
		return len(stack) > 0 && stack[len(stack)-1] == v.ID
	}
	switch a.Action {
	case "":
		if uppermost() {
			s.closeTop(user)
		}
	case "clear":
		s.closeAll(user)
	case "errors":
		if len(a.Errors) == 0 {
			return errNo("response_action errors without errors")
		}
		var list []struct {
			ID   string `json:"block_id"`
			Type string `json:"type"`
		}
		if err := json.Unmarshal(v.Blocks, &list); err != nil {
			return err
		}
		for id := range a.Errors {
			if !slices.ContainsFunc(list, func(b struct {
				ID   string `json:"block_id"`
				Type string `json:"type"`
			}) bool {
				return b.ID == id && b.Type == "input"
			}) {
				return errNo("errors for %q, which is no input block of the form", id)
			}
		}
		v.Errors = a.Errors
		s.touch()
	case "update":
		if err := s.parseView(a.View, v); err != nil {
			return err
		}
		v.state = nil
		s.touch()
	case "push":
		_, err := s.push(user, a.View)
		return err
	default:
		return errNo("unknown response_action %q", a.Action)
	}
	return nil
}

// Close closes the user's uppermost modal.
func (u *User) Close() {
	s := u.s
	s.mu.Lock()
	defer s.mu.Unlock()
	stack := s.modals[u.ID]
	if len(stack) == 0 {
		return
	}
	v := s.views[stack[len(stack)-1]]
	s.closeTop(u.ID)
	if v.NotifyOnClose {
		payload := u.interaction("view_closed", "")
		delete(payload, "trigger_id")
		payload["view"], payload["is_cleared"] = s.wireView(v), false
		s.deliver(&delivery{kind: "interactive", on: "interaction:view_closed", payload: payload})
	}
}

// OpenHome looks at the app's Home tab.
func (u *User) OpenHome() {
	s := u.s
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.im(u.ID)
	if !slices.Contains(s.cfg.Events, "app_home_opened") {
		return
	}
	e := map[string]any{"type": "app_home_opened", "user": u.ID, "channel": c.ID, "tab": "home", "event_ts": s.nextTS()}
	if v := s.views[s.homes[u.ID]]; v != nil {
		e["view"] = s.wireView(v)
	}
	s.tell(c, e)
}

// Slash sends a command such as "/kgent" with its text from a channel. In a
// thread Slack's client refuses; thread is the root's ts there.
func (u *User) Slash(ctx context.Context, channel, thread, command, text string) error {
	s := u.s
	s.mu.Lock()
	c, err := u.may(channel)
	switch {
	case err != nil:
	case thread != "":
		err = errNo("%s is not supported in threads. Sorry!", command)
	case !slices.Contains(s.cfg.Commands, command):
		err = errNo("%s is not a valid command", command)
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	name := c.Name
	if c.IM != "" {
		name = "directmessage"
	}
	h := &hook{channel: c.ID, user: u.ID}
	p := s.users[u.ID]
	payload := map[string]any{"token": "verification-token", "team_id": s.cfg.Team.ID, "team_domain": s.cfg.Team.Domain, "channel_id": c.ID,
		"channel_name": name, "user_id": u.ID, "user_name": p.Name, "command": command, "text": text, "api_app_id": s.cfg.AppID,
		"is_enterprise_install": "false", "response_url": s.newHook(h), "trigger_id": s.newTrigger(u.ID, "")}
	done := s.deliver(&delivery{kind: "slash_commands", on: "command:" + command, channel: c.ID, payload: payload, accepts: true})
	s.mu.Unlock()
	answer, err := u.outcome(ctx, done)
	if err != nil || answer == nil {
		return err
	}
	args, err := flatten(answer)
	if err != nil {
		return fmt.Errorf("the app's answer to %s: %w", command, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(args, "thread_ts")
	if err := s.respond(h, &call{args: args}); err != nil {
		s.notify(u.ID, command+" failed with the error "+err.Error())
		return err
	}
	return nil
}

// Shortcut uses an entry of a message's menu.
func (u *User) Shortcut(ctx context.Context, m Message, callbackID string) error {
	s := u.s
	s.mu.Lock()
	c, err := u.may(m.Channel)
	live := s.live(m.Channel, m.TS)
	switch {
	case err != nil:
	case live == nil:
		err = errNo("the message is gone")
	case !slices.ContainsFunc(s.cfg.Shortcuts, func(x Shortcut) bool { return x.CallbackID == callbackID }):
		err = errNo("there is no shortcut %q", callbackID)
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	payload := u.interaction("message_action", s.newTrigger(u.ID, ""))
	payload["callback_id"], payload["action_ts"] = callbackID, s.nextTS()
	payload["channel"], payload["message"], payload["message_ts"] = s.namedChannel(c), s.wire(live), live.TS
	payload["response_url"] = s.newHook(&hook{channel: c.ID, user: u.ID})
	done := s.deliver(&delivery{kind: "interactive", on: "interaction:message_action", channel: c.ID, payload: payload})
	s.mu.Unlock()
	_, err = u.outcome(ctx, done)
	return err
}

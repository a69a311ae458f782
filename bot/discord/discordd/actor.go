package discordd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Reasons why a user cannot do something, each wrapped with what was tried.
var (
	// ErrUnknown: there is no such user, channel, message or command.
	ErrUnknown = errors.New("not there")
	// ErrForbidden: the user may not, or is not a member.
	ErrForbidden = errors.New("not allowed")
	// ErrStale: the component is not, or not enabled, in the message's
	// current revision; the user is looking at an old one.
	ErrStale = errors.New("not in the current revision")
	// ErrInput: the client would not send what was typed.
	ErrInput = errors.New("the client does not accept this")
	// ErrNoAnswer: "The application did not respond".
	ErrNoAnswer = errors.New("the application did not respond")
)

// Actor acts as one user, as a person does in Discord's client.
type Actor struct {
	s  *Server
	id string
}

// As acts as a user. The user's existence is checked when acting.
func (s *Server) As(userID string) *Actor { return &Actor{s: s, id: userID} }

// File is something to upload.
type File struct {
	Name string
	Data []byte
}

// enter finds the actor and a channel that the actor can see.
func (a *Actor) enter(channel string) (*User, *Channel, error) {
	u, c := a.s.users[a.id], a.s.channels[channel]
	switch {
	case u == nil:
		return nil, nil, fmt.Errorf("user %s: %w", a.id, ErrUnknown)
	case c == nil || c.Deleted:
		return nil, nil, fmt.Errorf("channel %s: %w", channel, ErrUnknown)
	case !a.s.sees(u.ID, c):
		return nil, nil, fmt.Errorf("%s does not see channel %s: %w", u.Username, channel, ErrForbidden)
	}
	return u, c, nil
}

// look finds a message that the actor can see.
func (a *Actor) look(id string) (*User, *Channel, *stored, error) {
	st := a.s.messages[id]
	if st == nil || st.Deleted {
		return nil, nil, nil, fmt.Errorf("message %s: %w", id, ErrUnknown)
	}
	u, c, err := a.enter(st.ChannelID)
	if err != nil {
		return nil, nil, nil, err
	}
	if st.VisibleTo != "" && st.VisibleTo != u.ID {
		return nil, nil, nil, fmt.Errorf("message %s is ephemeral, %s does not see it: %w", id, u.Username, ErrForbidden)
	}
	return u, c, st, nil
}

// Post sends a message to a channel, thread or direct message channel.
func (a *Actor) Post(channel, text string, files ...File) (Message, error) {
	return a.send(channel, text, "", files)
}

// Mention posts a message that begins with a mention of the bot.
func (a *Actor) Mention(channel, text string, files ...File) (Message, error) {
	return a.send(channel, "<@"+a.s.bot.ID+"> "+text, "", files)
}

// Reply answers a message in its channel, notifying its author.
func (a *Actor) Reply(messageID, text string) (Message, error) {
	a.s.mu.Lock()
	_, c, _, err := a.look(messageID)
	a.s.mu.Unlock()
	if err != nil {
		return Message{}, fmt.Errorf("replying: %w", err)
	}
	return a.send(c.ID, text, messageID, nil)
}

// DM sends the bot a direct message.
func (a *Actor) DM(text string) (Message, error) {
	a.s.mu.Lock()
	u := a.s.users[a.id]
	var c *Channel
	if u != nil {
		c = a.s.dm(u)
	}
	a.s.mu.Unlock()
	if u == nil {
		return Message{}, fmt.Errorf("user %s: %w", a.id, ErrUnknown)
	}
	return a.send(c.ID, text, "", nil)
}

// DMChannel is the id of the user's direct message channel with the bot.
func (a *Actor) DMChannel() (string, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	u := a.s.users[a.id]
	if u == nil {
		return "", fmt.Errorf("user %s: %w", a.id, ErrUnknown)
	}
	return a.s.dm(u).ID, nil
}

func (a *Actor) send(channel, text, replyTo string, files []File) (Message, error) {
	s := a.s
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c, err := a.enter(channel)
	if err != nil {
		return Message{}, fmt.Errorf("posting: %w", err)
	}
	if bad := s.maySend(u.ID, c); bad != nil {
		return Message{}, fmt.Errorf("posting in channel %s: %s: %w", channel, bad.message, ErrForbidden)
	}
	m := Message{ChannelID: c.ID, GuildID: c.GuildID, Author: *u}
	if replyTo != "" {
		if bad := s.refer(&m, &MessageReference{MessageID: replyTo}, u.ID); bad != nil {
			return Message{}, fmt.Errorf("replying: %s: %w", bad.message, ErrForbidden)
		}
	}
	b := messageBody{Content: opt[string]{set: true, value: &text}}
	for i, f := range files {
		b.files = append(b.files, upload{n: strconv.Itoa(i), name: f.Name, data: f.Data})
	}
	if bad := s.apply(&m, &b, 0, false); bad != nil {
		return Message{}, fmt.Errorf("posting: %s: %w", bad.message, ErrInput)
	}
	s.reopen(c)
	return s.post(m, nil).Message, nil
}

// Edit changes the text of an own message.
func (a *Actor) Edit(messageID, text string) (Message, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	u, _, st, err := a.look(messageID)
	if err != nil {
		return Message{}, fmt.Errorf("editing: %w", err)
	}
	if st.Author.ID != u.ID {
		return Message{}, fmt.Errorf("editing another's message: %w", ErrForbidden)
	}
	m := st.Message
	if bad := a.s.apply(&m, &messageBody{Content: opt[string]{set: true, value: &text}}, 0, true); bad != nil {
		return Message{}, fmt.Errorf("editing: %s: %w", bad.message, ErrInput)
	}
	a.s.revise(st, m, true)
	return st.Message, nil
}

// Delete removes a message: an own one, any with MANAGE_MESSAGES, or one's
// ephemeral ("Dismiss message").
func (a *Actor) Delete(messageID string) error {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	u, c, st, err := a.look(messageID)
	if err != nil {
		return fmt.Errorf("deleting: %w", err)
	}
	if st.Author.ID != u.ID && st.VisibleTo != u.ID && a.s.permissions(u.ID, c)&PermManageMessages == 0 {
		return fmt.Errorf("deleting another's message: %w", ErrForbidden)
	}
	a.s.remove(st)
	return nil
}

// React adds an emoji to a message.
func (a *Actor) React(messageID, emoji string) error {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	u, c, st, err := a.look(messageID)
	if err != nil {
		return fmt.Errorf("reacting: %w", err)
	}
	if _, _, bad := a.s.react(c, st, u.ID, emoji, true); bad != nil {
		return fmt.Errorf("reacting: %s: %w", bad.message, ErrForbidden)
	}
	return nil
}

// StartThread opens a thread from a message.
func (a *Actor) StartThread(messageID, name string) (Channel, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	u, c, st, err := a.look(messageID)
	if err != nil {
		return Channel{}, fmt.Errorf("starting a thread: %w", err)
	}
	t, bad := a.s.thread(c, u.ID, name, ChannelPublicThread, 4320, st.ID)
	if bad != nil {
		return Channel{}, fmt.Errorf("starting a thread: %s: %w", bad.message, ErrForbidden)
	}
	return a.s.snapshot(t), nil
}

// ArchiveThread closes a thread, and locks it when asked, as a moderator does
// or as inactivity does.
func (s *Server) ArchiveThread(id string, archived, locked bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[id]
	if c == nil || !c.IsThread() || c.Deleted {
		return fmt.Errorf("archiving thread %s: %w", id, ErrUnknown)
	}
	c.Thread.Archived, c.Thread.Locked, c.Thread.ArchivedAt = archived, locked, s.now()
	s.threadChanged(c)
	return nil
}

// DeleteThread removes a thread with its messages.
func (s *Server) DeleteThread(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[id]
	if c == nil || !c.IsThread() || c.Deleted {
		return fmt.Errorf("deleting thread %s: %w", id, ErrUnknown)
	}
	s.deleteThread(c)
	return nil
}

// AssignRoles sets a member's roles, as an administrator does.
func (s *Server) AssignRoles(guildID, userID string, roles ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.guilds[guildID]
	if g == nil || g.members[userID] == nil {
		return fmt.Errorf("assigning roles to %s in guild %s: %w", userID, guildID, ErrUnknown)
	}
	for _, r := range roles {
		if g.role(r) == nil {
			return fmt.Errorf("assigning role %s: %w", r, ErrUnknown)
		}
	}
	m := *g.members[userID]
	m.Roles = append([]string{}, roles...)
	g.members[userID] = &m
	s.dispatch("GUILD_MEMBER_UPDATE", g.ID, intentMembers, func(*session) any {
		return map[string]any{"guild_id": g.ID, "user": m.User, "roles": m.Roles, "joined_at": m.JoinedAt, "nick": nil, "avatar": nil, "deaf": false, "mute": false, "flags": 0}
	})
	s.changed(Change{Kind: "member_update", User: userID})
	return nil
}

// Kick removes a member from a guild.
func (s *Server) Kick(guildID, userID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.guilds[guildID]
	if g == nil || g.members[userID] == nil {
		return fmt.Errorf("removing %s from guild %s: %w", userID, guildID, ErrUnknown)
	}
	u := g.members[userID].User
	delete(g.members, userID)
	s.dispatch("GUILD_MEMBER_REMOVE", g.ID, intentMembers, func(*session) any {
		return map[string]any{"guild_id": g.ID, "user": u}
	})
	s.changed(Change{Kind: "member_update", User: userID})
	return nil
}

// Interaction is something a user did that the bot has to answer.
type Interaction struct {
	s  *Server
	in *interaction
	// ID is the interaction's snowflake.
	ID string
}

// Response is the bot's first answer.
type Response struct {
	Type    int
	Message *Message // types 4, 5 and 7
	Modal   *Modal   // type 9
	Choices []Choice // type 8
}

// Wait waits for the first answer. ErrNoAnswer means that three seconds of the
// server's clock have passed without one.
func (i *Interaction) Wait(ctx context.Context) (Response, error) {
	defer i.s.answerTimer(i.in)()
	var out Response
	var late string
	err := i.s.await(ctx, func() bool {
		in := i.in
		switch {
		case in.reply != 0:
			out = Response{Type: in.reply, Modal: in.modal, Choices: in.choices}
			if st := in.original; st != nil && in.reply != ReplyDeferUpdate {
				out.Message = ptr(st.Message)
			}
			return true
		case in.failure != "":
			late = in.failure
			return true
		case i.s.now().Sub(in.created) > i.s.cfg.AnswerTime:
			late = "no answer within " + i.s.cfg.AnswerTime.String()
			return true
		}
		return false
	})
	if err != nil {
		return Response{}, fmt.Errorf("waiting for the answer to an interaction: %w", err)
	}
	if late != "" {
		return Response{}, fmt.Errorf("%w: %s", ErrNoAnswer, late)
	}
	return out, nil
}

// WaitMessage waits until the answer's message is there and no longer says
// "thinking…".
func (i *Interaction) WaitMessage(ctx context.Context) (Message, error) {
	if _, err := i.Wait(ctx); err != nil {
		return Message{}, err
	}
	var out Message
	err := i.s.await(ctx, func() bool {
		st := i.in.original
		if st == nil || st.Flags&FlagLoading != 0 {
			return false
		}
		out = st.Message
		return true
	})
	if err != nil {
		return Message{}, fmt.Errorf("waiting for an interaction's message: %w", err)
	}
	return out, nil
}

// Body is the interaction as it was sent.
func (i *Interaction) Body() string {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	return encode(i.in.body)
}

func (s *Server) handle(in *interaction) *Interaction { return &Interaction{s: s, in: in, ID: in.id} }

// Click presses the button with a custom id. The button must be there, and
// enabled, in the message's current revision.
func (a *Actor) Click(messageID, customID string) (*Interaction, error) {
	return a.component(messageID, customID, nil)
}

// ClickRevision presses a button that was in an older revision: what a click
// is that was under way while the message changed.
func (a *Actor) ClickRevision(messageID, customID string, revision int) (*Interaction, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	u, c, st, err := a.look(messageID)
	if err != nil {
		return nil, fmt.Errorf("clicking: %w", err)
	}
	all := append(slices.Clone(st.revisions), st.Message)
	if revision < 0 || revision >= len(all) {
		return nil, fmt.Errorf("clicking in revision %d of %d: %w", revision, len(all), ErrUnknown)
	}
	button, ok := all[revision].Button(customID)
	if !ok || button.Disabled {
		return nil, fmt.Errorf("clicking %q: %w", customID, ErrStale)
	}
	return a.s.handle(a.s.interact(InteractionComponent, u, c, map[string]any{"component_type": button.Type, "custom_id": customID, "id": button.ID}, st)), nil
}

// Select chooses values of a select menu.
func (a *Actor) Select(messageID, customID string, values ...string) (*Interaction, error) {
	if values == nil {
		values = []string{}
	}
	return a.component(messageID, customID, values)
}

func (a *Actor) component(messageID, customID string, values []string) (*Interaction, error) {
	s := a.s
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c, st, err := a.look(messageID)
	if err != nil {
		return nil, fmt.Errorf("using a component: %w", err)
	}
	comp, ok := st.Button(customID)
	if !ok || comp.Disabled {
		return nil, fmt.Errorf("component %q of message %s: %w", customID, messageID, ErrStale)
	}
	data := map[string]any{"component_type": comp.Type, "custom_id": customID, "id": comp.ID}
	if values != nil {
		if comp.Type == TypeButton {
			return nil, fmt.Errorf("%q is a button, not a select: %w", customID, ErrInput)
		}
		if err := s.chosen(comp, values, c.GuildID, false); err != nil {
			return nil, err
		}
		data["values"] = values
		if resolved := s.resolve(comp.Type, values, c.GuildID); len(resolved) > 0 {
			data["resolved"] = resolved
		}
	} else if comp.Type != TypeButton {
		return nil, fmt.Errorf("%q is a select, not a button: %w", customID, ErrInput)
	}
	return s.handle(s.interact(InteractionComponent, u, c, data, st)), nil
}

// chosen checks the values of a select, radio or checkbox group.
func (s *Server) chosen(c Component, values []string, guildID string, modal bool) error {
	lo, hi := 1, 1
	if c.MinValues != nil {
		lo = *c.MinValues
	}
	if c.MaxValues != nil {
		hi = *c.MaxValues
	} else if c.Type == TypeCheckboxGroup {
		hi = len(c.Options)
	}
	if modal && c.Required != nil && !*c.Required && len(values) == 0 {
		return nil
	}
	if len(values) < lo || len(values) > hi {
		return fmt.Errorf("%q takes %d to %d values, not %d: %w", c.CustomID, lo, hi, len(values), ErrInput)
	}
	for _, v := range values {
		known := false
		switch c.Type {
		case TypeStringSelect, TypeRadioGroup, TypeCheckboxGroup:
			known = slices.ContainsFunc(c.Options, func(o SelectOption) bool { return o.Value == v })
		case TypeUserSelect:
			known = s.users[v] != nil
		case TypeRoleSelect:
			known = s.guilds[guildID] != nil && s.guilds[guildID].role(v) != nil
		case TypeMentionableSelect:
			known = s.users[v] != nil || s.guilds[guildID] != nil && s.guilds[guildID].role(v) != nil
		case TypeChannelSelect:
			known = s.channels[v] != nil
		}
		if !known {
			return fmt.Errorf("%q has no choice %q: %w", c.CustomID, v, ErrInput)
		}
	}
	return nil
}

// resolve spells out the ids in a select's or an option's values.
func (s *Server) resolve(kind int, values []string, guildID string) map[string]any {
	users, members, roles, channels := map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}
	g := s.guilds[guildID]
	for _, v := range values {
		if u := s.users[v]; u != nil && (kind == TypeUserSelect || kind == TypeMentionableSelect) {
			users[v] = u
			if g != nil && g.members[v] != nil {
				m := *g.members[v]
				m.User = nil
				members[v] = m
			}
		}
		if g != nil && g.role(v) != nil && (kind == TypeRoleSelect || kind == TypeMentionableSelect) {
			roles[v] = g.role(v)
		}
		if c := s.channels[v]; c != nil && kind == TypeChannelSelect {
			channels[v] = c
		}
	}
	out := map[string]any{}
	for name, m := range map[string]map[string]any{"users": users, "members": members, "roles": roles, "channels": channels} {
		if len(m) > 0 {
			out[name] = m
		}
	}
	return out
}

// Submit fills in the modal that an interaction was answered with. values are
// by custom id; a text input takes one value, a checkbox "true" or "false".
// What is not given keeps its preset value.
func (a *Actor) Submit(from *Interaction, values map[string][]string) (*Interaction, error) {
	s := a.s
	s.mu.Lock()
	defer s.mu.Unlock()
	in := from.in
	u, _, err := a.enter(in.channel.ID)
	if err != nil {
		return nil, fmt.Errorf("submitting a modal: %w", err)
	}
	switch {
	case in.user.ID != a.id:
		return nil, fmt.Errorf("submitting another's modal: %w", ErrForbidden)
	case in.modal == nil:
		return nil, fmt.Errorf("submitting: the interaction was not answered with a modal: %w", ErrUnknown)
	case in.submitted:
		return nil, fmt.Errorf("submitting a modal twice: %w", ErrStale)
	}
	left := map[string][]string{}
	for k, v := range values {
		left[k] = v
	}
	fill := func(c Component) (map[string]any, error) {
		v, given := left[c.CustomID]
		delete(left, c.CustomID)
		out := map[string]any{"type": c.Type, "id": c.ID, "custom_id": c.CustomID}
		required := c.Required == nil || *c.Required
		switch c.Type {
		case TypeTextInput:
			text := c.Value
			if given {
				text = strings.Join(v, "\n")
			}
			n := utf8.RuneCountInString(text)
			lo, hi := 0, maxInput
			if c.MinLength != nil {
				lo = *c.MinLength
			}
			if c.MaxLength != nil {
				hi = *c.MaxLength
			}
			if required && n == 0 || n > 0 && n < lo || n > hi {
				return nil, fmt.Errorf("%q takes %d to %d characters, not %d: %w", c.CustomID, lo, hi, n, ErrInput)
			}
			if c.Style == 1 && strings.Contains(text, "\n") {
				return nil, fmt.Errorf("%q takes one line: %w", c.CustomID, ErrInput)
			}
			out["value"] = text
		case TypeCheckbox:
			out["value"] = len(v) == 1 && v[0] == "true"
		default:
			if !given {
				for _, o := range c.Options {
					if o.Default {
						v = append(v, o.Value)
					}
				}
			}
			if err := s.chosen(c, v, in.guildID, true); err != nil {
				return nil, err
			}
			if v == nil {
				v = []string{}
			}
			out["values"] = v
			if c.Type == TypeRadioGroup {
				delete(out, "values")
				out["value"] = nil
				if len(v) == 1 {
					out["value"] = v[0]
				}
			}
		}
		return out, nil
	}
	components := []any{}
	for _, c := range in.modal.Components {
		switch c.Type {
		case TypeActionRow:
			filled, err := fill(c.Components[0])
			if err != nil {
				return nil, err
			}
			components = append(components, map[string]any{"type": c.Type, "id": c.ID, "components": []any{filled}})
		case TypeLabel:
			filled, err := fill(*c.Component)
			if err != nil {
				return nil, err
			}
			components = append(components, map[string]any{"type": c.Type, "id": c.ID, "component": filled})
		default:
			components = append(components, map[string]any{"type": c.Type, "id": c.ID})
		}
	}
	for k := range left {
		return nil, fmt.Errorf("the modal has no input %q: %w", k, ErrUnknown)
	}
	in.submitted = true
	return s.handle(s.interact(InteractionModal, u, in.channel, map[string]any{"custom_id": in.modal.CustomID, "components": components}, in.source)), nil
}

// Option is the value of one option of a slash command: a string, int, float64
// or bool, and for users, roles and channels the id.
type Option struct {
	Name  string
	Value any
}

// Command runs a slash command in a channel. name may carry sub-commands
// ("kgent list").
func (a *Actor) Command(channel, name string, options ...Option) (*Interaction, error) {
	return a.command(channel, name, options, "")
}

// Autocomplete asks for suggestions for the option focused, with what has been
// typed so far as its value among options.
func (a *Actor) Autocomplete(ctx context.Context, channel, name, focused string, options ...Option) ([]Choice, error) {
	in, err := a.command(channel, name, options, focused)
	if err != nil {
		return nil, err
	}
	r, err := in.Wait(ctx)
	return r.Choices, err
}

func (a *Actor) registered(c *Channel, name string, kind int) (*Command, error) {
	for _, cmd := range append(a.s.commandsOf(c.GuildID), a.s.commandsOf("")...) {
		if cmd.Name != name || cmd.Type != kind {
			continue
		}
		if c.GuildID == "" && (cmd.GuildID != "" || cmd.DM != nil && !*cmd.DM || cmd.Contexts != nil && !slices.Contains(cmd.Contexts, 1)) {
			continue
		}
		return cmd, nil
	}
	return nil, fmt.Errorf("command %q: %w", name, ErrUnknown)
}

func (a *Actor) command(channel, name string, options []Option, focused string) (*Interaction, error) {
	s := a.s
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c, err := a.enter(channel)
	if err != nil {
		return nil, fmt.Errorf("running a command: %w", err)
	}
	if s.permissions(u.ID, c)&PermUseCommands == 0 {
		return nil, fmt.Errorf("running a command: %w", ErrForbidden)
	}
	path := strings.Fields(name)
	if len(path) == 0 {
		return nil, fmt.Errorf("running a command without a name: %w", ErrUnknown)
	}
	cmd, err := a.registered(c, path[0], CommandChat)
	if err != nil {
		return nil, fmt.Errorf("running a command: %w", err)
	}
	resolved := map[string]any{}
	filled, err := s.fill(cmd.Options, path[1:], options, focused, c.GuildID, resolved)
	if err != nil {
		return nil, fmt.Errorf("running /%s: %w", name, err)
	}
	data := map[string]any{"id": cmd.ID, "name": cmd.Name, "type": CommandChat}
	if cmd.GuildID != "" {
		data["guild_id"] = cmd.GuildID
	}
	if len(filled) > 0 {
		data["options"] = filled
	}
	if len(resolved) > 0 {
		data["resolved"] = resolved
	}
	kind := InteractionCommand
	if focused != "" {
		kind = InteractionAutocomplete
	}
	return s.handle(s.interact(kind, u, c, data, nil)), nil
}

// fill turns typed options into the command's data.
func (s *Server) fill(spec []CommandOption, path []string, options []Option, focused, guildID string, resolved map[string]any) ([]map[string]any, error) {
	if len(spec) > 0 && (spec[0].Type == OptionSubCommand || spec[0].Type == OptionGroup) {
		if len(path) == 0 {
			return nil, fmt.Errorf("it needs a sub-command: %w", ErrInput)
		}
		for _, o := range spec {
			if o.Name == path[0] {
				inner, err := s.fill(o.Options, path[1:], options, focused, guildID, resolved)
				if err != nil {
					return nil, err
				}
				if inner == nil {
					inner = []map[string]any{}
				}
				return []map[string]any{{"name": o.Name, "type": o.Type, "options": inner}}, nil
			}
		}
	}
	if len(path) > 0 {
		return nil, fmt.Errorf("sub-command %q: %w", path[0], ErrUnknown)
	}
	var out []map[string]any
	for _, o := range spec {
		at := slices.IndexFunc(options, func(v Option) bool { return v.Name == o.Name })
		if at < 0 {
			if o.Required && focused == "" {
				return nil, fmt.Errorf("option %q is required: %w", o.Name, ErrInput)
			}
			continue
		}
		entry := map[string]any{"name": o.Name, "type": o.Type, "value": options[at].Value}
		if focused == o.Name {
			if !o.Autocomplete {
				return nil, fmt.Errorf("option %q has no autocomplete: %w", o.Name, ErrInput)
			}
			entry["focused"] = true
			entry["value"] = fmt.Sprint(options[at].Value)
		} else if err := s.typed(o, options[at].Value, guildID, resolved); err != nil {
			return nil, err
		}
		out = append(out, entry)
	}
	for _, v := range options {
		if !slices.ContainsFunc(spec, func(o CommandOption) bool { return o.Name == v.Name }) {
			return nil, fmt.Errorf("option %q: %w", v.Name, ErrUnknown)
		}
	}
	return out, nil
}

// typed checks one option's value as the client does.
func (s *Server) typed(o CommandOption, value any, guildID string, resolved map[string]any) error {
	wrong := fmt.Errorf("option %q does not take %v: %w", o.Name, value, ErrInput)
	number, isNumber := 0.0, true
	switch v := value.(type) {
	case int:
		number = float64(v)
	case float64:
		number = v
	default:
		isNumber = false
	}
	text, isText := value.(string)
	_, isBool := value.(bool)
	kind := 0
	switch o.Type {
	case OptionString:
		n := utf8.RuneCountInString(text)
		if !isText || n > 6000 || o.MinLength != nil && n < *o.MinLength || o.MaxLength != nil && n > *o.MaxLength {
			return wrong
		}
	case OptionInteger, OptionNumber:
		if !isNumber || o.Type == OptionInteger && number != float64(int64(number)) || o.MinValue != nil && number < *o.MinValue || o.MaxValue != nil && number > *o.MaxValue {
			return wrong
		}
	case OptionBoolean:
		if !isBool {
			return wrong
		}
	case OptionUser:
		kind = TypeUserSelect
	case OptionRole:
		kind = TypeRoleSelect
	case OptionChannel:
		kind = TypeChannelSelect
	case OptionMention:
		kind = TypeMentionableSelect
	}
	if kind != 0 {
		found := s.resolve(kind, []string{text}, guildID)
		if len(found) == 0 {
			return wrong
		}
		for name, m := range found {
			into, ok := resolved[name].(map[string]any)
			if !ok {
				into = map[string]any{}
				resolved[name] = into
			}
			for id, v := range m.(map[string]any) {
				into[id] = v
			}
		}
	}
	if len(o.Choices) > 0 && !slices.ContainsFunc(o.Choices, func(c Choice) bool {
		if n, ok := c.Value.(float64); ok {
			return isNumber && n == number
		}
		return c.Value == value
	}) {
		return wrong
	}
	return nil
}

// MessageCommand runs a message context-menu command.
func (a *Actor) MessageCommand(name, messageID string) (*Interaction, error) {
	s := a.s
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c, st, err := a.look(messageID)
	if err != nil {
		return nil, fmt.Errorf("running a message command: %w", err)
	}
	cmd, err := a.registered(c, name, CommandMessage)
	if err != nil {
		return nil, fmt.Errorf("running a message command: %w", err)
	}
	data := map[string]any{
		"id": cmd.ID, "name": cmd.Name, "type": CommandMessage, "target_id": st.ID,
		"resolved": map[string]any{"messages": map[string]any{st.ID: st.Message}},
	}
	if cmd.GuildID != "" {
		data["guild_id"] = cmd.GuildID
	}
	return s.handle(s.interact(InteractionCommand, u, c, data, nil)), nil
}

// Sees lists what the user sees of a channel, oldest first: other people's
// ephemeral messages are not among it.
func (a *Actor) Sees(channel string) ([]Message, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	u, c, err := a.enter(channel)
	if err != nil {
		return nil, err
	}
	var out []Message
	for _, id := range a.s.timeline[c.ID] {
		if m := a.s.messages[id].Message; m.VisibleTo == "" || m.VisibleTo == u.ID {
			out = append(out, m)
		}
	}
	return out, nil
}

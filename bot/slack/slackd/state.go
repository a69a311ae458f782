package slackd

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Message is a message as it stands, or stood.
type Message struct {
	Channel  string // the channel's id
	TS       string // its identity within the channel
	ThreadTS string // the thread's root; of a root that has replies, itself; otherwise empty
	User     string // whose it is
	BotID    string // set for a bot's
	Text     string
	// Blocks and Attachments are JSON arrays with the identifiers that Slack
	// adds, or nil. Metadata is what a bot stored with the message.
	Blocks, Attachments, Metadata json.RawMessage

	Files       []File
	Reactions   []Reaction
	EphemeralTo string // the only one who sees it
	Broadcast   bool   // a reply that is shown in the channel too
	Edited      bool
	Deleted     bool
	// Revisions are all versions, the first one first and the present one last.
	Revisions []Revision
}

// Revision is one version of a message.
type Revision struct {
	Text                string
	Blocks, Attachments json.RawMessage
	At                  time.Time
}

// Reaction is an emoji and who put it there.
type Reaction struct {
	Name  string
	Users []string
}

// File is a file that was shared.
type File struct {
	ID, Name, Title, User string
	Size                  int
	MIME                  string
	SnippetType           string
	AltText               string
}

// Notice is something a user was shown that is no message: what a refused or
// unanswered click looks like.
type Notice struct {
	User, Text string
	At         time.Time
}

func (m *Message) revise(at time.Time) {
	m.Revisions = append(m.Revisions, Revision{Text: m.Text, Blocks: m.Blocks, Attachments: m.Attachments, At: at})
}

// record keeps the message as it is now for those who wait for it. What a
// recorded message points to is never changed in place.
func (s *Server) record(m *Message) {
	s.log = append(s.log, *m)
	s.touch()
}

// visible reports whether user sees the message when the channel is open.
func (m *Message) visible(user string) bool {
	return !m.Deleted && (m.EphemeralTo == "" || m.EphemeralTo == user)
}

func (s *Server) message(channel, ts string) *Message {
	for _, m := range s.messages[channel] {
		if m.TS == ts {
			return m
		}
	}
	return nil
}

// live is a message that everybody in the channel can see.
func (s *Server) live(channel, ts string) *Message {
	if m := s.message(channel, ts); m != nil && !m.Deleted && m.EphemeralTo == "" {
		return m
	}
	return nil
}

// replies are the messages of a thread below its root.
func (s *Server) replies(root *Message) []*Message {
	var in []*Message
	for _, m := range s.messages[root.Channel] {
		if m.ThreadTS == root.TS && m.TS != root.TS && !m.Deleted && m.EphemeralTo == "" {
			in = append(in, m)
		}
	}
	return in
}

// wire is the message in Slack's form.
func (s *Server) wire(m *Message) map[string]any {
	w := map[string]any{"type": "message", "ts": m.TS, "user": m.User, "text": m.Text, "team": s.cfg.Team.ID}
	if u := s.users[m.User]; u != nil {
		w["team"] = u.Team
	}
	if m.BotID != "" {
		w["bot_id"] = m.BotID
		if m.BotID == s.cfg.BotID {
			w["app_id"] = s.cfg.AppID
			w["bot_profile"] = map[string]any{"id": m.BotID, "app_id": s.cfg.AppID, "name": s.cfg.AppName, "team_id": s.cfg.Team.ID, "deleted": false}
		}
	}
	if m.Blocks != nil {
		w["blocks"] = m.Blocks
	}
	if m.Attachments != nil {
		w["attachments"] = m.Attachments
	}
	if m.Metadata != nil {
		w["metadata"] = m.Metadata
	}
	if m.Edited {
		at := m.Revisions[len(m.Revisions)-1].At
		w["edited"] = map[string]any{"user": m.User, "ts": fmt.Sprintf("%d.000000", at.Unix())}
	}
	if len(m.Files) > 0 {
		files := make([]map[string]any, len(m.Files))
		for i, f := range m.Files {
			files[i] = s.wireFile(f)
		}
		w["files"], w["upload"], w["subtype"] = files, false, "file_share"
	}
	if len(m.Reactions) > 0 {
		var reactions []map[string]any
		for _, r := range m.Reactions {
			reactions = append(reactions, map[string]any{"name": r.Name, "users": r.Users, "count": len(r.Users)})
		}
		w["reactions"] = reactions
	}
	if m.EphemeralTo != "" {
		w["is_ephemeral"] = true
	}
	if m.Broadcast {
		w["subtype"] = "thread_broadcast"
	}
	if m.ThreadTS == "" {
		return w
	}
	w["thread_ts"] = m.ThreadTS
	if m.ThreadTS != m.TS {
		if root := s.message(m.Channel, m.ThreadTS); root != nil {
			w["parent_user_id"] = root.User
		}
		return w
	}
	replies := s.replies(m)
	var users []string
	for _, r := range replies {
		if !slices.Contains(users, r.User) {
			users = append(users, r.User)
		}
	}
	w["reply_count"], w["reply_users"], w["reply_users_count"] = len(replies), users, len(users)
	if len(replies) > 0 {
		w["latest_reply"] = replies[len(replies)-1].TS
	}
	return w
}

// add stores a message, links it to its thread and tells the app.
func (s *Server) add(m *Message) {
	if m.TS == "" {
		m.TS = s.nextTS()
	}
	m.revise(s.now())
	s.messages[m.Channel] = append(s.messages[m.Channel], m)
	if m.EphemeralTo == "" {
		if root := s.message(m.Channel, m.ThreadTS); root != nil {
			root.ThreadTS = root.TS
		}
		s.tellMessage(m)
	}
	s.record(m)
}

// kind is a channel's type in events: channel, group or im.
func (c *Channel) kind() string {
	switch {
	case c.IM != "":
		return "im"
	case c.Private:
		return "group"
	}
	return "channel"
}

// hears reports whether the app gets events of kind, such as "message", from
// a channel.
func (s *Server) hears(c *Channel, kind string) bool {
	if !slices.Contains(c.Members, s.cfg.BotUser) {
		return false
	}
	if kind == "message" {
		kind += "." + map[string]string{"channel": "channels", "group": "groups", "im": "im"}[c.kind()]
	}
	return slices.Contains(s.cfg.Events, kind)
}

// tellMessage sends the events that follow from a new message.
func (s *Server) tellMessage(m *Message) {
	c := s.channels[m.Channel]
	event := func(kind string) map[string]any {
		e := s.wire(m)
		e["type"], e["channel"], e["event_ts"] = kind, m.Channel, m.TS
		if len(c.Shared) > 0 && s.users[m.User] != nil {
			e["user_team"], e["source_team"] = s.users[m.User].Team, s.users[m.User].Team
		}
		return e
	}
	if s.hears(c, "message") {
		e := event("message")
		e["channel_type"] = c.kind()
		s.tell(c, e)
	}
	if c.IM == "" && m.User != s.cfg.BotUser && strings.Contains(m.Text, "<@"+s.cfg.BotUser+">") && s.hears(c, "app_mention") {
		e := event("app_mention")
		delete(e, "subtype")
		s.tell(c, e)
	}
}

// tellChange sends the event that follows from an edit or a deletion.
func (s *Server) tellChange(subtype string, m *Message, before map[string]any) {
	c := s.channels[m.Channel]
	if !s.hears(c, "message") {
		return
	}
	ts := s.nextTS()
	e := map[string]any{"type": "message", "subtype": subtype, "hidden": true, "channel": m.Channel, "channel_type": c.kind(),
		"ts": ts, "event_ts": ts, "previous_message": before}
	if subtype == "message_deleted" {
		e["deleted_ts"] = m.TS
	} else {
		e["message"] = s.wire(m)
	}
	s.tell(c, e)
}

// change gives a message a new version.
func (s *Server) change(m *Message, set func(*Message)) {
	before := s.wire(m)
	set(m)
	m.Edited = true
	m.revise(s.now())
	s.tellChange("message_changed", m, before)
	s.record(m)
}

// remove deletes a message. Its revisions stay for tests to look at.
func (s *Server) remove(m *Message) {
	before := s.wire(m)
	m.Deleted = true
	if m.EphemeralTo == "" {
		s.tellChange("message_deleted", m, before)
	}
	s.record(m)
}

// im is the direct message channel of the bot with a user, made if need be.
func (s *Server) im(user string) *Channel {
	for _, c := range s.channels {
		if c.IM == user {
			return c
		}
	}
	c := &Channel{ID: s.id("D"), IM: user, Members: []string{user, s.cfg.BotUser}}
	s.channels[c.ID] = c
	s.touch()
	return c
}

var mention = regexp.MustCompile(`<@([UW][A-Z0-9]+)>`)

// typedText is the block that Slack makes of what a person types.
func typedText(id, text string) json.RawMessage {
	unescape := strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace
	var elements []map[string]any
	plain := func(text string) {
		if text != "" {
			elements = append(elements, map[string]any{"type": "text", "text": unescape(text)})
		}
	}
	last := 0
	for _, at := range mention.FindAllStringSubmatchIndex(text, -1) {
		plain(text[last:at[0]])
		elements = append(elements, map[string]any{"type": "user", "user_id": text[at[2]:at[3]]})
		last = at[1]
	}
	plain(text[last:])
	raw, err := json.Marshal([]any{map[string]any{"type": "rich_text", "block_id": id,
		"elements": []any{map[string]any{"type": "rich_text_section", "elements": elements}}}})
	if err != nil {
		panic(err) // strings and maps of them
	}
	return raw
}

// Messages are all messages of a channel, oldest first, with deleted and
// ephemeral ones.
func (s *Server) Messages(channel string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Message
	for _, m := range s.messages[channel] {
		all = append(all, *m)
	}
	return all
}

// Message is the present state of one message.
func (s *Server) Message(channel, ts string) (Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.message(channel, ts); m != nil {
		return *m, true
	}
	return Message{}, false
}

// WaitMessage returns the first message that matches, of those that are there
// and of every version of any message to come, however short-lived. Deleted
// and ephemeral messages are looked at too. match must not call the server, as
// in all methods that wait.
func (s *Server) WaitMessage(ctx context.Context, match func(Message) bool) (Message, error) {
	var found Message
	next := -1 // of the log
	err := s.wait(ctx, func() bool {
		if next < 0 {
			next = len(s.log)
			for _, list := range s.messages {
				for _, m := range list {
					if match(*m) {
						found = *m
						return true
					}
				}
			}
		}
		for ; next < len(s.log); next++ {
			if match(s.log[next]) {
				found = s.log[next]
				return true
			}
		}
		return false
	})
	if err != nil {
		return Message{}, fmt.Errorf("waiting for a message: %w", err)
	}
	return found, nil
}

// WaitNotice returns the first notice shown to a user that matches.
func (s *Server) WaitNotice(ctx context.Context, match func(Notice) bool) (Notice, error) {
	var found Notice
	err := s.wait(ctx, func() bool {
		i := slices.IndexFunc(s.notices, match)
		if i >= 0 {
			found = s.notices[i]
		}
		return i >= 0
	})
	if err != nil {
		return Notice{}, fmt.Errorf("waiting for a notice: %w", err)
	}
	return found, nil
}

func (s *Server) notify(user, text string) {
	s.notices = append(s.notices, Notice{User: user, Text: text, At: s.now()})
	s.touch()
}

// SetUsergroup replaces a user group's members.
func (s *Server) SetUsergroup(id string, members ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.usergroups[id]; g != nil {
		g.Members = slices.Clone(members)
	}
	s.touch()
}

// SetArchived archives a channel or brings it back.
func (s *Server) SetArchived(channel string, archived bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channels[channel]; c != nil {
		c.Archived = archived
	}
	s.touch()
}

// SetUser changes an account, for example to deactivate it.
func (s *Server) SetUser(id string, change func(*Person)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[id]; u != nil {
		change(u)
	}
	s.touch()
}

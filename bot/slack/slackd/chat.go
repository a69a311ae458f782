package slackd

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits on a message's text, in characters.
const (
	maxPostText      = 40000 // cut there
	maxUpdateText    = 4000
	maxEphemeralText = 3000
	maxMetadata      = 16000 // of the whole as JSON, in bytes
)

// content is what a bot says: the arguments that several methods share.
type content struct {
	text                string
	blocks, attachments json.RawMessage
	metadata            json.RawMessage
}

// content reads and checks the arguments text, blocks, attachments and
// metadata.
func (s *Server) content(c *call) (content, error) {
	var in content
	in.text = c.args["text"]
	if raw := c.object("blocks"); raw != nil {
		blocks, err := s.checkBlocks(raw, onMessage)
		if err != nil {
			return in, err
		}
		in.blocks = blocks
	}
	if raw := c.object("attachments"); raw != nil {
		attachments, err := s.checkAttachments(raw)
		if err != nil {
			return in, err
		}
		in.attachments = attachments
	}
	if raw := c.object("metadata"); raw != nil {
		var m struct {
			EventType    string          `json:"event_type"`
			EventPayload json.RawMessage `json:"event_payload"`
		}
		if err := json.Unmarshal(raw, &m); err != nil || m.EventType == "" || m.EventPayload == nil {
			return in, fail("invalid_metadata_format")
		}
		if len(raw) > maxMetadata {
			return in, fail("metadata_too_large")
		}
		in.metadata = raw
	}
	return in, nil
}

func (in content) empty() bool { return in.text == "" && in.blocks == nil && in.attachments == nil }

// checkAttachments checks the blocks within attachments, of which a message
// takes 100.
func (s *Server) checkAttachments(raw json.RawMessage) (json.RawMessage, error) {
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fail("invalid_attachments")
	}
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > 100 {
		return nil, fail("too_many_attachments")
	}
	for i, a := range list {
		a["id"], _ = json.Marshal(i + 1)
		if blocks := a["blocks"]; blocks != nil {
			checked, err := s.checkBlocks(blocks, onMessage)
			if err != nil {
				return nil, err
			}
			a["blocks"] = checked
		}
	}
	return json.Marshal(list)
}

// target is where a bot posts: a channel, or a user for the direct messages.
func (s *Server) target(id string) (*Channel, error) {
	if u := s.users[id]; u != nil && id != s.cfg.BotUser && !u.Bot {
		return s.im(id), nil
	}
	if name, ok := strings.CutPrefix(id, "#"); ok {
		for _, c := range s.channels {
			if c.Name == name {
				id = c.ID
			}
		}
	}
	c, err := s.channel(id)
	switch {
	case err != nil:
		return nil, err
	case c.Archived:
		return nil, fail("is_archived")
	case !slices.Contains(c.Members, s.cfg.BotUser):
		return nil, fail("not_in_channel")
	}
	return c, nil
}

// thread checks the thread_ts argument: the root of a thread, or what becomes
// one. Slack only advises against a reply's ts.
func (s *Server) thread(c *Channel, ts string) error {
	if ts == "" {
		return nil
	}
	root := s.live(c.ID, ts)
	if root == nil {
		return fail("thread_not_found")
	}
	if root.ThreadTS != "" && root.ThreadTS != root.TS {
		return fail("cannot_reply_to_message")
	}
	return nil
}

func (s *Server) chatPost(c *call) (map[string]any, error) {
	if c.args["channel"] == "" {
		return nil, fail("channel_not_found")
	}
	ch, err := s.target(c.args["channel"])
	if err != nil {
		return nil, err
	}
	in, err := s.content(c)
	if err != nil {
		return nil, err
	}
	if in.text == "" && c.args["markdown_text"] != "" {
		if utf8.RuneCountInString(c.args["markdown_text"]) > 12000 {
			return nil, fail("msg_too_long")
		}
		in.text = c.args["markdown_text"]
	}
	if in.empty() {
		return nil, fail("no_text")
	}
	if err := s.thread(ch, c.args["thread_ts"]); err != nil {
		return nil, err
	}
	body := map[string]any{}
	if r := []rune(in.text); len(r) > maxPostText {
		in.text = string(r[:maxPostText])
		body["response_metadata"] = map[string]any{"warnings": []string{"message_truncated"}}
		body["warning"] = "message_truncated"
	}
	m := &Message{Channel: ch.ID, ThreadTS: c.args["thread_ts"], User: s.cfg.BotUser, BotID: s.cfg.BotID, Text: in.text,
		Blocks: in.blocks, Attachments: in.attachments, Metadata: in.metadata, Broadcast: c.args["thread_ts"] != "" && c.bool("reply_broadcast")}
	s.add(m)
	body["channel"], body["ts"], body["message"] = ch.ID, m.TS, s.wire(m)
	return body, nil
}

// own finds a message the bot may change.
func (s *Server) own(c *call, otherwise string) (*Message, error) {
	ch, err := s.channel(c.args["channel"])
	if err != nil {
		return nil, err
	}
	m := s.live(ch.ID, c.args["ts"])
	switch {
	case m == nil:
		return nil, fail("message_not_found")
	case m.User != s.cfg.BotUser:
		return nil, fail(otherwise)
	case ch.Archived:
		return nil, fail("is_archived")
	}
	return m, nil
}

func (s *Server) chatUpdate(c *call) (map[string]any, error) {
	m, err := s.own(c, "cant_update_message")
	if err != nil {
		return nil, err
	}
	in, err := s.content(c)
	if err != nil {
		return nil, err
	}
	if utf8.RuneCountInString(in.text) > maxUpdateText {
		return nil, fail("msg_too_long")
	}
	if in.empty() && len(m.Files) == 0 {
		return nil, fail("no_text")
	}
	_, newText := c.args["text"]
	_, newBlocks := c.args["blocks"]
	_, newAttachments := c.args["attachments"]
	s.change(m, func(m *Message) {
		if newText {
			m.Text = in.text
		}
		// Text alone takes the blocks away, and so does an empty array.
		if newText || newBlocks {
			m.Blocks = in.blocks
		}
		if newAttachments {
			m.Attachments = in.attachments
		}
		if in.metadata != nil {
			m.Metadata = in.metadata
		}
	})
	return map[string]any{"channel": m.Channel, "ts": m.TS, "text": m.Text, "message": s.wire(m)}, nil
}

func (s *Server) chatDelete(c *call) (map[string]any, error) {
	m, err := s.own(c, "cant_delete_message")
	if err != nil {
		return nil, err
	}
	s.remove(m)
	return map[string]any{"channel": m.Channel, "ts": m.TS}, nil
}

func (s *Server) chatEphemeral(c *call) (map[string]any, error) {
	ch, err := s.target(c.args["channel"])
	if err != nil {
		return nil, err
	}
	in, err := s.content(c)
	switch {
	case err != nil:
		return nil, err
	case in.empty():
		return nil, fail("no_text")
	case utf8.RuneCountInString(in.text) > maxEphemeralText:
		return nil, fail("msg_too_long")
	case !slices.Contains(ch.Members, c.args["user"]):
		return nil, fail("user_not_in_channel")
	}
	if err := s.thread(ch, c.args["thread_ts"]); err != nil {
		return nil, err
	}
	// "Ephemeral messages in threads are only shown if there is already an active
	// thread": Slack takes it, and nobody ever sees it.
	if ts := c.args["thread_ts"]; ts != "" && len(s.replies(s.live(ch.ID, ts))) == 0 {
		return map[string]any{"message_ts": s.nextTS()}, nil
	}
	m := &Message{Channel: ch.ID, ThreadTS: c.args["thread_ts"], User: s.cfg.BotUser, BotID: s.cfg.BotID, Text: in.text,
		Blocks: in.blocks, Attachments: in.attachments, EphemeralTo: c.args["user"]}
	s.add(m)
	return map[string]any{"message_ts": m.TS}, nil
}

func (s *Server) chatPermalink(c *call) (map[string]any, error) {
	ch, err := s.channel(c.args["channel"])
	if err != nil {
		return nil, err
	}
	m := s.live(ch.ID, c.args["message_ts"])
	if m == nil {
		return nil, fail("message_not_found")
	}
	link := s.teamURL() + "archives/" + ch.ID + "/p" + strings.Replace(m.TS, ".", "", 1)
	if m.ThreadTS != "" && m.ThreadTS != m.TS {
		link += "?thread_ts=" + m.ThreadTS + "&cid=" + ch.ID
	}
	return map[string]any{"channel": ch.ID, "permalink": link}, nil
}

// A response URL is good for five uses within thirty minutes.
const (
	hookUses = 5
	hookLife = 30 * time.Minute
)

// hook is a response URL.
type hook struct {
	channel, user string
	message       string // the ts of the message that was clicked; empty for a command
	thread        string
	uses          int
	at            time.Time
}

func (s *Server) newHook(h *hook) string {
	secret := s.secret()
	h.at = s.now()
	s.hooks[secret] = h
	return s.URL() + "/hooks/" + secret
}

func (s *Server) serveHook(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	args, err := arguments(r)
	if err != nil {
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	f := s.fault("response_url", "")
	if f.Status == 0 || f.AfterCommit {
		err = s.useHook(r.PathValue("secret"), &call{method: "response_url", args: args})
	}
	done := Call{Method: "response_url", Args: args, At: s.now()}
	if err != nil {
		done.Error = err.Error()
	}
	s.calls = append(s.calls, done)
	s.touch()
	s.mu.Unlock()
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		http.Error(w, http.StatusText(f.Status), f.Status)
	case err != nil && (err.Error() == "used_url" || err.Error() == "expired_url"):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		answer(w, nil, err)
	default:
		w.Write([]byte("ok"))
	}
}

func (s *Server) useHook(secret string, c *call) error {
	h := s.hooks[secret]
	switch {
	case h == nil || s.now().Sub(h.at) > hookLife:
		return fail("expired_url")
	case h.uses >= hookUses:
		return fail("used_url")
	}
	h.uses++
	return s.respond(h, c)
}

// respond does what an answer to a click or command asks for: a message to
// one or to all, or the end or another version of the message clicked.
func (s *Server) respond(h *hook, c *call) error {
	original := s.message(h.channel, h.message)
	if c.bool("delete_original") {
		if original != nil && !original.Deleted {
			s.remove(original)
		}
		return nil
	}
	in, err := s.content(c)
	if err != nil {
		return err
	}
	if in.empty() {
		return fail("no_text")
	}
	if c.bool("replace_original") && original != nil && !original.Deleted {
		if original.EphemeralTo != "" {
			original.Text, original.Blocks, original.Attachments, original.Edited = in.text, in.blocks, in.attachments, true
			original.revise(s.now())
			s.record(original)
			return nil
		}
		s.change(original, func(m *Message) { m.Text, m.Blocks, m.Attachments = in.text, in.blocks, in.attachments })
		return nil
	}
	m := &Message{Channel: h.channel, User: s.cfg.BotUser, BotID: s.cfg.BotID, Text: in.text, Blocks: in.blocks, Attachments: in.attachments,
		EphemeralTo: h.user, ThreadTS: h.thread}
	if ts, ok := c.args["thread_ts"]; ok {
		m.ThreadTS = ts
	}
	if c.args["response_type"] == "in_channel" {
		m.EphemeralTo = ""
	}
	s.add(m)
	return nil
}

package discordd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // sizes of attached pictures
	_ "image/jpeg" // likewise
	_ "image/png"  // likewise
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// messageBody is what a create or an edit of a message carries.
type messageBody struct {
	Content     opt[string]          `json:"content"`
	Nonce       any                  `json:"nonce"`
	Enforce     bool                 `json:"enforce_nonce"`
	TTS         bool                 `json:"tts"`
	Embeds      opt[[]Embed]         `json:"embeds"`
	Allowed     opt[AllowedMentions] `json:"allowed_mentions"`
	Reference   *MessageReference    `json:"message_reference"`
	Components  opt[[]Component]     `json:"components"`
	Attachments opt[[]attachmentRef] `json:"attachments"`
	Flags       opt[int]             `json:"flags"`

	files []upload
}

// attachmentRef names a file to keep (by its snowflake) or describes an
// uploaded one (by its n of files[n]).
type attachmentRef struct {
	ID          json.RawMessage `json:"id"`
	Filename    string          `json:"filename"`
	Description string          `json:"description"`
}

func (r attachmentRef) id() string { return strings.Trim(string(r.ID), `"`) }

type upload struct {
	n    string // of files[n]
	name string
	data []byte
}

// decode reads JSON, turning wrong types into 50035 at their path.
func decode(b []byte, into any) *apiError {
	err := json.Unmarshal(b, into)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		f := &form{}
		f.add(wrong.Field, "BASE_TYPE_BAD_TYPE", "Value %q is not of the expected type %s.", wrong.Value, wrong.Type)
		return f.err()
	}
	return errInvalidJSON
}

// readBody reads a JSON or multipart body into the JSON part and the files.
func (s *Server) readBody(r *http.Request) (body []byte, files []upload, fault *apiError) {
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxRequest+1<<20))
	if err != nil {
		return nil, nil, errTooLarge
	}
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "multipart/form-data" {
		if len(raw) > 0 && kind != "application/json" {
			f := &form{}
			f.add("", "CONTENT_TYPE_INVALID", "Expected \"Content-Type\" header to be one of {'application/json', 'multipart/form-data'}.")
			return nil, nil, f.err()
		}
		return raw, nil, nil
	}
	if len(raw) > maxRequest {
		return nil, nil, errTooLarge
	}
	mr := multipart.NewReader(bytes.NewReader(raw), params["boundary"])
	fields := map[string]string{}
	for {
		part, err := mr.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, errInvalidJSON
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, nil, errInvalidJSON
		}
		name := part.FormName()
		if n, ok := strings.CutPrefix(name, "files["); ok && strings.HasSuffix(n, "]") || name == "file" {
			if len(data) > s.cfg.FileLimit {
				return nil, nil, errTooLarge
			}
			files = append(files, upload{n: strings.TrimSuffix(n, "]"), name: part.FileName(), data: data})
			continue
		}
		fields[name] = string(data)
	}
	if len(files) > maxFiles {
		f := &form{}
		f.add("files", "BASE_TYPE_MAX_LENGTH", "Must be %d or fewer in length.", maxFiles)
		return nil, nil, f.err()
	}
	if p, ok := fields["payload_json"]; ok {
		return []byte(p), files, nil
	}
	plain := map[string]any{}
	for k, v := range fields {
		plain[k] = v
	}
	body, err = json.Marshal(plain)
	if err != nil {
		return nil, nil, errInvalidJSON
	}
	return body, files, nil
}

var unsafeName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// attach turns uploads into attachments of the message.
func (s *Server) attach(f *form, m *Message, b *messageBody) {
	refs := b.Attachments.or(nil)
	if b.Attachments.set {
		kept := m.Attachments[:0:0]
		for _, r := range refs {
			for _, a := range m.Attachments {
				if a.ID == r.id() {
					if r.Description != "" {
						a.Description = r.Description
					}
					kept = append(kept, a)
				}
			}
		}
		m.Attachments = kept
	}
	for i, r := range refs {
		uploaded := slices.ContainsFunc(b.files, func(u upload) bool { return u.n == r.id() })
		existing := slices.ContainsFunc(m.Attachments, func(a Attachment) bool { return a.ID == r.id() })
		if !uploaded && !existing {
			f.add(join("attachments", i, "id"), "ATTACHMENT_NOT_FOUND", "Attachment %s was not found", r.id())
		}
		f.length(join("attachments", i, "description"), r.Description, 0, maxMediaText)
	}
	for _, u := range b.files {
		a := Attachment{ID: s.newID(), Filename: unsafeName.ReplaceAllString(path.Base(u.name), "_"), Size: len(u.data), Data: u.data, Ephemeral: m.Flags&FlagEphemeral != 0}
		for _, r := range refs {
			if r.id() == u.n {
				a.Description = r.Description
				if r.Filename != "" {
					a.Filename = unsafeName.ReplaceAllString(path.Base(r.Filename), "_")
				}
			}
		}
		a.ContentType = mime.TypeByExtension(path.Ext(a.Filename))
		if a.ContentType == "" {
			a.ContentType = http.DetectContentType(u.data)
		}
		if pic, _, err := image.DecodeConfig(bytes.NewReader(u.data)); err == nil {
			a.Width, a.Height = pic.Width, pic.Height
		}
		a.URL = fmt.Sprintf("http://%s/attachments/%s/%s/%s", s.addr, m.ChannelID, a.ID, url.PathEscape(a.Filename))
		a.ProxyURL = a.URL
		m.Attachments = append(m.Attachments, a)
	}
	if len(m.Attachments) > maxFiles {
		f.add("attachments", "BASE_TYPE_MAX_LENGTH", "Must be %d or fewer in length.", maxFiles)
	}
}

// The flags that a bot may set when it creates or edits a message.
const (
	createFlags = FlagSuppressEmbeds | FlagSilent | FlagComponentsV2
	editFlags   = FlagSuppressEmbeds | FlagComponentsV2
)

// apply merges a body into a message and checks the result. The caller holds
// mu; m is left half changed on an error.
func (s *Server) apply(m *Message, b *messageBody, allowedFlags int, edit bool) *apiError {
	f := &form{}
	// The revision before keeps its own.
	m.Embeds, m.Components = clone(m.Embeds), clone(m.Components)
	if b.Content.set {
		m.Content = strings.TrimSpace(b.Content.or(""))
	}
	if b.Embeds.set {
		m.Embeds = b.Embeds.or(nil)
	}
	if b.Components.set {
		m.Components = b.Components.or(nil)
	}
	if b.Flags.value != nil {
		want := *b.Flags.value
		if extra := want &^ allowedFlags; extra != 0 && !edit {
			f.add("flags", "MESSAGE_FLAGS_INVALID", "Flags %d may not be set here", extra)
		}
		keep := m.Flags &^ (allowedFlags &^ FlagComponentsV2) // components v2 cannot be taken back
		m.Flags = keep | want&allowedFlags
	}
	if b.Allowed.value != nil {
		m.Allowed = b.Allowed.value
		f.allowed(*m.Allowed)
	} else if !edit {
		m.Allowed = nil
	}
	switch n := b.Nonce.(type) {
	case nil:
	case string:
		f.length("nonce", n, 0, maxNonce)
		m.Nonce = n
	case float64:
		m.Nonce = strconv.FormatFloat(n, 'f', -1, 64)
	default:
		f.add("nonce", "BASE_TYPE_BAD_TYPE", "Value is not an integer or a string.")
	}
	s.attach(f, m, b)
	for i := range m.Embeds {
		m.Embeds[i].Type = "rich"
	}
	f.message(m)
	if err := f.err(); err != nil {
		return err
	}
	if m.Content == "" && len(m.Embeds) == 0 && len(m.Components) == 0 && len(m.Attachments) == 0 {
		return errEmpty
	}
	if m.Flags&FlagSuppressEmbeds != 0 {
		m.Embeds = []Embed{}
	}
	if m.Embeds == nil {
		m.Embeds = []Embed{}
	}
	if m.Components == nil {
		m.Components = []Component{}
	}
	if m.Attachments == nil {
		m.Attachments = []Attachment{}
	}
	s.mentions(m)
	return nil
}

func (f *form) allowed(a AllowedMentions) {
	for i, p := range a.Parse {
		if p != "roles" && p != "users" && p != "everyone" {
			f.add(join("allowed_mentions.parse", i), "BASE_TYPE_CHOICES", "Value must be one of ('roles', 'users', 'everyone').")
		}
		if p == "users" && len(a.Users) > 0 || p == "roles" && len(a.Roles) > 0 {
			f.add("allowed_mentions", "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", "parse:[%q] and %s: [ids...] are mutually exclusive.", p, p)
		}
	}
	f.count("allowed_mentions.users", len(a.Users), 0, 100)
	f.count("allowed_mentions.roles", len(a.Roles), 0, 100)
}

var mention = regexp.MustCompile(`<@(!|&)?(\d+)>|@everyone|@here`)

// mentions fills in whom the message notifies: what its text mentions, as far
// as allowed_mentions and the author's permissions let it. The caller holds mu.
func (s *Server) mentions(m *Message) {
	m.Mentions, m.MentionRoles, m.MentionEveryone = []User{}, []string{}, false
	a := m.Allowed
	allows := func(kind string, ids []string, id string) bool {
		return a == nil || slices.Contains(a.Parse, kind) || slices.Contains(ids, id)
	}
	text := m.Content
	walk(m.Components, func(c *Component) {
		if c.Type == TypeTextDisplay {
			text += "\n" + c.Content
		}
	})
	add := func(u *User) {
		if u != nil && !slices.ContainsFunc(m.Mentions, func(o User) bool { return o.ID == u.ID }) {
			m.Mentions = append(m.Mentions, *u)
		}
	}
	c := s.channels[m.ChannelID]
	g := s.guilds[m.GuildID]
	for _, found := range mention.FindAllStringSubmatch(stripCode(text), -1) {
		switch {
		case strings.HasPrefix(found[0], "<@&"):
			if g == nil {
				continue
			}
			r := g.role(found[2])
			if r == nil || slices.Contains(m.MentionRoles, r.ID) {
				continue
			}
			if (r.Mentionable || s.permissions(m.Author.ID, c)&PermMentionAll != 0) && (a == nil || allows("roles", a.Roles, r.ID)) {
				m.MentionRoles = append(m.MentionRoles, r.ID)
			}
		case found[2] != "":
			if a == nil || allows("users", a.Users, found[2]) {
				add(s.users[found[2]])
			}
		default:
			if g != nil && s.permissions(m.Author.ID, c)&PermMentionAll != 0 && (a == nil || slices.Contains(a.Parse, "everyone")) {
				m.MentionEveryone = true
			}
		}
	}
	if m.Referenced != nil && m.Type == MessageReply && (a == nil || a.RepliedUser) {
		add(s.users[m.Referenced.Author.ID])
	}
}

var codeSpans = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")

// stripCode removes code, inside which nothing is a mention.
func stripCode(text string) string { return codeSpans.ReplaceAllString(text, " ") }

// clone copies by way of JSON, so that stored revisions share nothing.
func clone[T any](v T) T {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("discordd: copying %T: %v", v, err)) // only types of this package come here
	}
	var out T
	if err := json.Unmarshal(b, &out); err != nil {
		panic(fmt.Sprintf("discordd: copying %T: %v", v, err))
	}
	return out
}

// post stores a composed message and tells everybody who may know. The caller
// holds mu.
func (s *Server) post(m Message, in *interaction) *stored {
	c := s.channels[m.ChannelID]
	if m.ID == "" {
		m.ID = s.newID()
	}
	m.Timestamp = s.now()
	st := &stored{Message: m, inter: in}
	s.messages[m.ID] = st
	s.timeline[m.ChannelID] = append(s.timeline[m.ChannelID], m.ID)
	if m.VisibleTo == "" {
		c.LastMessageID = m.ID
		if c.IsThread() {
			c.MessageCount++
			c.TotalSent++
		}
		s.dispatchMessage("MESSAGE_CREATE", m)
	}
	s.changed(Change{Kind: "message_create", Channel: m.ChannelID, Message: ptr(m)})
	return st
}

// revise replaces a message by its next revision. The caller holds mu.
func (s *Server) revise(st *stored, m Message, edited bool) {
	st.revisions = append(st.revisions, st.Message)
	m.Revision = st.Revision + 1
	if edited {
		now := s.now()
		m.EditedTimestamp = &now
	}
	st.Message = m
	if m.VisibleTo == "" {
		s.dispatchMessage("MESSAGE_UPDATE", m)
	}
	s.changed(Change{Kind: "message_update", Channel: m.ChannelID, Message: ptr(m)})
}

// remove deletes a message. The caller holds mu.
func (s *Server) remove(st *stored) {
	st.Deleted = true
	line := s.timeline[st.ChannelID]
	s.timeline[st.ChannelID] = slices.DeleteFunc(line, func(id string) bool { return id == st.ID })
	if st.VisibleTo == "" {
		body := map[string]any{"id": st.ID, "channel_id": st.ChannelID}
		if st.GuildID != "" {
			body["guild_id"] = st.GuildID
		}
		s.dispatchChannel("MESSAGE_DELETE", st.ChannelID, intentMessages, body)
	}
	s.changed(Change{Kind: "message_delete", Channel: st.ChannelID, Message: ptr(st.Message)})
}

// nonce finds the message that the same author made with the same nonce in
// the last minutes. The caller holds mu.
func (s *Server) nonce(author, channel string, n any) *stored {
	e, ok := s.nonces[nonceKey(author, channel, n)]
	if !ok || s.now().Sub(e.at) > nonceLife {
		return nil
	}
	return s.messages[e.message]
}

// nonceLife is how long enforce_nonce remembers: "the past few minutes" in the
// documentation, the number is a guess.
const nonceLife = 3 * time.Minute

func nonceKey(author, channel string, n any) string {
	return author + " " + channel + " " + fmt.Sprint(n)
}

func ptr[T any](v T) *T { return &v }

// cut shortens text for logs.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n]) + "…"
}

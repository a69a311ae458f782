package discordd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kinds of interactions.
const (
	InteractionPing         = 1
	InteractionCommand      = 2
	InteractionComponent    = 3
	InteractionAutocomplete = 4
	InteractionModal        = 5
)

// Kinds of answers to interactions.
const (
	ReplyPong          = 1
	ReplyMessage       = 4
	ReplyDeferred      = 5
	ReplyDeferUpdate   = 6
	ReplyUpdate        = 7
	ReplyAutocomplete  = 8
	ReplyModal         = 9
	interactionLife    = 15 * time.Minute
	maxHTTPInteraction = 1 << 20 // bytes of an answer in HTTP mode
)

// interaction is one interaction's life. Guarded by Server.mu.
type interaction struct {
	id, token string
	kind      int
	user      *User
	channel   *Channel
	guildID   string
	created   time.Time
	body      map[string]any // as sent

	source    *stored // the message of a component, or of the modal's opener
	reply     int     // 0 until answered
	original  *stored // what @original means
	modal     *Modal
	choices   []Choice
	submitted bool // the modal was
	failure   string

	payload string    // as posted to the endpoint, in HTTP mode
	signed  time.Time // the time in the signature
}

func encodeHex(b []byte) string { return hex.EncodeToString(b) }

// interact makes an interaction and delivers it. The caller holds mu.
func (s *Server) interact(kind int, u *User, ch *Channel, data map[string]any, source *stored) *interaction {
	in := &interaction{id: s.newID(), token: "aW50ZXJhY3Rpb246" + randomHex(40), kind: kind, user: u, channel: ch, guildID: ch.GuildID, created: s.now(), source: source}
	locale := u.Locale
	if locale == "" {
		locale = "en-US"
	}
	body := map[string]any{
		"id": in.id, "application_id": s.bot.ID, "type": kind, "token": in.token, "version": 1, "channel_id": ch.ID, "channel": ch,
		"locale": locale, "app_permissions": s.permissions(s.bot.ID, ch), "entitlements": []any{}, "entitlement_sku_ids": []any{},
		"attachment_size_limit": s.cfg.FileLimit, "data": data,
	}
	if g := s.guilds[ch.GuildID]; g != nil {
		m := *g.members[u.ID]
		m.Permissions = s.permissions(u.ID, ch)
		body["member"], body["guild_id"], body["guild_locale"], body["context"] = m, g.ID, "en-US", 0
		body["guild"] = map[string]any{"id": g.ID, "locale": "en-US", "features": []any{}}
		body["authorizing_integration_owners"] = map[string]string{"0": g.ID}
	} else {
		body["user"], body["context"] = u, 1
		body["authorizing_integration_owners"] = map[string]string{"0": "0"}
	}
	if source != nil {
		body["message"] = source.Message
	}
	in.body = body
	s.inter[in.id], s.byToken[in.token] = in, in
	if s.interURL != "" {
		in.payload, in.signed = encode(body), s.now()
		url := s.interURL
		s.tasks.Add(1)
		go func() {
			defer s.tasks.Done()
			s.deliver(in, url)
		}()
	} else {
		s.dispatch("INTERACTION_CREATE", ch.GuildID, 0, func(*session) any { return body })
	}
	s.changed(Change{Kind: "interaction", Channel: ch.ID, User: u.ID, Interaction: in.id})
	return in
}

// signed makes a request as Discord signs it.
func (s *Server) signed(ctx context.Context, url, payload string, at time.Time) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(payload))
	if err != nil {
		return nil, err
	}
	stamp := strconv.FormatInt(at.Unix(), 10)
	sig := ed25519.Sign(s.cfg.Key, []byte(stamp+payload))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Discord-Interactions/1.0 (+https://discord.com)")
	req.Header.Set("X-Signature-Timestamp", stamp)
	req.Header.Set("X-Signature-Ed25519", hex.EncodeToString(sig))
	return req, nil
}

// deliver posts an interaction to the endpoint and takes its answer.
func (s *Server) deliver(in *interaction, url string) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.AnswerTime)
	defer cancel()
	problem := ""
	req, err := s.signed(ctx, url, in.payload, in.signed)
	if err == nil {
		var resp *http.Response
		if resp, err = http.DefaultClient.Do(req); err == nil {
			var b []byte
			b, err = io.ReadAll(io.LimitReader(resp.Body, maxHTTPInteraction))
			resp.Body.Close()
			switch {
			case err != nil:
			case resp.StatusCode == http.StatusAccepted:
				return // answered through the callback endpoint
			case resp.StatusCode != http.StatusOK:
				problem = fmt.Sprintf("the endpoint answered %d", resp.StatusCode)
			default:
				s.mu.Lock()
				if _, bad := s.respond(in, b, nil); bad != nil {
					problem = bad.Error()
				}
				s.mu.Unlock()
			}
		}
	}
	if err != nil {
		problem = err.Error()
	}
	if problem != "" {
		s.cfg.Logf("interaction %s: %s", in.id, problem)
		s.mu.Lock()
		in.failure = problem
		s.notify()
		s.mu.Unlock()
	}
}

// Resend posts an interaction to the endpoint once more with the signature of
// the first time, and returns the status of the answer: what an attacker can
// do who has seen a request. change may alter the request first.
func (s *Server) Resend(ctx context.Context, id string, change func(*http.Request)) (int, error) {
	s.mu.Lock()
	in, url := s.inter[id], s.interURL
	s.mu.Unlock()
	if in == nil || in.payload == "" {
		return 0, fmt.Errorf("resending interaction %s: it was not sent by HTTP: %w", id, ErrUnknown)
	}
	req, err := s.signed(ctx, url, in.payload, in.signed)
	if err != nil {
		return 0, err
	}
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("resending interaction %s: %w", id, err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxHTTPInteraction))
	return resp.StatusCode, err
}

// ErrEndpoint is why an interactions endpoint was not accepted.
var ErrEndpoint = errors.New("the interactions endpoint URL could not be verified")

// SetInteractionsURL moves interactions from the gateway to signed HTTP, after
// the checks that Discord makes when the URL is saved: a PING must be answered
// with a PONG, and requests with a bad signature with 401.
func (s *Server) SetInteractionsURL(ctx context.Context, url string) error {
	s.mu.Lock()
	at := s.now()
	payload := encode(map[string]any{"id": s.newID(), "application_id": s.bot.ID, "type": InteractionPing, "token": randomHex(20), "version": 1})
	s.mu.Unlock()
	probe := func(spoil bool) (int, []byte, error) {
		req, err := s.signed(ctx, url, payload, at)
		if err != nil {
			return 0, nil, err
		}
		if spoil {
			req.Header.Set("X-Signature-Ed25519", randomHex(ed25519.SignatureSize))
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxHTTPInteraction))
		return resp.StatusCode, b, err
	}
	status, _, err := probe(true)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEndpoint, err)
	}
	if status != http.StatusUnauthorized {
		return fmt.Errorf("%w: a bad signature was answered %d instead of 401", ErrEndpoint, status)
	}
	status, b, err := probe(false)
	var pong struct{ Type int }
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEndpoint, err)
	}
	if status != http.StatusOK || json.Unmarshal(b, &pong) != nil || pong.Type != ReplyPong {
		return fmt.Errorf("%w: a PING was answered %d %q", ErrEndpoint, status, cut(string(b), 80))
	}
	s.mu.Lock()
	s.interURL = url
	s.mu.Unlock()
	return nil
}

// callback is the first answer to an interaction.
func (s *Server) callback(c *call) (int, any, *apiError) {
	in := s.inter[c.path("interaction")]
	if in == nil || in.token != c.path("token") {
		return 0, nil, errUnknownInter
	}
	if in.reply == 0 && s.now().Sub(in.created) > s.cfg.AnswerTime {
		return 0, nil, errUnknownInter
	}
	message, err := s.respond(in, c.body, c.files)
	if err != nil {
		return 0, nil, err
	}
	if c.r.URL.Query().Get("with_response") != "true" {
		return http.StatusNoContent, nil, nil
	}
	answer := map[string]any{"id": in.id, "type": in.kind}
	resource := map[string]any{"type": in.reply}
	if message != nil {
		answer["response_message_id"] = message.ID
		answer["response_message_loading"] = message.Flags&FlagLoading != 0
		answer["response_message_ephemeral"] = message.Flags&FlagEphemeral != 0
		resource["message"] = message
	}
	return http.StatusOK, map[string]any{"interaction": answer, "resource": resource}, nil
}

// The flags that an answer to an interaction may set.
const answerFlags = createFlags | FlagEphemeral

// respond takes an answer, from the callback endpoint or an HTTP body. The
// caller holds mu.
func (s *Server) respond(in *interaction, body []byte, files []upload) (*Message, *apiError) {
	if in.reply != 0 {
		return nil, errAcknowledged
	}
	var answer struct {
		Type int             `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := decode(body, &answer); err != nil {
		return nil, err
	}
	f := &form{}
	fits := map[int][]int{
		InteractionCommand:      {ReplyMessage, ReplyDeferred, ReplyModal},
		InteractionComponent:    {ReplyMessage, ReplyDeferred, ReplyDeferUpdate, ReplyUpdate, ReplyModal},
		InteractionAutocomplete: {ReplyAutocomplete},
		InteractionModal:        {ReplyMessage, ReplyDeferred, ReplyDeferUpdate, ReplyUpdate},
	}[in.kind]
	ok := false
	for _, t := range fits {
		ok = ok || t == answer.Type
	}
	if ok && in.kind == InteractionModal && (answer.Type == ReplyDeferUpdate || answer.Type == ReplyUpdate) && in.source == nil {
		ok = false // only a modal that a component opened has a message to update
	}
	if !ok {
		f.add("type", "INTERACTION_RESPONSE_TYPE_INVALID", "Callback type %d is not valid for interaction type %d", answer.Type, in.kind)
		return nil, f.err()
	}
	if in.channel.Deleted {
		return nil, errUnknownChannel
	}
	var out *Message
	switch answer.Type {
	case ReplyMessage, ReplyDeferred:
		var b messageBody
		if len(answer.Data) > 0 {
			if err := decode(answer.Data, &b); err != nil {
				return nil, nest(err)
			}
		}
		b.files = files
		st, err := s.answerMessage(in, &b, answer.Type == ReplyDeferred)
		if err != nil {
			return nil, nest(err)
		}
		in.original, out = st, &st.Message
	case ReplyDeferUpdate:
		in.original = in.source
	case ReplyUpdate:
		var b messageBody
		if len(answer.Data) > 0 {
			if err := decode(answer.Data, &b); err != nil {
				return nil, nest(err)
			}
		}
		b.files = files
		if in.source.Deleted {
			return nil, errUnknownMessage
		}
		m := in.source.Message
		if err := s.apply(&m, &b, editFlags, true); err != nil {
			return nil, nest(err)
		}
		s.revise(in.source, m, true)
		in.original, out = in.source, &in.source.Message
	case ReplyAutocomplete:
		var data struct {
			Choices []Choice `json:"choices"`
		}
		if err := decode(answer.Data, &data); err != nil {
			return nil, nest(err)
		}
		f.choices("data.choices", data.Choices)
		if err := f.err(); err != nil {
			return nil, err
		}
		in.choices = data.Choices
	case ReplyModal:
		var m Modal
		if err := decode(answer.Data, &m); err != nil {
			return nil, nest(err)
		}
		f.modal(&m)
		if err := f.err(); err != nil {
			return nil, err
		}
		in.modal = &m
	}
	in.reply = answer.Type
	change := Change{Kind: "response", Channel: in.channel.ID, User: in.user.ID, Interaction: in.id, Reply: in.reply, Modal: in.modal}
	s.changed(change)
	return out, nil
}

// nest puts a body's errors under data, where they are in a callback.
func nest(e *apiError) *apiError {
	if e.fields == nil {
		return e
	}
	inner := e.fields.errors
	return &apiError{status: e.status, code: e.code, message: e.message, fields: &form{n: e.fields.n, errors: map[string]any{"data": inner}}}
}

// answerMessage posts the first message of an interaction.
func (s *Server) answerMessage(in *interaction, b *messageBody, deferred bool) (*stored, *apiError) {
	m := Message{ChannelID: in.channel.ID, GuildID: in.guildID, Author: s.bot, ApplicationID: s.bot.ID, WebhookID: s.bot.ID}
	m.Interaction = s.metadata(in)
	switch in.kind {
	case InteractionCommand:
		m.Type = MessageSlashCommand
		if in.body["data"].(map[string]any)["type"] != CommandChat {
			m.Type = MessageContextCommand
		}
	case InteractionComponent, InteractionModal:
		if in.source != nil {
			m.Type = MessageReply
			quoted := in.source.Message
			quoted.Referenced = nil
			m.Referenced = &quoted
			m.Reference = &MessageReference{MessageID: quoted.ID, ChannelID: quoted.ChannelID, GuildID: quoted.GuildID}
		}
	}
	if b.Flags.or(0)&FlagEphemeral != 0 {
		m.VisibleTo = in.user.ID
	}
	if deferred {
		m.Flags = b.Flags.or(0)&FlagEphemeral | FlagLoading
		m.Embeds, m.Attachments, m.Components, m.Mentions, m.MentionRoles = []Embed{}, []Attachment{}, []Component{}, []User{}, []string{}
		return s.post(m, in), nil
	}
	if err := s.apply(&m, b, answerFlags, false); err != nil {
		return nil, err
	}
	s.reopen(in.channel)
	return s.post(m, in), nil
}

func (s *Server) metadata(in *interaction) *InteractionMetadata {
	md := &InteractionMetadata{ID: in.id, Type: in.kind, User: *in.user, Owners: in.body["authorizing_integration_owners"].(map[string]string)}
	if in.source != nil {
		md.MessageID = in.source.ID
	}
	return md
}

// byWebhook finds the interaction of a webhook path.
func (s *Server) byWebhook(c *call) (*interaction, *apiError) {
	if c.path("app") != s.bot.ID {
		return nil, errUnknownWebhook
	}
	in := s.byToken[c.path("token")]
	switch {
	case in == nil, s.now().Sub(in.created) > interactionLife:
		return nil, errWebhookToken
	case in.reply == 0:
		return nil, errUnknownWebhook // nothing was answered yet
	case in.channel.Deleted:
		return nil, errUnknownChannel
	}
	return in, nil
}

func (s *Server) createFollowup(c *call) (int, any, *apiError) {
	in, err := s.byWebhook(c)
	if err != nil {
		return 0, nil, err
	}
	var b messageBody
	if err := decode(c.body, &b); err != nil {
		return 0, nil, err
	}
	b.files = c.files
	if st := in.original; st != nil && st.inter == in && st.Flags&FlagLoading != 0 {
		// The first follow-up fills in the deferred message, whose visibility
		// was decided with the deferral.
		return s.reviseFollowup(in, st, &b, answerFlags)
	}
	m := Message{ChannelID: in.channel.ID, GuildID: in.guildID, Author: s.bot, ApplicationID: s.bot.ID, WebhookID: s.bot.ID, Interaction: s.metadata(in)}
	if st := in.original; st != nil {
		m.Interaction.OriginalID = st.ID
		if !st.Deleted {
			m.Type = MessageReply
			quoted := st.Message
			quoted.Referenced = nil
			m.Referenced = &quoted
			m.Reference = &MessageReference{MessageID: st.ID, ChannelID: st.ChannelID, GuildID: st.GuildID}
		}
	}
	if b.Flags.or(0)&FlagEphemeral != 0 {
		m.VisibleTo = in.user.ID
	}
	if err := s.apply(&m, &b, answerFlags, false); err != nil {
		return 0, nil, err
	}
	s.reopen(in.channel)
	st := s.post(m, in)
	return http.StatusOK, st.Message, nil
}

func (s *Server) reviseFollowup(in *interaction, st *stored, b *messageBody, flags int) (int, any, *apiError) {
	m := st.Message
	if st.Flags&FlagLoading != 0 {
		m.Flags &^= FlagLoading
		if b.Flags.value != nil { // ephemeral or not was settled
			v := *b.Flags.value&^FlagEphemeral | m.Flags&FlagEphemeral
			b.Flags.value = &v
		}
	}
	if err := s.apply(&m, b, flags, true); err != nil {
		return 0, nil, err
	}
	s.revise(st, m, st.Flags&FlagLoading == 0)
	return http.StatusOK, st.Message, nil
}

// followup finds the message of a webhook path.
func (s *Server) followup(c *call) (*interaction, *stored, *apiError) {
	in, err := s.byWebhook(c)
	if err != nil {
		return nil, nil, err
	}
	st := in.original
	if id := c.path("message"); id != "@original" {
		st = s.messages[id]
		if st != nil && st.inter != in && st != in.original {
			st = nil
		}
	}
	if st == nil || st.Deleted {
		return nil, nil, errUnknownMessage
	}
	return in, st, nil
}

func (s *Server) getFollowup(c *call) (int, any, *apiError) {
	_, st, err := s.followup(c)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, st.Message, nil
}

func (s *Server) editFollowup(c *call) (int, any, *apiError) {
	in, st, err := s.followup(c)
	if err != nil {
		return 0, nil, err
	}
	if in.channel.IsThread() && in.channel.Thread.Archived {
		return 0, nil, errArchived
	}
	var b messageBody
	if err := decode(bytes.TrimSpace(c.body), &b); err != nil {
		return 0, nil, err
	}
	b.files = c.files
	return s.reviseFollowup(in, st, &b, editFlags)
}

func (s *Server) deleteFollowup(c *call) (int, any, *apiError) {
	_, st, err := s.followup(c)
	if err != nil {
		return 0, nil, err
	}
	s.remove(st)
	return http.StatusNoContent, nil, nil
}

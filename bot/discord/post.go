package discord

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/bot/card"
	"kgent/bot/thread"
)

// Post implements [thread.Platform]. A thread that is not there yet is made
// from its first message, an archived one is opened.
func (a *Adapter) Post(ctx context.Context, m thread.Message) (thread.Handle, error) {
	if m.Only != "" {
		return thread.Handle{}, a.whisper(ctx, m)
	}
	target := m.Place.Channel
	threaded := m.Place.Thread != "" && m.Place.Tenant != "" // direct messages have no threads
	if threaded {
		target = m.Place.Thread
	}
	if !snowflake(target) {
		return thread.Handle{}, &thread.GoneError{Why: fmt.Sprintf("%q is no Discord channel", target)}
	}
	if m.Tried {
		for _, ch := range slices.Compact([]string{target, m.Place.Channel}) {
			h, found, err := a.find(ctx, ch, m)
			if err != nil {
				return thread.Handle{}, err
			}
			if found {
				return h, nil
			}
		}
	}
	h, err := a.create(ctx, target, m)
	if code(err) == codeUnknownChannel && threaded {
		switch e := a.startThread(ctx, m); code(e) {
		case 0:
			if e != nil {
				return thread.Handle{}, gone(notSent(e))
			}
		case codeNotInThisChannel, codeNotInDirect:
			// No threads in this kind of channel: the channel is the thread.
			target = m.Place.Channel
		default:
			return thread.Handle{}, gone(e)
		}
		h, err = a.create(ctx, target, m)
	}
	return h, gone(err)
}

// create sends one message, opening the thread when it is archived.
func (a *Adapter) create(ctx context.Context, channelID string, m thread.Message) (thread.Handle, error) {
	files, left := prepare(m.Files)
	c := m.Card
	c.Blocks = append(slices.Clone(c.Blocks), left...)
	var flags = flagNoEmbeds
	if m.Class >= thread.Progress {
		flags |= flagSilent
	}
	body := compose(c, files, markOf(m.Key), flags)
	of := m.Key
	if m.Anew { // else Discord answers with the one that is there, or was
		of += " " + m.Handle.ID
	}
	body.Nonce, body.EnforceNonce = nonceOf(of), true
	r := request{method: http.MethodPost, path: "/channels/" + channelID + "/messages", body: body, files: files, urgent: m.Class <= thread.Urgent}
	r.route = r.path
	return a.opening(ctx, channelID, r)
}

// opening sends a message or an edit, and once more when the thread had to be
// opened for it.
func (a *Adapter) opening(ctx context.Context, channelID string, r request) (thread.Handle, error) {
	raw, err := a.call(ctx, r)
	if code(err) == codeArchived {
		if _, e := a.call(ctx, request{
			method: http.MethodPatch, path: "/channels/" + channelID, route: "/channels/" + channelID,
			body: map[string]bool{"archived": false}, urgent: r.urgent,
		}); e != nil {
			if c := code(e); c == codeMissingPermission || c == codeMissingAccess {
				return thread.Handle{}, err
			}
			return thread.Handle{}, notSent(e)
		}
		raw, err = a.call(ctx, r)
	}
	if err != nil {
		return thread.Handle{}, err
	}
	var made struct {
		ID          string         `json:"id"`
		ChannelID   string         `json:"channel_id"`
		Attachments []attachedFile `json:"attachments"`
	}
	if err := json.Unmarshal(raw, &made); err != nil || !snowflake(made.ID) {
		return thread.Handle{}, &thread.UnknownError{Err: errors.New("Discord's answer names no message")}
	}
	a.files.put(made.ID, refs(made.Attachments), a.now())
	return thread.Handle{Channel: channelID, ID: made.ID}, nil
}

type attachedFile struct {
	Filename    string `json:"filename"`
	Description string `json:"description"`
	ContentType string `json:"content_type"`
}

func refs(files []attachedFile) []fileRef {
	out := make([]fileRef, len(files))
	for i, f := range files {
		out[i] = fileRef{f.Filename, f.Description, strings.HasPrefix(f.ContentType, "image/") || strings.HasSuffix(f.Filename, ".png")}
	}
	return out
}

// startThread makes the thread of the message that m.Place names. One that is
// there already is no error.
func (a *Adapter) startThread(ctx context.Context, m thread.Message) error {
	_, err := a.call(ctx, request{
		method: http.MethodPost, path: "/channels/" + m.Place.Channel + "/messages/" + m.Place.Thread + "/threads",
		route:  "/channels/" + m.Place.Channel + "/messages/threads",
		body:   map[string]any{"name": a.threadName(ctx, m), "auto_archive_duration": archiveAfter},
		urgent: m.Class <= thread.Urgent,
	})
	if code(err) == codeThreadExists {
		return nil
	}
	return err
}

// archiveAfter is after how many minutes of silence Discord hides a thread.
const archiveAfter = 1440

// threadName is what the thread's first message says: by that it is found again
// in a list. Where it cannot be read, the first card's title has to do.
func (a *Adapter) threadName(ctx context.Context, m thread.Message) string {
	var root message
	at := "/channels/" + m.Place.Channel + "/messages/"
	if err := a.get(ctx, at+m.Place.Thread, at+"id", &root); err != nil {
		a.log.Info("reading the message that a thread begins with", "err", err)
	}
	for _, name := range []string{plain(outsideCode(a.textOf(root)), 90), plain(m.Card.Title, 90)} {
		if name != "" {
			return name
		}
	}
	return "kgent"
}

// outsideCode is what a message says around its blocks of code: a pasted program is no name.
func outsideCode(text string) string {
	var b strings.Builder
	for i, part := range strings.Split(text, "```") {
		if i%2 == 0 {
			b.WriteString(part)
		}
	}
	return b.String()
}

// find looks for a message by its key among those sent since it was first
// asked for.
func (a *Adapter) find(ctx context.Context, channelID string, m thread.Message) (thread.Handle, bool, error) {
	me, err := a.self(ctx)
	if err != nil {
		return thread.Handle{}, false, notSent(err)
	}
	want := markOf(m.Key)
	const page, pages = 100, 10
	from := m.At.Add(-5 * time.Minute) // clocks differ
	if m.At.IsZero() {
		from = a.now().Add(-time.Hour)
	}
	after := since(from)
	for range pages {
		var found []message
		q := url.Values{"limit": {strconv.Itoa(page)}, "after": {after}}
		route := "/channels/" + channelID + "/messages"
		err := a.get(ctx, route+"?"+q.Encode(), route, &found)
		switch code(err) {
		case 0:
			if err != nil {
				return thread.Handle{}, false, notSent(err)
			}
		case codeUnknownChannel:
			return thread.Handle{}, false, nil // no thread yet: nothing in it
		default:
			return thread.Handle{}, false, gone(err)
		}
		for _, f := range found {
			if f.Author.ID == me && f.ID != m.Handle.ID && len(f.Components) == 1 && f.Components[0].ID == want.frame &&
				len(f.Components[0].Components) > 0 && f.Components[0].Components[0].ID == want.first {
				return thread.Handle{Channel: channelID, ID: f.ID}, true, nil
			}
			if newer(f.ID, after) {
				after = f.ID
			}
		}
		if len(found) < page {
			break
		}
	}
	return thread.Handle{}, false, nil
}

// newer compares ids, which are numbers.
func newer(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }

// Edit implements [thread.Platform].
func (a *Adapter) Edit(ctx context.Context, h thread.Handle, m thread.Message) error {
	if !snowflake(h.Channel) || !snowflake(h.ID) {
		return &thread.GoneError{Why: "there is no such message on Discord"}
	}
	at := "/channels/" + h.Channel + "/messages/" + h.ID
	route := "/channels/" + h.Channel + "/messages/id"
	had, known := a.files.get(h.ID, time.Time{})
	if !known {
		// Another process posted it. What shows its files has to be sent again.
		var old struct {
			Attachments []attachedFile `json:"attachments"`
		}
		if err := a.get(ctx, at, route, &old); err != nil {
			return uneditable(err)
		}
		had = refs(old.Attachments)
		a.files.put(h.ID, had, a.now())
	}
	body := struct {
		Flags           int             `json:"flags"`
		Components      []component     `json:"components"`
		AllowedMentions allowedMentions `json:"allowed_mentions"`
	}{int(flagComponents), render(m.Card, had, markOf(m.Key)), allowedMentions{Parse: []string{}}}
	_, err := a.opening(ctx, h.Channel, request{method: http.MethodPatch, path: at, route: route, body: body, urgent: m.Class <= thread.Urgent})
	return uneditable(err)
}

// uneditable is gone for edits. Of a message that somebody deleted, what it
// says and its buttons are still needed.
func uneditable(err error) error {
	switch code(err) {
	case codeTooOld:
		return &thread.TooOldError{Why: "Discord takes no more edits of a message older than an hour"}
	case codeUnknownMessage:
		return &thread.TooOldError{Why: "the message was deleted on Discord"}
	}
	return gone(notSent(err))
}

// tokenLife is how long an interaction can be answered: Discord says fifteen
// minutes.
const tokenLife = 14*time.Minute + 30*time.Second

// reply is what Event.Reply holds: with what, and since when, an interaction
// can be answered.
type reply struct {
	app, token string
	at         time.Time
}

func (r reply) String() string {
	return r.app + " " + r.token + " " + strconv.FormatInt(r.at.Unix(), 10)
}

func parseReply(s string) (reply, bool) {
	f := strings.Fields(s)
	if len(f) != 3 || !snowflake(f[0]) {
		return reply{}, false
	}
	at, err := strconv.ParseInt(f[2], 10, 64)
	return reply{f[0], f[1], time.Unix(at, 0)}, err == nil
}

// whisper shows a message to one person: as the private answer to what they
// did, and when it is too late for that, as a direct message.
func (a *Adapter) whisper(ctx context.Context, m thread.Message) error {
	if r, ok := parseReply(m.Reply); ok && a.now().Sub(r.at) < tokenLife {
		files, left := prepare(m.Files)
		c := m.Card
		c.Blocks = append(slices.Clone(c.Blocks), left...)
		_, err := a.call(ctx, request{
			method: http.MethodPost, path: "/webhooks/" + r.app + "/" + url.PathEscape(r.token), route: "/webhooks/" + r.app + "/" + r.token,
			body: compose(c, files, mark{}, flagEphemeral), files: files, urgent: true, free: true,
		})
		switch code(err) {
		case codeUnknownWebhook, codeUnknownInteraction, codeBadWebhookToken:
			if a.now().Sub(r.at) < 4*time.Second {
				// The interaction itself is about to be answered; before that
				// nothing can follow.
				return &thread.RateLimitedError{After: 500 * time.Millisecond}
			}
		default:
			return gone(err)
		}
	}
	direct, err := a.direct(ctx, m.Only)
	if err != nil {
		return gone(notSent(err))
	}
	to := m
	to.Only, to.Reply = "", ""
	to.Place = thread.Place{Surface: Surface, Channel: direct}
	_, err = a.Post(ctx, to)
	return err
}

// direct returns the channel of direct messages with a user.
func (a *Adapter) direct(ctx context.Context, userID string) (string, error) {
	if ch, ok := a.dms.get(userID, time.Time{}); ok {
		return ch, nil
	}
	raw, err := a.call(ctx, request{
		method: http.MethodPost, path: "/users/@me/channels", route: "/users/@me/channels",
		body: map[string]string{"recipient_id": userID}, urgent: true,
	})
	if err != nil {
		return "", err
	}
	var ch channel
	if err := json.Unmarshal(raw, &ch); err != nil || !snowflake(ch.ID) {
		return "", errors.New("Discord's answer names no channel")
	}
	a.dms.put(userID, ch.ID, a.now())
	return ch.ID, nil
}

// What Discord takes of files without a boosted server.
const (
	maxFile  = 10 << 20
	maxFiles = 24 << 20 // of 25 MiB for the whole request
	maxCount = 10
)

// prepare makes files fit: long text is compressed, and what still is too large
// is left out, with a word about it.
func prepare(files []thread.File) (out []upload, left []card.Block) {
	total := 0
	used := map[string]bool{}
	for _, f := range files {
		u := upload{fileRef: fileRef{fileName(f.Name, used), f.Title, f.Picture}, kind: "text/plain; charset=utf-8", data: f.Data}
		if f.Picture {
			u.kind = "image/png"
		}
		if len(u.data) == 0 {
			left = append(left, card.Note{Body: f.Name + " is empty."})
			continue
		}
		if len(u.data) > maxFile && !f.Picture {
			u.data, u.kind = compressed(u.data), "application/gzip"
			u.Name = fileName(u.Name+".gz", used)
		}
		if len(u.data) > maxFile || total+len(u.data) > maxFiles || len(out) == maxCount {
			left = append(left, card.Note{Body: fmt.Sprintf("%s (%d MiB) is more than Discord takes.", f.Name, len(f.Data)>>20)})
			continue
		}
		total += len(u.data)
		out = append(out, u)
	}
	return out, left
}

func compressed(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	// A bytes.Buffer takes everything.
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// fileName is a name that Discord keeps as it is, and that no other file of the
// message has.
func fileName(name string, used map[string]bool) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, path.Base(name))
	clean = strings.TrimLeft(clean, "._")
	if clean == "" {
		clean = "file"
	}
	if len(clean) > 80 {
		ext := path.Ext(clean)
		clean = clean[:80-min(len(ext), 10)] + ext[:min(len(ext), 10)]
	}
	for n := 2; used[clean]; n++ {
		ext := path.Ext(clean)
		clean = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(clean, ext), n, ext)
	}
	used[clean] = true
	return clean
}

package slack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	slackgo "github.com/slack-go/slack"

	"kgent/bot/card"
	"kgent/bot/thread"
)

const (
	// metadataType marks kgent's messages; their payload holds the key. Any
	// app in the workspace can read it.
	metadataType = "kgent_message"
	// lookBack is how much earlier than it was asked for a message is looked
	// for: clocks differ.
	lookBack = 10 * time.Minute
	// lookPages bounds that search: so many pages of lookLimit messages, the
	// most that Slack gives at once.
	lookPages = 5
	lookLimit = 999
	// filePrefix begins the ids in handles of messages that are only files:
	// Slack does not say where it put those.
	filePrefix = "file:"
)

func isFile(h thread.Handle) bool { return strings.HasPrefix(h.ID, filePrefix) }

// Post sends a new message: to a channel or thread, to one person in it (Only),
// or to a person's home page.
func (a *Adapter) Post(ctx context.Context, m thread.Message) (thread.Handle, error) {
	h, err := a.post(ctx, m)
	if err != nil {
		return thread.Handle{}, fmt.Errorf("posting to %s: %w", m.Place, err)
	}
	a.accepted()
	return h, nil
}

// accepted notes that Slack takes the token.
func (a *Adapter) accepted() {
	a.mu.Lock()
	a.fatal = nil
	a.mu.Unlock()
}

func (a *Adapter) post(ctx context.Context, m thread.Message) (thread.Handle, error) {
	switch {
	case m.Only != "":
		return thread.Handle{}, a.whisper(ctx, m)
	case m.Place.Home != "":
		return a.publish(ctx, m)
	case m.Place.Channel == "":
		return thread.Handle{}, errors.New("the message has no channel")
	case blank(m.Card) && len(m.Files) == 0:
		return thread.Handle{}, errors.New("the message is empty")
	}
	var there found
	if m.Tried {
		var err error
		if there, err = a.find(ctx, m); err != nil {
			return thread.Handle{}, err
		}
	}
	if there.complete(m) {
		return there.handle(m), nil
	}
	var files []slackgo.FileSummary
	if len(m.Files) > 0 && !there.files {
		// Nobody sees a file before it is shared, so what can go wrong here goes
		// wrong before anything is sent.
		var err error
		if files, err = a.upload(ctx, m); err != nil {
			return thread.Handle{}, err
		}
	}
	if !blank(m.Card) && there.ts == "" {
		if err := a.budget.take("post "+m.Place.Channel, postRate, m.Class); err != nil {
			return thread.Handle{}, err
		}
		ts, err := a.send(ctx, m, func(ctx context.Context, options ...slackgo.MsgOption) (string, error) {
			_, ts, err := a.api.PostMessageContext(ctx, m.Place.Channel, options...)
			return ts, err
		})
		if err != nil {
			return thread.Handle{}, a.limited("post "+m.Place.Channel, a.unsent(err))
		}
		there.ts = ts
		a.replied(m.Place)
	}
	if len(files) > 0 {
		// With the card the message is half there: whoever sends it must look
		// before sending again.
		_, err := a.api.CompleteUploadExternalContext(ctx, slackgo.CompleteUploadExternalParameters{
			Files: files, Channel: m.Place.Channel, ThreadTimestamp: m.Place.Thread})
		if err != nil {
			err = a.limited("file", a.unsent(err))
			if _, gone := errors.AsType[*thread.GoneError](err); !gone && there.ts != "" {
				err = &thread.UnknownError{Err: err}
			}
			return thread.Handle{}, fmt.Errorf("sharing files: %w", err)
		}
		there.file = files[0].ID
	}
	return there.handle(m), nil
}

// blank reports that there is nothing to draw.
func blank(c card.Card) bool {
	return c.Title == "" && len(c.Blocks) == 0 && len(c.Buttons) == 0
}

// limited keeps a bucket closed for as long as Slack said.
func (a *Adapter) limited(bucket string, err error) error {
	if l, ok := errors.AsType[*thread.RateLimitedError](err); ok {
		a.budget.close(bucket, l.After)
	}
	return err
}

// send draws a message and gives it to a call; if Slack finds it too long, once
// more with less in it.
func (a *Adapter) send(ctx context.Context, m thread.Message, call func(context.Context, ...slackgo.MsgOption) (string, error)) (string, error) {
	options := func(l limits) []slackgo.MsgOption {
		o := []slackgo.MsgOption{
			slackgo.MsgOptionText(fallback(m.Card), false),
			slackgo.MsgOptionBlocks(render(m.Card, l)...),
			slackgo.MsgOptionDisableLinkUnfurl(), slackgo.MsgOptionDisableMediaUnfurl(),
			slackgo.MsgOptionDisableMarkdown(), slackgo.MsgOptionParse(false), slackgo.MsgOptionLinkNames(false),
		}
		if m.Only == "" {
			o = append(o, slackgo.MsgOptionMetadata(slackgo.SlackMetadata{EventType: metadataType, EventPayload: map[string]any{"key": m.Key}}))
		}
		if m.Place.Thread != "" {
			o = append(o, slackgo.MsgOptionTS(m.Place.Thread))
		}
		return o
	}
	ts, err := call(ctx, options(whole)...)
	if r, ok := errors.AsType[slackgo.SlackErrorResponse](err); ok && errors.Is(a.refused(r), errTooLong) {
		a.log.Warn("Slack finds a message too long; it is sent shortened", "key", m.Key, "err", a.refused(r))
		return call(ctx, options(small)...)
	}
	return ts, err
}

// found is what is already there of a message that was tried before.
type found struct {
	ts    string // of the card
	files bool
	file  string // id of a file
}

func (f found) complete(m thread.Message) bool {
	return (blank(m.Card) || f.ts != "") && (len(m.Files) == 0 || f.files)
}

func (f found) handle(m thread.Message) thread.Handle {
	if f.ts == "" {
		return thread.Handle{Channel: m.Place.Channel, ID: filePrefix + f.file}
	}
	return thread.Handle{Channel: m.Place.Channel, ID: f.ts}
}

// find looks whether a message is there: its card by the key in the metadata,
// its files by their names.
func (a *Adapter) find(ctx context.Context, m thread.Message) (found, error) {
	me, err := a.self(ctx)
	if err != nil {
		return found{}, err
	}
	oldest := "0"
	if !m.At.IsZero() {
		oldest = fmt.Sprintf("%d.000000", m.At.Add(-lookBack).Unix())
	}
	var f found
	cursor := ""
	// The search as a whole is one call of the budget: half a search would have
	// to begin anew.
	if err := a.budget.take("look", lookRate, m.Class); err != nil {
		return found{}, err
	}
	for range lookPages {
		messages, next, err := a.page(ctx, m.Place, oldest, cursor)
		if err != nil {
			return found{}, fmt.Errorf("looking whether it was sent: %w", a.limited("look", a.failed(err)))
		}
		for _, s := range messages {
			if s.User != me.User {
				continue // anybody can name a file so
			}
			if m.Handle.ID != "" && s.Timestamp == m.Handle.ID {
				continue // the one that this one takes the place of
			}
			if s.Metadata.EventType == metadataType && s.Metadata.EventPayload["key"] == m.Key {
				f.ts = s.Timestamp
			}
			for _, file := range s.Files {
				if len(m.Files) > 0 && file.Name == fileName(m, 0) {
					f.files, f.file = true, file.ID
				}
			}
		}
		if f.complete(m) || next == "" {
			return f, nil
		}
		cursor = next
	}
	// Some 5,000 messages were posted here since. Better twice than never.
	return f, nil
}

// page is a page of a thread's or channel's messages.
func (a *Adapter) page(ctx context.Context, p thread.Place, oldest, cursor string) ([]slackgo.Message, string, error) {
	if p.Thread != "" {
		messages, _, next, err := a.api.GetConversationRepliesContext(ctx, &slackgo.GetConversationRepliesParameters{
			ChannelID: p.Channel, Timestamp: p.Thread, Oldest: oldest, Cursor: cursor, Limit: lookLimit, Inclusive: true, IncludeAllMetadata: true})
		return messages, next, err
	}
	r, err := a.api.GetConversationHistoryContext(ctx, &slackgo.GetConversationHistoryParameters{
		ChannelID: p.Channel, Oldest: oldest, Cursor: cursor, Limit: lookLimit, Inclusive: true, IncludeAllMetadata: true})
	if err != nil {
		return nil, "", err
	}
	return r.Messages, r.ResponseMetaData.NextCursor, nil
}

// fileName is the name that a message's file gets: with a few characters that
// belong to the message's key, so that it can be found again, and so that the
// outputs of two runs do not overwrite each other where they are saved.
func fileName(m thread.Message, i int) string {
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' {
			return '-'
		}
		return r
	}, line(m.Files[i].Name))
	ext := path.Ext(name)
	stem := cut(strings.TrimSuffix(name, ext), 80)
	sum := sha256.Sum256([]byte(m.Key))
	return or(stem, "output") + "-" + hex.EncodeToString(sum[:4]) + cut(ext, 20)
}

// upload brings a message's files to Slack, where nobody sees them until they
// are shared.
func (a *Adapter) upload(ctx context.Context, m thread.Message) ([]slackgo.FileSummary, error) {
	var files []slackgo.FileSummary
	for i, f := range m.Files {
		if err := a.budget.take("file", fileRate, m.Class); err != nil {
			return nil, err
		}
		data := f.Data
		if len(data) == 0 {
			data = []byte("\n") // Slack takes no empty files
		}
		params := slackgo.GetUploadURLExternalParameters{FileName: fileName(m, i), FileSize: len(data)}
		title := or(cut(line(f.Title), 200), params.FileName)
		if f.Picture {
			params.AltTxt = title
		}
		u, err := a.api.GetUploadURLExternalContext(ctx, params)
		if err != nil {
			return nil, fmt.Errorf("uploading %s: %w", params.FileName, a.limited("file", a.failed(err)))
		}
		if err := a.api.UploadToURL(ctx, slackgo.UploadToURLParameters{UploadURL: u.UploadURL, Reader: bytes.NewReader(data), Filename: params.FileName}); err != nil {
			return nil, fmt.Errorf("uploading %s: %w", params.FileName, a.limited("file", a.failed(err)))
		}
		files = append(files, slackgo.FileSummary{ID: u.FileID, Title: title})
	}
	return files, nil
}

// Edit makes a message look as m. If it looks so already, no call is made.
func (a *Adapter) Edit(ctx context.Context, h thread.Handle, m thread.Message) error {
	if err := a.edit(ctx, h, m); err != nil {
		return fmt.Errorf("editing %s in %s: %w", h.ID, m.Place, err)
	}
	a.accepted()
	return nil
}

func (a *Adapter) edit(ctx context.Context, h thread.Handle, m thread.Message) error {
	if m.Place.Home != "" {
		_, err := a.publish(ctx, m)
		return err
	}
	if isFile(h) {
		return nil // files stay as they are
	}
	if h.Channel == "" || h.ID == "" {
		return &thread.GoneError{Why: "nobody knows where the message is"}
	}
	drawn, err := json.Marshal(render(m.Card, whole))
	if err != nil {
		return fmt.Errorf("drawing: %w", err)
	}
	where, looks := h.Channel+"/"+h.ID, sha256.Sum256(drawn)
	if last, ok := a.shown.get(where); ok && last == looks {
		return nil
	}
	if err := a.budget.take("update", updateRate, m.Class); err != nil {
		return err
	}
	a.shown.drop(where)
	m.Place.Thread = "" // it stays where it is
	_, err = a.send(ctx, m, func(ctx context.Context, options ...slackgo.MsgOption) (string, error) {
		_, ts, _, err := a.api.UpdateMessageContext(ctx, h.Channel, h.ID, options...)
		return ts, err
	})
	if r, ok := errors.AsType[slackgo.SlackErrorResponse](err); ok && r.Err == "message_not_found" {
		// Somebody deleted it. What it says, and its buttons, are still needed.
		return &thread.TooOldError{Why: gone[r.Err]}
	}
	if err != nil {
		return a.limited("update", a.failed(err)) // an edit can always be repeated
	}
	a.shown.put(where, looks)
	return nil
}

// publish draws a person's home page.
func (a *Adapter) publish(ctx context.Context, m thread.Message) (thread.Handle, error) {
	if err := a.budget.take("publish", publishRate, m.Class); err != nil {
		return thread.Handle{}, err
	}
	var r *slackgo.ViewResponse
	var err error
	for _, l := range []limits{home, small} {
		r, err = a.api.PublishViewContext(ctx, slackgo.PublishViewContextRequest{UserID: m.Place.Home,
			View: slackgo.HomeTabViewRequest{Type: slackgo.VTHomeTab, Blocks: slackgo.Blocks{BlockSet: render(m.Card, l)}}})
		if err == nil {
			return thread.Handle{ID: r.View.ID}, nil
		}
		if err = a.failed(err); !errors.Is(err, errTooLong) {
			break
		}
	}
	return thread.Handle{}, a.limited("publish", err)
}

// whisper shows a message to one person: in the thread if it has replies, else
// in the channel, if that can be, or
// else as an answer to what they did, or else as a direct message.
func (a *Adapter) whisper(ctx context.Context, m thread.Message) error {
	if blank(m.Card) {
		return errors.New("the message is empty")
	}
	if m.Place.Channel != "" {
		if err := a.budget.take("ephemeral", ephemeralRate, m.Class); err != nil {
			return err
		}
		if !a.isActive(ctx, m.Place) {
			m.Place.Thread = ""
		}
		_, err := a.send(ctx, m, func(ctx context.Context, options ...slackgo.MsgOption) (string, error) {
			return a.api.PostEphemeralContext(ctx, m.Place.Channel, m.Only, options...)
		})
		if err == nil {
			return nil
		}
		if r, ok := errors.AsType[slackgo.SlackErrorResponse](err); !ok || !slices.Contains(notHere, r.Err) {
			return a.limited("ephemeral", a.unsent(err))
		}
		// kgent or the person is not in the channel.
		if hook := a.hook(m.Reply); hook != "" {
			if err := a.respond(ctx, hook, m.Card); err == nil {
				return nil
			}
		}
	}
	channel, _, _, err := a.api.OpenConversationContext(ctx, &slackgo.OpenConversationParameters{Users: []string{m.Only}})
	if err != nil {
		return a.failed(err)
	}
	if err := a.budget.take("post "+channel.ID, postRate, m.Class); err != nil {
		return err
	}
	m.Place.Thread = "" // of another channel
	_, err = a.send(ctx, m, func(ctx context.Context, options ...slackgo.MsgOption) (string, error) {
		_, ts, err := a.api.PostMessageContext(ctx, channel.ID, options...)
		return ts, err
	})
	if err != nil {
		return a.limited("post "+channel.ID, a.unsent(err))
	}
	return nil
}

// replied notes that a thread has a reply.
func (a *Adapter) replied(p thread.Place) {
	if p.Thread != "" {
		a.active.put(p.Channel+"/"+p.Thread, struct{}{})
	}
}

// isActive reports whether somebody replied in a thread. In others Slack does
// not show ephemeral messages, so what is not known counts as no.
func (a *Adapter) isActive(ctx context.Context, p thread.Place) bool {
	if p.Thread == "" {
		return false
	}
	if _, ok := a.active.get(p.Channel + "/" + p.Thread); ok {
		return true
	}
	if a.budget.take("look", lookRate, thread.Urgent) != nil {
		return false
	}
	messages, _, _, err := a.api.GetConversationRepliesContext(ctx, &slackgo.GetConversationRepliesParameters{
		ChannelID: p.Channel, Timestamp: p.Thread, Limit: 2})
	if err != nil {
		a.log.Info("looking whether a thread has replies", "err", a.limited("look", a.failed(err)))
		return false
	}
	if len(messages) < 2 { // the first is the root
		return false
	}
	a.replied(p)
	return true
}

// notHere are the errors after which an ephemeral message can still go another
// way.
var notHere = []string{"user_not_in_channel", "not_in_channel", "channel_not_found", "is_archived"}

// respond answers by a response URL. It may be used five times within half an
// hour, so it is no more than a way out.
func (a *Adapter) respond(ctx context.Context, hook string, c card.Card) error {
	body, err := json.Marshal(map[string]any{
		"response_type": "ephemeral", "replace_original": false,
		"text": fallback(c), "blocks": render(c, whole),
	})
	if err != nil {
		return fmt.Errorf("drawing: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hook, bytes.NewReader(body))
	if err != nil {
		return bare(err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	r, err := a.hooks.Do(req)
	if err != nil {
		return bare(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("answering: Slack says %s", r.Status)
	}
	return nil
}

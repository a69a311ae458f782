package slackd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxAck is the size from which on Slack takes no acknowledgement.
const maxAck = 20 << 10

// ErrNotAcknowledged is what a user sees of an app that did not answer a
// click, command or form in time.
var ErrNotAcknowledged = errors.New("the app did not respond in time")

// ErrNotConnected is ErrNotAcknowledged because the app has no socket open.
var ErrNotConnected = errors.New("the app is not connected")

// Delivery is one attempt to tell the app something.
type Delivery struct {
	Kind       string // "events_api", "interactive" or "slash_commands"
	On         string // as in Fault.On, such as "event:message"
	EnvelopeID string // by Socket Mode
	Conn       int    // the socket's number, counted from 1; 0 by HTTP
	Attempt    int    // 0 is the first
	Acked      bool
	Took       time.Duration // until it was acknowledged
	Error      string        // why it was not
	At         time.Time
}

// Deliveries are all attempts so far, oldest first.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// delivery is something to tell the app.
type delivery struct {
	kind    string
	on      string
	channel string
	payload map[string]any
	accepts bool          // an answer in the acknowledgement
	retries bool          // as events are
	done    chan response // of 1; gets what came of it
}

// response is the app's answer.
type response struct {
	payload json.RawMessage // nil if there was none
	err     error
}

// WaitIdle waits until all that there was to tell the app was acknowledged or
// given up. Calls that the app makes afterwards are another matter.
func (s *Server) WaitIdle(ctx context.Context) error {
	if err := s.wait(ctx, func() bool { return s.underway == 0 }); err != nil {
		return fmt.Errorf("waiting for deliveries to end: %w", err)
	}
	return nil
}

// tell sends an event about a channel to the app. As with Slack, events that
// happen together may arrive in any order.
func (s *Server) tell(c *Channel, event map[string]any) {
	kind := event["type"].(string)
	payload := map[string]any{
		"token": "verification-token", "team_id": s.cfg.Team.ID, "context_team_id": s.cfg.Team.ID, "context_enterprise_id": nil,
		"api_app_id": s.cfg.AppID, "event": event, "type": "event_callback", "event_id": s.id("Ev"), "event_time": s.now().Unix(),
		"is_ext_shared_channel": c != nil && len(c.Shared) > 0, "event_context": s.id("4-"),
		"authorizations": []any{map[string]any{"enterprise_id": nil, "team_id": s.cfg.Team.ID, "user_id": s.cfg.BotUser, "is_bot": true,
			"is_enterprise_install": false}},
	}
	channel := ""
	if c != nil {
		channel = c.ID
	}
	s.deliver(&delivery{kind: "events_api", on: "event:" + kind, channel: channel, payload: payload, retries: true})
}

// deliver starts telling the app something and returns what will hold the
// outcome.
func (s *Server) deliver(d *delivery) <-chan response {
	d.done = make(chan response, 1)
	// The payload is made now: what it shows is the state as it is.
	raw, err := json.Marshal(d.payload)
	if err != nil {
		panic(err) // of maps, strings and valid JSON
	}
	f := s.fault(d.on, d.channel)
	if s.ctx.Err() != nil {
		d.done <- response{err: ErrNotConnected}
		return d.done
	}
	s.underway++
	s.wg.Go(func() {
		s.attempts(d, raw, f)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.underway--
		s.touch()
	})
	return d.done
}

func (s *Server) sleep(d time.Duration) bool {
	if d <= 0 {
		return s.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// attempts delivers until the app acknowledges or there are no more retries.
func (s *Server) attempts(d *delivery, raw []byte, f Fault) {
	if !s.sleep(f.Delay) {
		return
	}
	settled := false
	settle := func(r response) {
		if !settled {
			settled = true
			d.done <- r
		}
	}
	extra, reason := f.Redeliver, ""
	for n := 0; ; n++ {
		r, why := s.attempt(d, raw, n, reason, f)
		f = Fault{} // it struck
		if r.err == nil {
			settle(r)
		}
		wait := time.Duration(0)
		switch {
		case extra > 0:
			extra--
			reason = "timeout"
		case r.err != nil && d.retries && n < len(s.cfg.Retries) && why != "no_retry":
			wait, reason = s.cfg.Retries[n], why
		default:
			settle(r)
			return
		}
		if !s.sleep(wait) {
			return
		}
	}
}

// attempt delivers once. reason is why it is delivered again.
func (s *Server) attempt(d *delivery, raw []byte, n int, reason string, f Fault) (r response, why string) {
	s.mu.Lock()
	hook := s.cfg.RequestURL
	index := len(s.events)
	s.events = append(s.events, Delivery{Kind: d.kind, On: d.on, Attempt: n, At: s.now()})
	s.mu.Unlock()
	start := time.Now()
	if hook != "" {
		r, why = s.post(hook, d, raw, n, reason, f)
	} else {
		r, why = s.envelope(d, raw, n, reason, f, index)
	}
	if f.LoseAck && r.err == nil {
		r, why = response{err: ErrNotAcknowledged}, "timeout"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &s.events[index]
	e.Took, e.Acked = time.Since(start), r.err == nil
	if r.err != nil {
		e.Error = r.err.Error()
	}
	s.touch()
	return r, why
}

// Signature is Slack's signature of a request body: what X-Slack-Signature
// holds beside X-Slack-Request-Timestamp.
func Signature(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v0:%s:%s", timestamp, body)
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

// request is a signed request to the app.
func (s *Server) request(ctx context.Context, to, contentType string, body []byte, f Fault) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	now := s.now()
	s.mu.Unlock()
	if f.OldTimestamp {
		now = now.Add(-6 * time.Minute)
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	secret := s.cfg.SigningSecret
	if f.BadSignature {
		secret += "!"
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", "Slackbot 1.0 (+https://api.slack.com/robots)")
	r.Header.Set("X-Slack-Request-Timestamp", timestamp)
	r.Header.Set("X-Slack-Signature", Signature(secret, timestamp, body))
	return r, nil
}

// post delivers by HTTP.
func (s *Server) post(to string, d *delivery, raw []byte, n int, reason string, f Fault) (response, string) {
	body, contentType := raw, "application/json"
	switch d.kind {
	case "interactive":
		contentType = "application/x-www-form-urlencoded"
		body = []byte(url.Values{"payload": {string(raw)}}.Encode())
	case "slash_commands":
		contentType = "application/x-www-form-urlencoded"
		form := url.Values{}
		for name, v := range d.payload {
			form.Set(name, fmt.Sprint(v))
		}
		body = []byte(form.Encode())
	}
	if f.Oversize {
		body = append(body, bytes.Repeat([]byte(" "), 16<<20)...)
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.AckTimeout)
	defer cancel()
	r, err := s.request(ctx, to, contentType, body, f)
	if err != nil {
		return response{err: err}, "connection_failed"
	}
	if n > 0 {
		r.Header.Set("X-Slack-Retry-Num", strconv.Itoa(n))
		r.Header.Set("X-Slack-Retry-Reason", map[string]string{"timeout": "http_timeout"}[reason])
		if reason != "timeout" {
			r.Header.Set("X-Slack-Retry-Reason", cmp.Or(reason, "unknown_error"))
		}
	}
	status, header, answer, err := exchange(r)
	switch {
	case ctx.Err() != nil:
		return response{err: ErrNotAcknowledged}, "timeout"
	case err != nil:
		return response{err: fmt.Errorf("%w: %v", ErrNotConnected, err)}, "connection_failed"
	case status < 200 || status > 299:
		why := "http_error"
		forged := f.BadSignature || f.OldTimestamp || f.Oversize
		if header.Get("X-Slack-No-Retry") == "1" || forged {
			why = "no_retry"
		}
		return response{err: fmt.Errorf("the app answered %d", status)}, why
	case len(bytes.TrimSpace(answer)) == 0:
		return response{}, ""
	case !strings.HasPrefix(header.Get("Content-Type"), "application/json") || !json.Valid(answer):
		answer, _ = json.Marshal(map[string]any{"text": string(answer)})
	}
	return response{payload: answer}, ""
}

// exchange sends a request and reads the answer, over a connection of its own
// so that none is left behind.
func exchange(r *http.Request) (int, http.Header, []byte, error) {
	r.Close = true
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return answer.StatusCode, answer.Header, body, err
}

// verifyURL asks the app at to whether it wants Slack's requests.
func (s *Server) verifyURL(ctx context.Context, to string) error {
	s.mu.Lock()
	challenge := s.secret()
	s.mu.Unlock()
	body, err := json.Marshal(map[string]string{"token": "verification-token", "challenge": challenge, "type": "url_verification"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AckTimeout)
	defer cancel()
	r, err := s.request(ctx, to, "application/json", body, Fault{})
	if err != nil {
		return fmt.Errorf("verifying the request URL: %w", err)
	}
	status, _, answer, err := exchange(r)
	if err != nil {
		return fmt.Errorf("verifying the request URL: %w", err)
	}
	var echo struct{ Challenge string }
	if json.Unmarshal(answer, &echo) != nil {
		echo.Challenge = strings.TrimSpace(string(answer))
	}
	if status != http.StatusOK || echo.Challenge != challenge {
		return fmt.Errorf("verifying the request URL: it answered %d without the challenge", status)
	}
	return nil
}

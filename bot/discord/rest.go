package discord

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bwmarrin/discordgo"

	"kgent/bot/card"
	"kgent/bot/thread"
)

// request is one call of the REST API.
type request struct {
	method string
	path   string // behind /api/v9
	// route is what Discord counts together: the path with only the ids of
	// channel, guild and webhook in it.
	route  string
	body   any
	files  []upload
	urgent bool // may use what is kept for what cannot wait
	// free is not counted by Discord's limit for all requests of a bot: answers
	// to interactions.
	free bool
}

type upload struct {
	fileRef
	kind string // content type
	data []byte
}

// maxWait is how long a call waits for its turn by itself; what has to wait
// longer is for the caller to plan.
const maxWait = 300 * time.Millisecond

// call sends one request, once, and returns the body of the answer. An error is
// a [*thread.RateLimitedError] (nothing was sent, or Discord refused it for
// now), an [*apiError] (Discord says no), a [*thread.UnknownError] (it was sent
// and the answer was lost), or another one (it was not sent).
func (a *Adapter) call(ctx context.Context, r request) ([]byte, error) {
	for {
		wait := a.limits.take(r.method+" "+r.route, r.urgent, r.free)
		if wait == 0 {
			break
		}
		if wait > maxWait {
			return nil, &thread.RateLimitedError{After: wait}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
	contentType, body, err := r.encode()
	if err != nil {
		return nil, err
	}
	limit := 15 * time.Second
	if len(r.files) > 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	x := &exchange{route: r.method + " " + r.route}
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { x.sent.Store(true) }})
	// discordgo's own waiting knows no context, so each request brings a
	// bucket that never waits; limits are [limiter]'s business.
	bucket := discordgo.NewRatelimiter().LockBucket(r.route)
	raw, err := a.rest.RequestWithLockedBucket(r.method, discordgo.EndpointAPI+strings.TrimPrefix(r.path, "/"), contentType, body, bucket, 0,
		discordgo.WithContext(ctx), discordgo.WithRetryOnRatelimit(false), discordgo.WithRestRetries(0))
	return raw, x.judge(raw, err)
}

func (r request) encode() (contentType string, body []byte, err error) {
	if r.body == nil {
		return "", nil, nil
	}
	payload, err := json.Marshal(r.body)
	if err != nil {
		return "", nil, fmt.Errorf("encoding a request to Discord: %w", err)
	}
	if len(r.files) == 0 {
		return "application/json", payload, nil
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part := func(disposition, kind string, data []byte) {
		if err != nil {
			return
		}
		var p io.Writer
		p, err = w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {kind}})
		if err == nil {
			_, err = p.Write(data)
		}
	}
	part(`form-data; name="payload_json"`, "application/json", payload)
	for i, f := range r.files {
		part(fmt.Sprintf(`form-data; name="files[%d]"; filename=%q`, i, f.Name), f.kind, f.data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", nil, fmt.Errorf("encoding files for Discord: %w", err)
	}
	return w.FormDataContentType(), b.Bytes(), nil
}

// exchange is what is known of one request besides discordgo's error.
type exchange struct {
	route  string
	sent   atomic.Bool
	status int
	retry  time.Duration
	code   int // of a 429, which discordgo does not tell
}

type exchangeKey struct{}

// apiError is Discord's no.
type apiError struct {
	Status int
	Code   int // Discord's own; 0 when it said none
	Text   string
}

func (e *apiError) Error() string {
	return fmt.Sprintf("Discord answered %d (%d): %s", e.Status, e.Code, e.Text)
}

// code is Discord's code of an error, or 0.
func code(err error) int {
	var e *apiError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// judge turns discordgo's error into one that says what happened. No error
// contains a URL, which may have a token in it.
func (x *exchange) judge(raw []byte, err error) error {
	if err == nil && x.status >= 200 && x.status < 300 {
		return nil
	}
	switch {
	case x.status == http.StatusTooManyRequests && x.code == codeTooOld:
		return &apiError{Status: x.status, Code: x.code, Text: "too many edits of old messages"}
	case x.status == http.StatusTooManyRequests:
		return &thread.RateLimitedError{After: x.retry}
	case x.status >= 500:
		return &thread.UnknownError{Err: fmt.Errorf("Discord answered %d", x.status)}
	case x.status >= 300:
		e := &apiError{Status: x.status, Text: http.StatusText(x.status)}
		var rest *discordgo.RESTError
		if errors.As(err, &rest) {
			raw = rest.ResponseBody
		}
		var said struct {
			Code    int             `json:"code"`
			Message string          `json:"message"`
			Errors  json.RawMessage `json:"errors"`
		}
		if json.Unmarshal(raw, &said) == nil && said.Message != "" {
			e.Code, e.Text = said.Code, plain(said.Message, 300)
			if len(said.Errors) > 0 {
				e.Text += " " + plain(string(said.Errors), 500)
			}
		}
		return e
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if x.sent.Load() {
		return &thread.UnknownError{Err: fmt.Errorf("waiting for Discord's answer: %w", err)}
	}
	return fmt.Errorf("reaching Discord: %w", err)
}

// transport sends what discordgo asks of discord.com to where the API is, and
// notes what each answer says about limits.
type transport struct {
	api    string
	next   http.RoundTripper
	limits *limiter
}

const discordAPI = "https://discord.com/api"

// maxAnswer bounds what is read of an answer: a page of 100 messages with all
// that a message can hold stays far below it.
const maxAnswer = 16 << 20

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	rest, ok := strings.CutPrefix(req.URL.String(), discordAPI)
	if !ok {
		return nil, errors.New("a request to something else than Discord's API")
	}
	u, err := url.Parse(t.api + rest)
	if err != nil {
		return nil, errors.New("a request to a malformed address")
	}
	out := req.Clone(req.Context())
	out.URL, out.Host = u, u.Host
	resp, err := t.next.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	if x, _ := req.Context().Value(exchangeKey{}).(*exchange); x != nil {
		x.status = resp.StatusCode
		var said struct {
			Code  int     `json:"code"`
			After float64 `json:"retry_after"` // seconds
		}
		if resp.StatusCode == http.StatusTooManyRequests {
			body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
			if err != nil {
				body = nil // the status says enough
			}
			_ = json.Unmarshal(body, &said) // what a proxy answers is no JSON
			resp.Body = struct {
				io.Reader
				io.Closer
			}{bytes.NewReader(body), resp.Body}
			x.code = said.Code
		}
		x.retry = t.limits.note(x.route, resp, x.code)
		if after := seconds(strconv.FormatFloat(said.After, 'f', 3, 64)); after > x.retry {
			x.retry = after
		}
	}
	return resp, nil
}

// limiter keeps this process within Discord's limits: so many requests a second
// in all, and per route what the answers' headers say.
type limiter struct {
	now     func() time.Time
	rate    float64 // a second, and at once
	reserve float64 // of these, for what is urgent

	mu     sync.Mutex
	tokens float64
	at     time.Time
	until  time.Time // nothing before: Discord said so
	routes map[string]*quota
	// invalid counts answers 401, 403 and 429 since a time: at 10,000 in ten
	// minutes Discord locks the address out.
	invalid      int
	invalidSince time.Time
	refused      bool // the last answer said that the token is wrong
}

type quota struct {
	left  int // -1 is not known
	reset time.Time
}

const (
	invalidWindow = 10 * time.Minute
	maxInvalid    = 5000 // half of what locks out
)

func newLimiter(rate int, now func() time.Time) *limiter {
	r := float64(rate)
	return &limiter{now: now, rate: r, reserve: r / 4, tokens: r, at: now(), routes: map[string]*quota{}}
}

// take returns 0 when a request may be sent now, and counts it; otherwise how
// long to wait.
func (l *limiter) take(route string, urgent, free bool) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if now.Sub(l.invalidSince) > invalidWindow {
		l.invalid, l.invalidSince = 0, now
	}
	if l.invalid >= maxInvalid && !urgent {
		return max(l.invalidSince.Add(invalidWindow).Sub(now), time.Second)
	}
	if free {
		return 0
	}
	if now.Before(l.until) {
		return l.until.Sub(now)
	}
	q := l.routes[route]
	if q != nil && q.left == 0 {
		if now.Before(q.reset) {
			return q.reset.Sub(now)
		}
		q.left = -1
	}
	if gone := now.Sub(l.at).Seconds(); gone > 0 {
		l.tokens = min(l.rate, l.tokens+gone*l.rate)
	}
	l.at = now
	need := 1.0
	if !urgent {
		need += l.reserve
	}
	if l.tokens < need {
		return max(time.Duration((need-l.tokens)/l.rate*float64(time.Second)), time.Millisecond)
	}
	l.tokens--
	if q != nil && q.left > 0 {
		q.left--
	}
	return 0
}

// note reads what an answer says about limits and returns how long to wait if
// it was refused for them.
func (l *limiter) note(route string, resp *http.Response, code int) time.Duration {
	h := resp.Header
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.refused = resp.StatusCode == http.StatusUnauthorized
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		l.invalid++
	}
	if code == codeTooOld {
		return 0 // about one message, not about the route
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		wait := seconds(h.Get("Retry-After"))
		if w := seconds(h.Get("X-RateLimit-Reset-After")); w > wait && h.Get("X-RateLimit-Global") == "" {
			wait = w
		}
		wait = max(wait, 100*time.Millisecond)
		if h.Get("X-RateLimit-Global") != "" || h.Get("X-RateLimit-Scope") == "global" {
			l.until = now.Add(wait)
		} else {
			l.set(route, quota{0, now.Add(wait)})
		}
		return wait
	}
	left, err := strconv.Atoi(h.Get("X-RateLimit-Remaining"))
	if after := seconds(h.Get("X-RateLimit-Reset-After")); err == nil && after > 0 {
		l.set(route, quota{max(left, 0), now.Add(after)})
	}
	return 0
}

func (l *limiter) set(route string, q quota) {
	if len(l.routes) >= 4096 {
		now := l.now()
		for k, old := range l.routes {
			if !now.Before(old.reset) {
				delete(l.routes, k)
			}
		}
	}
	l.routes[route] = &q
}

func seconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 86400 {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

// Discord's codes for what went wrong, of those that mean something here.
const (
	codeUnknownChannel     = 10003
	codeUnknownGuild       = 10004
	codeUnknownMember      = 10007
	codeUnknownMessage     = 10008
	codeUnknownUser        = 10013
	codeUnknownWebhook     = 10015
	codeUnknownInteraction = 10062
	codeTooOld             = 30046
	codeTooLarge           = 40005
	codeAnswered           = 40060
	codeMissingAccess      = 50001
	codeNotInDirect        = 50003
	codeNoDirect           = 50007
	codeMissingPermission  = 50013
	codeNotInThisChannel   = 50024
	codeBadWebhookToken    = 50027
	codeArchived           = 50083
	codeThreadExists       = 160004
	codeThreadLimit        = 160006
)

// gone says in words what cannot be done any more and what to do about it, or
// returns err as it is.
func gone(err error) error {
	var why string
	switch code(err) {
	case codeUnknownChannel:
		why = "the Discord channel or thread is gone"
	case codeUnknownGuild:
		why = "the Discord server is gone, or the bot was removed from it: invite it again"
	case codeUnknownMessage:
		why = "the message was deleted on Discord"
	case codeUnknownUser:
		why = "Discord knows no such user"
	case codeMissingAccess:
		why = "the bot may not see the Discord channel: give its role the permission View Channel there"
	case codeMissingPermission:
		why = "the bot may not do this in the Discord channel: give its role the permissions Send Messages, Send Messages in Threads, Create Public Threads, Attach Files, Read Message History and Manage Threads there"
	case codeNoDirect:
		why = "the person takes no direct messages from the bot"
	case codeThreadLimit:
		why = "the Discord server has as many active threads as it may have: archive some"
	case codeTooLarge:
		why = "Discord takes no files of this size"
	case codeArchived:
		why = "the Discord thread is archived and the bot may not open it: give its role the permission Manage Threads"
	default:
		return err
	}
	return &thread.GoneError{Why: why}
}

// notSent takes the doubt from an error of something that may be repeated.
func notSent(err error) error {
	var unknown *thread.UnknownError
	if errors.As(err, &unknown) {
		return unknown.Err
	}
	return err
}

// outgoing is the body of a message to send. Nobody is notified by what it says,
// and no link in it is unfolded.
type outgoing struct {
	Flags           discordgo.MessageFlags `json:"flags"`
	Components      []component            `json:"components"`
	AllowedMentions allowedMentions        `json:"allowed_mentions"`
	Attachments     []attachment           `json:"attachments,omitempty"`
	Nonce           string                 `json:"nonce,omitempty"`
	EnforceNonce    bool                   `json:"enforce_nonce,omitempty"`
	Reference       *reference             `json:"message_reference,omitempty"`
}

type reference struct {
	MessageID string `json:"message_id"`
	// FailIfGone false lets the message be sent when the other one is gone.
	FailIfGone bool `json:"fail_if_not_exists"`
}

type allowedMentions struct {
	Parse []string `json:"parse"`
}

type attachment struct {
	ID          int    `json:"id"`
	Filename    string `json:"filename"`
	Description string `json:"description,omitempty"`
}

// Flags of messages.
const (
	flagNoEmbeds   = discordgo.MessageFlagsSuppressEmbeds
	flagEphemeral  = discordgo.MessageFlagsEphemeral
	flagSilent     = discordgo.MessageFlagsSuppressNotifications
	flagComponents = discordgo.MessageFlagsIsComponentsV2
)

func compose(c card.Card, files []upload, m mark, flags discordgo.MessageFlags) outgoing {
	out := outgoing{Flags: flagComponents | flags, AllowedMentions: allowedMentions{Parse: []string{}}}
	refs := make([]fileRef, len(files))
	for i, f := range files {
		refs[i] = f.fileRef
		out.Attachments = append(out.Attachments, attachment{i, f.Name, plain(f.Alt, maxAlt)})
	}
	out.Components = render(c, refs, m)
	return out
}

// health says that Discord refuses what is sent.
func (l *limiter) health() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused {
		return errors.New("Discord does not accept the token: reset it on the application's page, under Bot, and set it as DISCORD_TOKEN")
	}
	return nil
}

package discordd

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// call is one REST request on its way through.
type call struct {
	s       *Server
	r       *http.Request
	version int
	body    []byte
	files   []upload
}

func (c *call) path(name string) string { return c.r.PathValue(name) }

// route is one documented endpoint.
type route struct {
	method  string
	pattern string
	// limit names the rate-limit bucket: n requests per window, apart for
	// each value of the path parameters in by.
	limit bucket
	// open routes need no Authorization: the token in the path is the key.
	open bool
	// handle runs with s.mu held. The answer is a status and a JSON body.
	handle func(*call) (int, any, *apiError)
}

type bucket struct {
	name   string
	n      int
	window time.Duration
	by     []string
	// apart is true for what does not count towards the global limit.
	apart bool
}

// Sizes of buckets are not published; bots are told to read the headers. These
// are of the order that bots have met.
var (
	bucketSend   = bucket{name: "message-create", n: 5, window: 5 * time.Second, by: []string{"channel"}}
	bucketEdit   = bucket{name: "message-edit", n: 5, window: 5 * time.Second, by: []string{"channel"}}
	bucketDelete = bucket{name: "message-delete", n: 5, window: time.Second, by: []string{"channel"}}
	bucketRead   = bucket{name: "message-read", n: 10, window: 5 * time.Second, by: []string{"channel"}}
	bucketReact  = bucket{name: "reaction", n: 1, window: 250 * time.Millisecond, by: []string{"channel"}}
	bucketThread = bucket{name: "thread", n: 5, window: 10 * time.Second, by: []string{"channel"}}
	bucketGuild  = bucket{name: "guild", n: 10, window: 5 * time.Second, by: []string{"guild"}}
	bucketOther  = bucket{name: "other", n: 50, window: time.Second}
	bucketHook   = bucket{name: "webhook", n: 5, window: 2 * time.Second, by: []string{"token"}, apart: true}
	bucketCall   = bucket{name: "callback", n: 5, window: 2 * time.Second, by: []string{"token"}, apart: true}
	bucketCmds   = bucket{name: "commands", n: 10, window: 5 * time.Second, by: []string{"guild"}}
)

const (
	globalPerSecond = 50
	invalidPerTen   = 10000 // 401, 403 and 429 answers in ten minutes
)

func (s *Server) routes() []route {
	return []route{
		{method: "GET", pattern: "/gateway", limit: bucketOther, open: true, handle: s.getGateway},
		{method: "GET", pattern: "/gateway/bot", limit: bucketOther, handle: s.getGatewayBot},
		{method: "GET", pattern: "/users/@me", limit: bucketOther, handle: s.getMe},
		{method: "GET", pattern: "/users/@me/guilds", limit: bucketOther, handle: s.getMyGuilds},
		{method: "POST", pattern: "/users/@me/channels", limit: bucketOther, handle: s.createDM},
		{method: "GET", pattern: "/users/{user}", limit: bucketOther, handle: s.getUser},
		{method: "GET", pattern: "/applications/@me", limit: bucketOther, handle: s.getApplication},
		{method: "GET", pattern: "/oauth2/applications/@me", limit: bucketOther, handle: s.getApplication},

		{method: "GET", pattern: "/applications/{app}/commands", limit: bucketCmds, handle: s.getCommands},
		{method: "PUT", pattern: "/applications/{app}/commands", limit: bucketCmds, handle: s.putCommands},
		{method: "POST", pattern: "/applications/{app}/commands", limit: bucketCmds, handle: s.postCommand},
		{method: "DELETE", pattern: "/applications/{app}/commands/{command}", limit: bucketCmds, handle: s.deleteCommand},
		{method: "GET", pattern: "/applications/{app}/guilds/{guild}/commands", limit: bucketCmds, handle: s.getCommands},
		{method: "PUT", pattern: "/applications/{app}/guilds/{guild}/commands", limit: bucketCmds, handle: s.putCommands},
		{method: "POST", pattern: "/applications/{app}/guilds/{guild}/commands", limit: bucketCmds, handle: s.postCommand},
		{method: "DELETE", pattern: "/applications/{app}/guilds/{guild}/commands/{command}", limit: bucketCmds, handle: s.deleteCommand},

		{method: "GET", pattern: "/guilds/{guild}", limit: bucketGuild, handle: s.getGuild},
		{method: "GET", pattern: "/guilds/{guild}/channels", limit: bucketGuild, handle: s.getGuildChannels},
		{method: "GET", pattern: "/guilds/{guild}/roles", limit: bucketGuild, handle: s.getRoles},
		{method: "GET", pattern: "/guilds/{guild}/members", limit: bucketGuild, handle: s.getMembers},
		{method: "GET", pattern: "/guilds/{guild}/members/{user}", limit: bucketGuild, handle: s.getMember},
		{method: "GET", pattern: "/guilds/{guild}/threads/active", limit: bucketGuild, handle: s.getActiveThreads},

		{method: "GET", pattern: "/channels/{channel}", limit: bucketOther, handle: s.getChannel},
		{method: "PATCH", pattern: "/channels/{channel}", limit: bucketThread, handle: s.patchChannel},
		{method: "DELETE", pattern: "/channels/{channel}", limit: bucketThread, handle: s.deleteChannel},
		{method: "POST", pattern: "/channels/{channel}/typing", limit: bucketSend, handle: s.typing},
		{method: "GET", pattern: "/channels/{channel}/messages", limit: bucketRead, handle: s.getMessages},
		{method: "POST", pattern: "/channels/{channel}/messages", limit: bucketSend, handle: s.createMessage},
		{method: "GET", pattern: "/channels/{channel}/messages/{message}", limit: bucketRead, handle: s.getMessage},
		{method: "PATCH", pattern: "/channels/{channel}/messages/{message}", limit: bucketEdit, handle: s.editMessage},
		{method: "DELETE", pattern: "/channels/{channel}/messages/{message}", limit: bucketDelete, handle: s.deleteMessage},
		{method: "PUT", pattern: "/channels/{channel}/messages/{message}/reactions/{emoji}/@me", limit: bucketReact, handle: s.addReaction},
		{method: "DELETE", pattern: "/channels/{channel}/messages/{message}/reactions/{emoji}/@me", limit: bucketReact, handle: s.removeReaction},
		{method: "POST", pattern: "/channels/{channel}/messages/{message}/threads", limit: bucketThread, handle: s.startThread},
		{method: "POST", pattern: "/channels/{channel}/threads", limit: bucketThread, handle: s.startThread},
		{method: "PUT", pattern: "/channels/{channel}/thread-members/@me", limit: bucketThread, handle: s.joinThread},
		{method: "DELETE", pattern: "/channels/{channel}/thread-members/@me", limit: bucketThread, handle: s.joinThread},
		{method: "PUT", pattern: "/channels/{channel}/thread-members/{user}", limit: bucketThread, handle: s.joinThread},

		{method: "POST", pattern: "/interactions/{interaction}/{token}/callback", limit: bucketCall, open: true, handle: s.callback},
		{method: "POST", pattern: "/webhooks/{app}/{token}", limit: bucketHook, open: true, handle: s.createFollowup},
		{method: "GET", pattern: "/webhooks/{app}/{token}/messages/{message}", limit: bucketHook, open: true, handle: s.getFollowup},
		{method: "PATCH", pattern: "/webhooks/{app}/{token}/messages/{message}", limit: bucketHook, open: true, handle: s.editFollowup},
		{method: "DELETE", pattern: "/webhooks/{app}/{token}/messages/{message}", limit: bucketHook, open: true, handle: s.deleteFollowup},
	}
}

// handler serves the API, the gateway, the files and the page.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		for _, v := range []string{"/v9", "/v10"} {
			mux.HandleFunc(rt.method+" /api"+v+rt.pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, rt, v) })
		}
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		if v, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/"), "/"); v != "v9" && v != "v10" {
			write(w, nil, 0, nil, errInvalidAPI)
			return
		}
		s.record(r, r.URL.Path, nil, nil, http.StatusNotFound)
		write(w, nil, 0, nil, errNotFound)
	})
	for _, p := range []string{"/gateway", "/gateway/", "/resume", "/resume/"} {
		mux.HandleFunc("GET "+p, s.serveGateway)
	}
	mux.HandleFunc("GET /attachments/{channel}/{attachment}/{name}", s.serveFile)
	s.pageRoutes(mux)
	return mux
}

// serve takes a request through authorization, faults, rate limits and its
// handler.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, rt route, version string) {
	c := &call{s: s, r: r, version: 9}
	if version == "/v10" {
		c.version = 10
	}
	body, files, bad := s.readBody(r)
	c.body, c.files = body, files
	fault := s.fault(r.Method, rt.pattern)
	if fault != nil && fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
		case <-s.ctx.Done():
		}
	}
	header := http.Header{}
	status, answer, failure := 0, any(nil), bad
	before := fault != nil && !fault.Commit && fault.answers()
	if failure == nil && !before {
		status, answer, failure = s.locked(c, rt, header)
	}
	final := status
	if failure != nil {
		final = failure.status
	}
	if fault != nil && fault.answers() {
		final = fault.status()
		s.record(r, rt.pattern, c.body, c.files, final)
		s.faulty(w, r, rt, fault)
		return
	}
	s.record(r, rt.pattern, c.body, c.files, final)
	write(w, header, status, answer, failure)
}

// locked runs a request under the lock and encodes its answer there, while
// nothing changes.
func (s *Server) locked(c *call, rt route, header http.Header) (int, any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status, answer, failure := s.run(c, rt, header)
	if answer != nil {
		answer = json.RawMessage(encode(answer))
	}
	return status, answer, failure
}

// run is what happens under the lock.
func (s *Server) run(c *call, rt route, header http.Header) (int, any, *apiError) {
	if s.limits.banned(s.now()) && s.cfg.RateScale > 0 {
		return 0, nil, fail(http.StatusTooManyRequests, 0, "You are being blocked from accessing our API temporarily.")
	}
	if !rt.open && (c.r.Header.Get("Authorization") != "Bot "+s.token) {
		s.limits.invalid(s.now())
		return 0, nil, errUnauthorized
	}
	if s.cfg.RateScale > 0 {
		if limited := s.limit(c, rt, header); limited != nil {
			s.limits.invalid(s.now())
			return 0, nil, limited
		}
	}
	status, answer, failure := rt.handle(c)
	if failure != nil && (failure.status == http.StatusForbidden || failure.status == http.StatusUnauthorized) {
		s.limits.invalid(s.now())
	}
	return status, answer, failure
}

// write sends an answer in Discord's form.
func write(w http.ResponseWriter, header http.Header, status int, answer any, failure *apiError) {
	for k, v := range header {
		w.Header()[k] = v
	}
	if failure != nil {
		status = failure.status
		body := map[string]any{"message": failure.message, "code": failure.code}
		if failure.fields != nil {
			body["errors"] = failure.fields.errors
		}
		if failure.retry > 0 { // an exact number, where Retry-After is in whole seconds
			body["retry_after"] = math.Ceil(failure.retry.Seconds()*1000) / 1000
			body["global"] = failure.scope == "global"
			delete(body, "code")
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(failure.retry.Seconds()))))
			w.Header().Set("X-RateLimit-Scope", failure.scope)
			if failure.scope == "global" {
				w.Header().Set("X-RateLimit-Global", "true")
			}
		}
		answer = body
	}
	if answer == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that went away is its own affair.
	_ = json.NewEncoder(w).Encode(answer)
}

// limiter keeps the windows of the rate limits.
type limiter struct {
	windows map[string]*window
	bad     []time.Time
}

type window struct {
	ends time.Time
	left int
}

func (l *limiter) invalid(now time.Time) {
	l.bad = append(l.bad, now)
	for len(l.bad) > 0 && now.Sub(l.bad[0]) > 10*time.Minute {
		l.bad = l.bad[1:]
	}
}

func (l *limiter) banned(now time.Time) bool {
	n := 0
	for _, t := range l.bad {
		if now.Sub(t) <= 10*time.Minute {
			n++
		}
	}
	return n >= invalidPerTen
}

// take counts a request in a window; when none is left, it says how long to
// wait.
func (l *limiter) take(key string, n int, length time.Duration, now time.Time) (w *window, wait time.Duration) {
	if l.windows == nil {
		l.windows = map[string]*window{}
	}
	w = l.windows[key]
	if w == nil || !now.Before(w.ends) {
		w = &window{ends: now.Add(length), left: n}
		l.windows[key] = w
	}
	if w.left == 0 {
		return w, w.ends.Sub(now)
	}
	w.left--
	return w, 0
}

// limit applies the global limit and the route's bucket and sets the headers.
func (s *Server) limit(c *call, rt route, header http.Header) *apiError {
	now := s.now()
	scaled := func(d time.Duration) time.Duration { return time.Duration(float64(d) * s.cfg.RateScale) }
	if !rt.limit.apart {
		if _, wait := s.limits.take("global", globalPerSecond, scaled(time.Second), now); wait > 0 {
			return limited(wait, "global")
		}
	}
	key := rt.limit.name
	for _, by := range rt.limit.by {
		key += " " + c.path(by)
	}
	w, wait := s.limits.take(key, rt.limit.n, scaled(rt.limit.window), now)
	header.Set("X-RateLimit-Bucket", fmt.Sprintf("%x", rt.limit.name))
	header.Set("X-RateLimit-Limit", strconv.Itoa(rt.limit.n))
	header.Set("X-RateLimit-Remaining", strconv.Itoa(w.left))
	header.Set("X-RateLimit-Reset", fmt.Sprintf("%.3f", float64(w.ends.UnixMilli())/1000))
	header.Set("X-RateLimit-Reset-After", fmt.Sprintf("%.3f", math.Ceil(w.ends.Sub(now).Seconds()*1000)/1000))
	if wait > 0 {
		return limited(wait, "user")
	}
	return nil
}

// limited is the 429 for one scope.
func limited(wait time.Duration, scope string) *apiError {
	return &apiError{status: http.StatusTooManyRequests, message: "You are being rate limited.", retry: wait, scope: scope}
}

// Request is one REST request as it came, for tests.
type Request struct {
	Method string
	Route  string // as documented, with {channel} and so on
	Path   string
	Body   []byte // the JSON part
	Files  []string
	Status int // as answered; 0 when the answer was withheld
	At     time.Time
}

func (s *Server) record(r *http.Request, route string, body []byte, files []upload, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	req := Request{Method: r.Method, Route: route, Path: r.URL.RequestURI(), Body: body, Status: status, At: s.now()}
	for _, f := range files {
		req.Files = append(req.Files, f.name)
	}
	s.requests = append(s.requests, req)
	s.notify()
}

// Requests lists the REST requests so far, oldest first. With a route pattern
// only those.
func (s *Server) Requests(method, route string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Request
	for _, r := range s.requests {
		if (method == "" || r.Method == method) && (route == "" || r.Route == route) {
			out = append(out, r)
		}
	}
	return out
}

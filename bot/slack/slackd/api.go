package slackd

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBody is the largest request the Web API takes here.
const maxBody = 4 << 20

// Call is one call of the Web API as it arrived.
type Call struct {
	Method string
	Args   map[string]string // without the token; structures as JSON
	Error  string            // what was answered; empty when it went well
	At     time.Time
}

// Calls are the calls of a method so far, or of all methods if it is empty.
func (s *Server) Calls(method string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var calls []Call
	for _, c := range s.calls {
		if method == "" || c.Method == method {
			calls = append(calls, c)
		}
	}
	return calls
}

// apiError is an answer with ok=false.
type apiError struct {
	code     string
	messages []string // response_metadata.messages
	retry    time.Duration
}

func (e *apiError) Error() string { return e.code }

func fail(code string, messages ...string) error { return &apiError{code: code, messages: messages} }

// call is a call of the Web API being answered.
type call struct {
	method string
	args   map[string]string
	token  string
}

func (c *call) bool(name string) bool {
	return c.args[name] == "true" || c.args[name] == "1"
}

func (c *call) int(name string, otherwise int) int {
	if n, err := strconv.Atoi(c.args[name]); err == nil {
		return n
	}
	return otherwise
}

// object returns an argument that is JSON, or nil if it is absent.
func (c *call) object(name string) json.RawMessage {
	v := c.args[name]
	if v == "" || v == "null" {
		return nil
	}
	return json.RawMessage(v)
}

// method is one method of the Web API. tier is Slack's rate limit tier, 0 for
// a method with limits of its own. app says that it takes the app-level token.
type method struct {
	do   func(*Server, *call) (map[string]any, error)
	tier int
	app  bool
}

var methods = map[string]method{
	"api.test":                     {do: (*Server).apiTest, tier: 4},
	"auth.test":                    {do: (*Server).authTest},
	"apps.connections.open":        {do: (*Server).connectionsOpen, tier: 1, app: true},
	"bots.info":                    {do: (*Server).botsInfo, tier: 3},
	"team.info":                    {do: (*Server).teamInfo, tier: 3},
	"chat.postMessage":             {do: (*Server).chatPost},
	"chat.update":                  {do: (*Server).chatUpdate, tier: 3},
	"chat.delete":                  {do: (*Server).chatDelete, tier: 3},
	"chat.postEphemeral":           {do: (*Server).chatEphemeral, tier: 4},
	"chat.getPermalink":            {do: (*Server).chatPermalink},
	"conversations.info":           {do: (*Server).conversationsInfo, tier: 3},
	"conversations.list":           {do: (*Server).conversationsList, tier: 2},
	"conversations.members":        {do: (*Server).conversationsMembers, tier: 4},
	"conversations.history":        {do: (*Server).conversationsHistory, tier: 3},
	"conversations.replies":        {do: (*Server).conversationsReplies, tier: 3},
	"conversations.open":           {do: (*Server).conversationsOpen, tier: 3},
	"users.info":                   {do: (*Server).usersInfo, tier: 4},
	"users.list":                   {do: (*Server).usersList, tier: 2},
	"users.lookupByEmail":          {do: (*Server).usersLookup, tier: 3},
	"users.conversations":          {do: (*Server).usersConversations, tier: 3},
	"usergroups.list":              {do: (*Server).usergroupsList, tier: 2},
	"usergroups.users.list":        {do: (*Server).usergroupsUsers, tier: 2},
	"reactions.add":                {do: (*Server).reactionsAdd, tier: 3},
	"reactions.remove":             {do: (*Server).reactionsRemove, tier: 2},
	"views.open":                   {do: (*Server).viewsOpen, tier: 4},
	"views.push":                   {do: (*Server).viewsPush, tier: 4},
	"views.update":                 {do: (*Server).viewsUpdate, tier: 4},
	"views.publish":                {do: (*Server).viewsPublish, tier: 4},
	"files.getUploadURLExternal":   {do: (*Server).filesUploadURL, tier: 4},
	"files.completeUploadExternal": {do: (*Server).filesComplete, tier: 4},
	"files.info":                   {do: (*Server).filesInfo, tier: 4},
	"files.delete":                 {do: (*Server).filesDelete, tier: 3},
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/{method}", s.serveAPI)
	mux.HandleFunc("GET /link/", s.serveSocket)
	mux.HandleFunc("POST /upload/{id}/{secret}", s.serveUpload)
	mux.HandleFunc("GET /files-pri/{id}/{name}", s.serveFile)
	mux.HandleFunc("POST /hooks/{secret}", s.serveHook)
	return mux
}

// flatten makes a JSON object the arguments of a call.
func flatten(raw json.RawMessage) (map[string]string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	args := map[string]string{}
	for name, raw := range object {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		args[name] = text
	}
	return args, nil
}

// arguments reads a call's arguments, which Slack takes as a form, as JSON or
// in the query.
func arguments(r *http.Request) (map[string]string, error) {
	args := map[string]string{}
	kind, params, err := mime.ParseMediaType(cmp.Or(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"))
	if err != nil {
		return nil, fail("invalid_post_type")
	}
	if charset := strings.ToLower(params["charset"]); charset != "" && charset != "utf-8" && charset != "iso-8859-1" {
		return nil, fail("invalid_charset")
	}
	switch kind {
	case "application/json":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, fail("request_timeout")
		}
		if len(body) == 0 { // as slack-go sends what has no arguments
			break
		}
		if args, err = flatten(body); err != nil {
			return nil, fail("invalid_json")
		}
	case "application/x-www-form-urlencoded", "multipart/form-data":
		if kind == "multipart/form-data" {
			err = r.ParseMultipartForm(maxBody)
		} else {
			err = r.ParseForm()
		}
		if err != nil {
			return nil, fail("invalid_form_data")
		}
		for name := range r.PostForm {
			args[name] = r.PostForm.Get(name)
		}
		if r.MultipartForm != nil {
			r.MultipartForm.RemoveAll()
		}
	default:
		return nil, fail("invalid_post_type")
	}
	for name := range r.URL.Query() {
		if _, ok := args[name]; !ok {
			args[name] = r.URL.Query().Get(name)
		}
	}
	return args, nil
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	c := &call{method: r.PathValue("method")}
	args, err := arguments(r)
	if err != nil {
		s.mu.Lock()
		s.calls = append(s.calls, Call{Method: c.method, Error: err.Error(), At: s.now()})
		s.mu.Unlock()
		answer(w, nil, err)
		return
	}
	c.args = args
	c.token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	c.token = cmp.Or(c.token, args["token"])
	delete(args, "token")

	s.mu.Lock()
	f := s.fault(c.method, args["channel"])
	s.mu.Unlock()
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return
		}
	}
	var body map[string]any
	err = f.refusal()
	if err == nil && (f.AfterCommit || f.Status == 0 && !f.Drop) {
		s.mu.Lock()
		body, err = s.call(c)
		s.mu.Unlock()
	}
	s.mu.Lock()
	done := Call{Method: c.method, Args: maps.Clone(args), At: s.now()}
	switch {
	case f.Status != 0:
		done.Error = strconv.Itoa(f.Status)
	case f.Drop:
		done.Error = "no answer"
	case err != nil:
		done.Error = err.Error()
	}
	s.calls = append(s.calls, done)
	s.touch()
	s.mu.Unlock()
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler) // closes the connection
	case f.Status != 0:
		http.Error(w, http.StatusText(f.Status), f.Status)
	default:
		answer(w, body, err)
	}
}

// call checks token and rate, and does what was asked.
func (s *Server) call(c *call) (map[string]any, error) {
	m, ok := methods[c.method]
	if !ok {
		return nil, fail("unknown_method")
	}
	want := s.cfg.BotToken
	other := s.cfg.AppToken
	if m.app {
		want, other = other, want
	}
	switch {
	case c.method == "api.test":
	case c.token == "":
		return nil, fail("not_authed")
	case c.token == other:
		return nil, fail("not_allowed_token_type")
	case c.token != want:
		return nil, fail("invalid_auth")
	}
	if err := s.limit(c, m.tier); err != nil {
		return nil, err
	}
	return m.do(s, c)
}

// answer writes Slack's form of success or failure.
func answer(w http.ResponseWriter, body map[string]any, err error) {
	if body == nil {
		body = map[string]any{}
	}
	body["ok"] = err == nil
	status := http.StatusOK
	if err != nil {
		body["error"] = err.Error()
		var e *apiError
		if errors.As(err, &e) {
			if len(e.messages) > 0 {
				body["response_metadata"] = map[string]any{"messages": e.messages}
				body["errors"] = e.messages
			}
			if e.code == "ratelimited" {
				w.Header().Set("Retry-After", strconv.Itoa(int(max(1, (e.retry+time.Second-1)/time.Second))))
				status = http.StatusTooManyRequests
			}
		}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// bucket is a token bucket.
type bucket struct {
	tokens float64
	at     time.Time
}

// take takes one token of a bucket that holds up to burst and gains rate a
// second; if there is none it says how long to wait for it.
func (s *Server) take(key string, burst, rate float64) time.Duration {
	burst, rate = max(1, burst*s.cfg.RateScale), rate*s.cfg.RateScale
	now := s.now()
	b := s.buckets[key]
	if b == nil {
		b = &bucket{tokens: burst, at: now}
		s.buckets[key] = b
	}
	b.tokens = min(burst, b.tokens+max(0, now.Sub(b.at).Seconds())*rate)
	b.at = now
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / rate * float64(time.Second))
	}
	b.tokens--
	return 0
}

// Slack documents tiers as calls a minute for a method and workspace, with
// some burst on top; here the burst is the minute's whole allowance, except
// for tier 1, whose 1 a minute no reconnecting client would survive: 20.
var tiers = map[int]struct{ burst, perMinute float64 }{
	1: {20, 1}, 2: {20, 20}, 3: {50, 50}, 4: {100, 100},
}

// A post is limited by the second and channel, "short bursts" allowed, and by
// several hundred a minute for the workspace.
const (
	postBurst             = 4
	postsPerSecond        = 1
	postsPerTeamPerMinute = 300
	otherCallsPerMinute   = 600
)

func (s *Server) limit(c *call, tier int) error {
	if s.cfg.NoRateLimits {
		return nil
	}
	var wait time.Duration
	switch {
	case c.method == "chat.postMessage":
		wait = s.take("post "+c.args["channel"], postBurst, postsPerSecond)
		if wait == 0 {
			wait = s.take("post", postsPerTeamPerMinute, postsPerTeamPerMinute/60.0)
		}
	case tier == 0:
		wait = s.take(c.method, otherCallsPerMinute, otherCallsPerMinute/60.0)
	default:
		t := tiers[tier]
		wait = s.take(c.method, t.burst, t.perMinute/60)
	}
	if wait > 0 {
		return &apiError{code: "ratelimited", retry: wait}
	}
	return nil
}

func (s *Server) apiTest(c *call) (map[string]any, error) {
	if code := c.args["error"]; code != "" {
		return nil, fail(code)
	}
	return map[string]any{"args": c.args}, nil
}

func (s *Server) authTest(*call) (map[string]any, error) {
	return map[string]any{"url": s.teamURL(), "team": s.cfg.Team.Name, "team_id": s.cfg.Team.ID, "user": s.users[s.cfg.BotUser].Name,
		"user_id": s.cfg.BotUser, "bot_id": s.cfg.BotID, "is_enterprise_install": false}, nil
}

func (s *Server) teamURL() string { return "https://" + s.cfg.Team.Domain + ".slack.com/" }

func (s *Server) botsInfo(c *call) (map[string]any, error) {
	if c.args["bot"] != s.cfg.BotID {
		return nil, fail("bot_not_found")
	}
	return map[string]any{"bot": map[string]any{"id": s.cfg.BotID, "app_id": s.cfg.AppID, "user_id": s.cfg.BotUser, "name": s.cfg.AppName, "deleted": false}}, nil
}

func (s *Server) teamInfo(*call) (map[string]any, error) {
	return map[string]any{"team": map[string]any{"id": s.cfg.Team.ID, "name": s.cfg.Team.Name, "domain": s.cfg.Team.Domain}}, nil
}

func (s *Server) wireChannel(c *Channel) map[string]any {
	if c.IM != "" {
		return map[string]any{"id": c.ID, "is_im": true, "is_channel": false, "is_group": false, "is_private": true, "user": c.IM,
			"is_archived": false, "is_ext_shared": false, "is_shared": false}
	}
	return map[string]any{"id": c.ID, "name": c.Name, "name_normalized": c.Name, "is_channel": !c.Private, "is_group": c.Private, "is_im": false,
		"is_private": c.Private, "is_archived": c.Archived, "is_shared": len(c.Shared) > 0, "is_ext_shared": len(c.Shared) > 0,
		"is_org_shared": false, "shared_team_ids": append([]string{s.cfg.Team.ID}, c.Shared...), "context_team_id": s.cfg.Team.ID,
		"is_member": slices.Contains(c.Members, s.cfg.BotUser), "num_members": len(c.Members), "topic": map[string]any{"value": c.Topic}}
}

// channel finds a channel the bot may know of: private ones only as a member.
func (s *Server) channel(id string) (*Channel, error) {
	c := s.channels[id]
	if c == nil || (c.Private || c.IM != "") && !slices.Contains(c.Members, s.cfg.BotUser) {
		return nil, fail("channel_not_found")
	}
	return c, nil
}

func (s *Server) conversationsInfo(c *call) (map[string]any, error) {
	ch, err := s.channel(c.args["channel"])
	if err != nil {
		return nil, err
	}
	return map[string]any{"channel": s.wireChannel(ch)}, nil
}

// listed are the channels in a stable order.
func (s *Server) listed(match func(*Channel) bool) []any {
	ids := slices.Sorted(maps.Keys(s.channels))
	list := []any{}
	for _, id := range ids {
		if c := s.channels[id]; match(c) {
			list = append(list, s.wireChannel(c))
		}
	}
	return list
}

func (s *Server) conversationsList(c *call) (map[string]any, error) {
	types := strings.Split(cmp.Or(c.args["types"], "public_channel"), ",")
	list := s.listed(func(ch *Channel) bool {
		_, err := s.channel(ch.ID)
		kind := map[string]string{"channel": "public_channel", "group": "private_channel", "im": "im"}[ch.kind()]
		return err == nil && slices.Contains(types, kind) && !(ch.Archived && c.bool("exclude_archived"))
	})
	return map[string]any{"channels": list, "response_metadata": map[string]any{"next_cursor": ""}}, nil
}

func (s *Server) usersConversations(c *call) (map[string]any, error) {
	user := cmp.Or(c.args["user"], s.cfg.BotUser)
	if s.users[user] == nil {
		return nil, fail("user_not_found")
	}
	types := strings.Split(cmp.Or(c.args["types"], "public_channel"), ",")
	list := s.listed(func(ch *Channel) bool {
		_, err := s.channel(ch.ID)
		kind := map[string]string{"channel": "public_channel", "group": "private_channel", "im": "im"}[ch.kind()]
		return err == nil && slices.Contains(ch.Members, user) && slices.Contains(types, kind)
	})
	return map[string]any{"channels": list, "response_metadata": map[string]any{"next_cursor": ""}}, nil
}

func (s *Server) conversationsMembers(c *call) (map[string]any, error) {
	ch, err := s.channel(c.args["channel"])
	if err != nil {
		return nil, err
	}
	return map[string]any{"members": slices.Clone(ch.Members), "response_metadata": map[string]any{"next_cursor": ""}}, nil
}

func (s *Server) conversationsOpen(c *call) (map[string]any, error) {
	users := strings.Split(c.args["users"], ",")
	if c.args["users"] == "" {
		return nil, fail("users_list_not_supplied")
	}
	if len(users) > 1 {
		return nil, fail("method_not_supported_for_channel_type")
	}
	if s.users[users[0]] == nil {
		return nil, fail("user_not_found")
	}
	if users[0] == s.cfg.BotUser || s.users[users[0]].Bot {
		return nil, fail("cannot_dm_bot")
	}
	ch := s.im(users[0])
	if c.bool("return_im") {
		return map[string]any{"channel": s.wireChannel(ch)}, nil
	}
	return map[string]any{"channel": map[string]any{"id": ch.ID}}, nil
}

// page cuts one page out of messages that are sorted as they shall appear.
func (s *Server) page(c *call, list []*Message) (map[string]any, error) {
	limit := min(max(c.int("limit", 100), 1), 999)
	start := 0
	if cursor := c.args["cursor"]; cursor != "" {
		n, err := strconv.Atoi(cursor)
		if err != nil || n < 0 || n > len(list) {
			return nil, fail("invalid_cursor")
		}
		start = n
	}
	end := min(start+limit, len(list))
	out := []any{}
	for _, m := range list[start:end] {
		w := s.wire(m)
		if !c.bool("include_all_metadata") {
			delete(w, "metadata")
		}
		out = append(out, w)
	}
	body := map[string]any{"messages": out, "has_more": end < len(list)}
	if end < len(list) {
		body["response_metadata"] = map[string]any{"next_cursor": strconv.Itoa(end)}
	}
	return body, nil
}

// within reports whether a message is in the time span that the call asks for.
func within(c *call, m *Message) bool {
	oldest, latest := c.args["oldest"], c.args["latest"]
	if c.bool("inclusive") {
		return (oldest == "" || m.TS >= oldest) && (latest == "" || m.TS <= latest)
	}
	return (oldest == "" || m.TS > oldest) && (latest == "" || m.TS < latest)
}

func (s *Server) conversationsHistory(c *call) (map[string]any, error) {
	ch, err := s.channel(c.args["channel"])
	if err != nil {
		return nil, err
	}
	if !slices.Contains(ch.Members, s.cfg.BotUser) {
		return nil, fail("not_in_channel")
	}
	var list []*Message
	for _, m := range slices.Backward(s.messages[ch.ID]) {
		if m.visible("") && (m.ThreadTS == "" || m.ThreadTS == m.TS || m.Broadcast) && within(c, m) {
			list = append(list, m)
		}
	}
	return s.page(c, list)
}

func (s *Server) conversationsReplies(c *call) (map[string]any, error) {
	ch, err := s.channel(c.args["channel"])
	if err != nil {
		return nil, err
	}
	if !slices.Contains(ch.Members, s.cfg.BotUser) {
		return nil, fail("not_in_channel")
	}
	m := s.live(ch.ID, c.args["ts"])
	if m == nil {
		return nil, fail("thread_not_found")
	}
	list := []*Message{m}
	if m.ThreadTS == m.TS { // of a reply, only itself is returned
		for _, r := range s.replies(m) {
			if within(c, r) {
				list = append(list, r)
			}
		}
	}
	return s.page(c, list)
}

func (s *Server) wireUser(u *Person) map[string]any {
	tz := cmp.Or(u.TZ, "Etc/UTC")
	w := map[string]any{"id": u.ID, "team_id": u.Team, "name": u.Name, "real_name": u.RealName, "deleted": u.Deactivated, "tz": tz,
		"is_bot": u.Bot, "is_restricted": u.Guest || u.SingleChannel, "is_ultra_restricted": u.SingleChannel, "is_admin": u.Admin, "is_owner": false,
		"is_app_user": false, "updated": 1700000000,
		"profile": map[string]any{"real_name": u.RealName, "display_name": u.Name, "email": u.Email, "team": u.Team}}
	if u.Team != s.cfg.Team.ID {
		w["is_stranger"] = true
		delete(w, "is_restricted")
		delete(w, "is_ultra_restricted")
	}
	return w
}

func (s *Server) usersInfo(c *call) (map[string]any, error) {
	u := s.users[c.args["user"]]
	if u == nil {
		return nil, fail("user_not_found")
	}
	w := s.wireUser(u)
	if c.bool("include_locale") {
		w["locale"] = cmp.Or(u.Locale, "en-US")
	}
	return map[string]any{"user": w}, nil
}

func (s *Server) usersList(*call) (map[string]any, error) {
	list := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.users)) {
		list = append(list, s.wireUser(s.users[id]))
	}
	return map[string]any{"members": list, "response_metadata": map[string]any{"next_cursor": ""}}, nil
}

func (s *Server) usersLookup(c *call) (map[string]any, error) {
	for _, id := range slices.Sorted(maps.Keys(s.users)) {
		if u := s.users[id]; u.Email != "" && strings.EqualFold(u.Email, c.args["email"]) && !u.Deactivated {
			return map[string]any{"user": s.wireUser(u)}, nil
		}
	}
	return nil, fail("users_not_found")
}

func (s *Server) usergroupsList(*call) (map[string]any, error) {
	list := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.usergroups)) {
		g := s.usergroups[id]
		list = append(list, map[string]any{"id": g.ID, "team_id": s.cfg.Team.ID, "is_usergroup": true, "name": g.Name, "handle": g.Handle,
			"date_delete": 0, "user_count": len(g.Members), "users": slices.Clone(g.Members)})
	}
	return map[string]any{"usergroups": list}, nil
}

func (s *Server) usergroupsUsers(c *call) (map[string]any, error) {
	g := s.usergroups[c.args["usergroup"]]
	if g == nil {
		return nil, fail("no_such_subteam")
	}
	return map[string]any{"users": append([]string{}, g.Members...)}, nil
}

func (s *Server) reaction(c *call) (*Message, string, error) {
	ch, err := s.channel(c.args["channel"])
	if err != nil {
		return nil, "", err
	}
	name := c.args["name"]
	if name == "" || strings.ContainsAny(name, ": ") {
		return nil, "", fail("invalid_name")
	}
	m := s.live(ch.ID, c.args["timestamp"])
	if m == nil {
		return nil, "", fail("message_not_found")
	}
	if ch.Archived {
		return nil, "", fail("is_archived")
	}
	return m, name, nil
}

func (s *Server) reactionsAdd(c *call) (map[string]any, error) {
	m, name, err := s.reaction(c)
	if err != nil {
		return nil, err
	}
	if !s.react(m, s.cfg.BotUser, name) {
		return nil, fail("already_reacted")
	}
	return nil, nil
}

// react adds a reaction if the user has not done so yet.
func (s *Server) react(m *Message, user, name string) bool {
	m.Reactions = slices.Clone(m.Reactions)
	i := slices.IndexFunc(m.Reactions, func(r Reaction) bool { return r.Name == name })
	if i < 0 {
		m.Reactions = append(m.Reactions, Reaction{Name: name})
		i = len(m.Reactions) - 1
	}
	if slices.Contains(m.Reactions[i].Users, user) {
		return false
	}
	m.Reactions[i].Users = append(slices.Clone(m.Reactions[i].Users), user)
	if c := s.channels[m.Channel]; s.hears(c, "reaction_added") {
		s.tell(c, map[string]any{"type": "reaction_added", "user": user, "reaction": name, "item_user": m.User, "event_ts": s.nextTS(),
			"item": map[string]any{"type": "message", "channel": m.Channel, "ts": m.TS}})
	}
	s.record(m)
	return true
}

func (s *Server) reactionsRemove(c *call) (map[string]any, error) {
	m, name, err := s.reaction(c)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(m.Reactions, func(r Reaction) bool { return r.Name == name && slices.Contains(r.Users, s.cfg.BotUser) })
	if i < 0 {
		return nil, fail("no_reaction")
	}
	m.Reactions = slices.Clone(m.Reactions)
	m.Reactions[i].Users = slices.DeleteFunc(slices.Clone(m.Reactions[i].Users), func(u string) bool { return u == s.cfg.BotUser })
	if len(m.Reactions[i].Users) == 0 {
		m.Reactions = slices.Delete(m.Reactions, i, i+1)
	}
	s.record(m)
	return nil, nil
}

func (s *Server) connectionsOpen(c *call) (map[string]any, error) {
	if s.cfg.RequestURL != "" {
		return nil, fail("socket_mode_not_enabled")
	}
	ticket := s.secret()
	s.tickets[ticket] = true
	return map[string]any{"url": fmt.Sprintf("ws://%s/link/?ticket=%s&app_id=%s", s.addr, ticket, s.cfg.AppID)}, nil
}

package slackd

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ask calls a method with JSON arguments and returns the answer.
func ask(t *testing.T, s *Server, method string, args map[string]any) (answer map[string]any, status http.Header) {
	t.Helper()
	body, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	token := s.cfg.BotToken
	if methods[method].app {
		token = s.cfg.AppToken
	}
	return send(t, s.APIURL()+method, "application/json", "Bearer "+token, body)
}

func send(t *testing.T, to, contentType, authorization string, body []byte) (map[string]any, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(bound(t), http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Authorization", authorization)
	status, header, raw, err := exchange(r)
	if err != nil {
		t.Fatal(err)
	}
	header.Set("Status", strconv.Itoa(status))
	var answer map[string]any
	if json.Unmarshal(raw, &answer) != nil {
		answer = map[string]any{"raw": string(raw)}
	}
	return answer, header
}

func wantError(t *testing.T, what string, answer map[string]any, code string) {
	t.Helper()
	got, _ := answer["error"].(string)
	if got != code || (answer["ok"] == true) != (code == "") {
		t.Errorf("%s: got %v, want the error %q", what, answer, code)
	}
}

func TestErrors(t *testing.T) {
	s, _ := start(t, func(c *Config) {
		c.Channels = append(c.Channels, Channel{ID: "C0OLD", Name: "old", Archived: true, Members: []string{alice, c.BotUser}},
			Channel{ID: "C0SECRET", Name: "secret", Private: true, Members: []string{alice}})
	})
	theirs, err := s.User(alice).Post(incidents, "mine")
	if err != nil {
		t.Fatal(err)
	}
	posted, _ := ask(t, s, "chat.postMessage", map[string]any{"channel": incidents, "text": "root"})
	root := posted["ts"].(string)
	reply, _ := ask(t, s, "chat.postMessage", map[string]any{"channel": incidents, "text": "reply", "thread_ts": root})
	whisper, _ := ask(t, s, "chat.postEphemeral", map[string]any{"channel": incidents, "user": alice, "text": "psst"})
	long := func(n int) string { return strings.Repeat("ä", n) }
	cases := []struct {
		name, method string
		args         map[string]any
		want         string
	}{
		{"an unknown method", "chat.shout", nil, "unknown_method"},
		{"no channel", "chat.postMessage", map[string]any{"text": "x"}, "channel_not_found"},
		{"an unknown channel", "chat.postMessage", map[string]any{"channel": "C1", "text": "x"}, "channel_not_found"},
		{"a private channel of others", "chat.postMessage", map[string]any{"channel": "C0SECRET", "text": "x"}, "channel_not_found"},
		{"a public channel of others", "chat.postMessage", map[string]any{"channel": "C0RANDOM", "text": "x"}, "not_in_channel"},
		{"an archived channel", "chat.postMessage", map[string]any{"channel": "C0OLD", "text": "x"}, "is_archived"},
		{"nothing to say", "chat.postMessage", map[string]any{"channel": incidents}, "no_text"},
		{"blocks that are none", "chat.postMessage", map[string]any{"channel": incidents, "blocks": "{"}, "invalid_blocks_format"},
		{"a thread that is none", "chat.postMessage", map[string]any{"channel": incidents, "text": "x", "thread_ts": "1.000001"}, "thread_not_found"},
		{"a reply to a reply", "chat.postMessage", map[string]any{"channel": incidents, "text": "x", "thread_ts": reply["ts"]}, "cannot_reply_to_message"},
		{"metadata without a type", "chat.postMessage", map[string]any{"channel": incidents, "text": "x", "metadata": map[string]any{"event_payload": 1}}, "invalid_metadata_format"},
		{"text of 40,001", "chat.postMessage", map[string]any{"channel": incidents, "text": long(40001)}, ""}, // is cut
		{"direct messages", "chat.postMessage", map[string]any{"channel": bob, "text": "x"}, ""},
		{"an edit of 4,000", "chat.update", map[string]any{"channel": incidents, "ts": root, "text": long(4000)}, ""},
		{"an edit of 4,001", "chat.update", map[string]any{"channel": incidents, "ts": root, "text": long(4001)}, "msg_too_long"},
		{"an edit of somebody's", "chat.update", map[string]any{"channel": incidents, "ts": theirs.TS, "text": "x"}, "cant_update_message"},
		{"an edit of an ephemeral message", "chat.update", map[string]any{"channel": incidents, "ts": whisper["message_ts"], "text": "x"}, "message_not_found"},
		{"an edit to nothing", "chat.update", map[string]any{"channel": incidents, "ts": root}, "no_text"},
		{"an end of somebody's", "chat.delete", map[string]any{"channel": incidents, "ts": theirs.TS}, "cant_delete_message"},
		{"a whisper of 3,001", "chat.postEphemeral", map[string]any{"channel": incidents, "user": alice, "text": long(3001)}, "msg_too_long"},
		{"a whisper to who is not there", "chat.postEphemeral", map[string]any{"channel": incidents, "user": "U0MALLORY", "text": "x"}, "user_not_in_channel"},
		{"replies of nothing", "conversations.replies", map[string]any{"channel": incidents, "ts": "1.2"}, "thread_not_found"},
		{"history of others", "conversations.history", map[string]any{"channel": "C0RANDOM"}, "not_in_channel"},
		{"nobody", "users.info", map[string]any{"user": "U1"}, "user_not_found"},
		{"no such group", "usergroups.users.list", map[string]any{"usergroup": "S1"}, "no_such_subteam"},
		{"a bad emoji", "reactions.add", map[string]any{"channel": incidents, "timestamp": root, "name": ":eyes:"}, "invalid_name"},
		{"a reaction", "reactions.add", map[string]any{"channel": incidents, "timestamp": root, "name": "eyes"}, ""},
		{"a reaction twice", "reactions.add", map[string]any{"channel": incidents, "timestamp": root, "name": "eyes"}, "already_reacted"},
		{"a reaction's end", "reactions.remove", map[string]any{"channel": incidents, "timestamp": root, "name": "eyes"}, ""},
		{"no reaction to end", "reactions.remove", map[string]any{"channel": incidents, "timestamp": root, "name": "eyes"}, "no_reaction"},
		{"a made-up trigger", "views.open", map[string]any{"trigger_id": "1.2.3", "view": map[string]any{}}, "invalid_trigger_id"},
		{"a view that is gone", "views.update", map[string]any{"view_id": "V1", "view": map[string]any{}}, "not_found"},
		{"a modal as home", "views.publish", map[string]any{"user_id": alice, "view": map[string]any{"type": "modal", "title": map[string]any{"type": "plain_text", "text": "x"},
			"blocks": []any{}}}, "invalid_arguments"},
		{"a file of nothing", "files.getUploadURLExternal", map[string]any{"filename": "x"}, "invalid_arguments"},
		{"a snippet over 1 MB", "files.getUploadURLExternal", map[string]any{"filename": "x", "length": 1<<20 + 1, "snippet_type": "text"}, "snippet_too_large"},
		{"a file that is none", "files.completeUploadExternal", map[string]any{"files": []any{map[string]any{"id": "F1"}}}, "file_not_found"},
		{"direct messages with a bot", "conversations.open", map[string]any{"users": "U0DEPLOY"}, "cannot_dm_bot"},
	}
	for _, c := range cases {
		answer, _ := ask(t, s, c.method, c.args)
		wantError(t, c.name, answer, c.want)
	}
	form := []byte(url.Values{"channel": {incidents}, "text": {"x"}, "token": {s.cfg.BotToken}}.Encode())
	const urlencoded = "application/x-www-form-urlencoded"
	for _, c := range []struct{ name, contentType, authorization, body, want string }{
		{"a form with the token in it", urlencoded, "", string(form), ""},
		{"no token", "application/json", "", "{}", "not_authed"},
		{"another's token", "application/json", "Bearer xoxb-1", "{}", "invalid_auth"},
		{"the app's token", "application/json", "Bearer " + s.cfg.AppToken, "{}", "not_allowed_token_type"},
		{"no JSON", "application/json", "Bearer " + s.cfg.BotToken, "{", "invalid_json"},
		{"no form", "text/plain", "Bearer " + s.cfg.BotToken, "x", "invalid_post_type"},
		{"another charset", "application/json; charset=utf-16", "Bearer " + s.cfg.BotToken, "{}", "invalid_charset"},
	} {
		answer, _ := send(t, s.APIURL()+"chat.postMessage", c.contentType, c.authorization, []byte(c.body))
		wantError(t, c.name, answer, c.want)
	}
	thread, _ := ask(t, s, "conversations.replies", map[string]any{"channel": incidents, "ts": root})
	if n := len(thread["messages"].([]any)); n != 2 {
		t.Errorf("%d messages in the thread", n)
	}
	page, _ := ask(t, s, "conversations.history", map[string]any{"channel": incidents, "limit": 1})
	if page["has_more"] != true {
		t.Errorf("a page of one: %v", page)
	}
}

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestRateLimits(t *testing.T) {
	clock := &clock{now: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}
	s, _ := start(t, func(c *Config) { c.NoRateLimits, c.Now = false, clock.Now })
	post := func() (map[string]any, http.Header) {
		return ask(t, s, "chat.postMessage", map[string]any{"channel": incidents, "text": "x"})
	}
	for range postBurst {
		answer, _ := post()
		wantError(t, "within the burst", answer, "")
	}
	answer, header := post()
	wantError(t, "after the burst", answer, "ratelimited")
	if header.Get("Status") != "429" || header.Get("Retry-After") != "1" {
		t.Errorf("headers: %v", header)
	}
	elsewhere, _ := ask(t, s, "chat.postMessage", map[string]any{"channel": alice, "text": "x"})
	wantError(t, "in another channel", elsewhere, "")
	clock.add(time.Second)
	answer, _ = post()
	wantError(t, "a second later", answer, "")

	ts := answer["ts"]
	edit := func() map[string]any {
		answer, _ := ask(t, s, "chat.update", map[string]any{"channel": incidents, "ts": ts, "text": "y"})
		return answer
	}
	for range 50 {
		wantError(t, "an edit of tier 3", edit(), "")
	}
	wantError(t, "the 51st edit", edit(), "ratelimited")
}

// A response URL is good for five uses and thirty minutes, a trigger for one
// and three seconds.
func TestExpiry(t *testing.T) {
	clock := &clock{now: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}
	s, _ := start(t, func(c *Config) { c.Now = clock.Now })
	s.mu.Lock()
	used := s.newHook(&hook{channel: incidents, user: alice})
	old := s.newHook(&hook{channel: incidents, user: alice})
	once, late := s.newTrigger(alice, ""), s.newTrigger(alice, "")
	s.mu.Unlock()
	respond := func(to string) string {
		answer, header := send(t, to, "application/json", "", []byte(`{"text":"x","response_type":"ephemeral"}`))
		raw, _ := answer["raw"].(string)
		return header.Get("Status") + " " + strings.TrimSpace(raw)
	}
	for range hookUses {
		if got := respond(used); got != "200 ok" {
			t.Error(got)
		}
	}
	if got := respond(used); got != "404 used_url" {
		t.Error(got)
	}
	modal := func(trigger string) map[string]any {
		answer, _ := ask(t, s, "views.open", map[string]any{"trigger_id": trigger, "view": map[string]any{"type": "modal",
			"title": map[string]any{"type": "plain_text", "text": "x"}, "blocks": []any{}}})
		return answer
	}
	wantError(t, "a trigger", modal(once), "")
	wantError(t, "a used trigger", modal(once), "exchanged_trigger_id")
	clock.add(s.cfg.TriggerLife + time.Millisecond)
	wantError(t, "an old trigger", modal(late), "expired_trigger_id")
	clock.add(hookLife)
	if got := respond(old); got != "404 expired_url" {
		t.Error(got)
	}
}

// What goes wrong with calls: before or after they took effect.
func TestCallFaults(t *testing.T) {
	s, _ := start(t, nil)
	count := func() int { return len(s.Messages(incidents)) }
	post := func() (map[string]any, http.Header) {
		return ask(t, s, "chat.postMessage", map[string]any{"channel": incidents, "text": "x"})
	}
	cases := []struct {
		name         string
		fault        Fault
		status, code string
		posts        int
	}{
		{"503", Fault{Status: 503}, "503", "", 0},
		{"500 after the effect", Fault{Status: 500, AfterCommit: true}, "500", "", 1},
		{"429", Fault{Error: "ratelimited", RetryAfter: 7 * time.Second}, "429", "ratelimited", 0},
		{"archived", Fault{Error: "is_archived"}, "200", "is_archived", 0},
		{"slow", Fault{Delay: 20 * time.Millisecond}, "200", "", 1},
		{"elsewhere", Fault{Channel: "C0VENDOR", Status: 503}, "200", "", 1},
		{"the second one", Fault{Skip: 1, Status: 503}, "200", "", 1},
	}
	for _, c := range cases {
		c.fault.On, c.fault.Count = "chat.*", 1
		remove := s.Inject(c.fault)
		before := count()
		answer, header := post()
		code, _ := answer["error"].(string)
		if header.Get("Status") != c.status || code != c.code || count()-before != c.posts {
			t.Errorf("%s: status %s, error %q, %d posts", c.name, header.Get("Status"), code, count()-before)
		}
		remove()
		if answer, _ := post(); answer["ok"] != true {
			t.Errorf("after %s: %v", c.name, answer)
		}
	}
	s.Inject(Fault{On: "chat.postMessage", Drop: true, AfterCommit: true, Count: 1})
	before := count()
	body := strings.NewReader(`{"channel":"` + incidents + `","text":"x"}`)
	r, err := http.NewRequestWithContext(bound(t), http.MethodPost, s.APIURL()+"chat.postMessage", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+s.cfg.BotToken)
	if _, _, _, err := exchange(r); err == nil || count()-before != 1 {
		t.Errorf("a post without an answer: %v, %d posts", err, count()-before)
	}
	if len(s.Faults()) != 0 {
		t.Errorf("left over: %+v", s.Faults())
	}
}

func TestFiles(t *testing.T) {
	s, _ := start(t, nil)
	up, _ := ask(t, s, "files.getUploadURLExternal", map[string]any{"filename": "a.png", "length": 3})
	finish := map[string]any{"files": []any{map[string]any{"id": up["file_id"], "title": "A"}}, "channel_id": incidents}
	early, _ := ask(t, s, "files.completeUploadExternal", finish)
	wantError(t, "before the upload", early, "file_update_failed")
	if _, header := send(t, up["upload_url"].(string), "application/octet-stream", "", []byte("four")); header.Get("Status") != "400" {
		t.Errorf("another length than announced: %v", header)
	}
	if answer, _ := send(t, up["upload_url"].(string), "application/octet-stream", "", []byte("abc")); answer["raw"] != "OK - 3" {
		t.Errorf("the upload: %v", answer)
	}
	done, _ := ask(t, s, "files.completeUploadExternal", finish)
	wantError(t, "the upload", done, "")
	info, _ := ask(t, s, "files.info", map[string]any{"file": up["file_id"]})
	file := info["file"].(map[string]any)
	if file["mimetype"] != "image/png" || file["title"] != "A" {
		t.Errorf("the file: %v", file)
	}
	r, err := http.NewRequestWithContext(bound(t), http.MethodGet, file["url_private"].(string), nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, _, err := exchange(r); err != nil || status != http.StatusFound {
		t.Errorf("without a token: %d, %v", status, err)
	}
	r.Header.Set("Authorization", "Bearer "+s.cfg.BotToken)
	if _, _, data, err := exchange(r); err != nil || string(data) != "abc" {
		t.Errorf("with the token: %q, %v", data, err)
	}
}

// The page lets nobody act from another site, and shows each user only what
// they may see.
func TestPage(t *testing.T) {
	s, _ := start(t, func(c *Config) { c.Page = true })
	if _, err := s.User(alice).Post(incidents, "&lt;script&gt;alert(1)&lt;/script&gt;</script><script>alert(2)</script>"); err != nil {
		t.Fatal(err)
	}
	ask(t, s, "chat.postEphemeral", map[string]any{"channel": incidents, "user": alice, "text": "for alice alone"})
	get := func(path string) string {
		r, err := http.NewRequestWithContext(bound(t), http.MethodGet, s.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d, %v", path, answer.StatusCode, err)
		}
		return string(body)
	}
	page := strings.TrimPrefix(s.PageURL(PageView{User: alice, Channel: incidents, Dark: true, Bare: true}), s.URL())
	if html := get(page); strings.Contains(html, "<script>alert") || !strings.Contains(html, `data-theme="dark"`) || !strings.Contains(html, "for alice alone") {
		t.Errorf("the page: %s", html)
	}
	if html := get("/?user=" + bob); strings.Contains(html, "for alice alone") {
		t.Error("bob sees what only alice should")
	}
	act := func(origin, contentType, body string) string {
		r, err := http.NewRequestWithContext(bound(t), http.MethodPost, s.URL()+"/page/act", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Origin", origin)
		status, _, answer, err := exchange(r)
		if err != nil {
			t.Fatal(err)
		}
		return strconv.Itoa(status) + " " + string(answer)
	}
	say := `{"user":"` + bob + `","do":"post","channel":"` + incidents + `","text":"from the page"}`
	if got := act("https://elsewhere.example", "application/json", say); !strings.HasPrefix(got, "403 ") {
		t.Errorf("from another site: %s", got)
	}
	if got := act(s.URL(), "text/plain", say); !strings.HasPrefix(got, "400 ") {
		t.Errorf("as a simple form: %s", got)
	}
	if got := act(s.URL(), "application/json", say); !strings.Contains(got, `"ok":true`) {
		t.Errorf("from the page: %s", got)
	}
	if list := s.Messages(incidents); list[len(list)-1].Text != "from the page" {
		t.Errorf("the last message: %+v", list[len(list)-1])
	}
}

// An ephemeral message in a thread that nobody has answered in is taken and
// not shown.
func TestEphemeralInThread(t *testing.T) {
	s, _ := start(t, nil)
	root, err := s.User(alice).Post(incidents, "help?")
	if err != nil {
		t.Fatal(err)
	}
	shown := func(text string) bool {
		return slices.ContainsFunc(s.Messages(incidents), func(m Message) bool { return m.EphemeralTo == alice && m.Text == text })
	}
	whisper := func(text, thread string) {
		t.Helper()
		answer, _ := ask(t, s, "chat.postEphemeral", map[string]any{"channel": incidents, "user": alice, "text": text, "thread_ts": thread})
		if answer["ok"] != true || answer["message_ts"] == nil {
			t.Fatalf("%v", answer)
		}
	}
	whisper("too early", root.TS)
	whisper("beside", "")
	ask(t, s, "chat.postMessage", map[string]any{"channel": incidents, "text": "a reply", "thread_ts": root.TS})
	whisper("inside", root.TS)
	if shown("too early") || !shown("beside") || !shown("inside") {
		t.Errorf("shown: too early %v, beside %v, inside %v", shown("too early"), shown("beside"), shown("inside"))
	}
}

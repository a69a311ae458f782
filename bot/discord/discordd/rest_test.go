package discordd

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRateLimits(t *testing.T) {
	s := start(t, func(c *Config) {
		c.RateScale = 1
		c.Now = fixed
	})
	path := "/channels/" + ExampleGeneral + "/messages"
	for i := range 5 {
		status, h, out := apiFull(t, s, "POST", path, `{"content":"x"}`)
		if status != 200 || h.Get("X-RateLimit-Limit") != "5" || h.Get("X-RateLimit-Remaining") != fmt.Sprint(4-i) ||
			h.Get("X-RateLimit-Bucket") == "" || h.Get("X-RateLimit-Reset-After") != "5.000" {
			t.Fatalf("post %d: %d %v %v", i, status, h, out)
		}
	}
	status, h, out := apiFull(t, s, "POST", path, `{"content":"x"}`)
	if status != 429 || h.Get("Retry-After") != "5" || h.Get("X-RateLimit-Scope") != "user" || out["retry_after"] != 5.0 || out["global"] != false {
		t.Fatalf("the sixth: %d %v %v", status, h, out)
	}
	if status, _ := api(t, s, "POST", "/channels/"+ExampleIncidents+"/messages", `{"content":"x"}`); status != 200 {
		t.Errorf("another channel: %d, it has a bucket of its own", status)
	}
	s.Advance(5 * time.Second)
	if status, _ := api(t, s, "POST", path, `{"content":"x"}`); status != 200 {
		t.Errorf("after the window: %d", status)
	}
	for range 60 {
		if status, h, out = apiFull(t, s, "GET", "/users/@me", ""); status != 200 && out["global"] == true {
			break
		}
	}
	if status != 429 || h.Get("X-RateLimit-Global") != "true" || h.Get("X-RateLimit-Scope") != "global" {
		t.Errorf("sixty requests in a second: %d %v %v, want the global limit", status, h, out)
	}
	for range invalidPerTen {
		s.mu.Lock()
		s.limits.invalid(s.now())
		s.mu.Unlock()
	}
	s.Advance(time.Second)
	if status, _, out := apiFull(t, s, "GET", "/users/@me", ""); status != 429 || !strings.Contains(fmt.Sprint(out["message"]), "blocked") {
		t.Errorf("after ten thousand invalid requests: %d %v", status, out)
	}
}

func TestRESTErrors(t *testing.T) {
	s := start(t, nil)
	alice := s.As(ExampleAlice)
	asked, err := alice.Post(ExampleGeneral, "asked")
	if err != nil {
		t.Fatal(err)
	}
	post := func(channel, content string) string {
		t.Helper()
		status, out := api(t, s, "POST", "/channels/"+channel+"/messages", `{"content":"`+content+`"}`)
		if status != 200 {
			t.Fatalf("%d %v", status, out)
		}
		return out["id"].(string)
	}
	own := post(ExampleGeneral, "own")
	thread, err := alice.StartThread(asked.ID, "thread")
	if err != nil {
		t.Fatal(err)
	}
	inside := post(thread.ID, "inside")
	expect := func(name, method, path, body string, status, want int) {
		t.Helper()
		got, out := api(t, s, method, path, body)
		if got != status || want != 0 && code(out) != want {
			t.Errorf("%s: %d %v, want %d with code %d", name, got, out, status, want)
		}
	}
	general := "/channels/" + ExampleGeneral + "/messages"
	expect("unknown channel", "POST", "/channels/5/messages", `{"content":"x"}`, 404, 10003)
	expect("unknown message", "GET", general+"/5", "", 404, 10008)
	expect("another's message", "PATCH", general+"/"+asked.ID, `{"content":"x"}`, 403, 50005)
	expect("deleting another's", "DELETE", general+"/"+asked.ID, "", 403, 50013)
	expect("may not write", "POST", "/channels/"+ExampleSilent+"/messages", `{"content":"x"}`, 403, 50013)
	expect("thread twice", "POST", general+"/"+asked.ID+"/threads", `{"name":"x"}`, 400, 160004)
	expect("unknown member", "GET", "/guilds/"+ExampleGuild+"/members/"+ExampleMallory, "", 404, 10007)
	expect("unknown user", "GET", "/guilds/"+ExampleGuild+"/members/5", "", 404, 10013)
	expect("unknown guild", "GET", "/guilds/5", "", 404, 10004)
	expect("unknown path", "GET", "/nothing", "", 404, 0)
	expect("a member", "GET", "/guilds/"+ExampleGuild+"/members/"+ExampleBob, "", 200, 0)
	expect("reaction", "PUT", general+"/"+asked.ID+"/reactions/%F0%9F%91%8D/@me", "", 204, 0)
	expect("no emoji", "PUT", general+"/"+asked.ID+"/reactions/ab/@me", "", 400, 10014)
	expect("bad auto archive", "POST", general+"/"+own+"/threads", `{"name":"x","auto_archive_duration":5}`, 400, 50035)

	// An archived thread takes no edits, but a new message opens it.
	if err := s.ArchiveThread(thread.ID, true, false); err != nil {
		t.Fatal(err)
	}
	expect("edit in an archived thread", "PATCH", "/channels/"+thread.ID+"/messages/"+inside, `{"content":"x"}`, 400, 50083)
	expect("rename an archived thread", "PATCH", "/channels/"+thread.ID, `{"name":"x"}`, 400, 50083)
	post(thread.ID, "opens it")
	if c, _ := s.Channel(thread.ID); c.Thread.Archived {
		t.Error("the thread is still archived after a message")
	}
	expect("edit", "PATCH", "/channels/"+thread.ID+"/messages/"+inside, `{"content":"x"}`, 200, 0)
	if err := s.ArchiveThread(thread.ID, true, true); err != nil {
		t.Fatal(err)
	}
	expect("post to a locked thread", "POST", "/channels/"+thread.ID+"/messages", `{"content":"x"}`, 400, 50083)
	if err := s.DeleteThread(thread.ID); err != nil {
		t.Fatal(err)
	}
	expect("deleted thread", "POST", "/channels/"+thread.ID+"/messages", `{"content":"x"}`, 404, 10003)

	// Messages older than an hour take few edits.
	s.Advance(2 * time.Hour)
	for i := range 3 {
		expect("old edit", "PATCH", general+"/"+own, fmt.Sprintf(`{"content":"%d"}`, i), 200, 0)
	}
	expect("one old edit too many", "PATCH", general+"/"+own, `{"content":"x"}`, 429, 30046)
	if err := s.As(ExampleAlice).Delete(own); !errors.Is(err, ErrForbidden) {
		t.Errorf("Alice deletes the bot's message: %v", err)
	}

	s.RevokeToken()
	expect("revoked token", "GET", "/users/@me", "", 401, 0)
}

func TestNonce(t *testing.T) {
	s := start(t, nil)
	path := "/channels/" + ExampleGeneral + "/messages"
	send := func(body string) string {
		t.Helper()
		status, out := api(t, s, "POST", path, body)
		if status != 200 {
			t.Fatalf("%d %v", status, out)
		}
		return out["id"].(string)
	}
	first := send(`{"content":"x","nonce":"a","enforce_nonce":true}`)
	if again := send(`{"content":"y","nonce":"a","enforce_nonce":true}`); again != first {
		t.Errorf("enforced: %s, want %s again", again, first)
	}
	if other := send(`{"content":"x","nonce":"a"}`); other == first {
		t.Error("a nonce that is not enforced found the message")
	}
	s.Advance(time.Hour)
	if late := send(`{"content":"x","nonce":"a","enforce_nonce":true}`); late == first {
		t.Error("the nonce is remembered for ever")
	}
}

func TestMentions(t *testing.T) {
	s := start(t, nil)
	for _, tt := range []struct {
		name, body   string
		users, roles int
		everyone     bool
	}{
		{"no restriction", `{"content":"<@` + ExampleBob + `> <@&` + ExampleOnCall + `> @everyone"}`, 1, 1, false},
		{"nothing", `{"content":"<@` + ExampleBob + `> <@&` + ExampleOnCall + `>","allowed_mentions":{"parse":[]}}`, 0, 0, false},
		{"one", `{"content":"<@` + ExampleBob + `> <@` + ExampleCarol + `>","allowed_mentions":{"users":["` + ExampleBob + `"]}}`, 1, 0, false},
		{"roles", `{"content":"<@` + ExampleBob + `> <@&` + ExampleOnCall + `>","allowed_mentions":{"parse":["roles"]}}`, 0, 1, false},
		{"in code", "{\"content\":\"`<@" + ExampleBob + ">`\"}", 0, 0, false},
		{"in a text display", v2(`[` + display(`"<@`+ExampleBob+`>"`) + `]`), 1, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, out := api(t, s, "POST", "/channels/"+ExampleGeneral+"/messages", tt.body)
			if status != 200 {
				t.Fatalf("%d %v", status, out)
			}
			m, _ := s.Message(out["id"].(string))
			if len(m.Mentions) != tt.users || len(m.MentionRoles) != tt.roles || m.MentionEveryone != tt.everyone {
				t.Errorf("mentions %v, roles %v, everyone %v", m.Mentions, m.MentionRoles, m.MentionEveryone)
			}
		})
	}
}

func TestComponentsV2IsForGood(t *testing.T) {
	s := start(t, nil)
	path := "/channels/" + ExampleGeneral + "/messages"
	_, out := api(t, s, "POST", path, v2(`[`+display(`"x"`)+`]`))
	id := out["id"].(string)
	if status, out := api(t, s, "PATCH", path+"/"+id, `{"flags":0,"components":[],"content":"plain"}`); status != 400 || code(out) != 50035 {
		t.Errorf("back to content: %d %v", status, out)
	}
	_, out = api(t, s, "POST", path, `{"content":"plain"}`)
	if status, out := api(t, s, "PATCH", path+"/"+out["id"].(string), `{"flags":32768,"content":null,"components":[`+display(`"x"`)+`]}`); status != 200 {
		t.Errorf("to components: %d %v", status, out)
	}
	if m, _ := s.Message(id); m.Text() != "x" {
		t.Errorf("the refused edit changed the message to %q", m.Text())
	}
}

// slash registers /k and runs it as Alice.
func slash(t *testing.T, s *Server) *Interaction {
	t.Helper()
	path := "/applications/" + s.ApplicationID() + "/guilds/" + ExampleGuild + "/commands"
	if status, out := api(t, s, "PUT", path, `[{"name":"k","description":"d"}]`); status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	in, err := s.As(ExampleAlice).Command(ExampleGeneral, "k")
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestInteractionClocks(t *testing.T) {
	s := start(t, func(c *Config) { c.AnswerTime = 0 })
	callback := func(in *Interaction, body string) (int, map[string]any) {
		return api(t, s, "POST", "/interactions/"+in.ID+"/"+in.in.token+"/callback", body)
	}
	hook := func(in *Interaction) string { return "/webhooks/" + s.ApplicationID() + "/" + in.in.token }
	const hello = `{"type":4,"data":{"content":"hello"}}`

	late := slash(t, s)
	s.Advance(3100 * time.Millisecond)
	if status, out := callback(late, hello); status != 404 || code(out) != 10062 {
		t.Errorf("after 3 s: %d %v, want 10062", status, out)
	}
	if _, err := late.Wait(within(t)); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("the user sees %v, want ErrNoAnswer", err)
	}

	in := slash(t, s)
	if status, out := api(t, s, "POST", hook(in), `{"content":"early"}`); status != 404 || code(out) != 10015 {
		t.Errorf("a follow-up before the answer: %d %v", status, out)
	}
	for name, body := range map[string]string{
		"update without a message": `{"type":7,"data":{"content":"x"}}`, "choices for a command": `{"type":8,"data":{"choices":[]}}`,
		"too long": `{"type":4,"data":{"content":` + text(2001) + `}}`, "unknown type": `{"type":99}`,
	} {
		if status, out := callback(in, body); status != 400 || code(out) != 50035 {
			t.Errorf("%s: %d %v, want 50035", name, status, out)
		}
	}
	if status, _ := callback(in, `{"type":5,"data":{"flags":64}}`); status != 204 {
		t.Errorf("deferring: %d", status)
	}
	if status, out := callback(in, hello); status != 400 || code(out) != 40060 {
		t.Errorf("answering twice: %d %v, want 40060", status, out)
	}
	if m, err := in.Wait(within(t)); err != nil || m.Message.Flags != FlagLoading|FlagEphemeral {
		t.Errorf("%+v, %v; want thinking", m, err)
	}
	if status, out := api(t, s, "PATCH", hook(in)+"/messages/@original", `{"content":"done"}`); status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	m, err := in.WaitMessage(within(t))
	if err != nil || m.Content != "done" || m.VisibleTo != ExampleAlice || m.Flags != FlagEphemeral {
		t.Errorf("%+v, %v", m, err)
	}
	if status, out := api(t, s, "GET", "/channels/"+ExampleGeneral+"/messages/"+m.ID, ""); status != 404 || code(out) != 10008 {
		t.Errorf("an ephemeral message by the bot's token: %d %v", status, out)
	}
	status, out := api(t, s, "POST", hook(in), `{"content":"more"}`)
	if status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	if more, _ := s.Message(out["id"].(string)); more.VisibleTo != "" {
		t.Error("a follow-up is ephemeral only when it says so")
	}
	if status, _ := api(t, s, "DELETE", hook(in)+"/messages/@original", ""); status != 204 {
		t.Errorf("deleting the original: %d", status)
	}
	s.Advance(16 * time.Minute)
	if status, out := api(t, s, "POST", hook(in), `{"content":"too late"}`); status != 401 || code(out) != 50027 {
		t.Errorf("after 15 min: %d %v, want 50027", status, out)
	}
}

func TestFaults(t *testing.T) {
	s := start(t, nil)
	path := "/channels/" + ExampleGeneral + "/messages"
	n := func() int { return len(s.Messages(ExampleGeneral)) }
	post := func(ctx context.Context) (int, error) {
		req, err := http.NewRequestWithContext(ctx, "POST", s.APIURL()+"/v10"+path, strings.NewReader(`{"content":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bot "+s.Token())
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	const route = "/channels/{channel}/messages"
	for _, tt := range []struct {
		name   string
		fault  Fault
		status int
		posted int
	}{
		{"before", Fault{Route: route, Status: 503}, 503, 0},
		{"after commit", Fault{Route: route, Status: 502, Commit: true}, 502, 1},
		{"an error of Discord's", Fault{Method: "POST", Status: 403, Code: 50013, Message: "Missing Permissions"}, 403, 0},
		{"rate limited", Fault{RetryAfter: time.Second}, 429, 0},
		{"slow", Fault{Route: route, Delay: 50 * time.Millisecond}, 200, 1},
		{"another route", Fault{Route: "/users/@me", Status: 500}, 200, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := n()
			defer s.Inject(tt.fault)()
			status, err := post(t.Context())
			if err != nil || status != tt.status || n()-before != tt.posted {
				t.Errorf("%d, %v, %d messages; want %d and %d", status, err, n()-before, tt.status, tt.posted)
			}
		})
	}
	t.Run("silence after commit", func(t *testing.T) {
		before := n()
		s.Inject(Fault{Route: route, Hang: true, Commit: true})
		ctx, cancel := context.WithCancel(t.Context())
		was := map[string]bool{}
		for _, m := range s.Messages(ExampleGeneral) {
			was[m.ID] = true
		}
		go func() {
			defer cancel()
			if _, err := s.WaitMessage(within(t), func(m Message) bool { return m.ChannelID == ExampleGeneral && !was[m.ID] }); err != nil {
				t.Error(err)
			}
		}()
		if status, err := post(ctx); !errors.Is(err, context.Canceled) || n() != before+1 {
			t.Errorf("%d, %v, %d messages; want no answer and one message", status, err, n()-before)
		}
		if status, err := post(t.Context()); err != nil || status != 200 {
			t.Errorf("afterwards %d, %v", status, err)
		}
	})
}

// endpoint is an application that takes its interactions by HTTP.
func endpoint(t *testing.T, s *Server, strict bool) string {
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		sig, bad := hex.DecodeString(r.Header.Get("X-Signature-Ed25519"))
		if err != nil || bad != nil || strict && !ed25519.Verify(s.PublicKey(), append([]byte(r.Header.Get("X-Signature-Timestamp")), body...), sig) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var in struct{ Type int }
		if json.Unmarshal(body, &in) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if in.Type == InteractionPing {
			io.WriteString(w, `{"type":1}`)
			return
		}
		fmt.Fprintf(w, `{"type":4,"data":{"content":"answer %d"}}`, n.Add(1))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestHTTPInteractions(t *testing.T) {
	s := start(t, nil)
	ctx := within(t)
	if err := s.SetInteractionsURL(ctx, endpoint(t, s, false)); !errors.Is(err, ErrEndpoint) {
		t.Errorf("an endpoint that takes any signature: %v, want ErrEndpoint", err)
	}
	if err := s.SetInteractionsURL(ctx, endpoint(t, s, true)); err != nil {
		t.Fatal(err)
	}
	in := slash(t, s)
	m, err := in.WaitMessage(ctx)
	if err != nil || m.Content != "answer 1" {
		t.Errorf("%+v, %v", m, err)
	}
	for name, tt := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"as it was":       {nil, 200},
		"another time":    {func(r *http.Request) { r.Header.Set("X-Signature-Timestamp", "1") }, 401},
		"another request": {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("{}")); r.ContentLength = 2 }, 401},
	} {
		if status, err := s.Resend(ctx, in.ID, tt.change); err != nil || status != tt.status {
			t.Errorf("%s: %d, %v; want %d", name, status, err, tt.status)
		}
	}
}

func TestRedeliver(t *testing.T) {
	s := start(t, nil)
	w := dial(t, s, "/gateway?v=10")
	w.identify(s, intentGuilds|intentMessages|intentMessageContent)
	in := slash(t, s)
	first := w.until(0, "INTERACTION_CREATE")
	if err := s.Redeliver(in.ID); err != nil {
		t.Fatal(err)
	}
	again := w.until(0, "INTERACTION_CREATE")
	if string(again.D) != string(first.D) || again.S <= first.S {
		t.Errorf("again %d %s\nfirst %d %s", again.S, again.D, first.S, first.D)
	}
	if err := s.Redeliver("5"); err == nil {
		t.Error("redelivered what never was")
	}
}

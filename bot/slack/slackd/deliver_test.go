package slackd

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// wire is a bare Socket Mode connection.
type wire struct {
	t  *testing.T
	ws *websocket.Conn
}

func (w *wire) read() map[string]any {
	w.t.Helper()
	w.ws.SetReadDeadline(time.Now().Add(patience))
	var m map[string]any
	if err := w.ws.ReadJSON(&m); err != nil {
		w.t.Fatalf("reading from the socket: %v", err)
	}
	return m
}

func (w *wire) ack(envelope any, payload any) {
	w.t.Helper()
	if err := w.ws.WriteJSON(map[string]any{"envelope_id": envelope, "payload": payload}); err != nil {
		w.t.Fatal(err)
	}
}

// dial opens a socket and reads its first message.
func dial(t *testing.T, s *Server) (*wire, map[string]any) {
	t.Helper()
	answer, _ := ask(t, s, "apps.connections.open", nil)
	address, _ := answer["url"].(string)
	ws, _, err := websocket.DefaultDialer.DialContext(bound(t), address, nil)
	if err != nil {
		t.Fatalf("opening a socket at %q: %v", address, err)
	}
	t.Cleanup(func() { ws.Close() })
	w := &wire{t: t, ws: ws}
	return w, w.read()
}

func event(m map[string]any) (kind, id string) {
	payload, _ := m["payload"].(map[string]any)
	e, _ := payload["event"].(map[string]any)
	kind, _ = e["type"].(string)
	id, _ = payload["event_id"].(string)
	return kind, id
}

func onlyMentions(c *Config) { c.Events = []string{"app_mention"} }

func TestSockets(t *testing.T) {
	s, _ := start(t, onlyMentions)
	for n := range maxSockets {
		_, hello := dial(t, s)
		if hello["type"] != "hello" || hello["num_connections"] != float64(n+1) {
			t.Errorf("the first message of socket %d: %v", n+1, hello)
		}
	}
	if _, refused := dial(t, s); refused["type"] != "disconnect" || refused["reason"] != "too_many_websockets" {
		t.Errorf("an eleventh socket: %v", refused)
	}
	address := "ws" + strings.TrimPrefix(s.URL(), "http") + "/link/?ticket=made-up"
	if ws, _, err := websocket.DefaultDialer.DialContext(bound(t), address, nil); err == nil {
		ws.Close()
		t.Error("a made-up ticket opened a socket")
	}
}

// An event that is not acknowledged comes again with the same event id, the
// attempt and the reason, over any of the sockets; an acknowledgement counts
// only on the socket that the envelope came over.
func TestRedelivery(t *testing.T) {
	s, _ := start(t, func(c *Config) {
		onlyMentions(c)
		c.AckTimeout = 2 * time.Second // three of which pass, and the last acknowledgement is in time
		c.Seed = 7
	})
	a, _ := dial(t, s)
	b, _ := dial(t, s)
	type got struct {
		from *wire
		m    map[string]any
	}
	all := make(chan got, 16)
	var readers sync.WaitGroup
	for _, w := range []*wire{a, b} {
		readers.Go(func() {
			for {
				var m map[string]any
				if w.ws.ReadJSON(&m) != nil {
					return
				}
				all <- got{w, m}
			}
		})
	}
	if _, err := s.User(alice).Mention(incidents, "hello"); err != nil {
		t.Fatal(err)
	}
	seen := map[*wire]bool{}
	first := ""
	for n := range 4 {
		g := <-all
		_, id := event(g.m)
		if first == "" {
			first = id
		}
		reason := "timeout"
		if n == 0 {
			reason = ""
		}
		if id != first || g.m["retry_attempt"] != float64(n) || g.m["retry_reason"] != reason {
			t.Errorf("delivery %d: %v", n, g.m)
		}
		seen[g.from] = true
		other := a
		if g.from == a {
			other = b
		}
		if n < 3 {
			other.ack(g.m["envelope_id"], nil) // the wrong socket
		} else {
			g.from.ack(g.m["envelope_id"], nil)
		}
	}
	if len(seen) != 2 {
		t.Error("all four deliveries took the same socket")
	}
	err := s.wait(bound(t), func() bool { return len(s.events) == 4 && s.events[3].Acked })
	if err != nil {
		t.Error("the last acknowledgement did not count:", err)
	}
	a.ws.Close()
	b.ws.Close()
	readers.Wait()
}

// Clicks and commands are not delivered again: the user is told.
func TestUnanswered(t *testing.T) {
	s, _ := start(t, func(c *Config) {
		onlyMentions(c)
		c.AckTimeout = 2 * time.Second // two of which pass
	})
	ctx := bound(t)
	u := s.User(alice)
	if err := u.Slash(ctx, incidents, "", "/kgent", "help"); !errors.Is(err, ErrNotConnected) {
		t.Errorf("without a socket: %v", err)
	}
	w, _ := dial(t, s)
	result := make(chan error, 1)
	slash := func() { result <- u.Slash(ctx, incidents, "", "/kgent", "help") }
	go slash()
	w.read()
	if err := <-result; !errors.Is(err, ErrNotAcknowledged) {
		t.Errorf("without an acknowledgement: %v", err)
	}
	if _, err := s.WaitNotice(ctx, func(n Notice) bool { return n.User == alice && strings.Contains(n.Text, "did not respond") }); err != nil {
		t.Error(err)
	}
	go slash()
	w.ack(w.read()["envelope_id"], map[string]string{"text": strings.Repeat("x", maxAck)})
	if err := <-result; !errors.Is(err, ErrNotAcknowledged) || !strings.Contains(err.Error(), "too many") {
		t.Errorf("with too long an acknowledgement: %v", err)
	}
	go slash()
	m := w.read()
	payload := m["payload"].(map[string]any)
	if m["type"] != "slash_commands" || m["accepts_response_payload"] != true || payload["text"] != "help" || payload["user_id"] != alice {
		t.Errorf("the command: %v", m)
	}
	w.ack(m["envelope_id"], map[string]string{"text": "here you are", "response_type": "in_channel"})
	if err := <-result; err != nil {
		t.Error(err)
	}
	if list := s.Messages(incidents); len(list) != 1 || list[0].Text != "here you are" || list[0].EphemeralTo != "" {
		t.Errorf("the answer: %+v", list)
	}
	// Half open: nothing comes through any more, in either direction.
	s.Mute()
	if err := u.Slash(ctx, incidents, "", "/kgent", "help"); !errors.Is(err, ErrNotAcknowledged) {
		t.Errorf("over a half-open socket: %v", err)
	}
}

// A delivery by HTTP is signed, tried again with Slack's headers, and not
// tried again where the app says so or where Slack never sent it.
func TestHTTP(t *testing.T) {
	s, _ := start(t, onlyMentions)
	ctx := bound(t)
	type hit struct {
		header http.Header
		body   string
	}
	hits := make(chan hit, 8)
	var mu sync.Mutex
	reply := func(w http.ResponseWriter, r *http.Request, body string) {}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		stamp := r.Header.Get("X-Slack-Request-Timestamp")
		if r.Header.Get("X-Slack-Signature") != Signature(s.cfg.SigningSecret, stamp, body) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var check struct{ Type, Challenge string }
		if json.Unmarshal(body, &check) == nil && check.Type == "url_verification" {
			io.WriteString(w, check.Challenge)
			return
		}
		mu.Lock()
		f := reply
		mu.Unlock()
		hits <- hit{r.Header.Clone(), string(body)}
		f(w, r, string(body))
	}))
	defer app.Close()
	answer := func(f func(http.ResponseWriter, *http.Request, string)) {
		mu.Lock()
		defer mu.Unlock()
		reply = f
	}
	if err := s.SetRequestURL(ctx, app.URL+"/nothing?"); err != nil {
		t.Fatal(err)
	}
	if answer, _ := ask(t, s, "apps.connections.open", nil); answer["ok"] != false {
		t.Error("a socket could be had beside HTTP")
	}
	fails := 2
	answer(func(w http.ResponseWriter, _ *http.Request, _ string) {
		mu.Lock()
		defer mu.Unlock()
		if fails--; fails >= 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	if _, err := s.User(alice).Mention(incidents, "hello"); err != nil {
		t.Fatal(err)
	}
	for n, want := range []string{"", "1 http_error", "2 http_error"} {
		h := <-hits
		if got := strings.TrimSpace(h.header.Get("X-Slack-Retry-Num") + " " + h.header.Get("X-Slack-Retry-Reason")); got != want {
			t.Errorf("delivery %d: %q", n, got)
		}
	}
	answer(func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("X-Slack-No-Retry", "1")
		w.WriteHeader(http.StatusInternalServerError)
	})
	if _, err := s.User(alice).Mention(incidents, "hello"); err != nil {
		t.Fatal(err)
	}
	<-hits
	s.Inject(Fault{On: "event:*", BadSignature: true, Count: 1})
	if _, err := s.User(alice).Mention(incidents, "forged"); err != nil {
		t.Fatal(err)
	}
	// 3 deliveries of the first event, 1 of the second, 1 forged.
	if err := s.wait(ctx, func() bool { return len(s.events) == 5 && s.events[4].Error != "" }); err != nil {
		t.Error(err)
	}
	answer(func(w http.ResponseWriter, _ *http.Request, body string) {
		form, err := url.ParseQuery(body)
		if err != nil || form.Get("command") != "/kgent" {
			t.Errorf("the command: %s", body)
		}
		io.WriteString(w, "plain words")
	})
	if err := s.User(bob).Slash(ctx, incidents, "", "/kgent", "help"); err != nil {
		t.Error(err)
	}
	if _, err := s.WaitMessage(ctx, func(m Message) bool { return m.EphemeralTo == bob && m.Text == "plain words" }); err != nil {
		t.Error(err)
	}
	if err := s.SetRequestURL(ctx, s.URL()+"/api/api.test"); err == nil {
		t.Error("an address that does not answer the challenge was taken")
	}
	if len(hits) != 1 {
		t.Errorf("%d deliveries nobody asked for", len(hits)-1)
	}
}

// What Slack's own client lets nobody do.
func TestUsers(t *testing.T) {
	s, _ := start(t, onlyMentions)
	ctx := bound(t)
	button := `[{"type":"actions","elements":[{"type":"button","action_id":"go","value":"1","text":{"type":"plain_text","text":"Go"}}]}]`
	root, err := s.User(alice).Post(incidents, "root")
	if err != nil {
		t.Fatal(err)
	}
	card, _ := ask(t, s, "chat.postMessage", map[string]any{"channel": incidents, "text": "x", "blocks": button, "thread_ts": root.TS})
	m := Message{Channel: incidents, TS: card["ts"].(string)}
	ask(t, s, "chat.postEphemeral", map[string]any{"channel": incidents, "user": alice, "text": "x", "blocks": button})
	list := s.Messages(incidents)
	whisper := list[len(list)-1]
	s.SetUser("U0DAVE", func(p *Person) { p.Deactivated = true })
	for name, do := range map[string]func() error{
		"a command in a thread":            func() error { return s.User(alice).Slash(ctx, incidents, root.TS, "/kgent", "x") },
		"an unknown command":               func() error { return s.User(alice).Slash(ctx, incidents, "", "/other", "x") },
		"writing where one is not":         func() error { _, err := s.User("U0MALLORY").Post(incidents, "x"); return err },
		"writing nothing":                  func() error { _, err := s.User(alice).Post(incidents, ""); return err },
		"writing when deactivated":         func() error { _, err := s.User("U0DAVE").Post(incidents, "x"); return err },
		"editing somebody's":               func() error { return s.User(bob).Edit(root, "x") },
		"deleting somebody's":              func() error { return s.User(bob).Delete(root) },
		"a button that is not there":       func() error { return s.User(bob).Click(ctx, m, "stop") },
		"a button only alice sees":         func() error { return s.User(bob).Click(ctx, whisper, "go") },
		"an unknown shortcut":              func() error { return s.User(bob).Shortcut(ctx, root, "other") },
		"a version that never was":         func() error { return s.User(bob).StaleClick(ctx, m, 1, "go") },
		"a form that is not open":          func() error { _, _, err := s.User(bob).Submit(ctx, nil); return err },
		"a button of a modal not open":     func() error { return s.User(bob).ClickView(ctx, false, "go") },
		"somebody who is not there at all": func() error { _, err := s.User("U1").DM("x"); return err },
	} {
		if err := do(); err == nil || errors.Is(err, ErrNotConnected) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w, _ := dial(t, s)
	ask(t, s, "chat.update", map[string]any{"channel": incidents, "ts": m.TS, "text": "decided"})
	result := make(chan error, 1)
	go func() { result <- s.User(bob).StaleClick(ctx, m, 0, "go") }()
	got := w.read()
	w.ack(got["envelope_id"], nil)
	if err := <-result; err != nil {
		t.Error(err)
	}
	payload := got["payload"].(map[string]any)
	if payload["message"].(map[string]any)["text"] != "decided" || payload["container"].(map[string]any)["thread_ts"] != root.TS {
		t.Errorf("a click on what is no longer there: %v", payload)
	}
	// Two blocks with the same action id.
	second := strings.Replace(button, `"type":"actions"`, `"type":"actions","block_id":"two"`, 1)
	second = strings.Replace(button, "]}]", "]},", 1) + strings.Replace(strings.TrimPrefix(second, "["), `"value":"1"`, `"value":"2"`, 1)
	two, _ := ask(t, s, "chat.postMessage", map[string]any{"channel": incidents, "text": "x", "blocks": second})
	go func() {
		result <- s.User(bob).Click(ctx, Message{Channel: incidents, TS: two["ts"].(string)}, In("two", "go"))
	}()
	got = w.read()
	w.ack(got["envelope_id"], nil)
	if err := <-result; err != nil {
		t.Error(err)
	}
	if a := got["payload"].(map[string]any)["actions"].([]any)[0].(map[string]any); a["value"] != "2" || a["block_id"] != "two" {
		t.Errorf("the second of two buttons: %v", a)
	}
	if err := s.User(alice).Edit(root, "edited"); err != nil {
		t.Error(err)
	}
	if err := s.User(alice).Delete(root); err != nil {
		t.Error(err)
	}
	if m, _ := s.Message(incidents, root.TS); !m.Deleted || len(m.Revisions) != 2 {
		t.Errorf("the deleted message: %+v", m)
	}
	if _, err := s.WaitMessage(expired(t), func(m Message) bool { return m.Text == "never" }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for what never comes: %v", err)
	}
}

func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"kgent/bot/card"
	"kgent/bot/slack/slackd"
	"kgent/bot/thread"
)

// live are the messages of the bot in a channel that everybody sees.
func (w workspace) live(channel string) []slackd.Message {
	var live []slackd.Message
	for _, m := range w.Messages(channel) {
		if m.User == w.Server.Config().BotUser && !m.Deleted && m.EphemeralTo == "" {
			live = append(live, m)
		}
	}
	return live
}

func TestPostAndEdit(t *testing.T) {
	w := open(t, nil)
	ctx := bound(t)
	root := must(w.User(alice).Post(incidents, "x"))(t)
	m := ask("r1/card", w.place(root))
	h := must(w.Post(ctx, m))(t)
	got, _ := w.Message(h.Channel, h.ID)
	if got.ThreadTS != root.TS || !strings.Contains(string(got.Blocks), "tcp connects") || !strings.Contains(got.Text, "runs on: db-3") ||
		!strings.Contains(string(got.Metadata), `"r1/card"`) {
		t.Errorf("posted %+v", got)
	}
	args := w.Calls("chat.postMessage")[0].Args
	for name, want := range map[string]string{"unfurl_links": "false", "unfurl_media": "false", "parse": "none", "mrkdwn": "false"} {
		if args[name] != want {
			t.Errorf("%s=%s, want %s", name, args[name], want)
		}
	}
	m.Card.Buttons, m.Card.Tone = nil, card.Good
	for range 3 { // the same content is sent once
		if err := w.Edit(ctx, h, m); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.Calls("chat.update")); n != 1 {
		t.Errorf("%d edits, want 1", n)
	}
	got, _ = w.Message(h.Channel, h.ID)
	if strings.Contains(string(got.Blocks), "approve") || !strings.Contains(string(got.Metadata), `"r1/card"`) {
		t.Errorf("edited: %s %s", got.Blocks, got.Metadata)
	}
	// An edit that failed is not taken for made.
	m.Card.Title = "other"
	w.Inject(slackd.Fault{On: "chat.update", Count: 1, Status: 503})
	if err := w.Edit(ctx, h, m); err == nil {
		t.Error("a failed edit is no error")
	}
	if err := w.Edit(ctx, h, m); err != nil {
		t.Fatal(err)
	}
	if got, _ = w.Message(h.Channel, h.ID); !strings.Contains(string(got.Blocks), "other") {
		t.Errorf("edited: %s", got.Blocks)
	}
	if link := w.Link(ctx, m.Place, h); link != "https://home.slack.com/archives/"+incidents+"/p"+strings.Replace(h.ID, ".", "", 1)+"?thread_ts="+root.TS+"&cid="+incidents {
		t.Errorf("link %s", link)
	}
	if link := w.Link(ctx, m.Place, thread.Handle{Channel: incidents, ID: "file:F1"}); link != "https://home.slack.com/archives/"+incidents+"/p"+strings.Replace(root.TS, ".", "", 1) {
		t.Errorf("link to a file's thread %s", link)
	}
}

// kind is what a typed error says.
func kind(err error) string {
	if err == nil {
		return "none"
	}
	if _, ok := errors.AsType[*thread.UnknownError](err); ok {
		return "unknown"
	}
	if l, ok := errors.AsType[*thread.RateLimitedError](err); ok {
		return "limited " + l.After.String()
	}
	if _, ok := errors.AsType[*thread.GoneError](err); ok {
		return "gone"
	}
	if _, ok := errors.AsType[*thread.TooOldError](err); ok {
		return "too old"
	}
	return "plain"
}

func TestErrorsSayWhatIsKnown(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault slackd.Fault
		want  string
		words string
		posts int // that took effect
	}{
		{"rate limited", slackd.Fault{Error: "ratelimited", RetryAfter: 7 * time.Second}, "limited 7s", "", 0},
		{"answered 503", slackd.Fault{Status: 503}, "unknown", "", 0},
		{"answered 503 after it was posted", slackd.Fault{Status: 503, AfterCommit: true}, "unknown", "", 1},
		{"connection cut", slackd.Fault{Drop: true}, "unknown", "", 0},
		{"connection cut after it was posted", slackd.Fault{Drop: true, AfterCommit: true}, "unknown", "", 1},
		{"internal error", slackd.Fault{Error: "internal_error"}, "unknown", "", 0},
		{"not in the channel", slackd.Fault{Error: "not_in_channel"}, "gone", "/invite @kgent", 0},
		{"archived", slackd.Fault{Error: "is_archived"}, "gone", "archived", 0},
		{"token revoked", slackd.Fault{Error: "token_revoked"}, "gone", "install the app again", 0},
		{"scope", slackd.Fault{Error: "missing_scope"}, "gone", "scopes", 0},
		{"an error nobody knows", slackd.Fault{Error: "mercury_retrograde"}, "plain", "mercury_retrograde", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := open(t, nil)
			root := must(w.User(alice).Post(incidents, "x"))(t)
			c.fault.On, c.fault.Count = "chat.postMessage", 1
			w.Inject(c.fault)
			m := ask("k", w.place(root))
			_, err := w.Post(bound(t), m)
			if kind(err) != c.want || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %s (%v), want %s about %q", kind(err), err, c.want, c.words)
			}
			if n := len(w.live(incidents)); n != c.posts {
				t.Errorf("%d messages were posted, want %d", n, c.posts)
			}
			if n := len(w.Calls("chat.postMessage")); n > 1 {
				t.Errorf("tried %d times on its own", n)
			}
			if c.want != "unknown" {
				return
			}
			// It is looked for, and posted only if it is not there.
			m.Tried = true
			h := must(w.Post(bound(t), m))(t)
			live := w.live(incidents)
			if len(live) != 1 || live[0].TS != h.ID {
				t.Errorf("%d messages after another try, handle %v", len(live), h)
			}
		})
	}
}

func TestEditErrors(t *testing.T) {
	for _, c := range []struct{ code, want string }{
		{"edit_window_closed", "too old"}, {"message_not_found", "too old"}, {"cant_update_message", "gone"}, {"internal_error", "plain"},
	} {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			w := open(t, nil)
			ctx := bound(t)
			m := ask("k", w.place(must(w.User(alice).Post(incidents, "x"))(t)))
			h := must(w.Post(ctx, m))(t)
			w.Inject(slackd.Fault{On: "chat.update", Count: 1, Error: c.code})
			if err := w.Edit(ctx, h, m); kind(err) != c.want {
				t.Errorf("got %s (%v), want %s", kind(err), err, c.want)
			}
		})
	}
}

// A server that cannot be reached was sent nothing.
func TestNobodyThere(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	addr := l.Addr().String()
	l.Close()
	a := must(New(Config{BotToken: "xoxb-secret", AppToken: "xapp-secret", APIURL: "http://" + addr}))(t)
	_, err := a.Post(bound(t), ask("k", thread.Place{Surface: "slack", Tenant: "T", Channel: "C"}))
	if kind(err) != "plain" || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %s (%v)", kind(err), err)
	}
}

// A server that takes the message and does not answer before the caller's
// patience ends leaves it open whether it was sent.
func TestNoAnswerInTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil || !strings.HasSuffix(r.URL.Path, "/chat.postMessage") {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	a := must(New(Config{BotToken: "xoxb-1", AppToken: "xapp-1", APIURL: s.URL}))(t)
	if _, err := a.Post(ctx, ask("k", thread.Place{Surface: "slack", Tenant: "T", Channel: "C"})); kind(err) != "unknown" {
		t.Errorf("got %s (%v)", kind(err), err)
	}
}

func TestTriedLooksWherePeopleTalkMuch(t *testing.T) {
	for _, where := range []string{"thread", "channel"} {
		t.Run(where, func(t *testing.T) {
			w := open(t, nil)
			ctx := bound(t)
			root := must(w.User(alice).Post(incidents, "x"))(t)
			m := ask("k", w.place(root))
			if where == "channel" {
				m.Place.Thread = ""
			}
			h := must(w.Post(ctx, m))(t)
			n := 1100 // more than a page
			if where == "channel" {
				n = 50
			}
			for i := range n {
				say := fmt.Sprint("more ", i)
				if where == "thread" {
					must(w.User(bob).Reply(root, say))(t)
				} else {
					must(w.User(bob).Post(incidents, say))(t)
				}
			}
			m.Tried = true
			if again := must(w.Post(ctx, m))(t); again != h {
				t.Errorf("found %v, want %v", again, h)
			}
			m.Key = "another"
			if again := must(w.Post(ctx, m))(t); again == h {
				t.Error("took another message for its own")
			}
		})
	}
}

func TestPostsStayWithinTheBudget(t *testing.T) {
	c := at(time.Now())
	w := open(t, func(s *slackd.Config, a *Config) {
		s.NoRateLimits, s.Now, a.Now = false, c.now, c.now
	})
	ctx := bound(t)
	p := w.place(must(w.User(alice).Post(incidents, "x"))(t))
	sent, refused := 0, 0
	for i := range 40 {
		m := ask(fmt.Sprint("k", i), p)
		if m.Class = thread.Tail; i%10 == 0 {
			m.Class = thread.Urgent
		}
		_, err := w.Post(ctx, m)
		switch k := kind(err); {
		case err == nil:
			sent++
		case strings.HasPrefix(k, "limited") && m.Class != thread.Urgent:
			refused++
		default:
			t.Errorf("post %d: %v", i, err)
		}
		c.pass(300 * time.Millisecond)
	}
	if sent < 10 || refused == 0 {
		t.Errorf("%d sent, %d refused", sent, refused)
	}
	for _, call := range w.Calls("chat.postMessage") {
		if call.Error != "" {
			t.Errorf("Slack had to refuse: %s", call.Error)
		}
	}
}

// After a 429 nothing is sent before the time that Slack said, and afterwards
// it is.
func TestStormOf429(t *testing.T) {
	c := at(time.Now())
	w := open(t, func(_ *slackd.Config, a *Config) { a.Now = c.now })
	ctx := bound(t)
	m := ask("k", w.place(must(w.User(alice).Post(incidents, "x"))(t)))
	w.Inject(slackd.Fault{On: "chat.postMessage", Count: 3, Error: "ratelimited", RetryAfter: 5 * time.Second})
	tries := 0
	for tries = 1; tries < 50; tries++ {
		_, err := w.Post(ctx, m)
		if err == nil {
			break
		}
		limitedFor(t, err)
		c.pass(time.Second)
	}
	if n := len(w.Calls("chat.postMessage")); n != 4 || tries != 16 {
		t.Errorf("%d calls in %d tries, want 4 in 16", n, tries)
	}
	if n := len(w.live(incidents)); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestFiles(t *testing.T) {
	w := open(t, nil)
	ctx := bound(t)
	root := must(w.User(alice).Post(incidents, "x"))(t)
	m := ask("r1/result", w.place(root))
	m.Files = []thread.File{
		{Name: "hist.png", Title: "latency of reads on db-3", Data: []byte("\x89PNG\r\n\x1a\n0000"), Picture: true},
		{Name: "../output.txt", Title: "the whole output", Data: []byte("line\n")},
		{Name: "empty", Title: "", Data: nil},
	}
	h := must(w.Post(ctx, m))(t)
	live := w.live(incidents)
	if len(live) != 2 || live[0].TS != h.ID || live[1].ThreadTS != root.TS || len(live[1].Files) != 3 {
		t.Fatalf("posted %+v", live)
	}
	f := live[1].Files
	if f[0].Title != "latency of reads on db-3" || f[0].AltText != f[0].Title || !strings.HasPrefix(f[0].Name, "hist-") || !strings.HasSuffix(f[0].Name, ".png") {
		t.Errorf("picture %+v", f[0])
	}
	if data, _ := w.FileData(f[1].ID); string(data) != "line\n" || strings.ContainsAny(f[1].Name, "/\\") {
		t.Errorf("text %+v %q", f[1], data)
	}
	// Tried again, nothing is doubled, whatever was lost.
	m.Tried = true
	if again := must(w.Post(ctx, m))(t); again != h {
		t.Errorf("handle %v, want %v", again, h)
	}
	if n := len(w.live(incidents)); n != 2 {
		t.Errorf("%d messages", n)
	}

	// Only files, and the answer to the sharing of them is lost.
	only := thread.Message{Key: "r2/source", Place: w.place(root), Files: m.Files[1:2], Class: thread.Result, At: time.Now()}
	w.Inject(slackd.Fault{On: "files.completeUploadExternal", Count: 1, Drop: true, AfterCommit: true})
	if _, err := w.Post(ctx, only); kind(err) != "unknown" {
		t.Errorf("lost answer: %v", err)
	}
	only.Tried = true
	h = must(w.Post(ctx, only))(t)
	if n := len(w.live(incidents)); n != 3 || !isFile(h) {
		t.Errorf("%d messages, handle %v", n, h)
	}
	if err := w.Edit(ctx, h, only); err != nil {
		t.Errorf("editing: %v", err)
	}

	// The card is posted, the files are not yet: the next try does the rest.
	half := m
	half.Key, half.Tried = "r3/result", false
	w.Inject(slackd.Fault{On: "files.completeUploadExternal", Count: 1, Error: "ratelimited", RetryAfter: time.Second})
	if _, err := w.Post(ctx, half); kind(err) != "unknown" {
		t.Errorf("half posted: %v", err)
	}
	half.Tried = true
	c := at(time.Now().Add(time.Minute))
	w.budget.now = c.now
	must(w.Post(ctx, half))(t)
	if n := len(w.live(incidents)); n != 5 {
		t.Errorf("%d messages, want 5", n)
	}

	// What cannot be uploaded leaves nothing behind.
	bad := m
	bad.Key, bad.Tried = "r4/result", false
	w.Inject(slackd.Fault{On: "files.getUploadURLExternal", Count: 1, Status: 500})
	if _, err := w.Post(ctx, bad); kind(err) != "plain" {
		t.Errorf("failed upload: %v", err)
	}
	if n := len(w.live(incidents)); n != 5 {
		t.Errorf("%d messages, want 5", n)
	}
}

func TestWhispers(t *testing.T) {
	w := open(t, nil)
	ctx := bound(t)
	root := must(w.User(alice).Post(incidents, "x"))(t)
	whisper := func(p thread.Place, to, reply, title string) {
		t.Helper()
		h, err := w.Post(ctx, thread.Message{Key: title, Place: p, Only: to, Reply: reply, Card: card.Card{Title: title}, Class: thread.Urgent})
		if err != nil || h != (thread.Handle{}) {
			t.Fatalf("handle %v, error %v", h, err)
		}
	}
	seen := func(title string) slackd.Message {
		t.Helper()
		return must(w.WaitMessage(ctx, func(m slackd.Message) bool { return strings.Contains(string(m.Blocks), title) }))(t)
	}
	// In a thread without replies Slack would not show it.
	whisper(w.place(root), alice, "", "first of all")
	if m := seen("first of all"); m.EphemeralTo != alice || m.ThreadTS != "" {
		t.Errorf("%+v", m)
	}
	must(w.User(bob).Reply(root, "what is it?"))(t)
	whisper(w.place(root), alice, "", "only you")
	if m := seen("only you"); m.EphemeralTo != alice || m.ThreadTS != root.TS {
		t.Errorf("%+v", m)
	}
	// That there are replies is known of a thread that kgent posted in.
	second := must(w.User(alice).Post(incidents, "y"))(t)
	must(w.Post(ctx, thread.Message{Key: "card", Place: w.place(second), Card: card.Card{Title: "a card"}, Class: thread.Urgent}))(t)
	calls := len(w.Calls("conversations.replies"))
	whisper(w.place(second), alice, "", "you again")
	if m := seen("you again"); m.ThreadTS != second.TS || len(w.Calls("conversations.replies")) != calls {
		t.Errorf("%+v, %d calls", m, len(w.Calls("conversations.replies"))-calls)
	}
	f := newFront()
	w.run(t, f)
	// kgent is not in #random; the command's own answer reaches the person.
	if err := w.User(alice).Slash(ctx, random, "", "/kgent", "help"); err != nil {
		t.Fatal(err)
	}
	// What was posted before the bot was there may come first.
	var e thread.Event
	for n := 1; e.Place.Channel != random; n++ {
		e = f.wait(t, n)[n-1]
	}
	whisper(e.Place, alice, e.Reply, "by the command")
	if m := seen("by the command"); m.Channel != random || m.EphemeralTo != alice {
		t.Errorf("%+v", m)
	}
	// And without one, a direct message does.
	whisper(e.Place, alice, "", "directly")
	if m := seen("directly"); !strings.HasPrefix(m.Channel, "D") || m.ThreadTS != "" {
		t.Errorf("%+v", m)
	}
	whisper(thread.Place{Surface: "slack", Tenant: "T0HOME", Home: alice}, alice, "", "from home")
	if m := seen("from home"); !strings.HasPrefix(m.Channel, "D") {
		t.Errorf("%+v", m)
	}
	// A lost answer is not taken for "cannot be".
	w.Inject(slackd.Fault{On: "chat.postEphemeral", Count: 1, Status: 500})
	_, err := w.Post(ctx, thread.Message{Key: "k", Place: w.place(root), Only: alice, Card: card.Card{Title: "x"}})
	if kind(err) != "unknown" {
		t.Errorf("got %v", err)
	}
}

// An answer goes to an address of Slack's and no other.
func TestHook(t *testing.T) {
	a := must(New(Config{BotToken: "xoxb-1", AppToken: "xapp-1"}))(t)
	for raw, want := range map[string]bool{
		"https://hooks.slack.com/commands/T1/2/3": true, "https://hooks.slack-gov.com/x": true, "http://hooks.slack.com/x": false,
		"https://hooks.slack.com.example.org/": false, "https://example.org/?hooks.slack.com": false, "https://slack.com/api/x": false,
		"http://169.254.169.254/": false, "": false, "://": false,
	} {
		if got := a.hook(raw) != ""; got != want {
			t.Errorf("hook(%q) = %v, want %v", raw, got, want)
		}
	}
}

func TestTooLongIsSentShortened(t *testing.T) {
	w := open(t, nil)
	ctx := bound(t)
	m := ask("k", w.place(must(w.User(alice).Post(incidents, "x"))(t)))
	m.Card.Blocks = append(m.Card.Blocks, card.Code{Body: strings.Repeat("line of output\n", 200)})
	w.Inject(slackd.Fault{On: "chat.postMessage", Count: 1, Error: "msg_blocks_too_long"})
	must(w.Post(ctx, m))(t)
	if got := w.live(incidents); len(got) != 1 || len(got[0].Blocks) > 4000 || !strings.Contains(string(got[0].Blocks), "lines left out") {
		t.Errorf("posted %s", got[0].Blocks)
	}
	w.Inject(slackd.Fault{On: "chat.postMessage", Count: 2, Error: "invalid_blocks"})
	m.Key = "k2"
	if _, err := w.Post(ctx, m); kind(err) != "plain" || !errors.Is(err, errTooLong) {
		t.Errorf("got %v", err)
	}
	if n := len(w.live(incidents)); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestNothingToPost(t *testing.T) {
	w := open(t, nil)
	for _, m := range []thread.Message{
		{Key: "k", Place: thread.Place{Surface: "slack", Channel: incidents}},
		{Key: "k", Card: card.Card{Title: "x"}},
		{Key: "k", Place: thread.Place{Surface: "slack", Channel: incidents}, Only: alice},
	} {
		if _, err := w.Post(bound(t), m); err == nil {
			t.Errorf("posted %+v", m)
		}
	}
}

func TestHuman(t *testing.T) {
	c := at(time.Now())
	w := open(t, func(_ *slackd.Config, a *Config) { a.Now = c.now })
	ctx := bound(t)
	for _, x := range []struct{ name, tenant, user, why string }{
		{"a member", "T0HOME", alice, ""},
		{"a guest", "T0HOME", dave, "guest"},
		{"another workspace's", "T0VENDOR", mallory, "another workspace"},
		{"another workspace's that says it is ours", "T0HOME", mallory, "another workspace"},
		{"ours that says it is another's", "T0VENDOR", alice, "another workspace"},
		{"a bot", "T0HOME", deploy, "bot"},
		{"kgent", "T0HOME", "U0KGENTBOT", "bot"},
		{"Slackbot", "T0HOME", "USLACKBOT", "bot"},
		{"nobody", "T0HOME", "", "bot"},
		{"somebody who never was", "T0HOME", "U0NEVER", "does not know"},
	} {
		t.Run(x.name, func(t *testing.T) {
			err := w.Human(ctx, thread.Account{Surface: "slack", Tenant: x.tenant, User: x.user})
			no, is := errors.AsType[*thread.NotHumanError](err)
			if x.why == "" && err != nil || x.why != "" && (!is || !strings.Contains(no.Why, x.why)) {
				t.Errorf("got %v, want %q", err, x.why)
			}
		})
	}
	someone := thread.Account{Surface: "slack", Tenant: "T0HOME", User: bob}
	if err := w.Human(ctx, someone); err != nil {
		t.Fatal(err)
	}
	w.SetUser(bob, func(p *slackd.Person) { p.Deactivated = true })
	c.pass(time.Minute)
	if _, is := errors.AsType[*thread.NotHumanError](w.Human(ctx, someone)); !is {
		t.Error("somebody who left a minute ago counts")
	}
	// Not known is not the same as no.
	w.Inject(slackd.Fault{On: "users.info", Count: 1, Status: 500})
	err := w.Human(ctx, thread.Account{Surface: "slack", Tenant: "T0HOME", User: "U0CAROL"})
	if _, is := errors.AsType[*thread.NotHumanError](err); is || err == nil {
		t.Errorf("with Slack down: %v", err)
	}
	if err := w.Human(ctx, thread.Account{Surface: "discord", User: alice}); err == nil {
		t.Error("a Discord account counts on Slack")
	}
}

func TestMember(t *testing.T) {
	c := at(time.Now())
	w := open(t, func(_ *slackd.Config, a *Config) { a.Now = c.now })
	ctx := bound(t)
	member := func(user, group string) bool {
		t.Helper()
		return must(w.Member(ctx, thread.Account{Surface: "slack", Tenant: "T0HOME", User: user}, group))(t)
	}
	const approvers = "slack:T0HOME/S0APPROVERS"
	if member(alice, approvers) || !member(bob, approvers) {
		t.Error("alice is a member or bob is not")
	}
	w.SetUsergroup("S0APPROVERS", alice)
	c.pass(time.Minute)
	if !member(alice, approvers) || member(bob, approvers) {
		t.Error("what changed a minute ago does not count")
	}
	if n := len(w.Calls("usergroups.users.list")); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
	for _, group := range []string{"slack:T0HOME/S0NONE", "slack:T0OTHER/S0APPROVERS", "S0APPROVERS", "discord:G1/R1", "slack:T0HOME", "slack:/S1", "slack:T0HOME/S0APPROVERS/x"} {
		if in, err := w.Member(ctx, thread.Account{Surface: "slack", User: alice}, group); err == nil || in {
			t.Errorf("group %s: %v, %v", group, in, err)
		}
	}
	if in, err := w.Member(ctx, thread.Account{Surface: "discord", User: alice}, approvers); in || err != nil {
		t.Errorf("a Discord account: %v, %v", in, err)
	}
}

// serve puts the adapter's handler before the workspace.
func serve(t *testing.T, w workspace, f thread.Front) string {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	s := &http.Server{Handler: w.Handler(f)}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	url := "http://" + l.Addr().String()
	if err := w.SetRequestURL(bound(t), url); err != nil {
		t.Fatalf("Slack does not take the address: %v", err)
	}
	return url
}

func TestHTTP(t *testing.T) {
	w := open(t, nil)
	f := newFront()
	f.form = func(e thread.Event) (*card.Form, *card.Card) {
		if e.Verb != "deny" {
			return nil, nil
		}
		return &card.Form{Verb: "denied", ID: e.ID, Title: "Deny", Submit: "Deny", Inputs: []card.Input{{Name: "reason", Label: "Why?"}}}, nil
	}
	serve(t, w, f)
	ctx := bound(t)
	root := must(w.User(alice).Mention(incidents, "x"))(t)
	f.wait(t, 1)
	if err := w.User(alice).Slash(ctx, incidents, "", "/kgent", "a & b + c"); err != nil {
		t.Fatal(err)
	}
	if e := f.wait(t, 2)[1]; e.Text != "a & b + c" || !e.Rootless || e.Reply == "" {
		t.Errorf("slash command: %+v", e)
	}
	h := must(w.Post(ctx, ask("k", w.place(root))))(t)
	shown, _ := w.Message(h.Channel, h.ID)
	if err := w.User(bob).Click(ctx, shown, "kgent:approve"); err != nil {
		t.Fatal(err)
	}
	if e := f.wait(t, 3)[2]; e.Kind != thread.Click || e.Verb != "approve" {
		t.Errorf("click: %+v", e)
	}
	if err := w.User(bob).Click(ctx, shown, "kgent:deny"); err != nil {
		t.Fatal(err)
	}
	if _, open, err := w.User(bob).Submit(ctx, map[string][]string{"reason": {"no"}}); err != nil || open {
		t.Fatalf("submit: %v", err)
	}
	if e := f.wait(t, 4)[3]; e.Kind != thread.Submit || e.Fields["reason"] != "no" {
		t.Errorf("submit: %+v", e)
	}
	// What is not stored is not acknowledged, and its retries count.
	f.mu.Lock()
	n := 0
	f.fail = func(thread.Event) error {
		if n++; n == 1 {
			return errors.New("store not reachable")
		}
		return nil
	}
	f.mu.Unlock()
	must(w.User(alice).Mention(incidents, "y"))(t)
	if e := f.wait(t, 6); e[4].Key != e[5].Key {
		t.Errorf("keys %s, %s", e[4].Key, e[5].Key)
	}
	if err := w.Health(time.Now()); err == nil {
		t.Error("healthy in Socket Mode without a socket")
	}
}

func TestWhatIsNotSignedIsRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault slackd.Fault
		want  string
	}{
		{"bad signature", slackd.Fault{BadSignature: true}, "401"},
		{"old timestamp", slackd.Fault{OldTimestamp: true}, "401"},
		{"oversized", slackd.Fault{Oversize: true}, "413"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := open(t, nil)
			f := newFront()
			serve(t, w, f)
			c.fault.On, c.fault.Count = "event:app_mention", 1
			w.Inject(c.fault)
			must(w.User(alice).Mention(incidents, "forged"))(t)
			eventually(t, "the forged delivery is refused", func() bool {
				for _, d := range w.Deliveries() {
					if d.On == "event:app_mention" {
						return !d.Acked && strings.Contains(d.Error, c.want)
					}
				}
				return false
			})
			must(w.User(alice).Mention(incidents, "genuine"))(t)
			f.wait(t, 1)
			for _, e := range f.wait(t, 1) {
				if e.Text != "genuine" {
					t.Errorf("heard %+v", e)
				}
			}
		})
	}
}

func TestVerify(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	body := []byte(`{"type":"event_callback"}`)
	signed := func(secret, stamp string) http.Header {
		return http.Header{"X-Slack-Request-Timestamp": {stamp}, "X-Slack-Signature": {slackd.Signature(secret, stamp, body)}}
	}
	for _, c := range []struct {
		name   string
		secret string
		header http.Header
		ok     bool
	}{
		{"good", "s", signed("s", "1700000000"), true},
		{"five minutes old", "s", signed("s", "1699999700"), true},
		{"older", "s", signed("s", "1699999699"), false},
		{"from the future", "s", signed("s", "1700000301"), false},
		{"absurd", "s", signed("s", "-9223372036854775808"), false},
		{"absurdly late", "s", signed("s", "9223372036854775807"), false},
		{"no secret set", "", signed("", "1700000000"), false},
		{"another secret", "s", signed("t", "1700000000"), false},
		{"another time", "s", http.Header{"X-Slack-Request-Timestamp": {"1700000001"}, "X-Slack-Signature": {slackd.Signature("s", "1700000000", body)}}, false},
		{"no version", "s", http.Header{"X-Slack-Request-Timestamp": {"1700000000"}, "X-Slack-Signature": {slackd.Signature("s", "1700000000", body)[3:]}}, false},
		{"empty signature", "s", http.Header{"X-Slack-Request-Timestamp": {"1700000000"}, "X-Slack-Signature": {"v0="}}, false},
		{"nothing", "s", http.Header{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := verify(c.secret, c.header, body, now); (err == nil) != c.ok {
				t.Errorf("verify = %v, want ok %v", err, c.ok)
			}
		})
	}
}

// Only the signed body counts, whatever stands in the address.
func TestTheAddressIsNotRead(t *testing.T) {
	w := open(t, nil)
	f := newFront()
	url := serve(t, w, f)
	body := "ssl_check=1"
	stamp := fmt.Sprint(time.Now().Unix())
	smuggled, _ := json.Marshal(map[string]any{"type": "block_actions"})
	req := must(http.NewRequestWithContext(bound(t), http.MethodPost, url+"?payload="+string(smuggled[:1]), strings.NewReader(body)))(t)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Slack-Request-Timestamp", stamp)
	req.Header.Set("X-Slack-Signature", slackd.Signature(w.cfg.SigningSecret, stamp, []byte(body)))
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	r := must(client.Do(req))(t)
	r.Body.Close()
	if r.StatusCode != 200 || len(f.events) != 0 || strings.Contains(w.log.String(), "left out") {
		t.Errorf("status %s, events %+v", r.Status, f.events)
	}
	r = must(client.Get(url))(t)
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %s", r.Status)
	}
}

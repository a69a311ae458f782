package discord

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kgent/bot/card"
	"kgent/bot/discord/discordd"
	"kgent/bot/logtest"
	"kgent/bot/thread"
)

// patience bounds every wait for something that must happen: far longer than it takes on
// a busy host.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	failed := m.Run()
	// discordgo waits a second after it closed a connection.
	leak := goleak.Find()
	for end := time.Now().Add(patience); leak != nil && time.Now().Before(end); leak = goleak.Find() {
	}
	if failed == 0 && leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		failed = 1
	}
	os.Exit(failed)
}

// front records what arrives and can be told to be out of order.
type front struct {
	mu       sync.Mutex
	changed  chan struct{}
	events   []thread.Event // without repetitions
	calls    int
	fail     error
	form     *card.Form
	refusal  *card.Card
	complete []string
}

func newFront() *front { return &front{changed: make(chan struct{})} }

func (f *front) Receive(_ context.Context, e thread.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	close(f.changed)
	f.changed = make(chan struct{})
	if f.fail != nil {
		return f.fail
	}
	if !slices.ContainsFunc(f.events, func(o thread.Event) bool { return o.Key == e.Key }) {
		f.events = append(f.events, e)
	}
	return nil
}

func (f *front) Form(_ context.Context, e thread.Event) (*card.Form, *card.Card) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Verb != "deny" {
		return nil, nil
	}
	return f.form, f.refusal
}

func (f *front) Wrong(context.Context, thread.Event) map[string]string { return nil }

func (f *front) Complete(_ context.Context, _ thread.Account, field, prefix string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, c := range f.complete {
		if strings.HasPrefix(c, field+" "+prefix) {
			out = append(out, strings.TrimPrefix(c, field+" "))
		}
	}
	return out
}

func (f *front) failing(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// wait returns when ok says yes about what arrived.
func (f *front) wait(t *testing.T, ok func(events []thread.Event, calls int) bool) []thread.Event {
	t.Helper()
	limit := time.After(patience)
	for {
		f.mu.Lock()
		events, calls, changed := slices.Clone(f.events), f.calls, f.changed
		f.mu.Unlock()
		if ok(events, calls) {
			return events
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("after %v there are %d calls and %+v", patience, calls, events)
		}
	}
}

// event waits for the n-th event, from 1.
func (f *front) event(t *testing.T, n int) thread.Event {
	t.Helper()
	return f.wait(t, func(es []thread.Event, _ int) bool { return len(es) >= n })[n-1]
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// world is a stand-in with an adapter.
type world struct {
	*discordd.Server
	*Adapter
	front *front
	log   *logtest.Log
	stop  func() error // ends Run and returns its error
	ended chan struct{}
}

func start(t *testing.T, change func(*discordd.Config, *Config)) *world {
	t.Helper()
	sc := discordd.Example()
	sc.AnswerTime = patience
	cfg := Config{MessageContent: true, PerSecond: 1000}
	if change != nil {
		change(&sc, &cfg)
	}
	s, err := discordd.Start("127.0.0.1:0", sc)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Server: s, front: newFront(), log: &logtest.Log{}}
	if cfg.Token == "" {
		cfg.Token = s.Token()
	}
	cfg.APIURL, cfg.Now = s.APIURL(), s.Now
	cfg.PublicKey = hex.EncodeToString(s.PublicKey())
	cfg.Log = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if w.Adapter, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Adapter.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if out := w.log.String(); strings.Contains(out, s.Token()) {
			t.Errorf("the token is in the log:\n%s", out)
		}
		for _, r := range w.Server.Requests("", "") {
			for _, secret := range secrets(r.Path) {
				if strings.Contains(w.log.String(), secret) {
					t.Errorf("the token of an interaction is in the log:\n%s", w.log.String())
				}
			}
		}
	})
	return w
}

// secrets returns the tokens of interactions in a path: whoever has one can
// answer in kgent's name.
func secrets(path string) []string {
	var out []string
	for _, p := range strings.Split(path, "/") {
		if len(p) > 30 && !snowflake(p) {
			out = append(out, p)
		}
	}
	return out
}

// run starts the gateway and waits until it is up.
func (w *world) run(t *testing.T) *world {
	t.Helper()
	w.launch(t)
	if err := w.WaitGateway(within(t), 1); err != nil {
		t.Fatal(err, w.log.String())
	}
	return w
}

func (w *world) launch(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		err = w.Adapter.Run(ctx, w.front)
	}()
	w.ended = ended
	w.stop = func() error {
		cancel()
		select {
		case <-ended:
			return err
		case <-time.After(patience):
			return errors.New("Run does not return")
		}
	}
	t.Cleanup(func() {
		if err := w.stop(); err != nil && !t.Failed() {
			var f *fatalError
			if !errors.As(err, &f) {
				t.Error(err)
			}
		}
	})
}

const (
	guild     = discordd.ExampleGuild
	incidents = discordd.ExampleIncidents
	alice     = discordd.ExampleAlice
	bob       = discordd.ExampleBob
)

func ok[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func note(text string) card.Card {
	return card.Card{Title: text, Blocks: []card.Block{card.Text{Body: text}}}
}

func plainMessage(key string, p thread.Place) thread.Message {
	return thread.Message{Key: key, Place: p, Card: note(key), Class: thread.Result}
}

func inThread(root string) thread.Place {
	return thread.Place{Surface: Surface, Tenant: guild, Channel: incidents, Thread: root}
}

func inChannel() thread.Place {
	return thread.Place{Surface: Surface, Tenant: guild, Channel: incidents}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	w := start(t, nil).run(t)
	a := w.As(alice)

	m := ok[discordd.Message](t)(a.Mention(incidents, "who kills httpd?"))
	e := w.front.event(t, 1)
	if e.Kind != thread.Ask || e.Text != "who kills httpd?" || e.Key != "discord:"+m.ID || e.Message != m.ID ||
		e.Place != inThread(m.ID) || e.By != (thread.Account{Surface: Surface, Tenant: guild, User: alice, Name: "Alice"}) || e.Rootless || e.At.IsZero() {
		t.Errorf("mention: %+v", e)
	}

	// The first answer makes the thread, the second finds it.
	h := ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("first", e.Place)))
	if h.Channel != m.ID {
		t.Errorf("posted to %+v, not the thread %s", h, m.ID)
	}
	ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("second", e.Place)))
	if ts := w.Threads(incidents); len(ts) != 1 || ts[0].Name != "who kills httpd?" {
		t.Errorf("threads %+v", ts)
	}
	if got := w.Adapter.Link(within(t), e.Place, h); got != "https://discord.com/channels/"+guild+"/"+m.ID+"/"+h.ID {
		t.Error(got)
	}

	// A plain message in the thread is a reply; a mention there asks.
	ok[discordd.Message](t)(a.Post(m.ID, "only port 443"))
	if e := w.front.event(t, 2); e.Kind != thread.Reply || e.Text != "only port 443" || e.Place != inThread(m.ID) {
		t.Errorf("reply: %+v", e)
	}
	ok[discordd.Message](t)(a.Mention(m.ID, "also v6"))
	if e := w.front.event(t, 3); e.Kind != thread.Ask || e.Text != "also v6" || e.Place != inThread(m.ID) {
		t.Errorf("mention in the thread: %+v", e)
	}

	// A direct message has no thread.
	dm := ok[discordd.Message](t)(a.DM("help"))
	e = w.front.event(t, 4)
	if e.Kind != thread.Ask || e.Text != "help" || e.By.Tenant != guild || e.Place != (thread.Place{Surface: Surface, Channel: dm.ChannelID}) {
		t.Errorf("direct message: %+v", e)
	}
	// Even when the conversation hangs it below its message.
	under := e.Place
	under.Thread = dm.ID
	if h := ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("dm", under))); h.Channel != dm.ChannelID {
		t.Errorf("posted to %+v", h)
	}

	// Nobody talks to us here, and other bots never do.
	ok[discordd.Message](t)(a.Post(incidents, "just talking"))
	ok[discordd.Message](t)(w.As(discordd.ExampleOtherBot).Mention(incidents, "who kills?"))
	ok[discordd.Message](t)(w.As(bob).Mention(incidents, "the end"))
	if e := w.front.event(t, 5); e.Text != "the end" {
		t.Errorf("heard %+v", e)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	if err := w.Adapter.Health(w.Server.Now()); err != nil {
		t.Errorf("not leading is not ill: %v", err)
	}
}

// Without MESSAGE CONTENT what is said without a mention has no text.
func TestWithoutMessageContent(t *testing.T) {
	t.Parallel()
	w := start(t, func(_ *discordd.Config, c *Config) { c.MessageContent = false }).run(t)
	a := w.As(alice)
	m := ok[discordd.Message](t)(a.Mention(incidents, "who kills?"))
	w.front.event(t, 1)
	ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("first", inThread(m.ID))))
	ok[discordd.Message](t)(a.Post(m.ID, "unreadable"))
	ok[discordd.Message](t)(a.Mention(m.ID, "readable"))
	if e := w.front.event(t, 2); e.Text != "readable" || e.Place != inThread(m.ID) {
		t.Errorf("%+v", e)
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	w := start(t, nil).run(t)
	a := w.As(alice)
	if err := w.WaitCommands(within(t), "kgent"); err != nil {
		t.Fatal(err)
	}
	in := ok[*discordd.Interaction](t)(a.Command(incidents, "kgent ask", discordd.Option{Name: "request", Value: "who kills"}, discordd.Option{Name: "node", Value: "db-3"}))
	r := ok[discordd.Response](t)(in.Wait(within(t)))
	if r.Type != 4 || r.Message.VisibleTo != alice || !strings.Contains(r.Message.Text(), "On it") {
		t.Errorf("answer %+v", r)
	}
	e := w.front.event(t, 1)
	if e.Kind != thread.Ask || e.Text != "who kills on db-3" || !e.Rootless || e.Place != inChannel() || e.Key != "discord:"+in.ID {
		t.Errorf("%+v", e)
	}
	// The answer's root is posted in the channel, the rest in its thread.
	root := ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("root", e.Place)))
	h := ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("below", inThread(root.ID))))
	if h.Channel != root.ID {
		t.Errorf("posted to %+v, the root is %+v", h, root)
	}
	// A private word follows.
	whisper := plainMessage("no", e.Place)
	whisper.Only, whisper.Reply = alice, e.Reply
	ok[thread.Handle](t)(w.Adapter.Post(within(t), whisper))
	got := ok[discordd.Message](t)(w.WaitMessage(within(t), func(m discordd.Message) bool { return m.VisibleTo == alice && strings.Contains(m.Text(), "no") }))
	if got.ChannelID != incidents {
		t.Errorf("whispered in %s", got.ChannelID)
	}

	// Commands that answer with a whisper fill in what "thinking…" held.
	in = ok[*discordd.Interaction](t)(a.Command(incidents, "kgent list"))
	if r := ok[discordd.Response](t)(in.Wait(within(t))); r.Type != 5 {
		t.Errorf("answer %+v", r)
	}
	e = w.front.event(t, 2)
	if e.Text != "list" {
		t.Errorf("%+v", e)
	}
	whisper.Reply, whisper.Key, whisper.Card = e.Reply, "list", note("your requests")
	ok[thread.Handle](t)(w.Adapter.Post(within(t), whisper))
	if m := ok[discordd.Message](t)(in.WaitMessage(within(t))); !strings.Contains(m.Text(), "your requests") || m.VisibleTo != alice {
		t.Errorf("filled in with %q", m.Text())
	}

	// In a thread it is not rootless.
	in = ok[*discordd.Interaction](t)(a.Command(root.ID, "kgent ask", discordd.Option{Name: "request", Value: "again"}))
	ok[discordd.Response](t)(in.Wait(within(t)))
	if e := w.front.event(t, 3); e.Rootless || e.Place != inThread(root.ID) {
		t.Errorf("%+v", e)
	}

	// The menu of a message.
	alert := ok[discordd.Message](t)(w.As(bob).Post(incidents, "db-3: connections are refused"))
	in = ok[*discordd.Interaction](t)(a.MessageCommand(traceThis, alert.ID))
	ok[discordd.Response](t)(in.Wait(within(t)))
	if e := w.front.event(t, 4); e.Kind != thread.Ask || e.Text != "db-3: connections are refused" || e.Message != alert.ID || e.Place != inThread(alert.ID) || e.By.User != alice {
		t.Errorf("%+v", e)
	}

	w.front.mu.Lock()
	w.front.complete = []string{"request who kills", "request who writes", "request " + strings.Repeat("w", 101), "node db-1"}
	w.front.mu.Unlock()
	cs := ok[[]discordd.Choice](t)(a.Autocomplete(within(t), incidents, "kgent ask", "request", discordd.Option{Name: "request", Value: "w"}))
	if len(cs) != 2 || cs[0].Name != "who kills" {
		t.Errorf("choices %+v", cs)
	}
	cs = ok[[]discordd.Choice](t)(a.Autocomplete(within(t), incidents, "kgent ask", "node", discordd.Option{Name: "request", Value: "w"}, discordd.Option{Name: "node", Value: ""}))
	if len(cs) != 1 || cs[0].Name != "db-1" {
		t.Errorf("choices %+v", cs)
	}
}

// ask posts a card with buttons in a thread and returns its handle.
func (w *world) ask(t *testing.T) thread.Handle {
	t.Helper()
	m := plainMessage("card", inChannel())
	m.Card.Tone = card.Asking
	m.Card.Buttons = []card.Button{{Verb: "approve", ID: "r1/1", Label: "Approve", Style: card.Primary}, {Verb: "deny", ID: "r1/1", Label: "Deny", Style: card.Danger}}
	return ok[thread.Handle](t)(w.Adapter.Post(within(t), m))
}

func TestClicks(t *testing.T) {
	t.Parallel()
	w := start(t, nil).run(t)
	h := w.ask(t)
	in := ok[*discordd.Interaction](t)(w.As(bob).Click(h.ID, "approve:r1/1"))
	if r := ok[discordd.Response](t)(in.Wait(within(t))); r.Type != 6 {
		t.Errorf("answer %+v", r)
	}
	e := w.front.event(t, 1)
	if e.Kind != thread.Click || e.Verb != "approve" || e.ID != "r1/1" || e.By.User != bob || e.Message != h.ID || e.Place != inThread(h.ID) {
		t.Errorf("%+v", e)
	}

	// A form, filled in.
	w.front.mu.Lock()
	w.front.form = &card.Form{Verb: "denied", ID: "r1/1", Title: "Deny", Inputs: []card.Input{{Name: "reason", Label: "Why?", Multiline: true}, {Name: "more", Label: "More", Optional: true}}}
	w.front.mu.Unlock()
	in = ok[*discordd.Interaction](t)(w.As(bob).Click(h.ID, "deny:r1/1"))
	if r := ok[discordd.Response](t)(in.Wait(within(t))); r.Type != 9 || r.Modal.Title != "Deny" {
		t.Fatalf("answer %+v", r)
	}
	sent := ok[*discordd.Interaction](t)(w.As(bob).Submit(in, map[string][]string{"reason": {"too wide\nreally"}}))
	if r := ok[discordd.Response](t)(sent.Wait(within(t))); r.Type != 6 {
		t.Errorf("answer %+v", r)
	}
	e = w.front.event(t, 2)
	if e.Kind != thread.Submit || e.Verb != "denied" || e.ID != "r1/1" || e.Fields["reason"] != "too wide\nreally" || e.Fields["more"] != "" || e.Message != h.ID {
		t.Errorf("%+v", e)
	}

	// A form that is not opened.
	w.front.mu.Lock()
	c := note("somebody was faster")
	w.front.form, w.front.refusal = nil, &c
	w.front.mu.Unlock()
	in = ok[*discordd.Interaction](t)(w.As(bob).Click(h.ID, "deny:r1/1"))
	if r := ok[discordd.Response](t)(in.Wait(within(t))); r.Type != 4 || r.Message.VisibleTo != bob || !strings.Contains(r.Message.Text(), "faster") {
		t.Errorf("answer %+v", r)
	}

	// A store that is away: nothing is taken, and that is said.
	w.front.failing(errors.New("redis is away"))
	in = ok[*discordd.Interaction](t)(w.As(alice).Click(h.ID, "approve:r1/1"))
	if r := ok[discordd.Response](t)(in.Wait(within(t))); r.Type != 4 || r.Message.VisibleTo != alice || !strings.Contains(r.Message.Text(), "nothing was taken") {
		t.Errorf("answer %+v", r)
	}
}

// A message that cannot be stored is tried again, and refused in the end.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	w.Adapter.retry = patience
	w.run(t)
	w.front.failing(errors.New("redis is away"))
	ok[discordd.Message](t)(w.As(alice).Mention(incidents, "who kills?"))
	w.front.wait(t, func(_ []thread.Event, calls int) bool { return calls >= 2 })
	w.front.failing(nil)
	w.front.event(t, 1)

	w = start(t, nil)
	w.Adapter.retry = 2 * time.Second
	w.run(t)
	w.front.failing(errors.New("redis is away"))
	m := ok[discordd.Message](t)(w.As(alice).Mention(incidents, "who writes?"))
	got := ok[discordd.Message](t)(w.WaitMessage(within(t), func(m discordd.Message) bool { return strings.Contains(m.Text(), "Not taken") }))
	if got.Reference == nil || got.Reference.MessageID != m.ID {
		t.Errorf("refused without saying what: %+v", got)
	}
}

// One click, one event, whatever the gateway does.
func TestReplays(t *testing.T) {
	t.Parallel()
	w := start(t, nil).run(t)
	h := w.ask(t)
	in := ok[*discordd.Interaction](t)(w.As(bob).Click(h.ID, "approve:r1/1"))
	ok[discordd.Response](t)(in.Wait(within(t)))
	session := w.Gateways()[0].Session

	again := func(what string, calls int, do func()) {
		t.Helper()
		do()
		es := w.front.wait(t, func(_ []thread.Event, n int) bool { return n >= calls })
		if len(es) != 1 || es[0].Key != "discord:"+in.ID {
			t.Errorf("%s: %+v", what, es)
		}
	}
	again("redelivered", 2, func() {
		if err := w.Redeliver(in.ID); err != nil {
			t.Fatal(err)
		}
	})
	// The cut is noticed, the session resumed, and the click comes once more.
	again("replayed by RESUME", 3, func() {
		w.ReplayOnResume(1)
		w.DropConnections()
	})
	if err := w.WaitGateway(within(t), 1); err != nil {
		t.Fatal(err)
	}
	if s := w.Gateways()[0].Session; s != session {
		t.Error("the session was not resumed")
	}
}

func TestReconnects(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		do      func(*world)
		resumed bool
	}{
		{"asked to (op 7)", func(w *world) { w.Reconnect() }, true},
		{"session can be resumed (op 9 true)", func(w *world) { w.DropConnections() }, true},
		{"session is gone (op 9 false)", func(w *world) { w.InvalidateSessions(false) }, false},
		{"session expired", func(w *world) { w.ExpireSessions(); w.DropConnections() }, false},
		{"half-open", func(w *world) { w.HalfOpen() }, true},
		{"closed", func(w *world) { w.CloseGateway(4000) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, func(s *discordd.Config, _ *Config) {
				if tt.name == "half-open" { // which heartbeats show
					s.Heartbeat = 3 * time.Second
				}
			})
			w.run(t)
			ok[discordd.Message](t)(w.As(alice).Mention(incidents, "one"))
			w.front.event(t, 1)
			before := w.Gateways()[0].Session
			identified := len(w.Server.Requests(http.MethodGet, "/gateway/bot"))
			tt.do(w)
			ok[discordd.Message](t)(w.As(alice).Mention(incidents, "two"))
			limit := time.Now().Add(patience)
			for len(w.front.eventsNow()) < 2 && !tt.resumed && time.Now().Before(limit) {
				// What is said between two sessions is lost: say it again.
				ok[discordd.Message](t)(w.As(alice).Mention(incidents, "two"))
				w.front.waitFor(300 * time.Millisecond)
			}
			if e := w.front.event(t, 2); e.Text != "two" {
				t.Errorf("%+v", e)
			}
			if err := w.WaitGateway(within(t), 1); err != nil {
				t.Fatal(err)
			}
			if same := w.Gateways()[0].Session == before; same != tt.resumed {
				t.Errorf("resumed: %v (%d sessions asked for before, %d now)\n%s", same, identified, len(w.Server.Requests(http.MethodGet, "/gateway/bot")), w.log.String())
			}
			if err := w.Adapter.Health(w.Server.Now()); err != nil {
				t.Error(err)
			}
		})
	}
}

func (f *front) eventsNow() []thread.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events)
}

// waitFor waits for something to arrive, or a while.
func (f *front) waitFor(d time.Duration) {
	f.mu.Lock()
	changed := f.changed
	f.mu.Unlock()
	select {
	case <-changed:
	case <-time.After(d):
	}
}

// A refusal that trying again does not mend ends Run, with what to do.
func TestFatal(t *testing.T) {
	t.Parallel()
	none := 0
	for _, tt := range []struct {
		name   string
		change func(*discordd.Config, *Config)
		after  func(*world)
		want   string
	}{
		{"intents", func(s *discordd.Config, _ *Config) { s.Privileged = &none }, nil, "MESSAGE CONTENT"},
		{"token", func(_ *discordd.Config, c *Config) { c.Token = "wrong.wrong.wrong" }, nil, "DISCORD_TOKEN"},
		{"token revoked", nil, func(w *world) { w.RevokeToken() }, "DISCORD_TOKEN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, tt.change)
			if tt.after != nil {
				w.run(t)
				tt.after(w)
			} else {
				w.launch(t)
			}
			select {
			case <-w.ended:
			case <-time.After(patience):
				t.Fatal("Run tries for ever\n" + w.log.String())
			}
			err := w.stop()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
			if err := w.Adapter.Health(w.Server.Now()); err == nil {
				t.Error("healthy all the same")
			}
		})
	}
}

// Leading again goes on where it stopped: nothing said meanwhile is missed.
func TestHandOver(t *testing.T) {
	t.Parallel()
	w := start(t, nil).run(t)
	ok[discordd.Message](t)(w.As(alice).Mention(incidents, "one"))
	w.front.event(t, 1)
	before := w.Gateways()[0].Session
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	ok[discordd.Message](t)(w.As(alice).Mention(incidents, "while nobody listened"))
	w.run(t)
	if e := w.front.event(t, 2); e.Text != "while nobody listened" {
		t.Errorf("%+v", e)
	}
	if w.Gateways()[0].Session != before {
		t.Error("the session was not resumed")
	}
	// Only once at a time.
	if err := w.Adapter.Run(within(t), w.front); err == nil {
		t.Error("a second gateway in one process")
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	srv := httptest.NewServer(w.Adapter.Handler(w.front))
	defer srv.Close()
	// Discord probes with a PING and with bad signatures.
	if err := w.SetInteractionsURL(within(t), srv.URL); err != nil {
		t.Fatal(err)
	}
	h := w.ask(t)
	in := ok[*discordd.Interaction](t)(w.As(bob).Click(h.ID, "approve:r1/1"))
	if r := ok[discordd.Response](t)(in.Wait(within(t))); r.Type != 6 {
		t.Errorf("answer %+v", r)
	}
	e := w.front.event(t, 1)
	whisper := plainMessage("w", e.Place)
	whisper.Only, whisper.Reply = bob, e.Reply
	ok[thread.Handle](t)(w.Adapter.Post(within(t), whisper))
	ok[discordd.Message](t)(w.WaitMessage(within(t), func(m discordd.Message) bool { return m.VisibleTo == bob }))

	w.front.failing(errors.New("redis is away"))
	in = ok[*discordd.Interaction](t)(w.As(bob).Click(h.ID, "approve:r1/1"))
	if r := ok[discordd.Response](t)(in.Wait(within(t))); r.Type != 4 || !strings.Contains(r.Message.Text(), "nothing was taken") {
		t.Errorf("answer %+v", r)
	}
}

// FuzzInteraction reads what anybody could send if it were signed.
func FuzzInteraction(f *testing.F) {
	f.Add([]byte(`{"id":"5","application_id":"1","type":3,"token":"t","guild_id":"2","channel_id":"3","channel":{"id":"3","type":0},"member":{"user":{"id":"4"}},"message":{"id":"6"},"data":{"custom_id":"approve:x"}}`))
	f.Add([]byte(`{"id":"5","type":2,"token":"t","channel_id":"3","user":{"id":"4"},"data":{"name":"kgent","type":1,"options":[{"name":"ask","options":[{"name":"request","value":7}]}]}}`))
	f.Add([]byte(`{"id":"5","type":5,"token":"t","channel_id":"3","user":{"id":"4"},"data":{"custom_id":"a:b","components":[{"components":[{"custom_id":"x","value":"y"}]},{"component":{"custom_id":"z","value":"v"}}]}}`))
	f.Add([]byte(`{"id":"5","type":4,"token":"t","channel_id":"3","user":{"id":"4"},"data":{"name":"kgent","options":[{"name":"ask","options":[{"name":"node","value":{},"focused":true}]}]}}`))
	f.Add([]byte(`{"id":"5","type":2,"token":"t","guild_id":"2","channel_id":"3","channel":{"id":"3","type":11,"parent_id":"9"},"member":{"user":{"id":"4"}},"data":{"name":"Trace this","type":3,"target_id":"8","resolved":{"messages":{"8":{"id":"8","embeds":[{"title":"x"}]}}}}}`))
	a, err := New(Config{Token: "t", APIURL: "http://127.0.0.1:1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var in interaction
		if json.Unmarshal(raw, &in) != nil {
			return
		}
		fr := newFront()
		ans := a.interact(t.Context(), fr, in, time.Unix(1_700_000_000, 0))
		if _, err := json.Marshal(ans); err != nil || ans.Type == 0 {
			t.Fatalf("answer %+v: %v", ans, err)
		}
		for _, e := range fr.eventsNow() {
			if e.Key != "discord:"+in.ID || !snowflake(e.By.User) || e.Place.Surface != Surface || e.Kind == "" || e.Kind == thread.Click && e.Verb == "" {
				t.Fatalf("event %+v", e)
			}
		}
	})
}

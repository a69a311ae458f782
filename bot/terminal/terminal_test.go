package terminal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/bot/card"
	"kgent/bot/thread"
)

// patience bounds every wait for something that must happen: far longer than it takes on
// a busy host.
const patience = 2 * time.Minute

// front stores events in memory.
type front struct {
	mu     sync.Mutex
	events []thread.Event
	err    error
}

func (f *front) Receive(_ context.Context, e thread.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && !slices.ContainsFunc(f.events, func(o thread.Event) bool { return o.Key == e.Key }) {
		f.events = append(f.events, e)
	}
	return f.err
}

func (f *front) Form(_ context.Context, e thread.Event) (*card.Form, *card.Card) {
	switch e.Verb {
	case "deny":
		return &card.Form{Verb: "deny", ID: e.ID, Inputs: []card.Input{{Name: "reason", Max: 20}}}, nil
	case "edit":
		return &card.Form{Verb: "edit", ID: e.ID, Inputs: []card.Input{{Name: "duration", Value: "30s"}, {Name: "nodes", Value: "db-1"}, {Name: "params", Optional: true}}}, nil
	case "old":
		return nil, &card.Card{Title: "Not taken", Blocks: []card.Block{card.Text{Body: "out of date"}}}
	}
	return nil, nil
}

func (f *front) Wrong(_ context.Context, e thread.Event) map[string]string {
	if e.Fields["duration"] == "soon" {
		return map[string]string{"duration": "that is no duration"}
	}
	return nil
}
func (f *front) Complete(context.Context, thread.Account, string, string) []string { return nil }

// last returns the newest event.
func (f *front) last(t *testing.T) thread.Event {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.events) == 0 {
		t.Fatal("no event came")
	}
	return f.events[len(f.events)-1]
}

func (f *front) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.events)
}

// host is a made-up host: who connects next is the user of this id.
type host struct {
	mu     sync.Mutex
	users  map[uint32]string
	groups map[string][]string
	next   uint32
	real   bool // the kernel says who it is
}

func (h *host) Name(uid uint32) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n, ok := h.users[uid]; ok {
		return n, nil
	}
	return "", ErrNoUser
}

func (h *host) Known(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.users {
		if n == name {
			return nil
		}
	}
	return ErrNoUser
}

func (h *host) Groups(name string) ([]string, error) {
	if err := h.Known(name); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.groups[name]), nil
}

func (h *host) peer(c *net.UnixConn) (uint32, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.real {
		return peerOf(c)
	}
	return h.next, nil
}

// rig is an adapter that listens, for users that the test makes up.
type rig struct {
	*Adapter
	front *front
	host  *host
	dial  sync.Mutex
}

func socketIn(t *testing.T) string {
	t.Helper()
	// Not t.TempDir, whose path can be too long for a socket.
	dir, err := os.MkdirTemp("", "terminal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "bot.sock")
}

func start(t *testing.T, board Board) *rig {
	t.Helper()
	r := &rig{front: &front{}, host: &host{users: map[uint32]string{1: "ada", 2: "bob"}, groups: map[string][]string{"bob": {"bob", "ops"}}, next: 1}}
	var err error
	r.Adapter, err = New(Config{Host: "h", Socket: socketIn(t), Board: board, Users: r.host, Poll: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.writing = patience
	r.peer = r.host.peer
	r.run(t)
	return r
}

func (r *rig) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, r.front) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("running: %v", err)
			}
		case <-time.After(patience):
			t.Error("it does not end")
		}
		if _, err := os.Stat(r.cfg.Socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	until(t, "the socket is there", func() bool { _, err := os.Stat(r.cfg.Socket); return err == nil })
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// as connects as a user.
func (r *rig) as(t *testing.T, uid uint32, o Options) *Client {
	t.Helper()
	c, err := r.try(uid, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Ready(limit(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) try(uid uint32, o Options) (*Client, error) {
	r.dial.Lock()
	defer r.dial.Unlock()
	r.host.mu.Lock()
	r.host.next = uid
	r.host.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return Dial(ctx, r.cfg.Socket, o)
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (r *rig) send(t *testing.T, m thread.Message) thread.Handle {
	t.Helper()
	h, err := r.Post(limit(t), m)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func message(key, channel, threadID, title string) thread.Message {
	return thread.Message{Key: key, Place: thread.Place{Surface: Surface, Tenant: "h", Channel: channel, Thread: threadID}, Card: card.Card{Title: title, Tone: card.Asking}}
}

func titled(title string) func(Post) bool { return func(p Post) bool { return p.Card.Title == title } }

func wait(t *testing.T, c *Client, want func(Post) bool) Post {
	t.Helper()
	p, err := c.Wait(limit(t), want)
	if err != nil {
		t.Fatalf("waiting for a post: %v; there are %+v", err, c.Posts())
	}
	return p
}

// The semantics of thread.Platform: posted once under a key, edited in place,
// whispered to one, gone where nobody could see it.
func TestPlatform(t *testing.T) {
	r := start(t, NewMemory(time.Now))
	ada, bob := r.as(t, 1, Options{}), r.as(t, 2, Options{})

	m := message("card:1:1", Console, "", "v1")
	m.Files = []thread.File{{Name: "a.txt", Title: "A", Data: []byte("data")}}
	h := r.send(t, m)
	p := wait(t, ada, titled("v1"))
	if p.ID != h.ID || h.Channel != Console || len(p.Files) != 1 {
		t.Errorf("posted %+v with the handle %+v", p, h)
	}
	m.Tried = true
	if again := r.send(t, m); again != h {
		t.Errorf("tried again it is %+v, was %+v", again, h)
	}
	m.Card.Title = "v2"
	if err := r.Edit(limit(t), h, m); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Client{ada, bob} {
		wait(t, c, titled("v2"))
		if got := c.Posts(); len(got) != 1 {
			t.Errorf("there are %+v", got)
		}
	}
	if data, err := bob.File(limit(t), h.ID, 0); err != nil || string(data) != "data" {
		t.Errorf("after an edit the file is %q, %v", data, err)
	}

	// In a thread of ada's, and to ada alone.
	r.send(t, message("progress:1", "~ada", "t1", "private"))
	whisper := message("w:1", "~ada", "t1", "psst")
	whisper.Only, whisper.Reply = "ada", "ref-1"
	if h := r.send(t, whisper); h != (thread.Handle{}) {
		t.Errorf("a whisper has the handle %+v", h)
	}
	whisper = message("w:2", Console, "", "psst too")
	whisper.Only = "ada"
	r.send(t, whisper)
	r.send(t, message("end", Console, "", "end"))
	wait(t, ada, titled("private"))
	if p := wait(t, ada, titled("psst")); p.Ref != "ref-1" {
		t.Errorf("the answer is to %q", p.Ref)
	}
	wait(t, ada, titled("psst too"))
	wait(t, bob, titled("end"))
	if got := bob.Posts(); len(got) != 2 {
		t.Errorf("bob sees %+v", got)
	}

	var gone *thread.GoneError
	for what, p := range map[string]thread.Place{
		"another host": {Surface: Surface, Tenant: "g", Channel: Console}, "another surface": {Surface: "slack", Tenant: "h", Channel: Console},
		"another channel": {Surface: Surface, Tenant: "h", Channel: "ops"}, "no user": {Surface: Surface, Tenant: "h", Channel: "~"},
		"a page": {Surface: Surface, Tenant: "h", Home: "ada"},
	} {
		m := message("x", "", "", "x")
		m.Place = p
		if _, err := r.Post(t.Context(), m); !errors.As(err, &gone) {
			t.Errorf("%s: posted with %v", what, err)
		}
		if err := r.Edit(t.Context(), h, m); !errors.As(err, &gone) {
			t.Errorf("%s: edited with %v", what, err)
		}
	}
	var old *thread.TooOldError
	forgotten := message("forgotten", Console, "", "x")
	if err := r.Edit(t.Context(), thread.Handle{Channel: Console, ID: postID("h", "forgotten")}, forgotten); !errors.As(err, &old) {
		t.Errorf("a forgotten post is edited with %v", err)
	}
	if err := r.Edit(t.Context(), h, forgotten); !errors.As(err, &gone) {
		t.Errorf("another's post is edited with %v", err)
	}
	if l := r.Link(t.Context(), m.Place, h); l != "" {
		t.Errorf("a link %q", l)
	}
}

// failing is a board that is out of reach.
type failing struct{ Board }

func (failing) Put(context.Context, Post) error { return errors.New("no route") }

func TestUnknown(t *testing.T) {
	a, err := New(Config{Host: "h", Socket: "/x/s", Board: failing{NewMemory(time.Now)}})
	if err != nil {
		t.Fatal(err)
	}
	var unknown *thread.UnknownError
	if _, err := a.Post(t.Context(), message("k", Console, "", "x")); !errors.As(err, &unknown) {
		t.Errorf("error %v, want one that says that nobody knows", err)
	}
}

func TestPeople(t *testing.T) {
	r := start(t, NewMemory(time.Now))
	account := func(tenant, user string) thread.Account {
		return thread.Account{Surface: Surface, Tenant: tenant, User: user}
	}
	if err := r.Human(t.Context(), account("h", "ada")); err != nil {
		t.Error(err)
	}
	var not *thread.NotHumanError
	for _, a := range []thread.Account{account("h", "eve"), account("g", "ada"), account("h", ""), account("h", "a/b"), {Surface: "slack", Tenant: "h", User: "ada"}} {
		if err := r.Human(t.Context(), a); !errors.As(err, &not) {
			t.Errorf("%v: %v", a, err)
		}
	}
	member := func(a thread.Account, g string, want bool) {
		t.Helper()
		if got, err := r.Member(t.Context(), a, g); err != nil || got != want {
			t.Errorf("%v in %s: %v, %v", a, g, got, err)
		}
	}
	member(account("h", "bob"), "terminal:h/ops", true)
	member(account("h", "ada"), "terminal:h/ops", false)
	member(account("h", "eve"), "terminal:h/ops", false)
	r.host.mu.Lock()
	r.host.groups["bob"] = nil // taken out a moment ago
	r.host.mu.Unlock()
	member(account("h", "bob"), "terminal:h/ops", false)
	for _, g := range []string{"terminal:g/ops", "slack:T1/S1", "ops"} {
		if ok, err := r.Member(t.Context(), account("h", "bob"), g); err == nil || ok {
			t.Errorf("%s: %v, %v", g, ok, err)
		}
	}
}

// The host's own users: the test's, and nobody that there is not.
func TestHostUsers(t *testing.T) {
	u := hostUsers{}
	me, err := u.Name(uint32(os.Getuid()))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Known(me); err != nil {
		t.Error(err)
	}
	if groups, err := u.Groups(me); err != nil || len(groups) == 0 {
		t.Errorf("groups %v, %v", groups, err)
	}
	if _, err := u.Name(4_000_000_000); !errors.Is(err, ErrNoUser) {
		t.Errorf("error %v", err)
	}
	if _, err := u.Groups("no such user"); !errors.Is(err, ErrNoUser) {
		t.Errorf("error %v", err)
	}
}

// What becomes an event, and as whose: the connection's user, whatever the
// client says.
func TestEvents(t *testing.T) {
	r := start(t, NewMemory(time.Now))
	ada := r.as(t, 1, Options{})
	if h := ada.Hello(); h.Account != "terminal:h/ada" || h.User != "ada" || h.Host != "h" {
		t.Errorf("hello %+v", h)
	}
	ref, err := ada.Say(limit(t), "who opens files", "")
	if err != nil {
		t.Fatal(err)
	}
	e := r.front.last(t)
	if e.Kind != thread.Ask || e.By.String() != "terminal:h/ada" || e.Text != "who opens files" || e.Place.Channel != "~ada" || e.Place.Thread == "" || e.Rootless || e.Reply != ref {
		t.Errorf("event %+v", e)
	}
	// The same command again is the same event, in the same thread; of another
	// user it is another.
	same := Command{Do: DoSay, Ref: ref, Text: "who opens files"}
	if _, err := ada.Send(limit(t), same); err != nil || r.front.count() != 1 {
		t.Errorf("%d events, %v", r.front.count(), err)
	}
	bob := r.as(t, 2, Options{})
	if _, err := bob.Send(limit(t), same); err != nil || r.front.count() != 2 {
		t.Errorf("%d events, %v", r.front.count(), err)
	}
	if o := r.front.last(t); o.By.User != "bob" || o.Place.Thread == e.Place.Thread {
		t.Errorf("event %+v", o)
	}
	if _, err := ada.Say(limit(t), " List! ", ""); err != nil || !r.front.last(t).Rootless {
		t.Errorf("event %+v, %v", r.front.last(t), err)
	}

	h := r.send(t, message("card:1:1", Console, "", "card"))
	hidden := r.send(t, message("progress:1", "~ada", "t1", "private"))
	p := wait(t, bob, titled("card"))
	press := func(c *Client, post, verb string, fields map[string]string) error {
		return c.Press(limit(t), Post{ID: post}, card.Button{Verb: verb, ID: "r-1"}, fields)
	}
	if err := press(bob, p.ID, "approve", nil); err != nil {
		t.Fatal(err)
	}
	if e := r.front.last(t); e.Kind != thread.Click || e.Verb != "approve" || e.ID != "r-1" || e.By.String() != "terminal:h/bob" || e.Message != h.ID || e.Place.String() != "terminal:h/console" {
		t.Errorf("event %+v", e)
	}
	wait(t, ada, titled("private"))
	if err := press(ada, hidden.ID, "stop", nil); err != nil || r.front.last(t).Place.String() != "terminal:h/~ada/t1" {
		t.Errorf("event %+v, %v", r.front.last(t), err)
	}
	if err := press(bob, hidden.ID, "stop", nil); err != nil || r.front.last(t).Place.String() != "terminal:h/console" {
		t.Errorf("who does not see a post presses it in %s, %v", r.front.last(t).Place, err)
	}

	// Forms.
	if err := press(bob, p.ID, "deny", map[string]string{"reason": "too long"}); err != nil {
		t.Fatal(err)
	}
	if e := r.front.last(t); e.Kind != thread.Submit || e.Fields["reason"] != "too long" {
		t.Errorf("event %+v", e)
	}
	if err := press(bob, p.ID, "edit", map[string]string{"duration": "5s"}); err != nil {
		t.Fatal(err)
	}
	if e := r.front.last(t); e.Fields["duration"] != "5s" || e.Fields["nodes"] != "db-1" {
		t.Errorf("event %+v", e)
	}
	before := r.front.count()
	var form *FormError
	for _, fields := range []map[string]string{nil, {"reason": "  "}} {
		if err := press(bob, p.ID, "deny", fields); !errors.As(err, &form) || form.Form.Inputs[0].Name != "reason" {
			t.Errorf("a denial without a reason: %v", err)
		}
	}
	var refused *RefusedError
	for what, err := range map[string]error{
		"too long":    press(bob, p.ID, "deny", map[string]string{"reason": strings.Repeat("x", 21)}),
		"unknown":     press(bob, p.ID, "deny", map[string]string{"reason": "x", "quorum": "0"}),
		"no duration": press(bob, p.ID, "edit", map[string]string{"duration": "soon"}),
		"out of date": press(bob, p.ID, "old", nil),
	} {
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r.front.mu.Lock()
	r.front.err = errors.New("redis is gone")
	r.front.mu.Unlock()
	if _, err := bob.Say(limit(t), "hello there", ""); !errors.As(err, &refused) || !strings.Contains(refused.Why, "nothing was taken") {
		t.Errorf("error %v", err)
	}
	if r.front.count() != before {
		t.Errorf("what was refused became an event: %+v", r.front.last(t))
	}
}

// Who is not a user of the host is not let in, nor anybody beyond the limits.
func TestLetIn(t *testing.T) {
	r := start(t, NewMemory(time.Now))
	var refused *RefusedError
	if _, err := r.try(99, Options{}); !errors.As(err, &refused) || !strings.Contains(refused.Why, "99") {
		t.Errorf("a user without a name: %v", err)
	}
	r.host.mu.Lock()
	r.host.users[3] = "od d"
	r.host.mu.Unlock()
	if _, err := r.try(3, Options{}); !errors.As(err, &refused) {
		t.Errorf("a name that stands in no policy: %v", err)
	}
	for range maxClientsUser - 1 {
		r.as(t, 1, Options{})
	}
	silent, err := net.Dial("unix", r.cfg.Socket) // says no hello, and counts
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	until(t, "it counts", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.conns) == maxClientsUser })
	_, err = r.try(1, Options{})
	if !errors.As(err, &refused) || !strings.Contains(refused.Why, "too many") {
		t.Errorf("one too many: %v", err)
	}
	r.as(t, 2, Options{})
}

// raw sends bytes and returns the last record before the bot hangs up.
func (r *rig) raw(t *testing.T, lines ...string) Record {
	t.Helper()
	conn, err := net.Dial("unix", r.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if _, err := conn.Write([]byte(l)); err != nil {
			break // it has hung up already, and said why
		}
	}
	var last Record
	in := bufio.NewScanner(conn)
	in.Buffer(nil, maxRecord)
	for in.Scan() {
		if last, err = DecodeRecord(in.Bytes()); err != nil {
			t.Fatal(err)
		}
		if last.Type == TypeError {
			break
		}
	}
	return last
}

const helloLine = `{"do":"hello","v":1}` + "\n"

func TestGarbage(t *testing.T) {
	r := start(t, NewMemory(time.Now))
	bob := r.as(t, 2, Options{})
	for name, lines := range map[string][]string{
		"no JSON":        {"GET / HTTP/1.1\r\n\r\n"},
		"no hello":       {`{"do":"say","ref":"1","text":"x"}` + "\n"},
		"old version":    {`{"do":"hello","v":0}` + "\n"},
		"another's name": {`{"do":"hello","v":1,"user":"root"}` + "\n"},
		"later garbage":  {helloLine, "\x00\xff\n"},
		"another hello":  {helloLine, helloLine},
		"an actor":       {helloLine, `{"do":"press","ref":"1","verb":"approve","id":"r-1","by":"terminal:h/bob"}` + "\n"},
		"huge":           {helloLine, strings.Repeat("x", MaxCommand+100)},
		"huge text":      {helloLine, `{"do":"say","ref":"1","text":"` + strings.Repeat("x", maxText+1) + `"}` + "\n"},
		"no ref":         {helloLine, `{"do":"say","text":"x"}` + "\n"},
	} {
		if got := r.raw(t, lines...); got.Type != TypeError || got.Text == "" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if n := r.front.count(); n != 0 {
		t.Errorf("garbage became %d events", n)
	}
	if _, err := bob.Say(limit(t), "still here", ""); err != nil {
		t.Error(err)
	}
}

// A client that does not read keeps nobody waiting, is told the end of what
// changed and not all of it, and is let go if it stays so.
func TestSlow(t *testing.T) {
	r := start(t, NewMemory(time.Now))
	r.as(t, 1, Options{})
	slow, err := net.Dial("unix", r.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := slow.Write([]byte(helloLine)); err != nil {
		t.Fatal(err)
	}
	until(t, "it is in", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.conns) == 2 })
	bob := r.as(t, 2, Options{})
	body := strings.Repeat("x", 100<<10)
	for i := range 15 {
		m := message(fmt.Sprint("k", i%3), Console, "", fmt.Sprint("v", i))
		m.Card.Blocks = []card.Block{card.Code{Body: body}}
		r.send(t, m)
		wait(t, bob, titled(fmt.Sprint("v", i)))
	}
	in := bufio.NewScanner(slow)
	in.Buffer(nil, maxRecord)
	posts, last := 0, map[string]string{}
	if err := slow.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for len(last) < 3 || last[postID("h", "k0")] != "v12" || last[postID("h", "k1")] != "v13" || last[postID("h", "k2")] != "v14" {
		if !in.Scan() {
			t.Fatalf("it ends at %v: %v", last, in.Err())
		}
		rec, err := DecodeRecord(in.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if rec.Type == TypePost {
			posts++
			last[rec.Post.ID] = rec.Post.Card.Title
		}
	}
	if posts >= 12 {
		t.Errorf("%d posts waited for it", posts)
	}
}

// Who comes back sees what is open again, from whichever bot; what is long over
// only when asked for; answers to others never.
func TestReconnect(t *testing.T) {
	board := NewMemory(time.Now)
	one, two := start(t, board), start(t, board)
	ada := one.as(t, 1, Options{})
	for i, p := range []Post{
		{Place: thread.Place{Thread: "t0"}, Card: card.Card{Title: "over", Tone: card.Good}},
		{Place: thread.Place{Thread: "t1"}, Card: card.Card{Title: "part of t1"}},
		{Place: thread.Place{Thread: "t1"}, Card: card.Card{Title: "open", Tone: card.Asking}},
	} {
		p.ID, p.At = fmt.Sprint("p", i), time.Now().Add(-2*recent)
		p.Place.Surface, p.Place.Tenant, p.Place.Channel = Surface, "h", "~ada"
		put(t, board, p)
	}
	whisper := message("w", "~ada", "t1", "psst")
	whisper.Only = "ada"
	one.send(t, whisper)
	wait(t, ada, titled("psst"))
	until(t, "the other bot knows", func() bool { two.mu.Lock(); defer two.mu.Unlock(); return len(two.posts) >= 3 })
	titles := func(c *Client) (out []string) {
		for _, p := range c.Posts() {
			out = append(out, p.Card.Title)
		}
		return out
	}
	for _, r := range []*rig{one, two} {
		if got := titles(r.as(t, 1, Options{})); !slices.Equal(got, []string{"part of t1", "open"}) {
			t.Errorf("ada sees %v", got)
		}
		if got := titles(r.as(t, 1, Options{All: true})); !slices.Equal(got, []string{"over", "part of t1", "open"}) {
			t.Errorf("of all, ada sees %v", got)
		}
		if got := titles(r.as(t, 2, Options{All: true})); len(got) != 0 {
			t.Errorf("bob sees %v", got)
		}
	}
	// What one bot sends a client of the other sees.
	there := two.as(t, 1, Options{})
	one.send(t, message("k", Console, "", "from one"))
	wait(t, there, titled("from one"))
}

func TestFiles(t *testing.T) {
	r := start(t, NewMemory(time.Now))
	ada, bob := r.as(t, 1, Options{}), r.as(t, 2, Options{})
	big := make([]byte, 3*chunk+17)
	for i := range big {
		big[i] = byte(i)
	}
	m := message("file:1", "~ada", "t1", "")
	m.Files = []thread.File{{Name: "empty", Data: []byte{}}, {Name: "big", Data: big}}
	h := r.send(t, m)
	wait(t, ada, func(p Post) bool { return p.ID == h.ID })
	for n, want := range [][]byte{{}, big} {
		if got, err := ada.File(limit(t), h.ID, n); err != nil || !slices.Equal(got, want) {
			t.Errorf("file %d: %d bytes, %v", n, len(got), err)
		}
	}
	var refused *RefusedError
	for _, c := range []struct {
		c    *Client
		id   string
		file int
	}{{bob, h.ID, 1}, {ada, h.ID, 2}, {ada, "nosuch", 0}} {
		if got, err := c.c.File(limit(t), c.id, c.file); !errors.As(err, &refused) || got != nil {
			t.Errorf("%s got %d bytes, %v", c.c.Hello().User, len(got), err)
		}
	}
}

// The socket is for the bot's user and a group, takes the place of one that
// nobody listens at, and of nothing else.
func TestSocket(t *testing.T) {
	r := start(t, NewMemory(time.Now))
	info, err := os.Stat(r.cfg.Socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(r.cfg.Socket))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the socket there is %v, %v", entries, err)
	}
	listen := func(socket, group string) error {
		a, err := New(Config{Host: "h", Socket: socket, Group: group, Board: NewMemory(time.Now)})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return a.Run(ctx, &front{})
	}
	for what, err := range map[string]error{
		"another bot listens":  listen(r.cfg.Socket, ""),
		"such group":           listen(socketIn(t), "such group"),
		"must be an absolute":  listen("bot.sock", ""),
		"too long":             listen("/tmp/"+strings.Repeat("x", 100)+"/s", ""),
		"something else is":    listen(func() string { f := socketIn(t); os.WriteFile(f, nil, 0o600); return f }(), ""),
		"others may write to ": listen(func() string { f := socketIn(t); os.Chmod(filepath.Dir(f), 0o777); return f }(), ""),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
	stale := socketIn(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := listen(stale, ""); err != nil {
		t.Errorf("a socket that nobody listens at: %v", err)
	}
}

// The kernel says who connected.
func TestPeer(t *testing.T) {
	r := start(t, NewMemory(time.Now))
	r.host.mu.Lock()
	r.host.real = true
	r.host.users[uint32(os.Getuid())] = "tester"
	r.host.mu.Unlock()
	if h := r.as(t, 1, Options{}).Hello(); h.User != "tester" {
		t.Errorf("the bot takes the test for %+v", h)
	}
}

func TestNew(t *testing.T) {
	for _, cfg := range []Config{
		{Socket: "/s", Board: NewMemory(time.Now)}, {Host: "a b", Socket: "/s", Board: NewMemory(time.Now)}, {Host: "h", Socket: "/s"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, s := range []string{helloLine, `{"do":"say","ref":"1","text":"x"}`, `{"do":"press","ref":"1","verb":"deny","id":"a-1","fields":{"reason":"r"}}`, `{"do":"fetch","ref":"1","message":"ab","file":1}`, `{"do":"say"}{}`, "null", "[]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c, err := DecodeCommand(line)
		if err != nil {
			if c.Do != "" {
				t.Errorf("refused, and yet %+v", c)
			}
			return
		}
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := DecodeCommand(raw); err != nil && len(raw) <= MaxCommand || err == nil && fmt.Sprint(again) != fmt.Sprint(c) {
			t.Errorf("%+v comes back as %+v, %v", c, again, err)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	for _, s := range []string{`{"type":"ready"}`, `{"type":"post","post":{"id":"a","card":{"title":"t","blocks":[{"kind":"note","block":{"body":"x"}}]}}}`, `{"type":"post"}`, `{"type":"file","file":{"data":"eA=="}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := DecodeRecord(line)
		if err == nil && r.Type == TypePost {
			r.Post.Buttons()
		}
	})
}

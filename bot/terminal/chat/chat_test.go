package chat

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kgent/bot/card"
	"kgent/bot/console"
	"kgent/bot/logtest"
	"kgent/bot/terminal"
	"kgent/bot/thread"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	known := func(n int) bool { return n <= 2 }
	for typed, want := range map[string]line{
		"which programs are executed on db-1": {words: "which programs are executed on db-1"},
		"approve":                             {verb: "approve"},
		" Approve  2 ":                        {verb: "approve", number: 2},
		"approve #2":                          {verb: "approve", number: 2},
		"approve 9":                           {verb: "approve", number: 9},
		"deny too risky":                      {verb: "deny", fields: map[string]string{"reason": "too risky"}},
		"deny 2 too risky":                    {verb: "deny", number: 2, fields: map[string]string{"reason": "too risky"}},
		"deny 3 nodes are too many":           {verb: "deny", fields: map[string]string{"reason": "3 nodes are too many"}},
		"refine only port 443":                {verb: "refine", fields: map[string]string{"text": "only port 443"}},
		"refine 443":                          {verb: "refine", fields: map[string]string{"text": "443"}},
		"edit duration=30s nodes=db-2 wanted=7 top=5": {verb: "edit", fields: map[string]string{"duration": "30s", "nodes": "db-2", "params": "wanted = 7\ntop = 5"}},
		`edit 1 nodes="any 2 of role=db"`:             {verb: "edit", number: 1, fields: map[string]string{"nodes": "any 2 of role=db"}},
		"stop":                                        {verb: "stop"},
		"stop 1":                                      {verb: "stop", number: 1},
		"source ports of connections":                 {words: "source ports of connections"},
		"again":                                       {verb: "again"},
		"save":                                        {verb: "save"},
		"save 2 /tmp/x":                               {verb: "save", number: 2, dir: "/tmp/x"},
		"ask stop signals":                            {words: "stop signals"},
		"list":                                        {words: "list"},
		"only port 443":                               {words: "only port 443", more: true},
		"On db-4":                                     {words: "On db-4", more: true},
		"ask only port 443":                           {words: "only port 443"},
		"on db-2 who opens the files under /etc for a minute": {words: "on db-2 who opens the files under /etc for a minute"},
	} {
		got, err := parse(typed, known)
		if want.words != "" {
			got.verb, got.number = "", 0
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is read as %+v, %v; want %+v", typed, got, err, want)
		}
	}
	for _, typed := range []string{"approve it", "cancel all of it", "deny", "deny 2", "refine", "edit", "edit 30s", "edit duration=", "edit =x", "glass", "ask"} {
		if got, err := parse(typed, known); err == nil {
			t.Errorf("%q is read as %+v", typed, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"approve 2", `edit a="b c`, "deny x", "\x00", "ask\t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := parse(s, func(n int) bool { return n < 3 })
		if err == nil && l.number < 0 {
			t.Errorf("%q: %+v", s, l)
		}
	})
}

func TestNewLines(t *testing.T) {
	for _, c := range []struct{ old, now, want string }{
		{"", "a\nb", "a\nb"}, {"a\nb", "a\nb", ""}, {"a\nb", "a\nb\nc", "c"}, {"a\nb\nc", "b\nc\nd", "d"},
		{"a\nb\nc", "… 1 before\nb\nc\nd", "d"}, {"a", "x\ny", "x\ny"}, {"a\na", "a\na\na", "a"},
	} {
		if got := newLines(c.old, c.now); got != c.want {
			t.Errorf("after %q, of %q %q is new, want %q", c.old, c.now, got, c.want)
		}
	}
}

// patience bounds every wait for something that must happen: far longer than it takes on
// a busy host.
const patience = 2 * time.Minute

// lines is a writer that a test waits on.
type lines struct{ logtest.Log }

func (l *lines) wait(t *testing.T, want string) {
	t.Helper()
	limit := time.After(patience)
	for !strings.Contains(l.String(), want) {
		select {
		case <-limit:
			t.Fatalf("%q does not come; there is:\n%s", want, l)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// front notes events.
type front struct{ events chan thread.Event }

func (f front) Receive(_ context.Context, e thread.Event) error {
	f.events <- e
	return nil
}
func (f front) Form(context.Context, thread.Event) (*card.Form, *card.Card)       { return nil, nil }
func (f front) Wrong(context.Context, thread.Event) map[string]string             { return nil }
func (f front) Complete(context.Context, thread.Account, string, string) []string { return nil }
func (f front) next(t *testing.T) thread.Event {
	t.Helper()
	select {
	case e := <-f.events:
		return e
	case <-time.After(patience):
		t.Fatal("no event came")
	}
	return thread.Event{}
}

type rig struct {
	*terminal.Adapter
	*Session
	front front
	out   *lines
	user  string
	host  string
}

func start(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "chat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{front: front{make(chan thread.Event, 100)}, out: &lines{}, host: "h"}
	socket := filepath.Join(dir, "s")
	if r.Adapter, err = terminal.New(terminal.Config{Host: r.host, Socket: socket, Board: terminal.NewMemory(time.Now), Poll: 5 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, r.front) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for limit := time.After(patience); ; {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		select {
		case <-limit:
			t.Fatal("no socket")
		case <-time.After(2 * time.Millisecond):
		}
	}
	r.Session = New(r.out, console.Terminal{Width: 80}, filepath.Join(dir, "files"))
	c, err := terminal.Dial(t.Context(), socket, terminal.Options{Record: r.Record})
	if err != nil {
		t.Fatal(err)
	}
	r.Attach(c)
	r.user = c.Hello().User
	t.Cleanup(func() { c.Close(); r.Wait() })
	return r
}

func (r *rig) put(t *testing.T, key, channel string, c card.Card, files ...thread.File) thread.Handle {
	t.Helper()
	m := thread.Message{Key: key, Place: thread.Place{Surface: "terminal", Tenant: r.host, Channel: channel}, Card: c, Files: files}
	if channel != terminal.Console {
		m.Place.Thread = "t1"
	}
	h, err := r.Post(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func buttons(id string, verbs ...string) []card.Button {
	var out []card.Button
	for _, v := range verbs {
		out = append(out, card.Button{Verb: v, ID: id, Label: v})
	}
	return out
}

const hostile = "a\x1b[2J\x1b]0;title\x07b\rc\u202ed\u009be\x00"

// Whatever the bot sends, nothing that a terminal acts upon comes out.
func TestHostile(t *testing.T) {
	r := start(t)
	all := []card.Block{
		card.Fields{{Label: hostile, Text: hostile}}, card.List{Heading: hostile, Items: []string{hostile}}, card.Text{Body: hostile, Quoted: true}, card.Code{Body: hostile},
		card.Note{Body: hostile}, card.Divider{}, card.Row{Body: hostile, Buttons: []card.Button{{Verb: hostile, ID: "q-1", Label: hostile}}},
	}
	c := card.Card{Title: hostile, Blocks: all, Buttons: []card.Button{{Verb: hostile, ID: hostile, Label: hostile}}}
	r.put(t, "k", terminal.Console, c, thread.File{Name: "../../" + hostile + ".bpf.c", Title: hostile, Data: []byte(hostile)})
	r.out.wait(t, "saved as")
	c.Title, c.Blocks = c.Title+"2", append(c.Blocks, card.Code{Body: hostile + "\nmore"})
	r.put(t, "k", terminal.Console, c)
	r.out.wait(t, "more")
	if got := r.out.String(); strings.ContainsAny(got, "\x1b\r\x07\x00\u202e\u009b") {
		t.Errorf("a terminal would act upon %q", got)
	}
}

// A request is named by a number, where it must be; its buttons are what can
// be typed; the copy of one's own request is not shown again.
func TestSession(t *testing.T) {
	r := start(t)
	line := func(s string) {
		t.Helper()
		if err := r.Line(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	line("which programs are executed")
	first := r.front.next(t)
	if first.Kind != thread.Ask || first.Text != "which programs are executed" || first.By.User != r.user || first.Place.Thread == "" {
		t.Errorf("event %+v", first)
	}
	// What changes it is said in its thread, what is another request is not.
	line("nodes")
	r.front.next(t)
	line("only of bob")
	if e := r.front.next(t); e.Kind != thread.Ask || e.Text != "only of bob" || e.Place != first.Place {
		t.Errorf("event %+v, want it in %v", e, first.Place)
	}
	line("ask only of bob")
	second := r.front.next(t)
	if second.Text != "only of bob" || second.Place == first.Place {
		t.Errorf("event %+v", second)
	}
	line("on db-4")
	if e := r.front.next(t); e.Place != second.Place {
		t.Errorf("event %+v, want it in %v", e, second.Place)
	}
	line("approve")
	r.out.wait(t, `nothing here has "approve" now`)
	r.put(t, "card:1", "~"+r.user, card.Card{Title: "first", Tone: card.Asking, Blocks: []card.Block{card.Note{Body: "note one"}}, Buttons: buttons("aaa-1", "approve", "deny", "edit")})
	r.out.wait(t, "[1] approve · deny REASON · edit")
	line("approve")
	if e := r.front.next(t); e.Kind != thread.Click || e.Verb != "approve" || e.ID != "aaa-1" || e.Place.Thread != "t1" {
		t.Errorf("event %+v", e)
	}
	r.put(t, "card:2", terminal.Console, card.Card{Title: "second", Tone: card.Asking, Buttons: buttons("bbb-1", "approve", "deny")})
	r.out.wait(t, "[2] approve · deny REASON")
	line("approve")
	r.out.wait(t, "which one? approve 1 … there are [1 2]")
	line("approve 2")
	if e := r.front.next(t); e.ID != "bbb-1" || e.Place.Channel != terminal.Console {
		t.Errorf("event %+v", e)
	}
	line("approve 7")
	r.out.wait(t, "there is no request 7")
	// The copy of one's own.
	before := r.out.String()
	r.put(t, "card:1@0", terminal.Console, card.Card{Title: "copy of first", Buttons: buttons("aaa-1", "approve")})
	r.put(t, "mark", terminal.Console, card.Card{Title: "mark"})
	r.out.wait(t, "mark")
	if strings.Contains(strings.TrimPrefix(r.out.String(), before), "copy of first") {
		t.Error("the copy of one's own request is shown")
	}
	// An edit shows what changed, and the buttons go.
	before = r.out.String()
	r.put(t, "card:1", "~"+r.user, card.Card{Title: "first", Tone: card.Good, Blocks: []card.Block{card.Note{Body: "note one"}, card.Note{Body: "approved by bob"}}})
	r.out.wait(t, "approved by bob")
	if got := strings.TrimPrefix(r.out.String(), before); strings.Contains(got, "note one") || strings.Contains(got, "[1]") {
		t.Errorf("an edit is shown as\n%s", got)
	}
	line("deny 1 no")
	r.out.wait(t, "request 1 has nothing to deny now")
	r.put(t, "run:1", "~"+r.user, card.Card{Title: "running", Tone: card.Working, Buttons: buttons("aaa-1", "stop")})
	r.out.wait(t, "[1] stop")
	if got := r.Running(); !reflect.DeepEqual(got, []int{1}) {
		t.Errorf("running are %v", got)
	}
	line("help")
	if e := r.front.next(t); e.Text != "help" {
		t.Errorf("event %+v", e)
	}
	if err := r.Line(t.Context(), "quit"); !errors.Is(err, ErrQuit) {
		t.Errorf("error %v", err)
	}
}

func TestFiles(t *testing.T) {
	r := start(t)
	r.put(t, "f", "~"+r.user, card.Card{}, thread.File{Name: "../../etc/passwd", Title: "The output", Data: []byte("data")})
	r.out.wait(t, "The output: saved as "+r.dir)
	found, err := filepath.Glob(filepath.Join(r.dir, "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("saved %v, %v", found, err)
	}
	info, err := os.Stat(found[0])
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 4 {
		t.Errorf("saved %v, %v", info, err)
	}
	if dir, err := os.Stat(r.dir); err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", dir, err)
	}
}

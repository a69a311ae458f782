package console_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"kgent/agent"
	"kgent/approvals"
	"kgent/bot"
	"kgent/bot/console"
	"kgent/executor/output"
)

var ada = approvals.Person{ID: "ada", Surface: approvals.Terminal, Human: true}

func aCard() bot.Card {
	return bot.Card{
		Ask: bot.Ask{Text: "who opens files under /etc, with a request that is long enough to be broken into two lines at least"},
		Record: output.Candidate{Digest: strings.Repeat("0123456789ab", 5) + "0123", Name: "opens", Title: "File opens", Origin: "recipe opens", Verdict: "UNKNOWN", Reason: "unproved: no contract was checked",
			Tier: "observe-sensitive", Why: []string{"reads the memory of processes"}, Does: []string{"reports every open"}, Hooks: []string{"tracepoint syscalls:sys_enter_openat"},
			Nodes: []string{"db-3"}, Duration: "30s", Params: []output.Param{{Name: "prefix", Value: "/etc"}}},
		Candidate: &agent.Candidate{Source: "int x;\n\tint \x1b[31my;\n", Understood: []string{"path prefix /etc"}, Explanation: "It shows opens."},
	}
}

const golden = `✓ looking for a recipe           recipe opens 3 ms
✗ compiling                      line 3: no 120 ms
– proving                        unproved

File opens
  request   who opens files under /etc, with a request that is long enough to be
            broken into two lines at least
  program   recipe opens
  runs on   db-3
  for       30s
  risk      observe-sensitive: reads the memory of processes
  verdict   UNPROVED: nobody has shown that it means what was asked; it loads on
            the kernel it is for and only reads
  digest    0123456789ab
  it does
    • reports every open
  it listens at
    • tracepoint syscalls:sys_enter_openat
  with the parameters
    • prefix = /etc
  understood from the request
    • path prefix /etc
  | It shows opens.

attached on db-3 at tracepoint syscalls:sys_enter_openat, until soon
error on db-3: it broke
  in two lines
`

// talk plays a conversation up to the first output.
func talk(ch bot.Channel) {
	ch.Stage(output.Stage{Name: "match", State: "start"})
	ch.Stage(output.Stage{Name: "match", State: "done", Detail: "recipe opens", Millis: 3})
	ch.Stage(output.Stage{Name: "compile", State: "start"})
	ch.Stage(output.Stage{Name: "compile", State: "failed", Detail: "line 3: no", Millis: 120})
	ch.Stage(output.Stage{Name: "prove", State: "skipped", Detail: "unproved"})
	ch.Candidate(aCard())
	ch.Line([]byte(`{"type":"attached","node":"db-3","run":"r","hooks":["tracepoint syscalls:sys_enter_openat"],"program_ids":[],"map_ids":[],"streams":[],"deadline":"soon"}` + "\n"))
	ch.Error(output.Error{Node: "db-3", Code: "node", Message: "it broke\nin two lines\n"})
	ch.Summary(output.Summary{Reason: output.ReasonFailed, Nodes: []output.NodeSummary{}})
}

func never(t *testing.T) func(error) {
	return func(err error) { t.Errorf("the output was lost: %v", err) }
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	talk(console.NewText(&out, never(t), console.Approver{}, console.Terminal{Width: 80}))
	if got := out.String(); got != golden {
		t.Errorf("got\n%s\nwant\n%s", got, golden)
	}
}

// On a terminal progress is overwritten and colours are used; without them the
// words are the same.
func TestTerminal(t *testing.T) {
	var out bytes.Buffer
	talk(console.NewText(&out, never(t), console.Approver{}, console.Terminal{Width: 80, Colour: true, Live: true}))
	got := out.String()
	for _, want := range []string{"… looking for a recipe", "\r\x1b[K", "\x1b[32m✓\x1b[0m", "\x1b[31m✗\x1b[0m", "Ctrl-C"} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%q", want, got)
		}
	}
}

const hostile = "a\x1b[2J\x1b]0;title\x07b\rc\u202ed\u009be\xff\x00"

// Whatever comes from outside, nothing that a terminal acts upon comes out.
func TestHostile(t *testing.T) {
	quoted := func(s string) string {
		return strings.NewReplacer("\x1b", `\u001b`, "\r", `\r`, "\x07", `\u0007`, "\x00", `\u0000`, "\xff", "?").Replace(s)
	}
	var out bytes.Buffer
	ch := console.NewText(&out, never(t), console.Approver{Person: ada, In: strings.NewReader("s\nn\n"), Out: &out}, console.Terminal{Width: 80})
	ch.Stage(output.Stage{Name: hostile, State: "done", Detail: hostile})
	ch.Stage(output.Stage{Name: hostile, State: "skipped", Detail: hostile})
	c := aCard()
	c.Ask.Text, c.Record.Title, c.Record.Origin, c.Record.Reason = hostile, hostile, "model "+hostile, hostile
	c.Record.Params[0].Value, c.Record.Hooks[0], c.Record.Does[0], c.Record.Why[0], c.Record.Nodes[0] = hostile, hostile, hostile, hostile, hostile
	c.Candidate.Explanation, c.Candidate.Source, c.Candidate.Understood = hostile+"\n"+hostile, hostile+"\n"+hostile, []string{hostile}
	ch.Candidate(c)
	if err := ch.Decide(t.Context(), c, func(approvals.Vote) (bool, error) { return false, nil }); err != nil {
		t.Error(err)
	}
	h := quoted(hostile)
	for _, l := range []string{
		`{"type":"attached","node":"` + h + `","run":"r","hooks":["` + h + `"],"program_ids":[],"map_ids":[],"streams":[{"name":"e","events":true,"columns":[{"name":"` + h + `","kind":"string","width":8}]}],"deadline":"` + h + `"}`,
		`{"type":"event","node":"n","stream":"e","data":{"` + h + `":"` + h + `"}}`,
		`{"type":"map","node":"n","name":"` + h + `","entries":[{"key":{"k":"` + h + `"},"value":{"v":1}}],"total":1,"at":"","final":true}`,
		`{"type":"hist","node":"n","name":"` + h + `","key":{"k":"` + h + `"},"unit":"ns","buckets":[{"min":0,"max":1,"count":1}],"count":1,"at":"","final":true}`,
		`{"type":"stack","node":"n","name":"` + h + `","key":{"k":"` + h + `"},"frames":["` + h + `"],"count":1,"final":true}`,
		`{"type":"text","node":"n","line":"` + h + `"}`,
		`{"type":"error","node":"` + h + `","code":"x","message":"` + h + `"}`,
		`{"type":"nosuch","x":"` + h + `"}`,
		h,
	} {
		ch.Line([]byte(l + "\n"))
	}
	ch.Summary(output.Summary{Reason: hostile, Nodes: []output.NodeSummary{{Node: hostile, Reason: hostile, Detail: hostile}}})
	got := out.String()
	if i := strings.IndexAny(got, "\x1b\r\x07\x00\u202e\u009b\xff"); i >= 0 {
		t.Errorf("a terminal would act upon %q", got[max(0, i-60):min(len(got), i+60)])
	}
	if strings.Count(got, `\x1b[2J`) < 15 {
		t.Errorf("much of it is missing:\n%s", got)
	}
}

// decide answers the question with some input.
func decide(t *testing.T, ctx context.Context, in io.Reader, yes bool, ch func(console.Approver) bot.Channel, asked *bytes.Buffer) ([]approvals.Vote, error) {
	t.Helper()
	var votes []approvals.Vote
	err := ch(console.Approver{Person: ada, Yes: yes, In: in, Out: asked}).Decide(ctx, aCard(), func(v approvals.Vote) (bool, error) {
		votes = append(votes, v)
		return false, nil
	})
	return votes, err
}

func TestDecide(t *testing.T) {
	for name, ch := range map[string]func(console.Approver) bot.Channel{
		"text": func(a console.Approver) bot.Channel {
			return console.NewText(io.Discard, never(t), a, console.Terminal{})
		},
		"json": func(a console.Approver) bot.Channel { return console.NewJSON(io.Discard, never(t), a) },
	} {
		for _, tc := range []struct {
			in     string
			yes    bool
			choice approvals.Choice // "" is no vote
			asked  int
			source bool
		}{
			{in: "y\n", choice: approvals.Approve, asked: 1},
			{in: " YES \n", choice: approvals.Approve, asked: 1},
			{in: "n\n", choice: approvals.Deny, asked: 1},
			{in: "no", choice: approvals.Deny, asked: 1},
			{in: "what\n\nyep\ny\n", choice: approvals.Approve, asked: 4},
			{in: "s\nn\ny\n", choice: approvals.Deny, asked: 2, source: true},
			{in: "", asked: 1},
			{in: "s\n", asked: 2, source: true},
			{in: strings.Repeat("y", 100_000), asked: 1}, // no answer, and no end
			{yes: true, choice: approvals.Approve},
		} {
			var asked bytes.Buffer
			votes, err := decide(t, t.Context(), strings.NewReader(tc.in), tc.yes, ch, &asked)
			what := name + " " + tc.in[:min(len(tc.in), 20)]
			if tc.choice == "" {
				if len(votes) > 0 || !errors.Is(err, console.ErrNobody) {
					t.Errorf("%s: votes %+v, error %v; want ErrNobody", what, votes, err)
				}
			} else if err != nil || len(votes) != 1 || votes[0].Choice != tc.choice || votes[0].By != ada {
				t.Errorf("%s: votes %+v, error %v; want %s by %s", what, votes, err, tc.choice, ada.ID)
			}
			if n := strings.Count(asked.String(), "Run it?"); n != tc.asked {
				t.Errorf("%s: asked %d times, want %d", what, n, tc.asked)
			}
			if got := strings.Contains(asked.String(), "int x;\n    int \\x1b[31my;"); got != tc.source {
				t.Errorf("%s: the source is shown: %v", what, got)
			}
		}
	}
}

// A vote that the desk does not take is the end; a conversation that ends does
// not wait for an answer.
func TestDecideEnds(t *testing.T) {
	refused := errors.New("not you")
	ch := console.NewText(io.Discard, never(t), console.Approver{Person: ada, In: strings.NewReader("y\ny\n"), Out: io.Discard}, console.Terminal{})
	n := 0
	if err := ch.Decide(t.Context(), aCard(), func(approvals.Vote) (bool, error) { n++; return true, refused }); !errors.Is(err, refused) || n != 1 {
		t.Errorf("error %v after %d votes", err, n)
	}
	in, hold := io.Pipe() // nobody writes
	defer hold.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	time.AfterFunc(20*time.Millisecond, func() { cancel(gone) })
	ch = console.NewText(io.Discard, never(t), console.Approver{Person: ada, In: in, Out: io.Discard}, console.Terminal{})
	if err := ch.Decide(ctx, aCard(), nil); !errors.Is(err, gone) {
		t.Errorf("error %v, want the cause", err)
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	ch := console.NewJSON(&out, never(t), console.Approver{})
	talk(ch)
	var types []string
	for _, l := range strings.SplitAfter(strings.TrimSuffix(out.String(), "\n"), "\n") {
		rec, err := output.Decode([]byte(l))
		if err != nil {
			t.Fatalf("%v in %q", err, l)
		}
		switch rec.(type) {
		case output.Stage:
			types = append(types, "stage")
		case output.Candidate:
			types = append(types, "candidate")
		case output.Attached:
			types = append(types, "attached")
		case output.Error:
			types = append(types, "error")
		case output.Summary:
			types = append(types, "summary")
		}
	}
	if got, want := strings.Join(types, " "), "stage stage stage stage stage candidate attached error summary"; got != want {
		t.Errorf("records %s, want %s", got, want)
	}
	if strings.ContainsAny(out.String(), "\x1b\r") {
		t.Errorf("control characters in %q", out.String())
	}
}

// full takes so many bytes and no more.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.room {
		return 0, io.ErrClosedPipe
	}
	f.room -= len(b)
	return len(b), nil
}

// Output that nobody takes is reported once.
func TestLost(t *testing.T) {
	for name, ch := range map[string]func(io.Writer, func(error)) bot.Channel{
		"text": func(w io.Writer, lost func(error)) bot.Channel {
			return console.NewText(w, lost, console.Approver{}, console.Terminal{})
		},
		"json": func(w io.Writer, lost func(error)) bot.Channel {
			return console.NewJSON(w, lost, console.Approver{})
		},
	} {
		var errs []error
		talk(ch(&full{100}, func(err error) { errs = append(errs, err) }))
		if len(errs) != 1 || !errors.Is(errs[0], io.ErrClosedPipe) {
			t.Errorf("%s: reported %v", name, errs)
		}
	}
}

// What was meant is asked for: a number, or words, and nobody's when nobody answers.
func TestQuestion(t *testing.T) {
	q := &agent.Question{Text: "Does \x1b[31mfailed include EINTR?", Options: []string{"yes", "no"}, Example: "ret = -4"}
	for in, want := range map[string]string{"2\n": "no", "7\n1\n": "yes", "only EPERM\n": "only EPERM", "\n\n": "", "": ""} {
		var asked bytes.Buffer
		ch := console.NewText(io.Discard, never(t), console.Approver{Person: ada, In: strings.NewReader(in + "y\n"), Out: &asked}, console.Terminal{})
		if want == "" {
			ch = console.NewText(io.Discard, never(t), console.Approver{Person: ada, In: strings.NewReader(in), Out: &asked}, console.Terminal{})
		}
		got, err := ch.Question(t.Context(), q)
		if got != want || (err != nil) != (want == "") || !strings.Contains(asked.String(), "  2. no\n") || strings.Contains(asked.String(), "\x1b") {
			t.Errorf("%q: %q, %v\n%s", in, got, err, asked.String())
		}
		if want == "" {
			continue
		}
		// The approval reads on from there.
		n := 0
		if err := ch.Decide(t.Context(), aCard(), func(v approvals.Vote) (bool, error) { n++; return false, nil }); err != nil || n != 1 {
			t.Errorf("%q: %d votes, %v", in, n, err)
		}
	}
	ch := console.NewText(io.Discard, never(t), console.Approver{Person: ada, Yes: true, In: strings.NewReader("1\n"), Out: io.Discard}, console.Terminal{})
	if _, err := ch.Question(t.Context(), q); !errors.Is(err, console.ErrNobody) {
		t.Errorf("who approves beforehand was asked: %v", err)
	}
}

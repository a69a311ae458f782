package compare

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/verify/corpus"
	"kgent/agent/verify/symbolic"
)

// kernelOf is this machine's kernel, in the form that a comparison takes.
var kernelOf = sync.OnceValues(func() (*symbolic.Kernel, error) {
	tools, err := programtest.Find()
	if err != nil {
		return nil, err
	}
	facts := tools.Facts
	vmlinux, modules, err := facts.Specs()
	if err != nil {
		return nil, err
	}
	return &symbolic.Kernel{Types: vmlinux, Modules: modules, Arch: facts.Arch, Format: func(category, name string) ([]symbolic.Field, bool) {
		tp, err := facts.Tracepoint(category, name)
		if err != nil {
			return nil, false
		}
		var out []symbolic.Field
		for _, f := range tp.Fields {
			out = append(out, symbolic.Field{Name: f.Name, Type: f.Type, Offset: f.Offset, Size: f.Size, Signed: f.Signed, Array: f.Array, DataLoc: f.DataLoc})
		}
		return out, true
	}}, nil
})

// patient are limits for a machine that is busy with other tests.
var patient = Limits{Time: 10 * time.Minute, Query: 2 * time.Minute, Scenario: 3, Machine: symbolic.Limits{Time: 4 * time.Minute, Query: 20 * time.Second}}

func here(t testing.TB) Options {
	t.Helper()
	k, err := kernelOf()
	if err != nil {
		t.Fatal(err)
	}
	return Options{Kernel: k, Limits: patient}
}

// compiled is a program of a source.
func compiled(t testing.TB, name, source string) Program {
	t.Helper()
	return built(t, name, programtest.Object(t, source))
}

func built(t testing.TB, name string, o *program.Object) Program {
	t.Helper()
	m, err := program.Build(o, program.Options{Name: "test", Title: "test", Interface: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	return Program{Name: name, Object: o, Manifest: m}
}

func held(t testing.TB, a, b Program, opt Options) *Result {
	t.Helper()
	r, err := Compare(context.Background(), a, b, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s within %d in %v, %d questions, %d scenarios: %s %s", r.Verdict, r.Within, r.Stats.Time.Round(time.Millisecond), r.Stats.Queries, r.Stats.Scenarios, r.How, strings.Join(r.Reasons, "; "))
	if r.Difference != nil {
		t.Logf("%s\n%s", r.Difference, r.Difference.Question())
	}
	return r
}

// shownAlike are wrong programs that show the same as the right ones: what they do wrong shows to whoever
// reads the bytes, not in what is shown, and is for a proof's hygiene to find.
var shownAlike = map[string]bool{"padding-leaked": true, "text-tail-leaked": true}

// refused are wrong programs that no kernel loads, of which there is nothing to compare.
var refused = map[string]bool{"arguments-of-another-kernel": true, "data-loc-as-text": true, "record-of-another-kernel": true}

// Each wrong program of the corpus is told apart from the right one. All of them with KGENT_SOAK, else
// some.
func TestCorpus(t *testing.T) {
	cases, err := corpus.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		if os.Getenv("KGENT_SOAK") == "" && i%6 != 0 {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			opt := here(t)
			good := compiled(t, "the right program", c.Good)
			if r := held(t, good, compiled(t, "the same program", c.Good), opt); r.Verdict != Same {
				t.Errorf("a program and itself are %s: %s", r.Verdict, strings.Join(r.Reasons, "; "))
			}
			want := Different
			switch {
			case shownAlike[c.Name]:
				want = Same
			case refused[c.Name]:
				want = Unknown
			}
			r := held(t, good, compiled(t, "the wrong program", c.Bad), opt)
			if r.Verdict != want {
				t.Errorf("right and wrong are %s: %s %s", r.Verdict, r.How, strings.Join(r.Reasons, "; "))
			}
			if d := r.Difference; d != nil {
				wellSaid(t, d)
			}
		})
	}
}

// wellSaid fails if a difference is not told as people can read it.
func wellSaid(t testing.TB, d *Difference) {
	t.Helper()
	q := d.Question()
	if !strings.HasSuffix(q, "?") || len(q) > 600 || d.ADoes == "" || d.BDoes == "" || d.ADoes == d.BDoes {
		t.Errorf("difference %+v, question %q", d, q)
	}
	for _, text := range []string{q, d.String()} {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("%q has characters that are not for people", text)
		}
		for _, never := range []string{"%!", "kgent_stats", "#0", "#1", "  "} {
			if strings.Contains(text, never) {
				t.Errorf("%q says %q", text, never)
			}
		}
	}
}

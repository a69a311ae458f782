package probe_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// line returns the number of the line of a testdata file that holds text, and
// the line.
func line(t *testing.T, file, text string) (int, string) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range strings.Split(string(b), "\n") {
		if strings.Contains(l, text) {
			return i + 1, strings.TrimSpace(l)
		}
	}
	t.Fatalf("%s has no line with %q", file, text)
	return 0, ""
}

func TestLoadRefused(t *testing.T) {
	residue.Check(t)
	const prefixLines = 1
	tests := []struct {
		name   string
		define string
		reason string // of the LoadError
		source string // text on the line that is blamed
		log    string // in the last line of the log
		err    error
	}{
		{name: "verifier", define: "NULL_DEREFERENCE", reason: "the verifier refused it: R", source: "// refused: reserve can fail", log: "invalid mem access", err: unix.EACCES},
		{name: "field", define: "NO_FIELD", reason: "it uses struct task_struct.kgent_no_such_field that this kernel does not have", source: "// refused: no such field"},
		{name: "complexity", define: "ENDLESS", reason: "it is too complex for the verifier: BPF program is too large", log: "BPF program is too large", err: unix.E2BIG},
	}
	l := probe.NewLoader(probe.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			residue.Check(t)
			o := object(t, "refused.bpf.c", "#define "+tt.define+"\n")
			_, err := l.Load(t.Context(), o, manifest(t, o, program.Options{}))
			var e *probe.LoadError
			if !errors.As(err, &e) {
				t.Fatalf("error %v, want a LoadError", err)
			}
			if e.Program != "enter" || !strings.HasPrefix(e.Reason, tt.reason) {
				t.Errorf("program %q, reason %q; want enter, %q", e.Program, e.Reason, tt.reason)
			}
			if tt.log != "" && (len(e.Log) == 0 || len(e.Log) > 4 || !strings.Contains(e.Log[len(e.Log)-1], tt.log)) {
				t.Errorf("log %q, want the last of at most 4 lines to hold %q", e.Log, tt.log)
			}
			if tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("error %v is not %v", err, tt.err)
			}
			if tt.source == "" {
				return // tracing a million instructions would take half a minute
			}
			number, text := line(t, "refused.bpf.c", tt.source)
			if e.Source == nil || *e.Source != (probe.SourceLine{File: "program.bpf.c", Line: number + prefixLines, Text: text}) {
				t.Errorf("source %+v, want line %d: %s", e.Source, number+prefixLines, text)
			}
			if msg := err.Error(); !strings.Contains(msg, tt.reason) || !strings.Contains(msg, "program.bpf.c:") || strings.ContainsAny(msg, "\n\x1b") {
				t.Errorf("message %q", msg)
			}
		})
	}
}

// Programs whose losses could not be counted, or whose answer could not be
// shown, are refused before the kernel sees them.
func TestLoadConventions(t *testing.T) {
	residue.Check(t)
	for _, tt := range []struct{ name, define, want string }{
		{"output queue", "QUEUE_OUTPUT", "map queue: the entries of a Queue map cannot be listed"},
		{"two stack maps", "STACKS STACK_MAP(one, 0); STACK_MAP(two, 0)", "2 stack trace maps"},
		{"build ids", "STACKS STACK_MAP(one, 1 << 5)", "map one: stacks of build ids"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := object(t, "refused.bpf.c", "#define "+tt.define+"\n")
			_, err := probe.NewLoader(probe.Options{}).Load(t.Context(), o, manifest(t, o, program.Options{}))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("no memory", func(t *testing.T) {
		o := object(t, "refused.bpf.c", "#define HUGE\n")
		_, err := probe.NewLoader(probe.Options{}).Load(t.Context(), o, manifest(t, o, program.Options{}))
		var e *probe.LoadError
		if !errors.As(err, &e) || e.Map != "huge" || !strings.Contains(e.Reason, "ask for fewer") {
			t.Errorf("error %v, want a LoadError of map huge", err)
		}
	})
	t.Run("another map of counters", func(t *testing.T) {
		// As a header other than kgent.bpf.h might bring it.
		o := object(t, "nostats.bpf.c", "")
		_, err := probe.NewLoader(probe.Options{}).Load(t.Context(), o, manifest(t, o, program.Options{}))
		if err == nil || !strings.Contains(err.Error(), "include kgent.bpf.h") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("manifest of another object", func(t *testing.T) {
		o := object(t, "tp_btf.bpf.c", "")
		other := object(t, "maps.bpf.c", "")
		if _, err := probe.NewLoader(probe.Options{}).Load(t.Context(), o, manifest(t, other, program.Options{})); err == nil {
			t.Error("loaded")
		}
	})
	t.Run("context", func(t *testing.T) {
		o := object(t, "tp_btf.bpf.c", "")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := probe.NewLoader(probe.Options{}).Load(ctx, o, manifest(t, o, program.Options{})); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

// Loading alone attaches nothing.
func TestLoadAttachesNothing(t *testing.T) {
	residue.Check(t)
	o := object(t, "tp_btf.bpf.c", "")
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	flood(mark, 100, 1)
	if c, err := s.Counts(); err != nil || c != (probe.Counts{}) {
		t.Errorf("counts %+v, %v", c, err)
	}
	// This kernel is newer than 5.16, so it tells.
	v, err := s.Verified()
	if err != nil || len(v) != len(o.Programs()) {
		t.Fatalf("%+v, %v", v, err)
	}
	for i, p := range o.Programs() {
		if v[i].Program != p.Name || v[i].Processed == 0 || v[i].Processed > 1_000_000 {
			t.Errorf("%+v for program %s", v[i], p.Name)
		}
	}
}

func TestIDs(t *testing.T) {
	residue.Check(t)
	o := object(t, "raw_tp.bpf.c", "")
	l := probe.NewLoader(probe.Options{})
	s, err := l.Load(t.Context(), o, manifest(t, o, program.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	attach(t, s)
	programs, err := s.ProgramIDs()
	if err != nil {
		t.Fatal(err)
	}
	maps, err := s.MapIDs()
	if err != nil {
		t.Fatal(err)
	}
	// Two rings, the counters, and the constants.
	if len(programs) != 2 || len(maps) != 4 || !slices.IsSorted(programs) || !slices.IsSorted(maps) {
		t.Errorf("programs %v, maps %v", programs, maps)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	residue.Gone(t, programs, maps)
}

// After Close, every method says so.
func TestClosed(t *testing.T) {
	residue.Check(t)
	o := object(t, "maps.bpf.c", "")
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{}))
	attach(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	none := func(int, []byte) {}
	for name, call := range map[string]func() error{
		"Attach":     func() error { _, err := s.Attach(t.Context()); return err },
		"Detach":     s.Detach,
		"Drain":      func() error { return s.Drain(t.Context(), probe.Tick, none) },
		"Rest":       func() error { return s.Rest(t.Context(), none) },
		"Iterate":    func() error { return s.Iterate(t.Context(), func([]byte) {}) },
		"Counts":     func() error { _, err := s.Counts(); return err },
		"Cells":      func() error { _, err := s.Cells("hash"); return err },
		"Stack":      func() error { _, err := s.Stack(1); return err },
		"ProgramIDs": func() error { _, err := s.ProgramIDs(); return err },
		"MapIDs":     func() error { _, err := s.MapIDs(); return err },
		"Verified":   func() error { _, err := s.Verified(); return err },
		"Sample":     func() error { _, err := s.Sample(t.Context(), 1); return err },
	} {
		if err := call(); !errors.Is(err, probe.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
}

// Global variables start with their values, parameters with the manifest's;
// programs change theirs.
func TestGlobals(t *testing.T) {
	residue.Check(t)
	o := object(t, "globals.bpf.c", "")
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark), "parameter": "9"}}))
	attach(t, s)
	r := drain(t, s)
	flood(mark, 2, 1)
	r.wait(2)
	all, _ := r.finish()
	for i, e := range all {
		want := []uint64{9, uint64(i), 40 + uint64(i), 2 + uint64(i), 5}
		for j, w := range want {
			if got := e.u64(8 * j); got != w {
				t.Errorf("event %d: variable %d is %d, want %d", i, j, got, w)
			}
		}
		if major := e.u64(40) >> 16; major < 4 || major > 20 {
			t.Errorf("event %d: kernel version %#x", i, e.u64(40))
		}
	}
}

// One Loader serves many at a time.
func TestLoadConcurrently(t *testing.T) {
	residue.Check(t)
	l := probe.NewLoader(probe.Options{})
	var wg sync.WaitGroup
	for _, file := range []string{"tp_btf.bpf.c", "maps.bpf.c", "raw_tp.bpf.c", "iter.bpf.c"} {
		o := object(t, file, "")
		m := manifest(t, o, program.Options{})
		for range 3 {
			wg.Go(func() {
				s, err := l.Load(t.Context(), o, m)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
}

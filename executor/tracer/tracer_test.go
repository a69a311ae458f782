package tracer

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/bpftrace/jail"
	"kgent/executor/output"
	"kgent/executor/probe/residue"
)

var self = []string{"/proc/self/exe", jail.Arg}

func newTracer(t *testing.T) *Tracer {
	t.Helper()
	tool, err := bpftrace.Find(t.Context(), os.Getenv, self...)
	if err != nil {
		t.Fatal(err)
	}
	return &Tracer{Node: "n1", Tool: tool, Self: self}
}

// approved makes what people would have approved of a script.
func approved(t *testing.T, tr *Tracer, text string) (*program.Object, *program.Manifest) {
	t.Helper()
	s, err := bpftrace.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o, err := tr.Tool.Translate(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := program.Build(o, program.Options{Name: "t", Title: "t", Script: &program.Script{Language: bpftrace.Language, Text: text, Requires: "0.17.0", By: "0.17.0"}})
	if err != nil {
		t.Fatal(err)
	}
	return o, m
}

// sink keeps what comes, and tells of each record.
type sink struct {
	mu      sync.Mutex
	records []output.Record
	admit   func() bool
	seen    func(output.Record)
}

func (s *sink) Admit() bool { return s.admit == nil || s.admit() }

func (s *sink) Line(line []byte) {
	r, err := output.Decode(line)
	if err != nil {
		panic(err)
	}
	s.Record(r)
}

func (s *sink) Record(r output.Record) {
	s.mu.Lock()
	s.records = append(s.records, r)
	s.mu.Unlock()
	if s.seen != nil {
		s.seen(r)
	}
}

func (s *sink) lines() string {
	var b strings.Builder
	for _, r := range s.records {
		if x, ok := r.(output.Text); ok {
			b.WriteString(x.Line + "\n")
		}
	}
	return b.String()
}

func TestRun(t *testing.T) {
	residue.Check(t)
	tr := newTracer(t)
	o, m := approved(t, tr, `BEGIN { printf("begins\n"); }
tracepoint:syscalls:sys_enter_openat /pid == `+itoa(os.Getpid())+`/ {
	@opens[comm, pid] = count(); @flags = hist(args->flags); @s = stats(args->dfd); @st[kstack] = count();
	printf("%s ", comm); printf("\"%s\"\n", str(args->filename));
}
END { clear(@s); }`)
	run, err := tr.Load(t.Context(), o, m)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	a, err := run.Attach(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(a.ProgramIDs) == 0 || len(a.Streams) != 4 || !slices.Contains(a.Hooks, "tracepoint syscalls:sys_enter_openat") {
		t.Errorf("attached %+v", a)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &sink{seen: func(r output.Record) {
		if x, ok := r.(output.Text); ok && strings.Contains(x.Line, "kgent-no-such-file") {
			cancel()
		}
	}}
	os.ReadFile("/tmp/kgent-no-such-file")
	if err := run.Stream(ctx, s); err != nil {
		t.Fatal(err)
	}
	var opens, values, stacks uint64
	for _, r := range s.records {
		switch x := r.(type) {
		case output.Map:
			if name, _ := x.Entries[0].Key.Get("pid"); x.Name != "@opens" || !x.Final || name != itoa(os.Getpid()) {
				t.Errorf("%+v", x)
			}
			n, _ := x.Entries[0].Value[0].Value.(json.Number).Int64()
			opens = uint64(n)
		case output.Hist:
			values = x.Count
		case output.Stack:
			if len(x.Frames) == 0 {
				t.Errorf("%+v", x)
			}
			stacks += x.Count
		}
	}
	// The account: every count is of the same calls, and all but the very last have
	// their line; and there is BEGIN's.
	produced, lost, _, _ := run.Counts()
	if opens == 0 || values != opens || stacks != opens || lost != 0 || produced < 2 || produced > opens+1 {
		t.Errorf("%d opens, %d in the histogram, %d in stacks; %d lines, %d lost", opens, values, stacks, produced, lost)
	}
	if !strings.HasPrefix(s.lines(), "begins\n") || !strings.Contains(s.lines(), "\"/tmp/kgent-no-such-file\"\n") {
		t.Errorf("printed %q", s.lines())
	}
	if err := run.Close(); err != nil {
		t.Error(err)
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// A node does not run a script that does more than the object which was approved.
func TestLoadRefuses(t *testing.T) {
	tr := newTracer(t)
	const counts = `tracepoint:syscalls:sys_enter_openat { @ = count(); }`
	for name, tt := range map[string]struct{ text, why string }{
		"another hook":        {`tracepoint:syscalls:sys_enter_close { @ = count(); }`, "where tracepoint:syscalls:sys_enter_openat was approved"},
		"a further hook":      {counts + ` interval:s:1 { print(@); }`, "2 programs here, 1 were approved"},
		"a further call":      {`tracepoint:syscalls:sys_enter_openat { @[comm] = count(); }`, "bpf_get_current_comm"},
		"memory of processes": {`tracepoint:syscalls:sys_enter_openat { @ = count(); $x = str(args->filename); printf("%s", $x); }`, "bpf_probe_read_user_str"},
		"what is not allowed": {`tracepoint:syscalls:sys_enter_openat { @ = count(); $x = cat("/etc/shadow"); }`, "never allowed"},
		"no script":           {`x`, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			o, m := approved(t, tr, counts)
			forged := *m.Script
			forged.Text = tt.text
			m.Script = &forged
			r, err := tr.Load(t.Context(), o, m)
			if err == nil || !strings.Contains(err.Error(), tt.why) {
				t.Errorf("%v, %v; want an error with %q", r, err, tt.why)
			}
		})
	}
	o, m := approved(t, tr, counts)
	later := *m.Script
	later.Requires = "9.0.0"
	m.Script = &later
	if _, err := tr.Load(t.Context(), o, m); err == nil || !strings.Contains(err.Error(), "needs bpftrace 9.0.0") {
		t.Errorf("%v", err)
	}
}

func attach(t *testing.T, text string) *Run {
	t.Helper()
	tr := newTracer(t)
	o, m := approved(t, tr, text)
	r, err := tr.Load(t.Context(), o, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if _, err := r.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// However a run ends, the kernel has nothing of it, and nobody waits for ever.
func TestEnds(t *testing.T) {
	const endless = `interval:ms:50 { printf("tick\n"); @n = count(); }`
	t.Run("closed at once", func(t *testing.T) {
		residue.Check(t)
		if err := attach(t, endless).Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("killed by somebody", func(t *testing.T) {
		residue.Check(t)
		r := attach(t, endless)
		s := &sink{}
		var once sync.Once
		s.seen = func(output.Record) { once.Do(func() { syscall.Kill(r.cmd.Process.Pid, syscall.SIGKILL) }) }
		if err := r.Stream(t.Context(), s); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("%v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("exits by itself", func(t *testing.T) {
		residue.Check(t)
		r := attach(t, `interval:ms:50 { @n = count(); printf("no end of line"); exit(); }`)
		s := &sink{}
		if err := r.Stream(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if s.lines() != "no end of line\n" {
			t.Errorf("printed %q", s.lines())
		}
		m, ok := s.records[len(s.records)-1].(output.Map)
		if !ok || !m.Final || len(m.Entries) != 1 {
			t.Errorf("last record %+v", s.records[len(s.records)-1])
		}
	})
	t.Run("nobody waits for it to attach", func(t *testing.T) {
		residue.Check(t)
		tr := newTracer(t)
		o, m := approved(t, tr, endless)
		r, err := tr.Load(t.Context(), o, m)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Attach(ctx); err == nil {
			t.Error("attached without patience")
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What is over the rate is not shown, and counted all the same.
func TestRate(t *testing.T) {
	residue.Check(t)
	r := attach(t, `interval:ms:10 { printf("a\nb\nc\n"); @n = count(); }`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := 0
	s := &sink{admit: func() bool {
		if asked++; asked == 30 {
			cancel()
		}
		return asked%3 == 0
	}}
	if err := r.Stream(ctx, s); err != nil {
		t.Fatal(err)
	}
	produced, lost, _, err := r.Counts()
	if err != nil || produced != uint64(asked)+lost {
		t.Errorf("%d produced, %d lost, %d seen, %v", produced, lost, asked, err)
	}
	if n := strings.Count(s.lines(), "c\n"); n == 0 || strings.Contains(s.lines(), "a") {
		t.Errorf("shown %q", s.lines())
	}
}

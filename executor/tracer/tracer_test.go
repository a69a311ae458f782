package tracer

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
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
	tool, err := bpftrace.Find(t.Context(), func(string) string { return "" }, self...)
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
	b, _ := json.Marshal(a)
	t.Logf("%s", b)
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
	for _, r := range s.records {
		line, _ := output.Encode(r)
		t.Logf("%.300s", line)
	}
	produced, lost, _, _ := run.Counts()
	t.Log(produced, lost)
	if err := run.Close(); err != nil {
		t.Error(err)
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

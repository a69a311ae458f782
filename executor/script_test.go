package executor

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/bpftrace/jail"
	"kgent/executor/probe/residue"
	"kgent/executor/tracer"
)

// A node without bpftrace says so, and touches nothing.
func TestScriptWithoutBpftrace(t *testing.T) {
	m := &program.Manifest{Script: &program.Script{Language: "bpftrace", Text: "x"}}
	p, err := (&HostKernel{}).Load(t.Context(), nil, m)
	if p != nil || err == nil || !strings.Contains(err.Error(), "install bpftrace") {
		t.Errorf("%v, %v", p, err)
	}
}

// What bpftrace prints is read by a thread that cannot load or attach anything.
func TestScriptIsConfined(t *testing.T) {
	needsCapabilities(t)
	self := []string{"/proc/self/exe", jail.Arg}
	tool, err := bpftrace.Find(t.Context(), os.Getenv, self...)
	if err != nil {
		t.Skip(err)
	}
	residue.Check(t)
	const text = `interval:hz:10 { printf("x\n"); }`
	s, err := bpftrace.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o, err := tool.Translate(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := program.Build(o, program.Options{Name: "t", Title: "t", Script: &program.Script{Language: bpftrace.Language, Text: text, Requires: "0.17.0", By: "0.17.0"}})
	if err != nil {
		t.Fatal(err)
	}
	k := &HostKernel{Scripts: &tracer.Tracer{Node: "n1", Tool: tool, Self: self}}
	p, err := k.Load(t.Context(), o, m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := &witness{t: t, told: cancel}
	if err := p.Stream(ctx, w); err != nil {
		t.Fatal(err)
	}
	if want := maskOf(reading[:]) & statusOf(t, thread, "CapPrm"); len(w.seen) != 1 || w.seen[0] != want {
		t.Errorf("output came from threads with %x, want %x alone", w.seen, want)
	}
}

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/verify/smt"
)

func TestZeroValues(t *testing.T) {
	var r Report
	if r.Verdict != Unknown || r.Verdict.String() != "UNKNOWN" {
		t.Errorf("an empty report says %s", r.Verdict)
	}
	if (Obligation{}).Outcome != Undecided {
		t.Errorf("an empty obligation says %s", (Obligation{}).Outcome)
	}
	if (&induction{found: newFindings()}).holds() {
		t.Error("an induction that showed nothing holds")
	}
}

func TestNames(t *testing.T) {
	for _, v := range []Verdict{Unknown, Verified, Refuted, Vacuous} {
		text, _ := v.MarshalText()
		var back Verdict
		if err := back.UnmarshalText(text); err != nil || back != v {
			t.Errorf("%s came back as %s: %v", v, back, err)
		}
	}
	for _, bad := range []string{"", "verified", "PASSED"} {
		v := Refuted
		if err := v.UnmarshalText([]byte(bad)); err == nil || v != Refuted {
			t.Errorf("%q was read as %s", bad, v)
		}
	}
	if s := Verdict(9).String(); s != "Verdict(9)" {
		t.Errorf("Verdict(9) reads %q", s)
	}
}

func TestReportJSON(t *testing.T) {
	r := &Report{Verdict: Refuted, Obligations: []Obligation{{ID: "a/b", Words: "it holds", Outcome: Fails}, {ID: "x/memory m", Words: "x: it forgets", Outcome: Fails}},
		Counterexample: &Counterexample{Obligation: "a/b", Words: "it holds", Expected: "1", Got: "2", Line: &Line{"x/p.c", 3, "a = b;"},
			Scenario: []Step{{Place: "xdp", Inputs: []Named{{"port", "443"}, {"zero", "0"}}}}}}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"verdict":"REFUTED"`) || !strings.Contains(string(text), `"outcome":"fails"`) {
		t.Errorf("the JSON form is %s", text)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil || back.Verdict != Refuted {
		t.Errorf("it came back as %s: %v", back.Verdict, err)
	}
	f := r.Feedback()
	for _, want := range []string{"a/b (REFUTED)", "port = 443", "Expected 1, got 2.", "p.c:3 `a = b;`", "It may begin here: it does not hold either that, at x: it forgets."} {
		if !strings.Contains(f, want) {
			t.Errorf("the feedback lacks %q:\n%s", want, f)
		}
	}
	if strings.Contains(f, "zero") {
		t.Errorf("the feedback has an input that is 0:\n%s", f)
	}
	r.Verdict = Verified
	if f := r.Feedback(); f != "" {
		t.Errorf("a verified program has feedback: %s", f)
	}
}

// solverFunc is a solver that is one function.
type solverFunc func(context.Context, ...smt.Term) (smt.Answer, error)

func (f solverFunc) Check(ctx context.Context, terms ...smt.Term) (smt.Answer, error) {
	return f(ctx, terms...)
}

// Whatever goes wrong, nothing comes out as proved.
func TestNeverVerified(t *testing.T) {
	p := pairs[0]
	o := programtest.Object(t, p.good)
	m, err := program.Build(o, program.Options{Name: "test", Title: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := contract.Parse(p.contract)
	if err != nil {
		t.Fatal(err)
	}
	h := here(t)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	solvers := map[string]solverFunc{
		"knows nothing": func(context.Context, ...smt.Term) (smt.Answer, error) { return smt.Answer{Why: "it is stupid"}, nil },
		"is broken":     func(context.Context, ...smt.Term) (smt.Answer, error) { return smt.Answer{}, errors.New("broken pipe") },
		"lies with an error": func(context.Context, ...smt.Term) (smt.Answer, error) {
			return smt.Answer{Result: smt.Unsat}, errors.New("crashed")
		},
		"panics": func(context.Context, ...smt.Term) (smt.Answer, error) { panic("no") },
	}
	for name, f := range solvers {
		t.Run("the solver "+name, func(t *testing.T) {
			r, err := Verify(context.Background(), Input{Object: o, Manifest: m, Contract: c, Kernel: h.kernel, Types: h.types,
				Solver: func(*smt.Builder) smt.Solver { return f }})
			if err != nil || r.Verdict == Verified || r.Verdict == Refuted {
				t.Errorf("%v, %v", r.Verdict, err)
			}
		})
	}
	r, err := Verify(cancelled, Input{Object: o, Manifest: m, Contract: c, Kernel: h.kernel, Types: h.types})
	if err != nil || r.Verdict != Unknown {
		t.Errorf("without time: %v, %v", r.Verdict, err)
	}
	r, err = Verify(context.Background(), Input{Object: o, Manifest: m, Kernel: h.kernel})
	if err != nil || r.Verdict != Unknown || len(r.Obligations) == 0 {
		t.Errorf("without a contract: %s %v", r.Text(), err)
	}
}

// Mutants that do what the program does say nothing about the contract; the others break it.
func TestMutants(t *testing.T) {
	p := pairs[1]
	h := here(t)
	o := programtest.Object(t, p.good)
	m, err := program.Build(o, program.Options{Name: "test", Title: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := contract.Parse(p.contract)
	if err != nil {
		t.Fatal(err)
	}
	bad := programtest.Object(t, strings.Replace(p.good, "bpf_ktime_get_ns()", "bpf_ktime_get_boot_ns()", 1))
	in := Input{Object: o, Manifest: m, Contract: c, Kernel: h.kernel, Types: h.types, Limits: patient}
	in.Mutants = func(yield func(Mutant) bool) {
		for range 3 {
			if !yield(Mutant{Name: "wrong clock", Program: m.Programs[0].Name, Object: bad}) || !yield(Mutant{Name: "nothing", Program: m.Programs[0].Name, Object: o}) {
				return
			}
		}
	}
	r, err := Verify(context.Background(), in)
	if err != nil || r.Verdict != Verified || r.Stats.Mutants != 3 || r.Stats.Survivors != 0 {
		t.Errorf("%s, %d of %d survive: %v %v", r.Verdict, r.Stats.Survivors, r.Stats.Mutants, r.Reasons, err)
	}
}

func TestNamed(t *testing.T) {
	r := &Report{Counterexample: &Counterexample{Line: &Line{File: "program.bpf.c", Number: 3, Text: "x"}, Path: []Line{{File: "program.bpf.c"}, {File: "/kgent.bpf.h"}}}}
	n := r.Named("mine.bpf.c")
	if got := n.Counterexample.Line.String(); got != "mine.bpf.c:3 `x`" {
		t.Error(got)
	}
	if p := n.Counterexample.Path; p[0].File != "mine.bpf.c" || p[1].File != "/kgent.bpf.h" {
		t.Errorf("%v", p)
	}
	if r.Counterexample.Line.File != "program.bpf.c" || r.Counterexample.Path[0].File != "program.bpf.c" {
		t.Error("the report itself was changed")
	}
}

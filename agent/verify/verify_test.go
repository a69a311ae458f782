package verify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kgent/agent/program"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
)

// hooks knows some hooks by kind and target.
type hooks map[string]bool

func (h hooks) CheckHook(kind, target string) error {
	if h[kind+" "+target] {
		return nil
	}
	return fmt.Errorf("no %s %s", kind, target)
}

func TestFacts(t *testing.T) {
	m := &program.Manifest{Programs: []program.Program{
		{Name: "a", Hook: program.Hook{Kind: program.Tracepoint, Target: "sched:sched_switch"}},
		{Name: "b", Hook: program.Hook{Kind: program.Uprobe, Binary: "libc.so.6", Symbol: "getaddrinfo"}},
		{Name: "c", Hook: program.Hook{Kind: program.PerfEvent, Target: "cpu-clock", Hz: 99}},
	}}
	here := hooks{"tracepoint sched:sched_switch": true, "uprobe libc.so.6:getaddrinfo": true, "perf_event cpu-clock": true}
	if err := verify.Facts(m, here); err != nil {
		t.Errorf("all are there: %v", err)
	}
	err := verify.Facts(m, hooks{"perf_event cpu-clock": true})
	var f *verify.Failure
	if !errors.As(err, &f) || f.Gate != verify.GateFacts {
		t.Fatalf("error %v", err)
	}
	// All that are missing, at once.
	for _, want := range []string{"program a: no tracepoint sched:sched_switch", "program b: no uprobe libc.so.6:getaddrinfo"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "program c") {
		t.Errorf("%q names what is there", err)
	}
}

type loading func(context.Context) error

func (l loading) DryLoad(ctx context.Context, _ *program.Object, _ *program.Manifest) ([]program.Verified, error) {
	return []program.Verified{{Program: "p", Processed: 7}}, l(ctx)
}

func TestKernel(t *testing.T) {
	refused := errors.New("R0 invalid mem access")
	no := loading(func(context.Context) error { return refused })
	if v, err := verify.Kernel(t.Context(), loading(func(context.Context) error { return nil }), nil, nil); err != nil || len(v) != 1 || v[0].Processed != 7 {
		t.Error(v, err)
	}
	_, err := verify.Kernel(t.Context(), no, nil, nil)
	var f *verify.Failure
	if !errors.As(err, &f) || f.Gate != verify.GateKernel || !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
	// A node that could not be asked has not said anything about the program.
	silent := loading(func(context.Context) error { return fmt.Errorf("%w: db-3 did not answer", program.ErrUntried) })
	f = nil
	if _, err := verify.Kernel(t.Context(), silent, nil, nil); errors.As(err, &f) || !errors.Is(err, program.ErrUntried) {
		t.Errorf("error %v", err)
	}
	// Whoever gives up has not shown anything about the program.
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if _, err := verify.Kernel(ctx, no, nil, nil); errors.As(err, &f) && errors.Is(err, refused) || !errors.Is(err, gone) {
		t.Errorf("error %v, want the cause", err)
	}
}

// The least of several kernels' verdicts counts, and only a proof on all of
// them is one.
func TestJudged(t *testing.T) {
	cases := []proof.Case{{ID: "tp_btf/sched_switch/v4"}, {ID: "tp_btf/sched_switch/v6"}, {ID: "fentry/f/v4"}}
	verified := &proof.Report{Verdict: proof.Verified, Cases: cases, Stats: proof.Stats{Paths: 14}}
	unknown := &proof.Report{Reasons: []string{"the helper bpf_x is not modelled"}}
	refuted := &proof.Report{Verdict: proof.Refuted, Reasons: []string{"the port is swapped"}}
	vacuous := &proof.Report{Verdict: proof.Vacuous, Reasons: []string{"nothing can break it"}}
	two := []string{"6.1", "6.18"}
	for name, tc := range map[string]struct {
		kernels []string
		reports []*proof.Report
		want    verify.Finding
		failure string
	}{
		"one":           {two[1:], []*proof.Report{verified}, verify.Finding{Verdict: proof.Verified, Reason: "proved for all inputs on 14 paths; cases v4, v6"}, ""},
		"both":          {two, []*proof.Report{verified, verified}, verify.Finding{Verdict: proof.Verified, Reason: "proved for all inputs on 14 paths; cases v4, v6; on all 2 kernels"}, ""},
		"one unknown":   {two, []*proof.Report{verified, unknown}, verify.Finding{Reason: "unproved: the helper bpf_x is not modelled on 6.18"}, ""},
		"unknown":       {two[1:], []*proof.Report{unknown}, verify.Finding{Reason: "unproved: the helper bpf_x is not modelled"}, ""},
		"silent":        {two[1:], []*proof.Report{{}}, verify.Finding{Reason: "unproved: no reason was given"}, ""},
		"refuted":       {two, []*proof.Report{unknown, refuted}, verify.Finding{}, "the port is swapped"},
		"vacuous":       {two, []*proof.Report{vacuous, verified}, verify.Finding{}, "nothing can break it"},
		"none":          {nil, nil, verify.Finding{Reason: "unproved: no proof was made"}, ""},
		"one too few":   {two, []*proof.Report{verified}, verify.Finding{Reason: "unproved: no proof was made"}, ""},
		"not a verdict": {two[1:], []*proof.Report{{Verdict: 17, Reasons: []string{"x"}}}, verify.Finding{Reason: "unproved: x"}, ""},
	} {
		got, err := verify.Judged(tc.kernels, tc.reports)
		var f *verify.Failure
		switch {
		case tc.failure == "" && (err != nil || got != tc.want):
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tc.want)
		case tc.failure != "" && (!errors.As(err, &f) || f.Gate != verify.GateSymbolic || err.Error() != tc.failure || got.Verdict == proof.Verified):
			t.Errorf("%s: %+v, %v, want the failure %q", name, got, err, tc.failure)
		}
	}
}

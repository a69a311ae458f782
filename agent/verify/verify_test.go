package verify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kgent/agent/program"
	"kgent/agent/verify"
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

func TestUnproved(t *testing.T) {
	if u := verify.Unproved(); u.Verdict != verify.Unknown || !strings.HasPrefix(u.Reason, "unproved: ") {
		t.Errorf("%+v", u)
	}
}

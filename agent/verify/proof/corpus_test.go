package proof

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/verify/corpus"
)

// soak runs what takes minutes only where there is time for it.
func soak(t *testing.T) {
	t.Helper()
	if os.Getenv("KGENT_SOAK") == "" {
		t.Skip("set KGENT_SOAK to run it; it takes minutes")
	}
}

// try judges a source; an error is one of compiling, binding or checking.
func try(t *testing.T, source, text string, limit time.Duration) (*Report, error) {
	t.Helper()
	o, err := programtest.Compile(source)
	if err != nil {
		return nil, err
	}
	m, err := program.Build(o, program.Options{Name: "test", Title: "test", Interface: "eth0"})
	if err != nil {
		return nil, err
	}
	h := here(t)
	in := Input{Object: o, Manifest: m, Kernel: h.kernel, Types: h.types, Limits: Limits{Time: limit, Query: 2 * time.Second}}
	if text != "" {
		if in.Contract, err = contract.Parse(text); err != nil {
			return nil, err
		}
	}
	return Verify(context.Background(), in)
}

// Every right program is VERIFIED, every wrong one REFUTED with an input that
// shows it. All of them with KGENT_SOAK, else a third.
func TestCorpus(t *testing.T) {
	cases, err := corpus.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		if os.Getenv("KGENT_SOAK") == "" && i%3 != 0 {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			good, err := try(t, c.Good, c.Contract, patient.Time)
			if err != nil {
				t.Fatalf("the right program: %v", err)
			}
			if good.Verdict != Verified {
				t.Errorf("the right program is %s: %s", good.Verdict, strings.Join(good.Reasons, "\n"))
			}
			bad, err := try(t, c.Bad, c.Contract, patient.Time)
			if err != nil {
				t.Fatalf("the wrong program: %v", err)
			}
			if bad.Verdict != Refuted || bad.Counterexample == nil {
				t.Fatalf("the wrong program is %s: %s; %s", bad.Verdict, strings.Join(bad.Reasons, "\n"), c.Wrong)
			}
			t.Logf("%v: %s", c.Caught, strings.Join(bad.Reasons, "\n"))
		})
	}
}

func TestCorpusVacuous(t *testing.T) {
	soak(t)
	hollow, err := corpus.Vacuous()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hollow {
		t.Run(h.Name, func(t *testing.T) {
			r, err := try(t, h.Program, h.Contract, 20*time.Second)
			switch {
			case err != nil:
				t.Logf("refused: %v", err)
			case r.Verdict == Verified:
				t.Errorf("%s, but it is VERIFIED", h.Why)
			default:
				t.Logf("%s: %s", r.Verdict, strings.Join(r.Reasons, "\n"))
			}
		})
	}
}

// Programs as people write them keep their contracts.
func TestOrdinary(t *testing.T) {
	pairs, err := corpus.Ordinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		t.Run(p.Name, func(t *testing.T) {
			if p.Name == "open-latency-pid-tgid" { // ten seconds, for its histogram is a loop
				soak(t)
			}
			r := verify(t, p.Program, p.Contract, patient)
			t.Logf("%s in %v", r.Verdict, r.Stats.Time)
			if r.Verdict != Verified {
				t.Errorf("%s: %s", r.Verdict, strings.Join(r.Reasons, "\n"))
			}
		})
	}
}

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

// What is right must never be refuted, what is wrong never verified. How much is settled at
// all is counted.
func TestCorpus(t *testing.T) {
	soak(t)
	cases, err := corpus.Cases()
	if err != nil {
		t.Fatal(err)
	}
	verified, refuted, of := 0, 0, 0
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			of++
			good, err := try(t, c.Good, c.Contract, 20*time.Second)
			switch {
			case err != nil:
				t.Logf("good: %v", err)
			case good.Verdict == Refuted || good.Verdict == Vacuous:
				t.Errorf("the right program is %s: %s", good.Verdict, strings.Join(good.Reasons, "\n"))
			case good.Verdict == Verified:
				verified++
			default:
				t.Logf("good: UNKNOWN: %s", strings.Join(good.Reasons, "\n"))
			}
			bad, err := try(t, c.Bad, c.Contract, 20*time.Second)
			switch {
			case err != nil:
				t.Logf("bad: %v", err)
			case bad.Verdict == Verified:
				t.Errorf("the wrong program is VERIFIED; %s", c.Wrong)
			case bad.Verdict == Refuted:
				refuted++
				t.Logf("bad: %s (%v)", bad.Counterexample.Obligation, c.Caught)
			default:
				t.Logf("bad: %s: %s", bad.Verdict, strings.Join(bad.Reasons, "\n"))
			}
		})
	}
	t.Logf("%d cases: %d right programs verified, %d wrong ones refuted", of, verified, refuted)
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

package agent_test

import (
	"context"
	"strings"
	"testing"

	"kgent/agent"
	"kgent/agent/verify/compare"
	"kgent/retrieval/kernel"
)

// bySource compares by what the sources are: for tests that are not about comparing.
type bySource struct{}

func (bySource) Compare(_ context.Context, _ *kernel.Facts, a, b compare.Program, _ []string) (*compare.Result, error) {
	if string(a.Object.ELF()) == string(b.Object.ELF()) {
		return &compare.Result{Verdict: compare.Same}, nil
	}
	return &compare.Result{Verdict: compare.Different, Difference: &compare.Difference{Kind: compare.Table, Subject: "calls", ADoes: "adds 1", BDoes: "nothing",
		Scenario: []compare.Step{{Place: "tp/syscalls/sys_enter_getppid", Inputs: []compare.Value{{Name: "current.tgid", Value: "1"}}}}}}, nil
}

// Without a contract several programs are written, and the largest class of those that do the same is taken.
func TestSamples(t *testing.T) {
	minority := otherwise(t)
	for name, tc := range map[string]struct {
		programs []any
		want     string // in the source; with "not " before it: not in it
		said     string
	}{
		"most":   {[]any{minority, answer(counting), answer(counting)}, "not key.pid == 1", "of 3 programs written independently, 2 do the same"},
		"tie":    {[]any{answer(counting), minority, "no", "no", "no", "no", which("two")}, "key.pid == 1", "of 2 programs written independently, 1 do"},
		"repair": {[]any{answer("int x"), answer(counting), answer(counting), answer(counting)}, "not key.pid == 1", "of 3 programs written independently, 3 do"},
		"one":    {[]any{answer(counting), "no", "no", "no", "no", "no"}, "k_current_pid", "only one program"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, host(t), yes{}, tc.programs...)
			b.Prover, b.Comparer = believes{}, bySource{}
			b.Effort.Samples = 3
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatal(err)
			}
			part, not := strings.CutPrefix(tc.want, "not ")
			if strings.Contains(c.Source, part) == not {
				t.Errorf("the source is\n%s", c.Source)
			}
			wants(t, "what was understood", strings.Join(c.Understood, "\n"), tc.said)
			// Each sample is drawn in another way, and the record says how.
			seeds := map[int]bool{}
			for _, x := range c.Record.Exchanges {
				if x.Seed != nil && x.Temperature != nil {
					seeds[*x.Seed] = true
				}
			}
			if name == "most" && len(seeds) != 2 {
				t.Errorf("seeds %v", seeds)
			}
		})
	}
}

var _ agent.Comparer = bySource{}

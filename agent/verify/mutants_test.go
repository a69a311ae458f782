package verify

import (
	"os"
	"slices"
	"testing"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify/proof"
)

// Mutants judge the contracts of recipes as they would a stranger's: none is found to say too
// little, and it costs about as much as the proof. All of them with KGENT_SOAK.
func TestContractsJudged(t *testing.T) {
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	k, err := KernelOf(programtest.Here(t).Facts)
	if err != nil {
		t.Fatal(err)
	}
	some := []string{"oom-kills", "tcp-states", "fsync-latency", "cgroup-bytes"}
	for _, r := range library.Recipes() {
		if os.Getenv("KGENT_SOAK") == "" && !slices.Contains(some, r.Name) {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			o := programtest.Object(t, string(r.Source))
			m, err := program.Build(o, scoredOptions)
			if err != nil {
				t.Fatal(err)
			}
			p := &Prover{Limits: proof.Limits{Time: 2 * time.Minute}, Trusted: TrustedAre([]*contract.Contract{r.Contract})}
			plain, err := p.ProveOn(t.Context(), k, o, m, r.Contract)
			if err != nil {
				t.Fatal(err)
			}
			if plain.Stats.Mutants != 0 {
				t.Errorf("a contract that is trusted was judged by %d mutants", plain.Stats.Mutants)
			}
			p = &Prover{Limits: proof.Limits{Time: 2 * time.Minute}}
			judged, err := p.ProveOn(t.Context(), k, o, m, r.Contract)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %d of %d mutants survive; %v instead of %v", judged.Verdict, judged.Stats.Survivors, judged.Stats.Mutants, judged.Stats.Time, plain.Stats.Time)
			if judged.Verdict != proof.Verified || judged.Stats.Mutants == 0 {
				t.Errorf("%s: %v", judged.Verdict, judged.Reasons)
			}
		})
	}
}

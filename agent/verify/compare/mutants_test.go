package compare

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify/mutate"
	"kgent/agent/verify/proof"
)

// A mutant of a recipe is said to be the same only if it keeps the recipe's contract, for what a proof knows
// in an independent way.
func TestMutants(t *testing.T) {
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	types, err := contract.NewTypes(programtest.Here(t).Facts)
	if err != nil {
		t.Fatal(err)
	}
	most := 12
	if os.Getenv("KGENT_SOAK") != "" {
		most = 1000
	}
	for _, r := range library.Recipes() {
		switch {
		case r.Name == "signals":
		case os.Getenv("KGENT_SOAK") != "" && strings.Contains("tcp-retransmits tcp-connect", r.Name):
		default:
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			right := compiled(t, "the recipe", string(r.Source))
			told, same, all := 0, 0, 0
			for _, m := range mutate.Mutants(string(r.Source)) {
				o, err := programtest.Compile(m.Source)
				if err != nil {
					continue
				}
				if all++; all > most {
					all--
					break
				}
				opt := here(t)
				opt.Limits.Time, opt.Limits.Query = 40*time.Second, 5*time.Second // not every pair is to be settled
				res, err := Compare(context.Background(), right, built(t, "the mutant", o), opt)
				if err != nil {
					continue // what is not linked is no program
				}
				switch res.Verdict {
				case Different:
					told++
					wellSaid(t, res.Difference)
				case Same:
					same++
					p := built(t, "the mutant", o)
					report, err := proof.Verify(context.Background(), proof.Input{Object: p.Object, Manifest: p.Manifest, Contract: r.Contract, Kernel: opt.Kernel, Types: types,
						Limits: proof.Limits{Time: time.Minute}})
					if err != nil {
						t.Fatal(err)
					}
					if c := report.Counterexample; report.Verdict == proof.Refuted && !unseen(c) {
						t.Errorf("%s, line %d: the mutant is the same %s (%s), but %s", m.Operator, m.Line, res.Reach(), res.How, strings.Join(report.Reasons, "\n"))
					}
				}
			}
			t.Logf("of %d mutants %d are told apart, %d are the same", all, told, same)
			if told == 0 {
				t.Error("no mutant was told apart")
			}
		})
	}
}

// unseen tells whether what a program does wrong is not in what it shows: garbage in filling, a race, a
// counter of losses.
func unseen(c *proof.Counterexample) bool {
	return c != nil && len(c.Scenario) > 0 && !strings.Contains(c.Obligation, ".") || strings.HasPrefix(c.Obligation, "form/")
}

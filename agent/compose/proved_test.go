package compose_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"kgent/agent/codegen"
	"kgent/agent/compose"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
)

// What is composed is VERIFIED: everything of the sets for development with KGENT_SOAK.
func TestProved(t *testing.T) {
	if os.Getenv("KGENT_SOAK") == "" {
		t.Skip("proves a hundred programs: set KGENT_SOAK")
	}
	tools := programtest.Here(t)
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	c, err := compose.New(library, tools.Facts, compose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := verify.KernelOf(tools.Facts)
	if err != nil {
		t.Fatal(err)
	}
	p := verify.Prover{Limits: proof.Limits{Time: time.Minute}}
	raw, err := os.ReadFile("testdata/dev.tsv")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for line := range strings.Lines(string(raw)) {
		text, want, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok || want == "no" || strings.HasPrefix(text, "#") {
			continue
		}
		turns := strings.Split(text, " >> ")
		got, err := c.Continue(t.Context(), turns[:len(turns)-1], nil, turns[len(turns)-1])
		if err != nil || got.Match != nil {
			continue
		}
		verdict, why := "NO CODE", ""
		checked, err := k.Check(got.Contract)
		if err != nil {
			t.Fatal(err)
		}
		if source, err := codegen.C(checked); err == nil {
			o, err := programtest.Compile(source)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			opt := got.Options
			if opt.Interface == "" {
				opt.Interface = "lo"
			}
			m, err := program.Build(o, opt)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			r, err := p.ProveOn(t.Context(), k, o, m, got.Contract)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			verdict, why = r.Verdict.String(), strings.Join(r.Reasons, "; ")
		}
		counts[verdict]++
		if verdict != proof.Verified.String() {
			t.Logf("%s: %s: %s\n%s", text, verdict, why, contract.Format(got.Contract))
		}
		if verdict == proof.Refuted.String() {
			t.Errorf("%s: the program that was generated is wrong", text)
		}
	}
	t.Log(counts)
}

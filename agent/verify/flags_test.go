package verify

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify/proof"
	"kgent/agent/verify/symbolic"
)

// translations are the ways in which clang may translate one source. What the
// compiler makes of it differs: registers, branches turned into arithmetic,
// 32-bit and sign-extending instructions, what is inlined.
func translations() []compile.Flags {
	var out []compile.Flags
	for _, optimize := range []string{"1", "2", "s"} {
		for _, cpu := range []string{"v2", "v3", "v4"} {
			out = append(out, compile.Flags{Optimize: optimize, CPU: cpu})
		}
	}
	return out
}

// sampledRecipes is a recipe of each kind that is quick to prove, with the
// translations that differ most from the usual one.
var sampledRecipes = []string{"cgroup-bytes", "oom-kills", "process-exits", "slow-syscalls", "tcp-resets"}

var sampledFlags = []compile.Flags{{Optimize: "1", CPU: "v2"}, {Optimize: "s", CPU: "v4"}}

// A verdict is about what a program does: the same source gets the same one
// however it was translated. All recipes and translations with KGENT_MATRIX.
func TestTranslations(t *testing.T) {
	all := os.Getenv("KGENT_MATRIX") != ""
	tools := programtest.Here(t)
	k, err := KernelOf(tools.Facts)
	if err != nil {
		t.Fatal(err)
	}
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	flags := sampledFlags
	if all {
		flags = translations()
	}
	for _, r := range library.Recipes() {
		if !all && !slices.Contains(sampledRecipes, r.Name) {
			continue
		}
		for _, f := range flags {
			compiler := tools.Compiler.WithFlags(f)
			for form, compiled := range map[string]func(context.Context, string, compile.Types) (*compile.Result, error){"ring buffers": compiler.Compile, "perf buffers": compiler.CompilePerf} {
				t.Run(r.Name+"/"+strings.ReplaceAll(f.String(), " ", "")+"/"+form, func(t *testing.T) {
					res, err := compiled(t.Context(), string(r.Source), tools.Types)
					if err != nil {
						t.Fatal(err)
					}
					o, err := program.Parse(res.ELF)
					if err != nil {
						t.Fatal(err)
					}
					if form == "perf buffers" && !o.PerfBuffers() {
						return // it hands over no events
					}
					report := proved(t, k, o, r)
					t.Logf("%s in %v, %d paths", report.Verdict, report.Stats.Time.Round(time.Millisecond), report.Stats.Paths)
					if report.Verdict != proof.Verified {
						t.Errorf("%s %s: %s", r.Name, f, strings.Join(report.Reasons, "\n"))
					}
				})
			}
		}
	}
}

// patient are limits for a machine that is busy with other tests.
var patient = proof.Limits{Time: 10 * time.Minute, Query: 2 * time.Minute, Machine: symbolic.Limits{Time: 4 * time.Minute, Query: 20 * time.Second}}

// proved is the report on a recipe's program for a kernel.
func proved(t *testing.T, k *ProofKernel, o *program.Object, r *recipes.Recipe) *proof.Report {
	t.Helper()
	m, err := program.Build(o, program.Options{Name: r.Name, Title: r.Title, Interface: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	p := Prover{Limits: patient, Trusted: func(*contract.Contract) bool { return true }}
	report, err := p.ProveOn(t.Context(), k, o, m, r.Contract)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

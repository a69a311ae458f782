package codegen_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes/recipetest"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/agent/verify/symbolic"
	"kgent/agent/verify/worker"
	"kgent/executor/probe"
)

// patient are limits for a machine that is busy with other tests.
var patient = proof.Limits{Time: 10 * time.Minute, Query: 2 * time.Minute, Machine: symbolic.Limits{Time: 4 * time.Minute, Query: 20 * time.Second}}

// brief are limits for what need not be settled.
var brief = proof.Limits{Time: 5 * time.Second}

// thisKernel is read once for all tests.
var thisKernel = sync.OnceValues(func() (*verify.ProofKernel, error) {
	tools, err := programtest.Find()
	if err != nil {
		return nil, err
	}
	return verify.KernelOf(tools.Facts)
})

func here(t testing.TB) *verify.ProofKernel {
	t.Helper()
	k, err := thisKernel()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// checked reads a contract and checks it on this kernel.
func checked(t testing.TB, text string) *contract.Checked {
	t.Helper()
	c, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := here(t).Check(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// built compiles a source and says how it is to be run.
func built(t testing.TB, source string) (*program.Object, *program.Manifest) {
	t.Helper()
	o, err := programtest.Compile(source)
	if err != nil {
		t.Fatalf("%v\n%s", err, numbered(source))
	}
	m, err := program.Build(o, program.Options{Name: "test", Title: "test", Interface: "lo"})
	if err != nil {
		t.Fatalf("%v\n%s", err, numbered(source))
	}
	return o, m
}

// proved holds a program against its contract, in a process as bots do, which the race detector does not slow down.
func proved(t testing.TB, o *program.Object, m *program.Manifest, c *contract.Contract, limits proof.Limits) *proof.Report {
	t.Helper()
	r, err := provers.within(t, limits).Prove(context.Background(), programtest.Here(t).Facts, o, m, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// provers are the processes that prove, by their limits. They end with that of the tests.
var provers processes

type processes struct {
	sync.Mutex
	all map[proof.Limits]*worker.Process
}

func (p *processes) within(t testing.TB, limits proof.Limits) *worker.Process {
	t.Helper()
	p.Lock()
	defer p.Unlock()
	if p.all[limits] == nil {
		w := worker.New(recipetest.Build(t, "prover-test", "./agent/codegen/prover"))
		w.Limits, w.Idle = limits, 10*time.Second
		if p.all == nil {
			p.all = map[proof.Limits]*worker.Process{}
		}
		p.all[limits] = w
	}
	return p.all[limits]
}

// loaded has this kernel's verifier accept a program.
func loaded(t testing.TB, o *program.Object, m *program.Manifest) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	facts := programtest.Here(t).Facts
	l := probe.NewLoader(probe.Options{Resolve: facts.ResolveBinary, Cgroups: facts.CgroupMount})
	s, err := l.Load(ctx, o, m)
	if err != nil {
		return err
	}
	return s.Close()
}

func numbered(source string) string {
	var b strings.Builder
	for i, l := range strings.Split(source, "\n") {
		fmt.Fprintf(&b, "%4d  %s\n", i+1, l)
	}
	return b.String()
}

// contracts are the texts of contracts in files, by a name.
func contracts(t testing.TB, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no contracts found at %s: %v", pattern, err)
	}
	out := map[string]string{}
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(filepath.Dir(p))] = string(text)
	}
	return out
}

// verdictOf is what becomes of a contract: its program's verdict, or why there is none.
func verdictOf(t testing.TB, text string, limits proof.Limits) (verdict, why, source string) {
	t.Helper()
	return verdictIn(t, programtest.Compile, text, limits)
}

// verdictIn is verdictOf in the form that compile makes.
func verdictIn(t testing.TB, compile func(string) (*program.Object, error), text string, limits proof.Limits) (verdict, why, source string) {
	t.Helper()
	c := checked(t, text)
	source, err := codegen.C(c)
	if err != nil {
		return "UNSUPPORTED", err.Error(), ""
	}
	o, err := compile(source)
	if err != nil {
		return "NOT COMPILED", err.Error(), source
	}
	m, err := program.Build(o, program.Options{Name: "test", Title: "test", Interface: "lo"})
	if err != nil {
		return "NOT BUILT", err.Error(), source
	}
	r := proved(t, o, m, c.Contract, limits)
	verdict, why = r.Verdict.String(), strings.Join(r.Reasons, "; ")
	if f := r.Feedback(); f != "" {
		why += "\n" + f
	}
	if os.Geteuid() == 0 {
		// A host may forbid a kind of program whatever it does, as lockdown forbids fentry.
		if err := loaded(t, o, m); err != nil && !strings.Contains(err.Error(), "this host forbids") {
			return "NOT LOADED (" + verdict + ")", err.Error(), source
		}
	}
	return verdict, why, source
}

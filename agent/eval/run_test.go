package eval_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/agent"
	"kgent/agent/contract"
	"kgent/agent/eval"
	"kgent/agent/eval/workload"
	"kgent/agent/llm"
	"kgent/agent/llm/llmd"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/agent/verify/symbolic"
	"kgent/executor"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
)

func TestMain(m *testing.M) {
	workload.Main()
	os.Exit(m.Run())
}

// patient are limits for a machine that is busy with other tests.
var patient = proof.Limits{Time: 3 * time.Minute, Query: 30 * time.Second, Machine: symbolic.Limits{Time: time.Minute, Query: 5 * time.Second}}

var thisMachine = sync.OnceValues(func() (*eval.Bench, error) {
	tools, err := programtest.Find()
	if err != nil {
		return nil, err
	}
	library, err := recipes.Default()
	if err != nil {
		return nil, err
	}
	loader := probe.NewLoader(probe.Options{Resolve: tools.Facts.ResolveBinary, Cgroups: tools.Facts.CgroupMount})
	return &eval.Bench{Facts: tools.Facts, Types: tools.Types, Compiler: tools.Compiler, Recipes: library, Kernel: executor.NewKernel("eval", loader, render.NewEnv())}, nil
})

func bench(t *testing.T) *eval.Bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	b, err := thisMachine()
	if err != nil {
		t.Fatal(err)
	}
	residue.Check(t)
	return b
}

func named(t *testing.T, name string) *eval.Case {
	t.Helper()
	cases, err := eval.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no case %s", name)
	return nil
}

// The light cases' oracles tell right from wrong.
func TestLight(t *testing.T) {
	b := bench(t)
	cases, err := eval.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if !c.Light {
			continue
		}
		proofs, err := b.Check(t.Context(), c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(proofs) != len(c.Wrong)+1 {
			t.Errorf("%s: %d proofs for %d programs", c.Name, len(proofs), len(c.Wrong)+1)
		}
		for _, p := range proofs {
			if !p.OK {
				t.Errorf("%s, %s: found %q, %s; seen:\n%s", c.Name, p.Program, p.Wrong, p.Fault, strings.Join(p.Seen, "\n"))
			}
		}
	}
}

type loader struct{ kernel executor.Kernel }

func (l loader) DryLoad(ctx context.Context, o *program.Object, m *program.Manifest) ([]program.Verified, error) {
	return executor.DryLoad(ctx, l.kernel, o, m)
}

// model is a client of an endpoint at a URL.
func model(t *testing.T, url string) llm.Model {
	t.Helper()
	c, err := llm.New(llm.Config{BaseURL: url, Key: llm.NewSecret("sk-test-0123456789abcdef"), Model: "scripted", Timeout: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func scripted(t *testing.T, rules ...llmd.Rule) llm.Model {
	t.Helper()
	s, err := llmd.Start("127.0.0.1:0", llmd.Script{Models: []string{"scripted"}, Key: "sk-test-0123456789abcdef", Rules: rules}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return model(t, s.URL())
}

func measure(t *testing.T, b *eval.Bench, mode eval.Mode, a eval.Answerer, c *eval.Case) *eval.Result {
	t.Helper()
	one := *c
	one.Requests = c.Requests[:1]
	run := &eval.Run{Bench: b, Mode: mode, Answer: a, Cases: []*eval.Case{&one}, Repeats: 1}
	res, err := run.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return res[0]
}

// alone is what a model says in the modes direct and paper.
func alone(source, cannot string) map[string]any {
	return map[string]any{"cannot": cannot, "source": source, "interface": "", "top": 0}
}

// The model alone: right, wrong and none.
func TestDirectAndPaper(t *testing.T) {
	b, c := bench(t), named(t, "parents-counted")
	right, err := b.Right(c)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := b.Wrong(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(right.Text, "k_current_pid()", "bpf_current_pid_please()", 1)
	answerer := func(tries int, rules ...llmd.Rule) eval.Answerer {
		for i := range rules {
			rules[i].Times = 1
		}
		return &eval.Alone{Bench: b, Model: scripted(t, rules...), Loader: loader{b.Kernel}, Tries: tries, Examples: tries - 1, Tokens: 200_000, Time: 10 * time.Minute, Now: time.Now}
	}
	says := func(source string) llmd.Rule { return llmd.Rule{JSON: alone(source, "")} }
	for _, x := range []struct {
		name    string
		a       eval.Answerer
		outcome eval.Outcome
		pass    bool
		tries   int
		of      func(*eval.Result) bool
	}{
		{"right", answerer(1, says(right.Text)), eval.Answered, true, 1, func(r *eval.Result) bool { return r.First && !r.FalseAccept && r.Tokens > 0 }},
		{"wrong", answerer(1, says(wrong.Text)), eval.Answered, false, 1, func(r *eval.Result) bool { return r.FalseAccept && len(r.Found) > 0 && len(r.Seen) > 0 }},
		{"does not compile", answerer(1, says(broken)), eval.Rejected, false, 1, func(r *eval.Result) bool { return r.FalseRefusal }},
		{"will not", answerer(1, llmd.Rule{JSON: alone("", "I would rather not")}), eval.Refused, false, 1, func(r *eval.Result) bool { return r.FalseRefusal && strings.Contains(r.Why, "rather not") }},
		{"no object", answerer(1, llmd.Rule{Text: "Sure!"}), eval.Rejected, false, 1, func(r *eval.Result) bool { return r.FalseRefusal }},
		{"endpoint fails", answerer(1, llmd.Rule{Status: 401}), eval.Faulty, false, 1, func(r *eval.Result) bool { return !r.FalseRefusal && !r.FalseAccept }},
		{"mended", answerer(3, says(broken), says(right.Text)), eval.Answered, true, 2, func(r *eval.Result) bool { return !r.First && r.Calls == 2 }},
	} {
		t.Run(x.name, func(t *testing.T) {
			mode := eval.Direct
			if x.tries > 1 {
				mode = eval.Paper
			}
			r := measure(t, b, mode, x.a, c)
			if r.Outcome != x.outcome || r.Pass != x.pass || r.Tries != x.tries || !x.of(r) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A program that would change something is never run.
func TestActs(t *testing.T) {
	b, c := bench(t), named(t, "parents-counted")
	right, err := b.Right(c)
	if err != nil {
		t.Fatal(err)
	}
	a := &eval.Alone{Bench: b, Model: scripted(t, llmd.Rule{JSON: alone(right.Text, "")}), Loader: loader{b.Kernel}, Tries: 1, Tokens: 200_000, Time: 10 * time.Minute, Now: time.Now}
	one := *c
	one.Requests = c.Requests[:1]
	run := &eval.Run{Bench: b, Mode: eval.Direct, Answer: a, Cases: []*eval.Case{&one}, Repeats: 1, Acts: func([]program.Facts) string { return "it would" }}
	res, err := run.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := res[0]; r.Outcome != eval.NotOffered || r.Pass || !r.FalseRefusal || len(r.Seen) > 0 {
		t.Errorf("%+v", r)
	}
}

// A measurement that is interrupted goes on where it was, and measures again
// what it could not.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	refusal := &eval.Case{Name: "no", Category: eval.Refusal, Requests: []string{"a", "b", "c"}, Accept: []eval.Outcome{eval.Refused}}
	asked := 0
	outcomes := []eval.Outcome{eval.Refused, eval.Faulty, eval.Refused, eval.Refused}
	a := answers(func(context.Context, string) eval.Answer { asked++; return eval.Answer{Outcome: outcomes[asked-1]} })
	all := func(ctx context.Context, resume bool, stopAt int) ([]*eval.Result, error) {
		j, err := eval.OpenJournal(dir, resume)
		if err != nil {
			return nil, err
		}
		defer j.Close()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		run := &eval.Run{Mode: eval.Full, Answer: a, Cases: []*eval.Case{refusal}, Repeats: 1, Journal: j, Progress: func(done, _ int, _ *eval.Result, _ bool) {
			if done == stopAt {
				cancel()
			}
		}}
		return run.All(ctx)
	}
	if _, err := all(t.Context(), false, 2); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	path := filepath.Join(dir, "journal.jsonl")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"mode":"full","case":"no","requ`); err != nil { // killed while writing
		t.Fatal(err)
	}
	f.Close()
	if _, err := all(t.Context(), false, 0); !errors.Is(err, eval.ErrJournal) {
		t.Errorf("without resume: %v", err)
	}
	asked = 2 // what was asked third was not written down
	res, err := all(t.Context(), true, 0)
	if err != nil || len(res) != 3 || asked != 4 {
		t.Fatalf("%d results, %d asked, %v", len(res), asked, err)
	}
	for _, r := range res {
		if !r.Pass {
			t.Errorf("%+v", r)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || bytes.Count(text, []byte("\n")) != 4 { // the fault, too
		t.Errorf("%v:\n%s", err, text)
	}
}

type answers func(context.Context, string) eval.Answer

func (f answers) Answer(ctx context.Context, _ *eval.Case, request string) eval.Answer {
	return f(ctx, request)
}

// noisy is kgent's loop before a source of mistakes.
func noisy(t *testing.T, b *eval.Bench, rate float64) (eval.NoisyAgent, *eval.Noise) {
	t.Helper()
	n := &eval.Noise{Rate: rate, Seed: 7}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	a := &agent.Agent{Recipes: b.Recipes.None(), Model: model(t, n.URL()), Compiler: b.Compiler, Budget: agent.Budget{Tries: 3, Tokens: 1_000_000, Time: 10 * time.Minute}, Now: time.Now,
		Prover: &verify.Prover{Limits: patient, Trusted: func(*contract.Contract) bool { return true }},
		Target: agent.Target{Facts: b.Facts, Types: b.Types, Loader: loader{b.Kernel}}}
	return eval.NoisyAgent{Agent: eval.Agent{Agent: a, Now: time.Now}, Bench: b, Noise: n}, n
}

// The whole of kgent before a source without mistakes is right; before one that
// makes nothing but mistakes it accepts none as VERIFIED that is wrong.
func TestNoise(t *testing.T) {
	b, c := bench(t), named(t, "parents-counted")
	a, n := noisy(t, b, 0)
	if r := measure(t, b, eval.Noisy, a, c); !r.Pass || r.Verdict != "VERIFIED" || len(n.Made()) != 0 {
		t.Errorf("without mistakes: %+v", r)
	}
	a, n = noisy(t, b, 1)
	if r := measure(t, b, eval.Noisy, a, c); r.FalseAccept && r.Verdict == "VERIFIED" || r.Outcome == eval.Faulty || len(n.Made()) == 0 {
		t.Errorf("nothing but mistakes: %+v", r)
	}
}

// Without a model a request gets a recipe or an honest no.
func TestRecipesMode(t *testing.T) {
	b := bench(t)
	a := eval.Agent{Agent: &agent.Agent{Recipes: b.Recipes, Compiler: b.Compiler, Now: time.Now, Budget: agent.DefaultBudget, Target: agent.Target{Facts: b.Facts, Types: b.Types, Loader: loader{b.Kernel}}}, Now: time.Now}
	c := *named(t, "refused-connections")
	c.Requests = []string{"TCP connects of ev-shop that end with ECONNREFUSED"}
	if r := measure(t, b, eval.ByRecipes, a, &c); !r.Pass || !r.First || r.Origin != "recipe tcp-connect" {
		t.Errorf("%+v", r)
	}
	c.Requests = []string{"please paint the bike shed"}
	if r := measure(t, b, eval.ByRecipes, a, &c); r.Outcome != eval.Refused || !r.FalseRefusal {
		t.Errorf("%+v", r)
	}
}

// The gate tells programs apart as the oracle does.
func TestGate(t *testing.T) {
	b, c := bench(t), named(t, "parents-counted")
	g := &eval.Gate{Bench: b, Loader: loader{b.Kernel}, Now: time.Now, Mutants: 3, Prover: &verify.Prover{Limits: patient, Trusted: func(*contract.Contract) bool { return true }}}
	var all []*eval.Judgement
	if err := g.Case(t.Context(), c, func(string) bool { return false }, func(j eval.Judgement) { all = append(all, &j) }); err != nil {
		t.Fatal(err)
	}
	r := eval.SumUp("test", 1, all)
	if len(all) != 1+len(c.Wrong)+3 || r.FalseReject.N > 0 || r.FalseAccept.N > 0 || r.Faults > 0 || r.Verdicts[eval.KindRight]["VERIFIED"] != 1 || r.Verdicts[eval.KindWrong]["REFUTED"]+r.Verdicts[eval.KindWrong]["UNKNOWN"] != len(c.Wrong) {
		t.Errorf("%s", r.Text())
	}
}

// A report can be read by people, programs and browsers.
func TestReport(t *testing.T) {
	results := []*eval.Result{
		{Case: "a", Category: eval.Tracing, Text: "<a> & b", Outcome: eval.Answered, Verdict: "VERIFIED", Pass: true, First: true, Tries: 1, Tokens: 10, Seconds: 1},
		{Case: "b", Category: eval.Network, Hard: true, Outcome: eval.Answered, Verdict: "VERIFIED", FalseAccept: true, Found: []string{"a decoy shows"}, Tries: 3, Tokens: 30, Seconds: 5},
		{Case: "c", Category: eval.Security, Outcome: eval.Rejected, FalseRefusal: true, Why: "none passed", Tries: 2, Seconds: 2},
		{Case: "d", Category: eval.Refusal, Outcome: eval.Refused, Pass: true, First: true, Seconds: 0.1},
		{Case: "e", Category: eval.Refusal, Outcome: eval.Faulty, Why: "endpoint down"},
	}
	r := &eval.Report{Mode: eval.Full, Model: "m<x>", Cases: 5, Repeats: 1, Groups: eval.Summarize(results), Results: results}
	g := r.Groups[0]
	if g.Requests != 4 || g.Faults != 1 || g.Pass.N != 2 || g.FalseAccept.N != 1 || g.FalseAccept.Of != 2 || g.VerifiedWrong.N != 1 || g.FalseRefusal.Of != 3 || g.FalseRefusal.N != 1 || g.Seconds != 2 {
		t.Errorf("%+v", g)
	}
	for _, want := range []string{"2 of 4 (50 %, 15–85)", "a decoy shows", "none passed", "endpoint down", "(1 not measured)"} {
		if !strings.Contains(r.Text(), want) {
			t.Errorf("the table lacks %q:\n%s", want, r.Text())
		}
	}
	dec := xml.NewDecoder(strings.NewReader(r.SVG()))
	for {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the picture: %v", err)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

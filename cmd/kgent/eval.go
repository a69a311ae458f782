package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kgent/agent"
	"kgent/agent/contract"
	"kgent/agent/eval"
	"kgent/agent/eval/workload"
	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/compile"
	"kgent/agent/program/vmlinux"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/approvals"
	"kgent/executor"
	"kgent/executor/probe"
	"kgent/executor/render"
	"kgent/executor/render/text"
	"kgent/retrieval/kernel"
)

// evalOptions are the flags of eval.
type evalOptions struct {
	mode    string
	cases   []string
	n       int
	out     string
	resume  bool
	json    bool
	rate    float64
	seed    uint64
	mutants int
	budget  time.Duration
}

func evalCommand(sys system) *cobra.Command {
	o := evalOptions{}
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "measure how well requests are answered, on real workloads",
		Long: `eval takes every request of its cases through one way of answering, runs the
program that was accepted beside the case's workload, and judges what it shows.

  --mode recipes   kgent without a model
  --mode direct    the model alone, asked once
  --mode paper     the model with examples and three tries, as the original Kgent
  --mode full      kgent with the model
  --mode gate      no requests and no model: right programs, wrong ones and
                   mutants, held against their contracts
  --mode noisy     kgent's loop before a source of typical mistakes (--rate)

Modes with a model use OPENAI_BASE_URL, OPENAI_API_KEY and KGENT_MODEL. Results go
to a journal in --out as they come; --resume goes on with it. It loads and runs
programs as root, those of a model alone included, unless they would change
something: use a machine that may be lost.`,
		Example: `  kgent eval --mode recipes
  kgent eval --mode full --cases 'who-*' --n 3 --out results/full
  kgent eval check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return evaluate(cmd.Context(), sys, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.mode, "mode", "recipes", "recipes, direct, paper, full, gate or noisy")
	f.StringArrayVar(&o.cases, "cases", nil, "only cases of this name or `pattern`, or a folder; may be repeated")
	f.IntVar(&o.n, "n", 1, "how often every request is asked")
	f.StringVar(&o.out, "out", "", "the `directory` for journal, report and picture (default out/eval/MODE)")
	f.BoolVar(&o.resume, "resume", false, "go on with the journal in --out")
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.Float64Var(&o.rate, "rate", 0.3, "of noisy: the share of answers with a mistake")
	f.Uint64Var(&o.seed, "seed", 1, "of noisy: other mistakes with another number")
	f.IntVar(&o.mutants, "mutants", 5, "of gate: how many wrong variants of each right program")
	f.DurationVar(&o.budget, "budget", proof.Defaults.Time, "of gate: how long a proof may take")
	cmd.AddCommand(evalCheckCommand(sys), &cobra.Command{
		Use: "workloads", Short: "list what the workloads of cases can do", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(sys.out, workload.Words())
			return err
		},
	})
	return cmd
}

// evaluate measures.
func evaluate(ctx context.Context, sys system, o evalOptions) error {
	cases, err := selectCases(o.cases)
	if err != nil {
		return usageError{err}
	}
	if o.n < 1 || o.rate < 0 || o.rate > 1 || o.mutants < 0 || o.budget <= 0 {
		return usageError{errors.New("--n is at least 1, --rate from 0 to 1, --mutants not negative, --budget positive")}
	}
	if o.mode != "gate" && !slices.Contains(eval.Modes(), eval.Mode(o.mode)) {
		return usageError{fmt.Errorf("--mode %q: want recipes, direct, paper, full, gate or noisy", o.mode)}
	}
	if o.out == "" {
		o.out = filepath.Join("out", "eval", o.mode)
	}
	bench, err := newEvalBench(ctx, sys)
	if err != nil {
		return err
	}
	if o.mode == "gate" {
		return evalGate(ctx, sys, o, bench, cases)
	}
	answerer, model, done, err := newAnswerer(ctx, sys, o, bench)
	if err != nil {
		return err
	}
	defer done()
	journal, err := eval.OpenJournal(o.out, o.resume)
	if err != nil {
		return err
	}
	defer journal.Close()
	run := &eval.Run{Bench: bench, Mode: eval.Mode(o.mode), Model: model, Answer: answerer, Cases: cases, Repeats: o.n, Journal: journal, Acts: acts,
		Progress: func(done, all int, r *eval.Result, again bool) {
			state := "right"
			switch {
			case r.Outcome == eval.Faulty:
				state = "NOT MEASURED: " + r.Why
			case r.FalseAccept:
				state = "WRONG"
			case !r.Pass:
				state = "not right"
			}
			if again {
				state += " (measured before)"
			}
			line, _, _ := strings.Cut(state, "\n")
			fmt.Fprintf(sys.err, "%d/%d %s #%d: %s %s, %s, %.1f s\n", done, all, r.Case, r.Request+1, r.Outcome, r.Verdict, text.Clean(line), r.Seconds)
		}}
	results, err := run.All(ctx)
	if err != nil {
		return fmt.Errorf("measuring: %w; what was measured is in %s, --resume goes on", err, o.out)
	}
	report := &eval.Report{Mode: run.Mode, Model: model, Kernel: bench.Facts.Release, Cases: len(cases), Repeats: o.n, Groups: eval.Summarize(results), Results: results}
	return writeReport(sys, o, report, report.Text(), report.SVG())
}

// writeReport puts a report into its directory and prints it.
func writeReport(sys system, o evalOptions, report any, words, svg string) error {
	asJSON, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	files := map[string]string{"report.json": string(asJSON) + "\n", "report.txt": words}
	if svg != "" {
		files["report.svg"] = svg
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(o.out, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	if o.json {
		_, err = fmt.Fprintf(sys.out, "%s\n", asJSON)
		return err
	}
	for _, line := range strings.Split(strings.TrimRight(words, "\n"), "\n") {
		fmt.Fprintln(sys.out, text.Clean(line))
	}
	fmt.Fprintf(sys.err, "Journal, report and picture are in %s.\n", o.out)
	return nil
}

// acts says why a program would change something.
func acts(facts []program.Facts) string {
	tier, why := approvals.Risk(facts)
	if tier < approvals.Act {
		return ""
	}
	return strings.Join(why, "; ")
}

// evalLoader has the kernel's verifier look at programs.
type evalLoader struct{ kernel executor.Kernel }

func (l evalLoader) DryLoad(ctx context.Context, o *program.Object, m *program.Manifest) ([]program.Verified, error) {
	return executor.DryLoad(ctx, l.kernel, o, m)
}

// newAnswerer makes what answers in a mode, and the name of its model. kgent's own
// modes use the very agent of kgent ask.
func newAnswerer(ctx context.Context, sys system, o evalOptions, b *eval.Bench) (a eval.Answerer, model string, done func(), err error) {
	done = func() {}
	getenv := sys.getenv
	var noise *eval.Noise
	switch eval.Mode(o.mode) {
	case eval.ByRecipes:
		host, err := newHostWith(ctx, sys, nil)
		if err != nil {
			return nil, "", done, err
		}
		return eval.Agent{Agent: host.agent, Now: time.Now}, "", host.close, nil
	case eval.Noisy:
		noise = &eval.Noise{Rate: o.rate, Seed: o.seed}
		if err := noise.Start(); err != nil {
			return nil, "", done, err
		}
		getenv = func(name string) string {
			return map[string]string{"OPENAI_BASE_URL": noise.URL(), "KGENT_MODEL": fmt.Sprintf("noise-%g-%d", o.rate, o.seed)}[name]
		}
		done = func() {
			made := noise.Made()
			for _, kind := range slices.Sorted(maps.Keys(made)) {
				fmt.Fprintf(sys.err, "handed out: %d× %s\n", made[kind], kind)
			}
			noise.Close()
		}
	}
	client, err := modelFromEnv(getenv)
	if err == nil && client == nil {
		err = fmt.Errorf("--mode %s asks a model, and none is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own, and KGENT_MODEL", o.mode)
	}
	if err != nil {
		done()
		return nil, "", func() {}, err
	}
	model = getenv("KGENT_MODEL")
	alone := &eval.Alone{Bench: b, Model: client, Loader: evalLoader{b.Kernel}, Tries: 1, Tokens: agent.DefaultBudget.Tokens, Time: agent.DefaultBudget.Time, Now: time.Now}
	switch eval.Mode(o.mode) {
	case eval.Direct:
		return alone, model, done, nil
	case eval.Paper:
		alone.Tries, alone.Examples = 3, 2
		return alone, model, done, nil
	}
	host, err := newHostWith(ctx, sys, client)
	if err != nil {
		done()
		return nil, "", func() {}, err
	}
	closing := done
	done = func() { host.close(); closing() }
	whole := eval.Agent{Agent: host.agent, Now: time.Now}
	if noise == nil {
		return whole, model, done, nil
	}
	host.agent.Recipes = host.agent.Recipes.None()
	return eval.NoisyAgent{Agent: whole, Bench: b, Noise: noise}, model, done, nil
}

// evalGate holds programs against their contracts.
func evalGate(ctx context.Context, sys system, o evalOptions, b *eval.Bench, cases []*eval.Case) error {
	journal, err := eval.OpenGateJournal(o.out, o.resume)
	if err != nil {
		return err
	}
	defer journal.Close()
	var known []*contract.Contract
	for _, r := range b.Recipes.Recipes() {
		known = append(known, r.Contract)
	}
	gate := &eval.Gate{Bench: b, Mutants: o.mutants, Loader: evalLoader{b.Kernel}, Now: time.Now,
		Prover: &verify.Prover{Limits: proof.Limits{Time: o.budget}, Trusted: verify.TrustedAre(known)}}
	for i, c := range cases {
		err := gate.Case(ctx, c, func(name string) bool { return journal.Has(c.Name, name) }, func(j eval.Judgement) {
			err = errors.Join(err, journal.Add(&j))
			fmt.Fprintf(sys.err, "%d/%d %s: %s %s: %s, %.1f s\n", i+1, len(cases), j.Case, j.Kind, text.Clean(j.Program), cmp.Or(j.Verdict, "does not load"), j.Seconds)
		})
		if err != nil {
			return fmt.Errorf("measuring: %w; what was measured is in %s, --resume goes on", err, o.out)
		}
	}
	report := eval.SumUp(b.Facts.Release, len(cases), journal.Of(cases))
	return writeReport(sys, o, report, report.Text(), "")
}

func evalCheckCommand(sys system) *cobra.Command {
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "check [CASE|FOLDER|PATTERN…]",
		Short: "prove the oracles: each right program must pass, each wrong one fail",
		Long: `check loads and runs the right and the wrong programs of cases against their
workloads, and prints what was seen. A name with a slash is a folder with a
case.yaml; others are names, or patterns of names, of the cases built in.

Exit codes: 0 every oracle tells right from wrong, 8 one does not, 1 a fault.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cases, err := selectCases(args)
			if err != nil {
				return usageError{err}
			}
			bench, err := newEvalBench(cmd.Context(), sys)
			if err != nil {
				return err
			}
			return checkCases(cmd.Context(), sys, bench, cases, asJSON, verbose)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object for each program")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print what was seen also where all is well")
	return cmd
}

// selectCases reads the cases that are named; without names all.
func selectCases(args []string) ([]*eval.Case, error) {
	var named []*eval.Case
	var patterns []string
	for _, a := range args {
		if !strings.Contains(a, "/") {
			patterns = append(patterns, a)
			continue
		}
		c, err := eval.ReadDir(filepath.Clean(a))
		if err != nil {
			return nil, err
		}
		named = append(named, c)
	}
	if len(patterns) == 0 && len(named) > 0 {
		return named, nil
	}
	all, err := eval.Cases()
	if err != nil {
		return nil, err
	}
	if len(patterns) == 0 {
		return all, nil
	}
	for _, p := range patterns {
		n := 0
		for _, c := range all {
			ok, err := path.Match(p, c.Name)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", p, err)
			}
			if ok {
				named, n = append(named, c), n+1
			}
		}
		if n == 0 {
			return nil, fmt.Errorf("no case is called %q", p)
		}
	}
	return named, nil
}

// newEvalBench is this machine.
func newEvalBench(ctx context.Context, sys system) (*eval.Bench, error) {
	if err := kernel.EnsureMounts(ctx); err != nil {
		return nil, err
	}
	facts, err := kernel.Live(ctx)
	if err != nil {
		return nil, err
	}
	if err := privileged(facts); err != nil {
		return nil, err
	}
	library, err := recipes.Default()
	if err != nil {
		return nil, err
	}
	compiler, err := compile.Find(ctx, sys.getenv)
	if err != nil {
		return nil, err
	}
	loader := probe.NewLoader(probe.Options{Resolve: facts.ResolveBinary, Cgroups: facts.CgroupMount, Types: facts.OwnTypes()})
	env := render.NewEnv()
	kern := executor.NewKernel("eval", loader, env)
	// A model may answer with a script.
	tool, err := findBpftrace(ctx, sys.getenv)
	if err != nil && !errors.Is(err, bpftrace.ErrNone) {
		return nil, err
	}
	if err == nil {
		kern.Scripts = scriptTracer("eval", tool, env.Redact)
	}
	return &eval.Bench{Facts: facts, Types: vmlinux.LazyTypes(facts.BTF), Compiler: compiler, Recipes: library, Kernel: kern}, nil
}

func checkCases(ctx context.Context, sys system, b *eval.Bench, cases []*eval.Case, asJSON, verbose bool) error {
	var bad []error
	var programs int
	for _, c := range cases {
		_, err := b.Check(ctx, c, func(p eval.Proof) {
			programs++
			if !p.OK {
				bad = append(bad, fmt.Errorf("%s: %s", p.Case, p.Program))
			}
			if asJSON {
				line, err := json.Marshal(p)
				if err == nil {
					fmt.Fprintf(sys.out, "%s\n", line)
				}
				return
			}
			printProof(sys, p, verbose)
		})
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(sys.err, "%s, %s, %d not as they should be\n", plural(len(cases), "case"), plural(programs, "program"), len(bad))
	if len(bad) > 0 {
		return exitError(exitUnsound)
	}
	return nil
}

func printProof(sys system, p eval.Proof, verbose bool) {
	state := "ok  "
	if !p.OK {
		state = "BAD "
	}
	fmt.Fprintf(sys.out, "%s %s: %s\n", state, p.Case, text.Clean(p.Program))
	if p.Fault != "" {
		fmt.Fprintf(sys.out, "       fault: %s\n", harmless(errors.New(p.Fault)))
	}
	for _, w := range p.Wrong {
		fmt.Fprintf(sys.out, "       found: %s\n", text.Clean(w))
	}
	if verbose || !p.OK {
		for _, s := range p.Seen {
			fmt.Fprintf(sys.out, "       seen:  %s\n", text.Clean(s))
		}
	}
}

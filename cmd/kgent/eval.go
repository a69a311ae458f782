package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kgent/agent/eval"
	"kgent/agent/eval/workload"
	"kgent/agent/program/compile"
	"kgent/agent/program/vmlinux"
	"kgent/agent/recipes"
	"kgent/executor"
	"kgent/executor/probe"
	"kgent/executor/render"
	"kgent/executor/render/text"
	"kgent/retrieval/kernel"
)

func evalCommand(sys system) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "measure how well requests are answered, on real workloads",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(evalCheckCommand(sys), &cobra.Command{
		Use: "workloads", Short: "list what the workloads of cases can do", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(sys.out, workload.Words())
			return err
		},
	})
	return cmd
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
	loader := probe.NewLoader(probe.Options{Resolve: facts.ResolveBinary, Cgroups: facts.CgroupMount})
	return &eval.Bench{
		Facts: facts, Types: vmlinux.LazyTypes(facts.BTF), Compiler: compiler, Recipes: library,
		Kernel: executor.NewKernel("eval", loader, render.NewEnv()),
	}, nil
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
	fmt.Fprintf(sys.err, "%d cases, %d programs, %d not as they should be\n", len(cases), programs, len(bad))
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

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"kgent/agent"
	"kgent/agent/program/compile"
	"kgent/agent/program/vmlinux"
	"kgent/agent/recipes"
	"kgent/bot/console"
	"kgent/bot/explain"
	"kgent/retrieval/kernel"
)

// explainCommand says what a program does that somebody has.
func explainCommand(sys system) *cobra.Command {
	var contractFile string
	cmd := &cobra.Command{
		Use:   "explain FILE",
		Short: "say what a program does, what it could do, and which mistakes are in it",
		Long: `explain reads a program, C (.bpf.c), an object (.o) or a bpftrace script (.bt),
and says what can be said of it: where it runs and what is known about these
hooks, what it reports and calls, its risk, mistakes that need no contract to be
mistakes (with an input, and the line where there is one), and which contract it
keeps. Nothing is loaded. With a model configured (OPENAI_API_KEY or
OPENAI_BASE_URL), it reads the source of a program in C as well: its summary is
quoted, and what it read is held against the bytecode. KGENT_MODEL_EFFORT=comprehend=no
keeps the source here.

Exit codes:
  0  it was explained
  1  it was explained, and a mistake was found, or kgent cannot run it as it is
  2  it cannot be read`,
		Example: `  kgent explain opens.bpf.c
  kgent explain opens.o --contract opens.kc`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("want one program; got %d arguments", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return explainProgram(cmd.Context(), sys, args[0], contractFile)
		},
	}
	cmd.Flags().StringVar(&contractFile, "contract", "", "a contract that it may keep, a `file`")
	return cmd
}

func explainProgram(ctx context.Context, sys system, path, contractFile string) error {
	brought, err := readBrought(ctx, path, contractFile)
	if err != nil {
		return usageError{err}
	}
	facts, err := kernel.Live(ctx)
	if err != nil {
		return err
	}
	library, err := recipes.Default()
	if err != nil {
		return err
	}
	model, err := modelFromEnv(sys.getenv)
	if err != nil {
		return usageError{err}
	}
	budget, effort, err := budgetFromEnv(sys.getenv)
	if err != nil {
		return usageError{err}
	}
	a := &agent.Agent{
		Recipes: library,
		Model:   model,
		Budget:  budget,
		Effort:  effort,
		Now:     time.Now,
	}
	switch {
	case brought.IsScript():
		a.Bpftrace, err = findBpftrace(ctx, sys.getenv)
	case brought.Source != "":
		a.Compiler, err = compile.Find(ctx, sys.getenv)
	}
	if err != nil {
		return err
	}
	x, err := a.Explain(ctx, agent.Request{Program: brought}, []agent.Target{{Facts: facts, Types: vmlinux.LazyTypes(facts.BTF)}}, nil)
	if err != nil {
		return err
	}
	c, err := explain.Card(x)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(sys.out, console.Card(c, screen(sys))); err != nil {
		return err
	}
	if x.Mistake != nil || x.Unfit != nil {
		return exitError(exitInternal)
	}
	return nil
}

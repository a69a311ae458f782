package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kgent/agent"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/bpftrace/jail"
	"kgent/executor/redact"
	"kgent/executor/tracer"
)

// jailSelf is how this program is started again for bpftrace: this very file,
// whatever has been put in its place since.
func jailSelf() []string { return []string{"/proc/self/exe", jail.Arg} }

func jailCommand(sys system) *cobra.Command {
	return &cobra.Command{
		Use: jail.Arg, Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Become bpftrace, with little power; kgent starts this itself",
		RunE: func(_ *cobra.Command, args []string) error {
			fmt.Fprintln(sys.err, jail.Enter(args[0])) // only what went wrong comes back
			return exitError(bpftrace.ExitJail)
		},
	}
}

func findBpftrace(ctx context.Context, getenv func(string) string) (*bpftrace.Tool, error) {
	return bpftrace.Find(ctx, getenv, jailSelf()...)
}

// scriptTracer runs scripts on a node of that name.
func scriptTracer(node string, tool *bpftrace.Tool, secrets *redact.Redactor) *tracer.Tracer {
	return &tracer.Tracer{Node: node, Tool: tool, Self: jailSelf(), Redact: secrets}
}

// releaseOf is the release of a bpftrace that may not be there.
func releaseOf(ctx context.Context, tool *bpftrace.Tool) (string, error) {
	if tool == nil {
		return "", nil
	}
	v, err := tool.Release(ctx)
	return v.String(), err
}

// bpftraceFinding says whether scripts can be judged and run here.
func bpftraceFinding(ctx context.Context, getenv func(string) string) finding {
	tool, err := findBpftrace(ctx, getenv)
	release := ""
	if err == nil {
		release, err = releaseOf(ctx, tool)
	}
	if err != nil {
		return finding{"tools", "bpftrace", stateOptional, "none; only bpftrace scripts need it", "apt-get install bpftrace"}
	}
	return finding{"tools", "bpftrace", stateOK, release + ", " + tool.Path, ""}
}

// languageFromEnv reads KGENT_LANGUAGE: what a model writes where a request does not say.
func languageFromEnv(getenv func(string) string) (string, error) {
	switch l := getenv("KGENT_LANGUAGE"); l {
	case "", "c":
		return "", nil
	case agent.LanguageBpftrace:
		return l, nil
	default:
		return "", fmt.Errorf("KGENT_LANGUAGE: %.40q: want c or %s", l, agent.LanguageBpftrace)
	}
}

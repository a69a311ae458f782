package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kgent/bot"
	"kgent/executor/bus/rdb"
	"kgent/executor/render/text"
)

// system is what a command has of its surroundings.
type system struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
}

// Exit codes, as documented in `kgent ask --help` and the README.
const (
	exitOK       = 0 // it ran, or showed what was asked for
	exitInternal = 1 // a fault of kgent or of this host
	exitUsage    = 2 // the command line or the request cannot be read
	exitNoAnswer = 3 // neither recipe nor model has a program for it
	exitDenied   = 4 // not approved
	exitPolicy   = 5 // refused by policy
	exitRejected = 6 // no program passed the gates
	exitNode     = 7 // a node is unknown, refused the job or failed
	exitUnsound  = 8 // what was to be checked is wrong: a policy file, an audit log
)

var exitCodes = map[bot.Outcome]int{
	bot.Ran: exitOK, bot.Failed: exitInternal, bot.BadInput: exitUsage, bot.NoAnswer: exitNoAnswer,
	bot.Denied: exitDenied, bot.Refused: exitPolicy, bot.Rejected: exitRejected, bot.NodeFault: exitNode,
}

// exitError ends the process with a code; what there was to say was said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// usageError is a fault of the command line.
type usageError struct{ error }

func run(ctx context.Context, args []string, sys system) int {
	rdb.Quiet()
	root := &cobra.Command{
		Use:   "kgent",
		Short: "from a sentence to an approved kernel trace",
		Long: `kgent answers what only the kernel can tell: alone in a terminal, or for a team in
Slack, Discord and terminals, with approval by others, on any number of nodes.

Alone, on this host:   kgent ask "who is killing my process"
As a team:             kgent bot, kgent executor on every node, kgent keys, kgent policy
What is missing here:  kgent doctor`,
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return cmd.Help()
		},
	}
	root.SetIn(sys.in)
	root.SetOut(sys.out)
	root.SetErr(sys.err)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		askCommand(sys),
		explainCommand(sys),
		demoCommand(sys),
		doctorCommand(sys),
		recipesCommand(sys),
		searchCommand(sys),
		contractCommand(sys),
		verifyCommand(sys),
		evalCommand(sys),
		replayCommand(sys),
		botCommand(sys),
		chatCommand(sys),
		executorCommand(sys),
		keysCommand(sys),
		policyCommand(sys),
		auditCommand(sys),
		workloadCommand(),
		proverCommand(sys),
		jailCommand(sys),
		versionCommand(sys),
	)
	root.SetVersionTemplate("kgent {{.Version}}\n")
	cmd, err := root.ExecuteContextC(ctx)
	var code exitError
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		help := "kgent help"
		if cmd != nil && cmd != root {
			help = cmd.CommandPath() + " --help"
		}
		fmt.Fprintf(sys.err, "kgent: %s\nSee %s.\n", harmless(err), help)
		return exitUsage
	}
	fmt.Fprintf(sys.err, "kgent: %s\n", harmless(err))
	return exitInternal
}

// harmless returns an error's text for a terminal: it may quote arguments,
// paths and answers of other programs.
func harmless(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i, l := range lines {
		lines[i] = text.Clean(l)
	}
	return strings.Join(lines, "\n")
}

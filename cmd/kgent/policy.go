package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kgent/approvals"
	"kgent/approvals/policy"
	"kgent/executor/render/text"
)

func policyCommand(sys system) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "check a policy file, and explain what it says",
		Long: `A policy file says who may ask for what, on which nodes, and whose agreement it
takes. deploy/policy.example.yaml shows all of it.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(policyCheckCommand(sys), policyExplainCommand(sys))
	return cmd
}

// noCommand is for commands that do nothing without a sub-command.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

func oneFile(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("want one policy file; got %d arguments", len(args))}
	}
	return nil
}

func policyCheckCommand(sys system) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "say what is wrong with a policy file",
		Long: `check reads a policy file as kgent bot does, and says what is wrong with it and
what is allowed but hardly meant.

Exit codes:
  0  the file can be used; there may be warnings
  1  it cannot be read
  2  the command line cannot be read
  8  it has errors: kgent would refuse everything`,
		Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			p, problems, err := readPolicy(args[0])
			if err != nil {
				return err
			}
			for _, x := range problems {
				fmt.Fprintln(sys.out, text.Clean(fmt.Sprintf("%s: %s", args[0], x)))
			}
			if p == nil {
				return exitError(exitUnsound)
			}
			_, err = fmt.Fprintln(sys.out, text.Clean(args[0]+": in order, "+p.Version()))
			return err
		},
	}
}

// maxPolicy is more than a policy file may have, in bytes.
const maxPolicy = 1 << 20

func readPolicy(path string) (*policy.Policy, policy.Problems, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading policy: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxPolicy))
	if err != nil {
		return nil, nil, fmt.Errorf("reading policy: %w", err)
	}
	p, problems := policy.Parse(path, content, policy.Options{})
	return p, problems, nil
}

func policyExplainCommand(sys system) *cobra.Command {
	var (
		q            policy.Question
		tier, labels string
	)
	cmd := &cobra.Command{
		Use:   "explain FILE --tier TIER [flags]",
		Short: "say who must agree to a request, and why",
		Long: `explain says which rule of a policy file a request on one node would come under,
and what follows. Groups of Slack and Discord are named and not looked up.

Exit codes:
  0  the request would be put to those named
  1  the file cannot be read
  2  the command line cannot be read
  5  the request would be refused
  8  the file has errors`,
		Example: "  kgent policy explain policy.yaml --tier act --node-labels env=prod --requester slack:T024/U061 --duration 5m",
		Args:    oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			var err error
			if tier == "" {
				return usageError{errors.New("--tier is missing: it is observe, observe-sensitive or act")}
			}
			if q.Tier, err = approvals.ParseTier(tier); err != nil {
				return usageError{fmt.Errorf("--tier: %w", err)}
			}
			if q.Labels, err = parseLabels(labels); err != nil {
				return usageError{fmt.Errorf("--node-labels: %w", err)}
			}
			p, problems, err := readPolicy(args[0])
			if err != nil {
				return err
			}
			if p == nil {
				for _, x := range problems.Errors() {
					fmt.Fprintln(sys.err, text.Clean(fmt.Sprintf("%s: %s", args[0], x)))
				}
				return exitError(exitUnsound)
			}
			a := p.Explain(q)
			for _, line := range a.Lines {
				if _, err := fmt.Fprintln(sys.out, text.Clean(line)); err != nil {
					return err
				}
			}
			if a.Refused {
				return exitError(exitPolicy)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&tier, "tier", "", "the program's `tier`: observe, observe-sensitive or act")
	f.StringVar(&labels, "node-labels", "", "`labels` of the node: k=v,k=v")
	f.StringVar(&q.Requester, "requester", "", "who asks: an `account`, or a person of the file")
	f.StringVar(&q.Place, "place", "", "the `channel` in which they ask")
	f.DurationVar(&q.Duration, "duration", time.Duration(0), "how long they want to trace")
	f.IntVar(&q.Events, "events", 0, "events a second that they want")
	return cmd
}

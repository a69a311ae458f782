package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/approvals/policy"
	"kgent/bot/terminal"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/render/text"
)

// orderHelp is what drain and undrain say of --node.
const orderHelp = `With --node it goes through Redis (REDIS_URL, as the user of the bot), signed with
the bot's key and by the bot's policy, on the bot's host: the policy's maintenance
says who may drain which nodes, as terminal:<host>/<user> or as one of their other
accounts; of root's doings, sudo says whose they are. What is ordered counts for
half a minute, once, and not if the node was drained or undrained since. It is in
the audit log, here and on the node.

Exit codes: 0 done, 1 a fault of this host or of Redis, 2 the command line cannot
be read, 5 the policy does not let you, 7 a node does not do it or does not answer.`

// orderFlags are those of drain and undrain from afar.
type orderFlags struct {
	nodes, keys, policy string
}

func (f *orderFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.nodes, "node", "", "`NAMES` of other nodes, separated by commas, reached through Redis")
	cmd.Flags().StringVar(&f.keys, "keys", "/etc/kgent/keys", "the bot's key `directory`, with --node")
	cmd.Flags().StringVar(&f.policy, "policy", "/etc/kgent/policy.yaml", "the bot's policy `file`, with --node")
	cmd.MarkFlagsMutuallyExclusive("node", "socket")
}

// names reads --node.
func (f *orderFlags) names() ([]string, error) {
	var out []string
	for _, n := range strings.Split(f.nodes, ",") {
		n = strings.TrimSpace(n)
		if err := bus.CheckName(n); err != nil {
			return nil, usageError{fmt.Errorf("--node: %w", err)}
		}
		if slices.Contains(out, n) {
			return nil, usageError{fmt.Errorf("--node names %s twice", n)}
		}
		out = append(out, n)
	}
	return out, nil
}

// sendOrder has nodes drained or undrained, if the policy lets whoever asks.
func sendOrder(ctx context.Context, sys system, f orderFlags, purpose job.Purpose, o job.Order) error {
	nodes, err := f.names()
	if err != nil {
		return err
	}
	key, _, err := keyDir(f.keys).load()
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("asking for this host's name: %w", err)
	}
	services, err := chatPlatforms(sys.getenv, true, nil)
	if err != nil {
		return usageError{err}
	}
	client, err := atRedis(ctx, sys)
	if err != nil {
		return err
	}
	defer client.Close()
	line := bus.NewRedis(client)
	rules, err := policy.Open(f.policy, policy.Options{
		Groups: operatorGroups{services, terminal.Groups{Host: host}}, Labels: labelsOf(line), Now: time.Now,
	})
	if err != nil {
		return err
	}
	desk := &approvals.Desk{Policy: rules, Signer: key, Audit: audit.NewRedis(client, time.Now), Now: time.Now, Random: rand.Reader}
	by := thisPerson()
	by.ID, _ = rules.Person(by.Account)
	g, envelope, err := desk.Order(ctx, by, purpose, o, nodes)
	var refused *approvals.RefusedError
	if errors.As(err, &refused) {
		fmt.Fprintln(sys.err, text.Clean("refused: "+refused.Reason))
		return exitError(exitPolicy)
	}
	if err != nil {
		return err
	}
	answers, err := executor.Command(ctx, line, g, envelope)
	if err != nil {
		return err
	}
	return printAnswers(sys, answers)
}

// printAnswers says what came of an order.
func printAnswers(sys system, answers []executor.NodeAnswer) error {
	done := true
	for _, a := range answers {
		line := a.Node + ": " + a.Detail
		if !a.Obeyed {
			done = false
			line = a.Node + ": NOT DONE: " + a.Detail
		}
		if err := printClean(sys, line); err != nil {
			return err
		}
	}
	if !done {
		return exitError(exitNode)
	}
	return nil
}

// operatorGroups looks up the groups of somebody at this host: its own, and those of the chat
// services whose tokens are in the environment.
type operatorGroups struct {
	services *chats
	here     terminal.Groups
}

// Member implements policy.Groups.
func (g operatorGroups) Member(ctx context.Context, account, group string) (bool, error) {
	if strings.HasPrefix(account, approvals.Terminal+":") {
		return g.here.Member(ctx, account, group)
	}
	return g.services.Member(ctx, account, group)
}

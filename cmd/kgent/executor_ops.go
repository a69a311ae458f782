package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/job"
	"kgent/executor/ops"
	"kgent/executor/render/text"
)

// executorSocket is where an executor is reached, if nothing else is said.
const executorSocket = "/run/kgent-executor/control.sock"

// nodePolicy reads the node's policy.
func (f nodeFlags) nodePolicy() (executor.NodePolicy, error) {
	policy := executor.DefaultPolicy()
	if f.policy != "" {
		var err error
		if policy, err = readNodePolicy(f.policy); err != nil {
			return executor.NodePolicy{}, err
		}
	}
	policy.AllowAct = policy.AllowAct || f.allowAct
	return policy, nil
}

func readNodePolicy(path string) (executor.NodePolicy, error) {
	file, err := os.Open(path)
	if err != nil {
		return executor.NodePolicy{}, fmt.Errorf("reading the node's policy: %w", err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, executor.MaxPolicyFile+1))
	if err != nil {
		return executor.NodePolicy{}, fmt.Errorf("reading the node's policy: %w", err)
	}
	p, err := executor.ParsePolicy(b)
	if err != nil {
		return executor.NodePolicy{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// offer opens the node's socket and metrics, which are served until end is
// called; before node's start all they tell is that the process is well.
func (f nodeFlags) offer(ctx context.Context, node *executor.Executor, log *slog.Logger) (end func(), err error) {
	// They tell of the end, too.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started := make(chan struct{})
	node.Started = func() { close(started) }
	s := &ops.Server{Node: node, Now: time.Now, Started: started}
	served := map[net.Listener]http.Handler{}
	var serving sync.WaitGroup
	end = func() {
		cancel()
		serving.Wait()
		for l := range served {
			l.Close() // again, or for the first time if nothing was served
		}
	}
	if f.socket != "" {
		l, err := ops.Listen(f.socket, f.socketGroup)
		if err != nil {
			end()
			return nil, err
		}
		served[l] = s.Control()
	}
	if f.metrics != "" {
		l, err := net.Listen("tcp", f.metrics)
		if err != nil {
			end()
			return nil, fmt.Errorf("--metrics: %w", err)
		}
		log.Info("metrics are offered", "address", l.Addr().String())
		served[l] = s.Metrics()
	}
	for l, h := range served {
		serving.Go(func() {
			if err := ops.Serve(ctx, l, h); err != nil {
				log.Error("status and metrics are not served any more", "address", l.Addr().String(), "err", err)
			}
		})
	}
	return end, nil
}

// socketFlag adds --socket.
func socketFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "socket", executorSocket, "the executor's socket, a `path`")
}

func noArguments(cmd *cobra.Command, args []string) error { return asUsage(cobra.NoArgs(cmd, args)) }

func executorStatusCommand(sys system) *cobra.Command {
	var socket, format string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "say what the executor on this host does and has done",
		Long: `status asks the executor on this host, through its socket, whether it takes jobs,
reaches Redis and is drained, what runs now and until when, and what it has done
since it was started. Root may ask, and the group of --socket-group.

Exit codes: 0 it answers, whatever it says, 1 it does not, 2 the command line
cannot be read.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return usageError{fmt.Errorf("--output %q: want text or json", format)}
			}
			st, err := ops.NewClient(socket).Status(cmd.Context())
			if err != nil {
				return err
			}
			if format == "json" {
				return json.NewEncoder(sys.out).Encode(st)
			}
			return printStatus(sys, st, time.Now())
		},
	}
	socketFlag(cmd, &socket)
	cmd.Flags().StringVarP(&format, "output", "o", "text", "`text` or json")
	return cmd
}

// printStatus writes a status for people.
func printStatus(sys system, st executor.Status, now time.Time) error {
	ago := func(t time.Time) string { return now.Sub(t).Round(time.Second).String() }
	state := "takes jobs"
	switch {
	case st.Drained != nil:
		state = "drained"
	case now.Sub(st.Heard) > ops.ReadyWithin:
		state = "waits for Redis"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s; kgent %s on kernel %s, started %s ago\n", st.Node.Name, state, st.Node.Version, st.Node.Kernel, ago(st.Started))
	if st.Drained != nil {
		fmt.Fprintf(&b, "  %s\n", st.Drained)
	}
	switch {
	case st.Heard.IsZero():
		fmt.Fprint(&b, "Redis has not been reached yet")
	case now.Sub(st.Heard) > ops.ReadyWithin:
		fmt.Fprintf(&b, "Redis is out of reach, last reached %s ago", ago(st.Heard))
	default:
		fmt.Fprintf(&b, "Redis was reached %s ago", ago(st.Heard))
	}
	fmt.Fprintf(&b, ", %d failures; output waits for %v\n", st.Totals.BusErrors, st.Lag.Round(time.Millisecond))
	fmt.Fprintf(&b, "programs cost %.2f %% of one core", 100*st.CPUShare)
	if st.Policy.CPUTotal > 0 {
		fmt.Fprintf(&b, ", at most %.2f %%; a run at most %.2f %%", 100*st.Policy.CPUTotal, 100*st.Policy.CPUPerRun)
	}
	e := st.Totals.Events
	fmt.Fprintf(&b, "\nevents: %d produced, %d delivered, %d lost in the kernel, %d dropped here\n", e.Produced, e.Delivered, e.KernelLost, e.Dropped)
	fmt.Fprint(&b, "jobs:")
	if len(st.Totals.Jobs) == 0 {
		fmt.Fprint(&b, " none is over yet")
	}
	for i, outcome := range slices.Sorted(maps.Keys(st.Totals.Jobs)) {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %d %s", st.Totals.Jobs[outcome], outcome)
	}
	fmt.Fprintf(&b, "\nruns: %d of at most %d\n", len(st.Runs), st.Policy.Runs)
	for _, r := range st.Runs {
		when := "not attached yet"
		if !r.Attached.IsZero() {
			when = fmt.Sprintf("attached for %s, ends in %s", ago(r.Attached), r.Deadline.Sub(now).Round(time.Second))
		}
		fmt.Fprintf(&b, "  %s  %s, for %s (%s)\n", r.Run, r.Digest[:min(12, len(r.Digest))], r.Requester, r.Tier)
		fmt.Fprintf(&b, "    %s; %d events, %.2f %% of one core\n", when, r.Counters.Produced, 100*r.CPUShare)
	}
	for _, c := range st.KeptOut {
		fmt.Fprintf(&b, "kept out: %s (program %s), for %s: the executor died while it was loaded, in a row: %d\n", c.Name, c.Program[:min(12, len(c.Program))], c.Until.Sub(now).Round(time.Second), c.Crashes)
	}
	return printClean(sys, b.String())
}

// printClean writes lines in which there is text from elsewhere. On a terminal those that are
// longer than it is wide go on below, further in.
func printClean(sys system, lines string) error {
	for line := range strings.Lines(lines) {
		line = text.Clean(strings.TrimSuffix(line, "\n"))
		said := strings.TrimLeft(line, " ")
		if err := printHanging(sys, line[:len(line)-len(said)], 2, said); err != nil {
			return err
		}
	}
	return nil
}

// printHanging writes clean text behind a lead, and on a terminal what its width has no room for on
// lines of their own, so much further in than the lead.
func printHanging(sys system, lead string, further int, said string) error {
	lines := []string{said}
	indent := strings.Repeat(" ", text.Width(lead)+further)
	if t := screen(sys); t.Live && text.Width(lead+said) > t.Width {
		lines = text.Wrap(said, max(t.Width-len(indent), 20))
	}
	for i, line := range lines {
		if i > 0 {
			lead = indent
		}
		if _, err := fmt.Fprintln(sys.out, strings.TrimRight(lead+line, " ")); err != nil {
			return err
		}
	}
	return nil
}

func executorDrainCommand(sys system) *cobra.Command {
	var socket, why string
	var now bool
	var afar orderFlags
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "have a node take no more runs, until undrain",
		Long: `drain puts the executor on this host into maintenance, or those of --node: it
takes no runs and loads nothing, and says so to whoever asks. What runs ends by
itself, with --now at once. It stays drained when it is started again.

` + orderHelp,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := job.CheckWhy(why); err != nil {
				return usageError{fmt.Errorf("--why: %w", err)}
			}
			if afar.nodes != "" {
				return sendOrder(cmd.Context(), sys, afar, job.PurposeDrain, job.Order{Why: why, End: now})
			}
			if err := ops.NewClient(socket).Drain(cmd.Context(), why, now); err != nil {
				return err
			}
			_, err := fmt.Fprintln(sys.out, "drained: it takes no more runs. kgent executor status shows those in progress; kgent executor undrain has it take runs again.")
			return err
		},
	}
	socketFlag(cmd, &socket)
	afar.add(cmd)
	cmd.Flags().StringVar(&why, "why", "", fmt.Sprintf("`reason`, for those who are refused: one line of at most %d bytes", job.MaxWhy))
	cmd.Flags().BoolVar(&now, "now", false, "end what runs")
	return cmd
}

func executorUndrainCommand(sys system) *cobra.Command {
	var socket string
	var afar orderFlags
	cmd := &cobra.Command{
		Use:   "undrain",
		Short: "have a node take runs again",
		Long:  "undrain ends the maintenance of the executor on this host, or of those of --node.\n\n" + orderHelp,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if afar.nodes != "" {
				return sendOrder(cmd.Context(), sys, afar, job.PurposeUndrain, job.Order{})
			}
			if err := ops.NewClient(socket).Undrain(cmd.Context()); err != nil {
				return err
			}
			_, err := fmt.Fprintln(sys.out, "this node takes runs again")
			return err
		},
	}
	socketFlag(cmd, &socket)
	afar.add(cmd)
	return cmd
}

// atRedis logs in at Redis as the bot does, to deal with nodes.
func atRedis(ctx context.Context, sys system) (redis.UniversalClient, error) {
	config, ok, err := rdb.FromEnv(sys.getenv)
	switch {
	case err != nil:
		return nil, usageError{err}
	case !ok:
		return nil, usageError{errors.New("REDIS_URL is not set: nodes are reached through Redis; log in there as the bot does")}
	}
	client, err := rdb.Open(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config, err)
	}
	return client, nil
}

// announcedNodes asks Redis, as the bot, for the nodes that announce themselves.
func announcedNodes(ctx context.Context, sys system) ([]bus.NodeInfo, error) {
	client, err := atRedis(ctx, sys)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return bus.NewRedis(client).Nodes(ctx)
}

func executorListCommand(sys system) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the nodes that announce themselves at Redis",
		Long: `list asks Redis (REDIS_URL, as the user of the bot) which executors announced
themselves in the last quarter of a minute. What a node says of itself nobody
has checked.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return usageError{fmt.Errorf("--output %q: want text or json", format)}
			}
			nodes, err := announcedNodes(cmd.Context(), sys)
			if err != nil {
				return err
			}
			if format == "json" {
				enc := json.NewEncoder(sys.out)
				for _, n := range nodes {
					if err := enc.Encode(n); err != nil {
						return err
					}
				}
				return nil
			}
			return printNodes(sys, nodes)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "`text` or json, one node a line")
	return cmd
}

// printNodes writes a list of nodes for people.
func printNodes(sys system, nodes []bus.NodeInfo) error {
	if len(nodes) == 0 {
		_, err := fmt.Fprintln(sys.err, "No node has announced itself in the last 15 s. On a node, kgent executor status says whether its executor runs and reaches Redis.")
		return err
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tKERNEL\tVERSION\tLABELS\tSTATE")
	for _, n := range nodes {
		state := "takes jobs"
		if n.Drained != "" {
			state = "drained"
		}
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
			if k != "arch" && k != "kernel" {
				labels = append(labels, k+"="+n.Labels[k])
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", n.Name, text.Clean(n.Kernel), text.Clean(n.Version), text.Clean(strings.Join(labels, ",")), state)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	at := -1 // in nodes
	for row := range strings.Lines(table.String()) {
		if _, err := io.WriteString(sys.out, row); err != nil {
			return err
		}
		if at >= 0 && nodes[at].Drained != "" {
			if err := printClean(sys, "  "+strings.ReplaceAll(nodes[at].Drained, "\n", " ")); err != nil {
				return err
			}
		}
		at++
	}
	return nil
}

func executorPolicyCommand(sys system) *cobra.Command {
	return &cobra.Command{
		Use:   "policy [FILE]",
		Short: "check a node's policy file, and show what it comes to",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("want one file at most, got %d", len(args))}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			p := executor.DefaultPolicy()
			if len(args) == 1 {
				var err error
				if p, err = readNodePolicy(args[0]); err != nil {
					return err
				}
			}
			return printClean(sys, p.Words())
		},
	}
}

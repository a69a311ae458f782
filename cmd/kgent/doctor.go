package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kgent/agent/llm"
	"kgent/agent/program/compile"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	containers "kgent/executor/container"
	"kgent/executor/job"
	"kgent/executor/probe"
	"kgent/executor/render/text"
	"kgent/retrieval/kernel"
)

// finding is one thing that doctor looked at.
type finding struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	// State is ok, missing (and then Advice says how to get it), or optional:
	// missing, and only some requests need it.
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
	Advice string `json:"advice,omitempty"`
}

const (
	stateOK       = "ok"
	stateMissing  = "missing"
	stateOptional = "optional"
)

func doctorCommand(sys system) *cobra.Command {
	var format, node string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "say what this host offers, what is missing, and how to get it",
		Long: `doctor looks at the kernel, its types, the privileges of this process, and what
is installed and configured. Every kind of probe is tried for real: loaded,
attached and detached again.

With --node it says the same of a node, as its executor announces it at Redis
(REDIS_URL, as the user of the bot). What a node says of itself nobody checks.

Exit codes: 0 recipes can run here, 1 something they need is missing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return usageError{fmt.Errorf("--output %q: want text or json", format)}
			}
			var findings []finding
			if node == "" {
				findings = examine(cmd.Context(), sys)
			} else {
				nodes, err := announcedNodes(cmd.Context(), sys)
				if err != nil {
					return err
				}
				findings = examineNode(nodes, node, time.Now())
			}
			if format == "json" {
				enc := json.NewEncoder(sys.out)
				for _, f := range findings {
					if err := enc.Encode(f); err != nil {
						return err
					}
				}
			} else if err := printFindings(sys, findings); err != nil {
				return err
			}
			for _, f := range findings {
				if f.State == stateMissing {
					return exitError(exitInternal)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "`text` or json, one finding a line")
	cmd.Flags().StringVar(&node, "node", "", "the node of this `name` instead of this host")
	return cmd
}

// examineNode says what a node announces of itself.
func examineNode(nodes []bus.NodeInfo, name string, now time.Time) []finding {
	const group = "node"
	i := slices.IndexFunc(nodes, func(n bus.NodeInfo) bool { return n.Name == name })
	if i < 0 {
		var names []string
		for _, n := range nodes {
			names = append(names, n.Name)
		}
		return []finding{{group, "executor", stateMissing, name + " has not announced itself for 15 s",
			"look at its executor there (kgent executor status); announced are: " + cmp.Or(text.Short(names, 300), "none")}}
	}
	n := nodes[i]
	out := []finding{{group, "executor", stateOK, "kgent " + n.Version, ""}}
	if n.Drained != "" {
		out = append(out, finding{group, "maintenance", stateOptional, "it takes no runs: " + n.Drained, "kgent executor undrain, there or with --node at the bot's host"})
	}
	if f, ok := clockFinding(n, now); ok {
		out = append(out, f)
	}
	out = append(out, finding{"kernel", "release", stateOK, n.Kernel + " " + n.Arch, ""})
	if n.BTF == "" {
		out = append(out, finding{"kernel", "BTF", stateMissing, "its kernel has no types", "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y; every current distribution's kernel is"})
	} else {
		out = append(out, finding{"kernel", "BTF", stateOK, "sha256 " + n.BTF[:min(12, len(n.BTF))], ""})
	}
	if n.Facts == "" {
		out = append(out, finding{"kernel", "facts", stateOptional, "it does not publish them", "programs are not written for its kernel elsewhere; its log says why"})
	}
	var lacks []string
	for _, c := range tracingCapabilities {
		if !slices.Contains(n.Capabilities, c.name) {
			lacks = append(lacks, strings.TrimSpace(c.name+" "+c.use))
		}
	}
	privileges := finding{"kernel", "privileges", stateOK, strings.Join(n.Capabilities, ", "), ""}
	if len(lacks) > 0 {
		privileges.State, privileges.Advice = stateOptional, "it lacks "+strings.Join(lacks, ", ")
	}
	out = append(out, privileges)
	for _, kind := range slices.Sorted(maps.Keys(n.Kinds)) {
		f := finding{Group: "probes", Name: kind, State: stateOK}
		if why := n.Kinds[kind]; why != "" {
			f.State, f.Detail = stateOptional, why
		}
		out = append(out, f)
	}
	tool := finding{"tools", "bpftrace", stateOK, n.Bpftrace, ""}
	if n.Bpftrace == "" {
		tool = finding{"tools", "bpftrace", stateOptional, "it runs no bpftrace scripts", "install bpftrace there and start the executor again"}
	}
	return append(out, tool)
}

// clockFinding compares a node's clock with this host's, as well as its announcement
// tells: that is up to 15 s old.
func clockFinding(n bus.NodeInfo, now time.Time) (finding, bool) {
	const announced = 15 * time.Second
	f := finding{Group: "node", Name: "clock", State: stateOK}
	ahead, behind := n.At.Sub(now), now.Sub(n.At)-announced
	switch off := max(ahead, behind).Round(time.Second); {
	case n.At.IsZero():
		return f, false // it is of an older kgent
	case off <= 0:
		f.Detail = fmt.Sprintf("not more than %v from this host's", announced)
		return f, true
	case ahead > 0:
		f.Detail = fmt.Sprintf("%v or more ahead of this host's", off)
	default:
		f.Detail = fmt.Sprintf("%v or more behind this host's", off)
	}
	f.State, f.Advice = stateOptional, fmt.Sprintf("have both set by NTP: at more than %v from the bot's, the node refuses what is approved", job.MaxSkew)
	if max(ahead, behind) > job.MaxSkew {
		f.State = stateMissing
	}
	return f, true
}

func examine(ctx context.Context, sys system) []finding {
	out := examineKernel(ctx)
	if slices.ContainsFunc(out, func(f finding) bool { return f.Name == "privileges" && f.State == stateMissing }) {
		// Every trial would fail for want of them, and say nothing about the host.
		out = append(out, finding{"probes", "all kinds", stateOptional, "not tried: that needs the privileges above", ""})
		return append(out, examineTools(ctx, sys.getenv)...)
	}
	for _, f := range probe.Inventory(ctx) {
		x := finding{Group: "probes", Name: string(f.Kind), State: stateOK}
		if !f.OK {
			x.State, x.Detail = stateOptional, f.Why
		}
		out = append(out, x)
	}
	return append(out, examineTools(ctx, sys.getenv)...)
}

// examineContainers says whether kgent sees processes and containers as the node does.
func examineContainers(cgroups string) []finding {
	const group = "containers"
	ids := finding{group, "PID namespace", stateOK, "the node's", ""}
	switch own, err := probe.OwnPIDNamespace(); {
	case err != nil:
		ids.State, ids.Detail = stateOptional, err.Error()
	case own:
		ids.State, ids.Detail = stateOptional, "kgent's own: the ids of processes that it shows are others than those seen here, and it names no functions of theirs"
		ids.Advice = "run it in the node's: docker run --pid=host, or hostPID: true"
	}
	if cgroups == "" {
		return []finding{ids}
	}
	found := finding{Group: group, Name: "containers and pods", State: stateOK}
	node := containers.Node{Cgroups: cgroups}
	all, err := node.List()
	switch whole, wholeErr := node.Whole(); {
	case err != nil || wholeErr != nil:
		found.State, found.Detail = stateOptional, errors.Join(err, wholeErr).Error()
	case !whole:
		found.State, found.Detail = stateOptional, cgroups+" shows kgent's own part of the hierarchy alone, so that no other container is found"
		found.Advice = "mount the node's /sys/fs/cgroup there, or run kgent with --cgroupns=host"
	default:
		found.Detail = fmt.Sprintf("%d found", len(all))
		if at := node.InV1(); len(all) == 0 && at != "" {
			found.State, found.Detail = stateOptional, "they are in cgroup v1 ("+at+") alone, where programs cannot tell them apart"
			found.Advice = "let the runtime use cgroup v2: boot with systemd.unified_cgroup_hierarchy=1"
		}
	}
	return []finding{ids, found}
}

func examineKernel(ctx context.Context) []finding {
	const group = "kernel"
	if err := kernel.EnsureMounts(ctx); err != nil {
		return []finding{{group, "tracefs", stateMissing, err.Error(), "run as root, or: mount -t tracefs nodev /sys/kernel/tracing"}}
	}
	facts, err := kernel.Live(ctx)
	if errors.Is(err, kernel.ErrNoBTF) {
		return []finding{{group, "BTF", stateMissing, err.Error(), "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y; every current distribution's kernel is"}}
	}
	if err != nil {
		return []finding{{group, "facts", stateMissing, err.Error(), ""}}
	}
	out := []finding{
		{group, "release", stateOK, facts.Release + " " + facts.Arch, ""},
		{group, "BTF", stateOK, "sha256 " + facts.BTFHash[:12], ""},
		{group, "lockdown", stateOK, string(facts.Lockdown), ""},
		{group, "tracefs", stateOK, facts.TracefsMount, ""},
	}
	if facts.CgroupMount != "" {
		out = append(out, finding{group, "cgroup2", stateOK, facts.CgroupMount, ""})
	} else {
		out = append(out, finding{group, "cgroup2", stateOptional, "not mounted", "mount -t cgroup2 none /sys/fs/cgroup/unified; only cgroup programs need it"})
	}
	switch facts.BPFJIT {
	case 0:
		out = append(out, finding{group, "BPF JIT", stateOptional, "off: programs are interpreted, several times slower", "sysctl net.core.bpf_jit_enable=1"})
	case kernel.Unknown:
	default:
		out = append(out, finding{group, "BPF JIT", stateOK, "on", ""})
	}
	if err := privileged(facts); err != nil {
		out = append(out, finding{group, "privileges", stateMissing, privileges(facts), err.Error()})
	} else {
		out = append(out, finding{group, "privileges", stateOK, privileges(facts), ""})
	}
	return append(out, examineContainers(facts.CgroupMount)...)
}

// tracingCapabilities are those that tracing can need, and which part of it,
// where that is not all of it.
var tracingCapabilities = [...]struct {
	name   string
	number int
	use    string
}{
	{"CAP_BPF", unix.CAP_BPF, ""}, {"CAP_PERFMON", unix.CAP_PERFMON, ""}, {"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN, "user probes"},
	{"CAP_DAC_READ_SEARCH", unix.CAP_DAC_READ_SEARCH, "tracefs"}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN, "packets"},
	{"CAP_SYSLOG", unix.CAP_SYSLOG, "kernel symbols"}, {"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE, "user symbols"},
}

// privileges lists the capabilities that tracing can need, and which of them
// this process has.
func privileges(facts *kernel.Facts) string {
	var has, lacks []string
	for _, c := range tracingCapabilities {
		switch {
		case facts.Capabilities.Has(c.number):
			has = append(has, c.name)
		case c.use != "":
			lacks = append(lacks, c.name+" ("+c.use+")")
		default:
			lacks = append(lacks, c.name)
		}
	}
	if len(lacks) == 0 {
		return strings.Join(has, ", ")
	}
	return "has " + strings.Join(append(has, "no others"), ", ") + "; lacks " + strings.Join(lacks, ", ")
}

func examineTools(ctx context.Context, getenv func(string) string) []finding {
	var out []finding
	if c, err := compile.Find(ctx, getenv); err != nil {
		out = append(out, finding{"tools", "clang", stateMissing, err.Error(), "apt-get install clang-19"})
	} else {
		out = append(out, finding{"tools", "clang", stateOK, c.Version() + ", " + c.Path(), ""})
	}
	out = append(out, bpftraceFinding(ctx, getenv))
	if path, err := exec.LookPath("z3"); err != nil {
		out = append(out, finding{"tools", "solver", stateOptional, "no z3 on the path", "apt-get install z3; proofs need none, only kgent verify --solver can ask it, too"})
	} else {
		out = append(out, finding{"tools", "solver", stateOK, path, ""})
	}
	out = append(out, examineRedis(ctx, getenv))
	out = append(out, examineModel(ctx, getenv))
	return append(out, examineChat(getenv)...)
}

// examineChat says which chat services a bot started in this environment would
// serve. No token is tried: that is for the bot.
func examineChat(getenv func(string) string) []finding {
	const advice = "only kgent bot needs it: the README says how to get it; alone there is kgent ask"
	slack := finding{"chat", "Slack", stateOptional, "SLACK_BOT_TOKEN is not set", advice}
	if err := checkSlack(getenv, true); err != nil {
		slack.State, slack.Detail, slack.Advice = stateMissing, err.Error(), "correct it, or unset it where there is no bot"
	} else if getenv("SLACK_BOT_TOKEN") != "" {
		slack.State, slack.Advice = stateOK, ""
		slack.Detail = "SLACK_BOT_TOKEN and SLACK_APP_TOKEN are set: kgent bot serves it in Socket Mode"
		if getenv("SLACK_APP_TOKEN") == "" {
			slack.Detail = "SLACK_BOT_TOKEN and SLACK_SIGNING_SECRET are set: kgent bot --listen serves it over HTTP"
		}
	}
	discord := finding{"chat", "Discord", stateOptional, "DISCORD_TOKEN is not set", advice}
	if getenv("DISCORD_TOKEN") != "" {
		discord.State, discord.Detail, discord.Advice = stateOK, "DISCORD_TOKEN is set: kgent bot serves it", ""
	}
	return []finding{slack, discord}
}

// examineRedis connects as the bot and executors do.
func examineRedis(ctx context.Context, getenv func(string) string) finding {
	f := finding{Group: "tools", Name: "Redis", State: stateMissing, Advice: "correct REDIS_URL and what goes with it (kgent executor --help), or unset it"}
	config, ok, err := rdb.FromEnv(getenv)
	if err == nil && !ok {
		return finding{"tools", "Redis", stateOptional, "REDIS_URL is not set", "not needed on one host: state is kept in this process"}
	}
	if err == nil {
		var client redis.UniversalClient
		if client, err = rdb.Open(ctx, config); err == nil {
			client.Close()
			f.State, f.Detail, f.Advice = stateOK, config.String(), ""
			if config.Exposed() {
				f.Advice = "what traces show can be read on the way there: use TLS, rediss://"
			}
			return f
		}
	}
	f.Detail = err.Error()
	return f
}

func examineModel(ctx context.Context, getenv func(string) string) finding {
	const advice = "set OPENAI_API_KEY, or OPENAI_BASE_URL and KGENT_MODEL for another endpoint; without a model, kgent answers what its recipes know"
	config, ok, err := llm.FromEnv(getenv)
	switch {
	case err != nil:
		return finding{"model", "endpoint", stateMissing, err.Error(), advice}
	case !ok:
		return finding{"model", "endpoint", stateOptional, "not configured", advice}
	}
	f := finding{"model", "endpoint", stateOK, fmt.Sprintf("%s, model %s", config.BaseURL, config.Model), ""}
	u, err := url.Parse(config.BaseURL)
	if err != nil {
		return f
	}
	target := u.Host
	if u.Port() == "" {
		target = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80"}[u.Scheme]+map[string]string{"https": "443"}[u.Scheme])
	}
	d := net.Dialer{Timeout: 3 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		f.State, f.Advice = stateMissing, "it does not answer: "+err.Error()
		return f
	}
	conn.Close()
	return f
}

func printFindings(sys system, findings []finding) error {
	group := ""
	for _, f := range findings {
		if f.Group != group {
			group = f.Group
			if _, err := fmt.Fprintln(sys.out, group); err != nil {
				return err
			}
		}
		mark := map[string]string{stateOK: "yes", stateMissing: "NO", stateOptional: "no"}[f.State]
		if err := printHanging(sys, fmt.Sprintf("  %-3s  %-18s ", mark, f.Name), 0, text.Clean(firstOf(f.Detail, 300))); err != nil {
			return err
		}
		if f.Advice != "" {
			if err := printHanging(sys, fmt.Sprintf("       %-18s → ", ""), 0, text.Clean(f.Advice)); err != nil {
				return err
			}
		}
	}
	return nil
}

// firstOf clips a detail to one line.
func firstOf(s string, n int) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > n {
		s = s[:n] + "…"
	}
	return s
}

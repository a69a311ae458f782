package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"kgent/agent/program"
	"kgent/approvals/audit"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/job"
	"kgent/executor/probe"
	"kgent/executor/redact"
	"kgent/executor/render"
	"kgent/retrieval/kernel"
)

// What an executor keeps in its state directory.
const (
	replaysFile = "used-grants"
	auditFile   = "audit.log"
	// instanceFile tells apart two nodes of one name.
	instanceFile = "instance"
	// maintenanceFile is there while the node is drained.
	maintenanceFile = "drained"
	// tombstonesDir holds what is in the kernel.
	tombstonesDir = "loaded"
)

// gcPercent is how much an executor's heap may grow before garbage is looked for, in
// percent of what is in use. What passes through a run makes little garbage, and most
// of what is in use holds no pointers, so that looking is cheap; the memory is the
// host's.
const gcPercent = 25

// nodeFlags are the flags of kgent executor.
type nodeFlags struct {
	name, labels, keys, state string
	policy                    string
	socket, socketGroup       string
	metrics, logFormat        string
	allowAct, insecure        bool
	maxDuration               time.Duration
}

func executorCommand(sys system) *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "executor",
		Short: "run approved programs on this node",
		Long: `executor announces this node on Redis, takes the jobs sent to it, and runs those
that are signed with a key it trusts, for this node, now, and once. Everything
else it refuses, and says why. It opens no port.

  REDIS_URL=rediss://node-db-1@redis.example:6379 REDIS_PASSWORD_FILE=/etc/kgent/redis.password \
  kgent executor --node-name db-1 --labels role=db,env=prod

What it trusts are the public keys in --keys: a .pub file, or a directory of
them, as "kgent keys new" makes it. They are read again for every job.

No two executors have the same name: the second waits until the first is gone.

In --state it remembers which grants were used and keeps an audit log of every
job (kgent audit shows and verifies it). Each executor needs its own.

What it refuses even though it was approved, --policy says: a file of bounds on
CPU time, memory and output, and of hooks, helpers and program types that are
never used here; deploy/node-policy.example.yaml shows all of it. By default a
run may cost 1 % of one core and all together 5 %; one that costs more is ended.

At --socket, kgent executor status, drain and undrain reach it; without it they
do not. They look for it at ` + executorSocket + `.
--metrics offers /metrics for Prometheus, /healthz and /readyz.

When Redis is out of reach for more than five seconds running traces end, and it
goes on trying. On SIGTERM and Ctrl-C it detaches everything, reports and ends.

Environment:
  REDIS_URL              redis://…, rediss://… (TLS) or unix://…
                         (a cluster: redis://host:port,host:port,…)
  REDIS_PASSWORD_FILE    the password, if it is not in the address
  REDIS_CA               who signed the server's certificate
  REDIS_CERT, REDIS_KEY  the certificate that this node shows, and its key
  KGENT_REDACT           secrets, one a line, that never leave this node in output;
                         what looks like a secret is taken out anyway

Exit codes: 0 it was told to end, 1 a fault of this host or of Redis's set-up,
2 the command line or the environment cannot be used.`,
		Args: func(cmd *cobra.Command, args []string) error { return asUsage(cobra.NoArgs(cmd, args)) },
		RunE: func(cmd *cobra.Command, _ []string) error { return serveNode(cmd.Context(), sys, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "node-name", "", "`NAME` that jobs are addressed to (default this host's name, if it has one)")
	flags.StringVar(&f.labels, "labels", "", "labels to be chosen by, as `KEY=VALUE,…`; arch and kernel are added")
	flags.StringVar(&f.keys, "keys", "/etc/kgent/trusted", "public `key file or directory`")
	flags.StringVar(&f.state, "state", "/var/lib/kgent", "state `directory`")
	flags.BoolVar(&f.allowAct, "allow-act", false, "also run programs that change what this node does, when they were approved as such")
	flags.StringVar(&f.policy, "policy", "", "`file` with this node's own policy (default: observe only, 1 % of a core per run)")
	flags.StringVar(&f.socket, "socket", "", "`path` of a socket for kgent executor status, drain and undrain, as "+executorSocket)
	flags.StringVar(&f.socketGroup, "socket-group", "", "`group` whose users may open the socket (default this process's own)")
	flags.StringVar(&f.metrics, "metrics", "", "`address` to offer metrics and health at, as 127.0.0.1:9464")
	flags.StringVar(&f.logFormat, "log-format", "text", "`text` or json")
	flags.DurationVar(&f.maxDuration, "max-duration", time.Hour, "longest run that this node allows, whatever was approved")
	cmd.AddCommand(
		executorStatusCommand(sys),
		executorDrainCommand(sys),
		executorUndrainCommand(sys),
		executorListCommand(sys),
		executorPolicyCommand(sys),
	)
	flags.BoolVar(&f.insecure, "insecure-redis", false, "use a Redis on another host without TLS: whoever is in between can read what traces show, and withhold jobs")
	return cmd
}

// asUsage makes an error one of the command line.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// serveNode runs the executor until ctx ends.
func serveNode(ctx context.Context, sys system, f nodeFlags) (err error) {
	debug.SetGCPercent(gcPercent)
	config, err := f.check(sys.getenv)
	if err != nil {
		return usageError{err}
	}
	labels, err := parseLabels(f.labels)
	if err != nil {
		return usageError{fmt.Errorf("--labels: %w", err)}
	}
	for _, key := range []string{"arch", "kernel"} {
		if labels[key] != "" {
			return usageError{fmt.Errorf("--labels: %s is what this host says it is", key)}
		}
	}
	if f.name, err = nodeName(f.name, os.Hostname); err != nil {
		return err
	}
	switch user := config.User(); {
	case user == bus.BotUser:
		return usageError{fmt.Errorf("REDIS_URL logs in as %s, which is the bot's user: give this node its own (kgent keys acl --node %s …)", user, f.name)}
	case strings.HasPrefix(user, bus.NodeUser("")) && user != bus.NodeUser(f.name):
		return usageError{fmt.Errorf("REDIS_URL logs in as %s, but this is %s: each node has its own user (kgent keys acl --node %s …)", user, f.name, f.name)}
	}
	keys, err := loadTrusted(f.keys)
	if err != nil {
		return err
	}
	policy, err := f.nodePolicy()
	if err != nil {
		return err
	}
	handler := slog.Handler(slog.NewTextHandler(sys.err, nil))
	if f.logFormat == "json" {
		handler = slog.NewJSONHandler(sys.err, nil)
	}
	log := slog.New(newCalm(handler, time.Now))

	if err := kernel.EnsureMounts(ctx); err != nil && os.Geteuid() == 0 {
		return err
	}
	facts, err := kernel.Live(ctx)
	if err != nil {
		return err
	}
	if err := privileged(facts); err != nil {
		return err
	}

	if err := os.MkdirAll(f.state, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	replays, err := executor.OpenReplays(filepath.Join(f.state, replaysFile), time.Now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, replays.Close()) }()
	record, err := audit.Open(ctx, filepath.Join(f.state, auditFile), time.Now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.Close()) }()

	stones, crashes, err := executor.OpenTombstones(filepath.Join(f.state, tombstonesDir), policy.CrashFirst, policy.CrashMost, time.Now)
	if err != nil {
		return err
	}
	maintenance, err := executor.OpenMaintenance(filepath.Join(f.state, maintenanceFile))
	if err != nil {
		return err
	}
	client, err := rdb.New(config)
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	if err := rdb.Check(ctx, client); err != nil && !errors.Is(err, rdb.ErrUnreachable) {
		return fmt.Errorf("connecting to %s: %w", config, err)
	} else if err != nil {
		log.Warn("Redis is not there yet; trying until it is", "redis", config.String(), "err", err)
	}

	// What a kgent that was killed has left: only on kernels before 6.6.
	swept, err := probe.Sweep()
	events, eventsErr := probe.SweepEvents(facts.TracefsMount)
	swept = append(swept, events...)
	if err := errors.Join(err, eventsErr); err != nil {
		log.Warn("looking for what a kgent that was killed has left on the network interfaces and in tracefs", "err", err)
	}
	for _, what := range swept {
		log.Info("removed what a kgent that was killed had left", "what", what)
	}
	loader := probe.NewLoader(probe.Options{
		Resolve: facts.ResolveBinary,
		Cgroups: facts.CgroupMount,
		Refuse:  policy.Guard(facts.ResolveBinary, facts.CgroupMount),
		Types:   facts.OwnTypes(),
	})
	env := render.NewEnv()
	if env.Redact, err = redact.FromEnv(sys.getenv("KGENT_REDACT")); err != nil {
		return usageError{fmt.Errorf("KGENT_REDACT: %w", err)}
	}
	self := announcement(ctx, f.name, labels, facts)
	verifier := &job.Verifier{Node: f.name, Labels: self.Labels, Keys: keys, Replays: replays, Now: time.Now, MaxDuration: f.maxDuration}
	kern := executor.NewKernel(f.name, loader, env)
	tool, err := findBpftrace(ctx, sys.getenv)
	switch {
	case err != nil:
		log.Info("this node runs no bpftrace scripts", "why", err)
	case os.Geteuid() != 0:
		log.Info("this node runs no bpftrace scripts: bpftrace runs as root only")
	default:
		kern.Scripts = scriptTracer(f.name, tool, env.Redact)
		if self.Bpftrace, err = releaseOf(ctx, tool); err != nil {
			return err
		}
	}
	recorded := &auditedKernel{Kernel: kern, log: log, record: record}
	line := bus.NewRedis(client)
	node := &executor.Executor{
		Node:     self,
		Verifier: verifier,
		Kernel:   recorded,
		Bus: trusting{Node: line, path: f.keys, verifier: verifier, failed: func(err error) {
			log.Error("no key is trusted", "err", err)
		}},
		Policy:      policy,
		Tombstones:  stones,
		Maintenance: maintenance,
		Hooks:       facts,
		Audit:       recorded.audit,
		Log:         log,
	}
	for _, c := range crashes {
		log.Error("the executor died while a program was loaded", "program", c.Name, "times", c.Crashes, "not_again_until", c.Until)
		recorded.audit(executor.Entry{
			At: time.Now(), Node: f.name, What: "crashed",
			Detail: fmt.Sprintf("the executor died while program %s (%s) was loaded; times in a row: %d; not again until %s", c.Name, c.Program, c.Crashes, c.Until.UTC().Format(time.RFC3339)),
		})
	}
	if d := maintenance.Drained(); d != nil {
		log.Warn("this node takes no runs: kgent executor undrain ends that", "drained", d.String())
	}
	if node.Node.Instance, err = instance(f.state); err != nil {
		return err
	}
	// Without them nothing can be written for this kernel elsewhere; what was
	// can still be run.
	if node.Facts, err = kernel.Encode(facts); err == nil && len(node.Facts) > bus.MaxFacts {
		err = fmt.Errorf("%d bytes, at most %d", len(node.Facts), bus.MaxFacts)
	}
	if err != nil {
		log.Error("the facts of this kernel are not published", "err", err)
		node.Facts = nil
	}
	facts.Forget()
	// Before Redis is there: the process is well, and not ready.
	if end, err := f.offer(ctx, node, log); err != nil {
		return err
	} else {
		defer end()
	}
	if !alone(ctx, line, node.Node, log) {
		return nil
	}
	debug.FreeOSMemory() // what gathering the facts of the kernel took
	log.Info("executor runs", "node", f.name, "redis", config.String(), "kernel", facts.Release, "keys", len(keys), "state", f.state)
	if err := node.Serve(ctx); err != nil {
		return err
	}
	log.Info("executor has ended, nothing of it is left in the kernel")
	return nil
}

// unnamed are the names that hosts have to which nobody has given one.
var unnamed = []string{"", "(none)", "localhost", "localhost.localdomain", "localhost4", "localhost6"}

// nodeName returns the name that was given to the node, or else its host's.
func nodeName(given string, hostname func() (string, error)) (string, error) {
	if given != "" {
		if err := bus.CheckName(given); err != nil {
			return "", usageError{fmt.Errorf("--node-name: %w", err)}
		}
		return given, nil
	}
	host, err := hostname()
	if err != nil {
		return "", fmt.Errorf("reading the host's name: %w; --node-name NAME gives this node one", err)
	}
	if slices.Contains(unnamed, strings.ToLower(host)) {
		return "", usageError{fmt.Errorf("this host has no name of its own (it is called %q, as others may be): say by --node-name NAME what jobs for it are addressed to", host)}
	}
	if err := bus.CheckName(host); err != nil {
		return "", usageError{fmt.Errorf("this host's name cannot be the node's: %w: say by --node-name NAME what jobs for it are addressed to", err)}
	}
	return host, nil
}

// alone waits until no other host announces itself by the name: what was
// approved for the one must not run on the other. It reports false when ctx
// ends first.
func alone(ctx context.Context, line *bus.Redis, self bus.NodeInfo, log *slog.Logger) bool {
	retry := time.NewTicker(500 * time.Millisecond)
	defer retry.Stop()
	for {
		n, taken, err := line.Announced(ctx, self.Name)
		switch {
		case ctx.Err() != nil:
			return false
		case err != nil:
			log.Warn("waiting for Redis", "err", err)
		case !taken || n.Instance == self.Instance: // or it was this node, before a restart
			return true
		default:
			log.Warn("another host is announced by this name: end its executor, or give this one another --node-name", "node", self.Name)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return false
		}
	}
}

// instance returns what tells this node apart from others of its name. It is
// made with the state directory.
func instance(state string) (string, error) {
	path := filepath.Join(state, instanceFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		b = []byte(rand.Text())
		err = replaceFile(path, b)
	}
	if err != nil {
		return "", fmt.Errorf("naming this node's state: %w", err)
	}
	if err := bus.CheckName(string(b)); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return string(b), nil
}

// check reads what the environment and the flags say of Redis.
func (f nodeFlags) check(getenv func(string) string) (rdb.Config, error) {
	config, ok, err := rdb.FromEnv(getenv)
	switch {
	case err != nil:
		return rdb.Config{}, err
	case !ok:
		return rdb.Config{}, errors.New("REDIS_URL is not set: an executor takes its jobs from Redis; for this host alone there is kgent ask")
	case config.Exposed() && !f.insecure:
		return rdb.Config{}, fmt.Errorf("REDIS_URL: %s is on another host and not encrypted: write rediss://, or allow it with --insecure-redis", config)
	case f.logFormat != "text" && f.logFormat != "json":
		return rdb.Config{}, fmt.Errorf("--log-format %q: want text or json", f.logFormat)
	case f.socketGroup != "" && f.socket == "":
		return rdb.Config{}, errors.New("--socket-group goes with --socket")
	case f.maxDuration <= 0:
		return rdb.Config{}, fmt.Errorf("--max-duration %v: want more than 0", f.maxDuration)
	}
	return config, nil
}

// parseLabels reads KEY=VALUE,….
func parseLabels(s string) (map[string]string, error) {
	labels := map[string]string{}
	if s == "" {
		return labels, nil
	}
	for _, l := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(l, "=")
		switch {
		case !ok || bus.CheckName(key) != nil || bus.CheckName(value) != nil:
			return nil, fmt.Errorf("%q is not KEY=VALUE of letters, digits, dots, dashes and underscores", l)
		case labels[key] != "":
			return nil, fmt.Errorf("%s is there twice", key)
		}
		labels[key] = value
	}
	return labels, nil
}

// announcement is what a node says of itself. It notes in the facts what a
// trial has shown that this kernel refuses.
func announcement(ctx context.Context, name string, labels map[string]string, facts *kernel.Facts) bus.NodeInfo {
	labels = maps.Clone(labels)
	labels["arch"], labels["kernel"] = facts.Arch, facts.Release
	// What others are told of the kernel says, too, what it refuses in fact.
	facts.Refused = map[string]string{}
	n := bus.NodeInfo{
		Name: name, Labels: labels, Kernel: facts.Release, Arch: facts.Arch, BTF: facts.BTFHash,
		Version: buildVersion(), Kinds: map[string]string{},
	}
	for _, c := range tracingCapabilities {
		if facts.Capabilities.Has(c.number) {
			n.Capabilities = append(n.Capabilities, c.name)
		}
	}
	slices.Sort(n.Capabilities)
	for _, f := range probe.Inventory(ctx) {
		why := ""
		if !f.OK {
			why = firstOf(f.Why, 300)
			if why == "" {
				why = "it does not work here"
			}
		}
		n.Kinds[string(f.Kind)] = why
		if !f.OK && slices.Contains(kernel.Kinds(), string(f.Kind)) { // others are no kinds of hooks
			facts.Refused[string(f.Kind)] = why
		}
		if !f.OK && f.Kind == probe.FeatureRingBuffer {
			facts.Refused[kernel.RingBuffer] = why
		}
	}
	return n
}

// buildVersion is what this binary was built from.
func buildVersion() string {
	version := "devel"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			version += " " + s.Value
		}
	}
	return version
}

// auditedKernel loads nothing while there is something that the audit log could
// not take.
type auditedKernel struct {
	executor.Kernel
	log    *slog.Logger
	record *audit.Log

	mu      sync.Mutex
	waiting []audit.Entry // for the log to work again
}

const (
	// auditLimit is how long writing may take.
	auditLimit = 10 * time.Second
	// maxWaiting bounds the entries that wait: refusals, since nothing runs.
	maxWaiting = 1000
)

// audit is the executor's Audit.
func (k *auditedKernel) audit(e executor.Entry) {
	kind, detail := audit.Job, e.What
	if e.What == "refused" {
		kind = audit.Refusal
	}
	for _, s := range []string{e.Rule, e.Detail} {
		if s != "" {
			detail += ": " + s
		}
	}
	k.log.Info("job "+e.What, "run", e.Run, "rule", e.Rule, "detail", e.Detail)
	data, err := json.Marshal(e)
	if err != nil { // it is made of strings and numbers
		k.log.Error("encoding an audit entry", "err", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.waiting) == maxWaiting {
		k.log.Error("an audit entry is lost", "entry", string(data))
		return
	}
	k.waiting = append(k.waiting, audit.Entry{Kind: kind, Run: e.Run, Digest: e.Digest, Detail: detail, Data: data})
	if err := k.write(); err != nil {
		k.log.Error("the audit log is not written: nothing is run until it is", "err", err)
	}
}

// write writes what waits, oldest first.
func (k *auditedKernel) write() error {
	ctx, cancel := context.WithTimeout(context.Background(), auditLimit)
	defer cancel()
	for len(k.waiting) > 0 {
		if err := k.record.Append(ctx, k.waiting[0]); err != nil {
			return err
		}
		k.waiting = k.waiting[1:]
	}
	return nil
}

// Load implements executor.Kernel.
func (k *auditedKernel) Load(ctx context.Context, o *program.Object, m *program.Manifest) (executor.Probe, error) {
	k.mu.Lock()
	err := k.write()
	k.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("the audit log of this node cannot be written: %w", err)
	}
	return k.Kernel.Load(ctx, o, m)
}

// calm is a log handler that says the same thing once in a while only: a Redis
// that is away is tried every second.
type calm struct {
	slog.Handler
	now  func() time.Time
	said *said
}

type said struct {
	mu   sync.Mutex
	last map[string]time.Time
	held map[string]int // since then
}

// sayAgain is how often the same warning is repeated.
const sayAgain = 30 * time.Second

func newCalm(h slog.Handler, now func() time.Time) calm {
	return calm{h, now, &said{last: map[string]time.Time{}, held: map[string]int{}}}
}

// Handle implements slog.Handler.
func (c calm) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn { // the messages are the program's own: few
		c.said.mu.Lock()
		if at, ok := c.said.last[r.Message]; ok && c.now().Sub(at) < sayAgain {
			c.said.held[r.Message]++
			c.said.mu.Unlock()
			return nil
		}
		if n := c.said.held[r.Message]; n > 0 {
			r.AddAttrs(slog.Int("not_repeated", n))
		}
		c.said.last[r.Message], c.said.held[r.Message] = c.now(), 0
		c.said.mu.Unlock()
	}
	return c.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (c calm) WithAttrs(attrs []slog.Attr) slog.Handler {
	return calm{c.Handler.WithAttrs(attrs), c.now, c.said}
}

// WithGroup implements slog.Handler.
func (c calm) WithGroup(name string) slog.Handler {
	return calm{c.Handler.WithGroup(name), c.now, c.said}
}

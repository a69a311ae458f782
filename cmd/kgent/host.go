package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent"
	"kgent/agent/codegen"
	"kgent/agent/llm"
	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/compile"
	"kgent/agent/program/vmlinux"
	"kgent/agent/recipes"
	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/bot"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/redact"
	"kgent/executor/render"
	"kgent/retrieval/kernel"
)

// maxEvents is the highest rate a person may ask for on their own host, in
// events a second: more than the kernel produces.
const maxEvents = 100_000_000

// host is this machine as bot, agent and only node in one process: the
// embedded default.
type host struct {
	bot   *bot.Bot
	agent *agent.Agent // the bot's
	close func()
}

// newHost wires the parts together. Its errors say what this machine lacks.
func newHost(ctx context.Context, sys system) (*host, error) {
	model, err := modelFromEnv(sys.getenv)
	if err != nil {
		return nil, err
	}
	return newHostWith(ctx, sys, model)
}

// newHostWith is newHost with another model than the environment names; nil: none.
func newHostWith(ctx context.Context, sys system, model llm.Model) (*host, error) {
	if err := kernel.EnsureMounts(ctx); err != nil && os.Geteuid() == 0 {
		return nil, err
	}
	facts, err := kernel.Live(ctx)
	if err != nil {
		return nil, err
	}
	if err := privileged(facts); err != nil {
		return nil, err
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("reading the host's name: %w", err)
	}
	library, err := recipes.Default()
	if err != nil {
		return nil, err
	}
	budget, effort, err := budgetFromEnv(sys.getenv)
	if err != nil {
		return nil, err
	}
	// What this host refuses only trials show. A model must not be offered it; recipes know theirs, and
	// say so when they load.
	trial := func(ctx context.Context) map[string]string {
		refused := map[string]string{}
		for _, f := range probe.Inventory(ctx) {
			switch {
			case f.OK:
			case f.Kind == probe.FeatureRingBuffer:
				refused[kernel.RingBuffer] = f.Why
			default:
				refused[string(f.Kind)] = f.Why
			}
		}
		return refused
	}
	if model != nil {
		facts.Refused = trial(ctx)
	}
	finder, err := modelsFinder(ctx, sys, model, nil, sys.notice)
	if err != nil {
		return nil, err
	}
	language, err := languageFromEnv(sys.getenv)
	if err != nil {
		return nil, err
	}
	compiler, err := compile.Find(ctx, sys.getenv)
	if err != nil && !errors.Is(err, compile.ErrNoClang) {
		return nil, err // without clang, the compile step says what to do
	}
	loader := probe.NewLoader(probe.Options{Resolve: facts.ResolveBinary, Cgroups: facts.CgroupMount, Types: facts.OwnTypes()})
	env := render.NewEnv()
	if env.Redact, err = redact.FromEnv(sys.getenv("KGENT_REDACT")); err != nil {
		return nil, fmt.Errorf("reading KGENT_REDACT: %w", err)
	}
	kern := executor.NewKernel(name, loader, env)
	// What release it is takes a while to find out, and few requests need to know.
	tool, err := bpftrace.Locate(sys.getenv, jailSelf()...)
	if err != nil && !errors.Is(err, bpftrace.ErrNone) {
		return nil, err // without bpftrace, a script's first step says what to do
	}
	if tool != nil {
		kern.Scripts = scriptTracer(name, tool, env.Redact)
	}

	foreign, err := probe.OwnPIDNamespace()
	if err != nil {
		return nil, err
	}
	key, err := approvals.NewKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	line := bus.NewMemory()
	labels := map[string]string{"arch": facts.Arch, "kernel": facts.Release}
	node := &executor.Executor{
		Node:     bus.NodeInfo{Name: name, Kernel: facts.Release, Arch: facts.Arch, Labels: labels},
		Verifier: &job.Verifier{Node: name, Labels: labels, Keys: []ed25519.PublicKey{key.Public()}, Replays: executor.NewMemoryReplays(time.Now), Now: time.Now, MaxDuration: approvals.LocalDuration},
		Kernel:   kern,
		Bus:      line,
		Policy:   executor.OwnHostPolicy(),
	}
	// Known before anybody asks: the node's own announcement comes a moment later.
	if err := line.Announce(ctx, node.Node, time.Minute); err != nil {
		return nil, err
	}
	// The node outlives the conversation's context: it must still detach and
	// account when that ends.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- node.Serve(serving) }()

	maker := &agent.Agent{
		Foreign: foreign,
		UserID:  userID, Recipes: library, Model: model, Compiler: compiler,
		Bpftrace: tool, Language: language,
		Budget: budget, Effort: effort,
		Generate: codegen.C,
		Finder:   finder,
		Now:      time.Now,
		Trial:    trial,
		Target:   agent.Target{Facts: facts, Types: vmlinux.LazyTypes(facts.BTF), Loader: dryLoader{kern}},
	}
	return &host{
		agent: maker,
		bot: &bot.Bot{
			Agent: maker,
			Desk: &approvals.Desk{
				Store: &approvals.Memory{}, Policy: approvals.Local{Node: name, MaxEvents: maxEvents}, Signer: key,
				Audit: &audit.Memory{}, Now: time.Now, Random: rand.Reader,
			},
			Runner: runner{line},
			Home:   name,
			Now:    time.Now,
		},
		close: func() {
			stop()
			<-done
		},
	}, nil
}

// privileged says what is missing for loading and attaching programs.
func privileged(facts *kernel.Facts) error {
	caps := facts.Capabilities
	if caps.Has(unix.CAP_SYS_ADMIN) || caps.Has(unix.CAP_BPF) && caps.Has(unix.CAP_PERFMON) {
		return nil
	}
	return errors.New("this process may not load eBPF programs: run kgent as root (sudo kgent …), or give it CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH and, for packets, CAP_NET_ADMIN; `kgent doctor` shows what it has")
}

// userID looks a user of this host up.
func userID(name string) (uint32, bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, false
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(id), err == nil
}

// budgetFromEnv reads what a model may cost for one request, and how much is asked of it:
//
//	KGENT_MODEL_BUDGET  "tries=6 tokens=250000 money=0.50 time=5m", over the defaults
//	KGENT_MODEL_EFFORT  "independent=yes samples=1 ask=yes split=yes comprehend=yes tools=12", over the defaults
func budgetFromEnv(getenv func(string) string) (agent.Budget, agent.Effort, error) {
	budget, err := agent.DefaultBudget.Set(getenv("KGENT_MODEL_BUDGET"))
	if err != nil {
		return budget, agent.Effort{}, fmt.Errorf("KGENT_MODEL_BUDGET: %w", err)
	}
	effort, err := agent.DefaultEffort.Set(getenv("KGENT_MODEL_EFFORT"))
	if err != nil {
		return budget, effort, fmt.Errorf("KGENT_MODEL_EFFORT: %w", err)
	}
	return budget, effort, nil
}

// modelFromEnv returns nil when no model is configured.
func modelFromEnv(getenv func(string) string) (llm.Model, error) {
	m, ok, err := llm.ModelFromEnv(getenv)
	if err != nil || !ok {
		return nil, err
	}
	return m, nil
}

// dryLoader loads into the kernel's verifier and unloads again.
type dryLoader struct{ kernel executor.Kernel }

func (d dryLoader) DryLoad(ctx context.Context, o *program.Object, m *program.Manifest) ([]program.Verified, error) {
	return executor.DryLoad(ctx, d.kernel, o, m)
}

// runner sends grants over a bus and follows their output.
type runner struct{ bus bus.Control }

func (r runner) Nodes(ctx context.Context) ([]bus.NodeInfo, error) { return r.bus.Nodes(ctx) }

func (r runner) Run(ctx context.Context, g *job.Grant, envelope []byte, line func([]byte)) (output.Summary, error) {
	if err := executor.Dispatch(ctx, r.bus, g, envelope); err != nil {
		return output.Summary{}, err
	}
	return executor.Follow(ctx, r.bus, g, line)
}

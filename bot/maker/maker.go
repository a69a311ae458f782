// Package maker makes programs for nodes that are elsewhere: it reads what
// their kernels are from what they published, has the agent make a program for
// them, and asks a node of each distinct kernel whether it would take it.
//
// Where the bot runs needs no BPF and no privileges; clang is all it takes.
package maker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kgent/agent"
	"kgent/agent/contract"
	"kgent/agent/llm"
	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/compile"
	"kgent/agent/program/vmlinux"
	"kgent/agent/quota"
	"kgent/agent/recipes"
	"kgent/agent/team"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/bot/card"
	"kgent/bot/explain"
	"kgent/bot/thread"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
	"kgent/retrieval/kernel"
)

// Maker implements thread.Maker. Its fields are set before it is used. It is
// safe for concurrent use.
type Maker struct {
	Recipes  *recipes.Library
	Model    llm.Model // nil: no model is configured
	Compiler *compile.Compiler
	// Bpftrace translates scripts; nil refuses them. Language is the agent's.
	Bpftrace *bpftrace.Tool
	Language string
	Prover   agent.Prover
	Comparer agent.Comparer   // nil: each agent's own
	Finder   agent.HookFinder // nil: hooks are found by their names only
	Budget   agent.Budget
	Effort   agent.Effort
	Generate agent.Generator // nil: models write all programs
	Quota    *quota.Ledger   // nil: there are no quotas
	// Lessons, if set, keep what programs were refuted for; Warn hears when that fails.
	Lessons agent.Lessons
	Warn    func(what string, err error)
	// Team lists the team's own recipes; nil: there are none.
	Team   func(ctx context.Context) ([]team.Recipe, error)
	Bus    bus.Control
	Signer executor.CheckSigner
	Now    func() time.Time

	records agent.Records
	mu      sync.Mutex
	kernels map[string]*known // by the hash of its facts
}

// maxKernels is how many kernels are kept in memory: more than a fleet has, and
// few enough for some 30 MB each.
const maxKernels = 16

// readLimit is how long reading the facts of a kernel may take.
const readLimit = time.Minute

// known is a kernel that was read, once.
type known struct {
	once  sync.Once
	used  time.Time
	facts *kernel.Facts
	types *vmlinux.Types
	err   error
}

// group is the nodes of one kernel.
type group struct {
	facts   string
	release string
	btf     string
	nodes   []string
}

// groups sorts nodes by their kernels.
func groups(nodes []bus.NodeInfo) ([]group, error) {
	var out []group
	for _, n := range nodes {
		if n.Facts == "" {
			return nil, fmt.Errorf("%w: the node %s has not said what its kernel is; its kernel may have no BTF, or its kgent is too old: see `kgent doctor` there", agent.ErrRequest, n.Name)
		}
		i := slices.IndexFunc(out, func(g group) bool { return g.facts == n.Facts })
		if i < 0 {
			i = len(out)
			out = append(out, group{facts: n.Facts, release: n.Kernel, btf: n.BTF})
		}
		out[i].nodes = append(out[i].nodes, n.Name)
	}
	if len(out) == 0 {
		return nil, errors.New("making a program: for no node")
	}
	return out, nil
}

// Make implements thread.Maker.
func (m *Maker) Make(ctx context.Context, req agent.Request, nodes []bus.NodeInfo, progress func(agent.Step)) (thread.Made, error) {
	kernels, err := groups(nodes)
	if err != nil {
		return thread.Made{}, err
	}
	targets, err := m.targets(ctx, kernels)
	if err != nil {
		return thread.Made{}, err
	}
	if req.DryRun {
		for i := range targets {
			targets[i].Loader = &executor.Preflight{Bus: m.Bus, Signer: m.Signer, Nodes: kernels[i].nodes, DryRun: true}
		}
	}
	c, err := m.agent().PrepareFor(ctx, req, targets, progress)
	if err != nil {
		return thread.Made{}, forChat(err)
	}
	manifest, err := c.Manifest.Encode()
	if err != nil {
		return thread.Made{}, err
	}
	out := thread.Made{
		Program: job.Program{ELF: c.Object.ELF(), Manifest: manifest, Contract: c.ContractText()}, Source: c.Source,
		Understood: c.Understood, Explanation: c.Explanation, Duration: c.Duration,
	}
	out.Card = describe(c.Manifest)
	out.Card.Origin, out.Card.Verdict, out.Card.Reason = c.Origin, c.Finding.Verdict.String(), c.Finding.Reason
	out.Card.Contract = c.ContractWords()
	out.Card.Reading = c.ReadingWords()
	for i, k := range c.Checked {
		out.Kernels = append(out.Kernels, thread.Kernel{Release: k.Release, BTF: kernels[i].btf, Nodes: k.Nodes, OK: k.OK, Detail: lookedAt(k.Instructions)})
	}
	return out, nil
}

// forChat takes out of an error what only whoever runs kgent can do.
func forChat(err error) error {
	var none *recipes.NoMatchError
	if errors.As(err, &none) {
		return fmt.Errorf("%w: %sWhat the recipes do not cover takes a model: ask whoever runs kgent for one.", agent.ErrNoAnswer, none.Found())
	}
	var unanswered *agent.UnansweredError
	if errors.As(err, &unanswered) {
		return fmt.Errorf("%w: %sWhat neither the recipes nor this cover takes a model: ask whoever runs kgent for one.", agent.ErrNoAnswer, unanswered.Found)
	}
	var model *llm.Error
	if errors.As(err, &model) && errors.Is(err, agent.ErrModel) {
		if advice := model.Advice(); advice != "" {
			return fmt.Errorf("%w: %s", agent.ErrModel, strings.TrimPrefix(strings.Replace(err.Error(), "; "+advice, "", 1), agent.ErrModel.Error()+": "))
		}
	}
	return err
}

// lookedAt says how much work the program was for the verifier.
func lookedAt(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d instructions looked at", n)
}

// Remake implements thread.Maker.
func (m *Maker) Remake(ctx context.Context, p job.Program, params map[string]string, dry bool, nodes []bus.NodeInfo, progress func(agent.Step)) (thread.Made, error) {
	kernels, err := groups(nodes)
	if err != nil {
		return thread.Made{}, err
	}
	if len(params) > 0 {
		if p.Manifest, err = program.WithConstants(p.ELF, p.Manifest, params); err != nil {
			return thread.Made{}, fmt.Errorf("%w: %w", agent.ErrRequest, err)
		}
	}
	manifest, err := program.DecodeManifest(p.Manifest)
	if err != nil {
		return thread.Made{}, err
	}
	out := thread.Made{Program: p, Card: describe(manifest)}
	if err := m.prove(ctx, &out, kernels, progress); err != nil {
		return thread.Made{}, err
	}
	out.Kernels, err = m.check(ctx, p, dry, kernels, progress)
	return out, err
}

// Silent implements thread.Maker.
func (m *Maker) Silent(ctx context.Context, p job.Program, dry bool, nodes []string, progress func(agent.Step)) ([]string, error) {
	step := agent.Step{Name: "load", State: "start"}
	progress(step)
	begun := m.Now()
	answers, err := executor.Check(ctx, m.Bus, m.Signer, p, nodes, dry)
	step.State, step.Detail, step.Elapsed = "done", "asked "+strings.Join(nodes, ", "), m.Now().Sub(begun)
	if err != nil {
		step.State, step.Detail = "failed", err.Error()
	}
	progress(step)
	var silent []string
	for _, a := range answers {
		if !a.Answered {
			silent = append(silent, a.Node)
		}
	}
	return silent, err
}

// prove says what is proved of a stored program for these kernels, which may be
// others than the ones that it was made for.
func (m *Maker) prove(ctx context.Context, out *thread.Made, kernels []group, progress func(agent.Step)) error {
	o, manifest, err := program.Open(out.Program.ELF, out.Program.Manifest)
	if err != nil {
		return err
	}
	if manifest.Script != nil { // what it does on another kernel, the node there says
		out.Card.Verdict, out.Card.Reason = proof.Unknown.String(), agent.UnprovedScript
		return nil
	}
	c := &agent.Candidate{Object: o, Manifest: manifest}
	if len(out.Program.Contract) > 0 {
		if c.Contract, err = contract.Parse(string(out.Program.Contract)); err != nil {
			return fmt.Errorf("reading the contract: %w", err)
		}
	}
	targets, err := m.targets(ctx, kernels)
	if err != nil {
		return err
	}
	finding, err := m.agent().Prove(ctx, c, targets, progress)
	var failed *verify.Failure
	if errors.As(err, &failed) {
		return fmt.Errorf("%w: %w", agent.ErrNoAnswer, err)
	}
	out.Card.Verdict, out.Card.Reason, out.Card.Contract = finding.Verdict.String(), finding.Reason, c.ContractWords()
	return err
}

// targets are kernels as the agent wants them.
func (m *Maker) targets(ctx context.Context, kernels []group) ([]agent.Target, error) {
	targets := make([]agent.Target, len(kernels))
	for i, g := range kernels {
		var err error
		if targets[i], err = m.target(ctx, g); err != nil {
			return nil, err
		}
	}
	return targets, nil
}

func (m *Maker) agent() *agent.Agent {
	return &agent.Agent{
		Recipes: m.Recipes, Model: m.Model, Compiler: m.Compiler,
		Bpftrace: m.Bpftrace, Language: m.Language,
		Budget: m.Budget, Effort: m.Effort,
		Generate: m.Generate,
		Quota:    m.Quota,
		Prover:   m.Prover,
		Comparer: m.Comparer,
		Finder:   m.Finder,
		Team:     m.Team,
		Lessons:  m.Lessons,
		Warn:     m.Warn,
		Records:  &m.records,
		Now:      m.Now,
	}
}

// Params implements thread.Maker.
func (m *Maker) Params(p job.Program) ([]thread.Param, error) {
	settings, err := program.Editable(p.ELF, p.Manifest)
	if err != nil {
		return nil, err
	}
	var out []thread.Param
	for _, s := range settings {
		out = append(out, thread.Param{Name: s.Name, Value: s.Value, Means: strings.Join(strings.Fields(s.Means), " ")})
	}
	return out, nil
}

// Valid implements thread.Maker.
func (m *Maker) Valid(p job.Program, params map[string]string) error {
	text, err := program.WithConstants(p.ELF, p.Manifest, params)
	if err != nil || len(p.Contract) == 0 {
		return err
	}
	c, err := contract.Parse(string(p.Contract))
	if err != nil {
		return fmt.Errorf("reading the contract: %w", err)
	}
	o, manifest, err := program.Open(p.ELF, text)
	if err != nil {
		return err
	}
	return agent.Allowed(c, o, manifest)
}

// describe is what a manifest says for the card.
func describe(m *program.Manifest) output.Candidate {
	c := output.Candidate{Name: m.Name, Title: m.Title, Hooks: []string{}, Params: []output.Param{}}
	if m.Script != nil {
		c.Script = m.Script.Text
	}
	for _, p := range m.Programs {
		c.Hooks = append(c.Hooks, p.Hook.String())
	}
	for _, k := range m.Constants {
		c.Params = append(c.Params, output.Param{Name: k.Name, Value: k.Value})
	}
	return c
}

// check asks one node of each kernel, all at once, of a dry run what it would load. A node that does not answer
// is no reason against the program, and is said; one that refuses is.
func (m *Maker) check(ctx context.Context, p job.Program, dry bool, kernels []group, progress func(agent.Step)) ([]thread.Kernel, error) {
	ask := make([]string, len(kernels))
	for i, g := range kernels {
		ask[i] = g.nodes[0]
	}
	progress(agent.Step{Name: "load", State: "start"})
	begun := m.Now()
	answers, err := executor.Check(ctx, m.Bus, m.Signer, p, ask, dry)
	if err != nil {
		progress(agent.Step{Name: "load", State: "failed", Detail: err.Error(), Elapsed: m.Now().Sub(begun)})
		return nil, err
	}
	var out []thread.Kernel
	var refused []string
	for i, g := range kernels {
		a := answers[i]
		k := thread.Kernel{Release: g.release, BTF: g.btf, Nodes: g.nodes, OK: a.OK}
		switch {
		case a.OK:
			n := uint64(0)
			for _, v := range a.Programs {
				n += uint64(v.Processed)
			}
			k.Detail = lookedAt(n)
		case !a.Answered:
			k.Detail = a.Node + " did not answer"
		default:
			refused = append(refused, fmt.Sprintf("Linux %s (%s): %s", g.release, strings.Join(g.nodes, ", "), a.Detail))
		}
		out = append(out, k)
	}
	if refused != nil {
		err := fmt.Errorf("a node would not take it: %s", strings.Join(refused, "; "))
		progress(agent.Step{Name: "load", State: "failed", Detail: err.Error(), Elapsed: m.Now().Sub(begun)})
		return nil, fmt.Errorf("%w: %w", agent.ErrNoAnswer, err)
	}
	progress(agent.Step{Name: "load", State: "done", Detail: fmt.Sprintf("asked %s", strings.Join(ask, ", ")), Elapsed: m.Now().Sub(begun)})
	return out, nil
}

// target returns a kernel as the agent wants it.
func (m *Maker) target(ctx context.Context, g group) (agent.Target, error) {
	m.mu.Lock()
	if m.kernels == nil {
		m.kernels = map[string]*known{}
	}
	k := m.kernels[g.facts]
	if k == nil {
		m.forget()
		k = &known{}
		m.kernels[g.facts] = k
	}
	k.used = m.Now()
	m.mu.Unlock()
	// Others wait for the same kernel: it is read even if this request goes.
	k.once.Do(func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), readLimit)
		defer cancel()
		k.facts, k.types, k.err = m.read(limit, g)
	})
	if k.err != nil { // it may be there the next time
		m.mu.Lock()
		if m.kernels[g.facts] == k {
			delete(m.kernels, g.facts)
		}
		m.mu.Unlock()
		return agent.Target{}, k.err
	}
	return agent.Target{Facts: k.facts, Types: k.types, Loader: &executor.Preflight{Bus: m.Bus, Signer: m.Signer, Nodes: g.nodes}, Hash: g.facts, Nodes: g.nodes}, nil
}

// forget makes room for one more kernel.
func (m *Maker) forget() {
	if len(m.kernels) < maxKernels {
		return
	}
	oldest := ""
	for hash, k := range m.kernels {
		if oldest == "" || k.used.Before(m.kernels[oldest].used) {
			oldest = hash
		}
	}
	delete(m.kernels, oldest)
}

func (m *Maker) read(ctx context.Context, g group) (*kernel.Facts, *vmlinux.Types, error) {
	blob, err := m.Bus.Facts(ctx, g.facts)
	if errors.Is(err, bus.ErrNoFacts) {
		return nil, nil, fmt.Errorf("%w: what %s said of its kernel is not there any more; it says it again within a minute", agent.ErrRequest, g.nodes[0])
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the facts of %s: %w", g.nodes[0], err)
	}
	facts, err := kernel.Decode(blob)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the facts of %s: %w", g.nodes[0], err)
	}
	types, err := vmlinux.NewTypes(facts.BTF)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the types of %s: %w", g.nodes[0], err)
	}
	return facts, types, nil
}

// Explain implements thread.Maker. It is said for the first of the nodes' kernels.
func (m *Maker) Explain(ctx context.Context, req agent.Request, nodes []bus.NodeInfo, progress func(agent.Step)) (card.Card, error) {
	kernels, err := groups(nodes)
	if err != nil {
		return card.Card{}, err
	}
	targets, err := m.targets(ctx, kernels[:1])
	if err != nil {
		return card.Card{}, err
	}
	x, err := m.agent().Explain(ctx, req, targets, progress)
	if err != nil {
		return card.Card{}, err
	}
	return explain.Card(x)
}

// Recipe implements thread.Maker.
func (m *Maker) Recipe(ctx context.Context, source string, p job.Program, nodes []bus.NodeInfo, progress func(agent.Step)) (thread.Kept, error) {
	fail := func(err error) (thread.Kept, error) { return thread.Kept{}, err }
	kernels, err := groups(nodes)
	if err != nil {
		return fail(err)
	}
	targets, err := m.targets(ctx, kernels)
	if err != nil {
		return fail(err)
	}
	lifted, recipe, err := m.agent().Recipe(ctx, source, p.Manifest, string(p.Contract), targets, progress)
	if err != nil {
		return fail(forChat(err))
	}
	manifest, err := lifted.Manifest.Encode()
	if err != nil {
		return fail(err)
	}
	out := thread.Kept{Recipe: recipe, Lifted: lifted.Params, Left: lifted.Kept}
	out.Program = job.Program{ELF: lifted.Object.ELF(), Manifest: manifest, Contract: lifted.ContractText()}
	out.Source, out.Card = lifted.Source, describe(lifted.Manifest)
	out.Card.Origin, out.Card.Verdict, out.Card.Reason, out.Card.Contract = "a recipe to be kept", lifted.Finding.Verdict.String(), lifted.Finding.Reason, lifted.ContractWords()
	for i, k := range lifted.Checked {
		out.Kernels = append(out.Kernels, thread.Kernel{Release: k.Release, BTF: kernels[i].btf, Nodes: k.Nodes, OK: k.OK, Detail: lookedAt(k.Instructions)})
	}
	return out, nil
}

package verify

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/proof"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
	"kgent/retrieval/kernel"
)

// ProofKernel is a kernel in the form that a proof takes: its types, and the
// records of its tracepoints. Making one takes about 0.1 s, so make it once. It
// is safe for concurrent use; proofs for one kernel take turns, each using all
// processors.
type ProofKernel struct {
	name   string
	id     string
	linked *symbolic.Kernel
	types  *contract.Types
	turn   chan struct{}
}

// KernelOf makes a ProofKernel of its facts.
func KernelOf(k *kernel.Facts) (*ProofKernel, error) {
	vmlinux, modules, err := k.Specs()
	if err != nil {
		return nil, err
	}
	types, err := contract.NewTypes(k)
	if err != nil {
		return nil, err
	}
	linked := &symbolic.Kernel{Types: vmlinux, Modules: modules, Arch: k.Arch, Format: func(category, name string) ([]symbolic.Field, bool) {
		return format(k, category, name)
	}}
	return &ProofKernel{name: k.Release, id: k.Hash(), linked: linked, types: types, turn: make(chan struct{}, 1)}, nil
}

// KernelOfBTF makes a ProofKernel of which nothing but the BTF is known. name is for
// people, hash tells it from others.
func KernelOfBTF(name, hash string, spec *btf.Spec) (*ProofKernel, error) {
	types, err := contract.NewTypes(contract.FromBTF(spec.Copy()))
	if err != nil {
		return nil, err
	}
	return &ProofKernel{name: name, id: hash, linked: &symbolic.Kernel{Types: spec.Copy()}, types: types, turn: make(chan struct{}, 1)}, nil
}

// String is the kernel's release, or the name it was given.
func (k *ProofKernel) String() string { return k.name }

// Check holds a contract against the kernel's types.
func (k *ProofKernel) Check(c *contract.Contract) (*contract.Checked, error) {
	return contract.Check(c, k.types)
}

// format is a tracepoint's record as tracefs has it.
func format(k *kernel.Facts, category, name string) ([]symbolic.Field, bool) {
	tp, err := k.Tracepoint(category, name)
	if err != nil {
		return nil, false
	}
	fields := make([]symbolic.Field, len(tp.Fields))
	for i, f := range tp.Fields {
		if f.RelLoc {
			return nil, false // not modelled; BTF does not have it either, so a use is Unknown
		}
		fields[i] = symbolic.Field{Name: f.Name, Type: f.Type, Offset: f.Offset, Size: f.Size, Signed: f.Signed, Array: f.Array, DataLoc: f.DataLoc}
	}
	return fields, true
}

// Prover proves programs in this process, and remembers what it proved. It is
// safe for concurrent use.
type Prover struct {
	// Limits bound each proof; the zero value means [proof.Defaults].
	Limits proof.Limits
	// Solver makes the solver of a proof; nil is the built-in one.
	Solver func(*smt.Builder) smt.Solver
	// Trusted tells of a contract that others have judged, such as a recipe's, whose
	// mutants the project's tests hold against it. Any other contract is judged with
	// each proof, by as many mutants of the program as there is time for in about
	// the time of the proof. Nil trusts none.
	Trusted func(*contract.Contract) bool

	reports Reports
	mu      sync.Mutex
	kernels map[*kernel.Facts]func() (*ProofKernel, error)
	read    []*kernel.Facts // the keys of kernels, oldest first
}

// maxKernels is how many kernels a Prover keeps, some 30 MB each.
const maxKernels = 16

// Prove holds a program against a contract on the kernel of these facts. See
// [Prover.ProveOn].
func (p *Prover) Prove(ctx context.Context, facts *kernel.Facts, o *program.Object, m *program.Manifest, c *contract.Contract) (*proof.Report, error) {
	k, err := p.kernel(facts)
	if err != nil {
		return nil, err
	}
	return p.ProveOn(ctx, k, o, m, c)
}

// kernel returns the ProofKernel of these facts, which is made once.
func (p *Prover) kernel(facts *kernel.Facts) (*ProofKernel, error) {
	p.mu.Lock()
	get := p.kernels[facts]
	if get == nil {
		if p.kernels == nil {
			p.kernels = map[*kernel.Facts]func() (*ProofKernel, error){}
		}
		if len(p.read) == maxKernels {
			delete(p.kernels, p.read[0])
			p.read = p.read[1:]
		}
		get = sync.OnceValues(func() (*ProofKernel, error) { return KernelOf(facts) })
		p.kernels[facts] = get
		p.read = append(p.read, facts)
	}
	p.mu.Unlock()
	return get()
}

// ProveOn holds a program against a contract on one kernel. Without a contract
// (nil) only what needs none is checked. Constants in the manifest do not
// limit a proof: it holds for all values of the parameters. The report is
// shared and must not be changed. The error is about the input: a contract
// that does not fit the kernel, a program that cannot be linked; or it is the
// context's.
func (p *Prover) ProveOn(ctx context.Context, k *ProofKernel, o *program.Object, m *program.Manifest, c *contract.Contract) (*proof.Report, error) {
	key, err := KeyOf(k.name, k.id, o, m, c)
	if err != nil {
		return nil, err
	}
	if r := p.reports.Recall(key); r != nil {
		return r, nil
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("proving: %w", context.Cause(ctx))
	}
	if r := p.reports.Recall(key); r != nil { // it was just proved for somebody else
		return r, nil
	}
	var form *program.Form
	if m.Script != nil {
		if form, err = scriptForm(k.linked.Format, o, m); err != nil {
			return unmappedReport(err)
		}
	}
	in := proof.Input{Form: form, Object: o, Manifest: m, Contract: c, Kernel: k.linked, Types: k.types, Solver: p.Solver, Limits: p.Limits}
	if c != nil && (p.Trusted == nil || !p.Trusted(c)) {
		in.Mutants = mutants(o, m)
	}
	r, err := proof.Verify(ctx, in)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("proving: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}
	p.reports.Keep(key, r)
	return r, nil
}

// RefutedError says that a program does not keep its contract, or that its
// contract is none.
type RefutedError struct{ Report *proof.Report }

func (e *RefutedError) Error() string { return e.Report.Reasons[0] }

// Judged is what reports about one program, a report for each kernel that it
// is for, say together: the least of them counts. kernels are the kernels'
// releases. A program that is refuted, or whose contract is vacuous, on any
// kernel is a *[Failure] at the gate symbolic.
func Judged(kernels []string, reports []*proof.Report) (Finding, error) {
	if len(reports) == 0 || len(reports) != len(kernels) {
		return Finding{proof.Unknown, "unproved: no proof was made"}, nil
	}
	on := func(i int) string {
		if len(kernels) == 1 {
			return ""
		}
		return " on " + kernels[i]
	}
	var unknown []string
	paths := 0
	for i, r := range reports {
		switch r.Verdict {
		case proof.Verified:
			paths = max(paths, r.Stats.Paths)
		case proof.Refuted, proof.Vacuous:
			return Finding{}, &Failure{GateSymbolic, &RefutedError{r}}
		default:
			reason := "no reason was given"
			if len(r.Reasons) > 0 {
				reason = r.Reasons[0]
			}
			unknown = append(unknown, reason+on(i))
		}
	}
	if len(unknown) > 0 {
		return Finding{proof.Unknown, "unproved: " + strings.Join(unknown, "; ")}, nil
	}
	reason := fmt.Sprintf("proved for all inputs on %s", plural(paths, "path"))
	if cases := caseNames(reports[0]); len(cases) > 0 {
		reason += "; cases " + strings.Join(cases, ", ")
	}
	if len(kernels) > 1 {
		reason += fmt.Sprintf("; on all %d kernels", len(kernels))
	}
	return Finding{proof.Verified, reason}, nil
}

// caseNames are the names of the cases, each once, without their places and
// without what holds otherwise.
func caseNames(r *proof.Report) []string {
	var names []string
	seen := map[string]bool{}
	for _, c := range r.Cases {
		name := c.ID[strings.LastIndex(c.ID, "/")+1:]
		if !seen[name] && name != "otherwise" {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

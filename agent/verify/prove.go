package verify

import (
	"context"
	"crypto/sha256"
	"errors"
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
	hash   string
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
	return &ProofKernel{name: k.Release, hash: k.BTFHash, linked: linked, types: types, turn: make(chan struct{}, 1)}, nil
}

// KernelOfBTF makes a ProofKernel of which nothing but the BTF is known. name is for
// people, hash tells it from others.
func KernelOfBTF(name, hash string, spec *btf.Spec) (*ProofKernel, error) {
	types, err := contract.NewTypes(contract.FromBTF(spec.Copy()))
	if err != nil {
		return nil, err
	}
	return &ProofKernel{name: name, hash: hash, linked: &symbolic.Kernel{Types: spec.Copy()}, types: types, turn: make(chan struct{}, 1)}, nil
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

// Prover proves programs, and remembers what it proved: the same bytes, for
// the same contract and kernel, are judged once. It is safe for concurrent
// use.
type Prover struct {
	// Limits bound each proof; the zero value means [proof.Defaults].
	Limits proof.Limits
	// Solver makes the solver of a proof; nil is the built-in one.
	Solver func(*smt.Builder) smt.Solver

	mu      sync.Mutex
	known   map[[sha256.Size]byte]*proof.Report
	recent  [][sha256.Size]byte // the keys of known, oldest first
	kernels map[*kernel.Facts]func() (*ProofKernel, error)
	read    []*kernel.Facts // the keys of kernels, oldest first
}

// maxKernels is how many kernels a Prover keeps, some 30 MB each.
const maxKernels = 16

// Kernel returns the ProofKernel of these facts, which is made once.
func (p *Prover) Kernel(facts *kernel.Facts) (*ProofKernel, error) {
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

// maxKnown is how many reports a Prover keeps; they have a few kilobytes each.
const maxKnown = 256

// Prove holds a program against a contract on one kernel. Without a contract
// (nil) only what needs none is checked. Constants in the manifest do not
// limit a proof: it holds for all values of the parameters. The report is
// shared and must not be changed. The error is about the input: a contract
// that does not fit the kernel, a program that cannot be linked; or it is the
// context's.
func (p *Prover) Prove(ctx context.Context, k *ProofKernel, o *program.Object, m *program.Manifest, c *contract.Contract) (*proof.Report, error) {
	if o.ELF() == nil {
		return nil, errors.New("proving: an altered object has no bytes to know it by")
	}
	key := p.key(k, o, m, c)
	if r, ok := p.recall(key); ok {
		return r, nil
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("proving: %w", context.Cause(ctx))
	}
	if r, ok := p.recall(key); ok { // it was just proved for somebody else
		return r, nil
	}
	r, err := proof.Verify(ctx, proof.Input{Object: o, Manifest: m, Contract: c, Kernel: k.linked, Types: k.types, Solver: p.Solver, Limits: p.Limits})
	if ctx.Err() != nil {
		return nil, fmt.Errorf("proving: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}
	p.keep(key, r)
	return r, nil
}

// key covers everything that a report depends on. Of a manifest that is where
// its programs are attached and how large its maps are.
func (p *Prover) key(k *ProofKernel, o *program.Object, m *program.Manifest, c *contract.Contract) (key [sha256.Size]byte) {
	h := sha256.New()
	part := func(s string) { fmt.Fprintf(h, "%d:%s", len(s), s) }
	part(k.hash)
	part(k.name)
	part(string(o.ELF()))
	for _, x := range m.Programs {
		part(x.Name)
		part(x.Hook.String())
	}
	for _, x := range m.Maps {
		part(x.Name)
		part(string(x.Role))
		part(fmt.Sprint(x.MaxEntries))
	}
	if c != nil {
		part(contract.Format(c))
		for _, p := range c.Params {
			if p.Min == nil && p.Max == nil {
				continue
			}
			for _, x := range m.Constants { // whether it is in the range
				if x.Name == p.Name {
					part(x.Name)
					part(fmt.Sprint(x.Value))
				}
			}
		}
	}
	part(fmt.Sprintf("%+v", p.Limits))
	h.Sum(key[:0])
	return key
}

func (p *Prover) recall(key [sha256.Size]byte) (*proof.Report, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.known[key]
	return r, ok
}

// keep keeps what will be the same the next time: an UNKNOWN may be for want of
// time.
func (p *Prover) keep(key [sha256.Size]byte, r *proof.Report) {
	if r.Verdict == proof.Unknown {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[[sha256.Size]byte]*proof.Report{}
	}
	if _, ok := p.known[key]; !ok {
		p.recent = append(p.recent, key)
	}
	p.known[key] = r
	if len(p.recent) > maxKnown {
		delete(p.known, p.recent[0])
		p.recent = p.recent[1:]
	}
}

// RefutedError says that a program does not keep its contract, or that its
// contract is none.
type RefutedError struct{ Report *proof.Report }

func (e *RefutedError) Error() string { return e.Report.Reasons[0] }

// Judged is what reports about one program, a report for each kernel that it
// is for, say together: the least of them counts. A program that is refuted, or whose
// contract is vacuous, on any kernel is a *[Failure] at the gate symbolic.
func Judged(kernels []*ProofKernel, reports []*proof.Report) (Finding, error) {
	if len(reports) == 0 || len(reports) != len(kernels) {
		return Finding{Unknown, "unproved: no proof was made"}, nil
	}
	on := func(i int) string {
		if len(kernels) == 1 {
			return ""
		}
		return " on " + kernels[i].String()
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
		return Finding{Unknown, "unproved: " + strings.Join(unknown, "; ")}, nil
	}
	reason := fmt.Sprintf("proved for all inputs on %s", plural(paths, "path"))
	if cases := caseNames(reports[0]); len(cases) > 0 {
		reason += "; cases " + strings.Join(cases, ", ")
	}
	if len(kernels) > 1 {
		reason += fmt.Sprintf("; on all %d kernels", len(kernels))
	}
	return Finding{Verified, reason}, nil
}

// caseNames are the names of the cases, each once, without their places.
func caseNames(r *proof.Report) []string {
	var names []string
	seen := map[string]bool{}
	for _, c := range r.Cases {
		name := c.ID[strings.LastIndex(c.ID, "/")+1:]
		if !seen[name] {
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

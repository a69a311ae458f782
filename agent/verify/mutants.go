package verify

import (
	"iter"
	"slices"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/mutate"
	"kgent/agent/verify/proof"
)

// TrustedAre returns a [Prover.Trusted] that trusts these contracts.
func TrustedAre(list []*contract.Contract) func(*contract.Contract) bool {
	known := map[string]bool{}
	for _, c := range list {
		if c != nil {
			known[contract.Format(c)] = true
		}
	}
	return func(c *contract.Contract) bool { return known[contract.Format(c)] }
}

// telling are the operators whose mistakes mostly show, whatever the input is. The others
// change the sign of a comparison, the width of a store or a constant by one, which
// makes no difference as often as it does.
var telling = []string{
	"code-bswap-drop", "code-branch-always", "code-branch-never", "code-field-next", "code-store-drop", "code-store-swap", "code-constant",
	"code-helper", "code-call-drop", "code-arg-next", "code-verdict", "code-arithmetic",
}

// own tells whether the instruction at an index was compiled from the program's own source,
// not from kgent's header.
func own(code asm.Instructions, i int) bool {
	for ; i >= 0; i-- {
		if l, ok := code[i].Source().(*btf.Line); ok {
			return !strings.HasSuffix(l.FileName(), ".h")
		}
		if code[i].Symbol() != "" {
			break
		}
	}
	return false
}

// mutants yields wrong variants of a manifest's programs: one of each operator and program
// in turn, so that however many are taken are a sample of all. What comes from kgent's own
// header is left out.
func mutants(o *program.Object, m *program.Manifest) iter.Seq[proof.Mutant] {
	return func(yield func(proof.Mutant) bool) {
		var queues [][]proof.Mutant
		code := map[string]asm.Instructions{}
		for _, p := range o.Programs() {
			if !slices.ContainsFunc(m.Programs, func(x program.Program) bool { return x.Name == p.Name }) {
				continue
			}
			byOperator := map[string]int{}
			for _, v := range mutate.Mutate(p) {
				if !slices.Contains(telling, v.Operator) || !own(p.Instructions, v.Index) {
					continue
				}
				at, ok := byOperator[v.Operator]
				if !ok {
					at = len(queues)
					byOperator[v.Operator] = at
					queues = append(queues, nil)
				}
				name := p.Name + " " + v.String()
				code[name] = v.Program.Instructions
				queues[at] = append(queues[at], proof.Mutant{Name: name, Program: p.Name, Index: v.Index})
			}
		}
		for left := true; left; {
			left = false
			for i, q := range queues {
				if len(q) == 0 {
					continue
				}
				left = true
				at := len(q) / 2 // not always the first lines
				next := q[at]
				queues[i] = slices.Delete(q, at, at+1)
				var err error
				if next.Object, err = o.Altered(map[string]asm.Instructions{next.Program: code[next.Name]}); err != nil {
					continue
				}
				if !yield(next) {
					return
				}
			}
		}
	}
}

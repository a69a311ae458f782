package verify

import (
	"iter"
	"slices"

	"github.com/cilium/ebpf/asm"

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
				if v.Line == 0 {
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

package agent

import (
	"context"
	"errors"
	"fmt"

	"kgent/agent/alternative"
	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
)

// chosen is a contract with hooks that all kernels of the request have, as far as there are any, and what was replaced, in
// words. Without need it is the contract itself.
func (p *preparation) chosen(ctx context.Context, c *contract.Contract) (*contract.Contract, []string, error) {
	if f := p.Target.Facts; p.Trial != nil && f.Refused == nil && alternative.Depends(c) {
		f.Refused = p.Trial(ctx)
	}
	next, did, err := alternative.Hooks(c, p.kernels())
	if err != nil {
		return nil, nil, fmt.Errorf("choosing hooks that all kernels have: %w", err)
	}
	said := make([]string, len(did))
	for i, r := range did {
		said[i] = r.String()
	}
	return next, said, nil
}

// kernels are those of the request.
func (p *preparation) kernels() []alternative.Kernel {
	kernels := make([]alternative.Kernel, len(p.targets))
	for i, t := range p.targets {
		kernels[i].Facts = t.Facts
		if len(p.targets) > 1 || len(t.Nodes) > 0 {
			kernels[i].Name = t.String()
		}
	}
	return kernels
}

// compile compiles a source in the form that all kernels of the request can load.
func (p *preparation) compile(ctx context.Context, source string) (*compile.Result, error) {
	instead, err := alternative.Buffers(p.kernels())
	if err != nil {
		return nil, fmt.Errorf("choosing how events are handed over: %w", err)
	}
	if instead != nil {
		return p.Compiler.CompilePerf(ctx, source, p.targets[0].Types)
	}
	return p.Compiler.Compile(ctx, source, p.targets[0].Types)
}

// buffered says in a candidate's words how its events are handed over, if it is in another way than by default.
func (p *preparation) buffered(c *Candidate) error {
	if !c.Object.PerfBuffers() {
		return nil
	}
	instead, err := alternative.Buffers(p.kernels())
	if err == nil && instead != nil {
		c.Understood = append(c.Understood, instead.String())
	}
	return err
}

// ready takes a program that is there through the gates, with its contract. Where a kernel lacks a hook of it, another
// program is generated for what all kernels have, and offered only when it is VERIFIED.
func (p *preparation) ready(ctx context.Context, source string, opt program.Options, want *contract.Contract) (*Candidate, error) {
	next, said, err := p.chosen(ctx, want)
	if err != nil {
		return nil, err
	}
	if len(said) == 0 {
		return p.gates(ctx, source, opt, want, nil)
	}
	err = p.step("generate", func() (string, error) {
		written, err := p.programOf(next)
		if unsupported := (*codegen.Unsupported)(nil); errors.As(err, &unsupported) { // the gates refuse what is there
			next, said = want, nil
			return "no program: " + clip(err.Error(), 200), nil
		}
		source = written
		return plural(len(said), "hook") + " replaced", err
	})
	if err != nil {
		return nil, err
	}
	c, err := p.gates(ctx, source, opt, next, nil)
	if err != nil || len(said) == 0 {
		return c, err
	}
	if c.Finding.Verdict != proof.Verified {
		return nil, &verify.Failure{Gate: verify.GateSymbolic, Err: fmt.Errorf("a hook was replaced, and it could not be proved that the program generated for the other keeps the contract: %s", c.Finding.Reason)}
	}
	c.Understood = append(said, c.Understood...)
	return c, nil
}

// programOf is a contract's program, generated for the types of the first kernel.
func (p *preparation) programOf(c *contract.Contract) (string, error) {
	types, err := contract.NewTypes(p.targets[0].Facts)
	if err != nil {
		return "", err
	}
	checked, err := contract.Check(c, types)
	if err != nil {
		return "", err
	}
	return codegen.C(checked)
}

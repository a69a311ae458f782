// Package verify is the gate between a program and the people who are asked
// to approve it.
//
// Gates run in order of cost, and the first failure ends the way: it becomes
// the feedback to whoever wrote the program.
//
//	facts    every hook exists on the target kernel and can be attached there
//	compile  clang accepts the source (package compile)
//	symbolic the bytecode keeps the contract, for all inputs
//	kernel   the kernel's own verifier accepts the program, unattached
//
// The outcome is a [Finding]. Only VERIFIED may be shown as proved; a program
// that passes all gates without that is shown as UNPROVED, with the reason.
package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kgent/agent/alternative"
	"kgent/agent/program"
	"kgent/agent/verify/proof"
	"kgent/retrieval/helpers"
	"kgent/retrieval/kernel"
)

// Finding is a verdict with its reason. The zero value is UNKNOWN.
type Finding struct {
	Verdict proof.Verdict `json:"verdict"`
	Reason  string        `json:"reason"`
}

// Gate names one of the four.
type Gate string

const (
	GateFacts    Gate = "facts"
	GateCompile  Gate = "compile"
	GateSymbolic Gate = "symbolic"
	GateKernel   Gate = "kernel"
)

// Failure says at which gate a program ended and why, in words that are meant
// for whoever wrote the program.
type Failure struct {
	Gate Gate
	Err  error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Hooks is what the facts gate asks about a kernel.
type Hooks interface {
	CheckHook(kind, target string) error
}

var _ Hooks = (*kernel.Facts)(nil)

// Facts checks that every hook of a manifest exists on a kernel and can be
// attached there. All that do not are reported at once. What only the node can
// tell ([kernel.ErrOnNode]) is left to the gate kernel, which asks it.
func Facts(m *program.Manifest, k Hooks) error {
	var errs []error
	for _, p := range m.Programs {
		if p.Hook.Kind.OfScripts() {
			continue
		}
		kind, target := p.Hook.Place()
		if err := k.CheckHook(kind, target); err != nil && !errors.Is(err, kernel.ErrOnNode) {
			if facts, ok := k.(*kernel.Facts); ok {
				err = alternative.Explained(err, facts)
			}
			errs = append(errs, fmt.Errorf("program %s: %w", p.Name, err))
		}
	}
	if len(errs) > 0 {
		return &Failure{GateFacts, errors.Join(errs...)}
	}
	return nil
}

// Types checks that a kernel has the types, fields, enumerators and helpers that
// a program uses, and that it may call these where it is. It is part of the gate
// facts.
func Types(o *program.Object, k *kernel.Facts) error {
	vmlinux, modules, err := k.Specs()
	if err != nil {
		return err
	}
	absent, err := o.Absent(program.Types{Kernel: vmlinux, Modules: modules, Helper: func(name string) bool {
		_, err := k.Helper(name)
		return err == nil
	}})
	if err != nil {
		return err
	}
	if len(absent) > 0 {
		return &Failure{GateFacts, fmt.Errorf("it uses what kernel %s does not have: %s", k.Release, strings.Join(absent, ", "))}
	}
	return calls(o, k.Release)
}

// calls checks that every program may call the helpers that it calls.
func calls(o *program.Object, release string) error {
	facts, err := o.Facts()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range facts {
		for _, h := range f.Helpers {
			if err := helpers.Refuse(h, string(f.Hook.Kind), release); err != nil {
				errs = append(errs, fmt.Errorf("program %s: %w", f.Program, err))
			}
		}
	}
	if len(errs) > 0 {
		return &Failure{GateFacts, errors.Join(errs...)}
	}
	return nil
}

// Loader loads a program into a kernel's verifier without attaching it, and
// unloads it again: into this machine's, or by a check on a node that has the
// kernel. An error that wraps [program.ErrUntried] says nothing about the
// program.
type Loader interface {
	DryLoad(ctx context.Context, o *program.Object, m *program.Manifest) ([]program.Verified, error)
}

// Kernel asks the kernel's verifier.
func Kernel(ctx context.Context, l Loader, o *program.Object, m *program.Manifest) ([]program.Verified, error) {
	v, err := l.DryLoad(ctx, o, m)
	switch {
	case err == nil:
		return v, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("loading for a dry run: %w", context.Cause(ctx))
	case errors.Is(err, program.ErrUntried):
		return nil, err
	}
	return nil, &Failure{GateKernel, err}
}

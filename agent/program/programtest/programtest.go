// Package programtest compiles eBPF programs for tests: with the clang and
// for the kernel of the machine that runs them, each source once.
package programtest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/program/vmlinux"
	"kgent/retrieval/kernel"
)

// patience bounds making the tools and compiling one source, on a machine
// that is busy with other tests.
const patience = 2 * time.Minute

// Tools are what a compilation needs.
type Tools struct {
	Facts    *kernel.Facts
	Types    *vmlinux.Types
	Compiler *compile.Compiler
}

// Find returns the tools of this machine, or why there are none: no clang, or a
// kernel without BTF. Tests of one process share them, as reading the kernel's
// types takes longer than most tests.
var Find = sync.OnceValues(func() (Tools, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if os.Geteuid() == 0 {
		if err := kernel.EnsureMounts(ctx); err != nil {
			return Tools{}, err
		}
	}
	facts, err := kernel.Live(ctx)
	if err != nil {
		return Tools{}, err
	}
	types, err := vmlinux.NewTypes(facts.BTF)
	if err != nil {
		return Tools{}, err
	}
	compiler, err := compile.Find(ctx, os.Getenv)
	if err != nil {
		return Tools{}, err
	}
	return Tools{Facts: facts, Types: types, Compiler: compiler}, nil
})

// Here returns the tools of this machine. The test fails when there is no
// clang, or a kernel without BTF.
func Here(t testing.TB) Tools {
	t.Helper()
	tools, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

var objects, perfObjects sync.Map // source → func() (*program.Object, error)

// Compile compiles a source that includes kgent.bpf.h. It takes a process when
// the source is new: inside a synctest bubble ask only for sources that were
// compiled outside.
func Compile(source string) (*program.Object, error) {
	return once(&objects, source, (*compile.Compiler).Compile)
}

// CompilePerf is Compile in the form for kernels without ring buffers.
func CompilePerf(source string) (*program.Object, error) {
	return once(&perfObjects, source, (*compile.Compiler).CompilePerf)
}

type compileFunc func(*compile.Compiler, context.Context, string, compile.Types) (*compile.Result, error)

func once(made *sync.Map, source string, with compileFunc) (*program.Object, error) {
	tools, err := Find()
	if err != nil {
		return nil, err
	}
	build, _ := made.LoadOrStore(source, sync.OnceValues(func() (*program.Object, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		res, err := with(tools.Compiler, ctx, source, tools.Types)
		if err != nil {
			return nil, err
		}
		return program.Parse(res.ELF)
	}))
	return build.(func() (*program.Object, error))()
}

// Object is Compile of a source that must be right.
func Object(t testing.TB, source string) *program.Object {
	t.Helper()
	o, err := Compile(source)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// PerfObject is CompilePerf of a source that must be right.
func PerfObject(t testing.TB, source string) *program.Object {
	t.Helper()
	o, err := CompilePerf(source)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

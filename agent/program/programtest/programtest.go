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
	Types    Types
	Compiler *compile.Compiler
}

// Types are the kernel's types, for a program's vmlinux.h.
type Types struct{ *vmlinux.Trimmer }

// Header returns what the sources need of vmlinux.h.
func (t Types) Header(sources ...string) ([]byte, error) { return t.Trimmer.Header(sources...), nil }

// made holds what tests of one process share: reading the kernel's types takes
// longer than most of them.
var made = sync.OnceValues(func() (Tools, error) {
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
	trimmer, err := vmlinux.NewTrimmer(facts.BTF)
	if err != nil {
		return Tools{}, err
	}
	compiler, err := compile.Find(ctx, os.Getenv)
	if err != nil {
		return Tools{}, err
	}
	return Tools{Facts: facts, Types: Types{trimmer}, Compiler: compiler}, nil
})

// Here returns the tools of this machine. The test fails when there is no
// clang, or a kernel without BTF.
func Here(t testing.TB) Tools {
	t.Helper()
	tools, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

var objects sync.Map // source → func() (*program.Object, error)

// Compile compiles a source that includes kgent.bpf.h. It takes a process when
// the source is new: inside a synctest bubble ask only for sources that were
// compiled outside.
func Compile(source string) (*program.Object, error) {
	tools, err := made()
	if err != nil {
		return nil, err
	}
	build, _ := objects.LoadOrStore(source, sync.OnceValues(func() (*program.Object, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		res, err := tools.Compiler.Compile(ctx, source, tools.Types)
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

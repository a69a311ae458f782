// Package mutatetest judges mutants in tests, with the clang and the kernel of
// the machine that runs them.
package mutatetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/verify/mutate"
)

// Judge returns the judge of this machine. The test is skipped without root.
func Judge(t testing.TB) mutate.Judge {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	tools := programtest.Here(t)
	options, err := loading()
	if err != nil {
		t.Fatal(err)
	}
	return mutate.Judge{
		Compile: func(ctx context.Context, source string) ([]byte, error) {
			r, err := tools.Compiler.Compile(ctx, source, tools.Types)
			if err != nil {
				return nil, err
			}
			return r.ELF, nil
		},
		Load: func(_ context.Context, s *ebpf.CollectionSpec) error { return load(s, options) },
	}
}

// loading is how programs are loaded: for types that are decoded once, not for
// each of thousands of mutants.
var loading = sync.OnceValues(func() (ebpf.CollectionOptions, error) {
	tools, err := programtest.Find()
	if err != nil {
		return ebpf.CollectionOptions{}, err
	}
	types, modules, err := tools.Facts.Specs()
	return ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{
		LogDisabled: true, KernelTypes: types, ExtraRelocationTargets: modules,
	}}, err
})

// load has this kernel's verifier look at programs, and does not attach them.
func load(s *ebpf.CollectionSpec, options ebpf.CollectionOptions) error {
	for _, m := range s.Maps {
		m.MaxEntries = min(m.MaxEntries, most(m.Type))
	}
	c, err := ebpf.NewCollectionWithOptions(s, options)
	if err == nil {
		c.Close()
		return nil
	}
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.EINTR) {
		return fmt.Errorf("%w: %w", program.ErrUntried, err)
	}
	return err
}

// most is how many elements a map gets at most, or bytes a ring buffer: making
// thousands of maps of 4 MiB would take long. How many elements a hash table has
// means nothing to the verifier.
func most(t ebpf.MapType) uint32 {
	switch t {
	case ebpf.Hash, ebpf.LRUHash, ebpf.PerCPUHash, ebpf.LRUCPUHash:
		return 1 << 10
	}
	return 1 << 16
}

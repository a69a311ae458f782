package corpus_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/verify/corpus"
)

func cases(t testing.TB) []corpus.Case {
	t.Helper()
	cs, err := corpus.Cases()
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// host is the types of the kernel that loads programs here.
func host(t testing.TB) *btf.Spec {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	return programtest.Here(t).Facts.BTF
}

// spec is what is loaded of an object.
func spec(t testing.TB, o *program.Object) *ebpf.CollectionSpec {
	t.Helper()
	s, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(o.ELF()))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func load(t testing.TB, s *ebpf.CollectionSpec) *ebpf.Collection {
	t.Helper()
	c, err := ebpf.NewCollection(s)
	if err != nil {
		t.Fatalf("loading: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestNotes(t *testing.T) {
	cs := cases(t)
	if len(cs) < 40 {
		t.Errorf("%d cases, want at least 40", len(cs))
	}
	caught, run := map[corpus.Obligation]int{}, 0
	for _, c := range cs {
		for _, o := range c.Caught {
			caught[o]++
		}
		if c.Run != nil {
			run++
		}
	}
	for _, o := range slices.Sorted(maps.Keys(caught)) {
		t.Logf("%-14s %2d", o, caught[o])
	}
	t.Logf("%d cases, %d run in the kernel", len(cs), run)
}

// TestPrograms holds that all programs compile without complaint, that the
// kernel takes them, the wrong ones as well, and that the two of a case are not
// the same instructions at the same hooks.
func TestPrograms(t *testing.T) {
	host(t)
	for _, c := range cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			var code [2]string
			for i, src := range []string{c.Good, c.Bad} {
				o := programtest.Object(t, src)
				if _, err := program.Build(o, program.Options{Name: "corpus", Title: c.Mistake, Interface: "lo"}); err != nil {
					t.Errorf("manifest: %v", err)
				}
				s := spec(t, o)
				code[i] = describe(s)
				load(t, s)
			}
			if code[0] == code[1] {
				t.Error("both programs have the same instructions, hooks and maps")
			}
		})
	}
}

// describe writes down all that makes two objects behave differently.
func describe(s *ebpf.CollectionSpec) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Programs)) {
		p := s.Programs[name]
		fmt.Fprintf(&b, "%s %s\n", name, p.SectionName)
		for _, ins := range p.Instructions {
			fmt.Fprintf(&b, "%v %d %s %v\n", ins, ins.Constant, ins.Reference(), btf.CORERelocationMetadata(&ins)) // the text has no width of byte swaps
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Maps)) {
		fmt.Fprintf(&b, "%s %v %v\n", name, s.Maps[name], s.Maps[name].Contents)
	}
	return b.String()
}

// TestVacuous holds that the programs beside vacuous contracts compile and
// load, and that there is a contract of every kind.
func TestVacuous(t *testing.T) {
	hs, err := corpus.Vacuous()
	if err != nil {
		t.Fatal(err)
	}
	if len(hs) < 15 {
		t.Errorf("%d vacuous contracts, want at least 15", len(hs))
	}
	for _, kind := range corpus.HollowKinds {
		if !slices.ContainsFunc(hs, func(h corpus.Hollow) bool { return h.Kind == kind }) {
			t.Errorf("no contract is vacuous because of %s", kind)
		}
	}
	host(t)
	for _, h := range hs {
		t.Run(h.Name, func(t *testing.T) {
			t.Parallel()
			load(t, spec(t, programtest.Object(t, h.Program)))
		})
	}
}

package symbolic

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/program/vmlinux"
	"kgent/agent/recipes"
	"kgent/agent/verify/smt"
	"kgent/retrieval/kernel"
)

// host is this machine's kernel, as programs are linked against it.
func host(t testing.TB) (*Kernel, *vmlinux.Trimmer) {
	t.Helper()
	h, err := readHost()
	if err != nil {
		t.Skipf("this kernel cannot be asked: %v", err)
	}
	return h.kernel, h.trimmer
}

type hostKernel struct {
	kernel  *Kernel
	trimmer *vmlinux.Trimmer
}

var readHost = sync.OnceValues(func() (*hostKernel, error) {
	facts, err := kernel.Live(context.Background())
	if err != nil {
		return nil, err
	}
	types, modules, err := facts.Specs()
	if err != nil {
		return nil, err
	}
	trimmer, err := vmlinux.NewTrimmer(facts.BTF)
	if err != nil {
		return nil, err
	}
	k := &Kernel{Types: types, Modules: modules, Arch: facts.Arch, Format: func(category, name string) ([]Field, bool) {
		tp, err := facts.Tracepoint(category, name)
		if err != nil {
			return nil, false
		}
		var out []Field
		for _, f := range tp.Fields {
			out = append(out, Field{Name: f.Name, Type: f.Type, Offset: f.Offset, Size: f.Size, Signed: f.Signed, Array: f.Array, DataLoc: f.DataLoc})
		}
		return out, true
	}}
	return &hostKernel{k, trimmer}, nil
})

// header lets a compiler take its header from a trimmer.
type header struct{ *vmlinux.Trimmer }

func (h header) Header(sources ...string) ([]byte, error) { return h.Trimmer.Header(sources...), nil }

// compiled are the objects of sources that were compiled before.
var compiled = map[string]*program.Object{}

// compileC makes an object of a program's source.
func compileC(t testing.TB, trimmer *vmlinux.Trimmer, source string) *program.Object {
	t.Helper()
	if o := compiled[source]; o != nil {
		return o
	}
	cc, err := compile.Find(context.Background(), os.Getenv)
	if err != nil {
		t.Skip(err)
	}
	res, err := cc.Compile(context.Background(), source, header{trimmer})
	if err != nil {
		t.Fatal(err)
	}
	o, err := program.Parse(res.ELF)
	if err != nil {
		t.Fatal(err)
	}
	compiled[source] = o
	return o
}

// TestRecipes explores every program of every recipe to its end, with all
// parameters and all previous contents of maps symbolic.
func TestRecipes(t *testing.T) {
	k, trimmer := host(t)
	lib, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range lib.Recipes() {
		t.Run(r.Name, func(t *testing.T) {
			o := compileC(t, trimmer, string(r.Source))
			for _, line := range exploreAll(t, o, k) {
				t.Log(line)
			}
		})
	}
}

// exploreAll explores all programs of an object and says what that cost.
func exploreAll(t testing.TB, o *program.Object, k *Kernel) (lines []string) {
	t.Helper()
	m, err := program.Build(o, program.Options{Name: "test", Title: "test", Interface: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := o.Collection(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	var params []string
	for name, v := range spec.Variables {
		if v.SectionName == ".rodata" {
			params = append(params, name)
		}
	}
	slices.Sort(params)
	b := smt.New()
	machine := New(b, smt.NewBuiltin(b, smt.Limits{}), Limits{Time: 2 * time.Minute})
	var names []string
	for name := range spec.Programs {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		p, err := Link(spec, name, k)
		if err != nil {
			t.Fatal(err)
		}
		inv, err := machine.Invoke(p, Start{N: i})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		out, err := machine.Run(context.Background(), p, inv, machine.NewWorld(p, WorldOptions{Params: params}))
		if err != nil {
			t.Fatal(err)
		}
		s := out.Stats
		lines = append(lines, fmt.Sprintf("%-24s %4d insns %5d steps %4d paths %4d forks %4d merges %4d queries %8v (solver %v)",
			name, len(p.Insns), s.Steps, s.Paths, s.Forks, s.Merges, s.Queries, time.Since(began).Round(time.Millisecond), s.Solver.Round(time.Millisecond)))
		for _, u := range out.Unknown {
			t.Errorf("%s: not explored: %v", name, u)
		}
		for _, path := range out.Paths {
			for _, u := range path.Unknown {
				t.Errorf("%s: not known: %v", name, u)
			}
			if path.Crash != nil {
				t.Errorf("%s: crash: %v", name, path.Crash)
			}
		}
	}
	return lines
}

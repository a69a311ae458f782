package symbolic

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify/smt"
)

// host is this machine's kernel, as programs are linked against it.
func host(t testing.TB) *Kernel {
	t.Helper()
	k, err := readHost()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var readHost = sync.OnceValues(func() (*Kernel, error) {
	tools, err := programtest.Find()
	if err != nil {
		return nil, err
	}
	types, modules, err := tools.Facts.Specs()
	if err != nil {
		return nil, err
	}
	return &Kernel{Types: types, Modules: modules, Arch: tools.Facts.Arch, Format: func(category, name string) ([]Field, bool) {
		tp, err := tools.Facts.Tracepoint(category, name)
		if err != nil {
			return nil, false
		}
		var out []Field
		for _, f := range tp.Fields {
			out = append(out, Field{Name: f.Name, Type: f.Type, Offset: f.Offset, Size: f.Size, Signed: f.Signed, Array: f.Array, DataLoc: f.DataLoc})
		}
		return out, true
	}}, nil
})

// TestRecipes explores every program of every recipe to its end, with all
// parameters and all previous contents of maps symbolic.
func TestRecipes(t *testing.T) {
	k := host(t)
	lib, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range lib.Recipes() {
		t.Run(r.Name, func(t *testing.T) {
			o := programtest.Object(t, string(r.Source))
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

package compare

import (
	"context"
	"os"
	"strings"
	"testing"

	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify/corpus"
)

// otherwise is a program that keeps a contract, written in another style than people's. ok is false
// if there is no code for the contract.
func otherwise(t testing.TB, text string) (p Program, assume []string, ok bool) {
	t.Helper()
	c, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	types, err := contract.NewTypes(programtest.Here(t).Facts)
	if err != nil {
		t.Fatal(err)
	}
	checked, err := contract.Check(c, types)
	if err != nil {
		t.Fatal(err)
	}
	source, err := codegen.C(checked)
	if err != nil {
		t.Logf("no other style: %v", err)
		return p, nil, false
	}
	for _, w := range c.Assume {
		assume = append(assume, w.Name)
	}
	return compiled(t, "another style", source), assume, true
}

// Two right programs in different styles are the same, or at least not different: people's, and that
// of the contract which both keep.
func TestStyles(t *testing.T) {
	pairs, err := corpus.Ordinary()
	if err != nil {
		t.Fatal(err)
	}
	cases, err := corpus.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Contract != "" {
			pairs = append(pairs, corpus.Pair{Name: c.Name, Program: c.Good, Contract: c.Contract})
		}
	}
	same, all, without := 0, 0, 0
	for i, p := range pairs {
		if os.Getenv("KGENT_SOAK") == "" && i%16 != 3 {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			other, assume, ok := otherwise(t, p.Contract)
			if !ok {
				return
			}
			opt := here(t)
			opt.Assume = assume
			r := held(t, compiled(t, "the people's", p.Program), other, opt)
			all++
			switch {
			case r.Verdict == Different:
				t.Errorf("both keep the contract:\n%s", p.Contract)
			case r.Verdict == Same:
				same++
				if r.Within == 0 {
					without++
				}
			}
		})
	}
	t.Logf("%d of %d pairs are the same, %d for sequences of any length", same, all, without)
}

// What the compiler makes of a source at -O1 does what -O2 makes of it.
func TestOptimized(t *testing.T) {
	tools := programtest.Here(t)
	gentle := tools.Compiler.WithFlags(compile.Flags{Optimize: "1"})
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range library.Recipes() {
		if os.Getenv("KGENT_SOAK") == "" && r.Name != "signals" && r.Name != "tcp-retransmits" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			res, err := gentle.Compile(context.Background(), string(r.Source), tools.Types)
			if err != nil {
				t.Skip(err) // what is not inlined may take more than BPF has
			}
			o, err := program.Parse(res.ELF)
			if err != nil {
				t.Fatal(err)
			}
			got := held(t, compiled(t, "at -O2", string(r.Source)), built(t, "at -O1", o), here(t))
			if got.Verdict != Same && r.Name != "packets" || got.Verdict == Different { // which takes longer than there is time
				t.Errorf("%s: %s", got.Verdict, strings.Join(got.Reasons, "; "))
			}
		})
	}
}

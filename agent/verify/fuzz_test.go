package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/verify/corpus"
	"kgent/agent/verify/proof"
)

// FuzzProve holds that no ELF, contract and BTF whatever makes a proof break,
// hang, or pass without having shown anything; and that a wrong program
// does not pass on any kernel.
func FuzzProve(f *testing.F) {
	if _, err := programtest.Find(); err != nil {
		f.Fatal(err)
	}
	cases, err := corpus.Cases()
	if err != nil {
		f.Fatal(err)
	}
	// What a wrong program is made of: of these the BTF alone may be changed.
	type wrong struct{ elf, contract string }
	known := map[wrong]bool{}
	for _, c := range cases {
		if !strings.Contains(c.Contract, "\nhook xdp") && !strings.Contains(c.Contract, "\nhook tcx") {
			continue // its contract needs all types of a kernel
		}
		for _, source := range []string{c.Bad, c.Good} {
			o, err := programtest.Compile(source)
			if err != nil {
				f.Fatal(err)
			}
			known[wrong{string(o.ELF()), c.Contract}] = source == c.Bad
			f.Add(o.ELF(), c.Contract, ownTypes(f, o.ELF()))
		}
	}
	f.Fuzz(func(t *testing.T, elf []byte, text string, raw []byte) {
		r := proveAny(t, elf, text, raw)
		if r == nil {
			return
		}
		for _, why := range r.Reasons {
			if strings.Contains(why, "the proof broke") || strings.Contains(why, "the engine failed") {
				t.Errorf("%s: %s", r.Verdict, why)
			}
		}
		if r.Verdict != proof.Verified {
			return
		}
		if known[wrong{string(elf), text}] {
			t.Errorf("a wrong program is VERIFIED:\n%s", r.Text())
		}
		if len(r.Obligations) == 0 || len(r.Cases) == 0 {
			t.Error("VERIFIED, and nothing was shown")
		}
		for _, o := range r.Obligations {
			if o.Outcome != proof.Holds {
				t.Errorf("VERIFIED, and %s: %s", o.Outcome, o.ID)
			}
		}
	})
}

// proveAny makes a proof of what may be a program, a contract and the types of
// a kernel; nil if they are not.
func proveAny(t *testing.T, elf []byte, text string, raw []byte) *proof.Report {
	o, err := program.Parse(elf)
	if err != nil {
		return nil
	}
	m, err := program.Build(o, program.Options{Name: "p", Title: "p", Interface: "lo"})
	if err != nil {
		return nil
	}
	c, err := contract.Parse(text)
	if err != nil {
		return nil
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil
	}
	k, err := KernelOfBTF("fuzzed", "", spec)
	if err != nil {
		return nil
	}
	const limit = 2 * time.Second
	p := Prover{Limits: proof.Limits{Time: limit, Scenario: 2}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*limit)
	defer cancel()
	r, err := p.ProveOn(ctx, k, o, m, c)
	if ctx.Err() != nil {
		t.Fatalf("a proof of %v was not over after %v", limit, 20*limit)
	}
	if err != nil {
		return nil
	}
	return r
}

// ownTypes is the BTF of a program as if it were a kernel's.
func ownTypes(t testing.TB, elf []byte) []byte {
	t.Helper()
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		t.Fatal(err)
	}
	var types []btf.Type
	for typ, err := range spec.All() {
		if err != nil {
			t.Fatal(err)
		}
		switch typ.(type) {
		case *btf.Var, *btf.Datasec, *btf.Func:
		default:
			types = append(types, typ)
		}
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.LittleEndian})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

package corpus_test

import (
	"testing"

	"kgent/agent/contract"
	"kgent/agent/program/programtest"
	"kgent/agent/verify/corpus"
)

func contractTypes(t *testing.T) *contract.Types {
	t.Helper()
	host(t)
	types, err := contract.NewTypes(programtest.Here(t).Facts)
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// TestContracts holds that every case has a contract and that its types are
// right on this kernel: it is the programs that are wrong.
func TestContracts(t *testing.T) {
	types := contractTypes(t)
	for _, c := range cases(t) {
		if c.Contract == "" {
			t.Errorf("%s: no contract", c.Name)
			continue
		}
		k, err := contract.Parse(c.Contract)
		if err == nil {
			_, err = contract.Check(k, types)
		}
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}

// TestVacuousContracts holds that the vacuous contracts are well written, but
// for those whose flaw is such that it shows without any proof.
func TestVacuousContracts(t *testing.T) {
	types := contractTypes(t)
	hs, err := corpus.Vacuous()
	if err != nil {
		t.Fatal(err)
	}
	early := 0
	for _, h := range hs {
		k, err := contract.Parse(h.Contract)
		if err != nil {
			t.Errorf("%s: %v", h.Name, err)
			continue
		}
		if _, err := contract.Check(k, types); (err != nil) != h.Refused {
			t.Errorf("%s: its types: %v, refused should be %v", h.Name, err, h.Refused)
		} else if err != nil {
			early++
			t.Logf("%s: refused: %v", h.Name, err)
		}
	}
	if early > len(hs)/4 {
		t.Errorf("%d of %d vacuous contracts are refused before any proof", early, len(hs))
	}
}

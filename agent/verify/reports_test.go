package verify_test

import (
	"testing"

	"kgent/agent/verify"
	"kgent/retrieval/kernel"
)

// Nodes whose kernels have the same types may have other modules and tracepoints, or say so: what
// was proved for one is not proved for the other.
func TestKernelID(t *testing.T) {
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Skip(err)
	}
	var ids []string
	for _, paranoid := range []int{1, 2, 1} {
		facts.PerfEventParanoid = paranoid
		snapshot, err := kernel.Encode(facts)
		if err != nil {
			t.Fatal(err)
		}
		there, err := kernel.Decode(snapshot)
		if err != nil {
			t.Fatal(err)
		}
		if there.BTFHash != facts.BTFHash || there.Release != facts.Release {
			t.Fatal("they should have the same types")
		}
		id, err := verify.KernelID(there)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if ids[0] == ids[1] || ids[0] != ids[2] {
		t.Errorf("snapshots are known as %q", ids)
	}
}

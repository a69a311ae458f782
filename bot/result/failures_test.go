package result

import (
	"testing"

	"kgent/executor/output"
)

// Nodes take turns in telling the same error: each is counted once.
func TestErrorsOfNodesInTurn(t *testing.T) {
	r := New(Options{Nodes: []string{"db-1", "db-2"}})
	defer r.Close()
	for range 3 {
		r.record(output.Error{Node: "db-1", Message: "the ring is full"}, 0)
		r.record(output.Error{Node: "db-2", Message: "the ring is full"}, 0)
	}
	want := []string{"on 2 nodes (db-1, db-2): the ring is full", "and 4 more errors"}
	got := r.Final().Errors
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("errors are %q, want %q", got, want)
	}
}

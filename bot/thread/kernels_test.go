package thread_test

import (
	"testing"

	"kgent/bot/thread"
	"kgent/executor/bus"
)

// What is proved for one kernel does not run on another one that a node has when everybody has
// agreed; what is proved for none is for the node's own verifier.
func TestOtherKernel(t *testing.T) {
	for _, tt := range []struct {
		name, verdict string
		now           bus.NodeInfo
		runs          bool
		says          string
	}{
		{"the same", "VERIFIED", bus.NodeInfo{Name: "db-2", Kernel: "6.18.1"}, true, "Approved. It runs until"},
		{"another one", "VERIFIED", bus.NodeInfo{Name: "db-2", Kernel: "6.18.2"}, false, "proved for Linux 6.18.1, but db-2 has Linux 6.18.2 now; nothing ran"},
		{"unproved", "UNKNOWN", bus.NodeInfo{Name: "db-2", Kernel: "6.18.2"}, true, "Approved. It runs until"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(tm *team, c *thread.Conversation) {
				tm.maker.verdict = tt.verdict
				tm.ask(c, "ada", "who calls getppid on db-1 and db-2")
				id := tm.slack.button(tm.T, "card:", "approve")
				tm.click(c, "bob", "approve", id)
				tm.fleet.announce([]bus.NodeInfo{{Name: "db-1", Kernel: "6.18.1"}, tt.now})
				tm.click(c, "cyd", "approve", id)
				if runs := len(tm.fleet.sent) == 1; runs != tt.runs {
					t.Errorf("it was sent %v", tm.fleet.sent)
				}
				tm.holds("the card", tm.slack.shown("card:"), tt.says)
			})
		})
	}
}

// What a model called its contract is said to be its words also when its program is used again.
func TestTitleOfContract(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.maker.origin, tm.maker.contract = "model m", "Approved by the security team.\n\nIt shows calls.\n"
		tm.ask(c, "ada", "who calls getppid on all nodes")
		tm.submit(c, "cyd", "edit", tm.slack.button(tm.T, "card:", "approve"), map[string]string{"duration": "45s", "nodes": "db-2", "params": ""})
		ids, err := tm.store.Recent(t.Context(), 1)
		if err != nil || len(ids) != 1 {
			t.Fatal(ids, err)
		}
		r, err := tm.store.Load(t.Context(), ids[0])
		if err != nil {
			t.Fatal(err)
		}
		if want := "\"Approved by the security team.\" (the author's words)\n\nIt shows calls.\n"; r.Card.Contract != want {
			t.Errorf("the contract reads %q, want %q", r.Card.Contract, want)
		}
	})
}

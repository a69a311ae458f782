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

package thread_test

import (
	"slices"
	"strings"
	"testing"

	"kgent/bot/thread"
	"kgent/executor/bus"
)

// Where the words leave the choice, a node that crashed and is listed yet is not what a run is
// approved for: another is chosen, which is said, and never more than were asked for.
func TestAnyThatAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, on, silent string
		nodes            string // of the grant
		says             string
	}{
		{"all answer", "any 2 of all nodes", "", "db-1,db-2", ""},
		{"one does not", "any 2 of all nodes", "db-1", "db-2,db-3", "db-1 did not answer, so that db-3 was chosen"},
		{"one after the other", "any 2 of all nodes", "db-1,db-3", "db-2,db-4", "db-1 did not answer, so that db-3 was chosen; db-3 did not answer, so that db-4 was chosen"},
		{"the only one of a kernel", "any 1 of all nodes", "db-1", "db-2", "db-1 did not answer, so that db-2 was chosen"},
		{"too many", "any 1 of all nodes", "db-1,db-2,db-3", "", "db-3: it did not answer"},
		{"no other", "any 3 of all nodes", "db-1,db-4", "db-2,db-3,db-4", "db-4 did not answer, and no other was found in its place"},
		{"no choice", "db-1 and db-2", "db-1", "db-1,db-2", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(tm *team, c *thread.Conversation) {
				var nodes []bus.NodeInfo
				for _, name := range []string{"db-1", "db-2", "db-3", "db-4"} {
					nodes = append(nodes, bus.NodeInfo{Name: name, Kernel: "6.18.1"})
				}
				tm.fleet.announce(nodes)
				tm.maker.silent = strings.Split(tt.silent, ",")
				tm.ask(c, "ada", "who calls getppid on "+tt.on)
				if tt.nodes == "" {
					tm.holds("the end", tm.slack.shown("progress:"), tt.says)
					return
				}
				tm.holds("the card", tm.slack.shown("card:"), strings.ReplaceAll(tt.nodes, ",", ", "), tt.says)
				if tt.says == "" {
					tm.holds("the card", tm.slack.shown("card:"), "!did not answer")
				}
				id := tm.slack.button(tm.T, "card:", "approve")
				tm.click(c, "bob", "approve", id)
				tm.click(c, "cyd", "approve", id)
				if len(tm.fleet.grants) != 1 || !slices.Equal(tm.fleet.grants[0].Nodes, strings.Split(tt.nodes, ",")) {
					t.Errorf("granted %+v", tm.fleet.grants)
				}
			})
		})
	}
}

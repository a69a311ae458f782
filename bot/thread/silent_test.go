package thread_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"kgent/bot/thread"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
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

// What was approved is for the nodes that were chosen, so that nobody takes the place of one that
// is gone by then; that is said, and running it again chooses anew, before anybody approves it.
func TestAnyRunsAgain(t *testing.T) {
	listed := func(names ...string) (nodes []bus.NodeInfo) {
		for _, name := range names {
			nodes = append(nodes, bus.NodeInfo{Name: name, Kernel: "6.18.1"})
		}
		return nodes
	}
	drained := listed("db-1", "db-2", "db-3")
	drained[0].Drained = "a new disk"
	for _, tt := range []struct {
		name, on string
		lost     bool           // db-1 does not run it
		then     []bus.NodeInfo // there, when it is to run again
		silent   string         // of them
		result   []string
		nodes    string // of the second card; "": there is none
		says     string // of it, or why there is none
	}{
		{"it is gone", "any 2 of all nodes", true, listed("db-2", "db-3"), "", []string{
			"No other node took the place of db-1: what was approved is for db-1, db-2 alone, which were chosen of “any 2 of all”. Run again chooses anew",
		}, "db-2, db-3", "db-1 cannot be taken any more, so that db-3 was chosen"},
		{"it is listed yet", "any 2 of all nodes", true, listed("db-1", "db-2", "db-3"), "db-1", []string{"No other node took the place of db-1"},
			"db-2, db-3", "db-1 did not answer, so that db-3 was chosen"},
		{"it is in maintenance", "any 2 of all nodes", false, drained, "", []string{"!took the place"},
			"db-2, db-3", "db-1 cannot be taken any more, so that db-3 was chosen"},
		{"one of them is gone", "any 2 of all nodes", false, listed("a-1", "a-2", "db-2"), "", []string{"!took the place"},
			"a-1, a-2", "db-1 cannot be taken any more, so that a-1, a-2 were chosen"},
		{"the only one is gone", "any 1 of all nodes", true, listed("db-2"), "", []string{"what was approved is for db-1 alone, which was chosen of"},
			"db-2", "db-1 cannot be taken any more, so that db-2 was chosen"},
		{"all are there", "any 2 of all nodes", false, listed("db-0", "db-1", "db-2"), "", []string{"!took the place"}, "db-1, db-2", "!chosen"},
		{"too few are left", "any 2 of all nodes", true, listed("db-2"), "", []string{"No other node"}, "", "wants 2 nodes, but there are 1"},
		{"no choice", "db-1 and db-2", true, listed("db-2", "db-3"), "", []string{"!took the place"}, "", "db-1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(tm *team, c *thread.Conversation) {
				tm.fleet.announce(listed("db-1", "db-2", "db-3"))
				tm.fleet.summary = func(g *job.Grant, reason output.Reason) output.Summary {
					s := output.Summary{Reason: reason}
					for _, n := range g.Nodes {
						end := output.NodeSummary{Node: n, Reason: reason}
						if tt.lost && n == "db-1" {
							end.Reason, end.Detail = output.ReasonFailed, "no answer within 5s"
						}
						s.Nodes = append(s.Nodes, end)
					}
					return s
				}
				tm.ask(c, "ada", "who calls getppid on "+tt.on)
				id := tm.slack.button(tm.T, "card:", "approve")
				tm.click(c, "bob", "approve", id)
				tm.click(c, "cyd", "approve", id)
				time.Sleep(2 * time.Minute)
				tm.settle()
				tm.holds("the result", tm.slack.shown("result:"), tt.result...)
				tm.fleet.announce(tt.then)
				tm.maker.silent = strings.Split(tt.silent, ",")
				tm.click(c, "ada", "again", tm.slack.button(tm.T, "result:", "again"))
				if tt.nodes == "" {
					tm.holds("the end", tm.slack.shown("progress:"), tt.says)
					return
				}
				tm.holds("the second card", tm.slack.shown("card:"), "0 of 2", tt.nodes, tt.says)
				id = tm.slack.button(tm.T, "card:", "approve")
				tm.click(c, "bob", "approve", id)
				tm.click(c, "cyd", "approve", id)
				if n := len(tm.fleet.grants); n != 2 || strings.Join(tm.fleet.grants[1].Nodes, ", ") != tt.nodes {
					t.Errorf("granted %+v", tm.fleet.grants)
				}
			})
		})
	}
}

// Nodes that somebody names afterwards are no choice any more.
func TestAnyThenNamed(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		var nodes []bus.NodeInfo
		for _, name := range []string{"db-1", "db-2", "db-3"} {
			nodes = append(nodes, bus.NodeInfo{Name: name, Kernel: "6.18.1"})
		}
		tm.fleet.announce(nodes)
		tm.ask(c, "ada", "who calls getppid on any 2 of all nodes")
		tm.maker.silent = []string{"db-2"}
		tm.submit(c, "ada", "edit", tm.slack.button(tm.T, "card:", "edit"), map[string]string{"nodes": "db-1,db-3"})
		tm.holds("the card", tm.slack.shown("card:"), "db-1, db-3", "!chosen")
		tm.maker.silent = []string{"db-1"}
		tm.submit(c, "ada", "edit", tm.slack.button(tm.T, "card:", "edit"), map[string]string{"duration": "50s"})
		tm.holds("the card", tm.slack.shown("card:"), "db-1, db-3", "!chosen")
	})
}

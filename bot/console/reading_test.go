package console

import (
	"bytes"
	"strings"
	"testing"

	"kgent/executor/output"
)

// A program that only counts says so, and of stacks, which come hottest first,
// the hottest stands last, where the eye is when the screen has scrolled.
func TestCountingAndStacks(t *testing.T) {
	var out bytes.Buffer
	ch := NewText(&out, func(error) {}, Approver{}, Terminal{Width: 80})
	line := func(r output.Record) {
		b, err := output.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		ch.Line(b)
	}
	line(output.Attached{Node: "db-3", Hooks: []string{"perf_event cpu-clock"}, Streams: []output.Stream{{Name: "samples"}}})
	line(output.Stack{Node: "db-3", Name: "samples", Frames: []string{"hot"}, Count: 90, Final: true})
	line(output.Stack{Node: "db-3", Name: "samples", Frames: []string{"cold"}, Count: 1, Final: true})
	ch.Summary(output.Summary{Reason: output.ReasonDeadline, Nodes: []output.NodeSummary{{Node: "db-3"}}})
	got := out.String()
	if !strings.Contains(got, "shows the answer at the end") {
		t.Errorf("it does not say when the answer comes:\n%s", got)
	}
	hot, cold := strings.Index(got, "hot"), strings.Index(got, "cold")
	if hot < 0 || cold < 0 || cold > hot {
		t.Errorf("want the hottest stack last:\n%s", got)
	}
}

package result

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kgent/executor/output"
	"kgent/executor/render/text"
)

// On a narrow screen no line is folded and no number is cut: what is the same in
// all rows stands above them once, what tells least gives way, and rows of
// several nodes are in the order of their times.
func TestNarrow(t *testing.T) {
	stream := output.Stream{Name: "connects", Events: true, Columns: []output.Column{
		{Name: "ts", Kind: "k_time", Width: 15}, {Name: "pid", Kind: "k_pid", Right: true, Width: 7}, {Name: "tid", Kind: "k_tid", Right: true, Width: 7},
		{Name: "uid", Kind: "k_uid", Right: true, Width: 5}, {Name: "comm", Kind: "string", Width: 16}, {Name: "saddr", Kind: "k_ip", Width: 15},
		{Name: "sport", Kind: "k_port", Right: true, Width: 5}, {Name: "daddr", Kind: "k_ip", Width: 15}, {Name: "dport", Kind: "k_port", Right: true, Width: 5},
		{Name: "result", Kind: "k_errno", Width: 12}, {Name: "latency", Kind: "k_ns", Right: true, Width: 8},
	}}
	r := New(Options{Columns: 56, Nodes: []string{"db-1", "db-2"}})
	t.Cleanup(func() { r.Close() })
	attach(t, r, "db-1", stream)
	attach(t, r, "db-2", stream)
	for i := range 30 { // db-2's come in one piece, after those of db-1
		ms, node := 2*i, "db-1"
		if i >= 15 {
			ms, node = 2*(i-15)+1, "db-2"
		}
		fmt.Fprintln(lineWriter{r}, fmt.Sprintf(`{"type":"event","node":%q,"stream":"connects","data":{"ts":"2026-03-01T03:00:00.%03dZ","pid":7,"tid":7,"uid":0,"comm":"curl","saddr":"10.0.0.1","sport":%d,"daddr":"10.0.0.%d","dport":%d,"result":%q,"latency":%d}}`,
			node, ms, 40000+i, 100+i, 440+i%2, []string{"OK", "ECONNREFUSED"}[i%2], 78_123_000+1_000_000*(i%9)))
	}
	r.End(output.Summary{Counters: output.Counters{Produced: 30, Delivered: 30}})
	f := r.Final()
	for name, shown := range map[string]string{"tail": r.Tail(2000), "result": f.Blocks[1].Text, "summary": f.Blocks[0].Text} {
		for l := range strings.Lines(shown) {
			if w := text.Width(strings.TrimRight(l, "\n")); w > 56 {
				t.Errorf("%s: %d columns: %s", name, w, l)
			}
		}
	}
	table := f.Blocks[1].Text
	for _, want := range []string{"all: pid 7, tid 7, uid 0, comm curl, saddr 10.0.0.1\n", "left out, since there is no room: sport", " ECONNREFUSED  84.1ms", "10.0.0.129"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	var times []string
	for _, word := range strings.Fields(table) {
		if strings.HasPrefix(word, "03:00:00.") {
			times = append(times, word)
		}
	}
	if len(times) != 30 || !slices.IsSorted(times) {
		t.Errorf("times %v", times)
	}
	var order []string
	for l := range strings.Lines(f.Blocks[0].Text) {
		if name := strings.Fields(l)[0]; !strings.HasPrefix(l, " ") {
			order = append(order, name)
		}
	}
	if !slices.Equal(order, []string{"result", "dport", "daddr"}) && !slices.Equal(order, []string{"result", "dport"}) {
		t.Errorf("the summary begins with %v:\n%s", order, f.Blocks[0].Text)
	}
}

// lineWriter hands lines to a result.
type lineWriter struct{ r *Result }

func (w lineWriter) Write(p []byte) (int, error) {
	w.r.Line(p)
	return len(p), nil
}

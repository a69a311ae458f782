package result

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kgent/executor/output"
)

// The tables of the fleet: who opened how often and how much, how long it took, and what
// processes did, whose numbers mean nothing elsewhere.
var fleetStreams = []output.Stream{
	{Name: "opens", Columns: []output.Column{
		{Name: "comm", Kind: "string", Width: 16},
		{Name: "count", Kind: "k_count", Width: 7, Right: true, Merge: output.MergeSum},
		{Name: "bytes", Kind: "k_bytes", Width: 7, Right: true, Merge: output.MergeSum},
		{Name: "took.count", Kind: "k_count", Width: 7, Right: true, Merge: output.MergeSum},
		{Name: "took.sum", Kind: "k_ns", Width: 7, Right: true, Merge: output.MergeSum},
		{Name: "took.min", Kind: "k_ns", Width: 7, Right: true, Merge: output.MergeMin},
		{Name: "took.max", Kind: "k_ns", Width: 7, Right: true, Merge: output.MergeMax},
		{Name: "took.mean", Kind: "k_ns", Width: 7, Right: true, Merge: output.MergeMean},
	}},
	{Name: "by_pid", Columns: []output.Column{
		{Name: "pid", Kind: "k_pid"},
		{Name: "count", Kind: "k_count", Merge: output.MergeSum},
	}},
	{Name: "latest", Columns: []output.Column{
		{Name: "comm", Kind: "string"},
		{Name: "ns", Kind: "k_ns"}, // nobody knows whether it is a sum
	}},
	{Name: "latency"},
}

func took(count, sum, least, most uint64) output.Fields {
	f := output.Fields{{Name: "count", Value: num(count)}, {Name: "sum", Value: num(sum)}}
	if count > 0 {
		f = append(f, output.Field{Name: "min", Value: num(least)}, output.Field{Name: "max", Value: num(most)}, output.Field{Name: "mean", Value: num((sum + count/2) / count)})
	}
	return f
}

// What forty nodes count is added up as somebody would who has all they saw, whatever
// the rows of each are sorted by, and the largest of all need not be large on any.
func TestFleetSums(t *testing.T) {
	type sum struct{ count, bytes, n, ns, least, most, nodes uint64 }
	rng := rand.New(rand.NewPCG(1, 2))
	r := newResult(t, Options{})
	want, perPID, buckets := map[string]*sum{}, map[string]uint64{}, map[uint64]uint64{}
	for i := range 40 {
		node := fmt.Sprintf("db-%d", i+1)
		attach(t, r, node, fleetStreams...)
		opens, pids := output.Map{Node: node, Name: "opens", Final: true, At: "2026-03-04T03:01:00Z"}, output.Map{Node: node, Name: "by_pid", Final: true}
		row := func(comm string, count, bytes uint64) {
			var n, ns, most uint64
			least := uint64(1 << 62)
			for range rng.IntN(4) {
				v := rng.Uint64N(1 << 40)
				n, ns, least, most = n+1, ns+v, min(least, v), max(most, v)
			}
			w := want[comm]
			if w == nil {
				w = &sum{least: 1 << 62}
				want[comm] = w
			}
			w.count, w.bytes, w.n, w.ns, w.nodes = w.count+count, w.bytes+bytes, w.n+n, w.ns+ns, w.nodes+1
			w.least, w.most = min(w.least, least), max(w.most, most)
			opens.Entries = append(opens.Entries, output.MapEntry{Key: output.Fields{{Name: "comm", Value: comm}},
				Value: output.Fields{{Name: "count", Value: num(count)}, {Name: "bytes", Value: num(bytes)}, {Name: "took", Value: took(n, ns, least, most)}}})
		}
		for k := range 30 {
			row(fmt.Sprintf("own-%d-%d", i, k), 900+rng.Uint64N(100), rng.Uint64N(1<<30))
		}
		row("everywhere", 50, 1<<50) // the last on each, and the first of all
		for k := range 20 {
			n := rng.Uint64N(1000)
			perPID[fmt.Sprintf("%s/%d", node, k)] = n
			pids.Entries = append(pids.Entries, output.MapEntry{Key: output.Fields{{Name: "pid", Value: num(uint64(k))}}, Value: output.Fields{{Name: "count", Value: num(n)}}})
		}
		h := output.Hist{Node: node, Name: "latency", Unit: "ns", Final: true}
		for b := range 20 {
			if c := rng.Uint64N(1 << 40); rng.IntN(3) > 0 {
				h.Buckets = append(h.Buckets, output.Bucket{Min: 1 << b, Max: 1<<(b+1) - 1, Count: c})
				h.Count += c
				buckets[1<<b] += c
			}
		}
		// As it stood before the end does not count twice.
		before := opens
		before.Final, before.At, before.Entries = false, "2026-03-04T03:00:30Z", opens.Entries[:3]
		for _, rec := range []output.Record{before, opens, pids, h, output.Map{Node: node, Name: "latest", Final: true, Entries: []output.MapEntry{
			{Key: output.Fields{{Name: "comm", Value: "sh"}}, Value: output.Fields{{Name: "ns", Value: num(uint64(i / 39))}}}}}} {
			r.Line(line(t, rec))
		}
	}
	m := r.merge(r.tableOf("opens"))
	if len(m.rows) != len(want) || !m.summed || m.rows[0].entry.Key[0].Value != "everywhere" || m.more != 0 {
		t.Fatalf("%d rows, want %d; the first %v", len(m.rows), len(want), m.rows[0])
	}
	for i, row := range m.rows {
		w := want[row.entry.Key[0].Value.(string)]
		least := w.least
		v := output.Fields{{Name: "count", Value: num(w.count)}, {Name: "bytes", Value: num(w.bytes)}, {Name: "took", Value: took(w.n, w.ns, least, w.most)}}
		if got := identity(row.entry.Value); got != identity(v) || uint64(len(row.nodes)) != w.nodes || row.weight != float64(w.count) || i > 0 && row.weight > m.rows[i-1].weight {
			t.Errorf("row %d, %v on %d nodes: %s, want %s", i, row.entry.Key, len(row.nodes), got, identity(v))
		}
	}
	m = r.merge(r.tableOf("by_pid"))
	if len(m.rows) != len(perPID) {
		t.Errorf("%d processes, want %d", len(m.rows), len(perPID))
	}
	for _, row := range m.rows {
		if id := fmt.Sprintf("%s/%s", row.nodes[0], row.entry.Key[0].Value); len(row.nodes) != 1 || row.entry.Value[0].Value != num(perPID[id]) {
			t.Errorf("%s: %v", id, row)
		}
	}
	if m = r.merge(r.tableOf("latest")); len(m.rows) != 2 || len(m.rows[1].nodes) != 39 {
		t.Errorf("what cannot be added up: %+v", m.rows)
	}
	m = r.merge(r.tableOf("latency"))
	if len(m.hists) != 1 {
		t.Fatalf("%d histograms", len(m.hists))
	}
	for _, b := range m.hists[0].hist.Buckets {
		if b.Count != buckets[b.Min] {
			t.Errorf("%+v, want %d", b, buckets[b.Min])
		}
	}
}

// Rows that nodes did not send may be missing in a sum: how much is said, and it is never
// more than what is said.
func TestFleetCut(t *testing.T) {
	r := newResult(t, Options{})
	rng := rand.New(rand.NewPCG(3, 4))
	truth := map[string]uint64{}
	for i := range 40 {
		node := fmt.Sprintf("db-%d", i+1)
		attach(t, r, node, fleetStreams[1:]...)
		stream := output.Stream{Name: "top", Columns: []output.Column{{Name: "comm", Kind: "string"}, {Name: "count", Kind: "k_count", Merge: output.MergeSum}}}
		attach(t, r, node, stream)
		m := output.Map{Node: node, Name: "top", Final: true, Total: 200}
		var all []output.MapEntry
		for k := range 200 {
			n := rng.Uint64N(10_000)
			truth[fmt.Sprint("c", k)] += n
			all = append(all, output.MapEntry{Key: output.Fields{{Name: "comm", Value: fmt.Sprint("c", k)}}, Value: output.Fields{{Name: "count", Value: num(n)}}})
		}
		slices.SortFunc(all, func(a, b output.MapEntry) int { return cmp.Compare(weight(b.Value), weight(a.Value)) })
		m.Entries = all[:100]
		r.Line(line(t, m))
	}
	m := r.merge(r.tableOf("top"))
	for _, row := range m.rows {
		real, got := truth[row.entry.Key[0].Value.(string)], uint64(row.weight)
		if got > real || float64(real-got) > m.lacks {
			t.Errorf("%v: %d, really %d; said to lack %.0f at most", row.entry.Key, got, real, m.lacks)
		}
	}
	f := r.Final()
	i := slices.IndexFunc(f.Blocks, func(b Block) bool { return b.Title == "top" })
	if i < 0 || !strings.Contains(strings.Join(strings.Fields(f.Blocks[i].Text), " "), "40 nodes sent only the largest rows: what is shown may lack up to "+count(uint64(m.lacks))) {
		t.Errorf("%+v", f.Blocks)
	}
}

// feedFleet is a run on five hundred nodes, a few of which did not go along.
func feedFleet(t testing.TB, r *Result) {
	var ends []output.NodeSummary
	for i := range 500 {
		node := fmt.Sprintf("db-%d", i+1)
		end := output.NodeSummary{Node: node, Reason: output.ReasonDeadline}
		switch {
		case i == 7 || i == 8:
			end.Reason, end.Detail = output.ReasonFailed, "no answer within 10s: see that its executor runs and reaches the bus"
		case i >= 100 && i < 140:
			end.Reason, end.Detail = output.ReasonRefused, "node "+node+" allows no system calls"
			r.Line(line(t, output.Error{Node: node, Code: "policy", Message: node + ": the node allows no system calls"}))
		default:
			attach(t, r, node, fleetStreams[0], fleetStreams[3])
			r.Line(line(t, output.Map{Node: node, Name: "opens", Final: true, Seconds: 60, Entries: []output.MapEntry{
				{Key: output.Fields{{Name: "comm", Value: "nginx"}}, Value: output.Fields{{Name: "count", Value: num(uint64(i))}, {Name: "bytes", Value: num(4096)}, {Name: "took", Value: took(2, 3000, 1000, 2000)}}},
				{Key: output.Fields{{Name: "comm", Value: fmt.Sprint("job", i/100)}}, Value: output.Fields{{Name: "count", Value: num(3)}, {Name: "bytes", Value: num(1)}, {Name: "took", Value: took(0, 0, 0, 0)}}},
			}}))
			h := output.Hist{Node: node, Name: "latency", Unit: "ns", Final: true, Count: uint64(i) + 1, Buckets: []output.Bucket{{Min: 4096, Max: 8191, Count: uint64(i)}, {Min: 8192, Max: 16383, Count: 1}}}
			r.Line(line(t, h))
			r.Line(line(t, output.Text{Node: node, Line: "tcp_congestion cubic\n"}))
			release := "6.12.1"
			if i == 3 || i == 4 {
				release = "5.10.0"
			}
			r.Line(line(t, output.Text{Node: node, Line: "kernel " + release + "\n"}))
			if i == 4 {
				end.Reason, end.Detail = output.ReasonFailed, "it fell silent: nothing for 10s"
			}
		}
		ends = append(ends, end)
	}
	s := summary(ends...)
	s.Reason = output.ReasonFailed
	r.End(s)
}

func TestGroups(t *testing.T) {
	r := newResult(t, Options{})
	feedFleet(t, r)
	var got []string
	for _, g := range Groups(r.Final().Nodes) {
		got = append(got, g.String())
	}
	want := []string{
		"2 nodes (db-8, db-9): missing: no answer within 10s: see that its executor runs and reaches the bus",
		"db-5: failed: it fell silent: nothing for 10s",
		"40 nodes (db-[101-140]): refused: node the node allows no system calls",
		"457 nodes (db-[1-4,6-7,10-100,141-500]): answered",
	}
	want[2] = strings.Replace(want[2], "node the node", "the node", 1)
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The way there is kept bounded, too.
	if f := r.Final(); len(f.Errors) != 1 || f.Errors[0] != "on 40 nodes (db-[101-140]): the node allows no system calls" {
		t.Errorf("%q", f.Errors)
	}
}

// While some nodes have not answered, what is there is shown with their names.
func TestPartial(t *testing.T) {
	var asked []string
	for i := range 40 {
		asked = append(asked, fmt.Sprintf("db-%d", i+1))
	}
	r := newResult(t, Options{Nodes: asked})
	for i, node := range asked {
		if i == 7 {
			continue // attached never
		}
		attach(t, r, node, fleetStreams[2])
		r.Line(line(t, output.Map{Node: node, Name: "latest", Final: i != 3, At: "2026-03-04T03:00:30Z", Entries: []output.MapEntry{
			{Key: output.Fields{{Name: "comm", Value: "sh"}}, Value: output.Fields{{Name: "ns", Value: num(5)}}}}}))
	}
	if got := r.Tail(600); !strings.HasSuffix(got, "\n… from 38 of 40 nodes so far, without db-4, db-8") || !strings.Contains(got, "sh") {
		t.Errorf("%s", got)
	}
	r.End(summary())
	if got := r.Tail(600); strings.Contains(got, "so far") {
		t.Errorf("%s", got)
	}
}

// BenchmarkCollect is what the side that collects needs, when five hundred nodes each
// send a thousand rows at the end, half of which all have.
func BenchmarkCollect(b *testing.B) {
	const nodes = 500
	var raw [][]byte
	for i := range nodes {
		m := output.Map{Node: fmt.Sprintf("db-%d", i+1), Name: "opens", Final: true}
		for k := range 1000 {
			comm := fmt.Sprint("common-", k)
			if k%2 > 0 {
				comm = fmt.Sprint("own-", i, "-", k)
			}
			m.Entries = append(m.Entries, output.MapEntry{Key: output.Fields{{Name: "comm", Value: comm}}, Value: output.Fields{{Name: "count", Value: json.Number(strconv.Itoa(k))}}})
		}
		raw = append(raw, line(b, m))
	}
	stream := output.Stream{Name: "opens", Columns: []output.Column{{Name: "comm", Kind: "string"}, {Name: "count", Kind: "k_count", Merge: output.MergeSum}}}
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := New(Options{})
		for i := range nodes {
			attach(b, r, fmt.Sprintf("db-%d", i+1), stream)
		}
		for _, l := range raw {
			r.Line(l)
		}
		if f := r.Final(); f.Empty {
			b.Fatal("nothing")
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "MiB-kept")
		b.ReportMetric(float64(r.tooMany), "rows-left-out")
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// What one node counted since its reading before is not added to what another counted
// in all of the run.
func TestFleetIntervals(t *testing.T) {
	r := newResult(t, Options{})
	reading := func(node string, count uint64, final bool) {
		attach(t, r, node, fleetStreams[0])
		r.Line(line(t, output.Map{Node: node, Name: "opens", At: "2026-03-04T03:00:05Z", Seconds: 5, Final: final,
			Entries: []output.MapEntry{{Key: output.Fields{{Name: "comm", Value: "sh"}}, Value: output.Fields{{Name: "count", Value: num(count)}}}}}))
	}
	shows := func(where, text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s, without %q:\n%s", where, want, text)
			}
		}
	}
	reading("db-1", 111, false)
	reading("db-2", 4000, true)
	reading("db-3", 222, false)
	shows("while two go on", r.Tail(2000), "333", "without db-2: ended")
	reading("db-1", 1000, true)
	shows("while one goes on", r.Tail(2000), "5,000", "from 2 of 3 nodes so far, without db-3")
	r.End(summary(output.NodeSummary{Node: "db-1"}, output.NodeSummary{Node: "db-2"}, output.NodeSummary{Node: "db-3"}))
	shows("when one was lost", draw(r.Final()), "5,000", "without db-3: the end did not arrive")
	reading("db-3", 500, true)
	if text := draw(r.Final()); !strings.Contains(text, "5,500") || strings.Contains(text, "without") {
		t.Errorf("when all have ended:\n%s", text)
	}
}

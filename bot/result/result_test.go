package result

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"kgent/executor/output"
	"kgent/executor/render/chart"
	"kgent/executor/render/text"
)

var save = flag.String("save", "", "a directory to write the pictures to, to look at them")

var update = flag.Bool("update", false, "write the golden files anew")

func line(t testing.TB, r output.Record) []byte {
	t.Helper()
	b, err := output.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func num(n uint64) json.Number { return json.Number(strconv.FormatUint(n, 10)) }

var connects = output.Stream{Name: "connects", Events: true, Columns: []output.Column{
	{Name: "ts", Kind: "k_time", Width: 12}, {Name: "pid", Kind: "k_pid", Width: 7, Right: true}, {Name: "comm", Kind: "string", Width: 16},
	{Name: "daddr", Kind: "k_ip", Width: 15}, {Name: "dport", Kind: "k_port", Width: 5, Right: true}, {Name: "err", Kind: "k_errno", Width: 12}}}

func connect(node string, i int) output.Event {
	comm, errno := "curl", "OK"
	if i%3 == 0 {
		comm = "postgres"
	}
	if i%10 == 0 {
		errno = "ECONNREFUSED"
	}
	return output.Event{Node: node, Stream: "connects", Data: output.Fields{
		{Name: "ts", Value: output.Time(time.Date(2026, 3, 4, 3, 0, i/100, i%100*1e7, time.UTC))}, {Name: "pid", Value: num(uint64(1000 + i))},
		{Name: "comm", Value: comm}, {Name: "daddr", Value: fmt.Sprintf("10.0.%d.%d", i%4, i%7)}, {Name: "dport", Value: num(443)}, {Name: "err", Value: errno}}}
}

func attach(t testing.TB, r *Result, node string, streams ...output.Stream) {
	t.Helper()
	r.Line(line(t, output.Attached{Node: node, Run: "run", Streams: streams}))
}

func newResult(t testing.TB, o Options) *Result {
	t.Helper()
	o.Dir = t.TempDir()
	r := New(o)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func summary(nodes ...output.NodeSummary) output.Summary {
	s := output.Summary{Reason: output.ReasonDeadline, Seconds: 60, Nodes: nodes}
	for _, n := range nodes {
		s.Counters = s.Counters.Add(n.Counters)
	}
	return s
}

// draw is everything a thread shows.
func draw(f Final) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s; %s; %s\n", f.Headline, f.Account, f.Ended, f.Cost)
	if len(f.Nodes) > 4 {
		for _, g := range Groups(f.Nodes) {
			fmt.Fprintf(&b, "%s\n", g)
		}
		f.Nodes = nil
	}
	for _, n := range f.Nodes {
		fmt.Fprintf(&b, "node %s %s %d %s\n", n.Name, n.State, n.Events, n.Detail)
	}
	for _, e := range f.Errors {
		fmt.Fprintf(&b, "error %s\n", e)
	}
	for _, x := range f.Blocks {
		fmt.Fprintf(&b, "\n[%s]\n%s\n", x.Title, x.Text)
	}
	return b.String()
}

// scenarios are runs as nodes report them.
var scenarios = []struct {
	name string
	feed func(t testing.TB, r *Result)
}{
	{"events", func(t testing.TB, r *Result) {
		attach(t, r, "db-1", connects)
		for i := range 12345 {
			r.Line(line(t, connect("db-1", i)))
		}
		s := summary(output.NodeSummary{Node: "db-1", Reason: output.ReasonDeadline, Counters: output.Counters{Produced: 16465, Delivered: 12345, KernelLost: 120, Dropped: 4000}})
		s.Overhead = output.Overhead{Runs: 10, CPUShare: 0.0031, Available: true}
		r.End(s)
	}},
	{"events-nodes", func(t testing.TB, r *Result) {
		for _, n := range []string{"db-1", "db-2"} {
			attach(t, r, n, connects)
		}
		for i := range 12 {
			r.Line(line(t, connect([]string{"db-1", "db-2"}[i%2], i)))
		}
		r.Line(line(t, output.Error{Node: "db-3", Code: "policy", Message: "db-3: the node allows no user probes"}))
		s := summary(output.NodeSummary{Node: "db-1", Reason: output.ReasonDeadline, Counters: output.Counters{Produced: 6, Delivered: 6}},
			output.NodeSummary{Node: "db-2", Reason: output.ReasonDeadline, Counters: output.Counters{Produced: 6, Delivered: 6}},
			output.NodeSummary{Node: "db-3", Reason: output.ReasonRefused, Detail: "the node allows no user probes"},
			output.NodeSummary{Node: "db-4", Reason: output.ReasonFailed, Detail: "no answer within 10s: see that its executor runs and reaches the bus"})
		s.Reason = output.ReasonFailed
		r.End(s)
	}},
	{"maps-nodes", func(t testing.TB, r *Result) {
		stream := output.Stream{Name: "opens", Columns: []output.Column{{Name: "comm", Kind: "string", Width: 16}, {Name: "count", Kind: "k_count", Width: 8, Right: true}, {Name: "size", Kind: "k_bytes", Width: 8, Right: true}}}
		entry := func(comm string, n, size uint64) output.MapEntry {
			return output.MapEntry{Key: output.Fields{{Name: "comm", Value: comm}}, Value: output.Fields{{Name: "count", Value: num(n)}, {Name: "size", Value: num(size)}}}
		}
		for i, n := range []string{"a", "b", "c"} {
			attach(t, r, n, stream)
			// A reading in between does not count.
			r.Line(line(t, output.Map{Node: n, Name: "opens", Entries: []output.MapEntry{entry("old", 9, 9)}, Total: 1, At: "2026-03-04T03:00:10Z"}))
			entries := []output.MapEntry{entry("systemd", 7, 4096), entry("nginx", uint64(1000*(i+1)), 123456)}
			if i > 0 {
				entries = append(entries, entry("cron", 3, 12))
			}
			r.Line(line(t, output.Map{Node: n, Name: "opens", Entries: entries, Total: len(entries) + 5, At: "2026-03-04T03:01:00Z", Final: true}))
		}
		r.End(summary(output.NodeSummary{Node: "a", Reason: output.ReasonDeadline, Counters: output.Counters{MapFull: 2}}, output.NodeSummary{Node: "b", Reason: output.ReasonDeadline}, output.NodeSummary{Node: "c", Reason: output.ReasonDeadline}))
	}},
	{"hists-nodes", func(t testing.TB, r *Result) {
		for i, n := range []string{"a", "b"} {
			attach(t, r, n, output.Stream{Name: "lat"})
			h := output.Hist{Node: n, Name: "lat", Unit: "ns", Final: true, At: "2026-03-04T03:01:00Z", Key: output.Fields{{Name: "comm", Value: "postgres"}}}
			for k := 12 + 6*i; k < 17+6*i; k++ {
				c := uint64(100 * (k%5 + 1))
				h.Buckets = append(h.Buckets, output.Bucket{Min: 1 << k, Max: 1<<(k+1) - 1, Count: c})
				h.Count += c
			}
			r.Line(line(t, h))
		}
		r.End(summary(output.NodeSummary{Node: "a", Reason: output.ReasonStopped}, output.NodeSummary{Node: "b", Reason: output.ReasonStopped}))
	}},
	{"hists-keys", func(t testing.TB, r *Result) {
		attach(t, r, "a", output.Stream{Name: "sizes"})
		for i := range 40 {
			r.Line(line(t, output.Hist{Node: "a", Name: "sizes", Unit: "bytes", Final: true, At: "2026-03-04T03:01:00Z", Key: output.Fields{{Name: "pid", Value: num(uint64(i))}},
				Buckets: []output.Bucket{{Min: 512, Max: 1023, Count: uint64(i)}, {Min: 1024, Max: 2047, Count: 10}}, Count: uint64(i) + 10}))
		}
		r.End(summary(output.NodeSummary{Node: "a", Reason: output.ReasonDeadline}))
	}},
	{"stacks", func(t testing.TB, r *Result) {
		for _, n := range []string{"a", "b"} {
			attach(t, r, n, output.Stream{Name: "samples", Columns: []output.Column{{Name: "comm", Kind: "string"}, {Name: "count", Kind: "k_count"}}})
			for i := range 8 {
				s := output.Stack{Node: n, Name: "samples", Key: output.Fields{{Name: "comm", Value: "java"}}, Count: uint64(800 / (i + 1)), Final: true}
				for f := range 18 {
					s.Frames = append(s.Frames, fmt.Sprintf("function_%d_%d+0x1f", i, f))
				}
				r.Line(line(t, s))
			}
		}
		r.End(summary(output.NodeSummary{Node: "a", Reason: output.ReasonDeadline}, output.NodeSummary{Node: "b", Reason: output.ReasonDeadline}))
	}},
	{"nothing", func(t testing.TB, r *Result) {
		attach(t, r, "a", connects)
		attach(t, r, "b", connects)
		r.End(summary(output.NodeSummary{Node: "a", Reason: output.ReasonDeadline}, output.NodeSummary{Node: "b", Reason: output.ReasonDeadline}))
	}},
	{"nothing-counted", func(t testing.TB, r *Result) {
		attach(t, r, "a", output.Stream{Name: "opens", Columns: []output.Column{{Name: "comm", Kind: "string"}, {Name: "count", Kind: "k_count"}}})
		r.Line(line(t, output.Map{Node: "a", Name: "opens", Entries: []output.MapEntry{}, Final: true, At: "2026-03-04T03:01:00Z"}))
		r.End(summary(output.NodeSummary{Node: "a", Reason: output.ReasonDeadline}))
	}},
	{"crashed", func(t testing.TB, r *Result) {
		attach(t, r, "a", output.Stream{Name: "opens", Columns: []output.Column{{Name: "comm", Kind: "string", Width: 8}, {Name: "count", Kind: "k_count", Right: true}}})
		r.Line(line(t, output.Map{Node: "a", Name: "opens", Entries: []output.MapEntry{{Key: output.Fields{{Name: "comm", Value: "sh"}}, Value: output.Fields{{Name: "count", Value: num(12)}}}}, Total: 1, At: "2026-03-04T03:01:00Z"}))
		s := summary(output.NodeSummary{Node: "a", Reason: output.ReasonFailed, Detail: "it fell silent: nothing for 10s"})
		s.Reason = output.ReasonFailed
		r.End(s)
	}},
	{"lines", func(t testing.TB, r *Result) {
		attach(t, r, "a")
		for i := range 500 {
			r.Line(line(t, output.Text{Node: "a", Line: fmt.Sprintf("task %d\tstate R\n", i)}))
		}
		r.End(summary(output.NodeSummary{Node: "a", Reason: "complete"}))
	}},
	{"fleet", feedFleet},
	{"hostile", func(t testing.TB, r *Result) {
		attach(t, r, "a", connects)
		for i := range 3 {
			e := connect("a", i)
			e.Data[2].Value = "```\n@everyone <!channel> \x1b[31m\u202e\u200b\u3164\u0301x``" + "`" + strings.Repeat("W", 300)
			r.Line(line(t, e))
		}
		r.Line(line(t, output.Error{Node: "a", Code: "node", Message: "```\u2028@here\x00\nsecond line"}))
		r.End(summary(output.NodeSummary{Node: "a", Reason: output.ReasonFailed, Detail: "```\u202edetail\nmore", Counters: output.Counters{Produced: 5, Delivered: 3}}))
	}},
}

func TestScenarios(t *testing.T) {
	for _, tt := range scenarios {
		t.Run(tt.name, func(t *testing.T) {
			r := newResult(t, Options{})
			tt.feed(t, r)
			got := draw(r.Final()) + "\n=== tail of 600\n" + r.Tail(600) + "\n"
			path := filepath.Join("testdata", tt.name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil || got != string(want) {
				t.Errorf("%v, got:\n%s\nwant:\n%s", err, got, want)
			}
			safe(t, got)
			for budget := 0; budget < 3000; budget += 1 + budget/3 {
				tail := r.Tail(budget)
				if n := units(tail); n > budget {
					t.Fatalf("the tail for %d has %d characters:\n%s", budget, n, tail)
				}
				safe(t, tail)
			}
		})
	}
}

// safe fails for text that must not be in a block of code.
func safe(t *testing.T, s string) {
	t.Helper()
	if strings.Contains(s, "```") || !utf8.ValidString(s) {
		t.Errorf("it ends the block, or is no text: %q", s)
	}
	for l := range strings.Lines(s) {
		l = strings.TrimSuffix(l, "\n")
		for _, c := range l {
			if !unicode.IsPrint(c) || hidden(c) {
				t.Errorf("%q in %q", c, l)
			}
		}
	}
	_, blocks, _ := strings.Cut(s, "\n\n")
	for l := range strings.Lines(blocks) {
		if w := text.Width(strings.TrimSuffix(l, "\n")); w > Columns+2 {
			t.Errorf("%d columns: %q", w, l)
		}
	}
}

// feedSeries is a run that shows its tables at an interval.
func feedSeries(t testing.TB, r *Result, nodes ...string) {
	stream := output.Stream{Name: "opens", Columns: []output.Column{{Name: "comm", Kind: "string"}, {Name: "bytes", Kind: "k_bytes"}}}
	for _, n := range nodes {
		attach(t, r, n, stream)
	}
	for i := range 30 {
		for j, n := range nodes {
			m := output.Map{Node: n, Name: "opens", Total: 9, At: output.Time(time.Date(2026, 3, 4, 3, 0, i, j, time.UTC))}
			for k := range 9 {
				m.Entries = append(m.Entries, output.MapEntry{Key: output.Fields{{Name: "comm", Value: fmt.Sprint("c", k)}}, Value: output.Fields{{Name: "bytes", Value: num(uint64((9 - k) * 1000 * (i%7 + j + 1)))}}})
			}
			r.Line(line(t, m))
		}
	}
}

func TestFigures(t *testing.T) {
	feeds := map[string]func(*Result){
		"series":       func(r *Result) { feedSeries(t, r, "a") },
		"series-nodes": func(r *Result) { feedSeries(t, r, "a", "b") },
		"hist": func(r *Result) {
			attach(t, r, "a")
			r.Line(line(t, output.Hist{Node: "a", Name: "lat", Unit: "ns", Final: true, Count: 3, Buckets: []output.Bucket{{Min: 4096, Max: 8191, Count: 3}}}))
		},
		"hist-series": func(r *Result) {
			attach(t, r, "a")
			at := time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)
			for i := range 40 {
				for n, node := range []string{"a", "b"} {
					low := uint64(4096) << (i/8 + 3*n)
					r.Line(line(t, output.Hist{Node: node, Name: "lat", Unit: "ns", Count: 103, At: output.Time(at.Add(time.Duration(i)*time.Second + time.Duration(n)*50*time.Millisecond)),
						Buckets: []output.Bucket{{Min: low, Max: 2*low - 1, Count: 100}, {Min: 2 * low, Max: 4*low - 1, Count: 3}}}))
				}
			}
			for _, node := range []string{"a", "b"} {
				r.Line(line(t, output.Hist{Node: node, Name: "lat", Unit: "ns", Final: true, Count: 3, Buckets: []output.Bucket{{Min: 4096, Max: 8191, Count: 3}}}))
			}
			if all := r.tables[0].history.hists; len(all) != 40 || all[0].buckets[0].Count != 100 {
				t.Errorf("%d moments, the first %+v", len(all), all[0])
			}
		},
		"rate": func(r *Result) {
			at := time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)
			r.o.Now = func() time.Time { at = at.Add(100 * time.Millisecond); return at }
			for i := range 200 {
				r.Line(line(t, connect("a", i)))
			}
		},
	}
	for _, s := range scenarios {
		feeds[s.name] = func(r *Result) { s.feed(t, r) }
	}
	want := map[string]string{"series": "[chart.Series]", "series-nodes": "[chart.Series]", "hist": "[chart.Histogram]", "hist-series": "[chart.Panels chart.Heat]", "rate": "[chart.Series]", "maps-nodes": "[chart.Bars]",
		"fleet": "[chart.Bars chart.Heat]", "hists-nodes": "[chart.Panels]", "hists-keys": "[chart.Heat]", "stacks": "[*chart.Flame]"}
	for name, feed := range feeds {
		t.Run(name, func(t *testing.T) {
			at := time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)
			r := newResult(t, Options{Now: func() time.Time { return at }})
			feed(r)
			var kinds []string
			for i, f := range r.Figures() {
				kinds = append(kinds, fmt.Sprintf("%T", f))
				if *save != "" { // how they are drawn is tested there
					b, err := chart.PNG(f, chart.Light())
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(*save, fmt.Sprintf("result-%s-%d.png", name, i)), b, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := fmt.Sprint(kinds); want[name] != "" && got != want[name] || want[name] == "" && got != "[]" {
				t.Errorf("got %s, want %s", got, want[name])
			}
		})
	}
}

func TestAccount(t *testing.T) {
	for _, tt := range []struct {
		c      output.Counters
		counts bool
		want   string
	}{
		{output.Counters{}, false, "0 events, none lost"},
		{output.Counters{}, true, "counted in the kernel; nothing was lost"},
		{output.Counters{MapFull: 1}, true, "counted in the kernel; 1 update found a table full, so it is incomplete"},
		{output.Counters{Produced: 12345, Delivered: 12345}, false, "12,345 events, all delivered"},
		{output.Counters{Produced: 1, Delivered: 1}, true, "1 event, all delivered"},
		{output.Counters{Produced: 10, Delivered: 4, KernelLost: 3, Dropped: 2, BusTrimmed: 1}, false,
			"10 events: 4 delivered, 3 lost in the kernel (no room in the buffer), 2 dropped over the rate limit, 1 lost between node and bot"},
		{output.Counters{Produced: 10, Delivered: 4}, false, "10 events: 4 delivered; 6 events cannot be accounted for"},
		{output.Counters{Produced: 1, Delivered: 4}, false, "1 event: 4 delivered; the account is off by 3 events too many"},
	} {
		if got := Account(output.Summary{Counters: tt.c}, tt.counts); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.c, got, tt.want)
		}
	}
}

// lines returns what is in a file.
func lines(t *testing.T, f File) (out []string) {
	t.Helper()
	if f.Open() == nil {
		t.Fatal("nothing to read")
	}
	raw, err := io.ReadAll(f.Open())
	if err != nil || int64(len(raw)) != f.Size {
		t.Fatalf("%d bytes of %d: %v", len(raw), f.Size, err)
	}
	var in io.Reader = bytes.NewReader(raw)
	if strings.HasSuffix(f.Name, ".gz") {
		if in, err = gzip.NewReader(in); err != nil {
			t.Fatal(err)
		}
	}
	s := bufio.NewScanner(in)
	s.Buffer(nil, output.MaxLine)
	for s.Scan() {
		out = append(out, s.Text())
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	return out
}

func TestFile(t *testing.T) {
	r := newResult(t, Options{Recipe: "tcp-connect", Run: "0123456789abcdef"})
	if f, ok, err := r.File(); ok || err != nil {
		t.Fatalf("a file of nothing: %+v, %v", f, err)
	}
	want := []string{}
	put := func(i int) {
		l := line(t, connect("a", i))
		want = append(want, strings.TrimSuffix(string(l), "\n"))
		r.Line(l)
	}
	look := func(name string) {
		t.Helper()
		f, ok, err := r.File()
		if err != nil || !ok || f.Name != name || f.Note != "" {
			t.Fatalf("%+v, %v, %v, want %s", f, ok, err, name)
		}
		if got := lines(t, f); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%d lines, want %d", len(got), len(want))
		}
	}
	put(0)
	look("kgent-tcp-connect-01234567.jsonl")
	for i := range 20000 {
		put(i)
	}
	look("kgent-tcp-connect-01234567.jsonl.gz")
	for i := range 500 { // it goes on after it was looked at
		put(i)
	}
	look("kgent-tcp-connect-01234567.jsonl.gz")
	if left, err := os.ReadDir(r.o.Dir); err != nil || len(left) > 0 {
		t.Errorf("on the disk: %v, %v", left, err)
	}
}

func TestFileTooLarge(t *testing.T) {
	r := newResult(t, Options{MaxFile: 700 << 10, Run: "../../etc/passwd"})
	total := 0
	for i := range 60000 {
		r.Line(line(t, output.Text{Node: "a", Line: fmt.Sprint(i, " ", i*7919%1000003, " ", i*104729%1299709)}))
		total++
	}
	f, ok, err := r.File()
	if err != nil || !ok || f.Size > 700<<10 || f.Note == "" || f.Name != "kgent-et.jsonl.gz" {
		t.Fatalf("%+v, %v, %v", f, ok, err)
	}
	got := lines(t, f)
	gap := -1
	for i, l := range got {
		if strings.Contains(l, `"code":"truncated"`) {
			gap = i
		}
	}
	var missing uint64
	if _, err := fmt.Sscanf(strings.ReplaceAll(f.Note, ",", ""), "%d lines", &missing); err != nil || gap < 0 {
		t.Fatalf("note %q at %d: %v", f.Note, gap, err)
	}
	if len(got)-1+int(missing) != total {
		t.Errorf("%d lines and %d missing, there were %d", len(got)-1, missing, total)
	}
	if !strings.Contains(got[0], `"0 0 0"`) || !strings.Contains(got[len(got)-1], `"59999 `) {
		t.Errorf("from %s to %s", got[0], got[len(got)-1])
	}
}

func TestFileDisk(t *testing.T) {
	r := New(Options{Dir: filepath.Join(t.TempDir(), "missing")})
	defer r.Close()
	for range 2000 {
		r.Line(line(t, output.Text{Line: strings.Repeat("x", 1000)}))
	}
	if _, _, err := r.File(); err == nil {
		t.Error("no error of a disk that takes nothing")
	}
}

// A flood: a million lines of three nodes, and records of any size, in bounded
// memory and time.
func TestFlood(t *testing.T) {
	r := newResult(t, Options{})
	var all [][]byte
	for _, n := range []string{"a", "b", "c"} {
		attach(t, r, n, connects)
		for i := range 1000 {
			all = append(all, line(t, connect(n, i)))
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range flood {
		r.Line(all[i%len(all)])
		if i%(flood/10) == 0 {
			r.Tail(2900)
		}
	}
	big := output.Map{Name: "NAME", Node: "NODE", Final: true}
	for i := range keepRows + 1 {
		big.Entries = append(big.Entries, output.MapEntry{Key: output.Fields{{Name: "k", Value: fmt.Sprint(i, "NODE", strings.Repeat("x", 100))}}, Value: output.Fields{{Name: "v", Value: num(uint64(i))}}})
	}
	raw := line(t, big)
	for i := range floodNodes {
		l := bytes.ReplaceAll(raw, []byte("NODE"), []byte(fmt.Sprint("node-", i)))
		r.Line(bytes.Replace(l, []byte("NAME"), []byte(fmt.Sprint("m", i%2)), 1))
	}
	for k := range 3 * keepRows {
		r.Line(line(t, output.Stack{Node: "a", Name: "s", Count: uint64(k), Frames: []string{fmt.Sprint(k)}, Final: true}))
	}
	start := cpuTime(t)
	r.Tail(2900)
	r.Figures()
	r.Final()
	if took := cpuTime(t) - start; took > 20*time.Second { // a slow machine, and the race detector
		t.Errorf("it took %v to show", took)
	} else {
		t.Logf("it took %v to show", took)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 400<<20 {
		t.Errorf("%d MB more", grown>>20)
	}
	if r.bytes > keepTables || r.room < 0 || floodNodes > 200 && r.tooMany == 0 {
		t.Errorf("%d bytes of tables, room for %d, %d rows too many", r.bytes, r.room, r.tooMany)
	}
	if tail := r.Tail(1800); !strings.Contains(tail, " events before") {
		t.Errorf("tail:\n%s", tail)
	}
	if f := r.Final(); !strings.HasPrefix(f.Headline, plural(flood, "event")) {
		t.Errorf("headline %q", f.Headline)
	}
	f, ok, err := r.File()
	if err != nil || !ok || f.Size > DefaultMaxFile {
		t.Errorf("%+v, %v", f, err)
	}
	runtime.KeepAlive(all)
}

// Names beyond all bounds are no way to fill memory either.
func TestFloodOfNames(t *testing.T) {
	r := newResult(t, Options{})
	for i := range 3000 {
		n := fmt.Sprint("n", i)
		r.Line(line(t, output.Event{Node: n, Stream: n, Data: output.Fields{{Name: "x", Value: n}}}))
		r.Line(line(t, output.Map{Node: n, Name: n}))
		r.Line(line(t, output.Hist{Node: n, Name: "h"}))
		r.Line(line(t, output.Error{Node: n, Message: strings.Repeat(n, 1000)}))
		r.Line(line(t, output.Attached{Node: n, Streams: []output.Stream{{Name: n}}}))
		r.Line([]byte("rubbish\n"))
	}
	if len(r.nodes) > keepNodes || len(r.perEvent) > keepEvents || len(r.tables) > keepNames || len(r.errors) > keepErrors || len(r.streams) > keepNames || r.strange != 3000 || r.events != 3000 {
		t.Errorf("%d nodes, %d streams of events, %d tables, %d errors, %d streams, %d strange", len(r.nodes), len(r.perEvent), len(r.tables), len(r.errors), len(r.streams), r.strange)
	}
	if f := r.Final(); f.Headline == "" || units(r.Tail(1800)) > 1800 {
		t.Error("it cannot be shown any more")
	}
}

func TestRate(t *testing.T) {
	var r rate
	start := time.Unix(1000, 0)
	for i := range 2000 {
		r.add(start.Add(time.Duration(i) * time.Second))
	}
	sum := uint64(0)
	for _, n := range r.counts {
		sum += n
	}
	if sum != 2000 || len(r.counts) > maxSteps || r.step != 4*time.Second || r.counts[0] != 4 {
		t.Errorf("%d in %d steps of %v", sum, len(r.counts), r.step)
	}
	r.add(start.Add(-time.Hour)) // a clock that was set back
	if r.counts[0] != 5 {
		t.Errorf("%d at the beginning", r.counts[0])
	}
}

// Whatever arrives, nothing panics, and what is shown is safe.
func FuzzLine(f *testing.F) {
	for _, tt := range scenarios {
		f.Add([]byte(line(f, connect(tt.name, 1))))
	}
	f.Add([]byte(`{"type":"event","node":"a","stream":"s","data":{"a":"\`))
	f.Add([]byte(`{"type":"hist","node":"a","name":"h","unit":"ns","buckets":[{"min":9,"max":3,"count":18446744073709551615},{"min":18446744073709551615,"max":0,"count":1}],"count":3}`))
	f.Add([]byte(`{"type":"map","node":"a","name":"h","entries":[{"key":{"a":1},"value":{"b":{"c":1e999}}}],"total":-5}`))
	f.Add([]byte(`{"type":"attached","node":"a","streams":[{"name":"s","columns":[{"name":"a","kind":"string","width":-5}]}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := New(Options{Nodes: []string{"b"}})
		defer r.Close()
		for l := range bytes.Lines(in) {
			r.Line(l)
		}
		r.End(output.Summary{})
		safe(t, draw(r.Final()))
		if s := r.Tail(300); units(s) > 300 {
			t.Errorf("%d characters", units(s))
		} else {
			safe(t, s)
		}
	})
}

func FuzzScanEvent(f *testing.F) {
	f.Add([]byte(`{"type":"event","node":"a\"b","stream":"s","data":{"a":"x","b":[1,{"c":2}],"d":-1}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, ok := scanEvent(in)
		if !ok {
			return
		}
		var names []string
		eachField(e.data, func(name, value []byte) { names = append(names, string(name)) })
		rec, err := output.Decode(in)
		if err != nil {
			return
		}
		ev, ok := rec.(output.Event)
		if ok && bytes.Count(in, []byte(`"node"`)) == 1 && bytes.Count(in, []byte(`"data"`)) == 1 && !bytes.ContainsAny(in[len(eventHead):], " \t\r\n") && len(names) != len(ev.Data) {
			t.Errorf("%q: fields %q, want %v", in, names, ev.Data)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	r := newResult(b, Options{})
	attach(b, r, "a", connects)
	var all [][]byte
	for i := range 1000 {
		all = append(all, line(b, connect("a", i)))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.Line(all[i%len(all)])
		i++
	}
}

func BenchmarkTail(b *testing.B) {
	r := newResult(b, Options{})
	attach(b, r, "a", connects)
	for i := range 1000 {
		r.Line(line(b, connect("a", i)))
	}
	for b.Loop() {
		r.Tail(2900)
	}
}

// cpuTime is the processor time that this process has used, whatever else the machine does.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package text

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"kgent/executor/output"
)

func num(n int64) json.Number { return json.Number(fmt.Sprint(n)) }

func TestClean(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"plain text, größer: 中文 🙂 é", "plain text, größer: 中文 🙂 é"},
		{"\x1b[31mred\x1b]0;title\x07", `\x1b[31mred\x1b]0;title\x07`},
		{"two\nlines\r\x00\x7f\t", `two\x0alines\x0d\x00\x7f\x09`},
		{"c1 \u009b31m", `c1 \u009b31m`},
		{"abc\u202edcba\u2066\u200b\u2028\ufeff", `abc\u202edcba\u2066\u200b\u2028\ufeff`},
		{"tag \U000e0041", `tag \U000e0041`},
		{"bad \xff\xc3(\xe4\xb8", `bad \xff\xc3(\xe4\xb8`},
		{"really \ufffd", "really \ufffd"},
	} {
		if got := Clean(tt.in); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestWidth(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "größe": 5, "e\u0301": 1, "中文": 4, "한글": 4, "ひらがな": 8, "🙂": 2, "ｆｕｌｌ": 8, "ｶﾅ": 2,
		"…": 1, "█▏": 2, "\u20ac": 1, "𠀀": 2} {
		if got := Width(s); got != want {
			t.Errorf("%q is %d wide, want %d", s, got, want)
		}
	}
	for i := range len(wide) - 1 {
		if wide[i][0] > wide[i][1] || wide[i][1] >= wide[i+1][0] {
			t.Errorf("ranges %d and %d are out of order", i, i+1)
		}
	}
	for _, tt := range []struct {
		s    string
		w    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"中文字", 6, "中文字"}, {"中文字", 5, "中文…"}, {"中文字", 4, "中…"}, {"abc", 0, ""}, {"abc", 1, "…"}} {
		if got := Fit(tt.s, tt.w); got != tt.want {
			t.Errorf("%q in %d: %q, want %q", tt.s, tt.w, got, tt.want)
		}
	}
}

func TestValue(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	for _, tt := range []struct {
		kind string
		v    any
		want string
	}{
		{"k_ns", num(0), "0ns"}, {"k_ns", num(999), "999ns"}, {"k_ns", num(1000), "1.0us"}, {"k_ns", num(1_300_000), "1.3ms"},
		{"k_ns", num(99_949_999), "99.9ms"}, {"k_ns", num(99_950_000), "100ms"}, {"k_ns", num(999_499_999), "999ms"}, {"k_ns", num(999_500_000), "1.0s"},
		{"k_ns", num(59_949_999_999), "59.9s"}, {"k_ns", num(59_950_000_000), "1m00s"}, {"k_ns", num(65e9), "1m05s"}, {"k_ns", num(3600e9), "1h00m"},
		{"k_ns", num(48 * 3600e9), "2d"}, {"k_us", num(1500), "1.5ms"}, {"k_ms", num(1500), "1.5s"}, {"k_ns", json.Number("18446744073709551615"), "213504d"},
		{"k_ns", num(-1500), "-1.5us"}, {"k_ns", json.Number("3.33"), "3ns"}, {"k_ns", json.Number("\x1b"), `\x1b`}, {"k_ns", "n\x07", `n\x07`},
		{"k_bytes", num(0), "0"}, {"k_bytes", num(1023), "1023"}, {"k_bytes", num(1024), "1.0K"}, {"k_bytes", num(4096), "4.0K"}, {"k_bytes", num(1 << 20), "1.0M"},
		{"k_bytes", num(1<<20 - 1), "1.0M"}, {"k_bytes", json.Number("18446744073709551615"), "16.0E"}, {"k_bytes", num(-4096), "-4.0K"},
		{"k_count", num(1), "1"}, {"k_count", num(1204), "1,204"}, {"k_count", num(-1234567), "-1,234,567"}, {"k_count", json.Number("1234.50"), "1,234.50"},
		{"k_pages", num(100000), "100,000"}, {"k_permille", num(123), "12.3%"}, {"k_pid", num(1234567), "1234567"}, {"int", num(1234567), "1234567"},
		{"k_time", "2026-03-04T23:04:05.123456789Z", "00:04:05.123"}, {"k_time", "", "-"}, {"k_time", "soon\n", `soon\x0a`}, {"k_time", num(5), "5"},
		{"bool", true, "yes"}, {"k_bool", false, "no"}, {"string", "a\x1b", `a\x1b`}, {"string", nil, "-"}, {"k_ret", "ENOENT", "ENOENT"}, {"k_ret", num(-5000), "-5000"},
		{"list", []any{num(1), "x\n", []any{true}}, `1, x\x0a, yes`}, {"k_kstack", []any{"a", "b"}, "a < b"},
		{"struct", output.Fields{{Name: "a\x1b", Value: num(1)}, {Name: "b", Value: "x y"}, {Name: "c", Value: ""}}, `a\x1b=1 b="x y" c=""`},
		{"int", 3.5, "3.5"},
	} {
		if got := Value(tt.kind, tt.v, Options{Location: berlin}); got != tt.want {
			t.Errorf("%s %v: got %q, want %q", tt.kind, tt.v, got, tt.want)
		}
	}
}

var openColumns = []output.Column{
	{Name: "time", Kind: "k_time", Width: 12}, {Name: "pid", Kind: "k_pid", Width: 7, Right: true}, {Name: "comm", Kind: "string", Width: 16},
	{Name: "ret", Kind: "k_ret", Width: 7, Right: true}, {Name: "path", Kind: "string", Width: 40}}

func open(node string, pid int64, comm string, ret any, path string) output.Event {
	return output.Event{Node: node, Stream: "opens", Data: output.Fields{{Name: "time", Value: "2026-03-04T12:00:00.5Z"}, {Name: "pid", Value: num(pid)},
		{Name: "comm", Value: comm}, {Name: "ret", Value: ret}, {Name: "path", Value: path}}}
}

func show(t *testing.T, got, want string) {
	t.Helper()
	want = strings.TrimPrefix(want, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTable(t *testing.T) {
	table := NewTable(Options{})
	table.Attached(output.Attached{Node: "db-3", Streams: []output.Stream{{Name: "opens", Columns: openColumns}}})
	got := table.Event(open("db-3", 4242, "cat", num(3), "/etc/passwd")) +
		table.Event(open("db-3", 1, "systemd", "ENOENT", "/run/systemd/units/log-extra-fields:some-very-long.service")) +
		table.Event(open("db-3", 1234567, "中文字符测试程序名称", num(12), "a\nb\x1b[2J")) +
		table.Event(open("db-3", 7, "x", "ECONNREFUSED", ""))
	show(t, got, `
TIME          PID COMM        RET PATH
12:00:00.500 4242 cat           3 /etc/passwd
12:00:00.500    1 systemd  ENOENT /run/systemd/units/log-extra-fields:some-very…
12:00:00.500 1234567 中文字符测试程序名称     12 a\x0ab\x1b[2J
12:00:00.500       7 x                    ECONNREFUSED
`)
}

// On a narrow terminal the room goes to what the rows hold: the path before the
// flags, and the process before its thread.
func TestTableTight(t *testing.T) {
	columns := []output.Column{{Name: "time", Kind: "k_time", Width: 12}, {Name: "pid", Kind: "k_pid", Width: 7, Right: true}, {Name: "tid", Kind: "k_tid", Width: 7, Right: true},
		{Name: "comm", Kind: "string", Width: 16}, {Name: "flags", Kind: "k_oflags", Width: 16}, {Name: "path", Kind: "string", Width: 40}}
	for width, want := range map[int]string{
		64: `
TIME          PID  TID COMM     FLAGS    PATH
12:00:00.500    7    8 python3  O_RDONL… /etc/ssl/certs/ca-cert…
12:00:00.500    7    8 clang-1… O_RDONL… /etc/hosts
`,
		48: `
TIME          PID COMM     FLAGS    PATH
12:00:00.500    7 python3  O_RDONL… /etc/ssl/ce…
12:00:00.500    7 clang-1… O_RDONL… /etc/hosts
`} {
		table := NewTable(Options{Width: width})
		table.Attached(output.Attached{Streams: []output.Stream{{Name: "opens", Columns: columns}}})
		row := func(comm, path string) string {
			return table.Event(output.Event{Stream: "opens", Data: output.Fields{{Name: "time", Value: "2026-03-04T12:00:00.5Z"}, {Name: "pid", Value: num(7)}, {Name: "tid", Value: num(8)},
				{Name: "comm", Value: comm}, {Name: "flags", Value: "O_RDONLY|O_CLOEXEC"}, {Name: "path", Value: path}}})
		}
		show(t, row("python3", "/etc/ssl/certs/ca-certificates.crt")+row("clang-19.1.7", "/etc/hosts"), want)
	}
}

// What is read every second says when; what is read at the end need not.
func TestAt(t *testing.T) {
	show(t, Map(output.Map{Name: "packets", At: "2026-03-04T12:00:00.5Z"}, output.Stream{}, Options{}), "packets at 12:00:00: no entries\n")
	show(t, Hist(output.Hist{Name: "latency", At: "2026-03-04T12:00:00.5Z"}, Options{}), "latency at 12:00:00: no values\n")
	show(t, Hist(output.Hist{Name: "latency", At: "2026-03-04T12:00:00.5Z", Final: true}, Options{}), "latency: no values\n")
	show(t, Hist(output.Hist{Name: "latency", At: "\x1b"}, Options{}), "latency at \\x1b: no values\n")
}

// What is not text is never cut, and what follows is back in its column as
// soon as there is room.
func TestTableKeepsAddresses(t *testing.T) {
	columns := []output.Column{{Name: "comm", Kind: "string", Width: 8}, {Name: "daddr", Kind: "k_ip", Width: 15}, {Name: "dport", Kind: "k_port", Width: 5, Right: true},
		{Name: "error", Kind: "k_errno", Width: 12}}
	table := NewTable(Options{Width: 50})
	table.Attached(output.Attached{Streams: []output.Stream{{Name: "s", Columns: columns}}})
	row := func(addr string, port int64, err string) string {
		return table.Event(output.Event{Stream: "s", Data: output.Fields{{Name: "comm", Value: "curl"}, {Name: "daddr", Value: addr}, {Name: "dport", Value: num(port)}, {Name: "error", Value: err}}})
	}
	show(t, row("10.0.0.7", 443, "OK")+row("2001:db8:1234:5678:9abc:def0:1234:5678", 443, "ETIMEDOUT")+row("10.0.0.8", 80, "OK"), `
COMM      DADDR            DPORT  ERROR
curl      10.0.0.7           443  OK
curl      2001:db8:1234:5678:9abc:def0:1234:5678 443 ETIMEDOUT
curl      10.0.0.8            80  OK
`)
}

func TestTableOfSeveral(t *testing.T) {
	table := NewTable(Options{Width: 60})
	small := []output.Column{{Name: "pid", Kind: "k_pid", Width: 7, Right: true}}
	streams := []output.Stream{{Name: "a", Columns: small}, {Name: "a-map", Columns: small}}
	table.Attached(output.Attached{Node: "db-3", Streams: streams})
	event := func(node, stream string, data output.Fields) string {
		return table.Event(output.Event{Node: node, Stream: stream, Data: data})
	}
	pid := output.Fields{{Name: "pid", Value: num(7)}}
	got := event("db-3", "a", pid)
	table.Attached(output.Attached{Node: "db-4", Streams: streams})
	got += event("db-4", "a", pid) + event("db-3", "a", pid)
	// A stream nobody told us of.
	got += event("db-3", "b", output.Fields{{Name: "from", Value: output.Fields{{Name: "comm", Value: "x"}}}, {Name: "n", Value: num(1)}}) + event("db\x1b-4", "a", pid)
	show(t, got, `
    PID
      7
NODE      PID
db-4        7
db-3        7
NODE  STREAM  FROM.COMM          N
db-3  b       x                  1
NODE      STREAM      PID
db\x1b-4  a             7
`)
}

func TestTableHeader(t *testing.T) {
	table := NewTable(Options{})
	table.Attached(output.Attached{Streams: []output.Stream{{Name: "opens", Columns: openColumns}}})
	headers := func(n int, path string) (found int) {
		for range n {
			found += strings.Count(table.Event(open("", 1, "x", num(1), path)), "TIME")
		}
		return found
	}
	if n := headers(headerEvery, "/"); n != 1 {
		t.Errorf("%d headers in %d rows, want 1", n, headerEvery)
	}
	if n := headers(3*headerEvery, "/"); n != 3 {
		t.Errorf("%d more headers in %d rows, want 3", n, 3*headerEvery)
	}
}

func TestMapTable(t *testing.T) {
	stream := output.Stream{Columns: []output.Column{{Name: "comm", Kind: "string", Width: 16}, {Name: "count", Kind: "k_count", Width: 7, Right: true},
		{Name: "total", Kind: "k_ns", Width: 7, Right: true}, {Name: "size.mean", Kind: "k_bytes", Width: 6, Right: true}}}
	entry := func(comm string, n, total int64) output.MapEntry {
		return output.MapEntry{Key: output.Fields{{Name: "comm", Value: comm}}, Value: output.Fields{{Name: "count", Value: num(n)}, {Name: "total", Value: num(total)},
			{Name: "size", Value: output.Fields{{Name: "mean", Value: num(4096)}}}}}
	}
	m := output.Map{Node: "db-3", Name: "calls", Entries: []output.MapEntry{entry("nginx", 123456, 1.3e9), entry("evil\x1b[0m", 1, 20)}, Total: 14}
	show(t, Map(m, stream, Options{}), `
calls
COMM           COUNT  TOTAL  SIZE.MEAN
nginx        123,456   1.3s       4.0K
evil\x1b[0m        1   20ns       4.0K
… and 12 more
`)
	// When it is known over how long was counted, there is a rate; not where the
	// line has no room for it.
	m.Seconds = 30
	show(t, Map(m, stream, Options{}), `
calls
COMM           COUNT  PER SEC  TOTAL  SIZE.MEAN
nginx        123,456    4,115   1.3s       4.0K
evil\x1b[0m        1     <0.1   20ns       4.0K
… and 12 more
`)
	show(t, Map(m, stream, Options{Width: 40}), `
calls
COMM           COUNT  TOTAL  SIZE.MEAN
nginx        123,456   1.3s       4.0K
evil\x1b[0m        1   20ns       4.0K
… and 12 more
`)
	// Without the stream's description, the fields speak for themselves.
	show(t, Map(m, output.Stream{}, Options{Nodes: true, Width: 36}), `
calls on db-3
COMM      COUNT      TOTAL SIZE.MEAN
nginx    123456 1300000000      4096
evil\x1…      1         20      4096
… and 12 more
`)
	show(t, Map(output.Map{Name: "calls"}, stream, Options{}), "calls: no entries\n")
	// A key and a value of the same name are two columns.
	same := output.Map{Name: "m", Total: 1, Entries: []output.MapEntry{{Key: output.Fields{{Name: "bytes", Value: num(1)}}, Value: output.Fields{{Name: "bytes", Value: num(2048)}}}}}
	show(t, Map(same, output.Stream{Columns: []output.Column{{Name: "bytes", Kind: "k_bytes", Right: true}, {Name: "bytes", Kind: "k_bytes", Right: true}}}, Options{}), `
m
BYTES  BYTES
    1   2.0K
`)
}

func TestHist(t *testing.T) {
	h := output.Hist{Node: "n", Name: "latency", Key: output.Fields{{Name: "comm", Value: "ng\x1binx"}}, Unit: "us", Count: 1300, Buckets: []output.Bucket{
		{Min: 64, Max: 127, Count: 1}, {Min: 128, Max: 255, Count: 1000}, {Min: 256, Max: 511}, {Min: 512, Max: 1023, Count: 299}}}
	show(t, Hist(h, Options{Width: 40}), `
latency, comm=ng\x1binx: 1,300 values
[64us, 128us)       1  ▏
[128us, 256us)  1,000  █████████████████
[256us, 512us)      0
[512us, 1ms)      299  █████▏
by buckets: p50 < 256us, p90 < 1ms, p99
< 1ms, mean 216us to 432us
`)
	show(t, Hist(output.Hist{Name: "latency", Unit: "us"}, Options{}), "latency: no values\n")
	for _, tt := range []struct {
		unit string
		b    output.Bucket
		want string
	}{
		{"ns", output.Bucket{}, "[0ns, 1ns)"}, {"ns", output.Bucket{Min: 131072, Max: 262143}, "[131us, 262us)"}, {"us", output.Bucket{Min: 128, Max: 255}, "[128us, 256us)"},
		{"bytes", output.Bucket{Min: 512, Max: 1023}, "[512, 1K)"}, {"bytes", output.Bucket{Min: 4096, Max: 8191}, "[4K, 8K)"}, {"ms", output.Bucket{Min: 1, Max: 1}, "[1ms, 2ms)"},
		{"count", output.Bucket{Min: 1024, Max: 2047}, "[1,024, 2,048)"}, {"count", output.Bucket{Min: 1 << 62, Max: math.MaxUint64}, "[4,611,686,018,427,387,904, …)"},
	} {
		if got := bucketLabels(tt.unit, []output.Bucket{tt.b})[0]; got != tt.want {
			t.Errorf("%s %+v: got %q, want %q", tt.unit, tt.b, got, tt.want)
		}
	}
}

// Bounds of narrow buckets have the digits that tell them apart.
func TestNarrowBuckets(t *testing.T) {
	for _, tt := range []struct {
		unit      string
		from, end uint64
		want      string
	}{
		{"bytes", 1024, 1087, "[1K, 1.06K)"}, {"bytes", 1 << 20, 1<<20 + 4095, "[1M, 1.004M)"}, {"ns", 1_000_000, 1_009_999, "[1ms, 1.01ms)"},
		{"us", 250_000, 250_999, "[250ms, 251ms)"}, {"us", 250_100, 250_199, "[250.1ms, 250.2ms)"}, {"count", 0, 4, "[0, 5)"}, {"ns", 90e9, 91e9 - 1, "[1m30s, 1m31s)"},
	} {
		if got := bucketLabels(tt.unit, []output.Bucket{{Min: tt.from, Max: tt.end}})[0]; got != tt.want {
			t.Errorf("%s %d to %d: %s, want %s", tt.unit, tt.from, tt.end, got, tt.want)
		}
	}
}

func TestPercentiles(t *testing.T) {
	if got, want := Percentiles("count", []output.Bucket{{Min: 0, Max: 9, Count: 99}, {Min: 10, Max: math.MaxUint64, Count: 10}}), "p50 < 10, p90 < 10, p99 in the last bucket"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStack(t *testing.T) {
	stream := output.Stream{Columns: []output.Column{{Name: "pid", Kind: "k_pid"}, {Name: "comm", Kind: "string"}, {Name: "ns", Kind: "k_ns"}}}
	s := output.Stack{Node: "db-3", Name: "off", Key: output.Fields{{Name: "pid", Value: num(7)}, {Name: "comm", Value: "a b"}},
		Frames: []string{"schedule+0x1c", "bad\x1b]0;x\x07 (libc.so.6)", strings.Repeat("template<", 20)}, Count: 1_300_000}
	show(t, Stack(s, stream, Options{Width: 40}), `
1.3ms  pid=7 comm="a b"
    schedule+0x1c
    bad\x1b]0;x\x07 (libc.so.6)
    template<template<template<template…
`)
	s.Key = nil
	show(t, Stack(s, output.Stream{}, Options{Nodes: true, Width: 40}), `
1,300,000 on db-3
    schedule+0x1c
    bad\x1b]0;x\x07 (libc.so.6)
    template<template<template<template…
`)
}

func TestLine(t *testing.T) {
	if got, want := Line(output.Text{Node: "n", Line: "a\tb\x1b[m\r\n"}, Options{}), "a    b\\x1b[m\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Line(output.Text{Node: "n", Line: "a\nb"}, Options{Nodes: true}), "n: a\\x0ab\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSummary(t *testing.T) {
	over := output.Overhead{Available: true, Runs: 10, CPUShare: 0.0031}
	for _, tt := range []struct {
		name   string
		s      output.Summary
		events bool
		want   string
	}{
		{"none lost", output.Summary{Reason: output.ReasonDeadline, Seconds: 30.04, Counters: output.Counters{Produced: 1204, Delivered: 1204}, Overhead: over}, true,
			"Ended after 30.0s: 1,204 events, none lost. It took 0.31% of one core."},
		{"one", output.Summary{Reason: output.ReasonStopped, Seconds: 2, Counters: output.Counters{Produced: 1, Delivered: 1}}, true, "Stopped after 2.0s: 1 event, none lost."},
		{"no events", output.Summary{Reason: output.ReasonInterrupted, Seconds: 2}, true, "Interrupted after 2.0s: no events, none lost."},
		{"only maps", output.Summary{Reason: output.ReasonDeadline, Seconds: 2, Overhead: output.Overhead{Available: true, Runs: 1, CPUShare: 0.00001}}, false,
			"Ended after 2.0s. It took less than 0.01% of one core."},
		{"losses", output.Summary{Reason: output.ReasonDeadline, Seconds: 61, Counters: output.Counters{Produced: 1345, Delivered: 1204, KernelLost: 35, Dropped: 100, BusTrimmed: 6}}, true,
			"Ended after 1m01s: 1,204 of 1,345 events, 35 lost in the kernel (buffer full), 100 dropped over the rate limit, 6 lost between node and reader."},
		{"missing", output.Summary{Reason: output.ReasonDeadline, Seconds: 1, Counters: output.Counters{Produced: 5, Delivered: 3}}, true,
			"Ended after 1.0s: 3 events, none lost. 2 events cannot be accounted for."},
		{"too many", output.Summary{Reason: output.ReasonDeadline, Seconds: 1, Counters: output.Counters{Produced: 3, Delivered: 5}}, true,
			"Ended after 1.0s: 5 events, none lost. The account is off: it holds 2 events more than there were."},
		{"map full", output.Summary{Reason: output.ReasonDeadline, Seconds: 1, Counters: output.Counters{MapFull: 12}, Overhead: output.Overhead{Missed: 1}}, false,
			"Ended after 1.0s. 12 updates found a map full: what it shows is incomplete. The kernel skipped the program 1 time: what it did then is not in the answer."},
		{"an old kernel", output.Summary{Reason: output.ReasonDeadline, Seconds: 1, Counters: output.Counters{Produced: 1, Delivered: 1}, Overhead: output.Overhead{MissedUnknown: true}}, true,
			"Ended after 1.0s: 1 event, none lost. Runs that a kernel skips are counted from Linux 6.7 on only."},
		{"several nodes", output.Summary{Reason: output.ReasonDeadline, Seconds: 1, Counters: output.Counters{Produced: 1, Delivered: 1}, Order: output.OrderNodes}, true,
			"Ended after 1.0s: 1 event, none lost.\nEvents of one node are in the order in which they happened, those of different nodes as they arrived."},
		{"failed", output.Summary{Reason: output.ReasonFailed, Seconds: 0.0123, Detail: "the node\x1b is gone."}, true, `Failed after 12.3ms: no events, none lost (the node\x1b is gone).`},
		{"denied", output.Summary{Reason: output.ReasonDenied, Detail: "alice said no"}, true, "Not run: it was not approved (alice said no)."},
		{"shown", output.Summary{Reason: output.ReasonShown}, true, "Not run, only shown."},
		{"unknown reason", output.Summary{Reason: "new\x1b", Seconds: 1}, false, `Ended (new\x1b) after 1.0s.`},
		{"interrupted", output.Summary{Reason: output.ReasonInterrupted, Seconds: 1, Nodes: []output.NodeSummary{{Node: "db-3", Reason: output.ReasonStopped}}}, false, "Interrupted after 1.0s."},
		{"nodes", output.Summary{Reason: output.ReasonDeadline, Seconds: 1, Overhead: output.Overhead{Available: true, Runs: 1, CPUShare: 0.123},
			Nodes: []output.NodeSummary{{Node: "db-3", Reason: output.ReasonDeadline}, {Node: "db-4", Reason: output.ReasonRefused, Detail: "policy"}}}, false,
			"Ended after 1.0s. It took 12.3% of one core.\ndb-4: refused by the node (policy)."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Summary(tt.s, tt.events, Options{}); got != tt.want+"\n" {
				t.Errorf("got  %swant %s", got, tt.want)
			}
		})
	}
}

// Colour is only where it was asked for, and never changes the text.
func TestStyle(t *testing.T) {
	m := output.Map{Name: "m", Total: 3, Entries: []output.MapEntry{{Key: output.Fields{{Name: "k", Value: "v"}}, Value: output.Fields{{Name: "n", Value: num(1)}}}}}
	s := output.Summary{Reason: output.ReasonDeadline, Counters: output.Counters{MapFull: 1}}
	both := func(o Options) string {
		return Map(m, output.Stream{}, o) + Summary(s, true, o) + Stack(output.Stack{Count: 1}, output.Stream{}, o) + NewTable(o).Event(open("", 1, "x", num(1), "/"))
	}
	plain, coloured := both(Options{}), both(Options{Style: Style{Color: true}})
	if strings.Contains(plain, "\x1b") {
		t.Errorf("escape sequences in %q", plain)
	}
	stripped := strings.NewReplacer("\x1b[1m", "", "\x1b[2m", "", "\x1b[33m", "", "\x1b[0m", "").Replace(coloured)
	if stripped != plain || stripped == coloured {
		t.Errorf("got %q, want %q with colours", coloured, plain)
	}
}

// Whatever a program or a node says, what is shown is lines of printable text,
// and lines of text keep to the width.
func FuzzText(f *testing.F) {
	f.Add("comm", "\x1b[31m", "path", 40)
	f.Add("\xff", "\u202e", "中文字符测试程序名称中文字符测试程序名称", 20)
	f.Fuzz(func(t *testing.T, a, b, c string, width int) {
		width = min(max(width, 20), 200)
		o := Options{Width: width}
		fields := output.Fields{{Name: "a", Value: a}, {Name: "b", Value: b}, {Name: c, Value: []any{a, output.Fields{{Name: a, Value: b}}}}}
		table := NewTable(o)
		columns := []output.Column{{Name: "a", Kind: "string", Width: 16}, {Name: "b", Kind: "k_args", Width: 32}}
		table.Attached(output.Attached{Node: c, Streams: []output.Stream{{Name: "s", Columns: columns}}})
		rows := ""
		for range 3 {
			rows += table.Event(output.Event{Node: c, Stream: "s", Data: fields})
		}
		for line := range strings.Lines(rows) {
			if w := Width(strings.TrimSuffix(line, "\n")); w > width {
				t.Fatalf("a line of %d columns, want at most %d: %q", w, width, line)
			}
		}
		all := rows + table.Event(output.Event{Node: a, Stream: b, Data: fields}) +
			Map(output.Map{Node: a, Name: b, Entries: []output.MapEntry{{Key: fields, Value: fields}}}, output.Stream{Columns: columns}, o) +
			Hist(output.Hist{Node: a, Name: b, Key: fields, Unit: c, Buckets: []output.Bucket{{Min: uint64(width), Max: math.MaxUint64, Count: uint64(len(a))}}}, o) +
			Stack(output.Stack{Node: a, Name: b, Key: fields, Frames: []string{a, b, c}}, output.Stream{}, o) + Line(output.Text{Node: a, Line: b}, o) +
			Summary(output.Summary{Reason: output.Reason(a), Detail: b, Nodes: []output.NodeSummary{{Node: a, Reason: output.Reason(c), Detail: c}}}, true, o)
		for _, r := range all {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("%q in %q", r, all)
			}
		}
	})
}

func BenchmarkTable(b *testing.B) {
	table := NewTable(Options{})
	table.Attached(output.Attached{Streams: []output.Stream{{Name: "opens", Columns: openColumns}}})
	e := open("db-3", 4242, "cat", num(3), "/etc/passwd")
	b.ReportAllocs()
	for b.Loop() {
		table.Event(e)
	}
}

package kernel

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// slowDistance is the optimal string alignment distance by its definition.
func slowDistance(a, b string) int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
		table[i][0] = i
	}
	for j := range table[0] {
		table[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := table[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			table[i][j] = min(replace, table[i-1][j]+1, table[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				table[i][j] = min(table[i][j], table[i-2][j-2]+1)
			}
		}
	}
	return table[len(a)][len(b)]
}

func TestEditDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"ABC", "abc", 0},
		{"sched_swich", "sched_switch", 1}, {"do_wrok", "do_work", 1}, {"ca", "abc", 3}, {"kitten", "sitting", 3},
	} {
		if got := newEditDistance(test.a).to(test.b); got != test.want {
			t.Errorf("from %q to %q it is %d, want %d", test.a, test.b, got, test.want)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		b := make([]byte, random.IntN(65))
		for i := range b {
			b[i] = "abc_"[random.IntN(4)]
		}
		return string(b)
	}
	for range 5_000 {
		a, b := word(), word()
		if random.IntN(2) == 0 && a != "" {
			// Near a: that is where the difference matters.
			i := random.IntN(len(a))
			b = a[:i] + "b" + a[i:min(len(a), 63)]
			b = b[:min(len(b), 64)]
		}
		if got, want := newEditDistance(a).to(b), slowDistance(a, b); got != want {
			t.Fatalf("from %q to %q it is %d, want %d", a, b, got, want)
		}
	}
}

func TestSuggest(t *testing.T) {
	names := []string{
		"sched:sched_switch", "sched:sched_wakeup", "sched:sched_waking", "syscalls:sys_enter_openat", "syscalls:sys_enter_openat2",
		"syscalls:sys_enter_close", "syscalls:sys_exit_openat", "block:block_rq_issue", "task:task_rename",
	}
	for want, among := range map[string][]string{
		"sched:sched_swich":      {"sched:sched_switch"},
		"task:sched_switch":      {"sched:sched_switch"},
		"sched_switch":           {"sched:sched_switch"},
		"syscalls:sys_enter_opn": {"syscalls:sys_enter_openat", "syscalls:sys_enter_openat2"},
		"block:block_issue_rq":   {"block:block_rq_issue"},
		"zzz:qqqqq":              nil,
		"":                       nil,
		"\xff\x00\x1b":           nil,
	} {
		got := suggest(want, names)
		if len(got) < len(among) || !slices.Equal(got[:len(among)], among) || among == nil && len(got) > 0 {
			t.Errorf("for %q: got %q, want %q first", want, got, among)
		}
	}
	many := slices.Repeat([]string{"aaaa_b", "aaaa_c", "aaaa_d", "aaaa_e", "aaaa_f", "aaaa_g"}, 2)
	if got := suggest("aaaa_x", many); !slices.Equal(got, []string{"aaaa_b", "aaaa_c", "aaaa_d", "aaaa_e", "aaaa_f"}) {
		t.Errorf("got %q", got)
	}
	if got := suggest("__traceiter_x", []string{"__traceiter_y", "foo.cold", "__pfx_x"}); len(got) != 0 {
		t.Errorf("suggested %q", got)
	}
}

// TestSuggestOnHost asks for names that do not exist, as they come from people and
// models, among the 60,000 of a kernel.
func TestSuggestOnHost(t *testing.T) {
	f := host(t)
	lookups := map[string]func(string) error{
		"tracepoint": func(name string) error {
			category, name := splitCategory(name)
			_, err := f.Tracepoint(category, name)
			return err
		},
		"function": func(name string) error { _, err := f.Function(name); return err },
		"raw":      func(name string) error { _, err := f.RawTracepoint(name); return err },
	}
	for _, test := range []struct{ kind, name, want string }{
		{"tracepoint", "sched:sched_swich", "sched:sched_switch"},
		{"tracepoint", "sched:process_exec", "sched:sched_process_exec"},
		{"tracepoint", "tcp:inet_sock_set_state", "sock:inet_sock_set_state"},
		{"tracepoint", "syscalls:sys_enter_opnat", "syscalls:sys_enter_openat"},
		{"tracepoint", "syscalls:sys_open_enter", "syscalls:sys_enter_open"},
		{"tracepoint", "tcp:tcp_retransmit", "tcp:tcp_retransmit_skb"},
		{"tracepoint", "block:block_rq_completion", "block:block_rq_complete"},
		{"tracepoint", "signal:signal_generated", "signal:signal_generate"},
		{"function", "tcp_v4_conect", "tcp_v4_connect"},
		{"function", "tcp_connect_v4", "tcp_v4_connect"},
		{"function", "do_unlinkat_file", "do_unlinkat"},
		{"function", "vfs_reed", "vfs_read"},
		{"function", "sys_openat", "__x64_sys_openat"},
		{"function", "inet_csk_accpet", "inet_csk_accept"},
		{"raw", "sys_enter_openat", "sys_enter"},
		{"raw", "tcp:tcp_retransmit_skb", "tcp_retransmit_skb"},
	} {
		var missing *NotFoundError
		err := lookups[test.kind](test.name)
		if !errors.As(err, &missing) {
			t.Errorf("%s %s returned %v", test.kind, test.name, err)
			continue
		}
		if !slices.Contains(missing.Suggestions, test.want) || len(missing.Suggestions) > maxSuggestions {
			t.Errorf("%s; want %s among them", err, test.want)
		}
		if again := lookups[test.kind](test.name); again.Error() != err.Error() {
			t.Errorf("first %s\nthen  %s", err, again)
		}
	}
	var missing *NotFoundError
	if err := lookups["function"](strings.Repeat("qzx", 5000)); !errors.As(err, &missing) || len(missing.Suggestions) > 0 {
		t.Errorf("nonsense gives %q", missing.Suggestions)
	}
}

func FuzzSuggest(f *testing.F) {
	f.Add("sched:sched_swich")
	f.Add("\x00\xff::")
	names := []string{"sched:sched_switch", "do_work", "__x64_sys_open", "foo.isra.0", "a"}
	f.Fuzz(func(t *testing.T, want string) {
		for _, name := range suggest(want, names) {
			if !slices.Contains(names, name) {
				t.Fatalf("suggested %q", name)
			}
		}
		a, b := want[:min(len(want), 64)], "sched:sched_switch"
		if got, exact := newEditDistance(a).to(b), slowDistance(lowerASCII(a), b); got != exact {
			t.Fatalf("from %q to %q it is %d, want %d", a, b, got, exact)
		}
	})
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = lower(b[i])
	}
	return string(b)
}

// BenchmarkSuggest searches all functions of the kernel for a name; the promise is
// 50 ms.
func BenchmarkSuggest(b *testing.B) {
	f := host(b)
	names, err := f.names(functionList)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		suggest("tcp_v4_conect", names)
	}
	b.ReportMetric(float64(len(names)), "names")
}

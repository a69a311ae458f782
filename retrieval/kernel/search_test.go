package kernel

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// searches are requests as people write them, with a hook that answers them, which is
// to be among the first ten. The word lists of the search were written with these in
// sight: they show that it works, not how well it does on others.
var searches = []struct{ query, want string }{
	{"tcp retransmits", "tcp:tcp_retransmit_skb"},
	{"which process exits", "sched:sched_process_exit"},
	{"who execs what", "sched:sched_process_exec"},
	{"which files are opened", "syscalls:sys_enter_openat"},
	{"block io completion latency", "block:block_rq_complete"},
	{"oom kills", "oom:mark_victim"},
	{"page faults by process", "exceptions:page_fault_user"},
	{"who sends signals", "signal:signal_generate"},
	{"dropped packets", "skb:kfree_skb"},
	{"context switches", "sched:sched_switch"},
	{"tcp resets sent", "tcp:tcp_send_reset"},
	{"run queue latency", "sched:sched_wakeup"},
	{"mounting of filesystems", "syscalls:sys_enter_mount"},
	{"fsync latency", "syscalls:sys_enter_fsync"},
	{"setuid calls", "syscalls:sys_enter_setuid"},
	{"who deletes files", "syscalls:sys_enter_unlinkat"},
	{"sched_switch", "sched:sched_switch"},
	{"sock:inet_sock_set_state", "sock:inet_sock_set_state"},
	{"tcp socket state changes", "sock:inet_sock_set_state"},
	{"cpu frequency changes", "power:cpu_frequency"},
	{"system calls entered", "raw_syscalls:sys_enter"},
	{"fork", "sched:sched_process_fork"},
	{"interrupt handlers", "irq:irq_handler_entry"},
	{"writeback of dirty pages", "writeback:writeback_dirty_folio"},
}

func TestSearchHooks(t *testing.T) {
	f := host(t)
	found := 0
	for _, search := range searches {
		hooks, err := f.SearchHooks(search.query, 10)
		if err != nil {
			t.Fatal(err)
		}
		var targets []string
		for i, h := range hooks {
			targets = append(targets, h.Target)
			if h.Signature == "" || h.Kind == "" || h.Score <= 0 || i > 0 && h.Score > hooks[i-1].Score {
				t.Errorf("%q: hook %d is %+v", search.query, i, h)
			}
		}
		if slices.Contains(targets, search.want) {
			found++
		} else {
			t.Logf("%q does not lead to %s, but to %q", search.query, search.want, targets)
		}
		again, err := f.SearchHooks(search.query, 10)
		if err != nil || !slices.Equal(hooks, again) {
			t.Errorf("%q gives something else the second time (%v)", search.query, err)
		}
	}
	t.Logf("%d of %d requests lead to their hook", found, len(searches))
	if found < len(searches)*9/10 {
		t.Errorf("only %d of %d requests lead to their hook", found, len(searches))
	}

	hooks, err := f.SearchHooks("tcp_v4_connect", 3)
	if err != nil {
		t.Fatal(err)
	}
	if got := hooks[0].String(); !strings.HasPrefix(got, "fentry int tcp_v4_connect(struct sock *sk, ") {
		t.Errorf("the hook is written %q", got)
	}
	if hooks[0].Kind != KindFentry || hooks[0].Target != "tcp_v4_connect" || !strings.HasPrefix(hooks[0].Signature, "int tcp_v4_connect(struct sock *sk, ") {
		t.Errorf("tcp_v4_connect leads to %+v", hooks[0])
	}
	// What it finds passes the check.
	for _, query := range []string{"tcp", "sched switch", "file open"} {
		hooks, err := f.SearchHooks(query, 30)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hooks {
			if err := f.CheckHook(h.Kind, h.Target); err != nil && !errors.Is(err, ErrAmbiguous) && h.Kind != KindFentry {
				t.Errorf("%q leads to %s %s: %v", query, h.Kind, h.Target, err)
			}
		}
	}
}

func TestSearchHooksOfNothing(t *testing.T) {
	f := newMachine(t).facts()
	for _, query := range []string{"", "the of and", "\x00\xff\x1b", "zzzqqq", strings.Repeat("wide ", 100_000)} {
		hooks, err := f.SearchHooks(query, 5)
		if err != nil {
			t.Error(err)
		}
		if len(hooks) > 0 && !strings.HasPrefix(query, "wide") {
			t.Errorf("%.20q leads to %+v", query, hooks)
		}
	}
	for _, n := range []int{0, -1} {
		if hooks, err := f.SearchHooks("do work", n); err != nil || len(hooks) != 0 {
			t.Errorf("%d hooks are %v, %v", n, hooks, err)
		}
	}
}

func TestSearchHooksKinds(t *testing.T) {
	kindOf := func(f *Facts, target string) string {
		t.Helper()
		hooks, err := f.SearchHooks(strings.ReplaceAll(target, ":", " "), 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hooks {
			if h.Target == target {
				return h.Kind
			}
		}
		return ""
	}
	f := newMachine(t).facts()
	for target, want := range map[string]string{
		"sched:sched_switch": KindTracepoint, "sched_switch": KindTPBTF, "do_work": KindFentry,
		"__traceiter_sched_switch": "", "ftrace:function": "",
	} {
		if got := kindOf(f, target); got != want {
			t.Errorf("%s is a %q, want %q", target, got, want)
		}
	}
	f.Refused = map[string]string{KindFentry: "tried", KindTPBTF: "tried"}
	for target, want := range map[string]string{"sched_switch": KindRawTracepoint, "do_work": KindKprobe} {
		if got := kindOf(f, target); got != want {
			t.Errorf("%s is a %q, want %q", target, got, want)
		}
	}
	f.Refused[KindKprobe] = "tried"
	if got := kindOf(f, "do_work"); got != "" {
		t.Errorf("do_work is a %q", got)
	}
}

func TestStems(t *testing.T) {
	for word, want := range map[string]string{
		"opens": "open", "opened": "open", "dropped": "drop", "dropping": "drop", "retransmits": "retransmit", "processes": "process",
		"connections": "connect", "deletes": "delete", "writing": "write", "renamed": "rename", "faults": "fault",
	} {
		if got := stems(word); !slices.Contains(got, want) {
			t.Errorf("the stems of %s are %q", word, got)
		}
	}
}

func FuzzSearchHooks(f *testing.F) {
	facts := newMachine(f).facts()
	f.Add("sched switch", 3)
	f.Add("\x00", -1)
	f.Fuzz(func(t *testing.T, query string, n int) {
		hooks, err := facts.SearchHooks(query, n)
		if err != nil {
			t.Fatal(err)
		}
		if len(hooks) > max(n, 0) {
			t.Fatalf("asked for %d, got %d", n, len(hooks))
		}
	})
}

func BenchmarkSearchHooks(b *testing.B) {
	f := host(b)
	if _, err := f.SearchHooks("warm up", 1); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if _, err := f.SearchHooks(searches[i%len(searches)].query, 20); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkHookIndex builds the search index from nothing, and says what it and the
// name lists below it keep in memory.
func BenchmarkHookIndex(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var kept uint64
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		f, err := Live(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		before := heap()
		b.StartTimer()
		if _, err := f.hooks(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		kept = heap() - before
		runtime.KeepAlive(f)
		b.StartTimer()
	}
	b.ReportMetric(float64(kept)/1e6, "MB-kept")
}

package kernel

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"
)

func TestFunction(t *testing.T) {
	f := newMachine(t).facts()
	for name, want := range map[string]string{
		"do_work":                "int do_work(struct task_struct *task, int n)",
		"do_not_trace":           "void do_not_trace(void)",
		"print_all":              "int print_all(const char *format, ...)",
		"wide_args":              "void wide_args(struct wide w)",
		"register_ftrace_direct": "int register_ftrace_direct(void)",
	} {
		fn, err := f.Function(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := fn.Signature(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if fn.Kfunc {
			t.Errorf("%s is a kfunc", name)
		}
	}
	if fn, err := f.Function("bpf_callable"); err != nil || !fn.Kfunc {
		t.Errorf("bpf_callable is %+v, %v", fn, err)
	}
	fn, err := f.Function("do_work")
	if err != nil {
		t.Fatal(err)
	}
	if p := fn.Params(); len(p) != 2 || p[0].Name != "task" || p[0].CType() != "struct task_struct *" || p[1].String() != "int n" {
		t.Errorf("Params are %v", p)
	}
	_, err = f.Function("do_wrok")
	if err == nil || err.Error() != "no function do_wrok on kernel 6.1.99-test; did you mean do_work?" {
		t.Errorf("got %v", err)
	}
}

func TestRawTracepoint(t *testing.T) {
	f := newMachine(t).facts()
	for name, want := range map[string]string{
		"sched_switch": "sched_switch(struct task_struct *prev, struct task_struct *next)",
		"classed":      "classed(int level)",
		"nameless":     "nameless(int)",
	} {
		tp, err := f.RawTracepoint(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := tp.Signature(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var missing *NotFoundError
	if _, err := f.RawTracepoint("sched:sched_switch"); !errors.As(err, &missing) || len(missing.Suggestions) != 1 || missing.Suggestions[0] != "sched_switch" {
		t.Errorf("got %v", err)
	}
}

// TestFunctionsOnHost holds signatures against those of the kernel's source.
func TestFunctionsOnHost(t *testing.T) {
	f := host(t)
	for name, want := range map[string]string{
		"tcp_v4_connect": "int tcp_v4_connect(struct sock *sk, struct sockaddr ",
		"vfs_read":       "ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)",
		"_printk":        "int _printk(const char *fmt, ...)",
	} {
		fn, err := f.Function(name)
		if err != nil {
			t.Error(err)
			continue
		}
		// With type tags in BTF, user pointers are marked.
		if got := strings.ReplaceAll(fn.Signature(), "__user ", ""); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if fn, err := f.Function("bpf_task_acquire"); err != nil || !fn.Kfunc {
		t.Errorf("bpf_task_acquire is %+v, %v", fn, err)
	}
	for name, want := range map[string]string{
		"inet_sock_set_state": "inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)",
		"sys_enter":           "sys_enter(struct pt_regs *regs, long int id)",
	} {
		tp, err := f.RawTracepoint(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := tp.Signature(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	names, err := f.RawTracepoints()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 500 {
		t.Errorf("only %d raw tracepoints", len(names))
	}
	for _, name := range names {
		tp, err := f.RawTracepoint(name)
		if err != nil {
			t.Error(err)
			continue
		}
		for i, p := range tp.Params {
			if p.Name == "" || p.Type == nil {
				t.Errorf("%s: argument %d is %+v", name, i, p)
			}
		}
	}
}

func TestHelper(t *testing.T) {
	f := host(t)
	// The library has the numbers from the kernel's headers.
	for name, want := range map[string]asm.BuiltinFunc{
		"bpf_map_lookup_elem":      asm.FnMapLookupElem,
		"bpf_get_current_comm":     asm.FnGetCurrentComm,
		"bpf_probe_read_kernel":    asm.FnProbeReadKernel,
		"bpf_ringbuf_output":       asm.FnRingbufOutput,
		"BPF_FUNC_ktime_get_ns":    asm.FnKtimeGetNs,
		"get_current_pid_tgid":     asm.FnGetCurrentPidTgid,
		"bpf_cgrp_storage_delete":  asm.FnCgrpStorageDelete,
		"bpf_get_current_task_btf": asm.FnGetCurrentTaskBtf,
	} {
		if got, err := f.Helper(name); err != nil || got != int32(want) {
			t.Errorf("%s is %d, %v; want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"", "bpf_", "bpf_unspec", "unspec", "__BPF_FUNC_MAX_ID", "bpf_get_comm_current"} {
		var missing *NotFoundError
		if got, err := f.Helper(name); !errors.As(err, &missing) {
			t.Errorf("%q is %d, %v", name, got, err)
		}
	}
	_, err := f.Helper("bpf_get_curent_comm")
	if err == nil || !strings.HasSuffix(err.Error(), "did you mean bpf_get_current_comm?") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkFunction(b *testing.B) {
	f := host(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Function("tcp_v4_connect"); err != nil {
			b.Fatal(err)
		}
	}
}

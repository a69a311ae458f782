package approvals_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"kgent/agent/program"
	"kgent/approvals"
	"kgent/approvals/approvalstest"
	"kgent/executor/job"
)

// withHeader compiles a program that includes kgent.bpf.h.
func withHeader(t *testing.T, source string, opt program.Options) job.Program {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.bpf.c"), filepath.Join(dir, "out.o")
	if err := os.WriteFile(in, []byte("#include \"kgent.bpf.h\"\n"+source+"\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	arch := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	cmd := exec.Command("clang-19", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-D__TARGET_ARCH_"+arch,
		"-I../agent/program/testdata", "-I../agent/program/compile/include", "-c", in, "-o", out)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling (needs the package clang-19): %v\n%s", err, msg)
	}
	elf, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	o, err := program.Parse(elf)
	if err != nil {
		t.Fatal(err)
	}
	opt.Name = "test"
	m, err := program.Build(o, opt)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return job.Program{ELF: elf, Manifest: raw}
}

func TestAssess(t *testing.T) {
	tests := []struct {
		name   string
		source string
		opt    program.Options
		tier   approvals.Tier
		does   []string
	}{
		{
			name: "events, table, histogram",
			source: `
struct event { k_pid pid; char comm[16]; k_ip daddr; k_port dport; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct event); } connects SEC(".maps");
struct key { k_pid pid; char comm[16]; };
struct cell { k_count calls; k_bytes bytes_sent; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, struct key); __type(value, struct cell); } by_process SEC(".maps") KGENT_OUTPUT;
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, k_hist_ns); } latency SEC(".maps") KGENT_OUTPUT;
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, k_syscall); __type(value, k_stats_us); } sums SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_enter_connect") int p(void *ctx)
{
	struct key k = {}; __u32 zero = 0; k_syscall nr = 1;
	struct event *e = bpf_ringbuf_reserve(&connects, sizeof(*e), 0);
	if (e) { __builtin_memset(e, 0, sizeof(*e)); bpf_ringbuf_submit(e, 0); }
	bpf_map_delete_elem(&by_process, &k); bpf_map_lookup_elem(&latency, &zero); bpf_map_lookup_elem(&sums, &nr);
	return 0;
}
SEC("perf_event") int q(void *ctx) { return 0; }`,
			opt: program.Options{Hz: 49}, tier: approvals.Observe,
			does: []string{
				"Runs at the system call connect.",
				"Runs 49 times a second on every CPU.",
				"Shows a table of calls and bytes sent per pid and comm (by_process).",
				"Reports events (connects) with pid, comm, daddr and dport.",
				"Shows a histogram of nanoseconds (latency).",
				"Shows count, mean, smallest and largest of microseconds per syscall (sums).",
				"It changes nothing: it only looks.",
			},
		},
		{
			name: "packets",
			source: `
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, k_ipproto); __type(value, k_count); } packets SEC(".maps") KGENT_OUTPUT;
SEC("xdp") int x(struct xdp_md *ctx) { k_ipproto p = 0; bpf_map_lookup_elem(&packets, &p); return XDP_PASS; }
SEC("cgroup_skb/egress") int c(struct __sk_buff *skb) { return 1; }`,
			opt: program.Options{Interface: "eth0", Cgroup: "system.slice"}, tier: approvals.Observe,
			does: []string{
				"Runs for every packet that processes of cgroup system.slice send.",
				"Runs for every packet that eth0 receives, before anything else sees it.",
				"Shows a table of count per ipproto (packets).",
				"It changes nothing and lets everything pass.",
			},
		},
		{
			name:   "a killer",
			source: `SEC("kprobe/vfs_unlink") int k(struct pt_regs *ctx) { char b[8]; bpf_probe_read_user(b, 8, (void *)PT_REGS_PARM1(ctx)); return bpf_send_signal(b[0]); }`,
			tier:   approvals.Act,
			does: []string{
				"Runs whenever the kernel calls vfs_unlink.",
				"Reports nothing.",
				"It sends signals to processes (bpf_send_signal in program k).",
				"It reads the memory of processes (bpf_probe_read_user in program k).",
			},
		},
		{
			name: "everywhere",
			source: `
SEC("kretprobe/vfs_read") int a(void *ctx) { return 0; }
SEC("fentry/vfs_read") int b(void *ctx) { return 0; }
SEC("fexit/vfs_read") int c(void *ctx) { return 0; }
SEC("lsm/file_open") int d(void *ctx) { return 0; }
SEC("iter/task") int e(void *ctx) { bpf_seq_write(*(void **)ctx, "x", 1); return 0; }
SEC("uprobe/libc.so.6:getaddrinfo") int f(void *ctx) { return 0; }
SEC("uretprobe//usr/bin/bash:readline") int g(void *ctx) { return 0; }
SEC("usdt/libc.so.6:libc:setjmp") int h(void *ctx) { return 0; }
SEC("tcx/ingress") int i(void *ctx) { return TCX_NEXT; }
SEC("tcx/egress") int j(void *ctx) { return TCX_NEXT; }
SEC("cgroup_skb/ingress") int k(void *ctx) { return 1; }
SEC("cgroup/connect4") int l(void *ctx) { return 1; }
SEC("fmod_ret/bpf_modify_return_test") int m(void *ctx) { return 0; }
SEC("raw_tp/sys_enter") int n(void *ctx) { return 0; }
SEC("tp/syscalls/sys_enter_openat") int o(void *ctx) { return 0; }
SEC("tp/syscalls/sys_exit_openat") int p(void *ctx) { return 0; }
SEC("tp/syscalls/sys_enter_openat2") int q(void *ctx) { return 0; }
SEC("tp_btf/sched_switch") int r(void *ctx) { return 0; }
SEC("tp/sched/sched_wakeup") int s(void *ctx) { return 0; }`,
			opt: program.Options{Interface: "eth0"}, tier: approvals.ObserveSensitive,
			does: []string{
				"Runs whenever the kernel returns from vfs_read.",
				"Runs whenever the kernel calls vfs_read.",
				"Runs at the kernel's security check file_open.",
				"Runs once over every task of the kernel.",
				"Runs whenever a process calls getaddrinfo of libc.so.6.",
				"Runs whenever a process returns from readline of /usr/bin/bash.",
				"Runs whenever a process passes the marker libc:setjmp of libc.so.6.",
				"Runs for every packet that eth0 receives.",
				"Runs for every packet that eth0 sends.",
				"Runs for every packet that processes of the whole host receive.",
				"Runs at cgroup/connect4 for processes of the whole host.",
				"Runs before the kernel's function bpf_modify_return_test, which it may replace.",
				"Runs at every system call.",
				"Runs at the system calls openat and openat2.",
				"Runs at the kernel's tracepoints sched_switch and sched:sched_wakeup.",
				"Prints lines of text.",
				"It listens inside /usr/bin/bash, where commands pass (program g).",
				"It changes nothing and lets everything pass.",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := approvals.Assess(withHeader(t, tt.source, tt.opt), true)
			if err != nil {
				t.Fatal(err)
			}
			if a.Tier != tt.tier {
				t.Errorf("tier %s (%q), want %s", a.Tier, a.Why, tt.tier)
			}
			if !slices.Equal(a.Does, tt.does) {
				t.Errorf("does\n%s\nwant\n%s", strings.Join(a.Does, "\n"), strings.Join(tt.does, "\n"))
			}
		})
	}
}

func TestAssessTiers(t *testing.T) {
	for source, want := range map[string]approvals.Tier{
		approvalstest.Observing: approvals.Observe, approvalstest.Sensitive: approvals.ObserveSensitive, approvalstest.Acting: approvals.Act,
	} {
		a, err := approvals.Assess(approvalstest.Compile(t, source), true)
		if err != nil || a.Tier != want || len(a.Why) == 0 || len(a.Facts) != 1 {
			t.Errorf("%+v (%v), want tier %s", a, err, want)
		}
	}
}

func TestAssessRefuses(t *testing.T) {
	good, other := approvalstest.Compile(t, approvalstest.Observing), approvalstest.Compile(t, approvalstest.Acting)
	for name, p := range map[string]job.Program{
		"nothing":                    {},
		"no ELF":                     {ELF: []byte("x"), Manifest: good.Manifest},
		"no manifest":                {ELF: good.ELF},
		"another program's manifest": {ELF: good.ELF, Manifest: other.Manifest},
	} {
		if a, err := approvals.Assess(p, true); err == nil || !strings.HasPrefix(err.Error(), "judging program: ") {
			t.Errorf("%s: %+v, error %v", name, a, err)
		}
	}
}

// Names in an object are its author's: they must not break a card.
func TestWordsAreOneLine(t *testing.T) {
	facts := []program.Facts{{
		Program: "p", Hook: program.Hook{Kind: program.Uprobe, Binary: "/bin/\x1b]0;x\a", Symbol: "a\nIt changes nothing.\u202e" + strings.Repeat("y", 200)},
		Helpers: []string{"bpf_evil\r\n"},
	}}
	for _, s := range approvals.Words(facts, []program.MapInfo{{Name: "m\u2028", Role: program.RoleOutput}}) {
		if strings.ContainsAny(s, "\n\r\x1b\a\u202e\u2028") || len(s) > 300 {
			t.Errorf("%q", s)
		}
	}
}

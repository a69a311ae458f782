package program

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
)

func TestHookOf(t *testing.T) {
	tests := []struct {
		section string
		hook    Hook
		shown   string
		err     string // instead
	}{
		{section: "tp/sched/sched_switch", hook: Hook{Kind: Tracepoint, Target: "sched:sched_switch"}, shown: "tracepoint sched:sched_switch"},
		{section: "tracepoint/syscalls:sys_enter_openat", hook: Hook{Kind: Tracepoint, Target: "syscalls:sys_enter_openat"}, shown: "tracepoint syscalls:sys_enter_openat"},
		{section: "tp/sched", err: "a tracepoint is written tp/<category>/<name>"},
		{section: "tp/sched/", err: "a tracepoint is written"},
		{section: "raw_tp/sys_enter", hook: Hook{Kind: RawTracepoint, Target: "sys_enter"}, shown: "raw_tracepoint sys_enter"},
		{section: "raw_tracepoint/sys_exit", hook: Hook{Kind: RawTracepoint, Target: "sys_exit"}, shown: "raw_tracepoint sys_exit"},
		{section: "raw_tp", err: `names no target: write SEC("raw_tp/<target>")`},
		{section: "raw_tp.w/nbd_send_request", err: "is not a hook kgent attaches"},
		{section: "tp_btf/tcp_retransmit_skb", hook: Hook{Kind: TPBTF, Target: "tcp_retransmit_skb"}, shown: "tp_btf tcp_retransmit_skb"},
		{section: "kprobe/vfs_read", hook: Hook{Kind: Kprobe, Target: "vfs_read"}, shown: "kprobe vfs_read"},
		{section: "kretprobe/vfs_read", hook: Hook{Kind: Kretprobe, Target: "vfs_read"}, shown: "kretprobe vfs_read"},
		{section: "kprobe/", err: "names no target"},
		{section: "ksyscall/openat", err: "is not a hook kgent attaches"},
		{section: "fentry/vfs_read", hook: Hook{Kind: Fentry, Target: "vfs_read"}, shown: "fentry vfs_read"},
		{section: "fentry.s/vfs_read", hook: Hook{Kind: Fentry, Target: "vfs_read"}, shown: "fentry vfs_read"},
		{section: "fexit/vfs_read", hook: Hook{Kind: Fexit, Target: "vfs_read"}, shown: "fexit vfs_read"},
		{section: "fmod_ret/security_file_open", hook: Hook{Kind: FmodRet, Target: "security_file_open"}, shown: "fmod_ret security_file_open"},
		{section: "freplace/x", err: "is not a hook kgent attaches"},
		{section: "lsm/bprm_check_security", hook: Hook{Kind: LSM, Target: "bprm_check_security"}, shown: "lsm bprm_check_security"},
		{section: "lsm.s/file_open", hook: Hook{Kind: LSM, Target: "file_open"}, shown: "lsm file_open"},
		{section: "lsm_cgroup/socket_bind", err: "is not a hook kgent attaches"},
		{section: "iter/task", hook: Hook{Kind: Iter, Target: "task"}, shown: "iter task"},
		{section: "uprobe//usr/bin/bash:readline", hook: Hook{Kind: Uprobe, Binary: "/usr/bin/bash", Symbol: "readline"}, shown: "uprobe /usr/bin/bash:readline"},
		{section: "uretprobe/libc.so.6:getaddrinfo", hook: Hook{Kind: Uretprobe, Binary: "libc.so.6", Symbol: "getaddrinfo"}, shown: "uretprobe libc.so.6:getaddrinfo"},
		{section: "uprobe/readline", err: "a user probe is written uprobe/<binary or path>:<symbol>"},
		{section: "uprobe/:readline", err: "a user probe is written"},
		{section: "uprobe/bash:", err: "a user probe is written"},
		{section: "usdt/libc.so.6:libc:memory_sbrk_more", hook: Hook{Kind: USDT, Binary: "libc.so.6", Symbol: "libc:memory_sbrk_more"}, shown: "usdt libc.so.6:libc:memory_sbrk_more"},
		{section: "usdt/libc.so.6:libc", err: "a USDT probe is written"},
		{section: "usdt/libc.so.6::x", err: "a USDT probe is written"},
		{section: "perf_event", hook: Hook{Kind: PerfEvent, Target: "cpu-clock", Hz: 99}, shown: "perf_event cpu-clock at 99 Hz"},
		{section: "perf_event/cpu-clock", hook: Hook{Kind: PerfEvent, Target: "cpu-clock", Hz: 99}, shown: "perf_event cpu-clock at 99 Hz"},
		{section: "perf_event/cpu-clock/997", hook: Hook{Kind: PerfEvent, Target: "cpu-clock", Hz: 997}, shown: "perf_event cpu-clock at 997 Hz"},
		{section: "perf_event/cpu-clock/0", err: "1 to 10000"},
		{section: "perf_event/cpu-clock/10001", err: "1 to 10000"},
		{section: "perf_event/cpu-clock/fast", err: "1 to 10000"},
		{section: "perf_event/page-faults/50", hook: Hook{Kind: PerfEvent, Target: "page-faults", Hz: 50}, shown: "perf_event page-faults at 50 Hz"},
		{section: "perf_event/heartbeats/99", err: "cpu-clock is the one that works everywhere"},
		{section: "kprobe.multi/tcp_*,udp_sendmsg", hook: Hook{Kind: KprobeMulti, Target: "tcp_*,udp_sendmsg"}, shown: "kprobe.multi tcp_*,udp_sendmsg"},
		{section: "kretprobe.multi/tcp_close", hook: Hook{Kind: KretprobeMulti, Target: "tcp_close"}, shown: "kretprobe.multi tcp_close"},
		{section: "kprobe.session/tcp_close", hook: Hook{Kind: KprobeSession, Target: "tcp_close"}, shown: "kprobe.session tcp_close"},
		{section: "kprobe.multi", err: "names no target"},
		{section: "socket", hook: Hook{Kind: SocketFilter}, shown: "socket"},
		{section: "socket/lo", err: "is not a hook kgent attaches"},
		{section: "xdp", hook: Hook{Kind: XDP}, shown: "xdp"},
		{section: "xdp/devmap", err: "is not a hook kgent attaches"},
		{section: "xdp.frags", err: "is not a hook kgent attaches"},
		{section: "tc", hook: Hook{Kind: TCXIngress}, shown: "tcx/ingress"},
		{section: "classifier", hook: Hook{Kind: TCXIngress}, shown: "tcx/ingress"},
		{section: "tc/egress", hook: Hook{Kind: TCXEgress}, shown: "tcx/egress"},
		{section: "tcx/ingress", hook: Hook{Kind: TCXIngress}, shown: "tcx/ingress"},
		{section: "tcx/egress", hook: Hook{Kind: TCXEgress}, shown: "tcx/egress"},
		{section: "tcx/egres", err: "is not a hook kgent attaches"},
		{section: "cgroup_skb/ingress", hook: Hook{Kind: CgroupIngress}, shown: "cgroup_skb/ingress on the root cgroup"},
		{section: "cgroup_skb/egress", hook: Hook{Kind: CgroupEgress}, shown: "cgroup_skb/egress on the root cgroup"},
		{section: "cgroup_skb/both", err: "is not a hook kgent attaches"},
		{section: "cgroup/connect4", hook: Hook{Kind: CgroupSock, Symbol: "cgroup/connect4"}, shown: "cgroup/connect4 on the root cgroup"},
		{section: "sockops", hook: Hook{Kind: CgroupSock, Symbol: "sockops"}, shown: "sockops on the root cgroup"},
		{section: "struct_ops/init", err: "is not a hook kgent attaches"},
		{section: "syscall", err: "is not a hook kgent attaches"},
		{section: "", err: "is not a hook kgent attaches"},
	}
	for _, tt := range tests {
		t.Run(tt.section, func(t *testing.T) {
			h, err := HookOf(&ebpf.ProgramSpec{Name: "prog", SectionName: tt.section})
			if tt.err != "" {
				wantError(t, err, "program prog", tt.err)
				var unsupported *UnsupportedHookError
				if errors.As(err, &unsupported) && unsupported.Section != tt.section {
					t.Errorf("error about section %q", unsupported.Section)
				}
				return
			}
			wantError(t, err)
			if h != tt.hook {
				t.Errorf("hook %+v, want %+v", h, tt.hook)
			}
			if h.String() != tt.shown {
				t.Errorf("shown as %q, want %q", h, tt.shown)
			}
		})
	}
	if h := (Hook{Kind: CgroupEgress, Target: "system.slice"}); h.String() != "cgroup_skb/egress system.slice" {
		t.Errorf("shown as %q", h)
	}
}

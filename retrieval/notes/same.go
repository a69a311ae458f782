package notes

import (
	"slices"
	"strings"
)

// Same says that the kernel passes a tracepoint once in every call of a function, and nowhere else, so
// that a program may be attached to either.
type Same struct {
	Function string
	// Return: the tracepoint has what the function returns, and so stands for its return, too.
	Return bool
	// Tracepoint is the name that tp_btf and raw_tracepoint attach to.
	Tracepoint string
	// Arguments are those of the function, by the names that kernels have for them, that the tracepoint has, with its own
	// names. Others it has not. Of what they point to it sees what the function sees at its entry, but for Unlike.
	Arguments map[string]string
	// Result is the tracepoint's name of what the function returns.
	Result string
	// Unlike says what differs all the same; empty: nothing.
	Unlike string
	// Since and Until are the first kernel of which it is true and the first of which it is not.
	Since, Until string
	Sources      []string
}

// sames were read in the kernel's source of 5.10 to 6.18. A tracepoint that is passed in other functions, too, or on some
// ways through the function only, is not here.
var sames = []Same{
	{
		Function: "tcp_rcv_space_adjust", Tracepoint: "tcp_rcv_space_adjust",
		Arguments: map[string]string{"sk": "sk"}, Sources: []string{"net/ipv4/tcp_input.c:tcp_rcv_space_adjust"},
	},
	{
		Function: "tcp_v4_destroy_sock", Tracepoint: "tcp_destroy_sock",
		Arguments: map[string]string{"sk": "sk"}, Sources: []string{"net/ipv4/tcp_ipv4.c:tcp_v4_destroy_sock, which IPv6 calls, too"},
	},
	{
		Function: "tcp_rcv_established", Tracepoint: "tcp_probe",
		Arguments: map[string]string{"sk": "sk", "skb": "skb"}, Sources: []string{"net/ipv4/tcp_input.c:tcp_rcv_established"},
	},
	{
		Function: "netif_receive_skb", Tracepoint: "netif_receive_skb_entry",
		Arguments: map[string]string{"skb": "skb"}, Sources: []string{"net/core/dev.c:netif_receive_skb"},
	},
	{
		Function: "blk_mq_start_request", Tracepoint: "block_rq_issue",
		Arguments: map[string]string{"rq": "rq"}, Sources: []string{"block/blk-mq.c:blk_mq_start_request"},
	},
	{
		Function: "__set_task_comm", Tracepoint: "task_rename",
		Arguments: map[string]string{"tsk": "task", "buf": "comm"}, Sources: []string{"fs/exec.c:__set_task_comm"},
	},
	{
		Function: "cap_capable", Return: true, Tracepoint: "cap_capable",
		Arguments: map[string]string{"cred": "cred", "targ_ns": "target_ns", "target_ns": "target_ns", "cap": "cap"}, Result: "ret",
		Unlike: "it comes after the check", Since: "6.14", Sources: []string{"security/commoncap.c:cap_capable"},
	},
}

// SameAs is the tracepoint that stands for a place at a function, "kprobe" and "tcp_rcv_established", on a kernel, "6.1.99",
// as far as one is known.
func SameAs(kind, function, release string) (Same, bool) {
	exit := kind == "kretprobe" || kind == "fexit"
	if !exit && kind != "kprobe" && kind != "fentry" {
		return Same{}, false
	}
	for _, prefix := range []string{"__x64_sys_", "__arm64_sys_"} {
		// A call that a filter or a debugger prevents has a tracepoint at its end but none at its beginning.
		if call, ok := strings.CutPrefix(function, prefix); ok && !exit && call != "" {
			return Same{Function: function, Tracepoint: "syscalls/sys_enter_" + call, Sources: []string{"kernel/entry/common.c:syscall_trace_enter"}}, true
		}
	}
	i := slices.IndexFunc(sames, func(s Same) bool {
		return s.Function == function && (!exit || s.Return) && holds(s.Since, s.Until, release)
	})
	if i < 0 {
		return Same{}, false
	}
	return sames[i], true
}

// Syscall tells whether the tracepoint is one of a system call, written as tracepoint/… takes it; others are for tp_btf
// and raw_tracepoint.
func (s Same) Syscall() bool { return strings.HasPrefix(s.Tracepoint, "syscalls/") }

// Sames are all that are written down; system calls are not among them.
func Sames() []Same { return slices.Clone(sames) }

package proof

import (
	"strings"
	"testing"
)

// One read of two objects, as compilers make it of two reads: the address is a sum of choices, of the
// object and of the offset in it.
func TestReadOfEither(t *testing.T) {
	const program = `
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "GPL";
struct exits_event { k_pid pid; int status; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct exits_event);
} exits SEC(".maps");

SEC("tp_btf/sched_process_exit")
int BPF_PROG(ended, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	bool all = BPF_CORE_READ(signal, flags) & 4;
	__u64 at = all ? (__u64)signal : (__u64)leader;
	struct exits_event *ev = bpf_ringbuf_reserve(&exits, sizeof(*ev), 0);

	if (!ev)
		return 0;
	at += all ? bpf_core_field_offset(signal->group_exit_code) : bpf_core_field_offset(leader->exit_code);
	ev->pid = k_current_pid();
	ev->status = 0;
	bpf_probe_read_kernel(&ev->status, 4, (const void *)at);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
`
	const text = `contract "Exit codes"
event exits { pid: k_pid, status: s32 }
hook tp_btf/sched_process_exit(p as task)
  case ended: always
    emit exits { pid: current.tgid, status: (task.signal.flags & SIGNAL_GROUP_EXIT) != 0 ? task.signal.group_exit_code : task.group_leader.exit_code }
  otherwise nothing
`
	if r := verify(t, program, text, patient); r.Verdict != Verified {
		t.Errorf("%s\n%s", r.Verdict, strings.Join(r.Reasons, "\n"))
	}
	swapped := strings.Replace(program, "at += all ?", "at += !all ?", 1)
	if r := verify(t, swapped, text, patient); r.Verdict == Verified {
		t.Error("the offsets belong to the other objects, and it is verified")
	}
}

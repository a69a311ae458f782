#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

const volatile k_uid uid = -1;
const volatile char name[16] = "";

struct quit {
	k_time ts;
	k_pid pid;
	k_exitcode code;
	k_ns lived;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct quit);
} quits SEC(".maps");

static __always_inline bool same(const char *a)
{
	for (int i = 0; i < 16; i++) {
		if (a[i] != name[i])
			return false;
		if (a[i] == 0)
			break;
	}
	return true;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *p)
{
	struct quit q = {};

	if (p->pid != p->tgid)
		return 0;
	if (uid != (__u32)-1 && (__u32)bpf_get_current_uid_gid() != uid)
		return 0;
	bpf_get_current_comm(q.comm, sizeof(q.comm));
	if (name[0] && !same(q.comm))
		return 0;
	q.ts = bpf_ktime_get_ns();
	q.pid = p->tgid;
	q.code = p->exit_code;
	q.lived = bpf_ktime_get_ns() - p->start_time;
	bpf_ringbuf_output(&quits, &q, sizeof(q), 0);
	return 0;
}

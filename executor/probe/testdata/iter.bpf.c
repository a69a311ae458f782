#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_pid pid = 0;

struct seen {
	k_pid pid;
	k_tid tid;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct seen);
} events SEC(".maps");

SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	static const char fmt[] = "%d %d\n";
	__u64 args[2];

	if (!t || (pid && t->tgid != pid))
		return 0;
	struct seen e = {.pid = t->tgid, .tid = t->pid};
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	args[0] = t->tgid;
	args[1] = t->pid;
	bpf_seq_printf(ctx->meta->seq, fmt, sizeof(fmt), args, sizeof(args));
	return 0;
}

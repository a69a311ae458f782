// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

static __always_inline bool is_it(const char *comm)
{
	const char want[10] = "ev-daemon";

	for (int i = 0; i < 10; i++)
		if (comm[i] != want[i])
			return false;
	return true;
}

SEC("iter/task")
int listed(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (!task || task->pid != task->tgid || !is_it(task->comm))
		return 0;
	BPF_SEQ_PRINTF(ctx->meta->seq, "pid %d parent %d name %s\n", task->tgid, task->real_parent->tgid, task->comm);
	return 0;
}

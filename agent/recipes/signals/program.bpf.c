// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Signals when they are sent: by whom, to whom, which.
 *
 * The sender is the current task when a process sends (kill, tgkill,
 * sigqueue). Signals of the kernel itself are marked so: for a fault or a
 * SIGCHLD the current task is the one that caused it, for a timer it is
 * whoever was running.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER /* of the sender */

const volatile k_signal sig = 0;                   /* 0: any */
const volatile k_bool deadly = 0;                  /* 1: only those that kill what does not handle them */
const volatile k_pid target_pid = 0;               /* 0: any */
const volatile char target_comm[TASK_COMM_LEN] = ""; /* "": any */

enum signal_origin { process = 0, kernel = 1 };
/* enum values of the tracepoint's result */
enum signal_result { delivered = 0, ignored = 1, already_pending = 2, overflow_fail = 3, lost_info = 4 };

struct signal_event {
	k_time time;
	enum signal_origin origin;
	k_pid pid;
	k_uid uid;
	char comm[TASK_COMM_LEN];
	k_signal sig;
	k_pid target_pid;
	k_tid target_tid; /* 0: the whole process */
	char target_comm[TASK_COMM_LEN];
	enum signal_result result;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct signal_event);
} signals SEC(".maps");

#define K_SI_USER 0
#define K_SI_QUEUE (-1)
#define K_SI_TKILL (-6)

/* What a signal does to a process that has not said otherwise, as in signal(7). */
static __always_inline bool kills(int signo)
{
	switch (signo) {
	case 0: /* only asks whether the process exists */
	case SIGCHLD:
	case SIGCONT:
	case SIGSTOP:
	case 20: /* SIGTSTP */
	case 21: /* SIGTTIN */
	case 22: /* SIGTTOU */
	case 23: /* SIGURG */
	case 28: /* SIGWINCH */
	case 32: /* these two libc keeps for itself */
	case 33:
		return false;
	}
	return true;
}

SEC("tp_btf/signal_generate")
int BPF_PROG(generated, int signo, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
{
	char name[TASK_COMM_LEN] = {};
	struct signal_event *ev;
	bool by_process;
	__u32 target;

	if ((sig && signo != sig) || (deadly && !kills(signo)))
		return 0;
	target = BPF_CORE_READ(task, tgid);
	if (target_pid && target != target_pid)
		return 0;
	BPF_CORE_READ_STR_INTO(&name, task, group_leader, comm);
	if (target_comm[0] && !k_comm_eq(target_comm, name))
		return 0;
	if (!k_task_wanted())
		return 0;
	/* info may be one of two small numbers instead of a pointer: 0 a process, 1 the kernel. */
	if ((__u64)info <= 2) {
		by_process = (__u64)info == 0;
	} else {
		int code = BPF_CORE_READ(info, si_code);
		by_process = code == K_SI_USER || code == K_SI_QUEUE || code == K_SI_TKILL;
	}
	ev = bpf_ringbuf_reserve(&signals, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->origin = by_process ? process : kernel;
	ev->pid = k_current_pid();
	ev->uid = k_current_uid();
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
	ev->sig = signo;
	ev->target_pid = target;
	ev->target_tid = group ? 0 : BPF_CORE_READ(task, pid);
	__builtin_memcpy(ev->target_comm, name, sizeof(name));
	ev->result = result;
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

// uint32_t, size_t, bool literals, min/max, static globals and a counter in .bss.
#include <stdint.h>
#include <stdbool.h>
#include <string.h>
#include "vmlinux.h"
#include "bpf_helpers.h"
#include "bpf_tracing.h"

struct info {
	uint64_t ts;
	uint32_t pid, tid;
	uint8_t kind;
	int32_t ret;
	uid_t uid;
	size_t len;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096 * 64);
	__type(value, struct info);
} out SEC(".maps");

static volatile uint64_t seen;
const volatile pid_t target_pid = 0;
const volatile bool only_failed = false;

static inline int wanted(uint32_t pid) {
	return !target_pid || (pid_t)pid == target_pid;
}

SEC("raw_tracepoint/sys_exit")
int BPF_PROG(handle_sys_exit, struct pt_regs *regs, long ret)
{
	uint64_t id = bpf_get_current_pid_tgid();
	struct info *i;

	if (!wanted(id >> 32) || (only_failed && ret >= 0))
		return 0;
	seen++;
	i = bpf_ringbuf_reserve(&out, sizeof(struct info), 0);
	if (i == NULL)
		return 0;
	memset(i, 0, sizeof(struct info));
	i->ts = bpf_ktime_get_ns();
	i->pid = id >> 32;
	i->tid = (uint32_t)id;
	i->ret = (int32_t)ret;
	i->uid = (uid_t)bpf_get_current_uid_gid();
	bpf_get_current_comm(i->comm, sizeof(i->comm));
	bpf_ringbuf_submit(i, 0);
	return 0;
}

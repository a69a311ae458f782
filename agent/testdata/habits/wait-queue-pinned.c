// A pinned map, and map flags that nothing needs.
#include "kgent.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 21);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, u32);
	__type(value, u64);
} execs_by_uid SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
{
	u32 uid = p->cred->uid.val;
	u64 *n = k_cell(&execs_by_uid, &uid, u64);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

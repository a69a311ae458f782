/* The stacks from which one process makes one system call. */
#include "kgent.bpf.h"

#define USER_STACK 256 /* BPF_F_USER_STACK */

const volatile __u32 target = 0;
const volatile __u32 call = 0;

struct seen_key {
	k_pid pid;
	k_kstack kernel;
	k_ustack user;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1024);
	__uint(key_size, 4);
	__uint(value_size, 127 * 8);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct seen_key);
	__type(value, k_count);
} seen SEC(".maps") KGENT_OUTPUT;

SEC("raw_tp/sys_enter")
int record(__u64 *ctx)
{
	struct seen_key key = {};
	__u64 one = 1, *n;

	key.pid = k_current_pid();
	if (key.pid != target || ctx[1] != call)
		return 0;
	key.kernel = bpf_get_stackid(ctx, &stacks, 0);
	key.user = bpf_get_stackid(ctx, &stacks, USER_STACK);
	n = bpf_map_lookup_elem(&seen, &key);
	if (n)
		__sync_fetch_and_add(n, 1);
	else
		bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct stack_key {
	k_pid pid;
	k_kstack stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 127 * sizeof(__u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct stack_key);
	__type(value, k_count);
} faults SEC(".maps") KGENT_OUTPUT;

SEC("tracepoint/exceptions/page_fault_user")
int on_fault(void *ctx)
{
	struct stack_key key = {};
	k_count zero = 0, *count;

	key.pid = bpf_get_current_pid_tgid() >> 32;
	key.stack = bpf_get_stackid(ctx, &stacks, 0);
	count = bpf_map_lookup_elem(&faults, &key);
	if (!count) {
		bpf_map_update_elem(&faults, &key, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&faults, &key);
		if (!count)
			return 0;
	}
	__sync_fetch_and_add(count, 1);
	return 0;
}

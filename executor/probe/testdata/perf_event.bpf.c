#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_pid pid = 0;

struct where {
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
	__uint(max_entries, 1024);
	__type(key, struct where);
	__type(value, k_count);
} samples KGENT_OUTPUT SEC(".maps");

SEC("perf_event/cpu-clock/199")
int sample(struct bpf_perf_event_data *ctx)
{
	struct where key = {.pid = k_current_pid()};

	if (key.pid != pid)
		return 0;
	key.kernel = bpf_get_stackid(ctx, &stacks, 0);
	key.user = bpf_get_stackid(ctx, &stacks, 1 << 8 /* BPF_F_USER_STACK */);
	k_count *n = k_cell(&samples, &key, k_count);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, k_errno);
	__type(value, k_count);
} errors SEC(".maps") KGENT_OUTPUT;

SEC("kretprobe/vfs_read")
int BPF_KRETPROBE(vfs_read_exit, ssize_t ret)
{
	k_errno err = ret;
	k_count zero = 0, *n;

	if (ret >= 0)
		return 0;
	n = bpf_map_lookup_elem(&errors, &err);
	if (!n) {
		bpf_map_update_elem(&errors, &err, &zero, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&errors, &err);
	}
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

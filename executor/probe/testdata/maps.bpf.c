// Each marked call counts once in every kind of output map.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u64 mark = 0;

#define OUTPUT(name, kind, room) \
	struct { \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__uint(max_entries, room); \
		__type(key, __u32); \
		__type(value, k_count); \
	} name KGENT_OUTPUT SEC(".maps")

OUTPUT(hash, HASH, 10000);
OUTPUT(lru, LRU_HASH, 10000);
OUTPUT(percpu_hash, PERCPU_HASH, 10000);
OUTPUT(lru_percpu_hash, LRU_PERCPU_HASH, 10000);
OUTPUT(array, ARRAY, 3000);
OUTPUT(percpu_array, PERCPU_ARRAY, 3000);
OUTPUT(tight, HASH, 100);

/* A per-CPU value whose size is no multiple of eight. */
struct odd {
	char c[13];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10000);
	__type(key, char[5]);
	__type(value, struct odd);
} odd KGENT_OUTPUT SEC(".maps");

#define COUNT(map) do { \
	k_count *n = k_cell(&map, &key, k_count); \
	if (n) \
		__sync_fetch_and_add(n, 1); \
} while (0)

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	__u32 key = PT_REGS_PARM2(regs);

	if (PT_REGS_PARM1(regs) != mark)
		return 0;
	COUNT(hash);
	COUNT(lru);
	COUNT(percpu_hash);
	COUNT(lru_percpu_hash);
	COUNT(array);
	COUNT(percpu_array);
	COUNT(tight);

	char five[5] = {'k', key, key >> 8, key >> 16, '!'};
	struct odd v = {};
	v.c[0] = key;
	v.c[12] = 'z';
	bpf_map_update_elem(&odd, five, &v, 0);
	return 0;
}

// Programs that are not to be loaded; a #define before this text chooses one.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct event {
	__u64 value;
};
struct task_struct___absent {
	int kgent_no_such_field;
} __attribute__((preserve_access_index));
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

#ifdef QUEUE_OUTPUT
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 16);
	__type(value, __u64);
	int (*key)[0];
} queue KGENT_OUTPUT SEC(".maps");
#endif

#ifdef STACKS
#define STACK_MAP(name, flags) \
	struct { \
		__uint(type, BPF_MAP_TYPE_STACK_TRACE); \
		__uint(max_entries, 16); \
		__uint(map_flags, flags); \
		__uint(key_size, 4); \
		__uint(value_size, 32 * 8); \
	} name SEC(".maps")
STACKS;
#endif

#ifdef HUGE
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1000000);
	__type(key, __u32);
	__type(value, struct { char c[1 << 20]; });
} huge SEC(".maps");
#endif

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
#ifdef NULL_DEREFERENCE
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	e->value = id; // refused: reserve can fail
	bpf_ringbuf_submit(e, 0);
#endif
#ifdef NO_FIELD
	struct task_struct___absent *t = (void *)bpf_get_current_task();
	struct event e = {};
	e.value = BPF_CORE_READ(t, kgent_no_such_field); // refused: no such field
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
#endif
#ifdef ENDLESS
	for (volatile __u64 i = 0; i < (1ULL << 60); i++) // refused: too complex
		;
#endif
	return 0;
}

// An event with a struct in it, packed, with bit-fields.
#include "kgent.bpf.h"

struct req_ids { k_pid pid; k_tid tid; } __attribute__((packed));
struct req_event {
	struct req_ids who;
	char comm[16];
	__u32 is_write : 1;
	__u32 is_sync : 1;
	__u32 rest : 30;
	__u8 raw[6];
	k_ret ret;
} __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct req_event);
} events SEC(".maps");

SEC("tp/syscalls/sys_exit_write")
int left(struct trace_event_raw_sys_exit *ctx)
{
	struct req_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->who.pid = k_current_pid();
	e->who.tid = k_current_tid();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->is_write = 1;
	e->ret = ctx->ret;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

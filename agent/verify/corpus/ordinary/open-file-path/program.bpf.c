#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct opened {
	k_time ts;
	k_pid pid;
	__u32 _pad;
	char path[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct opened);
} opened SEC(".maps");

SEC("fentry/vfs_fsync_range")
int BPF_PROG(on_fsync, struct file *file)
{
	struct opened *e = bpf_ringbuf_reserve(&opened, sizeof(*e), 0);
	const unsigned char *name;

	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->ts = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	name = BPF_CORE_READ(file, f_path.dentry, d_name.name);
	bpf_probe_read_kernel_str(e->path, sizeof(e->path), name);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

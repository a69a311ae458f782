#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct seen {
	k_time ts;
	k_pid pid;
	__u32 _pad;
	char file[64];
	char dir[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct seen);
} removed SEC(".maps");

SEC("kprobe/vfs_unlink")
int BPF_KPROBE(vfs_unlink, struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry)
{
	struct seen *s;
	struct qstr name;

	s = bpf_ringbuf_reserve(&removed, sizeof(*s), 0);
	if (!s)
		return 0;
	__builtin_memset(s, 0, sizeof(*s));
	s->ts = bpf_ktime_get_ns();
	s->pid = bpf_get_current_pid_tgid() >> 32;
	name = BPF_CORE_READ(dentry, d_name);
	bpf_probe_read_kernel_str(s->file, sizeof(s->file), name.name);
	bpf_probe_read_kernel_str(s->dir, sizeof(s->dir), BPF_CORE_READ(dentry, d_parent, d_name.name));
	bpf_ringbuf_submit(s, 0);
	return 0;
}

#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "GPL";

struct line {
	k_time ts;
	k_pid pid;
	k_uid uid;
	char text[80];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct line);
} lines SEC(".maps");

SEC("uretprobe//bin/bash:readline")
int BPF_KRETPROBE(printret, const void *ret)
{
	struct line l = {};

	if (!ret)
		return 0;
	l.ts = bpf_ktime_get_ns();
	l.pid = bpf_get_current_pid_tgid() >> 32;
	l.uid = bpf_get_current_uid_gid();
	bpf_probe_read_user_str(l.text, sizeof(l.text), ret);
	bpf_ringbuf_output(&lines, &l, sizeof(l), 0);
	return 0;
}

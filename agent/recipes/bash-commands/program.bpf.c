// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Lines that people enter into an interactive bash: what its readline
 * function returns. End of input returns no line.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile k_uid uid = (k_uid)-1; /* -1: any */

struct bash_event {
	k_time time;
	k_pid pid;
	k_uid uid;
	char line[400];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct bash_event);
} commands SEC(".maps");

SEC("uretprobe/bash:readline")
int BPF_URETPROBE(readline_returns, const char *line)
{
	struct bash_event *ev;

	if (!line || (uid != (k_uid)-1 && k_current_uid() != uid))
		return 0;
	ev = bpf_ringbuf_reserve(&commands, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->time = bpf_ktime_get_ns();
	ev->pid = k_current_pid();
	ev->uid = k_current_uid();
	bpf_probe_read_user_str(ev->line, sizeof(ev->line), line);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

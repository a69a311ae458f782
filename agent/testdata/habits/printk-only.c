// Everything is shown with bpf_printk.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

SEC("tp/syscalls/sys_enter_kill")
int handle_kill(struct trace_event_raw_sys_enter *ctx)
{
	pid_t pid = bpf_get_current_pid_tgid() >> 32;
	int target = (int)ctx->args[0];
	int sig = (int)ctx->args[1];
	char comm[16];

	bpf_get_current_comm(&comm, sizeof(comm));
	if (sig == 9)
		bpf_printk("PID %d (%s) sent signal %d to PID %d\n", pid, comm, sig, target);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

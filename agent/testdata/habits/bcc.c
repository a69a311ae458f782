// BCC, as many tutorials have it.
#include <uapi/linux/ptrace.h>
#include <linux/sched.h>

struct data_t {
    u32 pid;
    u64 ts;
    char comm[TASK_COMM_LEN];
    char fname[128];
};
BPF_PERF_OUTPUT(events);
BPF_HASH(counts, u32, u64);

TRACEPOINT_PROBE(syscalls, sys_enter_openat)
{
    struct data_t data = {};
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 zero = 0, *n;

    data.pid = pid;
    data.ts = bpf_ktime_get_ns();
    bpf_get_current_comm(&data.comm, sizeof(data.comm));
    bpf_probe_read_user_str(&data.fname, sizeof(data.fname), args->filename);
    n = counts.lookup_or_try_init(&pid, &zero);
    if (n)
        (*n)++;
    events.perf_submit(args, &data, sizeof(data));
    return 0;
}

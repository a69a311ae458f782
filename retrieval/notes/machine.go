package notes

// softirqs are the numbers of softirqs.
const softirqs = "0 HI, 1 TIMER, 2 NET_TX, 3 NET_RX, 4 BLOCK, 5 IRQ_POLL, 6 TASKLET, 7 SCHED, 8 HRTIMER, 9 RCU"

// machine are notes on interrupts, timers, work queues, power, cgroups, io_uring and on
// system calls as a whole.
var machine = []Note{
	{
		Kind: Tracepoint, Name: "raw_syscalls/sys_enter",
		Fires: "any system call begins", Task: Own,
		Arguments: []Argument{{Name: "regs", Means: "on x86-64 the call's arguments are di, si, dx, r10, r8, r9"}, {Name: "id", Means: "the call's number, which differs between architectures"}},
		Record:    []Argument{{Name: "id"}, {Name: "args"}},
		Rate:      Fierce,
		Mistakes: []string{"32-bit programs have other numbers: they come here too, though not to the tracepoints of single calls",
			"clock_gettime, gettimeofday and time are mostly no calls (vDSO)", "key what is remembered by thread"},
		Sources: []string{"kernel/entry/common.c:syscall_trace_enter", "measured"},
	},
	{
		Kind: Tracepoint, Name: "raw_syscalls/sys_exit",
		Fires: "any system call ends", Task: Own,
		Arguments: []Argument{{Name: "regs", Means: "orig_ax is the call's number on x86-64"}, {Name: "ret", Sign: NegErrno}},
		Record:    []Argument{{Name: "id", Means: "-1 if there is no call"}, {Name: "ret", Sign: NegErrno}},
		Rate:      Fierce,
		Mistakes: []string{"-512, -513, -514 and -516 mean “interrupted by a signal”: programs see EINTR or the call goes on by itself",
			"exit and exit_group never end; a new task's first event is the end of its parent's clone, with 0",
			"an address (mmap, brk) can look negative: only -4095 to -1 are errors",
			"many errors are normal: EAGAIN, ENOENT of searches, EINPROGRESS, ENOTTY"},
		Sources: []string{"kernel/entry/common.c:syscall_exit_work", "include/linux/errno.h", "measured"},
	},
	{
		Kind: Tracepoint, Name: "irq/irq_handler_entry",
		Fires: "a device's interrupt handler begins", Task: Interrupted, Whose: "it runs in an interrupt",
		Arguments: []Argument{{Name: "irq"}, {Name: "action", Means: "name says which device; on a shared line each handler fires"}},
		Record:    []Argument{{Name: "name"}}, Rate: Medium,
		Mistakes: []string{"time in handlers is by CPU, not by thread: key the CPU", "timer and inter-processor interrupts do not come here"}, Sources: []string{"kernel/irq/handle.c:__handle_irq_event_percpu"},
	},
	{
		Kind: Tracepoint, Name: "irq/irq_handler_exit",
		Fires: "a device's interrupt handler is done", Task: Interrupted, Whose: "it runs in an interrupt",
		Arguments: []Argument{{Name: "irq"}, {Name: "ret", Means: "0 not mine, 1 handled, 2 a thread goes on"}}, Rate: Medium, Sources: []string{"kernel/irq/handle.c:__handle_irq_event_percpu"},
	},
	{
		Kind: Tracepoint, Name: "irq/softirq_entry",
		Fires: "a softirq begins to be handled", Task: Interrupted, Whose: "it runs in an interrupt, or in ksoftirqd",
		Arguments: []Argument{{Name: "vec_nr", Means: softirqs}}, Record: []Argument{{Name: "vec", Means: softirqs}},
		Rate: Medium, Mistakes: []string{"time in softirqs is by CPU, not by thread: key the CPU and the number"}, Sources: []string{"kernel/softirq.c:handle_softirqs"},
	},
	{
		Kind: Tracepoint, Name: "irq/softirq_exit",
		Fires: "a softirq has been handled", Task: Interrupted, Whose: "it runs in an interrupt, or in ksoftirqd",
		Arguments: []Argument{{Name: "vec_nr", Means: softirqs}}, Rate: Medium, Sources: []string{"kernel/softirq.c:handle_softirqs"},
	},
	{
		Kind: Tracepoint, Name: "irq/softirq_raise",
		Fires: "a softirq is asked for on this CPU", Task: SeldomOwn, Whose: "interrupts ask for softirqs as well as tasks",
		Arguments: []Argument{{Name: "vec_nr", Means: softirqs}}, Rate: High, Sources: []string{"kernel/softirq.c:__raise_softirq_irqoff"},
	},
	{
		Kind: Tracepoint, Name: "timer/timer_expire_entry",
		Fires: "a timer of the kernel has run out and its function is about to be called", Task: Interrupted, Whose: "it runs in an interrupt",
		Arguments: []Argument{{Name: "timer", Means: "function is its function"}}, Record: []Argument{{Name: "now", Unit: "jiffies"}}, Rate: Medium, Sources: []string{"kernel/time/timer.c:call_timer_fn"},
	},
	{
		Kind: Tracepoint, Name: "timer/hrtimer_expire_entry",
		Fires: "a precise timer has run out and its function is about to be called", Task: Interrupted, Whose: "it runs in an interrupt",
		Arguments: []Argument{{Name: "hrtimer", Means: "function is its function: hrtimer_wakeup ends sleeps"}, {Name: "now", Means: "points to the time of the timer's clock", Unit: "ns"}}, Rate: High, Sources: []string{"kernel/time/hrtimer.c:__run_hrtimer"},
	},
	{
		Kind: Tracepoint, Name: "timer/itimer_expire",
		Fires: "a process's timer of setitimer() or alarm() has run out: a signal follows", Task: Interrupted, Whose: "it runs in an interrupt",
		Arguments: []Argument{{Name: "which", Means: "0 real, 1 virtual, 2 profiling"}, {Name: "pid"}}, Record: []Argument{{Name: "pid", Means: "of the process that gets the signal"}}, Rate: Low, Sources: []string{"kernel/time/itimer.c:it_real_fn", "measured"},
	},
	{
		Kind: Tracepoint, Name: "workqueue/workqueue_execute_start",
		Fires: "a kworker begins a piece of work", Task: Own, Whose: "it is the kworker; who queued the work is not known any more",
		Arguments: []Argument{{Name: "work", Means: "func is its function: read it here, at the end the work may be freed"}}, Rate: Medium, Sources: []string{"kernel/workqueue.c:process_one_work"},
	},
	{
		Kind: Tracepoint, Name: "workqueue/workqueue_execute_end",
		Fires: "a kworker has done a piece of work", Task: Own, Whose: "it is the kworker",
		Arguments: []Argument{{Name: "work", Means: "only an address: it may be freed"}, {Name: "function"}}, Rate: Medium, Sources: []string{"kernel/workqueue.c:process_one_work"},
	},
	{
		Kind: Tracepoint, Name: "workqueue/workqueue_queue_work",
		Fires: "a piece of work is queued for a kworker", Task: MostlyOwn, Whose: "it is who queues; in an interrupt whoever was interrupted",
		Arguments: []Argument{{Name: "req_cpu"}, {Name: "pwq"}, {Name: "work"}}, Rate: Medium, Sources: []string{"kernel/workqueue.c:__queue_work"},
	},
	{
		Kind: Tracepoint, Name: "power/cpu_frequency",
		Fires: "a CPU's frequency is set, by the kernel: with hardware-managed states it hardly fires", Task: SeldomOwn, Whose: "it is whoever the governor runs in",
		Arguments: []Argument{{Name: "frequency", Unit: "kHz"}}, Record: []Argument{{Name: "state", Means: "the frequency", Unit: "kHz"}, {Name: "cpu_id", Means: "the CPU that changes, maybe not this one"}}, Rate: Medium, Sources: []string{"drivers/cpufreq/cpufreq.c", "include/trace/events/power.h"},
	},
	{
		Kind: Tracepoint, Name: "power/cpu_idle",
		Fires: "a CPU goes idle, or is awake again", Task: Own, Whose: "it is the idle task, pid 0",
		Arguments: []Argument{{Name: "state", Means: "the depth; 0xffffffff is awake again"}, {Name: "cpu_id"}}, Rate: High, Sources: []string{"drivers/cpuidle/cpuidle.c:cpuidle_enter_state"},
	},
	{
		Kind: Tracepoint, Name: "rcu/rcu_stall_warning",
		Fires: "a CPU or task has held up RCU for too long (usually 21 s)", Task: Interrupted, Whose: "it runs on the tick",
		Arguments: []Argument{{Name: "rcuname"}, {Name: "msg"}}, Since: "5.12", Rate: Rare, Sources: []string{"kernel/rcu/tree_stall.h"},
	},
	{
		Kind: Tracepoint, Name: "cgroup/cgroup_attach_task",
		Fires: "a task is moved to another cgroup", Task: Causer, Whose: "it is the one that writes to cgroup.procs, as systemd or a container runtime",
		Arguments: []Argument{{Name: "dst_cgrp"}, {Name: "path"}, {Name: "task", Means: "the one that is moved"}}, Record: []Argument{{Name: "pid", Means: "a thread id"}, {Name: "dst_id", Means: "as current.cgroup gives it, for cgroup v2"}}, Rate: Low, Sources: []string{"kernel/cgroup/cgroup.c:cgroup_attach_task"},
	},
	{
		Kind: Tracepoint, Name: "cgroup/cgroup_mkdir",
		Fires: "a cgroup has been made: a service, session or container begins", Task: Own, Whose: "it is who makes it",
		Arguments: []Argument{{Name: "cgrp"}, {Name: "path"}}, Rate: Low, Sources: []string{"kernel/cgroup/cgroup.c:cgroup_mkdir"},
	},
	{
		Kind: Tracepoint, Name: "io_uring/io_uring_submit_req",
		Fires: "an operation is submitted by io_uring", Task: MostlyOwn, Whose: "with SQPOLL it is a thread of the kernel, which has the process's ids",
		Arguments: []Argument{{Name: "req"}}, Record: []Argument{{Name: "opcode", Means: "of enum io_uring_op: 13 accept, 16 connect, 18 openat, 22 read, 23 write"}, {Name: "user_data"}},
		Since: "6.4", Gone: "use io_uring_submit_sqe", Needs: "CONFIG_IO_URING", Rate: High, Sources: []string{"io_uring/io_uring.c:io_submit_sqe", "include/uapi/linux/io_uring.h"},
	},
	{
		Kind: Tracepoint, Name: "io_uring/io_uring_complete",
		Fires: "an operation of io_uring is complete", Task: SeldomOwn, Whose: "operations complete in whatever context their device does",
		Arguments: []Argument{{Name: "ctx"}}, Record: []Argument{{Name: "res", Sign: NegErrno}, {Name: "user_data"}}, Needs: "CONFIG_IO_URING", Rate: High, Sources: []string{"io_uring/io_uring.c"},
	},
	{
		Kind: Perf, Name: "cpu-clock",
		Fires: "a timer of the CPU asks, so many times a second on each CPU, what runs", Task: Own, Whose: "it is the one that runs, the idle task (pid 0) included: a sample is of whoever runs",
		Rate: Medium, Mistakes: []string{"a sample is a share of time, not a call: one at 99 Hz stands for 10 ms of one CPU", "what waits is not seen: for that use sched_switch", "code that runs with interrupts off shows up where they are turned on again"},
		Sources: []string{"kernel/events/core.c:perf_swevent_hrtimer"},
	},
	{
		Kind: Perf, Name: "page-faults",
		Fires: "a page fault, of all kinds", Task: Own, Rate: High, See: []string{"major-faults for those that wait for the disk"}, Sources: []string{"arch/x86/mm/fault.c:do_user_addr_fault"},
	},
	{
		Kind: Perf, Name: "context-switches",
		Fires: "a task leaves a CPU", Task: Own, Whose: "it is the one that leaves", Rate: High, See: []string{"the tracepoint sched/sched_switch"}, Sources: []string{"kernel/sched/core.c:prepare_task_switch"},
	},
	{
		Kind: Perf, Name: "cpu-cycles",
		Fires: "a CPU has done so many cycles", Task: Own, Whose: "it is the one that runs", Needs: "a CPU whose counters are accessible: most virtual machines have none, and opening it fails: use cpu-clock",
		Rate: Medium, Sources: []string{"arch/x86/events/core.c"},
	},
}

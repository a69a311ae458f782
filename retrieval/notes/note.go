package notes

import (
	"slices"
	"strings"
)

// Kind is the kind of thing that fires. Each can be attached to in several ways: see [Of].
type Kind uint8

const (
	// Tracepoint is named as "sched/sched_switch": tracepoint, tp_btf, raw_tracepoint.
	Tracepoint Kind = iota + 1
	// Function is a kernel function: kprobe, kretprobe, fentry, fexit.
	Function
	// Syscall is a system call, "openat": tracepoint/syscalls/sys_enter_openat and
	// sys_exit_openat.
	Syscall
	// LSM is a security hook, "file_open": lsm; and its function security_file_open
	// by kprobe, fentry, fmod_ret and so on.
	LSM
	// Library is a function of a program or library, "libc.so.6:getaddrinfo": uprobe,
	// uretprobe.
	Library
	// USDT is a probe that authors put into a program, "libc.so.6:libc:setjmp".
	USDT
	// Perf is a perf event, "cpu-clock".
	Perf
	// Packet is a place where packets pass, "xdp", "tcx/ingress", "cgroup_skb/egress".
	Packet
	// Cgroup is another place in a cgroup, "connect4".
	Cgroup
)

// Task says whose task is the current one when a hook fires.
type Task uint8

const (
	// Own: the task that does what the hook is about.
	Own Task = iota + 1
	// MostlyOwn: the task that does it, or, as Note.Whose says, a kernel thread that
	// does it for others.
	MostlyOwn
	// SeldomOwn: the task that does it at times, at others whoever was interrupted;
	// nothing tells the two apart.
	SeldomOwn
	// Interrupted: whoever was running when the interrupt came.
	Interrupted
	// Another: a task, mostly of the kernel, that is not the one that the hook is about and says nothing about it.
	Another
	// Causer: another one than the hook is about, but the one that causes it.
	Causer
)

// Means tells whether the current task says who did or caused what the hook is about.
func (t Task) Means() bool { return t == Own || t == MostlyOwn || t == Causer }

// Rate is the order of magnitude of events per second on a busy server.
type Rate uint8

const (
	Rare   Rate = iota + 1 // less than one a second
	Low                    // up to hundreds
	Medium                 // up to tens of thousands
	High                   // up to hundreds of thousands: filter and aggregate in the kernel
	Fierce                 // a million and more: measurable overhead whatever the program does
)

// Order is the byte order of a number.
type Order uint8

const (
	// AsTyped: as the kernel's type says (__be16), or not a number of the network.
	AsTyped Order = iota
	Host
	Network
)

// Sign says what a negative number means.
type Sign uint8

const (
	Plain Sign = iota
	// NegErrno: below 0 it is -errno.
	NegErrno
	// PosErrno: an errno without sign, 0 for none.
	PosErrno
	// LibcErrno: -1 on failure, the reason is in the thread's errno.
	LibcErrno
	// MaybeErrPtr: a pointer, or -errno in the last page (IS_ERR).
	MaybeErrPtr
)

// Phase is a moment of a call.
type Phase uint8

const (
	// Whenever the hook fires.
	Whenever Phase = iota
	// Entry: before the function has run (kprobe, fentry, uprobe).
	Entry
	// Return: after it (kretprobe, fexit, uretprobe), whatever the result.
	Return
	// Failure: after it, when it failed.
	Failure
)

// Argument is an argument of a hook, or a field of a tracepoint's record.
type Argument struct {
	// Name is the kernel's name of it. Where the kernel keeps no names (uprobes, USDT) it is
	// that of the manual, in order.
	Name string
	// Means says what it holds; empty if the name says it.
	Means string
	// Unit is "ns", "us", "ms", "jiffies", "bytes", "pages", "sectors" (of 512 bytes), "kHz"; empty for none.
	Unit string
	// Order is set where the type does not say it, or says something else.
	Order Order
	// User: a pointer into the process's memory.
	User bool
	Sign Sign
	// Since and Until are the first kernel with it and the first without it, "6.3".
	Since, Until string
}

// Values are values of an argument: "newstate" and TCP_SYN_SENT.
type Values struct {
	Argument string
	Values   []Value
}

// Value is a number and what the kernel calls it.
type Value struct {
	Name   string
	Number uint64
}

// Includes tells whether a number is one of the values.
func (v Values) Includes(n uint64) bool {
	return slices.ContainsFunc(v.Values, func(one Value) bool { return one.Number == n })
}

// Names are the names of the values.
func (v Values) Names() (list []string) {
	for _, one := range v.Values {
		list = append(list, one.Name)
	}
	return list
}

// Lapse is a member of an object that does not hold, at a hook, what its name says.
type Lapse struct {
	// Member is the way to it: an argument and a path in its type, "sk.__sk_common.skc_dport".
	Member string
	At     Phase
	// When narrows it to values of an argument.
	When Values
	// Why says what it holds instead.
	Why string
	// Use says what to read instead.
	Use string
	// Since and Until limit it to kernels, as in [Argument].
	Since, Until string
	// Usable: what it holds instead may be just what is wanted.
	Usable bool
}

// Holds tells whether a lapse is one of this kernel, "6.1.99".
func (l Lapse) Holds(release string) bool { return holds(l.Since, l.Until, release) }

// Version is something that differs between kernels.
type Version struct {
	// Since and Until are the first kernel of which it is true and the first of which it no longer is; empty: no limit.
	Since, Until string
	Says         string
}

// Note is what is known about one hook.
type Note struct {
	Kind Kind
	Name string

	// Fires says what has happened when it fires, and what has not yet.
	Fires string
	// Task is whose the current task is; Whose why. OwnWhen are values of an argument for which it is [Own] all the same.
	Task    Task
	Whose   string
	OwnWhen Values

	// Arguments are those worth a word, of the function or raw tracepoint.
	Arguments []Argument
	// Record are fields worth a word of a tracepoint's record.
	Record []Argument
	// Result is what the function returns.
	Result *Argument
	Lapses []Lapse

	// Since is the first kernel that has it and Until the first that has it no
	// more, "5.16"; empty: all that matter (5.10 and later). Gone says what to use then.
	Since, Until, Gone string
	// Needs is what must be built in, loaded or installed: "CONFIG_NF_CONNTRACK",
	// "the module nfs", "bash". Without it the hook is absent.
	Needs string
	// Versions are other differences between kernels.
	Versions []Version

	Rate Rate
	// Mistakes are common ones, each with its remedy.
	Mistakes []string
	// See are the hooks to use instead or beside, each with its reason.
	See []string
	// Sources are kernel files and functions, manuals, or "measured".
	Sources []string
}

// Of returns the note about a place as a contract writes it, "tp_btf/sched_switch", or
// as a manifest does, "tracepoint" and "sched:sched_switch". It returns nil if there
// is none.
func Of(kind, target string) *Note {
	switch kind {
	case "tracepoint":
		category, name, ok := strings.Cut(target, ":")
		if !ok {
			category, name, _ = strings.Cut(target, "/")
		}
		if category == "syscalls" {
			name = strings.TrimPrefix(strings.TrimPrefix(name, "sys_enter_"), "sys_exit_")
			return index()[key{Syscall, name}]
		}
		return index()[key{Tracepoint, category + "/" + name}]
	case "tp_btf", "raw_tracepoint", "raw_tp":
		return index()[key{Tracepoint, target}]
	case "kprobe", "kretprobe", "fentry", "fexit", "fmod_ret":
		name, _, _ := strings.Cut(target, "+")
		return index()[key{Function, name}]
	case "lsm":
		return index()[key{LSM, target}]
	case "uprobe", "uretprobe":
		return index()[key{Library, binaryName(target)}]
	case "usdt":
		return index()[key{USDT, binaryName(target)}]
	case "perf_event":
		name, _, _ := strings.Cut(strings.ReplaceAll(target, "@", "/"), "/")
		return index()[key{Perf, name}]
	case "cgroup":
		return index()[key{Cgroup, target}]
	case "xdp", "tcx/ingress", "tcx/egress", "cgroup_skb/ingress", "cgroup_skb/egress":
		return index()[key{Packet, kind}]
	}
	return nil
}

// PhaseOf says at which moment of a call programs of a kind run.
func PhaseOf(kind, target string) Phase {
	switch kind {
	case "kprobe", "fentry", "fmod_ret", "uprobe", "lsm":
		return Entry
	case "kretprobe", "fexit", "uretprobe":
		return Return
	case "tracepoint":
		if strings.Contains(target, "sys_enter_") {
			return Entry
		}
		if strings.Contains(target, "sys_exit_") {
			return Return
		}
	}
	return Whenever
}

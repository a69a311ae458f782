package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kgent/agent/contract"
)

// How the constants of one prefix stand in an argument.
type family struct {
	args []string // the kernel's names of arguments that take them
	// mask is which bits of the argument one constant is in, beside flags; 0: it is the whole
	// argument.
	mask uint64
	// flags: several stand in the argument at once, each in bits of its own.
	flags bool
}

// families are the constants that arguments of system calls take, by prefix or whole name; the longest counts.
var families = map[string]family{
	"AF": {args: []string{"family"}}, "PF": {args: []string{"family"}}, "AT": {args: []string{"flag", "flags"}, flags: true},
	"BPF_MAP": {args: []string{"cmd"}}, "BPF_PROG": {args: []string{"cmd"}}, "BPF_OBJ": {args: []string{"cmd"}}, "BPF_BTF": {args: []string{"cmd"}}, "BPF_LINK": {args: []string{"cmd"}},
	"BPF_RAW_TRACEPOINT": {args: []string{"cmd"}}, "BPF_TASK_FD": {args: []string{"cmd"}}, "BPF_ITER": {args: []string{"cmd"}}, "BPF_ENABLE": {args: []string{"cmd"}}, "BPF_TOKEN": {args: []string{"cmd"}},
	"CLOCK": {args: []string{"which_clock", "clockid"}}, "CLONE": {args: []string{"unshare_flags", "clone_flags", "flags"}, flags: true}, "EFD": {args: []string{"flags"}, flags: true},
	"EPOLL_CTL": {args: []string{"op"}}, "EPOLL": {args: []string{"flags"}, flags: true}, "F": {args: []string{"cmd"}}, "FALLOC_FL": {args: []string{"mode"}, flags: true}, "FUTEX": {args: []string{"op"}, mask: 0x7f},
	"GRND": {args: []string{"flags"}, flags: true}, "IN": {args: []string{"mask"}, flags: true}, "IPPROTO": {args: []string{"protocol"}}, "LOCK": {args: []string{"cmd"}, mask: 0xb}, "MADV": {args: []string{"behavior", "advice"}},
	"MAP": {args: []string{"flags"}, flags: true}, "MCL": {args: []string{"flags"}, flags: true}, "MFD": {args: []string{"flags"}, flags: true}, "MNT": {args: []string{"flags"}, flags: true}, "MREMAP": {args: []string{"flags"}, flags: true},
	"MS": {args: []string{"flags"}, flags: true}, "MSG": {args: []string{"flags"}, flags: true}, "O": {args: []string{"flags"}, flags: true}, "POSIX_FADV": {args: []string{"advice"}}, "PR": {args: []string{"option"}}, "PRIO": {args: []string{"which"}},
	"PROT": {args: []string{"prot"}, flags: true}, "PTRACE": {args: []string{"request"}}, "RENAME": {args: []string{"flags"}, flags: true}, "RLIMIT": {args: []string{"resource"}}, "RUSAGE": {args: []string{"who"}},
	"RWF": {args: []string{"flags"}, flags: true}, "SCHED": {args: []string{"policy"}}, "SEEK": {args: []string{"whence"}}, "SHUT": {args: []string{"how"}}, "SIG": {args: []string{"sig"}}, "SO": {args: []string{"optname"}},
	"SOCK":         {args: []string{"type", "flags"}, mask: 0xf},
	"SOCK_CLOEXEC": {args: []string{"type", "flags"}, flags: true}, "SOCK_NONBLOCK": {args: []string{"type", "flags"}, flags: true}, "SPLICE_F": {args: []string{"flags"}, flags: true}, "TFD": {args: []string{"flags"}, flags: true},
}

// strangers are prefixes of constants that stand in no argument, or in another one than those whose
// names begin alike: types of maps and programs lie in memory that bpf(2) points to.
var strangers = []string{
	"AT_FDCWD", "BPF_MAP_TYPE", "BPF_PROG_TYPE", "BPF_LINK_TYPE", "BPF_OBJ_NAME", "CLOCK_EVT", "MNT_NS", "PF_KTHREAD", "SIG_DFL", "SIG_IGN", "SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK",
}

// familyOf finds the family of a constant.
func familyOf(name string) (family, bool) {
	if slices.ContainsFunc(strangers, func(s string) bool { return name == s || strings.HasPrefix(name, s+"_") }) {
		return family{}, false
	}
	for prefix := name; ; {
		if f, ok := families[prefix]; ok {
			return f, true
		}
		i := strings.LastIndexByte(prefix, '_')
		if i < 0 {
			return family{}, false
		}
		prefix = prefix[:i]
	}
}

// wholeNumbers are constants that are no flags of their family: they fill the bits of the mask.
var wholeNumbers = map[string]uint64{
	"O_RDONLY": 3, "O_WRONLY": 3, "O_RDWR": 3, "MAP_SHARED": 0xf, "MAP_PRIVATE": 0xf, "MAP_SHARED_VALIDATE": 0xf, "PROT_NONE": 0xf,
}

// numbers of macros that the kernel's types do not have, for x86-64 and arm64 alike unless they
// are left out. They are ABI.
var numbers = map[string]int64{
	"PTRACE_TRACEME": 0, "PTRACE_PEEKTEXT": 1, "PTRACE_PEEKDATA": 2, "PTRACE_PEEKUSER": 3, "PTRACE_POKETEXT": 4, "PTRACE_POKEDATA": 5, "PTRACE_POKEUSER": 6, "PTRACE_CONT": 7, "PTRACE_KILL": 8, "PTRACE_SINGLESTEP": 9,
	"PTRACE_ATTACH": 16, "PTRACE_DETACH": 17, "PTRACE_SYSCALL": 24, "PTRACE_SETOPTIONS": 0x4200, "PTRACE_GETEVENTMSG": 0x4201, "PTRACE_GETSIGINFO": 0x4202, "PTRACE_SETSIGINFO": 0x4203, "PTRACE_GETREGSET": 0x4204,
	"PTRACE_SETREGSET": 0x4205, "PTRACE_SEIZE": 0x4206, "PTRACE_INTERRUPT": 0x4207, "PTRACE_LISTEN": 0x4208,
	"MADV_NORMAL": 0, "MADV_RANDOM": 1, "MADV_SEQUENTIAL": 2, "MADV_WILLNEED": 3, "MADV_DONTNEED": 4, "MADV_FREE": 8, "MADV_REMOVE": 9, "MADV_DONTFORK": 10, "MADV_DOFORK": 11, "MADV_MERGEABLE": 12, "MADV_UNMERGEABLE": 13,
	"MADV_HUGEPAGE": 14, "MADV_NOHUGEPAGE": 15, "MADV_DONTDUMP": 16, "MADV_COLD": 20, "MADV_PAGEOUT": 21, "MADV_POPULATE_READ": 22, "MADV_POPULATE_WRITE": 23, "MADV_COLLAPSE": 25,
	"F_DUPFD": 0, "F_GETFD": 1, "F_SETFD": 2, "F_GETFL": 3, "F_SETFL": 4, "F_GETLK": 5, "F_SETLK": 6, "F_SETLKW": 7, "F_SETOWN": 8, "F_GETOWN": 9, "F_DUPFD_CLOEXEC": 1030, "F_OFD_SETLK": 37, "F_OFD_SETLKW": 38, "F_SETLEASE": 1024,
	"F_SETPIPE_SZ": 1031, "F_ADD_SEALS": 1033,
	"PR_SET_PDEATHSIG": 1, "PR_SET_DUMPABLE": 4, "PR_SET_NAME": 15, "PR_GET_NAME": 16, "PR_SET_SECCOMP": 22, "PR_CAPBSET_DROP": 24, "PR_SET_NO_NEW_PRIVS": 38, "PR_SET_MM": 35, "PR_SET_CHILD_SUBREAPER": 36, "PR_SET_VMA": 0x53564d41,
	"SEEK_SET": 0, "SEEK_CUR": 1, "SEEK_END": 2, "SEEK_DATA": 3, "SEEK_HOLE": 4, "PRIO_PROCESS": 0, "PRIO_PGRP": 1, "PRIO_USER": 2,
	"O_DSYNC": 0o10000, "O_SYNC": 0o4010000, "O_NOATIME": 0o1000000, "O_PATH": 0o10000000, "O_NOCTTY": 0o400,
	"PROT_NONE": 0, "MAP_SHARED": 1, "MAP_PRIVATE": 2, "MAP_SHARED_VALIDATE": 3, "MAP_FIXED": 0x10, "MAP_ANONYMOUS": 0x20, "MAP_ANON": 0x20, "MAP_GROWSDOWN": 0x100, "MAP_LOCKED": 0x2000, "MAP_NORESERVE": 0x4000, "MAP_POPULATE": 0x8000,
	"MAP_STACK": 0x20000, "MAP_HUGETLB": 0x40000, "MAP_SYNC": 0x80000, "MAP_FIXED_NOREPLACE": 0x100000,
	"CLONE_FS": 0x200, "CLONE_FILES": 0x400, "CLONE_SIGHAND": 0x800, "CLONE_PIDFD": 0x1000, "CLONE_PTRACE": 0x2000, "CLONE_VFORK": 0x4000, "CLONE_PARENT": 0x8000, "CLONE_NEWNS": 0x20000, "CLONE_SYSVSEM": 0x40000, "CLONE_SETTLS": 0x80000,
	"CLONE_NEWCGROUP": 0x2000000, "CLONE_NEWUTS": 0x4000000, "CLONE_NEWIPC": 0x8000000, "CLONE_NEWUSER": 0x10000000, "CLONE_NEWPID": 0x20000000, "CLONE_NEWNET": 0x40000000, "CLONE_IO": 0x80000000,
	"AT_SYMLINK_NOFOLLOW": 0x100, "AT_EACCESS": 0x200, "AT_SYMLINK_FOLLOW": 0x400, "AT_NO_AUTOMOUNT": 0x800, "AT_EMPTY_PATH": 0x1000,
	"FALLOC_FL_KEEP_SIZE": 1, "FALLOC_FL_PUNCH_HOLE": 2, "FALLOC_FL_COLLAPSE_RANGE": 8, "FALLOC_FL_ZERO_RANGE": 16, "FALLOC_FL_INSERT_RANGE": 32,
	"FUTEX_WAIT": 0, "FUTEX_WAKE": 1, "FUTEX_REQUEUE": 3, "FUTEX_CMP_REQUEUE": 4, "FUTEX_WAKE_OP": 5, "FUTEX_LOCK_PI": 6, "FUTEX_UNLOCK_PI": 7, "FUTEX_TRYLOCK_PI": 8, "FUTEX_WAIT_BITSET": 9, "FUTEX_WAKE_BITSET": 10,
	"LOCK_SH": 1, "LOCK_EX": 2, "LOCK_UN": 8, "EPOLL_CTL_ADD": 1, "EPOLL_CTL_DEL": 2, "EPOLL_CTL_MOD": 3, "GRND_NONBLOCK": 1, "GRND_RANDOM": 2,
	"MSG_OOB": 1, "MSG_PEEK": 2, "MSG_DONTWAIT": 0x40, "MSG_WAITALL": 0x100, "MSG_NOSIGNAL": 0x4000, "MSG_MORE": 0x8000, "MSG_ZEROCOPY": 0x4000000, "MSG_TRUNC": 0x20,
	"MS_RDONLY": 1, "MS_NOSUID": 2, "MS_NODEV": 4, "MS_NOEXEC": 8, "MS_REMOUNT": 32, "MS_BIND": 4096, "MS_MOVE": 8192, "MS_REC": 16384, "MS_PRIVATE": 1 << 18, "MS_SLAVE": 1 << 19, "MS_SHARED": 1 << 20,
	"MNT_FORCE": 1, "MNT_DETACH": 2, "MNT_EXPIRE": 4, "MREMAP_MAYMOVE": 1, "MREMAP_FIXED": 2, "MREMAP_DONTUNMAP": 4, "MFD_CLOEXEC": 1, "MFD_ALLOW_SEALING": 2, "MFD_HUGETLB": 4, "MCL_CURRENT": 1, "MCL_FUTURE": 2, "MCL_ONFAULT": 4,
	"POSIX_FADV_NORMAL": 0, "POSIX_FADV_RANDOM": 1, "POSIX_FADV_SEQUENTIAL": 2, "POSIX_FADV_WILLNEED": 3, "POSIX_FADV_DONTNEED": 4, "POSIX_FADV_NOREUSE": 5,
	"RENAME_NOREPLACE": 1, "RENAME_EXCHANGE": 2, "RENAME_WHITEOUT": 4, "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5, "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9,
	"RUSAGE_SELF": 0, "RUSAGE_CHILDREN": -1, "RUSAGE_THREAD": 1, "RWF_HIPRI": 1, "RWF_DSYNC": 2, "RWF_SYNC": 4, "RWF_NOWAIT": 8, "RWF_APPEND": 16,
	"SCHED_OTHER": 0, "SCHED_NORMAL": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6, "SHUT_RD": 0, "SHUT_WR": 1, "SHUT_RDWR": 2,
	"SO_REUSEADDR": 2, "SO_TYPE": 3, "SO_ERROR": 4, "SO_BROADCAST": 6, "SO_SNDBUF": 7, "SO_RCVBUF": 8, "SO_KEEPALIVE": 9, "SO_PRIORITY": 12, "SO_LINGER": 13, "SO_REUSEPORT": 15, "SO_BINDTODEVICE": 25, "SO_ATTACH_FILTER": 26, "SO_MARK": 36,
	"SOCK_STREAM": 1, "SOCK_DGRAM": 2, "SOCK_RAW": 3, "SOCK_SEQPACKET": 5, "SOCK_PACKET": 10, "SPLICE_F_MOVE": 1, "SPLICE_F_NONBLOCK": 2, "SPLICE_F_MORE": 4, "SPLICE_F_GIFT": 8,
	"CLOCK_REALTIME": 0, "CLOCK_MONOTONIC": 1, "CLOCK_PROCESS_CPUTIME_ID": 2, "CLOCK_THREAD_CPUTIME_ID": 3, "CLOCK_MONOTONIC_RAW": 4, "CLOCK_BOOTTIME": 7, "TFD_TIMER_ABSTIME": 1,
	"AF_LOCAL": 1, "AF_VSOCK": 40, "AF_ALG": 38, "AF_XDP": 44, "PF_UNIX": 1, "PF_INET": 2, "PF_INET6": 10, "PF_NETLINK": 16, "PF_PACKET": 17,
	"IN_ACCESS": 1, "IN_MODIFY": 2, "IN_ATTRIB": 4, "IN_CLOSE_WRITE": 8, "IN_OPEN": 0x20, "IN_CREATE": 0x100, "IN_DELETE": 0x200,
}

// archNumbers differ between architectures; these are those of x86-64.
var archNumbers = map[string]int64{"O_DIRECT": 0o40000, "O_DIRECTORY": 0o200000, "O_NOFOLLOW": 0o400000, "O_LARGEFILE": 0o100000, "O_TMPFILE": 0o20200000}

// define makes a constant's name known to the contract, unless it is.
func (b *builder) define(name string) error {
	probe, err := contract.Parse("contract \"x\"\ntable t : count\nhook perf_event/cpu-clock/99()\n  case c: now > u64(" + name + ")\n    add 1 to t\n  otherwise nothing\n")
	if err == nil {
		err = b.check(probe)
	}
	if err == nil {
		return nil
	}
	n, ok := numbers[name]
	if !ok && b.facts.Arch == "x86_64" {
		n, ok = archNumbers[name]
	}
	if !ok {
		return no("the number of %s is not known here: write the number", name)
	}
	b.enough[name] = n
	return nil
}

// constant is a condition on the argument that a constant's name belongs to.
func (b *builder) constant(cols []column, c cond) (contract.Expr, error) {
	var parts []string
	for name := range strings.SplitSeq(c.is, ",") {
		name, err := completed(cols, name)
		if err != nil {
			return nil, err
		}
		f, ok := familyOf(name)
		if !ok {
			return nil, no("it is not known which argument %s belongs to (%q)", name, c.said)
		}
		at := slices.IndexFunc(f.args, func(arg string) bool { _, ok := byName(cols, arg); return ok })
		if at < 0 {
			return nil, no("%s has no argument that %s belongs to (%q)", b.about(), name, c.said)
		}
		col, _ := byName(cols, f.args[at])
		text, err := b.holds(col, name, c.op)
		if err != nil {
			return nil, err
		}
		if level, ok := byName(cols, "level"); ok && strings.HasPrefix(name, "SO_") { // SOL_SOCKET
			text = fmt.Sprintf("(%s) == 1 && %s", spelled(level.is), text)
		}
		parts = append(parts, text)
	}
	join := " || "
	if c.op == "!=" {
		join = " && "
	}
	return expression(strings.Join(parts, join))
}

// holds is the condition that a constant is what an argument holds, or is among the flags there.
func (b *builder) holds(col column, name, op string) (string, error) {
	f, ok := familyOf(name)
	if !ok || !slices.Contains(f.args, strings.TrimPrefix(col.Name, "arg_")) {
		if severalFlags[strings.TrimPrefix(col.Name, "arg_")] || col.Type.Name == "k_hex" {
			return "", no("%s holds several flags, and it is not known which of its bits %s means", col.Name, name)
		}
		f = family{}
	}
	if err := b.define(name); err != nil {
		return "", err
	}
	is := spelled(col.is)
	mask, whole := wholeNumbers[name]
	switch {
	case whole:
		return fmt.Sprintf("((%s) & %#x) %s %s", is, mask, op, name), nil
	case f.mask != 0:
		return fmt.Sprintf("((%s) & %#x) %s %s", is, f.mask, op, name), nil
	case f.flags:
		return fmt.Sprintf("((%s) & %s) %s %s", is, name, op, name), nil
	}
	if op == "==" {
		b.fixed[col.Name] = true
	}
	return fmt.Sprintf("(%s) %s %s", is, op, name), nil
}

// constantNames are the names of all constants that are known here.
func constantNames() []string {
	return slices.Concat(slices.Sorted(maps.Keys(numbers)), slices.Sorted(maps.Keys(archNumbers)))
}

// completed is the constant of which only the end is written, "DONTNEED": the one that an
// argument takes.
func completed(cols []column, name string) (string, error) {
	if _, ok := familyOf(name); ok {
		return name, nil
	}
	var found []string
	for _, whole := range constantNames() {
		f, ok := familyOf(whole)
		if ok && strings.HasSuffix(whole, "_"+name) && slices.ContainsFunc(f.args, func(arg string) bool { _, ok := byName(cols, arg); return ok }) {
			found = append(found, whole)
		}
	}
	if len(found) != 1 {
		return "", no("it is not known which constant %q is: write its whole name", name)
	}
	return found[0], nil
}

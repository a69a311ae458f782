// Package abi names the numbers of the kernel's user-space interface: errors,
// signals, system calls, capabilities, protocols, states and flags, in both
// directions. People write and read names; programs carry numbers.
//
// The tables are those of the machine this binary was built for.
package abi

import (
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

//go:generate go run gen.go

// Errno returns the number of an error's name (ECONNREFUSED).
func Errno(name string) (int, bool) {
	name = strings.ToUpper(name)
	switch name {
	case "EWOULDBLOCK":
		name = "EAGAIN"
	case "ENOTSUP":
		name = "EOPNOTSUPP"
	case "EDEADLOCK":
		name = "EDEADLK"
	}
	for n := 1; n <= lastErrno; n++ {
		if x := errnoName(n); x != "" && x == name {
			return n, true
		}
	}
	return 0, false
}

// ErrnoName returns the name of an error number given either way round: 111
// and -111 are both ECONNREFUSED. The kernel's internal numbers (512 to 530),
// which user space never sees, have their names too. Others are "errno 999".
func ErrnoName(n int64) string {
	if n < 0 {
		n = -n
	}
	if n > 0 && n <= lastErrno {
		if name := errnoName(int(n)); name != "" {
			return name
		}
	}
	return "errno " + strconv.FormatInt(n, 10)
}

// lastErrno is the largest number with a name.
const lastErrno = 530

// errnoName returns nothing for a number without a name.
func errnoName(n int) string {
	if n == int(unix.EOPNOTSUPP) {
		return "EOPNOTSUPP" // the kernel's name; Go's table has libc's other one
	}
	if name, ok := internalErrnos[n]; ok {
		return name
	}
	return unix.ErrnoName(syscall.Errno(n))
}

// internalErrnos are from include/linux/errno.h.
var internalErrnos = map[int]string{
	512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 515: "ENOIOCTLCMD",
	516: "ERESTART_RESTARTBLOCK", 517: "EPROBE_DEFER", 518: "EOPENSTALE", 519: "ENOPARAM",
	521: "EBADHANDLE", 522: "ENOTSYNC", 523: "EBADCOOKIE", 524: "ENOTSUPP", 525: "ETOOSMALL",
	526: "ESERVERFAULT", 527: "EBADTYPE", 528: "EJUKEBOX", 529: "EIOCBQUEUED", 530: "ERECALLCONFLICT",
}

// Signal returns the number of a signal's name, with or without SIG.
func Signal(name string) (int, bool) {
	name = strings.ToUpper(name)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if rest, ok := strings.CutPrefix(name, "SIGRTMIN"); ok {
		return realtime(sigRTMin, "+", rest)
	}
	if rest, ok := strings.CutPrefix(name, "SIGRTMAX"); ok {
		return realtime(sigRTMax, "-", rest)
	}
	switch name {
	case "SIGIOT":
		name = "SIGABRT"
	case "SIGPOLL":
		name = "SIGIO"
	case "SIGCLD":
		name = "SIGCHLD"
	}
	n := unix.SignalNum(name)
	return int(n), n != 0
}

// realtime reads what follows SIGRTMIN or SIGRTMAX: nothing, or a distance.
func realtime(from int, sign, rest string) (int, bool) {
	if rest == "" {
		return from, true
	}
	distance, ok := strings.CutPrefix(rest, sign)
	n, err := strconv.ParseUint(distance, 10, 8)
	if !ok || err != nil || n > sigRTMax-sigRTMin {
		return 0, false
	}
	if sign == "-" {
		return from - int(n), true
	}
	return from + int(n), true
}

// The real-time signals that libc leaves to programs.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// SignalName returns SIGKILL for 9, SIGRTMIN+3 for real-time signals, and
// "signal 70" for what is none.
func SignalName(n int64) string {
	if n > 0 && n <= sigRTMax {
		if name := unix.SignalName(syscall.Signal(n)); name != "" {
			return name
		}
		if n >= sigRTMin {
			return "SIGRTMIN+" + strconv.FormatInt(n-sigRTMin, 10)
		}
	}
	return "signal " + strconv.FormatInt(n, 10)
}

// Syscall returns the number of a system call's name: openat, or openat().
func Syscall(name string) (int, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "()"))
	i := sort.Search(len(syscallsByName), func(i int) bool { return syscallsByName[i].name >= name })
	if i == len(syscallsByName) || syscallsByName[i].name != name {
		return 0, false
	}
	return syscallsByName[i].nr, true
}

// SyscallName returns the name of a system call number, or "syscall 999".
func SyscallName(nr int64) string {
	if nr >= 0 && nr < int64(len(syscallNames)) && syscallNames[nr] != "" {
		return syscallNames[nr]
	}
	return "syscall " + strconv.FormatInt(nr, 10)
}

// Capability returns the number of a capability's name, with or without CAP_.
func Capability(name string) (int, bool) {
	name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	for n, c := range capabilities {
		if c == name {
			return n, true
		}
	}
	return 0, false
}

// CapabilityName returns CAP_NET_ADMIN for 12.
func CapabilityName(n int64) string {
	if n >= 0 && n < int64(len(capabilities)) {
		return "CAP_" + capabilities[n]
	}
	return "capability " + strconv.FormatInt(n, 10)
}

// capabilities are in the order of include/uapi/linux/capability.h.
var capabilities = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// TCPStateName returns ESTABLISHED for 1, as in include/net/tcp_states.h.
func TCPStateName(n int64) string { return nameOf(tcpStates[:], n, "state ") }

var tcpStates = [...]string{"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
	"CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV", "BOUND_INACTIVE"}

// FamilyName returns AF_INET6 for 10.
func FamilyName(n int64) string {
	switch n {
	case unix.AF_UNSPEC:
		return "AF_UNSPEC"
	case unix.AF_UNIX:
		return "AF_UNIX"
	case unix.AF_INET:
		return "AF_INET"
	case unix.AF_INET6:
		return "AF_INET6"
	case unix.AF_NETLINK:
		return "AF_NETLINK"
	case unix.AF_PACKET:
		return "AF_PACKET"
	case unix.AF_VSOCK:
		return "AF_VSOCK"
	case unix.AF_XDP:
		return "AF_XDP"
	}
	return "family " + strconv.FormatInt(n, 10)
}

// IPProtoName returns TCP for 6.
func IPProtoName(n int64) string {
	if name, ok := ipProtos[n]; ok {
		return name
	}
	return "protocol " + strconv.FormatInt(n, 10)
}

var ipProtos = map[int64]string{0: "HOPOPT", 1: "ICMP", 2: "IGMP", 4: "IPIP", 6: "TCP", 17: "UDP", 41: "IPV6", 43: "ROUTING",
	44: "FRAGMENT", 47: "GRE", 50: "ESP", 51: "AH", 58: "ICMPV6", 59: "NONE", 60: "DSTOPTS", 89: "OSPF", 103: "PIM", 112: "VRRP",
	115: "L2TP", 132: "SCTP", 136: "UDPLITE", 137: "MPLS", 262: "MPTCP"}

// EtherTypeName returns IPV6 for 0x86dd.
func EtherTypeName(n int64) string {
	if name, ok := etherTypes[n]; ok {
		return name
	}
	return "0x" + strconv.FormatInt(n, 16)
}

var etherTypes = map[int64]string{0x0800: "IPV4", 0x0806: "ARP", 0x8035: "RARP", 0x8100: "VLAN", 0x86dd: "IPV6", 0x8847: "MPLS",
	0x8863: "PPPOE_DISC", 0x8864: "PPPOE", 0x888e: "EAPOL", 0x88a8: "QINQ", 0x88cc: "LLDP", 0x88f7: "PTP"}

// TCPFlagNames returns "SYN|ACK" for 18.
func TCPFlagNames(n int64) string {
	return flagNames(n, []flag{{1, "FIN"}, {2, "SYN"}, {4, "RST"}, {8, "PSH"}, {16, "ACK"}, {32, "URG"}, {64, "ECE"}, {128, "CWR"}})
}

// OpenFlagNames returns "O_WRONLY|O_CREAT" for the flags of open(2).
func OpenFlagNames(n int64) string {
	access := [...]string{"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"}[n&unix.O_ACCMODE]
	rest := n &^ unix.O_ACCMODE
	// O_SYNC contains O_DSYNC, O_TMPFILE contains O_DIRECTORY: the larger come first.
	names := flagNames(rest, []flag{{unix.O_TMPFILE, "O_TMPFILE"}, {unix.O_SYNC, "O_SYNC"}, {unix.O_CREAT, "O_CREAT"},
		{unix.O_EXCL, "O_EXCL"}, {unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_TRUNC, "O_TRUNC"}, {unix.O_APPEND, "O_APPEND"},
		{unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_DSYNC, "O_DSYNC"}, {0x2000, "O_ASYNC"}, {unix.O_DIRECT, "O_DIRECT"},
		{largeFile, "O_LARGEFILE"}, {unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"},
		{unix.O_NOATIME, "O_NOATIME"}, {unix.O_CLOEXEC, "O_CLOEXEC"}, {unix.O_PATH, "O_PATH"}})
	if rest == 0 {
		return access
	}
	return access + "|" + names
}

// largeFile is the kernel's O_LARGEFILE, which 64-bit programs need not set and
// Go defines as 0. Its value is O_NOFOLLOW's on the other architecture.
var largeFile = map[string]int64{"amd64": 0x8000, "arm64": 0x20000}[runtime.GOARCH]

// MountFlagNames returns "MS_RDONLY|MS_NOSUID" for the flags of mount(2).
func MountFlagNames(n int64) string {
	return flagNames(n, []flag{{unix.MS_RDONLY, "MS_RDONLY"}, {unix.MS_NOSUID, "MS_NOSUID"}, {unix.MS_NODEV, "MS_NODEV"},
		{unix.MS_NOEXEC, "MS_NOEXEC"}, {unix.MS_SYNCHRONOUS, "MS_SYNCHRONOUS"}, {unix.MS_REMOUNT, "MS_REMOUNT"},
		{unix.MS_MANDLOCK, "MS_MANDLOCK"}, {unix.MS_DIRSYNC, "MS_DIRSYNC"}, {unix.MS_NOSYMFOLLOW, "MS_NOSYMFOLLOW"},
		{unix.MS_NOATIME, "MS_NOATIME"}, {unix.MS_NODIRATIME, "MS_NODIRATIME"}, {unix.MS_BIND, "MS_BIND"}, {unix.MS_MOVE, "MS_MOVE"}, {unix.MS_REC, "MS_REC"},
		{unix.MS_SILENT, "MS_SILENT"}, {unix.MS_UNBINDABLE, "MS_UNBINDABLE"}, {unix.MS_PRIVATE, "MS_PRIVATE"},
		{unix.MS_SLAVE, "MS_SLAVE"}, {unix.MS_SHARED, "MS_SHARED"}, {unix.MS_POSIXACL, "MS_POSIXACL"},
		{unix.MS_RELATIME, "MS_RELATIME"}, {unix.MS_I_VERSION, "MS_I_VERSION"},
		{unix.MS_STRICTATIME, "MS_STRICTATIME"}, {unix.MS_LAZYTIME, "MS_LAZYTIME"}})
}

// BPFProgTypeName returns xdp for 6, as bpftool prints it.
func BPFProgTypeName(n int64) string { return nameOf(bpfProgTypes[:], n, "type ") }

// bpfProgTypes are in the order of enum bpf_prog_type.
var bpfProgTypes = [...]string{"unspec", "socket_filter", "kprobe", "sched_cls", "sched_act", "tracepoint", "xdp", "perf_event",
	"cgroup_skb", "cgroup_sock", "lwt_in", "lwt_out", "lwt_xmit", "sock_ops", "sk_skb", "cgroup_device", "sk_msg",
	"raw_tracepoint", "cgroup_sock_addr", "lwt_seg6local", "lirc_mode2", "sk_reuseport", "flow_dissector", "cgroup_sysctl",
	"raw_tracepoint_writable", "cgroup_sockopt", "tracing", "struct_ops", "ext", "lsm", "sk_lookup", "syscall", "netfilter"}

func nameOf(table []string, n int64, otherwise string) string {
	if n >= 0 && n < int64(len(table)) && table[n] != "" {
		return table[n]
	}
	return otherwise + strconv.FormatInt(n, 10)
}

type flag struct {
	bits int64
	name string
}

// flagNames joins the names of the set bits; what has no name is appended in
// hexadecimal, and no bit at all is "0".
func flagNames(n int64, flags []flag) string {
	var out []string
	for _, f := range flags {
		if n&f.bits == f.bits {
			out = append(out, f.name)
			n &^= f.bits
		}
	}
	if n != 0 || len(out) == 0 {
		s := "0"
		if n != 0 {
			s = "0x" + strconv.FormatUint(uint64(n), 16)
		}
		out = append(out, s)
	}
	return strings.Join(out, "|")
}

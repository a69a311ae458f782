package contract

import (
	"strings"

	"kgent/retrieval/kernel/abi"
)

// constants are numbers that the kernel has as macros, so that its BTF does not
// carry them; and those of its enums that are ABI and common in contracts.
var constants = map[string]int64{
	"AF_UNSPEC": 0, "AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17,
	"ETH_P_IP": 0x0800, "ETH_P_ARP": 0x0806, "ETH_P_8021Q": 0x8100, "ETH_P_8021AD": 0x88A8, "ETH_P_IPV6": 0x86DD,
	"IPPROTO_IP": 0, "IPPROTO_ICMP": 1, "IPPROTO_TCP": 6, "IPPROTO_UDP": 17, "IPPROTO_ICMPV6": 58, "IPPROTO_HOPOPTS": 0, "IPPROTO_ROUTING": 43,
	"IPPROTO_FRAGMENT": 44, "IPPROTO_NONE": 59, "IPPROTO_DSTOPTS": 60, "IPPROTO_SCTP": 132, "IPPROTO_MPTCP": 262,
	"TCP_ESTABLISHED": 1, "TCP_SYN_SENT": 2, "TCP_SYN_RECV": 3, "TCP_FIN_WAIT1": 4, "TCP_FIN_WAIT2": 5, "TCP_TIME_WAIT": 6, "TCP_CLOSE": 7,
	"TCP_CLOSE_WAIT": 8, "TCP_LAST_ACK": 9, "TCP_LISTEN": 10, "TCP_CLOSING": 11, "TCP_NEW_SYN_RECV": 12,
	"XDP_ABORTED": 0, "XDP_DROP": 1, "XDP_PASS": 2, "XDP_TX": 3, "XDP_REDIRECT": 4,
	"TC_ACT_UNSPEC": -1, "TC_ACT_OK": 0, "TC_ACT_SHOT": 2, "TCX_NEXT": -1, "TCX_PASS": 0, "TCX_DROP": 2,
	"O_ACCMODE": 3, "O_RDONLY": 0, "O_WRONLY": 1, "O_RDWR": 2, "O_CREAT": 0o100, "O_EXCL": 0o200, "O_TRUNC": 0o1000, "O_APPEND": 0o2000,
	"O_NONBLOCK": 0o4000, "O_CLOEXEC": 0o2000000, "AT_REMOVEDIR": 0x200,
	"S_IFMT": 0o170000, "S_IFSOCK": 0o140000, "S_IFLNK": 0o120000, "S_IFREG": 0o100000, "S_IFBLK": 0o60000, "S_IFDIR": 0o40000, "S_IFCHR": 0o20000, "S_IFIFO": 0o10000,
	"PF_KTHREAD": 0x00200000, "TASK_RUNNING": 0, "TASK_INTERRUPTIBLE": 1, "TASK_UNINTERRUPTIBLE": 2,
	"CLONE_VM": 0x100, "CLONE_THREAD": 0x10000, "PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4,
	"SIG_DFL": 0, "SIG_IGN": 1, "SA_RESTART": 0x10000000, "SI_USER": 0, "SI_QUEUE": -1, "SI_TKILL": -6, "SIGNAL_GROUP_EXIT": 4,
	"MAX_ERRNO": 4095, "ERESTARTSYS": 512, "BPF_PROG_LOAD": 5,
}

// constant returns a number by the name that the kernel's sources use.
func (t *Types) constant(name string) (int64, bool) {
	if v, ok := constants[name]; ok {
		return v, true
	}
	if call, ok := strings.CutPrefix(name, "SYS_"); ok {
		nr, ok := abi.Syscall(call)
		return int64(nr), ok
	}
	if strings.HasPrefix(name, "E") {
		if n, ok := abi.Errno(name); ok {
			return int64(n), true
		}
	}
	if strings.HasPrefix(name, "SIG") {
		if n, ok := abi.Signal(name); ok {
			return int64(n), true
		}
	}
	if strings.HasPrefix(name, "CAP_") {
		if n, ok := abi.Capability(name); ok {
			return int64(n), true
		}
	}
	return t.enumerator(name)
}

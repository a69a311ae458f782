package notes

import "sync"

// Member is a member of a kernel type, or of what a program's context is, whose name or type does not say all.
type Member struct {
	// Struct and Path are as in BTF: "struct sock", "__sk_common.skc_num".
	Struct, Path string
	Means        string
	// Kin is what contracts call such a value, without k_: "tid", "port"; empty for none.
	Kin   string
	Unit  string
	Order Order
	// Bits is how many of a wider number count, from the lowest; 0 for all.
	Bits uint8
	Sign Sign
	// Since and Until are as in [Argument].
	Since, Until string
}

// MemberOf returns what is known of a member, nil if nothing is.
func MemberOf(structure, path string) *Member { return memberIndex()[structure+"."+path] }

// Members returns all. They must not be modified.
func Members() []Member { return members }

var memberIndex = sync.OnceValue(func() map[string]*Member {
	m := make(map[string]*Member)
	for i := range members {
		m[members[i].Struct+"."+members[i].Path] = &members[i]
	}
	return m
})

// String says what a member holds: "struct sock.__sk_common.skc_num: the local port; in host byte order: do not swap".
func (m Member) String() string {
	return Argument{Name: m.Struct + "." + m.Path, Means: m.Means, Unit: m.Unit, Order: m.Order, Sign: m.Sign}.String()
}

const asWait = "as of wait(): the low 7 bits are the signal, 0x80 is “core dumped”, exit(n) is n << 8"

// members are those that programs for on-call work read most, and look-alikes among them.
var members = []Member{
	// net/sock.h
	{Struct: "struct sock_common", Path: "skc_num", Means: "the local port", Kin: "port", Order: Host},
	{Struct: "struct sock", Path: "__sk_common.skc_num", Means: "the local port", Kin: "port", Order: Host},
	{Struct: "struct request_sock", Path: "__req_common.skc_num", Means: "the local port", Kin: "port", Order: Host},
	{Struct: "struct sock_common", Path: "skc_dport", Means: "the remote port", Order: Network},
	{Struct: "struct sock", Path: "__sk_common.skc_dport", Means: "the remote port", Order: Network},
	{Struct: "struct request_sock", Path: "__req_common.skc_dport", Means: "the remote port", Order: Network},
	{Struct: "struct sock", Path: "__sk_common.skc_portpair", Means: "both ports in one number, skc_dport in network order and skc_num in host order: take them one by one"},
	{Struct: "struct sock", Path: "__sk_common.skc_addrpair", Means: "both IPv4 addresses in one number: take them one by one"},
	{Struct: "struct sock", Path: "__sk_common.skc_rcv_saddr", Means: "the local IPv4 address, if the family is AF_INET", Order: Network},
	{Struct: "struct sock", Path: "__sk_common.skc_daddr", Means: "the remote IPv4 address, if the family is AF_INET", Order: Network},
	{Struct: "struct sock", Path: "__sk_common.skc_family", Means: "2 AF_INET, 10 AF_INET6: an IPv6 socket may talk IPv4 (::ffff:a.b.c.d)"},
	{Struct: "struct sock", Path: "__sk_common.skc_state", Means: "of UDP too: TCP_ESTABLISHED (1) is a connected one, TCP_CLOSE (7) is not"},
	{Struct: "struct sock", Path: "sk_err", Means: "0 again once it was reported", Sign: PosErrno},
	{Struct: "struct sock", Path: "sk_protocol", Means: "6 TCP, 17 UDP, 262 MPTCP; 0 for UNIX sockets"},
	{Struct: "struct sock", Path: "sk_wmem_queued", Means: "in the send buffer, with overhead", Unit: "bytes"},
	{Struct: "struct sock", Path: "sk_ack_backlog", Means: "connections that wait for accept, of a listener"},
	{Struct: "struct sock", Path: "sk_max_ack_backlog", Means: "how many may wait: listen()'s backlog, cut to somaxconn; one more is let in"},
	{Struct: "struct inet_sock", Path: "inet_sport", Means: "the local port", Order: Network},
	{Struct: "struct tcp_sock", Path: "srtt_us", Means: "8 times the smoothed round trip time: shift right by 3", Unit: "us"},
	{Struct: "struct tcp_sock", Path: "mdev_us", Means: "4 times the mean deviation: shift right by 2", Unit: "us"},
	{Struct: "struct tcp_sock", Path: "snd_cwnd", Means: "in segments, not bytes"},
	{Struct: "struct tcp_sock", Path: "bytes_acked", Means: "what the other end has confirmed; the SYN and the FIN count as a byte each", Unit: "bytes"},
	{Struct: "struct tcp_sock", Path: "bytes_received", Means: "in order, whether it was read or not; the FIN counts as a byte", Unit: "bytes"},
	{Struct: "struct tcp_sock", Path: "bytes_sent", Means: "with retransmissions", Unit: "bytes"},
	{Struct: "struct tcp_sock", Path: "total_retrans", Means: "segments sent again in the connection's life"},
	// packets
	{Struct: "struct sk_buff", Path: "protocol", Means: "the Ethernet type", Order: Network},
	{Struct: "struct sk_buff", Path: "len", Means: "of all that is left of the packet from data on", Unit: "bytes"},
	{Struct: "struct sk_buff", Path: "network_header", Means: "counted from head, not from data", Unit: "bytes"},
	{Struct: "struct sk_buff", Path: "transport_header", Means: "counted from head, not from data; 0xffff: not set", Unit: "bytes"},
	{Struct: "struct tcphdr", Path: "source", Order: Network, Means: "the sender's port"},
	{Struct: "struct tcphdr", Path: "dest", Order: Network, Means: "the receiver's port"},
	{Struct: "struct tcphdr", Path: "seq", Order: Network, Means: "of the first byte"},
	{Struct: "struct tcphdr", Path: "doff", Means: "the header's length in units of 4 bytes"},
	{Struct: "struct udphdr", Path: "len", Order: Network, Means: "with the header's 8 bytes", Unit: "bytes"},
	{Struct: "struct iphdr", Path: "tot_len", Order: Network, Means: "with all headers", Unit: "bytes"},
	{Struct: "struct iphdr", Path: "frag_off", Order: Network, Means: "0x1fff is the offset in units of 8 bytes, 0x2000 more follow, 0x4000 do not fragment"},
	{Struct: "struct iphdr", Path: "ihl", Means: "the header's length in units of 4 bytes"},
	{Struct: "struct ipv6hdr", Path: "payload_len", Order: Network, Means: "without the header's 40 bytes", Unit: "bytes"},
	{Struct: "struct ipv6hdr", Path: "nexthdr", Means: "the protocol, or that of an extension header which follows"},
	{Struct: "struct sockaddr_in", Path: "sin_port", Order: Network, Means: "the port"},
	{Struct: "struct sockaddr_in", Path: "sin_family", Order: Host, Means: "the family"},
	{Struct: "struct sockaddr_in6", Path: "sin6_port", Order: Network, Means: "the port"},
	// what networking programs are given
	{Struct: "struct __sk_buff", Path: "protocol", Order: Network, Bits: 16, Means: "the Ethernet type, in 16 bits: bpf_ntohs"},
	{Struct: "struct __sk_buff", Path: "vlan_proto", Order: Network, Bits: 16, Means: "the Ethernet type, in 16 bits: bpf_ntohs"},
	{Struct: "struct __sk_buff", Path: "remote_port", Order: Network, Means: "as a number of 32 bits: bpf_ntohl, not bpf_ntohs"},
	{Struct: "struct __sk_buff", Path: "local_port", Order: Host, Means: "the local port"},
	{Struct: "struct __sk_buff", Path: "remote_ip4", Order: Network, Means: "the other end's address"},
	{Struct: "struct __sk_buff", Path: "local_ip4", Order: Network, Means: "this end's address"},
	{Struct: "struct bpf_sock_addr", Path: "user_port", Order: Network, Bits: 16, Means: "in 16 bits: bpf_ntohs"},
	{Struct: "struct bpf_sock_addr", Path: "user_ip4", Order: Network, Means: "the address"},
	{Struct: "struct bpf_sock_addr", Path: "msg_src_ip4", Order: Network, Means: "the sender's address"},
	{Struct: "struct bpf_sock", Path: "src_ip4", Order: Network, Means: "the local address"},
	{Struct: "struct bpf_sock", Path: "dst_ip4", Order: Network, Means: "the remote address"},
	{Struct: "struct bpf_sock", Path: "src_port", Order: Host, Means: "the local port"},
	{Struct: "struct bpf_sock", Path: "dst_port", Order: Network, Means: "the remote port, in 16 bits: bpf_ntohs"},
	{Struct: "struct bpf_sock_ops", Path: "remote_port", Order: Network, Means: "as a number of 32 bits: bpf_ntohl, not bpf_ntohs"},
	{Struct: "struct bpf_sock_ops", Path: "local_port", Order: Host, Means: "the local port"},
	// tasks
	{Struct: "struct task_struct", Path: "pid", Means: "the thread id", Kin: "tid"},
	{Struct: "struct task_struct", Path: "tgid", Means: "what everybody calls the process id", Kin: "pid"},
	{Struct: "struct task_struct", Path: "comm", Means: "of the thread, 15 bytes at most; the process's is group_leader.comm"},
	{Struct: "struct task_struct", Path: "real_parent", Means: "the parent; parent is the tracer while there is one"},
	{Struct: "struct task_struct", Path: "mm", Means: "null for threads of the kernel, and for tasks that are ending"},
	{Struct: "struct task_struct", Path: "start_time", Means: "since the start, without time asleep (bpf_ktime_get_ns)", Unit: "ns", Kin: "time"},
	{Struct: "struct task_struct", Path: "start_boottime", Means: "since the start, with time asleep (bpf_ktime_get_boot_ns)", Unit: "ns", Kin: "boottime", Since: "5.5"},
	{Struct: "struct task_struct", Path: "exit_code", Means: asWait, Kin: "exitcode"},
	{Struct: "struct task_struct", Path: "utime", Means: "CPU time of the thread alone; of ended threads it is in signal.utime", Unit: "ns"},
	{Struct: "struct task_struct", Path: "prio", Means: "120 is nice 0, 100 to 139 normal, below 100 real-time"},
	{Struct: "struct task_struct", Path: "flags", Means: "0x200000 (PF_KTHREAD) for threads of the kernel, 0x4 while it ends"},
	{Struct: "struct task_struct", Path: "__state", Means: "0 runs or can run, 1 sleeps, 2 uninterruptible, 0x402 idle thread of the kernel", Since: "5.14"},
	{Struct: "struct task_struct", Path: "state", Means: "0 runs or can run, 1 sleeps, 2 uninterruptible, 0x402 idle thread of the kernel", Until: "5.14"},
	{Struct: "struct signal_struct", Path: "group_exit_code", Means: asWait, Kin: "exitcode"},
	{Struct: "struct signal_struct", Path: "maxrss", Means: "the most that was resident, with what ran before an exec; up to date once the last thread ends", Unit: "pages"},
	{Struct: "struct signal_struct", Path: "live", Means: "threads that have not ended"},
	{Struct: "struct cred", Path: "uid.val", Means: "the real user", Kin: "uid"},
	{Struct: "struct cred", Path: "euid.val", Means: "the effective user, which permissions look at", Kin: "uid"},
	{Struct: "struct cred", Path: "suid.val", Kin: "uid", Means: "the saved user"},
	{Struct: "struct cred", Path: "fsuid.val", Kin: "uid", Means: "the user for files"},
	{Struct: "struct cred", Path: "gid.val", Kin: "gid", Means: "the real group"},
	{Struct: "struct cred", Path: "egid.val", Kin: "gid", Means: "the effective group"},
	{Struct: "struct cred", Path: "fsgid.val", Kin: "gid", Means: "the group for files"},
	{Struct: "struct mm_struct", Path: "total_vm", Means: "mapped, not resident", Unit: "pages"},
	{Struct: "struct mm_struct", Path: "hiwater_rss", Means: "the most that was resident, as far as it was noted", Unit: "pages"},
	{Struct: "struct mm_struct", Path: "arg_start", Means: "where the arguments begin, in the memory of the process"},
	// files and disks
	{Struct: "struct file", Path: "f_pos", Unit: "bytes", Means: "where read() and write() go on, not where pread() does"},
	{Struct: "struct file", Path: "f_flags", Means: "of open: the low 2 bits are 0 read, 1 write, 2 both"},
	{Struct: "struct file", Path: "f_mode", Means: "1 read, 2 write; no permissions: those are f_inode.i_mode"},
	{Struct: "struct inode", Path: "i_mode", Means: "0xf000 is the type (0x8000 a file, 0x4000 a directory), 0xfff the permissions"},
	{Struct: "struct inode", Path: "i_size", Unit: "bytes", Means: "the length"},
	{Struct: "struct inode", Path: "i_ino", Means: "unique with i_sb.s_dev only"},
	{Struct: "struct super_block", Path: "s_dev", Means: "major << 20 | minor, other than in user space"},
	{Struct: "struct request", Path: "__data_len", Unit: "bytes", Means: "what is left to do"},
	{Struct: "struct request", Path: "__sector", Unit: "sectors", Means: "of 512 bytes, whatever the disk's are"},
	{Struct: "struct request", Path: "cmd_flags", Means: "the low 8 bits are the operation: 0 read, 1 write, 2 flush, 3 discard"},
	{Struct: "struct request", Path: "start_time_ns", Unit: "ns", Means: "when it was made; 0 if nobody counts"},
	{Struct: "struct request", Path: "io_start_time_ns", Unit: "ns", Means: "when it was issued; 0 if nobody counts"},
	{Struct: "struct bio", Path: "bi_iter.bi_size", Unit: "bytes", Means: "what is left to do"},
	{Struct: "struct bio", Path: "bi_iter.bi_sector", Unit: "sectors", Means: "of 512 bytes, on the whole disk once it was submitted"},
}

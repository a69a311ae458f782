package notes

// address is what holds for all programs on addresses.
const address = "user_ip4, user_ip6 and user_port (in its low 16 bits) are in network order"

// programs are notes on places in cgroups, where programs decide over sockets.
var programs = []Note{
	{
		Kind: Cgroup, Name: "connect4", Fires: "a socket that was made in the cgroup is about to connect to an IPv4 address (TCP, and UDP's connect)", Task: Own,
		Result: &Argument{Name: "ret", Means: "1 lets it happen, 0 refuses with EPERM"}, Rate: Medium, Mistakes: []string{address, "0 refuses, other than in LSM programs", "UDP without connect comes to sendmsg4"}, Sources: []string{"net/ipv4/tcp_ipv4.c:tcp_v4_pre_connect", "include/uapi/linux/bpf.h:bpf_sock_addr"},
	},
	{
		Kind: Cgroup, Name: "connect6", Fires: "a socket that was made in the cgroup is about to connect to an IPv6 address, or to a mapped IPv4 one", Task: Own,
		Result: &Argument{Name: "ret", Means: "1 lets it happen, 0 refuses with EPERM"}, Rate: Medium, Mistakes: []string{address, "for both families connect4 is needed too"}, Sources: []string{"net/ipv6/tcp_ipv6.c:tcp_v6_pre_connect"},
	},
	{
		Kind: Cgroup, Name: "bind4", Fires: "a socket that was made in the cgroup is about to get a local IPv4 address", Task: Own, Result: &Argument{Name: "ret", Means: "1 lets it happen, 0 refuses with EPERM"}, Rate: Low, Mistakes: []string{address}, Sources: []string{"net/ipv4/af_inet.c:inet_bind_sk"},
	},
	{
		Kind: Cgroup, Name: "sendmsg4", Fires: "a UDP socket that is not connected is about to send to an IPv4 address", Task: Own, Result: &Argument{Name: "ret", Means: "1 lets it happen, 0 refuses with EPERM"}, Rate: Medium, Mistakes: []string{address}, Sources: []string{"net/ipv4/udp.c:udp_sendmsg"},
	},
	{
		Kind: Cgroup, Name: "sock_create", Fires: "an IPv4 or IPv6 socket has been made by a process in the cgroup", Task: Own, Result: &Argument{Name: "ret", Means: "1 lets it happen, 0 refuses with EPERM"}, Rate: Medium, Mistakes: []string{"it has no addresses yet"}, Sources: []string{"net/ipv4/af_inet.c:inet_create"},
	},
	{
		Kind: Cgroup, Name: "sock_release", Fires: "an IPv4 or IPv6 socket of the cgroup is closed by its last owner", Task: MostlyOwn, Whose: "it is mostly who closes or exits", Since: "5.9", Rate: Medium, Mistakes: []string{"src_port is in host order, dst_port in network order"}, Sources: []string{"net/ipv4/af_inet.c:inet_release", "include/uapi/linux/bpf.h:bpf_sock"},
	},
}

package notes

// Words that several notes need.
const (
	whilePackets  = "packets are handled while anybody runs"
	portsInRecord = "already swapped by the tracepoint"
	v4InV6        = "for an IPv6 socket it holds a placeholder: look at family first"
)

// taskStates are the states of TCP that a socket enters in the task that does it: connect, close and shutdown, listen.
var taskStates = []Value{{"TCP_SYN_SENT", 2}, {"TCP_FIN_WAIT1", 4}, {"TCP_LAST_ACK", 9}, {"TCP_LISTEN", 10}}

// ends are the fields that many records of TCP have.
var ends = []Argument{
	{Name: "sport", Means: "the local port, " + portsInRecord, Order: Host},
	{Name: "dport", Means: "the remote port, " + portsInRecord, Order: Host},
	{Name: "saddr", Means: "the local IPv4 address; " + v4InV6, Order: Network},
	{Name: "daddr", Means: "the remote IPv4 address; " + v4InV6, Order: Network},
	{Name: "saddr_v6", Means: "the local address in IPv6 form; of an IPv4 socket ::ffff:a.b.c.d", Order: Network},
	{Name: "daddr_v6", Means: "the remote address in IPv6 form", Order: Network},
}

// sockaddrs are the fields of the other records of TCP.
var sockaddrs = []Argument{
	{Name: "saddr", Means: "a struct sockaddr_in or sockaddr_in6, with port and address in it", Order: Network},
	{Name: "daddr", Means: "likewise", Order: Network},
}

// sockets are notes on sockets as tracepoints see them, TCP above all.
var sockets = []Note{
	{
		Kind: Tracepoint, Name: "sock/inet_sock_set_state",
		Fires:   "a TCP (or SCTP, DCCP, MPTCP) socket is about to go from oldstate to newstate",
		Task:    SeldomOwn,
		Whose:   "most changes of state happen while a packet is handled, with whoever runs as the current task",
		OwnWhen: Values{"newstate", taskStates},
		Arguments: []Argument{
			{Name: "sk", Means: "its __sk_common.skc_dport is in network order, skc_num (the local port) in host order"},
			{Name: "oldstate"}, {Name: "newstate"},
		},
		Record: append([]Argument{{Name: "protocol", Means: "6 for TCP: others come here too"}, {Name: "family", Means: "2 AF_INET, 10 AF_INET6"}}, ends...),
		Lapses: []Lapse{
			{Member: "sk.__sk_common.skc_num", When: Values{"newstate", []Value{{"TCP_SYN_SENT", 2}}},
				Why: "the socket has no local port yet, unless it was bound to one", Use: "take it at the next change of state"},
			{Member: "sport", When: Values{"newstate", []Value{{"TCP_SYN_SENT", 2}}},
				Why: "the socket has no local port yet, unless it was bound to one", Use: "take it at the next change of state"},
			{Member: "sk.__sk_common.skc_num", When: Values{"newstate", []Value{{"TCP_CLOSE", 7}}},
				Why: "the port has been given back and is 0, unless the socket was bound to it", Use: "inet_sport of the struct inet_sock still has it, in network order"},
			{Member: "sk.__sk_common.skc_state", Why: "is still the old state", Use: "use newstate", Usable: true},
		},
		Rate: Medium,
		Mistakes: []string{
			"a connect is newstate TCP_SYN_SENT (the task that connects); its outcome is the next change: TCP_ESTABLISHED, or TCP_CLOSE with sk.sk_err, an errno without sign (ECONNREFUSED, ETIMEDOUT)",
			"an accepted connection is oldstate TCP_SYN_RECV to TCP_ESTABLISHED, before any accept(): the current task is not the server",
			"at TCP_LISTEN to TCP_SYN_RECV some kernels have not set the other end yet; sk is the new socket, not the listener",
			"newstate is never TCP_TIME_WAIT or TCP_NEW_SYN_RECV: those are other objects than full sockets; a connection in TIME_WAIT was reported as TCP_CLOSE",
			"the process that owns a connection must be remembered by sk at TCP_SYN_SENT or at accept",
		},
		See:     []string{"tcp_v4_connect and tcp_v6_connect by kprobe or fentry, for the address that was asked for"},
		Sources: []string{"net/ipv4/af_inet.c:inet_sk_set_state", "net/ipv4/tcp.c:tcp_set_state", "net/ipv4/inet_hashtables.c:__inet_put_port", "measured"},
	},
	{
		Kind: Tracepoint, Name: "tcp/tcp_retransmit_skb",
		Fires: "a segment, or several that were joined, has been sent again; SYNs and tail loss probes included",
		Task:  Interrupted, Whose: "a retransmission happens on a timer or while a packet is handled",
		Arguments: []Argument{{Name: "sk"}, {Name: "skb", Means: "the segments; skb.len is payload"},
			{Name: "err", Since: "6.18", Means: "0 if it was sent", Sign: NegErrno}},
		Record: append([]Argument{{Name: "state", Means: "TCP_SYN_SENT (2) for a connect that is not answered"}}, ends...),
		Versions: []Version{{Since: "6.18", Says: "failed attempts come here too"},
			{Until: "6.13", Says: "only what could be sent comes here"}},
		Rate:     Medium,
		Mistakes: []string{"repeated SYN-ACKs do not come here: see tcp_retransmit_synack"},
		Sources:  []string{"net/ipv4/tcp_output.c:__tcp_retransmit_skb"},
	},
	{
		Kind: Tracepoint, Name: "tcp/tcp_retransmit_synack",
		Fires: "a SYN-ACK has been sent again, because the client has not answered",
		Task:  Interrupted, Whose: "a SYN-ACK is sent again on a timer",
		Arguments: []Argument{{Name: "sk", Means: "the listener: it has no other end"}, {Name: "req", Means: "the request: its __req_common has both ends, skc_dport in network order, skc_num in host order"}},
		Record:    ends,
		Rate:      Low,
		Sources:   []string{"net/ipv4/tcp_output.c:tcp_rtx_synack", "include/trace/events/tcp.h:tcp_retransmit_synack"},
	},
	{
		Kind: Tracepoint, Name: "tcp/tcp_send_reset",
		Fires: "a RST is about to be sent: as the answer to a packet, or because a socket is closed hard",
		Task:  SeldomOwn, Whose: "a reset is mostly sent while a packet is handled",
		Arguments: []Argument{{Name: "sk", Means: "null if no socket was found, as for a port where nobody listens"},
			{Name: "skb", Means: "the packet that is answered: its source is the other end; null for a close"},
			{Name: "reason", Since: "6.10"}},
		Record: append([]Argument{{Name: "state", Means: "of the socket, if there is one"}}, sockaddrs...),
		Versions: []Version{
			{Until: "6.10", Says: "resets for which there is no socket do not come here"},
		},
		Rate:     Medium,
		Mistakes: []string{"both sk and skb can be null, but not both at once: test each before it is read"},
		Sources:  []string{"net/ipv4/tcp_ipv4.c:tcp_v4_send_reset", "net/ipv4/tcp_output.c:tcp_send_active_reset", "measured"},
	},
	{
		Kind: Tracepoint, Name: "tcp/tcp_receive_reset",
		Fires: "a valid RST has come for a full socket; sk_err and the state are still as before",
		Task:  SeldomOwn, Whose: "a reset arrives while a packet is handled",
		Arguments: []Argument{{Name: "sk", Means: "the state tells what was reset: TCP_SYN_SENT is a refused connect"}},
		Record:    append([]Argument{{Name: "sock_cookie"}}, ends...),
		Lapses:    []Lapse{{Member: "sk.sk_err", Why: "is not set yet", Use: "it becomes ECONNREFUSED in TCP_SYN_SENT, EPIPE in TCP_CLOSE_WAIT, else ECONNRESET"}},
		Rate:      Medium,
		Mistakes:  []string{"connections not yet accepted by the kernel (requests) and those in TIME_WAIT do not come here"},
		Sources:   []string{"net/ipv4/tcp_input.c:tcp_reset", "measured"},
	},
	{
		Kind: Tracepoint, Name: "tcp/tcp_destroy_sock",
		Fires: "a TCP socket is torn down for good",
		Task:  SeldomOwn, Whose: "a socket is torn down by the task that closes it or, later, while a packet is handled",
		Arguments: []Argument{{Name: "sk", Means: "its state is TCP_CLOSE; for the states before see inet_sock_set_state"}},
		Record:    append([]Argument{{Name: "sock_cookie"}}, ends...),
		Lapses:    []Lapse{{Member: "sk.__sk_common.skc_num", Why: "the port has been given back and is 0, unless the socket was bound to it", Use: "inet_sport of the struct inet_sock still has it, in network order"}},
		Rate:      Medium,
		Sources:   []string{"net/ipv4/tcp_ipv4.c:tcp_v4_destroy_sock", "measured"},
	},
	{
		Kind: Tracepoint, Name: "tcp/tcp_rcv_space_adjust",
		Fires: "a program has read from a TCP socket and the size of its receive buffer is looked at",
		Task:  Own, Whose: "it is the reader",
		Arguments: []Argument{{Name: "sk"}}, Record: ends,
		Rate: High, Mistakes: []string{"it fires at each read, whether the buffer grows or not, and says no size"},
		Sources: []string{"net/ipv4/tcp_input.c:tcp_rcv_space_adjust", "measured"},
	},
	{
		Kind: Tracepoint, Name: "tcp/tcp_probe",
		Fires: "a segment has come for an established connection; it has not been processed",
		Task:  SeldomOwn, Whose: "it runs while a packet is handled",
		Arguments: []Argument{{Name: "sk"}, {Name: "skb"}},
		Record: append([]Argument{
			{Name: "sport", Order: Host}, {Name: "dport", Order: Host},
			{Name: "srtt", Means: "the smoothed round trip time", Unit: "us"},
			{Name: "snd_cwnd", Means: "in segments"}, {Name: "ssthresh", Means: "in segments"},
			{Name: "snd_wnd", Unit: "bytes"}, {Name: "rcv_wnd", Unit: "bytes"}, {Name: "data_len", Means: "payload", Unit: "bytes"}}, sockaddrs...),
		Rate: Fierce,
		Mistakes: []string{"srtt_us of struct tcp_sock is 8 times the round trip time: shift it right by 3; the record's srtt is divided already",
			"packets in other states (SYN, FIN_WAIT…) do not come here"},
		Sources: []string{"net/ipv4/tcp_input.c:tcp_rcv_established", "include/trace/events/tcp.h:tcp_probe"},
	},
	{
		Kind: Tracepoint, Name: "tcp/tcp_bad_csum",
		Fires: "a TCP packet with a wrong checksum is dropped",
		Task:  Interrupted, Whose: whilePackets,
		Arguments: []Argument{{Name: "skb"}}, Record: sockaddrs,
		Since: "5.14", Gone: "use kfree_skb",
		Rate: Rare, Sources: []string{"net/ipv4/tcp_ipv4.c:tcp_v4_rcv"},
	},
	{
		Kind: Tracepoint, Name: "tcp/tcp_cong_state_set",
		Fires: "a connection's congestion state is set: 0 Open, 1 Disorder, 2 CWR, 3 Recovery, 4 Loss",
		Task:  SeldomOwn, Whose: whilePackets,
		Arguments: []Argument{{Name: "sk"}, {Name: "ca_state", Means: "the new state; it may equal the old one"}},
		Record:    append([]Argument{{Name: "cong_state"}}, ends...),
		Since:     "5.19", Gone: "use tcp_retransmit_skb",
		Rate: Medium, Sources: []string{"include/net/tcp.h:tcp_set_ca_state", "measured"},
	},
	{
		Kind: Tracepoint, Name: "sock/inet_sk_error_report",
		Fires: "an error is reported to the owner of a socket: reset, timeout, ICMP unreachable; UDP too",
		Task:  SeldomOwn, Whose: whilePackets,
		Arguments: []Argument{{Name: "sk", Means: "sk_err is set"}},
		Record:    append([]Argument{{Name: "error", Means: "sk_err", Sign: PosErrno}, {Name: "protocol"}, {Name: "family"}}, ends...),
		Since:     "5.14", Gone: "use sk_error_report by kprobe",
		Rate: Low, Mistakes: []string{"errors that a system call returns at once (EAGAIN, EPIPE of a later write) do not come here"},
		Sources: []string{"net/core/sock.c:sk_error_report", "measured"},
	},
	{
		Kind: Tracepoint, Name: "sock/sock_send_length",
		Fires:     "a message has been sent, or not, through a socket of any family",
		Task:      Own,
		Arguments: []Argument{{Name: "sk"}, {Name: "ret", Means: "bytes taken by the socket, not yet on the wire", Unit: "bytes", Sign: NegErrno}, {Name: "flags", Means: "0, whatever the call's flags were"}},
		Since:     "6.3", Gone: "use sock_sendmsg by kprobe, or tcp_sendmsg and udp_sendmsg",
		Rate: High, Mistakes: []string{"it sees UNIX, netlink and packet sockets too: test family and protocol"},
		Sources: []string{"net/socket.c:call_trace_sock_send_length", "measured"},
	},
	{
		Kind: Tracepoint, Name: "sock/sock_recv_length",
		Fires:     "a message has been received, or not, from a socket of any family",
		Task:      Own,
		Arguments: []Argument{{Name: "sk"}, {Name: "ret", Means: "bytes given to the program; 0 at the end of a stream", Unit: "bytes", Sign: NegErrno}, {Name: "flags", Means: "MSG_…, as the call gave them"}},
		Since:     "6.3", Gone: "use sock_recvmsg by kretprobe",
		Rate: High, Mistakes: []string{"-EAGAIN is common and no failure for sockets that do not block", "what is only looked at (flags & 2, MSG_PEEK) comes again: leave it out of sums"},
		Sources: []string{"net/socket.c:call_trace_sock_recv_length", "measured"},
	},
	{
		Kind: Tracepoint, Name: "sock/sk_data_ready",
		Fires: "data, a connection or an end has come for a socket and its readers are woken",
		Task:  Interrupted, Whose: whilePackets,
		Arguments: []Argument{{Name: "sk"}},
		Since:     "6.3",
		Rate:      High, Sources: []string{"net/core/sock.c:sock_def_readable", "net/ipv4/tcp_input.c:tcp_data_ready", "measured"},
	},
	{
		Kind: Tracepoint, Name: "sock/sock_rcvqueue_full",
		Fires: "a packet is dropped, because the receive buffer of a raw, ping, packet or CAN socket is full",
		Task:  SeldomOwn, Whose: whilePackets,
		Arguments: []Argument{{Name: "sk"}, {Name: "skb"}},
		Record:    []Argument{{Name: "rmem_alloc", Unit: "bytes", Means: "in the queue"}, {Name: "truesize", Unit: "bytes", Means: "of the packet with its overhead"}, {Name: "sk_rcvbuf", Unit: "bytes", Means: "the limit"}},
		Rate:      Low, Mistakes: []string{"TCP and UDP do not come here: for UDP see udp_fail_queue_rcv_skb"},
		Sources: []string{"net/core/sock.c:__sock_queue_rcv_skb"},
	},
	{
		Kind: Tracepoint, Name: "sock/sock_exceed_buf_limit",
		Fires: "a socket may not have more memory: its protocol is at its limit (tcp_mem, udp_mem)",
		Task:  SeldomOwn, Whose: whilePackets,
		Record: []Argument{{Name: "sysctl_mem", Unit: "pages"}, {Name: "allocated", Means: "by the whole protocol", Unit: "pages"}, {Name: "name", Means: "of the protocol"}},
		Rate:   Rare, Sources: []string{"net/core/sock.c:__sk_mem_raise_allocated"},
	},
	{
		Kind: Tracepoint, Name: "udp/udp_fail_queue_rcv_skb",
		Fires: "a UDP packet is dropped, because the socket's receive buffer is full or memory is short",
		Task:  Interrupted, Whose: whilePackets,
		Arguments: []Argument{{Name: "rc", Means: "-ENOMEM: the buffer is full; -ENOBUFS: the protocol's memory is at its limit", Sign: NegErrno}, {Name: "sk"}, {Name: "skb", Since: "6.11"}},
		Rate:      Low, Sources: []string{"net/ipv4/udp.c:__udp_queue_rcv_skb", "measured"},
	},
}

package contract

import (
	"strings"
	"testing"

	"kgent/retrieval/notes"
)

// What is known about hooks counts in every way to attach to them, and only there.
func TestHookFacts(t *testing.T) {

	shows := func(kin, what string) (string, string) {
		return "emit e { t: " + what + " }", "event e { t: " + kin + " }"
	}
	for _, tt := range []struct{ name, place, when, kin, shown, want string }{
		{"record form", "tracepoint/tcp/tcp_retransmit_skb(state)", "state == 1", "k_pid", "current.tgid", "a retransmission happens on a timer"},
		{"raw form", "raw_tracepoint/tcp_retransmit_skb(sk)", "sk != null", "k_pid", "current.tgid", "a retransmission happens on a timer"},
		{"function in softirq", "kprobe/tcp_v4_rcv()", "now > 5", "k_pid", "current.tgid", "packets are handled while anybody runs"},
		{"stack in softirq", "tp_btf/softirq_entry()", "now > 5", "k_ustack", "user_stack", "user_stack means nothing at tp_btf/softirq_entry"},
		{"function in the task", "kprobe/tcp_sendmsg()", "current.tgid > 5", "k_pid", "current.tgid", ""},
		{"who causes it", "tracepoint/oom/mark_victim(pid)", "pid > 5", "k_pid", "current.tgid", ""},
		{"new state of a record", "tracepoint/sock/inet_sock_set_state(newstate)", "newstate == 7", "k_pid", "current.tgid", "means nothing at tracepoint/sock/inet_sock_set_state for most changes"},
		{"task's state of a record", "tracepoint/sock/inet_sock_set_state(newstate)", "newstate == TCP_SYN_SENT", "k_pid", "current.tgid", ""},
		{"under another name", "tp_btf/inet_sock_set_state(newstate as entered)", "entered == TCP_LISTEN", "k_pid", "current.tgid", ""},
		{"no port yet", "tp_btf/inet_sock_set_state(sk, newstate)", "newstate == TCP_SYN_SENT", "k_port", "sk.__sk_common.skc_num", "the socket has no local port yet"},
		{"no port yet in the record", "tracepoint/sock/inet_sock_set_state(newstate, sport)", "newstate == TCP_SYN_SENT", "k_port", "sport", "the socket has no local port yet"},
		{"the port is there", "tp_btf/inet_sock_set_state(sk, newstate)", "newstate == TCP_ESTABLISHED", "k_port", "sk.__sk_common.skc_num", ""},
		{"port given back", "tp_btf/inet_sock_set_state(sk, newstate)", "newstate == TCP_CLOSE", "k_port", "sk.__sk_common.skc_num", "the port has been given back"},
		{"port from where it is left", "tp_btf/inet_sock_set_state(sk, newstate)", "newstate == TCP_CLOSE", "k_port", "local_port(sk)", ""},
		{"length that is used up", "tp_btf/block_io_done(rq)", "rq != null", "k_bytes", "rq.__data_len", "nothing is left of the request's length"},
		{"length that is used up in the condition", "tp_btf/block_io_done(rq)", "rq.__data_len > 4096", "k_time", "now", "nothing is left of the request's length"},
		{"length of a part", "tp_btf/block_rq_complete(rq, nr_bytes)", "nr_bytes > 4096", "k_bytes", "nr_bytes", ""},
		{"unbound at the entry", "fentry/udp_sendmsg(sk)", "sk != null", "k_port", "sk.__sk_common.skc_num", "at the entry of udp_sendmsg the socket has no local port before its first datagram"},
		{"bound at the return", "fexit/udp_sendmsg(sk, ret)", "ret > 0", "k_port", "sk.__sk_common.skc_num", ""},
		{"state that is just what is wanted", "tp_btf/inet_sock_set_state(sk, newstate)", "sk.__sk_common.skc_state == TCP_ESTABLISHED && newstate == TCP_CLOSE", "k_time", "now", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			show, declared := shows(tt.kin, tt.shown)
			c, err := Parse(at(tt.place, tt.when, show, declared))
			if err != nil {
				t.Fatal(err)
			}
			_, err = Check(c, host(t))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got  %v\nwant %q", err, tt.want)
			}
		})
	}
}

// The contexts of networking programs have numbers in network order as plain ones.
func TestContextOrder(t *testing.T) {
	for _, tt := range []struct{ place, kin, value, want string }{
		{"cgroup_skb/egress(skb)", "k_port", "u16(ntohl(skb.remote_port))", ""},
		{"cgroup_skb/egress(skb)", "k_port", "skb.remote_port", "network byte order: write ntohl"},
		{"cgroup_skb/egress(skb)", "k_port", "ntohs(skb.remote_port)", "has 32 bits; ntohs is for 16"},
		{"cgroup_skb/egress(skb)", "k_port", "skb.local_port", ""},
		{"cgroup_skb/egress(skb)", "k_port", "ntohs(u16(skb.local_port))", "in host byte order already"},
		{"cgroup_skb/egress(skb)", "k_ethproto", "ntohs(skb.protocol)", ""},
		{"cgroup_skb/egress(skb)", "k_ip", "ip4(skb.remote_ip4)", ""},
		{"cgroup/connect4(ctx)", "k_port", "ntohs(ctx.user_port)", ""},
		{"cgroup/connect4(ctx)", "k_port", "ctx.user_port", "network byte order: write ntohs"},
		{"cgroup/connect4(ctx)", "k_ip", "ip4(ctx.user_ip4)", ""},
	} {
		t.Run(tt.value, func(t *testing.T) {
			text := "contract \"x\"\nevent e { t: " + tt.kin + " }\nhook " + tt.place + "\n case a: now > 5\n  emit e { t: " + tt.value + " }\n  return 1\n otherwise\n  return 1"
			c, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Check(c, host(t))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got  %v\nwant %q", err, tt.want)
			}
		})
	}
}

// Whoever writes a contract like a recipe's finds a note on each of its hooks.
func TestRecipesHaveNotes(t *testing.T) {
	for _, file := range recipeFiles(t) {
		c, err := Parse(readFile(t, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range c.Hooks {
			for _, p := range h.Places {
				if notes.Of(p.Kind, p.Target) == nil {
					t.Errorf("%s: there is no note on %s", file, p)
				}
			}
		}
	}
}

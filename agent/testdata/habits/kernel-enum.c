// Enums and structs of the kernel with the program's own names for the same numbers.
#include "kgent.bpf.h"

enum { TCP_LISTEN_STATE = 10 };
enum tcp_states { TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE };

struct request { k_pid pid; __u32 state; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct request);
	__type(value, k_count);
} states SEC(".maps") KGENT_OUTPUT;

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, const struct sock *sk, const int oldstate, const int newstate)
{
	struct request key = {};
	if (newstate != TCP_ESTABLISHED)
		return 0;
	key.pid = k_current_pid();
	key.state = newstate;
	k_count *n = k_cell(&states, &key, k_count);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

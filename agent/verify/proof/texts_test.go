package proof

import (
	"strings"
	"testing"
)

// preamble is what the programs of this file have in common.
const preamble = `
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "GPL";
`

// A text of which program and contract read more or less is one text.
func TestTextOfTwoLengths(t *testing.T) {
	const program = preamble + `
struct removals_event { char start[16]; char name[64]; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct removals_event);
} removals SEC(".maps");

SEC("tp/syscalls/sys_enter_unlink")
int removes(struct trace_event_raw_sys_enter *ctx)
{
	struct removals_event *ev = bpf_ringbuf_reserve(&removals, sizeof(*ev), 0);

	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	bpf_probe_read_user_str(ev->name, sizeof(ev->name), (void *)ctx->args[0]);
	__builtin_memcpy(ev->start, ev->name, 15);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
`
	const text = `contract "Removals"
event removals { start: char[16], name: char[64] }
hook tracepoint/syscalls/sys_enter_unlink(pathname)
  case removed: always
    emit removals { start: user_text(pathname, 16), name: user_text(pathname, 64) }
  otherwise nothing
`
	if r := verify(t, program, text, patient); r.Verdict != Verified {
		t.Errorf("%s\n%s", r.Verdict, strings.Join(r.Reasons, "\n"))
	}
	short := strings.Replace(program, "ev->name, 15)", "ev->name, 14)", 1)
	if r := verify(t, short, text, patient); r.Verdict != Refuted {
		t.Errorf("cut to 14 bytes instead of 15: %s", r.Verdict)
	}
}

// A name in a tracepoint's record may be read as a text: it ends in NUL.
func TestTextOfRecord(t *testing.T) {
	const program = preamble + `
struct name { char comm[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct name);
	__type(value, k_count);
} switches SEC(".maps") KGENT_OUTPUT;

SEC("tp/sched/sched_switch")
int switched(struct trace_event_raw_sched_switch *ctx)
{
	struct name key = {};
	k_count *n;

	bpf_probe_read_kernel_str(key.comm, sizeof(key.comm), ctx->prev_comm);
	n = k_cell(&switches, &key, k_count);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}
`
	const text = `contract "Switches by name"
table switches { comm: char[16] } : count
hook tracepoint/sched/sched_switch(prev_comm, next_comm)
  case switched: always
    add 1 to switches[comm: prev_comm]
  otherwise nothing
`
	if r := verify(t, program, text, patient); r.Verdict != Verified {
		t.Errorf("%s\n%s", r.Verdict, strings.Join(r.Reasons, "\n"))
	}
	for name, edit := range map[string][2]string{
		"the other name":               {"ctx->prev_comm", "ctx->next_comm"},
		"a byte less":                  {"sizeof(key.comm)", "sizeof(key.comm) - 1"},
		"what lies behind the NUL too": {"bpf_probe_read_kernel_str(", "bpf_probe_read_kernel("},
	} {
		if r := verify(t, strings.Replace(program, edit[0], edit[1], 1), text, patient); r.Verdict != Refuted {
			t.Errorf("%s: %s", name, r.Verdict)
		}
	}
}

// An IPv6 address in the memory of a process.
func TestAddressOfProcess(t *testing.T) {
	const program = preamble + `
struct peers_event { k_pid pid; k_ip address; k_port port; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct peers_event);
} peers SEC(".maps");

SEC("tp/syscalls/sys_enter_connect")
int on(struct trace_event_raw_sys_enter *ctx)
{
	struct peers_event *ev;
	struct sockaddr_in6 a = {};
	bpf_probe_read_user(&a, sizeof(a), (void *)ctx->args[1]);
	if (a.sin6_family != AF_INET6)
		return 0;
	ev = bpf_ringbuf_reserve(&peers, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->pid = k_current_pid();
	k_ip_from_v6(&ev->address, &a.sin6_addr);
	ev->port = bpf_ntohs(a.sin6_port);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
`
	const text = `contract "Peers"
event peers { pid: k_pid, address: k_ip, port: k_port }
hook tracepoint/syscalls/sys_enter_connect(fd, uservaddr as peer)
  case v6: user_bytes(peer, 28).u16(0) == AF_INET6
    emit peers { pid: current.tgid, address: user_bytes(peer, 28).ip6(8), port: ntohs(user_bytes(peer, 28).be16(2)) }
  otherwise nothing
`
	if r := verify(t, program, text, patient); r.Verdict != Verified {
		t.Errorf("%s\n%s", r.Verdict, strings.Join(r.Reasons, "\n"))
	}
	for name, edit := range map[string][2]string{
		"too little is read":     {"&a, sizeof(a)", "&a, 16"},
		"at another place":       {"k_ip_from_v6(&ev->address, &a.sin6_addr)", "__builtin_memcpy(&ev->address, (char *)&a + 4, 16)"},
		"as an IPv4 address":     {"k_ip_from_v6(&ev->address, &a.sin6_addr)", "k_ip_from_v4(&ev->address, a.sin6_flowinfo)"},
		"of another argument":    {"ctx->args[1]", "ctx->args[2]"},
		"the port is not turned": {"bpf_ntohs(a.sin6_port)", "a.sin6_port"},
	} {
		wrong := strings.Replace(program, edit[0], edit[1], 1)
		if wrong == program {
			t.Fatalf("%s: nothing was changed", name)
		}
		if r := verify(t, wrong, text, patient); r.Verdict != Refuted {
			t.Errorf("%s: %s", name, r.Verdict)
		}
	}
}

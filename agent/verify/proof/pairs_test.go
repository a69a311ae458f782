package proof

import (
	"strings"
	"testing"
)

// A pair is a program that keeps a contract, and variants of it that do not.
type pair struct {
	name     string
	contract string
	good     string
	bad      []variant
}

// variant replaces a piece of the good program. want is part of the ID of the obligation
// that is to fail.
type variant struct {
	name, from, to, want string
}

const head = "#include \"kgent.bpf.h\"\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n"

var pairs = []pair{
	{
		name: "connects",
		contract: `contract "TCP connects"

event connects { pid: k_pid, family: k_family, saddr: k_ipv4, daddr: k_ipv4, dport: k_port }

hook tp_btf/inet_sock_set_state(sk, oldstate, newstate)
  case v4: newstate == TCP_SYN_SENT && sk.__sk_common.skc_family == AF_INET
    emit connects { pid: current.tgid, family: sk.__sk_common.skc_family, saddr: sk.__sk_common.skc_rcv_saddr,
      daddr: sk.__sk_common.skc_daddr, dport: ntohs(sk.__sk_common.skc_dport) }
  case v6: newstate == TCP_SYN_SENT && sk.__sk_common.skc_family == AF_INET6
    emit connects { pid: current.tgid, family: sk.__sk_common.skc_family, saddr: sk.__sk_common.skc_rcv_saddr,
      daddr: sk.__sk_common.skc_daddr, dport: ntohs(sk.__sk_common.skc_dport) }
  otherwise nothing
`,
		good: head + `
struct ev { k_pid pid; k_family family; k_port dport; k_ipv4 saddr; k_ipv4 daddr; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct ev); } connects SEC(".maps");
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state, const struct sock *sk, int oldstate, int newstate)
{
	__u16 family = sk->__sk_common.skc_family;
	struct ev *ev;
	if (newstate != TCP_SYN_SENT)
		return 0;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	ev = bpf_ringbuf_reserve(&connects, sizeof(*ev), 0);
	if (!ev)
		return 0;
	ev->pid = bpf_get_current_pid_tgid() >> 32;
	ev->family = family;
	ev->saddr = sk->__sk_common.skc_rcv_saddr;
	ev->daddr = sk->__sk_common.skc_daddr;
	ev->dport = bpf_ntohs(sk->__sk_common.skc_dport);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
`,
		bad: []variant{
			{"byte order", "bpf_ntohs(sk->__sk_common.skc_dport)", "sk->__sk_common.skc_dport", "connects.dport"},
			{"wrong field", "bpf_ntohs(sk->__sk_common.skc_dport)", "sk->__sk_common.skc_num", "connects.dport"},
			{"swapped addresses", "ev->saddr = sk->__sk_common.skc_rcv_saddr", "ev->saddr = sk->__sk_common.skc_daddr", "connects.saddr"},
			{"missing v6", "family != AF_INET && family != AF_INET6", "family != AF_INET", "events"},
			{"extra event", "if (newstate != TCP_SYN_SENT)", "if (newstate != TCP_SYN_SENT && newstate != TCP_CLOSE)", "events"},
			{"inverted filter", "if (newstate != TCP_SYN_SENT)", "if (newstate == TCP_SYN_SENT)", "events"},
			{"thread for process", "bpf_get_current_pid_tgid() >> 32", "bpf_get_current_pid_tgid()", "connects.pid"},
			{"stale record bytes", "	ev->daddr = sk->__sk_common.skc_daddr;\n", "	if (oldstate == TCP_CLOSE)\n		ev->daddr = sk->__sk_common.skc_daddr;\n", "connects"},
			{"emitted twice", "	bpf_ringbuf_submit(ev, 0);", "	bpf_ringbuf_submit(ev, 0);\n	ev = bpf_ringbuf_reserve(&connects, sizeof(*ev), 0);\n	if (ev) {\n		__builtin_memset(ev, 0, sizeof(*ev));\n		bpf_ringbuf_submit(ev, 0);\n	}", "events"},
			{"not submitted", "	bpf_ringbuf_submit(ev, 0);", "	bpf_ringbuf_discard(ev, 0);", "events"},
			{"constant field", "ev->family = family", "ev->family = AF_INET", "connects.family"},
		},
	},
	{
		name: "padding",
		contract: `contract "Calls"

event calls { pid: k_pid, at: k_time }

hook tp_btf/sched_process_exec(p as task)
  case always_: always
    emit calls { pid: current.tgid, at: now }
  otherwise nothing
`,
		good: head + `
struct ev { k_pid pid; k_time at; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct ev); } calls SEC(".maps");
SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec, struct task_struct *p)
{
	struct ev ev;
	__builtin_memset(&ev, 0, sizeof(ev));
	ev.pid = bpf_get_current_pid_tgid() >> 32;
	ev.at = bpf_ktime_get_ns();
	bpf_ringbuf_output(&calls, &ev, sizeof(ev), 0);
	return 0;
}
`,
		bad: []variant{
			{"padding leaks", "__builtin_memset(&ev, 0, sizeof(ev));", "", "written/event calls"},
			{"short event", "sizeof(ev), 0)", "sizeof(ev) - 4, 0)", "size"},
			{"other clock", "bpf_ktime_get_ns()", "bpf_ktime_get_boot_ns()", "calls.at"},
		},
	},
	{
		name: "latency",
		contract: `contract "fsync"

event syncs { tid: k_tid, took: k_us }
memory started { thread: k_tid } : { at: k_time }

hook tracepoint/syscalls/sys_enter_fsync()
  case begins: always
    remember started[current.tid] { at: now }
  otherwise nothing

hook tracepoint/syscalls/sys_exit_fsync(ret)
  case ok: known started[current.tid] && ret >= 0
    emit syncs { tid: current.tid, took: (now - started[current.tid].at) / 1000 }
    forget started[current.tid]
  case failed: known started[current.tid]
    forget started[current.tid]
  otherwise nothing
`,
		good: head + `
struct ev { k_tid tid; __u32 _pad; k_us took; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct ev); } syncs SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, __u32); __type(value, __u64); } started SEC(".maps");
SEC("tp/syscalls/sys_enter_fsync")
int enter(void *ctx)
{
	__u32 id = (__u32)bpf_get_current_pid_tgid();
	__u64 now = bpf_ktime_get_ns();
	k_put(&started, &id, &now);
	return 0;
}
SEC("tp/syscalls/sys_exit_fsync")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	__u32 id = (__u32)bpf_get_current_pid_tgid();
	__u64 *at = bpf_map_lookup_elem(&started, &id);
	struct ev ev = {};
	if (!at)
		return 0;
	ev.tid = bpf_get_current_pid_tgid();
	ev.took = (bpf_ktime_get_ns() - *at) / 1000;
	if (ctx->ret >= 0)
		bpf_ringbuf_output(&syncs, &ev, sizeof(ev), 0);
	bpf_map_delete_elem(&started, &id);
	return 0;
}
`,
		bad: []variant{
			{"keyed by process", "__u32 id = (__u32)bpf_get_current_pid_tgid();", "__u32 id = bpf_get_current_pid_tgid() >> 32;", ""},
			{"missing delete", "	bpf_map_delete_elem(&started, &id);", "", ""},
			{"delete only on success", "	bpf_map_delete_elem(&started, &id);", "	if (ctx->ret >= 0)\n		bpf_map_delete_elem(&started, &id);", ""},
			{"ns for us", " / 1000;", ";", "took"},
			{"error return ignored", "if (ctx->ret >= 0)", "", "events"},
			{"exit not looked up", "		return 0;", "		at = &(__u64){0};", "events"},
			{"first start wins", "k_put(&started, &id, &now);", "if (!bpf_map_lookup_elem(&started, &id)) k_put(&started, &id, &now);", ""},
			{"loss unsaid", "k_put(&started, &id, &now);", "kgent_map_update_elem(&started, &id, &now, 0);", "counts/map_full"},
		},
	},
	{
		name: "counts",
		contract: `contract "system calls"

table calls { pid: k_pid } : count
table sizes { pid: k_pid } : log2 k_bytes

hook tp_btf/sys_exit(regs, ret)
  case ok: ret > 0
    add 1 to calls[pid: current.tgid]
    add u64(ret) to sizes[pid: current.tgid]
  otherwise nothing
`,
		good: head + `
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, k_pid); __type(value, k_count); } calls SEC(".maps") KGENT_OUTPUT;
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 1024); __type(key, k_pid); __type(value, k_hist_bytes); } sizes SEC(".maps") KGENT_OUTPUT;
SEC("tp_btf/sys_exit")
int BPF_PROG(leave, struct pt_regs *regs, long ret)
{
	k_pid pid = bpf_get_current_pid_tgid() >> 32;
	k_count *n;
	k_hist_bytes *h;
	if (ret <= 0)
		return 0;
	n = k_cell(&calls, &pid, k_count);
	if (n)
		__sync_fetch_and_add(n, 1);
	h = k_cell(&sizes, &pid, k_hist_bytes);
	if (h)
		k_hist_add(h, ret);
	return 0;
}
`,
		bad: []variant{
			{"not atomic", "__sync_fetch_and_add(n, 1)", "(*n)++", "atomic/calls"},
			{"errors counted", "if (ret <= 0)", "if (ret == 0)", ""},
			{"ends counted", "if (ret <= 0)", "if (ret < 0)", ""},
			{"wrong slot", "k_hist_add(h, ret)", "__sync_fetch_and_add(&h->slot[(k_log2_slot(ret) + 1) & 63], 1)", "sizes"},
			{"counted twice", "__sync_fetch_and_add(n, 1)", "__sync_fetch_and_add(n, 2)", "calls"},
			{"wrong key", "bpf_get_current_pid_tgid() >> 32", "bpf_get_current_pid_tgid()", "key"},
		},
	},
	{
		name: "verdict",
		contract: `contract "Drops"

table drops { ethertype: k_ethproto } : count

hook xdp()
  case arp: packet.len >= 14 && packet.be16(12) == htons(0x0806)
    add 1 to drops[ethertype: ETH_P_ARP]
    return XDP_DROP
  otherwise
    return XDP_PASS
`,
		good: head + `
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 256); __type(key, k_ethproto); __type(value, k_count); } drops SEC(".maps") KGENT_OUTPUT;
SEC("xdp")
int filter(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	k_ethproto key = ETH_P_ARP;
	k_count *n;
	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_ARP))
		return XDP_PASS;
	n = k_cell(&drops, &key, k_count);
	if (n)
		(*n)++;
	return XDP_DROP;
}
`,
		bad: []variant{
			{"other verdict", "return XDP_DROP", "return XDP_ABORTED", "return"},
			{"host order", "bpf_htons(ETH_P_ARP)", "ETH_P_ARP", ""},
			{"all passes", "return XDP_DROP", "return XDP_PASS", "return"},
		},
	},
}

func TestPairs(t *testing.T) {
	for _, p := range pairs {
		t.Run(p.name, func(t *testing.T) {
			r := verify(t, p.good, p.contract, patient)
			if r.Verdict != Verified {
				t.Errorf("the good program: %s", r.Text())
			}
			for _, v := range p.bad {
				t.Run(v.name, func(t *testing.T) {
					if !strings.Contains(p.good, v.from) {
						t.Fatalf("the program has no %q", v.from)
					}
					r := verify(t, strings.ReplaceAll(p.good, v.from, v.to), p.contract, patient)
					if r.Verdict != Refuted {
						t.Fatalf("want REFUTED: %s", r.Text())
					}
					if !strings.Contains(r.Counterexample.Obligation, v.want) {
						t.Errorf("the obligation is %s, want one about %s", r.Counterexample.Obligation, v.want)
					}
					if r.Feedback() == "" {
						t.Error("no feedback")
					}
					t.Logf("%s", r.Feedback())
				})
			}
		})
	}
}

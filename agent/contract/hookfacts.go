package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// interrupts are hooks that run while a packet, a timer or a device is handled, so that
// the current task is whoever was interrupted.
var interrupts = map[string]string{
	"tp_btf/tcp_retransmit_skb":          "a retransmission happens on a timer or while a packet is handled",
	"tp_btf/tcp_retransmit_synack":       "a SYN-ACK is sent again on a timer",
	"tp_btf/tcp_receive_reset":           "a reset arrives while a packet is handled",
	"tp_btf/tcp_send_reset":              "a reset is mostly sent while a packet is handled",
	"tp_btf/tcp_probe":                   "it runs while a packet is handled",
	"tp_btf/block_rq_complete":           "a request completes in an interrupt",
	"tp_btf/block_io_done":               "a request completes in an interrupt",
	"tp_btf/kfree_skb":                   "packets are mostly dropped while others run",
	"tp_btf/netif_receive_skb":           "packets arrive while others run",
	"tp_btf/napi_poll":                   "packets arrive while others run",
	"tp_btf/softirq_entry":               "it runs in an interrupt",
	"tp_btf/softirq_exit":                "it runs in an interrupt",
	"tp_btf/irq_handler_entry":           "it runs in an interrupt",
	"tp_btf/irq_handler_exit":            "it runs in an interrupt",
	"tp_btf/timer_expire_entry":          "it runs in an interrupt",
	"tp_btf/hrtimer_expire_entry":        "it runs in an interrupt",
	"tp_btf/sched_wakeup":                "the current task is the one that wakes, not the one that is woken",
	"tp_btf/sched_wakeup_new":            "the current task is the one that wakes, not the one that is woken",
	"tp_btf/sched_process_free":          "a task is freed later, by whoever runs then",
	"tracepoint/block/block_rq_complete": "a request completes in an interrupt",
}

// taskStates are the new states that a socket enters in the task that does it, with
// their numbers (include/net/tcp_states.h, part of the kernel's interface).
var taskStates = map[string]uint64{"TCP_SYN_SENT": 2, "TCP_FIN_WAIT1": 4, "TCP_LAST_ACK": 9, "TCP_LISTEN": 10}

// tcpStates is more than there are states.
const tcpStates = 32

// forbids says why an input has no meaning at a place, or "".
func (p *CheckedPlace) forbids(name string) string {
	net := strings.HasPrefix(p.Kind, "cgroup_skb") || strings.HasPrefix(p.Kind, "tcx")
	switch {
	case strings.HasPrefix(name, "packet"):
		if p.Kind != "xdp" && !net {
			return fmt.Sprintf("there is no packet at %s", p.Place)
		}
		if name == "packet.cgroup" && !strings.HasPrefix(p.Kind, "cgroup_skb") && p.Kind != "tcx/egress" {
			return fmt.Sprintf("at %s a packet belongs to no cgroup", p.Place)
		}
	case strings.HasPrefix(name, "current") && (p.Kind == "xdp" || net):
		return fmt.Sprintf("%s: at %s no task can be named, for packets are handled while any task runs", name, p.Place)
	case strings.HasPrefix(name, "current") || name == "user_stack":
		if why := interrupts[p.Place.String()]; why != "" {
			return fmt.Sprintf("%s means nothing at %s: %s", name, p.Place, why)
		}
	}
	return ""
}

// needsTask checks that the task is asked for only where a socket changes its state in the
// task that does it: the condition of the case cannot hold for another new state. nil is the
// condition of what follows "otherwise".
func (k *checker) needsTask(p *CheckedPlace, when *Value, effects []CheckedEffect) {
	if p.Kind != "tp_btf" || p.Target != "inet_sock_set_state" || when != nil && p.onlyTaskStates(when) {
		return
	}
	seen := map[*Value]bool{}
	var visit func(v *Value)
	visit = func(v *Value) {
		if v == nil || seen[v] {
			return
		}
		seen[v] = true
		if v.Op == OpInput && (strings.HasPrefix(v.Name, "current") || v.Name == "user_stack") {
			k.errorf(v.At, "%s means nothing at %s for most changes, which happen while a packet is handled; "+
				"ask in the case's condition for one that a task makes: newstate == %s", v.Name, p.Place, strings.Join(keys(taskStates), ", "))
		}
		for _, a := range v.Args {
			visit(a)
		}
	}
	visit(when)
	for _, e := range effects {
		for _, v := range slices.Concat(e.Key, e.Fields, []*Value{e.Value}) {
			visit(v)
		}
	}
}

// onlyTaskStates tells whether a condition implies that the new state is one of taskStates:
// it is false for all others, whatever else it depends on.
func (p *CheckedPlace) onlyTaskStates(when *Value) bool {
	arg := slices.IndexFunc(p.Place.Args, func(a Arg) bool { return a.Name == "newstate" })
	if arg < 0 {
		return false
	}
	for state := range uint64(tcpStates) {
		if slices.Contains(slices.Collect(maps.Values(taskStates)), state) {
			continue
		}
		if v := withArg(when, arg, state, map[*Value]*Value{}); v.Op != OpConst || v.Bits != 0 {
			return false
		}
	}
	return true
}

// withArg is a value with a number in the place of an argument.
func withArg(v *Value, arg int, n uint64, done map[*Value]*Value) *Value {
	if out := done[v]; out != nil {
		return out
	}
	out := *v
	if v.Op == OpArg && v.Index == arg {
		out = Value{Op: OpConst, Bits: n, Type: v.Type, From: v.From, At: v.At}
	}
	out.Args = make([]*Value, len(v.Args))
	for i, a := range v.Args {
		out.Args[i] = withArg(a, arg, n, done)
	}
	done[v] = fold(&out)
	return done[v]
}

// early are fields that the kernel sets only after a hook has run, or has cleared by
// then: what to read instead.
var early = map[string]map[string]string{
	"tcp_v4_connect": {"skc_dport": "at the entry of tcp_v4_connect the socket has no destination yet; take it from the address argument, or read it at the return",
		"skc_daddr": "at the entry of tcp_v4_connect the socket has no destination yet; take it from the address argument, or read it at the return",
		"skc_num":   "at the entry of tcp_v4_connect the socket has no local port yet"},
	"tcp_v6_connect": {"skc_dport": "at the entry of tcp_v6_connect the socket has no destination yet; take it from the address argument, or read it at the return",
		"skc_v6_daddr": "at the entry of tcp_v6_connect the socket has no destination yet; take it from the address argument, or read it at the return",
		"skc_num":      "at the entry of tcp_v6_connect the socket has no local port yet"},
	"tcp_v4_syn_recv_sock": {"skc_dport": "the first argument of tcp_v4_syn_recv_sock is the listening socket, which has no other end",
		"skc_daddr": "the first argument of tcp_v4_syn_recv_sock is the listening socket, which has no other end"},
}

// tooEarly says why a field means nothing at a place, or "".
func (p *CheckedPlace) tooEarly(field string) string {
	if p.Kind != "kprobe" && p.Kind != "fentry" {
		return ""
	}
	return early[p.Target][field]
}

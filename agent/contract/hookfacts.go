package contract

import (
	"fmt"
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

// taskStates are the new states that a socket enters in the task that does it.
var taskStates = []string{"TCP_SYN_SENT", "TCP_FIN_WAIT1", "TCP_LAST_ACK", "TCP_LISTEN"}

// forbids says why an input has no meaning at a place, or "".
func (p *CheckedPlace) forbids(name string, k *checker) string {
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
		if p.Target == "inet_sock_set_state" && p.Kind == "tp_btf" && !k.stateChosen(p) {
			return fmt.Sprintf("%s means nothing at %s for most changes, which happen while a packet is handled; "+
				"ask in the case's condition for one that a task makes: newstate == %s", name, p.Place, strings.Join(taskStates, ", "))
		}
	}
	return ""
}

// stateChosen tells whether the case at hand asks for a change that a task makes.
// In the condition itself, which is being resolved, the answer is not there yet;
// there the text decides.
func (k *checker) stateChosen(p *CheckedPlace) bool {
	for _, s := range p.Hook.Steps {
		for _, c := range s.Cases {
			if c.When == nil {
				continue
			}
			text := ExprString(c.When)
			chosen := slices.ContainsFunc(taskStates, func(state string) bool {
				return strings.Contains(text, "newstate == "+state) || strings.Contains(text, "newstate in {"+state)
			})
			if chosen && (k.caseAt == nil || k.caseAt == c) {
				return true
			}
		}
	}
	return false
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

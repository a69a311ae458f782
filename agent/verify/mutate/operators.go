package mutate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// sourceOperator makes one kind of mistake wherever it can be made.
type sourceOperator struct {
	name, means string
	apply       func(*file) []change
}

var sourceOperators = []sourceOperator{
	{"bswap-drop", "a value in network byte order is taken as it is", bswapDrop},
	{"bswap-insert", "a value in host byte order is swapped", bswapInsert},
	{"end-swap", "the other end: source for destination, local for remote", swapWords(ends)},
	{"order-twin", "the same quantity in the other byte order: skc_num, skc_dport", swapWords(twins)},
	{"id-swap", "thread for process, or user for group", idSwap},
	{"comm-scope", "the thread's name for the process's, or the reverse", commScope},
	{"sibling-field", "a neighbouring field of the same object", swapWords(siblings)},
	{"family-drop", "one address family or protocol is forgotten", familyDrop},
	{"case-drop", "one case of a switch is forgotten", caseDrop},
	{"hook-sibling", "another hook that sounds alike", hookSibling},
	{"hook-side", "entry for return, ingress for egress, or the reverse", hookSide},
	{"arg-next", "the next argument of the hook, or two exchanged", argNext},
	{"error-ignored", "the outcome of a helper is not looked at", guardWith(true, "&& 0")},
	{"guard-never", "a condition that is never true", guardWith(false, "&& 0")},
	{"guard-always", "a condition that is always true", guardAlways},
	{"guard-negate", "a condition is turned round", guardNegate},
	{"operand-drop", "one part of a condition is forgotten", operandDrop},
	{"and-or", "and for or, or the reverse", swapWords(pairs("&&", "||"))},
	{"equal", "equal for unequal, or the reverse", swapWords(pairs("==", "!="))},
	{"boundary", "a bound is off by one", swapWords(pairs("<", "<=", ">", ">="))},
	{"relation", "smaller for larger, or the reverse", swapWords(map[string][]string{"<": {">"}, ">": {"<"}, "<=": {">="}, ">=": {"<="}})},
	{"else-drop", "the other branch is forgotten", elseDrop},
	{"delete-drop", "what was remembered is not forgotten", callDrop("bpf_map_delete_elem")},
	{"update-drop", "what has to be remembered is not", callDrop("k_put", "bpf_map_update_elem")},
	{"early-delete", "what is remembered is forgotten before it is used", earlyDelete},
	{"unit", "another unit of time or size", unit},
	{"clock", "another clock", swapWords(map[string][]string{"bpf_ktime_get_ns": {"bpf_ktime_get_boot_ns", "bpf_jiffies64"}, "bpf_ktime_get_boot_ns": {"bpf_ktime_get_ns"}})},
	{"sizeof-pointer", "the size of the pointer for that of the object", sizeofPointer},
	{"size-cut", "a size that is too small", sizeCut},
	{"zero-drop", "memory that is not cleared", zeroDrop},
	{"space-swap", "user memory for the kernel's, or the reverse", swapWords(spaces)},
	{"assign-drop", "a field is not filled in", assignDrop},
	{"constant", "a field always has the same value", constant},
	{"value-swap", "two fields are exchanged", valueSwap},
	{"truncate", "a value loses its upper half", truncate},
	{"signedness", "a signed value is taken for an unsigned one", signedness},
	{"atomic-drop", "a counter that many share is changed without care", atomicDrop},
	{"twice", "an event or a value counts twice", twice},
	{"submit-discard", "an event is thrown away, or not", swapWords(pairs("bpf_ringbuf_submit", "bpf_ringbuf_discard"))},
	{"early-emit", "an event is shown before it is decided whether it should be", earlyEmit},
	{"wrong-map", "another map of the same shape", wrongMap},
	{"number", "a number is off by one", numberNext},
	{"arithmetic", "plus for minus, left for right", swapWords(pairs("+", "-", "<<", ">>", "+=", "-=", "++", "--"))},
	{"mask", "and for or, or the reverse", mask},
	{"term-drop", "one side of a difference or sum is forgotten", termDrop},
	{"step", "a counter takes another step", step},
	{"stack-side", "the kernel's stack for the user's, or the reverse", stackSide},
	{"verdict", "another verdict", swapWords(verdicts)},
	{"count-drop", "what is to be counted is not", countDrop},
	{"enumerator", "another value of the same enum", enumerator},
	{"boolean", "true for false, or the reverse", swapWords(pairs("true", "false"))},
	{"update-flags", "an update that overwrites, or does not", swapWords(pairs("BPF_NOEXIST", "BPF_ANY"))},
}

// pairs maps each word to its partner; they come in twos.
func pairs(words ...string) map[string][]string {
	m := map[string][]string{}
	for i := 0; i+1 < len(words); i += 2 {
		m[words[i]], m[words[i+1]] = []string{words[i+1]}, []string{words[i]}
	}
	return m
}

var (
	ends = pairs("saddr", "daddr", "sport", "dport", "laddr", "raddr", "lport", "rport", "skc_daddr", "skc_rcv_saddr",
		"skc_v6_daddr", "skc_v6_rcv_saddr", "h_source", "h_dest", "source", "dest", "prev", "next", "oldstate", "newstate", "sender", "receiver", "reads", "writes",
		"sent", "received", "sent_packets", "received_packets")
	twins    = pairs("skc_num", "skc_dport", "inet_sport", "inet_num")
	siblings = pairs("major", "first_minor", "bytes_sent", "bytes_received", "start_time", "start_boottime", "real_parent", "group_leader",
		"utime", "stime", "exit_code", "exit_signal", "sk_err", "sk_err_soft", "real_cred", "cred", "old_dir", "new_dir",
		"total_vm", "locked_vm", "saddr_v6", "daddr_v6", "h_proto", "h_vlan_proto", "orig_ax", "ax")
	spaces = pairs("bpf_probe_read_user", "bpf_probe_read_kernel", "bpf_probe_read_user_str", "bpf_probe_read_kernel_str",
		"BPF_CORE_READ", "BPF_CORE_READ_USER", "BPF_CORE_READ_INTO", "BPF_CORE_READ_USER_INTO", "BPF_CORE_READ_STR_INTO", "BPF_CORE_READ_USER_STR_INTO",
		"bpf_core_read", "bpf_core_read_user", "bpf_core_read_str", "bpf_core_read_user_str")
	verdicts = pairs("XDP_PASS", "XDP_DROP", "TC_ACT_OK", "TC_ACT_SHOT", "TCX_NEXT", "TCX_DROP", "XDP_TX", "XDP_ABORTED")
)

// swapWords replaces each token in a function that has partners by each of
// them.
func swapWords(partners map[string][]string) func(*file) []change {
	return func(f *file) []change {
		var out []change
		for i, t := range f.tokens {
			if !f.body[i] || t.kind == text {
				continue
			}
			if t.kind == punct && f.unary(i) {
				continue
			}
			for _, p := range partners[t.text] {
				out = append(out, f.put(i, i+1, p))
			}
		}
		return out
	}
}

// unary reports whether the operator at i has no left operand.
func (f *file) unary(i int) bool {
	if !f.is(i, "+", "-", "&", "*") {
		return false
	}
	return !f.word(i-1) && !f.is(i-1, ")", "]") && (i == 0 || f.tokens[i-1].kind != number) || f.is(i-1, "return", "case")
}

var swaps = []string{
	"bpf_ntohs", "bpf_htons", "bpf_ntohl", "bpf_htonl", "bpf_be64_to_cpu", "bpf_cpu_to_be64", "bpf_be16_to_cpu", "bpf_be32_to_cpu",
	"bpf_cpu_to_be16", "bpf_cpu_to_be32", "ntohs", "ntohl", "htons", "htonl", "__builtin_bswap16", "__builtin_bswap32", "__builtin_bswap64",
}

func bswapDrop(f *file) []change {
	var out []change
	for _, c := range f.calls {
		if slices.Contains(swaps, f.tokens[c.name].text) {
			out = append(out, f.put(c.name, c.name+1, ""))
		}
	}
	return out
}

// bswapInsert swaps what is assigned to a member that has a byte order.
func bswapInsert(f *file) []change {
	swap := map[string]string{
		"k_port": "bpf_ntohs", "k_be16": "bpf_ntohs", "k_ethproto": "bpf_ntohs", "k_family": "bpf_ntohs", "__be16": "bpf_ntohs", "__u16": "bpf_ntohs",
		"k_ipv4": "bpf_ntohl", "__be32": "bpf_ntohl",
	}
	var out []change
	for _, a := range f.assigns {
		if s := swap[f.members[a.target]]; s != "" && !a.declares {
			out = append(out, f.wrap(a.eq+1, a.end, s+"(", ")"))
		}
	}
	return out
}

// wrap puts text around a range of tokens.
func (f *file) wrap(from, to int, before, after string) change {
	a, b := f.tokens[from].from, f.tokens[to-1].to
	return change{f.tokens[from].line, []edit{{a, a, before}, {b, b, after}}}
}

func idSwap(f *file) []change {
	out := swapWords(pairs("k_current_pid", "k_current_tid", "pid", "tgid", "k_current_uid", "k_current_gid"))(f)
	for i, c := range out { // there is no k_current_gid
		if c.edits[0].text == "k_current_gid" {
			out[i].edits[0] = edit{c.edits[0].from, c.edits[0].to + len("()"), "(__u32)(bpf_get_current_uid_gid() >> 32)"}
		}
	}
	out = slices.DeleteFunc(out, func(c change) bool { return !f.afterArrowOrCall(c.edits[0].from) })
	for _, c := range f.calls {
		if !f.is(c.name, "bpf_get_current_pid_tgid", "bpf_get_current_uid_gid") {
			continue
		}
		if f.is(c.close+1, ">>") {
			out = append(out, f.put(c.close+1, c.close+3, ""))
		} else {
			out = append(out, f.wrap(c.name, c.close+1, "(", " >> 32)"))
		}
	}
	return out
}

// afterArrowOrCall reports whether the token at a byte reads something: a
// function that is called, or a member in an accessor's arguments. Parameters
// of the program and members of its own events that happen to be called pid are
// left alone.
func (f *file) afterArrowOrCall(at int) bool {
	i := slices.IndexFunc(f.tokens, func(t token) bool { return t.from == at })
	if f.is(i+1, "(") {
		return true
	}
	for _, c := range f.calls {
		if c.open < i && i < c.close && len(c.args) > 1 && i >= c.args[1][0] && strings.Contains(f.tokens[c.name].text, "CORE_READ") {
			return true
		}
	}
	return false
}

func commScope(f *file) []change {
	var out []change
	for _, c := range f.calls {
		switch {
		case f.is(c.name, "k_process_comm") && len(c.args) == 2:
			out = append(out, f.put(c.name, c.close+1, fmt.Sprintf("bpf_get_current_comm(%s, TASK_COMM_LEN)", f.text(c.args[0][0], c.args[0][1]))))
		case f.is(c.name, "bpf_get_current_comm") && len(c.args) == 2:
			out = append(out, f.put(c.name, c.close+1, fmt.Sprintf("k_process_comm(%s, (const void *)bpf_get_current_task())", f.text(c.args[0][0], c.args[0][1]))))
		}
	}
	return out
}

func familyDrop(f *file) []change {
	return swapWords(map[string][]string{
		"AF_INET6": {"0xffff"}, "AF_INET": {"0xffff"}, "ETH_P_IPV6": {"0xfff1"}, "ETH_P_IP": {"0xfff2"}, "ETH_P_8021Q": {"0xfff3"}, "ETH_P_8021AD": {"0xfff4"},
		"IPPROTO_TCP": {"0xfe"}, "IPPROTO_UDP": {"0xfd"}, "IPPROTO_MPTCP": {"0xfc"}, "IPPROTO_FRAGMENT": {"0xfb"},
	})(f)
}

func caseDrop(f *file) []change {
	var out []change
	for i := range f.tokens {
		if !f.body[i] || !f.is(i, "case") {
			continue
		}
		end := i
		for end < len(f.tokens) && !f.is(end, ":") {
			end++
		}
		if end < len(f.tokens) {
			out = append(out, f.put(i, end+1, ";"))
		}
	}
	return out
}

// sections calls change with every section of a program, and collects what it
// gives.
func sections(f *file, other func(section string) []string) []change {
	var out []change
	for i := range f.tokens {
		if !f.is(i, "SEC") || !f.is(i+1, "(") || i+2 >= len(f.tokens) || f.tokens[i+2].kind != text {
			continue
		}
		s := strings.Trim(f.tokens[i+2].text, `"`)
		if s == "license" || strings.HasPrefix(s, ".") {
			continue
		}
		for _, o := range other(s) {
			out = append(out, f.put(i+2, i+3, strconv.Quote(o)))
		}
	}
	return out
}

// alike are hooks that are taken for one another, with arguments of types that
// let a program for one load at the other. Each stands for the first part of
// what it replaces.
var alike = [][2]string{
	{"sys_enter_openat2", "sys_enter_openat"}, {"sys_enter_openat", "sys_enter_open"}, {"sys_enter_open", "sys_enter_openat"}, {"sys_exit_openat", "sys_exit_open"},
	{"sys_exit_accept4", "sys_exit_accept"}, {"sys_exit_accept", "sys_exit_accept4"},
	{"sys_enter_unlinkat", "sys_enter_unlink"}, {"sys_enter_unlink", "sys_enter_rmdir"}, {"sys_enter_rmdir", "sys_enter_unlink"}, {"sys_enter_renameat2", "sys_enter_renameat"}, {"sys_enter_rename", "sys_enter_link"},
	{"sys_enter_execve", "sys_enter_execveat"}, {"sys_enter_fsync", "sys_enter_fdatasync"}, {"sys_exit_fsync", "sys_exit_fdatasync"},
	{"sys_enter_fdatasync", "sys_enter_fsync"}, {"sys_enter_setuid", "sys_enter_setgid"}, {"sys_enter_setreuid", "sys_enter_setresuid"}, {"sys_enter_mount", "sys_enter_umount"},
	{"tp_btf/block_rq_issue", "tp_btf/block_rq_insert"}, {"tp_btf/block_rq_insert", "tp_btf/block_rq_issue"}, {"tp_btf/block_io_start", "tp_btf/block_io_done"}, {"tp_btf/block_rq_complete", "tp_btf/block_rq_error"},
	{"tp_btf/sched_wakeup_new", "tp_btf/sched_waking"}, {"tp_btf/sched_wakeup", "tp_btf/sched_waking"}, {"tp_btf/sched_process_exit", "tp_btf/sched_process_free"}, {"tp_btf/sched_process_free", "tp_btf/sched_process_exit"},
	{"tp_btf/tcp_receive_reset", "tp_btf/tcp_destroy_sock"}, {"tp_btf/tcp_retransmit_skb", "tp_btf/tcp_send_reset"}, {"tp_btf/tcp_send_reset", "tp_btf/tcp_retransmit_skb"},
	{"tp_btf/signal_generate", "tp_btf/signal_deliver"}, {"tp/signal/signal_deliver", "tp/signal/signal_generate"}, {"tp_btf/sched_process_exec", "tp_btf/sched_process_fork"},
	{"page_fault_user", "page_fault_kernel"}, {"page_fault_kernel", "page_fault_user"}, {"tcp_v4_connect", "tcp_connect"}, {"tcp_connect", "tcp_v4_connect"}, {"getaddrinfo", "gethostbyname"},
	{"cpu-clock", "task-clock"}, {"tp_btf/inet_sock_set_state", "tp_btf/sk_data_ready"},
}

func hookSibling(f *file) []change {
	return sections(f, func(s string) []string {
		var out []string
		for _, a := range alike {
			if strings.HasSuffix(s, a[0]) {
				out = append(out, strings.TrimSuffix(s, a[0])+a[1])
				break
			}
		}
		return out
	})
}

func hookSide(f *file) []change {
	sides := [][2]string{
		{"sys_enter", "sys_exit"}, {"sys_exit", "sys_enter"}, {"uretprobe/", "uprobe/"}, {"uprobe/", "uretprobe/"}, {"kretprobe/", "kprobe/"}, {"kprobe/", "kretprobe/"},
		{"fentry/", "fexit/"}, {"fexit/", "fentry/"}, {"ingress", "egress"}, {"egress", "ingress"},
	}
	return sections(f, func(s string) []string {
		for _, p := range sides {
			if strings.Contains(s, p[0]) {
				return []string{strings.Replace(s, p[0], p[1], 1)}
			}
		}
		return nil
	})
}

// argNext makes each argument of a program the one that follows it: from the
// i-th on, what the hook passes arrives one place late. Or it exchanges two that
// follow one another.
func argNext(f *file) []change {
	var out []change
	for i := range f.tokens {
		if f.is(i, "BPF_PROG", "BPF_KPROBE", "BPF_UPROBE", "BPF_KSYSCALL") && f.is(i+1, "(") {
			args := f.list(i+2, f.pair[i+1])
			for n, a := range args[min(1, len(args)):] {
				out = append(out, f.insert(a[0], fmt.Sprintf("void *_skipped%d, ", n)))
			}
			for n := 2; n < len(args); n++ {
				a, b := args[n-1], args[n]
				out = append(out, change{f.tokens[a[0]].line, []edit{f.edit(a[0], a[1], f.text(b[0], b[1])), f.edit(b[0], b[1], f.text(a[0], a[1]))}})
			}
		}
		if f.body[i] && f.is(i, "args") && f.is(i+1, "[") && i+2 < len(f.tokens) && f.tokens[i+2].kind == number {
			if n, err := strconv.Atoi(f.tokens[i+2].text); err == nil {
				out = append(out, f.put(i+2, i+3, itoa(n+1)))
			}
		}
	}
	return out
}

// effects reports whether a range of tokens calls a helper, so that dropping
// it would drop more than a condition.
func (f *file) effects(from, to int) bool {
	return slices.ContainsFunc(f.calls, func(c call) bool {
		return from <= c.name && c.name < to && (strings.HasPrefix(f.tokens[c.name].text, "bpf_") || f.is(c.name, "k_put", "k_ends_of"))
	})
}

// guardWith joins every condition, with or without helpers in it, with more.
func guardWith(helpers bool, more string) func(*file) []change {
	return func(f *file) []change {
		var out []change
		for _, c := range f.conditions {
			if f.effects(c[0], c[1]) == helpers && c[0] < c[1] {
				out = append(out, f.wrap(c[0], c[1], "(", ") "+more))
			}
		}
		return out
	}
}

func guardAlways(f *file) []change {
	return append(guardWith(false, "|| 1")(f), guardWith(true, "|| 1")(f)...)
}

func guardNegate(f *file) []change {
	var out []change
	for _, c := range f.conditions {
		if c[0] < c[1] {
			out = append(out, f.wrap(c[0], c[1], "!(", ")"))
		}
	}
	return out
}

func operandDrop(f *file) []change {
	var out []change
	done := map[int]bool{} // joints: places can lie within others
	for _, c := range f.places() {
		parts, joints := f.operands(c[0], c[1])
		for i, j := range joints {
			if done[j] {
				continue
			}
			done[j] = true
			// The joint goes with the operand on either side of it.
			if i == 0 {
				out = append(out, f.put(parts[0][0], j+1, ""))
			}
			out = append(out, f.put(j, parts[i+1][1], ""))
		}
	}
	return out
}

// places are where conditions stand: in if, after return, on the right of an
// equals sign, and in parentheses within.
func (f *file) places() [][2]int {
	out := slices.Clone(f.conditions)
	for _, s := range f.statements {
		if f.is(s[0], "return") && s[0]+1 < s[1] {
			out = append(out, [2]int{s[0] + 1, s[1]})
		}
	}
	for _, a := range f.assigns {
		out = append(out, [2]int{a.eq + 1, a.end})
	}
	for i := range f.tokens {
		if end, ok := f.pair[i]; ok && end > i+1 && f.body[i] && f.is(i, "(") && !f.word(i-1) {
			out = append(out, [2]int{i + 1, end})
		}
	}
	return out
}

func elseDrop(f *file) []change {
	var out []change
	for i := range f.tokens {
		if !f.body[i] || !f.is(i, "else") {
			continue
		}
		out = append(out, change{f.tokens[i].line, []edit{f.edit(i, i+1, "else if (0)")}})
	}
	return out
}

// callDrop removes the statements that are a call of one of these functions.
func callDrop(functions ...string) func(*file) []change {
	return func(f *file) []change {
		var out []change
		for _, s := range f.statements {
			if f.is(s[0], functions...) && f.is(s[0]+1, "(") {
				out = append(out, f.put(s[0], s[1], ""))
			}
		}
		return out
	}
}

// earlyDelete moves nothing, but deletes as soon as something was looked up.
func earlyDelete(f *file) []change {
	var out []change
	for _, a := range f.assigns {
		if !f.is(a.eq+1, "bpf_map_lookup_elem") {
			continue
		}
		for _, c := range f.calls {
			if c.name != a.eq+1 || len(c.args) != 2 {
				continue
			}
			// A comma expression: the delete comes first, so the lookup misses.
			out = append(out, f.wrap(c.name, c.close+1, fmt.Sprintf("(bpf_map_delete_elem(%s), ", f.text(c.args[0][0], c.close)), ")"))
		}
	}
	return out
}

func unit(f *file) []change {
	out := swapWords(map[string][]string{"NSEC_PER_USEC": {"NSEC_PER_MSEC"}, "NSEC_PER_MSEC": {"NSEC_PER_USEC"}, "NSEC_PER_SEC": {"NSEC_PER_MSEC"}})(f)
	scaled := []string{"k_ns", "k_us", "k_ms", "k_bytes", "k_pages", "k_time", "k_boottime"}
	for _, a := range f.assigns {
		if slices.Contains(scaled, f.members[a.target]) && !a.declares {
			out = append(out, f.wrap(a.eq+1, a.end, "(", ") / 1000"))
		}
	}
	for _, c := range f.calls {
		if f.is(c.name, "k_hist_add", "k_stats_add") && len(c.args) == 2 {
			out = append(out, f.wrap(c.args[1][0], c.args[1][1], "(", ") / 1000"))
		}
	}
	for i, t := range f.tokens {
		if f.body[i] && t.kind == number && f.is(i-1, "/", "*") && strings.HasPrefix(t.text, "1000") {
			out = append(out, f.put(i-1, i+1, ""), f.put(i, i+1, "1024"))
		}
	}
	return out
}

func sizeofPointer(f *file) []change {
	var out []change
	for i := range f.tokens {
		if !f.body[i] || !f.is(i, "sizeof") || !f.is(i+1, "(") {
			continue
		}
		switch end := f.pair[i+1]; {
		case f.is(i+2, "*"):
			out = append(out, f.put(i+2, i+3, ""))
		case f.is(i+2, "struct") || strings.HasPrefix(f.tokens[i+2].text, "__u") || strings.HasPrefix(f.tokens[i+2].text, "k_"):
			out = append(out, f.insert(end, " *"))
		case end > i+2:
			out = append(out, f.insert(i+2, "&"))
		}
	}
	return out
}

func sizeCut(f *file) []change {
	var out []change
	for i := range f.tokens {
		if f.body[i] && f.is(i, "sizeof") && f.is(i+1, "(") {
			if end, ok := f.pair[i+1]; ok {
				out = append(out, f.wrap(i, end+1, "(", " - 1)"))
			}
		}
	}
	return out
}

func zeroDrop(f *file) []change {
	out := callDrop("__builtin_memset", "memset", "k_zero")(f)
	for _, a := range f.assigns {
		if a.declares && f.is(a.eq+1, "{") && a.end == f.pair[a.eq+1]+1 {
			if a.end == a.eq+3 {
				out = append(out, f.put(a.eq, a.end, ""))
				continue
			}
			// The named members are set, the rest is left as it was.
			var set strings.Builder
			set.WriteString("; ")
			for _, item := range f.list(a.eq+2, a.end-1) {
				if f.is(item[0], ".") {
					set.WriteString(f.tokens[a.lhs].text + f.text(item[0], item[1]) + "; ")
				}
			}
			if f.is(a.end, ";") {
				out = append(out, f.put(a.eq, a.end, strings.TrimSuffix(set.String(), "; ")))
			}
		}
	}
	return out
}

// fields are the assignments that fill in members: of events, keys, values.
func (f *file) fields() []assign {
	var out []assign
	for _, a := range f.assigns {
		if !a.declares && (a.designates || f.is(a.eq-2, "->", ".") || f.is(a.eq-1, "]")) {
			out = append(out, a)
		}
	}
	return out
}

func assignDrop(f *file) []change {
	var out []change
	for _, a := range f.fields() {
		if a.designates {
			out = append(out, f.put(a.eq+1, a.end, "0"))
		} else if f.is(a.end, ";") {
			out = append(out, f.put(a.lhs, a.end, ""))
		}
	}
	for _, s := range f.statements {
		if f.word(s[0]) && f.is(s[0]+1, "(") && f.fills(f.tokens[s[0]].text) {
			out = append(out, f.put(s[0], s[1], ""))
		}
	}
	return out
}

// fills reports whether a function is called for what it writes to its first
// argument.
func (f *file) fills(function string) bool {
	for _, p := range []string{"bpf_probe_read", "BPF_CORE_READ", "bpf_core_read", "bpf_get_current_comm", "k_process_comm", "__builtin_memcpy", "memcpy", "k_ip_from"} {
		if strings.HasPrefix(function, p) {
			return true
		}
	}
	return false
}

func constant(f *file) []change {
	var out []change
	for _, a := range f.fields() {
		out = append(out, f.put(a.eq+1, a.end, "1"))
	}
	return out
}

// valueSwap exchanges what two members of one type get in statements that
// follow one another.
func valueSwap(f *file) []change {
	var out []change
	fields := f.fields()
	for i, a := range fields {
		for _, b := range fields[i+1:] {
			if a.designates || b.designates || b.lhs-a.end > 40 || f.members[a.target] == "" || f.members[a.target] != f.members[b.target] {
				continue
			}
			x, y := f.text(a.eq+1, a.end), f.text(b.eq+1, b.end)
			out = append(out, change{f.tokens[a.eq].line, []edit{f.edit(a.eq+1, a.end, y), f.edit(b.eq+1, b.end, x)}})
			break
		}
	}
	return out
}

func truncate(f *file) []change {
	wide := []string{"k_ns", "k_us", "k_ms", "k_time", "k_boottime", "k_bytes", "k_pages", "k_count", "k_cgroup", "k_inode", "k_addr", "k_hex", "k_ret", "__u64", "__s64", "*"}
	half := []string{"k_pid", "k_tid", "k_uid", "k_gid", "k_errno", "k_dev", "k_mode", "k_ipv4", "__u32", "__s32", "__be32", "k_oflags", "k_mntflags"}
	var out []change
	for _, a := range f.fields() {
		switch t := f.members[a.target]; {
		case t == "*":
			out = append(out, f.wrap(a.eq+1, a.end, "(void *)(__u64)(__u32)(__u64)(", ")"))
		case slices.Contains(wide, t):
			out = append(out, f.wrap(a.eq+1, a.end, "(__u32)(", ")"))
		case slices.Contains(half, t):
			out = append(out, f.wrap(a.eq+1, a.end, "(__u16)(", ")"))
		case t == "k_port" || t == "__u16" || t == "k_ethproto":
			out = append(out, f.wrap(a.eq+1, a.end, "(__u8)(", ")"))
		}
	}
	for _, a := range f.assigns {
		if a.declares && f.is(a.lhs-1, "__u64") {
			out = append(out, f.wrap(a.eq+1, a.end, "(__u32)(", ")"))
		}
	}
	for _, c := range f.calls {
		if f.is(c.name, "k_hist_add", "k_stats_add") && len(c.args) == 2 {
			out = append(out, f.wrap(c.args[1][0], c.args[1][1], "(__u32)(", ")"))
		}
	}
	return out
}

// signedness takes the sign from a parameter or variable of the program.
func signedness(f *file) []change {
	var out []change
	for i := range f.tokens {
		if !f.is(i, "int", "long", "__s32", "__s64") || !f.word(i+1) || !f.is(i+2, ",", ")", "=", ";") || f.is(i-1, "unsigned") {
			continue
		}
		to := map[string]string{"int": "__u32", "long": "__u32", "__s32": "__u32", "__s64": "__u64"}[f.tokens[i].text]
		out = append(out, f.put(i, i+1, to))
		if f.is(i, "long") {
			out = append(out, f.put(i, i+1, "unsigned long"))
		}
	}
	return out
}

func atomicDrop(f *file) []change {
	var out []change
	for _, c := range f.calls {
		if f.is(c.name, "__sync_fetch_and_add", "__sync_add_and_fetch", "__atomic_fetch_add") && len(c.args) >= 2 {
			out = append(out, f.put(c.name, c.close+1, fmt.Sprintf("(*(%s) += %s)", f.text(c.args[0][0], c.args[0][1]), f.text(c.args[1][0], c.args[1][1]))))
		}
	}
	return out
}

// twice repeats what counts. A record that was submitted is gone, so a copy of
// it is sent first.
func twice(f *file) []change {
	var out []change
	for _, s := range f.statements {
		all := f.text(s[0], s[1])
		switch {
		case f.is(s[0], "bpf_ringbuf_output", "bpf_perf_event_output", "k_hist_add", "k_stats_add", "__sync_fetch_and_add"):
			out = append(out, f.put(s[0], s[1], all+"; "+all))
		case f.is(s[0], "bpf_ringbuf_submit"):
			if ring, ev := f.ring(s[0]); ring != "" {
				out = append(out, f.insert(s[0], fmt.Sprintf("bpf_ringbuf_output(%s, %s, sizeof(*%s), 0), ", ring, ev, ev)))
			}
		}
	}
	return out
}

// ring returns the ring buffer of the record that is submitted at a token, by
// the reserve before it, and the record's name.
func (f *file) ring(submit int) (ring, record string) {
	for _, c := range f.calls {
		if c.name > submit {
			break
		}
		if f.is(c.name, "bpf_ringbuf_reserve") && len(c.args) == 3 && f.is(c.name-1, "=") && f.word(c.name-2) {
			ring, record = f.text(c.args[0][0], c.args[0][1]), f.tokens[c.name-2].text
		}
	}
	if ring == "" || !f.is(submit+2, record) {
		return "", ""
	}
	return ring, record
}

// earlyEmit submits where the record was to be thrown away: see submit-discard;
// here a discard on the way is made to never happen.
func earlyEmit(f *file) []change {
	var out []change
	for _, c := range f.calls {
		if !f.is(c.name, "bpf_ringbuf_discard") {
			continue
		}
		for _, k := range f.conditions {
			if k[1] < c.name && c.name-k[1] <= 2 {
				out = append(out, f.wrap(k[0], k[1], "0 && (", ")"))
			}
		}
	}
	return out
}

func wrongMap(f *file) []change {
	var out []change
	for i, t := range f.tokens {
		if !f.body[i] || t.kind != word || !f.is(i-1, "&") {
			continue
		}
		at := slices.IndexFunc(f.maps, func(m mapping) bool { return m.name == t.text })
		if at < 0 {
			continue
		}
		for _, m := range f.maps {
			if own := f.maps[at]; m.name != own.name && m.key == own.key && (m.value == own.value || strings.HasPrefix(own.value, "k_hist") && strings.HasPrefix(m.value, "k_hist")) {
				out = append(out, f.put(i, i+1, m.name))
			}
		}
	}
	return out
}

// numberNext adds one to the numbers of functions, and to the initial values
// of parameters. Where a return value means nothing, it is left alone.
func numberNext(f *file) []change {
	var out []change
	for i, t := range f.tokens {
		if t.kind != number || !f.body[i] || f.is(i-1, "return") && !f.verdicts || f.ignored(i) {
			continue
		}
		digits := strings.TrimRight(t.text, "uUlL")
		v, err := strconv.ParseUint(digits, 0, 64)
		if err == nil {
			out = append(out, f.put(i, i+1, strconv.FormatUint(v+1, 10)+t.text[len(digits):]))
		}
	}
	return out
}

// ignored reports whether the number at i is the flags of a ring buffer call,
// which kgent.bpf.h does not look at, or one of arm64's branch.
func (f *file) ignored(i int) bool {
	return slices.ContainsFunc(f.calls, func(c call) bool {
		return strings.HasPrefix(f.tokens[c.name].text, "bpf_ringbuf_") && len(c.args) > 0 && c.args[len(c.args)-1][0] == i && c.close == i+1
	})
}

func mask(f *file) []change {
	var out []change
	for i := range f.tokens {
		if f.body[i] && f.is(i, "&", "|") && !f.unary(i) {
			out = append(out, f.put(i, i+1, map[string]string{"&": "|", "|": "&"}[f.tokens[i].text]))
		}
	}
	return out
}

// termDrop keeps the left side of "a - b", "a + b", "a << b", "a >> b", "a & b":
// as far as the right side is one name, number, member or parenthesis.
func termDrop(f *file) []change {
	var out []change
	for i := range f.tokens {
		if !f.body[i] || !f.is(i, "-", "+", "<<", ">>", "&", "|", "/", "%") || f.unary(i) {
			continue
		}
		if end := f.operand(i + 1); end > i+1 {
			out = append(out, f.put(i, end, ""))
		}
	}
	return out
}

// operand returns the end of the operand that begins at i.
func (f *file) operand(i int) int {
	for f.is(i, "*", "&", "-", "~", "!") {
		i++
	}
	if end, ok := f.pair[i]; f.is(i, "(") && ok {
		return end + 1
	}
	if i >= len(f.tokens) || f.tokens[i].kind == punct {
		return i
	}
	i++
	for {
		end, paired := f.pair[i]
		switch {
		case f.is(i, "->", ".") && f.word(i+1):
			i += 2
		case f.is(i, "(", "[") && paired:
			i = end + 1
		default:
			return i
		}
	}
}

func step(f *file) []change {
	var out []change
	for i := range f.tokens {
		if !f.body[i] {
			continue
		}
		switch {
		case f.is(i, "++"):
			out = append(out, f.put(i, i+1, " += 2"))
		case f.is(i, "--"):
			out = append(out, f.put(i, i+1, " -= 2"))
		case f.is(i, "+=", "-="):
			out = append(out, f.put(i, i+1, "="))
		case f.is(i, "__sync_fetch_and_add") && f.is(i+1, "("):
			if end := f.pair[i+1]; end > 0 && f.tokens[end-1].kind == number {
				out = append(out, f.put(end-1, end, "2"))
			}
		}
	}
	return out
}

// countDrop leaves out the statements that count.
func countDrop(f *file) []change {
	out := callDrop("k_hist_add", "k_stats_add", "__sync_fetch_and_add")(f)
	for _, s := range f.statements {
		for i := s[0]; i < s[1]; i++ {
			if f.is(i, "++", "--", "+=", "-=") {
				out = append(out, f.put(s[0], s[1], ""))
				break
			}
		}
	}
	return out
}

// enumerator puts the next enumerator of the program's own enums.
func enumerator(f *file) []change {
	var out []change
	for i, t := range f.tokens {
		if next := f.enums[t.text]; next != "" && f.body[i] && !f.is(i-1, "->", ".") {
			out = append(out, f.put(i, i+1, next))
		}
	}
	return out
}

func stackSide(f *file) []change {
	var out []change
	for _, c := range f.calls {
		if !f.is(c.name, "bpf_get_stackid", "bpf_get_stack") || len(c.args) < 3 {
			continue
		}
		flags := c.args[len(c.args)-1]
		to := "BPF_F_USER_STACK"
		if f.is(flags[0], to) {
			to = "0"
		}
		out = append(out, f.put(flags[0], flags[1], to))
	}
	return out
}

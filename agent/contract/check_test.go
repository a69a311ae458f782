package contract

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// at makes a contract of a hook with one case.
func at(place, when, effect, more string) string {
	return fmt.Sprintf("contract \"x\"\n%s\nhook %s\n  case a: %s\n    %s\n  otherwise nothing\n", more, place, when, effect)
}

const event = "event e { t: k_time }"

// TestCheckRefuses holds what is wrong and how it is said. The messages are read by
// people and by models: they say what to do.
func TestCheckRefuses(t *testing.T) {
	sock, emit := "tp_btf/inet_sock_set_state(sk, oldstate, newstate)", "emit e { t: now }"
	given := func(when string) string { return at(sock, when, emit, event) }
	shows := func(typ, is string) string {
		return at("tp_btf/sched_switch(prev, next)", "next.pid != 0", "emit e { t: "+is+" }", "event e { t: "+typ+" }")
	}
	for _, tt := range []struct{ name, text, want string }{
		// names
		{"argument", given("newstat == 1"), "4:11: nothing is called newstat at tp_btf/inet_sock_set_state: no argument, parameter, definition or constant of the kernel; did you mean newstate?"},
		{"hook", at("tp_btf/sched_swich()", "always", emit, event), "3:6: this kernel has no raw tracepoint sched_swich; did you mean sched_switch"},
		{"tracepoint", at("tracepoint/syscalls/sys_enter_fsnyc()", "always", emit, event), "did you mean syscalls:sys_enter_fsync"},
		{"argument of the hook", at("tp_btf/sched_switch(perv)", "perv.pid != 0", emit, event), "tp_btf/sched_switch has no argument perv; it has preempt, prev, next, prev_state; did you mean prev?"},
		{"result at an entry", at("tracepoint/syscalls/sys_enter_fsync(ret)", "ret < 0", emit, event), "runs before there is a result; its end is tracepoint/syscalls/sys_exit_fsync"},
		{"member", given("sk.__sk_common.skc_dprt == 0"), "struct sock_common has no member skc_dprt; did you mean skc_dport"},
		{"member one level down", given("sk.skc_family == AF_INET"), "struct sock has no member skc_family; did you mean __sk_common.skc_family?"},
		{"constant", given("newstate == TCP_SYN_SEND"), "did you mean TCP_SYN_SENT"},
		{"unlike struct", given("as(struct task_struct, sk.sk_peer_pid.tasks[1].first).tgid == 1"), "a struct task_struct does not begin with a struct hlist_node"},
		{"struct", given("as(struct tcp_sok, sk).bytes_sent > 1"), "no type of this kernel is called struct tcp_sok; did you mean tcp_sock"},
		{"type", at(sock, "newstate == 1", emit, "event e { t: time }"), "no type is called time; did you mean k_time?"},
		{"definition", given("is_ipp(sk)"), "no definition or function is called is_ipp; did you mean is_ip?"},
		{"event", at(sock, "newstate == 1", "emit f { t: now }", event), "no event is called f"},
		{"event member", at(sock, "newstate == 1", "emit e { tt: now }", event), "no member of the event e is called tt; did you mean t?"},
		{"missing member", at(sock, "newstate == 1", "emit e { }", event), "the event e is given no t"},
		{"pid of current", shows("k_pid", "current.pid"), "no member of current is called pid; write current.tgid for the process id, current.tid for the thread's"},
		{"assumption", given("newstate == 1") + "assume rooom\n", "no assumption is called rooom; did you mean room?"},
		{"system call", at("tp_btf/sys_enter(id)", "id == SYS_raed", emit, event), "did you mean SYS_read"},
		// byte order
		{"order", given("sk.__sk_common.skc_dport == 443"), "sk.__sk_common.skc_dport is in network byte order, 443 in host order: write ntohs(sk.__sk_common.skc_dport) == 443"},
		{"order of the look-alike", given("ntohs(sk.__sk_common.skc_num) == 443"), "sk.__sk_common.skc_num is in host byte order already: leave ntohs out"},
		{"order of an output", at("tp_btf/tcp_retransmit_skb(sk)", "sk != null", "emit e { t: sk.__sk_common.skc_dport }", "event e { t: k_port }"), "write ntohs(sk.__sk_common.skc_dport)"},
		{"order in a comparison", given("sk.__sk_common.skc_dport > 1024"), "is in network byte order: write ntohs(sk.__sk_common.skc_dport)"},
		{"address", at("tp_btf/tcp_retransmit_skb(sk)", "sk != null", "emit e { t: sk.__sk_common.skc_daddr }", "event e { t: k_ip }"), "write ip4(sk.__sk_common.skc_daddr)"},
		{"width of a conversion", given("ntohs(sk.__sk_common.skc_daddr) == 1"), "has 32 bits; ntohs is for 16"},
		{"twice", given("ntohs(ntohs(sk.__sk_common.skc_dport)) == 443"), "is in host byte order already"},
		// meanings
		{"thread for process", shows("k_pid", "next.pid"), "t wants a process id; next.pid is a thread id: the kernel's pid is the thread; the process is tgid"},
		{"process for thread", shows("k_tid", "next.tgid"), "the thread is tid (the kernel's pid)"},
		{"time for duration", shows("k_ns", "now"), "a duration is the difference of two times"},
		{"ns for us", shows("k_us", "now - now"), "divide by 1000"},
		{"us for ns", shows("k_ns", "(now - now) / 1000"), "t wants a duration in nanoseconds"},
		{"two clocks", shows("k_ns", "now - now_boot"), "the two do not belong together"},
		{"uid for pid", shows("k_pid", "current.uid"), "t wants a process id; current.uid is a user id"},
		// numbers and conditions
		{"number as condition", given("newstate"), "the condition of a is a number, not a condition: write newstate != 0"},
		{"pointer as condition", given("sk && newstate == 1"), "is a pointer, not a condition: write sk != null"},
		{"never", given("sk.__sk_common.skc_family == 70000"), "is never 70000"},
		{"never -1", given("current.uid == -1 && newstate == TCP_SYN_SENT"), "is never -1; all bits set is u32(-1)"},
		{"sign", at("tp_btf/sys_exit(ret)", "ret < u64(now)", emit, event), "say with u64(…) or s64(…) how they are to be taken"},
		{"always true", given("1 == 1"), "the condition of a always holds: write “always” if that is meant"},
		{"never true", given("newstate == 1 && 2 < 1"), "the condition of a can never hold"},
		{"shift", given("(newstate << 70) == 1"), "numbers are shifted by a constant of 0 to 63"},
		{"does not fit", shows("k_port", "70000"), "which has 16 bits, cannot be 70000"},
		{"bool as number", shows("u32", "next.pid != 0"), "a condition becomes a number only as k_bool"},
		{"pointer shown", shows("u64", "u64(next)"), "an address in memory is shown only as k_addr"},
		{"text compared", at("tp_btf/sched_switch(next)", "next.comm == \"a name of more than 16\"", emit, event), "next.comm has at most 15 bytes; the text \"a name of more than 16\" has 22"},
		{"text with pointer", at("tp_btf/sched_process_exec(bprm)", "always", "emit e { t: bprm.filename }", "event e { t: char[64] }"), "write kernel_text(bprm.filename, 64) for the text that it points to"},
		{"text with number", shows("char[16]", "7"), "t wants a text; 7 is a number"},
		// hooks
		{"current in softirq", at("tp_btf/tcp_retransmit_skb(sk)", "current.tgid == 1", emit, event), "current.tgid means nothing at tp_btf/tcp_retransmit_skb: a retransmission happens on a timer"},
		{"container in softirq", at("tp_btf/tcp_retransmit_skb(sk)", "inside(\"container:web\")", emit, event), "current.inside means nothing at tp_btf/tcp_retransmit_skb: a retransmission happens on a timer"},
		{"container at xdp", at("xdp()", "inside(\"pod:shop/web-1\")", "return XDP_PASS", event), "at xdp no task can be named"},
		{"no container's name", at("tracepoint/syscalls/sys_enter_getpid()", "inside(\"web\")", emit, event), "\"web\" names no containers: write container:NAME"},
		{"a container that is a number", at("tracepoint/syscalls/sys_enter_getpid()", "inside(7)", emit, event), "it is used as inside(\"container:NAME\"), with a name that is written out"},
		{"two containers", at("tracepoint/syscalls/sys_enter_getpid()", "inside(\"container:a\") || inside(\"container:b\")", emit, event), "a run is narrowed to one place, and this names two: container:a and container:b"},
		{"current at xdp", at("xdp()", "current.tgid == 1", "return XDP_PASS", event), "no task can be named"},
		{"current at other state changes", given("newstate == TCP_CLOSE && current.tgid == 1"), "means nothing at tp_btf/inet_sock_set_state for most changes"},
		{"current at other state changes too", given("(newstate == TCP_SYN_SENT || oldstate == TCP_SYN_SENT) && current.tgid == 1"), "means nothing at tp_btf/inet_sock_set_state for most changes"},
		{"current when a state is left", given("!(newstate == TCP_SYN_SENT) && current.tgid == 1"), "means nothing at tp_btf/inet_sock_set_state for most changes"},
		{"current at one state too many", given("newstate in {TCP_SYN_SENT, TCP_ESTABLISHED} && current.tgid == 1"), "means nothing at tp_btf/inet_sock_set_state for most changes"},
		{"packet elsewhere", given("packet.len > 1"), "there is no packet at tp_btf/inet_sock_set_state"},
		{"too early", at("kprobe/tcp_v4_connect(sk)", "ntohs(sk.__sk_common.skc_dport) == 443", emit, event), "at the entry of tcp_v4_connect the socket has no destination yet"},
		{"no verdict", at("xdp()", "packet.len > 1", "emit e { t: now }", event), "exactly one step has to say “return …” in all its cases, not 0"},
		{"half a verdict", at("xdp()", "packet.len > 1", "return XDP_PASS", event), "some cases return a value and some do not"},
		{"verdict that means nothing", at("tp_btf/sched_switch()", "always", "return 0", event), "leave “return” out"},
		{"arguments of a call", at("tracepoint/syscalls/sys_enter_openat(filename)", "filename != null", emit, event), "name the arguments of a system call from the first on, in order: not every kernel keeps their names, and filename is number 2"},
		{"pointer of a process", at("tracepoint/syscalls/sys_enter_openat(dfd, filename)", "filename[0] != 0", emit, event), "read it with user_text(p, n), as(struct NAME, p).member or user_bytes(p, n)"},
		// texts, names and networks
		{"host in a network", given("is_ip(sk) && remote_ip(sk) == \"10.0.0.5/8\""), "10.0.0.5/8 has bits behind its first 8: the network is 10.0.0.0/8"},
		{"no network", given("is_ip(sk) && remote_ip(sk) in {\"10.0.0/8\"}"), "\"10.0.0/8\" is no network, such as \"10.0.0.0/8\""},
		{"a name shown as a text", at("cgroup_skb/egress()", "packet.len > 40", "emit e { t: packet.dnsname(40) } return 1", "event e { t: char[64] }"), "declare it as k_dnsname, which is shown with dots"},
		{"a name compared with a text", at("cgroup_skb/egress()", "packet.dnsname(40) == packet.text(40, 128)", "return 1", event), "they cannot be compared"},
		{"no name", at("cgroup_skb/egress()", "packet.dnsname(40) == \"a..b\"", "return 1", event), "\"a..b\" is no DNS name"},
		{"the beginning of a name", at("cgroup_skb/egress()", "starts(packet.dnsname(40), \"www\")", "return 1", event), "starts takes two texts"},
		{"a name as a parameter", given("newstate == 1") + "param n: k_dnsname\n", "no parameter is a k_dnsname"},
		{"until of a number", given("until(newstate, \" \") == \"a\""), "until takes a text of a known size"},
		{"until nothing", at("tp_btf/sched_switch(next)", "until(next.comm, \"\") == \"a\"", emit, event), "a constant text of one to eight characters"},
		{"a default that cannot be seen", at("tp_btf/sched_switch(next)", "next.comm == p", emit, event) + "param p: char[16] = \"a\\n\"\n", "the default of p has a character that cannot be shown"},
		// memories
		{"missed entry", at("tracepoint/syscalls/sys_exit_read()", "always", "emit e { t: m[current.tid].t }", event+"\nmemory m { t: k_tid } : { t: k_time }"),
			"m[current.tid] may never have been remembered: test “known m[current.tid]” before, so that it is said what happens then"},
		{"another key", at("tracepoint/syscalls/sys_exit_read()", "known m[current.tid]", "emit e { t: m[u32(current.tid + 1)].t }", event+"\nmemory m { t: k_tid } : { t: k_time }"), "may never have been remembered"},
		{"key by process", at("tracepoint/syscalls/sys_exit_read()", "known m[current.tgid]", "emit e { t: now }", event+"\nmemory m { t: k_tid } : { t: k_time }"), "the key of m wants a thread id; current.tgid is a process id"},
		{"never remembered", at("tracepoint/syscalls/sys_exit_read()", "known m[current.tid]", "emit e { t: now }", event+"\nmemory m { t: k_tid } : { t: k_time }"), "nothing is ever remembered in m"},
		// the whole
		{"unused parameter", given("newstate == 1") + "param p: u32\n", "the parameter p has no effect on anything"},
		{"event never emitted", given("newstate == 1") + "event f { t: k_time }\n", "the event f is never emitted"},
		{"recursion", given("r(1)") + "define r(x) = r(x)\n", "the definition of r leads back to itself"},
		{"name taken", given("newstate == 1") + "param now: u32\n", "now means something else in contracts"},
		{"parameter and argument", given("newstate == 1") + "param newstate: u32\n", "newstate is a parameter as well; give the argument another name: newstate as …"},
		{"count of 2", at(sock, "newstate == 1", "add 2 to c", "table c : count"), "a count grows by 1"},
		{"signed sample", at("tp_btf/sys_exit(ret)", "always", "add ret to c", "table c : log2 k_ret"), "log2 takes numbers without sign"},
		{"range", given("p == 1") + "param p: u32 = 0 from 5 to 3\n", "the range of p is empty"},
		{"default out of range", given("p == 1") + "param p: u32 from 5 to 9\n", "the default of p is outside its range"},
		{"no output", "contract \"x\"\nhook tp_btf/sched_switch()\n otherwise nothing", "neither an event nor a table"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse(tt.text)
			if err == nil {
				_, err = Check(c, host(t))
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "1:1: expected “contract \"what the output shows\"” at the beginning, found the end"},
		{"declaration", "contract \"x\"\nevnt e { t: k_time }", "2:1: expected a declaration (param, enum, define, event, table, memory, hook, assume, show), found “evnt”; did you mean event?"},
		{"no colon", "contract \"x\"\nevent e { t k_time }", "2:13: expected “:” and the type of t, found “k_time”"},
		{"kind", "contract \"x\"\nhook tpbtf/sched_switch()", "2:6: no kind of hook is called tpbtf"},
		{"tracepoint without category", "contract \"x\"\nhook tracepoint/sched_switch()", "a tracepoint is written tracepoint/CATEGORY/NAME, as in tracepoint/syscalls/sys_enter_openat"},
		{"interface", "contract \"x\"\nhook xdp/eth0()", "xdp takes nothing after its name: where it is attached is chosen when it runs"},
		{"bits and a shift", "contract \"x\"\ndefine d = a & b << 2", "put parentheses around the part with “<<”: beside “&” it is not plain which comes first"},
		{"bits and bits", "contract \"x\"\ndefine d = a | b ^ 2", "put parentheses around the part with “|”: beside “^” it is not plain which comes first"},
		{"shift and plus", "contract \"x\"\ndefine d = a << 1 + b", "put parentheses around the part with “+”"},
		{"chain", "contract \"x\"\ndefine d = 1 < a < 5", "a comparison cannot be compared; join two with &&"},
		{"octal", "contract \"x\"\ndefine d = 0644", "0644 begins with 0, which some would read as octal"},
		{"unit", "contract \"x\"\ndefine d = 5sec", "no unit is called sec; there are ns, us, ms, s, min, h and B, KiB, MiB, GiB"},
		{"quote", "contract \"x", "1:10: the text has no closing quote"},
		{"direction of writing", "contract \"x\u202ey\"", "1:10: the text has a character that cannot be shown"},
		{"comment that cannot be shown", "# x\u200by\ncontract \"x\"", "1:1: a comment has a character that cannot be shown"},
		{"character", "contract \"x\"\n$", "2:1: the character '$' has no meaning here"},
		{"aggregate", "contract \"x\"\ntable t : histogram k_ns", "no way of adding up is called histogram"},
		{"comment", "contract \"x\"\nevent e { t: k_time }\n# at the end", "3:1: a comment belongs before a declaration"},
		{"effect", "contract \"x\"\nhook xdp()\n case a: always\n  retrun 1", "expected an effect (emit, add, remember, change, forget, return), found “retrun”; did you mean return?"},
		{"deep", "contract \"x\"\ndefine d = " + strings.Repeat("(", 5000), "nested more than 100 deep"},
		{"deep sign", "contract \"x\"\ndefine d = " + strings.Repeat("!", 5000), "nested more than 100 deep"},
		{"long", strings.Repeat(" ", maxText+1), "at most"},
		{"several", "contract \"x\"\nevent e { t k_time }\nevent f { t k_time }", "3:13: expected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// A kernel that has nothing but BTF: no tracefs. The recipes' hooks and fields must
// be found all the same, except where only tracefs has the fields.
func TestRecipesCheckOnBTFAlone(t *testing.T) {
	types := btfOnly(t)
	for _, file := range recipeFiles(t) {
		c, err := Parse(readFile(t, file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Check(c, types); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestDefinitionsThatMultiply(t *testing.T) {
	var b strings.Builder
	b.WriteString("define d0(x) = x + x\n")
	for i := range 30 {
		fmt.Fprintf(&b, "define d%d(x) = d%d(x) + d%d(x)\n", i+1, i, i)
	}
	c, err := Parse(at("tp_btf/sched_switch(next)", "d30(next.pid) == 1", "emit e { t: now }", event+"\n"+b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Check(c, host(t)); err == nil || !strings.Contains(err.Error(), "too large once its definitions are put in place") {
		t.Errorf("got %v", err)
	}
}

func TestAlternatives(t *testing.T) {
	// The first that exists counts; one that may be lacking is no error.
	k := mustCheck(t, at("tp_btf/block_io_began(rq)\n  or tp_btf/block_io_start(rq)\n and tp_btf/nothing_here() if present", "always", "emit e { t: now }", event))
	if len(k.Places) != 1 || k.Places[0].Target != "block_io_start" {
		t.Errorf("got %v", k.Places)
	}
	c, err := Parse(at("tp_btf/a_lost_one()\n  or tp_btf/another()", "always", "emit e { t: now }", event))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Check(c, host(t)); err == nil || !strings.Contains(err.Error(), "a_lost_one") || !strings.Contains(err.Error(), "another") {
		t.Errorf("got %v", err)
	}
}

// One Types serves many checks at once.
func TestConcurrentChecks(t *testing.T) {
	types := btfOnly(t)
	var wg sync.WaitGroup
	for _, file := range recipeFiles(t) {
		text := readFile(t, file)
		wg.Go(func() {
			c, err := Parse(text)
			if err == nil {
				_, err = Check(c, types)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Equal expressions have one number, different ones do not, and constants that were
// fitted to a unit count as what they have become.
func TestIDs(t *testing.T) {
	k := mustCheck(t, at("tp_btf/sched_switch(prev, next)", "prev.pid != next.pid && next.pid != prev.pid && next.pid + 1 != prev.pid", "emit e { t: now, a: next.pid, b: next.pid }", "event e { t: k_time, a: k_tid, b: k_tid }"))
	seen := map[int]string{}
	eachValue(k, func(v *Value) {
		if v.ID == 0 {
			t.Errorf("%s has no ID", v)
		}
		if old, ok := seen[v.ID]; ok && old != v.String() {
			t.Errorf("%s and %s have the ID %d", old, v, v.ID)
		}
		seen[v.ID] = v.String()
	})
	f := k.Places[0].Steps[0].Cases[0].Effects[0].Fields
	if f[1].ID != f[2].ID || f[0].ID == f[1].ID {
		t.Errorf("IDs %d %d %d", f[0].ID, f[1].ID, f[2].ID)
	}
}

func BenchmarkCheck(b *testing.B) {
	types := host(b)
	for _, file := range recipeFiles(b) {
		c, err := Parse(readFile(b, file))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(filepath.Base(filepath.Dir(file)), func(b *testing.B) {
			for b.Loop() {
				if _, err := Check(c, types); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestTaskStates: which task changes a state is known where the condition leaves only states
// that a socket enters in the task that does it, however that is written.
func TestTaskStates(t *testing.T) {
	for _, when := range []string{
		"newstate == TCP_SYN_SENT && current.tgid > 1",
		"current.tgid > 1 && TCP_SYN_SENT == newstate",
		"newstate in {TCP_SYN_SENT, TCP_LISTEN} && oldstate != TCP_SYN_SENT && current.tgid > 1",
		"!(newstate != TCP_SYN_SENT && newstate != TCP_LISTEN) && current.tgid > 1",
		"newstate > TCP_CLOSE_WAIT && newstate < TCP_CLOSING && newstate != 11 && current.tgid > 1 && sk.sk_err == 0",
		"(newstate == TCP_SYN_SENT ? oldstate == TCP_CLOSE : newstate == TCP_LISTEN) && current.tgid > 1",
	} {
		c, err := Parse(at("tp_btf/inet_sock_set_state(sk, oldstate, newstate)", when, "emit e { t: now }", event))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Check(c, host(t)); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}

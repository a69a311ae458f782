package codegen_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"kgent/agent/codegen"
	"kgent/agent/contract"
)

// author writes random contracts: most of them are well formed, and the others the checker refuses.
type author struct {
	r *rand.Rand
	// of the place that is being written
	numbers, texts, addresses, network []string
	cells                              []string // memories that are known
	memories                           []string
	current                            bool
}

func newAuthor(seed uint64) *author { return &author{r: rand.New(rand.NewPCG(seed, 7))} }

func (a *author) pick(list []string) string { return list[a.r.IntN(len(list))] }
func (a *author) chance(n int) bool         { return a.r.IntN(n) == 0 }

// stage is a hook with what it offers.
type stage struct {
	hook                               string
	numbers, texts, addresses, network []string
	current                            bool
	verdict                            string
}

var stages = []stage{
	{hook: "tracepoint/syscalls/sys_enter_openat(dfd, filename, flags)", numbers: []string{"dfd", "flags", "s32(dfd)", "u16(flags)"},
		texts: []string{"user_text(filename, 32)", "user_text(filename, 9)"}, current: true},
	{hook: "tracepoint/syscalls/sys_exit_write(ret)", numbers: []string{"ret", "u64(ret)", "s32(ret)"}, current: true},
	{hook: "tp_btf/signal_generate(sig as signo, info, task, group, result)", numbers: []string{"signo", "group", "result", "task.tgid", "task.flags", "info.si_code", "task.real_parent.tgid", "task.signal.group_exit_code", "task.exit_code"},
		texts: []string{"task.comm", "process_comm(task)"}, current: true},
	{hook: "tp_btf/inet_sock_set_state(sk, oldstate, newstate)", numbers: []string{"oldstate", "newstate", "sk.__sk_common.skc_num", "remote_port(sk)", "local_port(sk)", "sk.sk_protocol", "sk.__sk_common.skc_family"},
		addresses: []string{"remote_ip(sk)", "local_ip(sk)"}, network: []string{"sk.__sk_common.skc_dport"}},
	{hook: "tp_btf/sched_switch(preempt, prev, next)", numbers: []string{"prev.pid", "next.pid", "next.tgid", "prev.flags", "prev.prio"},
		texts: []string{"prev.comm", "next.group_leader.comm"}},
	{hook: "tracepoint/sched/sched_process_fork(parent_pid, child_pid, parent_comm)", numbers: []string{"parent_pid", "child_pid"}, texts: []string{"parent_comm"}, current: true},
	{hook: "tp_btf/sched_process_exec(p as task, old_pid, bprm)", numbers: []string{"old_pid", "task.tgid", "bprm.argc"}, texts: []string{"kernel_text(bprm.filename, 48)", "task.comm"}, current: true},
	{hook: "xdp()", numbers: []string{"packet.len", "packet.u8(23)", "ntohs(packet.be16(36))", "packet.u16(13)", "packet.u32(30)", "packet.u8(packet.u8(14) & 15)"},
		addresses: []string{"ip4(packet.be32(26))"}, network: []string{"packet.be16(12)"}, verdict: "XDP_PASS XDP_DROP"},
	{hook: "cgroup_skb/egress(skb)", numbers: []string{"packet.len", "packet.u8(9)", "skb.mark", "skb.len", "ntohs(packet.be16(2))"}, network: []string{"packet.be16(0)"}, verdict: "1 0"},
}

func (a *author) enter(s stage) {
	a.numbers, a.texts, a.addresses, a.network, a.current = s.numbers, s.texts, s.addresses, s.network, s.current
}

// number writes a number of some depth.
func (a *author) number(depth int) string {
	if depth <= 0 || a.chance(4) {
		list := append([]string{"0", "1", "7", "4096", "1000000", "0xffffffff", "low", "wide", "flagged"}, a.numbers...)
		list = append(list, a.numbers...)
		if a.current {
			list = append(list, "current.tgid", "current.tid", "current.uid", "current.gid")
		}
		for _, m := range a.cells {
			list = append(list, m+".a", m+".b")
		}
		return a.pick(append(list, "cpu", "u64(now)"))
	}
	x, y := a.number(depth-1), a.number(depth-1)
	if a.chance(3) {
		x = a.pick([]string{"u8", "u16", "u32", "s32", "s64", "u64", "s8"}) + "(" + x + ")"
	}
	switch a.r.IntN(9) {
	case 0, 1:
		return fmt.Sprintf("(%s %s %s)", x, a.pick([]string{"+", "-"}), y)
	case 2:
		return fmt.Sprintf("(u64(%s) %s u64(%s))", x, a.pick([]string{"&", "|", "^", "+", "-"}), y)
	case 3:
		return fmt.Sprintf("(u64(%s) %s %s)", x, a.pick([]string{"/", "%", "*"}), a.pick([]string{"3", "8", "1000", "low"}))
	case 4:
		return fmt.Sprintf("(%s %s %d)", x, a.pick([]string{"<<", ">>"}), a.r.IntN(20))
	case 5:
		return "(" + a.condition(depth-1) + " ? u64(" + x + ") : u64(" + y + "))"
	case 6:
		return "-s64(" + x + ")"
	case 7:
		return "~" + x
	}
	return fmt.Sprintf("s64(%s)", x)
}

func (a *author) text() string {
	list := append([]string{"name"}, a.texts...)
	if a.current {
		list = append(list, "current.comm")
	}
	return a.pick(list)
}

// condition writes a condition of some depth.
func (a *author) condition(depth int) string {
	switch n := a.r.IntN(12); {
	case depth > 0 && n < 3:
		return "(" + a.condition(depth-1) + " && " + a.condition(depth-1) + ")"
	case depth > 0 && n < 6:
		return "(" + a.condition(depth-1) + " || " + a.condition(depth-1) + ")"
	case n == 6:
		return "!(" + a.condition(depth-1) + ")"
	case n == 7 && len(a.texts) > 0:
		return fmt.Sprintf("%s == %s", a.pick(a.texts), a.pick([]string{`"sh"`, `""`, "name", `"a long nam"`}))
	case n == 8 && len(a.texts) > 0:
		return fmt.Sprintf("starts(%s, %s)", a.pick(a.texts), a.pick([]string{`"/et"`, "name", `"b"`}))
	case n == 9 && len(a.addresses) > 0:
		return fmt.Sprintf("%s == %s", a.pick(a.addresses), a.pick([]string{"peer", `"::"`, `"10.0.0.5"`}))
	case n == 10 && len(a.network) > 0:
		return fmt.Sprintf("%s %s htons(443)", a.pick(a.network), a.pick([]string{"==", "!="}))
	case n == 11 && a.current:
		return "task_wanted(pid, comm, uid)"
	}
	return fmt.Sprintf("%s %s %s", a.number(depth-1), a.pick([]string{"==", "!=", "<", "<=", ">", ">="}), a.number(depth-1))
}

// memoryKey is the same text wherever a thread is meant.
func (a *author) memoryKey() string {
	if a.current {
		return "current.tid"
	}
	return "u32(" + a.pick(a.numbers) + ")"
}

// effects writes the effects of a case.
func (a *author) effects(verdict, key string) string {
	var out []string
	add := func(format string, args ...any) { out = append(out, "    "+fmt.Sprintf(format, args...)) }
	if a.chance(2) {
		text, address := `""`, `"::"`
		if len(a.texts) > 0 {
			text = a.text()
		}
		if len(a.addresses) > 0 {
			address = a.pick(a.addresses)
		}
		add("emit seen { time: now, n: %s, m: %s, s: %s, yes: %s, text: %s, peer: %s }", "u64("+a.number(2)+")", "u32("+a.number(2)+")",
			"s16("+a.number(1)+")", a.condition(1), text, address)
	}
	if a.chance(2) {
		add("add 1 to counts[k: u32(%s)]", a.number(1))
	}
	if a.chance(3) {
		add("add u64(%s) to sizes", a.number(2))
	}
	if a.chance(4) {
		add("add { n: 1, sum: u64(%s) } to both[k: u8(%s), s: s32(%s)]", a.number(1), a.number(1), a.number(1))
	}
	switch {
	case len(a.cells) > 0 && a.chance(3):
		add("change kept[%s] { b: s32(%s) }", key, a.number(1))
	case len(a.cells) > 0 && a.chance(2):
		add("forget kept[%s]", key)
	case a.chance(3):
		add("remember kept[%s] { a: u64(%s), b: s32(%s) }", key, a.number(1), a.number(1))
	}
	if verdict != "" {
		add("return %s", a.pick(strings.Fields(verdict)))
	}
	if len(out) == 0 {
		return "    nothing\n"
	}
	return strings.Join(out, "\n") + "\n"
}

// contract writes one.
func (a *author) contract() string {
	var b strings.Builder
	b.WriteString(`contract "Random"
param pid: k_pid means "p"
param comm: char[16] means "c"
param uid: k_uid = -1 means "u"
param low: u8 = 3 means "a small number"
param wide: s64 = -5 means "a number"
param flagged: k_bool means "yes or no"
param name: char[12] = "init" means "a name"
param peer: k_ip means "an address"
event seen { time: k_time, n: u64, m: u32, s: s16, yes: k_bool, text: char[14], peer: k_ip }
table counts { k: u32 } : count
table sizes : log2 k_bytes
table both { k: u8, s: s32 } : { n: count, sum: sum k_bytes }
memory kept { thread: u32 } : { a: u64, b: s32 }
`)
	used := map[int]bool{}
	for range 1 + a.r.IntN(3) {
		n := a.r.IntN(len(stages))
		if used[n] {
			continue
		}
		used[n] = true
		s := stages[n]
		a.enter(s)
		key := a.memoryKey()
		fmt.Fprintf(&b, "hook %s\n", s.hook)
		steps := 1
		if a.chance(4) {
			steps = 2
		}
		for step := range steps {
			verdict := s.verdict
			if step > 0 {
				b.WriteString("  then\n")
				verdict = ""
			}
			for i := range 1 + a.r.IntN(3) {
				a.cells = nil
				when := a.condition(2)
				if a.chance(2) {
					a.cells = []string{"kept[" + key + "]"}
					when = "known kept[" + key + "] && " + a.condition(2)
				}
				fmt.Fprintf(&b, "  case c%d%d: %s\n%s", step, i, when, a.effects(verdict, key))
			}
			a.cells = nil
			if verdict == "" {
				b.WriteString("  otherwise nothing\n")
			} else {
				fmt.Fprintf(&b, "  otherwise\n%s", a.effects(verdict, key))
			}
		}
	}
	return b.String()
}

// trimmed leaves out what a random contract declares and does not use: the checker insists.
func trimmed(text string) string {
	lines := strings.Split(text, "\n")
	for changed := true; changed; {
		changed = false
		for i, l := range lines {
			f := strings.FieldsFunc(l, func(r rune) bool { return r == ' ' || r == ':' })
			if len(f) < 2 || f[0] != "param" && f[0] != "event" && f[0] != "table" && f[0] != "memory" {
				continue
			}
			rest := strings.Join(lines[i+1:], "\n")
			name := f[1]
			needed := strings.Contains(rest, " "+name+"[") || strings.Contains(rest, "("+name) || strings.Contains(rest, " "+name+" ") ||
				strings.Contains(rest, " "+name+")") || strings.Contains(rest, " "+name+"\n") || strings.Contains(rest, name+",")
			if f[0] == "memory" {
				needed = strings.Contains(rest, "remember "+name) && strings.Contains(rest, "known "+name)
			}
			if f[0] == "event" {
				needed = strings.Contains(rest, "emit "+name)
			}
			if f[0] == "table" {
				needed = strings.Contains(rest, "to "+name)
			}
			if !needed {
				lines = append(lines[:i], lines[i+1:]...)
				changed = true
				break
			}
		}
	}
	return strings.Join(lines, "\n")
}

// random returns the contract of a seed, nil if the checker does not take it.
func random(t testing.TB, seed uint64) (*contract.Checked, string) {
	text := trimmed(newAuthor(seed).contract())
	c, err := contract.Parse(text)
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", seed, err, text)
	}
	out, err := here(t).Check(c)
	if err != nil {
		return nil, err.Error() + "\n" + text
	}
	return out, text
}

// What is made of random contracts is never REFUTED: it compiles, a kernel takes it, and it keeps them as
// far as can be told. KGENT_SOAK says how many are tried, KGENT_SEED where they begin.
func TestRandomContracts(t *testing.T) {
	n, first := 3, 0
	if soak, err := strconv.Atoi(os.Getenv("KGENT_SOAK")); err == nil && soak > 1 {
		n = soak
	}
	if seed, err := strconv.Atoi(os.Getenv("KGENT_SEED")); err == nil {
		first = seed
	}
	tally := map[string]int{}
	tried := 0
	for seed := uint64(first); tried < n; seed++ {
		c, text := random(t, seed)
		if c == nil {
			tally["refused by the checker"]++
			continue
		}
		tried++
		verdict, why, source := verdictOf(t, text, brief)
		tally[verdict]++
		switch verdict {
		case "VERIFIED", "UNKNOWN", "VACUOUS", "UNSUPPORTED":
			if verdict != "VERIFIED" {
				t.Logf("seed %d: %s: %s", seed, verdict, why)
			}
		default:
			t.Errorf("seed %d: %s: %s\n%s\n%s", seed, verdict, why, numbered(text), numbered(source))
		}
	}
	t.Log(tally)
}

// Any contract that the checker takes has a program or a reason, the same each time.
func FuzzC(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		c, _ := random(t, seed)
		if c == nil {
			t.Skip()
		}
		one, err := codegen.C(c)
		two, again := codegen.C(c)
		if one != two || fmt.Sprint(err) != fmt.Sprint(again) {
			t.Errorf("seed %d: the program differs from one time to the next", seed)
		}
	})
}

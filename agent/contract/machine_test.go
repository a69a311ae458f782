package contract

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// ram is memory made of pieces.
type ram map[uint64][]byte

func (r ram) Read(addr uint64, buf []byte) bool {
	for base, piece := range r {
		if addr >= base && addr+uint64(len(buf)) <= base+uint64(len(piece)) {
			copy(buf, piece[addr-base:])
			return true
		}
	}
	return false
}

// put writes a number into the member that a path of a contract reads.
func (r ram) put(t *testing.T, c *Checked, base uint64, path string, n uint64) {
	t.Helper()
	var found *Value
	eachValue(c, func(v *Value) {
		if v.Op == OpLoad && v.Path == path {
			found = v
		}
	})
	if found == nil {
		t.Fatalf("the contract does not read %s", path)
	}
	piece := r[base]
	b := binary.NativeEndian.AppendUint64(nil, n)
	copy(piece[found.Offset:found.Offset+found.Size], b[:found.Size])
}

// eachValue visits all values of a checked contract.
func eachValue(c *Checked, f func(*Value)) {
	var visit func(v *Value)
	visit = func(v *Value) {
		if v == nil {
			return
		}
		f(v)
		for _, a := range v.Args {
			visit(a)
		}
	}
	effects := func(list []CheckedEffect) {
		for _, e := range list {
			for _, v := range slices.Concat(e.Key, e.Fields, []*Value{e.Value}) {
				visit(v)
			}
		}
	}
	for _, p := range c.Places {
		for _, s := range p.Steps {
			for _, k := range s.Cases {
				visit(k.When)
				effects(k.Effects)
			}
			effects(s.Otherwise)
		}
	}
}

func mustCheck(t testing.TB, text string) *Checked {
	t.Helper()
	c, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	k, err := Check(c, host(t))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func recipe(t testing.TB, name string) *Checked {
	t.Helper()
	return mustCheck(t, readFile(t, "../recipes/"+name+"/contract.kc"))
}

func machine(t *testing.T, c *Checked, params map[string]Datum) *Machine {
	t.Helper()
	m, err := NewMachine(c, params)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fire runs an invocation at a place and shows what happens as text.
func fire(t *testing.T, m *Machine, place string, in Invocation) string {
	t.Helper()
	in.Place = slices.IndexFunc(m.c.Places, func(p CheckedPlace) bool { return p.Place.String() == place })
	if in.Place < 0 {
		t.Fatalf("no place %s", place)
	}
	list, err := m.Run(in)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, h := range list {
		switch h.Verb {
		case Emit:
			out = append(out, m.c.Events[h.Index].Name+showMembers(m.c.Events[h.Index].Members, h.Fields))
		case Add:
			tab := m.c.Tables[h.Index]
			var key []*Datum
			for _, k := range h.Key {
				key = append(key, &k)
			}
			out = append(out, tab.Name+showMembers(tab.Key, key)+" +="+showMembers(tab.Values, h.Fields))
		case Return:
			out = append(out, fmt.Sprintf("return %d", int64(h.Value)))
		}
	}
	return strings.Join(out, "; ")
}

func showMembers(members []CheckedMember, values []*Datum) string {
	s := "{"
	for i, v := range values {
		if v == nil {
			continue
		}
		if len(s) > 1 {
			s += " "
		}
		switch k := members[i].Type.Kind; {
		case k == Int && members[i].Type.Signed:
			s += fmt.Sprintf("%s:%d", members[i].Name, int64(v.Num))
		case k == Int:
			s += fmt.Sprintf("%s:%d", members[i].Name, v.Num)
		case k == TextKind:
			s += fmt.Sprintf("%s:%s", members[i].Name, v.Bytes)
		default:
			s += fmt.Sprintf("%s:%x", members[i].Name, v.Bytes)
		}
	}
	return s + "}"
}

// as are the inputs of a task at a time.
func as(tgid, tid uint64, comm string, now uint64) map[string]Datum {
	return map[string]Datum{"current.tgid": {Num: tgid}, "current.tid": {Num: tid}, "current.uid": {Num: 1000}, "current.comm": {Bytes: []byte(comm)},
		"current.task": {Num: 0x10000}, "kgent.pid": {Num: 77}, "now": {Num: now}}
}

func TestEntryAndExitOfInterleavedThreads(t *testing.T) {
	c := recipe(t, "fsync-latency")
	m := machine(t, c, map[string]Datum{"comm": {Bytes: []byte("postgres")}})
	enter, exit := "tracepoint/syscalls/sys_enter_fsync", "tracepoint/syscalls/sys_exit_fdatasync"
	run := func(place string, tgid, tid uint64, comm string, now uint64) string {
		return fire(t, m, place, Invocation{Inputs: as(tgid, tid, comm, now)})
	}
	for _, step := range []struct {
		place     string
		tgid, tid uint64
		comm      string
		now       uint64
		want      string
	}{
		{exit, 5, 51, "postgres", 100, ""}, // a missed entry
		{enter, 5, 51, "postgres", 1000, ""},
		{enter, 5, 52, "postgres", 1100, ""},
		{enter, 6, 61, "bash", 1200, ""}, // not wanted
		{exit, 5, 52, "postgres", 1110, "latency{call:2} +={:10}"},
		{exit, 6, 61, "bash", 1300, ""},
		{enter, 5, 51, "postgres", 2000, ""}, // overwrites
		{exit, 5, 51, "postgres", 2003, "latency{call:2} +={:3}"},
		{exit, 5, 51, "postgres", 2004, ""}, // forgotten
		{enter, 77, 77, "postgres", 3000, ""},
		{exit, 77, 77, "postgres", 3001, ""}, // kgent itself
	} {
		if got := run(step.place, step.tgid, step.tid, step.comm, step.now); got != step.want {
			t.Errorf("%s of %d at %d: got %q, want %q", step.place, step.tid, step.now, got, step.want)
		}
	}
	rows := m.Table(0)
	if len(rows) != 1 || rows[0].Values[0][4] != 1 || rows[0].Values[0][2] != 1 {
		t.Errorf("got rows %v, want 3 in slot 2 and 10 in slot 4", rows)
	}
}

func TestSocketsOfBothFamilies(t *testing.T) {
	c := recipe(t, "tcp-states")
	const sk = 0x5000
	kernel := ram{sk: make([]byte, 4096)}
	kernel.put(t, c, sk, "sk_protocol", 6)
	kernel.put(t, c, sk, "skc_family", 10)
	kernel.put(t, c, sk, "skc_num", 4242)
	kernel.put(t, c, sk, "skc_dport", 0xbb01) // 443 as the network has it
	m := machine(t, c, map[string]Datum{"port": {Num: 443}})
	run := func(now, from, to uint64) string {
		return fire(t, m, "tp_btf/inet_sock_set_state", Invocation{Args: []Datum{{Num: sk}, {Num: from}, {Num: to}}, Kernel: kernel,
			Inputs: map[string]Datum{"now": {Num: now}}})
	}
	none := strings.Repeat("0", 32)
	want := "states{time:100 laddr:" + none + " lport:4242 raddr:" + none + " rport:443 from:7 to:2 lasted:0}"
	if got := run(100, 7, 2); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	kernel.put(t, c, sk, "skc_family", 2)
	kernel.put(t, c, sk, "skc_daddr", 0x0500000a)
	if got := run(130, 2, 1); !strings.Contains(got, "raddr:00000000000000000000ffff0a000005") || !strings.Contains(got, "lasted:30") {
		t.Errorf("got %s", got)
	}
	kernel.put(t, c, sk, "skc_family", 1)
	if got := run(140, 1, 7); got != "" {
		t.Errorf("a UNIX socket gave %s", got)
	}
	// An address that cannot be read is 0 all the way: no TCP socket.
	if got := fire(t, m, "tp_btf/inet_sock_set_state", Invocation{Args: []Datum{{Num: 0x9000}, {}, {}}, Kernel: kernel, Inputs: map[string]Datum{"now": {}}}); got != "" {
		t.Errorf("an unreadable socket gave %s", got)
	}
}

func TestPacketsOfManyShapes(t *testing.T) {
	c := recipe(t, "packets")
	m := machine(t, c, nil)
	eth := func(types ...uint16) []byte {
		b := make([]byte, 12)
		for i, x := range types {
			if i > 0 {
				b = append(b, 0, 7)
			}
			b = binary.BigEndian.AppendUint16(b, x)
		}
		return b
	}
	v4 := func(proto byte) []byte { b := make([]byte, 20); b[0], b[9] = 0x45, proto; return b }
	v6 := func(next byte) []byte { b := make([]byte, 40); b[0], b[6] = 0x60, next; return b }
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	for _, tt := range []struct {
		name   string
		packet []byte
		want   string
	}{
		{"tcp", join(eth(0x800), v4(6)), "ethertype:2048 protocol:6"},
		{"too short for ethernet", make([]byte, 13), "ethertype:0 protocol:59"},
		{"cut IPv4 header", join(eth(0x800), v4(6)[:19]), "ethertype:2048 protocol:59"},
		{"arp", join(eth(0x806), make([]byte, 28)), "ethertype:2054 protocol:59"},
		{"vlan", join(eth(0x8100, 0x800), v4(17)), "ethertype:2048 protocol:17"},
		{"two vlans", join(eth(0x88a8, 0x8100, 0x86dd), v6(58)), "ethertype:34525 protocol:58"},
		{"three vlans", join(eth(0x8100, 0x8100, 0x8100, 0x800), v4(6)), "ethertype:33024 protocol:59"},
		{"cut vlan", eth(0x8100), "ethertype:33024 protocol:59"},
		{"hop by hop", join(eth(0x86dd), v6(0), []byte{6, 1}, make([]byte, 14)), "ethertype:34525 protocol:6"},
		{"fragment, whose length is none", join(eth(0x86dd), v6(44), []byte{17, 9}, make([]byte, 6)), "ethertype:34525 protocol:17"},
		{"cut extension", join(eth(0x86dd), v6(0), []byte{6}), "ethertype:34525 protocol:0"},
		{"five extensions", join(eth(0x86dd), v6(0), []byte{60, 0, 0, 0, 0, 0, 0, 0}, []byte{43, 0, 0, 0, 0, 0, 0, 0}, []byte{60, 0, 0, 0, 0, 0, 0, 0},
			[]byte{60, 0, 0, 0, 0, 0, 0, 0}, []byte{6, 0}), "ethertype:34525 protocol:60"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := fire(t, m, "xdp", Invocation{Inputs: map[string]Datum{"packet": {Bytes: tt.packet}}})
			want := fmt.Sprintf("return 2; packets{%s} +={packets:1 bytes:%d}", tt.want, len(tt.packet))
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// Each of these is in the package comment.
func TestNumbers(t *testing.T) {
	for _, tt := range []struct{ expr, want string }{
		{"u8(300)", "44"},
		{"s64(s8(200))", "-56"},
		{"s64(u8(-1))", "255"},
		{"u32(-1) / 0", "0"},
		{"17 % 0", "17"},
		{"-7 / 2", "-3"},
		{"-7 % 2", "-1"},
		{"(-8) >> 1", "-4"},
		{"random >> 1", "2147483647"},
		{"cpu - random < 0 ? 1 : 2", "2"}, // without sign: wraps
		{"s32(cpu) - s32(7) < 0 ? 1 : 2", "1"},
		{"s64(cpu) < s64(random) ? 1 : 2", "1"},
		{"cpu > -1 ? 1 : 2", ""}, // an error: never negative
		{"0xffffffffffffffff + 2", "1"},
		{"ntohs(htons(443))", "443"},
		{"5ms / 1ms", "5"},
		{"2KiB", "2048"},
		{"cpu in {1, 3} ? 1 : 2", "1"},
		{"(random & 0xff) == 255 && !(cpu == 4) ? 1 : 2", "1"},
		{"max(1, 2)", ""},
		{"1 << 64", ""},
	} {
		t.Run(tt.expr, func(t *testing.T) {
			text := "contract \"x\"\nevent e { n: s64, r: u64 }\nhook perf_event/cpu-clock/99()\n case a: always\n emit e { n: s64(" + tt.expr + "), r: random + cpu }\notherwise nothing\n"
			c, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			k, err := Check(c, host(t))
			if tt.want == "" {
				if err == nil {
					t.Error("it was accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := fire(t, machine(t, k, nil), "perf_event/cpu-clock/99", Invocation{Inputs: map[string]Datum{"cpu": {Num: 3}, "random": {Num: 0xffffffff}}})
			if !strings.HasPrefix(got, "e{n:"+tt.want+" ") {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestSlots(t *testing.T) {
	for v, want := range map[uint64]int{0: 0, 1: 1, 2: 2, 3: 2, 4: 3, 1 << 62: 63, 1<<63 - 1: 63, 1 << 63: 63} {
		if got := Slot(v); got != want {
			t.Errorf("Slot(%d) = %d, want %d", v, got, want)
		}
	}
}

func TestTables(t *testing.T) {
	m := machine(t, mustCheck(t, `contract "all ways of adding up"
table t { cpu: u32 } : { n: count, total: sum k_bytes, least: min k_bytes, most: max k_bytes, now: last k_bytes, all: stats k_bytes, pow: log2 k_bytes, lin: linear(10, 3) k_bytes }
hook xdp()
  case all: always
    add { n: 1, total: packet.len, least: packet.len, most: packet.len, now: packet.len, all: packet.len, pow: packet.len, lin: packet.len } to t[cpu: cpu]
    return XDP_PASS
  otherwise nothing
`), nil)
	for _, n := range []int{15, 9, 40} {
		fire(t, m, "xdp", Invocation{Inputs: map[string]Datum{"packet": {Bytes: make([]byte, n)}, "cpu": {Num: 1}}})
	}
	got := m.Table(0)[0].Values
	for i, want := range [][]uint64{{3}, {64}, {9}, {40}, {40}, {3, 64, 9, 40}, nil, {1, 1, 1}} {
		if want != nil && !slices.Equal(got[i], want) {
			t.Errorf("member %d: got %v, want %v", i, got[i], want)
		}
	}
	if p := got[6]; p[4] != 2 || p[6] != 1 {
		t.Errorf("log2: got %v", p)
	}
}

func TestTextsOfProcesses(t *testing.T) {
	c := recipe(t, "failed-opens")
	m := machine(t, c, map[string]Datum{"path": {Bytes: []byte("/etc/")}})
	user := ram{0x4000: []byte("/etc/shadow\x00junk"), 0x5000: []byte("/tmp/x\x00"), 0x6000: []byte("/etc/cut short")}
	kernel := ram{0x10000: make([]byte, 16384)}
	run := func(place string, tid uint64, args ...uint64) string {
		in := Invocation{Inputs: as(9, tid, "cat", 50), User: user, Kernel: kernel}
		for _, a := range args {
			in.Args = append(in.Args, Datum{Num: a})
		}
		return fire(t, m, place, in)
	}
	enter, exit, deliver := "tracepoint/syscalls/sys_enter_openat", "tracepoint/syscalls/sys_exit_openat", "tracepoint/signal/signal_deliver"
	minus := func(n uint64) uint64 { return -n }
	line := func(tid, errno int, path string) string {
		return fmt.Sprintf("opens{time:50 pid:9 tid:%d uid:1000 comm:cat error:%d flags:2 path:%s}", tid, errno, path)
	}
	for _, step := range []struct {
		what  string
		place string
		tid   uint64
		args  []uint64
		want  string
	}{
		{"begins", enter, 1, []uint64{0, 0x4000, 2}, ""},
		{"fails", exit, 1, []uint64{minus(13)}, line(1, -13, "/etc/shadow")},
		{"fails again, without a beginning", exit, 1, []uint64{minus(13)}, ""},
		{"begins elsewhere", enter, 1, []uint64{0, 0x5000, 2}, ""},
		{"fails elsewhere", exit, 1, []uint64{minus(13)}, ""},
		{"succeeds", enter, 1, []uint64{0, 0x4000, 2}, ""},
		{"and ends", exit, 1, []uint64{3}, ""},
		{"was forgotten", exit, 1, []uint64{minus(13)}, ""},
		{"a text that ends nowhere", enter, 1, []uint64{0, 0x6000, 2}, ""},
		{"is empty", exit, 1, []uint64{minus(14)}, ""},
		{"begins", enter, 2, []uint64{0, 0x4000, 2}, ""},
		{"is interrupted", exit, 2, []uint64{minus(512)}, ""},
		{"by a signal with a handler", deliver, 2, []uint64{0x7777, 0}, line(2, -4, "/etc/shadow")},
		{"begins", enter, 2, []uint64{0, 0x4000, 2}, ""},
		{"is interrupted", exit, 2, []uint64{minus(512)}, ""},
		{"an ignored signal", deliver, 2, []uint64{1, 0}, ""},
		{"restarts", deliver, 2, []uint64{0x7777, 0x10000000}, ""},
		{"and is forgotten", deliver, 2, []uint64{0x7777, 0}, ""},
	} {
		if got := run(step.place, step.tid, step.args...); got != step.want {
			t.Errorf("%s: got %q, want %q", step.what, got, step.want)
		}
	}
}

func TestArgumentsAndBlocks(t *testing.T) {
	m := machine(t, mustCheck(t, `contract "arguments"
event e { args: k_args, a: u32, b: k_port, c: u32, name: char[4] }
hook uprobe/x:y(start, size)
  case all: always
    emit e { args: user_args(start, start + size), a: user_bytes(start, size).u32(0), b: ntohs(user_bytes(start, size).be16(2)), c: user_bytes(start, size).u32(1020), name: user_bytes(start, size).text(0, 4) }
  otherwise nothing
`), nil)
	long := make([]byte, 2000)
	copy(long, "abcdef")
	run := func(start, size uint64) *Happening {
		list, err := m.Run(Invocation{Args: []Datum{{Num: start}, {Num: size}}, User: ram{0x8000: long}})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		return &list[0]
	}
	f := run(0x8000, 5).Fields
	if f[0].Num != 5 || string(f[0].Bytes) != "abcde" || f[1].Num != uint64(binary.NativeEndian.Uint32(long)) || f[2].Num != 'c'<<8|'d' || f[3].Num != 0 || string(f[4].Bytes) != "abcd" {
		t.Errorf("got %v", f)
	}
	if f := run(0x8000, 1500).Fields; f[0].Num != 1021 || len(f[0].Bytes) != 1020 {
		t.Errorf("cut short: got length %d and %d bytes", f[0].Num, len(f[0].Bytes))
	}
	if f := run(0x8000, 3).Fields; f[1].Num != uint64(binary.NativeEndian.Uint32([]byte("abc\x00"))) {
		t.Errorf("bytes behind the end: got %x", f[1].Num)
	}
	if f := run(0x9000, 5).Fields; f[0].Num != 5 || len(f[4].Bytes) != 0 {
		t.Errorf("unreadable: got %v", f)
	}
}

// Texts that end at a length, at a character, or as DNS sends them; addresses of a network.
func TestPartsOfTexts(t *testing.T) {
	m := machine(t, mustCheck(t, `contract "parts"
event e { some: char[8], word: char[16], same: k_bool, name: k_dnsname, near: k_bool, six: k_bool }
hook cgroup_skb/egress()
  case all: packet.len > 4
    emit e { some: packet.text(1, 8, packet.u8(0)), word: until(packet.text(1, 16), " \r\n"), same: packet.dnsname(20) == "db.Example.", name: packet.dnsname(20),
             near: ip4(packet.be32(40)) == "10.16.0.0/12", six: ip4(packet.be32(40)) in {"fe80::/10", "::/0"} }
    return 1
  otherwise
    return 1
`), nil)
	run := func(packet string) []*Datum {
		list, err := m.Run(Invocation{Inputs: map[string]Datum{"packet": {Bytes: []byte(packet)}}})
		at := slices.IndexFunc(list, func(h Happening) bool { return len(h.Fields) > 0 })
		if err != nil || at < 0 {
			t.Fatal(list, err)
		}
		return list[at].Fields
	}
	const rest = "\x02db\x07Example\x00 behind."
	f := run("\x05GET /path\r\nHost: xy" + rest + "\x0a\x1f\x00\x01")
	for i, want := range []string{"GET /", "GET", "", "\x02db\x07Example"} {
		if i != 2 && string(f[i].Bytes) != want {
			t.Errorf("%d: got %q, want %q", i, f[i].Bytes, want)
		}
	}
	if f[2].Num != 1 || f[4].Num != 1 || f[5].Num != 1 {
		t.Errorf("got %v", f)
	}
	if f := run("\x00GET /path\r\nHost: xy" + strings.ToLower(rest) + "\x0a\x20\x00\x01"); len(f[0].Bytes) != 0 || f[2].Num != 0 || f[4].Num != 0 {
		t.Errorf("got %v", f)
	}
	if f := run("\xffab" + "c\nd"); string(f[0].Bytes) != "abc\nd" || string(f[1].Bytes) != "abc" {
		t.Errorf("got %v", f)
	}
}

// At an offset below 0 there is nothing, also of a number that reaches into the block.
func TestOffsetBelowZero(t *testing.T) {
	m := machine(t, mustCheck(t, `contract "numbers"
event e { n: u32 }
hook cgroup_skb/egress()
  case all: always
    emit e { n: packet.u32(u64(packet.u8(0)) - 2) }
    return 1
`), nil)
	for packet, want := range map[string]uint64{"\x01abcdef": 0, "\x00abcdef": 0, "\x03\x01\x00\x00\x00": 1} {
		list, err := m.Run(Invocation{Inputs: map[string]Datum{"packet": {Bytes: []byte(packet)}}})
		at := slices.IndexFunc(list, func(h Happening) bool { return len(h.Fields) > 0 })
		if err != nil || at < 0 || list[at].Fields[0].Num != want {
			t.Errorf("%q: %v %v, want %d", packet, list, err, want)
		}
	}
}

// What is written with an escape is so again, and shown on the card as it is written.
func TestEscapesInTexts(t *testing.T) {
	c, err := Parse("contract \"a\"\nevent e { t: char[16] }\nhook tp_btf/sched_switch(next)\n  case a: until(next.comm, \" \\r\\n\\t\") == \"b\"\n    emit e { t: until(next.comm, \"\\n\") }\n")
	if err != nil {
		t.Fatal(err)
	}
	if text := Format(c); !strings.Contains(text, `" \r\n\t"`) {
		t.Error(text)
	}
	if text := English(c); !strings.Contains(text, `up to any of “ \r\n\t”`) {
		t.Error(text)
	}
	if _, err := Parse("contract \"a\\nb\"\n"); err == nil || !strings.Contains(err.Error(), "cannot be shown") {
		t.Error(err)
	}
}

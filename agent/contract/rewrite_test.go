package contract

import (
	"strings"
	"testing"
)

// What the types leave one meaning of is written so; what has two stays refused.
func TestRewrite(t *testing.T) {
	types := host(t)
	for _, tt := range []struct{ hook, when, emits, becomes string }{
		{"cgroup_skb/egress()", "packet.be16(2) == 53", "n: 1", "ntohs(packet.be16(2)) == 53"},
		{"cgroup_skb/egress()", "packet.be16(2) & 0xff00 == 0x3500", "n: 1", "(ntohs(packet.be16(2)) & 0xff00) == 0x3500"},
		{"cgroup_skb/egress()", "packet.u8(9) & 2", "n: 1", "(packet.u8(9) & 2) != 0"},
		{"cgroup_skb/egress()", "ntohs(packet.u16(2)) == 53", "n: 1", "ntohs(packet.be16(2)) == 53"},
		{"cgroup_skb/egress()", "always", "n: packet.u8(9) == 17", "n: packet.u8(9) == 17 ? 1 : 0"},
		{"cgroup_skb/egress()", "always", "n: 1, to: packet.be32(16)", "to: ip4(packet.be32(16))"},
		{"tracepoint/syscalls/sys_exit_kill(ret)", "ret == ESRCH", "n: 1", "ret == -ESRCH"},
		{"tracepoint/syscalls/sys_exit_kill(ret)", "task_wanted(0, \"x\", -1)", "n: 1", "task_wanted(0, \"x\", u32(-1))"},
		{"tracepoint/syscalls/sys_exit_kill(ret)", "true", "n: 1", "case a: always"},
		{"tracepoint/syscalls/sys_exit_kill(ret)", "ret == current.cgroup", "n: 1", ""},
	} {
		to := ", to: \"::\""
		if strings.Contains(tt.emits, "to:") {
			to = ""
		}
		verdict := ""
		if strings.HasPrefix(tt.hook, "cgroup") {
			verdict = "\n    return 1"
		}
		c, err := Parse("contract \"x\"\nevent e { n: u32, to: k_ip, time: k_time }\nhook " + tt.hook + "\n  case a: " + tt.when +
			"\n    emit e { " + tt.emits + to + ", time: now }" + verdict + "\n  otherwise" + map[bool]string{true: " nothing", false: verdict}[verdict == ""] + "\n")
		if err != nil {
			t.Fatalf("%s: %v", tt.when, err)
		}
		for range 4 {
			if _, err = Check(c, types); err == nil || len(Rewrite(c, err)) == 0 {
				break
			}
			if c, err = Parse(Format(c)); err != nil {
				t.Fatal(err)
			}
		}
		switch text := Format(c); {
		case tt.becomes == "" && err == nil:
			t.Errorf("%s: became\n%s", tt.when, text)
		case tt.becomes != "" && (err != nil || !strings.Contains(text, tt.becomes)):
			t.Errorf("%s, %s: %v; want %s in\n%s", tt.when, tt.emits, err, tt.becomes, text)
		}
	}
}

// What a name stands for is one expression, put right once however often the name is used.
func TestRewriteNamed(t *testing.T) {
	c, err := Parse("contract \"x\"\ntable n : count\nhook cgroup_skb/egress() with kind = packet.be16(2)\n  case a: kind == 53 || kind == 54\n    add 1 to n\n    return 1\n  otherwise\n    return 1\n")
	if err != nil {
		t.Fatal(err)
	}
	types := host(t)
	for range 3 {
		if _, err = Check(c, types); err == nil {
			break
		}
		Rewrite(c, err)
		if c, err = Parse(Format(c)); err != nil {
			t.Fatal(err)
		}
	}
	if text := Format(c); err != nil || !strings.Contains(text, "kind = ntohs(packet.be16(2))") {
		t.Errorf("%v\n%s", err, text)
	}
}

// The first thread of a process is told by its ids, of one task; ids of different things do not meet.
func TestFirstThread(t *testing.T) {
	types := host(t)
	for when, ok := range map[string]bool{"child.pid == child.tgid": true, "child.tgid != child.pid": true, "current.tid == current.tgid": true, "child.pid == parent.tgid": false} {
		c, err := Parse("contract \"x\"\ntable n : count\nhook tp_btf/sched_process_fork(parent, child)\n  case a: " + when + "\n    add 1 to n\n  otherwise nothing\n")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Check(c, types); (err == nil) != ok {
			t.Errorf("%s: %v", when, err)
		}
	}
}

// A name that the language uses itself is told apart from a value that was forgotten.
func TestReservedName(t *testing.T) {
	for when, want := range map[string]string{"to == 9": "“to” is a word of contracts", "sig ==": "expected a value"} {
		_, err := Parse("contract \"x\"\ntable n : count\nhook tracepoint/syscalls/sys_enter_kill(pid, sig)\n  case a: " + when + "\n    add 1 to n\n  otherwise nothing\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", when, err, want)
		}
	}
}

// The address of a struct is that of another one where one begins with the other, or both with the same.
func TestAlike(t *testing.T) {
	types := host(t)
	for pair, want := range map[[2]string]bool{
		{"sock", "tcp_sock"}: true, {"tcp_sock", "sock_common"}: true, {"request_sock", "sock"}: true, {"sock", "unix_sock"}: true, {"folio", "page"}: true, {"net_device", "net_device"}: true,
		{"hlist_node", "task_struct"}: false, {"inode", "file"}: false, {"sk_buff", "sock"}: false, {"list_head", "bio"}: false, {"sock", "socket"}: false,
	} {
		a, b := types.composite("struct "+pair[0]), types.composite("struct "+pair[1])
		if a == nil || b == nil {
			t.Fatalf("%v: no such struct", pair)
		}
		if alike(a, b) != want || alike(b, a) != want {
			t.Errorf("%v: %v and %v, want %v", pair, alike(a, b), alike(b, a), want)
		}
	}
}

// Cases that end without "otherwise" do nothing otherwise; what has a verdict has to give one. A count of 0 beside what is added
// does not grow.
func TestLeftOut(t *testing.T) {
	types := host(t)
	head := "contract \"x\"\ntable n { pid: k_pid } : { times: count, total: sum k_ns }\nhook tracepoint/syscalls/sys_exit_kill(ret)\n  case a: ret < 0\n    add "
	c, err := Parse(head + "{ times: 0, total: 5 } to n[pid: current.tgid]\nhook tracepoint/syscalls/sys_enter_kill()\n  case b: always\n    add { times: 1 } to n[pid: current.tgid]\n")
	if err != nil {
		t.Fatal(err)
	}
	k, err := Check(c, types)
	if err != nil {
		t.Fatal(err)
	}
	if add := k.Places[0].Steps[0].Cases[0].Effects[0].Fields; add[0] != nil || add[1] == nil {
		t.Errorf("added is %v", add)
	}
	for added, want := range map[string]string{"{ times: 0 }": "grows by 1", "{ times: 2, total: 1 }": "grows by 1", "{ times: 1 } to n[pid: current.tgid]\nhook xdp()\n  case b: packet.len > 99\n    return XDP_PASS\nhook tracepoint/syscalls/sys_exit_tkill(ret)\n  case a: ret < 0\n    add { times: 1 }": "some cases return a value and some do not"} {
		c, err := Parse(head + added + " to n[pid: current.tgid]\n")
		if err == nil {
			_, err = Check(c, types)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", added, err, want)
		}
	}
}

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

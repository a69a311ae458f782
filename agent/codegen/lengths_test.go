package codegen_test

import (
	"strings"
	"testing"
	"time"

	"kgent/agent/verify/proof"
)

// Texts that a length before them ends, or a character; names as DNS sends them; networks. The program of each is
// proved and loads, and what looks like it is not proved.
func TestPartsOfMessages(t *testing.T) {
	limits := proof.Limits{Time: 2 * time.Minute, Query: time.Minute}
	for name, tt := range map[string]struct {
		text string
		not  map[string][2]string // edits of the program
	}{
		"names of DNS": {`contract "names"
event asked { time: k_time, server: k_ip, name: k_dnsname }
hook cgroup_skb/egress() with udp = (packet.u8(0) & 15) * 4, dns = udp + 8
  case asks: packet.u8(9) == IPPROTO_UDP && ntohs(packet.be16(udp + 2)) == 53 && (packet.u8(dns + 2) & 0x80) == 0
    emit asked { time: now, server: ip4(packet.be32(16)), name: packet.dnsname(dns + 12) }
    return 1
  otherwise
    return 1
`, map[string][2]string{
			"a byte less of what is left": {"left > 0 && left < size)\n\t\t\tbpf_skb_load_bytes(ctx, off, to, left)", "left > 1 && left < size)\n\t\t\tbpf_skb_load_bytes(ctx, off, to, left - 1)"},
			"nothing to load":             {"\tif (off >= length)\n\t\treturn;\n\tif (left >= size) {\n\t\tbpf_skb_load_bytes(ctx, off, to, size);\n\t} else {\n\t\tbarrier_var(left); /* keeps what is known of it */\n\t\tif (left > 0 &&", "\tif (off > length)\n\t\treturn;\n\tif (left >= size) {\n\t\tbpf_skb_load_bytes(ctx, off, to, size);\n\t} else {\n\t\tbarrier_var(left); /* keeps what is known of it */\n\t\tif ("},
			"the name's neighbour":        {"+ 12, ev->name", "+ 13, ev->name"},
		}},
		"a name of DNS that is compared": {`contract "names"
table asked : count
hook cgroup_skb/egress() with udp = (packet.u8(0) & 15) * 4
  case asks: packet.u8(9) == IPPROTO_UDP && packet.dnsname(udp + 20) == "db.example"
    add 1 to asked
    return 1
  otherwise
    return 1
`, map[string][2]string{"another label": {`text[0] == '\002'`, `text[0] == '\003'`}}},
		"a text behind its length": {`contract "commands"
table commands { command: char[16] } : count
hook tracepoint/syscalls/sys_enter_sendto(fd, buff, len)
  case sends: len >= 13 && user_bytes(buff, 8).u8(0) == 0x2a && user_bytes(buff, 8).u8(4) == 0x24
    add 1 to commands[command: user_bytes(buff, 32).text(8, 16, user_bytes(buff, 8).u8(5) - 48)]
  otherwise nothing
`, map[string][2]string{"a byte more": {"i >= length", "i > length"}}},
		"a text of a packet behind its length": {`contract "words"
event words { time: k_time, word: char[32] }
hook cgroup_skb/egress() with tcp = (packet.u8(0) & 15) * 4
  case sends: packet.u8(9) == IPPROTO_TCP && ntohs(packet.be16(tcp + 2)) == 7000
    emit words { time: now, word: packet.text(tcp + 22, 32, ntohs(packet.be16(tcp + 20))) }
    return 1
  otherwise
    return 1
`, map[string][2]string{"a byte more": {"i >= length", "i > length"}}},
		"a long text of a process behind its length": {`contract "statements"
event statement { time: k_time, text: char[200] }
hook tracepoint/syscalls/sys_enter_write(fd, buf, count) with head = user_bytes(buf, 8)
  case query: count > 5 && head.u8(4) == 3
    emit statement { time: now, text: user_bytes(buf + 5, u64(head.u16(0)) - 1).text(0, 200) }
  otherwise nothing
`, map[string][2]string{"a byte less": {"length = 200;", "length = 199;"}, "a byte more": {" - 1;", ";"}}},
		"words": {`contract "requests"
event request { time: k_time, method: char[8], path: char[64] }
table methods { method: char[8] } : count
hook tracepoint/syscalls/sys_enter_write(fd, buf, count)
  case get: user_text(buf, 5) == "GET "
    emit request { time: now, method: "GET", path: until(user_text(buf + 4, 64), " ?\r\n") }
  case other: until(user_text(buf, 8), " ") in {"POST", "PUT", "DELETE"}
    add 1 to methods[method: until(user_text(buf, 8), " ")]
  otherwise nothing
`, map[string][2]string{"another character": {"text[i] == '\\?'", "text[i] == '#'"}, "one character less": {" || text[i] == '\\012'", ""}}},
		"networks": {`contract "out of the private networks"
event tried { time: k_time, remote: k_ip }
hook tp_btf/inet_sock_set_state(sk, newstate)
  case tried: newstate == TCP_SYN_SENT && is_ip(sk) && !(remote_ip(sk) in {"10.0.0.0/8", "172.16.0.0/12", "fe80::/10"})
    emit tried { time: now, remote: remote_ip(sk) }
  otherwise nothing
`, map[string][2]string{"eleven bits": {"(ip->b[13] & 0xf0) == 0x10", "(ip->b[13] & 0xe0) == 0x00"}, "IPv6 addresses that end so": {"ip->b[11] == 0xff &&", ""}}},
		"a number at an offset that may be below 0": {`contract "numbers"
event number { time: k_time, n: u32 }
hook cgroup_skb/egress()
  case all: always
    emit number { time: now, n: packet.u32(u64(packet.u8(0)) - 2) }
    return 1
`, map[string][2]string{"another offset": {"- 2", "- 1"}}},
		"a byte of a frame that may be far behind": {`contract "bytes"
table bytes { b: u8 } : count
hook xdp()
  case c: ntohs(packet.be16(12)) == ETH_P_IP
    add 1 to bytes[b: packet.u8(14 + u64(ntohs(packet.be16(16))))]
    return XDP_PASS
  otherwise
    return XDP_PASS
`, map[string][2]string{"the byte before": {"14 +", "13 +"}}},
		"a long text of a frame": {`contract "names"
event asked { time: k_time, name: char[96] }
hook xdp()
  case asks: ntohs(packet.be16(12)) == ETH_P_IP && packet.u8(23) == IPPROTO_UDP
    emit asked { time: now, name: packet.text(54, 96) }
    return XDP_PASS
  otherwise
    return XDP_PASS
`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			verdict, why, source := verdictOf(t, tt.text, limits)
			if verdict != "VERIFIED" {
				t.Fatalf("%s: %s\n%s", verdict, why, numbered(source))
			}
			c := checked(t, tt.text)
			for what, edit := range tt.not {
				if strings.Count(source, edit[0]) == 0 {
					t.Fatalf("%s: there is no %q in\n%s", what, edit[0], numbered(source))
				}
				o, m := built(t, strings.Replace(source, edit[0], edit[1], 1))
				if r := proved(t, o, m, c.Contract, limits); r.Verdict != proof.Refuted {
					t.Errorf("%s: %s: %s", what, r.Verdict, strings.Join(r.Reasons, "; "))
				}
			}
		})
	}
}

package codegen_test

import "testing"

// What is remembered by a key of one packet is known at another, wherever the bytes of the key begin; and a text of a packet can be long.
func TestPacketsTogether(t *testing.T) {
	for name, text := range map[string]string{
		"a key at an offset that the packet gives": `contract "answers"
event answers { time: k_time, took: k_ns }
memory asked { port: k_port } : { at: k_time }
hook cgroup_skb/egress() with udp = (packet.u8(0) & 15) * 4, sport = ntohs(packet.be16(udp)), dport = ntohs(packet.be16(udp + 2))
  case asks: packet.u8(9) == 17 && dport == 53
    remember asked[sport] { at: now }
    return 1
  otherwise
    return 1
hook cgroup_skb/ingress() with udp = (packet.u8(0) & 15) * 4, sport = ntohs(packet.be16(udp)), dport = ntohs(packet.be16(udp + 2))
  case answered: packet.u8(9) == 17 && sport == 53 && known asked[dport]
    emit answers { time: now, took: now - asked[dport].at }
    forget asked[dport]
    return 1
  otherwise
    return 1
assume identity
`,
		"a key of bytes that need not be there": `contract "answers"
event answers { time: k_time, took: k_ns }
memory asked { server: k_ipv4, port: k_port, id: u16 } : { at: k_time }
hook cgroup_skb/egress() with sport = ntohs(packet.be16(20)), dport = ntohs(packet.be16(22)), id = ntohs(packet.be16(28))
  case asks: packet.u8(9) == 17 && dport == 53
    remember asked[packet.be32(16), sport, id] { at: now }
    return 1
  otherwise
    return 1
hook cgroup_skb/ingress() with sport = ntohs(packet.be16(20)), dport = ntohs(packet.be16(22)), id = ntohs(packet.be16(28))
  case answered: packet.u8(9) == 17 && sport == 53 && known asked[packet.be32(12), dport, id]
    emit answers { time: now, took: now - asked[packet.be32(12), dport, id].at }
    forget asked[packet.be32(12), dport, id]
    return 1
  otherwise
    return 1
assume identity
`,
		"a text that is remembered": `contract "slow answers"
param threshold: k_ns = 50ms means "at least this slow"
event slow { time: k_time, server: k_ip, port: k_port, name: char[16], took: k_ns }
memory asked { id: u16, port: k_port } : { at: k_time, name: char[16] }
hook cgroup_skb/egress() with ihl = (packet.u8(0) & 15) * 4, udp = ihl, dns = ihl + 8
  case asks: (packet.u8(0) >> 4) == 4 && packet.u8(9) == IPPROTO_UDP && packet.len >= dns + 12 && ntohs(packet.be16(udp + 2)) == 53 && (packet.u8(dns + 2) & 0x80) == 0
    remember asked[ntohs(packet.be16(dns)), ntohs(packet.be16(udp))] { at: now, name: packet.text(dns + 13, 16) }
    return 1
  otherwise
    return 1
hook cgroup_skb/ingress() with ihl = (packet.u8(0) & 15) * 4, udp = ihl, dns = ihl + 8
  case slow: (packet.u8(0) >> 4) == 4 && packet.u8(9) == IPPROTO_UDP && packet.len >= dns + 12 && ntohs(packet.be16(udp)) == 53 && (packet.u8(dns + 2) & 0x80) != 0 && known asked[ntohs(packet.be16(dns)), ntohs(packet.be16(udp + 2))] && now - asked[ntohs(packet.be16(dns)), ntohs(packet.be16(udp + 2))].at >= threshold
    emit slow { time: now, server: ip4(packet.be32(12)), port: ntohs(packet.be16(udp + 2)), name: asked[ntohs(packet.be16(dns)), ntohs(packet.be16(udp + 2))].name, took: now - asked[ntohs(packet.be16(dns)), ntohs(packet.be16(udp + 2))].at }
    forget asked[ntohs(packet.be16(dns)), ntohs(packet.be16(udp + 2))]
    return 1
  case quick: (packet.u8(0) >> 4) == 4 && packet.u8(9) == IPPROTO_UDP && packet.len >= dns + 12 && ntohs(packet.be16(udp)) == 53 && (packet.u8(dns + 2) & 0x80) != 0 && known asked[ntohs(packet.be16(dns)), ntohs(packet.be16(udp + 2))]
    forget asked[ntohs(packet.be16(dns)), ntohs(packet.be16(udp + 2))]
    return 1
  otherwise
    return 1
assume identity
`,
		"a long text": `contract "names"
event asked { time: k_time, name: char[64] }
hook cgroup_skb/egress() with udp = (packet.u8(0) & 15) * 4, dport = ntohs(packet.be16(udp + 2))
  case asks: packet.u8(9) == 17 && dport == 53
    emit asked { time: now, name: packet.text(udp + 20, 64) }
    return 1
  otherwise
    return 1
`,
	} {
		t.Run(name, func(t *testing.T) {
			if verdict, why, source := verdictOf(t, text, patient); verdict != "VERIFIED" {
				t.Errorf("%s: %s\n%s", verdict, why, numbered(source))
			}
		})
	}
}

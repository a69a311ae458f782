package compose

import (
	"fmt"
	"strings"

	"kgent/agent/contract"
)

// thing is what people ask for by a name of its own, and what is neither a recipe nor one
// system call or tracepoint: its list.
type thing struct {
	about    string   // for messages
	watched  []string // for the card
	contract string
}

// base is a list of everything that a thing is.
func (t thing) base() (*contract.Contract, error) { return contract.Parse(t.contract) }

var things = map[string]thing{
	"forks": {
		about:   "the creation of processes",
		watched: []string{"watched: every process that another one creates; threads are none, and whether it starts a program is not looked at"},
		contract: "contract \"Processes that are created\"\n\n" + filterParams + `
event forks { time: k_time, pid: k_pid, uid: k_uid, comm: char[16], child: k_pid }

hook tp_btf/sched_process_fork(child as created)
  case process: created == created.group_leader && task_wanted(pid, comm, uid)
    emit forks { time: now, pid: current.tgid, uid: current.uid, comm: process_comm(current.task), child: created.tgid }
  otherwise nothing
`,
	},
	"tcp sent":     socketBytes("TCP", "send", "IPPROTO_TCP, IPPROTO_MPTCP"),
	"tcp received": socketBytes("TCP", "receive", "IPPROTO_TCP, IPPROTO_MPTCP"),
	"udp sent":     socketBytes("UDP", "send", "IPPROTO_UDP"),
	"udp received": socketBytes("UDP", "receive", "IPPROTO_UDP"),
	"created files": {
		about:   "the creation of files",
		watched: []string{"watched: every open, openat, openat2 and creat that makes a file which was not there", "not watched: directories, links and nodes that are made (mkdir, link, symlink, mknod), files that are renamed, and files without a name (O_TMPFILE)", "path is what the process named, which may be relative to a directory"},
		contract: "contract \"Files that are created\"\n\n" + filterParams + `
event created { time: k_time, pid: k_pid, tid: k_tid, uid: k_uid, comm: char[16], path: char[256] }

memory opening { thread: k_tid } : { path: user_pointer }

# FMODE_CREATED
define made(fd) = (file_of(fd).f_mode & 0x100000) != 0 means "the open made the file"

hook tracepoint/syscalls/sys_enter_openat(dfd, filename) with name = filename
 and tracepoint/syscalls/sys_enter_openat2(dfd, filename) with name = filename
 and tracepoint/syscalls/sys_enter_open(filename) with name = filename if present
 and tracepoint/syscalls/sys_enter_creat(pathname) with name = pathname if present
  case begins: task_wanted(pid, comm, uid)
    remember opening[current.tid] { path: name }
  otherwise nothing

hook tracepoint/syscalls/sys_exit_openat(ret)
 and tracepoint/syscalls/sys_exit_openat2(ret)
 and tracepoint/syscalls/sys_exit_open(ret) if present
 and tracepoint/syscalls/sys_exit_creat(ret) if present
  case made: known opening[current.tid] && ret >= 0 && made(ret)
    emit created { time: now, pid: current.tgid, tid: current.tid, uid: current.uid, comm: current.comm, path: user_text(opening[current.tid].path, 256) }
    forget opening[current.tid]
  case other: known opening[current.tid]
    forget opening[current.tid]
  otherwise nothing

assume returns
`,
	},
	"packets": {
		about: "packets",
		watched: []string{"watched: packets that sockets of this host send and receive, on all interfaces (at the root cgroup); not what is only passed on, nor ARP and other than IP",
			"a packet from this host to itself is seen twice, when it is sent and when it is received",
			"ports are those of TCP, UDP, UDP-Lite, SCTP and DCCP, else 0; also 0 behind extension headers of IPv6 and in later fragments"},
		contract: packetsContract,
	},
}

// socketBytes is the list of what processes send or receive through sockets of a protocol. Which end a
// datagram goes to or comes from is known of UDP sockets only where they are connected.
func socketBytes(protocol, verb, numbers string) thing {
	done, hook, args, more := "sent", "sock_send_length", "sk, ret", ""
	lines := []string{"watched: what processes hand to " + protocol + " sockets and these take, which is not yet on the wire; without headers, and without what is sent again"}
	if verb == "receive" {
		done, hook, args, more = "received", "sock_recv_length", "sk, ret, flags", " && (flags & MSG_PEEK) == 0"
		lines = []string{"watched: what processes take from " + protocol + " sockets, without headers; not what is only looked at (MSG_PEEK), nor what is spliced or mapped out of them"}
	}
	ends, are := "laddr: k_ip, lport: k_port", "laddr: local_ip(sk), lport: local_port(sk)"
	if protocol == "TCP" {
		ends, are = ends+", raddr: k_ip, rport: k_port", are+", raddr: remote_ip(sk), rport: remote_port(sk)"
	}
	return thing{
		about:   "what processes " + verb + " by " + protocol,
		watched: lines,
		contract: fmt.Sprintf(`contract "What processes %s by %s"

%s
event %s { time: k_time, pid: k_pid, tid: k_tid, uid: k_uid, comm: char[16], %s, bytes: k_bytes }

hook tp_btf/%s(%s)
  case %s: ret > 0 && sk.sk_protocol in {%s} && is_ip(sk) && task_wanted(pid, comm, uid)%s
    emit %s { time: now, pid: current.tgid, tid: current.tid, uid: current.uid, comm: process_comm(current.task), %s, bytes: u64(ret) }
  otherwise nothing
`, verb, protocol, filterParams, done, ends, hook, args, done, numbers, more, done, are),
	}
}

// packetsContract lists packets of IP at the sockets of a host.
var packetsContract = func() string {
	hook := func(at, way string) string {
		return strings.NewReplacer("AT", at, "WAY", way).Replace(`
hook cgroup_skb/AT()
  case ipv4: version == 4 && packet.len >= 20
    emit packets {
      time: now, way: WAY, protocol: packet.u8(9), saddr: ip4(packet.be32(12)), daddr: ip4(packet.be32(16)), sport: ported4 ? ntohs(packet.be16(end4)) : 0,
      dport: ported4 ? ntohs(packet.be16(end4 + 2)) : 0, bytes: packet.len
    }
    return 1
  case ipv6: version == 6 && packet.len >= 40
    emit packets {
      time: now, way: WAY, protocol: packet.u8(6), saddr: packet.ip6(8), daddr: packet.ip6(24), sport: ported(packet.u8(6)) ? ntohs(packet.be16(40)) : 0,
      dport: ported(packet.u8(6)) ? ntohs(packet.be16(42)) : 0, bytes: packet.len
    }
    return 1
  otherwise
    return 1
`)
	}
	return `contract "Packets of this host's sockets"

enum way_of { sent = 1, received = 2 }

event packets { time: k_time, way: way_of, protocol: k_ipproto, saddr: k_ip, daddr: k_ip, sport: k_port, dport: k_port, bytes: k_bytes }

define version = packet.u8(0) >> 4 means "the IP version"

define end4 = (packet.u8(0) & 15) * 4 means "the end of the IPv4 header"

define ported(protocol) = protocol in {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_DCCP} means "{protocol} has ports"

define ported4 = ported(packet.u8(9)) && (ntohs(packet.be16(6)) & 8191) == 0 means "it begins with ports"
` + hook("egress", "sent") + hook("ingress", "received")
}()

package codegen_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kgent/agent/program/programtest"
)

// quick are recipes whose contracts are proved in less than a second.
var quick = []string{"bash-commands", "oom-kills", "slow-syscalls", "tcp-states"}

// What is made of the contracts of the recipes is VERIFIED. All of them with KGENT_SOAK.
func TestRecipes(t *testing.T) {
	all := contracts(t, "../recipes/*/contract.kc")
	for name, text := range all {
		if os.Getenv("KGENT_SOAK") == "" && !slices.Contains(quick, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			verdict, why, source := verdictOf(t, text, patient)
			t.Logf("%s: %s", name, verdict)
			if dir := os.Getenv("KGENT_CODEGEN_OUT"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, name+".bpf.c"), []byte(source), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if verdict != "VERIFIED" {
				t.Errorf("%s: %s\n%s", name, verdict, why)
			}
		})
	}
}

// It is, too, in the form for kernels without ring buffers. The recipes and the whole corpus with KGENT_SOAK.
func TestPerfForm(t *testing.T) {
	all := contracts(t, "../recipes/*/contract.kc")
	if os.Getenv("KGENT_SOAK") != "" {
		for _, pattern := range []string{"../verify/corpus/ordinary/*/contract.kc", "../verify/corpus/cases/*/contract.kc"} {
			for name, text := range contracts(t, pattern) {
				all["corpus "+name] = text
			}
		}
	}
	for name, text := range all {
		if os.Getenv("KGENT_SOAK") == "" && !slices.Contains(quick, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			want, _, _ := verdictOf(t, text, patient)
			if verdict, why, source := verdictIn(t, programtest.CompilePerf, text, patient); verdict != want {
				t.Errorf("%s, with ring buffers %s: %s\n%s", verdict, want, why, numbered(source))
			}
		})
	}
}

// What is made of the contracts of the corpus is VERIFIED or, where something has no code, refused.
func TestCorpus(t *testing.T) {
	if os.Getenv("KGENT_SOAK") == "" {
		t.Skip("proves some ninety programs: set KGENT_SOAK")
	}
	all := contracts(t, "../verify/corpus/ordinary/*/contract.kc")
	for name, text := range contracts(t, "../verify/corpus/cases/*/contract.kc") {
		all["case "+name] = text
	}
	for name, text := range all {
		t.Run(name, func(t *testing.T) {
			verdict, why, source := verdictOf(t, text, patient)
			t.Logf("%s: %s", name, verdict)
			switch verdict {
			case "VERIFIED":
			case "UNSUPPORTED", "UNKNOWN":
				t.Log(why)
			default:
				t.Errorf("%s: %s\n%s\n%s", name, verdict, why, numbered(source))
			}
		})
	}
}

// Programs that were called wrong although they are right.
func TestNotRefuted(t *testing.T) {
	for name, text := range map[string]string{
		"copies of several CPUs": `contract "Sums"
table sizes : sum k_bytes
memory kept { thread: u32 } : { a: u64 }
hook xdp()
  case c00: known kept[u32(packet.u8(packet.u8(14) & 15))]
    add u64(packet.u8(23)) to sizes
    forget kept[u32(packet.u8(packet.u8(14) & 15))]
    return XDP_DROP
  otherwise
    remember kept[u32(packet.u8(packet.u8(14) & 15))] { a: 7 }
    return XDP_DROP
`,
		"a field of which some bytes are the same terms": `contract "Marks"
table counts { k: u32 } : count
memory kept { thread: u32 } : { b: u32 }
hook cgroup_skb/egress(skb)
  case c00: skb.mark == 7
    remember kept[skb.mark] { b: ntohs(packet.be16(2)) }
    return 1
  case c01: known kept[skb.mark] && kept[skb.mark].b == 80
    return 0
  otherwise
    add 1 to counts[k: skb.mark]
    return 1
`,
	} {
		t.Run(name, func(t *testing.T) {
			if verdict, why, source := verdictOf(t, text, brief); verdict != "VERIFIED" && verdict != "UNKNOWN" {
				t.Errorf("%s: %s\n%s", verdict, why, numbered(source))
			}
		})
	}
}

// What a packet says in words, at a place that its header says, is read up to its NUL or its end.
func TestTextsOfPackets(t *testing.T) {
	for hook, pass := range map[string]string{"cgroup_skb/egress": "1", "xdp": "XDP_PASS"} {
		verdict, why, source := verdictOf(t, strings.NewReplacer("HOOK", hook, "PASS", pass).Replace(`contract "x"
event seen { name: char[12], begin: char[4] }
hook HOOK() with header = (packet.u8(0) & 15) * 4, words = header + 8
  case any: packet.u8(9) == IPPROTO_UDP && packet.u8(0) >> 4 == 4 && ntohs(packet.be16(6)) & 0x1fff == 0
    emit seen { name: packet.text(words, 12), begin: packet.text(8, 12) }
    return PASS
  otherwise
    return PASS
`), patient)
		if verdict != "VERIFIED" {
			t.Errorf("%s: %s: %s\n%s", hook, verdict, why, numbered(source))
		}
	}
}

// At several functions, at their returns, at a copy of packets and at a marker.
func TestFurtherKinds(t *testing.T) {
	for place, does := range map[string]string{
		"kprobe.multi/vfs_read,vfs_write(count)":  "case c: count >= 512 && probe.function != 0\n    add count to n\n  otherwise nothing",
		"kretprobe.multi/vfs_read,vfs_write(ret)": "case c: ret < 0\n    add 1 to n\n  otherwise nothing",
		"socket(skb)":                           "case c: packet.be16(12) == htons(ETH_P_IP) && skb.pkt_type == 4\n    add packet.len to n\n    return 0\n  otherwise return packet.len",
		"usdt/libc.so.6:libc:memory_heap_new()": "case c: current.uid != 0\n    add 1 to n\n  otherwise nothing",
	} {
		verdict, why, source := verdictOf(t, "contract \"x\"\ntable n : sum u64\nhook "+place+"\n  "+does+"\n", patient)
		if verdict != "VERIFIED" {
			t.Errorf("%s: %s: %s\n%s", place, verdict, why, numbered(source))
		}
	}
}

// Of an argument of a system call as much is looked at as the call takes, with its sign: what a program leaves in the
// rest of the register means nothing.
func TestArgumentsOfCalls(t *testing.T) {
	text := `contract "x"
event seen { pid: k_pid, to: s32, signal: s32 }
hook tracepoint/syscalls/sys_enter_kill(pid as target, sig)
  case groups: target < 0 && sig != 0
    emit seen { pid: current.tgid, to: target, signal: sig }
  otherwise nothing
`
	verdict, why, source := verdictOf(t, text, patient)
	if verdict != "VERIFIED" {
		t.Fatalf("%s: %s\n%s", verdict, why, numbered(source))
	}
	wide := strings.Replace(source, "__s32 target", "__s64 target", 1)
	if wide == source {
		t.Fatalf("the program has changed:\n%s", numbered(source))
	}
	o, m := built(t, wide)
	if r := proved(t, o, m, checked(t, text).Contract, patient); r.Verdict.String() != "REFUTED" {
		t.Errorf("a program that compares the whole register is %s", r.Verdict)
	}
}

// Members of structs in a process's memory are read by name, from whatever holds the address.
func TestStructsOfProcesses(t *testing.T) {
	verdict, why, source := verdictOf(t, `contract "x"
event seen { family: k_family, port: k_port, v4: k_ip, v6: k_ip, length: s64, base: u64 }
memory calls { thread: k_tid } : { address: user_pointer }
hook tracepoint/syscalls/sys_enter_sendmsg(fd, msg)
  case any: as(struct user_msghdr, msg).msg_namelen >= 16
    remember calls[current.tid] { address: as(struct user_msghdr, msg).msg_name }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_sendmsg(ret)
  case any: known calls[current.tid] && as(struct sockaddr, calls[current.tid].address).sa_family in {AF_INET, AF_INET6}
    emit seen {
      family: as(struct sockaddr, calls[current.tid].address).sa_family,
      port: ntohs(as(struct sockaddr_in, calls[current.tid].address).sin_port),
      v4: ip4(as(struct sockaddr_in, calls[current.tid].address).sin_addr.s_addr),
      v6: ip6(as(struct sockaddr_in6, calls[current.tid].address).sin6_addr),
      length: as(struct __kernel_timespec, calls[current.tid].address).tv_nsec, base: ret < 0 ? 0 : u64(ret)
    }
    forget calls[current.tid]
  otherwise nothing
`, patient)
	if verdict != "VERIFIED" {
		t.Errorf("%s: %s\n%s", verdict, why, numbered(source))
	}
}

// One case may change a cell of one memory and remember or forget another's: how many threads wait for one lock.
func TestSeveralMemories(t *testing.T) {
	verdict, why, source := verdictOf(t, `contract "x"
event convoy { pid: k_pid, lock: k_addr, waiters: u32 }
memory waiters { lock: k_addr } : { n: u32 }
memory waiting { thread: k_tid } : { lock: k_addr }
hook tracepoint/syscalls/sys_enter_futex(uaddr, op)
  case more: (op & 0x7f) == FUTEX_WAIT && known waiters[uaddr]
    emit convoy { pid: current.tgid, lock: uaddr, waiters: waiters[uaddr].n + 1 }
    change waiters[uaddr] { n: waiters[uaddr].n + 1 }
    remember waiting[current.tid] { lock: uaddr }
  case first: (op & 0x7f) == FUTEX_WAIT
    remember waiters[uaddr] { n: 1 }
    remember waiting[current.tid] { lock: uaddr }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_futex()
  case last: known waiting[current.tid] && known waiters[waiting[current.tid].lock] && waiters[waiting[current.tid].lock].n <= 1
    forget waiters[waiting[current.tid].lock]
    forget waiting[current.tid]
  case fewer: known waiting[current.tid] && known waiters[waiting[current.tid].lock]
    change waiters[waiting[current.tid].lock] { n: waiters[waiting[current.tid].lock].n - 1 }
    forget waiting[current.tid]
  case gone: known waiting[current.tid]
    forget waiting[current.tid]
  otherwise nothing
assume returns
assume identity
`, patient)
	if verdict != "VERIFIED" {
		t.Errorf("%s: %s\n%s", verdict, why, numbered(source))
	}
}

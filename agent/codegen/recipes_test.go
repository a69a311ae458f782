package codegen_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
hook HOOK()
  case any: packet.u8(9) == IPPROTO_UDP
    emit seen { name: packet.text((packet.u8(0) & 15) * 4 + 8, 12), begin: packet.text(8, 12) }
    return PASS
  otherwise
    return PASS
`), patient)
		if verdict != "VERIFIED" {
			t.Errorf("%s: %s: %s\n%s", hook, verdict, why, numbered(source))
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

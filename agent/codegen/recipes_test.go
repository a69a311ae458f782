package codegen_test

import (
	"os"
	"path/filepath"
	"slices"
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

package proof

import (
	"strings"
	"testing"
)

// A packet that is read where one of its own bytes says: the contract is kept, and what reads
// at other offsets is found out.
func TestFar(t *testing.T) {
	const text = `contract "Options"
table options { kind: u8 } : count
define first = ntohs(packet.be16(12)) == ETH_P_IP && packet.len >= 16 means "there is an option"
define at = 16 + packet.u8(15) * 4 means "the end of the first option"
define second = first && packet.u8(14) == 7 && packet.len >= at + 2 means "there is another one"
hook xdp()
  case two: second
    add 1 to options[packet.u8(at + packet.u8(at + 1))]
    return XDP_PASS
  case one: first
    add 1 to options[packet.u8(14)]
    return XDP_PASS
  otherwise
    return XDP_PASS
`
	const program = `struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 256); __type(key, __u8); __type(value, k_count); } options SEC(".maps") KGENT_OUTPUT;
SEC("xdp") int f(struct xdp_md *ctx) { void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end; __u8 *p = data + 14, kind;
  struct ethhdr *eth = data; if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || (void *)(p + 2) > end) return XDP_PASS;
  kind = p[0];
  if (kind == 7) { __u8 *q = data + 16 + p[1] * 4; if ((void *)(q + 2) <= end) { q += q[1]; kind = (void *)(q + 1) <= end ? *q : 0; } }
  k_count *n = k_cell(&options, &kind, k_count); if (n) (*n)++; return XDP_PASS; }
`
	for _, x := range []struct {
		name, old, new string
		want           Verdict
	}{
		{"right", "", "", Verified},
		{"another length", "p[1] * 4", "p[1] * 2", Refuted},
		{"another byte", "q += q[1]", "q += q[0]", Refuted},
		{"cut off earlier", "(q + 1) <= end", "(q + 2) <= end", Refuted},
		{"another kind", "kind == 7", "kind == 6", Refuted},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := verify(t, head+strings.Replace(program, x.old, x.new, 1), text, patient)
			if r.Verdict != x.want {
				t.Errorf("%s, want %s: %v", r.Verdict, x.want, r.Reasons)
			}
		})
	}
}

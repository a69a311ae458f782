package proof

import (
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
)

// kindsOf are contracts over hooks that hang on several functions or on a socket: each with programs that
// keep it and such that do not, by what is wrong with them.
var kindsOf = []struct {
	name, contract, maps string
	right, wrong         map[string]string
}{
	{
		name: "kprobe.multi",
		contract: `contract "Bytes asked for by function and process"
table asked { function: k_addr, pid: k_pid } : sum k_bytes
hook kprobe.multi/vfs_read,vfs_write(count)
  case large: count >= 512
    add count to asked[probe.function, current.tgid]
  otherwise nothing
`,
		maps: `struct key { k_addr function; k_pid pid; __u32 _pad; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, struct key); __type(value, k_bytes); } asked SEC(".maps") KGENT_OUTPUT;
static __always_inline void add(__u64 function, __u64 n)
{
	struct key k = {.function = function, .pid = k_current_pid()};
	k_bytes zero = 0, *sum = bpf_map_lookup_elem(&asked, &k);
	if (!sum) {
		bpf_map_update_elem(&asked, &k, &zero, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&asked, &k);
	}
	if (sum)
		__sync_fetch_and_add(sum, n);
}
`,
		right: map[string]string{
			"by name": `SEC("kprobe.multi/vfs_read,vfs_write") int BPF_KPROBE(f, void *file, void *buf, size_t count) { if (count >= 512) add(bpf_get_func_ip(ctx), count); return 0; }`,
			"by register": `SEC("kprobe.multi/vfs_read,vfs_write") int f(struct pt_regs *ctx) {
	if (PT_REGS_PARM3(ctx) < 512) return 0; add(bpf_get_func_ip(ctx), PT_REGS_PARM3(ctx)); return 0; }`,
		},
		wrong: map[string]string{
			"another argument": `SEC("kprobe.multi/vfs_read,vfs_write") int BPF_KPROBE(f, void *file, size_t count) { if (count >= 512) add(bpf_get_func_ip(ctx), count); return 0; }`,
			"below":            `SEC("kprobe.multi/vfs_read,vfs_write") int BPF_KPROBE(f, void *file, void *buf, size_t count) { if (count > 512) add(bpf_get_func_ip(ctx), count); return 0; }`,
			"the address of the instruction": `SEC("kprobe.multi/vfs_read,vfs_write") int BPF_KPROBE(f, void *file, void *buf, size_t count) {
	if (count >= 512) add(PT_REGS_IP(ctx), count); return 0; }`,
			"one function": `SEC("kprobe.multi/vfs_read") int BPF_KPROBE(f, void *file, void *buf, size_t count) { if (count >= 512) add(bpf_get_func_ip(ctx), count); return 0; }`,
			"at the return": `SEC("kretprobe.multi/vfs_read,vfs_write") int BPF_KPROBE(f, void *file, void *buf, size_t count) {
	if (count >= 512) add(bpf_get_func_ip(ctx), count); return 0; }`,
		},
	},
	{
		name: "kprobe.multi of a pattern",
		contract: `contract "Calls of the VFS, by function"
table calls { function: k_addr } : count
hook kprobe.multi/vfs_*()
  case call: current.uid != 0
    add 1 to calls[probe.function]
  otherwise nothing
`,
		maps: `struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 10240); __type(key, k_addr); __type(value, k_count); } calls SEC(".maps") KGENT_OUTPUT;
static __always_inline void count(k_addr at)
{
	k_count one = 1, *n = bpf_map_lookup_elem(&calls, &at);
	if (n)
		*n += 1;
	else
		bpf_map_update_elem(&calls, &at, &one, BPF_ANY);
}
`,
		right: map[string]string{
			"": `SEC("kprobe.multi/vfs_*") int f(struct pt_regs *ctx) { if (k_current_uid()) count(bpf_get_func_ip(ctx)); return 0; }`,
		},
		wrong: map[string]string{
			"all users":          `SEC("kprobe.multi/vfs_*") int f(struct pt_regs *ctx) { count(bpf_get_func_ip(ctx)); return 0; }`,
			"its first argument": `SEC("kprobe.multi/vfs_*") int f(struct pt_regs *ctx) { if (k_current_uid()) count(PT_REGS_PARM1(ctx)); return 0; }`,
		},
	},
	{
		name: "kretprobe.multi",
		contract: `contract "Failed reads and writes"
event failed { function: k_addr, ret: k_ret }
hook kretprobe.multi/vfs_read,vfs_write(ret)
  case failed: ret < 0
    emit failed { function: probe.function, ret: ret }
  otherwise nothing
`,
		maps: `struct ev { k_addr function; k_ret ret; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct ev); } failed SEC(".maps");
static __always_inline void out(k_addr at, k_ret ret)
{
	struct ev *e = bpf_ringbuf_reserve(&failed, sizeof(*e), 0);
	if (!e) return;
	e->function = at; e->ret = ret;
	bpf_ringbuf_submit(e, 0);
}
`,
		right: map[string]string{
			"": `SEC("kretprobe.multi/vfs_read,vfs_write") int BPF_KRETPROBE(f, long ret) { if (ret < 0) out(bpf_get_func_ip(ctx), ret); return 0; }`,
		},
		wrong: map[string]string{
			"unsigned":   `SEC("kretprobe.multi/vfs_read,vfs_write") int BPF_KRETPROBE(f, unsigned long ret) { if (ret < 0) out(bpf_get_func_ip(ctx), ret); return 0; }`,
			"minus one":  `SEC("kretprobe.multi/vfs_read,vfs_write") int BPF_KRETPROBE(f, long ret) { if (ret == -1) out(bpf_get_func_ip(ctx), ret); return 0; }`,
			"cut":        `SEC("kretprobe.multi/vfs_read,vfs_write") int BPF_KRETPROBE(f, long ret) { if (ret < 0) out(bpf_get_func_ip(ctx), (__u32)ret); return 0; }`,
			"a register": `SEC("kretprobe.multi/vfs_read,vfs_write") int f(struct pt_regs *ctx) { long ret = PT_REGS_RC(ctx); if (ret < 0) out(PT_REGS_PARM1(ctx), ret); return 0; }`,
		},
	},
	{
		name: "kprobe.session",
		contract: `contract "Large reads that fail"
table ends { ret: k_ret } : count
hook kprobe.session/vfs_read(count, ret)
  case call: !probe.returns && count >= 4096
    return 0
  case failed: probe.returns && ret < 0
    add 1 to ends[ret]
    return 0
  otherwise return 1
`,
		maps: `extern bool bpf_session_is_return(void) __ksym;
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 10240); __type(key, k_ret); __type(value, k_count); } ends SEC(".maps") KGENT_OUTPUT;
static __always_inline void count_end(k_ret ret)
{
	k_count one = 1, *n = bpf_map_lookup_elem(&ends, &ret);
	if (n)
		*n += 1;
	else
		bpf_map_update_elem(&ends, &ret, &one, BPF_ANY);
}
`,
		right: map[string]string{
			"": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	if (!bpf_session_is_return()) return PT_REGS_PARM3(ctx) < 4096;
	long ret = PT_REGS_RC(ctx); if (ret < 0) count_end(ret); return 0; }`,
			"another value at the return": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	if (!bpf_session_is_return()) return PT_REGS_PARM3(ctx) < 4096;
	long ret = PT_REGS_RC(ctx); if (ret >= 0) return 0; count_end(ret); return 1; }`,
		},
		wrong: map[string]string{
			"turned round": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	if (bpf_session_is_return()) return PT_REGS_PARM3(ctx) < 4096;
	long ret = PT_REGS_RC(ctx); if (ret < 0) count_end(ret); return 0; }`,
			"no return": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	if (!bpf_session_is_return()) return 1;
	long ret = PT_REGS_RC(ctx); if (ret < 0) count_end(ret); return 0; }`,
			"it never asks which": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	long ret = PT_REGS_RC(ctx); if (ret < 0) count_end(ret); return PT_REGS_PARM3(ctx) < 4096; }`,
		},
	},
	{
		name: "the cookie of a session",
		contract: `contract "How long large reads take"
table took : sum k_ns
memory begun { call: u64 } : { at: k_time }
hook kprobe.session/vfs_read(count)
  case call: !probe.returns && count >= 4096
    remember begun[probe.call] { at: now }
    return 0
  case ends: probe.returns && known begun[probe.call]
    add now - begun[probe.call].at to took
    forget begun[probe.call]
    return 0
  otherwise return 1
`,
		maps: `extern bool bpf_session_is_return(void) __ksym;
extern __u64 *bpf_session_cookie(void) __ksym;
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, k_ns); } took SEC(".maps") KGENT_OUTPUT;
static __always_inline void add(__u64 ns)
{
	__u32 zero = 0;
	k_ns *sum = bpf_map_lookup_elem(&took, &zero);
	if (sum)
		*sum += ns;
}
`,
		right: map[string]string{
			"": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	__u64 *at;
	if (bpf_session_is_return()) { at = bpf_session_cookie(); add(bpf_ktime_get_ns() - *at); return 0; }
	if (PT_REGS_PARM3(ctx) < 4096) return 1;
	at = bpf_session_cookie(); *at = bpf_ktime_get_ns(); return 0; }`,
		},
		wrong: map[string]string{
			"small ones, too": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	__u64 *at = bpf_session_cookie();
	if (bpf_session_is_return()) { add(bpf_ktime_get_ns() - *at); return 0; }
	*at = bpf_ktime_get_ns(); return 0; }`,
			"half of it is left": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	__u64 *at = bpf_session_cookie();
	if (bpf_session_is_return()) { add(bpf_ktime_get_ns() - *at); return 0; }
	if (PT_REGS_PARM3(ctx) < 4096) return 1;
	*(__u32 *)at = bpf_ktime_get_ns(); return 0; }`,
			"an argument at the return": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	__u64 *at = bpf_session_cookie();
	if (PT_REGS_PARM3(ctx) < 4096) return 1;
	if (bpf_session_is_return()) { add(bpf_ktime_get_ns() - *at); return 0; }
	*at = bpf_ktime_get_ns(); return 0; }`,
			"two functions": `SEC("kprobe.session/vfs_read,vfs_write") int f(struct pt_regs *ctx) {
	__u64 *at = bpf_session_cookie();
	if (bpf_session_is_return()) { add(bpf_ktime_get_ns() - *at); return 0; }
	if (PT_REGS_PARM3(ctx) < 4096) return 1;
	*at = bpf_ktime_get_ns(); return 0; }`,
			"nothing is left": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	__u64 *at = bpf_session_cookie();
	if (bpf_session_is_return()) { add(bpf_ktime_get_ns() - *at); return 0; }
	return PT_REGS_PARM3(ctx) < 4096; }`,
			"the return is not looked at": `SEC("kprobe.session/vfs_read") int f(struct pt_regs *ctx) {
	__u64 *at = bpf_session_cookie();
	if (bpf_session_is_return()) { add(bpf_ktime_get_ns() - *at); return 0; }
	*at = bpf_ktime_get_ns(); return 1; }`,
		},
	},
	{
		name: "socket",
		contract: `contract "UDP packets by port, seen and kept"
table ports { port: k_port } : sum k_bytes
hook socket(skb)
  case udp: ntohs(skb.protocol) == ETH_P_IP && packet.len >= 42 && packet.u8(14) == 0x45 && packet.u8(23) == IPPROTO_UDP
    add packet.len to ports[ntohs(packet.be16(36))]
    return 42
  otherwise return 0
`,
		maps: `struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 65536); __type(key, k_port); __type(value, k_bytes); } ports SEC(".maps") KGENT_OUTPUT;
static __always_inline void add(k_port port, k_bytes len)
{
	k_bytes *n = bpf_map_lookup_elem(&ports, &port);
	if (n)
		*n += len;
	else
		bpf_map_update_elem(&ports, &port, &len, BPF_ANY);
}
static __always_inline int udp(struct __sk_buff *skb, int offset, int kept)
{
	__u8 first = 0, protocol = 0;
	__be16 port = 0;
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->len < 42) return 0;
	if (bpf_skb_load_bytes(skb, 14, &first, 1) || first != 0x45) return 0;
	if (bpf_skb_load_bytes(skb, 23, &protocol, 1) || protocol != IPPROTO_UDP) return 0;
	if (bpf_skb_load_bytes(skb, offset, &port, 2)) return 0;
	add(bpf_ntohs(port), skb->len);
	return kept;
}
`,
		right: map[string]string{"": `SEC("socket") int f(struct __sk_buff *skb) { return udp(skb, 36, 42); }`},
		wrong: map[string]string{
			"the other port":    `SEC("socket") int f(struct __sk_buff *skb) { return udp(skb, 34, 42); }`,
			"all of it is kept": `SEC("socket") int f(struct __sk_buff *skb) { return udp(skb, 36, -1); }`,
			"nothing is kept":   `SEC("socket") int f(struct __sk_buff *skb) { return udp(skb, 36, 0); }`,
			"where it arrives":  `SEC("tcx/ingress") int f(struct __sk_buff *skb) { return udp(skb, 36, 42); }`,
		},
	},
}

// Right programs at these hooks are VERIFIED, and wrong ones REFUTED.
func TestKinds(t *testing.T) {
	h := here(t)
	for _, k := range kindsOf {
		t.Run(k.name, func(t *testing.T) {
			c, err := contract.Parse(k.contract)
			if err != nil {
				t.Fatal(err)
			}
			try := func(name, source string, want Verdict) {
				t.Run(strings.TrimSpace(want.String()+" "+name), func(t *testing.T) {
					o := programtest.Object(t, head+k.maps+source)
					m, err := program.Build(o, program.Options{Name: "test", Title: "test", Interface: "lo"})
					if err != nil {
						t.Fatal(err)
					}
					r, err := Verify(t.Context(), Input{Object: o, Manifest: m, Contract: c, Kernel: h.kernel, Types: h.types, Limits: patient})
					if err != nil {
						t.Fatal(err)
					}
					if r.Verdict != want {
						t.Errorf("%s, want %s: %s", r.Verdict, want, r.Text())
					}
				})
			}
			for name, source := range k.right {
				try(name, source, Verified)
			}
			for name, source := range k.wrong {
				try(name, source, Refuted)
			}
		})
	}
}

package executor

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"kgent/agent/program"
)

func TestNodePolicy(t *testing.T) {
	const xdp = `struct xdp_md { __u32 data; __u32 data_end; };
SEC("xdp") int p(struct xdp_md *ctx) { `
	const skb = `struct __sk_buff { __u32 len; };
SEC("SECTION") int p(struct __sk_buff *ctx) { `
	section := func(s string) string { return strings.Replace(skb, "SECTION", s, 1) }
	act := DefaultPolicy()
	act.AllowAct = true
	noHelpers := act
	noHelpers.DenyHelpers = nil
	const loop = `static long (*bpf_loop)(__u32 n, void *f, void *c, __u64 flags) = (void *)181;
static long f(__u32 i, void *c) { return 0; }
`
	for _, test := range []struct {
		name   string
		source string
		policy NodePolicy
		tier   string
		rule   string // "" for allowed
		detail string
	}{
		{"observes", plain, DefaultPolicy(), "observe", "", ""},
		{"writes to the trace pipe", `SEC("raw_tp/sys_enter") int p(void *ctx) { static const char f[] = "hi"; bpf_trace_printk(f, sizeof(f)); return 0; }`, DefaultPolicy(), "observe", "", ""},

		{"writes user memory", `SEC("raw_tp/sys_enter") int p(void *ctx) { int x = 0; bpf_probe_write_user((void *)1, &x, 4); return 0; }`, act, TierAct, "helper", "bpf_probe_write_user"},
		{"overrides a result", `SEC("kprobe/do_nanosleep") int p(void *ctx) { bpf_override_return(ctx, 0); return 0; }`, act, TierAct, "helper", "bpf_override_return"},
		{"sends a signal", `SEC("raw_tp/sys_enter") int p(void *ctx) { bpf_send_signal(9); return 0; }`, act, TierAct, "helper", "bpf_send_signal"},
		{"sends a signal to a thread", `SEC("raw_tp/sys_enter") int p(void *ctx) { bpf_send_signal_thread(9); return 0; }`, act, TierAct, "helper", "bpf_send_signal_thread"},
		{"sends a signal from a subprogram", `static __attribute__((noinline)) int sub(int s) { return bpf_send_signal(s); }
SEC("raw_tp/sys_enter") int p(void *ctx) { return sub((long)ctx & 7); }`, act, TierAct, "helper", "bpf_send_signal"},
		{"sends a signal, not denied, approved to act", `SEC("raw_tp/sys_enter") int p(void *ctx) { bpf_send_signal(9); return 0; }`, noHelpers, TierAct, "", ""},
		{"sends a signal, not denied, approved to observe", `SEC("raw_tp/sys_enter") int p(void *ctx) { bpf_send_signal(9); return 0; }`, noHelpers, "observe-sensitive", "act", "bpf_send_signal"},
		{"calls a helper that nobody knows", `SEC("raw_tp/sys_enter") int p(void *ctx) { bpf_from_the_future(); return 0; }`, act, "observe", "act", "9999"},
		{"calls an iterator kfunc", `struct bpf_iter_num { __u64 o[1]; } __attribute__((aligned(8)));
extern int bpf_iter_num_new(struct bpf_iter_num *it, int a, int b) __attribute__((section(".ksyms")));
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __attribute__((section(".ksyms")));
SEC("raw_tp/sys_enter") int p(void *ctx) { struct bpf_iter_num it; bpf_iter_num_new(&it, 0, 1); bpf_iter_num_destroy(&it); return 0; }`, DefaultPolicy(), "observe", "", ""},
		{"calls a kfunc that destroys", `struct sock_common { int x; };
extern int bpf_sock_destroy(struct sock_common *s) __attribute__((section(".ksyms")));
SEC("tp_btf/inet_sock_set_state") int p(void *ctx) { bpf_sock_destroy((void *)ctx); return 0; }`, DefaultPolicy(), "observe", "act", "bpf_sock_destroy"},

		{"passes packets", xdp + `return 2; }`, DefaultPolicy(), "observe", "", ""},
		{"drops packets", xdp + `return 1; }`, DefaultPolicy(), "observe", "act", "can return 1 to xdp"},
		{"drops packets, approved", xdp + `return 1; }`, act, TierAct, "", ""},
		{"drops packets, approved, on a node that only observes", xdp + `return 1; }`, DefaultPolicy(), TierAct, "act", "this node runs only programs that observe"},
		{"drops some packets", xdp + `return ctx->data & 1 ? 2 : 1; }`, DefaultPolicy(), "observe", "act", "xdp"},
		{"returns what it finds", xdp + `return ctx->data; }`, DefaultPolicy(), "observe", "act", "cannot be told"},
		{"redirects packets", xdp + `return bpf_redirect(1, 0); }`, DefaultPolicy(), "observe", "act", "bpf_redirect"},
		{"aborts", xdp + `return 0; }`, DefaultPolicy(), "observe", "act", "can return 0"},

		{"leaves packets to the next", section("tcx/ingress") + `return -1; }`, DefaultPolicy(), "observe", "", ""},
		{"takes packets past a firewall", section("tcx/ingress") + `return 0; }`, DefaultPolicy(), "observe", "act", "can return 0 to tcx/ingress, where only TCX_NEXT (-1) changes nothing"},
		{"drops outgoing packets", section("tcx/egress") + `return 2; }`, DefaultPolicy(), "observe", "act", "can return 2 to tcx/egress"},
		{"passes a cgroup's packets", section("cgroup_skb/egress") + `return 1; }`, DefaultPolicy(), "observe", "", ""},
		{"drops a cgroup's packets", section("cgroup_skb/ingress") + `return 0; }`, DefaultPolicy(), "observe", "act", "can return 0"},
		{"drops short packets without saying so", `long load(void *skb, unsigned long long off) asm("llvm.bpf.load.byte");
` + section("cgroup_skb/ingress") + `static volatile long sink; sink = load(ctx, 60000); return 1; }`, DefaultPolicy(), "observe", "act", "packet loads"},
		{"watches where a cgroup connects", `struct bpf_sock_addr { __u32 x; };
SEC("cgroup/connect4") int p(struct bpf_sock_addr *ctx) { return 1; }`, DefaultPolicy(), "observe", "", ""},
		{"changes where a cgroup connects", `struct bpf_sock_addr { __u32 x; };
SEC("cgroup/connect4") int p(struct bpf_sock_addr *ctx) { ctx->x = 1; return 1; }`, DefaultPolicy(), "observe", "act", "may write into its context"},
		{"changes packets that it passes", `struct xdp_md { __u32 data; __u32 data_end; };
SEC("xdp") int p(struct xdp_md *ctx) {
	char *d = (char *)(long)ctx->data, *end = (char *)(long)ctx->data_end;
	if (d + 1 <= end) *d = 0;
	return 2;
}`, DefaultPolicy(), "observe", "act", "may write into its packet"},
		{"allows everything", `SEC("lsm/file_open") int p(__u64 *ctx) { return 0; }`, DefaultPolicy(), "observe", "", ""},
		{"changes socket options", `SEC("cgroup/setsockopt") int p(struct { void *sk; unsigned char *value, *end; } *ctx) { if (ctx->value + 1 <= ctx->end) *ctx->value = 0; return 1; }`, DefaultPolicy(), "observe", "act", "may write into its context"},
		{"loops for ever", loop + `static long g(__u32 i, void *c) { return bpf_loop(1 << 20, f, 0, 0); }
SEC("raw_tp/sys_enter") int p(void *ctx) { bpf_loop(1 << 20, g, 0, 0); return 0; }`, DefaultPolicy(), "observe", "act", "can hold a processor for long"},
		{"loops a little", loop + `SEC("raw_tp/sys_enter") int p(void *ctx) { bpf_loop(1000, f, 0, 0); return 0; }`, DefaultPolicy(), "observe", "", ""},
		{"denies opening files", `SEC("lsm/file_open") int p(__u64 *ctx) { return -1; }`, DefaultPolicy(), "observe", "act", "can return -1 to lsm"},
		{"changes a result", `SEC("fmod_ret/do_nanosleep") int p(__u64 *ctx) { return -4; }`, DefaultPolicy(), "observe", "act", "fmod_ret"},
		{"returns anything where it means nothing", `SEC("raw_tp/sys_enter") int p(__u64 *ctx) { return (int)ctx[0]; }`, DefaultPolicy(), "observe", "", ""},

		{"a denied kind on many functions", `SEC("kprobe.multi/tcp_*") int p(void *ctx) { return 0; }`, NodePolicy{MaxPrograms: 1, MaxMapBytes: 1 << 30, DenyKinds: []program.Kind{program.Kprobe}}, "observe", "kind", "kprobe.multi"},
		{"a denied kind", plain, NodePolicy{MaxPrograms: 1, MaxMapBytes: 1 << 30, DenyKinds: []program.Kind{program.RawTracepoint}}, "observe", "kind", "raw_tracepoint"},
		{"too many programs", plain + `SEC("raw_tp/sys_exit") int q(void *ctx) { return 0; }`, NodePolicy{MaxPrograms: 1, MaxMapBytes: 1 << 30}, "observe", "programs", "2 programs, at most 1"},
		{"too much memory", `struct { __uint(type, 1); __uint(max_entries, 1000000); __type(key, __u64); __type(value, char[4000]); } m SEC(".maps");
SEC("raw_tp/sys_enter") int p(void *ctx) { __u64 k = 0; return bpf_map_lookup_elem(&m, &k) != 0; }`, DefaultPolicy(), "observe", "map-memory", "at most 256"},
		{"no policy", plain, NodePolicy{}, "observe", "programs", "at most 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			source := test.source
			if !strings.HasPrefix(source, prelude) {
				source = prelude + source
			}
			o, m := built(t, source, program.Options{Interface: "eth0"})
			err := test.policy.Check(o, m, test.tier, 4)
			if test.rule == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var policy *PolicyError
			if !errors.As(err, &policy) || policy.Rule != test.rule || !strings.Contains(policy.Detail, test.detail) {
				t.Fatalf("got %v, want rule %s with %q", err, test.rule, test.detail)
			}
		})
	}
}

func TestMapBytes(t *testing.T) {
	for _, test := range []struct {
		name string
		spec ebpf.MapSpec
		min  uint64
		max  uint64
	}{
		{"ring buffer", ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 1 << 20}, 1 << 20, 1 << 20},
		{"perf buffers", ebpf.MapSpec{Type: ebpf.PerfEventArray, MaxEntries: 1 << 20}, 1 << 20, 1<<20 + 64<<12},
		{"array", ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 12, MaxEntries: 100}, 1600, 1600},
		{"array per processor", ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 12, MaxEntries: 100}, 1600 * 8, 1600 * 8},
		{"hash", ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 1000}, 1000 * 16, 1000 * 100},
		{"hash per processor", ebpf.MapSpec{Type: ebpf.PerCPUHash, KeySize: 4, ValueSize: 8, MaxEntries: 1000}, 1000 * 8 * 8, 1000 * 8 * 20},
		{"stacks", ebpf.MapSpec{Type: ebpf.StackTrace, KeySize: 4, ValueSize: 127 * 8, MaxEntries: 1000}, 1000 * 127 * 8, 1000 * 1200},
		{"storage of tasks", ebpf.MapSpec{Type: ebpf.TaskStorage, KeySize: 4, ValueSize: 1 << 16}, 1 << 30, 1 << 32},
		{"arena", ebpf.MapSpec{Type: ebpf.Arena, MaxEntries: 1000}, 4096000, 4096000},
		{"maps in a map", ebpf.MapSpec{Type: ebpf.HashOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 10,
			InnerMap: &ebpf.MapSpec{Type: ebpf.Array, ValueSize: 8, MaxEntries: 1000}}, 80_000, 90_000},
		{"maps in a map of no known kind", ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1}, math.MaxUint64, math.MaxUint64},
		{"more than there is", ebpf.MapSpec{Type: ebpf.PerCPUHash, KeySize: math.MaxUint32, ValueSize: math.MaxUint32, MaxEntries: math.MaxUint32}, math.MaxUint64, math.MaxUint64},
	} {
		spec := &ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{"m": &test.spec, "none": {Type: ebpf.Array}}}
		if got := MapBytes(spec, 8); got < test.min || got > test.max {
			t.Errorf("%s: %d bytes, want %d to %d", test.name, got, test.min, test.max)
		}
	}
}

// These must never be taken for observing, whatever the shared table says.
func TestActingHelpers(t *testing.T) {
	for _, h := range []string{
		"bpf_probe_write_user", "bpf_override_return", "bpf_send_signal", "bpf_send_signal_thread", "bpf_set_retval",
		"bpf_redirect", "bpf_redirect_map", "bpf_redirect_peer", "bpf_redirect_neigh", "bpf_clone_redirect",
		"bpf_skb_store_bytes", "bpf_xdp_store_bytes", "bpf_xdp_adjust_head", "bpf_xdp_adjust_tail", "bpf_xdp_adjust_meta",
		"bpf_l3_csum_replace", "bpf_l4_csum_replace", "bpf_skb_change_head", "bpf_skb_change_tail", "bpf_skb_change_proto",
		"bpf_skb_change_type", "bpf_skb_adjust_room", "bpf_skb_vlan_push", "bpf_skb_vlan_pop", "bpf_skb_set_tunnel_key",
		"bpf_skb_set_tunnel_opt", "bpf_skb_set_tstamp", "bpf_skb_ecn_set_ce", "bpf_set_hash", "bpf_set_hash_invalid",
		"bpf_csum_update", "bpf_csum_level", "bpf_setsockopt", "bpf_bind", "bpf_sock_ops_cb_flags_set", "bpf_sk_assign",
		"bpf_sk_select_reuseport", "bpf_sk_redirect_map", "bpf_sk_redirect_hash", "bpf_msg_redirect_map",
		"bpf_msg_redirect_hash", "bpf_msg_apply_bytes", "bpf_msg_cork_bytes", "bpf_msg_push_data", "bpf_msg_pop_data",
		"bpf_sock_map_update", "bpf_sock_hash_update", "bpf_tcp_send_ack", "bpf_store_hdr_opt", "bpf_reserve_hdr_opt",
		"bpf_sysctl_set_new_value", "bpf_sys_bpf", "bpf_sys_close", "bpf_bprm_opts_set", "bpf_dynptr_write",
		"bpf_rc_keydown", "bpf_rc_repeat", "bpf_rc_pointer_rel", "bpf_lwt_push_encap",
	} {
		if actsBecause(program.Facts{Helpers: []string{h}}, nil) == "" {
			t.Errorf("%s is taken for observing", h)
		}
	}
	for _, k := range []string{"bpf_sock_destroy", "bpf_set_dentry_xattr", "bpf_kfunc_of_tomorrow", "cgroup_rstat_updated", "bpf_throw", "bpf_dynptr_slice_rdwr"} {
		if actsBecause(program.Facts{Kfuncs: []string{k}}, nil) == "" {
			t.Errorf("%s is taken for observing", k)
		}
	}
}

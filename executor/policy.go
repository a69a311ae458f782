package executor

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"kgent/agent/program"
)

// TierAct is the tier of a grant whose approvers agreed that the program may
// change what the node does.
const TierAct = "act"

// NodePolicy is what a node allows whatever was approved. It looks at
// instructions and sizes, never at names or descriptions. The zero value
// allows nothing; begin with [DefaultPolicy].
type NodePolicy struct {
	// AllowAct lets programs of grants of [TierAct] change what the node does:
	// drop, redirect or rewrite packets, deny operations, send signals. Without
	// it only programs that observe are run.
	AllowAct bool
	// DenyHelpers are helpers (bpf_… names) that no program may call.
	DenyHelpers []string
	// DenyKinds are kinds of hooks that nothing is attached to.
	DenyKinds []program.Kind
	// MaxPrograms is how many programs a run may have.
	MaxPrograms int
	// MaxMapBytes is how much memory the maps of a run may take, as estimated
	// by [MapBytes].
	MaxMapBytes uint64
	// MaxRuns is how many runs the node has at once.
	MaxRuns int
}

// DefaultPolicy returns the policy of a node whose operator said nothing: it
// observes only.
func DefaultPolicy() NodePolicy {
	return NodePolicy{
		DenyHelpers: []string{"bpf_probe_write_user", "bpf_override_return", "bpf_send_signal", "bpf_send_signal_thread"},
		MaxPrograms: 64,
		MaxMapBytes: 256 << 20,
		MaxRuns:     8,
	}
}

// PolicyError says which rule of the node's policy a run breaks.
type PolicyError struct {
	Rule   string // kind, helper, act, programs, map-memory, runs
	Detail string
}

func (e *PolicyError) Error() string {
	return fmt.Sprintf("refused by this node's policy (%s): %s", e.Rule, e.Detail)
}

// Check holds a program, whose manifest fits it, against the policy. Tier is
// that of the grant. It fails with a [*PolicyError], or with what makes the
// program unreadable. cpus is how many processors the node can have.
func (p NodePolicy) Check(o *program.Object, m *program.Manifest, tier string, cpus int) error {
	facts, err := o.Facts()
	if err != nil {
		return err
	}
	if len(facts) > p.MaxPrograms {
		return &PolicyError{"programs", fmt.Sprintf("%d programs, at most %d", len(facts), p.MaxPrograms)}
	}
	specs := o.Programs()
	for i, f := range facts {
		if slices.Contains(p.DenyKinds, f.Hook.Kind) {
			return &PolicyError{"kind", fmt.Sprintf("program %s attaches by %s", f.Program, f.Hook.Kind)}
		}
		for _, h := range f.Helpers {
			if slices.Contains(p.DenyHelpers, h) {
				return &PolicyError{"helper", fmt.Sprintf("program %s calls %s", f.Program, h)}
			}
		}
		acts := actsBecause(f, specs[i])
		switch {
		case acts == "":
		case tier != TierAct:
			return &PolicyError{"act", fmt.Sprintf("program %s %s, and was approved as %q: ask for approval of tier %q", f.Program, acts, tier, TierAct)}
		case !p.AllowAct:
			return &PolicyError{"act", fmt.Sprintf("program %s %s, and this node runs only programs that observe", f.Program, acts)}
		}
	}
	spec, err := o.Collection(m, nil)
	if err != nil {
		return err
	}
	if n := MapBytes(spec, cpus); n > p.MaxMapBytes {
		return &PolicyError{"map-memory", fmt.Sprintf("its maps take about %d MiB, at most %d: ask for fewer entries", n>>20, p.MaxMapBytes>>20)}
	}
	return nil
}

// actsBecause says why a program may change what the node does; it returns ""
// for one that only observes. What is not known to observe acts.
func actsBecause(f program.Facts, spec *ebpf.ProgramSpec) string {
	for _, h := range f.Helpers {
		if !observing[h] {
			return "calls " + h + ", which does more than observe"
		}
	}
	for _, k := range f.Kfuncs {
		if !observingKfunc(k) {
			return "calls the kernel function " + k + ", which is not known to observe only"
		}
	}
	if len(f.Writes) > 0 {
		return "may write into its " + strings.Join(f.Writes, " and ")
	}
	pass, ok := passing[f.Hook.Kind]
	if !ok {
		return ""
	}
	if f.Verdicts == nil {
		return fmt.Sprintf("returns to %s what cannot be told from its instructions; let every return be the constant %s", f.Hook.Kind, pass.name)
	}
	for _, v := range f.Verdicts {
		if v != pass.verdict {
			return fmt.Sprintf("can return %d to %s, where only %s changes nothing", v, f.Hook.Kind, pass.name)
		}
	}
	// The old packet loads end the program with 0 when they are out of bounds,
	// past every return.
	if pass.verdict != 0 && slices.ContainsFunc(spec.Instructions, isPacketLoad) {
		return "uses packet loads that can end it with the verdict 0"
	}
	return ""
}

// passing holds, for each kind whose return value is an action, the one that
// changes nothing.
var passing = map[program.Kind]struct {
	verdict int32
	name    string
}{
	program.XDP: {2, "XDP_PASS (2)"},
	// Not TCX_PASS (TC_ACT_OK): it keeps other programs, a firewall's among
	// them, from seeing the packet.
	program.TCXIngress:    {-1, "TCX_NEXT (-1)"},
	program.TCXEgress:     {-1, "TCX_NEXT (-1)"},
	program.CgroupIngress: {1, "1"},
	program.CgroupEgress:  {1, "1"},
	program.CgroupSock:    {1, "1"},
	program.LSM:           {0, "0"},
	program.FmodRet:       {0, "0"},
}

func isPacketLoad(ins asm.Instruction) bool {
	return ins.OpCode.Class() == asm.LdClass && (ins.OpCode.Mode() == asm.AbsMode || ins.OpCode.Mode() == asm.IndMode)
}

// observing are the helpers that read, compute, or write only to the
// program's own maps and buffers.
var observing = set(
	// maps, storage and buffers
	"bpf_map_lookup_elem", "bpf_map_update_elem", "bpf_map_delete_elem", "bpf_map_push_elem", "bpf_map_pop_elem",
	"bpf_map_peek_elem", "bpf_map_lookup_percpu_elem", "bpf_for_each_map_elem", "bpf_per_cpu_ptr", "bpf_this_cpu_ptr",
	"bpf_get_local_storage", "bpf_sk_storage_get", "bpf_sk_storage_delete", "bpf_inode_storage_get",
	"bpf_inode_storage_delete", "bpf_task_storage_get", "bpf_task_storage_delete", "bpf_cgrp_storage_get",
	"bpf_cgrp_storage_delete", "bpf_spin_lock", "bpf_spin_unlock", "bpf_kptr_xchg",
	"bpf_ringbuf_output", "bpf_ringbuf_reserve", "bpf_ringbuf_submit", "bpf_ringbuf_discard", "bpf_ringbuf_query",
	"bpf_ringbuf_reserve_dynptr", "bpf_ringbuf_submit_dynptr", "bpf_ringbuf_discard_dynptr", "bpf_user_ringbuf_drain",
	"bpf_dynptr_from_mem", "bpf_dynptr_read", "bpf_dynptr_data",
	"bpf_perf_event_output", "bpf_skb_output", "bpf_xdp_output", "bpf_seq_printf", "bpf_seq_write", "bpf_seq_printf_btf",
	"bpf_trace_printk", "bpf_trace_vprintk",
	// control
	"bpf_tail_call", "bpf_loop", "bpf_timer_init", "bpf_timer_set_callback", "bpf_timer_start", "bpf_timer_cancel",
	// memory and strings
	"bpf_probe_read", "bpf_probe_read_str", "bpf_probe_read_user", "bpf_probe_read_user_str", "bpf_probe_read_kernel",
	"bpf_probe_read_kernel_str", "bpf_copy_from_user", "bpf_copy_from_user_task", "bpf_strtol", "bpf_strtoul",
	"bpf_strncmp", "bpf_snprintf", "bpf_snprintf_btf", "bpf_d_path", "bpf_find_vma", "bpf_btf_find_by_name_kind",
	"bpf_kallsyms_lookup_name", "bpf_csum_diff",
	// time, place, task
	"bpf_ktime_get_ns", "bpf_ktime_get_boot_ns", "bpf_ktime_get_coarse_ns", "bpf_ktime_get_tai_ns", "bpf_jiffies64",
	"bpf_get_prandom_u32", "bpf_get_smp_processor_id", "bpf_get_numa_node_id", "bpf_get_current_pid_tgid",
	"bpf_get_current_uid_gid", "bpf_get_current_comm", "bpf_get_current_task", "bpf_get_current_task_btf",
	"bpf_get_ns_current_pid_tgid", "bpf_get_current_cgroup_id", "bpf_get_current_ancestor_cgroup_id",
	"bpf_current_task_under_cgroup", "bpf_task_pt_regs", "bpf_get_cgroup_classid", "bpf_get_netns_cookie",
	"bpf_get_stackid", "bpf_get_stack", "bpf_get_task_stack", "bpf_read_branch_records", "bpf_get_branch_snapshot",
	"bpf_perf_event_read", "bpf_perf_event_read_value", "bpf_perf_prog_read_value",
	"bpf_get_func_ip", "bpf_get_func_arg", "bpf_get_func_ret", "bpf_get_func_arg_cnt", "bpf_get_attach_cookie",
	"bpf_get_retval", "bpf_ima_inode_hash", "bpf_ima_file_hash", "bpf_sock_from_file",
	// packets and sockets, read
	"bpf_skb_load_bytes", "bpf_skb_load_bytes_relative", "bpf_skb_get_tunnel_key", "bpf_skb_get_tunnel_opt",
	"bpf_skb_get_xfrm_state", "bpf_skb_under_cgroup", "bpf_skb_cgroup_id", "bpf_skb_ancestor_cgroup_id",
	"bpf_skb_cgroup_classid", "bpf_get_route_realm", "bpf_get_hash_recalc", "bpf_skb_pull_data",
	"bpf_xdp_get_buff_len", "bpf_xdp_load_bytes", "bpf_check_mtu", "bpf_fib_lookup",
	"bpf_get_socket_cookie", "bpf_get_socket_uid", "bpf_getsockopt", "bpf_sk_cgroup_id", "bpf_sk_ancestor_cgroup_id",
	"bpf_sk_fullsock", "bpf_tcp_sock", "bpf_get_listener_sock", "bpf_sk_lookup_tcp", "bpf_sk_lookup_udp",
	"bpf_skc_lookup_tcp", "bpf_sk_release", "bpf_skc_to_tcp6_sock", "bpf_skc_to_tcp_sock",
	"bpf_skc_to_tcp_timewait_sock", "bpf_skc_to_tcp_request_sock", "bpf_skc_to_udp6_sock", "bpf_skc_to_unix_sock",
	"bpf_skc_to_mptcp_sock", "bpf_load_hdr_opt", "bpf_sysctl_get_name", "bpf_sysctl_get_current_value",
	"bpf_sysctl_get_new_value", "bpf_tcp_check_syncookie",
)

// observingKfunc says the same of kernel functions: references, locks,
// iterators, casts, strings and reading dynamic pointers.
func observingKfunc(name string) bool {
	return observingKfuncs[name] || strings.HasPrefix(name, "bpf_iter_") || strings.HasPrefix(name, "bpf_cpumask_")
}

var observingKfuncs = set(
	"bpf_task_acquire", "bpf_task_release", "bpf_task_from_pid", "bpf_task_from_vpid", "bpf_task_under_cgroup",
	"bpf_task_get_cgroup1", "bpf_cgroup_acquire", "bpf_cgroup_release", "bpf_cgroup_ancestor", "bpf_cgroup_from_id",
	"bpf_rcu_read_lock", "bpf_rcu_read_unlock", "bpf_cast_to_kern_ctx", "bpf_rdonly_cast",
	"bpf_get_task_exe_file", "bpf_put_file", "bpf_path_d_path", "bpf_get_file_xattr", "bpf_get_fsverity_digest",
	"bpf_dynptr_from_skb", "bpf_dynptr_from_xdp", "bpf_dynptr_adjust", "bpf_dynptr_is_null", "bpf_dynptr_is_rdonly",
	"bpf_dynptr_size", "bpf_dynptr_clone", "bpf_dynptr_slice", "bpf_copy_from_user_str", "bpf_copy_from_user_task_str",
	"bpf_strcmp", "bpf_strcasecmp", "bpf_strchr", "bpf_strchrnul", "bpf_strnchr", "bpf_strrchr", "bpf_strlen", "bpf_strnlen",
	"bpf_strspn", "bpf_strcspn", "bpf_strstr", "bpf_strnstr",
	"bpf_obj_new_impl", "bpf_obj_drop_impl", "bpf_percpu_obj_new_impl", "bpf_percpu_obj_drop_impl", "bpf_refcount_acquire_impl",
	"bpf_session_is_return", "bpf_session_cookie", "bpf_xdp_metadata_rx_timestamp", "bpf_xdp_metadata_rx_hash",
)

func set(names ...string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

// Storage maps have no bound of their own; they are estimated with as many
// entries as a busy node has tasks or sockets.
const storageEntries = 32 << 10

// MapBytes estimates how much kernel memory the maps of a collection can take
// when they are full, on a node with so many processors. It counts a full map
// whether or not the kernel allocates it at once.
func MapBytes(spec *ebpf.CollectionSpec, cpus int) uint64 {
	var sum uint64
	for _, m := range spec.Maps {
		sum = addUp(sum, mapBytes(m, cpus, 0))
	}
	return sum
}

func mapBytes(m *ebpf.MapSpec, cpus, depth int) uint64 {
	n := uint64(m.MaxEntries)
	key, value := align8(m.KeySize), align8(m.ValueSize)
	const element = 64 // what the kernel keeps beside key and value, about
	switch m.Type {
	case ebpf.RingBuf, ebpf.UserRingbuf:
		return n // bytes
	case ebpf.Arena:
		return times(n, 4096) // pages
	case ebpf.Array:
		return times(n, value)
	case ebpf.PerCPUArray:
		return times(n, times(value, uint64(cpus)))
	case ebpf.PerCPUHash, ebpf.LRUCPUHash:
		return times(n, addUp(element+key, times(value, uint64(cpus))))
	case ebpf.SkStorage, ebpf.InodeStorage, ebpf.TaskStorage, ebpf.CGroupStorage, ebpf.CgroupStorage:
		return times(max(n, storageEntries), element+value)
	case ebpf.PerCPUCGroupStorage:
		return times(max(n, storageEntries), addUp(element, times(value, uint64(cpus))))
	case ebpf.ArrayOfMaps, ebpf.HashOfMaps:
		inner := uint64(math.MaxUint64) // without a template: anything
		if m.InnerMap != nil && depth == 0 {
			inner = mapBytes(m.InnerMap, cpus, depth+1)
		}
		return times(n, addUp(element+key, inner))
	}
	return times(n, element+key+value)
}

func align8(n uint32) uint64 { return (uint64(n) + 7) &^ 7 }

// times and addUp stop at the largest number instead of wrapping around.
func times(a, b uint64) uint64 {
	if hi, lo := bits.Mul64(a, b); hi == 0 {
		return lo
	}
	return math.MaxUint64
}

func addUp(a, b uint64) uint64 {
	if sum, carry := bits.Add64(a, b, 0); carry == 0 {
		return sum
	}
	return math.MaxUint64
}

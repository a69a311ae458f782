package program

import "strings"

// Effect is what calling a helper or kfunc lets a program do. Larger is
// graver. The zero value is no effect that anything has.
type Effect int

const (
	// Observes reads the kernel's state, computes, or writes to the program's
	// own maps, events and timers.
	Observes Effect = iota + 1
	// ObservesUsers reads what belongs to users, such as the memory of
	// processes and the content of packets, or reports beside the output.
	ObservesUsers
	// Acts changes something that is not the program's own.
	Acts
)

// EffectOf returns what a helper or kfunc, named bpf_… as in [Facts], lets a
// program do, and the words for it: "sends signals to processes". What is only
// observed has none. A call that is not known has the effect [Acts]: new
// kernels bring new ways of changing things.
func EffectOf(call string) (e Effect, does string, known bool) {
	if g, ok := calls[call]; ok {
		return g.effect, g.does, true
	}
	return Acts, "", false
}

// calls has every helper of the kernel, and the kfuncs that tracing programs
// use. Approvers and nodes judge by this one table, so that what was approved
// as observing is not refused as acting, nor the other way round.
//
// Maps, events and timers are the program's own, so filling, draining or
// arming them changes nothing else. Dynptrs reach packets by way of kfuncs,
// none of which is listed.
var calls = indexCalls(callGroups)

var callGroups = []callGroup{
	{Acts, "sends signals to processes", "send_signal send_signal_thread send_signal_task"},
	{Acts, "replaces the result of kernel functions", "override_return set_retval"},
	{Acts, "writes into the memory of processes", "probe_write_user"},
	{Acts, "changes packets", `skb_store_bytes l3_csum_replace l4_csum_replace csum_update csum_level set_hash set_hash_invalid
		skb_change_proto skb_change_type skb_change_tail skb_change_head skb_adjust_room skb_ecn_set_ce skb_set_tstamp
		skb_vlan_push skb_vlan_pop skb_set_tunnel_key skb_set_tunnel_opt xdp_store_bytes xdp_adjust_head xdp_adjust_tail
		xdp_adjust_meta lwt_push_encap lwt_seg6_store_bytes lwt_seg6_adjust_srh lwt_seg6_action store_hdr_opt reserve_hdr_opt
		dynptr_write msg_push_data msg_pop_data msg_pull_data msg_apply_bytes msg_cork_bytes`},
	{Acts, "redirects or copies packets elsewhere", `redirect redirect_map redirect_neigh redirect_peer clone_redirect
		sk_redirect_map sk_redirect_hash msg_redirect_map msg_redirect_hash`},
	{Acts, "changes connections and sockets", `setsockopt bind sk_assign sk_select_reuseport sock_map_update sock_hash_update
		sock_ops_cb_flags_set tcp_send_ack tcp_gen_syncookie tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6
		tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6`},
	{Acts, "changes system settings", "sysctl_set_new_value bprm_opts_set"},
	{Acts, "reports input events", "rc_repeat rc_keydown rc_pointer_rel"},
	{Acts, "uses the bpf system call", "sys_bpf sys_close btf_find_by_name_kind"},

	{ObservesUsers, "reads the memory of processes", `probe_read_user probe_read_user_str copy_from_user copy_from_user_task
		copy_from_user_str copy_from_user_task_str`},
	{ObservesUsers, "may read the memory of processes", "probe_read probe_read_str"},
	{ObservesUsers, "reads the content of packets", "skb_load_bytes skb_load_bytes_relative skb_pull_data xdp_load_bytes skb_output xdp_output"},
	{ObservesUsers, "reads what is written to system settings", "sysctl_get_new_value"},
	{ObservesUsers, "reads whole kernel structures", "snprintf_btf seq_printf_btf"},
	{ObservesUsers, "reads the addresses that running programs branch to", "read_branch_records get_branch_snapshot"},
	{ObservesUsers, "looks up kernel addresses", "kallsyms_lookup_name"},
	{ObservesUsers, "writes into the trace log of the host, beside the output people agreed to", "trace_printk trace_vprintk"},

	{Observes, "", `map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem map_lookup_percpu_elem
		for_each_map_elem get_local_storage sk_storage_get sk_storage_delete inode_storage_get inode_storage_delete
		task_storage_get task_storage_delete cgrp_storage_get cgrp_storage_delete kptr_xchg
		ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard ringbuf_query ringbuf_reserve_dynptr
		ringbuf_submit_dynptr ringbuf_discard_dynptr user_ringbuf_drain perf_event_output seq_printf seq_write
		dynptr_from_mem dynptr_read dynptr_data
		timer_init timer_set_callback timer_start timer_cancel spin_lock spin_unlock loop tail_call`},
	{Observes, "", `probe_read_kernel probe_read_kernel_str ktime_get_ns ktime_get_boot_ns ktime_get_coarse_ns ktime_get_tai_ns jiffies64
		get_prandom_u32 get_smp_processor_id get_numa_node_id per_cpu_ptr this_cpu_ptr
		get_current_pid_tgid get_ns_current_pid_tgid get_current_uid_gid get_current_comm get_current_task get_current_task_btf
		get_current_cgroup_id get_current_ancestor_cgroup_id current_task_under_cgroup task_pt_regs find_vma
		get_stackid get_stack get_task_stack perf_event_read perf_event_read_value perf_prog_read_value
		get_func_ip get_func_arg get_func_ret get_func_arg_cnt get_attach_cookie get_retval
		snprintf strtol strtoul strncmp d_path sock_from_file ima_inode_hash ima_file_hash sysctl_get_name sysctl_get_current_value`},
	{Observes, "", `get_cgroup_classid skb_cgroup_classid get_route_realm get_hash_recalc skb_under_cgroup skb_cgroup_id skb_ancestor_cgroup_id
		skb_get_tunnel_key skb_get_tunnel_opt skb_get_xfrm_state csum_diff fib_lookup check_mtu xdp_get_buff_len load_hdr_opt
		get_socket_cookie get_socket_uid get_netns_cookie getsockopt sk_cgroup_id sk_ancestor_cgroup_id
		sk_lookup_tcp sk_lookup_udp skc_lookup_tcp sk_release sk_fullsock tcp_sock get_listener_sock
		skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock skc_to_udp6_sock skc_to_unix_sock skc_to_mptcp_sock
		tcp_check_syncookie`},

	// Of the kfuncs: reading, reference counts of the program's own, iterators.
	{Observes, "", `rcu_read_lock rcu_read_unlock
		task_acquire task_release task_from_pid task_from_vpid task_under_cgroup task_get_cgroup1
		cgroup_acquire cgroup_release cgroup_ancestor cgroup_from_id get_task_exe_file put_file path_d_path
		cast_to_kern_ctx rdonly_cast session_cookie session_is_return
		iter_num_new iter_num_next iter_num_destroy iter_task_new iter_task_next iter_task_destroy
		iter_task_vma_new iter_task_vma_next iter_task_vma_destroy iter_css_new iter_css_next iter_css_destroy
		iter_css_task_new iter_css_task_next iter_css_task_destroy iter_bits_new iter_bits_next iter_bits_destroy
		strcmp strcasecmp strchr strchrnul strnchr strrchr strlen strnlen strspn strcspn strstr strnstr
		cpumask_first cpumask_first_zero cpumask_first_and cpumask_test_cpu cpumask_empty cpumask_full cpumask_weight
		cpumask_equal cpumask_intersects cpumask_subset
		xdp_metadata_rx_timestamp xdp_metadata_rx_hash`},
}

// callGroup is a set of helpers and kfuncs, named without their bpf_ prefix.
type callGroup struct {
	effect Effect
	does   string
	names  string
}

func indexCalls(groups []callGroup) map[string]callGroup {
	out := map[string]callGroup{}
	for _, g := range groups {
		for _, name := range strings.Fields(g.names) {
			out["bpf_"+name] = g
		}
	}
	return out
}

// Harmless returns the one value by which programs at hooks of this kind leave
// things as they are. ok is false for kinds whose return value means nothing.
//
// For tcx that is TCX_NEXT alone: TCX_PASS (TC_ACT_OK) lets the packet through,
// but past whatever other programs, a firewall's among them, would have had to
// say about it.
func (k Kind) Harmless() (verdict int32, ok bool) {
	switch k {
	case XDP:
		return 2, true // XDP_PASS
	case TCXIngress, TCXEgress:
		return -1, true // TCX_NEXT
	case CgroupIngress, CgroupEgress, CgroupSock:
		return 1, true
	case LSM, FmodRet:
		return 0, true
	}
	return 0, false
}

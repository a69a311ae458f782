package symbolic

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
)

// call is one call of a helper.
type call struct {
	*run
	s    *state
	name string
	args [5]Value
}

// helperModel is what a helper does and returns. Models decide first and
// change the state after; should they have to decide later, the state is
// forked as it was before the call.
type helperModel struct {
	name string
	do   func(c *call) Value
}

// helper executes a call of a helper.
func (x *run) helper(s *state, fn asm.BuiltinFunc) verdict {
	if fn == btf.COREBadRelocationSentinel {
		x.crash(s, "reaches an access to something that this kernel does not have")
	}
	h, ok := helpers[fn]
	if x.helpers != nil {
		h, ok = x.helpers[fn]
	}
	if !ok {
		h = helperModel{helperName(fn), unmodelled}
	}
	c := &call{run: x, s: s, name: h.name}
	f := s.top()
	copy(c.args[:], f.regs[1:6])
	s.pre = s.fork()
	ret := h.do(c)
	s.pre = nil
	if ret.Term == nil {
		return gone // the state has gone elsewhere
	}
	return x.returned(s, ret)
}

// returned puts a helper's result into R0 and goes on behind the call.
func (x *run) returned(s *state, ret Value) verdict {
	f := s.top()
	f.regs[0] = ret
	for r := 1; r <= 5; r++ {
		f.regs[r] = Value{}
	}
	if f.pc+1 == len(x.p.Insns) {
		s.pre = nil
		r := x.reason("runs past the last instruction", f.pc)
		x.finish(s, nil, &r)
		return gone
	}
	s.move(x.flow, f.pc+1)
	return goOn
}

func helperName(fn asm.BuiltinFunc) string {
	return fmt.Sprintf("%v (%d)", fn, int64(fn)&0xfffffff)
}

// unmodelled makes the result anything and says that the path is not known.
func unmodelled(c *call) Value {
	c.doubt(c.s, "helper "+c.name+" is not modelled")
	return number(c.fresh(c.s, 64, &Input{Kind: Unknown, Name: "result of " + c.name}))
}

// arg is an argument, which must have been set.
func (c *call) arg(i int) Value {
	v := c.args[i-1]
	if v.Term == nil {
		c.crash(c.s, fmt.Sprintf("calls %s without its argument %d", c.name, i))
	}
	return v
}

func (c *call) num(i int) smt.Term { return c.run.num(c.arg(i)) }

// constant is an argument that has to be a constant for the model to apply.
func (c *call) constant(i int, what string) uint64 {
	v, ok := c.num(i).Const()
	if !ok {
		c.giveUp(c.s, fmt.Sprintf("%s with %s that is not constant", c.name, what))
	}
	return v
}

func (c *call) k(v int64) Value { return number(c.b.Const(64, uint64(v))) }

// mapArg is an argument that is a map.
func (c *call) mapArg(i int) *Map {
	v := c.arg(i)
	if v.Map == nil {
		c.crash(c.s, fmt.Sprintf("calls %s without a map", c.name))
	}
	if v.Valid != nil {
		c.require(c.s, c.s, v.Valid, "uses a map that may be NULL")
	}
	m := c.world.origin.canonical(v.Map)
	c.onlyLookedUp(m)
	return m
}

// bytes reads an argument's memory.
func (c *call) bytes(i, n int) *Bytes {
	return &Bytes{c.b, c.readBytes(c.s, c.arg(i), n)}
}

// failure is a result that is 0 or a negative error number.
func (c *call) failure() Value {
	failed := c.fresh(c.s, 1, &Input{Kind: Choice, Event: HelperFail, Name: c.name + " fails"})
	return number(c.b.Ite(failed, c.negative(), c.b.Const(64, 0)))
}

// negative is some error number, -4095 to -1.
func (c *call) negative() smt.Term {
	e := c.fresh(c.s, 12, &Input{Kind: Data, Name: "error of " + c.name})
	least := c.b.Const(64, ^uint64(4095)+1) // -4095
	return c.b.Ite(c.b.Eq(e, c.b.Const(12, 4095)), least, c.b.Add(least, c.b.ZeroExt(64, e)))
}

// act is a helper that changes something outside of the program.
func act(c *call) Value {
	e := &Effect{Op: Act, Helper: c.name, Pc: c.s.top().pc}
	for _, a := range c.args {
		if a.Term != nil && a.scalar() {
			e.Args = append(e.Args, a.Term)
		} else {
			e.Args = append(e.Args, nil)
		}
	}
	v := c.failure()
	e.Result = v.Term
	c.s.effects = append(c.s.effects, e)
	return v
}

// input returns a model of helpers that give the same value all the time.
func input(name string, bits uint, unit string) func(*call) Value {
	return func(c *call) Value {
		return number(c.b.ZeroExt(64, c.inv.helperInput(name, bits, unit)))
	}
}

func clock(name, unit string) func(*call) Value {
	return func(c *call) Value { return number(c.inv.clock(name, unit)) }
}

// opaque is a model of helpers without effects whose result is not followed.
func opaque(c *call) Value {
	return number(c.fresh(c.s, 64, &Input{Kind: Unknown, Name: "result of " + c.name}))
}

// opaqueOutput is opaque for helpers that write size bytes to memory.
func opaqueOutput(ptr, size int) func(*call) Value {
	return func(c *call) Value {
		n := int(c.constant(size, "a size"))
		if n > 1<<16 {
			c.giveUp(c.s, c.name+" with a buffer that large")
		}
		c.writeBytes(c.s, c.arg(ptr), c.anything(n, Unknown, "output of "+c.name))
		return opaque(c)
	}
}

// anything is n bytes that may hold anything.
func (c *call) anything(n int, kind Kind, name string) []octet {
	out := make([]octet, n)
	for i := range out {
		out[i] = octet{term: c.fresh(c.s, 8, &Input{Kind: kind, Name: fmt.Sprintf("%s[%d]", name, i)})}
	}
	return out
}

// pointerResult is a helper whose result is a kernel pointer or NULL.
func pointerResult(name, typ string) func(*call) Value {
	return func(c *call) Value {
		in := &Input{Kind: Pointer, Name: name, Space: KernelSpace, Pc: c.s.top().pc}
		if t := c.p.types.composite(typ); t != nil {
			in.Type = &btf.Pointer{Target: t}
		}
		return number(c.inv.variable(64, in))
	}
}

// helpers are the models. Numbers and meaning: include/uapi/linux/bpf.h.
var helpers map[asm.BuiltinFunc]helperModel

func init() {
	helpers = map[asm.BuiltinFunc]helperModel{
		asm.FnMapLookupElem:              {"bpf_map_lookup_elem", mapLookup},
		asm.FnMapLookupPercpuElem:        {"bpf_map_lookup_percpu_elem", mapLookupPercpu},
		asm.FnMapUpdateElem:              {"bpf_map_update_elem", mapUpdate},
		asm.FnMapDeleteElem:              {"bpf_map_delete_elem", mapDelete},
		asm.FnProbeRead:                  {"bpf_probe_read", probeRead(AnySpace)},
		asm.FnProbeReadKernel:            {"bpf_probe_read_kernel", probeRead(KernelSpace)},
		asm.FnProbeReadUser:              {"bpf_probe_read_user", probeRead(UserSpace)},
		asm.FnCopyFromUser:               {"bpf_copy_from_user", probeRead(UserSpace)},
		asm.FnProbeReadStr:               {"bpf_probe_read_str", probeReadStr(AnySpace)},
		asm.FnProbeReadKernelStr:         {"bpf_probe_read_kernel_str", probeReadStr(KernelSpace)},
		asm.FnProbeReadUserStr:           {"bpf_probe_read_user_str", probeReadStr(UserSpace)},
		asm.FnCopyFromUserTask:           {"bpf_copy_from_user_task", opaqueOutput(1, 2)},
		asm.FnProbeWriteUser:             {"bpf_probe_write_user", act},
		asm.FnKtimeGetNs:                 {"bpf_ktime_get_ns", clock("now", "ns")},
		asm.FnKtimeGetBootNs:             {"bpf_ktime_get_boot_ns", clock("now.boot", "ns")},
		asm.FnKtimeGetCoarseNs:           {"bpf_ktime_get_coarse_ns", clock("now.coarse", "ns")},
		asm.FnKtimeGetTaiNs:              {"bpf_ktime_get_tai_ns", clock("now.tai", "ns")},
		asm.FnJiffies64:                  {"bpf_jiffies64", clock("now.jiffies", "jiffies")},
		asm.FnGetCurrentPidTgid:          {"bpf_get_current_pid_tgid", func(c *call) Value { return number(c.b.Concat(c.inv.tgid(), c.inv.tid())) }},
		asm.FnGetCurrentUidGid:           {"bpf_get_current_uid_gid", currentUidGid},
		asm.FnGetCurrentComm:             {"bpf_get_current_comm", currentComm},
		asm.FnGetCurrentTask:             {"bpf_get_current_task", func(c *call) Value { return number(c.inv.currentTask()) }},
		asm.FnGetCurrentTaskBtf:          {"bpf_get_current_task_btf", func(c *call) Value { return number(c.inv.currentTask()) }},
		asm.FnGetCurrentCgroupId:         {"bpf_get_current_cgroup_id", input("current.cgroup", 64, "")},
		asm.FnGetCurrentAncestorCgroupId: {"bpf_get_current_ancestor_cgroup_id", perArgument("current.cgroup.ancestor", 1)},
		asm.FnGetNsCurrentPidTgid:        {"bpf_get_ns_current_pid_tgid", nsPidTgid},
		asm.FnGetSmpProcessorId:          {"bpf_get_smp_processor_id", func(c *call) Value { return number(c.b.ZeroExt(64, c.inv.cpu())) }},
		asm.FnGetNumaNodeId:              {"bpf_get_numa_node_id", input("numa.node", 32, "")},
		asm.FnGetPrandomU32:              {"bpf_get_prandom_u32", random},
		asm.FnTracePrintk:                {"bpf_trace_printk", tracePrint},
		asm.FnGetStackid:                 {"bpf_get_stackid", stackID},
		asm.FnGetStack:                   {"bpf_get_stack", getStack(2, 3)},
		asm.FnGetTaskStack:               {"bpf_get_task_stack", getStack(2, 3)},
		asm.FnPerfEventOutput:            {"bpf_perf_event_output", perfOutput},
		asm.FnSkbOutput:                  {"bpf_skb_output", perfOutput},
		asm.FnXdpOutput:                  {"bpf_xdp_output", perfOutput},
		asm.FnRingbufOutput:              {"bpf_ringbuf_output", ringOutput},
		asm.FnRingbufReserve:             {"bpf_ringbuf_reserve", ringReserve},
		asm.FnRingbufSubmit:              {"bpf_ringbuf_submit", ringSubmit(true)},
		asm.FnRingbufDiscard:             {"bpf_ringbuf_discard", ringSubmit(false)},
		asm.FnRingbufQuery:               {"bpf_ringbuf_query", ringQuery},
		asm.FnSeqWrite:                   {"bpf_seq_write", seqWrite},
		asm.FnSeqPrintf:                  {"bpf_seq_printf", seqPrintf},
		asm.FnSnprintf:                   {"bpf_snprintf", opaqueOutput(1, 2)},
		asm.FnStrncmp:                    {"bpf_strncmp", strncmp},
		asm.FnDPath:                      {"bpf_d_path", dPath},
		asm.FnCurrentTaskUnderCgroup:     {"bpf_current_task_under_cgroup", underCgroup},
		asm.FnSkbUnderCgroup:             {"bpf_skb_under_cgroup", underCgroup},
		asm.FnGetFuncIp:                  {"bpf_get_func_ip", input("func.ip", 64, "")},
		asm.FnGetAttachCookie:            {"bpf_get_attach_cookie", input("attach.cookie", 64, "")},
		asm.FnGetFuncArg:                 {"bpf_get_func_arg", funcArg},
		asm.FnGetFuncRet:                 {"bpf_get_func_ret", funcRet},
		asm.FnGetFuncArgCnt:              {"bpf_get_func_arg_cnt", funcArgCnt},
		asm.FnTaskPtRegs:                 {"bpf_task_pt_regs", taskRegs},
		asm.FnTailCall:                   {"bpf_tail_call", tailCall},
		asm.FnLoop:                       {"bpf_loop", loop},
		asm.FnForEachMapElem:             {"bpf_for_each_map_elem", forEach},
		asm.FnSpinLock:                   {"bpf_spin_lock", func(c *call) Value { c.s.locks++; return c.k(0) }},
		asm.FnSpinUnlock:                 {"bpf_spin_unlock", func(c *call) Value { c.s.locks--; return c.k(0) }},
		asm.FnTimerInit:                  {"bpf_timer_init", timerInit},
		asm.FnTimerSetCallback:           {"bpf_timer_set_callback", timerSetCallback},
		asm.FnTimerStart:                 {"bpf_timer_start", func(c *call) Value { return c.failure() }},
		asm.FnTimerCancel:                {"bpf_timer_cancel", func(c *call) Value { return c.failure() }},
		asm.FnGetLocalStorage:            {"bpf_get_local_storage", localStorage},
		asm.FnTaskStorageGet:             {"bpf_task_storage_get", storageGet},
		asm.FnSkStorageGet:               {"bpf_sk_storage_get", storageGet},
		asm.FnInodeStorageGet:            {"bpf_inode_storage_get", storageGet},
		asm.FnCgrpStorageGet:             {"bpf_cgrp_storage_get", storageGet},
		asm.FnTaskStorageDelete:          {"bpf_task_storage_delete", storageDelete},
		asm.FnSkStorageDelete:            {"bpf_sk_storage_delete", storageDelete},
		asm.FnInodeStorageDelete:         {"bpf_inode_storage_delete", storageDelete},
		asm.FnCgrpStorageDelete:          {"bpf_cgrp_storage_delete", storageDelete},
		asm.FnSkFullsock:                 {"bpf_sk_fullsock", sameOrNull},
		asm.FnTcpSock:                    {"bpf_tcp_sock", sameOrNull},
		asm.FnSkcToTcpSock:               {"bpf_skc_to_tcp_sock", sameOrNull},
		asm.FnSkcToTcp6Sock:              {"bpf_skc_to_tcp6_sock", sameOrNull},
		asm.FnSkcToTcpTimewaitSock:       {"bpf_skc_to_tcp_timewait_sock", sameOrNull},
		asm.FnSkcToTcpRequestSock:        {"bpf_skc_to_tcp_request_sock", sameOrNull},
		asm.FnSkcToUdp6Sock:              {"bpf_skc_to_udp6_sock", sameOrNull},
		asm.FnSkcToUnixSock:              {"bpf_skc_to_unix_sock", sameOrNull},
		asm.FnSockFromFile:               {"bpf_sock_from_file", pointerOf("socket", "socket")},
		asm.FnGetSocketCookie:            {"bpf_get_socket_cookie", perArgument("socket.cookie", 1)},
		asm.FnGetSocketUid:               {"bpf_get_socket_uid", input("socket.uid", 32, "")},
		asm.FnGetNetnsCookie:             {"bpf_get_netns_cookie", input("netns.cookie", 64, "")},
		asm.FnSkbCgroupId:                {"bpf_skb_cgroup_id", input("skb.cgroup", 64, "")},
		asm.FnSkbAncestorCgroupId:        {"bpf_skb_ancestor_cgroup_id", perArgument("skb.cgroup.ancestor", 2)},
		asm.FnSkCgroupId:                 {"bpf_sk_cgroup_id", perArgument("sk.cgroup", 1)},
		asm.FnGetCgroupClassid:           {"bpf_get_cgroup_classid", input("skb.classid", 32, "")},
		asm.FnGetHashRecalc:              {"bpf_get_hash_recalc", input("skb.hash.recalc", 32, "")},
		asm.FnGetRouteRealm:              {"bpf_get_route_realm", input("skb.realm", 32, "")},
		asm.FnCsumDiff:                   {"bpf_csum_diff", opaque},
		asm.FnSkbLoadBytes:               {"bpf_skb_load_bytes", loadBytes},
		asm.FnXdpLoadBytes:               {"bpf_xdp_load_bytes", loadBytes},
		asm.FnSkbStoreBytes:              {"bpf_skb_store_bytes", storeBytes},
		asm.FnXdpStoreBytes:              {"bpf_xdp_store_bytes", storeBytes},
		asm.FnSkbPullData:                {"bpf_skb_pull_data", pullData},
		asm.FnXdpGetBuffLen:              {"bpf_xdp_get_buff_len", buffLen},
		asm.FnXdpAdjustHead:              {"bpf_xdp_adjust_head", adjustHead},
		asm.FnXdpAdjustTail:              {"bpf_xdp_adjust_tail", adjustTail},
		asm.FnRedirect:                   {"bpf_redirect", redirect},
		asm.FnRedirectMap:                {"bpf_redirect_map", redirectMap},
		asm.FnCloneRedirect:              {"bpf_clone_redirect", act},
		asm.FnL3CsumReplace:              {"bpf_l3_csum_replace", packetAct},
		asm.FnL4CsumReplace:              {"bpf_l4_csum_replace", packetAct},
		asm.FnSendSignal:                 {"bpf_send_signal", act},
		asm.FnSendSignalThread:           {"bpf_send_signal_thread", act},
		asm.FnOverrideReturn:             {"bpf_override_return", act},
		asm.FnSetsockopt:                 {"bpf_setsockopt", act},
		asm.FnGetsockopt:                 {"bpf_getsockopt", opaqueOutput(4, 5)},
		asm.FnBind:                       {"bpf_bind", act},
		asm.FnSockOpsCbFlagsSet:          {"bpf_sock_ops_cb_flags_set", act},
		asm.FnSetRetval:                  {"bpf_set_retval", act},
		asm.FnFibLookup:                  {"bpf_fib_lookup", opaqueOutput(2, 3)},
		asm.FnPerfEventReadValue:         {"bpf_perf_event_read_value", opaqueOutput(3, 4)},
		asm.FnPerfEventRead:              {"bpf_perf_event_read", opaque},
		asm.FnStrtol:                     {"bpf_strtol", strto},
		asm.FnStrtoul:                    {"bpf_strtoul", strto},
	}
}

// ---- maps -------------------------------------------------------------------

// keyed tells whether a map has elements that a program looks up by key, in a
// way that is modelled.
func keyed(m *Map) bool {
	switch m.Type {
	case ebpf.Hash, ebpf.PerCPUHash, ebpf.LRUHash, ebpf.LRUCPUHash, ebpf.Array, ebpf.PerCPUArray:
		return true
	}
	return false
}

func mapLookup(c *call) Value {
	m := c.mapArg(1)
	switch m.Type {
	case ebpf.ArrayOfMaps, ebpf.HashOfMaps:
		return c.innerMap(m)
	}
	if !keyed(m) {
		return unmodelledMap(c, m)
	}
	e := c.element(c.s, c.s, m, c.bytes(2, int(m.KeySize)), c.cpuOf(m))
	if m.Type == ebpf.LRUHash || m.Type == ebpf.LRUCPUHash {
		// Another element's arrival may have thrown this one out.
		gone := c.fresh(c.s, 1, &Input{Kind: Choice, Event: Absent, Name: "evicted from " + m.Name, Map: m.Name})
		e = c.s.edit(e)
		e.present = c.b.And(e.present, c.b.Not(gone))
	}
	return c.pointer(e)
}

func mapLookupPercpu(c *call) Value {
	m := c.mapArg(1)
	if !keyed(m) || !perCPU(m.Type) {
		return unmodelledMap(c, m)
	}
	cpu := c.b.Extract(31, 0, c.num(3))
	v := c.pointer(c.element(c.s, c.s, m, c.bytes(2, int(m.KeySize)), cpu))
	if v.Region != nil {
		// There is no such processor.
		absent := c.fresh(c.s, 1, &Input{Kind: Choice, Event: Absent, Name: "no such processor"})
		valid := c.b.Not(absent)
		if v.Valid != nil {
			valid = c.b.And(valid, v.Valid)
		}
		v.Valid = valid
	}
	return v
}

func unmodelledMap(c *call, m *Map) Value {
	c.giveUp(c.s, fmt.Sprintf("%s on map %s of type %v is not modelled", c.name, m.Name, m.Type))
	return Value{}
}

// innerMap is a lookup in a map of maps: a map of its own for each key.
func (c *call) innerMap(m *Map) Value {
	if m.Inner == nil {
		return unmodelledMap(c, m)
	}
	key := c.bytes(2, int(m.KeySize))
	outer := *m
	outer.ValueSize = 8
	e := c.element(c.s, c.s, m, key, nil)
	name := m.Name + "[" + c.world.origin.keyName(key, nil) + "]"
	inner := c.world.origin.innerMap(name, m.Inner)
	if len(c.s.elems[e.m]) > 1 {
		c.doubt(c.s, "two elements of a map of maps may be the same map")
	}
	v := Value{Term: c.b.Const(64, 0), Map: inner}
	absent := c.inv.variable(1, &Input{Kind: Choice, Event: Absent, Name: "no map in " + name, Map: m.Name, Pc: -1})
	v.Valid = c.b.Not(absent)
	return v
}

func (o *origin) innerMap(name string, like *Map) *Map {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m := o.inner[name]; m != nil {
		return m
	}
	m := *like
	m.Name = name
	if o.inner == nil {
		o.inner = map[string]*Map{}
	}
	o.inner[name] = &m
	return &m
}

func mapUpdate(c *call) Value {
	m := c.mapArg(1)
	if !keyed(m) {
		return unmodelledMap(c, m)
	}
	flags := c.constant(4, "flags")
	key, value := c.bytes(2, int(m.KeySize)), c.bytes(3, int(m.ValueSize))
	return number(c.update(c.s, c.s, m, key, value, flags))
}

func mapDelete(c *call) Value {
	m := c.mapArg(1)
	if !keyed(m) {
		return unmodelledMap(c, m)
	}
	return number(c.remove(c.s, c.s, m, c.bytes(2, int(m.KeySize))))
}

// localStorage is the storage that a cgroup program has for its cgroup.
func localStorage(c *call) Value {
	m := c.mapArg(1)
	if m.Type != ebpf.CGroupStorage && m.Type != ebpf.PerCPUCGroupStorage {
		return unmodelledMap(c, m)
	}
	e := c.element(c.s, c.s, m, NewBytes(c.b, c.b.Const(64, 0)), c.cpuOf(m))
	return Value{Term: c.b.Const(64, 0), Region: e.region}
}

// storageGet is the storage that hangs from a task, socket, inode or cgroup:
// an element whose key is the owner's address.
func storageGet(c *call) Value {
	m := c.mapArg(1)
	if !stored(m) {
		return unmodelledMap(c, m)
	}
	object := c.num(2)
	flags := c.constant(4, "flags")
	if flags&^1 != 0 {
		return c.k(0)
	}
	create := flags == 1
	e := c.element(c.s, c.s, m, NewBytes(c.b, object), nil)
	if create && !e.present.IsTrue() {
		full := c.fresh(c.s, 1, &Input{Kind: Choice, Event: MapFull, Name: "no memory for " + m.Name, Map: m.Name})
		value := &Bytes{c.b, zeroOctets(c.b, int(m.ValueSize))}
		if v := c.arg(3); !zero(v) {
			value = c.bytes(3, int(m.ValueSize))
		}
		old := c.world.origin.bytes(e.region, c.s.mem[e.region])
		fresh := &Bytes{c.b, chooseOctets(c.b, e.present, old.oct, value.oct)}
		ok := c.b.Or(e.present, c.b.Not(full))
		n := c.s.edit(e)
		eff := &Effect{Op: Update, Map: m, Key: e.key, Data: fresh, Old: old, Before: e.present, After: ok, Atomic: true, Pc: c.s.top().pc}
		n.present = ok
		cont := c.s.mem[n.region]
		for i, o := range fresh.oct {
			cont.set(c.s.own, i, o)
		}
		n.base = cont.clone()
		c.s.own = new(owner)
		c.s.effects = append(c.s.effects, eff)
		e = n
	}
	v := c.pointer(e)
	if v.Region == nil {
		return v
	}
	notNull := c.b.Not(c.b.Eq(object, c.b.Const(64, 0)))
	if v.Valid != nil {
		notNull = c.b.And(v.Valid, notNull)
	}
	if !notNull.IsTrue() {
		v.Valid = notNull
	}
	return v
}

// stored tells whether a map keeps what hangs from objects.
func stored(m *Map) bool {
	switch m.Type {
	case ebpf.TaskStorage, ebpf.SkStorage, ebpf.InodeStorage, ebpf.CgroupStorage:
		return true
	}
	return false
}

func storageDelete(c *call) Value {
	m := c.mapArg(1)
	if !stored(m) {
		return unmodelledMap(c, m)
	}
	return number(c.remove(c.s, c.s, m, NewBytes(c.b, c.num(2))))
}

// ---- reading memory ------------------------------------------------------------

// size is an argument that says how many bytes, and the most it can be, given
// the memory behind argument ptr.
func (c *call) size(i, ptr int) (n int, exact smt.Term) {
	t := c.num(i)
	if v, ok := t.Const(); ok {
		if v > 1<<20 {
			c.crash(c.s, fmt.Sprintf("calls %s with a size of %d", c.name, int64(v)))
		}
		return int(v), nil
	}
	dst := c.arg(ptr)
	if dst.Region == nil {
		c.giveUp(c.s, c.name+" with a size that is not constant")
	}
	room := dst.Region.Size
	if off, ok := dst.Term.Const(); ok {
		room -= int(off)
	} else {
		c.giveUp(c.s, c.name+" with size and place that are not constant")
	}
	if room < 0 {
		c.crash(c.s, "uses memory outside of "+dst.Region.Name)
	}
	c.require(c.s, c.s, c.b.Ule(t, c.b.Const(64, uint64(room))), fmt.Sprintf("calls %s with a size beyond %s", c.name, dst.Region.Name))
	_, most := t.Range()
	return int(min(uint64(room), most)), t
}

// source reads the memory that a probe_read helper is to copy. own says that
// it is the program's, which cannot fault.
func (c *call) source(space Space, i, n int) (data []octet, fault smt.Term) {
	src := c.arg(i)
	if src.scalar() {
		return c.inv.probe(space, src.Term, n, c.rootOf(i))
	}
	if space == UserSpace || src.Region == nil {
		return zeroOctets(c.b, n), c.b.True()
	}
	if src.Region.Kind == ContextRegion {
		off, ok := src.Term.Const()
		if !ok {
			c.giveUp(c.s, "the context is read at an offset that is not constant")
		}
		return c.contextOctets(c.s, int64(off), n), c.b.False()
	}
	if src.Region.Size < n {
		n = src.Region.Size
	}
	return c.readBytes(c.s, src, n), c.b.False()
}

// rootOf is the kernel type that the program believes an address argument to
// point into: that of the last CO-RE access before the call that the register
// went through.
func (c *call) rootOf(i int) string {
	pc := c.s.top().pc
	for back := pc - 1; back >= 0 && back > pc-16; back-- {
		ins := &c.p.Insns[back]
		if ins.Root != "" {
			return ins.Root
		}
		if ins.OpCode.Class().IsJump() {
			return ""
		}
	}
	return ""
}

func (c *call) noteRead(space Space, i int, size smt.Term) {
	src := c.arg(i)
	if !src.scalar() {
		return
	}
	r := Read{Helper: c.name, Space: space, Addr: src.Term, Size: size, Pc: c.s.top().pc}
	if !slices.Contains(c.s.reads, r) {
		c.s.reads = append(c.s.reads, r)
	}
}

// spaceOf is the space that a helper reads. bpf_probe_read leaves it to the
// machine's address spaces; where they are apart, as on x86, the address
// decides.
func (c *call) spaceOf(space Space, i int) Space {
	if space != AnySpace {
		return space
	}
	base, _ := c.inv.splitAddress(c.arg(i).Term)
	if in := InputOf(base); in != nil && in.Space == UserSpace {
		return UserSpace
	}
	return KernelSpace
}

// probeRead is bpf_probe_read_kernel and its like: the bytes, or, when they
// cannot be read, zeroes and -EFAULT.
func probeRead(space Space) func(*call) Value {
	return func(c *call) Value {
		space := c.spaceOf(space, 3)
		n, exact := c.size(2, 1)
		c.noteRead(space, 3, c.num(2))
		if n == 0 {
			return c.k(0)
		}
		data, fault := c.source(space, 3, n)
		if exact != nil {
			old := c.readBytes(c.s, c.arg(1), n)
			for len(data) < n {
				c.giveUp(c.s, c.name+" beyond the end of memory")
			}
			for i := range data {
				within := c.b.Ult(c.b.Const(64, uint64(i)), exact)
				data[i] = chooseOctets(c.b, within, data[i:i+1], old[i:i+1])[0]
			}
		}
		if len(data) < n {
			c.crash(c.s, c.name+" beyond the end of memory")
		}
		c.writeBytes(c.s, c.arg(1), data)
		return number(c.b.Ite(fault, c.b.Const(64, ^uint64(13)), c.b.Const(64, 0)))
	}
}

// probeReadStr is bpf_probe_read_kernel_str and its like: a string with its
// NUL, cut to the size, and its length; when it cannot be read, zeroes in the
// whole buffer and -EFAULT.
func probeReadStr(space Space) func(*call) Value {
	return func(c *call) Value {
		space := c.spaceOf(space, 3)
		n := int(c.constant(2, "a size"))
		c.noteRead(space, 3, c.num(2))
		if n == 0 {
			return c.k(0)
		}
		if n < 0 || n > 1<<16 {
			c.giveUp(c.s, c.name+" with a buffer that large")
		}
		b := c.b
		src, fault := c.source(space, 3, n)
		if len(src) < n {
			c.giveUp(c.s, c.name+" beyond the end of memory")
		}
		old := c.readBytes(c.s, c.arg(1), n)
		t := text(b, src, old, c.strlenOf(space, 3))
		for i := range t.data {
			v := joinOctets(b, t.data[i:i+1])
			was := joinOctets(b, old[i:i+1])
			if _, known := was.Const(); space == UserSpace && !known && i > 0 {
				// The copy from user space goes by words: what follows the NUL
				// in its word becomes zero.
				cleared := c.fresh(c.s, 1, &Input{Kind: Choice, Event: NoEvent, Name: fmt.Sprintf("byte %d behind the NUL is cleared", i)})
				v = b.Ite(b.And(b.Not(t.within[i]), cleared), b.Const(8, 0), v)
			}
			t.data[i] = octet{term: b.Ite(fault, b.Const(8, 0), v)}
		}
		c.writeBytes(c.s, c.arg(1), t.data)
		return number(b.Ite(fault, b.Const(64, ^uint64(13)), t.length))
	}
}

// strlenOf is the length of the string that an argument points to, nil when
// its bytes tell.
func (c *call) strlenOf(space Space, i int) func() smt.Term {
	src := c.arg(i)
	if src.scalar() {
		return func() smt.Term { return c.inv.strlen(space, src.Term) }
	}
	return nil
}

// ---- the current task ---------------------------------------------------------

func currentUidGid(c *call) Value {
	return number(c.b.Concat(c.inv.helperInput("current.gid", 32, ""), c.inv.helperInput("current.uid", 32, "")))
}

func currentComm(c *call) Value {
	n := int(c.constant(2, "a size"))
	if n <= 0 || n > 1<<12 {
		c.crash(c.s, c.name+" with a size that cannot be")
	}
	c.writeBytes(c.s, c.arg(1), c.inv.commOctets(n))
	return c.k(0)
}

// nsPidTgid fills struct bpf_pidns_info: pid and tgid as the namespace sees
// them, or zeroes on failure.
func nsPidTgid(c *call) Value {
	n := int(c.constant(4, "a size"))
	b := c.b
	if n != 8 {
		c.writeBytes(c.s, c.arg(3), zeroOctets(b, n))
		return c.k(-22)
	}
	failed := c.fresh(c.s, 1, &Input{Kind: Choice, Event: HelperFail, Name: "another pid namespace"})
	zero := b.Const(32, 0)
	pid := b.Ite(failed, zero, c.inv.helperInput("current.ns.tid", 32, ""))
	tgid := b.Ite(failed, zero, c.inv.helperInput("current.ns.tgid", 32, ""))
	c.writeBytes(c.s, c.arg(3), NewBytes(b, pid, tgid).oct)
	return number(b.Ite(failed, b.Const(64, ^uint64(21)), b.Const(64, 0)))
}

// perArgument is a value that depends on an argument.
func perArgument(name string, i int) func(*call) Value {
	return func(c *call) Value {
		v := c.arg(i)
		suffix := ""
		if v.scalar() {
			if k, ok := v.Term.Const(); ok {
				suffix = fmt.Sprintf("(%d)", int64(k))
			} else {
				suffix = "(" + c.inv.objectName(KernelSpace, v.Term) + ")"
			}
		}
		return number(c.inv.helperInput(name+suffix, 64, ""))
	}
}

// underCgroup is 1 for a task (or socket) in a cgroup; else 0, or an error where no cgroup is at that
// index, which is never the case for what is in one.
func underCgroup(c *call) Value {
	m, index := c.mapArg(len3(c)), c.num(len3(c)+1)
	what := "in cgroup"
	if len3(c) == 2 {
		what = "packet in cgroup"
	}
	v := c.inv.underCgroup(what, m.Name, c.world.origin.termName(index))
	failed := c.fresh(c.s, 1, &Input{Kind: Choice, Event: HelperFail, Name: c.name + " fails"})
	return number(c.b.Ite(v, c.k(1).Term, c.b.Ite(failed, c.negative(), c.k(0).Term)))
}

func (inv *Invocation) underCgroup(what, name, index string) smt.Term {
	return inv.variable(1, &Input{Kind: Data, Name: fmt.Sprintf("%s %s[%s]", what, name, index), Map: name, Pc: -1, Warn: inv.hook.currentWarn})
}

// InCgroups is whether the current task is in one of the first n cgroups of a map of them: 1 bit.
func (inv *Invocation) InCgroups(name string, n uint32) InputValue {
	in := inv.m.b.Const(1, 0)
	for i := range n {
		in = inv.m.b.Or(in, inv.underCgroup("in cgroup", name, strconv.Itoa(int(i))))
	}
	return inv.described(in)
}

// len3 is which argument is the map: the first for the current task, the
// second for a packet's socket.
func len3(c *call) int {
	if c.args[0].Map != nil {
		return 1
	}
	return 2
}

// random is 32 bits that nobody can foresee. The first of a run have a name, so that a
// contract can ask for a sample.
func random(c *call) Value {
	if c.s.randoms++; c.s.randoms == 1 {
		return number(c.b.ZeroExt(64, c.inv.random()))
	}
	return number(c.b.ZeroExt(64, c.fresh(c.s, 32, &Input{Kind: Data, Name: "random"})))
}

// stackID is a stack's number in the map, the same for the same flags during
// an invocation, or an error.
func stackID(c *call) Value {
	m := c.mapArg(2)
	flags := c.num(3)
	name := "stack.kernel"
	if f, ok := flags.Const(); ok {
		if f&256 != 0 {
			name = "stack.user"
		}
		if f&^256 != 0 {
			name += fmt.Sprintf(" flags %#x", f)
		}
	} else {
		name = "stack, flags " + c.world.origin.termName(flags)
	}
	v := c.b.SignExt(64, c.inv.variable(32, &Input{Kind: Data, Name: name, Map: m.Name, Order: Host, Pc: -1, Warn: c.inv.hook.currentWarn}))
	c.assume(c.s, c.b.And(c.b.Sle(c.b.Const(64, ^uint64(4094)), v), c.b.Slt(v, c.b.Const(64, uint64(m.MaxEntries)))))
	return number(v)
}

// getStack fills a buffer with addresses. What it does not fill it clears.
func getStack(ptr, size int) func(*call) Value {
	return func(c *call) Value {
		n := int(c.constant(size, "a size"))
		if n > 1<<15 {
			c.giveUp(c.s, c.name+" with a buffer that large")
		}
		c.writeBytes(c.s, c.arg(ptr), c.anything(n, Data, "stack"))
		v := c.fresh(c.s, 64, &Input{Kind: Data, Name: "result of " + c.name, Unit: "bytes"})
		c.assume(c.s, c.b.And(c.b.Sle(c.b.Const(64, ^uint64(4094)), v), c.b.Sle(v, c.b.Const(64, uint64(n)))))
		return number(v)
	}
}

// taskRegs is the address of a task's registers.
func taskRegs(c *call) Value {
	in := &Input{Kind: Pointer, Name: "registers of " + c.inv.objectName(KernelSpace, c.num(1)), Space: KernelSpace, Pc: -1}
	if t := c.p.types.composite("pt_regs"); t != nil {
		in.Type = &btf.Pointer{Target: t}
	}
	return number(c.inv.variable(64, in))
}

// sameOrNull are the checked casts of sockets.
func sameOrNull(c *call) Value {
	sk := c.num(1)
	no := c.inv.variable(1, &Input{Kind: Choice, Event: Absent, Name: fmt.Sprintf("%s of %s is NULL", c.name, c.inv.objectName(KernelSpace, sk)), Pc: -1})
	return number(c.b.Ite(no, c.b.Const(64, 0), sk))
}

func pointerOf(name, typ string) func(*call) Value {
	return func(c *call) Value {
		return pointerResult(name+" of "+c.inv.objectName(KernelSpace, c.num(1)), typ)(c)
	}
}

// ---- arguments of traced functions -----------------------------------------------

func (c *call) slot(name string, f *ctxField, ptr int) Value {
	if f == nil {
		return c.k(-22)
	}
	c.writeBytes(c.s, c.arg(ptr), NewBytes(c.b, c.inv.contextTerm(f)).oct)
	return c.k(0)
}

func funcArg(c *call) Value {
	n := c.constant(2, "a number")
	args := c.inv.functionArgs()
	if n >= uint64(args) {
		return c.k(-22)
	}
	return c.slot("argument", &c.inv.hook.fields[n], 3)
}

func funcRet(c *call) Value {
	fields := c.inv.hook.fields
	if len(fields) == c.inv.functionArgs() {
		return c.k(-95)
	}
	return c.slot("result", &fields[len(fields)-1], 2)
}

func funcArgCnt(c *call) Value { return c.k(int64(c.inv.functionArgs())) }

// functionArgs is how many slots of the context are arguments.
func (inv *Invocation) functionArgs() int {
	n := len(inv.hook.fields)
	if n > 0 && inv.hook.fields[n-1].name == "ret" {
		n--
	}
	return n
}

// ---- output ---------------------------------------------------------------------

// emit records an event of a size that may not be constant.
func (c *call) emit(m *Map, data *Bytes, exact smt.Term) {
	c.s.effects = append(c.s.effects, &Effect{Op: Emit, Map: m, Data: data, Size: exact, Helper: c.name, Pc: c.s.top().pc})
}

func ringReserve(c *call) Value {
	m := c.mapArg(1)
	n := c.constant(2, "a size")
	if c.constant(3, "flags") != 0 || !c.fits(m, n) {
		return c.k(0)
	}
	checkObject("a record of "+m.Name, int(n))
	full := c.fresh(c.s, 1, &Input{Kind: Choice, Event: RingFull, Name: m.Name + " is full", Map: m.Name})
	name := fmt.Sprintf("the record of %s reserved at %s", m.Name, c.s.moment())
	r := &Region{Kind: RecordRegion, Name: name, Size: int(n), Map: m, addr: c.inv.address(name, KernelSpace)}
	r.fill = c.inv.poison(name, 0)
	c.s.mem[r] = newContent(r.Size)
	valid := c.b.Not(full)
	c.s.open = append(c.s.open[:len(c.s.open):len(c.s.open)], record{r, valid})
	return Value{Term: c.b.Const(64, 0), Region: r, Valid: valid}
}

// fits tells whether a ring buffer, were it empty, has room for a record of n bytes: with
// its header of 8 bytes (BPF_RINGBUF_HDR_SZ), in steps of 8.
func (c *call) fits(m *Map, n uint64) bool {
	return n > 0 && n <= 1<<30 && (n+8+7)&^7 <= uint64(m.MaxEntries)
}

func ringSubmit(submit bool) func(*call) Value {
	return func(c *call) Value {
		v := c.arg(1)
		i := slices.IndexFunc(c.s.open, func(r record) bool { return r.region == v.Region })
		if off, ok := v.Term.Const(); v.Region == nil || i < 0 || !ok || off != 0 {
			c.crash(c.s, "calls "+c.name+" with what is no reserved record")
		}
		if v.Valid != nil {
			c.require(c.s, c.s, v.Valid, "submits a record that may be NULL")
		}
		for _, before := range c.s.open[:i] {
			if there, open := c.query(c.s, before.valid); !there && !open {
				continue // there was no room for it
			}
			if submit && before.region.Map == v.Region.Map {
				// The reader gets records in the order of their reservation, and none
				// before those in front of it.
				c.giveUp(c.s, "submitting records of one ring buffer in another order than they were reserved in")
			}
		}
		if submit {
			c.emit(v.Region.Map, c.world.origin.bytes(v.Region, c.s.mem[v.Region]), nil)
		}
		c.s.open = slices.Delete(slices.Clone(c.s.open), i, i+1)
		delete(c.s.mem, v.Region)
		return c.k(0)
	}
}

func ringOutput(c *call) Value {
	m := c.mapArg(1)
	n, exact := c.size(3, 2)
	data := c.bytes(2, n)
	if flags, ok := c.num(4).Const(); ok && flags&^3 != 0 {
		return c.k(-22)
	} else if !ok && !c.decide(c.s, c.s, c.b.Ule(c.num(4), c.b.Const(64, 3))) {
		return c.k(-22)
	}
	for _, r := range c.s.open {
		if r.region.Map == m {
			c.giveUp(c.s, "an event between the reservation and the submission of another")
		}
	}
	if exact == nil && !c.fits(m, uint64(n)) {
		return c.k(-11)
	}
	checkObject("a record of "+m.Name, int(n))
	full := c.fresh(c.s, 1, &Input{Kind: Choice, Event: RingFull, Name: m.Name + " is full", Map: m.Name})
	if c.decide(c.s, c.s, full) {
		return c.k(-11)
	}
	c.emit(m, data, exact)
	return c.k(0)
}

func ringQuery(c *call) Value {
	m := c.mapArg(1)
	return number(c.fresh(c.s, 64, &Input{Kind: Data, Name: "fill of " + m.Name, Map: m.Name}))
}

func seqWrite(c *call) Value {
	n, exact := c.size(3, 2)
	c.emit(nil, c.bytes(2, n), exact)
	return c.failure()
}

// seqPrintf is a line of an iterator's output: the format and its arguments.
func seqPrintf(c *call) Value {
	size := int(c.constant(3, "a size"))
	n, exact := c.size(5, 4)
	format, ok := c.bytes(2, size).Const()
	if !ok {
		c.giveUp(c.s, c.name+" with a format that is not constant")
	}
	data := &Bytes{b: c.b}
	if n > 0 {
		data = c.bytes(4, n)
	}
	c.s.effects = append(c.s.effects, &Effect{Op: Emit, Data: data, Size: exact, Format: string(format), Helper: c.name, Pc: c.s.top().pc})
	return c.failure()
}

func tracePrint(c *call) Value {
	e := &Effect{Op: Print, Helper: c.name, Pc: c.s.top().pc}
	for _, a := range c.args[2:] {
		if a.Term != nil {
			e.Args = append(e.Args, c.run.num(a))
		}
	}
	c.s.effects = append(c.s.effects, e)
	return number(c.fresh(c.s, 64, &Input{Kind: Data, Name: "result of " + c.name}))
}

// ---- strings ----------------------------------------------------------------------

// strncmp compares as the kernel's does: bytes as unsigned, up to a NUL or the
// size; the second string is constant.
func strncmp(c *call) Value {
	n := int(c.constant(2, "a size"))
	other := c.arg(3)
	if other.Region == nil {
		c.giveUp(c.s, c.name+" with a second string of its own memory")
	}
	off, ok := other.Term.Const()
	if !ok || int(off) > other.Region.Size {
		c.giveUp(c.s, c.name+" with a second string at an unknown place")
	}
	n = min(n, other.Region.Size-int(off))
	x, y := c.bytes(1, n), c.bytes(3, n)
	r := c.b.Const(64, 0)
	for i := n - 1; i >= 0; i-- {
		p, q := x.At(i, 1), y.At(i, 1)
		differ := c.b.Ite(c.b.Ult(p, q), c.b.Const(64, ^uint64(0)), c.b.Const(64, 1))
		end := c.b.Eq(p, c.b.Const(8, 0))
		r = c.b.Ite(c.b.Eq(p, q), c.b.Ite(end, c.b.Const(64, 0), r), differ)
	}
	return number(r)
}

// dPath writes the path of a file. Behind its NUL the buffer holds what the
// kernel left there while it put the path together.
func dPath(c *call) Value {
	n := int(c.constant(3, "a size"))
	if n <= 0 || n > 1<<13 {
		c.giveUp(c.s, c.name+" with such a buffer")
	}
	of := c.inv.objectName(KernelSpace, c.num(1))
	var src []octet
	for i := range n {
		src = append(src, octet{term: c.inv.variable(8, &Input{Kind: Data, Name: fmt.Sprintf("path(%s)[%d]", of, i), Pc: -1})})
	}
	t := text(c.b, src, c.anything(n, Poison, "rest of a path"), func() smt.Term {
		return c.inv.variable(32, &Input{Kind: Data, Name: "strlen(path(" + of + "))", Unit: "bytes", Order: Host, Pc: -1})
	})
	failed := c.fresh(c.s, 1, &Input{Kind: Choice, Event: HelperFail, Name: c.name + " fails"})
	rest := c.anything(n, Poison, "failed path")
	c.writeBytes(c.s, c.arg(2), chooseOctets(c.b, failed, rest, t.data))
	return number(c.b.Ite(failed, c.negative(), t.length))
}

func strto(c *call) Value {
	c.writeBytes(c.s, c.arg(4), c.anything(8, Unknown, "number from text"))
	return opaque(c)
}

// ---- packets ----------------------------------------------------------------------

// totalLen is the length of the packet, 64 bits: of socket buffers more than
// what can be accessed directly.
func (c *call) totalLen() smt.Term {
	c.needPacket()
	if c.inv.hook.linear {
		return c.b.ZeroExt(64, c.inv.packetLen())
	}
	return c.b.Sub(c.s.packet.tail, c.s.packet.head)
}

// needPacket ends states that ask for a packet where there is none.
func (c *call) needPacket() {
	if c.s.packet.region == nil {
		c.crash(c.s, "calls "+c.name+" at a hook without a packet")
	}
}

// inPacket decides whether n bytes at an offset (32 bits, as the helpers take
// it) lie in the packet.
func (c *call) inPacket(off smt.Term, n int) bool {
	return c.allInPacket(off, c.b.Const(64, uint64(n)))
}

// allInPacket is inPacket for a number of bytes that is a term.
func (c *call) allInPacket(off, n smt.Term) bool {
	return c.decide(c.s, c.s, c.b.Ule(c.b.Add(off, n), c.totalLen()))
}

// outside is the result where bytes do not lie in the packet: -EFAULT, and of frames -EINVAL up to an offset of
// 65535, behind which these helpers reach nothing (see Assumptions).
func (c *call) outside(off, n smt.Term) Value {
	fault := c.b.Const(64, ^uint64(14)+1)
	if c.inv.hook.linear {
		return number(fault)
	}
	most := c.b.Const(64, 0xffff)
	return number(c.b.Ite(c.b.And(c.b.Ule(off, most), c.b.Ule(n, most)), c.b.Const(64, ^uint64(22)+1), fault))
}

func loadBytes(c *call) Value {
	off := c.b.ZeroExt(64, c.b.Extract(31, 0, c.num(2)))
	n, exact := c.size(4, 3)
	c.needPacket()
	if exact != nil {
		return c.loadSome(off, n, exact)
	}
	if !c.inPacket(off, n) {
		if c.inv.hook.linear {
			c.writeBytes(c.s, c.arg(3), zeroOctets(c.b, n))
		}
		return c.outside(off, c.b.Const(64, uint64(n)))
	}
	var data []octet
	for i := 0; i < n; {
		w := min(8, n-i)
		if _, ok := off.Const(); ok {
			w = 1
		}
		t := c.packetAt(c.s, c.b.Add(off, c.b.Const(64, uint64(i))), w)
		data = append(data, splitTerm(c.b.Extract(uint(w)*8-1, 0, t), c.s.top().pc)...)
		i += w
	}
	c.writeBytes(c.s, c.arg(3), data)
	return c.k(0)
}

// loadSome loads as many bytes as exact says, n at most.
func (c *call) loadSome(off smt.Term, n int, exact smt.Term) Value {
	c.require(c.s, c.s, c.b.Ult(c.b.Const(64, 0), exact), "calls "+c.name+" with a size of 0")
	data := c.readBytes(c.s, c.arg(3), n)
	there := c.allInPacket(off, exact)
	if !there && !c.inv.hook.linear {
		return c.outside(off, exact)
	}
	end := c.b.Add(off, exact) // of a size that was computed from the packet's length that is the length again
	for i := range data {
		at := c.b.Add(off, c.b.Const(64, uint64(i)))
		now := zeroOctets(c.b, 1)
		if there {
			now = splitTerm(c.b.Extract(7, 0, c.packetAt(c.s, at, 1)), c.s.top().pc)
		}
		data[i] = chooseOctets(c.b, c.b.Ult(at, end), now, data[i:i+1])[0]
	}
	c.writeBytes(c.s, c.arg(3), data)
	if !there {
		return c.outside(off, exact)
	}
	return c.k(0)
}

// storeBytes changes the packet.
func storeBytes(c *call) Value {
	off := c.b.ZeroExt(64, c.b.Extract(31, 0, c.num(2)))
	n, exact := c.size(4, 3)
	c.needPacket()
	if exact != nil {
		c.giveUp(c.s, c.name+" with a size that is not constant")
	}
	data := c.readBytes(c.s, c.arg(3), n)
	if !c.inPacket(off, n) {
		return c.outside(off, c.b.Const(64, uint64(n)))
	}
	if c.inv.hook.linear {
		// Whether the buffer can be written is up to the kernel, and pointers
		// to it are void afterwards.
		failed := c.fresh(c.s, 1, &Input{Kind: Choice, Event: HelperFail, Name: c.name + " fails"})
		if c.decide(c.s, c.s, failed) {
			return number(c.negative())
		}
	}
	at := c.b.Add(off, c.s.packet.head)
	k, ok := at.Const()
	if !ok || int(k)+n > c.s.packet.region.Size {
		c.giveUp(c.s, "writing to the packet at an offset that is not constant")
	}
	cont := c.s.mem[c.s.packet.region]
	for i, o := range data {
		o.pc = int32(c.s.top().pc)
		cont.set(c.s.own, int(k)+i, o)
	}
	c.s.packet.changed = true
	return c.k(0)
}

// pullData makes more of a buffer accessible; how much that is afterwards is
// open, and pointers from before are void.
func pullData(c *call) Value {
	c.needPacket()
	if c.s.packet.changed {
		return unmodelled(c)
	}
	c.movePacket(c.s.packet.head, c.b.Add(c.b.Const(64, headroom), c.b.ZeroExt(64, c.fresh(c.s, 16, &Input{Kind: Data, Name: "packet.linear", Unit: "bytes"}))))
	c.assume(c.s, c.b.Ule(c.b.Sub(c.s.packet.tail, c.s.packet.head), c.totalLen()))
	return c.failure()
}

// movePacket gives the packet new bounds. Pointers into it are void: the
// packet becomes another region with the same bytes.
func (c *call) movePacket(head, tail smt.Term) {
	old := c.s.packet.region
	r := *old
	c.s.mem[&r] = c.s.mem[old].clone()
	c.s.own = new(owner)
	delete(c.s.mem, old)
	c.s.packet.region, c.s.packet.head, c.s.packet.tail = &r, head, tail
}

func buffLen(c *call) Value { return number(c.totalLen()) }

func adjustHead(c *call) Value {
	c.needPacket()
	delta := c.b.SignExt(64, c.b.Extract(31, 0, c.num(2)))
	if _, ok := delta.Const(); !ok {
		c.giveUp(c.s, c.name+" by an amount that is not constant")
	}
	head := c.b.Add(c.s.packet.head, delta)
	h, ok := head.Const()
	if !ok {
		c.giveUp(c.s, c.name+" of a packet that was moved by an amount that is not constant")
	}
	// The frame's first 40 bytes are the kernel's, and an Ethernet header must
	// be left.
	fits := c.b.Ule(c.b.Add(head, c.b.Const(64, 14)), c.s.packet.tail)
	if int64(h) < 40 || !c.decide(c.s, c.s, fits) {
		return c.k(-22)
	}
	c.movePacket(head, c.s.packet.tail)
	c.s.packet.changed = true
	return c.k(0)
}

func adjustTail(c *call) Value {
	c.needPacket()
	delta := c.b.SignExt(64, c.b.Extract(31, 0, c.num(2)))
	d, ok := delta.Const()
	if !ok {
		c.giveUp(c.s, c.name+" by an amount that is not constant")
	}
	tail := c.b.Add(c.s.packet.tail, delta)
	if int64(d) > 0 {
		return unmodelled(c) // growing: how far is the driver's affair
	}
	least := c.b.Add(c.s.packet.head, c.b.Const(64, 14))
	if !c.decide(c.s, c.s, c.b.And(c.b.Sle(least, tail))) {
		return c.k(-22)
	}
	c.movePacket(c.s.packet.head, tail)
	c.s.packet.changed = c.s.packet.changed || d != 0
	return c.k(0)
}

// redirect gives XDP_REDIRECT or TC_ACT_REDIRECT: both say that the packet
// goes elsewhere.
func redirect(c *call) Value {
	v := int64(7) // TC_ACT_REDIRECT
	if c.p.Type == ebpf.XDP {
		v = 4
	}
	c.s.effects = append(c.s.effects, &Effect{Op: Act, Helper: c.name, Args: []smt.Term{c.num(1), c.num(2)}, Pc: c.s.top().pc})
	bad := c.b.Not(c.b.Eq(c.num(2), c.b.Const(64, 0)))
	drop := int64(2) // TC_ACT_SHOT
	if c.p.Type == ebpf.XDP {
		return number(c.b.Ite(bad, c.b.Const(64, 0), c.b.Const(64, uint64(v))))
	}
	flags := c.b.Ule(c.num(2), c.b.Const(64, 1))
	return number(c.b.Ite(flags, c.b.Const(64, uint64(v)), c.b.Const(64, uint64(drop))))
}

// redirectMap gives XDP_REDIRECT, or, when the map has no such entry, the low
// bits of the flags.
func redirectMap(c *call) Value {
	m := c.mapArg(1)
	c.s.effects = append(c.s.effects, &Effect{Op: Act, Map: m, Helper: c.name, Args: []smt.Term{nil, c.num(2), c.num(3)}, Pc: c.s.top().pc})
	absent := c.fresh(c.s, 1, &Input{Kind: Choice, Event: Absent, Name: "no such entry in " + m.Name, Map: m.Name})
	other := c.b.And(c.num(3), c.b.Const(64, 3))
	return number(c.b.Ite(absent, other, c.b.Const(64, 4)))
}

// packetAct changes checksums in the packet: which bytes come out is not
// followed.
func packetAct(c *call) Value {
	c.doubt(c.s, c.name+" changes the packet in a way that is not modelled")
	return act(c)
}

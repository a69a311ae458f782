package kernel

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// machine is a made-up machine: a directory with the files that Sources reads. It is
// small enough to know all of, and can be broken in ways this host cannot.
type machine struct {
	t    testing.TB
	root string
}

const switchFormat = `name: sched_switch
ID: 372
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:char prev_comm[16];	offset:8;	size:16;	signed:0;
	field:pid_t prev_pid;	offset:24;	size:4;	signed:1;

print fmt: "prev_comm=%s prev_pid=%d", REC->prev_comm, REC->prev_pid
`

// newMachine makes a machine on which everything works.
func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir()}
	m.write("/proc/sys/kernel/osrelease", "6.1.99-test\n")
	m.write("/proc/sys/kernel/perf_event_paranoid", "-1\n")
	m.write("/proc/sys/kernel/unprivileged_bpf_disabled", "1\n")
	m.write("/proc/sys/kernel/perf_event_max_sample_rate", "1000\n")
	m.write("/proc/sys/net/core/bpf_jit_enable", "1\n")
	m.write("/proc/self/status", "Name:\ttest\nCapEff:\t000000c000000000\nSeccomp:\t0\n")
	m.write("/proc/self/mountinfo", `22 20 0:21 / /sys rw - sysfs sysfs rw
23 22 0:22 / /sys/kernel/tracing rw,relatime shared:7 - tracefs nodev rw
24 22 0:23 / /sys/kernel/security rw - securityfs securityfs rw
25 22 0:24 / /sys/fs/cgroup rw - cgroup2 none rw
`)
	m.write("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
	m.write("/sys/kernel/security/lsm", "lockdown,capability,bpf")
	m.write("/sys/kernel/btf/vmlinux", string(testBTF(t)))
	m.write("/sys/kernel/tracing/available_events", "sched:sched_switch\nsched:sched_wakeup\nftrace:function\n")
	m.write("/sys/kernel/tracing/events/sched/sched_switch/format", switchFormat)
	m.write("/sys/kernel/tracing/events/sched/sched_switch/enable", "0\n")
	m.write("/sys/kernel/tracing/events/sched/sched_wakeup/format", switchFormat)
	m.write("/sys/kernel/tracing/events/sched/sched_wakeup/enable", "0\n")
	m.write("/sys/kernel/tracing/events/ftrace/function/format", switchFormat)
	m.write("/sys/kernel/tracing/available_filter_functions", "do_work\nsecurity_work\nwide_args\nwide_result\nmod_func [extra]\ntwin\n")
	m.write("/sys/kernel/tracing/kprobe_events", "")
	m.write("/sys/bus/event_source/devices/software/type", "1\n")
	m.write("/sys/bus/event_source/devices/uprobe/type", "7\n")
	m.write("/proc/kallsyms", `0000000000000000 T do_work
0000000000000000 T security_work
0000000000000000 t do_not_trace
0000000000000000 t twin
0000000000000000 t twin
0000000000000000 T wide_args
0000000000000000 T wide_result
0000000000000000 D some_data
0000000000000000 t bpf_prog_6deef7357e7b4530	[bpf]
0000000000000000 t mod_func	[extra]
`)
	m.write("/sys/class/net/eth0/mtu", "1500\n")
	m.write("/sys/fs/cgroup/system.slice/cgroup.procs", "")
	return m
}

// write makes a file and the directories above it.
func (m *machine) write(path, text string) {
	m.t.Helper()
	full := filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) remove(path string) {
	m.t.Helper()
	if err := os.RemoveAll(filepath.Join(m.root, path)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) facts() *Facts {
	m.t.Helper()
	f, err := Sources{Root: m.root, Arch: "x86_64"}.Facts(context.Background())
	if err != nil {
		m.t.Fatal(err)
	}
	return f
}

// liveFacts are the facts of the host, read once for all tests that only look at them.
var liveFacts = sync.OnceValues(func() (*Facts, error) { return Live(context.Background()) })

// host returns the facts of the running kernel with tracefs mounted.
func host(t testing.TB) *Facts {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("reading tracefs takes root")
	}
	f, err := liveFacts()
	if err != nil {
		t.Fatal(err)
	}
	if f.TracefsMount == "" {
		t.Fatal("tracefs is not mounted on this host")
	}
	return f
}

var (
	intType  = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	charType = &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
	longType = &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed}
	u16Type  = &btf.Typedef{Name: "__u16", Type: &btf.Int{Name: "unsigned short", Size: 2}}
	be16Type = &btf.Typedef{Name: "__be16", Type: u16Type}
	be32Type = &btf.Typedef{Name: "__be32", Type: &btf.Int{Name: "unsigned int", Size: 4}}
	le16Type = &btf.Typedef{Name: "__le16", Type: u16Type}
)

func function(name string, ret btf.Type, params ...btf.FuncParam) *btf.Func {
	return &btf.Func{Name: name, Type: &btf.FuncProto{Return: ret, Params: params}, Linkage: btf.StaticFunc}
}

// testTypes are the types of the made-up kernel.
func testTypes() []btf.Type {
	task := &btf.Struct{Name: "task_struct", Size: 64, Members: []btf.Member{
		{Name: "state", Type: &btf.Volatile{Type: longType}, Offset: 0},
		{Name: "comm", Type: &btf.Array{Index: intType, Type: charType, Nelems: 16}, Offset: 64},
		// struct { int pid; union { int tgid; int group; }; };
		{Type: &btf.Struct{Size: 8, Members: []btf.Member{
			{Name: "pid", Type: intType, Offset: 0},
			{Type: &btf.Union{Size: 4, Members: []btf.Member{
				{Name: "tgid", Type: intType},
				{Name: "group", Type: intType},
			}}, Offset: 32},
		}}, Offset: 192},
		{Name: "flag", Type: intType, Offset: 256 + 3, BitfieldSize: 2},
	}}
	taskPointer := &btf.Pointer{Target: task}
	task.Members = append(task.Members, btf.Member{Name: "parent", Type: taskPointer, Offset: 320})
	common := &btf.Struct{Name: "sock_common", Size: 24, Members: []btf.Member{
		{Name: "skc_dport", Type: be16Type, Offset: 96},
		{Name: "skc_num", Type: u16Type, Offset: 112},
		{Name: "skc_v6", Type: &btf.Array{Index: intType, Type: be32Type, Nelems: 2}, Offset: 128},
	}}
	meta := &btf.Pointer{Target: &btf.Struct{Name: "bpf_iter_meta", Size: 8, Members: []btf.Member{{Name: "seq", Type: longType}}}}
	void := &btf.Pointer{Target: &btf.Void{}}
	wide := &btf.Struct{Name: "wide", Size: 24, Members: []btf.Member{{Name: "a", Type: longType}, {Name: "b", Type: longType, Offset: 64}, {Name: "c", Type: longType, Offset: 128}}}
	var many []btf.FuncParam
	for range 13 {
		many = append(many, btf.FuncParam{Name: "x", Type: intType})
	}
	return []btf.Type{
		task,
		&btf.Struct{Name: "sock", Size: 40, Members: []btf.Member{
			{Name: "__sk_common", Type: common, Offset: 0},
			{Name: "sk_frag", Type: le16Type, Offset: 192},
		}},
		&btf.Typedef{Name: "sock_t", Type: common},
		&btf.Struct{Name: "twofold", Size: 4, Members: []btf.Member{{Name: "a", Type: intType}, {Name: "only", Type: intType}}},
		&btf.Struct{Name: "twofold", Size: 8, Members: []btf.Member{{Name: "pad", Type: intType}, {Name: "a", Type: intType, Offset: 32}}},
		&btf.Enum{Name: "bpf_func_id", Size: 4, Values: []btf.EnumValue{
			{Name: "BPF_FUNC_unspec"}, {Name: "BPF_FUNC_map_lookup_elem", Value: 1}, {Name: "BPF_FUNC_get_current_comm", Value: 16}, {Name: "__BPF_FUNC_MAX_ID", Value: 17},
		}},
		&btf.Enum{Name: "bpf_attach_type", Size: 4, Values: []btf.EnumValue{{Name: "BPF_CGROUP_INET_INGRESS"}, {Name: "BPF_TCX_INGRESS", Value: 46}}},
		&btf.Union{Name: "security_list_options", Size: 8, Members: []btf.Member{{Name: "file_open", Type: void}, {Name: "no_function", Type: void}}},
		&btf.Typedef{Name: "btf_trace_sched_switch", Type: &btf.Pointer{Target: &btf.FuncProto{Return: &btf.Void{}, Params: []btf.FuncParam{{Type: void}, {Type: taskPointer}, {Type: taskPointer}}}}},
		&btf.Typedef{Name: "btf_trace_nameless", Type: &btf.Pointer{Target: &btf.FuncProto{Return: &btf.Void{}, Params: []btf.FuncParam{{Type: void}, {Type: intType}}}}},
		&btf.Typedef{Name: "btf_trace_classed", Type: &btf.Pointer{Target: &btf.FuncProto{Return: &btf.Void{}, Params: []btf.FuncParam{{Type: void}, {Type: intType}}}}},
		function("__traceiter_sched_switch", intType, btf.FuncParam{Name: "__data", Type: void}, btf.FuncParam{Name: "prev", Type: taskPointer}, btf.FuncParam{Name: "next", Type: taskPointer}),
		function("__bpf_trace_classed", intType, btf.FuncParam{Name: "__data", Type: void}, btf.FuncParam{Name: "level", Type: intType}),
		function("do_work", intType, btf.FuncParam{Name: "task", Type: taskPointer}, btf.FuncParam{Name: "n", Type: intType}),
		function("do_not_trace", &btf.Void{}),
		function("security_work", intType),
		function("twin", &btf.Void{}),
		function("gone_by_inlining", &btf.Void{}),
		function("wide_args", &btf.Void{}, btf.FuncParam{Name: "w", Type: wide}),
		function("wide_result", wide),
		function("many_args", &btf.Void{}, many...),
		function("print_all", intType, btf.FuncParam{Name: "format", Type: &btf.Pointer{Target: &btf.Const{Type: charType}}}, btf.FuncParam{Type: &btf.Void{}}),
		function("register_ftrace_direct", intType),
		function("bpf_iter_reg_target", intType, btf.FuncParam{Name: "x", Type: void}),
		function("bpf_iter_task", intType, btf.FuncParam{Name: "meta", Type: meta}, btf.FuncParam{Name: "task", Type: taskPointer}),
		function("bpf_iter_run_prog", intType, btf.FuncParam{Name: "prog", Type: void}),
		function("bpf_lsm_file_open", intType, btf.FuncParam{Name: "file", Type: void}),
		function("bpf_lsm_inner_use", intType),
		function("tcx_prog_attach", intType),
		function("__cgroup_bpf_run_filter_skb", intType),
		&btf.Func{Name: "bpf_callable", Type: &btf.FuncProto{Return: intType}, Tags: []string{"bpf_kfunc"}},
	}
}

// testBTF is the raw BTF of the made-up kernel.
func testBTF(t testing.TB) []byte {
	t.Helper()
	return rawBTF(t, testTypes())
}

// moduleBTFOn is the raw BTF of a module of the kernel that base describes. It has
// two functions without arguments, a raw tracepoint and a struct. One name is taken
// from the kernel's strings, as pahole does where it can.
func moduleBTFOn(t testing.TB, base []byte) []byte {
	t.Helper()
	ix, err := indexBTF(base, nil)
	if err != nil {
		t.Fatal(err)
	}
	shared := stringIn(t, ix.text, "comm")
	first := uint32(len(ix.text))
	strings := "\x00mod_func\x00btf_trace_mod_event\x00mod_state\x00count\x00"
	at := func(s string) uint32 { return first + stringIn(t, strings, s) }
	id := ix.numTypes // of the first type here
	order := binary.NativeEndian
	var types []byte
	word := func(words ...uint32) {
		for _, w := range words {
			types = order.AppendUint32(types, w)
		}
	}
	word(0, btfKindProto<<24, 0)                                        // id+0: void (void)
	word(at("mod_func"), btfKindFunc<<24, id)                           // id+1
	word(shared, btfKindFunc<<24, id)                                   // id+2
	word(0, 2<<24, 0)                                                   // id+3: void *
	word(0, btfKindProto<<24|1, 0, 0, id+3)                             // id+4: void (void *)
	word(0, 2<<24, id+4)                                                // id+5: pointer to id+4
	word(at("btf_trace_mod_event"), btfKindTypedef<<24, id+5)           // id+6
	word(at("mod_state"), btfKindStruct<<24|1, 8, at("count"), id+3, 0) // id+7: struct { void *count; }
	raw := order.AppendUint16(nil, btfMagic)
	raw = append(raw, 1, 0)
	for _, w := range []uint32{btfHeaderLen, 0, uint32(len(types)), uint32(len(types)), uint32(len(strings))} {
		raw = order.AppendUint32(raw, w)
	}
	return append(append(raw, types...), strings...)
}

func stringIn(t testing.TB, table, s string) uint32 {
	t.Helper()
	for i := 0; i+len(s) < len(table); i++ {
		if table[i:i+len(s)+1] == s+"\x00" {
			return uint32(i)
		}
	}
	t.Fatalf("no %q in the string table", s)
	return 0
}

// emptyKernel is the raw BTF of a kernel of which nothing is known but one struct.
func emptyKernel(t testing.TB) []byte {
	t.Helper()
	return rawBTF(t, []btf.Type{&btf.Struct{Name: "task_struct", Size: 4}})
}

// kernelWithout is the raw BTF of the made-up kernel without one of its functions.
func kernelWithout(t testing.TB, function string) []byte {
	t.Helper()
	return rawBTF(t, slices.DeleteFunc(testTypes(), func(typ btf.Type) bool { return typ.TypeName() == function }))
}

func rawBTF(t testing.TB, types []btf.Type) []byte {
	t.Helper()
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.NativeEndian})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

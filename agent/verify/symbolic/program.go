package symbolic

import (
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Kernel is what a program is linked against. It must not be copied or changed
// once it has been used.
type Kernel struct {
	// Types are the kernel's own types, Modules those of its modules. Types may
	// be read from a file.
	Types   *btf.Spec
	Modules []*btf.Spec
	// Arch is the machine as `uname -m` says it: "x86_64", "aarch64". Empty is
	// x86_64.
	Arch string
	// Format returns the record of a tracepoint as tracefs describes it. Nil,
	// or false, means that the record follows from BTF (trace_event_raw_*).
	Format func(category, name string) ([]Field, bool)

	once  sync.Once
	types *kernelTypes
}

// Field is one field of a tracepoint's record.
type Field struct {
	Name         string
	Type         string // in C; of an array, that of an element
	Offset, Size uint32 // bytes
	Signed       bool
	Array        bool
	DataLoc      bool // a u32: low half offset of the data in the record, high half its length
}

// HookKind is how a program is attached, by the names of SEC("…").
type HookKind string

const (
	Tracepoint    HookKind = "tracepoint"
	RawTracepoint HookKind = "raw_tp"
	TPBTF         HookKind = "tp_btf"
	Kprobe        HookKind = "kprobe"
	Kretprobe     HookKind = "kretprobe"
	// Of several functions: Target is a list of them and of patterns, "vfs_read,tcp_*".
	KprobeMulti    HookKind = "kprobe.multi"
	KretprobeMulti HookKind = "kretprobe.multi"
	KprobeSession  HookKind = "kprobe.session"
	Fentry         HookKind = "fentry"
	Fexit          HookKind = "fexit"
	FmodRet        HookKind = "fmod_ret"
	LSM            HookKind = "lsm"
	Iter           HookKind = "iter"
	Uprobe         HookKind = "uprobe"
	Uretprobe      HookKind = "uretprobe"
	USDT           HookKind = "usdt"
	PerfEvent      HookKind = "perf_event"
	XDP            HookKind = "xdp"
	TC             HookKind = "tc"
	CgroupSKB      HookKind = "cgroup_skb"
	SockAddr       HookKind = "sock_addr"
	SocketFilter   HookKind = "socket"
	Syscall        HookKind = "syscall"
	OtherHook      HookKind = "other" // not modelled
)

// Hook is where a program runs.
type Hook struct {
	Kind HookKind
	// Target is "category:name" of a tracepoint, the function, the name of the
	// raw tracepoint, LSM hook or iterator; "binary:symbol" of user probes;
	// "ingress", "egress", "connect4" of network hooks.
	Target string
}

// Line is a place in the source.
type Line struct {
	File   string
	Number int
	Column int
	Text   string
}

// Insn is one instruction of a linked program.
type Insn struct {
	asm.Instruction
	// Target is the index of the instruction that a jump leads to, or of the
	// first instruction of the function that is called or whose address is
	// loaded; -1 otherwise.
	Target int
	// Map is set for loads of a map, or of an address in a map's value.
	Map *Map
	// Kfunc is the name of the kernel function that is called or whose address
	// is loaded.
	Kfunc string
	// Root is the kernel type that a CO-RE access of this instruction starts
	// from, such as "inet_sock"; empty when there is none.
	Root string
	// Line is the source line; its Number is 0 when it is not known.
	Line Line
	// Func is the name of the function the instruction is in.
	Func string
}

// Map is a map of the object.
type Map struct {
	Name       string
	Type       ebpf.MapType
	KeySize    uint32 // bytes
	ValueSize  uint32
	MaxEntries uint32
	Flags      uint32
	Key, Value btf.Type // nil when the map is not typed
	// Contents is what the object gives the map before the program is loaded:
	// of data sections their bytes, with parameters set.
	Contents []ebpf.MapKV
	// Inner is the type of the maps in an array or hash of maps.
	Inner *Map
	// Vars are the variables of a data section.
	Vars []Var
	// ReadOnly says that programs cannot write to it and user space no more.
	ReadOnly bool
}

// Var is a global variable.
type Var struct {
	Name         string
	Offset, Size uint32 // bytes, within the section
	Type         btf.Type
}

// Program is a program linked for one kernel. It is immutable and safe for
// concurrent use.
type Program struct {
	Name  string
	Type  ebpf.ProgramType
	Hook  Hook
	Insns []Insn
	// Maps are all maps of the object by name, also those that this program
	// does not use: worlds are made for all programs of an object.
	Maps map[string]*Map
	// Tails are where programs begin that the object puts into program arrays,
	// by the array's name and index.
	Tails map[string]map[uint32]int

	types *kernelTypes
	flow  *flow
}

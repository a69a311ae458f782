package symbolic

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"kgent/agent/verify/smt"
)

// Limits bound one exploration. Zero values mean the defaults of [Defaults].
type Limits struct {
	Paths int           // paths that are kept; twice as many may be under way
	Steps int           // instructions executed, of all paths together
	Time  time.Duration // of one Run
	Query time.Duration // of one question to the solver
	// Packet is how many bytes of a packet are told apart; reading behind them
	// is Unknown.
	Packet int
}

// Defaults are the limits of a proof that a person waits for.
var Defaults = Limits{Paths: 4096, Steps: 2_000_000, Time: 10 * time.Second, Query: 500 * time.Millisecond, Packet: 512}

// maxObject is how many bytes one object may have that a program works on: a
// record of a ring buffer, an element of a map. Each byte is described, some 40 bytes in each
// state that changes it.
const maxObject = 1 << 16

// tooLarge is what an object with more bytes panics with; the exploration then ends as
// Unknown.
type tooLarge string

// maxDescribed is how many bytes a machine describes in all, in effects and worlds, some
// 40 bytes for each.
const maxDescribed = 8 << 20

func (m *Machine) describe(n int) {
	if m.described.Add(int64(n)) > maxDescribed {
		panic(tooLarge(fmt.Sprintf("more than %d bytes are stored and emitted", maxDescribed)))
	}
}

func checkObject(what string, size int) {
	if size > maxObject {
		panic(tooLarge(fmt.Sprintf("%s has %d bytes; more than %d are not followed", what, size, maxObject)))
	}
}

// Machine explores programs. It is safe for concurrent use: several Runs may
// go on at once, and share what they learn.
type Machine struct {
	b      *smt.Builder
	solver smt.Solver
	limits Limits
	names  *registry
	// described counts the bytes that were described one by one.
	described atomic.Int64
	// noMerge keeps every path apart: for tests of merging.
	noMerge bool
	// helpers replaces the models of helpers, and lets calls through registers
	// pass, for tests written for other machines than Linux.
	helpers map[asm.BuiltinFunc]helperModel
}

// New makes a machine whose terms are b's. A builder must not be shared by
// machines: their variables would have the same names.
func New(b *smt.Builder, solver smt.Solver, limits Limits) *Machine {
	return &Machine{b: b, solver: solver, limits: limits.withDefaults(), names: newRegistry()}
}

// Builder returns the builder of the machine's terms.
func (m *Machine) Builder() *smt.Builder { return m.b }

func (l Limits) withDefaults() Limits {
	d := Defaults
	if l.Paths > 0 {
		d.Paths = l.Paths
	}
	if l.Steps > 0 {
		d.Steps = l.Steps
	}
	if l.Time > 0 {
		d.Time = l.Time
	}
	if l.Query > 0 {
		d.Query = l.Query
	}
	if l.Packet > 0 {
		d.Packet = l.Packet
	}
	return d
}

// Content is what a map holds when a scenario begins.
type Content int

const (
	// Arbitrary is any content at all, one that earlier runs of any program
	// may have left.
	Arbitrary Content = iota
	// Fresh is what the map holds right after loading: nothing, or zeroes, or
	// the bytes of the object.
	Fresh
)

// WorldOptions say how a scenario begins.
type WorldOptions struct {
	// Maps gives the content of maps by name; others have Default. Read-only
	// data and program arrays always have what the object says.
	Maps    map[string]Content
	Default Content
	// Params names the variables of .rodata that are symbolic. The value of
	// every other one is the object's.
	Params []string
	// Beside is another world that this one begins with, for two objects side by
	// side: parameters of one name are the same variables, and so are the contents
	// that maps of one name have. That these maps are of one kind is for the caller to see to.
	Beside *World
}

// Thread is who runs: the current task of an invocation. Terms that are nil
// become variables of the invocation.
type Thread struct {
	Tgid smt.Term // 32 bits, the process
	Tid  smt.Term // 32 bits, the thread
	Task smt.Term // 64 bits, the address of its task_struct
}

// Start describes one invocation of a program's hook.
type Start struct {
	// N numbers the invocation within a scenario, from 0. It is part of every
	// variable's name.
	N int
	// Thread is the current task.
	Thread Thread
	// Now is the monotonic clock in ns (64 bits), nil for a variable. That
	// later invocations of a scenario have later times is for the caller to
	// state, as a condition or by making this a sum.
	Now smt.Term
	// Cpu is the processor (32 bits), nil for a variable.
	Cpu smt.Term
	// Args fixes inputs by name (arguments, fields of the context, "len" of a
	// packet), for scenarios whose invocations share an argument and for
	// concrete runs.
	Args map[string]smt.Term
	// Packet is a concrete packet (XDP, tc, socket filter); nil is a symbolic
	// one. Ctx is a concrete context as plain bytes, for hooks without a model.
	Packet []byte
	Ctx    []byte
	// Callback starts the program at a function instead of its first
	// instruction: a timer's callback as found in Path.Timers.
	Callback *Timer
	// Follow makes the run an interpreter's: at every branch it goes the way
	// of this model, so that there is one path. See [Invocation.Follow].
	Follow smt.Model

	// buffer replaces the context by memory of the program's own, whose
	// address is in R1 and whose size in R2: how conformance tests start.
	buffer []byte
}

// Outcome is what an exploration found.
type Outcome struct {
	Paths []*Path
	// Unknown says why the paths do not cover all inputs; empty when they do.
	Unknown []Reason
	Stats   Stats
}

// Stats says what an exploration cost.
type Stats struct {
	Steps   int // instructions executed
	Paths   int // paths to an end
	Forks   int // branches that went both ways
	Merges  int // states that were merged into others
	Queries int // questions to the solver
	// Impossible is how many states turned out at their end not to be
	// possible.
	Impossible int
	Time       time.Duration
	Solver     time.Duration // of Time, spent in the solver
}

// Reason says what is not known, and where.
type Reason struct {
	What string // for people: "helper bpf_sys_bpf is not modelled"
	Pc   int    // instruction, -1 when it is not about one
	Line Line
}

func (r Reason) String() string {
	if r.Line.Number > 0 {
		return r.What + " (" + r.Line.Text + ")"
	}
	return r.What
}

// Path is one way through the program: all runs that do the same things.
type Path struct {
	// Cond is the condition of the path: all terms, of width 1, are true. It
	// includes what the model of the hook assumes, see Invocation.Assume.
	Cond []smt.Term
	// Effects are in the order in which they happen.
	Effects []*Effect
	// Return is R0 at the end, 64 bits; nil when the program did not return.
	Return smt.Term
	// World is what the maps hold afterwards.
	World *World
	// Crash is set when the program does what a kernel does not allow and its
	// verifier should have refused: reading through NULL, beyond an object,
	// leaking a reserved record. Nil otherwise.
	Crash *Reason
	// Unknown says what is not modelled on this path. Nothing about the path
	// can be proved unless it is empty.
	Unknown []Reason
	// Reads are the reads of memory by helper, each once: whether the right
	// space was read is for the caller to judge.
	Reads []Read
	// Timers are callbacks that were armed.
	Timers []*Timer
	// Trace are the instructions in the order in which they were executed, of
	// runs that follow a model; nil otherwise.
	Trace []int
	// Packet is the packet at the end, nil for hooks without one: PacketLen
	// (64 bits) bytes, or, when that is not constant, as many as are told
	// apart.
	Packet    *Bytes
	PacketLen smt.Term
}

// Read is one use of a helper that reads memory at an address.
type Read struct {
	Helper string
	Space  Space    // which space the helper reads
	Addr   smt.Term // 64 bits
	Size   smt.Term // 64 bits: bytes at most
	Pc     int
}

// Timer is a callback that the kernel calls later.
type Timer struct {
	Map  *Map
	Key  *Bytes // the element's key
	Func int    // first instruction
	Pc   int
}

// Op is what an effect does.
type Op int

const (
	_ Op = iota
	// Emit is an event: Data through Map (a ring or perf buffer), or for
	// iterators through the sequence file (Map nil).
	Emit
	// Update, Delete and Write change the element of Map at Key. Update and
	// Delete are calls of helpers, Result says whether they succeeded; Write
	// is what stores through a pointer into the element made of it, given once
	// per element and path, at its end.
	Update
	Delete
	Write
	// Packet is a change of the packet: its bytes at the end are Path.Packet.
	PacketWrite
	// Act is any other call that changes something outside: a signal, a
	// redirect, a socket option. Helper and Args say what.
	Act
	// Context is a store to the context (a rewritten address, a mark): Offset
	// and Data.
	Context
	// Print is output for people reading the trace pipe.
	Print
)

var opNames = [...]string{"", "emit", "update", "delete", "write", "packet", "act", "context", "print"}

func (o Op) String() string { return opNames[o] }

// Effect is something a path does to the outside.
type Effect struct {
	Op  Op
	Map *Map
	// Key is the element's key for changes of maps.
	Key *Bytes
	// Data is the event, or the element's new value. Size is its size when
	// that is not constant (64 bits; then Data holds the most that is
	// possible), else nil.
	Data *Bytes
	Size smt.Term
	// Old is the element's value before; nil when it was certainly absent.
	Old *Bytes
	// Before and After say whether the element exists before and after the
	// effect (width 1).
	Before, After smt.Term
	// Flags and Result are those of the helper, 64 bits; nil when there is none.
	Flags, Result smt.Term
	// Atomic says that a Write was made by atomic instructions only, or that
	// it is to a per-CPU map.
	Atomic bool
	// Helper and Args are set for Act: the helper's name and its scalar
	// arguments (nil entries are pointers).
	Helper string
	Args   []smt.Term
	// Format is that of a formatted line (Emit by bpf_seq_printf); Data are its
	// arguments then, 8 bytes each.
	Format string
	// Offset is where in the context or packet.
	Offset uint32
	// Pc is the instruction.
	Pc int
}

// perCPU tells whether a map keeps a copy of each element for each processor.
func perCPU(t ebpf.MapType) bool {
	switch t {
	case ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUCPUHash, ebpf.PerCPUCGroupStorage:
		return true
	}
	return false
}

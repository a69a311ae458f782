package symbolic

import (
	"fmt"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
)

// Kind says what a variable stands for.
type Kind int

const (
	// Unknown is a value that is not modelled. Nothing that depends on it can
	// be proved.
	Unknown Kind = iota
	// Data is what the world outside gives the program: a field of a kernel
	// object, an argument, a packet's byte, the time.
	Data
	// Pointer is Data that is an address, of the kernel or of a process
	// (see Input.Space).
	Pointer
	// Poison is an uninitialised byte: of the stack, or of a record that was
	// reserved and not written. It must not reach an output.
	Poison
	// Choice is something that happens or not, width 1: a read faults, a map
	// is full, an element is there. See Input.Event.
	Choice
	// Param is a parameter of the program, a `const volatile` global, when
	// the caller asked for it to be symbolic.
	Param
	// Stored is what a map held before the first invocation of a scenario.
	Stored
)

var kindNames = [...]string{"unknown", "data", "pointer", "poison", "choice", "param", "stored"}

func (k Kind) String() string {
	if k >= 0 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Space is which memory an address belongs to.
type Space int

const (
	AnySpace    Space = iota // not known
	KernelSpace              // to be read by bpf_probe_read_kernel
	UserSpace                // to be read by bpf_probe_read_user
)

func (s Space) String() string {
	return [...]string{"any", "kernel", "user"}[s]
}

// Order is the byte order that a value has in a register after a plain load on
// a little-endian machine.
type Order int

const (
	NoOrder  Order = iota // not known, or a single byte
	Host                  // a plain integer of BTF
	BigOrder              // __be16, __be32, __be64
)

func (o Order) String() string {
	return [...]string{"none", "host", "network"}[o]
}

// Event is what a Choice is about.
type Event int

const (
	NoEvent    Event = iota
	Fault            // reading the object at an address fails
	RingFull         // a ring buffer has no room for a record
	MapFull          // a map has no room for another element
	Absent           // something optional is not there (a lookup that may miss, a stack)
	HelperFail       // a helper fails for another reason that is not modelled further
	Lost             // a perf buffer had no room
)

func (e Event) String() string {
	return [...]string{"", "fault", "ring full", "map full", "absent", "helper fails", "lost"}[e]
}

// Input describes a variable: it is the Data of its smt.Info. Descriptions
// are shared and must not be changed.
type Input struct {
	Kind Kind
	// Name is what a person would write, without the invocation:
	// "sk.__sk_common.skc_dport", "current.tgid", "args[1]", "now".
	Name string
	// Invocation is the number of the run that the value belongs to
	// (Invocation.N). -1 for what does not change between runs: parameters,
	// previous contents of maps.
	Invocation int
	// Type is the BTF type of the whole field, nil when it is not known. Bits
	// is the width of the variable.
	Type btf.Type
	Bits uint
	// Order and Unit follow from the type, or from the helper that gave the
	// value. Unit is one of "", "ns", "us", "ms", "bytes", "pages", "jiffies".
	Order Order
	Unit  string
	// Space is set for pointers.
	Space Space
	// Event is set for choices.
	Event Event
	// Map is the map that a Choice or Stored is about.
	Map string
	// Pc is the instruction (index in Program.Insns) that made the variable
	// when it is Poison or the result of a call; -1 otherwise.
	Pc int
	// Base and Offset are set for fields of memory: the address of the object
	// and the offset in bits of this field in it.
	Base   smt.Term
	Offset uint64
	// Label is what a person would write where Name is only an offset: for memory that
	// BTF has no type for, of which the program has its own opinion. Such
	// variables are single bytes; Part says which byte of the field it is.
	Label string
	Part  int
	// Warn says why the value may not be what its name promises at this hook:
	// "at entry the port is not assigned yet", "interrupted task". Empty when
	// there is nothing to say.
	Warn string
}

// InputOf returns the description of a variable, nil for another term.
func InputOf(t smt.Term) *Input {
	if t == nil || t.Info() == nil {
		return nil
	}
	in, _ := t.Info().Data.(*Input)
	return in
}

// String names the variable with its invocation, "sk.__sk_common.skc_dport#2".
func (in *Input) String() string {
	if in.Invocation < 0 {
		return in.Name
	}
	return fmt.Sprintf("%s#%d", in.Name, in.Invocation)
}

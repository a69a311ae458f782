package contract

import "github.com/cilium/ebpf/btf"

// Checked is a contract resolved against one kernel: names and paths are
// bound, definitions are put in place, alternatives are decided. It is what a proof works on.
type Checked struct {
	Contract *Contract
	Params   []CheckedParam
	Events   []CheckedEvent
	Tables   []CheckedTable
	Memories []CheckedMemory
	// Places are the attach points that count on this kernel.
	Places []CheckedPlace
	// Remarks are things worth a second look that are no errors.
	Remarks []*Error
}

// CheckedParam is a parameter with its type and values. Numbers are in the form of
// [Value] constants.
type CheckedParam struct {
	*Param
	Type     Type
	Default  *Value
	Min, Max *Value // nil: all of the type
}

// CheckedMember is a member with its type.
type CheckedMember struct {
	Name string
	Type Type
}

// CheckedEvent is an event with its types.
type CheckedEvent struct {
	*Event
	Members []CheckedMember
}

// CheckedTable is a table with its types: of samples, for Values.
type CheckedTable struct {
	*Table
	Key    []CheckedMember
	Values []CheckedMember
}

// CheckedMemory is a memory with its types.
type CheckedMemory struct {
	*Memory
	Key, Fields []CheckedMember
}

// CheckedPlace is one place with the steps as they are there.
type CheckedPlace struct {
	*Place
	Hook  *Hook
	Args  []CheckedArg
	Steps []CheckedStep
}

// CheckedArg is an argument of a place.
type CheckedArg struct {
	// Name is its name in the contract.
	Name string
	// Index is its position in the kernel's list, from 0; the fields of a
	// tracepoint's record have -1 and Offset; a return value has -2.
	Index int
	// Offset and Size are in bytes, for tracepoints from the start of the record; for a function's
	// return value, from that of the arguments, 8 bytes each, behind which programs find it.
	Offset, Size uint32
	// DataLoc says that the field leads to a text in the record.
	DataLoc bool
	Type    Type
}

const (
	// ArgRecord is the Index of a field of a tracepoint's record.
	ArgRecord = -1
	// ArgReturn is the Index of a return value.
	ArgReturn = -2
)

// CheckedStep is a step, resolved.
type CheckedStep struct {
	Cases     []CheckedCase
	Otherwise []CheckedEffect
}

// CheckedCase is a case, resolved.
type CheckedCase struct {
	*Case
	When    *Value // never nil; a true constant for "always"
	Effects []CheckedEffect
}

// CheckedEffect is an effect, resolved. Key and Fields are in the order of
// the declaration; a member that the effect does not give is nil (only of Add and Change).
type CheckedEffect struct {
	*Effect
	// Index is that of the event, table or memory in its list.
	Index  int
	Key    []*Value
	Fields []*Value
	Value  *Value // of Return
}

// Kind is the kind of a Type.
type Kind uint8

const (
	Invalid Kind = iota
	Int
	Bool
	TextKind // char[Size]
	IPKind   // 16 bytes
	Bytes    // other arrays of bytes, Size of them: k_mac
	Pointer  // to Struct (may be empty: unknown), or Elem
	Object   // a struct or union in memory: Struct
	Array    // of Elem, Size elements, in memory
	Block    // packet, user_bytes
	ArgsKind // k_args
)

// Order is a byte order.
type Order uint8

const (
	Host Order = iota
	Network
)

// Type is the type of a value.
type Type struct {
	Kind   Kind
	Bits   uint8 // of an Int: 8, 16, 32, 64
	Signed bool
	Order  Order
	// Meaning is the k_ name without k_: "ns", "port", "pid"; empty for a plain value.
	Meaning string
	// Size is in bytes, for TextKind and Bytes; elements of an Array, 0 if not known.
	Size uint32
	// Struct is "struct sock" or "union u", without const.
	Struct string
	// User says that a Pointer is into a process's memory.
	User bool
	// Elem is the element of an Array or what a Pointer points to, if that is no struct.
	Elem *Type
	// Enum is set for the contract's own enums.
	Enum *Enum
	// BTF is the kernel's type, if there is one.
	BTF btf.Type
	// Literal marks a constant, which fits any meaning.
	Literal bool
}

// Op is what a Value is.
type Op uint8

const (
	OpInvalid Op = iota
	OpConst      // Bits; of type Int or Bool, extended to 64 bits by its type
	OpText       // Text: a constant; of type TextKind or IPKind (16 bytes)
	OpParam      // Name
	OpArg        // Index into CheckedPlace.Args
	OpInput      // Name: see Inputs
	OpLoad       // Args[0] pointer or object; Path, Offset, Size, BitOffset, BitSize: read the member. 0 if unreadable.
	OpMember     // like OpLoad, but the member is an object or array: its place, nothing is read
	OpElem       // Args[0] array or pointer, Args[1] index, Size of an element in bytes: read it
	OpElemAt     // like OpElem, but the element is an object: its place
	OpCast       // Args[0] pointer or object taken for Type
	OpOffset     // Args[0] pointer + Args[1] bytes
	OpAdd
	OpSub
	OpMul
	OpUDiv
	OpSDiv
	OpUMod
	OpSMod
	OpAnd // bits
	OpOr
	OpXor
	OpShl
	OpUShr
	OpSShr
	OpNeg
	OpInv
	OpCut  // Args[0] cut to Type.Bits and extended by Type.Signed
	OpSwap // Args[0], of Type.Bits, with its bytes turned round on little-endian machines: ntohs and kin
	OpEq   // of two Ints, Texts, IPs, Bytes or pointers
	OpULt
	OpSLt
	OpULe
	OpSLe
	OpNot
	OpBoth       // Args[0] && Args[1]
	OpEither     // Args[0] || Args[1]
	OpCond       // Args[0] ? Args[1] : Args[2]
	OpStarts     // text Args[0] starts with text Args[1]
	OpWithin     // address Args[0] has the first Bits bits of Text, which has 16 bytes
	OpUntil      // text Args[0] up to the first byte that is one of Text
	OpIP4        // of a be32
	OpIP6        // of an object struct in6_addr
	OpUserText   // of a pointer, Type.Size bytes with the NUL
	OpKernelText // of a pointer, likewise
	OpUserBytes  // Args[0] pointer, Args[1] length: a Block of at most Bits bytes
	OpUserArgs   // Args[0] start, Args[1] end: k_args
	OpRead       // Args[0] block, Args[1] offset: Type.Bits in Type.Order; or Type TextKind or IPKind of Type.Size; of a text Args[2], if there, is how many bytes count
	OpLen        // of a Block
	OpKnown      // Index of the memory, Args: the key
	OpCell       // Index of the memory, Field, Args: the key
)

// Value is a resolved expression. Boolean operators evaluate nothing that could
// fail or have an effect, so their order does not matter.
type Value struct {
	Op   Op
	Type Type
	Args []*Value
	Bits uint64
	Text string
	Name string
	// Index is of an argument or memory, Field of a memory's field.
	Index, Field int
	// Path is the member's path below the struct of Args[0], as in BTF.
	Path string
	// Struct is the type that Path starts from: "struct sock".
	Struct string
	// Offset and Size are in bytes; for a bit-field BitOffset is from the struct's
	// start and BitSize its width.
	Offset, Size, BitOffset, BitSize uint32
	At                               Pos
	// From is the expression that it was made from, for messages.
	From Expr
	// ID is the same for equal expressions of one place, from 1. Definitions are put in
	// place as often as they are used, so whoever walks values keeps results by ID.
	ID int
	// nodes is the size of the tree.
	nodes int
}

package proof

import (
	"kgent/agent/contract"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// inputs is what a contract may ask about one invocation. The answers are the
// very terms that the program's instructions work on.
type inputs interface {
	// Arg is an argument of the hook.
	Arg(a contract.CheckedArg) (symbolic.InputValue, error)
	// RecordText is a text in a tracepoint's record, read into n bytes.
	RecordText(a contract.CheckedArg, n int) (*symbolic.Bytes, error)
	// Named is an input by its name in contracts: "current.tgid", "now".
	Named(name string) (symbolic.InputValue, error)
	// Param is a parameter's bytes.
	Param(name string) (*symbolic.Bytes, error)
	// Load is n bytes of memory at an address; zeroes where they cannot be read. root is
	// the type that the contract takes the object for.
	Load(space symbolic.Space, addr smt.Term, n int, root string) (*symbolic.Bytes, error)
	// Text is the text at an address, cut to n-1 bytes and with zeroes behind it; empty if
	// it cannot be read.
	Text(space symbolic.Space, addr smt.Term, n int, root string) (*symbolic.Bytes, error)
	// Block is memory of a process: at most n bytes, as many as length (64 bits) says;
	// all zeroes if one of them cannot be read.
	Block(addr, length smt.Term, n int) (*symbolic.Bytes, error)
	// Assume takes something for granted about the inputs that were asked for.
	Assume(t smt.Term)
	// Context is a field of what the hook hands over, at an offset.
	Context(off uint32, n int) (symbolic.InputValue, error)
	// PacketLen is how many bytes the packet has (64 bits); PacketAt are n of them at an
	// offset (64 bits), anything if they are not there.
	PacketLen() (smt.Term, error)
	PacketAt(off smt.Term, n int) smt.Term
}

// memories is what a contract remembers at one moment.
type memories interface {
	// known tells whether cell key of memory m is known: width 1.
	known(m int, key []value) (smt.Term, error)
	// field is a field of a cell; without meaning where the cell is not known.
	field(m, field int, key []value) (value, error)
}

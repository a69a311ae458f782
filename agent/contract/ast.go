package contract

import "fmt"

// Pos is a place in the text of a contract, both counted from 1; column counts
// bytes. The zero Pos is that of what did not come from text.
type Pos struct{ Line, Column int }

// String writes "3:14".
func (p Pos) String() string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }

// Contract is one contract, as written. Names are not resolved yet; see [Check].
type Contract struct {
	// Title says in one line what the output shows.
	Title string
	// Doc is the comment before it, as everywhere: lines without their "#".
	Doc      string
	Params   []*Param
	Enums    []*Enum
	Defines  []*Define
	Events   []*Event
	Tables   []*Table
	Memories []*Memory
	Hooks    []*Hook
	// Assume holds names of [Assumptions].
	Assume []Word
	Views  []*View
}

// Word is a name with its position.
type Word struct {
	Name string
	At   Pos
}

// Param is a value that people set before the program is loaded. The contract is
// to hold for every value in its range.
type Param struct {
	Name string
	Type TypeName
	// Default is a constant; nil is zero, or the empty text.
	Default Expr
	// Min and Max bound the values (inclusive); both nil: all of the type.
	Min, Max Expr
	// Means says what it is for, and which value means "any".
	Means string
	Doc   string
	At    Pos
}

// TypeName is a type as written: a name of kgent's vocabulary (k_ns, k_port, u32,
// be16, pointer, the name of an Enum), or char with Size bytes.
type TypeName struct {
	Name string
	Size uint32 // of char[Size]; else 0
	At   Pos
}

// String writes the type: "k_port", "char[16]".
func (t TypeName) String() string {
	if t.Size > 0 {
		return fmt.Sprintf("%s[%d]", t.Name, t.Size)
	}
	return t.Name
}

// Enum is a closed set of named numbers that an output shows by name.
type Enum struct {
	Name   string
	Values []EnumValue
	Doc    string
	At     Pos
}

// EnumValue is one enumerator.
type EnumValue struct {
	Name  string
	Value int64
	At    Pos
}

// Define is a named expression with parameters. It stands for its body with the
// arguments in place; it cannot refer to itself.
type Define struct {
	Name string
	Args []Word
	Body Expr
	// Means is the English for it, with {name} for the English of an argument; if empty the body is spelled out.
	Means string
	Doc   string
	At    Pos
}

// Member is a named member of an event, key or memory.
type Member struct {
	Name string
	Type TypeName
	At   Pos
}

// Event is a kind of record that is emitted.
type Event struct {
	Name    string
	Members []Member
	// More says that a program's event may have further members.
	More bool
	Doc  string
	At   Pos
}

// Agg is how samples are added up.
type Agg string

const (
	Count  Agg = "count"
	Sum    Agg = "sum"
	Min    Agg = "min"
	Max    Agg = "max"
	Last   Agg = "last"
	Stats  Agg = "stats"
	Log2   Agg = "log2"
	Linear Agg = "linear"
)

// TableValue is a member of a table's cells. Name is empty if it is the only one and
// unnamed.
type TableValue struct {
	Name string
	Agg  Agg
	// Type is that of a sample: k_ns, k_bytes. For Count it is k_count.
	Type TypeName
	// Step and Slots describe a Linear histogram.
	Step, Slots uint64
	At          Pos
}

// Table is an output table: key to aggregates.
type Table struct {
	Name   string
	Key    []Member // none: one row
	Values []TableValue
	More   bool
	Doc    string
	At     Pos
}

// Memory is what is remembered between invocations.
type Memory struct {
	Name   string
	Key    []Member
	Fields []Member
	Doc    string
	At     Pos
}

// Hook is where the program is called, and what is to happen.
type Hook struct {
	Places []*Place
	Steps  []*Step
	Doc    string
	At     Pos
}

// Place is one attach point.
type Place struct {
	// Kind and Target are as in the section of a program: "tp_btf", "sched_switch";
	// "tracepoint", "syscalls/sys_enter_fsync"; "uprobe", "libc.so.6:getaddrinfo";
	// "perf_event", "cpu-clock/99"; "xdp", "". [Place.Hook] gives them in the form of a manifest.
	Kind, Target string
	// Args are the arguments that the contract uses.
	Args []Arg
	// With are names bound to expressions here.
	With []Field
	// Or says that the place is an alternative to the one before it.
	Or bool
	// IfPresent says that a kernel may lack it.
	IfPresent bool
	Doc       string
	At        Pos
}

// Arg is an argument of a hook: the kernel's name, and the name it has here.
type Arg struct {
	Name string
	As   string   // empty: Name
	Type TypeName // zero: what the kernel says
	At   Pos
}

// Local is the name that the contract uses.
func (a Arg) Local() string {
	if a.As != "" {
		return a.As
	}
	return a.Name
}

// Step is a list of cases of which at most one applies.
type Step struct {
	Cases []*Case
	// Otherwise are the effects if no case applies; none is "otherwise nothing".
	Otherwise []*Effect
	At        Pos
}

// Case is one case of a step.
type Case struct {
	// Name identifies it in verdicts; unique in the hook.
	Name string
	// When is the condition; nil is "always".
	When    Expr
	Effects []*Effect
	Doc     string
	At      Pos
}

// Verb is what an effect does.
type Verb string

const (
	Emit     Verb = "emit"     // To an event: Fields
	Add      Verb = "add"      // To a table: Key, and Value or Fields
	Remember Verb = "remember" // To a memory: Key, Fields
	Change   Verb = "change"   // To a memory: Key, Fields
	Forget   Verb = "forget"   // To a memory: Key
	Return   Verb = "return"   // Value
)

// Effect is one thing that a case does. Key has one entry for each member of the
// key, in any order; entries of memory keys have no names and count by position.
type Effect struct {
	Verb   Verb
	To     string
	Key    []Field
	Fields []Field
	Value  Expr
	Doc    string
	At     Pos
}

// Field gives a member its value.
type Field struct {
	Name string
	Is   Expr
	At   Pos
}

// View says how a table is presented. It is no part of the proof.
type View struct {
	Table string // or event
	Top   int    // rows; 0: all
	Every int64  // nanoseconds; 0: at the end
	At    Pos
}

// Expr is an expression as written: one of *Number, *Text, *Name, *Select,
// *Index, *Call, *Unary, *Binary, *Cond, *In and *Known.
type Expr interface {
	Position() Pos
}

// Number is a constant without sign. Unit is how it was written: "", "ms" of a
// duration, "KiB" of a size; Value has it multiplied out (nanoseconds, bytes).
type Number struct {
	Value uint64
	Unit  string
	Hex   bool
	At    Pos
}

// Text is a constant in quotes: a text or an address.
type Text struct {
	Value string
	At    Pos
}

// Name stands for a parameter, an argument, an enumerator, a definition, an input.
type Name struct {
	Name string
	At   Pos
}

// Select is X.Name: a member behind a pointer or in an object, or of an input (current.tgid).
type Select struct {
	X    Expr
	Name string
	At   Pos // of the name
}

// Index is X[I...]: an element, or the cell of a memory.
type Index struct {
	X  Expr
	I  []Expr
	At Pos
}

// Call is Fun(Args...). Recv is set for blocks: packet.be16(12). Type is the first
// argument of as(struct X, e): "struct X".
type Call struct {
	Recv Expr
	Fun  string
	Type string
	Args []Expr
	At   Pos
}

// Unary is Op X with Op one of ! - ~.
type Unary struct {
	Op string
	X  Expr
	At Pos
}

// Binary is X Op Y with Op one of || && == != < <= > >= | ^ & << >> + - * / %.
type Binary struct {
	Op   string
	X, Y Expr
	At   Pos // of the operator
}

// Cond is If ? Then : Else.
type Cond struct {
	If, Then, Else Expr
	At             Pos
}

// In is X in {Set...}.
type In struct {
	X   Expr
	Set []Expr
	At  Pos
}

// Known is known m[k]: whether the cell is known.
type Known struct {
	Cell *Index
	At   Pos
}

func (e *Number) Position() Pos { return e.At }
func (e *Text) Position() Pos   { return e.At }
func (e *Name) Position() Pos   { return e.At }
func (e *Select) Position() Pos { return e.At }
func (e *Index) Position() Pos  { return e.At }
func (e *Call) Position() Pos   { return e.At }
func (e *Unary) Position() Pos  { return e.At }
func (e *Binary) Position() Pos { return e.At }
func (e *Cond) Position() Pos   { return e.At }
func (e *In) Position() Pos     { return e.At }
func (e *Known) Position() Pos  { return e.At }

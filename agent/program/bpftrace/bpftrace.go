// Package bpftrace makes scripts of bpftrace, kgent's second language, subject
// to the same gates as programs in C.
//
// A [Script] comes of [Parse], which knows the part of the language that only
// observes and refuses all else: what it does not understand, no node runs.
// [Tool.Translate] has the real bpftrace turn a script into instructions,
// locked up and without running anything, from which the hooks, helpers and risk
// of a script follow as they do for C, whatever the script calls itself. What
// bpftrace understood must be what this package understood, probe by probe.
//
//	script ─▶ Parse ─▶ Translate (bpftrace --emit-elf) ─▶ program.Object, program.Manifest
//
// The manifest carries the exact script, so a digest covers it; a node parses and
// translates it once more with its own bpftrace, and runs it only when that does
// what was approved ([program.SameDoings]).
package bpftrace

import (
	"fmt"
	"strconv"
	"strings"
)

// Language is what manifests and flags call it.
const Language = "bpftrace"

// Bounds of a script.
const (
	MaxScript = 16 << 10 // bytes
	MaxProbes = 32       // attach points
	MaxMaps   = 32
	// MaxUnroll bounds the turns of unroll, nested ones multiplied.
	MaxUnroll = 100
	// MaxHz bounds how often a second and processor a profile samples, and an
	// interval fires.
	MaxHz = 1000

	maxNesting = 40
)

// Script is a script that was read and found to use nothing but what kgent allows.
type Script struct {
	// Text is the script, byte for byte.
	Text   string
	Probes []Probe
	// Maps, Functions and Builtins are the names it uses, each once, in the order
	// of their first use: "@reads", "count", "comm".
	Maps      []Map
	Functions []string
	Builtins  []string
	// Statements are what its blocks do, in their order, those in if and unroll too.
	Statements []Statement
	// Filters are those of its blocks, and the conditions of if.
	Filters []*Expr
	// Requires is the oldest release of bpftrace that knows all of it.
	Requires Version
}

// Statement is one that does something: an assignment, or a call.
type Statement struct {
	// Probes are the attach points of its block, by their index.
	Probes []int
	// Target is the map or variable that is assigned to, and Op how: "=", "+=", "++". A
	// call has none.
	Target *Expr
	Op     string
	Value  *Expr // nil with ++ and --
	Line   int
	// Unrolled says that it stands in an unroll.
	Unrolled bool
}

// ExprKind is what an expression is.
type ExprKind int

const (
	NumberExpr   ExprKind = iota // a number, or what is computed of numbers
	TextExpr                     // in its quotes
	VariableExpr                 // with the $
	MapExpr                      // with the @; Args are the keys
	BuiltinExpr                  // pid
	CallExpr                     // of a function
	MemberExpr                   // Args[0].Text
	ChoiceExpr                   // Args[0] ? Args[1] : Args[2]
	OtherExpr                    // a tuple, an index, what a pointer leads to
)

// Expr is an expression, as far as it says what a value is. The instructions alone say
// which value.
type Expr struct {
	Kind ExprKind
	Text string
	Args []*Expr
	Line int
}

// Probe is one attach point.
type Probe struct {
	// Name is the attach point as bpftrace spells it in full:
	// "tracepoint:syscalls:sys_enter_openat".
	Name string
	Kind string   // tracepoint, uprobe, BEGIN …
	Args []string // what follows the kind, between colons
	Line int
}

// Map is one of a script's maps.
type Map struct {
	Name string // with the @
	// Keys are the expressions of its keys as they were first written, one column
	// each; nil for a map without keys.
	Keys []string
	// Call is the function whose result it is assigned: "count", "hist"; empty
	// when it is some expression.
	Call string
	// Stack says, for each key, whether it is a stack, "kstack" or "ustack".
	Stack []string
}

// State reports whether a map only remembers what the script itself reads and takes away
// again, such as when something began. It is no output, and is not shown.
func (s *Script) State(name string) bool {
	read, taken, shown := false, false, false
	var look func(x *Expr)
	look = func(x *Expr) {
		if x == nil {
			return
		}
		read = read || x.Kind == MapExpr && x.Text == name
		for _, a := range x.Args {
			look(a)
		}
	}
	for _, t := range s.Filters {
		look(t)
	}
	for _, t := range s.Statements {
		if t.Target != nil {
			for _, k := range t.Target.Args {
				look(k)
			}
			shown = shown || t.Target.Text == name && isAggregate(t.Value)
		}
		x := t.Value
		if x == nil || x.Kind != CallExpr || len(x.Args) == 0 || x.Args[0].Kind != MapExpr {
			look(x)
			continue
		}
		mine := x.Args[0].Text == name
		switch x.Text {
		case "delete":
			taken = taken || mine
		case "clear", "zero":
			taken = taken || mine && len(t.Probes) == 1 && s.Probes[t.Probes[0]].Kind == "END"
		case "print":
			shown = shown || mine
		default:
			look(x)
			continue
		}
		for _, k := range x.Args[0].Args {
			look(k)
		}
	}
	return read && taken && !shown
}

// Version is a release of bpftrace: 0.17.0.
type Version struct{ Major, Minor, Patch int }

// String returns "0.17.0".
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Less reports whether v came before w.
func (v Version) Less(w Version) bool {
	if v.Major != w.Major {
		return v.Major < w.Major
	}
	if v.Minor != w.Minor {
		return v.Minor < w.Minor
	}
	return v.Patch < w.Patch
}

// ParseVersion reads "bpftrace v0.17.0", "v0.20.2-dirty", "0.23".
func ParseVersion(s string) (Version, error) {
	text := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(s), "bpftrace "), "v")
	text, _, _ = strings.Cut(text, "-")
	text, _, _ = strings.Cut(text, "\n")
	parts := strings.Split(text, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return Version{}, fmt.Errorf("reading a version of bpftrace: %.40q is none", s)
	}
	var n [3]int
	for i, p := range parts {
		k, err := strconv.Atoi(p)
		if err != nil || k < 0 || k > 9999 {
			return Version{}, fmt.Errorf("reading a version of bpftrace: %.40q is none", s)
		}
		n[i] = k
	}
	return Version{n[0], n[1], n[2]}, nil
}

// Oldest is the oldest release that kgent works with; MinVersion of a script is at
// least that.
func Oldest() Version { return Version{0, 17, 0} }

// RefusedError says what in a script kgent does not run, and where.
type RefusedError struct {
	Line, Column int // counted from 1; 0 when it is about the whole
	Why          string
}

func (e *RefusedError) Error() string {
	if e.Line == 0 {
		return "this bpftrace script is refused: " + e.Why
	}
	return fmt.Sprintf("this bpftrace script is refused: line %d, column %d: %s", e.Line, e.Column, e.Why)
}

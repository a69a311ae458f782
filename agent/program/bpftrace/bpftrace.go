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
	// Requires is the oldest release of bpftrace that knows all of it.
	Requires Version
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

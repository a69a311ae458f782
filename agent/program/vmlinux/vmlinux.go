// Package vmlinux turns the types of a kernel, as its BTF describes them, into
// a C header for BPF programs.
//
// [Full] writes every type. That header takes clang longer to read than most
// programs take to compile, so a [Trimmer] writes one that holds only what a
// given program touches: the types that its source names, what these embed by
// value, and the pointees of members that it also names. Everything else is at
// most declared. Both headers have the same declarations for the types they
// share.
//
// # What the header keeps
//
// Compiled for the bpf target, every type of the header has the size, member
// offsets and bit-field positions that the BTF states, with explicit padding
// and packed or aligned attributes where plain C would place a member
// elsewhere. A struct or union that no C declaration can describe (a corrupt
// layout, or one from another language) becomes an array of bytes of the right
// size, with a comment that says why.
//
// Programs stay portable to other kernels (CO-RE), because the header keeps
// what relocations are matched by: names of types, members and enumerators,
// the nesting of anonymous members, and the kind of each type; and because all
// its records carry preserve_access_index. Where two types of the kernel share
// a name, all but the first get a suffix such as ___2, which the relocation
// ignores. Forward declarations stand before the region with that attribute:
// clang would pass the attribute on to a program's own type of that name, and
// relocate what is no kernel type.
//
// Not kept: type tags (__rcu, __user, __percpu) and declaration tags, which
// BPF programs do not need; parameter names; functions and variables.
//
// The header is for C17, clang's default, and for kernels with 64-bit
// pointers. It takes for granted that the layouts of its basic types on the
// bpf target are those of the kernel's own target, as they are on x86-64,
// arm64, riscv64, s390x and loong64.
package vmlinux

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// Full writes a header with every type of spec to w.
//
// The error is that of w, or says what is wrong with the BTF.
func Full(w io.Writer, spec *btf.Spec) error {
	t, err := NewTrimmer(spec)
	if err != nil {
		return err
	}

	var all []int32
	for i := range t.units {
		if !t.units[i].inlined {
			all = append(all, int32(i))
		}
	}
	_, err = w.Write(t.assemble(all, nil, ownNames{}))
	return err
}

// Trimmer writes headers that hold only the types that a program touches. It is
// built once for each kernel, keeps about twice the size of the full header in
// memory, and refers to nothing of the spec it was built from. It is safe for
// concurrent use.
type Trimmer struct {
	units []unit
	tags  map[string]int32 // struct, union and enum tags
	names map[string]int32 // typedefs and enumerators, to the unit that defines them
}

// NewTrimmer reads all types of spec, which takes a few hundred milliseconds
// for a kernel. It leaves spec as it was: types decoded on the way are not kept
// in it.
//
// An error says that the BTF is malformed, or that it describes a kernel with
// 32-bit pointers.
func NewTrimmer(spec *btf.Spec) (*Trimmer, error) {
	ix, err := newIndex(spec.Copy())
	if err != nil {
		return nil, fmt.Errorf("reading kernel types: %w", err)
	}
	if err := ix.render(); err != nil {
		return nil, fmt.Errorf("writing kernel types in C: %w", err)
	}
	return &Trimmer{units: ix.units, tags: ix.tags.units, names: ix.names.units}, nil
}

// basics are the types that a header defines whether a program names them or
// not, because helper headers use them. The definition is for a BTF without
// the type; each depends only on those before it.
var basics = [...]struct{ name, definition string }{
	{"__s8", "signed char __s8"},
	{"__u8", "unsigned char __u8"},
	{"__s16", "short __s16"},
	{"__u16", "unsigned short __u16"},
	{"__s32", "int __s32"},
	{"__u32", "unsigned int __u32"},
	{"__s64", "long long __s64"},
	{"__u64", "unsigned long long __u64"},
	{"s8", "signed char s8"},
	{"u8", "unsigned char u8"},
	{"s16", "short s16"},
	{"u16", "unsigned short u16"},
	{"s32", "int s32"},
	{"u32", "unsigned int u32"},
	{"s64", "long long s64"},
	{"u64", "unsigned long long u64"},
	{"__be16", "unsigned short __be16"},
	{"__be32", "unsigned int __be32"},
	{"__be64", "unsigned long long __be64"},
	{"__le16", "unsigned short __le16"},
	{"__le32", "unsigned int __le32"},
	{"__le64", "unsigned long long __le64"},
	{"__sum16", "unsigned short __sum16"},
	{"__wsum", "unsigned int __wsum"},
	{"bool", "_Bool bool"},
	{"size_t", "unsigned long size_t"},
}

// Header returns a header with the types that the C sources touch. Give it the
// program and those of its headers whose macros it uses, in any order; a header
// that only names many types, such as libbpf's bpf_helper_defs.h, is better left
// out, as what it declares needs no definition. Names that macros paste together
// are not seen.
//
// A type is defined when
//
//   - the sources contain its name, or that of one of its enumerators, as an
//     identifier, in macros too;
//   - a type that is defined embeds it by value;
//   - a member of a type that is defined points to it, through any qualifiers,
//     arrays and typedefs, and the sources contain the member's name;
//   - or it is one of the basic types: __u8 to __u64, u8 to u64, their signed
//     and __be, __le forms, __sum16, __wsum, bool, true, false, size_t.
//
// Types that the sources define themselves are theirs: the kernel's type of
// that name is left out. If it is needed all the same, because another type
// embeds it, it gets the suffix ___kernel, which CO-RE relocations ignore.
//
// The same sources give the same bytes.
func (t *Trimmer) Header(sources ...string) []byte {
	scan := newScan(t.isType)
	for _, src := range sources {
		scan.add(src)
	}

	s := selection{t: t, scan: scan, chosen: make([]bool, len(t.units))}
	var extra []byte
	for _, b := range basics {
		if scan.own.names[b.name] {
			continue
		}
		if u, ok := t.names[b.name]; ok {
			s.root(u)
		} else {
			extra = append(extra, "typedef "+b.definition+";\n\n"...)
		}
	}
	if _, ok := t.names["true"]; !ok && !scan.own.names["true"] {
		extra = append(extra, "enum { false = 0, true = 1 };\n\n"...)
	}
	s.name("true")
	for id := range scan.idents {
		s.name(id)
	}
	s.grow()

	var units []int32
	for i, ok := range s.chosen {
		if ok {
			units = append(units, int32(i))
		}
	}
	return t.assemble(units, extra, scan.own)
}

// isType reports whether name is a typedef of the kernel.
func (t *Trimmer) isType(name string) bool {
	u, ok := t.names[name]
	return ok && t.units[u].kind == kindTypedef && t.units[u].name == name
}

// selection grows the set of units that a header defines. The result does not
// depend on the order in which units are chosen.
type selection struct {
	t      *Trimmer
	scan   *scan
	chosen []bool
	queue  []int32
}

// name chooses what the identifier id stands for in the kernel, unless it is
// the program's own.
func (s *selection) name(id string) {
	if u, ok := s.t.tags[id]; ok && s.scan.own.tags[id] == kindNone {
		s.root(u)
	}
	if u, ok := s.t.names[id]; ok && !s.scan.own.names[id] {
		s.root(u)
	}
}

// root chooses a unit and, for a typedef, the type that it stands for or points
// to.
func (s *selection) root(u int32) {
	s.choose(u)
	if target := s.t.units[u].target; target >= 0 {
		s.choose(target)
	}
}

func (s *selection) choose(u int32) {
	if !s.chosen[u] {
		s.chosen[u] = true
		s.queue = append(s.queue, u)
	}
}

// owned reports whether the program defines a tag of the unit's name.
func (s *selection) owned(u int32) bool {
	return s.t.units[u].kind.isTag() && s.scan.own.tags[s.t.units[u].name] != kindNone
}

func (s *selection) grow() {
	for len(s.queue) > 0 {
		u := &s.t.units[s.queue[len(s.queue)-1]]
		s.queue = s.queue[:len(s.queue)-1]
		for _, n := range u.needs {
			s.choose(n)
		}
		for _, f := range u.follow {
			if s.scan.idents[f.member] && !s.owned(f.unit) {
				s.choose(f.unit)
			}
		}
	}
}

const (
	prologue = `#ifndef __VMLINUX_H__
#define __VMLINUX_H__

`
	attributePush = `#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

`
	attributePop = `#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

`
	epilogue = `#endif /* __VMLINUX_H__ */
`
)

// assemble writes a header that defines the units, which must be in ascending
// order and include all that they need. Whatever the program owns keeps out of
// its way.
func (t *Trimmer) assemble(units []int32, extra []byte, own ownNames) []byte {
	order := t.sort(units)
	position := make([]int32, len(t.units)) // in order, from 1; 0 for the others
	for i, u := range order {
		if t.units[u].body != "" {
			position[u] = int32(i) + 1
		}
	}

	// A tag must be declared outside the first parameter list or record that
	// mentions it.
	var forward []int32
	declared := make([]bool, len(t.units))
	for i, u := range order {
		for _, m := range t.units[u].mentions {
			if here := int32(i) + 1; !declared[m] && (position[m] == 0 || position[m] > here) {
				declared[m] = true
				forward = append(forward, m)
			}
		}
		// A type known only by its declaration, which the program names.
		if t.units[u].body == "" && !declared[u] {
			declared[u] = true
			forward = append(forward, u)
		}
	}
	slices.Sort(forward)

	e := emitter{t: t, own: own, renamed: make(map[int32]string), used: make(map[string]int)}
	for _, u := range order {
		e.rename(u, position[u] != 0)
	}
	for _, u := range forward {
		e.rename(u, position[u] != 0)
	}

	e.buf.WriteString(prologue)
	for _, u := range forward {
		e.buf.WriteString(t.units[u].kind.String())
		e.buf.WriteByte(' ')
		e.buf.WriteString(e.nameOf(u))
		e.buf.WriteString(";\n")
	}
	e.buf.WriteByte('\n')
	e.buf.Write(extra)

	// Clang warns of an attribute that applies to nothing.
	records := slices.ContainsFunc(order, func(u int32) bool { return t.units[u].record })
	if records {
		e.buf.WriteString(attributePush)
	}
	for _, u := range order {
		e.expand(t.units[u].body)
	}
	if records {
		e.buf.WriteString(attributePop)
	}
	e.buf.WriteString(epilogue)
	return e.buf.Bytes()
}

// sort orders units so that each stands after what it needs. Enums come first:
// an enumerator in a record gives way to one of the same name outside.
func (t *Trimmer) sort(units []int32) []int32 {
	order := make([]int32, 0, len(units))
	seen := make([]bool, len(t.units))
	var visit func(u int32)
	visit = func(u int32) {
		if seen[u] {
			return
		}
		seen[u] = true
		for _, n := range t.units[u].needs {
			visit(n)
		}
		order = append(order, u)
	}
	for _, u := range units {
		if t.units[u].kind == kindEnum {
			visit(u)
		}
	}
	for _, u := range units {
		visit(u)
	}
	return order
}

// emitter replaces the marks in the bodies of units by names.
type emitter struct {
	t       *Trimmer
	own     ownNames
	buf     bytes.Buffer
	renamed map[int32]string // units whose name the program has taken
	used    map[string]int   // enumerators written so far, and the last number of each
}

// rename gives a unit another name if the program has taken its own. A tag
// that is only declared may be the program's, as long as both are of one kind.
func (e *emitter) rename(u int32, defined bool) {
	n := &e.t.units[u]
	switch {
	case n.name == "":
	case !n.kind.isTag():
		if e.own.names[n.name] {
			e.renamed[u] = e.free(n.name, func(s string) bool { return e.own.names[s] })
		}
	default:
		if k := e.own.tags[n.name]; k != kindNone && (defined || k != n.kind) {
			e.renamed[u] = e.free(n.name, func(s string) bool { return e.own.tags[s] != kindNone })
		}
	}
}

// free returns name with a suffix that marks it as the kernel's.
func (e *emitter) free(name string, taken func(string) bool) string {
	for s := name + "___kernel"; ; s += "_" {
		if !taken(s) {
			return s
		}
	}
}

func (e *emitter) nameOf(u int32) string {
	if s, ok := e.renamed[u]; ok {
		return s
	}
	return e.t.units[u].name
}

// expand writes body, resolving its marks.
func (e *emitter) expand(body string) {
	for start, i := 0, 0; ; i++ {
		if i == len(body) {
			e.buf.WriteString(body[start:])
			return
		}
		switch body[i] {
		case markUnit:
			e.buf.WriteString(body[start:i])
			e.buf.WriteString(e.nameOf(decodeUnit(body[i:])))
			start = i + unitMarkLen
			i = start - 1
		case markEnumerator:
			e.buf.WriteString(body[start:i])
			n := 1
			for body[i+n] != markEnumerator {
				n++
			}
			e.enumerator(body[i+1 : i+n])
			start = i + n + 1
			i = start - 1
		}
	}
}

// enumerator writes a name for an enumerator that no other has. The name may be
// taken by the program, or because an anonymous enum is the type of several
// members and so has to be repeated.
func (e *emitter) enumerator(name string) {
	unique := name
	if e.own.names[name] {
		unique = e.free(name, func(s string) bool { return e.own.names[s] })
	}
	for base := unique; e.used[unique] > 0; {
		e.used[base]++
		s := base + "___" + strconv.Itoa(e.used[base])
		if _, ok := e.t.names[s]; !ok && !e.own.names[s] {
			unique = s
		}
	}
	e.used[unique] = 1
	e.buf.WriteString(unique)
}

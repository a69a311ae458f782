package vmlinux

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Clang must agree with the kernel on the size of every type, the offset of
// every member and the value of every enumerator of the header with all types.
func TestFullAssertions(t *testing.T) {
	spec := kernelSpec(t)
	types := tagTypes(t, spec)

	var b strings.Builder
	sizes, offsets, values := 0, 0, 0
	var walk func(tag, path string, typ btf.Type, base btf.Bits)
	walk = func(tag, path string, typ btf.Type, base btf.Bits) {
		for _, m := range members(typ) {
			if m.BitfieldSize > 0 {
				continue
			}
			p := path
			if m.Name != "" {
				p = path + m.Name
				fmt.Fprintf(&b, "_Static_assert(__builtin_offsetof(%s, %s) == %d, \"%s.%s\");\n",
					tag, p, (base + m.Offset).Bytes(), tag, p)
				offsets++
				p += "."
			}
			if inner := unqualified(m.Type); isAnonymous(inner) {
				walk(tag, p, inner, base+m.Offset)
			}
		}
	}
	ix, err := newIndex(spec)
	if err != nil {
		t.Fatal(err)
	}
	for i, typ := range ix.types {
		name := ix.units[i].name
		switch v := typ.(type) {
		case *btf.Typedef:
			if size, err := btf.Sizeof(v); err == nil {
				fmt.Fprintf(&b, "_Static_assert(sizeof(%s) == %d, \"%s\");\n", name, size, name)
				sizes++
			}
			if inner := unqualified(v.Type); isAnonymous(inner) {
				walk(name, "", inner, 0)
			}
		case *btf.Enum:
			for k, value := range v.Values {
				name, ok := ix.enumerators[enumerator{v, k}]
				if !ok {
					name = value.Name
				}
				fmt.Fprintf(&b, "_Static_assert((__u64)%s == %dULL, \"%s\");\n", name, value.Value, name)
				values++
			}
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(types)) {
		size, err := btf.Sizeof(types[tag])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "_Static_assert(sizeof(%s) == %d, \"%s\");\n", tag, size, tag)
		sizes++
		walk(tag, "", types[tag], 0)
	}
	if sizes < 5000 || offsets < 40000 || values < 5000 {
		t.Fatalf("only %d sizes, %d offsets and %d enumerators", sizes, offsets, values)
	}
	t.Logf("%d sizes, %d offsets, %d enumerators", sizes, offsets, values)
	compile(t, full(t, spec), b.String(), "-fsyntax-only")
}

// What clang describes of the header's types must be what the kernel describes:
// names, kinds, nesting, bit-fields, enumerators. The types come in trimmed
// headers, a few hundred at a time, as clang's effort grows with the square of
// their number; the full header has the same text for each.
func TestRoundTrip(t *testing.T) {
	spec := kernelSpec(t)
	trimmer := kernelTrimmer(t)
	types := tagTypes(t, spec)
	tags := slices.Sorted(maps.Keys(types))
	compared := make(map[string]bool)
	for part := range slices.Chunk(tags, 400) {
		var b strings.Builder
		for i, tag := range part {
			fmt.Fprintf(&b, "%s v%d;\n", tag, i)
		}
		object := compile(t, trimmer.Header(b.String()), b.String())
		for _, tag := range checkObject(t, object, types) {
			compared[tag] = true
		}
	}
	for _, tag := range tags {
		if !compared[tag] {
			t.Errorf("%s was not compared", tag)
		}
	}
	t.Logf("%d types compared", len(compared))
}

func TestFullWarnings(t *testing.T) {
	header := full(t, kernelSpec(t))
	compile(t, header, "", "-Wextra", "-fsyntax-only")
	if !strings.Contains(string(header), "#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)") {
		t.Error("types are not marked for CO-RE")
	}
	if strings.Contains(string(header), "unsigned char __opaque[") {
		t.Error("a type of the kernel has no layout in C")
	}
}

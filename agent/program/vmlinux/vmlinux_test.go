package vmlinux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
)

// kernelSpec returns the types of the running kernel.
func kernelSpec(t testing.TB) *btf.Spec {
	t.Helper()
	spec, err := btf.LoadKernelSpec()
	if errors.Is(err, btf.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("needs a kernel built with CONFIG_DEBUG_INFO_BTF: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

var sharedTrimmer = sync.OnceValues(func() (*Trimmer, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, err
	}
	return NewTrimmer(spec)
})

// kernelTrimmer returns a Trimmer for the running kernel, the same each time.
func kernelTrimmer(t testing.TB) *Trimmer {
	t.Helper()
	kernelSpec(t)
	tr, err := sharedTrimmer()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// full returns what Full writes.
func full(t testing.TB, spec *btf.Spec) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Full(&b, spec); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// compile runs clang on a program that begins with the header, and returns the
// path of the object. Warnings are errors.
func compile(t testing.TB, header []byte, program string, flags ...string) string {
	t.Helper()
	object, out, err := runClang(t, header, program, flags...)
	if err != nil {
		if len(out) > 3000 {
			out = out[:3000]
		}
		t.Fatalf("clang: %v\n%s", err, out)
	}
	return object
}

func runClang(t testing.TB, header []byte, program string, flags ...string) (object string, output []byte, err error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("vmlinux.h", header)
	source := write("program.bpf.c", []byte("#include \"vmlinux.h\"\n"+program))
	object = filepath.Join(dir, "program.bpf.o")

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{"-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror"}, flags...)
	args = append(args, "-c", source, "-o", object)
	output, err = exec.CommandContext(ctx, "clang-19", args...).CombinedOutput()
	return object, output, err
}

// objectSpec returns the types in an object that clang wrote.
func objectSpec(t testing.TB, path string) *btf.Spec {
	t.Helper()
	spec, err := btf.LoadSpec(path)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

var numbered = regexp.MustCompile(`^(.+)___(\d+|kernel_*)$`)

// essential removes the suffix by which names are made unique.
func essential(name string) string {
	if m := numbered.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return name
}

// comparison finds differences between two types that a BPF program could
// notice: clang's description of a type of the header, and the kernel's.
type comparison struct {
	diffs []string
	seen  map[*btf.Typedef]bool
}

func compareTypes(got, want btf.Type) []string {
	c := comparison{seen: make(map[*btf.Typedef]bool)}
	c.types(want.TypeName(), got, want, 0, true)
	return c.diffs
}

func (c *comparison) differ(path, format string, args ...any) {
	c.diffs = append(c.diffs, path+": "+fmt.Sprintf(format, args...))
}

// types compares two types. Named records are compared only at the top: each
// has its own turn.
func (c *comparison) types(path string, got, want btf.Type, depth int, top bool) {
	if depth > 40 {
		return
	}
	got, want = unqualified(got), unqualified(want)

	// An anonymous type that has a typedef is written by that name.
	if td, ok := got.(*btf.Typedef); ok && isAnonymous(want) {
		got = unqualified(td.Type)
	}

	if g, w := got.TypeName(), want.TypeName(); !top && !isInt(want) && essential(g) != essential(w) {
		c.differ(path, "called %q, want %q", g, w)
		return
	}
	switch want := want.(type) {
	case *btf.Struct, *btf.Union:
		if want.TypeName() != "" && !top {
			wantUnion, gotUnion := false, false
			_, wantUnion = want.(*btf.Union)
			switch got := got.(type) {
			case *btf.Union:
				gotUnion = true
			case *btf.Fwd:
				gotUnion = got.Kind == btf.FwdUnion
			}
			if wantUnion != gotUnion {
				c.differ(path, "is %v, want %v", got, want)
			}
			return
		}
		c.records(path, got, want, depth)
	case *btf.Enum:
		g, ok := got.(*btf.Enum)
		if !ok {
			c.differ(path, "is %v, want %v", got, want)
			return
		}
		// Clang gives no size to an enum that is only declared.
		if len(g.Values) != len(want.Values) || g.Size != want.Size && len(want.Values) > 0 {
			c.differ(path, "is %v, want %v", got, want)
			return
		}
		for i, v := range want.Values {
			mask := uint64(1)<<(8*want.Size-1)<<1 - 1
			if w := g.Values[i]; essential(w.Name) != essential(v.Name) || w.Value&mask != v.Value&mask {
				c.differ(path, "enumerator %v, want %v", w, v)
			}
		}
	case *btf.Pointer:
		g, ok := got.(*btf.Pointer)
		if !ok {
			c.differ(path, "is %v, want %v", got, want)
			return
		}
		c.types(path+"*", g.Target, want.Target, depth+1, false)
	case *btf.Array:
		g, ok := got.(*btf.Array)
		if !ok || g.Nelems != want.Nelems {
			c.differ(path, "is %v, want %v", got, want)
			return
		}
		c.types(path+"[]", g.Type, want.Type, depth+1, false)
	case *btf.FuncProto:
		g, ok := got.(*btf.FuncProto)
		if !ok || len(g.Params) != len(want.Params) {
			c.differ(path, "is %v, want %v", got, want)
			return
		}
		c.types(path+"()", g.Return, want.Return, depth+1, false)
		for i := range want.Params {
			c.types(fmt.Sprintf("%s(%d)", path, i), g.Params[i].Type, want.Params[i].Type, depth+1, false)
		}
	case *btf.Typedef:
		g, ok := got.(*btf.Typedef)
		if !ok {
			c.differ(path, "is %v, want %v", got, want)
			return
		}
		// What has no other name is compared with its typedef.
		if isAnonymous(unqualified(want.Type)) && !c.seen[want] {
			c.seen[want] = true
			c.types(path+"."+want.Name, g.Type, want.Type, depth+1, false)
		}
	case *btf.Int:
		g, ok := got.(*btf.Int)
		if !ok || g.Size != want.Size {
			c.differ(path, "is %v, want %v", got, want)
		}
	}
}

func isInt(t btf.Type) bool {
	_, ok := t.(*btf.Int)
	return ok
}

func (c *comparison) records(path string, got, want btf.Type, depth int) {
	gotSize, err := btf.Sizeof(got)
	if err != nil {
		c.differ(path, "is %v: %v", got, err)
		return
	}
	wantSize, _ := btf.Sizeof(want)
	if gotSize != wantSize {
		c.differ(path, "has %d bytes, want %d", gotSize, wantSize)
	}
	var real []btf.Member
	for _, m := range members(got) {
		if !strings.HasPrefix(m.Name, "__btf_pad_") {
			real = append(real, m)
		}
	}
	if len(real) != len(members(want)) {
		c.differ(path, "has %d members, want %d", len(real), len(members(want)))
		return
	}
	for i, w := range members(want) {
		g := real[i]
		if g.Name != w.Name || g.Offset != w.Offset || g.BitfieldSize != w.BitfieldSize {
			c.differ(path, "member %s at bit %d, width %d, want %s at %d, width %d",
				g.Name, g.Offset, g.BitfieldSize, w.Name, w.Offset, w.BitfieldSize)
			continue
		}
		// A member without a name cannot have a tag in C.
		c.types(path+"."+w.Name, g.Type, w.Type, depth+1, w.Name == "")
	}
}

// checkObject compares all named records and enums of an object with the
// kernel's, and returns their names.
func checkObject(t testing.TB, object string, byName map[string]btf.Type) []string {
	t.Helper()
	var compared []string
	for typ, err := range objectSpec(t, object).All() {
		if err != nil {
			t.Fatal(err)
		}
		var tag string
		switch typ.(type) {
		case *btf.Struct:
			tag = "struct "
		case *btf.Union:
			tag = "union "
		case *btf.Enum:
			tag = "enum "
		default:
			continue
		}
		want, ok := byName[tag+typ.TypeName()]
		if typ.TypeName() == "" || !ok {
			continue
		}
		compared = append(compared, tag+typ.TypeName())
		for _, d := range compareTypes(typ, want) {
			t.Error(tag + d)
		}
	}
	return compared
}

// tagTypes returns the kernel's structs, unions and enums, as far as they are
// more than declared, by the names that
// they have in headers, with the keyword.
func tagTypes(t testing.TB, spec *btf.Spec) map[string]btf.Type {
	t.Helper()
	ix, err := newIndex(spec)
	if err != nil {
		t.Fatal(err)
	}
	types := make(map[string]btf.Type)
	for i, typ := range ix.types {
		if u := ix.units[i]; u.kind.isTag() && u.name != "" {
			e, enum := typ.(*btf.Enum)
			if _, fwd := typ.(*btf.Fwd); !fwd && (!enum || len(e.Values) > 0) {
				types[u.kind.String()+" "+u.name] = typ
			}
		}
	}
	return types
}

package compile

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
)

// CompilePerf compiles a source for kernels without ring buffers: its events go
// through perf buffers, see KGENT_PERF in kgent.bpf.h. Of a source without ring buffers it is
// [Compiler.Compile].
//
// It takes clang twice: which ring buffers there are, and which events go
// through which, is read off what the first one makes.
func (c *Compiler) CompilePerf(ctx context.Context, source string, types Types) (*Result, error) {
	first, err := c.compile(ctx, source, types, "-DKGENT_PERF")
	if err != nil {
		return nil, err
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(first.ELF))
	if err != nil {
		return nil, fmt.Errorf("compiling: reading which ring buffers there are: %w", err)
	}
	defines, fault := perfDefines(spec)
	switch {
	case fault != "":
		return nil, &Error{[]Diagnostic{{Error: true, Message: "one of the kernels has no ring buffers, and for perf buffers " + fault}}}
	case defines == nil:
		return c.Compile(ctx, source, types)
	}
	return c.compile(ctx, source, types, append(defines, "-DKGENT_PERF")...)
}

// perfDefines are what kgent.bpf.h needs to know of a program's buffers; nil if there are none.
func perfDefines(spec *ebpf.CollectionSpec) (defines []string, fault string) {
	var names []string
	for name, m := range spec.Maps {
		if m.Type == ebpf.PerfEventArray {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	most := 0
	var of, index []string
	for i, name := range names {
		t := spec.Maps[name].Value
		if t == nil {
			return nil, fmt.Sprintf("the ring buffer %s must say what its events are: __type(value, struct ...)", name)
		}
		size, err := btf.Sizeof(t)
		if err != nil || size == 0 || size > program.MaxPerfEvent {
			return nil, fmt.Sprintf("an event must have 1 to %d bytes; those of %s have %d", program.MaxPerfEvent, name, size)
		}
		most = max(most, size)
		if len(names) == 1 {
			of, index = append(of, "(&"+name+")"), append(index, "0")
			break
		}
		word, ok := cName(t)
		if !ok {
			return nil, fmt.Sprintf("the events of %s must be a struct with a name", name)
		}
		of, index = append(of, fmt.Sprintf("%s*:&%s", word, name)), append(index, fmt.Sprintf("%s*:%d", word, i))
		for _, other := range names[:i] {
			if was, _ := cName(spec.Maps[other].Value); was == word {
				return nil, fmt.Sprintf("the buffers %s and %s must carry different structs: which one an event is for is known by its type", other, name)
			}
		}
	}
	switch len(names) {
	case 0:
		return nil, ""
	case 1:
		return perfForm(len(names), most, of[0], index[0]), ""
	}
	choice := func(among []string) string { return "_Generic((data)," + strings.Join(among, ",") + ")" }
	return perfForm(len(names), most, choice(of), choice(index)), ""
}

func perfForm(rings, most int, of, index string) []string {
	return []string{
		fmt.Sprintf("-DKGENT_RINGS=%d", rings), fmt.Sprintf("-DKGENT_RECORD=%d", (most+7)&^7),
		"-DKGENT_RING_OF(data)=" + of, "-DKGENT_RING_INDEX(data)=" + index,
	}
}

// cName is how C writes a type that has a name.
func cName(t btf.Type) (string, bool) {
	switch t := t.(type) {
	case *btf.Struct:
		return "struct " + t.Name, t.Name != ""
	case *btf.Typedef:
		return t.Name, true
	}
	return "", false
}

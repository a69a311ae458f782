package kernel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Catalog lists by name what BTF describes of a kernel and its modules, sorted, each
// name once: what a search over all of it begins with.
type Catalog struct {
	// Functions are all but those that macros make around others.
	Functions []string
	// Kfuncs are those of them that programs may call. Kernels before 6.10 do not tell.
	Kfuncs []string
	// Helpers are "bpf_map_lookup_elem" and so on.
	Helpers []string
	Structs []Struct
}

// Struct is a struct or union with the names of its own members.
type Struct struct {
	Name    string
	Members []string
}

// Catalog reads it anew, which takes about 0.3 s and decodes all types. Nothing of it is kept.
func (f *Facts) Catalog() (*Catalog, error) {
	vmlinux, modules, err := f.Specs()
	if err != nil {
		return nil, err
	}
	c := &Catalog{}
	for _, spec := range append([]*btf.Spec{vmlinux}, modules...) {
		for t, err := range spec.All() {
			if err != nil {
				return nil, fmt.Errorf("listing the types of kernel %s: %w", f.Release, err)
			}
			c.add(t)
		}
	}
	for _, list := range []*[]string{&c.Functions, &c.Kfuncs, &c.Helpers} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	slices.SortStableFunc(c.Structs, func(a, b Struct) int { return strings.Compare(a.Name, b.Name) })
	c.Structs = slices.CompactFunc(c.Structs, func(a, b Struct) bool { return a.Name == b.Name })
	return c, nil
}

func (c *Catalog) add(t btf.Type) {
	switch t := t.(type) {
	case *btf.Func:
		if isGenerated(t.Name) {
			return
		}
		c.Functions = append(c.Functions, t.Name)
		if slices.Contains(t.Tags, "bpf_kfunc") {
			c.Kfuncs = append(c.Kfuncs, t.Name)
		}
	case *btf.Struct:
		c.structure(t.Name, t.Members)
	case *btf.Union:
		c.structure(t.Name, t.Members)
	case *btf.Enum:
		if t.Name != "bpf_func_id" {
			return
		}
		for _, v := range t.Values {
			if helper, ok := strings.CutPrefix(v.Name, helperPrefix); ok && helper != "unspec" {
				c.Helpers = append(c.Helpers, "bpf_"+helper)
			}
		}
	}
}

func (c *Catalog) structure(name string, members []btf.Member) {
	// Tracepoints and system calls have a struct each, whose fields are the tracepoint's.
	if name == "" || strings.HasPrefix(name, "trace_event_") || strings.HasPrefix(name, "____") {
		return
	}
	s := Struct{Name: name}
	for _, m := range members {
		if m.Name != "" {
			s.Members = append(s.Members, m.Name)
		}
	}
	c.Structs = append(c.Structs, s)
}

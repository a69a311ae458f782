package codegen

import (
	"fmt"
	"strings"

	"kgent/agent/contract"
)

// Texts that are too long for the stack are read into a map, of which each CPU has its own copy. Nothing
// else runs there between a write and its use: hooks at which another thread could take over have no such
// map.

// scratch is the memory of one function for long texts.
type scratch struct {
	members []string // declarations
	size    int
	name    string // of the variable, once it is looked up
	block   *block // where that is
}

// scratchMap is the map that functions with the same texts share, if they cannot interrupt each other.
type scratchMap struct{ class, body, tag, name string }

// long gives a text a place in the scratch memory.
func (b *block) long(v *contract.Value, name string, size int) (string, error) {
	f := b.f
	if strings.HasPrefix(f.place.Kind, "u") {
		return "", f.unsupported(v, fmt.Sprintf("texts of more than %d bytes at a place where another thread can take over", maxStack))
	}
	if f.scratch == nil {
		f.scratch = &scratch{}
	}
	s := f.scratch
	seen := false
	for at := b; at != nil; at = at.outer {
		seen = seen || at == s.block
	}
	if !seen {
		zero := f.names.pick("zero")
		s.name, s.block = f.names.pick("scratch"), b
		b.line("__u32 %s = 0;", zero)
		b.line("struct %s *%s = bpf_map_lookup_elem(&%s, &%s);", scratchTag, s.name, scratchName, zero)
		b.line("if (!%s)", s.name)
		b.line("\treturn 0; /* never: it is there from the start */")
	}
	s.members = append(s.members, fmt.Sprintf("char %s[%d]", name, size))
	s.size += size
	to := s.name + "->" + name
	b.line("__builtin_memset(%s, 0, %d);", to, size)
	return to, nil
}

// What stands in a function's lines until its map has a name.
const scratchTag, scratchName = "@scratch tag@", "@scratch map@"

// scratch finds or makes the map of a function, and puts its names into the lines.
func (g *generator) scratch(f *function, lines []string) {
	if f.scratch == nil {
		return
	}
	class := f.place.Place.String()
	if strings.HasPrefix(class, "tracepoint/syscalls/") {
		class = "system calls" // of which a thread is in one at a time, and none interrupts it
	}
	body := strings.Join(f.scratch.members, ";\n\t")
	var m *scratchMap
	for _, have := range g.scratches {
		if have.class == class && have.body == body {
			m = have
		}
	}
	if m == nil {
		m = &scratchMap{class, body, g.tags.pick("scratch"), g.globals.pick("scratch_memory")}
		g.scratches = append(g.scratches, m)
	}
	for i := range lines {
		lines[i] = strings.NewReplacer(scratchTag, m.tag, scratchName, m.name).Replace(lines[i])
	}
}

// text declares the map.
func (m *scratchMap) text() string {
	return fmt.Sprintf("/* For texts that are too long for the stack; each CPU has its own. */\nstruct %s {\n\t%s;\n};\n\n"+
		"struct {\n\t__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);\n\t__uint(max_entries, 1);\n\t__type(key, __u32);\n\t__type(value, struct %s);\n} %s SEC(\".maps\");\n\n",
		m.tag, m.body, m.tag, m.name)
}

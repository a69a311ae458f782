package notes

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// All returns all notes, by subject. They must not be modified.
func All() []*Note { return slices.Clone(all()) }

var all = sync.OnceValue(func() (list []*Note) {
	for _, notes := range [][]Note{tasks, sockets, packets, storage, memory, machine, calls, security, functions, processes, programs} {
		for i := range notes {
			list = append(list, &notes[i])
		}
	}
	return list
})

type key struct {
	kind Kind
	name string
}

var index = sync.OnceValue(func() map[key]*Note {
	m := make(map[key]*Note)
	for _, n := range all() {
		name := n.Name
		if n.Kind == Library || n.Kind == USDT {
			name = binaryName(name)
		}
		m[key{n.Kind, name}] = n
		if _, event, ok := strings.Cut(name, "/"); ok && n.Kind == Tracepoint {
			m[key{n.Kind, event}] = n
		}
		if n.Kind == LSM {
			m[key{Function, cmp.Or(securityFunctions[name], "security_"+name)}] = n
		}
	}
	return m
})

// binaryName cuts a path and a library's version off: "/usr/lib/libc.so.6:open" and
// "libc.so.6:open" are "libc:open".
func binaryName(target string) string {
	binary, symbol, _ := strings.Cut(target, ":")
	binary = binary[strings.LastIndexByte(binary, '/')+1:]
	binary, _, _ = strings.Cut(binary, ".so")
	return binary + ":" + symbol
}

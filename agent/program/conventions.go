package program

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
)

// listed are the types of maps whose entries can be listed.
var listed = []ebpf.MapType{
	ebpf.Hash, ebpf.LRUHash, ebpf.PerCPUHash, ebpf.LRUCPUHash,
	ebpf.Array, ebpf.PerCPUArray, ebpf.LPMTrie,
}

// stackBuildID is BPF_F_STACK_BUILD_ID.
const stackBuildID = 1 << 5

// Conventions refuses what could be loaded but not accounted for or shown. spec is
// the program's [Object.Collection].
func Conventions(spec *ebpf.CollectionSpec, m *Manifest) error {
	rings, stacks := 0, 0
	for _, mm := range m.Maps {
		s := spec.Maps[mm.Name]
		switch mm.Role {
		case RoleEvents:
			rings++
		case RoleStacks:
			stacks++
			if s.Flags&stackBuildID != 0 {
				return fmt.Errorf("map %s: stacks of build ids are not shown by kgent; create the map without BPF_F_STACK_BUILD_ID", mm.Name)
			}
		case RoleOutput:
			if !slices.Contains(listed, s.Type) {
				return fmt.Errorf("map %s: the entries of a %s map cannot be listed; tag a hash or an array as KGENT_OUTPUT", mm.Name, s.Type)
			}
		}
	}
	if stacks > 1 {
		return fmt.Errorf("the program has %d stack trace maps; a stack id does not say which one it belongs to: use a single BPF_MAP_TYPE_STACK_TRACE map", stacks)
	}
	st := spec.Maps[StatsMap]
	if rings == 0 && st == nil {
		return nil
	}
	if st == nil || st.Type != ebpf.PerCPUArray || st.KeySize != 4 || st.ValueSize != uint32(unsafe.Sizeof(Counts{})) || st.MaxEntries != 1 {
		return fmt.Errorf("the program does not have the map %s as kgent.bpf.h defines it, so its losses could not be counted: include kgent.bpf.h, and define no map of that name", StatsMap)
	}
	return nil
}

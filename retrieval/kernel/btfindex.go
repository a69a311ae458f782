package kernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// rawTracepointPrefix starts the name of the typedef that the kernel keeps for
// each tracepoint a program can read through BTF.
const rawTracepointPrefix = "btf_trace_"

// typeIndex lists the names in one BTF blob with their type IDs. The BTF library
// decodes a type only when it is asked for, but cannot list names without decoding
// all of them, which costs ten times the time and memory of this index.
type typeIndex struct {
	funcs      []namedType // kernel functions
	tracepoint []namedType // btf_trace_ typedefs, without that prefix
	structs    []namedType // struct and union
	numTypes   uint32      // IDs used by this blob, Void included, and by its base
	text       string      // the string table that the names point into
}

// namedType is a name in a list sorted by name; one name may occur more than once.
type namedType struct {
	name string
	id   btf.TypeID
}

// find returns the entries of a sorted list that have the name.
func find(list []namedType, name string) []namedType {
	at, _ := slices.BinarySearchFunc(list, name, func(n namedType, name string) int {
		return cmp.Compare(n.name, name)
	})
	end := at
	for end < len(list) && list[end].name == name {
		end++
	}
	return list[at:end]
}

const (
	btfMagic       = 0xeb9f
	btfHeaderLen   = 24
	btfTypeLen     = 12
	btfKindInt     = 1
	btfKindArray   = 3
	btfKindStruct  = 4
	btfKindUnion   = 5
	btfKindEnum    = 6
	btfKindTypedef = 8
	btfKindFunc    = 12
	btfKindProto   = 13
	btfKindVar     = 14
	btfKindDatasec = 15
	btfKindTag     = 17
	btfKindEnum64  = 19
)

// indexBTF reads the names out of a raw BTF blob. For the BTF of a module, base is
// the index of the kernel it belongs to.
func indexBTF(raw []byte, base *typeIndex) (*typeIndex, error) {
	if len(raw) < btfHeaderLen {
		return nil, errors.New("BTF is shorter than its header")
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint16(raw) != btfMagic {
		order = binary.BigEndian
	}
	if order.Uint16(raw) != btfMagic {
		return nil, errors.New("BTF does not start with its magic number")
	}
	word := func(at int) uint64 { return uint64(order.Uint32(raw[at:])) }
	body := word(4)
	types, err := section(raw, body+word(8), word(12))
	if err != nil {
		return nil, fmt.Errorf("finding BTF types: %w", err)
	}
	table, err := section(raw, body+word(16), word(20))
	if err != nil {
		return nil, fmt.Errorf("finding BTF strings: %w", err)
	}

	// One conversion for the whole table: the names below share its memory.
	ix := &typeIndex{numTypes: 1, text: string(table)}
	nameAt := func(off uint32) (string, error) { return stringAt(ix.text, off) }
	if base != nil {
		// A module numbers its types and strings from where the kernel's end, and
		// takes names from the kernel's table where it can.
		ix.numTypes = base.numTypes
		nameAt = func(off uint32) (string, error) {
			if off < uint32(len(base.text)) {
				return stringAt(base.text, off)
			}
			return stringAt(ix.text, off-uint32(len(base.text)))
		}
	}

	for at := 0; at < len(types); ix.numTypes++ {
		if len(types)-at < btfTypeLen {
			return nil, errors.New("BTF type is cut off")
		}
		nameOff := order.Uint32(types[at:])
		info := order.Uint32(types[at+4:])
		kind, vlen := info>>24&0x1f, int(info&0xffff)
		at += btfTypeLen
		extra, err := btfExtraLen(kind, vlen)
		if err != nil {
			return nil, err
		}
		if len(types)-at < extra {
			return nil, errors.New("BTF type is cut off")
		}
		at += extra

		var list *[]namedType
		switch kind {
		case btfKindFunc:
			list = &ix.funcs
		case btfKindTypedef:
			list = &ix.tracepoint
		case btfKindStruct, btfKindUnion:
			list = &ix.structs
		default:
			continue
		}
		name, err := nameAt(nameOff)
		if err != nil {
			return nil, err
		}
		if kind == btfKindTypedef {
			var ok bool
			if name, ok = strings.CutPrefix(name, rawTracepointPrefix); !ok {
				continue
			}
		}
		if name != "" {
			*list = append(*list, namedType{name, btf.TypeID(ix.numTypes)})
		}
	}
	for _, list := range []*[]namedType{&ix.funcs, &ix.tracepoint, &ix.structs} {
		slices.SortFunc(*list, func(a, b namedType) int {
			return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.id, b.id))
		})
		*list = slices.Clip(*list)
	}
	return ix, nil
}

// stringAt returns the NUL-terminated string at off in a string table.
func stringAt(table string, off uint32) (string, error) {
	if uint64(off) >= uint64(len(table)) {
		return "", fmt.Errorf("BTF name at %d lies outside the string table", off)
	}
	end := strings.IndexByte(table[off:], 0)
	if end < 0 {
		return "", fmt.Errorf("BTF name at %d does not end", off)
	}
	return table[off : int(off)+end], nil
}

// section returns length bytes of raw from off on.
func section(raw []byte, off, length uint64) ([]byte, error) {
	if off > uint64(len(raw)) || length > uint64(len(raw))-off {
		return nil, errors.New("section lies outside the data")
	}
	return raw[off : off+length], nil
}

// btfExtraLen is how many bytes follow the common part of a type.
func btfExtraLen(kind uint32, vlen int) (int, error) {
	switch kind {
	case btfKindInt, btfKindVar, btfKindTag:
		return 4, nil
	case btfKindArray:
		return 12, nil
	case btfKindStruct, btfKindUnion, btfKindDatasec, btfKindEnum64:
		return 12 * vlen, nil
	case btfKindEnum, btfKindProto:
		return 8 * vlen, nil
	case 2, 7, 8, 9, 10, 11, 12, 16, 18: // pointer, fwd, typedef, volatile, const, restrict, func, float, type tag
		return 0, nil
	}
	return 0, fmt.Errorf("BTF type of unknown kind %d", kind)
}

// typesOf is the BTF of the kernel (module "") or of one of its modules.
type typesOf struct {
	module string
	*typeIndex
	load func(btf.TypeID) (btf.Type, error)
	// byName lists the types of a name; none is no error.
	byName func(name string) ([]btf.Type, error)
}

// kernelTypes indexes the kernel's own BTF.
func (f *Facts) readKernelTypes() (*typesOf, error) {
	raw, err := f.rawBTF()
	if err != nil {
		return nil, err
	}
	ix, err := indexBTF(raw, nil)
	if err != nil {
		return nil, fmt.Errorf("indexing the BTF of kernel %s: %w", f.Release, err)
	}
	return &typesOf{typeIndex: ix, load: f.BTF.TypeByID, byName: namesIn(f.BTF)}, nil
}

// readModuleTypes indexes the BTF of the loaded modules.
func (f *Facts) readModuleTypes() ([]*typesOf, error) {
	kernel, err := f.kernelTypes()
	if err != nil {
		return nil, err
	}
	raws, err := f.src.readModuleBTF()
	if err != nil {
		return nil, err
	}
	if len(raws) == 0 {
		return nil, nil
	}
	// The BTF library reads the base of a module's spec without taking the base's
	// lock. So modules get a base of their own, and one lock for all of them.
	base := f.BTF.Copy()
	var modules []*typesOf
	for _, m := range raws {
		ix, err := indexBTF(m.raw, kernel.typeIndex)
		if err != nil {
			return nil, fmt.Errorf("indexing the BTF of module %s: %w", visible(m.name), err)
		}
		spec, err := btf.LoadSplitSpecFromReader(bytes.NewReader(m.raw), base)
		if err != nil {
			return nil, fmt.Errorf("reading the BTF of module %s: %w", visible(m.name), err)
		}
		byName := namesIn(spec)
		modules = append(modules, &typesOf{
			module:    m.name,
			typeIndex: ix,
			load: func(id btf.TypeID) (btf.Type, error) {
				f.moduleLock.Lock()
				defer f.moduleLock.Unlock()
				return spec.TypeByID(id)
			},
			byName: func(name string) ([]btf.Type, error) {
				f.moduleLock.Lock()
				defer f.moduleLock.Unlock()
				return byName(name)
			},
		})
	}
	return modules, nil
}

// Specs returns the types of the kernel and of its modules, for whoever adjusts
// programs to them. They are the caller's own.
func (f *Facts) Specs() (vmlinux *btf.Spec, modules []*btf.Spec, err error) {
	vmlinux = f.BTF.Copy()
	raws, err := f.src.readModuleBTF()
	if err != nil {
		return nil, nil, err
	}
	for _, m := range raws {
		spec, err := btf.LoadSplitSpecFromReader(bytes.NewReader(m.raw), vmlinux)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the BTF of module %s: %w", visible(m.name), err)
		}
		modules = append(modules, spec)
	}
	return vmlinux, modules, nil
}

func namesIn(spec *btf.Spec) func(string) ([]btf.Type, error) {
	return func(name string) ([]btf.Type, error) {
		types, err := spec.AnyTypesByName(name)
		if errors.Is(err, btf.ErrNotFound) {
			return nil, nil
		}
		return types, err
	}
}

// allTypes returns the kernel's types followed by those of its modules.
func (f *Facts) allTypes() ([]*typesOf, error) {
	kernel, err := f.kernelTypes()
	if err != nil {
		return nil, err
	}
	modules, err := f.moduleTypes()
	if err != nil {
		return nil, err
	}
	return append([]*typesOf{kernel}, modules...), nil
}

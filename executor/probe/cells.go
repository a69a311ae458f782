package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Cell is one entry of an output map.
type Cell struct {
	Key []byte
	// Values is the value, or for a per-CPU map one value for each possible
	// CPU.
	Values [][]byte
}

// Cells returns a copy of all entries of an output map, in no particular
// order; of an array, the untouched ones too. Each entry appears once, though
// programs may change others while the map is read. The result is the
// caller's.
func (s *Set) Cells(name string) ([]Cell, error) {
	if err := s.acquire(); err != nil {
		return nil, err
	}
	defer s.release()
	if !slices.Contains(s.outputs, name) {
		return nil, fmt.Errorf("reading map %s: the program has no such output map", name)
	}
	m := s.maps[name]
	cells, err := batches(m)
	if errors.Is(err, ebpf.ErrNotSupported) {
		// Before Linux 5.6; per-CPU arrays before 5.13.
		cells, err = oneByOne(m)
	}
	if err != nil {
		return nil, fmt.Errorf("reading map %s: %w", name, err)
	}
	return cells, nil
}

// batches reads a map with a system call for many entries. The library wants
// slices of arrays for that, whose sizes are known at run time only.
func batches(m *ebpf.Map) ([]Cell, error) {
	perKey := 1
	if perCPU(m.Type()) {
		n, err := ebpf.PossibleCPU()
		if err != nil {
			return nil, err
		}
		perKey = n
	}
	byteType := reflect.TypeFor[byte]()
	keys := reflect.SliceOf(reflect.ArrayOf(int(m.KeySize()), byteType))
	values := reflect.SliceOf(reflect.ArrayOf(int(m.ValueSize()), byteType))
	const chunk = 1 << 20 // bytes
	entries := int(m.MaxEntries())
	n := min(max(chunk/(int(m.KeySize())+perKey*int(m.ValueSize())), 64), entries)
	var cells []Cell
	var cursor ebpf.MapBatchCursor
	for {
		k, v := reflect.MakeSlice(keys, n, n), reflect.MakeSlice(values, n*perKey, n*perKey)
		got, err := m.BatchLookup(&cursor, k.Interface(), v.Interface(), nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		switch {
		case errors.Is(err, unix.ENOSPC) && n < entries:
			// A hash bucket holds more than the batch.
			n = min(2*n, entries)
			continue
		case err != nil && !end:
			return nil, err
		case got == 0 && !end:
			return nil, errors.New("the kernel returned an empty batch")
		}
		copies := make([][]byte, got*perKey)
		for i := range copies {
			copies[i] = v.Index(i).Bytes()
		}
		cells = slices.Grow(cells, got)
		for i := range got {
			cells = append(cells, Cell{Key: k.Index(i).Bytes(), Values: copies[i*perKey : (i+1)*perKey : (i+1)*perKey]})
		}
		if end {
			return cells, nil
		}
	}
}

// oneByOne reads a map entry by entry. A deletion can make the kernel start
// over, so entries are taken by key.
func oneByOne(m *ebpf.Map) ([]Cell, error) {
	var cells []Cell
	index := make(map[string]int)
	add := func(key []byte, values [][]byte) {
		if i, ok := index[string(key)]; ok {
			cells[i].Values = values
			return
		}
		index[string(key)] = len(cells)
		cells = append(cells, Cell{Key: key, Values: values})
	}
	it := m.Iterate()
	for {
		var key []byte
		if perCPU(m.Type()) {
			var values [][]byte
			if !it.Next(&key, &values) {
				break
			}
			add(slices.Clone(key), values)
			continue
		}
		var value []byte
		if !it.Next(&key, &value) {
			break
		}
		add(slices.Clone(key), [][]byte{slices.Clone(value)})
	}
	return cells, it.Err()
}

func perCPU(t ebpf.MapType) bool {
	return t == ebpf.PerCPUHash || t == ebpf.LRUCPUHash || t == ebpf.PerCPUArray
}

// ErrNoStack is returned for a stack that the kernel did not record, or no
// longer has.
var ErrNoStack = errors.New("no such stack")

// Stack returns the addresses of a recorded stack trace, innermost first, by
// the id that bpf_get_stackid returned. A negative id is that helper's error,
// and an [ErrNoStack] like an id that is not in the map.
func (s *Set) Stack(id int32) ([]uint64, error) {
	if err := s.acquire(); err != nil {
		return nil, err
	}
	defer s.release()
	if s.stacks == nil {
		return nil, errors.New("reading a stack: the program has no stack trace map")
	}
	if id < 0 {
		return nil, fmt.Errorf("%w: the kernel could not record it: %w", ErrNoStack, unix.Errno(-int64(id)))
	}
	b, err := s.stacks.LookupBytes(uint32(id))
	if err != nil {
		return nil, fmt.Errorf("reading stack %d: %w", id, err)
	}
	if b == nil {
		return nil, fmt.Errorf("%w: %d", ErrNoStack, id)
	}
	var addrs []uint64
	for ; len(b) >= 8; b = b[8:] {
		addr := binary.NativeEndian.Uint64(b)
		if addr == 0 {
			break
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

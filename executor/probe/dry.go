package probe

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kgent/agent/program"
)

// Dry returns the counters of a dry run, as many as its object has actions: how
// often each would have happened.
func (s *Set) Dry(actions int) ([]uint64, error) {
	if err := s.acquire(); err != nil {
		return nil, err
	}
	defer s.release()
	m := s.maps[program.DryMap]
	if m == nil || int(m.ValueSize()) != 8*actions {
		return nil, errors.New("reading what a dry run would have done: the program is none, or has other actions")
	}
	b, err := m.LookupBytes(uint32(0))
	if err != nil {
		return nil, fmt.Errorf("reading what a dry run would have done: %w", err)
	}
	times := make([]uint64, actions)
	for i := range times {
		times[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return times, nil
}

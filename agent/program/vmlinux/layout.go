package vmlinux

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// extent is the space that a type takes on the bpf target, in bytes, as clang
// computes it from the C text that we write for the type.
type extent struct {
	size, align uint64
}

const (
	// maxSize bounds arrays, so that sizes in bits do not overflow.
	maxSize = 1 << 40

	// maxFiller is the largest gap, in bytes, that is filled with unnamed
	// bit-fields.
	maxFiller = 64
)

// record is the way to write a struct or union such that its members are where
// BTF says they are.
type record struct {
	extent
	items  []item
	packed bool
	opaque error // why the layout cannot be written in C
}

// item is a member, or a gap to fill before the next.
type item struct {
	member   int    // index, or -1 for a gap
	from, to uint64 // of a gap, in bits
}

// layouts computes extents. It remembers those of records.
type layouts struct {
	records map[btf.Type]*record
}

var (
	errUnsized = errors.New("has no size")
	errEmbeds  = errors.New("embeds itself")
	errTooBig  = errors.New("is too big")
)

// of returns the extent of a type that is used by value.
func (l *layouts) of(t btf.Type) (extent, error) {
	count := uint64(1)
	for range maxChain {
		switch v := t.(type) {
		case *btf.Int:
			_, n := cInt(v)
			return scale(uint64(v.Size), n, count)
		case *btf.Float:
			_, n := cFloat(v)
			return scale(uint64(v.Size), n, count)
		case *btf.Pointer:
			return scale(8, 1, count)
		case *btf.Enum:
			switch v.Size {
			case 1, 2, 4, 8:
				return scale(uint64(v.Size), 1, count)
			}
			return extent{}, errUnsized
		case *btf.Struct, *btf.Union:
			r := l.record(v)
			if r == nil {
				return extent{}, errEmbeds
			}
			size, err := multiply(r.size, count)
			return extent{size, r.align}, err
		case *btf.Array:
			var err error
			if count, err = multiply(count, uint64(v.Nelems)); err != nil {
				return extent{}, err
			}
			t = v.Type
		case *btf.Typedef:
			t = v.Type
		default:
			next, ok := qualified(t)
			if !ok {
				return extent{}, errUnsized
			}
			t = next
		}
	}
	return extent{}, errUnsized
}

// scale returns the extent of count scalars of size bytes. If parts is more
// than one, each is written as an array of that many bytes.
func scale(size uint64, parts uint32, count uint64) (extent, error) {
	if size == 0 {
		return extent{}, errUnsized
	}
	align := size
	if parts > 1 {
		align = 1
	}
	size, err := multiply(size, count)
	return extent{size, align}, err
}

func multiply(a, b uint64) (uint64, error) {
	hi, lo := bits.Mul64(a, b)
	if hi != 0 || lo > maxSize {
		return 0, errTooBig
	}
	return lo, nil
}

// record returns the way to write t, which is a struct or union. It is nil
// while that is being found, and so if t is a part of itself.
func (l *layouts) record(t btf.Type) *record {
	if r, ok := l.records[t]; ok {
		return r
	}
	l.records[t] = nil // until it is known

	size := uint64(0)
	switch v := t.(type) {
	case *btf.Struct:
		size = uint64(v.Size)
	case *btf.Union:
		size = uint64(v.Size)
	}
	r, err := l.arrange(t, size)
	if err != nil {
		r = &record{extent: extent{size, 1}, opaque: err}
	}
	l.records[t] = r
	return r
}

// members returns the members of a struct or union.
func members(t btf.Type) []btf.Member {
	switch v := t.(type) {
	case *btf.Struct:
		return v.Members
	case *btf.Union:
		return v.Members
	}
	return nil
}

// arrange finds how to write a record of size bytes: as plain C with padding, or
// else as a packed record with padding.
func (l *layouts) arrange(t btf.Type, size uint64) (*record, error) {
	p := placement{members: members(t), size: 8 * size}
	p.extents = make([]extent, len(p.members))
	align := uint64(1)
	for i := range p.members {
		m := &p.members[i]
		if isFiller(m) {
			continue
		}
		e, err := l.of(m.Type)
		if err != nil {
			return nil, fmt.Errorf("member %s %w", memberName(m), err)
		}
		if m.BitfieldSize > 0 && (uint64(m.BitfieldSize) > 8*e.size || !isIntegral(m.Type)) {
			return nil, fmt.Errorf("member %s has no type for a bit-field of %d bits", memberName(m), m.BitfieldSize)
		}
		p.extents[i] = e
		align = max(align, e.align)
	}

	run := p.sequence
	if _, ok := t.(*btf.Union); ok {
		run = p.overlay
	}
	if run(8*align) == nil {
		return &record{extent: extent{size, align}, items: p.items}, nil
	}
	p.packed = true
	if err := run(8); err != nil {
		return nil, err
	}
	// An alignment that fits the size keeps clang from reading members byte by
	// byte.
	for size%align != 0 {
		align /= 2
	}
	return &record{extent: extent{size, align}, items: p.items, packed: true}, nil
}

// placement lays out members by clang's rules. Positions are in bits.
type placement struct {
	members []btf.Member
	extents []extent
	size    uint64
	packed  bool

	at    uint64
	items []item
}

func (p *placement) gap(to uint64) {
	if p.at < to {
		p.items = append(p.items, item{-1, p.at, to})
		p.at = to
	}
}

// sequence lays out a struct whose alignment is align.
func (p *placement) sequence(align uint64) error {
	p.at, p.items = 0, make([]item, 0, len(p.members)+1)
	for i := range p.members {
		m := &p.members[i]
		if isFiller(m) {
			continue // the gap that it leaves is filled
		}
		want, width := uint64(m.Offset), uint64(m.BitfieldSize)
		unit, step := 8*p.extents[i].size, 8*p.extents[i].align
		if want < p.at {
			return fmt.Errorf("member %s begins before the end of the one before it", memberName(m))
		}

		// Where the member goes if it is written at a given position.
		fits := func(at uint64) uint64 {
			switch {
			case width == 0 && p.packed:
				return roundUp(at, 8)
			case width == 0:
				return roundUp(at, step)
			case !p.packed && at%step+width > unit:
				return roundUp(at, step)
			}
			return at
		}
		if fits(p.at) != want {
			if fits(want) != want {
				return fmt.Errorf("member %s is not aligned", memberName(m))
			}
			p.gap(want)
		}
		p.items = append(p.items, item{member: i})
		if width == 0 {
			width = unit
		}
		p.at = want + width
	}

	if p.at > p.size {
		return errors.New("members do not fit in its size")
	}
	if roundUp(p.at, align) != p.size {
		if p.size%align != 0 {
			return errors.New("its size does not fit its alignment")
		}
		p.gap(p.size)
	}
	return nil
}

// overlay lays out a union whose alignment is align.
func (p *placement) overlay(align uint64) error {
	p.at, p.items = 0, nil
	var end uint64
	for i := range p.members {
		m := &p.members[i]
		if isFiller(m) {
			continue
		}
		if m.Offset != 0 {
			return fmt.Errorf("member %s does not begin where the union does", memberName(m))
		}
		width := uint64(m.BitfieldSize)
		if width == 0 {
			width = 8 * p.extents[i].size
		}
		end = max(end, width)
		p.items = append(p.items, item{member: i})
	}
	if end > p.size {
		return errors.New("members do not fit in its size")
	}
	if roundUp(end, align) != p.size {
		if p.size%align != 0 {
			return errors.New("its size does not fit its alignment")
		}
		p.gap(p.size)
	}
	return nil
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// isFiller reports whether m is an unnamed member with nothing in it to name.
func isFiller(m *btf.Member) bool {
	if m.Name != "" {
		return false
	}
	t, err := peelTypedefs(m.Type)
	if err != nil {
		return true
	}
	switch t.(type) {
	case *btf.Struct, *btf.Union:
		return false
	}
	return true
}

// peelTypedefs removes qualifiers and typedefs.
func peelTypedefs(t btf.Type) (btf.Type, error) {
	for range maxChain {
		if td, ok := t.(*btf.Typedef); ok {
			t = td.Type
			continue
		}
		next, ok := qualified(t)
		if !ok {
			return t, nil
		}
		t = next
	}
	return nil, errUnsized
}

// isIntegral reports whether t can be the type of a bit-field.
func isIntegral(t btf.Type) bool {
	t, err := peelTypedefs(t)
	if err != nil {
		return false
	}
	switch v := t.(type) {
	case *btf.Int:
		_, n := cInt(v)
		return n == 1
	case *btf.Enum:
		return true
	}
	return false
}

func memberName(m *btf.Member) string {
	if m.Name == "" {
		return "without a name"
	}
	return clean(m.Name)
}

// cInt returns the C type of an integer, or the type of its parts and their
// number if C has no such integer.
func cInt(t *btf.Int) (string, uint32) {
	if size, ok := intWords(t.Name); ok && size == t.Size {
		return t.Name, 1
	}
	signed := t.Encoding == btf.Signed
	switch t.Size {
	case 1, 2, 4, 8, 16:
		i := bits.TrailingZeros32(t.Size)
		if signed {
			return [...]string{"signed char", "short", "int", "long", "__int128"}[i], 1
		}
		return [...]string{"unsigned char", "unsigned short", "unsigned int", "unsigned long", "unsigned __int128"}[i], 1
	}
	return "unsigned char", t.Size
}

// intWords returns the size in bytes of the C integer type called name.
func intWords(name string) (uint32, bool) {
	words := strings.Fields(name)
	if strings.Join(words, " ") != name {
		return 0, false
	}
	slices.Sort(words)
	if i := slices.IndexFunc(words, func(w string) bool { return w == "signed" || w == "unsigned" }); i >= 0 {
		words = slices.Delete(words, i, i+1)
		if len(words) == 0 {
			return 4, true
		}
	}
	switch strings.Join(words, " ") {
	case "_Bool":
		return 1, name == "_Bool"
	case "char":
		return 1, true
	case "short", "int short":
		return 2, true
	case "int":
		return 4, true
	case "long", "int long", "long long", "int long long":
		return 8, true
	case "__int128":
		return 16, true
	}
	return 0, false
}

// cFloat is like cInt. The bpf target has no floating point numbers of other
// sizes.
func cFloat(t *btf.Float) (string, uint32) {
	switch t.Size {
	case 4:
		return "float", 1
	case 8:
		return "double", 1
	}
	return "unsigned char", t.Size
}

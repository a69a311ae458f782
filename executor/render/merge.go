package render

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/bits"
	"strconv"

	"kgent/executor/output"
)

// histSlots is how many slots a struct k_hist has.
const histSlots = 64

func histSlot(b []byte, i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }

// stats is a struct k_stats.
type stats struct {
	count, sum, min, max uint64
	// bounded is false for the difference of two readings: the extremes of what
	// came between are not known.
	bounded bool
}

func statsOf(b []byte) stats {
	at := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
	s := stats{count: at(0), sum: at(1), min: at(2), max: at(3)}
	s.bounded = s.max > 0 || s.sum == 0
	return s
}

func (s stats) put(b []byte) {
	for i, v := range [...]uint64{s.count, s.sum, s.min, s.max} {
		binary.NativeEndian.PutUint64(b[8*i:], v)
	}
}

func (s stats) add(o stats) stats {
	if o.count == 0 {
		return s
	}
	if s.count == 0 {
		return o
	}
	r := stats{count: s.count + o.count, sum: s.sum + o.sum}
	if s.bounded && o.bounded {
		r.min, r.max = min(s.min, o.min), max(s.max, o.max)
	}
	return r
}

// mean appends the mean: of counts with two decimals, of everything else
// rounded to the unit.
func (s stats) mean(dst []byte, unit string) []byte {
	if unit == "count" && s.sum%s.count != 0 {
		return strconv.AppendFloat(dst, float64(s.sum)/float64(s.count), 'f', 2, 64)
	}
	q, r := s.sum/s.count, s.sum%s.count
	if r >= s.count-r {
		q++
	}
	return strconv.AppendUint(dst, q, 10)
}

// statsFields are the names of what is shown of statistics, in order.
var statsFields = [...]string{"count", "sum", "min", "max", "mean"}

// field appends the number called name. Extremes are shown only when they are
// known, and a mean only when there is one.
func (s stats) field(dst []byte, name, unit string) (_ []byte, ok bool) {
	switch {
	case name == "count":
		return strconv.AppendUint(dst, s.count, 10), true
	case name == "sum":
		return strconv.AppendUint(dst, s.sum, 10), true
	case s.count == 0:
		return dst, false
	case name == "mean":
		return s.mean(dst, unit), true
	case !s.bounded:
		return dst, false
	case name == "min":
		return strconv.AppendUint(dst, s.min, 10), true
	default:
		return strconv.AppendUint(dst, s.max, 10), true
	}
}

func (s stats) json(dst []byte, unit string) []byte {
	dst = append(dst, '{')
	for i, name := range statsFields {
		mark := len(dst)
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, name...)
		dst = append(dst, '"', ':')
		var ok bool
		if dst, ok = s.field(dst, name, unit); !ok {
			dst = dst[:mark]
		}
	}
	return append(dst, '}')
}

func (s stats) fields(unit string) output.Fields {
	out := make(output.Fields, 0, len(statsFields))
	for _, name := range statsFields {
		if number, ok := s.field(nil, name, unit); ok {
			out = append(out, output.Field{Name: name, Value: json.Number(string(number))})
		}
	}
	return out
}

// combine adds what another CPU has seen, in src, to dst. Both hold n at the
// same place.
func (n *node) combine(dst, src []byte) {
	switch n.shape {
	case shapeStruct:
		for i := range n.children {
			n.children[i].combine(dst[n.off:], src[n.off:])
		}
	case shapeArray:
		for i := range n.count {
			at := n.off + i*n.stride
			n.children[0].combine(dst[at:], src[at:])
		}
	case shapeHist:
		for i := range int(n.count) {
			d := dst[int(n.off)+8*i:]
			binary.NativeEndian.PutUint64(d, binary.NativeEndian.Uint64(d)+histSlot(src[n.off:], i))
		}
	case shapeStats:
		statsOf(dst[n.off:]).add(statsOf(src[n.off:])).put(dst[n.off:])
	default:
		n.mergeScalar(dst, src)
	}
}

func (n *node) mergeScalar(dst, src []byte) {
	switch n.merge {
	case mergeSum:
		n.store(dst, n.load(dst)+n.load(src))
	case mergeOr:
		n.store(dst, n.load(dst)|n.load(src))
	case mergeMax:
		if d, s := n.load(dst), n.load(src); n.signed && int64(s) > int64(d) || !n.signed && s > d {
			n.store(dst, s)
		}
	case mergeFirst:
		if n.bits > 0 {
			if n.load(dst) == 0 {
				n.store(dst, n.load(src))
			}
		} else if allZero(dst[n.off : n.off+n.size]) {
			copy(dst[n.off:n.off+n.size], src[n.off:])
		}
	}
}

// store writes a number where [node.load] reads it.
func (n *node) store(base []byte, v uint64) {
	b := base[n.off:]
	if n.bits > 0 {
		for i := range n.bits {
			at := n.shift + i
			b[at/8] = b[at/8]&^(1<<(at%8)) | byte(v>>i&1)<<(at%8)
		}
		return
	}
	switch n.size {
	case 1:
		b[0] = byte(v)
	case 2:
		binary.NativeEndian.PutUint16(b, uint16(v))
	case 4:
		binary.NativeEndian.PutUint32(b, uint32(v))
	case 8:
		binary.NativeEndian.PutUint64(b, v)
	}
}

// restarted reports whether a counter in now is below what it was in before:
// the entry was deleted and made anew between the two readings.
func (n *node) restarted(now, before []byte) bool {
	switch n.shape {
	case shapeStruct:
		for i := range n.children {
			if n.children[i].restarted(now[n.off:], before[n.off:]) {
				return true
			}
		}
	case shapeArray:
		for i := range n.count {
			at := n.off + i*n.stride
			if n.children[0].restarted(now[at:], before[at:]) {
				return true
			}
		}
	case shapeHist:
		for i := range int(n.count) {
			if histSlot(now[n.off:], i) < histSlot(before[n.off:], i) {
				return true
			}
		}
	case shapeStats:
		return statsOf(now[n.off:]).count < statsOf(before[n.off:]).count
	default:
		return n.merge == mergeSum && !n.signed && n.load(now) < n.load(before)
	}
	return false
}

// subtract takes what was counted before from now.
func (n *node) subtract(now, before []byte) {
	switch n.shape {
	case shapeStruct:
		for i := range n.children {
			n.children[i].subtract(now[n.off:], before[n.off:])
		}
	case shapeArray:
		for i := range n.count {
			at := n.off + i*n.stride
			n.children[0].subtract(now[at:], before[at:])
		}
	case shapeHist:
		for i := range int(n.count) {
			d := now[int(n.off)+8*i:]
			binary.NativeEndian.PutUint64(d, binary.NativeEndian.Uint64(d)-histSlot(before[n.off:], i))
		}
	case shapeStats:
		s, b := statsOf(now[n.off:]), statsOf(before[n.off:])
		if b.count > 0 {
			s = stats{count: s.count - b.count, sum: s.sum - b.sum}
		}
		s.put(now[n.off:])
	default:
		if n.merge == mergeSum {
			n.store(now, n.load(now)-n.load(before))
		}
	}
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// histogram returns the buckets of the histogram that b begins with, from the
// first to the last one that is not empty, and the sum over all.
func (n *node) histogram(b []byte) (buckets []output.Bucket, count uint64) {
	slots := int(n.count)
	first, last := slots, -1
	for i := range slots {
		if n := histSlot(b, i); n > 0 {
			first, last = min(first, i), i
			count += n
		}
	}
	buckets = []output.Bucket{}
	for i := first; i <= last; i++ {
		buckets = append(buckets, n.bucket(i, histSlot(b, i)))
	}
	return buckets, count
}

// bucket returns the range of a slot as k_log2_slot of kgent.bpf.h assigns
// values, or K_LINEAR; the last one takes all that are too large for it.
func (n *node) bucket(slot int, count uint64) output.Bucket {
	b := output.Bucket{Count: count}
	switch {
	case n.step > 0:
		b.Min = times(uint64(slot), n.step)
		b.Max = times(uint64(slot)+1, n.step)
		if b.Max != math.MaxUint64 {
			b.Max--
		}
	case slot > 0:
		b.Min = 1 << (slot - 1)
		b.Max = b.Min<<1 - 1
	}
	if slot == int(n.count)-1 {
		b.Max = math.MaxUint64
	}
	return b
}

// times is a product, at most what there is room for.
func times(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high > 0 {
		return math.MaxUint64
	}
	return low
}

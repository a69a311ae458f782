package output

import "math"

// Below returns the end of the bucket that a share of the values is not above: all of
// that share are less than limit. It is false when there are no values, or
// the bucket has no end. A histogram tells no more: what [Below] gives for 0.99
// is an upper bound of the 99th percentile.
func Below(buckets []Bucket, share float64) (limit uint64, ok bool) {
	total, sum := 0.0, 0.0
	for _, b := range buckets {
		total += float64(b.Count)
	}
	for _, b := range buckets {
		if sum += float64(b.Count); sum > 0 && sum >= share*total {
			return b.Max + 1, b.Max != math.MaxUint64
		}
	}
	return 0, false
}

// Range is between which bounds something lies.
type Range struct{ Min, Max float64 }

// MeanOf returns between which bounds the mean of the values lies. It is false when
// there are none, or one is in a bucket without an end.
func MeanOf(buckets []Bucket) (r Range, ok bool) {
	n := 0.0
	for _, b := range buckets {
		if b.Count == 0 {
			continue
		}
		if b.Max == math.MaxUint64 {
			return Range{}, false
		}
		count := float64(b.Count)
		n += count
		r.Min += count * float64(b.Min)
		r.Max += count * float64(b.Max)
	}
	if n == 0 {
		return Range{}, false
	}
	return Range{r.Min / n, r.Max / n}, true
}

// Coarser returns at most n buckets: as often as it takes, each two neighbours
// become one.
func Coarser(buckets []Bucket, n int) []Bucket {
	for len(buckets) > max(n, 1) {
		half := make([]Bucket, 0, (len(buckets)+1)/2)
		for i := 0; i < len(buckets); i += 2 {
			b := buckets[i]
			if i+1 < len(buckets) {
				next := buckets[i+1]
				b.Max, b.Count = max(b.Max, next.Max), b.Count+next.Count
				if b.Count < next.Count {
					b.Count = math.MaxUint64
				}
			}
			half = append(half, b)
		}
		buckets = half
	}
	return buckets
}

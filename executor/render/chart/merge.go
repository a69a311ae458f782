package chart

import (
	"cmp"
	"slices"

	"kgent/executor/output"
)

// maxFill bounds the empty buckets put between two that are not.
const maxFill = 64

// Merge adds up the buckets of several histograms that have equal ranges, and puts
// empty ones where a range between two is missing: a histogram shows also where
// nothing was.
func Merge(all []output.Bucket) []output.Bucket {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b output.Bucket) int {
		return cmp.Or(cmp.Compare(a.Min, b.Min), cmp.Compare(a.Max, b.Max))
	})
	out := make([]output.Bucket, 0, len(all))
	for _, b := range all {
		if n := len(out); n > 0 {
			last := &out[n-1]
			if last.Min == b.Min && last.Max == b.Max {
				last.Count = saturate(last.Count, b.Count)
				continue
			}
			out = fill(out, *last, b)
		}
		out = append(out, b)
	}
	return out
}

// fill appends empty buckets from the end of one bucket to the beginning of
// the next: as wide as both when they are equally wide, else each twice as wide
// as the one before.
func fill(out []output.Bucket, last, next output.Bucket) []output.Bucket {
	width := last.Max - last.Min
	linear := width == next.Max-next.Min
	for range maxFill {
		if last.Max >= next.Min || last.Max+1 >= next.Min {
			break
		}
		b := output.Bucket{Min: last.Max + 1}
		if linear {
			b.Max = b.Min + width
		} else {
			b.Max = 2*b.Min - 1
		}
		if b.Max < b.Min || b.Max >= next.Min {
			b.Max = next.Min - 1
		}
		out = append(out, b)
		last = b
	}
	return out
}

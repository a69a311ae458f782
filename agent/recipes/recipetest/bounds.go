package recipetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kgent/executor/output"
)

// Took is what a workload knows of how long something took: at least Low,
// which it made sure of, and at most High, which is what it measured around it.
type Took struct{ Low, High time.Duration }

// Timed calls f, which takes at least low.
func Timed(low time.Duration, f func() error) (Took, error) {
	began := time.Now()
	err := f()
	return Took{low, time.Since(began)}, err
}

// String is what [ParseTook] reads.
func (k Took) String() string { return fmt.Sprintf("%d-%d", k.Low, k.High) }

// ParseTook reads a list of [Took], separated by spaces, as [Say] prints it.
func ParseTook(t *testing.T, line string) []Took {
	t.Helper()
	var out []Took
	for _, s := range strings.Fields(strings.Trim(line, "[]")) {
		var k Took
		if _, err := fmt.Sscanf(s, "%d-%d", &k.Low, &k.High); err != nil {
			t.Fatalf("reading %q: %v", line, err)
		}
		out = append(out, k)
	}
	return out
}

// Holds fails the test when a histogram of nanoseconds cannot be of exactly
// these: each bucket's i-th smallest value must lie between the i-th smallest
// lower and the i-th smallest upper bound.
func Holds(t *testing.T, h output.Hist, of []Took) {
	t.Helper()
	var low, high []uint64
	for _, k := range of {
		low, high = append(low, uint64(k.Low)), append(high, uint64(k.High))
	}
	slices.Sort(low)
	slices.Sort(high)
	if h.Unit != "ns" || h.Count != uint64(len(of)) {
		t.Errorf("%s %v: %d values in %q, want %d in ns:\n%v\nfor\n%v", h.Name, h.Key, h.Count, h.Unit, len(of), h.Buckets, of)
		return
	}
	i := 0
	for _, b := range h.Buckets {
		for range b.Count {
			if i < len(of) && (b.Max < low[i] || b.Min > high[i]) {
				t.Errorf("%s %v: value %d of %d is in %d-%d ns, must be in %d-%d:\n%v\nfor\n%v", h.Name, h.Key, i+1, len(of), b.Min, b.Max, low[i], high[i], h.Buckets, of)
			}
			i++
		}
	}
	if i != len(of) {
		t.Errorf("%s %v: the buckets hold %d values, the count is %d", h.Name, h.Key, i, h.Count)
	}
}

// Counts returns a histogram's buckets that hold something, by "min-max".
func Counts(h output.Hist) map[string]uint64 {
	out := map[string]uint64{}
	for _, b := range h.Buckets {
		if b.Count > 0 {
			out[fmt.Sprintf("%d-%d", b.Min, b.Max)] += b.Count
		}
	}
	return out
}

package output

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// What is said of a histogram holds for the values that are in it.
func TestBuckets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		step := 1 + r.Uint64N(50)
		values := make([]uint64, 1+r.IntN(300))
		buckets := make([]Bucket, 40)
		for i := range buckets {
			buckets[i] = Bucket{Min: uint64(i) * step, Max: uint64(i+1)*step - 1}
		}
		sum := 0.0
		for i := range values {
			values[i] = r.Uint64N(40 * step)
			sum += float64(values[i])
			buckets[values[i]/step].Count++
		}
		slices.Sort(values)
		mean := sum / float64(len(values))
		for n := 40; n > 0; n /= 3 {
			b := Coarser(buckets, n)
			if len(b) > n || b[0].Min != 0 || b[len(b)-1].Max != 40*step-1 {
				t.Fatalf("%d buckets from %d to %d", len(b), b[0].Min, b[len(b)-1].Max)
			}
			for _, share := range []float64{0.01, 0.5, 0.9, 0.99, 1} {
				limit, ok := Below(b, share)
				if at := values[int(math.Ceil(share*float64(len(values))))-1]; !ok || at >= limit {
					t.Fatalf("%v of the values are up to %d, said to be below %d", share, at, limit)
				}
			}
			if m, ok := MeanOf(b); !ok || mean < m.Min-1e-6 || mean > m.Max+1e-6 {
				t.Fatalf("the mean is %v, said to be %+v", mean, m)
			}
		}
	}
	open := []Bucket{{Min: 0, Max: 9, Count: 1}, {Min: 10, Max: math.MaxUint64, Count: 9}}
	if _, ok := Below(open, 0.5); ok {
		t.Error("half are below an end that is not known")
	}
	if _, ok := MeanOf(open); ok {
		t.Error("a mean of values without bound")
	}
	if _, ok := Below(nil, 0.5); ok {
		t.Error("half of nothing")
	}
}

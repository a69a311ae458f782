package chart

import (
	"fmt"
	"testing"

	"kgent/executor/output"
)

func TestMerge(t *testing.T) {
	b := func(min, max, n uint64) output.Bucket { return output.Bucket{Min: min, Max: max, Count: n} }
	max64 := ^uint64(0)
	for _, tt := range []struct{ in, want []output.Bucket }{
		{nil, nil},
		{[]output.Bucket{b(4, 7, 1), b(2, 3, 5), b(4, 7, 2)}, []output.Bucket{b(2, 3, 5), b(4, 7, 3)}},
		{[]output.Bucket{b(2, 3, 1), b(16, 31, 1)}, []output.Bucket{b(2, 3, 1), b(4, 7, 0), b(8, 15, 0), b(16, 31, 1)}},
		{[]output.Bucket{b(0, 9, 1), b(30, 39, 1)}, []output.Bucket{b(0, 9, 1), b(10, 19, 0), b(20, 29, 0), b(30, 39, 1)}},
		{[]output.Bucket{b(0, 0, 1), b(1<<62, max64, max64), b(1<<62, max64, 5)}, nil}, // only its ends are looked at
		{[]output.Bucket{b(5, 2, 1), b(7, 3, 1)}, nil},
	} {
		got := Merge(tt.in)
		if tt.want != nil && fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%v: got %v, want %v", tt.in, got, tt.want)
		}
		if len(got) > len(tt.in)*(maxFill+1) {
			t.Errorf("%v: %d buckets", tt.in, len(got))
		}
	}
	if got := Merge([]output.Bucket{b(1, 1, max64), b(1, 1, 1)}); got[0].Count != max64 {
		t.Errorf("wrapped around: %v", got)
	}
}

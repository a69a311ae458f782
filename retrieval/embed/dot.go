package embed

import "math"

func dot(a, b []float32) (sum float32) {
	b = b[:len(a)]
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}

func dotInt8(a, b []int8) (sum int32) {
	b = b[:len(a)]
	for i, x := range a {
		sum += int32(x) * int32(b[i])
	}
	return sum
}

// Normalize gives a vector the length 1, if it has any.
func Normalize(v []float32) {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return
	}
	scale := float32(1 / math.Sqrt(sum))
	for i := range v {
		v[i] *= scale
	}
}

// Quantize writes a vector of length 1 as bytes and the number that each stands for a
// multiple of.
func Quantize(v []float32, to []int8) (scale float32) {
	var most float32
	for _, x := range v {
		most = max(most, x, -x)
	}
	if most == 0 {
		clear(to)
		return 0
	}
	scale = most / 127
	for i, x := range v {
		to[i] = int8(math.RoundToEven(float64(x / scale)))
	}
	return scale
}

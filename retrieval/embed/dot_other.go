//go:build !amd64

package embed

// Dot is the inner product of two vectors of the same length.
func Dot(a, b []float32) float32 { return dot(a, b) }

// DotInt8 is the inner product of two vectors of bytes, of the same length of at most 65,536.
func DotInt8(a, b []int8) int32 { return dotInt8(a, b) }

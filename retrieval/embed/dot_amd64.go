package embed

import "golang.org/x/sys/cpu"

//go:noescape
func dotAVX2(a, b *float32, n int) float32

//go:noescape
func dotInt8AVX2(a, b *int8, n int) int32

// Dot is the inner product of two vectors of the same length. It takes 1/10 of the time
// when that is a multiple of 32 and the processor has AVX2 and FMA.
func Dot(a, b []float32) float32 {
	if n := len(a); n > 0 && n%32 == 0 && n == len(b) && cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		return dotAVX2(&a[0], &b[0], n)
	}
	return dot(a, b)
}

// DotInt8 is the inner product of two vectors of bytes, of the same length of at most
// 65,536; fast as [Dot] is, when that is a multiple of 32.
func DotInt8(a, b []int8) int32 {
	if n := len(a); n > 0 && n%32 == 0 && n == len(b) && cpu.X86.HasAVX2 {
		return dotInt8AVX2(&a[0], &b[0], n)
	}
	return dotInt8(a, b)
}

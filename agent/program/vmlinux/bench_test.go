package vmlinux

import (
	"io"
	"runtime"
	"strings"
	"testing"
)

func BenchmarkTrimmer(b *testing.B) {
	spec := kernelSpec(b)
	for b.Loop() {
		if _, err := NewTrimmer(spec); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFull(b *testing.B) {
	spec := kernelSpec(b)
	for b.Loop() {
		if err := Full(io.Discard, spec); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHeader(b *testing.B) {
	trimmer := kernelTrimmer(b)
	for _, p := range programs[:3] {
		b.Run(strings.ReplaceAll(p.name, " ", "-"), func(b *testing.B) {
			var header []byte
			for b.Loop() {
				header = trimmer.Header(helpers, p.source)
			}
			b.ReportMetric(float64(len(header)), "header-bytes")
		})
	}
}

// What a trimmed header saves of the time that clang takes. An empty program is
// the least there is.
func BenchmarkCompile(b *testing.B) {
	p := programs[0]
	program := helpers + p.source
	for _, c := range []struct {
		name    string
		header  []byte
		program string
	}{
		{"full", full(b, kernelSpec(b)), program},
		{"trimmed", kernelTrimmer(b).Header(program), program},
		{"empty", nil, ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				compile(b, c.header, c.program)
			}
		})
	}
}

// What a Trimmer keeps.
func BenchmarkTrimmerMemory(b *testing.B) {
	spec := kernelSpec(b)
	var keep *Trimmer
	var err error
	before := heap()
	for b.Loop() {
		keep = nil
		if keep, err = NewTrimmer(spec); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before)/(1<<20), "MiB-kept")
	runtime.KeepAlive(keep)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

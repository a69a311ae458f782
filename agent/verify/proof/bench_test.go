package proof

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
)

// recipeInput is the proof of a recipe, compiled, with the default limits.
func recipeInput(t testing.TB, source, text string) Input {
	t.Helper()
	h := here(t)
	o := programtest.Object(t, source)
	m, err := program.Build(o, program.Options{Name: "test", Title: "test", Interface: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return Input{Object: o, Manifest: m, Kernel: h.kernel, Types: h.types, Contract: c}
}

// A proof should not be what people wait for: on two processors at most 100 ms for half of
// the recipes, and 2 s for any. On any machine, busy or not, that is as many times what clang takes
// to compile the same program, which is some 55 ms.
const (
	mostProof  = 1.5
	worstProof = 36.0
)

// BenchmarkRecipes is what the proof of each recipe costs on all processors,
// with the built-in solver: time, the most memory that the process had at once
// (kernel's types and compiled programs included, some 100 MB), paths and questions, and
// its processors' time for one second of clang's, which compiles the same
// program in the same run. The last lines are about all of them.
func BenchmarkRecipes(b *testing.B) {
	all := recipes(b)
	took, spent := map[string]time.Duration{}, map[string]time.Duration{}
	ratio := map[string]float64{}
	most := 0.0
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b.Run(name, func(b *testing.B) {
			in := recipeInput(b, all[name][0], all[name][1])
			clang := compiled(b, all[name][0])
			if _, err := Verify(context.Background(), in); err != nil { // what the kernel's types learn is kept
				b.Fatal(err)
			}
			runtime.GC()
			resetPeak(b)
			var r *Report
			var err error
			began := usage(b)
			for b.Loop() {
				if r, err = Verify(context.Background(), in); err != nil {
					b.Fatal(err)
				}
				if r.Verdict != Verified {
					b.Logf("%s: %s", r.Verdict, strings.Join(r.Reasons, "; "))
				}
			}
			took[name] = b.Elapsed() / time.Duration(b.N)
			cpu := (usage(b) - began) / time.Duration(b.N)
			spent[name] = cpu
			peak := peakMB(b)
			most = max(most, peak)
			b.ReportMetric(float64(took[name].Microseconds())/1000, "ms/proof")
			b.ReportMetric(float64(cpu.Microseconds())/1000, "cpu-ms/proof")
			ratio[name] = cpu.Seconds() / clang.Seconds()
			b.ReportMetric(ratio[name], "of-clang")
			b.ReportMetric(peak, "peak-MB")
			b.ReportMetric(float64(r.Stats.Paths), "paths")
			b.ReportMetric(float64(r.Stats.Queries), "queries")
			b.ReportMetric(0, "ns/op")
		})
	}
	if len(took) == 0 {
		return
	}
	fmt.Printf("%d recipes: %s; of all processors' time %s; at most %.0f MB resident\n", len(took), spread(took), spread(spent), most)
	ratios := slices.Sorted(maps.Values(ratio))
	median, worst := ratios[(len(ratios)-1)/2], ratios[len(ratios)-1]
	fmt.Printf("of what clang takes: median %.2f (limit %.2f), worst %.2f (limit %.2f)\n", median, mostProof, worst, worstProof)
	if len(ratios) == len(all) && median > mostProof || worst > worstProof {
		b.Errorf("proofs take %.2f times as long as clang, at worst %.2f times", median, worst)
	}
}

// compiled is the processors' time that clang takes for a source, the least of three times.
func compiled(b *testing.B, source string) time.Duration {
	b.Helper()
	tools := programtest.Here(b)
	least := time.Duration(math.MaxInt64)
	for range 3 {
		began := children(b)
		if _, err := tools.Compiler.Compile(b.Context(), source, tools.Types); err != nil {
			b.Fatal(err)
		}
		least = min(least, children(b)-began)
	}
	return least
}

// children is the processors' time of processes that have ended.
func children(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// spread is the median and the worst of times.
func spread(took map[string]time.Duration) string {
	times := slices.Sorted(maps.Values(took))
	median, worst := times[(len(times)-1)/2], times[len(times)-1]
	return fmt.Sprintf("median %v, worst %v", median.Round(time.Millisecond), worst.Round(time.Millisecond))
}

// usage is the processors' time that this process has used: what a proof costs on a
// machine that is busy with other things, too.
func usage(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resetPeak lets the kernel measure the peak of resident memory anew.
func resetPeak(b testing.TB) {
	b.Helper()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

// peakMB is the most memory that was resident since resetPeak.
func peakMB(b testing.TB) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseFloat(strings.Fields(kb)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return n / 1024
		}
	}
	b.Fatal("/proc/self/status has no VmHWM")
	return 0
}

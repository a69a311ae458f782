package proof

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/verify/symbolic"
)

// host is the machine that the tests run on, as both sides of a proof see it.
type host struct {
	kernel *symbolic.Kernel
	types  *contract.Types
}

var (
	hostMu  sync.Mutex
	hostMet *host
)

func here(t testing.TB) host {
	t.Helper()
	hostMu.Lock()
	defer hostMu.Unlock()
	if hostMet != nil {
		return *hostMet
	}
	facts := programtest.Here(t).Facts
	vmlinux, modules, err := facts.Specs()
	if err != nil {
		t.Fatal(err)
	}
	types, err := contract.NewTypes(facts)
	if err != nil {
		t.Fatal(err)
	}
	h := host{types: types, kernel: &symbolic.Kernel{Types: vmlinux, Modules: modules, Arch: facts.Arch, Format: func(category, name string) ([]symbolic.Field, bool) {
		tp, err := facts.Tracepoint(category, name)
		if err != nil {
			return nil, false
		}
		var out []symbolic.Field
		for _, f := range tp.Fields {
			out = append(out, symbolic.Field{Name: f.Name, Type: f.Type, Offset: f.Offset, Size: f.Size, Signed: f.Signed, Array: f.Array, DataLoc: f.DataLoc})
		}
		return out, true
	}}}
	hostMet = &h
	return h
}

// patient are limits for a machine that is busy with other tests.
var patient = Limits{Time: 10 * time.Minute, Query: 2 * time.Minute, Machine: symbolic.Limits{Time: 4 * time.Minute, Query: 20 * time.Second}}

// verify judges a source against a contract's text; "" is no contract.
func verify(t testing.TB, source, text string, limits Limits) *Report {
	t.Helper()
	return verifyObject(t, programtest.Object(t, source), text, limits)
}

// verifyObject is verify of what a source was compiled to.
func verifyObject(t testing.TB, o *program.Object, text string, limits Limits) *Report {
	t.Helper()
	h := here(t)
	m, err := program.Build(o, program.Options{Name: "test", Title: "test", Interface: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Object: o, Manifest: m, Kernel: h.kernel, Types: h.types, Limits: limits}
	if text != "" {
		if in.Contract, err = contract.Parse(text); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Verify(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// recipes are those that have a contract, by name.
func recipes(t testing.TB) map[string][2]string {
	t.Helper()
	paths, err := filepath.Glob("../../recipes/*/contract.kc")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no contracts of recipes found: %v", err)
	}
	out := map[string][2]string{}
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(strings.Replace(p, "contract.kc", "program.bpf.c", 1))
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(filepath.Dir(p))] = [2]string{string(source), string(text)}
	}
	return out
}

// quick are recipes that are proved in less than a second: one of each kind.
var quick = []string{"bash-commands", "cgroup-bytes", "fsync-latency", "mounts", "oom-kills", "process-exits", "slow-syscalls", "tcp-resets", "tcp-states"}

// Every recipe keeps its contract on this kernel. All of them with KGENT_SOAK.
func TestRecipes(t *testing.T) {
	for name, r := range recipes(t) {
		if os.Getenv("KGENT_SOAK") == "" && !slices.Contains(quick, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			report := verify(t, r[0], r[1], patient)
			t.Logf("%s in %v, %d paths, %d questions", report.Verdict, report.Stats.Time, report.Stats.Paths, report.Stats.Queries)
			if report.Verdict != Verified {
				t.Errorf("%s", strings.Join(report.Reasons, "\n"))
			}
		})
	}
}

// They keep it, too, in the form for kernels without ring buffers. All of them with KGENT_SOAK.
func TestRecipesPerf(t *testing.T) {
	for name, r := range recipes(t) {
		if os.Getenv("KGENT_SOAK") == "" && !slices.Contains(quick, name) || !strings.Contains(r[0], "BPF_MAP_TYPE_RINGBUF") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			o := programtest.PerfObject(t, r[0])
			if !o.PerfBuffers() {
				t.Fatal("it is not in that form")
			}
			report := verifyObject(t, o, r[1], patient)
			t.Logf("%s in %v, %d paths, %d questions", report.Verdict, report.Stats.Time, report.Stats.Paths, report.Stats.Queries)
			if report.Verdict != Verified {
				t.Errorf("%s", strings.Join(report.Reasons, "\n"))
			}
		})
	}
}

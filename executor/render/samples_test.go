package render

import (
	"bytes"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/executor/output"
)

// samplesELF compiles testdata/samples.bpf.c.
var samplesELF = sync.OnceValues(func() ([]byte, error) { return compileC("testdata/samples.bpf.c") })

func compileC(source string) ([]byte, error) {
	arch := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	var stderr bytes.Buffer
	cmd := exec.Command("clang-19", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-D__TARGET_ARCH_"+arch, "-nostdinc",
		"-Itestdata", "-I../../agent/program/compile/include", "-Wno-visibility", "-c", source, "-o", "-")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, &compileError{err, stderr.String()}
	}
	return out, nil
}

type compileError struct {
	err    error
	stderr string
}

func (e *compileError) Error() string { return e.err.Error() + "\n" + e.stderr }

// sample returns the type and the bytes of a global of the samples.
func sample(t testing.TB, name string) (*btf.Struct, []byte) {
	t.Helper()
	elf, err := samplesELF()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		t.Fatal(err)
	}
	v, ok := spec.Variables[name]
	if !ok {
		t.Fatalf("the samples have no %s", name)
	}
	s, ok := btf.UnderlyingType(v.Type.Type).(*btf.Struct)
	if !ok {
		t.Fatalf("%s is %v", name, v.Type)
	}
	return s, v.Value
}

// outputMap returns a map of the samples.
func outputMap(t testing.TB, name string) program.MapInfo {
	t.Helper()
	elf, err := samplesELF()
	if err != nil {
		t.Fatal(err)
	}
	o, err := program.Parse(elf)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range o.Maps() {
		if m.Name == name {
			if m.Role != program.RoleOutput {
				t.Fatalf("%s is not tagged as output", name)
			}
			return m
		}
	}
	t.Fatalf("the samples have no map %s", name)
	return program.MapInfo{}
}

// testEnv is a machine whose clocks stand still: it was booted at noon.
func testEnv() *Env {
	boot := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC).UnixNano()
	return &Env{
		Clocks: func() Clocks {
			return Clocks{Monotonic: int64(time.Hour), Boot: int64(2 * time.Hour), Real: boot + int64(2*time.Hour)}
		},
		Interface: func(i uint32) (string, bool) { return "lo", i == 1 },
		Cgroup:    func(id uint64) (string, bool) { return "/system.slice/\x1bevil", id == 1 },
		KernelSymbol: func(a uint64) (string, bool) {
			return "do_thing+0x10", a == 0xffffffff81000010
		},
	}
}

// decode parses a line as readers do and returns its data.
func decode(t testing.TB, line []byte) output.Fields {
	t.Helper()
	r, err := output.Decode(line)
	if err != nil {
		t.Fatalf("decoding %s: %v", line, err)
	}
	e, ok := r.(output.Event)
	if !ok {
		t.Fatalf("%s is a %T", line, r)
	}
	return e.Data
}

package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Whether there are ring buffers is read off the kernel's list of helpers, and a trial that failed counts more.
func TestNoRingBuffers(t *testing.T) {
	facts := func(helpers ...string) *Facts {
		t.Helper()
		list := &btf.Enum{Name: "bpf_func_id", Size: 4}
		for i, name := range helpers {
			list.Values = append(list.Values, btf.EnumValue{Name: "BPF_FUNC_" + name, Value: uint64(i)})
		}
		b, err := btf.NewBuilder([]btf.Type{list}, nil)
		if err != nil {
			t.Fatal(err)
		}
		types, err := b.Marshal(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		root := t.TempDir()
		for path, data := range map[string][]byte{"sys/kernel/btf/vmlinux": types, "proc/sys/kernel/osrelease": []byte("5.4.0\n"), "proc/self/mountinfo": nil} {
			path = filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		f, err := Sources{Root: root, Arch: "x86_64"}.Facts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	old, later := facts("unspec", "perf_event_output"), facts("unspec", "perf_event_output", "ringbuf_reserve")
	if why, err := old.NoRingBuffers(); err != nil || why != "kernel 5.4.0 has no ring buffers (Linux 5.8)" {
		t.Errorf("without the helper: %q, %v", why, err)
	}
	if why, err := later.NoRingBuffers(); err != nil || why != "" {
		t.Errorf("with the helper: %q, %v", why, err)
	}
	later.Refused = map[string]string{RingBuffer: "tried"}
	if why, err := later.NoRingBuffers(); err != nil || !strings.Contains(why, "tried") {
		t.Errorf("where a trial failed: %q, %v", why, err)
	}
}

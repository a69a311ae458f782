package residue

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// recorder is a test that only remembers its failures.
type recorder struct {
	testing.TB
	cleanups []func()
	failures []string
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
func (r *recorder) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (r *recorder) finish() string {
	for _, f := range r.cleanups {
		f()
	}
	return strings.Join(r.failures, "\n")
}

// brief is for what is known to stay.
const brief = 50 * time.Millisecond

const holderEnv = "KGENT_RESIDUE_TEST_HOLDER"

// TestMain in a child holds a program on the loopback interface until its input ends.
func TestMain(m *testing.M) {
	if os.Getenv(holderEnv) != "" {
		if err := hold(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func hold() error {
	p, err := newProgram("holder")
	if err != nil {
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: 1, Program: p, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return err
	}
	if err := p.Close(); err != nil { // its link keeps it
		return err
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return l.Close()
}

func newProgram(name string) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         name,
		Type:         ebpf.SchedCLS,
		AttachType:   ebpf.AttachTCXIngress,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
		License:      "GPL",
	})
}

func TestNothingLeft(t *testing.T) {
	r := &recorder{TB: t}
	Check(r)
	p, err := newProgram("tidy")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got := r.finish(); got != "" {
		t.Errorf("nothing is left, but: %s", got)
	}
}

// Each thing that can be left behind is found.
func TestLeft(t *testing.T) {
	p, err := newProgram("attached")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, tt := range []struct {
		name  string
		leave func(t *testing.T) (tidy func())
		want  []string
	}{
		{"program", func(t *testing.T) func() {
			p, err := newProgram("forgotten")
			if err != nil {
				t.Fatal(err)
			}
			return func() { p.Close() }
		}, []string{"a file descriptor of program", "forgotten"}},
		{"map", func(t *testing.T) func() {
			m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "forgotten", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
			if err != nil {
				t.Fatal(err)
			}
			return func() { m.Close() }
		}, []string{"a file descriptor of map"}},
		{"map without a descriptor", func(t *testing.T) func() {
			m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "mapped", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1, Flags: 1 << 10 /* BPF_F_MMAPABLE */})
			if err != nil {
				t.Fatal(err)
			}
			memory, err := m.Memory()
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
			return func() {
				_ = memory.Size() // keeps it mapped until here
			}
		}, []string{"the memory of 1 maps is left"}},
		{"link", func(t *testing.T) func() {
			l, err := link.AttachTCX(link.TCXOptions{Interface: 1, Program: p, Attach: ebpf.AttachTCXIngress})
			if err != nil {
				t.Fatal(err)
			}
			return func() { l.Close() }
		}, []string{"a file descriptor of link", "TCXIngress program", "on lo"}},
		{"goroutine", func(*testing.T) func() {
			end := make(chan struct{})
			go func() { <-end }()
			return func() { close(end) }
		}, []string{"found unexpected goroutines"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{TB: t}
			check(r, brief)
			tidy := tt.leave(t)
			got := r.finish()
			tidy()
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("it is left, but the failures %q lack %q", got, w)
				}
			}
		})
	}
}

// What other processes load meanwhile is theirs.
func TestOthers(t *testing.T) {
	r := &recorder{TB: t}
	Check(r)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holderEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	if got := r.finish(); strings.Contains(got, "holder") || strings.Contains(got, "on lo") {
		t.Errorf("blamed for another process's program: %s", got)
	}
}

func TestGone(t *testing.T) {
	p, err := newProgram("here")
	if err != nil {
		t.Fatal(err)
	}
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	r := &recorder{TB: t}
	gone(r, brief, []uint32{uint32(id)}, nil)
	if got := r.finish(); !strings.Contains(got, fmt.Sprintf("program %d ", id)) || !strings.Contains(got, "still exists") {
		t.Errorf("the program exists, but the failures are %q", got)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	r = &recorder{TB: t}
	Gone(r, []uint32{uint32(id)}, []uint32{1 << 30})
	if got := r.finish(); got != "" {
		t.Errorf("both are gone, but: %s", got)
	}
}

func TestXDPAttached(t *testing.T) {
	for name, tt := range map[string]struct {
		b    string
		id   uint32
		want bool
	}{
		"empty":     {"", 0, false},
		"none":      {"\x05\x00\x02\x00\x00\x00\x00\x00", 0, false},
		"generic":   {"\x05\x00\x02\x00\x02\x00\x00\x00\x08\x00\x04\x00\x07\x00\x00\x00", 7, true},
		"later":     {"\x08\x00\x04\x00\x07\x00\x00\x00\x05\x00\x02\x00\x01", 7, true},
		"cut short": {"\x09\x00\x02\x00\x01", 0, false},
		"too small": {"\x01\x00\x02\x00", 0, false},
	} {
		if id, got := xdpAttached([]byte(tt.b)); got != tt.want || id != tt.id {
			t.Errorf("%s: %v, program %d", name, got, id)
		}
	}
}

func TestParseFDInfo(t *testing.T) {
	got := parseFDInfo("pos:\t0\nlink_type:\ttracing\nlink_id:\t12\nprog_tag:\tdeadbeef\nprog_id:\t34\n")
	if len(got) != 2 || got[0] != (object{"link", 12}) || got[1] != (object{"prog", 34}) {
		t.Errorf("%v", got)
	}
}

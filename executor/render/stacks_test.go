package render

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/output"
	"kgent/executor/render/symbol"
)

// What a program recorded in the kernel, of a process that has ended since.
func TestStacksOfKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_BPF and CAP_PERFMON")
	}
	elf, err := compileC("testdata/stacks.bpf.c")
	if err != nil {
		t.Fatal(err)
	}
	object, err := program.Parse(elf)
	if err != nil {
		t.Fatal(err)
	}

	bin := filepath.Join(t.TempDir(), "target")
	if out, err := exec.Command("clang-19", "-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "symbol/testdata/target.c", "-o", bin).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.Variables["target"].Set(uint32(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	if err := spec.Variables["call"].Set(uint32(unix.SYS_GETPPID)); err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: coll.Programs["record"]})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	kernel, err := symbol.LoadKernel()
	if err != nil {
		t.Fatal(err)
	}
	users := symbol.NewUsers()
	defer users.Close()
	users.Note(uint32(cmd.Process.Pid))
	if _, err := stdin.Write([]byte("abc")); err != nil { // a system call each
		t.Fatal(err)
	}
	stdin.Close()
	cmd.Wait() // its exit code is of no interest: the stacks are
	l.Close()

	i := slices.IndexFunc(object.Maps(), func(m program.MapInfo) bool { return m.Name == "seen" })
	m, err := NewMap(object.Maps()[i], testEnv())
	if err != nil {
		t.Fatal(err)
	}
	var cells []Cell
	var key, value []byte
	for it := coll.Maps["seen"].Iterate(); it.Next(&key, &value); {
		if pid, ok := m.PID(key); !ok || pid != uint32(cmd.Process.Pid) {
			t.Errorf("a stack of process %d, %v", pid, ok)
		}
		cells = append(cells, Cell{Key: bytes.Clone(key), Values: [][]byte{bytes.Clone(value)}})
	}
	resolver := &Stacks{Maps: []StackMap{coll.Maps["stacks"]}, Kernel: kernel, Users: users}
	records, err := m.Records("n", cells, resolver, program.View{}, Reading{At: time.Now(), Final: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 {
		t.Fatalf("%d stacks, want one: %v", len(records), records)
	}
	s := records[0].(output.Stack)
	if s.Count != 3 {
		t.Errorf("seen %d times, want 3", s.Count)
	}
	all := strings.Join(s.Frames, "\n")
	at := func(name string) int {
		return slices.IndexFunc(s.Frames, func(f string) bool { return strings.HasPrefix(f, name+"+0x") || f == name })
	}
	call, middle, outer, main := at("do_syscall_64"), at("middle"), at("outer"), at("main")
	if call < 0 {
		call = at("el0_svc")
	}
	if call < 0 || middle <= call || outer != middle+1 || main != outer+1 {
		t.Errorf("the frames do not lead from the kernel through middle and outer to main:\n%s", all)
	}
}

// fakeMap is a stack map in memory.
type fakeMap map[uint32][]uint64

func (m fakeMap) LookupBytes(key any) ([]byte, error) {
	addrs, ok := m[key.(uint32)]
	if !ok {
		return nil, nil
	}
	var b []byte
	for _, a := range append(slices.Clone(addrs), 0, 0) {
		b = binary.NativeEndian.AppendUint64(b, a)
	}
	return b, nil
}

type brokenMap struct{}

func (brokenMap) LookupBytes(any) ([]byte, error) { return nil, errors.New("broken") }

func TestStacksLookup(t *testing.T) {
	kernel, err := symbol.ParseKernel(strings.NewReader("ffffffff81000000 T do_it\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := &Stacks{Maps: []StackMap{fakeMap{1: {0xffffffff81000004}, 2: {0x1000}}, fakeMap{1: {0x2000}}}, Kernel: kernel}
	for _, tt := range []struct {
		got  []string
		want string
	}{
		{s.KernelStack(1), "do_it+0x4"},
		{s.KernelStack(2), "[stack lost: not in the stack map]"},
		{s.UserStack(7, 1), "[unknown] 0x2000"}, // the same id in the map of user stacks
		{s.UserStack(7, 2), "[unknown] 0x1000"},
		{s.KernelStack(9), "[stack lost: not in the stack map]"},
		{s.KernelStack(-14), "[no kernel stack]"},
		{s.UserStack(7, -14), "[no user stack]"},
		{s.UserStack(7, -17), "[stack lost: another one has its place in the stack map]"},
		{s.UserStack(7, -12), "[stack lost: the stack map is full]"},
		{s.UserStack(7, -1), "[stack lost: EPERM]"},
		{(&Stacks{Maps: []StackMap{brokenMap{}}}).KernelStack(1), "[stack lost: broken]"},
	} {
		if got := strings.Join(tt.got, " "); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// Names from symbol tables have no bound; lines have.
func TestLongFrames(t *testing.T) {
	typ, raw := sample(t, "stacks")
	e, err := NewEvents("n", "s", typ, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	e.ResolveStacks(longStacks{})
	line, err := e.Append(nil, raw)
	if err != nil {
		t.Fatal(err)
	}
	if uint64(len(line)) > e.root.length()+uint64(len(e.head))+2 {
		t.Errorf("a line of %d bytes, thought to have at most %d", len(line), e.root.length())
	}
	v, _ := decode(t, line).Get("kernel")
	frames := v.([]any)
	if f := frames[0].(string); len(frames) != maxFrames || len(f) > maxFrame || !strings.HasSuffix(f, "ß…") {
		t.Errorf("%d frames, the first %q", len(frames), frames[0])
	}
}

type longStacks struct{}

func (longStacks) KernelStack(int32) []string {
	return slices.Repeat([]string{strings.Repeat("ß", 1000)}, 500)
}
func (longStacks) UserStack(uint32, int32) []string {
	return slices.Repeat([]string{strings.Repeat("\x1b", 1000)}, 500)
}

package alternative_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kgent/agent/alternative"
	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/probe/vm"
	"kgent/retrieval/notes"
)

// What the package claims, measured: on other kernels, that have all that is compared. TestElsewhere, which make
// test-vm runs, has TestMeasured run there.

func TestMain(m *testing.M) {
	vm.Init()
	os.Exit(m.Run())
}

// measurement is something that is compared in a machine.
type measurement struct {
	name string
	// sources are what is compared: one program with both, or one program each.
	sources []string
	// symbol is the function that a kernel may not have.
	symbol string
	run    func(*testing.T, measurement)
}

// The gate is open between two calls of close with these descriptors, which nobody has.
const opens, closes = 0x5b7001, 0x5b7002

// counted is a program that counts how often a function is called and a tracepoint passed.
const counted = `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} gate SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, k_count);
} counts SEC(".maps") KGENT_OUTPUT;

static __always_inline int add(__u32 which)
{
	__u32 zero = 0;
	__u64 *open = bpf_map_lookup_elem(&gate, &zero);
	k_count *n = bpf_map_lookup_elem(&counts, &which);

	if (open && *open && n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

SEC("tp/syscalls/sys_enter_close")
int opened(struct trace_event_raw_sys_enter *ctx)
{
	__u64 fd = ctx->args[0], *open;
	__u32 zero = 0;

	if (fd != OPENS && fd != CLOSES)
		return 0;
	open = bpf_map_lookup_elem(&gate, &zero);
	if (open)
		*open = fd == OPENS;
	return 0;
}

SEC("kprobe/FUNCTION")
int function(void *ctx)
{
	return add(0);
}

SEC("TRACEPOINT")
int passed(void *ctx)
{
	return add(1);
}
`

// pairs are contracts whose hooks are replaced on a kernel without trampolines. The first member of their events is the
// size of a read, by which those of the workload are told from others.
var pairs = map[string]string{
	"fexit with arguments": `contract "reads"
event reads { size: k_bytes, ret: k_ret, inode: u64, thread: k_tid }
hook fexit/vfs_read(file, count, ret)
  case read: count >= 77000 && count < 78000
    emit reads { size: count, ret: ret, inode: file.f_inode.i_ino, thread: current.tid }
  otherwise nothing
`,
	"fentry": `contract "reads"
event reads { size: k_bytes, inode: u64, thread: k_tid }
hook fentry/vfs_read(file, count)
  case read: count >= 77000 && count < 78000
    emit reads { size: count, inode: file.f_inode.i_ino, thread: current.tid }
  otherwise nothing
`,
	"fexit under way": `contract "reads"
event reads { size: k_bytes, thread: k_tid }
hook fexit/vfs_read(count)
  case read: count >= 77000 && count < 78000
    emit reads { size: count, thread: current.tid }
  otherwise nothing
`,
	"fexit without arguments": `contract "reads"
event reads { ret: k_ret, thread: k_tid }
hook fexit/vfs_read(ret)
  case read: ret >= 77000 && ret < 78000
    emit reads { ret: ret, thread: current.tid }
  otherwise nothing
`,
}

// measurements are all that is compared, with the programs if there is what it takes to make them.
func measurements(t *testing.T, sources bool) (all []measurement) {
	for _, s := range notes.Sames() {
		all = append(all, same(s.Function, "raw_tp/"+s.Tracepoint))
	}
	s, ok := notes.SameAs("kprobe", "__x64_sys_openat", release)
	if !ok {
		t.Fatal("no tracepoint stands for a system call")
	}
	all = append(all, same(s.Function, "tp/"+s.Tracepoint))
	for name, text := range pairs {
		run := comparePair
		if name == "fexit under way" {
			run = compareWaiting
		}
		m := measurement{name: "pair " + name, run: run, sources: []string{"", ""}}
		if sources {
			c := parse(t, text)
			f := machine(t, trampolines...)
			next, did, err := alternative.Hooks(c, []alternative.Kernel{{Facts: f}})
			if err != nil || len(did) != 1 {
				t.Fatal(did, err)
			}
			types, err := contract.NewTypes(f)
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range []*contract.Contract{c, next} {
				checked, err := contract.Check(c, types)
				if err != nil {
					t.Fatal(err)
				}
				if m.sources[i], err = codegen.C(checked); err != nil {
					t.Fatal(err)
				}
			}
		}
		all = append(all, m)
	}
	deny := measurement{name: "denial", run: tryDenial, sources: []string{""}}
	if sources {
		types, err := contract.NewTypes(machine(t))
		if err != nil {
			t.Fatal(err)
		}
		checked, err := contract.Check(parse(t, denial), types)
		if err != nil {
			t.Fatal(err)
		}
		if deny.sources[0], err = codegen.C(checked); err != nil {
			t.Fatal(err)
		}
	}
	return append(all, deny)
}

// same counts both.
func same(function, tracepoint string) measurement {
	return measurement{name: "same " + function, symbol: function, run: compareCounts, sources: []string{strings.NewReplacer(
		"FUNCTION", function, "TRACEPOINT", tracepoint, "OPENS", fmt.Sprint(opens), "CLOSES", fmt.Sprint(closes)).Replace(counted)}}
}

func (m measurement) file(i int) string {
	return fmt.Sprintf("/objects/%s.%d.o", strings.ReplaceAll(m.name, " ", "-"), i)
}

// object is one of the programs, which was brought along.
func (m measurement) object(t *testing.T, i int) (*program.Object, *program.Manifest) {
	t.Helper()
	elf, err := os.ReadFile(m.file(i))
	if err != nil {
		t.Fatal(err)
	}
	o, err := program.Parse(elf)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := program.Build(o, program.Options{Name: "test", Title: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return o, manifest
}

func (m measurement) attach(t *testing.T, l *probe.Loader, i int) *probe.Set {
	t.Helper()
	o, manifest := m.object(t, i)
	return attached(t, l, o, manifest)
}

// attached loads and attaches a program, and closes it when the test ends.
func attached(t *testing.T, l *probe.Loader, o *program.Object, manifest *program.Manifest) *probe.Set {
	t.Helper()
	s, err := l.Load(t.Context(), o, manifest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestElsewhere measures on Debian's kernels what the package claims of any: with KGENT_VM_SUITES, the releases.
func TestElsewhere(t *testing.T) {
	suites := strings.Fields(os.Getenv("KGENT_VM_SUITES"))
	if len(suites) == 0 || runtime.GOARCH != "amd64" {
		t.Skip("this kernel lacks probes on functions or may lack them; make test-vm measures it on those of Debian, on amd64")
	}
	m := vm.Machine{
		Program: filepath.Join(t.TempDir(), "test"),
		Args:    []string{"-test.v", "-test.timeout=5m", "-test.run=^TestMeasured$"},
		Files:   map[string]string{},
		Modules: []string{"tun", "loop"},
	}
	out, err := exec.Command("go", "test", "-c", "-o", m.Program, "-ldflags=-s -w -linkmode external -extldflags -static", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("building the test for a machine: %v\n%s", err, out)
	}
	all := measurements(t, true)
	for _, x := range all {
		for i, source := range x.sources {
			file := filepath.Join(t.TempDir(), "object")
			if err := os.WriteFile(file, programtest.Object(t, source).ELF(), 0o600); err != nil {
				t.Fatal(err)
			}
			m.Files[x.file(i)] = file
		}
	}
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			m := m
			if m.Kernel, err = vm.Debian(t.Context(), suite); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
			defer cancel()
			var out bytes.Buffer
			code, err := m.Run(ctx, &out)
			if err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			results := vm.Results(out.String())
			for _, x := range all {
				name := "TestMeasured/" + strings.ReplaceAll(x.name, " ", "_")
				t.Run(x.name, func(t *testing.T) {
					i := slices.IndexFunc(results, func(r vm.Result) bool { return r.Test == name })
					switch {
					case i < 0:
						t.Errorf("it was not tried:\n%s", &out)
					case results[i].Status == "FAIL":
						t.Errorf("Linux %s: %s", m.Kernel.Release, results[i].Said)
					case results[i].Status == "SKIP":
						t.Skipf("Linux %s: %s", m.Kernel.Release, results[i].Said)
					default:
						t.Log(results[i].Said)
					}
				})
			}
			if (code != 0) != t.Failed() {
				t.Errorf("the tests ended with %d\n%s", code, &out)
			}
		})
	}
}

func TestMeasured(t *testing.T) {
	if !vm.Inside() {
		t.Skip("this kernel lacks probes on functions or may lack them; TestElsewhere runs it in a machine")
	}
	if err := loopbackUp(); err != nil {
		t.Fatal(err)
	}
	symbols, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	here := unix.ByteSliceToString(u.Release[:])
	for _, m := range measurements(t, false) {
		t.Run(m.name, func(t *testing.T) {
			if m.symbol != "" && !bytes.Contains(symbols, []byte(" "+m.symbol+"\n")) {
				t.Skipf("it has no function %s", m.symbol)
			}
			if _, ok := notes.SameAs("kprobe", m.symbol, here); m.symbol != "" && !ok {
				t.Skipf("on it no tracepoint is said to stand for %s", m.symbol)
			}
			m.run(t, m)
		})
	}
}

// compareCounts has both sides counted under a workload that makes the function be called. What an interrupt of a
// program does the kernel may not count: it is tried three times.
func compareCounts(t *testing.T, m measurement) {
	work := workloads[m.symbol]
	if work == nil {
		t.Fatalf("there is no workload for %s", m.symbol)
	}
	s := m.attach(t, probe.NewLoader(probe.Options{}), 0)
	var last [2]uint64
	for range 3 {
		unix.Close(opens)
		err := work(t)
		unix.Close(closes)
		if err != nil {
			t.Fatal(err)
		}
		cells, err := s.Cells("counts")
		if err != nil {
			t.Fatal(err)
		}
		var now [2]uint64
		for _, c := range cells {
			now[binary.NativeEndian.Uint32(c.Key)] = binary.NativeEndian.Uint64(c.Values[0])
		}
		calls, passed := now[0]-last[0], now[1]-last[1]
		last = now
		t.Logf("%s: %d calls, %d times at the tracepoint", m.symbol, calls, passed)
		if calls >= leastCalls && calls == passed {
			return
		}
	}
	t.Error("they are not the same")
}

// leastCalls is how many calls say something.
const leastCalls = 5

// workloads make the kernel call functions.
var workloads = map[string]func(*testing.T) error{
	"tcp_rcv_space_adjust": tcpWork,
	"tcp_v4_destroy_sock":  tcpWork,
	"tcp_rcv_established":  tcpWork,
	"netif_receive_skb":    tunWork,
	"blk_mq_start_request": loopWork,
	"__set_task_comm":      nameWork,
	"cap_capable":          capableWork,
	"__x64_sys_openat": func(*testing.T) error {
		for _, path := range []string{"/", "/nowhere", "/proc/self/status", "/init", "/tmp", "/dev/null"} {
			if fd, err := unix.Open(path, unix.O_RDONLY, 0); err == nil {
				unix.Close(fd)
			}
		}
		return nil
	},
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return up(fd, "lo")
}

func up(fd int, name string) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// tcpWork has connections of both families: with data, much and little, ended in order and by a reset, refused.
func tcpWork(t *testing.T) error {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				wg.Go(func() {
					defer c.Close()
					_, _ = io.Copy(c, c)
				})
			}
		})
		for i := range 4 {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return err
			}
			data := make([]byte, 1+i*50_000)
			wg.Go(func() { _, _ = c.Write(data) })
			if _, err := io.ReadFull(c, make([]byte, len(data))); err != nil {
				return err
			}
			if i%2 == 1 {
				if err := c.(*net.TCPConn).SetLinger(0); err != nil {
					return err
				}
			}
			c.Close()
		}
		l.Close()
		wg.Wait()
		if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
			c.Close()
			return errors.New("somebody listens")
		}
	}
	return nil
}

// tunWork has packets come in by a device that hands them over one by one.
func tunWork(*testing.T) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("kgent0")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := up(s, "kgent0"); err != nil {
		return err
	}
	packet := make([]byte, 28)
	copy(packet, []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2})
	for range 20 {
		if _, err := unix.Write(fd, packet); err != nil {
			return err
		}
	}
	return nil
}

// loopWork reads, writes and flushes a block device that is made of a file.
func loopWork(t *testing.T) error {
	file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Truncate(1 << 20); err != nil {
		return err
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return err
	}
	disk, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer disk.Close()
	if err := unix.IoctlSetInt(int(disk.Fd()), unix.LOOP_SET_FD, int(file.Fd())); err != nil {
		return err
	}
	block := make([]byte, 4096)
	for i := range int64(20) {
		if _, err := disk.WriteAt(block, i*3*4096); err != nil {
			return err
		}
		if err := disk.Sync(); err != nil {
			return err
		}
	}
	if err := unix.Fadvise(int(disk.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	for i := range int64(20) {
		if _, err := disk.ReadAt(block, i*9*4096); err != nil {
			return err
		}
	}
	return unix.IoctlSetInt(int(disk.Fd()), unix.LOOP_CLR_FD, 0)
}

// nameWork names threads, and has programs executed, which names them, too.
func nameWork(*testing.T) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, name := range []string{"one\x00", "a name that is cut\x00", "\x00", "test\x00"} {
		if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(unsafe.StringData(name))), 0, 0, 0); err != nil {
			return err
		}
	}
	for range 3 {
		if err := exec.Command("/proc/self/exe", "-test.run=^$").Run(); err != nil {
			return err
		}
	}
	return nil
}

// capableWork asks for what takes capabilities, with them and without.
func capableWork(*testing.T) error {
	for range 5 {
		if err := unix.Sethostname([]byte("kgent")); err != nil {
			return err
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -1); err != nil {
			return err
		}
	}
	cmd := exec.Command("/init", "-test.run=^$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	return cmd.Run()
}

// comparePair has the original and what stands for it see the same reads. A program that was interrupted while it
// ran is passed over by the kernel when another thread calls the function on that processor, and that is counted by those
// that can (Linux 6.7): it is tried three times.
func comparePair(t *testing.T, m measurement) {
	for range 3 {
		seen, over := seenBy(t, m, readWork)
		if len(seen[0]) >= leastCalls && slices.Equal(seen[0], seen[1]) {
			return
		}
		if over[0].Missed+over[1].Missed == 0 && !over[0].MissedUnknown && !over[1].MissedUnknown {
			t.Fatalf("they saw different things:\n%s\n%s", strings.Join(seen[0], " "), strings.Join(seen[1], " "))
		}
	}
	t.Error("neither of three times did both see everything")
}

// compareWaiting has more reads under way at a time than a probe at a return follows: what is said of it.
// That kernels since 6.7 count what is left out, the account of the run has.
func compareWaiting(t *testing.T, m measurement) {
	seen, both := seenBy(t, m, waitingWork)
	over := both[1]
	if len(seen[0]) != waiters || len(seen[1]) >= waiters {
		t.Errorf("the original saw %d reads, want all %d, and what stands for it %d, which the card says are fewer", len(seen[0]), waiters, len(seen[1]))
	}
	if !over.MissedUnknown && uint64(len(seen[1]))+over.Missed < waiters {
		t.Errorf("%d were seen and %d counted as missed, of %d", len(seen[1]), over.Missed, waiters)
	}
}

// seenBy is what the original and what stands for it see of the same work, and what their runs cost.
func seenBy(t *testing.T, m measurement, work func() (int, error)) (seen [2][]string, over [2]output.Overhead) {
	l := probe.NewLoader(probe.Options{})
	var sets []*probe.Set
	for i := range m.sources {
		sets = append(sets, m.attach(t, l, i))
	}
	reads, err := work()
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range sets {
		if err := s.Detach(); err != nil {
			t.Fatal(err)
		}
		if err := s.Rest(t.Context(), func(_ int, raw []byte) {
			if n := binary.NativeEndian.Uint64(raw); n >= sizes && n < sizes+1000 {
				seen[i] = append(seen[i], fmt.Sprintf("%x", raw))
			}
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(seen[i])
		over[i] = s.Overhead()
	}
	t.Logf("%d reads, %d events of the original (%d missed), %d of what stands for it (%d missed)", reads, len(seen[0]), over[0].Missed, len(seen[1]), over[1].Missed)
	return seen, over
}

// waiters is how many calls are under way at a time: more than any kernel follows on one processor.
const waiters = 30

// waitingWork reads from a pipe in many threads, before there is anything to read.
func waitingWork() (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	fd := int(r.Fd()) // which makes reads wait in the kernel
	var wg sync.WaitGroup
	threads := make(chan int)
	for range waiters {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			threads <- unix.Gettid()
			_, _ = unix.Read(fd, make([]byte, sizes))
		})
	}
	for range waiters {
		if err := waits(<-threads); err != nil {
			return 0, err
		}
	}
	err = w.Close() // the end of the file is for all of them
	wg.Wait()
	return waiters, err
}

// waits returns when a thread waits in the kernel for a pipe.
func waits(tid int) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		in, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", tid))
		if err != nil {
			return err
		}
		if strings.HasPrefix(string(in), fmt.Sprintf("%d 0x", unix.SYS_READ)) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("thread %d does not wait: %s", tid, in)
		}
	}
}

// sizes is the least size of a read of the workload.
const sizes = 77_000

// readWork reads in several threads: what is there, what is not, and into memory that is not there.
func readWork() (n int, err error) {
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			buf := make([]byte, sizes+1000)
			zero, err := os.Open("/dev/zero")
			if err != nil {
				errs[i] = err
				return
			}
			defer zero.Close()
			dir, err := os.Open("/")
			if err != nil {
				errs[i] = err
				return
			}
			defer dir.Close()
			for k := range 20 {
				size := sizes + 100*i + k
				_, _ = unix.Read(int(zero.Fd()), buf[:size])
				_, _ = unix.Read(int(dir.Fd()), buf[:size])
				_, _, _ = unix.Syscall(unix.SYS_READ, zero.Fd(), 8, uintptr(size))
			}
		})
		n += 60
	}
	wg.Wait()
	return n, errors.Join(errs...)
}

package probe_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/executor/probe"
	"kgent/executor/probe/vm"
)

// floodEnv makes a re-executed test binary a workload: mark:calls:threads.
const floodEnv = "KGENT_PROBE_TEST_FLOOD"

// aloneEnv is set in the processes of alone.
const aloneEnv = "KGENT_PROBE_TEST_ALONE"

// alone is whether a test is to go on in this process, which then has a network for itself: in the
// host's the loopback interface takes one XDP program, of whichever process, others send over it
// what they like, and every kgent that starts sweeps. There the test is run by a process of its own.
func alone(t *testing.T) bool {
	t.Helper()
	if vm.Inside() || os.Getenv(aloneEnv) != "" {
		return true
	}
	parts := strings.Split(t.Name(), "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.count=1", "-test.run="+strings.Join(parts, "/"))
	cmd.Env = append(os.Environ(), aloneEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if skipped := "--- SKIP: " + t.Name() + " "; bytes.Contains(out, []byte(skipped)) {
		t.Skipf("%s", out)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")) {
		t.Errorf("in a network of its own: %v\n%s", err, out)
	}
	return false
}

func TestMain(m *testing.M) {
	vm.Init()
	if os.Getenv(aloneEnv) != "" {
		if err := probe.InterfaceUp("lo"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if arg := os.Getenv(floodEnv); arg != "" {
		var mark, calls uint64
		var threads int
		if _, err := fmt.Sscanf(arg, "%d:%d:%d", &mark, &calls, &threads); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		flood(mark, calls, threads)
		os.Exit(0)
	}
	if arg := os.Getenv(typesEnv); arg != "" {
		if err := loadWithoutBTF(arg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if arg := os.Getenv(filterEnv); arg != "" {
		if err := attachFilter(arg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if arg := os.Getenv(killedEnv); arg != "" {
		if err := attachAndWait(arg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if arg := os.Getenv(workEnv); arg != "" {
		if err := workInCgroup(arg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(pidEnv) != "" {
		if err := printPID(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// call makes one system call that the programs of testdata look for.
func call(mark, number uint64) {
	_, _, _ = unix.RawSyscall(unix.SYS_GETPPID, uintptr(mark), uintptr(number), 0)
}

// flood makes calls from each of several threads.
func flood(mark, calls uint64, threads int) {
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			for n := range calls {
				call(mark, n)
			}
		})
	}
	wg.Wait()
}

// floodFrom does it from another process.
func floodFrom(t testing.TB, mark, calls uint64, threads int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d:%d:%d", floodEnv, mark, calls, threads))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// newMark returns a number that no other test, and no one else, puts into an
// argument of a system call.
func newMark() uint64 {
	return uint64(time.Now().UnixNano())<<8 | 0x5b<<56 | 1
}

// object compiles a program of testdata. prefix is put before its text.
func object(t testing.TB, file, prefix string) *program.Object {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return programtest.Object(t, prefix+string(source))
}

// perfObject compiles a program of testdata in the form for kernels without ring buffers.
func perfObject(t testing.TB, file string) *program.Object {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return programtest.PerfObject(t, string(source))
}

func manifest(t testing.TB, o *program.Object, opt program.Options) *program.Manifest {
	t.Helper()
	if opt.Name == "" {
		opt.Name = "test"
	}
	m, err := program.Build(o, opt)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// load loads a program of testdata; it is closed when the test ends.
func load(t testing.TB, l *probe.Loader, o *program.Object, m *program.Manifest) *probe.Set {
	t.Helper()
	s, err := l.Load(t.Context(), o, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

func attach(t testing.TB, s *probe.Set) []string {
	t.Helper()
	hooks, err := s.Attach(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var following sync.WaitGroup
	following.Go(func() { s.Follow(t.Context()) })
	t.Cleanup(following.Wait)
	return hooks
}

// patience is how long what must happen may take on a machine with other things to do.
const patience = time.Minute

// record is one event.
type record struct {
	stream int
	raw    []byte
}

func (r record) u32(off int) uint32 { return binary.NativeEndian.Uint32(r.raw[off:]) }
func (r record) u64(off int) uint64 { return binary.NativeEndian.Uint64(r.raw[off:]) }

// reading is a Drain that runs beside a test.
type reading struct {
	t      testing.TB
	s      *probe.Set
	cancel context.CancelFunc
	err    chan error
	mu     sync.Mutex
	events []record
}

// drain starts reading.
func drain(t testing.TB, s *probe.Set) *reading {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{t: t, s: s, cancel: cancel, err: make(chan error, 1)}
	go func() { r.err <- s.Drain(ctx, probe.Tick, r.add) }()
	t.Cleanup(cancel)
	return r
}

func (r *reading) add(stream int, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, record{stream, append([]byte(nil), raw...)})
}

func (r *reading) seen() []record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[:len(r.events):len(r.events)]
}

// wait waits until as many events have come as wanted.
func (r *reading) wait(n int) []record {
	r.t.Helper()
	return r.until(fmt.Sprintf("%d events", n), func(all []record) bool { return len(all) >= n })
}

// until waits for events that satisfy ok.
func (r *reading) until(what string, ok func([]record) bool) []record {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		all := r.seen()
		if ok(all) {
			return all
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s; there are %d", what, len(all))
		}
		time.Sleep(time.Millisecond)
	}
}

// finish ends the reading, detaches, reads the rest, and checks the account.
func (r *reading) finish() ([]record, probe.Counts) {
	r.t.Helper()
	r.cancel()
	if err := <-r.err; err != nil {
		r.t.Fatalf("draining: %v", err)
	}
	if err := r.s.Detach(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.s.Rest(context.Background(), r.add); err != nil {
		r.t.Fatal(err)
	}
	c, err := r.s.Counts()
	if err != nil {
		r.t.Fatal(err)
	}
	if c.Produced != uint64(len(r.events))+c.Lost {
		r.t.Errorf("produced %d, delivered %d, lost %d: they do not add up", c.Produced, len(r.events), c.Lost)
	}
	return r.events, c
}

// target builds the program that user.bpf.c probes.
func target(t testing.TB, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kgent-target")
	out, err := exec.Command("clang-19", append(flags, "-O1", "-g", "-o", path, "testdata/target.c")...).CombinedOutput()
	if err != nil {
		t.Fatalf("building testdata/target.c: %v\n%s", err, out)
	}
	return path
}

func mustRun(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }

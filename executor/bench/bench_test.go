// Package bench_test measures the whole path of a run on this machine: what an
// event costs the traced process and the reader, beside bpftrace in the same
// run, and how many events a second arrive without loss.
package bench_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/render"
)

// The load of all benchmarks: getppid(2) in a loop, which by itself costs
// little, with one 64-byte event for each call. It runs in a process of its
// own, so that what readers cost can be told from it.
const (
	loadEnv    = "KGENT_BENCH_CALLS"
	periodEnv  = "KGENT_BENCH_PERIOD"  // from one call to the next
	threadsEnv = "KGENT_BENCH_THREADS" // that make that many calls each
)

func TestMain(m *testing.M) {
	if calls, err := strconv.Atoi(os.Getenv(loadEnv)); err == nil {
		period, _ := time.ParseDuration(os.Getenv(periodEnv)) // none
		threads, _ := strconv.Atoi(os.Getenv(threadsEnv))     // one
		load(calls, max(threads, 1), period)
		return
	}
	os.Exit(m.Run())
}

// load waits for a line, makes the calls, and prints how long they took, and
// which processor time, in nanoseconds.
func load(calls, threads int, period time.Duration) {
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		os.Exit(1)
	}
	start, cpu := time.Now(), processorTime()
	var all sync.WaitGroup
	for thread := range threads {
		all.Go(func() {
			if threads > 1 {
				runtime.LockOSThread()
				var set unix.CPUSet
				set.Set(thread % runtime.NumCPU())
				unix.SchedSetaffinity(0, &set) // a wish
			}
			for i := range calls {
				if period > 0 {
					time.Sleep(time.Until(start.Add(time.Duration(i) * period)))
				}
				syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
			}
		})
	}
	all.Wait()
	fmt.Println(time.Since(start).Nanoseconds(), processorTime()-cpu)
}

// processorTime is what this process has used, in nanoseconds.
func processorTime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// loader is a process that waits to make its calls.
type loader struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	cpu time.Duration // of its calls, after run
}

func startLoad(b *testing.B, calls int) *loader {
	b.Helper()
	return startPaced(b, calls, 0)
}

func startPaced(b *testing.B, calls int, period time.Duration) *loader {
	b.Helper()
	return start(b, calls, periodEnv+"="+period.String())
}

func startThreads(b *testing.B, calls, threads int) *loader {
	b.Helper()
	return start(b, calls, threadsEnv+"="+strconv.Itoa(threads))
}

func start(b *testing.B, calls int, how string) *loader {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), loadEnv+"="+strconv.Itoa(calls), how)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return &loader{cmd: cmd, in: in, out: bufio.NewReader(out)}
}

// run lets the calls happen and returns how long they took.
func (l *loader) run(b *testing.B) time.Duration {
	b.Helper()
	if _, err := io.WriteString(l.in, "\n"); err != nil {
		b.Fatal(err)
	}
	line, err := l.out.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	var ns int64
	if _, err := fmt.Sscan(line, &ns, (*int64)(&l.cpu)); err != nil {
		b.Fatal(err)
	}
	if err := l.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ns)
}

// path is the whole node: bus, executor, kernel, and the side that follows.
type path struct {
	object *program.Object
	key    ed25519.PrivateKey
	bus    bus.Control
}

func newPath(b *testing.B) *path {
	b.Helper()
	source, err := os.ReadFile(filepath.Join("testdata", "hit.bpf.c"))
	if err != nil {
		b.Fatal(err)
	}
	return newPathOf(b, string(source))
}

func newPathOf(b *testing.B, source string) *path {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	o, facts := programtest.Object(b, source), programtest.Here(b).Facts
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	line := bus.NewMemory()
	p := &path{object: o, key: key, bus: line}
	e := &executor.Executor{
		Node:     bus.NodeInfo{Name: "bench", Kernel: facts.Release, Arch: facts.Arch},
		Verifier: &job.Verifier{Node: "bench", Keys: []ed25519.PublicKey{pub}, Replays: executor.NewMemoryReplays(time.Now), Now: time.Now},
		Kernel:   executor.NewKernel("bench", probe.NewLoader(probe.Options{Resolve: facts.ResolveBinary}), render.NewEnv()),
		Bus:      line,
		Policy:   executor.OwnHostPolicy(),
	}
	serving, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(serving) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return p
}

func id(b *testing.B) string {
	var raw [16]byte
	if _, err := io.ReadFull(rand.Reader, raw[:]); err != nil {
		b.Fatal(err)
	}
	return hex.EncodeToString(raw[:])
}

// trace runs the program for the process pid and calls attached when it is;
// the trace ends when attached returns. It returns the account and the bytes
// of output.
func (p *path) trace(b *testing.B, pid int, attached func()) (output.Summary, int) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	bytes, begun := 0, false
	summary := p.follow(ctx, b, pid, func(line []byte) {
		bytes += len(line)
		if !begun && strings.HasPrefix(string(line), `{"type":"attached"`) {
			begun = true
			go func() {
				defer stop()
				attached()
			}()
		}
	})
	if !begun {
		b.Fatalf("the program was not attached: %+v", summary)
	}
	return summary, bytes
}

// follow runs the program for the process pid until ctx ends, and hands its
// output to sink.
func (p *path) follow(ctx context.Context, b *testing.B, pid int, sink func(line []byte)) output.Summary {
	b.Helper()
	m, err := program.Build(p.object, program.Options{Name: "hit", Title: "hits", Constants: map[string]string{"pid": strconv.Itoa(pid)}})
	if err != nil {
		b.Fatal(err)
	}
	manifest, err := m.Encode()
	if err != nil {
		b.Fatal(err)
	}
	prog := job.Program{ELF: p.object.ELF(), Manifest: manifest, Contract: []byte{}}
	limits := job.Limits{Duration: time.Minute}
	d, err := job.DigestOf(prog, []string{"bench"}, limits)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	g := job.Grant{Version: job.GrantVersion, Purpose: job.PurposeRun, ID: id(b), Run: id(b), Digest: d.String(), Nodes: []string{"bench"}, Limits: limits,
		NotBefore: now, Expires: now.Add(time.Minute), Approval: job.Approval{Requester: "bench", Tier: "observe", Quorum: 1}}
	envelope, err := job.Sign(p.key, g, prog)
	if err != nil {
		b.Fatal(err)
	}
	if err := executor.Dispatch(ctx, p.bus, &g, envelope); err != nil {
		b.Fatal(err)
	}
	summary, err := executor.Follow(ctx, p.bus, &g, sink)
	if err != nil {
		b.Fatal(err)
	}
	return summary
}

// usage is the CPU time of this process so far.
func usage(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEventCost shows what one event costs the traced process and the
// reader, beside bpftrace printing the same for the same calls; and what the
// hook costs, of which a program that is for another process makes nothing.
func BenchmarkEventCost(b *testing.B) {
	const calls = 300_000
	p := newPath(b)
	bpftrace, err := exec.LookPath("bpftrace")
	if err != nil {
		b.Fatalf("the peer is missing: apt-get install bpftrace: %v", err)
	}
	var bare, hooked, ours, theirs, ourReader, theirReader time.Duration
	var ourLost, theirLost uint64
	n := 0
	for b.Loop() {
		n++
		bare += startLoad(b, calls).run(b)

		l := startLoad(b, calls)
		p.trace(b, 1, func() { hooked += l.run(b) })

		l = startLoad(b, calls)
		before := usage(b)
		s, _ := p.trace(b, l.cmd.Process.Pid, func() { ours += l.run(b) })
		ourReader += usage(b) - before
		ourLost += s.KernelLost + s.Dropped
		if s.Produced != calls || !s.Balanced() {
			b.Fatalf("%d events for %d calls, account %+v", s.Produced, calls, s.Counters)
		}

		l = startLoad(b, calls)
		took, reader, lost := peer(b, bpftrace, l)
		theirs += took
		theirReader += reader
		theirLost += lost
	}
	total := float64(n * calls)
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / total }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(per(bare), "call-ns")
	b.ReportMetric(per(hooked-bare), "hook-ns")
	b.ReportMetric(per(ours-bare), "added-ns")
	b.ReportMetric(per(theirs-bare), "bpftrace-added-ns")
	b.ReportMetric(per(ourReader), "reader-ns")
	b.ReportMetric(per(theirReader), "bpftrace-reader-ns")
	b.ReportMetric(float64(ours-bare)/float64(theirs-bare), "added-ratio")
	b.ReportMetric(float64(ourReader)/float64(theirReader), "reader-ratio")
	b.ReportMetric(100*float64(ourLost)/total, "lost-%")
	b.ReportMetric(100*float64(theirLost)/total, "bpftrace-lost-%")
}

// peer traces the load with bpftrace and returns how long the calls took, the
// CPU time of bpftrace from its attachment on, and how many events it lost.
func peer(b *testing.B, bpftrace string, l *loader) (took, reader time.Duration, lost uint64) {
	b.Helper()
	// It is attached when calls of this process show, which it buffers like all
	// others: so there must be enough of them.
	script := fmt.Sprintf(`tracepoint:syscalls:sys_enter_getppid /pid == %d || pid == %d/ { printf("%%llu %%d %%d %%s %%d %%d %%d %%d\n", nsecs, pid, tid, comm, 0, 0, 0, 0); }`, l.cmd.Process.Pid, os.Getpid())
	cmd := exec.CommandContext(b.Context(), bpftrace, "-B", "full", "-e", script)
	cmd.Env = append(os.Environ(), "BPFTRACE_PERF_RB_PAGES=4096")
	out, err := os.Create(filepath.Join(b.TempDir(), "out"))
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	mine := fmt.Sprintf(" %d ", os.Getpid())
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		for range 500 {
			unix.Getppid()
		}
		if text, err := os.ReadFile(out.Name()); err == nil && strings.Contains(string(text), mine) {
			break
		}
		if time.Now().After(deadline) {
			b.Fatal("bpftrace did not attach")
		}
	}
	before := cpuOf(b, cmd.Process.Pid)
	took = l.run(b)
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
	reader = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() - before
	text, err := os.ReadFile(out.Name())
	if err != nil {
		b.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		var n uint64
		if _, err := fmt.Sscanf(line, "Lost %d events", &n); err == nil {
			lost += n
		}
	}
	return took, reader, lost
}

// cpuOf is the CPU time of another process so far.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	// The clock of a process, as clock_getcpuclockid(3) makes it of its id: in
	// nanoseconds, where /proc counts in ticks of ten milliseconds.
	const scheduled = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(^int32(pid)<<3|scheduled, &t); err != nil {
		b.Fatalf("reading the clock of process %d: %v", pid, err)
	}
	return time.Duration(t.Nano())
}

// BenchmarkThroughput is how many events a second go through the whole path,
// from a program's ring buffer to lines of JSON at the follower. lost-% says
// whether it kept up.
func BenchmarkThroughput(b *testing.B) {
	const calls = 1_000_000
	p := newPath(b)
	var took time.Duration
	var delivered, lost uint64
	var bytes int
	for b.Loop() {
		l := startLoad(b, calls)
		s, n := p.trace(b, l.cmd.Process.Pid, func() { took += l.run(b) })
		if !s.Balanced() || s.Produced != calls {
			b.Fatalf("%d events for %d calls, account %+v", s.Produced, calls, s.Counters)
		}
		delivered += s.Delivered
		lost += s.KernelLost + s.Dropped + s.BusTrimmed
		bytes += n
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(delivered)/took.Seconds(), "events/s")
	b.ReportMetric(float64(bytes)/took.Seconds()/1e6, "MB/s")
	b.ReportMetric(100*float64(lost)/float64(delivered+lost), "lost-%")
}

// BenchmarkGrantToAttached is the time from a signed grant to the record that
// every probe is attached.
func BenchmarkGrantToAttached(b *testing.B) {
	p := newPath(b)
	var attach float64
	n := 0
	for b.Loop() {
		s, _ := p.trace(b, 1, func() {})
		attach += s.Nodes[0].Overhead.AttachMS
		n++
	}
	b.ReportMetric(attach/float64(n), "attach-ms")
}

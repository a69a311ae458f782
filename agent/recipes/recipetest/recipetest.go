// Package recipetest drives recipes as a user does: it runs the kgent binary
// with a request, lets a workload make things happen once every probe is
// attached, ends the trace, and hands over the records. It also looks that
// nothing is left in the kernel.
//
// A recipe's folder holds a test that says what its workload must make appear,
// and what must not:
//
//	func TestMain(m *testing.M) { recipetest.Main(m, map[string]func([]string) error{"client": client}) }
//
//	func TestConnect(t *testing.T) {
//		run := recipetest.Run(t, "trace new TCP connections of rt-client", func(a *recipetest.Live) {
//			a.Child("rt-client", "client", addr)
//			a.Child("rt-decoy", "client", addr)
//		})
//		run.Event("connects", recipetest.Want{"comm": "rt-client", "dport": port})
//		run.NoEvent("connects", recipetest.Want{"comm": "rt-decoy"})
//	}
package recipetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kgent/executor/output"
)

// timeout bounds one run of the binary, whatever happens; its trace ends earlier, and
// much earlier with the workload.
const (
	timeout  = 6 * time.Minute
	duration = "4m"
)

// patience bounds every wait for what must happen: a machine may have other things to do.
const patience = time.Minute

// workloadEnv selects what a re-executed test binary does.
const workloadEnv = "KGENT_TEST_WORKLOAD"

// A workload runs on the first thread of its process, and what [Thread] starts
// therefore never does: its name is the process's.
func init() {
	if os.Getenv(workloadEnv) != "" {
		runtime.LockOSThread()
	}
}

// Main is for TestMain. In a child started by [Live.Child] it runs the named
// workload instead of the tests; a child exits 0 when that returns nil.
func Main(m *testing.M, workloads map[string]func(args []string) error) {
	if name := os.Getenv(workloadEnv); name != "" {
		w, ok := workloads[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "no workload %q\n", name)
			os.Exit(2)
		}
		if err := w(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// IsWorkload reports whether this process is a child that [Main] should run a
// workload in; a TestMain with other things to do asks first.
func IsWorkload() bool { return os.Getenv(workloadEnv) != "" }

// Live is a trace that is attached.
type Live struct {
	*testing.T
	Attached output.Attached
	// Pid is the process that runs the trace.
	Pid int
}

// Child runs a workload of [Main] to its end in a process whose name (comm) is
// comm, and returns its pid.
func (l *Live) Child(comm, workload string, args ...string) int {
	l.Helper()
	cmd := Command(l.T, comm, workload, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.Fatalf("workload %s as %s: %v\n%s", workload, comm, err, out)
	}
	return cmd.Process.Pid
}

// Command is the command behind [Live.Child], not started.
func Command(t *testing.T, comm, workload string, args ...string) *exec.Cmd {
	t.Helper()
	if len(comm) > 15 {
		t.Fatalf("process name %q: the kernel keeps 15 characters", comm)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), comm)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	debug := strings.TrimPrefix(os.Getenv("GODEBUG")+",asyncpreemptoff=1", ",")
	// The race detector would let every process linger for a second at its end. And the
	// runtime would send its own threads signals, which end a sleep with EINTR.
	cmd.Env = append(os.Environ(), workloadEnv+"="+workload, "GORACE=atexit_sleep_ms=0", "GODEBUG="+debug)
	return cmd
}

// Result is what a finished trace said.
type Result struct {
	t        *testing.T
	Records  []output.Record
	Attached output.Attached
	Summary  output.Summary
}

// Run asks for a trace, calls workload when it is attached, stops it when the
// workload returns, and checks what holds for every recipe: the summary is
// last, its account balances, and no program or map is left in the kernel.
func Run(t *testing.T, request string, workload func(*Live)) *Result {
	t.Helper()
	return RunArgs(t, nil, request, workload)
}

// RunArgs is [Run] with more arguments for `kgent ask`.
func RunArgs(t *testing.T, args []string, request string, workload func(*Live)) *Result {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	binary := Binary(t) // before the clock starts: it may have to be built
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	args = append([]string{"ask", "--yes", "--output", "json", "--duration", duration}, args...)
	cmd := exec.CommandContext(ctx, binary, append(args, request)...)
	// The trace must not depend on what the person running the tests has configured.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "OPENAI_") || strings.HasPrefix(kv, "KGENT_MODEL")
	})
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &Result{t: t}
	lines := make(chan output.Record)
	read := make(chan error, 1)
	go func() { read <- decode(stdout, lines) }()
	for rec := range lines {
		r.Records = append(r.Records, rec)
		switch rec := rec.(type) {
		case output.Attached:
			r.Attached = rec
			// The trace must be read while the workload runs, or its pipe fills.
			done := make(chan struct{})
			go func() {
				defer close(done) // also when the workload ends the test
				defer cmd.Process.Signal(syscall.SIGINT)
				workload(&Live{T: t, Attached: rec, Pid: cmd.Process.Pid})
			}()
			defer func() { <-done }()
		case output.Summary:
			r.Summary = rec
		}
	}
	if err := <-read; err != nil {
		t.Fatalf("reading the output of %q: %v\n%s", request, err, stderr.String())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("asking %q: %v\n%s%s", request, err, stderr.String(), r.dump())
	}
	if t.Failed() {
		t.FailNow()
	}
	r.check(request)
	return r
}

func decode(rd io.Reader, lines chan<- output.Record) error {
	defer close(lines)
	sc := bufio.NewScanner(rd)
	sc.Buffer(nil, output.MaxLine)
	for sc.Scan() {
		rec, err := output.Decode(sc.Bytes())
		if err != nil {
			io.Copy(io.Discard, rd) // let the process end
			return err
		}
		lines <- rec
	}
	return sc.Err()
}

// check holds for every run.
func (r *Result) check(request string) {
	r.t.Helper()
	if r.Attached.Node == "" {
		r.t.Fatalf("%q: nothing was attached:\n%s", request, r.dump())
	}
	if len(r.Records) == 0 {
		r.t.Fatal("no records")
	}
	if _, ok := r.Records[len(r.Records)-1].(output.Summary); !ok {
		r.t.Errorf("the last record is %T, want the summary", r.Records[len(r.Records)-1])
	}
	if !r.Summary.Balanced() {
		r.t.Errorf("the account does not balance: %+v", r.Summary.Counters)
	}
	if n := len(r.events("")); r.Summary.Delivered != uint64(n) {
		r.t.Errorf("%d events arrived, the summary says %d were delivered", n, r.Summary.Delivered)
	}
	Gone(r.t, r.Attached)
}

// Gone checks that the programs and maps of a trace no longer exist. The
// kernel frees them after a grace period, so it looks until they are gone, for a
// while.
func Gone(t *testing.T, a output.Attached) {
	t.Helper()
	gone := func(open func(uint32) (io.Closer, error), id uint32) bool {
		c, err := open(id)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, os.ErrNotExist)
	}
	wait := func(what string, ids []uint32, open func(uint32) (io.Closer, error)) {
		for _, id := range ids {
			deadline := time.Now().Add(patience)
			for !gone(open, id) {
				if time.Now().After(deadline) {
					t.Errorf("%s %d is still in the kernel", what, id)
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	wait("program", a.ProgramIDs, func(id uint32) (io.Closer, error) { return ebpf.NewProgramFromID(ebpf.ProgramID(id)) })
	wait("map", a.MapIDs, func(id uint32) (io.Closer, error) { return ebpf.NewMapFromID(ebpf.MapID(id)) })
}

// Binary returns the path of kgent, which it builds once for all test packages; the go command does nothing
// when it is up to date.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("KGENT_TEST_BINARY"); path != "" {
		return path
	}
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// built asks the go command once in a process: finding out that there is nothing to do takes it a second.
var built = sync.OnceValues(func() (string, error) { return build("kgent-test", "./cmd/kgent") })

// Build returns the path of a command of this module, which it builds, without the race detector, under a name in bin.
func Build(t testing.TB, name, command string) string {
	t.Helper()
	path, err := build(name, command)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func build(name, command string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	root := strings.TrimSpace(string(out))
	dir := filepath.Join(root, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".kgent-test.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	build := exec.Command("go", "build", "-o", path, command)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", command, err, out)
	}
	return path, nil
}

// Want are fields an event or a row must have. Values are compared as text;
// a func(string) bool decides for itself.
type Want map[string]any

func (w Want) matches(f output.Fields) bool {
	for name, want := range w {
		got, ok := f.Get(name)
		if !ok {
			return false
		}
		if decide, ok := want.(func(string) bool); ok {
			if !decide(text(got)) {
				return false
			}
		} else if text(got) != fmt.Sprint(want) {
			return false
		}
	}
	return true
}

func text(v any) string {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case output.Fields:
		b, _ := json.Marshal(v)
		return string(b)
	}
	return fmt.Sprint(v)
}

func (r *Result) events(stream string) []output.Fields {
	var out []output.Fields
	for _, rec := range r.Records {
		if e, ok := rec.(output.Event); ok && (stream == "" || e.Stream == stream) {
			out = append(out, e.Data)
		}
	}
	return out
}

// Events returns the events of a stream that have the fields, all with nil.
func (r *Result) Events(stream string, w Want) []output.Fields {
	var out []output.Fields
	for _, f := range r.events(stream) {
		if w.matches(f) {
			out = append(out, f)
		}
	}
	return out
}

// Event returns the one event that has the fields; none or several fail the
// test.
func (r *Result) Event(stream string, w Want) output.Fields {
	r.t.Helper()
	got := r.Events(stream, w)
	if len(got) != 1 {
		r.t.Fatalf("%d events of %s have %v, want one:\n%s", len(got), stream, w, r.dump())
	}
	return got[0]
}

// NoEvent fails the test when an event has the fields.
func (r *Result) NoEvent(stream string, w Want) {
	r.t.Helper()
	if got := r.Events(stream, w); len(got) > 0 {
		r.t.Errorf("%d events of %s have %v, want none; the first: %v", len(got), stream, w, got[0])
	}
}

// Rows returns the rows of the final table of an output map whose key and
// value together have the fields.
func (r *Result) Rows(name string, w Want) []output.MapEntry {
	var out []output.MapEntry
	for _, rec := range r.Records {
		m, ok := rec.(output.Map)
		if !ok || m.Name != name || !m.Final {
			continue
		}
		for _, e := range m.Entries {
			if w.matches(append(slices.Clone(e.Key), e.Value...)) {
				out = append(out, e)
			}
		}
	}
	return out
}

// Hists returns the final histograms of an output map whose key has the
// fields.
func (r *Result) Hists(name string, w Want) []output.Hist {
	var out []output.Hist
	for _, rec := range r.Records {
		if h, ok := rec.(output.Hist); ok && h.Name == name && h.Final && w.matches(h.Key) {
			out = append(out, h)
		}
	}
	return out
}

// Stacks returns the stacks of an output map whose key has the fields.
func (r *Result) Stacks(name string, w Want) []output.Stack {
	var out []output.Stack
	for _, rec := range r.Records {
		if s, ok := rec.(output.Stack); ok && s.Name == name && s.Final && w.matches(s.Key) {
			out = append(out, s)
		}
	}
	return out
}

// Number reads a numeric field.
func Number(t *testing.T, f output.Fields, name string) int64 {
	t.Helper()
	v, ok := f.Get(name)
	n, isNumber := v.(json.Number)
	if !ok || !isNumber {
		t.Fatalf("field %s of %v is no number", name, f)
	}
	i, err := n.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// dump is the end of the output, for messages.
func (r *Result) dump() string {
	const most = 40
	var b strings.Builder
	recs := r.Records
	if len(recs) > most {
		fmt.Fprintf(&b, "… %d records before\n", len(recs)-most)
		recs = recs[len(recs)-most:]
	}
	for _, rec := range recs {
		line, err := output.Encode(rec)
		if err != nil {
			line = fmt.Appendf(nil, "%v\n", err)
		}
		b.Write(line)
	}
	return b.String()
}

package probe_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/probe/vm"
)

// kind is one way of attaching a program, tried on a real target with real
// work: on this kernel by TestKinds, and on others by TestKindsElsewhere.
type kind struct {
	name string
	// file of testdata, and what is put before its text.
	file, prefix string
	// since is the first version of Linux that has it.
	since version
	// lacks says why this host has not got it, for reasons other than its
	// version; nil and "" are none. In machines of package vm nothing may lack.
	lacks func() string
	run   func(*testing.T, kind)
	// perf is the form for kernels without ring buffers.
	perf bool
}

// inPerfForm are the kinds that are tried, too, in the form for kernels without ring buffers: one of each
// type of program that hands over events.
var inPerfForm = []string{"tracepoint", "tp_btf", "kprobe", "fentry", "lsm", "uprobe, uretprobe, usdt", "xdp generic", "tcx", "clsact", "socket filter", "cgroup_skb", "sock_addr", "sockops"}

func init() {
	for _, name := range inPerfForm {
		k := allKinds[slices.IndexFunc(allKinds, func(k kind) bool { return k.name == name })]
		k.name, k.perf = name+" by perf buffers", true
		allKinds = append(allKinds, k)
	}
}

type version struct{ major, minor int }

// allKinds has every kind of hook, and of those that are attached in another way
// on older kernels, that way too.
var allKinds = []kind{
	{name: "tracepoint", file: "tracepoint.bpf.c", run: tryTracepoint},
	{name: "raw_tp", file: "raw_tp.bpf.c", run: tryRawTracepoint},
	{name: "tp_btf", file: "tp_btf.bpf.c", run: tryTPBTF},
	{name: "kprobe", file: "kinds.bpf.c", prefix: define("CALLED", "kprobe/do_filp_open"), lacks: lacksKprobes, run: tryCall},
	{name: "kretprobe", file: "kinds.bpf.c", prefix: define("RETURNED", "kretprobe/do_filp_open"), lacks: lacksKprobes, run: tryReturn},
	{name: "kprobe_multi", file: "kinds.bpf.c", prefix: define("CALLED", "kprobe.multi/do_filp_open,security_task_setnice"), lacks: lacksKprobes, run: tryMulti},
	{name: "kprobe_multi of a pattern", file: "kinds.bpf.c", prefix: define("CALLED", "kprobe.multi/do_filp_ope?"), lacks: lacksKprobes, run: tryPattern},
	{name: "kretprobe_multi", file: "kinds.bpf.c", prefix: define("RETURNED", "kretprobe.multi/do_filp_open"), lacks: lacksKprobes, run: tryReturn},
	{name: "kprobe_multi one by one", file: "kinds.bpf.c", prefix: define("CALLED", "kprobe.multi/do_filp_open,security_task_setnice"), lacks: lacksKprobes, run: tryMultiOld},
	{name: "kprobe missed", file: "kinds.bpf.c", prefix: define("CALLED", "kprobe/do_filp_open") + define("BUSY", "kprobe/copy_from_user_nofault"), lacks: lacksKprobes, run: tryMissed},
	{name: "kprobe_multi missed", file: "kinds.bpf.c", prefix: define("CALLED", "kprobe/do_filp_open") + define("BUSY", "kprobe.multi/copy_from_user_nofault"), lacks: lacksKprobes, run: tryMissed},
	{name: "kprobe_session", file: "kinds.bpf.c", prefix: define("SESSION", "kprobe.session/do_filp_open"), since: version{6, 10}, lacks: lacksKprobes, run: trySession},
	{name: "fentry", file: "kinds.bpf.c", prefix: define("ENTERED", "fentry/do_filp_open"), lacks: lacksTrampolines, run: tryCall},
	{name: "fexit", file: "kinds.bpf.c", prefix: define("LEFT", "fexit/do_filp_open"), lacks: lacksTrampolines, run: tryReturn},
	{name: "fmod_ret", file: "kinds.bpf.c", prefix: define("ASKED", "fmod_ret/security_task_setnice") + "#define VERDICT -13\n", lacks: lacksTrampolines, run: tryDecision},
	{name: "lsm", file: "kinds.bpf.c", prefix: define("ASKED", "lsm/task_setnice") + "#define VERDICT -13\n", lacks: lacksTrampolines, run: tryDecision},
	{name: "uprobe, uretprobe, usdt", file: "user.bpf.c", run: tryUser},
	{name: "uprobe without uprobe_multi", file: "user.bpf.c", run: tryUserOld},
	{name: "perf_event", file: "perf_event.bpf.c", run: tryPerfEvent},
	{name: "perf_event page-faults", file: "kinds.bpf.c", prefix: define("SAMPLED", "perf_event/page-faults/1000"), run: tryPageFaults},
	{name: "perf_event cpu-cycles", file: "kinds.bpf.c", prefix: define("SAMPLED", "perf_event/cpu-cycles/1000"), lacks: lacksCounters, run: tryCycles},
	{name: "iter", file: "iter.bpf.c", run: tryIter},
	{name: "xdp generic", file: "xdp.bpf.c", run: tryXDPGeneric},
	{name: "xdp native", file: "xdp.bpf.c", run: tryXDPNative},
	{name: "tcx", file: "tcx.bpf.c", run: tryTCX},
	{name: "clsact", file: "tcx.bpf.c", run: tryClsact},
	{name: "socket filter", file: "kinds.bpf.c", prefix: "#define CAPTURED\n", run: trySocketFilter},
	{name: "cgroup_skb", file: "cgroup.bpf.c", run: tryCgroup},
	{name: "cgroup_skb of a container", file: "cgroup.bpf.c", run: tryContainer},
	{name: "tasks of a container", file: "where.bpf.c", run: tryWhere},
	{name: "sock_addr", file: "kinds.bpf.c", prefix: "#define ADDRESSES\n", run: trySockAddr},
	{name: "sockops", file: "kinds.bpf.c", prefix: "#define SOCKOPS\n", run: trySockOps},
}

func define(name, section string) string { return fmt.Sprintf("#define %s %q\n", name, section) }

func TestKinds(t *testing.T) {
	opens := opener(t)
	for _, k := range allKinds {
		k = k.at(opens)
		t.Run(k.name, func(t *testing.T) {
			why := ""
			if at := kernelVersion(t); at.before(k.since) {
				why = fmt.Sprintf("it needs Linux %s, this is %s", k.since, at)
			} else if k.lacks != nil && (!vm.Inside() || k.name == "perf_event cpu-cycles") {
				why = k.lacks() // of the machines only the processor lacks anything
			}
			if why != "" {
				residue.Check(t)
				k.refused(t)
				t.Skip(why)
			}
			k.run(t, k)
		})
	}
}

// The function that opens files, until Linux 6.18 and after it.
const oldOpener, newOpener = "do_filp_open", "do_file_open"

// opener is what it is called on this kernel.
func opener(t testing.TB) string {
	t.Helper()
	symbols, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(symbols), " "+oldOpener+"\n") {
		return oldOpener
	}
	return newOpener
}

// at is the kind on a kernel whose function that opens files is called so.
func (k kind) at(opener string) kind {
	k.prefix = strings.ReplaceAll(k.prefix, oldOpener[:len(oldOpener)-1], opener[:len(opener)-1])
	return k
}

// refused checks that what this kernel cannot do is said.
func (k kind) refused(t *testing.T) {
	o := k.object(t)
	s, err := loader().Load(t.Context(), o, manifest(t, o, program.Options{Interface: "lo"}))
	if err == nil {
		_, err = s.Attach(t.Context())
		err = errors.Join(err, s.Close())
	}
	var load *probe.LoadError
	var attach *probe.AttachError
	if !errors.As(err, &load) && !errors.As(err, &attach) {
		t.Fatalf("error %v, want one that says why it cannot be loaded or attached", err)
	}
	t.Log(err)
}

func (v version) before(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func kernelVersion(t testing.TB) (v version) {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &v.major, &v.minor); err != nil {
		t.Fatal(err)
	}
	return v
}

func lacksKprobes() string {
	for _, f := range []string{"/sys/bus/event_source/devices/kprobe", "/sys/kernel/tracing/kprobe_events"} {
		if _, err := os.Stat(f); err == nil {
			return ""
		}
	}
	return "this kernel is built without kprobes"
}

// lacksTrampolines says whether the kernel refuses programs at functions before
// it looks at them.
func lacksTrampolines() string {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.Tracing,
		AttachType:   ebpf.AttachTraceFEntry,
		AttachTo:     "do_filp_open",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "GPL",
	})
	if errors.Is(err, unix.EPERM) {
		return "this host forbids programs at functions (EPERM)"
	}
	if err == nil {
		p.Close()
	}
	return ""
}

func lacksCounters() string {
	for _, name := range []string{"cpu", "cpu_core", "armv8_pmuv3_0"} {
		if _, err := os.Stat("/sys/bus/event_source/devices/" + name); err == nil {
			return ""
		}
	}
	return "this machine gives the kernel no counters of its processor"
}

// source is the text of a kind's program.
func (k kind) source() (string, error) {
	text, err := os.ReadFile(filepath.Join("testdata", k.file))
	return k.prefix + string(text), err
}

// inVM is where a file of the host is put in a machine.
func (k kind) inVM() string {
	return fmt.Sprintf("/objects/%x.o", sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%v", k.prefix, k.file, k.perf)))
}

const targetInVM = "/kgent-target"

// object is the kind's program: compiled here, or brought along.
func (k kind) object(t testing.TB) *program.Object {
	t.Helper()
	if !vm.Inside() {
		return k.made(t)
	}
	elf, err := os.ReadFile(k.inVM())
	if err != nil {
		t.Fatal(err)
	}
	o, err := program.Parse(elf)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// loader is one for all kinds: reading the kernel's types takes longest.
var loader = sync.OnceValue(func() *probe.Loader {
	return probe.NewLoader(probe.Options{Cgroups: cgroupMount(), Follow: 50 * time.Millisecond})
})

// cgroupMount is where cgroup2 is mounted; "" if it is not.
func cgroupMount() string {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	return ""
}

// start loads and attaches the kind's program, checks the hooks as found, and
// reads its events.
func (k kind) start(t *testing.T, opt program.Options, hooks ...string) *reading {
	t.Helper()
	return k.startWith(t, loader(), opt, hooks...)
}

func (k kind) startWith(t *testing.T, l *probe.Loader, opt program.Options, hooks ...string) *reading {
	t.Helper()
	residue.Check(t)
	o := k.object(t)
	s := load(t, l, o, manifest(t, o, opt))
	got := attach(t, s)
	if len(got) != len(hooks) {
		t.Fatalf("hooks %q, want %q", got, hooks)
	}
	for i := range got {
		if ok, err := filepath.Match(hooks[i], got[i]); err != nil || !ok && hooks[i] != got[i] {
			t.Errorf("hook %q, want %q", got[i], hooks[i])
		}
	}
	return drain(t, s)
}

func self() map[string]string { return map[string]string{"pid": fmt.Sprint(os.Getpid())} }

// one returns the only event that satisfies ok.
func one(t *testing.T, all []record, what string, ok func(record) bool) {
	t.Helper()
	if n := count(all, ok); n != 1 {
		t.Errorf("%d events of %s, want 1, among %d", n, what, len(all))
	}
}

// badDirectory is a descriptor that nobody has open, in a directory's place.
const badDirectory = 0x5b1234

// open fails, after do_filp_open was called with the descriptor.
func open(t *testing.T) {
	t.Helper()
	if fd, err := unix.Openat(badDirectory, "x", unix.O_RDONLY, 0); err != unix.EBADF {
		t.Fatalf("opened: %d, %v", fd, err)
	}
}

// setNice asks for the nice value of this thread. A change that is no change is
// asked for like any other.
func setNice(nice int) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, nice) }

func tryCall(t *testing.T, k kind) {
	where := strings.Split(k.prefix, `"`)[1]
	r := k.start(t, program.Options{Constants: self()}, strings.Replace(where, "/", " ", 1))
	open(t)
	r.until("the call", func(all []record) bool {
		return slices.ContainsFunc(all, func(e record) bool { return e.u32(4) == badDirectory })
	})
	all, _ := r.finish()
	one(t, all, "the call", func(e record) bool { return e.u32(0) == uint32(os.Getpid()) && e.u32(4) == badDirectory })
	open(t)
	if n := len(r.seen()); n != len(all) {
		t.Errorf("%d events after detaching", n-len(all))
	}
}

// tryMissed has one program make the kernel call the function that another one is on, which
// the kernel then does not run. It is counted since Linux 6.7, and before that said not to be.
func tryMissed(t *testing.T, k kind) {
	r := k.start(t, program.Options{Constants: self()}, "kprobe* copy_from_user_nofault*", "kprobe do_fil?_open")
	const opens = 5
	for range opens {
		open(t)
	}
	opened := func(e record) bool { return e.u32(4) == badDirectory }
	r.until("the calls", func(all []record) bool { return count(all, opened) == opens })
	all, _ := r.finish()
	if n := count(all, func(e record) bool { return e.u32(4) == 0xb0 }); n != 0 {
		t.Errorf("the program that is to be left out ran %d times", n)
	}
	o := r.s.Overhead()
	counted := !kernelVersion(t).before(version{6, 7})
	if o.MissedUnknown == counted {
		t.Errorf("it says %v of not knowing all that is missed", o.MissedUnknown)
	}
	if counted && o.Missed < opens {
		t.Errorf("%d runs were missed, want %d", o.Missed, opens)
	}
	t.Logf("%d missed", o.Missed)
}

func count(all []record, ok func(record) bool) (n int) {
	for _, e := range all {
		if ok(e) {
			n++
		}
	}
	return n
}

func failed(e record) bool { return int64(e.u64(8)) == -int64(unix.EBADF) }

func tryReturn(t *testing.T, k kind) {
	where := strings.Split(k.prefix, `"`)[1]
	hook := strings.Replace(where, "/", " ", 1)
	if strings.Contains(where, ".multi") {
		hook += " (1 functions*"
	}
	r := k.start(t, program.Options{Constants: self()}, hook)
	open(t)
	r.until("the return", func(all []record) bool { return slices.ContainsFunc(all, failed) })
	all, _ := r.finish()
	one(t, all, "the return", failed)
}

func tryMulti(t *testing.T, k kind) {
	multi(t, k, loader(), "kprobe.multi do_fil?_open,security_task_setnice (2 functions*")
}

func tryPattern(t *testing.T, k kind) {
	r := k.start(t, program.Options{Constants: self()}, "kprobe.multi do_fil?_ope[?] (1 functions*")
	open(t)
	opened := func(e record) bool { return e.u32(4) == badDirectory }
	r.until("the call", func(all []record) bool { return slices.ContainsFunc(all, opened) })
	all, _ := r.finish()
	one(t, all, "the call", opened)
}

func tryMultiOld(t *testing.T, k kind) {
	multi(t, k, loader().Old(), "kprobe.multi do_fil?_open,security_task_setnice (2 functions, one by one: this kernel has no kprobe_multi)")
}

func multi(t *testing.T, k kind, l *probe.Loader, hook string) {
	r := k.startWith(t, l, program.Options{Constants: self()}, hook)
	opened := func(e record) bool { return e.u32(4) == badDirectory }
	nicer := func(e record) bool { return int32(e.u64(8)) == 0 && !opened(e) }
	open(t)
	if err := setNice(0); err != nil {
		t.Fatal(err)
	}
	r.until("both functions", func(all []record) bool {
		return slices.ContainsFunc(all, opened) && slices.ContainsFunc(all, nicer)
	})
	all, _ := r.finish()
	one(t, all, "do_filp_open", opened)
}

func trySession(t *testing.T, k kind) {
	r := k.start(t, program.Options{Constants: self()}, "kprobe.session do_fil?_open (1 functions)")
	open(t)
	called := func(e record) bool { return e.u32(4) == badDirectory && !failed(e) }
	r.until("call and return", func(all []record) bool {
		return slices.ContainsFunc(all, failed) && slices.ContainsFunc(all, called)
	})
	all, _ := r.finish()
	one(t, all, "the return", failed)
}

// tryDecision attaches what can refuse an operation, and sees it refuse.
func tryDecision(t *testing.T, k kind) {
	where := strings.Split(k.prefix, `"`)[1]
	r := k.start(t, program.Options{Constants: self()}, strings.Replace(where, "/", " ", 1))
	if err := setNice(13); err != unix.EACCES {
		t.Errorf("what the program refuses gives %v, want %v", err, unix.EACCES)
	}
	if err := setNice(0); err != nil {
		t.Errorf("what it does not refuse gives %v", err)
	}
	r.wait(2)
	all, _ := r.finish()
	one(t, all, "the refusal", func(e record) bool { return int64(e.u64(8)) == 13 })
}

func tryTracepoint(t *testing.T, k kind) {
	residue.Check(t)
	o := k.object(t)
	// close of a descriptor number nobody has open.
	mark := newMark()
	s := load(t, loader(), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	hooks := attach(t, s)
	if want := []string{"tracepoint syscalls:sys_enter_close"}; !slices.Equal(hooks, want) {
		t.Errorf("hooks %q, want %q", hooks, want)
	}
	r := drain(t, s)
	for range 3 {
		_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(mark), 0, 0)
	}
	r.wait(3)
	all, _ := r.finish()
	for _, e := range all {
		if e.u32(0) != uint32(os.Getpid()) || e.u64(8) != mark {
			t.Errorf("event % x: not of this process's close(%d)", e.raw, mark)
		}
	}
	if len(all) != 3 {
		t.Errorf("%d events, want 3", len(all))
	}
}

func tryTPBTF(t *testing.T, k kind) {
	residue.Check(t)
	o := k.object(t)
	mark := newMark()
	s := load(t, loader(), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	if got, want := attach(t, s), "tp_btf sys_enter"; len(got) != 1 || got[0] != want {
		t.Errorf("hooks %q, want %q", got, want)
	}
	r := drain(t, s)
	for n := range uint64(5) {
		call(mark, n)
	}
	r.wait(5)
	all, counts := r.finish()
	for i, e := range all {
		if e.u64(8) != uint64(i) || e.u32(0) != uint32(os.Getpid()) {
			t.Errorf("event %d: % x", i, e.raw)
		}
		if e.u32(4) != uint32(os.Getpid()) {
			t.Errorf("kgent_self is %d, want this process, %d", e.u32(4), os.Getpid())
		}
	}
	if counts != (probe.Counts{Produced: 5}) {
		t.Errorf("counts %+v, want 5 produced and nothing lost", counts)
	}
}

// Two rings are two streams, told apart by their number.
func tryRawTracepoint(t *testing.T, k kind) {
	residue.Check(t)
	o := k.object(t)
	mark := newMark()
	s := load(t, loader(), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
	if got := s.Streams(); !slices.Equal(got, []string{"enters", "leaves"}) {
		t.Fatalf("streams %q", got)
	}
	if got, want := attach(t, s), []string{"raw_tracepoint sys_enter", "raw_tracepoint sys_exit"}; !slices.Equal(got, want) {
		t.Errorf("hooks %q, want %q", got, want)
	}
	r := drain(t, s)
	const calls = 10
	for n := range uint64(calls) {
		call(mark, n)
	}
	r.wait(2 * calls)
	all, _ := r.finish()
	var byStream [2][]uint64
	for _, e := range all {
		byStream[e.stream] = append(byStream[e.stream], e.u64(8))
	}
	for i, got := range byStream {
		// A signal's return is the return of a system call, too, with the registers
		// of the one before it.
		got = slices.Compact(got)
		if len(got) != calls || !slices.IsSorted(got) {
			t.Errorf("stream %d has %v, want 0 to %d in order", i, got, calls-1)
		}
	}
}

func tryIter(t *testing.T, k kind) {
	residue.Check(t)
	o := k.object(t)
	s := load(t, loader(), o, manifest(t, o, program.Options{Constants: map[string]string{"pid": fmt.Sprint(os.Getpid())}}))
	if err := s.Iterate(t.Context(), func([]byte) { t.Error("a line before the program is attached") }); err != nil {
		t.Fatal(err)
	}
	if got, want := attach(t, s), []string{"iter task"}; !slices.Equal(got, want) {
		t.Errorf("hooks %q, want %q", got, want)
	}
	r := drain(t, s)
	for round := range 2 {
		var lines []string
		if err := s.Iterate(t.Context(), func(line []byte) { lines = append(lines, string(line)) }); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%d %d", os.Getpid(), os.Getpid())
		if !slices.Contains(lines, want) {
			t.Errorf("round %d: lines %q lack %q", round, lines, want)
		}
		for _, l := range lines {
			if !strings.HasPrefix(l, fmt.Sprint(os.Getpid(), " ")) {
				t.Errorf("round %d: line %q is of another process", round, l)
			}
		}
		r.until("an event for each line", func(all []record) bool { return len(all) >= len(lines) })
	}
	r.finish()
}

func tryUser(t *testing.T, k kind) { user(t, k, loader()) }

func tryUserOld(t *testing.T, k kind) { user(t, k, loader().Old()) }

func user(t *testing.T, k kind, l *probe.Loader) {
	path := targetInVM
	if !vm.Inside() {
		path = target(t)
	}
	l = l.Resolving(func(name string) (string, error) {
		if name != "kgent-target" {
			return "", fmt.Errorf("asked for %q", name)
		}
		return path, nil
	})
	said := ""
	if !l.UprobeMulti() {
		said = " (this kernel has no uprobe_multi)"
	}
	r := k.startWith(t, l, program.Options{},
		"uprobe "+path+":work"+said,
		"usdt "+path+":kgent:guarded"+said,
		"usdt "+path+":kgent:plain"+said,
		"uretprobe "+path+":work"+said)
	const calls = 20
	cmd := exec.Command(path, fmt.Sprint(calls))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != fmt.Sprint(calls*1000+calls*(calls+1)/2) {
		t.Errorf("the probed program computed %s", got)
	}
	r.wait(4 * calls)
	all, _ := r.finish()
	hits := map[uint32][]uint64{}
	for _, e := range all {
		if e.u32(0) == uint32(cmd.Process.Pid) {
			hits[e.u32(4)] = append(hits[e.u32(4)], e.u64(8))
		}
	}
	for where, name := range map[uint32]string{1: "uprobe", 2: "uretprobe", 3: "usdt", 4: "usdt with a counter"} {
		if len(hits[where]) != calls {
			t.Errorf("%s: %d hits, want %d", name, len(hits[where]), calls)
		}
	}
	for i := range calls {
		if hits[1][i] != uint64(i+1) || hits[2][i] != uint64(i+1+1000) {
			t.Errorf("call %d: argument %d, result %d", i, hits[1][i], hits[2][i])
		}
	}
	// Detached, the counter is back at zero: the guarded probe is skipped and
	// the program runs as before.
	if out, err := exec.Command(path, "3").Output(); err != nil || strings.TrimSpace(string(out)) != "3006" {
		t.Errorf("after detaching: %q, %v", out, err)
	}
}

func tryPerfEvent(t *testing.T, k kind) {
	residue.Check(t)
	o := k.object(t)
	s := load(t, loader(), o, manifest(t, o, program.Options{Constants: map[string]string{"pid": fmt.Sprint(os.Getpid())}, Hz: 499}))
	got := attach(t, s)
	if len(got) != 1 || !strings.HasPrefix(got[0], "perf_event cpu-clock at 499 Hz on ") {
		t.Errorf("hooks %q", got)
	}
	// Burn CPU until a sample with both stacks has been taken.
	deadline := time.Now().Add(patience)
	for {
		for n := range uint64(1 << 16) {
			call(1, n)
		}
		cells, err := s.Cells("samples")
		if err != nil {
			t.Fatal(err)
		}
		if sampled(t, s, cells) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no sample with both stacks after %v; %d cells", patience, len(cells))
		}
	}
	if _, err := s.Stack(-int32(unix.EFAULT)); !errors.Is(err, probe.ErrNoStack) || !errors.Is(err, unix.EFAULT) {
		t.Errorf("a failed stack: %v", err)
	}
	if _, err := s.Stack(1 << 30); !errors.Is(err, probe.ErrNoStack) {
		t.Errorf("an unknown stack: %v", err)
	}
}

// sampled looks for a cell of this process whose stacks can be resolved and
// hold code of the test binary.
func sampled(t *testing.T, s *probe.Set, cells []probe.Cell) bool {
	for _, c := range cells {
		key := record{raw: c.Key}
		if key.u32(0) != uint32(os.Getpid()) {
			t.Fatalf("a sample of process %d", key.u32(0))
		}
		if int32(key.u32(4)) < 0 || int32(key.u32(8)) < 0 {
			continue // interrupted in user code, or without frame pointers
		}
		kernel, err := s.Stack(int32(key.u32(4)))
		if err != nil {
			t.Fatal(err)
		}
		user, err := s.Stack(int32(key.u32(8)))
		if err != nil {
			t.Fatal(err)
		}
		inKernel := len(kernel) > 0 && kernel[0] > 1<<63
		inGo := slices.ContainsFunc(user, func(pc uint64) bool { return runtime.FuncForPC(uintptr(pc)) != nil })
		if inKernel && inGo {
			return true
		}
	}
	return false
}

// send sends a UDP packet whose IP length is length to an address.
func send(t *testing.T, addr string, length int) {
	t.Helper()
	c, err := net.Dial("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, length-28)); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(err)
	}
}

// oddLength is a packet length that nobody else sends in a cgroup or a network of this process.
func oddLength() int { return 600 + os.Getpid()%600 }

func tryXDPGeneric(t *testing.T, k kind) {
	if !alone(t) {
		return
	}
	n := oddLength()
	r := k.start(t, program.Options{Interface: "lo", Constants: map[string]string{"length": fmt.Sprint(n)}}, "xdp lo (generic)")
	send(t, "127.0.0.1:9", n)
	r.wait(1)
	r.finish()
}

// veth makes a pair of connected interfaces.
func veth(t *testing.T) (string, string) {
	t.Helper()
	a, b := fmt.Sprintf("kgta%d", os.Getpid()%100000), fmt.Sprintf("kgtb%d", os.Getpid()%100000)
	if err := probe.AddVeth(a, b); err != nil {
		t.Fatalf("making a pair of interfaces: %v", err)
	}
	t.Cleanup(func() {
		if err := probe.DeleteInterface(a); err != nil {
			t.Errorf("removing the pair of interfaces: %v", err)
		}
	})
	for _, name := range []string{a, b} {
		// There is nobody to talk to.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := probe.InterfaceUp(name); err != nil {
			t.Fatalf("switching on %s: %v", name, err)
		}
	}
	return a, b
}

// sendFrame sends an Ethernet frame of an experimental type out of an
// interface.
func sendFrame(t *testing.T, name string, payload int) {
	t.Helper()
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	frame := make([]byte, 14+payload)
	copy(frame, "\xff\xff\xff\xff\xff\xff")
	copy(frame[6:], ifc.HardwareAddr)
	copy(frame[12:], "\x88\xb5")
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifc.Index, Halen: 6}); err != nil {
		t.Fatal(err)
	}
}

func tryXDPNative(t *testing.T, k kind) {
	a, b := veth(t)
	residue.Check(t)
	o := k.object(t)
	l := loader()
	m := manifest(t, o, program.Options{Interface: b, Constants: map[string]string{"length": "777"}})
	s := load(t, l, o, m)
	if got, want := attach(t, s), []string{"xdp " + b + " (native)"}; !slices.Equal(got, want) {
		t.Errorf("hooks %q, want %q", got, want)
	}
	r := drain(t, s)
	// Frames sent before the interface has noticed its carrier are dropped.
	r.until("a frame", func(all []record) bool {
		sendFrame(t, a, 777)
		return len(all) > 0
	})

	// One XDP program at a time: the second is told so.
	second := load(t, l, o, m)
	wantAttachError(t, second, "another XDP program is attached to "+b+" already")
	r.finish()
}

func tryTCX(t *testing.T, k kind) {
	if !alone(t) {
		return
	}
	where := [2]string{"(before other programs)", "(after other programs)"}
	if kernelVersion(t).before(version{6, 6}) {
		where = clsact
	}
	traffic(t, k, loader(), where)
}

var clsact = [2]string{"(before other filters of clsact: this kernel has no tcx)", "(after other filters of clsact: this kernel has no tcx)"}

func tryClsact(t *testing.T, k kind) {
	if !alone(t) {
		return
	}
	traffic(t, k, loader().Old(), clsact)
	for _, left := range filtersOn(t, "lo") {
		t.Errorf("filter %s is left", left)
	}
}

func filtersOn(t *testing.T, name string) []string {
	t.Helper()
	all, err := probe.Filters(name)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func traffic(t *testing.T, k kind, l *probe.Loader, where [2]string) {
	n := oddLength()
	r := k.startWith(t, l, program.Options{Interface: "lo", Constants: map[string]string{"length": fmt.Sprint(n)}}, "tcx/ingress lo "+where[0], "tcx/egress lo "+where[1])
	send(t, "127.0.0.1:9", n)
	r.wait(2)
	all, _ := r.finish()
	if len(all) != 2 || all[0].u32(4)+all[1].u32(4) != 1 {
		t.Errorf("events %v, want one of each direction", all)
	}
}

func trySocketFilter(t *testing.T, k kind) {
	if !alone(t) {
		return
	}
	n := oddLength()
	r := k.start(t, program.Options{Interface: "lo", Constants: map[string]string{"length": fmt.Sprint(n)}}, "socket lo")
	send(t, "127.0.0.1:9", n)
	r.wait(2) // sent and received
	all, _ := r.finish()
	if len(all) != 2 || all[0].u32(4) != uint32(n) {
		t.Errorf("events %v, want two of %d bytes", all, n)
	}
}

// workEnv makes a re-executed test binary do something in a cgroup: its
// directory, a network, an address, and how much to send.
const workEnv = "KGENT_PROBE_TEST_WORK"

func workInCgroup(arg string) error {
	part := strings.Split(arg, ",")
	if err := os.WriteFile(filepath.Join(part[0], "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	c, err := net.Dial(part[1], part[2])
	if err != nil {
		return err
	}
	defer c.Close()
	size, err := strconv.Atoi(part[3])
	if err == nil {
		_, err = c.Write(make([]byte, size))
	}
	return err
}

// workIn does it and waits for the end.
func workIn(t *testing.T, dir, network, address string, size int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s,%s,%s,%d", workEnv, dir, network, address, size))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// newCgroup makes a cgroup, and returns its name and its directory.
func newCgroup(t *testing.T) (name, dir string) {
	t.Helper()
	return cgroupCalled(t, fmt.Sprintf("kgent-probe-test-%d", os.Getpid()))
}

func cgroupCalled(t *testing.T, name string) (_, dir string) {
	t.Helper()
	dir = filepath.Join(cgroupMount(), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return name, dir
}

func tryCgroup(t *testing.T, k kind) {
	name, dir := newCgroup(t)
	inCgroup(t, k, name, dir, dir)
}

// tryContainer attaches to a cgroup that is named as a container.
func tryContainer(t *testing.T, k kind) {
	id := fmt.Sprintf("%064x", newMark())
	_, dir := cgroupCalled(t, "docker-"+id+".scope")
	inCgroup(t, k, "container:"+id, dir, dir+" (container "+id[:12]+")")
}

func inCgroup(t *testing.T, k kind, target, dir, said string) {
	n := oddLength()
	r := k.start(t, program.Options{Cgroup: target, Constants: map[string]string{"length": fmt.Sprint(n)}},
		"cgroup/connect4 "+said, "cgroup_skb/ingress "+said, "cgroup_skb/egress "+said)
	ln, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.LocalAddr().(*net.UDPAddr).Port
	workIn(t, dir, "udp4", ln.LocalAddr().String(), n-28)
	// Outside of it: nothing of this is seen.
	send(t, ln.LocalAddr().String(), n)

	r.wait(2)
	all, _ := r.finish()
	got := map[uint32]uint32{}
	for _, e := range all {
		got[e.u32(0)] = e.u32(4)
	}
	if len(all) != 2 || got[2] != uint32(n) || got[3] != uint32(port) {
		t.Errorf("events %v, want an egress packet of %d bytes and a connect to port %d", got, n, port)
	}
}

func trySockAddr(t *testing.T, k kind) {
	name, dir := newCgroup(t)
	r := k.start(t, program.Options{Cgroup: name}, "cgroup/bind4 "+dir, "cgroup/connect4 "+dir, "cgroup/sendmsg4 "+dir)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	workIn(t, dir, "tcp4", ln.Addr().String(), 1)
	r.wait(1)
	all, _ := r.finish()
	if port := ln.Addr().(*net.TCPAddr).Port; len(all) != 1 || all[0].u32(4) != 1 || all[0].u64(8) != uint64(port) {
		t.Errorf("events %v, want a connect to port %d", all, port)
	}
}

func trySockOps(t *testing.T, k kind) {
	name, dir := newCgroup(t)
	r := k.start(t, program.Options{Cgroup: name}, "sockops "+dir)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	workIn(t, dir, "tcp4", ln.Addr().String(), 1)
	const connectCB, establishedCB = 3, 4 // BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
	port := uint64(ln.Addr().(*net.TCPAddr).Port)
	saw := func(op uint32) func(record) bool {
		return func(e record) bool { return e.u32(4) == op && e.u64(8) == port }
	}
	r.until("the connection", func(all []record) bool { return slices.ContainsFunc(all, saw(establishedCB)) })
	all, _ := r.finish()
	one(t, all, "the connect", saw(connectCB))
	one(t, all, "the connection", saw(establishedCB))
}

func tryPageFaults(t *testing.T, k kind) {
	r := k.start(t, program.Options{Constants: self()}, "perf_event page-faults at 1000 Hz on *")
	r.until("a page fault", func(all []record) bool {
		b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(b)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return len(all) > 0
	})
	r.finish()
}

func tryCycles(t *testing.T, k kind) {
	r := k.start(t, program.Options{Constants: self()}, "perf_event cpu-cycles at 1000 Hz on *")
	r.until("a sample", func(all []record) bool {
		flood(1, 1<<12, 1)
		return len(all) > 0
	})
	r.finish()
}

// shortKinds are those that hosts most often lack, and so are tried elsewhere
// every time.
var shortKinds = []string{
	"kprobe",
	"kretprobe",
	"kprobe_multi",
	"kprobe_multi missed",
	"kprobe_session",
	"kprobe by perf buffers",
	"fentry by perf buffers",
	"fentry",
	"fexit",
	"fmod_ret",
	"lsm",
	"clsact",
}

// inResults is the kind's name as the results of tests have it.
func (k kind) inResults() string { return strings.ReplaceAll(k.name, " ", "_") }

// What TestKinds does, on another kernel: some of it on one of Debian's that has
// every kind, and with KGENT_VM_SUITES all of it on the kernels of the releases
// that it names.
func TestKindsElsewhere(t *testing.T) {
	if vm.Inside() {
		t.Skip("this is a machine already")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("machines are tried on amd64 only")
	}
	suites := []string{"trixie"}
	tried := shortKinds
	if all := os.Getenv("KGENT_VM_SUITES"); all != "" {
		suites, tried = strings.Fields(all), nil
	}
	m := vm.Machine{
		Program: staticTest(t),
		Args:    []string{"-test.v", "-test.timeout=10m"},
		Files:   map[string]string{targetInVM: target(t, "-static")},
		Modules: []string{"veth", "sch_ingress", "cls_bpf"},
	}
	var which []string
	var chosen []kind
	for _, k := range allKinds {
		if tried != nil && !slices.Contains(tried, k.name) {
			continue
		}
		chosen, which = append(chosen, k), append(which, k.inResults())
		m.Files[k.inVM()] = k.compiled(t)
		if k := k.at(newOpener); slices.Contains(suites, "trixie-backports") {
			m.Files[k.inVM()] = k.compiled(t)
		}
	}
	m.Args = append(m.Args, "-test.run=^(TestKinds|TestSweepEvents)$/^("+strings.Join(which, "|")+")$")
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			m := m
			var err error
			if m.Kernel, err = vm.Debian(t.Context(), suite); err != nil {
				t.Fatal(err)
			}
			elsewhere(t, m, chosen)
		})
	}
}

// made compiles the kind's program.
func (k kind) made(t testing.TB) *program.Object {
	t.Helper()
	text, err := k.source()
	if err != nil {
		t.Fatal(err)
	}
	if k.perf {
		return programtest.PerfObject(t, text)
	}
	return programtest.Object(t, text)
}

// compiled is the file of the kind's program.
func (k kind) compiled(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "object")
	if err := os.WriteFile(file, k.made(t).ELF(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func elsewhere(t *testing.T, m vm.Machine, chosen []kind) {
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	var out bytes.Buffer
	began := time.Now()
	code, err := m.Run(ctx, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	ended := map[string]vm.Result{}
	for _, r := range vm.Results(out.String()) {
		ended[r.Test] = r
	}
	for _, k := range chosen {
		r, ok := ended["TestKinds/"+k.inResults()]
		t.Run(k.name, func(t *testing.T) {
			switch {
			case !ok:
				t.Error("it was not tried")
			case r.Status == "FAIL":
				t.Error(r.Said)
			case r.Status == "SKIP":
				t.Skip(r.Said)
			}
		})
	}
	if r := ended["TestSweepEvents"]; r.Status != "PASS" {
		t.Errorf("sweeping tracefs ended %q: %s", r.Status, r.Said)
	}
	if (code != 0) != t.Failed() {
		t.Errorf("the tests ended with %d\n%s", code, &out)
	}
	t.Logf("Linux %s: %v", m.Kernel.Release, time.Since(began).Round(100*time.Millisecond))
}

// staticTest builds this test binary once more, for a machine without any
// library and without the race detector. It links what the build cache has.
func staticTest(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test")
	out, err := exec.Command("go", "test", "-c", "-o", path, "-ldflags=-s -w -linkmode external -extldflags -static", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("building the test for a machine: %v\n%s", err, out)
	}
	return path
}

package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

func TestTracepoint(t *testing.T) {
	residue.Check(t)
	o := object(t, "tracepoint.bpf.c", "")
	// close of a descriptor number nobody has open.
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
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

func TestTPBTF(t *testing.T) {
	residue.Check(t)
	o := object(t, "tp_btf.bpf.c", "")
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
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
func TestRawTracepointTwoStreams(t *testing.T) {
	residue.Check(t)
	o := object(t, "raw_tp.bpf.c", "")
	mark := newMark()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"mark": utoa(mark)}}))
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
		if len(got) != calls || !slices.IsSorted(got) {
			t.Errorf("stream %d has %v, want 0 to %d in order", i, got, calls-1)
		}
	}
}

func TestIter(t *testing.T) {
	residue.Check(t)
	o := object(t, "iter.bpf.c", "")
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"pid": fmt.Sprint(os.Getpid())}}))
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

// The whole of the process list, to the end.
func TestIterAll(t *testing.T) {
	residue.Check(t)
	o := object(t, "iter.bpf.c", "")
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{}))
	attach(t, s)
	seen := map[string]bool{}
	if err := s.Iterate(t.Context(), func(line []byte) { seen[string(line)] = true }); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{os.Getpid(), os.Getppid()} {
		if !seen[fmt.Sprintf("%d %d", pid, pid)] {
			t.Errorf("process %d is not among the %d seen", pid, len(seen))
		}
	}
}

func TestUser(t *testing.T) {
	path := target(t)
	residue.Check(t)
	o := object(t, "user.bpf.c", "")
	m := manifest(t, o, program.Options{})
	l := probe.NewLoader(probe.Options{Resolve: func(name string) (string, error) {
		if name != "kgent-target" {
			return "", fmt.Errorf("asked for %q", name)
		}
		return path, nil
	}})
	s := load(t, l, o, m)
	want := []string{"uprobe " + path + ":work", "usdt " + path + ":kgent:guarded", "usdt " + path + ":kgent:plain", "uretprobe " + path + ":work"}
	if got := attach(t, s); !slices.Equal(got, want) {
		t.Errorf("hooks %q, want %q", got, want)
	}
	r := drain(t, s)
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

func TestPerfEvent(t *testing.T) {
	residue.Check(t)
	o := object(t, "perf_event.bpf.c", "")
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Constants: map[string]string{"pid": fmt.Sprint(os.Getpid())}, Hz: 499}))
	got := attach(t, s)
	if len(got) != 1 || !strings.HasPrefix(got[0], "perf_event cpu-clock at 499 Hz on ") {
		t.Errorf("hooks %q", got)
	}
	// Burn CPU until a sample with both stacks has been taken.
	deadline := time.Now().Add(20 * time.Second)
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
			t.Fatalf("no sample with both stacks after 20 s; %d cells", len(cells))
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

// oddLength is a packet length that nobody else sends.
func oddLength() int { return 600 + os.Getpid()%600 }

func TestXDPGeneric(t *testing.T) {
	residue.Check(t)
	o := object(t, "xdp.bpf.c", "")
	n := oddLength()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Interface: "lo", Constants: map[string]string{"length": fmt.Sprint(n)}}))
	if got, want := attach(t, s), []string{"xdp lo (generic)"}; !slices.Equal(got, want) {
		t.Errorf("hooks %q, want %q", got, want)
	}
	r := drain(t, s)
	send(t, "127.0.0.1:9", n)
	r.wait(1)
	r.finish()
}

// veth makes a pair of connected interfaces in a network of their own.
func veth(t *testing.T) (string, string) {
	t.Helper()
	a, b := fmt.Sprintf("kgta%d", os.Getpid()%100000), fmt.Sprintf("kgtb%d", os.Getpid()%100000)
	mustRun(t, "ip", "link", "add", a, "type", "veth", "peer", "name", b)
	t.Cleanup(func() { mustRun(t, "ip", "link", "del", a) })
	for _, name := range []string{a, b} {
		mustRun(t, "sysctl", "-q", "-w", "net.ipv6.conf."+name+".disable_ipv6=1")
		mustRun(t, "ip", "link", "set", name, "up")
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

func TestXDPNative(t *testing.T) {
	a, b := veth(t)
	residue.Check(t)
	o := object(t, "xdp.bpf.c", "")
	l := probe.NewLoader(probe.Options{})
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

func TestTCX(t *testing.T) {
	residue.Check(t)
	o := object(t, "tcx.bpf.c", "")
	n := oddLength()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Interface: "lo", Constants: map[string]string{"length": fmt.Sprint(n)}}))
	want := []string{"tcx/ingress lo (before other programs)", "tcx/egress lo (after other programs)"}
	if got := attach(t, s); !slices.Equal(got, want) {
		t.Errorf("hooks %q, want %q", got, want)
	}
	r := drain(t, s)
	send(t, "127.0.0.1:9", n)
	r.wait(2)
	all, _ := r.finish()
	if len(all) != 2 || all[0].u32(4)+all[1].u32(4) != 1 {
		t.Errorf("events %v, want one of each direction", all)
	}
}

// cgroupRoot is where cgroup2 is mounted.
func cgroupRoot(t *testing.T) string {
	t.Helper()
	root := strings.TrimSpace(mustRun(t, "findmnt", "-n", "-o", "TARGET", "-t", "cgroup2"))
	root, _, _ = strings.Cut(root, "\n")
	return root
}

func TestCgroup(t *testing.T) {
	root := cgroupRoot(t)
	name := fmt.Sprintf("kgent-probe-test-%d", os.Getpid())
	dir := filepath.Join(root, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	residue.Check(t)
	o := object(t, "cgroup.bpf.c", "")
	n := oddLength()
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{Cgroup: name, Constants: map[string]string{"length": fmt.Sprint(n)}}))
	want := []string{"cgroup/connect4 " + dir, "cgroup_skb/ingress " + dir, "cgroup_skb/egress " + dir}
	if got := attach(t, s); !slices.Equal(got, want) {
		t.Errorf("hooks %q, want %q", got, want)
	}
	r := drain(t, s)

	// Inside of the cgroup: a socket that sends to itself. bash opens it.
	ln, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.LocalAddr().(*net.UDPAddr).Port
	script := fmt.Sprintf("echo $$ > %s/cgroup.procs; exec 3<>/dev/udp/127.0.0.1/%d; head -c %d /dev/zero >&3; echo $$ > %s/cgroup.procs", dir, port, n-28, root)
	mustRun(t, "bash", "-c", script)
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

// A program that cannot be attached takes down with it those that were.
func TestAttachAllOrNothing(t *testing.T) {
	residue.Check(t)
	o := object(t, "user.bpf.c", "")
	path := target(t)
	// The second of the four programs asks for the binary: by then it is gone.
	asked := 0
	l := probe.NewLoader(probe.Options{Resolve: func(string) (string, error) {
		if asked++; asked == 2 {
			return "", errors.New("it was removed")
		}
		return path, nil
	}})
	s := load(t, l, o, manifest(t, o, program.Options{}))
	_, err := s.Attach(t.Context())
	var attachErr *probe.AttachError
	if !errors.As(err, &attachErr) || attachErr.Program != "guarded" || !strings.Contains(err.Error(), "it was removed") {
		t.Fatalf("error %v, want one of program guarded", err)
	}
	if out, err := exec.Command(path, "3").Output(); err != nil || strings.TrimSpace(string(out)) != "3006" {
		t.Fatalf("the target printed %q, %v", out, err)
	}
	counts, err := s.Counts()
	if err != nil {
		t.Fatal(err)
	}
	if counts.Produced != 0 {
		t.Errorf("%d events: something stayed attached", counts.Produced)
	}
	if _, err := s.Attach(t.Context()); err == nil {
		t.Error("attached a second time")
	}
}

func wantAttachError(t *testing.T, s *probe.Set, want string) {
	t.Helper()
	_, err := s.Attach(t.Context())
	var attachErr *probe.AttachError
	if !errors.As(err, &attachErr) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v\nwant an AttachError with %q", err, want)
	}
}

// hooked returns a program that does nothing, compiled for a section.
func hooked(t *testing.T, section string) *program.Object {
	t.Helper()
	prolog := "BPF_PROG"
	switch {
	case strings.HasPrefix(section, "kret"), strings.HasPrefix(section, "uret"):
		prolog = "BPF_KRETPROBE"
	case strings.HasPrefix(section, "kprobe"), strings.HasPrefix(section, "uprobe"), strings.HasPrefix(section, "usdt"):
		prolog = "BPF_KPROBE"
	}
	return object(t, "kernel.bpf.c", fmt.Sprintf("#define SECTION %q\n#define PROLOG %s\n", section, prolog))
}

// What is missing on the host is said when attaching, with what there is.
func TestAttachMissing(t *testing.T) {
	bin := target(t)
	stripped := filepath.Join(t.TempDir(), "stripped")
	mustRun(t, "strip", "-o", stripped, bin)
	residue.Check(t)
	tests := []struct {
		name, section string
		opt           program.Options
		want          []string
	}{
		{name: "tracepoint", section: "tp/sched/sched_proces_exec", want: []string{"no tracepoint sched:sched_proces_exec", "did you mean sched:sched_process_exec"}},
		{name: "tracepoint category", section: "tp/shed/sched_process_exec", want: []string{"no tracepoint shed:sched_process_exec", "sched:sched_process_exec"}},
		{name: "raw tracepoint", section: "raw_tp/sched_proces_exec", want: []string{"no raw tracepoint sched_proces_exec", "did you mean sched_process_exec"}},
		{name: "interface", section: "xdp", opt: program.Options{Interface: "nosuch0"}, want: []string{"no interface nosuch0; it has", "lo"}},
		{name: "interface tcx", section: "tcx/egress", opt: program.Options{Interface: "nosuch0"}, want: []string{"no interface nosuch0; it has", "lo"}},
		{name: "cgroup", section: "cgroup_skb/ingress", opt: program.Options{Cgroup: "no/such"}, want: []string{"no cgroup /no/such below "}},
		{name: "cgroup/skb", section: "cgroup/skb", want: []string{`write SEC("cgroup_skb/ingress")`}},
		{name: "file", section: "uprobe//no/such:work", want: []string{"no file /no/such"}},
		{name: "bare name", section: "uprobe/bsah:work", want: []string{"its binary was not found", "no program bsah; did you mean", "bash"}},
		{name: "relative path", section: "uprobe/bin/bash:work", want: []string{"a path must be absolute"}},
		{name: "not ELF", section: "uprobe//etc/passwd:work", want: []string{"/etc/passwd cannot be read as an ELF file"}},
		{name: "symbol", section: "uprobe/" + bin + ":wrok", want: []string{"no function wrok", "did you mean work"}},
		{name: "version", section: "uprobe/libc.so.6:getaddrinfo@GLIBC_9", want: []string{"no exported function getaddrinfo@GLIBC_9"}},
		{name: "ifunc", section: "uprobe/" + bin + ":chosen", want: []string{"IFUNC"}},
		{name: "imported", section: "uprobe/" + bin + ":printf", want: []string{"lives in one of its libraries (libc.so.6)"}},
		{name: "stripped", section: "uprobe/" + stripped + ":work", want: []string{"stripped"}},
		{name: "Go", section: "uretprobe/" + os.Args[0] + ":kgent/executor/probe.uncalled", want: []string{"a return probe crashes programs written in Go"}},
		{name: "usdt", section: "usdt/" + bin + ":kgent:plane", want: []string{"no USDT probe kgent:plane", "did you mean kgent:plain"}},
		{name: "no usdt", section: "usdt//usr/bin/true:kgent:plain", want: []string{"which has none at all"}},
		{name: "rate", section: "perf_event", opt: program.Options{Hz: 10_000}},
		{name: "map iterator", section: "iter/bpf_map_elem", want: []string{"elements of one map cannot be run by kgent"}},
	}
	l := probe.NewLoader(probe.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			residue.Check(t)
			o := hooked(t, tt.section)
			s := load(t, l, o, manifest(t, o, tt.opt))
			_, err := s.Attach(t.Context())
			if len(tt.want) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var attachErr *probe.AttachError
			if !errors.As(err, &attachErr) {
				t.Fatalf("error %v, want an AttachError", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
		})
	}
}

// What can be attached to kernel functions depends on the kernel: where it
// can, it must work, and where it cannot, the error must say why.
func TestKernelFunctions(t *testing.T) {
	residue.Check(t)
	kprobes := false
	for _, f := range []string{"/sys/bus/event_source/devices/kprobe", "/sys/kernel/tracing/kprobe_events"} {
		if _, err := os.Stat(f); err == nil {
			kprobes = true
		}
	}
	fentry := false
	for _, f := range probe.Inventory(t.Context()) {
		if f.Kind == program.Fentry {
			fentry = f.OK
		}
	}
	l := probe.NewLoader(probe.Options{})
	for _, tt := range []struct{ section, hook string }{
		{"kprobe/do_filp_open", "kprobe do_filp_open"},
		{"kretprobe/do_filp_open", "kretprobe do_filp_open"},
		{"fentry/do_filp_open", "fentry do_filp_open"},
		{"fexit/do_filp_open", "fexit do_filp_open"},
		{"fmod_ret/security_task_setnice", "fmod_ret security_task_setnice"},
		{"lsm/task_setnice", "lsm task_setnice"},
	} {
		t.Run(tt.hook, func(t *testing.T) {
			residue.Check(t)
			o := hooked(t, tt.section)
			m := manifest(t, o, program.Options{})
			s, err := l.Load(t.Context(), o, m)
			var loadErr *probe.LoadError
			if errors.As(err, &loadErr) {
				// The host forbids the whole program type.
				kind, _, _ := strings.Cut(tt.section, "/")
				if want := "loading program enter: this host forbids " + kind + " programs altogether"; !strings.HasPrefix(err.Error(), want) || !errors.Is(err, unix.EPERM) {
					t.Errorf("error %q, want %q and EPERM", err, want)
				}
				if strings.Contains(err.Error(), "MEMLOCK") {
					t.Errorf("error %q speaks of an unrelated limit", err)
				}
				if b, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil && strings.Contains(string(b), "[integrity]") && !strings.Contains(loadErr.Error(), "kernel lockdown is integrity") {
					t.Errorf("error %q does not name the lockdown", loadErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			hooks, err := s.Attach(t.Context())
			if strings.HasPrefix(tt.section, "k") && !kprobes {
				if err == nil || !strings.Contains(err.Error(), "built without kprobes") {
					t.Errorf("error %v, want one that says kprobes are missing", err)
				}
				if strings.Contains(err.Error(), "use fentry") && !fentry {
					t.Errorf("error %v proposes what this host forbids", err)
				}
				return
			}
			if err != nil || !slices.Equal(hooks, []string{tt.hook}) {
				t.Errorf("hooks %q, %v", hooks, err)
			}
		})
	}
}

func TestAttachContext(t *testing.T) {
	residue.Check(t)
	o := object(t, "tp_btf.bpf.c", "")
	s := load(t, probe.NewLoader(probe.Options{}), o, manifest(t, o, program.Options{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Attach(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

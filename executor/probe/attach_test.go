package probe_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

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

package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
)

func TestCheckHook(t *testing.T) {
	m := newMachine(t)
	f := m.facts()
	for _, hook := range [][2]string{
		{KindTracepoint, "sched:sched_switch"},
		{KindTracepoint, "sched/sched_switch"},
		{KindRawTracepoint, "sched_switch"},
		{KindTPBTF, "sched_switch"},
		{KindKprobe, "do_work"},
		{KindKprobe, "do_work+0x10"},
		{KindKprobe, "wide_args"},
		{KindKretprobe, "do_work"},
		{KindFentry, "do_work"},
		{KindFexit, "do_work"},
		{KindPerfEvent, "cpu-clock"},
		{KindPerfEvent, "cpu-clock@99"},
		{KindXDP, "eth0"},
		{KindTCXIngress, "eth0"},
		{KindTCXEgress, "eth0"},
		{KindCgroupIngress, "/"},
		{KindCgroupIngress, ""},
		{KindCgroupEgress, "/system.slice"},
		{KindCgroup, "system.slice/"},
		{KindCgroup, "/../../../../"}, // the root: nothing leads out of the hierarchy
		{KindFmodRet, "security_work"},
		{KindFmodRet, "do_work"}, // the list is not known
		{KindIter, "task"},
		{KindLSM, "file_open"},
	} {
		if err := f.CheckHook(hook[0], hook[1]); err != nil {
			t.Errorf("%s: %v", hook, err)
		}
	}

	missing := func(err error) bool { e := (*NotFoundError)(nil); return errors.As(err, &e) }
	unsupported := func(err error) bool { return errors.Is(err, ErrNotSupported) }
	ambiguous := func(err error) bool { return errors.Is(err, ErrAmbiguous) }
	malformed := func(err error) bool { return !missing(err) && !unsupported(err) && !ambiguous(err) }
	for _, test := range []struct {
		kind, target string
		is           func(error) bool
		want         string
	}{
		{"kprob", "x", missing, "no hook kind kprob; did you mean kprobe"},
		{"", "", missing, `no hook kind ""`},
		{KindTracepoint, "sched:sched_swich", missing, "did you mean sched:sched_switch?"},
		{KindTracepoint, "sched_switch", missing, "did you mean sched:sched_switch?"},
		{KindTracepoint, "", missing, `no tracepoint ""`},
		{KindTracepoint, "ftrace:function", unsupported, "a record of ftrace itself"},
		{KindTPBTF, "sched:sched_switch", missing, "did you mean sched_switch?"},
		{KindKprobe, "do_wrok", missing, "did you mean do_work?"},
		{KindKprobe, "some_data", missing, "no function some_data"},
		{KindKprobe, "bpf_prog_6deef7357e7b4530", missing, "no function"},
		{KindKprobe, "do_not_trace", unsupported, "excludes this function from tracing"},
		{KindKprobe, "twin", ambiguous, "kernel 6.1.99-test has 2 functions that are called so"},
		{KindKprobe, "do_work+x", malformed, `"x" is not an offset`},
		{KindKretprobe, "do_work+0x10", malformed, "a return probe takes no offset"},
		{KindFentry, "twin", ambiguous, "2 functions"},
		{KindFentry, "do_not_trace", unsupported, "excludes this function"},
		{KindFentry, "gone_by_inlining", unsupported, "the kernel does not have it under this name"},
		{KindFentry, "wide_args", unsupported, "its argument struct wide w is too large to be passed on; use kprobe wide_args"},
		{KindFexit, "wide_result", unsupported, "its result, struct wide, is too large to be passed on; use kretprobe wide_result"},
		{KindFentry, "many_args", unsupported, "it has 13 arguments, of which 12 can be passed on"},
		{KindFentry, "print_all", unsupported, "its number of arguments varies"},
		{KindFentry, "nothing_like_it", missing, "no function nothing_like_it on kernel 6.1.99-test"},
		{KindUprobe, "libc", malformed, "a target looks like"},
		{KindUprobe, ":x", malformed, "a target looks like"},
		{KindUprobe, "libnone:x", missing, "no library libnone"},
		{KindPerfEvent, "cpu_clock", missing, "did you mean cpu-clock"},
		{KindPerfEvent, "cpu-cycles", unsupported, "use cpu-clock"},
		{KindPerfEvent, "cpu-clock@0", malformed, `"0" is not a frequency`},
		{KindPerfEvent, "cpu-clock@", malformed, `"" is not a frequency`},
		{KindPerfEvent, "cpu-clock@1001", unsupported, "perf_event_max_sample_rate is 1000; choose a lower frequency"},
		{KindXDP, "eth1", missing, "no network interface eth1; did you mean eth0?"},
		{KindXDP, "../net/eth0", missing, "no network interface ../net/eth0"},
		{KindXDP, "..", missing, "no network interface .."},
		{KindXDP, "", missing, `no network interface ""`},
		{"tcx", "eth0", missing, "no hook kind tcx; did you mean tcx/"},
		{KindTCXIngress, "eth1", missing, "no network interface eth1; did you mean eth0?"},
		{KindCgroupIngress, "/systm.slice", missing, "no cgroup /systm.slice below /sys/fs/cgroup; did you mean /system.slice?"},
		{KindCgroupEgress, "/system.slice/cgroup.procs", missing, "no cgroup"},
		{KindCgroup, "/sys/fs/cgroup", missing, "no cgroup /sys/fs/cgroup below /sys/fs/cgroup"},
		{KindFmodRet, "do_wrok", missing, "did you mean do_work?"},
		{KindFmodRet, "do_not_trace", unsupported, "excludes this function"},
		{KindUSDT, "libc:setjmp", malformed, "a target looks like"},
		{KindUSDT, "libc::setjmp", malformed, "a target looks like"},
		{KindUSDT, "libnone:a:b", missing, "no library libnone"},
		{KindIter, "tasks", missing, "no iterator tasks on kernel 6.1.99-test; did you mean task?"},
		{KindIter, "run_prog", missing, "no iterator run_prog"},
		{KindIter, "reg_target", missing, "no iterator reg_target"},
		{KindLSM, "file_opn", missing, "no security hook file_opn on kernel 6.1.99-test; did you mean file_open?"},
		{KindLSM, "inner_use", missing, "no security hook inner_use"},
		{KindLSM, "no_function", missing, "no security hook no_function"},
	} {
		err := f.CheckHook(test.kind, test.target)
		switch {
		case err == nil:
			t.Errorf("%s %s passes", test.kind, test.target)
		case !test.is(err) || !strings.Contains(err.Error(), test.want):
			t.Errorf("%s %s\ngot  %v (%T)\nwant %s", test.kind, test.target, err, err, test.want)
		}
	}
}

func TestCheckHookOfOddKernels(t *testing.T) {
	for _, test := range []struct {
		name         string
		do           func(*machine)
		kind, target string
		want         string // empty: it passes
	}{
		{"no kprobes", func(m *machine) { m.remove("/sys/kernel/tracing/kprobe_events") }, KindKprobe, "do_work",
			"kprobe do_work cannot be attached to: kernel 6.1.99-test is built without kprobes (CONFIG_KPROBE_EVENTS); use fentry do_work"},
		{"no kprobes", func(m *machine) { m.remove("/sys/kernel/tracing/kprobe_events") }, KindKretprobe, "do_work", "; use fexit do_work"},
		{"no kprobes, no such function", func(m *machine) { m.remove("/sys/kernel/tracing/kprobe_events") }, KindKprobe, "sched_switches",
			"(CONFIG_KPROBE_EVENTS); the nearest that this kernel has: tracepoint sched:sched_switch, "},
		{"no kprobes, no direct calls either", func(m *machine) { m.remove("/sys/kernel/tracing/kprobe_events") }, KindKprobe, "wide_args", "(CONFIG_KPROBE_EVENTS)"},
		{"kprobes, but no tracefs", func(m *machine) {
			m.remove("/sys/kernel/tracing/kprobe_events")
			m.write("/sys/bus/event_source/devices/kprobe/type", "6\n")
		}, KindKprobe, "do_work", ""},
		{"locked down", func(m *machine) {
			m.write("/sys/kernel/security/lockdown", "none integrity [confidentiality]")
		}, KindKprobe, "do_work", "locked down (confidentiality), which forbids kprobes; use fentry do_work"},
		{"locked down less", func(m *machine) {
			m.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality")
		}, KindKprobe, "do_work", ""},
		{"no uprobes", func(m *machine) { m.remove("/sys/bus/event_source/devices/uprobe") }, KindUprobe, "libc:malloc", "built without uprobes (CONFIG_UPROBE_EVENTS)"},
		{"no list of traceable functions", func(m *machine) {
			m.remove("/sys/kernel/tracing/available_filter_functions")
		}, KindKprobe, "do_not_trace", ""},
		{"no bpf among the security modules", func(m *machine) {
			m.write("/sys/kernel/security/lsm", "lockdown,capability")
		}, KindLSM, "file_open", `the security module "bpf" is not active; boot with lsm=lockdown,capability,bpf`},
		{"unknown security modules", func(m *machine) { m.remove("/sys/kernel/security") }, KindLSM, "file_open", ""},
		{"no cgroup v2", func(m *machine) {
			m.write("/proc/self/mountinfo", "22 20 0:21 / /sys rw - sysfs sysfs rw\n")
		}, KindCgroupIngress, "/", "no cgroup v2 hierarchy is mounted; as root: mount -t cgroup2"},
		{"an unlimited sample rate", func(m *machine) { m.remove("/proc/sys/kernel/perf_event_max_sample_rate") }, KindPerfEvent, "cpu-clock@5000", ""},
		{"no list of interfaces", func(m *machine) { m.remove("/sys/class/net") }, KindXDP, "eth0", "the interfaces are not known"},
		{"no TCX in the kernel's configuration", func(m *machine) {
			m.write("/sys/kernel/btf/vmlinux", string(kernelWithout(m.t, "tcx_prog_attach")))
		}, KindTCXEgress, "eth0", "built without TCX links (CONFIG_NET_XGRESS); use cgroup_skb/egress"},
		{"no iterators", func(m *machine) {
			m.write("/sys/kernel/btf/vmlinux", string(kernelWithout(m.t, "bpf_iter_reg_target")))
		}, KindIter, "task", "too old for iterators (Linux 5.8)"},
		{"counters of x86", func(m *machine) { m.write("/sys/bus/event_source/devices/cpu/type", "4\n") }, KindPerfEvent, "cycles", ""},
		{"counters of ARM", func(m *machine) { m.write("/sys/bus/event_source/devices/armv8_pmuv3_0/type", "8\n") }, KindPerfEvent, "cycles", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			test.do(m)
			err := m.facts().CheckHook(test.kind, test.target)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got  %v\nwant %s", err, test.want)
			case test.want != "" && !errors.Is(err, ErrNotSupported) && !strings.HasSuffix(test.want, "not known"):
				t.Errorf("%v is no ErrNotSupported", err)
			}
		})
	}
}

func TestCheckHookWithoutFunctions(t *testing.T) {
	// This kernel has none of the functions that tell features.
	m := newMachine(t)
	m.write("/sys/kernel/btf/vmlinux", string(emptyKernel(t)))
	f := m.facts()
	for kind, want := range map[string]string{
		KindFentry:        "not able to call programs directly from functions",
		KindFexit:         "not able to call programs directly from functions",
		KindFmodRet:       "not able to call programs directly from functions",
		KindTCXIngress:    "too old for TCX links (Linux 6.6), and built without the filters that could take their place; use xdp",
		KindTCXEgress:     "too old for TCX links (Linux 6.6), and built without the filters that could take their place; use cgroup_skb/egress",
		KindCgroupIngress: "built without CONFIG_CGROUP_BPF",
		KindCgroup:        "built without CONFIG_CGROUP_BPF",
		KindIter:          "too old for iterators",
		KindLSM:           "built without CONFIG_BPF_LSM",
	} {
		err := f.CheckHook(kind, "x")
		if !errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", kind, err, want)
		}
	}
	// BTF alone does not prove that it has not.
	m.remove("/proc/kallsyms")
	if err := m.facts().CheckHook(KindCgroupIngress, "/"); err != nil {
		t.Error(err)
	}
	m.write("/proc/kallsyms", "0 T __cgroup_bpf_run_filter_skb\n")
	if err := m.facts().CheckHook(KindCgroupIngress, "/"); err != nil {
		t.Error(err)
	}
}

func TestCheckHookRefused(t *testing.T) {
	m := newMachine(t)
	m.remove("/sys/kernel/tracing/kprobe_events")
	f := m.facts()
	f.Refused = map[string]string{KindFentry: "the kernel refused to load one (EPERM)"}
	err := f.CheckHook(KindFentry, "do_work")
	if !errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), "the kernel refused to load one (EPERM)") {
		t.Errorf("got %v", err)
	}
	// With neither of the two, a tracepoint is what remains.
	err = f.CheckHook(KindKprobe, "sched_switch_now")
	if err == nil || !strings.Contains(err.Error(), "the nearest that this kernel has: tracepoint sched:sched_switch") {
		t.Errorf("got %v", err)
	}
	hooks, err := f.SearchHooks("do work sched", 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hooks {
		if h.Kind == KindFentry || h.Kind == KindKprobe {
			t.Errorf("found %s %s", h.Kind, h.Target)
		}
	}
	if len(hooks) == 0 {
		t.Error("found nothing")
	}
}

// TestCheckHookTellsTheTruth attaches a program to what CheckHook lets through, and
// tries to where it does not.
func TestCheckHookTellsTheTruth(t *testing.T) {
	f := host(t)
	var hooks [][2]string
	tracepoints, err := f.Tracepoints()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range tracepoints {
		if i%150 == 0 || strings.HasPrefix(name, "ftrace:") || strings.HasPrefix(name, "sched:") {
			hooks = append(hooks, [2]string{KindTracepoint, name})
		}
	}
	// Records of ftrace itself are not listed, but can be looked up.
	hooks = append(hooks, [2]string{KindTracepoint, "ftrace:function"}, [2]string{KindTracepoint, "ftrace:print"})
	raw, err := f.RawTracepoints()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range raw {
		if i%100 == 0 {
			hooks = append(hooks, [2]string{KindRawTracepoint, name}, [2]string{KindTPBTF, name})
		}
	}
	libc, err := f.ResolveBinary("libc")
	if err != nil {
		t.Fatal(err)
	}
	hooks = append(hooks, [][2]string{
		{KindTracepoint, "sched:sched_swich"}, {KindTracepoint, "syscalls:sys_enter_openat"},
		{KindRawTracepoint, "sched:sched_switch"}, {KindRawTracepoint, "sys_enter_openat"}, {KindTPBTF, "sched_swich"},
		{KindKprobe, "tcp_v4_connect"}, {KindKretprobe, "tcp_v4_connect"}, {KindKprobe, "tcp_v4_conect"},
		{KindUprobe, libc + ":getaddrinfo"}, {KindUretprobe, libc + ":getaddrinfo"}, {KindUprobe, libc + ":getaddrinfoo"},
		{KindPerfEvent, "cpu-clock"}, {KindPerfEvent, "page-faults"}, {KindPerfEvent, "cycles"},
		{KindXDP, "lo"}, {KindXDP, "lo7"}, {KindTCXIngress, "lo"}, {KindTCXEgress, "lo"},
		{KindIter, "task"}, {KindIter, "tasks"},
	}...)
	if f.CgroupMount != "" {
		group, err := os.MkdirTemp(f.CgroupMount, "test-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(group)
		name := filepath.Base(group)
		hooks = append(hooks, [2]string{KindCgroupIngress, name}, [2]string{KindCgroupEgress, "/" + name}, [2]string{KindCgroupIngress, name + "-none"})
	}
	passed, refused := 0, 0
	for _, hook := range hooks {
		check := f.CheckHook(hook[0], hook[1])
		attach := inOwnNetwork(t, func() error { return tryHook(t, f, hook[0], hook[1]) })
		if (check == nil) != (attach == nil) {
			t.Errorf("%s: CheckHook says %v, the kernel says %v", hook, check, attach)
		}
		if check == nil {
			passed++
		} else {
			refused++
		}
	}
	if passed < 40 || refused < 5 {
		t.Errorf("%d hooks passed, %d were refused: that shows nothing", passed, refused)
	}
}

// inOwnNetwork calls do where "lo" is an interface that nobody else uses.
func inOwnNetwork(t *testing.T, do func() error) error {
	t.Helper()
	result := make(chan error)
	go func() {
		// The thread ends with the goroutine, since it is not unlocked.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("making a network namespace: %v", err)
		}
		result <- do()
	}()
	return <-result
}

// tryHook attaches a program that does nothing and detaches it again.
func tryHook(t *testing.T, f *Facts, kind, target string) error {
	t.Helper()
	spec := &ebpf.ProgramSpec{
		License:      "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}
	switch kind {
	case KindTracepoint:
		spec.Type = ebpf.TracePoint
	case KindRawTracepoint:
		spec.Type = ebpf.RawTracepoint
	case KindTPBTF:
		spec.Type, spec.AttachType, spec.AttachTo = ebpf.Tracing, ebpf.AttachTraceRawTp, target
	case KindKprobe, KindKretprobe, KindUprobe, KindUretprobe:
		spec.Type = ebpf.Kprobe
	case KindPerfEvent:
		spec.Type = ebpf.PerfEvent
	case KindXDP:
		spec.Type = ebpf.XDP
		spec.Instructions[0] = asm.Mov.Imm(asm.R0, 2) // XDP_PASS
	case KindTCXIngress, KindTCXEgress:
		spec.Type = ebpf.SchedCLS
		spec.Instructions[0] = asm.Mov.Imm(asm.R0, -1) // TCX_NEXT
	case KindCgroupIngress, KindCgroupEgress:
		spec.Type, spec.AttachType = ebpf.CGroupSKB, ebpf.AttachCGroupInetIngress
		if kind == KindCgroupEgress {
			spec.AttachType = ebpf.AttachCGroupInetEgress
		}
		spec.Instructions[0] = asm.Mov.Imm(asm.R0, 1) // let it pass
	case KindIter:
		spec.Type, spec.AttachType, spec.AttachTo = ebpf.Tracing, ebpf.AttachTraceIter, target
	default:
		t.Errorf("no trial for %s", kind)
		return nil
	}
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		return err
	}
	defer program.Close()

	var attached link.Link
	switch kind {
	case KindTracepoint:
		category, name, _ := strings.Cut(target, ":")
		attached, err = link.Tracepoint(category, name, program, nil)
	case KindRawTracepoint:
		attached, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: target, Program: program})
	case KindTPBTF:
		attached, err = link.AttachTracing(link.TracingOptions{Program: program})
	case KindKprobe:
		attached, err = link.Kprobe(target, program, nil)
	case KindKretprobe:
		attached, err = link.Kretprobe(target, program, nil)
	case KindUprobe, KindUretprobe:
		path, symbol, _ := strings.Cut(target, ":")
		binary, err := link.OpenExecutable(path)
		if err != nil {
			return err
		}
		attach := binary.Uprobe
		if kind == KindUretprobe {
			attach = binary.Uretprobe
		}
		l, err := attach(symbol, program, nil)
		if err != nil {
			return err
		}
		return l.Close()
	case KindPerfEvent:
		return tryPerfEvent(program, target)
	case KindXDP, KindTCXIngress, KindTCXEgress:
		text, err := os.ReadFile("/sys/class/net/" + target + "/ifindex")
		if err != nil {
			return err
		}
		index := 0
		for _, c := range strings.TrimSpace(string(text)) {
			index = index*10 + int(c-'0')
		}
		if kind == KindXDP {
			l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: index, Flags: link.XDPGenericMode})
			if err != nil {
				return err
			}
			return l.Close()
		}
		attach := ebpf.AttachTCXIngress
		if kind == KindTCXEgress {
			attach = ebpf.AttachTCXEgress
		}
		l, err := link.AttachTCX(link.TCXOptions{Program: program, Interface: index, Attach: attach})
		if err != nil {
			return err
		}
		return l.Close()
	case KindCgroupIngress, KindCgroupEgress:
		attached, err = link.AttachCgroup(link.CgroupOptions{
			Path: filepath.Join(f.CgroupMount, target), Attach: spec.AttachType, Program: program,
		})
	case KindIter:
		attached, err = link.AttachIter(link.IterOptions{Program: program})
	}
	if err != nil {
		return err
	}
	return attached.Close()
}

// tryPerfEvent opens an event on a CPU and lets a program run on it.
func tryPerfEvent(program *ebpf.Program, event string) error {
	attr := unix.PerfEventAttr{Size: uint32(unix.PERF_ATTR_SIZE_VER1), Sample: 99, Bits: unix.PerfBitFreq}
	switch event {
	case "cpu-clock":
		attr.Type, attr.Config = unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CPU_CLOCK
	case "page-faults":
		attr.Type, attr.Config = unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_PAGE_FAULTS
	case "cycles":
		attr.Type, attr.Config = unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_CPU_CYCLES
	}
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, program.FD())
}

// TestAllIterators checks the rule by which iterators are told from functions that
// serve them, on this kernel.
func TestAllIterators(t *testing.T) {
	f := host(t)
	for _, name := range []string{"task", "task_file", "task_vma", "tcp", "udp", "bpf_map", "bpf_prog", "bpf_link", "cgroup", "netlink", "ipv6_route"} {
		if err := f.CheckHook(KindIter, name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"task_new", "num_new", "run_prog", "attach_task", "reg_target", "tcp_seq_show"} {
		if err := f.CheckHook(KindIter, name); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestCheckFmodRet(t *testing.T) {
	m := newMachine(t)
	m.write("/proc/self/mountinfo", `22 20 0:21 / /sys/kernel/debug rw - debugfs debugfs rw
23 22 0:22 / /sys/kernel/tracing rw - tracefs nodev rw
`)
	f := m.facts()
	if err := f.CheckHook(KindFmodRet, "do_work"); err != nil {
		t.Errorf("without the list: %v", err)
	}
	m.write("/sys/kernel/debug/error_injection/list", "wide_args\tERRNO\nother [mod]\tNULL\n")
	err := f.CheckHook(KindFmodRet, "do_work")
	if !errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), "ALLOW_ERROR_INJECTION") {
		t.Errorf("not in the list: %v", err)
	}
	if err := f.CheckHook(KindFmodRet, "security_work"); err != nil {
		t.Error(err)
	}
	m.write("/sys/kernel/debug/error_injection/list", "do_work [mod]\tERRNO\n")
	if err := f.CheckHook(KindFmodRet, "do_work"); err != nil {
		t.Errorf("in the list: %v", err)
	}
}

func TestUretprobeOfGo(t *testing.T) {
	f := host(t)
	program := goProgram(t)
	if err := f.CheckHook(KindUprobe, program+":main.main"); err != nil {
		t.Error(err)
	}
	err := f.CheckHook(KindUretprobe, program+":main.main")
	if !errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), "a return probe crashes programs written in Go") {
		t.Errorf("got %v", err)
	}
}

func TestKinds(t *testing.T) {
	kinds := Kinds()
	if len(slices.Compact(slices.Sorted(slices.Values(kinds)))) != 24 {
		t.Errorf("kinds are %q", kinds)
	}
	// Every kind has a check: none falls through.
	f := newMachine(t).facts()
	for _, kind := range kinds {
		if err := f.CheckHook(kind, "no such thing"); err == nil || strings.Contains(err.Error(), "no check for this kind") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	// They are those of a manifest.
	for _, kind := range []program.Kind{
		program.Tracepoint, program.RawTracepoint, program.TPBTF, program.Kprobe, program.Kretprobe, program.Fentry, program.Fexit,
		program.FmodRet, program.LSM, program.Iter, program.Uprobe, program.Uretprobe, program.USDT, program.PerfEvent, program.XDP,
		program.TCXIngress, program.TCXEgress, program.CgroupIngress, program.CgroupEgress, program.CgroupSock,
	} {
		if !slices.Contains(kinds, string(kind)) {
			t.Errorf("%s is not among the kinds", kind)
		}
	}
}

func BenchmarkCheckHook(b *testing.B) {
	f := host(b)
	for _, hook := range [][2]string{
		{KindTracepoint, "sched:sched_switch"}, {KindTracepoint, "sched:sched_swich"}, {KindTPBTF, "sched_switch"},
		{KindFentry, "tcp_v4_connect"}, {KindFentry, "tcp_v4_conect"}, {KindUprobe, "libc:getaddrinfo"}, {KindIter, "task"}, {KindLSM, "file_open"},
	} {
		b.Run(hook[0]+"/"+hook[1], func(b *testing.B) {
			_ = f.CheckHook(hook[0], hook[1]) // what is read once is read now
			b.ReportAllocs()
			for b.Loop() {
				_ = f.CheckHook(hook[0], hook[1])
			}
		})
	}
}

func TestFunctions(t *testing.T) {
	m := newMachine(t)
	m.write("/proc/kallsyms", "0 T tcp_open\n0 T tcp_close\n0 t tcp_close.cold\n0 t __pfx_tcp_open\n0 t tcp_twice\n0 t tcp_twice\n0 T tcp_notrace\n0 T udp_open\n0 D tcp_data\n")
	m.write("/sys/kernel/tracing/available_filter_functions", "tcp_open\ntcp_close\ntcp_twice\nudp_open\n")
	f := m.facts()
	for _, test := range []struct{ target, want string }{
		{"tcp_open", "tcp_open"},
		{"udp_open,tcp_*", "tcp_close tcp_open udp_open"},
		{"tcp_open,tcp_o*", "tcp_open"},
		{"tcp_?pen", "tcp_open"},
		{"tcp_opne", "error: no function tcp_opne"},
		{"sctp_*", "error: no function sctp_[*]"},
		{"tcp_notrace", "error: notrace"},
		{"tcp_twice", "error: ambiguous"},
		{"tcp_[", "error: is no pattern"},
		{"", "error: no function"},
	} {
		all, err := f.Functions(KindKprobeMulti, test.target)
		got := strings.Join(all, " ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if want, isError := strings.CutPrefix(test.want, "error: "); isError && (err == nil || !regexp.MustCompile(want).MatchString(got)) || !isError && got != test.want {
			t.Errorf("%s: %s, want %s", test.target, got, test.want)
		}
	}
}

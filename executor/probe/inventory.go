package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/retrieval/kernel"
)

// Feature is one thing that probes need of the kernel, and whether it is
// there.
type Feature struct {
	// Kind is a kind of hook, or one of the Kinds below.
	Kind program.Kind
	OK   bool
	// Why says what is missing when OK is false, in words.
	Why string
}

// What is not a kind of hook, but makes a difference to probes.
const (
	FeatureBTF         program.Kind = "type information" // programs that read kernel structures need it
	FeatureRingBuffer  program.Kind = "ring buffer"      // events go through it, else through perf buffers; Linux 5.8
	FeatureStatistics  program.Kind = "run statistics"   // overhead is measured with it; Linux 5.8
	FeatureUprobeMulti program.Kind = "uprobe_multi"     // uprobes without CAP_SYS_ADMIN; Linux 6.6
	FeatureKprobeMulti program.Kind = "kprobe_multi"     // many functions at once; Linux 5.18
)

// Inventory tries everything that probes need, for real: of each kind of hook
// it loads a program of two instructions, attaches it, and detaches it at once.
// The programs do nothing and let everything pass; of user programs only this
// process's own is probed, in a function nobody calls. What the version of a
// kernel promises and what it does differ too often to go by that.
//
// It takes about half a second, and ends early with ctx.
func Inventory(ctx context.Context) []Feature {
	types := btf.NewCache()
	h := newHost(Options{})
	facts, factsErr := kernel.Live(ctx)
	h.facts = func(context.Context) (*kernel.Facts, error) { return facts, factsErr }
	var out []Feature
	// hook is the kind of hook whose absence would explain a failure.
	add := func(kind, hook program.Kind, try func() error) {
		err := ctx.Err()
		if err == nil {
			err = try()
		}
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
			err = nil // somebody has the place where it was tried: so it works
		}
		if err != nil && factsErr == nil && hook != "" {
			// A missing kind is no matter of the sample's target.
			if objection := facts.CheckHook(string(hook), ""); errors.Is(objection, kernel.ErrNotSupported) {
				err = objected(objection)
			}
		}
		f := Feature{Kind: kind, OK: err == nil}
		if err != nil {
			f.Why = printable(whyNot(err))
		}
		out = append(out, f)
	}
	for _, s := range samples {
		add(s.hook.Kind, s.hook.Kind, func() error { return h.try(ctx, s, types) })
	}
	add(FeatureUprobeMulti, program.Uprobe, func() error {
		multi := h
		multi.uprobeMulti = true
		return multi.try(ctx, sample{hook: program.Hook{Kind: program.Uprobe}, typ: ebpf.Kprobe}, types)
	})
	add(FeatureKprobeMulti, program.Kprobe, tryKprobeMulti)
	add(FeatureBTF, "", func() error { _, err := types.Kernel(); return err })
	add(FeatureRingBuffer, "", tryRingBuffer)
	add(FeatureStatistics, "", func() error {
		stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
		if err != nil {
			return err
		}
		return stats.Close()
	})
	return out
}

// whyNot reduces an error to its reason: what was tried goes without saying.
func whyNot(err error) string {
	var attach *AttachError
	var load *LoadError
	var r *refusal
	reason, cause := "", err
	switch {
	case errors.As(err, &attach):
		reason, cause = attach.Reason, attach.Err
	case errors.As(err, &load):
		reason, cause = load.Reason, load.Err
	case errors.As(err, &r):
		reason, cause = r.reason, r.err
	}
	switch {
	case reason == "":
		return cause.Error()
	case cause == nil:
		return reason
	}
	return reason + ": " + cause.Error()
}

// sample is the program by which a kind of hook is tried.
type sample struct {
	hook   program.Hook
	typ    ebpf.ProgramType
	attach ebpf.AttachType
	result int32 // what the program returns
}

// samples are attached to what every kernel has and hardly ever passes.
var samples = []sample{
	{program.Hook{Kind: program.Tracepoint, Target: "sched:sched_process_exit"}, ebpf.TracePoint, ebpf.AttachNone, 0},
	{program.Hook{Kind: program.RawTracepoint, Target: "sched_process_exit"}, ebpf.RawTracepoint, ebpf.AttachNone, 0},
	{program.Hook{Kind: program.TPBTF, Target: "sched_process_exit"}, ebpf.Tracing, ebpf.AttachTraceRawTp, 0},
	{program.Hook{Kind: program.Kprobe, Target: triedFunction}, ebpf.Kprobe, ebpf.AttachNone, 0},
	{program.Hook{Kind: program.Kretprobe, Target: triedFunction}, ebpf.Kprobe, ebpf.AttachNone, 0},
	{program.Hook{Kind: program.Fentry, Target: triedFunction}, ebpf.Tracing, ebpf.AttachTraceFEntry, 0},
	{program.Hook{Kind: program.Fexit, Target: triedFunction}, ebpf.Tracing, ebpf.AttachTraceFExit, 0},
	{program.Hook{Kind: program.FmodRet, Target: "security_task_setnice"}, ebpf.Tracing, ebpf.AttachModifyReturn, 0},
	{program.Hook{Kind: program.LSM, Target: "task_setnice"}, ebpf.LSM, ebpf.AttachLSMMac, 0},
	{program.Hook{Kind: program.Iter, Target: "task"}, ebpf.Tracing, ebpf.AttachTraceIter, 0},
	{program.Hook{Kind: program.Uprobe}, ebpf.Kprobe, ebpf.AttachNone, 0},
	{program.Hook{Kind: program.Uretprobe}, ebpf.Kprobe, ebpf.AttachNone, 0},
	{program.Hook{Kind: program.USDT}, ebpf.Kprobe, ebpf.AttachNone, 0},
	{program.Hook{Kind: program.PerfEvent, Target: "cpu-clock", Hz: 1}, ebpf.PerfEvent, ebpf.AttachNone, 0},
	{program.Hook{Kind: program.XDP, Target: "lo"}, ebpf.XDP, ebpf.AttachXDP, 2},                                              // XDP_PASS
	{program.Hook{Kind: program.TCXIngress, Target: "lo"}, ebpf.SchedCLS, ebpf.AttachTCXIngress, -1},                          // TCX_NEXT
	{program.Hook{Kind: program.TCXEgress, Target: "lo"}, ebpf.SchedCLS, ebpf.AttachTCXEgress, -1},                            // TCX_NEXT
	{program.Hook{Kind: program.CgroupIngress}, ebpf.CGroupSKB, ebpf.AttachCGroupInetIngress, 1},                              // pass
	{program.Hook{Kind: program.CgroupEgress}, ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress, 1},                                // pass
	{program.Hook{Kind: program.CgroupSock, Symbol: "cgroup/post_bind4"}, ebpf.CGroupSock, ebpf.AttachCGroupInet4PostBind, 1}, // allow
}

// triedFunction exists on every kernel and runs at a new process only.
const triedFunction = "wake_up_new_task"

// try loads, attaches and detaches a sample.
func (h host) try(ctx context.Context, s sample, types *btf.Cache) (err error) {
	const name = "kgent_try"
	spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{name: {
		Name:         name,
		Type:         s.typ,
		AttachType:   s.attach,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, s.result), asm.Return()},
		License:      "GPL",
	}}}
	if s.typ == ebpf.Tracing || s.typ == ebpf.LSM {
		spec.Programs[name].AttachTo = s.hook.Target
	}
	if s.hook.Kind.NeedsBinary() && h.uprobeMulti {
		spec.Programs[name].AttachType = ebpf.AttachTraceUprobeMulti
	}
	p := &loaded{name: name, hook: s.hook, attachType: s.attach, passive: s.result == -1}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return h.explainLoad(ctx, err, spec, &program.Manifest{Programs: []program.Program{{Name: name, Hook: s.hook}}})
	}
	defer coll.Close()
	p.prog = coll.Programs[name]
	if s.hook.Kind.NeedsBinary() {
		err = h.attachUncalled(p)
	} else {
		_, err = h.attach(ctx, p)
	}
	return errors.Join(err, p.detach())
}

// attachUncalled probes a function of this process's own binary that nobody
// calls: a return probe, for one, meddles with the stack of whoever passes.
func (h host) attachUncalled(p *loaded) error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	off, ok := fileOffset(string(maps), uint64(reflect.ValueOf(uncalled).Pointer()))
	if !ok {
		return refuse(nil, "this process's own code is not mapped from a file")
	}
	p.hook.Symbol = "uncalled"
	return h.attachPlaces(p, "/proc/self/exe", []place{{offset: off}})
}

//go:noinline
func uncalled() { panic("this function is only for probes to be put on") }

// fileOffset converts an address of a process to the offset in the file it is
// mapped from, by the process's /proc/PID/maps.
func fileOffset(maps string, addr uint64) (uint64, bool) {
	for line := range strings.Lines(maps) {
		var start, end, offset, inode uint64
		var mode, device string
		if _, err := fmt.Sscanf(line, "%x-%x %s %x %s %d", &start, &end, &mode, &offset, &device, &inode); err != nil {
			continue
		}
		if addr >= start && addr < end {
			return addr - start + offset, inode != 0
		}
	}
	return 0, false
}

func tryKprobeMulti() error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "kgent_try",
		Type:         ebpf.Kprobe,
		AttachType:   ebpf.AttachTraceKprobeMulti,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "GPL",
	})
	if err != nil {
		return err
	}
	defer prog.Close()
	l, err := link.KprobeMulti(prog, link.KprobeMultiOptions{Symbols: []string{triedFunction}})
	if err != nil {
		return err
	}
	return l.Close()
}

// tryRingBuffer submits nothing; that a reader can be made shows the rest.
func tryRingBuffer() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "kgent_try", Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	if err != nil {
		return err
	}
	defer m.Close()
	r, err := ringbuf.NewReader(m)
	if err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	return r.Close()
}

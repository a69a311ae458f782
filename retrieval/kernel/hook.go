package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// The kinds of hooks, and what a target of each looks like. The names are those of a
// program's section, and of a manifest's hooks.
const (
	KindTracepoint     = "tracepoint"         // "sched:sched_switch"
	KindRawTracepoint  = "raw_tracepoint"     // "sched_switch"
	KindTPBTF          = "tp_btf"             // "sched_switch"
	KindKprobe         = "kprobe"             // "tcp_v4_connect", "tcp_v4_connect+0x10"
	KindKretprobe      = "kretprobe"          // "tcp_v4_connect"
	KindKprobeMulti    = "kprobe.multi"       // "tcp_*,udp_sendmsg": functions, or patterns of them
	KindKretprobeMulti = "kretprobe.multi"    // as kprobe.multi
	KindKprobeSession  = "kprobe.session"     // as kprobe.multi
	KindFentry         = "fentry"             // "tcp_v4_connect"
	KindFexit          = "fexit"              // "tcp_v4_connect"
	KindFmodRet        = "fmod_ret"           // "security_file_open"
	KindUprobe         = "uprobe"             // "libc:getaddrinfo", "/usr/bin/bash:readline"
	KindUretprobe      = "uretprobe"          // as uprobe
	KindUSDT           = "usdt"               // "libc:libc:setjmp": binary, provider, name
	KindPerfEvent      = "perf_event"         // "cpu-clock", "cpu-clock@99" for 99 Hz
	KindXDP            = "xdp"                // "eth0"
	KindTCXIngress     = "tcx/ingress"        // "eth0"
	KindTCXEgress      = "tcx/egress"         // "eth0"
	KindSocketFilter   = "socket"             // "eth0"
	KindCgroupIngress  = "cgroup_skb/ingress" // "/system.slice": below the cgroup2 mount; empty is its root
	KindCgroupEgress   = "cgroup_skb/egress"  // as cgroup_skb/ingress
	KindCgroup         = "cgroup"             // any other program on a cgroup; as cgroup_skb/ingress
	KindIter           = "iter"               // "task_file"
	KindLSM            = "lsm"                // "file_open"
)

// Kinds lists the hook kinds that CheckHook knows.
func Kinds() []string {
	return []string{
		KindTracepoint, KindRawTracepoint, KindTPBTF, KindKprobe, KindKretprobe,
		KindKprobeMulti, KindKretprobeMulti, KindKprobeSession, KindFentry, KindFexit, KindFmodRet,
		KindUprobe, KindUretprobe, KindUSDT, KindPerfEvent, KindXDP, KindTCXIngress, KindTCXEgress, KindSocketFilter,
		KindCgroupIngress, KindCgroupEgress, KindCgroup, KindIter, KindLSM,
	}
}

// CheckHook tells whether a hook exists and a program can be attached to it on this
// kernel, as far as that can be known without doing it. The privileges of the process
// play no part.
//
// It returns a [*NotFoundError] for a target (or a kind) that does not exist, an error
// that wraps [ErrNotSupported] if the kernel cannot attach there, with what to use
// instead, [ErrNoTracefs] or another error if the question could not be answered, and
// [ErrOnNode] if nothing speaks against it but the node must be asked.
func (f *Facts) CheckHook(kind, target string) error {
	if !slices.Contains(Kinds(), kind) {
		return &NotFoundError{Kind: "hook kind", Name: kind, Suggestions: suggest(kind, Kinds())}
	}
	if err := f.checkKind(kind, target); err != nil {
		return err
	}
	switch kind {
	case KindTracepoint:
		return f.checkTracepoint(target)
	case KindRawTracepoint, KindTPBTF:
		_, err := f.RawTracepoint(target)
		return err
	case KindKprobe, KindKretprobe:
		return f.checkKprobe(kind, target)
	case KindKprobeMulti, KindKretprobeMulti, KindKprobeSession:
		_, err := f.Functions(kind, target)
		return err
	case KindFentry, KindFexit:
		return f.checkFentry(kind, target)
	case KindFmodRet:
		return f.checkFmodRet(target)
	case KindUprobe, KindUretprobe:
		return f.checkUprobe(kind, target)
	case KindUSDT:
		return f.checkUSDT(target)
	case KindPerfEvent:
		return f.checkPerfEvent(target)
	case KindXDP, KindTCXIngress, KindTCXEgress, KindSocketFilter:
		return f.checkInterface(target)
	case KindCgroupIngress, KindCgroupEgress, KindCgroup:
		return f.checkCgroup(kind, target)
	case KindIter:
		return f.checkIter(target)
	case KindLSM:
		return f.checkLSM(target)
	}
	return fmt.Errorf("checking %s %s: no check for this kind", kind, visible(target))
}

// unsupported makes the error for a hook that exists but cannot be attached to.
func (f *Facts) unsupported(kind, target, why, instead string) error {
	return &UnsupportedError{Kind: kind, Target: target, Why: why, Instead: instead}
}

// checkKind tells whether the kernel has a kind of hook at all. The target only
// serves to say what to use instead; it may be empty.
func (f *Facts) checkKind(kind, target string) error {
	why, err := f.kindMissing(kind)
	if err != nil {
		return err
	}
	if why == "" {
		return nil
	}
	return f.unsupported(kind, target, why, f.alternative(kind, target))
}

// kindMissing says why a kind of hook cannot be used, nothing if it can.
func (f *Facts) kindMissing(kind string) (string, error) {
	if why, ok := f.Refused[kind]; ok {
		return why, nil
	}
	if f.BTFFile != "" && slices.Contains([]string{KindTPBTF, KindFentry, KindFexit, KindFmodRet, KindLSM, KindIter}, kind) {
		return fmt.Sprintf("kernel %s does not describe its types itself (CONFIG_DEBUG_INFO_BTF), which %s needs; %s serves other kinds only", f.Release, kind, f.BTFFile), nil
	}
	var function, why string
	switch kind {
	case KindKprobe, KindKretprobe, KindKprobeMulti, KindKretprobeMulti, KindKprobeSession:
		if kind == KindKprobeSession && !f.hasAttachType("BPF_TRACE_KPROBE_SESSION") {
			return fmt.Sprintf("kernel %s is too old for sessions (Linux 6.10)", f.Release), nil
		}
		if f.Lockdown == LockdownConfidentiality {
			return "the kernel is locked down (confidentiality), which forbids kprobes", nil
		}
		if f.mayHaveProbes("kprobe") {
			return "", nil
		}
		return fmt.Sprintf("kernel %s is built without kprobes (CONFIG_KPROBE_EVENTS)", f.Release), nil
	case KindUprobe, KindUretprobe, KindUSDT:
		if f.mayHaveProbes("uprobe") {
			return "", nil
		}
		return fmt.Sprintf("kernel %s is built without uprobes (CONFIG_UPROBE_EVENTS)", f.Release), nil
	case KindLSM:
		if f.LSMs != nil && !f.HasLSM("bpf") {
			return "the security module \"bpf\" is not active; boot with lsm=" + strings.Join(append(slices.Clone(f.LSMs), "bpf"), ","), nil
		}
		// Programs are attached to this function by its BTF.
		types, err := f.kernelTypes()
		if err != nil || len(find(types.funcs, lsmPrefix+"file_open")) > 0 {
			return "", err
		}
		return fmt.Sprintf("kernel %s is built without CONFIG_BPF_LSM", f.Release), nil
	case KindFentry, KindFexit, KindFmodRet:
		function, why = "register_ftrace_direct", "not able to call programs directly from functions (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS)"
	case KindTCXIngress, KindTCXEgress:
		// Before TCX links (Linux 6.6) kgent uses filters of the clsact queueing
		// discipline, which may be a module.
		if f.hasAttachType("BPF_TCX_INGRESS") {
			function, why = "tcx_prog_attach", "built without TCX links (CONFIG_NET_XGRESS)"
		} else {
			function, why = "tcf_classify", "too old for TCX links (Linux 6.6), and built without the filters that could take their place"
		}
	case KindCgroupIngress, KindCgroupEgress, KindCgroup:
		function, why = "__cgroup_bpf_run_filter_skb", "built without CONFIG_CGROUP_BPF"
	case KindIter:
		function, why = "bpf_iter_reg_target", "too old for iterators (Linux 5.8)"
	default:
		return "", nil
	}
	ok, err := f.mayHave(function)
	if err != nil || ok {
		return "", err
	}
	return fmt.Sprintf("kernel %s is %s", f.Release, why), nil
}

// hasAttachType tells whether the kernel's list of attach types has one.
func (f *Facts) hasAttachType(name string) bool {
	types, err := f.BTF.AnyTypesByName("bpf_attach_type")
	if err != nil {
		return false // the list has been there for as long as BTF
	}
	for _, t := range types {
		if list, ok := t.(*btf.Enum); ok && slices.ContainsFunc(list.Values, func(v btf.EnumValue) bool { return v.Name == name }) {
			return true
		}
	}
	return false
}

// mayHaveProbes tells whether the kernel has "kprobe" or "uprobe" events, or may have
// them because neither of the places that would show them is known.
func (f *Facts) mayHaveProbes(kind string) bool {
	if f.src.exists(perfDevices + "/" + kind) {
		return true
	}
	if f.TracefsMount != "" {
		return f.src.exists(f.TracefsMount + "/" + kind + "_events")
	}
	return !f.src.exists(perfDevices)
}

// mayHave tells whether the kernel has a function, or may have it: BTF leaves some
// out, and the list of symbols is not always known.
func (f *Facts) mayHave(function string) (bool, error) {
	types, err := f.kernelTypes()
	if err != nil {
		return false, err
	}
	if len(find(types.funcs, function)) > 0 {
		return true, nil
	}
	symbols, err := f.symbols()
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && symbols.has(function), err
}

// alternative says what to use instead of a kind of hook that the kernel lacks. It
// only adds to an error that is returned anyway: what goes wrong here says nothing.
func (f *Facts) alternative(kind, target string) string {
	switch kind {
	case KindKprobe, KindKretprobe, KindFentry, KindFexit:
	case KindTCXIngress:
		return "use " + KindXDP
	case KindTCXEgress:
		return "use " + KindCgroupEgress
	default:
		return ""
	}
	function, _, _ := strings.Cut(target, "+")
	if target == "" || !isIdent(function) {
		return ""
	}
	other := map[string]string{
		KindKprobe: KindFentry, KindKretprobe: KindFexit, KindFentry: KindKprobe, KindFexit: KindKretprobe,
	}[kind]
	if why, err := f.kindMissing(other); err == nil && why == "" {
		// This cannot come back here: the kind that it would turn to is missing.
		check := f.checkFentry
		if other == KindKprobe || other == KindKretprobe {
			check = f.checkKprobe
		}
		if check(other, function) == nil {
			return "use " + other + " " + function
		}
	}
	near, err := f.nearestTracepoints(function)
	if err != nil || near == nil {
		return ""
	}
	return "the nearest that this kernel has: " + strings.Join(near, ", ")
}

// checkTracepoint checks that a program can be attached to a tracepoint's record.
func (f *Facts) checkTracepoint(target string) error {
	category, name, ok := strings.Cut(target, ":")
	if !ok {
		// Libraries write sched/sched_switch; the kernel lists sched:sched_switch.
		category, name, _ = strings.Cut(target, "/")
	}
	if name == "" {
		return f.noTracepoint(target)
	}
	if _, err := f.Tracepoint(category, name); err != nil {
		return err
	}
	// What ftrace writes for itself has a format but nothing that could be enabled.
	if ok, err := f.src.has(f.eventDir(category, name) + "/enable"); err != nil {
		return fmt.Errorf("reading tracepoint %s: %w", visible(target), f.explainTracefs(err))
	} else if !ok {
		return f.unsupported(KindTracepoint, target, "it describes a record of ftrace itself and cannot be enabled", "")
	}
	return nil
}

// checkKprobe checks that a kernel function can be probed by breakpoint.
func (f *Facts) checkKprobe(kind, target string) error {
	name, offset, hasOffset := strings.Cut(target, "+")
	if hasOffset {
		if kind == KindKretprobe {
			return fmt.Errorf("checking %s %s: a return probe takes no offset", kind, visible(target))
		}
		if _, err := strconv.ParseUint(offset, 0, 32); err != nil {
			return fmt.Errorf("checking %s %s: %q is not an offset", kind, visible(target), offset)
		}
	}
	symbols, err := f.symbols()
	if err != nil {
		return err
	}
	if !symbols.has(name) {
		return f.notFound("function", name, symbols.names)
	}
	return f.checkTraceable(kind, name, symbols)
}

// checkTraceable checks that a function is one function and open to tracing.
func (f *Facts) checkTraceable(kind, name string, symbols *symbolSet) error {
	if n := symbols.many[name]; n > 1 {
		return fmt.Errorf("%s %s is an %w: kernel %s has %d functions that are called so; choose one that calls it, or that it calls",
			kind, name, ErrAmbiguous, f.Release, n)
	}
	traceable, err := f.traceable()
	if err != nil {
		return err
	}
	if traceable.excludes(name) {
		return f.unsupported(kind, name, "the kernel excludes this function from tracing (notrace)", "choose one that calls it, or that it calls")
	}
	return nil
}

// Limits of the kernel's calls from a function to a program.
const (
	maxFentryArgs    = 12 // MAX_BPF_FUNC_ARGS
	maxFentryArgSize = 16
	maxFentryRetSize = 8
)

// checkFentry checks that a program can be called directly from a kernel function.
func (f *Facts) checkFentry(kind, target string) error {
	fn, err := f.Function(target)
	if err != nil {
		return err
	}
	why := ""
	if len(fn.Proto.Params) > maxFentryArgs {
		why = fmt.Sprintf("it has %d arguments, of which %d can be passed on", len(fn.Proto.Params), maxFentryArgs)
	}
	for i, p := range fn.Proto.Params {
		if variadic(fn.Proto.Params, i) {
			why = "its number of arguments varies"
		} else if size, err := btf.Sizeof(p.Type); err != nil || size > maxFentryArgSize {
			why = fmt.Sprintf("its argument %s is too large to be passed on", declare(p.Type, p.Name))
		}
	}
	if _, void := resolve(fn.Proto.Return).(*btf.Void); !void {
		if size, err := btf.Sizeof(fn.Proto.Return); err != nil || size > maxFentryRetSize {
			why = fmt.Sprintf("its result, %s, is too large to be passed on", declare(fn.Proto.Return, ""))
		}
	}
	if why != "" {
		return f.unsupported(kind, target, why, f.alternative(kind, target))
	}
	symbols, err := f.symbols()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // BTF is all that is known of this kernel
	}
	if err != nil {
		return err
	}
	if !symbols.has(target) {
		return f.unsupported(kind, target, "BTF describes this function, but the kernel does not have it under this name", "choose one that calls it")
	}
	return f.checkTraceable(kind, target, symbols)
}

// errorInjection, below debugfs, lists the functions whose results may be changed.
const errorInjection = "/error_injection/list"

// checkFmodRet checks that a program may change the result of a kernel function.
func (f *Facts) checkFmodRet(target string) error {
	if err := f.checkFentry(KindFmodRet, target); err != nil || strings.HasPrefix(target, "security_") {
		return err
	}
	if f.debugfs == "" {
		return nil // the list of the others is not known
	}
	list, err := f.src.readSmall(f.debugfs + errorInjection)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("checking fmod_ret %s: %w", target, err)
	}
	for line := range strings.Lines(list) {
		// "name\tERRNO", with " [module]" behind the name for one in a module.
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == target {
			return nil
		}
	}
	return f.unsupported(KindFmodRet, target, "the result of this function may not be changed: only those of security_ functions and of functions made for it (ALLOW_ERROR_INJECTION) may", "use fexit to see it")
}

// checkUprobe checks that a function in a binary can be probed.
func (f *Facts) checkUprobe(kind, target string) error {
	binary, symbol, ok := strings.Cut(target, ":")
	if !ok || binary == "" || symbol == "" {
		return fmt.Errorf("checking %s %s: a target looks like \"libc:getaddrinfo\" or \"/usr/bin/bash:readline\"", kind, visible(target))
	}
	path, err := f.ResolveBinary(binary)
	if err != nil {
		return err
	}
	s, err := f.Symbol(path, symbol)
	if errors.Is(err, ErrAmbiguous) {
		return nil // each of them can be probed
	}
	if err != nil {
		return err
	}
	if kind == KindUretprobe && s.Go {
		// The return address on the stack is replaced; Go moves stacks and reads them.
		return f.unsupported(kind, target, "a return probe crashes programs written in Go", "use uprobe on the function's return instructions, or on what it calls last")
	}
	return nil
}

// checkUSDT checks that a binary has a probe of its authors' making.
func (f *Facts) checkUSDT(target string) error {
	binary, probe, ok := strings.Cut(target, ":")
	if provider, name, both := strings.Cut(probe, ":"); !ok || !both || binary == "" || provider == "" || name == "" {
		return fmt.Errorf("checking usdt %s: a target looks like \"libc:libc:setjmp\": binary, provider, name", visible(target))
	}
	path, err := f.ResolveBinary(binary)
	if err != nil {
		return err
	}
	probes, err := f.USDTProbes(path)
	if err != nil {
		return err
	}
	if slices.Contains(probes, probe) {
		return nil
	}
	missing := &NotFoundError{Kind: "USDT probe", Name: probe, Where: "in " + path, Suggestions: suggest(probe, probes)}
	if probes == nil {
		missing.Where += ", which has none at all"
	}
	return missing
}

const (
	perfDevices   = "/sys/bus/event_source/devices"
	maxSampleRate = "/proc/sys/kernel/perf_event_max_sample_rate"
)

// softwareEvents and hardwareEvents are the names that perf gives to the events that
// every kernel and most processors have.
var (
	softwareEvents = [...]string{
		"alignment-faults", "cgroup-switches", "context-switches", "cpu-clock", "cpu-migrations",
		"cs", "emulation-faults", "faults", "major-faults", "migrations", "minor-faults", "page-faults", "task-clock",
	}
	hardwareEvents = [...]string{
		"branch-instructions", "branch-misses", "branches", "bus-cycles", "cache-misses", "cache-references",
		"cpu-cycles", "cycles", "instructions", "ref-cycles", "stalled-cycles-backend", "stalled-cycles-frontend",
	}
)

// checkPerfEvent checks that a program can run on samples of an event.
func (f *Facts) checkPerfEvent(target string) error {
	event, frequency, hasFrequency := strings.Cut(target, "@")
	if hasFrequency {
		hz, err := strconv.ParseUint(frequency, 10, 32)
		if err != nil || hz == 0 {
			return fmt.Errorf("checking perf_event %s: %q is not a frequency in Hz", visible(target), frequency)
		}
		limit, err := f.src.readNumber(maxSampleRate)
		if err != nil {
			return err
		}
		if limit != Unknown && hz > uint64(max(limit, 0)) {
			return f.unsupported(KindPerfEvent, target, fmt.Sprintf("kernel.perf_event_max_sample_rate is %d", limit), "choose a lower frequency")
		}
	}
	if slices.Contains(softwareEvents[:], event) {
		return nil
	}
	if !slices.Contains(hardwareEvents[:], event) {
		return f.notFound("perf event", event, slices.Concat(softwareEvents[:], hardwareEvents[:]))
	}
	for _, device := range f.src.list(perfDevices) {
		// The processor's own counters: x86, hybrid x86, s390, ARM.
		if device == "cpu" || device == "cpu_core" || device == "cpum_cf" || strings.HasPrefix(device, "armv") {
			return nil
		}
	}
	return f.unsupported(KindPerfEvent, target, "this machine does not give its processor's counters to the kernel, as is usual for virtual machines", "use cpu-clock")
}

// checkInterface checks that there is a network interface of that name.
func (f *Facts) checkInterface(name string) error {
	const dir = "/sys/class/net"
	if f.Remote() {
		return onNode("network interface", name)
	}
	// The name becomes a path: it must stay below the directory.
	if isEventName(name) && name != ".." && f.src.exists(dir+"/"+name) {
		return nil
	}
	if !f.src.exists(dir) {
		return fmt.Errorf("checking network interface %s: %s does not exist, so the interfaces are not known", visible(name), dir)
	}
	return &NotFoundError{Kind: "network interface", Name: name, Suggestions: suggest(name, f.src.list(dir))}
}

// checkCgroup checks that there is a cgroup of version 2 at a path below the mount point
// of the hierarchy. The path may start with a slash or not; empty is the root.
func (f *Facts) checkCgroup(kind, path string) error {
	if f.CgroupMount == "" {
		return f.unsupported(kind, path, "no cgroup v2 hierarchy is mounted", "as root: mount -t cgroup2 none /sys/fs/cgroup")
	}
	if f.Remote() || strings.HasPrefix(path, "container:") || strings.HasPrefix(path, "pod:") || strings.HasPrefix(path, "label:") {
		return onNode("cgroup", path)
	}
	// Cleaned from the root, no number of .. leads out.
	full := filepath.Join(f.CgroupMount, filepath.Clean("/"+path))
	info, err := os.Stat(f.src.path(full))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("checking cgroup %s: %w", visible(path), err)
	}
	if err == nil && info.IsDir() {
		return nil
	}
	groups := slices.DeleteFunc(f.src.siblings(full), func(path string) bool {
		info, err := os.Stat(f.src.path(path))
		return err != nil || !info.IsDir()
	})
	for i, group := range groups {
		groups[i] = strings.TrimPrefix(group, f.CgroupMount)
	}
	name := strings.TrimPrefix(full, f.CgroupMount)
	return &NotFoundError{Kind: "cgroup", Name: name, Where: "below " + f.CgroupMount, Suggestions: suggest(name, groups)}
}

// iterPrefix starts the names of the functions that stand for iterators.
const iterPrefix = "bpf_iter_"

// checkIter checks that the kernel can walk over a kind of object.
func (f *Facts) checkIter(target string) error {
	types, err := f.kernelTypes()
	if err != nil {
		return err
	}
	modules, err := f.moduleTypes()
	if err != nil {
		return err
	}
	var names []string
	for _, types := range append([]*typesOf{types}, modules...) {
		for _, n := range types.funcs {
			name, ok := strings.CutPrefix(n.name, iterPrefix)
			if !ok {
				continue
			}
			fn, err := f.loadFunction(types, n)
			if err != nil {
				return err
			}
			// Others of the prefix serve iterators. Those that stand for one take its
			// bookkeeping first: int bpf_iter_task(struct bpf_iter_meta *meta, …).
			if len(fn.Proto.Params) == 0 || declare(fn.Proto.Params[0].Type, "") != "struct bpf_iter_meta *" {
				continue
			}
			if name == target {
				return nil
			}
			names = append(names, name)
		}
	}
	return f.notFound("iterator", target, names)
}

// lsmPrefix starts the names of the functions that stand for security hooks.
const lsmPrefix = "bpf_lsm_"

// checkLSM checks that there is a security hook of that name.
func (f *Facts) checkLSM(target string) error {
	// All hooks are members of this union; functions of the prefix also serve others.
	types, err := f.BTF.AnyTypesByName("security_list_options")
	if err != nil {
		return fmt.Errorf("listing the security hooks of kernel %s: %w", f.Release, err)
	}
	var names []string
	for _, t := range types {
		union, ok := t.(*btf.Union)
		if !ok {
			continue
		}
		for _, m := range union.Members {
			types, found, err := f.lookIn(functionList, lsmPrefix+m.Name)
			if err != nil {
				return err
			}
			if types == nil || len(found) == 0 {
				continue
			}
			if m.Name == target {
				return nil
			}
			names = append(names, m.Name)
		}
	}
	return f.notFound("security hook", target, names)
}

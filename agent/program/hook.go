package program

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// Kind is how a program is attached. The names are those of SEC("…").
type Kind string

const (
	Tracepoint    Kind = "tracepoint"     // Target category:name
	RawTracepoint Kind = "raw_tracepoint" // Target name
	TPBTF         Kind = "tp_btf"         // Target name; Linux 5.5
	Kprobe        Kind = "kprobe"         // Target function
	Kretprobe     Kind = "kretprobe"      // Target function
	// Many functions by one program: Target is a list of functions, or patterns
	// of them (tcp_*), with commas between. Linux 5.18, a session 6.10.
	KprobeMulti    Kind = "kprobe.multi"
	KretprobeMulti Kind = "kretprobe.multi"
	KprobeSession  Kind = "kprobe.session" // at the call, and at the return when the call returned 0
	Fentry         Kind = "fentry"         // Target function; Linux 5.5
	Fexit          Kind = "fexit"          // Target function; Linux 5.5
	FmodRet        Kind = "fmod_ret"       // Target function; Linux 5.7
	LSM            Kind = "lsm"            // Target hook; Linux 5.7
	Iter           Kind = "iter"           // Target iterator; Linux 5.8
	Uprobe         Kind = "uprobe"         // Binary, Symbol
	Uretprobe      Kind = "uretprobe"      // Binary, Symbol
	USDT           Kind = "usdt"           // Binary, Symbol provider:name
	PerfEvent      Kind = "perf_event"     // Target one of [PerfEvents], Hz
	XDP            Kind = "xdp"            // Target interface
	TCXIngress     Kind = "tcx/ingress"    // Target interface
	TCXEgress      Kind = "tcx/egress"     // Target interface
	SocketFilter   Kind = "socket"         // Target interface; sees copies of its packets
	CgroupIngress  Kind = "cgroup_skb/ingress"
	CgroupEgress   Kind = "cgroup_skb/egress"
	// CgroupSock is any other program attached to a cgroup: Target is the
	// cgroup's path below the cgroup2 mount, Symbol the section's name.
	CgroupSock Kind = "cgroup"
)

// NeedsInterface reports whether Target is a network interface.
func (k Kind) NeedsInterface() bool {
	return k == XDP || k == TCXIngress || k == TCXEgress || k == SocketFilter
}

// Multi reports whether Target is a list of kernel functions.
func (k Kind) Multi() bool { return k == KprobeMulti || k == KretprobeMulti || k == KprobeSession }

// Single is the kind by which one function of a [Kind.Multi] is probed, and the
// kind itself of all others.
func (k Kind) Single() Kind {
	switch k {
	case KprobeMulti, KprobeSession:
		return Kprobe
	case KretprobeMulti:
		return Kretprobe
	}
	return k
}

// NeedsCgroup reports whether Target is a cgroup path.
func (k Kind) NeedsCgroup() bool {
	return k == CgroupIngress || k == CgroupEgress || k == CgroupSock
}

// NeedsBinary reports whether the hook is in a user-space binary.
func (k Kind) NeedsBinary() bool { return k == Uprobe || k == Uretprobe || k == USDT }

// Hook is one place a program is attached to.
type Hook struct {
	Kind   Kind   `json:"kind"`
	Target string `json:"target,omitempty"`
	// Binary is an absolute path, or a bare name (libc.so.6, bash) that each
	// node looks up for itself.
	Binary string `json:"binary,omitempty"`
	Symbol string `json:"symbol,omitempty"`
	// Hz is how often per second and CPU a perf event samples.
	Hz int `json:"hz,omitempty"`
}

// String returns the hook as people write it: kind, then what it is attached to.
func (h Hook) String() string {
	switch {
	case h.Kind == PerfEvent:
		return fmt.Sprintf("%s %s at %d Hz", h.Kind, h.Target, h.Hz)
	case h.Kind.NeedsBinary():
		return fmt.Sprintf("%s %s:%s", h.Kind, h.Binary, h.Symbol)
	case h.Kind.NeedsCgroup() && (h.Target == "" || h.Target == "/"):
		return h.section() + " on the root cgroup"
	case h.Target == "":
		return string(h.Kind)
	default:
		return h.section() + " " + h.Target
	}
}

// section is the kind, of a [CgroupSock] with the operation.
func (h Hook) section() string {
	if h.Kind == CgroupSock {
		return h.Symbol
	}
	return string(h.Kind)
}

// Place returns the hook's kind and target in the form that a kernel's facts
// are asked about.
func (h Hook) Place() (kind, target string) {
	if h.Kind.NeedsBinary() {
		return string(h.Kind), h.Binary + ":" + h.Symbol
	}
	return string(h.Kind), h.Target
}

// UnsupportedHookError says that a program's section names a kind of hook that
// kgent does not attach.
type UnsupportedHookError struct {
	Program, Section string
}

func (e *UnsupportedHookError) Error() string {
	return fmt.Sprintf("program %s: SEC(%q) is not a hook kgent attaches; use tp/, raw_tp/, tp_btf/, kprobe/, kretprobe/, kprobe.multi/, kretprobe.multi/, kprobe.session/, fentry/, fexit/, fmod_ret/, lsm/, iter/, uprobe/, uretprobe/, usdt/, perf_event/, xdp, tcx/ingress, tcx/egress, socket, cgroup_skb/ingress, cgroup_skb/egress, cgroup/ or sockops", e.Program, e.Section)
}

// HookOf derives a program's hook from its section. Interface and cgroup stay
// empty: a section does not name them.
func HookOf(p *ebpf.ProgramSpec) (Hook, error) {
	if point, ok := strings.CutPrefix(p.SectionName, scriptSection); ok {
		return ScriptHook(point)
	}
	prefix, target, _ := strings.Cut(p.SectionName, "/")
	prefix = strings.TrimSuffix(prefix, ".s") // sleepable
	need := func(h Hook) (Hook, error) {
		if target == "" {
			return Hook{}, fmt.Errorf("program %s: SEC(%q) names no target: write SEC(\"%s/<target>\")", p.Name, p.SectionName, prefix)
		}
		return h, nil
	}
	switch prefix {
	case "tp", "tracepoint":
		category, name, ok := strings.Cut(target, "/")
		if !ok {
			category, name, ok = strings.Cut(target, ":")
		}
		if !ok || category == "" || name == "" {
			return Hook{}, fmt.Errorf("program %s: SEC(%q): a tracepoint is written tp/<category>/<name>", p.Name, p.SectionName)
		}
		return Hook{Kind: Tracepoint, Target: category + ":" + name}, nil
	case "raw_tp", "raw_tracepoint":
		return need(Hook{Kind: RawTracepoint, Target: target})
	case "tp_btf", "kprobe", "kretprobe", "fentry", "fexit", "fmod_ret", "lsm", "iter", "kprobe.multi", "kretprobe.multi", "kprobe.session":
		return need(Hook{Kind: Kind(prefix), Target: target})
	case "ksyscall", "kretsyscall":
		return Hook{}, &UnsupportedHookError{p.Name, p.SectionName}
	case "uprobe", "uretprobe":
		i := strings.LastIndexByte(target, ':')
		if i <= 0 || i == len(target)-1 {
			return Hook{}, fmt.Errorf("program %s: SEC(%q): a user probe is written %s/<binary or path>:<symbol>", p.Name, p.SectionName, prefix)
		}
		return Hook{Kind: Kind(prefix), Binary: target[:i], Symbol: target[i+1:]}, nil
	case "usdt":
		parts := strings.Split(target, ":")
		if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
			return Hook{}, fmt.Errorf("program %s: SEC(%q): a USDT probe is written usdt/<binary or path>:<provider>:<name>", p.Name, p.SectionName)
		}
		return Hook{Kind: USDT, Binary: parts[0], Symbol: parts[1] + ":" + parts[2]}, nil
	case "perf_event":
		h := Hook{Kind: PerfEvent, Target: "cpu-clock", Hz: 99}
		if target != "" {
			name, hz, ok := strings.Cut(target, "/")
			h.Target = name
			if ok {
				n, err := strconv.Atoi(hz)
				if err != nil || n < 1 || n > 10_000 {
					return Hook{}, fmt.Errorf("program %s: SEC(%q): the rate is a number of samples a second, 1 to 10000", p.Name, p.SectionName)
				}
				h.Hz = n
			}
			if _, _, ok := PerfEventCode(h.Target); !ok {
				return Hook{}, fmt.Errorf("program %s: SEC(%q): there is no event %s; the software event cpu-clock is the one that works everywhere: SEC(\"perf_event/cpu-clock/99\"); others are %s", p.Name, p.SectionName, h.Target, strings.Join(PerfEvents(), ", "))
			}
		}
		return h, nil
	case "xdp":
		if target == "" {
			return Hook{Kind: XDP}, nil
		}
	case "socket":
		if target == "" {
			return Hook{Kind: SocketFilter}, nil
		}
	case "tc", "tcx", "classifier":
		switch target {
		case "", "ingress":
			return Hook{Kind: TCXIngress}, nil
		case "egress":
			return Hook{Kind: TCXEgress}, nil
		}
	case "cgroup_skb":
		switch target {
		case "", "ingress":
			return Hook{Kind: CgroupIngress}, nil
		case "egress":
			return Hook{Kind: CgroupEgress}, nil
		}
	case "cgroup", "sockops":
		return Hook{Kind: CgroupSock, Symbol: p.SectionName}, nil
	}
	return Hook{}, &UnsupportedHookError{p.Name, p.SectionName}
}

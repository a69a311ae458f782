package executor

import (
	"fmt"
	"math"
	"math/bits"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"kgent/agent/program"
)

// TierAct is the tier of a grant whose approvers agreed that the program may
// change what the node does.
const TierAct = "act"

// tierObserve is a tier of programs that change nothing.
const tierObserve = "observe"

// NodePolicy is what a node allows whatever was approved. It looks at
// instructions and sizes, never at names or descriptions. The zero value
// allows nothing; begin with [DefaultPolicy].
type NodePolicy struct {
	// AllowAct lets programs of grants of [TierAct] change what the node does:
	// drop, redirect or rewrite packets, deny operations, send signals. Without
	// it only programs that observe are run.
	AllowAct bool
	// DenyHelpers are helpers and kfuncs (bpf_… names) that no program may call.
	DenyHelpers []string
	// DenyKinds are kinds of hooks that nothing is attached to.
	DenyKinds []program.Kind
	// DenyHooks are hooks that nothing is attached to, written as
	// [program.Hook.String] does, * for anything: "kprobe tcp_*", "* vfs_read".
	// Binaries and cgroups are denied as such, by whatever name: see [NodePolicy.Guard].
	DenyHooks []string
	// DenyTypes are types of programs that are not loaded, as the kernel's
	// names in lower case: xdp, lsm, schedcls.
	DenyTypes []string
	// MaxPrograms is how many programs a run may have, MaxMaps how many maps.
	MaxPrograms, MaxMaps int
	// MaxMapBytes is how much memory the maps of a run may take, as estimated
	// by [MapBytes].
	MaxMapBytes uint64
	// MaxRuns is how many runs the node has at once.
	MaxRuns int
	// CPUPerRun and CPUTotal are how much of one core the programs of a run, and
	// those of all runs together, may cost; 0.01 is 1 %. A run that costs more is
	// ended within two seconds. 0 is no bound.
	CPUPerRun, CPUTotal float64
	// MaxEvents, MaxLines and MaxBytes bound the output of a run a second, where
	// its grant allows more: events, lines of text and events, and bytes of
	// both. What is over is dropped and counted. 0 is no bound.
	MaxEvents, MaxLines, MaxBytes int
	// CrashFirst is how long a program is not loaded again that was loaded when
	// the executor died; each time it doubles, up to CrashMost. 0 is not at all.
	CrashFirst, CrashMost time.Duration
}

// DefaultPolicy returns the policy of a node whose operator said nothing: it
// observes only.
func DefaultPolicy() NodePolicy {
	return NodePolicy{
		DenyHelpers: []string{"bpf_probe_write_user", "bpf_override_return", "bpf_send_signal", "bpf_send_signal_thread", "bpf_send_signal_task"},
		MaxPrograms: 64,
		MaxMaps:     64,
		MaxMapBytes: 256 << 20,
		MaxRuns:     8,
		CPUPerRun:   0.01,
		CPUTotal:    0.05,
		MaxEvents:   100_000,
		MaxLines:    100_000,
		MaxBytes:    32 << 20,
		CrashFirst:  time.Minute,
		CrashMost:   time.Hour,
	}
}

// OwnHostPolicy is the policy of a process that traces its own host for the
// person who has just started it. It observes only, like [DefaultPolicy], but
// sets no bounds on cost and rate: that person sees what it does, and ends it.
func OwnHostPolicy() NodePolicy {
	p := DefaultPolicy()
	p.CPUPerRun, p.CPUTotal = 0, 0
	p.MaxEvents, p.MaxLines, p.MaxBytes = 0, 0, 0
	return p
}

// eventsPerSecond is the bound of a run whose grant says so many.
func (p NodePolicy) eventsPerSecond(granted int) int {
	if granted == 0 || p.MaxEvents == 0 {
		return max(granted, p.MaxEvents)
	}
	return min(granted, p.MaxEvents)
}

// PolicyError says which rule of the node's policy a run breaks.
type PolicyError struct {
	// Rule is kind, denied-hook, type, helper, act, programs, maps, map-memory,
	// runs, checks, drained or crashed.
	Rule   string
	Detail string
}

func (e *PolicyError) Error() string {
	return fmt.Sprintf("refused by this node's policy (%s): %s", e.Rule, e.Detail)
}

// Check holds a program, whose manifest fits it, against the policy. Tier is
// that of the grant. It fails with a [*PolicyError], or with what makes the
// program unreadable. cpus is how many processors the node can have.
func (p NodePolicy) Check(o *program.Object, m *program.Manifest, tier string, cpus int) error {
	facts, err := o.Facts()
	if err != nil {
		return err
	}
	if len(facts) > p.MaxPrograms {
		return &PolicyError{"programs", fmt.Sprintf("%d programs, at most %d", len(facts), p.MaxPrograms)}
	}
	specs := o.Programs()
	for i, f := range facts {
		if slices.ContainsFunc(deniedAs(f.Hook.Kind), func(k program.Kind) bool { return slices.Contains(p.DenyKinds, k) }) {
			return &PolicyError{"kind", fmt.Sprintf("program %s attaches by %s", f.Program, f.Hook.Kind)}
		}
		if slices.Contains(p.DenyTypes, f.TypeName) {
			return &PolicyError{"type", fmt.Sprintf("program %s is of type %s", f.Program, f.TypeName)}
		}
		for _, h := range slices.Concat(f.Helpers, f.Kfuncs) {
			if slices.Contains(p.DenyHelpers, h) {
				return &PolicyError{"helper", fmt.Sprintf("program %s calls %s", f.Program, h)}
			}
		}
		why := actsBecause(f, specs[i])
		switch {
		case why == "":
		case tier != TierAct:
			return &PolicyError{"act", fmt.Sprintf("program %s %s, and was approved as %q: ask for approval of tier %q", f.Program, why, tier, TierAct)}
		case !p.AllowAct:
			return &PolicyError{"act", fmt.Sprintf("program %s %s, and this node runs only programs that observe", f.Program, why)}
		}
	}
	// Where it is attached says the manifest: sections name neither interfaces
	// nor what a node chooses.
	for _, x := range m.Programs {
		if rule, denied := p.denies(x.Hook); denied {
			return &PolicyError{"denied-hook", fmt.Sprintf("program %s attaches to %s, and nothing may be attached to %s", x.Name, x.Hook, rule)}
		}
	}
	spec, err := o.Collection(m, nil)
	if err != nil {
		return err
	}
	if n := len(spec.Maps); n > p.MaxMaps {
		return &PolicyError{"maps", fmt.Sprintf("%d maps, at most %d", n, p.MaxMaps)}
	}
	if n := MapBytes(spec, cpus); n > p.MaxMapBytes {
		return &PolicyError{"map-memory", fmt.Sprintf("its maps take about %d MiB, at most %d: ask for fewer entries", n>>20, p.MaxMapBytes>>20)}
	}
	return nil
}

// deniedAs are the kinds by which a kind is denied: who denies kprobes means those
// on many functions, too.
func deniedAs(k program.Kind) []program.Kind {
	if k == program.KprobeSession {
		return []program.Kind{k, program.Kprobe, program.Kretprobe}
	}
	return []program.Kind{k, k.Single()}
}

// wider is what a pattern of functions has besides *: as one, it stands for no less.
var wider = regexp.MustCompile(`\\.?|\[(?:\\.|[^\]\\])*\]?|\?`)

// denies returns the rule that keeps programs off a hook.
func (p NodePolicy) denies(h program.Hook) (rule string, denied bool) {
	targets := []string{h.Target}
	if h.Kind.Multi() {
		targets = nil
		for _, name := range strings.Split(h.Target, ",") {
			targets = append(targets, wider.ReplaceAllString(name, "*"))
		}
	}
	var names []string
	for _, kind := range deniedAs(h.Kind) {
		for _, target := range targets {
			x := h
			x.Kind, x.Target = kind, target
			name := x.String()
			// An offset into a function is still that function, and how often is
			// sampled no other event.
			function, _, _ := strings.Cut(name, "+")
			names = append(names, name, function)
			if kind == program.PerfEvent {
				names = append(names, string(kind)+" "+target)
			}
		}
	}
	for _, rule := range p.DenyHooks {
		if slices.ContainsFunc(names, func(name string) bool { return overlap(rule, name) }) {
			return rule, true
		}
	}
	return "", false
}

// overlap reports whether there is a text that both patterns match, * being
// anything: a hook may name many places by a pattern of its own.
func overlap(a, b string) bool {
	// row[j]: the rest of a, from i on, and b[j:] overlap.
	row := make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		next := row
		row = make([]bool, len(b)+1)
		for j := len(b); j >= 0; j-- {
			switch {
			case i == len(a) && j == len(b):
				row[j] = true
			case i < len(a) && a[i] == '*':
				row[j] = next[j] || j < len(b) && row[j+1]
			case j < len(b) && b[j] == '*':
				row[j] = row[j+1] || i < len(a) && next[j]
			default:
				row[j] = i < len(a) && j < len(b) && a[i] == b[j] && next[j+1]
			}
		}
	}
	return row[0]
}

// actsBecause says why a program may change what the node does; it returns ""
// for one that only observes. What is not known to observe acts.
func actsBecause(f program.Facts, spec *ebpf.ProgramSpec) string {
	for _, h := range f.Helpers {
		if acts(h) {
			return "calls " + h + ", which does more than observe"
		}
	}
	for _, k := range f.Kfuncs {
		if acts(k) {
			return "calls the kernel function " + k + ", which is not known to observe only"
		}
	}
	if f.Turns > program.MaxTurns {
		return fmt.Sprintf("can hold a processor for long: bound its loops by constants, together by %d", program.MaxTurns)
	}
	if len(f.Writes) > 0 {
		return "may write into its " + strings.Join(f.Writes, " and ")
	}
	harmless, ok := f.Hook.Kind.Harmless()
	if !ok {
		return ""
	}
	name := verdictName(f.Hook.Kind, harmless)
	if f.Verdicts == nil {
		return fmt.Sprintf("returns to %s what cannot be told from its instructions; let every return be the constant %s", f.Hook.Kind, name)
	}
	for _, v := range f.Verdicts {
		if v != harmless {
			return fmt.Sprintf("can return %d to %s, where only %s changes nothing", v, f.Hook.Kind, name)
		}
	}
	// The old packet loads end the program with 0 when they are out of bounds,
	// past every return.
	if harmless != 0 && slices.ContainsFunc(spec.Instructions, isPacketLoad) {
		return "uses packet loads that can end it with the verdict 0"
	}
	return ""
}

// acts reports whether a helper or kfunc does more than observe, as far as is
// known.
func acts(call string) bool {
	effect, _, _ := program.EffectOf(call)
	return effect >= program.Acts
}

// verdictName returns a verdict as people know it: XDP_PASS (2).
func verdictName(k program.Kind, verdict int32) string {
	switch k {
	case program.XDP:
		return fmt.Sprintf("XDP_PASS (%d)", verdict)
	case program.TCXIngress, program.TCXEgress:
		return fmt.Sprintf("TCX_NEXT (%d)", verdict)
	}
	return fmt.Sprint(verdict)
}

func isPacketLoad(ins asm.Instruction) bool {
	return ins.OpCode.Class() == asm.LdClass && (ins.OpCode.Mode() == asm.AbsMode || ins.OpCode.Mode() == asm.IndMode)
}

// Storage maps have no bound of their own; they are estimated with as many
// entries as a busy node has tasks or sockets.
const storageEntries = 32 << 10

// MapBytes estimates how much kernel memory the maps of a collection can take
// when they are full, on a node with so many processors. It counts a full map
// whether or not the kernel allocates it at once.
func MapBytes(spec *ebpf.CollectionSpec, cpus int) uint64 {
	var sum uint64
	for _, m := range spec.Maps {
		sum = addUp(sum, mapBytes(m, cpus, 0))
	}
	return sum
}

func mapBytes(m *ebpf.MapSpec, cpus, depth int) uint64 {
	n := uint64(m.MaxEntries)
	key, value := align8(m.KeySize), align8(m.ValueSize)
	const element = 64 // what the kernel keeps beside key and value, about
	switch m.Type {
	case ebpf.RingBuf, ebpf.UserRingbuf:
		return n // bytes
	case ebpf.PerfEventArray: // in a collection of package program n is bytes, of all processors together
		return times(uint64(cpus), uint64(program.PerfBytes(m.MaxEntries, cpus))+4096)
	case ebpf.Arena:
		return times(n, 4096) // pages
	case ebpf.Array:
		return times(n, value)
	case ebpf.PerCPUArray:
		return times(n, times(value, uint64(cpus)))
	case ebpf.PerCPUHash, ebpf.LRUCPUHash:
		return times(n, addUp(element+key, times(value, uint64(cpus))))
	case ebpf.SkStorage, ebpf.InodeStorage, ebpf.TaskStorage, ebpf.CGroupStorage, ebpf.CgroupStorage:
		return times(max(n, storageEntries), element+value)
	case ebpf.PerCPUCGroupStorage:
		return times(max(n, storageEntries), addUp(element, times(value, uint64(cpus))))
	case ebpf.ArrayOfMaps, ebpf.HashOfMaps:
		inner := uint64(math.MaxUint64) // without a template: anything
		if m.InnerMap != nil && depth == 0 {
			inner = mapBytes(m.InnerMap, cpus, depth+1)
		}
		return times(n, addUp(element+key, inner))
	}
	return times(n, element+key+value)
}

func align8(n uint32) uint64 { return (uint64(n) + 7) &^ 7 }

// times and addUp stop at the largest number instead of wrapping around.
func times(a, b uint64) uint64 {
	if hi, lo := bits.Mul64(a, b); hi == 0 {
		return lo
	}
	return math.MaxUint64
}

func addUp(a, b uint64) uint64 {
	if sum, carry := bits.Add64(a, b, 0); carry == 0 {
		return sum
	}
	return math.MaxUint64
}

package executor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/goccy/go-yaml"

	"kgent/agent/program"
)

// MaxPolicyFile is the size of the largest policy file, in bytes.
const MaxPolicyFile = 1 << 20

// policyFile is a node's policy as its operator writes it. What is not there
// stays as it is in [DefaultPolicy].
type policyFile struct {
	AllowAct bool `yaml:"allow_act"`
	// AllowHelpers are taken off the helpers that are denied by default.
	AllowHelpers []string `yaml:"allow_helpers"`
	Deny         struct {
		Hooks   []string `yaml:"hooks"`
		Kinds   []string `yaml:"kinds"`
		Helpers []string `yaml:"helpers"`
		Types   []string `yaml:"program_types"`
	} `yaml:"deny"`
	CPU struct {
		PerRun string `yaml:"per_run"`
		Total  string `yaml:"all_runs"`
	} `yaml:"cpu"`
	Runs        *int   `yaml:"runs"`
	Programs    *int   `yaml:"programs_per_run"`
	Maps        *int   `yaml:"maps_per_run"`
	MapMemory   string `yaml:"map_memory_per_run"`
	EventsRate  *int   `yaml:"events_per_second"`
	LinesRate   *int   `yaml:"lines_per_second"`
	BytesRate   string `yaml:"bytes_per_second"`
	CrashPauses struct {
		First string `yaml:"first"`
		Most  string `yaml:"longest"`
	} `yaml:"pause_after_crash"`
}

// ParsePolicy reads a node's policy file, over [DefaultPolicy]. A key that it
// does not know is an error: a bound that is not kept must not look like one.
func ParsePolicy(text []byte) (NodePolicy, error) {
	if len(text) > MaxPolicyFile {
		return NodePolicy{}, fmt.Errorf("reading the node's policy: %d bytes, at most %d", len(text), MaxPolicyFile)
	}
	var f policyFile
	if err := yaml.UnmarshalWithOptions(text, &f, yaml.Strict()); err != nil {
		return NodePolicy{}, fmt.Errorf("reading the node's policy: %s", strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	p := DefaultPolicy()
	p.AllowAct = f.AllowAct
	errs := []error{
		f.denials(&p),
		share("cpu.per_run", f.CPU.PerRun, &p.CPUPerRun),
		share("cpu.all_runs", f.CPU.Total, &p.CPUTotal),
		number("runs", f.Runs, 1, &p.MaxRuns),
		number("programs_per_run", f.Programs, 1, &p.MaxPrograms),
		number("maps_per_run", f.Maps, 1, &p.MaxMaps),
		number("events_per_second", f.EventsRate, 0, &p.MaxEvents),
		number("lines_per_second", f.LinesRate, 0, &p.MaxLines),
		pauseOf("pause_after_crash.first", f.CrashPauses.First, &p.CrashFirst),
		pauseOf("pause_after_crash.longest", f.CrashPauses.Most, &p.CrashMost),
	}
	rate := uint64(p.MaxBytes)
	errs = append(errs, bytesOf("map_memory_per_run", f.MapMemory, &p.MaxMapBytes), bytesOf("bytes_per_second", f.BytesRate, &rate))
	p.MaxBytes = int(min(rate, 1<<40))
	if p.CrashMost < p.CrashFirst {
		errs = append(errs, fmt.Errorf("pause_after_crash: longest, %v, is shorter than first, %v", p.CrashMost, p.CrashFirst))
	}
	if err := errors.Join(errs...); err != nil {
		return NodePolicy{}, fmt.Errorf("reading the node's policy: %w", err)
	}
	return p, nil
}

// denials reads what is denied, and what is not any more.
func (f *policyFile) denials(p *NodePolicy) error {
	var errs []error
	for _, h := range slices.Concat(f.Deny.Helpers, f.AllowHelpers) {
		if !strings.HasPrefix(h, "bpf_") {
			errs = append(errs, fmt.Errorf("helper %q: want the kernel's name, bpf_…", h))
		}
	}
	for _, h := range f.AllowHelpers {
		if !slices.Contains(p.DenyHelpers, h) {
			errs = append(errs, fmt.Errorf("allow_helpers: %s is not denied by default", h))
		}
		if !f.AllowAct {
			errs = append(errs, fmt.Errorf("allow_helpers: %s changes what the node does, which needs allow_act as well", h))
		}
	}
	p.DenyHelpers = slices.DeleteFunc(p.DenyHelpers, func(h string) bool { return slices.Contains(f.AllowHelpers, h) })
	p.DenyHelpers = append(p.DenyHelpers, f.Deny.Helpers...)
	for _, k := range f.Deny.Kinds {
		if !slices.Contains(kinds, program.Kind(k)) {
			errs = append(errs, fmt.Errorf("deny.kinds: %q is no kind of hook; there are %v", k, kinds))
		}
		p.DenyKinds = append(p.DenyKinds, program.Kind(k))
	}
	for _, h := range f.Deny.Hooks {
		if _, target, ok := strings.Cut(h, " "); !ok || target == "" {
			errs = append(errs, fmt.Errorf("deny.hooks: %q: want a kind, a space and a target, * for any, as in \"kprobe tcp_*\" or \"* vfs_read\"", h))
		}
		p.DenyHooks = append(p.DenyHooks, h)
	}
	known := programTypes()
	for _, t := range f.Deny.Types {
		if !slices.Contains(known, t) {
			errs = append(errs, fmt.Errorf("deny.program_types: %q is none; there are %v", t, known))
		}
		p.DenyTypes = append(p.DenyTypes, t)
	}
	return errors.Join(errs...)
}

// kinds are the kinds of hooks that a policy can name.
var kinds = []program.Kind{
	program.Tracepoint,
	program.RawTracepoint,
	program.TPBTF,
	program.Kprobe,
	program.Kretprobe,
	program.KprobeMulti,
	program.KretprobeMulti,
	program.KprobeSession,
	program.Fentry,
	program.Fexit,
	program.FmodRet,
	program.LSM,
	program.Iter,
	program.Uprobe,
	program.Uretprobe,
	program.USDT,
	program.PerfEvent,
	program.XDP,
	program.TCXIngress,
	program.TCXEgress,
	program.SocketFilter,
	program.CgroupIngress,
	program.CgroupEgress,
	program.CgroupSock,
}

// programTypes are the names of the kernel's program types.
func programTypes() []string {
	var names []string
	for t := ebpf.SocketFilter; t <= ebpf.Netfilter; t++ {
		names = append(names, strings.ToLower(t.String()))
	}
	return names
}

// share reads a share of a core, 1.5%; none and 0 are no bound.
func share(key, text string, to *float64) error {
	if text == "" {
		return nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !strings.HasSuffix(text, "%") || !(v >= 0 && v <= 100_000) {
		return fmt.Errorf("%s: %q is no share of a core: write it as 1%%; 0%% is no bound", key, text)
	}
	*to = v / 100
	return nil
}

func number(key string, n *int, least int, to *int) error {
	if n == nil {
		return nil
	}
	if *n < least {
		return fmt.Errorf("%s: %d, want at least %d", key, *n, least)
	}
	*to = *n
	return nil
}

func pauseOf(key, text string, to *time.Duration) error {
	if text == "" {
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%s: %q is no length of time: write it as 60s or 1h", key, text)
	}
	*to = d
	return nil
}

// bytesOf reads a size, 64MiB.
func bytesOf(key, text string, to *uint64) error {
	if text == "" {
		return nil
	}
	digits := strings.TrimRight(text, "KMGiB")
	shift, ok := map[string]int{"B": 0, "KiB": 10, "MiB": 20, "GiB": 30}[text[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || !ok {
		return fmt.Errorf("%s: %q is no size: write it as 64MiB", key, text)
	}
	*to = n << shift
	return nil
}

// Words says what a policy comes to, a line each.
func (p NodePolicy) Words() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	rate := func(n int, what string) {
		if n == 0 {
			line("a run may send any number of %s", what)
		} else {
			line("a run may send %d %s a second", n, what)
		}
	}
	if p.AllowAct {
		line("runs programs that change what the node does, when they were approved as such")
	} else {
		line("runs programs that observe only")
	}
	line("at most %d runs at once, each with %d programs and %d maps of %d MiB together", p.MaxRuns, p.MaxPrograms, p.MaxMaps, p.MaxMapBytes>>20)
	for _, x := range []struct {
		what  string
		share float64
	}{{"a run may cost", p.CPUPerRun}, {"all runs together may cost", p.CPUTotal}} {
		if x.share == 0 {
			line("%s any share of the processors", x.what)
		} else {
			line("%s %s of one core", x.what, percent(x.share))
		}
	}
	rate(p.MaxEvents, "events")
	rate(p.MaxLines, "lines")
	if p.MaxBytes > 0 && p.MaxBytes%(1<<20) == 0 {
		rate(p.MaxBytes>>20, "MiB")
	} else {
		rate(p.MaxBytes, "bytes")
	}
	if p.CrashFirst > 0 {
		line("a program that was loaded when the executor died is kept out for %v, then twice as long, up to %v", p.CrashFirst, p.CrashMost)
	}
	for _, x := range []struct {
		what string
		list []string
	}{{"helpers", p.DenyHelpers}, {"hooks", p.DenyHooks}, {"program types", p.DenyTypes}} {
		if len(x.list) > 0 {
			line("never: %s %s", x.what, strings.Join(x.list, ", "))
		}
	}
	if len(p.DenyKinds) > 0 {
		line("never: hooks of kinds %v", p.DenyKinds)
	}
	return b.String()
}

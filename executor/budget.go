package executor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"kgent/agent/program"
	"kgent/executor/probe"
)

// The CPU budget: what runs cost is sampled all the time, and a run that costs
// more than the node allows is ended. What is decided here is a pure function
// of the samples; [Executor.watchCosts] takes them.
//
// A window is short because the kernel's statistics make every program on the
// node slower while they are on, and all runs are measured in the same window,
// so that they are on 8 % of the time however many runs there are. With four
// samples to decide on, a run that turns hot is ended about a second later.
const (
	sampleWindow = 20 * time.Millisecond
	sampleEvery  = 250 * time.Millisecond
	// decideOn is how many samples a decision is based on.
	decideOn = 4
	// lasting is how many of them must be above the budget by themselves: a
	// burst of a quarter of a second ends nothing.
	lasting = 3
)

// assumedCost is what an event is taken to cost on a node whose kernel does not
// let kgent measure: more than any that was measured.
const assumedCost = time.Microsecond

// reachCost is what it costs to get to a program, which the kernel's statistics
// leave out: its time begins when the program does. A breakpoint in a user's
// code is a trap, one in the kernel's often is; the rest are calls.
func reachCost(k program.Kind) time.Duration {
	switch {
	case k.NeedsBinary():
		return 1700 * time.Nanosecond
	case k == program.Kprobe || k == program.Kretprobe:
		return 150 * time.Nanosecond
	case k == program.Iter:
		return 0 // the reader pays, and it is kgent
	}
	return 30 * time.Nanosecond
}

// meter holds the last samples of one run.
type meter struct {
	samples []probe.Sample
	// estimated is set when the samples are events at the assumed cost.
	estimated bool
	// reports says that the run has events, beside what it counts.
	reports bool
}

func (m *meter) add(s probe.Sample) {
	if len(m.samples) > 0 && len(s.Programs) != len(m.samples[0].Programs) {
		m.samples = nil // another set of programs
	}
	m.samples = append(m.samples, s)
	m.samples = m.samples[max(0, len(m.samples)-decideOn):]
}

// load is what a run costs its node.
type load struct {
	share float64   // of one core
	parts []float64 // the same of each sample by itself
	worst heat
}

// heat is one program's part in it.
type heat struct {
	cost  probe.Cost
	rate  float64       // hits a second
	each  time.Duration // what a hit costs, reaching the program included
	share float64
	guess bool
	// reports: the run hands over events, it does not only count in the kernel.
	reports bool
}

// load returns what the run costs: the hits of each program times what one of
// them costs, which is the median of the samples, so that one program run
// during which the host stood still counts for no more than the others. It is
// false while there are too few samples.
func (m *meter) load() (load, bool) {
	if len(m.samples) < decideOn {
		return load{}, false
	}
	l := load{parts: make([]float64, len(m.samples))}
	var window time.Duration
	for _, s := range m.samples {
		window += s.Window
	}
	for i := range m.samples[0].Programs {
		h := heat{cost: m.samples[0].Programs[i], guess: m.estimated, reports: m.reports}
		var runs uint64
		var each []time.Duration
		for _, s := range m.samples {
			c := s.Programs[i]
			runs += c.Runs
			if c.Runs > 0 {
				each = append(each, c.Spent/time.Duration(c.Runs))
			}
		}
		if len(each) == 0 || window <= 0 {
			continue
		}
		slices.Sort(each)
		h.each = each[len(each)/2] + reachCost(h.cost.Hook.Kind)
		h.rate = float64(runs) / window.Seconds()
		h.share = h.rate * h.each.Seconds()
		l.share += h.share
		if h.share > l.worst.share {
			l.worst = h
		}
		for j, s := range m.samples {
			if s.Window > 0 {
				l.parts[j] += float64(s.Programs[i].Runs) / s.Window.Seconds() * h.each.Seconds()
			}
		}
	}
	return l, true
}

// above reports whether the run costs more than a share of a core, not only for
// a moment.
func (l load) above(limit float64) bool {
	n := 0
	for _, p := range l.parts {
		if p > limit {
			n++
		}
	}
	return l.share > limit && n >= lasting
}

// tooHot returns the runs that must end, and why. A budget of 0 is none. When
// all runs together cost too much the most expensive one ends, and the next
// samples show whether that was enough.
func tooHot(loads map[string]load, perRun, inAll float64) map[string]string {
	out := map[string]string{}
	var rest []string
	together := make([]float64, decideOn)
	sum := 0.0
	for _, run := range slices.Sorted(maps.Keys(loads)) {
		l := loads[run]
		if perRun > 0 && l.above(perRun) {
			out[run] = l.worst.blame(l.share, fmt.Sprintf("this node allows a run %s", percent(perRun)), perRun)
			continue
		}
		rest = append(rest, run)
		sum += l.share
		for i, p := range l.parts {
			together[i] += p
		}
	}
	all := load{share: sum, parts: together}
	if inAll > 0 && len(rest) > 0 && len(out) == 0 && all.above(inAll) {
		worst := slices.MaxFunc(rest, func(a, b string) int {
			switch d := loads[a].share - loads[b].share; {
			case d < 0:
				return -1
			case d > 0:
				return 1
			}
			return 0
		})
		l := loads[worst]
		out[worst] = l.worst.blame(l.share, fmt.Sprintf("all runs on this node together cost %s, and it allows them %s", percent(sum), percent(inAll)), inAll)
	}
	return out
}

// blame says which hook was too hot, and what to do.
func (h heat) blame(share float64, allowed string, limit float64) string {
	where := h.cost.Hook.String()
	if h.cost.Hook.Kind == "" {
		where = "program " + h.cost.Program
	}
	what := fmt.Sprintf("%s was too hot: %s hits a second at %v each are %s of a core", where, count(h.rate), h.each.Round(time.Nanosecond), percent(h.share))
	if h.guess {
		what = fmt.Sprintf("it was too hot: %s events a second, taken to cost %v each because this kernel does not let them be measured, are %s of a core", count(h.rate), h.each, percent(h.share))
	}
	if share > h.share*1.05 {
		what += fmt.Sprintf(" (the whole run: %s)", percent(share))
	}
	return what + ", and " + allowed + ". " + h.advice(limit)
}

// advice says what makes a hook cost less.
func (h heat) advice(limit float64) string {
	hook := h.cost.Hook
	switch {
	case hook.Kind == program.PerfEvent:
		return "Sample less often"
	case (hook.Kind == program.RawTracepoint || hook.Kind == program.TPBTF) && strings.HasPrefix(hook.Target, "sys_"),
		hook.Kind == program.Tracepoint && strings.HasPrefix(hook.Target, "raw_syscalls:"):
		return "Every system call of every process passes there: ask for the one that matters, as syscalls:" + strings.TrimPrefix(hook.Target, "raw_syscalls:") + "_openat"
	}
	// What remains when the program does nothing but look and return.
	const least = 20 * time.Nanosecond
	if h.rate*(reachCost(hook.Kind)+least).Seconds() > limit {
		return "It is passed so often that no filter in the program makes it cheap enough: ask for something rarer, or for a node that is less busy"
	}
	advice := "Filter there by process, command, user or container"
	if h.reports {
		advice += ", or count in the kernel instead of reporting each event"
	}
	return advice
}

// percent writes a share of a core.
func percent(share float64) string {
	switch p := 100 * share; {
	case p >= 10:
		return fmt.Sprintf("%.0f %%", p)
	case p >= 1:
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.2f %%", p)
	}
}

// count writes a rate with its thousands apart.
func count(rate float64) string {
	s := fmt.Sprintf("%.0f", rate)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

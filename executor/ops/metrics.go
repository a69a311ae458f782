package ops

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/executor"
)

// Metrics writes a node's state in the text format of Prometheus. Names end in
// their unit; what only grows ends in _total. No label is anybody's free text:
// what people or programs choose would make series without end.
func Metrics(s executor.Status, now time.Time) []byte {
	var m writer
	m.family("kgent_executor_info", "gauge", "What the executor is; always 1.")
	m.sample("kgent_executor_info", 1, "node", s.Node.Name, "version", s.Node.Version, "kernel", s.Node.Kernel)
	m.one("kgent_executor_start_time_seconds", "gauge", "When the executor was started, since the epoch.", epoch(s.Started))
	drained := 0.0
	if s.Drained != nil {
		drained = 1
	}
	m.one("kgent_executor_drained", "gauge", "1 while the node is in maintenance and takes no runs.", drained)
	m.one("kgent_executor_runs", "gauge", "Runs in progress.", float64(len(s.Runs)))
	m.one("kgent_executor_runs_limit", "gauge", "Most runs at once.", float64(s.Policy.Runs))

	m.family("kgent_executor_jobs_total", "counter", "Jobs that are over, by outcome; of those refused, by the rule that they broke.")
	for _, outcome := range slices.Sorted(maps.Keys(s.Totals.Jobs)) {
		o, rule, _ := strings.Cut(outcome, ": ")
		m.sample("kgent_executor_jobs_total", float64(s.Totals.Jobs[outcome]), "outcome", o, "rule", rule)
	}
	m.one("kgent_executor_events_total", "counter", "Events that programs produced.", float64(s.Totals.Events.Produced))
	m.one("kgent_executor_events_delivered_total", "counter", "Events that were handed to the bus.", float64(s.Totals.Events.Delivered))
	m.family("kgent_executor_events_lost_total", "counter", "Events that were lost, by place: kernel, no room in the buffer; executor, over a rate or more than the bus took.")
	m.sample("kgent_executor_events_lost_total", float64(s.Totals.Events.KernelLost), "place", "kernel")
	m.sample("kgent_executor_events_lost_total", float64(s.Totals.Events.Dropped), "place", "executor")
	m.one("kgent_executor_map_updates_lost_total", "counter", "Updates of output maps that found no room.", float64(s.Totals.Events.MapFull))
	m.one("kgent_executor_program_runs_missed_total", "counter", "Program runs that the kernel left out because a program ran there already.", float64(s.Totals.Missed))

	m.one("kgent_executor_run_seconds_total", "counter", "How long runs that are over were attached, together.", s.Totals.RunTime.Seconds())
	m.one("kgent_executor_sampled_program_seconds_total", "counter", "Time in programs of runs that are over, within the samples.", s.Totals.ProgramTime.Seconds())
	m.one("kgent_executor_program_cpu_cores", "gauge", "What the programs of all runs cost now, in cores.", s.CPUShare)
	m.one("kgent_executor_program_cpu_limit_cores", "gauge", "Most that they may cost together, in cores; 0 is no bound.", s.Policy.CPUTotal)
	m.one("kgent_executor_run_cpu_limit_cores", "gauge", "Most that one run may cost, in cores; 0 is no bound.", s.Policy.CPUPerRun)

	m.one("kgent_executor_bus_lag_seconds", "gauge", "How long the oldest output has waited for the bus to take it.", s.Lag.Seconds())
	silence := now.Sub(s.Started)
	if !s.Heard.IsZero() {
		silence = now.Sub(s.Heard)
	}
	m.one("kgent_executor_bus_silence_seconds", "gauge", "How long ago the bus was last reached; it is tried every 5 s.", max(0, silence.Seconds()))
	m.one("kgent_executor_bus_errors_total", "counter", "Failures of the bus.", float64(s.Totals.BusErrors))
	return m.b.Bytes()
}

// epoch is a time as Prometheus has it.
func epoch(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// writer writes families and their samples.
type writer struct{ b bytes.Buffer }

func (w *writer) family(name, kind, help string) {
	fmt.Fprintf(&w.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one sample with its labels, name and value in turn; an empty
// value is left out.
func (w *writer) sample(name string, v float64, labels ...string) {
	w.b.WriteString(name)
	sep := "{"
	for i := 0; i+1 < len(labels); i += 2 {
		if labels[i+1] != "" {
			fmt.Fprintf(&w.b, "%s%s=\"%s\"", sep, labels[i], escape.Replace(labels[i+1]))
			sep = ","
		}
	}
	if sep == "," {
		w.b.WriteByte('}')
	}
	w.b.WriteString(" " + strconv.FormatFloat(v, 'g', -1, 64) + "\n")
}

func (w *writer) one(name, kind, help string, v float64) {
	w.family(name, kind, help)
	w.sample(name, v)
}

// escape is that of label values.
var escape = strings.NewReplacer("\\", `\\`, "\n", `\n`, `"`, `\"`)

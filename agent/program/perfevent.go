package program

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// perfEvent is how perf_event_open(2) knows an event.
type perfEvent struct {
	kind   uint32
	config uint64
}

// perfEvents are those that a sampling program can run at, by the names that
// perf gives them. Of hardware only what the kernel knows on all processors.
var perfEvents = map[string]perfEvent{
	"cpu-clock":        {unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CPU_CLOCK},
	"task-clock":       {unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_TASK_CLOCK},
	"page-faults":      {unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_PAGE_FAULTS},
	"minor-faults":     {unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_PAGE_FAULTS_MIN},
	"major-faults":     {unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_PAGE_FAULTS_MAJ},
	"context-switches": {unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CONTEXT_SWITCHES},
	"cpu-migrations":   {unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CPU_MIGRATIONS},

	"cpu-cycles":       {unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_CPU_CYCLES},
	"instructions":     {unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_INSTRUCTIONS},
	"cache-references": {unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_CACHE_REFERENCES},
	"cache-misses":     {unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_CACHE_MISSES},
	"branches":         {unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_BRANCH_INSTRUCTIONS},
	"branch-misses":    {unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_BRANCH_MISSES},
}

// PerfEvents returns the names of the events at which a program can sample, in
// order.
func PerfEvents() []string { return slices.Sorted(maps.Keys(perfEvents)) }

// PerfEventCode returns the type and config of an event for perf_event_open(2).
func PerfEventCode(name string) (kind uint32, config uint64, ok bool) {
	e, ok := perfEvents[name]
	return e.kind, e.config, ok
}

package result

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"kgent/executor/output"
	"kgent/executor/render/text"
)

func count(n uint64) string {
	return text.Value("k_count", json.Number(strconv.FormatUint(n, 10)), text.Options{})
}

func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

func size(n uint64) string {
	return text.Value("k_bytes", json.Number(strconv.FormatUint(n, 10)), text.Options{}) + "B"
}

// seconds shows how long something took: 0.4 s, 12 s, 2 min 5 s.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second)).Round(time.Second)
	switch {
	case s < 0 || math.IsNaN(s) || s > 1e9:
		return "an unknown time"
	case s < 9.95:
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour && d%time.Minute == 0:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

func share(part, whole float64) string {
	if whole <= 0 {
		return "0%"
	}
	switch p := 100 * part / whole; {
	case part > 0 && p < 0.5:
		return "<1%"
	case part < whole && p > 99.5:
		return ">99%"
	default:
		return strconv.FormatFloat(p, 'f', 0, 64) + "%"
	}
}

// Account says in one line what became of all events: "12,345 events, all
// delivered". counts says that the program reports no events but counts in the
// kernel.
func Account(s output.Summary, counts bool) string {
	c := s.Counters
	var parts []string
	for _, l := range []struct {
		n     uint64
		where string
	}{{c.KernelLost, "lost in the kernel (no room in the buffer)"}, {c.Dropped, "dropped over the rate limit"}, {c.BusTrimmed, "lost between node and bot"}} {
		if l.n > 0 {
			parts = append(parts, count(l.n)+" "+l.where)
		}
	}
	what := plural(c.Produced, "event")
	switch {
	case len(parts) > 0:
		what += ": " + count(c.Delivered) + " delivered, " + strings.Join(parts, ", ")
	case !c.Balanced():
		what += ": " + count(c.Delivered) + " delivered"
	case c.Produced == 0 && counts:
		what = "counted in the kernel"
		if c.MapFull == 0 && s.Overhead.Missed == 0 && !s.Overhead.MissedUnknown {
			what += "; nothing was lost"
		}
	case c.Produced == 0:
		what = "0 events, none lost"
	default:
		what += ", all delivered"
	}
	if !c.Balanced() {
		sum := plus(plus(c.Delivered, c.KernelLost), plus(c.Dropped, c.BusTrimmed))
		if sum < c.Produced {
			what += "; " + plural(c.Produced-sum, "event") + " cannot be accounted for"
		} else {
			what += "; the account is off by " + plural(sum-c.Produced, "event") + " too many"
		}
	}
	if c.MapFull > 0 {
		what += "; " + plural(c.MapFull, "update") + " found a table full, so it is incomplete"
	}
	if s.Overhead.Missed > 0 {
		what += "; the kernel skipped the program " + plural(s.Overhead.Missed, "time")
	}
	if s.Overhead.MissedUnknown {
		what += "; runs that a kernel skips are counted from Linux 6.7 on only"
	}
	return what
}

// Ended says how a run ended and how long it took.
func Ended(s output.Summary) string {
	after := " after " + seconds(s.Seconds)
	well := 0
	for _, n := range s.Nodes {
		if n.Reason != output.ReasonFailed && n.Reason != output.ReasonRefused {
			well++
		}
	}
	if bad := s.Reason == output.ReasonFailed || s.Reason == output.ReasonRefused; bad && well > 0 {
		return fmt.Sprintf("ended%s, as planned on only %d of %d nodes", after, well, len(s.Nodes))
	}
	what := ""
	switch s.Reason {
	case output.ReasonDeadline:
		what = "ended as planned" + after
	case "complete":
		what = "ended by itself" + after
	case output.ReasonStopped:
		what = "stopped" + after
	case output.ReasonInterrupted:
		what = "interrupted" + after
	case output.ReasonOutput:
		what = "cut short" + after + ": the node lost touch with kgent"
	case output.ReasonBudget:
		what = "ended by the node's guard" + after + ": it cost too much"
	case output.ReasonFailed:
		what = "failed"
		if s.Seconds > 0 {
			what += after
		}
	case output.ReasonRefused:
		what = "refused by the node"
		if len(s.Nodes) > 1 {
			what = "refused by a node"
		}
	case output.ReasonDenied:
		what = "not run: not approved"
	case output.ReasonCandidate:
		what = "not run: there is no program to approve"
	case output.ReasonShown:
		what = "not run, only shown"
	default:
		what = "ended (" + clean(string(s.Reason)) + ")" + after
	}
	return what
}

// Cost says what a run cost the busiest of its nodes; empty when that was not
// measured.
func Cost(o output.Overhead) string {
	if !o.Available || o.Runs == 0 {
		return ""
	}
	p := o.CPUShare * 100
	switch {
	case math.IsNaN(p) || p < 0:
		return ""
	case p < 0.01:
		return "less than 0.01% of one core"
	case p < 0.995:
		return strconv.FormatFloat(p, 'f', 2, 64) + "% of one core"
	case p < 9.95:
		return strconv.FormatFloat(p, 'f', 1, 64) + "% of one core"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + "% of one core"
}

package program

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Linear is what the tag of K_LINEAR in kgent.bpf.h says of an array of counters:
// slot i counts the values from i*Step up to but not (i+1)*Step, the last one also
// all above.
type Linear struct {
	Step uint64
	Unit string // ns, us, ms, bytes or count
}

// LinearUnit is the unit of a linear histogram of values of a meaning: that of k_ns
// is ns. What has no unit is counted.
func LinearUnit(meaning string) string {
	if slices.Contains(linearUnits, meaning) {
		return meaning
	}
	return "count"
}

var linearUnits = []string{"ns", "us", "ms", "bytes", "count"}

const linearTag = "kgent:linear:"

// LinearOf reads the declaration tags of a struct member. Without such a tag ok is
// false.
func LinearOf(tags []string) (l Linear, ok bool, err error) {
	for _, t := range tags {
		rest, is := strings.CutPrefix(t, linearTag)
		if !is {
			continue
		}
		step, unit, _ := strings.Cut(rest, ":")
		l.Step, err = strconv.ParseUint(step, 0, 64)
		if err != nil || l.Step == 0 {
			return Linear{}, false, fmt.Errorf("a linear histogram with the step %q: want a number from 1", step)
		}
		if l.Unit = unit; !slices.Contains(linearUnits, unit) {
			return Linear{}, false, fmt.Errorf("a linear histogram of %q: want ns, us, ms, bytes or count", unit)
		}
		return l, true, nil
	}
	return Linear{}, false, nil
}

package recipes

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var numberWords = map[string]float64{
	"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
	"fifteen": 15, "twenty": 20, "twenty-five": 25, "thirty": 30, "forty": 40, "forty-five": 45, "fifty": 50, "sixty": 60, "ninety": 90, "hundred": 100,
}

var units = map[string]time.Duration{
	"ns": time.Nanosecond, "nsec": time.Nanosecond, "nanosecond": time.Nanosecond, "nano": time.Nanosecond,
	"us": time.Microsecond, "µs": time.Microsecond, "usec": time.Microsecond, "microsecond": time.Microsecond, "micro": time.Microsecond, "microsec": time.Microsecond,
	"ms": time.Millisecond, "msec": time.Millisecond, "millisecond": time.Millisecond, "millisec": time.Millisecond, "milli": time.Millisecond, "milisecond": time.Millisecond,
	"s": time.Second, "sec": time.Second, "second": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour,
}

func timeUnit(s string) (time.Duration, bool) {
	if u, ok := units[s]; ok {
		return u, true
	}
	u, ok := units[strings.TrimSuffix(s, "s")]
	return u, ok && s != "ss"
}

// isNumeral reports whether a word in lower case is a number or a unit of time:
// words that hyphens join with others ("30-second").
func isNumeral(low string) bool {
	if _, ok := numberWords[low]; ok {
		return true
	}
	if _, ok := timeUnit(low); ok {
		return true
	}
	_, err := strconv.ParseUint(low, 10, 32)
	return err == nil
}

// integer reads a whole number in digits or as a word.
func (r *reader) integer(i int) (uint64, bool) {
	low := r.low(i)
	if v, ok := numberWords[low]; ok {
		return uint64(v), true
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(low, ",", ""), 10, 64)
	return n, err == nil
}

func (r *reader) number(i int) (float64, int) {
	low := r.low(i)
	if low == "" {
		return 0, 0
	}
	if v, ok := numberWords[low]; ok {
		if r.is(i+1, "hundred") && v < 10 {
			return v * 100, 2
		}
		return v, 1
	}
	if low[0] >= '0' && low[0] <= '9' || low[0] == '.' {
		if v, err := strconv.ParseFloat(strings.ReplaceAll(low, ",", ""), 64); err == nil && !math.IsInf(v, 0) {
			return v, 1
		}
	}
	if r.is(i, "a") && r.is(i+1, "hundred") {
		return 100, 2
	}
	return 0, 0
}

var fractions = []struct {
	phrase string
	value  float64
}{
	{"half", 0.5}, {"half a", 0.5}, {"half an", 0.5}, {"a half", 0.5}, {"one and a half", 1.5}, {"two and a half", 2.5}, {"a tenth of a", 0.1},
	{"a quarter", 0.25}, {"quarter of a", 0.25}, {"quarter of an", 0.25}, {"a quarter of a", 0.25}, {"a quarter of an", 0.25}, {"three quarters of a", 0.75}, {"three quarters of an", 0.75},
}

var glued = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([a-zµ]+)\+?$`)

// maxAmount bounds what is taken for an amount of time at all.
const maxAmount = 1000 * time.Hour

// amount reads a length of time at i: 10ms, 1m30s, half a second, two minutes.
func (r *reader) amount(i int) (time.Duration, int) {
	d, n := r.simpleAmount(i)
	if n == 0 {
		return 0, 0
	}
	// "1 minute 30 seconds", "two minutes and ten seconds"
	if !r.words[i+n-1].ends {
		j := i + n
		if r.is(j, "and") {
			j++
		}
		if more, m := r.simpleAmount(j); m > 0 && more < d && more > 0 && !r.is(j, "a", "an") {
			return d + more, j + m - i
		}
	}
	return d, n
}

func (r *reader) simpleAmount(i int) (time.Duration, int) {
	low := r.low(i)
	if low == "" {
		return 0, 0
	}
	scale := func(v float64, u time.Duration, n int) (time.Duration, int) {
		if d := v * float64(u); d >= 1 && d <= float64(maxAmount) {
			return time.Duration(math.Round(d)), n
		}
		return 0, 0
	}
	if m := glued.FindStringSubmatch(low); m != nil {
		if u, ok := timeUnit(m[2]); ok {
			v, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				return 0, 0
			}
			return scale(v, u, 1)
		}
	}
	if d, err := time.ParseDuration(low); err == nil && d > 0 && d <= maxAmount {
		return d, 1
	}
	for _, f := range fractions {
		if n := r.says(i, f.phrase); n > 0 {
			if u, ok := timeUnit(r.low(i + n)); ok && len(r.low(i+n)) > 1 {
				return scale(f.value, u, n+1)
			}
		}
	}
	if r.is(i, "a", "an") {
		if u, ok := timeUnit(r.low(i + 1)); ok && len(r.low(i+1)) > 2 {
			return u, 2
		}
	}
	if v, n := r.number(i); n > 0 {
		if u, ok := timeUnit(r.low(i + n)); ok {
			return scale(v, u, n+1)
		}
	}
	return 0, 0
}

// What an amount of time is, by the words before it and after it.
var (
	atLeast = []string{
		">", ">=", "≥", "more than", "longer than", "slower than", "greater than", "higher than", "larger than", "bigger than", "worse than", "no less than", "not less than", "no faster than",
		"at least", "upwards of", "in excess of", "a minimum of", "minimum of", "a threshold of", "threshold of", "threshold", "latency of", "above", "beyond", "past", "exceeding", "exceeds", "exceed", "exceeded",
	}
	atMost = []string{
		"<", "<=", "≤", "less than", "faster than", "quicker than", "shorter than", "smaller than", "lower than", "no more than", "not more than", "no longer than", "not longer than", "no slower than",
		"at most", "up to", "under", "below", "within",
	}
	orMore = []string{"or more", "or longer", "or slower", "or above", "or higher", "or over", "or greater", "and up", "and above", "and more", "plus", "minimum"}
	orLess = []string{"or less", "or faster", "or shorter", "or below", "or under", "at most", "max", "maximum"}
	ofPast = []string{"last", "past", "previous", "the last", "the past", "the previous"}
	ofRun  = []string{
		"for", "in", "during", "lasting", "next", "the next", "for the next", "in the next", "over the next", "during the next", "within the next", "for a total of", "for about", "for around", "for just", "for up to",
		"for roughly", "for at least", "for exactly", "stop after", "stopping after", "ends after", "end after", "a period of", "over a period of", "a window of", "over a window of", "over the course of",
	}
	runEnds = []string{"long", "total", "altogether", "overall", "straight", "max", "tops"}
	ofView  = []string{
		"every", "each", "per", "once every", "once per", "once a", "interval", "interval of", "intervals of", "an interval of", "at intervals of", "refresh every", "in steps of",
	}
)

// amounts reads thresholds, durations and intervals.
func (r *reader) amounts(i int) int {
	if n := r.bareUnit(i); n > 0 {
		return n
	}
	d, n := r.amount(i)
	if n == 0 || r.is(i, "a") && r.is(i+1, "sec") && r.is(i-1, "for") { // "it freezes for a sec"
		return 0
	}
	last, v := i+n, formatDuration(d)
	// The longest phrase before the amount decides: "for at least" is of the run.
	var lead []string
	m := 0
	for _, phrases := range [][]string{ofView, ofPast, atMost, atLeast, ofRun} {
		if n := r.longestBefore(i, phrases); n > m {
			lead, m = phrases, n
		}
	}
	leads := func(phrases []string) bool { return m > 0 && &lead[0] == &phrases[0] }
	switch {
	case leads(ofView):
		return r.take(i, i-m, last, r.interval(i-m, d))
	case r.is(last, "interval", "intervals"):
		return r.take(i, i, last+1, r.interval(i, d))
	case leads(ofPast) && !(r.is(i-1, "past") && d < time.Second): // "past 10 ms" is a threshold
		return r.take(i, i-m, last, problem(rolePast, "kgent sees what happens from now on, not what has happened before"))
	case leads(atMost):
		return r.take(i, i-m, last, value(roleAtMost, v))
	case leads(atLeast), leads(ofPast):
		return r.take(i, i-m, last, value(RoleThreshold, v))
	case r.longest(last, orMore) > 0:
		return r.take(i, i, last+r.longest(last, orMore), value(RoleThreshold, v))
	case r.longest(last, orLess) > 0:
		return r.take(i, i, last+r.longest(last, orLess), value(roleAtMost, v))
	case strings.HasSuffix(r.words[last-1].low, "+"):
		return r.take(i, i, last, value(RoleThreshold, v))
	case leads(ofRun) && d >= time.Second:
		if r.is(last, runEnds...) && !r.words[last-1].ends {
			last++
		}
		return r.take(i, i-m, last, value(roleDuration, v))
	case r.is(i-1, "over") && !r.words[i-1].ends:
		a := value(RoleThreshold, v)
		if d >= time.Second { // "count syscalls over 30 seconds"
			a.readings = append(a.readings, reading{roleDuration, v})
		}
		return r.take(i, i-1, last, a)
	case r.is(i-1, "after", "before", "until") && !r.words[i-1].ends:
		return r.take(i, i-1, last, problem(roleUnclear, "what happens %s %s cannot be told apart", r.low(i-1), v))
	case r.is(i, "a", "an"): // "syscalls a second"
		return r.take(i, i, last, value(roleRate, v))
	case d < time.Second:
		return r.take(i, i, last, problem(roleUnclear, "it does not say what is to be %s: write \"slower than %[1]s\" or \"every %[1]s\"", v))
	}
	if r.is(last, runEnds...) && !r.words[last-1].ends {
		last++
	} else if r.is(last, "sample", "capture", "recording", "trace", "run") && !r.words[last-1].ends && (last+1 == len(r.words) || r.words[last].ends) {
		last++ // "a 30 second sample"
	}
	return r.take(i, i, last, value(roleDuration, v))
}

// bareUnit reads units without a number: "every second", "per process and
// second", "for the next minute".
func (r *reader) bareUnit(i int) int {
	if n := r.longest(i, ofView); n > 0 {
		if u, ok := timeUnit(r.low(i + n)); ok && (len(r.low(i+n)) > 1 || r.is(i, "per")) && u >= time.Second {
			return r.take(i, i, i+n+1, r.interval(i, u))
		}
	}
	u, ok := timeUnit(r.low(i))
	if !ok || u < time.Second || len(r.low(i)) < 2 {
		return 0
	}
	if r.is(i-1, "and") && (r.is(i-2, "per") || r.is(i-3, "per", "each")) {
		return r.take(i, i-1, i+1, value(roleRate, formatDuration(u)))
	}
	if m := r.longestBefore(i, []string{"next", "the next"}); m > 0 {
		return r.take(i, i-m, i+1, value(roleDuration, formatDuration(u)))
	}
	return 0
}

// interval is a time between outputs. "every second" says when to look; "per second",
// at i, asks for numbers.
func (r *reader) interval(i int, d time.Duration) arg {
	switch {
	case d < 100*time.Millisecond || d > time.Hour: // the bounds of a manifest
		return problem(roleInterval, "an interval of %s: want 100ms to 1h", formatDuration(d))
	case r.is(i, "per"):
		return value(roleRate, formatDuration(d))
	}
	return value(roleInterval, formatDuration(d))
}

// longest returns the length in words of the longest of the phrases that
// begins at i; longestBefore of the longest that ends before i.
func (r *reader) longest(i int, phrases []string) int {
	n := 0
	for _, p := range phrases {
		n = max(n, r.says(i, p))
	}
	return n
}

func (r *reader) longestBefore(i int, phrases []string) int {
	n := 0
	for _, p := range phrases {
		n = max(n, r.saysBefore(i, p))
	}
	return n
}

// formatDuration writes a duration in the largest unit that it is a whole
// number of.
func formatDuration(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}

var hertz = regexp.MustCompile(`^([0-9]+)(k?)(?:hz|hertz)$`)

// rates reads sampling rates: 99 Hz, 49 times a second.
func (r *reader) rates(i int) int {
	low := r.low(i)
	if m := hertz.FindStringSubmatch(low); m != nil {
		return r.hz(i, i, i+1, m[1], m[2])
	}
	n, ok := r.integer(i)
	if !ok {
		return 0
	}
	digits := strconv.FormatUint(n, 10)
	switch {
	case r.is(i+1, "hz", "hertz"):
		return r.hz(i, i, i+2, digits, "")
	case r.is(i+1, "khz", "kilohertz"):
		return r.hz(i, i, i+2, digits, "k")
	}
	if r.is(i+1, "times", "samples", "sample", "stacks", "x", "traces") {
		for _, per := range []string{"a second", "per second", "each second", "every second", "a sec", "per sec"} {
			if m := r.says(i+2, per); m > 0 {
				last := i + 2 + m
				if r.says(last, "per cpu") > 0 {
					last += 2
				}
				return r.hz(i, i, last, digits, "")
			}
		}
	}
	if m := r.longestBefore(i, []string{"sampling rate of", "sampling rate", "sample rate of", "sample rate", "sampling frequency of", "sampling frequency", "frequency of", "at frequency", "hz"}); m > 0 {
		if _, n := r.amount(i); n == 0 {
			return r.hz(i, i-m, i+1, digits, "")
		}
	}
	return 0
}

func (r *reader) hz(from, first, last int, digits, kilo string) int {
	n, err := strconv.ParseUint(digits, 10, 32)
	if kilo != "" {
		n *= 1000
	}
	if err != nil || n < 1 || n > 10_000 {
		return r.take(from, first, last, problem(RoleHz, "%s%s samples a second: want 1 to 10000", digits, kilo))
	}
	return r.take(from, first, last, value(RoleHz, strconv.FormatUint(n, 10)))
}

var topGlued = regexp.MustCompile(`^top-?([0-9]+)$`)

// tops reads how many rows are wanted: top 10, the five busiest.
func (r *reader) tops(i int) int {
	top := func(first, last int, n uint64) int {
		if n < 1 || n > 1000 {
			return r.take(i, first, last, problem(roleTop, "a table has 1 to 1000 rows, not %d", n))
		}
		return r.take(i, first, last, value(roleTop, strconv.FormatUint(n, 10)))
	}
	if m := topGlued.FindStringSubmatch(r.low(i)); m != nil {
		n, err := strconv.ParseUint(m[1], 10, 32)
		if err != nil {
			n = math.MaxUint32
		}
		return top(i, i+1, n)
	}
	n, ok := r.integer(i)
	if !ok {
		return 0
	}
	if _, m := r.amount(i); m > 0 {
		return 0
	}
	switch {
	case r.is(i-1, "top", "best", "worst", "busiest", "biggest", "largest", "heaviest", "slowest", "hottest", "noisiest") && !r.words[i-1].ends:
		return top(i-1, i+1, n)
	case r.is(i-1, "to") && r.is(i-2, "limit", "limited") || r.is(i-1, "limit"):
		first := i - 1
		if r.is(first, "to") {
			first--
		}
		last := i + 1
		if r.is(last, "rows", "lines", "entries", "results") {
			last++
		}
		return top(first, last, n)
	case r.rank(i+1) && !r.is(i-1, "pid", "tid", "process", "uid", "user", "port", "signal", "errno", "error", "id", "number"):
		return top(i, i+1, n)
	case r.is(i+1, "rows"):
		return top(i, i+2, n)
	case r.is(i+1, "process", "processes", "cgroups", "stacks", "functions", "services", "programs", "containers") && (r.rank(i+2) || r.is(i+2, "with", "making", "using", "that", "which", "doing", "causing") && (r.rank(i+3) || r.rank(i+4) || r.rank(i+5))):
		return top(i, i+1, n)
	}
	return 0
}

// rank reports whether word i is a superlative.
func (r *reader) rank(i int) bool {
	if r.low(i) == "" {
		return false
	}
	m, n := r.lex.lookup(r.words[i:min(i+1, len(r.words))])
	return n > 0 && slices.Contains(m.concepts, conceptRank) && !r.is(i, "main", "many", "frequent", "leading", "busy", "a", "generate", "contribute", "lead")
}

var bytesGlued = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(b|k|kb|kib|mb|mib|g|gb|gib)$`)

// sizes reads amounts of bytes.
func (r *reader) sizes(i int) int {
	last := 0
	if m := bytesGlued.FindStringSubmatch(r.low(i)); m != nil {
		last = i + 1
	} else if _, n := r.number(i); n > 0 && r.is(i+n, "b", "byte", "bytes", "k", "kb", "kib", "kilobyte", "kilobytes", "mb", "mib", "megabyte", "megabytes", "gb", "gib", "gigabyte", "gigabytes") {
		last = i + n + 1
	}
	if last == 0 {
		return 0
	}
	first := i - max(r.longestBefore(i, atLeast), r.longestBefore(i, atMost))
	var said []string
	for _, w := range r.words[i:last] {
		said = append(said, w.text)
	}
	return r.take(i, first, last, value(RoleSize, strings.Join(said, "")))
}

package recipes

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/retrieval/kernel/abi"
)

// Role is what a value found in a request is about.
type Role string

// The roles of recipe parameters. doc.go lists their types.
const (
	RolePID           Role = "pid"
	RoleProcess       Role = "process"
	RoleServer        Role = "server" // the process that is connected to
	RoleUser          Role = "user"
	RoleSenderPID     Role = "sender_pid" // said to act, not only to be meant
	RoleSender        Role = "sender"
	RoleSenderUser    Role = "sender_user"
	RoleTargetPID     Role = "target_pid"
	RoleTargetProcess Role = "target_process"
	RolePort          Role = "port" // at either end
	RoleLocalPort     Role = "lport"
	RoleDestPort      Role = "dport"
	RoleAddress       Role = "address" // at either end
	RoleSourceAddress Role = "saddr"
	RoleDestAddress   Role = "daddr"
	RolePath          Role = "path"
	RoleErrno         Role = "errno"
	RoleSignal        Role = "signal"
	RoleSyscall       Role = "syscall"
	RoleCapability    Role = "capability"
	RoleThreshold     Role = "threshold"
	RoleSize          Role = "size"
	RoleInterface     Role = "interface"
	RoleCgroup        Role = "cgroup"
	RoleHz            Role = "hz"
)

// Roles that belong to the run or that only requests have.
const (
	roleDuration   Role = "duration"
	roleInterval   Role = "interval"
	roleRate       Role = "rate" // an interval said as "per second": it wants numbers
	roleTop        Role = "top"
	roleSourcePort Role = "sport"
	roleRemotePort Role = "rport"
	roleAtMost     Role = "at most" // an upper bound of a duration
	roleSubnet     Role = "subnet"
	roleThread     Role = "thread"
	roleParent     Role = "parent"
	roleTargetUser Role = "target_user"
	rolePast       Role = "past"
	roleUnclear    Role = "unclear"
)

// binds says for each role of a parameter what it can take from a request.
var binds = map[Role][]Role{
	RolePID:           {RolePID},
	RoleProcess:       {RoleProcess},
	RoleServer:        {RoleProcess, RoleTargetProcess},
	RoleUser:          {RoleUser},
	RoleSenderPID:     {RoleSenderPID},
	RoleSender:        {RoleSender},
	RoleSenderUser:    {RoleSenderUser},
	RoleTargetPID:     {RoleTargetPID},
	RoleTargetProcess: {RoleTargetProcess},
	RolePort:          {RolePort, RoleDestPort, roleSourcePort, RoleLocalPort, roleRemotePort},
	RoleDestPort:      {RoleDestPort, roleRemotePort, RolePort},
	RoleLocalPort:     {RoleLocalPort, RoleDestPort, RolePort},
	RoleAddress:       {RoleAddress, RoleSourceAddress, RoleDestAddress},
	RoleSourceAddress: {RoleSourceAddress, RoleAddress},
	RoleDestAddress:   {RoleDestAddress, RoleAddress},
	RolePath:          {RolePath},
	RoleErrno:         {RoleErrno},
	RoleSignal:        {RoleSignal},
	RoleSyscall:       {RoleSyscall},
	RoleCapability:    {RoleCapability},
	RoleThreshold:     {RoleThreshold},
	RoleSize:          {RoleSize},
	RoleInterface:     {RoleInterface},
	RoleCgroup:        {RoleCgroup},
	RoleHz:            {RoleHz},
}

// nouns are the roles in words, for messages.
var nouns = map[Role]string{
	RolePID: "process id", RoleProcess: "process name", RoleServer: "process name", RoleUser: "user", RoleSenderPID: "sending process id", RoleSender: "sending process name", RoleSenderUser: "sending user",
	RoleTargetPID: "receiving process id", RoleTargetProcess: "receiving process name",
	RolePort: "port", RoleLocalPort: "local port", RoleDestPort: "destination port", roleSourcePort: "source port", roleRemotePort: "remote port",
	RoleAddress: "address", RoleSourceAddress: "source address", RoleDestAddress: "destination address",
	RolePath: "path", RoleErrno: "error", RoleSignal: "signal", RoleSyscall: "system call", RoleCapability: "capability",
	RoleThreshold: "smallest duration", RoleSize: "size", RoleInterface: "interface", RoleCgroup: "cgroup", RoleHz: "sampling rate",
	roleDuration: "length of the run", roleInterval: "interval", roleRate: "interval", roleTop: "number of rows",
	roleAtMost: "largest duration", roleSubnet: "range of addresses", roleThread: "thread id", roleParent: "parent", roleTargetUser: "receiving user", rolePast: "look into the past", roleUnclear: "value",
}

func isRole(r Role) bool { return nouns[r] != "" }

// reading is one thing a value can mean.
type reading struct {
	role  Role
	value string // as program.EncodeValue takes it; durations as time.ParseDuration does
}

// arg is a value found in a request.
type arg struct {
	readings    []reading // in order of preference
	first, last int       // the words it was read from: [first, last)
	soft        bool      // its words also have a meaning without it
	problem     string    // why it cannot be used, whatever the recipe
}

// reader finds the values in the words of one request. Its rules run one after
// the other, the least ambiguous first; each takes the words it has understood.
type reader struct {
	lex    *lexicon
	userID func(name string) (uint32, bool) // nil when names cannot be looked up
	words  []word
	taken  []bool
	args   []arg
}

// readArgs finds every value in words.
func readArgs(lex *lexicon, words []word, userID func(string) (uint32, bool)) []arg {
	r := &reader{lex: lex, userID: userID, words: words, taken: make([]bool, len(words))}
	for _, rule := range []func(i int) int{
		r.addresses, r.cgroups, r.paths, r.errnos, r.signals, r.capabilities, r.rates, r.tops, r.amounts, r.sizes,
		r.pids, r.users, r.ports, r.services, r.interfaces, r.syscalls, r.programs, r.names,
	} {
		for i := 0; i < len(words); {
			if r.taken[i] {
				i++
				continue
			}
			i += max(rule(i), 1)
		}
	}
	slices.SortStableFunc(r.args, func(a, b arg) int { return a.first - b.first })
	return r.args
}

// take records a value that was read from words [first, last) and returns how
// far the rule that began at from has come.
func (r *reader) take(from, first, last int, a arg) int {
	a.first, a.last = first, last
	for i := first; i < last; i++ {
		r.taken[i] = true
	}
	r.args = append(r.args, a)
	return last - from
}

func value(role Role, v string) arg { return arg{readings: []reading{{role, v}}} }

// problem is a value that no recipe can use.
func problem(role Role, format string, args ...any) arg {
	return arg{readings: []reading{{role, ""}}, problem: fmt.Sprintf(format, args...)}
}

// low returns word i in lower case; "" outside of the request, and for words
// that are taken or quoted.
func (r *reader) low(i int) string {
	if i < 0 || i >= len(r.words) || r.taken[i] || r.words[i].quoted {
		return ""
	}
	return r.words[i].low
}

// text returns word i as written, quoted or not.
func (r *reader) text(i int) string {
	if i < 0 || i >= len(r.words) || r.taken[i] {
		return ""
	}
	return r.words[i].text
}

func (r *reader) stem(i int) string {
	if r.low(i) == "" {
		return ""
	}
	return r.words[i].stem
}

// is reports whether word i is one of the given, in lower case.
func (r *reader) is(i int, any ...string) bool { return slices.Contains(any, r.low(i)) }

// says reports how many words a phrase has when it stands at i, else 0.
func (r *reader) says(i int, phrase string) int {
	n := 0
	for w := range strings.SplitSeq(phrase, " ") {
		if r.low(i+n) != w || n > 0 && r.words[i+n-1].ends {
			return 0
		}
		n++
	}
	return n
}

// saysBefore reports how many words of one of the phrases end right before i.
func (r *reader) saysBefore(i int, phrases ...string) int {
	for _, p := range phrases {
		n := strings.Count(p, " ") + 1
		if r.says(i-n, p) == n && !r.words[i-1].ends {
			return n
		}
	}
	return 0
}

// ---- numbers and amounts ---------------------------------------------------

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
	for phrase, v := range map[string]float64{"half a": 0.5, "half": 0.5, "a half": 0.5, "half an": 0.5, "a quarter of an": 0.25, "quarter of an": 0.25, "three quarters of an": 0.75, "three quarters of a": 0.75, "a quarter of a": 0.25, "quarter of a": 0.25, "a quarter": 0.25, "a tenth of a": 0.1,
		"one and a half": 1.5, "two and a half": 2.5} {
		if n := r.says(i, phrase); n > 0 {
			if u, ok := timeUnit(r.low(i + n)); ok && len(r.low(i+n)) > 1 {
				return scale(v, u, n+1)
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

var (
	atLeast = []string{"no less than", "not less than", "no faster than", "more than", "longer than", "slower than", "greater than", "higher than", "larger than", "bigger than", "worse than", "at least", "upwards of",
		"in excess of", "a minimum of", "minimum of", "a threshold of", "threshold of", "threshold", "latency of", "above", "beyond", "exceeding", "exceeds", "exceed", "exceeded", "past", ">", ">=", "≥"}
	atMost = []string{"no more than", "not more than", "no longer than", "not longer than", "no slower than", "less than", "faster than", "quicker than", "shorter than", "smaller than", "lower than", "at most", "up to", "under", "below", "within",
		"<", "<=", "≤"}
	orMore = []string{"or more", "or longer", "or slower", "or above", "or higher", "or over", "or greater", "and up", "and above", "and more", "plus", "minimum"}
	orLess = []string{"or less", "or faster", "or shorter", "or below", "or under", "at most", "max", "maximum"}
	ofPast = []string{"last", "past", "previous", "the last", "the past", "the previous"}
	ofRun  = []string{"for the next", "in the next", "over the next", "during the next", "within the next", "the next", "next", "for a total of", "for about", "for around", "for just", "for up to", "for roughly", "for at least", "for exactly", "for", "during", "lasting", "stop after",
		"stopping after", "ends after", "end after", "over a period of", "over a window of", "over the course of", "a period of", "a window of"}
	ofView = []string{"once every", "once per", "once a", "every", "each", "per", "at intervals of", "intervals of", "interval of", "an interval of", "interval", "refresh every", "in steps of"}
)

// amounts reads thresholds, durations and intervals.
func (r *reader) amounts(i int) int {
	// "every second", "per minute": no number.
	if n := r.longest(i, ofView); n > 0 {
		if u, ok := timeUnit(r.low(i + n)); ok && (len(r.low(i+n)) > 1 || r.is(i, "per")) && u >= time.Second {
			return r.take(i, i, i+n+1, value(r.every(i), formatDuration(u)))
		}
	}
	if u, ok := timeUnit(r.low(i)); ok && r.is(i-1, "and") && (r.is(i-3, "per", "each") || r.is(i-2, "per")) && u >= time.Second {
		return r.take(i, i-1, i+1, value(roleRate, formatDuration(u))) // "per process and second"
	}
	if m := r.longestBefore(i, []string{"the next", "next"}); m > 0 {
		if u, ok := timeUnit(r.low(i)); ok && len(r.low(i)) > 2 {
			return r.take(i, i-m, i+1, value(roleDuration, formatDuration(u)))
		}
	}
	d, n := r.amount(i)
	if n == 0 {
		return 0
	}
	last := i + n
	v := formatDuration(d)
	if m := r.longestBefore(i, ofView); m > 0 {
		return r.take(i, i-m, last, value(r.every(i-m), v))
	}
	if r.is(last, "interval", "intervals") {
		return r.take(i, i, last+1, value(roleInterval, v))
	}
	if m := r.longestBefore(i, ofPast); m > 0 && !(m == 1 && r.is(i-1, "past") && d < time.Second) {
		return r.take(i, i-m, last, problem(rolePast, "kgent sees what happens from now on, not what has happened before"))
	}
	if m := r.longestBefore(i, atMost); m > 0 && !r.spansRun(i-m) {
		return r.take(i, i-m, last, value(roleAtMost, v))
	}
	if m := r.longestBefore(i, atLeast); m > 0 {
		return r.take(i, i-m, last, value(RoleThreshold, v))
	}
	if m := r.longest(last, orMore); m > 0 {
		return r.take(i, i, last+m, value(RoleThreshold, v))
	}
	if m := r.longest(last, orLess); m > 0 {
		return r.take(i, i, last+m, value(roleAtMost, v))
	}
	if strings.HasSuffix(r.words[last-1].low, "+") {
		return r.take(i, i, last, value(RoleThreshold, v))
	}
	if m := r.longestBefore(i, ofRun); m > 0 {
		return r.take(i, i-m, last, value(roleDuration, v))
	}
	if r.is(i-1, "over") && !r.words[i-1].ends {
		a := value(RoleThreshold, v)
		if d >= time.Second {
			a.readings = append(a.readings, reading{roleDuration, v})
		}
		return r.take(i, i-1, last, a)
	}
	if r.is(i, "a", "an") { // "syscalls a second"
		return r.take(i, i, last, value(roleRate, v))
	}
	if d < time.Second {
		return r.take(i, i, last, problem(roleUnclear, "it does not say what is to be %s: write \"slower than %[1]s\" or \"every %[1]s\"", v))
	}
	if r.is(last, "long") {
		last++
	}
	return r.take(i, i, last, value(roleDuration, v))
}

// every tells "every second", which says when to look, from "per second", which asks
// for numbers.
func (r *reader) every(i int) Role {
	if r.is(i, "per") {
		return roleRate
	}
	return roleInterval
}

// spansRun reports whether the phrase at i speaks of the run: "within the next".
func (r *reader) spansRun(i int) bool { return r.is(i+1, "next") || r.is(i+2, "next") }

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
	case r.is(i-1, "top", "worst", "busiest", "biggest", "largest", "heaviest", "slowest", "hottest", "noisiest") && !r.words[i-1].ends:
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
	case r.rank(i + 1):
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

// ---- network ---------------------------------------------------------------

// heading says which way something next to the words before i points.
type heading int

const (
	nowhere heading = iota
	toward
	fromward
	atLocal
	atRemote
	receiving // like toward, but said by a verb that also has other meanings: "what errors does nginx get"
)

// headingBefore looks at the words before i, passing over articles and the
// nouns that name what follows.
func (r *reader) headingBefore(i int) heading {
	for j := i - 1; j >= 0 && j >= i-4; j-- {
		if r.words[j].ends {
			return nowhere
		}
		switch {
		case r.is(j, "to", "towards", "toward", "destination", "dest", "dst", "target", "into", "daddr", "dport"):
			return toward
		case r.is(j, "from", "source", "src", "by", "saddr", "sport", "origin", "originating"):
			return fromward
		case r.is(j, "local", "listening", "bound", "listen", "listens"):
			return atLocal
		case r.is(j, "remote", "peer"):
			return atRemote
		case slices.Contains([]string{"dial", "contact", "reach", "call"}, r.stem(j)) || r.is(j, "connects", "hits", "hitting", "connecting"):
			return toward
		case r.is(j, "the", "a", "an", "any", "my", "our", "tcp", "ip", "ipv4", "ipv6", "address", "addresses", "addr", "host", "hosts", "server", "machine", "port", "ports", "number", "is", "peer", "client", "clients"):
		default:
			return nowhere
		}
	}
	return nowhere
}

// addresses reads IPv4 and IPv6 addresses, with or without a port.
func (r *reader) addresses(i int) int {
	text := r.text(i)
	if len(text) < 3 || !strings.ContainsAny(text, ".:") || !strings.ContainsAny(text, "0123456789:") {
		return 0
	}
	role := map[heading]Role{nowhere: RoleAddress, toward: RoleDestAddress, fromward: RoleSourceAddress, atLocal: RoleAddress, atRemote: RoleAddress}[r.headingBefore(i)]
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if prefix, err := netip.ParsePrefix(bare); err == nil {
		if prefix.IsSingleIP() {
			return r.take(i, i, i+1, value(role, prefix.Addr().Unmap().String()))
		}
		return r.take(i, i, i+1, value(roleSubnet, prefix.String()))
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		switch {
		case a.Zone() != "":
			return r.take(i, i, i+1, problem(role, "an address with a zone cannot be compared; leave out %%%s", a.Zone()))
		case a.IsUnspecified():
			return r.take(i, i, i+1, problem(role, "%s is no address of anybody", a))
		}
		return r.take(i, i, i+1, value(role, a.Unmap().String()))
	}
	if ap, err := netip.ParseAddrPort(text); err == nil && ap.Addr().Zone() == "" && !ap.Addr().IsUnspecified() && ap.Port() != 0 {
		port := map[Role]Role{RoleAddress: RolePort, RoleDestAddress: RoleDestPort, RoleSourceAddress: roleSourcePort}[role]
		r.take(i, i, i+1, value(role, ap.Addr().Unmap().String()))
		return r.take(i, i, i+1, value(port, strconv.Itoa(int(ap.Port()))))
	}
	return 0
}

var portForms = []*regexp.Regexp{
	regexp.MustCompile(`^:([0-9]+)$`),
	regexp.MustCompile(`^(?:tcp|udp|port)[/:]?([0-9]+)$`),
	regexp.MustCompile(`^([0-9]+)/(?:tcp|udp)$`),
}

// portRole is the role of a port before whose words i a direction may stand.
func (r *reader) portRole(i int) Role {
	switch r.headingBefore(i) {
	case toward:
		return RoleDestPort
	case fromward:
		return roleSourcePort
	case atLocal:
		return RoleLocalPort
	case atRemote:
		return roleRemotePort
	}
	if r.is(i-1, "on") && r.is(i-2, "listening", "listen", "listens") {
		return RoleLocalPort
	}
	return RolePort
}

// ports reads port numbers and "port https".
func (r *reader) ports(i int) int {
	for _, form := range portForms {
		if m := form.FindStringSubmatch(r.low(i)); m != nil {
			return r.port(i, i, i+1, r.portRole(i), m[1])
		}
	}
	if !r.is(i, "port", "ports", "dport", "sport") {
		return 0
	}
	role := r.portRole(i)
	switch r.low(i) {
	case "dport":
		role = RoleDestPort
	case "sport":
		role = roleSourcePort
	}
	j := i + 1
	if r.is(j, "number", "no", "nr", "is") {
		j++
	}
	if r.longestBefore(i, atMost) > 0 || r.longestBefore(i, atLeast) > 0 || r.is(j, "above", "below", "over", "under", ">", "<", ">=", "<=", "between") {
		return r.take(i, i, i+1, problem(role, "ports cannot be compared; name one"))
	}
	n := 0
	for first := i; ; first = j {
		low := r.low(j)
		if p, ok := r.lex.services[low]; ok {
			low = strconv.Itoa(int(p))
		}
		if low == "" || low[0] < '0' || low[0] > '9' {
			break
		}
		n = r.port(i, first, j+1, role, low)
		if j++; r.is(j, "and", "or") && !r.words[j-1].ends {
			if next := r.low(j + 1); next == "" || next[0] < '0' || next[0] > '9' {
				break
			}
			if _, m := r.amount(j + 1); m > 0 {
				break
			}
			j++
		} else {
			break
		}
	}
	return n
}

func (r *reader) port(from, first, last int, role Role, digits string) int {
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 {
		return r.take(from, first, last, problem(role, "%q is no port: name one from 1 to 65535", digits))
	}
	return r.take(from, first, last, value(role, strconv.FormatUint(n, 10)))
}

// services reads the names of services where a port is meant: "https connections",
// "to postgres". A name that is also a program's may be read as that.
func (r *reader) services(i int) int {
	low := r.low(i)
	p, ok := r.lex.services[low]
	if !ok || r.words[i].possessive {
		return 0
	}
	port := strconv.Itoa(int(p))
	for _, a := range r.args { // "port 23 (telnet)"
		if a.last == i && a.readings[0].value == port {
			return r.take(i, i, i+1, arg{readings: a.readings})
		}
	}
	program := r.lex.programs[low]
	heading := r.headingBefore(i)
	if heading == fromward && program && !r.is(i+1, "port") {
		return 0 // "by postgres"
	}
	role := r.portRole(i)
	switch {
	case r.is(i+1, "port"):
		return r.take(i, i, i+2, value(role, port))
	case heading == toward && program:
		return r.take(i, i, i+1, arg{readings: []reading{{RoleTargetProcess, low}, {RoleDestPort, port}}})
	case heading == toward:
		return r.take(i, i, i+1, arg{readings: []reading{{role, port}}, soft: true})
	case r.is(i+1, "connection", "connections", "traffic", "session", "sessions", "conns", "flows") && !r.is(i-1, "process", "by"):
		a := arg{readings: []reading{{role, port}}, soft: true}
		if low == "dns" {
			return 0
		}
		if program {
			a.readings = append(a.readings, reading{RoleProcess, low})
			a.soft = false
		}
		return r.take(i, i, i+1, a)
	case !program && low != "dns":
		return r.take(i, i, i+1, value(role, port))
	}
	return 0
}

var interfaceName = regexp.MustCompile(`^(?:eth|en[opsx]|wlan|wlp|wlx|wwan|docker|br-|br|veth|bond|team|tun|tap|wg|virbr|cni|flannel|cali|vlan|dummy|ib|ppp|lxc|lxd|vxlan|gre|sit|ifb|usb)[0-9a-z][0-9a-zA-Z._@-]*$`)

// interfaces reads names of network interfaces.
func (r *reader) interfaces(i int) int {
	name := r.text(i)
	if name == "" || len(name) > 15 {
		return 0
	}
	low := strings.ToLower(name)
	marked := r.is(i-1, "interface", "nic", "iface", "netdev") || r.saysBefore(i, "network device", "network card") > 0
	followed := r.is(i+1, "interface", "nic", "iface", "device")
	on := r.is(i-1, "on", "via", "through", "over", "into", "through", "at")
	switch {
	case low == "loopback" && (marked || followed || on || r.is(i-1, "the")):
		name = "lo"
	case low == "lo" && (marked || followed || on):
	case interfaceName.MatchString(low) && strings.ContainsAny(low, "0123456789-"):
	case marked && !r.lex.known(low) && !isNumeral(low):
	default:
		return 0
	}
	first, last := i, i+1
	if marked {
		first--
	}
	if followed {
		last++
	}
	return r.take(i, first, last, value(RoleInterface, name))
}

// ---- files, errors, signals ------------------------------------------------

const maxPath = 255 // bytes, of char[256]

// paths reads absolute paths.
func (r *reader) paths(i int) int {
	text := r.text(i)
	switch {
	case strings.HasPrefix(text, "~"), strings.HasPrefix(text, "./"), strings.HasPrefix(text, "../"), strings.HasPrefix(text, "$"):
		return r.take(i, i, i+1, problem(RolePath, "%q is no absolute path: paths begin with /", text))
	case !strings.HasPrefix(text, "/"):
		return 0
	case len(text) > maxPath:
		return r.take(i, i, i+1, problem(RolePath, "a path has at most %d bytes here", maxPath))
	}
	dir := r.is(i-1, "under", "below", "beneath", "inside", "within", "underneath", "directory", "dir", "folder") || r.is(i-1, "in") && r.stem(i-2) == stem("files")
	for _, all := range []string{"/**", "/*"} {
		if t, ok := strings.CutSuffix(text, all); ok {
			text, dir = t+"/", true
			break
		}
	}
	if strings.ContainsAny(text, "*?") {
		return r.take(i, i, i+1, problem(RolePath, "%q is a pattern; only the beginning of a path can be compared", text))
	}
	if dir && !strings.HasSuffix(text, "/") {
		text += "/"
	}
	first := i
	if r.is(i-1, "path", "directory", "dir", "folder", "file", "prefix") {
		first--
	}
	return r.take(i, first, i+1, value(RolePath, text))
}

// errnoWords are errors as people know them, from strerror and everyday speech.
// The soft ones are also ordinary words.
var errnoWords = []struct {
	phrase, name string
	soft         bool
}{
	{"no such file or directory", "ENOENT", false}, {"no such file", "ENOENT", false}, {"file not found", "ENOENT", false}, {"not found", "ENOENT", true},
	{"does not exist", "ENOENT", true}, {"do not exist", "ENOENT", true}, {"doesn't exist", "ENOENT", true}, {"don't exist", "ENOENT", true}, {"did not exist", "ENOENT", true}, {"didn't exist", "ENOENT", true},
	{"aren't there", "ENOENT", true}, {"are not there", "ENOENT", true}, {"isn't there", "ENOENT", true}, {"is not there", "ENOENT", true},
	{"nonexistent", "ENOENT", true}, {"non existent", "ENOENT", true}, {"non-existent", "ENOENT", true}, {"nonexisting", "ENOENT", true}, {"missing", "ENOENT", true},
	{"permission denied", "EACCES", false}, {"permissions denied", "EACCES", false}, {"access denied", "EACCES", false}, {"denied access", "EACCES", false}, {"denied permission", "EACCES", false}, {"denied by permissions", "EACCES", false}, {"lack of permission", "EACCES", false},
	{"operation not permitted", "EPERM", false}, {"not permitted", "EPERM", false},
	{"connection refused", "ECONNREFUSED", false}, {"connections refused", "ECONNREFUSED", false}, {"refused connections", "ECONNREFUSED", false}, {"refused connection", "ECONNREFUSED", false},
	{"connection reset by peer", "ECONNRESET", true}, {"connection timed out", "ETIMEDOUT", false}, {"connection timeout", "ETIMEDOUT", false}, {"timed out", "ETIMEDOUT", false}, {"time out", "ETIMEDOUT", false}, {"timeout", "ETIMEDOUT", false}, {"timeouts", "ETIMEDOUT", false},
	{"too many open files in system", "ENFILE", false}, {"too many open files", "EMFILE", false}, {"out of file descriptors", "EMFILE", false},
	{"no space left on device", "ENOSPC", false}, {"no space left", "ENOSPC", false}, {"disk full", "ENOSPC", false}, {"disk is full", "ENOSPC", false},
	{"broken pipe", "EPIPE", false}, {"cannot allocate memory", "ENOMEM", false}, {"out of memory", "ENOMEM", true}, {"bad file descriptor", "EBADF", false}, {"invalid argument", "EINVAL", false},
	{"address already in use", "EADDRINUSE", false}, {"address in use", "EADDRINUSE", false}, {"cannot assign requested address", "EADDRNOTAVAIL", false}, {"file exists", "EEXIST", false}, {"already exists", "EEXIST", false}, {"is a directory", "EISDIR", false}, {"not a directory", "ENOTDIR", false},
	{"read-only file system", "EROFS", false}, {"read only file system", "EROFS", false}, {"read-only filesystem", "EROFS", false}, {"read only filesystem", "EROFS", false},
	{"resource temporarily unavailable", "EAGAIN", false}, {"try again", "EAGAIN", false}, {"would block", "EAGAIN", false},
	{"interrupted system call", "EINTR", false}, {"no route to host", "EHOSTUNREACH", false}, {"host unreachable", "EHOSTUNREACH", false}, {"host is unreachable", "EHOSTUNREACH", false}, {"network unreachable", "ENETUNREACH", false}, {"network is unreachable", "ENETUNREACH", false},
	{"device or resource busy", "EBUSY", false}, {"resource busy", "EBUSY", false}, {"device busy", "EBUSY", false}, {"input/output error", "EIO", false}, {"input output error", "EIO", false}, {"i/o error", "EIO", false}, {"i/o errors", "EIO", false}, {"io error", "EIO", false}, {"io errors", "EIO", false},
	{"function not implemented", "ENOSYS", false}, {"not implemented", "ENOSYS", false}, {"no such process", "ESRCH", false}, {"no such device", "ENODEV", false}, {"directory not empty", "ENOTEMPTY", false}, {"text file busy", "ETXTBSY", false}, {"file name too long", "ENAMETOOLONG", false}, {"name too long", "ENAMETOOLONG", false},
	{"too many levels of symbolic links", "ELOOP", false}, {"cross-device link", "EXDEV", false}, {"operation not supported", "EOPNOTSUPP", false}, {"not supported", "EOPNOTSUPP", false}, {"disk quota exceeded", "EDQUOT", false}, {"quota exceeded", "EDQUOT", false}, {"stale file handle", "ESTALE", false},
	{"argument list too long", "E2BIG", false}, {"exec format error", "ENOEXEC", false}, {"no child processes", "ECHILD", false}, {"bad address", "EFAULT", false}, {"file too large", "EFBIG", false}, {"connection aborted", "ECONNABORTED", false}, {"not a socket", "ENOTSOCK", false}, {"operation in progress", "EINPROGRESS", false},
}

// errnos reads errors by name, number or in words.
func (r *reader) errnos(i int) int {
	if r.words[i].quoted { // "permission denied" in quotes
		inner := split(r.words[i].text, func(string) bool { return false })
		in := &reader{lex: r.lex, words: inner, taken: make([]bool, len(inner))}
		if len(inner) > 0 && in.errnos(0) == len(inner) {
			return r.take(i, i, i+1, arg{readings: in.args[0].readings})
		}
		return 0
	}
	best, name, soft := 0, "", false
	for _, e := range errnoWords {
		if n := r.says(i, e.phrase); n > best {
			best, name, soft = n, e.name, e.soft
		}
	}
	if best > 0 {
		return r.take(i, i, i+best, arg{readings: []reading{{RoleErrno, name}}, soft: soft})
	}
	low := r.low(i)
	if len(low) > 2 && low[0] == 'e' {
		for _, form := range []string{low, strings.TrimSuffix(low, "s"), strings.TrimSuffix(low, "es")} {
			if n, ok := abi.Errno(form); ok {
				return r.take(i, i, i+1, value(RoleErrno, abi.ErrnoName(int64(n))))
			}
		}
	}
	if !r.is(i, "errno", "error", "err", "errors") {
		return 0
	}
	j := i + 1
	if r.is(j, "code", "number", "no", "nr", "is", "codes") {
		j++
	}
	if n, err := strconv.ParseInt(strings.TrimPrefix(r.low(j), "-"), 10, 16); err == nil {
		if _, m := r.amount(j); m > 0 {
			return 0
		}
		if name := abi.ErrnoName(n); strings.HasPrefix(name, "E") {
			return r.take(i, i, j+1, value(RoleErrno, name))
		}
		return r.take(i, i, j+1, problem(RoleErrno, "there is no error %d", n))
	}
	return 0
}

// signals reads signals by name or number.
func (r *reader) signals(i int) int {
	low, text := r.low(i), r.text(i)
	if low == "" {
		return 0
	}
	if strings.HasPrefix(low, "sig") && len(low) > 4 {
		for _, form := range []string{low, strings.TrimSuffix(low, "s"), strings.TrimSuffix(low, "ed"), strings.TrimSuffix(low, "ing")} {
			if n, ok := abi.Signal(form); ok {
				return r.take(i, i, i+1, value(RoleSignal, abi.SignalName(int64(n))))
			}
		}
	}
	if low == "segfault" || low == "segfaults" || low == "segfaulting" || low == "segfaulted" {
		return r.take(i, i, i+1, arg{readings: []reading{{RoleSignal, "SIGSEGV"}}, soft: true})
	}
	if n := max(r.says(i, "segmentation fault"), r.says(i, "segmentation faults"), r.says(i, "segmentation violation")); n > 0 {
		return r.take(i, i, i+n, arg{readings: []reading{{RoleSignal, "SIGSEGV"}}, soft: true})
	}
	if name, ok := strings.CutPrefix(text, "-"); ok && name != "" && r.is(i-1, "kill", "pkill", "killall", "-s", "kills", "killed") {
		if n, ok := signalOf(name); ok {
			return r.take(i, i, i+1, value(RoleSignal, abi.SignalName(n)))
		}
	}
	if isUpper(text) && r.is(i+1, "signal", "signals") {
		if n, ok := abi.Signal(text); ok {
			return r.take(i, i, i+2, value(RoleSignal, abi.SignalName(int64(n))))
		}
	}
	if !r.is(i, "signal", "signals", "sig", "signo") {
		return 0
	}
	j := i + 1
	if r.is(j, "number", "no", "nr", "is", "named") {
		j++
	}
	name := r.text(j)
	if !isUpper(name) && (name == "" || name[0] < '0' || name[0] > '9') {
		return 0
	}
	if _, m := r.amount(j); m > 0 {
		return 0
	}
	if n, ok := signalOf(name); ok {
		return r.take(i, i, j+1, value(RoleSignal, abi.SignalName(n)))
	}
	if name[0] >= '0' && name[0] <= '9' {
		return r.take(i, i, j+1, problem(RoleSignal, "there is no signal %s", name))
	}
	return 0
}

func signalOf(name string) (int64, bool) {
	if n, err := strconv.ParseInt(name, 10, 16); err == nil {
		return n, n > 0 && n < 65 && !strings.HasPrefix(abi.SignalName(n), "signal")
	}
	n, ok := abi.Signal(name)
	return int64(n), ok
}

func isUpper(s string) bool {
	return len(s) > 1 && isAlpha(s) && strings.ToUpper(s) == s
}

// capabilities reads names of capabilities.
func (r *reader) capabilities(i int) int {
	text := r.text(i)
	low := strings.ToLower(text)
	if low == "" {
		return 0
	}
	n, ok := abi.Capability(low)
	if !ok {
		return 0
	}
	first, last := i, i+1
	before, after := r.is(i-1, "capability", "cap"), r.is(i+1, "capability", "cap")
	switch {
	case strings.HasPrefix(low, "cap_"), strings.Contains(low, "_"):
	case before || after:
		if _, syscall := abi.Syscall(low); !isUpper(text) && r.lex.known(low) && !syscall {
			return 0
		}
	default:
		return 0
	}
	a := value(RoleCapability, abi.CapabilityName(int64(n)))
	a.soft = false
	return r.take(i, first, last, a)
}

// cgroups reads paths of cgroups.
func (r *reader) cgroups(i int) int {
	text := r.text(i)
	low := strings.ToLower(text)
	unit := hasAnySuffix(low, ".slice", ".service", ".scope")
	marked := r.is(i-1, "cgroup")
	if text == "" || !unit && !(marked && strings.ContainsAny(text, "/._-")) {
		return 0
	}
	first := i
	if marked {
		first-- // the word itself is still said: see provides
	}
	path := strings.Trim(text, "/")
	if slices.Contains(strings.Split(path, "/"), "..") {
		return r.take(i, first, i+1, problem(RoleCgroup, "cgroup %q leaves the cgroup tree", text))
	}
	return r.take(i, first, i+1, value(RoleCgroup, path))
}

// ---- processes and users ---------------------------------------------------

// agency says whether the process named in words [first, last) acts or is
// acted upon.
func (r *reader) agency(first, last int) heading {
	j := first - 1
	for j >= 0 && r.is(j, "the", "a", "my", "our", "process", "processes", "pid", "program", "any", "all", "running", "daemon", "service", "every", "this", "that", "main") && !r.words[j].ends {
		j--
	}
	if j >= 0 && !r.words[j].ends {
		switch {
		case r.is(j, "by", "from"):
			return fromward
		case r.is(j, "to", "against", "into", "towards") && !r.is(j-1, "belonging", "belong", "belongs", "related", "limited", "restricted", "specific", "attached", "according", "due", "happens", "happening", "tied", "confined", "respect", "returned", "return", "returns", "visible", "available", "given", "handed", "charged", "attributed"):
			return toward
		case r.is(j, "at") && r.stem(j-1) != "look":
			return toward
		case r.signalVerb(j): // "who SIGTERMs nginx"
			return toward
		case r.stem(j) == "signal" && r.is(j-1, "who", "that", "which", "process", "what", "somebody", "someone"):
			return toward
		case r.stem(j) == "kill" || r.is(j, "signalling", "signaling", "hitting", "hit", "stopping", "terminating", "terminates", "terminated", "shooting", "reaching", "hits", "reaches"):
			return toward
		}
	}
	// "does nginx receive", "is nginx being killed", "did systemd send"
	for k := last; k < len(r.words) && k < last+3 && !r.words[k-1].ends; k++ {
		switch {
		case r.stem(k) == stem("receive"), r.is(k, "get", "gets", "getting", "got", "being", "killed", "gotten", "recv"):
			return receiving
		case r.stem(k) == "send", r.is(k, "sent", "kill", "kills", "killing", "raise", "raises", "emit", "emits", "fires"):
			return fromward
		}
	}
	return nowhere
}

// signalVerb reports whether word i is the name of a signal used as a verb.
func (r *reader) signalVerb(i int) bool {
	for _, ending := range []string{"s", "ing", "ed"} {
		if name, ok := strings.CutSuffix(r.words[i].low, ending); ok && strings.HasPrefix(name, "sig") {
			if _, ok := abi.Signal(name); ok {
				return true
			}
		}
	}
	return false
}

// parent reports whether what is named at i is said to be a parent process.
func (r *reader) parent(i int) bool {
	return r.is(i-1, "parent", "ppid") || r.is(i-1, "process", "is") && r.is(i-2, "parent") || r.saysBefore(i, "child of", "children of", "childs of", "descendants of", "forked by", "forked from", "spawned from") > 0
}

// userArg is a user named in words [first, last).
func (r *reader) userArg(first, last int, id uint64) arg {
	v := strconv.FormatUint(id, 10)
	switch r.agency(first, last) {
	case toward:
		return value(roleTargetUser, v)
	case fromward:
		return arg{readings: []reading{{RoleSenderUser, v}, {RoleUser, v}}}
	}
	return value(RoleUser, v)
}

func (r *reader) pidArg(first, last int, digits string) arg {
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || n > 1<<22 {
		return problem(RolePID, "%q is no process id", digits)
	}
	v := strconv.FormatUint(n, 10)
	if r.parent(first) {
		return value(roleParent, v)
	}
	switch r.agency(first, last) {
	case toward:
		return value(RoleTargetPID, v)
	case receiving:
		return arg{readings: []reading{{RoleTargetPID, v}, {RolePID, v}}}
	case fromward:
		return arg{readings: []reading{{RoleSenderPID, v}, {RolePID, v}}}
	}
	return value(RolePID, v)
}

var pidGlued = regexp.MustCompile(`^pid[:#]?([0-9]+)$`)

// pids reads process ids.
func (r *reader) pids(i int) int {
	if m := pidGlued.FindStringSubmatch(r.low(i)); m != nil {
		return r.take(i, i, i+1, r.pidArg(i, i+1, m[1]))
	}
	j := i + 1
	thread := false
	switch {
	case r.is(i, "pid", "pids", "tgid", "target_pid"):
		if r.is(j, "number", "no", "nr", "is", "of") {
			j++
		}
	case r.is(i, "process", "processes", "proc", "task") && r.is(j, "id", "ids", "number", "no", "nr"):
		j++
	case r.is(i, "process", "proc", "processes"):
	case r.is(i, "thread", "tid", "threads"):
		thread = true
		if r.is(j, "id", "number") {
			j++
		}
	default:
		return 0
	}
	first, n := i, 0
	for {
		digits := strings.TrimPrefix(r.low(j), "#")
		if _, err := strconv.ParseUint(digits, 10, 64); err != nil {
			return n
		}
		if _, m := r.amount(j); m > 0 {
			return n
		}
		if thread {
			return r.take(i, first, j+1, value(roleThread, digits))
		}
		a := r.pidArg(first, j+1, digits)
		if r.is(first, "target_pid") || r.is(first-1, "target") {
			a.readings[0].role = RoleTargetPID
		}
		n = r.take(i, first, j+1, a)
		if !r.is(j+1, "and", "or") || r.words[j].ends {
			return n
		}
		first, j = j+1, j+2
	}
}

// users reads users by name or id.
func (r *reader) users(i int) int {
	if r.low(i) == "root" && !r.is(i+1, "cause", "causes", "cgroup", "filesystem", "fs", "file", "directory", "dir", "device", "partition", "volume", "certificate", "cgroups", "disk") {
		first, last := i, i+1
		if r.is(i-1, "user", "username") {
			first--
		}
		if r.is(last, "user", "account") {
			last++
		}
		a := r.userArg(first, last, 0)
		a.soft = first == i && last == i+1
		return r.take(i, first, last, a)
	}
	j := i + 1
	switch {
	case r.is(i, "uid", "userid", "uids"):
		if r.is(j, "is", "number") {
			j++
		}
	case r.is(i, "user", "username", "account", "users"):
		if r.is(j, "id", "named", "called", "name", "number", "account") {
			j++
		}
	default:
		// "by www-data", "as alice": known users that are no programs
		name := r.text(i)
		if r.userID == nil || name == "" || !r.is(i-1, "by", "as", "for", "of") || r.lex.programs[strings.ToLower(name)] || r.lex.isWord(strings.ToLower(name)) || !userName.MatchString(name) {
			return 0
		}
		id, ok := r.userID(name)
		if !ok {
			return 0
		}
		return r.take(i, i, i+1, r.userArg(i, i+1, uint64(id)))
	}
	name := r.text(j)
	if name == "" || r.words[j-1].ends {
		return 0
	}
	if n, err := strconv.ParseUint(name, 10, 64); err == nil {
		if _, m := r.amount(j); m > 0 {
			return 0
		}
		if n >= 1<<32-1 {
			return r.take(i, i, j+1, problem(RoleUser, "%s is no user id", name))
		}
		return r.take(i, i, j+1, r.userArg(i, j+1, n))
	}
	if !userName.MatchString(name) {
		return 0
	}
	quoted := r.words[j].quoted || r.is(j-1, "named", "called")
	if r.userID != nil {
		if id, ok := r.userID(name); ok {
			return r.take(i, i, j+1, r.userArg(i, j+1, uint64(id)))
		}
	}
	if !quoted && r.lex.known(strings.ToLower(name)) {
		return 0 // "user space", "user and group"
	}
	if r.userID != nil {
		return r.take(i, i, j+1, problem(RoleUser, "there is no user %q on this host; a number works everywhere", name))
	}
	return r.take(i, i, j+1, problem(RoleUser, "the name of user %q cannot be looked up; write the user id", name))
}

var userName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)

// englishSyscalls are system calls whose names are ordinary words: they count
// as names only where a call is spoken of.
var englishSyscalls = map[string]bool{
	"access": true, "accept": true, "acct": true, "alarm": true, "bind": true, "bpf": true, "clone": true, "close": true, "connect": true, "dup": true, "exit": true, "fork": true, "kill": true, "link": true, "listen": true,
	"mount": true, "open": true, "pause": true, "personality": true, "pipe": true, "poll": true, "read": true, "reboot": true, "rename": true, "select": true, "shutdown": true, "socket": true, "splice": true, "stat": true,
	"sync": true, "sysinfo": true, "sysfs": true, "syslog": true, "tee": true, "time": true, "times": true, "truncate": true, "write": true,
}

// syscalls reads names of system calls.
func (r *reader) syscalls(i int) int {
	low := r.low(i)
	if low == "" {
		return 0
	}
	if _, ok := abi.Syscall(low); !ok {
		single := strings.TrimSuffix(low, "s")
		if _, ok := abi.Syscall(single); !ok || englishSyscalls[single] || r.lex.programs[low] {
			return 0
		}
		low = single
	}
	if englishSyscalls[low] && !r.words[i].called &&
		!r.is(i+1, "syscall", "syscalls", "call", "calls", "system", "fail", "fails", "failed", "failing", "errors", "returns", "return", "called") &&
		!r.is(i-1, "syscall", "failing", "syscalls") && r.saysBefore(i, "system call", "calls to", "call to", "fail to", "fails to", "failed to", "failing to", "unable to", "syscall named", "invocations of", "calls of") == 0 {
		return 0
	}
	if r.is(i+1, "system") && !r.is(i+2, "call", "calls") && englishSyscalls[low] && !r.words[i].called {
		return 0
	}
	return r.take(i, i, i+1, arg{readings: []reading{{RoleSyscall, low}}, soft: true})
}

// programs reads the names of programs everybody knows, wherever they stand;
// those that are also words only where nothing but a name can stand.
func (r *reader) programs(i int) int {
	low := r.low(i)
	if low == "" || !r.lex.programs[low] && !r.lex.wordPrograms[low] {
		return 0
	}
	if r.is(i+1, "service", "services", "unit", "units", "slice", "slices", "container", "containers", "image", "images") && !r.is(i-1, "by", "of", "for", "from", "the") {
		return 0 // "systemd services", "docker containers"
	}
	if r.is(i+1, "job", "jobs", "script", "scripts", "plugin", "plugins", "client", "clients", "query", "queries", "user", "users") {
		return 0 // of other names
	}
	if r.is(i-1, "via", "through", "over", "using", "behind") || r.is(i-1, "in", "inside", "within") && r.is(i, "docker", "podman", "qemu", "tmux") {
		return 0
	}
	if (r.lex.wordPrograms[low] || r.lex.isWord(low)) && !r.isName(i) {
		return 0
	}
	first := i
	if r.is(i-1, "process", "program", "daemon", "service", "command", "binary", "application", "app") && !r.words[i-1].ends {
		first--
	}
	return r.process(i, first, i+1)
}

// isName reports whether word i stands where only a name can.
func (r *reader) isName(i int) bool {
	before := i > 0 && !r.words[i-1].ends
	switch {
	case r.words[i].possessive, r.is(i-1, "process", "program", "command", "binary"):
		return true
	case r.is(i-1, "by") && before && participle(r.low(i-2)):
		return true
	case r.is(i-1, "by", "of", "from") && before && !r.lex.wordPrograms[r.low(i)]:
		return true
	case r.is(i-1, "by", "of", "from", "for") && before && (i+1 == len(r.words) || r.words[i].ends):
		return true
	case r.is(i-1, "does", "did") && before, r.is(i-1, "is") && before && strings.HasSuffix(r.low(i+1), "ing"):
		return true
	}
	return i > 0 && r.is(i+1, "sends", "opens", "makes", "runs", "reads", "writes", "starts", "kills", "uses", "spends", "deletes") ||
		!r.lex.wordPrograms[r.low(i)] && r.is(i+1, "process", "processes", "daemon")
}

// participle reports whether a word can be the verb of "opened by nginx".
func participle(low string) bool {
	return hasAnySuffix(low, "ed", "en", "wn") || slices.Contains([]string{"made", "run", "sent", "done", "set", "read", "hit", "begun", "put", "spent", "lost", "caused", "issued", "held", "kept", "burnt", "started"}, low)
}

var processName = regexp.MustCompile(`^[A-Za-z0-9_(\[][A-Za-z0-9_.:+@/()\[\]-]{0,63}$`)

// unknownName reports whether word i can be the name of a program nobody has
// heard of. shaped demands that it does not look like an English word either.
func (r *reader) unknownName(i int, shaped bool) bool {
	low, text := r.low(i), r.text(i)
	if low == "" || !processName.MatchString(text) || r.lex.known(low) || r.words[i].fixed != "" || isNumeral(low) {
		return false
	}
	if _, err := strconv.ParseFloat(low, 64); err == nil {
		return false
	}
	if _, n := r.amount(i); n > 0 {
		return false
	}
	if dot := strings.LastIndexByte(low, '.'); dot >= 0 && isAlpha(low[dot+1:]) && !slices.Contains([]string{"sh", "py", "rb", "pl", "smp", "bin", "exe", "jar", "js", "php", "real", "elf"}, low[dot+1:]) {
		return false // a host name
	}
	if !r.named(i) && cut(low, "-", r.lex.known) != nil {
		return false // "off-cpu", "short-lived"
	}
	looksLikeName := strings.ContainsAny(low, "-_.0123456789") || text[1:] != strings.ToLower(text[1:]) && strings.ToUpper(text) != text
	if shaped || looksLikeName {
		return looksLikeName
	}
	return !hasAnySuffix(low, "s", "ing", "ion", "ly", "ment", "ness", "ity", "ance", "ence", "able", "ible", "ful", "less", "ive", "ical", "ous", "ism", "ship", "ware")
}

// named reports whether the words before i say that a process is named.
func (r *reader) named(i int) bool {
	return r.is(i-1, "process", "program", "named", "called", "binary", "command", "service", "daemon", "app", "application") || r.is(i-1, "by") && participle(r.low(i-2))
}

// names reads the names of other programs where the sentence says that they
// are names.
func (r *reader) names(i int) int {
	if r.words[i].quoted {
		first := i
		if r.is(i-1, "named", "called") {
			first--
		}
		if r.is(first-1, "process", "processes", "program", "command", "comm", "binary") {
			first--
		}
		return r.process(i, first, i+1)
	}
	marker := r.is(i, "process", "program", "comm", "binary", "daemon", "executable", "command", "app", "application", "service", "processes", "programs")
	if marker && !r.words[i].ends {
		j := i + 1
		named := false
		if r.is(j, "named", "called", "name", "is") {
			named = !r.is(j, "is", "name") || r.is(i, "comm") || r.is(j, "name") && r.unknownName(j+1, false)
			j++
		}
		if r.is(i, "comm") {
			named = true
		}
		name := r.text(j)
		switch {
		case name == "" || r.words[j-1].ends:
		case r.words[j].quoted, named && processName.MatchString(name) && !r.is(j, "by", "the", "is", "a"), !r.is(i, "processes", "programs") && j == i+1 && r.unknownName(j, false) && r.closes(j+1):
			return r.process(i, i, j+1)
		}
		return 0
	}
	switch {
	case r.is(i-1, "named", "called") && r.unknownName(i, false):
		return r.process(i, i-1, i+1)
	case r.is(i+1, "process", "processes", "daemon", "worker", "workers", "binary", "program", "service") && r.unknownName(i, true):
		return r.process(i, i, i+1)
	case r.words[i].possessive && r.unknownName(i, false):
		return r.process(i, i, i+1)
	case r.is(i-1, "by") && !r.words[i-1].ends && r.unknownName(i, !participle(r.low(i-2))):
		return r.process(i, i, i+1)
	case r.is(i-1, "of", "for", "from") && !r.words[i-1].ends && r.unknownName(i, false) && (r.closes(i+1) || r.unknownName(i, true)):
		return r.process(i, i, i+1)
	case r.is(i-1, "does", "did", "is", "do", "has") && r.unknownName(i, false) && r.lex.known(r.low(i+1)) && !r.is(i+1, "of", "a", "the"):
		return r.process(i, i, i+1)
	case r.is(i-1, "to", "kill", "kills", "killed", "killing", "in") && r.unknownName(i, true):
		return r.process(i, i, i+1)
	}
	return 0
}

// closes reports whether nothing follows at i that could belong to the name
// before it.
func (r *reader) closes(i int) bool {
	if i >= len(r.words) || r.words[i-1].ends || r.taken[i] {
		return true
	}
	m, n := r.lex.lookup(r.words[i:])
	return n > 0 && m.asking
}

// maxComm is how much of a process name the kernel keeps: TASK_COMM_LEN less
// the NUL.
const maxComm = 15

// process takes the name in word last-1, said in words [first, last), and
// whatever merely repeats that it is a process.
func (r *reader) process(from, first, last int) int {
	name := r.text(last - 1)
	if len(name) > maxComm {
		name = name[:maxComm]
	}
	a := value(RoleProcess, name)
	if r.parent(first) {
		return r.take(from, first, last, value(roleParent, name))
	}
	switch r.agency(first, last) {
	case toward:
		a = value(RoleTargetProcess, name)
	case receiving:
		a.readings = slices.Insert(a.readings, 0, reading{RoleTargetProcess, name})
	case fromward:
		a.readings = slices.Insert(a.readings, 0, reading{RoleSender, name})
	}
	if !r.words[last-1].ends && r.is(last, "process", "processes", "worker", "workers", "daemon", "daemons", "server", "servers", "service", "services", "instance", "instances", "app", "application", "program", "binary", "backend", "backends", "threads", "thread", "command") {
		last++
		if r.is(last, "process", "processes") {
			last++
		}
	}
	return r.take(from, first, last, a)
}

package compose

import (
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/retrieval/kernel/abi"
)

// value is what a placeholder of a pattern stood for.
type value struct {
	text string        // as written
	word string        // in the form that is used: a syscall's name, an errno's name, a key
	n    uint64        // of <n>, <size>, <hex>
	dur  time.Duration // of <dur>
}

// found is a pattern that was found.
type found struct {
	end    int // behind its last token
	values map[string]value
}

// element is one element of a pattern: alternatives of words, or a placeholder.
type element struct {
	phrases  [][]string // alternatives, each of one word or several
	hole     string     // a placeholder's name: "<dur>"
	optional bool
}

// compile reads a pattern: words; "a|b" for one of them; "@x" for one of the phrases
// called x; "<x>" for a value; a "?" behind it makes an element optional.
func compile(pattern string) []element {
	var out []element
	for f := range strings.FieldsSeq(pattern) {
		var e element
		if cut, ok := strings.CutSuffix(f, "?"); ok {
			f, e.optional = cut, true
		}
		switch {
		case strings.HasPrefix(f, "<"):
			e.hole = strings.Trim(f, "<>")
		default:
			for alt := range strings.SplitSeq(f, "|") {
				if name, ok := strings.CutPrefix(alt, "@"); ok {
					for _, p := range phrases[name] {
						e.phrases = append(e.phrases, strings.Fields(p))
					}
					continue
				}
				e.phrases = append(e.phrases, []string{alt})
			}
		}
		out = append(out, e)
	}
	return out
}

// match finds the longest reading of a pattern that begins at token i.
func (r *reader) match(pattern []element, i int) (found, bool) { return r.matchFrom(pattern, i, i) }

// matchFrom goes on with a pattern that began at token start; it does not go beyond a clause.
func (r *reader) matchFrom(pattern []element, start, i int) (found, bool) {
	if len(pattern) == 0 {
		return found{end: i, values: map[string]value{}}, true
	}
	e, rest := pattern[0], pattern[1:]
	var best found
	ok := false
	try := func(end int, hole string, v value) {
		f, fits := r.matchFrom(rest, start, end)
		if !fits || ok && f.end <= best.end {
			return
		}
		if hole != "" {
			f.values[hole] = v
		}
		best, ok = f, true
	}
	if i > start && r.toks[i-1].ends {
		if e.optional {
			try(i, "", value{})
		}
		return best, ok
	}
	if e.hole != "" {
		for _, c := range r.fill(e.hole, i) {
			try(c.end, e.hole, c.value)
		}
	}
	for _, p := range e.phrases {
		if end := r.says(i, p); end > 0 {
			try(end, "", value{})
		}
	}
	if e.optional {
		try(i, "", value{})
	}
	return best, ok
}

// says returns where a phrase that begins at token i ends, or 0.
func (r *reader) says(i int, phrase []string) int {
	for k, w := range phrase {
		if i+k >= len(r.toks) || r.toks[i+k].quoted || r.toks[i+k].low != w || k > 0 && r.toks[i+k-1].ends {
			return 0
		}
	}
	return i + len(phrase)
}

// filling is a way to fill a placeholder.
type filling struct {
	end int
	value
}

var (
	identifier  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	programName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.:+-]*$`)
	quotable    = regexp.MustCompile(`^[A-Za-z0-9_.:+@/()\[\] -]{1,15}$`)
	upper       = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)
	capitals    = regexp.MustCompile(`^[A-Z][A-Z0-9_]{2,}$`)
	gluedTime   = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|sec|secs|m|min|mins|h)$`)
	gluedSize   = regexp.MustCompile(`^([0-9]+)(b|k|kb|kib|m|mb|mib|g|gb|gib)$`)
)

var timeUnits = map[string]time.Duration{
	"ns": 1, "nanosecond": 1, "nanoseconds": 1, "us": time.Microsecond, "µs": time.Microsecond, "usec": time.Microsecond, "microsecond": time.Microsecond, "microseconds": time.Microsecond,
	"ms": time.Millisecond, "msec": time.Millisecond, "millisecond": time.Millisecond, "milliseconds": time.Millisecond, "millis": time.Millisecond,
	"s": time.Second, "sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "mins": time.Minute, "minute": time.Minute, "minutes": time.Minute, "h": time.Hour, "hour": time.Hour, "hours": time.Hour,
}

var sizeUnits = map[string]uint64{
	"b": 1, "byte": 1, "bytes": 1, "k": 1 << 10, "kb": 1 << 10, "kib": 1 << 10, "kilobyte": 1 << 10, "kilobytes": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "mib": 1 << 20, "megabyte": 1 << 20, "megabytes": 1 << 20,
	"g": 1 << 30, "gb": 1 << 30, "gib": 1 << 30, "gigabyte": 1 << 30, "gigabytes": 1 << 30,
}

var numerals = map[string]uint64{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twenty": 20, "thirty": 30, "sixty": 60}

func number(low string) (uint64, bool) {
	if n, ok := numerals[low]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(low, 0, 64)
	return n, err == nil
}

// fill lists what can stand for a placeholder at token i.
func (r *reader) fill(hole string, i int) []filling {
	if i >= len(r.toks) {
		return nil
	}
	t := r.toks[i]
	one := func(v value, ok bool) []filling {
		if !ok {
			return nil
		}
		v.text = t.text
		return []filling{{i + 1, v}}
	}
	if slices.Contains([]string{"place", "pod", "label", "where", "cgroup"}, hole) {
		return r.place(hole, i)
	}
	if t.quoted {
		return one(value{word: t.text}, (hole == "name" || hole == "program") && quotable.MatchString(t.text) || hole == "path" && strings.HasPrefix(t.text, "/"))
	}
	switch hole {
	case "n":
		n, ok := number(t.low)
		return one(value{n: n, word: t.low}, ok)
	case "dur":
		return r.duration(i)
	case "rundur": // a length of some seconds alone, behind all the rest: "…, 2 min"
		if i == 0 || !r.toks[i-1].ends {
			return nil
		}
		return slices.DeleteFunc(r.duration(i), func(f filling) bool { return f.end != len(r.toks) || f.dur < 5*time.Second })
	case "size":
		return r.size(i)
	case "errno":
		_, ok := abi.Errno(t.text)
		return one(value{word: t.text}, ok && strings.HasPrefix(t.text, "E"))
	case "names":
		return r.names(i)
	case "programs": // of which one at least is known to be one
		known := func(v value) bool {
			return slices.ContainsFunc(strings.Split(v.word, ","), func(name string) bool { _, ok := r.words(strings.ToLower(name)); return ok })
		}
		return slices.DeleteFunc(r.names(i), func(f filling) bool { return !known(f.value) })
	case "leaders": // several of these at the beginning, whose doing what follows is
		for _, t := range r.toks[:i] {
			if t.quoted || !fillers[t.low] || t.ends {
				return nil
			}
		}
		return slices.DeleteFunc(r.fill("programs", i), func(f filling) bool {
			calls := slices.ContainsFunc(r.toks[i:f.end], func(t token) bool { return r.isCall(t.low) }) // "chmod and chown calls"
			return calls || f.end == len(r.toks) || r.toks[f.end-1].ends
		})
	case "ipproto":
		return one(value{word: ipProtocols[t.low]}, ipProtocols[t.low] != "")
	case "twopids":
		return slices.DeleteFunc(r.fill("pids", i), func(f filling) bool { return !strings.Contains(f.word, ",") })
	case "host":
		return one(value{word: t.low}, hostForm.MatchString(t.low))
	case "errnos":
		return r.several(i, func(t token) bool {
			_, ok := abi.Errno(t.text)
			return ok && strings.HasPrefix(t.text, "E")
		})
	case "flag", "flags": // a constant that an argument of some call takes
		return r.several(i, func(t token) bool {
			_, ok := familyOf(t.text)
			return ok && upper.MatchString(t.text)
		})
	case "suffix": // the end of such a constant: "DONTNEED"
		return one(value{word: t.text}, capitals.MatchString(t.text) && slices.ContainsFunc(constantNames(), func(name string) bool { return strings.HasSuffix(name, "_"+t.text) }))
	case "ports":
		return r.list(i, func(t token) (string, bool) {
			n, ok := number(t.low)
			return strconv.FormatUint(n, 10), ok && n > 0 && n < 1<<16
		})
	case "ips":
		return r.list(i, func(t token) (string, bool) {
			if t.low == "localhost" || t.low == "loopback" {
				return strconv.Quote(localhost), true
			}
			if net, err := netip.ParsePrefix(t.text); err == nil {
				return strconv.Quote(net.String()), net == net.Masked() && net.Bits() > 0
			}
			a, err := netip.ParseAddr(strings.Trim(t.text, "[]"))
			return strconv.Quote(a.String()), err == nil && a.Zone() == ""
		})
	case "paths":
		return r.list(i, func(t token) (string, bool) {
			return strconv.Quote(t.text), strings.HasPrefix(t.text, "/") && len(t.text) < 100 && !strings.ContainsAny(t.text, "\",\\")
		})
	case "pids":
		return r.list(i, func(t token) (string, bool) {
			n, ok := number(t.low)
			return strconv.FormatUint(n, 10), ok && n > 0 && n <= 1<<22
		})
	case "signals":
		return r.list(i, func(t token) (string, bool) {
			_, ok := abi.Signal(t.text)
			return t.text, ok && t.text == strings.ToUpper(t.text) && strings.HasPrefix(t.text, "SIG")
		})
	case "signal":
		_, ok := abi.Signal(t.text)
		return one(value{word: "SIG" + strings.TrimPrefix(strings.ToUpper(t.text), "SIG")}, ok && t.text == strings.ToUpper(t.text) && strings.HasPrefix(t.text, "SIG"))
	case "const":
		return one(value{word: t.text}, upper.MatchString(t.text))
	case "ip":
		a, err := netip.ParseAddr(strings.Trim(t.text, "[]"))
		return one(value{word: a.String()}, err == nil && a.Zone() == "")
	case "path":
		return one(value{word: t.text}, strings.HasPrefix(t.text, "/") && len(t.text) < 100)
	case "name":
		return one(value{word: t.text}, r.isName(t))
	case "program": // one that is no plain word, or is said to be one
		isWord, isProgram := r.words(t.low)
		if i > 0 && (r.toks[i-1].ends || alternatives[r.toks[i-1].low]) {
			return nil // one more of several, which is not known of which side
		}
		return one(value{word: t.text}, isProgram && (!isWord || i > 0 && before[r.toks[i-1].low]))
	case "user":
		if r.userID == nil || !programName.MatchString(t.text) {
			return nil
		}
		id, ok := r.userID(t.text)
		return one(value{word: strconv.FormatUint(uint64(id), 10)}, ok)
	case "field":
		return one(value{word: strings.ToLower(t.text)}, identifier.MatchString(t.text))
	case "arg": // a field without a word that says so: none that means something else
		word, _ := r.words(t.low)
		return one(value{word: strings.ToLower(t.text)}, identifier.MatchString(t.text) && !reserved[t.low] && (!word || sizes[t.low] || strings.Contains(t.low, "_")))
	case "key", "other":
		return r.key(i)
	case "call":
		return one(value{word: r.callOf(t.low)}, r.isCall(t.low) && (!amounts[t.low] || r.saidCall(i)))
	case "tracepoint", "end":
		if tp, ok := r.tracepoint(t.text); ok {
			return one(value{word: tp}, true)
		}
		var out []filling
		for words, tp := range aliases {
			if end := r.says(i, strings.Fields(words)); end > 0 && slices.Contains(r.tracepoints, strings.Replace(tp, "/", ":", 1)) {
				out = append(out, filling{end, value{text: said(r.toks, i, end), word: tp}})
			}
		}
		return out
	case "fork": // what processes do, unless it is said to be a system call
		return one(value{}, (t.low == "fork" || t.low == "vfork") && !r.saidCall(i))
	case "group":
		return one(value{word: t.low}, r.isGroup(t.low))
	case "function":
		return one(value{word: t.text}, r.isFunction(t.text))
	}
	return nil
}

// amounts are names of system calls that rather say what is measured.
var amounts = set("time times")

// saidCall tells whether a word is said to be a system call.
func (r *reader) saidCall(i int) bool {
	return r.toks[i].called || i > 0 && says[r.toks[i-1].low] || i+1 < len(r.toks) && says[r.toks[i+1].low]
}

// several reads values of one kind, any of which is meant: "EAGAIN", "ENOENT or EACCES", "80, 443 and 8443".
func (r *reader) several(i int, is func(token) bool) []filling {
	return r.list(i, func(t token) (string, bool) { return t.text, is(t) })
}

// list is several of values that are written otherwise in a contract.
func (r *reader) list(i int, is func(token) (string, bool)) []filling {
	var out []filling
	var words []string
	for i < len(r.toks) && !r.toks[i].quoted {
		word, ok := is(r.toks[i])
		if !ok {
			break
		}
		words = append(words, word)
		v := value{text: strings.Join(words, " or "), word: strings.Join(words, ",")}
		comma := r.toks[i].ends
		i++
		out = append(out, filling{i, v})
		if i < len(r.toks) && alternatives[r.toks[i].low] && !r.toks[i].quoted {
			i++
		} else if !comma {
			break
		}
	}
	if len(out) > 1 && !alternatives[r.toks[out[len(out)-2].end].low] {
		return out[:1] // a mere list is not said to be of alternatives
	}
	if len(out) > 1 {
		return out[len(out)-1:]
	}
	return out
}

// names reads a list of names of processes, none of which is meant: "bash, sh and python3". A list that no "and" or "or" ends is
// none: what comes after a comma may be something else. Nor is one with the name of a user in it.
func (r *reader) names(i int) []filling {
	is := func(i int) bool {
		return i < len(r.toks) && !r.toks[i].quoted && r.toks[i].low != "root" && r.isName(r.toks[i]) && !r.meansElse(r.toks[i])
	}
	var words []string
	for is(i) && len(words) < maxNames {
		words = append(words, r.toks[i].text)
		comma := r.toks[i].ends
		i++
		if i < len(r.toks) && alternatives[r.toks[i].low] && !r.toks[i].quoted && is(i+1) {
			words = append(words, r.toks[i+1].text)
			return []filling{{i + 2, value{text: strings.Join(words, " or "), word: strings.Join(words, ",")}}}
		}
		if !comma {
			break
		}
	}
	return nil
}

// ipProtocols are protocols with the constants of their numbers.
var ipProtocols = map[string]string{"tcp": "IPPROTO_TCP", "udp": "IPPROTO_UDP", "sctp": "IPPROTO_SCTP", "icmp": "IPPROTO_ICMP,IPPROTO_ICMPV6"}

// hostForm matches names of hosts with a domain.
var hostForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(\.[a-z0-9-]+)*\.[a-z]{2,}$`)

// localhost is a word for every address by which a host speaks to itself alone.
const localhost = "localhost"

// maxNames is how many processes can be left out.
const maxNames = 8

// duration reads "10ms", "10 ms", "half a second", "a minute".
func (r *reader) duration(i int) []filling {
	low := r.toks[i].low
	give := func(end int, d float64) []filling {
		if d < 1 || d > float64(1000*time.Hour) {
			return nil
		}
		return []filling{{end, value{text: said(r.toks, i, end), dur: time.Duration(math.Round(d))}}}
	}
	if m := gluedTime.FindStringSubmatch(low); m != nil {
		f, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return nil
		}
		return give(i+1, f*float64(timeUnits[m[2]]))
	}
	unit := func(k int) float64 {
		if k >= len(r.toks) || r.toks[k].quoted {
			return 0
		}
		return float64(timeUnits[r.toks[k].low])
	}
	if end := max(r.says(i, []string{"half", "a"}), r.says(i, []string{"half", "an"})); end > 0 && unit(end) > 0 {
		return give(end+1, unit(end)/2)
	}
	f, err := strconv.ParseFloat(low, 64)
	if n, ok := numerals[low]; ok {
		f, err = float64(n), nil
	}
	if low == "a" || low == "an" {
		f, err = 1, nil
		if i+1 < len(r.toks) && len(r.toks[i+1].low) < 4 {
			return nil // "a s"
		}
	}
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || unit(i+1) == 0 {
		return nil
	}
	return give(i+2, f*unit(i+1))
}

// size reads "64KiB", "64 KiB", "4096 bytes".
func (r *reader) size(i int) []filling {
	low := r.toks[i].low
	digits, unit, end := low, "", i+1
	if m := gluedSize.FindStringSubmatch(low); m != nil {
		digits, unit = m[1], m[2]
	} else if i+1 < len(r.toks) && sizeUnits[r.toks[i+1].low] > 0 && !r.toks[i].ends {
		unit, end = r.toks[i+1].low, i+2
	}
	n, err := strconv.ParseUint(digits, 10, 40)
	if err != nil || unit == "" {
		return nil
	}
	return []filling{{end, value{text: said(r.toks, i, end), n: n * sizeUnits[unit]}}}
}

// isName tells whether a token can be the name of a process: not a word that means
// something.
func (r *reader) isName(t token) bool {
	if !programName.MatchString(t.text) || len(t.text) > 15 || memberPath.MatchString(t.text) {
		return false
	}
	if _, err := strconv.ParseFloat(t.low, 64); err == nil || gluedTime.MatchString(t.low) || gluedSize.MatchString(t.low) {
		return false
	}
	word, isProgram := r.words(t.low)
	return isProgram && !reserved[t.low] || !word && !reserved[t.low] && !upper.MatchString(t.text) && (strings.ContainsAny(t.low, "-_.0123456789") || !noun.MatchString(t.low))
}

// memberPath matches what is rather a member of a kernel object than a process: "p.exit_code".
var memberPath = regexp.MustCompile(`^[a-z]{1,6}(\.|->)[a-z_]+[a-z_.>-]*$`)

var alternatives = set("and or nor")

// before are words that a program's name may follow.
var before = set("of by from for in process program not except")

// noun matches words that are rather plain words that nobody knows than names.
var noun = regexp.MustCompile(`(s|ing|ion|ly|ment|ness|ity|ance|ence|able|ible|ful|less|ive|ical|ous|ism|ship|ware|day|time)$`)

// participle matches what "by" and a name may follow: "opened by cron".
var participle = regexp.MustCompile(`(ed|en|wn|made|run|sent|done|read)$`)

// keyed are participles before a "by" that says what rows are for.
var keyed = set("grouped counted keyed split broken summed aggregated sorted")

// key reads what rows can be for.
func (r *reader) key(i int) []filling {
	var out []filling
	for words, k := range keyWords {
		if end := r.says(i, strings.Fields(words)); end > 0 {
			out = append(out, filling{end, value{text: said(r.toks, i, end), word: k}})
		}
	}
	if len(out) == 0 && i > 1 && r.toks[i-1].low == "by" && participle.MatchString(r.toks[i-2].low) && !keyed[r.toks[i-2].low] {
		return nil // who does it
	}
	if _, isProgram := r.words(r.toks[i].low); len(out) == 0 && isProgram {
		return nil
	}
	if len(out) == 0 && identifier.MatchString(r.toks[i].text) && (!reserved[r.toks[i].low] || fieldWords[r.toks[i].low]) {
		out = append(out, filling{i + 1, value{text: r.toks[i].text, word: "." + strings.ToLower(r.toks[i].text)}})
	}
	return out
}

package text

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"kgent/executor/output"
)

// Value shows the value of a column of the given kind: durations as 1.3ms,
// sizes as 4.0K, times as 15:04:05.123, counts with thousands apart. The text
// is clean; "-" stands for nothing.
func Value(kind string, v any, o Options) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case string:
		if kind == "k_time" || kind == "k_boottime" {
			return clockTime(v, o)
		}
		return Clean(v)
	case json.Number:
		return number(kind, string(v))
	case output.Fields:
		return Fields(v)
	case []any:
		separator := ", "
		if kind == "k_kstack" || kind == "k_ustack" {
			separator = " < "
		}
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = Value("", x, o)
		}
		return strings.Join(parts, separator)
	}
	return Clean(fmt.Sprint(v))
}

// Fields shows fields on one line: "comm=nginx pid=7".
func Fields(f output.Fields) string {
	parts := make([]string, len(f))
	for i, x := range f {
		v := Value("", x.Value, Options{})
		if strings.ContainsAny(v, " =") || v == "" {
			v = `"` + v + `"`
		}
		parts[i] = Clean(x.Name) + "=" + v
	}
	return strings.Join(parts, " ")
}

func clockTime(s string, o Options) string {
	if s == "" {
		return "-"
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return Clean(s)
	}
	if o.Location == nil {
		return t.UTC().Format("15:04:05.000")
	}
	return t.In(o.Location).Format("15:04:05.000")
}

func number(kind, s string) string {
	switch kind {
	case "k_ns":
		return withUnit(s, 1)
	case "k_us":
		return withUnit(s, 1e3)
	case "k_ms":
		return withUnit(s, 1e6)
	case "k_bytes":
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return size(f)
		}
	case "k_permille":
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return strconv.FormatFloat(f/10, 'f', 1, 64) + "%"
		}
	case "k_count", "k_pages":
		return thousands(Clean(s))
	}
	return Clean(s)
}

func withUnit(s string, nanos float64) string {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Clean(s)
	}
	return duration(f * nanos)
}

// duration shows nanoseconds with two or three digits.
func duration(ns float64) string {
	if ns < 0 {
		return "-" + duration(-ns)
	}
	switch {
	case ns < 999.5:
		return strconv.FormatFloat(ns, 'f', 0, 64) + "ns"
	case ns < 999.5e3:
		return short(ns/1e3) + "us"
	case ns < 999.5e6:
		return short(ns/1e6) + "ms"
	case ns < 59.95e9:
		return short(ns/1e9) + "s"
	}
	return long(ns)
}

// long shows nanoseconds from a minute on.
func long(ns float64) string {
	seconds := int64(ns/1e9 + 0.5)
	if seconds < 3600 {
		return fmt.Sprintf("%dm%02ds", seconds/60, seconds%60)
	}
	minutes := (seconds + 30) / 60
	if minutes < 48*60 {
		return fmt.Sprintf("%dh%02dm", minutes/60, minutes%60)
	}
	return strconv.FormatInt((minutes+12*60)/(24*60), 10) + "d"
}

// durationDigits shows nanoseconds with so many digits behind the point where they
// are not zero; from a minute on as [duration] does.
func durationDigits(ns float64, digits int) string {
	switch half := 0.5 * math.Pow(10, -float64(digits)); {
	case ns < 999.5:
		return trimmed(ns, 0) + "ns"
	case ns < (1000-half)*1e3:
		return trimmed(ns/1e3, digits) + "us"
	case ns < (1000-half)*1e6:
		return trimmed(ns/1e6, digits) + "ms"
	case ns < 59.95e9:
		return trimmed(ns/1e9, digits) + "s"
	}
	return long(ns)
}

// trimmed shows a number with at most so many digits behind the point, of large
// numbers with one digit less for each place they have more.
func trimmed(f float64, digits int) string {
	if f >= 99.95 {
		digits--
	}
	s := strconv.FormatFloat(f, 'f', max(digits, 0), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// short shows a number below 1000: 1.3, 12.3, 123.
func short(f float64) string {
	if f < 99.95 {
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

const sizeUnits = "KMGTPEZ"

// scaled brings bytes below 1024 of a unit; unit is empty for bytes.
func scaled(f float64) (_ float64, unit string) {
	if f < 1023.5 {
		return f, ""
	}
	f /= 1024
	i := 0
	for ; f >= 1023.5 && i < len(sizeUnits)-1; i++ {
		f /= 1024
	}
	return f, sizeUnits[i : i+1]
}

// size shows bytes in powers of 1024: 512, 4.0K, 1.5M.
func size(f float64) string {
	if f < 0 {
		return "-" + size(-f)
	}
	v, unit := scaled(f)
	if unit == "" {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return short(v) + unit
}

// sizeDigits is size with so many digits behind the point where they are not zero.
func sizeDigits(f float64, digits int) string {
	v, unit := scaled(f)
	if unit == "" {
		digits = 0
	}
	return trimmed(v, digits) + unit
}

// thousands sets a comma between every three digits of a number.
func thousands(s string) string {
	whole, rest, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		rest = "." + rest
	}
	return sign + whole + rest
}

func count(n uint64) string { return thousands(strconv.FormatUint(n, 10)) }

// plural is "1 event", "2 events".
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

package text

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// numbered is a name taken apart at its last number.
type numbered struct {
	head, tail string
	digits     int // of a number with zeros in front; 0: it has none
	n          uint64
	ok         bool // it has a number
}

// maxDigits is the length of the longest number that is counted with.
const maxDigits = 15

func takeApart(name string) numbered {
	isDigit := func(c byte) bool { return c >= '0' && c <= '9' }
	end := len(name)
	for end > 0 && !isDigit(name[end-1]) {
		end--
	}
	begin := end
	for begin > 0 && isDigit(name[begin-1]) {
		begin--
	}
	x := numbered{head: name[:begin], tail: name[end:]}
	digits := name[begin:end]
	if digits == "" || len(digits) > maxDigits {
		return numbered{head: name}
	}
	x.n, _ = strconv.ParseUint(digits, 10, 64)
	x.ok = true
	if digits[0] == '0' && len(digits) > 1 {
		x.digits = len(digits)
	}
	return x
}

// fewNames are written one by one.
const fewNames = 4

// Ranges writes a list of names as short as can be without leaving one out: names that
// differ in their last number alone become one, "db-[1-497,499]". The names are sorted, by
// number where they have one.
func Ranges(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	parts := make([]numbered, 0, len(names))
	for _, n := range names {
		parts = append(parts, takeApart(n))
	}
	// Numbers of one length of which some have zeros in front are all so written:
	// db-099, db-100.
	type family struct {
		head, tail string
		length     int
	}
	padded := map[family]bool{}
	for _, p := range parts {
		if p.digits > 0 {
			padded[family{p.head, p.tail, p.digits}] = true
		}
	}
	for i, p := range parts {
		if length := len(strconv.FormatUint(p.n, 10)); p.ok && p.digits == 0 && padded[family{p.head, p.tail, length}] {
			parts[i].digits = length
		}
	}
	slices.SortStableFunc(parts, func(a, b numbered) int {
		return cmp.Or(strings.Compare(a.head, b.head), strings.Compare(a.tail, b.tail), cmp.Compare(a.digits, b.digits), cmp.Compare(a.n, b.n))
	})
	var out []string
	for len(parts) > 0 {
		first := parts[0]
		same := 1
		for same < len(parts) && first.ok && parts[same].ok && parts[same].head == first.head && parts[same].tail == first.tail && parts[same].digits == first.digits {
			same++
		}
		group := parts[:same]
		parts = parts[same:]
		written := func(n uint64) string { return fmt.Sprintf("%0*d", first.digits, n) }
		switch {
		case !first.ok:
			out = append(out, first.head)
			continue
		case same == 1 || len(names) <= fewNames:
			for _, p := range group {
				out = append(out, p.head+written(p.n)+p.tail)
			}
			continue
		}
		var spans []string
		for i := 0; i < len(group); {
			j := i
			for j+1 < len(group) && group[j+1].n == group[j].n+1 {
				j++
			}
			span := written(group[i].n)
			if j > i {
				span += "-" + written(group[j].n)
			}
			spans = append(spans, span)
			i = j + 1
		}
		out = append(out, first.head+"["+strings.Join(spans, ",")+"]"+first.tail)
	}
	return strings.Join(out, ", ")
}

// Short is [Ranges], or its beginning when that is longer than so many characters, which
// then says how many names there are.
func Short(names []string, most int) string {
	s := Ranges(names)
	if len(s) <= most {
		return s
	}
	end := max(strings.LastIndexAny(s[:most], ", "), 0)
	if strings.Count(s[:end], "[") > strings.Count(s[:end], "]") {
		return strings.TrimRight(s[:end], ", ") + ",…], " + strconv.Itoa(len(names)) + " in all"
	}
	return strings.TrimRight(s[:end], ", ") + ", …, " + strconv.Itoa(len(names)) + " in all"
}

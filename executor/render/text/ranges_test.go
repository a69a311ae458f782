package text_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kgent/executor/render/text"
)

func TestRanges(t *testing.T) {
	var many []string
	for i := range 500 {
		if i != 2 && i != 17 {
			many = append(many, fmt.Sprintf("db-%d", i+1))
		}
	}
	for _, tc := range []struct{ names, want string }{
		{"", ""},
		{"db-1", "db-1"},
		{"db-2 db-1", "db-1, db-2"},
		{"db-1 db-3 db-3 web", "db-1, db-3, web"},
		{"db-10 db-9 db-11 db-1", "db-1, db-9, db-10, db-11"},
		{"db-098 db-099 db-100 db-1000", "db-1000, db-098, db-099, db-100"},
		{"db-097 db-098 db-099 db-100 db-1000", "db-1000, db-[097-100]"},
		{"db-1 db-01 db-2 db-02", "db-1, db-2, db-01, db-02"},
		{"db-1 db-01 db-2 db-02 db-3", "db-[1-3], db-[01-02]"},
		{"a1.eu a2.eu a1.us", "a1.eu, a2.eu, a1.us"},
		{"ip-10-0-0-1 ip-10-0-0-2 ip-10-0-0-3 ip-10-0-0-4 ip-10-0-1-1", "ip-10-0-0-[1-4], ip-10-0-1-1"},
		{"n99999999999999999999 n99999999999999999998", "n99999999999999999998, n99999999999999999999"},
		{strings.Join(many, " "), "db-[1-2,4-17,19-500]"},
	} {
		got := text.Ranges(strings.Fields(tc.names))
		if got != tc.want {
			t.Errorf("%.60s: %s, want %s", tc.names, got, tc.want)
		}
	}
}

func TestShort(t *testing.T) {
	var odd []string
	for i := range 500 {
		odd = append(odd, fmt.Sprintf("db-%d", 2*i+1))
	}
	if got, want := text.Short(odd, 30), "db-[1,3,5,7,9,11,13,15,17,19,…], 500 in all"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := text.Short([]string{"alpha", "beta", "gamma"}, 14), "alpha, beta, …, 3 in all"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := text.Short([]string{"alpha"}, 14); got != "alpha" {
		t.Error(got)
	}
}

var bracket = regexp.MustCompile(`^(.*)\[([0-9,-]+)\](.*)$`)

// expand is the inverse of Ranges.
func expand(t testing.TB, s string) []string {
	var out []string
	for s != "" {
		part, rest, _ := strings.Cut(s, ", ")
		s = rest
		m := bracket.FindStringSubmatch(part)
		if m == nil {
			out = append(out, part)
			continue
		}
		for span := range strings.SplitSeq(m[2], ",") {
			first, last, ok := strings.Cut(span, "-")
			if !ok {
				last = first
			}
			a, err1 := strconv.ParseUint(first, 10, 64)
			b, err2 := strconv.ParseUint(last, 10, 64)
			if err1 != nil || err2 != nil || a > b || b-a > 10000 {
				t.Fatalf("%q", part)
			}
			for n := a; n <= b; n++ {
				width := 0
				if first[0] == '0' && len(first) > 1 {
					width = len(first)
				}
				out = append(out, m[1]+fmt.Sprintf("%0*d", width, n)+m[3])
			}
		}
	}
	slices.Sort(out)
	return out
}

// No name is lost or made up.
func FuzzRanges(f *testing.F) {
	f.Add("db-1 db-2 db-10 db-09 x 01 1 001")
	f.Add("a0 a00 a000 a1 a01")
	f.Fuzz(func(t *testing.T, s string) {
		names := strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == ',' || r == '[' || r == ']' })
		slices.Sort(names)
		names = slices.Compact(names)
		if got := expand(t, text.Ranges(names)); !slices.Equal(got, names) {
			t.Errorf("%q: %s is %q", names, text.Ranges(names), got)
		}
	})
}

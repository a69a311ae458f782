package contract

import (
	"slices"
	"strings"
)

// suggest returns the names that are most like name, at most three.
func suggest(name string, names []string) []string {
	type scored struct {
		name string
		far  int
	}
	var near []scored
	low := strings.ToLower(name)
	for _, n := range names {
		if n == name {
			continue
		}
		far := distance(low, strings.ToLower(n))
		switch l := strings.ToLower(n); {
		case far <= 1+len(name)/4:
		case len(low) >= 3 && (strings.HasPrefix(l, low) || strings.HasSuffix(l, "_"+low)):
			far = 2 + len(name)/4
		default:
			continue
		}
		near = append(near, scored{n, far})
	}
	slices.SortStableFunc(near, func(a, b scored) int {
		if a.far != b.far {
			return a.far - b.far
		}
		return strings.Compare(a.name, b.name)
	})
	near = slices.CompactFunc(near, func(a, b scored) bool { return a.name == b.name })
	var out []string
	for _, s := range near {
		if len(out) == 3 {
			break
		}
		out = append(out, s.name)
	}
	return out
}

// distance counts the letters to change, add, drop or swap with their
// neighbour to get from a to b. Names are cut to 64 bytes.
func distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	var rows [3][65]int
	for j := range len(b) + 1 {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		rows[2] = rows[1]
		cur, last := &rows[0], &rows[2]
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(last[j]+1, cur[j-1]+1, last[j-1]+cost)
		}
		rows[1] = *cur
	}
	// A swap of neighbours counts two; as the commonest slip it shall count one.
	d := rows[1][len(b)]
	if d == 2 && len(a) == len(b) {
		i := 0
		for a[i] == b[i] {
			i++
		}
		if i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] {
			return 1
		}
	}
	return d
}

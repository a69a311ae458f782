package notes

import (
	"strconv"
	"strings"
)

// holds tells whether a release ("6.18.44-amd64") lies in [since, until); always if it is empty.
func holds(since, until, release string) bool {
	if release == "" {
		return true
	}
	return (since == "" || !older(release, since)) && (until == "" || older(release, until))
}

// Exists tells whether a kernel of this release has the hook, if what it needs is there.
func (n *Note) Exists(release string) bool { return holds(n.Since, n.Until, release) }

// older compares major and minor number.
func older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	return x[0] < y[0] || x[0] == y[0] && x[1] < y[1]
}

func numbers(release string) (v [2]int) {
	major, rest, _ := strings.Cut(release, ".")
	minor := rest
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		minor = rest[:end]
	}
	v[0], _ = strconv.Atoi(major)
	v[1], _ = strconv.Atoi(minor)
	return v
}

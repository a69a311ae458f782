package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// ref is a name of one of the platforms: platform:tenant/local. An account, a
// group and a place all have this form.
type ref struct {
	platform string // slack, discord, terminal
	tenant   string // Slack's team, Discord's guild, or a host
	local    string // of a user, group, role or channel
}

const (
	slack    = "slack"
	discord  = "discord"
	terminal = "terminal"
)

var platforms = []string{slack, discord, terminal}

// maxRef is the longest reference, in bytes: far more than platforms use.
const maxRef = 255

func (r ref) String() string { return r.home() + "/" + r.local }

// home is the workspace, guild or host that gave out the name.
func (r ref) home() string { return r.platform + ":" + r.tenant }

// parseRef reads platform:tenant/local. The error is made for people and
// quotes what was read.
func parseRef(s string) (ref, error) {
	home, local, ok := strings.Cut(s, "/")
	platform, tenant, ok2 := strings.Cut(home, ":")
	switch {
	case len(s) > maxRef:
		return ref{}, fmt.Errorf("a name of %d bytes is too long", len(s))
	case !ok || !ok2 || !word(tenant) || !word(local):
		return ref{}, fmt.Errorf("%q is not of the form slack:<team>/<id>, discord:<guild>/<id> or terminal:<host>/<user>", s)
	case !slices.Contains(platforms, platform):
		return ref{}, fmt.Errorf("%q: no platform is called %q%s", s, platform, didYouMean(platform, platforms))
	}
	return ref{platform, tenant, local}, nil
}

// word reports whether s is a name without anything that separates names or
// that cannot be seen.
func word(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '/' || r == ':' || r == ',' || r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}

// kind is what the local part of a reference names.
type kind string

const (
	user  kind = "account"
	group kind = "group"
	place kind = "place"
)

// slackKinds are the first letters of Slack's ids. A Discord id does not show
// what it is of.
var slackKinds = map[byte]kind{'U': user, 'W': user, 'S': group, 'C': place, 'G': place, 'D': place}

// check says when a reference cannot be of the kind.
func (r ref) check(want kind) error {
	// A user's own channel, where only they read, is called after them.
	if r.platform == terminal && want == place && r.local != "console" && !strings.HasPrefix(r.local, "~") {
		return fmt.Errorf("the terminals of a host have one channel for all, %s/console, and one for each user, %s/~<user>", r.home(), r.home())
	}
	if got := slackKinds[r.local[0]]; r.platform == slack && got != "" && got != want {
		return fmt.Errorf("Slack's id %s is of the kind %s, and here stands one of the kind %s", r.local, got, want)
	}
	if want == group && r.platform == discord && r.local == r.tenant {
		return fmt.Errorf("%s is Discord's role of everybody; where a rule may say so, write anyone: true", r)
	}
	if r.platform == discord && strings.Trim(r.local, "0123456789") != "" {
		return fmt.Errorf("%s: Discord's ids are numbers, and %q is none: with Developer Mode on, Copy ID gives that of a server, channel, role or person", r, r.local)
	}
	return nil
}

// didYouMean returns ", did you mean …?" when one of the names is close.
func didYouMean(got string, names []string) string {
	best, dist := "", 3
	for _, n := range names {
		if d := distance(got, n); d < dist && d < len(n) {
			best, dist = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// distance is how many letters must be changed, added or removed to make b
// out of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Package target finds out which nodes somebody means: from a selector, or
// from the words of a request. What is selected is a list of names, before
// anybody is asked to approve; nothing is selected later.
//
// A selector is a comma-separated list of
//
//	NAME             a node
//	KEY=VALUE        every node with this label
//	all              every node
//	any N of WHAT    N of the nodes that WHAT (one of the above) selects, the
//	                 first by name that take runs: which is no node in maintenance
package target

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/executor/bus"
	"kgent/executor/render/text"
)

// Lost is a node that was there, and does not answer any more.
type Lost struct {
	bus.NodeInfo
	Seen time.Time // last
}

// UnknownError says that nothing answers to a part of a selector, and what
// does.
type UnknownError struct {
	Selector string
	Nodes    []string
	Seen     time.Time // when what was meant last answered; zero when it never did
}

func (e *UnknownError) Error() string {
	if len(e.Nodes) == 0 && e.Seen.IsZero() {
		return "no node has announced itself; start `kgent executor` on the nodes, and see `kgent executor list`"
	}
	words := fmt.Sprintf("no node %.100s answers", e.Selector)
	if strings.Trim(e.Selector, " ,") == "" {
		words = "no node is named"
	}
	if isLabel(e.Selector) {
		words = fmt.Sprintf("no node that answers has the label %.100s", e.Selector)
	}
	if !e.Seen.IsZero() {
		words += " (last seen " + e.Seen.UTC().Format("15:04 UTC") + ")"
	}
	if len(e.Nodes) == 0 {
		return words + ", and no other does"
	}
	return fmt.Sprintf("%s; there are: %s; select by name, label key=value, all, or any N of these", words, text.Short(e.Nodes, 300))
}

// Title says it in a few words.
func (e *UnknownError) Title() string {
	if isLabel(e.Selector) {
		return "No node has that label"
	}
	if strings.Trim(e.Selector, " ,") == "" || len(e.Nodes) == 0 && e.Seen.IsZero() {
		return "No node answers"
	}
	return fmt.Sprintf("No node %.60s answers", e.Selector)
}

func isLabel(s string) bool { return strings.Contains(s, "=") }

// unknown is the error for a part of a selector that selects nothing.
func unknown(part string, nodes []bus.NodeInfo, lost []Lost) error {
	e := &UnknownError{Selector: part, Nodes: names(nodes)}
	for _, l := range lost {
		if selects(part, l.NodeInfo) && l.Seen.After(e.Seen) {
			e.Seen = l.Seen
		}
	}
	return e
}

var anyOf = regexp.MustCompile(`^(?i:any\s+)?(\d+)\s+(?i:of)\s+(.+)$`)

// Chooses reports whether a selector leaves a choice: any N of WHAT.
func Chooses(selector string) bool {
	return slices.ContainsFunc(strings.Split(selector, ","), func(part string) bool { return anyOf.MatchString(strings.TrimSpace(part)) })
}

// Resolve returns the names of the nodes that a selector selects, sorted. It
// fails when a part of it selects nothing, or fewer than it says. What is known
// of nodes that were lost makes the error tell more.
func Resolve(selector string, nodes []bus.NodeInfo, lost ...Lost) ([]string, error) {
	var out []string
	for _, part := range strings.Split(selector, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		names, err := one(part, nodes, lost)
		if err != nil {
			return nil, err
		}
		out = append(out, names...)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) == 0 {
		return nil, unknown(selector, nodes, lost)
	}
	return out, nil
}

func one(part string, nodes []bus.NodeInfo, lost []Lost) ([]string, error) {
	if m := anyOf.FindStringSubmatch(part); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q selects no node: write a number from 1", part)
		}
		of, err := one(strings.TrimSpace(m[2]), nodes, lost)
		if err != nil {
			return nil, err
		}
		drained := map[string]bool{}
		for _, x := range nodes {
			drained[x.Name] = x.Drained != ""
		}
		take := slices.DeleteFunc(slices.Clone(of), func(name string) bool { return drained[name] })
		if len(take) < n {
			there := text.Ranges(of)
			if len(of) > len(take) {
				out := slices.DeleteFunc(of, func(name string) bool { return !drained[name] })
				there += fmt.Sprintf("; in maintenance: %s", text.Ranges(out))
			}
			return nil, fmt.Errorf("%q wants %d nodes, but there are %d: %s", part, n, len(take), there)
		}
		return take[:n], nil
	}
	var out []string
	for _, n := range nodes {
		if strings.EqualFold(part, "all") || selects(part, n) {
			out = append(out, n.Name)
		}
	}
	if len(out) == 0 {
		return nil, unknown(part, nodes, lost)
	}
	slices.Sort(out)
	return out, nil
}

// selects reports whether a name or label is that of a node.
func selects(part string, n bus.NodeInfo) bool {
	key, value, isLabel := strings.Cut(part, "=")
	return n.Name == part || isLabel && value != "" && n.Labels[key] == value
}

func names(nodes []bus.NodeInfo) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Name
	}
	slices.Sort(out)
	return out
}

// word is what a selector in a sentence consists of.
const word = `[A-Za-z0-9][A-Za-z0-9_.\-]*(?:=[A-Za-z0-9_.\-/]+)?`

var (
	// onClause finds "on db-1, db-2 and db-3", "on all nodes", "on any 2 of
	// role=db", "on node db-3".
	onClause = regexp.MustCompile(`(?i)\b(?:on|at|from|for)\s+(?:(?:the\s+)?(?:nodes?|hosts?|servers?|machines?)\s+)?` +
		`((?:(?:any\s+)?\d+\s+of\s+)?(?:` + word + `)(?:(?:\s*,\s*(?:and\s+)?|\s+and\s+)` + word + `)*)(\s+(?:nodes?|hosts?|servers?|machines?)\b)?`)
	named     = regexp.MustCompile(`(?i)\bon\s+(?:the\s+)?(?:node|host|server|machine)s?\s+`)
	separator = regexp.MustCompile(`(?i)\s*,\s*(?:and\s+)?|\s+and\s+`)
)

// FromText finds the nodes that a request's words name and returns a selector
// with the words that are left. The selector is empty when the words name no
// node. What counts is a node's name, a label that some node has, all nodes, and
// behind "on" whatever looks like a name or a label: "on port 443" is none. What
// is named and does not answer is an [*UnknownError]; the words that are left
// are returned with it.
func FromText(text string, nodes []bus.NodeInfo, lost ...Lost) (selector, rest string, err error) {
	for _, loc := range onClause.FindAllStringSubmatchIndex(text, -1) {
		clause, list := text[loc[0]:loc[1]], text[loc[2]:loc[3]]
		isNamed := named.MatchString(clause) || loc[4] >= 0
		isOn := isNamed || strings.EqualFold(clause[:2], "on")
		prefix := ""
		if m := anyOf.FindStringSubmatch(list); m != nil {
			prefix, list = "any "+m[1]+" of ", m[2]
		}
		var parts []string
		end := 0 // of what is taken of list
		at := 0
		for _, p := range separator.Split(list, -1) {
			i := strings.Index(list[at:], p) + at
			at = i + len(p)
			p = strings.TrimRight(p, ".")
			w := spelled(normal(p), nodes)
			is := known(w, nodes) && (w != "all" || isNamed || bare(text[loc[3]:]))
			if !is && (isOn || len(parts) > 0) && (prefix != "" || looks(w, nodes, lost)) {
				if is = true; err == nil {
					err = unknown(w, nodes, lost)
				}
			}
			if !is {
				break
			}
			parts = append(parts, w)
			end = at
		}
		if len(parts) == 0 {
			if named.MatchString(clause) {
				return "", text, unknown(list, nodes, lost)
			}
			continue
		}
		selector = prefix + strings.Join(parts, ",")
		cut := loc[3] - len(list) + end
		if cut == loc[3] {
			cut = loc[1]
		}
		rest = strings.TrimSpace(text[:loc[0]]) + " " + strings.TrimSpace(text[cut:])
		rest = strings.NewReplacer(" ,", ",", " .", ".", " ?", "?").Replace(strings.TrimSpace(rest))
		rest = strings.Trim(rest, " ,:;")
		if err != nil {
			return "", rest, err
		}
		return selector, rest, nil
	}
	return "", text, nil
}

// What is said of processes and packets in the form of a label.
var filters = []string{"pid", "tid", "ppid", "uid", "gid", "user", "comm", "process", "port", "dport", "sport", "addr", "daddr", "saddr", "path", "file", "errno", "error", "cpu", "proto"}

// host is a word that is hardly anything but the name of a host: parts with
// hyphens between them, the last with a digit, and perhaps a domain.
var host = regexp.MustCompile(`^(?i:[a-z][a-z0-9]*(-[a-z0-9]+)*-[a-z]*\d+[a-z]?(\.[a-z][a-z0-9\-]*)*)$`)

// stem is the letters that a name begins with, if it goes on with a number, as
// db-1, db1 and db1.eu do.
var stem = regexp.MustCompile(`^([A-Za-z]{2,})[-.]?\d`)

// notHosts look like one.
var notHosts = []string{"x86-64", "x86-32", "utf-8", "utf-16", "sha-1", "sha-256"}

// looks reports whether a word that is no node's name or label was meant as
// one.
func looks(w string, nodes []bus.NodeInfo, lost []Lost) bool {
	if slices.ContainsFunc(lost, func(l Lost) bool { return selects(w, l.NodeInfo) }) {
		return true
	}
	if key, value, ok := strings.Cut(w, "="); ok {
		return value != "" && !slices.Contains(filters, strings.ToLower(key))
	}
	if host.MatchString(w) {
		return !slices.Contains(notHosts, strings.ToLower(w))
	}
	m := stem.FindStringSubmatch(w)
	return m != nil && slices.ContainsFunc(nodes, func(n bus.NodeInfo) bool {
		o := stem.FindStringSubmatch(n.Name)
		return o != nil && strings.EqualFold(o[1], m[1])
	})
}

func normal(w string) string {
	switch strings.ToLower(w) {
	case "all", "every", "each":
		return "all"
	}
	return w
}

// spelled returns a node's name as the node spells it.
func spelled(w string, nodes []bus.NodeInfo) string {
	for _, n := range nodes {
		if strings.EqualFold(n.Name, w) {
			return n.Name
		}
	}
	return w
}

// bare reports whether nothing follows that "all" could be of, as in "trace
// connects on all": "for all processes" selects no nodes.
func bare(rest string) bool { return strings.Trim(rest, " \t\n.,;!?") == "" }

func known(w string, nodes []bus.NodeInfo) bool {
	return slices.ContainsFunc(nodes, func(n bus.NodeInfo) bool { return selects(w, n) }) || w == "all"
}

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
//	                 first by name
package target

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kgent/executor/bus"
)

// UnknownError says that a selector selects nothing, and what there is.
type UnknownError struct {
	Selector string
	Nodes    []string
}

func (e *UnknownError) Error() string {
	if len(e.Nodes) == 0 {
		return "no node has announced itself; start `kgent executor` on the nodes, and see `kgent nodes`"
	}
	shown := e.Nodes
	more := ""
	if len(shown) > 20 {
		more = fmt.Sprintf(" and %d more", len(shown)-20)
		shown = shown[:20]
	}
	return fmt.Sprintf("no node matches %q; the nodes are: %s%s; select by name, label key=value, all, or any N of these", e.Selector, strings.Join(shown, ", "), more)
}

var anyOf = regexp.MustCompile(`^(?i:any\s+)?(\d+)\s+(?i:of)\s+(.+)$`)

// Resolve returns the names of the nodes that a selector selects, sorted. It
// fails when a part of it selects nothing, or fewer than it says.
func Resolve(selector string, nodes []bus.NodeInfo) ([]string, error) {
	var out []string
	for _, part := range strings.Split(selector, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		names, err := one(part, nodes)
		if err != nil {
			return nil, err
		}
		out = append(out, names...)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) == 0 {
		return nil, &UnknownError{selector, names(nodes)}
	}
	return out, nil
}

func one(part string, nodes []bus.NodeInfo) ([]string, error) {
	if m := anyOf.FindStringSubmatch(part); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q selects no node: write a number from 1", part)
		}
		of, err := one(strings.TrimSpace(m[2]), nodes)
		if err != nil {
			return nil, err
		}
		if len(of) < n {
			return nil, fmt.Errorf("%q wants %d nodes, but there are %d: %s", part, n, len(of), strings.Join(of, ", "))
		}
		return of[:n], nil
	}
	var out []string
	key, value, isLabel := strings.Cut(part, "=")
	for _, n := range nodes {
		if n.Name == part || strings.EqualFold(part, "all") || isLabel && value != "" && n.Labels[key] == value {
			out = append(out, n.Name)
		}
	}
	if len(out) == 0 {
		return nil, &UnknownError{part, names(nodes)}
	}
	slices.Sort(out)
	return out, nil
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
// node. Only what is a node's name, a label that some node has, or all nodes
// counts: "on port 443" is none. "on node x" with an unknown x is an error.
func FromText(text string, nodes []bus.NodeInfo) (selector, rest string, err error) {
	for _, loc := range onClause.FindAllStringSubmatchIndex(text, -1) {
		clause, list := text[loc[0]:loc[1]], text[loc[2]:loc[3]]
		isNamed := named.MatchString(clause) || loc[4] >= 0
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
			if w := spelled(normal(p), nodes); known(w, nodes) && (w != "all" || isNamed || bare(text[loc[3]:])) {
				parts = append(parts, w)
				end = at
				continue
			}
			break
		}
		if len(parts) == 0 {
			if named.MatchString(clause) {
				return "", text, &UnknownError{list, names(nodes)}
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
		return selector, strings.Trim(rest, " ,:;"), nil
	}
	return "", text, nil
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
	key, value, isLabel := strings.Cut(w, "=")
	return slices.ContainsFunc(nodes, func(n bus.NodeInfo) bool {
		return n.Name == w || isLabel && n.Labels[key] == value && value != ""
	}) || w == "all"
}

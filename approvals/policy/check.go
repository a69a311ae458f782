package policy

import (
	"maps"
	"slices"
	"strings"

	"kgent/approvals"
)

// warn adds what is allowed in a policy, and hardly meant.
func (r *reader) warn() {
	for i, x := range r.doc.rules {
		r.warnRule(x, r.doc.rules[:i])
	}
	for i, u := range r.doc.maintenance {
		switch {
		case !possible(u.nodes):
			r.warnf(u.line, "maintenance: this entry can never match: no node has such labels")
		case slices.ContainsFunc(r.doc.maintenance[:i], func(b upkeep) bool { return covers(b.nodes, u.nodes) }):
			r.warnf(u.line, "maintenance: this entry can never match: one before it takes all its nodes")
		case u.by.empty():
			r.warnf(u.line, "maintenance: by is empty, so nobody may drain these nodes")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.doc.groups)) {
		if !slices.Contains(r.used, name) {
			r.warnf(0, "the group %s is used by no rule", name)
		}
	}
	if r.doc.paused != "" {
		r.warnf(0, "paused: every request is refused: %s", r.doc.paused)
	}
}

func (r *reader) warnRule(x *rule, before []*rule) {
	if !possible(x.nodes) {
		r.warnf(x.line, "rule %s can never match: no node has such labels", x.name)
	}
	var covered []string
	for _, t := range x.tiers {
		for _, b := range before {
			if slices.Contains(b.tiers, t) && covers(b.nodes, x.nodes) {
				covered = append(covered, "rule "+b.name+" takes "+t.String())
				break
			}
		}
	}
	if len(x.tiers) > 0 && len(covered) == len(x.tiers) {
		r.warnf(x.line, "rule %s can never match: before it, %s", x.name, strings.Join(covered, " and "))
	}
	r.warnQuorum(x)
	if x.requesters.empty() {
		r.warnf(x.line, "rule %s: requesters is empty, so nobody may ask", x.name)
	}
	if x.glass != nil && x.glass.by.empty() {
		r.warnf(x.line, "rule %s: break_glass by is empty, so nobody may", x.name)
	}
	for _, w := range []who{x.approvers, x.requesters} {
		for _, p := range w.people {
			if id := r.doc.persons[p]; id != "" {
				r.warnf(x.line, "rule %s: the account %s is that of %s; name the person", x.name, p, id)
			}
		}
	}
}

// warnQuorum looks for rules that nobody can fulfil.
func (r *reader) warnQuorum(x *rule) {
	listed := map[string]bool{}
	for _, p := range x.approvers.people {
		listed[p] = true
	}
	n := len(listed)
	switch {
	case x.approvers.empty():
		r.warnf(x.line, "rule %s: approvers is empty, so nobody can approve: it forbids what it matches", x.name)
	case x.approvers.anyone || len(x.approvers.groups) > 0:
	case n < x.quorum:
		r.warnf(x.line, "rule %s: %d must approve, but only %d may, so nothing is ever approved", x.name, x.quorum, n)
	case n == x.quorum && !x.self && slices.ContainsFunc(x.requesters.people, func(p string) bool { return listed[p] }):
		r.warnf(x.line, "rule %s: all %d approvers must approve, so what one of them asks for is never approved", x.name, n)
	}
	homes := map[string]bool{}
	for _, p := range x.approvers.people {
		if a, err := parseRef(p); err == nil && r.doc.persons[p] == "" {
			homes[a.home()] = true
		}
	}
	if len(homes) > 1 {
		r.warnf(x.line, "rule %s: accounts of %s that are in nobody's list of people do not count beside each other: list them under people", x.name, strings.Join(slices.Sorted(maps.Keys(homes)), " and "))
	}
}

// possible reports whether any labels fulfil all conditions.
func possible(conditions []condition) bool {
	for _, a := range conditions {
		if a.not {
			continue
		}
		// A value that every condition on the same label takes.
		if !slices.ContainsFunc(a.values, func(v string) bool {
			return all(conditions, func(b condition) bool { return b.key != a.key || b.holds(map[string]string{a.key: v}) })
		}) {
			return false
		}
	}
	return true
}

// covers reports whether every node that fulfils inner fulfils outer; it may
// say no where that would take more thought.
func covers(outer, inner []condition) bool {
	return all(outer, func(o condition) bool {
		return slices.ContainsFunc(inner, func(i condition) bool { return implies(i, o) })
	})
}

// implies reports whether a node that fulfils a fulfils b.
func implies(a, b condition) bool {
	if a.key != b.key {
		return false
	}
	among := func(list []string) func(string) bool {
		return func(v string) bool { return slices.Contains(list, v) }
	}
	switch {
	case !a.not && !b.not:
		return all(a.values, among(b.values))
	case !a.not && b.not:
		return !slices.ContainsFunc(a.values, among(b.values))
	case a.not && b.not:
		return all(b.values, among(a.values))
	}
	return false
}

// tierWords names tiers for people.
func tierWords(tiers []approvals.Tier) string {
	words := make([]string, len(tiers))
	for i, t := range tiers {
		words[i] = t.String()
	}
	return strings.Join(words, ", ")
}

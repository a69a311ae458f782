package recipes

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"kgent/agent/contract"
)

// Narrow is a part of what a recipe shows that words can ask for alone: of resets those that are
// sent. The recipe has no parameter for it; whoever takes the recipe has to put the condition
// into its contract, or say that it cannot.
type Narrow struct {
	// Of is what it is one value of: "direction". Words for all values of one thing narrow nothing.
	Of string `yaml:"of"`
	// Words are concepts, or several joined by spaces, that ask for it.
	Words []string `yaml:"words"`
	// But are concepts that say something else where they are spoken of as well.
	But []string `yaml:"but"`
	// After are the words of which one stands before; none: anywhere else. Only with a "$" in When.
	After []string `yaml:"after"`
	// Is are the values that the column Of then has, of those of its enum; or
	Is []string `yaml:"is"`
	// When is a condition on the columns of the recipe's output, as a contract writes it. A "$" in
	// it is the TCP state that is named.
	When string `yaml:"when"`
	// Means says in words what is left.
	Means string `yaml:"means"`
}

// Narrowed is a narrow that a request asks for.
type Narrowed struct {
	Narrow
	Said string // the words that ask for it
}

// narrows are what the units ask for beyond the parameters: of each thing that has several values
// the ones that are spoken of, unless all are, or the words only ask to be told ("whether they failed").
func (r *Recipe) narrows(q *query, units []unit, present map[string]bool, in func(unit) bool) []Narrowed {
	var order []string
	spoken := map[string][]Narrowed{}
	all := map[string]int{}
	for _, n := range r.Narrows {
		all[n.Of]++
		if all[n.Of] == 1 {
			order = append(order, n.Of)
		}
		if slices.ContainsFunc(n.But, func(c string) bool { return strings.HasPrefix(c, "$") && present[c] }) {
			continue
		}
		if strings.Contains(n.When, "$") {
			spoken[n.Of] = append(spoken[n.Of], r.states(q, n, units, in)...)
			all[n.Of] = math.MaxInt
			continue
		}
		for _, words := range n.Words {
			if said, ok := q.asksFor(n, strings.Fields(words), units, in); ok {
				spoken[n.Of] = append(spoken[n.Of], Narrowed{n, said})
				break
			}
		}
	}
	var out []Narrowed
	for _, of := range order {
		if len(spoken[of]) > 2 && all[of] < math.MaxInt {
			continue // so many are rather examples of what is told apart
		}
		if n, ok := r.either(spoken[of]); ok && (len(spoken[of]) < all[of] || all[of] == 1) {
			out = append(out, n)
		}
	}
	return out
}

// states are the TCP states that are named for a column.
func (r *Recipe) states(q *query, n Narrow, units []unit, in func(unit) bool) []Narrowed {
	column := func(u unit) string {
		for i := u.first - 1; i >= 0 && i >= u.first-3 && !q.words[i].ends && !q.is(i, "to", "into"); i-- {
			for _, o := range r.Narrows {
				if strings.Contains(o.When, "$") && q.is(i, o.After...) {
					return o.Of
				}
			}
		}
		for _, o := range r.Narrows {
			if strings.Contains(o.When, "$") && len(o.After) == 0 {
				return o.Of
			}
		}
		return ""
	}
	isState := func(u unit) bool {
		return slices.Contains(u.meaning.concepts, n.Words[0]) || capitalStates[q.words[u.first].text] != ""
	}
	// "ESTABLISHED to CLOSE_WAIT": the first is that which is left.
	left := func(i int) bool {
		return i+1 < len(units) && isState(units[i+1]) && units[i+1].first == units[i].last+1 && q.is(units[i].last, "to", "into", "->", "=>", "→") && !q.words[units[i].last-1].ends ||
			i+2 < len(units) && q.is(units[i+1].first, "to", "into") && units[i+1].last == units[i+1].first+1 && isState(units[i+2]) && units[i+2].first == units[i+1].last
	}
	stateAt := func(i int) string {
		u := units[i]
		if slices.Contains(u.meaning.concepts, n.Words[0]) {
			return "TCP_" + strings.ReplaceAll(strings.TrimPrefix(strings.TrimSuffix(strings.ToUpper(q.said(u.first, u.last)), " STATE"), "TCP_"), " ", "_")
		}
		return capitalStates[q.words[u.first].text]
	}
	var out []Narrowed
	for i, u := range units {
		at := column(u)
		if left(i) && slices.ContainsFunc(r.Narrows, func(o Narrow) bool { return o.Of == "from" }) {
			at = "from"
		}
		if stateAt(i) == "" || !in(u) || q.tells(u) || at != n.Of {
			continue
		}
		said := q.said(u.first, u.last)
		name := stateAt(i)
		next := n
		next.When = strings.ReplaceAll(n.When, "$", name)
		next.Means = strings.ReplaceAll(n.Means, "$", name)
		out = append(out, Narrowed{next, said})
	}
	return out
}

// capitalStates are states whose names are plain words unless they are written in capitals.
var capitalStates = map[string]string{"CLOSE": "TCP_CLOSE", "CLOSED": "TCP_CLOSE", "CLOSING": "TCP_CLOSING", "LISTEN": "TCP_LISTEN", "TCP_CLOSE": "TCP_CLOSE", "TCP_CLOSING": "TCP_CLOSING", "TCP_LISTEN": "TCP_LISTEN"}

// either is one narrow for several of the same thing: what is any of them. There is none where
// that is everything.
func (r *Recipe) either(list []Narrowed) (Narrowed, bool) {
	if len(list) == 0 {
		return Narrowed{}, false
	}
	out := list[0]
	var whens []string
	for i, n := range list {
		when := n.When
		if len(n.Is) > 0 {
			for _, v := range n.Is {
				if !slices.Contains(out.Is, v) {
					out.Is = append(slices.Clip(out.Is), v)
				}
			}
			continue
		}
		if slices.Contains(whens, opposite(when)) {
			return Narrowed{}, false
		}
		whens = append(whens, when)
		if i > 0 {
			out.Means += "; or " + n.Means
			out.Said += ", " + n.Said
		}
	}
	if len(out.Is) > 0 {
		if len(out.Is) == r.values(out.Of) {
			return Narrowed{}, false
		}
		out.When = out.Of + " in {" + strings.Join(out.Is, ", ") + "}"
		if len(out.Is) == 1 {
			out.When = out.Of + " == " + out.Is[0]
		}
		for _, n := range list[1:] {
			out.Means += "; and " + n.Means
			out.Said += ", " + n.Said
		}
		return out, true
	}
	out.When = strings.Join(whens, " || ")
	if len(whens) > 1 {
		out.When = "(" + strings.Join(whens, ") || (") + ")"
	}
	return out, true
}

// opposite is the condition that holds where one on a number does not, where it is easily told.
func opposite(when string) string {
	if left, right, ok := strings.Cut(when, " == "); ok {
		return left + " != " + right
	}
	left, right, _ := strings.Cut(when, " != ")
	return left + " == " + right
}

// values is how many values a column of an enum can have; 0 if it has none.
func (r *Recipe) values(column string) int {
	var lists [][]contract.Member
	for _, e := range r.Contract.Events {
		lists = append(lists, e.Members)
	}
	for _, t := range r.Contract.Tables {
		lists = append(lists, t.Key)
	}
	for _, m := range slices.Concat(lists...) {
		for _, e := range r.Contract.Enums {
			if m.Name == column && m.Type.Name == e.Name {
				return len(e.Values)
			}
		}
	}
	return 0
}

// asksFor finds concepts that all are spoken of, and the words for the first.
func (q *query) asksFor(n Narrow, concepts []string, units []unit, in func(unit) bool) (said string, ok bool) {
	for i, c := range concepts {
		at := slices.IndexFunc(units, func(u unit) bool {
			but := slices.ContainsFunc(u.meaning.concepts, func(c string) bool { return slices.Contains(n.But, c) })
			return slices.Contains(u.meaning.concepts, c) && in(u) && !but && (i > 0 || !q.tells(u))
		})
		if at < 0 {
			return "", false
		}
		if i == 0 {
			said = q.said(units[at].first, units[at].last)
		}
	}
	return said, true
}

// narrowedBy is what a unit alone may narrow.
func (r *Recipe) narrowedBy(u unit) (Narrow, bool) {
	i := slices.IndexFunc(r.Narrows, func(n Narrow) bool {
		return slices.ContainsFunc(n.Words, func(words string) bool {
			first, _, _ := strings.Cut(words, " ")
			return slices.Contains(u.meaning.concepts, first)
		})
	})
	if i < 0 {
		return Narrow{}, false
	}
	return r.Narrows[i], true
}

// tells reports whether a unit only says what is to be shown as well: "failed ones included",
// "and whether they were granted", "granted or not".
func (q *query) tells(u unit) bool {
	for i := u.first - 1; i >= 0 && i >= u.first-4 && !q.words[i].ends; i-- {
		if q.is(i, "whether", "if", "also", "including", "incl", "include", "even", "plus") {
			return true
		}
	}
	if noun := q.words[u.last-1].stem; noun == stem("error") || noun == stem("failure") || noun == stem("status") || noun == stem("code") {
		if q.is(u.first-1, "the", "their", "its", "any", "which", "what", "by", "per", "each") || q.is(u.last, "code", "codes", "number", "status", "value", "name", "reason") {
			return true // a column
		}
	}
	if q.is(u.first-2, "which", "what") && q.is(u.first-1, "side", "end", "host", "peer", "party") {
		return true // "which side sends them"
	}
	if noun := q.words[u.last-1].low; (noun == "dump" || noun == "coredump") && q.is(u.first-1, "and", "or") && q.is(u.first-2, "code", "codes", "status", "signal", "parent", "user", "name", "pid", "time", "lifetime", "duration") {
		return true // one of several columns
	}
	for i := u.last; i < len(q.words) && i < u.last+3 && !q.words[i-1].ends; i++ {
		if q.is(i, "included", "too", "also", "others", "etc", "other") || i == u.last && q.is(i, "or") && q.is(i+1, "not") || q.is(i, "as") && q.is(i+1, "well") {
			return true
		}
	}
	return false
}

// checkNarrows holds the narrows of a recipe against the rules of its format.
func (r *Recipe) checkNarrows(lex *lexicon) error {
	for i, n := range r.Narrows {
		if n.Of == "" || (n.When == "") == (len(n.Is) == 0) || n.Means == "" || len(n.Words) == 0 {
			return fmt.Errorf("narrows: number %d lacks of, words, means, or one of is and when", i+1)
		}
		for _, c := range strings.Fields(strings.Join(n.Words, " ")) {
			if !lex.concepts[c] {
				return fmt.Errorf("narrows: lexicon.yaml has no concept %q", c)
			}
		}
	}
	return nil
}

// NoFilter is in the lines of [Match.Understood] that say of words that they set no limit.
const NoFilter = "is no filter here, so that all are shown"

// vague are concepts that sound like a limit and name none, with what to say instead.
var vague = map[string]string{
	"slow":       "say \"slower than 50ms\" to have only those",
	"shortlived": "say \"that lived less than 1s\" to have only those",
	"filekind":   "say a path, such as \"under /etc\"",
}

// vagueWords says of words that sound like a limit that they set none.
func (f fit) vagueWords(q *query) []string {
	if !f.recipe.gives(OutputEvents) || slices.ContainsFunc(f.bound, func(b binding) bool { return b.role == RoleThreshold }) ||
		slices.ContainsFunc(f.recipe.Params, func(p Param) bool { return p.Role == RoleThreshold && strings.Contains(p.Means, "when not given") }) {
		return nil
	}
	var out []string
	for _, u := range f.units {
		for _, c := range u.meaning.concepts {
			if advice, ok := vague[c]; ok {
				out = append(out, fmt.Sprintf("%q %s: %s", q.said(u.first, u.last), NoFilter, advice))
				break
			}
		}
	}
	return out
}

// apart takes phrases apart that narrow what another recipe shows, and mean nothing to this one:
// "by root" is a user to most.
func (f *fit) apart(l *Library, q *query, units []unit) []unit {
	var out []unit
	for _, u := range units {
		strange := u.last > u.first+1 && !u.meaning.asking && slices.ContainsFunc(u.meaning.concepts, func(c string) bool { return l.narrowing[c] }) &&
			!slices.ContainsFunc(u.meaning.concepts, func(c string) bool { return f.recipe.vocabulary[c] })
		if !strange {
			out = append(out, u)
			continue
		}
		for i, last := u.first, u.last-1; i < u.last; i, last = out[len(out)-1].last, u.last {
			m, n := q.lex.lookup(q.words[i:last])
			out = append(out, unit{first: i, last: i + max(n, 1), meaning: m, known: n > 0})
		}
	}
	return out
}

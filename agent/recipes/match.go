package recipes

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"kgent/agent/program"
)

// MaxRequest is the longest request, in bytes, that is matched.
const MaxRequest = 4000

// Errors of requests that are no sentences.
var (
	ErrEmpty   = errors.New(`the request is empty: say what to watch, such as "new TCP connections of nginx for 30 seconds"`)
	ErrTooLong = fmt.Errorf("the request is longer than %d bytes: say in a sentence what to watch", MaxRequest)
	ErrNotText = errors.New("the request is not text: it holds control characters or bytes that are not UTF-8")
)

// MatchOptions is what a match may ask of its surroundings.
type MatchOptions struct {
	// UserID looks up the id of a user by name. Without it only root and
	// numbers are understood.
	UserID func(name string) (id uint32, ok bool)
}

// Match is a recipe and everything the request said about how to run it.
type Match struct {
	Recipe *Recipe
	// Options are for [program.Build]. Constants are in the forms of
	// [program.EncodeValue] and hold only what the request named.
	Options program.Options
	// Duration is how long the request wants to watch; 0 when it does not say.
	Duration time.Duration
	// Score says how much of the recipe's own description the request speaks of,
	// from 0 to 1. It orders matches; it is no probability.
	Score float64
	// Only is what the request asks for and the recipe has no parameter for. The recipe as it
	// is shows more.
	Only []Narrowed
	// Understood lists what was read from the sentence, in its order, one fact a
	// line, for people to check. It is printable.
	Understood []string

	heading string   // how it was understood in a conversation
	bound   []said   // in the order of Understood
	kills   bool     // the request speaks of killing
	notes   []string // what else was understood
}

// said is a value and the words that it was read from.
type said struct {
	binding
	text string
}

// place is where a value goes: only one can.
func (s said) place() string {
	if s.name != "" {
		return s.name
	}
	return "$" + string(s.role)
}

// Reason says what kind of "no" a [NoMatchError] is.
type Reason string

const (
	ReasonUnknown   Reason = "unknown"   // the request speaks of something no recipe shows
	ReasonAction    Reason = "action"    // it asks to change something; recipes only watch
	ReasonPast      Reason = "past"      // it asks about what was, or what is; recipes see what happens from now on
	ReasonExclusion Reason = "exclusion" // it wants something left out
	ReasonParameter Reason = "parameter" // it narrows by something the recipe cannot be narrowed by
	ReasonMissing   Reason = "missing"   // it lacks something the recipe needs
	ReasonAmbiguous Reason = "ambiguous" // two recipes fit equally well
)

// NoMatchError says that no recipe answers a request. Its text is for the
// person who asked.
type NoMatchError struct {
	Reason Reason
	// Why is one sentence without its full stop.
	Why string
	// Nearest are the recipes that come closest, best first; there may be none.
	Nearest []*Recipe
}

func (e *NoMatchError) Error() string {
	return e.Found() + "For anything the recipes do not cover, kgent needs a model: set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own, and KGENT_MODEL."
}

// Found is the error without what whoever runs kgent can do about it: whole
// lines.
func (e *NoMatchError) Found() string {
	var b strings.Builder
	b.WriteString("no built-in recipe answers this: " + e.Why + ".\n")
	if len(e.Nearest) > 0 {
		b.WriteString("The nearest are:\n")
		for _, r := range e.Nearest {
			fmt.Fprintf(&b, "  %s: %s. Ask: %q\n", r.Name, r.Title, r.Phrasings[0])
		}
	}
	return b.String()
}

// Match finds the recipe that a request asks for. When none fits, or it is not
// certain which, the error is a [*NoMatchError]; when the request is no
// sentence, it is [ErrEmpty], [ErrTooLong] or [ErrNotText].
func (l *Library) Match(text string, opt MatchOptions) (*Match, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	q := l.read(text, opt)
	fits := make([]fit, len(l.recipes))
	for i, r := range l.recipes {
		fits[i] = l.fit(q, r)
	}
	slices.SortStableFunc(fits, func(a, b fit) int {
		return cmp.Or(-compareBool(a.ok(), b.ok()), -cmp.Compare(a.weight, b.weight), -cmp.Compare(a.score, b.score))
	})
	if verb, ok := q.action(); ok {
		return nil, &NoMatchError{Reason: ReasonAction, Nearest: nearest(fits),
			Why: fmt.Sprintf("it asks to change something (%q), and recipes only watch", verb)}
	}
	if len(fits) == 0 {
		return nil, &NoMatchError{Reason: ReasonUnknown, Why: "there are no recipes"}
	}
	if !fits[0].ok() {
		return nil, refusal(q, fits)
	}
	best := fits[0]
	if len(fits) > 1 && fits[1].ok() && best.weight-fits[1].weight < margin {
		a, b := best.recipe, fits[1].recipe
		return nil, &NoMatchError{Reason: ReasonAmbiguous, Nearest: []*Recipe{a, b},
			Why: fmt.Sprintf("it can mean %s (%s) or %s (%s); say which", a.Name, lowerFirst(a.Title), b.Name, lowerFirst(b.Title))}
	}
	if other := l.second(q, best); other != nil {
		return nil, &NoMatchError{Reason: ReasonAmbiguous, Nearest: []*Recipe{best.recipe, other},
			Why: fmt.Sprintf("it asks for two things, %s and %s; ask for one after the other", best.recipe.Name, other.Name)}
	}
	if i := best.unboundConstant(q); i >= 0 {
		return nil, &NoMatchError{Reason: ReasonParameter, Nearest: []*Recipe{best.recipe},
			Why: fmt.Sprintf("%s comes close but does not know about %q", best.recipe.Name, q.said(i, i+1))}
	}
	if a, b, ok := best.either(q); ok {
		return nil, &NoMatchError{Reason: ReasonParameter, Nearest: []*Recipe{best.recipe},
			Why: fmt.Sprintf("it asks for %q or %q, and of all that a request names %s shows only what is both; ask for one after the other", q.said(a.first, a.last), q.said(b.first, b.last), best.recipe.Name)}
	}
	return best.match(q)
}

// unboundConstant finds a word such as O_WRONLY that the recipe makes nothing of: it is said to
// narrow the request, whatever else the words in it may mean; -1 if there is none.
func (f fit) unboundConstant(q *query) int {
	for i, w := range q.words {
		if i < q.story || w.quoted || !constantForm.MatchString(w.text) || slices.ContainsFunc(f.bound, func(b binding) bool { return b.arg.first <= i && i < b.arg.last }) {
			continue
		}
		if m, _ := q.lex.lookup(q.words[i:]); len(m.concepts) == 0 {
			return i
		}
	}
	return -1
}

var constantForm = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)

// either finds two things that are joined by "or", each of which narrows the recipe. What it is
// narrowed by holds together; only of values of the same thing any will do.
func (f fit) either(q *query) (a, b clause, ok bool) {
	list := f.limits(q)
	for _, x := range list {
		for _, y := range list {
			if x.of == y.of || x.last > y.first {
				continue
			}
			between := slices.ContainsFunc(list, func(z limit) bool { return x.last <= z.first && z.last <= y.first })
			for i := x.last; !between && i < y.first; i++ {
				if q.is(i, "or", "nor") && i-x.last < 2 && y.first-i < 4 {
					return x.clause, y.clause, true
				}
			}
		}
	}
	return clause{}, clause{}, false
}

// limit is where something is said that narrows a recipe, and what it narrows.
type limit struct {
	clause
	of string
}

// limits are all that narrows the recipe: values of parameters, and words that its narrows have, also
// where a parameter stands in for them.
func (f fit) limits(q *query) []limit {
	var out []limit
	for _, b := range f.bound {
		if b.name != "" {
			out = append(out, limit{clause{first: b.arg.first, last: b.arg.last}, "parameter " + b.name})
		}
	}
	args := len(out)
	for _, u := range f.units {
		within := func(x limit) bool { return u.first < x.last && x.first < u.last }
		if q.tells(u) || slices.ContainsFunc(out[:args], within) {
			continue
		}
		if n, ok := f.recipe.narrowedBy(u); ok {
			out = append(out, limit{clause{first: u.first, last: u.last}, "column " + n.Of})
		}
	}
	return out
}

// margin is how much heavier the words that speak for the best recipe must be
// than those for the next. Words that few recipes know weigh most, about 3.
const margin = 0.4

func checkText(text string) error {
	switch {
	case len(text) > MaxRequest:
		return ErrTooLong
	case !utf8.ValidString(text):
		return ErrNotText
	case strings.TrimSpace(text) == "":
		return ErrEmpty
	}
	for _, r := range text {
		if unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' {
			return ErrNotText
		}
	}
	return nil
}

// match turns a fit into what the request gets.
func (f fit) match(q *query) (*Match, error) {
	m := &Match{Recipe: f.recipe, Score: f.score, kills: q.speaksOf("kill"), notes: append(q.corrections(), f.vagueWords(q)...), Only: f.only}
	for _, b := range f.bound {
		m.bound = append(m.bound, said{b, q.said(b.arg.first, b.arg.last)})
	}
	return m.assemble()
}

// assemble sets the exported fields from what was read.
func (m *Match) assemble() (*Match, error) {
	r := m.Recipe
	m.Options = program.Options{
		Name: r.Name, Title: r.Title, Constants: map[string]string{}, Means: map[string]string{},
		View: program.View{Top: r.View.Top, Interval: r.View.Interval},
	}
	for _, p := range r.Params {
		if !slices.Contains([]Role{RoleInterface, RoleCgroup, RoleHz}, p.Role) { // those are no globals
			m.Options.Means[p.Name] = p.Means
		}
	}
	m.Duration, m.Understood = 0, nil
	if m.heading != "" {
		m.Understood = append(m.Understood, m.heading)
	}
	for _, b := range m.bound {
		var err error
		switch b.role {
		case roleDuration:
			m.Duration, err = time.ParseDuration(b.value)
		case roleInterval:
			m.Options.View.Interval, err = time.ParseDuration(b.value)
		case roleTop:
			m.Options.View.Top, err = strconv.Atoi(b.value)
		case RoleHz:
			m.Options.Hz, err = strconv.Atoi(b.value)
		case RoleInterface:
			m.Options.Interface = b.value
		case RoleCgroup:
			m.Options.Cgroup = b.value
		default:
			m.Options.Constants[b.name] = b.value
		}
		if err != nil {
			return nil, fmt.Errorf("reading the %s: %w", nouns[b.role], err)
		}
		m.Understood = append(m.Understood, fmt.Sprintf("%s: %s, from %q", nouns[b.role], printable(b.value), b.text))
	}
	if i := slices.IndexFunc(r.Params, func(p Param) bool { return p.Role == RoleDeadly }); i >= 0 && m.kills && !slices.ContainsFunc(m.bound, func(b said) bool { return b.role == RoleSignal }) {
		m.Options.Constants[r.Params[i].Name] = "1"
		m.Understood = append(m.Understood, "only signals that kill, unless a process handles them")
	}
	m.Understood = append(m.Understood, m.notes...)
	return m, nil
}

// corrections says which words were taken for misspelt ones.
func (q *query) corrections() []string {
	var out []string
	for _, w := range q.words {
		if w.fixed != "" {
			out = append(out, fmt.Sprintf("%q was read as %q", w.text, w.fixed))
		}
	}
	return out
}

// speaksOf reports whether the request has a word for a concept.
func (q *query) speaksOf(concept string) bool {
	return slices.ContainsFunc(q.units(make([]byte, len(q.words))), func(u unit) bool { return slices.Contains(u.meaning.concepts, concept) })
}

// printable returns a value as it is when that is harmless, else quoted.
func printable(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s || s == "" {
		return q
	}
	return s
}

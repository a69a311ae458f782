package recipes

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"kgent/agent/program"
	"kgent/retrieval/kernel/abi"
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
	// Understood lists what was read from the sentence, in its order, one fact a
	// line, for people to check. It is printable.
	Understood []string
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
	var b strings.Builder
	b.WriteString("no built-in recipe answers this: " + e.Why + ".\n")
	if len(e.Nearest) > 0 {
		b.WriteString("The nearest are:\n")
		for _, r := range e.Nearest {
			fmt.Fprintf(&b, "  %s: %s. Ask: %q\n", r.Name, r.Title, r.Phrasings[0])
		}
	}
	b.WriteString("For anything the recipes do not cover, kgent needs a model: set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own, and KGENT_MODEL.")
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
	if !fits[0].ok() {
		return nil, refusal(q, fits)
	}
	if rival := fits[1]; rival.ok() && fits[0].weight-rival.weight < margin {
		return nil, &NoMatchError{Reason: ReasonAmbiguous, Nearest: []*Recipe{fits[0].recipe, rival.recipe},
			Why: fmt.Sprintf("it can mean %s (%s) or %s (%s); say which", fits[0].recipe.Name, lowerFirst(fits[0].recipe.Title), rival.recipe.Name, lowerFirst(rival.recipe.Title))}
	}
	if other := l.second(q, fits[0]); other != nil {
		return nil, &NoMatchError{Reason: ReasonAmbiguous, Nearest: []*Recipe{fits[0].recipe, other},
			Why: fmt.Sprintf("it asks for two things, %s and %s; ask for them one after the other", fits[0].recipe.Name, other.Name)}
	}
	return fits[0].match(q), nil
}

// second returns the recipe that a request asks for besides the one it fits: of
// "signals and exits", process exits explain both words, since they show the
// signal, but each word asks for a recipe of its own.
func (l *Library) second(q *query, f fit) *Recipe {
	alone := func(u unit, except *Recipe) *Recipe {
		for _, r := range l.recipes {
			if r != except && slices.ContainsFunc(r.groups, func(g []string) bool { return len(g) == 1 && slices.Contains(u.meaning.concepts, g[0]) }) {
				return r
			}
		}
		return nil
	}
	units := q.units(make([]byte, len(q.words)))
	for i := 1; i+1 < len(units); i++ {
		if !q.is(units[i].first, "and") {
			continue
		}
		for _, pair := range [][2]unit{{units[i-1], units[i+1]}, {units[i+1], units[i-1]}} {
			own, foreign := pair[0], pair[1]
			others := slices.DeleteFunc(slices.Clone(units), func(u unit) bool { return u.first == own.first })
			if alone(own, nil) == nil || !slices.ContainsFunc(own.meaning.concepts, func(c string) bool { return slices.Contains(f.recipe.About, c) }) || f.heaviest(l, f.speaksOf(others, 0)) > 0 {
				continue
			}
			if r := alone(foreign, f.recipe); r != nil && !slices.ContainsFunc(foreign.meaning.concepts, func(c string) bool { return slices.Contains(f.recipe.About, c) }) {
				return r
			}
		}
	}
	return nil
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

// query is a request, read.
type query struct {
	lex   *lexicon
	words []word
	args  []arg
	cache map[string][]unit // units by the words that are taken
	story int               // how many words stand before the last sentence
	asks  []*Recipe         // what the story alone speaks of
}

// unit is a word, or a phrase that means something as a whole.
type unit struct {
	first, last int // words [first, last)
	meaning     meaning
	known       bool
}

func (l *Library) read(text string, opt MatchOptions) *query {
	words := split(text, l.lexicon.inHyphens)
	for i := range words {
		w := &words[i]
		if w.quoted || l.lexicon.programs[w.low] || i > 0 && slices.Contains([]string{"by", "named", "called", "user"}, words[i-1].low) {
			continue
		}
		if fixed, ok := l.lexicon.correct(w.low); ok && !isNumeral(w.low) {
			w.fixed, w.low, w.stem = fixed, fixed, stem(fixed)
		}
	}
	args := readArgs(l.lexicon, words, opt.UserID)
	// Names are found; what is left of hyphens joins words.
	named := make([]bool, len(words))
	for _, a := range args {
		for i := a.first; i < a.last; i++ {
			named[i] = true
		}
	}
	words, place := compounds(words, func(i int) bool { return !named[i] }, l.lexicon.inHyphens)
	for i := range args {
		args[i].first, args[i].last = place[args[i].first], place[args[i].last]
	}
	q := &query{lex: l.lexicon, words: words, args: args, cache: map[string][]unit{}}
	l.findStory(q)
	return q
}

// inHyphens reports whether a word in lower case may be one of several that
// are joined by hyphens, slashes or underscores; a name in one piece is known as
// a whole.
func (l *lexicon) inHyphens(low string) bool {
	if _, ok := abi.Syscall(low); ok || l.programs[low] || isNumeral(low) || l.known(low) {
		return true
	}
	_, ok := abi.Capability(low)
	return ok
}

// units returns the phrases of the words that are not taken.
func (q *query) units(taken []byte) []unit {
	if us, ok := q.cache[string(taken)]; ok {
		return us
	}
	var out []unit
	for i := 0; i < len(q.words); {
		if taken[i] != 0 {
			i++
			continue
		}
		end := i
		for end < len(q.words) && taken[end] == 0 {
			end++
		}
		m, n := q.lex.lookup(q.words[i:end])
		u := unit{first: i, last: i + max(n, 1), meaning: m, known: n > 0}
		if n == 0 && hasAnySuffix(q.words[i].low, "ly") && len(q.words[i].low) > 5 {
			u.known, u.meaning.asking = true, true // an adverb colours the request, it does not change it
		}
		out = append(out, u)
		i = u.last
	}
	q.cache[string(taken)] = out
	return out
}

// said returns words [first, last) as written.
func (q *query) said(first, last int) string {
	var out []string
	for _, w := range q.words[first:last] {
		out = append(out, w.text)
	}
	return strings.Join(out, " ")
}

// fit is how well one recipe answers a request.
type fit struct {
	recipe  *Recipe
	about   bool    // the request speaks of what the recipe is about
	weight  float64 // of the concepts by which it does
	score   float64
	strange []unit // what the recipe does not explain
	refused []arg  // values it cannot take
	missing string // what it needs and the request does not say
	bound   []binding
}

// binding is a value and where it goes.
type binding struct {
	reading
	arg  arg
	name string // of the parameter; empty for duration, interval and top
}

func (f fit) ok() bool {
	return f.about && len(f.strange) == 0 && len(f.refused) == 0 && f.missing == ""
}

func (l *Library) fit(q *query, r *Recipe) fit {
	f := fit{recipe: r}
	taken := make([]byte, len(q.words))     // by values that are nothing else
	explained := make([]bool, len(q.words)) // by values that are also words
	present := map[string]bool{}
	for _, a := range q.args {
		b, ok := r.bind(a)
		if ok && f.bind(b) {
			for i := a.first; i < a.last; i++ {
				if a.soft {
					explained[i] = true
				} else {
					taken[i] = 1
				}
			}
			present["$"+string(b.role)] = true
			if b.role == roleTop {
				present[conceptRank] = true
			}
		} else if !a.soft {
			f.refused = append(f.refused, a)
			for i := a.first; i < a.last; i++ {
				taken[i] = 1
			}
		}
	}
	units := q.units(taken)
	for _, u := range units {
		for _, c := range u.meaning.concepts {
			present[c] = true
		}
	}
	if f.weight = f.heaviest(l, present); f.weight > 0 {
		f.about = true
	}
	story := q.story
	if slices.ContainsFunc(q.asks, func(asked *Recipe) bool { return asked != r }) {
		story = 0 // a request of its own
	}
	if story > 0 && f.heaviest(l, f.speaksOf(units, story)) <= 0 {
		story = 0 // the last sentence alone does not say what to watch
	}
	for i, u := range units {
		ok := explained[u.first] || r.explains(u, present) || u.first < story && !u.meaning.stops()
		switch {
		case grouping(q, units[i:], present):
			ok = r.brokenDown(units[i:], explained)
		case q.is(u.first, "only", "solely", "exclusively"):
			ok = r.only(q, units, i, taken)
		}
		if !ok {
			f.strange = append(f.strange, u)
		}
	}
	if slices.Contains(r.Needs, NeedInterface) && !present["$"+string(RoleInterface)] {
		f.missing = "a network interface: say which, such as \"on eth0\""
	}
	f.score = l.similarity(units, r)
	return f
}

// heaviest returns the weight of the weightiest group of the recipe's About of
// which everything is present; 0 when there is none.
func (f *fit) heaviest(l *Library, present map[string]bool) float64 {
	best := 0.0
	for _, group := range f.recipe.groups {
		if slices.ContainsFunc(group, func(c string) bool { return !present[c] }) {
			continue
		}
		weight := 0.0
		for _, c := range group {
			weight += f.weigh(l, c)
		}
		best = max(best, weight)
	}
	return best
}

// speaksOf returns the concepts of the units from word first on, and the values.
func (f *fit) speaksOf(units []unit, first int) map[string]bool {
	out := map[string]bool{}
	for _, u := range units {
		for _, c := range u.meaning.concepts {
			out[c] = out[c] || u.first >= first
		}
	}
	for _, b := range f.bound {
		out["$"+string(b.role)] = true
	}
	return out
}

// findStory finds the words before the last sentence. They tell what happened
// ("our uploads vanish. Trace deletions under /srv"), and what nobody can explain in
// them is no part of the request; unless they ask for something themselves.
func (l *Library) findStory(q *query) {
	last := len(q.words) - 1
	for last > 0 && !q.words[last-1].stops {
		last--
	}
	if last <= 0 {
		return
	}
	told := map[string]bool{}
	for _, u := range q.units(make([]byte, len(q.words))) {
		for _, c := range u.meaning.concepts {
			told[c] = told[c] || u.first < last
		}
	}
	for _, r := range l.recipes {
		if slices.ContainsFunc(r.groups, func(group []string) bool {
			return !slices.ContainsFunc(group, func(c string) bool { return !told[c] })
		}) {
			q.asks = append(q.asks, r)
		}
	}
	q.story = last
}

// bind finds where a value goes.
func (r *Recipe) bind(a arg) (binding, bool) {
	for _, rd := range a.readings {
		if a.problem != "" {
			return binding{}, false
		}
		switch rd.role {
		case roleDuration, roleInterval:
			return binding{reading: rd, arg: a}, true
		case roleRate:
			if r.gives(OutputTable) || r.gives(OutputHist) || r.gives(OutputStack) {
				return binding{reading: reading{roleInterval, rd.value}, arg: a}, true
			}
		case roleTop:
			if r.gives(OutputTable) || r.gives(OutputStack) {
				return binding{reading: rd, arg: a}, true
			}
		}
		for _, p := range r.Params {
			if slices.Contains(binds[p.Role], rd.role) {
				return binding{reading: rd, arg: a, name: p.Name}, true
			}
		}
	}
	return binding{}, false
}

// bind adds a binding. It fails when the place already has another value.
func (f *fit) bind(b binding) bool {
	for _, o := range f.bound {
		if o.name == b.name && (b.name != "" || o.role == b.role) {
			return o.value == b.value
		}
	}
	f.bound = append(f.bound, b)
	return true
}

// explains reports whether the recipe accounts for a unit.
func (r *Recipe) explains(u unit, present map[string]bool) bool {
	if u.meaning.asking {
		return true
	}
	for _, c := range u.meaning.concepts {
		if r.vocabulary[c] {
			return true
		}
		// "the size of each read": single ones are not what is wanted.
		if c == conceptEach && (present["hist"] || present["count"] || present[conceptRank]) {
			return true
		}
	}
	return false
}

// grouping reports whether the first of the units demands that the output be broken
// down: "per connection", "by error". It does not in "the busiest by bytes", "sent by
// nginx", and "by process", which every recipe shows or does not know about.
func grouping(q *query, units []unit, present map[string]bool) bool {
	u := units[0]
	switch q.words[u.first].low {
	case "per":
		return true
	case "by":
		return u.last == u.first+1 && len(units) > 1 && units[1].first == u.last && !q.words[u.first].ends && !units[1].meaning.asking &&
			!present[conceptRank] && !present["$"+string(roleTop)] && !(u.first > 0 && participle(q.words[u.first-1].low))
	}
	return false
}

// brokenDown reports whether the recipe's output is broken down as the first of the
// units demands.
func (r *Recipe) brokenDown(units []unit, explained []bool) bool {
	u := units[0]
	if u.last == u.first+1 { // the word alone; what it is about follows
		if len(units) == 1 || units[1].first != u.last {
			return false
		}
		u = units[1]
	}
	return explained[u.first] || slices.ContainsFunc(u.meaning.concepts, func(c string) bool { return slices.Contains(r.Rows, c) })
}

// only reports whether a recipe shows nothing but what "only", unit i, is said
// of: values narrow what is shown; of what a recipe is about it shows nothing
// else; anything more would have to be a parameter.
func (r *Recipe) only(q *query, units []unit, i int, taken []byte) bool {
	u := units[i]
	if u.first > 0 && taken[u.first-1] != 0 || u.last < len(q.words) && taken[u.last] != 0 {
		return true
	}
	next := i+1 < len(units) && units[i+1].first == u.last && !q.words[u.first].ends
	if next {
		m := units[i+1].meaning
		return m.asking || slices.ContainsFunc(m.concepts, func(c string) bool {
			return slices.ContainsFunc(r.groups, func(group []string) bool { return slices.Contains(group, c) })
		})
	}
	return i == 0 || units[i-1].meaning.asking
}

// index prepares the recipes for matching.
func (l *Library) index() {
	df := map[string]int{}
	total := 0
	for _, r := range l.recipes {
		r.vocabulary, r.terms = map[string]bool{}, map[string]int{}
		for _, c := range slices.Concat(slices.Concat(r.groups...), r.Shows) {
			if !strings.HasPrefix(c, "$") {
				r.vocabulary[c] = true
			}
		}
		for _, o := range r.Output {
			for _, c := range outputConcepts[o] {
				r.vocabulary[c] = true
			}
		}
		for c := range r.vocabulary {
			df[c]++
		}
		for _, text := range append([]string{r.Title}, r.Phrasings...) {
			q := l.read(text, MatchOptions{})
			for _, u := range q.units(make([]byte, len(q.words))) {
				for _, c := range u.meaning.concepts {
					r.terms[c]++
					r.length++
				}
			}
		}
		total += r.length
	}
	l.average = float64(total) / float64(len(l.recipes))
	l.rarity = map[string]float64{}
	for c := range l.lexicon.concepts {
		l.rarity[c] = math.Log(1 + float64(len(l.recipes))/float64(1+df[c]))
	}
}

// outputConcepts are what every output of a form explains.
var outputConcepts = map[Output][]string{
	OutputEvents: {conceptEach},
	OutputTable:  {"count", conceptRank, "rate"},
	OutputHist:   {"hist"},
	OutputStack:  {"stack", "sample", conceptRank},
}

// weigh returns how much a concept says. Parameters say little, but for the name
// of a system call that is no ordinary word.
func (f *fit) weigh(l *Library, concept string) float64 {
	if role, ok := strings.CutPrefix(concept, "$"); ok {
		if slices.ContainsFunc(f.bound, func(b binding) bool {
			return b.role == RoleSyscall && role == string(b.role) && !englishSyscalls[b.value]
		}) {
			return 2.4
		}
		return 1
	}
	return l.rarity[concept]
}

// similarity is BM25 over concepts, as a share of what the request could reach.
func (l *Library) similarity(units []unit, r *Recipe) float64 {
	const k, b = 1.2, 0.5
	got, most := 0.0, 0.0
	for _, u := range units {
		if u.meaning.asking && len(u.meaning.concepts) == 0 {
			continue
		}
		best, ceiling := 0.0, 0.0
		for _, c := range u.meaning.concepts {
			tf := float64(r.terms[c])
			best = max(best, l.rarity[c]*tf/(tf+k*(1-b+b*float64(r.length)/l.average)))
			ceiling = max(ceiling, l.rarity[c])
		}
		if u.meaning.asking {
			ceiling = best // a bonus, never a loss
		}
		if !u.known || len(u.meaning.concepts) == 0 {
			ceiling = math.Log(1 + float64(len(l.recipes)))
		}
		got, most = got+best, most+ceiling
	}
	if most == 0 {
		return 0
	}
	return got / most
}

// match turns a fit into what the request gets.
func (f fit) match(q *query) *Match {
	r := f.recipe
	m := &Match{Recipe: r, Score: f.score, Options: program.Options{
		Name: r.Name, Title: r.Title, Constants: map[string]string{},
		View: program.View{Top: r.View.Top, Interval: r.View.Interval},
	}}
	for _, b := range f.bound {
		switch b.role {
		case roleDuration:
			m.Duration, _ = time.ParseDuration(b.value)
		case roleInterval:
			m.Options.View.Interval, _ = time.ParseDuration(b.value)
		case roleTop:
			m.Options.View.Top, _ = strconv.Atoi(b.value)
		case RoleInterface:
			m.Options.Interface = b.value
		case RoleCgroup:
			m.Options.Cgroup = b.value
		case RoleHz:
			m.Options.Hz, _ = strconv.Atoi(b.value)
		default:
			m.Options.Constants[b.name] = b.value
		}
		m.Understood = append(m.Understood, fmt.Sprintf("%s: %s, from %q", nouns[b.role], printable(b.value), q.said(b.arg.first, b.arg.last)))
	}
	for _, w := range q.words {
		if w.fixed != "" {
			m.Understood = append(m.Understood, fmt.Sprintf("%q was read as %q", w.text, w.fixed))
		}
	}
	return m
}

// printable returns a value as it is when that is harmless, else quoted.
func printable(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s || s == "" {
		return q
	}
	return s
}

// refusal explains why no recipe fits.
func refusal(q *query, fits []fit) *NoMatchError {
	// The recipe that fails by least tells most about what is wrong.
	best := slices.Clone(fits)
	slices.SortStableFunc(best, func(a, b fit) int {
		return cmp.Or(-compareBool(a.about, b.about), cmp.Compare(a.faults(), b.faults()), -cmp.Compare(a.weight, b.weight), -cmp.Compare(a.score, b.score))
	})
	f := best[0]
	e := &NoMatchError{Reason: ReasonUnknown, Nearest: nearest(best)}
	for _, a := range q.args {
		if a.problem != "" && !a.soft {
			e.Reason, e.Why = ReasonParameter, a.problem
			if a.readings[0].role == rolePast {
				e.Reason = ReasonPast
			}
			return e
		}
	}
	all := q.units(make([]byte, len(q.words)))
	for _, special := range []struct {
		concept string
		reason  Reason
		why     string
	}{
		{conceptPast, ReasonPast, "kgent sees what happens from now on, not what has happened before (%q)"},
		{conceptNegation, ReasonExclusion, "recipes cannot leave things out (%q)"},
		{conceptSnapshot, ReasonPast, "kgent sees what happens from now on, not what is already there (%q)"},
	} {
		for _, u := range all {
			if slices.Contains(u.meaning.concepts, special.concept) && slices.ContainsFunc(f.strange, func(s unit) bool { return s.first <= u.first && u.first < s.last }) {
				last := min(u.last+2, len(q.words))
				e.Reason, e.Why = special.reason, fmt.Sprintf(special.why, q.said(u.first, last))
				return e
			}
		}
	}
	switch {
	case !f.about && len(f.strange) == 0:
		e.Why = "it does not say what to watch"
	case !f.about, len(f.strange) > 0:
		var said []string
		for _, u := range f.strange {
			if s := strconv.Quote(q.said(u.first, u.last)); !slices.Contains(said, s) && len(said) < 4 {
				said = append(said, s)
			}
		}
		if len(said) == 0 {
			e.Why = "it does not say what to watch"
		} else if f.about {
			e.Why = fmt.Sprintf("%s comes close but does not know about %s", f.recipe.Name, strings.Join(said, ", "))
		} else {
			e.Why = fmt.Sprintf("nothing is known about %s", strings.Join(said, ", "))
		}
	case len(f.refused) > 0:
		a := f.refused[0]
		role := a.readings[0].role
		e.Reason = ReasonParameter
		switch {
		case slices.ContainsFunc(f.bound, func(b binding) bool {
			return slices.ContainsFunc(a.readings, func(r reading) bool { return r.role == b.role })
		}):
			e.Why = fmt.Sprintf("%s takes one %s at a time, and the request names another (%q)", f.recipe.Name, nouns[role], q.said(a.first, a.last))
		case role == roleTop:
			e.Why = fmt.Sprintf("%s lists single occurrences, it has no table to take the first rows of (%q)", f.recipe.Name, q.said(a.first, a.last))
		case role == roleRate:
			e.Why = fmt.Sprintf("%s lists single occurrences and counts nothing (%q)", f.recipe.Name, q.said(a.first, a.last))
		default:
			e.Why = fmt.Sprintf("%s cannot be narrowed to a %s (%q)", f.recipe.Name, nouns[role], q.said(a.first, a.last))
		}
	default:
		e.Reason, e.Why = ReasonMissing, fmt.Sprintf("%s needs %s", f.recipe.Name, f.missing)
	}
	return e
}

// faults counts what keeps a recipe from fitting.
func (f fit) faults() int {
	n := 2*len(f.strange) + 2*len(f.refused)
	if f.missing != "" {
		n++
	}
	return n
}

// nearest returns the recipes to suggest.
func nearest(fits []fit) []*Recipe {
	var out []*Recipe
	for _, f := range fits {
		if len(out) < 3 && (f.about || f.score >= 0.25) {
			out = append(out, f.recipe)
		}
	}
	return out
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[1] >= 'A' && s[1] <= 'Z' {
		return s // TCP, DNS
	}
	return strings.ToLower(s[:1]) + s[1:]
}

package recipes

import (
	"math"
	"slices"
	"strings"

	"kgent/agent/contract"
)

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
	units   []unit     // of what it asks, without asides and the story before
	only    []Narrowed // what it asks for beyond the parameters
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

// place reports whether a unit speaks of containers or pods.
func (q *query) place(u unit) bool {
	for i := u.first; i < u.last; i++ {
		if q.is(i, "container", "containers", "pod", "pods") {
			return true
		}
	}
	return false
}

func (l *Library) fit(q *query, r *Recipe) fit {
	f := fit{recipe: r}
	taken := make([]byte, len(q.words))     // by values that are nothing else
	explained := make([]bool, len(q.words)) // by values that are also words
	present := map[string]bool{}
	for _, a := range q.args {
		b, ok := r.bind(a)
		if ok && b.role == RoleSyscall && !englishSyscalls[b.value] && f.other(b) {
			f.refused = append(f.refused, a) // it names two
			continue
		}
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
			if unreached(b) {
				present["$"+string(roleConnectErrno)] = true
			}
		} else if !a.soft {
			f.refused = append(f.refused, a)
			for i := a.first; i < a.last; i++ {
				taken[i] = 1
			}
		}
	}
	units := f.apart(l, q, q.units(taken))
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
	asides := f.asides(l, q, units)
	within := func(cs []clause, i int) bool {
		return slices.ContainsFunc(cs, func(c clause) bool { return c.first <= i && i < c.last })
	}
	f.refused = slices.DeleteFunc(f.refused, func(a arg) bool {
		return within(asides, a.first) && !slices.ContainsFunc(a.readings, func(r reading) bool { return r.role == RoleCgroup })
	})
	f.units = slices.DeleteFunc(slices.Clone(units), func(u unit) bool { return u.first < story || within(asides, u.first) })
	f.only = r.narrows(q, units, present, func(u unit) bool { return u.first >= story && !within(asides, u.first) })
	for i, u := range units {
		if q.place(u) && (u.first < story || within(asides, u.first)) {
			f.strange = append(f.strange, u) // where it happens is no story, wherever it is said
			continue
		}
		if within(asides, u.first) || q.colour(u) || q.idle(u) {
			continue
		}
		if f.unsized(q, units, i) || q.stray(u) {
			f.strange = append(f.strange, u)
			continue
		}
		ok := explained[u.first] || r.explains(u, present) || u.first < story && !u.meaning.stops()
		switch {
		case grouping(q, units[i:], present) || r.summed(q, u, present):
			ok = r.brokenDown(q, units[i:], explained)
		case q.is(u.first, "only", "solely", "exclusively"):
			ok = r.only(q, units, i, taken) || len(f.only) > 0
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

// passing are names of programs that are passed over where they are words: as such they mean nothing.
var passing = []string{"make", "find", "watch", "go", "node", "tail", "nice", "touch", "top", "sort"}

// stray reports whether a word that is passed over elsewhere stands where it is likely to name a program or to limit what is
// asked, and has not been read as either: "who runs find", "signals sent to go", "programs that make runs", "per node".
func (q *query) stray(u unit) bool {
	i := u.first
	if u.last != i+1 || q.words[i].quoted || q.words[i].fixed != "" || !q.is(i, passing...) || i == 0 || q.words[i-1].ends {
		return false
	}
	last := i+1 == len(q.words) || q.words[i].ends
	goesOn := last || q.is(i+1, "on", "in", "for", "as", "during", "by", "from", "with", "when", "while", "and", "or")
	switch {
	case !last && q.is(i+1, "does", "makes", "causes", "uses", "executes", "issues", "performs", "triggers", "creates", "has"):
		return true
	case q.is(i-1, "profile", "trace", "strace", "debug", "kill", "kills", "killed", "killing", "signals", "signalled", "signaled", "terminates", "terminated"):
		return goesOn
	case q.is(i-1, "run", "runs", "running", "ran", "use", "uses", "using", "used", "execute", "executes", "executing", "executed", "start", "starts", "starting", "started", "launch", "launches", "launching", "launched", "invoke", "invokes", "invoking"):
		return goesOn
	case q.is(i-1, "to", "against", "into"):
		return (last || q.is(i+1, "from", "by")) && !q.is(i-2, "want", "wants", "like", "need", "needs", "try", "trying", "tries", "how", "what", "where", "able", "going", "have", "has")
	case q.is(i-1, "and", "or") && q.is(i, "node"):
		return true // "by process and node"
	case q.is(i-1, "that", "which"):
		next := ""
		if !last {
			next = q.words[i+1].low
		}
		if q.is(i, "make") { // "processes that make system calls"
			return slices.Contains([]string{"does", "runs", "starts", "executes", "uses", "causes", "spawns", "forks", "makes", "opens"}, next)
		}
		return strings.HasSuffix(next, "s") && !strings.HasSuffix(next, "ss") || q.is(i+1, "for", "the", "a", "all", "any", "their", "its") && !q.is(i, "go", "top")
	}
	return false
}

// unsized reports whether unit i asks for the largest of what the recipe only counts: "largest fsyncs",
// not "the largest offenders".
func (f *fit) unsized(q *query, units []unit, i int) bool {
	u := units[i]
	if u.last-u.first > 1 || !q.is(u.first, "largest", "biggest", "smallest") || q.words[u.first].ends || f.recipe.sizes() {
		return false
	}
	if slices.ContainsFunc(f.bound, func(b binding) bool { return b.role == RoleSyscall && b.arg.first == u.last }) {
		return true
	}
	return i+1 < len(units) && units[i+1].first == u.last && slices.ContainsFunc(units[i+1].meaning.concepts, func(c string) bool { return slices.Contains(f.recipe.About, c) })
}

// sizes reports whether the recipe adds up anything but how often something happens.
func (r *Recipe) sizes() bool {
	return slices.ContainsFunc(r.Contract.Tables, func(t *contract.Table) bool {
		return slices.ContainsFunc(t.Values, func(v contract.TableValue) bool { return v.Agg != contract.Count })
	})
}

// asides returns the clauses that are no part of the request: those that only tell
// something, when the rest says what to watch without them.
func (f *fit) asides(l *Library, q *query, units []unit) []clause {
	var out []clause
	for _, c := range q.clauses {
		if !c.aside {
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(units), func(u unit) bool {
			return slices.ContainsFunc(append(out[:len(out):len(out)], c), func(c clause) bool { return c.first <= u.first && u.first < c.last })
		})
		if f.heaviest(l, f.speaksOf(rest, 0)) > 0 {
			out = append(out, c)
		}
	}
	return out
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
		if unreached(b) {
			out["$"+string(roleConnectErrno)] = true
		}
	}
	return out
}

// weigh returns how much a concept says. Parameters say little, but for the name
// of a system call that is no ordinary word.
func (f *fit) weigh(l *Library, concept string) float64 {
	if role, ok := strings.CutPrefix(concept, "$"); ok {
		if role == string(roleConnectErrno) {
			return 2
		}
		if slices.ContainsFunc(f.bound, func(b binding) bool {
			return b.role == RoleSyscall && role == string(b.role) && !englishSyscalls[b.value]
		}) {
			return 2.4
		}
		return 1
	}
	return l.rarity[concept]
}

// unreached reports whether a value is an error that connections end with after
// the call that began them has returned: no count of failed calls shows it where
// programs do not wait in connect(2), and most do not.
func unreached(b binding) bool {
	return b.role == RoleErrno && slices.Contains([]string{"ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH"}, b.value)
}

// bind finds where a value goes.
func (r *Recipe) bind(a arg) (binding, bool) {
	for _, rd := range a.readings {
		if a.problem != "" {
			return binding{}, false
		}
		switch rd.role {
		case roleDuration:
			if slices.ContainsFunc(a.readings, func(o reading) bool { return o.role == RoleThreshold }) && r.times() {
				continue // "over 10 minutes" may be said of what is shown; that the run is meant cannot be known
			}
			return binding{reading: rd, arg: a}, true
		case roleInterval, roleRate:
			if r.gives(OutputTable) || r.gives(OutputHist) || r.gives(OutputStack) {
				return binding{reading: reading{roleInterval, rd.value}, arg: a}, true
			}
		case roleTop:
			if r.gives(OutputTable) || r.gives(OutputStack) {
				return binding{reading: rd, arg: a}, true
			}
		}
		if rd.role == roleParent && slices.Contains(r.Shows, "$parent") { // what filters by a process does so by its parent, too
			rd.role = RoleProcess
			if strings.Trim(rd.value, "0123456789") == "" {
				rd.role = RolePID
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

// times reports whether single occurrences are shown with how long they took.
func (r *Recipe) times() bool {
	return slices.ContainsFunc(r.Contract.Events, func(e *contract.Event) bool {
		return slices.ContainsFunc(e.Members, func(m contract.Member) bool { return m.Type.Name == "k_ns" })
	})
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

// other reports whether the place of a binding has another value.
func (f *fit) other(b binding) bool {
	return slices.ContainsFunc(f.bound, func(o binding) bool { return o.name == b.name && o.value != b.value })
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
// down: "per connection", "by error", "grouped by process". It does not in "the
// busiest by bytes", "sent by nginx", and in a mere "by process", which a recipe
// shows or does not.
func grouping(q *query, units []unit, present map[string]bool) bool {
	u := units[0]
	switch q.words[u.first].low {
	case "per":
		return true
	case "by":
	default:
		return false
	}
	if q.is(u.first-1, "group", "grouped", "split", "down", "breakdown", "keyed", "aggregate", "aggregated", "separated") {
		return true
	}
	verb := u.first > 0 && participle(q.words[u.first-1].low)
	return u.last == u.first+1 && len(units) > 1 && units[1].first == u.last && !q.words[u.first].ends && (!units[1].meaning.asking || q.closing(units[1])) &&
		!verb && !present[conceptRank] && !present["$"+string(roleTop)]
}

// summed reports whether a unit demands sums by process, "bytes sent and received by process", of a recipe
// that shows single occurrences and what each of them moved, where none of these are spoken of.
func (r *Recipe) summed(q *query, u unit, present map[string]bool) bool {
	return slices.Contains(u.meaning.concepts, conceptByProcess) && q.is(u.first, "by", "for", "each", "every") && (present["bytes"] || present["traffic"]) &&
		!r.gives(OutputTable) && !r.gives(OutputHist) && !r.gives(OutputStack) && !slices.ContainsFunc(r.Rows, func(c string) bool { return present[c] })
}

// closing reports whether a phrase that only colours ends what is said: in "by advice,
// for each process" it is what stands behind "by", in "by the kernel" it is not.
func (q *query) closing(u unit) bool {
	return u.last == len(q.words) || q.words[u.last-1].ends || slices.Contains(modifies, q.words[u.last].low)
}

// brokenDown reports whether the recipe's output is broken down as the first of the
// units demands.
func (r *Recipe) brokenDown(q *query, units []unit, explained []bool) bool {
	u := units[0]
	if q.is(u.first-1, "group", "grouped", "aggregate", "aggregated") && !r.gives(OutputTable) && !r.gives(OutputHist) && !r.gives(OutputStack) {
		return false // single occurrences
	}
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
		which := false
		for j := u.last; j < len(q.words) && !q.words[j-1].ends; j++ {
			if taken[j] != 0 {
				return true // "only those of uid 1000"
			}
			which = which || q.is(j, "one", "ones", "those", "that", "which")
		}
		if which {
			return false // "only the large ones"
		}
		m := units[i+1].meaning
		return m.asking || slices.ContainsFunc(m.concepts, func(c string) bool {
			return slices.ContainsFunc(r.groups, func(group []string) bool { return slices.Contains(group, c) })
		})
	}
	return i == 0 || units[i-1].meaning.asking
}

// second returns the recipe that a request asks for besides the one it fits: of
// "signals and exits", process-exits explains both words, since it shows signals,
// but each of them asks for a recipe of its own.
func (l *Library) second(q *query, f fit) *Recipe {
	// asks reports whether the unit alone says that it is about the recipe.
	asks := func(u unit, r *Recipe) bool {
		return slices.ContainsFunc(u.meaning.concepts, func(c string) bool { return slices.Contains(r.About, c) })
	}
	units := q.units(make([]byte, len(q.words)))
	for i := 1; i+1 < len(units); i++ {
		if !q.is(units[i].first, "and") {
			continue
		}
		for _, pair := range [][2]unit{{units[i-1], units[i+1]}, {units[i+1], units[i-1]}} {
			own, other := pair[0], pair[1]
			rest := slices.DeleteFunc(slices.Clone(units), func(u unit) bool { return u.first == own.first })
			if !asks(own, f.recipe) || asks(other, f.recipe) || f.heaviest(l, f.speaksOf(rest, 0)) > 0 {
				continue
			}
			for _, r := range l.recipes {
				if asks(other, r) {
					return r
				}
			}
		}
	}
	return nil
}

// index prepares the recipes for matching.
func (l *Library) index() {
	df := map[string]int{}
	total := 0
	l.narrowing = map[string]bool{}
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
		for _, n := range r.Narrows {
			for c := range strings.FieldsSeq(strings.Join(n.Words, " ")) {
				r.vocabulary[c], l.narrowing[c] = true, true
			}
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

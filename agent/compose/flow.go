package compose

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/recipes"
	"kgent/retrieval/notes"
)

// Compose composes a contract for a request. The error is a [*NoError], or the
// context's.
func (c *Composer) Compose(ctx context.Context, text string) (*Composition, error) {
	var none *recipes.NoMatchError
	if _, err := c.recipes.Match(text, recipes.MatchOptions{UserID: c.userID}); errors.As(err, &none) && none.Reason == recipes.ReasonAction {
		return nil, no("it asks to change something, and what is composed only watches") // an order may be the name of a system call: "kill pid 4242"
	}
	g := c.read(text, false)
	if err := g.tangled(); err != nil {
		return nil, err
	}
	if last := c.request(g); last.toks != nil {
		g = last
	}
	a, askErr := g.ask(func(part) bool { return true })
	if a.noThreads && a.subject.kind != "thing" {
		return nil, no("it says that threads are not meant, and that is not known to be so of what it asks for")
	}
	var hookErr error
	var hooked *Composition
	switch {
	case askErr != nil:
		hookErr = askErr
	case len(g.left) > 0 || a.subject.kind == "":
		hookErr = g.leftOver(a)
	default:
		hooked, hookErr = c.fromHook(ctx, a)
	}
	if hooked != nil {
		if err := g.summedUp(hooked.Contract); err != nil {
			return nil, err
		}
	}
	if hooked != nil && !g.plainWord() {
		return hooked, nil
	}
	if a.subject.kind == "thing" && askErr == nil && len(g.left) == 0 {
		if hooked != nil {
			return hooked, nil
		}
		return nil, hookErr // what recipes show is something else
	}
	made, recipeErr := c.fromRecipe(ctx, g)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case recipeErr == nil:
		return made, nil
	case hooked != nil:
		return hooked, nil
	case recipeErr != nil && !errors.Is(recipeErr, errNoRecipe) && (a.subject.kind == "" || len(g.left) > 0):
		return nil, recipeErr
	}
	return nil, hookErr
}

// request is what a text asks for in its last sentences, where all of their words are read and the
// sentences before them only tell what happened: they name nobody, no number and no exception, and
// ask for nothing. Its toks are nil where there is no such thing.
func (c *Composer) request(g reading) reading {
	if len(g.left) == 0 {
		return reading{}
	}
	text := g.source
	for _, i := range sentenceEnds(text) {
		story, rest := text[:i], text[i:]
		toldOf := c.read(story, false)
		if slices.ContainsFunc(toldOf.toks, func(t token) bool {
			word, _ := c.words(t.low)
			return t.quoted || t.called || strings.ContainsAny(t.text, "0123456789_/") || excepting[t.low] || !word && !fillers[t.low]
		}) {
			return reading{}
		}
		last := c.read(rest, false)
		if a, err := last.ask(func(part) bool { return true }); err == nil && len(last.left) == 0 && a.subject.kind != "" {
			return last
		}
	}
	return reading{}
}

// excepting are words by which a sentence narrows what another asks for.
var excepting = set("only not no never except without but excluding ignore ignoring unless if when while other just")

// sentenceEnds are the places behind the ends of sentences.
func sentenceEnds(text string) []int {
	var out []int
	for i := 0; i+1 < len(text); i++ {
		if (text[i] == '.' || text[i] == '?' || text[i] == '!') && text[i+1] == ' ' {
			out = append(out, i+1)
		}
	}
	return out
}

// plainWord tells whether the system call is named by a plain word, such as "open" or
// "connect", that is not said to be a call: what a recipe makes of it counts more.
func (g reading) plainWord() bool {
	for _, p := range g.parts {
		call, ok := p.values["call"]
		if !ok || !english[strings.ToLower(call.text)] && !english[singular(strings.ToLower(call.text))] {
			continue
		}
		if !slices.ContainsFunc(g.toks, func(t token) bool { return t.called || says[t.low] }) {
			return true
		}
	}
	return false
}

// says are words that say of another that it is a system call.
var says = set("call calls called syscall syscalls invocation invocations")

// leftOver says what was not understood.
func (g reading) leftOver(a ask) error {
	e := &NoError{Words: g.unread()}
	for _, p := range g.parts {
		if !p.rule.weak {
			e.Understood = append(e.Understood, fmt.Sprintf("%q", said(g.toks, p.first, p.last)))
		}
	}
	if len(e.Words) > 0 {
		var quoted []string
		for _, w := range e.Words {
			quoted = append(quoted, fmt.Sprintf("%q", w))
		}
		e.Why = "not understood is " + strings.Join(quoted, ", ")
	} else {
		e.Why = "it names nothing to watch: no recipe, no system call, no tracepoint and no kernel function"
	}
	return e
}

// fromHook composes for a system call, a tracepoint or a function.
func (c *Composer) fromHook(ctx context.Context, a ask) (*Composition, error) {
	if a.subject.kind == "call" && transfers[a.subject.name] && c.moved(a) {
		if a.of = result; a.form == count { // "how many bytes"
			a.form = sum
		}
	}
	if a.subject.kind == "call" && !a.literal && len(c.family(a.subject.name)) > 1 && c.shared(a) {
		all := a
		all.family = true
		if res, err := c.fromHookAlone(ctx, all); err == nil || ctx.Err() != nil {
			return res, err
		} // what is asked of it may be there for the one call only
	}
	return c.fromHookAlone(ctx, a)
}

// moved tells whether an ask measures how much a call moves: "the size of reads" is of what they return,
// unless an argument has the name that is said.
func (c *Composer) moved(a ask) bool {
	if a.of == bytes {
		return true
	}
	name, ok := strings.CutPrefix(a.of, ".")
	args, err := callArguments(c.facts, a.subject.name)
	return ok && (name == "size" || name == "bytes") && err == nil && !slices.ContainsFunc(args, func(x argument) bool { return x.name == name })
}

// shared tells whether what an ask names of a call is an argument of all that do the same, or of none:
// a name can mean something else where the others have it not.
func (c *Composer) shared(a ask) bool {
	named := []string{a.of}
	for _, k := range a.keys {
		named = append(named, k.word)
	}
	for _, x := range a.conds {
		named = append(named, x.what)
	}
	var has [][]argument
	for _, call := range c.family(a.subject.name) {
		args, err := callArguments(c.facts, call)
		if err != nil {
			return false
		}
		has = append(has, args)
	}
	return !slices.ContainsFunc(named, func(what string) bool {
		name, ok := strings.CutPrefix(what, ".")
		takes := func(args []argument) bool {
			return slices.ContainsFunc(args, func(x argument) bool { return x.name == name })
		}
		return ok && takes(has[0]) && slices.ContainsFunc(has, func(args []argument) bool { return !takes(args) })
	})
}

func (c *Composer) fromHookAlone(ctx context.Context, a ask) (*Composition, error) {
	from, err := c.hookBase(&a)
	if err != nil {
		return nil, err
	}
	res, err := c.build(ctx, a, from)
	if err != nil {
		return nil, err
	}
	res.asked = a
	return res, nil
}

// hookBase is the list of everything at a hook, with no more than an ask needs.
func (c *Composer) hookBase(a *ask) (base, error) {
	n := needs{fields: map[string]bool{strings.TrimPrefix(a.of, "."): true}}
	listing := a.form == list || a.form == unsaid && a.of == "" && len(a.keys) == 0 && a.top == 0 && (a.every == 0 || a.shape != "")
	for _, x := range a.conds {
		n.fields[strings.TrimPrefix(x.what, ".")] = true
		n.duration = n.duration || x.what == duration
		n.result = n.result || x.what == result || x.what == ".result" || x.what == "error" || x.what == bytes && a.subject.kind == "call" && transfers[a.subject.name]
		n.args = n.args || strings.HasPrefix(x.what, ".") || x.what == "constant" || x.what == bytes && !transfers[a.subject.name] || x.what == "path" || x.what == "signal"
		n.task = n.task || slices.Contains([]string{"comm", "pid", "user"}, x.what)
	}
	for _, k := range a.keys {
		n.fields[strings.TrimPrefix(k.word, ".")] = true
		n.result = n.result || k.word == "error" && a.subject.kind != "tracepoint"
		n.args = n.args || strings.HasPrefix(k.word, ".") || slices.Contains([]string{"path", "signal", "request", "op"}, k.word)
	}
	if a.subject.kind == "call" && c.namesText(a) {
		n.result, n.args = true, true // texts of processes are read when the call returns: at its beginning they may not be in memory yet
	}
	n.duration = n.duration || a.of == duration
	n.result = n.result || a.of == result
	n.args = n.args || strings.HasPrefix(a.of, ".") || a.of == bytes
	n.task = n.task || a.comm+a.pid+a.uid != ""
	out := base{hook: true, origin: "composed for " + a.subject.String()}
	name := a.subject.name
	var err error
	switch a.subject.kind {
	case "call":
		if neverBack[name] {
			if n.duration || n.result {
				return base{}, no("%s does not return, so it has neither a result nor a duration", name)
			}
		} else if listing {
			n.result, n.args = true, true
		}
		calls := []string{name}
		if a.family {
			calls = c.family(name)
		}
		out.contract, err = c.callBase(calls, n)
		about := name
		if len(calls) > 1 {
			about = strings.Join(calls[:len(calls)-1], ", ") + " and " + calls[len(calls)-1]
		}
		switch {
		case n.duration || n.result && n.args:
			out.lines = []string{fmt.Sprintf("watched: every call of %s, from its beginning to its return", about)}
		case n.result:
			out.lines = []string{fmt.Sprintf("watched: every call of %s, when it returns", about)}
		default:
			out.lines = []string{fmt.Sprintf("watched: every call of %s, when it begins", about)}
		}
		if also := c.alsoCalled(name); also != "" && len(calls) == 1 {
			out.lines = append(out.lines, "not watched, though programs may call it instead: "+also)
		}
	case "pair":
		from, to, _ := strings.Cut(name, " ")
		if n.result || n.args && !n.duration {
			return base{}, no("of %s there is how long it takes, and what the tracepoint at its end shows", a.subject)
		}
		out.contract, err = c.pairBase(from, to)
		out.lines = []string{fmt.Sprintf("watched: from every event of %s to the next of %s on the same thread, or processor where they are interrupts", strings.Replace(from, "/", ":", 1), strings.Replace(to, "/", ":", 1))}
	case "tracepoint":
		if to := c.ends(name); to != "" && n.duration && !n.result {
			a.subject = subject{"pair", name + " " + to}
			return c.hookBase(a)
		}
		if n.duration || n.result {
			return base{}, no("the tracepoint %s is one moment: it has neither a duration nor a result", name)
		}
		if n.task && whose("tracepoint", name) == somebody {
			return base{}, no("at the tracepoint %s it is not known whose task runs, so nothing there is of one process or user", name)
		}
		n.task = n.task || whose("tracepoint", name) == own && (listing || slices.ContainsFunc(a.keys, func(k key) bool { return taskWords[k.word] && k.word != "cpu" }))
		out.contract, err = c.tracepointBase(name, n)
		out.lines = []string{"watched: every event of the tracepoint " + strings.Replace(name, "/", ":", 1)}
	case "thing":
		if n.duration || n.result {
			return base{}, no("%s is one moment: it has neither a duration nor a result", a.subject)
		}
		out.contract, err = things[name].base()
		out.lines = slices.Clone(things[name].watched)
		if err == nil && len(out.contract.Hooks) > 1 { // of one way only
			for _, x := range a.conds {
				if x.what == ".way" {
					out.contract.Hooks = slices.DeleteFunc(out.contract.Hooks, func(h *contract.Hook) bool {
						return (h.Places[0].Kind == "cgroup_skb/egress") != (x.is == "sent")
					})
				}
			}
		}
	case "group":
		if n.duration || n.result || n.task || n.args {
			return base{}, no("of a group of tracepoints it can be told how often they fire, and nothing else; name one of them")
		}
		if a.form == unsaid && a.shape == "" || a.form == count && len(a.keys) == 0 {
			a.keys = append(slices.Clone(a.keys), key{"event", "group " + name})
		}
		out.contract, err = c.groupBase(name)
		out.lines = []string{"watched: every event of the tracepoints of group " + name}
	case "function":
		mine := whose("fentry", name)
		if n.result {
			return base{}, no("what %s returns means nothing that is known here", name)
		}
		if n.duration && mine != own {
			return base{}, no("it is not known whose task calls %s, so its calls cannot be told from their returns", name)
		}
		if n.task && mine == somebody {
			return base{}, no("at the function %s it is not known whose task runs, so nothing there is of one process or user", name)
		}
		n.task = n.task || mine == own
		out.contract, err = c.functionBase(name, n)
		out.lines = []string{"watched: every call of the kernel function " + name}
	default:
		return base{}, no("it names nothing to watch")
	}
	return out, err
}

// namesText tells whether an ask is about a text among a call's arguments.
func (c *Composer) namesText(a *ask) bool {
	args, err := callArguments(c.facts, a.subject.name)
	if err != nil {
		return false
	}
	texts := map[string]bool{"path": true}
	for _, x := range args {
		texts["."+x.name] = x.typ == "char[256]"
	}
	return slices.ContainsFunc(a.conds, func(x cond) bool { return texts[x.what] }) || slices.ContainsFunc(a.keys, func(k key) bool { return texts[k.word] })
}

// alsoCalled says which calls programs may make instead of one.
func (c *Composer) alsoCalled(call string) string {
	if call == "fork" {
		return "clone and clone3, which libraries call for fork()"
	}
	if n := notes.Of("tracepoint", "syscalls/sys_enter_"+call); n != nil {
		return strings.Join(n.See, "; ")
	}
	return strings.Join(c.family(call)[1:], ", ")
}

var errNoRecipe = errors.New("no recipe answers any part of it")

// maxParts is how many parts of a request are tried apart.
const maxParts = 8

// fromRecipe composes from a recipe: some parts of the request are taken out of it so that the
// recipe answers the rest, and then applied to the recipe's contract.
func (c *Composer) fromRecipe(ctx context.Context, g reading) (*Composition, error) {
	literal := "" // a system call that is meant and no other
	if a, err := g.ask(func(p part) bool { return p.rule.subject }); err == nil && a.subject.kind == "call" && !g.plainWord() {
		literal = a.subject.name
	}
	return c.split(ctx, g, ask{}, func(rest string) (base, []string, error) {
		m, err := c.recipes.Match(rest, recipes.MatchOptions{UserID: c.userID})
		if err != nil {
			return base{}, nil, err
		}
		if g.misread(m) || literal != "" && !about(m, literal) || c.oneOfAlike(g, m) {
			return base{}, nil, errNoRecipe
		}
		return recipeBase(m), []string{rest}, nil
	})
}

// misread tells whether a recipe took the name of a hook for a misspelt word.
func (g reading) misread(m *recipes.Match) bool {
	for _, p := range g.parts {
		if !p.rule.subject {
			continue
		}
		for _, v := range p.values {
			if slices.ContainsFunc(m.Understood, func(line string) bool { return strings.HasPrefix(line, fmt.Sprintf("%q was read as ", v.text)) }) {
				return true
			}
		}
	}
	return false
}

// recipeBase is a recipe with what the request says of its parameters.
func recipeBase(m *recipes.Match) base {
	return base{contract: m.Recipe.Contract, options: m.Options, duration: m.Duration, origin: "composed from recipe " + m.Recipe.Name,
		only: m.Only, lines: append([]string{fmt.Sprintf("from the recipe %s: %s", m.Recipe.Name, m.Recipe.Title)}, m.Understood...)}
}

// split tries which parts of a request a recipe need not see, the fewest first.
func (c *Composer) split(ctx context.Context, g reading, before ask, answer func(rest string) (base, []string, error)) (*Composition, error) {
	// A recipe knows better whose part a process has.
	made, err := c.splitBy(ctx, g, before, answer, func(p part) bool { return !p.rule.task })
	if !errors.Is(err, errNoRecipe) || !slices.ContainsFunc(g.parts, func(p part) bool { return p.rule.task }) {
		return made, err
	}
	return c.splitBy(ctx, g, before, answer, func(part) bool { return true })
}

// splitBy is split with the parts that may be taken out of the request.
func (c *Composer) splitBy(ctx context.Context, g reading, before ask, answer func(rest string) (base, []string, error), may func(part) bool) (*Composition, error) {
	var free []int
	for i, p := range g.parts {
		if !p.rule.subject && !p.rule.weak && may(p) {
			free = append(free, i)
		}
	}
	if len(free) > maxParts {
		return nil, errNoRecipe
	}
	sets := make([]uint, 0, 1<<len(free))
	for s := range uint(1) << len(free) {
		sets = append(sets, s)
	}
	slices.SortStableFunc(sets, func(a, b uint) int { return bits.OnesCount(a) - bits.OnesCount(b) })
	var first error
	for _, s := range sets {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		chosen := func(p part) bool {
			for k, i := range free {
				if s>>k&1 == 1 && g.parts[i].first == p.first {
					return true
				}
			}
			return false
		}
		if !g.whole(chosen) {
			continue
		}
		if or := g.oneOf(chosen); or != nil {
			if first == nil {
				first = or
			}
			continue
		}
		rest := g.without(chosen)
		if s == 0 && idle(rest) {
			continue
		}
		from, said, err := answer(rest)
		if err != nil && g.fails(chosen) {
			from, said, err = answer(rest + " that fail") // which recipe it is may depend on that
		}
		if err != nil && g.outgoing(chosen) {
			from, said, err = answer("outgoing " + rest)
		}
		if err == nil && slices.ContainsFunc(g.parts, func(p part) bool { return p.rule.task && chosen(p) && (g.toward(p) || hasTaskParams(from.contract)) }) {
			continue // the recipe has a reason not to take it
		}
		if err != nil && g.sized(chosen) {
			from, said, err = answer(rest + " sizes")
		}
		measured := slices.ContainsFunc(g.parts, func(p part) bool { return p.rule.measure && chosen(p) })
		if err != nil && !measured && slices.ContainsFunc(g.parts, func(p part) bool { return p.rule.key && chosen(p) }) {
			// Some recipes are asked for by the rows that they have, which are replaced.
			from, said, err = answer(rest + " by process")
		}
		switch living := g.living(chosen); {
		case living && (err != nil || !lives(from.contract)):
			if from, said, err = answer(rest + " lifetime"); err == nil && !lives(from.contract) {
				continue
			}
		case err == nil && measured && !living:
			// What is measured may be what tells recipes apart: "block latency".
			if other, _, err := answer(rest + " latency"); err == nil && other.origin != from.origin {
				continue
			}
		}
		if err != nil {
			continue
		}
		a, err := g.ask(chosen)
		if err == nil {
			a = before.refine(a)
			if from.origin == "composed from recipe exec" && (a.form != unsaid && a.form != list || len(a.keys) > 0) && g.creates() {
				return nil, no("counted would be programs that start (execve), and it speaks of processes that are created: many never start a program, and some start several")
			}
			var res *Composition
			if res, err = c.build(ctx, a, from); err == nil {
				if err := g.oneKind(from.contract, res.Contract); err != nil {
					return nil, err
				}
				if a.form == sum && a.of == "" && slices.ContainsFunc(g.parts, func(p part) bool { return p.rule.measure && !chosen(p) }) {
					continue // a number of them would pass for their sum
				}
				if !g.kept(chosen, from, res.Contract, answer) {
					continue
				}
				if err := g.unshown(res.Contract); err != nil {
					if first == nil {
						first = err
					}
					continue
				}
				if a.dur == 0 {
					res.Duration = from.duration
				}
				res.asked, res.said = a, said
				res.Options.Name = from.options.Name
				return res, nil
			}
		}
		var n *NoError
		if !errors.As(err, &n) {
			return nil, err
		}
		if first == nil {
			first = &NoError{Why: n.Why, Understood: from.lines}
		}
	}
	if first != nil {
		return nil, first
	}
	return nil, errNoRecipe
}

// fails tells whether a chosen part speaks of errors that are wanted.
func (g reading) fails(chosen func(part) bool) bool {
	a, err := g.ask(chosen)
	return err == nil && slices.ContainsFunc(a.conds, func(c cond) bool { return c.what == "error" && c.op == "==" || c.what == result && c.op == "<" })
}

// sized tells whether a chosen part is about how large something is.
func (g reading) sized(chosen func(part) bool) bool {
	a, err := g.ask(chosen)
	return err == nil && slices.ContainsFunc(a.conds, func(c cond) bool { return c.what == bytes })
}

// outgoing tells whether a chosen part can only be said of connections that are made from here: "to
// port 443", "that end in ECONNREFUSED".
func (g reading) outgoing(chosen func(part) bool) bool {
	return slices.ContainsFunc(g.parts, func(p part) bool {
		one, err := g.ask(func(q part) bool { return q.first == p.first && chosen(q) })
		return err == nil && slices.ContainsFunc(one.conds, func(c cond) bool {
			switch c.what {
			case "port", "address":
				return slices.ContainsFunc(g.toks[p.first:p.last], func(t token) bool { return t.low == "to" })
			case "error":
				return c.op == "==" && slices.ContainsFunc(strings.Split(c.is, ","), func(e string) bool { return neverAccepted[e] })
			}
			return false
		})
	})
}

// neverAccepted are errors with which no connection ends that is accepted.
var neverAccepted = set("ECONNREFUSED ETIMEDOUT EHOSTUNREACH ENETUNREACH")

// toward tells whether a process or user is named as somebody to whom something is done.
func (g reading) toward(p part) bool {
	return p.first > 0 && slices.Contains([]string{"to", "into", "against", "at", "towards"}, g.toks[p.first-1].low)
}

// hasTaskParams tells whether a contract can be narrowed to a process or user.
func hasTaskParams(c *contract.Contract) bool {
	return slices.ContainsFunc(c.Params, func(p *contract.Param) bool { return p.Name == "pid" || p.Name == "comm" || p.Name == "uid" })
}

// whole tells whether parts can be applied without the others: the form of an answer and all
// of its rows belong together.
func (g reading) whole(chosen func(part) bool) bool {
	if slices.ContainsFunc(g.parts, func(p part) bool { return (p.rule.exclude || p.rule.place) && !chosen(p) }) {
		return false
	}
	shaped := slices.ContainsFunc(g.parts, func(p part) bool { return (p.rule.form || p.rule.key) && chosen(p) })
	return !shaped || !slices.ContainsFunc(g.parts, func(p part) bool { return p.rule.key && !chosen(p) }) && !g.asksMore(chosen)
}

// oneOf says why a chosen part cannot be applied: it is one side of an "or", and what it would be
// applied to has the other side. Everything that is applied holds together.
func (g reading) oneOf(chosen func(part) bool) error {
	for _, p := range g.parts {
		if !chosen(p) {
			continue
		}
		for _, i := range []int{p.first - 1, p.last} {
			if i >= 0 && i < len(g.toks) && (g.toks[i].low == "or" || g.toks[i].low == "nor") && !g.toks[i].quoted {
				return no("%q is one of several that are joined by %q, and here all that is said must hold; ask for one after the other", said(g.toks, p.first, p.last), g.toks[i].text)
			}
		}
	}
	return nil
}

// creates tells whether a request speaks of processes that come to be, which is not the
// same as programs that start: many never start one, and one process can start several.
func (g reading) creates() bool {
	word := func(set map[string]bool) bool {
		return slices.ContainsFunc(g.toks, func(t token) bool { return !t.quoted && set[t.low] })
	}
	return word(offspring) || word(creating) && word(created)
}

var (
	offspring = set("child children childs subprocess subprocesses fork forks forked forking offspring descendants")
	creating  = set("create creates created creating creation new spawn spawns spawned spawning")
	created   = set("process processes task tasks")
)

// oneKind says that reads and writes, which a recipe tells apart, would be taken together, where the
// request speaks of one of them.
func (g reading) oneKind(from, is *contract.Contract) error {
	if !tellsKinds(from) || tellsKinds(is) {
		return nil
	}
	has := func(set map[string]bool) bool {
		return slices.ContainsFunc(g.toks, func(t token) bool { return set[t.low] })
	}
	if has(readWords) != has(writeWords) {
		return no("reads and writes would be shown together, and it speaks of one of them")
	}
	return nil
}

var (
	readWords  = set("read reads reading")
	writeWords = set("write writes written writing wrote")
)

// tellsKinds tells whether rows or events of a contract say whether they are reads or writes.
func tellsKinds(c *contract.Contract) bool {
	kinds := func(list []contract.Member) bool {
		return slices.ContainsFunc(list, func(m contract.Member) bool { return m.Type.Name == "io_kind" || m.Type.Name == "block_op" })
	}
	return slices.ContainsFunc(c.Tables, func(t *contract.Table) bool { return kinds(t.Key) }) || slices.ContainsFunc(c.Events, func(e *contract.Event) bool { return kinds(e.Members) })
}

// kept tells whether what the other parts say of the form of the answer, which was left to
// the recipe, is so in what came out.
func (g reading) kept(chosen func(part) bool, from base, is *contract.Contract, answer func(string) (base, []string, error)) bool {
	a, err := g.ask(func(p part) bool { return !chosen(p) })
	if err != nil {
		return false
	}
	for _, p := range g.parts {
		if chosen(p) {
			continue
		}
		one, err := g.ask(func(q part) bool { return q.first == p.first })
		if err != nil || slices.ContainsFunc(one.conds, func(x cond) bool { return !from.bound(x) }) {
			// The recipe may be the one that it is because of these words: "failed opens".
			other, _, err := answer(g.without(func(q part) bool { return chosen(q) || q.first == p.first }))
			if err == nil && other.origin == from.origin {
				return false
			}
		}
	}
	was := from.contract
	if len(is.Tables) == 0 && !stacked(was) && len(g.rows(func(p part) bool { return !chosen(p) })) > 0 {
		return false // a list has no rows
	}
	tabled := len(was.Events) > 0 && len(is.Tables) > 0
	if a.of != "" && tabled {
		return false // it was to be measured
	}
	return a.form == unsaid || shows(is, a.form, a.of != "")
}

// bound tells whether a recipe has taken a condition's value for one of its parameters.
func (b base) bound(x cond) bool {
	want := strings.Trim(x.is, `"`)
	for _, v := range b.options.Constants {
		if v == want || x.op == "starts" && strings.TrimSuffix(v, "/") == strings.TrimSuffix(want, "/") {
			return true
		}
	}
	return false
}

// living tells whether a chosen part speaks of how long something lasts, which is not how long
// it takes to come about: the life of a connection is not the time to connect.
func (g reading) living(chosen func(part) bool) bool {
	for _, p := range g.parts {
		for i := p.first; chosen(p) && i < p.last; i++ {
			if lifeWords[g.toks[i].low] {
				return true
			}
		}
		// "connections longer than 10 minutes": nobody means how long they took to connect.
		if chosen(p) && p.first > 0 && longLived[g.toks[p.first-1].low] && (g.toks[p.first].low == "longer" || g.toks[p.first].low == "shorter") {
			return true
		}
	}
	return false
}

var lifeWords = set("last lasts lasted lasting live lives lived living lifetime lifetimes duration durations")

// longLived are things that last.
var longLived = set("connection connections conn conns session sessions socket sockets flow flows")

// lives tells whether what a contract shows of time is not called a latency.
func lives(c *contract.Contract) bool {
	for _, e := range c.Events {
		if slices.ContainsFunc(e.Members, func(m contract.Member) bool { return m.Type.Name == "k_ns" && m.Name != "latency" }) {
			return true
		}
	}
	return false
}

// shows tells whether a contract's output has a form.
func shows(c *contract.Contract, f form, measured bool) bool {
	if f == list {
		return len(c.Events) > 0
	}
	if f == count && measured {
		return true // "how many bytes": whatever the recipe makes of it
	}
	fit := map[form][]contract.Agg{count: {contract.Count}, hist: {contract.Log2, contract.Linear}, stats: {contract.Stats}, sum: {contract.Sum, contract.Stats}}[f]
	return slices.ContainsFunc(c.Tables, func(t *contract.Table) bool {
		return slices.ContainsFunc(t.Values, func(v contract.TableValue) bool { return slices.Contains(fit, v.Agg) })
	})
}

// Instead is what is to be composed in the place of a recipe's answer, when every word of
// the request says something else than the recipe shows; nil when the recipe's answer stands. Recipes
// know words; they do not see that "did not" turns one round, or that a time is to be measured.
// In a conversation, before, they do not know what was composed in the place of a recipe.
func (c *Composer) Instead(ctx context.Context, m *recipes.Match, before []string, text string) (*Composition, error) {
	if len(before) > 0 {
		last, _, err := c.follow(ctx, before)
		if err != nil || last == nil {
			return nil, err
		}
		if len(last.said) > 0 && last.asked.empty() {
			if len(m.Only) == 0 {
				return nil, nil
			}
			return c.only(ctx, m, append(slices.Clip(before), text))
		}
		return c.turn(ctx, last, text)
	}
	return c.insteadAlone(ctx, m, text)
}

func (c *Composer) insteadAlone(ctx context.Context, m *recipes.Match, text string) (*Composition, error) {
	g := c.read(text, false)
	a, err := g.ask(func(part) bool { return true })
	if err != nil {
		return nil, nil
	}
	opposite := slices.ContainsFunc(a.conds, func(x cond) bool {
		if x.op != "!=" && x.op != "starts not" {
			return false
		}
		for _, v := range m.Options.Constants {
			if v == strings.Trim(x.is, `"`) {
				return true
			}
		}
		return false
	})
	named := a.subject.kind == "tracepoint" && strings.ContainsAny(g.subjectText(), ":/")
	timed := a.of == duration && !hasType(m.Recipe.Contract, "k_ns") && a.subject.kind != ""
	literal := a.subject.kind == "call" && len(g.left) == 0 && !g.plainWord() && !about(m, a.subject.name)
	if len(a.keys) > 0 && len(m.Only) == 0 && stacked(m.Recipe.Contract) && !g.stacks() {
		return c.withoutStacks(ctx, m, a.keys, text)
	}
	if err := g.unshown(m.Recipe.Contract); err != nil {
		if res, other := c.Compose(ctx, text); other == nil {
			return res, nil
		}
		return nil, err
	}
	// A list has no rows: of those who are shown in it anyway each has lines of its own, but of nothing else.
	if len(g.rows(func(part) bool { return true })) > 0 && len(m.Recipe.Contract.Tables) == 0 {
		return c.Compose(ctx, text)
	}
	averaged := a.form == stats && !shows(m.Recipe.Contract, stats, false)
	switch {
	case a.subject.kind == "thing" && len(g.left) == 0:
		return c.Compose(ctx, text)
	case opposite || named || timed || c.oneOfAlike(g, m) || g.misread(m):
		return c.Compose(ctx, text)
	case len(m.Only) > 0 && !literal:
		return c.narrowed(ctx, m, text)
	case literal:
		// The recipe shows more than the one call that is named.
		if res, err := c.fromHook(ctx, a); err == nil {
			return res, nil
		}
	}
	if len(m.Only) > 0 {
		return c.narrowed(ctx, m, text)
	}
	if averaged {
		if res, err := c.Compose(ctx, text); err == nil {
			return res, nil
		}
	}
	return nil, ctx.Err()
}

// rows are the words by which a request asks for rows of something other than whose doing it is.
func (g reading) rows(of func(part) bool) []string {
	var out []string
	for _, p := range g.parts {
		k, ok := p.values["key"]
		if !ok || !of(p) || !p.rule.key || p.rule.which || taskWords[k.word] && k.word != "cpu" || strings.HasPrefix(k.word, ".") {
			continue
		}
		out = append(out, said(g.toks, p.first, p.last))
	}
	return out
}

// oneOfAlike tells whether a recipe was narrowed to a system call where those that do the same are
// meant as well.
func (c *Composer) oneOfAlike(g reading, m *recipes.Match) bool {
	a, err := g.ask(func(p part) bool { return p.rule.subject })
	return err == nil && a.subject.kind == "call" && !a.literal && len(c.family(a.subject.name)) > 1 && slices.ContainsFunc(m.Recipe.Params, func(p recipes.Param) bool {
		return p.Role == recipes.RoleSyscall && m.Options.Constants[p.Name] != ""
	})
}

// transfers are system calls that return how many bytes were moved, which is what "larger than" means
// of them: what is asked for may be the size of a buffer.
var transfers = set("read pread64 readv preadv preadv2 recvfrom recvmsg write pwrite64 writev pwritev pwritev2 sendto sendmsg sendfile64 splice tee vmsplice copy_file_range getrandom getdents getdents64 readlink readlinkat process_vm_readv process_vm_writev listxattr getxattr")

// unshown says what a request wants to be shown as well, "with the process", or asks for, "which signal", of which a contract has no column.
func (g reading) unshown(k *contract.Contract) error {
	if err := g.summedUp(k); err != nil {
		return err
	}
	r := &reader{toks: g.toks}
	for i := 1; i < len(g.toks); i++ {
		if t := g.toks[i-1]; !t.quoted && !t.ends && (t.low == "which" || t.low == "what") {
			if end, called := r.askedFor(i); end > 0 && !hasColumn(k, called) {
				return no("it asks %q, and there is no column that tells it", said(g.toks, i-1, end))
			}
		}
		if g.toks[i-1].quoted || !alongside[g.toks[i-1].low] && !(i > 1 && g.toks[i-1].low == "the" && alongside[g.toks[i-2].low]) {
			continue
		}
		for words, what := range keyWords {
			end := r.says(i, strings.Fields(words))
			if end == 0 || columnsOf[what] == nil || end < len(g.toks) && !g.toks[end-1].ends && !links[g.toks[end].low] && !forms[g.toks[end].low] {
				continue // "with user 1000" names one
			}
			if !hasColumn(k, columnsOf[what]) {
				return no("it asks for %q to be shown, and there is no column for it", said(g.toks, i, end))
			}
		}
	}
	return nil
}

// alongside are words after which comes what is to be shown as well.
var alongside = set("with including incl showing plus")

// forms are words that say again how something is shown: "with process and port please".
var forms = set("for please pls in by every during as per id ids name names")

// columnsOf are what columns are called that show what a word asks for.
var columnsOf = map[string]*regexp.Regexp{
	"process": regexp.MustCompile(`(^|_)(pid|comm|process)$`),
	"comm":    regexp.MustCompile(`(^|_)comm$`),
	"user":    regexp.MustCompile(`(^|_)uid$`),
	"thread":  regexp.MustCompile(`(^|_)tid$`),
	"cpu":     regexp.MustCompile(`^cpu$`),
	"port":    regexp.MustCompile(`port$`),
	"address": regexp.MustCompile(`addr$`),
	"path":    regexp.MustCompile(`path|file|name`),
}

// summedUp says that what single ones have, "with their arguments", is to be shown, where only rows for many are.
func (g reading) summedUp(k *contract.Contract) error {
	if len(k.Events) > 0 {
		return nil
	}
	for _, p := range g.parts {
		if !p.rule.weak || g.toks[p.first].quoted {
			continue
		}
		if t := g.toks[p.last-1].low; single[t] && (g.toks[p.first].low == "with" || g.toks[p.first].low == "and") && !hasColumn(k, regexp.MustCompile("^"+strings.TrimSuffix(t, "s"))) {
			return no("it asks for single ones to be shown %q and for what many come to; ask for one after the other", said(g.toks, p.first, p.last))
		}
	}
	return nil
}

// single are what each call has of its own.
var single = set("arguments results result duration")

// askedFor finds the longest words at i that say what "which" asks for, and what the columns are called that tell it.
func (r *reader) askedFor(i int) (end int, called *regexp.Regexp) {
	for words, what := range keyWords {
		if e := r.says(i, strings.Fields(words)); e > end && answers[what] != nil {
			end, called = e, answers[what]
		}
	}
	for words, what := range moreWords {
		if e := r.says(i, strings.Fields(words)); e > end {
			end, called = e, answers[what]
		}
	}
	if end > 0 && end < len(r.toks) && !r.toks[end-1].ends && compounds[r.toks[end].low] {
		return 0, nil
	}
	return end, called
}

// moreWords are further words for what is asked for.
var moreWords = expand(map[string]string{
	"status": "exit code, exit codes, exit status, exit statuses, status",
	"side":   "side, sides, direction, directions, way",
	"host":   "host names",
})

// compounds are words before which others mean something else than alone: "file systems".
var compounds = set("system systems descriptor descriptors handle handles type types size sizes space state states group groups kind kinds handler handlers")

// answers are what columns are called that tell which it is.
var answers = map[string]*regexp.Regexp{
	"process": regexp.MustCompile(`(^|_)(pid|tid|comm|process|parent|command)$`),
	"comm":    regexp.MustCompile(`(^|_)(comm|command)$`),
	"user":    regexp.MustCompile(`(^|_)uid$|user`),
	"thread":  regexp.MustCompile(`(^|_)tid$`),
	"cpu":     regexp.MustCompile(`cpu`),
	"cgroup":  regexp.MustCompile(`cgroup|container|pod`),
	"port":    regexp.MustCompile(`port$`),
	"dport":   regexp.MustCompile(`^[dr]?port$`),
	"lport":   regexp.MustCompile(`^[ls]?port$`),
	"address": regexp.MustCompile(`addr|(^|_)(ip|host|peer)$`),
	"laddr":   regexp.MustCompile(`^[ls]?addr`),
	"error":   regexp.MustCompile(`err|result|status|ret`),
	"signal":  regexp.MustCompile(`sig|status`),
	"path":    regexp.MustCompile(`path|file|name|target|old|new`),
	"call":    regexp.MustCompile(`call|(^|_)nr$`),
	"parent":  regexp.MustCompile(`parent|ppid`),
	"state":   regexp.MustCompile(`state|^(from|to|old|new)$`),
	"device":  regexp.MustCompile(`dev|disk|source`),
	"sender":  regexp.MustCompile(`sender|^(pid|comm)$`),
	"target":  regexp.MustCompile(`target`),
	"host":    regexp.MustCompile(`host|name`),
	"side":    regexp.MustCompile(`direction|side|origin`),
	"status":  regexp.MustCompile(`status|code|result|ret`),
}

func hasColumn(k *contract.Contract, called *regexp.Regexp) bool {
	has := func(list []contract.Member) bool {
		return slices.ContainsFunc(list, func(m contract.Member) bool { return called.MatchString(m.Name) })
	}
	return slices.ContainsFunc(k.Events, func(e *contract.Event) bool { return has(e.Members) }) || slices.ContainsFunc(k.Tables, func(t *contract.Table) bool { return has(t.Key) })
}

// stacked tells whether the rows of a contract are for stacks.
func stacked(c *contract.Contract) bool {
	return slices.ContainsFunc(c.Tables, func(t *contract.Table) bool {
		return slices.ContainsFunc(t.Key, func(m contract.Member) bool { return m.Type.Name == "k_kstack" || m.Type.Name == "k_ustack" })
	})
}

// stacks tells whether a request speaks of stacks.
func (g reading) stacks() bool {
	return slices.ContainsFunc(g.toks, func(t token) bool { return stackWords[t.low] })
}

var stackWords = set("stack stacks stacktrace stacktraces backtrace backtraces flame flamegraph flamegraphs profile profiles profiling folded functions function code")

// withoutStacks is a recipe that counts by stack with rows for what is asked for alone: of "top 10 processes
// by cpu" each is one row, and not one for each of its stacks.
func (c *Composer) withoutStacks(ctx context.Context, m *recipes.Match, keys []key, text string) (*Composition, error) {
	res, err := c.build(ctx, ask{keys: keys}, recipeBase(m))
	if err != nil {
		return nil, err
	}
	res.Duration, res.said = m.Duration, []string{text}
	return res, nil
}

// narrowed is a recipe that answers a request, narrowed to what it asks for.
func (c *Composer) narrowed(ctx context.Context, m *recipes.Match, text string) (*Composition, error) {
	g := c.read(text, false)
	if a, err := g.ask(func(p part) bool { return p.rule.form && !p.rule.which }); err != nil || a.form != unsaid && !shows(m.Recipe.Contract, a.form, false) || g.parted() {
		return c.Compose(ctx, text) // in another form than the recipe's
	}
	return c.only(ctx, m, []string{text})
}

// only is a recipe that was found with what was said, narrowed to what that asks for.
func (c *Composer) only(ctx context.Context, m *recipes.Match, said []string) (*Composition, error) {
	res, err := c.build(ctx, ask{}, recipeBase(m))
	if err != nil {
		return nil, err
	}
	res.Duration, res.said = m.Duration, said
	return res, nil
}

// parted tells whether a request leaves something out.
func (g reading) parted() bool {
	return slices.ContainsFunc(g.parts, func(p part) bool { return p.rule.exclude || p.rule.place })
}

// about tells whether a recipe is about a system call alone, or has been narrowed to it, or
// bears its name.
func about(m *recipes.Match, call string) bool {
	for _, p := range m.Recipe.Params {
		if p.Role == recipes.RoleSyscall {
			return m.Options.Constants[p.Name] != ""
		}
	}
	if strings.Contains("-"+m.Recipe.Name, "-"+strings.TrimRight(call, "0123456789")) {
		return true
	}
	for _, h := range m.Recipe.Contract.Hooks {
		for _, p := range h.Places {
			if p.Target != "syscalls/sys_enter_"+call && p.Target != "syscalls/sys_exit_"+call {
				return false
			}
		}
	}
	return true
}

// subjectText is the word that names what is watched.
func (g reading) subjectText() string {
	for _, p := range g.parts {
		if t, ok := p.values["tracepoint"]; ok {
			return t.text
		}
	}
	return ""
}

// hasType tells whether an output of a contract has a member of a type.
func hasType(c *contract.Contract, typ string) bool {
	return slices.ContainsFunc(c.Events, func(e *contract.Event) bool {
		return slices.ContainsFunc(e.Members, func(m contract.Member) bool { return m.Type.Name == typ })
	}) || slices.ContainsFunc(c.Tables, func(t *contract.Table) bool {
		return slices.ContainsFunc(t.Values, func(v contract.TableValue) bool { return v.Type.Name == typ })
	})
}

// more are words after which comes something that is to be shown.
var more = set("and with plus including incl showing by per also each every")

// asksMore tells whether the words besides the chosen parts ask for something to be shown that
// another form of the answer would not show: "count connections, with user and port".
func (g reading) asksMore(chosen func(part) bool) bool {
	r := &reader{toks: g.toks}
	taken := func(i int) bool {
		return slices.ContainsFunc(g.parts, func(p part) bool { return p.first <= i && i < p.last && chosen(p) })
	}
	for i, t := range g.toks {
		if taken(i) {
			continue
		}
		if t.low == "who" || t.low == "whose" || t.low == "whom" || t.low == "where" || t.low == "when" || t.low == "why" {
			return true
		}
		if i == 0 || !more[g.toks[i-1].low] && !g.toks[i-1].ends && !(g.toks[i-1].low == "the" && i > 1 && more[g.toks[i-2].low]) {
			continue
		}
		for words := range keyWords {
			if r.says(i, strings.Fields(words)) > 0 {
				return true
			}
		}
	}
	return false
}

// Continue composes what a conversation asks for: what was requested before, oldest first, and
// what is said now, which changes the request before it or is one of its own. previous is what the
// last request came to where that is known, for a model may have answered it; else nil.
func (c *Composer) Continue(ctx context.Context, before []string, previous *Composition, text string) (*Composition, error) {
	last, lost, err := c.follow(ctx, before)
	if err != nil {
		return nil, err
	}
	if previous != nil && (last == nil || contract.Format(last.Contract) != contract.Format(previous.Contract)) {
		last = previous
	}
	if last == nil && lost && leaning.MatchString(text) {
		return nil, no("it seems to change the request before it, which was not composed; write the whole request in one sentence")
	}
	return c.turn(ctx, last, text)
}

// follow is what the turns of a conversation have come to. lost: the last request was one
// that is not known here.
func (c *Composer) follow(ctx context.Context, before []string) (last *Composition, lost bool, err error) {
	for _, said := range before {
		next, err := c.turn(ctx, last, said)
		switch {
		case ctx.Err() != nil:
			return nil, false, context.Cause(ctx)
		case err == nil:
			last, lost = next, false
		case !leaning.MatchString(said):
			last, lost = nil, true
		}
	}
	return last, lost, nil
}

// turn takes one more turn of a conversation.
func (c *Composer) turn(ctx context.Context, last *Composition, text string) (*Composition, error) {
	if last == nil {
		return c.alone(ctx, text)
	}
	refined, err := c.Refine(ctx, last, text)
	if adding.MatchString(text) {
		return refined, err
	}
	if leaning.MatchString(text) && !anew.MatchString(text) {
		return refined, err
	}
	alone, aloneErr := c.alone(ctx, text)
	if aloneErr == nil && (err != nil || anew.MatchString(text)) {
		return alone, nil
	}
	return refined, err
}

// alone is a request that changes none: a recipe's as it is, or composed.
func (c *Composer) alone(ctx context.Context, text string) (*Composition, error) {
	m, err := c.recipes.Match(text, recipes.MatchOptions{UserID: c.userID})
	if err == nil {
		if instead, err := c.insteadAlone(ctx, m, text); instead != nil || err != nil {
			return instead, err
		}
		from := recipeBase(m)
		res := &Composition{Contract: from.contract, Options: from.options, Duration: m.Duration, Origin: from.origin, Understood: from.lines, Match: m, said: []string{text}}
		g := c.read(text, false)
		if a, err := g.ask(func(part) bool { return true }); err == nil && len(g.left) == 0 && a.subject.kind != "" && !g.plainWord() {
			res.other = &a
		}
		return res, nil
	}
	return c.Compose(ctx, text)
}

// Refine composes what a request makes of the composition before it: "only port
// 443", "as a histogram". last may be made of any contract, see [Of]. The error is
// a [*NoError], or the context's.
func (c *Composer) Refine(ctx context.Context, last *Composition, text string) (*Composition, error) {
	g := c.read(text, true)
	if err := g.tangled(); err != nil {
		return nil, err
	}
	for _, p := range g.parts {
		if p.rule.subject && adding.MatchString(text) {
			return nil, no("%q is to be watched besides what there is: ask for one after the other, or for %q in its place", said(g.toks, p.first, p.last), "what about …")
		}
	}
	res, err := c.refine(ctx, last, g)
	if err != nil {
		if errors.Is(err, errNoRecipe) {
			err = g.leftOver(ask{})
		}
		return nil, err
	}
	if res.Duration == 0 {
		res.Duration = last.Duration
	}
	res.Understood = append([]string{fmt.Sprintf("changes %q", last.Contract.Title)}, res.Understood...)
	return res, nil
}

func (c *Composer) refine(ctx context.Context, last *Composition, g reading) (*Composition, error) {
	if len(last.said) > 0 {
		res, err := c.split(ctx, g, last.asked, func(rest string) (base, []string, error) { return c.again(last, rest) })
		if last.other == nil || ctx.Err() != nil {
			return res, err
		}
		if err == nil {
			if a, askErr := g.ask(func(part) bool { return true }); askErr == nil && len(g.left) == 0 {
				both := last.other.refine(a)
				res.other = &both
			}
			return res, nil
		}
	}
	if len(g.left) > 0 {
		return nil, g.leftOver(ask{})
	}
	a, err := g.ask(func(part) bool { return true })
	if err != nil {
		return nil, err
	}
	if last.other != nil && !a.empty() {
		return c.fromHook(ctx, last.other.refine(a))
	}
	if a.empty() {
		return nil, no("it changes nothing that is known here")
	}
	merged := last.asked.refine(a)
	if last.asked.subject.kind != "contract" {
		return c.fromHook(ctx, merged)
	}
	from := base{contract: last.Contract, options: last.Options, origin: "composed from the contract before"}
	if a.subject.kind != "" {
		if from.contract, err = retarget(last.Contract, a.subject); err != nil {
			return nil, err
		}
	}
	a.subject = subject{kind: "contract", name: last.Options.Name}
	res, err := c.build(ctx, a, from)
	if err != nil {
		return nil, err
	}
	res.asked = ask{subject: a.subject}
	return res, nil
}

// again is a recipe with what is said now of its parameters; nothing but fillers leaves it as it was.
func (c *Composer) again(last *Composition, rest string) (base, []string, error) {
	said := last.said
	if idle(rest) {
		rest = ""
	}
	opt := recipes.MatchOptions{UserID: c.userID}
	was, err := c.recipes.MatchAfter(said[:len(said)-1], said[len(said)-1], opt)
	if err != nil {
		return base{}, nil, err
	}
	if rest == "" {
		return recipeBase(was), said, nil
	}
	said = append(slices.Clone(said), rest)
	m, err := c.recipes.MatchAfter(said[:len(said)-1], rest, opt)
	if err != nil {
		return base{}, nil, err
	}
	if m.Recipe != was.Recipe {
		return base{}, nil, no("it is another request")
	}
	return recipeBase(m), said, nil
}

// idle tells whether a text has nothing but fillers.
func idle(text string) bool {
	for _, t := range tokens(text) {
		if t.quoted || !fillers[t.low] && !refining[t.low] && !links[t.low] {
			return false
		}
	}
	return true
}

// retarget is a contract about one system call for another.
func retarget(c *contract.Contract, to subject) (*contract.Contract, error) {
	if to.kind != "call" {
		return nil, no("the same for %s would be another request: write it in one sentence", to)
	}
	out, err := clone(c)
	if err != nil {
		return nil, err
	}
	was := ""
	for _, h := range out.Hooks {
		for _, p := range h.Places {
			call, ok := strings.CutPrefix(p.Target, "syscalls/sys_enter_")
			prefix := "syscalls/sys_enter_"
			if !ok {
				prefix = "syscalls/sys_exit_"
				call, ok = strings.CutPrefix(p.Target, prefix)
			}
			if !ok || was != "" && was != call || len(p.Args) > 0 && prefix == "syscalls/sys_enter_" {
				return nil, no("the request before is not about one system call alone, so that it is not known what the same for %s is", to.name)
			}
			was, p.Target = call, prefix+to.name
		}
	}
	out.Title = strings.ReplaceAll(out.Title, was, to.name)
	return out, nil
}

// Of makes a composition of a contract from elsewhere (one that a model wrote, say)
// with the options its program was built with, so that it can be refined.
func Of(c *contract.Contract, opt program.Options, origin string) *Composition {
	return &Composition{Contract: c, Options: opt, Origin: origin, asked: ask{subject: subject{kind: "contract", name: opt.Name}}}
}

var (
	// leaning words begin what cannot stand alone.
	leaning = regexp.MustCompile(`(?i)^\s*(?:(?:ok(?:ay)?|please|pls|hm+|no|yes|actually|now|then|and|but|so)[,\s]+)*(?:only|just|also|again|instead|plus|too|limit|narrow|restrict|make (?:it|that)|keep|as an?|as|same|the same|with|without|for|per|by|top|on|at|in|to|from|over|under|every|longer|slower|faster|larger|not|except|excluding|ignore|leave|skip|rerun|repeat|redo|once more|group(?:ed)?|split|what about|count (?:them|it|those)|list (?:them|it|those))\b`)
	// adding words begin what is wanted besides what there is.
	adding = regexp.MustCompile(`(?i)^\s*(?:(?:ok(?:ay)?|please|pls|now|then)[,\s]+)*(?:and|also|plus|or|additionally)\b`)
	// anew words begin a request.
	anew = regexp.MustCompile(`(?i)^\s*(?:who|what (?:calls|processes|is|are)|which|where|how|trace|show me|watch|histogram of|count (?:calls|of)|latency of)\b`)
)

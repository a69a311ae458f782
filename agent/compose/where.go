package compose

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/program"
)

// whereRules read in which container or pod something has to happen.
func whereRules() []rule {
	const in = "only? in|inside|within|of|from|by|on|for|at? " // "latency of" may have taken it
	task := func(a *ask, v map[string]value, said string) error {
		return a.setText(&a.inner, "process", strconv.FormatUint(v["n"].n, 10))
	}
	rules := []rule{
		{patterns: []string{in + "the? docker|podman|kubernetes|k8s? container <place>", in + "the? container named|called <place>", in + "the? <place> container"},
			do: func(a *ask, v map[string]value, said string) error {
				return a.setWhere("container:"+v["place"].word, said)
			}},
		{patterns: []string{in + "the? kubernetes|k8s? pod <place>", in + "the? pod named|called <place>", in + "the? <place> pod"},
			do: func(a *ask, v map[string]value, said string) error { return a.setWhere("pod:"+v["place"].word, said) }},
		{patterns: []string{in + "the? container <place> of|in the? pod <pod>", in + "the? <place> container of|in the? pod <pod>"},
			do: func(a *ask, v map[string]value, said string) error {
				return a.setWhere("container:"+v["pod"].word+"/"+v["place"].word, said)
			}},
		{patterns: []string{in + "the|all? containers|pods with|having the? label? <label>", in + "the|all? containers|pods labelled|labeled <label>", in + "the|all? containers|pods where <label>", in + "the? label <label>"},
			do: func(a *ask, v map[string]value, said string) error { return a.setWhere("label:"+v["label"].word, said) }},
		{patterns: []string{in + "<where>", in + "the? container|pod|containers|pods <where>"},
			do: func(a *ask, v map[string]value, said string) error { return a.setWhere(v["where"].word, said) }},
		{patterns: []string{in + "the? cgroup|control <cgroup>", in + "the? control group <cgroup>", in + "the? cgroup <cgroup>"},
			do: func(a *ask, v map[string]value, said string) error { return a.setWhere(v["cgroup"].word, said) }},
	}
	// A process that is named by its number beside the container is meant as the container numbers it.
	for _, r := range slices.Clone(rules) {
		next := rule{do: func(a *ask, v map[string]value, said string) error {
			if err := task(a, v, said); err != nil {
				return err
			}
			return r.do(a, v, said)
		}}
		for _, p := range r.patterns {
			for _, who := range []string{"only? of|by|from|for? the? pid|process <n> ", "only? of|by|from|for? the? process id|number <n> "} {
				next.patterns = append(next.patterns, who+strings.TrimPrefix(p, "only? "))
			}
		}
		rules = append(rules, next)
	}
	// What is outside of a container cannot be asked for.
	for _, r := range slices.Clone(rules) {
		next := rule{do: func(_ *ask, _ map[string]value, said string) error {
			return no("%q leaves something out, and only what happens in a container, a pod or a cgroup can be asked for", said)
		}}
		for _, p := range r.patterns {
			p = strings.TrimPrefix(p, "only? ")
			next.patterns = append(next.patterns, "@not "+p)
			if _, rest, ok := strings.Cut(p, " "); ok {
				next.patterns = append(next.patterns, "@not "+rest, "outside|outwith of? "+rest)
			}
		}
		rules = append(rules, next)
	}
	rules = append(rules, rule{
		patterns: []string{"with|and the|their|its? container|containers", "with|and the|their|its? container|pod names|name", "and|with in? which container|containers they|it are|is? in?"},
		do:       func(a *ask, _ map[string]value, _ string) error { a.container = true; return nil },
	})
	for i := range rules {
		rules[i].place = true
	}
	return rules
}

// Where is the container, pod or cgroup that a text says something happens in, in the form of
// [program.CheckWhere]; "" where it names none, or says it in a way that is not clear.
func (c *Composer) Where(text string) string {
	a, err := c.read(text, false).ask(func(p part) bool { return p.rule.place })
	if err != nil {
		return ""
	}
	return a.where
}

// elsewhere are words after which a container is not where something happens.
var elsewhere = set("to into against towards toward not no without except excluding but outside outwith than or nor between via through")

func (a *ask) setWhere(where, said string) error {
	if err := program.CheckWhere(where); err != nil {
		return &NoError{Why: err.Error()}
	}
	if a.where != "" && a.where != where {
		return conflict("where", program.WhereWords(a.where), program.WhereWords(where))
	}
	a.where, a.whereSaid = where, said
	return nil
}

var (
	// placeName matches names of containers and pods, and ids: web, shop/web-1, shop/web-1/nginx.
	placeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*){0,2}$`)
	labelKey  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./-]*$`)
)

// placeWords are words beside "container" that are none's name.
var placeWords = set("name names id ids runtime runtimes engine engines image images itself only container containers pod pods cgroup cgroups group label labels labelled labeled named called with where and or if is are who which whose what when how new other right other's " +
	"has have had does do did can may will would gets get opens open reads read writes write sends send makes make uses use runs run starts start calls call causes cause fails fail " +
	"accesses access connects connect most least many much too very so also then now here there")

// place fills <place>, <pod>, <label>, <where> and <cgroup>.
func (r *reader) place(hole string, i int) []filling {
	t := r.toks[i]
	isName := placeName.MatchString(t.text) && (t.quoted || !placeWords[t.low] && !reserved[t.low] && !fillers[t.low] && !links[t.low])
	one := func(ok bool, word string) []filling {
		if !ok {
			return nil
		}
		return []filling{{i + 1, value{text: t.text, word: word}}}
	}
	switch hole {
	case "place", "pod":
		return one(isName, t.text)
	case "cgroup":
		return one(strings.Contains(t.text, "/") || strings.HasSuffix(t.text, ".slice") || strings.HasSuffix(t.text, ".service") || strings.HasSuffix(t.text, ".scope"), "/"+strings.Trim(t.text, "/"))
	case "where":
		if label, ok := strings.CutPrefix(t.text, "label:"); ok {
			return r.label(i, "label:", label)
		}
		form, _, ok := strings.Cut(t.text, ":")
		return one(ok && (form == "container" || form == "pod") && program.CheckWhere(t.text) == nil, t.text)
	}
	return r.label(i, "", t.text)
}

// label reads KEY=VALUE, which are three tokens.
func (r *reader) label(i int, form, key string) []filling {
	if !labelKey.MatchString(key) || i+2 >= len(r.toks) || r.toks[i+1].low != "=" && r.toks[i+1].low != "==" || !labelKey.MatchString(r.toks[i+2].text) {
		return nil
	}
	return []filling{{i + 3, value{text: said(r.toks, i, i+3), word: form + key + "=" + r.toks[i+2].text}}}
}

// place narrows the contract to what happens in a container: every case that is about the
// current task asks where that is before it remembers or shows anything. Other cases may
// only show what such a case has remembered.
func (b *builder) place() error {
	where := b.ask.where
	if where == "" {
		return nil
	}
	words := program.WhereWords(where)
	if b.network() {
		b.cgroup = strings.TrimPrefix(where, "/")
		b.lines = append(b.lines, "only in "+words+", which nodes look for")
		return nil
	}
	if strings.HasSuffix(b.from.origin, " tcp-accepts") && strings.HasPrefix(b.ask.whereSaid, "from ") {
		return no("%q can be the other end of a connection, of which the container is not known; write \"in %s\" for the one that accepts it", b.ask.whereSaid, words)
	}
	if contract.Where(b.c) != "" {
		return b.elsewhere(where)
	}
	is := "inside(" + strconv.Quote(where) + ")"
	if b.ask.inner != "" {
		is += " && u32(pid_inside(current.task)) == " + b.ask.inner
	}
	here, err := expression("(" + is + ") ? 1 : 0")
	if err != nil {
		return err
	}
	out, err := clone(b.c)
	if err != nil {
		return err
	}
	n := narrowing{b: b, c: out, here: here.(*contract.Cond).If, elsewhere: map[string]bool{}}
	for _, h := range out.Hooks {
		for _, s := range h.Steps {
			n.step(h, s)
		}
	}
	for _, s := range n.others {
		if !n.remembered(s) {
			return no("what happens in %s alone cannot be told: at %s it is not known to be the doing of the task that runs then", words, s.hook.Places[0])
		}
	}
	b.c = out
	b.lines = append(b.lines, fmt.Sprintf("only in %s: nodes look for it, and include what is started in it later", words))
	if b.ask.inner != "" {
		b.lines = append(b.lines, fmt.Sprintf("only the process that has the id %s in its container, whatever id it has on the node", b.ask.inner))
	}
	return b.whom(words)
}

// narrowing puts a condition on the task before what is its doing.
type narrowing struct {
	b    *builder
	c    *contract.Contract
	here contract.Expr
	// others are outputs of which it is not known at their hook whose doing they are, elsewhere the
	// memories that are filled by what was not narrowed.
	others    []site
	elsewhere map[string]bool
}

// step narrows the cases of a step.
func (n *narrowing) step(h *contract.Hook, s *contract.Step) {
	if slices.ContainsFunc(s.Otherwise, visible) {
		s.Cases = append(s.Cases, &contract.Case{Name: h.UnusedCase("others"), Effects: s.Otherwise})
		s.Otherwise = nil
	}
	all, any := n.b.tells(h), false
	for _, x := range s.Cases {
		if slices.ContainsFunc(x.Effects, visible) {
			its := n.itsOwn(h, x)
			all, any = all && its, any || its
		}
	}
	if all && any {
		s.Cases = append([]*contract.Case{{Name: h.UnusedCase("elsewhere"), When: &contract.Unary{Op: "!", X: n.here}}}, s.Cases...)
		return
	}
	var cases []*contract.Case
	for i, x := range s.Cases {
		switch {
		case !slices.ContainsFunc(x.Effects, visible):
			cases = append(cases, x)
		case !n.itsOwn(h, x):
			for _, e := range x.Effects {
				if isOutput(e) {
					n.others = append(n.others, site{h, s, x, e})
				} else if e.Verb == contract.Remember {
					n.elsewhere[e.To] = true
				}
			}
			cases = append(cases, x)
		default:
			narrow := *x
			narrow.When = both(x.When, n.here)
			cases = append(cases, &narrow)
			rest := slices.DeleteFunc(slices.Clone(x.Effects), visible)
			if len(rest) > 0 || i+1 < len(s.Cases) || len(s.Otherwise) > 0 {
				cases = append(cases, &contract.Case{Name: h.UnusedCase(x.Name + "_elsewhere"), When: x.When, Effects: rest})
			}
		}
	}
	s.Cases = cases
}

// visible tells whether an effect is seen, now or later.
func visible(e *contract.Effect) bool { return isOutput(e) || e.Verb == contract.Remember }

// itsOwn tells whether a case is about the task that runs when its hook fires: it asks something of
// that task, which contracts do only where it has a meaning, or the hook has been named itself.
func (n *narrowing) itsOwn(h *contract.Hook, x *contract.Case) bool {
	if n.b.from.hook && n.b.tells(h) {
		return true
	}
	mentions := map[string]bool{}
	note := func(e contract.Expr) {
		switch e := e.(type) {
		case *contract.Name:
			mentions[e.Name] = true
		case *contract.Call:
			mentions[e.Fun] = true
		}
	}
	contract.Walk(x.When, note)
	for _, e := range x.Effects {
		for _, f := range slices.Concat(e.Key, e.Fields) {
			contract.Walk(f.Is, note)
		}
		contract.Walk(e.Value, note)
	}
	if mentions["current"] || mentions["task_wanted"] {
		return true
	}
	// Where tasks are switched the one that runs is still the one that leaves.
	return len(h.Places) == 1 && h.Places[0].Target == "sched_switch" && mentions["prev"] && !mentions["next"]
}

// remembered tells whether a site shows only what cases that were narrowed have remembered.
func (n *narrowing) remembered(s site) bool {
	return slices.ContainsFunc(conjuncts(s.cas.When), func(e contract.Expr) bool {
		known, ok := e.(*contract.Known)
		if !ok {
			return false
		}
		name, ok := known.Cell.X.(*contract.Name)
		return ok && !n.elsewhere[name.Name]
	})
}

// whom says which of several processes that are shown is in the container, and refuses where
// that is not the one that everybody would mean.
func (b *builder) whom(words string) error {
	for _, s := range sites(b.c) {
		own, other := "", ""
		for _, c := range columns(b.c, s) {
			switch {
			case c.Type.Name != "k_pid":
			case strings.HasPrefix(spelled(c.is), "current."):
				own = c.Name
			default:
				other = c.Name
			}
		}
		switch {
		case own == "" || other == "":
		case own == "pid":
			b.remark(fmt.Sprintf("in %s is the process %s, which does it; %s may be anywhere", words, own, other))
		default:
			return no("of the processes that %s shows only %s is known to be in %s, and not %s, to whom it happens", b.about(), own, words, other)
		}
	}
	return nil
}

// elsewhere puts another place in the stead of the one that a contract is narrowed to.
func (b *builder) elsewhere(where string) error {
	was := contract.Where(b.c)
	next, err := contract.Parse(strings.ReplaceAll(contract.Format(b.c), "inside("+strconv.Quote(was)+")", "inside("+strconv.Quote(where)+")"))
	if err != nil {
		return fmt.Errorf("moving a contract to another container: %w", err)
	}
	b.c = next
	b.lines = append(b.lines, fmt.Sprintf("in %s instead of %s", program.WhereWords(where), program.WhereWords(was)))
	return nil
}

// network tells whether all of a contract's hooks belong to cgroups, and not to tasks.
func (b *builder) network() bool {
	for _, h := range b.c.Hooks {
		for _, p := range h.Places {
			if !strings.HasPrefix(p.Kind, "cgroup") {
				return false
			}
		}
	}
	return true
}

// tells tells whether it can be asked at a hook in which container the task is.
func (b *builder) tells(h *contract.Hook) bool {
	o := strict(site{hook: h})
	return o == own || o == unknown && b.from.hook
}

// conjuncts are the conditions that all have to hold.
func conjuncts(e contract.Expr) []contract.Expr {
	if b, ok := e.(*contract.Binary); ok && b.Op == "&&" {
		return append(conjuncts(b.X), conjuncts(b.Y)...)
	}
	return []contract.Expr{e}
}

// innerPID is the column for the number that a process has in its container, inContainer that for the
// container.
const innerPID, inContainer = "pid_inside", "container"

// beside are columns that are shown beside the process: the number that it has in its container, where
// the container is named, and the container, where there may be several or it is asked for.
func (b *builder) beside() error {
	where := b.ask.where
	var list []column
	var said []string
	if where != "" && b.cgroup == "" && b.ask.inner == "" && !strings.HasPrefix(where, "/") {
		list = append(list, made(innerPID, "k_pid", "u32(pid_inside(current.task))"))
		said = append(said, fmt.Sprintf("pid is the process's id on the node, %s the one that it has in its container", innerPID))
	}
	if b.ask.container || strings.HasPrefix(where, "pod:") || strings.HasPrefix(where, "label:") {
		list = append(list, made(inContainer, "k_cgroup", "current.cgroup"))
		said = append(said, "the container is shown by its name where the node knows one, else by its cgroup")
	}
	shown := len(list) == 0
	for _, e := range b.c.Events {
		next, ok, err := b.widen(e, list)
		if err != nil {
			return err
		}
		if shown = shown || ok; ok {
			b.c = next
		}
	}
	switch {
	case shown:
		b.lines = append(b.lines, said...)
	case b.ask.container:
		return no("%s does not show beside whom a container could be shown: ask for it by container", b.about())
	}
	return nil
}

// widen puts columns behind that of the process in an event, where every line of it is about the process
// that runs then.
func (b *builder) widen(e *contract.Event, list []column) (_ *contract.Contract, ok bool, err error) {
	next, err := clone(b.c)
	if err != nil {
		return nil, false, err
	}
	its := func(s site) bool { return s.effect.Verb == contract.Emit && s.effect.To == e.Name }
	list = slices.DeleteFunc(slices.Clone(list), func(c column) bool {
		return slices.ContainsFunc(e.Members, func(m contract.Member) bool { return m.Name == c.Name })
	})
	for _, s := range sites(next) {
		if !its(s) {
			continue
		}
		at := slices.IndexFunc(s.effect.Fields, func(f contract.Field) bool { return f.Name == "pid" && spelled(f.Is) == "current.tgid" })
		if at < 0 {
			return nil, false, nil
		}
		for i, c := range list {
			s.effect.Fields = slices.Insert(s.effect.Fields, at+1+i, contract.Field{Name: c.Name, Is: c.is})
		}
		ok = true
	}
	for _, x := range next.Events {
		if at := slices.IndexFunc(x.Members, func(m contract.Member) bool { return m.Name == "pid" }); x.Name == e.Name && ok {
			for i, c := range list {
				x.Members = slices.Insert(x.Members, at+1+i, c.Member)
			}
		}
	}
	return next, ok, nil
}

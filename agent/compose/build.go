package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/recipes"
)

// base is what a composition starts from.
type base struct {
	contract *contract.Contract
	options  program.Options
	duration time.Duration // that a recipe's part of the request asks for
	origin   string
	lines    []string           // how the request's own part was understood
	only     []recipes.Narrowed // of what a recipe shows, what the request's own part asks for
	hook     bool               // made here, from a system call, tracepoint or function
}

// builder applies an ask to a base.
type builder struct {
	*Composer
	ask    ask
	from   base
	c      *contract.Contract
	lines  []string
	enough map[string]int64 // constants that the contract has to define
	shown  form             // that was asked for, be it not in so many words
	cgroup string           // what the programs are attached to
	fixed  map[string]bool  // columns that have one value only, by a condition
}

func no(format string, args ...any) error { return &NoError{Why: fmt.Sprintf(format, args...)} }

// build makes a composition of a base and an ask.
func (c *Composer) build(ctx context.Context, a ask, from base) (*Composition, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := a.contradicts(from.options.Constants); err != nil {
		return nil, err
	}
	b := &builder{Composer: c, ask: a, from: from, c: from.contract, enough: map[string]int64{}, fixed: map[string]bool{}}
	b.lines = slices.Clone(from.lines)
	b.tasks()
	if err := b.tables(); err != nil {
		return nil, err
	}
	if err := b.narrowed(); err != nil {
		return nil, err
	}
	if err := b.conditions(); err != nil {
		return nil, err
	}
	if err := b.shape(); err != nil {
		return nil, err
	}
	if err := b.place(); err != nil {
		return nil, err
	}
	if err := b.beside(); err != nil {
		return nil, err
	}
	if len(b.fixed) > 0 { // a column that never changes says nothing
		var err error
		if b.c, err = dropMembers(b.c, b.fixed); err != nil {
			return nil, err
		}
	}
	out, err := prune(b.c)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(b.enough)) {
		out.Defines = append(out.Defines, &contract.Define{Name: name, Body: &contract.Number{Value: uint64(b.enough[name])}, Means: name})
	}
	out.Title = b.title()
	text := contract.Format(out)
	if out, err = contract.Parse(text); err != nil {
		return nil, fmt.Errorf("writing what was composed: %w", err)
	}
	if err := c.check(out); err != nil {
		return nil, b.forbidden(err)
	}
	res := &Composition{Contract: out, Options: from.options, Duration: a.dur, Origin: from.origin, Understood: b.lines}
	if b.cgroup != "" {
		res.Options.Cgroup = b.cgroup
	}
	return res, b.run(res)
}

// tasks turns what is asked of the task into conditions where the contract has no parameters for it.
func (b *builder) tasks() {
	for _, p := range []struct {
		name  string
		value *string
		what  string
	}{{"pid", &b.ask.pid, "pid"}, {"comm", &b.ask.comm, "comm"}, {"uid", &b.ask.uid, "user"}} {
		has := slices.ContainsFunc(b.c.Params, func(q *contract.Param) bool { return q.Name == p.name })
		if *p.value == "" || has || b.from.hook {
			continue
		}
		is := *p.value
		if p.what == "comm" {
			is = strconv.Quote(is)
		}
		b.ask.conds = append(slices.Clip(b.ask.conds), cond{p.what, "==", is, *p.value})
		*p.value = ""
	}
}

// forbidden says why a contract does not hold water on this kernel.
func (b *builder) forbidden(err error) error {
	var list contract.Errors
	if errors.As(err, &list) && len(list) > 0 {
		return no("what it asks for cannot be had there: %s", list[0].Msg)
	}
	return no("what it asks for cannot be had there: %v", err)
}

// run sets what belongs to the run: the parameters' values and the view.
func (b *builder) run(res *Composition) error {
	o := &res.Options
	constants := map[string]string{}
	for k, v := range o.Constants {
		constants[k] = v
	}
	o.Constants = constants
	means := map[string]string{}
	for _, p := range res.Contract.Params {
		means[p.Name] = p.Means
	}
	o.Means = means
	for name := range constants {
		if _, ok := means[name]; !ok {
			return no("its contract has no parameter %s any more", name)
		}
	}
	for _, p := range []struct{ name, value, what string }{{"pid", b.ask.pid, "process id"}, {"comm", b.ask.comm, "process name"}, {"uid", b.ask.uid, "user id"}} {
		if p.value == "" {
			continue
		}
		if !slices.ContainsFunc(res.Contract.Params, func(q *contract.Param) bool { return q.Name == p.name }) {
			return no("%s cannot be narrowed to a %s (%s)", b.about(), p.what, p.value)
		}
		if was := constants[p.name]; was != "" && was != p.value && len(b.from.lines) > 0 && !b.from.hook {
			return conflict("the "+p.what, was, p.value)
		}
		constants[p.name] = p.value
		res.Understood = append(res.Understood, fmt.Sprintf("only the %s %s", p.what, p.value))
	}
	if o.Name == "" {
		o.Name = b.name()
	}
	o.Title = res.Contract.Title
	if b.ask.top > 0 {
		if len(res.Contract.Tables) == 0 {
			return no("it asks for the first %d of a list, which has no order", b.ask.top)
		}
		if len(res.Contract.Tables[0].Key) == 0 {
			return no("it asks for the first %d rows, and there is only one: say what the rows are for", b.ask.top)
		}
		o.View.Top = b.ask.top
		res.Understood = append(res.Understood, fmt.Sprintf("the first %d rows", b.ask.top))
	}
	if b.ask.rate && b.ask.every == 0 {
		b.ask.every = time.Second
	}
	if b.ask.every > 0 {
		if len(res.Contract.Tables) == 0 {
			return no("it lists single occurrences, each as it happens, and has nothing to show every %s: ask for a count", b.ask.every)
		}
		o.View.Interval = b.ask.every
		res.Understood = append(res.Understood, fmt.Sprintf("shown every %s", b.ask.every))
	}
	if b.ask.dur > 0 {
		res.Understood = append(res.Understood, fmt.Sprintf("for %s", b.ask.dur))
	}
	return nil
}

// about names what is watched, for messages.
func (b *builder) about() string {
	if b.ask.subject.kind != "" {
		return b.ask.subject.String()
	}
	return strings.TrimPrefix(b.from.origin, "composed from ")
}

func (b *builder) name() string {
	name := b.ask.subject.name
	name = strings.Map(func(r rune) rune {
		if r == '/' || r == '_' || r == ' ' {
			return '-'
		}
		return r
	}, name)
	return name[:min(len(name), 40)]
}

// tables leaves the one table that is meant where the base has several outputs.
func (b *builder) tables() error {
	shaping := b.ask.form != unsaid || len(b.ask.keys) > 0 || b.ask.of != ""
	if !shaping || len(b.c.Events)+len(b.c.Tables) == 1 {
		return nil
	}
	if len(b.c.Events) > 0 {
		return no("%s shows several things at once; say which is meant", b.about())
	}
	want := contract.Count
	switch b.ask.form {
	case hist:
		want = contract.Log2
	case stats:
		want = contract.Stats
	}
	at := slices.IndexFunc(b.c.Tables, func(t *contract.Table) bool { return len(t.Values) == 1 && t.Values[0].Agg == want })
	if at < 0 {
		at = 0
	}
	var err error
	b.c, err = keepTable(b.c, b.c.Tables[at].Name)
	return err
}

// shape makes the output what is asked for: a list, or a table with its keys.
func (b *builder) shape() error {
	f := b.form()
	b.shown = f
	listed := len(b.c.Events) > 0
	switch {
	case f == unsaid && len(b.ask.keys) == 0:
		return nil
	case f == list && listed:
		if len(b.ask.keys) > 0 {
			return no("a list has no rows for %q: ask for a count, or for how long it takes", b.ask.keys[0].said)
		}
		b.lines = append(b.lines, "shown as a list, one line each")
		return nil
	case f == list:
		return b.enumerate()
	case f == unsaid: // a table with other keys
		return b.rekey()
	}
	return b.tabulate(f)
}

// form is the form that is asked for, be it not in so many words.
func (b *builder) form() form {
	f := b.ask.form
	listed := len(b.c.Events) > 0
	slow := slices.ContainsFunc(b.ask.conds, func(c cond) bool { return c.what == duration })
	switch {
	case f == count && b.ask.of == bytes:
		return sum // "how many bytes"
	case f == sum && b.ask.of == "":
		return count // "total calls"
	case f != unsaid:
		return f
	case b.ask.of == duration && slow && len(b.ask.keys) == 0 && listed:
		return list
	case b.ask.of == bytes && b.ask.subject.kind == "thing":
		return sum
	case b.ask.of != "":
		if !b.from.hook && !listed && b.ask.of == duration {
			return unsaid // the table's own form
		}
		return hist
	case listed && len(b.ask.keys) > 0:
		return count
	case listed && b.ask.every > 0 && b.ask.shape == "":
		return count
	case b.from.hook:
		return list
	}
	return unsaid
}

// enumerate lists what a table adds up.
func (b *builder) enumerate() error {
	if len(b.ask.keys) > 0 {
		return no("a list has no rows for %q", b.ask.keys[0].said)
	}
	next, err := enumerate(b.c, "events", func(s site) ([]column, error) {
		cols := columns(b.c, s)
		if strict(s) == own {
			if _, ok := byName(cols, "pid"); !ok {
				cols = append([]column{made("pid", "k_pid", "current.tgid"), made("comm", "char[16]", "process_comm(current.task)")}, cols...)
			}
		}
		return append([]column{made("time", "k_time", "now")}, cols...), nil
	})
	if err != nil {
		return no("%v", err)
	}
	b.c = next
	b.lines = append(b.lines, "shown as a list, one line each")
	return nil
}

// rekey gives a table other keys.
func (b *builder) rekey() error {
	t := b.c.Tables[0]
	if len(t.Values) != 1 || t.Values[0].Name != "" {
		return b.rekeyWide(t)
	}
	v := t.Values[0]
	next, err := tabulate(b.c, t.Name, v.Agg, v.Type, func(s site) ([]column, contract.Expr, error) {
		keys, err := b.keys(s)
		return keys, s.effect.Value, err
	})
	if err != nil {
		return wrap(err)
	}
	next.Tables[0].Values = t.Values
	b.c = next
	b.saidKeys()
	return nil
}

// rekeyWide gives other keys to a table whose cells have several members.
func (b *builder) rekeyWide(t *contract.Table) error {
	next, err := clone(b.c)
	if err != nil {
		return err
	}
	for i, s := range sites(next) {
		keys, err := b.keys(s)
		if err != nil {
			return err
		}
		var members []contract.Member
		s.effect.Key = nil
		for _, k := range keys {
			members = append(members, k.Member)
			s.effect.Key = append(s.effect.Key, contract.Field{Name: k.Name, Is: k.is})
		}
		if i > 0 && !sameMembers(next.Tables[0].Key, members) {
			return no("its outputs have different columns")
		}
		next.Tables[0].Key = members
	}
	b.c = next
	b.saidKeys()
	return nil
}

func wrap(err error) error {
	var n *NoError
	if errors.As(err, &n) {
		return n
	}
	return no("%v", err)
}

// tabulate makes a table in the form asked for.
func (b *builder) tabulate(f form) error {
	agg := map[form]contract.Agg{count: contract.Count, hist: contract.Log2, stats: contract.Stats, sum: contract.Sum}[f]
	name, of := "calls", contract.TypeName{Name: "k_count"}
	if b.from.hook && b.ask.subject.kind != "call" && b.ask.subject.kind != "function" || !b.from.hook {
		name = "counts"
	}
	var measured column
	next, err := tabulate(b.c, "kgent_table", agg, of, func(s site) ([]column, contract.Expr, error) {
		var keys []column
		var err error
		if len(b.ask.keys) > 0 {
			keys, err = b.keys(s)
		} else if s.effect.Verb == contract.Add {
			keys = slices.DeleteFunc(columns(b.c, s), func(k column) bool { return k.value })
		}
		if err != nil || f == count {
			return keys, nil, err
		}
		col, err := b.measure(s)
		if err != nil {
			return nil, nil, err
		}
		if measured.Name != "" && measured.Type.String() != col.Type.String() {
			return nil, nil, no("what is measured differs between its parts")
		}
		measured = col
		return keys, col.is, nil
	})
	if err != nil {
		return wrap(err)
	}
	if f != count {
		name, of = measured.Name, b.unit(measured)
	}
	if f == hist && name == "duration" {
		name = "latency"
	}
	t := next.Tables[0]
	t.Name, t.Values[0].Type = name, of
	for _, s := range sites(next) {
		s.effect.To = name
		if slices.ContainsFunc(next.Memories, func(m *contract.Memory) bool { return m.Name == name }) {
			return no("the name %s is taken", name)
		}
	}
	b.c = next
	switch f {
	case count:
		b.lines = append(b.lines, "shown as a count")
	default:
		b.lines = append(b.lines, fmt.Sprintf("shown as %s of %s", article(string(f)), b.measureWords(measured)))
	}
	b.saidKeys()
	return nil
}

func article(s string) string {
	if s == "statistics" {
		return "statistics (number, sum, mean, smallest, largest)"
	}
	return "a " + s
}

func (b *builder) measureWords(col column) string {
	if col.Type.Name == "k_ns" {
		return "how long it takes"
	}
	return col.Name
}

func (b *builder) saidKeys() {
	var names, from []string
	for _, m := range b.c.Tables[0].Key {
		names = append(names, m.Name)
	}
	for _, k := range b.ask.keys {
		if q := fmt.Sprintf("%q", k.said); !slices.Contains(from, q) {
			from = append(from, q)
		}
	}
	switch {
	case len(from) > 0:
		b.lines = append(b.lines, fmt.Sprintf("rows: one for each %s, from %s", strings.Join(names, ", "), strings.Join(from, " and ")))
	case len(names) == 0 && b.from.hook:
		b.lines = append(b.lines, "all of them together, in one row")
	}
}

// unit is the type of samples: a number without sign.
func (b *builder) unit(col column) contract.TypeName {
	switch col.Type.Name {
	case "k_ns", "k_us", "k_bytes", "k_pages", "k_count":
		return col.Type
	case "k_ret":
		return contract.TypeName{Name: "k_bytes"}
	}
	return contract.TypeName{Name: "k_count"}
}

// measure finds what is measured at a site.
func (b *builder) measure(s site) (column, error) {
	cols := columns(b.c, s)
	switch b.ask.of {
	case "":
		var found []column
		for _, c := range cols {
			if c.value || c.Type.Name == "k_ns" {
				found = append(found, c)
			}
		}
		if b.from.hook || len(found) != 1 {
			return column{}, no("it does not say what is to be measured: write %q or name a field", "latency")
		}
		return found[0], nil
	case duration:
		return b.theOne(cols, "a duration", func(c column) bool { return c.Type.Name == "k_ns" })
	case bytes:
		if b.from.hook && b.ask.subject.kind == "call" {
			return column{}, no("it does not say which bytes: write \"the count argument\" (what is asked for) or \"the bytes returned\"")
		}
		return b.theOne(cols, "a size", func(c column) bool { return c.Type.Name == "k_bytes" })
	case result:
		col, err := b.theOne(cols, "a result", func(c column) bool { return c.Type.Name == "k_ret" })
		if err == nil {
			col.is = &contract.Call{Fun: "u64", Args: []contract.Expr{col.is}}
			if b.from.hook && transfers[b.ask.subject.name] {
				col.Name = "bytes"
			}
		}
		return col, err
	}
	col, err := b.field(cols, strings.TrimPrefix(b.ask.of, "."))
	if err != nil {
		return column{}, err
	}
	switch {
	case col.Type.Size > 0 || strings.HasPrefix(col.Type.Name, "k_") && !slices.Contains([]string{"k_ns", "k_us", "k_bytes", "k_pages", "k_count", "k_ret"}, col.Type.Name):
		return column{}, no("%s is no amount; ask how often it happens by %s instead", col.Name, col.Name)
	case strings.HasPrefix(col.Type.Name, "s"):
		return column{}, no("%s can be negative, which cannot be added up", col.Name)
	}
	return col, nil
}

func (b *builder) theOne(cols []column, what string, is func(column) bool) (column, error) {
	var found []column
	for _, c := range cols {
		if is(c) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return column{}, no("%s shows nothing that is %s", b.about(), what)
	case 1:
		return found[0], nil
	}
	// The words may name it: "bytes sent".
	var names []string
	for _, c := range found {
		names = append(names, c.Name)
	}
	return column{}, no("%s shows several: %s; say which", b.about(), strings.Join(names, ", "))
}

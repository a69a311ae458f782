package compose

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// form is how the answer is shown.
type form string

const (
	unsaid form = ""
	list   form = "list"
	count  form = "count"
	hist   form = "histogram"
	stats  form = "statistics" // count, sum, mean, smallest, largest
	sum    form = "sum"
)

// What can be measured, beside fields (".len") and arguments.
const (
	duration = "duration"
	result   = "result"
	bytes    = "bytes"
)

// key is what rows are for: a meaning of keyWords, or ".field".
type key struct{ word, said string }

// cond is a condition on what is shown: what, compared with a value.
type cond struct {
	what string // a meaning of keyWords, duration, result, bytes, or ".field"
	op   string // == != < <= > >=, or "starts", "starts not"
	// is is the value as a contract writes it: 50ms, 443, "nginx", -EPERM.
	is   string
	said string
}

// subject is what is watched.
type subject struct {
	kind string // "call", "tracepoint", "group", "function", "thing", "pair" (two tracepoints); "recipe"; "contract"
	name string
}

func (s subject) String() string {
	switch s.kind {
	case "call":
		return "the system call " + s.name
	case "group":
		return "the tracepoints of group " + s.name
	}
	if from, to, ok := strings.Cut(s.name, " "); ok && s.kind == "pair" {
		return "what is between the tracepoints " + from + " and " + to
	}
	if t, ok := things[s.name]; ok && s.kind == "thing" {
		return t.about
	}
	return "the " + s.kind + " " + s.name
}

// ask is what a request asks for, as far as it was read.
type ask struct {
	subject   subject
	form      form
	shape     string // "list" when a verb asked for it, which every other form overrules
	of        string // duration, result, bytes, ".field"; empty: occurrences
	ofSaid    string
	keys      []key
	replaced  bool // keys take the place of those before
	conds     []cond
	pid       string
	comm      string
	uid       string
	where     string // container:web, pod:shop/web-1, label:app=shop, the path of a cgroup
	container bool   // it is to be shown
	whereSaid string
	inner     string // the id that a process has in its container
	top       int
	every     time.Duration
	dur       time.Duration
	rate      bool // a number per second, where no interval is named
	again     bool // nothing has to change
	loose     bool // the form is only what is usual: "how long" may be an average as well
	literal   bool // the system call of that very name is meant
	family    bool // those that programs may call in the place of the one that is named are watched as well
	// noThreads: it says that threads are not meant, which has to be so anyway.
	noThreads bool
}

// conflict is two parts of a request that exclude each other.
func conflict(what, a, b string) error {
	return &NoError{Why: fmt.Sprintf("it says two things about %s, %s and %s; say which", what, a, b)}
}

func (a *ask) setForm(f form) error {
	switch {
	case a.loose && f != count && f != list:
		a.form, a.loose = f, false
	case a.form == unsaid || a.form == f || a.form == count && f != list:
		a.form = f // "count ... as a histogram": the count of a histogram's slots
	case f == count && a.form != list:
	default:
		return conflict("its form", string(a.form), string(f))
	}
	return nil
}

func (a *ask) setOf(of, said string) error {
	if a.of != "" && a.of != of {
		return conflict("what is measured", a.ofSaid, said)
	}
	a.of, a.ofSaid = of, said
	return nil
}

func (a *ask) setSubject(s subject) error {
	if a.subject.kind != "" && a.subject != s {
		return conflict("what to watch", a.subject.String(), s.String())
	}
	a.subject = s
	return nil
}

func (a *ask) setText(field *string, name, v string) error {
	if *field != "" && *field != v {
		return conflict("the "+name, *field, v)
	}
	*field = v
	return nil
}

func (a *ask) addKey(k key) {
	if !slices.ContainsFunc(a.keys, func(o key) bool { return o.word == k.word }) {
		a.keys = append(a.keys, k)
	}
}

func (a *ask) only(what, op, is, said string) {
	c := cond{what, op, is, said}
	if !slices.ContainsFunc(a.conds, func(o cond) bool { return o.what == what && o.op == op && o.is == is }) {
		a.conds = append(a.conds, c)
	}
}

// refine is this ask with what a later one changes.
func (a ask) refine(b ask) ask {
	out := a
	out.keys, out.conds = slices.Clone(a.keys), slices.Clone(a.conds)
	if b.subject.kind != "" {
		out.subject = b.subject
		out.literal, out.family = b.literal, b.family
	}
	if b.form != unsaid {
		out.form = b.form
		if b.form == count && b.of == "" || b.form == list {
			out.of = ""
		}
		if b.form == list { // which has no rows
			out.keys, out.top = nil, 0
		}
	}
	if b.of != "" {
		out.of, out.ofSaid = b.of, b.ofSaid
	}
	if len(b.keys) > 0 {
		out.keys = b.keys
		if out.form == list || out.form == unsaid && out.shape == "list" && out.of == "" {
			out.form = count
		}
	}
	for _, c := range b.conds {
		if c.op != "!=" && c.op != "starts not" { // later values take the place of earlier ones; what is left out adds up
			out.conds = slices.DeleteFunc(out.conds, func(o cond) bool { return o.what == c.what && o.op == c.op })
		}
		switch { // how it ends is one thing
		case c.what == result:
			out.conds = slices.DeleteFunc(out.conds, func(o cond) bool { return o.what == result || c.op == ">=" && o.what == "error" })
		case c.what == "error" && c.op == "==":
			out.conds = slices.DeleteFunc(out.conds, func(o cond) bool { return o.what == result && o.op == ">=" })
		}
		out.conds = append(out.conds, c)
	}
	for _, f := range []struct {
		to   *string
		from string
	}{{&out.pid, b.pid}, {&out.comm, b.comm}, {&out.uid, b.uid}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	out.container = out.container || b.container
	if b.where != "" {
		out.where, out.whereSaid = b.where, b.whereSaid
		out.inner = b.inner
	}
	if b.top > 0 {
		out.top = b.top
	}
	if b.every > 0 {
		out.every = b.every
	}
	out.rate = out.rate || b.rate
	if b.dur > 0 {
		out.dur = b.dur
	}
	return out
}

// empty tells whether nothing was read.
func (a ask) empty() bool {
	return a.subject.kind == "" && a.form == unsaid && a.of == "" && len(a.keys) == 0 && len(a.conds) == 0 && a.pid+a.comm+a.uid+a.where+a.inner == "" && !a.container && a.top == 0 && a.every == 0 && a.dur == 0 && !a.again
}

// boundTo are the parameters of recipes that hold what a condition is on.
var boundTo = map[string][]string{
	"error": {"errno"}, "signal": {"sig"}, "port": {"port", "dport"}, "dport": {"dport"}, "lport": {"port"},
	"address": {"address", "daddr"}, "path": {"path"}, "comm": {"comm"}, "user": {"uid"}, "pid": {"pid"},
}

// contradicts says why not all of what is asked for can be so, with the values that a recipe has
// taken for its parameters: nothing would be shown, or not what was meant ("only SIGTERM and SIGKILL").
func (a ask) contradicts(values map[string]string) error {
	both := func(x, y string) error {
		return no("it is not clear how %q and %q go together: nothing can be both; ask for one after the other", x, y)
	}
	for i, x := range a.conds {
		for _, y := range a.conds[i+1:] {
			if x.what == y.what && x.opposes(y) || x.what == result && y.what == "error" && x.op == ">=" && y.op == "==" || y.what == result && x.what == "error" && y.op == ">=" && x.op == "==" {
				return both(x.said, y.said)
			}
		}
		for _, name := range boundTo[x.what] {
			v := values[name]
			want := strings.Trim(x.is, `"`)
			if v == "" || x.op == "==" && v == want {
				continue
			}
			if x.what == "path" && (x.op == "starts" && strings.TrimSuffix(v, "/") == strings.TrimSuffix(want, "/") || x.op == "starts not" && len(want) > len(v) && strings.HasPrefix(want, v)) {
				continue // "under /var, but not under /var/log"
			}
			return both(x.said, v)
		}
	}
	for _, one := range []struct{ what, is string }{{"comm", a.comm}, {"user", a.uid}, {"pid", a.pid}} {
		for _, x := range a.conds {
			if one.is != "" && x.what == one.what {
				return both(one.is, x.said)
			}
		}
	}
	return nil
}

// opposes tells whether two conditions on the same thing leave nothing, or one says what the
// other says already.
func (c cond) opposes(o cond) bool {
	switch {
	case c.op == "==" && o.op == "==", c.op == "==" && o.op == "!=", c.op == "!=" && o.op == "==":
		return c.is != o.is || c.op != o.op
	case c.what == result:
		return c.op != o.op
	case c.what == duration && c.op != o.op:
		at, err := time.ParseDuration(c.is)
		end, endErr := time.ParseDuration(o.is)
		if c.op == "<" {
			at, end = end, at
		}
		return err == nil && endErr == nil && end <= at
	}
	return false
}

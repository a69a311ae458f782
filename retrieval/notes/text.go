package notes

import (
	"fmt"
	"slices"
	"strings"
)

var rates = map[Rate]string{Rare: "less than one a second", Low: "up to hundreds a second", Medium: "up to tens of thousands a second",
	High: "up to hundreds of thousands a second: filter and add up in the kernel", Fierce: "a million a second and more: costs show whatever is done there"}

var taskWords = map[Task]string{Own: "is the one that does it", MostlyOwn: "is mostly the one that does it", SeldomOwn: "may be anybody",
	Interrupted: "is whoever was interrupted and means nothing", Another: "is another one than the hook is about", Causer: "is the one that causes it"}

// Text is all of the note in lines, but for its sources: for a person.
func (n *Note) Text() string { return n.For("") }

// For is the note in few lines for who writes a program of one of the kinds ("tp_btf",
// "kretprobe") for a kernel ("6.18.44"): without what only others see, and without
// what goes without saying. No kind, and a release that is empty, leave nothing out.
func (n *Note) For(release string, kinds ...string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "- "+format+"\n", args...) }
	fmt.Fprintf(&b, "%s: %s\n", n.Name, n.Fires)
	if n.Task != Own || n.Whose != "" || len(kinds) == 0 {
		line("the current task %s", colon(taskWords[n.Task], n.Whose))
	}
	if n.OwnWhen.Argument != "" {
		line("but when %s, it is the one that does it", n.OwnWhen)
	}
	arguments, record, result := n.handed(kinds)
	for _, a := range arguments {
		if a.says() != "" && holds(a.Since, a.Until, release) {
			line("%s", a)
		}
	}
	for _, a := range record {
		if a.says() != "" && holds(a.Since, a.Until, release) {
			line("record's %s", a)
		}
	}
	if result != nil && result.says() != "" {
		line("returns %s", result.says())
	}
	for _, l := range n.Lapses {
		if l.Holds(release) && n.shows(l, kinds) {
			line("%s", l)
		}
	}
	for _, v := range n.Versions {
		if holds(v.Since, v.Until, release) {
			line("%s", colon(span(v.Since, v.Until), v.Says))
		}
	}
	if s := span(n.Since, n.Until); s != "" && (release == "" || !n.Exists(release)) {
		if n.Gone != "" {
			s += "; on others " + n.Gone
		}
		line("exists only %s", s)
	}
	if n.Needs != "" {
		line("needs %s", n.Needs)
	}
	for _, m := range n.Mistakes {
		line("%s", m)
	}
	if len(n.See) > 0 {
		line("see %s", strings.Join(n.See, "; "))
	}
	if n.Rate >= High || len(kinds) == 0 {
		line("fires %s", rates[n.Rate])
	}
	return b.String()
}

// handed is what programs of the kinds are handed over: all without a kind.
func (n *Note) handed(kinds []string) (arguments, record []Argument, result *Argument) {
	if len(kinds) == 0 {
		return n.Arguments, n.Record, n.Result
	}
	for _, kind := range kinds {
		switch {
		case kind == "tracepoint" && n.Kind == Tracepoint:
			record = n.Record
			continue
		case kind != "kretprobe" && kind != "uretprobe":
			arguments = n.Arguments
		}
		if kind != "kprobe" && kind != "fentry" && kind != "uprobe" {
			result = n.Result
		}
	}
	return arguments, record, result
}

// shows tells whether a lapse is one of what programs of the kinds see.
func (n *Note) shows(l Lapse, kinds []string) bool {
	name, _, deep := strings.Cut(l.Member, ".")
	isRecord := n.Kind == Tracepoint && !deep && !slices.ContainsFunc(n.Arguments, func(a Argument) bool { return a.Name == name })
	return len(kinds) == 0 || slices.ContainsFunc(kinds, func(kind string) bool {
		switch phase := PhaseOf(kind, ""); {
		case n.Kind == Tracepoint:
			return isRecord == (kind == "tracepoint")
		case phase == Entry:
			return l.At == Entry || l.At == Whenever
		case phase == Return:
			return l.At != Entry
		}
		return true
	})
}

func colon(a, b string) string {
	if b == "" {
		return a
	}
	return a + ": " + b
}

// String says when: "newstate is TCP_SYN_SENT or TCP_LISTEN".
func (v Values) String() string {
	if v.Argument == "" {
		return ""
	}
	return v.Argument + " is " + strings.Join(v.Names(), " or ")
}

// String says what an argument holds: "sport: in host byte order: do not swap".
func (a Argument) String() string { return a.Name + ": " + a.says() }

// says is all but the name.
func (a Argument) says() string {
	var parts []string
	if a.Means != "" {
		parts = append(parts, a.Means)
	}
	if a.Unit != "" {
		parts = append(parts, "in "+a.Unit)
	}
	switch a.Order {
	case Host:
		parts = append(parts, "in host byte order: do not swap")
	case Network:
		parts = append(parts, "in network byte order")
	}
	if a.User {
		parts = append(parts, "in the process's memory")
	}
	if s := signs[a.Sign]; s != "" {
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

var signs = map[Sign]string{NegErrno: "below 0 it is -errno", PosErrno: "an errno without sign, 0 for none",
	LibcErrno: "-1 on failure, the reason is in errno, not in the result", MaybeErrPtr: "on failure it is -errno as a pointer (above -4096)"}

// String says what a member holds at a moment, and what to read instead.
func (l Lapse) String() string {
	at := map[Phase]string{Entry: " at the entry", Return: " at the return", Failure: " after a failure"}[l.At]
	if l.When.Argument != "" {
		at += " when " + l.When.String()
	}
	s := l.Member + at + ": " + l.Why
	if l.Use != "" {
		s += "; " + l.Use
	}
	return s
}

func span(since, until string) string {
	switch {
	case since != "" && until != "":
		return "from " + since + " until before " + until
	case since != "":
		return "from " + since
	case until != "":
		return "before " + until
	}
	return ""
}

package notes

import (
	"cmp"
	"fmt"
	"strings"
)

var rates = map[Rate]string{Rare: "less than one a second", Low: "up to hundreds a second", Medium: "up to tens of thousands a second",
	High: "up to hundreds of thousands a second: filter and add up in the kernel", Fierce: "a million a second and more: costs show whatever is done there"}

var taskWords = map[Task]string{Own: "is the one that does it", MostlyOwn: "is mostly the one that does it", SeldomOwn: "may be anybody",
	Interrupted: "is whoever was interrupted and means nothing", Another: "is another one than the hook is about", Causer: "is the one that causes it"}

// Text is the note in few lines, for a prompt: without sources, and without what only holds for other kernels
// than the release ("6.18.44"); all of it if release is empty.
func (n *Note) Text(release string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s: %s", n.Name, n.Fires)
	whose := ""
	if n.Whose != "" {
		whose = ": " + n.Whose
	}
	line("- the current task %s%s", taskWords[n.Task], whose)
	if n.OwnWhen.Argument != "" {
		line("- it is the one that does it when %s", n.OwnWhen)
	}
	for _, a := range n.Arguments {
		if a.says() != "" && holds(a.Since, a.Until, release) {
			line("- %s", a)
		}
	}
	for _, a := range n.Record {
		if a.says() != "" && holds(a.Since, a.Until, release) {
			line("- record's %s", a)
		}
	}
	if n.Result != nil {
		line("- returns %s", n.Result.says())
	}
	for _, l := range n.Lapses {
		if l.Holds(release) {
			line("- %s", l)
		}
	}
	for _, v := range n.Versions {
		if holds(v.Since, v.Until, release) {
			line("- %s%s", span(v.Since, v.Until), v.Says)
		}
	}
	if s := span(n.Since, n.Until); s != "" {
		elsewhere := ""
		if n.Gone != "" {
			elsewhere = "; on others " + n.Gone
		}
		line("- exists only %s%s", strings.TrimSuffix(s, ": "), elsewhere)
	}
	if n.Needs != "" {
		line("- needs %s", n.Needs)
	}
	for _, m := range n.Mistakes {
		line("- %s", m)
	}
	if len(n.See) > 0 {
		line("- see %s", strings.Join(n.See, "; "))
	}
	line("- fires %s", rates[n.Rate])
	return b.String()
}

// String says when: "newstate is TCP_SYN_SENT or TCP_LISTEN".
func (v Values) String() string {
	if v.Argument == "" {
		return ""
	}
	return v.Argument + " is " + strings.Join(v.Names(), " or ")
}

// String says what an argument holds: "sport: in host byte order; never swap it".
func (a Argument) String() string { return cmp.Or(a.Name, "a value") + ": " + a.says() }

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
		return "from " + since + " until before " + until + ": "
	case since != "":
		return "from " + since + ": "
	case until != "":
		return "before " + until + ": "
	}
	return ""
}

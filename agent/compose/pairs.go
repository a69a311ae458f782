package compose

import (
	"fmt"
	"slices"
	"strings"

	"kgent/agent/contract"
)

// partners are how the names of two tracepoints differ of which one begins what the other ends.
var partners = [][2]string{{"_entry", "_exit"}, {"_enter", "_exit"}, {"_begin", "_end"}, {"_start", "_end"}, {"_start", "_done"}, {"_start", "_stop"}, {"_start", "_finish"}}

// ends is the tracepoint that ends what one begins, by its name; "" if there is none.
func (c *Composer) ends(target string) string {
	for _, p := range partners {
		if stem, ok := strings.CutSuffix(target, p[0]); ok && slices.Contains(c.tracepoints, strings.Replace(stem+p[1], "/", ":", 1)) {
			return stem + p[1]
		}
	}
	return ""
}

// perCPU are groups of tracepoints of what begins and ends on one processor before it begins there
// again.
var perCPU = set("irq irq_vectors")

// pairBase is a contract that lists what is between two tracepoints. What belongs together is known
// where both are the doing of the current thread, or where a processor does nothing else meanwhile.
func (c *Composer) pairBase(from, to string) (*contract.Contract, error) {
	group, name, _ := strings.Cut(to, "/")
	args, err := recordFields(c.facts, group, name)
	if err != nil {
		return nil, err
	}
	fromGroup, _, _ := strings.Cut(from, "/")
	key, typ, is := "thread", "k_tid", "current.tid"
	params, when, assume := filterParams, "task_wanted(pid, comm, uid)", "\nassume returns\n"
	members, values := taskMembers(true)
	switch {
	case perCPU[group] && perCPU[fromGroup]:
		key, typ, is = "cpu", "u32", "cpu"
		params, when, assume = "", "always", ""
		members, values = taskMembers(false)
		members, values = append(members, "cpu: u32"), append(values, "cpu: cpu")
	case whose("tracepoint", from) != own || whose("tracepoint", to) != own:
		return nil, no("it is not known which event of %s belongs to which of %s", strings.Replace(to, "/", ":", 1), strings.Replace(from, "/", ":", 1))
	}
	values[0] = "time: begun[" + is + "].at"
	var names []string
	for _, a := range args {
		if a.open {
			continue
		}
		names = append(names, a.name+" as "+a.local)
		members = append(members, a.member+": "+a.typ)
		values = append(values, a.member+": "+fmt.Sprintf(a.is, a.local))
	}
	// What only the one that begins shows, such as the name of an interrupt's handler, is remembered.
	earlier, err := recordFields(c.facts, fromGroup, strings.TrimPrefix(from, fromGroup+"/"))
	if err != nil {
		return nil, err
	}
	var first []string
	fields, keep := []string{"at: k_time"}, []string{"at: now"}
	for _, a := range earlier {
		if a.open || slices.ContainsFunc(args, func(b argument) bool { return b.name == a.name }) {
			continue
		}
		first = append(first, a.name+" as "+a.local)
		fields, keep = append(fields, a.member+": "+a.typ), append(keep, a.member+": "+fmt.Sprintf(a.is, a.local))
		members, values = append(members, a.member+": "+a.typ), append(values, a.member+": begun["+is+"]."+a.member)
	}
	members, values = append(members, "duration: k_ns"), append(values, "duration: now - begun["+is+"].at")
	return contract.Parse(fmt.Sprintf(`contract %q

%sevent spans { %s }

memory begun { %s: %s } : { %s }

hook tracepoint/%s(%s)
  case begins: %s
    remember begun[%s] { %s }
  otherwise nothing

hook tracepoint/%s(%s)
  case ends: known begun[%s]
    emit spans { %s }
    forget begun[%s]
  otherwise nothing
%s`, "From "+strings.Replace(from, "/", ":", 1)+" to "+strings.Replace(to, "/", ":", 1), params, strings.Join(members, ", "), key, typ, strings.Join(fields, ", "), from, strings.Join(first, ", "), when, is, strings.Join(keep, ", "), to, strings.Join(names, ", "), is, strings.Join(values, ", "), is, assume))
}

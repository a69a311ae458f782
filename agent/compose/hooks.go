package compose

import (
	"fmt"
	"slices"
	"strings"

	"kgent/agent/contract"
	"kgent/retrieval/kernel"
	"kgent/retrieval/notes"
)

// ownership says whether the current task is the one that a hook is about.
type ownership int

const (
	somebody ownership = iota // whoever was interrupted, or it differs
	unknown                   // nothing is known about the hook
	own
)

// interrupted are groups of tracepoints that fire in interrupts or softirqs, or on behalf
// of others, so that whose task runs means nothing unless a note says otherwise.
var interrupted = set("irq irq_vectors irq_matrix timer timer_migration alarmtimer hrtimer napi net tcp udp sock skb fib fib6 neigh qdisc xdp mptcp bridge netlink icmp block nmi ipi msr rcu watchdog mce thermal power tlb rpm clk dma dma_fence iommu wbt iocost kyber page_pool vsock workqueue_done")

// whose tells whether the current task means something at a place.
func whose(kind, target string) ownership {
	if strings.HasPrefix(target, "syscalls/sys_") || strings.HasPrefix(kind, "u") {
		return own
	}
	switch kind {
	case "xdp", "tcx/ingress", "tcx/egress", "cgroup_skb/ingress", "cgroup_skb/egress":
		return somebody
	}
	if n := notes.Of(kind, target); n != nil {
		if n.Task.Means() {
			return own
		}
		return somebody
	}
	group, _, ok := strings.Cut(target, "/")
	if kind == "tracepoint" && ok && interrupted[group] {
		return somebody
	}
	return unknown
}

// argument is one argument of a system call or field of a record, as it is shown.
type argument struct {
	name   string // the kernel's
	local  string // in the contract
	member string // in the output
	typ    string // of the member
	is     string // its expression, with %s for the value
	// open: a text that no NUL need end, of which there is no code that takes all of it.
	// It is shown only where it is asked for.
	open bool
}

// taken are members that every list has.
var taken = set("time pid tid uid comm result duration cpu")

func newArgument(name string) argument {
	a := argument{name: name, local: "arg_" + name, member: name}
	if taken[name] || strings.HasPrefix(name, "_pad") {
		a.member = "arg_" + name
	}
	return a
}

// number gives the type of a number of the kernel's C type, and what to write for it.
func numberOf(name, ctype string) (typ, is string) {
	ctype = strings.TrimPrefix(ctype, "const ")
	switch {
	case strings.Contains(name, "flags"), name == "cmd" && ctype == "unsigned int":
		return "k_hex", "%s & 0xffffffff"
	case name == "arg" || name == "start" || strings.HasSuffix(name, "addr"):
		return "k_hex", "%s"
	case ctype == "size_t", ctype == "unsigned long" && (name == "len" || name == "length" || name == "size"):
		return "k_bytes", "%s"
	case ctype == "umode_t":
		return "k_mode", "u16(%s)"
	}
	switch ctype {
	case "int", "pid_t", "s32", "clockid_t", "key_serial_t", "timer_t", "mqd_t", "__s32", "key_t", "rwf_t":
		return "s32", "s32(%s)"
	case "unsigned int", "unsigned", "u32", "uid_t", "gid_t", "__u32", "qid_t", "uint32_t":
		return "u32", "u32(%s)"
	case "long", "loff_t", "off_t", "s64", "__s64", "ssize_t", "time_t":
		return "s64", "s64(%s)"
	}
	return "u64", "%s"
}

// callArguments are the arguments of a system call in order; those that are not shown have no type.
func callArguments(facts *kernel.Facts, call string) ([]argument, error) {
	tp, err := facts.Tracepoint("syscalls", "sys_enter_"+call)
	if err != nil {
		return nil, err
	}
	var out []argument
	for _, f := range tp.Fields {
		if f.Common() || f.Name == "__syscall_nr" {
			continue
		}
		a := newArgument(f.Name)
		switch {
		case strings.Contains(f.Type, "char") && (strings.Contains(f.Name, "name") || strings.Contains(f.Name, "path")):
			a.typ, a.is = "char[256]", "user_text(%s, 256)"
		case !strings.Contains(f.Type, "*"):
			a.typ, a.is = numberOf(f.Name, f.Type)
		}
		out = append(out, a)
	}
	return out, nil
}

// recordFields are the fields of a tracepoint's record that can be shown.
func recordFields(facts *kernel.Facts, group, name string) ([]argument, error) {
	tp, err := facts.Tracepoint(group, name)
	if err != nil {
		return nil, err
	}
	var out []argument
	for _, f := range tp.Fields {
		if f.Common() {
			continue
		}
		a := newArgument(f.Name)
		ctype := strings.TrimPrefix(f.Type, "const ")
		switch {
		case f.RelLoc, f.Array && !strings.HasPrefix(ctype, "char"), strings.HasPrefix(ctype, "__be"):
			continue
		case f.DataLoc && strings.HasPrefix(ctype, "char"):
			a.typ, a.is = "char[64]", "%s"
		case f.DataLoc:
			continue
		case f.Array && f.Size <= 256:
			a.typ, a.is, a.open = fmt.Sprintf("char[%d]", f.Size), "%s", true
		case f.Array:
			continue
		case strings.Contains(ctype, "*"):
			a.typ, a.is = "k_addr", "u64(%s)"
		case ctype == "bool":
			a.typ, a.is = "k_bool", "%s"
		case ctype == "dev_t" && f.Size == 4:
			a.typ, a.is = "k_dev", "%s"
		case f.Size == 1 || f.Size == 2 || f.Size == 4 || f.Size == 8:
			sign := "u"
			if f.Signed {
				sign = "s"
			}
			a.typ, a.is = fmt.Sprintf("%s%d", sign, 8*f.Size), "%s"
			if strings.HasPrefix(f.Name, "bytes") && !f.Signed {
				a.typ = "k_bytes"
			}
			if ctype == "unsigned long" && strings.Contains(f.Name, "flags") || f.Name == "ip" || strings.HasSuffix(f.Name, "addr") && f.Size == 8 {
				a.typ = "k_hex"
			}
		default:
			continue
		}
		out = append(out, a)
	}
	return out, nil
}

// functionArguments are the numbers among a kernel function's arguments.
func functionArguments(facts *kernel.Facts, name string) ([]argument, error) {
	fn, err := facts.Function(name)
	if err != nil {
		return nil, err
	}
	var out []argument
	for _, p := range fn.Params() {
		a := newArgument(p.Name)
		ctype := strings.TrimPrefix(p.CType(), "const ")
		if p.Name == "" || strings.ContainsAny(ctype, "*[(") || strings.HasPrefix(ctype, "struct") || strings.HasPrefix(ctype, "union") || strings.HasPrefix(ctype, "__be") {
			continue
		}
		a.typ, a.is = numberOf(p.Name, ctype)
		if ctype == "bool" || ctype == "_Bool" {
			a.typ, a.is = "k_bool", "%s"
		}
		out = append(out, a)
	}
	return out, nil
}

const filterParams = `param pid: k_pid means "only this process, by its id; 0 is any"
param comm: char[16] means "only threads or processes of this name, at most 15 bytes; empty is any"
param uid: k_uid = -1 means "only this user, by id; -1 is any"

`

// needs is what an ask needs to know about each occurrence.
type needs struct {
	duration, result, args, task bool
	fields                       map[string]bool // that are named
}

// neverBack are system calls that do not return to who made them, or to somebody else.
var neverBack = set("exit exit_group rt_sigreturn reboot")

// list of what is shown of the task, and how.
func taskMembers(task bool) (members, values []string) {
	members, values = []string{"time: k_time"}, []string{"time: now"}
	if task {
		members = append(members, "pid: k_pid", "tid: k_tid", "uid: k_uid", "comm: char[16]")
		values = append(values, "pid: current.tgid", "tid: current.tid", "uid: current.uid", "comm: current.comm")
	}
	return members, values
}

// callBase is a contract that lists every call of a system call, or of several that do the same: of
// these, the arguments that all have.
func (c *Composer) callBase(calls []string, n needs) (*contract.Contract, error) {
	args, err := callArguments(c.facts, calls[0])
	if err != nil {
		return nil, err
	}
	names := make([][]string, len(calls)) // what each call's place binds
	for i, call := range calls {
		theirs, err := callArguments(c.facts, call)
		if err != nil {
			return nil, err
		}
		args = slices.DeleteFunc(args, func(a argument) bool { return len(calls) > 1 && (a.typ == "" || !slices.Contains(theirs, a)) })
		for _, a := range theirs {
			names[i] = append(names[i], a.name+" as "+a.local)
		}
	}
	var fields, keep []string
	members, values := taskMembers(true)
	timed := n.duration || n.result && n.args
	if len(calls) > 1 {
		members = append(members, "call: k_syscall")
		if timed {
			fields, keep = append(fields, "call: k_syscall"), append(keep, "call: which")
			values = append(values, "call: calls_begun[current.tid].call")
		} else {
			values = append(values, "call: which")
		}
	}
	places := func(at string, bind func(i int) []string) string {
		var out []string
		for i, call := range calls {
			place := fmt.Sprintf("tracepoint/syscalls/sys_%s_%s(%s)", at, call, strings.Join(bind(i), ", "))
			if len(calls) > 1 && !(timed && at == "exit") {
				place += " with which = SYS_" + abiName(call)
			}
			if i > 0 {
				place += " if present" // on other kernels of the nodes
			}
			out = append(out, place)
		}
		return strings.Join(out, "\n and ")
	}
	begins := places("enter", func(i int) []string { return names[i] })
	ends := places("exit", func(int) []string { return []string{"ret"} })
	title := "Calls of " + strings.Join(calls, ", ")
	if timed || !n.result {
		for _, a := range args {
			if a.typ == "" {
				continue
			}
			members = append(members, a.member+": "+a.typ)
			if !timed {
				values = append(values, a.member+": "+fmt.Sprintf(a.is, a.local))
				continue
			}
			kept := "u64"
			if a.typ == "char[256]" {
				kept = "user_pointer"
			}
			fields = append(fields, a.member+": "+kept)
			keep = append(keep, a.member+": "+a.local)
			values = append(values, a.member+": "+fmt.Sprintf(a.is, "calls_begun[current.tid]."+a.member))
		}
	}
	if !timed {
		place := begins
		if n.result {
			place = ends
			members, values = append(members, "result: k_ret"), append(values, "result: ret")
		}
		return parseSimple(title, "calls", place, true, members, values)
	}
	members = append(members, "result: k_ret", "duration: k_ns")
	values = append(values, "result: ret", "duration: now - calls_begun[current.tid].begun_at")
	values[0] = "time: calls_begun[current.tid].begun_at"
	return contract.Parse(fmt.Sprintf(`contract %q

%sevent calls { %s }

memory calls_begun { thread: k_tid } : { %s }

hook %s
  case begins: task_wanted(pid, comm, uid)
    remember calls_begun[current.tid] { %s }
  otherwise nothing

hook %s
  case ends: known calls_begun[current.tid]
    emit calls { %s }
    forget calls_begun[current.tid]
  otherwise nothing

assume returns
`, title, filterParams, strings.Join(members, ", "), strings.Join(append([]string{"begun_at: k_time"}, fields...), ", "), begins,
		strings.Join(append([]string{"begun_at: now"}, keep...), ", "), ends, strings.Join(values, ", ")))
}

// abiName is what the ABI calls a system call for which tracefs has the kernel's own name.
func abiName(call string) string {
	switch call {
	case "newstat", "newlstat", "newfstat", "newuname":
		return strings.TrimPrefix(call, "new")
	case "sendfile64":
		return "sendfile"
	}
	return call
}

// parseSimple is a contract that lists every occurrence at one place.
func parseSimple(title, event, place string, task bool, members, values []string) (*contract.Contract, error) {
	params, when := "", "always"
	if task {
		params, when = filterParams, "task_wanted(pid, comm, uid)"
	}

	return contract.Parse(fmt.Sprintf("contract %q\n\n%sevent %s { %s }\n\nhook %s\n  case occurs: %s\n    emit %s { %s }\n  otherwise nothing\n",
		title, params, event, strings.Join(members, ", "), place, when, event, strings.Join(values, ", ")))
}

// tracepointBase is a contract that lists every occurrence of a tracepoint.
func (c *Composer) tracepointBase(target string, n needs) (*contract.Contract, error) {
	group, name, _ := strings.Cut(target, "/")
	args, err := recordFields(c.facts, group, name)
	if err != nil {
		return nil, err
	}
	members, values := taskMembers(n.task)
	members, values = append(members, "cpu: u32"), append(values, "cpu: cpu")
	var names []string
	for _, a := range args {
		if a.open && !n.fields[a.name] {
			continue
		}
		names = append(names, a.name+" as "+a.local)
		members = append(members, a.member+": "+a.typ)
		values = append(values, a.member+": "+fmt.Sprintf(a.is, a.local))
	}
	return parseSimple("Events of "+group+":"+name, "events", fmt.Sprintf("tracepoint/%s(%s)", target, strings.Join(names, ", ")), n.task, members, values)
}

// functionKinds are the kinds of hook at a function's entry and return; empty when programs
// can be attached to neither.
func (c *Composer) functionKinds(name string) (entry, exit string) {
	for _, k := range [][2]string{{"fentry", "fexit"}, {"kprobe", "kretprobe"}} {
		if c.facts.CheckHook(k[0], name) == nil && c.facts.CheckHook(k[1], name) == nil {
			return k[0], k[1]
		}
	}
	return "", ""
}

// functionBase is a contract that lists every call of a kernel function.
func (c *Composer) functionBase(name string, n needs) (*contract.Contract, error) {
	args, err := functionArguments(c.facts, name)
	if err != nil {
		return nil, err
	}
	entry, exit := c.functionKinds(name)
	members, values := taskMembers(n.task)
	var names []string
	for _, a := range args {
		names = append(names, a.name+" as "+a.local)
		members = append(members, a.member+": "+a.typ)
		values = append(values, a.member+": "+fmt.Sprintf(a.is, a.local))
	}
	if !n.duration {
		return parseSimple("Calls of the kernel function "+name, "calls", fmt.Sprintf("%s/%s(%s)", entry, name, strings.Join(names, ", ")), n.task, members, values)
	}
	members, values = taskMembers(true)
	members, values = append(members, "duration: k_ns"), append(values, "duration: now - calls_begun[current.tid].begun_at")
	values[0] = "time: calls_begun[current.tid].begun_at"
	return contract.Parse(fmt.Sprintf(`contract %q

%sevent calls { %s }

memory calls_begun { thread: k_tid } : { begun_at: k_time }

hook %s/%s()
  case begins: task_wanted(pid, comm, uid)
    remember calls_begun[current.tid] { begun_at: now }
  otherwise nothing

hook %s/%s()
  case ends: known calls_begun[current.tid]
    emit calls { %s }
    forget calls_begun[current.tid]
  otherwise nothing

assume returns
`, "Calls of the kernel function "+name, filterParams, strings.Join(members, ", "), entry, name, exit, name, strings.Join(values, ", ")))
}

// maxGroup is how many tracepoints of a group are watched at once: each is a program.
const maxGroup = 40

// groupBase is a contract that lists the events of a group of tracepoints by name.
func (c *Composer) groupBase(group string) (*contract.Contract, error) {
	var names []string
	for _, tp := range c.tracepoints {
		if name, ok := strings.CutPrefix(tp, group+":"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > maxGroup {
		return nil, &NoError{Why: fmt.Sprintf("the group %s has %d tracepoints, and at most %d are watched at once: name one of them, such as %s:%s", group, len(names), maxGroup, group, names[0])}
	}
	var values, places []string
	for i, n := range names {
		values = append(values, fmt.Sprintf("%s = %d", n, i+1))
		places = append(places, fmt.Sprintf("tracepoint/%s/%s() with what = %s", group, n, n))
	}
	return contract.Parse(fmt.Sprintf("contract %q\n\nenum tracepoint_name { %s }\n\nevent events { time: k_time, cpu: u32, event: tracepoint_name }\n\nhook %s\n  case occurs: always\n    emit events { time: now, cpu: cpu, event: what }\n  otherwise nothing\n",
		"Events of the group "+group, strings.Join(values, ", "), strings.Join(places, "\n and ")))
}

package compose

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/recipes"
	"kgent/retrieval/kernel/abi"
	"kgent/retrieval/notes"
)

// made is a column with an expression that is known to be one.
func made(name, typ, is string) column {
	e, err := expression(is)
	if err != nil {
		panic(err) // the text is this package's own
	}
	t := contract.TypeName{Name: typ}
	if n, ok := strings.CutPrefix(typ, "char["); ok {
		size, err := strconv.ParseUint(strings.TrimSuffix(n, "]"), 10, 32)
		if err != nil {
			panic(err)
		}
		t = contract.TypeName{Name: "char", Size: uint32(size)}
	}
	return column{Member: contract.Member{Name: name, Type: t}, is: e}
}

func byName(cols []column, name string) (column, bool) {
	i := slices.IndexFunc(cols, func(c column) bool { return c.Name == name })
	if i < 0 {
		return column{}, false
	}
	return cols[i], true
}

func typed(cols []column, typ string) (out []column) {
	for _, c := range cols {
		if c.Type.Name == typ && !c.value {
			out = append(out, c)
		}
	}
	return out
}

// strict tells whether the current task is known to be the one that a site is about, at
// all its places.
func strict(s site) ownership {
	least := own
	for _, p := range s.hook.Places {
		least = min(least, whose(p.Kind, p.Target))
	}
	return least
}

// task is the column of something about the current task, where that means something.
func (b *builder) task(s site, name, typ, is string) (column, error) {
	switch o := strict(s); {
	case !b.from.hook && !b.mine(s):
		return column{}, no("%s is not about the task that runs then, so that it does not show what is asked for", b.about())
	case o == own:
		b.doubt(s)
		return made(name, typ, is), nil
	case o == unknown && b.from.hook:
		b.remark(fmt.Sprintf("the process is the one that is running when %s fires; whether that is the one it is about is not known of this hook", s.hook.Places[0]))
		return made(name, typ, is), nil
	}
	return column{}, no("at %s it is not known whose task runs, so nothing there is of one process or user", s.hook.Places[0])
}

// doubt says of hooks whose task is not always the one that they are about whose it is.
func (b *builder) doubt(s site) {
	for _, p := range s.hook.Places {
		if n := notes.Of(p.Kind, p.Target); n != nil && n.Task != notes.Own && n.Whose != "" && !strings.HasPrefix(p.Target, "syscalls/") {
			b.remark(fmt.Sprintf("whose process that is at %s: %s", p, n.Whose))
		}
	}
}

// mine tells whether what a contract from elsewhere shows at a site is about the current
// task: its columns say so, or, where none is of a task, its conditions.
func (b *builder) mine(s site) bool {
	of := false
	for _, c := range columns(b.c, s) {
		if c.value || !slices.Contains([]string{"k_pid", "k_tid", "k_uid"}, c.Type.Name) && c.Name != "comm" {
			continue
		}
		if strings.HasPrefix(spelled(c.is), "current.") || spelled(c.is) == "process_comm(current.task)" {
			return true
		}
		of = true
	}
	if of {
		return false
	}
	when := ""
	if s.cas != nil {
		when = spelled(s.cas.When)
	}
	return strings.Contains(when, "task_wanted(") || strings.Contains(when, "[current.tid]") || strings.Contains(when, "current.tgid")
}

func (b *builder) remark(line string) {
	if !slices.Contains(b.lines, line) {
		b.lines = append(b.lines, line)
	}
}

// keys finds what the rows are for at a site.
func (b *builder) keys(s site) ([]column, error) {
	cols := slices.DeleteFunc(columns(b.c, s), func(c column) bool { return c.value })
	var out []column
	for _, k := range b.ask.keys {
		list, err := b.key(s, cols, k)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			if c.is == nil {
				return nil, no("%q cannot be a column here", k.said)
			}
			if c.Type.Size > longestKey {
				c.Type.Size = longestKey
				b.remark(fmt.Sprintf("rows by %s: cut to %d bytes", c.Name, longestKey-1))
			}
			if _, ok := byName(out, c.Name); !ok {
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// longestKey is the longest text that rows are for, with its NUL: a program has 512 bytes of
// stack for everything.
const longestKey = 128

func (b *builder) key(s site, cols []column, k key) ([]column, error) {
	one := func(c column, err error) ([]column, error) {
		if err != nil {
			return nil, err
		}
		return []column{c}, nil
	}
	if words := strings.Fields(k.said); b.from.hook && len(words) > 0 && !taskWords[k.word] {
		if c, ok := byName(cols, strings.ToLower(words[len(words)-1])); ok {
			return []column{c}, nil
		}
		if strings.HasPrefix(k.word, ".") && len(words) > 2 && strings.HasPrefix(strings.ToLower(words[len(words)-1]), "name") {
			return nil, no("%s has nothing that %q could be; it has %s", b.about(), k.said, columnNames(cols))
		}
	}
	if b.ask.subject == (subject{"thing", "packets"}) && sideWords[k.word] != "" {
		return b.side(cols, k)
	}
	if done := b.ask.transferred(); done != "" && sideWords[k.word] != "" {
		return b.end(cols, k, done)
	}
	switch k.word {
	case "process", "comm":
		return b.process(s, cols, k.word)
	case "which":
		if b.from.hook {
			return nil, no("it does not say which of what (%q): name it, as in \"by path\"", k.said)
		}
		return b.oneOf(k, typed(cols, "k_syscall"), "syscall", "call")
	case "way":
		return b.named(k, cols, "way", "direction", "origin")
	case "user":
		if found := typed(cols, "k_uid"); len(found) == 1 {
			return found, nil
		}
		if c, ok := byName(cols, "uid"); ok {
			return []column{c}, nil
		}
		return one(b.task(s, "uid", "k_uid", "current.uid"))
	case "thread":
		if found := typed(cols, "k_tid"); len(found) == 1 {
			return found, nil
		}
		c, err := b.task(s, "tid", "k_tid", "current.tid")
		if err != nil {
			return nil, err
		}
		name, err := b.task(s, "comm", "char[16]", "current.comm")
		return []column{c, name}, err
	case "cgroup":
		if found := typed(cols, "k_cgroup"); len(found) == 1 {
			return found, nil
		}
		return one(b.task(s, "cgroup", "k_cgroup", "current.cgroup"))
	case "cpu":
		return []column{made("cpu", "u32", "cpu")}, nil
	case "port":
		return b.oneOf(k, typed(cols, "k_port"), "dport")
	case "dport":
		return b.oneOf(k, typed(cols, "k_port"), "dport", "rport")
	case "lport":
		return b.oneOf(k, typed(cols, "k_port"), "lport", "sport")
	case "address":
		return b.oneOf(k, typed(cols, "k_ip"), "daddr", "raddr")
	case "laddr":
		return b.oneOf(k, typed(cols, "k_ip"), "laddr", "saddr")
	case "error":
		return b.oneOf(k, append(typed(cols, "k_errno"), typed(cols, "k_ret")...), "error", "result")
	case "signal":
		return b.oneOf(k, typed(cols, "k_signal"), "sig")
	case "call":
		return b.oneOf(k, typed(cols, "k_syscall"), "syscall", "call")
	case "state":
		return b.oneOf(k, typed(cols, "k_tcpstate"), "state")
	case "device":
		return b.oneOf(k, typed(cols, "k_dev"), "device", "dev")
	case "path":
		return b.named(k, cols, "path", "filename", "file", "pathname", "name")
	case "event":
		return b.named(k, cols, "event")
	case "parent":
		return b.named(k, cols, "parent")
	case "op":
		return b.named(k, cols, "op", "call", "what")
	case "host":
		return b.named(k, cols, "host")
	case "request":
		return b.named(k, cols, "cmd", "request")
	case "sender":
		return b.process(s, cols, "process")
	case "target":
		if c, ok := byName(cols, "target_pid"); ok {
			name, ok := byName(cols, "target_comm")
			if ok {
				return []column{c, name}, nil
			}
			return []column{c}, nil
		}
		return nil, no("%s shows no receiving process (%q)", b.about(), k.said)
	}
	name := strings.TrimPrefix(k.word, ".")
	if _, ok := byName(cols, name); !ok && (name == "name" || name == "names") {
		return b.process(s, cols, "comm")
	}
	return one(b.field(cols, name))
}

// sideWords are keys that a packet has on both sides, and what the column is.
var sideWords = map[string]string{"port": "port", "dport": "port", "lport": "port", "address": "addr", "laddr": "addr"}

// side is a packet's end that a key names: packets go both ways, so that no side is this host's.
func (b *builder) side(cols []column, k key) ([]column, error) {
	said := strings.ToLower(k.said)
	switch {
	case destination.MatchString(said):
		return b.named(k, cols, "d"+sideWords[k.word])
	case source.MatchString(said):
		return b.named(k, cols, "s"+sideWords[k.word])
	}
	return nil, no("%q can be the source or the destination; say which", k.said)
}

// end is a socket's end that a key names. Of what is sent the other end is the destination, of what is
// received it is the source.
func (b *builder) end(cols []column, k key, done string) ([]column, error) {
	said, name := strings.ToLower(k.said), "l"
	switch {
	case destination.MatchString(said) && done == "sent", source.MatchString(said) && done == "received":
		name = "r"
	case destination.MatchString(said), source.MatchString(said):
	case k.word == "port":
		return nil, no("%q can be of this host's end or of the other; say which", k.said)
	case k.word == "dport", k.word == "address":
		name = "r"
	}
	if c, ok := byName(cols, name+sideWords[k.word]); ok {
		return []column{c}, nil
	}
	return nil, b.noOtherEnd(k.said)
}

func (b *builder) noOtherEnd(said string) error {
	return no("%s does not show the other end (%q): a UDP socket need not have one", b.about(), said)
}

var (
	destination = regexp.MustCompile(`\b(destination|dest|dst|dport|target)s?\b`)
	source      = regexp.MustCompile(`\b(source|src|sport)s?\b`)
)

// taskWords are keys that are about a task, whatever fields a record has.
var taskWords = set("process comm user thread cgroup cpu")

// oneOf is the only column of a kind, or the first of those names.
func (b *builder) oneOf(k key, cols []column, names ...string) ([]column, error) {
	for _, n := range names {
		if c, ok := byName(cols, n); ok {
			return []column{c}, nil
		}
	}
	switch {
	case len(cols) == 1:
		return cols, nil
	case len(cols) == 0:
		return nil, no("%s shows nothing that %q could be", b.about(), k.said)
	}
	var list []string
	for _, c := range cols {
		list = append(list, c.Name)
	}
	return nil, no("%q can be several: %s; say which", k.said, strings.Join(list, ", "))
}

func (b *builder) named(k key, cols []column, names ...string) ([]column, error) {
	for _, n := range names {
		if c, ok := byName(cols, n); ok {
			return []column{c}, nil
		}
	}
	return nil, no("%s shows nothing that %q could be; it has %s", b.about(), k.said, columnNames(cols))
}

func columnNames(cols []column) string {
	var names []string
	for _, c := range cols {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

// process finds the process at a site: what the output says of it, or the current task.
func (b *builder) process(s site, cols []column, word string) ([]column, error) {
	pid, hasPid := byName(cols, "pid")
	comm, hasComm := byName(cols, "comm")
	hasPid = hasPid && pid.Type.Name == "k_pid"
	hasComm = hasComm && comm.Type.Size == 16
	if !hasPid && !hasComm {
		if pids := typed(cols, "k_pid"); len(pids) > 0 {
			return nil, no("it shows several processes, and not whose doing it is; name one of its columns: %s", columnNames(cols))
		}
		var err error
		if pid, err = b.task(s, "pid", "k_pid", "current.tgid"); err != nil {
			return nil, err
		}
		hasPid = true
	}
	if hasPid && spelled(pid.is) == "current.tgid" || !hasComm && strict(s) == own {
		comm, hasComm = made("comm", "char[16]", "process_comm(current.task)"), true
	}
	switch {
	case word == "comm" && hasComm:
		return []column{comm}, nil
	case word == "comm":
		return nil, no("%s shows no process name", b.about())
	case hasPid && hasComm:
		return []column{pid, comm}, nil
	case hasPid:
		return []column{pid}, nil
	}
	return []column{comm}, nil
}

// sizes are what people call the one size among the arguments.
var sizes = set("size len length count bytes nbytes nr_bytes buflen")

// calledSo are the kernel's names for what people call otherwise.
var calledSo = map[string]string{"signal": "sig", "signo": "sig", "advice": "behavior", "descriptor": "fd", "request": "cmd", "protection": "prot"}

// field finds a column by the name that the kernel has for it.
func (b *builder) field(cols []column, name string) (column, error) {
	for _, n := range []string{"arg_" + name, name, calledSo[name]} {
		if c, ok := byName(cols, n); ok {
			return c, nil
		}
	}
	if sizes[name] {
		var found []column
		for _, c := range cols {
			if c.Type.Name == "k_bytes" {
				found = append(found, c)
			}
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	return column{}, no("%s has nothing called %q; it has %s", b.about(), name, columnNames(cols))
}

// conditions narrows what is shown.
func (b *builder) conditions() error {
	conds := slices.Clone(b.ask.conds)
	if b.ask.of == result && !slices.ContainsFunc(conds, func(c cond) bool { return c.what == result }) {
		conds = append(conds, cond{result, ">=", "0", "what succeeds: failed calls return no amount"})
	}
	for _, c := range conds {
		next, err := filter(b.c, func(s site) (contract.Expr, error) { return b.condition(s, c) })
		if err != nil {
			return wrap(err)
		}
		b.c = next
		if c.what == duration { // "short lived processes (less than 100 ms)"
			b.lines = slices.DeleteFunc(b.lines, func(line string) bool { return strings.Contains(line, recipes.NoFilter) })
		}
		verb := "only"
		if c.op == "!=" || c.op == "starts not" {
			verb = "left out"
		}
		b.lines = append(b.lines, fmt.Sprintf("%s: %s", verb, b.condWords(c)))
	}
	return nil
}

// narrowed narrows a recipe to what its words ask for without a parameter.
func (b *builder) narrowed() error {
	for _, n := range b.from.only {
		next, err := filter(b.c, func(s site) (contract.Expr, error) { return b.when(s, n.When) })
		if err != nil {
			return wrap(err)
		}
		b.c = next
		if m := oneValue.FindStringSubmatch(n.When); m != nil && m[1] == n.Of {
			b.fixed[n.Of] = true
		}
		b.lines = append(b.lines, fmt.Sprintf("%s, from %q", n.Means, n.Said))
	}
	return nil
}

// oneValue matches conditions that leave a column one value.
var oneValue = regexp.MustCompile(`^!?\(?([a-z_]+)\)?(?: == [A-Za-z0-9_]+)?$`)

var nameInText = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_.]*`)

// when is a condition on columns at a site.
func (b *builder) when(s site, text string) (contract.Expr, error) {
	cols := columns(b.c, s)
	e, err := expression(nameInText.ReplaceAllStringFunc(text, func(name string) string {
		if c, ok := byName(cols, name); ok {
			return "(" + spelled(c.is) + ")"
		}
		return name
	}))
	if err != nil {
		return nil, err
	}
	if same, known := b.settled(e); known {
		return expression(strconv.FormatBool(same))
	}
	return e, nil
}

// distinct matches constants of which each has a number of its own.
var distinct = regexp.MustCompile(`^(TCP_|ETH_P_|IPPROTO_(NONE|TCP|UDP|ICMP|ICMPV6)$)`)

// settled tells the value of a comparison of an enum's names, errors or states, where it is known.
func (b *builder) settled(e contract.Expr) (is, known bool) {
	value := func(e contract.Expr) (string, bool) {
		if n, ok := e.(*contract.Number); ok {
			return strconv.FormatUint(n.Value, 10), true
		}
		n, ok := e.(*contract.Name)
		if !ok {
			return "", false
		}
		if nr, isErrno := abi.Errno(n.Name); isErrno && strings.HasPrefix(n.Name, "E") {
			return strconv.Itoa(int(nr)), true
		}
		return n.Name, distinct.MatchString(n.Name) || slices.ContainsFunc(b.c.Enums, func(e *contract.Enum) bool {
			return slices.ContainsFunc(e.Values, func(v contract.EnumValue) bool { return v.Name == n.Name })
		})
	}
	switch e := e.(type) {
	case *contract.Binary:
		if e.Op == "||" || e.Op == "&&" {
			x, xok := b.settled(e.X)
			y, yok := b.settled(e.Y)
			or := e.Op == "||"
			return or == (xok && x == or || yok && y == or), xok && x == or || yok && y == or || xok && yok
		}
		x, xok := value(e.X)
		y, yok := value(e.Y)
		if xok && yok && (e.Op == "==" || e.Op == "!=") {
			return (x == y) == (e.Op == "=="), true
		}
	case *contract.In:
		x, xok := value(e.X)
		for _, v := range e.Set {
			y, yok := value(v)
			if !xok || !yok {
				return false, false
			}
			is = is || x == y
		}
		return is, true
	}
	return false, false
}

func (b *builder) condWords(c cond) string {
	what := strings.TrimPrefix(c.what, ".")
	switch {
	case c.what == "comm" && c.op == "!=":
		return fmt.Sprintf("processes and threads called %s, from %q", c.is, c.said)
	case c.what == result && c.op == "<":
		return fmt.Sprintf("what fails, from %q", c.said)
	case c.what == result && c.op == ">=":
		return "what succeeds"
	case c.op == "starts" || c.op == "starts not":
		return fmt.Sprintf("the path %s and what is below it, from %q", strings.ReplaceAll(c.is, ",", " or "), c.said)
	case c.what == "constant" || upper.MatchString(c.is):
		return fmt.Sprintf("%s, from %q", strings.ReplaceAll(c.is, ",", " or "), c.said)
	case c.op == "!=":
		return fmt.Sprintf("%s %s, from %q", what, strings.ReplaceAll(c.is, ",", " or "), c.said)
	}
	return fmt.Sprintf("%s %s %s, from %q", what, c.op, strings.ReplaceAll(c.is, ",", " or "), c.said)
}

// condition is a condition at a site.
func (b *builder) condition(s site, c cond) (contract.Expr, error) {
	cols := columns(b.c, s)
	is := c.is
	all := func(list []column, op string, join string) (contract.Expr, error) {
		var parts []string
		for _, col := range list {
			if col.is == nil {
				return nil, no("%s shows nothing that this could be said of (%q)", b.about(), c.said)
			}
			parts = append(parts, anyOf(spelled(col.is), op, is))
		}
		return expression(strings.Join(parts, join))
	}
	onePlace := func(list []column, err error) (contract.Expr, error) {
		if err != nil {
			return nil, err
		}
		return all(list, c.op, " && ")
	}
	switch c.what {
	case duration:
		col, err := b.theOne(cols, "a duration", func(c column) bool { return c.Type.Name == "k_ns" })
		if err == nil && c.op == "<" && strings.HasSuffix(spelled(col.is), ": 0") { // what began before the trace: how long it took is not known
			b.remark("left out is also what began before the trace, of which it is not known how long it lasts")
			is := spelled(col.is)
			return expression(fmt.Sprintf("(%s) != 0 && (%s) < %s", is, is, c.is))
		}
		return onePlace([]column{col}, err)
	case bytes:
		if b.ask.subject.kind == "thing" && b.form() == sum {
			return nil, no("it is not clear whether single ones or their sum is to be %s %s (%q)", c.op, c.is, c.said)
		}
		if rets := typed(cols, "k_ret"); b.from.hook && transfers[b.ask.subject.name] && len(rets) == 1 {
			b.remark("bytes are those that the call returns")
			if c.op == "<" { // an error is no small amount
				return expression(fmt.Sprintf("(%[1]s) >= 0 && (%[1]s) < s64(%[2]s)", spelled(rets[0].is), is))
			}
			return expression(fmt.Sprintf("(%[1]s) >= 0 && u64(%[1]s) %[2]s %[3]s", spelled(rets[0].is), c.op, is))
		}
		col, err := b.theOne(cols, "a size", func(c column) bool { return c.Type.Name == "k_bytes" })
		return onePlace([]column{col}, err)
	case result:
		if rets := typed(cols, "k_ret"); len(rets) == 1 {
			return all(rets, c.op, "")
		}
		errs := typed(cols, "k_errno")
		if len(errs) != 1 {
			return nil, no("%s does not show how it ends (%q)", b.about(), c.said)
		}
		if errnoOf(errs[0].is) != "" { // it always fails here
			return expression(strconv.FormatBool(c.op == "<"))
		}
		if c.op == "<" { // an error, whatever its sign
			return expression(fmt.Sprintf("(%s) != 0", spelled(errs[0].is)))
		}
		return expression(fmt.Sprintf("(%s) == 0", spelled(errs[0].is)))
	case "error":
		names := strings.Split(is, ",")
		if rets := typed(cols, "k_ret"); len(rets) == 1 {
			if c.op == "==" && len(names) == 1 {
				b.fixed[rets[0].Name] = true
			}
			if len(names) == 1 {
				is = "-" + is
				return all(rets, c.op, "")
			}
			text := fmt.Sprintf("(%s) in {-%s}", spelled(rets[0].is), strings.Join(names, ", -"))
			if c.op == "!=" {
				text = "!(" + text + ")"
			}
			return expression(text)
		}
		errs := typed(cols, "k_errno")
		if len(errs) != 1 {
			return nil, no("%s does not show an error (%q)", b.about(), c.said)
		}
		if name := errnoOf(errs[0].is); name != "" { // it is always that one
			if name == "EINPROGRESS" && slices.Contains(names, "ETIMEDOUT") {
				b.remark("ETIMEDOUT: also those that nobody has answered so far, as EINPROGRESS")
				names = append(slices.Clip(names), name)
			}
			return expression(strconv.FormatBool(slices.Contains(names, name) == (c.op == "==")))
		}
		text := fmt.Sprintf("s64(%s) in {%s, -%s}", spelled(errs[0].is), strings.Join(names, ", "), strings.Join(names, ", -"))
		if c.op == "!=" {
			text = "!(" + text + ")"
		}
		return expression(text)
	case "comm":
		return b.called(s, cols, c)
	case "exitcode":
		list := typed(cols, "k_exitcode")
		if len(list) != 1 {
			return nil, no("%s shows no exit code (%q)", b.about(), c.said)
		}
		if c.op == "==" {
			b.fixed[list[0].Name] = true
		}
		return expression(fmt.Sprintf("(%s) %s (%s << 8)", spelled(list[0].is), c.op, c.is))
	case "pid", "user":
		name, typ, now := "pid", "k_pid", "current.tgid"
		if c.what == "user" {
			name, typ, now = "uid", "k_uid", "current.uid"
		}
		col, ok := byName(cols, name)
		if !ok || col.Type.Name != typ {
			var err error
			if col, err = b.task(s, name, typ, now); err != nil {
				return nil, err
			}
		}
		if c.op == "==" && !c.several() {
			b.fixed[name] = true
		}
		return all([]column{col}, c.op, "")
	case "port", "address":
		return b.ends(cols, c)
	case "path":
		var paths []column
		for _, col := range cols {
			if col.Type.Size > 0 && (strings.Contains(col.Name, "path") || strings.Contains(col.Name, "file")) {
				paths = append(paths, col)
			}
		}
		if len(paths) == 0 {
			return nil, no("%s shows no path (%q)", b.about(), c.said)
		}
		var parts []string
		for _, p := range paths {
			for v := range strings.SplitSeq(is, ",") {
				parts = append(parts, under(spelled(p.is), v))
			}
		}
		text := strings.Join(parts, " || ")
		if c.op == "starts not" {
			text = "!(" + text + ")"
		}
		return expression(text)
	case "host":
		col, ok := byName(cols, "host")
		if !ok {
			return nil, no("%s shows no host name (%q)", b.about(), c.said)
		}
		return all([]column{col}, c.op, "")
	case "signal":
		list, err := b.oneOf(key{"signal", c.said}, typed(cols, "k_signal"), "sig")
		return onePlace(list, err)
	case "constant":
		return b.constant(cols, c)
	}
	col, err := b.field(cols, strings.TrimPrefix(c.what, "."))
	if err != nil {
		return nil, err
	}
	switch {
	case upper.MatchString(is):
		text, err := b.holds(col, is, c.op)
		if err != nil {
			return nil, err
		}
		return expression(text)
	case col.Type.Name == "k_exitcode":
		return nil, no("it is not clear which end of a process %q means: write \"with exit code 1\", or a signal", c.said)
	case col.Type.Name == "k_mode" && !strings.Contains(c.said, " 0"):
		return nil, no("it is not clear whether %s is meant in octal (%q): write 0644, as in chmod", is, c.said)
	}
	if c.op == "==" && !c.several() {
		b.fixed[col.Name] = true
	}
	e, err := all([]column{col}, c.op, "")
	if err != nil {
		return nil, err
	}
	if same, known := b.settled(e); known { // it always has one value here
		return expression(strconv.FormatBool(same))
	}
	return e, nil
}

// anyOf compares with one value, or with each of several: == holds for any of them, != for none.
func anyOf(is, op, values string) string {
	join := " || "
	if op == "!=" {
		join = " && "
	}
	var parts []string
	for v := range strings.SplitSeq(values, ",") {
		parts = append(parts, fmt.Sprintf("(%s) %s %s", is, op, v))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, join) + ")"
}

// several tells whether a condition names more than one value.
func (c cond) several() bool { return strings.Contains(c.is, ",") }

// errnoOf is the name of an error that an expression always is, of either sign; or "".
func errnoOf(e contract.Expr) string {
	if u, ok := e.(*contract.Unary); ok && u.Op == "-" {
		e = u.X
	}
	if n, ok := e.(*contract.Name); ok {
		if _, known := abi.Errno(n.Name); known && strings.HasPrefix(n.Name, "E") {
			return n.Name
		}
	}
	return ""
}

// severalFlags are names of arguments that hold several flags at once.
var severalFlags = set("flags clone_flags prot mask events mode")

// under is a condition for a path that is quoted or lies below it.
func under(is, quoted string) string {
	if strings.HasSuffix(quoted, `/"`) {
		return fmt.Sprintf("starts(%s, %s)", is, quoted)
	}
	return fmt.Sprintf(`(%s) == %s || starts(%s, %s/")`, is, quoted, is, strings.TrimSuffix(quoted, `"`))
}

// called leaves out a process by its name, and threads of that name, or leaves only these.
func (b *builder) called(s site, cols []column, c cond) (contract.Expr, error) {
	col, ok := byName(cols, "comm")
	pid, hasPid := byName(cols, "pid")
	current := ok && strings.Contains(spelled(col.is), "current") || hasPid && spelled(pid.is) == "current.tgid"
	if ok && col.Type.Size == 16 && !current {
		if !strings.Contains(spelled(col.is), "process_comm(") {
			b.remark(fmt.Sprintf("the name %s is compared with what is shown as comm, the name of the thread", plainList(c.is)))
		}
		return expression(anyOf(spelled(col.is), c.op, c.is))
	}
	if !ok && hasPid && !current {
		return nil, no("%s shows no process name (%q)", b.about(), c.said)
	}
	if other := slices.IndexFunc(cols, func(x column) bool { return x.Type.Name == "char" && x.Type.Size == 16 }); !b.from.hook && !ok && other >= 0 {
		return nil, no("%s shows a process as %s, and it is not clear whether that or the one that runs then is to be left out (%q)", b.about(), cols[other].Name, c.said)
	}
	if !current {
		if _, err := b.task(s, "comm", "char[16]", "current.comm"); err != nil {
			return nil, err
		}
	}
	join := "&&" // neither of both names
	if c.op == "==" {
		join = "||"
	}
	var parts []string
	for name := range strings.SplitSeq(c.is, ",") {
		parts = append(parts, fmt.Sprintf("current.comm %s %s %s process_comm(current.task) %s %s", c.op, name, join, c.op, name))
	}
	return expression(strings.Join(parts, " "+join+" "))
}

// ends is a condition on a port or an address: the one that is connected to where the output
// says which that is, else of either end.
func (b *builder) ends(cols []column, c cond) (contract.Expr, error) {
	typ, names := "k_port", []string{"dport"}
	if c.what == "address" {
		typ, names = "k_ip", []string{"daddr"}
	}
	list := typed(cols, typ)
	words := strings.Fields(strings.ToLower(c.said))
	switch {
	case slices.Contains(words, "from") && !slices.Contains(words, "to"):
		if col, ok := byName(list, strings.Replace(names[0], "d", "s", 1)); ok {
			names = []string{col.Name}
		}
	case b.ask.subject == (subject{"thing", "packets"}) && !slices.Contains(words, "to"):
		names = nil // at either end
	case strings.HasSuffix(b.from.origin, " tcp-retransmits") && slices.Contains(words, "to"):
		names = append(names, strings.Replace(names[0], "d", "r", 1))
	}
	if done := b.ask.transferred(); done != "" {
		remote := map[string]string{"sent": "to", "received": "from"}[done]
		switch far := slices.Contains(words, remote); {
		case far && len(list) == 2:
			names = []string{strings.Replace(names[0], "d", "r", 1)}
		case slices.Contains(words, "to") || slices.Contains(words, "from"):
			names = []string{strings.Replace(names[0], "d", "l", 1)}
			if far {
				return nil, b.noOtherEnd(c.said)
			}
		default:
			return nil, no("it is not clear which end is meant by %q; write \"to\" or \"from\"", c.said)
		}
	}
	for _, n := range names {
		if col, ok := byName(list, n); ok {
			list = []column{col}
		}
	}
	if b.ask.subject.kind == "thing" {
		b.remark(fmt.Sprintf("%q is said of %s", c.said, strings.ReplaceAll(columnNames(list), ", ", " or ")))
	}
	if len(list) == 0 {
		return nil, no("%s shows no %s (%q)", b.about(), c.what, c.said)
	}
	var parts []string
	for _, col := range list {
		for v := range strings.SplitSeq(c.is, ",") {
			switch {
			case strings.Contains(v, "/") && len(list) > 1 && b.ask.subject != (subject{"thing", "packets"}):
				return nil, no("%s shows two addresses, and it is not clear which of them is to be in %s (%q)", b.about(), plainList(v), c.said)
			case v == strconv.Quote(localhost):
				parts = append(append(parts, equals(col, `"127.0.0.0/8"`)...), equals(col, `"::1"`)...)
				b.remark("localhost is 127.0.0.0/8 and ::1; other addresses of this host are none")
			default:
				parts = append(parts, equals(col, v)...)
			}
		}
	}
	if len(parts) == 0 {
		return expression(strconv.FormatBool(c.op == "!="))
	}
	text := strings.Join(parts, " || ")
	if c.op == "!=" {
		text = "!(" + text + ")"
	}
	return expression(text)
}

// equals is the condition that a column is a value, or an address of a network. What a packet of one
// version of IP has is no address of the other: there is none.
func equals(col column, value string) []string {
	is := spelled(col.is)
	text := strings.Trim(value, `"`)
	addr, err := netip.ParseAddr(text)
	if net, isNet := netip.ParsePrefix(text); isNet == nil {
		addr, err = net.Addr(), nil
	}
	if other := map[bool]string{true: "packet.ip6(", false: "ip4("}[addr.Is4()]; err == nil && strings.HasPrefix(is, other) {
		return nil
	}
	return []string{fmt.Sprintf("(%s) == %s", is, value)}
}

// title says in one line what the output shows.
func (b *builder) title() string {
	var t strings.Builder
	title := b.from.contract.Title
	if stacked(b.from.contract) && !stacked(b.c) {
		title, _, _ = strings.Cut(title, ":") // "Where CPU time goes: sampled stacks"
	}
	if len(b.ask.keys) > 0 { // "Page faults by process", whose rows are for users now
		title = byWords.ReplaceAllString(title, "")
	}
	t.WriteString(title)
	switch {
	case len(b.c.Tables) > 0 && len(b.c.Tables[0].Values) == 1 && (b.shown != unsaid || len(b.ask.keys) > 0):
		v := b.c.Tables[0]
		switch v.Values[0].Agg {
		case contract.Count:
			t.WriteString(": how many")
		case contract.Log2:
			fmt.Fprintf(&t, ": histogram of the %s", v.Name)
		case contract.Stats:
			fmt.Fprintf(&t, ": statistics of the %s", v.Name)
		case contract.Sum:
			fmt.Fprintf(&t, ": sum of the %s", v.Name)
		}
		var names []string
		for _, m := range v.Key {
			names = append(names, m.Name)
		}
		if len(names) > 0 {
			t.WriteString(" by " + strings.Join(names, ", "))
		}
	case len(b.c.Tables) > 0 && len(b.ask.keys) > 0:
		var names []string
		for _, m := range b.c.Tables[0].Key {
			names = append(names, m.Name)
		}
		t.WriteString(" by " + strings.Join(names, ", "))
	case len(b.c.Events) > 0 && len(b.from.contract.Tables) > 0:
		t.WriteString(": one line each")
	}
	var conds []string
	for _, c := range b.ask.conds {
		conds = append(conds, b.short(c))
	}
	for _, n := range b.from.only {
		conds = append(conds, n.Means)
	}
	if b.ask.where != "" {
		in := "in " + program.WhereWords(b.ask.where)
		if b.ask.inner != "" {
			in = "process " + b.ask.inner + " " + in
		}
		conds = append(conds, in)
	}
	sort.Strings(conds)
	if len(conds) > 0 {
		t.WriteString(" (" + strings.Join(conds, ", ") + ")")
	}
	s := strings.NewReplacer("\n", " ", `"`, "").Replace(t.String())
	if len(s) > 160 {
		s = s[:157] + "..."
	}
	return s
}

func (b *builder) short(c cond) string {
	what := strings.TrimPrefix(c.what, ".")
	switch {
	case c.what == result && c.op == "<":
		return "failed"
	case c.what == result:
		return "successful"
	case c.what == "comm" && c.op == "==":
		return "only " + plainList(c.is)
	case c.what == "comm":
		return "not " + strings.Trim(c.is, `"`)
	case c.what == "constant" && c.op == "==" || upper.MatchString(c.is) && c.op == "==":
		return strings.ReplaceAll(c.is, ",", " or ")
	case c.what == "constant" || upper.MatchString(c.is):
		return "not " + strings.ReplaceAll(c.is, ",", " or ")
	case c.op == "starts":
		return "under " + plainList(c.is)
	case c.op == "starts not":
		return "not under " + plainList(c.is)
	}
	return what + " " + c.op + " " + plainList(c.is)
}

// byWords matches what a title says of a recipe's rows.
var byWords = regexp.MustCompile(`,? by (process|cgroup|protocol)[^:]*$`)

// plainList is values without their quotes.
func plainList(is string) string {
	return strings.ReplaceAll(strings.ReplaceAll(is, `"`, ""), ",", " or ")
}

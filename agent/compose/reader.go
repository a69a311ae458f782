package compose

import (
	"regexp"
	"slices"
	"strings"

	"kgent/agent/recipes"
	"kgent/retrieval/kernel/abi"
)

// reader reads one request.
type reader struct {
	*Composer
	toks  []token
	rules []compiled
	more  map[string]bool // further fillers
}

// part is something that was read: a rule with the words it was read from.
type part struct {
	rule        *rule
	first, last int
	values      map[string]value
}

// reading is a request, read: its parts in their order, and the words that are left over.
type reading struct {
	source string
	toks   []token
	parts  []part
	left   []int
}

// maxWords is how long a request may be: what is longer tells more than it asks.
const maxWords = 60

// read finds the parts of a request. refining says that it changes a request before it.
func (c *Composer) read(text string, refining bool) reading {
	r := &reader{Composer: c, toks: tokens(text), rules: rules}
	if len(r.toks) > maxWords {
		r.rules = nil // a story: nothing of it is read
	}
	if refining && r.rules != nil {
		r.rules, r.more = append(slices.Clip(refinements), rules...), refiningWords
	}
	out := reading{source: text, toks: r.toks}
	var filler []bool
	for i := 0; i < len(r.toks); {
		if p, ok := r.part(i); ok {
			out.parts = append(out.parts, p)
			for range p.last - p.first {
				filler = append(filler, false)
			}
			i = p.last
			continue
		}
		filler = append(filler, r.filler(i))
		if !filler[i] {
			out.left = append(out.left, i)
		}
		i++
	}
	// Words that link are accounted for only by what they link.
	out.left = slices.DeleteFunc(out.left, func(i int) bool {
		if !links[r.toks[i].low] || r.toks[i].quoted {
			return false
		}
		for k := i + 1; k < len(r.toks); k++ {
			if slices.ContainsFunc(out.parts, func(p part) bool { return p.first == k }) {
				return true
			}
			if !filler[k] && !links[r.toks[k].low] {
				return false
			}
		}
		return false
	})
	return out
}

var refiningWords = refining

func (r *reader) filler(i int) bool {
	t := r.toks[i]
	return !t.quoted && (fillers[t.low] || r.more[t.low])
}

// part finds the longest part that begins at token i.
func (r *reader) part(i int) (part, bool) {
	var best part
	for k := range r.rules {
		for _, form := range r.rules[k].forms {
			if f, ok := r.match(form, i); ok && f.end > max(best.last, i) && !(r.rules[k].exclude && r.notProcess(f)) && !(r.rules[k].task && r.noName(i, f)) && !(r.rules[k].place && i > 0 && elsewhere[r.toks[i-1].low]) {
				best = part{&r.rules[k].rule, i, f.end, f.values}
			}
		}
	}
	return best, best.rule != nil
}

// notProcess tells whether what is left out is hardly a process, though a name could stand there:
// "except futex" is a call, unless it says "except by futex".
func (r *reader) notProcess(f found) bool {
	v, ok := f.values["name"]
	if !ok {
		return false
	}
	at := f.end - 1
	for at > 0 && r.toks[at].text != v.text {
		at--
	}
	t := r.toks[at]
	if t.quoted || at > 0 && saysTask[r.toks[at-1].low] || at+1 < f.end && saysTask[r.toks[at+1].low] {
		return false
	}
	return r.meansElse(t)
}

// noName tells whether what is read as the name of a process, from token i on, is the node ("by node") or what a process does
// ("does a process make").
func (r *reader) noName(i int, f found) bool {
	text := f.values["name"].text + f.values["program"].text
	for at := i; at < f.end; at++ {
		t := r.toks[at]
		if t.text != text || t.quoted {
			continue
		}
		var before, after []string
		for j := at - 1; j >= 0 && !r.toks[j].ends; j-- {
			before = append([]string{r.toks[j].low}, before...)
		}
		for j := at + 1; j < len(r.toks) && !r.toks[j-1].ends; j++ {
			after = append(after, r.toks[j].low)
		}
		n := len(before)
		if t.low == "node" && n > 0 && (before[n-1] == "by" || before[n-1] == "per") && (n == 1 || !participle.MatchString(before[n-2])) {
			return true
		}
		return recipes.Acts(t.low, before, after)
	}
	return false
}

// meansElse tells whether a word that could name a process rather names something else that can be left out.
func (r *reader) meansElse(t token) bool {
	_, isErrno := abi.Errno(strings.ToUpper(t.text))
	_, isSignal := abi.Signal(strings.ToUpper(t.text))
	_, isProgram := r.words(t.low)
	isUser := false // "by user except www-data"
	for i, t := range r.toks {
		numbered := false
		if i+1 < len(r.toks) {
			_, numbered = number(r.toks[i+1].low)
		}
		isUser = isUser || !t.quoted && saysUser[t.low] && !numbered
	}
	if r.userID != nil && !isProgram {
		_, known := r.userID(t.text)
		isUser = isUser || known
	}
	return r.isCall(t.low) || isErrno || isSignal || isUser || hostName.MatchString(t.low) || notNames[t.low]
}

// saysTask are words beside which a name is that of a process.
var saysTask = set("by of from process processes program programs")

// saysUser are words after which a name may be that of a user.
var saysUser = set("user users uid uids account accounts")

// hostName matches what is rather a host or a file than a process: "example.com", "libc.so.6".
var hostName = regexp.MustCompile(`[a-z0-9]\.[a-z]`)

// notNames are names, but none of processes.
var notNames = set("www-data nobody daemon ipv4 ipv6 v4 v6 tcp udp icmp http https ssh dns eth0 lo localhost tmpfs ext4 xfs")

// tangled says why the parts of a request cannot be told apart: after what is left out comes what
// alone is wanted, and it is not said whether that is left out as well ("except to 10.0.0.1 port 443").
func (g reading) tangled() error {
	for i, p := range g.parts {
		if !p.rule.exclude || i+1 == len(g.parts) || g.toks[p.last-1].ends {
			continue
		}
		q := g.parts[i+1]
		joined := true
		for k := p.last; k < q.first; k++ {
			joined = joined && alternatives[g.toks[k].low]
		}
		if !joined || q.rule.exclude || g.toks[q.first].low == "only" {
			continue
		}
		one, err := g.ask(func(x part) bool { return x.first == q.first })
		if err != nil || len(one.conds) > 0 || one.pid+one.comm+one.uid != "" {
			return no("it is not clear whether %q belongs to what is left out (%q): put a comma between them, or leave out one after the other",
				said(g.toks, q.first, q.last), said(g.toks, p.first, p.last))
		}
	}
	all, err := g.ask(func(part) bool { return true })
	if err == nil {
		if err := all.contradicts(nil); err != nil {
			return err
		}
	}
	if err == nil && all.comm != "" && slices.ContainsFunc(all.conds, func(c cond) bool { return c.what == "comm" }) {
		return no("it names both a process that is wanted, %s, and one that is not", all.comm)
	}
	return nil
}

// ask is what some of the parts ask for.
func (g reading) ask(of func(part) bool) (ask, error) {
	var a ask
	for _, p := range g.parts {
		if !of(p) {
			continue
		}
		if err := p.rule.do(&a, p.values, said(g.toks, p.first, p.last)); err != nil {
			return ask{}, err
		}
	}
	return a, nil
}

// without is the text without some of the parts.
func (g reading) without(of func(part) bool) string {
	var b strings.Builder
	for i, t := range g.toks {
		if slices.ContainsFunc(g.parts, func(p part) bool { return of(p) && p.first <= i && i < p.last }) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if t.quoted {
			b.WriteString(`"` + t.text + `"`)
		} else {
			b.WriteString(t.text)
		}
		if t.ends && !t.quoted {
			b.WriteByte(',')
		}
	}
	return strings.Trim(b.String(), " ,")
}

// words that were not understood, as written.
func (g reading) unread() []string {
	var out []string
	for _, i := range g.left {
		out = append(out, g.toks[i].text)
	}
	return out
}

// callNames are names that people know where tracefs has the kernel's own.
var callNames = map[string]string{
	"sleep": "nanosleep", "usleep": "nanosleep", "stat": "newstat", "fstat": "newfstat", "lstat": "newlstat", "fstatat": "newfstatat", "umount2": "umount", "sendfile": "sendfile64", "uname": "newuname", "pread": "pread64", "pwrite": "pwrite64", "sigaction": "rt_sigaction", "getdents": "getdents64", "select": "select",
}

func callName(low string) string {
	low = strings.TrimPrefix(strings.TrimPrefix(low, "sys_enter_"), "sys_exit_")
	if n, ok := callNames[low]; ok {
		return n
	}
	return low
}

// alike are system calls that do the same, of which programs and their libraries make now one and
// now another: who asks for "chmod" means them all. The first is the one that is named.
var alike = [][]string{
	{"open", "openat", "openat2"},
	{"accept", "accept4"},
	{"chmod", "fchmodat", "fchmodat2"},
	{"chown", "lchown", "fchownat"},
	{"unlink", "unlinkat"},
	{"rename", "renameat", "renameat2"},
	{"mkdir", "mkdirat"},
	{"mknod", "mknodat"},
	{"link", "linkat"},
	{"symlink", "symlinkat"},
	{"readlink", "readlinkat"},
	{"access", "faccessat", "faccessat2"},
	{"newstat", "newfstatat", "statx"},
	{"newlstat", "newfstatat", "statx"},
	{"read", "pread64", "readv", "preadv", "preadv2"},
	{"write", "pwrite64", "writev", "pwritev", "pwritev2"},
	{"poll", "ppoll"},
	{"select", "pselect6"},
	{"epoll_wait", "epoll_pwait", "epoll_pwait2"},
	{"nanosleep", "clock_nanosleep"},
	{"dup", "dup2", "dup3"},
	{"pipe", "pipe2"},
	{"eventfd", "eventfd2"},
	{"signalfd", "signalfd4"},
	{"inotify_init", "inotify_init1"},
	{"utime", "utimes", "futimesat", "utimensat"},
	{"execve", "execveat"},
	{"clone", "clone3"},
	{"epoll_create", "epoll_create1"},
	{"init_module", "finit_module"},
	{"mlock", "mlock2"},
}

// family is a system call with those that do the same, as far as this kernel has them.
func (c *Composer) family(call string) []string {
	for _, f := range alike {
		if f[0] != call {
			continue
		}
		return slices.DeleteFunc(slices.Clone(f), func(x string) bool { return !slices.Contains(c.tracepoints, "syscalls:sys_enter_"+x) })
	}
	return []string{call}
}

// noCalls are words that look like several of a system call, and mean something else.
var noCalls = set("forks vforks clones kills exits times")

// singular is a word without the ending of several: "chmods".
func singular(low string) string {
	if one, ok := strings.CutSuffix(low, "s"); ok && len(one) > 3 {
		return one
	}
	return low
}

// english are system calls whose names are also plain words: they are meant only where the
// request says that they are calls.
var english = set("sleep time times access pause link sync alarm select connect accept bind listen read write open close kill stat mount rename send pipe poll wait vhangup reboot syslog shutdown symlink creat exit fork clone truncate swapon swapoff acct nice brk dup")

// isCall tells whether a word names a system call that this kernel can trace.
func (r *reader) isCall(low string) bool {
	if len(low) < 3 || !identifier.MatchString(low) {
		return false
	}
	return slices.Contains(r.tracepoints, "syscalls:sys_enter_"+r.callOf(low))
}

// callOf is the system call that a word names, or several of: "chmods".
func (r *reader) callOf(low string) string {
	name := callName(low)
	if one := singular(low); one != low && !noCalls[low] && !slices.Contains(r.tracepoints, "syscalls:sys_enter_"+name) {
		return callName(one)
	}
	return name
}

// tracepoint finds a tracepoint by "sched:sched_switch", "sched/sched_switch", or its name
// alone where that is no plain word and there is only one.
func (r *reader) tracepoint(text string) (string, bool) {
	for _, sep := range []string{":", "/"} {
		if group, name, ok := strings.Cut(text, sep); ok {
			if name, ok := strings.CutPrefix(text, "tracepoint"+sep); ok {
				return r.tracepoint(name)
			}
			if group == "syscalls" || group == "raw_syscalls" {
				return "", false // calls have a way of their own
			}
			if slices.Contains(r.tracepoints, group+":"+name) {
				return group + "/" + name, true
			}
			return "", false
		}
	}
	if !strings.Contains(text, "_") || strings.HasPrefix(text, "sys_e") {
		return "", false
	}
	found := ""
	for _, tp := range r.tracepoints {
		group, name, _ := strings.Cut(tp, ":")
		if name == text && group != "syscalls" {
			if found != "" {
				return "", false
			}
			found = group + "/" + name
		}
	}
	return found, found != ""
}

// isGroup tells whether a word is a group of tracepoints.
func (r *reader) isGroup(low string) bool {
	return low != "syscalls" && low != "raw_syscalls" && slices.ContainsFunc(r.tracepoints, func(tp string) bool { return strings.HasPrefix(tp, low+":") })
}

var functionName = regexp.MustCompile(`^[a-z_][a-z0-9_]*_[a-z0-9_]+$`)

// isFunction tells whether a word is a function of the kernel that programs can be attached to.
func (r *reader) isFunction(text string) bool {
	if !functionName.MatchString(text) {
		return false
	}
	if _, err := r.facts.Function(text); err != nil {
		return false
	}
	entry, _ := r.functionKinds(text)
	return entry != ""
}

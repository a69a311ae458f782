package recipes

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kgent/retrieval/kernel/abi"
)

// agency says whether the process named in words [first, last) acts or is
// acted upon.
func (r *reader) agency(first, last int) heading {
	j := first - 1
	for j >= 0 && r.is(j, "the", "a", "my", "our", "process", "processes", "pid", "program", "any", "all", "running", "daemon", "service", "every", "this", "that", "main") && !r.words[j].ends {
		j--
	}
	if j >= 0 && !r.words[j].ends {
		switch {
		case r.is(j, "by") && (r.stem(j-1) == stem("receive") || r.is(j-1, "caught", "handled", "ignored")):
			return receiving
		case r.is(j, "by", "from"):
			return fromward
		case r.is(j, "to", "against", "into", "towards") && !r.is(j-1, "belonging", "belong", "belongs", "related", "limited", "restricted", "specific", "attached", "according", "due", "happens", "happening", "tied", "confined", "respect", "returned", "return", "returns", "visible", "available", "given", "handed", "charged", "attributed"):
			return toward
		case r.is(j, "at") && r.stem(j-1) != "look":
			return toward
		case r.signalVerb(j): // "who SIGTERMs nginx"
			return toward
		case r.stem(j) == "signal" && r.is(j-1, "who", "that", "which", "process", "what", "somebody", "someone"):
			return toward
		case r.stem(j) == "kill" || r.is(j, "signalling", "signaling", "hitting", "hit", "stopping", "terminating", "terminates", "terminated", "shooting", "reaching", "hits", "reaches"):
			return toward
		}
	}
	// "does nginx receive", "is nginx being killed", "did systemd send"
	for k := last; k < len(r.words) && k < last+3 && !r.words[k-1].ends; k++ {
		switch {
		case r.stem(k) == stem("receive"), r.is(k, "get", "gets", "getting", "got", "being", "killed", "gotten", "recv"):
			return receiving
		case r.stem(k) == "send", r.is(k, "sent", "kill", "kills", "killing", "raise", "raises", "emit", "emits", "fires"):
			return fromward
		}
	}
	return nowhere
}

// signalVerb reports whether word i is the name of a signal used as a verb.
func (r *reader) signalVerb(i int) bool {
	for _, ending := range []string{"s", "ing", "ed"} {
		if name, ok := strings.CutSuffix(r.words[i].low, ending); ok && strings.HasPrefix(name, "sig") {
			if _, ok := abi.Signal(name); ok {
				return true
			}
		}
	}
	return false
}

// parent reports whether what is named at i is said to be a parent process.
func (r *reader) parent(i int) bool {
	return r.is(i-1, "parent", "ppid") || r.is(i-1, "process", "is") && r.is(i-2, "parent") || r.saysBefore(i, "child process of", "child processes of", "subprocess of", "subprocesses of", "child of", "children of", "childs of", "descendants of", "forked by", "forked from", "spawned from") > 0
}

// userArg is a user named in words [first, last).
func (r *reader) userArg(first, last int, id uint64) arg {
	v := strconv.FormatUint(id, 10)
	switch r.agency(first, last) {
	case toward:
		return value(roleTargetUser, v)
	case fromward:
		return arg{readings: []reading{{RoleSenderUser, v}, {RoleUser, v}}}
	}
	return value(RoleUser, v)
}

func (r *reader) pidArg(first, last int, digits string) arg {
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || n > 1<<22 {
		return problem(RolePID, "%q is no process id", digits)
	}
	v := strconv.FormatUint(n, 10)
	if r.parent(first) {
		return value(roleParent, v)
	}
	switch r.agency(first, last) {
	case toward:
		return value(RoleTargetPID, v)
	case receiving:
		return arg{readings: []reading{{RoleTargetPID, v}, {RolePID, v}}}
	case fromward:
		return arg{readings: []reading{{RoleSenderPID, v}, {RolePID, v}}}
	}
	return value(RolePID, v)
}

var pidGlued = regexp.MustCompile(`^pid[:#]?([0-9]+)$`)

// pids reads process ids.
func (r *reader) pids(i int) int {
	if m := pidGlued.FindStringSubmatch(r.low(i)); m != nil {
		return r.take(i, i, i+1, r.pidArg(i, i+1, m[1]))
	}
	j := i + 1
	thread := false
	switch {
	case r.is(i, "pid", "pids", "tgid", "target_pid"):
		if r.is(j, "number", "no", "nr", "is", "of") {
			j++
		}
	case r.is(i, "process", "processes", "proc", "task") && r.is(j, "id", "ids", "number", "no", "nr"):
		j++
	case r.is(i, "process", "proc", "processes"):
	case r.is(i, "thread", "tid", "threads"):
		thread = true
		if r.is(j, "id", "number") {
			j++
		}
	default:
		return 0
	}
	first, n := i, 0
	for {
		digits := strings.TrimPrefix(r.low(j), "#")
		if _, err := strconv.ParseUint(digits, 10, 64); err != nil {
			return n
		}
		if _, m := r.amount(j); m > 0 {
			return n
		}
		if thread {
			return r.take(i, first, j+1, value(roleThread, digits))
		}
		a := r.pidArg(first, j+1, digits)
		if r.is(first, "target_pid") || r.is(first-1, "target") {
			a.readings[0].role = RoleTargetPID
		}
		n = r.take(i, first, j+1, a)
		if !r.is(j+1, "and", "or") || r.words[j].ends {
			return n
		}
		first, j = j+1, j+2
	}
}

// users reads users by name or id.
func (r *reader) users(i int) int {
	if r.low(i) == "root" && !r.is(i+1, "cause", "causes", "cgroup", "filesystem", "fs", "file", "directory", "dir", "device", "partition", "volume", "certificate", "cgroups", "disk") {
		first, last := i, i+1
		if r.is(i-1, "user", "username") {
			first--
		}
		if r.is(last, "user", "account") {
			last++
		}
		a := r.userArg(first, last, 0)
		a.soft = first == i && last == i+1
		return r.take(i, first, last, a)
	}
	if name := r.text(i); r.userID != nil && name != "" && r.is(i-1, "the", "by", "as", "for") && r.is(i+1, "user", "account") && !r.words[i].ends { // "the deploy user"
		if id, ok := r.userID(name); ok {
			return r.take(i, i, i+2, r.userArg(i, i+2, uint64(id)))
		}
	}
	j := i + 1
	switch {
	case r.is(i, "uid", "userid", "uids"):
		if r.is(j, "is", "number") {
			j++
		}
	case r.is(i, "user", "username", "account", "users"):
		if r.is(j, "with") && r.is(j+1, "id", "uid") {
			j++
		}
		if r.is(j, "id", "uid", "named", "called", "name", "number", "account") {
			j++
		}
	default:
		// "by www-data", "as alice": known users that are no programs
		name := r.text(i)
		if r.userID == nil || name == "" || !r.is(i-1, "by", "as", "for", "of") || r.lex.programs[strings.ToLower(name)] != "" || r.lex.isWord(strings.ToLower(name)) || !userName.MatchString(name) {
			return 0
		}
		id, ok := r.userID(name)
		if !ok {
			return 0
		}
		return r.take(i, i, i+1, r.userArg(i, i+1, uint64(id)))
	}
	name := r.text(j)
	if name == "" || r.words[j-1].ends {
		return 0
	}
	if n, err := strconv.ParseUint(name, 10, 64); err == nil {
		if _, m := r.amount(j); m > 0 {
			return 0
		}
		if n >= 1<<32-1 {
			return r.take(i, i, j+1, problem(RoleUser, "%s is no user id", name))
		}
		return r.take(i, i, j+1, r.userArg(i, j+1, n))
	}
	if !userName.MatchString(name) {
		return 0
	}
	quoted := r.words[j].quoted || r.is(j-1, "named", "called")
	if r.userID != nil {
		if id, ok := r.userID(name); ok {
			return r.take(i, i, j+1, r.userArg(i, j+1, uint64(id)))
		}
	}
	if !quoted && r.lex.known(strings.ToLower(name)) {
		return 0 // "user space", "user and group"
	}
	if r.userID != nil {
		return r.take(i, i, j+1, problem(RoleUser, "there is no user %q on this host; a number works everywhere", name))
	}
	return r.take(i, i, j+1, problem(RoleUser, "the name of user %q cannot be looked up; write the user id", name))
}

var userName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)

// programs reads the names of programs everybody knows, wherever they stand;
// those that are also words only where nothing but a name can stand.
func (r *reader) programs(i int) int {
	low := r.low(i)
	if low == "" || r.lex.programs[low] == "" {
		return 0
	}
	if _, n := r.lex.lookup(r.words[i:]); n > 1 {
		return 0 // "systemd service" is a kind of thing
	}
	if r.is(i+1, "service", "services", "unit", "units", "slice", "slices", "container", "containers", "image", "images") && !r.is(i-1, "by", "of", "for", "from", "the") {
		return 0 // "systemd services", "docker containers"
	}
	if r.is(i+1, "job", "jobs", "script", "scripts", "plugin", "plugins", "client", "clients", "query", "queries", "user", "users") {
		return 0 // of other names
	}
	if r.is(i-1, "via", "through", "over", "using", "behind") || r.is(i-1, "in", "inside", "within") && r.is(i, "docker", "podman", "qemu", "tmux") {
		return 0
	}
	if (r.lex.wordPrograms[low] || r.lex.isWord(low)) && !r.isName(i) {
		return 0
	}
	first := i
	if r.is(i-1, "process", "program", "daemon", "service", "command", "binary", "application", "app") && !r.words[i-1].ends {
		first--
	}
	return r.process(i, first, i+1)
}

// notIn are programs whose names after "in" are no names of processes: "typed in bash", "in master".
var notIn = []string{"bash", "sh", "screen", "top", "head", "tail", "cat", "sort", "nice", "master", "find", "make", "snap", "touch", "yes", "less", "more", "cut", "join", "sleep", "mount", "kill", "watch", "install", "locate", "env", "docker", "podman", "tmux", "qemu"}

// isName reports whether word i stands where only a name can.
func (r *reader) isName(i int) bool {
	before := i > 0 && !r.words[i-1].ends
	switch {
	case r.words[i].possessive && r.is(i, "rm", "mv", "kill", "mount") && r.is(i-1, "something", "someone", "somebody", "who", "what", "that", "which", "it", "he", "process"):
		return false // "something rm's our files" is a verb
	case r.is(i, "node") && !r.words[i].possessive && r.is(i-1, "by", "per") && before && !participle(r.low(i-2)):
		return false // "opens by node": what each node has
	case r.words[i].possessive, r.is(i-1, "process", "program", "command", "binary") && before && !r.acts(i):
		return true
	case r.is(i-1, "by") && before && participle(r.low(i-2)):
		return true
	case r.is(i, "node") && r.is(i-1, "to", "kill", "kills", "killed") && before && (i+1 == len(r.words) || r.words[i].ends || r.is(i+1, "from", "by")) && r.agency(i, i+1) == toward:
		return true // "who sends SIGKILL to node"
	case r.is(i, "node") && r.is(i-1, "was", "is", "has", "does", "did", "why") && r.is(i+1, "killed", "crash", "crashes", "crashed", "crashing", "die", "dies", "died", "dying"):
		return true
	case r.is(i-1, "by", "of", "from") && before && !r.lex.wordPrograms[r.low(i)]:
		return true
	case r.is(i-1, "by", "of", "from", "for") && before && (i+1 == len(r.words) || r.words[i].ends):
		return true
	case r.is(i-1, "in", "inside") && before && !r.is(i, notIn...) && (i+1 == len(r.words) || r.words[i].ends):
		return true // "burning CPU in node?"
	case r.is(i-1, "does", "did") && before && r.is(i-2, "who", "anyone", "anybody", "someone", "somebody", "anything", "something") && slices.Contains(acting, r.low(i)) && !r.is(i+1, doing...):
		return false // "who does touch it"
	case r.is(i-1, "does", "did") && before, r.is(i-1, "is") && before && strings.HasSuffix(r.low(i+1), "ing") && !r.is(i+1, "being"):
		return true
	}
	return r.subject(i) || !r.lex.wordPrograms[r.low(i)] && r.is(i+1, "process", "processes", "daemon")
}

// acts reports whether word i is what a process does and no name, see [Acts].
func (r *reader) acts(i int) bool {
	var before, after []string
	for j := i - 1; j >= 0 && !r.words[j].ends; j-- {
		before = append([]string{r.low(j)}, before...)
	}
	for j := i + 1; j < len(r.words) && !r.words[j-1].ends; j++ {
		after = append(after, r.low(j))
	}
	return Acts(r.low(i), before, after)
}

// acting are names of programs that are verbs as well, and verbs that show that the word before them is a name.
var (
	acting = []string{"make", "find", "sort", "watch", "top", "cat", "head", "tail", "cut", "join", "go", "install", "locate", "touch", "kill", "mount", "tee", "sleep", "echo", "screen", "spark", "git", "ping", "dig", "time", "run", "test", "stat"}
	doing  = []string{"open", "read", "write", "call", "create", "connect", "send", "receive", "delete", "remove", "exit", "die", "use", "spend", "take", "execute", "start", "fork", "spawn", "get", "run", "make", "do", "have"}
)

// Acts reports whether the name of a program is rather a verb where it stands, after the words before it in its clause: of
// "does a process make a file" and "which command find …". A name follows "the process" and the noun alone, unless it is asked
// what that does.
func Acts(low string, before, after []string) bool {
	n := len(before)
	if !slices.Contains(acting, low) || n < 2 || !slices.Contains([]string{"process", "processes", "program", "programs", "command", "commands", "binary", "application", "app", "daemon", "service"}, before[n-1]) {
		return false
	}
	if len(after) > 0 && slices.Contains(doing, after[0]) && (len(after) == 1 || !slices.Contains([]string{"call", "calls", "syscall", "syscalls"}, after[1])) {
		return false // "does the process make open files"
	}
	if slices.Contains([]string{"a", "an", "any", "each", "every", "which", "what", "some", "no", "one", "this", "that", "another", "same", "single", "other"}, before[n-2]) {
		return true
	}
	for _, w := range before[max(0, n-4):] {
		if slices.Contains([]string{"does", "do", "did", "can", "could", "will", "would", "should", "may", "might", "must", "doesn't", "doesnt", "didn't", "didnt"}, w) {
			return true
		}
	}
	return false
}

// subject reports whether word i is followed by a verb in the third person, as in
// "files that docker removes".
func (r *reader) subject(i int) bool {
	verb := r.low(i + 1)
	if slices.Contains(acting, r.low(i)) && r.is(i-1, "that", "which") && r.is(i-2, "process", "processes", "program", "programs", "command", "commands", "tasks", "threads", "users", "apps", "applications", "something", "anything", "one", "those") {
		return false // "processes that watch directories"
	}
	return r.is(i-1, "that", "which", "what", "files", "paths", "signals", "calls", "syscalls", "connections", "commands", "programs", "hosts", "names") && !r.words[i-1].ends && !r.words[i].ends &&
		strings.HasSuffix(verb, "s") && !strings.HasSuffix(verb, "ss") && singular(verb) != verb && r.lex.isWord(verb) && !r.is(i+1, "is", "was", "has", "does", "processes", "programs", "files", "calls", "syscalls", "connections", "signals", "commands")
}

// participle reports whether a word can be the verb of "opened by nginx".
func participle(low string) bool {
	return hasAnySuffix(low, "ed", "en", "wn") || slices.Contains([]string{"made", "run", "sent", "done", "set", "read", "hit", "begun", "put", "spent", "lost", "caused", "issued", "held", "kept", "burnt", "started"}, low)
}

// deviceName matches names of disks and network interfaces.
var deviceName = regexp.MustCompile(`^(nvme[0-9]+(n[0-9]+(p[0-9]+)?)?|[shxv]d[a-z]+[0-9]*|dm-[0-9]+|md[0-9]+|loop[0-9]+|(eth|ens|enp|eno|wlan|veth|docker|br|bond|tun|tap)[0-9][0-9a-z]*)$`)

var processName = regexp.MustCompile(`^[A-Za-z0-9_(\[][A-Za-z0-9_.:+@/()\[\]-]{0,63}$`)

// unknownName reports whether word i can be the name of a program nobody has
// heard of. shaped demands that it does not look like an English word either.
func (r *reader) unknownName(i int, shaped bool) bool {
	low, text := r.low(i), r.text(i)
	if low == "" || deviceName.MatchString(low) || !processName.MatchString(text) || r.lex.known(low) || r.words[i].fixed != "" || isNumeral(low) {
		return false
	}
	if _, err := strconv.ParseFloat(low, 64); err == nil {
		return false
	}
	if _, n := r.amount(i); n > 0 {
		return false
	}
	if dot := strings.LastIndexByte(low, '.'); dot >= 0 && isAlpha(low[dot+1:]) && !slices.Contains([]string{"sh", "py", "rb", "pl", "smp", "bin", "exe", "jar", "js", "php", "real", "elf"}, low[dot+1:]) {
		return false // a host name
	}
	if !r.named(i) && cut(low, "-", r.lex.known) != nil {
		return false // "off-cpu", "short-lived"
	}
	looksLikeName := strings.ContainsAny(low, "-_.0123456789") || text[1:] != strings.ToLower(text[1:]) && strings.ToUpper(text) != text
	if shaped || looksLikeName {
		return looksLikeName
	}
	return !hasAnySuffix(low, "s", "ing", "ion", "ly", "ment", "ness", "ity", "ance", "ence", "able", "ible", "ful", "less", "ive", "ical", "ous", "ism", "ship", "ware")
}

// named reports whether the words before i say that a process is named.
func (r *reader) named(i int) bool {
	return r.is(i-1, "process", "program", "named", "called", "binary", "command", "service", "daemon", "app", "application") || r.is(i-1, "by") && participle(r.low(i-2))
}

// names reads the names of other programs where the sentence says that they
// are names.
func (r *reader) names(i int) int {
	if r.words[i].quoted {
		first := i
		if r.is(i-1, "named", "called") {
			first--
		}
		if r.is(first-1, "process", "processes", "program", "command", "comm", "binary") {
			first--
		}
		return r.process(i, first, i+1)
	}
	marker := r.is(i, "process", "program", "comm", "binary", "daemon", "executable", "command", "app", "application", "service", "processes", "programs")
	if marker && !r.words[i].ends {
		j := i + 1
		named := false
		if r.is(j, "named", "called", "name", "is") {
			named = !r.is(j, "is", "name") || r.is(i, "comm") || r.is(j, "name") && r.unknownName(j+1, false)
			j++
		}
		if r.is(i, "comm") && (j > i+1 || r.words[j-1].ends || r.lex.programs[r.low(j)] != "" || !r.lex.known(r.low(j))) {
			named = true // and not "comm and pid", which are columns
		}
		name := r.text(j)
		switch {
		case name == "" || r.words[j-1].ends:
		case r.words[j].quoted, named && processName.MatchString(name) && !r.is(j, "by", "the", "is", "a"), !r.is(i, "processes", "programs") && j == i+1 && r.unknownName(j, false) && !r.acts(j) && r.closes(j+1):
			return r.process(i, i, j+1)
		}
		return 0
	}
	switch {
	case r.is(i-1, "named", "called") && r.is(i-2, "one", "something", "worker", "workers", "thread", "threads", "daemons", "binaries", "commands", "apps", "applications") && r.unknownName(i, false):
		return r.process(i, i-1, i+1)
	case r.is(i+1, "process", "processes", "daemon", "worker", "workers", "binary", "program", "service") && r.unknownName(i, true):
		return r.process(i, i, i+1)
	case r.words[i].possessive && r.unknownName(i, false):
		return r.process(i, i, i+1)
	case r.is(i-1, "by") && !r.words[i-1].ends && r.unknownName(i, !participle(r.low(i-2))):
		return r.process(i, i, i+1)
	case r.is(i-1, "of", "for", "from") && !r.words[i-1].ends && r.unknownName(i, false) && (r.closes(i+1) || r.unknownName(i, true)):
		return r.process(i, i, i+1)
	case r.is(i-1, "does", "did", "is", "do", "has") && r.unknownName(i, false) && r.lex.known(r.low(i+1)) && !r.is(i+1, "of", "a", "the"):
		return r.process(i, i, i+1)
	case r.subject(i) && r.unknownName(i, false):
		return r.process(i, i, i+1)
	case r.is(i-1, "to", "kill", "kills", "killed", "killing", "in") && r.unknownName(i, true):
		return r.process(i, i, i+1)
	case r.doer(i):
		return r.process(i, i, i+1)
	}
	return 0
}

// doer reports whether word i looks like a name and is followed by a verb: "ev-burner eats a CPU".
// In a sentence before the last one that is somebody only where the rest speaks of "it".
func (r *reader) doer(i int) bool {
	if i+1 >= len(r.words) || r.words[i].ends || !r.unknownName(i, true) || !strings.Contains(r.low(i), "-") || r.is(i-1, "on", "at", "in", "host", "hosts", "node", "server", "box", "machine", "cluster", "container", "pod", "version", "branch", "ticket", "user", "cgroup") {
		return false
	}
	verb := r.low(i + 1)
	verbal := slices.Contains(tells, verb) || r.lex.isWord(verb) && len(verb) > 3 && (hasAnySuffix(verb, "es", "ed") || strings.HasSuffix(verb, "s") && !strings.HasSuffix(verb, "ss")) && !slices.Contains([]string{"processes", "process", "files", "connections", "calls", "syscalls", "signals", "threads", "workers", "instances", "packets", "errors"}, verb)
	if !verbal {
		return false
	}
	end := i
	for end+1 < len(r.words) && !r.words[end].stops {
		end++
	}
	if end+1 >= len(r.words) {
		return true // in the last sentence
	}
	for k := end + 1; k < len(r.words); k++ {
		if r.is(k, "it", "its", "it's", "they", "their", "them") {
			return true
		}
	}
	return false
}

// closes reports whether nothing follows at i that could belong to the name
// before it.
func (r *reader) closes(i int) bool {
	if i >= len(r.words) || r.words[i-1].ends || r.taken[i] {
		return true
	}
	m, n := r.lex.lookup(r.words[i:])
	return n > 0 && m.asking
}

// maxComm is how much of a process name the kernel keeps: TASK_COMM_LEN less
// the NUL.
const maxComm = 15

// process takes the name in word last-1, said in words [first, last), and
// whatever merely repeats that it is a process.
func (r *reader) process(from, first, last int) int {
	name := r.text(last - 1)
	if known := r.lex.programs[strings.ToLower(name)]; known != "" && !r.words[last-1].quoted {
		name = known // "Postgres" is said of postgres
	}
	if len(name) > maxComm {
		name = name[:maxComm]
	}
	a := value(RoleProcess, name)
	if r.parent(first) {
		return r.take(from, first, last, value(roleParent, name))
	}
	switch r.agency(first, last) {
	case toward:
		a = value(RoleTargetProcess, name)
	case receiving:
		a.readings = slices.Insert(a.readings, 0, reading{RoleTargetProcess, name})
	case fromward:
		a.readings = slices.Insert(a.readings, 0, reading{RoleSender, name})
	}
	if !r.words[last-1].ends && r.is(last, "process", "processes", "worker", "workers", "daemon", "daemons", "server", "servers", "service", "services", "instance", "instances", "app", "application", "program", "binary", "backend", "backends", "threads", "thread", "command") {
		last++
		if r.is(last, "process", "processes") {
			last++
		}
	}
	return r.take(from, first, last, a)
}

package recipes

import (
	"slices"
	"strconv"
	"strings"

	"kgent/retrieval/kernel/abi"
)

const maxPath = 255 // bytes, of char[256]

// paths reads absolute paths.
func (r *reader) paths(i int) int {
	text := r.text(i)
	switch {
	case strings.HasPrefix(text, "~"), strings.HasPrefix(text, "./"), strings.HasPrefix(text, "../"), strings.HasPrefix(text, "$"):
		return r.take(i, i, i+1, problem(RolePath, "%q is no absolute path: paths begin with /", text))
	case !strings.HasPrefix(text, "/"):
		return 0
	case text == "/" && !r.is(i-1, "under", "below", "beneath", "inside", "within", "in", "of", "from", "at", "on", "to", "directory", "dir", "folder", "path", "is"):
		return 0 // "read / write"
	case len(text) > maxPath:
		return r.take(i, i, i+1, problem(RolePath, "a path has at most %d bytes here", maxPath))
	}
	dir := r.is(i-1, "under", "below", "beneath", "inside", "within", "underneath", "directory", "dir", "folder") || r.is(i-1, "in") && r.stem(i-2) == stem("files")
	for _, all := range []string{"/**", "/*"} {
		if t, ok := strings.CutSuffix(text, all); ok {
			text, dir = t+"/", true
			break
		}
	}
	if strings.ContainsAny(text, "*?") {
		return r.take(i, i, i+1, problem(RolePath, "%q is a pattern; only the beginning of a path can be compared", text))
	}
	if dir && !strings.HasSuffix(text, "/") {
		text += "/"
	}
	first := i
	if r.is(i-1, "path", "directory", "dir", "folder", "file", "prefix") {
		first--
	}
	return r.take(i, first, i+1, value(RolePath, text))
}

// errnoWords are errors as people know them, from strerror and everyday speech.
// The soft ones are also ordinary words.
var errnoWords = []struct {
	phrase, name string
	soft         bool
}{
	{"no such file or directory", "ENOENT", false}, {"no such file", "ENOENT", false}, {"file not found", "ENOENT", false}, {"not found", "ENOENT", true},
	{"does not exist", "ENOENT", true}, {"do not exist", "ENOENT", true}, {"doesn't exist", "ENOENT", true}, {"don't exist", "ENOENT", true}, {"did not exist", "ENOENT", true}, {"didn't exist", "ENOENT", true},
	{"aren't there", "ENOENT", true}, {"are not there", "ENOENT", true}, {"isn't there", "ENOENT", true}, {"is not there", "ENOENT", true},
	{"nonexistent", "ENOENT", true}, {"non existent", "ENOENT", true}, {"non-existent", "ENOENT", true}, {"nonexisting", "ENOENT", true}, {"missing", "ENOENT", true},
	{"permission denied", "EACCES", false}, {"permissions denied", "EACCES", false}, {"access denied", "EACCES", false}, {"denied access", "EACCES", false}, {"denied permission", "EACCES", false}, {"denied by permissions", "EACCES", false}, {"lack of permission", "EACCES", false},
	{"operation not permitted", "EPERM", false}, {"not permitted", "EPERM", false},
	{"connection refused", "ECONNREFUSED", false}, {"connections refused", "ECONNREFUSED", false}, {"refused connections", "ECONNREFUSED", false}, {"refused connection", "ECONNREFUSED", false},
	{"connection reset by peer", "ECONNRESET", true}, {"connection timed out", "ETIMEDOUT", false}, {"connection timeout", "ETIMEDOUT", false}, {"timed out", "ETIMEDOUT", false}, {"time out", "ETIMEDOUT", false}, {"timeout", "ETIMEDOUT", false}, {"timeouts", "ETIMEDOUT", false},
	{"too many open files in system", "ENFILE", false}, {"too many open files", "EMFILE", false}, {"out of file descriptors", "EMFILE", false},
	{"no space left on device", "ENOSPC", false}, {"no space left", "ENOSPC", false}, {"disk full", "ENOSPC", false}, {"disk is full", "ENOSPC", false},
	{"broken pipe", "EPIPE", false}, {"cannot allocate memory", "ENOMEM", false}, {"out of memory", "ENOMEM", true}, {"bad file descriptor", "EBADF", false}, {"invalid argument", "EINVAL", false},
	{"address already in use", "EADDRINUSE", false}, {"address in use", "EADDRINUSE", false}, {"cannot assign requested address", "EADDRNOTAVAIL", false}, {"file exists", "EEXIST", false}, {"already exists", "EEXIST", false}, {"is a directory", "EISDIR", false}, {"not a directory", "ENOTDIR", false},
	{"read-only file system", "EROFS", false}, {"read only file system", "EROFS", false}, {"read-only filesystem", "EROFS", false}, {"read only filesystem", "EROFS", false},
	{"resource temporarily unavailable", "EAGAIN", false}, {"try again", "EAGAIN", false}, {"would block", "EAGAIN", false},
	{"interrupted system call", "EINTR", false}, {"no route to host", "EHOSTUNREACH", false}, {"host unreachable", "EHOSTUNREACH", false}, {"host is unreachable", "EHOSTUNREACH", false}, {"network unreachable", "ENETUNREACH", false}, {"network is unreachable", "ENETUNREACH", false},
	{"device or resource busy", "EBUSY", false}, {"resource busy", "EBUSY", false}, {"device busy", "EBUSY", false}, {"input/output error", "EIO", false}, {"input output error", "EIO", false}, {"i/o error", "EIO", false}, {"i/o errors", "EIO", false}, {"io error", "EIO", false}, {"io errors", "EIO", false},
	{"function not implemented", "ENOSYS", false}, {"not implemented", "ENOSYS", false}, {"no such process", "ESRCH", false}, {"no such device", "ENODEV", false}, {"directory not empty", "ENOTEMPTY", false}, {"text file busy", "ETXTBSY", false}, {"file name too long", "ENAMETOOLONG", false}, {"name too long", "ENAMETOOLONG", false},
	{"too many levels of symbolic links", "ELOOP", false}, {"cross-device link", "EXDEV", false}, {"operation not supported", "EOPNOTSUPP", false}, {"not supported", "EOPNOTSUPP", false}, {"disk quota exceeded", "EDQUOT", false}, {"quota exceeded", "EDQUOT", false}, {"stale file handle", "ESTALE", false},
	{"argument list too long", "E2BIG", false}, {"exec format error", "ENOEXEC", false}, {"no child processes", "ECHILD", false}, {"bad address", "EFAULT", false}, {"file too large", "EFBIG", false}, {"connection aborted", "ECONNABORTED", false}, {"not a socket", "ENOTSOCK", false}, {"operation in progress", "EINPROGRESS", false},
}

// errnos reads errors by name, number or in words.
func (r *reader) errnos(i int) int {
	if r.words[i].quoted { // "permission denied" in quotes
		inner := split(r.words[i].text, func(string) bool { return false })
		in := &reader{lex: r.lex, words: inner, taken: make([]bool, len(inner))}
		if len(inner) > 0 && in.errnos(0) == len(inner) {
			return r.take(i, i, i+1, arg{readings: in.args[0].readings})
		}
		return 0
	}
	best, name, soft := 0, "", false
	for _, e := range errnoWords {
		if n := r.says(i, e.phrase); n > best {
			best, name, soft = n, e.name, e.soft
		}
	}
	if best > 0 {
		return r.take(i, i, i+best, arg{readings: []reading{{RoleErrno, name}}, soft: soft})
	}
	low := r.low(i)
	if len(low) > 2 && low[0] == 'e' {
		for _, form := range []string{low, strings.TrimSuffix(low, "s"), strings.TrimSuffix(low, "es")} {
			if n, ok := abi.Errno(form); ok {
				return r.take(i, i, i+1, value(RoleErrno, abi.ErrnoName(int64(n))))
			}
		}
	}
	if !r.is(i, "errno", "error", "err", "errors") {
		return 0
	}
	j := i + 1
	if r.is(j, "code", "number", "no", "nr", "is", "codes") {
		j++
	}
	if n, err := strconv.ParseInt(strings.TrimPrefix(r.low(j), "-"), 10, 16); err == nil {
		if _, m := r.amount(j); m > 0 {
			return 0
		}
		if name := abi.ErrnoName(n); strings.HasPrefix(name, "E") {
			return r.take(i, i, j+1, value(RoleErrno, name))
		}
		return r.take(i, i, j+1, problem(RoleErrno, "there is no error %d", n))
	}
	return 0
}

// signals reads signals by name or number.
func (r *reader) signals(i int) int {
	low, text := r.low(i), r.text(i)
	if low == "" {
		return 0
	}
	if strings.HasPrefix(low, "sig") && len(low) > 4 {
		for _, form := range []string{low, strings.TrimSuffix(low, "s"), strings.TrimSuffix(low, "ed"), strings.TrimSuffix(low, "ing")} {
			if n, ok := abi.Signal(form); ok {
				return r.take(i, i, i+1, value(RoleSignal, abi.SignalName(int64(n))))
			}
		}
	}
	if low == "segfault" || low == "segfaults" || low == "segfaulting" || low == "segfaulted" {
		return r.take(i, i, i+1, arg{readings: []reading{{RoleSignal, "SIGSEGV"}}, soft: true})
	}
	if n := max(r.says(i, "segmentation fault"), r.says(i, "segmentation faults"), r.says(i, "segmentation violation")); n > 0 {
		return r.take(i, i, i+n, arg{readings: []reading{{RoleSignal, "SIGSEGV"}}, soft: true})
	}
	if name, ok := strings.CutPrefix(text, "-"); ok && name != "" && r.is(i-1, "kill", "pkill", "killall", "-s", "kills", "killed") {
		if n, ok := signalOf(name); ok {
			return r.take(i, i, i+1, value(RoleSignal, abi.SignalName(n)))
		}
	}
	if isUpper(text) && r.is(i+1, "signal", "signals") {
		if n, ok := abi.Signal(text); ok {
			return r.take(i, i, i+2, value(RoleSignal, abi.SignalName(int64(n))))
		}
	}
	if !r.is(i, "signal", "signals", "sig", "signo") {
		return 0
	}
	j := i + 1
	if r.is(j, "number", "no", "nr", "is", "named") {
		j++
	}
	name := r.text(j)
	if !isUpper(name) && (name == "" || name[0] < '0' || name[0] > '9') {
		return 0
	}
	if _, m := r.amount(j); m > 0 {
		return 0
	}
	if n, ok := signalOf(name); ok {
		return r.take(i, i, j+1, value(RoleSignal, abi.SignalName(n)))
	}
	if name[0] >= '0' && name[0] <= '9' {
		return r.take(i, i, j+1, problem(RoleSignal, "there is no signal %s", name))
	}
	return 0
}

func signalOf(name string) (int64, bool) {
	if n, err := strconv.ParseInt(name, 10, 16); err == nil {
		return n, n > 0 && n < 65 && !strings.HasPrefix(abi.SignalName(n), "signal")
	}
	n, ok := abi.Signal(name)
	return int64(n), ok
}

func isUpper(s string) bool {
	return len(s) > 1 && isAlpha(s) && strings.ToUpper(s) == s
}

// capabilities reads names of capabilities.
func (r *reader) capabilities(i int) int {
	text := r.text(i)
	low := strings.ToLower(text)
	if low == "" {
		return 0
	}
	n, ok := abi.Capability(low)
	if !ok {
		return 0
	}
	first, last := i, i+1
	before, after := r.is(i-1, "capability", "cap"), r.is(i+1, "capability", "cap")
	switch {
	case strings.HasPrefix(low, "cap_"), strings.Contains(low, "_"):
	case before || after:
		if _, syscall := abi.Syscall(low); !isUpper(text) && r.lex.known(low) && !syscall {
			return 0
		}
	default:
		return 0
	}
	a := value(RoleCapability, abi.CapabilityName(int64(n)))
	a.soft = false
	return r.take(i, first, last, a)
}

// namesContainer reports whether a word names containers or pods, which the node
// looks for: container:web, pod:shop/web-1, label:app=shop.
func namesContainer(text string) bool {
	form, name, ok := strings.Cut(text, ":")
	return ok && name != "" && (form == "container" || form == "pod" || form == "label")
}

// cgroups reads paths of cgroups, and names of containers.
func (r *reader) cgroups(i int) int {
	text := r.text(i)
	low := strings.ToLower(text)
	if namesContainer(text) {
		return r.take(i, i, i+1, value(RoleCgroup, text))
	}
	unit := hasAnySuffix(low, ".slice", ".service", ".scope")
	marked := r.is(i-1, "cgroup")
	if text == "" || !unit && !(marked && strings.ContainsAny(text, "/._-")) {
		return 0
	}
	first := i
	if marked {
		first-- // the word itself is still said: see provides
	}
	path := strings.Trim(text, "/")
	if slices.Contains(strings.Split(path, "/"), "..") {
		return r.take(i, first, i+1, problem(RoleCgroup, "cgroup %q leaves the cgroup tree", text))
	}
	return r.take(i, first, i+1, value(RoleCgroup, path))
}

// englishSyscalls are system calls whose names are ordinary words: they count
// as names only where a call is spoken of.
var englishSyscalls = map[string]bool{
	"access": true, "accept": true, "acct": true, "alarm": true, "bind": true, "bpf": true, "clone": true, "close": true, "connect": true, "dup": true, "exit": true, "fork": true, "kill": true, "link": true, "listen": true,
	"mount": true, "open": true, "pause": true, "personality": true, "pipe": true, "poll": true, "read": true, "reboot": true, "rename": true, "select": true, "shutdown": true, "socket": true, "splice": true, "stat": true,
	"security": true, "sync": true, "sysinfo": true, "sysfs": true, "syslog": true, "tee": true, "time": true, "times": true, "truncate": true, "write": true,
}

// syscalls reads names of system calls.
func (r *reader) syscalls(i int) int {
	low := r.low(i)
	if low == "" {
		return 0
	}
	if _, ok := abi.Syscall(low); !ok {
		single := strings.TrimSuffix(low, "s")
		if _, ok := abi.Syscall(single); !ok || englishSyscalls[single] || r.lex.isProgram(low) {
			return 0
		}
		low = single
	}
	if englishSyscalls[low] && !r.words[i].called &&
		!r.is(i+1, "syscall", "syscalls", "call", "calls", "system", "fail", "fails", "failed", "failing", "errors", "returns", "return", "called") && !(r.is(i-1, "does", "did") && r.is(i+1, "come", "get", "error", "hit", "give", "end")) &&
		!r.is(i-1, "syscall", "failing", "syscalls") && r.saysBefore(i, "system call", "calls to", "call to", "fail to", "fails to", "failed to", "failing to", "unable to", "syscall named", "invocations of", "calls of") == 0 {
		return 0
	}
	if r.is(i+1, "system") && !r.is(i+2, "call", "calls") && englishSyscalls[low] && !r.words[i].called {
		return 0
	}
	return r.take(i, i, i+1, arg{readings: []reading{{RoleSyscall, low}}, soft: true})
}

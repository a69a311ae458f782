package bpftrace

import "fmt"

// aggregates are the functions whose result only a map can hold.
var aggregates = []string{"count", "sum", "avg", "min", "max", "stats", "hist", "lhist"}

// builtins are the values that a script may use besides args, arg0 … arg9 and
// sarg0 … sarg9.
var builtins = []string{
	"pid", "tid", "uid", "gid", "comm", "nsecs", "elapsed", "cpu", "rand", "cgroup", "curtask",
	"kstack", "ustack", "retval", "func", "probe", "username", "numaid",
}

// harmless are those that may be used in BEGIN and END too: they say nothing of
// the process that traces.
var harmless = []string{"nsecs", "elapsed", "cpu"}

// function is how a function may be called.
type function struct {
	min, max int
	in       mode // where alone it may be called; 0 is anywhere
	literal  bool // its first argument is a string in quotes
	loud     bool // it has no place in BEGIN and END
}

func (f function) count() string {
	switch {
	case f.min == f.max && f.min == 1:
		return "1 argument"
	case f.min == f.max:
		return fmt.Sprintf("%d arguments", f.min)
	}
	return fmt.Sprintf("%d to %d arguments", f.min, f.max)
}

// functions are those that a script may call. None of them writes anywhere but
// into the script's maps and its output, reads a file, or starts anything.
var functions = map[string]function{
	"count": {0, 0, aggregate, false, false}, "sum": {1, 1, aggregate, false, false}, "avg": {1, 1, aggregate, false, false},
	"min": {1, 1, aggregate, false, false}, "max": {1, 1, aggregate, false, false}, "stats": {1, 1, aggregate, false, false},
	"hist": {1, 2, aggregate, false, true}, "lhist": {4, 4, aggregate, false, true},

	"printf": {1, 17, 0, true, false}, "print": {1, 3, 0, false, false}, "time": {0, 1, 0, true, false}, "strftime": {2, 2, 0, true, false},
	"clear": {1, 1, 0, false, false}, "zero": {1, 1, 0, false, false}, "delete": {1, 2, 0, false, false}, "exit": {0, 0, 0, false, false},

	"str": {1, 2, 0, false, true}, "buf": {1, 2, 0, false, true}, "strncmp": {3, 3, 0, false, true},
	"ntop": {1, 2, 0, false, true}, "pton": {1, 1, 0, true, false}, "macaddr": {1, 1, 0, false, true}, "bswap": {1, 1, 0, false, true},
	"kstack": {0, 2, 0, false, true}, "ustack": {0, 2, 0, false, true},
	"ksym": {1, 1, 0, false, true}, "usym": {1, 1, 0, false, true},
	"sizeof": {1, 1, 0, false, true},
	"kptr":   {1, 1, 0, false, true}, "uptr": {1, 1, 0, false, true},
}

// never says of functions why no approval makes up for them.
var never = map[string]string{
	"system":        "it starts programs on the node",
	"signal":        "it sends signals to processes; write such a program in C, where it is approved as one that acts",
	"override":      "it replaces the result of kernel functions",
	"cat":           "it reads files of the node",
	"join":          "it prints memory of processes without a bound; use str()",
	"unwatch":       "there are no watchpoints",
	"skboutput":     "it writes packets into a file",
	"cgroupid":      "it reads paths of the node",
	"kaddr":         "it shows addresses of the kernel; use ksym()",
	"uaddr":         "it shows addresses of processes; use usym()",
	"reg":           "it shows registers; use args, arg0 or retval",
	"path":          "it takes probes of a kind that scripts cannot have; use str() on the name",
	"cgroup_path":   "it reads paths of the node",
	"signal_thread": "it sends signals to processes",
	"errorf":        "use printf",
}

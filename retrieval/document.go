package retrieval

import "strings"

// Kind is what sort of thing a document is about.
type Kind string

const (
	Recipe Kind = "recipe" // a program that kgent has
	Hook   Kind = "hook"   // a place that a program can be attached to
	Helper Kind = "helper" // a function that programs call: bpf_get_current_comm
	Kfunc  Kind = "kfunc"  // one that the kernel exports: bpf_task_acquire
	Type   Kind = "type"   // a struct with its fields
)

// Kinds are all kinds.
func Kinds() []Kind { return []Kind{Recipe, Hook, Helper, Kfunc, Type} }

// Place is one way to attach to a hook, as a manifest says it: "tracepoint" and
// "sched:sched_switch", "tp_btf" and "sched_switch".
type Place struct {
	Kind   string `json:"kind"`
	Target string `json:"target"`
}

// Document is something that can be found. It must not be changed once it is in an index.
type Document struct {
	Kind Kind `json:"kind"`
	// Name is the only one of its kind: a recipe's name, bpf_ktime_get_ns, task_struct. A
	// hook's is "tcp/tcp_retransmit_skb" for a tracepoint, "syscall/openat" for both
	// ends of a system call, "tcp_v4_connect" for a function, "lsm/file_open",
	// "libc.so.6:malloc", "xdp", "cgroup/connect4", "perf_event/cpu-clock".
	Name string `json:"name"`
	// Title says in a line what it is; empty if nobody has said it.
	Title string `json:"title,omitempty"`
	// Places are what can be attached to of a hook, the best first. Whether a kernel
	// can attach there is for its facts to say.
	Places []Place `json:"places,omitempty"`
	// Uses are the places that a recipe attaches to: who asks for something like the recipe
	// is likely to need them.
	Uses []Place `json:"uses,omitempty"`
	// Texts are how people ask for it and what it does, each a sentence or so. They are
	// searched but not shown.
	Texts []string `json:"texts,omitempty"`
	// Words are further words that belong to it, as a struct's fields do. They are searched
	// by their letters, not by their meaning.
	Words []string `json:"words,omitempty"`
}

// plain is a place under the one name that all ways of writing it have: the version of a
// library, the rate of a perf event and which end of a call do not matter.
func (p Place) plain() Place {
	switch p.Kind {
	case "uprobe", "uretprobe":
		binary, symbol, _ := strings.Cut(p.Target, ":")
		binary, _, _ = strings.Cut(binary[strings.LastIndexByte(binary, '/')+1:], ".so")
		return Place{"uprobe", binary + ":" + symbol}
	case "perf_event":
		target, _, _ := strings.Cut(strings.ReplaceAll(p.Target, "@", "/"), "/")
		return Place{p.Kind, target}
	case "kretprobe", "fexit", "fmod_ret", "kprobe":
		return Place{"fentry", p.Target}
	case "raw_tracepoint", "raw_tp":
		return Place{"tp_btf", p.Target}
	case "xdp", "tcx/ingress", "tcx/egress", "cgroup_skb/ingress", "cgroup_skb/egress":
		return Place{p.Kind, ""} // whatever interface or cgroup
	}
	return p
}

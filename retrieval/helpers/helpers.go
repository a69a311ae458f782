package helpers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Release is the kernel that was measured.
const Release = "6.18"

// Helper is one helper function.
type Helper struct {
	// Name is the function's, with bpf_.
	Name string
	ID   int32
	// GPL: only programs whose license is compatible with the GPL may call it.
	GPL bool
	// Sleeps: only programs that may sleep may call it.
	Sleeps bool
	// Classes are the classes of programs that may call it, as [ClassOf] names
	// them; empty if none of those that were measured may.
	Classes []string
	// Call is how it is called and what it returns: "(dst, size, ptr) → 0 or
	// -EFAULT". Empty for helpers that tracing and networking hardly meet.
	Call string
	// Means is what it does, and what to mind, in a sentence.
	Means string
}

// Of returns a helper by its name, with or without bpf_.
func Of(name string) (Helper, bool) {
	short := strings.TrimPrefix(name, "bpf_")
	i := slices.IndexFunc(measured, func(r row) bool { return r.name == short })
	if i < 0 {
		return Helper{}, false
	}
	return measured[i].helper(), true
}

// All lists the helpers by number.
func All() []Helper {
	out := make([]Helper, len(measured))
	for i, r := range measured {
		out[i] = r.helper()
	}
	return out
}

// ClassOf is the class of programs that a hook of the kind runs, in the words of
// a program's section (kprobe, tcx/ingress); empty if that class was not measured.
// Programs on functions' entries and exits (fentry, fexit, fmod_ret) and on
// security hooks (lsm) were not: they may call more than those of tp_btf.
func ClassOf(kind string) string {
	switch kind {
	case "kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi", "kprobe.session", "uprobe", "uretprobe", "usdt":
		return "kprobe"
	case "tcx/ingress", "tcx/egress", "tc":
		return "tc"
	case "cgroup_skb/ingress", "cgroup_skb/egress":
		return "cgroup_skb"
	case "tracepoint", "raw_tracepoint", "tp_btf", "perf_event", "iter", "xdp", "socket":
		return kind
	}
	return ""
}

// In reports whether programs of a class may call the helper.
func (h Helper) In(class string) bool { return slices.Contains(h.Classes, class) }

// String is the helper in a line: what a model or a person needs to call it.
func (h Helper) String() string {
	var b strings.Builder
	b.WriteString(h.Name + h.Call)
	if h.Means != "" {
		b.WriteString(": " + h.Means)
	}
	b.WriteString(" [" + cmp.Or(strings.Join(h.Classes, " "), "in none of the kinds of programs that kgent runs"))
	if h.GPL {
		b.WriteString("; GPL only")
	}
	if h.Sleeps {
		b.WriteString("; only where sleeping is allowed")
	}
	return b.String() + "]"
}

// row is a helper as measured. in lists classes, and groups of them.
type row struct {
	name  string
	id    int32
	flags string // g: GPL only, s: sleeps
	in    string
}

func (r row) helper() Helper {
	h := Helper{Name: "bpf_" + r.name, ID: r.id, GPL: strings.Contains(r.flags, "g"), Sleeps: strings.Contains(r.flags, "s")}
	for _, c := range strings.Fields(r.in) {
		switch c {
		case "all":
			h.Classes = append(h.Classes, classNames...)
		case "trace":
			h.Classes = append(h.Classes, classNames[:traceClasses]...)
		default:
			h.Classes = append(h.Classes, c)
		}
	}
	w := words[r.name]
	h.Call, h.Means = w[0], w[1]
	return h
}

// classNames are the classes that were measured; the first traceClasses of them
// trace.
var classNames = []string{
	"kprobe", "tracepoint", "perf_event", "raw_tracepoint", "tp_btf", "iter",
	"xdp", "tc", "cgroup_skb", "socket", "sock_addr", "sockops", "cgroup_sock", "sysctl", "sockopt", "cgroup_device",
	"sk_msg", "sk_skb", "sk_lookup", "syscall", "netfilter",
}

const traceClasses = 6

// Refuse says why programs at a kind of hook may not call a helper on a kernel of a
// release ("6.1.0-18"); nil when they may, or when the table cannot tell.
func Refuse(name, kind, release string) error {
	h, ok := Of(name)
	class := ClassOf(kind)
	if !ok || class == "" || h.In(class) || newer(release) {
		return nil
	}
	if len(h.Classes) == 0 {
		return fmt.Errorf("%s cannot be called at %s hooks", h.Name, kind)
	}
	return fmt.Errorf("%s cannot be called at %s hooks, only by programs of these kinds: %s", h.Name, kind, strings.Join(h.Classes, ", "))
}

// newer reports whether a release is later than the one measured, or no release.
func newer(release string) bool {
	var a, b, x, y int
	if _, err := fmt.Sscanf(release, "%d.%d", &a, &b); err != nil {
		return true
	}
	if _, err := fmt.Sscanf(Release, "%d.%d", &x, &y); err != nil {
		return true
	}
	return a > x || a == x && b > y
}

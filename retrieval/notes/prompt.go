package notes

import "strings"

// Place is a hook as a manifest names it: "tracepoint", "sched:sched_switch".
type Place struct{ Kind, Target string }

// rules are what holds for all hooks of some kinds.
var rules = []struct {
	kinds []string
	says  string
}{
	{[]string{"uprobe", "uretprobe", "usdt"}, "Pointers of programs and libraries are in the process's memory: bpf_probe_read_user and bpf_probe_read_user_str. Other processes than those that have the file mapped do not come by."},
	{[]string{"kretprobe", "uretprobe"}, "A return has no arguments: remember them at the entry, keyed by thread (the low 32 bits of bpf_get_current_pid_tgid()), and forget them at the return, whatever the result."},
	{[]string{"kprobe", "kretprobe", "fentry", "fexit"}, "A function may be inlined or renamed by another kernel or compiler; a tracepoint seldom is: take one where there is one."},
	{[]string{"fexit"}, "Arguments at the end are what the function was called with; what they point to may have changed or be freed."},
	{[]string{"syscall"}, "Pointers of system calls are in the process's memory. A call that is interrupted and begins again enters twice. 32-bit programs do not come to the tracepoints of single calls."},
	{[]string{"lsm", "fmod_ret"}, "0 lets it happen, -EPERM refuses: a program that only watches hands on the ret that it is given."},
	{[]string{"xdp", "tcx/ingress", "tcx/egress", "cgroup_skb/ingress", "cgroup_skb/egress"}, "Numbers in a packet are in network byte order; each read needs a check against data_end on its path."},
}

// Prompt is what is known about hooks, for who writes a program for a kernel of that
// release: the rules of their kinds, then the notes in the order of the places, each once, as many
// as fit into limit bytes. It is empty if nothing is known.
func Prompt(release string, places []Place, limit int) string {
	var order []*Note
	kinds := map[*Note][]string{}
	for _, p := range places {
		if n := Of(p.Kind, p.Target); n != nil {
			if kinds[n] == nil {
				order = append(order, n)
			}
			kinds[n] = append(kinds[n], p.Kind)
		}
	}
	var rest strings.Builder
	seen := map[string]bool{}
	for _, n := range order {
		text := n.For(release, kinds[n]...)
		if rest.Len()+len(text) > limit {
			break
		}
		rest.WriteString(text)
		seen["syscall"] = seen["syscall"] || n.Kind == Syscall
		for _, kind := range kinds[n] {
			seen[kind] = true
		}
	}
	var b strings.Builder
	for _, r := range rules {
		for _, k := range r.kinds {
			if seen[k] && b.Len()+len(r.says)+1+rest.Len() <= limit {
				b.WriteString(r.says + "\n")
				break
			}
		}
	}
	b.WriteString(rest.String())
	return b.String()
}

package contract

import (
	"fmt"
	"strings"

	"kgent/agent/program"
)

// placeKinds are the kinds as the text form writes them.
var placeKinds = []string{"tracepoint", "tp_btf", "raw_tracepoint", "kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi", "kprobe.session",
	"fentry", "fexit", "fmod_ret", "lsm", "iter", "uprobe", "uretprobe", "usdt", "perf_event", "xdp", "tcx/ingress", "tcx/egress", "socket",
	"cgroup_skb/ingress", "cgroup_skb/egress", "cgroup"}

// targets says what stands after the slash, for kinds that need something there.
var targets = map[string]string{"tracepoint": "syscalls/sys_enter_openat", "tp_btf": "sched_switch", "raw_tracepoint": "sched_switch",
	"kprobe": "vfs_read", "kretprobe": "vfs_read", "kprobe.multi": "vfs_read,vfs_write", "kretprobe.multi": "vfs_read,vfs_write",
	"kprobe.session": "vfs_read", "fentry": "vfs_read", "fexit": "vfs_read", "fmod_ret": "security_file_open", "lsm": "file_open",
	"iter": "task", "uprobe": "libc.so.6:getaddrinfo", "uretprobe": "bash:readline", "usdt": "libc.so.6:libc:setjmp", "perf_event": "cpu-clock/99",
	"cgroup": "connect4"}

// cutPlace splits "tp_btf/sched_switch" into kind and target.
func cutPlace(text string) (kind, target string, err error) {
	text = slashed(text)
	for _, k := range placeKinds {
		if rest, ok := strings.CutPrefix(text, k); ok && (rest == "" || rest[0] == '/') && len(k) > len(kind) {
			kind, target = k, strings.TrimPrefix(rest, "/")
		}
	}
	if short, rest, _ := strings.Cut(text, "/"); kind == "" {
		switch short {
		case "tp":
			kind, target = "tracepoint", rest
		case "raw_tp":
			kind, target = "raw_tracepoint", rest
		default:
			return short, "", fmt.Errorf("no kind of hook is called %s (%s)", short, strings.Join(placeKinds, ", "))
		}
	}
	switch example := targets[kind]; {
	case example == "" && target != "":
		return kind, "", fmt.Errorf("%s takes nothing after its name: where it is attached is chosen when it runs", kind)
	case example != "" && target == "":
		return kind, "", fmt.Errorf("%s needs to say where, as in %s/%s", kind, kind, example)
	case kind == "tracepoint" && strings.Count(target, "/") != 1:
		return kind, "", fmt.Errorf("a tracepoint is written tracepoint/CATEGORY/NAME, as in tracepoint/%s", targets[kind])
	case strings.HasPrefix(kind, "u") && !strings.Contains(target, ":"):
		return kind, "", fmt.Errorf("%s is written %s/BINARY:SYMBOL, as in %s/%s", kind, kind, kind, example)
	}
	for _, r := range target {
		if r < '!' || r > '~' {
			return kind, "", fmt.Errorf("the place %q has a character that no place has", text)
		}
	}
	return kind, target, nil
}

// slashed writes the places of tracers that have colons, "tracepoint:syscalls:sys_enter_openat", the
// way it is done here.
func slashed(text string) string {
	for _, k := range append([]string{"tp", "raw_tp"}, placeKinds...) {
		rest, ok := strings.CutPrefix(text, k)
		if !ok || rest == "" || rest[0] != ':' && rest[0] != '/' {
			continue
		}
		rest = "/" + rest[1:]
		if k == "tracepoint" || k == "tp" {
			rest = strings.ReplaceAll(rest, ":", "/")
		}
		return k + rest
	}
	return text
}

// String writes the place as in the text form, without its arguments.
func (p *Place) String() string {
	if p.Target == "" {
		return p.Kind
	}
	return p.Kind + "/" + p.Target
}

// Where returns the kind and target in the form that a kernel's facts are asked about: "tracepoint", "sched:sched_switch".
func (p *Place) Where() (kind, target string) {
	if p.Kind == "tracepoint" {
		return p.Kind, strings.Replace(p.Target, "/", ":", 1)
	}
	return p.Kind, p.Target
}

// verdicts says whether the return value of programs here means something.
func (p *Place) verdicts() bool {
	switch program.Kind(p.Kind) {
	case program.FmodRet, program.KprobeSession, program.SocketFilter:
		return true
	}
	_, ok := program.Kind(p.Kind).Harmless()
	return ok
}

package contract

import (
	"regexp"
	"strings"

	"kgent/retrieval/kernel/abi"
)

// habits are words that people and models bring from other languages, with what to
// write here.
var habits = map[string]string{
	"and": "write && for and", "or": "write || for or", "not": "write ! for not", "is": "write == for is",
	"pid": "the process id is current.tgid, the thread's current.tid", "tid": "the thread id is current.tid", "tgid": "the process id is current.tgid",
	"comm": "the thread's name is current.comm, the process's process_comm(current.task)", "uid": "the user is current.uid", "gid": "the group is current.gid",
	"ppid": "the parent's process id is current.task.real_parent.tgid", "task": "the current task is current.task",
	"args": "arguments go by the names that are listed with the place", "ctx": "arguments go by the names that are listed with the place",
	"arg0": "arguments go by the names that are listed with the place", "arg1": "arguments go by the names that are listed with the place",
	"retval": "the result is ret, which has to be listed with the place", "ret": "list ret with the place; only exits have it",
	"nsecs": "the time is now", "timestamp": "the time is now", "time": "the time is now", "ts": "the time is now",
	"strncmp": `write starts(text, "prefix"), or text == "…"`, "strcmp": `write text == "…"`, "strcontains": "a text can be compared as a whole or by its beginning: ==, starts",
	"starts_with": `write starts(text, "prefix")`, "startswith": `write starts(text, "prefix")`, "has_prefix": `write starts(text, "prefix")`,
	"bpf_ntohs": "write ntohs(…)", "bpf_ntohl": "write ntohl(…)", "bpf_htons": "write htons(…)", "bpf_htonl": "write htonl(…)",
	"min": "write a < b ? a : b", "max": "write a > b ? a : b", "abs": "write a < 0 ? 0 - a : a", "str": "write user_text(pointer, bytes), or kernel_text",
	"kstack": "the stack is kernel_stack", "ustack": "the stack is user_stack", "if": "write condition ? this : that",
}

// typeHabits are types that there are not.
var typeHabits = map[string]string{
	"string": "a text is char[N]", "text": "a text is char[N]", "str": "a text is char[N]", "comm": "a name is char[16]", "k_comm": "a name is char[16]", "k_str": "a text is char[N]",
	"k_timestamp": "the time is k_time", "timestamp": "the time is k_time", "k_ts": "the time is k_time", "k_duration": "a duration is k_ns", "duration": "a duration is k_ns",
	"int": "write s32 or s64", "long": "write s64", "bool": "write k_bool", "ip": "write k_ip", "k_ipv6": "write k_ip, which holds either family",
	"address": "write k_ip, or k_addr for one in memory", "k_size": "write k_bytes", "k_state": "write k_tcpstate for TCP, else u32", "k_path": "a path is char[256]",
	"k_dns": "a DNS name is k_dnsname", "k_dns_name": "a DNS name is k_dnsname", "k_hostname": "a DNS name in a packet is k_dnsname, any other char[N]",
}

// hint is what to write instead of a name, to be put behind a message; or empty.
func hint(of map[string]string, name string) string {
	if h := of[name]; h != "" {
		return "; " + h
	}
	if strings.HasPrefix(name, "bpf_") {
		return "; contracts call no helpers: write now, current.tgid, current.comm, user_text(…) and so on"
	}
	return ""
}

// positiveError finds an error's number where results of calls are compared with it: those are
// negative, so that it would never be equal.
func (k *checker) positiveError(x, y *Value, e *Binary) bool {
	for _, p := range [2][2]*Value{{x, y}, {y, x}} {
		n, ok := p[1].From.(*Name)
		if !ok || p[1].Op != OpConst || !p[0].Type.Signed {
			continue
		}
		if _, isErrno := abi.Errno(n.Name); !isErrno || !strings.HasPrefix(n.Name, "E") {
			continue
		}
		if p[0].Op == OpArg && k.place != nil && k.place.Args[p[0].Index].Index == ArgReturn || p[0].Type.Meaning == "ret" {
			k.errorf(e.At, "%s is negative when it is an error: write %s %s -%s", ExprString(p[0].From), ExprString(p[0].From), e.Op, n.Name)
			k.instead(n, &Unary{Op: "-", X: n})
			return true
		}
	}
	return false
}

// asArgument takes what says the kernel's type of an argument off it: "sig (int)", "sig: int" and
// "int sig" are sig. Types of contracts stay.
func asArgument(text string) string {
	text = strings.TrimSpace(text)
	if i := strings.Index(text, " ("); i > 0 {
		text = text[:i]
	}
	if name, typ, ok := strings.Cut(text, ":"); ok {
		if _, known := vocabulary[strings.TrimSpace(typ)]; !known && !strings.HasPrefix(strings.TrimSpace(typ), "char[") {
			return strings.TrimSpace(name)
		}
		return text
	}
	if m := cArgument.FindStringSubmatch(text); m != nil && !strings.Contains(text, " as ") {
		return m[1]
	}
	return text
}

var cArgument = regexp.MustCompile(`^[a-z][\w ]*[ *]+(\w+)$`)

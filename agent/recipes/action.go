package recipes

import "slices"

// actions are verbs that ask for a change when they are an order. Those in
// nouns are also names of what recipes watch: "block I/O", "kill events".
var actions = struct{ always, nouns []string }{
	always: []string{
		"throttle", "restart", "ban", "prohibit", "kick", "quarantine", "renice", "reboot", "disable", "enable", "prevent", "unblock", "whitelist", "blacklist", "redirect", "reroute", "reject", "deny", "forbid", "disallow",
		"isolate", "sandbox", "freeze", "suspend", "resume", "pause", "terminate", "inject", "corrupt", "rewrite", "modify", "overwrite", "delay", "limit", "cap", "shape", "prioritize", "prioritise", "deprioritize", "boost", "pin", "unpin",
		"increase", "reduce", "decrease", "tune", "optimize", "optimise", "fix", "repair", "patch", "upgrade", "downgrade", "configure", "set", "unset", "add", "install", "uninstall", "unload", "detach", "evict", "wipe", "purge",
		"truncate", "rotate", "replace", "revert", "rollback", "shutdown", "halt", "intercept", "allow", "permit", "stop", "ratelimit", "rate-limit", "force", "lower", "raise", "clear", "drop", "unlink", "sinkhole", "blackhole", "mitigate", "defend", "protect", "spoof", "mangle", "encrypt", "compress", "copy",
	},
	nouns: []string{"talk", "listen", "kill", "create", "write", "block", "mount", "unmount", "umount", "delete", "remove", "rename", "move", "close", "signal", "send", "reset", "change", "switch", "load", "start", "launch", "execute", "exec", "run", "connect", "open", "erase", "unlink", "type", "resend", "retransmit", "accept", "bind"},
}

// objects are words that follow a verb that is an order.
var objects = []string{
	"the", "a", "an", "all", "any", "every", "it", "them", "this", "that", "these", "those", "my", "our", "his", "her", "him", "their", "everything", "whatever", "anything", "everyone", "whoever", "new", "incoming", "outgoing", "outbound", "inbound",
	"process", "processes", "pid", "user", "users", "port", "ports", "traffic", "packets", "connections", "files", "file", "access", "requests", "ssh", "http", "https", "dns", "udp", "tcp", "icmp", "ip", "address", "host", "hosts", "down", "off", "out", "up", "nginx",
}

// asks are the words that an order may follow, with what may stand before "to".
var (
	polite   = []string{"please", "pls", "kindly", "kgent", "now", "just", "then", "hey", "hi", "hello", "ok", "okay", "also", "you", "go", "ahead", "and", "immediately", "automatically", "quickly", "lets", "let's", "so"}
	wantedTo = []string{"want", "wanted", "need", "like", "wish", "you", "me", "us", "have", "going", "able", "order", "kgent", "how", "rule", "program", "bpf", "xdp", "filter", "it", "something"}
)

// action returns the verb by which a request asks to change something instead
// of watching it.
func (q *query) action() (verb string, ok bool) {
	starts := true // at the beginning of an order
	for i, w := range q.words {
		if w.quoted {
			starts = w.ends
			continue
		}
		order := starts || i >= 2 && q.words[i-1].low == "to" && slices.Contains(wantedTo, q.words[i-2].low) ||
			i >= 1 && slices.Contains([]string{"me", "us", "will", "would", "should", "must", "can", "automatically", "immediately"}, q.words[i-1].low)
		if order && (q.is(i, "shut", "take", "bring", "tear") && q.is(i+1, "down") || q.is(i, "turn", "switch", "cut", "shut") && q.is(i+1, "off") || q.is(i, "kick") || q.is(i, "get") && q.is(i+1, "rid")) {
			return q.said(i, i+2), true
		}
		always, noun := slices.Contains(actions.always, w.low), slices.Contains(actions.nouns, w.low)
		switch pronoun := q.is(i+1, "it", "them", "him", "her", "those", "these", "that"); {
		case w.fixed != "" || !always && !noun:
		case order && always && !q.is(i+1, "by", "of", "per", "and", "or", "events", "calls", "after", "when", "once", "latency", "in", "failures", "failure", "errors", "error", "failing", "latencies", "attempts", "syscalls", "counts", "count", "durations", "rate", "sizes", "that", "which", "with"):
			return w.text, true
		case order && noun && (q.named(i+1) || q.is(i+1, objects...)) && !q.is(i+2, "calls", "events", "syscalls"):
			return w.text, true
		case order && q.is(i, "connect", "talk", "listen") && q.is(i+1, "to", "on") && q.named(i+2):
			return w.text, true
		case i > 0 && q.is(i-1, "and", "or", "then") && (pronoun || always && !q.is(i+1, "by", "of", "events", "calls")):
			return w.text, true
		case pronoun && q.is(i-1, "to") && q.is(i-2, "try", "tries", "trying", "tried", "fails", "failed", "failing", "attempts", "attempting", "able", "unable", "manages", "wants"): // "when it tries to open them"
		case pronoun && i > 0 && !q.is(i-1, "who", "what", "which", "does", "did", "that", "the", "a", "an", "its", "their"):
			return w.text, true
		}
		starts = w.ends || starts && slices.Contains(polite, w.low) || slices.Contains([]string{"please", "then"}, w.low) || q.is(i, "you") && q.is(i-1, "can", "could", "would", "will") || starts && q.is(i, "can", "could", "would", "will", "help", "i")
	}
	return "", false
}

// is reports whether word i is one of the given, in lower case.
func (q *query) is(i int, any ...string) bool {
	return i >= 0 && i < len(q.words) && slices.Contains(any, q.words[i].low)
}

// named reports whether a process, address, path or the like is named at word i.
func (q *query) named(i int) bool {
	return slices.ContainsFunc(q.args, func(a arg) bool {
		if a.first != i {
			return false
		}
		switch a.readings[0].role {
		case RolePID, RoleProcess, RoleTargetPID, RoleTargetProcess, RolePort, RoleDestPort, roleSourcePort, RoleLocalPort, RoleAddress, RoleSourceAddress, RoleDestAddress, roleSubnet, RolePath, RoleUser, RoleSignal:
			return true
		}
		return false
	})
}

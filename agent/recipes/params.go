package recipes

import (
	"fmt"
	"slices"
	"strings"
)

// Role is what a value found in a request is about.
type Role string

// The roles of recipe parameters. doc.go lists their types.
const (
	RolePID           Role = "pid"
	RoleProcess       Role = "process"
	RoleServer        Role = "server" // the process that is connected to
	RoleUser          Role = "user"
	RoleSenderPID     Role = "sender_pid" // said to act, not only to be meant
	RoleSender        Role = "sender"
	RoleSenderUser    Role = "sender_user"
	RoleTargetPID     Role = "target_pid"
	RoleTargetProcess Role = "target_process"
	RolePort          Role = "port" // at either end
	RoleLocalPort     Role = "lport"
	RoleDestPort      Role = "dport"
	RoleAddress       Role = "address" // at either end
	RoleSourceAddress Role = "saddr"
	RoleDestAddress   Role = "daddr"
	RolePath          Role = "path"
	RoleErrno         Role = "errno"
	RoleSignal        Role = "signal"
	RoleSyscall       Role = "syscall"
	RoleCapability    Role = "capability"
	RoleThreshold     Role = "threshold"
	RoleSize          Role = "size"
	RoleInterface     Role = "interface"
	RoleCgroup        Role = "cgroup"
	RoleHz            Role = "hz"
	// RoleDeadly is for a switch: on when the request speaks of killing and
	// names no signal.
	RoleDeadly Role = "deadly"
)

// Roles that belong to the run or that only requests have.
const (
	roleDuration   Role = "duration"
	roleInterval   Role = "interval"
	roleRate       Role = "rate" // an interval said as "per second": it wants numbers
	roleTop        Role = "top"
	roleSourcePort Role = "sport"
	roleRemotePort Role = "rport"
	roleAtMost     Role = "at most" // an upper bound of a duration
	roleSubnet     Role = "subnet"
	roleThread     Role = "thread"
	roleParent     Role = "parent"
	roleTargetUser Role = "target_user"
	rolePast       Role = "past"
	roleUnclear    Role = "unclear"

	// roleConnectErrno stands for an error that a connection ends with, see
	// [unreached].
	roleConnectErrno Role = "connect_errno"
)

// binds says for each role of a parameter what it can take from a request.
var binds = map[Role][]Role{
	RolePID:           {RolePID},
	RoleProcess:       {RoleProcess},
	RoleServer:        {RoleProcess, RoleTargetProcess},
	RoleUser:          {RoleUser},
	RoleSenderPID:     {RoleSenderPID},
	RoleSender:        {RoleSender},
	RoleSenderUser:    {RoleSenderUser},
	RoleTargetPID:     {RoleTargetPID},
	RoleTargetProcess: {RoleTargetProcess},
	RolePort:          {RolePort, RoleDestPort, roleSourcePort, RoleLocalPort, roleRemotePort},
	RoleDestPort:      {RoleDestPort, roleRemotePort, RolePort},
	RoleLocalPort:     {RoleLocalPort, RoleDestPort, RolePort},
	RoleAddress:       {RoleAddress, RoleSourceAddress, RoleDestAddress},
	RoleSourceAddress: {RoleSourceAddress, RoleAddress},
	RoleDestAddress:   {RoleDestAddress, RoleAddress},
	RolePath:          {RolePath},
	RoleErrno:         {RoleErrno},
	RoleSignal:        {RoleSignal},
	RoleSyscall:       {RoleSyscall},
	RoleCapability:    {RoleCapability},
	RoleThreshold:     {RoleThreshold},
	RoleSize:          {RoleSize},
	RoleInterface:     {RoleInterface},
	RoleCgroup:        {RoleCgroup},
	RoleHz:            {RoleHz},
	RoleDeadly:        nil, // follows from the words, see [fit.match]
}

// nouns are the roles in words, for messages.
var nouns = map[Role]string{
	RolePID: "process id", RoleProcess: "process name", RoleServer: "process name", RoleUser: "user", RoleSenderPID: "sending process id", RoleSender: "sending process name", RoleSenderUser: "sending user",
	RoleTargetPID: "receiving process id", RoleTargetProcess: "receiving process name",
	RolePort: "port", RoleLocalPort: "local port", RoleDestPort: "destination port", roleSourcePort: "source port", roleRemotePort: "remote port",
	RoleAddress: "address", RoleSourceAddress: "source address", RoleDestAddress: "destination address",
	RolePath: "path", RoleErrno: "error", RoleSignal: "signal", RoleSyscall: "system call", RoleCapability: "capability",
	RoleThreshold: "smallest duration", RoleSize: "size", RoleInterface: "interface", RoleCgroup: "cgroup", RoleHz: "sampling rate",
	roleDuration: "length of the run", roleInterval: "interval", roleRate: "interval", roleTop: "number of rows",
	roleAtMost: "largest duration", roleSubnet: "range of addresses", roleThread: "thread id", roleParent: "parent", roleTargetUser: "receiving user", rolePast: "look into the past", roleConnectErrno: "error of a connection", roleUnclear: "value",
}

func isRole(r Role) bool { return nouns[r] != "" }

// reading is one thing a value can mean.
type reading struct {
	role  Role
	value string // as program.EncodeValue takes it; durations as time.ParseDuration does
}

// arg is a value found in a request.
type arg struct {
	readings    []reading // in order of preference
	first, last int       // the words it was read from: [first, last)
	soft        bool      // its words also have a meaning without it
	problem     string    // why it cannot be used, whatever the recipe
}

// reader finds the values in the words of one request. Its rules run one after
// the other, the least ambiguous first; each takes the words it has understood.
type reader struct {
	lex    *lexicon
	userID func(name string) (uint32, bool) // nil when names cannot be looked up
	words  []word
	taken  []bool
	args   []arg
}

// readArgs finds every value in words.
func readArgs(lex *lexicon, words []word, userID func(string) (uint32, bool)) []arg {
	r := &reader{lex: lex, userID: userID, words: words, taken: make([]bool, len(words))}
	for _, rule := range []func(i int) int{
		r.addresses, r.cgroups, r.paths, r.errnos, r.signals, r.capabilities, r.rates, r.tops, r.amounts, r.sizes,
		r.pids, r.users, r.ports, r.services, r.interfaces, r.syscalls, r.programs, r.names,
	} {
		for i := 0; i < len(words); {
			if r.taken[i] {
				i++
				continue
			}
			i += max(rule(i), 1)
		}
	}
	slices.SortStableFunc(r.args, func(a, b arg) int { return a.first - b.first })
	return r.args
}

// take records a value that was read from words [first, last) and returns how
// far the rule that began at from has come.
func (r *reader) take(from, first, last int, a arg) int {
	a.first, a.last = first, last
	for i := first; i < last; i++ {
		r.taken[i] = true
	}
	r.args = append(r.args, a)
	return last - from
}

func value(role Role, v string) arg { return arg{readings: []reading{{role, v}}} }

// problem is a value that no recipe can use.
func problem(role Role, format string, args ...any) arg {
	return arg{readings: []reading{{role, ""}}, problem: fmt.Sprintf(format, args...)}
}

// low returns word i in lower case; "" outside of the request, and for words
// that are taken or quoted.
func (r *reader) low(i int) string {
	if i < 0 || i >= len(r.words) || r.taken[i] || r.words[i].quoted {
		return ""
	}
	return r.words[i].low
}

// text returns word i as written, quoted or not.
func (r *reader) text(i int) string {
	if i < 0 || i >= len(r.words) || r.taken[i] {
		return ""
	}
	return r.words[i].text
}

func (r *reader) stem(i int) string {
	if r.low(i) == "" {
		return ""
	}
	return r.words[i].stem
}

// is reports whether word i is one of the given, in lower case.
func (r *reader) is(i int, any ...string) bool { return slices.Contains(any, r.low(i)) }

// says reports how many words a phrase has when it stands at i, else 0.
func (r *reader) says(i int, phrase string) int {
	if low := r.low(i); low == "" || !strings.HasPrefix(phrase, low) {
		return 0
	}
	n := 0
	for w := range strings.SplitSeq(phrase, " ") {
		if r.low(i+n) != w || n > 0 && r.words[i+n-1].ends {
			return 0
		}
		n++
	}
	return n
}

// saysBefore reports how many words of one of the phrases end right before i.
func (r *reader) saysBefore(i int, phrases ...string) int {
	for _, p := range phrases {
		n := strings.Count(p, " ") + 1
		if r.says(i-n, p) == n && !r.words[i-1].ends {
			return n
		}
	}
	return 0
}

package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/verify/proof"
)

// Lesson is a kind of mistake that was shown in a program on a hook before, for whoever
// writes the next one there. It has no words of anybody's: only a code.
type Lesson struct {
	// Hook is the place, as in a contract: "tp_btf/inet_sock_set_state".
	Hook string `json:"hook"`
	// Code is a key of the list of mistakes.
	Code string `json:"code"`
	// Times is how often it was shown.
	Times int `json:"times"`
}

// Lessons keep what was refuted, by hook, in all replicas of a bot. Implementations are safe
// for concurrent use, bounded, and forget in time; one test suite runs over them.
type Lessons interface {
	// Learn notes lessons; those that are known already are counted.
	Learn(ctx context.Context, lessons ...Lesson) error
	// About returns the lessons of these hooks, those learnt most often first.
	About(ctx context.Context, hooks []string) ([]Lesson, error)
}

// mistakes are the verifier's own words for kinds of mistakes, by code. What is kept and what
// is told to a model is one of these and nothing else, so no request, program or contract can
// put words into a later prompt.
var mistakes = map[string]string{
	"crash":   "a program did what the kernel forbids on some path",
	"size":    "an event had another size than its type",
	"order":   "a value in network order was shown without being swapped, or swapped twice: look at the member's type, __be16 and __be32 need bpf_ntohs and bpf_ntohl once",
	"unit":    "a value was stored in a member of another unit: the k_ type of a member says its unit",
	"address": "a kernel address was shown",
	"atomic":  "a map that CPUs share was changed without atomic instructions",
	"space":   "memory was read with the helper of the wrong space: bpf_probe_read_user for user pointers, bpf_probe_read_kernel for kernel ones",
	"written": "bytes were shown that were never written: zero the whole record, padding too, or write every member",
	"tgid":    "the process id was wrong: it is bpf_get_current_pid_tgid() >> 32, the lower half is the thread's",
	"tid":     "the thread id was wrong: it is the lower half of bpf_get_current_pid_tgid()",
	"swapped": "a port or address was not converted as asked: network order becomes host order exactly once",
	"latency": "a time was measured from something else than the beginning of the same operation: key by thread, and forget when it ends, fails or is missed",
	"key":     "samples were counted under another key than asked",
	"number":  "an event was sent where none is asked for, or none where one is",
	"row":     "a row appeared or was missing where the condition says otherwise",
	"memory":  "what was remembered between hooks was not kept, or not forgotten, as asked",
	"return":  "the returned verdict was another than asked",
}

// maxLessons is how many lessons a prompt has.
const maxLessons = 6

// LessonsOf are what a refutation teaches about its hook; none when it is of no known kind.
func LessonsOf(r *proof.Report) []Lesson {
	if r == nil || r.Counterexample == nil || len(r.Counterexample.Scenario) == 0 {
		return nil
	}
	x := r.Counterexample
	hook := strings.Replace(x.Scenario[len(x.Scenario)-1].Place, "tracepoint/syscalls:", "tracepoint/syscalls/", 1)
	code := mistakeOf(x)
	if code == "" || len(hook) > 120 || strings.ContainsFunc(hook, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil
	}
	return []Lesson{{Hook: hook, Code: code, Times: 1}}
}

func mistakeOf(x *proof.Counterexample) string {
	if _, rule, always := strings.Cut(x.Obligation, "/always/"); always {
		code, _, _ := strings.Cut(rule, "/")
		if mistakes[code] == "" {
			return ""
		}
		return code
	}
	last := x.Obligation[strings.LastIndexByte(x.Obligation, '/')+1:]
	_, asked, _ := strings.Cut(x.Words, " is ")
	switch {
	case strings.Contains(x.Obligation, "/memory "):
		return "memory"
	case last == "return":
		return "return"
	case last == "events":
		return "number"
	case strings.HasSuffix(last, ".row"), strings.HasSuffix(last, ".deleted"):
		return "row"
	case strings.HasSuffix(last, ".key"):
		return "key"
	case asked == "current.tgid":
		return "tgid"
	case asked == "current.tid":
		return "tid"
	case strings.HasPrefix(asked, "ntoh"):
		return "swapped"
	case strings.HasPrefix(asked, "now - "):
		return "latency"
	}
	return ""
}

// learn keeps what a refutation teaches. That it cannot be kept is nobody's matter who asked.
func (p *preparation) learn(ctx context.Context, err error) {
	if p.Lessons == nil || p.trying {
		return
	}
	lessons := LessonsOf(refutation(err))
	if len(lessons) == 0 {
		return
	}
	if fault := p.Lessons.Learn(ctx, lessons...); fault != nil && p.Warn != nil {
		p.Warn("keeping a lesson", fault)
	}
}

// lessons are the lines about the hooks of a contract, for the author of its program.
func (p *preparation) lessons(ctx context.Context, c *contract.Contract) string {
	if p.Lessons == nil || c == nil {
		return ""
	}
	var hooks []string
	for _, h := range c.Hooks {
		for _, at := range h.Places {
			hooks = append(hooks, placeOf(at.Where()))
		}
	}
	found, err := p.Lessons.About(ctx, hooks)
	if err != nil {
		if p.Warn != nil {
			p.Warn("reading lessons", err)
		}
		return ""
	}
	return lessonLines(found)
}

// lessonLines are the known mistakes among lessons, each once.
func lessonLines(found []Lesson) string {
	slices.SortStableFunc(found, func(a, b Lesson) int { return cmp.Compare(b.Times, a.Times) })
	var b strings.Builder
	var said []string
	for _, l := range found {
		words := mistakes[l.Code]
		if words == "" || slices.Contains(said, l.Code) || len(said) == maxLessons {
			continue
		}
		if len(said) == 0 {
			b.WriteString("# Mistakes that programs on these hooks were shown to have before\n")
		}
		said = append(said, l.Code)
		fmt.Fprintf(&b, "- %s\n", words)
	}
	return b.String()
}

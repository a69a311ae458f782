package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/agent/contract"
	"kgent/agent/recipes"
	"kgent/retrieval/kernel"
)

var hostComposer = sync.OnceValues(func() (*Composer, error) {
	ctx := context.Background()
	_ = kernel.EnsureMounts(ctx) // without root there is no tracefs; the tests that need it say so
	facts, err := kernel.Live(ctx)
	if err != nil {
		return nil, err
	}
	library, err := recipes.Default()
	if err != nil {
		return nil, err
	}
	return New(library, facts, Options{})
})

func host(t testing.TB) *Composer {
	t.Helper()
	c, err := hostComposer()
	if err != nil {
		t.Fatalf("the tests need a kernel with BTF: %v", err)
	}
	if len(c.tracepoints) == 0 {
		t.Skip("needs root: tracefs cannot be read")
	}
	return c
}

// request is a labelled request.
type request struct {
	line   int
	before []string
	text   string
	want   []string // empty: no
}

func requests(t testing.TB, file string) []request {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var out []request
	for i, line := range strings.Split(string(raw), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		text, want, ok := strings.Cut(line, "\t")
		if !ok {
			t.Fatalf("%s:%d: no tab", file, i+1)
		}
		turns := strings.Split(text, " >> ")
		r := request{line: i + 1, before: turns[:len(turns)-1], text: turns[len(turns)-1]}
		if want != "no" {
			r.want = strings.Fields(want)
		}
		out = append(out, r)
	}
	return out
}

// answered is what the agent makes of a request without a model: a recipe's, or composed.
func answered(c *Composer, r request) (*Composition, error) {
	m, err := c.recipes.MatchAfter(r.before, r.text, recipes.MatchOptions{})
	if err == nil {
		if instead, err := c.Instead(context.Background(), m, r.before, r.text); instead != nil || err != nil {
			return instead, err
		}
		return &Composition{Contract: m.Recipe.Contract, Options: m.Options, Duration: m.Duration, Origin: "recipe " + m.Recipe.Name, Understood: m.Understood}, nil
	}
	return c.Continue(context.Background(), r.before, nil, r.text)
}

// judge tells what is wrong with an answer, or "".
func judge(c *Composer, got *Composition, want []string) string {
	for _, w := range want {
		var ok bool
		for alt := range strings.SplitSeq(w, "|") {
			if i := strings.IndexByte(w, '='); i > 0 && !strings.ContainsAny(alt, "=:@") && alt != "no" {
				alt = w[:i+1] + alt
			}
			ok = ok || holds(c, got, alt)
		}
		if !ok {
			return w
		}
	}
	return ""
}

func holds(c *Composer, got *Composition, w string) bool {
	k := got.Contract
	var places []string
	for _, h := range k.Hooks {
		for _, p := range h.Places {
			places = append(places, p.String())
		}
	}
	all := func(is func(string) bool) bool {
		return len(places) > 0 && !slices.ContainsFunc(places, func(p string) bool { return !is(p) })
	}
	switch what, arg := splitLabel(w); what {
	case "call":
		alike := c.family(callName(arg)) // which are watched where the request does not say that the one is meant
		return all(func(p string) bool {
			return slices.ContainsFunc(alike, func(call string) bool {
				return p == "tracepoint/syscalls/sys_enter_"+call || p == "tracepoint/syscalls/sys_exit_"+call
			})
		}) || all(func(p string) bool { return p == "tp_btf/sys_enter" || p == "tp_btf/sys_exit" }) && got.Options.Constants["syscall"] == arg
	case "tp":
		group, name, _ := strings.Cut(arg, "/")
		return all(func(p string) bool {
			return name == "*" && strings.HasPrefix(p, "tracepoint/"+group+"/") || p == "tracepoint/"+arg || p == "tp_btf/"+name || p == "raw_tracepoint/"+name
		})
	case "tps":
		want := strings.Split(arg, ",")
		return len(places) == len(want) && all(func(p string) bool {
			return slices.Contains(want, p[strings.LastIndexByte(p, '/')+1:])
		})
	case "fn":
		return all(func(p string) bool {
			kind, name, _ := strings.Cut(p, "/")
			return name == arg && slices.Contains([]string{"fentry", "fexit", "kprobe", "kretprobe"}, kind)
		})
	case "@":
		r, ok := c.recipes.Lookup(arg)
		if !ok {
			return false
		}
		return all(func(p string) bool {
			return slices.ContainsFunc(r.Contract.Hooks, func(h *contract.Hook) bool {
				return slices.ContainsFunc(h.Places, func(q *contract.Place) bool { return q.String() == p })
			})
		})
	case "form":
		agg := map[string][]contract.Agg{"count": {contract.Count}, "hist": {contract.Log2, contract.Linear}, "sum": {contract.Sum, contract.Stats}, "stats": {contract.Stats}, "max": {contract.Max, contract.Stats}}[arg]
		if arg == "events" {
			return len(k.Events) > 0
		}
		return slices.ContainsFunc(k.Tables, func(t *contract.Table) bool {
			return slices.ContainsFunc(t.Values, func(v contract.TableValue) bool { return slices.Contains(agg, v.Agg) })
		})
	case "key":
		return slices.ContainsFunc(k.Tables, func(t *contract.Table) bool {
			keys := keysOf(t)
			if strings.HasPrefix(got.Origin, "recipe ") { // a recipe as it is may have more
				return !slices.ContainsFunc(strings.Split(arg, ","), func(k string) bool { return !slices.Contains(keys, k) })
			}
			return slices.Equal(keys, strings.Split(arg, ","))
		})
	case "if":
		return conditioned(got, arg) || always(k, arg)
	case "only":
		list := sites(k)
		return len(list) > 0 && !slices.ContainsFunc(list, func(s site) bool {
			return slices.ContainsFunc(s.hook.Places, func(p *contract.Place) bool { return !strings.HasSuffix(p.String(), "/"+arg) })
		})
	case "in":
		for _, h := range k.Hooks {
			for _, s := range h.Steps {
				if slices.ContainsFunc(s.Cases, func(x *contract.Case) bool { return strings.Contains(spelled(x.When), arg) }) {
					return true
				}
			}
		}
	case "below":
		return strings.Contains(contract.Format(k), strconv.Quote(arg+"/"))
	case "top":
		return strconv.Itoa(got.Options.View.Top) == arg
	case "every":
		d, err := time.ParseDuration(arg)
		return err == nil && got.Options.View.Interval == d
	case "for":
		d, err := time.ParseDuration(arg)
		return err == nil && got.Duration == d
	}
	return false
}

func splitLabel(w string) (string, string) {
	if name, ok := strings.CutPrefix(w, "@"); ok {
		return "@", name
	}
	if i := strings.IndexAny(w, ":="); i > 0 {
		return w[:i], w[i+1:]
	}
	return w, ""
}

// keysOf are the kinds of a table's keys, in order, each once.
func keysOf(t *contract.Table) []string {
	var out []string
	for _, m := range t.Key {
		kind := m.Name
		switch {
		case m.Type.Name == "k_pid" || m.Type.Size == 16 && (m.Name == "comm" || m.Name == "victim"):
			kind = "process"
		case m.Type.Name == "k_uid":
			kind = "user"
		case m.Type.Name == "k_port":
			kind = "port"
		case m.Type.Name == "k_ip":
			kind = "address"
		case m.Type.Name == "k_errno" || m.Type.Name == "k_ret":
			kind = "error"
		case m.Type.Name == "k_signal":
			kind = "signal"
		case m.Type.Name == "k_cgroup":
			kind = "cgroup"
		}
		if !slices.Contains(out, kind) {
			out = append(out, kind)
		}
	}
	if out == nil {
		out = []string{"-"}
	}
	return out
}

var (
	comparison = regexp.MustCompile(`^([a-z_]*)(==|!=|>=|<=|<|>|=)(.*)$`)
	numeric    = regexp.MustCompile(`^[0-9]+$`)
)

// conditioned tells whether a contract has a condition, or a parameter that value.
func conditioned(got *Composition, want string) bool {
	m := comparison.FindStringSubmatch(want)
	if m == nil {
		return false
	}
	left, op, value := m[1], m[2], m[3]
	if op == "=" {
		return got.Options.Constants[left] == value
	}
	if op == ">=" && got.Options.Constants["threshold"] == value || op == "<" && value == "0" && got.Options.Name == "syscall-errors" {
		return true
	}
	if e, ok := strings.CutPrefix(value, "-"); ok && got.Options.Constants["errno"] == e {
		return true
	}
	plainOp := strings.TrimSuffix(op, "=")
	found := false
	consider := func(e contract.Expr) {
		if u, ok := e.(*contract.Unary); ok && op == "!=" && u.Op == "!" {
			contract.Walk(u.X, func(x contract.Expr) {
				if strings.Trim(spelled(x), `"`) == value {
					found = true
				}
			})
		}
		b, ok := e.(*contract.Binary)
		if !ok || strings.TrimSuffix(b.Op, "=") != plainOp || left != "" && !strings.Contains(spelled(b.X), left) && left != "uid" {
			return
		}
		y := b.Y
		text := strings.Trim(spelled(y), `"`)
		if n, ok := y.(*contract.Number); ok && numeric.MatchString(value) {
			text = strconv.FormatUint(n.Value, 10)
		}
		if n, ok := y.(*contract.Number); ok && strings.TrimSuffix(op, "=") == ">" {
			if d, err := time.ParseDuration(value); err == nil {
				found = found || n.Value == uint64(d)
			}
		}
		found = found || text == value
	}
	for _, h := range got.Contract.Hooks {
		for _, s := range h.Steps {
			for _, x := range s.Cases {
				contract.Walk(x.When, consider)
			}
		}
	}
	return found
}

// always tells whether everything that a contract shows has a value in a column: "what==renamed".
func always(k *contract.Contract, want string) bool {
	name, value, ok := strings.Cut(want, "==")
	if !ok || name == "" {
		return false
	}
	list := sites(k)
	return len(list) > 0 && !slices.ContainsFunc(list, func(s site) bool {
		col, ok := byName(columns(k, s), name)
		return !ok || spelled(col.is) != value
	})
}

// tally counts right answers, honest refusals and wrong answers.
type tally struct{ right, refused, wrong int }

func run(t *testing.T, file string) (tally, []string) {
	c := host(t)
	var n tally
	var lines []string
	for _, r := range requests(t, file) {
		got, err := answered(c, r)
		var no *NoError
		switch {
		case err != nil && !errors.As(err, &no):
			t.Errorf("%s:%d: %q: %v", file, r.line, r.text, err)
		case err != nil && r.want == nil:
			n.right++
		case err != nil:
			n.refused++
			lines = append(lines, fmt.Sprintf("refused  %d %q: %v", r.line, r.text, no.Why))
		case r.want == nil:
			n.wrong++
			lines = append(lines, fmt.Sprintf("WRONG    %d %q: must be refused, got %s: %q", r.line, r.text, got.Origin, got.Understood))
		default:
			if w := judge(c, got, r.want); w != "" {
				n.wrong++
				lines = append(lines, fmt.Sprintf("WRONG    %d %q: not %s: %s: %q", r.line, r.text, w, got.Origin, got.Understood))
				if os.Getenv("COMPOSE_SHOW") != "" {
					lines = append(lines, contract.Format(got.Contract))
				}
				continue
			}
			n.right++
		}
	}
	return n, lines
}

func TestDevelopment(t *testing.T) {
	n, lines := run(t, "dev.tsv")
	t.Logf("right %d, honest refusals %d, wrong %d\n%s", n.right, n.refused, n.wrong, strings.Join(lines, "\n"))
	if n.wrong+n.refused > 0 {
		t.Errorf("%d wrong, %d refused", n.wrong, n.refused)
	}
}

// The last requests that were held out. What is left of "wrong" is another form than wanted,
// mostly a recipe's, and labels that are stricter than people.
func TestHeldOut(t *testing.T) {
	n, lines := run(t, "heldout.tsv")
	t.Logf("right %d, honest refusals %d, wrong %d\n%s", n.right, n.refused, n.wrong, strings.Join(lines, "\n"))
	if n.wrong > 1 || n.right < 73 {
		t.Errorf("right %d, wrong %d: that was better", n.right, n.wrong)
	}
}

// The requests of people on call that were held out last.
func TestOnCall(t *testing.T) {
	n, lines := run(t, "oncall.tsv")
	t.Logf("right %d, honest refusals %d, wrong %d\n%s", n.right, n.refused, n.wrong, strings.Join(lines, "\n"))
	if n.wrong > 0 || n.right < 29 {
		t.Errorf("right %d, wrong %d: that was better", n.right, n.wrong)
	}
}

// The requests that were held out earlier, and have been looked at since.
func TestFormerlyHeldOut(t *testing.T) {
	for _, file := range []string{"first.tsv", "second.tsv", "third.tsv"} {
		n, lines := run(t, file)
		t.Logf("%s: right %d, honest refusals %d, wrong %d\n%s", file, n.right, n.refused, n.wrong, strings.Join(lines, "\n"))
	}
}

package smt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a solver that says what the script says.
func fake(t *testing.T, limit time.Duration, script string) *Process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "solver")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	p := NewProcess(Limits{Time: limit}, path)
	t.Cleanup(func() { p.Close() })
	return p
}

// Whatever a solver says that is not exactly an answer is no answer.
func TestProcessThatMisbehaves(t *testing.T) {
	for _, c := range []struct{ name, script, err string }{
		{"an error", `echo '(error "line 1")'; cat >/dev/null`, "unexpected answer to check-sat"},
		{"an answer and more", `echo 'unsat maybe'; cat >/dev/null`, "unexpected answer to check-sat"},
		{"nothing", `exit 0`, ""},
		{"half an answer", `printf un`, "unexpected answer to check-sat"},
		{"a value of another width", `echo sat; echo '((v0 #x01))'; cat >/dev/null`, "unexpected answer to get-value"},
		{"a value of another variable", `echo sat; echo '((v1 #x0001))'; cat >/dev/null`, "unexpected answer to get-value"},
		{"a value that is no number", `echo sat; echo '((v0 #x00_1))'; cat >/dev/null`, "unexpected answer to get-value"},
		{"a right answer and more", `echo sat; echo '((v0 #x0001))'; echo unsat; cat >/dev/null`, "unexpected words after the answer"},
		{"two answers", `echo unsat; echo unsat; cat >/dev/null`, "unexpected words after the answer"},
		{"no value", `echo sat`, ""},
		{"a wrong model", `echo sat; echo '((v0 #x0002))'; cat >/dev/null`, "evaluating the model"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New()
			x := b.Var(16, &Info{Name: "x"})
			// It reads before it speaks, so that the question can be written.
			a, err := fake(t, time.Minute, "read question\n"+c.script).Check(context.Background(), b.Eq(x, b.Const(16, 1)))
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if a.Result != Unknown || a.Why == "" || a.Model != nil {
				t.Errorf("answer %+v", a)
			}
			if wrong := strings.Contains(c.err, "model"); errors.Is(err, ErrUnsound) != wrong {
				t.Errorf("%v: unsound is %v", err, !wrong)
			}
		})
	}
}

func TestProcessThatHangs(t *testing.T) {
	for name, script := range map[string]string{
		"deaf":                "exec sleep 100",
		"mute":                "cat >/dev/null",
		"mute after its sat":  "echo sat; cat >/dev/null",
		"deaf after its sat":  "echo sat; exec sleep 100",
		"repeats what it got": "exec cat",
	} {
		t.Run(name, func(t *testing.T) {
			b := New()
			var all []Term
			for i := range 2000 { // more than a pipe holds
				x := b.Var(64, &Info{Name: "x" + strconv.Itoa(i)})
				all = append(all, b.Ult(x, b.Const(64, uint64(i+3))))
			}
			a, err := fake(t, 50*time.Millisecond, script).Check(context.Background(), all...)
			if a.Result != Unknown || a.Why == "" {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

func TestProcessThatIsNotThere(t *testing.T) {
	b := New()
	p := NewProcess(Limits{}, "/nowhere/z3")
	a, err := p.Check(context.Background(), b.Var(1, &Info{Name: "x"}))
	if err == nil || a.Result != Unknown {
		t.Errorf("%+v, %v", a, err)
	}
	// In a portfolio, that is one that does not know.
	a, err = Portfolio(p, NewBuiltin(b, Limits{})).Check(context.Background(), b.Var(1, &Info{Name: "x"}))
	if err != nil || a.Result != Sat {
		t.Errorf("%+v, %v", a, err)
	}
}

// factoring is a question of which no solver knows the answer at once.
func factoring(b *Builder) []Term {
	x := b.Var(64, &Info{Name: "x"})
	y := b.Var(64, &Info{Name: "y"})
	product := b.Const(64, 2860486313*3367900313)
	one, limit := b.Const(64, 1), b.Const(64, 1<<32)
	return []Term{b.Eq(b.Mul(x, y), product), b.Ult(one, x), b.Ult(one, y), b.Ult(x, limit), b.Ult(y, limit)}
}

func TestTimeRunsOut(t *testing.T) {
	long := time.Minute
	for name, make := range map[string]func(b *Builder) Solver{
		"builtin":   func(b *Builder) Solver { return NewBuiltin(b, Limits{Time: long}) },
		"process":   func(*Builder) Solver { return z3(t, long) },
		"portfolio": func(b *Builder) Solver { return Portfolio(NewBuiltin(b, Limits{Time: long}), z3(t, long)) },
		"both":      func(b *Builder) Solver { return CrossCheck(NewBuiltin(b, Limits{Time: long}), z3(t, long)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := New()
			s := make(b)
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			a, err := s.Check(ctx, factoring(b)...)
			if err != nil || a.Result != Unknown || !strings.Contains(a.Why, "time") {
				t.Errorf("%+v, %v", a, err)
			}
			// The solver is as good as new.
			x := b.Var(64, &Info{Name: "x"})
			a, err = s.Check(context.Background(), b.Eq(x, b.Const(64, 7)))
			if a.Result != Sat || a.Model.Value(x) != 7 {
				t.Errorf("afterwards: %+v, %v", a, err)
			}
		})
	}
	// The limit of the solver itself.
	b := New()
	for _, s := range []Solver{NewBuiltin(b, Limits{Time: 20 * time.Millisecond}), z3(t, 20*time.Millisecond)} {
		a, err := s.Check(context.Background(), factoring(b)...)
		if err != nil || a.Result != Unknown || !strings.Contains(a.Why, "20ms") {
			t.Errorf("%+v, %v", a, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	limits := Limits{Time: 10 * time.Minute}
	for name, make := range map[string]func(b *Builder) Solver{
		"builtin": func(b *Builder) Solver { return NewBuiltin(b, limits) },
		"process": func(*Builder) Solver { return z3(t, limits.Time) },
	} {
		t.Run(name, func(t *testing.T) {
			b := New()
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(20*time.Millisecond, cancel)
			began := time.Now()
			a, err := make(b).Check(ctx, factoring(b)...)
			if err != nil || a.Result != Unknown || !strings.Contains(a.Why, "cancelled") {
				t.Errorf("%+v, %v", a, err)
			}
			if d := time.Since(began); d > time.Minute {
				t.Errorf("it took %v to stop", d)
			}
			// Cancelled before the question.
			a, err = make(b).Check(ctx, factoring(b)...)
			if err != nil || a.Result != Unknown {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

func TestGatesRunOut(t *testing.T) {
	b := New()
	a, err := NewBuiltin(b, Limits{Gates: 100}).Check(context.Background(), factoring(b)...)
	if err != nil || a.Result != Unknown || !strings.Contains(a.Why, "100 gates") {
		t.Errorf("%+v, %v", a, err)
	}
}

// says is a solver that always gives the same answer.
type says struct {
	Answer
	err error
}

func (s says) Check(context.Context, ...Term) (Answer, error) { return s.Answer, s.err }

func TestCrossCheck(t *testing.T) {
	b := New()
	x := b.Var(1, &Info{Name: "x"})
	sat := says{Answer: Answer{Result: Sat, Model: &model{}}}
	unsat := says{Answer: Answer{Result: Unsat}}
	idle := says{Answer: unknown("no wish to")}
	broken := says{unknown("broken"), errors.New("broken")}
	for _, c := range []struct {
		name            string
		solvers         []Solver
		want            Result
		failed, unsound bool
	}{
		{"agreement", []Solver{unsat, unsat}, Unsat, false, false},
		{"agreement on sat", []Solver{sat, sat}, Sat, false, false},
		{"contradiction", []Solver{sat, unsat}, Unknown, true, true},
		{"contradiction the other way", []Solver{unsat, sat}, Unknown, true, true},
		{"one does not know", []Solver{unsat, idle}, Unknown, false, false},
		{"one does not know, two contradict", []Solver{unsat, idle, sat}, Unknown, true, true},
		{"one is broken", []Solver{unsat, broken}, Unknown, true, false},
		{"one is broken, two contradict", []Solver{broken, sat, unsat}, Unknown, true, true},
		{"nobody", nil, Unknown, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := CrossCheck(c.solvers...).Check(context.Background(), x)
			if a.Result != c.want || (err != nil) != c.failed || errors.Is(err, ErrUnsound) != c.unsound {
				t.Errorf("%+v, %v", a, err)
			}
			var d *Disagreement
			if errors.As(err, &d) != c.unsound || d != nil && !strings.Contains(d.Question, "check-sat") {
				t.Errorf("%v", err)
			}
			if a.Result == Unknown && a.Why == "" {
				t.Error("unknown without a reason")
			}
		})
	}
}

func TestPortfolio(t *testing.T) {
	b := New()
	x := b.Var(1, &Info{Name: "x"})
	unsat := says{Answer: Answer{Result: Unsat}}
	idle := says{Answer: unknown("no wish to")}
	liar := says{unknown("liar"), ErrUnsound}
	if a, err := Portfolio(idle, unsat).Check(context.Background(), x); a.Result != Unsat || err != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := Portfolio(idle, idle).Check(context.Background(), x); a.Result != Unknown || err != nil || !strings.Contains(a.Why, "no wish to") {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := Portfolio(liar, unsat).Check(context.Background(), x); a.Result != Unknown || err == nil {
		t.Errorf("%+v, %v", a, err)
	}
}

// counting counts the questions that reach it.
type counting struct {
	Solver
	n int
}

func (c *counting) Check(ctx context.Context, fs ...Term) (Answer, error) {
	c.n++
	return c.Solver.Check(ctx, fs...)
}

func TestRemember(t *testing.T) {
	b := New()
	c := &counting{Solver: NewBuiltin(b, Limits{})}
	s := Remember(c, 4)
	f := func(i int) Term { return b.Eq(b.Var(8, &Info{Name: "x"}), b.Const(8, uint64(i))) }
	ask := func(fs ...Term) Result {
		a, err := s.Check(context.Background(), fs...)
		if err != nil {
			t.Fatal(err)
		}
		return a.Result
	}
	if ask(f(1), f(2)) != Unsat || ask(f(2), f(1), f(2)) != Unsat || c.n != 1 {
		t.Errorf("one set of formulas was asked %d times", c.n)
	}
	for i := range 100 {
		ask(f(i))
	}
	r := s.(*remembering).cache
	if n := len(r.young) + len(r.old); n > 4 {
		t.Errorf("%d answers are kept, 4 were allowed", n)
	}
	never := Remember(says{Answer: unknown("x")}, 4)
	never.Check(context.Background(), f(1))
	if n := never.(*remembering).cache.count; n != 0 {
		t.Errorf("%d unknowns were kept", n)
	}
}

func TestMinimise(t *testing.T) {
	b := New()
	port := b.Var(16, &Info{Name: "port"})
	s := NewBuiltin(b, Limits{})
	formulas := []Term{b.Ne(b.BSwap(port), port)}
	first, err := s.Check(context.Background(), formulas...)
	if err != nil {
		t.Fatal(err)
	}
	best := Minimise(context.Background(), s, first, formulas, []Term{
		b.Eq(port, b.Const(16, 0x0101)), // impossible
		b.Eq(port, b.Const(16, 443)),
		b.Eq(port, b.Const(16, 80)), // too late
	})
	if got := best.Model.Value(port); got != 443 {
		t.Errorf("port %d, want 443", got)
	}
}

func FuzzParseValue(f *testing.F) {
	for _, s := range []string{"((v0 #x01))", "((v0 #b1))", "((v0 (_ bv1 8)))", "", "((v0 #x))", "((v0 #xzz))"} {
		f.Add(s, uint8(8))
	}
	f.Fuzz(func(t *testing.T, line string, width uint8) {
		w := uint(width)%64 + 1
		v, err := parseValue(line, "v0", w)
		if err != nil {
			return
		}
		if v > mask(w) {
			t.Errorf("%q is %#x, more than %d bits", line, v, w)
		}
	})
}

package smt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Process is a Solver that asks another program over a pipe, in SMT-LIB 2:
//
//	NewProcess(limits, "z3", "-in", "-smt2")
//
// One process is kept and answers one question after the other. It is killed
// when time runs out and when it says anything that was not expected; the next
// question starts a new one. The caller ends it with Close.
type Process struct {
	limits Limits
	path   string
	args   []string

	mu  sync.Mutex
	now *conversation // nil if no process runs
}

// NewProcess returns a solver that runs the program when it is first needed.
// Of the limits, only Time is used.
func NewProcess(limits Limits, path string, args ...string) *Process {
	return &Process{limits: limits.withDefaults(), path: path, args: args}
}

// conversation is a running process and the threads of its pipes.
type conversation struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed when the process says no more
	asked int
}

// asksPerProcess bounds what a process can accumulate.
const asksPerProcess = 10_000

// Close ends the process. Another question would start a new one.
func (p *Process) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
	return nil
}

func (p *Process) stop() {
	if p.now == nil {
		return
	}
	c := p.now
	p.now = nil
	c.in.Close()
	c.kill()
	for range c.lines { // until the reader is done
	}
	c.cmd.Wait()
}

// kill ends the process and those it started, which hold its pipes.
func (c *conversation) kill() { syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) }

func (p *Process) start() error {
	cmd := exec.Command(p.path, p.args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.path, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.path, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.path, err)
	}
	c := &conversation{cmd: cmd, in: in, lines: make(chan string, 64)}
	go func() {
		defer close(c.lines)
		scanner := bufio.NewScanner(out)
		scanner.Buffer(nil, 16<<20)
		for scanner.Scan() {
			c.lines <- scanner.Text()
		}
	}()
	p.now = c
	return nil
}

// Check decides whether all formulas can be true at once. Questions of several
// goroutines wait for each other.
func (p *Process) Check(ctx context.Context, formulas ...Term) (Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, p.limits.Time)
	defer cancel()
	if ctx.Err() != nil {
		return unknown("%s was not asked: %s", p.path, stopped(ctx, p.limits)), nil
	}
	if p.now == nil {
		if err := p.start(); err != nil {
			return unknown("%s does not run", p.path), err
		}
	}
	answer, err := p.ask(ctx, formulas)
	if p.now.asked++; err != nil || answer.Result == Unknown || p.now.asked >= asksPerProcess {
		p.stop()
	}
	if err != nil && errors.Is(err, ctx.Err()) {
		return unknown("%s: %s", p.path, stopped(ctx, p.limits)), nil
	}
	if err != nil {
		return unknown("%s failed", p.path), fmt.Errorf("asking %s: %w", p.path, err)
	}
	return answer, nil
}

// ask has the conversation of one question. It ends with a word that has to
// come back, so that nothing is left over that the next question could take
// for its answer.
func (p *Process) ask(ctx context.Context, formulas []Term) (Answer, error) {
	c := p.now
	text, names := script(formulas)
	if err := c.say(ctx, "(push 1)\n"+text+"(check-sat)\n"); err != nil {
		return Answer{}, err
	}
	line, err := c.hear(ctx)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{}
	switch line {
	case "unsat":
		answer.Result = Unsat
	case "unknown":
		return unknown("%s does not know", p.path), nil
	case "sat":
		m, err := c.model(ctx, Vars(formulas...), names)
		if err != nil {
			return Answer{}, err
		}
		if answer, err = checked(m, formulas); err != nil {
			return answer, err
		}
	default:
		return Answer{}, fmt.Errorf("unexpected answer to check-sat: %.200q", line)
	}
	return answer, c.end(ctx)
}

// model asks for the values of all variables.
func (c *conversation) model(ctx context.Context, vars []Term, names map[Term]string) (*model, error) {
	m := &model{make(map[Term]uint64)}
	var text strings.Builder
	for _, v := range vars {
		text.WriteString("(get-value (" + names[v] + "))\n")
	}
	if err := c.say(ctx, text.String()); err != nil {
		return nil, err
	}
	for _, v := range vars {
		line, err := c.hear(ctx)
		if err != nil {
			return nil, err
		}
		if m.values[v], err = parseValue(line, names[v], v.width); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// end forgets the question, and makes sure that everything was heard.
func (c *conversation) end(ctx context.Context) error {
	word := "end" + strconv.Itoa(c.asked)
	if err := c.say(ctx, "(pop 1)\n(echo \""+word+"\")\n"); err != nil {
		return err
	}
	line, err := c.hear(ctx)
	if err != nil {
		return err
	}
	if strings.Trim(line, `"`) != word { // z3 leaves the quotes out
		return fmt.Errorf("unexpected words after the answer: %.200q", line)
	}
	return nil
}

// say writes, and gives up when the context ends: a process that does not read
// must not hold its caller.
func (c *conversation) say(ctx context.Context, text string) error {
	done := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c.in, text)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("writing: %w", err)
		}
		return nil
	case <-ctx.Done():
		c.kill() // ends the write
		<-done
		return ctx.Err()
	}
}

func (c *conversation) hear(ctx context.Context) (string, error) {
	select {
	case line, ok := <-c.lines:
		if !ok {
			return "", errors.New("it ended without an answer")
		}
		return strings.TrimSpace(line), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// parseValue reads the answer for one variable: ((name #x00ff)) or, for a
// width that is no multiple of four, ((name #b011)).
func parseValue(line, name string, width uint) (uint64, error) {
	wrong := fmt.Errorf("unexpected answer to get-value of %s, %d bits: %.200q", name, width, line)
	text, ok := strings.CutPrefix(line, "(("+name+" #")
	if !ok {
		return 0, wrong
	}
	if text, ok = strings.CutSuffix(text, "))"); !ok || len(text) < 2 {
		return 0, wrong
	}
	base, digits := 2, width
	if text[0] == 'x' {
		base, digits = 16, width/4
	} else if text[0] != 'b' {
		return 0, wrong
	}
	if uint(len(text)-1) != digits || base == 16 && width%4 != 0 || strings.ContainsAny(text[1:], "_+-") {
		return 0, wrong
	}
	v, err := strconv.ParseUint(text[1:], base, 64)
	if err != nil {
		return 0, wrong
	}
	return v, nil
}

// Script is the question in SMT-LIB 2, complete and ready for any solver. The
// variables are called v0, v1, …; a comment says which is which.
func Script(formulas ...Term) string {
	var s strings.Builder
	text, names := script(formulas)
	for _, v := range Vars(formulas...) {
		fmt.Fprintf(&s, "; %s is %q\n", names[v], v.info.Name)
	}
	return "(set-logic QF_BV)\n" + s.String() + text + "(check-sat)\n"
}

// script declares the variables and asserts the formulas. Every part that is
// used more than once is defined once.
func script(formulas []Term) (string, map[Term]string) {
	w := &smtlib{names: make(map[Term]string)}
	vars := make(map[Term]string)
	for i, v := range Vars(formulas...) {
		name := "v" + strconv.Itoa(i)
		vars[v], w.names[v] = name, name
		fmt.Fprintf(&w.text, "(declare-const %s (_ BitVec %d))\n", name, v.width)
	}
	visit(formulas, w.define)
	for _, f := range formulas {
		fmt.Fprintf(&w.text, "(assert (= %s #b1))\n", w.name(f))
	}
	return w.text.String(), vars
}

type smtlib struct {
	text  strings.Builder
	names map[Term]string
	count int
}

// name of a part that was defined before; constants have none.
func (w *smtlib) name(t Term) string {
	if t.op == OpConst {
		return fmt.Sprintf("(_ bv%d %d)", t.val, t.width)
	}
	return w.names[t]
}

// define gives a part a name, after its arguments got theirs.
func (w *smtlib) define(t Term) {
	if t.op == OpConst || t.op == OpVar {
		return
	}
	args := make([]string, len(t.args))
	for i, a := range t.args {
		args[i] = w.name(a)
	}
	name := "t" + strconv.Itoa(w.count)
	w.count++
	w.names[t] = name
	fmt.Fprintf(&w.text, "(define-fun %s () (_ BitVec %d) %s)\n", name, t.width, expression(t, args))
}

// expression in SMT-LIB. Comparisons are booleans there, and bit-vectors here.
func expression(t Term, args []string) string {
	all := strings.Join(args, " ")
	switch t.op {
	case OpEq, OpUlt, OpSlt:
		return "(ite (" + t.op.String() + " " + all + ") #b1 #b0)"
	case OpIte:
		return "(ite (= " + args[0] + " #b1) " + args[1] + " " + args[2] + ")"
	case OpExtract:
		return fmt.Sprintf("((_ extract %d %d) %s)", t.Hi(), t.Lo(), all)
	case OpSignExt:
		return fmt.Sprintf("((_ sign_extend %d) %s)", t.width-t.args[0].width, all)
	case OpConcat, OpAdd, OpMul, OpAnd, OpOr, OpXor: // z3 alone takes more than two
		text := args[0]
		for _, a := range args[1:] {
			text = "(" + t.op.String() + " " + text + " " + a + ")"
		}
		return text
	}
	return "(" + t.op.String() + " " + all + ")"
}

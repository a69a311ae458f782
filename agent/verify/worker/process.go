package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify"
	"kgent/agent/verify/compare"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
)

const (
	// maxKernels is how many kernels one process is told of, some 60 MB each.
	maxKernels = 8
)

// Process proves in a process that runs a command, and remembers what was
// proved. It is safe for concurrent use; proofs take turns, each using all
// processors.
type Process struct {
	// Limits bound each proof; the zero value means [proof.Defaults].
	Limits proof.Limits
	// Patience is what a proof may take beyond its own limit, for reading a
	// kernel's types and for whoever else uses the processors.
	Patience time.Duration
	// Idle is after how long without a proof the process is ended.
	Idle time.Duration

	command []string
	reports verify.Reports
	turn    chan *child // holds the child, which may be nil, while nobody uses it
}

// New returns a Process of a command, with its arguments, that does what
// [Serve] does. Nothing is started before the first proof.
func New(command ...string) *Process {
	p := &Process{Patience: 30 * time.Second, Idle: 5 * time.Minute, command: command, turn: make(chan *child, 1)}
	p.turn <- nil
	return p
}

// Prove implements agent.Prover. What goes wrong with the process is UNKNOWN.
func (p *Process) Prove(ctx context.Context, facts *kernel.Facts, o *program.Object, m *program.Manifest, c *contract.Contract) (*proof.Report, error) {
	key, err := verify.KeyOf(facts.Release, facts.Hash(), o, m, c)
	if err != nil {
		return nil, err
	}
	if r := p.reports.Recall(key); r != nil {
		return r, nil
	}
	r := request{ELF: o.ELF(), Contract: textOf(c)}
	if r.Manifest, err = m.Encode(); err != nil {
		return nil, err
	}
	var known *proof.Report
	got, err := p.use(ctx, facts, func() *request {
		if known = p.reports.Recall(key); known != nil { // it was just proved for somebody else
			return nil
		}
		return &r
	})
	broken, err := outcome(ctx, "proving", known != nil || got.Report != nil, err)
	switch {
	case err != nil:
		return nil, err
	case broken != "":
		return &proof.Report{Reasons: []string{broken}}, nil
	case known != nil:
		return known, nil
	}
	p.reports.Keep(key, got.Report)
	return got.Report, nil
}

// Compare implements agent.Comparer. What goes wrong with the process is Unknown.
func (p *Process) Compare(ctx context.Context, facts *kernel.Facts, a, b compare.Program, assume []string) (*compare.Result, error) {
	r := request{
		Assume: assume,
		Name:   a.Name, ELF: a.Object.ELF(), Contract: textOf(a.Kept),
		Other: &other{Name: b.Name, ELF: b.Object.ELF(), Contract: textOf(b.Kept)},
	}
	var err error
	if r.Manifest, err = a.Manifest.Encode(); err != nil {
		return nil, err
	}
	if r.Other.Manifest, err = b.Manifest.Encode(); err != nil {
		return nil, err
	}
	got, err := p.use(ctx, facts, func() *request { return &r })
	broken, err := outcome(ctx, "comparing", got.Result != nil, err)
	switch {
	case err != nil:
		return nil, err
	case broken != "":
		return &compare.Result{Reasons: []string{broken}}, nil
	}
	return got.Result, nil
}

// outcome says what came of a request: an error, which is about the input or the context's; or why
// nothing is known, if the process broke or did not answer it; else neither.
func outcome(ctx context.Context, doing string, answered bool, err error) (broken string, _ error) {
	var b *brokenError
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case errors.As(err, &b):
		return b.Error(), nil
	case err != nil:
		return "", err
	case !answered:
		return "the process that was asked answered something else", nil
	}
	return "", nil
}

// use waits for the process and gives it the request about a kernel, if there still is one by then.
func (p *Process) use(ctx context.Context, facts *kernel.Facts, still func() *request) (answer, error) {
	var k *child
	select {
	case k = <-p.turn:
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
	r := still()
	if r == nil {
		p.turn <- k
		return answer{}, nil
	}
	r.Kernel, r.Limits = facts.Hash(), p.Limits
	got, k, err := p.ask(ctx, k, facts, *r)
	p.rest(k)
	return got, err
}

// textOf is a contract as it travels; nil is none.
func textOf(c *contract.Contract) *string {
	if c == nil {
		return nil
	}
	text := contract.Format(c)
	return &text
}

// ask has a proof or a comparison made by the child, or by a new one, and returns the child that
// is there afterwards.
func (p *Process) ask(ctx context.Context, k *child, facts *kernel.Facts, r request) (answer, *child, error) {
	if k != nil && (!k.alive() || !k.kernels[r.Kernel] && len(k.kernels) >= maxKernels) {
		k.end()
		k = nil
	}
	if k == nil {
		var err error
		if k, err = start(p.command); err != nil {
			return answer{}, nil, &brokenError{err}
		}
	}
	if !k.kernels[r.Kernel] {
		var err error
		if r.Snapshot, err = kernel.Encode(facts); err != nil {
			return answer{}, k, err
		}
	}
	limit := p.Limits.Time
	if limit <= 0 {
		limit = proof.Defaults.Time
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit+p.Patience, errors.New("the proof did not end when its time was over"))
	defer cancel()
	a, err := k.exchange(ctx, r)
	if err != nil {
		return answer{}, nil, &brokenError{err}
	}
	if a.Error != "" {
		return answer{}, k, errors.New(a.Error)
	}
	return a, k, nil
}

// rest lets the next one have the child, and ends it when nobody comes.
func (p *Process) rest(k *child) {
	if k != nil {
		k.proofs++
		proofs := k.proofs
		k.idle = time.AfterFunc(p.Idle, func() {
			now := <-p.turn
			if now == k && k.proofs == proofs {
				k.end()
				now = nil
			}
			p.turn <- now
		})
	}
	p.turn <- k
}

// Close ends the process. A proof under way is waited for.
func (p *Process) Close() {
	if k := <-p.turn; k != nil {
		k.end()
	}
	p.turn <- nil
}

// brokenError says what became of the process.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return "the proof was not finished: " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// child is a process that proves.
type child struct {
	cmd     *exec.Cmd
	in, out *os.File
	answers *json.Decoder
	words   *head           // what it says on its standard error
	kernels map[string]bool // the snapshots that it has
	ended   chan struct{}   // closed when it has
	proofs  int             // how often it was used
	idle    *time.Timer     // ends it
}

// start starts a process.
func start(command []string) (*child, error) {
	if len(command) == 0 {
		return nil, errors.New("no command is known that proves")
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer theirOut.Close()
	k := &child{in: in, out: out, answers: json.NewDecoder(out), words: &head{}, kernels: map[string]bool{}, ended: make(chan struct{})}
	k.cmd = exec.Command(command[0], command[1:]...)
	k.cmd.Stdin, k.cmd.Stdout, k.cmd.Stderr = theirIn, theirOut, k.words
	k.cmd.Env = []string{} // it reads what others made: nothing there is to know of tokens
	k.cmd.WaitDelay = time.Second
	if err := k.cmd.Start(); err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("starting %s: %w", strings.Join(command, " "), err)
	}
	go func() {
		k.cmd.Wait() // how it ended is in its ProcessState
		close(k.ended)
	}()
	return k, nil
}

func (k *child) alive() bool {
	select {
	case <-k.ended:
		return false
	default:
		return true
	}
}

// end ends the process, if it has not ended, and waits for that.
func (k *child) end() {
	if k.idle != nil {
		k.idle.Stop()
	}
	k.cmd.Process.Kill()
	k.in.Close()
	k.out.Close()
	<-k.ended
}

// exchange sends a request and waits for the answer. After an error the child has
// ended.
func (k *child) exchange(ctx context.Context, r request) (a answer, err error) {
	if k.idle != nil {
		k.idle.Stop()
	}
	k.kernels[r.Kernel] = true
	stop := context.AfterFunc(ctx, func() { k.cmd.Process.Kill() })
	err = json.NewEncoder(k.in).Encode(r)
	if err == nil {
		err = k.answers.Decode(&a)
	}
	if stop() && err == nil && (a.Report != nil || a.Result != nil || a.Error != "") {
		return a, nil
	}
	k.end()
	switch said := k.words.String(); {
	case ctx.Err() != nil:
		return answer{}, context.Cause(ctx)
	case said != "":
		return answer{}, errors.New(said)
	default:
		return answer{}, fmt.Errorf("the process that made it ended: %v", k.cmd.ProcessState)
	}
}

// head keeps the first of what is written to it: a crash begins with its reason.
type head struct {
	mu   sync.Mutex
	text []byte
}

// maxWords is how much is kept of a process's words, in bytes.
const maxWords = 2000

func (t *head) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b[:min(len(b), maxWords-len(t.text))]...)
	return len(b), nil
}

// String is the first line.
func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(string(t.text)), "\n")
	return line
}

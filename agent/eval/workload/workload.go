// Package workload does known things in processes of their own, so that a
// program that watches has something to see, and who judges it knows what.
//
// A process that wants to be able to run workloads calls [Main] first thing; it
// returns at once unless the process was started by [Start], which runs the
// same executable under another name. A workload runs on the first thread of
// its process, whose name is the process's, and tells its starter facts: its
// pid, a port that the kernel chose, how long something took.
//
// What a workload makes happen must not depend on Go's runtime: make system
// calls directly (package unix), and more than the runtime could by chance; the
// runtime makes futex, mmap, madvise, nanosleep, epoll_pwait, sched_yield and
// signal calls of its own, on other threads of the same process.
package workload

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// env selects what a re-executed process does.
const env = "KGENT_EVAL_WORKLOAD"

// A workload runs on the first thread of its process, and what [W.Thread]
// starts therefore never does.
func init() {
	if os.Getenv(env) != "" {
		runtime.LockOSThread()
	}
}

// Func is a workload.
type Func struct {
	// Name is what a case calls it.
	Name string
	// Does says in a sentence what it does with its arguments, and which facts it
	// says.
	Does string
	Run  func(w *W) error
}

// all are the workloads that there are. Each file has its own list.
func all() []Func { return slices.Concat(basic(), ordinary(), hard()) }

func find(name string) (Func, bool) {
	list := all()
	i := slices.IndexFunc(list, func(f Func) bool { return f.Name == name })
	if i < 0 {
		return Func{}, false
	}
	return list[i], true
}

// Known reports whether there is a workload of that name.
func Known(name string) bool {
	_, ok := find(name)
	return ok
}

// Names lists the workloads.
func Names() []string {
	var out []string
	for _, f := range all() {
		out = append(out, f.Name)
	}
	slices.Sort(out)
	return out
}

// Words describes the workloads, a line each, for people.
func Words() string {
	var b strings.Builder
	for _, f := range all() {
		fmt.Fprintf(&b, "%-16s %s\n", f.Name, f.Does)
	}
	b.WriteString("\nsteps:\n")
	for _, v := range verbs() {
		fmt.Fprintf(&b, "  %-34s %s\n", v.name+" "+v.args, v.does)
	}
	return b.String()
}

// W is a workload's own side of the conversation with its starter.
type W struct {
	// Args are those of the case.
	Args []string
	// Dir is an empty directory of this workload alone, removed afterwards.
	Dir string

	in      *bufio.Reader
	threads map[string]*thread
	opened  map[string]int // file descriptors that steps have named
}

// Say tells a fact: $name, or $id.name, in the case. Names are in lower case,
// digits and _; values are one line.
func (w *W) Say(name string, value any) { fmt.Printf("fact %s=%v\n", name, value) }

// Took tells a duration in nanoseconds as two facts: NAME_min, which the
// workload made sure of, and NAME_max, which it measured around it.
func (w *W) Took(name string, least time.Duration, f func() error) error {
	began := time.Now()
	err := f()
	w.Say(name+"_min", least.Nanoseconds())
	w.Say(name+"_max", time.Since(began).Nanoseconds())
	return err
}

// Ready says that all facts are said that a request may need, and waits until
// the trace is attached. Only workloads with `before: true` are kept waiting.
func (w *W) Ready() error {
	fmt.Println("ready")
	line, err := w.in.ReadString('\n')
	if err != nil || line != "go\n" {
		return errors.Join(fmt.Errorf("waiting for the trace: heard %q", line), err)
	}
	return nil
}

// Arg is an argument by its place, or otherwise.
func (w *W) Arg(i int, otherwise string) string {
	if i < len(w.Args) {
		return w.Args[i]
	}
	return otherwise
}

// Int is an argument that is a number.
func (w *W) Int(i, otherwise int) (int, error) {
	if i >= len(w.Args) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(w.Args[i])
	if err != nil {
		return 0, fmt.Errorf("argument %d: %w", i+1, err)
	}
	return n, nil
}

// Main runs a workload when this process was started for one, and then does
// not return.
func Main() {
	name := os.Getenv(env)
	if name == "" {
		return
	}
	if err := run(name); err != nil {
		fmt.Fprintf(os.Stderr, "workload %s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(name string) error {
	f, ok := find(name)
	if !ok {
		return errors.New("there is none of that name")
	}
	w := &W{Args: os.Args[2:], Dir: os.Args[1], in: bufio.NewReader(os.Stdin)}
	return f.Run(w)
}

// Process is a workload that was started.
type Process struct {
	Pid    int
	name   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	stderr bytes.Buffer
	facts  map[string]string
	ready  bool
	dir    string
	waited bool
}

// Start runs a workload in a process named comm, at most 15 bytes. It is killed
// when ctx ends, or the starter dies. Its end is to be waited for in any case.
func Start(ctx context.Context, comm, name string, args []string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kgent-eval-")
	if err != nil {
		return nil, err
	}
	p := &Process{name: name + " as " + comm, dir: dir}
	link, work := filepath.Join(dir, comm), filepath.Join(dir, "w")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Symlink(self, link), os.Mkdir(work, 0o777), os.Chmod(work, 0o777)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.cmd = exec.CommandContext(ctx, link, append([]string{work}, args...)...)
	// The runtime would send its own threads signals, which end a sleep with EINTR,
	// and a race detector would let every process linger at its end.
	p.cmd.Env = append(os.Environ(), env+"="+name, "GODEBUG=asyncpreemptoff=1", "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = 2 * time.Second
	in, err1 := p.cmd.StdinPipe()
	out, err2 := p.cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.in, p.out = in, bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting workload %s: %w", p.name, err), os.RemoveAll(dir))
	}
	p.Pid = p.cmd.Process.Pid
	// What the workload need not be asked for is no system call of its own.
	p.facts = map[string]string{"pid": fmt.Sprint(p.Pid), "tid": fmt.Sprint(p.Pid), "ppid": fmt.Sprint(os.Getpid()), "comm": comm, "dir": work}
	return p, nil
}

// listen reads what the workload says until it is ready or ends.
func (p *Process) listen() {
	for p.out.Scan() {
		line := p.out.Text()
		if fact, ok := strings.CutPrefix(line, "fact "); ok {
			if name, value, ok := strings.Cut(fact, "="); ok {
				p.facts[name] = value
			}
		}
		if line == "ready" {
			p.ready = true
			return
		}
	}
}

// Facts are what is known of a workload so far.
func (p *Process) Facts() map[string]string { return p.facts }

// AwaitReady returns the facts of a workload that waits for the trace.
func (p *Process) AwaitReady() (map[string]string, error) {
	p.listen()
	if !p.ready {
		return nil, errors.Join(fmt.Errorf("workload %s does not wait for the trace: it must be one that calls Ready (a step: ready)", p.name), p.end())
	}
	return p.facts, nil
}

// Go lets a workload that waits go on.
func (p *Process) Go() error {
	_, err := io.WriteString(p.in, "go\n")
	return err
}

// Wait returns all facts when the workload has ended. One that ends badly is an
// error.
func (p *Process) Wait() (map[string]string, error) {
	for {
		p.ready = false
		p.listen()
		if !p.ready {
			break
		}
		// It was started in the middle of the trace: there is nothing to wait for.
		if err := p.Go(); err != nil {
			break
		}
	}
	return p.facts, p.end()
}

// Kill ends a workload that is not wanted any more.
func (p *Process) Kill() {
	if !p.waited {
		p.cmd.Process.Kill()
		p.end()
	}
}

func (p *Process) end() error {
	if p.waited {
		return nil
	}
	p.waited = true
	p.in.Close()
	err := p.cmd.Wait()
	if err != nil {
		err = fmt.Errorf("workload %s: %w: %s", p.name, err, strings.TrimSpace(p.stderr.String()))
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

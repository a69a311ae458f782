// Package tracer runs approved scripts by the node's own bpftrace.
//
// Before anything is attached, [Tracer.Load] reads the script once more, has this
// machine's bpftrace translate it for this machine's kernel, and refuses it unless
// that does what was approved: the same hooks, and no call beyond. Then bpftrace is
// run in the jail of package bpftrace/jail, with exactly the approved bytes, and what
// it prints (-f json) becomes kgent's records: lines, tables, histograms, stacks.
//
// bpftrace is not trusted to end: it is told to, which is when it prints its maps,
// and then its whole group is killed. Programs of the kernel that it loaded hang
// from its file descriptors; [Run.Close] fails when one is still there afterwards.
package tracer

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
	"sync"
	"syscall"
	"time"

	"github.com/cilium/ebpf"

	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/bpftrace/jail"
	"kgent/executor/output"
	"kgent/executor/redact"
)

// What bpftrace may use of the node.
const (
	memory  = 4 << 30 // address space: most of it is LLVM's, and never touched
	cpuTime = 5 * time.Minute
	// lastWords is how long bpftrace has to print its maps after it is told to end.
	lastWords = 12 * time.Second
	retell    = 50 * time.Millisecond
	// maxLine is the longest line read; a map of 4096 stacks stays below it.
	maxLine     = 8 << 20
	maxMessages = 64 << 10
	poll        = 10 * time.Millisecond
	freed       = 3 * time.Second // for the kernel to free what was closed
)

// Tracer runs scripts. It is safe for concurrent use.
type Tracer struct {
	Node string
	Tool *bpftrace.Tool
	// Self is how this program is started again to enter the jail.
	Self []string
	// Redact takes secrets out of what is printed; nil takes nothing.
	Redact *redact.Redactor
}

// Sink takes what a run has to say; it is the executor's.
type Sink interface {
	Admit() bool
	Line(line []byte)
	Record(r output.Record)
}

// Load checks a script against what was approved of it. Nothing is run yet. o and m
// fit each other.
func (t *Tracer) Load(ctx context.Context, o *program.Object, m *program.Manifest) (*Run, error) {
	if m.Script == nil || m.Script.Language != bpftrace.Language {
		return nil, errors.New("running a script: there is none")
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("running a script: bpftrace runs as root only, and this executor does not")
	}
	script, err := bpftrace.Parse([]byte(m.Script.Text))
	if err != nil {
		return nil, err
	}
	requires, err := bpftrace.ParseVersion(m.Script.Requires)
	if err != nil {
		return nil, err
	}
	release, err := t.Tool.Release(ctx)
	if err != nil {
		return nil, err
	}
	if release.Less(requires) {
		return nil, fmt.Errorf("the script needs bpftrace %s, this node has %s: install a later one", requires, release)
	}
	if m.Script.Pinned && release.String() != m.Script.By {
		return nil, fmt.Errorf("the script was proved for what bpftrace %s makes of it, and this node has %s: ask for this node alone, or install that release", m.Script.By, release)
	}
	own, err := t.Tool.Translate(ctx, script, nil)
	if err != nil {
		return nil, err
	}
	approved, err := o.Facts()
	if err != nil {
		return nil, err
	}
	here, err := own.Facts()
	if err != nil {
		return nil, err
	}
	if err := program.SameDoings(approved, here); err != nil {
		return nil, fmt.Errorf("bpftrace %s on this node makes something else of the script than what was approved, made by %s: %w", release, m.Script.By, err)
	}
	r := &Run{tracer: t, script: script, facts: here, release: release}
	for _, f := range here {
		r.hooks = append(r.hooks, f.Hook.String())
	}
	return r, nil
}

// Run is one script, on its way or running. Its methods are called in the order
// of the executor's Probe.
type Run struct {
	tracer *Tracer
	script *bpftrace.Script
	facts  []program.Facts
	hooks  []string
	// release is the tool's.
	release bpftrace.Version

	cmd   *exec.Cmd
	said  *messages
	out   io.ReadCloser
	lines chan []byte
	spoke chan struct{} // it printed something that only a trace prints
	ended chan struct{} // it ended, and err says how
	err   error
	ids   []uint32

	mu   sync.Mutex
	seen counts
}

type counts struct{ lines, lost, oversized uint64 }

// Verified returns the programs; bpftrace alone knows what the verifier says.
func (r *Run) Verified() []program.Verified {
	out := make([]program.Verified, len(r.facts))
	for i, f := range r.facts {
		out[i].Program = f.Program
	}
	return out
}

// Attach starts bpftrace and waits until it has loaded and attached everything.
func (r *Run) Attach(ctx context.Context) (output.Attached, error) {
	fail := func(err error) (output.Attached, error) {
		return output.Attached{}, errors.Join(fmt.Errorf("starting the script: %w", err), r.kill())
	}
	if err := r.start(); err != nil {
		return fail(err)
	}
	if err := r.await(ctx); err != nil {
		return fail(err)
	}
	a := output.Attached{Hooks: r.hooks, ProgramIDs: r.ids, Streams: []output.Stream{}}
	a.MapIDs = r.owned("map_id:")
	for _, m := range r.script.Maps {
		if r.script.State(m.Name) {
			continue
		}
		a.Streams = append(a.Streams, stream(m))
	}
	return a, nil
}

func (r *Run) start() error {
	var err error
	// The script comes by standard input: no file is left when this process is killed.
	r.cmd, err = jail.Command(r.tracer.Self, jail.Spec{
		Path: r.tracer.Tool.Path, File: r.tracer.Tool.File, Args: []string{"-f", "json", "-"}, Env: bpftrace.Env(bpftrace.KernelBTF), Memory: memory, CPU: cpuTime, Trace: true,
		UserProbes: slices.ContainsFunc(r.facts, func(f program.Facts) bool { return f.Hook.Kind.NeedsBinary() || f.Hook.Kind == program.ScriptEvent }),
	})
	if err != nil {
		return err
	}
	r.said = &messages{}
	r.cmd.Stderr = r.said
	r.cmd.Stdin = strings.NewReader(r.script.Text)
	r.cmd.WaitDelay = time.Second
	if r.out, err = r.cmd.StdoutPipe(); err != nil {
		return err
	}
	r.lines, r.spoke, r.ended = make(chan []byte, 64), make(chan struct{}), make(chan struct{})
	// Whoever starts it is a thread that stays: with it, it would end.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := r.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		r.read()
		r.err = r.cmd.Wait()
		close(r.ended)
	}()
	if err := <-started; err != nil {
		r.cmd = nil
		return err
	}
	return nil
}

// read hands on lines until bpftrace prints no more. Lines that are too long are
// counted as lost.
func (r *Run) read() {
	defer close(r.lines)
	in := bufio.NewReaderSize(r.out, 64<<10)
	spoken := false
	for {
		line, long, err := readLine(in)
		if long {
			r.mu.Lock()
			r.seen.oversized++
			r.mu.Unlock()
		} else if len(bytes.TrimSpace(line)) > 0 {
			if !spoken && !bytes.HasPrefix(line, []byte(`{"type": "attached_probes"`)) {
				spoken = true
				close(r.spoke)
			}
			r.lines <- line
		}
		if err != nil {
			return
		}
	}
}

// readLine reads up to the end of a line, and keeps at most maxLine of it.
func readLine(in *bufio.Reader) (line []byte, long bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			long = true
		} else {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, long, err
		}
	}
}

// await waits until every program is attached: all are loaded, and bpftrace waits
// for events or has printed the first, which it does only then.
func (r *Run) await(ctx context.Context) error {
	want := 0
	for _, f := range r.facts {
		if f.Hook.Kind != program.ScriptEvent { // some releases let go of BEGIN at once
			want++
		}
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	spoke := r.spoke
	for printed := false; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.ended:
			return r.failure()
		case <-spoke:
			printed, spoke = true, nil
		case <-tick.C:
		}
		if r.ids = r.owned("prog_id:"); len(r.ids) >= want && (printed || r.waits()) {
			return nil
		}
	}
}

// failure says why bpftrace ended by itself.
func (r *Run) failure() error {
	text := bpftrace.Messages(r.said.String())
	if text == "" && r.err == nil {
		return errors.New("bpftrace ended before everything was attached: does the script exit at once?")
	}
	if text == "" {
		text = r.err.Error()
	}
	return fmt.Errorf("bpftrace: %s", text)
}

// waits reports whether bpftrace is in epoll, its loop of events.
func (r *Run) waits() bool {
	for _, file := range []string{"syscall", "wchan"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", r.cmd.Process.Pid, file))
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(string(text), " ")
		if n, err := strconv.Atoi(first); err == nil {
			return slices.Contains(epoll, n)
		}
		if strings.Contains(first, "ep_poll") {
			return true
		}
	}
	return false
}

// owned returns the ids of programs or maps that bpftrace holds descriptors of.
func (r *Run) owned(what string) []uint32 {
	ids := []uint32{}
	dir := fmt.Sprintf("/proc/%d/fdinfo", r.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ids
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			value, ok := strings.CutPrefix(line, what)
			if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); ok && err == nil && !slices.Contains(ids, uint32(n)) {
				ids = append(ids, uint32(n))
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// Stream hands what is printed to sink until ctx ends or the script exits. Then
// bpftrace is told to end, and what it still has to say is handed over.
func (r *Run) Stream(ctx context.Context, sink Sink) error {
	t := translator{run: r, sink: sink, tables: map[string][]output.Record{}}
	told := ctx.Done()
	var late, again <-chan time.Time
	for {
		select {
		case line, ok := <-r.lines:
			if ok {
				t.line(line)
				continue
			}
			<-r.ended
			t.end()
			return r.outcome(t.last)
		case <-told:
			told, t.last = nil, true
			syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT)
			timer, tick := time.NewTimer(lastWords), time.NewTicker(retell)
			defer timer.Stop()
			defer tick.Stop()
			late, again = timer.C, tick.C
		case <-again:
			// A signal that comes while bpftrace does not wait is noted there and
			// forgotten: its loop ends when its waiting is cut short.
			if r.waits() {
				syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT)
			}
		case <-late:
			late = nil
			syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
		}
	}
}

// outcome says what was wrong with how it ended.
func (r *Run) outcome(told bool) error {
	var exit *exec.ExitError
	switch {
	case r.err == nil:
		return nil
	case told && errors.As(r.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return fmt.Errorf("bpftrace did not end within %v after it was told to, and was killed; its maps are lost", lastWords)
	case told && errors.As(r.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGINT:
		return nil
	}
	if errors.As(r.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGXCPU {
		return fmt.Errorf("bpftrace used %v of processor time, which is all it may: let the script print less", cpuTime)
	}
	return r.failure()
}

// Counts returns the lines that were printed or lost, and the lost ones.
func (r *Run) Counts() (produced, lost, mapFull uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := r.seen.lost + r.seen.oversized
	return r.seen.lines + gone, gone, 0, nil
}

// Close kills bpftrace and whatever it started, and makes sure that nothing of it
// is left in the kernel.
func (r *Run) Close() error {
	return r.kill()
}

func (r *Run) kill() error {
	if r.cmd == nil {
		return nil
	}
	ids := append(r.owned("prog_id:"), r.ids...)
	syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	for range r.lines { // nobody else reads them any more
	}
	<-r.ended
	r.cmd = nil
	return gone(ids)
}

// gone waits until the kernel has none of the programs any more.
func gone(ids []uint32) error {
	deadline := time.Now().Add(freed)
	for {
		left := slices.DeleteFunc(slices.Clone(ids), func(id uint32) bool {
			p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
			if err == nil {
				p.Close()
			}
			return errors.Is(err, os.ErrNotExist)
		})
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("ending the script: the kernel still has its programs %v", left)
		}
		time.Sleep(poll)
	}
}

// messages keeps the beginning of what bpftrace says beside its output.
type messages struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (m *messages) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.buf.Write(p[:min(len(p), maxMessages-m.buf.Len())])
	return len(p), nil
}

func (m *messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.buf.String()
}

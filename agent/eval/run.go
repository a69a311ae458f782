package eval

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"kgent/agent/contract"
	"kgent/agent/eval/workload"
	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/recipes"
	"kgent/executor"
	"kgent/executor/output"
	"kgent/retrieval/kernel"
)

// Bench is a machine that programs are compiled for, and run on.
type Bench struct {
	Facts    *kernel.Facts
	Types    compile.Types
	Compiler *compile.Compiler
	Recipes  *recipes.Library
	Kernel   executor.Kernel
}

// sink keeps what a run says.
type sink struct {
	mu      sync.Mutex
	records []output.Record
	dropped int
	faults  []error
}

func (s *sink) Admit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.records) >= maxRecords {
		s.dropped++
		return false
	}
	return true
}

func (s *sink) Line(line []byte) {
	rec, err := output.Decode(bytes.TrimSpace(line))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("reading an event: %w", err))
		return
	}
	if e, ok := rec.(output.Error); ok {
		s.faults = append(s.faults, errors.New(e.Message))
		return
	}
	s.records = append(s.records, rec)
}

func (s *sink) Lines(lines []byte, _ int) {
	for line := range bytes.Lines(lines) {
		s.Line(line)
	}
}

func (s *sink) Record(r output.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, r)
}

// Play is a case's workloads, those that start before already running.
type Play struct {
	c       *Case
	facts   Facts
	running []*workload.Process // by place in the list; nil when not started
}

// Prepare starts the workloads that start before anything is asked, and waits
// until they have said their facts. The play is to be closed in any case.
func (c *Case) Prepare(ctx context.Context) (*Play, error) {
	p := &Play{c: c, facts: Facts{}, running: make([]*workload.Process, len(c.Workloads))}
	for i := range c.Workloads {
		if !c.Workloads[i].Before {
			continue
		}
		if err := p.start(ctx, i); err != nil {
			return p, err
		}
		facts, err := p.running[i].AwaitReady()
		if err != nil {
			return p, err
		}
		p.heard(i, facts)
	}
	return p, nil
}

// Request is one of the case's requests with the facts that it names.
func (p *Play) Request(i int) (string, error) { return p.facts.Fill(p.c.Requests[i]) }

// Close ends what still runs.
func (p *Play) Close() {
	for _, w := range p.running {
		if w != nil {
			w.Kill()
		}
	}
}

func (p *Play) start(ctx context.Context, i int) error {
	w := &p.c.Workloads[i]
	args := w.Args
	if w.Do == "steps" {
		args = w.Steps
	}
	filled := make([]string, len(args))
	for k, a := range args {
		if !strings.Contains(a, "$") || w.Do == "steps" && strings.Contains(a, " sh ") {
			filled[k] = a
			continue
		}
		var err error
		if filled[k], err = p.facts.Fill(a); err != nil {
			return fmt.Errorf("workload %s: %w", w.As, err)
		}
	}
	proc, err := workload.Start(ctx, w.As, w.Do, filled)
	if err != nil {
		return err
	}
	p.running[i] = proc
	p.heard(i, proc.Facts())
	return nil
}

func (p *Play) heard(i int, facts map[string]string) {
	for name, v := range facts {
		if id := p.c.Workloads[i].ID; id != "" {
			name = id + "." + name
		}
		p.facts[name] = v
	}
}

func (p *Play) wait(i int) error {
	facts, err := p.running[i].Wait()
	p.heard(i, facts)
	return err
}

// perform runs all workloads to their end: those that were started before go
// on first, all at once, in their order; then the others, one after the other.
func (p *Play) perform(ctx context.Context) error {
	for i := range p.c.Workloads {
		w := &p.c.Workloads[i]
		if w.Before {
			if err := p.running[i].Go(); err != nil {
				return fmt.Errorf("workload %s: %w", w.As, err)
			}
		} else if err := p.start(ctx, i); err != nil {
			return err
		}
		if !w.Beside {
			if err := p.wait(i); err != nil {
				return err
			}
		}
	}
	for i := range p.c.Workloads {
		if p.c.Workloads[i].Beside {
			if err := p.wait(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// LoadError says that a program cannot be run here: it does not load or attach.
type LoadError struct{ Err error }

func (e *LoadError) Error() string { return e.Err.Error() }
func (e *LoadError) Unwrap() error { return e.Err }

// Run loads and attaches a program, performs the play, detaches, and returns
// what was seen. That the program does not load or attach is a *[LoadError];
// every other error is a fault of a workload or of this machine. Nothing is left
// in the kernel, or that is the error.
func (b *Bench) Run(ctx context.Context, play *Play, o *program.Object, m *program.Manifest) (seen Seen, err error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	probe, err := b.Kernel.Load(ctx, o, m)
	if err != nil {
		return Seen{}, &LoadError{err}
	}
	attached, err := probe.Attach(ctx)
	if err != nil {
		return Seen{}, errors.Join(&LoadError{err}, probe.Close())
	}
	s := &sink{records: []output.Record{attached}}
	watching, stop := context.WithCancel(ctx)
	streamed := make(chan error, 1)
	go func() { streamed <- probe.Stream(watching, s) }()
	var played error
	if iterates(m) {
		// It ends by itself, and looks at what is there before the play.
		err = <-streamed
		played = play.perform(ctx)
	} else {
		played = play.perform(ctx)
		stop()
		err = <-streamed
	}
	stop()
	_, lost, full, countErr := probe.Counts()
	err = errors.Join(played, err, countErr, probe.Close(), gone(ctx, attached))
	if err != nil {
		return Seen{}, err
	}
	if lost > 0 {
		return Seen{}, fmt.Errorf("%d events were lost in the kernel: the workload or the machine is too busy to judge the program", lost)
	}
	seen = Seen{Rows: Rows(s.records), Facts: maps.Clone(play.facts), Dropped: s.dropped, Full: full}
	seen.Facts["runner_pid"] = fmt.Sprint(os.Getpid())
	return seen, errors.Join(s.faults...)
}

// iterates reports whether all programs are iterators, which run once and end.
func iterates(m *program.Manifest) bool {
	for _, p := range m.Programs {
		if p.Hook.Kind != program.Iter {
			return false
		}
	}
	return true
}

// gone waits until the kernel has freed programs and maps, which it does after
// a grace period.
func gone(ctx context.Context, a output.Attached) error {
	free := func(open func(uint32) (io.Closer, error), id uint32) bool {
		c, err := open(id)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, os.ErrNotExist)
	}
	wait := func(what string, ids []uint32, open func(uint32) (io.Closer, error)) error {
		for _, id := range ids {
			for tick := time.Now().Add(time.Minute); !free(open, id); time.Sleep(2 * time.Millisecond) {
				if ctx.Err() != nil || time.Now().After(tick) {
					return fmt.Errorf("%s %d is still in the kernel", what, id)
				}
			}
		}
		return nil
	}
	return errors.Join(
		wait("program", a.ProgramIDs, func(id uint32) (io.Closer, error) { return ebpf.NewProgramFromID(ebpf.ProgramID(id)) }),
		wait("map", a.MapIDs, func(id uint32) (io.Closer, error) { return ebpf.NewMapFromID(ebpf.MapID(id)) }))
}

// Source is a program of a case as it is compiled, with the contract that it
// has to keep.
type Source struct {
	Program  Program // with the right one's choices where it makes none
	Text     string
	Contract *contract.Contract
	// Edited says that the text is another than the right program's.
	Edited bool
}

// Right is the case's right program.
func (b *Bench) Right(c *Case) (Source, error) { return b.source(c, c.Right) }

// Wrong is one of its wrong programs.
func (b *Bench) Wrong(c *Case, i int) (Source, error) {
	w, r := c.Wrong[i], c.Right
	if w.Recipe == "" && w.File == "" {
		w.Recipe, w.File = r.Recipe, r.File
		set := maps.Clone(r.Set)
		if set == nil {
			set = map[string]string{}
		}
		maps.Copy(set, w.Set)
		w.Set = set
	}
	w.Contract = r.Contract
	if w.Interface == "" {
		w.Interface = r.Interface
	}
	if w.Cgroup == "" {
		w.Cgroup = r.Cgroup
	}
	if w.Hz == 0 {
		w.Hz = r.Hz
	}
	if w.Top == 0 {
		w.Top = r.Top
	}
	s, err := b.source(c, w)
	if err != nil {
		return s, fmt.Errorf("wrong program %s: %w", w.Name, err)
	}
	s.Edited = len(w.Edits) > 0 || w.Recipe != r.Recipe || w.File != r.File
	if w.Recipe != r.Recipe || w.File != r.File {
		right, err := b.source(c, r)
		if err != nil {
			return s, err
		}
		s.Contract = right.Contract
	}
	return s, nil
}

func (b *Bench) source(c *Case, p Program) (Source, error) {
	s := Source{Program: p}
	if p.Recipe != "" {
		r, ok := b.recipe(p.Recipe)
		if !ok {
			return s, fmt.Errorf("there is no recipe %q", p.Recipe)
		}
		s.Text, s.Contract = string(r.Source), r.Contract
	} else {
		text, err := fs.ReadFile(c.files, p.File)
		if err != nil {
			return s, err
		}
		s.Text = string(text)
		if p.Contract != "" {
			kc, err := fs.ReadFile(c.files, p.Contract)
			if err != nil {
				return s, err
			}
			if s.Contract, err = contract.Parse(string(kc)); err != nil {
				return s, fmt.Errorf("%s: %w", p.Contract, err)
			}
		}
	}
	for _, e := range p.Edits {
		n := strings.Count(s.Text, e.Replace)
		if n == 0 || n > 1 && !e.All {
			return s, fmt.Errorf("%q is in the program %d times", e.Replace, n)
		}
		s.Text = strings.ReplaceAll(s.Text, e.Replace, e.With)
	}
	return s, nil
}

func (b *Bench) recipe(name string) (*recipes.Recipe, bool) {
	for _, r := range b.Recipes.Recipes() {
		if r.Name == name {
			return r, true
		}
	}
	return nil, false
}

// Build compiles a program, and makes its manifest with the play's facts. That
// it does not compile is a *[LoadError].
func (b *Bench) Build(ctx context.Context, s Source, facts Facts) (*program.Object, *program.Manifest, error) {
	res, err := b.Compiler.Compile(ctx, s.Text, b.Types)
	if err != nil {
		return nil, nil, &LoadError{err}
	}
	o, err := program.Parse(res.ELF)
	if err != nil {
		return nil, nil, &LoadError{err}
	}
	constants := map[string]string{}
	for name, v := range s.Program.Set {
		if constants[name], err = facts.Fill(v); err != nil {
			return nil, nil, err
		}
		if v == "" { // the program's own default
			delete(constants, name)
		}
	}
	p := s.Program
	for _, field := range []*string{&p.Interface, &p.Cgroup} {
		if *field, err = facts.Fill(*field); err != nil {
			return nil, nil, err
		}
	}
	m, err := program.Build(o, p.options(nil))
	if err != nil {
		return nil, nil, &LoadError{err}
	}
	// As a person writes them, not only in the forms of the manifest.
	if m, err = m.With(o, constants); err != nil {
		return nil, nil, err
	}
	return o, m, nil
}

// ReadDir reads the case in a folder of the file system.
func ReadDir(dir string) (*Case, error) {
	return Read(os.DirFS(dir), filepath.Base(filepath.Clean(dir)))
}

package executor

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/render"
	"kgent/executor/render/symbol"
	"kgent/executor/tracer"
)

// noteEvery is how often the processes whose stacks were recorded are looked
// at, so that their frames can be named after they have ended.
const noteEvery = 250 * time.Millisecond

// HostKernel is the Kernel of this machine: package probe loads, attaches and
// reads, package render says what the bytes mean.
type HostKernel struct {
	node   string
	loader *probe.Loader
	env    *render.Env
	// Scripts runs bpftrace's; nil refuses them. It is set before the first Load.
	Scripts *tracer.Tracer

	// needs is what threads that read output keep of their capabilities.
	needs func() ([]int, error)

	symbols sync.Once
	kernel  *symbol.Kernel // nil when the kernel hides its addresses
}

// NewKernel returns the kernel of this machine for a node of that name. It
// gives env the kernel's symbols, read when they are first wanted.
func NewKernel(node string, loader *probe.Loader, env *render.Env) *HostKernel {
	k := &HostKernel{node: node, loader: loader, env: env, needs: sync.OnceValues(readersNeed)}
	env.KernelSymbol = func(addr uint64) (string, bool) { return k.kernelSymbols().Name(addr) }
	return k
}

// kernelSymbols reads the kernel's symbols when they are first wanted.
func (k *HostKernel) kernelSymbols() *symbol.Kernel {
	k.symbols.Do(func() {
		// Without symbols frames are addresses, marked as unknown.
		k.kernel, _ = symbol.LoadKernel()
	})
	return k.kernel
}

// Load implements Kernel.
func (k *HostKernel) Load(ctx context.Context, o *program.Object, m *program.Manifest) (Probe, error) {
	if m.Script != nil {
		return k.loadScript(ctx, o, m)
	}
	p := &hostProbe{kernel: k, view: m.View, dry: o.DryActions()}
	p.iterates = !slices.ContainsFunc(m.Programs, func(x program.Program) bool { return x.Hook.Kind != program.Iter })
	infos := map[string]program.MapInfo{}
	for _, info := range o.Maps() {
		infos[info.Name] = info
	}
	set, err := k.loader.Load(ctx, o, m)
	if err != nil {
		return nil, err
	}
	p.set = set
	if err := p.prepare(infos); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	return p, nil
}

// hostProbe is a program in this machine's kernel.
type hostProbe struct {
	kernel *HostKernel
	set    *probe.Set
	view   program.View
	events []*render.Events // by number of their stream
	maps   []*render.Map
	// Programs that record stacks have these three.
	stacks             render.StackResolver
	users              *symbol.Users
	noted              []*render.Map // maps whose keys hold user stacks
	attached, detached time.Time
	// dry is what a dry run counts.
	dry []program.DryAction
	// All programs are iterators: when these are through, nothing more comes.
	iterates bool
}

func (p *hostProbe) prepare(infos map[string]program.MapInfo) error {
	for _, info := range infos {
		if info.Role == program.RoleStacks {
			p.users = symbol.NewUsers()
			p.stacks = stacks{p}
		}
	}
	for _, name := range p.set.Streams() {
		t, ok := infos[name].EventType()
		if !ok {
			return fmt.Errorf("ring buffer %s: it has no event type", name)
		}
		e, err := render.NewEvents(p.kernel.node, name, t, p.kernel.env)
		if err != nil {
			return fmt.Errorf("ring buffer %s: %w", name, err)
		}
		if p.stacks != nil {
			e.ResolveStacks(p.stacks)
		}
		p.events = append(p.events, e)
	}
	for _, name := range p.set.Outputs() {
		m, err := render.NewMap(infos[name], p.kernel.env)
		if err != nil {
			return fmt.Errorf("preparing output map %s: %w", name, err)
		}
		p.maps = append(p.maps, m)
		size, err := btf.Sizeof(infos[name].Key)
		if err != nil {
			return fmt.Errorf("preparing output map %s: %w", name, err)
		}
		if _, ok := m.PID(make([]byte, size)); ok {
			p.noted = append(p.noted, m)
		}
	}
	return nil
}

// Attach implements Probe.
func (p *hostProbe) Attach(ctx context.Context) (output.Attached, error) {
	hooks, err := p.set.Attach(ctx)
	if err != nil {
		return output.Attached{}, err
	}
	p.attached = time.Now()
	a := output.Attached{Hooks: hooks, Where: p.set.Narrowed(), Streams: []output.Stream{}}
	if a.ProgramIDs, err = p.set.ProgramIDs(); err != nil {
		return output.Attached{}, err
	}
	if a.MapIDs, err = p.set.MapIDs(); err != nil {
		return output.Attached{}, err
	}
	for _, e := range p.events {
		s := e.Stream()
		s.Events = true
		a.Streams = append(a.Streams, s)
	}
	for _, m := range p.maps {
		a.Streams = append(a.Streams, m.Stream())
	}
	if len(p.dry) > 0 {
		a.Streams = append(a.Streams, output.Stream{Name: dryStream, Columns: []output.Column{
			{Name: "program", Kind: "string", Width: 16},
			{Name: "would_have", Kind: "string", Width: 24},
			{Name: "times", Kind: "int", Width: 10, Right: true},
		}})
	}
	return a, nil
}

// Stream implements Probe. What it reads it reads on threads without the
// capabilities to load and attach.
func (p *hostProbe) Stream(ctx context.Context, sink Sink) error {
	keep, err := p.kernel.needs()
	if err != nil {
		return err
	}
	return confined(func() error { return p.stream(ctx, sink, keep) }, keep...)
}

// stream is Stream, on a thread of its own.
func (p *hostProbe) stream(ctx context.Context, sink Sink, keep []int) error {
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var beside, rendering sync.WaitGroup
	faults := make(chan error, 5)
	// guarded does something beside the reader, on a thread of its own.
	guarded := func(doing string, do func() error) {
		err := caught(doing, func() error {
			if err := confine(keep...); err != nil {
				return err
			}
			return do()
		})
		if err != nil {
			faults <- err
			cancel()
		}
	}
	unlessEnded := func(err error) error {
		if work.Err() != nil {
			return nil
		}
		return err
	}
	beside.Go(func() {
		guarded("reading what iterators print", func() error {
			err := p.print(work, sink)
			if err == nil && p.iterates {
				cancel()
			}
			return unlessEnded(err)
		})
	})
	beside.Go(func() { guarded("reading maps", func() error { return unlessEnded(p.readMaps(work, sink)) }) })
	beside.Go(func() {
		guarded("following the containers", func() error {
			p.set.Follow(work)
			return nil
		})
	})
	beside.Go(func() {
		guarded("detaching", func() error {
			// However long it takes to render what was read, the programs end in time.
			<-work.Done()
			p.detached = time.Now()
			return p.set.Detach()
		})
	})
	events := newEventPipe()
	rendering.Go(func() {
		defer close(events.broken)
		guarded("rendering events", func() error {
			events.each(p.deliver(sink))
			return nil
		})
	})
	errs := []error{p.set.DrainTo(work, probe.Tick, events.put, events.flush)}
	cancel()
	beside.Wait()
	// From here on ctx has ended, and what is left is to be fetched all the same.
	errs = append(errs, p.set.Rest(context.WithoutCancel(ctx), events.put))
	events.end()
	rendering.Wait()
	close(faults)
	for err := range faults {
		errs = append(errs, err)
	}
	errs = append(errs, p.showMaps(sink, nil), p.showDry(sink))
	p.showFollowed(sink)
	return errors.Join(errs...)
}

// deliveredAt is how many bytes of lines are handed to a sink at a time.
const deliveredAt = 8 << 10

// deliver renders batches of events of all streams into sink.
func (p *hostProbe) deliver(sink Sink) func(*eventBatch) {
	var lines []byte
	return func(b *eventBatch) {
		lines = lines[:0]
		n, from := 0, 0
		hand := func() {
			if n > 0 {
				sink.Lines(lines, n)
			}
			lines, n = lines[:0], 0
		}
		for _, e := range b.events {
			raw := b.bytes[from:e.end]
			from = e.end
			if !sink.Admit() {
				continue
			}
			mark := len(lines)
			var err error
			lines, err = p.events[e.stream].Append(lines, raw)
			if err != nil {
				// The event is accounted for as delivered: this record is what
				// there is to say of it.
				why, _ := output.Encode(output.Error{Node: p.kernel.node, Code: "internal", Message: err.Error()})
				lines = append(lines[:mark], why...)
			}
			if len(lines)-mark > output.MaxLine {
				sink.Line(lines[mark:])
				lines = lines[:mark]
				continue
			}
			if n++; len(lines) >= deliveredAt {
				hand()
			}
		}
		hand()
	}
}

// print hands on what iterators print.
func (p *hostProbe) print(ctx context.Context, sink Sink) error {
	return p.set.Iterate(ctx, func(line []byte) {
		sink.Record(output.Text{Node: p.kernel.node, Line: string(p.kernel.env.Redact.Bytes(line))})
	})
}

// readMaps shows the maps at the view's interval, and looks at the processes
// whose stacks they hold.
func (p *hostProbe) readMaps(ctx context.Context, sink Sink) error {
	if len(p.maps) == 0 {
		return nil
	}
	var show, note <-chan time.Time
	if p.view.Interval > 0 {
		t := time.NewTicker(p.view.Interval)
		defer t.Stop()
		show = t.C
	}
	if len(p.noted) > 0 {
		t := time.NewTicker(noteEvery)
		defer t.Stop()
		note = t.C
	}
	var last snapshot
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-show:
			if err := p.showMaps(sink, &last); err != nil {
				return err
			}
		case <-note:
			if err := p.notePIDs(); err != nil {
				return err
			}
		}
	}
}

// snapshot is what all output maps held at one moment.
type snapshot struct {
	at    time.Time
	cells [][]render.Cell
}

// read reads all output maps, one right after the other and before anything is
// rendered, so that what they hold belongs together as closely as the kernel lets it
// while programs run. After they have ended it is exact.
func (p *hostProbe) read() (r snapshot, err error) {
	r.at = time.Now()
	r.cells = make([][]render.Cell, len(p.maps))
	for i, m := range p.maps {
		if r.cells[i], err = p.cells(m.Name()); err != nil {
			return snapshot{}, err
		}
	}
	return r, nil
}

// showMaps renders the output maps. last is the reading before, from which on is
// counted, and becomes this one; without it all of the run is shown, which is over.
func (p *hostProbe) showMaps(sink Sink, last *snapshot) error {
	now, err := p.read()
	if err != nil {
		return err
	}
	when := render.Reading{At: now.at, Over: now.at.Sub(p.attached)}
	switch {
	case last == nil:
		when.Over, when.Final = p.detached.Sub(p.attached), true
	case !last.at.IsZero():
		when.Over = now.at.Sub(last.at)
	}
	for i, m := range p.maps {
		shown := now.cells[i]
		if last != nil {
			var before []render.Cell
			if last.cells != nil {
				before = last.cells[i]
			}
			if shown, err = m.Since(before, shown); err != nil {
				return err
			}
		}
		records, err := m.Records(p.kernel.node, shown, p.stacks, p.view, when)
		if err != nil {
			return err
		}
		for _, r := range records {
			sink.Record(r)
		}
	}
	if last != nil {
		*last = now
	}
	return nil
}

// dryStream is the name of what a dry run counts.
const dryStream = "dry_run"

// showFollowed tells which containers were started while the run that is narrowed to them went on.
func (p *hostProbe) showFollowed(sink Sink) {
	for _, line := range p.set.Followed() {
		sink.Record(output.Text{Node: p.kernel.node, Line: line})
	}
}

// showDry shows what a dry run would have done.
func (p *hostProbe) showDry(sink Sink) error {
	if len(p.dry) == 0 {
		return nil
	}
	times, err := p.set.Dry(len(p.dry))
	if err != nil {
		return err
	}
	m := output.Map{Node: p.kernel.node, Name: dryStream, Entries: []output.MapEntry{}, Total: len(p.dry), At: output.Time(time.Now()), Final: true}
	for i, a := range p.dry {
		m.Entries = append(m.Entries, output.MapEntry{
			Key:   output.Fields{{Name: "program", Value: a.Program}, {Name: "would_have", Value: a.Does}},
			Value: output.Fields{{Name: "times", Value: json.Number(strconv.FormatUint(times[i], 10))}},
		})
	}
	slices.SortStableFunc(m.Entries, func(a, b output.MapEntry) int { return cmp.Compare(numberOf(b), numberOf(a)) })
	sink.Record(m)
	return nil
}

// numberOf is a row's count.
func numberOf(e output.MapEntry) int64 {
	n, _ := e.Value[0].Value.(json.Number).Int64()
	return n
}

func (p *hostProbe) cells(name string) ([]render.Cell, error) {
	raw, err := p.set.Cells(name)
	if err != nil {
		return nil, err
	}
	cells := make([]render.Cell, len(raw))
	for i, c := range raw {
		cells[i] = render.Cell(c)
	}
	return cells, nil
}

func (p *hostProbe) notePIDs() error {
	for _, m := range p.noted {
		cells, err := p.set.Cells(m.Name())
		if err != nil {
			return err
		}
		for _, c := range cells {
			if pid, ok := m.PID(c.Key); ok {
				p.users.Note(pid)
			}
		}
	}
	return nil
}

// Counts implements Probe.
func (p *hostProbe) Counts() (produced, lost, mapFull uint64, err error) {
	c, err := p.set.Counts()
	return c.Produced, c.Lost, c.MapFull, err
}

// Sample implements Probe.
func (p *hostProbe) Sample(ctx context.Context, window time.Duration) (probe.Sample, error) {
	return p.set.Sample(ctx, window)
}

// Overhead implements Probe.
func (p *hostProbe) Overhead() output.Overhead { return p.set.Overhead() }

// Verified implements Probe.
func (p *hostProbe) Verified() ([]program.Verified, error) { return p.set.Verified() }

// Close implements Probe.
func (p *hostProbe) Close() error {
	p.users.Close() // nil closes, too
	return p.set.Close()
}

// stacks names the frames of a program's stacks.
type stacks struct{ p *hostProbe }

func (s stacks) resolver() *render.Stacks {
	return &render.Stacks{Maps: []render.StackMap{s}, Kernel: s.p.kernel.kernelSymbols(), Users: s.p.users}
}

func (s stacks) KernelStack(id int32) []string { return s.resolver().KernelStack(id) }

func (s stacks) UserStack(pid uint32, id int32) []string { return s.resolver().UserStack(pid, id) }

// LookupBytes implements render.StackMap.
func (s stacks) LookupBytes(key any) ([]byte, error) {
	id, ok := key.(uint32)
	if !ok {
		return nil, fmt.Errorf("stack id of type %T", key)
	}
	addresses, err := s.p.set.Stack(int32(id))
	if errors.Is(err, probe.ErrNoStack) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 8*len(addresses))
	for _, a := range addresses {
		b = binary.NativeEndian.AppendUint64(b, a)
	}
	return b, nil
}

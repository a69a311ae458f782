// Package probe puts one approved program into the running kernel, attaches it
// where its manifest says, and brings back everything it produces: the raw
// bytes of its events, the cells of its maps, the text of its iterators, and
// the account of what was lost on the way.
//
// A [Loader] turns an object and its manifest into a [Set]; nothing runs yet.
// [Set.Attach] attaches all of its programs or none. [Set.Drain] hands over
// events until its context ends; [Set.Detach] stops the programs, [Set.Rest]
// fetches what they had still submitted, and from then on
//
//	produced = delivered + lost
//
// holds exactly. What is lost does not go through the rings, where a flood could hide it,
// nor through a second, small ring, which can be full, too: each processor counts in a map
// of its own, of fixed size, and [Set.Counts] reads that with one system call at any time,
// however full the rings are. That a program ends, or is told to, is known to this side alone
// and asks nothing of a program that floods.
//
// [Set.Close] leaves nothing behind in the kernel: no program
// is ever pinned, and everything is closed explicitly rather than left to the
// end of the process, which on some kernels leaks probes.
//
// The package knows no rendering, no grant and no deadline. It says what the
// kernel refused, and why, in words for the person who asked.
package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"kgent/agent/program"
)

// ErrClosed is returned by every method of a Set whose Close was called.
var ErrClosed = errors.New("the probe is closed")

// Options are what a Loader needs to know of its host. The zero value works.
type Options struct {
	// Resolve returns the absolute path of a binary or shared library that a
	// manifest names without one, such as bash or libc.so.6. Nil asks package
	// kernel, each time.
	Resolve func(name string) (string, error)
	// Cgroups is where cgroup2 is mounted. Empty asks package kernel.
	Cgroups string
	// Root stands for the node's "/", where the files of container runtimes are
	// looked for. Empty is "/".
	Root string
	// Follow is how often it is looked whether containers that a run is narrowed to
	// have been started anew. 0 is every second.
	Follow time.Duration
	// Refuse, if set, is asked before a program is attached to a binary or a
	// cgroup, which is pinned (O_PATH) by then: what it was asked about is what is
	// attached to, whatever its name leads to meanwhile. An error keeps the program
	// off. The file is closed afterwards.
	Refuse func(hook program.Hook, at *os.File) error
	// Types are the kernel's, where it does not describe them itself. Nil asks it.
	Types *btf.Spec
}

// Loader loads programs. It keeps the kernel's type information between loads,
// which makes a load about forty times faster than the first. It is safe for
// concurrent use.
type Loader struct {
	host  host
	types *btf.Cache
}

// NewLoader returns a Loader.
func NewLoader(opt Options) *Loader {
	return &Loader{host: newHost(opt), types: btf.NewCache()}
}

// Set is the programs and maps of one object in the kernel. Its methods are
// safe for concurrent use, except as they say. The caller must Close it.
type Set struct {
	host     host
	programs []*loaded // in the manifest's order
	maps     map[string]*ebpf.Map
	outputs  []string    // names of the maps that Cells reads
	stats    *ebpf.Map   // nil when the program does not count
	stacks   *ebpf.Map   // nil without a stack trace map
	streams  []string    // names of the rings
	ring     *ringReader // nil without ring buffers
	where    string      // what the run is narrowed to; "" is the whole node
	narrowed []string    // what that was found to be
	within   *within     // nil before Attach, or without where
	started  time.Time

	// users counts the calls that use file descriptors; Close waits for them.
	mu      sync.Mutex
	closed  bool
	users   sync.WaitGroup
	closing atomic.Bool
	done    chan struct{} // closed when closing
	once    sync.Once
	err     error // of Close

	links    sync.Mutex // guards attached, and the loaded programs' links
	attached attachment

	// reading is held by whoever reads the rings: one goroutine at a time may.
	reading   sync.Mutex
	delivered uint64 // records handed over

	measured measured
}

type attachment int

const (
	attachNone attachment = iota
	attachDone
	attachEnded
)

// Load verifies the programs of an object and creates its maps, all as the
// manifest says, and attaches nothing. The node's own parameter kgent_self is
// set to this process.
//
// A program that the kernel refuses is a [LoadError].
func (l *Loader) Load(ctx context.Context, o *program.Object, m *program.Manifest) (*Set, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	started := time.Now()
	self, err := selfPID()
	if err != nil {
		return nil, err
	}
	spec, err := o.Collection(m, map[string]string{"kgent_self": strconv.Itoa(self)})
	if err != nil {
		return nil, err
	}
	facts, err := o.Facts()
	if err != nil {
		return nil, err
	}
	if err := program.Conventions(spec, m); err != nil {
		return nil, err
	}
	if err := bakeVariables(spec); err != nil {
		return nil, err
	}
	// The bytes of perf buffers are the reader's business: their array has a place for each processor.
	perf := map[string]source{}
	for _, info := range o.Maps() {
		if e, ok := info.EventType(); ok && info.Type == ebpf.PerfEventArray {
			perf[info.Name] = source{bytes: spec.Maps[info.Name].MaxEntries, event: int(e.Size)}
			spec.Maps[info.Name].MaxEntries = 0
		}
	}
	// Only kernels before 5.11 count BPF memory against this limit.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lifting the locked memory limit, which kernels before 5.11 need for BPF: %w: give kgent CAP_SYS_RESOURCE", err)
	}
	for _, p := range m.Programs {
		switch k := p.Hook.Kind; {
		case k.NeedsBinary() && l.host.uprobeMulti:
			spec.Programs[p.Name].AttachType = ebpf.AttachTraceUprobeMulti
		case k.Multi() && k != program.KprobeSession && !l.host.kprobeMulti:
			spec.Programs[p.Name].AttachType = ebpf.AttachNone // one by one
		}
	}
	// The log of every instruction that the verifier takes for a refused
	// program costs up to half a minute and a gigabyte; statistics come with
	// the error message alone.
	create := func(log ebpf.LogLevel) (*ebpf.Collection, error) {
		return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: l.types, Programs: ebpf.ProgramOptions{LogLevel: log, KernelTypes: l.host.opt.Types}})
	}
	coll, err := create(ebpf.LogLevelStats)
	if err != nil {
		if worthTracing(err) {
			// Refused soon: once more, to learn at which instruction.
			if traced, again := create(ebpf.LogLevelBranch); again != nil {
				err = again
			} else {
				traced.Close()
			}
		}
		return nil, l.host.explainLoad(ctx, err, spec, m)
	}
	s := &Set{host: l.host, maps: coll.Maps, where: m.Where, started: started, done: make(chan struct{})}
	for i, p := range m.Programs {
		s.programs = append(s.programs, &loaded{
			name:       p.Name,
			hook:       p.Hook,
			prog:       coll.Programs[p.Name],
			attachType: spec.Programs[p.Name].AttachType,
			passive:    passive(facts[i]),
		})
	}
	if err := s.findMaps(m, perf); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// bakeVariables moves the values of global variables into the contents of
// their maps. The library would otherwise map the variables into this
// process's memory, and such a mapping keeps the map alive in the kernel until
// the garbage collector finds it.
func bakeVariables(spec *ebpf.CollectionSpec) error {
	for _, v := range spec.Variables {
		m := spec.Maps[v.SectionName]
		if m == nil || len(m.Contents) != 1 {
			return fmt.Errorf("placing variable %s: the object has no data section %s", v.Name, v.SectionName)
		}
		data, ok := m.Contents[0].Value.([]byte)
		if !ok || uint64(v.Offset)+uint64(len(v.Value)) > uint64(len(data)) {
			return fmt.Errorf("placing variable %s: it lies outside of its section %s", v.Name, v.SectionName)
		}
		data = slices.Clone(data)
		copy(data[v.Offset:], v.Value)
		m.Contents = []ebpf.MapKV{{Key: m.Contents[0].Key, Value: data}}
	}
	spec.Variables = nil
	return nil
}

// findMaps sorts the maps by what they are for.
func (s *Set) findMaps(m *program.Manifest, perf map[string]source) error {
	var rings []source
	for _, mm := range m.Maps {
		switch mm.Role {
		case program.RoleEvents:
			s.streams = append(s.streams, mm.Name)
			ring := perf[mm.Name]
			ring.m = s.maps[mm.Name]
			rings = append(rings, ring)
		case program.RoleOutput:
			s.outputs = append(s.outputs, mm.Name)
		case program.RoleStacks:
			s.stacks = s.maps[mm.Name]
		}
	}
	s.stats = s.maps[program.StatsMap]
	if len(rings) == 0 {
		return nil
	}
	var err error
	s.ring, err = newRingReader(rings)
	return err
}

// acquire keeps the file descriptors open until release.
func (s *Set) acquire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.users.Add(1)
	return nil
}

func (s *Set) release() { s.users.Done() }

// Streams returns the names of the ring buffers, or of the perf buffers in their place; a stream's number is its
// index here.
func (s *Set) Streams() []string { return slices.Clone(s.streams) }

// Narrowed returns the containers or control groups of this node to which the run is narrowed,
// as they were found by Attach; none where it is about the whole node.
func (s *Set) Narrowed() []string {
	s.links.Lock()
	defer s.links.Unlock()
	return slices.Clone(s.narrowed)
}

// Outputs returns the names of the maps that belong to the answer.
func (s *Set) Outputs() []string { return slices.Clone(s.outputs) }

// ProgramIDs returns the kernel's ids of the programs, ascending.
func (s *Set) ProgramIDs() ([]uint32, error) {
	if err := s.acquire(); err != nil {
		return nil, err
	}
	defer s.release()
	var ids []uint32
	for _, p := range s.programs {
		info, err := p.prog.Info()
		if err != nil {
			return nil, fmt.Errorf("reading the id of program %s: %w", p.name, err)
		}
		id, ok := info.ID()
		if !ok {
			return nil, fmt.Errorf("reading the id of program %s: this kernel has none; it needs Linux 4.13", p.name)
		}
		ids = append(ids, uint32(id))
	}
	slices.Sort(ids)
	return ids, nil
}

// Verified returns how much of each program the verifier had to look at.
func (s *Set) Verified() ([]program.Verified, error) {
	if err := s.acquire(); err != nil {
		return nil, err
	}
	defer s.release()
	var out []program.Verified
	for _, p := range s.programs {
		info, err := p.prog.Info()
		if err != nil {
			return nil, fmt.Errorf("reading what was verified of program %s: %w", p.name, err)
		}
		n, _ := info.VerifiedInstructions() // 0 before Linux 5.16
		out = append(out, program.Verified{Program: p.name, Processed: n})
	}
	return out, nil
}

// MapIDs returns the kernel's ids of all maps, hidden ones included,
// ascending.
func (s *Set) MapIDs() ([]uint32, error) {
	if err := s.acquire(); err != nil {
		return nil, err
	}
	defer s.release()
	var ids []uint32
	for name, m := range s.maps {
		info, err := m.Info()
		if err != nil {
			return nil, fmt.Errorf("reading the id of map %s: %w", name, err)
		}
		id, ok := info.ID()
		if !ok {
			return nil, fmt.Errorf("reading the id of map %s: this kernel has none; it needs Linux 4.13", name)
		}
		ids = append(ids, uint32(id))
	}
	slices.Sort(ids)
	return ids, nil
}

// Close detaches the programs and frees everything: links first, then the
// readers, the programs and the maps. A Drain in progress ends. Close may be
// called more than once, and returns the same each time; not from within a
// callback of Drain, Rest or Iterate.
func (s *Set) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.closing.Store(true)
		close(s.done)
		if s.ring != nil {
			s.ring.wake()
		}
		s.users.Wait()
		errs := []error{s.detach()}
		if s.ring != nil {
			errs = append(errs, s.ring.close())
		}
		for _, p := range s.programs {
			if err := p.prog.Close(); err != nil {
				errs = append(errs, fmt.Errorf("closing program %s: %w", p.name, err))
			}
		}
		for name, m := range s.maps {
			if err := m.Close(); err != nil {
				errs = append(errs, fmt.Errorf("closing map %s: %w", name, err))
			}
		}
		s.err = errors.Join(errs...)
	})
	return s.err
}

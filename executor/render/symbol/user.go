package symbol

import (
	"container/list"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what Users remembers.
const (
	maxProcesses = 1024
	maxMappings  = 4096 // executable ones, of one process
	maxFiles     = 256  // each is kept open
	// maxRead is how many bytes of symbol tables are read for one run. That takes
	// a few seconds; functions of further files are shown by their place.
	maxRead = 1 << 30
)

// Users names addresses in processes. It is safe for concurrent use.
//
// Addresses mean nothing once their process is gone, so tell it of processes
// early: after [Users.Note], the stacks of a process can be named even when it
// has ended. What happens between a stack and the first mention of its process
// here cannot be known: that the process id was given to another process, or
// that the process executed another program. When it is seen that an id was
// given away, only what is the same in both processes has a name.
type Users struct {
	proc  string // where procfs is
	debug string // where separate debugging symbols are
	now   func() time.Time

	mu        sync.Mutex
	processes lru[uint32, *process]
	files     lru[fileID, *file]
	symbols   int    // in all files
	text      int    // of their names, in bytes
	read      uint64 // of symbol tables, in bytes
}

// NewUsers returns a Users that knows no process yet. Seeing other users'
// processes takes CAP_SYS_PTRACE; seeing files that were deleted or replaced
// takes CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
func NewUsers() *Users {
	u := &Users{proc: "/proc", debug: "/usr/lib/debug", now: time.Now}
	u.processes.init()
	u.files.init()
	return u
}

// Close closes the files and forgets everything. A nil Users may be closed.
func (u *Users) Close() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.files.len() > 0 {
		_, f := u.files.oldest()
		f.close()
	}
	u.processes.init()
	u.symbols, u.text = 0, 0
}

// process is what was seen of a process at one moment.
type process struct {
	started  uint64    // tells it from another of the same id; in ticks since boot
	mappings []mapping // executable ones, by address
	problem  string    // why there are no mappings
	at       time.Time // of the look
	before   *process  // the look before, for what has been unmapped since
}

// stale is how old a look may be before we check whether it still holds. It
// bounds what stacks with unknown addresses cost: code without a file and stacks
// that were walked wrongly have them all the time.
const stale = time.Second

// mapping is a range of addresses and what is behind it.
type mapping struct {
	start, end, offset uint64
	id                 fileID // zero when it is no file
	path               string // as the process sees it; [vdso], [heap], or empty
	deleted            bool   // the path leads to another file by now, or to none
}

// Note looks at a process now; call it as soon as a process id turns up. For
// a process that is known it does next to nothing.
func (u *Users) Note(pid uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.processes.get(pid); ok {
		return
	}
	p := u.look(pid)
	for i := range p.mappings {
		u.file(pid, &p.mappings[i])
	}
}

// look takes a snapshot of a process. What was seen before remains, for what
// has been unmapped since, and for when the process is gone.
func (u *Users) look(pid uint32) *process {
	old, known := u.processes.get(pid)
	p := u.snapshot(pid)
	if known {
		old.at = p.at
		if p.problem != "" {
			return old
		}
		p.before, old.before = old, nil
	}
	if p.started != 0 {
		u.processes.put(pid, p)
		if u.processes.len() > maxProcesses {
			u.processes.oldest()
		}
	}
	return p
}

func (u *Users) snapshot(pid uint32) *process {
	p := &process{at: u.now(), problem: "exited"}
	started, err := startTime(u.proc, pid)
	if err != nil {
		return p
	}
	mappings, err := readMappings(u.proc, pid)
	// It may have ended while we looked, and its id been given away.
	if again, gone := startTime(u.proc, pid); gone != nil || again != started {
		return p
	}
	p.started, p.mappings = started, mappings
	switch {
	case err != nil:
		p.problem = "its mappings cannot be read"
	case len(mappings) > 0: // else it is a zombie
		p.problem = ""
	}
	return p
}

// Frames names the addresses of a stack of process pid, innermost first:
// "malloc+0x1c (libc.so.6)", or by its place in a file without such a symbol:
// "[libc.so.6+0x2a1ca]". A nil Users knows no name.
func (u *Users) Frames(pid uint32, addrs []uint64) []string {
	out := make([]string, len(addrs))
	if u == nil {
		for i, a := range addrs {
			out[i] = unknown(a, "")
		}
		return out
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	p, ok := u.processes.get(pid)
	if !ok || u.changed(pid, p, addrs) {
		p = u.look(pid)
	}
	for i, a := range addrs {
		out[i] = u.frame(pid, p, a, callSite(i, a))
	}
	return out
}

// changed reports whether it is worth another look: the process has loaded a
// library since, or is another one by now.
func (u *Users) changed(pid uint32, p *process, addrs []uint64) bool {
	if u.now().Sub(p.at) < stale {
		return false
	}
	p.at = u.now()
	started, err := startTime(u.proc, pid)
	return err == nil && (started != p.started || !p.covers(addrs))
}

func (p *process) covers(addrs []uint64) bool {
	for i, a := range addrs {
		if p.find(callSite(i, a)) == nil {
			return false
		}
	}
	return true
}

func (p *process) find(addr uint64) *mapping {
	var m *mapping
	i := sort.Search(len(p.mappings), func(i int) bool { return p.mappings[i].end > addr })
	if i < len(p.mappings) && p.mappings[i].start <= addr {
		m = &p.mappings[i]
	}
	if p.before == nil {
		return m
	}
	old := p.before.find(addr)
	switch {
	case m == nil:
		return old
	case old != nil && p.before.started != p.started && !m.same(old):
		return nil // nobody knows of which process the stack is
	}
	return m
}

// same reports whether two mappings have the same behind every address.
func (m *mapping) same(o *mapping) bool {
	return m.id == o.id && m.path == o.path && m.start-m.offset == o.start-o.offset
}

// frame names addr, looking at at.
func (u *Users) frame(pid uint32, p *process, addr, at uint64) string {
	m := p.find(at)
	switch {
	case m == nil:
		return unknown(addr, p.problem)
	case m.path == "":
		return unknown(addr, "no file")
	case m.id == fileID{}:
		return unknown(addr, strings.Trim(m.path, "[]"))
	}
	base := filepath.Base(m.path)
	f := u.file(pid, m)
	if f == nil {
		return unknown(addr, base+", which cannot be read")
	}
	if !f.loaded {
		u.load(pid, m, f)
	}
	// From memory to the place in the file, to the address it was linked for.
	linked, ok := f.linked(at - m.start + m.offset)
	if !ok {
		return unknown(addr, base)
	}
	name, start, ok := f.table.find(linked)
	if !ok { // where in the file it is can be looked up by whoever has its symbols
		return "[" + base + "+0x" + strconv.FormatUint(linked+(addr-at), 16) + "]"
	}
	out := []byte(readable(string(name)))
	out = appendOffset(out, linked+(addr-at)-start)
	out = append(out, " ("...)
	out = append(out, base...)
	return string(append(out, ')'))
}

// load reads the symbols of a file that process pid has mapped.
func (u *Users) load(pid uint32, m *mapping, f *file) {
	d := debugFiles{path: m.path, dir: u.debug, root: -1}
	root, err := unix.Open(filepath.Join(u.proc, strconv.FormatUint(uint64(pid), 10), "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil { // else the process is gone, and the host's files are left
		d.root = root
		defer unix.Close(root)
	}
	u.read += f.load(d, u.read < maxRead)
	u.symbols, u.text = u.symbols+f.table.len(), u.text+len(f.table.text)
	u.bound(f)
}

func unknown(addr uint64, where string) string {
	s := "[unknown] 0x" + strconv.FormatUint(addr, 16)
	if where != "" {
		s += " (" + where + ")"
	}
	return s
}

// file returns the file behind a mapping; nil when it cannot be opened any
// more.
func (u *Users) file(pid uint32, m *mapping) *file {
	if m.id == (fileID{}) {
		return nil
	}
	if f, ok := u.files.get(m.id); ok {
		return f
	}
	f, err := openMapped(u.proc, pid, m)
	if err != nil {
		return nil
	}
	u.files.put(m.id, f)
	u.bound(f)
	return f
}

// bound forgets the files used longest ago, but not keep.
func (u *Users) bound(keep *file) {
	for u.files.len() > 1 && (u.files.len() > maxFiles || u.symbols > maxSymbols || u.text > maxText) {
		id, f := u.files.oldest()
		if f == keep {
			u.files.put(id, f)
			continue
		}
		u.symbols, u.text = u.symbols-f.table.len(), u.text-len(f.table.text)
		f.close()
	}
}

// lru is a map that knows what was used longest ago.
type lru[K comparable, V any] struct {
	items map[K]*list.Element
	order *list.List // most recently used first
}

type lruItem[K comparable, V any] struct {
	key   K
	value V
}

func (l *lru[K, V]) init() { l.items, l.order = map[K]*list.Element{}, list.New() }

func (l *lru[K, V]) len() int { return len(l.items) }

func (l *lru[K, V]) get(key K) (v V, ok bool) {
	e, ok := l.items[key]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(lruItem[K, V]).value, true
}

func (l *lru[K, V]) put(key K, v V) {
	if e, ok := l.items[key]; ok {
		l.order.Remove(e)
	}
	l.items[key] = l.order.PushFront(lruItem[K, V]{key, v})
}

// oldest removes what was used longest ago and returns it.
func (l *lru[K, V]) oldest() (K, V) {
	item := l.order.Remove(l.order.Back()).(lruItem[K, V])
	delete(l.items, item.key)
	return item.key, item.value
}

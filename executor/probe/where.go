package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/container"
)

// followInterval is how often it is looked whether the containers that a run is narrowed to have
// been started anew; see [Options.Follow].
const followInterval = time.Second

// restartTime is how long a container may be away before it is said.
const restartTime = 3 * time.Second

// within fills a program's map of the control groups that its run is narrowed to. What is started
// inside of one belongs to it from its first instruction on: the kernel asks for the
// group and those around it. A container that is started while the run goes on is seen from
// when it was found: see [Options.Follow].
type within struct {
	node   container.Node
	target string // in the form of [program.CheckWhere]
	groups *ebpf.Map
	slots  []group // what is in the map, by index

	// since is when nothing was found first, zero while something is; said, that it was noted.
	since time.Time
	said  bool

	mu    sync.Mutex
	notes []string // what changed while the run went on, see [Set.Followed]
}

// maxNotes bounds how much is told of containers that come and go.
const maxNotes = 20

func (w *within) note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.notes) < maxNotes && !slices.Contains(w.notes, text) {
		w.notes = append(w.notes, printable(text))
	}
}

// Followed returns what became of the containers that the run is narrowed to since it was attached:
// those that were started meanwhile, and what kept one from being seen. It may be called after Close.
func (s *Set) Followed() []string {
	s.links.Lock()
	w := s.within
	s.links.Unlock()
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.notes)
}

// described is what was found, for people.
func described(f container.Found) string {
	if f.What == "" {
		return "cgroup " + f.Cgroup
	}
	return f.What + " (cgroup " + f.Cgroup + ")"
}

// group is a control group in the map. A container that is started anew may have the same path,
// and has another inode.
type group struct {
	cgroup string
	inode  uint64
}

// cgroupMount is where cgroup v2 is mounted.
func (h host) cgroupMount(ctx context.Context) (string, error) {
	if h.opt.Cgroups != "" {
		return h.opt.Cgroups, nil
	}
	facts, err := h.facts(ctx)
	if err != nil {
		return "", err
	}
	if facts.CgroupMount == "" {
		return "", refuse(nil, "no cgroup v2 hierarchy is mounted on this host; as root: mount -t cgroup2 none /sys/fs/cgroup")
	}
	return facts.CgroupMount, nil
}

// narrow fills the map of control groups, if the program has one, and says what they are.
func (s *Set) narrow(ctx context.Context) ([]string, error) {
	if s.where == "" {
		return nil, nil
	}
	mount, err := s.host.cgroupMount(ctx)
	if err != nil {
		return nil, err
	}
	groups := s.maps[program.WhereMap]
	w := &within{node: container.Node{Cgroups: mount, Root: s.host.opt.Root}, target: s.where, groups: groups, slots: make([]group, groups.MaxEntries())}
	found, err := w.fill()
	if err != nil {
		return nil, fmt.Errorf("narrowing the run to %s: %w", program.WhereWords(s.where), err)
	}
	var said []string
	for _, f := range found {
		said = append(said, printable(described(f)))
	}
	s.within = w
	return said, nil
}

// Follow keeps the map of control groups up to date until ctx ends or the set is closed; without one
// it returns at once. While nothing on the node is called so any more, for a container is just being
// restarted, the map stays as it is; that it lasts, or that several are called so now, is noted. It is
// called once, after [Set.Attach].
func (s *Set) Follow(ctx context.Context) {
	s.links.Lock()
	w := s.within
	s.links.Unlock()
	if w == nil {
		return
	}
	tick := time.NewTicker(cmp.Or(s.host.opt.Follow, followInterval))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.done:
			return
		case <-tick.C:
		}
		if !s.refill(w) {
			return
		}
	}
}

// refill looks once for what the target stands for now. It reports false when the set is closed.
func (s *Set) refill(w *within) bool {
	if s.acquire() != nil {
		return false
	}
	defer s.release()
	was := slices.Clone(w.slots)
	found, err := w.fill()
	var crowded *crowdedError
	switch {
	case err == nil:
		w.since, w.said = time.Time{}, false
	case errors.As(err, &crowded):
		w.note("not all of " + program.WhereWords(s.where) + " is seen: " + err.Error())
	case w.since.IsZero():
		w.since = time.Now()
	case !w.said && time.Since(w.since) >= restartTime:
		w.said = true
		w.note("at " + w.since.UTC().Format("15:04:05 UTC") + " " + program.WhereWords(s.where) + " was not found any more: " + err.Error())
	}
	for _, f := range found {
		if slices.ContainsFunc(w.slots, func(g group) bool { return g.cgroup == f.Cgroup && !slices.Contains(was, g) }) {
			w.note(described(f) + " was started while the run went on, and is seen since " + time.Now().UTC().Format("15:04:05 UTC"))
		}
	}
	return true
}

// crowdedError says that a target stands for more control groups than a program's map holds.
type crowdedError struct{ found, room int }

func (e *crowdedError) Error() string {
	return fmt.Sprintf("%d of this node are meant, and a program can be narrowed to %d: name fewer", e.found, e.room)
}

// fill puts the control groups that the target stands for now into the map. Those that are
// in it stay where they are, so that nothing is missed meanwhile.
func (w *within) fill() ([]container.Found, error) {
	found, err := w.node.Find(w.target)
	if err != nil {
		return nil, err
	}
	if len(found) > len(w.slots) {
		return nil, &crowdedError{len(found), len(w.slots)}
	}
	groups := make([]group, len(found))
	dirs := make([]*os.File, len(found))
	for i, f := range found {
		dir, err := os.Open(filepath.Join(w.node.Cgroups, filepath.Clean("/"+f.Cgroup)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("this node has no cgroup %s", f.Cgroup)
		}
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		var st unix.Stat_t
		if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
			return nil, fmt.Errorf("reading the id of cgroup %s: %w", f.Cgroup, err)
		}
		groups[i], dirs[i] = group{f.Cgroup, st.Ino}, dir
	}
	for i, g := range groups {
		if slices.Contains(w.slots, g) {
			continue
		}
		at := slices.IndexFunc(w.slots, func(old group) bool { return !slices.Contains(groups, old) })
		if err := w.groups.Put(uint32(at), uint32(dirs[i].Fd())); err != nil {
			return nil, fmt.Errorf("telling the program of cgroup %s: %w", g.cgroup, err)
		}
		w.slots[at] = g
	}
	for i, g := range w.slots {
		if g == (group{}) || slices.Contains(groups, g) {
			continue
		}
		if err := w.groups.Delete(uint32(i)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, fmt.Errorf("taking cgroup %s away from the program: %w", g.cgroup, err)
		}
		w.slots[i] = group{}
	}
	return found, nil
}

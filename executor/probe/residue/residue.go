// Package residue lets tests assert that nothing of theirs is left in the
// kernel: no program, map or link, no probe event in tracefs, no program on the
// loopback interface, and in the process no file descriptor of any of those
// and no goroutine.
//
//	func TestAttach(t *testing.T) {
//		residue.Check(t)
//		…
//	}
package residue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"go.uber.org/goleak"
)

// patience is how long the kernel may take to free what was closed: it does
// so after all CPUs have passed a quiet point, which in an emulated machine takes
// seconds, and a multiple of that when the host has other things to do.
const patience = time.Minute

// Check notes what there is, and when the test and its other cleanups are over
// fails it if there is more. Call it first. Objects that another process
// holds are not the test's: several test binaries run at a time.
func Check(t testing.TB) {
	t.Helper()
	check(t, patience)
}

func check(t testing.TB, patience time.Duration) {
	t.Helper()
	before, err := take()
	if err != nil {
		t.Fatalf("residue: %v", err)
	}
	goroutines := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		// They may be just ending: a closed Redis client's look once a second.
		leaks, _ := waitFor(patience, func() ([]string, error) {
			if err := goleak.Find(goroutines); err != nil {
				return []string{err.Error()}, nil
			}
			return nil, nil
		})
		for _, what := range leaks {
			t.Errorf("residue: %s", what)
		}
		left, err := waitFor(patience, func() ([]string, error) {
			after, err := take()
			if err != nil {
				return nil, err
			}
			return after.beyond(before)
		})
		if err != nil {
			t.Errorf("residue: %v", err)
		}
		for _, what := range left {
			t.Errorf("residue: %s is left", what)
		}
	})
}

// Gone fails the test unless the programs and maps have left the kernel, or do
// so soon. It is for what another process loaded: the ids are in its attached
// record.
func Gone(t testing.TB, programs, maps []uint32) {
	t.Helper()
	gone(t, patience, programs, maps)
}

func gone(t testing.TB, patience time.Duration, programs, maps []uint32) {
	t.Helper()
	left, err := waitFor(patience, func() ([]string, error) {
		var left []string
		for _, id := range programs {
			p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
			switch {
			case err == nil:
				left = append(left, fmt.Sprintf("program %d (%s)", id, p))
				p.Close()
			case !errors.Is(err, os.ErrNotExist):
				return nil, err
			}
		}
		for _, id := range maps {
			m, err := ebpf.NewMapFromID(ebpf.MapID(id))
			switch {
			case err == nil:
				left = append(left, fmt.Sprintf("map %d (%s)", id, m))
				m.Close()
			case !errors.Is(err, os.ErrNotExist):
				return nil, err
			}
		}
		return left, nil
	})
	if err != nil {
		t.Errorf("residue: %v", err)
	}
	for _, what := range left {
		t.Errorf("residue: %s still exists", what)
	}
}

// waitFor asks until nothing is left or patience ends.
func waitFor(patience time.Duration, left func() ([]string, error)) ([]string, error) {
	deadline := time.Now().Add(patience)
	for {
		l, err := left()
		if err != nil || len(l) == 0 || time.Now().After(deadline) {
			return l, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// object is a BPF object in the kernel.
type object struct {
	kind string // prog, map, link
	id   uint32
}

func (o object) String() string {
	switch o.kind {
	case "prog":
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(o.id))
		if err == nil {
			defer p.Close()
			return fmt.Sprintf("program %d (%s)", o.id, p)
		}
	case "map":
		m, err := ebpf.NewMapFromID(ebpf.MapID(o.id))
		if err == nil {
			defer m.Close()
			return fmt.Sprintf("map %d (%s)", o.id, m)
		}
	}
	return fmt.Sprintf("%s %d", o.kind, o.id)
}

// snapshot is everything a test could leave behind.
type snapshot struct {
	objects map[object]bool   // in the kernel
	own     map[object]int    // file descriptors of this process, by object
	mapped  int               // BPF maps in this process's memory
	events  map[string]bool   // kgent's lines of uprobe_events and kprobe_events
	lo      map[string]object // programs on the loopback interface, with what is said of them
}

func take() (*snapshot, error) {
	s := &snapshot{objects: map[object]bool{}, events: map[string]bool{}, lo: map[string]object{}}
	var id uint32
	for _, kind := range []struct {
		name string
		next func(uint32) (uint32, error)
	}{
		{"prog", func(id uint32) (uint32, error) {
			n, err := ebpf.ProgramGetNextID(ebpf.ProgramID(id))
			return uint32(n), err
		}},
		{"map", func(id uint32) (uint32, error) { n, err := ebpf.MapGetNextID(ebpf.MapID(id)); return uint32(n), err }},
	} {
		for id = 0; ; {
			next, err := kind.next(id)
			if errors.Is(err, os.ErrNotExist) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("listing BPF objects: %w", err)
			}
			id = next
			s.objects[object{kind.name, id}] = true
		}
	}
	links, err := linkIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range links {
		s.objects[object{"link", id}] = true
	}
	if s.own, err = held("self"); err != nil {
		return nil, err
	}
	if s.mapped, err = mapped("self"); err != nil {
		return nil, err
	}
	for _, name := range []string{"uprobe_events", "kprobe_events"} {
		for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				continue // not mounted there, or not in this kernel
			}
			for line := range strings.Lines(string(b)) {
				if _, event, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(event, "kgent_") {
					s.events[strings.TrimSpace(line)] = true
				}
			}
			break
		}
	}
	return s, s.loopback()
}

// linkIDs lists the links. One that another process is just creating stops the
// listing.
func linkIDs() ([]uint32, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var ids []uint32
		it := new(link.Iterator)
		for it.Next() {
			ids = append(ids, uint32(it.ID))
		}
		it.Close()
		err := it.Err()
		if err == nil {
			return ids, nil
		}
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(deadline) {
			return nil, fmt.Errorf("listing BPF links: %w", err)
		}
	}
}

// loopback notes the programs on lo.
func (s *snapshot) loopback() error {
	const lo = 1
	for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
		res, err := link.QueryPrograms(link.QueryOptions{Target: lo, Attach: at})
		if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, syscall.EINVAL) {
			break // before Linux 6.6 there is no tcx
		}
		if err != nil {
			return fmt.Errorf("listing the programs on lo: %w", err)
		}
		for _, p := range res.Programs {
			s.lo[fmt.Sprintf("%s program %d on lo", at, p.ID)] = object{"prog", uint32(p.ID)}
		}
	}
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	for _, m := range messages {
		if m.Header.Type != syscall.RTM_NEWLINK || binary.NativeEndian.Uint32(m.Data[4:]) != lo {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return fmt.Errorf("listing interfaces: %w", err)
		}
		const iflaXDP = 43
		for _, a := range attrs {
			if a.Attr.Type&^nlaNested != iflaXDP {
				continue
			}
			if id, ok := xdpAttached(a.Value); ok {
				s.lo[fmt.Sprintf("XDP program %d on lo", id)] = object{"prog", id}
			}
		}
	}
	return nil
}

// nlaNested is set in the type of attributes that contain others.
const nlaNested = 1 << 15

// xdpAttached reads IFLA_XDP: its IFLA_XDP_ATTACHED is 0 without a program, and
// IFLA_XDP_PROG_ID is the program's id.
func xdpAttached(b []byte) (id uint32, ok bool) {
	const attached, progID = 2, 4
	for len(b) >= 4 {
		length, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if length < 4 || length > len(b) {
			return id, ok
		}
		switch {
		case typ&^nlaNested == attached && length > 4:
			ok = b[4] != 0
		case typ&^nlaNested == progID && length >= 8:
			id = binary.NativeEndian.Uint32(b[4:])
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return id, ok
}

// beyond describes what s has and before had not.
func (s *snapshot) beyond(before *snapshot) ([]string, error) {
	var left []string
	for o, n := range s.own {
		if n > before.own[o] {
			left = append(left, fmt.Sprintf("a file descriptor of %s", o))
		}
	}
	if n := s.mapped - before.mapped; n > 0 {
		left = append(left, fmt.Sprintf("the memory of %d maps", n))
	}
	for what := range s.events {
		if !before.events[what] {
			left = append(left, what)
		}
	}
	var fresh []object
	for o := range s.objects {
		if !before.objects[o] {
			fresh = append(fresh, o)
		}
	}
	onLo := map[string]object{}
	for what, o := range s.lo {
		if _, ok := before.lo[what]; !ok {
			onLo[what] = o
		}
	}
	if len(fresh)+len(onLo) == 0 {
		return left, nil
	}
	others, mapping, err := heldByOthers()
	if err != nil {
		return nil, err
	}
	for _, o := range fresh {
		if others[o] == 0 && !(mapping && o.kind == "map") {
			left = append(left, o.String())
		}
	}
	for what, o := range onLo {
		if others[o] == 0 {
			left = append(left, what)
		}
	}
	slices.Sort(left)
	return left, nil
}

// heldByOthers returns the objects that file descriptors of other processes
// keep alive, directly or through a link's program or a program's maps. A map
// in a process's memory is kept alive by that too, but which one it is cannot
// be known; mapping says that there are such processes.
func heldByOthers() (all map[object]int, mapping bool, err error) {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, false, err
	}
	all = map[object]int{}
	for _, p := range procs {
		pid := filepath.Base(p)
		if pid == strconv.Itoa(os.Getpid()) {
			continue
		}
		theirs, err := held(pid)
		n := 0
		if err == nil {
			n, err = mapped(pid)
		}
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.ESRCH) {
			continue // gone, or not to be looked into
		}
		if err != nil {
			return nil, false, err
		}
		maps.Copy(all, theirs)
		mapping = mapping || n > 0
	}
	for o := range maps.Clone(all) {
		if o.kind != "prog" {
			continue
		}
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(o.id))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		info, err := p.Info()
		p.Close()
		if err != nil {
			return nil, false, err
		}
		ids, _ := info.MapIDs()
		for _, id := range ids {
			all[object{"map", uint32(id)}]++
		}
	}
	return all, mapping, nil
}

// mapped counts the BPF maps in a process's memory.
func mapped(pid string) (int, error) {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "maps"))
	if err != nil {
		return 0, fmt.Errorf("listing mappings: %w", err)
	}
	return strings.Count(string(b), "anon_inode:bpf-map") + strings.Count(string(b), "anon_inode:[bpf-map]"), nil
}

// held counts the file descriptors of a process by BPF object.
func held(pid string) (map[object]int, error) {
	dir := filepath.Join("/proc", pid, "fdinfo")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing file descriptors: %w", err)
	}
	out := map[object]int{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join("/proc", pid, "fd", e.Name()))
		if err != nil || !strings.HasPrefix(target, "anon_inode:bpf") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed in the meantime
		}
		for _, o := range parseFDInfo(string(b)) {
			out[o]++
		}
	}
	return out, nil
}

// parseFDInfo reads which object a descriptor of one is of; of a link, also
// its program.
func parseFDInfo(text string) []object {
	var out []object
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		kind, ok := strings.CutSuffix(name, "_id")
		if !ok || kind != "prog" && kind != "map" && kind != "link" {
			continue
		}
		if id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); err == nil {
			out = append(out, object{kind, uint32(id)})
		}
	}
	return out
}

package executor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"kgent/agent/program"
)

// Tombstones remember, on the disk, which programs are in the kernel. One that
// was still there when the executor died — killed, out of memory, with its
// whole host — is not loaded again for a while, ever longer each time: what
// takes a node down must not do so as often as somebody asks for it.
//
// A program's stone is on the disk before the program is loaded, and is gone
// after everything of it has left the kernel.
type Tombstones struct {
	dir         string
	first, most time.Duration
	now         func() time.Time

	crashes []Crash // found when it was opened

	mu     sync.Mutex
	stones map[string]*stone // by the program's hash
}

// stone is the file of one program.
type stone struct {
	// Loaded is when it was first loaded of those times that have not ended;
	// zero: it is not in the kernel.
	Loaded time.Time `json:"loaded,omitzero"`
	// Crashes is how often in a row the executor died while it was.
	Crashes int `json:"crashes,omitempty"`
	// Died is when that was noticed last, Until when it may be loaded again.
	Died  time.Time `json:"died,omitzero"`
	Until time.Time `json:"until,omitzero"`
	Name  string    `json:"name"` // for people

	uses int
}

// stoneSuffix ends the names of their files.
const stoneSuffix = ".tombstone"

// Crash is a program in whose time the executor died.
type Crash struct {
	Program string    `json:"program"` // hash
	Name    string    `json:"name"`
	Crashes int       `json:"crashes"`
	Until   time.Time `json:"until"`
}

// OpenTombstones reads the stones in a directory, which no other executor may
// use, and returns the programs that were in the kernel when it was last used.
// The first crash of a program keeps it out for first, each further one twice
// as long, at most for most; first 0 keeps nothing out.
func OpenTombstones(dir string, first, most time.Duration, now func() time.Time) (*Tombstones, []Crash, error) {
	t := &Tombstones{dir: dir, first: first, most: max(first, most), now: now, stones: map[string]*stone{}}
	fail := func(err error) (*Tombstones, []Crash, error) {
		return nil, nil, fmt.Errorf("reading which programs were loaded when the executor last ended: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fail(err)
	}
	var crashes []Crash
	for _, e := range entries {
		hash, ok := strings.CutSuffix(e.Name(), stoneSuffix)
		if !ok {
			continue
		}
		path := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return fail(err)
		}
		s := &stone{}
		if err := json.Unmarshal(b, s); err != nil {
			return fail(fmt.Errorf("%s: %w: remove it if no program of this node can have taken it down", path, err))
		}
		t.stones[hash] = s
		if s.Loaded.IsZero() {
			continue
		}
		s.Loaded, s.Died = time.Time{}, now()
		s.Crashes++
		s.Until = s.Died.Add(t.pause(s.Crashes))
		if err := t.write(hash, s); err != nil {
			return fail(err)
		}
		crashes = append(crashes, Crash{hash, s.Name, s.Crashes, s.Until})
	}
	slices.SortFunc(crashes, func(a, b Crash) int { return strings.Compare(a.Program, b.Program) })
	t.crashes = crashes
	return t, crashes, nil
}

// pause is how long a program is kept out after so many crashes in a row.
func (t *Tombstones) pause(crashes int) time.Duration {
	d := t.first
	for range crashes - 1 {
		if d >= t.most/2 {
			return t.most
		}
		d *= 2
	}
	return d
}

// Allow fails with a [*PolicyError] while a program is kept out.
func (t *Tombstones) Allow(hash string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.allow(hash)
}

// died says in words how the executor before this one died; "" if it did not, with a
// program in the kernel.
func (t *Tombstones) died() string {
	if t == nil || len(t.crashes) == 0 {
		return ""
	}
	var names, kept []string
	for _, c := range t.crashes {
		names = append(names, c.Name)
		if c.Until.After(t.now()) {
			kept = append(kept, fmt.Sprintf("%s is not loaded again before %s", c.Name, c.Until.UTC().Format(time.RFC3339)))
		}
	}
	were := "was"
	if len(names) > 1 {
		were = "were"
	}
	said := fmt.Sprintf("its executor died while %s %s loaded; nothing of that is left in the kernel", strings.Join(names, ", "), were)
	if len(kept) > 0 {
		said += ", and " + strings.Join(kept, ", ")
	}
	return said + ": the executor's log and the kernel's may say why"
}

// KeptOut are the programs that Allow refuses now, by their hashes.
func (t *Tombstones) KeptOut() []Crash {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Crash
	for _, hash := range slices.Sorted(maps.Keys(t.stones)) {
		if s := t.stones[hash]; t.allow(hash) != nil {
			out = append(out, Crash{hash, s.Name, s.Crashes, s.Until})
		}
	}
	return out
}

func (t *Tombstones) allow(hash string) error {
	s := t.stones[hash]
	if s == nil {
		return nil
	}
	// A clock that was set back must not keep it out for longer.
	wait := min(s.Until.Sub(t.now()), t.pause(s.Crashes))
	if s.Crashes == 0 || wait <= 0 {
		return nil
	}
	times := "once"
	if s.Crashes > 1 {
		times = fmt.Sprintf("%d times in a row", s.Crashes)
	}
	return &PolicyError{"crashed", fmt.Sprintf("the executor on this node died while the same program was loaded, %s: it is not loaded again for %v; find out why first (the executor's log and the kernel's, around %s)",
		times, wait.Round(time.Second), s.Died.UTC().Format(time.RFC3339))}
}

// Begin puts a program's stone up. It is on the disk when Begin returns.
func (t *Tombstones) Begin(hash, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.allow(hash); err != nil {
		return err
	}
	s := t.stones[hash]
	if s == nil {
		s = &stone{Name: name}
	}
	if s.uses == 0 {
		s.Loaded = t.now()
		if err := t.write(hash, s); err != nil {
			return fmt.Errorf("noting that a program is loaded: %w: nothing is loaded without that", err)
		}
	}
	s.uses++
	t.stones[hash] = s
	return nil
}

// End takes it away when the program has left the kernel as often as it was
// loaded. Its crashes are forgiven.
func (t *Tombstones) End(hash string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stones[hash]
	if s == nil || s.uses == 0 {
		return nil
	}
	if s.uses--; s.uses > 0 {
		return nil
	}
	delete(t.stones, hash)
	err := os.Remove(t.path(hash))
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = syncDir(t.dir)
	}
	if err != nil {
		return fmt.Errorf("noting that a program has left the kernel: %w", err)
	}
	return nil
}

func (t *Tombstones) path(hash string) string { return filepath.Join(t.dir, hash+stoneSuffix) }

// write puts a stone on the disk.
func (t *Tombstones) write(hash string, s *stone) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return replaceSynced(t.path(hash), append(b, '\n'))
}

// programHash tells programs apart by what is loaded.
func programHash(o *program.Object, m *program.Manifest) (string, error) {
	manifest, err := m.Encode()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d ", len(o.ELF()))
	h.Write(o.ELF())
	h.Write(manifest)
	for _, p := range o.Programs() { // a dry run has no ELF
		fmt.Fprintf(h, "%s %d ", p.Name, len(p.Instructions))
	}
	fmt.Fprint(h, len(o.DryActions()))
	return hex.EncodeToString(h.Sum(nil)), nil
}

// buried is a kernel whose programs have stones.
type buried struct {
	Kernel
	stones *Tombstones
}

// Load implements Kernel.
func (k buried) Load(ctx context.Context, o *program.Object, m *program.Manifest) (Probe, error) {
	hash, err := programHash(o, m)
	if err != nil {
		return nil, err
	}
	if err := k.stones.Begin(hash, m.Name); err != nil {
		return nil, err
	}
	p, err := k.Kernel.Load(ctx, o, m)
	if err != nil || p == nil {
		return nil, errors.Join(err, k.stones.End(hash))
	}
	return &buriedProbe{Probe: p, end: func() error { return k.stones.End(hash) }}, nil
}

// buriedProbe takes its stone away when it is closed. Should something be left
// in the kernel, the stone stays as well.
type buriedProbe struct {
	Probe
	end func() error
}

// Close implements Probe.
func (p *buriedProbe) Close() error {
	if err := p.Probe.Close(); err != nil {
		return err
	}
	return p.end()
}

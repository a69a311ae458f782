package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"kgent/executor/job"
)

// Drain says that a node is in maintenance: it takes no runs and no checks.
type Drain struct {
	Since time.Time `json:"since"`
	// By and Why are for people: who drained the node, and what for.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
	// Ordered is when the order was signed that drained the node; zero when it was
	// drained on the node itself.
	Ordered time.Time `json:"ordered,omitzero"`
}

func (d Drain) String() string {
	s := "in maintenance since " + d.Since.UTC().Format(time.RFC3339)
	if d.By != "" {
		s += ", by " + d.By
	}
	if d.Why != "" {
		s += ": " + d.Why
	}
	return s
}

// maxWhy is the length of the longest By and Why, in bytes.
const maxWhy = job.MaxWhy

// Maintenance is a node's switch. It stays as it is when the executor is
// started again.
type Maintenance struct {
	path string

	mu    sync.Mutex
	drain *Drain
	// last is the time of the last word on it: of an order, when it was signed.
	last time.Time
}

// lastSuffix ends the name of the file that keeps the time of the last word. It stays
// when the node is undrained: an order from before is then as old as ever.
const lastSuffix = ".last"

// OpenMaintenance reads the switch from a file, which exists while the node is
// drained. What cannot be read is an error: it could be a drained node's.
func OpenMaintenance(path string) (*Maintenance, error) {
	m := &Maintenance{path: path}
	var drain Drain
	drained, err := readJSON(path, &drain)
	if err == nil {
		_, err = readJSON(path+lastSuffix, &m.last)
	}
	if err != nil {
		return nil, fmt.Errorf("reading whether this node is drained: %w", err)
	}
	if drained {
		m.drain = &drain
		// Of a release that kept no time beside it.
		at := drain.Ordered
		if at.IsZero() {
			at = drain.Since
		}
		if at.After(m.last) {
			m.last = at
		}
	}
	return m, nil
}

// readJSON reads a file, if there is one.
func readJSON(path string, into any) (found bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return true, nil
}

// Drained returns what the node is drained for; nil when it is not. A nil
// switch is off.
func (m *Maintenance) Drained() *Drain {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drain == nil {
		return nil
	}
	d := *m.drain
	return &d
}

// Set drains the node, or with nil ends that, for somebody at the node itself. It is on
// the disk when Set returns.
func (m *Maintenance) Set(d *Drain) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := time.Now()
	// An order's time is by another clock, which may be ahead so much. What is further
	// ahead is of a time when this clock was wrong.
	if m.last.After(at) && m.last.Before(at.Add(job.MaxSkew)) {
		at = m.last
	}
	return m.set(d, at)
}

// obey is Set for an order, which fails when a newer word than one of this time has
// come: whoever holds an order back must not undo with it what somebody did since.
func (m *Maintenance) obey(d *Drain, signed time.Time) error {
	if m == nil {
		return &PolicyError{"order", "this node has no maintenance switch"}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !signed.After(m.last) {
		return &PolicyError{"order", fmt.Sprintf("the order was signed at %s, and this node was drained or undrained at %s: what came later counts; order it again, if it shall be so", signed.UTC().Format(time.RFC3339Nano), m.last.UTC().Format(time.RFC3339Nano))}
	}
	return m.set(d, signed)
}

// set is called with mu held.
func (m *Maintenance) set(d *Drain, at time.Time) error {
	if d == nil {
		if err := m.note(at); err != nil {
			return fmt.Errorf("ending this node's maintenance: %w", err)
		}
		if err := os.Remove(m.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("ending this node's maintenance: %w", err)
		}
		m.drain = nil
		return syncDir(filepath.Dir(m.path))
	}
	// It is shown to people on a line with other things, and in a log.
	if len(d.By) > maxWhy || len(d.Why) > maxWhy || !utf8.ValidString(d.By+d.Why) || strings.ContainsFunc(d.By+d.Why, unicode.IsControl) {
		return fmt.Errorf("draining this node: who and why may have %d bytes of text each, on one line", maxWhy)
	}
	b, err := json.Marshal(d)
	if err == nil {
		err = m.note(at)
	}
	if err == nil {
		err = replaceSynced(m.path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("draining this node: %w", err)
	}
	drain := *d
	m.drain = &drain
	return nil
}

// note has the time of the last word on the disk.
func (m *Maintenance) note(at time.Time) error {
	b, err := json.Marshal(at.UTC())
	if err != nil {
		return err
	}
	if err := replaceSynced(m.path+lastSuffix, append(b, '\n')); err != nil {
		return err
	}
	m.last = at
	return nil
}

// refuses fails with a [*PolicyError] while the node is drained.
func (m *Maintenance) refuses() error {
	if d := m.Drained(); d != nil {
		return &PolicyError{"drained", "this node is " + d.String()}
	}
	return nil
}

// replaceSynced replaces a file so that it holds the old or the new bytes
// whatever happens, the new ones when it returns nil.
func replaceSynced(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

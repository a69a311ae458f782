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
)

// Drain says that a node is in maintenance: it takes no runs and no checks.
type Drain struct {
	Since time.Time `json:"since"`
	// By and Why are for people: who drained the node, and what for.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
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
const maxWhy = 200

// Maintenance is a node's switch. It stays as it is when the executor is
// started again.
type Maintenance struct {
	path string

	mu    sync.Mutex
	drain *Drain
}

// OpenMaintenance reads the switch from a file, which exists while the node is
// drained. What cannot be read is an error: it could be a drained node's.
func OpenMaintenance(path string) (*Maintenance, error) {
	m := &Maintenance{path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		m.drain = &Drain{}
		err = json.Unmarshal(b, m.drain)
	}
	if err != nil {
		return nil, fmt.Errorf("reading whether this node is drained: %s: %w", path, err)
	}
	return m, nil
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

// Set drains the node, or with nil ends that. It is on the disk when Set
// returns.
func (m *Maintenance) Set(d *Drain) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d == nil {
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
	if err != nil {
		return fmt.Errorf("draining this node: %w", err)
	}
	if err := replaceSynced(m.path, append(b, '\n')); err != nil {
		return fmt.Errorf("draining this node: %w", err)
	}
	drain := *d
	m.drain = &drain
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

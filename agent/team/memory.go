package team

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Memory is a [Store] in memory, for one process and for tests. The zero value is empty.
type Memory struct {
	mu  sync.Mutex
	all kept
}

// Put implements [Store].
func (m *Memory) Put(ctx context.Context, r Recipe, fits func([]Recipe) error) error {
	return m.with(ctx, func() error { return m.all.put(r, fits) })
}

// Remove implements [Store].
func (m *Memory) Remove(ctx context.Context, name string) error {
	return m.with(ctx, func() error { return m.all.remove(name) })
}

// List implements [Store].
func (m *Memory) List(ctx context.Context) (out []Recipe, err error) {
	err = m.with(ctx, func() error { out, err = m.all.list(); return err })
	return out, err
}

func (m *Memory) with(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = kept{}
	}
	return do()
}

// kept are recipes by name, as they are stored: nothing is shared.
type kept map[string]json.RawMessage

func (k kept) put(r Recipe, fits func([]Recipe) error) error {
	if fits != nil {
		all, err := k.list()
		if err == nil {
			err = fits(all)
		}
		if err != nil {
			return err
		}
	}
	if _, there := k[r.Name]; !there && len(k) >= MaxRecipes {
		return ErrFull
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keeping recipe %s: %w", r.Name, err)
	}
	k[r.Name] = raw
	return nil
}

func (k kept) remove(name string) error {
	if _, there := k[name]; !there {
		return ErrNone
	}
	delete(k, name)
	return nil
}

func (k kept) list() ([]Recipe, error) {
	var out []Recipe
	for name, raw := range k {
		var r Recipe
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("reading recipes: %w", err)
		}
		if r.Name != name {
			return nil, fmt.Errorf("reading recipes: %q has another name than it is kept under", name)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Recipe) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// File is a [Store] in a file, for one person on one host. Processes may use it at the same
// time. Only its owner may be able to write it, or it is not read: whoever can write it says what
// words stand for.
type File struct {
	// Path is the file's; it and its directories are made when something is kept.
	Path string
}

// Put implements [Store].
func (f File) Put(ctx context.Context, r Recipe, fits func([]Recipe) error) error {
	return f.change(ctx, func(all kept) error { return all.put(r, fits) })
}

// Remove implements [Store].
func (f File) Remove(ctx context.Context, name string) error {
	return f.change(ctx, func(all kept) error { return all.remove(name) })
}

// List implements [Store].
func (f File) List(ctx context.Context) ([]Recipe, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all, err := f.read()
	if err != nil {
		return nil, err
	}
	return all.list()
}

// maxFile is how large the file may be: more than [MaxRecipes] have.
const maxFile = 64 << 20

func (f File) read() (kept, error) {
	info, err := os.Lstat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return kept{}, nil
	case err != nil:
		return nil, fmt.Errorf("reading kept recipes: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return nil, fmt.Errorf("reading kept recipes: %s is no file of recipes", f.Path)
	case owner(info) != os.Geteuid():
		return nil, fmt.Errorf("reading kept recipes: %s belongs to somebody else", f.Path)
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("reading kept recipes: others can write %s; if what is in it is yours: chmod go-w %s", f.Path, f.Path)
	}
	raw, err := os.ReadFile(f.Path)
	if err != nil {
		return nil, fmt.Errorf("reading kept recipes: %w", err)
	}
	all := kept{}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("reading kept recipes: %s: %w", f.Path, err)
	}
	return all, nil
}

// owner is the user whose file it is; -1 if that is not known.
func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// lockRetry is how often a file that another process changes is tried again.
const lockRetry = 5 * time.Millisecond

// lock waits until no other process changes the file, and has it until what it returns is closed.
func (f File) lock(ctx context.Context) (*os.File, error) {
	file, err := os.OpenFile(f.Path+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", file.Name(), err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("waiting for another process that changes %s: %w", f.Path, ctx.Err()), file.Close())
		case <-retry.C:
		}
	}
}

// change reads the file, has it changed and writes it, alone among processes.
func (f File) change(ctx context.Context, do func(kept) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := filepath.Dir(f.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keeping recipes: %w", err)
	}
	lock, err := f.lock(ctx)
	if err != nil {
		return fmt.Errorf("keeping recipes: %w", err)
	}
	defer lock.Close()
	all, err := f.read()
	if err != nil {
		return err
	}
	if err := do(all); err != nil {
		return err
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("keeping recipes: %w", err)
	}
	next, err := os.CreateTemp(dir, ".recipes-*") // readable by its owner only
	if err != nil {
		return fmt.Errorf("keeping recipes: %w", err)
	}
	_, err = next.Write(raw)
	err = errors.Join(err, next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), f.Path)
	}
	if err != nil {
		return fmt.Errorf("keeping recipes: %w", errors.Join(err, os.Remove(next.Name())))
	}
	return nil
}

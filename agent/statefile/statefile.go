// Package statefile keeps what one person's kgent remembers between runs in a file of JSON: their
// recipes, the lessons of their programs. Processes may use a file at the same time; what is in it is
// replaced as a whole, so that nobody reads half of it. A file that somebody else owns or could write is not
// read: what it says decides what words stand for.
package statefile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxSize is how large a file may be, in bytes.
	maxSize = 64 << 20
	// lockRetry is how often a file that another process changes is tried again.
	lockRetry = 5 * time.Millisecond
)

// Error is a fault of a file: it cannot be read, written or trusted.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("using %s: %v", e.Path, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Read decodes a file. One that is not there leaves into as it is. The error is an *[Error].
func Read(path string, into any) error {
	err := read(path, into)
	if err != nil {
		return &Error{path, err}
	}
	return nil
}

func read(path string, into any) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) // a pipe does not keep it waiting
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Size() > maxSize:
		return errors.New("it is no file of kgent's")
	case owner(info) != os.Geteuid():
		return errors.New("it belongs to somebody else")
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others can write it; if what is in it is yours: chmod go-w %s", path)
	}
	return json.NewDecoder(f).Decode(into)
}

// owner is the user whose file it is; -1 if that is not known.
func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// Change decodes a file into what into points to, has do change that, and writes it back, alone among
// processes; it makes the file and its directories. When do fails nothing is written, and its
// error is returned as it is; any other is an *[Error].
func Change(ctx context.Context, path string, into any, do func() error) error {
	var fault error // of do
	err := change(ctx, path, into, func() error { fault = do(); return fault })
	if err == nil || fault != nil {
		return fault
	}
	return &Error{path, err}
}

func change(ctx context.Context, path string, into any, do func() error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	alone, err := lock(ctx, path+".lock")
	if err != nil {
		return err
	}
	defer alone.Close()
	if err := read(path, into); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	raw, err := json.Marshal(into)
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(dir, ".kgent-*") // readable by its owner only
	if err != nil {
		return err
	}
	_, err = next.Write(raw)
	if err = errors.Join(err, next.Sync(), next.Close()); err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}

// lock waits until no other process changes the file, and has it until what it returns is closed.
func lock(ctx context.Context, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
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
			return nil, errors.Join(fmt.Errorf("locking it: %w", err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("waiting for another process that changes it: %w", ctx.Err()), file.Close())
		case <-retry.C:
		}
	}
}

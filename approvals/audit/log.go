package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Log is a log in a file. It is safe for concurrent use, also by several
// processes.
type Log struct {
	now func() time.Time

	mu   sync.Mutex
	file *os.File
	head Head  // of what was read and written so far,
	size int64 // which is this many bytes
}

// Open opens the log at path, makes it (readable by its owner only) when
// there is none, and checks all of it. A log that does not hold together is
// not opened: the error is a [*BrokenError]. A torn last line is cut off, and
// an entry of kind [Recovered] keeps what it was. now is the clock of the
// entries.
func Open(ctx context.Context, path string, now func() time.Time) (*Log, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening audit log: %w", err)
	}
	l := &Log{now: now, file: file, head: start}
	err = l.locked(ctx, func() error {
		if err := l.catchUp(); err != nil {
			return err
		}
		if l.size > 0 {
			return nil
		}
		// The name of a new file must be as durable as its entries.
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return err
		}
		defer dir.Close()
		return dir.Sync()
	})
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("opening audit log %s: %w", path, err)
	}
	return l, nil
}

// Append adds an entry. When it returns nil, the entry is on the disk.
func (l *Log) Append(ctx context.Context, e Entry) error {
	err := l.locked(ctx, func() error {
		if err := l.catchUp(); err != nil {
			return err
		}
		return l.write(e)
	})
	if err != nil {
		return fmt.Errorf("writing audit log: %w", err)
	}
	return nil
}

// Head returns the newest entry's number and hash, to be written down
// elsewhere.
func (l *Log) Head(ctx context.Context) (Head, error) {
	var head Head
	err := l.locked(ctx, func() error {
		err := l.catchUp()
		head = l.head
		return err
	})
	if err != nil {
		return Head{}, fmt.Errorf("reading audit log: %w", err)
	}
	return head, nil
}

// Reader returns the log as it is now, for [Read] and [Verify]. It can be read
// until the log is closed.
func (l *Log) Reader(ctx context.Context) (io.Reader, error) {
	var r io.Reader
	err := l.locked(ctx, func() error {
		err := l.catchUp()
		r = io.NewSectionReader(l.file, 0, l.size)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading audit log: %w", err)
	}
	return r, nil
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

// lockRetry is how often a log that another process writes to is tried again.
// Writing takes a few milliseconds.
const lockRetry = 5 * time.Millisecond

// locked runs do while no other process reads or writes the log.
func (l *Log) locked(ctx context.Context, do func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	fd := int(l.file.Fd())
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("locking: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for another process to release the log: %w", ctx.Err())
		case <-retry.C:
		}
	}
	defer unix.Flock(fd, unix.LOCK_UN)
	return do()
}

// catchUp reads what other processes have written since, and mends a torn end.
func (l *Log) catchUp() error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	switch {
	case info.Size() == l.size:
		return nil
	case info.Size() < l.size:
		return &BrokenError{l.head.Seq, "the log has become shorter: its end was cut off"}
	}
	head, err := read(io.NewSectionReader(l.file, l.size, info.Size()-l.size), l.head, nil)
	var torn *tornError
	if !errors.As(err, &torn) {
		if err == nil {
			l.head, l.size = head, info.Size()
		}
		return err
	}
	l.head, l.size = head, info.Size()-int64(len(torn.rest))
	if err := l.file.Truncate(l.size); err != nil {
		return fmt.Errorf("cutting off a torn line: %w", err)
	}
	data, err := json.Marshal(struct {
		Torn []byte `json:"torn"`
	}{torn.rest[:min(len(torn.rest), maxLine/2)]})
	if err != nil {
		return err
	}
	return l.write(Entry{Kind: Recovered, Detail: fmt.Sprintf("the log ended in %d bytes of an entry that a crash cut short; they were cut off", len(torn.rest)), Data: data})
}

// write appends one entry and waits until it is on the disk. A part of it that
// was written when an error came is cut off again.
func (l *Log) write(e Entry) error {
	raw, _, head, err := seal(e, l.head, l.now())
	if err != nil {
		return err
	}
	_, err = l.file.Write(raw)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.head, l.size = head, l.size+int64(len(raw))
	return nil
}

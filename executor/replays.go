package executor

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kgent/executor/job"
)

var (
	_ job.Replays = (*MemoryReplays)(nil)
	_ job.Replays = (*FileReplays)(nil)
)

// replaysKept is how much longer than asked a grant is remembered, so that a
// clock that is set back a little does not make an old one new.
const replaysKept = time.Hour

// MemoryReplays remembers used grants for the life of the process. It is for
// an executor that shares its process with the only one who can send it jobs
// and whose keys end with it; others need [FileReplays].
type MemoryReplays struct {
	now  func() time.Time
	mu   sync.Mutex
	used used
}

// NewMemoryReplays returns an empty memory.
func NewMemoryReplays(now func() time.Time) *MemoryReplays {
	return &MemoryReplays{now: now, used: used{}}
}

// Claim implements [job.Replays].
func (r *MemoryReplays) Claim(id string, until time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.used[id]; ok {
		return false, nil
	}
	r.used.forget(r.now())
	r.used[id] = until
	return true, nil
}

// used maps the ids of grants to when they expire.
type used map[string]time.Time

func (u used) forget(now time.Time) {
	maps.DeleteFunc(u, func(_ string, until time.Time) bool { return now.After(until.Add(replaysKept)) })
}

// FileReplays remembers used grants in a file: a line each with the id and
// the second in which it expires. A line is on the disk before Claim returns.
// It is written anew without what has expired when that is most of it.
type FileReplays struct {
	path string
	now  func() time.Time

	mu    sync.Mutex
	lock  *os.File // held as long as this is open
	file  *os.File
	size  int64 // of the file, up to its last whole line
	lines int
	used  used
}

// OpenReplays opens the memory in a file, which is made if it does not exist.
// A last line that was not completely written, by a process that died before
// it ran the grant, is removed. It fails when another process has the file
// open, or when what it holds is not what Claim wrote: then somebody has to
// find out what happened, and may remove the file once every grant that was
// ever signed has expired.
func OpenReplays(path string, now func() time.Time) (_ *FileReplays, err error) {
	r := &FileReplays{path: path, now: now}
	defer func() {
		if err != nil {
			r.Close()
			err = fmt.Errorf("opening the record of used grants: %w", err)
		}
	}()
	// The lock is on a file of its own, because the other is replaced.
	if r.lock, err = os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(r.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by another executor on this host", path)
		}
		return nil, fmt.Errorf("locking %s: %w", r.lock.Name(), err)
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if r.used, err = parseUsed(b); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if err := r.rewrite(); err != nil {
		return nil, err
	}
	return r, nil
}

// parseUsed reads the lines of a file; what follows the last newline was not
// completely written.
func parseUsed(b []byte) (used, error) {
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	out := used{}
	n := 0
	for line := range bytes.Lines(b) {
		n++
		id, until, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		sec, err := strconv.ParseInt(until, 10, 64)
		if !ok || err != nil || !plainID(id) {
			return nil, fmt.Errorf("line %d is not an id and a time: %.80q", n, line)
		}
		out[id] = time.Unix(sec, 0)
	}
	return out, nil
}

func plainID(id string) bool {
	return id != "" && !strings.ContainsAny(id, " \n\r\t\x00")
}

// Claim implements [job.Replays].
func (r *FileReplays) Claim(id string, until time.Time) (bool, error) {
	if !plainID(id) {
		return false, fmt.Errorf("claiming grant %q: its id is not one word", id)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return false, errors.New("claiming grant: the record of used grants is closed")
	}
	if _, ok := r.used[id]; ok {
		return false, nil
	}
	r.used.forget(r.now())
	if r.lines > 2*len(r.used)+1000 {
		if err := r.rewrite(); err != nil {
			return false, err
		}
	}
	line := fmt.Appendf(nil, "%s %d\n", id, second(until))
	// At the offset, so that what an earlier write left half done is
	// overwritten.
	if _, err := r.file.WriteAt(line, r.size); err != nil {
		return false, errors.Join(fmt.Errorf("recording grant: %w", err), r.file.Truncate(r.size))
	}
	// From here on the line may be on the disk, and the grant is used, even
	// if that cannot be made sure and it is not run.
	r.size += int64(len(line))
	r.lines++
	r.used[id] = until
	if err := r.file.Sync(); err != nil {
		return false, fmt.Errorf("recording grant: %w", err)
	}
	return true, nil
}

// second rounds up, so that nothing is forgotten too early.
func second(t time.Time) int64 { return t.Add(time.Second - 1).Unix() }

// rewrite replaces the file by one with only what has not expired.
func (r *FileReplays) rewrite() (err error) {
	r.used.forget(r.now())
	var b bytes.Buffer
	for id, until := range r.used {
		fmt.Fprintf(&b, "%s %d\n", id, second(until))
	}
	f, err := os.OpenFile(r.path+".new", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if _, err := f.Write(b.Bytes()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), r.path); err != nil {
		return err
	}
	// The old file has lost its name: what is written to it is lost.
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
	if err := syncDir(filepath.Dir(r.path)); err != nil {
		return err
	}
	r.file, r.size, r.lines = f, int64(b.Len()), len(r.used)
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close releases the file. Claims fail afterwards.
func (r *FileReplays) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, f := range []*os.File{r.file, r.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	r.file, r.lock = nil, nil
	return errors.Join(errs...)
}

package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kgent/approvals"
)

// File is the policy in a file, as the file is now: every use looks whether
// it was changed. It implements [approvals.Policy] and [approvals.Changing].
//
// A file that is broken, unreadable or gone refuses every request and approval
// with what is wrong about it, until it is mended. Nothing goes on under the
// rules that were there before. [File.Person] and [File.MayStop] answer
// nevertheless, so that runs can be stopped.
type File struct {
	path   string
	opts   Options
	opened bool // its first version was in order

	mu     sync.Mutex
	stamp  stamp
	loaded *Policy
	broken error
}

// stamp tells whether a file was changed: it is another one, or its inode has
// another time of change, which nobody can set.
type stamp struct {
	file    unix.Stat_t
	settled bool
}

// settle is how old a file's last change must be when it is read, so that a
// further change is certain to show in its time. A younger file is read anew.
const settle = 2 * time.Second

// stampOf looks at a file. The time is this host's, which the file system
// uses as well, and not the clock that tests inject.
func stampOf(path string) (stamp, error) {
	var s stamp
	if err := unix.Stat(path, &s.file); err != nil {
		return stamp{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	s.settled = time.Since(time.Unix(s.file.Ctim.Unix())) > settle
	return s, nil
}

// still reports whether the file that was read is the one that is there now.
func (s stamp) still(now stamp) bool {
	return s.settled && s.file.Dev == now.file.Dev && s.file.Ino == now.file.Ino && s.file.Ctim == now.file.Ctim && s.file.Size == now.file.Size
}

// Open reads a policy file. A broken one is an error, which is or wraps
// [Problems] when the content is at fault.
func Open(path string, opts Options) (*File, error) {
	f := &File{path: path, opts: opts}
	if _, err := f.load(); err != nil {
		return nil, err
	}
	f.opened = true
	return f, nil
}

// load returns the policy as it is now.
func (f *File) load() (*Policy, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := stampOf(f.path)
	if err == nil && f.stamp.still(now) {
		return f.loaded, f.broken
	}
	before, wasBroken := f.loaded, f.broken
	f.stamp, f.loaded, f.broken = now, nil, nil
	if err == nil {
		f.loaded, err = f.read()
	}
	if err != nil {
		f.broken = fmt.Errorf("loading policy %s: %w", f.path, err)
	}
	f.report(before, wasBroken)
	return f.loaded, f.broken
}

func (f *File) read() (*Policy, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is not a file"))
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	p, problems := Parse(f.path, content, f.opts)
	if p == nil {
		return nil, problems.Errors()
	}
	return p, nil
}

// report logs what became of the file.
func (f *File) report(before *Policy, wasBroken error) {
	switch log := f.opts.Log; {
	case log == nil:
	case !f.opened && f.broken != nil: // whoever opens it gets the error
	case f.broken != nil && (wasBroken == nil || wasBroken.Error() != f.broken.Error()):
		log.Error("policy file cannot be used; requests and approvals are refused until it is mended", "error", f.broken)
	case f.loaded != nil && (before == nil || before.Version() != f.loaded.Version()):
		log.Info("policy file loaded", "policy", f.loaded.Version())
	}
}

// Watch looks at the file at each tick, so that a change is logged also while
// nobody asks. It returns when ctx ends or tick is closed.
func (f *File) Watch(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-tick:
			if !ok {
				return
			}
			f.load() // what went wrong is logged, and comes again with the next use
		}
	}
}

// Now returns the policy as it is now, or the refusal because of a broken
// file.
func (f *File) Now() (*Policy, error) {
	p, err := f.load()
	if err != nil {
		var gone *fs.PathError
		if errors.As(err, &gone) {
			return nil, refuse(approvals.RulePolicy, "the policy file cannot be read (%v), so nothing is allowed until it can; running traces can be stopped", gone.Err)
		}
		return nil, refuse(approvals.RulePolicy, "the policy file is broken, so nothing is allowed until it is mended; running traces can be stopped (%v)", err)
	}
	return p, nil
}

// Current implements [approvals.Changing].
func (f *File) Current(context.Context) (approvals.Policy, error) {
	p, err := f.Now()
	if err != nil {
		return nil, err
	}
	return p.once(), nil
}

// Judge implements [approvals.Policy].
func (f *File) Judge(ctx context.Context, c approvals.Case) (approvals.Ruling, error) {
	p, err := f.Now()
	if err != nil {
		return approvals.Ruling{}, err
	}
	return p.Judge(ctx, c)
}

// MayApprove implements [approvals.Policy].
func (f *File) MayApprove(ctx context.Context, c approvals.Case, by approvals.Person) error {
	p, err := f.Now()
	if err != nil {
		return err
	}
	return p.MayApprove(ctx, c, by)
}

// BreakGlass implements [approvals.Policy].
func (f *File) BreakGlass(ctx context.Context, c approvals.Case, by approvals.Person) (approvals.Ruling, error) {
	p, err := f.Now()
	if err != nil {
		return approvals.Ruling{}, err
	}
	return p.BreakGlass(ctx, c, by)
}

// Compare implements [approvals.Policy].
func (f *File) Compare(a, b approvals.Person) approvals.Likeness {
	p, err := f.Now()
	if err != nil {
		return approvals.Unclear
	}
	return p.Compare(a, b)
}

// Person is [Policy.Person]; while the file is broken, an account is its own
// person.
func (f *File) Person(account string) (id string, linked bool) {
	p, err := f.Now()
	if err != nil {
		return account, false
	}
	return p.Person(account)
}

// Ask is [Policy.Ask].
func (f *File) Ask(ctx context.Context, c approvals.Case) ([]string, error) {
	p, err := f.Now()
	if err != nil {
		return nil, err
	}
	return p.Ask(ctx, c)
}

// Loud is [Policy.Loud].
func (f *File) Loud(ctx context.Context, c approvals.Case) ([]string, error) {
	p, err := f.Now()
	if err != nil {
		return nil, err
	}
	return p.Loud(ctx, c)
}

// MayRequest is [Policy.MayRequest].
func (f *File) MayRequest(ctx context.Context, by approvals.Person, request string) error {
	p, err := f.Now()
	if err != nil {
		return err
	}
	return p.MayRequest(ctx, by, request)
}

// MayRun is [Policy.MayRun].
func (f *File) MayRun(ctx context.Context, c approvals.Case) error {
	p, err := f.Now()
	if err != nil {
		return err
	}
	return p.MayRun(ctx, c)
}

// RunEnded is [Policy.RunEnded]. While the file is broken, the run stays
// counted until its time is over.
func (f *File) RunEnded(ctx context.Context, c approvals.Case) error {
	p, err := f.Now()
	if err != nil {
		return err
	}
	return p.RunEnded(ctx, c)
}

// MayStop is [Policy.MayStop]; while the file is broken, every person may.
func (f *File) MayStop(by approvals.Person) error {
	p, err := f.Now()
	if err != nil {
		if !by.Human {
			return refuse(approvals.RuleHuman, "only people of this organisation stop runs")
		}
		return nil
	}
	return p.MayStop(by)
}

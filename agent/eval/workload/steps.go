package workload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// verb is something that a step can say.
type verb struct {
	name, args, does string
	run              func(w *W, a []string) (fact any, err error)
}

func basic() []Func {
	return []Func{{"steps", "does what its steps say, one after the other; see below", steps}}
}

// thread is a thread of a workload that steps name with @.
type thread struct {
	do   chan func() error
	done chan error
}

// steps plays its arguments. A step is
//
//	[NAME := ] [N× ] [@THREAD ] VERB ARGUMENTS
//
// NAME becomes a fact with the step's result (of repetitions, the last one's),
// and NAME_min and NAME_max facts with how long it took, all repetitions
// together; NAME_errno is one when the step may fail. N× repeats it; with
// @THREAD it is done on a thread of that name, begun at first use, whose id is
// the fact tid_THREAD. Arguments stand between blanks; ~/ is the workload's
// directory.
func steps(w *W) error {
	w.threads, w.opened = map[string]*thread{}, map[string]int{}
	for _, line := range w.Args {
		if err := w.step(line); err != nil {
			return fmt.Errorf("step %q: %w", line, err)
		}
	}
	return nil
}

func (w *W) step(line string) error {
	words := strings.Fields(line)
	var name, on string
	times := 1
	if len(words) > 2 && words[1] == ":=" {
		name, words = words[0], words[2:]
	}
	if len(words) > 0 {
		if n, ok := strings.CutSuffix(words[0], "×"); ok {
			var err error
			if times, err = strconv.Atoi(n); err != nil || times < 1 {
				return errors.New("want a number before ×")
			}
			words = words[1:]
		}
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "@") {
		on, words = words[0][1:], words[1:]
	}
	if len(words) == 0 {
		return errors.New("there is no verb")
	}
	list := verbs()
	i := slices.IndexFunc(list, func(v verb) bool { return v.name == words[0] })
	if i < 0 {
		return fmt.Errorf("there is no verb %q", words[0])
	}
	args := words[1:]
	if list[i].name != "write-text" && len(args) < len(strings.Fields(required(list[i].args))) {
		return fmt.Errorf("want %s %s", list[i].name, list[i].args)
	}
	for k, a := range args {
		if rest, ok := strings.CutPrefix(a, "~/"); ok {
			args[k] = filepath.Join(w.Dir, rest)
		}
	}
	return w.on(on, func() error {
		var fact any
		var took, shortest time.Duration
		for range times {
			began := time.Now()
			var err error
			if fact, err = list[i].run(w, args); err != nil {
				return err
			}
			took += time.Since(began)
			if fact, ok := fact.(time.Duration); ok {
				shortest += fact
			}
		}
		if name == "" {
			return nil
		}
		if _, ok := fact.(time.Duration); !ok && fact != nil {
			w.Say(name, fact)
		}
		w.Say(name+"_min", shortest.Nanoseconds())
		w.Say(name+"_max", took.Nanoseconds())
		return nil
	})
}

// required are the arguments that are not in brackets.
func required(args string) string {
	if i := strings.IndexByte(args, '['); i >= 0 {
		return args[:i]
	}
	return args
}

// on does something on a thread, the first one when it has no name.
func (w *W) on(name string, f func() error) error {
	if name == "" {
		return f()
	}
	t := w.threads[name]
	if t == nil {
		var err error
		if t, err = begin(name, w); err != nil {
			return err
		}
		w.threads[name] = t
	}
	t.do <- f
	return <-t.done
}

// begin starts a thread of a name in the network of the thread that calls, and
// says its id.
func begin(name string, w *W) (*thread, error) {
	network, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the thread's network: %w", err)
	}
	defer unix.Close(network)
	t := &thread{make(chan func() error), make(chan error)}
	begun := make(chan error)
	go func() {
		err := Thread(name, func(tid int) error {
			if err := unix.Setns(network, unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("entering the workload's network: %w", err)
			}
			w.Say("tid_"+strings.ReplaceAll(name, "-", "_"), tid)
			begun <- nil
			for f := range t.do {
				t.done <- f()
			}
			return nil
		})
		if err != nil {
			begun <- err
		}
	}()
	return t, <-begun
}

// may returns an error's name as a fact, "OK" without one.
func may(err error) (any, error) {
	if err == nil {
		return "OK", nil
	}
	var e unix.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e), nil
	}
	return nil, err
}

// file is the descriptor of an opened file, by the name that a step gave it.
func (w *W) file(name string) (int, error) {
	fd, ok := w.opened[name]
	if !ok {
		return -1, fmt.Errorf("no step has opened %q", name)
	}
	return fd, nil
}

func oflags(text string) (int, error) {
	flags := unix.O_CLOEXEC
	for _, f := range strings.Split(text, "|") {
		v, ok := map[string]int{"r": unix.O_RDONLY, "w": unix.O_WRONLY, "rw": unix.O_RDWR, "creat": unix.O_CREAT, "trunc": unix.O_TRUNC,
			"append": unix.O_APPEND, "excl": unix.O_EXCL, "dir": unix.O_DIRECTORY, "direct": unix.O_DIRECT, "sync": unix.O_SYNC, "path": unix.O_PATH, "nonblock": unix.O_NONBLOCK}[f]
		if !ok {
			return 0, fmt.Errorf("open flag %q", f)
		}
		flags |= v
	}
	return flags, nil
}

// number reads a number in any notation.
func number(text string) (int, error) {
	n, err := strconv.ParseInt(text, 0, 64)
	return int(n), err
}

// sleepFor sleeps with one nanosleep call.
func sleepFor(text string) (any, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, err
	}
	ts := unix.NsecToTimespec(int64(d))
	for {
		if err := unix.Nanosleep(&ts, &ts); err != unix.EINTR {
			return d, err
		}
	}
}

// spin uses the processor for a time, in user space.
func spin(text string) (any, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, err
	}
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		return nil, err
	}
	for until := used.Nano() + int64(d); used.Nano() < until; {
		for range 10_000 {
			runtime.KeepAlive(&used)
		}
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// verbs are what steps can say.
func verbs() []verb { return slices.Concat(plainVerbs(), fileVerbs(), processVerbs(), networkVerbs()) }

func plainVerbs() []verb {
	return []verb{
		{"ready", "", "wait until the trace is attached (of workloads with before: true)", func(w *W, a []string) (any, error) { return nil, w.Ready() }},
		{"say", "NAME VALUE", "tell a fact", func(w *W, a []string) (any, error) { w.Say(a[0], a[1]); return nil, nil }},
		{"sleep", "30ms", "one nanosleep; _min is the duration", func(w *W, a []string) (any, error) { return sleepFor(a[0]) }},
		{"spin", "30ms", "use the processor so long", func(w *W, a []string) (any, error) { return spin(a[0]) }},
		{"syscall", "NAME [NUMBER…]", "a system call with numbers as arguments; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			nr, err := syscallNumber(a[0])
			if err != nil {
				return nil, err
			}
			var args [6]uintptr
			for i, text := range a[1:] {
				n, err := number(text)
				if err != nil || i >= len(args) {
					return nil, fmt.Errorf("argument %q", text)
				}
				args[i] = uintptr(n)
			}
			if _, _, e := unix.Syscall6(uintptr(nr), args[0], args[1], args[2], args[3], args[4], args[5]); e != 0 {
				return may(e)
			}
			return may(nil)
		}},
		{"uid", "NUMBER", "make this thread, and no other, one of that user", func(w *W, a []string) (any, error) {
			n, err := number(a[0])
			if err != nil {
				return nil, err
			}
			return nil, SetUID(n)
		}},
		{"comm", "NAME", "rename this thread", func(w *W, a []string) (any, error) {
			name, err := unix.BytePtrFromString(a[0])
			if err != nil {
				return nil, err
			}
			return nil, unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
		}},
		{"touch-pages", "NUMBER", "map so many pages of memory and write to each: a page fault each", func(w *W, a []string) (any, error) {
			n, err := number(a[0])
			if err != nil {
				return nil, err
			}
			size := os.Getpagesize()
			mem, err := unix.Mmap(-1, 0, n*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			if err != nil {
				return nil, err
			}
			if err := unix.Madvise(mem, unix.MADV_NOHUGEPAGE); err != nil && err != unix.EINVAL {
				return nil, err
			}
			for i := range n {
				mem[i*size] = 1
			}
			return n, unix.Munmap(mem)
		}},
	}
}

func fileVerbs() []verb {
	return []verb{
		{"open", "PATH FLAGS [NAME]", "openat with flags like r, w|creat|trunc; the fact is its error's name or OK. With a name it stays open", func(w *W, a []string) (any, error) {
			flags, err := oflags(a[1])
			if err != nil {
				return nil, err
			}
			fd, err := unix.Openat(unix.AT_FDCWD, a[0], flags, 0o644)
			if err != nil {
				return may(err)
			}
			if len(a) > 2 {
				w.opened[a[2]] = fd
				return "OK", nil
			}
			return "OK", unix.Close(fd)
		}},
		{"close", "NAME", "close what a step opened under that name", func(w *W, a []string) (any, error) {
			fd, err := w.file(a[0])
			if err != nil {
				return nil, err
			}
			delete(w.opened, a[0])
			return nil, unix.Close(fd)
		}},
		{"read", "NAME BYTES", "one read; the fact is how many bytes came", func(w *W, a []string) (any, error) {
			fd, n, err := w.fileAndNumber(a)
			if err != nil {
				return nil, err
			}
			got, err := unix.Read(fd, make([]byte, n))
			if err != nil {
				return may(err)
			}
			return got, nil
		}},
		{"write", "NAME BYTES", "one write of so many zeroes; the fact is how many were taken", func(w *W, a []string) (any, error) {
			fd, n, err := w.fileAndNumber(a)
			if err != nil {
				return nil, err
			}
			got, err := unix.Write(fd, make([]byte, n))
			if err != nil {
				return may(err)
			}
			return got, nil
		}},
		{"write-text", "NAME TEXT…", "one write of a text", func(w *W, a []string) (any, error) {
			if len(a) < 2 {
				return nil, errors.New("want a name and a text")
			}
			fd, err := w.file(a[0])
			if err != nil {
				return nil, err
			}
			n, err := unix.Write(fd, []byte(strings.Join(a[1:], " ")))
			return n, err
		}},
		{"pread", "NAME BYTES OFFSET", "one pread64", func(w *W, a []string) (any, error) {
			fd, n, err := w.fileAndNumber(a)
			if err != nil {
				return nil, err
			}
			at, err := number(a[2])
			if err != nil {
				return nil, err
			}
			return unix.Pread(fd, make([]byte, n), int64(at))
		}},
		{"fsync", "NAME", "one fsync", func(w *W, a []string) (any, error) {
			fd, err := w.file(a[0])
			if err != nil {
				return nil, err
			}
			return nil, unix.Fsync(fd)
		}},
		{"fdatasync", "NAME", "one fdatasync", func(w *W, a []string) (any, error) {
			fd, err := w.file(a[0])
			if err != nil {
				return nil, err
			}
			return nil, unix.Fdatasync(fd)
		}},
		{"unlink", "PATH", "unlinkat; the fact is its error's name or OK", func(w *W, a []string) (any, error) { return may(unix.Unlinkat(unix.AT_FDCWD, a[0], 0)) }},
		{"rename", "PATH PATH", "renameat; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			return may(unix.Renameat(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1]))
		}},
		{"mkdir", "PATH", "mkdirat; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			return may(unix.Mkdirat(unix.AT_FDCWD, a[0], 0o755))
		}},
		{"rmdir", "PATH", "unlinkat of a directory; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			return may(unix.Unlinkat(unix.AT_FDCWD, a[0], unix.AT_REMOVEDIR))
		}},
		{"symlink", "TARGET PATH", "symlinkat; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			return may(unix.Symlinkat(a[0], unix.AT_FDCWD, a[1]))
		}},
		{"link", "PATH PATH", "linkat; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			return may(unix.Linkat(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], 0))
		}},
		{"chmod", "PATH OCTAL", "fchmodat; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			mode, err := strconv.ParseUint(a[1], 8, 32)
			if err != nil {
				return nil, err
			}
			return may(unix.Fchmodat(unix.AT_FDCWD, a[0], uint32(mode), 0))
		}},
		{"chown", "PATH UID GID", "fchownat; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			uid, err1 := number(a[1])
			gid, err2 := number(a[2])
			if err := errors.Join(err1, err2); err != nil {
				return nil, err
			}
			return may(unix.Fchownat(unix.AT_FDCWD, a[0], uid, gid, 0))
		}},
		{"truncate", "PATH BYTES", "truncate; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			n, err := number(a[1])
			if err != nil {
				return nil, err
			}
			return may(unix.Truncate(a[0], int64(n)))
		}},
		{"mount-tmpfs", "PATH", "in a mount namespace of this thread alone: mount a tmpfs", func(w *W, a []string) (any, error) {
			return may(errors.Join(ownMounts(), unix.Mount("kgent-eval", a[0], "tmpfs", unix.MS_NOSUID, "size=64k")))
		}},
		{"umount", "PATH", "umount2; the fact is its error's name or OK", func(w *W, a []string) (any, error) { return may(unix.Unmount(a[0], 0)) }},
	}
}

// ownMounts gives the calling thread mounts of its own, once.
func ownMounts() error {
	here, err1 := os.Readlink("/proc/thread-self/ns/mnt")
	first, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", os.Getppid()))
	if err := errors.Join(err1, err2); err != nil || here != first {
		return err
	}
	// Threads share what a new mount namespace must not.
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

func (w *W) fileAndNumber(a []string) (fd, n int, err error) {
	if fd, err = w.file(a[0]); err != nil {
		return 0, 0, err
	}
	n, err = number(a[1])
	return fd, n, err
}

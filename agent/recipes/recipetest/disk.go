package recipetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Op is what a file of [SlowFile] is asked to do.
type Op string

// What has no name here is answered at once.
const (
	Read      Op = "read"
	Write     Op = "write"
	Fsync     Op = "fsync"
	Fdatasync Op = "fdatasync"
)

// SlowFile makes a file of size zeroes that takes as long as the test wants:
// hold is called for each operation, several at once, and the one who asked
// waits until it returns. The path may be opened by any process while the test
// runs.
//
// It is the one file of a filesystem that the test itself serves (FUSE), and
// that is mounted nowhere any more, so that nothing stays when the test dies.
func SlowFile(t *testing.T, size int64, hold func(Op)) string {
	t.Helper()
	// Not blocking, so that closing it ends a read.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("opening the FUSE device: %v", err)
	}
	at := filepath.Join(t.TempDir(), "slow")
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=100600,user_id=0,group_id=0", fd)
	if err := unix.Mount("kgent-test", at, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Fatalf("mounting a slow file: %v", err)
	}
	dev := os.NewFile(uintptr(fd), "/dev/fuse") // only now can it be polled
	s := &slowFile{dev: dev, data: make([]byte, size), hold: hold}
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	// Not with package os, whose poller would ask whether the file can be
	// polled, and wait for the answer while it keeps the answer from being sent.
	file, err := unix.Open(at, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		// The kernel learns that closing needs no flush. Otherwise it would ask
		// when a child of this process closes its copy on exec: the runtime
		// waits for that too.
		var again int
		if again, err = unix.Open(at, unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
			unix.Close(again) // what the unsupported flush says does not matter
		}
	}
	if err := errors.Join(err, unix.Unmount(at, unix.MNT_DETACH)); err != nil {
		t.Fatalf("opening a slow file: %v", err)
	}
	t.Cleanup(func() {
		// Whoever still waits for an answer gets an error.
		if err := errors.Join(dev.Close(), <-served, unix.Close(file)); err != nil {
			t.Errorf("serving a slow file: %v", err)
		}
	})
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file)
}

type slowFile struct {
	dev  *os.File
	hold func(Op)
	mu   sync.Mutex
	data []byte
}

// Of linux/fuse.h.
const (
	fuseGetattr   = 3
	fuseSetattr   = 4
	fuseOpen      = 14
	fuseRead      = 15
	fuseWrite     = 16
	fuseRelease   = 18
	fuseFsync     = 20
	fuseInit      = 26
	fuseForget    = 2
	fuseInterrupt = 36
	fuseDestroy   = 38
	fuseManyForgo = 42
	fuseFallocate = 43

	fuseHeader    = 40 // bytes before each request
	fuseBigWrites = 1 << 5
	fuseMaxWrite  = 1 << 17
)

// serve answers until the device is closed.
func (s *slowFile) serve() error {
	for {
		buf := make([]byte, fuseMaxWrite+4096)
		n, err := s.dev.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, unix.ENOENT): // the request was taken back
			continue
		case err != nil:
			return fmt.Errorf("reading a request: %w", err)
		case n < fuseHeader:
			return fmt.Errorf("a request of %d bytes", n)
		}
		go s.answer(buf[:n])
	}
}

func (s *slowFile) answer(req []byte) {
	le := binary.LittleEndian
	in := req[fuseHeader:]
	var out []byte
	var errno unix.Errno
	switch op := le.Uint32(req[4:]); op {
	case fuseForget, fuseInterrupt, fuseManyForgo:
		return // no answer is wanted
	case fuseInit:
		out = make([]byte, 64)
		le.PutUint32(out[0:], 7)
		le.PutUint32(out[4:], 31)
		le.PutUint32(out[12:], fuseBigWrites) // and no read ahead
		le.PutUint16(out[16:], 16)
		le.PutUint16(out[18:], 16)
		le.PutUint32(out[20:], fuseMaxWrite)
		le.PutUint32(out[24:], 1)
	case fuseGetattr, fuseSetattr:
		out = make([]byte, 16+88)
		le.PutUint64(out[0:], 3600) // seconds that this is true
		le.PutUint64(out[16:], 1)   // inode
		le.PutUint64(out[24:], uint64(len(s.data)))
		le.PutUint32(out[76:], unix.S_IFREG|0o600)
		le.PutUint32(out[80:], 1)
		le.PutUint32(out[96:], 4096)
	case fuseOpen:
		out = make([]byte, 16)
	case fuseRead:
		s.hold(Read)
		from, size := le.Uint64(in[8:]), uint64(le.Uint32(in[16:]))
		s.mu.Lock()
		if end := uint64(len(s.data)); from < end {
			out = append(out, s.data[from:min(from+size, end)]...)
		}
		s.mu.Unlock()
	case fuseWrite:
		s.hold(Write)
		from, size := le.Uint64(in[8:]), uint64(le.Uint32(in[16:]))
		s.mu.Lock()
		if from+size > uint64(len(s.data)) {
			errno = unix.ENOSPC
		} else {
			copy(s.data[from:], in[40:40+size])
			out = le.AppendUint64(nil, size)
		}
		s.mu.Unlock()
	case fuseFsync:
		if in[8]&1 != 0 {
			s.hold(Fdatasync)
		} else {
			s.hold(Fsync)
		}
	case fuseRelease, fuseDestroy:
	case fuseFallocate: // a discard of a loop device; what is read afterwards does not matter
	default:
		errno = unix.ENOSYS
	}
	answer := make([]byte, 16, 16+len(out))
	le.PutUint32(answer[0:], uint32(16+len(out)))
	le.PutUint32(answer[4:], uint32(-int32(errno)))
	copy(answer[8:], req[8:16])
	// Who asked may have been killed: then nobody takes the answer.
	s.dev.Write(append(answer, out...))
}

// Loop makes a block device of a file, and returns its path and its number as
// a trace shows it. Nobody else uses it, so that the requests to it can be
// counted.
func Loop(t *testing.T, file string) (path, device string) {
	t.Helper()
	back, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0) // it may be a slow file
	if err != nil {
		t.Fatalf("opening %s: %v", file, err)
	}
	defer unix.Close(back)
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("opening the control of loop devices: %v", err)
	}
	defer unix.Close(control)
	for range 20 { // another one may take what is free now
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatalf("looking for a free loop device: %v", err)
		}
		path = fmt.Sprintf("/dev/loop%d", n)
		dev, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatalf("opening %s: %v", path, err)
		}
		config := unix.LoopConfig{Fd: uint32(back)}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR // gone when nobody has it open, also when the test dies
		switch err := unix.IoctlLoopConfigure(dev, &config); err {
		case nil:
			t.Cleanup(func() { unix.Close(dev) })
			return path, fmt.Sprintf("7:%d", n)
		case unix.EBUSY:
			unix.Close(dev)
		default:
			unix.Close(dev)
			t.Fatalf("making a loop device of %s: %v", file, err)
		}
	}
	t.Fatal("other processes take every free loop device")
	return "", ""
}

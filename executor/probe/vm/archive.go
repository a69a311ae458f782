package vm

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// archive writes a cpio archive in the form that the kernel unpacks into its
// first file system: "newc", see Documentation/driver-api/early-userspace of
// Linux. The first error stays.
type archive struct {
	w    *bufio.Writer
	n    int64 // bytes written
	ino  int
	dirs map[string]bool
	err  error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{}}
}

const (
	modeDir    = 0o040000
	modeFile   = 0o100000
	modeDevice = 0o020000
)

func (a *archive) header(name string, mode uint32, size int64, major, minor int) {
	a.ino++
	links := 1
	if mode&modeDir != 0 && mode&modeFile == 0 {
		links = 2
	}
	a.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, mode, 0, 0, links, 0, size, 0, 0, major, minor, len(name)+1, 0))
	a.write(append([]byte(name), 0))
	a.align()
}

func (a *archive) write(b []byte) {
	if a.err == nil {
		var n int
		n, a.err = a.w.Write(b)
		a.n += int64(n)
	}
}

func (a *archive) align() { a.write(make([]byte, -a.n&3)) }

func (a *archive) dir(name string) {
	if !a.dirs[name] {
		a.dirs[name] = true
		a.header(name, modeDir|0o755, 0, 0, 0)
	}
}

func (a *archive) device(name string, major, minor int) {
	a.header(name, modeDevice|0o600, 0, major, minor)
}

func (a *archive) bytes(name string, content []byte, perm uint32) {
	a.header(name, modeFile|perm, int64(len(content)), 0, 0)
	a.write(content)
	a.align()
}

// file packs a file of this machine.
func (a *archive) file(name, from string, perm uint32) {
	if a.err != nil {
		return
	}
	content, err := os.ReadFile(from)
	if err != nil {
		a.err = err
		return
	}
	a.bytes(name, content, perm)
}

func (a *archive) close() error {
	a.header("TRAILER!!!", 0, 0, 0, 0)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}

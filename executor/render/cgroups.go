package render

import (
	"bufio"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kgent/executor/container"
)

// maxCgroups bounds what is remembered; nodes have a few hundred.
const maxCgroups = 1 << 16

// cgroups remembers the paths of cgroups by their ids, also of those that are
// gone by the time their events are read.
type cgroups struct {
	mount string // of the cgroup2 file system; empty when there is none
	now   func() time.Time
	// node says what its containers are called.
	node container.Node

	mu     sync.Mutex
	walked bool
	paths  map[uint64]string
	called map[uint64]string    // containers that have been shown
	misses map[uint64]time.Time // when an id was last looked for in vain
}

func newCgroups(mount string, now func() time.Time) *cgroups {
	return &cgroups{mount: mount, now: now, node: container.Node{Cgroups: mount}, paths: map[uint64]string{}, called: map[uint64]string{}, misses: map[uint64]time.Time{}}
}

// name is what a cgroup is shown as: the container that it is, where that has a
// name (shop/web-1/nginx), else its path. The files that have the names are read
// once for each.
func (c *cgroups) name(id uint64) (string, bool) {
	path, ok := c.path(id)
	if !ok {
		return "", false
	}
	in, ok := container.Of(path)
	if !ok {
		return path, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if name, ok := c.called[id]; ok {
		return name, true
	}
	name := path
	if in = c.node.Name(in); in.Name != "" {
		name = in.String() + strings.TrimPrefix(path, in.Cgroup)
	}
	if len(c.called) >= maxCgroups {
		clear(c.called)
	}
	c.called[id] = name
	return name, true
}

func (c *cgroups) path(id uint64) (string, bool) {
	if c.mount == "" || id == 0 {
		return "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.walked {
		c.walked = true
		c.walk()
	}
	if p, ok := c.paths[id]; ok {
		return p, true
	}
	if at, ok := c.misses[id]; ok && c.now().Sub(at) < time.Second {
		return "", false
	}
	p, ok := openCgroup(c.mount, id)
	if !ok {
		if len(c.misses) >= 1024 {
			clear(c.misses)
		}
		c.misses[id] = c.now()
		return "", false
	}
	if len(c.paths) >= maxCgroups {
		clear(c.paths)
	}
	c.paths[id] = p
	return p, true
}

// walk learns all cgroups that exist. An id is the inode number of the
// cgroup's directory.
func (c *cgroups) walk() {
	filepath.WalkDir(c.mount, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a cgroup that went away meanwhile
		}
		if len(c.paths) >= maxCgroups {
			return filepath.SkipAll
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			c.paths[st.Ino] = below(c.mount, path)
		}
		return nil
	})
}

// fileidKernfs is FILEID_KERNFS of include/linux/exportfs.h: the handle is the
// 64-bit id.
const fileidKernfs = 0xfe

// openCgroup finds a cgroup by its id without a walk. It needs
// CAP_DAC_READ_SEARCH; without it, cgroups born after the walk stay numbers.
func openCgroup(mount string, id uint64) (string, bool) {
	dir, err := unix.Open(mount, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false
	}
	defer unix.Close(dir)
	var raw [8]byte
	binary.NativeEndian.PutUint64(raw[:], id)
	fd, err := unix.OpenByHandleAt(dir, unix.NewFileHandle(fileidKernfs, raw[:]), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", false
	}
	defer unix.Close(fd)
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || strings.HasSuffix(path, " (deleted)") || !strings.HasPrefix(path, mount) {
		return "", false
	}
	return below(mount, path), true
}

func below(mount, path string) string {
	if p := strings.TrimPrefix(path, mount); p != "" {
		return p
	}
	return "/"
}

// findCgroup2 returns where the cgroup v2 hierarchy is mounted, "" if nowhere.
func findCgroup2() string {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return ""
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if fields := strings.Fields(s.Text()); len(fields) > 2 && fields[2] == "cgroup2" {
			return unescapeMount(fields[1])
		}
	}
	return ""
}

// unescapeMount undoes the octal escapes of /proc/self/mounts.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

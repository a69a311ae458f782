package symbol

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// startTime returns when a process started, in ticks since boot.
func startTime(proc string, pid uint32) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.FormatUint(uint64(pid), 10), "stat"))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses and may hold anything.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, errors.New("reading stat: no command")
	}
	fields := bytes.Fields(b[i+1:])
	if len(fields) < 20 {
		return 0, errors.New("reading stat: too few fields")
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// readMappings returns the executable mappings of a process by address.
func readMappings(proc string, pid uint32) ([]mapping, error) {
	f, err := os.Open(filepath.Join(proc, strconv.FormatUint(uint64(pid), 10), "maps"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMappings(f)
}

// parseMappings reads the format of /proc/<pid>/maps.
func parseMappings(r io.Reader) ([]mapping, error) {
	var out []mapping
	s := bufio.NewScanner(r)
	for s.Scan() && len(out) < maxMappings {
		m, executable, err := parseMapping(s.Text())
		if err != nil {
			return nil, err
		}
		if executable {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b mapping) int {
		if a.start < b.start {
			return -1
		}
		return 1
	})
	return out, s.Err()
}

// parseMapping reads "7f0000000000-7f0000001000 r-xp 00028000 fe:00 1234   /lib/libc.so.6".
func parseMapping(line string) (m mapping, executable bool, err error) {
	malformed := func() (mapping, bool, error) {
		return mapping{}, false, fmt.Errorf("reading mappings: malformed line %q", line)
	}
	var fields [5]string
	rest := line
	for i := range fields {
		var ok bool
		fields[i], rest, ok = strings.Cut(rest, " ")
		if !ok && i < 4 {
			return malformed()
		}
	}
	start, end, _ := strings.Cut(fields[0], "-")
	major, minor, _ := strings.Cut(fields[3], ":")
	number := func(s string, base, bits int) uint64 {
		n, e := strconv.ParseUint(s, base, bits)
		err = errors.Join(err, e)
		return n
	}
	m.start, m.end, m.offset = number(start, 16, 64), number(end, 16, 64), number(fields[2], 16, 64)
	id := fileID{uint32(number(major, 16, 32)), uint32(number(minor, 16, 32)), number(fields[4], 10, 64)}
	if err != nil || m.end <= m.start || len(fields[1]) != 4 {
		return malformed()
	}
	if id.inode != 0 {
		m.id = id
	}
	m.path = strings.ReplaceAll(strings.TrimLeft(rest, " "), `\012`, "\n")
	m.path, m.deleted = strings.CutSuffix(m.path, " (deleted)")
	return m, fields[1][2] == 'x', nil
}

// fileID is how /proc/<pid>/maps names a file. As long as the file is open,
// no other file has its id.
type fileID struct {
	major, minor uint32
	inode        uint64
}

// openMapped opens the file behind a mapping: through map_files, which leads
// to exactly that file even when it was deleted; else by its path within the
// process's root, if what is there is still the same.
func openMapped(proc string, pid uint32, m *mapping) (*file, error) {
	dir := filepath.Join(proc, strconv.FormatUint(uint64(pid), 10))
	fd, err := unix.Open(filepath.Join(dir, "map_files", fmt.Sprintf("%x-%x", m.start, m.end)), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == nil {
		return reopen(fd, 0)
	}
	if m.deleted {
		return nil, fmt.Errorf("opening %s: %w", m.path, err)
	}
	root, err := unix.Open(filepath.Join(dir, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening root of process %d: %w", pid, err)
	}
	defer unix.Close(root)
	// A link within a container must not lead out of it.
	fd, err = unix.Openat2(root, m.path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", m.path, err)
	}
	return reopen(fd, m.id.inode)
}

// reopen opens for reading what the O_PATH descriptor fd stands for, if it is
// a regular file: opening a device or a pipe has consequences. When inode is
// not 0, it must be the file's. It closes fd.
func reopen(fd int, inode uint64) (*file, error) {
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("looking at mapped file: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("the mapping is of no regular file")
	}
	if inode != 0 && st.Ino != inode {
		return nil, errors.New("the file was replaced")
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, err
	}
	return &file{f: f}, nil
}

package symbol

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// buildTarget compiles testdata/target.c into dir.
func buildTarget(t *testing.T, dir string, flags ...string) string {
	t.Helper()
	bin := filepath.Join(dir, "target")
	args := append([]string{"-O1", "-g0", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-Wl,--build-id", "testdata/target.c", "-o", bin}, flags...)
	run(t, "clang-19", args...)
	return bin
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, args, err, out)
	}
}

// target is a running target.c.
type target struct {
	*exec.Cmd
	pid    uint32
	addr   uint64 // in middle, where inner returns to
	stdin  io.Closer
	exited bool
}

func start(t *testing.T, bin string, attr *syscall.SysProcAttr) *target {
	t.Helper()
	cmd := exec.Command(bin)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &target{Cmd: cmd, pid: uint32(cmd.Process.Pid), stdin: stdin}
	t.Cleanup(p.stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("reading what the target says: %v", err)
	}
	if p.addr, err = strconv.ParseUint(strings.TrimSpace(line), 0, 64); err != nil {
		t.Fatal(err)
	}
	return p
}

// stop ends the process and waits until it is gone.
func (p *target) stop() {
	if !p.exited {
		p.exited = true
		p.stdin.Close()
		p.Process.Kill()
		p.Wait()
	}
}

func newUsers(t *testing.T) *Users {
	u := NewUsers()
	t.Cleanup(u.Close)
	return u
}

// isMiddle says whether the frames name where inner returns to. The second
// frame of a stack is a return address.
func isMiddle(frames []string) bool {
	return strings.HasPrefix(frames[1], "middle+0x") && strings.HasSuffix(frames[1], " (target)")
}

func (p *target) stack() []uint64 { return []uint64{p.addr, p.addr} }

func TestFramesOfLivingProcess(t *testing.T) {
	p := start(t, buildTarget(t, t.TempDir()), nil)
	u := newUsers(t)
	if got := u.Frames(p.pid, p.stack()); !isMiddle(got) {
		t.Errorf("got %q", got)
	}
	got := u.Frames(p.pid, []uint64{8, 0x7fffffff0000, vdso(t, p.pid) + 16})
	if got[0] != "[unknown] 0x8" || got[1] != "[unknown] 0x7fffffff0000" || !strings.HasSuffix(got[2], " (vdso)") {
		t.Errorf("got %q", got)
	}
}

func vdso(t *testing.T, pid uint32) uint64 {
	t.Helper()
	mappings, err := readMappings("/proc", pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mappings {
		if m.path == "[vdso]" {
			return m.start
		}
	}
	t.Fatal("the process has no vdso")
	return 0
}

// A program linked for a fixed address, and one with its functions in another
// place of the file than in memory.
func TestFramesOfOtherLayouts(t *testing.T) {
	for name, flags := range map[string][]string{
		"no-pie":   {"-no-pie", "-fno-pie"},
		"static":   {"-static"},
		"far away": {"-no-pie", "-fno-pie", "-Wl,-Ttext-segment=0x6000000"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, buildTarget(t, t.TempDir(), flags...), nil)
			if got := newUsers(t).Frames(p.pid, p.stack()); !isMiddle(got) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestFramesOfSharedLibrary(t *testing.T) {
	p := start(t, buildTarget(t, t.TempDir()), nil)
	mappings, err := readMappings("/proc", p.pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mappings {
		if !strings.Contains(m.path, "libc.so") {
			continue
		}
		e, err := elf.Open(m.path)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		symbols, err := e.DynamicSymbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range symbols {
			if s.Name != "getppid" {
				continue
			}
			// libc is linked so that its text has the offset of its address.
			addr := s.Value - m.offset + m.start
			if got, want := newUsers(t).Frames(p.pid, []uint64{addr + 3})[0], "getppid+0x3 ("+filepath.Base(m.path)+")"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			return
		}
	}
	t.Fatal("the target has no libc with a getppid")
}

func TestFramesOfExitedProcess(t *testing.T) {
	dir := t.TempDir()
	noted, unnoted := start(t, buildTarget(t, dir), nil), start(t, filepath.Join(dir, "target"), nil)
	u := newUsers(t)
	u.Note(noted.pid)
	noted.stop()
	unnoted.stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := u.Frames(noted.pid, noted.stack()); !isMiddle(got) {
		t.Errorf("noted: got %q", got)
	}
	want := fmt.Sprintf("[unknown] 0x%x (exited)", unnoted.addr)
	if got := u.Frames(unnoted.pid, unnoted.stack()); got[1] != want {
		t.Errorf("not noted: got %q, want %q", got, want)
	}
}

// A zombie still has its id and start time, but no memory.
func TestFramesOfZombie(t *testing.T) {
	p := start(t, buildTarget(t, t.TempDir()), nil)
	u := newUsers(t)
	u.Note(p.pid)
	p.Process.Kill()
	waitZombie(t, p.pid)
	u.now = func() time.Time { return time.Now().Add(time.Hour) } // make it look again
	if got := u.Frames(p.pid, append(p.stack(), 1)); !isMiddle(got) {
		t.Errorf("noted before: got %q", got)
	}
	if got := newUsers(t).Frames(p.pid, p.stack()); !strings.HasSuffix(got[1], " (exited)") {
		t.Errorf("not noted: got %q", got)
	}
}

// waitZombie waits until a killed child of ours is one.
func waitZombie(t *testing.T, pid uint32) {
	t.Helper()
	const exitedNoWait = syscall.WNOWAIT | syscall.WEXITED
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, 1 /* P_PID */, uintptr(pid), 0, exitedNoWait, 0, 0)
		if errno == 0 {
			return
		}
		if errno != syscall.EINTR {
			t.Fatal(errno)
		}
	}
}

// The mapped file was replaced by another one, as an upgrade does.
func TestFramesOfReplacedFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE: /proc/<pid>/map_files")
	}
	bin := buildTarget(t, t.TempDir())
	p := start(t, bin, nil)
	if err := os.Remove(bin); err != nil {
		t.Fatal(err)
	}
	run(t, "cp", "/bin/true", bin)
	if got := newUsers(t).Frames(p.pid, p.stack()); !isMiddle(got) {
		t.Errorf("got %q", got)
	}
}

// A process with a root of its own.
// A container has its debugging files in its own root. Of a process that has only
// changed its root, the mappings show the paths of the host.
func TestDebugFilesOfContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_CHROOT")
	}
	for name, at := range map[string]string{"beside": "/target.debug", "below": "/.debug/target.debug", "debug directory": ""} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			bin := buildTarget(t, root, "-static")
			file := filepath.Join(root, at)
			if name == "debug directory" {
				file = filepath.Join(root, "/usr/lib/debug", root, "target.debug")
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			run(t, "objcopy", "--only-keep-debug", bin, file)
			run(t, "strip", bin)
			run(t, "objcopy", "--add-gnu-debuglink="+file, bin)
			p := start(t, "/"+filepath.Base(bin), &syscall.SysProcAttr{Chroot: root})
			if got := newUsers(t).Frames(p.pid, p.stack()); !isMiddle(got) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestFramesInContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_CHROOT")
	}
	root := t.TempDir()
	bin := buildTarget(t, root, "-static")
	p := start(t, "/"+filepath.Base(bin), &syscall.SysProcAttr{Chroot: root})
	if got := newUsers(t).Frames(p.pid, p.stack()); !isMiddle(got) {
		t.Errorf("got %q", got)
	}
}

func TestStrippedFile(t *testing.T) {
	build := func(t *testing.T) (bin, debug string) {
		dir, debug := t.TempDir(), t.TempDir()
		bin = buildTarget(t, dir)
		return bin, debug
	}
	frames := func(t *testing.T, bin, debug string) []string {
		p := start(t, bin, nil)
		u := newUsers(t)
		u.debug = debug
		return u.Frames(p.pid, p.stack())
	}
	t.Run("no symbols", func(t *testing.T) {
		bin, debug := build(t)
		run(t, "strip", bin)
		got := frames(t, bin, debug)
		// What is left is the place within the file, for addr2line.
		var place uint64
		if n, err := fmt.Sscanf(got[1], "[target+0x%x]", &place); n != 1 || err != nil || place == 0 || place > 1<<20 {
			t.Errorf("got %q", got)
		}
	})
	t.Run("build id", func(t *testing.T) {
		bin, debug := build(t)
		e, err := elf.Open(bin)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("%x", buildID(e))
		e.Close()
		if err := os.MkdirAll(filepath.Join(debug, ".build-id", id[:2]), 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, "objcopy", "--only-keep-debug", bin, filepath.Join(debug, ".build-id", id[:2], id[2:]+".debug"))
		run(t, "strip", bin)
		if got := frames(t, bin, debug); !isMiddle(got) {
			t.Errorf("got %q", got)
		}
	})
	for _, tt := range []struct {
		name string
		same bool
	}{{"debug link", true}, {"debug link of another build", false}} {
		t.Run(tt.name, func(t *testing.T) {
			bin, debug := build(t)
			file := filepath.Join(debug, filepath.Dir(bin), "target.debug")
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			run(t, "objcopy", "--only-keep-debug", bin, file)
			run(t, "strip", bin)
			run(t, "objcopy", "--add-gnu-debuglink="+file, bin)
			if !tt.same {
				f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				f.WriteString("x")
				f.Close()
			}
			if got := frames(t, bin, debug); isMiddle(got) != tt.same {
				t.Errorf("got %q", got)
			}
		})
	}
}

// fakeProc is a procfs with one process, whose only mapping is of path below
// its root, and without map_files.
func fakeProc(t *testing.T, path string, inode uint64) (proc, root string) {
	t.Helper()
	proc, root = t.TempDir(), t.TempDir()
	dir := filepath.Join(proc, "7")
	for name, text := range map[string]string{
		"stat": "7 (a) b (c) S" + strings.Repeat(" 1", 30) + "\n",
		"maps": fmt.Sprintf("400000-500000 r-xp 00001000 fe:00 %d      %s\n", inode, path),
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(root, filepath.Join(dir, "root")); err != nil {
		t.Fatal(err)
	}
	return proc, root
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// Without map_files, files are opened by their path in the process's root, and
// nothing there may lead us elsewhere.
func TestOpenThroughRoot(t *testing.T) {
	outside := buildTarget(t, t.TempDir(), "-no-pie", "-fno-pie")
	open := func(t *testing.T, path string, ino uint64, prepare func(root string)) (*file, error) {
		proc, root := fakeProc(t, path, ino)
		prepare(root)
		mappings, err := readMappings(proc, 7)
		if err != nil || len(mappings) != 1 {
			t.Fatalf("%v, %v", mappings, err)
		}
		f, err := openMapped(proc, 7, &mappings[0])
		if err == nil {
			t.Cleanup(f.close)
		}
		return f, err
	}
	t.Run("the same file", func(t *testing.T) {
		proc, root := fakeProc(t, "/bin/target", 0)
		if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		bin := buildTarget(t, filepath.Join(root, "bin"), "-no-pie", "-fno-pie")
		e, err := elf.Open(bin)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		symbols, err := e.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range symbols {
			if s.Name == "outer" {
				maps := fmt.Sprintf("400000-500000 r-xp 00000000 fe:00 %d /bin/target\n", inode(t, bin))
				if err := os.WriteFile(filepath.Join(proc, "7/maps"), []byte(maps), 0o644); err != nil {
					t.Fatal(err)
				}
				u := newUsers(t)
				u.proc = proc
				if got := u.Frames(7, []uint64{s.Value + 1})[0]; got != "outer+0x1 (target)" {
					t.Errorf("got %q", got)
				}
				return
			}
		}
		t.Fatal("no outer")
	})
	t.Run("another file", func(t *testing.T) {
		if f, err := open(t, "/target", inode(t, outside)+1, func(root string) { run(t, "cp", outside, filepath.Join(root, "target")) }); err == nil {
			t.Errorf("opened %v", f)
		}
	})
	t.Run("a link out of the root", func(t *testing.T) {
		if f, err := open(t, "/target", inode(t, outside), func(root string) {
			if err := os.Symlink(outside, filepath.Join(root, "target")); err != nil {
				t.Fatal(err)
			}
		}); err == nil {
			t.Errorf("opened %v", f)
		}
	})
	t.Run("a pipe", func(t *testing.T) {
		if f, err := open(t, "/pipe", 5, func(root string) {
			if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644); err != nil {
				t.Fatal(err)
			}
		}); err == nil || !strings.Contains(err.Error(), "regular") {
			t.Errorf("got %v, %v", f, err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		if f, err := open(t, "/target (deleted)", 5, func(string) {}); err == nil {
			t.Errorf("opened %v", f)
		}
	})
}

// A process that changes, and one that takes over another's id.
func TestChangingProcess(t *testing.T) {
	proc, _ := fakeProc(t, "", 0)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(proc, "7", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Unix(1000, 0)
	u := newUsers(t)
	u.proc, u.now = proc, func() time.Time { return now }
	is := func(when string, addr uint64, want string) {
		t.Helper()
		if got := u.Frames(7, []uint64{addr})[0]; got != fmt.Sprintf("[unknown] 0x%x%s", addr, want) {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	write("maps", "1000-2000 r-xp 0 00:00 0 [one]\n")
	u.Note(7)
	is("at first", 0x1800, " (one)")
	is("at first", 0x3800, "")
	write("maps", "3000-4000 r-xp 0 00:00 0 [two]\n")
	is("a moment later", 0x3800, "")
	now = now.Add(stale)
	is("later", 0x3800, " (two)")
	is("what was unmapped", 0x1800, " (one)")

	write("stat", "7 (x) S"+strings.Repeat(" 2", 30)+"\n")
	write("maps", "3000-3800 r-xp 0 00:00 0 [three]\n5000-6000 r-xp 0 00:00 0 [three]\n")
	now = now.Add(stale)
	is("only in the second process", 0x5800, " (three)")
	is("only in the first", 0x3900, " (two)")
	is("different in both", 0x3400, "")

	if err := os.RemoveAll(filepath.Join(proc, "7")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(stale)
	is("gone", 0x5800, " (three)")
}

// What is remembered has an end, and what is closed is forgotten.
func TestUsersBounds(t *testing.T) {
	u := newUsers(t)
	for i := range uint32(2 * maxProcesses) {
		u.processes.put(i, &process{started: 1})
		if u.processes.len() > maxProcesses {
			u.processes.oldest()
		}
	}
	if _, ok := u.processes.get(0); ok || u.processes.len() != maxProcesses {
		t.Errorf("%d processes", u.processes.len())
	}
	for i := range uint64(2 * maxFiles) {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		file := &file{f: f}
		u.files.put(fileID{inode: i}, file)
		u.bound(file)
	}
	if u.files.len() != maxFiles {
		t.Errorf("%d files", u.files.len())
	}
	// A table larger than all bounds stays as long as it is in use.
	big := &file{f: os.NewFile(^uintptr(0), "")}
	u.files.put(fileID{inode: 9999}, big)
	u.symbols = maxSymbols + 1
	u.bound(big)
	if _, ok := u.files.get(fileID{inode: 9999}); !ok || u.files.len() != 1 {
		t.Errorf("%d files left", u.files.len())
	}
	u.Close()
	if u.files.len() != 0 || u.processes.len() != 0 {
		t.Error("something is left")
	}
	(*Users)(nil).Close()
	if got := (*Users)(nil).Frames(1, []uint64{16}); got[0] != "[unknown] 0x10" {
		t.Errorf("got %q", got)
	}
}

func TestParseMappings(t *testing.T) {
	text := `55d0c0000000-55d0c0001000 r--p 00000000 fe:01 77 /usr/bin/with space
55d0c0001000-55d0c0002000 r-xp 00001000 fe:01 77                         /usr/bin/with space
7f0000000000-7f0000001000 r-xp 00028000 08:11 1234 /lib/libc.so.6 (deleted)
7f0000002000-7f0000003000 rwxp 00000000 00:00 0 
7f0000004000-7f0000005000 r-xp 00000000 00:00 0                          [vdso]
600000-700000 --xp 00000000 00:01 5 /memfd:a\012b (deleted)
`
	got, err := parseMappings(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []mapping{
		{start: 0x600000, end: 0x700000, id: fileID{0, 1, 5}, path: "/memfd:a\nb", deleted: true},
		{start: 0x55d0c0001000, end: 0x55d0c0002000, offset: 0x1000, id: fileID{0xfe, 1, 77}, path: "/usr/bin/with space"},
		{start: 0x7f0000000000, end: 0x7f0000001000, offset: 0x28000, id: fileID{8, 0x11, 1234}, path: "/lib/libc.so.6", deleted: true},
		{start: 0x7f0000002000, end: 0x7f0000003000},
		{start: 0x7f0000004000, end: 0x7f0000005000, path: "[vdso]"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, bad := range []string{"x", "1-2 r-xp 0 0:0", "2-1 r-xp 0 0:0 0", "1-g r-xp 0 0:0 0", "1-2 rx 0 0:0 0", "1-2 r-xp z 0:0 0", "1-2 r-xp 0 0 0", "1-2 r-xp 0 0:0 y"} {
		if m, err := parseMappings(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %v", bad, m)
		}
	}
}

func FuzzParseMappings(f *testing.F) {
	f.Add("55d0c0001000-55d0c0002000 r-xp 00001000 fe:01 77 /usr/bin/x\n", uint64(5))
	f.Fuzz(func(t *testing.T, text string, addr uint64) {
		mappings, err := parseMappings(strings.NewReader(text))
		if err != nil {
			return
		}
		p := &process{mappings: mappings}
		if m := p.find(addr); m != nil && (addr < m.start || addr >= m.end) {
			t.Fatalf("%#x is not within %+v", addr, m)
		}
	})
}

// Files come from containers: whatever is in them, they have symbols or not.
func FuzzELF(f *testing.F) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(self[:4096], uint64(0x1000))
	if small, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(small, uint64(0x2000))
	}
	f.Fuzz(func(t *testing.T, data []byte, addr uint64) {
		e, err := openELF(bytes.NewReader(data))
		if err != nil {
			return
		}
		buildID(e)
		if d, err := (debugFiles{path: "/nonexistent/x", dir: "/nonexistent", root: -1}).open(e); err == nil {
			t.Fatalf("opened %s", d.Name())
		}
		var b tableBuilder
		b.add(e)
		_ = b.addGo(e) // whatever it says, it says it
		table := b.table()
		table.find(addr)
	})
}

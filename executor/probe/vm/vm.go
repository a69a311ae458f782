// Package vm boots other Linux kernels, for tests that the kernel of the
// machine cannot run: in qemu, without hardware virtualisation, with nothing in
// it but one test binary and the files it asks for.
//
// A test binary calls [Init] at the very beginning of TestMain. On the machine
// that does nothing. In a [Machine] the same binary is the first process: Init
// mounts what a system has, loads the modules, runs the binary once more with
// the arguments given, and switches the machine off.
//
//	func TestMain(m *testing.M) {
//		vm.Init()
//		os.Exit(m.Run())
//	}
//
// What the binary prints and how it ends comes over a serial port; the kernel's
// own messages come over another, and into the error when it does not end.
package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Qemu is the program that runs machines. Debian has it in qemu-system-x86.
const Qemu = "qemu-system-x86_64"

// Kernel is a kernel that can be booted.
type Kernel struct {
	Release string // as uname gives it: 6.1.0-50-cloud-amd64
	Image   string // the file vmlinuz
	modules string // the directory of its modules
}

// Open returns the kernel below the directory into which a Debian package of
// one was unpacked.
func Open(root string) (Kernel, error) {
	dirs, err := filepath.Glob(filepath.Join(root, "usr/lib/modules/*"))
	if err == nil && len(dirs) == 0 {
		dirs, err = filepath.Glob(filepath.Join(root, "lib/modules/*")) // until Debian 12
	}
	if err != nil {
		return Kernel{}, err
	}
	if len(dirs) != 1 {
		return Kernel{}, fmt.Errorf("opening the kernel in %s: it has modules of %d kernels, want one", root, len(dirs))
	}
	k := Kernel{Release: filepath.Base(dirs[0]), modules: dirs[0]}
	// In /boot until Linux 6.12 of Debian 13, then beside the modules.
	images := []string{filepath.Join(root, "boot", "vmlinuz-"+k.Release), filepath.Join(k.modules, "vmlinuz")}
	for _, k.Image = range images {
		if _, err := os.Stat(k.Image); err == nil {
			return k, nil
		}
	}
	return Kernel{}, fmt.Errorf("opening the kernel in %s: there is none at %s", root, strings.Join(images, " or "))
}

// module returns the file of a module by name.
func (k Kernel) module(name string) (string, error) {
	var found string
	err := filepath.WalkDir(k.modules, func(file string, d os.DirEntry, err error) error {
		base, _, _ := strings.Cut(filepath.Base(file), ".ko")
		if err == nil && !d.IsDir() && base == name {
			found = file
		}
		return err
	})
	if err == nil && found == "" {
		err = fmt.Errorf("kernel %s has no module %s", k.Release, name)
	}
	return found, err
}

// Machine is a machine with one processor and 1 GiB of memory.
type Machine struct {
	Kernel Kernel
	// Program is a test binary, linked statically.
	Program string
	Args    []string
	Env     []string // beside PATH and HOME
	// Files are files of this machine by their paths in the other.
	Files map[string]string
	// Modules are loaded at the start, in this order.
	Modules []string
}

// plan is what the first process is told.
type plan struct {
	Args, Env, Modules []string
}

const (
	planFile = "/vm.json"
	// envInit is set for the first process, by the kernel's command line.
	envInit = "KGENT_VM"
	verdict = "kgent-vm: exit "
)

// boots is how often a machine is switched on that gives up before its program
// has begun: that says nothing about the program.
const boots = 3

// Run boots the machine and returns the exit code of its program. The program's
// output goes to out as it comes. When ctx ends before the program, the machine
// is switched off; that, like a kernel that gives up, is an error with the last
// of what the kernel said.
func (m Machine) Run(ctx context.Context, out io.Writer) (int, error) {
	dir, err := os.MkdirTemp("", "kgent-vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := m.writeInitrd(filepath.Join(dir, "initrd")); err != nil {
		return 0, fmt.Errorf("packing the files of the machine: %w", err)
	}
	for n := 1; ; n++ {
		code, began, err := m.boot(ctx, dir, out)
		if err == nil || began || n == boots || ctx.Err() != nil || errors.Is(err, exec.ErrNotFound) {
			return code, err
		}
	}
}

// boot switches the machine on once. began is whether its program printed
// anything.
func (m Machine) boot(ctx context.Context, dir string, out io.Writer) (code int, began bool, err error) {
	initrd, console := filepath.Join(dir, "initrd"), filepath.Join(dir, "console")
	cmd := exec.CommandContext(ctx, Qemu,
		// With two processors Linux 6.1 hangs now and then. Without -cx16 the
		// kernel's allocator uses cmpxchg16b, after which qemu 7.2, interrupted just
		// then, has other flags than the instruction left: a double fault, at one
		// boot in eight.
		"-M", "q35", "-accel", "tcg", "-smp", "1", "-m", "1024", "-cpu", "max,-cx16",
		"-kernel", m.Kernel.Image, "-initrd", initrd,
		// no_timer_check: on a busy machine that check fails now and then.
		"-append", "console=ttyS0 panic=-1 quiet loglevel=4 edd=off mitigations=off no_timer_check lsm=lockdown,yama,bpf "+envInit+"=1",
		"-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "file:"+console, "-serial", "stdio")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	lines := &verdictWriter{out: out}
	cmd.Stdout = lines
	err = runLocked(cmd)
	lines.flush()
	if lines.found && lines.err == nil && (err == nil || ctx.Err() == nil) {
		return lines.code, true, err
	}
	said, _ := os.ReadFile(console) // what there is of it
	switch {
	case lines.err != nil:
		err = lines.err
	case errors.Is(err, exec.ErrNotFound):
		return 0, false, fmt.Errorf("%w: as root: apt-get install qemu-system-x86", err)
	case ctx.Err() != nil:
		err = fmt.Errorf("it had not ended when the time was up: %w", ctx.Err())
	case err == nil:
		err = errors.New("it was switched off before its program had ended")
	}
	return 0, lines.began, fmt.Errorf("running Linux %s: %w\n%s%s", m.Kernel.Release, err, complaints.Bytes(), tail(said, 60))
}

// runLocked runs a command whose parent is this thread for as long as it runs:
// it is killed when the thread ends.
func runLocked(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
}

func tail(b []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}

// verdictWriter passes on all lines but the one that says how the program
// ended. The lines of a serial port end in CR LF.
type verdictWriter struct {
	out   io.Writer
	rest  []byte
	began bool // there was a line
	found bool // the one that says how it ended
	code  int
	err   error
}

func (w *verdictWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		w.line(bytes.TrimRight(line, "\r"))
		w.rest = rest
	}
}

func (w *verdictWriter) line(line []byte) {
	w.began = true
	if code, ok := strings.CutPrefix(string(line), verdict); ok {
		w.code, w.err = strconv.Atoi(code)
		w.found = w.err == nil
		return
	}
	if _, err := w.out.Write(append(slices.Clone(line), '\n')); err != nil && w.err == nil {
		w.err = err
	}
}

func (w *verdictWriter) flush() {
	if len(w.rest) > 0 {
		w.line(w.rest)
		w.rest = nil
	}
}

// writeInitrd packs what the machine finds at its root.
func (m Machine) writeInitrd(name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a := newArchive(f)
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "root", "modules"} {
		a.dir(dir)
	}
	a.device("dev/console", 5, 1)
	a.device("dev/null", 1, 3)
	a.file("init", m.Program, 0o755)
	p := plan{Args: m.Args, Env: m.Env}
	for _, name := range m.Modules {
		file, err := m.Kernel.module(name)
		if err != nil {
			return err
		}
		at := path.Join("modules", filepath.Base(file))
		a.file(at, file, 0o644)
		p.Modules = append(p.Modules, "/"+at)
	}
	for to, from := range m.Files {
		to = strings.TrimPrefix(path.Clean(to), "/")
		for i, c := range to {
			if c == '/' { // the kernel wants the outer one first
				a.dir(to[:i])
			}
		}
		a.file(to, from, 0o755)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	a.bytes(strings.TrimPrefix(planFile, "/"), text, 0o644)
	return a.close()
}

var result = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(`)

// Result is how one test of the program ended.
type Result struct {
	Test   string // TestKinds/tracepoint
	Status string // PASS, FAIL, SKIP
	// Said is what the test printed after its result, or before it.
	Said string
}

// Results reads the output of a test binary that was run with -test.v. What a
// test says stands between the line "=== RUN" of it and the next one.
func Results(output string) []Result {
	var all []Result
	said := map[string]string{}
	at := ""
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		if name, ok := strings.CutPrefix(line, "=== RUN "); ok {
			at = strings.TrimSpace(name)
			continue
		}
		if m := result.FindStringSubmatch(line); m != nil {
			all = append(all, Result{Test: m[2], Status: m[1]})
			at = m[2]
			continue
		}
		if at != "" && strings.HasPrefix(line, " ") {
			said[at] += strings.TrimSpace(line) + "\n"
		}
	}
	for i := range all {
		all[i].Said = strings.TrimSpace(said[all[i].Test])
	}
	return all
}

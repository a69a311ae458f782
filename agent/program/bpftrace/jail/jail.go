// Package jail runs bpftrace with as little power as it needs: as the leader of a
// group of its own, with a handful of capabilities, without a shell, a way to
// reach the network, other processes or files to write, within bounds on time and
// memory, and with an environment that only kgent makes.
//
// What a script may do is decided before (see package bpftrace); the jail is for
// the day when bpftrace, or the compiler inside it, can be led astray by a script.
//
// A [Command] starts this program again as "jail"; there [Enter] gives up what is
// to be given up and becomes bpftrace. It is for Linux.
package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Arg is the argument with which a program calls [Enter].
const Arg = "jail"

// Spec says what is run and what it may do.
type Spec struct {
	Path string `json:"path"`
	// File is what is run, open; Path is then no more than its name. What a path leads to
	// may be another file each time.
	File *os.File `json:"-"`
	Open bool     `json:"open,omitempty"` // set by Command: it is descriptor openFD
	Args []string `json:"args"`           // without the name of the program
	Env  []string `json:"env"`
	// Memory bounds the address space in bytes, CPU the processor time.
	Memory uint64        `json:"memory"`
	CPU    time.Duration `json:"cpu"`
	// Trace leaves what it takes to load and attach eBPF programs and to name what
	// they saw. Without it nothing is left.
	Trace bool `json:"trace,omitempty"`
	// UserProbes leaves CAP_SYS_ADMIN, too, without which the kernel makes no probes of
	// user programs.
	UserProbes bool `json:"user_probes,omitempty"`
	// Bind are directories that are put in the place of others, which have to exist:
	// at → directory. They are visible to nobody else.
	Bind map[string]string `json:"bind,omitempty"`
	// Write is the one directory in which files can be written; empty for none.
	Write string `json:"write,omitempty"`
}

// Command returns the command that enters the jail: self is how this program is
// started again, /proc/self/exe with Arg or a test's own. The caller sets what it
// wants of input and output, and bounds the time: Command ends with its context
// as a whole group.
func Command(self []string, s Spec) (*exec.Cmd, error) {
	if len(self) == 0 {
		return nil, errors.New("entering the jail: it is not said how this program is started again")
	}
	s.Open = s.File != nil
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("entering the jail: %w", err)
	}
	cmd := exec.Command(self[0], append(append([]string{}, self[1:]...), string(text))...)
	// By the name that this program was called: it may go by that.
	cmd.Args[0] = filepath.Base(os.Args[0])
	cmd.Dir = "/"
	cmd.Env = []string{}
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNS}
	if euid := os.Geteuid(); euid != 0 {
		// bpftrace insists on being root; within a user namespace it believes so.
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: euid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	if s.Open {
		cmd.ExtraFiles = []*os.File{s.File}
	}
	return cmd, nil
}

// openFD is the descriptor of a spec's file in a process that enters the jail: the first
// of exec.Cmd's ExtraFiles.
const openFD = 3

// Enter becomes what the spec in its argument says. It returns only to say why
// that was not possible.
func Enter(text string) error {
	// All that follows belongs to a thread, which exec makes the whole process.
	runtime.LockOSThread()
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return fmt.Errorf("reading what to run: %w", err)
	}
	if err := s.mount(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	if err := s.limit(); err != nil {
		return err
	}
	if err := drop(s.keep()); err != nil {
		return err
	}
	// Who gives up privileges is not waited upon any more: say it again.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("ending with who started this: %w", err)
	}
	if err := filter(); err != nil {
		return err
	}
	path := s.Path
	if s.Open {
		path = fmt.Sprintf("/proc/self/fd/%d", openFD)
	}
	err := syscall.Exec(path, append([]string{s.Path}, s.Args...), s.Env)
	return fmt.Errorf("starting %s: %w", s.Path, err)
}

// mount makes the mounts private and puts directories in the place of others.
func (s Spec) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts private: %w", err)
	}
	// bpftrace asks a shell for the directories of C headers, and falls when there
	// is none. It gets one that does nothing, whatever it is told.
	shell, err := exec.LookPath("/bin/true")
	if err != nil {
		return fmt.Errorf("making a shell that does nothing: %w", err)
	}
	if err := unix.Mount(shell, "/bin/sh", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("making a shell that does nothing: %w", err)
	}
	for at, dir := range s.Bind {
		if err := unix.Mount(dir, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("putting %s in the place of %s: %w", dir, at, err)
		}
	}
	return s.readOnly()
}

// readOnly makes every mount one for reading (Linux 5.12), except the directory to
// write in. Devices such as /dev/null are none of its business.
func (s Spec) readOnly() error {
	if s.Write != "" {
		if err := unix.Mount(s.Write, s.Write, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("making a place to write: %w", err)
		}
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("making all files read-only, which takes Linux 5.12: %w", err)
	}
	if s.Write != "" {
		if err := unix.MountSetattr(unix.AT_FDCWD, s.Write, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("making a place to write: %w", err)
		}
	}
	return nil
}

// Bounds besides those of a spec.
const (
	maxFile = 16 << 20 // bytes of a file written
	maxOpen = 4096     // descriptors: one for each probe and processor
)

func (s Spec) limit() error {
	for what, n := range map[int]uint64{
		unix.RLIMIT_AS: s.Memory, unix.RLIMIT_CPU: uint64(s.CPU / time.Second), unix.RLIMIT_FSIZE: maxFile, unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: maxOpen,
	} {
		var now unix.Rlimit
		if err := unix.Getrlimit(what, &now); err != nil {
			return fmt.Errorf("reading a limit: %w", err)
		}
		n = min(n, now.Max)
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("setting a limit: %w", err)
		}
	}
	if s.Trace && s.Write == "" {
		return nil // who reads events late loses them
	}
	// Whatever else wants to run goes first. EACCES: it does so already.
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 10); err != nil && !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("lowering the priority: %w", err)
	}
	return nil
}

// keep are the capabilities that stay: to load and attach programs, to lock their
// memory on older kernels, to read tracefs, and to name addresses of the kernel
// and of processes.
func (s Spec) keep() []int {
	if !s.Trace {
		return nil
	}
	keep := []int{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_RESOURCE, unix.CAP_DAC_READ_SEARCH, unix.CAP_SYSLOG, unix.CAP_SYS_PTRACE}
	if s.UserProbes {
		keep = append(keep, unix.CAP_SYS_ADMIN)
	}
	return keep
}

// drop gives up all other capabilities, for good: without new privileges, starting
// another program gives none back. That they are taken out of the bounding set as
// well is for everyone to see; it takes CAP_SETPCAP, which a service may lack.
func drop(keep []int) error {
	var mask uint64
	for _, c := range keep {
		mask |= 1 << c
	}
	for c := 0; c <= 63; c++ {
		if mask&(1<<c) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) { // EINVAL: the kernel has no such
			return fmt.Errorf("giving up capability %d: %w", c, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now, next [2]unix.CapUserData
	if err := unix.Capget(&header, &now[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	for i := range next {
		left := now[i].Permitted & uint32(mask>>(32*i))
		next[i] = unix.CapUserData{Effective: left, Permitted: left}
	}
	if err := unix.Capset(&header, &next[0]); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	return nil
}

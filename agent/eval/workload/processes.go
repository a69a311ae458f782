package workload

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"kgent/retrieval/kernel/abi"
)

// syscallNumber looks a system call up by its name.
func syscallNumber(name string) (int, error) {
	nr, ok := abi.Syscall(name)
	if !ok {
		return 0, fmt.Errorf("there is no system call %q", name)
	}
	return nr, nil
}

func signalNumber(name string) (unix.Signal, error) {
	n, ok := abi.Signal(name)
	if !ok {
		return 0, fmt.Errorf("there is no signal %q", name)
	}
	return unix.Signal(n), nil
}

// child starts a program beside the workload.
func (w *W) child(path string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(path, args...)
	cmd.Dir = w.Dir
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd, cmd.Start()
}

// ended waits for a program; that it failed is no fault.
func ended(cmd *exec.Cmd) error {
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func processVerbs() []verb {
	return []verb{
		{"exec", "PATH [ARG…]", "start a program and wait for its end, however it ends; the fact is its pid", func(w *W, a []string) (any, error) {
			cmd, err := w.child(a[0], a[1:]...)
			if err != nil {
				return nil, err
			}
			return cmd.Process.Pid, ended(cmd)
		}},
		{"exec-as", "NAME PATH [ARG…]", "the same through a link of that name, which becomes the process's name", func(w *W, a []string) (any, error) {
			link := filepath.Join(w.Dir, a[0])
			if err := os.Symlink(a[1], link); err != nil && !errors.Is(err, os.ErrExist) {
				return nil, err
			}
			cmd, err := w.child(link, a[2:]...)
			if err != nil {
				return nil, err
			}
			return cmd.Process.Pid, ended(cmd)
		}},
		{"sh", "COMMAND…", "run a command line with sh -c; the fact is the shell's pid", func(w *W, a []string) (any, error) {
			cmd, err := w.child("/bin/sh", "-c", strings.Join(a, " "))
			if err != nil {
				return nil, err
			}
			return cmd.Process.Pid, ended(cmd)
		}},
		{"bash", "COMMAND…", "give an interactive bash one line to read, with readline; the fact is its pid", func(w *W, a []string) (any, error) {
			return w.bash(strings.Join(a, " "))
		}},
		{"kill-child", "SIGNAL", "start a child that sleeps, send it the signal, and wait for its end; the fact is its pid", func(w *W, a []string) (any, error) {
			sig, err := signalNumber(a[0])
			if err != nil {
				return nil, err
			}
			cmd, err := w.child("/bin/sleep", "60")
			if err != nil {
				return nil, err
			}
			if err := unix.Kill(cmd.Process.Pid, sig); err != nil {
				return nil, err
			}
			if sig == 0 || sig == unix.SIGCONT || sig == unix.SIGCHLD || sig == unix.SIGURG || sig == unix.SIGWINCH {
				if err := cmd.Process.Kill(); err != nil {
					return nil, err
				}
			}
			return cmd.Process.Pid, ended(cmd)
		}},
		{"kill-self", "SIGNAL", "send this process a signal that it ignores", func(w *W, a []string) (any, error) {
			sig, err := signalNumber(a[0])
			if err != nil {
				return nil, err
			}
			return nil, unix.Kill(os.Getpid(), sig)
		}},
		{"exit-child", "CODE", "start a child that ends with this code; the fact is its pid", func(w *W, a []string) (any, error) {
			cmd, err := w.child("/bin/sh", "-c", "exit "+a[0])
			if err != nil {
				return nil, err
			}
			return cmd.Process.Pid, ended(cmd)
		}},
		{"nice", "NUMBER", "setpriority of this thread; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			n, err := number(a[0])
			if err != nil {
				return nil, err
			}
			return may(unix.Setpriority(unix.PRIO_PROCESS, 0, n))
		}},
		{"setrlimit-nofile", "NUMBER", "lower this process's soft limit of open files", func(w *W, a []string) (any, error) {
			n, err := number(a[0])
			if err != nil {
				return nil, err
			}
			var r unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
				return nil, err
			}
			r.Cur = uint64(n)
			return may(unix.Prlimit(0, unix.RLIMIT_NOFILE, &r, nil))
		}},
		{"unshare", "net|uts|ipc|pid|mnt|user", "unshare on this thread; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			flag, ok := map[string]int{"net": unix.CLONE_NEWNET, "uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC, "pid": unix.CLONE_NEWPID, "mnt": unix.CLONE_NEWNS | unix.CLONE_FS, "user": unix.CLONE_NEWUSER}[a[0]]
			if !ok {
				return nil, fmt.Errorf("namespace %q", a[0])
			}
			return may(unix.Unshare(flag))
		}},
		{"ptrace-child", "", "start a child under ptrace and let it end; the fact is its pid", func(w *W, a []string) (any, error) {
			cmd := exec.Command("/bin/true")
			cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
			if err := cmd.Start(); err != nil {
				return nil, err
			}
			// It has stopped at its exec.
			if err := ended(cmd); err == nil {
				return cmd.Process.Pid, nil
			}
			if err := unix.PtraceCont(cmd.Process.Pid, 0); err != nil {
				return nil, err
			}
			return cmd.Process.Pid, ended(cmd)
		}},
	}
}

package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Inside reports whether this process runs in a [Machine].
func Inside() bool { return os.Getenv(envInit) != "" }

// Init does nothing, unless this process is the first one of a [Machine]: then
// it makes the machine ready, runs the program, says how that ended, switches
// the machine off, and does not return.
func Init() {
	if !Inside() || os.Getpid() != 1 {
		return
	}
	port, err := prepare()
	code := 1
	if err == nil {
		code, err = runProgram(port)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "kgent-vm: %v\n", err)
	}
	if port != nil {
		fmt.Fprintf(port, "\n%s%d\n", verdict, code)
		_ = unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1) // until it is sent; there is no other way to say so
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // with -no-reboot qemu ends
	select {}
}

// prepare mounts what programs look for, and returns the second serial port.
func prepare() (port *os.File, err error) {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"tmpfs", "/tmp"},
		{"bpf", "/sys/fs/bpf"},
		{"tracefs", "/sys/kernel/tracing"},
		{"securityfs", "/sys/kernel/security"},
		{"cgroup2", "/sys/fs/cgroup"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return nil, fmt.Errorf("mounting %s on %s: %w", m.kind, m.at, err)
		}
	}
	// Not a controlling terminal: nothing of what the program reads or prints
	// is a key that ends it.
	return os.OpenFile("/dev/ttyS1", os.O_RDWR|unix.O_NOCTTY, 0)
}

// runProgram runs this binary as an ordinary process. It is another process
// because the libraries that it is made of look into /proc as they start.
func runProgram(port *os.File) (code int, err error) {
	text, err := os.ReadFile(planFile)
	if err != nil {
		return 0, err
	}
	var p plan
	if err := json.Unmarshal(text, &p); err != nil {
		return 0, err
	}
	for _, name := range p.Modules {
		if err := loadModule(name); err != nil {
			return 0, fmt.Errorf("loading module %s: %w", name, err)
		}
	}
	if err := loopbackUp(); err != nil {
		return 0, fmt.Errorf("switching on the loopback interface: %w", err)
	}
	cmd := exec.Command("/init", p.Args...)
	cmd.Env = append([]string{"PATH=/", "HOME=/root", "TMPDIR=/tmp", envInit + "=1"}, p.Env...)
	cmd.Stdout, cmd.Stderr = port, port
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

func loadModule(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(name, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	return unix.FinitModule(int(f.Fd()), "", flags)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

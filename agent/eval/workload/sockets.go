package workload

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// prompt is what the shell of [W.bash] says when it waits for a line.
const prompt = "kgent-eval> "

// bash starts an interactive bash on a terminal of its own, types a line, and
// ends it. It returns bash's pid.
func (w *W) bash(line string) (int, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("opening a terminal: %w", err)
	}
	pty := os.NewFile(uintptr(fd), "/dev/ptmx")
	defer pty.Close()
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return 0, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return 0, err
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return 0, err
	}
	defer tty.Close()
	cmd := exec.Command("/bin/bash", "--norc", "--noprofile", "-i")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "PS1=" + prompt, "HISTFILE=", "TERM=dumb", "INPUTRC=/dev/null", "LC_ALL=C.UTF-8"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	for _, keys := range []string{line + "\r", "\x04"} {
		if err := prompted(pty); err != nil {
			return 0, errors.Join(err, cmd.Process.Kill(), ended(cmd))
		}
		if _, err := pty.WriteString(keys); err != nil {
			return 0, errors.Join(err, cmd.Process.Kill(), ended(cmd))
		}
	}
	return cmd.Process.Pid, ended(cmd)
}

// prompted returns when the shell has said its prompt.
func prompted(pty *os.File) error {
	if err := pty.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	var said []byte
	for buf := make([]byte, 1024); !bytes.HasSuffix(said, []byte(prompt)); {
		n, err := pty.Read(buf)
		if err != nil {
			return fmt.Errorf("waiting for bash's prompt: %w: %q", err, said)
		}
		said = append(said, buf[:n]...)
	}
	return nil
}

// keep remembers a socket under the name that may be given, and closes it
// otherwise.
func (w *W) keep(fd int, a []string, i int) error {
	if len(a) > i {
		w.opened[a[i]] = fd
		return nil
	}
	return unix.Close(fd)
}

func localPort(fd int) (int, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return sa.Port, nil
	case *unix.SockaddrInet6:
		return sa.Port, nil
	}
	return 0, errors.New("a socket without a port")
}

// udp opens a bound UDP socket.
func udp(local string) (int, error) {
	family, sa, err := sockaddr(local)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, sa)
}

func networkVerbs() []verb {
	return []verb{
		{"network", "[IPV6…]", "from here on this workload, and no other, is in a network of its own: only loopback, with 127.0.0.0/8, ::1 and the IPv6 addresses given; any port, any user", func(w *W, a []string) (any, error) {
			return nil, Isolate(a...)
		}},
		{"listen", "ADDR:PORT [NAME]", "listen for TCP; stays open", func(w *W, a []string) (any, error) {
			fd, err := Listen(a[0], 64)
			if err != nil {
				return nil, err
			}
			if len(a) > 1 {
				w.opened[a[1]] = fd
			}
			return localPort(fd)
		}},
		{"connect", "LOCAL:PORT REMOTE:PORT [NAME]", "connect TCP from an address (port 0: any); the fact is its error's name or OK. With a name it stays open, or else is closed", func(w *W, a []string) (any, error) {
			fd, err := Socket(a[0])
			if err != nil {
				return nil, err
			}
			err = Connect(fd, a[1])
			if err != nil {
				unix.Close(fd)
				return may(err)
			}
			if err := w.keep(fd, a, 2); err != nil {
				return nil, err
			}
			return "OK", nil
		}},
		{"accept", "LISTENER [NAME]", "accept one connection; the fact is the other end's port", func(w *W, a []string) (any, error) {
			fd, err := w.file(a[0])
			if err != nil {
				return nil, err
			}
			c, sa, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				return nil, err
			}
			if err := w.keep(c, a, 1); err != nil {
				return nil, err
			}
			switch sa := sa.(type) {
			case *unix.SockaddrInet4:
				return sa.Port, nil
			case *unix.SockaddrInet6:
				return sa.Port, nil
			}
			return nil, errors.New("a connection without a port")
		}},
		{"port", "NAME", "the fact is the local port of a socket", func(w *W, a []string) (any, error) {
			fd, err := w.file(a[0])
			if err != nil {
				return nil, err
			}
			return localPort(fd)
		}},
		{"send", "NAME BYTES", "send so many bytes, all of them", func(w *W, a []string) (any, error) {
			fd, n, err := w.fileAndNumber(a)
			if err != nil {
				return nil, err
			}
			for left := n; left > 0; {
				sent, err := unix.Write(fd, make([]byte, left))
				if err != nil {
					return nil, err
				}
				left -= sent
			}
			return n, nil
		}},
		{"receive", "NAME BYTES", "receive so many bytes, all of them", func(w *W, a []string) (any, error) {
			fd, n, err := w.fileAndNumber(a)
			if err != nil {
				return nil, err
			}
			for left := n; left > 0; {
				got, err := unix.Read(fd, make([]byte, left))
				if err != nil {
					return nil, err
				}
				if got == 0 {
					return nil, errors.New("the other end has closed")
				}
				left -= got
			}
			return n, nil
		}},
		{"reset", "NAME", "close a TCP socket with a reset", func(w *W, a []string) (any, error) {
			fd, err := w.file(a[0])
			if err != nil {
				return nil, err
			}
			if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
				return nil, err
			}
			delete(w.opened, a[0])
			return nil, unix.Close(fd)
		}},
		{"deafen", "NAME", "a socket receives nothing any more: whoever sends to it has to send again", func(w *W, a []string) (any, error) {
			fd, err := w.file(a[0])
			if err != nil {
				return nil, err
			}
			drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
			return nil, unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
		}},
		{"await-retransmit", "NAME", "wait until a TCP socket has sent something again", func(w *W, a []string) (any, error) {
			fd, err := w.file(a[0])
			if err != nil {
				return nil, err
			}
			for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
				info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
				if err != nil {
					return nil, err
				}
				if info.Total_retrans > 0 {
					return nil, nil
				}
			}
			return nil, errors.New("it has sent nothing again")
		}},
		{"udp", "LOCAL:PORT NAME", "open a UDP socket", func(w *W, a []string) (any, error) {
			fd, err := udp(a[0])
			if err != nil {
				return nil, err
			}
			w.opened[a[1]] = fd
			return localPort(fd)
		}},
		{"udp-send", "NAME REMOTE:PORT BYTES", "send one datagram; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			fd, err := w.file(a[0])
			if err != nil {
				return nil, err
			}
			_, sa, err := sockaddr(a[1])
			if err != nil {
				return nil, err
			}
			n, err := number(a[2])
			if err != nil {
				return nil, err
			}
			return may(unix.Sendto(fd, make([]byte, n), 0, sa))
		}},
		{"socket", "inet|inet6|unix|packet|netlink stream|dgram|raw", "open a socket and close it; the fact is its error's name or OK", func(w *W, a []string) (any, error) {
			family, ok1 := map[string]int{"inet": unix.AF_INET, "inet6": unix.AF_INET6, "unix": unix.AF_UNIX, "packet": unix.AF_PACKET, "netlink": unix.AF_NETLINK}[a[0]]
			kind, ok2 := map[string]int{"stream": unix.SOCK_STREAM, "dgram": unix.SOCK_DGRAM, "raw": unix.SOCK_RAW}[a[1]]
			if !ok1 || !ok2 {
				return nil, fmt.Errorf("a socket %s %s", a[0], a[1])
			}
			protocol := 0
			if kind == unix.SOCK_RAW && family != unix.AF_PACKET {
				protocol = unix.IPPROTO_ICMP
			}
			fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
			if err != nil {
				return may(err)
			}
			return "OK", unix.Close(fd)
		}},
	}
}

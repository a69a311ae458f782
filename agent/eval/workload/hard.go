package workload

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// hard are the workloads of hard requests: several threads, state over several
// hooks, protocols.
func hard() []Func {
	return []Func{
		{"signal-handlers", "starts a shell for each signal named, which handles it, sends it the signal when it is ready, and waits for its end; the facts are the shells' pids, $victim_0 and so on", signalHandlers},
		{"dns-queries", "in a network of its own, with an IPv4 and an IPv6 server (ARGS 0 and 1): a query over IPv4 (name and type: ARGS 2 and 3) and one over IPv6 (4 and 5); an answer for answer.ev-zone.example; a query for port.ev-zone.example to port 5353", dnsQueries},
		{"resp-commands", "writes Redis commands to a socket: pairs of a name and how many; besides a line that is no command", respCommands},
		{"mappings", "maps memory: 12288 bytes writable, then executable ($unpacked and $unpacked_hex are where); 20480 writable, then only readable; 28672 readable, then executable; 36864 readable and then executable, where writable ones were unmapped", mappings},
	}
}

// dnsMessage is a message with one question.
func dnsMessage(flags byte, name string, qtype int) []byte {
	b := []byte{0x47, 0x11, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0, byte(qtype>>8), byte(qtype), 0, 1)
}

func dnsQueries(w *W) error {
	if len(w.Args) != 6 {
		return errors.New("want two servers, and two names with their types")
	}
	if err := Isolate("fd00::1", w.Args[1]); err != nil {
		return err
	}
	one, err := w.Int(3, 1)
	if err != nil {
		return err
	}
	two, err := w.Int(5, 1)
	if err != nil {
		return err
	}
	four, six := netip.MustParseAddr(w.Args[0]), netip.MustParseAddr(w.Args[1])
	for _, m := range []struct {
		to    netip.AddrPort
		bytes []byte
	}{
		{netip.AddrPortFrom(four, 53), dnsMessage(1, w.Args[2], one)},
		{netip.AddrPortFrom(six, 53), dnsMessage(1, w.Args[4], two)},
		{netip.AddrPortFrom(four, 53), dnsMessage(0x81, "answer.ev-zone.example", 1)},
		{netip.AddrPortFrom(four, 5353), dnsMessage(1, "port.ev-zone.example", 1)},
	} {
		var to unix.Sockaddr = &unix.SockaddrInet6{Addr: m.to.Addr().As16(), Port: int(m.to.Port())}
		family := unix.AF_INET6
		if m.to.Addr().Is4() {
			to, family = &unix.SockaddrInet4{Addr: m.to.Addr().As4(), Port: int(m.to.Port())}, unix.AF_INET
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Sendto(fd, m.bytes, 0, to)
		unix.Close(fd)
		if err != nil && err != unix.ECONNREFUSED { // of the one before; nobody listens
			return err
		}
	}
	return nil
}

func respCommands(w *W) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if _, err := unix.Write(fds[0], []byte("+OK hi\r\nNOTHING\r\n")); err != nil {
		return err
	}
	for i := 0; i+1 < len(w.Args); i += 2 {
		n, err := w.Int(i+1, 1)
		if err != nil {
			return err
		}
		for range n {
			if _, err := unix.Write(fds[0], fmt.Appendf(nil, "*2\r\n$%d\r\n%s\r\n$4\r\nkey1\r\n", len(w.Args[i]), w.Args[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

func signalHandlers(w *W) error {
	if err := w.Ready(); err != nil {
		return err
	}
	for i, name := range w.Args {
		sig, err := signalNumber(name)
		if err != nil {
			return err
		}
		pid, err := handled(sig)
		if err != nil {
			return fmt.Errorf("a shell that handles %s: %w", name, err)
		}
		w.Say(fmt.Sprintf("victim_%d", i), pid)
	}
	return nil
}

// handled sends a signal to a shell that waits for it and then ends.
func handled(sig unix.Signal) (pid int, err error) {
	cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("trap 'exit 0' %d; echo ready; read line", sig))
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil && err != io.EOF {
		return 0, err
	}
	if err := unix.Kill(cmd.Process.Pid, sig); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, cmd.Wait()
}

// mappings calls mmap, mprotect and munmap itself, as the runtime must know nothing of it.
func mappings(w *W) error {
	mmap := func(at, length uintptr, prot int) (uintptr, error) {
		flags := unix.MAP_PRIVATE | unix.MAP_ANON
		if at != 0 {
			flags |= unix.MAP_FIXED_NOREPLACE
		}
		p, _, e := unix.Syscall6(unix.SYS_MMAP, at, length, uintptr(prot), uintptr(flags), ^uintptr(0), 0)
		if e != 0 {
			return 0, fmt.Errorf("mmap: %w", e)
		}
		return p, nil
	}
	mprotect := func(p, length uintptr, prot int) error {
		if _, _, e := unix.Syscall(unix.SYS_MPROTECT, p, length, uintptr(prot)); e != 0 {
			return fmt.Errorf("mprotect: %w", e)
		}
		return nil
	}
	for _, m := range []struct {
		length       uintptr
		first, later int
	}{
		{12288, unix.PROT_READ | unix.PROT_WRITE, unix.PROT_READ | unix.PROT_EXEC},
		{20480, unix.PROT_READ | unix.PROT_WRITE, unix.PROT_READ},
		{28672, unix.PROT_READ, unix.PROT_READ | unix.PROT_EXEC},
	} {
		p, err := mmap(0, m.length, m.first)
		if err != nil {
			return err
		}
		if m.length == 12288 {
			w.Say("unpacked", p)
			w.Say("unpacked_hex", fmt.Sprintf("0x%x", p))
		}
		if err := mprotect(p, m.length, m.later); err != nil {
			return err
		}
	}
	p, err := mmap(0, 36864, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return err
	}
	if _, _, e := unix.Syscall(unix.SYS_MUNMAP, p, 36864, 0); e != 0 {
		return fmt.Errorf("munmap: %w", e)
	}
	if p, err = mmap(p, 36864, unix.PROT_READ); err != nil {
		return err
	}
	return mprotect(p, 36864, unix.PROT_READ|unix.PROT_EXEC)
}

package workload

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

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
		{"reap-late", "for each duration named: a child ends ($child_0 …) and is waited for so much later; $zombie_0_min, _max", reapLate},
		{"memfd-exec", "executes a program in memory named ARGS 0 (its pid: $child), and a file whose name only looks like it ($file)", memfdExec},
		{"lock-wait", "flock: the thread ev-keeper holds a file's lock while ev-asker asks for it, for 30ms; ev-quick gets it at once; ev-refused does not want to wait", lockWait},
		{"short-writes", "writes 100000 bytes to a pipe of 65536 as descriptor 731, and to it when it is full; 4321 to a file", shortWrites},
		{"idle-reads", "reads in vain from sockets: 37 times from descriptor 741 before something comes, 19 times from 743, where nothing ever does, and 0 times from 745", idleReads},
		{"signal-storm", "sends SIGCONT ARGS 0 times to one child ($one) and SIGWINCH ARGS 1 times to another ($two)", signalStorm},
		{"trace-span", "attaches to a child ($child) with ptrace for ARGS 0; another attempt fails", traceSpan},
		{"freeze", "stops a child ($child) for ARGS 0 with SIGSTOP", freeze},
		{"feed-cat", "gives ARGS 0 lines to a cat ($cat), one after the other, each when it waits for it", feedCat},
		{"udp-ask", "in a network of its own: asks an IPv4 and an IPv6 server (ARGS 0 and 1) that answer after 30ms, and one that never does (ARGS 2)", udpAsk},
		{"client-hellos", "writes a TLS ClientHello for each server's name, one without a name, and an alert", clientHellos},
		{"orphans", "a child of a shell that has ended ($orphan, $shell) ends with code 7; one whose parent lives ($kept) with 9", orphans},
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

// state waits until a task is in a state, like S or Z, by its file in /proc.
func state(task, letter string) error {
	for {
		b, err := os.ReadFile(task + "/stat")
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if strings.HasPrefix(rest, letter) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

func proc(pid int) string { return fmt.Sprintf("/proc/%d", pid) }

func reapLate(w *W) error {
	for i, text := range w.Args {
		d, err := time.ParseDuration(text)
		if err != nil {
			return err
		}
		err = w.Took(fmt.Sprintf("zombie_%d", i), d, func() error {
			cmd := exec.Command("/bin/sh", "-c", "exit 5")
			if err := cmd.Start(); err != nil {
				return err
			}
			w.Say(fmt.Sprintf("child_%d", i), cmd.Process.Pid)
			if err := state(proc(cmd.Process.Pid), "Z"); err != nil {
				return err
			}
			time.Sleep(d)
			_, err := unix.Wait4(cmd.Process.Pid, nil, 0, nil)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func memfdExec(w *W) error {
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate(w.Arg(0, "ev-payload"), unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "memory")
	defer f.Close()
	if _, err := f.Write(program); err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Run(); err != nil {
		return err
	}
	w.Say("child", cmd.Process.Pid)
	path := filepath.Join(w.Dir, "memfd:ev-real")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		return err
	}
	cmd = exec.Command(path)
	if err := cmd.Run(); err != nil {
		return err
	}
	w.Say("file", cmd.Process.Pid)
	return nil
}

func lockWait(w *W) error {
	w.threads = map[string]*thread{}
	path := filepath.Join(w.Dir, "ev-lock")
	fds := map[string]int{}
	for _, name := range []string{"ev-quick", "ev-keeper", "ev-refused", "ev-asker"} {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		fds[name] = fd
	}
	lock := func(name string, how int) error {
		return w.on(name, func() error { return unix.Flock(fds[name], how) })
	}
	if err := errors.Join(lock("ev-quick", unix.LOCK_EX), lock("ev-quick", unix.LOCK_UN), lock("ev-keeper", unix.LOCK_EX)); err != nil {
		return err
	}
	if err := lock("ev-refused", unix.LOCK_EX|unix.LOCK_NB); err != unix.EAGAIN {
		return fmt.Errorf("a lock that is held: %v", err)
	}
	return w.Took("wait", 30*time.Millisecond, func() error {
		asked, done := make(chan int, 1), make(chan error, 1)
		go func() {
			done <- w.on("ev-asker", func() error {
				asked <- unix.Gettid()
				return unix.Flock(fds["ev-asker"], unix.LOCK_EX)
			})
		}()
		calls := fmt.Sprintf("/proc/self/task/%d/syscall", <-asked)
		for {
			b, err := os.ReadFile(calls)
			if err != nil {
				return err
			}
			if strings.HasPrefix(string(b), fmt.Sprintf("%d ", unix.SYS_FLOCK)) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(30 * time.Millisecond)
		return errors.Join(lock("ev-keeper", unix.LOCK_UN), <-done)
	})
}

func shortWrites(w *W) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	if _, err := unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, 65536); err != nil {
		return err
	}
	if err := unix.Dup3(p[1], 731, 0); err != nil {
		return err
	}
	defer unix.Close(731)
	if n, err := unix.Write(731, make([]byte, 100000)); n != 65536 {
		return fmt.Errorf("writing to a pipe: %d, %v", n, err)
	}
	if _, err := unix.Write(731, make([]byte, 87654)); err != unix.EAGAIN {
		return fmt.Errorf("writing to a full pipe: %v", err)
	}
	f, err := unix.Open(filepath.Join(w.Dir, "whole"), unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(f)
	_, err = unix.Write(f, make([]byte, 4321))
	return err
}

func idleReads(w *W) error {
	b := make([]byte, 8)
	for _, s := range []struct {
		fd, vain int
		comes    bool
	}{{741, 37, true}, {743, 19, false}, {745, 0, true}} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fds[0])
		defer unix.Close(fds[1])
		if err := unix.Dup3(fds[0], s.fd, 0); err != nil {
			return err
		}
		defer unix.Close(s.fd)
		for range s.vain {
			if _, err := unix.Read(s.fd, b); err != unix.EAGAIN {
				return fmt.Errorf("reading from an empty socket: %v", err)
			}
		}
		if !s.comes {
			continue
		}
		for range 2 { // the second at once
			if _, err := unix.Write(fds[1], b[:5]); err != nil {
				return err
			}
			if _, err := unix.Read(s.fd, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func signalStorm(w *W) error {
	for i, s := range []struct {
		name string
		sig  unix.Signal
	}{{"one", unix.SIGCONT}, {"two", unix.SIGWINCH}} {
		n, err := w.Int(i, 1)
		if err != nil {
			return err
		}
		cmd, err := w.child("/bin/sleep", "60")
		if err != nil {
			return err
		}
		w.Say(s.name, cmd.Process.Pid)
		for range n {
			if err := errors.Join(unix.Kill(cmd.Process.Pid, s.sig), unix.Kill(cmd.Process.Pid, 0)); err != nil {
				return err
			}
		}
		if err := errors.Join(cmd.Process.Kill(), ended(cmd)); err != nil {
			return err
		}
	}
	return nil
}

func traceSpan(w *W) error {
	d, err := time.ParseDuration(w.Arg(0, "30ms"))
	if err != nil {
		return err
	}
	cmd, err := w.child("/bin/sleep", "60")
	if err != nil {
		return err
	}
	pid := cmd.Process.Pid
	w.Say("child", pid)
	err = w.Took("span", d, func() error {
		if err := unix.PtraceAttach(pid); err != nil {
			return err
		}
		if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
			return err
		}
		time.Sleep(d)
		if err := unix.PtraceAttach(pid); err == nil {
			return errors.New("attached twice")
		}
		return unix.PtraceDetach(pid)
	})
	return errors.Join(err, cmd.Process.Kill(), ended(cmd))
}

func freeze(w *W) error {
	d, err := time.ParseDuration(w.Arg(0, "30ms"))
	if err != nil {
		return err
	}
	cmd, err := w.child("/bin/sleep", "60")
	if err != nil {
		return err
	}
	pid := cmd.Process.Pid
	w.Say("child", pid)
	err = w.Took("stop", d, func() error {
		if err := errors.Join(unix.Kill(pid, unix.SIGCONT), unix.Kill(pid, unix.SIGSTOP)); err != nil {
			return err
		}
		if err := state(proc(pid), "T"); err != nil {
			return err
		}
		time.Sleep(d)
		return unix.Kill(pid, unix.SIGCONT)
	})
	return errors.Join(err, unix.Kill(pid, unix.SIGCONT), cmd.Process.Kill(), ended(cmd))
}

func feedCat(w *W) error {
	n, err := w.Int(0, 1)
	if err != nil {
		return err
	}
	link := filepath.Join(w.Dir, w.Arg(1, "ev-cat"))
	if err := os.Symlink("/bin/cat", link); err != nil {
		return err
	}
	var to [2]int
	if err := unix.Pipe2(to[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	in := os.NewFile(uintptr(to[0]), "in")
	cmd := exec.Command(link)
	cmd.Stdin = in
	if err := errors.Join(cmd.Start(), in.Close()); err != nil {
		return err
	}
	w.Say("cat", cmd.Process.Pid)
	calls := proc(cmd.Process.Pid) + "/syscall"
	for range n {
		for {
			b, err := os.ReadFile(calls)
			if err != nil {
				return err
			}
			if strings.HasPrefix(string(b), fmt.Sprintf("%d 0x0 ", unix.SYS_READ)) { // asleep in a read of its input
				break
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := unix.Write(to[1], []byte("line\n")); err != nil {
			return err
		}
	}
	return errors.Join(unix.Close(to[1]), ended(cmd))
}

func udpAsk(w *W) error {
	if len(w.Args) != 3 {
		return errors.New("want three servers")
	}
	if err := Isolate("fd00::1", "fd00::2"); err != nil {
		return err
	}
	b := make([]byte, 64)
	for i, text := range w.Args {
		server, err := netip.ParseAddrPort(text)
		if err != nil {
			return err
		}
		srv, err := udp(text)
		if err != nil {
			return err
		}
		defer unix.Close(srv)
		local := "127.0.0.2:0"
		if server.Addr().Is6() {
			local = "[fd00::1]:0"
		}
		client, err := udp(local)
		if err != nil {
			return err
		}
		defer unix.Close(client)
		_, to, err := sockaddr(text)
		if err != nil {
			return err
		}
		err = w.Took("answer_"+strconv.Itoa(i), 30*time.Millisecond, func() error {
			if err := unix.Sendto(client, []byte("what?"), 0, to); err != nil {
				return err
			}
			_, from, err := unix.Recvfrom(srv, b, 0)
			if err != nil || i == 2 {
				return err
			}
			time.Sleep(30 * time.Millisecond)
			if err := unix.Sendto(srv, []byte("that"), 0, from); err != nil {
				return err
			}
			_, _, err = unix.Recvfrom(client, b, 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// clientHello is the first message of a TLS connection; with an extension of
// the server's name if there is one, behind two other ones.
func clientHello(name string, session int) []byte {
	u16 := func(n int) []byte { return []byte{byte(n >> 8), byte(n)} }
	block := func(b []byte) []byte { return append(u16(len(b)), b...) }
	ext := append([]byte{0, 23, 0, 0}, append(u16(11), block([]byte{1, 0})...)...)
	if name != "" {
		ext = append(append(ext, 0, 0), block(block(append([]byte{0}, block([]byte(name))...)))...)
	}
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(append(body, byte(session)), make([]byte, session)...)
	body = append(body, block([]byte{0x13, 1, 0x13, 2})...)
	body = append(body, 1, 0)
	body = append(body, block(ext)...)
	msg := append([]byte{1, 0}, block(body)...)
	return append([]byte{22, 3, 1}, block(msg)...)
}

func clientHellos(w *W) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	for i, name := range w.Args {
		if _, err := unix.Write(fds[0], clientHello(name, 32*(i%2))); err != nil {
			return err
		}
	}
	server := clientHello("answer.ev-tls.example", 0)
	server[5] = 2 // a ServerHello by its type
	for _, b := range [][]byte{clientHello("", 32), {21, 3, 3, 0, 2, 1, 0}, server} {
		if _, err := unix.Write(fds[0], b); err != nil {
			return err
		}
	}
	return nil
}

func orphans(w *W) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	r, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", "(read line <&3; exit 7) >/dev/null 2>&1 & echo $!")
	cmd.ExtraFiles = []*os.File{r}
	out, err := cmd.Output()
	if err != nil {
		return errors.Join(err, hold.Close())
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return errors.Join(err, hold.Close())
	}
	w.Say("orphan", pid)
	w.Say("shell", cmd.Process.Pid)
	if err := hold.Close(); err != nil { // its parent has ended; now it may
		return err
	}
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		return err
	}
	kept, err := w.child("/bin/sh", "-c", "exit 9")
	if err != nil {
		return err
	}
	w.Say("kept", kept.Process.Pid)
	return ended(kept)
}

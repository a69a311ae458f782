package tcpaccepts_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"server": server, "filtered": filtered})
}

const user = 23456

// visit lets a client connect and takes the connection with accept4(2), or
// with accept(2).
func visit(local, remote string, plain bool) error {
	l, err := recipetest.Listen(remote, 8)
	if err != nil {
		return err
	}
	defer unix.Close(l)
	if _, err := recipetest.Dial(local, strings.Replace(remote, "[::ffff:127.0.0.9]", "127.0.0.9", 1)); err != nil {
		return err
	}
	if plain {
		err = accept(l)
	} else {
		_, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC)
	}
	return err
}

// accept is the system call of that name, which Go does not use.
func accept(l int) error {
	if _, _, errno := unix.Syscall(unix.SYS_ACCEPT, uintptr(l), 0, 0); errno != 0 {
		return fmt.Errorf("accepting: %w", errno)
	}
	return nil
}

// server accepts in all ways; one of them waits since before the trace.
func server([]string) error {
	if err := recipetest.Isolate("fd00::1", "fd00::2"); err != nil {
		return err
	}
	early, err := recipetest.Listen("127.0.0.9:9443", 8)
	if err != nil {
		return err
	}
	waits, accepted := make(chan int, 1), make(chan error, 1)
	go func() {
		accepted <- recipetest.Thread("rt-early", func(tid int) error {
			waits <- tid
			return accept(early)
		})
	}()
	earlyTid := <-waits
	if err := recipetest.Asleep(earlyTid, unix.SYS_ACCEPT); err != nil {
		return err
	}
	recipetest.Say(earlyTid)
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	if _, err := recipetest.Dial("127.0.0.2:40009", "127.0.0.9:9443"); err != nil {
		return err
	}
	if err := <-accepted; err != nil {
		return err
	}
	if err := errors.Join(
		visit("127.0.0.2:40001", "127.0.0.9:443", false),
		visit("127.0.0.2:40002", "127.0.0.9:444", true),
		visit("[fd00::1]:40003", "[fd00::2]:443", false),
		visit("127.0.0.3:40004", "[::ffff:127.0.0.9]:8443", false), // a client of IPv4 at a server of IPv6
	); err != nil {
		return err
	}
	var worker int
	if err := recipetest.Thread("rt-worker", func(tid int) error {
		worker = tid
		return errors.Join(recipetest.SetUID(user), visit("127.0.0.2:40005", "127.0.0.9:445", false))
	}); err != nil {
		return err
	}
	if err := multipath("127.0.0.2:40006", "127.0.0.9:446"); err != nil {
		return err
	}

	// Accepted by nobody.
	l, err := recipetest.Listen("127.0.0.9:447", 8)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(l, true); err != nil {
		return err
	}
	if _, _, err := unix.Accept(l); err != unix.EAGAIN {
		return fmt.Errorf("accepting where nobody connects: %w", err)
	}
	if _, err := recipetest.Dial("127.0.0.2:40007", "127.0.0.9:447"); err != nil {
		return err
	}
	recipetest.Say(worker, unix.Gettid())
	return local()
}

// multipath is visit with multipath TCP.
func multipath(from, to string) error {
	l, err := recipetest.MultipathSocket(to)
	if err != nil {
		return err
	}
	if err := unix.Listen(l, 8); err != nil {
		return err
	}
	c, err := recipetest.MultipathSocket(from)
	if err != nil {
		return err
	}
	if err := recipetest.Connect(c, to); err != nil {
		return err
	}
	_, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC)
	return err
}

// local accepts a connection that is no TCP.
func local() error {
	addr := &unix.SockaddrUnix{Name: fmt.Sprintf("@rt-accepts-%d", unix.Getpid())}
	var fds [2]int
	for i := range fds {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		fds[i] = fd
	}
	if err := errors.Join(unix.Bind(fds[0], addr), unix.Listen(fds[0], 1), unix.Connect(fds[1], addr)); err != nil {
		return err
	}
	_, _, err := unix.Accept(fds[0])
	return err
}

func TestAccepts(t *testing.T) {
	asked, other := recipetest.Start(t, "rt-server", "server"), recipetest.Start(t, "rt-decoy", "server")
	early := asked.Hear()
	other.Hear()
	var worker, tid int
	run := recipetest.Run(t, "trace inbound TCP connections of rt-server", func(l *recipetest.Live) {
		for _, p := range []*recipetest.Process{other, asked} {
			p.Tell("go on")
			if _, err := fmt.Sscan(p.Hear(), &worker, &tid); err != nil {
				l.Error(err)
			}
			p.Wait()
		}
	})
	type want = recipetest.Want
	each := []want{
		{"laddr": "127.0.0.9", "lport": 9443, "raddr": "127.0.0.2", "rport": 40009, "tid": early, "comm": "rt-early", "uid": 0},
		{"laddr": "127.0.0.9", "lport": 443, "raddr": "127.0.0.2", "rport": 40001},
		{"laddr": "127.0.0.9", "lport": 444, "raddr": "127.0.0.2", "rport": 40002},
		{"laddr": "fd00::2", "lport": 443, "raddr": "fd00::1", "rport": 40003},
		{"laddr": "127.0.0.9", "lport": 8443, "raddr": "127.0.0.3", "rport": 40004},
		{"laddr": "127.0.0.9", "lport": 445, "raddr": "127.0.0.2", "rport": 40005, "tid": worker, "comm": "rt-worker", "uid": user},
		{"laddr": "127.0.0.9", "lport": 446, "raddr": "127.0.0.2", "rport": 40006},
	}
	for _, w := range each {
		w["pid"] = asked.Pid
		if w["tid"] == nil {
			w["tid"], w["comm"], w["uid"] = tid, "rt-server", 0
		}
		run.Event("accepts", w)
	}
	if n := len(run.Events("accepts", want{"pid": asked.Pid})); n != len(each) {
		t.Errorf("%d connections were accepted, %d are shown: %v", len(each), n, run.Events("accepts", nil))
	}
	run.NoEvent("accepts", want{"pid": other.Pid})
}

// filtered accepts connections that are asked for, and others that differ in
// one thing.
func filtered([]string) error {
	if err := recipetest.Isolate("fd00::1", "fd00::2", "fd00::3"); err != nil {
		return err
	}
	recipetest.Say("ready")
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	if err := errors.Join(visit("127.0.0.2:40001", "127.0.0.9:443", false), visit("[fd00::2]:40001", "[fd00::3]:443", false)); err != nil {
		return err
	}
	return recipetest.Thread("rt-worker", func(int) error {
		return errors.Join(
			recipetest.SetUID(user),
			visit("127.0.0.2:40002", "127.0.0.9:443", false), visit("[fd00::2]:40002", "[fd00::3]:443", false),
			// others
			visit("127.0.0.3:40003", "127.0.0.9:443", false), visit("[fd00::1]:40003", "[fd00::3]:443", false),
			visit("127.0.0.3:40004", "127.0.0.2:443", false), visit("[fd00::1]:40004", "[fd00::2]:443", false),
			visit("127.0.0.2:443", "127.0.0.9:444", false), visit("[fd00::2]:443", "[fd00::3]:444", false),
			visit("127.0.0.2:40005", "127.0.0.9:47873", false), visit("[fd00::2]:40005", "[fd00::3]:47873", false), // 443 with its bytes exchanged
		)
	})
}

func TestFilters(t *testing.T) {
	for _, address := range []string{"127.0.0.2", "fd00::2"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			asked, other := recipetest.Start(t, "rt-server", "filtered"), recipetest.Start(t, "rt-server", "filtered")
			asked.Hear()
			other.Hear()
			request := fmt.Sprintf("trace inbound TCP connections of rt-server with pid %d of user %d on port 443 from %s", asked.Pid, user, address)
			run := recipetest.Run(t, request, func(*recipetest.Live) {
				for _, p := range []*recipetest.Process{other, asked} {
					p.Tell("go on")
					p.Wait()
				}
			})
			run.Event("accepts", recipetest.Want{
				"pid": asked.Pid, "uid": user, "comm": "rt-worker", "lport": 443, "raddr": address, "rport": 40002,
			})
			if n := len(run.Events("accepts", nil)); n != 1 {
				t.Errorf("%d connections are shown, want only the one asked for: %v", n, run.Events("accepts", nil))
			}
		})
	}
}

package tcplife_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"lives": lives, "filtered": filtered})
}

const user = 23456

// pair is a connection with both its ends in this process.
type pair struct {
	listener, client, server int
}

// open connects; a thread named rt-server, and that belongs to a user,
// accepts.
func open(local, remote string) (p pair, err error) {
	if p.listener, err = recipetest.Listen(remote, 8); err != nil {
		return p, err
	}
	if p.client, err = recipetest.Dial(local, remote); err != nil {
		return p, err
	}
	return p, recipetest.Thread("rt-server", func(int) error {
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		p.server, _, err = unix.Accept(p.listener)
		return err
	})
}

// send carries n bytes of data from one end to the other.
func send(from, to, n int) error {
	if _, err := unix.Write(from, make([]byte, n)); err != nil {
		return err
	}
	_, err := io.ReadFull(reader(to), make([]byte, n))
	return err
}

type reader int

func (r reader) Read(b []byte) (int, error) {
	n, err := unix.Read(int(r), b)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// end reads until the other end has closed.
func end(fd int) error {
	if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || err != nil {
		return fmt.Errorf("reading %d bytes, error %v; want the end", n, err)
	}
	return nil
}

func closeAll(fds ...int) error {
	for _, fd := range fds {
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}

// lives opens and ends connections in the ways there are, and says how long
// the first lived at least and at most.
func lives([]string) error {
	if err := recipetest.Isolate("fd00::1", "fd00::2"); err != nil {
		return err
	}
	old, err := open("127.0.0.2:40009", "127.0.0.9:9443")
	if err != nil {
		return err
	}
	if err := send(old.client, old.server, 100); err != nil {
		return err
	}
	recipetest.Say("open")
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	if err := errors.Join(send(old.server, old.client, 200), closeAll(old.client), end(old.server), closeAll(old.server)); err != nil {
		return err
	}

	// The client closes first.
	began := time.Now()
	a, err := open("127.0.0.2:40001", "127.0.0.9:443")
	if err != nil {
		return err
	}
	opened := time.Now()
	if err := errors.Join(send(a.client, a.server, 1000), send(a.server, a.client, 3000)); err != nil {
		return err
	}
	least := time.Since(opened)
	if err := errors.Join(closeAll(a.client), end(a.server), closeAll(a.server)); err != nil {
		return err
	}
	most := time.Since(began)

	// The server closes first; IPv6.
	b, err := open("[fd00::1]:40002", "[fd00::2]:443")
	if err != nil {
		return err
	}
	if err := errors.Join(send(b.client, b.server, 20000), send(b.server, b.client, 7), closeAll(b.server), end(b.client), closeAll(b.client)); err != nil {
		return err
	}

	// The client says that it is done and goes on listening; IPv4 in IPv6.
	c, err := open("[::ffff:127.0.0.3]:40003", "[::ffff:127.0.0.9]:8443")
	if err != nil {
		return err
	}
	if err := errors.Join(
		send(c.client, c.server, 11), unix.Shutdown(c.client, unix.SHUT_WR), end(c.server),
		send(c.server, c.client, 500), closeAll(c.server), end(c.client), closeAll(c.client),
	); err != nil {
		return err
	}

	// The client resets the connection.
	d, err := open("127.0.0.2:40004", "127.0.0.8:443")
	if err != nil {
		return err
	}
	if err := errors.Join(
		send(d.client, d.server, 10), send(d.server, d.client, 20),
		unix.SetsockoptLinger(d.client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}), closeAll(d.client, d.server),
	); err != nil {
		return err
	}

	// There is no connection, there is one that nobody accepts, and one that goes on.
	if _, err := recipetest.Dial("127.0.0.2:40005", "127.0.0.9:444"); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connecting to a closed port: %w", err)
	}
	l, err := recipetest.Listen("127.0.0.9:445", 8)
	if err != nil {
		return err
	}
	e, err := recipetest.Dial("127.0.0.2:40006", "127.0.0.9:445")
	if err != nil {
		return err
	}
	if err := closeAll(e, l); err != nil {
		return err
	}
	if _, err := open("127.0.0.2:40007", "127.0.0.9:446"); err != nil {
		return err
	}
	recipetest.Say(least.Nanoseconds(), most.Nanoseconds())
	_, err = recipetest.Hear() // the last one goes on beyond the trace
	return err
}

func TestLives(t *testing.T) {
	asked, other := recipetest.Start(t, "rt-life", "lives"), recipetest.Start(t, "rt-decoy", "lives")
	asked.Hear()
	other.Hear()
	var least, most int64
	run := recipetest.Run(t, "bytes transferred per connection of rt-life", func(l *recipetest.Live) {
		for _, p := range []*recipetest.Process{other, asked} {
			p.Tell("go on")
			if _, err := fmt.Sscan(p.Hear(), &least, &most); err != nil {
				l.Error(err)
			}
		}
	})
	for _, p := range []*recipetest.Process{other, asked} {
		p.Tell("end")
		p.Wait()
	}

	type side struct {
		addr string
		port int
	}
	shown := 0
	for _, c := range []struct {
		client, server side
		up, down       int
		before, alone  bool
	}{
		{client: side{"127.0.0.2", 40009}, server: side{"127.0.0.9", 9443}, up: 100, down: 200, before: true},
		{client: side{"127.0.0.2", 40001}, server: side{"127.0.0.9", 443}, up: 1000, down: 3000},
		{client: side{"fd00::1", 40002}, server: side{"fd00::2", 443}, up: 20000, down: 7},
		{client: side{"127.0.0.3", 40003}, server: side{"127.0.0.9", 8443}, up: 11, down: 500},
		{client: side{"127.0.0.2", 40004}, server: side{"127.0.0.8", 443}, up: 10, down: 20},
		{client: side{"127.0.0.2", 40006}, server: side{"127.0.0.9", 445}, alone: true},
	} {
		end := func(l, r side, sent, received, uid int, comm string) {
			t.Helper()
			f := run.Event("connections", recipetest.Want{
				"pid": asked.Pid, "uid": uid, "comm": comm, "laddr": l.addr, "lport": l.port, "raddr": r.addr, "rport": r.port,
				"sent": sent, "received": received,
			})
			shown++
			switch ns := recipetest.Number(t, f, "duration"); {
			case c.before && ns != 0:
				t.Errorf("the connection from before the trace has a duration: %v", f)
			case !c.before && ns <= 0:
				t.Errorf("the connection has no duration: %v", f)
			case l.port == 40001 && (ns < least || ns > most):
				t.Errorf("the connection lived %d ns, want between %d and %d", ns, least, most)
			}
		}
		end(c.client, c.server, c.up, c.down, 0, "rt-life")
		switch {
		case c.alone:
		case c.before: // it was accepted before the trace; the main thread closes it
			end(c.server, c.client, c.down, c.up, 0, "rt-life")
		default:
			end(c.server, c.client, c.down, c.up, user, "rt-server")
		}
	}
	if n := len(run.Events("connections", recipetest.Want{"pid": asked.Pid})); n != shown {
		t.Errorf("%d ends of connections are shown, want %d", n, shown)
	}
	run.NoEvent("connections", recipetest.Want{"pid": other.Pid})
	run.NoEvent("connections", recipetest.Want{"pid": 0})
}

// filtered makes connections as a user that are asked for, and others that
// differ in one thing.
func filtered([]string) error {
	if err := recipetest.Isolate("fd00::1", "fd00::2", "fd00::3"); err != nil {
		return err
	}
	recipetest.Say("ready")
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	life := func(local, remote string) error {
		l, err := recipetest.Listen(remote, 8)
		if err != nil {
			return err
		}
		fd, err := recipetest.Dial(local, remote)
		if err != nil {
			return err
		}
		return closeAll(fd, l)
	}
	if err := errors.Join(life("127.0.0.2:40001", "127.0.0.9:443"), life("[fd00::1]:40001", "[fd00::2]:443")); err != nil {
		return err
	}
	return recipetest.Thread("rt-worker", func(int) error {
		if err := recipetest.SetUID(user); err != nil {
			return err
		}
		return errors.Join(
			life("127.0.0.2:40002", "127.0.0.9:443"), life("[fd00::1]:40002", "[fd00::2]:443"),
			life("127.0.0.9:40003", "127.0.0.8:443"), life("[fd00::2]:40003", "[fd00::3]:443"),
			life("127.0.0.6:443", "127.0.0.9:4444"), life("[fd00::1]:443", "[fd00::2]:4444"),
			// others
			life("127.0.0.2:40005", "127.0.0.8:443"), life("[fd00::1]:40005", "[fd00::3]:443"),
			life("127.0.0.2:40006", "127.0.0.9:47873"), life("[fd00::1]:40006", "[fd00::2]:47873"), // 443 with its bytes exchanged
		)
	})
}

func TestFilters(t *testing.T) {
	for _, address := range []string{"127.0.0.9", "fd00::2"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			asked, other := recipetest.Start(t, "rt-life", "filtered"), recipetest.Start(t, "rt-life", "filtered")
			asked.Hear()
			other.Hear()
			request := fmt.Sprintf("TCP connection durations of user %d from rt-life with pid %d on %s port 443", user, asked.Pid, address)
			run := recipetest.Run(t, request, func(*recipetest.Live) {
				for _, p := range []*recipetest.Process{other, asked} {
					p.Tell("go on")
					p.Wait()
				}
			})
			for _, w := range []recipetest.Want{{"lport": 40002, "raddr": address}, {"lport": 40003, "laddr": address}, {"lport": 443, "raddr": address}} {
				w["pid"], w["uid"], w["comm"] = asked.Pid, user, "rt-worker"
				run.Event("connections", w)
			}
			if n := len(run.Events("connections", nil)); n != 3 {
				t.Errorf("%d connections are shown, want the three asked for: %v", n, run.Events("connections", nil))
			}
		})
	}
}

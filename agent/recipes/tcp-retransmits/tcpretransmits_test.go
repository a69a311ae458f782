package tcpretransmits_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"losses": losses})
}

// deafen makes a socket receive nothing any more.
func deafen(fd int) error {
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
}

// attempt starts a connect and does not wait for its outcome.
func attempt(fd int, remote string) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := recipetest.Connect(fd, remote); err != unix.EINPROGRESS {
		return fmt.Errorf("connecting to %s: %w, want EINPROGRESS", remote, err)
	}
	return nil
}

// losses makes segments get lost, and returns when each connection has sent
// some again: those asked for, with the address of the server and port 443,
// and others.
func losses(args []string) error {
	client, server, other := args[0], args[1], args[2]
	var ipv6 []string
	if strings.Contains(server, ":") {
		ipv6 = args
	}
	if err := recipetest.Isolate(ipv6...); err != nil {
		return err
	}
	at := net.JoinHostPort
	var resend []int // sockets that will

	listener, err := recipetest.Listen(at(server, "443"), 16)
	if err != nil {
		return err
	}
	open := func(local string) (c, s int, err error) {
		if c, err = recipetest.Dial(local, at(server, "443")); err != nil {
			return -1, -1, err
		}
		s, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
		return c, s, err
	}
	say := func(from, to int) error {
		if err := deafen(to); err != nil {
			return err
		}
		_, err := unix.Write(from, []byte("lost"))
		resend = append(resend, from)
		return err
	}

	// Data of the client, data of the server, an end.
	c, s, err := open(at(client, "40001"))
	if err != nil {
		return err
	}
	if err := say(c, s); err != nil {
		return err
	}
	if c, s, err = open(at(client, "40002")); err != nil {
		return err
	}
	if err := say(s, c); err != nil {
		return err
	}
	if c, s, err = open(at(client, "40003")); err != nil {
		return err
	}
	if err := errors.Join(deafen(s), unix.Shutdown(c, unix.SHUT_WR)); err != nil {
		return err
	}
	resend = append(resend, c)
	if _, _, err = open(at(client, "40009")); err != nil { // nothing is lost
		return err
	}

	// The client does not hear the answer to its SYN: both ends send again.
	if c, err = recipetest.Socket(at(client, "40004")); err != nil {
		return err
	}
	if err := errors.Join(deafen(c), attempt(c, at(server, "443"))); err != nil {
		return err
	}
	resend = append(resend, c)

	// Nobody answers a SYN: once as asked for from the server's address, twice not.
	for _, p := range []struct{ local, remote string }{
		{at(server, "40005"), at(other, "443")},
		{at(client, "40006"), at(client, "443")},
		{at(client, "40007"), at(server, "47873")}, // 443 with its bytes exchanged
	} {
		if _, err := recipetest.Listen(p.remote, 0); err != nil {
			return err
		}
		host, _, err := net.SplitHostPort(p.local)
		if err != nil {
			return err
		}
		if _, err := recipetest.Dial(at(host, "0"), p.remote); err != nil { // it fills the queue
			return err
		}
		fd, err := recipetest.Socket(p.local)
		if err != nil {
			return err
		}
		if err := attempt(fd, p.remote); err != nil {
			return err
		}
		resend = append(resend, fd)
	}

	for _, fd := range resend {
		for {
			info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
			if err != nil {
				return err
			}
			if info.Total_retrans > 0 {
				break
			}
			time.Sleep(10 * time.Millisecond) // between looks; the kernel tells nobody
		}
	}
	// Nobody will ever answer these sockets: closed in the usual way, they would
	// go on sending for minutes, into the next run of this test. What is no
	// socket among the descriptors does not mind.
	for fd := range 64 {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	return nil
}

func TestRetransmits(t *testing.T) {
	for _, c := range []struct{ client, server, other string }{
		// No other test has these addresses: what is shown is this one's.
		{"127.9.0.2", "127.9.0.9", "127.9.0.8"},
		{"fd09::1", "fd09::2", "fd09::3"},
	} {
		t.Run(c.server, func(t *testing.T) {
			t.Parallel()
			run := recipetest.Run(t, "retransmissions on port 443 to "+c.server, func(l *recipetest.Live) {
				l.Child("rt-losses", "losses", c.client, c.server, c.other)
			})
			explained := 0
			for _, w := range []recipetest.Want{
				{"laddr": c.client, "lport": 40001, "raddr": c.server, "rport": 443, "state": "ESTABLISHED"},
				{"laddr": c.server, "lport": 443, "raddr": c.client, "rport": 40002, "state": "ESTABLISHED"},
				{"laddr": c.client, "lport": 40003, "raddr": c.server, "rport": 443, "state": "FIN_WAIT1"},
				{"laddr": c.client, "lport": 40004, "raddr": c.server, "rport": 443, "state": "SYN_SENT"},
				{"laddr": c.server, "lport": 443, "raddr": c.client, "rport": 40004, "state": "NEW_SYN_RECV"},
				{"laddr": c.server, "lport": 40005, "raddr": c.other, "rport": 443, "state": "SYN_SENT"},
			} {
				n := len(run.Events("retransmits", w))
				if n == 0 {
					t.Errorf("no retransmission is shown with %v", w)
				}
				explained += n
			}
			if all := run.Events("retransmits", nil); len(all) != explained {
				t.Errorf("%d retransmissions are shown, %d are those asked for: %v", len(all), explained, all)
			}
		})
	}
}

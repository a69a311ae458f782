package tcpresets_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"resets": resets})
}

// open connects and accepts.
func open(local, remote string) (client, server int, err error) {
	l, err := recipetest.Listen(remote, 8)
	if err != nil {
		return -1, -1, err
	}
	defer unix.Close(l)
	if client, err = recipetest.Dial(local, remote); err != nil {
		return -1, -1, err
	}
	server, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC)
	return client, server, err
}

func refused(local, remote string) error {
	if _, err := recipetest.Dial(local, remote); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connecting to a closed port: %w", err)
	}
	return nil
}

// resets makes connections end in resets: those asked for, with the address of
// the server and port 443, and others; and one that ends well.
func resets(args []string) error {
	client, server, other := args[0], args[1], args[2]
	var ipv6 []string
	if strings.Contains(server, ":") {
		ipv6 = args
	}
	if err := recipetest.Isolate(ipv6...); err != nil {
		return err
	}
	at := net.JoinHostPort
	if err := errors.Join(
		refused(at(client, "40001"), at(server, "443")),
		refused(at(server, "40005"), at(other, "443")),
		// others
		refused(at(client, "40006"), at(other, "443")),
		refused(at(client, "40007"), at(server, "47873")), // 443 with its bytes exchanged
	); err != nil {
		return err
	}

	// The client gives up at once.
	c, s, err := open(at(client, "40002"), at(server, "443"))
	if err != nil {
		return err
	}
	if err := errors.Join(unix.SetsockoptLinger(c, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}), unix.Close(c), unix.Close(s)); err != nil {
		return err
	}

	// The client has said that it is done, and the server leaves something unread.
	if c, s, err = open(at(client, "40003"), at(server, "443")); err != nil {
		return err
	}
	if _, err := unix.Write(c, []byte("unread")); err != nil {
		return err
	}
	if err := errors.Join(unix.Shutdown(c, unix.SHUT_WR), unix.Close(s), unix.Close(c)); err != nil {
		return err
	}

	// The client believes in a connection that the listener never had.
	l, err := recipetest.Listen(at(server, "443"), 8)
	if err != nil {
		return err
	}
	if c, err = recipetest.Socket(at(client, "40004")); err != nil {
		return err
	}
	if err := errors.Join(
		unix.SetsockoptInt(c, unix.SOL_TCP, unix.TCP_REPAIR, 1),
		recipetest.Connect(c, at(server, "443")),
		unix.SetsockoptInt(c, unix.SOL_TCP, unix.TCP_REPAIR, 0),
		unix.Close(c), unix.Close(l),
	); err != nil {
		return err
	}

	if c, s, err = open(at(client, "40008"), at(server, "443")); err != nil {
		return err
	}
	return errors.Join(unix.Close(c), unix.Close(s))
}

func TestResets(t *testing.T) {
	for _, c := range []struct{ client, server, other string }{
		// No other test has these addresses: what is shown is this one's.
		{"127.8.0.2", "127.8.0.9", "127.8.0.8"},
		{"fd08::1", "fd08::2", "fd08::3"},
	} {
		t.Run(c.server, func(t *testing.T) {
			t.Parallel()
			run := recipetest.Run(t, "tcp resets on port 443 with "+c.server, func(l *recipetest.Live) {
				l.Child("rt-resets", "resets", c.client, c.server, c.other)
			})
			wants := []recipetest.Want{
				{"direction": "sent", "laddr": c.server, "lport": 443, "raddr": c.client, "rport": 40001, "state": "CLOSE"},
				{"direction": "received", "laddr": c.client, "lport": 40001, "raddr": c.server, "rport": 443, "state": "SYN_SENT"},
				{"direction": "sent", "laddr": c.client, "lport": 40002, "raddr": c.server, "rport": 443, "state": "ESTABLISHED"},
				{"direction": "received", "laddr": c.server, "lport": 443, "raddr": c.client, "rport": 40002, "state": "ESTABLISHED"},
				{"direction": "sent", "laddr": c.server, "lport": 443, "raddr": c.client, "rport": 40003, "state": "CLOSE_WAIT"},
				{"direction": "received", "laddr": c.client, "lport": 40003, "raddr": c.server, "rport": 443,
					"state": func(s string) bool { return s == "FIN_WAIT1" || s == "FIN_WAIT2" }}, // whether the acknowledgement waited
				{"direction": "sent", "laddr": c.server, "lport": 443, "raddr": c.client, "rport": 40004, "state": "LISTEN"},
				{"direction": "received", "laddr": c.client, "lport": 40004, "raddr": c.server, "rport": 443, "state": "ESTABLISHED"},
				{"direction": "sent", "laddr": c.other, "lport": 443, "raddr": c.server, "rport": 40005, "state": "CLOSE"},
				{"direction": "received", "laddr": c.server, "lport": 40005, "raddr": c.other, "rport": 443, "state": "SYN_SENT"},
			}
			for _, w := range wants {
				if n := len(run.Events("resets", w)); n != 1 {
					t.Errorf("%d resets are shown with %v, want one", n, w)
				}
			}
			if all := run.Events("resets", nil); len(all) != len(wants) || t.Failed() {
				t.Errorf("%d resets are shown, want %d:", len(all), len(wants))
				for _, f := range all {
					t.Log(f)
				}
			}
		})
	}
}

package tcpstates_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"connections": connections})
}

// life is a connection that both ends close, the client first; it returns when
// the server has, and so the client is done too.
func life(local, remote string) error {
	l, err := recipetest.Listen(remote, 8)
	if err != nil {
		return err
	}
	c, err := recipetest.Dial(local, remote)
	if err != nil {
		return err
	}
	s, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.Shutdown(c, unix.SHUT_WR); err != nil {
		return err
	}
	if n, err := unix.Read(s, make([]byte, 1)); n != 0 || err != nil {
		return fmt.Errorf("reading %d bytes, error %v; want the end", n, err)
	}
	return errors.Join(unix.Close(s), unix.Close(c), unix.Close(l))
}

// connections lets sockets of a client pass through states: those asked for,
// with the address of the server and port 443, and others.
func connections(args []string) error {
	client, server, other := args[0], args[1], args[2]
	var ipv6 []string
	if strings.Contains(server, ":") {
		ipv6 = args
	}
	if err := recipetest.Isolate(ipv6...); err != nil {
		return err
	}
	at := net.JoinHostPort
	l, err := recipetest.Listen(at(server, "9443"), 8)
	if err != nil {
		return err
	}
	early, err := recipetest.Dial(at(client, "443"), at(server, "9443"))
	if err != nil {
		return err
	}
	recipetest.Say("ready")
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	// The one from before the trace: reset, since the server never took it.
	if err := errors.Join(unix.Close(l), unix.Close(early)); err != nil {
		return err
	}
	if err := errors.Join(
		life(at(client, "40001"), at(server, "443")),
		// others
		life(at(client, "40002"), at(other, "443")),
		life(at(client, "40003"), at(server, "47873")), // 443 with its bytes exchanged
	); err != nil {
		return err
	}
	if _, err := recipetest.Dial(at(server, "40004"), at(other, "443")); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connecting to a closed port: %w", err)
	}
	return nil
}

func TestStates(t *testing.T) {
	type end struct {
		address string
		port    int
	}
	type path struct {
		local, remote end
		states        []string
	}
	for _, c := range []struct{ client, server, other, any string }{
		// No other test has these addresses: what is shown is this one's.
		{"127.7.0.2", "127.7.0.9", "127.7.0.8", "0.0.0.0"},
		{"fd07::1", "fd07::2", "fd07::3", "::"},
	} {
		t.Run(c.server, func(t *testing.T) {
			t.Parallel()
			p := recipetest.Start(t, "rt-states", "connections", c.client, c.server, c.other)
			p.Hear()
			run := recipetest.Run(t, "TCP state changes on port 443 with "+c.server, func(*recipetest.Live) {
				p.Tell("go on")
				p.Wait()
			})
			client, server := end{c.client, 40001}, end{c.server, 443}
			shown := 0
			for _, path := range []path{
				{server, end{c.any, 0}, []string{"CLOSE LISTEN", "LISTEN CLOSE"}},
				{client, server, []string{"CLOSE SYN_SENT", "SYN_SENT ESTABLISHED", "ESTABLISHED FIN_WAIT1", "FIN_WAIT1 FIN_WAIT2", "FIN_WAIT2 CLOSE"}},
				{server, client, []string{"LISTEN SYN_RECV", "SYN_RECV ESTABLISHED", "ESTABLISHED CLOSE_WAIT", "CLOSE_WAIT LAST_ACK", "LAST_ACK CLOSE"}},
				{end{c.server, 40004}, end{c.other, 443}, []string{"CLOSE SYN_SENT", "SYN_SENT CLOSE"}},
				{end{c.server, 9443}, end{c.client, 443}, []string{"ESTABLISHED CLOSE"}},
				{end{c.client, 443}, end{c.server, 9443}, []string{"ESTABLISHED CLOSE"}},
			} {
				var states []string
				for i, f := range run.Events("states", recipetest.Want{
					"laddr": path.local.address, "lport": path.local.port, "raddr": path.remote.address, "rport": path.remote.port,
				}) {
					from, _ := f.Get("from")
					to, _ := f.Get("to")
					states = append(states, fmt.Sprint(from, " ", to))
					if ns := recipetest.Number(t, f, "lasted"); (ns == 0) != (i == 0) || ns < 0 {
						t.Errorf("%s lasted %d ns, want 0 for the first state seen of a socket alone", from, ns)
					}
				}
				if !slices.Equal(states, path.states) {
					t.Errorf("%v to %v went through %q, want %q", path.local, path.remote, states, path.states)
				}
				shown += len(states)
			}
			if n := len(run.Events("states", nil)); n != shown {
				t.Errorf("%d changes are shown, %d are those asked for: %v", n, shown, run.Events("states", nil))
			}
		})
	}
}

package compose_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"files": files, "stream": stream, "datagrams": datagrams, "dial": dial})
}

// files opens files of which some are there already.
func files(args []string) error {
	for _, f := range []struct {
		name  string
		flags int
	}{
		{"made", unix.O_CREAT | unix.O_WRONLY},
		{"made", unix.O_CREAT | unix.O_WRONLY},
		{"made", unix.O_CREAT | unix.O_TRUNC | unix.O_RDWR},
		{"made", unix.O_RDONLY},
		{"made-alone", unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY},
		{"was-there", unix.O_CREAT | unix.O_WRONLY},
		{".", unix.O_TMPFILE | unix.O_WRONLY},
	} {
		fd, err := unix.Open(filepath.Join(args[0], f.name), f.flags, 0o600)
		if err != nil {
			return fmt.Errorf("opening %s: %w", f.name, err)
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return unix.Mkdir(filepath.Join(args[0], "made-directory"), 0o700)
}

// A file is created once, by the open that makes it.
func TestCreatedFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "was-there"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run := recipetest.Run(t, "files created under "+dir+", by whom", func(l *recipetest.Live) { l.Child("rt-files", "files", dir) })
	for _, name := range []string{"made", "made-alone"} {
		run.Event("created", recipetest.Want{"comm": "rt-files", "path": filepath.Join(dir, name)})
	}
	if n := len(run.Events("created", nil)); n != 2 {
		t.Errorf("%d files created, want 2", n)
	}
}

const (
	streamed = 200_000
	written  = 1_234
	datagram = 100
	sent     = 7
)

// stream moves bytes over TCP to itself, by send and by write, and looks at some without taking them.
func stream([]string) error {
	if err := recipetest.Isolate(); err != nil {
		return err
	}
	listener, err := recipetest.Listen("127.0.0.1:0", 1)
	if err != nil {
		return err
	}
	at, err := unix.Getsockname(listener)
	if err != nil {
		return err
	}
	client, err := recipetest.Socket("127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := unix.Connect(client, at); err != nil {
		return err
	}
	server, _, err := unix.Accept(listener)
	if err != nil {
		return err
	}
	move := func(n int, send func([]byte) error) error {
		for left := n; left > 0; {
			part := min(left, 50_000)
			if err := send(make([]byte, part)); err != nil {
				return err
			}
			buf := make([]byte, part)
			if _, _, err := unix.Recvfrom(server, buf, unix.MSG_PEEK); err != nil {
				return err
			}
			for got := 0; got < part; {
				n, err := unix.Read(server, buf[got:])
				if err != nil {
					return err
				}
				got += n
			}
			left -= part
		}
		return nil
	}
	if err := move(streamed, func(b []byte) error { return unix.Send(client, b, 0) }); err != nil {
		return err
	}
	if err := move(written, func(b []byte) error { _, err := unix.Write(client, b); return err }); err != nil {
		return err
	}
	return datagrams([]string{"127.0.0.1"})
}

// datagrams sends datagrams to addresses at port 5353, where it takes them.
func datagrams(args []string) error {
	for _, addr := range args {
		to := &unix.SockaddrInet4{Port: 5353, Addr: netip.MustParseAddr(addr).As4()}
		taker, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(taker, to); err != nil {
			return err
		}
		sender, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		for range sent {
			if err := unix.Sendto(sender, make([]byte, datagram), 0, to); err != nil {
				return err
			}
			if n, _, err := unix.Recvfrom(taker, make([]byte, 2000), 0); n != datagram || err != nil {
				return fmt.Errorf("%d bytes received, %w", n, err)
			}
		}
	}
	return nil
}

// What a process sends and receives is its own, of one protocol, and each byte counts once.
func TestSocketBytes(t *testing.T) {
	for request, want := range map[string]int{
		"tcp bytes sent per proc":                          streamed + written,
		"tcp bytes received by process":                    streamed + written,
		"udp bytes sent by process":                        sent * datagram,
		"bytes received over udp per process, not rt-none": sent * datagram,
	} {
		t.Run(request, func(t *testing.T) {
			run := recipetest.Run(t, request, func(l *recipetest.Live) { l.Child("rt-talk", "stream") })
			rows := run.Rows("bytes", recipetest.Want{"comm": "rt-talk"})
			if len(rows) != 1 {
				t.Fatalf("%d rows of the process, want one", len(rows))
			}
			if got := recipetest.Number(t, rows[0].Value, "bytes"); got != int64(want) {
				t.Errorf("%d bytes, want %d", got, want)
			}
		})
	}
}

// Packets are those of one network, one way and one protocol.
func TestPackets(t *testing.T) {
	run := recipetest.Run(t, "outgoing udp packets to 127.77.0.0/16 by destination port", func(l *recipetest.Live) {
		l.Child("rt-packets", "datagrams", "127.77.3.4", "127.78.3.4", "127.76.255.255")
	})
	rows := run.Rows("counts", nil)
	if len(rows) != 1 || recipetest.Number(t, rows[0].Key, "dport") != 5353 || recipetest.Number(t, rows[0].Value, "count") != sent {
		t.Errorf("%v, want one row of port 5353 with %d", rows, sent)
	}
}

// dial connects to addresses, which nobody listens at, by IPv4 and by IPv6 for IPv4.
func dial(args []string) error {
	for _, addr := range args {
		a := netip.MustParseAddr(addr)
		for family, to := range map[int]unix.Sockaddr{
			unix.AF_INET:  &unix.SockaddrInet4{Port: 9, Addr: a.As4()},
			unix.AF_INET6: &unix.SockaddrInet6{Port: 9, Addr: a.As16()},
		} {
			fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			if err := unix.Connect(fd, to); err != unix.ECONNREFUSED {
				return fmt.Errorf("connecting to %s: %v, want ECONNREFUSED", addr, err)
			}
			if err := unix.Close(fd); err != nil {
				return err
			}
		}
	}
	return nil
}

// An address of IPv4 is in a network by whichever socket it is reached.
func TestNetwork(t *testing.T) {
	for request, want := range map[string]string{
		"conns to 127.77.0.0/16 by rt-dial":                      "127.77.3.4",
		"tcp connects to anything but 127.77.0.0/16, by rt-dial": "127.78.3.4",
	} {
		run := recipetest.Run(t, request, func(l *recipetest.Live) { l.Child("rt-dial", "dial", "127.77.3.4", "127.78.3.4") })
		if all, its := len(run.Events("connects", nil)), len(run.Events("connects", recipetest.Want{"daddr": want})); all != 2 || its != 2 {
			t.Errorf("%s: %d connections, %d of them to %s, want 2 and 2", request, all, its, want)
		}
	}
}

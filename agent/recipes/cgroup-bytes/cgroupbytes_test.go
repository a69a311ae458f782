package cgroupbytes_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"talk": talk})
}

// What one datagram of each kind and direction carries, and how many there are.
const (
	asks, askBytes       = 3, 100
	answers, answerBytes = 2, 1000
	udp4, udp6           = 20 + 8, 40 + 8 // headers
)

// talk exchanges datagrams between a socket made in each of two cgroups, by
// IPv4 and by IPv6.
func talk(args []string) error {
	if err := recipetest.Isolate(); err != nil {
		return err
	}
	listen := func(cgroup, addr string) (net.PacketConn, error) {
		if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte("0"), 0); err != nil {
			return nil, fmt.Errorf("moving to cgroup %s: %w", cgroup, err)
		}
		return net.ListenPacket("udp", addr)
	}
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		a, err := listen(args[0], addr)
		if err != nil {
			return err
		}
		b, err := listen(args[1], addr)
		if err != nil {
			return err
		}
		send := func(from, to net.PacketConn, count, size int) error {
			for range count {
				if _, err := from.WriteTo(make([]byte, size), to.LocalAddr()); err != nil {
					return err
				}
				if n, _, err := to.ReadFrom(make([]byte, 2000)); n != size || err != nil {
					return fmt.Errorf("receiving %d bytes, want %d: %w", n, size, err)
				}
			}
			return nil
		}
		if err := send(a, b, asks, askBytes); err != nil {
			return err
		}
		if err := send(b, a, answers, answerBytes); err != nil {
			return err
		}
	}
	return nil
}

// mount is where the host has the cgroup hierarchy of version 2.
func mount(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			return f[1]
		}
	}
	t.Skip("needs a cgroup2 mount")
	return ""
}

func TestTraffic(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: making cgroups takes their owner")
	}
	root := mount(t)
	name := fmt.Sprintf("rt-cg-%d", os.Getpid())
	inner, outer, other := name+"/inner", name, name+"-other"
	for _, dir := range []string{outer, inner, other} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Rmdir(filepath.Join(root, dir)); err != nil {
				t.Errorf("removing cgroup %s: %v", dir, err)
			}
		}()
	}
	for _, c := range []struct {
		name, request string
		others        bool
	}{
		{"every cgroup", "top 1000 cgroups by network bytes", true},
		{"one and those below", "how much network data does cgroup " + name + " use?", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := recipetest.Run(t, c.request, func(l *recipetest.Live) {
				for _, a := range []string{inner, outer} {
					l.Child("rt-talk", "talk", filepath.Join(root, a), filepath.Join(root, other))
				}
			})
			const up, down = asks * (2*askBytes + udp4 + udp6), answers * (2*answerBytes + udp4 + udp6)
			row := func(cgroup string, times, sent, received, sentPackets, receivedPackets, want int) {
				t.Helper()
				w := recipetest.Want{
					"cgroup": "/" + cgroup, "bytes": times * (up + down), "sent": times * sent, "received": times * received,
					"sent_packets": times * 2 * sentPackets, "received_packets": times * 2 * receivedPackets,
				}
				if n := len(run.Rows("traffic", w)); n != want {
					t.Errorf("%d rows have %v, want %d: %v", n, w, want, run.Rows("traffic", nil))
				}
			}
			row(inner, 1, up, down, asks, answers, 1)
			row(outer, 1, up, down, asks, answers, 1)
			if c.others {
				row(other, 2, down, up, answers, asks, 1)
			} else if n := len(run.Rows("traffic", nil)); n != 2 {
				t.Errorf("%d rows, want the cgroup asked for and the one in it: %v", n, run.Rows("traffic", nil))
			}
		})
	}
}

package packets_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

// A process's network is that of its first thread: where the main goroutine is.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"peer": peer})
}

// ether is a frame of a type; what follows it is filled up to size bytes.
func ether(size int, etherType uint16, rest ...byte) []byte {
	f := slices.Concat(
		[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1},
		binary.BigEndian.AppendUint16(nil, etherType), rest,
	)
	return append(f, make([]byte, size-len(f))...)
}

func ipv4(protocol byte) []byte {
	h := make([]byte, 20)
	h[0], h[8], h[9] = 0x45, 64, protocol
	return h
}

// ipv6 is a header and the extension headers after it.
func ipv6(next byte, extensions ...byte) []byte {
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, next, 64
	return append(h, extensions...)
}

// long is an IPv6 extension header of 8*(1+more) bytes.
func long(next, more byte) []byte {
	return append([]byte{next, more}, make([]byte, 8*(1+int(more))-2)...)
}

const (
	typeIPv4, typeARP, typeIPv6, typeVLAN, typeQinQ, typeOther = 0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x88b5

	icmp, tcp, udp, icmp6               = 1, 6, 17, 58
	hopopts, routing, fragment, dstopts = 0, 43, 44, 60
)

// sent are the frames that arrive at the interface, and what they are.
var sent = []struct {
	count               int
	ethertype, protocol string
	frame               []byte
}{
	{3, "IPV4", "TCP", ether(60, typeIPv4, ipv4(tcp)...)},
	{2, "IPV4", "UDP", ether(1514, typeIPv4, ipv4(udp)...)},
	{1, "IPV4", "ICMP", ether(98, typeIPv4, ipv4(icmp)...)},
	{2, "IPV6", "UDP", ether(200, typeIPv6, ipv6(routing, slices.Concat(long(dstopts, 2), long(udp, 1))...)...)},
	{1, "IPV4", "NONE", ether(24, typeIPv4, 0x45, 0, 0, 20)}, // its header is cut short: no protocol
	{4, "ARP", "NONE", ether(42, typeARP)},
	{1, "IPV6", "TCP", ether(74, typeIPv6, ipv6(tcp)...)},
	{1, "IPV6", "UDP", ether(100, typeIPv6, ipv6(hopopts, long(udp, 0)...)...)},
	{1, "IPV6", "DSTOPTS", ether(14+40+24, typeIPv6, ipv6(routing, long(dstopts, 2)...)...)}, // what should follow is cut off
	{1, "IPV6", "ICMPV6", ether(120, typeIPv6, ipv6(dstopts, slices.Concat(long(fragment, 3), []byte{dstopts, 9, 0, 0, 0, 0, 0, 0}, long(icmp6, 0))...)...)},
	{2, "IPV4", "UDP", ether(64, typeVLAN, slices.Concat([]byte{0, 7, 0x08, 0x00}, ipv4(udp))...)},
	{1, "IPV6", "TCP", ether(90, typeQinQ, slices.Concat([]byte{0, 7, 0x81, 0x00, 0, 8, 0x86, 0xdd}, ipv6(tcp))...)},
	{5, "0x88b5", "NONE", ether(60, typeOther)},
}

// peer is the other end of the interface, in a network of its own.
func peer(args []string) error {
	if err := recipetest.Isolate(); err != nil {
		return err
	}
	// The interface shall send nothing of its own accord.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil {
		return err
	}
	recipetest.Say("ready")
	for {
		line, err := recipetest.Hear()
		if err != nil || line == "end" {
			return err
		}
		name, frame, _ := strings.Cut(line, " ")
		if frame == "" {
			if err := up(name); err != nil {
				return err
			}
		} else if err := inject(name, frame); err != nil {
			return err
		}
		recipetest.Say("done")
	}
}

func up(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// inject sends a frame, given in hexadecimal, out of an interface.
func inject(name, frame string) error {
	b, err := hex.DecodeString(frame)
	if err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, b, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index})
}

// received is how many packets the kernel says came in.
func received(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile("/sys/class/net/" + name + "/statistics/rx_packets")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPackets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: making a network interface takes CAP_NET_ADMIN")
	}
	other := recipetest.Start(t, "rt-peer", "peer")
	other.Hear()
	name, far := fmt.Sprintf("veth%d", other.Pid), fmt.Sprintf("vpeer%d", other.Pid)
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("link", "add", name, "type", "veth", "peer", "name", far, "netns", strconv.Itoa(other.Pid))
	defer func() {
		if out, err := exec.Command("ip", "link", "del", name).CombinedOutput(); err != nil {
			t.Errorf("removing the interface: %v\n%s", err, out)
		}
		other.Tell("end")
		other.Wait()
	}()
	ip("link", "set", name, "up")
	other.Tell(far)
	other.Hear()

	run := recipetest.Run(t, "count packets by protocol on "+name, func(l *recipetest.Live) {
		before, n := received(l.T, name), 0
		for _, s := range sent {
			for range s.count {
				other.Tell(far + " " + hex.EncodeToString(s.frame))
				other.Hear()
				n++
			}
			// What this host sends is not counted.
			if err := inject(name, hex.EncodeToString(ether(60, typeIPv4, ipv4(tcp)...))); err != nil {
				l.Fatal(err)
			}
		}
		for deadline := time.Now().Add(time.Minute); received(l.T, name) < before+n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				l.Fatalf("%d packets arrived, want %d", received(l.T, name)-before, n)
			}
		}
	})

	type kind struct{ ethertype, protocol string }
	packets, bytes := map[kind]int{}, map[kind]int{}
	for _, s := range sent {
		k := kind{s.ethertype, s.protocol}
		packets[k] += s.count
		bytes[k] += s.count * len(s.frame)
	}
	for k := range packets {
		rows := run.Rows("packets", recipetest.Want{
			"ethertype": k.ethertype, "protocol": k.protocol, "packets": packets[k], "bytes": bytes[k],
		})
		if len(rows) != 1 {
			t.Errorf("%d rows have %v with %d packets and %d bytes, want one", len(rows), k, packets[k], bytes[k])
		}
	}
	if rows := run.Rows("packets", nil); len(rows) != len(packets) || t.Failed() {
		t.Errorf("%d rows, want %d: %v", len(rows), len(packets), rows)
	}
}

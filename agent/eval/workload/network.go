package workload

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Isolate moves the calling goroutine, for good, onto a thread with a network
// of its own: a loopback interface that is up, with 127.0.0.0/8 and ::1 and
// the IPv6 addresses given. So a workload may use any port, as any user, and
// nothing else on the host meets its packets. The network ends with the thread.
func Isolate(ipv6 ...string) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	// Which file this is depends on the network of the thread that opens it.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0); err != nil {
		return fmt.Errorf("opening all ports to users: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a control socket: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bringing loopback up: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, lo); err != nil {
		return fmt.Errorf("looking up loopback: %w", err)
	}
	for _, a := range ipv6 {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return err
		}
		req := struct { // struct in6_ifreq
			addr   [16]byte
			prefix uint32
			index  int32
		}{addr.As16(), 128, int32(lo.Uint32())}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&req))); errno != 0 {
			return fmt.Errorf("giving loopback the address %s: %w", a, errno)
		}
		if err := usable(addr); err != nil {
			return err
		}
	}
	return nil
}

// usable waits until the kernel has made up its mind about a new IPv6 address,
// which it does in the background even where no other host could have it.
func usable(addr netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	defer unix.Close(fd)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		err := unix.Bind(fd, &unix.SockaddrInet6{Addr: addr.As16()})
		if err == nil {
			return nil
		}
		if err != unix.EADDRNOTAVAIL || time.Now().After(deadline) {
			return fmt.Errorf("binding to %s: %w", addr, err)
		}
	}
}

// Socket returns a TCP socket bound to an address like "127.0.0.2:443"; port 0
// lets the kernel choose. [::ffff:127.0.0.2] means an IPv6 socket that speaks
// IPv4.
func Socket(local string) (int, error) { return socket(local, unix.IPPROTO_TCP) }

// MultipathSocket is [Socket] for multipath TCP.
func MultipathSocket(local string) (int, error) { return socket(local, unix.IPPROTO_MPTCP) }

func socket(local string, protocol int) (int, error) {
	family, sa, err := sockaddr(local)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, fmt.Errorf("opening a socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, fmt.Errorf("setting SO_REUSEADDR: %w", err)
	}
	if err := unix.Bind(fd, sa); err != nil {
		return -1, fmt.Errorf("binding to %s: %w", local, err)
	}
	return fd, nil
}

// Listen returns a [Socket] that listens. A backlog of 0 has room for one
// connection; the kernel drops the packets of those after it until that one is
// accepted.
func Listen(local string, backlog int) (int, error) {
	fd, err := Socket(local)
	if err != nil {
		return -1, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return -1, fmt.Errorf("listening on %s: %w", local, err)
	}
	return fd, nil
}

// Connect connects a [Socket] to an address, and waits for the outcome unless
// the socket does not block. The errors are the system's own.
func Connect(fd int, remote string) error {
	_, sa, err := sockaddr(remote)
	if err != nil {
		return err
	}
	return unix.Connect(fd, sa)
}

// Dial is [Socket] and [Connect], which must succeed.
func Dial(local, remote string) (int, error) {
	fd, err := Socket(local)
	if err != nil {
		return -1, err
	}
	if err := Connect(fd, remote); err != nil {
		return -1, fmt.Errorf("connecting %s to %s: %w", local, remote, err)
	}
	return fd, nil
}

func sockaddr(s string) (family int, sa unix.Sockaddr, err error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return 0, nil, err
	}
	if ap.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, nil
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}, nil
}

// Thread runs f on a new thread of this process, named comm, and waits for it.
// The thread shares the network of the thread that calls, and its end is the
// end of whatever else f changed of it, such as its user.
func Thread(comm string, f func(tid int) error) error {
	const ns = "/proc/thread-self/ns/net"
	here, err := os.Readlink(ns)
	if err != nil {
		return fmt.Errorf("reading the thread's network namespace: %w", err)
	}
	parent, err := unix.Open(ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the thread's network namespace: %w", err)
	}
	defer unix.Close(parent)
	done := make(chan error)
	go newThread(done, func() error {
		there, err := os.Readlink(ns)
		if err != nil {
			return fmt.Errorf("reading the thread's network namespace: %w", err)
		}
		if there != here { // or else it takes no privilege
			if err := unix.Setns(parent, unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("entering the network namespace: %w", err)
			}
		}
		name, err := unix.BytePtrFromString(comm)
		if err != nil {
			return err
		}
		if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0); err != nil {
			return fmt.Errorf("naming the thread: %w", err)
		}
		return f(unix.Gettid())
	})
	return <-done
}

// newThread runs f on a thread that ends with it.
func newThread(done chan<- error, f func() error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if unix.Gettid() != unix.Getpid() {
		done <- f()
		return
	}
	// The first thread's name is the process's. While it is locked here, the
	// next goroutine is on another.
	other := make(chan error)
	go newThread(other, f)
	err := <-other
	runtime.UnlockOSThread()
	done <- err
}

// SetUID makes the calling thread, and no other, one of another user. The
// goroutine must be locked to it, as in [Isolate] and [Thread].
func SetUID(uid int) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		return fmt.Errorf("becoming user %d: %w", uid, errno)
	}
	return nil
}

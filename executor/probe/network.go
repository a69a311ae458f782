package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/container"
)

func findInterface(name string) (*net.Interface, error) {
	ifc, err := net.InterfaceByName(name)
	if err == nil {
		return ifc, nil
	}
	all, listErr := net.Interfaces()
	if listErr != nil {
		return nil, refuse(errors.Join(err, listErr), "the interfaces of this host cannot be listed")
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return nil, refuse(nil, "this host has no interface %s; it has %s", name, strings.Join(names, ", "))
}

// attachXDP attaches in the network driver where it can, else in the generic
// path of the network stack, which is slower and sees the packet later.
// Requires Linux 5.9.
func (p *loaded) attachXDP() (string, error) {
	ifc, err := findInterface(p.hook.Target)
	if err != nil {
		return "", err
	}
	for _, mode := range []struct {
		flags link.XDPAttachFlags
		name  string
	}{{link.XDPDriverMode, "native"}, {link.XDPGenericMode, "generic"}} {
		var l link.Link
		l, err = link.AttachXDP(link.XDPOptions{Program: p.prog, Interface: ifc.Index, Flags: mode.flags})
		if err == nil {
			p.add(l)
			return fmt.Sprintf("%s (%s)", p.hook, mode.name), nil
		}
		// A driver that cannot says so in one of these two ways.
		if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return "", refuse(errno(err), "another XDP program is attached to %s already, and kgent does not replace it; use tcx/ingress", ifc.Name)
	case errors.Is(err, link.ErrNotSupported):
		return "", refuse(nil, "this kernel (%s) is too old; XDP links need Linux 5.9", release())
	case forbidden(err):
		return "", refuse(errno(err), "this host forbids it; kgent needs CAP_NET_ADMIN")
	}
	return "", err
}

// attachTCX attaches to an interface's traffic. A program that never decides
// about a packet goes before those of others, so that it sees all of them; one
// that does goes behind, so that it does not take a packet from them. Before
// Linux 6.6 there is no tcx: a filter of the clsact queueing discipline runs the
// same program at the same place, and takes the same answers.
func (h host) attachTCX(p *loaded) (string, error) {
	ifc, err := findInterface(p.hook.Target)
	if err != nil {
		return "", err
	}
	if !h.tcx {
		return h.filters.attach(p, ifc)
	}
	opt := link.TCXOptions{Program: p.prog, Interface: ifc.Index, Attach: ebpf.AttachTCXIngress, Anchor: link.Tail()}
	if p.hook.Kind == program.TCXEgress {
		opt.Attach = ebpf.AttachTCXEgress
	}
	order := "after other programs"
	if p.passive {
		opt.Anchor, order = link.Head(), "before other programs"
	}
	l, err := link.AttachTCX(opt)
	switch {
	case err == nil:
		p.add(l)
		return fmt.Sprintf("%s (%s)", p.hook, order), nil
	case errors.Is(err, link.ErrNotSupported):
		return h.filters.attach(p, ifc)
	case forbidden(err):
		return "", refuse(errno(err), "this host forbids it; kgent needs CAP_NET_ADMIN")
	case errors.Is(err, unix.ERANGE):
		return "", refuse(errno(err), "%s has as many programs attached as the kernel allows", ifc.Name)
	}
	return "", err
}

// attachSocket attaches to a socket of kgent's own that gets a copy of every
// packet of an interface. The program sees the copies; what it returns is how
// much of one is kept in the socket, which nobody reads.
func (p *loaded) attachSocket() (_ string, err error) {
	ifc, err := findInterface(p.hook.Target)
	if err != nil {
		return "", err
	}
	// Without a protocol it gets nothing until it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if forbidden(err) {
		return "", refuse(errno(err), "this host forbids it; kgent needs CAP_NET_RAW")
	}
	if err != nil {
		return "", err
	}
	p.add(closer(func() error { return unix.Close(fd) }))
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0); err != nil { // the least there is
		return "", refuse(errno(err), "the socket's buffer cannot be made small")
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, p.prog.FD()); err != nil {
		return "", refuse(errno(err), "the kernel does not attach the program to a socket")
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifc.Index}); err != nil {
		return "", refuse(errno(err), "the packets of %s cannot be had", ifc.Name)
	}
	return p.hook.String(), nil
}

// htons converts to network byte order.
func htons(n uint16) uint16 { return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, n)) }

// passive reports whether a tcx program always leaves the packet to the next
// one (TCX_NEXT).
func passive(f program.Facts) bool {
	if f.Verdicts == nil {
		return false
	}
	for _, v := range f.Verdicts {
		if v != -1 {
			return false
		}
	}
	return true
}

func (h host) attachCgroup(ctx context.Context, p *loaded) (string, error) {
	if strings.TrimSuffix(p.hook.Symbol, "/") == "cgroup/skb" {
		return "", refuse(nil, `SEC("cgroup/skb") does not say which direction is meant; write SEC("cgroup_skb/ingress") or SEC("cgroup_skb/egress")`)
	}
	root, err := h.cgroupMount(ctx)
	if err != nil {
		return "", err
	}
	found := []container.Found{{Cgroup: p.hook.Target}}
	if container.Named(p.hook.Target) {
		if found, err = (container.Node{Cgroups: root, Root: h.opt.Root}).Find(p.hook.Target); err != nil {
			return "", refuse(nil, "%v", err)
		}
	}
	var said []string
	for _, f := range found {
		// Cleaning from the root keeps any number of .. inside of the mount.
		dir := filepath.Join(root, filepath.Clean("/"+f.Cgroup))
		if err := h.attachTo(p, dir); err != nil {
			return "", err
		}
		if f.What != "" {
			dir += " (" + f.What + ")"
		}
		said = append(said, dir)
	}
	what := string(p.hook.Kind)
	if p.hook.Kind == program.CgroupSock {
		what = p.hook.Symbol
	}
	return what + " " + strings.Join(said, ", "), nil
}

// attachTo attaches to one cgroup, and with it to those inside of it.
func (h host) attachTo(p *loaded, dir string) error {
	at, err := os.OpenFile(dir, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer at.Close()
	if err := h.permit(p.hook, at); err != nil {
		return err
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: pinned(at), Attach: p.attachType, Program: p.prog})
	switch {
	case forbidden(err):
		return refuse(errno(err), "either kgent lacks CAP_NET_ADMIN, or a program attached to %s or above it allows no other beside it", dir)
	case errors.Is(err, link.ErrNotSupported):
		return refuse(nil, "this kernel (%s) does not know this kind of cgroup program", release())
	case err != nil:
		return err
	}
	p.add(l)
	return nil
}

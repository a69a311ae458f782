package probe

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
)

// What kernels before 6.6 have in place of tcx: the queueing discipline clsact
// of an interface, and filters in it that run programs. Unlike a link, a filter
// stays when the process that made it dies. So each has a name of its own, for
// which its process holds an address of a local socket in the same network
// namespace: while that is taken the process lives. [Sweep] removes the filters
// whose process does not.

// filterPrefix starts the names of kgent's filters; so many random bytes follow.
const (
	filterPrefix = "kgent-"
	filterRandom = 8
)

// madeMark ends the name of a filter whose queueing discipline kgent made.
const madeMark = "+"

// filters keeps account of the queueing disciplines that were made for filters:
// they go with the last of them.
type filters struct {
	mu   sync.Mutex
	made map[int]bool // by interface index
}

// attach runs a tcx program by a filter.
func (f *filters) attach(p *loaded, ifc *net.Interface) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	conn, err := openRoute()
	if err != nil {
		return "", err
	}
	defer conn.close()
	if _, err := conn.sweep(ifc.Index); err != nil {
		return "", err
	}
	switch err := conn.addClsact(ifc.Index); {
	case err == nil:
		f.made[ifc.Index] = true
	case errors.Is(err, unix.EEXIST):
	case forbidden(err):
		return "", refuse(errno(err), "this host forbids it; kgent needs CAP_NET_ADMIN")
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return "", refuse(errno(err), "this kernel (%s) has neither tcx, which needs Linux 6.6, nor the queueing discipline clsact (module sch_ingress)", release())
	default:
		return "", refuse(errno(err), "the queueing discipline clsact cannot be added to %s", ifc.Name)
	}
	parent := uint32(ingress)
	if p.hook.Kind == program.TCXEgress {
		parent = egress
	}
	name := make([]byte, filterRandom)
	_, _ = rand.Read(name) // never fails
	flt := filter{ifindex: ifc.Index, parent: parent, name: filterPrefix + hex.EncodeToString(name)}
	if f.made[ifc.Index] {
		flt.name += madeMark
	}
	alive, err := holdName(flt.name)
	if err == nil {
		order := "after other filters"
		flt.prio = lastPrio
		if p.passive {
			order, flt.prio = "before other filters", 0 // the kernel chooses
		}
		if err = conn.addFilter(flt, p.prog.FD()); err == nil {
			p.add(closer(func() error { return errors.Join(f.detach(flt), unix.Close(alive)) }))
			return fmt.Sprintf("%s (%s of clsact: this kernel has no tcx)", p.hook, order), nil
		}
		err = errors.Join(err, unix.Close(alive))
	}
	if tidy := f.tidy(conn, ifc.Index); tidy != nil {
		err = errors.Join(err, tidy)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return "", refuse(errno(err), "this kernel (%s) has no tcx, which needs Linux 6.6, and cannot run programs in filters (module cls_bpf)", release())
	}
	return "", refuse(err, "the filter cannot be added to %s", ifc.Name)
}

// detach removes a filter, and what was made for it if nothing else uses it.
// An interface that has gone has taken both along.
func (f *filters) detach(flt filter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	conn, err := openRoute()
	if err != nil {
		return err
	}
	defer conn.close()
	all, err := conn.list(flt.ifindex)
	if err != nil {
		return err
	}
	for _, there := range all {
		if there.name == flt.name {
			err = errors.Join(err, gone(conn.deleteFilter(there)))
		}
	}
	return errors.Join(err, f.tidy(conn, flt.ifindex))
}

// tidy removes the queueing discipline that kgent made once it is empty.
func (f *filters) tidy(conn *route, ifindex int) error {
	if !f.made[ifindex] {
		return nil
	}
	all, err := conn.list(ifindex)
	if err != nil || len(all) > 0 {
		return err
	}
	delete(f.made, ifindex)
	return gone(conn.deleteClsact(ifindex))
}

// gone makes it no error that what was to be removed is not there.
func gone(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// holdName takes the address of a local socket that says that the filter's
// process lives. EADDRINUSE is that another one does.
func holdName(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a local socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + name}); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// Sweep removes what a kgent that died has left on the network interfaces of
// this network namespace, and says what that was. Only kernels before 6.6 can
// keep anything. It needs CAP_NET_ADMIN only if there is something to remove.
func Sweep() (removed []string, err error) {
	conn, err := openRoute()
	if err != nil {
		return nil, err
	}
	defer conn.close()
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing the network interfaces: %w", err)
	}
	for _, ifc := range interfaces {
		names, err := conn.sweep(ifc.Index)
		for _, name := range names {
			removed = append(removed, fmt.Sprintf("filter %s on %s", name, ifc.Name))
		}
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// ownName reports whether a filter's name is one that attach gives. Others may
// begin as kgent's do.
func ownName(name string) bool {
	digits, ok := strings.CutPrefix(strings.TrimSuffix(name, madeMark), filterPrefix)
	raw, err := hex.DecodeString(digits)
	return ok && err == nil && len(raw) == filterRandom && digits == hex.EncodeToString(raw)
}

// sweep removes the filters on one interface whose process is dead.
func (r *route) sweep(ifindex int) (removed []string, err error) {
	all, err := r.list(ifindex)
	if err != nil {
		return nil, err
	}
	dead := map[string]bool{}
	for _, f := range all {
		if !ownName(f.name) || dead[f.name] {
			continue
		}
		fd, err := holdName(f.name)
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		dead[f.name] = true
	}
	if len(dead) == 0 {
		return nil, nil
	}
	// Again: what was listed may have been removed by its process as it ended, and
	// its place, which is all that removing goes by, be somebody else's by now.
	if all, err = r.list(ifindex); err != nil {
		return nil, err
	}
	made := false
	for _, f := range all {
		if !dead[f.name] {
			continue
		}
		if err := gone(r.deleteFilter(f)); err != nil {
			return removed, err
		}
		made = made || strings.HasSuffix(f.name, madeMark)
		removed = append(removed, f.name)
	}
	if !made {
		return removed, nil
	}
	if all, err = r.list(ifindex); err == nil && len(all) == 0 {
		err = gone(r.deleteClsact(ifindex))
	}
	return removed, err
}

// route speaks to the kernel's traffic control, by netlink.
type route struct {
	fd  int
	seq uint32
}

func openRoute() (*route, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return &route{fd: fd}, nil
}

func (r *route) close() { _ = unix.Close(r.fd) } // a socket that holds nothing

// Places of clsact, see include/uapi/linux/pkt_sched.h and rtnetlink.h.
const (
	clsactHandle = 0xffff0000
	clsactParent = 0xfffffff1
	ingress      = 0xfffffff2
	egress       = 0xfffffff3

	// lastPrio is behind all that anyone would choose.
	lastPrio = 0xffff
)

// Attributes of traffic control messages.
const (
	tcaKind    = 1
	tcaOptions = 2
	bpfFD      = 6
	bpfName    = 7
	bpfFlags   = 8
	actDirect  = 1 // the program's result is the verdict
)

// filter is one filter of clsact; its kind is bpf when it has a name.
type filter struct {
	ifindex int
	parent  uint32
	handle  uint32
	prio    uint16
	proto   uint16 // network order, as the kernel writes it
	kind    string
	name    string
}

// message is a traffic control message: struct tcmsg, then attributes.
func message(ifindex int, handle, parent, info uint32, attrs ...[]byte) []byte {
	b := make([]byte, 4, 64) // family, padding
	b = binary.NativeEndian.AppendUint32(b, uint32(int32(ifindex)))
	b = binary.NativeEndian.AppendUint32(b, handle)
	b = binary.NativeEndian.AppendUint32(b, parent)
	b = binary.NativeEndian.AppendUint32(b, info)
	for _, a := range attrs {
		b = append(b, a...)
	}
	return b
}

func attribute(typ uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func text(typ uint16, s string) []byte { return attribute(typ, append([]byte(s), 0)) }

func number(typ uint16, n uint32) []byte {
	return attribute(typ, binary.NativeEndian.AppendUint32(nil, n))
}

func (r *route) addClsact(ifindex int) error {
	return r.ask(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, message(ifindex, clsactHandle, clsactParent, 0, text(tcaKind, "clsact")))
}

func (r *route) deleteClsact(ifindex int) error {
	return r.ask(unix.RTM_DELQDISC, 0, message(ifindex, clsactHandle, clsactParent, 0))
}

func (r *route) addFilter(f filter, prog int) error {
	options := append(append(number(bpfFD, uint32(prog)), text(bpfName, f.name)...), number(bpfFlags, actDirect)...)
	info := uint32(f.prio)<<16 | uint32(htons(unix.ETH_P_ALL))
	return r.ask(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		message(f.ifindex, 0, f.parent, info, text(tcaKind, "bpf"), attribute(tcaOptions, options)))
}

func (r *route) deleteFilter(f filter) error {
	return r.ask(unix.RTM_DELTFILTER, 0, message(f.ifindex, f.handle, f.parent, uint32(f.prio)<<16|uint32(f.proto), text(tcaKind, f.kind)))
}

// list returns the filters of clsact on an interface; none where there is no
// clsact.
func (r *route) list(ifindex int) ([]filter, error) {
	var all []filter
	for _, parent := range []uint32{ingress, egress} {
		err := r.exchange(unix.RTM_GETTFILTER, unix.NLM_F_DUMP, message(ifindex, 0, parent, 0), func(body []byte) {
			// One message for the kind of each priority, then one for each filter.
			if f, ok := parseFilter(body); ok && f.handle != 0 {
				f.parent = parent
				all = append(all, f)
			}
		})
		if gone(err) != nil {
			return nil, fmt.Errorf("listing the filters of interface %d: %w", ifindex, err)
		}
	}
	return all, nil
}

// parseFilter reads a message about a filter.
func parseFilter(b []byte) (f filter, ok bool) {
	const header = 20
	if len(b) < header {
		return filter{}, false
	}
	info := binary.NativeEndian.Uint32(b[16:])
	f = filter{
		ifindex: int(int32(binary.NativeEndian.Uint32(b[4:]))),
		handle:  binary.NativeEndian.Uint32(b[8:]),
		prio:    uint16(info >> 16),
		proto:   uint16(info),
	}
	eachAttribute(b[header:], func(typ uint16, value []byte) {
		switch typ {
		case tcaKind:
			f.kind = unix.ByteSliceToString(value)
		case tcaOptions:
			eachAttribute(value, func(typ uint16, value []byte) {
				if typ == bpfName {
					f.name = unix.ByteSliceToString(value)
				}
			})
		}
	})
	if f.kind != "bpf" {
		f.name = "" // what its options mean is another matter
	}
	return f, true
}

// eachAttribute calls fn for each attribute; what is malformed ends the list.
func eachAttribute(b []byte, fn func(typ uint16, value []byte)) {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return
		}
		fn(binary.NativeEndian.Uint16(b[2:])&^uint16(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[4:n])
		b = b[min(len(b), (n+3)&^3):]
	}
}

// ask sends a request that has no answer but whether it was granted.
func (r *route) ask(typ uint16, flags uint16, body []byte) error {
	return r.exchange(typ, flags|unix.NLM_F_ACK, body, func([]byte) {})
}

// exchange sends a request and calls fn with each message of the answer.
func (r *route) exchange(typ, flags uint16, body []byte, fn func(body []byte)) error {
	const header = unix.SizeofNlMsghdr
	r.seq++
	b := binary.NativeEndian.AppendUint32(nil, uint32(header+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, r.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	if err := unix.Sendto(r.fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(r.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		for rest := buf[:n]; len(rest) >= header; {
			length, typ := int(binary.NativeEndian.Uint32(rest)), binary.NativeEndian.Uint16(rest[4:])
			if length < header || length > len(rest) {
				return errors.New("the kernel's answer is cut off")
			}
			seq, body := binary.NativeEndian.Uint32(rest[8:]), rest[header:length]
			rest = rest[min(len(rest), (length+3)&^3):]
			if seq != r.seq {
				continue
			}
			switch typ {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if len(body) < 4 {
					return errors.New("the kernel's answer is cut off")
				}
				if no := -int32(binary.NativeEndian.Uint32(body)); no != 0 {
					return unix.Errno(no)
				}
				return nil
			default:
				fn(body)
			}
		}
	}
}

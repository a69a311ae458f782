package probe

import (
	"bytes"
	"encoding/binary"
	"net"

	"golang.org/x/sys/unix"
)

// SelfPID is the process id that programs see.
func SelfPID() (int, error) { return selfPID() }

// KernelPID asks the kernel for it in any case.
func KernelPID() (int, error) { return kernelPID() }

// Old is a Loader that does as on kernels without uprobe_multi, kprobe_multi,
// perf event links and tcx.
func (l *Loader) Old() *Loader {
	old := *l
	old.host.uprobeMulti, old.host.kprobeMulti, old.host.perfLinks, old.host.tcx = false, false, false, false
	return &old
}

// Resolving is a Loader that looks binaries up elsewhere.
func (l *Loader) Resolving(resolve func(string) (string, error)) *Loader {
	other := *l
	other.host.opt.Resolve = resolve
	return &other
}

// UprobeMulti is whether the Loader uses links to many places.
func (l *Loader) UprobeMulti() bool { return l.host.uprobeMulti }

// Filters names the filters of clsact on an interface.
func Filters(name string) ([]string, error) {
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	conn, err := openRoute()
	if err != nil {
		return nil, err
	}
	defer conn.close()
	all, err := conn.list(ifc.Index)
	var names []string
	for _, f := range all {
		names = append(names, f.kind+" "+f.name)
	}
	return names, err
}

// linkMessage is a message about an interface: struct ifinfomsg, then
// attributes.
func linkMessage(index int, flags uint32, attrs ...[]byte) []byte {
	b := make([]byte, 4)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = binary.NativeEndian.AppendUint32(b, flags)
	return append(b, bytes.Join(attrs, nil)...)
}

func askLink(typ, flags uint16, body []byte) error {
	conn, err := openRoute()
	if err != nil {
		return err
	}
	defer conn.close()
	return conn.ask(typ, flags, body)
}

// AddVeth makes two connected interfaces.
func AddVeth(a, b string) error {
	const infoKind, infoData, vethPeer = 1, 2, 1
	peer := attribute(vethPeer, linkMessage(0, 0, text(unix.IFLA_IFNAME, b)))
	info := append(text(infoKind, "veth"), attribute(infoData, peer)...)
	return askLink(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, linkMessage(0, 0, text(unix.IFLA_IFNAME, a), attribute(unix.IFLA_LINKINFO, info)))
}

// InterfaceUp switches an interface on.
func InterfaceUp(name string) error {
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	return askLink(unix.RTM_NEWLINK, 0, linkMessage(ifc.Index, unix.IFF_UP))
}

// DeleteInterface removes an interface.
func DeleteInterface(name string) error {
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	return askLink(unix.RTM_DELLINK, 0, linkMessage(ifc.Index, 0))
}

// CellsOneByOne reads a map as on kernels without batches.
func (s *Set) CellsOneByOne(name string) ([]Cell, error) { return oneByOne(s.maps[name]) }

package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Turn is how many records are read from a ring at a time.
const Turn = turn

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

// ParseFilter reads a message about a filter.
func ParseFilter(b []byte) { parseFilter(b) }

// AddClsact adds the queueing discipline to an interface.
func AddClsact(name string) error {
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	conn, err := openRoute()
	if err != nil {
		return err
	}
	defer conn.close()
	return conn.addClsact(ifc.Index)
}

// AddFilter adds a filter to an interface that has clsact.
func AddFilter(ifname, name string) error {
	ifc, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}})
	if err != nil {
		return err
	}
	defer prog.Close()
	conn, err := openRoute()
	if err != nil {
		return err
	}
	defer conn.close()
	return conn.addFilter(filter{ifindex: ifc.Index, parent: ingress, name: name}, prog.FD())
}

// HasClsact tells whether an interface has it. It asks by adding it.
func HasClsact(name string) (bool, error) {
	switch err := AddClsact(name); {
	case errors.Is(err, unix.EEXIST):
		return true, nil
	case err != nil:
		return false, err
	}
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return false, err
	}
	conn, err := openRoute()
	if err != nil {
		return false, err
	}
	defer conn.close()
	return false, conn.deleteClsact(ifc.Index)
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

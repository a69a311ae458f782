package render

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"kgent/executor/output"
	"kgent/executor/render/symbol"
	"kgent/retrieval/kernel/abi"
)

// StackResolver names the frames of the stacks that a program stored with
// bpf_get_stackid.
type StackResolver interface {
	// KernelStack returns the frames of a kernel stack, innermost first.
	KernelStack(id int32) []string
	// UserStack returns the frames of a stack of the process pid.
	UserStack(pid uint32, id int32) []string
}

// StackMap is a map of type BPF_MAP_TYPE_STACK_TRACE; *ebpf.Map is one.
type StackMap interface {
	LookupBytes(key any) ([]byte, error)
}

var _ StackMap = (*ebpf.Map)(nil)

// Stacks resolves the stacks of one run.
type Stacks struct {
	// Maps are the program's stack maps. Which of several holds an id is not
	// written anywhere: it is the one whose stack is of the right side.
	Maps []StackMap
	// Kernel may be nil: its frames are then shown as unknown.
	Kernel *symbol.Kernel
	Users  *symbol.Users
}

// KernelStack implements [StackResolver].
func (s *Stacks) KernelStack(id int32) []string {
	addrs, note := s.lookup(id, true)
	if note != "" {
		return []string{note}
	}
	return s.Kernel.Frames(addrs)
}

// UserStack implements [StackResolver].
func (s *Stacks) UserStack(pid uint32, id int32) []string {
	addrs, note := s.lookup(id, false)
	if note != "" {
		return []string{note}
	}
	return s.Users.Frames(pid, addrs)
}

// Whoever asked for a stack that the task does not have (kernel threads have
// no user stack) got -EFAULT.
const (
	noUserStack   = "[no user stack]"
	noKernelStack = "[no kernel stack]"
)

// lookup returns the addresses of a stack, or in brackets why there are none.
func (s *Stacks) lookup(id int32, kernel bool) ([]uint64, string) {
	if id < 0 {
		switch name := abi.ErrnoName(int64(id)); {
		case name == "EFAULT" && kernel:
			return nil, noKernelStack
		case name == "EFAULT":
			return nil, noUserStack
		case name == "EEXIST":
			return nil, "[stack lost: another one has its place in the stack map]"
		case name == "ENOMEM":
			return nil, "[stack lost: the stack map is full]"
		default:
			return nil, "[stack lost: " + name + "]"
		}
	}
	for _, m := range s.Maps {
		raw, err := m.LookupBytes(uint32(id))
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, "[stack lost: " + err.Error() + "]"
		}
		if addrs := addresses(raw); len(addrs) > 0 && isKernel(addrs[0]) == kernel {
			return addrs, ""
		}
	}
	return nil, "[stack lost: not in the stack map]"
}

// isKernel reports whether an address is in the upper half, which belongs to
// the kernel on every 64-bit machine.
func isKernel(addr uint64) bool { return addr>>63 != 0 }

// addresses reads the addresses of a stack, which ends with the first 0.
func addresses(raw []byte) []uint64 {
	var out []uint64
	for ; len(raw) >= 8; raw = raw[8:] {
		a := binary.NativeEndian.Uint64(raw)
		if a == 0 || len(out) == maxFrames {
			break
		}
		out = append(out, a)
	}
	return out
}

// frames resolves the stack that the value n holds.
func (p *printer) frames(n *node, base []byte) []string {
	id := int32(n.load(base))
	var frames []string
	if n.shape == shapeKStack {
		frames = p.stacks.KernelStack(id)
	} else {
		frames = p.stacks.UserStack(n.process(base), id)
	}
	frames = slices.Clone(frames[:min(len(frames), maxFrames)])
	for i, f := range frames {
		if len(f) > maxFrame { // templates of C++ have no bound
			f = strings.ToValidUTF8(f[:maxFrame-len("…")], "") + "…"
		}
		frames[i] = validText(f)
	}
	return frames
}

// process returns whose user stack n is.
func (n *node) process(base []byte) uint32 { return binary.NativeEndian.Uint32(base[n.pid:]) }

func appendFrames(dst []byte, frames []string) []byte {
	dst = append(dst, '[')
	for i, f := range frames {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = output.AppendString(dst, f)
	}
	return append(dst, ']')
}

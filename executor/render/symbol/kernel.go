// Package symbol gives addresses the names that people know them by: of the
// kernel's functions, from /proc/kallsyms, and of functions in processes, from
// the symbol tables of the files they have mapped.
//
// A wrong name is worse than none. Where the file of a mapping cannot be seen
// any more, or the kernel hides its addresses, frames say [unknown] and why;
// where a file has no symbol for an address, they say its place in the file.
package symbol

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strconv"
)

// ErrHidden says that /proc/kallsyms shows no addresses to this process.
var ErrHidden = errors.New("the kernel hides its addresses from this process: run with CAP_SYSLOG, or set kernel.kptr_restrict to 0 or 1")

// Kernel holds the kernel's symbols at one moment. It is immutable. A nil
// Kernel knows no symbol.
type Kernel struct {
	addrs []uint64
	names []span // of addrs; an empty one ends the symbol before
	text  []byte // what names point into
}

type span struct{ start, end uint32 }

// LoadKernel reads /proc/kallsyms, which takes some 0.1 s and 8 MB. It fails
// with [ErrHidden] when the addresses in it are all zero.
func LoadKernel() (*Kernel, error) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("reading kernel symbols: %w", err)
	}
	defer f.Close()
	k, err := ParseKernel(f)
	if err != nil {
		return nil, fmt.Errorf("reading kernel symbols: %w", err)
	}
	return k, nil
}

// maxSymbols bounds what one table may take; the largest known have a million.
const maxSymbols = 4 << 20

// maxKernelFunction is how far an address may be beyond the start of the last
// symbol before it. It keeps names from reaching over the gaps between the
// kernel, its modules and its programs; the largest functions are below.
const maxKernelFunction = 512 << 10

// ParseKernel reads symbols in the format of /proc/kallsyms.
func ParseKernel(r io.Reader) (*Kernel, error) {
	type entry struct {
		addr uint64
		name span
		rank int // of several names for an address, the lowest is shown
	}
	var entries []entry
	k := &Kernel{}
	hidden := true
	s := bufio.NewScanner(r)
	for s.Scan() {
		addr, kind, name, ok := kernelLine(s.Bytes())
		if !ok {
			continue
		}
		if len(entries) == maxSymbols || len(k.text) > 1<<30 {
			return nil, errors.New("too many symbols")
		}
		hidden = hidden && addr == 0
		e := entry{addr: addr, rank: rank(kind)}
		if e.rank < notText && !bytes.Equal(name, []byte("_etext")) && !bytes.Equal(name, []byte("_einittext")) {
			start := len(k.text)
			k.text = append(k.text, name...)
			e.name = span{uint32(start), uint32(len(k.text))}
		}
		entries = append(entries, e)
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if len(entries) > 0 && hidden {
		return nil, ErrHidden
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		switch {
		case a.addr != b.addr:
			if a.addr < b.addr {
				return -1
			}
			return 1
		default:
			return a.rank - b.rank
		}
	})
	for i, e := range entries {
		if i > 0 && e.addr == entries[i-1].addr {
			continue
		}
		k.addrs = append(k.addrs, e.addr)
		k.names = append(k.names, e.name)
	}
	return k, nil
}

const notText = 3

// rank orders the kinds of symbols: global functions, local ones, weak ones,
// and what is no function but ends the one before it.
func rank(kind byte) int {
	switch kind {
	case 'T':
		return 0
	case 't':
		return 1
	case 'w', 'W':
		return 2
	}
	return notText
}

// kernelLine takes "ffffffff81000000 T name [module]" apart. The name keeps
// its module: "name [module]".
func kernelLine(line []byte) (addr uint64, kind byte, name []byte, ok bool) {
	i := bytes.IndexByte(line, ' ')
	if i < 1 || len(line) < i+4 || line[i+2] != ' ' {
		return 0, 0, nil, false
	}
	addr, err := strconv.ParseUint(string(line[:i]), 16, 64)
	if err != nil {
		return 0, 0, nil, false
	}
	name = line[i+3:]
	if t := bytes.IndexByte(name, '\t'); t >= 0 {
		name[t] = ' '
	}
	return addr, line[i+1], name, true
}

// Name returns the function an address lies in, as "tcp_connect+0x1c" or
// "nf_hook+0x4 [nf_tables]".
func (k *Kernel) Name(addr uint64) (string, bool) { return k.name(addr, addr) }

// name returns the function of at, shown with the distance of addr.
func (k *Kernel) name(addr, at uint64) (string, bool) {
	if k == nil {
		return "", false
	}
	i := sort.Search(len(k.addrs), func(i int) bool { return k.addrs[i] > at }) - 1
	if i < 0 || k.names[i].start == k.names[i].end || at-k.addrs[i] > maxKernelFunction {
		return "", false
	}
	name := k.text[k.names[i].start:k.names[i].end]
	var module []byte
	if b := bytes.IndexByte(name, ' '); b >= 0 {
		name, module = name[:b], name[b:]
	}
	out := make([]byte, 0, len(name)+len(module)+10)
	out = append(out, name...)
	out = appendOffset(out, addr-k.addrs[i])
	return string(append(out, module...)), true
}

func appendOffset(dst []byte, offset uint64) []byte {
	if offset == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, "+0x"...), offset, 16)
}

// Frames names the addresses of a stack, innermost first.
func (k *Kernel) Frames(addrs []uint64) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		name, ok := k.name(a, callSite(i, a))
		if !ok {
			name = unknown(a, "")
		}
		out[i] = name
	}
	return out
}

// callSite returns where to look for the function of a stack's i-th address.
// All but the innermost are where a call returns to; a call that never returns
// may be the last instruction of its function, and what follows is another.
func callSite(i int, addr uint64) uint64 {
	if i == 0 || addr == 0 {
		return addr
	}
	return addr - 1
}

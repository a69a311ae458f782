package proof

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// named lists the inputs that terms depend on, with their values: numbers as
// people write them, arrays as texts.
func named(m smt.Model, terms []smt.Term) []Named {
	return namedVars(m, smt.Vars(terms...))
}

func namedVars(m smt.Model, vars []smt.Term) []Named {
	arrays := map[string]map[int]byte{}
	var out []Named
	for _, v := range vars {
		in := symbolic.InputOf(v)
		if in == nil || in.Kind == symbolic.Poison {
			continue
		}
		name := in.Name
		if base, i, ok := element(name); ok && v.Width() == 8 {
			if arrays[base] == nil {
				arrays[base] = map[int]byte{}
			}
			arrays[base][i] = byte(m.Value(v))
			continue
		}
		out = append(out, Named{name, valueOf(in, m.Value(v), v.Width())})
	}
	for base, data := range arrays {
		out = append(out, Named{base, arrayOf(data)})
	}
	slices.SortFunc(out, func(a, b Named) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(out, func(a, b Named) bool { return a == b })
}

// element splits "comm[3]".
func element(name string) (base string, i int, ok bool) {
	open := strings.LastIndexByte(name, '[')
	if open < 0 || !strings.HasSuffix(name, "]") {
		return "", 0, false
	}
	if _, err := fmt.Sscanf(name[open:], "[%d]", &i); err != nil {
		return "", 0, false
	}
	return name[:open], i, true
}

// arrayOf shows bytes of which some are known: as text if they look like one.
func arrayOf(data map[int]byte) string {
	n := 0
	for i := range data {
		n = max(n, i+1)
	}
	all := make([]byte, min(n, 64))
	for i := range all {
		all[i] = data[i]
	}
	text := strings.TrimRight(string(all), "\x00")
	for _, r := range []byte(text) {
		if r < ' ' || r > '~' {
			return fmt.Sprintf("% x", all)
		}
	}
	return fmt.Sprintf("%q", text)
}

// valueOf shows a number by the type of its input.
func valueOf(in *symbolic.Input, v uint64, bits uint) string {
	switch {
	case in.Kind == symbolic.Choice || bits == 1:
		if v != 0 {
			return "yes"
		}
		return "no"
	case in.Kind == symbolic.Pointer:
		return fmt.Sprintf("%#x", v)
	case in.Order == symbolic.BigOrder && bits == 16:
		return fmt.Sprintf("%#04x (network order; %d)", v, v>>8|v<<8&0xff00)
	case in.Order == symbolic.BigOrder && bits == 32:
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], uint32(v))
		return fmt.Sprintf("%d.%d.%d.%d (network order)", b[0], b[1], b[2], b[3])
	}
	if n := int64(v); in.Type == nil && bits == 64 && n < 0 && n >= -4095 { // what a system call returns is an error
		return fmt.Sprintf("%d (%#x)", n, v)
	}
	if in.Type != nil && signedBTF(in.Type) && bits < 64 {
		return number(uint64(int64(v<<(64-bits))>>(64-bits)), true)
	}
	return number(v, in.Type != nil && signedBTF(in.Type))
}

func signedBTF(t btf.Type) bool {
	switch x, _ := symbolic.Meaning(t); x := x.(type) {
	case *btf.Int:
		return x.Encoding == btf.Signed
	case *btf.Enum:
		return x.Signed
	}
	return false
}

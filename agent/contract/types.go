package contract

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"

	"kgent/retrieval/kernel"
)

// Kernel is what a contract is checked against; [*kernel.Facts] is one. For a
// kernel of which there is only BTF see [FromBTF].
type Kernel interface {
	Specs() (vmlinux *btf.Spec, modules []*btf.Spec, err error)
	RawTracepoint(name string) (*kernel.RawTracepoint, error)
	Tracepoint(category, name string) (*kernel.Tracepoint, error)
	Function(name string) (*kernel.Function, error)
}

// Types answers questions about one kernel's types and keeps the answers. It is safe
// for concurrent use; make one for each kernel and use it for all contracts.
type Types struct {
	kernel  Kernel
	specs   []*btf.Spec // the kernel's first
	once    sync.Once
	values  map[string]int64 // enumerators, read when one is first asked for
	mu      sync.Mutex
	structs map[string]btf.Type
}

// NewTypes reads a kernel's types, in about 0.1 s.
func NewTypes(k Kernel) (*Types, error) {
	vmlinux, modules, err := k.Specs()
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's types: %w", err)
	}
	return &Types{kernel: k, specs: append([]*btf.Spec{vmlinux}, modules...), structs: map[string]btf.Type{}}, nil
}

// FromBTF is a kernel of which nothing but its BTF is known: no tracefs, no modules.
func FromBTF(spec *btf.Spec) Kernel { return specKernel{spec} }

type specKernel struct{ spec *btf.Spec }

func (k specKernel) Specs() (*btf.Spec, []*btf.Spec, error) { return k.spec, nil, nil }

func (k specKernel) Tracepoint(category, name string) (*kernel.Tracepoint, error) {
	return nil, kernel.ErrNoTracefs
}

func (k specKernel) Function(name string) (*kernel.Function, error) {
	var fn *btf.Func
	if err := k.spec.TypeByName(name, &fn); err != nil {
		return nil, &kernel.NotFoundError{Kind: "function", Name: name}
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return nil, fmt.Errorf("reading function %s: it has no prototype", name)
	}
	return &kernel.Function{Name: name, Proto: proto}, nil
}

// RawTracepoint reads typedef void (*btf_trace_NAME)(void *__data, ARGUMENTS); the
// names are those of the function that calls the probes.
func (k specKernel) RawTracepoint(name string) (*kernel.RawTracepoint, error) {
	var td *btf.Typedef
	if err := k.spec.TypeByName("btf_trace_"+name, &td); err != nil {
		return nil, &kernel.NotFoundError{Kind: "raw tracepoint", Name: name}
	}
	pointer, ok := td.Type.(*btf.Pointer)
	if !ok {
		return nil, fmt.Errorf("reading raw tracepoint %s: its typedef is no pointer", name)
	}
	proto, ok := pointer.Target.(*btf.FuncProto)
	if !ok || len(proto.Params) == 0 {
		return nil, fmt.Errorf("reading raw tracepoint %s: its typedef does not point to a function", name)
	}
	tp := &kernel.RawTracepoint{Name: name}
	var named *btf.FuncProto
	for _, f := range []string{"__traceiter_" + name, "__bpf_trace_" + name} {
		if fn, err := k.Function(f); err == nil && named == nil && len(fn.Proto.Params) == len(proto.Params) {
			named = fn.Proto
		}
	}
	for i, p := range proto.Params[1:] {
		n := p.Name
		if n == "" && named != nil {
			n = named.Params[i+1].Name
		}
		tp.Params = append(tp.Params, kernel.Param{Name: n, Type: p.Type})
	}
	return tp, nil
}

// composite finds a struct or union by name, "struct sock".
func (t *Types) composite(name string) btf.Type {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found, ok := t.structs[name]; ok {
		return found
	}
	var found btf.Type
	kind, bare, _ := strings.Cut(name, " ")
	for _, spec := range t.specs {
		list, err := spec.AnyTypesByName(bare)
		if err != nil {
			continue
		}
		for _, x := range list {
			_, isStruct := x.(*btf.Struct)
			_, isUnion := x.(*btf.Union)
			if found == nil && (kind == "struct" && isStruct || kind == "union" && isUnion) {
				found = x
			}
		}
		if found != nil {
			break
		}
	}
	t.structs[name] = found
	return found
}

// structNames lists the kernel's structs, for suggestions.
func (t *Types) structNames() []string {
	var names []string
	for x, err := range t.specs[0].All() {
		if err != nil {
			break
		}
		if s, ok := x.(*btf.Struct); ok && s.Name != "" {
			names = append(names, s.Name)
		}
	}
	return names
}

// enumerator returns the value of a name of any of the kernel's enums. Names that
// stand for different values in different enums are not known.
func (t *Types) enumerator(name string) (int64, bool) {
	t.once.Do(func() {
		t.values = map[string]int64{}
		clash := map[string]bool{}
		for x, err := range t.specs[0].All() {
			if err != nil {
				break
			}
			e, ok := x.(*btf.Enum)
			if !ok {
				continue
			}
			for _, v := range e.Values {
				if old, ok := t.values[v.Name]; ok && old != int64(v.Value) {
					clash[v.Name] = true
				}
				t.values[v.Name] = int64(v.Value)
			}
		}
		for name := range clash {
			delete(t.values, name)
		}
	})
	v, ok := t.values[name]
	return v, ok
}

// enumerators lists their names.
func (t *Types) enumerators() []string {
	t.enumerator("")
	names := make([]string, 0, len(t.values))
	for n := range t.values {
		names = append(names, n)
	}
	return names
}

// bare strips qualifiers and typedefs; typedef is the name of the outermost
// typedef that says something about byte order or meaning.
func bare(t btf.Type) (b btf.Type, typedef string, user bool) {
	for range 64 {
		switch q := t.(type) {
		case *btf.Const:
			t = q.Type
		case *btf.Volatile:
			t = q.Type
		case *btf.Restrict:
			t = q.Type
		case *btf.TypeTag:
			user = user || q.Value == "user"
			t = q.Type
		case *btf.Typedef:
			if typedef == "" || orders[q.Name] > 0 {
				typedef = q.Name
			}
			t = q.Type
		default:
			return t, typedef, user
		}
	}
	return nil, "", false
}

// orders are the typedefs of numbers in network byte order.
var orders = map[string]uint8{"__be16": 16, "__be32": 32, "__be64": 64}

// typeOf is the Type of a kernel type.
func typeOf(t btf.Type) Type {
	b, typedef, _ := bare(t)
	out := Type{BTF: t}
	switch b := b.(type) {
	case *btf.Int:
		switch {
		case b.Encoding == btf.Bool:
			out.Kind, out.Bits = Bool, uint8(b.Size*8)
		case b.Size == 1 || b.Size == 2 || b.Size == 4 || b.Size == 8:
			out.Kind, out.Bits, out.Signed = Int, uint8(b.Size*8), b.Encoding == btf.Signed
			if orders[typedef] > 0 {
				out.Order = Network
			}
		}
	case *btf.Enum:
		if b.Size <= 8 {
			out.Kind, out.Bits, out.Signed = Int, uint8(b.Size*8), b.Signed
		}
	case *btf.Struct:
		out.Kind, out.Struct = Object, "struct "+b.Name
	case *btf.Union:
		out.Kind, out.Struct = Object, "union "+b.Name
	case *btf.Pointer:
		out.Kind, out.Bits = Pointer, 64
		target, _, user := bare(b.Target)
		out.User = user
		switch target := target.(type) {
		case *btf.Struct:
			out.Struct = "struct " + target.Name
		case *btf.Union:
			out.Struct = "union " + target.Name
		case *btf.Fwd:
			out.Struct = target.Kind.String() + " " + target.Name
		case nil, *btf.Void, *btf.FuncProto:
		default:
			elem := typeOf(b.Target)
			out.Elem = &elem
		}
	case *btf.Array:
		elem := typeOf(b.Type)
		if e, _, _ := bare(b.Type); isChar(e) {
			return Type{Kind: TextKind, Size: b.Nelems, BTF: t}
		}
		out.Kind, out.Elem, out.Size = Array, &elem, b.Nelems
	}
	return out
}

func isChar(t btf.Type) bool {
	i, ok := t.(*btf.Int)
	return ok && i.Size == 1 && (i.Name == "char" || i.Encoding == btf.Char)
}

// member is a member of a struct or union, found by name; those of anonymous
// members count as its own.
type member struct {
	typ     btf.Type
	bits    uint32 // offset
	bitSize uint32 // of a bit-field
}

func findMember(t btf.Type, name string, depth int) (m member, ok bool) {
	if depth > 16 {
		return member{}, false
	}
	for _, x := range membersOf(t) {
		if x.Name == name {
			return member{x.Type, uint32(x.Offset), uint32(x.BitfieldSize)}, true
		}
		if x.Name == "" {
			b, _, _ := bare(x.Type)
			if inner, ok := findMember(b, name, depth+1); ok {
				inner.bits += uint32(x.Offset)
				return inner, true
			}
		}
	}
	return member{}, false
}

func membersOf(t btf.Type) []btf.Member {
	switch t := t.(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}

// memberNames lists the members' names, for suggestions: also those one struct
// further down, as paths.
func memberNames(t btf.Type, prefix string, depth int) (names []string) {
	if depth > 3 {
		return nil
	}
	for _, x := range membersOf(t) {
		b, _, _ := bare(x.Type)
		if x.Name == "" {
			names = append(names, memberNames(b, prefix, depth+1)...)
			continue
		}
		names = append(names, prefix+x.Name)
	}
	return names
}

// findBelow looks for a member of that name in the structs embedded in t, one level down.
func findBelow(t btf.Type, name string) (paths []string) {
	for _, x := range membersOf(t) {
		b, _, _ := bare(x.Type)
		if x.Name == "" {
			paths = append(paths, findBelow(b, name)...)
		} else if _, ok := findMember(b, name, 0); ok {
			paths = append(paths, x.Name+"."+name)
		}
	}
	return slices.Compact(paths)
}

// vocabulary are the types of kgent.bpf.h and plain numbers.
var vocabulary = func() map[string]Type {
	u := func(bits uint8, meaning string) Type { return Type{Kind: Int, Bits: bits, Meaning: meaning} }
	s := func(bits uint8, meaning string) Type {
		return Type{Kind: Int, Bits: bits, Signed: true, Meaning: meaning}
	}
	be := func(bits uint8, meaning string) Type {
		return Type{Kind: Int, Bits: bits, Order: Network, Meaning: meaning}
	}
	return map[string]Type{
		"u8": u(8, ""), "u16": u(16, ""), "u32": u(32, ""), "u64": u(64, ""), "s8": s(8, ""), "s16": s(16, ""), "s32": s(32, ""), "s64": s(64, ""),
		"be16": be(16, ""), "be32": be(32, ""), "be64": be(64, ""),
		"pointer": {Kind: Pointer, Bits: 64}, "user_pointer": {Kind: Pointer, Bits: 64, User: true},
		"k_ns": u(64, "ns"), "k_us": u(64, "us"), "k_ms": u(64, "ms"), "k_time": u(64, "time"), "k_boottime": u(64, "boottime"),
		"k_bytes": u(64, "bytes"), "k_pages": u(64, "pages"), "k_count": u(64, "count"), "k_pid": u(32, "pid"), "k_tid": u(32, "tid"),
		"k_uid": u(32, "uid"), "k_gid": u(32, "gid"), "k_port": u(16, "port"), "k_be16": be(16, ""), "k_ipv4": be(32, "ipv4"), "k_ip": {Kind: IPKind, Size: 16},
		"k_mac": {Kind: Bytes, Size: 6, Meaning: "mac"}, "k_family": u(16, "family"), "k_ipproto": u(8, "ipproto"), "k_ethproto": u(16, "ethproto"),
		"k_tcpstate": u(32, "tcpstate"), "k_tcpflags": u(32, "tcpflags"), "k_errno": s(32, "errno"), "k_ret": s(64, "ret"), "k_signal": s(32, "signal"),
		"k_syscall": s(32, "syscall"), "k_exitcode": s(32, "exitcode"), "k_dev": u(32, "dev"), "k_mode": u(32, "mode"), "k_oflags": u(32, "oflags"),
		"k_mntflags": u(32, "mntflags"), "k_cap": u(32, "cap"), "k_bpfprog": u(32, "bpfprog"), "k_ifindex": u(32, "ifindex"), "k_cgroup": u(64, "cgroup"),
		"k_inode": u(64, "inode"), "k_addr": u(64, "addr"), "k_hex": u(64, "hex"), "k_kstack": s(32, "kstack"), "k_ustack": s(32, "ustack"),
		"k_bool": u(8, "bool"), "k_permille": u(64, "permille"), "k_args": {Kind: ArgsKind, Size: 1024},
		"k_dnsname": {Kind: TextKind, Size: 128, Meaning: "dnsname"},
	}
}()

// InMemory is how many bytes a value of the type has as a member of a struct; 0 if the type
// does not say.
func (t Type) InMemory() int {
	switch t.Kind {
	case Int:
		return int(t.Bits) / 8
	case Bool:
		return 1
	case TextKind, Bytes:
		return int(t.Size)
	case IPKind:
		return 16
	case Pointer:
		return 8
	case ArgsKind:
		return ArgsSize
	}
	return 0
}

// ArgsSize is the size of struct k_args, of which the first 4 bytes are the length.
const ArgsSize = 1024

// String writes the type for messages: "a port (u16)", "an address".
func (t Type) String() string {
	switch t.Kind {
	case Bool:
		return "a condition"
	case TextKind:
		if t.Meaning == "dnsname" {
			return "a DNS name as it is sent"
		}
		return "a text"
	case IPKind:
		return "an address"
	case Bytes:
		return fmt.Sprintf("%d bytes", t.Size)
	case Pointer:
		switch {
		case t.User:
			return "a pointer into a process's memory"
		case t.Struct != "":
			return "a pointer to " + t.Struct
		}
		return "a pointer"
	case Object:
		return "a " + t.Struct
	case Array:
		return "an array"
	case Block:
		return "a block of bytes"
	case ArgsKind:
		return "a list of arguments"
	case Int:
		n := fmt.Sprintf("%d-bit number", t.Bits)
		if t.Signed {
			n = "signed " + n
		}
		switch {
		case t.Order == Network:
			return "a " + n + " in network byte order"
		case t.Literal && t.Meaning == "":
			return "a number"
		case t.Enum != nil:
			return "one of " + t.Enum.Name
		case meanings[t.Meaning] != "":
			return meanings[t.Meaning]
		}
		return "a " + n
	}
	return "nothing that can be used"
}

// meanings are the words for what a number is.
var meanings = map[string]string{"ns": "a duration in nanoseconds", "us": "a duration in microseconds", "ms": "a duration in milliseconds",
	"time": "a point in time", "boottime": "a point in time since boot", "bytes": "a size in bytes", "pages": "a number of pages", "count": "a count",
	"pid": "a process id", "tid": "a thread id", "uid": "a user id", "gid": "a group id", "port": "a port", "ipv4": "an IPv4 address",
	"family": "an address family", "ipproto": "an IP protocol", "ethproto": "an Ethernet protocol", "tcpstate": "a TCP state", "tcpflags": "TCP flags",
	"errno": "an error", "ret": "a system call's result", "signal": "a signal", "syscall": "a system call", "exitcode": "an exit status",
	"dev": "a device", "mode": "a file mode", "oflags": "open flags", "mntflags": "mount flags", "cap": "a capability", "bpfprog": "a BPF program type",
	"ifindex": "a network interface", "cgroup": "a cgroup", "inode": "an inode", "addr": "an address in memory", "hex": "a number",
	"kstack": "a kernel stack", "ustack": "a user stack", "bool": "yes or no", "permille": "a share"}

// notFound unwraps a kernel's answer that something does not exist.
func notFound(err error) (*kernel.NotFoundError, bool) {
	var nf *kernel.NotFoundError
	return nf, errors.As(err, &nf)
}

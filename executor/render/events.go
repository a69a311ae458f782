// Package render turns what a program left behind into output records, from
// the program's BTF alone: [Events] turns the raw bytes of a ring buffer into
// lines of JSON, [Map] turns the cells of an output map into tables,
// histograms and stacks. No code is written for any one program: the typedefs
// of kgent.bpf.h say what a number means.
//
// # Values
//
// What people read by name is a string: addresses ("10.0.0.7",
// "2001:db8::1"), times (RFC 3339, UTC), error names ("ECONNREFUSED", "OK"),
// signals, system calls, states, flags ("O_WRONLY|O_CREAT"), modes ("0644"),
// devices ("8:1"), exits ("exit 3", "SIGSEGV (core dumped)"), interfaces,
// cgroup paths, memory addresses ("0xffff…", or the kernel's symbol), and
// arguments ("ls -l 'my file'", with " …" at the end when cut short). What
// people calculate with is a number in the unit of its type: durations, sizes,
// counts, ids, ports.
//
// Two types hold either: k_ret is a number when the call succeeded and the
// error's name when it did not, so that `jq 'select(.data.ret|type=="string")'`
// finds the failures and sums over successes need no conversion; and an enum is
// the enumerator's name, or the number when it has none.
//
// An IPv4 address in a k_ip is shown as such; sixteen zero bytes are "::",
// since "no address" and "any address" look alike. A k_time of 0 is "".
// Structs are objects, unions are their first member, char[] is text up to the
// NUL, __u8[] is hexadecimal, other arrays are lists. Members whose names begin
// with _pad fill holes and are not shown.
//
// Strings come from programs that anybody may have started: whatever their
// bytes, a line is valid UTF-8 and harmless to a terminal, see
// [output.AppendString].
package render

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"

	"kgent/executor/output"
)

// Events decodes the events of one ring buffer. It is not safe for concurrent
// use: each reader has its own.
type Events struct {
	stream   string
	head     []byte // of every line, up to the data
	root     *node
	size     int
	flexible bool // records may be longer than size
	printer  printer
}

// NewEvents prepares the decoding of a stream whose events are of type t. node
// is the machine's name as it stands in the records. It fails for types that
// have no representation: without a known size, too large, or with a typedef
// of kgent.bpf.h on something else than kgent.bpf.h says.
func NewEvents(node, stream string, t *btf.Struct, env *Env) (*Events, error) {
	if t == nil {
		return nil, fmt.Errorf("preparing events of %s: they have no type", stream)
	}
	root, err := compile(t)
	if err != nil {
		return nil, fmt.Errorf("preparing events of %s: %w", stream, err)
	}
	if root.shape != shapeStruct {
		return nil, fmt.Errorf("preparing events of %s: a %s is not an event; put it into a struct", stream, root.kind)
	}
	head := output.AppendString([]byte(`{"type":"event","node":`), node)
	head = output.AppendString(append(head, `,"stream":`...), stream)
	head = append(head, `,"data":`...)
	return &Events{stream: stream, head: head, root: root, size: int(t.Size), flexible: flexible(t), printer: printer{env: env}}, nil
}

// ResolveStacks makes k_kstack and k_ustack fields lists of frames. Without
// it they are the numbers that the program stored.
func (e *Events) ResolveStacks(r StackResolver) { e.printer.stacks = r }

// Stream describes the events' fields, for the record that says that the
// program is attached. The fields of nested structs are "outer.inner".
func (e *Events) Stream() output.Stream {
	return output.Stream{Name: e.stream, Columns: e.root.columns([]output.Column{}, "")}
}

// ErrSize says that a record is not as long as the type of its stream: the
// program wrote something else into the ring buffer than it declares.
var ErrSize = errors.New("the record is not an event of its ring buffer's type")

// Append appends one event as a line: a complete event record, newline
// included. It allocates nothing but room in dst. raw is only read.
func (e *Events) Append(dst, raw []byte) ([]byte, error) {
	if len(raw) < e.size || len(raw) > e.size && !e.flexible {
		return dst, fmt.Errorf("decoding event of %s: %w: %d bytes, want %d", e.stream, ErrSize, len(raw), e.size)
	}
	dst = append(dst, e.head...)
	dst = e.printer.json(dst, e.root, raw)
	return append(dst, '}', '\n'), nil
}

package corpus_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"kgent/agent/program/programtest"
	"kgent/agent/verify/corpus"
)

// TestRun runs both programs of each case in the kernel, with the input of the
// note, and holds what they show against the note: the right one what was asked
// for, the wrong one what the mistake makes of it.
func TestRun(t *testing.T) {
	types := host(t)
	for _, c := range cases(t) {
		if c.Run == nil {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			for _, p := range []struct {
				name, source string
				want         corpus.Seen
			}{{"good", c.Good, c.Run.Good}, {"bad", c.Bad, c.Run.Bad}} {
				t.Run(p.name, func(t *testing.T) {
					r := newRunner(t, types, c.Run, p.source)
					r.steps(c.Run)
					s := seen{r.events, r.rows, r.returns, r.names}
					for _, d := range s.differ(c.Run, p.want) {
						t.Error(d)
					}
				})
			}
		})
	}
}

// runner runs one program.
type runner struct {
	t       *testing.T
	types   *btf.Spec
	spec    *ebpf.CollectionSpec
	loaded  *ebpf.Collection
	ring    *ringbuf.Reader
	event   btf.Type
	arena   *arena
	names   map[string]uint64 // what $name stands for
	objects map[string][]byte
	events  []map[string]string
	returns []uint32
	threads map[int]chan<- func()
}

// newRunner loads a program, with its parameters, so that the kernel can be
// asked to run it: one for a BTF tracepoint or a tracepoint becomes one for a raw
// tracepoint, which gets the same context.
func newRunner(t *testing.T, types *btf.Spec, run *corpus.Run, source string) *runner {
	r := &runner{t: t, types: types, names: map[string]uint64{"$tgid": uint64(os.Getpid())}, objects: map[string][]byte{}, threads: map[int]chan<- func(){}}
	r.spec = spec(t, programtest.Object(t, source))
	for name, value := range run.Parameters {
		v := r.spec.Variables[name]
		b := make([]byte, 8)
		binary.NativeEndian.PutUint64(b, value)
		if err := v.Set(b[:v.Size()]); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range r.spec.Programs {
		if p.Type == ebpf.Tracing || p.Type == ebpf.TracePoint {
			p.Type, p.AttachType, p.AttachTo = ebpf.RawTracepoint, ebpf.AttachNone, ""
		}
	}
	r.loaded = load(t, r.spec)
	for name, s := range r.spec.Maps {
		if s.Type != ebpf.RingBuf {
			continue
		}
		rd, err := ringbuf.NewReader(r.loaded.Maps[name])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { rd.Close() })
		rd.SetDeadline(time.Unix(1, 0)) // what is there, at once
		r.ring, r.event = rd, s.Value
	}
	r.arena = newArena(t)
	r.place(run)
	return r
}

// place makes the objects of a run. One may point to another, so all get their
// address first.
func (r *runner) place(run *corpus.Run) {
	for name, text := range run.Users {
		b := append([]byte(text), 0)
		var pin runtime.Pinner
		pin.Pin(&b[0])
		r.t.Cleanup(pin.Unpin)
		r.names["$"+name] = uint64(uintptr(unsafe.Pointer(&b[0])))
	}
	for name := range run.Objects {
		r.names["$"+name] = r.arena.address(len(r.objects))
		r.objects[name] = nil
	}
	for name, o := range run.Objects {
		r.objects[name] = r.bytes(o, nil)
		r.arena.write(r.names["$"+name], r.objects[name])
	}
}

// bytes makes an object.
func (r *runner) bytes(o corpus.Object, b []byte) []byte {
	r.t.Helper()
	var typ *btf.Struct
	if err := r.types.TypeByName(o.Struct, &typ); err != nil {
		r.t.Fatalf("struct %s: %v", o.Struct, err)
	}
	if b == nil {
		b = make([]byte, max(int(typ.Size), o.Room))
	}
	for at, value := range o.Set {
		offset, field := follow(r.t, typ, at)
		r.put(b[offset:], field, value)
	}
	for at, text := range o.Texts {
		offset, _ := follow(r.t, typ, at)
		binary.NativeEndian.PutUint32(b[offset:], uint32(len(b))|uint32(len(text)+1)<<16)
		b = append(append(b, text...), 0)
	}
	return append(b, make([]byte, (8-len(b)%8)%8)...)
}

// put writes one field.
func (r *runner) put(b []byte, field btf.Type, value any) {
	r.t.Helper()
	size, err := btf.Sizeof(field)
	if err != nil {
		r.t.Fatal(err)
	}
	if text, ok := value.(string); ok && !strings.HasPrefix(text, "$") {
		if a, ok := btf.UnderlyingType(field).(*btf.Array); ok && isChar(a.Type) {
			copy(b[:size], text)
			return
		}
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != size {
			r.t.Fatalf("%q is not %d bytes in hexadecimal", text, size)
		}
		copy(b, raw)
		return
	}
	number := make([]byte, 8)
	binary.NativeEndian.PutUint64(number, r.number(value))
	copy(b[:size], number)
}

func (r *runner) number(v any) uint64 {
	r.t.Helper()
	switch v := v.(type) {
	case uint64:
		return v
	case int64:
		return uint64(v)
	case int:
		return uint64(v)
	case string:
		if n, ok := r.names[v]; ok {
			return n
		}
	}
	r.t.Fatalf("%v is no number and no name", v)
	return 0
}

// follow finds a field by its path.
func follow(t *testing.T, typ btf.Type, at string) (int, btf.Type) {
	t.Helper()
	offset := 0
	for _, part := range strings.Split(at, ".") {
		name, index, indexed := strings.Cut(strings.TrimSuffix(part, "]"), "[")
		o, field := member(btf.UnderlyingType(typ), name)
		if field == nil {
			t.Fatalf("%v has no field %s (of %s)", typ, name, at)
		}
		offset, typ = offset+o, field
		if indexed {
			n, err := strconv.Atoi(index)
			a, ok := btf.UnderlyingType(typ).(*btf.Array)
			if err != nil || !ok {
				t.Fatalf("%s is no element", part)
			}
			size, err := btf.Sizeof(a.Type)
			if err != nil {
				t.Fatal(err)
			}
			offset, typ = offset+n*size, a.Type
		}
	}
	return offset, typ
}

// member finds a member, also in those without name.
func member(typ btf.Type, name string) (int, btf.Type) {
	var members []btf.Member
	switch s := typ.(type) {
	case *btf.Struct:
		members = s.Members
	case *btf.Union:
		members = s.Members
	}
	for _, m := range members {
		if m.Name == name {
			return int(m.Offset.Bytes()), m.Type
		}
		if m.Name == "" {
			if o, field := member(btf.UnderlyingType(m.Type), name); field != nil {
				return int(m.Offset.Bytes()) + o, field
			}
		}
	}
	return 0, nil
}

// steps runs what the note says.
func (r *runner) steps(run *corpus.Run) {
	for i, s := range run.Steps {
		for object, set := range s.Set {
			o := run.Objects[object]
			o.Set = set
			r.objects[object] = r.bytes(o, r.objects[object])
			r.arena.write(r.names["$"+object], r.objects[object])
		}
		time.Sleep(s.Wait) // part of the input: how long the call took
		p := r.loaded.Programs[s.Program]
		if p == nil {
			if !s.IfPresent {
				r.t.Fatalf("step %d: no program %s", i+1, s.Program)
			}
			continue
		}
		for range max(1, s.Repeat) {
			r.on(max(1, s.Thread), func() {
				ret, err := p.Run(r.options(s))
				if err != nil {
					r.t.Errorf("step %d: %v", i+1, err)
				}
				r.returns = append(r.returns, ret)
			})
			r.drain(run)
		}
	}
}

// options is what one step hands to the program.
func (r *runner) options(s corpus.Step) *ebpf.RunOptions {
	r.t.Helper()
	switch {
	case s.Packet != "":
		data, err := hex.DecodeString(s.Packet)
		if err != nil {
			r.t.Fatal(err)
		}
		return &ebpf.RunOptions{Data: data}
	case s.Record != nil:
		return &ebpf.RunOptions{Context: r.bytes(*s.Record, nil)}
	}
	var slots []byte
	for _, a := range s.Args {
		slots = binary.NativeEndian.AppendUint64(slots, r.number(a))
	}
	return &ebpf.RunOptions{Context: slots}
}

// on calls f on a thread of its own, which is never the process's first: its id
// would be the process's.
func (r *runner) on(thread int, f func()) {
	if r.threads[thread] == nil {
		work, id := make(chan func()), make(chan int)
		go serve(work, id)
		r.threads[thread] = work
		r.names[fmt.Sprintf("$tid%d", thread)] = uint64(<-id)
		r.t.Cleanup(func() { close(work) })
	}
	done := make(chan bool)
	r.threads[thread] <- func() { defer close(done); f() }
	<-done
}

func serve(work <-chan func(), id chan<- int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Gettid() == os.Getpid() {
		// This one is kept busy until another has a thread.
		next := make(chan int)
		go serve(work, next)
		id <- <-next
		return
	}
	id <- unix.Gettid()
	for f := range work {
		f()
	}
}

func (r *runner) drain(run *corpus.Run) {
	for r.ring != nil {
		rec, err := r.ring.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			r.t.Fatal(err)
		}
		ev := map[string]string{"size": strconv.Itoa(len(rec.RawSample))}
		show(ev, "", r.event, rec.RawSample, run.Raw)
		r.events = append(r.events, ev)
	}
}

func isChar(t btf.Type) bool {
	i, ok := btf.UnderlyingType(t).(*btf.Int)
	return ok && i.Name == "char"
}

// show writes the members of a value down, as far as there are bytes.
func show(to map[string]string, name string, typ btf.Type, b []byte, raw string) {
	size, err := btf.Sizeof(typ)
	if err != nil || size > len(b) {
		if s, ok := btf.UnderlyingType(typ).(*btf.Struct); ok {
			showMembers(to, s, b, raw)
		}
		return
	}
	b = b[:size]
	if td, ok := typ.(*btf.Typedef); ok {
		switch td.Name {
		case "k_ip":
			to[name] = netip.AddrFrom16([16]byte(b)).String()
			return
		case "k_ipv4":
			to[name] = netip.AddrFrom4([4]byte(b)).String()
			return
		}
	}
	switch u := btf.UnderlyingType(typ).(type) {
	case *btf.Struct:
		showMembers(to, u, b, raw)
	case *btf.Array:
		if isChar(u.Type) {
			text := string(b)
			if name == raw {
				text = strings.TrimRight(text, "\x00")
			} else if n := strings.IndexByte(text, 0); n >= 0 {
				text = text[:n]
			}
			to[name] = text
			return
		}
		var slots []string
		for i := 0; i+8 <= len(b); i += 8 {
			if n := binary.NativeEndian.Uint64(b[i:]); n != 0 {
				slots = append(slots, fmt.Sprintf("%d:%d", i/8, n))
			}
		}
		to[name] = strings.Join(slots, " ")
	default:
		wide := make([]byte, 8)
		copy(wide, b)
		n := binary.NativeEndian.Uint64(wide)
		if i, ok := u.(*btf.Int); ok && i.Encoding == btf.Signed {
			shift := 64 - 8*size
			to[name] = strconv.FormatInt(int64(n<<shift)>>shift, 10)
			return
		}
		to[name] = strconv.FormatUint(n, 10)
	}
}

func showMembers(to map[string]string, s *btf.Struct, b []byte, raw string) {
	for _, m := range s.Members {
		if at := int(m.Offset.Bytes()); at < len(b) {
			show(to, m.Name, m.Type, b[at:], raw)
		}
	}
}

// seen is what came out, written down.
type seen struct {
	events  []map[string]string
	rows    func(table string) []map[string]string
	returns []uint32
	names   map[string]uint64 // what $name stands for
}

// differ holds what came out against what the note says.
func (s seen) differ(run *corpus.Run, want corpus.Seen) (out []string) {
	if run.Last > 0 && len(s.events) > run.Last {
		s.events = s.events[len(s.events)-run.Last:]
	}
	if len(s.events) != len(want.Events) {
		out = append(out, fmt.Sprintf("%d events %v, want %d %v", len(s.events), s.events, len(want.Events), want.Events))
	} else {
		for i, w := range want.Events {
			out = append(out, s.other(fmt.Sprintf("event %d", i+1), s.events[i], w)...)
		}
	}
	for name, rows := range want.Tables {
		have := s.rows(name)
		if len(have) != len(rows) {
			out = append(out, fmt.Sprintf("table %s has %d rows %v, want %d %v", name, len(have), have, len(rows), rows))
			continue
		}
		for i, w := range rows {
			// Rows have an order of their own; the key says which it is.
			at := slices.IndexFunc(have, func(row map[string]string) bool { return w["key"] == nil || row["key"] == s.text(w["key"]) })
			if at < 0 {
				out = append(out, fmt.Sprintf("table %s has no row %v: %v", name, w, have))
				continue
			}
			out = append(out, s.other(fmt.Sprintf("table %s, row %d", name, i+1), have[at], w)...)
		}
	}
	if want.Returns != nil && !slices.Equal(s.returns, want.Returns) {
		out = append(out, fmt.Sprintf("returned %v, want %v", s.returns, want.Returns))
	}
	return out
}

// rows reads a table; rows of zeroes are none.
func (r *runner) rows(name string) []map[string]string {
	r.t.Helper()
	s, m := r.spec.Maps[name], r.loaded.Maps[name]
	if m == nil {
		r.t.Fatalf("no map %s", name)
	}
	var out []map[string]string
	for at := any(nil); ; {
		var key []byte
		if err := m.NextKey(at, &key); errors.Is(err, ebpf.ErrKeyNotExist) {
			return out
		} else if err != nil {
			r.t.Fatal(err)
		}
		at = key
		sum := make([]byte, s.ValueSize)
		for _, cpu := range r.cells(m, key) {
			for i := 0; i+8 <= len(sum); i += 8 {
				binary.NativeEndian.PutUint64(sum[i:], binary.NativeEndian.Uint64(sum[i:])+binary.NativeEndian.Uint64(cpu[i:]))
			}
		}
		if !slices.ContainsFunc(sum, func(b byte) bool { return b != 0 }) {
			continue
		}
		row := map[string]string{}
		show(row, "key", s.Key, key, "")
		show(row, "value", s.Value, sum, "")
		out = append(out, row)
	}
}

func (r *runner) cells(m *ebpf.Map, key []byte) [][]byte {
	r.t.Helper()
	var per [][]byte
	var err error
	if m.Type() == ebpf.PerCPUHash || m.Type() == ebpf.PerCPUArray {
		err = m.Lookup(key, &per)
	} else {
		one := make([]byte, m.ValueSize())
		err = m.Lookup(key, &one)
		per = [][]byte{one}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return per
}

func (s seen) text(v any) string {
	switch v := v.(type) {
	case string:
		if n, ok := s.names[v]; ok {
			return strconv.FormatUint(n, 10)
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// other lists the members that are not as wanted.
func (s seen) other(what string, have map[string]string, want map[string]any) (out []string) {
	for name, v := range want {
		text := s.text(v)
		low, high, ranged := strings.Cut(text, "..")
		l, _ := strconv.ParseUint(low, 10, 64)
		h, err := strconv.ParseUint(high, 10, 64)
		n, bad := strconv.ParseUint(have[name], 10, 64)
		if ranged && err == nil && bad == nil && l <= n && n <= h {
			continue
		}
		if got, ok := have[name]; !ok || got != text {
			out = append(out, fmt.Sprintf("%s: %s is %q, want %q", what, name, got, text))
		}
	}
	return out
}

// arena is memory of the kernel at known addresses: the cells of an array.
type arena struct {
	t       *testing.T
	cells   *ebpf.Map
	at      []uint64
	program *ebpf.Program
	answer  *ebpf.Map
}

const (
	arenaCells = 8
	arenaCell  = 32 << 10
)

func newArena(t *testing.T) *arena {
	t.Helper()
	a := &arena{t: t}
	var err error
	if a.cells, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: arenaCell, MaxEntries: arenaCells}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.cells.Close() })
	for i := range arenaCells {
		a.at = append(a.at, a.find(uint32(i)))
	}
	return a
}

// find has a program tell where a cell lies.
func (a *arena) find(i uint32) uint64 {
	a.t.Helper()
	if a.program == nil {
		a.ask()
	}
	slot := binary.NativeEndian.AppendUint64(nil, uint64(i))
	if _, err := a.program.Run(&ebpf.RunOptions{Context: slot}); err != nil {
		a.t.Fatal(err)
	}
	var at uint64
	if err := a.answer.Lookup(uint32(0), &at); err != nil || at == 0 {
		a.t.Fatalf("looking for a cell of the arena: %d, %v", at, err)
	}
	return at
}

func (a *arena) ask() {
	a.t.Helper()
	var err error
	if a.answer, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { a.answer.Close() })
	a.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.RawTracepoint, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.StoreMem(asm.RFP, -4, asm.R2, asm.Word),
		asm.LoadMapPtr(asm.R1, a.cells.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Reg(asm.R6, asm.R0),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, a.answer.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.StoreMem(asm.R0, 0, asm.R6, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { a.program.Close() })
}

func (a *arena) address(i int) uint64 {
	a.t.Helper()
	if i >= len(a.at) {
		a.t.Fatalf("more than %d objects", len(a.at))
	}
	return a.at[i]
}

// write fills the cell at an address.
func (a *arena) write(at uint64, b []byte) {
	a.t.Helper()
	if len(b) > arenaCell {
		a.t.Fatalf("an object of %d bytes", len(b))
	}
	i := slices.Index(a.at, at)
	if err := a.cells.Update(uint32(i), append(slices.Clone(b), make([]byte, arenaCell-len(b))...), ebpf.UpdateAny); err != nil {
		a.t.Fatal(err)
	}
}

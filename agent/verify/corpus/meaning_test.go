package corpus_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/verify/corpus"
)

// TestMeaning runs the contract of each case on the inputs of its note, by the
// contract language's own reference: what it asks for is what the right program
// shows in the kernel, and not what the wrong one shows.
func TestMeaning(t *testing.T) {
	types := contractTypes(t)
	kernelTypes := host(t)
	for _, c := range cases(t) {
		if c.Run == nil {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			parsed, err := contract.Parse(c.Contract)
			if err != nil {
				t.Fatal(err)
			}
			checked, err := contract.Check(parsed, types)
			if err != nil {
				t.Fatal(err)
			}
			r := newReference(t, kernelTypes, checked, c)
			for i, s := range c.Run.Steps {
				r.step(i, s, c.Run)
			}
			s := seen{r.events, r.rows, r.returns, r.made.names}
			for _, d := range s.differ(c.Run, withoutSize(c.Run.Good)) {
				t.Errorf("the contract asks for something else than the right program does: %s", d)
			}
			if len(s.differ(c.Run, withoutSize(c.Run.Bad))) == 0 && !slices.Contains(c.Caught, corpus.Size) {
				t.Error("the contract asks for what the wrong program does")
			}
		})
	}
}

// withoutSize leaves out how long events are, which is no part of a contract.
func withoutSize(s corpus.Seen) corpus.Seen {
	s.Events = slices.Clone(s.Events)
	for i, e := range s.Events {
		s.Events[i] = maps.Clone(e)
		delete(s.Events[i], "size")
	}
	return s
}

// reference runs a contract.
type reference struct {
	t       *testing.T
	checked *contract.Checked
	machine *contract.Machine
	hooks   map[string]program.Hook // of the right program, by program
	made    *runner                 // makes objects
	run     *corpus.Run
	now     uint64
	kernel  ram
	user    ram
	events  []map[string]string
	returns []uint32
}

// ram is memory made of pieces.
type ram map[uint64][]byte

func (r ram) Read(addr uint64, buf []byte) bool {
	for base, piece := range r {
		if addr >= base && addr+uint64(len(buf)) <= base+uint64(len(piece)) {
			copy(buf, piece[addr-base:])
			return true
		}
	}
	return false
}

func newReference(t *testing.T, types *btf.Spec, checked *contract.Checked, c corpus.Case) *reference {
	t.Helper()
	values := map[string]contract.Datum{}
	for name, v := range c.Run.Parameters {
		values[name] = contract.Datum{Num: v}
	}
	cm, err := contract.NewMachine(checked, values)
	if err != nil {
		t.Fatal(err)
	}
	r := &reference{t: t, checked: checked, machine: cm, hooks: map[string]program.Hook{}, run: c.Run, now: 1e9, kernel: ram{}, user: ram{}}
	for name, p := range spec(t, programtest.Object(t, c.Good)).Programs {
		if r.hooks[name], err = program.HookOf(p); err != nil {
			t.Fatal(err)
		}
	}
	r.made = &runner{t: t, types: types, names: map[string]uint64{"$tgid": 2000, "$tid1": 2001, "$tid2": 2002}}
	at := uint64(0xffff888000000000)
	for name := range c.Run.Objects {
		at += 1 << 20
		r.made.names["$"+name] = at
	}
	low := uint64(0x7f0000000000)
	for name, text := range c.Run.Users {
		low += 4096
		r.made.names["$"+name] = low
		r.user[low] = append([]byte(text), 0)
	}
	for name, o := range c.Run.Objects {
		r.kernel[r.made.names["$"+name]] = r.made.bytes(o, nil)
	}
	return r
}

// step runs the contract at the place where the step's program is.
func (r *reference) step(i int, s corpus.Step, run *corpus.Run) {
	r.t.Helper()
	for object, set := range s.Set {
		o, at := run.Objects[object], r.made.names["$"+object]
		o.Set = set
		r.kernel[at] = r.made.bytes(o, r.kernel[at])
	}
	hook, ok := r.hooks[s.Program]
	if !ok {
		return // only the wrong program is there
	}
	r.now += uint64(s.Wait) + 1000
	for range max(1, s.Repeat) {
		in := contract.Invocation{Place: r.place(hook), Kernel: r.kernel, User: r.user, Inputs: map[string]contract.Datum{
			"now": {Num: r.now}, "now_boot": {Num: r.now + 3600e9},
			"current.tgid": {Num: 2000}, "current.tid": {Num: uint64(2000 + max(1, s.Thread))}, "kgent.pid": {},
		}}
		packet, err := hex.DecodeString(s.Packet)
		if err != nil {
			r.t.Fatal(err)
		}
		if s.Packet != "" {
			in.Inputs["packet"] = contract.Datum{Bytes: packet}
			r.kernel[4096] = r.made.bytes(corpus.Object{Struct: "__sk_buff", Set: map[string]any{"len": uint64(len(packet))}}, nil)
		}
		for _, a := range r.checked.Places[in.Place].Args {
			in.Args = append(in.Args, r.argument(a, s))
		}
		did, err := r.machine.Run(in)
		if err != nil {
			r.t.Fatalf("step %d: %v", i+1, err)
		}
		r.happened(did)
	}
}

func (r *reference) place(hook program.Hook) int {
	r.t.Helper()
	kind, target := hook.Place()
	at := slices.IndexFunc(r.checked.Places, func(p contract.CheckedPlace) bool {
		k, to := p.Where()
		return k == kind && to == target
	})
	if at < 0 {
		r.t.Fatalf("the contract says nothing of %s", hook)
	}
	return at
}

// argument is what the hook hands over.
func (r *reference) argument(a contract.CheckedArg, s corpus.Step) contract.Datum {
	r.t.Helper()
	switch {
	case s.Packet != "":
		return contract.Datum{Num: 4096}
	case s.Record == nil:
		return contract.Datum{Num: r.made.number(s.Args[a.Index])}
	}
	record := r.made.bytes(*s.Record, nil)
	wide := make([]byte, 8)
	copy(wide, record[a.Offset:a.Offset+a.Size])
	n := binary.NativeEndian.Uint64(wide)
	if a.DataLoc {
		at := n & 0xffff
		return contract.Datum{Bytes: record[at : at+n>>16]}
	}
	return contract.Datum{Num: n}
}

func (r *reference) happened(did []contract.Happening) {
	r.t.Helper()
	for _, h := range did {
		switch h.Verb {
		case contract.Emit:
			ev := map[string]string{}
			for i, m := range r.checked.Events[h.Index].Members {
				ev[m.Name] = write(*h.Fields[i], m.Type)
			}
			r.events = append(r.events, ev)
		case contract.Return:
			r.returns = append(r.returns, uint32(h.Value))
		}
	}
}

// write writes a value as the members of events are written.
func write(d contract.Datum, t contract.Type) string {
	switch {
	case t.Kind == contract.TextKind:
		return string(d.Bytes)
	case t.Kind == contract.IPKind:
		return netip.AddrFrom16([16]byte(d.Bytes)).String()
	case t.Order == contract.Network && t.Bits == 32:
		return netip.AddrFrom4([4]byte(binary.NativeEndian.AppendUint32(nil, uint32(d.Num)))).String()
	case t.Signed:
		return strconv.FormatInt(int64(d.Num), 10)
	}
	return strconv.FormatUint(d.Num, 10)
}

// rows are those of a table; rows of zeroes are none.
func (r *reference) rows(name string) (out []map[string]string) {
	r.t.Helper()
	index := slices.IndexFunc(r.checked.Tables, func(t contract.CheckedTable) bool { return t.Name == name })
	if index < 0 {
		r.t.Fatalf("the contract has no table %s", name)
	}
	for _, c := range r.machine.Table(index) {
		row := map[string]string{"key": "0"}
		for i, k := range r.checked.Tables[index].Key {
			row["key"] = write(c.Key[i], k.Type)
		}
		var slots []string
		for i, n := range c.Values[0] {
			if n != 0 {
				slots = append(slots, fmt.Sprintf("%d:%d", i, n))
			}
		}
		if slots == nil {
			continue
		}
		row["slot"], row["value"] = strings.Join(slots, " "), strconv.FormatUint(c.Values[0][0], 10)
		out = append(out, row)
	}
	return out
}

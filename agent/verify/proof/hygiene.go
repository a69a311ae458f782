package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// unbound is the binding of a program without a contract: all that it has.
func unbound(in Input) (*binding, error) {
	b := &binding{internal: map[string]bool{}, outputs: map[string]int{}, rings: map[string]int{}}
	for _, info := range in.Object.Maps() {
		switch {
		case info.Role == program.RoleEvents:
			b.rings[info.Name] = len(b.events)
			r, err := allOf(info.Name, info)
			if err != nil {
				return nil, err
			}
			b.events = append(b.events, r)
		case info.Role == program.RoleOutput:
			b.outputs[info.Name] = len(b.tables)
			t := tableBinding{name: info.Name, typ: info.Type}
			if info.Key != nil && info.Value != nil {
				t.key, t.value = members(info.Name, info.Key), members(info.Name, info.Value)
			}
			b.tables = append(b.tables, t)
		case info.Name != program.StatsMap && info.Name != program.RecordsMap:
			b.internal[info.Name] = true
		}
	}
	for _, p := range in.Manifest.Programs {
		kind, target := placeOf(p.Hook)
		b.places = append(b.places, placeBinding{strings.TrimSuffix(kind+"/"+target, "/"), nil, p.Name})
	}
	return b, nil
}

func allOf(name string, info program.MapInfo) (recordBinding, error) {
	if info.Value == nil {
		return recordBinding{}, fmt.Errorf("reading the type of the events in %s: there is none", name)
	}
	return members(name, info.Value), nil
}

// members binds every member of a type.
func members(name string, t btf.Type) recordBinding {
	r := recordBinding{name: name}
	m, ok := memberOf("", 0, t)
	if !ok {
		return r
	}
	r.size = m.size
	list, pads, _, isStruct := layout(t)
	if !isStruct {
		m.meaning = meaningOf(t)
		r.members = []member{m}
		return r
	}
	r.members, r.pads = list, pads
	return r
}

// hygiene checks what needs no contract, on every path of a place: also on those where
// a buffer or map is full.
func (d *induction) hygiene(ctx context.Context, v *visit, assume []smt.Term) error {
	for _, path := range v.paths {
		h := &hygienist{session: d.session, ctx: ctx, v: v, path: path, hyp: slices.Concat(path.Cond, assume), found: d.found, refused: d.refused}
		if err := h.check(); err != nil {
			return err
		}
	}
	return nil
}

type hygienist struct {
	*session
	ctx     context.Context
	v       *visit
	path    *aPath
	hyp     []smt.Term
	found   *findings
	refused func(refusal)
	// possible is whether inputs can take the path; asked once.
	possible *bool
}

func (h *hygienist) check() error {
	h.rule("crash", "the program does nothing that the kernel forbids", h.path.Crash == nil, func() string { return h.path.Crash.String() }, -1)
	if h.path.Crash != nil {
		return nil
	}
	if len(h.path.Unknown) > 0 && h.taken() {
		return fmt.Errorf("%s", h.path.Unknown[0])
	}
	h.reads()
	h.counts()
	for _, e := range h.path.Effects {
		if e.Map == nil {
			continue
		}
		if i, ok := h.bound.rings[e.Map.Name]; ok && e.Op == symbolic.Emit {
			h.record(e, "event "+e.Map.Name, e.Data, h.bound.events[i], nil)
			size := h.bound.events[i].size
			h.rule("size/"+e.Map.Name, fmt.Sprintf("events in %s have the size of their type, %d bytes", e.Map.Name, size), e.Data.Len() == size && e.Size == nil,
				func() string { return fmt.Sprintf("%d bytes", e.Data.Len()) }, e.Pc)
		}
		if h.bound.internal[e.Map.Name] && e.Data != nil && ofMany(e.Key) {
			h.atomic(e, tableBinding{name: e.Map.Name})
		}
		if i, ok := h.bound.outputs[e.Map.Name]; ok && e.Op != symbolic.Delete {
			t := h.bound.tables[i]
			h.record(e, "the key of "+e.Map.Name, e.Key, t.key, nil)
			if e.Data != nil {
				h.record(e, "a cell of "+e.Map.Name, e.Data, t.value, e.Old)
				h.atomic(e, t)
			}
		}
	}
	return nil
}

// taken tells whether inputs can take the path; if that is not known they can.
func (h *hygienist) taken() bool {
	if h.possible == nil {
		yes := h.ask(h.ctx, h.hyp...).Result != smt.Unsat
		h.possible = &yes
	}
	return *h.possible
}

// ruleID is the ID of an obligation that every program has: "xdp/always/crash".
func ruleID(p *placeBinding, rest string) string { return p.name + "/always/" + rest }

// rule notes an obligation that the form of the path decides.
func (h *hygienist) rule(id, words string, ok bool, got func() string, pc int) {
	id = ruleID(h.v.place, id)
	if ok || !h.taken() {
		h.found.note(id, words, Holds, byForm, "", 0)
		return
	}
	what := got()
	h.found.note(id, words, Fails, "", what, 0)
	a := h.ask(h.ctx, h.hyp...)
	if a.Result == smt.Sat {
		h.refused(refusal{&claim{id: id, words: words, holds: h.b.False(), pc: pc, rule: true, show: func(smt.Model) (string, string) { return "it to be so", what }}, a.Model, h.hyp})
	}
}

// record checks the members of an event, key or cell. old are the bytes before, for
// cells: what has not changed is not judged again.
func (h *hygienist) record(e *symbolic.Effect, what string, data *symbolic.Bytes, r recordBinding, old *symbolic.Bytes) {
	if data == nil || r.size == 0 || data.Len() < r.size {
		return
	}
	h.written(e, what, data, slices.Concat(r.members, r.more))
	for _, m := range slices.Concat(r.members, r.more) {
		if m.off+m.size > data.Len() || old != nil && old.Len() == data.Len() && sameBytes(old.Slice(m.off, m.size), data.Slice(m.off, m.size)) {
			continue
		}
		h.member(what, data, m)
	}
}

// written claims that all bytes were written: none is what was left on the stack, in a
// record of a ring buffer or in padding.
func (h *hygienist) written(e *symbolic.Effect, what string, data *symbolic.Bytes, members []member) {
	words := "every byte of " + what + " was written by the program"
	id := "written/" + what
	for i := range data.Len() {
		t := data.At(i, 1)
		var poison []smt.Term
		for _, v := range smt.Vars(t) {
			if in := symbolic.InputOf(v); in != nil && in.Kind == symbolic.Poison {
				poison = append(poison, v)
			}
		}
		if len(poison) == 0 {
			continue
		}
		if !h.matters(id, words, t, poison, byteIn(i, members), data.Wrote(i)) {
			return
		}
	}
	h.rule(id, words, true, nil, e.Pc)
}

// byteIn names a byte of a record, with the member that it is of.
func byteIn(i int, members []member) string {
	for _, m := range members {
		if m.name != "" && i >= m.off && i < m.off+m.size {
			return fmt.Sprintf("byte %d, of the member %s", i, m.name)
		}
	}
	return fmt.Sprintf("byte %d, which is of no member", i)
}

// matters asks whether a byte really depends on variables; it reports whether it does
// not.
func (h *hygienist) matters(id, words string, t smt.Term, of []smt.Term, which string, pc int) bool {
	by := map[smt.Term]smt.Term{}
	for _, v := range of {
		in := *symbolic.InputOf(v)
		by[v] = h.b.Var(v.Width(), &smt.Info{Name: "other " + v.Info().Name, Data: &in})
	}
	other := h.b.Substitute(t, by)
	began := time.Now()
	a := h.ask(h.ctx, append(slices.Clone(h.hyp), h.b.Ne(t, other))...)
	id = ruleID(h.v.place, id)
	switch a.Result {
	case smt.Unsat:
		return true
	case smt.Sat:
		got := which + ", was never written"
		h.found.note(id, words, Fails, "", got, time.Since(began))
		h.refused(refusal{&claim{id: id, words: words, holds: h.b.Eq(t, other), pc: pc, rule: true, show: func(smt.Model) (string, string) { return "a byte that was written", got }}, a.Model, h.hyp})
	default:
		h.found.note(id, words, Undecided, "", a.Why, time.Since(began))
	}
	return false
}

// member checks byte order, unit and addresses of one member.
func (h *hygienist) member(what string, data *symbolic.Bytes, m member) {
	name := what
	if m.name != "" {
		name += "." + m.name
	}
	h.order(name, data, m)
	h.unit(name, data, m)
	h.address(name, data, m)
}

// order checks that a network value lies in its member as the member's type says.
func (h *hygienist) order(name string, data *symbolic.Bytes, m member) {
	if m.text || m.size > 8 || m.size < 2 {
		return
	}
	network := m.meaning == "ipv4" || strings.HasPrefix(m.meaning, "be")
	got, of := orderOf(data, m.off, m.size)
	words := fmt.Sprintf("%s is in the byte order that its type says", name)
	ok := got == noNetwork || network && got == asRead || !network && got == swapped
	h.rule("order/"+name, words, ok, func() string {
		in := symbolic.InputOf(of)
		if network {
			return fmt.Sprintf("%s, of network order, was turned round, and its type says network order", in.Name)
		}
		return fmt.Sprintf("%s, of network order, as it is; convert it with bpf_ntohs or bpf_ntohl", in.Name)
	}, data.Wrote(m.off))
}

// unit checks durations: what was measured in ns is shown in that unit.
func (h *hygienist) unit(name string, data *symbolic.Bytes, m member) {
	if !slices.Contains(units, m.meaning) || m.size != 8 {
		return
	}
	got := unitOf(data.At(m.off, m.size), 0)
	words := fmt.Sprintf("%s is in the unit that its type says, %s", name, m.meaning)
	h.rule("unit/"+name, words, got == "" || got == m.meaning, func() string { return "a number of " + got }, data.Wrote(m.off))
}

// address checks that no kernel address is shown, except where the type says that one is.
func (h *hygienist) address(name string, data *symbolic.Bytes, m member) {
	switch m.meaning {
	case "addr", "hex", "kstack", "ustack":
		return
	}
	var of smt.Term
	for i := 0; i < m.size; i += 8 {
		n := min(8, m.size-i)
		carried(data.At(m.off+i, n), func(v smt.Term) {
			in := symbolic.InputOf(v)
			if in != nil && in.Kind == symbolic.Pointer && in.Space == symbolic.KernelSpace {
				of = v
			}
		})
	}
	words := fmt.Sprintf("%s shows no address of the kernel", name)
	h.rule("address/"+name, words, of == nil, func() string { return "the address " + symbolic.InputOf(of).Name }, data.Wrote(m.off))
}

// ofMany tells whether a key is of what several threads are at a time: a process, a user, a
// name. What hangs from one thread, CPU or object of the kernel is changed by one at a time,
// mostly.
func ofMany(key *symbolic.Bytes) bool {
	if key == nil {
		return false
	}
	any := false
	for i := range key.Len() {
		for _, v := range smt.Vars(key.At(i, 1)) {
			in := symbolic.InputOf(v)
			if in == nil {
				return false
			}
			name, _, _ := strings.Cut(in.Name, "[") // of bytes
			if !slices.Contains([]string{"current.tgid", "current.uid", "current.gid", "current.comm", "current.cgroup"}, name) {
				return false
			}
			any = true
		}
	}
	return any
}

// atomic checks that CPUs do not overwrite each other's changes of a shared cell.
func (h *hygienist) atomic(e *symbolic.Effect, t tableBinding) {
	if isPerCPU(e.Map) {
		return
	}
	if e.Op == symbolic.Update {
		h.created(e, t)
	}
	reads := false
	if e.Old != nil {
		old := map[smt.Term]bool{}
		for i := range e.Old.Len() {
			for _, v := range smt.Vars(e.Old.At(i, 1)) {
				old[v] = true
			}
		}
		for i := range e.Data.Len() {
			if e.Data.At(i, 1) == e.Old.At(i, 1) {
				continue
			}
			carried(e.Data.At(i, 1), func(v smt.Term) { reads = reads || old[v] })
		}
	}
	reads = h.readsBack(e.Pc, reads)
	words := fmt.Sprintf("cells of %s, which all CPUs share, are changed by atomic instructions", t.name)
	h.rule("atomic/"+t.name, words, e.Atomic && e.Op == symbolic.Write || !reads, func() string {
		return "a cell is read, changed and written back; make the map per-CPU, or use __sync_fetch_and_add"
	}, e.Pc)
}

// created checks that a cell that another CPU has made meanwhile is not overwritten: an
// aggregate begins with BPF_NOEXIST.
func (h *hygienist) created(e *symbolic.Effect, t tableBinding) {
	if h.checked == nil {
		return
	}
	at, ok := h.bound.outputs[e.Map.Name]
	if !ok || !slices.ContainsFunc(h.checked.Tables[at].Table.Values, func(v contract.TableValue) bool { return v.Agg != contract.Last }) {
		return
	}
	flags, known := uint64(0), false
	if e.Flags != nil {
		flags, known = e.Flags.Const()
	}
	words := fmt.Sprintf("cells of %s, which all CPUs share, are made only where there is none", t.name)
	h.rule("atomic/new "+t.name, words, known && flags == 1, func() string {
		return "a cell is made by bpf_map_update_elem without BPF_NOEXIST, over what another CPU may just have counted; use k_cell, or make the map per-CPU"
	}, e.Pc)
}

// readsBack tells whether an instruction stores what it has read from the same cell. Where cells
// have known values that does not show; then it is as it was where they had not.
func (h *hygienist) readsBack(pc int, reads bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := fmt.Sprintf("%s@%d", h.v.place.name, pc)
	if reads {
		h.shared[at] = true
	}
	return h.shared[at]
}

// reads checks that memory is read by the helper for its space.
func (h *hygienist) reads() {
	words := "memory of processes and of the kernel is read by the helpers that are for it"
	for _, r := range h.path.Reads {
		in := baseOf(r.Addr)
		if in == nil || in.Space == symbolic.AnySpace || r.Space == symbolic.AnySpace || in.Space == r.Space {
			continue
		}
		h.rule("space", words, false, func() string { return fmt.Sprintf("%s reads %s, which is %s memory", r.Helper, in.Name, in.Space) }, r.Pc)
		return
	}
	if len(h.path.Reads) > 0 {
		h.rule("space", words, true, nil, -1)
	}
}

// baseOf describes the pointer that an address is made of: itself, or what a constant was
// added to.
func baseOf(addr smt.Term) *symbolic.Input {
	if addr.Op() == smt.OpAdd {
		if _, ok := addr.Args()[len(addr.Args())-1].Const(); ok && len(addr.Args()) == 2 {
			addr = addr.Args()[0]
		}
	}
	in := symbolic.InputOf(addr)
	if in == nil || in.Kind != symbolic.Pointer {
		return nil
	}
	return in
}

package codegen

import (
	"fmt"
	"strings"

	"kgent/agent/contract"
)

// cellRef is a cell of a memory that has been looked up: the variable with its address (nil if it is
// not known) and the one with its key.
type cellRef struct{ cell, key string }

// cell asks for a memory's cell: whether it is known, or one of its fields.
func (b *block) cell(v *contract.Value) (expr, error) {
	ref, err := b.find(v.Index, v.Args)
	if err != nil {
		return expr{}, err
	}
	if v.Op == contract.OpKnown {
		return expr{text: ref.cell, kind: truth}, nil
	}
	m := b.f.g.memories[v.Index]
	e := expr{text: ref.cell + "->" + m.fields[v.Field].name}
	switch v.Type.Kind {
	case contract.Int:
		e.bits, e.signed = v.Type.Bits, v.Type.Signed
	case contract.Pointer:
		if v.Type.Struct == "" { // kept as a number
			e.bits = 64
			return expr{text: cast("const void *", e), prec: prefix, kind: pointer}, nil
		}
		return pointTo(expr{text: e.text, bits: 64}, v.Type.Struct), nil
	case contract.Bool:
		e.kind = truth
	}
	return e, nil
}

// find looks a cell up, unless that has been done.
func (b *block) find(memory int, key []*contract.Value) (*cellRef, error) {
	id := b.f.cellID(memory, key)
	for at := b; at != nil; at = at.outer {
		if ref := at.cells[id]; ref != nil && ref.cell != "" {
			return ref, nil
		}
	}
	m := b.f.g.memories[memory]
	name, err := b.key(memory, key)
	if err != nil {
		return nil, err
	}
	ref := &cellRef{b.f.names.pick(m.one), name}
	b.line("struct %s *%s = bpf_map_lookup_elem(&%s, &%s);", m.cell.tag, ref.cell, m.mapName, name)
	b.cells[id] = ref
	return ref, nil
}

func (f *function) cellID(memory int, key []*contract.Value) string {
	id := fmt.Sprint(memory)
	for _, k := range key {
		if k.ID == 0 {
			return fmt.Sprintf("%s %p", id, k)
		}
		id += fmt.Sprint(" ", k.ID)
	}
	return id
}

// key puts the key of a memory's cell into a variable, unless there is one.
func (b *block) key(memory int, key []*contract.Value) (string, error) {
	id := b.f.cellID(memory, key)
	for at := b; at != nil; at = at.outer {
		if ref := at.cells[id]; ref != nil {
			return ref.key, nil
		}
	}
	m := b.f.g.memories[memory]
	name, err := b.fillKey(m.key, m.keyRecord, key, m.one+"_key")
	if err != nil {
		return "", err
	}
	b.cells[id] = &cellRef{"", name}
	return name, nil
}

// fillKey puts a key into a variable: a struct, or its only member.
func (b *block) fillKey(members []member, rec *record, key []*contract.Value, name string) (string, error) {
	if rec == nil {
		m := members[0]
		if isBytes(m.typ) {
			name = b.f.names.pick(name)
			b.line("%s = {};", typed(m, name))
			return name, b.fill(name, m.typ.InMemory(), key[0])
		}
		e, err := b.value(key[0])
		if err != nil {
			return "", err
		}
		if e.kind == number && int(e.bits) == 8*m.typ.InMemory() && b.f.names.used[e.text] {
			return e.text, nil // a variable as it should be
		}
		name = b.f.names.pick(name)
		b.line("%s = %s;", typed(m, name), e.stored(m.typ))
		return name, nil
	}
	if b.f.stack += rec.size; b.f.stack > maxStack {
		return "", b.f.unsupported(key[0], fmt.Sprintf("keys and texts of more than %d bytes at one place", maxStack))
	}
	name = b.f.names.pick(name)
	b.line("struct %s %s = {};", rec.tag, name)
	return name, b.set(name+".", members, key)
}

// typed declares a variable of a member's type.
func typed(m member, name string) string {
	return strings.Replace(m.decl, " "+m.name, " "+name, 1)
}

func isBytes(t contract.Type) bool {
	switch t.Kind {
	case contract.TextKind, contract.IPKind, contract.Bytes, contract.ArgsKind:
		return true
	}
	return false
}

// stored writes an expression as it goes into a member: the low bits of a number are kept by C.
func (e expr) stored(t contract.Type) string {
	if e.kind == pointer {
		return cast("__u64", e)
	}
	return e.text
}

// set fills members. Values that are nil are left as they are.
func (b *block) set(to string, members []member, values []*contract.Value) error {
	for i, v := range values {
		if v == nil {
			continue
		}
		m := members[i]
		if isBytes(m.typ) {
			if err := b.fill(to+m.name, m.typ.InMemory(), v); err != nil {
				return err
			}
			continue
		}
		e, err := b.value(v)
		if err != nil {
			return err
		}
		b.line("%s%s = %s;", to, m.name, e.stored(m.typ))
	}
	return nil
}

// emit writes an event.
func (b *block) emit(e *contract.CheckedEffect) error {
	ev := b.f.g.events[e.Index]
	name := b.f.names.pick("ev")
	b.line("struct %s *%s = bpf_ringbuf_reserve(&%s, sizeof(*%s), 0);", ev.rec.tag, name, ev.mapName, name)
	b.line("if (%s) {", name)
	inner := b.inner()
	inner.shown = true
	if ev.rec.size > 1024 {
		inner.line("k_zero(%s, sizeof(*%s));", name, name)
	} else {
		inner.line("__builtin_memset(%s, 0, sizeof(*%s));", name, name)
	}
	if err := inner.set(name+"->", ev.rec.members, e.Fields); err != nil {
		return err
	}
	inner.line("bpf_ringbuf_submit(%s, 0);", name)
	b.f.emits = true
	b.nest(inner)
	b.line("}")
	return nil
}

// add adds a sample to a table.
func (b *block) add(e *contract.CheckedEffect) error {
	t := b.f.g.tables[e.Index]
	var cell string
	inner := b.inner()
	if t.least {
		var err error
		if cell, err = b.addLeast(t, e); err != nil {
			return err
		}
	} else if len(t.key) == 0 {
		key := b.f.names.pick("zero")
		b.line("__u32 %s = 0;", key)
		cell = b.f.names.pick(t.one)
		b.line("%s = bpf_map_lookup_elem(&%s, &%s);", spaced(t.cellType+" *", cell), t.mapName, key)
	} else {
		key, err := b.fillKey(t.key, t.keyRecord, e.Key, t.one+"_key")
		if err != nil {
			return err
		}
		cell = b.f.names.pick(t.one)
		b.line("%s = k_cell(&%s, &%s, %s);", spaced(t.cellType+" *", cell), t.mapName, key, t.cellType)
	}
	for i, v := range e.Fields {
		if v == nil {
			continue
		}
		if err := inner.sample(t, i, cell, v); err != nil {
			return err
		}
	}
	b.line("if (%s) {", cell)
	b.nest(inner)
	b.line("}")
	return nil
}

// addressOf is where something is: of what a pointer leads to, that.
func addressOf(at string) string {
	if p, ok := strings.CutPrefix(at, "(*"); ok {
		return strings.TrimSuffix(p, ")")
	}
	return "&" + at
}

// addLeast finds the cell of a key in a table that keeps the least of something. A new one begins with this
// sample: zero would be less than all others. Nothing is found, and nothing left to do, if it was new.
func (b *block) addLeast(t *table, e *contract.CheckedEffect) (string, error) {
	key := b.f.names.pick(t.one + "_key")
	if len(t.key) == 0 {
		b.line("__u32 %s = 0;", key)
	} else {
		var err error
		if key, err = b.fillKey(t.key, t.keyRecord, e.Key, key); err != nil {
			return "", err
		}
	}
	cell, first := b.f.names.pick(t.one), b.f.names.pick("first")
	b.line("%s = {};", spaced(t.cellType, first))
	for i, v := range e.Fields {
		if v == nil {
			return "", &Unsupported{e.At, "adding to a table that keeps the least of something without giving all members"}
		}
		x, err := b.value(v)
		if err != nil {
			return "", err
		}
		to := first
		if t.valueRecord {
			to += "." + t.values[i]
		}
		switch t.of.Table.Values[i].Agg {
		case contract.Log2, contract.Linear:
			return "", &Unsupported{t.of.At, "a histogram beside the least of something in one table"}
		}
		b.line("%s = %s;", to, x.text)
	}
	b.line("%s = bpf_map_lookup_elem(&%s, &%s);", spaced(t.cellType+" *", cell), t.mapName, key)
	b.line("if (!%s && bpf_map_update_elem(&%s, &%s, &%s, 1 /* BPF_NOEXIST */))", cell, t.mapName, key, first)
	b.line("\t%s = bpf_map_lookup_elem(&%s, &%s); /* another CPU was faster */", cell, t.mapName, key)
	return cell, nil
}

// sample adds one value to one member of a cell.
func (b *block) sample(t *table, i int, cell string, v *contract.Value) error {
	of := t.of.Table.Values[i]
	x, err := b.value(v)
	if err != nil {
		return err
	}
	at := "(*" + cell + ")"
	if t.valueRecord {
		at = cell + "->" + t.values[i]
	}
	switch of.Agg {
	case contract.Count, contract.Sum:
		switch {
		case !t.perCPU:
			b.line("__sync_fetch_and_add(&%s, %s);", at, x.text)
		case v.Op == contract.OpConst && v.Bits == 1:
			b.line("%s++;", at)
		default:
			b.line("%s += %s;", at, x.text)
		}
	case contract.Stats:
		b.line("k_stats_add(%s, %s);", addressOf(at), x.u64().text)
	case contract.Log2:
		b.line("k_hist_add(%s, %s);", addressOf(at), b.opaque(v, x).text)
	case contract.Linear:
		slot := b.f.names.pick("slot")
		b.line("__u64 %s = %s / %dULL;", slot, b.opaque(v, x).firmU64().in(product), of.Step)
		b.line("if (%s > %d)", slot, of.Slots-1)
		b.line("\t%s = %d;", slot, of.Slots-1)
		if t.valueRecord {
			at += "[" + slot + "]"
		} else {
			at = "(*" + cell + ")[" + slot + "]"
		}
		if t.perCPU {
			b.line("%s++;", at)
		} else {
			b.line("__sync_fetch_and_add(&%s, 1);", at)
		}
	case contract.Last:
		if len(t.values) == 1 {
			b.line("%s = %s;", at, x.text)
			break
		}
		if t.of.Values[i].Type.InMemory() < 4 {
			return &Unsupported{of.At, "the last of numbers of less than 32 bits, beside others that all CPUs share"}
		}
		b.line("__sync_lock_test_and_set(&%s, %s);", at, x.text) // as atomic as the others
	case contract.Max:
		b.line("%s(&%s, %s);", b.f.g.use("keep_most"), at, x.text)
	case contract.Min:
		b.line("%s(&%s, %s);", b.f.g.use("keep_least"), at, x.text)
	default:
		return &Unsupported{of.At, fmt.Sprintf("the %s of a table", of.Agg)}
	}
	return nil
}

// opaque hides how a number came about where clang might conclude from it that it is small, and leave out a test
// of an index that the kernel's verifier wants to see.
func (b *block) opaque(v *contract.Value, x expr) expr {
	switch v.Op {
	case contract.OpUMod, contract.OpSMod, contract.OpUDiv, contract.OpSDiv, contract.OpAnd, contract.OpUShr, contract.OpCond, contract.OpCut, contract.OpConst:
	default:
		return x.u64()
	}
	name := b.f.names.pick("sample")
	b.line("__u64 %s = %s;", name, x.text)
	b.line("barrier_var(%s); /* any number, as far as clang knows: it must not leave out what bounds the slot */", name)
	return expr{text: name, bits: 64}
}

// changes writes what a case does to memories. Everything is computed before anything changes.
func (b *block) changes(list []contract.CheckedEffect) error {
	var do []string
	several, of := 0, map[int]int{}
	for i := range list {
		switch list[i].Verb {
		case contract.Remember, contract.Change, contract.Forget:
			several++
			of[list[i].Index]++
		}
	}
	for i := range list {
		e := &list[i]
		switch e.Verb {
		case contract.Remember:
			m := b.f.g.memories[e.Index]
			key, err := b.key(e.Index, e.Key)
			if err != nil {
				return err
			}
			if b.f.stack += m.cell.size; b.f.stack > maxStack {
				return &Unsupported{e.At, fmt.Sprintf("remembering more than %d bytes at one place, with the texts that are looked at", maxStack)}
			}
			name := b.f.names.pick("new_" + m.one)
			b.line("struct %s %s = {};", m.cell.tag, name)
			if len(m.fields) == 0 {
				b.line("%s.known = 1;", name)
			}
			if err := b.set(name+".", m.fields, e.Fields); err != nil {
				return err
			}
			do = append(do, fmt.Sprintf("k_put(&%s, &%s, &%s);", m.mapName, key, name))
		case contract.Change:
			if of[e.Index] > 1 {
				return &Unsupported{e.At, "a change of a memory's cell beside other changes of that memory in one case"}
			}
			lines, err := b.change(e, several > 1)
			if err != nil {
				return err
			}
			do = append(do, lines...)
		case contract.Forget:
			key, err := b.key(e.Index, e.Key)
			if err != nil {
				return err
			}
			do = append(do, fmt.Sprintf("bpf_map_delete_elem(&%s, &%s);", b.f.g.memories[e.Index].mapName, key))
		}
	}
	for _, l := range do {
		b.line("%s", l)
	}
	return nil
}

// change sets fields of a known cell, in place. The values are computed first; beside changes of other memories, before
// those are made.
func (b *block) change(e *contract.CheckedEffect, several bool) ([]string, error) {
	m := b.f.g.memories[e.Index]
	ref, err := b.find(e.Index, e.Key)
	if err != nil {
		return nil, err
	}
	inner := b.inner()
	if several {
		inner = b
	}
	values := 0
	for _, v := range e.Fields {
		if v != nil {
			values++
		}
	}
	var do []string
	for i, v := range e.Fields {
		if v == nil {
			continue
		}
		f := m.fields[i]
		to := ref.cell + "->" + f.name
		if isBytes(f.typ) {
			if b.f.stack += f.typ.InMemory(); b.f.stack > maxStack {
				return nil, &Unsupported{v.At, fmt.Sprintf("texts of more than %d bytes at one place", maxStack)}
			}
			name := b.f.names.pick("new_" + f.name)
			inner.line("%s = {};", typed(f, name))
			if err := inner.fill(name, f.typ.InMemory(), v); err != nil {
				return nil, err
			}
			do = append(do, fmt.Sprintf("__builtin_memcpy(&%s, &%s, sizeof(%s));", to, name, name))
			continue
		}
		x, err := inner.value(v)
		if err != nil {
			return nil, err
		}
		if (values > 1 || several) && readsCells(v) {
			name := b.f.names.pick("new_" + f.name)
			inner.line("%s = %s;", typed(f, name), x.stored(f.typ))
			x = expr{text: name}
		}
		do = append(do, fmt.Sprintf("%s = %s;", to, x.stored(f.typ)))
	}
	out := []string{fmt.Sprintf("if (%s) {", ref.cell)}
	if !several {
		do = append(inner.lines, do...)
	}
	for _, l := range do {
		out = append(out, "\t"+l)
	}
	return append(out, "}"), nil
}

// readsCells tells whether a value depends on what is remembered.
func readsCells(v *contract.Value) bool {
	if v.Op == contract.OpKnown || v.Op == contract.OpCell {
		return true
	}
	for _, a := range v.Args {
		if readsCells(a) {
			return true
		}
	}
	return false
}

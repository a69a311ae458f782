package codegen

import (
	"fmt"
	"strings"

	"kgent/agent/contract"
)

// buffer is a text, address or block of bytes in the program's memory.
type buffer struct {
	text string // an array, or a k_ip
	size int
	// parameter says that it is a parameter, which is read as volatile.
	parameter bool
}

// maxStack is how many bytes of buffers a function may have: the kernel allows 512 for all that is
// on the stack.
const maxStack = 384

// anyText is how much is kept of a text of any length that is compared.
const anyText = 32

// bytesOf gives a text, address or bytes a place in memory.
func (b *block) bytesOf(v *contract.Value) (buffer, error) {
	switch v.Op {
	case contract.OpParam:
		return buffer{v.Name, v.Type.InMemory(), true}, nil
	case contract.OpCell:
		e, err := b.cell(v)
		return buffer{e.text, v.Type.InMemory(), false}, err
	}
	key := fmt.Sprint(v.ID)
	for at := b; at != nil && v.ID != 0; at = at.outer {
		if have, ok := at.texts[key]; ok {
			return have, nil
		}
	}
	size := v.Type.InMemory()
	if size == 0 {
		size = anyText
	}
	name := b.f.names.pick(nameFor(v))
	switch {
	case v.Type.Kind == contract.IPKind:
		b.f.stack += size
		b.line("k_ip %s = {};", name)
	case b.f.stack+size > maxStack:
		var err error
		if name, err = b.long(v, name, size); err != nil {
			return buffer{}, err
		}
	default:
		b.f.stack += size
		b.line("char %s[%d] = {};", name, size)
	}
	if err := b.fill(name, size, v); err != nil {
		return buffer{}, err
	}
	out := buffer{text: name, size: size}
	if v.ID != 0 {
		b.texts[key] = out
	}
	return out, nil
}

// known returns the buffer that has a value already.
func (b *block) known(v *contract.Value) (buffer, bool) {
	key := fmt.Sprint(v.ID)
	for at := b; at != nil && v.ID != 0; at = at.outer {
		if have, ok := at.texts[key]; ok {
			return have, true
		}
	}
	return buffer{}, false
}

// fill writes a text, address or bytes into zeroed memory of some size.
func (b *block) fill(to string, size int, v *contract.Value) error {
	if have, ok := b.known(v); ok {
		b.copy(to, size, have, v)
		return nil
	}
	switch v.Op {
	case contract.OpParam, contract.OpCell:
		have, err := b.bytesOf(v)
		if err == nil {
			b.copy(to, size, have, v)
		}
		return err
	case contract.OpCond:
		return b.fillEither(to, size, v)
	}
	switch v.Type.Kind {
	case contract.TextKind:
		return b.fillText(to, size, v)
	case contract.IPKind:
		return b.fillAddress(to, v)
	case contract.ArgsKind:
		return b.fillArgs(to, v)
	}
	return b.fillBytes(to, size, v)
}

func (b *block) fillEither(to string, size int, v *contract.Value) error {
	c, err := b.value(v.Args[0])
	if err != nil {
		return err
	}
	then, other := b.inner(), b.inner()
	if err := then.fill(to, size, v.Args[1]); err != nil {
		return err
	}
	if err := other.fill(to, size, v.Args[2]); err != nil {
		return err
	}
	switch {
	case len(then.lines) == 0 && len(other.lines) == 0:
	case len(then.lines) == 0:
		b.line("if (%s) {", c.not().text)
		b.nest(other)
		b.line("}")
	default:
		b.line("if (%s) {", c.text)
		b.nest(then)
		if len(other.lines) > 0 {
			b.line("} else {")
			b.nest(other)
		}
		b.line("}")
	}
	return nil
}

// copy writes what another buffer has: a text that may be longer is cut to leave room for the NUL.
func (b *block) copy(to string, size int, from buffer, v *contract.Value) {
	n := from.size
	if v.Type.Kind == contract.TextKind && n > size {
		n = size - 1
	}
	at, source := to, from.text
	if v.Type.Kind == contract.IPKind {
		at, source, n = "&"+to, "&"+from.text, 16
	}
	if from.parameter {
		b.line("%s(%s, %s, %d);", b.f.g.use("copy_parameter"), at, source, n)
		return
	}
	b.line("__builtin_memcpy(%s, %s, %d);", at, source, n)
}

func (b *block) fillText(to string, size int, v *contract.Value) error {
	n := size
	if have := int(v.Type.Size); have > 0 {
		n = min(n, have)
	}
	switch v.Op {
	case contract.OpText:
		text := v.Text[:min(len(v.Text), size-1)]
		if text != "" {
			b.line("__builtin_memcpy(%s, %s, %d);", to, quote(text), len(text))
		}
		return nil
	case contract.OpInput:
		if v.Name == "current.comm" {
			b.line("bpf_get_current_comm(%s, %d);", to, min(size, 16))
			return nil
		}
	case contract.OpLoad:
		return b.loadText(to, size, v)
	case contract.OpUserText, contract.OpKernelText:
		at, err := b.value(v.Args[0])
		if err != nil {
			return err
		}
		where := "user"
		if v.Op == contract.OpKernelText {
			where = "kernel"
		}
		b.line("bpf_probe_read_%s_str(%s, %d, %s);", where, to, n, at.address())
		return nil
	case contract.OpArg:
		b.line("bpf_probe_read_kernel_str(%s, %d, %s);", to, n, b.f.args[v.Index].text)
		return nil
	case contract.OpRead:
		return b.readText(to, size, v)
	case contract.OpUntil:
		if err := b.fill(to, size, v.Args[0]); err != nil {
			return err
		}
		b.line("%s(%s, %d);", b.f.g.textEnds(v.Text), to, size)
		return nil
	}
	return b.f.unsupported(v, "this text")
}

// loadText reads a text that is a member.
func (b *block) loadText(to string, size int, v *contract.Value) error {
	base, err := b.value(v.Args[0])
	if err != nil {
		return err
	}
	if size <= int(v.Size) && len(base.chain) > 0 && len(base.chain) < 6 && base.object == v.Struct {
		b.line("BPF_CORE_READ_STR_INTO(&%s, %s, %s);", to, strings.Join(base.chain, ", "), v.Path)
		return nil
	}
	base = b.named(pointTo(base.read(), v.Struct))
	b.line("bpf_core_read_str(%s, %d, &%s->%s);", to, min(size, int(v.Size)), base.in(primary), v.Path)
	return nil
}

func (b *block) fillAddress(to string, v *contract.Value) error {
	switch v.Op {
	case contract.OpText:
		if strings.Trim(v.Text, "\x00") == "" {
			return nil
		}
		var list []string
		for i := range 16 {
			list = append(list, fmt.Sprintf("%#02x", v.Text[i]))
		}
		b.line("%s = (k_ip){ { %s } };", to, strings.Join(list, ", "))
		return nil
	case contract.OpIP4:
		x, err := b.value(v.Args[0])
		if err != nil {
			return err
		}
		b.line("k_ip_from_v4(&%s, %s);", to, x.text)
		return nil
	case contract.OpIP6:
		if f := v.Args[0]; f.Op == contract.OpMember && len(f.Args) == 1 {
			base, err := b.value(f.Args[0])
			if err != nil {
				return err
			}
			base = b.named(pointTo(base.read(), f.Struct))
			b.line("bpf_core_read(&%s, 16, &%s->%s);", to, base.in(primary), f.Path)
			return nil
		}
		x, err := b.value(v.Args[0])
		if err != nil {
			return err
		}
		where := "kernel"
		if v.Args[0].Type.User {
			where = "user"
		}
		b.line("bpf_probe_read_%s(&%s, 16, %s);", where, to, x.address())
		return nil
	case contract.OpRead:
		return b.readAddress(to, v)
	}
	return b.f.unsupported(v, "this address")
}

func (b *block) fillBytes(to string, size int, v *contract.Value) error {
	switch v.Op {
	case contract.OpLoad, contract.OpMember:
		base, err := b.value(v.Args[0])
		if err != nil {
			return err
		}
		base = b.named(pointTo(base.read(), v.Struct))
		b.line("bpf_core_read(%s, %d, &%s->%s);", to, size, base.in(primary), v.Path)
		return nil
	case contract.OpArg:
		b.line("bpf_probe_read_kernel(%s, %d, %s);", to, size, b.f.args[v.Index].text)
		return nil
	}
	return b.f.unsupported(v, "these bytes")
}

// fillArgs reads the arguments of a program: as many bytes as fit, and one more than fits as
// their number if they are more.
func (b *block) fillArgs(to string, v *contract.Value) error {
	if v.Op != contract.OpUserArgs {
		return b.f.unsupported(v, "this list of arguments")
	}
	start, err := b.value(v.Args[0])
	if err != nil {
		return err
	}
	end, err := b.value(v.Args[1])
	if err != nil {
		return err
	}
	from, length := b.f.names.pick("start"), b.f.names.pick("length")
	b.line("__u64 %s = %s;", from, start.as(64, false).text)
	b.line("__u64 %s = %s - %s;", length, end.as(64, false).in(sum), from)
	b.line("if (%s > sizeof(%s.s)) {", length, to)
	b.line("\t%s.len = sizeof(%s.s) + 1; /* says that it is cut short */", to, to)
	b.line("\t%s = sizeof(%s.s);", length, to)
	b.line("} else {")
	b.line("\t%s.len = %s;", to, length)
	b.line("}")
	b.line("bpf_probe_read_user(%s.s, %s, (const void *)%s);", to, length, from)
	return nil
}

// equalBytes compares texts, addresses and bytes.
func (b *block) equalBytes(v *contract.Value) (expr, error) {
	x, y := v.Args[0], v.Args[1]
	if x.Op == contract.OpText {
		x, y = y, x
	}
	one, err := b.bytesOf(x)
	if err != nil {
		return expr{}, err
	}
	out := expr{kind: truth}
	switch {
	case x.Type.Kind == contract.IPKind && y.Op == contract.OpText && strings.Trim(y.Text, "\x00") == "":
		out.text = fmt.Sprintf("k_ip_any(&%s)", one.text)
		return out, nil
	case y.Op == contract.OpText && y.Text == "":
		out.text, out.prec = "!"+one.text+"[0]", prefix
		return out, nil
	case y.Op == contract.OpText && x.Type.Kind == contract.TextKind:
		out.text = fmt.Sprintf("%s(%s)", b.f.g.textIs(y.Text, one.size, true), one.text)
		return out, nil
	}
	two, err := b.bytesOf(y)
	if err != nil {
		return expr{}, err
	}
	if two.parameter {
		one, two = two, one
	}
	switch {
	case x.Type.Kind == contract.IPKind:
		out.text = fmt.Sprintf("k_ip_eq(&%s, &%s)", one.text, two.text)
		if two.parameter {
			out.text = fmt.Sprintf("k_ip_eq(&%s, (const k_ip *)&%s)", one.text, two.text)
		}
	case x.Type.Kind == contract.Bytes:
		out.text = fmt.Sprintf("%s(%s, %s, %d)", b.f.g.use("same_bytes"), one.text, two.text, one.size)
	case one.size == 16 && two.size == 16 && !two.parameter:
		out.text = fmt.Sprintf("k_comm_eq(%s, %s)", one.text, two.text)
	default:
		out.text = fmt.Sprintf("%s(%s, %d, %s, %d)", b.f.g.use("same_text"), one.text, one.size, two.text, two.size)
	}
	return out, nil
}

// within tells whether an address is one of a network.
func (b *block) within(v *contract.Value) (expr, error) {
	x, err := b.bytesOf(v.Args[0])
	if err != nil {
		return expr{}, err
	}
	return expr{kind: truth, text: fmt.Sprintf("%s(&%s)", b.f.g.isWithin(v.Text, int(v.Bits)), x.text)}, nil
}

// starts tells whether one text begins with another.
func (b *block) starts(v *contract.Value) (expr, error) {
	text, err := b.bytesOf(v.Args[0])
	if err != nil {
		return expr{}, err
	}
	out := expr{kind: truth}
	if p := v.Args[1]; p.Op == contract.OpText {
		if p.Text == "" {
			out.text = "true"
			return out, nil
		}
		out.text = fmt.Sprintf("%s(%s)", b.f.g.textIs(p.Text, text.size, false), text.text)
		return out, nil
	}
	prefix, err := b.bytesOf(v.Args[1])
	if err != nil {
		return expr{}, err
	}
	if prefix.size == 128 && text.size >= 128 && !text.parameter {
		out.text = fmt.Sprintf("k_has_prefix(%s, %s)", prefix.text, text.text)
		return out, nil
	}
	out.text = fmt.Sprintf("%s(%s, %d, %s, %d)", b.f.g.use("begins_with"), text.text, text.size, prefix.text, prefix.size)
	return out, nil
}

// quote writes a text as C does.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(text) {
		b.WriteString(escape(text[i], '"'))
	}
	return b.String() + `"`
}

func escape(c, end byte) string {
	switch {
	case c == end || c == '\\' || c == '?':
		return `\` + string(c)
	case c < ' ' || c > '~':
		return fmt.Sprintf(`\%03o`, c)
	}
	return string(c)
}

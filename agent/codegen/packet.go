package codegen

import (
	"fmt"

	"kgent/agent/contract"
)

// read reads a number from a block, or the length of a packet.
func (b *block) read(v *contract.Value) (expr, error) {
	of := v.Args[0]
	if v.Op == contract.OpLen {
		if of.Op != contract.OpInput {
			return expr{}, b.f.unsupported(v, "the length of a block that a process owns")
		}
		return expr{text: b.f.length, bits: 32}, nil
	}
	if v.Type.Kind != contract.Int {
		return expr{}, b.f.unsupported(v, "this use of a text in a block")
	}
	name := b.f.names.pick(nameFor(v))
	e := expr{text: name, bits: v.Type.Bits}
	typ := numberType(v.Type.Bits, false)
	if v.Type.Order == contract.Network {
		typ = fmt.Sprintf("__be%d", v.Type.Bits)
	}
	size := int(v.Type.Bits) / 8
	if of.Op == contract.OpInput {
		at, err := b.value(v.Args[1])
		if err != nil {
			return expr{}, err
		}
		b.line("%s %s = 0;", typ, name)
		b.fromPacket("&"+name, v.Args[1], at, size)
		b.memo[v.ID] = e
		return e, nil
	}
	block, at, err := b.userBlock(v)
	if err != nil {
		return expr{}, err
	}
	b.line("%s %s;", typ, name)
	b.line("__builtin_memcpy(&%s, %s + %d, %d);", name, block, at, size)
	b.memo[v.ID] = e
	return e, nil
}

// packet puts into variables where the packet is and how long.
func (b *block) packet() {
	b.f.context = true
	b.f.length = b.f.names.pick("length")
	if b.f.place.Kind != "xdp" {
		b.line("__u32 %s = ctx->len;", b.f.length)
		return
	}
	b.f.frame, b.f.end = b.f.names.pick("frame"), b.f.names.pick("end")
	b.line("void *%s = (void *)(long)ctx->data, *%s = (void *)(long)ctx->data_end;", b.f.frame, b.f.end)
	b.line("__u32 %s = %s - %s;", b.f.length, b.f.end, b.f.frame)
}

// fromPacket reads bytes of the packet into zeroed memory; those behind its end stay 0.
func (b *block) fromPacket(to string, off *contract.Value, at expr, size int) {
	long := ""
	if size > 16 {
		long = "_long"
	}
	switch {
	case b.f.place.Kind != "xdp":
		b.line("%s(ctx, %s, %s, %s, %d);", b.f.g.use("packet_read"+long), b.f.length, at.text, to, size)
	case long == "" && off.Op == contract.OpConst && off.Bits < 4096:
		b.line("%s(%s, %s, %s, %s, %d);", b.f.g.use("frame_read_at"), b.f.frame, b.f.end, at.text, to, size)
	default:
		b.line("%s(ctx, %s, %s, %s, %d);", b.f.g.use("frame_read"+long), b.f.length, at.text, to, size)
	}
}

// readText reads a text from a block.
func (b *block) readText(to string, size int, v *contract.Value) error {
	n := int(v.Type.Size)
	if n > size {
		n = size - 1
	}
	length := ""
	if len(v.Args) > 2 {
		e, err := b.value(v.Args[2])
		if err != nil {
			return err
		}
		length = e.u64().text
	}
	if v.Args[0].Op == contract.OpInput {
		at, err := b.value(v.Args[1])
		if err != nil {
			return err
		}
		b.fromPacket(to, v.Args[1], at, n)
	} else if at := v.Args[1]; length == "" && b.shown && at.Op == contract.OpConst && at.Bits == 0 {
		return b.readShown(to, n, v.Args[0])
	} else {
		block, at, err := b.userBlock(v)
		if err != nil {
			return err
		}
		if length == "" {
			b.line("%s(%s, %s + %d, %d);", b.f.g.use("copy_text"), to, block, at, n)
			return nil
		}
		b.line("__builtin_memcpy(%s, %s + %d, %d);", to, block, at, n)
	}
	switch {
	case length == "" && b.shown:
	case length == "":
		b.line("%s(%s, %d);", b.f.g.use("end_text"), to, n)
	default:
		b.line("%s(%s, %d, %s);", b.f.g.use("end_text_at"), to, n, length)
	}
	return nil
}

// readShown reads the first bytes of a block of a process's memory where people see them up to their NUL only.
func (b *block) readShown(to string, size int, of *contract.Value) error {
	at, err := b.value(of.Args[0])
	if err != nil {
		return err
	}
	if c := of.Args[1]; c.Op == contract.OpConst {
		b.line("bpf_probe_read_user(%s, %d, %s);", to, min(c.Bits, uint64(size)), at.address())
		return nil
	}
	n, err := b.value(of.Args[1])
	if err != nil {
		return err
	}
	length := b.f.names.pick("length")
	b.line("__u64 %s = %s;", length, n.u64().text)
	b.line("if (%s > %d)", length, size)
	b.line("\t%s = %d;", length, size)
	b.line("bpf_probe_read_user(%s, %s, %s);", to, length, at.address())
	return nil
}

// readAddress reads an IPv6 address from a block.
func (b *block) readAddress(to string, v *contract.Value) error {
	if v.Args[0].Op == contract.OpInput {
		at, err := b.value(v.Args[1])
		if err == nil {
			b.fromPacket("&"+to, v.Args[1], at, 16)
		}
		return err
	}
	block, at, err := b.userBlock(v)
	if err == nil {
		b.line("__builtin_memcpy(&%s, %s + %d, 16);", to, block, at)
	}
	return err
}

// maxBlock is the largest block that is read, in bytes.
const maxBlock = 256

// userBlock reads a block of a process's memory, as far as the contract looks into it, and returns it
// with the offset of a read.
func (b *block) userBlock(v *contract.Value) (string, uint64, error) {
	of, off := v.Args[0], v.Args[1]
	need, ok := b.f.extent[of.ID]
	if off.Op != contract.OpConst || !ok {
		return "", 0, b.f.unsupported(v, "an offset into a process's memory that depends on inputs")
	}
	if have, ok := b.known(of); ok {
		return have.text, off.Bits, nil
	}
	at, err := b.value(of.Args[0])
	if err != nil {
		return "", 0, err
	}
	n, err := b.value(of.Args[1])
	if err != nil {
		return "", 0, err
	}
	size := need
	if c := of.Args[1]; c.Op == contract.OpConst {
		size = max(need, int(min(c.Bits, 4096)))
	}
	if size = (size + 7) / 8 * 8; size > maxBlock {
		return "", 0, b.f.unsupported(v, fmt.Sprintf("a block of more than %d bytes", maxBlock))
	}
	if b.f.stack += size; b.f.stack > maxStack {
		return "", 0, b.f.unsupported(v, fmt.Sprintf("texts and blocks of more than %d bytes at one place", maxStack))
	}
	name := b.f.names.pick(nameFor(of))
	b.line("char %s[%d] __attribute__((aligned(8))) = {};", name, size)
	if c := of.Args[1]; c.Op == contract.OpConst {
		b.line("bpf_probe_read_user(%s, %d, %s);", name, c.Bits, at.address())
	} else {
		length := b.f.names.pick("length")
		b.line("__u64 %s = %s;", length, n.u64().text)
		b.line("if (%s > sizeof(%s))", length, name)
		b.line("\t%s = sizeof(%s);", length, name)
		b.line("bpf_probe_read_user(%s, %s, %s);", name, length, at.address())
	}
	b.texts[fmt.Sprint(of.ID)] = buffer{text: name, size: size}
	return name, off.Bits, nil
}

package symbolic

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"kgent/agent/verify/smt"
)

type verdict int

const (
	goOn verdict = iota
	gone         // the state has ended, or waits elsewhere
)

// step executes one instruction.
func (x *run) step(s *state) (v verdict) {
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case forked, ended:
			v = gone
		default:
			panic(r)
		}
	}()
	f := s.top()
	ins := &x.p.Insns[f.pc]
	switch cls := ins.OpCode.Class(); {
	case cls.IsALU():
		x.alu(s, ins)
	case cls.IsJump():
		return x.jump(s, ins)
	case cls == asm.LdClass:
		x.loadConstant(s, ins)
	case cls == asm.LdXClass:
		x.load(s, ins)
	case cls == asm.StClass:
		x.store(s, ins, number(x.b.Const(64, uint64(ins.Constant))))
	default:
		x.storeRegister(s, ins)
	}
	s.move(x.flow, s.top().pc+1)
	return goOn
}

// reg reads a register.
func (x *run) reg(s *state, r asm.Register) Value {
	if r > 10 {
		x.giveUp(s, fmt.Sprintf("register %v does not exist", r))
	}
	v := s.top().regs[r]
	if v.Term == nil {
		x.crash(s, fmt.Sprintf("reads %v, which was never written", r))
	}
	return v
}

func (x *run) setReg(s *state, r asm.Register, v Value) {
	if r >= 10 {
		x.giveUp(s, fmt.Sprintf("writes register %v", r))
	}
	s.top().regs[r] = v
}

// num is the value as a number: a pointer's address.
func (x *run) num(v Value) smt.Term {
	switch {
	case v.Region != nil:
		a := x.b.Add(v.Region.addr, v.Term)
		if v.Valid != nil {
			a = x.b.Ite(v.Valid, a, x.b.Const(64, 0))
		}
		return a
	case v.Map != nil:
		return x.inv.address("map "+v.Map.Name, KernelSpace)
	case v.Func > 0:
		return x.inv.address(fmt.Sprintf("function %d", v.Func-1), KernelSpace)
	}
	return v.Term
}

func (x *run) alu(s *state, ins *Insn) {
	op := ins.OpCode.ALUOp()
	wide := ins.OpCode.Class() == asm.ALU64Class
	if op == asm.Swap {
		x.swap(s, ins, wide)
		return
	}
	src := number(x.b.Const(64, uint64(ins.Constant)))
	if ins.OpCode.Source() == asm.RegSource && op != asm.Neg {
		src = x.reg(s, ins.Src)
	}
	if op == asm.Mov && wide {
		if ins.Offset != 0 {
			x.giveUp(s, "the address space cast is not modelled")
		}
		x.setReg(s, ins.Dst, src)
		return
	}
	var dst Value
	switch op {
	case asm.Mov, asm.MovSX8, asm.MovSX16, asm.MovSX32:
	default:
		dst = x.reg(s, ins.Dst)
	}
	if wide && x.pointerMath(s, ins, op, dst, src) {
		return
	}
	b, y := x.b, x.num(src)
	t := b.Const(64, 0)
	if dst.Term != nil {
		t = x.num(dst)
	}
	if !wide {
		y, t = b.Extract(31, 0, y), b.Extract(31, 0, t)
	}
	r := x.compute(op, t, y)
	if r == nil {
		x.giveUp(s, fmt.Sprintf("instruction %v is not modelled", ins.Instruction))
	}
	if !wide {
		r = b.ZeroExt(64, r)
	}
	x.setReg(s, ins.Dst, number(r))
}

// compute is the operator on terms of 32 or 64 bits, with BPF's rules where
// SMT-LIB's differ: division by zero gives 0, the remainder by zero the
// dividend, shifts use the low bits of the amount only.
func (x *run) compute(op asm.ALUOp, t, y smt.Term) smt.Term {
	b, w := x.b, t.Width()
	zero := b.Const(w, 0)
	amount := func() smt.Term { return b.And(y, b.Const(w, uint64(w-1))) }
	switch op {
	case asm.Add:
		return b.Add(t, y)
	case asm.Sub:
		return b.Sub(t, y)
	case asm.Mul:
		return b.Mul(t, y)
	case asm.Div:
		return b.Ite(b.Eq(y, zero), zero, b.UDiv(t, y))
	case asm.SDiv:
		return b.Ite(b.Eq(y, zero), zero, b.SDiv(t, y))
	case asm.Mod:
		return b.Ite(b.Eq(y, zero), t, b.URem(t, y))
	case asm.SMod:
		return b.Ite(b.Eq(y, zero), t, b.SRem(t, y))
	case asm.Or:
		return b.Or(t, y)
	case asm.And:
		return b.And(t, y)
	case asm.Xor:
		return b.Xor(t, y)
	case asm.LSh:
		return b.Shl(t, amount())
	case asm.RSh:
		return b.LShr(t, amount())
	case asm.ArSh:
		return b.AShr(t, amount())
	case asm.Neg:
		return b.Neg(t)
	case asm.Mov:
		return y
	case asm.MovSX8:
		return b.SignExt(w, b.Extract(7, 0, y))
	case asm.MovSX16:
		return b.SignExt(w, b.Extract(15, 0, y))
	case asm.MovSX32:
		if w == 64 {
			return b.SignExt(w, b.Extract(31, 0, y))
		}
	}
	return nil
}

// pointerMath adds to and subtracts from pointers and tells whether it did;
// every other use of a pointer is of its address.
func (x *run) pointerMath(s *state, ins *Insn, op asm.ALUOp, dst, src Value) bool {
	if op != asm.Add && op != asm.Sub {
		return false
	}
	dst, src = x.decided(s, dst), x.decided(s, src)
	switch {
	case dst.scalar() && src.scalar():
		dst = number(x.compute(op, dst.Term, src.Term))
	case op == asm.Add && dst.Region != nil && src.scalar():
		dst.Term = x.b.Add(dst.Term, src.Term)
	case op == asm.Add && dst.Term != nil && dst.scalar() && src.Region != nil:
		dst, src = src, dst
		dst.Term = x.b.Add(dst.Term, src.Term)
	case op == asm.Sub && dst.Region != nil && src.scalar():
		dst.Term = x.b.Sub(dst.Term, src.Term)
	case op == asm.Sub && dst.Region != nil && dst.Region == src.Region && dst.Valid == src.Valid:
		dst = number(x.b.Sub(dst.Term, src.Term))
	default:
		return false
	}
	x.setReg(s, ins.Dst, dst)
	return true
}

// decided is a value of which it is known whether it is a pointer or NULL: of
// NULL, which is a number, arithmetic makes another number.
func (x *run) decided(s *state, v Value) Value {
	if v.Region == nil || v.Valid == nil {
		return v
	}
	if !x.decide(s, s, v.Valid) {
		return number(x.b.Const(64, 0))
	}
	v.Valid = nil
	return v
}

// swap is BPF_END (to little or big endian, on a little-endian machine) and
// BSWAP.
func (x *run) swap(s *state, ins *Insn, always bool) {
	t := x.num(x.reg(s, ins.Dst))
	w := uint(ins.Constant)
	if w != 16 && w != 32 && w != 64 {
		x.giveUp(s, fmt.Sprintf("byte swap of %d bits", w))
	}
	t = x.b.Extract(w-1, 0, t)
	if always || ins.OpCode.Endianness() == asm.BE {
		t = x.b.BSwap(t)
	}
	x.setReg(s, ins.Dst, number(x.b.ZeroExt(64, t)))
}

func (x *run) loadConstant(s *state, ins *Insn) {
	switch ins.OpCode.Mode() {
	case asm.AbsMode, asm.IndMode:
		x.loadPacketLegacy(s, ins)
		return
	}
	if !ins.OpCode.IsDWordLoad() {
		x.giveUp(s, fmt.Sprintf("instruction %v is not modelled", ins.Instruction))
	}
	v := Value{Term: x.b.Const(64, uint64(ins.Constant))}
	switch {
	case ins.Src == asm.PseudoFunc:
		v = Value{Term: x.b.Const(64, 0), Func: ins.Target + 1}
	case ins.Map != nil && ins.Src == asm.PseudoMapFD:
		v = Value{Term: x.b.Const(64, 0), Map: ins.Map}
	case ins.Map != nil:
		v = x.globalPointer(s, ins.Map, uint64(ins.Constant)>>32)
	case ins.Kfunc != "":
		v = x.symbolAddress(s, ins.Kfunc)
	case ins.Src != 0:
		x.giveUp(s, fmt.Sprintf("loading a constant of kind %d is not modelled", ins.Src))
	}
	x.setReg(s, ins.Dst, v)
}

func (x *run) jump(s *state, ins *Insn) verdict {
	f := s.top()
	switch op := ins.OpCode.JumpOp(); op {
	case asm.Ja:
		s.move(x.flow, ins.Target)
		return goOn
	case asm.Exit:
		return x.exit(s)
	case asm.Call:
		return x.call(s, ins)
	case asm.JCOND:
		return x.mayGoto(s, ins)
	case asm.InvalidJumpOp:
		x.giveUp(s, fmt.Sprintf("instruction %v is not modelled", ins.Instruction))
		return gone
	default:
		c := x.condition(s, ins)
		if c == nil {
			x.giveUp(s, fmt.Sprintf("jump %v is not modelled", ins.Instruction))
		}
		return x.fork(s, c, f.pc+1, ins.Target)
	}
}

// checkEvery is after how many forks a state is asked whether it is possible
// at all. Most branches of real programs are possible both ways, and asking
// about each costs more than following an impossible state for a while; it is
// recognised here, where its memory accesses are decided, or at its end.
const checkEvery = 256

// fork goes to one instruction where c holds, to another where it does not.
func (x *run) fork(s *state, c smt.Term, otherwise, target int) verdict {
	value, known := x.known(s, c)
	if !known && s.forks >= checkEvery {
		s.forks = 0
		if s.model == nil {
			s.model = x.find(s)
			if s.model == nil && x.impossible {
				x.impossible = false
				return gone
			}
		}
	}
	if known || otherwise == target {
		if known && value {
			otherwise = target
		}
		s.move(x.flow, otherwise)
		return goOn
	}
	x.out.Stats.Forks++
	s.forks++
	t := s.fork()
	x.assume(s, c)
	x.assume(t, x.b.Not(c))
	s.move(x.flow, target)
	t.move(x.flow, otherwise)
	x.queueState(s)
	x.queueState(t)
	return gone
}

// mayGoto is the bounded loop instruction of newer kernels: it falls through,
// or, when the kernel's budget is used up, leaves the loop. That can happen
// at any turn.
func (x *run) mayGoto(s *state, ins *Insn) verdict {
	c := x.fresh(s, 1, &Input{Kind: Choice, Name: "loop budget used up", Event: Absent})
	return x.fork(s, c, s.top().pc+1, ins.Target)
}

// condition is the formula under which a conditional jump is taken.
func (x *run) condition(s *state, ins *Insn) smt.Term {
	op := ins.OpCode.JumpOp()
	dst := x.reg(s, ins.Dst)
	src := number(x.b.Const(64, uint64(ins.Constant)))
	if ins.OpCode.Source() == asm.RegSource {
		src = x.reg(s, ins.Src)
	}
	wide := ins.OpCode.Class() == asm.JumpClass
	if wide {
		if c := x.comparePointers(op, dst, src); c != nil {
			return c
		}
	}
	t, y := x.num(dst), x.num(src)
	if !wide {
		t, y = x.b.Extract(31, 0, t), x.b.Extract(31, 0, y)
	}
	return x.compare(op, t, y)
}

func (x *run) compare(op asm.JumpOp, t, y smt.Term) smt.Term {
	b := x.b
	switch op {
	case asm.JEq:
		return b.Eq(t, y)
	case asm.JNE:
		return b.Not(b.Eq(t, y))
	case asm.JGT:
		return b.Ult(y, t)
	case asm.JGE:
		return b.Ule(y, t)
	case asm.JLT:
		return b.Ult(t, y)
	case asm.JLE:
		return b.Ule(t, y)
	case asm.JSGT:
		return b.Slt(y, t)
	case asm.JSGE:
		return b.Sle(y, t)
	case asm.JSLT:
		return b.Slt(t, y)
	case asm.JSLE:
		return b.Sle(t, y)
	case asm.JSet:
		return b.Not(b.Eq(b.And(t, y), b.Const(t.Width(), 0)))
	}
	return nil
}

// comparePointers compares what has no number: a pointer with NULL, and
// pointers into the same memory by their offsets. No memory of the kernel lies
// at address 0 or wraps around the end of the address space.
func (x *run) comparePointers(op asm.JumpOp, dst, src Value) smt.Term {
	if dst.scalar() && src.scalar() {
		return nil
	}
	if dst.Region != nil && dst.Region == src.Region {
		if dst.Valid == nil && src.Valid == nil {
			return x.compare(op, dst.Term, src.Term)
		}
		return nil
	}
	if zero(dst) && (op == asm.JEq || op == asm.JNE) {
		dst, src = src, dst
	}
	if !zero(src) || dst.scalar() {
		return nil
	}
	valid := x.b.True()
	if dst.Valid != nil {
		valid = dst.Valid
	}
	switch op {
	case asm.JEq, asm.JLE:
		return x.b.Not(valid)
	case asm.JNE, asm.JGT:
		return valid
	}
	return nil
}

// exit returns from a function, a callback, or the program.
func (x *run) exit(s *state) verdict {
	f := s.top()
	if len(s.frames) == 1 {
		ret := x.num(x.reg(s, asm.R0))
		s.pre = s.fork()
		x.endSession(s, ret)
		s.pre = nil
		x.end(s, ret)
		return gone
	}
	ret := f.regs[0] // of a function without a result it was perhaps never written
	if f.back != nil {
		return x.callbackReturns(s, x.reg(s, asm.R0))
	}
	delete(s.mem, f.stack)
	s.frames = s.frames[:len(s.frames)-1]
	up := s.top()
	up.regs[0] = ret
	for r := 1; r <= 5; r++ {
		up.regs[r] = Value{}
	}
	if up.pc+1 == len(x.p.Insns) {
		x.crash(s, "runs past the last instruction")
	}
	s.move(x.flow, up.pc+1)
	if x.park(s) {
		return gone
	}
	return goOn
}

// end ends the program.
func (x *run) end(s *state, ret smt.Term) {
	for _, r := range s.open {
		if can, both := x.query(s, r.valid); can || both {
			x.crash(s, "ends without submitting or discarding a reserved record")
		}
	}
	x.allHandsOff(s)
	if s.locks != 0 {
		x.crash(s, "ends holding a lock")
	}
	x.finish(s, ret, nil)
}

const maxFrames = 8 // of the kernel's verifier, callbacks included

// enter calls a function of the program.
func (x *run) enter(s *state, target int, args []Value, back *callback) {
	if len(s.frames) >= maxFrames*2 {
		x.giveUp(s, fmt.Sprintf("functions call each other more than %d deep", maxFrames*2))
	}
	at := ""
	if len(s.frames) > 0 || s.tails > 0 {
		at = s.moment()
	}
	f := frame{pc: target, back: back, stack: x.inv.stack(at, x.p.Insns[target].Func)}
	copy(f.regs[1:], args)
	s.frames = append(s.frames, f)
	s.mem[f.stack] = newContent(stackSize)
	s.top().regs[10] = Value{Term: x.b.Const(64, stackSize), Region: f.stack}
	fl := x.flow.place[target]
	for range len(fl) - 1 {
		s.top().loops = append(s.top().loops, 0)
	}
}

const stackSize = 512

// call executes a call instruction.
func (x *run) call(s *state, ins *Insn) verdict {
	switch {
	case ins.IsFunctionCall():
		args := append([]Value(nil), s.top().regs[1:6]...)
		x.enter(s, ins.Target, args, nil)
		return goOn
	case ins.IsKfuncCall():
		return x.kfunc(s, ins)
	case ins.IsBuiltinCall():
		return x.helper(s, asm.BuiltinFunc(ins.Constant))
	case ins.OpCode.Source() == asm.RegSource && x.helpers != nil:
		if fn, ok := x.num(x.reg(s, ins.Dst)).Const(); ok {
			return x.helper(s, asm.BuiltinFunc(fn))
		}
	}
	x.giveUp(s, fmt.Sprintf("call %v is not modelled", ins.Instruction))
	return gone
}

package proof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/verify/smt"
	"kgent/agent/verify/symbolic"
)

// numbers are inputs that have concrete values: arguments by name, parameters.
type numbers struct {
	b      *smt.Builder
	args   map[string]uint64
	params map[string][]byte
}

var errNone = errors.New("there is no such input")

func (n numbers) Arg(a contract.CheckedArg) (symbolic.InputValue, error) {
	return symbolic.InputValue{Term: n.b.Const(64, n.args[a.Name])}, nil
}
func (n numbers) RecordText(contract.CheckedArg, int) (*symbolic.Bytes, error) { return nil, errNone }
func (n numbers) Named(name string) (symbolic.InputValue, error) {
	return symbolic.InputValue{Term: n.b.Const(64, n.args[name])}, nil
}
func (n numbers) Param(name string) (*symbolic.Bytes, error) {
	return symbolic.ConstBytes(n.b, n.params[name]), nil
}
func (n numbers) Load(symbolic.Space, smt.Term, int, string) (*symbolic.Bytes, error) {
	return nil, errNone
}
func (n numbers) Text(symbolic.Space, smt.Term, int, string) (*symbolic.Bytes, error) {
	return nil, errNone
}
func (n numbers) Block(smt.Term, smt.Term, int) (*symbolic.Bytes, error) { return nil, errNone }
func (n numbers) Assume(smt.Term)                                        {}
func (n numbers) Context(uint32, int) (symbolic.InputValue, error) {
	return symbolic.InputValue{}, errNone
}
func (n numbers) PacketLen() (smt.Term, error)    { return nil, errNone }
func (n numbers) PacketAt(smt.Term, int) smt.Term { return n.b.Const(8, 0) }

// exprs are over a, b (64 bits without sign), s, t (with sign), p (a parameter of 16 bits), q
// and r (texts).
var exprs = []string{
	"a + b", "a - b", "a * b", "a / b", "a % b", "a / 1000", "a % 10", "a & b", "a | b", "a ^ b", "a << 3", "a >> 5", "~a",
	"u64(s + t)", "u64(s - t)", "u64(s / t)", "u64(s % t)", "u64(-s)", "u64(s >> 7)", "u64(s * 3)",
	"u64(u8(a))", "u64(u16(a))", "u64(u32(a))", "u64(s8(a))", "u64(s16(a))", "u64(s32(a))",
	"u64(ntohs(htons(p)))", "u64(p) + 1", "a + p",
	"a < b ? 1 : 2", "a <= b ? 1 : 2", "s < t ? 1 : 2", "s >= t ? 1 : 2", "s < 0 ? 1 : 2", "a == b ? 1 : 2", "a != 0 && b != 0 ? 1 : 2",
	"a == 0 || !(b > 5) ? 1 : 2", "a in {1, 2, 3} ? 1 : 2", "p == 443 ? a : b",
	"q == r ? 1 : 2", "q == \"\" ? 1 : 2", "starts(q, r) ? 1 : 2", "starts(q, \"ab\") ? 1 : 2", "q != \"abc\" ? 1 : 2",
}

// What the terms of an expression are worth is what package contract's own machine says of it.
func TestTranslate(t *testing.T) {
	var members, fields []string
	for i, e := range exprs {
		members = append(members, fmt.Sprintf("m%d: u64", i))
		fields = append(fields, fmt.Sprintf("m%d: %s", i, e))
	}
	c, err := contract.Parse(fmt.Sprintf(`contract "arithmetic"
param p: u16 means "a number"
param q: char[8] means "a text"
param r: char[8] means "another"
event out { %s }
hook uprobe/libc.so.6:x(a, b, s: s64, t: s64)
  case always_: always
    emit out { %s }
  otherwise nothing
`, strings.Join(members, ", "), strings.Join(fields, ", ")))
	if err != nil {
		t.Fatal(err)
	}
	checked, err := contract.Check(c, here(t).types)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	odd := []uint64{0, 1, 2, 5, 255, 256, 1 << 31, 1<<32 - 1, 1 << 63, ^uint64(0), ^uint64(0) - 1}
	number := func() uint64 {
		if rnd.IntN(2) == 0 {
			return odd[rnd.IntN(len(odd))]
		}
		return rnd.Uint64() >> rnd.IntN(64)
	}
	texts := []string{"", "a", "ab", "abc", "abcdefg", "b"}
	for range 300 {
		b := smt.New()
		in := numbers{b, map[string]uint64{}, map[string][]byte{}}
		var args []contract.Datum
		for _, name := range []string{"a", "b", "s", "t"} {
			in.args[name] = number()
			args = append(args, contract.Datum{Num: in.args[name]})
		}
		p := uint16(number())
		q, r := texts[rnd.IntN(len(texts))], texts[rnd.IntN(len(texts))]
		in.params["p"] = binary.LittleEndian.AppendUint16(nil, p)
		in.params["q"], in.params["r"] = append([]byte(q), make([]byte, 8-len(q))...), append([]byte(r), make([]byte, 8-len(r))...)
		m, err := contract.NewMachine(checked, map[string]contract.Datum{"p": {Num: uint64(p)}, "q": {Bytes: []byte(q)}, "r": {Bytes: []byte(r)}})
		if err != nil {
			t.Fatal(err)
		}
		want, err := m.Run(contract.Invocation{Args: args})
		if err != nil {
			t.Fatal(err)
		}
		place := &checked.Places[0]
		tr := &translator{words: words{b}, in: in, args: place.Args}
		for i, v := range place.Steps[0].Cases[0].Effects[0].Fields {
			got, err := tr.value(v)
			if err != nil {
				t.Fatalf("%s: %v", exprs[i], err)
			}
			n, ok := tr.held(checked.Events[0].Members[i].Type, got).term.Const()
			if !ok || n != want[0].Fields[i].Num {
				t.Fatalf("%s with %v p=%d q=%q r=%q is %v, want %#x", exprs[i], in.args, p, q, r, got.term, want[0].Fields[i].Num)
			}
		}
	}
}

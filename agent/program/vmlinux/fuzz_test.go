package vmlinux

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Any BTF gives a header or an error, without a panic and in bounded time and
// space.
func FuzzBTF(f *testing.F) {
	inner := structOf("", 8, member("x", tInt, 0), btf.Member{Name: "y", Type: tInt, Offset: 32, BitfieldSize: 3})
	node := structOf("node", 40, member("", inner, 0))
	node.Members = append(node.Members,
		member("next", &btf.Pointer{Target: &btf.Const{Type: node}}, 8),
		member("call", &btf.Pointer{Target: &btf.FuncProto{Return: &btf.Typedef{Name: "t", Type: tLong}, Params: []btf.FuncParam{{Type: node}, {Type: &btf.Void{}}}}}, 16),
		member("u", &btf.Union{Name: "u", Size: 8, Members: []btf.Member{member("a", tLong, 0), member("b", &btf.Array{Type: tChar, Index: tInt, Nelems: 5}, 0)}}, 24),
		member("e", &btf.Enum{Size: 8, Signed: true, Values: []btf.EnumValue{{Name: "A", Value: 1 << 40}, {Name: "true", Value: 1}}}, 32))
	for _, types := range [][]btf.Type{
		{node, &btf.Typedef{Name: "__u8", Type: tChar}, &btf.Fwd{Name: "f"}, &btf.Float{Name: "double", Size: 8}},
		{&btf.Volatile{Type: &btf.Restrict{Type: tInt}}, &btf.TypeTag{Value: "rcu", Type: tInt}},
		{structOf("s", 4), structOf("s", 0), &btf.Enum{Name: "s", Size: 4}},
	} {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			b, err := btf.NewBuilder(types, nil)
			if err != nil {
				f.Fatal(err)
			}
			raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: order})
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw, "struct node *n = x->next->y; A; t; u;")
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, source string) {
		spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
		if err != nil {
			return
		}
		checkSpec(t, spec, source)
	})
}

// FuzzTypes is like FuzzBTF, but all its input is types that refer to each
// other in every way.
func FuzzTypes(f *testing.F) {
	f.Add([]byte("\x04\x01\x08\x02\x01\x02\x00\x02\x01\x00\x02\x01\x08\x03\x01\x05"))
	f.Add(bytes.Repeat([]byte{2, 3, 1}, 40))
	f.Add(bytes.Repeat([]byte{4, 0, 16, 2, 1, 2, 3, 4}, 40))
	f.Add(bytes.Repeat([]byte{13, 3, 1, 1, 2, 2, 8, 1}, 20))
	f.Fuzz(func(t *testing.T, input []byte) {
		spec, err := btf.LoadSpecFromReader(bytes.NewReader(typesFrom(input)))
		if err != nil {
			return
		}
		checkSpec(t, spec, "struct b; e_; x->y;")
	})
}

// typesFrom makes BTF of which every reference is to a type that exists.
func typesFrom(input []byte) []byte {
	const names = "\x00int\x00b\x00s\x00b___2\x00y\x00e_\x00__u8\x00true\x00a c\x00long int\x00"
	// Functions, variables and declaration tags are left out: what they may
	// refer to is the decoder's concern.
	kinds := []uint32{4, 5, 4, 5, 2, 2, 3, 8, 13, 10, 9, 6, 19, 1, 16, 7, 18, 11}
	nameOffsets := []uint32{0, 1, 5, 7, 9, 15, 17, 20, 25, 30, 34}
	next := func() uint32 {
		if len(input) == 0 {
			return 0
		}
		b := input[0]
		input = input[1:]
		return uint32(b)
	}
	name := func() uint32 { return nameOffsets[next()%uint32(len(nameOffsets))] }

	// References come as numbers of types before or after, so that they can be
	// made to exist once the number of types is known.
	var words []uint32
	var references []int
	reference := func() {
		references = append(references, len(words))
		words = append(words, next())
	}
	count := uint32(0)
	for len(input) > 0 && count < 300 {
		count++
		kind := kinds[next()%uint32(len(kinds))]
		vlen, flag := next()%5, uint32(0)
		switch kind {
		case 4, 5, 6, 7, 19:
			flag = next() & 1
		case 1, 2, 3, 8, 9, 10, 11, 16, 18:
			vlen = 0
		}
		words = append(words, name(), flag<<31|kind<<24|vlen)
		switch kind {
		case 1, 4, 5, 6, 16, 19:
			words = append(words, next()) // size
		case 3, 7:
			words = append(words, 0)
		default:
			reference()
		}
		switch kind {
		case 1:
			words = append(words, next()%8<<24|next()%129)
		case 3:
			reference()
			reference()
			words = append(words, next()<<(next()%25))
		}
		for range vlen {
			switch kind {
			case 4, 5:
				words = append(words, name())
				reference()
				words = append(words, flag*(next()%65)<<24|next())
			case 6:
				words = append(words, name(), next()<<(next()%25))
			case 13:
				words = append(words, name())
				reference()
			case 19:
				words = append(words, name(), next(), next()<<(next()%25))
			}
		}
	}
	for _, i := range references {
		words[i] %= count + 1
	}

	order := binary.NativeEndian
	raw := order.AppendUint16(nil, 0xeb9f)
	raw = append(raw, 1, 0)
	for _, w := range []uint32{24, 0, uint32(4 * len(words)), uint32(4 * len(words)), uint32(len(names))} {
		raw = order.AppendUint32(raw, w)
	}
	for _, w := range words {
		raw = order.AppendUint32(raw, w)
	}
	return append(raw, names...)
}

func checkSpec(t *testing.T, spec *btf.Spec, source string) {
	t.Helper()
	var all bytes.Buffer
	if err := Full(&all, spec); err != nil {
		return
	}
	checkText(t, all.Bytes())
	trimmer, err := NewTrimmer(spec)
	if err != nil {
		t.Fatalf("after Full: %v", err)
	}
	checkText(t, trimmer.Header(source))
}

// Any source gives a header.
func FuzzSource(f *testing.F) {
	for _, p := range programs {
		f.Add(p.source)
	}
	for _, s := range []string{"", "struct", "struct {", "enum e {", "typedef", "/*", "\"", "#define", "((((", "}}}}", "a\\", "struct sock {", "enum { TCP_SYN_SENT", "struct task_struct;", "u32 u32, pid_t;"} {
		f.Add(s)
	}
	trimmer := kernelTrimmer(f)
	f.Fuzz(func(t *testing.T, source string) {
		header := trimmer.Header(source)
		checkText(t, header)
		if !bytes.Equal(header, trimmer.Header(source)) {
			t.Error("another header at another time")
		}
	})
}

// checkText checks that a header is complete and has nothing in it that is not
// C: whatever the BTF calls its types, they cannot leave their place.
func checkText(t *testing.T, header []byte) {
	t.Helper()
	if !bytes.HasPrefix(header, []byte(prologue)) || !bytes.HasSuffix(header, []byte(epilogue)) {
		t.Error("the header is not complete")
	}
	for i, c := range header {
		if c != '\n' && c != '\t' && (c < ' ' || c > '~') {
			t.Fatalf("byte %#x at %d", c, i)
		}
	}
	if n := bytes.Count(header, []byte("{")) - bytes.Count(header, []byte("}")); n != 0 {
		t.Errorf("%d braces are not closed", n)
	}
}

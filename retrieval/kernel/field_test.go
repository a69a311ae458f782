package kernel

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

func TestField(t *testing.T) {
	f := newMachine(t).facts()
	tests := []struct {
		path string
		want Field // but Type, Path
	}{
		{"struct task_struct.state", Field{Offset: 0, Size: 8, TypeName: "volatile long", Order: OrderNative}},
		{"task_struct.comm", Field{Offset: 8, Size: 16, BitOffset: 64, TypeName: "char[16]", Order: OrderNative}},
		{"struct task_struct.comm[3]", Field{Offset: 11, Size: 1, BitOffset: 88, TypeName: "char", Order: OrderNative}},
		{"struct task_struct.pid", Field{Offset: 24, Size: 4, BitOffset: 192, TypeName: "int", Order: OrderNative}},
		{"struct task_struct.group", Field{Offset: 28, Size: 4, BitOffset: 224, TypeName: "int", Order: OrderNative}},
		{"struct task_struct.flag", Field{Offset: 32, Size: 4, BitOffset: 259, BitSize: 2, TypeName: "int", Order: OrderNative}},
		{"struct task_struct.parent", Field{Offset: 40, Size: 8, BitOffset: 320, TypeName: "struct task_struct *", Order: OrderNative}},
		{"struct sock.__sk_common.skc_dport", Field{Offset: 12, Size: 2, BitOffset: 96, TypeName: "__be16", Order: OrderBig}},
		{"struct sock.__sk_common.skc_num", Field{Offset: 14, Size: 2, BitOffset: 112, TypeName: "__u16", Order: OrderNative}},
		{"struct sock.__sk_common.skc_v6", Field{Offset: 16, Size: 8, BitOffset: 128, TypeName: "__be32[2]", Order: OrderBig}},
		{"struct sock.__sk_common.skc_v6[1]", Field{Offset: 20, Size: 4, BitOffset: 160, TypeName: "__be32", Order: OrderBig}},
		{"struct sock.sk_frag", Field{Offset: 24, Size: 2, BitOffset: 192, TypeName: "__le16", Order: OrderLittle}},
		{"struct sock.__sk_common", Field{Offset: 0, Size: 24, TypeName: "struct sock_common", Order: OrderNative}},
		{"sock_t.skc_num", Field{Offset: 14, Size: 2, BitOffset: 112, TypeName: "__u16", Order: OrderNative}},
		{"union security_list_options.file_open", Field{Size: 8, TypeName: "void *", Order: OrderNative}},
		{" struct  sock.sk_frag", Field{Offset: 24, Size: 2, BitOffset: 192, TypeName: "__le16", Order: OrderLittle}},
		{"struct twofold.only", Field{Size: 4, TypeName: "int", Order: OrderNative}},
	}
	for _, test := range tests {
		got, err := f.Field(test.path)
		if err != nil {
			t.Error(err)
			continue
		}
		if got.Type == nil {
			t.Errorf("%s has no type", test.path)
		}
		test.want.Path, test.want.Type = test.path, got.Type
		if *got != test.want {
			t.Errorf("%s\ngot  %+v\nwant %+v", test.path, *got, test.want)
		}
	}
}

func TestFieldMissing(t *testing.T) {
	f := newMachine(t).facts()
	for path, want := range map[string]string{
		"struct sok.x":                        "no struct sok on kernel 6.1.99-test; did you mean sock?",
		"union sock.x":                        "no union sock on kernel 6.1.99-test; did you mean struct sock?",
		"struct security_list_options.x":      "no struct security_list_options on kernel 6.1.99-test; did you mean union security_list_options?",
		"__be16.x":                            "no type __be16 on kernel 6.1.99-test",
		"int.x":                               "no type int on kernel 6.1.99-test",
		"struct sock_t.skc_num":               "no struct sock_t on kernel 6.1.99-test; did you mean sock_t?",
		"struct sock.skc_dport":               "no field skc_dport in struct sock on kernel 6.1.99-test; did you mean __sk_common.skc_dport?",
		"struct sock.__sk_common.skc_dprt":    "no field skc_dprt in struct sock_common on kernel 6.1.99-test; did you mean skc_dport?",
		"struct task_struct.x\x1b[2J":         `malformed field path "struct task_struct.x\x1b[2J"`,
		"struct task_struct.parent.pid":       "read the struct task_struct * before .pid, then look up struct task_struct.pid",
		"struct task_struct.pid.x":            "int has no members",
		"struct task_struct.pid[0]":           "int is not an array",
		"struct task_struct.comm[16]":         "element 16 of an array of 16",
		"struct task_struct.comm[4294967296]": `"4294967296" is not an index`,
		"struct task_struct.flag.x":           "x follows a bit-field",
		"struct task_struct":                  "it names no field",
		"struct task_struct.":                 `"" is not the name of a field`,
		"struct task_struct.comm[1":           "a [ is not closed",
		"struct task_struct.comm[]":           `"" is not an index`,
		".x":                                  "it does not start with the name of a type",
		"":                                    "it does not start with the name of a type",
		"struct twofold.a":                    "with the field at 0 and at 4: ambiguous name",
	} {
		got, err := f.Field(path)
		if err == nil {
			t.Errorf("%q is %+v", path, got)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q\ngot  %s\nwant %s", path, err, want)
		}
	}
	if _, err := f.Field("struct task_struct.parent.pid"); !errors.Is(err, ErrPointer) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Field("struct twofold.a"); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("got %v", err)
	}
}

// TestFieldOnHost looks at fields whose layout user space depends on: it cannot change.
func TestFieldOnHost(t *testing.T) {
	f := host(t)
	tests := []struct {
		path         string
		offset, size uint32
		typeName     string
		order        ByteOrder
	}{
		{"struct sockaddr_in.sin_port", 2, 2, "__be16", OrderBig},
		{"struct sockaddr_in.sin_addr.s_addr", 4, 4, "__be32", OrderBig},
		{"struct sockaddr_in6.sin6_addr.in6_u.u6_addr32[3]", 20, 4, "__be32", OrderBig},
		{"struct iphdr.check", 10, 2, "__sum16", OrderBig},
		{"struct iphdr.saddr", 12, 4, "__be32", OrderBig}, // within struct_group, anonymous
		{"struct tcphdr.seq", 4, 4, "__be32", OrderBig},
		{"struct xdp_md.rx_queue_index", 16, 4, "__u32", OrderNative},
		{"union bpf_attr.batch.count", 32, 4, "__u32", OrderNative},
		{"struct task_struct.comm[15]", 0, 1, "char", OrderNative},
		{"struct sock.__sk_common.skc_dport", 0, 2, "__be16", OrderBig},
		{"struct sock.__sk_common.skc_num", 0, 2, "__u16", OrderNative},
	}
	for _, test := range tests {
		got, err := f.Field(test.path)
		if err != nil {
			t.Error(err)
			continue
		}
		if test.offset != 0 && got.Offset != test.offset || got.Size != test.size || got.TypeName != test.typeName || got.Order != test.order {
			t.Errorf("%s is %+v", test.path, got)
		}
	}
	if bits, err := f.Field("struct tcphdr.syn"); err != nil || bits.BitSize != 1 || bits.Offset != 13 {
		t.Errorf("struct tcphdr.syn is %+v, %v", bits, err)
	}
	if _, err := f.Field("struct sock.sk_family"); err == nil || !strings.Contains(err.Error(), "did you mean __sk_common.skc_family?") {
		t.Errorf("got %v", err)
	}
	if _, err := f.Field("struct task_strct.comm"); err == nil || !strings.Contains(err.Error(), "did you mean task_struct") {
		t.Errorf("got %v", err)
	}
}

func FuzzField(f *testing.F) {
	facts := newMachine(f).facts()
	for _, path := range []string{"struct sock.__sk_common.skc_v6[1]", "task_struct.comm[3][1]", "a.b[", "struct task_struct.parent.pid"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		field, err := facts.Field(path)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x1b\x00\n\r") {
				t.Fatalf("the message %q would act on a terminal", err)
			}
			return
		}
		if field.Offset+field.Size > 64 || field.TypeName == "" {
			t.Fatalf("%q is %+v", path, field)
		}
	})
}

func TestDeclare(t *testing.T) {
	sock := &btf.Struct{Name: "sock", Size: 8}
	handler := &btf.FuncProto{Return: intType, Params: []btf.FuncParam{{Name: "sk", Type: &btf.Pointer{Target: sock}}, {Type: longType}}}
	loop := &btf.Pointer{}
	loop.Target = loop
	tests := []struct {
		typ  btf.Type
		name string
		want string
	}{
		{intType, "x", "int x"},
		{intType, "", "int"},
		{&btf.Void{}, "", "void"},
		{nil, "", "void"},
		{&btf.Pointer{Target: sock}, "sk", "struct sock *sk"},
		{&btf.Pointer{Target: sock}, "", "struct sock *"},
		{&btf.Pointer{Target: &btf.Pointer{Target: charType}}, "argv", "char **argv"},
		{&btf.Pointer{Target: &btf.Const{Type: charType}}, "s", "const char *s"},
		{&btf.Const{Type: &btf.Pointer{Target: charType}}, "s", "char *const s"},
		{&btf.Const{Type: &btf.Pointer{Target: charType}}, "", "char *const"},
		{&btf.Volatile{Type: &btf.Const{Type: intType}}, "x", "volatile const int x"},
		{&btf.Restrict{Type: &btf.Pointer{Target: charType}}, "s", "char *restrict s"},
		{&btf.Pointer{Target: &btf.TypeTag{Value: "user", Type: charType}}, "buf", "char __user *buf"},
		{&btf.Array{Type: charType, Nelems: 16}, "comm", "char comm[16]"},
		{&btf.Array{Type: charType, Nelems: 16}, "", "char[16]"},
		{&btf.Array{Type: &btf.Array{Type: intType, Nelems: 3}, Nelems: 2}, "m", "int m[2][3]"},
		{&btf.Array{Type: &btf.Pointer{Target: sock}, Nelems: 2}, "s", "struct sock *s[2]"},
		{&btf.Pointer{Target: &btf.Array{Type: charType, Nelems: 16}}, "p", "char (*p)[16]"},
		{&btf.Pointer{Target: handler}, "f", "int (*f)(struct sock *sk, long)"},
		{&btf.Pointer{Target: handler}, "", "int (*)(struct sock *sk, long)"},
		{&btf.Pointer{Target: &btf.FuncProto{Return: &btf.Void{}}}, "f", "void (*f)(void)"},
		{&btf.FuncProto{Return: &btf.Pointer{Target: charType}}, "name", "char *name(void)"},
		{&btf.Union{Name: "u"}, "x", "union u x"},
		{&btf.Enum{Name: "e"}, "x", "enum e x"},
		{&btf.Struct{}, "x", "struct {…} x"},
		{&btf.Fwd{Name: "f", Kind: btf.FwdUnion}, "", "union f"},
		{be16Type, "port", "__be16 port"},
		{&btf.Float{Name: "double", Size: 8}, "", "double"},
	}
	for _, test := range tests {
		if got := declare(test.typ, test.name); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
	if got := declare(loop, "x"); !strings.HasPrefix(got, "… *") {
		t.Errorf("a type that points to itself is %q", got)
	}
}

func BenchmarkField(b *testing.B) {
	f := host(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Field("struct sock.__sk_common.skc_dport"); err != nil {
			b.Fatal(err)
		}
	}
}

package program

import (
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"kgent/retrieval/kernel/abi"
)

// typedefs returns the names of the header's k_ types.
func typedefs(t testing.TB) []string {
	t.Helper()
	header, err := os.ReadFile("compile/include/kgent.bpf.h")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^typedef .*\b(k_\w+)(?:\[\d+\])?;`).FindAllSubmatch(header, -1) {
		out = append(out, string(m[1]))
	}
	if len(out) < 40 {
		t.Fatalf("only %d types found in the header: %q", len(out), out)
	}
	return out
}

// paramTypes compiles an object with a parameter of every type and returns
// the types by name.
func paramTypes(t testing.TB) map[string]btf.Type {
	t.Helper()
	var b strings.Builder
	for _, name := range typedefs(t) {
		b.WriteString("const volatile " + name + " v_" + name + " = {0};\n")
	}
	b.WriteString(`
enum plain { FIRST = 1, SECOND = 2, LAST = 0xffffffff };
enum negative { BELOW = -5, ABOVE = 5 };
enum wide { WIDE = 0x100000000ULL };
typedef k_port my_port;
typedef unsigned int my_uint;
struct pair { int a, b; };
const volatile enum plain v_plain = 0;
const volatile enum negative v_negative = 0;
const volatile enum wide v_wide = 0;
const volatile my_port v_my_port = 0;
const volatile my_uint v_my_uint = 0;
const volatile bool v_bool = 0;
const volatile char v_char = 0;
const volatile char v_text[8] = "";
const volatile __u8 v_u8 = 0;
const volatile __s8 v_s8 = 0;
const volatile __s16 v_s16 = 0;
const volatile __s32 v_s32 = 0;
const volatile __u64 v_u64 = 0;
const volatile __s64 v_s64 = 0;
const volatile int v_ints[2] = {};
const volatile char v_long[5000] = "";
const volatile struct pair v_pair = {};
const volatile unsigned __int128 v_int128 = 0;
SEC("raw_tp/sys_enter") int p(void *ctx) { return 0; }
`)
	types := map[string]btf.Type{}
	for _, p := range parsed(t, source(t, b.String())).Params() {
		types[strings.TrimPrefix(p.Name, "v_")] = p.Type
	}
	return types
}

const v4mapped = "00000000000000000000ffff"

func TestEncodeValue(t *testing.T) {
	type value struct{ text, want string } // want: the bytes, little-endian; or "!" and a part of the error
	number32 := []value{{"0", "00000000"}, {"1", "01000000"}, {"4294967295", "ffffffff"}, {"-1", "ffffffff"}, {"0x10", "10000000"}, {"010", "0a000000"},
		{"4294967296", "!does not fit 4 bytes"}, {"-2", "!is negative"}, {"", "!is no number"}, {"1.5", "!is no number"}, {" 1", "!is no number"}, {"1_000", "!is no number"}, {"--1", "!is no number"}}
	number64 := []value{{"18446744073709551615", "ffffffffffffffff"}, {"18446744073709551616", "!is no"}, {"-1", "ffffffffffffffff"}}
	none := []value{{"5", "!cannot be set"}}
	openat, ok := abi.Syscall("openat")
	if !ok || openat > 0xffff {
		t.Fatal("no system call openat")
	}
	openatHex := hex.EncodeToString([]byte{byte(openat), byte(openat >> 8), 0, 0})
	tests := map[string][]value{
		"k_ns":       append(number64, []value{{"10ms", "8096980000000000"}, {"1.5s", "002f685900000000"}, {"7", "0700000000000000"}, {"0", "0000000000000000"}, {"-1ms", "!is no duration"}, {"10", "0a00000000000000"}, {"10 ms", "!is no duration"}, {"3000000h", "!10ms, 250us or 1.5s"}}...),
		"k_us":       {{"10ms", "1027000000000000"}, {"1ns", "!is finer than the unit"}, {"250us", "fa00000000000000"}},
		"k_ms":       {{"2s", "d007000000000000"}, {"1us", "!is finer than the unit"}, {"20", "1400000000000000"}},
		"k_time":     number64,
		"k_boottime": number64,
		"k_bytes":    {{"4096", "0010000000000000"}, {"4k", "0010000000000000"}, {"4KiB", "0010000000000000"}, {"4kb", "0010000000000000"}, {"1M", "0000100000000000"}, {"2G", "0000008000000000"}, {"1t", "0000000000010000"}, {"k", "!is no size"}, {"b", "!is no size"}, {"-4k", "!is no size"}, {"99999999T", "!is no size"}, {"1.5k", "!is no size"}},
		"k_pages":    number64, "k_count": number64, "k_cgroup": number64, "k_inode": number64,
		"k_pid": number32, "k_tid": number32, "k_uid": number32, "k_gid": number32,
		"k_port":     {{"443", "bb01"}, {"0443", "bb01"}, {"65535", "ffff"}, {"65536", "!does not fit 2 bytes"}, {"https", "!is no number"}},
		"k_be16":     {{"443", "01bb"}, {"0x01bb", "01bb"}, {"65536", "!is no 16-bit number"}, {"-1", "!is no 16-bit number"}, {"", "!is no 16-bit number"}},
		"k_ipv4":     {{"192.0.2.1", "c0000201"}, {"::ffff:192.0.2.1", "c0000201"}, {"", "00000000"}, {"any", "00000000"}, {"::1", "!is no IPv4 address"}, {"192.0.2.256", "!is no IPv4 address"}, {"::ffff:192.0.2.1%lo", "!is no IPv4 address"}},
		"k_ip":       {{"192.0.2.1", v4mapped + "c0000201"}, {"2001:db8::1", "20010db8000000000000000000000001"}, {"", strings.Repeat("00", 16)}, {"any", strings.Repeat("00", 16)}, {"fe80::1%eth0", "!is no IPv4 or IPv6 address"}, {"example.org", "!is no IPv4 or IPv6 address"}},
		"k_mac":      none,
		"k_dnsname":  none,
		"k_family":   {{"10", "0a00"}},
		"k_ipproto":  {{"17", "11"}, {"256", "!does not fit 1 bytes"}},
		"k_ethproto": {{"0x86dd", "dd86"}},
		"k_tcpstate": number32, "k_tcpflags": number32,
		"k_errno":    {{"ECONNREFUSED", "6f000000"}, {"econnrefused", "6f000000"}, {"111", "6f000000"}, {"-111", "91ffffff"}, {"ENOSUCH", "!is no error number"}, {"2147483648", "!does not fit"}, {"-2147483648", "00000080"}, {"-2147483649", "!does not fit"}},
		"k_ret":      {{"ENOENT", "0200000000000000"}, {"-2", "feffffffffffffff"}, {"9223372036854775807", "ffffffffffffff7f"}, {"9223372036854775808", "!does not fit 8 bytes"}, {"-9223372036854775808", "0000000000000080"}, {"-9223372036854775809", "!does not fit"}},
		"k_signal":   {{"SIGKILL", "09000000"}, {"term", "0f000000"}, {"9", "09000000"}, {"SIGNONE", "!is no signal"}},
		"k_syscall":  {{"openat", openatHex}, {"3", "03000000"}, {"open_at", "!is no system call"}},
		"k_exitcode": {{"-1", "ffffffff"}}, "k_dev": number32,
		"k_mode":   {{"0644", "a4010000"}, {"420", "a4010000"}, {"0x1a4", "a4010000"}, {"0888", "!is no number"}, {"0", "00000000"}},
		"k_oflags": number32, "k_mntflags": number32,
		"k_cap":      {{"CAP_NET_ADMIN", "0c000000"}, {"sys_admin", "15000000"}, {"CAP_NONE", "!is no capability"}},
		"k_bpfprog":  number32,
		"k_ifindex":  number32,
		"k_addr":     {{"0xffffffff81000000", "00000081ffffffff"}},
		"k_hex":      number64,
		"k_kstack":   {{"-1", "ffffffff"}},
		"k_ustack":   {{"5", "05000000"}},
		"k_bool":     {{"true", "01"}, {"Yes", "01"}, {"1", "01"}, {"false", "00"}, {"no", "00"}, {"0", "00"}, {"2", "!is neither true nor false"}, {"-1", "!is neither true nor false"}, {"", "!is neither true nor false"}},
		"k_permille": number64,
		"k_args":     none, "k_hist_ns": none, "k_hist_us": none, "k_hist_bytes": none, "k_hist_count": none,
		"k_stats_ns": none, "k_stats_us": none, "k_stats_bytes": none, "k_stats_count": none,

		"plain":    {{"FIRST", "01000000"}, {"LAST", "ffffffff"}, {"2", "02000000"}, {"7", "07000000"}, {"THIRD", "!is no value of enum plain"}, {"first", "!is no value of enum plain"}},
		"negative": {{"BELOW", "fbffffff"}, {"ABOVE", "05000000"}, {"-5", "fbffffff"}},
		"wide":     {{"WIDE", "0000000001000000"}},
		"my_port":  {{"443", "bb01"}},
		"my_uint":  number32,
		"bool":     {{"true", "01"}, {"3", "!is neither true nor false"}},
		"char":     {{"-128", "80"}, {"128", "!does not fit 1 bytes"}},
		"text":     {{"", "0000000000000000"}, {"nginx", "6e67696e78000000"}, {"sevenby", "736576656e627900"}, {"eightbyt", "!has 8 bytes, at most 7 fit"}, {"a\x00b", "!contains a NUL byte"}},
		"u8":       {{"255", "ff"}, {"256", "!does not fit 1 bytes"}, {"-1", "ff"}},
		"s8":       {{"-128", "80"}, {"127", "7f"}, {"-129", "!does not fit"}, {"128", "!does not fit"}},
		"s16":      {{"-2", "feff"}, {"-0x8000", "0080"}},
		"s32":      {{"-2", "feffffff"}},
		"u64":      number64,
		"s64":      {{"-2", "feffffffffffffff"}},
		"ints":     none, "pair": none,
		"long":   {{"x", "!5000 bytes is too large"}},
		"int128": {{"1", "!cannot be set"}},
	}
	types := paramTypes(t)
	for _, name := range typedefs(t) {
		if _, ok := tests[name]; !ok {
			t.Errorf("type %s of the header is not in the table", name)
		}
	}
	for name := range types {
		if _, ok := tests[name]; !ok {
			t.Errorf("type %s is not in the table", name)
		}
	}
	for name, values := range tests {
		typ, ok := types[name]
		if !ok {
			t.Errorf("type %s of the table does not exist", name)
			continue
		}
		for _, v := range values {
			got, err := EncodeValue(typ, v.text)
			if part, bad := strings.CutPrefix(v.want, "!"); bad {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%s %q: %x, error %v, want %q in it", name, v.text, got, err, part)
				}
				continue
			}
			if err != nil || hex.EncodeToString(got) != v.want {
				t.Errorf("%s %q: %x (%v), want %s", name, v.text, got, err, v.want)
			}
		}
	}
}

// A type may lie about what it is; its layout decides.
func TestEncodeValueOddTypes(t *testing.T) {
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	loop := &btf.Typedef{Name: "loop"}
	loop.Type = &btf.Volatile{Type: loop}
	for _, tt := range []struct {
		name string
		typ  btf.Type
		text string
		want string
	}{
		{"an address too small", &btf.Typedef{Name: "k_ip", Type: u32}, "::1", "a k_ip has 16 bytes, not 4"},
		{"an address too large", &btf.Typedef{Name: "k_ipv4", Type: &btf.Int{Size: 8}}, "1.2.3.4", "a k_ipv4 has 4 bytes, not 8"},
		{"a port too large", &btf.Typedef{Name: "k_be16", Type: u32}, "1", "a k_be16 has 2 bytes, not 4"},
		{"a type of itself", loop, "1", "size of"},
		{"no type", &btf.Void{}, "1", "cannot be set"},
		{"three bytes", &btf.Int{Size: 3}, "1", "parameters have 1, 2, 4 or 8 bytes"},
		{"a pointer", &btf.Pointer{Target: u32}, "1", "cannot be set"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := EncodeValue(tt.typ, tt.text)
			wantError(t, err, tt.want)
		})
	}
	if isVolatileConst(loop) {
		t.Error("a type of itself is a parameter")
	}
}

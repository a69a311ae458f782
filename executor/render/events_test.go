package render

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"kgent/executor/output"
	"kgent/executor/redact"
)

func TestEvents(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"connect", `{"pid":4242,"comm":"curl","saddr":"10.0.0.7","sport":45678,"daddr":"2001:db8::1","dport":443,` +
			`"error":"ECONNREFUSED","latency":1234567,"state":"ESTABLISHED","uid":1000}`},
		{"numbers", `{"ns":1,"us":2,"ms":3,"bytes":4,"pages":5,"count":6,"share":7,"pid":8,"tid":9,"uid":4294967295,"gid":11,"inode":12,` +
			`"u8":255,"s8":-128,"u16":65535,"s16":-32768,"u32":4294967295,"s32":-2147483648,` +
			`"u64":18446744073709551615,"s64":-9223372036854775808}`},
		{"addresses", `{"v4":"192.168.1.2","v6":"2001:db8::1","any":"::","any4":"0.0.0.0","plain4":"127.0.0.1",` +
			`"mac":"02:42:ac:11:00:0f","be16":8080,"raw16":53,"raw32":16909060,"in6":"fe80::1"}`},
		{"names", `{"family":"AF_INET6","proto":"TCP","eth":"IPV6","state":"LISTEN","flags":"SYN|ACK","refused":"ECONNREFUSED",` +
			`"negative":"ENOENT","none":"OK","signal":"SIGKILL","call":"getpid","cap":"CAP_NET_ADMIN","prog":"xdp",` +
			`"oflags":"O_WRONLY|O_CREAT|O_TRUNC","mflags":"MS_RDONLY|MS_NOSUID","mode":"0644","full":"0100755","none_mode":"0000","dev":"8:1"}`},
		{"unnamed_values", `{"family":"family 999","proto":"protocol 250","eth":"0x1234","state":"state 99","error":"errno 4000",` +
			`"signal":"signal 99","call":"syscall 99999","cap":"capability 99","prog":"type 99","flags":"0x100","oflags":"O_RDONLY",` +
			`"mflags":"0x40000000"}`},
		{"results", `{"ok":42,"zero":0,"failed":"EACCES","large":-4096}`},
		{"exits", `{"ok":"exit 0","three":"exit 3","killed":"SIGKILL","dumped":"SIGSEGV (core dumped)"}`},
		{"addrs", `{"text":"do_thing+0x10","user":"0x7fff12345678","hex":"0xdeadbeef","zero":"0x0","pointer":"0x1000",` +
			`"wide":"0x10000000000000005"}`},
		{"flags", `{"yes":true,"no":false,"on":true,"off":false,"padlock":4}`},
		{"enums", `{"red":"RED","green":"GREEN","blue":"BLUE","none":77,"typedefd":"GREEN","large":"LARGE"}`},
		{"strings", `{"full":"abcd","empty":"","quote":"a\"b\\c","bad":"\ufffdx\ufffd","control":"\u001b[31m\u000a\u007f\u009b\u202e",` +
			`"utf8":"größ中","one":"R","zero":"","two":["x","yz"]}`},
		{"queries", `{"name":"www.example.org","root":".","compressed":"www\ufffd\u000c","odd":"a\\.b.\u001b[",` +
			`"shortened":"0123456789012345678901234567890123456789012345678901234567890ab.0123456789012345678901234567890123456789012345678901234567890a…"}`},
		{"args", `{"plain":"ls -l /tmp","quoted":"sh -c 'echo '\\''hi'\\'' there'","blank":"a '' b ''","none":"","unended":"ab cd"}`},
		{"bytes", `{"data":"0001abcdefff","rows":["0102","0304"],"one":7}`},
		{"lists", `{"ports":[1,2,3],"small":[-1,1],"set":[true,false],"times":[5,6],"points":[{"x":1,"y":2},{"x":3,"y":4}],` +
			`"colors":["RED","GREEN"],"ips":["2001:db8::1"]}`},
		{"nested", `{"from":{"pid":1,"comm":"init"},"to":{"pid":2,"comm":"kthread"},"uid":0,"gid":0,"u":16909060,"addr":"10.0.0.1","empty":{}}`},
		{"bits", `{"low":5,"mid":100,"neg":-7,"flag":true,"color":"GREEN","wide":773738358679819896,"odd":8589934591,"error":"EACCES","all":-1}`},
		{"packed", `{"head":1,"far":1311768467294899695,"tail":5,"straddle":4611686018427387903,"last":9}`},
		{"times", `{"now":"2026-03-04T13:00:05Z","never":"","absurd":18446744073709551615,"boot":"2026-03-04T12:00:07.123456789Z"}`},
		{"places", `{"lo":"lo","unknown":"4096","root":"/system.slice/\u001bevil","gone":"999999999"}`},
		{"stacks", `{"pid":7,"kernel":3,"user":-14}`},
		{"stats", `{"latency":{"count":4,"sum":10,"min":1,"max":5,"mean":3},"empty":{"count":0,"sum":0},` +
			`"size":{"count":3,"sum":10,"min":1,"max":7,"mean":3.33}}`},
		{"tail", `{"n":3}`},
		{"typedefs", `{"a":1,"b":2,"c":3}`},
		{"fn", `{"call":"0x2","x":3}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			typ, raw := sample(t, tt.name)
			e, err := NewEvents("db-3", "stream", typ, testEnv())
			if err != nil {
				t.Fatal(err)
			}
			line, err := e.Append([]byte("before "), raw)
			if err != nil {
				t.Fatal(err)
			}
			want := `before {"type":"event","node":"db-3","stream":"stream","data":` + tt.want + "}\n"
			if string(line) != want {
				t.Errorf("got  %swant %s", line, want)
			}
			decode(t, line[len("before "):])
			if len(line) > len(e.head)+int(e.root.length())+16 {
				t.Errorf("a line of %d bytes, thought to have at most %d", len(line), e.root.length())
			}
		})
	}
}

func TestLongArgs(t *testing.T) {
	typ, raw := sample(t, "long_args")
	e, err := NewEvents("n", "s", typ, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	line, err := e.Append(nil, raw)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := decode(t, line).Get("args")
	s := v.(string)
	if !strings.HasPrefix(s, "find / '' ''") || !strings.HasSuffix(s, " …") {
		t.Errorf("got %q", s)
	}
}

func TestEventTypesRefused(t *testing.T) {
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	byteType := &btf.Int{Name: "unsigned char", Size: 1}
	field := func(t btf.Type, size uint32) *btf.Struct {
		return &btf.Struct{Name: "e", Size: size, Members: []btf.Member{{Name: "f", Type: t}}}
	}
	loop := &btf.Typedef{Name: "loop"}
	loop.Type = loop
	deep := field(u32, 4)
	for range 20 {
		deep = field(deep, 4)
	}
	unpid, _ := sample(t, "unpid")
	huge, _ := sample(t, "huge")
	for _, tt := range []struct {
		name, want string
		typ        *btf.Struct
	}{
		{"nothing", "no type", nil},
		{"a user stack of nobody", "k_pid", unpid},
		{"too large", "65537 bytes", huge},
		{"a void", "cannot be shown", field(&btf.Void{}, 0)},
		{"a function", "size", field(&btf.FuncProto{Return: u32}, 0)},
		{"a struct without a body", "size", field(&btf.Fwd{Name: "sock"}, 0)},
		{"typedefs in a circle", "typedefs", field(loop, 4)},
		{"too deep", "deep", deep},
		{"a field outside", "outside", &btf.Struct{Size: 4, Members: []btf.Member{{Name: "f", Type: u32, Offset: 8}}}},
		{"a field far outside", "outside", &btf.Struct{Size: 4, Members: []btf.Member{{Name: "f", Type: u32, Offset: 0xfffffff8}}}},
		{"a field between bytes", "bit 3", &btf.Struct{Size: 8, Members: []btf.Member{{Name: "f", Type: u32, Offset: 3}}}},
		{"a bit-field outside", "bit-field", &btf.Struct{Size: 4, Members: []btf.Member{{Name: "f", Type: u32, Offset: 30, BitfieldSize: 8}}}},
		{"a bit-field of text", "bit-field", &btf.Struct{Size: 4, Members: []btf.Member{{Name: "f", Type: &btf.Array{Type: byteType, Nelems: 4}, BitfieldSize: 8}}}},
		{"an odd integer", "3 bytes", field(&btf.Int{Size: 3}, 3)},
		{"an odd enum", "3 bytes", field(&btf.Enum{Size: 3}, 3)},
		{"an odd float", "3 bytes", field(&btf.Float{Size: 3}, 3)},
		{"a short k_ip", "k_ip: has 4 bytes", field(&btf.Typedef{Name: "k_ip", Type: u32}, 4)},
		{"a k_mac of something else", "k_mac: has 4 bytes", field(&btf.Typedef{Name: "k_mac", Type: u32}, 4)},
		{"a k_pid that is a struct", "want an integer", field(&btf.Typedef{Name: "k_pid", Type: &btf.Struct{Name: "s", Size: 4}}, 4)},
		{"a k_ns of 16 bytes", "16 bytes", field(&btf.Typedef{Name: "k_ns", Type: &btf.Int{Size: 16}}, 16)},
		{"k_args of something else", "k_args", field(&btf.Typedef{Name: "k_args", Type: u32}, 4)},
		{"lines without end", "as JSON", field(&btf.Array{Type: field(byteType, 1), Nelems: 60000}, 60000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewEvents("n", "s", tt.typ, testEnv())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to mention %q", err, tt.want)
			}
		})
	}
}

func TestEventSizes(t *testing.T) {
	typ, raw := sample(t, "connect")
	e, err := NewEvents("n", "s", typ, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, raw[:1], raw[:len(raw)-1], append(raw[:len(raw):len(raw)], 0)} {
		dst, err := e.Append([]byte("x"), bad)
		if !errors.Is(err, ErrSize) || string(dst) != "x" {
			t.Errorf("%d bytes: %q, %v", len(bad), dst, err)
		}
	}
	// Only behind a flexible array there may be more.
	typ, raw = sample(t, "tail")
	if e, err = NewEvents("n", "s", typ, testEnv()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Append(nil, append(raw[:8:8], "more"...)); err != nil {
		t.Error(err)
	}
	if _, err := e.Append(nil, raw[:7]); !errors.Is(err, ErrSize) {
		t.Errorf("too short: %v", err)
	}
}

func TestStream(t *testing.T) {
	typ, _ := sample(t, "connect")
	e, err := NewEvents("n", "connects", typ, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	want := output.Stream{Name: "connects", Columns: []output.Column{
		{Name: "pid", Kind: "k_pid", Width: 7, Right: true}, {Name: "comm", Kind: "string", Width: 16},
		{Name: "saddr", Kind: "k_ip", Width: 15}, {Name: "sport", Kind: "k_port", Width: 5, Right: true},
		{Name: "daddr", Kind: "k_ip", Width: 15}, {Name: "dport", Kind: "k_port", Width: 5, Right: true},
		{Name: "error", Kind: "k_errno", Width: 12}, {Name: "latency", Kind: "k_ns", Width: 7, Right: true},
		{Name: "state", Kind: "k_tcpstate", Width: 11}, {Name: "uid", Kind: "k_uid", Width: 5, Right: true}}}
	if got, want := toJSON(t, e.Stream()), toJSON(t, want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Every column is the path of a field that the events really have.
func TestStreamNamesFields(t *testing.T) {
	for _, name := range []string{"connect", "numbers", "addresses", "names", "results", "enums", "strings", "lists", "nested", "bits", "stats", "typedefs"} {
		typ, raw := sample(t, name)
		e, err := NewEvents("n", "s", typ, testEnv())
		if err != nil {
			t.Fatal(err)
		}
		line, err := e.Append(nil, raw)
		if err != nil {
			t.Fatal(err)
		}
		data := decode(t, line)
		for _, c := range e.Stream().Columns {
			if strings.HasPrefix(c.Name, "empty.m") {
				continue // statistics of nothing have no extremes
			}
			fields, found := data, false
			for part := range strings.SplitSeq(c.Name, ".") {
				var v any
				v, found = fields.Get(part)
				fields, _ = v.(output.Fields)
			}
			if !found || c.Kind == "" || c.Width <= 0 {
				t.Errorf("%s: column %+v: found %v", name, c, found)
			}
		}
	}
}

func TestEventStacks(t *testing.T) {
	typ, raw := sample(t, "stacks")
	e, err := NewEvents("n", "s", typ, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	e.ResolveStacks(fakeStacks{})
	line, err := e.Append(nil, raw)
	if err != nil {
		t.Fatal(err)
	}
	want := `"data":{"pid":7,"kernel":["k3","\u001bentry"],"user":["pid 7 id -14"]}`
	if !strings.Contains(string(line), want) {
		t.Errorf("got %s", line)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	for _, name := range []string{"connect", "names", "unnamed_values", "strings", "args", "times", "places", "addrs", "bits", "exits", "lists", "stats"} {
		typ, raw := sample(t, name)
		e, err := NewEvents("n", "s", typ, testEnv())
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 0, 64<<10)
		if n := testing.AllocsPerRun(200, func() {
			if _, err := e.Append(buf, raw); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations an event", name, n)
		}
	}
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func BenchmarkAppend(b *testing.B) {
	for _, name := range []string{"connect", "names", "strings", "times"} {
		b.Run(name, func(b *testing.B) {
			typ, raw := sample(b, name)
			e, err := NewEvents("db-3", "connects", typ, NewEnv())
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			before := clock(unix.CLOCK_PROCESS_CPUTIME_ID)
			for b.Loop() {
				if _, err := e.Append(buf, raw); err != nil {
					b.Fatal(err)
				}
			}
			// What an event costs, whoever else uses the processors.
			b.ReportMetric(float64(clock(unix.CLOCK_PROCESS_CPUTIME_ID)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkTime is what a time costs that has been, and one that has not come yet.
func BenchmarkTime(b *testing.B) {
	for name, ahead := range map[string]uint64{"past": 0, "future": uint64(time.Hour)} {
		b.Run(name, func(b *testing.B) {
			e := NewEnv()
			at := uint64(clock(unix.CLOCK_MONOTONIC)) + ahead
			for b.Loop() {
				if _, ok := e.wall(at, false); !ok {
					b.Fatal("it is no time")
				}
			}
		})
	}
}

// Text of traced programs leaves without secrets, if that is asked for; nothing
// else changes.
func TestRedact(t *testing.T) {
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	typ := &btf.Struct{Name: "event", Size: 68, Members: []btf.Member{
		{Name: "line", Type: &btf.Array{Type: char, Index: u32, Nelems: 64}},
		{Name: "n", Type: u32, Offset: 64 * 8},
	}}
	raw := make([]byte, 68)
	copy(raw, "mysql --password=hunter2 \x1b")
	raw[64] = 7
	for _, tt := range []struct {
		env  *Env
		want string
	}{
		{&Env{}, "mysql --password=hunter2 \x1b"},
		{NewEnv(), "mysql --password=" + redact.Mark + " \x1b"},
	} {
		e, err := NewEvents("n", "s", typ, tt.env)
		if err != nil {
			t.Fatal(err)
		}
		line, err := e.Append(nil, raw)
		if err != nil {
			t.Fatal(err)
		}
		data := decode(t, line)
		if v, _ := data.Get("line"); v != tt.want {
			t.Errorf("got %q, want %q", v, tt.want)
		}
		if v, _ := data.Get("n"); v != json.Number("7") {
			t.Errorf("n is %v", v)
		}
		// As the key of a map, where it is no line of JSON.
		p := printer{env: tt.env}
		if v := p.field(&e.root.children[0], raw); v != tt.want {
			t.Errorf("as a value: got %q, want %q", v, tt.want)
		}
	}
}

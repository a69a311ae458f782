package program

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

func build(t *testing.T, o *Object, opt Options) *Manifest {
	t.Helper()
	m, err := Build(o, opt)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBuild(t *testing.T) {
	o := parsed(t, compiled(t, "conventions.bpf.c"))
	m := build(t, o, Options{
		Name: "conv", Title: "a title", Hz: 49, View: View{Top: 10, Interval: time.Second},
		Constants: map[string]string{"pid": "7", "daddr": "2001:db8::1"},
	})
	want := &Manifest{
		Version: 1, Name: "conv", Title: "a title",
		Programs: []Program{
			{"on_connect", Hook{Kind: Tracepoint, Target: "syscalls:sys_enter_connect"}},
			{"on_sample", Hook{Kind: PerfEvent, Target: "cpu-clock", Hz: 49}},
		},
		Constants: []Constant{{"daddr", "2001:db8::1"}, {"pid", "7"}},
		Maps: []Map{
			{"by_process", RoleOutput, 1024}, {"entered", RoleInternal, 64}, {"events", RoleEvents, MinRing},
			{"kgent_stats", RoleInternal, 1}, {"latency", RoleOutput, 1}, {"stacks", RoleStacks, 128},
		},
		View: View{Top: 10, Interval: time.Second},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("manifest\n%+v, want\n%+v", m, want)
	}
}

func TestManifestRoundTrip(t *testing.T) {
	o := parsed(t, compiled(t, "conventions.bpf.c"))
	for _, opt := range []Options{
		{Name: "bare"},
		{Name: "full", Title: "quotes \" and \u2028 <html>", Constants: map[string]string{"comm": "a\"b"}, View: View{Top: 3}},
	} {
		m := build(t, o, opt)
		raw, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: decoded %+v, want %+v", opt.Name, got, m)
		}
		again, err := got.Encode()
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%s: encoded again as %s (%v), before %s", opt.Name, again, err, raw)
		}
		if err := got.Check(o); err != nil {
			t.Errorf("%s: %v", opt.Name, err)
		}
	}
}

func TestDecodeManifestRefuses(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"nothing", ``, "EOF"},
		{"no JSON", `version: 1`, "invalid character"},
		{"another version", `{"version":2}`, "version 2, this kgent reads version 1"},
		{"no version", `{}`, "version 0"},
		{"unknown field", `{"version":1,"pin":"/sys/fs/bpf/x"}`, `unknown field "pin"`},
		{"unknown field of a hook", `{"version":1,"programs":[{"name":"p","hook":{"kind":"xdp","force":true}}]}`, `unknown field "force"`},
		{"a second document", `{"version":1}{"version":1}`, "data after its end"},
		{"a number too large", `{"version":1,"maps":[{"name":"m","max_entries":4294967296}]}`, "4294967296"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := DecodeManifest([]byte(tt.raw))
			wantError(t, err, "decoding manifest", tt.want)
		})
	}
}

func TestCheck(t *testing.T) {
	conventions := compiled(t, "conventions.bpf.c")
	const net = `SEC("xdp") int x(struct xdp_md *ctx) { return 2; }
		SEC("cgroup_skb/ingress") int c(struct __sk_buff *skb) { return 1; }`
	network := source(t, net)
	tests := []struct {
		name   string
		elf    []byte
		opt    Options
		change func(m *Manifest) // after a successful Build; nil: Build fails
		want   string
	}{
		{name: "no name", elf: conventions, opt: Options{}, want: `name ""`},
		{name: "odd name", elf: conventions, opt: Options{Name: "a b"}, want: `name "a b": want 1 to 64`},
		{name: "long name", elf: conventions, opt: Options{Name: strings.Repeat("n", 65)}, want: "want 1 to 64"},
		{name: "top below zero", elf: conventions, opt: Options{Name: "n", View: View{Top: -1}}, want: "top -1"},
		{name: "top too large", elf: conventions, opt: Options{Name: "n", View: View{Top: 1001}}, want: "want 0 to 1000"},
		{name: "short interval", elf: conventions, opt: Options{Name: "n", View: View{Interval: time.Millisecond}}, want: "want 100ms to 1h"},
		{name: "negative interval", elf: conventions, opt: Options{Name: "n", View: View{Interval: -time.Second}}, want: "want 100ms to 1h"},
		{name: "unknown parameter", elf: conventions, opt: Options{Name: "n", Constants: map[string]string{"port": "1"}}, want: `no parameter "port"; it has: comm, daddr, dport, longer_than, pid, uid`},
		{name: "the node's parameter", elf: conventions, opt: Options{Name: "n", Constants: map[string]string{"kgent_self": "1"}}, want: `no parameter "kgent_self"`},
		{name: "no parameters at all", elf: network, opt: Options{Name: "n", Interface: "lo", Constants: map[string]string{"pid": "1"}}, want: "it has: none"},
		{name: "value that does not fit", elf: conventions, opt: Options{Name: "n", Constants: map[string]string{"dport": "70000"}}, want: `parameter dport: "70000" does not fit`},
		{name: "too many samples", elf: conventions, opt: Options{Name: "n", Hz: 10_001}, want: "10001 samples a second"},
		{name: "negative samples", elf: conventions, opt: Options{Name: "n", Hz: -1}, want: "-1 samples a second"},
		{name: "no interface", elf: network, opt: Options{Name: "n"}, want: `"" is no network interface: name one`},
		{name: "long interface", elf: network, opt: Options{Name: "n", Interface: "abcdefghijklmnop"}, want: "is no network interface"},
		{name: "a path as interface", elf: network, opt: Options{Name: "n", Interface: "../eth0"}, want: "is no network interface"},
		{name: "cgroup outside", elf: network, opt: Options{Name: "n", Interface: "lo", Cgroup: "a/../../b"}, want: "leaves the cgroup tree"},
		{name: "unsupported hook", elf: source(t, `SEC("syscall") int p(void *ctx) { return 0; }`), opt: Options{Name: "n"}, want: `SEC("syscall") is not a hook`},
		{name: "sockmap", elf: source(t, `struct { __uint(type, 15 /* SOCKMAP */); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } socks SEC(".maps");
			SEC("raw_tp/sys_enter") int p(void *ctx) { __u32 k = 0; bpf_map_delete_elem(&socks, &k); return 0; }`), opt: Options{Name: "n"}, want: "map socks: kgent loads no Sock"},
		{name: "perf buffer", elf: source(t, `struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } pb SEC(".maps");
			SEC("raw_tp/sys_enter") int p(void *ctx) { int x = 0; return bpf_perf_event_output(ctx, &pb, 0, &x, 4); }`), opt: Options{Name: "n"}, want: "perf buffers are not read by kgent"},
		{name: "untyped ring buffer", elf: source(t, `struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");
			SEC("raw_tp/sys_enter") int p(void *ctx) { int x = 0; return bpf_ringbuf_output(&rb, &x, 4, 0); }`), opt: Options{Name: "n"}, want: "a ring buffer needs __type(value, struct"},
		{name: "untyped output", elf: source(t, `struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __uint(key_size, 4); __uint(value_size, 4); } out SEC(".maps") KGENT_OUTPUT;
			SEC("raw_tp/sys_enter") int p(void *ctx) { int x = 0; return bpf_map_delete_elem(&out, &x); }`), opt: Options{Name: "n"}, want: "an output map needs __type(key"},
		{name: "huge map", elf: source(t, `struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1000001); __type(key, int); __type(value, int); } big SEC(".maps");
			SEC("raw_tp/sys_enter") int p(void *ctx) { int x = 0; return bpf_map_delete_elem(&big, &x); }`), opt: Options{Name: "n"}, want: "map big: 1000001 entries, at most 1000000"},

		{name: "a program too few", elf: conventions, change: func(m *Manifest) { m.Programs = m.Programs[:1] }, want: "1 programs, the object has 2"},
		{name: "another program", elf: conventions, change: func(m *Manifest) { m.Programs[1].Name = "other" }, want: `program 1 is "other", the object's is "on_sample"`},
		{name: "another hook", elf: conventions, change: func(m *Manifest) { m.Programs[0].Hook.Target = "syscalls:sys_enter_execve" }, want: "is not the object's tracepoint syscalls:sys_enter_connect"},
		{name: "another kind of hook", elf: conventions, change: func(m *Manifest) { m.Programs[1].Hook = Hook{Kind: Kprobe, Target: "vfs_read", Hz: 99} }, want: "is not the object's"},
		{name: "another event", elf: conventions, change: func(m *Manifest) { m.Programs[1].Hook.Target = "page-faults" }, want: "is not the object's"},
		{name: "a binary on a tracepoint", elf: conventions, change: func(m *Manifest) { m.Programs[0].Hook.Binary = "bash" }, want: "is not the object's"},
		{name: "a symbol on XDP", elf: network, opt: Options{Interface: "lo"}, change: func(m *Manifest) { m.Programs[1].Hook.Symbol = "x" }, want: "is not the object's"},
		{name: "a map too few", elf: conventions, change: func(m *Manifest) { m.Maps = m.Maps[1:] }, want: "5 maps, the object has 6"},
		{name: "a map twice", elf: conventions, change: func(m *Manifest) { m.Maps[1] = m.Maps[0] }, want: "map 1 is by_process (output), the object's is entered (internal)"},
		{name: "another role", elf: conventions, change: func(m *Manifest) { m.Maps[1].Role = RoleOutput }, want: "map 1 is entered (output)"},
		{name: "a small ring", elf: conventions, change: func(m *Manifest) { m.Maps[2].MaxEntries = 4096 }, want: "ring buffer events: 4096 bytes"},
		{name: "a large ring", elf: conventions, change: func(m *Manifest) { m.Maps[2].MaxEntries = 2 * MaxRing }, want: "want a power of two"},
		{name: "an odd ring", elf: conventions, change: func(m *Manifest) { m.Maps[2].MaxEntries = MinRing + 4096 }, want: "want a power of two"},
		{name: "a map made huge", elf: conventions, change: func(m *Manifest) { m.Maps[0].MaxEntries = MaxMapEntries + 1 }, want: "at most 1000000"},
		{name: "a parameter twice", elf: conventions, change: func(m *Manifest) { m.Constants = []Constant{{"pid", "1"}, {"pid", "2"}} }, want: `"pid" is set twice`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := parsed(t, tt.elf)
			if tt.change == nil {
				_, err := Build(o, tt.opt)
				wantError(t, err, tt.want)
				return
			}
			tt.opt.Name = "n"
			m := build(t, o, tt.opt)
			tt.change(m)
			wantError(t, m.Check(o), tt.want)
			_, err := o.Collection(m, nil)
			wantError(t, err, tt.want)
		})
	}
}

func TestTargets(t *testing.T) {
	o := parsed(t, source(t, `SEC("xdp") int x(struct xdp_md *ctx) { return 2; }
		SEC("cgroup_skb/egress") int c(struct __sk_buff *skb) { return 1; }`))
	m := build(t, o, Options{Name: "n", Interface: "eth0", Cgroup: "system.slice/nginx.service"})
	if got := m.Programs[0].Hook.String(); got != "cgroup_skb/egress system.slice/nginx.service" {
		t.Errorf("hook %q", got)
	}
	if got := m.Programs[1].Hook.String(); got != "xdp eth0" {
		t.Errorf("hook %q", got)
	}
}

func TestCollection(t *testing.T) {
	o := parsed(t, compiled(t, "conventions.bpf.c"))
	m := build(t, o, Options{Name: "n", Constants: map[string]string{"pid": "4711", "comm": "nginx"}})
	m.Maps[0].MaxEntries = 77
	spec, err := o.Collection(m, map[string]string{"kgent_self": "99", "kgent_other": "1", "dport": "5"})
	if err != nil {
		t.Fatal(err)
	}
	value := func(spec *ebpf.CollectionSpec, name string) uint32 {
		var v uint32
		if err := spec.Variables[name].Get(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if got := value(spec, "pid"); got != 4711 {
		t.Errorf("pid %d", got)
	}
	if got := value(spec, "kgent_self"); got != 99 {
		t.Errorf("kgent_self %d", got)
	}
	var port uint16
	if err := spec.Variables["dport"].Get(&port); err != nil || port != 0 {
		t.Errorf("dport %d (%v): a node supplies none but its own parameters", port, err)
	}
	if got := spec.Maps["by_process"].MaxEntries; got != 77 {
		t.Errorf("by_process has %d entries", got)
	}
	if ring := spec.Maps["events"]; ring.MaxEntries != MinRing || ring.ValueSize != 0 || ring.Value != nil {
		t.Errorf("ring buffer %+v", ring)
	}
	// The object itself stays as it was.
	if got := value(o.spec, "pid"); got != 0 {
		t.Errorf("the object's own pid became %d", got)
	}
	if o.Maps()[0].MaxEntries != 1024 {
		t.Error("the object's own maps changed")
	}
	if _, err := o.Collection(m, map[string]string{"kgent_self": "me"}); err == nil {
		t.Error("a node's bad value was accepted")
	}
}

// The verifier of the running kernel takes what Collection returns.
func TestCollectionLoads(t *testing.T) {
	o := parsed(t, compiled(t, "conventions.bpf.c"))
	spec, err := o.Collection(build(t, o, Options{Name: "n", Constants: map[string]string{"pid": "1", "daddr": "::1"}}), map[string]string{"kgent_self": "1"})
	if err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("loading (needs CAP_BPF and CAP_PERFMON): %v", err)
	}
	coll.Close()
}

func TestPerfBytes(t *testing.T) {
	for _, tt := range []struct {
		all  uint32
		cpus int
		want int
	}{{1 << 20, 1, 1 << 20}, {1 << 20, 2, 1 << 19}, {1 << 20, 3, 1 << 18}, {1 << 20, 500, 64 << 10}, {MaxRing, 1, MaxRing}, {1 << 20, 0, 1 << 20}} {
		if got := PerfBytes(tt.all, tt.cpus); got != tt.want {
			t.Errorf("%d bytes for %d processors: %d each, want %d", tt.all, tt.cpus, got, tt.want)
		}
	}
}

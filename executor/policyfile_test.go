package executor

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kgent/agent/program"
)

func TestParsePolicy(t *testing.T) {
	if p, err := ParsePolicy(nil); err != nil || !reflect.DeepEqual(p, DefaultPolicy()) {
		t.Errorf("an empty file: %+v, %v", p, err)
	}
	p, err := ParsePolicy([]byte(`
allow_act: true
allow_helpers: [bpf_send_signal]
deny:
  hooks: ["kprobe tcp_*", "* vfs_read"]
  kinds: [fmod_ret]
  helpers: [bpf_probe_read_user]
  program_types: [xdp, lsm]
cpu: {per_run: 0.5%, all_runs: 2%}
runs: 3
programs_per_run: 5
maps_per_run: 7
map_memory_per_run: 64MiB
events_per_second: 1000
lines_per_second: 2000
bytes_per_second: 512KiB
pause_after_crash: {first: 30s, longest: 10m}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := NodePolicy{
		AllowAct:    true,
		DenyHelpers: []string{"bpf_probe_write_user", "bpf_override_return", "bpf_send_signal_thread", "bpf_send_signal_task", "bpf_probe_read_user"},
		DenyKinds:   []program.Kind{program.FmodRet},
		DenyHooks:   []string{"kprobe tcp_*", "* vfs_read"},
		DenyTypes:   []string{"xdp", "lsm"},
		MaxPrograms: 5, MaxMaps: 7, MaxMapBytes: 64 << 20, MaxRuns: 3,
		CPUPerRun: 0.005, CPUTotal: 0.02,
		MaxEvents: 1000, MaxLines: 2000, MaxBytes: 512 << 10,
		CrashFirst: 30 * time.Second, CrashMost: 10 * time.Minute,
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got\n%+v, want\n%+v", p, want)
	}
	for text, want := range map[string]string{
		"cpu: {per_run: 1}":                         "write it as 1%",
		"cpu: {per_run: -1%}":                       "no share of a core",
		"cpu: {per_run: NaN%}":                      "no share of a core",
		"cpu_per_run: 1%":                           "cpu_per_run",
		"runs: 0":                                   "at least 1",
		"runs: 1\nruns: 2":                          "runs",
		"events_per_second: -1":                     "at least 0",
		"map_memory_per_run: 64M":                   "write it as 64MiB",
		"map_memory_per_run: MiB":                   "write it as 64MiB",
		"bytes_per_second: 1e9GiB":                  "write it as 64MiB",
		"pause_after_crash: {first: 60}":            "write it as 60s",
		"pause_after_crash: {first: 2h}":            "is shorter than first",
		"deny: {kinds: [kprobes]}":                  "no kind of hook",
		"deny: {hooks: [tcp_sendmsg]}":              "a kind, a space and a target",
		"deny: {helpers: [send_signal]}":            "bpf_",
		"deny: {program_types: [XDP]}":              "is none",
		"allow_helpers: [bpf_send_signal]":          "needs allow_act",
		"{allow_act: true, allow_helpers: [bpf_x]}": "not denied by default",
		"[":                        "reading the node's policy",
		strings.Repeat("#", 2<<20): "at most",
	} {
		if _, err := ParsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"", "", true}, {"a", "", false}, {"*", "", true}, {"*", "anything at all", true},
		{"kprobe tcp_*", "kprobe tcp_sendmsg", true}, {"kprobe tcp_*", "kprobe udp_sendmsg", false}, {"* vfs_read", "kretprobe vfs_read", true},
		{"kprobe tcp_sendmsg", "kprobe tcp_*", true}, {"kprobe tcp_sendmsg", "kprobe *recv*", false}, {"a*c", "*b*", true}, {"a*c", "b*", false},
		{strings.Repeat("*a", 100), strings.Repeat("a*", 100) + "b", false},
	} {
		if overlap(test.a, test.b) != test.want || overlap(test.b, test.a) != test.want {
			t.Errorf("%.40q and %.40q: want %v", test.a, test.b, test.want)
		}
	}
}

// What a node's operator denied is refused, whatever was approved.
func TestDenied(t *testing.T) {
	o, m := built(t, plain, program.Options{})
	for _, test := range []struct {
		deny func(*NodePolicy)
		rule string
	}{
		{func(p *NodePolicy) { p.DenyHooks = []string{"* sys_*"} }, "denied-hook"},
		{func(p *NodePolicy) { p.DenyHooks = []string{"kprobe *"} }, ""},
		{func(p *NodePolicy) { p.DenyTypes = []string{"rawtracepoint"} }, "type"},
		{func(p *NodePolicy) { p.DenyTypes = programTypes()[:1] }, ""},
		{func(p *NodePolicy) { p.DenyKinds = []program.Kind{program.RawTracepoint} }, "kind"},
		{func(p *NodePolicy) { p.DenyHelpers = []string{"bpf_ringbuf_reserve"} }, "helper"},
		{func(p *NodePolicy) { p.MaxMaps = 1 }, "maps"},
		{func(p *NodePolicy) { p.MaxMapBytes = 1 << 10 }, "map-memory"},
	} {
		p := DefaultPolicy()
		test.deny(&p)
		err := p.Check(o, m, "observe", 2)
		var refused *PolicyError
		if test.rule == "" && err != nil || test.rule != "" && (!errors.As(err, &refused) || refused.Rule != test.rule) {
			t.Errorf("%q: %v", test.rule, err)
		}
	}
	for _, test := range []struct {
		rule   string
		hook   program.Hook
		denied bool
	}{
		{"kprobe tcp_sendmsg", program.Hook{Kind: program.Kprobe, Target: "tcp_sendmsg+0x4"}, true}, // an offset gets not around it
		{"kprobe tcp_*", program.Hook{Kind: program.KprobeMulti, Target: "tcp_sendmsg"}, true},
		{"kprobe tcp_sendmsg", program.Hook{Kind: program.KprobeMulti, Target: "tcp_*"}, true},
		{"kprobe tcp_sendmsg", program.Hook{Kind: program.KprobeMulti, Target: "vfs_read,tcp_sendmsg,vfs_write"}, true},
		{"kprobe tcp_sendmsg", program.Hook{Kind: program.KprobeMulti, Target: "vfs_read,tcp_recvmsg"}, false},
		{"kprobe.multi tcp_sendmsg", program.Hook{Kind: program.KprobeMulti, Target: "vfs_read,tcp_s?ndmsg"}, true},
		{"* tcp_sendmsg", program.Hook{Kind: program.KprobeMulti, Target: "[a-z]cp_sendms[!x]"}, true},
		{"* tcp_sendmsg", program.Hook{Kind: program.KprobeMulti, Target: `[\]t]cp_sendmsg`}, true},
		{"* tcp_sendmsg", program.Hook{Kind: program.KprobeMulti, Target: `\tcp_sendm*`}, true},
		{"* tcp_sendmsg", program.Hook{Kind: program.KprobeMulti, Target: "[uv]dp_sendmsg"}, false},
		{"kretprobe tcp_*", program.Hook{Kind: program.KretprobeMulti, Target: "tcp_sendmsg"}, true},
		{"kretprobe tcp_*", program.Hook{Kind: program.KprobeSession, Target: "tcp_sendmsg"}, true},
		{"kprobe tcp_*", program.Hook{Kind: program.KprobeSession, Target: "tcp_sendmsg"}, true},
		{"kprobe.multi *", program.Hook{Kind: program.Kprobe, Target: "tcp_sendmsg"}, false},
		{"kretprobe tcp_*", program.Hook{Kind: program.KprobeMulti, Target: "tcp_sendmsg"}, false},
		{"perf_event cpu-clock", program.Hook{Kind: program.PerfEvent, Target: "cpu-clock", Hz: 99}, true},
		{"socket eth0", program.Hook{Kind: program.SocketFilter, Target: "eth0"}, true},
	} {
		p := NodePolicy{DenyHooks: []string{test.rule}}
		if _, denied := p.denies(test.hook); denied != test.denied {
			t.Errorf("%s and %s: %v", test.rule, test.hook, denied)
		}
	}
}

// Every kind of hook can be denied, and is named as the kernel's facts do.
func TestKindsCanBeDenied(t *testing.T) {
	for _, k := range append(kinds, program.KprobeMulti, program.KretprobeMulti, program.KprobeSession, program.SocketFilter) {
		if _, err := ParsePolicy([]byte("deny: {kinds: [" + string(k) + "]}")); err != nil {
			t.Error(err)
		}
	}
	if names := programTypes(); !slices.Contains(names, "xdp") || !slices.Contains(names, "netfilter") || slices.ContainsFunc(names, func(s string) bool { return strings.Contains(s, "(") }) {
		t.Errorf("types %v", names)
	}
}

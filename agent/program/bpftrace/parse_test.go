package bpftrace

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	s := parse(t, `/* opens by process */
BEGIN { printf("tracing\n"); }
tracepoint:syscalls:sys_enter_openat,
t:syscalls:sys_enter_openat2 // two of them
/pid > 1 && strncmp("nginx", comm, 5) == 0/
{
	@start[tid] = nsecs;
	$flags = args->flags & 0x40;
	if ($flags) { @creates[comm, str(args->filename)] = count(); } else if (uid == 0) { @root++; } else { @other += 1; }
	unroll(3) { $i = 1; }
	@lat = hist((nsecs - @start[tid]) / 1000);
	@st[kstack, ustack(perf, 5), comm] = count();
	@t = (1, comm); printf("%d %s\n", (int32)((struct task_struct *)curtask)->pid, @t.1);
	delete(@start[tid]);
}
kretprobe:vfs_read /retval < 0/ { @err[-retval] = sum(1); @x[kstack] = avg(arg0 > 5 ? 1 : 2) }
uprobe:/bin/bash:readline { @b = lhist(arg0, 0, 100, 10); }
profile:hz:99 { @p = stats(cpu); }
interval:s:5 { print(@lat); clear(@lat); time("%H:%M\n"); }
END { clear(@start); }
`)
	var names []string
	for _, p := range s.Probes {
		names = append(names, p.Name)
	}
	want := []string{"BEGIN", "tracepoint:syscalls:sys_enter_openat", "tracepoint:syscalls:sys_enter_openat2", "kretprobe:vfs_read",
		"uprobe:/bin/bash:readline", "profile:hz:99", "interval:s:5", "END"}
	if !slices.Equal(names, want) {
		t.Errorf("probes %q, want %q", names, want)
	}
	i := slices.IndexFunc(s.Maps, func(m Map) bool { return m.Name == "@st" })
	if m := s.Maps[i]; m.Call != "count" || !slices.Equal(m.Keys, []string{"kstack", "ustack(perf, 5)", "comm"}) || !slices.Equal(m.Stack, []string{"kstack", "ustack", ""}) {
		t.Errorf("map %+v", m)
	}
	if !slices.Contains(s.Functions, "strncmp") || !slices.Contains(s.Builtins, "retval") {
		t.Errorf("functions %q, builtins %q", s.Functions, s.Builtins)
	}
}

// What must never pass, each with a word of why.
func TestParseRefuses(t *testing.T) {
	const open = "tracepoint:syscalls:sys_enter_openat"
	for name, tt := range map[string]struct{ script, why string }{
		"nothing":                      {"", "empty"},
		"comments only":                {"// nothing", "traces nothing"},
		"BEGIN alone":                  {`BEGIN { printf("x"); }`, "traces nothing"},
		"too long":                     {strings.Repeat(" ", MaxScript+1), "bytes"},
		"system":                       {open + ` { system("id"); }`, "statement"},
		"system as a value":            {open + ` { $x = system("id"); }`, "never allowed"},
		"system behind a comment":      {open + ` { /* */ $x /**/ = system /* hidden */ ("id"); }`, "never allowed"},
		"system in a filter":           {open + ` /system("id")/ { @ = count(); }`, "never allowed"},
		"system in a key":              {open + ` { @[system("id")] = count(); }`, "never allowed"},
		"system in an argument":        {open + ` { printf("%d", system("id")); }`, "never allowed"},
		"system in END":                {open + ` { @=count(); } END { $x = system("id"); }`, "never allowed"},
		"a comment in a comment":       {open + ` { /* /* */ $x = system("id"); */ @=count(); }`, "within this comment"},
		"a comment without end":        {open + ` { @=count(); } /* `, "no end"},
		"a comment in an attach point": {`uprobe:/bin/*/x:f { @=count(); } `, "several ways"},
		"text after a comment's slash": {`uprobe:/bin//x:f { @=count(); }`, "several ways"},
		"signal":                       {open + ` { $x = signal("KILL"); }`, "never allowed"},
		"override":                     {`kprobe:f { $x = override(1); }`, "never allowed"},
		"cat":                          {open + ` { $x = cat("/etc/shadow"); }`, "never allowed"},
		"join":                         {open + ` { $x = join(args->argv); }`, "never allowed"},
		"unknown function":             {open + ` { $x = execute("id"); }`, "not available"},
		"unknown name":                 {open + ` { $x = pcap; }`, "nothing that kgent knows"},
		"include":                      {"#include </etc/shadow>\n" + open + " { @=count(); }", "begin with #"},
		"include behind a space":       {"  #  include <linux/sched.h>\n" + open + " { @=count(); }", "begin with #"},
		"include in a block":           {open + " {\n#include \"/etc/shadow\"\n @=count(); }", "begin with #"},
		"define":                       {"#define count system\n" + open + " { @=count(); }", "begin with #"},
		"shebang":                      {"#!/usr/bin/bpftrace --unsafe\n" + open + " { @=count(); }", "begin with #"},
		"config block":                 {"config = { unsafe=1 }\n" + open + " { @=count(); }", "sets none of bpftrace's options"},
		"struct":                       {"struct x { int y; }\n" + open + " { @=count(); }", "defines no types"},
		"positional parameter":         {open + ` /pid == $1/ { @=count(); }`, "positional"},
		"number of parameters":         {open + ` { $x = $#; }`, "positional"},
		"wildcard":                     {`tracepoint:syscalls:* { @=count(); }`, "name each hook"},
		"wildcard for all":             {`kprobe:* { @=count(); }`, "name each hook"},
		"watchpoint":                   {`watchpoint:0x1000:8:w { @=count(); }`, "watchpoints"},
		"hardware":                     {`hardware:cache-misses:1 { @=count(); }`, "hardware"},
		"iterator":                     {`iter:task { @=count(); }`, "no kind of probe"},
		"kfunc":                        {`kfunc:vfs_read { @=count(); }`, "not available in scripts"},
		"address":                      {`kprobe:0xffffffff81000000 { @=count(); }`, "no name of a function"},
		"offset":                       {`kprobe:vfs_read+16 { @=count(); }`, "no name of a function"},
		"relative binary":              {`uprobe:bash:readline { @=count(); }`, "absolute path"},
		"binary by another way":        {`uprobe:/bin/../tmp/x:f { @=count(); }`, "absolute path"},
		"binary of a process":          {`uprobe:/proc/1/exe:f { @=count(); }`, "/proc/"},
		"too often":                    {`profile:hz:100000 { @=count(); }`, "times a second"},
		"twice":                        {open + ` { @=count(); } ` + open + ` { @=count(); }`, "probed twice"},
		"loop":                         {open + ` { while (1) { @++; } }`, "loops"},
		"long unroll":                  {open + ` { unroll(50) { unroll(50) { @++; } } }`, "at most"},
		"address of a thing":           {open + ` { $x = &args; }`, "addresses"},
		"escape in a string":           {open + ` { printf("\x1b[31m"); }`, "in a string only"},
		"octal escape in a string":     {open + ` { printf("\033[31m"); }`, "in a string only"},
		"raw escape":                   {open + " { printf(\"\x1b[31m\"); }", "control character"},
		"other letters":                {open + ` { printf("` + "\u202e" + `"); }`, "ASCII"},
		"string over lines":            {open + " { printf(\"a\nb\"); }", "does not end in its line"},
		"string without end":           {open + ` { printf("a`, "no end"},
		"format that is no text":       {open + ` { printf(str(args->filename)); }`, "in quotes"},
		"block without end":            {open + ` { @=count();`, "} is missing"},
		"after the end":                {open + ` { @=count(); } }`, "not understood"},
		"the tracer's pid in BEGIN":    {`BEGIN { @p = pid; } ` + open + ` { @=count(); }`, "no place in BEGIN"},
		"memory in BEGIN":              {`BEGIN { @p = str(0x1000); } ` + open + ` { @=count(); }`, "no place in BEGIN"},
		"octal number":                 {open + ` { @ = 010; }`, "no number"},
		"nested":                       {open + ` { @ = ` + strings.Repeat("(", 100) + "1" + strings.Repeat(")", 100) + `; }`, "nested"},
		"aggregate into a variable":    {open + ` { $x = count(); }`, "goes into a map"},
		"map filled in two ways":       {open + ` { @x = count(); @x = hist(1); }`, "filled by"},
		"keys that differ":             {open + ` { @x[1] = count(); @x[1, 2] = count(); }`, "keys elsewhere"},
		"zero byte":                    {open + " { @=count(); }\x00", "control character"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse([]byte(tt.script))
			if err == nil {
				t.Fatalf("accepted: %+v", s.Probes)
			}
			if _, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(err.Error(), tt.why) {
				t.Errorf("%v; want a refusal with %q", err, tt.why)
			}
		})
	}
}

func TestParseSaysWhere(t *testing.T) {
	_, err := Parse([]byte("tracepoint:a:b\n{\n  @ = count();\n  $x = cat(\"y\");\n}"))
	if r, ok := errors.AsType[*RefusedError](err); !ok || r.Line != 4 || r.Column != 8 {
		t.Errorf("%v", err)
	}
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]Version{"bpftrace v0.17.0\n": {0, 17, 0}, "v0.20.2-dirty": {0, 20, 2}, "0.23": {0, 23, 0}} {
		if v, err := ParseVersion(text); err != nil || v != want {
			t.Errorf("%q: %v, %v", text, v, err)
		}
	}
	for _, text := range []string{"", "1", "bpftrace", "v1.2.3.4", "0.-1"} {
		if v, err := ParseVersion(text); err == nil {
			t.Errorf("%q: %v", text, v)
		}
	}
	if a, b := (Version{0, 9, 5}), (Version{0, 17, 0}); !a.Less(b) || b.Less(a) || a.Less(a) {
		t.Error("order of versions")
	}
}

// Whatever it is fed, the parser returns; and what it accepts holds none of the
// calls that are never allowed outside of strings and comments.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`tracepoint:a:b /pid == 1/ { @[comm] = count(); printf("%d\n", pid); }`))
	f.Add([]byte(`BEGIN { } uprobe:/bin/x:f { unroll(2) { @x = (1, 2); } }`))
	f.Fuzz(func(t *testing.T, script []byte) {
		s, err := Parse(script)
		if err != nil {
			if _, ok := errors.AsType[*RefusedError](err); !ok {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		for _, fn := range s.Functions {
			if _, ok := functions[fn]; !ok || never[fn] != "" {
				t.Fatalf("accepted a call of %s", fn)
			}
		}
	})
}

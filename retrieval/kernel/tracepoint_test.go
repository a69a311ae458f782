package kernel

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestTracepoint(t *testing.T) {
	f := host(t)
	tp, err := f.Tracepoint("sched", "sched_switch")
	if err != nil {
		t.Fatal(err)
	}
	id, err := os.ReadFile(f.TracefsMount + "/events/sched/sched_switch/id")
	if err != nil {
		t.Fatal(err)
	}
	if got := strconv.FormatUint(tp.ID, 10); got != strings.TrimSpace(string(id)) {
		t.Errorf("ID = %s, the kernel says %s", got, id)
	}
	comm, ok := tp.Field("prev_comm")
	if !ok || comm.Type != "char" || !comm.Array || comm.Count != 16 || comm.Size != 16 || comm.Common() {
		t.Errorf("prev_comm is %+v", comm)
	}
	if _, ok := tp.Field("prev_com"); ok {
		t.Error("there is a field that does not exist")
	}
	if !strings.HasPrefix(tp.Signature(), "sched:sched_switch { char prev_comm[16]; pid_t prev_pid; ") {
		t.Errorf("Signature = %q", tp.Signature())
	}

	tp, err = f.Tracepoint("syscalls", "sys_enter_openat")
	if err != nil {
		t.Fatal(err)
	}
	if file, ok := tp.Field("filename"); !ok || file.Type != "const char *" || file.Size != 8 || file.Array {
		t.Errorf("filename is %+v", file)
	}
	tp, err = f.Tracepoint("sched", "sched_process_exec")
	if err != nil {
		t.Fatal(err)
	}
	if file, ok := tp.Field("filename"); !ok || !file.DataLoc || file.Type != "char" || file.Size != 4 {
		t.Errorf("filename is %+v", file)
	}
}

// TestAllTracepoints reads every format that this kernel has, and holds it against
// what must be true of any record.
func TestAllTracepoints(t *testing.T) {
	f := host(t)
	events, err := f.Tracepoints()
	if err != nil {
		t.Fatal(err)
	}
	if len(events) < 500 {
		t.Errorf("only %d tracepoints", len(events))
	}
	for _, event := range events {
		category, name, _ := strings.Cut(event, ":")
		tp, err := f.Tracepoint(category, name)
		if err != nil {
			t.Error(err)
			continue
		}
		if tp.String() != event {
			t.Errorf("%s reads %s", event, tp)
		}
		if len(tp.Fields) < 4 || !tp.Fields[0].Common() || tp.Fields[3].Name != "common_pid" {
			t.Errorf("%s has the fields %v", event, tp.Fields)
		}
		end := uint32(0)
		for _, field := range tp.Fields {
			if field.Offset < end {
				t.Errorf("%s: %s at %d overlaps the field before it", event, field, field.Offset)
			}
			end = field.Offset + field.Size
			if (field.DataLoc || field.RelLoc) && field.Size != 4 {
				t.Errorf("%s: %s is %d bytes", event, field, field.Size)
			}
			if field.Array && field.Count > 0 && field.Size%field.Count != 0 {
				t.Errorf("%s: %s is %d bytes", event, field, field.Size)
			}
			if strings.ContainsAny(field.Name+field.Type, "[];:\t") {
				t.Errorf("%s: name %q, type %q", event, field.Name, field.Type)
			}
		}
	}
}

func TestTracepointNames(t *testing.T) {
	m := newMachine(t)
	m.write("/sys/kernel/tracing/format", switchFormat)
	m.write("/secret/format", switchFormat)
	f := m.facts()
	for _, name := range [][2]string{
		{"sched", "sched_swich"}, {"", ""}, {"sched", ""}, {"..", ".."}, {".", "sched"}, {"sched/..", "sched/sched_switch"},
		{"../../../../secret", "."}, {"sched", "a\x00b"}, {"sched", strings.Repeat("x", 300)},
	} {
		tp, err := f.Tracepoint(name[0], name[1])
		var missing *NotFoundError
		if !errors.As(err, &missing) {
			t.Errorf("%q returned %v, %v", name, tp, err)
		}
	}
	_, err := f.Tracepoint("sched", "sched_swich")
	if want := "no tracepoint sched:sched_swich on kernel 6.1.99-test; did you mean sched:sched_switch?"; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestTracepointUnreadable(t *testing.T) {
	m := newMachine(t)
	m.write("/sys/kernel/tracing/events/sched/broken/format", "name: broken\nID: many\n")
	f := m.facts()
	if _, err := f.Tracepoint("sched", "broken"); err == nil || !strings.Contains(err.Error(), "reading tracepoint sched:broken: malformed format, line 2") {
		t.Errorf("got %v", err)
	}
	// Root reads everything; a kernel that is locked down says EPERM even to root.
	f.Lockdown = LockdownConfidentiality
	if err := f.explainTracefs(os.ErrPermission); !strings.Contains(err.Error(), "confidentiality") || !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
	f.Lockdown = LockdownNone
	if err := f.explainTracefs(os.ErrPermission); !strings.Contains(err.Error(), "CAP_DAC_READ_SEARCH") {
		t.Errorf("got %v", err)
	}
}

func TestParseFormatDecl(t *testing.T) {
	tests := []struct {
		decl string
		want TracepointField
		text string
	}{
		{"int common_pid", TracepointField{Name: "common_pid", Type: "int"}, "int common_pid"},
		{"char comm[16]", TracepointField{Name: "comm", Type: "char", Array: true, Count: 16}, "char comm[16]"},
		{"char comm[TASK_COMM_LEN]", TracepointField{Name: "comm", Type: "char", Array: true}, "char comm[]"},
		{"__u8 a[sizeof(struct sockaddr_in6)]", TracepointField{Name: "a", Type: "__u8", Array: true}, "__u8 a[]"},
		{"unsigned long args[]", TracepointField{Name: "args", Type: "unsigned long", Array: true}, "unsigned long args[]"},
		{"__data_loc char[] name", TracepointField{Name: "name", Type: "char", Array: true, DataLoc: true}, "__data_loc char[] name"},
		{"__data_loc cpumask_t cpumask", TracepointField{Name: "cpumask", Type: "cpumask_t", DataLoc: true}, "__data_loc cpumask_t cpumask"},
		{"__u8 a[N[2]]", TracepointField{Name: "a", Type: "__u8", Array: true}, "__u8 a[]"},
		{"__rel_loc u64[] addrs", TracepointField{Name: "addrs", Type: "u64", Array: true, RelLoc: true}, "__rel_loc u64[] addrs"},
		{"const char * filename", TracepointField{Name: "filename", Type: "const char *"}, "const char *filename"},
		{"const char *const * argv", TracepointField{Name: "argv", Type: "const char *const *"}, "const char *const *argv"},
		{"const void *const rule_attr", TracepointField{Name: "rule_attr", Type: "const void *const"}, "const void *const rule_attr"},
		{"struct iocb * * iocbpp", TracepointField{Name: "iocbpp", Type: "struct iocb * *"}, "struct iocb * *iocbpp"},
		{"void*ip", TracepointField{Name: "ip", Type: "void*"}, "void*ip"},
	}
	for _, test := range tests {
		got, err := parseFormatDecl(test.decl)
		if err != nil || got != test.want {
			t.Errorf("%q is %+v, %v", test.decl, got, err)
		}
		if got.String() != test.text {
			t.Errorf("%q is written %q", test.decl, got)
		}
	}
	for _, decl := range []string{"", "int", "*", "int a]", "[3]", "__data_loc name", "__data_loc [] name", "char[] name", "char a[][3]", "char name[]x]"} {
		if got, err := parseFormatDecl(decl); err == nil {
			t.Errorf("%q is %+v", decl, got)
		}
	}
}

func TestParseFormatMalformed(t *testing.T) {
	for name, change := range map[string][2]string{
		"no ID":                {"ID: 372\n", ""},
		"ID is no number":      {"ID: 372", "ID: -1"},
		"cut off":              {"print fmt", ""},
		"field before format":  {"format:\n", ""},
		"no end of field":      {"char prev_comm[16];", "char prev_comm[16]"},
		"no offset":            {"\toffset:24;", ""},
		"offset is no number":  {"offset:24", "offset:-24"},
		"offset is too large":  {"offset:24", "offset:99999999999"},
		"size is no number":    {"size:16", "size:sixteen"},
		"unknown property":     {"signed:1", "shiny:1"},
		"line that is unknown": {"ID:", "PID:"},
	} {
		text := strings.Replace(switchFormat, change[0], change[1], 1)
		if text == switchFormat {
			t.Fatalf("%s: nothing changed", name)
		}
		if got, err := parseFormat(text); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if got, err := parseFormat(""); err == nil {
		t.Errorf("nothing: got %+v", got)
	}
}

func FuzzParseFormat(f *testing.F) {
	f.Add(switchFormat)
	f.Add("ID:1\nformat:\nfield:__data_loc char[] n;\toffset:0;\tsize:4;\tsigned:1;\nprint fmt:")
	f.Fuzz(func(t *testing.T, text string) {
		tp, err := parseFormat(text)
		if err != nil {
			return
		}
		for _, field := range tp.Fields {
			if field.Name == "" || field.Type == "" || !isFieldName(field.Name) {
				t.Fatalf("%q gives the field %+v", text, field)
			}
			// What is written reads back the same, as far as it goes.
			again, err := parseFormatDecl(field.String())
			if err != nil || again.Name != field.Name || again.Array != field.Array || again.DataLoc != field.DataLoc {
				t.Fatalf("%+v is written %q and read %+v, %v", field, field, again, err)
			}
		}
	})
}

func isFieldName(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 127 || !isIdentByte(byte(r)) }) < 0
}

func BenchmarkTracepoint(b *testing.B) {
	f := host(b)
	b.ReportAllocs()
	for b.Loop() {
		f.formats.Clear()
		if _, err := f.Tracepoint("sched", "sched_switch"); err != nil {
			b.Fatal(err)
		}
	}
}

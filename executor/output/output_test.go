package output

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

var hostile = "a\"b\\c\x1b[31m\n\x7f\u009b\u202e\U000e0041\u2028<&>größe中🙂\ufffd"

// samples has a record of every type with every field set.
var samples = []Record{
	Stage{Name: "compile", State: "done", Detail: hostile, Millis: 83},
	Candidate{Digest: "ab12", Name: "tcp-connect", Title: hostile, Origin: "recipe tcp-connect", Verdict: "VERIFIED", Reason: "r", Contract: "c", Tier: "observe",
		Why: []string{"w"}, Hooks: []string{"tp_btf/x"}, Params: []Param{{"dport", "443"}}, Does: []string{"d"}, Nodes: []string{"n"}, Duration: "30s"},
	Attached{Node: "n", Run: "r", Hooks: []string{"h"}, ProgramIDs: []uint32{1}, MapIDs: []uint32{2},
		Streams: []Stream{{Name: "s", Columns: []Column{{Name: "pid", Kind: "k_pid", Width: 7, Right: true}}}}, Deadline: "2026-03-04T12:00:00Z"},
	Event{Node: "n", Stream: "s", Data: Fields{{"z", json.Number("18446744073709551615")}, {"a", hostile}, {"b", true}, {"n", nil},
		{"nested", Fields{{"y", json.Number("-1")}, {"x", ""}}}, {"list", []any{json.Number("1"), "x", Fields{{"k", false}}, []any{}}}}},
	Map{Node: "n", Name: "m", Entries: []MapEntry{{Key: Fields{{"pid", json.Number("1")}}, Value: Fields{{"count", json.Number("2")}}}}, Total: 5, At: "t", Final: true},
	Hist{Node: "n", Name: "h", Key: Fields{{"comm", "x"}}, Unit: "ns", Buckets: []Bucket{{Min: 1, Max: math.MaxUint64, Count: 3}}, Count: 3, At: "t", Final: true},
	Hist{Node: "n", Name: "h", Unit: "ns", Buckets: []Bucket{}, At: "t"},
	Stack{Node: "n", Name: "s", Key: Fields{{"pid", json.Number("1")}}, Frames: []string{"a+0x1", hostile}, Count: 2, Final: true},
	Text{Node: "n", Line: hostile},
	Summary{Reason: ReasonDeadline, Detail: "d", Counters: Counters{6, 1, 2, 3, 0, 5}, Overhead: Overhead{Runs: 1, Nanos: 2, CPUShare: 0.25, Available: true, Missed: 3, AttachMS: 1.5},
		Seconds: 30.5, Nodes: []NodeSummary{{Node: "n", Reason: ReasonStopped, Detail: "d", Counters: Counters{1, 1, 0, 0, 0, 0}}}},
	NodeSummary{Node: "n", Reason: ReasonFailed, Detail: "d", Counters: Counters{6, 1, 2, 3, 0, 5}, Overhead: Overhead{Runs: 1}},
	Check{Node: "n", Kernel: "6.1.0", OK: true, Programs: []Verified{{Program: "p", Processed: 7}}, Rule: "kernel", Detail: hostile, Millis: 3},
	Error{Node: "n", Code: "node", Message: hostile},
}

func TestRoundTrip(t *testing.T) {
	seen := map[Type]bool{}
	for _, r := range samples {
		seen[r.recordType()] = true
		line, err := Encode(r)
		if err != nil {
			t.Errorf("%T: %v", r, err)
			continue
		}
		if want := `{"type":"` + string(r.recordType()) + `",`; !strings.HasPrefix(string(line), want) || strings.Count(string(line), "\n") != 1 || line[len(line)-1] != '\n' {
			t.Errorf("%T: not one line that begins with its type: %q", r, line)
		}
		back, err := Decode(line)
		if err != nil {
			t.Errorf("%T: %v", r, err)
			continue
		}
		if !reflect.DeepEqual(back, r) {
			t.Errorf("got  %+v\nwant %+v", back, r)
		}
	}
	for typ := range decoders {
		if !seen[typ] {
			t.Errorf("no sample of %s", typ)
		}
	}
}

// A line may be written to a terminal as it is.
func TestLinesAreSafe(t *testing.T) {
	for _, r := range samples {
		line, err := Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range string(line[:len(line)-1]) {
			if !unicode.IsPrint(c) {
				t.Errorf("%T: %q in %s", r, c, line)
			}
		}
	}
	line, err := Encode(Text{Line: "größe 中🙂"})
	if err != nil || !strings.Contains(string(line), "größe 中🙂") {
		t.Errorf("text that is safe was changed: %s %v", line, err)
	}
}

func TestEncodeErrors(t *testing.T) {
	for _, r := range []Record{Summary{Seconds: math.NaN()}, Event{Data: Fields{{"f", make(chan int)}}}, Event{Data: Fields{{"f", json.Number("1x")}}}} {
		if line, err := Encode(r); err == nil || !strings.Contains(err.Error(), string(r.recordType())) {
			t.Errorf("%+v: %s, %v", r, line, err)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	deep := `{"type":"event","data":` + strings.Repeat(`{"a":`, 30) + "1" + strings.Repeat("}", 31)
	deepList := `{"type":"event","data":{"a":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + "}}"
	for _, tt := range []struct{ line, want string }{
		{"", "decoding record"}, {"{", "decoding record"}, {"[]", "decoding record"}, {"null", "unknown type"}, {"{}", `unknown type ""`}, {`{"type":"new"}`, `unknown type "new"`},
		{`{"type":5}`, "decoding record"}, {`{"type":"event"} {}`, "decoding record"}, {`{"type":"event","data":5}`, "want an object"}, {`{"type":"event","data":[]}`, "want an object"},
		{`{"type":"map","total":"x"}`, "decoding map"}, {deep, "deep"}, {deepList, "deep"}, {strings.Repeat(" ", MaxLine+1), "at most"},
	} {
		if r, err := Decode([]byte(tt.line)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60q: %v, %v, want %q", tt.line, r, err, tt.want)
		}
	}
	// What a newer node adds is no error.
	r, err := Decode([]byte(`{"new":[1],"type":"text","line":"x"}`))
	if err != nil || r != (Text{Line: "x"}) {
		t.Errorf("%v, %v", r, err)
	}
	r, err = Decode([]byte(`{"type":"event","data":null}`))
	if err != nil || r.(Event).Data != nil {
		t.Errorf("%v, %v", r, err)
	}
}

func TestFieldsGet(t *testing.T) {
	f := Fields{{"a", "1"}, {"b", nil}}
	if v, ok := f.Get("a"); v != "1" || !ok {
		t.Errorf("a is %v, %v", v, ok)
	}
	if v, ok := f.Get("b"); v != nil || !ok {
		t.Errorf("b is %v, %v", v, ok)
	}
	if _, ok := f.Get("c"); ok {
		t.Error("c is there")
	}
}

func TestCounters(t *testing.T) {
	c := Counters{Produced: 10, Delivered: 4, KernelLost: 3, Dropped: 2, BusTrimmed: 1, MapFull: 7}
	if !c.Balanced() {
		t.Error("10 = 4 + 3 + 2 + 1 is not balanced")
	}
	if sum := c.Add(c); sum != (Counters{20, 8, 6, 4, 2, 14}) || !sum.Balanced() {
		t.Errorf("twice is %+v", sum)
	}
	c.Delivered++
	if c.Balanced() {
		t.Error("10 = 5 + 3 + 2 + 1 is balanced")
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 3, 4, 13, 0, 0, 5e8, time.FixedZone("", 3600))
	if got := Time(at); got != "2026-03-04T12:00:00.5Z" {
		t.Errorf("got %s", got)
	}
}

func TestAppendString(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", `""`}, {"plain größe 中🙂", `"plain größe 中🙂"`}, {`a"b\c`, `"a\"b\\c"`}, {"\x00\x1f\x7f", `"\u0000\u001f\u007f"`}, {"\n\t", `"\u000a\u0009"`},
		{"\xff", `"\ufffd"`}, {"a\xc3", `"a\ufffd"`}, {"\xc3(", `"\ufffd("`}, {"\xe4\xb8", `"\ufffd\ufffd"`}, {"\xed\xa0\x80", `"\ufffd\ufffd\ufffd"`},
		{"\u009b\u202e\u2028\ufeff", `"\u009b\u202e\u2028\ufeff"`}, {"\U000e0041", `"\udb40\udc41"`}, {"\ufffd", "\"\ufffd\""}, {"</script>", `"</script>"`},
	} {
		if got := string(AppendString(nil, tt.in)); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
		if got := string(AppendString([]byte("x"), []byte(tt.in))); got != "x"+tt.want {
			t.Errorf("%q as bytes: got %s", tt.in, got)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add([]byte(hostile))
	f.Add([]byte("\xff\xc3\xed\xa0\x80"))
	f.Fuzz(func(t *testing.T, in []byte) {
		line := AppendString(nil, in)
		for _, r := range string(line) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q in %s", r, line)
			}
		}
		var back string
		if err := json.Unmarshal(line, &back); err != nil || !utf8.Valid(line) {
			t.Fatalf("%q: %v", line, err)
		}
		if want := string([]rune(string(in))); back != want {
			t.Fatalf("got %q, want %q", back, want)
		}
	})
}

// Whatever is on the bus: an error, or a record that travels on unchanged.
func FuzzDecode(f *testing.F) {
	for _, r := range samples {
		line, err := Encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Add([]byte(`{"type":"event","data":{"a":1e999,"a":"x","":{}}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := Decode(line)
		if err != nil {
			return
		}
		again, err := Encode(r)
		if err != nil {
			t.Fatalf("encoding what was decoded from %q: %v", line, err)
		}
		r2, err := Decode(again)
		if err != nil {
			t.Fatalf("decoding %q again: %v", again, err)
		}
		third, err := Encode(r2)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%q became %q, %v", again, third, err)
		}
	})
}

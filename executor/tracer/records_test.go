package tracer

import (
	"strings"
	"testing"

	"kgent/agent/program/bpftrace"
	"kgent/executor/output"
	"kgent/executor/redact"
)

func printed(t testing.TB, last bool, lines ...string) (*sink, *Run) {
	t.Helper()
	secrets, err := redact.New("hunter22")
	if err != nil {
		t.Fatal(err)
	}
	script, err := bpftrace.Parse([]byte(`tracepoint:a:b { @c[comm, pid] = count(); @h = hist(1); @hk[comm] = hist(1); @s = stats(1); @k[kstack, comm] = count();
	@u[comm, ustack] = count(); @n = 1; @t[pid] = (1, comm); }`))
	if err != nil {
		t.Fatal(err)
	}
	r := &Run{tracer: &Tracer{Node: "n1", Redact: secrets}, script: script}
	s := &sink{}
	tr := translator{run: r, sink: s, tables: map[string][]output.Record{}, last: last}
	for _, l := range lines {
		tr.line([]byte(l))
	}
	tr.end()
	return s, r
}

func TestRecords(t *testing.T) {
	for name, tt := range map[string]struct{ line, want string }{
		"text":          {`{"type": "printf", "data": "a\nb"}`, `{"type":"text","node":"n1","line":"a"}|{"type":"text","node":"n1","line":"b"}`},
		"escapes":       {`{"type": "printf", "data": "\u001b[31mred\n"}`, `{"type":"text","node":"n1","line":"\u001b[31mred"}`},
		"a secret":      {`{"type": "printf", "data": "password hunter22\n"}`, `{"type":"text","node":"n1","line":"password «redacted»"}`},
		"a value":       {`{"type": "value", "data": [1,"x"]}`, `{"type":"text","node":"n1","line":"[1,\"x\"]"}`},
		"no JSON":       {`what is this`, `{"type":"text","node":"n1","line":"what is this"}`},
		"unknown":       {`{"type": "surprise", "data": 1}`, `{"type":"text","node":"n1","line":"{\"type\": \"surprise\", \"data\": 1}"}`},
		"map":           {`{"type": "map", "data": {"@c": {"a,1": 2, "b,2": 5}}}`, `{"type":"map","node":"n1","name":"@c","entries":[{"key":{"comm":"b","pid":"2"},"value":{"value":5}},{"key":{"comm":"a","pid":"1"},"value":{"value":2}}],"total":2,"at":"","final":true}`},
		"commas":        {`{"type": "map", "data": {"@c": {"a,x,1": 2}}}`, `{"type":"map","node":"n1","name":"@c","entries":[{"key":{"key":"a,x,1"},"value":{"value":2}}],"total":1,"at":"","final":true}`},
		"scalar":        {`{"type": "map", "data": {"@n": -5}}`, `{"type":"map","node":"n1","name":"@n","entries":[{"key":{},"value":{"value":-5}}],"total":1,"at":"","final":true}`},
		"statistics":    {`{"type": "stats", "data": {"@s": {"count": 2, "average": 1, "total": 2}}}`, `{"type":"map","node":"n1","name":"@s","entries":[{"key":{},"value":{"count":2,"average":1,"total":2}}],"total":1,"at":"","final":true}`},
		"tuple":         {`{"type": "map", "data": {"@t": {"7": [1,"x"]}}}`, `{"type":"map","node":"n1","name":"@t","entries":[{"key":{"pid":"7"},"value":{"value":[1,"x"]}}],"total":1,"at":"","final":true}`},
		"histogram":     {`{"type": "hist", "data": {"@h": [{"max": -1, "count": 3}, {"min": 0, "max": 0, "count": 1}, {"min": 100, "count": 4}]}}`, `{"type":"text","node":"n1","line":"@h: 3 values below 0 are not in its histogram"}|{"type":"hist","node":"n1","name":"@h","unit":"count","buckets":[{"min":0,"max":0,"count":1},{"min":100,"max":18446744073709551615,"count":4}],"count":5,"at":"","final":true}`},
		"by key":        {`{"type": "hist", "data": {"@hk": {"a": [{"min": 1, "max": 1, "count": 1}]}}}`, `{"type":"hist","node":"n1","name":"@hk","key":{"comm":"a"},"unit":"count","buckets":[{"min":1,"max":1,"count":1}],"count":1,"at":"","final":true}`},
		"stack":         {`{"type": "map", "data": {"@k": {"\n    f+1\n    g+2\n,a,b": 3}}}`, `{"type":"stack","node":"n1","name":"@k","key":{"comm":"a,b"},"frames":["f+1","g+2"],"count":3,"final":true}`},
		"empty stack":   {`{"type": "map", "data": {"@k": {",a": 3}}}`, `{"type":"stack","node":"n1","name":"@k","key":{"comm":"a"},"frames":null,"count":3,"final":true}`},
		"user's stack":  {`{"type": "map", "data": {"@u": {"a,\n    main+1\n": 3}}}`, `{"type":"stack","node":"n1","name":"@u","key":{"comm":"a"},"frames":["main+1"],"count":3,"final":true}`},
		"no such map":   {`{"type": "map", "data": {"@zz": 1}}`, `{"type":"text","node":"n1","line":"{\"@zz\": 1}"}`},
		"no map at all": {`{"type": "map", "data": 7}`, `{"type":"text","node":"n1","line":"7"}`},
		"no histogram":  {`{"type": "hist", "data": {"@h": "x"}}`, `{"type":"text","node":"n1","line":"@h: a histogram that kgent cannot read"}`},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := printed(t, true, tt.line)
			var lines []string
			for _, r := range s.records {
				switch x := r.(type) {
				case output.Map:
					x.At = ""
					r = x
				case output.Hist:
					x.At = ""
					r = x
				}
				line, err := output.Encode(r)
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, strings.TrimSpace(string(line)))
			}
			if got := strings.Join(lines, "|"); got != tt.want {
				t.Errorf("\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestLost(t *testing.T) {
	_, r := printed(t, true, `{"type": "printf", "data": "a\n"}`, `{"type": "lost_events", "data": {"events": 41}}`, `{"type": "lost_events", "data": "x"}`)
	if produced, lost, _, _ := r.Counts(); produced != 42 || lost != 41 {
		t.Errorf("%d produced, %d lost", produced, lost)
	}
}

// What the script printed itself and then not again is final in the end.
func TestFinal(t *testing.T) {
	s, _ := printed(t, false, `{"type": "map", "data": {"@n": 1}}`, `{"type": "map", "data": {"@n": 2}}`)
	var final []output.Map
	for _, r := range s.records {
		if m := r.(output.Map); m.Final {
			final = append(final, m)
		}
	}
	if len(s.records) != 3 || len(final) != 1 || final[0].Entries[0].Value[0].Value.(interface{ String() string }).String() != "2" {
		t.Errorf("%+v", s.records)
	}
}

func FuzzRecords(f *testing.F) {
	for _, line := range []string{`{"type": "map", "data": {"@c": {"a,1": 2}}}`, `{"type": "hist", "data": {"@h": [{"min": 0, "max": 0, "count": 1}]}}`,
		`{"type": "stats", "data": {"@s": {"count": 2}}}`, `{"type": "map", "data": {"@k": {"\n    f+1\n,a": 3}}}`, `{"type": "printf", "data": "x"}`} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		s, _ := printed(t, true, line)
		for _, r := range s.records {
			if _, err := output.Encode(r); err != nil {
				t.Fatal(err)
			}
		}
	})
}

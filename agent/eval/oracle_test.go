package eval

import (
	"math"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/goccy/go-yaml"

	"kgent/executor/output"
)

func checks(t *testing.T, text string) []Check {
	t.Helper()
	var out []Check
	if err := yaml.UnmarshalWithOptions([]byte(text), &out, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	for i := range out {
		if err := out[i].check(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// records is a run as a node would tell it.
func records(t *testing.T, lines ...string) []output.Record {
	t.Helper()
	var out []output.Record
	for _, l := range lines {
		rec, err := output.Decode([]byte(l))
		if err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		out = append(out, rec)
	}
	return out
}

var run = []string{
	`{"type":"attached","node":"n","run":"r","hooks":[],"program_ids":[],"map_ids":[],"deadline":"","streams":[
	  {"name":"connects","events":true,"columns":[{"name":"pid","kind":"k_pid","width":4},{"name":"took","kind":"k_us","width":4}]},
	  {"name":"table","columns":[{"name":"comm","kind":"string","width":4},{"name":"count","kind":"k_count","width":4},{"name":"spent","kind":"k_ns","width":4}]}]}`,
	`{"type":"event","node":"n","stream":"connects","data":{"pid":17,"daddr":"::ffff:127.0.0.9","dport":443,"result":"ECONNREFUSED","took":41}}`,
	`{"type":"event","node":"n","stream":"connects","data":{"pid":17,"daddr":"fd00::2","dport":"0x1bb","result":-111,"took":42}}`,
	`{"type":"event","node":"n","stream":"connects","data":{"pid":18,"daddr":"fd00:0:0::3","dport":444,"result":0,"took":43}}`,
	`{"type":"map","node":"n","name":"table","total":3,"at":"","final":false,"entries":[{"key":{"comm":"early"},"value":{"count":1,"spent":5}}]}`,
	`{"type":"map","node":"n","name":"table","total":3,"at":"","final":true,"entries":[
	  {"key":{"comm":"busy","tid":1},"value":{"count":30,"spent":5000000}},{"key":{"comm":"busy","tid":2},"value":{"count":7,"spent":6000000}},{"key":{"comm":"lazy","tid":3},"value":{"count":2,"spent":1}}]}`,
	`{"type":"hist","node":"n","name":"sizes","key":{"comm":"busy"},"unit":"us","count":5,"at":"","final":true,"buckets":[{"min":8,"max":15,"count":2},{"min":16,"max":31,"count":3}]}`,
	`{"type":"stack","node":"n","name":"stacks","key":{"comm":"busy"},"frames":["vfs_read","ksys_read"],"count":9,"final":true}`,
	`{"type":"text","node":"n","line":"comm=bash pid:55 10.0.0.1:8080 (SIGTERM)"}`,
}

func TestJudge(t *testing.T) {
	seen := Seen{Rows: Rows(records(t, run...)), Facts: Facts{"pid": "17", "other.pid": "18", "took_min": "40000", "took_max": "50000", "n": "37"}}
	for _, c := range []struct {
		name, oracle string
		wrong        string // part of the only complaint; empty: none
	}{
		{"values together", `[{see: [$pid, 127.0.0.9, 443, ECONNREFUSED], times: 1}]`, ""},
		{"hexadecimal and numbers of errors", `[{see: ["fd00::2", 443, ECONNREFUSED]}]`, ""},
		{"an address in another notation", `[{see: ["fd00::3", $other.pid]}]`, ""},
		{"together means in one record", `[{see: [$pid, 444]}]`, "0 records hold 17, 444"},
		{"each in a field of its own", `[{see: [$pid, 17]}]`, "0 records"},
		{"too often", `[{see: [$pid], times: 1}]`, "2 records hold 17, want 1 to 1"},
		{"bounds", `[{see: [$pid], min: 1, max: 2}]`, ""},
		{"never", `[{never: [$pid, 444]}]`, ""},
		{"never, but there", `[{never: [444], what: no decoy}]`, "no decoy: 444 together"},
		{"what is not final does not count", `[{see: [early]}]`, "0 records"},
		{"a range", `[{see: [$other.pid, {min: 440, max: 450}]}]`, ""},
		{"a time in the column's unit", `[{see: [$pid, {time: {min: $took_min, max: $took_max}}], times: 2}]`, ""},
		{"a time too long", `[{see: [$pid, {time: {min: 1s}}]}]`, "0 records"},
		{"one of", `[{see: [{one_of: [nobody, $pid]}, 443]}]`, ""},
		{"text", `[{see: [{prefix: bu}, {suffix: sy}]}]`, "0 records"},
		{"text that matches", `[{see: [{match: "^bus.$"}, 30]}]`, ""},
		{"a sum over finer keys", `[{total: $n, of: [busy]}]`, ""},
		{"a sum of times", `[{total: {time: {min: 11ms, max: 11ms}}, of: [busy]}]`, ""},
		{"a wrong sum", `[{total: 38, of: [busy]}]`, "no column sums up to 38"},
		{"events counted", `[{total: 2, of: [$pid], listed: true}]`, ""},
		{"events not counted", `[{total: 2, of: [$pid]}]`, "no column sums up to 2"},
		{"a histogram", `[{hist: {time: {min: 16us, max: 31us}}, of: [busy], count: 3}]`, ""},
		{"a bucket across an end may be either", `[{hist: {time: {min: 10us, max: 31us}}, of: [busy], count: {min: 3, max: 3}}]`, ""},
		{"and no other number", `[{hist: {time: {min: 10us, max: 31us}}, of: [busy], count: 6}]`, "no histogram"},
		{"another unit", `[{hist: {time: {min: 16ms, max: 31ms}}, of: [busy], count: 3}]`, "no histogram"},
		{"order", `[{order: [[busy], [lazy]]}]`, ""},
		{"order the other way round", `[{order: [[lazy], [busy]]}]`, "no table has"},
		{"stacks", `[{see: [busy, vfs_read, 9]}]`, ""},
		{"printed lines", `[{see: [bash, 55, 10.0.0.1, 8080, SIGTERM]}]`, ""},
		{"alternatives", `[{any: [[{see: [nobody]}], [{see: [busy]}, {never: [nobody]}]]}]`, ""},
		{"no alternative", `[{any: [[{see: [nobody]}], [{never: [busy]}]]}]`, "none of the alternatives"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wrong, err := Judge(checks(t, c.oracle), seen)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.wrong == "" && len(wrong) > 0, c.wrong != "" && len(wrong) != 1:
				t.Errorf("found %q, want %q", wrong, c.wrong)
			case c.wrong != "" && !strings.Contains(wrong[0], c.wrong):
				t.Errorf("found %q, want %q", wrong[0], c.wrong)
			}
		})
	}
	if _, err := Judge(checks(t, `[{see: [$nothing]}]`), seen); err == nil {
		t.Error("a fact that nobody has said is no error")
	}
	seen.Dropped, seen.Full = 1, 1
	if wrong, err := Judge(checks(t, `[{see: [$pid]}]`), seen); err != nil || len(wrong) != 2 {
		t.Errorf("records that were not looked at: %q, %v", wrong, err)
	}
}

func TestSame(t *testing.T) {
	for _, c := range []struct {
		want, text string
		same       bool
	}{
		{"443", "443", true}, {"443", "0x1bb", true}, {"443", "444", false}, {"443", "443 bytes", false},
		{"ECONNREFUSED", "111", true}, {"ECONNREFUSED", "-111", true}, {"ECONNREFUSED", "ECONNRESET", false}, {"EAGAIN", "11", true},
		{"SIGTERM", "15", true}, {"SIGTERM", "SIGKILL", false}, {"SIGKILL", "KILL", true},
		{"kill", "9", false}, {"term", "15", false},
		{"sys:openat", "openat", true}, {"sys:openat", "257", true}, {"openat", "257", false},
		{"exit:3", "exit 3", true}, {"exit:3", "768", true}, {"exit:3", "SIGQUIT", false},
		{"TCP_ESTABLISHED", "ESTABLISHED", true}, {"TCP_ESTABLISHED", "1", true}, {"TCP_CLOSE", "8", false},
		{"CAP_NET_RAW", "13", true}, {"IPPROTO_UDP", "17", true}, {"IPPROTO_UDP", "UDP", true}, {"AF_INET6", "10", true},
		{"127.0.0.9", "::ffff:127.0.0.9", true}, {"127.0.0.9", "127.0.0.9:443", true}, {"127.0.0.9", "127.0.0.8", false},
		{"fd00::2", "fd00:0:0:0::2", true}, {"::1", "[::1]:80", true},
	} {
		if got := same(c.want, cellOf("x", "", c.text)); got != c.same {
			t.Errorf("%s in a field that shows %q: %v", c.want, c.text, got)
		}
	}
}

func TestSpan(t *testing.T) {
	s := Span{Min: "30ms", Max: "40ms"}
	for _, c := range []struct {
		name, kind, text string
		holds            bool
	}{
		{"took", "k_ns", "31000000", true}, {"took", "k_ns", "31000", false}, {"took", "k_us", "31000", true}, {"took", "k_ms", "30", true}, {"took", "k_ms", "41", false},
		{"took_us", "", "31000", true}, {"took_us", "", "31", false}, {"took", "", "31", true}, {"took", "", "31000", true}, {"took", "", "310", false},
	} {
		if got := s.holds(cellOf(c.name, c.kind, c.text)); got != c.holds {
			t.Errorf("%s %s of %s: %v", c.text, c.name, c.kind, got)
		}
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		n, of     int
		low, high float64
	}{{81, 120, 0.587, 0.752}, {0, 3, 0, 0.561}, {3, 3, 0.438, 1}, {1, 2, 0.095, 0.905}} {
		s := ShareOf(c.n, c.of)
		if math.Abs(s.Low-c.low) > 0.002 || math.Abs(s.High-c.high) > 0.002 {
			t.Errorf("%d of %d: %.3f to %.3f, want %.3f to %.3f", c.n, c.of, s.Low, s.High, c.low, c.high)
		}
	}
}

// What is wrong with a case is said, all of it.
func TestBadCase(t *testing.T) {
	const text = `
title: ""
category: sports
requests: [" "]
workloads: [{as: much-too-long-a-name, steps: [sleep 1ms]}, {as: x, do: nothing}]
right: {}
wrong: [{name: same, why: no reason}]
oracle: [{see: [1], never: [2]}]
`
	_, err := Read(fstest.MapFS{"case.yaml": {Data: []byte(text)}}, "bad")
	if err == nil {
		t.Fatal("a bad case was read")
	}
	for _, want := range []string{"no title", `category "sports"`, "request is empty", "1 to 15 bytes", "two workloads have the id", "recipe or a file", "want at least two", "it is the right one", "has 2 of see"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q: %v", want, err)
		}
	}
	if _, err := Read(fstest.MapFS{"case.yaml": {Data: []byte("title: x\nunknown: 1\n")}}, "bad"); err == nil {
		t.Error("an unknown key was read over")
	}
}

package recipes

import (
	"strings"
	"testing"
)

func TestStem(t *testing.T) {
	for _, same := range [][]string{
		{"open", "opens", "opened", "opening"},
		{"delete", "deletes", "deleted", "deleting"},
		{"process", "processes"},
		{"drop", "drops", "dropped", "dropping"},
		{"kill", "kills", "killed", "killing"},
		{"type", "types", "typed", "typing"},
		{"move", "moves", "moved", "moving"},
		{"log", "logs", "logged", "logging"},
		{"try", "tries", "tried", "trying"},
		{"latency", "latencies"},
		{"size", "sizes", "sized"},
		{"access", "accesses", "accessed"},
		{"crash", "crashes", "crashed"},
		{"exceed", "exceeds", "exceeding", "exceeded"},
	} {
		for _, w := range same[1:] {
			if stem(w) != stem(same[0]) {
				t.Errorf("%s is %s, %s is %s", w, stem(w), same[0], stem(same[0]))
			}
		}
	}
	for _, different := range [][2]string{
		{"not", "note"}, {"connect", "connection"}, {"us", "use"}, {"thing", "the"}, {"string", "str"}, {"dns", "dn"}, {"status", "statu"}, {"need", "ne"},
	} {
		if stem(different[0]) == stem(different[1]) {
			t.Errorf("%s and %s are both %s", different[0], different[1], stem(different[0]))
		}
	}
}

func TestSplit(t *testing.T) {
	lex := library(t).lexicon
	for text, want := range map[string]string{
		"trace, please: execs!":            "trace|please|execs",
		"read/write sizes":                 "read|write|sizes",
		"/etc/passwd":                      "/etc/passwd",
		"pid=12 port:443":                  "pid|12|port|443",
		"latency>10ms":                     "latency|>|10ms",
		"(see \"Web Content\")":            `see|Web Content`,
		"\"trace every exec\"":             "trace|every|exec",
		"SYN_SENT -> ESTABLISHED":          "SYN_SENT|to|ESTABLISHED",
		"[::1]:80, then":                   "[::1]:80|then",
		"nginx’s":                          "nginx",
		"read() and mount(2).":             "read|and|mount",
		"packets/s":                        "packets|per|s",
		"30-second":                        "30|second",
		"it's «foo»":                       "it|foo",
		"don't":                            "don't",
		"a - b":                            "a|b",
		"tcp & udp":                        "tcp|and|udp",
		"\u00a0\u2003x":                    "x",
		"'tis an unclosed quote":           "tis|an|unclosed|quote",
		"what's the \"run queue latency\"": "what|the|run|queue|latency",
	} {
		var got []string
		for _, w := range split(text, lex.inHyphens) {
			got = append(got, w.text)
		}
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("%q: got %s, want %s", text, s, want)
		}
	}
}

func TestCorrect(t *testing.T) {
	lex := library(t).lexicon
	for word, want := range map[string]string{
		"conections": "connection", "retranmits": "retransmit", "wich": "which", "latnecy": "latency", "sycall": "syscall", "proccess": "process",
		"connections": "", "foo": "", "kubernetes": "", "locks": "", "nginx": "", "zzzzz": "", "r3ad": "",
	} {
		got, ok := lex.correct(word)
		if ok != (want != "") || stem(got) != stem(want) {
			t.Errorf("%s: got %q, %v, want %q", word, got, ok, want)
		}
	}
}

func TestOneEdit(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"trace", "trace", false}, {"trace", "trac", true}, {"trac", "trace", true}, {"trace", "trade", true}, {"trace", "tarce", true}, {"trace", "tracing", false},
		{"ab", "ba", true}, {"abc", "cba", false}, {"", "a", true}, {"", "", false}, {"abcd", "acbd", true}, {"abcd", "abdcx", false},
	} {
		if got := oneEdit(tt.a, tt.b); got != tt.want {
			t.Errorf("oneEdit(%q, %q) = %v", tt.a, tt.b, got)
		}
	}
}

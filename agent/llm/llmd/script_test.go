package llmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const example = `
models: [gpt-6-sol]
key: sk-test
rules:
  - name: limited
    match: {user: "(?i)tcp connects", call: 1}
    status: 429
    headers: {Retry-After: "2"}
  - match: {schema: ebpf_program, sends: [seed]}
    json: {source: "int x;", count: 3, list: [1, 2.5, null], inner: {deep: true}}
    chunk_delay: 20ms
    times: 2
  - match: {tool: "struct"}
    text: |
      two
      lines
    tool_calls:
      - {name: btf_type, arguments: {name: sock}}
      - {name: broken, id: c1, arguments: "{"}
  - hang: true
`

func TestParse(t *testing.T) {
	s, err := Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Rules) != 4 || s.Models[0] != "gpt-6-sol" || s.Key != "sk-test" {
		t.Fatalf("got %+v", s)
	}
	if r := s.Rules[0]; r.Name != "limited" || r.Status != 429 || r.Headers["Retry-After"] != "2" || r.Match.Call != 1 {
		t.Errorf("got %+v", r)
	}
	r := s.Rules[1]
	raw, err := encode(r.JSON)
	if err != nil || string(raw) != `{"count":3,"inner":{"deep":true},"list":[1,2.5,null],"source":"int x;"}` {
		t.Errorf("got %s, %v", raw, err)
	}
	if r.Name != "2" || r.ChunkDelay != 20*time.Millisecond || r.Times != 2 {
		t.Errorf("got %+v", r)
	}
	if r := s.Rules[2]; r.Text != "two\nlines\n" || len(r.ToolCalls) != 2 || r.ToolCalls[1].ID != "c1" {
		t.Errorf("got %+v", r)
	}
}

func TestParseJSON(t *testing.T) {
	s, err := Parse([]byte(`{"rules":[{"match":{"user":"\\d+"},"text":"a \"quoted\" text","delay":"1s"}]}`))
	if err != nil || s.Rules[0].Text != `a "quoted" text` || s.Rules[0].Delay != time.Second || s.Rules[0].Match.User != `\d+` {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ script, want string }{
		"nothing":        {"", "it is empty"},
		"not YAML":       {"rules: [", "sequence end token"},
		"not a script":   {"just words", "string"},
		"misspelt":       {"rules:\n  - txt: a", `unknown field "txt"`},
		"misspelt match": {"rules:\n  - text: a\n    match: {usr: a}", `unknown field "usr"`},
		"idle":           {"rules:\n  - name: lazy", "rule lazy: it does nothing"},
		"two things":     {"rules:\n  - {text: a, hang: true}", "rule 1: it does more than one thing: hang, text"},
		"status":         {"rules:\n  - {text: a, status: 99}", "the status 99"},
		"error alone":    {"rules:\n  - {text: a, error: {message: x}}", "an error needs a status"},
		"negative":       {"rules:\n  - {text: a, times: -1}", "times is negative"},
		"bad duration":   {"rules:\n  - {text: a, delay: soon}", "soon"},
		"long delay":     {"rules:\n  - {text: a, delay: 2h}", "a delay is longer than"},
		"negative delay": {"rules:\n  - {text: a, delay: -1s}", "delay is negative"},
		"pattern":        {"rules:\n  - {text: a, match: {user: '('}}", "match.user: error parsing regexp"},
		"finish":         {"rules:\n  - {text: a, finish: done}", `"done" is no finish reason`},
		"both ends":      {"rules:\n  - {text: a, cut_after: 1, end_after: 1}", "exclude each other"},
		"header":         {"rules:\n  - {text: a, headers: {'a b': x}}", `the header "a b" cannot be sent`},
		"header value":   {"rules:\n  - text: a\n    headers: {a: \"x\\r\\ny\"}", `the header "a" cannot be sent`},
		"tool":           {"rules:\n  - tool_calls: [{name: 'a b'}]", `"a b" is no name of a tool`},
		"huge":           {"rules:\n  - huge: 2000000000", "huge is more than"},
		"no number":      {"rules:\n  - json: {a: .nan}", "json:"},
		"key":            {"key: 'a b'\nrules: []", "the key contains a space"},
		"large":          {"# " + strings.Repeat("x", maxScript), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(tc.script)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "script.yaml")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte("rules: [{txt: a}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "txt") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Load(path); err != nil || len(s.Rules) != 4 {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestStartRefuses(t *testing.T) {
	if _, err := Start("127.0.0.1:0", Script{Rules: []Rule{{}}}, nil); err == nil || !strings.Contains(err.Error(), "it does nothing") {
		t.Errorf("got %v", err)
	}
	if _, err := Start("127.0.0.1:99999", Script{}, nil); err == nil || !strings.Contains(err.Error(), "listening") {
		t.Errorf("got %v", err)
	}
}

// A script that parses can be served: every rule does one thing and compiles.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(`{"rules":[{"text":"a","match":{"user":"x"}}]}`))
	f.Add([]byte("rules: &a [{text: *a}]"))
	f.Add([]byte("rules:\n- {text: a, delay: 1s, usage: {prompt_tokens: 1}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 8192 {
			return
		}
		s, err := Parse(data)
		if err != nil {
			return
		}
		if err := s.check(); err != nil {
			t.Fatalf("accepted, then refused: %v", err)
		}
		for i := range s.Rules {
			s.Rules[i].matches(&Request{Number: 1})
		}
	})
}

package contract

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestJSONRoundTrip(t *testing.T) {
	for _, file := range recipeFiles(t) {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			c, err := Parse(readFile(t, file))
			if err != nil {
				t.Fatal(err)
			}
			data, err := EncodeJSON(c)
			if err != nil {
				t.Fatal(err)
			}
			back, err := DecodeJSON(data)
			if err != nil {
				t.Fatalf("%v\n%s", err, data)
			}
			if got, want := Format(back), Format(c); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestDecodeJSONIsStrict(t *testing.T) {
	c, err := Parse(readFile(t, "../recipes/fsync-latency/contract.kc"))
	if err != nil {
		t.Fatal(err)
	}
	good, err := EncodeJSON(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"another member", `"title":`, `"titel": "x", "title":`, `the contract has no member "titel"; did you mean title?`},
		{"wrong case", `"title":`, `"Title":`, `has no member "Title"`},
		{"twice", `"title":`, `"title": "x", "title":`, `has the member "title" twice`},
		{"missing", `"how": "log2",`, ``, `lacks the member "how"`},
		{"wrong type", `"more": false`, `"more": "no"`, `tables[0].more: expected true or false, found a text`},
		{"null", `"how": "log2"`, `"how": null`, `tables[0].values[0].how: expected a text, found null`},
		{"no expression", `"is": "now"`, `"is": "now +"`, `hooks[0].cases[0].effects[0].fields[0].is, column 6: expected a value, found the end`},
		{"expression that goes on", `"is": "now"`, `"is": "now } emit x {"`, `expected the end, found “}”`},
		{"comment in an expression", `"is": "now"`, `"is": "now # x"`, `a character that does not belong there`},
		{"no name", `"name": "latency"`, `"name": "la tency"`, `tables[0].name: "la tency" is not a name`},
		{"wrong verb", `"do": "forget"`, `"do": "forgot"`, `"forgot" is none of emit, add, remember, change, forget, return; did you mean forget?`},
		{"no otherwise", `"when": "otherwise"`, `"when": "always"`, `has to be “otherwise”`},
		{"step", `"step": 1`, `"step": 2`, `expected step 1`},
		{"kind", `tracepoint/syscalls/sys_enter_fsync"`, `tracepont/syscalls/sys_enter_fsync"`, `did you mean tracepoint?`},
		{"place that goes on", `sys_enter_fsync"`, `sys_enter_fsync() case x"`, `has a character that no place has`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(string(good), tt.old) {
				t.Fatalf("the JSON does not contain %s", tt.old)
			}
			_, err := DecodeJSON([]byte(strings.Replace(string(good), tt.old, tt.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	if _, err := DecodeJSON(append(good, "{}"...)); err == nil {
		t.Error("what follows the contract was accepted")
	}
}

// What an author leaves out is as if it were empty.
func TestDraft(t *testing.T) {
	const draft = `{"analysis": "think", "cannot": "", "title": "Forks by user", "params": null,
		"tables": [{"name": "forks", "key": [{"name": "uid", "type": "k_uid"}], "values": [{"how": "count"}]}],
		"hooks": [{"places": [{"at": "tp_btf/sched_process_fork"}], "cases": [
			{"name": "forked", "when": "always", "effects": [{"do": "add", "to": "forks", "key": [{"name": "uid", "is": "current.uid"}], "value": "1"}]},
			{"name": "none", "when": "otherwise"}]}]}`
	d, err := DecodeDraft([]byte(draft))
	if err != nil {
		t.Fatal(err)
	}
	const want = `contract "Forks by user"

table forks { uid: k_uid } : count

hook tp_btf/sched_process_fork()
  case forked: always
    add 1 to forks[uid: current.uid]
  otherwise nothing
`
	if got := Format(d.Contract); got != want || d.Analysis != "think" {
		t.Errorf("%q: got:\n%s\nwant:\n%s", d.Analysis, got, want)
	}
	if d, err := DecodeDraft([]byte(`{"cannot": "nobody can", "title": "", "hooks": []}`)); err != nil || d.Cannot != "nobody can" || d.Contract != nil {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := DecodeDraft([]byte(`{"title": "x", "hooks": [{"places": [{"at": "xdp"}], "cases": [{"name": "otherwise", "when": "always"}]}]}`)); err == nil ||
		!strings.Contains(err.Error(), "the case otherwise has the condition “otherwise”") {
		t.Errorf("got %v", err)
	}
	if n := len(DraftSchema()); n > 8000 {
		t.Errorf("the schema for authors has %d bytes", n)
	}
	// A model answers in the order of the schema.
	last := 0
	for _, name := range []string{"analysis", "cannot", "title", "params", "tables", "hooks"} {
		at := strings.Index(string(DraftSchema()), `"`+name+`":{`)
		if at <= last {
			t.Errorf("%s is at %d, after %d", name, at, last)
		}
		last = at
	}
}

// What strict structured output demands of a schema.
func TestSchema(t *testing.T) {
	t.Run("whole", func(t *testing.T) { strictlyUsable(t, Schema()) })
	t.Run("draft", func(t *testing.T) { strictlyUsable(t, DraftSchema()) })
}

func strictlyUsable(t *testing.T, schema []byte) {
	var s map[string]any
	if err := json.Unmarshal(schema, &s); err != nil {
		t.Fatal(err)
	}
	total := 0
	var walk func(s map[string]any, objects int)
	walk = func(s map[string]any, objects int) {
		switch s["type"] {
		case "object":
			props := s["properties"].(map[string]any)
			total += len(props)
			if objects+1 > 5 {
				t.Errorf("objects are nested more than 5 deep at %v", s["required"])
			}
			if s["additionalProperties"] != false || len(s["required"].([]any)) != len(props) {
				t.Errorf("not strict: %v", s["required"])
			}
			for _, p := range props {
				walk(p.(map[string]any), objects+1)
			}
		case "array":
			walk(s["items"].(map[string]any), objects)
		case "string", "integer", "boolean":
		default:
			t.Errorf("type %v", s["type"])
		}
	}
	walk(s, 0)
	if total > 100 {
		t.Errorf("%d properties, want at most 100", total)
	}
}

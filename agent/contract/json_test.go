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
		{"missing", `"more": false,`, ``, `lacks the member "more"`},
		{"wrong type", `"more": false`, `"more": "no"`, `tables[0].more: expected true or false, found a text`},
		{"null", `"assume": [`, `"assume": null, "assumed": [`, `assume: expected a list, found null`},
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

// What strict structured output demands of a schema.
func TestSchema(t *testing.T) {
	var s map[string]any
	if err := json.Unmarshal(Schema(), &s); err != nil {
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

package llm

import (
	"encoding/json"
	"testing"
)

// What is mended is one JSON object or nothing, and what was one stays as it is.
func FuzzObject(f *testing.F) {
	for _, text := range []string{`{"a": 1,}`, "{\"a\": \"x\ny\"}", "{\"a\": \"\"\"x\"\"\"}", "{\"a\": `x`}", "```json\n{\"a\":{}}\n```", `{"a": "\'"}`, `<think>{</think>{"a":[1,]}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		object, err := Object(text)
		if err != nil {
			return
		}
		var v map[string]any
		if err := json.Unmarshal(object, &v); err != nil {
			t.Errorf("%q: %v", object, err)
		}
		if whole, _, err := extract(text); err == nil && string(whole) != string(object) {
			t.Errorf("%q became %q", whole, object)
		}
	})
}

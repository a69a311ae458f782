package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func mustParse(t *testing.T, raw string) *Schema {
	t.Helper()
	s, err := Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ raw, want string }{
		"no JSON":            {`{"type":`, "unexpected EOF"},
		"trailing":           {`{} {}`, "more follows"},
		"trailing bracket":   {`{} }`, "more follows"},
		"not an object":      {`[]`, "a schema is a JSON object"},
		"unknown type":       {`{"type":"text"}`, `at /type: "text" is no type`},
		"no types":           {`{"type":[]}`, "at /type: want at least one"},
		"type of a type":     {`{"type":3}`, "at /type: want a list of strings"},
		"properties":         {`{"properties":[]}`, "at /properties: want an object"},
		"inside a property":  {`{"properties":{"a":{"enum":[]}}}`, "at /properties/a/enum: want a list of at least one value"},
		"required":           {`{"required":[1]}`, "at /required: want a list of strings"},
		"anyOf":              {`{"anyOf":[]}`, "at /anyOf: want a list of at least one schema"},
		"inside anyOf":       {`{"anyOf":[{},7]}`, "at /anyOf/1: a schema is a JSON object"},
		"bound":              {`{"minimum":"1"}`, "at /minimum: want a number"},
		"multiple of nought": {`{"multipleOf":0}`, "at /multipleOf: want a number above 0"},
		"pattern":            {`{"pattern":"("}`, "at /pattern: error parsing regexp"},
		"reference":          {`{"$ref":1}`, "at /$ref: want a string"},
		"description":        {`{"description":1}`, "at /description: want a string"},
		"depth":              {strings.Repeat(`{"items":`, 300) + "{}" + strings.Repeat("}", 300), "nested too deeply"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tc.raw))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func object(props, required string) string {
	return fmt.Sprintf(`{"type":"object","properties":{%s},"required":[%s],"additionalProperties":false}`, props, required)
}

func TestStrict(t *testing.T) {
	deep := `{"type":"string"}`
	for range 11 {
		deep = object(`"a":`+deep, `"a"`)
	}
	var values []string
	for i := range maxEnumValues + 1 {
		values = append(values, fmt.Sprintf("%q", fmt.Sprint("v", i)))
	}
	for name, tc := range map[string]struct{ raw, want string }{
		"legal":                {object(`"a":{"type":"string","description":"x"},"b":{"type":["integer","null"]}`, `"a","b"`), ""},
		"legal without fields": {`{"type":"object","properties":{},"additionalProperties":false}`, ""},
		"legal with refs": {`{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"required":["n"],"additionalProperties":false,
			"$defs":{"n":` + object(`"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}`, `"next"`) + `}}`, ""},
		"legal bounds":     {object(`"a":{"type":"array","items":{"type":"number","minimum":0},"maxItems":3}`, `"a"`), ""},
		"root is a string": {`{"type":"string"}`, `got 'type: "string"'`},
		"root is anyOf":    {`{"anyOf":[{"type":"object"}]}`, `got 'type: "None"'`},
		"open object":      {`{"type":"object","properties":{},"required":[]}`, "'additionalProperties' is required to be supplied and to be false."},
		"open inside":      {object(`"a":{"type":"object","properties":{},"required":[]}`, `"a"`), "at /properties/a: 'additionalProperties'"},
		"extra allowed":    {`{"type":"object","properties":{},"required":[],"additionalProperties":true}`, "to be false"},
		"optional field":   {object(`"a":{"type":"string"}`, ``), "Missing 'a'."},
		"no required":      {`{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}`, "'required' is required"},
		"required unknown": {object(`"a":{"type":"string"}`, `"a","b"`), "Extra required key 'b' supplied."},
		"default":          {object(`"a":{"type":"string","default":"x"}`, `"a"`), "at /properties/a: 'default' is not permitted."},
		"oneOf":            {object(`"a":{"oneOf":[{"type":"string"}]}`, `"a"`), "'oneOf' is not permitted."},
		"no type":          {object(`"a":{}`, `"a"`), "at /properties/a: schema must have a 'type' key."},
		"array of what":    {object(`"a":{"type":"array"}`, `"a"`), "array schema missing items."},
		"items":            {object(`"a":{"type":"array","items":{}}`, `"a"`), "at /properties/a/items: schema must have"},
		"anyOf branch":     {object(`"a":{"anyOf":[{"type":"null"},{}]}`, `"a"`), "at /properties/a/anyOf/1: schema must have"},
		"dangling":         {object(`"a":{"$ref":"#/$defs/x"}`, `"a"`), "'#/$defs/x' which was not found"},
		"ref in company":   {object(`"a":{"$ref":"#","description":"x"}`, `"a"`), "$ref cannot have keywords beside it."},
		"depth":            {deep, "11 levels of nesting exceeds limit of 10."},
		"enum":             {object(`"a":{"type":"string","enum":[`+strings.Join(values, ",")+`]}`, `"a"`), "1001 enum values"},
		"names":            {object(`"`+strings.Repeat("a", maxNameBytes+1)+`":{"type":"string"}`, `"`+strings.Repeat("a", maxNameBytes+1)+`"`), "bytes in total"},
	} {
		t.Run(name, func(t *testing.T) {
			err := mustParse(t, tc.raw).Strict()
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if located := (*Error)(nil); !errors.As(err, &located) {
				t.Fatalf("%T says not where", err)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	const schema = `{"type":"object","additionalProperties":false,
		"required":["kind","hooks","limit","note","ratio"],
		"properties":{
			"kind":{"type":"string","enum":["tracepoint","xdp"]},
			"hooks":{"type":"array","items":{"$ref":"#/$defs/hook"},"minItems":1,"maxItems":2},
			"limit":{"type":"integer","minimum":1,"exclusiveMaximum":10,"multipleOf":3},
			"note":{"anyOf":[{"type":"string","pattern":"^[a-z]+$"},{"type":"null"}]},
			"ratio":{"type":"number","exclusiveMinimum":0,"maximum":1}},
		"$defs":{"hook":{"type":"object","properties":{"name":{"type":"string"},"version":{"const":2}},
			"required":["name","version"],"additionalProperties":false}}}`
	doc := func(changes map[string]string) string {
		fields := map[string]string{"kind": `"xdp"`, "hooks": `[{"name":"a","version":2}]`, "limit": `3`, "note": `null`, "ratio": `0.5`}
		var parts []string
		for k, v := range changes {
			fields[k] = v
		}
		for _, k := range sortedKeys(fields) {
			if fields[k] != "" {
				parts = append(parts, fmt.Sprintf("%q:%s", k, fields[k]))
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	for name, tc := range map[string]struct {
		doc  string
		want []string // nil: valid
	}{
		"valid":              {doc(nil), nil},
		"valid note":         {doc(map[string]string{"note": `"abc"`}), nil},
		"whole float":        {doc(map[string]string{"limit": `6.0`}), nil},
		"exponent":           {doc(map[string]string{"limit": `0.9e1`}), nil},
		"const by value":     {doc(map[string]string{"hooks": `[{"name":"a","version":2.0}]`}), nil},
		"no JSON":            {`{"kind":`, []string{"reading the document: unexpected EOF"}},
		"two values":         {`{} {}`, []string{"more follows"}},
		"not an object":      {`[]`, []string{"at the top level: want object, got an array of 0"}},
		"two missing":        {doc(map[string]string{"kind": "", "note": ""}), []string{`the field "kind" is missing`, `the field "note" is missing`}},
		"an extra":           {doc(map[string]string{"colour": `1`}), []string{`at /colour: there is no such field; the fields are "hooks", "kind"`}},
		"enum":               {doc(map[string]string{"kind": `"kprobe"`}), []string{`at /kind: want one of "tracepoint", "xdp", got the string "kprobe"`}},
		"wrong type":         {doc(map[string]string{"kind": `7`}), []string{"at /kind: want string, got 7"}},
		"fraction":           {doc(map[string]string{"limit": `3.5`}), []string{"at /limit: want integer, got 3.5"}},
		"low":                {doc(map[string]string{"limit": `0`}), []string{"at /limit: want at least 1, got 0"}},
		"high":               {doc(map[string]string{"limit": `12`}), []string{"at /limit: want less than 10, got 12"}},
		"multiple":           {doc(map[string]string{"limit": `4`}), []string{"at /limit: want a multiple of 3, got 4"}},
		"exclusive":          {doc(map[string]string{"ratio": `0`}), []string{"at /ratio: want more than 0, got 0"}},
		"maximum":            {doc(map[string]string{"ratio": `1.5`}), []string{"at /ratio: want at most 1, got 1.5"}},
		"overflow":           {doc(map[string]string{"ratio": `1e999`}), []string{"at /ratio: 1e999 is out of range"}},
		"no hook":            {doc(map[string]string{"hooks": `[]`}), []string{"at /hooks: want at least 1 items, got 0"}},
		"inside a reference": {doc(map[string]string{"hooks": `[{"name":"a","version":2},{"name":null,"version":3}]`}), []string{"at /hooks/1/name: want string, got null", "at /hooks/1/version: want one of 2, got 3"}},
		"many hooks":         {doc(map[string]string{"hooks": `[1,2,3]`}), []string{"at /hooks: want at most 2 items, got 3", "at /hooks/0: want object, got 1"}},
		"the meant branch":   {doc(map[string]string{"note": `"A B"`}), []string{`at /note: want text that matches "^[a-z]+$", got the string "A B"`}},
		"no branch":          {doc(map[string]string{"note": `1`}), []string{"at /note: 1 fits none of the 2 alternatives"}},
		"escaped name":       {`{"a\u001b[2J":1}`, []string{`at /"a\x1b[2J": there is no such field`}},
		"long value":         {doc(map[string]string{"kind": `"` + strings.Repeat("x", 100) + `"`}), []string{"xxx…"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := mustParse(t, schema).Validate([]byte(tc.doc))
			if tc.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("found valid")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

func TestValidateIsBounded(t *testing.T) {
	loop := mustParse(t, `{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"$ref":"#/$defs/y"},"y":{"$ref":"#/$defs/x"}}}`)
	if err := loop.Validate([]byte(`{"a":1}`)); err == nil || !strings.Contains(err.Error(), "nested too deeply") {
		t.Errorf("a reference that leads to itself: %v", err)
	}
	multiplying := mustParse(t, `{"type":"object","properties":{"a":{"anyOf":[{"$ref":"#/properties"},{"$ref":"#/$defs/x"},{"$ref":"#/$defs/x"}]}},
		"$defs":{"x":{"anyOf":[{"$ref":"#/$defs/x"},{"$ref":"#/$defs/x"}]}}}`)
	if err := multiplying.Validate([]byte(`{"a":1}`)); err == nil || !strings.Contains(err.Error(), "given up") {
		t.Errorf("alternatives that multiply: %v", err)
	}
	many := mustParse(t, `{"type":"array","items":{"type":"string"}}`)
	err := many.Validate([]byte("[" + strings.Repeat("1,", 1000) + "1]"))
	if joined, ok := err.(interface{ Unwrap() []error }); !ok || len(joined.Unwrap()) != maxErrors {
		t.Errorf("of 1001 problems %v were reported, want %d", err, maxErrors)
	}
}

func TestOf(t *testing.T) {
	type hook struct {
		Name string `json:"name" doc:"as in tracefs"`
		Kind string `json:"kind" enum:"tracepoint,xdp"`
	}
	type program struct {
		Explanation string   `json:"explanation"`
		Hooks       []hook   `json:"hooks,omitempty"`
		Rate        *float64 `json:"rate"`
		Limit       uint32
		On          bool `json:"on"`
		hidden      int
		Skipped     chan int `json:"-"`
	}
	raw, err := Of[program]()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"type":"object","properties":{"explanation":{"type":"string"},` +
		`"hooks":{"type":"array","items":{"type":"object","properties":{"name":{"description":"as in tracefs","type":"string"},` +
		`"kind":{"type":"string","enum":["tracepoint","xdp"]}},"required":["name","kind"],"additionalProperties":false}},` +
		`"rate":{"anyOf":[{"type":"number"},{"type":"null"}]},"Limit":{"type":"integer"},"on":{"type":"boolean"}},` +
		`"required":["explanation","hooks","rate","Limit","on"],"additionalProperties":false}`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
	s := mustParse(t, string(raw))
	if err := s.Strict(); err != nil {
		t.Error(err)
	}
	filled, err := json.Marshal(program{Hooks: []hook{{"a", "xdp"}}, hidden: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(filled); err != nil {
		t.Errorf("the type's own value: %v", err)
	}
}

type selfish struct {
	Next []selfish `json:"next"`
}

func TestOfRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		of   func() (json.RawMessage, error)
		want string
	}{
		"a string": {Of[string], "want a struct"},
		"a map": {Of[struct {
			M map[string]int `json:"m"`
		}], "has no strict schema"},
		"bytes":  {Of[struct{ B []byte }], "bytes have no strict schema"},
		"itself": {Of[selfish], "contains itself"},
		"an enum": {Of[struct {
			N int `enum:"1,2"`
		}], "an enum tag is for strings"},
		"embedded": {Of[struct{ Error }], "embedded fields"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tc.of(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// Neither a hostile schema nor a hostile document may crash or hang the check, and a document that a strict schema
// accepts has no field that the schema does not name.
func FuzzSchema(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`, `{"a":"x"}`)
	f.Add(`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"],"additionalProperties":false}`, `{"a":{"a":{}}}`)
	f.Add(`{"anyOf":[{"$ref":"#"},{"enum":[1,"x",null]}]}`, `null`)
	f.Add(`{"type":["integer"],"minimum":1e3,"multipleOf":0.1}`, `1e400`)
	f.Fuzz(func(t *testing.T, rawSchema, doc string) {
		if len(rawSchema) > 4096 || len(doc) > 4096 {
			return
		}
		s, err := Parse([]byte(rawSchema))
		if err != nil {
			return
		}
		strict := s.Strict()
		if s.Validate([]byte(doc)) != nil || strict != nil {
			return
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(doc), &fields); err != nil {
			t.Fatalf("accepted %q, which is no object: %v", doc, err)
		}
		if len(fields) != len(s.root.names) {
			t.Fatalf("accepted %q for %q", doc, rawSchema)
		}
	})
}

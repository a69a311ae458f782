package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Of derives the strict schema of a Go struct type, so that what a model is asked to fill in and what its answer is
// decoded into cannot drift apart. The fields keep their order: a model writes them in it, so put the reasoning before
// the conclusion.
//
// Struct tags: json names the field ("-" leaves it out; options after the name are ignored, for in strict schemas
// every field is required), doc becomes its description, enum lists the values a string may have, separated by commas.
// A pointer is a value or null. Types with no strict schema (maps, interfaces, channels, functions, recursive structs)
// are an error.
func Of[T any]() (json.RawMessage, error) {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("deriving a schema of %s: want a struct", t)
	}
	raw, err := derive(t, nil)
	if err != nil {
		return nil, fmt.Errorf("deriving a schema of %s: %w", t, err)
	}
	return raw, nil
}

// derive writes the schema by hand rather than through a map, to keep the order of the fields.
func derive(t reflect.Type, around []reflect.Type) (json.RawMessage, error) {
	switch t.Kind() {
	case reflect.String:
		return json.RawMessage(`{"type":"string"}`), nil
	case reflect.Bool:
		return json.RawMessage(`{"type":"boolean"}`), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return json.RawMessage(`{"type":"integer"}`), nil
	case reflect.Float32, reflect.Float64:
		return json.RawMessage(`{"type":"number"}`), nil
	case reflect.Pointer:
		elem, err := derive(t.Elem(), around)
		if err != nil {
			return nil, err
		}
		return fmt.Appendf(nil, `{"anyOf":[%s,{"type":"null"}]}`, elem), nil
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return nil, fmt.Errorf("%s: bytes have no strict schema, use a string", t)
		}
		elem, err := derive(t.Elem(), around)
		if err != nil {
			return nil, err
		}
		return fmt.Appendf(nil, `{"type":"array","items":%s}`, elem), nil
	case reflect.Struct:
		if slices.Contains(around, t) {
			return nil, fmt.Errorf("%s contains itself", t)
		}
		return deriveStruct(t, append(slices.Clone(around), t))
	}
	return nil, fmt.Errorf("%s has no strict schema", t)
}

func deriveStruct(t reflect.Type, around []reflect.Type) (json.RawMessage, error) {
	var props, names []string
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" || !field.IsExported() {
			continue
		}
		if field.Anonymous {
			return nil, fmt.Errorf("%s.%s: embedded fields have no strict schema", t, field.Name)
		}
		if name == "" {
			name = field.Name
		}
		sub, err := derive(field.Type, around)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t, field.Name, err)
		}
		if values := field.Tag.Get("enum"); values != "" {
			if field.Type.Kind() != reflect.String {
				return nil, fmt.Errorf("%s.%s: an enum tag is for strings", t, field.Name)
			}
			sub = fmt.Appendf(nil, `{"type":"string","enum":%s}`, mustJSON(strings.Split(values, ",")))
		}
		if doc := field.Tag.Get("doc"); doc != "" {
			sub = fmt.Appendf(nil, `{"description":%s,%s`, mustJSON(doc), sub[1:])
		}
		props = append(props, fmt.Sprintf("%s:%s", mustJSON(name), sub))
		names = append(names, string(mustJSON(name)))
	}
	return fmt.Appendf(nil, `{"type":"object","properties":{%s},"required":[%s],"additionalProperties":false}`,
		strings.Join(props, ","), strings.Join(names, ",")), nil
}

// mustJSON encodes strings and lists of them, which always succeeds.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

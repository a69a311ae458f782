package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Fit brings a document nearer to the schema where that loses nothing that the schema asks for: members
// that the schema does not have are left out, missing and null ones get the empty value of their type, numbers
// and truth values that are written as texts become what they say, and the other way round; a single value becomes a list of one where
// a list is wanted. What has another meaning stays, for [Schema.Validate] to say so. It returns what it
// did, a few words for each thing.
func (s *Schema) Fit(document []byte) (fitted []byte, did []string, err error) {
	doc, err := decode(document)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the document: %w", err)
	}
	f := &fitting{schema: s, steps: maxSteps}
	doc = f.fit(s.root, doc, "", 0)
	if len(f.did) == 0 {
		return document, nil, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, nil, fmt.Errorf("writing the document: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), f.did, nil
}

type fitting struct {
	schema *Schema
	steps  int // left
	did    []string
}

func (f *fitting) note(path, format string, args ...any) {
	if len(f.did) < maxErrors {
		f.did = append(f.did, strings.TrimPrefix(path+" ", " ")+fmt.Sprintf(format, args...))
	}
}

func (f *fitting) fit(n *node, value any, path string, depth int) any {
	if f.steps--; f.steps <= 0 || depth > maxDepth || n == nil || n.ref != "" || len(n.anyOf) > 0 || len(n.types) != 1 {
		return value
	}
	switch n.types[0] {
	case "object":
		if object, ok := value.(map[string]any); ok {
			return f.object(n, object, path, depth)
		}
	case "array":
		switch v := value.(type) {
		case []any:
			for i := range v {
				v[i] = f.fit(n.items, v[i], path+"["+strconv.Itoa(i)+"]", depth+1)
			}
			return v
		case nil:
			f.note(path, "was null")
			return []any{}
		case map[string]any, string:
			if v != "" {
				f.note(path, "was no list")
				return []any{f.fit(n.items, v, path+"[0]", depth+1)}
			}
			f.note(path, "was no list")
			return []any{}
		}
	case "string":
		switch v := value.(type) {
		case json.Number:
			f.note(path, "was a number")
			return v.String()
		case bool:
			f.note(path, "was true or false")
			return strconv.FormatBool(v)
		case nil:
			f.note(path, "was null")
			return ""
		}
	case "integer", "number":
		switch v := value.(type) {
		case string:
			if v = strings.TrimSpace(v); v == "" {
				f.note(path, "was empty")
				return json.Number("0")
			}
			if _, err := strconv.ParseInt(v, 10, 64); err == nil {
				f.note(path, "was a text")
				return json.Number(v)
			}
		case json.Number:
			if x, err := v.Float64(); err == nil && n.types[0] == "integer" && strings.ContainsAny(v.String(), ".eE") && x == float64(int64(x)) {
				f.note(path, "was written with a point")
				return json.Number(strconv.FormatInt(int64(x), 10))
			}
		case nil:
			f.note(path, "was null")
			return json.Number("0")
		}
	case "boolean":
		switch v := value.(type) {
		case string:
			if b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(v))); err == nil {
				f.note(path, "was a text")
				return b
			}
		case nil:
			f.note(path, "was null")
			return false
		}
	}
	return value
}

func (f *fitting) object(n *node, object map[string]any, path string, depth int) any {
	at := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	for _, name := range slices.Sorted(mapKeys(object)) {
		if n.props[name] == nil {
			f.note(at(name), "is not asked for")
			delete(object, name)
		}
	}
	for _, name := range n.names {
		v, ok := object[name]
		if !ok && !slices.Contains(n.required, name) {
			continue
		}
		if !ok {
			f.note(at(name), "was missing")
			v = empty(n.props[name])
		}
		object[name] = f.fit(n.props[name], v, at(name), depth+1)
	}
	return object
}

func mapKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// empty is the empty value of a type; null where there is none.
func empty(n *node) any {
	if n == nil || len(n.types) != 1 {
		return nil
	}
	switch n.types[0] {
	case "array":
		return []any{}
	case "string":
		return ""
	case "integer", "number":
		return json.Number("0")
	case "boolean":
		return false
	}
	return nil
}

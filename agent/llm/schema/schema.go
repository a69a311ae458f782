// Package schema speaks the part of JSON Schema that structured output is written in: it says whether a schema is one
// that a strict endpoint accepts, whether a document satisfies it, and derives one from a Go type.
//
// It exists because "the endpoint guarantees the shape" holds only for endpoints that enforce it. Where an endpoint
// merely promises JSON, or nothing, the same schema is checked here, and what is wrong is said in words that a model
// can be given back.
//
// The keywords understood are those that strict structured output permits: type, properties, required,
// additionalProperties (false), items, anyOf, enum, const, $ref, $defs, pattern, format (not checked), the numeric
// bounds, minItems and maxItems, and the annotations title, description, $schema, $id and $comment. Anything else
// makes a schema unfit for strict use; [Schema.Strict] names it.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// The limits of strict structured output.
const (
	maxProperties = 5000
	maxNesting    = 10
	maxEnumValues = 1000
	maxNameBytes  = 120_000
)

// maxDepth bounds the recursion over a schema and a document together, so that neither a $ref that leads to itself nor
// a document of a million brackets exhausts the stack.
const maxDepth = 200

// Schema is a parsed JSON schema. It is immutable and safe for concurrent use.
type Schema struct {
	root *node
}

// node is one subschema.
type node struct {
	types      []string
	props      map[string]*node
	names      []string // of props, sorted
	required   []string
	hasReq     bool
	additional json.RawMessage
	items      *node
	anyOf      []*node
	enum       []any // nil: absent
	ref        string
	defs       map[string]*node
	pattern    *regexp.Regexp
	bounds     map[string]float64 // minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, minItems, maxItems
	foreign    []string           // keywords outside the subset, sorted
	nameBytes  int                // property names and enum strings of this node alone
	keywords   int
}

// Parse reads a schema. The error says where in the schema something has the wrong form. Keywords outside the subset
// are no error here; see [Schema.Strict].
func Parse(raw []byte) (*Schema, error) {
	doc, err := decode(raw)
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	root, err := parse(doc, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return &Schema{root: root}, nil
}

// Error is one thing wrong, and where.
type Error struct {
	// Path leads from the root to the place: property names and array indexes.
	Path []string
	// Problem says what is wrong there, in one clause.
	Problem string
}

func (e *Error) Error() string {
	if len(e.Path) == 0 {
		return "at the top level: " + e.Problem
	}
	var at strings.Builder
	for _, step := range e.Path {
		if strings.ContainsFunc(step, func(r rune) bool { return r == '/' || !unicode.IsGraphic(r) }) {
			step = fmt.Sprintf("%q", step)
		}
		at.WriteString("/" + clip(step))
	}
	return "at " + at.String() + ": " + e.Problem
}

func wrong(path []string, format string, args ...any) *Error {
	return &Error{Path: slices.Clone(path), Problem: fmt.Sprintf(format, args...)}
}

func parse(doc any, path []string) (*node, error) {
	if len(path) > maxDepth {
		return nil, wrong(path, "nested too deeply")
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return nil, wrong(path, "a schema is a JSON object")
	}
	n := &node{keywords: len(object)}
	for _, key := range sortedKeys(object) {
		if err := n.keyword(key, object[key], path); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *node) keyword(key string, value any, path []string) error {
	here := append(slices.Clone(path), key)
	var err error
	switch key {
	case "type":
		n.types, err = oneOrMany(value, here)
		for _, t := range n.types {
			if !slices.Contains([]string{"object", "array", "string", "number", "integer", "boolean", "null"}, t) {
				return wrong(here, "%q is no type", t)
			}
		}
	case "properties":
		n.props, err = subschemas(value, here)
		n.names = sortedKeys(n.props)
		for _, name := range n.names {
			n.nameBytes += len(name)
		}
	case "required":
		n.hasReq = true
		n.required, err = stringList(value, here)
	case "additionalProperties":
		n.additional, err = json.Marshal(value)
	case "items":
		n.items, err = parse(value, here)
	case "anyOf":
		list, ok := value.([]any)
		if !ok || len(list) == 0 {
			return wrong(here, "want a list of at least one schema")
		}
		for i, item := range list {
			sub, err := parse(item, append(slices.Clone(here), fmt.Sprint(i)))
			if err != nil {
				return err
			}
			n.anyOf = append(n.anyOf, sub)
		}
	case "enum":
		list, ok := value.([]any)
		if !ok || len(list) == 0 {
			return wrong(here, "want a list of at least one value")
		}
		n.enum = list
		for _, v := range list {
			if s, ok := v.(string); ok {
				n.nameBytes += len(s)
			}
		}
	case "const":
		n.enum = []any{value}
	case "$ref":
		ref, ok := value.(string)
		if !ok {
			return wrong(here, "want a string")
		}
		n.ref = ref
	case "$defs", "definitions":
		n.defs, err = subschemas(value, here)
	case "pattern":
		text, ok := value.(string)
		if !ok {
			return wrong(here, "want a string")
		}
		if n.pattern, err = regexp.Compile(text); err != nil {
			return wrong(here, "%v", err)
		}
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems":
		number, ok := value.(json.Number)
		if !ok {
			return wrong(here, "want a number")
		}
		bound, err := number.Float64()
		if err != nil {
			return wrong(here, "%v", err)
		}
		if key == "multipleOf" && bound <= 0 {
			return wrong(here, "want a number above 0")
		}
		if n.bounds == nil {
			n.bounds = map[string]float64{}
		}
		n.bounds[key] = bound
	case "title", "description", "$schema", "$id", "$comment", "format":
		if _, ok := value.(string); !ok {
			return wrong(here, "want a string")
		}
	default:
		n.foreign = append(n.foreign, key)
	}
	return err
}

func subschemas(value any, path []string) (map[string]*node, error) {
	object, ok := value.(map[string]any)
	if !ok {
		return nil, wrong(path, "want an object of schemas")
	}
	nodes := make(map[string]*node, len(object))
	for _, name := range sortedKeys(object) {
		sub, err := parse(object[name], append(slices.Clone(path), name))
		if err != nil {
			return nil, err
		}
		nodes[name] = sub
	}
	return nodes, nil
}

func oneOrMany(value any, path []string) ([]string, error) {
	if s, ok := value.(string); ok {
		return []string{s}, nil
	}
	list, err := stringList(value, path)
	if err == nil && len(list) == 0 {
		err = wrong(path, "want at least one")
	}
	return list, err
}

func stringList(value any, path []string) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, wrong(path, "want a list of strings")
	}
	texts := make([]string, 0, len(list))
	for _, item := range list {
		s, ok := item.(string)
		if !ok {
			return nil, wrong(path, "want a list of strings")
		}
		texts = append(texts, s)
	}
	return texts, nil
}

// decode reads exactly one JSON value, numbers as they are written.
func decode(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more follows after the first JSON value")
	}
	return doc, nil
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// resolve finds what a $ref names: "#", "#/$defs/NAME" or "#/definitions/NAME".
func (s *Schema) resolve(ref string) *node {
	if ref == "#" {
		return s.root
	}
	for _, prefix := range []string{"#/$defs/", "#/definitions/"} {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			return s.root.defs[name]
		}
	}
	return nil
}

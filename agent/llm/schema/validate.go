package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// maxErrors bounds how many problems of one document are reported: enough to repair it in one go, few enough to read.
const maxErrors = 8

// maxSteps bounds the work for one document: alternatives that refer to themselves would otherwise multiply without end.
const maxSteps = 100_000

// Validate reports what in the document does not satisfy the schema, up to eight problems joined with [errors.Join],
// each an [*Error]; or that it is not one JSON value.
func (s *Schema) Validate(document []byte) error {
	doc, err := decode(document)
	if err != nil {
		return fmt.Errorf("reading the document: %w", err)
	}
	steps := maxSteps
	v := &validation{schema: s, steps: &steps}
	v.check(s.root, doc, nil, 0)
	if steps <= 0 {
		return errors.New("the schema's alternatives and references multiply; checking the document was given up")
	}
	return v.result()
}

type validation struct {
	schema *Schema
	steps  *int // left; shared with the trials of alternatives
	errs   []*Error
}

func (v *validation) result() error {
	errs := make([]error, 0, len(v.errs))
	for _, e := range v.errs {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

func (v *validation) add(path []string, format string, args ...any) {
	if len(v.errs) < maxErrors {
		v.errs = append(v.errs, wrong(path, format, args...))
	}
}

func (v *validation) check(n *node, value any, path []string, depth int) {
	if *v.steps--; *v.steps <= 0 {
		return
	}
	if depth > maxDepth {
		v.add(path, "nested too deeply")
		return
	}
	if n.ref != "" {
		target := v.schema.resolve(n.ref)
		if target == nil {
			v.add(path, "the schema's reference %q leads nowhere", n.ref)
			return
		}
		v.check(target, value, path, depth+1)
		return
	}
	if n.types != nil && !slices.ContainsFunc(n.types, func(t string) bool { return isType(value, t) }) {
		v.add(path, "want %s, got %s", strings.Join(n.types, " or "), describe(value))
		return
	}
	if n.enum != nil && !slices.ContainsFunc(n.enum, func(e any) bool { return equal(e, value) }) {
		v.add(path, "want one of %s, got %s", list(n.enum), describe(value))
	}
	if n.anyOf != nil {
		v.anyOf(n.anyOf, value, path, depth)
	}
	switch value := value.(type) {
	case map[string]any:
		v.object(n, value, path, depth)
	case []any:
		v.array(n, value, path, depth)
	case string:
		if n.pattern != nil && !n.pattern.MatchString(value) {
			v.add(path, "want text that matches %q, got %s", n.pattern, describe(value))
		}
	case json.Number:
		v.number(n, value, path)
	}
}

// anyOf accepts when one alternative does. Otherwise it reports the alternative of the value's own type if there is
// just one, for that is the one that was meant; "string or null" then complains about the string.
func (v *validation) anyOf(alternatives []*node, value any, path []string, depth int) {
	var meant []*validation
	for _, alt := range alternatives {
		try := &validation{schema: v.schema, steps: v.steps}
		try.check(alt, value, path, depth+1)
		if len(try.errs) == 0 {
			return
		}
		if target := v.target(alt); target == nil || target.types == nil ||
			slices.ContainsFunc(target.types, func(t string) bool { return isType(value, t) }) {
			meant = append(meant, try)
		}
	}
	if len(meant) == 1 {
		for _, e := range meant[0].errs {
			v.add(e.Path, "%s", e.Problem)
		}
		return
	}
	v.add(path, "%s fits none of the %d alternatives", describe(value), len(alternatives))
}

// target follows references to the subschema that says something.
func (v *validation) target(n *node) *node {
	for range maxDepth {
		if n == nil || n.ref == "" {
			return n
		}
		n = v.schema.resolve(n.ref)
	}
	return nil
}

func (v *validation) object(n *node, object map[string]any, path []string, depth int) {
	for _, name := range n.required {
		if _, ok := object[name]; !ok {
			v.add(path, "the field %q is missing", name)
		}
	}
	for _, name := range sortedKeys(object) {
		here := append(slices.Clone(path), name)
		if sub := n.props[name]; sub != nil {
			v.check(sub, object[name], here, depth+1)
		} else if string(n.additional) == "false" {
			v.add(here, "there is no such field; the fields are %s", quoted(n.names))
		}
	}
}

func (v *validation) array(n *node, array []any, path []string, depth int) {
	if low, ok := n.bounds["minItems"]; ok && float64(len(array)) < low {
		v.add(path, "want at least %g items, got %d", low, len(array))
	}
	if high, ok := n.bounds["maxItems"]; ok && float64(len(array)) > high {
		v.add(path, "want at most %g items, got %d", high, len(array))
	}
	if n.items == nil {
		return
	}
	for i, item := range array {
		v.check(n.items, item, append(slices.Clone(path), fmt.Sprint(i)), depth+1)
	}
}

func (v *validation) number(n *node, number json.Number, path []string) {
	x, err := number.Float64()
	if err != nil {
		v.add(path, "%s is out of range", describe(number))
		return
	}
	for _, key := range sortedKeys(n.bounds) {
		bound, ok, must := n.bounds[key], true, ""
		switch key {
		case "minimum":
			ok, must = x >= bound, "at least"
		case "maximum":
			ok, must = x <= bound, "at most"
		case "exclusiveMinimum":
			ok, must = x > bound, "more than"
		case "exclusiveMaximum":
			ok, must = x < bound, "less than"
		case "multipleOf":
			times := x / bound
			ok, must = math.Abs(times-math.Round(times)) < 1e-9, "a multiple of"
		}
		if !ok {
			v.add(path, "want %s %g, got %s", must, bound, number)
		}
	}
}

func isType(value any, name string) bool {
	switch value := value.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case json.Number:
		return name == "number" || name == "integer" && isInteger(value)
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}

// isInteger holds for 1, -0, 1.0 and 1e3, as JSON Schema has it.
func isInteger(number json.Number) bool {
	if !strings.ContainsAny(number.String(), ".eE") {
		return true
	}
	x, err := number.Float64()
	return err == nil && x == math.Trunc(x)
}

func equal(a, b any) bool {
	x, isX := a.(json.Number)
	y, isY := b.(json.Number)
	if isX && isY {
		fx, errX := x.Float64()
		fy, errY := y.Float64()
		return errX == nil && errY == nil && fx == fy
	}
	return reflect.DeepEqual(a, b)
}

// describe names a value in few words: its type, and the value itself when it is short.
func describe(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprint(value)
	case json.Number:
		return clip(value.String())
	case string:
		return fmt.Sprintf("the string %q", clip(value))
	case []any:
		return fmt.Sprintf("an array of %d", len(value))
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("%T", value)
}

func clip(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func list(values []any) string {
	texts := make([]string, 0, len(values))
	for _, v := range values {
		b, err := json.Marshal(v)
		if err != nil {
			b = []byte(describe(v))
		}
		texts = append(texts, string(b))
	}
	return strings.Join(texts, ", ")
}

func quoted(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	texts := make([]string, 0, len(names))
	for _, n := range names {
		texts = append(texts, fmt.Sprintf("%q", n))
	}
	return strings.Join(texts, ", ")
}

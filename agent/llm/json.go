package llm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"kgent/agent/llm/schema"
)

// Decode reads a structured answer into the Go type its schema describes. Fields that the type does not have, fields
// given twice and anything after the object are errors, whose text can be given back to the model. It matches
// [ErrNotJSON].
func Decode[T any](a Answer) (T, error) {
	if len(a.JSON) == 0 {
		var zero T
		return zero, fmt.Errorf("%w: it has no object", ErrNotJSON)
	}
	return decode[T](a.JSON)
}

// Arguments reads the arguments of a tool call, as strictly as [Decode]. A call without arguments is one with none.
func Arguments[T any](call ToolCall) (T, error) {
	text := strings.TrimSpace(call.Arguments)
	if text == "" {
		text = "{}"
	}
	v, err := decode[T]([]byte(text))
	if err != nil {
		return v, fmt.Errorf("the arguments of %q: %w", oneLine(call.Name, 64), err)
	}
	return v, nil
}

func decode[T any](raw []byte) (T, error) {
	var v, zero T
	if err := onceEach(raw); err != nil {
		return zero, fmt.Errorf("%w: %w", ErrNotJSON, err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return zero, fmt.Errorf("%w: %w", ErrNotJSON, err)
	}
	return v, nil
}

// onceEach walks through one JSON object and finds what encoding/json lets pass: a field that is given twice, of which
// it takes the last, and something after the object.
func onceEach(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	type level struct {
		fields map[string]bool // nil in an array
		value  bool            // the next token of an object is a value
	}
	var levels []level
	for {
		tok, err := dec.Token()
		switch {
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		top := len(levels) - 1
		if name, ok := tok.(string); ok && top >= 0 && levels[top].fields != nil && !levels[top].value {
			folded := strings.ToLower(name) // as encoding/json matches them
			if levels[top].fields[folded] {
				return fmt.Errorf("the field %q is given twice", oneLine(name, 64))
			}
			levels[top].fields[folded], levels[top].value = true, true
			continue
		}
		if top >= 0 {
			levels[top].value = false
		}
		switch tok {
		case json.Delim('{'):
			levels = append(levels, level{fields: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:top]
		}
		if len(levels) == 0 {
			if _, err := dec.Token(); !errors.Is(err, io.EOF) {
				return errors.New("something follows after the object")
			}
			return nil
		}
	}
}

// Object takes the one JSON object out of the text of an answer that does not satisfy its schema, for callers
// that can do with less. Slips of models that nothing holds to JSON are put right: line breaks in
// texts, texts in three quotes or in backticks, commas before a bracket.
func Object(text string) (json.RawMessage, error) {
	object, _, err := extract(text)
	if err == nil {
		return object, nil
	}
	if object, _, again := extract(mendJSON(text)); again == nil {
		return object, nil
	}
	return nil, err
}

// Fitted is the object of an answer that lacks what can be done without, or has more than was asked for: brought to the
// schema by [schema.Schema.Fit], with what was done about it. The error is that of the answer as it came.
func Fitted(s *Schema, a Answer, failed error) (object json.RawMessage, did []string, err error) {
	if !errors.Is(failed, ErrNotJSON) {
		return nil, nil, failed
	}
	shape, err := schema.Parse(s.JSON)
	if err != nil {
		return nil, nil, err
	}
	raw, err := Object(a.Text)
	if err != nil {
		return nil, nil, failed
	}
	object, did, err = shape.Fit(raw)
	if err != nil || shape.Validate(object) != nil {
		return nil, nil, failed
	}
	return object, append(did, "the answer was brought to its form"), nil
}

// mendJSON puts right what is not JSON and has one meaning.
func mendJSON(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		switch quoted, n := quotedValue(text[i:], b.String()); {
		case n > 0:
			b.WriteString(quoted)
			i += n
		case text[i] == '"':
			s, n := mendString(text[i:])
			b.WriteString(s)
			i += n
		case text[i] == ',' && strings.IndexAny(strings.TrimLeft(text[i+1:], " \t\r\n"), "}]") == 0:
			i++
		default:
			b.WriteByte(text[i])
			i++
		}
	}
	return b.String()
}

// quotedValue reads a text in three quotes or in backticks, where a value stands.
func quotedValue(text, before string) (json string, n int) {
	if before = strings.TrimRight(before, " \t\r\n"); before == "" || before[len(before)-1] != ':' {
		return "", 0
	}
	for _, mark := range []string{`"""`, "```", "`"} {
		rest, ok := strings.CutPrefix(text, mark)
		if !ok {
			continue
		}
		value, _, ok := strings.Cut(rest, mark)
		if !ok {
			return "", 0
		}
		n = len(value) + 2*len(mark)
		if first, after, ok := strings.Cut(value, "\n"); ok && mark == "```" && !strings.ContainsAny(first, " ;{") {
			value = after
		}
		return quoteJSON(value), n
	}
	return "", 0
}

func quoteJSON(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return `""`
	}
	return strings.TrimSpace(b.String())
}

// mendString reads one text in quotes, with control characters and escapes in it that JSON does not have.
func mendString(text string) (json string, n int) {
	var b strings.Builder
	b.WriteByte('"')
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			b.WriteByte('"')
			return b.String(), i + 1
		case c == '\\' && i+1 < len(text):
			i++
			switch {
			case strings.IndexByte(`"\/bfnrtu`, text[i]) >= 0:
				b.WriteByte('\\')
				b.WriteByte(text[i])
			case text[i] == '\n': // a line that goes on
				b.WriteString(`\\\n`)
			default:
				b.WriteByte(text[i])
			}
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ':
		default:
			b.WriteByte(c)
		}
	}
	return text, len(text) // never closed
}

// extract takes the one JSON object out of an answer: the whole text; or, from endpoints that do not enforce the form,
// the object in the one fence that holds one; or the one object in the prose. The thoughts that some models print first
// are skipped. Two objects, or one that is broken, are an error: taking part of an answer is guessing. The second result
// says whether the text was nothing but the object.
func extract(text string) (object json.RawMessage, whole bool, err error) {
	text = strings.TrimSpace(text)
	if json.Valid([]byte(text)) {
		if strings.HasPrefix(text, "{") {
			return json.RawMessage(text), true, nil
		}
		return nil, false, fmt.Errorf("it is %.40q, want an object", text)
	}
	rest := text
	if thoughts, ok := strings.CutPrefix(rest, "<think>"); ok {
		_, after, closed := strings.Cut(thoughts, "</think>")
		if !closed {
			return nil, false, errors.New("it ends before its thoughts do")
		}
		rest = after
	}
	if fenced := fences(rest); len(fenced) == 1 {
		return json.RawMessage(fenced[0]), false, nil
	}
	found, err := objects(rest)
	switch {
	case err != nil:
		return nil, false, err
	case len(found) == 0:
		return nil, false, fmt.Errorf("there is no JSON object in it; it begins with %.60q", text)
	case len(found) > 1:
		return nil, false, fmt.Errorf("there are %d JSON objects in it, want exactly one and nothing else", len(found))
	}
	return json.RawMessage(found[0]), false, nil
}

// fences returns the contents of the code fences that are JSON objects.
func fences(text string) []string {
	var found []string
	parts := strings.Split(text, "```")
	for i := 1; i < len(parts); i += 2 {
		if i+1 == len(parts) { // never closed
			break
		}
		body := parts[i]
		if language, after, ok := strings.Cut(body, "\n"); ok && !strings.ContainsAny(language, "{ ") {
			body = after
		} else {
			body = strings.TrimPrefix(body, "json")
		}
		if body = strings.TrimSpace(body); strings.HasPrefix(body, "{") && json.Valid([]byte(body)) {
			found = append(found, body)
		}
	}
	return found
}

// objects returns the JSON objects in a text. What begins like an object, with a brace, a name and a colon, has to be
// one to its end: the valid inner part of a broken answer is not the answer. Other braces, as C has them, are prose.
func objects(text string) ([]string, error) {
	var found []string
	for i := 0; i < len(text); {
		if text[i] != '{' || !beginsObject(text[i:]) {
			i++
			continue
		}
		dec := json.NewDecoder(strings.NewReader(text[i:]))
		var object json.RawMessage
		if err := dec.Decode(&object); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, errors.New("its JSON object is not closed")
			}
			return nil, fmt.Errorf("its JSON object is broken: %w", err)
		}
		found = append(found, string(object))
		i += int(dec.InputOffset())
	}
	return found, nil
}

// beginsObject reports whether the text starts with { "name" : in any spacing.
func beginsObject(text string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(text[1:], " \t\r\n"), `"`)
	if !ok {
		return false
	}
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '\n':
			return false
		case '"':
			return strings.HasPrefix(strings.TrimLeft(rest[i+1:], " \t\r\n"), ":")
		}
	}
	return false
}

package agent

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"kgent/agent/llm"
)

// salvage gets the program out of an answer that is not the object asked for: an object that lacks
// what can be done without, or the one piece of C in an answer in prose. What was done is noted.
// It fails with the error of the answer as it came.
func salvage(s *llm.Schema, ans llm.Answer, failed error) (answer, []string, error) {
	if !errors.Is(failed, llm.ErrNotJSON) {
		return answer{}, nil, failed
	}
	if raw, err := llm.Object(ans.Text); err == nil {
		ans.Text = string(sourceNamed(raw))
	}
	if object, did, err := llm.Fitted(s, ans, failed); err == nil {
		ans.JSON = object
		parsed, err := llm.Decode[answer](ans)
		if err == nil && (parsed.Source != "" || parsed.Cannot != "") {
			return parsed, did, nil
		}
	}
	if source := fencedProgram(ans.Text); source != "" {
		return answer{Name: "trace", Title: "trace", Source: source}, []string{"the answer was no object; its one piece of C was taken"}, nil
	}
	return answer{}, nil, failed
}

// orSalvaged is the answer as it was read; or, where it could not be, what can be salvaged.
func orSalvaged(parsed answer, s *llm.Schema, ans llm.Answer, err error) (answer, []string, error) {
	if err == nil {
		return parsed, nil, nil
	}
	return salvage(s, ans, err)
}

// sourceNamed calls the source of an object that has it under another name by its name.
func sourceNamed(raw json.RawMessage) json.RawMessage {
	var object map[string]any
	if json.Unmarshal(raw, &object) != nil {
		return raw
	}
	if s, ok := object["source"].(string); ok && s != "" {
		return raw
	}
	for _, name := range []string{"code", "program", "c_source", "source_code", "c", "c_code", "bpf_program", "ebpf_program"} {
		if s, ok := object[name].(string); ok && strings.Contains(s, "SEC(") {
			object["source"] = s
			if out, err := json.Marshal(object); err == nil {
				return out
			}
		}
	}
	return raw
}

var anyFence = regexp.MustCompile("(?s)```[a-zA-Z+]*[ \t]*\r?\n(.*?)\n?```")

// fencedProgram is the one program in C in a text: in a fence, or all of it. Two are none: taking one
// would be guessing.
func fencedProgram(text string) string {
	if _, after, ok := strings.Cut(text, "</think>"); ok {
		text = after
	}
	var found []string
	for _, m := range anyFence.FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], "SEC(") {
			found = append(found, m[1])
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	if text = strings.TrimSpace(text); len(found) == 0 && strings.HasPrefix(text, "#include") && strings.Contains(text, "SEC(") {
		return text
	}
	return ""
}

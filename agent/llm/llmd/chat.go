package llmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"kgent/agent/llm/schema"
)

// chatRequest is the part of a chat completion request that is looked at.
type chatRequest struct {
	Model               string
	Messages            []message
	ResponseFormat      *responseFormat
	Tools               []tool
	Stream              bool
	StreamOptions       *streamOptions
	MaxTokens           int
	MaxCompletionTokens int
	shape               *schema.Schema // of a strict response format
}

type message struct {
	Role       string      `json:"role"`
	Content    messageText `json:"content"`
	ToolCallID string      `json:"tool_call_id"`
	ToolCalls  []struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

// messageText is a content: a string, or parts of which the text is taken; unset if null or missing.
type messageText struct {
	set  bool
	text string
}

func (m *messageText) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	m.set = true
	if raw[0] == '"' {
		return json.Unmarshal(raw, &m.text)
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	for _, p := range parts {
		m.text += p.Text
	}
	return nil
}

type responseFormat struct {
	Type       string `json:"type"`
	JSONSchema *struct {
		Name   string          `json:"name"`
		Schema json.RawMessage `json:"schema"`
		Strict bool            `json:"strict"`
	} `json:"json_schema"`
}

type tool struct {
	Type     string `json:"type"`
	Function *struct {
		Name       string          `json:"name"`
		Parameters json.RawMessage `json:"parameters"`
		Strict     bool            `json:"strict"`
	} `json:"function"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// parameters are what the service takes in a request. Those with false would change the form of the answer in a way
// that is not imitated here, and are refused rather than ignored.
func parameters() map[string]bool {
	return map[string]bool{
		"model": true, "messages": true, "response_format": true, "tools": true, "tool_choice": true,
		"parallel_tool_calls": true, "stream": true, "stream_options": true, "max_tokens": true,
		"max_completion_tokens": true, "temperature": true, "top_p": true, "seed": true, "n": true, "user": true,
		"presence_penalty": true, "frequency_penalty": true, "logit_bias": true, "reasoning_effort": true,
		"verbosity": true, "store": true, "metadata": true, "service_tier": true, "safety_identifier": true,
		"prompt_cache_key": true, "prompt_cache_retention": true,
		"stop": false, "logprobs": false, "top_logprobs": false, "functions": false, "function_call": false,
		"modalities": false, "audio": false, "prediction": false, "web_search_options": false,
	}
}

// chat answers POST /v1/chat/completions.
func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	raw, refused := body(r)
	record := &Request{Time: time.Now(), Header: redacted(r.Header), Body: raw}
	var req *chatRequest
	if refused == nil {
		req, refused = parseChat(raw, record)
	}
	if refused == nil && !s.serves(req.Model) {
		refused = noSuchModel(req.Model)
	}
	var rule *Rule
	s.change(func() {
		s.requests = append(s.requests, record)
		record.Number = len(s.requests)
		if refused == nil {
			rule = s.choose(record)
		}
	})
	if refused == nil && rule == nil {
		refused = noAnswer(record)
	}
	if refused != nil {
		s.change(func() { record.Status = refused.status })
		s.log.Info("refused", "call", record.Number, "status", refused.status, "message", refused.Message)
		refused.write(w)
		return
	}
	s.log.Info("answering", "call", record.Number, "rule", rule.Name, "model", req.Model, "schema", record.Schema, "stream", req.Stream)
	s.perform(w, r, rule, req, record)
}

// choose takes the first rule that is for the request and not used up. The caller holds the lock.
func (s *Server) choose(record *Request) *Rule {
	for i := range s.script.Rules {
		rule := &s.script.Rules[i]
		if rule.Times > 0 && s.used[i] >= rule.Times || !rule.matches(record) {
			continue
		}
		s.used[i]++
		record.Rule = rule.Name
		return rule
	}
	return nil
}

func noAnswer(r *Request) *apiError {
	about := fmt.Sprintf("call %d, last user message %q", r.Number, clip(r.User, 80))
	if r.Schema != "" {
		about += fmt.Sprintf(", schema %q", r.Schema)
	}
	return invalid(http.StatusNotFound, "", "no_scripted_answer", "This stand-in has no scripted answer for this request (%s).", about)
}

func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// parseChat reads and checks a request, and fills in what is recorded of it.
func parseChat(raw []byte, record *Request) (*chatRequest, *apiError) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, invalid(http.StatusBadRequest, "", "", "We could not parse the JSON body of your request. "+
			"(HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, "+
			"but what was sent was not valid JSON.)")
	}
	record.Sends = slices.Sorted(maps.Keys(fields))
	for _, name := range record.Sends {
		if imitated, known := parameters()[name]; !known {
			return nil, invalid(http.StatusBadRequest, name, "unknown_parameter", "Unknown parameter: '%s'.", name)
		} else if !imitated && string(fields[name]) != "null" {
			return nil, invalid(http.StatusBadRequest, name, "unsupported_parameter", "This stand-in does not imitate the parameter '%s'.", name)
		}
	}
	req := &chatRequest{}
	for _, field := range []struct {
		name, want string
		to         any
	}{
		{"model", "a string", &req.Model}, {"messages", "an array of objects", &req.Messages},
		{"response_format", "an object", &req.ResponseFormat}, {"tools", "an array of objects", &req.Tools},
		{"stream", "a boolean", &req.Stream}, {"stream_options", "an object", &req.StreamOptions},
		{"max_tokens", "an integer", &req.MaxTokens}, {"max_completion_tokens", "an integer", &req.MaxCompletionTokens},
	} {
		if value, ok := fields[field.name]; ok && json.Unmarshal(value, field.to) != nil {
			return nil, wrongType(field.name, field.want)
		}
	}
	req.record(record)
	for _, check := range []func(map[string]json.RawMessage) *apiError{
		req.checkNumbers, req.checkMessages, req.checkFormat, req.checkTools,
	} {
		if refused := check(fields); refused != nil {
			return nil, refused
		}
	}
	return req, nil
}

// record fills in what rules match.
func (c *chatRequest) record(r *Request) {
	r.Model, r.Stream = c.Model, c.Stream
	var system []string
	for i, m := range c.Messages {
		switch {
		case m.Role == "system" || m.Role == "developer":
			system = append(system, m.Content.text)
		case m.Role == "user":
			r.User = m.Content.text
		case m.Role == "tool" && i == len(c.Messages)-1:
			r.Tool = m.Content.text
		}
	}
	r.System = strings.Join(system, "\n")
	for _, t := range c.Tools {
		if t.Function != nil {
			r.Tools = append(r.Tools, t.Function.Name)
		}
	}
	if c.ResponseFormat != nil {
		r.Sends[slices.Index(r.Sends, "response_format")] = "response_format=" + c.ResponseFormat.Type
		if c.ResponseFormat.JSONSchema != nil {
			r.Schema = c.ResponseFormat.JSONSchema.Name
		}
	}
}

func wrongType(name, want string) *apiError {
	return invalid(http.StatusBadRequest, name, "invalid_type", "Invalid type for '%s': expected %s.", name, want)
}

func (c *chatRequest) checkNumbers(fields map[string]json.RawMessage) *apiError {
	if c.Model == "" {
		return invalid(http.StatusBadRequest, "", "", "you must provide a model parameter")
	}
	for _, r := range []struct {
		name     string
		low, top float64
		integer  bool
	}{
		{"temperature", 0, 2, false}, {"top_p", 0, 1, false}, {"presence_penalty", -2, 2, false},
		{"frequency_penalty", -2, 2, false}, {"seed", -1 << 63, 1 << 63, true}, {"n", 1, 128, true},
		{"max_tokens", 1, 1 << 31, true}, {"max_completion_tokens", 1, 1 << 31, true},
	} {
		raw, ok := fields[r.name]
		if !ok || string(raw) == "null" {
			continue
		}
		kind := "decimal"
		var x float64
		err := json.Unmarshal(raw, &x)
		if r.integer {
			kind = "integer"
			var n int64
			err = json.Unmarshal(raw, &n)
		}
		switch {
		case err != nil:
			return wrongType(r.name, "a number ("+kind+")")
		case x < r.low:
			return invalid(http.StatusBadRequest, r.name, kind+"_below_min_value",
				"Invalid '%s': %s below minimum value. Expected a value >= %g, but got %g instead.", r.name, kind, r.low, x)
		case x > r.top:
			return invalid(http.StatusBadRequest, r.name, kind+"_above_max_value",
				"Invalid '%s': %s above maximum value. Expected a value <= %g, but got %g instead.", r.name, kind, r.top, x)
		case r.name == "n" && x != 1:
			return invalid(http.StatusBadRequest, "n", "unsupported_value", "This stand-in answers with one choice.")
		}
	}
	switch {
	case c.MaxTokens > 0 && c.MaxCompletionTokens > 0:
		return invalid(http.StatusBadRequest, "max_tokens", "invalid_parameter_combination",
			"Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
	case c.StreamOptions != nil && !c.Stream:
		return invalid(http.StatusBadRequest, "stream_options", "",
			"The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	return nil
}

// checkMessages checks roles and that tool calls and their results belong together.
func (c *chatRequest) checkMessages(map[string]json.RawMessage) *apiError {
	if len(c.Messages) == 0 {
		return invalid(http.StatusBadRequest, "messages", "empty_array",
			"Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.")
	}
	var open []string // calls that still need a result
	for i, m := range c.Messages {
		at := fmt.Sprintf("messages.[%d]", i)
		if m.Role != "tool" && len(open) > 0 {
			return unanswered(at, open)
		}
		switch m.Role {
		case "system", "developer", "user":
			if !m.Content.set {
				return invalid(http.StatusBadRequest, at+".content", "", "Invalid value for 'content': expected a string, got null.")
			}
		case "assistant":
			if !m.Content.set && len(m.ToolCalls) == 0 {
				return invalid(http.StatusBadRequest, at+".content", "", "Invalid value for 'content': expected a string, got null.")
			}
			for _, call := range m.ToolCalls {
				if call.ID == "" || call.Type != "function" || call.Function.Name == "" {
					return invalid(http.StatusBadRequest, at+".tool_calls", "missing_required_parameter",
						"Missing required parameter: '%s.tool_calls' needs id, type 'function' and function.name.", at)
				}
				open = append(open, call.ID)
			}
		case "tool":
			at += ".role"
			found := slices.Index(open, m.ToolCallID)
			if found < 0 {
				return invalid(http.StatusBadRequest, at, "", "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.")
			}
			if !m.Content.set {
				return invalid(http.StatusBadRequest, at, "", "Invalid value for 'content': expected a string, got null.")
			}
			open = slices.Delete(open, found, found+1)
		default:
			return invalid(http.StatusBadRequest, at+".role", "invalid_value",
				"Invalid value: '%s'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.", m.Role)
		}
	}
	if len(open) > 0 {
		return unanswered(fmt.Sprintf("messages.[%d]", len(c.Messages)), open)
	}
	return nil
}

func unanswered(at string, open []string) *apiError {
	return invalid(http.StatusBadRequest, at+".role", "", "An assistant message with 'tool_calls' must be followed by tool messages "+
		"responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: %s", strings.Join(open, ", "))
}

func (c *chatRequest) checkFormat(map[string]json.RawMessage) *apiError {
	f := c.ResponseFormat
	switch {
	case f == nil || f.Type == "text":
		return nil
	case f.Type == "json_object":
		for _, m := range c.Messages {
			if strings.Contains(strings.ToLower(m.Content.text), "json") {
				return nil
			}
		}
		return invalid(http.StatusBadRequest, "messages", "",
			"'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.")
	case f.Type != "json_schema":
		return invalid(http.StatusBadRequest, "response_format.type", "invalid_value",
			"Invalid value: '%s'. Supported values are: 'json_object', 'json_schema', and 'text'.", f.Type)
	case f.JSONSchema == nil:
		return invalid(http.StatusBadRequest, "response_format.json_schema", "missing_required_parameter",
			"Missing required parameter: 'response_format.json_schema'.")
	case !toolName.MatchString(f.JSONSchema.Name):
		return invalid(http.StatusBadRequest, "response_format.json_schema.name", "invalid_value",
			"Invalid 'response_format.json_schema.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.")
	}
	shape, refused := checkSchema(f.JSONSchema.Schema, f.JSONSchema.Strict, "response_format", "response_format '"+f.JSONSchema.Name+"'", "")
	if refused == nil && f.JSONSchema.Strict {
		c.shape = shape
	}
	return refused
}

func (c *chatRequest) checkTools(fields map[string]json.RawMessage) *apiError {
	if raw, ok := fields["tools"]; ok && len(c.Tools) == 0 && !bytes.Equal(raw, []byte("null")) {
		return invalid(http.StatusBadRequest, "tools", "empty_array",
			"Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.")
	}
	seen := map[string]bool{}
	for i, t := range c.Tools {
		at := fmt.Sprintf("tools[%d]", i)
		switch {
		case t.Type != "function":
			return invalid(http.StatusBadRequest, at+".type", "invalid_value", "Invalid value: '%s'. Supported values are: 'function'.", t.Type)
		case t.Function == nil || !toolName.MatchString(t.Function.Name):
			return invalid(http.StatusBadRequest, at+".function.name", "invalid_value",
				"Invalid '%s.function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.", at)
		case seen[t.Function.Name]:
			return invalid(http.StatusBadRequest, at+".function.name", "invalid_value", "Tool names must be unique: '%s'.", t.Function.Name)
		}
		seen[t.Function.Name] = true
		if len(t.Function.Parameters) == 0 {
			continue
		}
		_, refused := checkSchema(t.Function.Parameters, t.Function.Strict, at+".function.parameters",
			"function '"+t.Function.Name+"'", "invalid_function_parameters")
		if refused != nil {
			return refused
		}
	}
	return nil
}

// checkSchema refuses a schema that is none, or that is strict but not fit for it.
func checkSchema(raw json.RawMessage, strict bool, param, owner, code string) (*schema.Schema, *apiError) {
	shape, err := schema.Parse(raw)
	if err == nil && strict {
		err = shape.Strict()
	}
	if err == nil {
		return shape, nil
	}
	context, problem := "()", err.Error()
	if located := (*schema.Error)(nil); errors.As(err, &located) {
		context, problem = tuple(located.Path), located.Problem
	}
	return nil, invalid(http.StatusBadRequest, param, code, "Invalid schema for %s: In context=%s, %s", owner, context, problem)
}

// tuple writes a path as the service does, which is as Python does.
func tuple(path []string) string {
	var b strings.Builder
	for i, step := range path {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "'%s'", step)
	}
	if len(path) == 1 {
		b.WriteString(",")
	}
	return "(" + b.String() + ")"
}

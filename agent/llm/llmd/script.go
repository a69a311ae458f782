package llmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Script is what the endpoint does. As a file it is YAML, or JSON, which is YAML too:
//
//	models: [gpt-6-sol]       # served; any name if empty
//	key: sk-test              # wanted as the bearer token; none if empty
//	rules:                    # the first that matches, and is not used up, answers
//	  - match: {user: "(?i)tcp connects", call: 1}
//	    status: 429
//	    headers: {Retry-After: "2"}
//	  - match: {schema: ebpf_program}
//	    json: {source: "int x;", explanation: "…"}
//	    chunk_delay: 20ms
type Script struct {
	Models []string `yaml:"models"`
	Key    string   `yaml:"key"`
	Rules  []Rule   `yaml:"rules"`
}

// Rule answers the requests it matches. It does one of: answer (Text, JSON, ToolCalls, Refusal, Huge), fail or redirect
// with a status from 300 on (Status, Error), send a body of its own (Body), Hang, or Drop the connection. The other fields change how an
// answer is sent.
type Rule struct {
	// Name is shown in logs and in [Request.Rule].
	Name  string `yaml:"name"`
	Match Match  `yaml:"match"`
	// Times is how many requests the rule answers before it is used up; 0 is any number.
	Times int `yaml:"times"`

	// Text is the answer's content.
	Text string `yaml:"text"`
	// JSON is the answer's content as a value. If the request asked for a strict schema it has to satisfy it, as the
	// service would make sure; to send a wrong object, use Text.
	JSON any `yaml:"json"`
	// ToolCalls are the tools the answer calls; Text may go with them.
	ToolCalls []ToolCall `yaml:"tool_calls"`
	// Refusal declines to answer, in these words.
	Refusal string `yaml:"refusal"`
	// Huge is an answer of so many bytes.
	Huge int `yaml:"huge"`
	// Finish is the finish reason, if it is not the one that follows from the answer; "none" is null.
	Finish string `yaml:"finish"`
	// Usage replaces the token counts; NoUsage leaves them out.
	Usage   *Usage `yaml:"usage"`
	NoUsage bool   `yaml:"no_usage"`

	// Status is the HTTP status; 200 if not set. From 400 on the body is Error, or what the service says with it.
	Status int        `yaml:"status"`
	Error  *ErrorBody `yaml:"error"`
	// Body is sent as it is.
	Body string `yaml:"body"`
	// Headers are set on the response, over the usual ones.
	Headers map[string]string `yaml:"headers"`

	// Delay passes before the response begins, ChunkDelay between the chunks of a stream.
	Delay      time.Duration `yaml:"delay"`
	ChunkDelay time.Duration `yaml:"chunk_delay"`
	// ChunkTokens is how many tokens a chunk of a stream carries; 1 if not set.
	ChunkTokens int `yaml:"chunk_tokens"`
	// CutAfter breaks the connection after so many bytes of the body, EndAfter ends the body there in good order.
	CutAfter int `yaml:"cut_after"`
	EndAfter int `yaml:"end_after"`
	// Malformed breaks the JSON of the response.
	Malformed bool `yaml:"malformed"`
	// Unstreamed sends a plain completion even if a stream was asked for.
	Unstreamed bool `yaml:"unstreamed"`
	// Hang sends nothing until the client goes away.
	Hang bool `yaml:"hang"`
	// Drop resets the connection instead of answering.
	Drop bool `yaml:"drop"`

	match matcher
}

// Match says which requests a rule answers: those for which everything that is set holds. The texts are regular
// expressions.
type Match struct {
	// User is searched in the last user message, System in the system messages, Tool in the last message if that is
	// the result of a tool.
	User   string `yaml:"user"`
	System string `yaml:"system"`
	Tool   string `yaml:"tool"`
	// Schema and Model are the whole names of the schema asked for and of the model.
	Schema string `yaml:"schema"`
	Model  string `yaml:"model"`
	// Call is the number of the chat request, counted from 1.
	Call int `yaml:"call"`
	// Sends are parameters that the request has to send, in the notation of [Request.Sends].
	Sends []string `yaml:"sends"`
}

// ToolCall is a call in an answer.
type ToolCall struct {
	// ID is made up if empty.
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
	// Arguments are sent as JSON; a string is sent as it is, so that it can be broken.
	Arguments any `yaml:"arguments"`
}

// Usage is a token count.
type Usage struct {
	PromptTokens     int `yaml:"prompt_tokens"`
	CompletionTokens int `yaml:"completion_tokens"`
}

const (
	maxScript = 1 << 20
	maxHuge   = 1 << 30
	maxDelay  = time.Hour
)

// Load reads a script file.
func Load(path string) (Script, error) {
	f, err := os.Open(path)
	if err != nil {
		return Script{}, fmt.Errorf("reading the script: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxScript+1))
	if err != nil {
		return Script{}, fmt.Errorf("reading the script: %w", err)
	}
	script, err := Parse(data)
	if err != nil {
		return Script{}, fmt.Errorf("reading the script %s: %w", path, err)
	}
	return script, nil
}

// Parse reads a script. Fields that do not exist are errors, for a rule with a misspelt field would do something else
// than its author thinks.
func Parse(data []byte) (Script, error) {
	var s Script
	if len(data) > maxScript {
		return s, fmt.Errorf("it is larger than %d bytes", maxScript)
	}
	err := yaml.NewDecoder(bytes.NewReader(data), yaml.DisallowUnknownField()).Decode(&s)
	switch {
	case errors.Is(err, io.EOF):
		return s, errors.New("it is empty; it needs at least a rule")
	case err != nil:
		return s, errors.New(yaml.FormatError(err, false, true))
	}
	return s, s.check()
}

// check finds what cannot work, and prepares the rules.
func (s *Script) check() error {
	if strings.ContainsFunc(s.Key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the key contains a space or a control character")
	}
	s.Rules = slices.Clone(s.Rules)
	for i := range s.Rules {
		r := &s.Rules[i]
		if r.Name == "" {
			r.Name = fmt.Sprint(i + 1)
		}
		if err := r.check(); err != nil {
			return fmt.Errorf("rule %s: %w", r.Name, err)
		}
	}
	return nil
}

func (r *Rule) check() error {
	var does []string
	for what, set := range map[string]bool{
		"text":       r.Text != "" && len(r.ToolCalls) == 0,
		"json":       r.JSON != nil,
		"tool_calls": len(r.ToolCalls) > 0,
		"refusal":    r.Refusal != "",
		"huge":       r.Huge != 0,
		"body":       r.Body != "",
		"hang":       r.Hang,
		"drop":       r.Drop,
		"status":     r.Status >= 300 && r.Body == "",
	} {
		if set {
			does = append(does, what)
		}
	}
	slices.Sort(does)
	switch {
	case len(does) == 0 && r.Malformed:
	case len(does) == 0:
		return errors.New("it does nothing: give it one of text, json, tool_calls, refusal, huge, status, body, hang, drop or malformed")
	case len(does) > 1:
		return fmt.Errorf("it does more than one thing: %s", strings.Join(does, ", "))
	case r.Status != 0 && (r.Status < 200 || r.Status > 599):
		return fmt.Errorf("the status %d is not between 200 and 599", r.Status)
	case r.Error != nil && r.Status < 400:
		return errors.New("an error needs a status from 400 on")
	case r.CutAfter != 0 && r.EndAfter != 0:
		return errors.New("cut_after and end_after exclude each other")
	case r.Delay > maxDelay || r.ChunkDelay > maxDelay:
		return fmt.Errorf("a delay is longer than %s", maxDelay)
	case r.Huge > maxHuge:
		return fmt.Errorf("huge is more than %d bytes", maxHuge)
	case !slices.Contains([]string{"", "none", "stop", "length", "tool_calls", "content_filter"}, r.Finish):
		return fmt.Errorf("%q is no finish reason", r.Finish)
	}
	for name, n := range map[string]int64{
		"times": int64(r.Times), "huge": int64(r.Huge), "delay": int64(r.Delay), "chunk_delay": int64(r.ChunkDelay),
		"chunk_tokens": int64(r.ChunkTokens), "cut_after": int64(r.CutAfter), "end_after": int64(r.EndAfter),
		"call": int64(r.Match.Call),
	} {
		if n < 0 {
			return fmt.Errorf("%s is negative", name)
		}
	}
	for name, value := range r.Headers {
		if !headerName.MatchString(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("the header %q cannot be sent", name)
		}
	}
	for _, call := range r.ToolCalls {
		if !toolName.MatchString(call.Name) {
			return fmt.Errorf("%q is no name of a tool", call.Name)
		}
		if _, err := call.arguments(); err != nil {
			return fmt.Errorf("the arguments of %s: %w", call.Name, err)
		}
	}
	if r.JSON != nil {
		if _, err := encode(r.JSON); err != nil {
			return fmt.Errorf("json: %w", err)
		}
	}
	var err error
	r.match, err = r.Match.compile()
	return err
}

var (
	headerName = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	toolName   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// matcher is a compiled Match; a nil expression matches anything.
type matcher struct {
	user, system, tool, schema, model *regexp.Regexp
}

func (m *Match) compile() (matcher, error) {
	var c matcher
	for _, field := range []struct {
		name, text string
		to         **regexp.Regexp
	}{
		{"user", m.User, &c.user}, {"system", m.System, &c.system}, {"tool", m.Tool, &c.tool},
		{"schema", anchored(m.Schema), &c.schema}, {"model", anchored(m.Model), &c.model},
	} {
		if field.text == "" {
			continue
		}
		re, err := regexp.Compile(field.text)
		if err != nil {
			return c, fmt.Errorf("match.%s: %w", field.name, err)
		}
		*field.to = re
	}
	return c, nil
}

func anchored(text string) string {
	if text == "" {
		return ""
	}
	return "^(?:" + text + ")$"
}

// matches reports whether the rule is for the request.
func (r *Rule) matches(req *Request) bool {
	if r.Match.Call != 0 && r.Match.Call != req.Number {
		return false
	}
	for _, name := range r.Match.Sends {
		if !slices.Contains(req.Sends, name) {
			return false
		}
	}
	found := func(re *regexp.Regexp, text string) bool { return re == nil || re.MatchString(text) }
	return found(r.match.user, req.User) && found(r.match.system, req.System) && found(r.match.schema, req.Schema) &&
		found(r.match.model, req.Model) && (r.match.tool == nil || req.Tool != "" && r.match.tool.MatchString(req.Tool))
}

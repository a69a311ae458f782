package llmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	openai "github.com/sashabaranov/go-openai"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, script Script) *Server {
	t.Helper()
	s, err := Start("127.0.0.1:0", script, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// client is the real library, on connections that end with the test.
func client(t *testing.T, s *Server, key string) *openai.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	cfg := openai.DefaultConfig(key)
	cfg.BaseURL = s.URL()
	cfg.HTTPClient = &http.Client{Transport: transport}
	return openai.NewClientWithConfig(cfg)
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func ask(text string) openai.ChatCompletionRequest {
	return openai.ChatCompletionRequest{Model: "m", Messages: []openai.ChatCompletionMessage{
		{Role: "system", Content: "be brief"}, {Role: "user", Content: text},
	}}
}

// post sends a body as it is and returns status and body.
func post(t *testing.T, url, key, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw), resp.Header
}

func TestCompletion(t *testing.T) {
	s := start(t, Script{Rules: []Rule{{Name: "greet", Match: Match{User: "^hello"}, Text: "Hello, world."}}})
	resp, err := client(t, s, "").CreateChatCompletion(bounded(t), ask("hello"))
	if err != nil {
		t.Fatal(err)
	}
	choice := resp.Choices[0]
	if choice.Message.Content != "Hello, world." || choice.Message.Role != "assistant" || choice.FinishReason != "stop" {
		t.Errorf("got %+v", choice)
	}
	if resp.Model != "m" || resp.Object != "chat.completion" || !strings.HasPrefix(resp.ID, "chatcmpl-") {
		t.Errorf("got %+v", resp)
	}
	// Hello , world . and, for the prompt, 3 + twice 3 and the role + be brief + hello
	if u := resp.Usage; u.CompletionTokens != 4 || u.PromptTokens != 3+2*(3+1)+2+1 || u.TotalTokens != u.PromptTokens+4 {
		t.Errorf("usage %+v", u)
	}
	if h := resp.Header(); h.Get("X-Request-Id") == "" || resp.GetRateLimitHeaders().LimitRequests == 0 {
		t.Errorf("headers %v", h)
	}
	got := s.Requests()
	if len(got) != 1 || got[0].Rule != "greet" || got[0].Status != 200 || got[0].User != "hello" || got[0].System != "be brief" {
		t.Errorf("recorded %+v", got)
	}
}

func TestStream(t *testing.T) {
	const text = "int x = 42; // für später"
	s := start(t, Script{Rules: []Rule{{Text: text}}})
	for _, withUsage := range []bool{false, true} {
		req := ask("hello")
		if withUsage {
			req.StreamOptions = &openai.StreamOptions{IncludeUsage: true}
		}
		stream, err := client(t, s, "").CreateChatCompletionStream(bounded(t), req)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		var chunks, finished int
		var usage *openai.Usage
		for {
			chunk, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			chunks++
			if chunk.Object != "chat.completion.chunk" {
				t.Fatalf("got %+v", chunk)
			}
			if chunk.Usage != nil {
				usage = chunk.Usage
				if len(chunk.Choices) != 0 {
					t.Error("usage comes with choices")
				}
				continue
			}
			if usage != nil {
				t.Error("something follows the usage")
			}
			got.WriteString(chunk.Choices[0].Delta.Content)
			if chunk.Choices[0].FinishReason != "" {
				finished++
			}
		}
		stream.Close()
		if got.String() != text || finished != 1 {
			t.Errorf("got %q, finished %d times", got.String(), finished)
		}
		if chunks < countTokens(text)+2 {
			t.Errorf("%d chunks for %d tokens", chunks, countTokens(text))
		}
		if (usage != nil) != withUsage || withUsage && usage.CompletionTokens != countTokens(text) {
			t.Errorf("usage %+v", usage)
		}
	}
}

func TestStreamOnTheWire(t *testing.T) {
	s := start(t, Script{Rules: []Rule{{Text: "a b"}}})
	_, body, header := post(t, s.URL()+"/chat/completions", "",
		`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`)
	if got := header.Get("Content-Type"); got != "text/event-stream; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	events := strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n")
	if events[len(events)-1] != "data: [DONE]" {
		t.Fatalf("ends with %q", events[len(events)-1])
	}
	for _, want := range []struct{ at, fragment string }{
		{events[0], `"delta":{"content":"","refusal":null,"role":"assistant"}`},
		{events[0], `"usage":null`},
		{events[1], `"delta":{"content":"a"}`},
		{events[2], `"delta":{"content":" b"}`},
		{events[3], `"delta":{},"finish_reason":"stop"`},
		{events[4], `"choices":[]`},
		{events[4], `"completion_tokens":2`},
	} {
		if !strings.HasPrefix(want.at, "data: {") || !strings.Contains(want.at, want.fragment) {
			t.Errorf("%s\nlacks %s", want.at, want.fragment)
		}
	}
}

func TestToolCalls(t *testing.T) {
	s := start(t, Script{Rules: []Rule{
		{Match: Match{Tool: "struct sock"}, Text: "It is a socket."},
		{Match: Match{User: "sock"}, Text: "Looking.", ToolCalls: []ToolCall{
			{Name: "btf_type", Arguments: map[string]any{"name": "sock"}}, {Name: "broken", Arguments: `{"name":`},
		}},
	}})
	req := ask("what is sock?")
	req.Tools = []openai.Tool{{Type: "function", Function: &openai.FunctionDefinition{Name: "btf_type",
		Parameters: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"}}}`)}}}
	c := client(t, s, "")
	resp, err := c.CreateChatCompletion(bounded(t), req)
	if err != nil {
		t.Fatal(err)
	}
	whole := resp.Choices[0].Message
	if len(whole.ToolCalls) != 2 || whole.ToolCalls[0].Function.Arguments != `{"name":"sock"}` ||
		whole.ToolCalls[1].Function.Arguments != `{"name":` || resp.Choices[0].FinishReason != "tool_calls" || whole.Content != "Looking." {
		t.Fatalf("got %+v", resp.Choices[0])
	}

	stream, err := c.CreateChatCompletionStream(bounded(t), req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	args := map[int]string{}
	names := map[int]string{}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range chunk.Choices[0].Delta.ToolCalls {
			if (d.ID != "") != (d.Function.Name != "") {
				t.Errorf("a name without an id, or the reverse: %+v", d)
			}
			args[*d.Index] += d.Function.Arguments
			names[*d.Index] += d.Function.Name
		}
	}
	if args[0] != `{"name":"sock"}` || args[1] != `{"name":` || names[0] != "btf_type" || names[1] != "broken" {
		t.Errorf("streamed %v %v", names, args)
	}

	req.Messages = append(req.Messages, whole,
		openai.ChatCompletionMessage{Role: "tool", ToolCallID: whole.ToolCalls[1].ID, Content: "no such tool"},
		openai.ChatCompletionMessage{Role: "tool", ToolCallID: whole.ToolCalls[0].ID, Content: "struct sock {}"})
	resp, err = c.CreateChatCompletion(bounded(t), req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Choices[0].Message.Content != "It is a socket." {
		t.Errorf("got %+v", resp.Choices[0])
	}
}

func TestRulesInOrderAndUsedUp(t *testing.T) {
	s := start(t, Script{Rules: []Rule{
		{Match: Match{Call: 2}, Text: "second"},
		{Match: Match{Schema: "prog"}, Text: "wrong schema"},
		{Match: Match{Schema: "program", Sends: []string{"seed", "response_format=json_schema"}}, JSON: map[string]any{"a": 1}, Times: 1},
		{Match: Match{Model: "other"}, Text: "other model"},
		{Match: Match{System: "brief", User: "o$"}, Text: "system and user", Times: 1},
	}})
	c := client(t, s, "")
	seed := 7
	structured := ask("hello")
	structured.Seed = &seed
	structured.ResponseFormat = &openai.ChatCompletionResponseFormat{Type: "json_schema", JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{
		Name: "program", Strict: true, Schema: json.RawMessage(`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`)}}
	other := ask("bye")
	other.Model = "other"
	for i, step := range []struct {
		req  openai.ChatCompletionRequest
		want string // empty: no rule
	}{
		{structured, `{"a":1}`}, {ask("bye"), "second"}, {other, "other model"}, {ask("hello"), "system and user"},
		{ask("hello"), ""}, {ask("bye"), ""}, {ask("hello\nno"), ""},
	} {
		resp, err := c.CreateChatCompletion(bounded(t), step.req)
		var api *openai.APIError
		switch {
		case step.want == "" && errors.As(err, &api):
			if api.HTTPStatusCode != 404 || api.Code != "no_scripted_answer" || !strings.Contains(api.Message, fmt.Sprintf("call %d", i+1)) {
				t.Errorf("step %d: %v %v", i, api.Code, api)
			}
		case step.want == "" || err != nil:
			t.Errorf("step %d: %+v, %v", i, resp, err)
		case resp.Choices[0].Message.Content != step.want:
			t.Errorf("step %d: got %q, want %q", i, resp.Choices[0].Message.Content, step.want)
		}
	}
}

func TestRefusesBadRequests(t *testing.T) {
	s := start(t, Script{Key: "sk-secret-key-123", Models: []string{"m"}, Rules: []Rule{{Text: "fine"}}})
	user := `"messages":[{"role":"user","content":"x"}]`
	format := func(schema string) string {
		return `{"model":"m",` + user + `,"response_format":{"type":"json_schema","json_schema":{"name":"p","strict":true,"schema":` + schema + `}}}`
	}
	for name, tc := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"fine":                {`{"model":"m",` + user + `}`, 200, `"content": "fine"`},
		"fine with parts":     {`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`, 200, "fine"},
		"no JSON":             {`{"model":`, 400, "We could not parse the JSON body"},
		"null":                {`null`, 400, "We could not parse the JSON body"},
		"no model":            {`{` + user + `}`, 400, "you must provide a model parameter"},
		"unknown model":       {`{"model":"x",` + user + `}`, 404, `"code": "model_not_found"`},
		"unknown parameter":   {`{"model":"m",` + user + `,"colour":1}`, 400, `"code": "unknown_parameter"`},
		"not imitated":        {`{"model":"m",` + user + `,"stop":"x"}`, 400, "does not imitate the parameter 'stop'"},
		"n":                   {`{"model":"m",` + user + `,"n":2}`, 400, "one choice"},
		"messages type":       {`{"model":"m","messages":"x"}`, 400, "Invalid type for 'messages'"},
		"no messages":         {`{"model":"m","messages":[]}`, 400, "empty array"},
		"role":                {`{"model":"m","messages":[{"role":"root","content":"x"}]}`, 400, "Invalid value: 'root'"},
		"content":             {`{"model":"m","messages":[{"role":"user"}]}`, 400, "expected a string, got null"},
		"assistant content":   {`{"model":"m","messages":[{"role":"assistant","content":null}]}`, 400, "expected a string, got null"},
		"stray result":        {`{"model":"m","messages":[{"role":"tool","tool_call_id":"a","content":"x"}]}`, 400, "must be a response to a preceeding message"},
		"result missing":      {`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}]}`, 400, "did not have response messages: a"},
		"result too late":     {`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"user","content":"x"}]}`, 400, "did not have response messages: a"},
		"call without id":     {`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f"}}]}]}`, 400, "Missing required parameter"},
		"result without text": {`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a"}]}`, 400, "expected a string, got null"},
		"temperature":         {`{"model":"m",` + user + `,"temperature":3}`, 400, "Expected a value <= 2, but got 3 instead."},
		"temperature type":    {`{"model":"m",` + user + `,"temperature":"hot"}`, 400, "Invalid type for 'temperature'"},
		"seed":                {`{"model":"m",` + user + `,"seed":1.5}`, 400, "Invalid type for 'seed'"},
		"max tokens":          {`{"model":"m",` + user + `,"max_completion_tokens":0}`, 400, "integer_below_min_value"},
		"both limits":         {`{"model":"m",` + user + `,"max_completion_tokens":1,"max_tokens":1}`, 400, "at the same time is not supported"},
		"stream options":      {`{"model":"m",` + user + `,"stream_options":{"include_usage":true}}`, 400, "only allowed when 'stream' is enabled"},
		"format type":         {`{"model":"m",` + user + `,"response_format":{"type":"object"}}`, 400, "Supported values are: 'json_object', 'json_schema', and 'text'."},
		"format without":      {`{"model":"m",` + user + `,"response_format":{"type":"json_schema"}}`, 400, "response_format.json_schema"},
		"format name":         {`{"model":"m",` + user + `,"response_format":{"type":"json_schema","json_schema":{"name":"a b","schema":{}}}}`, 400, "does not match pattern"},
		"object unannounced":  {`{"model":"m",` + user + `,"response_format":{"type":"json_object"}}`, 400, "must contain the word 'json'"},
		"object announced":    {`{"model":"m","messages":[{"role":"user","content":"some JSON"}],"response_format":{"type":"json_object"}}`, 200, "fine"},
		"schema fine":         {format(`{"type":"object","properties":{},"required":[],"additionalProperties":false}`), 200, "fine"},
		"schema loose":        {`{"model":"m",` + user + `,"response_format":{"type":"json_schema","json_schema":{"name":"p","schema":{"type":"object"}}}}`, 200, "fine"},
		"schema open":         {format(`{"type":"object","properties":{"a":{"type":"object","properties":{}}},"required":["a"],"additionalProperties":false}`), 400, "Invalid schema for response_format 'p': In context=('properties', 'a'), 'additionalProperties' is required to be supplied and to be false."},
		"schema optional":     {format(`{"type":"object","properties":{"a":{"type":"string"}},"required":[],"additionalProperties":false}`), 400, "In context=(), 'required' is required to be supplied and to be an array including every key in properties. Missing 'a'."},
		"schema no schema":    {format(`[]`), 400, "In context=(), a schema is a JSON object"},
		"tools empty":         {`{"model":"m",` + user + `,"tools":[]}`, 400, "Invalid 'tools': empty array"},
		"tools type":          {`{"model":"m",` + user + `,"tools":[{"type":"web"}]}`, 400, "Supported values are: 'function'."},
		"tools name":          {`{"model":"m",` + user + `,"tools":[{"type":"function","function":{"name":"a b"}}]}`, 400, "does not match pattern"},
		"tools twice":         {`{"model":"m",` + user + `,"tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"a"}}]}`, 400, "must be unique"},
		"tools strict":        {`{"model":"m",` + user + `,"tools":[{"type":"function","function":{"name":"a","strict":true,"parameters":{"type":"object"}}}]}`, 400, "Invalid schema for function 'a': In context=()"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body, _ := post(t, s.URL()+"/chat/completions", "sk-secret-key-123", tc.body)
			if status != tc.status || !strings.Contains(body, tc.want) {
				t.Errorf("got %d %s, want %d %s", status, body, tc.status, tc.want)
			}
		})
	}
	for _, r := range s.Requests() {
		if strings.Contains(fmt.Sprint(r.Header), "sk-secret") {
			t.Errorf("the key is recorded: %v", r.Header)
		}
	}
}

func TestKeys(t *testing.T) {
	s := start(t, Script{Key: "sk-right-0123456789", Rules: []Rule{{Text: "fine"}}})
	for key, want := range map[string]string{
		"":                    "You didn't provide an API key.",
		"sk-wrong-0123456789": "Incorrect API key provided: sk-wrong*******6789. You can find your API key",
		"short":               "Incorrect API key provided: short.",
	} {
		_, err := client(t, s, key).CreateChatCompletion(bounded(t), ask("x"))
		var api *openai.APIError
		if !errors.As(err, &api) || api.HTTPStatusCode != 401 || !strings.Contains(api.Message, want) || api.Type != "invalid_request_error" {
			t.Errorf("key %q: %v, want %q", key, err, want)
		}
	}
	if _, err := client(t, s, "sk-right-0123456789").CreateChatCompletion(bounded(t), ask("x")); err != nil {
		t.Error(err)
	}
}

func TestWrongPlaces(t *testing.T) {
	s := start(t, Script{Rules: []Rule{{Text: "fine"}}})
	for path, want := range map[string]string{
		"/v1/responses":        `"message": "Invalid URL (POST /v1/responses)"`,
		"/chat/completions":    "Invalid URL",
		"/v1/models":           "Not allowed to POST on /v1/models.",
		"/v1/chat/completions": "Unsupported content type: 'text/plain'",
	} {
		resp, err := http.Post(strings.TrimSuffix(s.URL(), "/v1")+path, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode < 400 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %s, want %s", path, resp.StatusCode, body, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestErrorsAndHeaders(t *testing.T) {
	code := "weird"
	s := start(t, Script{Rules: []Rule{
		{Match: Match{Call: 1}, Status: 429, Headers: map[string]string{"Retry-After": "7"}},
		{Match: Match{Call: 2}, Status: 500},
		{Match: Match{Call: 3}, Status: 503},
		{Match: Match{Call: 4}, Status: 418, Error: &ErrorBody{Message: "a teapot", Type: "t", Code: &code}},
		{Match: Match{Call: 5}, Status: 422, Body: `{"detail":[{"type":"extra_forbidden"}]}`},
		{Match: Match{Call: 6}, Body: `<html>`, Headers: map[string]string{"content-type": "text/html"}},
		{Match: Match{Call: 7}, Status: 302, Headers: map[string]string{"Location": "http://127.0.0.1:1/"}},
	}})
	for i, want := range []struct {
		status int
		body   string
		header [2]string
	}{
		{429, `"code": "rate_limit_exceeded"`, [2]string{"Retry-After", "7"}},
		{500, `"type": "server_error"`, [2]string{"Content-Type", "application/json"}},
		{503, `overloaded`, [2]string{"Content-Type", "application/json"}},
		{418, `"code": "weird"`, [2]string{"Content-Type", "application/json"}},
		{422, `{"detail":[{"type":"extra_forbidden"}]}`, [2]string{"Content-Type", "application/json"}},
		{200, `<html>`, [2]string{"Content-Type", "text/html"}},
		{302, ``, [2]string{"Location", "http://127.0.0.1:1/"}},
	} {
		status, body, header := post(t, s.URL()+"/chat/completions", "", `{"model":"m","messages":[{"role":"user","content":"x"}]}`)
		if status != want.status || !strings.Contains(body, want.body) || header.Get(want.header[0]) != want.header[1] {
			t.Errorf("call %d: %d %s %v", i+1, status, body, header)
		}
	}
}

func TestStrictJSONIsKeptTo(t *testing.T) {
	s := start(t, Script{Rules: []Rule{{Name: "wrong", JSON: map[string]any{"b": 1}}}})
	req := ask("x")
	req.ResponseFormat = &openai.ChatCompletionResponseFormat{Type: "json_schema", JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{
		Name: "p", Strict: true, Schema: json.RawMessage(`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`)}}
	_, err := client(t, s, "").CreateChatCompletion(bounded(t), req)
	if err == nil || !strings.Contains(err.Error(), "rule wrong answers with JSON that the strict schema asked for would not allow") {
		t.Errorf("got %v", err)
	}
}

func TestLimit(t *testing.T) {
	s := start(t, Script{Rules: []Rule{{Text: "one two three four"}}})
	for _, stream := range []bool{false, true} {
		body := fmt.Sprintf(`{"model":"m","max_completion_tokens":2,"stream":%v,"messages":[{"role":"user","content":"x"}]}`, stream)
		_, got, _ := post(t, s.URL()+"/chat/completions", "", body)
		if !strings.Contains(got, "length") || strings.Contains(got, "three") || !strings.Contains(got, "two") {
			t.Errorf("got %s", got)
		}
	}
}

func TestFaults(t *testing.T) {
	read := func(t *testing.T, rule Rule, stream bool) (*http.Response, string, error) {
		s := start(t, Script{Rules: []Rule{rule}})
		body := fmt.Sprintf(`{"model":"m","stream":%v,"messages":[{"role":"user","content":"x"}]}`, stream)
		req, err := http.NewRequestWithContext(bounded(t), http.MethodPost, s.URL()+"/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		return resp, string(raw), err
	}
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream=%v", stream), func(t *testing.T) {
			if _, body, err := read(t, Rule{Text: "some text", CutAfter: 50}, stream); !errors.Is(err, io.ErrUnexpectedEOF) || len(body) != 50 {
				t.Errorf("cut: %d bytes, %v", len(body), err)
			}
			if _, body, err := read(t, Rule{Text: "some text", EndAfter: 50}, stream); err != nil || len(body) != 50 {
				t.Errorf("end: %d bytes, %v", len(body), err)
			}
			if _, _, err := read(t, Rule{Drop: true}, stream); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
				t.Errorf("drop: %v", err)
			}
			if _, body, err := read(t, Rule{Huge: 300_000}, stream); err != nil || strings.Count(body, "x") < 300_000 {
				t.Errorf("huge: %d bytes, %v", len(body), err)
			}
			_, body, err := read(t, Rule{Text: "a", Malformed: true}, stream)
			first, _, _ := strings.Cut(strings.TrimPrefix(body, "data: "), "\n\n")
			if err != nil || json.Valid([]byte(first)) {
				t.Errorf("malformed: %q, %v", first, err)
			}
			resp, body, err := read(t, Rule{Text: "a", Unstreamed: true, NoUsage: true, Finish: "none"}, stream)
			if err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") || strings.Contains(body, `"usage"`) ||
				!strings.Contains(body, `"finish_reason": null`) {
				t.Errorf("unstreamed: %q, %v", body, err)
			}
		})
	}
}

// A chunk is on its way before the next one is due: the client sees progress.
func TestChunksAreFlushed(t *testing.T) {
	s := start(t, Script{Rules: []Rule{{Text: "one two", ChunkDelay: time.Hour}}})
	ctx, cancel := context.WithCancel(bounded(t))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/chat/completions",
		strings.NewReader(`{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, `"role":"assistant"`) {
		t.Errorf("got %q, %v", line, err)
	}
	cancel()
	if err := s.WaitGone(bounded(t), 1); err != nil {
		t.Error(err)
	}
}

func TestHangEndsWithTheClientOrTheServer(t *testing.T) {
	s := start(t, Script{Rules: []Rule{{Hang: true}}})
	ctx, cancel := context.WithCancel(bounded(t))
	done := make(chan error, 1)
	c := client(t, s, "")
	go func() {
		_, err := c.CreateChatCompletion(ctx, ask("x"))
		done <- err
	}()
	if err := s.Wait(bounded(t), 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v", err)
	}
	if err := s.WaitGone(bounded(t), 1); err != nil {
		t.Error(err)
	}
	go func() {
		_, err := c.CreateChatCompletion(bounded(t), ask("x"))
		done <- err
	}()
	if err := s.Wait(bounded(t), 2); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("the client got an answer from a closed server")
	}
	expired, stop := context.WithCancel(context.Background())
	stop()
	if err := s.Wait(expired, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for what does not come: %v", err)
	}
}

func TestModels(t *testing.T) {
	s := start(t, Script{Models: []string{"a", "b/c"}, Rules: []Rule{{Text: "x"}}})
	c := client(t, s, "")
	list, err := c.ListModels(bounded(t))
	if err != nil || len(list.Models) != 2 || list.Models[1].ID != "b/c" {
		t.Errorf("got %+v, %v", list, err)
	}
	if m, err := c.GetModel(bounded(t), "b/c"); err != nil || m.ID != "b/c" {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := c.GetModel(bounded(t), "d"); err == nil || !strings.Contains(err.Error(), "`d` does not exist") {
		t.Errorf("got %v", err)
	}
}

func TestEmbeddings(t *testing.T) {
	s := start(t, Script{Rules: []Rule{{Text: "x"}}})
	c := client(t, s, "")
	texts := []string{"tcp connect latency", "latency of TCP connect!", "page faults by process", "—"}
	vectors := func(format openai.EmbeddingEncodingFormat, dimensions int) []openai.Embedding {
		resp, err := c.CreateEmbeddings(bounded(t), openai.EmbeddingRequestStrings{Input: texts, Model: "e", EncodingFormat: format, Dimensions: dimensions})
		if err != nil {
			t.Fatal(err)
		}
		if resp.Usage.PromptTokens == 0 || len(resp.Data) != len(texts) {
			t.Errorf("got %+v", resp)
		}
		return resp.Data
	}
	v := vectors("", 0)
	if len(v[0].Embedding) != defaultDimensions {
		t.Errorf("%d dimensions", len(v[0].Embedding))
	}
	dot := func(a, b openai.Embedding) float64 {
		x, err := a.DotProduct(&b)
		if err != nil {
			t.Fatal(err)
		}
		return float64(x)
	}
	for i := range v {
		if one := dot(v[i], v[i]); math.Abs(one-1) > 1e-4 {
			t.Errorf("%q has length² %g", texts[i], one)
		}
	}
	if near, far := dot(v[0], v[1]), dot(v[0], v[2]); near < far+0.5 {
		t.Errorf("same words %g, other words %g", near, far)
	}
	again, packed := vectors("", 256), vectors("base64", 256)
	for i := range again {
		if fmt.Sprint(again[i].Embedding) != fmt.Sprint(packed[i].Embedding) || len(packed[i].Embedding) != 256 {
			t.Errorf("%q differs between encodings", texts[i])
		}
	}
	for body, want := range map[string]string{
		`{"model":"e","input":""}`:                           "'$.input' is invalid",
		`{"model":"e","input":["a",""]}`:                     "'$.input' is invalid",
		`{"model":"e","input":{}}`:                           "'$.input' is invalid",
		`{"model":"e"}`:                                      "'$.input' is invalid",
		`{"input":"a"}`:                                      "you must provide a model",
		`{"model":"e","input":"a","dimensions":0}`:           "Invalid value for 'dimensions'",
		`{"model":"e","input":"a","encoding_format":"yaml"}`: "Supported values are: 'float' and 'base64'",
		`{"model":"e","input":[1,2,3]}`:                      `"embedding"`,
		`{"model":"e","input":[[1,2],[3]],"dimensions":4}`:   `"index": 1`,
		`{"model":`: "could not parse",
	} {
		if _, got, _ := post(t, s.URL()+"/embeddings", "", body); !strings.Contains(got, want) {
			t.Errorf("%s: %.200s, want %s", body, got, want)
		}
	}
}

func TestTokenize(t *testing.T) {
	for text, want := range map[string]int{"": 0, "hello": 1, "hello world": 2, "tracepoint": 2, "12345": 2, "a.b": 3, "\n\t\t": 1, "für": 1, "}};": 3, "\xff\xfe": 2} {
		pieces := tokenize(text)
		if len(pieces) != want || strings.Join(pieces, "") != text {
			t.Errorf("%q: %q, want %d", text, pieces, want)
		}
	}
}

func FuzzTokenize(f *testing.F) {
	f.Add("int main(void) { return 42; }")
	f.Add("日本語 \xff  x")
	f.Fuzz(func(t *testing.T, text string) {
		if got := strings.Join(tokenize(text), ""); got != text {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

// No request body makes the endpoint crash, or answer 200 to what the service would refuse for its shape.
func FuzzChatRequest(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":"x"}]}`))
	f.Add([]byte(`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f"}}]},{"role":"tool","tool_call_id":"a","content":[]}]}`))
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"response_format":{"type":"json_schema","json_schema":{"name":"p","strict":true,"schema":{"type":"object"}}}}`))
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"temperature":1e9}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		record := &Request{}
		req, refused := parseChat(raw, record)
		if (req == nil) == (refused == nil) {
			t.Fatalf("%q: %v, %v", raw, req, refused)
		}
		if refused != nil {
			if refused.status < 400 || refused.Message == "" || !json.Valid(indented(refused.ErrorBody)) {
				t.Fatalf("%q: %+v", raw, refused)
			}
			return
		}
		if req.Model == "" || len(req.Messages) == 0 || !json.Valid(bytes.TrimSpace(raw)) {
			t.Fatalf("%q was taken: %+v", raw, req)
		}
	})
}

package llm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kgent/agent/llm"
	"kgent/agent/llm/llmd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "sk-test-very-secret-QwErTyUiOp"

// clock goes on only when somebody sleeps.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept = append(c.slept, d)
	c.now = c.now.Add(d)
	return context.Cause(ctx)
}

func serve(t *testing.T, rules ...llmd.Rule) *llmd.Server {
	t.Helper()
	s, err := llmd.Start("127.0.0.1:0", llmd.Script{Key: key, Rules: rules}, nil)
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

// dial makes a client for the address, with a clock of its own.
func dial(t *testing.T, url string, change func(*llm.Config)) (*llm.Client, *clock) {
	t.Helper()
	clk := newClock()
	cfg := llm.Config{BaseURL: url, Key: llm.NewSecret(key), Model: "m", Timeout: 10 * time.Second,
		Now: clk.Now, Sleep: clk.Sleep, Jitter: func() float64 { return 1 }}
	if change != nil {
		change(&cfg)
	}
	c, err := llm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, clk
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// complete asks, and checks what holds of every call: one record, that agrees with the answer; no key anywhere.
func complete(t *testing.T, ctx context.Context, c *llm.Client, p llm.Prompt) (llm.Answer, llm.CallRecord, error) {
	t.Helper()
	var records []llm.CallRecord
	p.Record = func(r llm.CallRecord) { records = append(records, r) }
	answer, err := c.Complete(ctx, p)
	if len(records) != 1 {
		t.Fatalf("%d records of one call", len(records))
	}
	record := records[0]
	if record.Usage != answer.Usage || record.Cost != answer.Cost || !slices.Equal(record.Degraded, answer.Degraded) ||
		record.FinishReason != answer.FinishReason || (record.Error != "") != (err != nil) {
		t.Errorf("the record %+v\ndiffers from the answer %+v", record, answer)
	}
	raw, jsonErr := json.Marshal(record)
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	var failed *llm.Error
	errors.As(err, &failed)
	for _, text := range []string{string(raw), fmt.Sprint(err), fmt.Sprintf("%+v %#v", failed, failed), fmt.Sprintf("%v %+v %#v", c, c, c),
		fmt.Sprintf("%+v", c.Config())} {
		for _, part := range []string{key, "very-secret", "QwErTyUiOp", "UiOp"} {
			if strings.Contains(text, part) {
				t.Errorf("the key is in %s", text)
			}
		}
	}
	return answer, record, err
}

func statuses(r llm.CallRecord) []int {
	var list []int
	for _, a := range r.Attempts {
		list = append(list, a.Status)
	}
	return list
}

func user(text string) llm.Prompt { return llm.Prompt{Messages: []llm.Message{llm.User(text)}} }

type program struct {
	Explanation string `json:"explanation"`
	Source      string `json:"source"`
	Hooks       []struct {
		Name string `json:"name"`
		Kind string `json:"kind" enum:"tracepoint,xdp"`
	} `json:"hooks"`
}

func programSchema(t *testing.T) *llm.Schema {
	t.Helper()
	s, err := llm.SchemaOf[program]("ebpf_program")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var goodProgram = map[string]any{"explanation": "why", "source": "int x = {1};", "hooks": []any{map[string]any{"name": "a", "kind": "xdp"}}}

const goodProgramText = `{"explanation":"why","source":"int x = {1};","hooks":[{"name":"a","kind":"xdp"}]}`

// both runs a test with and without streaming.
func both(t *testing.T, f func(t *testing.T, streamed func(llm.Prompt) llm.Prompt)) {
	t.Run("whole", func(t *testing.T) { f(t, func(p llm.Prompt) llm.Prompt { return p }) })
	t.Run("streamed", func(t *testing.T) {
		f(t, func(p llm.Prompt) llm.Prompt {
			p.Stream = func(llm.Progress) {}
			return p
		})
	})
}

func TestText(t *testing.T) {
	both(t, func(t *testing.T, streamed func(llm.Prompt) llm.Prompt) {
		s := serve(t, llmd.Rule{Match: llmd.Match{System: "^be brief$", User: "^hello$"}, Text: "Hello, world.",
			Usage: &llmd.Usage{PromptTokens: 1000, CompletionTokens: 100}})
		c, _ := dial(t, s.URL(), func(cfg *llm.Config) {
			cfg.Prices = map[string]llm.Price{"m": {Prompt: 2, Completion: 10}}
		})
		p := streamed(user("hello"))
		p.System, p.Purpose = "be brief", "greeting"
		answer, record, err := complete(t, bounded(t), c, p)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Text != "Hello, world." || answer.JSON != nil || answer.Model != "m" || answer.FinishReason != "stop" || answer.Degraded != nil {
			t.Errorf("got %+v", answer)
		}
		if (answer.Usage != llm.Usage{PromptTokens: 1000, CompletionTokens: 100}) || answer.Cost != 0.003 {
			t.Errorf("usage %+v, cost %g", answer.Usage, answer.Cost)
		}
		if record.Purpose != "greeting" || record.Endpoint != s.URL() || record.Model != "m" || len(record.Attempts) != 1 ||
			record.Attempts[0].Status != 200 || !strings.HasPrefix(record.Attempts[0].RequestID, "req_") || record.Time != newClock().now {
			t.Errorf("record %+v", record)
		}
	})
}

func TestEverythingIsSent(t *testing.T) {
	s := serve(t, llmd.Rule{JSON: goodProgram})
	c, _ := dial(t, s.URL(), func(cfg *llm.Config) { cfg.Organization = "org-7" })
	zero, seed := 0.0, 42
	p := user("hello")
	p.Schema, p.Temperature, p.Seed, p.MaxTokens = programSchema(t), &zero, &seed, 500
	p.Stream = func(llm.Progress) {}
	if _, _, err := complete(t, bounded(t), c, p); err != nil {
		t.Fatal(err)
	}
	got := s.Requests()[0]
	if !slices.Equal(got.Sends, []string{"max_completion_tokens", "messages", "model", "response_format=json_schema", "seed", "stream", "stream_options", "temperature"}) {
		t.Errorf("sent %v", got.Sends)
	}
	if !strings.HasPrefix(string(got.Body), `{"temperature":0,"model":"m"`) {
		t.Errorf("sent %s", got.Body)
	}
	if got.Header.Get("User-Agent") != "kgent" || got.Header.Get("OpenAI-Organization") != "org-7" {
		t.Errorf("sent %v", got.Header)
	}
}

func TestStructured(t *testing.T) {
	both(t, func(t *testing.T, streamed func(llm.Prompt) llm.Prompt) {
		s := serve(t, llmd.Rule{Match: llmd.Match{Schema: "ebpf_program"}, JSON: goodProgram})
		c, _ := dial(t, s.URL(), nil)
		p := streamed(user("x"))
		p.Schema = programSchema(t)
		answer, _, err := complete(t, bounded(t), c, p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := llm.Decode[program](answer)
		if err != nil || got.Source != "int x = {1};" || got.Hooks[0].Kind != "xdp" || answer.Degraded != nil {
			t.Errorf("got %+v, %v, degraded %v", got, err, answer.Degraded)
		}
	})
}

func TestTools(t *testing.T) {
	type lookup struct {
		Name string `json:"name"`
	}
	both(t, func(t *testing.T, streamed func(llm.Prompt) llm.Prompt) {
		s := serve(t,
			llmd.Rule{Match: llmd.Match{Tool: "two structs"}, JSON: goodProgram},
			llmd.Rule{Match: llmd.Match{User: "sock"}, Text: "Looking.", ToolCalls: []llmd.ToolCall{
				{Name: "btf_type", Arguments: map[string]any{"name": "sock"}},
				{Name: "btf_type", Arguments: `{"name": "so`},
				{Name: "btf_type", Arguments: map[string]any{"nom": "sock"}},
			}})
		c, _ := dial(t, s.URL(), nil)
		p := streamed(user("what is sock?"))
		p.Schema = programSchema(t)
		p.Tools = []llm.Tool{{Name: "btf_type", Description: "a type of the kernel", Params: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}`)}}
		answer, _, err := complete(t, bounded(t), c, p)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Text != "Looking." || answer.FinishReason != "tool_calls" || answer.JSON != nil || len(answer.ToolCalls) != 3 {
			t.Fatalf("got %+v", answer)
		}
		if got, err := llm.Arguments[lookup](answer.ToolCalls[0]); err != nil || got.Name != "sock" {
			t.Errorf("got %+v, %v", got, err)
		}
		for _, call := range answer.ToolCalls[1:] {
			if _, err := llm.Arguments[lookup](call); !errors.Is(err, llm.ErrNotJSON) || !strings.Contains(err.Error(), `the arguments of "btf_type"`) {
				t.Errorf("got %v", err)
			}
		}
		p.Messages = append(p.Messages, answer.Message())
		for _, call := range answer.ToolCalls {
			p.Messages = append(p.Messages, llm.ToolResult(call, "there are two structs"))
		}
		if answer, _, err = complete(t, bounded(t), c, p); err != nil || answer.JSON == nil {
			t.Errorf("got %+v, %v", answer, err)
		}
		if got := s.Requests()[1].Tools; !slices.Equal(got, []string{"btf_type"}) {
			t.Errorf("offered %v", got)
		}
	})
}

func TestProgress(t *testing.T) {
	s := serve(t,
		llmd.Rule{Match: llmd.Match{Call: 1}, Text: "one two three", CutAfter: 900},
		llmd.Rule{Match: llmd.Match{Call: 2}, Text: "one two three"},
		llmd.Rule{Match: llmd.Match{Call: 3}, ToolCalls: []llmd.ToolCall{{Name: "f", Arguments: map[string]int{"a": 1}}}})
	c, _ := dial(t, s.URL(), nil)
	p := user("x")
	said := map[int]string{}
	tokens := 0
	p.Stream = func(piece llm.Progress) {
		if piece.Text == "" {
			t.Error("progress without any")
		}
		said[piece.Attempt] += piece.Text
		tokens = piece.Tokens
	}
	if _, _, err := complete(t, bounded(t), c, p); err != nil {
		t.Fatal(err)
	}
	if said[2] != "one two three" || tokens != 3 || !strings.HasPrefix("one two three", said[1]) || said[1] == said[2] {
		t.Errorf("said %v, %d tokens", said, tokens)
	}
	clear(said)
	p.Tools = []llm.Tool{{Name: "f", Params: json.RawMessage(`{"type":"object"}`)}}
	if _, _, err := complete(t, bounded(t), c, p); err != nil || said[1] != `f{"a":1}` {
		t.Errorf("said %v, %v", said, err)
	}
}

// TestFaults is the matrix of what endpoints do: for each, whether it is repeated, after which waits, and what comes
// of it in the end.
func TestFaults(t *testing.T) {
	fine := llmd.Rule{Text: "fine"}
	times := func(n int, r llmd.Rule) llmd.Rule { r.Times = n; return r }
	header := func(status int, kv ...string) llmd.Rule {
		r := llmd.Rule{Status: status, Headers: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			r.Headers[kv[i]] = kv[i+1]
		}
		return r
	}
	body := func(status int, text string) llmd.Rule { return llmd.Rule{Status: status, Body: text} }
	later := newClock().now.Add(9 * time.Second).Format(http.TimeFormat)
	s, ms := time.Second, time.Millisecond
	for name, tc := range map[string]struct {
		rules    []llmd.Rule
		want     error // nil: the answer "fine"
		says     string
		attempts []int // HTTP statuses
		slept    []time.Duration
		streamed bool // only streamed
		whole    bool // only not streamed
	}{
		"500, then fine": {rules: []llmd.Rule{times(1, header(500)), fine}, attempts: []int{500, 200}, slept: []time.Duration{500 * ms}},
		"502, 503 and 504, then fine": {rules: []llmd.Rule{times(1, header(502)), times(1, header(503)), times(1, header(504)), fine},
			attempts: []int{502, 503, 504, 200}, slept: []time.Duration{500 * ms, s, 2 * s}},
		"500 for good": {rules: []llmd.Rule{header(500)}, want: llm.ErrUnavailable, attempts: []int{500, 500, 500, 500, 500},
			slept: []time.Duration{500 * ms, s, 2 * s, 4 * s}, says: "(HTTP 500, server_error, after 5 requests): The server had an error"},
		"503 with a wait": {rules: []llmd.Rule{times(1, header(503, "Retry-After", "3")), fine}, attempts: []int{503, 200}, slept: []time.Duration{3 * s}},
		"501":             {rules: []llmd.Rule{header(501)}, want: llm.ErrUnavailable, attempts: []int{501}},

		"429 without a wait":      {rules: []llmd.Rule{times(1, header(429, "X-Ratelimit-Reset-Requests", "", "X-Ratelimit-Reset-Tokens", "")), fine}, attempts: []int{429, 200}, slept: []time.Duration{500 * ms}},
		"429 with seconds":        {rules: []llmd.Rule{times(1, header(429, "Retry-After", "7")), fine}, attempts: []int{429, 200}, slept: []time.Duration{7 * s}},
		"429 with a date":         {rules: []llmd.Rule{times(1, header(429, "Retry-After", later)), fine}, attempts: []int{429, 200}, slept: []time.Duration{9 * s}},
		"429 with milliseconds":   {rules: []llmd.Rule{times(1, header(429, "Retry-After-Ms", "250", "Retry-After", "1")), fine}, attempts: []int{429, 200}, slept: []time.Duration{250 * ms}},
		"429 with a reset":        {rules: []llmd.Rule{times(1, header(429, "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "12.5s")), fine}, attempts: []int{429, 200}, slept: []time.Duration{12500 * ms}},
		"429 with a long wait":    {rules: []llmd.Rule{header(429, "Retry-After", "61")}, want: llm.ErrRateLimited, attempts: []int{429}, says: "try again in 1m1s"},
		"429 for good":            {rules: []llmd.Rule{header(429, "Retry-After", "2")}, want: llm.ErrRateLimited, attempts: []int{429, 429, 429, 429, 429}, slept: []time.Duration{2 * s, 2 * s, 2 * s, 2 * s}, says: "rate_limit_exceeded"},
		"429 without credit":      {rules: []llmd.Rule{body(429, `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`)}, want: llm.ErrRateLimited, attempts: []int{429}, says: "add credit to the account"},
		"402":                     {rules: []llmd.Rule{header(402)}, want: llm.ErrRateLimited, attempts: []int{402}, says: "add credit to the account"},
		"401":                     {rules: []llmd.Rule{header(401)}, want: llm.ErrUnauthorized, attempts: []int{401}, says: "set OPENAI_API_KEY to a valid key"},
		"403":                     {rules: []llmd.Rule{header(403)}, want: llm.ErrUnauthorized, attempts: []int{403}, says: "Country, region, or territory not supported"},
		"401 that shows the key":  {rules: []llmd.Rule{body(401, `{"error":{"message":"bad key `+key+`"}}`)}, want: llm.ErrUnauthorized, attempts: []int{401}},
		"400 that shows the key":  {rules: []llmd.Rule{body(400, `{"error":{"message":"bad header Bearer `+key+` or sk-test****6789"}}`)}, want: llm.ErrRejected, attempts: []int{400}, says: "bad header Bearer [key] or [key]"},
		"404":                     {rules: []llmd.Rule{header(404)}, want: llm.ErrNoModel, attempts: []int{404}, says: "set KGENT_MODEL to a model that http://127.0.0.1:"},
		"400":                     {rules: []llmd.Rule{header(400)}, want: llm.ErrRejected, attempts: []int{400}, says: "refused by the script"},
		"409":                     {rules: []llmd.Rule{header(409)}, want: llm.ErrRejected, attempts: []int{409}},
		"413":                     {rules: []llmd.Rule{header(413)}, want: llm.ErrPromptTooLong, attempts: []int{413}},
		"prompt too long":         {rules: []llmd.Rule{body(400, `{"error":{"message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`)}, want: llm.ErrPromptTooLong, attempts: []int{400}, says: "ask for less at once"},
		"prompt filtered":         {rules: []llmd.Rule{body(400, `{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter"}}`)}, want: llm.ErrContentFilter, attempts: []int{400}},
		"error as a string":       {rules: []llmd.Rule{body(400, `{"error":"model requires more system memory"}`)}, want: llm.ErrRejected, attempts: []int{400}, says: "model requires more system memory"},
		"error at the top":        {rules: []llmd.Rule{body(422, `{"object":"error","message":{"detail":[{"msg":"bad"}]},"type":"invalid_request_error","code":null}`)}, want: llm.ErrRejected, attempts: []int{422}, says: `{"detail":[{"msg":"bad"}]}`},
		"error as detail":         {rules: []llmd.Rule{body(400, `{"detail":"Not so"}`)}, want: llm.ErrRejected, attempts: []int{400}, says: "Not so"},
		"error without JSON":      {rules: []llmd.Rule{times(1, body(502, "<html>\x1b[31mBad Gateway")), fine}, attempts: []int{502, 200}, slept: []time.Duration{500 * ms}},
		"control characters":      {rules: []llmd.Rule{body(400, `{"error":{"message":"a\u001b[2Jb\nc\u202ed"}}`)}, want: llm.ErrRejected, attempts: []int{400}, says: "a?[2Jb c?d"},
		"long complaint":          {rules: []llmd.Rule{body(400, `{"error":{"message":"`+strings.Repeat("é", 5000)+`"}}`)}, want: llm.ErrRejected, attempts: []int{400}, says: "ééé…"},
		"endless complaint":       {rules: []llmd.Rule{body(400, strings.Repeat("x", 1<<20))}, want: llm.ErrRejected, attempts: []int{400}, says: "xxx…"},
		"redirect":                {rules: []llmd.Rule{header(302, "Location", "http://127.0.0.1:1/")}, want: llm.ErrProtocol, attempts: []int{302}, says: "redirect to http://127.0.0.1:1/"},
		"reset, then fine":        {rules: []llmd.Rule{times(1, llmd.Rule{Drop: true}), fine}, attempts: []int{0, 200}, slept: []time.Duration{500 * ms}},
		"cut, then fine":          {rules: []llmd.Rule{{Text: "some text", CutAfter: 60, Times: 1}, fine}, attempts: []int{200, 200}, slept: []time.Duration{500 * ms}},
		"ended early, then fine":  {rules: []llmd.Rule{{Text: "some text", EndAfter: 60, Times: 1}, fine}, attempts: []int{200, 200}, slept: []time.Duration{500 * ms}},
		"cut for good":            {rules: []llmd.Rule{{Text: "some text", CutAfter: 60}}, want: llm.ErrUnavailable, attempts: []int{200, 200, 200, 200, 200}, slept: []time.Duration{500 * ms, s, 2 * s, 4 * s}, says: "ended in the middle of the answer"},
		"reset in the error body": {rules: []llmd.Rule{{Status: 500, CutAfter: 20, Times: 1}, fine}, attempts: []int{500, 200}, slept: []time.Duration{500 * ms}},
		"malformed":               {rules: []llmd.Rule{{Text: "x", Malformed: true}}, want: llm.ErrProtocol, attempts: []int{200}, says: "the response is no completion"},
		"web page":                {rules: []llmd.Rule{{Body: "<!doctype html>", Headers: map[string]string{"Content-Type": "text/html; charset=utf-8"}}}, want: llm.ErrProtocol, attempts: []int{200}, says: "check that OPENAI_BASE_URL is the address of a chat-completions endpoint"},
		"too large":               {rules: []llmd.Rule{{Huge: 5 << 20}}, want: llm.ErrTooLarge, attempts: []int{200}, says: "more than 4194304 bytes"},
		"no choices":              {rules: []llmd.Rule{{Body: `{"id":"a","choices":[]}`}}, want: llm.ErrProtocol, attempts: []int{200}, says: "no choices", whole: true},
		"other JSON":              {rules: []llmd.Rule{{Body: `{"status":"ok"}`}}, want: llm.ErrProtocol, attempts: []int{200}, says: "no choices", whole: true},
		"JSON of another type":    {rules: []llmd.Rule{{Body: `[1,2]`}}, want: llm.ErrProtocol, attempts: []int{200}, says: "the response is no completion", whole: true},
		"refused":                 {rules: []llmd.Rule{{Refusal: "I will not."}}, want: llm.ErrRefused, attempts: []int{200}, says: `"I will not."`},
		"truncated":               {rules: []llmd.Rule{{Text: "fin", Finish: "length"}}, want: llm.ErrTruncated, attempts: []int{200}},
		"filtered":                {rules: []llmd.Rule{{Text: "fi", Finish: "content_filter"}}, want: llm.ErrContentFilter, attempts: []int{200}, says: "put the request in other words"},
		"empty":                   {rules: []llmd.Rule{{Text: " "}}, want: llm.ErrProtocol, attempts: []int{200}, says: "the answer is empty"},
		"uninvited tool call":     {rules: []llmd.Rule{{ToolCalls: []llmd.ToolCall{{Name: "f"}}}}, want: llm.ErrProtocol, attempts: []int{200}, says: "none were offered"},
		"no finish reason":        {rules: []llmd.Rule{{Text: "fine", Finish: "none"}}, attempts: []int{200}},
		"no script":               {rules: []llmd.Rule{{Text: "x", Match: llmd.Match{User: "other"}}}, want: llm.ErrNoModel, attempts: []int{404}, says: "no_scripted_answer"},

		"stream that holds an error": {streamed: true, rules: []llmd.Rule{
			times(1, events(`: waiting`, `data: {"choices":[{"index":0,"delta":{"content":"fi"}}]}`, `: waiting`, `data: {"error":{"message":"overloaded","type":"server_error","code":null}}`)), fine},
			attempts: []int{200, 200}, slept: []time.Duration{500 * ms}},
		"stream that is limited": {streamed: true, rules: []llmd.Rule{events(`data: {"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}`)},
			want: llm.ErrRateLimited, attempts: []int{200, 200, 200, 200, 200}, slept: []time.Duration{500 * ms, s, 2 * s, 4 * s}, says: "slow down"},
		"stream without credit": {streamed: true, rules: []llmd.Rule{events(`data: {"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}`)},
			want: llm.ErrRateLimited, attempts: []int{200}, says: "add credit"},
		"stream that is filtered": {streamed: true, rules: []llmd.Rule{events(`data: {"error":{"message":"no","code":"content_filter"}}`)},
			want: llm.ErrContentFilter, attempts: []int{200}},
		"stream that is refused": {streamed: true, rules: []llmd.Rule{events(`data: {"error":{"message":"no","type":"invalid_request_error"}}`)},
			want: llm.ErrRejected, attempts: []int{200}},
		"stream of comments": {streamed: true, rules: []llmd.Rule{events(append(slices.Repeat([]string{": waiting", "event: message", "id: 7"}, 1000),
			`data: {"choices":[{"index":0,"delta":{"content":"fine"}}]}`, `data: [DONE]`)...)}, attempts: []int{200}},
		"stream of broken events": {streamed: true, rules: []llmd.Rule{events(`data: {"choices":`)}, want: llm.ErrProtocol, attempts: []int{200}, says: "the response is no completion"},
		"stream of nothing":       {streamed: true, rules: []llmd.Rule{events(`data: [DONE]`)}, want: llm.ErrProtocol, attempts: []int{200}, says: "no choices"},
		"stream of plain text":    {streamed: true, rules: []llmd.Rule{events(`hello`)}, want: llm.ErrUnavailable, attempts: []int{200, 200, 200, 200, 200}, slept: []time.Duration{500 * ms, s, 2 * s, 4 * s}},
		"stream with wild calls":  {streamed: true, rules: []llmd.Rule{events(`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":7,"id":"a"}]}}]}`)}, want: llm.ErrProtocol, attempts: []int{200}, says: "tool calls out of order"},
		"stream with one long line": {streamed: true, rules: []llmd.Rule{{Body: "data: " + strings.Repeat("x", 5<<20), Headers: map[string]string{"Content-Type": "text/event-stream"}}},
			want: llm.ErrTooLarge, attempts: []int{200}},
		"stream cut after the finish": {streamed: true, rules: []llmd.Rule{events(`data: {"choices":[{"index":0,"delta":{"content":"fine"}}]}`, `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`)},
			attempts: []int{200}},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, streamed func(llm.Prompt) llm.Prompt) {
				p := streamed(user("hello"))
				if tc.streamed && p.Stream == nil || tc.whole && p.Stream != nil {
					return
				}
				t.Parallel()
				c, clk := dial(t, serve(t, tc.rules...).URL(), nil)
				answer, record, err := complete(t, bounded(t), c, p)
				switch {
				case tc.want == nil && (err != nil || answer.Text != "fine"):
					t.Errorf("got %+v, %v", answer, err)
				case !errors.Is(err, tc.want):
					t.Errorf("got %v, want %v", err, tc.want)
				case err != nil && !strings.Contains(err.Error(), tc.says):
					t.Errorf("it says %v\nand not %q", err, tc.says)
				}
				if got := statuses(record); !slices.Equal(got, tc.attempts) {
					t.Errorf("attempts %v, want %v", got, tc.attempts)
				}
				if !slices.Equal(clk.slept, tc.slept) {
					t.Errorf("slept %v, want %v", clk.slept, tc.slept)
				}
				for i, a := range record.Attempts {
					if i < len(clk.slept) && a.Wait != clk.slept[i] {
						t.Errorf("attempt %d records a wait of %v", i, a.Wait)
					}
					if i < len(record.Attempts)-1 && a.Error == "" {
						t.Errorf("attempt %d was repeated without a reason: %+v", i, a)
					}
				}
			})
		})
	}
}

// events is a stream of its own.
func events(lines ...string) llmd.Rule {
	return llmd.Rule{Body: strings.Join(lines, "\n\n") + "\n\n", Headers: map[string]string{"Content-Type": "text/event-stream"}}
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String() + "/v1"
	listener.Close()
	c, clk := dial(t, closed, nil)
	_, record, err := complete(t, bounded(t), c, user("x"))
	if !errors.Is(err, llm.ErrUnavailable) || !strings.Contains(err.Error(), "at "+closed+": the endpoint is not available (after 5 requests): connection refused") {
		t.Errorf("got %v", err)
	}
	if len(record.Attempts) != 5 || len(clk.slept) != 4 || record.Usage.Total() != 0 {
		t.Errorf("record %+v", record)
	}

	https := httptest.NewUnstartedServer(http.NotFoundHandler())
	https.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains about the client it is tested with
	https.StartTLS()
	defer https.Close()
	c, clk = dial(t, https.URL+"/v1", nil)
	if _, _, err := complete(t, bounded(t), c, user("x")); !errors.Is(err, llm.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") || len(clk.slept) != 0 {
		t.Errorf("got %v, slept %v", err, clk.slept)
	}

	c, clk = dial(t, "http://nowhere.invalid/v1", func(cfg *llm.Config) {
		cfg.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nowhere.invalid", IsNotFound: true}}
		})
	})
	if _, _, err := complete(t, bounded(t), c, user("x")); !errors.Is(err, llm.ErrUnavailable) || !strings.Contains(err.Error(), "there is no such host") || len(clk.slept) != 0 {
		t.Errorf("got %v, slept %v", err, clk.slept)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTimeouts(t *testing.T) {
	both(t, func(t *testing.T, streamed func(llm.Prompt) llm.Prompt) {
		s := serve(t, llmd.Rule{Match: llmd.Match{User: "slow"}, Text: "one two", ChunkDelay: time.Hour, Delay: time.Millisecond}, llmd.Rule{Hang: true})
		c, clk := dial(t, s.URL(), func(cfg *llm.Config) { cfg.Timeout = 500 * time.Millisecond })
		_, record, err := complete(t, bounded(t), c, streamed(user("x")))
		if !errors.Is(err, llm.ErrTimeout) || !strings.Contains(err.Error(), "nothing whole within 500ms; try again, raise KGENT_MODEL_TIMEOUT") {
			t.Errorf("got %v", err)
		}
		if len(record.Attempts) != 1 || len(clk.slept) != 0 || !record.Usage.Estimated || record.Usage.PromptTokens == 0 {
			t.Errorf("record %+v", record)
		}
		if err := s.WaitGone(bounded(t), 1); err != nil {
			t.Error(err)
		}

		c, _ = dial(t, s.URL(), nil)
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if _, _, err = complete(t, ctx, c, streamed(user("x"))); !errors.Is(err, llm.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}

		ctx, stop := context.WithCancelCause(context.Background())
		shutdown := errors.New("shutting down")
		done := make(chan error, 1)
		go func() {
			_, err := c.Complete(ctx, streamed(user("x")))
			done <- err
		}()
		if err := s.Wait(bounded(t), 3); err != nil {
			t.Fatal(err)
		}
		stop(shutdown)
		if err := <-done; !errors.Is(err, context.Canceled) || !errors.Is(err, shutdown) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("in the middle of a stream", func(t *testing.T) {
		s := serve(t, llmd.Rule{Text: "one two", ChunkDelay: time.Hour})
		c, _ := dial(t, s.URL(), func(cfg *llm.Config) { cfg.Timeout = 500 * time.Millisecond })
		p := user("x")
		p.Stream = func(llm.Progress) {}
		if _, _, err := complete(t, bounded(t), c, p); !errors.Is(err, llm.ErrTimeout) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("cancelled while waiting", func(t *testing.T) {
		s := serve(t, llmd.Rule{Status: 500})
		ctx, cancel := context.WithCancel(bounded(t))
		c, _ := dial(t, s.URL(), func(cfg *llm.Config) {
			cfg.Sleep = func(ctx context.Context, _ time.Duration) error {
				cancel()
				return context.Cause(ctx)
			}
		})
		if _, _, err := complete(t, ctx, c, user("x")); !errors.Is(err, context.Canceled) || errors.Is(err, llm.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no time to wait", func(t *testing.T) {
		s := serve(t, llmd.Rule{Status: 503, Headers: map[string]string{"Retry-After": "59"}})
		c, clk := dial(t, s.URL(), nil)
		_, _, err := complete(t, bounded(t), c, user("x")) // which has 30 s
		if !errors.Is(err, llm.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || len(clk.slept) != 0 {
			t.Errorf("got %v, slept %v", err, clk.slept)
		}
	})
	t.Run("really sleeping", func(t *testing.T) {
		s := serve(t, llmd.Rule{Status: 503, Headers: map[string]string{"Retry-After-Ms": "5"}, Times: 1}, llmd.Rule{Text: "fine"})
		c, _ := dial(t, s.URL(), func(cfg *llm.Config) { cfg.Sleep, cfg.Now, cfg.Jitter = nil, nil, nil })
		answer, err := c.Complete(bounded(t), user("x"))
		if err != nil || answer.Latency < 5*time.Millisecond {
			t.Errorf("got %+v, %v", answer, err)
		}
	})
}

// TestDegrading: for each way in which endpoints refuse a feature, in the words they do it with, what is sent instead.
func TestDegrading(t *testing.T) {
	refuse := func(sends string, status int, body string) llmd.Rule {
		return llmd.Rule{Match: llmd.Match{Sends: []string{sends}}, Status: status, Body: body}
	}
	openai := func(message, param, code string) string {
		b, err := json.Marshal(map[string]any{"error": map[string]any{"message": message, "type": "invalid_request_error", "param": param, "code": code}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	answer := llmd.Rule{Text: goodProgramText}
	const (
		toObject = "response_format json_schema -> json_object, the schema in the prompt"
		toText   = "response_format json_schema -> none, the schema in the prompt"
	)
	for name, tc := range map[string]struct {
		rules    []llmd.Rule
		degraded []string
		sends    []string // of the last request, besides model, messages, and what is not to be degraded
	}{
		"nothing": {nil, nil, []string{"max_completion_tokens", "response_format=json_schema", "seed", "temperature"}},
		"json_schema at DeepSeek": {[]llmd.Rule{refuse("response_format=json_schema", 400, openai("This response_format type is unavailable now", "", "invalid_request_error"))},
			[]string{toObject}, []string{"max_completion_tokens", "response_format=json_object", "seed", "temperature"}},
		"json_schema at an older model": {[]llmd.Rule{refuse("response_format=json_schema", 400, openai("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.", "", ""))},
			[]string{toObject}, []string{"max_completion_tokens", "response_format=json_object", "seed", "temperature"}},
		"a schema that cannot be compiled": {[]llmd.Rule{refuse("response_format=json_schema", 400, `{"object":"error","message":"The provided JSON schema contains features not supported by xgrammar.","type":"BadRequestError","param":null,"code":400}`)},
			[]string{toObject}, []string{"max_completion_tokens", "response_format=json_object", "seed", "temperature"}},
		"json_schema and json_object": {[]llmd.Rule{
			refuse("response_format=json_schema", 422, `{"detail":[{"type":"extra_forbidden","loc":["body","response_format"],"msg":"Extra inputs are not permitted"}]}`),
			refuse("response_format=json_object", 422, `{"detail":[{"type":"extra_forbidden","loc":["body","response_format"],"msg":"Extra inputs are not permitted"}]}`)},
			[]string{toText}, []string{"max_completion_tokens", "seed", "temperature"}},
		"seed": {[]llmd.Rule{refuse("seed", 400, openai("Unknown parameter: 'seed'.", "seed", "unknown_parameter"))},
			[]string{"seed left out"}, []string{"max_completion_tokens", "response_format=json_schema", "temperature"}},
		"temperature": {[]llmd.Rule{refuse("temperature", 400, openai("Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.", "temperature", "unsupported_value"))},
			[]string{"temperature left out"}, []string{"max_completion_tokens", "response_format=json_schema", "seed"}},
		"max_completion_tokens at Mistral": {[]llmd.Rule{refuse("max_completion_tokens", 422, `{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","max_completion_tokens"],"msg":"Extra inputs are not permitted","input":32000}]},"type":"invalid_request_error","param":null,"code":null}`)},
			[]string{"max_completion_tokens -> max_tokens"}, []string{"max_tokens", "response_format=json_schema", "seed", "temperature"}},
		"both limits": {[]llmd.Rule{
			refuse("max_completion_tokens", 400, openai("Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens' instead.", "", "")),
			refuse("max_tokens", 400, openai("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "", "unsupported_parameter"))},
			[]string{"max_completion_tokens left out, the answer is not bounded by the endpoint"}, []string{"response_format=json_schema", "seed", "temperature"}},
		"a limit that is too high": {[]llmd.Rule{
			{Match: llmd.Match{Call: 1}, Status: 400, Body: openai("max_tokens is too large: 4000. This model supports at most 1500 completion tokens, whereas you provided 4000.", "max_tokens", "invalid_value")},
			{Match: llmd.Match{Call: 2}, Status: 400, Body: openai("Invalid max_tokens value, the valid range of max_tokens is [1, 1500]", "", "invalid_request_error")}},
			[]string{"answers bounded to 1000 tokens"}, []string{"max_completion_tokens", "response_format=json_schema", "seed", "temperature"}},
		"no room after the prompt": {[]llmd.Rule{
			{Match: llmd.Match{Call: 1}, Status: 400, Body: openai("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (5000 in the messages, 4000 in the completion).", "messages", "context_length_exceeded")}},
			[]string{"answers bounded to 2000 tokens"}, []string{"max_completion_tokens", "response_format=json_schema", "seed", "temperature"}},
		"everything at once": {[]llmd.Rule{
			refuse("seed", 400, openai("Unrecognized request argument supplied: seed", "", "")),
			refuse("temperature", 400, openai("temperature is not supported", "", "")),
			refuse("max_completion_tokens", 400, openai("unknown field max_completion_tokens", "", "")),
			refuse("response_format=json_schema", 400, openai("'response_format.type' must be 'text'", "", "")),
			refuse("response_format=json_object", 400, openai("'response_format.type' must be 'text'", "", ""))},
			[]string{toText, "max_completion_tokens -> max_tokens", "seed left out", "temperature left out"}, []string{"max_tokens"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, append(tc.rules, answer)...)
			c, clk := dial(t, s.URL(), nil)
			zero, seed := 0.0, 7
			p := user("hello")
			p.System, p.Schema, p.Temperature, p.Seed, p.MaxTokens = "write eBPF", programSchema(t), &zero, &seed, 4000
			for round := range 2 {
				before := len(s.Requests())
				got, record, err := complete(t, bounded(t), c, p)
				if err != nil {
					t.Fatal(err)
				}
				if program, err := llm.Decode[program](got); err != nil || program.Explanation != "why" {
					t.Errorf("got %+v, %v", program, err)
				}
				degraded := tc.degraded
				if round == 1 && name == "no room after the prompt" {
					degraded = nil // which is of the prompt, not the endpoint
				}
				if !slices.Equal(got.Degraded, degraded) {
					t.Errorf("degraded %q, want %q", got.Degraded, degraded)
				}
				requests := s.Requests()
				last := requests[len(requests)-1]
				want := slices.Sorted(slices.Values(append(slices.Clone(tc.sends), "messages", "model")))
				if got := slices.DeleteFunc(last.Sends, func(s string) bool { return s == "stream" }); !slices.Equal(got, want) {
					t.Errorf("sent %v, want %v", got, want)
				}
				described := strings.Contains(last.System, `"explanation":{"type":"string"}`)
				if schemaSent := slices.Contains(last.Sends, "response_format=json_schema"); described == schemaSent || !strings.HasPrefix(last.System, "write eBPF") {
					t.Errorf("the system message is %q, with the schema in the request: %v", last.System, schemaSent)
				}
				// Finding out costs requests once, and each is recorded with what it was about.
				if n := len(requests) - before; round == 1 && n != 1 || len(record.Attempts) != n || len(clk.slept) != 0 {
					t.Errorf("round %d took %d requests, recorded %d, slept %v", round, n, len(record.Attempts), clk.slept)
				}
				for _, a := range record.Attempts[:len(record.Attempts)-1] {
					if a.Dropped == "" || a.Error == "" {
						t.Errorf("recorded %+v", a)
					}
				}
			}
		})
	}
}

// Endpoints that do either tools or structured output are asked for the shape in words.
func TestToolsOrShape(t *testing.T) {
	for name, complaint := range map[string]string{
		"Groq":   "json mode cannot be combined with tool/function calling",
		"Gemini": "Function calling with a response mime type: 'application/json' is unsupported",
	} {
		t.Run(name, func(t *testing.T) {
			refuse := func(format string) llmd.Rule {
				return llmd.Rule{Match: llmd.Match{Sends: []string{"tools", "response_format=" + format}}, Status: 400, Body: fmt.Sprintf(`{"error":{"message":%q}}`, complaint)}
			}
			s := serve(t, refuse("json_schema"), refuse("json_object"), llmd.Rule{Match: llmd.Match{System: "^Unless you call a tool, answer with exactly one JSON object"}, ToolCalls: []llmd.ToolCall{{Name: "f"}}})
			c, _ := dial(t, s.URL(), nil)
			p := user("x")
			p.Schema = programSchema(t)
			p.Tools = []llm.Tool{{Name: "f", Params: json.RawMessage(`{"type":"object"}`)}}
			answer, record, err := complete(t, bounded(t), c, p)
			if err != nil || len(answer.ToolCalls) != 1 || len(record.Attempts) != 3 {
				t.Errorf("got %+v, %v", answer, err)
			}
		})
	}
}

func TestDegradingStreams(t *testing.T) {
	s := serve(t,
		llmd.Rule{Match: llmd.Match{Sends: []string{"stream_options"}}, Status: 400, Body: `{"error":{"message":"Unknown parameter: 'stream_options'.","param":"stream_options","code":"unknown_parameter"}}`},
		llmd.Rule{Match: llmd.Match{User: "plain"}, Text: "all at once", Unstreamed: true},
		llmd.Rule{Text: "one two three"})
	c, _ := dial(t, s.URL(), nil)
	p := user("hello")
	var said strings.Builder
	p.Stream = func(piece llm.Progress) { said.WriteString(piece.Text) }
	answer, _, err := complete(t, bounded(t), c, p)
	if err != nil || said.String() != "one two three" || !answer.Usage.Estimated || answer.Usage.CompletionTokens != 4 ||
		!slices.Equal(answer.Degraded, []string{"stream_options left out, usage is estimated"}) {
		t.Errorf("got %+v, %v, said %q", answer, err, said.String())
	}
	said.Reset()
	p.Messages = []llm.Message{llm.User("plain")}
	answer, record, err := complete(t, bounded(t), c, p)
	if err != nil || answer.Text != "all at once" || said.String() != "all at once" || !slices.Equal(answer.Degraded, []string{"stream left out"}) {
		t.Errorf("got %+v, %v, said %q", answer, err, said.String())
	}
	if len(record.Attempts) != 2 || record.Attempts[0].Dropped != "stream" || !strings.Contains(record.Attempts[0].Error, "not streamed") {
		t.Errorf("recorded %+v", record.Attempts)
	}
}

// Endpoints that take response_format and do not care are found out by their answers.
func TestUnenforcedAnswers(t *testing.T) {
	const note = "response_format was accepted but not obeyed, the object was taken out of the text"
	for name, tc := range map[string]struct {
		text  string
		notes []string
		says  string // the complaint; empty: a good answer
	}{
		"the object":         {text: goodProgramText},
		"with space":         {text: "\n" + goodProgramText + "\n"},
		"fenced":             {text: "Here you go:\n```json\n" + goodProgramText + "\n```\nEnjoy.", notes: []string{note}},
		"fenced, with code":  {text: "```c\nint x = {1};\n```\n```\n" + goodProgramText + "\n```", notes: []string{note}},
		"in prose":           {text: "Sure! " + goodProgramText + " That is {all}.", notes: []string{note}},
		"after thoughts":     {text: "<think>maybe {\"a\": 1}?</think>\n" + goodProgramText, notes: []string{note}},
		"prose":              {text: "I cannot write C.", says: `there is no JSON object in it; it begins with "I cannot write C."`},
		"only thoughts":      {text: "<think>hmm", says: "it ends before its thoughts do"},
		"two objects":        {text: goodProgramText + "\n" + goodProgramText, says: "there are 2 JSON objects in it"},
		"broken":             {text: `{"explanation": "why", "hooks": [{"name":"a","kind":"xdp"}] "source"}`, says: "its JSON object is broken"},
		"unfinished":         {text: `{"explanation": "why", "hooks": [{"name":"a","kind":"xdp"}`, says: "its JSON object is not closed"},
		"an array":           {text: `[1]`, says: "want an object"},
		"a field missing":    {text: `{"explanation":"","hooks":[]}`, says: `at the top level: the field "source" is missing`},
		"two things wrong":   {text: `{"explanation":"","hooks":[{"name":"a","kind":"kprobe"}],"source":1}`, says: `at /hooks/0/kind: want one of "tracepoint", "xdp", got the string "kprobe"; at /source: want string, got 1`},
		"a field too many":   {text: `{"explanation":"","hooks":[],"source":"","extra":1}`, says: "at /extra: there is no such field"},
		"hostile characters": {text: "\x1b[2J no", says: `it begins with "\x1b[2J no"`},
		"empty":              {text: " ", says: "there is no JSON object in it"},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, streamed func(llm.Prompt) llm.Prompt) {
				t.Parallel()
				c, _ := dial(t, serve(t, llmd.Rule{Text: tc.text}).URL(), nil)
				p := streamed(user("x"))
				p.Schema = programSchema(t)
				answer, record, err := complete(t, bounded(t), c, p)
				if tc.says != "" {
					if !errors.Is(err, llm.ErrNotJSON) || !strings.Contains(err.Error(), tc.says) || answer.Text != tc.text || answer.JSON != nil || len(record.Attempts) != 1 {
						t.Errorf("got %+v, %v", answer, err)
					}
					if m := answer.Message(); m.Text == "" {
						t.Error("the answer cannot be given back")
					}
					return
				}
				if err != nil || string(answer.JSON) != goodProgramText || !slices.Equal(answer.Degraded, tc.notes) {
					t.Errorf("got %+v, %v", answer, err)
				}
			})
		})
	}
}

func TestToolsUnsupported(t *testing.T) {
	tool := []llm.Tool{{Name: "f", Params: json.RawMessage(`{"type":"object"}`)}}
	call := llmd.Rule{ToolCalls: []llmd.ToolCall{{Name: "f"}}}
	const needs = `{"error":{"message":"Function tools with reasoning_effort are not supported for m in /v1/chat/completions. Please use /v1/responses instead.","type":"invalid_request_error","param":"reasoning_effort","code":null}}`
	for name, tc := range map[string]struct {
		model    string
		rules    []llmd.Rule
		want     error
		degraded []string
		attempts []int
	}{
		"not at all": {"m", []llmd.Rule{{Status: 400, Body: `{"error":{"message":"stablelm2:latest does not support tools","type":"api_error","param":null,"code":null}}`}},
			llm.ErrUnsupported, nil, []int{400}},
		"only without reasoning": {"m", []llmd.Rule{{Match: llmd.Match{Sends: []string{"reasoning_effort"}}, ToolCalls: []llmd.ToolCall{{Name: "f"}}}, {Status: 400, Body: needs}},
			nil, []string{"reasoning_effort -> none, for tools"}, []int{400, 200}},
		"not even without reasoning": {"m", []llmd.Rule{{Match: llmd.Match{Sends: []string{"reasoning_effort"}}, Status: 400, Body: `{"error":{"message":"Unsupported value: 'reasoning_effort' does not support 'none' with this model.","param":"reasoning_effort","code":"unsupported_value"}}`}, {Status: 400, Body: needs}},
			llm.ErrUnsupported, []string{"reasoning_effort -> none, for tools"}, []int{400, 400}},
		// These two are known to the library, which refuses before anything is sent.
		"known to need it":      {"gpt-6-sol", []llmd.Rule{call}, nil, []string{"reasoning_effort -> none, for tools"}, []int{0, 200}},
		"known not to allow it": {"gpt-6-astra", []llmd.Rule{call}, llm.ErrUnsupported, []string{"reasoning_effort -> none, for tools"}, []int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := dial(t, serve(t, tc.rules...).URL(), func(cfg *llm.Config) { cfg.Model = tc.model })
			p := user("x")
			p.Tools = tool
			answer, record, err := complete(t, bounded(t), c, p)
			if !errors.Is(err, tc.want) || tc.want == nil && len(answer.ToolCalls) != 1 {
				t.Errorf("got %+v, %v", answer, err)
			}
			if !slices.Equal(answer.Degraded, tc.degraded) || !slices.Equal(statuses(record), tc.attempts) {
				t.Errorf("degraded %q, attempts %v", answer.Degraded, statuses(record))
			}
		})
	}
}

// A model of OpenAI's that the library knows to reject the older limit, behind an endpoint that rejects the newer one.
func TestLimitRefusedByBoth(t *testing.T) {
	s := serve(t, llmd.Rule{Match: llmd.Match{Sends: []string{"max_completion_tokens"}}, Status: 400,
		Body: `{"error":{"message":"unknown field","param":"max_completion_tokens"}}`}, llmd.Rule{Text: "fine"})
	c, _ := dial(t, s.URL(), func(cfg *llm.Config) { cfg.Model = "gpt-5" })
	p := user("x")
	p.MaxTokens = 100
	answer, _, err := complete(t, bounded(t), c, p)
	if err != nil || !slices.Equal(answer.Degraded, []string{"max_completion_tokens left out, the answer is not bounded by the endpoint"}) {
		t.Errorf("got %+v, %v", answer, err)
	}
}

func TestBadPrompts(t *testing.T) {
	s := serve(t, llmd.Rule{Text: "fine"})
	c, _ := dial(t, s.URL(), nil)
	hot, nan := 3.0, 0.0
	nan /= nan
	object := json.RawMessage(`{"type":"object"}`)
	for name, p := range map[string]llm.Prompt{
		"nothing":         {},
		"empty message":   user(""),
		"unknown role":    {Messages: []llm.Message{{Role: "root", Text: "x"}}},
		"stray result":    {Messages: []llm.Message{llm.ToolResult(llm.ToolCall{ID: "a"}, "x")}},
		"empty result":    {Messages: []llm.Message{{Role: llm.RoleAssistant, ToolCalls: []llm.ToolCall{{ID: "a"}}}, {Role: llm.RoleTool, ToolCallID: "a"}}},
		"tool name":       {Messages: user("x").Messages, Tools: []llm.Tool{{Name: "a b", Params: object}}},
		"tool twice":      {Messages: user("x").Messages, Tools: []llm.Tool{{Name: "a", Params: object}, {Name: "a", Params: object}}},
		"tool parameters": {Messages: user("x").Messages, Tools: []llm.Tool{{Name: "a", Params: json.RawMessage(`[]`)}}},
		"too hot":         {Messages: user("x").Messages, Temperature: &hot},
		"no number":       {Messages: user("x").Messages, Temperature: &nan},
		"negative":        {Messages: user("x").Messages, MaxTokens: -1},
		"schema name":     {Messages: user("x").Messages, Schema: &llm.Schema{Name: "a b", JSON: object}},
		"schema":          {Messages: user("x").Messages, Schema: &llm.Schema{Name: "a", JSON: json.RawMessage(`{`)}},
		"loose schema":    {Messages: user("x").Messages, Schema: &llm.Schema{Name: "a", JSON: object}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, record, err := complete(t, bounded(t), c, p); !errors.Is(err, llm.ErrPrompt) || len(record.Attempts) != 0 {
				t.Errorf("got %v, %+v", err, record)
			}
		})
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestModels(t *testing.T) {
	s, err := llmd.Start("127.0.0.1:0", llmd.Script{Key: key, Models: []string{"b", "a"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, _ := dial(t, s.URL(), nil)
	if got, err := c.Models(bounded(t)); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := c.Complete(bounded(t), user("x")); !errors.Is(err, llm.ErrNoModel) || !strings.Contains(err.Error(), "The model `m` does not exist") {
		t.Errorf("got %v", err)
	}
	for wrong, want := range map[string]error{"sk-other-0123456789abc": llm.ErrUnauthorized, "": llm.ErrUnauthorized} {
		c, _ := dial(t, s.URL(), func(cfg *llm.Config) { cfg.Key = llm.NewSecret(wrong) })
		if _, err := c.Models(bounded(t)); !errors.Is(err, want) || strings.Contains(err.Error(), "9abc") {
			t.Errorf("got %v", err)
		}
	}
}

// One client serves many calls at once, whatever they find out about the endpoint.
func TestConcurrent(t *testing.T) {
	s := serve(t,
		llmd.Rule{Match: llmd.Match{Sends: []string{"response_format=json_schema"}}, Status: 400, Body: `{"error":{"message":"response_format json_schema is not supported"}}`},
		llmd.Rule{Match: llmd.Match{Sends: []string{"seed"}}, Status: 400, Body: `{"error":{"message":"seed is not supported"}}`},
		llmd.Rule{Match: llmd.Match{Call: 9}, Status: 500},
		llmd.Rule{Text: goodProgramText})
	c, _ := dial(t, s.URL(), nil)
	budget := llm.NewBudget(llm.Bounds{Requests: 200, Tokens: 1_000_000})
	seed := 1
	shape := programSchema(t)
	ctx := bounded(t)
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			p := user(fmt.Sprint("call ", i))
			p.Schema, p.Seed, p.Budget, p.MaxTokens = shape, &seed, budget, 1000
			if i%2 == 0 {
				p.Stream = func(llm.Progress) {}
			}
			answer, err := c.Complete(ctx, p)
			if err != nil || !slices.Equal(answer.Degraded, []string{"response_format json_schema -> json_object, the schema in the prompt", "seed left out"}) {
				t.Errorf("got %+v, %v", answer, err)
			}
		})
	}
	group.Wait()
	if spent := budget.Spent(); spent.Requests != len(s.Requests()) || spent.Usage.Total() == 0 {
		t.Errorf("spent %+v for %d requests", spent, len(s.Requests()))
	}
}

func TestBudgetOverCalls(t *testing.T) {
	both(t, func(t *testing.T, streamed func(llm.Prompt) llm.Prompt) {
		s := serve(t, llmd.Rule{Match: llmd.Match{User: "down"}, Status: 500},
			llmd.Rule{Match: llmd.Match{User: "long"}, Text: strings.Repeat("word ", 500)},
			llmd.Rule{Text: "fine", Usage: &llmd.Usage{PromptTokens: 40, CompletionTokens: 10}})
		c, clk := dial(t, s.URL(), func(cfg *llm.Config) { cfg.Prices = map[string]llm.Price{"m": {Prompt: 1000, Completion: 10000}} })
		ask := func(text string, b *llm.Budget) (llm.Answer, llm.CallRecord, error) {
			p := streamed(user(text))
			p.Budget = b
			return complete(t, bounded(t), c, p)
		}
		wants := func(err error, bound, text string) {
			t.Helper()
			var b *llm.BudgetError
			if !errors.Is(err, llm.ErrBudget) || !errors.As(err, &b) || b.Bound != bound || !strings.Contains(err.Error(), text) {
				t.Errorf("got %v, want the bound %s and %q", err, bound, text)
			}
		}

		budget := llm.NewBudgetAt(llm.Bounds{Requests: 4}, clk.Now)
		if _, _, err := ask("x", budget); err != nil {
			t.Fatal(err)
		}
		_, record, err := ask("down", budget)
		wants(err, "requests", "the endpoint is not available (HTTP 500, server_error, after 3 requests)")
		if !errors.Is(err, llm.ErrUnavailable) || len(record.Attempts) != 3 {
			t.Errorf("got %v, %+v", err, record.Attempts)
		}
		_, record, err = ask("x", budget)
		wants(err, "requests", "asking model m at "+s.URL()+": the budget for the model is used up: 4 of 4 requests")
		if len(record.Attempts) != 0 {
			t.Errorf("sent %+v", record.Attempts)
		}

		budget = llm.NewBudgetAt(llm.Bounds{Tokens: 200}, clk.Now)
		for range 2 {
			if _, _, err := ask("x", budget); err != nil {
				t.Fatal(err)
			}
		}
		answer, _, err := ask("long", budget) // 100 are left, the prompt takes about 10
		wants(err, "tokens", "the answer is cut off: it was bounded to 91 tokens")
		if !errors.Is(err, llm.ErrTruncated) || answer.Usage.CompletionTokens != 91 || !strings.HasPrefix(answer.Text, "word word") {
			t.Errorf("got %+v, %v", answer, err)
		}
		_, _, err = ask("x", budget)
		wants(err, "tokens", "of 200 tokens")

		budget = llm.NewBudgetAt(llm.Bounds{Money: 1}, clk.Now)
		if answer, _, err := ask("x", budget); err != nil || answer.Cost != 0.14 {
			t.Errorf("got %+v, %v", answer, err)
		}
		if spent := budget.Spent(); spent.Money != 0.14 || spent.Requests != 1 || spent.Usage.Total() != 50 {
			t.Errorf("spent %+v", spent)
		}
		answer, _, err = ask("long", budget)
		wants(err, "money", "of 1 money")
		if !errors.Is(err, llm.ErrTruncated) || budget.Spent().Money > 1.1 {
			t.Errorf("got %v, spent %+v", err, budget.Spent())
		}

		budget = llm.NewBudgetAt(llm.Bounds{Wall: 20 * time.Second}, clk.Now)
		if _, _, err = ask("x", budget); err != nil {
			t.Fatal(err)
		}
		if err := clk.Sleep(context.Background(), 19*time.Second+700*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		_, record, err = ask("down", budget)
		wants(err, "time", "19.7s and a wait of 500ms of 20s time")
		if !errors.Is(err, llm.ErrUnavailable) || len(record.Attempts) != 1 {
			t.Errorf("got %v, %+v", err, record.Attempts)
		}
		if err := clk.Sleep(context.Background(), time.Second); err != nil {
			t.Fatal(err)
		}
		_, _, err = ask("x", budget)
		wants(err, "time", "of 20s time")
		if len(s.Requests()) != 4+3+2+2 {
			t.Errorf("%d requests were sent", len(s.Requests()))
		}
	})
	t.Run("time runs out in a request", func(t *testing.T) {
		c, _ := dial(t, serve(t, llmd.Rule{Hang: true}).URL(), nil)
		p := user("x")
		p.Budget = llm.NewBudgetAt(llm.Bounds{Wall: 50 * time.Millisecond}, newClock().Now)
		if _, _, err := complete(t, bounded(t), c, p); !errors.Is(err, llm.ErrBudget) || errors.Is(err, llm.ErrTimeout) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("what is found out before sending is free", func(t *testing.T) {
		c, _ := dial(t, serve(t, llmd.Rule{ToolCalls: []llmd.ToolCall{{Name: "f"}}}).URL(), func(cfg *llm.Config) { cfg.Model = "gpt-6-sol" })
		p := user("x")
		p.Tools = []llm.Tool{{Name: "f", Params: json.RawMessage(`{"type":"object"}`)}}
		p.Budget = llm.NewBudget(llm.Bounds{Requests: 1})
		if _, _, err := complete(t, bounded(t), c, p); err != nil || p.Budget.Spent().Requests != 1 {
			t.Errorf("got %v, spent %+v", err, p.Budget.Spent())
		}
	})
}

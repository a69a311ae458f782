package llmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// completion is an answer, ready to be sent whole or in chunks.
type completion struct {
	id, model string
	created   int64
	text      string // content
	hasText   bool   // else the content is null
	refusal   string
	calls     []call
	finish    string // "" is null
	usage     *usage // nil: left out
}

type call struct{ id, name, arguments string }

type usage struct {
	Prompt     int            `json:"prompt_tokens"`
	Completion int            `json:"completion_tokens"`
	Total      int            `json:"total_tokens"`
	PromptMore map[string]int `json:"prompt_tokens_details"`
	AnswerMore map[string]int `json:"completion_tokens_details"`
}

// perform does what the rule says.
func (s *Server) perform(w http.ResponseWriter, r *http.Request, rule *Rule, req *chatRequest, record *Request) {
	// What ends the request early is the client going away, or the server.
	gone := func() { s.change(func() { record.Gone = true }) }
	if !pause(r, rule.Delay) {
		gone()
		return
	}
	if rule.Hang {
		<-r.Context().Done()
		gone()
		return
	}
	if rule.Drop {
		drop(w)
		return
	}
	status := http.StatusOK
	if rule.Status != 0 {
		status = rule.Status
	}
	out := &faulty{w: w, cut: rule.CutAfter, end: rule.EndAfter}
	start := func(contentType string) {
		w.Header().Set("Content-Type", contentType)
		for name, value := range rule.Headers {
			w.Header().Set(name, value)
		}
		s.change(func() { record.Status = status })
		w.WriteHeader(status)
	}
	var err error
	switch {
	case rule.Body != "":
		start("application/json")
		_, err = out.Write([]byte(rule.Body))
	case status >= 300:
		start("application/json")
		_, err = out.Write(indented(map[string]any{"error": rule.errorBody(status, req.Model)}))
	default:
		answer, refused := rule.answer(req, record)
		if refused != nil {
			s.change(func() { record.Status = refused.status })
			s.log.Error("the script is wrong", "call", record.Number, "rule", rule.Name, "message", refused.Message)
			refused.write(w)
			return
		}
		if req.Stream && !rule.Unstreamed {
			start("text/event-stream; charset=utf-8")
			err = answer.stream(r, out, rule, req)
		} else {
			start("application/json")
			err = answer.send(out, rule)
		}
	}
	if err != nil && !errors.Is(err, errEnd) {
		gone()
	}
}

// pause waits, or reports false if the client goes away first.
func pause(r *http.Request, d time.Duration) bool {
	if d == 0 {
		return r.Context().Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// drop resets the connection, which the client sees as such and not as an orderly end.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

var errEnd = errors.New("the body ends here")

// faulty passes a body on up to where it is to be cut, or to end.
type faulty struct {
	w        http.ResponseWriter
	cut, end int // 0: never
	sent     int
}

func (f *faulty) Write(p []byte) (int, error) {
	limit := f.cut + f.end // one of them is 0
	last := limit > 0 && f.sent+len(p) >= limit
	if last {
		p = p[:limit-f.sent]
	}
	n, err := f.w.Write(p)
	f.sent += n
	if err != nil || !last {
		return n, err
	}
	if f.end > 0 {
		return n, errEnd
	}
	f.flush()
	panic(http.ErrAbortHandler) // the server's way to break a connection
}

func (f *faulty) flush() error { return http.NewResponseController(f.w).Flush() }

// errorBody is what goes with an error status: the rule's own, or what the service says.
func (r *Rule) errorBody(status int, model string) ErrorBody {
	if r.Error != nil {
		return *r.Error
	}
	var e *apiError
	switch status {
	case http.StatusUnauthorized:
		e = invalid(status, "", "invalid_api_key", "Incorrect API key provided: sk-scrip****************ted0. You can find your API key at https://platform.openai.com/account/api-keys.")
	case http.StatusForbidden:
		e = invalid(status, "", "unsupported_country_region_territory", "Country, region, or territory not supported")
	case http.StatusNotFound:
		e = noSuchModel(model)
	case http.StatusTooManyRequests:
		e = invalid(status, "", "rate_limit_exceeded", "Rate limit reached for %s in organization org-llmd on requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in 120ms.", model)
		e.Type = "requests"
	default:
		e = invalid(status, "", "", "The request was refused by the script.")
		if status >= 500 {
			e.Type, e.Message = "server_error", "The server had an error while processing your request. Sorry about that!"
		}
		if status == http.StatusServiceUnavailable {
			e.Type, e.Message = "service_unavailable_error", "The engine is currently overloaded, please try again later"
		}
	}
	return e.ErrorBody
}

// answer makes the completion that the rule gives.
func (r *Rule) answer(req *chatRequest, record *Request) (*completion, *apiError) {
	c := &completion{
		id: fmt.Sprintf("chatcmpl-llmd%08d", record.Number), created: record.Time.Unix(), model: req.Model,
		text: r.Text, hasText: r.Text != "", refusal: r.Refusal, finish: "stop",
	}
	switch {
	case r.JSON != nil:
		raw, err := encode(r.JSON)
		if err == nil && req.shape != nil {
			err = req.shape.Validate(raw)
		}
		if err != nil {
			return nil, invalid(http.StatusBadRequest, "", "script_error",
				"The stand-in's rule %s answers with JSON that the strict schema asked for would not allow: %v", r.Name, err)
		}
		c.text, c.hasText = string(raw), true
	case r.Huge > 0:
		c.text, c.hasText = strings.Repeat("x", r.Huge), true
	}
	for i, t := range r.ToolCalls {
		arguments, err := t.arguments()
		if err != nil {
			return nil, invalid(http.StatusBadRequest, "", "script_error", "The stand-in's rule %s: %v", r.Name, err)
		}
		id := t.ID
		if id == "" {
			id = fmt.Sprintf("call_llmd%04d%02d", record.Number, i)
		}
		c.calls = append(c.calls, call{id, t.Name, arguments})
		c.finish = "tool_calls"
	}
	if limit := max(req.MaxTokens, req.MaxCompletionTokens); limit > 0 && r.Huge == 0 {
		if countTokens(c.text) > limit {
			c.text, c.finish = strings.Join(tokenize(c.text)[:limit], ""), "length"
		}
	}
	switch r.Finish {
	case "":
	case "none":
		c.finish = ""
	default:
		c.finish = r.Finish
	}
	if !r.NoUsage {
		c.usage = r.count(req, c)
	}
	return c, nil
}

// count tells the tokens, roughly as the service would.
func (r *Rule) count(req *chatRequest, c *completion) *usage {
	u := &usage{PromptMore: map[string]int{"cached_tokens": 0, "audio_tokens": 0}, AnswerMore: map[string]int{"reasoning_tokens": 0, "audio_tokens": 0,
		"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}
	if r.Usage != nil {
		u.Prompt, u.Completion = r.Usage.PromptTokens, r.Usage.CompletionTokens
	} else {
		u.Prompt = 3 // every answer is primed with three tokens, every message framed by three
		for _, m := range req.Messages {
			u.Prompt += 3 + countTokens(m.Role) + countTokens(m.Content.text)
			for _, t := range m.ToolCalls {
				u.Prompt += countTokens(t.Function.Name) + countTokens(t.Function.Arguments)
			}
		}
		u.Completion = countTokens(c.refusal)
		if r.Huge > 0 {
			u.Completion += r.Huge / 8 // as counting would find, without the time it takes
		} else {
			u.Completion += countTokens(c.text)
		}
		for _, t := range c.calls {
			u.Completion += countTokens(t.name) + countTokens(t.arguments)
		}
	}
	u.Total = u.Prompt + u.Completion
	return u
}

// send writes the completion whole.
func (c *completion) send(out *faulty, rule *Rule) error {
	message := map[string]any{"role": "assistant", "content": c.content(), "refusal": orNull(c.refusal), "annotations": []any{}}
	if len(c.calls) > 0 {
		var calls []any
		for _, t := range c.calls {
			calls = append(calls, map[string]any{"id": t.id, "type": "function",
				"function": map[string]any{"name": t.name, "arguments": t.arguments}})
		}
		message["tool_calls"] = calls
	}
	body := c.frame("chat.completion")
	body["choices"] = []any{map[string]any{"index": 0, "message": message, "logprobs": nil, "finish_reason": orNull(c.finish)}}
	if c.usage != nil {
		body["usage"] = c.usage
	}
	raw := indented(body)
	if rule.Malformed {
		raw = []byte(strings.Replace(string(raw), `"choices": [`, `"choices": [{,`, 1))
	}
	_, err := out.Write(raw)
	return err
}

// stream writes the completion in chunks.
func (c *completion) stream(r *http.Request, out *faulty, rule *Rule, req *chatRequest) error {
	withUsage := req.StreamOptions != nil && req.StreamOptions.IncludeUsage
	event := func(choices []any, u *usage) error {
		chunk := c.frame("chat.completion.chunk")
		chunk["choices"] = choices
		if withUsage {
			chunk["usage"] = u
		}
		raw, err := json.Marshal(chunk)
		if err != nil {
			return err
		}
		if rule.Malformed {
			raw = raw[:len(raw)-1]
		}
		if _, err := fmt.Fprintf(out, "data: %s\n\n", raw); err != nil {
			return err
		}
		return out.flush()
	}
	first := true
	delta := func(delta map[string]any, finish string) error {
		if !first && !pause(r, rule.ChunkDelay) {
			return r.Context().Err()
		}
		first = false
		return event([]any{map[string]any{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": orNull(finish)}}, nil)
	}
	opening := map[string]any{"role": "assistant", "content": "", "refusal": nil}
	if !c.hasText {
		opening["content"] = nil
	}
	if err := delta(opening, ""); err != nil {
		return err
	}
	pieces := chunks(c.text, rule)
	for _, piece := range pieces {
		if err := delta(map[string]any{"content": piece}, ""); err != nil {
			return err
		}
	}
	for _, piece := range chunks(c.refusal, rule) {
		if err := delta(map[string]any{"refusal": piece}, ""); err != nil {
			return err
		}
	}
	for i, t := range c.calls {
		begin := map[string]any{"index": i, "id": t.id, "type": "function", "function": map[string]any{"name": t.name, "arguments": ""}}
		if err := delta(map[string]any{"tool_calls": []any{begin}}, ""); err != nil {
			return err
		}
		for _, piece := range chunks(t.arguments, rule) {
			more := map[string]any{"index": i, "function": map[string]any{"arguments": piece}}
			if err := delta(map[string]any{"tool_calls": []any{more}}, ""); err != nil {
				return err
			}
		}
	}
	if err := delta(map[string]any{}, c.finish); err != nil {
		return err
	}
	if withUsage && c.usage != nil {
		if err := event([]any{}, c.usage); err != nil {
			return err
		}
	}
	if _, err := out.Write([]byte("data: [DONE]\n\n")); err != nil {
		return err
	}
	return out.flush()
}

func (c *completion) frame(object string) map[string]any {
	return map[string]any{"id": c.id, "object": object, "created": c.created, "model": c.model,
		"service_tier": "default", "system_fingerprint": "fp_llmd"}
}

func (c *completion) content() any {
	if c.hasText {
		return c.text
	}
	return nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// chunks cuts a text into what the chunks of a stream carry.
func chunks(text string, rule *Rule) []string {
	if rule.Huge > 0 {
		const size = 16 << 10
		var parts []string
		for ; len(text) > size; text = text[size:] {
			parts = append(parts, text[:size])
		}
		return append(parts, text)
	}
	each := max(1, rule.ChunkTokens)
	var parts []string
	for pieces := tokenize(text); len(pieces) > 0; pieces = pieces[min(each, len(pieces)):] {
		parts = append(parts, strings.Join(pieces[:min(each, len(pieces))], ""))
	}
	return parts
}

// tokenize cuts a text into pieces of about the size of a tokenizer's: a word of up to eight letters with the space
// before it, up to three digits, a run of spaces, a sign. Joined, the pieces are the text.
func tokenize(text string) []string {
	var pieces []string
	for len(text) > 0 {
		n := pieceLen(text)
		pieces = append(pieces, text[:n])
		text = text[n:]
	}
	return pieces
}

func pieceLen(text string) int {
	run := func(from, most int, is func(rune) bool) int {
		n := from
		for count := 0; n < len(text) && count < most; count++ {
			r, size := utf8.DecodeRuneInString(text[n:])
			if !is(r) {
				break
			}
			n += size
		}
		return n
	}
	first, size := utf8.DecodeRuneInString(text)
	if first == ' ' {
		if n := run(1, 8, unicode.IsLetter); n > 1 {
			return n
		}
	}
	switch {
	case unicode.IsLetter(first):
		return run(0, 8, unicode.IsLetter)
	case unicode.IsDigit(first):
		return run(0, 3, unicode.IsDigit)
	case unicode.IsSpace(first):
		return run(0, 32, unicode.IsSpace)
	}
	return size
}

func countTokens(text string) int {
	n := 0
	for len(text) > 0 {
		text = text[pieceLen(text):]
		n++
	}
	return n
}

// encode writes a script's value as JSON.
func encode(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// arguments is what the call sends: a string as it is, anything else as JSON.
func (t ToolCall) arguments() (string, error) {
	switch v := t.Arguments.(type) {
	case nil:
		return "{}", nil
	case string:
		return v, nil
	}
	raw, err := encode(t.Arguments)
	return string(raw), err
}

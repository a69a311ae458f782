package llm

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	openai "github.com/sashabaranov/go-openai"
)

// features is what has been left out or replaced because an endpoint refused it. It only ever grows, so that finding
// out what an endpoint supports comes to an end.
type features struct {
	format          format
	limit           limit
	noSeed          bool
	noTemperature   bool
	noStreamOptions bool
	noStream        bool
	noReasoning     bool
	// cap is the longest answer that the endpoint has not refused as too long, in tokens; 0 if it never did.
	cap int
}

// format is how a structured answer is asked for.
type format int

const (
	formatSchema format = iota // response_format json_schema: the endpoint enforces the shape
	formatObject               // response_format json_object: the endpoint enforces JSON, the shape is asked for in words
	formatText                 // everything is asked for in words
)

// limit is how the length of an answer is bounded.
type limit int

const (
	limitCompletion limit = iota // max_completion_tokens
	limitTokens                  // max_tokens, the older name
	limitNone
)

// and is everything that either has dropped.
func (f features) and(g features) features {
	return features{
		format:          max(f.format, g.format),
		limit:           max(f.limit, g.limit),
		noSeed:          f.noSeed || g.noSeed,
		noTemperature:   f.noTemperature || g.noTemperature,
		noStreamOptions: f.noStreamOptions || g.noStreamOptions,
		noStream:        f.noStream || g.noStream,
		noReasoning:     f.noReasoning || g.noReasoning,
		cap:             smaller(f.cap, g.cap),
	}
}

// smaller is the smaller of two bounds, of which 0 is none.
func smaller(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// notes says what of this prompt was left out or replaced, in fixed words.
func (f features) notes(p *Prompt, limited bool) []string {
	var notes []string
	note := func(applies bool, text string) {
		if applies {
			notes = append(notes, text)
		}
	}
	note(p.Schema != nil && f.format == formatObject, "response_format json_schema -> json_object, the schema in the prompt")
	note(p.Schema != nil && f.format == formatText, "response_format json_schema -> none, the schema in the prompt")
	note(limited && f.limit == limitTokens, "max_completion_tokens -> max_tokens")
	note(limited && f.limit == limitNone, "max_completion_tokens left out, the answer is not bounded by the endpoint")
	note(limited && f.cap > 0 && f.limit < limitNone, fmt.Sprintf("answers bounded to %d tokens", f.cap))
	note(p.Seed != nil && f.noSeed, "seed left out")
	note(p.Temperature != nil && f.noTemperature, "temperature left out")
	note(p.Stream != nil && f.noStream, "stream left out")
	note(p.Stream != nil && !f.noStream && f.noStreamOptions, "stream_options left out, usage is estimated")
	note(len(p.Tools) > 0 && f.noReasoning, "reasoning_effort -> none, for tools")
	return notes
}

// sent is one refusable part of a request: the words by which a complaint about it is known, and what to do without.
type sent struct {
	name  string
	words *regexp.Regexp
	drop  func(*features)
}

var (
	wordsFormat        = regexp.MustCompile(`(?i)\b(response_format|json_schema|json_object|json[ _]schema|structured[ _]outputs?|json[ _]mode|response mime type|guided_\w+|xgrammar)\b`)
	wordsTools         = regexp.MustCompile(`(?i)\b(tools?|tool_choice|function[ _]call(ing|s)?)\b`)
	wordsReasoning     = regexp.MustCompile(`(?i)\breasoning(_effort)?\b`)
	wordsSeed          = regexp.MustCompile(`(?i)\bseed\b`)
	wordsTemperature   = regexp.MustCompile(`(?i)\btemperature\b`)
	wordsStreamOptions = regexp.MustCompile(`(?i)\bstream_options\b`)
	wordsStream        = regexp.MustCompile(`(?i)\bstream(ing)?\b`)
	wordsCompletion    = regexp.MustCompile(`(?i)\bmax_completion_tokens\b`)
	wordsTokens        = regexp.MustCompile(`(?i)\bmax_tokens\b`)

	// unsupported is how endpoints say that they do not know or do not allow a parameter.
	unsupported = regexp.MustCompile(`(?i)unsupported|not? (be )?support|n't support|unknown|unrecogni[sz]ed|unexpected` +
		`|extra[ _](inputs|fields|forbidden)|not (permitted|allowed|available|implemented|enabled)|unavailable|only the default` +
		`|must be '?(text|json)|cannot be (combined|used)|requires? the responses api|use /v1/responses`)
)

// parts lists what of this request could be refused and replaced.
func (f features) parts(p *Prompt, limited bool) []sent {
	var parts []sent
	add := func(applies bool, name string, words *regexp.Regexp, drop func(*features)) {
		if applies {
			parts = append(parts, sent{name, words, drop})
		}
	}
	add(p.Schema != nil && f.format < formatText, "response_format", wordsFormat, func(f *features) { f.format++ })
	add(p.Seed != nil && !f.noSeed, "seed", wordsSeed, func(f *features) { f.noSeed = true })
	add(p.Temperature != nil && !f.noTemperature, "temperature", wordsTemperature, func(f *features) { f.noTemperature = true })
	add(p.Stream != nil && !f.noStream && !f.noStreamOptions, "stream_options", wordsStreamOptions, func(f *features) { f.noStreamOptions = true })
	add(p.Stream != nil && !f.noStream, "stream", wordsStream, func(f *features) { f.noStream = true })
	add(limited && f.limit == limitCompletion, "max_completion_tokens", wordsCompletion, func(f *features) { f.limit++ })
	add(limited && f.limit == limitTokens, "max_tokens", wordsTokens, func(f *features) { f.limit++ })
	return parts
}

// refused finds the part of a request that a complaint is about: the one the endpoint names as the parameter, or else
// the one its message names first ("'max_tokens' is not supported, use 'max_completion_tokens'" is about the former).
// A message alone counts only if it also says that something is not supported.
func refused(parts []sent, c complaint) *sent {
	param, _, _ := strings.Cut(strings.TrimPrefix(c.param, "body."), ".")
	for i, part := range parts {
		if param == part.name {
			return &parts[i]
		}
	}
	if !unsupported.MatchString(c.message) && !strings.HasPrefix(c.code, "unsupported") && !strings.HasPrefix(c.code, "unknown") {
		return nil
	}
	var found *sent
	first := len(c.message)
	for i, part := range parts {
		if at := part.words.FindStringIndex(c.message); at != nil && at[0] < first {
			found, first = &parts[i], at[0]
		}
	}
	return found
}

// tooLong is how endpoints say that the bound on the answer exceeds what the model can write, alone or after the prompt.
var tooLong = regexp.MustCompile(`(?i)too (large|long|high|big)|at most|valid range|maximum|exceed|less than|greater than|reduce`)

// answerTooLong says whether the complaint is that the answer's bound is too high. It does not say by how much in any
// way that endpoints agree on, so the bound is halved until it is accepted. With the length of the context it depends
// on this prompt; else it holds for every one.
func answerTooLong(f features, limit int, c complaint) (is, here bool) {
	const least = 1024 // below that it is the prompt that is too long
	about := wordsCompletion.MatchString(c.message) || wordsTokens.MatchString(c.message) ||
		strings.Contains(c.message, "completion") || strings.Contains(c.message, "output") || strings.HasPrefix(c.param, "max_")
	is = limit > least && f.limit < limitNone && about && tooLong.MatchString(c.message) &&
		!strings.HasPrefix(c.code, "unsupported") && !strings.HasPrefix(c.code, "unknown")
	return is, is && (strings.Contains(c.message, "context") || strings.HasPrefix(c.code, "context"))
}

// refusedTools says whether the complaint is about tools, and whether switching the model's reasoning off may help:
// several models take tools over chat completions only then.
func refusedTools(p *Prompt, f features, c complaint) (is, reasoning bool) {
	if len(p.Tools) == 0 || !unsupported.MatchString(c.message) {
		return false, false
	}
	reasoning = wordsReasoning.MatchString(c.message) || c.param == "reasoning_effort"
	is = wordsTools.MatchString(c.message) || f.noReasoning && reasoning
	return is, is && reasoning && !f.noReasoning
}

// refusedHere translates the complaints that go-openai makes about models it knows, before anything is sent, into what
// the endpoint would have said.
func refusedHere(err error) (complaint, bool) {
	switch {
	case errors.Is(err, openai.ErrReasoningModelMaxTokensDeprecated):
		return complaint{message: err.Error(), param: "max_tokens"}, true
	case errors.Is(err, openai.ErrReasoningToolsRequireResponses), errors.Is(err, openai.ErrReasoningEffortUnsupported):
		return complaint{message: "unsupported: " + err.Error() + " (tools)", param: "reasoning_effort"}, true
	}
	return complaint{}, false
}

// request writes the prompt as a request of the protocol, without what was dropped. The temperature is not in it: see
// [exchange].
func (f features) request(model string, p *Prompt, limit int) openai.ChatCompletionRequest {
	req := openai.ChatCompletionRequest{Model: model}
	if system := f.system(p); system != "" {
		req.Messages = append(req.Messages, openai.ChatCompletionMessage{Role: openai.ChatMessageRoleSystem, Content: system})
	}
	for _, m := range p.Messages {
		msg := openai.ChatCompletionMessage{Role: string(m.Role), Content: m.Text, ToolCallID: m.ToolCallID}
		for _, c := range m.ToolCalls {
			msg.ToolCalls = append(msg.ToolCalls, openai.ToolCall{
				ID: c.ID, Type: openai.ToolTypeFunction,
				Function: openai.FunctionCall{Name: c.Name, Arguments: c.Arguments},
			})
		}
		req.Messages = append(req.Messages, msg)
	}
	for _, t := range p.Tools {
		req.Tools = append(req.Tools, openai.Tool{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{
			Name: t.Name, Description: t.Description, Parameters: t.Params,
		}})
	}
	if p.Schema != nil && f.format == formatSchema {
		req.ResponseFormat = &openai.ChatCompletionResponseFormat{
			Type: openai.ChatCompletionResponseFormatTypeJSONSchema,
			JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{
				Name: p.Schema.Name, Description: p.Schema.Description, Schema: p.Schema.JSON, Strict: true,
			},
		}
	}
	if p.Schema != nil && f.format == formatObject {
		req.ResponseFormat = &openai.ChatCompletionResponseFormat{Type: openai.ChatCompletionResponseFormatTypeJSONObject}
	}
	if !f.noSeed {
		req.Seed = p.Seed
	}
	switch f.limit {
	case limitCompletion:
		req.MaxCompletionTokens = limit
	case limitTokens:
		req.MaxTokens = limit
	}
	if p.Stream != nil && !f.noStream {
		req.Stream = true
		if !f.noStreamOptions {
			req.StreamOptions = &openai.StreamOptions{IncludeUsage: true}
		}
	}
	if len(p.Tools) > 0 && f.noReasoning {
		req.ReasoningEffort = openai.ReasoningEffortNone
	}
	return req
}

// system is the system message, with the schema in words where the endpoint does not take it in the request.
func (f features) system(p *Prompt) string {
	if p.Schema == nil || f.format == formatSchema {
		return p.System
	}
	var b strings.Builder
	if p.System != "" {
		b.WriteString(p.System + "\n\n")
	}
	if len(p.Tools) > 0 {
		b.WriteString("Unless you call a tool, answer")
	} else {
		b.WriteString("Answer")
	}
	b.WriteString(" with exactly one JSON object and nothing else: no prose before or after it, no code fence around it. " +
		"It has every field that this JSON schema requires, and no other:\n")
	b.Write(p.Schema.JSON)
	if p.Schema.Description != "" {
		b.WriteString("\nWhat the object is: " + p.Schema.Description)
	}
	return b.String()
}

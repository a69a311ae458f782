// Package llm asks a language model over the OpenAI chat-completions protocol and returns an answer that is either
// what was asked for or an error that says what to do.
//
// The package stands between the agent, which thinks in prompts and typed answers, and endpoints that agree on the
// protocol only roughly. It holds to four rules:
//
//   - Nothing is given up silently. What an endpoint does not support (a strict schema, a seed, a temperature, a
//     limit by its newer name) is left out or replaced one feature at a time, and every such step is named in
//     [Answer.Degraded] and in the [CallRecord].
//   - An answer to a prompt with a schema satisfies the schema, whether the endpoint enforced it or only tried. It is
//     checked here, and [ErrNotJSON] says what is wrong in words that the model can be given back.
//   - Everything is bounded: the size of a response, the time of a request, the number of retries, and, by a [Budget]
//     that several calls share, requests, tokens, money and time together.
//   - The API key is in no error, no record and no printed value.
//
// What a model says is untrusted text: it may hold control characters, markup and lies. Nothing in this package prints
// it; in errors it is quoted and cut short.
package llm

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"kgent/agent/llm/schema"
)

// Model answers prompts. [Client] is the implementation that talks to an endpoint.
type Model interface {
	// Complete asks once and waits for the whole answer. The errors are those of this package, to be told apart with
	// errors.Is, or the context's. With ErrTruncated, ErrRefused, ErrContentFilter and ErrNotJSON the answer holds
	// what the model did say; with any other error only what the call cost and what was degraded.
	Complete(ctx context.Context, p Prompt) (Answer, error)
}

// Prompt is one question.
type Prompt struct {
	// Purpose says in a few words what the call is for ("write the program"). It is kept in the record and not sent.
	Purpose string
	// Task says what kind of work it is, for [ByTask]; empty is any.
	Task Task
	// System is the instruction that stands before the conversation; may be empty.
	System string
	// Messages is the conversation so far, oldest first; at least one.
	Messages []Message
	// Schema, if set, makes the answer one JSON object that satisfies it, unless the model calls tools.
	Schema *Schema
	// Tools are what the model may call instead of answering. The caller runs the calls in Answer.ToolCalls and asks
	// again with the assistant's message and one [ToolResult] for each.
	Tools []Tool
	// Temperature is between 0 and 2; nil leaves it to the endpoint.
	Temperature *float64
	// Seed asks for repeatable sampling; nil leaves it to the endpoint.
	Seed *int
	// MaxTokens bounds the answer, the model's hidden reasoning included; 0 leaves it to the endpoint and the budget.
	MaxTokens int
	// Stream, if set, has the answer streamed and is called for each piece of it as it arrives, on the goroutine that
	// called Complete.
	Stream func(Progress)
	// Budget is drawn on by every request of this call, retries included. Nil bounds the call by the context, the
	// client's timeout and a fixed number of retries alone.
	Budget *Budget
	// Record, if set, is called exactly once before Complete returns, whatever the outcome.
	Record func(CallRecord)
}

// Progress is a piece of a streamed answer.
type Progress struct {
	// Attempt counts from 1. When it rises, an earlier attempt broke off and the text starts again from nothing.
	Attempt int
	// Text is what was added to the answer, or to the arguments of a tool call. Untrusted.
	Text string
	// Tokens is how many pieces this attempt has brought so far, which is near its number of tokens.
	Tokens int
}

// Role says whose a message is.
type Role string

// The roles of messages. The system message is [Prompt.System].
const (
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// Message is one turn of a conversation.
type Message struct {
	Role Role
	Text string
	// ToolCalls are the calls that an assistant's message made.
	ToolCalls []ToolCall
	// ToolCallID says which call a tool's message answers.
	ToolCallID string
}

// User is a message of the person, or of the agent on their behalf.
func User(text string) Message { return Message{Role: RoleUser, Text: text} }

// ToolResult is the outcome of a tool call, errors included: a model can act on "no such type" only if it is told.
func ToolResult(call ToolCall, text string) Message {
	return Message{Role: RoleTool, Text: text, ToolCallID: call.ID}
}

// Schema is the shape of a structured answer.
type Schema struct {
	// Name is 1 to 64 letters, digits, underscores and dashes.
	Name string
	// Description tells the model what the object is for; may be empty.
	Description string
	// JSON is the schema. It must be fit for strict use; see [schema.Schema.Strict].
	JSON json.RawMessage
}

// SchemaOf derives the schema of a Go struct type that the answer will be decoded into with [Decode]; see [schema.Of]
// for the struct tags.
func SchemaOf[T any](name string) (*Schema, error) {
	raw, err := schema.Of[T]()
	if err != nil {
		return nil, err
	}
	return &Schema{Name: name, JSON: raw}, nil
}

// Tool is something the model may ask the caller to do.
type Tool struct {
	// Name is 1 to 64 letters, digits, underscores and dashes.
	Name string
	// Description says what the tool does and when to use it.
	Description string
	// Params is the JSON schema of the arguments, an object.
	Params json.RawMessage
}

// ToolCall is the model's wish to use a tool. Nothing about it has been checked: the name may be of no tool that was
// offered, the arguments may be no JSON. Decode them with [Arguments] and answer what is wrong as the tool's result.
type ToolCall struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// Answer is what a model said.
type Answer struct {
	// Text is the answer as it came.
	Text string
	// JSON is the one object of a structured answer, taken out of Text and checked against the schema. Empty without
	// a schema, or when the model called tools.
	JSON json.RawMessage
	// ToolCalls are the tools the model wants to be used before it goes on. Each has an ID.
	ToolCalls []ToolCall
	// FinishReason is the endpoint's word for why the answer ended, "stop" or "tool_calls" as a rule.
	FinishReason string
	// Model is the name of the model that answered, as the endpoint gives it.
	Model string
	// Usage sums up all requests of the call.
	Usage Usage
	// Cost sums up all requests of the call, in the currency of the price table; 0 is unknown.
	Cost float64
	// Latency is the time from the call to the answer, retries and waits included.
	Latency time.Duration
	// Degraded names every feature of the prompt that the endpoint did not support and what was done instead.
	Degraded []string
}

// Message is the answer as the next turn's assistant message. Endpoints accept no empty one, so that an empty answer
// is called that.
func (a Answer) Message() Message {
	m := Message{Role: RoleAssistant, Text: a.Text, ToolCalls: a.ToolCalls}
	if m.Text == "" && len(m.ToolCalls) == 0 {
		m.Text = "(an empty answer)"
	}
	return m
}

// Usage counts tokens.
type Usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	// Estimated says that at least one request was not accounted for by the endpoint, and its share was guessed from
	// the length of the texts.
	Estimated bool `json:"estimated,omitempty"`
}

// Total is the sum of both kinds.
func (u Usage) Total() int { return u.PromptTokens + u.CompletionTokens }

func (u Usage) plus(v Usage) Usage {
	return Usage{u.PromptTokens + v.PromptTokens, u.CompletionTokens + v.CompletionTokens, u.Estimated || v.Estimated}
}

// estimateTokens guesses how many tokens a text is: English and C both come to about four bytes each.
func estimateTokens(bytes int) int { return (bytes + 3) / 4 }

// promptTokens guesses what the prompt costs to send. Every message carries a few tokens of framing.
func (p *Prompt) promptTokens() int {
	const framing = 4
	bytes := len(p.System)
	for _, m := range p.Messages {
		bytes += len(m.Text)
		for _, c := range m.ToolCalls {
			bytes += len(c.Name) + len(c.Arguments)
		}
	}
	for _, t := range p.Tools {
		bytes += len(t.Name) + len(t.Description) + len(t.Params)
	}
	if p.Schema != nil {
		bytes += len(p.Schema.JSON)
	}
	return estimateTokens(bytes) + framing*(len(p.Messages)+1)
}

// check finds what no endpoint could make sense of, before anything is sent.
func (p *Prompt) check(names *regexp.Regexp) error {
	if len(p.Messages) == 0 {
		return badPrompt("there is no message")
	}
	called := map[string]bool{}
	for i, m := range p.Messages {
		switch m.Role {
		case RoleUser:
		case RoleAssistant:
			for _, c := range m.ToolCalls {
				called[c.ID] = true
			}
		case RoleTool:
			if !called[m.ToolCallID] {
				return badPrompt("message %d is the result of tool call %q, which no earlier message made", i, m.ToolCallID)
			}
		default:
			return badPrompt("message %d has the role %q", i, m.Role)
		}
		if m.Text == "" && len(m.ToolCalls) == 0 {
			return badPrompt("message %d (%s) is empty", i, m.Role)
		}
	}
	seen := map[string]bool{}
	for _, t := range p.Tools {
		if !names.MatchString(t.Name) || seen[t.Name] {
			return badPrompt("tool %q: want 1 to 64 letters, digits, _ or -, each name once", t.Name)
		}
		seen[t.Name] = true
		if _, err := schema.Parse(t.Params); err != nil {
			return badPrompt("the parameters of tool %s: %w", t.Name, err)
		}
	}
	switch {
	case p.MaxTokens < 0:
		return badPrompt("MaxTokens is %d", p.MaxTokens)
	case p.Temperature != nil && !(*p.Temperature >= 0 && *p.Temperature <= 2):
		return badPrompt("the temperature %g is not between 0 and 2", *p.Temperature)
	}
	return nil
}

// shape parses the prompt's schema; nil without one.
func (p *Prompt) shape(names *regexp.Regexp) (*schema.Schema, error) {
	if p.Schema == nil {
		return nil, nil
	}
	if !names.MatchString(p.Schema.Name) {
		return nil, badPrompt("schema %q: want a name of 1 to 64 letters, digits, _ or -", p.Schema.Name)
	}
	shape, err := schema.Parse(p.Schema.JSON)
	if err != nil {
		return nil, badPrompt("schema %s: %w", p.Schema.Name, err)
	}
	if err := shape.Strict(); err != nil {
		return nil, badPrompt("schema %s is not fit for strict use: %w", p.Schema.Name, err)
	}
	return shape, nil
}

func badPrompt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrPrompt, fmt.Errorf(format, args...))
}

package llm

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The kinds of failure. Errors of [Client.Complete] match at least one of them with errors.Is, or the context's error.
var (
	// ErrPrompt: the prompt is one that no endpoint could answer. Nothing was sent; the caller has a bug.
	ErrPrompt = errors.New("the prompt is malformed")
	// ErrUnauthorized: the endpoint does not accept the key (HTTP 401, 403). Not retried.
	ErrUnauthorized = errors.New("the endpoint does not accept the key")
	// ErrNoModel: the endpoint does not serve the model, or the address is not that of an endpoint (HTTP 404).
	ErrNoModel = errors.New("the endpoint does not serve the model")
	// ErrRateLimited: too many requests (HTTP 429), after the retries that the budget and the asked-for wait allowed;
	// or the account's credit is used up (HTTP 402, insufficient_quota), which no retry mends.
	ErrRateLimited = errors.New("the endpoint limits the rate")
	// ErrUnavailable: the endpoint is down, unreachable or failing (HTTP 5xx, connection refused, reset or cut).
	ErrUnavailable = errors.New("the endpoint is not available")
	// ErrTimeout: a request took longer than the client's timeout, or the caller's deadline passed. Not retried.
	ErrTimeout = errors.New("the model did not answer in time")
	// ErrTooLarge: the response exceeds the size bound. Not retried.
	ErrTooLarge = errors.New("the response is too large")
	// ErrProtocol: what answers does not speak chat completions: a web page, broken JSON, no choices, a redirect.
	ErrProtocol = errors.New("the endpoint does not speak chat completions")
	// ErrRejected: the endpoint refuses the request for a reason that leaving features out cannot mend (other HTTP 4xx).
	ErrRejected = errors.New("the endpoint rejects the request")
	// ErrPromptTooLong: the prompt exceeds what the model can read. Send less.
	ErrPromptTooLong = errors.New("the prompt is too long for the model")
	// ErrUnsupported: the prompt needs something that the model cannot do and that nothing replaces, such as tools.
	ErrUnsupported = errors.New("the model lacks a feature that is needed")
	// ErrRefused: the model declined to answer.
	ErrRefused = errors.New("the model refuses")
	// ErrTruncated: the answer reached its token limit before its end.
	ErrTruncated = errors.New("the answer is cut off")
	// ErrContentFilter: the endpoint's content filter withheld the answer or the prompt.
	ErrContentFilter = errors.New("the content filter withheld the answer")
	// ErrNotJSON: the answer is not the one JSON object, of the schema asked for, that it should be. The error text
	// says what is wrong with it and can be given back to the model.
	ErrNotJSON = errors.New("the answer is not the JSON object asked for")
	// ErrBudget: the budget is used up; [BudgetError] says which bound.
	ErrBudget = errors.New("the budget for the model is used up")
)

// Error is a failed call.
type Error struct {
	// Kind is one of the package's sentinel errors.
	Kind error
	// Endpoint and Model say who was asked.
	Endpoint, Model string
	// Status is the HTTP status; 0 if there was none, or if it does not matter to the failure.
	Status int
	// Code is the endpoint's own name for the failure; may be empty.
	Code string
	// Detail says what happened, in the endpoint's or the system's words: printable, on one line, cut short, without
	// the key.
	Detail string
	// RetryAfter is how long the endpoint asks to wait; 0 if it does not say.
	RetryAfter time.Duration
	// Attempts is how many requests were sent.
	Attempts int

	retry bool  // the same request may succeed later
	also  error // a second error that this one matches: the budget's or the context's
}

// Unwrap makes errors.Is and errors.As see the kind, and the budget's or context's error if one ended the call.
func (e *Error) Unwrap() []error {
	if e.also == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.also}
}

// Error says what happened, where, and what to do about it.
func (e *Error) Error() string {
	var b strings.Builder
	what, also := e.Kind, e.also
	if what == ErrBudget {
		what, also = also, nil // it says the same and more
	}
	fmt.Fprintf(&b, "asking model %s at %s: %v", e.Model, e.Endpoint, what)
	var aside []string
	if e.Status != 0 {
		aside = append(aside, "HTTP "+strconv.Itoa(e.Status))
	}
	if e.Code != "" {
		aside = append(aside, e.Code)
	}
	if e.Attempts > 1 {
		aside = append(aside, fmt.Sprintf("after %d requests", e.Attempts))
	}
	if len(aside) > 0 {
		b.WriteString(" (" + strings.Join(aside, ", ") + ")")
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if also != nil {
		b.WriteString("; " + also.Error())
	}
	if advice := e.Advice(); advice != "" {
		b.WriteString("; " + advice)
	}
	return b.String()
}

// Advice is what the person can do.
func (e *Error) Advice() string {
	switch e.Kind {
	case ErrUnauthorized:
		return "set OPENAI_API_KEY to a valid key for this endpoint, or OPENAI_BASE_URL to the endpoint of the key"
	case ErrNoModel:
		return "set KGENT_MODEL to a model that " + e.Endpoint + "/models lists, or OPENAI_BASE_URL to the right address"
	case ErrRateLimited:
		switch {
		case !e.retry:
			return "add credit to the account, or use another key in OPENAI_API_KEY"
		case e.RetryAfter > 0:
			return fmt.Sprintf("try again in %s", e.RetryAfter.Round(time.Second))
		}
		return "try again later"
	case ErrUnavailable:
		return "try again later, or check OPENAI_BASE_URL"
	case ErrTimeout:
		return "try again, raise KGENT_MODEL_TIMEOUT, or set KGENT_MODEL to a faster model"
	case ErrTooLarge, ErrProtocol:
		return "check that OPENAI_BASE_URL is the address of a chat-completions endpoint"
	case ErrPromptTooLong:
		return "ask for less at once, or set KGENT_MODEL to a model with a longer context"
	case ErrUnsupported:
		return "set KGENT_MODEL to another model"
	case ErrRefused, ErrContentFilter:
		return "put the request in other words, or set KGENT_MODEL to another model"
	case ErrTruncated:
		return "ask for less at once"
	}
	return ""
}

// The longest details, in characters: of what an endpoint says, and of what is wrong with an answer, which the model
// has to read.
const (
	maxDetail   = 300
	maxFeedback = 2000
)

// keyLike is what keys look like, whole or masked with asterisks. Endpoints and the proxies before them repeat keys,
// also ones that are not ours, when they complain.
var keyLike = regexp.MustCompile(`\b(sk|gsk|xai|key)[-_][A-Za-z0-9_.-]{12,}|[A-Za-z0-9_-]*\*{3,}[A-Za-z0-9_*.-]*`)

// clean makes somebody else's text fit for an error: without the key, printable, on one line and short.
func (c *Client) clean(text string) string {
	if key := c.cfg.Key.Reveal(); key != "" {
		text = strings.ReplaceAll(text, key, "[key]")
	}
	const enough = 8 * maxDetail // bytes; what is cut here would be cut below anyway
	text = text[:min(len(text), enough)]
	return oneLine(keyLike.ReplaceAllString(text, "[key]"), maxDetail)
}

// oneLine makes text printable, puts it on one line and cuts it after so many characters.
func oneLine(text string, most int) string {
	if len(text) > 4*most {
		text = text[:4*most]
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// complaint is an endpoint's error body, in the shapes that are met: OpenAI's object, a bare string (Ollama), the
// fields at the top (Mistral, vLLM), a list of complaints (FastAPI).
type complaint struct {
	message, kind, code, param string
}

func parseComplaint(body []byte) complaint {
	var top map[string]json.RawMessage
	if json.Unmarshal(body, &top) != nil {
		return complaint{message: string(body)}
	}
	fields := top
	if raw, ok := top["error"]; ok {
		var inner map[string]json.RawMessage
		if json.Unmarshal(raw, &inner) == nil && inner != nil {
			fields = inner
		} else {
			return complaint{message: plain(raw)}
		}
	}
	c := complaint{
		message: plain(fields["message"]),
		kind:    plain(fields["type"]),
		code:    plain(fields["code"]),
		param:   plain(fields["param"]),
	}
	if c.message == "" {
		c.message = plain(fields["detail"])
	}
	if c.message == "" {
		c.message = string(body)
	}
	return c
}

// plain is the text of a JSON string, or the JSON itself; null and nothing are empty.
func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

package llm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	openai "github.com/sashabaranov/go-openai"
)

// reply is what came back, whole or in part.
type reply struct {
	text, refusal string
	calls         []ToolCall
	finish        string
	model         string
	usage         *openai.Usage
}

// withoutKey takes the key out of an answer. Models never see it, but whoever answers does, and what answers say is quoted to people.
func (r *reply) withoutKey(key Secret) {
	if len(key.Reveal()) < minKey {
		return
	}
	hide := func(text *string) { *text = strings.ReplaceAll(*text, key.Reveal(), "[key]") }
	hide(&r.text)
	hide(&r.refusal)
	for i := range r.calls {
		hide(&r.calls[i].Name)
		hide(&r.calls[i].Arguments)
	}
}

// minKey is the shortest key that is looked for in answers, in bytes: a shorter one is no secret, and may be a word.
const minKey = 8

func (r *reply) bytes() int {
	n := len(r.text) + len(r.refusal)
	for _, c := range r.calls {
		n += len(c.Name) + len(c.Arguments)
	}
	return n
}

var (
	errNoChoice = errors.New("the response has no choices")
	errCut      = errors.New("the stream ended before the answer did")
	errCalls    = errors.New("the response has tool calls out of order")
)

// maxToolCalls bounds how many tools one answer may call; no sensible answer comes near it.
const maxToolCalls = 128

// exchange sends the request and reads the reply. With an error the reply holds what had arrived.
func (c *Client) exchange(ctx context.Context, x *exchange, req openai.ChatCompletionRequest, progress func(Progress), attempt int) (reply, error) {
	var r reply
	var err error
	if req.Stream {
		err = c.stream(ctx, x, req, &r, progress, attempt)
	} else {
		err = c.plain(ctx, x, req, &r)
	}
	for i := range r.calls {
		if r.calls[i].ID == "" { // some endpoints leave it out, and results could not be told apart
			r.calls[i].ID = fmt.Sprintf("call_%d_%d", len(req.Messages), i)
		}
	}
	r.model = oneLine(r.model, 100)
	return r, err
}

func (c *Client) plain(ctx context.Context, x *exchange, req openai.ChatCompletionRequest, r *reply) error {
	resp, err := c.openai(x).CreateChatCompletion(ctx, req)
	if err != nil {
		return err
	}
	r.model, r.usage = resp.Model, &resp.Usage
	if len(resp.Choices) == 0 {
		return errNoChoice
	}
	choice := resp.Choices[0]
	r.text, r.refusal, r.finish = choice.Message.Content, choice.Message.Refusal, string(choice.FinishReason)
	if len(choice.Message.ToolCalls) > maxToolCalls {
		return errCalls
	}
	for _, call := range choice.Message.ToolCalls {
		r.calls = append(r.calls, ToolCall{ID: call.ID, Name: call.Function.Name, Arguments: call.Function.Arguments})
	}
	return nil
}

func (c *Client) stream(ctx context.Context, x *exchange, req openai.ChatCompletionRequest, r *reply, progress func(Progress), attempt int) error {
	stream, err := c.openai(x).CreateChatCompletionStream(ctx, req)
	if err != nil {
		return err
	}
	defer stream.Close()
	var text, refusal strings.Builder
	var calls callParts
	pieces := 0
	for {
		var chunk openai.ChatCompletionStreamResponse
		chunk, err = stream.Recv()
		if err != nil {
			break
		}
		if chunk.Model != "" {
			r.model = chunk.Model
		}
		if chunk.Usage != nil {
			r.usage = chunk.Usage
		}
		if len(chunk.Choices) == 0 {
			continue
		}
		choice := chunk.Choices[0]
		if choice.FinishReason != "" {
			r.finish = string(choice.FinishReason)
		}
		text.WriteString(choice.Delta.Content)
		refusal.WriteString(choice.Delta.Refusal)
		added, callErr := calls.add(choice.Delta.ToolCalls)
		if callErr != nil {
			err = callErr
			break
		}
		if added = choice.Delta.Content + added; added != "" {
			pieces++
			progress(Progress{Attempt: attempt, Text: added, Tokens: pieces})
		}
	}
	r.text, r.refusal, r.calls = text.String(), refusal.String(), calls.list()
	if !errors.Is(err, io.EOF) {
		return err
	}
	if r.finish == "" && !x.events.done {
		return errCut
	}
	if r.finish == "" && r.bytes() == 0 {
		return errNoChoice
	}
	return nil
}

// callParts puts tool calls together from the pieces in which they are streamed: the first of an index has the name.
type callParts struct {
	calls []ToolCall
	args  []*strings.Builder
}

func (p *callParts) add(deltas []openai.ToolCall) (added string, err error) {
	for _, d := range deltas {
		i := len(p.calls)
		switch {
		case d.Index != nil:
			i = *d.Index
		case d.ID == "" && i > 0: // without an index, what has no ID of its own goes on with the last call
			i--
		}
		if i < 0 || i > len(p.calls) || i >= maxToolCalls {
			return added, errCalls
		}
		if i == len(p.calls) {
			p.calls = append(p.calls, ToolCall{})
			p.args = append(p.args, &strings.Builder{})
		}
		if d.ID != "" {
			p.calls[i].ID = d.ID
		}
		p.calls[i].Name += d.Function.Name
		p.args[i].WriteString(d.Function.Arguments)
		added += d.Function.Name + d.Function.Arguments
	}
	return added, nil
}

func (p *callParts) list() []ToolCall {
	for i := range p.calls {
		p.calls[i].Arguments = p.args[i].String()
	}
	return p.calls
}

func (c *Client) newError(kind, also error) *Error {
	return &Error{Kind: kind, Endpoint: c.cfg.BaseURL, Model: c.cfg.Model, also: also}
}

// contextError says why the caller's context is done: cancelled, past its deadline, or the budget's time is up.
func (c *Client) contextError(ctx context.Context) *Error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, ErrBudget):
		return c.newError(ErrBudget, cause)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return c.newError(ErrTimeout, context.DeadlineExceeded)
	case errors.Is(cause, context.Canceled):
		cause = nil
	}
	return c.newError(context.Canceled, cause)
}

// failure sorts an error of the library, the transport or the endpoint into its kind. The caller's context is told
// apart from that of the one request.
func (c *Client) failure(ctx, one context.Context, x *exchange, err error) *Error {
	e := c.newError(ErrProtocol, nil)
	e.Detail = c.clean(err.Error())
	var api *openai.APIError
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case x.status >= 400:
		c.fromStatus(e, x)
	case ctx.Err() != nil:
		return c.contextError(ctx)
	case one.Err() != nil:
		e.Kind, e.Detail = ErrTimeout, fmt.Sprintf("nothing whole within %s", c.cfg.Timeout)
	case errors.Is(err, errTooLarge):
		e.Kind, e.Detail = ErrTooLarge, fmt.Sprintf("more than %d bytes", c.cfg.MaxBytes)
	case errors.Is(err, errRedirect), errors.Is(err, errWebPage), errors.Is(err, errNotStreamed):
		e.Status = x.status
	case errors.As(err, &api): // in the middle of a stream; before it there is a status
		fromStream(e, api, c)
	case errors.Is(err, errCut), x.status != 0 && errors.Is(err, io.ErrUnexpectedEOF):
		e.Kind, e.Detail, e.retry = ErrUnavailable, "the connection ended in the middle of the answer", true
	case errors.Is(err, errNoChoice), errors.Is(err, errCalls):
	case errors.As(err, &syntax), errors.As(err, &mismatch):
		e.Status, e.Detail = x.status, "the response is no completion: "+e.Detail
	default:
		fromNetwork(e, err)
	}
	return e
}

// fromStatus reads a response with an error status.
func (c *Client) fromStatus(e *Error, x *exchange) {
	said := parseComplaint(x.complaint)
	e.Status, e.Code, e.Detail = x.status, c.clean(said.code), c.clean(said.message)
	if e.Code == "" {
		e.Code = c.clean(said.kind)
	}
	if after, ok := retryAfter(x.header, c.cfg.Now()); ok && (x.status == http.StatusTooManyRequests || x.status >= 500) {
		e.RetryAfter = after
	}
	filtered := strings.Contains(said.code, "content_filter") || strings.Contains(said.code, "content_policy")
	long := said.code == "context_length_exceeded" || strings.Contains(said.message, "maximum context length") ||
		strings.Contains(said.message, "context window")
	switch x.status {
	case http.StatusUnauthorized:
		e.Kind, e.Detail = ErrUnauthorized, "" // what it says tends to repeat parts of the key
	case http.StatusForbidden:
		e.Kind = ErrUnauthorized
	case http.StatusPaymentRequired:
		e.Kind = ErrRateLimited
	case http.StatusNotFound:
		e.Kind = ErrNoModel
	case http.StatusTooManyRequests:
		e.Kind = ErrRateLimited
		e.retry = said.code != "insufficient_quota" && said.kind != "insufficient_quota"
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e.Kind, e.retry = ErrUnavailable, true
	case http.StatusRequestEntityTooLarge:
		e.Kind = ErrPromptTooLong
	default:
		switch {
		case x.status >= 500:
			e.Kind = ErrUnavailable
		case filtered:
			e.Kind = ErrContentFilter
		case long:
			e.Kind = ErrPromptTooLong
		default:
			e.Kind = ErrRejected
		}
	}
}

// fromStream reads an error that arrived as an event. It has no status, only names.
func fromStream(e *Error, api *openai.APIError, c *Client) {
	code := ""
	if api.Code != nil {
		code = fmt.Sprint(api.Code)
	}
	e.Code, e.Detail, e.retry = c.clean(code), c.clean(api.Message), true
	if e.Code == "" {
		e.Code = c.clean(api.Type)
	}
	names := api.Type + " " + code
	switch {
	case strings.Contains(names, "insufficient_quota"):
		e.Kind, e.retry = ErrRateLimited, false
	case strings.Contains(names, "rate_limit"), code == "429":
		e.Kind = ErrRateLimited
	case strings.Contains(names, "content_filter"):
		e.Kind, e.retry = ErrContentFilter, false
	case strings.Contains(names, "invalid_request"):
		e.Kind, e.retry = ErrRejected, false
	default:
		e.Kind = ErrUnavailable
	}
}

// fromNetwork reads an error of the connection.
func fromNetwork(e *Error, err error) {
	e.Kind = ErrUnavailable
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &dns):
		e.Detail, e.retry = "there is no such host", dns.Temporary()
		if !dns.IsNotFound {
			e.Detail = "its name cannot be resolved"
		}
	case errors.As(err, &cert), errors.As(err, &authority):
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Detail, e.retry = "connection refused", true
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Detail, e.retry = "the connection was closed", true
	}
}

// short is what happened, for the record of an attempt.
func (e *Error) short() string {
	if e.Detail == "" {
		return e.Kind.Error()
	}
	return e.Kind.Error() + ": " + e.Detail
}

// Package llmd is a stand-in for an OpenAI-compatible endpoint: it speaks the real protocol of chat completions, with
// structured output, tools, streaming, errors and headers as the service has them, and answers from a script.
//
// It is there to be wrong, slow and broken on purpose, so that what stands before a model can be tested for everything
// a model and its endpoint do, and tried by a person without a key. It checks requests as strictly as the service, so
// that a request which passes here passes there: a schema that is not fit for strict use, a tool result that belongs
// to no call, a parameter that does not exist are refused in the service's words.
//
// It never makes up an answer. A request that no rule of the script matches gets an error that says so.
//
// The command kgent/agent/llm/llmd/llmd serves a script file.
package llmd

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxRequest bounds a request's body.
const maxRequest = 16 << 20

// Server is a running endpoint. Make one with [Start].
type Server struct {
	script   *Script
	listener net.Listener
	http     *http.Server
	log      *slog.Logger
	stop     context.CancelFunc
	served   chan struct{}

	mu       sync.Mutex
	arrived  chan struct{} // closed and replaced when a request is recorded
	requests []*Request
	used     []int // how often each rule has answered
	total    int   // requests of any kind, for their names
}

// Request is a chat completion that was asked for, with what came of it.
type Request struct {
	// Number counts chat requests from 1.
	Number int
	Time   time.Time
	// Header is the request's, with the Authorization's value replaced by how long it was.
	Header http.Header
	// Body is the request as it came.
	Body json.RawMessage
	// Model, System, User, Tool and Schema are what rules match: the model's name, the system messages, the last user
	// message, the last message if it is a tool's result, and the name of the schema asked for.
	Model, System, User, Tool, Schema string
	// Tools are the names of the tools offered.
	Tools []string
	// Sends names the parameters of the request, sorted; response_format appears with its type, as in
	// "response_format=json_schema".
	Sends  []string
	Stream bool
	// Rule is the name of the rule that answered, or its place in the script, counted from 1; empty if none did.
	Rule string
	// Status is the HTTP status that was sent; 0 while none has been, or when the connection was dropped instead.
	Status int
	// Gone says that the client went away before the answer was sent.
	Gone bool
}

// Start serves a script on a TCP address such as "127.0.0.1:0", until [Server.Close]. The logger, which may be nil,
// gets one line a request.
func Start(addr string, script Script, log *slog.Logger) (*Server, error) {
	if err := script.check(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		script: &script, listener: listener, log: log, stop: stop,
		served: make(chan struct{}), arrived: make(chan struct{}), used: make([]int, len(script.Rules)),
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serving", "error", err)
		}
	}()
	return s, nil
}

// URL is the value for OPENAI_BASE_URL.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + "/v1" }

// Close ends every request under way, hanging ones too, and returns when all is quiet.
func (s *Server) Close() error {
	const grace = 5 * time.Second // for a client that takes its time to read
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-s.served
	if err != nil {
		return fmt.Errorf("closing the server: %w", err)
	}
	return nil
}

// Requests returns what has been asked so far, in order of arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Request, 0, len(s.requests))
	for _, r := range s.requests {
		all = append(all, *r)
	}
	return all
}

// Wait returns when at least n chat requests have arrived, or with the context's error.
func (s *Server) Wait(ctx context.Context, n int) error {
	return s.wait(ctx, func() bool { return len(s.requests) >= n })
}

// WaitGone returns when the client of the nth chat request, counted from 1, has gone away unanswered.
func (s *Server) WaitGone(ctx context.Context, n int) error {
	return s.wait(ctx, func() bool { return len(s.requests) >= n && s.requests[n-1].Gone })
}

func (s *Server) wait(ctx context.Context, done func() bool) error {
	for {
		s.mu.Lock()
		ok, arrived := done(), s.arrived
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// change updates what is recorded and wakes those who wait for it.
func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.arrived)
	s.arrived = make(chan struct{})
}

// ServeHTTP routes a request as the service does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.standardHeaders(w.Header())
	path, model, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), "models/")
	if model != "" {
		path = "models/"
	}
	method := http.MethodPost
	var handle func(http.ResponseWriter, *http.Request)
	switch {
	case !strings.HasPrefix(r.URL.Path, "/v1/"):
	case path == "chat/completions":
		handle = s.chat
	case path == "embeddings":
		handle = s.embeddings
	case path == "models":
		method, handle = http.MethodGet, s.models
	case path == "models/":
		method, handle = http.MethodGet, func(w http.ResponseWriter, _ *http.Request) { s.model(w, model) }
	}
	switch {
	case handle == nil:
		invalid(http.StatusNotFound, "", "", "Invalid URL (%s %s)", r.Method, r.URL.Path).write(w)
	case r.Method != method:
		w.Header().Set("Allow", method)
		invalid(http.StatusMethodNotAllowed, "", "method_not_supported", "Not allowed to %s on %s.", r.Method, r.URL.Path).write(w)
	default:
		if refused := s.authorize(r); refused != nil {
			refused.write(w)
			return
		}
		handle(w, r)
	}
}

func (s *Server) standardHeaders(h http.Header) {
	s.mu.Lock()
	s.total++
	n := s.total
	s.mu.Unlock()
	const requests, tokens = 10000, 2_000_000
	h.Set("X-Request-Id", fmt.Sprintf("req_%032x", n))
	h.Set("Openai-Version", "2020-10-01")
	h.Set("Openai-Processing-Ms", "1")
	h.Set("X-Ratelimit-Limit-Requests", fmt.Sprint(requests))
	h.Set("X-Ratelimit-Remaining-Requests", fmt.Sprint(max(0, requests-n)))
	h.Set("X-Ratelimit-Reset-Requests", "6ms")
	h.Set("X-Ratelimit-Limit-Tokens", fmt.Sprint(tokens))
	h.Set("X-Ratelimit-Remaining-Tokens", fmt.Sprint(tokens))
	h.Set("X-Ratelimit-Reset-Tokens", "0s")
}

// authorize checks the key, if the script asks for one.
func (s *Server) authorize(r *http.Request) *apiError {
	if s.script.Key == "" {
		return nil
	}
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok || key == "":
		return invalid(http.StatusUnauthorized, "", "", "You didn't provide an API key. You need to provide your API key in an "+
			"Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).")
	case subtle.ConstantTimeCompare([]byte(key), []byte(s.script.Key)) != 1:
		return invalid(http.StatusUnauthorized, "", "invalid_api_key", "Incorrect API key provided: %s. You can find your API "+
			"key at https://platform.openai.com/account/api-keys.", masked(key))
	}
	return nil
}

// masked shows the beginning and the end of a key, as the service does.
func masked(key string) string {
	if len(key) < 12 {
		return key
	}
	return key[:8] + strings.Repeat("*", len(key)-12) + key[len(key)-4:]
}

// body reads a JSON request.
func body(r *http.Request) ([]byte, *apiError) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	switch {
	case err != nil:
		return nil, invalid(http.StatusBadRequest, "", "", "Could not read the request.")
	case len(raw) > maxRequest:
		return nil, invalid(http.StatusRequestEntityTooLarge, "", "", "Maximum content size limit (%d) exceeded.", maxRequest)
	}
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); media != "application/json" {
		return nil, invalid(http.StatusBadRequest, "", "unsupported_content_type",
			"Unsupported content type: '%s'. This API method only accepts 'application/json' requests.", media)
	}
	return raw, nil
}

// apiError is an error in the service's form.
type apiError struct {
	status int
	ErrorBody
}

// ErrorBody is what the service says about an error.
type ErrorBody struct {
	Message string  `yaml:"message" json:"message"`
	Type    string  `yaml:"type" json:"type"`
	Param   *string `yaml:"param" json:"param"`
	Code    *string `yaml:"code" json:"code"`
}

// invalid is a complaint about the request. An empty param or code is null.
func invalid(status int, param, code, format string, args ...any) *apiError {
	e := &apiError{status, ErrorBody{Message: fmt.Sprintf(format, args...), Type: "invalid_request_error"}}
	if param != "" {
		e.Param = &param
	}
	if code != "" {
		e.Code = &code
	}
	return e
}

func (e *apiError) write(w http.ResponseWriter) {
	writeJSON(w, e.status, map[string]any{"error": e.ErrorBody})
}

// writeJSON sends a value as the whole response. Whether the client is still there to read it does not matter.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(indented(v))
}

// indented encodes a value as the service does. What it is given always encodes.
func indented(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// redacted is a header without the key.
func redacted(h http.Header) http.Header {
	h = h.Clone()
	if v := h.Get("Authorization"); v != "" {
		h.Set("Authorization", fmt.Sprintf("(%d characters)", len(v)))
	}
	return h
}

// serves reports whether the script knows the model; a script without models serves any.
func (s *Server) serves(model string) bool {
	return len(s.script.Models) == 0 || slices.Contains(s.script.Models, model)
}

func noSuchModel(name string) *apiError {
	return invalid(http.StatusNotFound, "", "model_not_found", "The model `%s` does not exist or you do not have access to it.", name)
}

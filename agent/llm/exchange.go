package llm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxComplaint bounds the body of a response with an error status.
const maxComplaint = 64 << 10

var (
	errTooLarge = errors.New("response exceeds the size bound")
	errRedirect = errors.New("redirect")
	errWebPage  = errors.New("the response is a web page")
	// errNotStreamed: a stream was asked for and a plain completion came.
	errNotStreamed = errors.New("the response is not streamed")
)

// exchange is one HTTP request and its response, seen from below the go-openai library: it bounds the response, keeps what the
// library does not hand on (headers and body of errors, whether a stream reached its end), and puts the temperature
// into the request, for the library cannot send the temperature 0.
type exchange struct {
	transport   http.RoundTripper
	maxBytes    int64
	temperature *float64
	stream      bool

	// Set by Do.
	status    int
	header    http.Header
	complaint []byte
	events    *eventLines // of a stream
}

// Do sends the request. It follows no redirect: a key and a prompt go where the person sent them and nowhere else.
func (x *exchange) Do(req *http.Request) (*http.Response, error) {
	if err := x.addTemperature(req); err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "kgent")
	resp, err := x.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	x.status, x.header = resp.StatusCode, resp.Header
	body := &boundedBody{ReadCloser: resp.Body, left: x.maxBytes}
	switch {
	case resp.StatusCode >= 400:
		x.complaint, err = io.ReadAll(io.LimitReader(body, maxComplaint))
		body.Close()
		if err != nil && len(x.complaint) == 0 {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(x.complaint))
	case resp.StatusCode >= 300:
		body.Close()
		return nil, fmt.Errorf("%w to %s", errRedirect, resp.Header.Get("Location"))
	case x.stream && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json"):
		body.Close()
		return nil, errNotStreamed
	case strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html"):
		body.Close()
		return nil, errWebPage
	case x.stream:
		x.events = &eventLines{lines: bufio.NewReader(body), body: body}
		resp.Body = x.events
	default:
		resp.Body = body
	}
	return resp, nil
}

// addTemperature puts the temperature in front of the request's other fields. The library's own field leaves out 0,
// which is the temperature that matters most.
func (x *exchange) addTemperature(req *http.Request) error {
	if x.temperature == nil || req.Body == nil {
		return nil
	}
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	rest, ok := bytes.CutPrefix(body, []byte("{"))
	if !ok {
		return errors.New("writing the request: it is no JSON object")
	}
	body = append([]byte(`{"temperature":`+strconv.FormatFloat(*x.temperature, 'g', -1, 64)+`,`), rest...)
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.ContentLength = int64(len(body))
	return nil
}

// boundedBody fails once more than so many bytes were read.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}
	// One byte more than allowed tells a body of just the allowed size from one that goes on.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n, errTooLarge
	}
	return n, err
}

// eventLines passes on the data lines of an event stream. The library counts every other line as part of an error
// message, so that one keep-alive comment makes it miss an error; it also returns the same end of file for a stream
// that said [DONE] and one that was cut, which done tells apart.
type eventLines struct {
	lines *bufio.Reader
	body  io.Closer
	rest  []byte
	err   error
	done  bool
}

func (e *eventLines) Read(p []byte) (int, error) {
	for len(e.rest) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		var line []byte
		line, e.err = e.lines.ReadBytes('\n')
		if comment(line) {
			continue
		}
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok && string(bytes.TrimSpace(data)) == "[DONE]" {
			e.done = true
		}
		e.rest = line
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func (e *eventLines) Close() error { return e.body.Close() }

func comment(line []byte) bool {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] == ':' {
		return true
	}
	for _, field := range []string{"event:", "id:", "retry:"} {
		if bytes.HasPrefix(line, []byte(field)) {
			return true
		}
	}
	return false
}

// Package ops is how an operator deals with one executor: what it does, in
// words and as metrics, whether it is well, and its maintenance switch.
//
// A [Server] answers over HTTP. What only reads — /metrics, /healthz, /readyz —
// may be offered on an address ([Server.Metrics]); the rest, which names runs
// and people and can drain the node, on a unix socket alone ([Server.Control]),
// whose file says who may use it. A [Client] is the other end of that.
package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"kgent/executor"
)

// Node is the executor that a Server speaks for; [executor.Executor] is one.
type Node interface {
	Status() executor.Status
	// Drain puts the node into maintenance; end ends what runs as well.
	Drain(d executor.Drain, end bool) error
	// Undrain ends that.
	Undrain(by string) error
}

// ReadyWithin is how lately a node must have reached its bus to be ready: it
// tries every five seconds.
const ReadyWithin = 15 * time.Second

// maxBody bounds what is read of a request and of an answer to it.
const (
	maxRequest = 4 << 10
	maxAnswer  = 4 << 20
)

// Server answers for one node.
type Server struct {
	Node Node
	Now  func() time.Time
	// Started, if set, is closed when Node may be asked. Until then the process
	// is well and not ready, and that is all there is to tell.
	Started <-chan struct{}
}

// begun answers for a node that may not be asked yet.
func (s *Server) begun(h http.Handler) http.Handler {
	if s.Started == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-s.Started:
			h.ServeHTTP(w, r)
		default:
			if r.Method == http.MethodGet && r.URL.Path == "/healthz" {
				fmt.Fprintln(w, "ok")
				return
			}
			http.Error(w, "the executor is starting: it waits for Redis, or for another of its name to end; its log says which", http.StatusServiceUnavailable)
		}
	})
}

// Metrics answers /metrics, in the text format of Prometheus; /healthz, which is
// good while the process can answer; and /readyz, which is good while the node
// reaches its bus. A drained node is ready: it answers, and refuses.
func (s *Server) Metrics() http.Handler {
	mux := http.NewServeMux()
	s.metrics(mux)
	return s.begun(mux)
}

// Control answers the same, and /status, /drain and /undrain.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	s.metrics(mux)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.Node.Status()) // the other end has gone, if that fails
	})
	mux.HandleFunc("POST /drain", s.drain)
	mux.HandleFunc("POST /undrain", s.undrain)
	return s.begun(mux)
}

func (s *Server) metrics(mux *http.ServeMux) {
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.Write(Metrics(s.Node.Status(), s.Now()))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		s.Node.Status() // a process that hangs does not come back from here
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := unready(s.Node.Status(), s.Now()); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}

// unready says why a node takes no jobs; "" when it does.
func unready(st executor.Status, now time.Time) string {
	switch {
	case st.Heard.IsZero():
		return "the bus has not been reached yet"
	case now.Sub(st.Heard) > ReadyWithin:
		return fmt.Sprintf("the bus was last reached %v ago", now.Sub(st.Heard).Round(time.Second))
	}
	return ""
}

// order is what a drain or undrain is asked with.
type order struct {
	Why string `json:"why,omitempty"`
	End bool   `json:"end,omitempty"`
}

func readOrder(w http.ResponseWriter, r *http.Request) (order, bool) {
	var o order
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		http.Error(w, "reading the request: "+err.Error(), http.StatusBadRequest)
		return order{}, false
	}
	return o, true
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	o, ok := readOrder(w, r)
	if !ok {
		return
	}
	if err := s.Node.Drain(executor.Drain{Since: s.Now(), By: peer(r.Context()), Why: o.Why}, o.End); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *Server) undrain(w http.ResponseWriter, r *http.Request) {
	if _, ok := readOrder(w, r); !ok {
		return
	}
	if err := s.Node.Undrain(peer(r.Context())); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "ok")
}

// Limits of what is served: nobody keeps a connection without a request.
const (
	headerLimit = 5 * time.Second
	answerLimit = 10 * time.Second
)

// Serve answers on a listener until ctx ends, and closes it.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: headerLimit, ReadTimeout: answerLimit, WriteTimeout: answerLimit, IdleTimeout: answerLimit, MaxHeaderBytes: 8 << 10, ConnContext: withPeer}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	}
	return nil
}

// Client speaks to the executor behind a unix socket.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns the client of a socket.
func NewClient(socket string) *Client {
	return &Client{socket, http.Client{Timeout: answerLimit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Status asks what the executor does.
func (c *Client) Status(ctx context.Context) (executor.Status, error) {
	b, err := c.ask(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return executor.Status{}, err
	}
	var st executor.Status
	if err := json.Unmarshal(b, &st); err != nil {
		return executor.Status{}, fmt.Errorf("asking the executor: %w", err)
	}
	return st, nil
}

// Drain puts the node into maintenance, and with end ends what runs.
func (c *Client) Drain(ctx context.Context, why string, end bool) error {
	_, err := c.ask(ctx, http.MethodPost, "/drain", order{Why: why, End: end})
	return err
}

// Undrain ends that.
func (c *Client) Undrain(ctx context.Context) error {
	_, err := c.ask(ctx, http.MethodPost, "/undrain", order{})
	return err
}

func (c *Client) ask(ctx context.Context, method, path string, body any) ([]byte, error) {
	in, out := io.Pipe()
	if body == nil {
		out.Close()
	} else {
		go func() { out.CloseWithError(json.NewEncoder(out).Encode(body)) }()
	}
	defer in.Close()
	req, err := http.NewRequestWithContext(ctx, method, "http://executor"+path, in)
	if err != nil {
		return nil, fmt.Errorf("asking the executor: %w", err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreached(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("asking the executor: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the executor refuses: %s", b)
	}
	return b, nil
}

// unreached says why there is no answer, and what to do.
func (c *Client) unreached(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the address, which nobody gave
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("asking the executor: %w; it does not run here, or was started without --socket %s", err, c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("asking the executor: %w; ask as root, or as somebody of the group of its --socket-group", err)
	}
	return fmt.Errorf("asking the executor: %w", err)
}

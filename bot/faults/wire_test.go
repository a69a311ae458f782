package faults

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// wire stands between processes and Redis: it can be slow, and it can notice
// that something is about to be said, and then do something before anybody
// hears it.
type wire struct {
	addr   string // where processes connect to
	server string

	mu    sync.Mutex
	off   bool          // nobody gets through
	slow  time.Duration // of each piece, in each direction
	token []byte        // what is watched for
	hit   func()        // called once when it comes, before it is passed on
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

func newWire(t *testing.T, server string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String(), server: server, conns: map[net.Conn]bool{}}
	w.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { w.pass(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.mu.Lock()
		for c := range w.conns {
			c.Close()
		}
		w.mu.Unlock()
		w.wg.Wait()
	})
	return w
}

// before has do called once, before the server hears of token for the first
// time. What comes with it is passed on only when do returns true.
func (w *wire) before(token string, do func() (pass bool)) (came <-chan struct{}) {
	done := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.token = []byte(token)
	w.hit = func() {
		if !do() {
			w.mu.Lock()
			for c := range w.conns {
				c.Close()
			}
			w.mu.Unlock()
		}
		close(done)
	}
	return done
}

// delay makes everything slow from now on.
func (w *wire) delay(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow = d
}

// cut breaks all connections and lets none be made, or lets them be made again.
func (w *wire) cut(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off = on
	for c := range w.conns {
		c.Close()
	}
}

func (w *wire) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer server.Close()
	w.mu.Lock()
	off := w.off
	if !off {
		w.conns[client], w.conns[server] = true, true
	}
	w.mu.Unlock()
	if off {
		return
	}
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.conns, client)
		delete(w.conns, server)
	}()
	var both sync.WaitGroup
	both.Go(func() { w.copy(server, client, true); server.Close() })
	both.Go(func() { w.copy(client, server, false); client.Close() })
	both.Wait()
}

func (w *wire) copy(to io.Writer, from io.Reader, watched bool) {
	buf := make([]byte, 64<<10)
	var seen []byte // the end of what came before: a token can be cut
	for {
		n, err := from.Read(buf)
		if n > 0 {
			w.mu.Lock()
			slow, token, hit := w.slow, w.token, w.hit
			w.mu.Unlock()
			if watched && len(token) > 0 {
				seen = append(seen, buf[:n]...)
				if bytes.Contains(seen, token) {
					w.mu.Lock()
					mine := w.hit != nil
					w.token, w.hit = nil, nil
					w.mu.Unlock()
					if mine && hit != nil {
						hit()
					}
				}
				seen = bytes.Clone(seen[max(0, len(seen)-len(token)):])
			}
			if slow > 0 && n < len(buf) { // latency, not bandwidth
				time.Sleep(slow)
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

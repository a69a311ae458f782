package faults

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"sync"
	"testing"
	"time"

	"kgent/bot/teamtest"
)

// wire stands between processes and Redis: it can be slow, and it can notice
// that something is about to be said, and then do something before anybody
// hears it.
type wire struct {
	addr   string // where processes connect to
	server string

	mu    sync.Mutex
	off   bool           // nobody gets through
	ended bool           // for good: the test is over
	slow  time.Duration  // of each piece, in each direction
	token *regexp.Regexp // what is watched for
	hit   func()         // called once when it comes, before it is passed on
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// window is how much of what was passed on is looked at again with what
// follows, in bytes.
const window = 1 << 10

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
		w.ended = true
		w.mu.Unlock()
		w.cut(true)
		done := make(chan struct{})
		go func() { w.wg.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(teamtest.Patience):
			t.Errorf("the wire still carries something %v after its end", teamtest.Patience)
		}
	})
	return w
}

// carries says whether a connection may be used, and if so sees to it that it
// is closed when the wire is cut, or at the end.
func (w *wire) carries(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.off || w.ended {
		return false
	}
	w.conns[c] = true
	return true
}

// drop closes a connection.
func (w *wire) drop(c net.Conn) {
	c.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}

// before has do called once, before the server hears of token, a regular
// expression for at most window bytes, for the first time. What comes with it is passed on only when do returns true.
func (w *wire) before(token string, do func() (pass bool)) (came <-chan struct{}) {
	done := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.token = regexp.MustCompile(token)
	w.hit = func() {
		if !do() {
			w.hangUp()
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
	w.off = on
	w.mu.Unlock()
	w.hangUp()
}

// hangUp breaks all connections.
func (w *wire) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.Close()
	}
}

func (w *wire) pass(client net.Conn) {
	defer w.drop(client)
	if !w.carries(client) {
		return
	}
	server, err := net.DialTimeout("tcp", w.server, teamtest.Patience)
	if err != nil {
		return
	}
	defer w.drop(server)
	if !w.carries(server) {
		return
	}
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
			if watched && token != nil {
				seen = append(seen, buf[:n]...)
				if token.Match(seen) {
					w.mu.Lock()
					mine := w.hit != nil
					w.token, w.hit = nil, nil
					w.mu.Unlock()
					if mine && hit != nil {
						hit()
					}
				}
				seen = bytes.Clone(seen[max(0, len(seen)-window):])
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

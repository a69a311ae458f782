package fleettest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"kgent/executor/bus"
	"kgent/executor/output"
)

// light is a node that says to Redis what an executor says when it takes a job, in the words of
// package bus, and does nothing else. With the bus's own client five hundred nodes
// take several times the processor time of all else, on machines that have it for themselves
// where it is no test.
type light struct {
	f       *Fleet
	name    string
	started chan<- struct{}
}

func (l *light) serve(ctx context.Context) error {
	if err := l.f.Bus.Announce(ctx, bus.NodeInfo{Name: l.name}, time.Hour); err != nil {
		return err
	}
	queue, err := l.dial(ctx)
	if err != nil {
		return err
	}
	defer queue.Close()
	other, err := l.dial(ctx)
	if err != nil {
		return err
	}
	defer other.Close()
	if _, err := queue.do([]string{"XGROUP", "CREATE", "job:" + l.name, "exec", "0", "MKSTREAM"}); err != nil {
		return err
	}
	stops, err := l.f.stops()
	if err != nil {
		return err
	}
	begin, err := output.Encode(output.Attached{Node: l.name, Hooks: []string{"raw_tracepoint sys_enter"}, ProgramIDs: []uint32{7}, MapIDs: []uint32{8}})
	if err != nil {
		return err
	}
	end, err := output.Encode(output.NodeSummary{Node: l.name, Reason: output.ReasonStopped})
	if err != nil {
		return err
	}
	l.started <- struct{}{}
	take := []string{"XREADGROUP", "GROUP", "exec", "light", "COUNT", "1", "BLOCK", "900", "STREAMS", "job:" + l.name, ">"}
	for ctx.Err() == nil {
		job, err := queue.do(take)
		if err != nil {
			return err
		}
		if job[0] == nil {
			continue
		}
		id := first(first(second(first(job[0])))) // of streams, their entries, an entry
		run := *l.f.run.Load()
		lease, err := other.do([]string{"GET", "lease:" + run})
		if err != nil {
			return err
		}
		if lease[0] != "live" {
			continue
		}
		// Before the answer, after which the run may be stopped.
		stops.end(run, func() {
			l.f.Bus.Publish(ctx, bus.Chunk{Run: run, Node: l.name, Seq: 2, Lines: end, Final: true})
			l.f.Bus.Ack(ctx, l.name, id.(string))
		})
		out := "out:" + run + ":" + l.name
		if _, err := other.do(
			[]string{"XADD", out, "MAXLEN", "~", strconv.Itoa(bus.KeepChunks), "*", "head", `{"seq":1,"counters":{"produced":0,"delivered":0,"kernel_lost":0,"dropped":0,"bus_trimmed":0},"attached_ns":0}`, "lines", string(begin)},
			[]string{"EXPIRE", out, strconv.Itoa(int(bus.OutputKept.Seconds()))},
		); err != nil {
			return err
		}
	}
	return nil
}

// first and second are parts of an answer of Redis.
func first(of any) any  { return of.([]any)[0] }
func second(of any) any { return of.([]any)[1] }

// wire is a connection to Redis.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func (l *light) dial(ctx context.Context) (*wire, error) {
	at, err := url.Parse(l.f.Server.URL())
	if err != nil || at.Scheme != "unix" || at.User != nil {
		return nil, fmt.Errorf("light nodes: want a Redis at a socket without passwords: %w", err)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", at.Path)
	if err != nil {
		return nil, err
	}
	return &wire{c, bufio.NewReader(c)}, nil
}

// do sends commands together, and returns their answers.
func (w *wire) do(commands ...[]string) ([]any, error) {
	var b strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&b, "*%d\r\n", len(c))
		for _, arg := range c {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return nil, err
	}
	var out []any
	for range commands {
		a, err := w.answer()
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// answer reads one: a string, a list of answers, or nil.
func (w *wire) answer() (any, error) {
	line, err := w.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, line := line[0], strings.TrimRight(line[1:], "\r\n")
	switch kind {
	case '+', ':':
		return line, nil
	case '$', '*':
	default:
		return nil, fmt.Errorf("redis: %s", line)
	}
	n, err := strconv.Atoi(line)
	if err != nil || n < 0 {
		return nil, err
	}
	if kind == '$' {
		text := make([]byte, n+2)
		_, err := io.ReadFull(w.r, text)
		return string(text[:n]), err
	}
	list := make([]any, n)
	for i := range list {
		if list[i], err = w.answer(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// endings are what light nodes do when their run is stopped.
type endings struct {
	mu  sync.Mutex
	all map[string][]func() // by run
}

// end has done called when a run is stopped.
func (e *endings) end(run string, done func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all[run] = append(e.all[run], done)
}

// listen hears of stops for all light nodes.
func (f *Fleet) listen(ctx context.Context) (*endings, error) {
	e := &endings{all: map[string][]func(){}}
	stops, err := f.Bus.Stops(ctx)
	if err != nil {
		return nil, err
	}
	go func() {
		for run := range stops {
			e.mu.Lock()
			all := e.all[run]
			delete(e.all, run)
			e.mu.Unlock()
			for _, done := range all {
				done()
			}
		}
	}()
	return e, nil
}

package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

// obey does what an order says and answers. The verifier has seen that it is signed, for this node,
// fresh, and given once.
func (e *Executor) obey(ctx context.Context, j bus.Job, g *job.Grant, wg *sync.WaitGroup) {
	a := answer{job: j, run: g.Run, grant: g}
	if e.isRun(g.Run) {
		a.run = "" // the output with this name belongs to another
		e.refuse(ctx, a, "run", fmt.Errorf("order %s: a run of this name is in progress on this node", g.Run))
		return
	}
	by := orderedBy(g.Approval)
	entry := Entry{Job: j.ID}.of(g)
	var said string
	var err error
	// Here and not beside: of two orders the second is obeyed second.
	if g.Purpose == job.PurposeDrain {
		var going int
		going, err = e.drain(Drain{Since: time.Now(), By: by, Why: g.Order.Why, Ordered: g.NotBefore}, g.Order.End, entry)
		said = drainedWords(going, g.Order.End)
	} else if err = e.Maintenance.obey(nil, g.NotBefore); err == nil {
		e.undrained(by, entry)
		said = "it takes runs again"
	}
	if err != nil {
		e.refuse(ctx, a, "order", err)
		return
	}
	wg.Go(func() {
		base := context.WithoutCancel(ctx)
		if err := e.publishLast(base, bus.Chunk{Run: g.Run, Node: e.Node.Name, Seq: 1, Final: true},
			output.NodeSummary{Node: e.Node.Name, Reason: output.ReasonObeyed, Detail: said}); err != nil {
			e.Log.Warn("answering an order", "order", g.Run, "err", err)
		}
		e.ack(base, j)
	})
}

// drainedWords says what becomes of the runs in progress.
func drainedWords(n int, end bool) string {
	switch {
	case n == 0:
		return "drained, nothing runs"
	case end:
		return fmt.Sprintf("drained; runs that are being ended: %d", n)
	}
	return fmt.Sprintf("drained; runs that go on to their end: %d", n)
}

// orderedBy names who gave an order, on one line of at most [maxWhy] bytes.
func orderedBy(a job.Approval) string {
	by := a.Requester
	if a.Account != "" && a.Account != by {
		by += " (" + a.Account + ")"
	}
	by = strings.ReplaceAll(legible(by, maxWhy), "\n", " ")
	if len(by) > maxWhy {
		by = bounded(by, maxWhy-len(" …"))
	}
	return by
}

// NodeAnswer is what came of an order on one node.
type NodeAnswer struct {
	Node string
	// Answered is false when the node said nothing in time; Detail then says so.
	Answered bool
	// Obeyed: it is done.
	Obeyed bool
	// Detail is what the node says of it, or why not: printable.
	Detail string
}

// Command sends a signed order to its nodes and returns what they answer, in the order of the
// grant. A node that does not answer within ten seconds is among them. An error means
// that nobody could be told, or that ctx ended.
//
// What comes back over the bus is not signed: it is what the bus says that the node says.
func Command(ctx context.Context, b bus.Control, g *job.Grant, envelope []byte) ([]NodeAnswer, error) {
	if !g.Purpose.IsOrder() {
		return nil, fmt.Errorf("sending an order: the grant is for a %q", g.Purpose)
	}
	err := b.Submit(ctx, envelope, g.Nodes...)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var unsent bus.Unsent
	if err != nil && !errors.As(err, &unsent) {
		return nil, fmt.Errorf("sending an order: %w", err)
	}
	out := make([]NodeAnswer, len(g.Nodes))
	var told []string
	for i, node := range g.Nodes {
		out[i] = NodeAnswer{Node: node, Detail: fmt.Sprintf("it did not answer within %v: whether it is done, kgent executor list shows", checkAnswer)}
		switch err := unsent[node]; {
		case errors.Is(err, bus.ErrUnheard):
			out[i].Detail = fmt.Sprintf("it did not answer within %v, and was maybe not told (%v): whether it is done, kgent executor list shows", checkAnswer, err)
		case err != nil:
			out[i].Detail = fmt.Sprintf("it could not be told: %v", err)
			continue
		}
		told = append(told, node)
	}
	if len(told) == 0 {
		return nil, fmt.Errorf("sending an order: %w", unsent)
	}
	err = collect(ctx, b, g.Run, told, func(c bus.Chunk) {
		if i := slices.Index(g.Nodes, c.Node); i >= 0 && c.Run == g.Run && (c.Final || c.Foreign() != "") {
			out[i].take(c)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for nodes to obey: %w", err)
	}
	return out, nil
}

// take takes what a node says. None of it is trusted to be well formed.
func (n *NodeAnswer) take(c bus.Chunk) {
	if why := c.Foreign(); why != "" {
		n.Answered, n.Detail = true, why
		return
	}
	n.Answered, n.Detail = true, "its answer is not one to an order"
	for line := range strings.Lines(string(c.Lines)) {
		r, err := output.Decode([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			continue
		}
		if s, ok := r.(output.NodeSummary); ok {
			n.Obeyed, n.Detail = s.Reason == output.ReasonObeyed, legible(s.Detail, maxCheckDetail)
		}
	}
}

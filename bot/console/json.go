package console

import (
	"context"
	"io"
	"sync"

	"kgent/agent"
	"kgent/approvals"
	"kgent/bot"
	"kgent/executor/output"
)

// JSON is a channel that prints one record a line, for programs.
type JSON struct {
	out     writer
	approve Approver
}

// NewJSON returns a channel that prints to w. lost is called once when w no
// longer takes output.
func NewJSON(w io.Writer, lost func(error), approve Approver) *JSON {
	return &JSON{out: writer{w: w, lost: lost}, approve: approve.from()}
}

func (j *JSON) record(r output.Record) {
	line, err := output.Encode(r)
	if err != nil {
		line, _ = output.Encode(output.Error{Code: "internal", Message: err.Error()})
	}
	j.out.write(line)
}

// Question asks beside the records.
func (j *JSON) Question(ctx context.Context, q *agent.Question) (string, error) {
	return j.approve.question(ctx, q)
}

func (j *JSON) Stage(s output.Stage)     { j.record(s) }
func (j *JSON) Candidate(c bot.Card)     { j.record(c.Record) } // of a recipe to be kept, too: its origin says so
func (j *JSON) Line(line []byte)         { j.out.write(line) }
func (j *JSON) Error(e output.Error)     { j.record(e) }
func (j *JSON) Summary(s output.Summary) { j.record(s) }

// Decide asks the person at the terminal.
func (j *JSON) Decide(ctx context.Context, c bot.Card, vote func(approvals.Vote) (bool, error)) error {
	return j.approve.decide(ctx, c, vote)
}

// writer remembers its first error and then stays silent: what happens to the
// trace when nobody reads it is decided by lost.
type writer struct {
	w    io.Writer
	lost func(error)
	once sync.Once
	err  error
}

func (w *writer) write(b []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.w.Write(b); err != nil {
		w.err = err
		w.once.Do(func() { w.lost(err) })
	}
}

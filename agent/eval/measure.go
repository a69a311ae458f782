package eval

import (
	"context"
	"errors"
	"fmt"

	"kgent/agent/program"
)

// Result is what came of one request, once.
type Result struct {
	Mode     Mode     `json:"mode"`
	Model    string   `json:"model,omitempty"`
	Case     string   `json:"case"`
	Category Category `json:"category"`
	Hard     bool     `json:"hard,omitempty"`
	Request  int      `json:"request"` // its place in the case, from 0
	Repeat   int      `json:"repeat"`  // from 0
	Text     string   `json:"text"`

	Outcome Outcome `json:"outcome"`
	Verdict string  `json:"verdict,omitempty"`
	Origin  string  `json:"origin,omitempty"`
	Why     string  `json:"why,omitempty"`
	// Pass says that the outcome is right: the accepted program showed what the
	// oracle wants, or a refusal was right.
	Pass bool `json:"pass"`
	// First says that it passed with the first program that was written.
	First bool `json:"first"`
	// FalseAccept says that a program was accepted that the oracle finds wrong, or
	// for a request that is to be refused.
	FalseAccept bool `json:"false_accept,omitempty"`
	// FalseRefusal says that there was no program for a request that has one.
	FalseRefusal bool `json:"false_refusal,omitempty"`
	// Found is what the oracle found, and Seen what it looked at.
	Found []string `json:"found,omitempty"`
	Seen  []string `json:"seen,omitempty"`

	Tries   int     `json:"tries"`
	Calls   int     `json:"calls,omitempty"`
	Tokens  int     `json:"tokens,omitempty"`
	Cost    float64 `json:"cost,omitempty"`
	Seconds float64 `json:"seconds"` // until there was an answer
}

// key names what a result is of.
func (r *Result) key() string {
	return fmt.Sprintf("%s|%s|%s|%d|%d", r.Mode, r.Model, r.Case, r.Request, r.Repeat)
}

// again says that nothing was measured.
func (r *Result) again() bool { return r.Outcome == Faulty }

// Run is a measurement.
type Run struct {
	Bench *Bench
	Mode  Mode
	// Model is its name, for the journal; empty without one.
	Model   string
	Answer  Answerer
	Cases   []*Case
	Repeats int // of every request; at least 1
	// Journal keeps results; what it has already is not measured again.
	Journal *Journal[Result]
	// Acts says why a program would change something, which nobody may approve on
	// a single host; empty when it would not.
	Acts func([]program.Facts) (why string)
	// Progress, if not nil, is told of every result, also of those in the journal.
	Progress func(done, all int, r *Result, again bool)
}

// All measures every request, and returns all results. It ends early, with what
// there is, when ctx does; the journal then has all of them.
func (r *Run) All(ctx context.Context) ([]*Result, error) {
	var out []*Result
	total, done := 0, 0
	for _, c := range r.Cases {
		total += len(c.Requests) * r.Repeats
	}
	for repeat := range r.Repeats {
		for _, c := range r.Cases {
			for i := range c.Requests {
				res := &Result{Mode: r.Mode, Model: r.Model, Case: c.Name, Category: c.Category, Hard: c.Hard, Request: i, Repeat: repeat}
				old, again := r.Journal.have(res.key())
				if again {
					res = old
				} else {
					r.one(ctx, c, res)
					if ctx.Err() != nil {
						return out, context.Cause(ctx)
					}
					if err := r.Journal.add(res); err != nil {
						return out, err
					}
				}
				out = append(out, res)
				done++
				if r.Progress != nil {
					r.Progress(done, total, res, again)
				}
			}
		}
	}
	return out, nil
}

// one asks once, runs what is accepted, and judges.
func (r *Run) one(ctx context.Context, c *Case, res *Result) {
	play, err := c.Prepare(ctx)
	defer play.Close()
	if err == nil {
		res.Text, err = play.Request(res.Request)
	}
	if err != nil {
		res.Outcome, res.Why = Faulty, err.Error()
		return
	}
	a := r.Answer.Answer(ctx, c, res.Text)
	res.Outcome, res.Verdict, res.Origin, res.Why = a.Outcome, a.Verdict, a.Origin, clipTo(a.Why, 2000)
	res.Tries, res.Calls, res.Tokens, res.Cost, res.Seconds = a.Tries, a.Calls, a.Tokens, a.Cost, a.Seconds
	if a.Outcome == Answered && r.Acts != nil {
		facts, err := a.Object.Facts()
		why := "what it does cannot be found out"
		if err == nil {
			why = r.Acts(facts)
		}
		if why != "" {
			res.Outcome, res.Why = NotOffered, why
		}
	}
	r.judge(ctx, c, play, a, res)
	res.First = res.Pass && a.Tries <= 1
}

func (r *Run) judge(ctx context.Context, c *Case, play *Play, a Answer, res *Result) {
	if res.Outcome == Faulty {
		return
	}
	if res.Outcome != Answered {
		res.Pass = c.accepts(res.Outcome)
		res.FalseRefusal = !res.Pass && c.Category != Refusal
		return
	}
	if c.Category == Refusal {
		res.FalseAccept = true
		return
	}
	// The whole run is looked at, not what came since the last interval.
	m := *a.Manifest
	m.View.Interval = 0
	seen, err := r.Bench.Run(ctx, play, a.Object, &m)
	var load *LoadError
	switch {
	case errors.As(err, &load):
		res.FalseAccept, res.Found = true, []string{"it cannot be run: " + err.Error()}
		return
	case err != nil:
		res.Outcome, res.Why = Faulty, err.Error()
		return
	}
	if res.Found, err = Judge(c.Oracle, seen); err != nil {
		res.Outcome, res.Why = Faulty, err.Error()
		return
	}
	res.Pass = len(res.Found) == 0
	res.FalseAccept = !res.Pass
	if !res.Pass {
		res.Seen = show(seen, c)
	}
}

// accepts reports whether an outcome without a program is right. That no program
// passed is as good a refusal as any, where one is right.
func (c *Case) accepts(o Outcome) bool {
	for _, a := range c.Accept {
		if a == o || a == Refused && o == Rejected && c.Category == Refusal {
			return true
		}
	}
	return false
}

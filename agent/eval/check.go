package eval

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Proof is what checking one program of a case brought.
type Proof struct {
	Case    string `json:"case"`
	Program string `json:"program"` // "right", or the wrong one's name
	// OK says that the oracle told right from wrong.
	OK bool `json:"ok"`
	// Wrong is what the oracle found, a sentence each.
	Wrong []string `json:"found,omitempty"`
	// Seen are records of the run, for people: all of the right program's that
	// hold something of the oracle's, or the first ones.
	Seen []string `json:"seen,omitempty"`
	// Fault says that nothing was shown: a workload, the machine, or a program that
	// does not load, be it a wrong one.
	Fault string `json:"fault,omitempty"`
}

// Check proves a case's oracle: its right program must pass and each wrong one
// must fail, really loaded and run. each, if not nil, gets every proof as soon
// as it is made.
func (b *Bench) Check(ctx context.Context, c *Case, each func(Proof)) ([]Proof, error) {
	if c.Category == Refusal {
		return nil, nil
	}
	var out []Proof
	for i := -1; i < len(c.Wrong); i++ {
		p := b.prove(ctx, c, i)
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		out = append(out, p)
		if each != nil {
			each(p)
		}
	}
	return out, nil
}

// prove runs one program; -1 is the right one.
func (b *Bench) prove(ctx context.Context, c *Case, i int) Proof {
	p := Proof{Case: c.Name, Program: "right"}
	if i >= 0 {
		p.Program = c.Wrong[i].Name
	}
	seen, found, err := b.try(ctx, c, i)
	if err != nil {
		p.Fault = err.Error()
		return p
	}
	p.Wrong, p.OK = found, (len(found) == 0) == (i < 0)
	p.Seen = show(seen, c)
	return p
}

func (b *Bench) try(ctx context.Context, c *Case, i int) (seen Seen, found []string, err error) {
	s, err := b.Right(c)
	if i >= 0 {
		s, err = b.Wrong(c, i)
	}
	if err != nil {
		return Seen{}, nil, err
	}
	play, err := c.Prepare(ctx)
	defer play.Close()
	if err != nil {
		return Seen{}, nil, err
	}
	for k := range c.Requests {
		if _, err := play.Request(k); err != nil {
			return Seen{}, nil, fmt.Errorf("request %d: %w", k+1, err)
		}
	}
	o, m, err := b.Build(ctx, s, play.facts)
	if err != nil {
		return Seen{}, nil, err
	}
	if seen, err = b.Run(ctx, play, o, m); err != nil {
		return Seen{}, nil, err
	}
	found, err = Judge(c.Oracle, seen)
	return seen, found, err
}

// shown is how many records a proof quotes.
const shown = 12

// show picks the records that have to do with the case's workloads.
func show(seen Seen, c *Case) []string {
	var about, rest []string
	for _, r := range seen.Rows {
		text := clip(r.String())
		mine := false
		for _, w := range c.Workloads {
			pid := w.ID + ".pid"
			if w.ID == "" {
				pid = "pid"
			}
			mine = mine || strings.Contains(text, w.As) || strings.Contains(text, "="+seen.Facts[pid])
		}
		if mine {
			about = append(about, text)
		} else {
			rest = append(rest, text)
		}
	}
	all := append(about, rest...)
	if len(all) > shown {
		all = append(all[:shown:shown], fmt.Sprintf("… %d more", len(all)-shown))
	}
	return all
}

// ErrUnproven says that an oracle does not tell right from wrong.
var ErrUnproven = errors.New("an oracle does not tell its right program from a wrong one")

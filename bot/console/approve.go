package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"kgent/agent"
	"kgent/approvals"
	"kgent/bot"
)

// Approver asks the person at the terminal for their vote.
type Approver struct {
	Person approvals.Person
	// Yes approves without asking.
	Yes bool
	In  io.Reader
	// Out shows the question; it is not where records are printed.
	Out io.Writer
	// typed are the lines of In, for all questions together.
	typed *typed
}

// typed reads an input once.
type typed struct {
	once  sync.Once
	lines <-chan string
}

// from is the approver with its input begun at the first question.
func (a Approver) from() Approver {
	a.typed = &typed{}
	return a
}

// next returns what is typed next; ok is false at the end.
func (a Approver) next(ctx context.Context) (line string, ok bool, err error) {
	a.typed.once.Do(func() { a.typed.lines = lines(ctx, a.In) })
	select {
	case <-ctx.Done():
		return "", false, context.Cause(ctx)
	case line, ok = <-a.typed.lines:
		if !ok && ctx.Err() != nil {
			return "", false, context.Cause(ctx)
		}
		return line, ok, nil
	}
}

// question asks what was meant.
func (a Approver) question(ctx context.Context, q *agent.Question) (string, error) {
	if a.Yes { // it approves; it does not say what was meant
		return "", ErrNobody
	}
	fmt.Fprintf(a.Out, "\nWhat is meant? %s\n", clean(q.Text))
	for i, o := range q.Options {
		fmt.Fprintf(a.Out, "  %d. %s\n", i+1, clean(o))
	}
	if q.Example != "" {
		fmt.Fprintf(a.Out, "They differ, for example: %s\n", clean(q.Example))
	}
	for {
		fmt.Fprintf(a.Out, "A number, or your own words: ")
		line, ok, err := a.next(ctx)
		if err != nil || !ok {
			fmt.Fprintln(a.Out)
			return "", errors.Join(err, ErrNobody)
		}
		line = strings.TrimSpace(line)
		if n, err := strconv.Atoi(line); err == nil {
			if n >= 1 && n <= len(q.Options) {
				return q.Options[n-1], nil
			}
			continue
		}
		if agent.Readable(line) == nil {
			return line, nil
		}
	}
}

// ErrNobody says that nobody can be asked.
var ErrNobody = errors.New("nobody answered; run it in a terminal, or approve beforehand with --yes")

func (a Approver) decide(ctx context.Context, c bot.Card, vote func(approvals.Vote) (bool, error)) error {
	cast := func(choice approvals.Choice, reason string) (bool, error) {
		return vote(approvals.Vote{By: a.Person, Choice: choice, Reason: reason})
	}
	if a.Yes {
		_, err := cast(approvals.Approve, "")
		return err
	}
	for {
		question := "Run it?"
		if c.Keep != nil {
			question = "Keep it as a recipe?"
		}
		fmt.Fprintf(a.Out, "%s [y]es, [n]o, [s]how the source: ", question)
		line, ok, err := a.next(ctx)
		if err != nil || !ok {
			fmt.Fprintln(a.Out)
			if err == nil {
				err = ErrNobody
			}
			return err
		}
		answer := strings.ToLower(strings.TrimSpace(line))
		choice := approvals.Deny
		switch answer {
		case "y", "yes":
			choice = approvals.Approve
		case "n", "no":
		case "s", "source":
			fmt.Fprintln(a.Out, clean(c.Candidate.Source))
			continue
		default:
			continue
		}
		more, err := cast(choice, "")
		if err != nil || !more {
			return err
		}
	}
}

// lines reads lines until the input or ctx ends. A read cannot be interrupted:
// the goroutine may stay in it until the process ends or input comes.
func lines(ctx context.Context, in io.Reader) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		sc := bufio.NewScanner(in)
		for sc.Scan() {
			select {
			case out <- sc.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

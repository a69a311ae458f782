package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

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
	answers := lines(ctx, a.In)
	for {
		fmt.Fprintf(a.Out, "Run it? [y]es, [n]o, [s]how the source: ")
		var answer string
		select {
		case <-ctx.Done():
			fmt.Fprintln(a.Out)
			return context.Cause(ctx)
		case line, ok := <-answers:
			if !ok {
				fmt.Fprintln(a.Out)
				return ErrNobody
			}
			answer = strings.ToLower(strings.TrimSpace(line))
		}
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

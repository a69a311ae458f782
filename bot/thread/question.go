package thread

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/agent"
	"kgent/approvals"
	"kgent/bot/card"
)

// Posed is a question to who asked for something, because their words can be read in ways
// that lead to different programs.
type Posed struct {
	Text    string   `json:"text"`
	Options []string `json:"options"`
	Example string   `json:"example,omitempty"`
	// Answer is one of Options, or words of one's own; empty while nobody has answered.
	Answer string    `json:"answer,omitempty"`
	By     *Account  `json:"by,omitempty"`
	Until  time.Time `json:"until"`
}

const (
	// answerTime is how long a question waits.
	answerTime = 30 * time.Minute
	// maxAnswer is the longest answer in words of one's own, in bytes.
	maxAnswer = 500
)

// ordinals are the verbs of a question's buttons, by option. What there are more is answered
// in words.
var ordinals = []string{"first", "second", "third", "fourth", "fifth"}

// open is the question that waits for an answer; nil when none does.
func (r Request) open() *Posed {
	if n := len(r.Posed); r.State == Asking && n > 0 && r.Posed[n-1].Answer == "" {
		return &r.Posed[n-1]
	}
	return nil
}

// pose puts a question of the agent's to who asked.
func (c *Conversation) pose(ctx context.Context, r Request, q *agent.Question) error {
	// A plain reply takes the place of a question to others only once there is a program.
	if len(r.Posed) >= agent.MaxAnswers || len(q.Options) < 2 || r.Quiet && r.Parked != nil {
		return c.reject(ctx, r, rejection{"it is not clear what is asked: " + q.Error(), "That can be read in several ways"})
	}
	p := Posed{Text: cut(oneLine(q.Text), maxShown), Example: cut(oneLine(q.Example), maxShown), Until: c.Now().UTC().Round(0).Add(answerTime)}
	for _, o := range q.Options[:min(len(q.Options), len(ordinals))] {
		p.Options = append(p.Options, cut(oneLine(o), 300))
	}
	_, err := c.change(ctx, r.ID, func(now *Request) bool {
		if now.State != Preparing || now.Revision != r.Revision {
			return false
		}
		now.Posed = append(slices.Clone(now.Posed), p)
		now.Steps, now.Nodes, now.Choice, now.Text = r.Steps, r.Nodes, r.Choice, r.Text
		now.State, now.Quiet = Asking, false
		return true
	})
	return err
}

// oneLine takes out what could make a question look like more than one.
func oneLine(s string) string { return strings.Join(strings.Fields(card.Visible(s)), " ") }

// answers are what was replied so far, for the agent.
func (r Request) answers() []agent.Reply {
	var out []agent.Reply
	for _, p := range r.Posed {
		if p.Answer != "" {
			out = append(out, agent.Reply{Question: p.Text, Answer: p.Answer})
		}
	}
	return out
}

// mayAnswer reports whether somebody may say what a request means: who made it, from
// whichever account.
func (r Request) mayAnswer(p approvals.Person) bool {
	return p.Account == r.By.String() || p.Account == r.Author.String() || p.ID != "" && (p.ID == r.Person || p.ID == r.AuthorPerson)
}

// chosen handles a press of one of a question's buttons.
func (c *Conversation) chosen(ctx context.Context, e Event, p approvals.Person, r Request) error {
	i := slices.Index(ordinals, e.Verb)
	open := r.open()
	if open == nil || e.ID != questionID(r, len(r.Posed)-1) || i < 0 || i >= len(open.Options) {
		return c.refused(ctx, e, answeredAlready(r))
	}
	return c.settleQuestion(ctx, e, p, r.ID, len(r.Posed)-1, open.Options[i])
}

// replyTo takes words for the answer to a question. A number is that option.
func (c *Conversation) replyTo(ctx context.Context, e Event, p approvals.Person, r Request) error {
	open := r.open()
	if open == nil {
		return c.refused(ctx, e, answeredAlready(r))
	}
	said := strings.TrimSpace(e.Text)
	if n, err := strconv.Atoi(strings.Trim(said, " .()")); err == nil && n >= 1 && n <= len(open.Options) {
		said = open.Options[n-1]
	}
	if len(said) > maxAnswer {
		return c.refused(ctx, e, refuse("the answer is longer than %d bytes; say it in a sentence", maxAnswer))
	}
	return c.settleQuestion(ctx, e, p, r.ID, len(r.Posed)-1, said)
}

// settleQuestion takes an answer, once, and goes on with the request.
func (c *Conversation) settleQuestion(ctx context.Context, e Event, p approvals.Person, id string, number int, said string) error {
	var say error
	_, err := c.change(ctx, id, func(r *Request) bool {
		say = nil
		open := r.open()
		switch {
		case slices.Contains(r.Handled, e.Key):
			return false
		case open == nil || len(r.Posed)-1 != number:
			say = answeredAlready(*r)
			return false
		case !c.Now().Before(open.Until):
			say = refuse("the question waited until %s and is over; ask again", open.Until.UTC().Format("15:04 UTC"))
			return false
		case !r.mayAnswer(p):
			say = refuse("only %s, who asked, can say what was meant", called(r.By))
			return false
		}
		r.once(e)
		by := r.named(e.By)
		r.Posed = slices.Clone(r.Posed)
		r.Posed[number].Answer, r.Posed[number].By = said, &by
		r.State, r.Steps = Preparing, nil
		return true
	})
	if say != nil {
		return c.refused(ctx, e, say)
	}
	return err
}

// answeredAlready says why a question is not open.
func answeredAlready(r Request) error {
	if n := len(r.Posed); n > 0 && r.Posed[n-1].By != nil {
		return refuse("%s has answered this already: %s", called(*r.Posed[n-1].By), r.Posed[n-1].Answer)
	}
	return stale(r)
}

// withdraw ends a request whose question its author does not want to answer.
func (c *Conversation) withdraw(ctx context.Context, e Event, p approvals.Person, r Request) error {
	var say error
	_, err := c.change(ctx, r.ID, func(r *Request) bool {
		switch {
		case r.open() == nil:
			say = answeredAlready(*r)
			return false
		case !r.mayAnswer(p):
			say = refuse("only %s, who asked, can take it back", called(r.By))
			return false
		case !r.once(e):
			return false
		}
		r.State, r.Outcome, r.EndedAt = Ended, Cancelled, c.Now().UTC().Round(0)
		r.Detail = "taken back by " + called(r.named(e.By))
		return true
	})
	if say != nil {
		return c.refused(ctx, e, say)
	}
	return err
}

// unanswered ends a request whose question waited too long.
func (c *Conversation) unanswered(ctx context.Context, r Request) error {
	_, err := c.change(ctx, r.ID, func(r *Request) bool {
		open := r.open()
		if open == nil || c.Now().Before(open.Until) {
			return false
		}
		r.State, r.Outcome, r.EndedAt = Ended, Expired, c.Now().UTC().Round(0)
		r.Detail = "nobody answered what was meant in time"
		return true
	})
	return err
}

// questionID is what a question's buttons carry.
func questionID(r Request, i int) string { return revisionOf(r) + "-q" + strconv.Itoa(i) }

// questionMessages show a request's questions, with buttons on the open one.
func questionMessages(r Request) []Message {
	var out []Message
	for i, p := range r.Posed {
		what := card.Card{Title: "What is meant?", Tone: card.Asking, Blocks: []card.Block{card.Text{Body: p.Text, Quoted: true}}}
		var options []string
		for n, o := range p.Options {
			options = append(options, fmt.Sprintf("%d. %s", n+1, o))
		}
		what.Blocks = append(what.Blocks, card.List{Heading: "It can be read in these ways", Items: options})
		if p.Example != "" {
			what.Blocks = append(what.Blocks, card.Text{Body: "They differ, for example: " + p.Example})
		}
		open := i == len(r.Posed)-1 && r.open() != nil
		switch {
		case open:
			what.Blocks = append(what.Blocks, card.Fields{{Label: "Waits for", Text: called(r.By)}, {Label: "Until", Text: p.Until.UTC().Format("15:04 UTC"), At: p.Until}},
				card.Note{Body: "Press one, or answer in your own words" + inThread(r.Place) + ". Nothing runs before its approval, whatever the answer is."})
			id := questionID(r, i)
			for n, o := range p.Options {
				what.Buttons = append(what.Buttons, card.Button{Verb: ordinals[n], ID: id, Label: cut(fmt.Sprintf("%d. %s", n+1, o), 60)})
			}
			what.Buttons = append(what.Buttons, card.Button{Verb: verbCancel, ID: id, Label: "Take back"})
		case p.By != nil:
			what.Tone = card.Good
			what.Blocks = append(what.Blocks, card.Text{Body: called(*p.By) + " answered:"}, card.Text{Body: cut(p.Answer, maxShown), Quoted: true})
		default:
			what.Tone = card.Plain
			what.Blocks = append(what.Blocks, card.Note{Body: sentence(strings.TrimSuffix(orElse(r.Detail, "it was not answered"), ".")) + ". Nothing was run."})
		}
		out = append(out, r.message("ask:"+revisionOf(r)+":"+strconv.Itoa(i), Urgent, what))
	}
	return out
}

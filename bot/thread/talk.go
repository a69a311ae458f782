package thread

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kgent/agent"
	"kgent/agent/contract"
	"kgent/agent/missed"
	"kgent/agent/program"
	"kgent/approvals"
	"kgent/bot/card"
	"kgent/executor/bus"
	"kgent/executor/job"
)

// What people ask about what stands in the thread. Each is anchored to "it", "this", "the
// program": "why were connections refused" is a request, "why was it refused" is not.
var (
	asksWhat = regexp.MustCompile(`(?i)^\s*(?:please\s+|can you\s+|ok(?:ay)?,?\s+)*(?:explain(?:\s+(?:it|this|that|me this|(?:this|that|the|my)\s+(?:program|code|script|one)))?|what\s+(?:does|would|will)\s+(?:it|this|that|(?:this|that|the|my)\s+(?:program|code|script|one|file))\s+do(?:\s+exactly)?|what\s+(?:is|are)\s+(?:it|this|that)(?:\s+(?:program|code|script))?(?:\s+(?:doing|for))?)\s*[?.!]*\s*$`)
	asksWhy  = regexp.MustCompile(`(?i)^\s*(?:but\s+|and\s+|so\s+)?why\s+(?:(?:was|is|were|did)\s+(?:it|this|that|(?:this|that|the|my|the last)\s+(?:program|code|one|request))\s+(?:get\s+)?(?:refused|rejected|not\s+accepted|turned\s+down|fail(?:ed)?|not\s+pass(?:ed)?)|refused|rejected|not|no program)\s*[?.!]*\s*$`)
	asksMiss = regexp.MustCompile(`(?is)^\s*(?:but\s+|and\s+|so\s+)?why\s+(?:(?:did|does|do|has|have)\s+(?:it|this|that|the trace|the program|we|i|you|kgent)\s+(?:miss|not\s+(?:show|see|catch|report|list|contain|have|get|include)|leave\s+out|overlook)\s+|(?:didn'?t|doesn'?t|don'?t|hasn'?t)\s+(?:it|this|that|the trace|the program|we|i|you|kgent)\s+(?:show|see|catch|report|list|contain|have|get|include)\s+)(.+?)\s*[?.!]*\s*$`)
	missing  = regexp.MustCompile(`(?is)^\s*(?:but\s+|and\s+|so\s+)?why\s+(?:is|was|are|were)\s+(.+?)\s+(?:missing|missed|not\s+(?:shown|seen|in\s+(?:it|there|the\s+(?:list|output|result)))|left\s+out)\s*[?.!]*\s*$`)
)

// missedThing is what somebody says was missed, or "".
func missedThing(text string) string {
	for _, re := range []*regexp.Regexp{asksMiss, missing} {
		if m := re.FindStringSubmatch(text); m != nil {
			return m[1]
		}
	}
	return ""
}

// answered answers what is asked about the thread itself, from what is stored of it. It
// reports false when the words are something else.
func (c *Conversation) answered(ctx context.Context, e Event, text string) (bool, error) {
	why, thing := asksWhy.MatchString(text), missedThing(text)
	if !why && thing == "" {
		return false, nil
	}
	all, err := c.requests(ctx, e.Place)
	if err != nil || len(all) == 0 {
		return false, err
	}
	if err := c.known(ctx, e); err != nil {
		return true, c.refuseOr(ctx, e, err)
	}
	slices.Reverse(all)
	if why {
		i := slices.IndexFunc(all, func(r Request) bool { return r.Outcome == Rejected || r.Outcome == Denied })
		if i < 0 {
			return false, nil
		}
		return true, c.tell(ctx, e, all[i], whyRefused(all[i]))
	}
	i := slices.IndexFunc(all, func(r Request) bool { return r.Case != "" && !r.Explain && r.Keep == nil })
	if i < 0 {
		return false, nil
	}
	what, err := c.whyMissed(ctx, all[i], thing)
	if err != nil {
		return true, err
	}
	return true, c.tell(ctx, e, all[i], what)
}

// tell answers in the thread of a request, once for an event.
func (c *Conversation) tell(ctx context.Context, e Event, r Request, what card.Card) error {
	return c.Store.Put(ctx, Message{Key: "a:" + hash(e.Key), Place: r.Place, Under: r.Root, Card: what, Class: Result})
}

// whyRefused says which gate refused the last program, with what input, in the gates' words.
func whyRefused(r Request) card.Card {
	what := card.Card{Title: "Why it was refused", Blocks: []card.Block{card.Text{Body: cut(r.Text, maxShown), Quoted: true}}}
	switch {
	case r.Outcome == Denied:
		what.Blocks = append(what.Blocks, card.Text{Body: orElse(r.denial(), "It was denied.")}, card.Note{Body: "People decided this; no check failed."})
	case r.Refusal == nil:
		what.Blocks = append(what.Blocks, card.Text{Body: sentence(cut(r.Detail, 1500))}, card.Note{Body: "There was no program that a check could have refused."})
	default:
		lines := r.Refusal.Words()
		what.Blocks = append(what.Blocks, card.Text{Body: lines[0]}, card.Text{Body: cut(strings.Join(lines[1:], "\n"), 2500)},
			card.Note{Body: "What was refused is not offered to anybody. Nothing was run."})
	}
	return what
}

// whyMissed says what the contract of a request leaves out, and what was lost.
func (c *Conversation) whyMissed(ctx context.Context, r Request, thing string) (card.Card, error) {
	what := card.Card{Title: "Why it may have missed that", Blocks: []card.Block{card.Text{Body: cut(thing, 200), Quoted: true}}}
	say := func(s string) { what.Blocks = append(what.Blocks, card.Text{Body: cut(s, 1800)}) }
	p, err := c.Desk.Program(ctx, r.Case)
	if err != nil && !errors.Is(err, approvals.ErrNotFound) && !errors.Is(err, approvals.ErrSwapped) {
		return what, err
	}
	switch k, values := contractOf(p); {
	case err != nil:
		say("The program is no longer stored, so its contract cannot be asked.")
	case k == nil:
		say("It has no contract, so nothing can be said about what it leaves out: nobody has shown what it does.")
	default:
		a := missed.Why(k, values, thing)
		switch {
		case a.All:
			say("By its contract it does not show that:\n" + strings.Join(a.Excludes[:min(len(a.Excludes), 6)], "\n") + "\nSay what it should be instead, for example “only " + cut(thing, 60) + "”.")
		case len(a.Excludes) > 0:
			say("Some of what it looks at leaves that out:\n" + strings.Join(a.Excludes[:min(len(a.Excludes), 6)], "\n"))
		case len(a.Spoken) > 0:
			say("By its contract it shows that: no condition leaves out " + strings.Join(a.Spoken, ", ") + ", as far as can be told.")
		case len(a.Read) > 0:
			s := "That cannot be told from its contract: no condition speaks of " + strings.Join(a.Read, ", ") + "."
			if words := card.Contract(r.Card.Contract, 900); words != "" {
				s += " Other conditions may still leave it out:\n" + words
			}
			say(s)
		default:
			say("kgent cannot tell: it did not understand what was missed. Name a port, an address, a process, a user, an error or a signal.")
		}
	}
	what.Blocks = append(what.Blocks, card.List{Heading: "What the run itself could miss", Items: lossWords(r)})
	return what, nil
}

// lossWords say when and where a request looked, and what was lost on the way.
func lossWords(r Request) []string {
	if r.Summary == nil {
		if r.Started.IsZero() {
			return []string{"it has not run yet"}
		}
		return []string{"it has not ended, or nobody knows how it ended: what was lost is said at its end"}
	}
	s := r.Summary
	out := []string{fmt.Sprintf("it looked from %s to %s on %s: what happened before, after or elsewhere is not in it",
		r.Started.UTC().Format("15:04:05"), r.EndedAt.UTC().Format("15:04:05 UTC"), cut(strings.Join(r.Card.Nodes, ", "), 200))}
	lost := s.KernelLost + s.Dropped + s.BusTrimmed
	if lost == 0 {
		out = append(out, fmt.Sprintf("nothing was lost: all %d events that it produced arrived", s.Delivered))
	} else {
		out = append(out, fmt.Sprintf("%d of %d events were lost (%d in the kernel, %d over the rate limit, %d on the way): it may be among them", lost, s.Produced, s.KernelLost, s.Dropped, s.BusTrimmed))
	}
	if r.Outcome == Partial || r.Outcome == FailedAll || r.cutShort() {
		out = append(out, "not every node ran it to its end: "+cut(r.Detail, 300))
	}
	return out
}

// contractOf is a program's contract, with the values that its parameters are set to; nil
// when it has none.
func contractOf(p job.Program) (*contract.Contract, map[string]string) {
	if len(p.Contract) == 0 {
		return nil, nil
	}
	k, err := contract.Parse(string(p.Contract))
	if err != nil {
		return nil, nil
	}
	values := map[string]string{}
	if m, err := program.DecodeManifest(p.Manifest); err == nil {
		for _, x := range m.Constants {
			values[x.Name] = x.Value
		}
	}
	return k, values
}

// explainLast begins to explain the program of the thread's newest request.
func (c *Conversation) explainLast(ctx context.Context, e Event) (bool, error) {
	all, err := c.requests(ctx, e.Place)
	if err != nil {
		return false, err
	}
	slices.Reverse(all)
	i := slices.IndexFunc(all, func(r Request) bool { return r.Source != "" || r.Program != nil })
	if i < 0 {
		return false, nil
	}
	last := all[i]
	b := last.Program
	if b == nil {
		b = &agent.Brought{Name: fileName(last.Card.Name) + ".bpf.c", Source: last.Source}
	}
	if b.Contract == "" && last.Case != "" {
		if p, err := c.Desk.Program(ctx, last.Case); err == nil {
			with := *b
			with.Contract = string(p.Contract)
			b = &with
		}
	}
	return true, c.beginExplaining(ctx, e, b)
}

// beginExplaining makes a request that ends in an explanation.
func (c *Conversation) beginExplaining(ctx context.Context, e Event, b *agent.Brought) error {
	p, err := c.mayAsk(ctx, e)
	if err != nil {
		return c.refuseOr(ctx, e, err)
	}
	text := e.Text
	if strings.TrimSpace(text) == "" || agent.Readable(text) != nil {
		text = "What does this program do?"
	}
	return c.create(ctx, e, Request{
		ID: hash("request " + e.Key), Place: e.Place, By: e.By, Person: p.ID, Author: e.By, AuthorPerson: p.ID, Reply: e.Reply,
		Text: text, Program: b, Explain: true, State: Preparing, Revision: 1, Opened: c.Now().UTC().Round(0),
	})
}

// explain has a program explained, and ends the request with it.
func (c *Conversation) explain(ctx context.Context, r Request) error {
	known, lost, err := c.nodes(ctx)
	if err != nil {
		return fmt.Errorf("asking for the nodes: %w", err)
	}
	req, _, names, err := c.aim(&r, known, lost)
	if err != nil { // any kernel will do
		if len(known) == 0 {
			return c.reject(ctx, r, rejection{"no node answers, and what a program does is said for a node's kernel", "Which nodes?"})
		}
		names = []string{known[0].Name}
	}
	infos := slices.DeleteFunc(slices.Clone(known), func(n bus.NodeInfo) bool { return !slices.Contains(names, n.Name) })
	req.Program = r.Program
	show := c.progress(ctx, r)
	said, err := c.Maker.Explain(ctx, req, infos, show.step)
	r.Steps = show.close()
	if err = prepared(err); err != nil {
		if reject, ok := errors.AsType[*rejection](err); ok {
			return c.reject(ctx, r, *reject)
		}
		if ctx.Err() == nil {
			c.Log.Error("explaining", "request", r.ID, "err", err)
			return c.reject(ctx, r, rejection{"a fault of kgent kept it from being explained: " + err.Error(), "That did not work"})
		}
		return err
	}
	_, err = c.change(ctx, r.ID, func(now *Request) bool {
		if now.State != Preparing {
			return false
		}
		now.Steps, now.Said = r.Steps, &said
		now.State, now.Outcome, now.EndedAt = Ended, Explained, c.Now().UTC().Round(0)
		return true
	})
	return err
}

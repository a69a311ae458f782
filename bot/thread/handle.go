package thread

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/agent"
	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/bot/card"
	"kgent/bot/target"
	"kgent/executor/job"
	"kgent/executor/output"
)

// Verbs of buttons and forms.
const (
	verbApprove = "approve"
	verbDeny    = "deny"  // opens a form for the reason
	verbGlass   = "glass" // opens a form for the reason
	verbEdit    = "edit"
	verbRefine  = "refine"
	verbSource  = "source"
	verbCancel  = "cancel"
	verbStop    = "stop"
	verbAgain   = "again"
	verbDry     = "dry"  // the same, but it only counts what it would change
	verbReal    = "real" // the contrary
	verbSave    = "save"
	verbKeep    = "keep" // opens a form for name and phrasings
)

// idOf is what the buttons of a revision carry: nothing but a name. It is made
// of the digest, too: a click that is kept and handed in again, after the
// request was made anew, agrees to what was on the card that was clicked on
// or to nothing.
func idOf(r Request) string {
	id := revisionOf(r)
	if r.Card.Digest != "" {
		id += "-" + r.Card.Digest[:min(16, len(r.Card.Digest))]
	}
	return id
}

// revisionOf names a revision of a request.
func revisionOf(r Request) string { return r.ID + "-" + strconv.Itoa(r.Revision) }

// requestOf returns the request that a button's id names.
func requestOf(id string) string {
	name, _, _ := strings.Cut(id, "-")
	return name
}

// handle does what an event asks for. It may be called again with the same
// event, and then changes nothing further. An error means that it is to be
// tried again; what a person must know is said to them.
func (c *Conversation) handle(ctx context.Context, e Event) error {
	switch e.Kind {
	case Ask:
		return c.asked(ctx, e)
	case Reply:
		return c.replied(ctx, e)
	case Click, Submit:
		return c.pressed(ctx, e)
	case Home:
		return c.opened(ctx, e)
	case Failed:
		return c.undelivered(ctx, e)
	}
	return fmt.Errorf("event of kind %q", e.Kind)
}

// asked handles words that were addressed to kgent.
func (c *Conversation) asked(ctx context.Context, e Event) error {
	if len(e.Files) == 0 {
		if done, err := c.commanded(ctx, e); done {
			return err
		}
	}
	words, b, done, err := c.talked(ctx, e)
	if done || err != nil {
		return err
	}
	e.Text = words
	p, err := c.mayAsk(ctx, e)
	if err != nil {
		return c.refuseOr(ctx, e, err)
	}
	if err := agent.Readable(e.Text); err != nil {
		return c.refused(ctx, e, err)
	}
	return c.begin(ctx, e, p, b)
}

// talked finds a program in what was said, and answers what is asked about it or about what
// stands in the thread. done is false when the words are a request, with or without a program.
func (c *Conversation) talked(ctx context.Context, e Event) (words string, b *agent.Brought, done bool, err error) {
	words = e.Text
	if len(e.Files) > 0 || strings.Contains(e.Text, "```") {
		if err := c.known(ctx, e); err != nil { // nothing is read for strangers
			return words, nil, true, c.refuseOr(ctx, e, err)
		}
		if words, b, err = c.brought(ctx, e); err != nil {
			return words, nil, true, c.refuseOr(ctx, e, err)
		}
	}
	e.Text = words
	what := asksWhat.MatchString(words)
	switch {
	case b != nil && (what || words == ""):
		return words, b, true, c.beginExplaining(ctx, e, b)
	case b == nil && what:
		done, err = c.explainLast(ctx, e)
	case b == nil:
		done, err = c.answered(ctx, e, words)
	}
	return words, b, done, err
}

// commanded handles words that are a command, and reports whether they were.
func (c *Conversation) commanded(ctx context.Context, e Event) (bool, error) {
	switch word := strings.ToLower(strings.Trim(e.Text, " \t\n.!?")); word {
	case "", "help", "hello", "hi":
		return true, c.whisper(ctx, e, c.helpCard(e.Place))
	case "list", "status", "runs":
		return true, c.opened(ctx, e)
	case "nodes", "recipes":
		// Which nodes there are is nobody else's business.
		if err := c.known(ctx, e); err != nil {
			return true, c.refuseOr(ctx, e, err)
		}
		if word == "nodes" {
			return true, c.answer(ctx, e, c.nodesCard(ctx, columns(e.Place)))
		}
		return true, c.answer(ctx, e, c.withTeam(ctx, c.recipesCard(columns(e.Place))))
	case "stop":
		return true, c.stopThread(ctx, e)
	}
	if m := forgets.FindStringSubmatch(e.Text); m != nil {
		return true, c.forget(ctx, e, m[1])
	}
	return false, nil
}

// known makes sure that an account is a person's of the organisation.
func (c *Conversation) known(ctx context.Context, e Event) error {
	p, err := c.person(ctx, e)
	if err != nil {
		return err
	}
	return c.Policy.MayStop(p) // what everybody of the organisation may
}

// refuseOr tells a refusal to the person and the audit log, and passes other
// errors on.
func (c *Conversation) refuseOr(ctx context.Context, e Event, err error) error {
	var refused *approvals.RefusedError
	if errors.As(err, &refused) {
		if err := c.Desk.Refused(ctx, c.speaker(e), refused); err != nil {
			return err
		}
		return c.refused(ctx, e, err)
	}
	return err
}

func (c *Conversation) mayAsk(ctx context.Context, e Event) (approvals.Person, error) {
	p, err := c.person(ctx, e)
	if err != nil {
		return p, err
	}
	return p, c.Policy.MayRequest(ctx, p, hash("request "+e.Key))
}

// replied handles words in a thread that were not addressed to anybody. Only
// those count that come from somebody who asked in this thread: others talk to
// each other there.
func (c *Conversation) replied(ctx context.Context, e Event) error {
	if e.Place.Thread == "" {
		return nil
	}
	requests, err := c.requests(ctx, e.Place)
	if err != nil || len(requests) == 0 {
		return err
	}
	mine := slices.ContainsFunc(requests, func(r Request) bool { return r.By.String() == e.By.String() || r.Author.String() == e.By.String() })
	if strings.ToLower(strings.Trim(e.Text, " \t\n.!")) == "stop" {
		return c.stopThread(ctx, e)
	}
	if !mine {
		return nil
	}
	words, b, done, err := c.talked(ctx, e)
	if done || err != nil {
		return err
	}
	e.Text = words
	if agent.Readable(e.Text) != nil {
		return nil
	}
	p, err := c.mayAsk(ctx, e)
	if err != nil {
		return c.refuseOr(ctx, e, err)
	}
	return c.begin(ctx, e, p, b)
}

// begin makes a request of an event's words, or the next revision of one that
// is still undecided in the same thread.
func (c *Conversation) begin(ctx context.Context, e Event, p approvals.Person, b *agent.Brought) error {
	last, err := c.latest(ctx, e.Place)
	if err != nil {
		return err
	}
	if last != nil && (last.State == Preparing || last.State == Pending) && e.Place.Thread != "" {
		return c.revise(ctx, e, p, last.ID, func(r *Request) error {
			r.Before, r.Text, r.Change, r.Edits = recent(r.words()), e.Text, nil, nil
			r.Program = b
			return nil
		})
	}
	if last != nil && last.State == Asking && b == nil && last.mayAnswer(p) {
		return c.replyTo(ctx, e, p, *last)
	}
	r := Request{
		ID: hash("request " + e.Key), Place: e.Place, By: e.By, Person: p.ID, Author: e.By, AuthorPerson: p.ID, Quiet: e.Kind == Reply, Reply: e.Reply,
		Text: e.Text, Program: b, State: Preparing, Revision: 1, Opened: c.Now().UTC().Round(0),
	}
	if last != nil {
		r.Follows = last.ID
		// The nodes may have been changed since they were named in words.
		r.Before, r.Nodes, r.Choice = recent(last.words()), last.Nodes, last.Choice
	}
	if n := e.Fields["nodes"]; n != "" {
		r.Nodes, r.Choice = n, ""
	}
	return c.create(ctx, e, r)
}

// create stores a new request. One that exists was stored by an earlier
// delivery of the event.
func (c *Conversation) create(ctx context.Context, e Event, r Request) error {
	r.once(e)
	var more []Message
	if e.Rootless {
		r.Root = "root:" + r.ID
		more = append(more, c.rootMessage(r))
	}
	_, err := c.Store.Update(ctx, r, append(more, c.show(r)...)...)
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

func recent(words []string) []string {
	return slices.Clone(words[max(0, len(words)-keptWords):])
}

// requests returns the requests of a thread, oldest first. The store's lists
// carry no seal, so what they say is held against the requests themselves:
// words in one thread must not go to another's request.
func (c *Conversation) requests(ctx context.Context, p Place) ([]Request, error) {
	ids, err := c.Store.In(ctx, p)
	if err != nil {
		return nil, err
	}
	var out []Request
	for _, id := range ids {
		r, err := c.Store.Load(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case errors.Is(err, ErrSeal): // it must not be in the way of the others
			c.Log.Warn("leaving out a request", "request", id, "err", err)
			continue
		case err != nil:
			return nil, err
		}
		at := r.Place
		if r.Root != "" {
			at.Thread = p.Thread // it hangs from a message that was posted later
		}
		if at == p {
			out = append(out, r)
		}
	}
	return out, nil
}

// latest returns the newest request of a thread, or nil.
func (c *Conversation) latest(ctx context.Context, p Place) (*Request, error) {
	all, err := c.requests(ctx, p)
	all = slices.DeleteFunc(all, func(r Request) bool { return r.Explain || r.Keep != nil })
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[len(all)-1], nil
}

// revise makes the next revision of an undecided request. Its votes are void
// from here on: they were for something else.
func (c *Conversation) revise(ctx context.Context, e Event, p approvals.Person, id string, how func(r *Request) error) error {
	var say error
	_, err := c.change(ctx, id, func(r *Request) bool {
		say = nil
		if !r.once(e) {
			return false
		}
		if r.State != Preparing && r.State != Pending {
			say = stale(*r)
			return false
		}
		if say = how(r); say != nil {
			return false
		}
		if e.Kind != Reply {
			r.Parked = nil
		}
		if r.State == Pending {
			if e.Kind == Reply { // nobody said that it was meant for kgent
				parked := *r
				parked.Handled = nil
				r.Parked = &parked
			}
			r.Old = append(r.Old, Old{Revision: r.Revision, Digest: r.Card.Digest, Copies: r.Copies})
		}
		if was := author(*r); !slices.ContainsFunc(r.Authors, func(a approvals.Person) bool { return a.Account == was.Account }) {
			r.Authors = append(slices.Clone(r.Authors), was)
		}
		r.Revision++
		r.State, r.Author, r.AuthorPerson, r.Quiet = Preparing, r.named(e.By), p.ID, e.Kind == Reply
		r.Steps, r.Votes, r.Copies, r.Refusal, r.Posed = nil, nil, nil, nil, nil
		return true
	})
	if say != nil {
		return c.refused(ctx, e, say)
	}
	return err
}

// author returns who made the present revision.
func author(r Request) approvals.Person {
	return approvals.Person{ID: r.AuthorPerson, Account: r.Author.String(), Surface: r.Author.Surface, Place: channelOf(r.Place), Human: true}
}

// stale says why a request is not open to change or votes any more.
func stale(r Request) error {
	switch r.State {
	case Preparing:
		return refuse("the program is being made again, so there is nothing to decide yet; wait for the new card")
	case Asking:
		return refuse("first %s has to say what was meant", called(r.By))
	case Pending:
		return refuse("this card is out of date: revision %d is the newest; use its buttons", r.Revision)
	case Approved:
		return refuse("this is approved already and about to start; say “stop” in the thread, or ask for something else")
	case Running:
		return refuse("this is approved already and has started; stop it, or ask for something else")
	}
	why := "this is over: " + string(r.Outcome)
	if by := decider(r); by != "" {
		why += " by " + by
	}
	if !r.EndedAt.IsZero() {
		why += " at " + r.EndedAt.UTC().Format("15:04:05 UTC")
	}
	if r.Detail != "" {
		why += " (" + r.Detail + ")"
	}
	return refuse("%s", why)
}

func refuse(format string, args ...any) error {
	return &approvals.RefusedError{Rule: approvals.RuleChoice, Reason: fmt.Sprintf(format, args...)}
}

// decider names whose vote decided a request, if somebody's did.
func decider(r Request) string {
	if len(r.Votes) == 0 {
		return ""
	}
	return r.name(r.Votes[len(r.Votes)-1].By)
}

// name is what a person is called.
func (r Request) name(p approvals.Person) string {
	if n := r.Names[p.Account]; n != "" {
		return n
	}
	return p.ID
}

// pressed handles buttons and forms.
func (c *Conversation) pressed(ctx context.Context, e Event) error {
	r, err := c.Store.Load(ctx, requestOf(e.ID))
	if errors.Is(err, ErrNotFound) {
		return c.refused(ctx, e, refuse("kgent knows nothing of this any more; ask again"))
	}
	if err != nil {
		return err
	}
	if slices.Contains(r.Handled, e.Key) {
		return nil // delivered again, and done before
	}
	switch e.Verb {
	case verbStop:
		return c.stop(ctx, e, r)
	case verbSource:
		return c.source(ctx, e, r)
	}
	p, err := c.person(ctx, e)
	if err != nil {
		return c.refuseOr(ctx, e, err)
	}
	if slices.Contains(ordinals, e.Verb) {
		return c.chosen(ctx, e, p, r)
	}
	if e.Verb == verbCancel && r.State == Asking {
		return c.withdraw(ctx, e, p, r)
	}
	switch e.Verb {
	case verbApprove:
		return c.vote(ctx, e, r, approvals.Vote{By: p, Choice: approvals.Approve})
	case verbCancel:
		return c.vote(ctx, e, r, approvals.Vote{By: p, Choice: approvals.Cancel})
	case verbDeny:
		return c.vote(ctx, e, r, approvals.Vote{By: p, Choice: approvals.Deny, Reason: e.Fields["reason"]})
	case verbGlass:
		return c.vote(ctx, e, r, approvals.Vote{By: p, Choice: approvals.BreakGlass, Reason: e.Fields["reason"]})
	}
	if err := c.Policy.MayRequest(ctx, p, hash("request "+e.Key)); err != nil {
		return c.refuseOr(ctx, e, err)
	}
	switch e.Verb {
	case verbEdit:
		return c.edit(ctx, e, p, r)
	case verbDry, verbReal:
		return c.dryOrReal(ctx, e, p, r)
	case verbRefine:
		return c.refine(ctx, e, p, r)
	case verbAgain:
		return c.again(ctx, e, p, r)
	case verbSave:
		return c.save(ctx, e, r)
	case verbKeep:
		return c.keepAs(ctx, e, p, r)
	}
	return c.refused(ctx, e, refuse("kgent does not know what to do with %q; it may be from an older release", e.Verb))
}

func channelOf(p Place) string {
	p.Thread = ""
	return p.String()
}

// voteKept is how long a vote counts after it was cast: less than nodes
// remember grants, so that nothing that somebody said once is good for a second
// run.
const voteKept = 10 * time.Minute

// vote hands an answer to the desk and shows what became of it.
func (c *Conversation) vote(ctx context.Context, e Event, r Request, v approvals.Vote) error {
	if r.State != Pending || idOf(r) != e.ID {
		return c.refused(ctx, e, stale(r))
	}
	if late := c.Now().Sub(e.At); late > voteKept {
		return c.refused(ctx, e, refuse("what you said arrived here %v later, so it does not count; press again, and if that does not help, see that the clock of kgent's host is right", late.Round(time.Minute)))
	}
	cs, err := c.Desk.Decide(ctx, r.Case, v)
	var refused *approvals.RefusedError
	var late *approvals.StaleError
	switch {
	case err == nil:
	case errors.As(err, &late):
		// Somebody else was faster, or time was.
		if cs, gone := c.Desk.Get(ctx, r.Case); gone == nil {
			if err := c.catchUp(ctx, r.ID, r.Revision, cs); err != nil {
				return err
			}
		}
		return c.refused(ctx, e, err)
	case errors.As(err, &refused):
		// Perhaps this is the second delivery of a vote that was counted.
		if cs, gone := c.Desk.Get(ctx, r.Case); gone == nil {
			if err := c.record(ctx, e, r, cs); err != nil {
				return err
			}
		}
		return c.refused(ctx, e, err)
	case errors.Is(err, approvals.ErrNotFound):
		return c.refused(ctx, e, err)
	default:
		return err
	}
	return c.record(ctx, e, r, cs)
}

// record shows a case's votes on the request's card.
func (c *Conversation) record(ctx context.Context, e Event, r Request, cs approvals.Case) error {
	revision := r.Revision
	_, err := c.change(ctx, r.ID, func(r *Request) bool {
		if r.State != Pending || r.Revision != revision {
			return false
		}
		r.once(e)
		r.follow(cs)
		return true
	})
	return err
}

// stop stops a run. It takes no approval, and looks nobody up.
func (c *Conversation) stop(ctx context.Context, e Event, r Request) error {
	if err := c.Policy.MayStop(c.speaker(e)); err != nil {
		return c.refuseOr(ctx, e, err)
	}
	switch {
	case r.Grant != nil && r.State == Running:
		if err := c.Runner.Stop(ctx, r.Grant.Run); err != nil {
			return err
		}
	case r.State == Approved:
		// It has not started: it will not.
	case r.wasStopped() && r.StopBy == nil:
		// It ended between the click and now, by that click.
	default:
		return c.refused(ctx, e, refuse("there is nothing to stop: %s", stateWords(r)))
	}
	first := false
	now, err := c.change(ctx, r.ID, func(r *Request) bool {
		if first = (r.State == Running || r.State == Approved || r.wasStopped()) && r.StopBy == nil && r.once(e); !first {
			return false
		}
		by := r.named(e.By)
		r.StopBy = &by
		return true
	})
	if err == nil && first {
		who := c.speaker(e)
		c.note(ctx, now, audit.Entry{Kind: audit.Job, Person: who.ID, Surface: who.Surface, Detail: "stopped by " + who.Account}, nil)
	}
	return err
}

// wasStopped reports whether somebody ended the run before its time.
func (r Request) wasStopped() bool {
	return r.State == Ended && r.Summary != nil && slices.ContainsFunc(r.Summary.Nodes, func(n output.NodeSummary) bool { return n.Reason == output.ReasonStopped })
}

// stopThread stops what runs in a thread.
func (c *Conversation) stopThread(ctx context.Context, e Event) error {
	all, err := c.requests(ctx, e.Place)
	if err != nil {
		return err
	}
	stopped := false
	for _, r := range all {
		if r.State != Running && r.State != Approved {
			continue
		}
		if err := c.stop(ctx, e, r); err != nil {
			return err
		}
		stopped = true
	}
	if stopped {
		return nil
	}
	return c.refused(ctx, e, refuse("nothing runs%s; `list` shows what runs elsewhere, each with its Stop button", inThread(e.Place)))
}

// source puts the program's source where it was asked for.
func (c *Conversation) source(ctx context.Context, e Event, r Request) error {
	if err := c.known(ctx, e); err != nil {
		return c.refuseOr(ctx, e, err)
	}
	if r.Source == "" {
		return c.refused(ctx, e, refuse("there is no source yet"))
	}
	m := Message{
		Key: "source:" + r.ID + ":" + short12(r.Card.Digest), Place: r.Place, Under: r.Root, Class: Result,
		Files: []File{{Name: fileName(r.Card.Name) + ".bpf.c", Title: "Source of revision " + strconv.Itoa(r.Revision) + ", digest " + short12(r.Card.Digest), Data: []byte(card.Visible(r.Source))}},
	}
	if r.Card.Contract != "" {
		m.Files = append(m.Files, File{Name: fileName(r.Card.Name) + ".contract.txt", Title: "Its contract in plain words", Data: []byte(card.Visible(r.Card.Contract))})
	}
	// Who is asked elsewhere cannot always look into the thread, and must not
	// have to agree unseen.
	if e.Place.Channel != "" && channelOf(e.Place) != channelOf(r.Place) {
		m.Key += "@" + hash(channelOf(e.Place))
		m.Place, m.Under = e.Place, ""
	}
	return c.Store.Put(ctx, m)
}

// edit makes a revision with other limits, nodes or parameters.
func (c *Conversation) edit(ctx context.Context, e Event, p approvals.Person, r Request) error {
	if idOf(r) != e.ID || r.State != Pending || r.Keep != nil {
		return c.refused(ctx, e, stale(r))
	}
	change, nodes, err := c.edited(ctx, e, r)
	if err != nil {
		return c.refuseOr(ctx, e, err)
	}
	change.From = r.Case
	return c.revise(ctx, e, p, r.ID, func(now *Request) error {
		if now.Revision != r.Revision {
			return stale(*now)
		}
		if nodes != now.Nodes {
			now.Choice = "" // these and no others
		}
		now.Change, now.Nodes = change, nodes
		return nil
	})
}

// dryOrReal makes a revision that only counts what the program would change, or one
// that does it; of a request that is over, a new one. Either is approved anew.
func (c *Conversation) dryOrReal(ctx context.Context, e Event, p approvals.Person, r Request) error {
	dry := e.Verb == verbDry
	switch {
	case !r.MayDry || r.Keep != nil:
		return c.refused(ctx, e, refuse("a dry run is for programs that change something, and cannot be made of all"))
	case r.State == Ended && r.Case != "":
		return c.repeat(ctx, e, p, r, &Change{From: r.Case, Dry: &dry})
	case idOf(r) != e.ID || r.State != Pending:
		return c.refused(ctx, e, stale(r))
	}
	return c.revise(ctx, e, p, r.ID, func(now *Request) error {
		if now.Revision != r.Revision {
			return stale(*now)
		}
		now.Change = &Change{From: r.Case, Dry: &dry}
		return nil
	})
}

// inputError says what is wrong with one input of a form.
type inputError struct {
	input string
	err   error
}

func (e *inputError) Error() string { return e.err.Error() }
func (e *inputError) Unwrap() error { return e.err }

func wrong(input, format string, args ...any) error {
	return &inputError{input, refuse(format, args...)}
}

// Wrong implements [Front].
func (c *Conversation) Wrong(ctx context.Context, e Event) map[string]string {
	if e.Kind != Submit || e.Verb != verbEdit {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, receiveTime)
	defer cancel()
	r, err := c.Store.Load(ctx, requestOf(e.ID))
	if err != nil || r.State != Pending || idOf(r) != e.ID {
		return nil // it is refused, or tried again, when it is handled
	}
	// What nodes there are is nobody else's business.
	if c.closed(ctx, e) != nil {
		return nil
	}
	_, _, err = c.edited(ctx, e, r)
	var bad *inputError
	if !errors.As(err, &bad) {
		return nil
	}
	return map[string]string{bad.input: words(bad.err)}
}

// closed returns why somebody certainly may not do anything here: they are no
// person of the organisation.
func (c *Conversation) closed(ctx context.Context, e Event) error {
	if p, err := c.platform(e.By.Surface); err == nil {
		var not *NotHumanError
		if err := p.Human(ctx, e.By); errors.As(err, &not) {
			return refuse("%s", not.Why)
		}
	}
	return c.Policy.MayStop(c.speaker(e)) // what everybody of the organisation may
}

// comment is what stands behind a parameter in the form, and does not count.
func comment(p Param) string {
	if p.Means == "" {
		return ""
	}
	return "  # " + p.Means
}

// edited reads the form that edit opened.
func (c *Conversation) edited(ctx context.Context, e Event, r Request) (*Change, string, error) {
	change := &Change{Params: map[string]string{}}
	if s := strings.TrimSpace(e.Fields["duration"]); s != "" {
		d, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
		if err != nil || d <= 0 {
			return nil, "", wrong("duration", "%q is no duration; write it as 30s, 5m or 1h30m", s)
		}
		change.Duration = d
	}
	switch s := strings.ToLower(strings.TrimSpace(e.Fields["dry"])); {
	case s == "":
	case s != "yes" && s != "no":
		return nil, "", wrong("dry", "%q is neither yes nor no", s)
	case s == "yes" && !r.MayDry:
		return nil, "", wrong("dry", "a dry run is for programs that change something, and cannot be made of all")
	default:
		dry := s == "yes"
		change.Dry = &dry
	}
	nodes := strings.TrimSpace(e.Fields["nodes"])
	if nodes == "" {
		nodes = r.Nodes
	}
	known, lost, err := c.nodes(ctx)
	if err != nil {
		return nil, "", err
	}
	if _, err := target.Resolve(nodes, known, lost...); err != nil {
		return nil, "", wrong("nodes", "%v", err)
	}
	program, params, err := c.params(ctx, r)
	if err != nil {
		return nil, "", err
	}
	was, comments := map[string]string{}, map[string]string{}
	for _, p := range params {
		was[p.Name], comments[p.Name] = p.Value, strings.TrimSpace(comment(p))
	}
	for _, line := range strings.Split(e.Fields["params"], "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if c := comments[name]; c != "" {
			value = strings.TrimSpace(strings.TrimSuffix(value, c))
		}
		old, exists := was[name]
		if !ok || !exists {
			return nil, "", wrong("params", "%q is none of the parameters: %s; write each on its own line as name = value", short(strings.TrimSpace(line)), names(params))
		}
		if value != old {
			change.Params[name] = value
		}
	}
	if len(change.Params) > 0 {
		if err := c.Maker.Valid(program, change.Params); err != nil {
			return nil, "", wrong("params", "%v", err)
		}
	}
	return change, nodes, nil
}

// params are the parameters of a request's program, also those that are not
// set, and the program.
func (c *Conversation) params(ctx context.Context, r Request) (job.Program, []Param, error) {
	p, err := c.Desk.Program(ctx, r.Case)
	switch {
	case errors.Is(err, approvals.ErrNotFound):
		return p, nil, refuse("the program is no longer stored; ask again in words")
	case errors.Is(err, approvals.ErrSwapped):
		return p, nil, refuse("%v", approvals.ErrSwapped)
	case err != nil:
		return p, nil, err
	}
	params, err := c.Maker.Params(p)
	return p, params, err
}

func names(params []Param) string {
	if len(params) == 0 {
		return "this program has none"
	}
	var out []string
	for _, p := range params {
		out = append(out, p.Name)
	}
	return strings.Join(out, ", ")
}

// refine goes on from a request with further words.
func (c *Conversation) refine(ctx context.Context, e Event, p approvals.Person, r Request) error {
	text := strings.TrimSpace(e.Fields["text"])
	if err := agent.Readable(text); err != nil {
		return c.refused(ctx, e, err)
	}
	if r.Keep != nil {
		return c.refused(ctx, e, refuse("this is about a recipe; ask for something else in the thread"))
	}
	if r.State == Preparing || r.State == Pending {
		return c.revise(ctx, e, p, r.ID, func(r *Request) error {
			r.Before, r.Text, r.Change, r.Edits, r.Program = recent(r.words()), text, nil, nil, nil
			return nil
		})
	}
	return c.create(ctx, e, Request{
		ID: hash("request " + e.Key), Place: r.Place, Root: r.Root, By: e.By, Person: p.ID, Author: e.By, AuthorPerson: p.ID, Reply: e.Reply,
		Text: text, Before: recent(r.words()), Follows: r.ID, Nodes: r.Nodes, Choice: r.Choice, State: Preparing, Revision: 1, Opened: c.Now().UTC().Round(0),
	})
}

// again asks for the same program once more. It needs to be approved anew.
func (c *Conversation) again(ctx context.Context, e Event, p approvals.Person, r Request) error {
	if r.Case == "" || r.State != Ended {
		return c.refused(ctx, e, refuse("there is nothing to run again yet: %s", stateWords(r)))
	}
	return c.repeat(ctx, e, p, r, &Change{From: r.Case})
}

// repeat asks for the program of an earlier request, perhaps changed.
func (c *Conversation) repeat(ctx context.Context, e Event, p approvals.Person, r Request, change *Change) error {
	return c.create(ctx, e, Request{
		ID: hash("request " + e.Key), Place: r.Place, Root: r.Root, By: e.By, Person: p.ID, Author: e.By, AuthorPerson: p.ID, Reply: e.Reply,
		Text: r.Text, Before: r.Before, Follows: r.ID, Nodes: strings.Join(r.Card.Nodes, ","), Choice: r.Choice, Change: change,
		Card: r.Card, Source: r.Source, Understood: r.Understood, Explanation: r.Explanation, Limits: r.Limits,
		State: Preparing, Revision: 1, Opened: c.Now().UTC().Round(0),
	})
}

// opened shows a person what concerns them: on their own page, or to them
// alone where they asked.
func (c *Conversation) opened(ctx context.Context, e Event) error {
	p, err := c.person(ctx, e)
	if err == nil {
		err = c.Policy.MayStop(p) // what everybody of the organisation may
	}
	if err != nil {
		return c.refuseOr(ctx, e, err)
	}
	list, err := c.listCard(ctx, p, e.Place)
	if err != nil {
		return err
	}
	if e.Kind != Home {
		return c.whisper(ctx, e, list)
	}
	return c.Store.Put(ctx, Message{Key: "home:" + hash(e.By.String()), Place: Place{Surface: e.By.Surface, Tenant: e.By.Tenant, Home: e.By.User}, Card: list, Class: Tail})
}

// answer shows something to everybody where it was asked.
func (c *Conversation) answer(ctx context.Context, e Event, what card.Card) error {
	if e.Rootless || e.Reply != "" { // it was a command, not a message in a thread
		return c.whisper(ctx, e, what)
	}
	return c.Store.Put(ctx, Message{Key: "a:" + hash(e.Key), Place: e.Place, Card: what, Class: Result})
}

// undelivered handles that a message reached nobody. A question that reached
// nobody is over.
func (c *Conversation) undelivered(ctx context.Context, e Event) error {
	if id, ok := strings.CutPrefix(e.ID, "root:"); ok {
		return c.rootless(ctx, e, id)
	}
	if id, ok := strings.CutPrefix(e.ID, "run:"); ok {
		return c.unwatched(ctx, e, id)
	}
	if id, ok := strings.CutPrefix(e.ID, "loud:"); ok {
		id, _, _ = strings.Cut(id, "@")
		return c.unreached(ctx, e, id, 0)
	}
	id, ok := strings.CutPrefix(e.ID, "card:")
	if !ok {
		return nil
	}
	id, revision, _ := strings.Cut(id, ":")
	if revision, _, copied := strings.Cut(revision, "@"); copied {
		n, err := strconv.Atoi(revision)
		if err != nil {
			return nil // not a key of ours
		}
		return c.unreached(ctx, e, id, n)
	}
	r, err := c.Store.Load(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && (r.State != Pending || strconv.Itoa(r.Revision) != revision) {
		return nil
	}
	if err != nil {
		return err
	}
	cs, err := c.Desk.Undeliverable(ctx, r.Case, "the card could not be posted: "+e.Text)
	var late *approvals.StaleError
	if errors.As(err, &late) {
		cs, err = c.Desk.Get(ctx, r.Case)
	}
	if err != nil {
		return err
	}
	return c.catchUp(ctx, r.ID, r.Revision, cs)
}

// rootless ends a request whose thread could not be begun: nobody would see
// what comes of it. Who asked is told.
func (c *Conversation) rootless(ctx context.Context, e Event, id string) error {
	r, err := c.Store.Load(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && r.State == Ended {
		return nil
	}
	if err == nil && r.State == Running {
		err = c.Runner.Stop(ctx, r.Grant.Run)
	}
	if err == nil && r.Case != "" && r.State != Running {
		_, err = c.Desk.Undeliverable(ctx, r.Case, "the thread could not be begun: "+e.Text)
		var late *approvals.StaleError
		if errors.As(err, &late) {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	tell := Message{Key: "w:" + hash("rootless "+id), Place: r.Place, Only: r.By.User, Reply: r.Reply, Class: Urgent, Card: card.Card{
		Title: "kgent cannot answer there", Tone: card.Warning, Blocks: []card.Block{card.Text{Body: cut(e.Text, 600)}, card.Note{Body: "Nothing runs."}},
	}}
	_, err = c.change(ctx, id, func(r *Request) bool {
		if r.State == Ended || r.State == Running { // a run ends by itself, stopped
			return false
		}
		r.State, r.Outcome, r.Detail, r.EndedAt = Ended, Undeliverable, e.Text, c.Now().UTC().Round(0)
		return true
	})
	if err == nil {
		err = c.Store.Put(ctx, tell)
	}
	return err
}

// unreached notes that a channel which should have been asked or told was not,
// and shows it: those who wait must not wait for people who know nothing.
// revision is 0 when it does not matter.
func (c *Conversation) unreached(ctx context.Context, e Event, id string, revision int) error {
	_, err := c.change(ctx, id, func(r *Request) bool {
		where := channelOf(e.Place)
		if revision != 0 && r.Revision != revision || slices.Contains(r.Unreached, where) {
			return false
		}
		r.Unreached = append(r.Unreached, where)
		return true
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// unwatched stops a run whose output can no longer be shown: nobody sees it,
// and nobody can stop it. Who asked is told where that can be.
func (c *Conversation) unwatched(ctx context.Context, e Event, id string) error {
	r, err := c.Store.Load(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && r.State != Running {
		return nil
	}
	if err != nil {
		return err
	}
	tell := Message{Key: "w:" + hash("unseen "+id), Place: r.Place, Only: r.By.User, Class: Urgent, Card: card.Card{
		Title: "Stopped: its output could not be shown", Tone: card.Warning, Blocks: []card.Block{
			card.Text{Body: cut(r.Text, maxShown), Quoted: true},
			card.Text{Body: "It was stopped, since nobody could see what came out or stop it: " + cut(e.Text, 300)},
		}}}
	// Noted before it is stopped: once it is, the request may end at any moment.
	// When the stop fails the event comes again.
	if _, err = c.change(ctx, id, func(r *Request) bool {
		if r.State != Running || r.Unseen != "" {
			return false
		}
		r.Unseen = e.Text
		return true
	}, tell); err != nil {
		return err
	}
	return c.Runner.Stop(ctx, r.Grant.Run)
}

// Form implements [Front].
func (c *Conversation) Form(ctx context.Context, e Event) (*card.Form, *card.Card) {
	ctx, cancel := context.WithTimeout(ctx, receiveTime)
	defer cancel()
	no := func(err error) (*card.Form, *card.Card) {
		what := refusal(e, err)
		return nil, &what
	}
	if !slices.Contains([]string{verbDeny, verbGlass, verbEdit, verbRefine, verbKeep}, e.Verb) {
		return nil, nil
	}
	r, err := c.Store.Load(ctx, requestOf(e.ID))
	switch {
	case errors.Is(err, ErrNotFound):
		return no(refuse("kgent knows nothing of this any more; ask again"))
	case err != nil:
		c.Log.Warn("opening a form", "err", err)
		return no(refuse("kgent cannot look this up right now; try again in a minute"))
	case e.Verb != verbRefine && e.Verb != verbKeep && (r.State != Pending || idOf(r) != e.ID):
		return no(stale(r))
	}
	if err := c.closed(ctx, e); err != nil {
		return no(err)
	}
	form := &card.Form{Verb: e.Verb, ID: e.ID}
	switch e.Verb {
	case verbKeep:
		if form, err = c.keepForm(ctx, r, e.ID); err != nil {
			return no(err)
		}
	case verbDeny:
		form.Title, form.Submit = "Deny", "Deny"
		form.Inputs = []card.Input{{Name: "reason", Label: "Why not?", Hint: "It is shown in the thread and kept in the log", Multiline: true, Max: 500}}
	case verbGlass:
		form.Title, form.Submit = "Break the glass", "Run it now"
		form.Inputs = []card.Input{{Name: "reason", Label: "Why can this not wait for approval?", Hint: "It is announced, and kept in the log", Multiline: true, Max: 500}}
	case verbRefine:
		form.Title, form.Submit = "Refine", "Go on"
		form.Inputs = []card.Input{{Name: "text", Label: "What should be different?", Hint: "only port 443 · also IPv6 · top 5", Multiline: true, Max: 1000}}
	case verbEdit:
		form.Title, form.Submit = "Edit", "Make a new revision"
		_, all, err := c.params(ctx, r)
		if err != nil {
			c.Log.Warn("opening a form", "err", err)
			return no(refuse("kgent cannot look the program up right now; try again in a minute, or ask again in words"))
		}
		var params, bare strings.Builder
		for _, p := range all {
			fmt.Fprintf(&params, "%s = %s%s\n", p.Name, p.Value, comment(p))
			fmt.Fprintf(&bare, "%s = %s\n", p.Name, p.Value)
		}
		if params.Len() > 1000 {
			params = bare
		}
		form.Inputs = []card.Input{
			{Name: "duration", Label: "For how long", Value: r.Limits.Duration.String(), Max: 20},
			{Name: "nodes", Label: "On which nodes", Value: strings.Join(r.Card.Nodes, ","), Hint: "db-1,db-2 · role=db · all · any 2 of role=db", Max: 1000},
		}
		if r.MayDry {
			dry := "no"
			if r.Limits.DryRun {
				dry = "yes"
			}
			form.Inputs = append(form.Inputs, card.Input{Name: "dry", Label: "Dry run: only count what it would change", Value: dry, Hint: "yes · no", Optional: true, Max: 3})
		}
		if params.Len() > 0 && params.Len() <= 1000 {
			form.Inputs = append(form.Inputs, card.Input{Name: "params", Label: "Parameters, one a line", Value: strings.TrimSuffix(params.String(), "\n"), Multiline: true, Optional: true, Max: 1500})
		}
	}
	return form, nil
}

// Complete implements [Front].
func (c *Conversation) Complete(ctx context.Context, by Account, field, prefix string) []string {
	ctx, cancel := context.WithTimeout(ctx, receiveTime)
	defer cancel()
	if c.Policy.MayStop(c.speaker(Event{By: by})) != nil {
		return nil // what nodes there are is nobody else's business
	}
	var all []string
	switch field {
	case "node":
		nodes, err := c.Runner.Nodes(ctx)
		if err != nil {
			return nil
		}
		all = append(all, "all")
		for _, n := range nodes {
			all = append(all, n.Name)
			for k, v := range n.Labels {
				all = append(all, k+"="+v)
			}
		}
	case "recipe":
		for _, r := range c.Recipes {
			all = append(all, r.Name)
		}
	case "request":
		for _, r := range c.Recipes {
			all = append(all, r.Example)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	prefix = strings.ToLower(prefix)
	starts := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.HasPrefix(strings.ToLower(s), prefix) })
	holds := slices.DeleteFunc(all, func(s string) bool {
		l := strings.ToLower(s)
		return strings.HasPrefix(l, prefix) || !strings.Contains(l, prefix)
	})
	out := append(starts, holds...)
	return out[:min(25, len(out))]
}

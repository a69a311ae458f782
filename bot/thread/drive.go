package thread

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"kgent/agent"
	"kgent/agent/program"
	"kgent/agent/quota"
	"kgent/agent/recipes"
	"kgent/agent/verify/proof"
	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/bot/card"
	"kgent/bot/dryrun"
	"kgent/bot/target"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

// Limits of runs for which nobody says anything else.
const (
	DefaultDuration = 30 * time.Second
	DefaultEvents   = 2000 // a second and node: more than a thread can show
)

// drive works on a request until it waits for people or has ended. Only one
// process does, the one that holds the request's lock.
func (c *Conversation) drive(ctx context.Context, id string) error {
	for ctx.Err() == nil {
		r, err := c.Store.Load(ctx, id)
		if err != nil {
			return err
		}
		switch r.State {
		case Preparing:
			err = c.prepare(ctx, r)
		case Approved:
			err = c.start(ctx, r)
		case Running:
			err = c.follow(ctx, r)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// prepare finds a program and opens a case for it, or ends the request with
// the reason why there is none. When people change their mind meanwhile, what
// was prepared is thrown away.
func (c *Conversation) prepare(ctx context.Context, r Request) error {
	if r.Explain {
		return c.explain(ctx, r)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	watching, done := context.WithCancel(ctx)
	defer done()
	begun := r
	wg.Go(func() { c.watch(watching, begun, cancel) })

	made, nodes, err := c.make(ctx, &r)
	var reject *rejection
	for try := 1; ; try++ {
		if errors.Is(context.Cause(ctx), errChanged) {
			return nil
		}
		if err == nil {
			err = c.open(ctx, &r, made, nodes)
		}
		// The store may be away for a moment; what was made is good still.
		if err == nil || errors.As(err, &reject) || made.Program.ELF == nil || try == openTries || !pause(ctx, time.Second) {
			break
		}
		c.Log.Warn("opening a case", "request", r.ID, "try", try, "err", err)
		err = nil
	}
	var unclear *agent.Question
	switch {
	case errors.As(err, &unclear):
		return c.pose(ctx, r, unclear)
	case errors.As(err, &reject):
		return c.reject(ctx, r, *reject)
	case err != nil && ctx.Err() == nil:
		// A fault of this machine or of the store. Whoever has it must hear of
		// it, and nobody gains from trying it for ever.
		c.Log.Error("preparing", "request", r.ID, "err", err)
		return c.reject(ctx, r, rejection{"a fault of kgent kept it from being prepared: " + err.Error(), "That did not work"})
	case err != nil:
		return err
	}
	return nil
}

// openTries is how often it is tried to put a program to the desk.
const openTries = 5

var errChanged = errors.New("the request was changed")

// watch ends ctx when the request is no longer what is being prepared.
func (c *Conversation) watch(ctx context.Context, r Request, cancel context.CancelCauseFunc) {
	for pause(ctx, lookEvery) {
		now, err := c.Store.Load(ctx, r.ID)
		if err == nil && (now.Revision != r.Revision || now.State != Preparing) {
			cancel(errChanged)
			return
		}
	}
}

// rejection ends a request without a program, in words for people.
type rejection struct {
	why     string
	heading string // "" is that there is no program
}

func (e *rejection) Error() string { return e.why }

func (c *Conversation) reject(ctx context.Context, r Request, because rejection) error {
	if r.Quiet && r.Parked != nil {
		return c.unpark(ctx, r, because)
	}
	_, err := c.change(ctx, r.ID, func(now *Request) bool {
		if now.State != Preparing || now.Revision != r.Revision {
			return false
		}
		now.Steps, now.Nodes, now.Choice, now.Text, now.Refusal = r.Steps, r.Nodes, r.Choice, r.Text, r.Refusal
		now.State, now.Outcome, now.Detail, now.EndedAt = Ended, Rejected, because.why, c.Now().UTC().Round(0)
		now.Heading = because.heading
		return true
	})
	return err
}

// unpark puts a question back as it stood before a plain reply of which
// nothing came. Only who replied is told.
func (c *Conversation) unpark(ctx context.Context, r Request, because rejection) error {
	cs, err := c.Desk.Get(ctx, r.Parked.Case)
	if err != nil {
		return err
	}
	tell := r
	tell.State, tell.Outcome, tell.Detail, tell.Heading = Ended, Rejected, because.why, because.heading
	_, err = c.change(ctx, r.ID, func(now *Request) bool {
		if now.State != Preparing || now.Revision != r.Revision || now.Parked == nil {
			return false
		}
		was := *now.Parked
		was.Version, was.Handled, was.Names = now.Version, now.Handled, now.Names
		*now = was
		now.follow(cs)
		return true
	}, c.progressMessage(tell))
	return err
}

// make finds or changes the program.
func (c *Conversation) make(ctx context.Context, r *Request) (Made, []string, error) {
	known, lost, err := c.nodes(ctx)
	if err != nil {
		return Made{}, nil, fmt.Errorf("asking for the nodes: %w", err)
	}
	if r.Keep != nil {
		return c.makeRecipe(ctx, r, known)
	}
	req, selector, nodes, err := c.aim(r, known, lost)
	instead := ""
	if r.Choice != "" && (err != nil || len(away(nodes, known)) > 0) {
		was := strings.Split(r.Nodes, ",")
		selector = r.Choice
		if nodes, err = target.Resolve(selector, known, lost...); err == nil {
			instead = replaced(away(was, known), was, nodes, "cannot be taken any more")
		}
	}
	if target.Chooses(selector) {
		r.Choice = selector
	}
	if err != nil {
		heading := "Which nodes?"
		if unknown, ok := unknownNode(err); ok {
			heading = unknown.Title()
		}
		return Made{}, nil, &rejection{err.Error(), heading}
	}

	last, err := c.before(ctx, *r)
	if err != nil {
		return Made{}, nil, err
	}
	req.Program, req.Answers = r.Program, r.answers()
	if last != nil && r.Change == nil && r.Program == nil {
		// "the same on db-4", or "on db-4" alone.
		said, rest := dryrun.FromText(r.Text)
		_, rest, _ = target.FromText(rest, known, lost...)
		if recipes.Again(rest) && (last.ID == r.ID || last.ID == r.Follows) {
			r.again(*last, said)
		} else if req.Previous, err = c.previous(ctx, *last); err != nil {
			return Made{}, nil, err
		}
	}

	var made Made
	show := c.progress(ctx, *r)
	req.DryRun = r.dry(last)
	made, nodes, err = c.answering(ctx, cmp.Or(r.Choice, selector), nodes, known, req.DryRun, show.step, func(nodes []bus.NodeInfo) (Made, error) {
		if r.Change == nil {
			return c.Maker.Make(ctx, req, nodes, show.step)
		}
		return c.remake(ctx, *r, req.DryRun, nodes, show.step)
	})
	made.DryRun = req.DryRun
	if instead != "" {
		made.Understood = append(slices.Clone(made.Understood), instead)
	}
	r.Nodes = strings.Join(nodes, ",")
	r.Steps = show.close()
	r.Refusal = agent.RefusalOf(err)
	return made, nodes, prepared(err)
}

// maxOthers is how often others are taken for nodes that do not answer.
const maxOthers = 2

// answering makes a program for the chosen nodes. Where the words leave a choice ("any 2 of
// role=db") every one of them is asked whether it takes the program, and others are chosen
// in place of those that do not answer, which is said: one that crashed is listed for
// some seconds yet. Nothing is approved before that, and then for these nodes, by name.
func (c *Conversation) answering(ctx context.Context, selector string, nodes []string, known []bus.NodeInfo, dry bool, step func(agent.Step), make func([]bus.NodeInfo) (Made, error)) (Made, []string, error) {
	infos := func(names []string) []bus.NodeInfo {
		return slices.DeleteFunc(slices.Clone(known), func(n bus.NodeInfo) bool { return !slices.Contains(names, n.Name) })
	}
	made, err := make(infos(nodes))
	if !target.Chooses(selector) {
		return made, nodes, err
	}
	left := slices.Clone(known)
	var notes []string
	for others := 0; ; others++ {
		var silent []string
		if err == nil {
			silent, err = c.Maker.Silent(ctx, made.Program, dry, nodes, step)
		} else if said, ok := errors.AsType[*program.SilentError](err); ok {
			silent = said.Nodes
		}
		if len(silent) == 0 {
			made.Understood = append(slices.Clone(made.Understood), notes...)
			return made, nodes, err
		}
		quiet := strings.Join(silent, ", ") + " did not answer"
		left = slices.DeleteFunc(left, func(n bus.NodeInfo) bool { return slices.Contains(silent, n.Name) })
		chosen, none := target.Resolve(selector, left)
		if none != nil || others == maxOthers {
			made.Understood = append(append(slices.Clone(made.Understood), notes...), quiet+", and no other was found in its place")
			return made, nodes, err
		}
		if err != nil {
			made, err = make(infos(chosen))
		} else if made, err = c.elsewhere(ctx, made, dry, infos(chosen), step); err != nil {
			return made, chosen, err
		}
		notes = append(notes, replaced(silent, nodes, chosen, "did not answer"))
		nodes = chosen
	}
}

// away are those of the nodes that are not there, or in maintenance.
func away(nodes []string, known []bus.NodeInfo) []string {
	return slices.DeleteFunc(slices.Clone(nodes), func(name string) bool {
		return slices.ContainsFunc(known, func(n bus.NodeInfo) bool { return n.Name == name && n.Drained == "" })
	})
}

// replaced says which nodes are gone, why, and which were chosen that were not among the others.
func replaced(gone, was, is []string, why string) string {
	fresh := slices.DeleteFunc(slices.Clone(is), func(n string) bool { return slices.Contains(was, n) })
	return strings.Join(gone, ", ") + " " + why + ", so that " + strings.Join(fresh, ", ") + " " + wereChosen(fresh)
}

// wereChosen is in the number of the nodes.
func wereChosen(nodes []string) string {
	if len(nodes) == 1 {
		return "was chosen"
	}
	return "were chosen"
}

// elsewhere is the same program, to the byte, for other nodes.
func (c *Conversation) elsewhere(ctx context.Context, was Made, dry bool, nodes []bus.NodeInfo, step func(agent.Step)) (Made, error) {
	made, err := c.Maker.Remake(ctx, was.Program, nil, dry, nodes, step)
	made.Source, made.Understood, made.Explanation, made.Duration = was.Source, was.Understood, was.Explanation, was.Duration
	made.Card.Title, made.Card.Origin, made.Card.Contract, made.Card.Reading = was.Card.Title, was.Card.Origin, was.Card.Contract, was.Card.Reading
	return made, err
}

// dry reports whether what the program changes is only to be counted. Words count,
// the last ones most; without any it is as with what the request goes on from.
func (r Request) dry(last *Request) bool {
	dry := false
	for _, words := range r.Before {
		if said, _ := dryrun.FromText(words); said != dryrun.Nothing {
			dry = said == dryrun.Dry
		}
	}
	if last != nil && last.MayDry {
		dry = last.Limits.DryRun
	}
	if r.Change != nil {
		dry = r.Limits.DryRun
		if r.Change.Dry != nil {
			dry = *r.Change.Dry
		}
		return dry
	}
	if said, _ := dryrun.FromText(r.Text); said != dryrun.Nothing {
		dry = said == dryrun.Dry
	}
	return dry
}

// maxFollowed is how far back a conversation is followed to its last program.
const maxFollowed = 8

// before returns what the request goes on from, as far as there was a program: an earlier
// revision of itself, or an earlier request. Nil: there is none, or it is forgotten.
func (c *Conversation) before(ctx context.Context, r Request) (*Request, error) {
	if r.Revision > 1 && r.Case != "" {
		return &r, nil
	}
	for range maxFollowed {
		if r.Follows == "" {
			return nil, nil
		}
		next, err := c.Store.Load(ctx, r.Follows)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrSeal):
			return nil, nil
		case err != nil:
			return nil, err
		case next.Case != "":
			return &next, nil
		}
		r = next
	}
	return nil, nil
}

// again makes a request one for the very program of an earlier one: what is asked for is
// the same, where and for how long may differ.
func (r *Request) again(last Request, said dryrun.Said) {
	r.Change = &Change{From: last.Case}
	if said != dryrun.Nothing {
		dry := said == dryrun.Dry
		r.Change.Dry = &dry
	}
	r.Card, r.Source, r.Understood, r.Explanation, r.Limits = last.Card, last.Source, last.Understood, last.Explanation, last.Limits
}

// previous is the contract that a request is to refine; nil when the one before had none.
func (c *Conversation) previous(ctx context.Context, last Request) (*agent.Previous, error) {
	p, err := c.Desk.Program(ctx, last.Case)
	switch {
	case errors.Is(err, approvals.ErrNotFound), errors.Is(err, approvals.ErrSwapped):
		return nil, nil // then the words alone are read
	case err != nil:
		return nil, err
	}
	k, values := contractOf(p)
	if k == nil && last.Card.Script == "" {
		return nil, nil
	}
	return &agent.Previous{Contract: string(p.Contract), Script: last.Card.Script, Origin: last.Card.Origin, Values: values}, nil
}

// remake uses the program of an earlier case.
func (c *Conversation) remake(ctx context.Context, r Request, dry bool, nodes []bus.NodeInfo, step func(agent.Step)) (Made, error) {
	p, err := c.Desk.Program(ctx, r.Change.From)
	switch {
	case errors.Is(err, approvals.ErrNotFound):
		return Made{}, &rejection{why: "the program is no longer stored; ask again in words"}
	case errors.Is(err, approvals.ErrSwapped):
		c.Log.Error("a stored program was replaced", "request", r.ID, "err", err)
		return Made{}, &rejection{approvals.ErrSwapped.Error(), "The stored program was replaced"}
	}
	if err != nil {
		return Made{}, err
	}
	made, err := c.Maker.Remake(ctx, p, r.Change.Params, dry, nodes, step)
	return made.as(r), err
}

// as gives a program that was made again the words of the first time.
func (m Made) as(r Request) Made {
	m.Source, m.Understood, m.Explanation = r.Source, r.Understood, r.Explanation
	m.Card.Title, m.Card.Origin = r.Card.Title, r.Card.Origin
	// The contract begins with its title, which is its author's.
	if title, rest, ok := strings.Cut(m.Card.Contract, "\n"); ok {
		m.Card.Contract = card.Title(m.Card.Origin, title) + "\n" + rest
	}
	if m.Duration = r.Change.Duration; m.Duration == 0 {
		m.Duration = r.Limits.Duration
	}
	return m
}

// prepared turns the errors that people can do something about into
// rejections.
func prepared(err error) error {
	var rejected *agent.RejectedError
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "not one this node trusts"):
		return &rejection{err.Error() + ". Copy keys/trusted of the bot there.", "A node does not trust this bot's key"}
	case errors.Is(err, agent.ErrRequest):
		return &rejection{err.Error(), "That cannot be read"}
	case errors.Is(err, agent.ErrModel):
		if up, ok := errors.AsType[*quota.UsedUp](err); ok {
			return &rejection{up.Error() + ".", "The model may not be asked now"}
		}
		return &rejection{err.Error() + ". If it stays so, ask whoever runs kgent.", "The model gave no program"}
	case errors.Is(err, agent.ErrNoAnswer), errors.Is(err, program.ErrUntried), errors.As(err, &rejected):
		return &rejection{why: err.Error()}
	}
	return err
}

// aim finds the nodes that a request is for, as a selector and by name, and its words without
// them. Nodes that the newest words name are no choice of earlier ones.
func (c *Conversation) aim(r *Request, known []bus.NodeInfo, lost []target.Lost) (req agent.Request, selector string, names []string, err error) {
	req = agent.Request{ID: r.ID, Text: r.Text}
	req.By, req.In = cmp.Or(r.AuthorPerson, r.Person), Place{Surface: r.Place.Surface, Tenant: r.Place.Tenant, Channel: r.Place.Channel}.String()
	selector = r.Nodes
	said := append(slices.Clone(r.Before), r.Text)
	var unknown error
	for i := range said {
		_, words := dryrun.FromText(said[i]) // see [Request.dry]
		named, rest, err := target.FromText(words, known, lost...)
		if (named != "" || err != nil) && (r.Nodes == "" || i == len(said)-1 && r.Change == nil) {
			selector, unknown, r.Choice = named, err, "" // the newest word counts
		}
		said[i] = rest
	}
	req.Text, req.Before = said[len(said)-1], said[:len(said)-1]
	if req.Text == "" && len(req.Before) > 0 {
		// "on db-4" alone: the same again, elsewhere.
		req.Text, req.Before = req.Before[len(req.Before)-1], req.Before[:len(req.Before)-1]
	}
	switch {
	case unknown != nil:
		return req, selector, nil, unknown
	case selector != "":
	case c.Nodes != "":
		selector = c.Nodes
	case len(known) == 1:
		selector = known[0].Name
	case len(known) > 1:
		for _, n := range known {
			names = append(names, n.Name)
		}
		return req, selector, nil, fmt.Errorf("on which nodes? Say so%s, for example “on %s” or “on all nodes”; there are: %s", inThread(r.Place), names[0], strings.Join(names[:min(20, len(names))], ", "))
	}
	names, err = target.Resolve(selector, known, lost...)
	return req, selector, names, err
}

// open puts a program to the desk, and shows the card.
func (c *Conversation) open(ctx context.Context, r *Request, made Made, nodes []string) error {
	limits := job.Limits{Duration: made.Duration, EventsPerSecond: DefaultEvents, DryRun: made.DryRun}
	if limits.Duration == 0 {
		limits.Duration = DefaultDuration
	}
	if r.Change != nil && r.Limits.EventsPerSecond != 0 {
		limits.EventsPerSecond = r.Limits.EventsPerSecond
	}
	proved := made.Card.Verdict == proof.Verified.String()
	dried := limits
	dried.DryRun = true
	risk, err := approvals.AssessRun(made.Program, dried, proved)
	mayDry := err == nil
	if limits.DryRun && errors.Is(err, program.ErrObserves) {
		limits.DryRun = false
		made.Understood = append(slices.Clone(made.Understood), "it changes nothing, so that a dry run of it is the same")
	}
	if !limits.DryRun {
		risk, err = approvals.Assess(made.Program, proved)
	}
	if err != nil {
		return &rejection{why: err.Error()}
	}
	digest, err := job.DigestOf(made.Program, nodes, limits)
	if err != nil {
		return err
	}
	revises := ""
	if r.Revision > 1 {
		if revises, err = c.newest(ctx, r.Case); err != nil {
			return err
		}
	}
	var purpose approvals.Purpose
	subject, keep := "", r.Keep
	if keep != nil {
		purpose, subject = keep.purpose(), keep.subject()
	}
	cs, err := c.Desk.Open(ctx, approvals.Candidate{
		Purpose: purpose, Subject: subject,
		Program: made.Program, Nodes: nodes, Limits: limits, Digest: digest, Tier: risk.Tier, Proved: proved,
		Requester: author(*r), Authors: r.Authors,
		Asked: strings.Join(append(slices.Clone(r.Before), r.Text), " / "), Origin: made.Card.Origin,
		Revises: revises, Key: revisionOf(*r) + " " + r.Author.String() + " " + digest.String(),
	})
	var refused *approvals.RefusedError
	if errors.As(err, &refused) {
		return &rejection{refused.Reason, refusedByPolicy}
	}
	if err != nil {
		return err
	}
	copies, err := c.places(ctx, cs, c.Policy.Ask)
	if err != nil {
		return err
	}
	copies = slices.DeleteFunc(copies, func(p Place) bool { return p.String() == channelOf(r.Place) })
	loud, err := c.places(ctx, cs, c.Policy.Loud)
	if err != nil {
		return err
	}
	shown := made.Card
	shown.Digest, shown.Tier, shown.Why, shown.Does = digest.String(), risk.Tier.String(), cs.Why, risk.Does
	shown.Nodes, shown.Duration = nodes, limits.Duration.String()
	revision, steps, selector, choice := r.Revision, r.Steps, r.Nodes, r.Choice
	link := c.linkTo(ctx, *r)
	edits := r.Edits
	if r.Change != nil && r.Revision > 1 {
		edits = append(slices.Clone(edits), Edit{By: r.Author, What: differences(*r, nodes, limits, shown)})
	}
	taken := false
	_, err = c.change(ctx, r.ID, func(r *Request) bool {
		if taken = r.State == Preparing && r.Revision == revision; !taken {
			return false
		}
		r.State, r.Case, r.Card, r.Limits, r.Steps, r.Nodes, r.Choice, r.Edits = Pending, cs.ID, shown, limits, steps, selector, choice, edits
		r.Link, r.Keep, r.MayDry = link, keep, mayDry && keep == nil
		r.Source, r.Understood, r.Explanation, r.Kernels = made.Source, made.Understood, made.Explanation, made.Kernels
		r.Quorum, r.Approvers, r.Expires, r.Copies, r.Loud = cs.Ruling.Quorum, cs.Ruling.Approvers, cs.Expires, copies, loud
		r.Quiet, r.Parked = false, nil
		r.follow(cs)
		return true
	})
	if err == nil && !taken {
		// It was changed meanwhile, and nobody will ever see this question.
		_, err = c.Desk.Undeliverable(ctx, cs.ID, "the request was changed before it was shown")
		var late *approvals.StaleError
		if errors.As(err, &late) {
			err = nil
		}
	}
	return err
}

// linkTo returns a link to a request's thread, or "" when there is none.
func (c *Conversation) linkTo(ctx context.Context, r Request) string {
	p, err := c.platform(r.Place.Surface)
	if err != nil {
		return ""
	}
	at := Handle{Channel: r.Place.Channel, ID: r.Place.Thread}
	if r.Root != "" {
		root, err := c.Store.Message(ctx, r.Root)
		if err != nil {
			return ""
		}
		at = root.Handle
	}
	if at.ID == "" {
		return ""
	}
	return p.Link(ctx, r.Place, at)
}

const refusedByPolicy = "Refused by policy"

// differences says what of a program was changed by hand.
func differences(r Request, nodes []string, limits job.Limits, now output.Candidate) string {
	var out []string
	if was, is := strings.Join(r.Card.Nodes, ", "), strings.Join(nodes, ", "); was != is {
		out = append(out, "nodes "+cut(was, 120)+" -> "+cut(is, 120))
	}
	if was, is := r.Limits.Duration.String(), limits.Duration.String(); was != is {
		out = append(out, was+" -> "+is)
	}
	if is := limits.DryRun; is && !r.Limits.DryRun {
		out = append(out, "for real -> a dry run")
	} else if !is && r.Limits.DryRun {
		out = append(out, "a dry run -> for real")
	}
	was := map[string]string{}
	for _, p := range r.Card.Params {
		was[p.Name] = p.Value
	}
	for _, p := range now.Params {
		if before, there := was[p.Name]; before != p.Value {
			if !there {
				before = "unset"
			}
			out = append(out, p.Name+" "+cut(before, 40)+" -> "+cut(p.Value, 40))
		}
		delete(was, p.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		out = append(out, name+" "+cut(was[name], 40)+" -> unset")
	}
	return orElse(strings.Join(out, "; "), "nothing")
}

// newest returns the case that took the place of a case, perhaps without
// anybody having seen it, or the case itself.
func (c *Conversation) newest(ctx context.Context, id string) (string, error) {
	for id != "" {
		cs, err := c.Desk.Get(ctx, id)
		if errors.Is(err, approvals.ErrNotFound) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if cs.State != approvals.Superseded || cs.Next == "" {
			return id, nil
		}
		id = cs.Next
	}
	return id, nil
}

// places returns the channels that a policy names and this bot can reach.
func (c *Conversation) places(ctx context.Context, cs approvals.Case, of func(context.Context, approvals.Case) ([]string, error)) ([]Place, error) {
	named, err := of(ctx, cs)
	var refused *approvals.RefusedError
	if errors.As(err, &refused) {
		return nil, &rejection{refused.Reason, refusedByPolicy}
	}
	if err != nil {
		return nil, err
	}
	var out []Place
	for _, s := range named {
		p, err := ParsePlace(s)
		if err == nil {
			_, err = c.platform(p.Surface)
		}
		if err != nil {
			c.Log.Warn("the policy names a channel that this bot cannot reach", "channel", s, "err", err)
			continue
		}
		out = append(out, p)
	}
	return out, nil
}

// start signs the grant of an approved request, or finds the one that was
// signed.
func (c *Conversation) start(ctx context.Context, r Request) error {
	if r.Keep != nil {
		return c.carryOut(ctx, r)
	}
	cs, err := c.Desk.Get(ctx, r.Case)
	if err == nil && r.StopBy == nil {
		err = c.sameKernels(ctx, r)
	}
	if err == nil && r.StopBy == nil {
		err = c.Policy.MayRun(ctx, cs)
	}
	var grant *job.Grant
	if err == nil && r.StopBy == nil {
		var envelope []byte
		if envelope, grant, err = c.Desk.Grant(ctx, r.Case); err == nil {
			c.sealed.Store(r.ID, sealed{envelope, grant})
		}
	}
	if errors.Is(err, approvals.ErrGranted) {
		_, grant, err = c.Desk.Envelope(ctx, r.Case)
	}
	var refused *approvals.RefusedError
	var late *approvals.StaleError
	var other *otherKernelError
	lost := func(o Outcome, why string) error {
		c.free(ctx, r)
		_, err := c.change(ctx, r.ID, func(r *Request) bool {
			if r.State != Approved {
				return false
			}
			r.State, r.Outcome, r.Detail, r.EndedAt = Ended, o, why, c.Now().UTC().Round(0)
			return true
		})
		return err
	}
	switch {
	case r.StopBy != nil:
		return lost(Cancelled, "stopped by "+called(*r.StopBy)+" before it started")
	case errors.Is(err, approvals.ErrLapsed):
		return lost(Expired, "it was approved, but kgent was away until it was too late to start; nothing ran")
	case errors.Is(err, approvals.ErrNotFound):
		return lost(Lost, "the store forgot that it was approved; nothing ran")
	case errors.Is(err, approvals.ErrSwapped):
		return lost(FailedAll, "what is stored is not the program that was approved; nothing ran. Somebody may be changing Redis: tell whoever runs it")
	case errors.As(err, &other):
		return lost(FailedAll, other.Error())
	case errors.As(err, &late):
		o := Expired
		if late.State == approvals.Cancelled {
			o = Cancelled
		}
		return lost(o, late.Reason)
	case errors.As(err, &refused):
		return lost(FailedAll, "it was approved, but is not allowed any more: "+refused.Reason)
	case err != nil:
		return err
	}
	_, err = c.change(ctx, r.ID, func(r *Request) bool {
		if r.State != Approved || r.StopBy != nil { // then it is looked at again
			return false
		}
		r.State, r.Grant, r.Started = Running, grant, c.Now().UTC().Round(0)
		return true
	})
	return err
}

// otherKernelError says that a node does not have the kernel any more that the program was
// proved for.
type otherKernelError struct{ node, was, is string }

func (e *otherKernelError) Error() string {
	now := "Linux " + e.is
	if e.was == e.is {
		now = "another kernel of that release"
	}
	return fmt.Sprintf("the program was proved for Linux %s, but %s has %s now; nothing ran. Ask again", e.was, e.node, now)
}

// sameKernels holds nodes against the kernels that a program was proved for. Of a node that
// does not answer nothing is known, and nothing will run there.
func (c *Conversation) sameKernels(ctx context.Context, r Request) error {
	if r.Card.Verdict != proof.Verified.String() {
		return nil
	}
	nodes, _, err := c.nodes(ctx)
	if err != nil {
		return err
	}
	for _, k := range r.Kernels {
		for _, n := range nodes {
			if slices.Contains(k.Nodes, n.Name) && (n.Kernel != k.Release || k.BTF != "" && n.BTF != k.BTF) {
				return &otherKernelError{n.Name, k.Release, n.Kernel}
			}
		}
	}
	return nil
}

// follow sends a grant to its nodes, unless that was done, and shows what
// comes back until it is over.
func (c *Conversation) follow(ctx context.Context, r Request) error {
	result := c.Results(r)
	defer result.Close()
	if !r.Dispatched {
		if err := c.dispatch(ctx, r); err != nil {
			return err
		}
	}
	now, err := c.Store.Load(ctx, r.ID)
	if err != nil {
		return err
	}
	if now.State != Running {
		return nil
	}
	var wg sync.WaitGroup
	tailing, done := context.WithCancel(ctx)
	wg.Go(func() { c.tail(tailing, r.ID, result) })
	summary, err := c.Runner.Follow(ctx, r.Grant, result.Line, c.has(r.ID))
	done()
	wg.Wait()
	if errors.Is(context.Cause(ctx), bus.ErrHandOver) {
		return nil
	}
	if errors.Is(err, bus.ErrHandOver) {
		return err
	}
	if err != nil {
		c.Log.Warn("following", "request", r.ID, "run", r.Grant.Run, "err", err)
	}
	return c.finish(ctx, r, summary, result)
}

// free gives back the place that a run had in its requester's quota.
func (c *Conversation) free(ctx context.Context, r Request) {
	cs, err := c.Desk.Get(ctx, r.Case)
	if err == nil {
		err = c.Policy.RunEnded(ctx, cs)
	}
	if err != nil && ctx.Err() == nil {
		c.Log.Warn("giving back a place in a quota", "request", r.ID, "err", err)
	}
}

// sealed is a signed grant.
type sealed struct {
	envelope []byte
	grant    *job.Grant
}

// envelope returns the signed grant of a request: the one that was made a
// moment ago, or, when another process made it, the same once more.
func (c *Conversation) envelope(ctx context.Context, r Request) (s sealed, err error) {
	if made, ok := c.sealed.LoadAndDelete(r.ID); ok {
		return made.(sealed), nil
	}
	s.envelope, s.grant, err = c.Desk.Envelope(ctx, r.Case)
	return s, err
}

func (c *Conversation) dispatch(ctx context.Context, r Request) error {
	s, err := c.envelope(ctx, r)
	if err == nil {
		err = c.Runner.Dispatch(ctx, s.grant, s.envelope, c.has(r.ID))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, bus.ErrStopped) {
		err = nil // how it ended is for those to say who follow it
	}
	if err != nil {
		// While the store was out of reach another process may have sent it.
		if lost := c.has(r.ID)(ctx); lost != nil {
			return errors.Join(err, lost)
		}
		c.free(ctx, r)
		left := "nothing was left running"
		if stop := c.Runner.Stop(ctx, r.Grant.Run); stop != nil {
			c.Log.Warn("stopping what could not be sent", "run", r.Grant.Run, "err", stop)
			left = "a node that got it nevertheless ends it by itself within seconds"
		}
		_, err = c.change(ctx, r.ID, func(r *Request) bool {
			if r.State != Running {
				return false
			}
			r.State, r.Outcome, r.EndedAt = Ended, FailedAll, c.Now().UTC().Round(0)
			r.Detail = "it was approved, but could not be sent to its nodes; " + left + ": " + err.Error()
			return true
		})
		return err
	}
	_, err = c.change(ctx, r.ID, func(r *Request) bool {
		if r.State != Running || r.Dispatched {
			return false
		}
		r.Dispatched = true
		return true
	})
	return err
}

// tail shows the newest output until ctx ends: at first quickly, then at a
// rate that leaves room for the other runs.
func (c *Conversation) tail(ctx context.Context, id string, result Output) {
	wait := tailFirst
	for pause(ctx, wait) {
		live := 0
		c.work.Range(func(any, any) bool { live++; return true })
		wait = min(tailMost, tailEvery*time.Duration(max(1, live)))
		r, err := c.Store.Load(ctx, id)
		if err != nil || r.State != Running {
			continue
		}
		m := c.runMessage(r, result.Tail(tailSize))
		if err := c.Store.Put(ctx, m); err != nil && ctx.Err() == nil {
			c.Log.Warn("showing live output", "request", id, "err", err)
		}
	}
}

// finish shows what came out. It must be said even when the store has
// forgotten the request.
func (c *Conversation) finish(asked context.Context, r Request, summary output.Summary, result Output) error {
	blocks, files := result.Final(finalSize, summary)
	outcome, detail := outcomeOf(summary)
	end := func(r *Request) bool {
		if r.State != Running {
			return false
		}
		r.State, r.Outcome, r.Detail, r.EndedAt = Ended, outcome, detail, c.Now().UTC().Round(0)
		if r.Unseen != "" {
			r.Detail = strings.TrimSuffix("it was stopped because its output could not be shown ("+r.Unseen+"); "+detail, "; ")
		}
		r.Summary = &summary
		return true
	}
	// Told to end, this process still has a moment to say it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(asked))
	defer cancel()
	defer context.AfterFunc(asked, func() { time.AfterFunc(lastWords, cancel) })()
	noted := false
	store := func() error {
		ctx, cancel := context.WithTimeout(ctx, lockTTL)
		defer cancel()
		// Another process may have taken the run over, and be following it, or
		// have told its end.
		if err := c.has(r.ID)(ctx); errors.Is(err, bus.ErrHandOver) {
			return nil
		} else if err != nil {
			return err
		}
		now, err := c.Store.Load(ctx, r.ID)
		if err == nil && now.State != Running {
			return nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		c.free(ctx, r)
		noted = noted || c.note(ctx, r, audit.Entry{Kind: audit.Job, Detail: ended(outcome, detail, summary)}, summary) == nil
		over := r
		end(&over)
		_, err = c.change(ctx, r.ID, end, c.resultMessages(over, blocks, files)...)
		if errors.Is(err, ErrNotFound) {
			over.Version = 0
			over.Detail = strings.TrimPrefix(over.Detail+"; the store was emptied while it ran", "; ")
			_, err = c.Store.Update(ctx, over, append(c.show(over), c.resultMessages(over, blocks, files)...)...)
		}
		return err
	}
	for {
		err := store()
		if err == nil {
			return nil
		}
		c.Log.Warn("storing a result", "request", r.ID, "err", err)
		if !pause(ctx, time.Second) {
			return err
		}
	}
}

// lastWords is how long a process that is told to end goes on trying to store
// what came out of a run.
const lastWords = 5 * time.Second

// note writes into the audit log what happened to a run.
func (c *Conversation) note(ctx context.Context, r Request, e audit.Entry, data any) error {
	e.Case, e.Digest = r.Case, r.Card.Digest
	if r.Grant != nil {
		e.Run = r.Grant.Run
	}
	raw, err := json.Marshal(data)
	if err == nil {
		e.Data = raw
		err = c.Desk.Audit.Append(ctx, e)
	}
	if err != nil {
		c.Log.Error("writing the audit log", "request", r.ID, "what", e.Detail, "err", err)
	}
	return err
}

// ended says in words how a run ended.
func ended(o Outcome, detail string, s output.Summary) string {
	var nodes []string
	for _, n := range s.Nodes {
		nodes = append(nodes, n.Node+" "+string(n.Reason))
	}
	words := fmt.Sprintf("%s: %s", o, strings.Join(nodes, ", "))
	if detail != "" {
		words += ": " + detail
	}
	return cut(words, 1000)
}

// outcomeOf says how a run ended on its nodes together.
func outcomeOf(s output.Summary) (Outcome, string) {
	good := 0
	var bad []string
	for _, n := range s.Nodes {
		if slices.Contains([]output.Reason{output.ReasonRefused, output.ReasonFailed, output.ReasonInterrupted, output.ReasonOutput, output.ReasonBudget}, n.Reason) {
			why := string(n.Reason)
			if n.Detail != "" {
				why += ": " + n.Detail
			}
			bad = append(bad, n.Node+" "+why)
			continue
		}
		good++
	}
	detail := strings.Join(bad, "; ")
	switch {
	case len(bad) == 0 && good > 0:
		return Completed, s.Detail
	case good > 0:
		return Partial, detail
	}
	if detail == "" {
		detail = s.Detail
	}
	return FailedAll, detail
}

// showing shows the way of a request while it is prepared.
type showing struct {
	steps chan agent.Step
	done  chan []output.Stage
}

func (s *showing) step(a agent.Step) { s.steps <- a }

// close returns all steps.
func (s *showing) close() []output.Stage {
	close(s.steps)
	return <-s.done
}

// progressEvery is how often progress is shown at most.
const progressEvery = 500 * time.Millisecond

// progress gathers steps and shows them.
func (c *Conversation) progress(ctx context.Context, r Request) *showing {
	s := &showing{steps: make(chan agent.Step, 16), done: make(chan []output.Stage)}
	r.Steps = nil
	go func() {
		var last time.Time
		for a := range s.steps {
			st := output.Stage{Name: a.Name, State: a.State, Detail: a.Detail, Millis: a.Elapsed.Milliseconds()}
			if n := len(r.Steps); n > 0 && r.Steps[n-1].Name == st.Name && r.Steps[n-1].State == "start" {
				r.Steps[n-1] = st
			} else {
				r.Steps = append(r.Steps, st)
			}
			if r.Quiet || c.Now().Sub(last) < progressEvery {
				continue
			}
			last = c.Now()
			limit, cancel := context.WithTimeout(ctx, time.Second)
			if err := c.Store.Put(limit, c.progressMessage(r)); err != nil && ctx.Err() == nil {
				c.Log.Warn("showing progress", "request", r.ID, "err", err)
			}
			cancel()
		}
		s.done <- r.Steps
	}()
	return s
}

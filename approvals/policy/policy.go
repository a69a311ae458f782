// Package policy is the policy of a team, from a file: who may ask for what on
// which nodes, whose agreement it takes, and within which limits.
//
// The file is YAML; deploy/policy.example.yaml shows all of it. Its rules are
// an ordered list. For each node of a request, the first rule that names the
// program's tier and fits the node's labels applies. Nothing applies by
// default: a node that no rule fits is refused. When a request names several
// nodes, every rule that applies to one of them must be content: the largest
// quorum, the shortest duration and expiry and the lowest rate count, whoever
// asks or approves must be in the lists of all of them, and an approver who
// is in the list for one node only does not count.
//
// People are not accounts. The file's table of people says which accounts are
// one person's. An account that is in nobody's list is a person of its own,
// but nobody can know whether it also is the person behind an account of
// another platform. So it counts beside accounts of its own workspace, and
// beside people who are listed with another account there, and beside nobody
// else. See [Policy.Compare].
//
// Whatever cannot be found out is refused: a group that cannot be looked up, a
// node that is not known, a file that is broken. A broken file refuses all
// requests and approvals until it is mended, and does not fall back on what it
// said before; stopping a run takes no policy.
package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"kgent/approvals"
	"kgent/executor/job"
)

// Groups looks up who is in a group, at the platform that has it, now or not
// long ago. An account is slack:<team>/<user>, discord:<guild>/<user> or
// terminal:<host>/<user>; a group is slack:<team>/<user group>,
// discord:<guild>/<role> or terminal:<host>/<unix group>, of the same team,
// guild or host.
type Groups interface {
	Member(ctx context.Context, account, group string) (bool, error)
}

// Labels returns the labels of these nodes, by name, and maybe of others; one that is not
// among them does not exist.
type Labels func(ctx context.Context, nodes []string) (map[string]map[string]string, error)

// Options is what a policy needs to know of the world. What is missing is
// refused where it is needed.
type Options struct {
	Groups Groups
	Labels Labels
	Quotas Quotas
	Now    func() time.Time
	Log    *slog.Logger // of changes of the file; nil keeps quiet
}

// Policy is one version of a policy file. It does not change. It implements
// [approvals.Policy].
type Policy struct {
	doc  *document
	opts Options
}

// Parse reads a policy file. The policy is nil when any of the problems is
// more than a warning. name is the file's; its last part goes into grants.
func Parse(name string, content []byte, opts Options) (*Policy, Problems) {
	doc, problems := parse(name, content)
	if doc == nil {
		return nil, problems
	}
	return &Policy{doc, opts}, problems
}

// Version names the policy as rulings and grants do: the file's name and the
// hash of its content.
func (p *Policy) Version() string { return p.doc.version }

// Tenants are the workspaces, servers and hosts whose people are heard.
func (p *Policy) Tenants() []string { return slices.Clone(p.doc.tenants) }

func refuse(rule approvals.Rule, format string, args ...any) error {
	return &approvals.RefusedError{Rule: rule, Reason: fmt.Sprintf(format, args...)}
}

// Person returns the id of the person behind an account, and whether the file
// says so. An account that nobody has is its own person.
func (p *Policy) Person(account string) (id string, linked bool) {
	if id, ok := p.doc.persons[account]; ok {
		return id, true
	}
	return account, false
}

// accounts returns all accounts of the person behind one.
func (p *Policy) accounts(account ref) []ref {
	if id, ok := p.doc.persons[account.String()]; ok {
		return p.doc.people[id]
	}
	return []ref{account}
}

// Compare implements [approvals.Policy]. It goes by accounts alone: the names
// that people had when they spoke may be out of date.
func (p *Policy) Compare(a, b approvals.Person) approvals.Likeness {
	x, errX := parseRef(a.Account)
	y, errY := parseRef(b.Account)
	if errX != nil || errY != nil {
		return approvals.Unclear
	}
	idX, linkedX := p.Person(a.Account)
	idY, linkedY := p.Person(b.Account)
	knownThere := func(person ref, home string) bool {
		return slices.ContainsFunc(p.accounts(person), func(r ref) bool { return r.home() == home })
	}
	switch {
	case idX == idY, x.platform == discord && y.platform == discord && x.local == y.local:
		return approvals.Same // one Discord account is in many servers
	case linkedX && linkedY, knownThere(x, y.home()), knownThere(y, x.home()):
		return approvals.Different
	}
	return approvals.Unclear
}

// once returns the policy for one decision. Each node's labels are looked up once in
// it: what changes while a decision is taken cannot be one thing to one rule
// and another to the next, nor to the grant.
func (p *Policy) once() *Policy {
	if p.opts.Labels == nil {
		return p
	}
	var mu sync.Mutex
	asked, known := map[string]bool{}, map[string]map[string]string{}
	var failed error
	once := *p
	once.opts.Labels = func(ctx context.Context, nodes []string) (map[string]map[string]string, error) {
		mu.Lock()
		defer mu.Unlock()
		var ask []string
		for _, n := range nodes {
			if !asked[n] {
				asked[n] = true
				ask = append(ask, n)
			}
		}
		if failed == nil && len(ask) > 0 {
			var found map[string]map[string]string
			found, failed = p.opts.Labels(ctx, ask)
			for _, n := range ask {
				if labels, ok := found[n]; ok {
					known[n] = labels
				}
			}
		}
		return maps.Clone(known), failed
	}
	return &once
}

// known returns the account of somebody who may be heard at all.
func (p *Policy) known(who approvals.Person) (ref, error) {
	account, err := parseRef(who.Account)
	switch {
	case !who.Human:
		return ref{}, refuse(approvals.RuleHuman, "only people of this organisation ask and answer: no bots, no guests, nobody from elsewhere")
	case err != nil || account.platform != who.Surface:
		return ref{}, refuse(approvals.RuleHuman, "it is not known which account this comes from")
	case !slices.Contains(p.doc.tenants, account.home()):
		return ref{}, refuse(approvals.RuleHuman, "%s is not among the workspaces that the policy knows (tenants)", account.home())
	}
	return account, nil
}

// in reports whether the person behind an account is among some. An error
// means that it could not be found out.
func (p *Policy) in(ctx context.Context, w who, account ref) (bool, error) {
	id, _ := p.Person(account.String())
	if w.anyone || slices.Contains(w.people, id) || slices.Contains(w.people, account.String()) {
		return true, nil
	}
	var failed error
	for _, g := range p.expand(w.groups) {
		for _, a := range p.accounts(account) {
			if a.home() != g.home() {
				continue
			}
			ok, err := p.member(ctx, a, g)
			if ok && err == nil {
				return true, nil
			}
			failed = errors.Join(failed, err)
		}
	}
	return false, failed
}

func (p *Policy) member(ctx context.Context, account, group ref) (bool, error) {
	if p.opts.Groups == nil {
		return false, fmt.Errorf("looking up the group %s: groups of %s are not connected: %w", group, group.platform, approvals.ErrTryAgain)
	}
	ok, err := p.opts.Groups.Member(ctx, account.String(), group.String())
	if err != nil {
		return false, fmt.Errorf("looking up whether %s is in the group %s: %w: %w", account, group, err, approvals.ErrTryAgain)
	}
	return ok, nil
}

// expand returns the live groups behind the names in a rule.
func (p *Policy) expand(groups []string) []ref {
	var out []ref
	for _, g := range groups {
		if named, ok := p.doc.groups[g]; ok {
			out = append(out, named...)
		} else if r, err := parseRef(g); err == nil {
			out = append(out, r)
		}
	}
	return out
}

// terms is what the rules that apply to a request ask for together.
type terms struct {
	rules    []*rule
	quorum   int
	self     bool
	duration time.Duration
	events   int
	expiry   time.Duration
	labels   map[string]map[string]string // by node; see approvals.Ruling
}

// rulesFor returns the rules that apply to a tier on nodes.
func (p *Policy) rulesFor(ctx context.Context, tier approvals.Tier, nodes []string) ([]*rule, error) {
	rules, _, err := p.fitting(ctx, tier, nodes)
	return rules, err
}

// fitting returns the rules that apply to a tier on nodes, and by node what
// the labels say that any rule looks at.
func (p *Policy) fitting(ctx context.Context, tier approvals.Tier, nodes []string) ([]*rule, map[string]map[string]string, error) {
	if p.opts.Labels == nil {
		return nil, nil, refuse(approvals.RuleNode, "no node is known")
	}
	if len(nodes) == 0 {
		return nil, nil, refuse(approvals.RuleNode, "no node is named")
	}
	known, err := p.opts.Labels(ctx, nodes)
	if err != nil {
		return nil, nil, lookup(nodes, err)
	}
	var out []*rule
	seen := map[string]map[string]string{}
	for _, node := range nodes {
		labels, ok := known[node]
		if !ok {
			return nil, nil, refuse(approvals.RuleNode, "the node %q is not known", node)
		}
		r := p.first(tier, labels)
		if r == nil {
			return nil, nil, refuse(approvals.RuleTier, "no rule of the policy allows the tier %s on node %q", tier, node)
		}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
		seen[node] = p.lookedAt(labels)
	}
	return out, seen, nil
}

// lookup says that the labels of nodes could not be had.
func lookup(nodes []string, err error) error {
	of := fmt.Sprintf("node %q", nodes[0])
	if len(nodes) > 1 {
		of = fmt.Sprintf("%d nodes", len(nodes))
	}
	return fmt.Errorf("looking up the labels of %s: %w: %w", of, err, approvals.ErrTryAgain)
}

// lookedAt returns the values of all labels that a rule looks at, whichever rule
// it is: that an earlier one did not fit counts, too.
func (p *Policy) lookedAt(labels map[string]string) map[string]string {
	out := map[string]string{}
	for _, r := range p.doc.rules {
		for _, c := range r.nodes {
			out[c.key] = labels[c.key]
		}
	}
	return out
}

// first returns the first rule that takes a tier on a node with these labels.
func (p *Policy) first(tier approvals.Tier, labels map[string]string) *rule {
	for _, r := range p.doc.rules {
		if slices.Contains(r.tiers, tier) && r.fits(labels) {
			return r
		}
	}
	return nil
}

func (r *rule) fits(labels map[string]string) bool {
	return all(r.nodes, func(c condition) bool { return c.holds(labels) })
}

// strictest combines rules.
func strictest(rules []*rule) terms {
	t := terms{rules: rules, self: true, duration: maxDuration, events: maxEvents, expiry: maxExpiry}
	for _, r := range rules {
		t.quorum = max(t.quorum, r.quorum)
		t.self = t.self && r.self
		t.duration = min(t.duration, r.duration)
		t.events = min(t.events, r.events)
		t.expiry = min(t.expiry, r.expiry)
	}
	return t
}

// asked returns the terms of a case that its requester may ask for.
func (p *Policy) asked(ctx context.Context, c approvals.Case) (terms, error) {
	if p.doc.paused != "" {
		return terms{}, p.pausedError()
	}
	account, err := p.known(c.Requester)
	if err != nil {
		return terms{}, err
	}
	rules, labels, err := p.fitting(ctx, c.Tier, c.Nodes)
	if err != nil {
		return terms{}, err
	}
	for _, r := range rules {
		if err := p.mayAsk(ctx, r, account, c.Requester.Place); err != nil {
			return terms{}, err
		}
	}
	t := strictest(rules)
	t.labels = labels
	return t, nil
}

func (p *Policy) pausedError() error {
	return refuse(approvals.RulePaused, "the policy has switched kgent off: %s", p.doc.paused)
}

// mayAsk returns nil when a rule lets somebody ask from a place.
func (p *Policy) mayAsk(ctx context.Context, r *rule, account ref, place string) error {
	ok, err := p.in(ctx, r.requesters, account)
	switch {
	case err != nil:
		return err
	case !ok:
		return refuse(approvals.RuleRequester, "the rule %q of the policy does not let you ask for this; %s may", r.name, r.requesters)
	case r.places != nil && !slices.Contains(r.places, place):
		return refuse(approvals.RulePlace, "the rule %q of the policy allows this in certain channels only, and here is none of them", r.name)
	}
	return nil
}

// Judge implements [approvals.Policy].
func (p *Policy) Judge(ctx context.Context, c approvals.Case) (approvals.Ruling, error) {
	t, err := p.asked(ctx, c)
	if err != nil {
		return approvals.Ruling{}, err
	}
	for _, r := range t.rules {
		if r.approvers.empty() {
			return approvals.Ruling{}, refuse(approvals.RuleNobody, "the rule %q of the policy names nobody who could approve this, so it is forbidden", r.name)
		}
	}
	if c.Purpose != approvals.Run {
		k := p.doc.recipes
		if k.forbidden {
			return approvals.Ruling{}, refuse(approvals.RuleNobody, "the policy lets nobody keep or remove recipes")
		}
		t.quorum = max(t.quorum, k.quorum)
		t.self = t.self && k.quorum < 2
	}
	return approvals.Ruling{
		Policy: p.doc.version, Quorum: t.quorum, Self: t.self, Approvers: t.approvers(),
		MaxDuration: t.duration, MaxEvents: t.events, Expiry: t.expiry, Labels: t.labels,
	}, nil
}

// approvers says who is asked.
func (t terms) approvers() string {
	var words []string
	for _, r := range t.rules {
		if s := r.approvers.String(); !slices.Contains(words, s) {
			words = append(words, s)
		}
	}
	if len(words) == 1 {
		return words[0]
	}
	return "people who are each of: " + strings.Join(words, "; and of: ")
}

// String names people: ada, bob or anybody in sre.
func (w who) String() string {
	if w.anyone {
		return "anybody in the organisation"
	}
	var words []string
	words = append(words, w.people...)
	for _, g := range w.groups {
		words = append(words, "anybody in "+g)
	}
	switch n := len(words); n {
	case 0:
		return "nobody"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
}

// MayApprove implements [approvals.Policy].
func (p *Policy) MayApprove(ctx context.Context, c approvals.Case, by approvals.Person) error {
	account, err := p.known(by)
	if err != nil {
		return err
	}
	rules, err := p.rulesFor(ctx, c.Tier, c.Nodes)
	if err != nil {
		return err
	}
	for _, r := range rules {
		ok, err := p.in(ctx, r.approvers, account)
		if err != nil {
			return err
		}
		if !ok {
			return refuse(approvals.RuleApprover, "the rule %q of the policy asks %s, and you are none of them", r.name, r.approvers)
		}
	}
	if k := p.doc.recipes; c.Purpose != approvals.Run && !k.approvers.empty() {
		ok, err := p.in(ctx, k.approvers, account)
		if err != nil {
			return err
		}
		if !ok {
			return refuse(approvals.RuleApprover, "for recipes the policy asks %s, and you are none of them", k.approvers)
		}
	}
	return nil
}

// BreakGlass implements [approvals.Policy].
func (p *Policy) BreakGlass(ctx context.Context, c approvals.Case, by approvals.Person) (approvals.Ruling, error) {
	t, err := p.asked(ctx, c)
	if err != nil {
		return approvals.Ruling{}, err
	}
	account, err := p.known(by)
	if err != nil {
		return approvals.Ruling{}, err
	}
	for _, r := range t.rules {
		if r.glass == nil {
			return approvals.Ruling{}, refuse(approvals.RuleGlass, "the rule %q of the policy lets nobody break the glass", r.name)
		}
		ok, err := p.in(ctx, r.glass.by, account)
		if err != nil {
			return approvals.Ruling{}, err
		}
		if !ok {
			return approvals.Ruling{}, refuse(approvals.RuleGlass, "the rule %q of the policy lets %s break the glass, and you are none of them", r.name, r.glass.by)
		}
		t.duration = min(t.duration, r.glass.maxDuration)
	}
	return approvals.Ruling{
		Policy: p.doc.version, Quorum: 1, Self: true, Approvers: "whoever breaks the glass",
		MaxDuration: t.duration, MaxEvents: t.events, Expiry: t.expiry, Labels: t.labels,
	}, nil
}

// Ask returns the channels in which copies of a case's card are wanted.
func (p *Policy) Ask(ctx context.Context, c approvals.Case) ([]string, error) {
	return p.channels(ctx, c, func(r *rule) []string { return r.ask })
}

// Loud returns the channels that are to hear of broken glass.
func (p *Policy) Loud(ctx context.Context, c approvals.Case) ([]string, error) {
	return p.channels(ctx, c, func(r *rule) []string {
		if r.glass == nil {
			return nil
		}
		return r.glass.tell
	})
}

func (p *Policy) channels(ctx context.Context, c approvals.Case, of func(*rule) []string) ([]string, error) {
	rules, err := p.rulesFor(ctx, c.Tier, c.Nodes)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range rules {
		for _, s := range of(r) {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// MayRequest returns nil when somebody may make a request of any kind, before
// it is known what program it takes, and counts it. Asking again with the
// same request counts once. [Policy.Judge] asks again once the program is
// there.
func (p *Policy) MayRequest(ctx context.Context, by approvals.Person, request string) error {
	if p.doc.paused != "" {
		return p.pausedError()
	}
	account, err := p.known(by)
	if err != nil {
		return err
	}
	if err := p.mayAskAny(ctx, account, by.Place); err != nil {
		return err
	}
	id, _ := p.Person(by.Account)
	q := p.doc.quotas
	limits := []Quota{{"requests:person:" + id, q.personRequests}}
	if by.Place != "" {
		limits = append(limits, Quota{"requests:place:" + by.Place, q.placeRequests})
	}
	return p.take(ctx, request, time.Hour, "request", limits...)
}

// mayAskAny looks for a rule under which somebody may ask.
func (p *Policy) mayAskAny(ctx context.Context, account ref, place string) error {
	var refused, failed error
	for _, r := range p.doc.rules {
		if r.approvers.empty() {
			continue // it forbids
		}
		err := p.mayAsk(ctx, r, account, place)
		var no *approvals.RefusedError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &no):
			failed = errors.Join(failed, err)
		case refused == nil || no.Rule == approvals.RulePlace:
			refused = err // being in the wrong place says more than not being allowed
		}
	}
	if failed != nil {
		return failed
	}
	var no *approvals.RefusedError
	if refused == nil || errors.As(refused, &no) && no.Rule == approvals.RuleRequester {
		return refuse(approvals.RuleRequester, "the policy does not let you ask for anything; whoever keeps it can add you to the requesters of a rule")
	}
	return refused
}

// MayStop returns nil when somebody may stop a run: every person of the
// policy's workspaces. Stopping is always safe, so nothing is looked up.
func (p *Policy) MayStop(by approvals.Person) error {
	_, err := p.known(by)
	return err
}

// MayRun returns nil when the requester of a case may have one more run at a
// time, and counts it, until [Policy.RunEnded] or the end of its time. Asking
// again for the same case counts once.
func (p *Policy) MayRun(ctx context.Context, c approvals.Case) error {
	return p.take(ctx, c.ID, job.MaxWindow+c.Limits.Duration+time.Minute, "run at a time", p.runs(c))
}

// RunEnded gives back what MayRun took.
func (p *Policy) RunEnded(ctx context.Context, c approvals.Case) error {
	if p.opts.Quotas == nil {
		return nil
	}
	if err := p.opts.Quotas.Give(ctx, c.ID, p.runs(c)); err != nil {
		return fmt.Errorf("counting runs: %w", err)
	}
	return nil
}

func (p *Policy) runs(c approvals.Case) Quota {
	id, _ := p.Person(c.Requester.Account)
	return Quota{"runs:person:" + id, p.doc.quotas.personRuns}
}

// take counts against those quotas that have a limit.
func (p *Policy) take(ctx context.Context, id string, hold time.Duration, what string, limits ...Quota) error {
	if id == "" {
		return errors.New("counting: what is to be counted has no id")
	}
	limits = slices.DeleteFunc(limits, func(q Quota) bool { return q.Max == 0 })
	if len(limits) == 0 {
		return nil
	}
	if p.opts.Quotas == nil || p.opts.Now == nil {
		return errors.New("counting: the policy has quotas, but nothing counts them")
	}
	now := p.opts.Now()
	full, err := p.opts.Quotas.Take(ctx, id, now, now.Add(hold), limits...)
	if err != nil {
		return fmt.Errorf("counting: %w: %w", err, approvals.ErrTryAgain)
	}
	if full == nil {
		return nil
	}
	whose := "you have"
	if strings.HasPrefix(full.Key, "requests:place:") {
		whose = "this channel has"
	}
	limit := fmt.Sprintf("%d %ss", full.Max, what)
	if what == "request" {
		limit = fmt.Sprintf("%d requests within an hour", full.Max)
	}
	return refuse(approvals.RuleQuota, "%s reached the limit of %s; again from %s on", whose, limit, full.Free.UTC().Format("15:04:05 UTC"))
}

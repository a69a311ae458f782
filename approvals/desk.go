package approvals

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"kgent/agent/program"
	"kgent/approvals/audit"
	"kgent/executor/job"
)

// Recorder takes the entries of the audit log; see [audit.Log]. A desk hands
// out nothing that it could not record.
type Recorder interface {
	Append(ctx context.Context, e audit.Entry) error
}

// Desk is where cases are opened, decided and granted. All fields must be set.
// A desk keeps no state of its own: several may share a [Store].
type Desk struct {
	Store  Store
	Policy Policy
	Signer Signer
	Audit  Recorder
	Now    func() time.Time
	Random io.Reader // crypto/rand.Reader outside of tests
}

const (
	// maxReason is how much of a reason is kept, in characters.
	maxReason = 500
	// maxAsked is how much of a request's words is kept, in characters, and
	// maxNamed how many of its nodes the text of an audit entry names.
	maxAsked = 2000
	maxNamed = 50
	// maxSubject is the longest subject, in bytes.
	maxSubject = 300
	// maxNodes and maxNodeName bound what one case is about.
	maxNodes    = 1000
	maxNodeName = 253
	// maxAccount is how much of an account is shown, in characters.
	maxAccount = 120
	// grantWithin is how long after the approval a case can be granted: people
	// agreed to a run now, not to one whenever a lost process comes back.
	grantWithin = 10 * time.Minute
)

// Open opens a case for a candidate. When the candidate revises an undecided
// case, that one is superseded before the new one can be seen. A
// [*RefusedError] says why there is no case; then the old one stays as it is.
// After any error but a refusal, a candidate with a Key can be opened again:
// what the first call did is found, and the rest of it is done.
func (d *Desk) Open(ctx context.Context, cand Candidate) (Case, error) {
	c, err := d.open(ctx, cand)
	var refused *RefusedError
	if errors.As(err, &refused) {
		logged := err
		if cand.Asked != "" {
			logged = fmt.Errorf("%w; asked was “%s”", err, plain(cand.Asked, maxAsked))
		}
		if got := d.recordRefusal(ctx, "", cand.Digest.String(), cand.Requester, logged); got != logged {
			return Case{}, got // it could not be recorded
		}
		return Case{}, err
	}
	if err != nil {
		return Case{}, fmt.Errorf("opening request: %w", err)
	}
	return c, nil
}

func (d *Desk) open(ctx context.Context, cand Candidate) (Case, error) {
	c, err := d.draft(cand)
	if err != nil {
		return Case{}, err
	}
	if cand.Key != "" {
		c.ID = keyedID(cand.Key)
		if old, err := d.Store.Get(ctx, c.ID); !errors.Is(err, ErrNotFound) {
			return d.again(ctx, old, c, err)
		}
	} else if c.ID, err = d.randomID(); err != nil {
		return Case{}, err
	}
	if c.Revises != "" {
		old, err := d.Store.Get(ctx, c.Revises)
		if err != nil {
			return Case{}, err
		}
		c.Revision = old.Revision + 1
		c.Authors = slices.Clone(old.Authors)
	}
	for _, a := range append([]Person{c.Requester}, cand.Authors...) {
		if !slices.ContainsFunc(c.Authors, a.is) {
			c.Authors = append(c.Authors, a)
		}
	}
	policy, err := d.policy(ctx)
	if err != nil {
		return Case{}, err
	}
	if c.Ruling, err = judge(ctx, policy, c); err != nil {
		return Case{}, err
	}
	c.Expires = c.Opened.Add(c.Ruling.Expiry)
	if c.Revises != "" {
		if err := d.supersede(ctx, c.Revises, c.ID); err != nil {
			return Case{}, err
		}
	}
	err = d.Store.Create(ctx, c, cand.Program)
	if errors.Is(err, ErrExists) && cand.Key != "" {
		old, err := d.Store.Get(ctx, c.ID)
		return d.again(ctx, old, c, err)
	}
	if err != nil {
		return Case{}, err
	}
	return c, d.record(ctx, audit.Request, c, c.Requester, fmt.Sprintf("%s%s, %s, revision %d", asked(c), c.Tier, extent(c), c.Revision), c)
}

// asked says what somebody wanted and which program is to answer it.
func asked(c Case) string {
	s := ""
	if c.Asked != "" {
		s = "“" + plain(c.Asked, maxAsked) + "”: "
	}
	if c.Purpose != Run {
		s += string(c.Purpose) + " " + c.Subject + ", "
	}
	if p := programOf(c); p != "" {
		s += p + ", "
	}
	return s
}

// programOf names the program of a case.
func programOf(c Case) string {
	switch {
	case c.Origin == "" && c.Program == "":
		return ""
	case c.Origin == "recipe "+c.Program:
		return plain(c.Origin, maxName)
	case c.Origin == "":
		return "program " + plain(c.Program, maxName)
	}
	return fmt.Sprintf("program %s (%s)", plain(c.Program, maxName), plain(c.Origin, maxName))
}

// extent says where and for how long.
func extent(c Case) string {
	var names []string
	for _, n := range c.Nodes[:min(len(c.Nodes), maxNamed)] {
		names = append(names, plain(n, maxNodeName))
	}
	s := "on " + strings.Join(names, ", ")
	if more := len(c.Nodes) - len(names); more > 0 {
		s += fmt.Sprintf(" and %d more nodes", more)
	}
	return fmt.Sprintf("%s for %v", s, c.Limits.Duration)
}

// keyedID makes the id of a case from a candidate's key.
func keyedID(key string) string {
	sum := sha256.Sum256([]byte("kgent case v1 " + key))
	return hex.EncodeToString(sum[:16])
}

// again returns the case that was opened under a key before, when it is what
// would be opened now. The first call may have ended before it was recorded,
// so this one is recorded as well.
func (d *Desk) again(ctx context.Context, old, c Case, err error) (Case, error) {
	switch {
	case err != nil:
		return Case{}, err
	case old.Digest != c.Digest || old.Revises != c.Revises || old.Purpose != c.Purpose || old.Subject != c.Subject || !old.Requester.is(c.Requester):
		return Case{}, ErrKeyReused
	}
	return old, d.record(ctx, audit.Request, old, old.Requester, fmt.Sprintf("the same request again, revision %d, which is %s", old.Revision, old.State), nil)
}

// is reports whether both spoke from one account: then they are one person,
// whatever the policy may say. Where there are no accounts, names are.
func (p Person) is(o Person) bool {
	return p.Account == o.Account && (p.Account != "" || p.ID == o.ID)
}

// draft checks a candidate against its own bytes.
func (d *Desk) draft(cand Candidate) (Case, error) {
	if err := checkPerson(cand.Requester); err != nil {
		return Case{}, err
	}
	nodes := slices.Sorted(slices.Values(cand.Nodes))
	switch {
	case len(nodes) == 0:
		return Case{}, refuse(RuleNode, "no node is named")
	case len(nodes) > maxNodes:
		return Case{}, refuse(RuleNode, "%d nodes are named, at most %d", len(nodes), maxNodes)
	case nodes[0] == "":
		return Case{}, refuse(RuleNode, "a node has no name")
	case slices.ContainsFunc(nodes, func(n string) bool { return len(n) > maxNodeName }):
		return Case{}, refuse(RuleNode, "a node's name is longer than %d bytes", maxNodeName)
	case len(slices.Compact(slices.Clone(nodes))) != len(nodes):
		return Case{}, refuse(RuleNode, "a node is named twice")
	case !slices.Contains([]Purpose{Run, KeepRecipe, ForgetRecipe}, cand.Purpose), (cand.Purpose == Run) != (cand.Subject == ""), len(cand.Subject) > maxSubject:
		return Case{}, refuse(RuleCandidate, "it is not said what is to be agreed to")
	case cand.Limits.Duration <= 0:
		return Case{}, refuse(RuleDuration, "a run of %v is none", cand.Limits.Duration)
	}
	digest, err := job.DigestOf(cand.Program, nodes, cand.Limits)
	if err != nil {
		return Case{}, err
	}
	if digest != cand.Digest {
		return Case{}, refuse(RuleCandidate, "what was shown has the digest %s, what would run has %s", cand.Digest.Short(), digest.Short())
	}
	risk, err := AssessRun(cand.Program, cand.Limits, cand.Proved)
	if err != nil {
		return Case{}, refuse(RuleCandidate, "%v", err)
	}
	if cand.Tier < risk.Tier || cand.Tier > Act {
		return Case{}, refuse(RuleCandidate, "it was shown as %s, but it is %s: %s", cand.Tier, risk.Tier, risk.Why[0])
	}
	manifest, err := program.DecodeManifest(cand.Program.Manifest)
	if err != nil {
		return Case{}, refuse(RuleCandidate, "%v", err)
	}
	return Case{
		Asked: plain(cand.Asked, maxAsked), Origin: plain(cand.Origin, maxName), Program: plain(manifest.Name, maxName),
		Revision: 1, Revises: cand.Revises, Digest: digest.String(),
		Tier: cand.Tier, Base: risk.Base, Why: append(risk.Why, cand.Why...),
		Nodes: nodes, Limits: cand.Limits, Requester: cand.Requester, Purpose: cand.Purpose, Subject: plain(cand.Subject, maxSubject),
		State: Pending, Opened: d.Now().UTC().Round(0),
	}, nil
}

func checkPerson(p Person) error {
	switch {
	case p.ID == "":
		return refuse(RuleHuman, "nobody is named")
	case !p.Human:
		return refuse(RuleHuman, "%s is not known to be a person of this organisation; only people ask and answer", plain(p.ID, maxName))
	}
	return nil
}

// policy returns the policy as it is now, for one decision.
func (d *Desk) policy(ctx context.Context) (Policy, error) {
	p, ok := d.Policy.(Changing)
	if !ok {
		return d.Policy, nil
	}
	current, err := p.Current(ctx)
	if err != nil {
		return nil, asking("for the policy", err)
	}
	return current, nil
}

// judge asks the policy and holds the case against the answer.
func judge(ctx context.Context, p Policy, c Case) (Ruling, error) {
	r, err := p.Judge(ctx, c)
	if err != nil {
		return Ruling{}, asking("the policy", err)
	}
	return r, r.allows(c)
}

// judgeGlass is judge for a case whose glass was or is to be broken by v.
func judgeGlass(ctx context.Context, p Policy, c Case, v Vote) (Ruling, error) {
	if strings.TrimSpace(v.Reason) == "" {
		return Ruling{}, refuse(RuleReason, "breaking the glass takes a reason, which everybody will read")
	}
	r, err := p.BreakGlass(ctx, c, v.By)
	if err != nil {
		return Ruling{}, asking("who may break the glass", err)
	}
	r.Quorum, r.Self, r.Policy = 1, true, r.Policy+" (break-glass)"
	return r, r.allows(c)
}

// asking passes a policy's refusal on, which speaks to people as it is, and
// says of other errors what they were about.
func asking(what string, err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused
	}
	return fmt.Errorf("asking %s: %w", what, err)
}

// Get returns a case as it stands. A case that is past its time may still be
// pending in it; see [Desk.Sweep].
func (d *Desk) Get(ctx context.Context, id string) (Case, error) { return d.Store.Get(ctx, id) }

// Program returns the program that a case is about. A store that has another one
// under the case's name is not believed: what was said of the one must not be
// shown over the other.
func (d *Desk) Program(ctx context.Context, id string) (job.Program, error) {
	fail := func(err error) (job.Program, error) {
		return job.Program{}, fmt.Errorf("reading the program of a request: %w", err)
	}
	c, err := d.Store.Get(ctx, id)
	if err != nil {
		return fail(err)
	}
	p, err := d.Store.Program(ctx, id)
	if err != nil {
		return fail(err)
	}
	digest, err := job.DigestOf(p, c.Nodes, c.Limits)
	if err != nil {
		return fail(err)
	}
	if digest.String() != c.Digest {
		return fail(fmt.Errorf("%w: it has the digest %s, and the request is about %.12s", ErrSwapped, digest.Short(), c.Digest))
	}
	return p, nil
}

// Decide takes one person's answer to a case and returns the case as it then
// stands. It is the only way to answer, and it is atomic: of all answers given
// at once, on whatever surface, each is taken entirely or refused with a
// [*RefusedError] or [*StaleError] that says why. With any other error the
// answer may not have been taken.
func (d *Desk) Decide(ctx context.Context, id string, v Vote) (Case, error) {
	v.Reason = plain(v.Reason, maxReason)
	for {
		c, err := d.Store.Get(ctx, id)
		if err != nil {
			return Case{}, fmt.Errorf("reading request: %w", err)
		}
		now := d.Now().UTC().Round(0)
		if expired, ok := c.expire(now); ok {
			if c, err = d.end(ctx, expired); errors.Is(err, ErrConflict) {
				continue
			} else if err != nil {
				return c, err
			}
		}
		v.At = now
		next, err := d.answer(ctx, c, v)
		if err != nil {
			return c, d.recordRefusal(ctx, c.ID, c.Digest, v.By, err)
		}
		switch err := d.Store.Swap(ctx, next); {
		case errors.Is(err, ErrConflict):
			continue // somebody else answered meanwhile: look again
		case err != nil:
			return c, fmt.Errorf("storing answer: %w", err)
		}
		next.Version++
		if v.Choice == BreakGlass {
			return next, d.record(ctx, audit.Glass, next, v.By, fmt.Sprintf("GLASS BROKEN, %s, %d of %d had approved: %s", next.Tier, len(c.Approvals(c.Ruling.Self)), c.Ruling.Quorum, v.Reason), v)
		}
		return next, d.record(ctx, audit.Vote, next, v.By, fmt.Sprintf("%s: %s", v.Choice, next.State), v)
	}
}

// answer applies a vote to a case.
func (d *Desk) answer(ctx context.Context, c Case, v Vote) (Case, error) {
	if err := checkPerson(v.By); err != nil {
		return Case{}, err
	}
	if !c.Undecided() {
		return Case{}, c.stale()
	}
	next := c.clone()
	next.Votes = append(next.Votes, v)
	end := func(s State) (Case, error) {
		next.State, next.Reason, next.By, next.Decided = s, v.Reason, v.By.ID, v.At
		return next, nil
	}
	if v.Choice == Cancel {
		if err := d.mayCancel(ctx, c, v.By); err != nil {
			return Case{}, err
		}
		return end(Cancelled)
	}
	if c.State != Pending {
		return Case{}, c.stale()
	}
	policy, err := d.policy(ctx)
	if err != nil {
		return Case{}, err
	}
	if v.Choice == BreakGlass && c.Purpose != Run {
		return Case{}, refuse(RuleGlass, "nothing runs by this, so it can wait for the others")
	}
	if v.Choice == BreakGlass {
		if _, err := judgeGlass(ctx, policy, c, v); err != nil {
			return Case{}, err
		}
		next.Glass = true
		return end(Approved)
	}
	if err := policy.MayApprove(ctx, c, v.By); err != nil {
		// Who asked for it is told that, and not which list they are not in.
		if v.Choice == Approve && !c.Ruling.Self && !all(c.Authors, func(a Person) bool { return policy.Compare(v.By, a) != Same }) {
			return Case{}, ownRequest(c.Ruling)
		}
		return Case{}, asking("who may answer", err)
	}
	switch v.Choice {
	case Deny:
		return end(Denied) // also what the policy no longer allows
	case Approve:
	default:
		return Case{}, refuse(RuleChoice, "%q is no answer", plain(string(v.Choice), maxName))
	}
	ruling, err := judge(ctx, policy, c)
	if err != nil {
		return Case{}, err
	}
	counted, err := count(ctx, policy, c, ruling)
	if err != nil {
		return Case{}, err
	}
	if err := counts(policy, c, ruling, counted, v.By); err != nil {
		return Case{}, err
	}
	if len(counted)+1 >= ruling.Quorum {
		return end(Approved)
	}
	return next, nil
}

// mayCancel asks nobody when who asked takes it back from the same account.
func (d *Desk) mayCancel(ctx context.Context, c Case, by Person) error {
	if by.is(c.Requester) {
		return nil
	}
	policy, err := d.policy(ctx)
	if err != nil {
		return err
	}
	if policy.Compare(by, c.Requester) != Same {
		return refuse(RuleChoice, "only %s, who asked, can take it back; deny it instead", plain(c.Requester.ID, maxName))
	}
	return nil
}

// counts returns nil when an approval by somebody who may approve would count
// beside those that count already.
func counts(p Policy, c Case, r Ruling, counted []Vote, by Person) error {
	if !r.Self {
		for _, a := range c.Authors {
			switch p.Compare(by, a) {
			case Different:
			case Same:
				return ownRequest(r)
			default:
				return unclear(by, a, "asked for this")
			}
		}
	}
	for _, o := range c.Votes {
		if o.Choice == Approve && p.Compare(by, o.By) == Same {
			return refuse(RuleTwice, "you have approved this already; %d of %d have", len(counted), r.Quorum)
		}
	}
	for _, o := range counted {
		if p.Compare(by, o.By) != Different {
			return unclear(by, o.By, "has approved this")
		}
	}
	return nil
}

func ownRequest(r Ruling) error {
	return refuse(RuleSelf, "you asked for this, so somebody else must approve it: %s", r.Approvers)
}

// unclear refuses an account that may be another one's person, and says how
// to make it clear.
func unclear(by, other Person, did string) error {
	return refuse(RuleIdentity, "nobody has said whether the account %s is also that of %s, who %s from %s, so your approval cannot count as another person's; have both accounts added to the people of the policy file, or let somebody of the same workspace approve",
		plain(account(by), maxAccount), plain(other.ID, maxName), did, plain(account(other), maxAccount))
}

// account names what somebody spoke from.
func account(p Person) string {
	if p.Account == "" {
		return p.ID
	}
	return p.Account
}

// count returns the approvals that count now: of people who may approve, who
// are certainly none of the authors, and certainly different from each other.
func count(ctx context.Context, p Policy, c Case, r Ruling) ([]Vote, error) {
	var out []Vote
	for _, v := range c.Votes {
		different := func(o Person) bool { return p.Compare(v.By, o) == Different }
		if v.Choice != Approve || !r.Self && !all(c.Authors, different) || !all(out, func(o Vote) bool { return different(o.By) }) {
			continue
		}
		err := p.MayApprove(ctx, c, v.By)
		var refused *RefusedError
		switch {
		case err == nil:
			out = append(out, v)
		case !errors.As(err, &refused):
			return nil, fmt.Errorf("asking who may answer: %w", err)
		}
	}
	return out, nil
}

func all[T any](list []T, ok func(T) bool) bool {
	return !slices.ContainsFunc(list, func(x T) bool { return !ok(x) })
}

// agreed returns the ruling that an approved case is granted under now, and
// the votes that carry it, or the refusal.
func agreed(ctx context.Context, p Policy, c Case) (Ruling, []Vote, error) {
	if c.Glass {
		i := slices.IndexFunc(c.Votes, func(v Vote) bool { return v.Choice == BreakGlass })
		if i < 0 {
			return Ruling{}, nil, refuse(RuleGlass, "nobody has broken the glass")
		}
		r, err := judgeGlass(ctx, p, c, c.Votes[i])
		return r, c.Votes[i : i+1], err
	}
	r, err := judge(ctx, p, c)
	if err != nil {
		return Ruling{}, nil, err
	}
	counted, err := count(ctx, p, c, r)
	if err != nil {
		return Ruling{}, nil, err
	}
	if len(counted) < r.Quorum {
		return Ruling{}, nil, refuse(RuleApprover, "%d of those who approved may do so, %d are needed: the policy has changed", len(counted), r.Quorum)
	}
	return r, counted, nil
}

// expire returns the case as expired when its time is over.
func (c Case) expire(now time.Time) (Case, bool) {
	next := c.clone()
	next.State, next.By, next.Decided = Expired, "", now
	switch {
	case c.State == Pending && !now.Before(c.Expires):
		next.Reason = "nobody decided in time"
	case c.State == Approved && c.Grant == nil && c.Done.IsZero() && now.Sub(c.Decided) >= grantWithin:
		next.Reason = "it was approved, but not started in time"
	default:
		return c, false
	}
	return next, true
}

// end stores an end that no vote made.
func (d *Desk) end(ctx context.Context, c Case) (Case, error) {
	if err := d.Store.Swap(ctx, c); err != nil {
		return c, fmt.Errorf("storing state: %w", err)
	}
	c.Version++
	return c, d.record(ctx, audit.State, c, Person{}, fmt.Sprintf("%s: %s", c.State, c.Reason), nil)
}

// supersede ends an undecided case because a new revision takes its place. A
// case that has come to another end is left as it is.
func (d *Desk) supersede(ctx context.Context, id, next string) error {
	for {
		c, err := d.Store.Get(ctx, id)
		if err != nil {
			return err
		}
		if c.State == Superseded && c.Next == next {
			return nil // by this one, before a crash
		}
		if c.State == Superseded {
			return c.stale() // another revision was faster
		}
		if !c.Undecided() {
			return nil
		}
		c.State, c.Reason, c.By, c.Decided = Superseded, "there is a newer revision", "", d.Now().UTC().Round(0)
		c.Next = next
		if _, err = d.end(ctx, c); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// Undeliverable ends a pending case because the question reached nobody.
func (d *Desk) Undeliverable(ctx context.Context, id, reason string) (Case, error) {
	for {
		c, err := d.Store.Get(ctx, id)
		if err != nil {
			return Case{}, fmt.Errorf("reading request: %w", err)
		}
		if c.State != Pending {
			return c, c.stale()
		}
		c.State, c.Reason, c.By, c.Decided = Undeliverable, plain(reason, maxReason), "", d.Now().UTC().Round(0)
		if c, err = d.end(ctx, c); !errors.Is(err, ErrConflict) {
			return c, err
		}
	}
}

// Sweep ends all cases whose time is over and returns them. Votes and grants
// do not depend on it: they look at the time themselves.
func (d *Desk) Sweep(ctx context.Context) ([]Case, error) {
	cases, err := d.Store.Undecided(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading requests: %w", err)
	}
	var out []Case
	for _, c := range cases {
		expired, ok := c.expire(d.Now().UTC().Round(0))
		if !ok {
			continue
		}
		expired, err := d.end(ctx, expired)
		if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
			continue // it came to another end
		}
		if err != nil {
			return out, err
		}
		out = append(out, expired)
	}
	return out, nil
}

// Grant signs the grant of an approved case and returns the sealed envelope.
// It does so once: a second call gets [ErrGranted], or, before the approval,
// [ErrPending], and in other states a [*StaleError]. When the process ends
// before the envelope is sent, another one can have it from [Desk.Envelope].
func (d *Desk) Grant(ctx context.Context, id string) ([]byte, *job.Grant, error) {
	fail := func(err error) ([]byte, *job.Grant, error) { return nil, nil, fmt.Errorf("granting: %w", err) }
	p, err := d.Program(ctx, id)
	if err != nil {
		return fail(err)
	}
	for {
		c, err := d.Store.Get(ctx, id)
		if err != nil {
			return fail(err)
		}
		now := d.Now().UTC().Round(0)
		if expired, ok := c.expire(now); ok {
			if c, err = d.end(ctx, expired); errors.Is(err, ErrConflict) {
				continue
			} else if err != nil {
				return fail(err)
			}
		}
		switch {
		case c.Purpose != Run:
			return fail(ErrPurpose)
		case c.State == Pending:
			return fail(ErrPending)
		case c.State != Approved:
			return fail(c.stale())
		case c.Grant != nil:
			return fail(ErrGranted)
		}
		next, envelope, err := d.seal(ctx, c, p, now)
		if err != nil {
			return fail(d.recordRefusal(ctx, c.ID, c.Digest, Person{}, err))
		}
		switch err := d.Store.Swap(ctx, next); {
		case errors.Is(err, ErrConflict):
			continue
		case err != nil:
			return fail(err)
		}
		// From here on the case is granted. What cannot be recorded is not
		// handed out, and then never runs.
		if err := d.record(ctx, audit.Grant, next, Person{}, granted(next), next.Grant); err != nil {
			return fail(err)
		}
		return envelope, next.clone().Grant, nil
	}
}

// Redeem says that what a case other than a run's was opened for may be done now: it is
// approved, for this purpose and subject, and the policy still says so. The first call is
// recorded; later ones, of whoever takes over, return the same case.
func (d *Desk) Redeem(ctx context.Context, id string, purpose Purpose, subject string) (Case, error) {
	fail := func(err error) (Case, error) { return Case{}, fmt.Errorf("carrying out: %w", err) }
	for {
		c, err := d.Store.Get(ctx, id)
		if err != nil {
			return fail(err)
		}
		now := d.Now().UTC().Round(0)
		if expired, ok := c.expire(now); ok {
			if c, err = d.end(ctx, expired); errors.Is(err, ErrConflict) {
				continue
			} else if err != nil {
				return fail(err)
			}
		}
		switch {
		case purpose == Run || c.Purpose != purpose || c.Subject != plain(subject, maxSubject):
			return fail(ErrPurpose)
		case c.State == Pending:
			return fail(ErrPending)
		case c.State != Approved:
			return fail(c.stale())
		case !c.Done.IsZero():
			return c, nil
		}
		policy, err := d.policy(ctx)
		if err == nil {
			_, _, err = agreed(ctx, policy, c)
		}
		if err != nil {
			return fail(d.recordRefusal(ctx, c.ID, c.Digest, Person{}, err))
		}
		next := c.clone()
		next.Done = now
		switch err := d.Store.Swap(ctx, next); {
		case errors.Is(err, ErrConflict):
			continue
		case err != nil:
			return fail(err)
		}
		next.Version++
		return next, d.record(ctx, audit.State, next, Person{}, fmt.Sprintf("carried out: %s %s", next.Purpose, next.Subject), nil)
	}
}

func granted(c Case) string {
	s := extent(c)
	if p := programOf(c); p != "" {
		s = p + " " + s
	}
	if c.Glass {
		s += ", GLASS BROKEN by " + plain(c.By, maxName) + ": " + c.Reason
	}
	return s
}

// Envelope returns the envelope of a granted case once more, to the byte what
// [Desk.Grant] returned as long as the key is the same: for a process that
// takes over from one that may have died before it sent it. A node takes a
// grant once, so sending it twice does no harm. The policy is asked again, as
// for the grant; what it no longer allows is not handed out. [ErrNotGranted]
// and [ErrLapsed] say that there is nothing to send.
func (d *Desk) Envelope(ctx context.Context, id string) ([]byte, *job.Grant, error) {
	fail := func(err error) ([]byte, *job.Grant, error) {
		return nil, nil, fmt.Errorf("granting once more: %w", err)
	}
	c, err := d.Store.Get(ctx, id)
	if err != nil {
		return fail(err)
	}
	switch {
	case c.State != Approved || c.Grant == nil:
		return fail(ErrNotGranted)
	case !d.Now().Before(c.Grant.Expires):
		return fail(ErrLapsed)
	case c.Grant.Digest != c.Digest:
		return fail(errors.New("the stored grant is not of this case"))
	}
	policy, err := d.policy(ctx)
	if err == nil {
		_, _, err = agreed(ctx, policy, c)
	}
	if err != nil {
		return fail(d.recordRefusal(ctx, c.ID, c.Digest, Person{}, err))
	}
	p, err := d.Program(ctx, id)
	if err != nil {
		return fail(err)
	}
	envelope, err := d.Signer.Sign(*c.Grant, p)
	if err != nil {
		return fail(err)
	}
	if err := d.record(ctx, audit.Grant, c, Person{}, "handed out once more: "+granted(c), c.Grant); err != nil {
		return fail(err)
	}
	return envelope, c.clone().Grant, nil
}

// seal makes the grant of a case from those votes that count now.
func (d *Desk) seal(ctx context.Context, c Case, p job.Program, now time.Time) (Case, []byte, error) {
	policy, err := d.policy(ctx)
	if err != nil {
		return Case{}, nil, err
	}
	ruling, counted, err := agreed(ctx, policy, c)
	if err != nil {
		return Case{}, nil, err
	}
	g := job.Grant{
		Version: job.GrantVersion, Purpose: job.PurposeRun, Digest: c.Digest, Nodes: c.Nodes, Limits: c.Limits, Labels: ruling.Labels,
		Approval:  job.Approval{Requester: c.Requester.ID, Account: c.Requester.Account, Tier: c.Tier.String(), Quorum: ruling.Quorum, Policy: ruling.Policy},
		NotBefore: now, Expires: now.Add(job.MaxWindow),
	}
	for _, v := range counted {
		g.Approval.Approvers = append(g.Approval.Approvers, job.Person{ID: v.By.ID, Surface: v.By.Surface, Account: v.By.Account, Message: v.By.Message, At: v.At})
	}
	g.ID = grantID(c.ID)
	if g.Run, err = d.randomID(); err != nil {
		return Case{}, nil, err
	}
	envelope, err := d.Signer.Sign(g, p)
	if err != nil {
		return Case{}, nil, err
	}
	next := c.clone()
	next.Grant = &g
	return next, envelope, nil
}

// grantID makes the id of a case's grant. It is always the same one: when the
// store is set back to a time before the grant, what is granted once more is
// the grant that the nodes remember.
func grantID(caseID string) string {
	sum := sha256.Sum256([]byte("kgent grant v1 " + caseID))
	return hex.EncodeToString(sum[:16])
}

func (d *Desk) randomID() (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(d.Random, id[:]); err != nil {
		return "", fmt.Errorf("making a random id: %w", err)
	}
	return hex.EncodeToString(id[:]), nil
}

// recordTimeout is how long a change that was made may take to be recorded. It
// is recorded also when who made it has gone away meanwhile.
const recordTimeout = 10 * time.Second

func (d *Desk) append(ctx context.Context, e audit.Entry) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := d.Audit.Append(ctx, e); err != nil {
		return fmt.Errorf("recording %s: %w", e.Kind, err)
	}
	return nil
}

// record writes an audit entry about a case.
func (d *Desk) record(ctx context.Context, kind audit.Kind, c Case, by Person, detail string, data any) error {
	e := audit.Entry{Kind: kind, Case: c.ID, Digest: c.Digest, Person: by.ID, Surface: by.Surface, Account: by.Account, Detail: detail}
	if c.Grant != nil {
		e.Run = c.Grant.Run
	}
	if data != nil {
		raw, err := json.Marshal(data)
		if err != nil {
			return fmt.Errorf("encoding audit data: %w", err)
		}
		e.Data = raw
	}
	return d.append(ctx, e)
}

// Refused records that somebody was refused before it came to a case, such as
// an account that is no person's.
func (d *Desk) Refused(ctx context.Context, by Person, refusal *RefusedError) error {
	return d.append(ctx, audit.Entry{Kind: audit.Refusal, Person: by.ID, Surface: by.Surface, Account: by.Account, Detail: refusal.Error()})
}

// recordRefusal writes that something was refused, and returns the refusal.
func (d *Desk) recordRefusal(ctx context.Context, id, digest string, by Person, refusal error) error {
	e := audit.Entry{Kind: audit.Refusal, Case: id, Digest: digest, Person: by.ID, Surface: by.Surface, Account: by.Account, Detail: refusal.Error()}
	if err := d.append(ctx, e); err != nil {
		return errors.Join(refusal, err)
	}
	return refusal
}

// Package approvals decides whether a program may run, and makes the grant
// that lets it.
//
// [Assess] derives from a program's bytes what it could do: its risk [Tier],
// the reasons for it, and its doings in plain words. A [Desk] opens a [Case]
// for exactly one digest, that is, these bytes on these nodes within these
// limits; asks its [Policy] whose agreement it takes; and counts votes. Every
// surface (terminal, chat) casts votes through the one function [Desk.Decide].
// When enough people have agreed, [Desk.Grant] signs the grant, once.
//
// The rules that hold whatever the policy says:
//
//   - People approve a digest. Anything else is a new case, and no vote is
//     carried over.
//   - The requester does not count, unless the policy lets people answer for
//     themselves. One person counts once, from however many accounts they
//     speak; accounts that may be one person's count as one.
//   - Only people vote: what is not known to be a person is refused.
//   - What is not answered expires; what cannot be looked up is refused; a
//     policy that allows nothing allows nothing.
//   - Every refused or late vote gets an error that says why.
//   - Breaking the glass, where the policy allows it, replaces the quorum by one
//     person with a reason. The case, the grant and the log say so.
//
// The package knows no chat and loads no program.
package approvals

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"kgent/executor/job"
)

// State is where a case stands. All but pending and approved are final.
type State string

const (
	Pending       State = "pending"
	Approved      State = "approved"      // enough people agreed
	Denied        State = "denied"        // somebody who may approve said no
	Expired       State = "expired"       // nobody decided, or nobody started it, in time
	Superseded    State = "superseded"    // there is a newer revision
	Cancelled     State = "cancelled"     // the requester took it back
	Undeliverable State = "undeliverable" // the question reached nobody
)

// Person is somebody who requests or votes. ID names the person, not the
// account: whoever has two accounts has one ID.
type Person struct {
	ID      string `json:"id"`
	Surface string `json:"surface"` // terminal, slack, discord
	// Account is what they spoke from: slack:<team>/<user>,
	// discord:<guild>/<user> or terminal:<host>/<user>. Who is behind it is the
	// policy's to say, at every decision anew.
	Account string `json:"account,omitempty"`
	// Place is the channel they spoke in: slack:<team>/<channel>,
	// discord:<guild>/<channel>.
	Place   string `json:"place,omitempty"`
	Message string `json:"message,omitempty"` // where they said so
	// Human is true when the surface has made sure that this is a person of
	// the own organisation: no bot, no workflow, no guest. Nobody else counts.
	Human bool `json:"human"`
}

// Choice is what a vote says.
type Choice string

const (
	Approve Choice = "approve"
	Deny    Choice = "deny"
	Cancel  Choice = "cancel" // by the requester only
	// BreakGlass approves at once, without the others, in an emergency. It takes
	// a reason, and somebody whom the policy trusts with it; the requester may
	// be that somebody.
	BreakGlass Choice = "break-glass"
)

// Vote is one answer of one person. The desk sets At.
type Vote struct {
	By     Person    `json:"by"`
	Choice Choice    `json:"choice"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Candidate is what a case is opened for.
type Candidate struct {
	Program job.Program
	Nodes   []string
	Limits  job.Limits
	// Digest and Tier are what the people who are asked get to see. The desk
	// computes both itself and opens no case when the digest differs or the
	// tier is lower; a caller may raise the tier, and says why in Why.
	Digest job.Digest
	Tier   Tier
	Why    []string
	// Proved says that the program was proved to do what was asked. One that
	// was not counts as one tier more.
	Proved    bool
	Requester Person
	// Authors had a part in it besides the requester and the authors of what it
	// revises, as when they asked for what came to no case. They do not count
	// as approvers either.
	Authors []Person
	// Asked is the request in the words of those who asked, and Origin where the
	// program came from: "recipe tcp-connect", "model gpt-…". Both are for whoever
	// reads the audit log; nothing is decided by them.
	Asked, Origin string
	// Purpose is what the agreement is for; empty is to run the program. Subject says of any
	// other what exactly, in words that are the same for the same thing only: people agree to
	// it as they agree to the digest.
	Purpose Purpose
	Subject string
	// Revises is the case this one replaces, if any.
	Revises string
	// Key makes opening repeatable: of all calls with one key, only the first
	// opens a case, and the others return it as it then stands. The key must be
	// of one request and revision only, and hard to guess. Empty: each call
	// opens a case.
	Key string
}

// Purpose is what people are asked to agree to.
type Purpose string

const (
	// Run runs the program.
	Run Purpose = ""
	// KeepRecipe keeps it as a recipe of the team's.
	KeepRecipe Purpose = "keep recipe"
	// ForgetRecipe removes a recipe.
	ForgetRecipe Purpose = "forget recipe"
)

// Case is one question and its answers. It is a value: changing it changes
// nothing until a [Store] has taken it.
type Case struct {
	// ID is 128 bits, hexadecimal, random or made from the candidate's key. It
	// is all that a button needs to carry, and gives whoever knows it no right.
	ID       string `json:"id"`
	Revision int    `json:"revision"`
	Revises  string `json:"revises,omitempty"`
	// Next is the case that superseded this one.
	Next string `json:"next,omitempty"`

	// Asked and Origin are the candidate's, and Program is its manifest's name.
	Asked   string `json:"asked,omitempty"`
	Origin  string `json:"origin,omitempty"`
	Program string `json:"program,omitempty"`

	// Purpose and Subject are the candidate's.
	Purpose Purpose `json:"purpose,omitempty"`
	Subject string  `json:"subject,omitempty"`

	Digest string `json:"digest"`
	// Tier is what people were shown. Base is what follows from the program's
	// bytes alone; Tier is higher where somebody raised it.
	Tier      Tier       `json:"tier"`
	Base      Tier       `json:"base,omitzero"`
	Why       []string   `json:"why"`
	Nodes     []string   `json:"nodes"`
	Limits    job.Limits `json:"limits"`
	Requester Person     `json:"requester"`
	// Authors are the requesters of this and all former revisions. None of
	// them counts as an approver for somebody else's eyes.
	Authors []Person `json:"authors"`
	// Ruling is the policy's word when the case was opened, for the card. It
	// is asked again at each vote.
	Ruling Ruling `json:"ruling"`

	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // of the state
	By     string `json:"by,omitempty"`     // whose vote made the state
	// Glass is true when the case was approved by breaking the glass.
	Glass   bool      `json:"glass,omitempty"`
	Votes   []Vote    `json:"votes"` // those that were accepted, in order
	Opened  time.Time `json:"opened"`
	Expires time.Time `json:"expires"`
	Decided time.Time `json:"decided,omitzero"`
	// Done is when what was agreed to, other than a run, was carried out.
	Done time.Time `json:"done,omitzero"`
	// Grant is set once the case is granted.
	Grant *job.Grant `json:"grant,omitempty"`

	// Version counts changes; a [Store] takes a change of the newest only.
	Version uint64 `json:"version"`
}

// Undecided reports whether the case can still come to another end: it waits
// for votes, or it is approved and has not been granted.
func (c Case) Undecided() bool {
	return c.State == Pending || c.State == Approved && c.Grant == nil && c.Done.IsZero()
}

// Approvals returns the approving votes for a card: one per person, and none
// of the authors unless they may answer for themselves. It goes by the names
// that people had when they voted; what a desk counts, it asks the policy.
func (c Case) Approvals(self bool) []Vote {
	var out []Vote
	for _, v := range c.Votes {
		named := func(p Person) bool { return p.ID == v.By.ID }
		if v.Choice != Approve || !self && slices.ContainsFunc(c.Authors, named) ||
			slices.ContainsFunc(out, func(o Vote) bool { return named(o.By) }) {
			continue
		}
		out = append(out, v)
	}
	return out
}

// clone returns a copy that shares nothing with c.
func (c Case) clone() Case {
	c.Why, c.Nodes, c.Authors = slices.Clone(c.Why), slices.Clone(c.Nodes), slices.Clone(c.Authors)
	c.Votes = slices.Clone(c.Votes)
	if c.Grant != nil {
		g := *c.Grant
		g.Nodes, g.Approval.Approvers = slices.Clone(g.Nodes), slices.Clone(g.Approval.Approvers)
		c.Grant = &g
	}
	return c
}

// Rule names what a refusal is about.
type Rule string

const (
	RuleCandidate Rule = "candidate" // the candidate is not what it says, or no program
	RuleRequester Rule = "requester" // this person may not ask
	RuleTier      Rule = "tier"      // programs of this tier are not allowed
	RuleNode      Rule = "node"
	RuleDuration  Rule = "duration"
	RuleEvents    Rule = "events"
	RuleHuman     Rule = "human"    // not known to be a person
	RuleSelf      Rule = "self"     // the requester does not count
	RuleApprover  Rule = "approver" // this person is not asked
	RuleTwice     Rule = "twice"    // this person has approved already
	RuleChoice    Rule = "choice"   // no such answer, or not this person's to give
	RuleNobody    Rule = "nobody"   // the policy names nobody or allows nothing
	RuleIdentity  Rule = "identity" // this account may be somebody's who counts already
	RuleReason    Rule = "reason"   // breaking the glass takes a reason
	RuleGlass     Rule = "glass"    // this person may not break the glass
	RulePaused    Rule = "paused"   // the policy has switched everything off
	RulePolicy    Rule = "policy"   // the policy file cannot be used as it is
	RulePlace     Rule = "place"    // not in this channel
	RuleQuota     Rule = "quota"    // too much of it lately, or at once
)

// RefusedError says that something is not allowed, in words for the person
// who tried.
type RefusedError struct {
	Rule   Rule
	Reason string
}

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

func refuse(rule Rule, format string, args ...any) error {
	return &RefusedError{rule, fmt.Sprintf(format, args...)}
}

// StaleError says that a vote came too late: the case has its end.
type StaleError struct {
	State  State
	By     string    // whose vote it was, if anybody's
	At     time.Time // when
	Reason string
}

func (e *StaleError) Error() string {
	s := "too late: this is already " + string(e.State)
	if e.By != "" {
		s += " by " + plain(e.By, maxName)
	}
	s += " (" + e.At.UTC().Format("2006-01-02 15:04:05 UTC") + ")"
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

func (c Case) stale() error {
	return &StaleError{State: c.State, By: c.By, At: c.Decided, Reason: c.Reason}
}

// Errors of [Desk.Grant], of stores, and of reading unknown cases.
var (
	// ErrNotFound: there is no such case. Cases are forgotten some time after
	// their end, so it may have been one.
	ErrNotFound = errors.New("there is no such request, or it is long over; ask again")
	// ErrExists: a case of this id is stored already.
	ErrExists = errors.New("case exists already")
	// ErrConflict: the case was changed by somebody else since it was read.
	ErrConflict = errors.New("case was changed meanwhile")
	// ErrPending: the case is not approved yet.
	ErrPending = errors.New("not approved yet")
	// ErrGranted: the case was granted before. A grant is made once;
	// [Desk.Envelope] returns it again.
	ErrGranted = errors.New("granted already")
	// ErrPurpose: what was agreed to is not a run, or is another thing.
	ErrPurpose = errors.New("that is not what people agreed to")
	// ErrNotGranted: the case was not granted, so there is no envelope.
	ErrNotGranted = errors.New("not granted")
	// ErrLapsed: the time in which a grant can be used is over.
	ErrLapsed = errors.New("the grant can no longer be used; ask again")
	// ErrKeyReused: another request was opened under this key.
	ErrKeyReused = errors.New("another request was opened under this key")
	// ErrSwapped: the stored program is not the one that the case is about.
	ErrSwapped = errors.New("the stored program was replaced by another one; ask again in words")
	// ErrTryAgain is wrapped by errors of a policy that could not look something
	// up, such as who is in a group. Nothing was decided.
	ErrTryAgain = errors.New("nothing was decided; try again in a moment")
)

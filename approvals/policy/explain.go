package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kgent/approvals"
)

// Question is a request that somebody might make.
type Question struct {
	Tier   approvals.Tier
	Labels map[string]string // of the node
	// Requester is an account or the id of a person; empty leaves open who.
	Requester string
	Place     string        // where they ask; empty leaves it open
	Duration  time.Duration // 0 leaves it open
	Events    int           // per second; 0 leaves it open
}

// Answer is what the policy says to a question, and why.
type Answer struct {
	// Refused is true when the request would be refused whatever groups people
	// are in.
	Refused bool
	Lines   []string
}

func (a *Answer) say(format string, args ...any) {
	a.Lines = append(a.Lines, fmt.Sprintf(format, args...))
}

func (a *Answer) refuse(format string, args ...any) {
	a.Refused = true
	a.say("REFUSED: "+format, args...)
}

// Explain says in words what would happen to a request on one node. It looks
// nothing up: who is in a group stays open.
func (p *Policy) Explain(q Question) Answer {
	var a Answer
	a.say("policy %s", p.doc.version)
	if p.doc.paused != "" {
		a.refuse("everything is switched off: %s", p.doc.paused)
	}
	r := p.explainRule(&a, q)
	if r == nil {
		return a
	}
	p.explainRequester(&a, r, q)
	if q.Duration > r.duration {
		a.refuse("a run of %v is longer than the %v that the rule allows", q.Duration, r.duration)
	} else {
		a.say("a run lasts at most %v", r.duration)
	}
	if q.Events > r.events {
		a.refuse("%d events per second are more than the %d that the rule allows", q.Events, r.events)
	} else {
		a.say("at most %d events per second and node", r.events)
	}
	p.explainApprovers(&a, r)
	if len(r.ask) > 0 {
		a.say("copies of the card go to %s", strings.Join(r.ask, ", "))
	}
	if g := r.glass; g != nil {
		a.say("in an emergency %s may approve alone, giving a reason, for at most %v; %s would hear of it", p.named(g.by), min(g.maxDuration, r.duration), strings.Join(g.tell, ", "))
	} else {
		a.say("nobody may break the glass")
	}
	a.say("a request for several nodes must suit the rules of all of them: the strictest numbers count, and everybody must be in all their lists")
	return a
}

// explainRule says which rule applies, and why none before it.
func (p *Policy) explainRule(a *Answer, q Question) *rule {
	for _, r := range p.doc.rules {
		why := ""
		if !slices.Contains(r.tiers, q.Tier) {
			why = "it is for the tiers " + tierWords(r.tiers)
		} else if i := slices.IndexFunc(r.nodes, func(c condition) bool { return !c.holds(q.Labels) }); i >= 0 {
			got, ok := q.Labels[r.nodes[i].key]
			has := "the node has " + r.nodes[i].key + "=" + got
			if !ok {
				has = "the node has no label " + r.nodes[i].key
			}
			why = "it wants " + r.nodes[i].String() + ", and " + has
		}
		if why == "" {
			a.say("the rule %q (line %d) applies: it is the first for the tier %s that fits the node", r.name, r.line, q.Tier)
			return r
		}
		a.say("the rule %q (line %d) does not apply: %s", r.name, r.line, why)
	}
	a.refuse("no rule allows the tier %s on such a node", q.Tier)
	return nil
}

func (p *Policy) explainRequester(a *Answer, r *rule, q Question) {
	switch {
	case r.requesters.empty():
		a.refuse("the rule lets nobody ask")
	case q.Requester == "":
		a.say("may be asked for by %s", p.named(r.requesters))
	default:
		p.explainPerson(a, r, q.Requester)
	}
	switch {
	case r.places == nil:
	case q.Place != "" && !slices.Contains(r.places, q.Place):
		a.refuse("it is asked in %s, and the rule wants it asked in %s", q.Place, strings.Join(r.places, ", "))
	default:
		a.say("it must be asked in %s", strings.Join(r.places, ", "))
	}
}

// explainPerson says whether one person may ask.
func (p *Policy) explainPerson(a *Answer, r *rule, requester string) {
	id := requester
	accounts := p.doc.people[id]
	if account, err := parseRef(requester); err == nil {
		if !slices.Contains(p.doc.tenants, account.home()) {
			a.refuse("%s is not among the tenants", account.home())
			return
		}
		id, _ = p.Person(requester)
		accounts = p.accounts(account)
	} else if len(accounts) == 0 {
		a.refuse("%q is neither an account nor among the people of the file", requester)
		return
	}
	groups := slices.DeleteFunc(p.expand(r.requesters.groups), func(g ref) bool {
		return !slices.ContainsFunc(accounts, func(x ref) bool { return x.home() == g.home() })
	})
	switch {
	case r.requesters.anyone, slices.Contains(r.requesters.people, id), slices.Contains(r.requesters.people, requester):
		a.say("%s may ask", id)
	case len(groups) > 0:
		a.say("%s may ask if in %s, which is looked up then", id, joined(groups))
	default:
		a.refuse("%s may not ask; %s may", id, p.named(r.requesters))
	}
	if _, linked := p.doc.people[id]; !linked {
		a.say("%s is in nobody's list of people: approvals from other platforms count only by people who are listed with an account of %s", id, accounts[0].home())
	}
}

func (p *Policy) explainApprovers(a *Answer, r *rule) {
	who := p.named(r.approvers)
	switch {
	case r.approvers.empty():
		a.refuse("the rule names nobody who could approve: it forbids this")
		return
	case r.quorum == 1:
		a.say("1 person must approve: %s", who)
	default:
		a.say("%d different people must approve: each of them %s", r.quorum, who)
	}
	if r.self {
		a.say("the one who asks may be among them")
	} else {
		a.say("the one who asks does not count, nor does who asked for a former revision")
	}
	a.say("they have %v to answer", r.expiry)
}

// named names people, and the groups with what is behind their names.
func (p *Policy) named(w who) string {
	words := w.String()
	for _, g := range w.groups {
		if live := p.doc.groups[g]; live != nil {
			words += fmt.Sprintf(" (%s: %s)", g, joined(live))
		}
	}
	return words
}

func joined(refs []ref) string {
	words := make([]string, len(refs))
	for i, r := range refs {
		words[i] = r.String()
	}
	return strings.Join(words, " or ")
}

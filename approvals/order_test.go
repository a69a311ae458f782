package approvals_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/executor/job"
)

// upkeep is a policy that lets ada drain db-3, and eve nothing.
type upkeep struct {
	*team
	err error
}

func (u upkeep) MayMaintain(_ context.Context, by approvals.Person, nodes []string, undrain bool) (approvals.Ruling, error) {
	if u.err != nil {
		return approvals.Ruling{}, u.err
	}
	if by.ID != "ada" {
		return approvals.Ruling{}, &approvals.RefusedError{Rule: approvals.RuleRequester, Reason: "ada drains nodes"}
	}
	return approvals.Ruling{Policy: "team@1", Labels: map[string]map[string]string{nodes[0]: {"role": "db"}}}, nil
}

// Whom the policy lets drain a node gets an order that the node obeys, nobody else gets
// anything, and both is on record.
func TestOrder(t *testing.T) {
	o := newOffice(t)
	o.Policy = upkeep{team: o.policy}
	open := func(envelope []byte) (*job.Grant, error) {
		v := job.Verifier{Node: "db-3", Labels: map[string]string{"role": "db"}, Keys: []ed25519.PublicKey{o.key.Public()}, Replays: everyReplay{}, Now: func() time.Time { return o.now }}
		g, _, err := v.Open(envelope)
		return g, err
	}
	g, envelope, err := o.Order(t.Context(), person("ada"), job.PurposeDrain, job.Order{Why: "a new disk", End: true}, []string{"db-3"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := open(envelope)
	if err != nil || got.Purpose != job.PurposeDrain || got.Run != g.Run || got.Order.Why != "a new disk" || got.Approval.Requester != "ada" || got.Approval.Policy != "team@1" {
		t.Errorf("opened %+v, %v", got, err)
	}
	if e := o.last(); e.Kind != audit.Order || e.Person != "ada" || e.Run != g.Run || e.Detail != "drain db-3, and end what runs: a new disk" || len(e.Data) == 0 {
		t.Errorf("recorded %+v", e)
	}
	o.now = o.now.Add(2 * time.Minute)
	if _, err := open(envelope); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("two minutes later: %v", err)
	}
	if _, envelope, err = o.Order(t.Context(), person("ada"), job.PurposeUndrain, job.Order{}, []string{"db-3"}); err != nil {
		t.Fatal(err)
	}
	if got, err := open(envelope); err != nil || got.Purpose != job.PurposeUndrain {
		t.Errorf("opened %+v, %v", got, err)
	}

	_, envelope, err = o.Order(t.Context(), person("eve"), job.PurposeDrain, job.Order{}, []string{"db-3"})
	wantRefused(t, err, approvals.RuleRequester)
	if e := o.last(); envelope != nil || e.Kind != audit.Refusal || e.Person != "eve" || !strings.Contains(e.Detail, "asked was to drain db-3") {
		t.Errorf("recorded %+v", e)
	}
}

func TestOrderFaults(t *testing.T) {
	ask := func(o *office, p job.Purpose, order job.Order, nodes ...string) error {
		_, envelope, err := o.Order(t.Context(), person("ada"), p, order, nodes)
		if err == nil || envelope != nil {
			t.Errorf("%s %v %+v was signed", p, nodes, order)
		}
		return err
	}
	o := newOffice(t)
	wantRefused(t, ask(o, job.PurposeDrain, job.Order{}, "db-3"), approvals.RuleNobody) // a policy that says nothing of it
	o.Policy = upkeep{team: o.policy}
	ask(o, job.PurposeDrain, job.Order{})
	ask(o, job.PurposeDrain, job.Order{}, make([]string, 1001)...)
	ask(o, job.PurposeRun, job.Order{}, "db-3")
	ask(o, job.PurposeUndrain, job.Order{End: true}, "db-3")
	ask(o, job.PurposeDrain, job.Order{Why: "a\nb"}, "db-3")
	if len(o.log.Entries()) != 1 {
		t.Errorf("recorded %+v", o.log.Entries())
	}
	broken := errors.New("no answer")
	o.Policy = upkeep{o.policy, broken}
	if err := ask(o, job.PurposeDrain, job.Order{}, "db-3"); !errors.Is(err, broken) {
		t.Error(err)
	}
	o.Policy, o.Audit = upkeep{team: o.policy}, deaf{}
	if err := ask(o, job.PurposeDrain, job.Order{}, "db-3"); !strings.Contains(err.Error(), "disk full") {
		t.Errorf("an order was handed out that is on no record: %v", err)
	}
}

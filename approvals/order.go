package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"kgent/approvals/audit"
	"kgent/executor/job"
)

// Maintainer says who may drain and undrain nodes. A policy that is none lets
// nobody.
type Maintainer interface {
	// MayMaintain returns nil when somebody may drain or undrain these nodes. Of the
	// ruling, Policy and Labels are set.
	MayMaintain(ctx context.Context, by Person, nodes []string, undrain bool) (Ruling, error)
}

// orderWindow is how long a node may take to obey: an order that was held back is none
// any more.
const orderWindow = job.MaxSkew

// Order signs that nodes take no more runs, or take them again. It takes nobody's
// approval but the policy's word that by may do it; see [Maintainer]. A
// [*RefusedError] says why they may not. Both is recorded.
func (d *Desk) Order(ctx context.Context, by Person, purpose job.Purpose, o job.Order, nodes []string) (*job.Grant, []byte, error) {
	g, envelope, err := d.order(ctx, by, purpose, o, nodes)
	var refused *RefusedError
	if errors.As(err, &refused) {
		logged := fmt.Errorf("%w; asked was to %s", err, plain(string(purpose)+" "+listNodes(nodes), maxAsked))
		if got := d.recordRefusal(ctx, "", "", by, logged); got != logged {
			return nil, nil, got // it could not be recorded
		}
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, fmt.Errorf("signing an order: %w", err)
	}
	return g, envelope, nil
}

func (d *Desk) order(ctx context.Context, by Person, purpose job.Purpose, o job.Order, nodes []string) (*job.Grant, []byte, error) {
	fail := func(err error) (*job.Grant, []byte, error) { return nil, nil, err }
	if len(nodes) == 0 || len(nodes) > maxNodes {
		return fail(fmt.Errorf("it names %d nodes, want 1 to %d", len(nodes), maxNodes))
	}
	current, err := d.policy(ctx)
	if err != nil {
		return fail(err)
	}
	policy, ok := current.(Maintainer)
	if !ok {
		return fail(refuse(RuleNobody, "the policy says of nobody that they may drain nodes"))
	}
	ruling, err := policy.MayMaintain(ctx, by, nodes, purpose == job.PurposeUndrain)
	if err != nil {
		return fail(err)
	}
	digest, err := job.OrderDigestOf(purpose, o, nodes)
	if err != nil {
		return fail(err)
	}
	now := d.Now().UTC().Round(0)
	g := job.Grant{
		Version: job.GrantVersion, Purpose: purpose, Order: &o, Digest: digest.String(), Nodes: nodes, Labels: ruling.Labels,
		Approval:  job.Approval{Requester: by.ID, Account: by.Account, Policy: ruling.Policy},
		NotBefore: now, Expires: now.Add(orderWindow),
	}
	if g.ID, err = d.randomID(); err != nil {
		return fail(err)
	}
	if g.Run, err = d.randomID(); err != nil {
		return fail(err)
	}
	envelope, err := d.Signer.Sign(g, job.Program{})
	if err != nil {
		return fail(err)
	}
	data, err := json.Marshal(g)
	if err != nil {
		return fail(err)
	}
	detail := string(purpose) + " " + listNodes(nodes)
	if o.End {
		detail += ", and end what runs"
	}
	if o.Why != "" {
		detail += ": " + plain(o.Why, maxReason)
	}
	e := audit.Entry{
		Kind: audit.Order, Digest: g.Digest, Run: g.Run, Detail: detail, Data: data,
		Person: by.ID, Surface: by.Surface, Account: by.Account,
	}
	if err := d.append(ctx, e); err != nil {
		return fail(err)
	}
	return &g, envelope, nil
}

// listNodes names the first of some nodes.
func listNodes(nodes []string) string {
	if more := len(nodes) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(nodes[:maxNamed], ", "), more)
	}
	return strings.Join(nodes, ", ")
}

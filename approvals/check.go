package approvals

import (
	"context"
	"encoding/json"
	"fmt"

	"kgent/approvals/audit"
	"kgent/executor/job"
)

// checkWindow is how long a node may take to begin with a check.
const checkWindow = job.MaxSkew

// Check signs that nodes may verify a program without running it. That takes
// nobody's approval, because nothing comes of it: what is signed passes for
// nothing else (see [job.PurposeCheck]). It is recorded all the same.
func (d *Desk) Check(ctx context.Context, p job.Program, nodes []string, dry bool) (*job.Grant, []byte, error) {
	fail := func(err error) (*job.Grant, []byte, error) {
		return nil, nil, fmt.Errorf("signing a check: %w", err)
	}
	if len(nodes) == 0 || len(nodes) > maxNodes {
		return fail(fmt.Errorf("it names %d nodes, want 1 to %d", len(nodes), maxNodes))
	}
	digest, err := job.CheckDigestOf(p, nodes, dry)
	if err != nil {
		return fail(err)
	}
	now := d.Now().UTC().Round(0)
	g := job.Grant{Version: job.GrantVersion, Purpose: job.PurposeCheck, Digest: digest.String(), Nodes: nodes, Limits: job.Limits{DryRun: dry}, NotBefore: now, Expires: now.Add(checkWindow)}
	if g.ID, err = d.randomID(); err != nil {
		return fail(err)
	}
	if g.Run, err = d.randomID(); err != nil {
		return fail(err)
	}
	envelope, err := d.Signer.Sign(g, p)
	if err != nil {
		return fail(err)
	}
	data, err := json.Marshal(g)
	if err != nil {
		return fail(err)
	}
	e := audit.Entry{Kind: audit.Check, Digest: g.Digest, Run: g.Run, Detail: fmt.Sprintf("on %d nodes", len(nodes)), Data: data}
	if err := d.append(ctx, e); err != nil {
		return fail(err)
	}
	return &g, envelope, nil
}

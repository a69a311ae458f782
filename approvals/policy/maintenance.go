package policy

import (
	"context"

	"kgent/approvals"
)

// MayMaintain returns nil when somebody may drain or undrain nodes: for each of them
// the first entry of the file's maintenance that fits its labels must name them. What
// no entry fits nobody may. The ruling has the policy's name and the labels that were
// looked at. While the policy has switched kgent off, nodes can be drained, not
// undrained.
func (p *Policy) MayMaintain(ctx context.Context, by approvals.Person, nodes []string, undrain bool) (approvals.Ruling, error) {
	fail := func(err error) (approvals.Ruling, error) { return approvals.Ruling{}, err }
	if p.doc.paused != "" && undrain {
		return fail(p.pausedError())
	}
	account, err := p.known(by)
	if err != nil {
		return fail(err)
	}
	if p.opts.Labels == nil || len(nodes) == 0 {
		return fail(refuse(approvals.RuleNode, "no node is known or named"))
	}
	ruling := approvals.Ruling{Policy: p.doc.version, Labels: map[string]map[string]string{}}
	known, err := p.opts.Labels(ctx, nodes)
	if err != nil {
		return fail(lookup(nodes, err))
	}
	for _, node := range nodes {
		labels, ok := known[node]
		if !ok {
			return fail(refuse(approvals.RuleNode, "the node %q is not known: it has not announced itself lately", node))
		}
		if err := p.maintains(ctx, account, node, labels); err != nil {
			return fail(err)
		}
		seen := map[string]string{}
		for _, u := range p.doc.maintenance {
			for _, c := range u.nodes {
				seen[c.key] = labels[c.key]
			}
		}
		ruling.Labels[node] = seen
	}
	return ruling, nil
}

// maintains returns nil when the entry for a node lets somebody drain it.
func (p *Policy) maintains(ctx context.Context, account ref, node string, labels map[string]string) error {
	for _, u := range p.doc.maintenance {
		if !u.fits(labels) {
			continue
		}
		ok, err := p.in(ctx, u.by, account)
		if err != nil {
			return err
		}
		if !ok {
			return refuse(approvals.RuleRequester, "the policy lets %s drain and undrain node %q, and %s is none of them", u.by, node, account)
		}
		return nil
	}
	return refuse(approvals.RuleNobody, "the policy lets nobody drain or undrain node %q over the bus: it has no entry for it under maintenance; on the node itself kgent executor drain does it", node)
}

// MayMaintain is [Policy.MayMaintain].
func (f *File) MayMaintain(ctx context.Context, by approvals.Person, nodes []string, undrain bool) (approvals.Ruling, error) {
	p, err := f.Now()
	if err != nil {
		return approvals.Ruling{}, err
	}
	return p.once().MayMaintain(ctx, by, nodes, undrain)
}

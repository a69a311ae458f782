package agent

import (
	"context"
	"fmt"
	"math"
	"time"

	"kgent/agent/llm"
	"kgent/agent/quota"
)

// shared sets aside the request's share of the quotas, once, and narrows its budget to it.
// [preparation.settle] books what was used of it.
func (p *preparation) shared(ctx context.Context) error {
	if p.Quota == nil || p.share != nil {
		return nil
	}
	share, err := p.Quota.Take(ctx, p.req.By, p.req.In, quota.Use{Tokens: p.budget.Tokens, Micros: p.mostMicros()})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrModel, err)
	}
	p.share = share
	p.budget.Tokens = share.Allowed.Tokens
	if share.Allowed.Micros > 0 {
		p.budget.Money = float64(share.Allowed.Micros) / 1e6
	}
	return nil
}

// mostMicros is the most that the request can cost: all tokens of its budget at the highest
// price among the models, or the budget's money where that is less. Where no bound is known
// it is all that a quota has, which is given back when it is known what it was.
func (p *preparation) mostMicros() int64 {
	most := math.Inf(1)
	if price, known := llm.Dearest(p.Model); known && p.budget.Tokens > 0 {
		most = float64(p.budget.Tokens) * max(price.Prompt, price.Completion)
	}
	if p.budget.Money > 0 {
		most = min(most, p.budget.Money*1e6)
	}
	if all := max(p.Quota.Limits.User.Micros, p.Quota.Limits.Channel.Micros); most > float64(all) {
		return all
	}
	return int64(math.Ceil(most))
}

// settle books what a request has used of its share, and gives back the rest.
func (p *preparation) settle(ctx context.Context) {
	if p.share == nil {
		return
	}
	var used quota.Use
	for _, c := range p.record.Calls {
		used = used.Plus(quota.Use{Tokens: c.Usage.Total(), Micros: int64(math.Ceil(c.Cost * 1e6))})
	}
	if len(p.record.Calls) > 0 {
		used.Requests = 1
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settling)
	defer cancel()
	if err := p.share.Settle(ctx, used); err != nil { // its whole share counts as used then, until the day ends
		p.record.Unsettled = err.Error()
	}
}

// settling is how long booking what a request has cost may take.
const settling = 5 * time.Second

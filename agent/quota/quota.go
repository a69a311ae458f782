// Package quota bounds what models may cost a user and a channel in a day.
//
// One request has a budget of its own; this is what all requests of somebody may take together. Before a
// request is prepared, its share is set aside of what is left, for the user and for the channel; afterwards
// what it did not use is given back. So requests at the same time cannot overdraw a quota together, and
// one whose process died has used its share until the day ends. Days are those of UTC. The numbers say nothing about
// what was asked; they are counters, kept in memory or in Redis.
package quota

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Use is an amount of what models cost. As a limit, 0 of a kind is no bound of it.
type Use struct {
	Requests int   `json:"requests,omitempty"` // of people
	Tokens   int   `json:"tokens,omitempty"`   // prompt and completion
	Micros   int64 `json:"micros,omitempty"`   // millionths of the currency of the prices
}

// Plus adds two amounts.
func (u Use) Plus(v Use) Use {
	return Use{u.Requests + v.Requests, u.Tokens + v.Tokens, u.Micros + v.Micros}
}

// Minus subtracts an amount.
func (u Use) Minus(v Use) Use {
	return Use{u.Requests - v.Requests, u.Tokens - v.Tokens, u.Micros - v.Micros}
}

// Limits are what a user and a channel may use in a day.
type Limits struct{ User, Channel Use }

// Set reads "user-tokens=500000 channel-money=5 user-requests=40" over the limits it is called on.
func (l Limits) Set(text string) (Limits, error) {
	for _, pair := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		name, value, _ := strings.Cut(pair, "=")
		who, what, _ := strings.Cut(name, "-")
		of := map[string]*Use{"user": &l.User, "channel": &l.Channel}[who]
		x, err := strconv.ParseFloat(value, 64)
		if of == nil || err != nil || !(x >= 0 && x <= 1e12) {
			return l, fmt.Errorf("reading %q: want user- or channel- with requests, tokens or money, and a number, such as user-tokens=500000", pair)
		}
		switch what {
		case "requests":
			of.Requests = int(x)
		case "tokens":
			of.Tokens = int(x)
		case "money":
			of.Micros = int64(x * 1e6)
		default:
			return l, fmt.Errorf("reading %q: there are quotas of requests, tokens and money", pair)
		}
	}
	return l, nil
}

// Store keeps the counters. It is safe for concurrent use.
type Store interface {
	// Take sets aside of what a key has left in its window: of each kind that is limited, what is wanted or as
	// much as there is. When there is nothing left of a kind of which some is wanted it takes nothing and returns
	// false. The counters are forgotten some time after the window has ended.
	Take(ctx context.Context, key string, want, limit Use, until time.Time) (got Use, have Taken, ok bool, err error)
	// Settle books what was used, more or less, in place of what was set aside.
	Settle(ctx context.Context, key string, got, used Use) error
}

// Taken is what a key's counters say.
type Taken struct {
	All  Use // used, or set aside
	Held Use // set aside for requests that have not ended
}

// Ledger keeps the quotas.
type Ledger struct {
	Store  Store
	Limits Limits
	Now    func() time.Time
}

// UsedUp says that a quota is used up, which, and when it begins anew.
type UsedUp struct {
	Who    string // "you" or "this channel"
	What   string // "requests", "tokens" or "money"
	Limit  string
	Renews time.Time
	In     time.Duration // from now until then
	// Held says that a part of it is only set aside for requests under way, and may come back
	// when they end.
	Held bool
}

func (e *UsedUp) Error() string {
	who := map[string]string{"you": "you have", "this channel": "this channel has"}[e.Who]
	in := strings.TrimSuffix(e.In.Round(time.Minute).String(), "0s")
	renews := fmt.Sprintf("at %s UTC, in %s", e.Renews.Format("15:04"), in)
	if e.Held {
		return fmt.Sprintf("%s nothing left of the %s %s that models may cost in a day: some of it is set aside for requests under way. Try again when they have ended, or %s. Recipes need no model", who, e.Limit, e.unit(), renews)
	}
	return fmt.Sprintf("%s used up the %s %s that models may cost in a day; it begins anew %s. Recipes need no model", who, e.Limit, e.unit(), renews)
}

// unit is what a limit is a number of.
func (e *UsedUp) unit() string {
	if e.What == "money" {
		return "in money"
	}
	return e.What
}

// Share is what was set aside for one request.
type Share struct {
	// Allowed is the most that the request may use: what it wanted, or as much as is left.
	Allowed Use

	ledger *Ledger
	keys   []string
	got    []Use
}

// Take sets a request's share aside. The error is an *[UsedUp], or the store's. Either of user and channel may be
// empty: then nobody is charged.
func (l *Ledger) Take(ctx context.Context, user, channel string, want Use) (*Share, error) {
	now := l.Now().UTC()
	end := time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, time.UTC)
	s := &Share{Allowed: want, ledger: l}
	want.Requests = 1
	for _, x := range []struct {
		who, kind, id string
		limit         Use
	}{{"you", "user", user, l.Limits.User}, {"this channel", "channel", channel, l.Limits.Channel}} {
		if x.id == "" || x.limit == (Use{}) {
			continue
		}
		key := fmt.Sprintf("%s:%s:%s", x.kind, x.id, now.Format(time.DateOnly))
		got, have, ok, err := l.Store.Take(ctx, key, want, x.limit, end)
		if err == nil && !ok {
			err = usedUp(x.who, have, want, x.limit, end, end.Sub(now))
		}
		if err != nil {
			if back := s.Settle(ctx, Use{}); back != nil {
				return nil, fmt.Errorf("%w; and %w", err, back)
			}
			return nil, err
		}
		s.keys, s.got = append(s.keys, key), append(s.got, got)
		if x.limit.Tokens > 0 {
			s.Allowed.Tokens = min(s.Allowed.Tokens, got.Tokens)
		}
		if x.limit.Micros > 0 && (s.Allowed.Micros == 0 || got.Micros < s.Allowed.Micros) {
			s.Allowed.Micros = got.Micros
		}
	}
	return s, nil
}

func usedUp(who string, have Taken, want, limit Use, end time.Time, in time.Duration) *UsedUp {
	e := &UsedUp{Who: who, Renews: end, In: in}
	used := have.All.Minus(have.Held)
	switch {
	case limit.Requests > 0 && have.All.Requests >= limit.Requests:
		e.What, e.Limit, e.Held = "requests", strconv.Itoa(limit.Requests), used.Requests < limit.Requests
	case limit.Tokens > 0 && want.Tokens > 0 && have.All.Tokens >= limit.Tokens:
		e.What, e.Limit, e.Held = "tokens", strconv.Itoa(limit.Tokens), used.Tokens < limit.Tokens
	default:
		e.What, e.Limit, e.Held = "money", strconv.FormatFloat(float64(limit.Micros)/1e6, 'f', 2, 64), used.Micros < limit.Micros
	}
	return e
}

// Settle books what the request has used, and gives back the rest of its share. A request that asked no model is none.
func (s *Share) Settle(ctx context.Context, used Use) error {
	var first error
	for i, key := range s.keys {
		if err := s.ledger.Store.Settle(ctx, key, s.got[i], used); err != nil && first == nil {
			first = err
		}
	}
	s.keys, s.got = nil, nil
	return first
}

// grant is what is given of each kind, by the rule of [Store.Take].
func grant(used, want, limit Use) (got Use, ok bool) {
	got = want
	give := func(used, want, limit int64) (int64, bool) {
		if limit <= 0 || want <= 0 {
			return want, true
		}
		left := limit - used
		return min(want, left), left > 0
	}
	a, ok1 := give(int64(used.Requests), int64(want.Requests), int64(limit.Requests))
	b, ok2 := give(int64(used.Tokens), int64(want.Tokens), int64(limit.Tokens))
	c, ok3 := give(used.Micros, want.Micros, limit.Micros)
	got.Requests, got.Tokens, got.Micros = int(a), int(b), c
	return got, ok1 && ok2 && ok3
}

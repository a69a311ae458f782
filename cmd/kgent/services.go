package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/approvals/policy"
	"kgent/bot/terminal"
	"kgent/bot/thread"
)

// rosterKey is a sorted set of the bots at a Redis, by the time (Unix, in
// milliseconds) until which each has said it is there; a member is its name, a
// space, and its chat services.
const rosterKey = "kgent:bots"

// servicesTTL is how long a bot that died without a word keeps others from
// speaking other chat services.
const servicesTTL = 30 * time.Second

// enterRoster puts a bot on the roster unless one with other services is on it,
// and returns those. KEYS: roster. ARGV: now, until, name, services.
var enterRoster = redis.NewScript(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])
local others = {}
for _, m in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local name, services = string.match(m, '^(%S+) (.*)$')
  if name ~= ARGV[3] and services ~= ARGV[4] then others[#others + 1] = m end
end
if #others == 0 then redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3] .. ' ' .. ARGV[4]) end
return others`)

// roster says that a bot is there, and with which chat services: all bots at one
// Redis speak the same, since an event goes to any of them, and deciding takes
// looking people up wherever they voted.
type roster struct {
	db             redis.UniversalClient
	name, services string
}

// services names chat services, as discord+slack.
func services(platforms []thread.Platform) string {
	var names []string
	for _, p := range platforms {
		names = append(names, p.Surface())
	}
	slices.Sort(names)
	return strings.Join(names, "+")
}

// enter returns the bots that are in the way; without any it is on the roster
// for [servicesTTL].
func (r roster) enter(ctx context.Context) ([]string, error) {
	now := time.Now()
	others, err := enterRoster.Run(ctx, r.db, []string{rosterKey}, now.UnixMilli(), now.Add(servicesTTL).UnixMilli(), r.name, r.services).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("looking for other bots: %w", err)
	}
	return others, nil
}

// begin is enter for a bot that starts.
func (r roster) begin(ctx context.Context) error {
	others, err := r.enter(ctx)
	if err != nil || len(others) == 0 {
		return err
	}
	var who []string
	for _, o := range others {
		name, services, _ := strings.Cut(o, " ")
		who = append(who, fmt.Sprintf("%s speaks %s", name, services))
	}
	return usageError{fmt.Errorf("this bot would speak %s, and at this Redis %s: give all of them the same tokens and --socket, or end the others; one that was killed is forgotten after %v",
		r.services, strings.Join(who, ", "), servicesTTL)}
}

// keep stays on the roster until ctx ends.
func (r roster) keep(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(servicesTTL / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		others, err := r.enter(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			log.Warn("saying which chat services there are", "err", err)
		case len(others) > 0:
			log.Error("other bots at this Redis speak other chat services: events and look-ups of each other's services will fail", "this", r.services, "others", strings.Join(others, ", "))
		}
	}
}

// leave takes the bot off the roster.
func (r roster) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return r.db.ZRem(ctx, rosterKey, r.name+" "+r.services).Err()
}

// greetLimit is how long a chat service has to say who the bot is there.
const greetLimit = 10 * time.Second

// greet asks the chat services who the bot is. What they refuse now they will
// refuse again, so the bot does not start; one that cannot be reached may be
// reached later. Tenants that the policy does not have are warned of: their
// people would be refused whatever they ask.
func (c *chats) greet(ctx context.Context, rules *policy.File, log *slog.Logger) error {
	known, err := rules.Now()
	if err != nil {
		return err
	}
	var tenants []string
	if c.terminal != nil {
		tenants = append(tenants, terminal.Surface+":"+c.host)
	}
	type greeter interface {
		Greet(context.Context) ([]string, error)
	}
	for _, p := range c.list() {
		g, ok := p.(greeter)
		if !ok {
			continue
		}
		limit, cancel := context.WithTimeout(ctx, greetLimit)
		found, err := g.Greet(limit)
		cancel()
		var refused *thread.GoneError
		if errors.As(err, &refused) {
			return usageError{err}
		}
		if err != nil {
			log.Warn(p.Surface()+" is not reached yet", "err", err)
			continue
		}
		tenants = append(tenants, found...)
	}
	missing := slices.DeleteFunc(tenants, func(t string) bool { return slices.Contains(known.Tenants(), t) })
	if len(missing) > 0 {
		log.Warn("nobody there is heard: the policy's tenants do not have where this bot is connected to", "connected_to", strings.Join(missing, ", "), "policy_tenants", strings.Join(known.Tenants(), ", "))
	}
	return nil
}

package quota

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis keeps counters in Redis: kgent:spent:<key> is a hash with requests, tokens and micros, what is used or set
// aside, and held-requests, held-tokens and held-micros, what is set aside; it expires an hour after its window.
type Redis struct{ client redis.Cmdable }

// NewRedis returns the store in the Redis of a client.
func NewRedis(client redis.Cmdable) *Redis { return &Redis{client} }

const prefix = "kgent:spent:"

// take is grant, in Redis. Its arguments are want and limit of each kind, and when the key expires.
var take = redis.NewScript(`
local used, held, got = {}, {}, {}
local kinds = {'requests', 'tokens', 'micros'}
local ok = 1
for i, kind in ipairs(kinds) do
	used[i] = tonumber(redis.call('HGET', KEYS[1], kind) or '0')
	held[i] = tonumber(redis.call('HGET', KEYS[1], 'held-' .. kind) or '0')
	local want, limit = tonumber(ARGV[i]), tonumber(ARGV[i + 3])
	got[i] = want
	if limit > 0 and want > 0 then
		local left = limit - used[i]
		if left <= 0 then ok = 0 end
		if left < want then got[i] = left end
	end
end
if ok == 0 then
	return {0, 0, 0, 0, used[1], used[2], used[3], held[1], held[2], held[3]}
end
for i, kind in ipairs(kinds) do
	local n = string.format('%.0f', got[i])
	used[i] = redis.call('HINCRBY', KEYS[1], kind, n)
	held[i] = redis.call('HINCRBY', KEYS[1], 'held-' .. kind, n)
end
redis.call('PEXPIREAT', KEYS[1], ARGV[7])
return {1, got[1], got[2], got[3], used[1], used[2], used[3], held[1], held[2], held[3]}
`)

// Take implements [Store].
func (r *Redis) Take(ctx context.Context, key string, want, limit Use, until time.Time) (got Use, have Taken, ok bool, err error) {
	n, err := take.Run(ctx, r.client, []string{prefix + key}, want.Requests, want.Tokens, want.Micros, limit.Requests, limit.Tokens, limit.Micros, until.Add(kept).UnixMilli()).Int64Slice()
	if err != nil {
		return Use{}, Taken{}, false, fmt.Errorf("reading what models have cost: %w", err)
	}
	if len(n) != 10 {
		return Use{}, Taken{}, false, fmt.Errorf("reading what models have cost: %d numbers came back, want 10", len(n))
	}
	use := func(n []int64) Use { return Use{int(n[0]), int(n[1]), n[2]} }
	return use(n[1:4]), Taken{use(n[4:7]), use(n[7:10])}, n[0] == 1, nil
}

// settle changes counters that are still there. Its arguments are, for each kind, what was used and what was set aside.
var settle = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then
	for i, kind in ipairs({'requests', 'tokens', 'micros'}) do
		redis.call('HINCRBY', KEYS[1], kind, string.format('%.0f', ARGV[i] - ARGV[i + 3]))
		redis.call('HINCRBY', KEYS[1], 'held-' .. kind, string.format('%.0f', 0 - ARGV[i + 3]))
	end
end
return 1
`)

// Settle implements [Store].
func (r *Redis) Settle(ctx context.Context, key string, got, used Use) error {
	if err := settle.Run(ctx, r.client, []string{prefix + key}, used.Requests, used.Tokens, used.Micros, got.Requests, got.Tokens, got.Micros).Err(); err != nil {
		return fmt.Errorf("writing what models have cost: %w", err)
	}
	return nil
}

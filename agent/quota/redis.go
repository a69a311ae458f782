package quota

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis keeps counters in Redis: kgent:spent:<key> is a hash with requests, tokens and micros, which expires an hour
// after its window.
type Redis struct{ client redis.Cmdable }

// NewRedis returns the store in the Redis of a client.
func NewRedis(client redis.Cmdable) *Redis { return &Redis{client} }

const prefix = "kgent:spent:"

// take is grant, in Redis. Its arguments are want and limit of each kind, and when the key expires.
var take = redis.NewScript(`
local used, got = {}, {}
local kinds = {'requests', 'tokens', 'micros'}
local ok = 1
for i, kind in ipairs(kinds) do
	used[i] = tonumber(redis.call('HGET', KEYS[1], kind) or '0')
	local want, limit = tonumber(ARGV[i]), tonumber(ARGV[i + 3])
	got[i] = want
	if limit > 0 and want > 0 then
		local left = limit - used[i]
		if left <= 0 then ok = 0 end
		if left < want then got[i] = left end
	end
end
if ok == 0 then
	return {0, 0, 0, 0, used[1], used[2], used[3]}
end
for i, kind in ipairs(kinds) do
	used[i] = redis.call('HINCRBY', KEYS[1], kind, string.format('%.0f', got[i]))
end
redis.call('PEXPIREAT', KEYS[1], ARGV[7])
return {1, got[1], got[2], got[3], used[1], used[2], used[3]}
`)

// Take implements [Store].
func (r *Redis) Take(ctx context.Context, key string, want, limit Use, until time.Time) (got, used Use, ok bool, err error) {
	n, err := take.Run(ctx, r.client, []string{prefix + key}, want.Requests, want.Tokens, want.Micros, limit.Requests, limit.Tokens, limit.Micros, until.Add(kept).UnixMilli()).Int64Slice()
	if err != nil {
		return Use{}, Use{}, false, fmt.Errorf("reading what models have cost: %w", err)
	}
	if len(n) != 7 {
		return Use{}, Use{}, false, fmt.Errorf("reading what models have cost: %d numbers came back, want 7", len(n))
	}
	return Use{int(n[1]), int(n[2]), n[3]}, Use{int(n[4]), int(n[5]), n[6]}, n[0] == 1, nil
}

// back changes counters that are still there.
var back = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then
	redis.call('HINCRBY', KEYS[1], 'requests', ARGV[1])
	redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[2])
	redis.call('HINCRBY', KEYS[1], 'micros', ARGV[3])
end
return 1
`)

// Return implements [Store].
func (r *Redis) Return(ctx context.Context, key string, rest Use) error {
	if err := back.Run(ctx, r.client, []string{prefix + key}, -rest.Requests, -rest.Tokens, -rest.Micros).Err(); err != nil {
		return fmt.Errorf("writing what models have cost: %w", err)
	}
	return nil
}

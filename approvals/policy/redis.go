package policy

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/retrieval/keyspace"
)

// RedisQuotas counts in Redis, for several bots: a sorted set per quota under
// kgent:quota:<key>, in a cluster kgent:{quotas}:quota:<key>, of what is counted
// by when it no longer is.
type RedisQuotas struct {
	client redis.UniversalClient
	prefix string // of all keys
}

// NewRedisQuotas returns quotas that use a client.
func NewRedisQuotas(client redis.UniversalClient) *RedisQuotas {
	return &RedisQuotas{client, keyspace.State(client, "quotas") + "quota:"}
}

// KEYS: one per quota. ARGV: id, now, until (milliseconds), then the limit of
// each. It answers 0, or the number of the quota that is full and when it has
// room.
var take = redis.NewScript(`
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', ARGV[2])
  local max = tonumber(ARGV[3 + i])
  local n = redis.call('ZCARD', key)
  if n >= max and not redis.call('ZSCORE', key, ARGV[1]) then
    local frees = redis.call('ZRANGE', key, n - max, n - max, 'WITHSCORES')
    return {i, frees[2]}
  end
end
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, 'NX', ARGV[3], ARGV[1])
  local ends = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  redis.call('PEXPIRE', key, string.format('%.0f', ends[2] - ARGV[2]))
end
return {0, '0'}`)

// Take implements [Quotas].
func (r *RedisQuotas) Take(ctx context.Context, id string, now, until time.Time, of ...Quota) (*Full, error) {
	keys := make([]string, len(of))
	args := []any{id, now.UnixMilli(), until.UnixMilli()}
	for i, q := range of {
		keys[i] = r.prefix + q.Key
		args = append(args, q.Max)
	}
	reply, err := take.Run(ctx, r.client, keys, args...).Slice()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	var full, free int64
	if len(reply) == 2 {
		full, _ = reply[0].(int64)
		if s, ok := reply[1].(string); ok {
			var f float64 // as Redis writes scores
			if _, err := fmt.Sscan(s, &f); err != nil {
				return nil, fmt.Errorf("reading the time %q: %w", s, err)
			}
			free = int64(f)
		}
	}
	switch {
	case len(reply) != 2 || full < 0 || full > int64(len(of)):
		return nil, fmt.Errorf("an answer of %d values was not understood", len(reply))
	case full == 0:
		return nil, nil
	}
	return &Full{of[full-1], time.UnixMilli(free)}, nil
}

// Give implements [Quotas].
func (r *RedisQuotas) Give(ctx context.Context, id string, of ...Quota) error {
	_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, q := range of {
			p.ZRem(ctx, r.prefix+q.Key, id)
		}
		return nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

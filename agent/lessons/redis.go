package lessons

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/agent"
	"kgent/retrieval/keyspace"
)

// Redis is an [agent.Lessons] in Redis, shared by all bots.
//
//	kgent:lessons          sorted  hooks, by when something was last learnt about them
//	kgent:lessons:<hook>   hash    code: how often
//
// and in a cluster the same, after kgent:{lessons}: instead of kgent:.
type Redis struct {
	client redis.UniversalClient
	index  string // a key, and what those of hooks begin with
	now    func() time.Time
}

// NewRedis returns the store; now is its clock.
func NewRedis(client redis.UniversalClient, now func() time.Time) *Redis {
	return &Redis{client, keyspace.State(client, "lessons") + "lessons", now}
}

var _ agent.Lessons = (*Redis)(nil)

func (r *Redis) hookKey(hook string) string { return r.index + ":" + hook }

// KEYS: index, hook. ARGV: hook, code, times, now, milliseconds to keep, most hooks, most
// codes. It answers which hooks are too many.
var learn = redis.NewScript(`
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 or redis.call('HLEN', KEYS[2]) < tonumber(ARGV[7]) then
  redis.call('HINCRBY', KEYS[2], ARGV[2], ARGV[3])
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[6])
if over <= 0 then return {} end
return redis.call('ZRANGE', KEYS[1], 0, over - 1)`)

// KEYS: index, hook. ARGV: hook, most hooks. Somebody may have learnt of the hook again
// since it was too many.
var forget = redis.NewScript(`
if (redis.call('ZRANK', KEYS[1], ARGV[1]) or 0) < redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1`)

// Learn implements [agent.Lessons].
func (r *Redis) Learn(ctx context.Context, list ...agent.Lesson) error {
	for _, l := range list {
		over, err := learn.Run(ctx, r.client, []string{r.index, r.hookKey(l.Hook)}, l.Hook, l.Code, max(1, l.Times), r.now().UnixMilli(),
			Kept.Milliseconds(), MaxHooks, maxCodes).StringSlice()
		for _, hook := range over {
			if err == nil {
				err = forget.Run(ctx, r.client, []string{r.index, r.hookKey(hook)}, hook, MaxHooks).Err()
			}
		}
		if err != nil {
			return fmt.Errorf("keeping a lesson about %s: %w", l.Hook, err)
		}
	}
	return nil
}

// About implements [agent.Lessons].
func (r *Redis) About(ctx context.Context, hooks []string) ([]agent.Lesson, error) {
	var out []agent.Lesson
	for _, hook := range hooks {
		all, err := r.client.HGetAll(ctx, r.hookKey(hook)).Result()
		if err != nil {
			return nil, fmt.Errorf("reading lessons about %s: %w", hook, err)
		}
		for code, n := range all {
			if times, err := strconv.Atoi(n); err == nil && times > 0 {
				out = append(out, agent.Lesson{Hook: hook, Code: code, Times: times})
			}
		}
	}
	sortLessons(out)
	return out, nil
}

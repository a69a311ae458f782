package lessons

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/agent"
)

// Redis is an [agent.Lessons] in Redis, shared by all bots.
//
//	kgent:lessons          sorted  hooks, by when something was last learnt about them
//	kgent:lessons:<hook>   hash    code: how often
type Redis struct {
	client *redis.Client
	now    func() time.Time
}

// NewRedis returns the store; now is its clock.
func NewRedis(client *redis.Client, now func() time.Time) *Redis { return &Redis{client, now} }

var _ agent.Lessons = (*Redis)(nil)

const lessonsKey = "kgent:lessons"

func hookKey(hook string) string { return lessonsKey + ":" + hook }

// KEYS: index, hook. ARGV: hook, code, times, now, milliseconds to keep, most hooks, most
// codes, prefix of hooks.
var learn = redis.NewScript(`
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 or redis.call('HLEN', KEYS[2]) < tonumber(ARGV[7]) then
  redis.call('HINCRBY', KEYS[2], ARGV[2], ARGV[3])
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[6])
if over > 0 then
  for _, h in ipairs(redis.call('ZRANGE', KEYS[1], 0, over - 1)) do
    redis.call('DEL', ARGV[8] .. h)
    redis.call('ZREM', KEYS[1], h)
  end
end
return 1`)

// Learn implements [agent.Lessons].
func (r *Redis) Learn(ctx context.Context, list ...agent.Lesson) error {
	for _, l := range list {
		if err := learn.Run(ctx, r.client, []string{lessonsKey, hookKey(l.Hook)}, l.Hook, l.Code, max(1, l.Times), r.now().UnixMilli(),
			Kept.Milliseconds(), MaxHooks, maxCodes, hookKey("")).Err(); err != nil {
			return fmt.Errorf("keeping a lesson about %s: %w", l.Hook, err)
		}
	}
	return nil
}

// About implements [agent.Lessons].
func (r *Redis) About(ctx context.Context, hooks []string) ([]agent.Lesson, error) {
	var out []agent.Lesson
	for _, hook := range hooks {
		all, err := r.client.HGetAll(ctx, hookKey(hook)).Result()
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

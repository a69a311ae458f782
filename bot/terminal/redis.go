package terminal

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/bot/thread"
	"kgent/retrieval/keyspace"
)

// Redis is a board in Redis, version 7 or later.
//
// Redis is not trusted with what people see: posts and files carry a seal that
// only bots can make, and what has none that holds is not shown.
//
//	kgent:board:<host>                 sorted set of post ids by their last change
//	kgent:board:<host>:post:<id>       seal, then JSON
//	kgent:board:<host>:file:<id>:<n>   seal, then the content
//
// and in a cluster the same, with {board:<host>} in braces.
type Redis struct {
	db      redis.UniversalClient
	prefix  string
	secrets [][]byte // the first one seals, all of them vouch
	now     func() time.Time
}

// BoardSecret is the purpose of the secret of [NewRedis], for
// [kgent/approvals.Key.Secret].
const BoardSecret = "terminal board v1"

// NewRedis returns the board of a host over a client that the caller closes.
// Posts are sealed with secret; those that were sealed with one of others are
// believed, too, as while a key is replaced. All bots that share the board must
// have the same secret, or each the other's among its others.
func NewRedis(db redis.UniversalClient, host string, secret []byte, others ...[]byte) (*Redis, error) {
	b := &Redis{db: db, prefix: keyspace.Prefix + keyspace.Tag(db, "board:"+host), now: time.Now}
	for _, s := range append([][]byte{secret}, others...) {
		if len(s) < sha256.Size {
			return nil, fmt.Errorf("opening the terminals' board: a secret of %d bytes is too short, want %d", len(s), sha256.Size)
		}
		b.secrets = append(b.secrets, bytes.Clone(s))
	}
	return b, nil
}

func (b *Redis) post(id string) string { return b.prefix + ":post:" + id }

func (b *Redis) file(id string, n int) string {
	return b.prefix + ":file:" + id + ":" + strconv.Itoa(n)
}

// sealOf is what vouches for raw under its name.
func sealOf(secret []byte, name string, raw []byte) []byte {
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "%d:%s", len(name), name)
	h.Write(raw)
	return h.Sum(nil)
}

// seal puts before raw what vouches for it under its name.
func (b *Redis) seal(name string, raw []byte) []byte {
	return append(sealOf(b.secrets[0], name, raw), raw...)
}

// open takes the seal off, if it holds.
func (b *Redis) open(name string, sealed []byte) ([]byte, error) {
	if len(sealed) >= sha256.Size {
		seal, raw := sealed[:sha256.Size], sealed[sha256.Size:]
		for _, s := range b.secrets {
			if hmac.Equal(seal, sealOf(s, name, raw)) {
				return raw, nil
			}
		}
	}
	return nil, fmt.Errorf("%s: %w", name, thread.ErrSeal)
}

// putScript numbers a change by the bot's time, in microseconds, or by what comes
// after the last number. So the numbers mostly grow on when Redis was emptied in
// between; [Redis.Since] sees when they do not. Lua's numbers hold them exactly
// for another two hundred years.
var putScript = redis.NewScript(`
local seq = tonumber(ARGV[6])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if last[2] and tonumber(last[2]) >= seq then seq = tonumber(last[2]) + 1 end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[1], string.format('%.0f', seq), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -(ARGV[4] + 1))
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1`)

// Put implements [Board].
func (b *Redis) Put(ctx context.Context, p Post) error {
	p.Seq = 0
	for i, f := range p.Files {
		if f.Data == nil {
			continue
		}
		if err := b.db.Set(ctx, b.file(p.ID, i), b.seal(b.file(p.ID, i), f.Data), FileKept).Err(); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encoding post: %w", err)
	}
	kept := PostKept
	if p.Only != "" {
		kept = AnswerKept
	}
	return putScript.Run(ctx, b.db, []string{b.prefix, b.post(p.ID)}, p.ID, b.seal(b.post(p.ID), raw), int(kept.Seconds()), KeptPosts, int(PostKept.Seconds()), b.now().UnixMicro()).Err()
}

func (b *Redis) decode(id string, sealed []byte) (Post, error) {
	raw, err := b.open(b.post(id), sealed)
	if err != nil {
		return Post{}, err
	}
	var p Post
	if err := json.Unmarshal(raw, &p); err != nil {
		return Post{}, fmt.Errorf("decoding post %s: %w", id, err)
	}
	return p, nil
}

// Get implements [Board].
func (b *Redis) Get(ctx context.Context, id string) (Post, error) {
	raw, err := b.db.Get(ctx, b.post(id)).Bytes()
	if errors.Is(err, redis.Nil) {
		return Post{}, ErrNotFound
	}
	if err != nil {
		return Post{}, err
	}
	return b.decode(id, raw)
}

// dropScript takes a post off the board unless another one is there by now.
var dropScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[2])
return redis.call('ZREM', KEYS[1], ARGV[1])`)

// Since implements [Board]. Posts that cannot be read are taken off the board.
func (b *Redis) Since(ctx context.Context, after uint64) ([]Post, uint64, error) {
	newest, err := b.db.ZRevRangeWithScores(ctx, b.prefix, 0, 0).Result()
	if err != nil {
		return nil, after, fmt.Errorf("%s: %w", b.prefix, err)
	}
	if len(newest) == 0 {
		return nil, after, nil
	}
	if uint64(newest[0].Score) < after {
		after = 0 // it was emptied, and what is there now is new
	}
	changed, err := b.db.ZRangeByScoreWithScores(ctx, b.prefix, &redis.ZRangeBy{Min: "(" + strconv.FormatUint(after, 10), Max: "+inf"}).Result()
	if err != nil || len(changed) == 0 {
		return nil, after, err
	}
	ids, keys := make([]string, len(changed)), make([]string, len(changed))
	for i, z := range changed {
		ids[i], _ = z.Member.(string)
		keys[i] = b.post(ids[i])
	}
	values, err := b.db.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, after, err
	}
	var out []Post
	var bad UnreadableError
	for i, v := range values {
		raw, ok := v.(string)
		if !ok {
			continue // its time is over
		}
		p, err := b.decode(ids[i], []byte(raw))
		if err != nil {
			if err := dropScript.Run(ctx, b.db, []string{b.prefix, keys[i]}, ids[i], raw).Err(); err != nil {
				return nil, after, err
			}
			bad.IDs, bad.Err = append(bad.IDs, ids[i]), err
			continue
		}
		p.Seq = uint64(changed[i].Score)
		out = append(out, p)
	}
	next := uint64(changed[len(changed)-1].Score)
	if len(bad.IDs) > 0 {
		return out, next, &bad
	}
	return out, next, nil
}

// File implements [Board].
func (b *Redis) File(ctx context.Context, id string, n int) ([]byte, error) {
	raw, err := b.db.Get(ctx, b.file(id, n)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return b.open(b.file(id, n), raw)
}

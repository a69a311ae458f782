package approvals

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/executor/job"
	"kgent/retrieval/keyspace"
)

// Redis is a [Store] in Redis, shared by all bots. Cases and programs are
// forgotten 30 days after the last change.
//
// Redis is not trusted with approving: each case carries a seal that only
// desks can make, and a case whose seal does not hold is an error. Whoever can
// write to Redis can lose a case or set it back to how it stood earlier; it
// takes a desk to make one approved. A program needs no seal, for the case
// names its digest.
//
// The keys are
//
//	kgent:case:<id>          hash    version, case (JSON), seal
//	kgent:case:<id>:program  hash    elf, manifest, contract
//	kgent:case:undecided     sorted  ids of undecided cases, by when they were opened
//
// and in a cluster begin with kgent:{cases}:case: instead.
type Redis struct {
	client  redis.UniversalClient
	prefix  string   // of all keys
	secrets [][]byte // the first one seals, all of them vouch
}

// caseKept is how long a case is kept after its last change: as long as
// somebody may ask what became of it.
const caseKept = 30 * 24 * time.Hour

// StoreSecret is the purpose of the secret of [NewRedis], for [Key.Secret].
const StoreSecret = "case store v1"

// NewRedis returns the store. Cases are sealed with secret; those that were
// sealed with one of others are believed, too, as while a key is replaced. All
// desks that share the store must have the same secret, or each the other's
// among its others; see [StoreSecret].
func NewRedis(client redis.UniversalClient, secret []byte, others ...[]byte) (*Redis, error) {
	r := &Redis{client: client, prefix: keyspace.State(client, "cases") + "case:"}
	for _, s := range append([][]byte{secret}, others...) {
		if len(s) < sha256.Size {
			return nil, fmt.Errorf("opening case store: a secret of %d bytes is too short, want %d", len(s), sha256.Size)
		}
		r.secrets = append(r.secrets, bytes.Clone(s))
	}
	return r, nil
}

func (r *Redis) caseKey(id string) string    { return r.prefix + id }
func (r *Redis) programKey(id string) string { return r.prefix + id + ":program" }
func (r *Redis) undecided() string           { return r.prefix + "undecided" }

// What the scripts answer.
const (
	replyDone     = "done"
	replyMissing  = "missing"
	replyConflict = "conflict"
)

// KEYS: case, program, undecided. ARGV: id, version, case, seal, milliseconds
// to keep, 1 when undecided, when it was opened, elf, manifest, contract.
var createCase = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 'conflict' end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'case', ARGV[3], 'seal', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('HSET', KEYS[2], 'elf', ARGV[8], 'manifest', ARGV[9], 'contract', ARGV[10])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
if ARGV[6] == '1' then redis.call('ZADD', KEYS[3], ARGV[7], ARGV[1]) end
return 'done'`)

// As before, and the version that is replaced in place of the program.
var swapCase = redis.NewScript(`
local version = redis.call('HGET', KEYS[1], 'version')
if not version then return 'missing' end
if version ~= ARGV[8] then return 'conflict' end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'case', ARGV[3], 'seal', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
if ARGV[6] == '1' then redis.call('ZADD', KEYS[3], ARGV[7], ARGV[1])
else redis.call('ZREM', KEYS[3], ARGV[1]) end
return 'done'`)

// forgetCase removes an id from the index when its case is gone.
var forgetCase = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return 'done'`)

func seal(secret, content []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(content)
	return h.Sum(nil)
}

// sealed reports whether a seal holds.
func (r *Redis) sealed(content, got []byte) bool {
	return slices.ContainsFunc(r.secrets, func(s []byte) bool { return hmac.Equal(got, seal(s, content)) })
}

// run calls a script that changes a case.
func (r *Redis) run(ctx context.Context, script *redis.Script, c Case, args ...any) (string, error) {
	content, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encoding case: %w", err)
	}
	open := 0
	if c.Undecided() {
		open = 1
	}
	keys := []string{r.caseKey(c.ID), r.programKey(c.ID), r.undecided()}
	args = append([]any{c.ID, strconv.FormatUint(c.Version, 10), content, seal(r.secrets[0], content), caseKept.Milliseconds(), open, c.Opened.UnixMilli()}, args...)
	reply, err := script.Run(ctx, r.client, keys, args...).Text()
	if err != nil {
		return "", orContext(ctx, err)
	}
	return reply, nil
}

// orContext returns the context's error when that has ended: the client's
// would only say that the connection was closed.
func orContext(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Create implements [Store].
func (r *Redis) Create(ctx context.Context, c Case, p job.Program) error {
	reply, err := r.run(ctx, createCase, c, p.ELF, p.Manifest, p.Contract)
	switch {
	case err != nil:
		return fmt.Errorf("storing case: %w", err)
	case reply == replyConflict:
		return ErrExists
	case reply != replyDone:
		return fmt.Errorf("storing case: the answer is %q", reply)
	}
	return nil
}

// Swap implements [Store].
func (r *Redis) Swap(ctx context.Context, c Case) error {
	was := strconv.FormatUint(c.Version, 10)
	c.Version++
	reply, err := r.run(ctx, swapCase, c, was)
	switch {
	case err != nil:
		return fmt.Errorf("storing case: %w", err)
	case reply == replyMissing:
		return ErrNotFound
	case reply == replyConflict:
		return ErrConflict
	case reply != replyDone:
		return fmt.Errorf("storing case: the answer is %q", reply)
	}
	return nil
}

// Get implements [Store].
func (r *Redis) Get(ctx context.Context, id string) (Case, error) {
	values, err := r.client.HMGet(ctx, r.caseKey(id), "case", "seal").Result()
	if err != nil {
		return Case{}, fmt.Errorf("reading case: %w", orContext(ctx, err))
	}
	return r.decode(id, values)
}

// errSeal: a stored case was not stored by a desk.
var errSeal = errors.New("its seal does not hold: it was changed in Redis, or stored under another signing key; ask again")

func (r *Redis) decode(id string, values []any) (Case, error) {
	content, ok := values[0].(string)
	got, ok2 := values[1].(string)
	if !ok && !ok2 {
		return Case{}, ErrNotFound
	}
	if !r.sealed([]byte(content), []byte(got)) {
		return Case{}, fmt.Errorf("reading case %s: %w", plain(id, maxName), errSeal)
	}
	var c Case
	if err := json.Unmarshal([]byte(content), &c); err != nil {
		return Case{}, fmt.Errorf("reading case %s: %w", plain(id, maxName), err)
	}
	if c.ID != id { // a sealed case under another one's name
		return Case{}, fmt.Errorf("reading case %s: %w", plain(id, maxName), errSeal)
	}
	return c, nil
}

// Program implements [Store].
func (r *Redis) Program(ctx context.Context, id string) (job.Program, error) {
	values, err := r.client.HMGet(ctx, r.programKey(id), "elf", "manifest", "contract").Result()
	if err != nil {
		return job.Program{}, fmt.Errorf("reading program: %w", orContext(ctx, err))
	}
	if values[0] == nil {
		return job.Program{}, ErrNotFound
	}
	part := func(v any) []byte {
		s, _ := v.(string)
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	return job.Program{ELF: part(values[0]), Manifest: part(values[1]), Contract: part(values[2])}, nil
}

// undecidedPage is how many cases are read in one round trip.
const undecidedPage = 100

// Undecided implements [Store]. Cases whose seal does not hold are left out:
// they are nobody's question, and must not keep the others from expiring.
func (r *Redis) Undecided(ctx context.Context) ([]Case, error) {
	fail := func(err error) ([]Case, error) {
		return nil, fmt.Errorf("reading undecided cases: %w", orContext(ctx, err))
	}
	ids, err := r.client.ZRange(ctx, r.undecided(), 0, -1).Result()
	if err != nil {
		return fail(err)
	}
	var out []Case
	for batch := range slices.Chunk(ids, undecidedPage) {
		reads := make([]*redis.SliceCmd, len(batch))
		if _, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, id := range batch {
				reads[i] = p.HMGet(ctx, r.caseKey(id), "case", "seal")
			}
			return nil
		}); err != nil {
			return fail(err)
		}
		for i, id := range batch {
			c, err := r.decode(id, reads[i].Val())
			switch {
			case errors.Is(err, ErrNotFound):
				if err := forgetCase.Run(ctx, r.client, []string{r.caseKey(id), r.undecided()}, id).Err(); err != nil {
					return fail(err)
				}
			case errors.Is(err, errSeal):
			case err != nil:
				return fail(err)
			case c.Undecided():
				out = append(out, c)
			}
		}
	}
	slices.SortFunc(out, func(a, b Case) int {
		return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

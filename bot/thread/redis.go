package thread

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/retrieval/keyspace"
)

// Redis is a store in Redis, version 7 or later, for any number of processes.
// Each change is one script, so it happens entirely or not at all.
//
// Redis is not trusted with what people said or see: events, requests and
// messages carry a seal that only bots can make, and what has none that holds
// is not used. Whoever can write to Redis can lose them or bring old ones back,
// but put no vote into anybody's mouth and nothing else on a card.
//
//	kgent:seen:<event key>    marks an event as stored
//	kgent:in                  stream of events, consumer group "bot"
//	kgent:buried              stream of events that were put aside
//	kgent:req:<id>            hash: v (version), json, seal
//	kgent:open, kgent:recent  sorted sets of request ids by the time they began
//	kgent:thread:<place>      the same, of one thread
//	kgent:hung:<place>        the key of the message that a thread hangs from
//	kgent:under:<root key>    as kgent:thread, of requests that wait for theirs
//	kgent:msg:<key>           hash: v, sent, content, json, seal, handle, tried, anew, gone, tries, at, after
//	kgent:due:<surface>       sorted set of the keys of messages that are not sent as they are
//	kgent:lock:<name>         who has it
//
// and in a cluster the same, after kgent:{threads}: instead of kgent:.
type Redis struct {
	db      redis.UniversalClient
	prefix  string   // of all keys
	secrets [][]byte // the first one seals, all of them vouch
	now     func() time.Time

	visibility time.Duration

	mu      sync.Mutex
	claimed time.Time // when events of others were looked for last
}

const (
	inGroup = "bot"
	// maxInbox bounds the inbox. It is drained within moments; what is over it
	// has not been handled for days.
	maxInbox   = 100_000
	maxBuried  = 1000
	keptRecent = 1000
)

// StoreSecret is the purpose of the secret of [NewRedis], for
// [approvals.Key.Secret].
const StoreSecret = "thread store v1"

// NewRedis returns a store over a client that the caller closes. now is the
// clock by which messages are due. What is stored is sealed with secret; what
// was sealed with one of others is believed, too, as while a key is replaced.
// All bots that share the store must have the same secret, or each the other's
// among its others.
func NewRedis(db redis.UniversalClient, secret []byte, now func() time.Time, others ...[]byte) (*Redis, error) {
	s := &Redis{db: db, prefix: keyspace.State(db, "threads"), now: now, visibility: Visibility}
	for _, secret := range append([][]byte{secret}, others...) {
		if len(secret) < sha256.Size {
			return nil, fmt.Errorf("opening thread store: a secret of %d bytes is too short, want %d", len(secret), sha256.Size)
		}
		s.secrets = append(s.secrets, bytes.Clone(secret))
	}
	return s, nil
}

// inbox and buried are keys.
func (s *Redis) inbox() string  { return s.prefix + "in" }
func (s *Redis) buried() string { return s.prefix + "buried" }

// ErrSeal says that something in Redis was not put there by a bot with this
// key. Either somebody changes Redis, or bots with different keys share it.
var ErrSeal = errors.New("what Redis holds was not written by this bot or one with its key")

// seal vouches for the bytes of one thing.
func (s *Redis) seal(kind, name string, raw []byte) string {
	return sealOf(s.secrets[0], kind, name, raw)
}

func sealOf(secret []byte, kind, name string, raw []byte) string {
	h := hmac.New(sha256.New, secret)
	for _, part := range [][]byte{[]byte(kind), []byte(name), raw} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (s *Redis) sealed(kind, name string, raw []byte, seal string) error {
	for _, secret := range s.secrets {
		if hmac.Equal([]byte(seal), []byte(sealOf(secret, kind, name, raw))) {
			return nil
		}
	}
	return fmt.Errorf("%s %s: %w", kind, name, ErrSeal)
}

var receiveScript = redis.NewScript(`
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'e', ARGV[3], 'seal', ARGV[4])
return 1`)

// Receive implements [Store].
func (s *Redis) Receive(ctx context.Context, e Event) (bool, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return false, fmt.Errorf("encoding event: %w", err)
	}
	n, err := receiveScript.Run(ctx, s.db, []string{s.prefix + "seen:" + e.Key, s.inbox()}, int(SeenKept.Seconds()), maxInbox, raw, s.seal("event", "", raw)).Int()
	return n == 1, err
}

// Take implements [Store].
func (s *Redis) Take(ctx context.Context, worker string) (Delivery, bool, error) {
	d, ok, err := s.reclaim(ctx, worker)
	if err == nil && !ok {
		d, ok, err = s.read(ctx, worker)
	}
	if err != nil && strings.HasPrefix(err.Error(), "NOGROUP") {
		// A new store, or one that was emptied.
		err = s.db.XGroupCreateMkStream(ctx, s.inbox(), inGroup, "0").Err()
		if err != nil && strings.HasPrefix(err.Error(), "BUSYGROUP") {
			err = nil
		}
		return Delivery{}, false, err
	}
	return d, ok, err
}

func (s *Redis) read(ctx context.Context, worker string) (Delivery, bool, error) {
	res, err := s.db.XReadGroup(ctx, &redis.XReadGroupArgs{Group: inGroup, Consumer: worker, Streams: []string{s.inbox(), ">"}, Count: 1, Block: TakeBlock}).Result()
	if errors.Is(err, redis.Nil) {
		return Delivery{}, false, nil
	}
	if err != nil || len(res) == 0 || len(res[0].Messages) == 0 {
		return Delivery{}, false, err
	}
	return s.delivery(ctx, res[0].Messages[0], 1)
}

// reclaim takes over an event that was taken and not settled. It looks once in
// a while only.
func (s *Redis) reclaim(ctx context.Context, worker string) (Delivery, bool, error) {
	s.mu.Lock()
	due := time.Since(s.claimed) >= min(time.Second, s.visibility)
	if due {
		s.claimed = time.Now()
	}
	s.mu.Unlock()
	if !due {
		return Delivery{}, false, nil
	}
	old, err := s.db.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: s.inbox(), Group: inGroup, Idle: s.visibility, Start: "-", End: "+", Count: 1}).Result()
	if err != nil || len(old) == 0 {
		return Delivery{}, false, err
	}
	got, err := s.db.XClaim(ctx, &redis.XClaimArgs{Stream: s.inbox(), Group: inGroup, Consumer: worker, MinIdle: s.visibility, Messages: []string{old[0].ID}}).Result()
	if err != nil {
		return Delivery{}, false, err
	}
	s.mu.Lock()
	s.claimed = time.Time{} // there may be more
	s.mu.Unlock()
	if len(got) == 0 { // somebody else was faster, or it was trimmed
		return Delivery{}, false, nil
	}
	return s.delivery(ctx, got[0], int(old[0].RetryCount)+1)
}

func (s *Redis) delivery(ctx context.Context, m redis.XMessage, tries int) (Delivery, bool, error) {
	raw, _ := m.Values["e"].(string)
	seal, _ := m.Values["seal"].(string)
	d := Delivery{ID: m.ID, Tries: tries}
	err := s.sealed("event", "", []byte(raw), seal)
	if err == nil {
		err = json.Unmarshal([]byte(raw), &d.Event)
	}
	if err != nil {
		// It will never be any different.
		return Delivery{}, false, errors.Join(err, s.Bury(ctx, Delivery{ID: m.ID}, err.Error()))
	}
	return d, true, nil
}

// Settle implements [Store].
func (s *Redis) Settle(ctx context.Context, d Delivery) error {
	p := s.db.TxPipeline()
	p.XAck(ctx, s.inbox(), inGroup, d.ID)
	p.XDel(ctx, s.inbox(), d.ID)
	_, err := p.Exec(ctx)
	return err
}

// Bury implements [Store].
func (s *Redis) Bury(ctx context.Context, d Delivery, why string) error {
	raw, err := json.Marshal(d.Event)
	if err != nil {
		return fmt.Errorf("encoding event: %w", err)
	}
	p := s.db.TxPipeline()
	p.XAdd(ctx, &redis.XAddArgs{Stream: s.buried(), MaxLen: maxBuried, Approx: true, Values: []any{"e", raw, "why", why}})
	p.XAck(ctx, s.inbox(), inGroup, d.ID)
	p.XDel(ctx, s.inbox(), d.ID)
	_, err = p.Exec(ctx)
	return err
}

// setAsideScript takes a request off the lists of those that are worked on and
// shown, unless another one is there by now.
var setAsideScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'json') ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('ZREM', KEYS[3], ARGV[1])`)

// Load implements [Store]. A request that cannot be read is nobody's work any
// more: it never will be any different.
func (s *Redis) Load(ctx context.Context, id string) (Request, error) {
	open, recent := s.prefix+"open", s.prefix+"recent"
	got, err := s.db.HMGet(ctx, s.prefix+"req:"+id, "json", "seal").Result()
	if redis.HasErrorPrefix(err, "WRONGTYPE") { // it is nothing of ours
		p := s.db.Pipeline()
		p.ZRem(ctx, open, id)
		p.ZRem(ctx, recent, id)
		_, fault := p.Exec(ctx)
		return Request{}, errors.Join(fmt.Errorf("request %s: %w", id, ErrSeal), fault)
	}
	if err != nil {
		return Request{}, err
	}
	raw, ok := got[0].(string)
	if !ok {
		return Request{}, ErrNotFound
	}
	seal, _ := got[1].(string)
	var r Request
	if err = s.sealed("request", id, []byte(raw), seal); err == nil {
		err = json.Unmarshal([]byte(raw), &r)
	}
	if err != nil {
		fault := setAsideScript.Run(ctx, s.db, []string{s.prefix + "req:" + id, open, recent}, id, raw).Err()
		return Request{}, errors.Join(fmt.Errorf("reading request %s: %w", id, err), fault)
	}
	return r, nil
}

// SetAside takes the requests that cannot be read off the list of those that
// are worked on, and returns their ids.
func (s *Redis) SetAside(ctx context.Context) ([]string, error) {
	ids, err := s.Open(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, id := range ids {
		switch _, err := s.Load(ctx, id); {
		case errors.Is(err, ErrSeal):
			out = append(out, id)
		case err != nil && !errors.Is(err, ErrNotFound):
			return out, err
		}
	}
	return out, nil
}

// putLua stores one message: KEYS of it are its hash and the surface's due set,
// its arguments content, json (without files' fate), class, at, key, handle-less
// json for edits.
const putLua = `
local function put(msg, due, content, json, edit, class, now, key, kept, jseal, eseal)
  if redis.call('HGET', msg, 'content') == content then return end
  local at = redis.call('HGET', msg, 'at')
  if not at then at = now; redis.call('HSET', msg, 'at', at) end
  local v = redis.call('HINCRBY', msg, 'v', 1)
  local handle = redis.call('HGET', msg, 'handle')
  local there = handle and handle ~= ''
  redis.call('HSET', msg, 'content', content, 'json', there and edit or json, 'seal', there and eseal or jseal, 'tries', 0)
  redis.call('HDEL', msg, 'after', 'gone')
  redis.call('EXPIRE', msg, kept)
  redis.call('ZADD', due, class * 1e14 + at, key)
end
`

var putScript = redis.NewScript(putLua + `
local n = 1
for i = 1, #KEYS, 2 do
  put(KEYS[i], KEYS[i+1], ARGV[n], ARGV[n+1], ARGV[n+2], tonumber(ARGV[n+3]), tonumber(ARGV[n+4]), ARGV[n+5], ARGV[n+6], ARGV[n+7], ARGV[n+8])
  n = n + 9
end
return 1`)

var updateScript = redis.NewScript(putLua + `
local want = tonumber(ARGV[1])
local have = redis.call('HGET', KEYS[1], 'v')
if not have and want ~= 0 then return -1 end
if tonumber(have or '0') ~= want then return -2 end
redis.call('HSET', KEYS[1], 'v', want + 1, 'json', ARGV[2], 'seal', ARGV[8])
redis.call('EXPIRE', KEYS[1], ARGV[4])
local id, score = ARGV[3], ARGV[5]
if ARGV[6] == '1' then redis.call('ZREM', KEYS[2], id) else redis.call('ZADD', KEYS[2], score, id) end
if want == 0 then
  redis.call('ZADD', KEYS[3], score, id)
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -ARGV[7] - 1)
  redis.call('ZADD', KEYS[4], score, id)
end
redis.call('EXPIRE', KEYS[4], ARGV[4])
local n = 9
for i = 5, #KEYS, 2 do
  put(KEYS[i], KEYS[i+1], ARGV[n], ARGV[n+1], ARGV[n+2], tonumber(ARGV[n+3]), tonumber(ARGV[n+4]), ARGV[n+5], ARGV[n+6], ARGV[n+7], ARGV[n+8])
  n = n + 9
end
return 1`)

// Update implements [Store].
func (s *Redis) Update(ctx context.Context, r Request, m ...Message) (Request, error) {
	before := r.Version
	r.Version++
	raw, err := json.Marshal(r)
	if err != nil {
		return Request{}, fmt.Errorf("encoding request: %w", err)
	}
	ended := "0"
	if r.State == Ended {
		ended = "1"
	}
	in := s.prefix + "thread:" + r.Place.String()
	if r.Root != "" {
		in = s.prefix + "under:" + r.Root
	}
	keys := []string{s.prefix + "req:" + r.ID, s.prefix + "open", s.prefix + "recent", in}
	args := []any{before, raw, r.ID, int(RequestKept.Seconds()), r.Opened.UnixMicro(), ended, keptRecent, s.seal("request", r.ID, raw)}
	if keys, args, err = s.puts(keys, args, m); err != nil {
		return Request{}, err
	}
	n, err := updateScript.Run(ctx, s.db, keys, args...).Int()
	switch {
	case err != nil:
		return Request{}, err
	case n == -1:
		return Request{}, ErrNotFound
	case n == -2:
		return Request{}, ErrConflict
	}
	return clone(r), nil
}

// puts adds the keys and arguments of messages.
func (s *Redis) puts(keys []string, args []any, messages []Message) ([]string, []any, error) {
	for _, m := range messages {
		content := contentOf(m)
		m.bare()
		whole, err := json.Marshal(m)
		if err != nil {
			return nil, nil, fmt.Errorf("encoding message: %w", err)
		}
		m.Files = nil // they went with the first post
		edit, err := json.Marshal(m)
		if err != nil {
			return nil, nil, fmt.Errorf("encoding message: %w", err)
		}
		keys = append(keys, s.prefix+"msg:"+m.Key, s.prefix+"due:"+m.Place.Surface)
		args = append(args, hash(string(content)), whole, edit, int(m.Class), s.now().UnixMilli(), m.Key, int(MessageKept.Seconds()), s.seal("message", m.Key, whole), s.seal("message", m.Key, edit))
	}
	return keys, args, nil
}

// Put implements [Store].
func (s *Redis) Put(ctx context.Context, m ...Message) error {
	keys, args, err := s.puts(nil, nil, m)
	if err != nil || len(keys) == 0 {
		return err
	}
	return putScript.Run(ctx, s.db, keys, args...).Err()
}

// Open implements [Store].
func (s *Redis) Open(ctx context.Context) ([]string, error) {
	return s.db.ZRange(ctx, s.prefix+"open", 0, -1).Result()
}

// Recent implements [Store].
func (s *Redis) Recent(ctx context.Context, n int) ([]string, error) {
	return s.db.ZRevRange(ctx, s.prefix+"recent", 0, int64(n)-1).Result()
}

// In implements [Store].
func (s *Redis) In(ctx context.Context, p Place) ([]string, error) {
	keys := []string{s.prefix + "thread:" + p.String()}
	root, err := s.db.Get(ctx, s.prefix+"hung:"+p.String()).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	if root != "" {
		keys = append(keys, s.prefix+"under:"+root)
	}
	return s.db.ZUnion(ctx, redis.ZStore{Keys: keys}).Result()
}

// Hang implements [Store].
func (s *Redis) Hang(ctx context.Context, root string, p Place) error {
	return s.db.Set(ctx, s.prefix+"hung:"+p.String(), root, RequestKept).Err()
}

// Due implements [Store].
func (s *Redis) Due(ctx context.Context, surface string, now time.Time, n int) ([]Message, error) {
	due := s.prefix + "due:" + surface
	// Those that wait for their time are in the way of none: the set is short.
	keys, err := s.db.ZRange(ctx, due, 0, int64(10*n)).Result()
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	if keys, err = s.notLater(ctx, keys, now, n); err != nil || len(keys) == 0 {
		return nil, err
	}
	p := s.db.Pipeline()
	found := make([]*redis.MapStringStringCmd, len(keys))
	for i, k := range keys {
		found[i] = p.HGetAll(ctx, s.prefix+"msg:"+k)
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, err
	}
	var out []Message
	var bad error
	for i, k := range keys {
		h := found[i].Val()
		if h["json"] == "" { // forgotten
			if err := s.db.ZRem(ctx, due, k).Err(); err != nil {
				return nil, err
			}
			continue
		}
		m, err := s.message(k, h)
		if err != nil {
			// It must not keep the others back.
			bad = errors.Join(bad, fmt.Errorf("giving up message %s: %w", k, err), s.db.ZRem(ctx, due, k).Err())
			continue
		}
		out = append(out, m)
	}
	return out, bad
}

// notLater returns those of the messages whose time has come, at most n.
// Messages may hold files, so what cannot be sent yet is not read.
func (s *Redis) notLater(ctx context.Context, keys []string, now time.Time, n int) ([]string, error) {
	p := s.db.Pipeline()
	after := make([]*redis.StringCmd, len(keys))
	for i, k := range keys {
		after[i] = p.HGet(ctx, s.prefix+"msg:"+k, "after")
	}
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	var out []string
	for i, k := range keys {
		at, err := after[i].Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		if at <= now.UnixMilli() && len(out) < n {
			out = append(out, k)
		}
	}
	return out, nil
}

func (s *Redis) message(key string, h map[string]string) (Message, error) {
	var m Message
	if err := s.sealed("message", key, []byte(h["json"]), h["seal"]); err != nil {
		return m, err
	}
	if err := json.Unmarshal([]byte(h["json"]), &m); err != nil {
		return m, err
	}
	var err error
	number := func(name string) int64 {
		if h[name] == "" {
			return 0
		}
		n, fault := strconv.ParseInt(h[name], 10, 64)
		err = errors.Join(err, fault)
		return n
	}
	m.Version, m.Tries, m.Tried, m.Anew, m.Gone, m.At = uint64(number("v")), int(number("tries")), h["tried"] == "1", h["anew"] == "1", h["gone"] == "1", time.UnixMilli(number("at")).UTC()
	if h["handle"] != "" {
		err = errors.Join(err, json.Unmarshal([]byte(h["handle"]), &m.Handle))
	}
	return m, err
}

// Message implements [Store].
func (s *Redis) Message(ctx context.Context, key string) (Message, error) {
	h, err := s.db.HGetAll(ctx, s.prefix+"msg:"+key).Result()
	if err != nil {
		return Message{}, err
	}
	if h["json"] == "" {
		return Message{}, ErrNotFound
	}
	return s.message(key, h)
}

// surface returns where a message is due.
func (s *Redis) surface(ctx context.Context, key string) (string, error) {
	m, err := s.Message(ctx, key)
	return m.Place.Surface, err
}

// Trying implements [Store].
func (s *Redis) Trying(ctx context.Context, key string) error {
	n, err := ifThere.Run(ctx, s.db, []string{s.prefix + "msg:" + key}, "tried", "1").Int()
	return there(n, err)
}

// ifThere sets fields of a message that exists.
var ifThere = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1`)

func there(n int, err error) error {
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

var sentScript = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]); return 0 end
local v = redis.call('HGET', KEYS[1], 'v')
if ARGV[5] == '1' and v == ARGV[2] then
  redis.call('DEL', KEYS[1]); redis.call('ZREM', KEYS[2], ARGV[1]); return 1
end
redis.call('HSET', KEYS[1], 'sent', ARGV[2], 'handle', ARGV[3], 'tried', '0', 'anew', '0', 'tries', '0')
if v == ARGV[2] then
  redis.call('HSET', KEYS[1], 'json', ARGV[4], 'seal', ARGV[6]); redis.call('ZREM', KEYS[2], ARGV[1])
else -- it looks like an older version now, perhaps after a newer one was sent
  redis.call('ZADD', KEYS[2], 'NX', 1e14 + redis.call('HGET', KEYS[1], 'at'), ARGV[1])
end
return 1`)

// Sent implements [Store].
func (s *Redis) Sent(ctx context.Context, key string, version uint64, h Handle) error {
	m, err := s.Message(ctx, key)
	if err != nil {
		return err
	}
	handle, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encoding handle: %w", err)
	}
	only := "0"
	if m.Only != "" {
		only = "1"
	}
	m.bare()
	m.Files = nil
	edit, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding message: %w", err)
	}
	n, err := sentScript.Run(ctx, s.db, []string{s.prefix + "msg:" + key, s.prefix + "due:" + m.Place.Surface}, key, version, handle, edit, only, s.seal("message", key, edit)).Int()
	return there(n, err)
}

var deferScript = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'after', ARGV[1], 'tried', ARGV[2])
if ARGV[3] == '1' then redis.call('HSET', KEYS[1], 'anew', '1') end
if ARGV[4] == '0' then redis.call('HINCRBY', KEYS[1], 'tries', 1) end
return 1`)

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// Defer implements [Store].
func (s *Redis) Defer(ctx context.Context, key string, again Again) error {
	n, err := deferScript.Run(ctx, s.db, []string{s.prefix + "msg:" + key}, again.At.UnixMilli(), flag(again.Tried), flag(again.Lost), flag(again.Free)).Int()
	return there(n, err)
}

var dropScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'v') == ARGV[2] then
  redis.call('ZREM', KEYS[2], ARGV[1])
  local handle = redis.call('HGET', KEYS[1], 'handle')
  if not handle or handle == '' then redis.call('HSET', KEYS[1], 'gone', '1') end
end
return redis.call('EXISTS', KEYS[1])`)

// Drop implements [Store].
func (s *Redis) Drop(ctx context.Context, key string, version uint64) error {
	surface, err := s.surface(ctx, key)
	if err != nil {
		return err
	}
	n, err := dropScript.Run(ctx, s.db, []string{s.prefix + "msg:" + key, s.prefix + "due:" + surface}, key, version).Int()
	return there(n, err)
}

var lockScript = redis.NewScript(`
local who = redis.call('GET', KEYS[1])
if who and who ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`)

// Lock implements [Store].
func (s *Redis) Lock(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	n, err := lockScript.Run(ctx, s.db, []string{s.prefix + "lock:" + name}, owner, ttl.Milliseconds()).Int()
	return n == 1, err
}

var unlockScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`)

// Unlock implements [Store].
func (s *Redis) Unlock(ctx context.Context, name, owner string) error {
	return unlockScript.Run(ctx, s.db, []string{s.prefix + "lock:" + name}, owner).Err()
}

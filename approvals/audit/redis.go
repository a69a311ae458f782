package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a log in Redis, for several hosts: a list of the same lines as a
// file has, under one key. Each is appended only if the log still ends in the
// line that it follows.
//
// Redis may lose its newest entries, when it fails over or is emptied. Each
// process remembers the newest entry that it wrote. When that is gone, the
// next entry that it writes before anything else, of kind [Recovered], says
// so; and [Verify] says so to whoever has noted a head that was lost.
type Redis struct {
	client redis.UniversalClient
	now    func() time.Time

	turn chan struct{} // of this process to append
	mu   sync.Mutex
	last Head // newest entry of this process
}

// redisLog is the list of lines.
const redisLog = "kgent:audit"

// page is how many lines are read at a time.
const page = 200

// NewRedis returns the log that is kept in Redis. now is the clock of the
// entries.
func NewRedis(client redis.UniversalClient, now func() time.Time) *Redis {
	return &Redis{client: client, now: now, turn: make(chan struct{}, 1), last: start}
}

// hashAt is where a line says its hash: after {"hash":" come 64 digits.
const (
	hashPrefix = `{"hash":"`
	hashEnd    = len(hashPrefix) + 2*32
)

// tail returns how many lines there are, the last one, and how the line of an
// entry that was written earlier begins.
var tail = redis.NewScript(`
local n = redis.call('LLEN', KEYS[1])
local last = redis.call('LINDEX', KEYS[1], -1) or ''
local known = ''
if tonumber(ARGV[1]) > 0 then
  known = string.sub(redis.call('LINDEX', KEYS[1], tonumber(ARGV[1]) - 1) or '', 1, tonumber(ARGV[2]))
end
return {n, last, known}`)

// push appends a line if the log has so many, the last of which begins so.
var push = redis.NewScript(`
if redis.call('LLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
local last = redis.call('LINDEX', KEYS[1], -1) or ''
if string.sub(last, 1, string.len(ARGV[2])) ~= ARGV[2] then return 0 end
redis.call('RPUSH', KEYS[1], ARGV[3])
return 1`)

// Append adds an entry. When it returns nil, Redis has it; how durable that
// is, is up to its configuration. After an error that is not of the context,
// it may have been added nevertheless.
func (l *Redis) Append(ctx context.Context, e Entry) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("writing audit log: %w", ctx.Err())
	}
	defer func() { <-l.turn }()
	for {
		head, lost, err := l.look(ctx)
		if err != nil {
			return fmt.Errorf("writing audit log: %w", err)
		}
		next := e
		if lost != nil {
			next = *lost
		}
		pushed, err := l.push(ctx, next, head)
		if err != nil {
			return fmt.Errorf("writing audit log: %w", err)
		}
		if pushed && lost == nil {
			return nil
		}
	}
}

// look returns where the log ends, and what there is to say first if entries
// were lost.
func (l *Redis) look(ctx context.Context) (Head, *Entry, error) {
	last := l.newest()
	reply, err := tail.Run(ctx, l.client, []string{redisLog}, last.Seq, hashEnd).Slice()
	if err != nil {
		return Head{}, nil, orContext(ctx, err)
	}
	if len(reply) != 3 {
		return Head{}, nil, fmt.Errorf("%d values instead of 3", len(reply))
	}
	n, _ := reply[0].(int64)
	raw, _ := reply[1].(string)
	known, _ := reply[2].(string)
	head, err := headOf(uint64(n), raw)
	if err != nil {
		return Head{}, nil, err
	}
	if last.Seq == 0 || known == hashPrefix+last.Hash {
		return head, nil, nil
	}
	data, err := json.Marshal(struct {
		Had Head `json:"had"`
		Has Head `json:"has"`
	}{last, head})
	if err != nil {
		return Head{}, nil, err
	}
	return head, &Entry{Kind: Recovered, Data: data, Detail: fmt.Sprintf(
		"entries were lost or replaced: this log had the entry %d (%.12s), and now it ends with entry %d, without it", last.Seq, last.Hash, head.Seq)}, nil
}

func (l *Redis) newest() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// headOf returns the head of a log of n lines from its last.
func headOf(n uint64, raw string) (Head, error) {
	if n == 0 {
		return start, nil
	}
	broken := func(reason string) (Head, error) { return Head{}, &BrokenError{n, reason} }
	var l line
	if err := strict([]byte(raw), &l); err != nil {
		return broken("it is not an entry: " + err.Error())
	}
	var e Entry
	if err := strict(l.Entry, &e); err != nil {
		return broken("it is not an entry: " + err.Error())
	}
	if e.Seq != n || sum(l.Entry) != l.Hash {
		return broken(fmt.Sprintf("it is entry %d where %d is due, or it was changed", e.Seq, n))
	}
	return Head{n, l.Hash}, nil
}

func (l *Redis) push(ctx context.Context, e Entry, head Head) (bool, error) {
	raw, _, next, err := seal(e, head, l.now())
	if err != nil {
		return false, err
	}
	begins := ""
	if head.Seq > 0 {
		begins = hashPrefix + head.Hash
	}
	n, err := push.Run(ctx, l.client, []string{redisLog}, head.Seq, begins, raw[:len(raw)-1]).Int()
	if err != nil {
		return false, orContext(ctx, err)
	}
	if n != 1 {
		return false, nil // somebody else was faster
	}
	l.mu.Lock()
	l.last = next
	l.mu.Unlock()
	return true, nil
}

// orContext returns the context's error when that has ended: the client's
// would only say that the connection was closed.
func orContext(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Head returns the newest entry's number and hash, to be written down
// elsewhere.
func (l *Redis) Head(ctx context.Context) (Head, error) {
	head, _, err := l.look(ctx)
	if err != nil {
		return Head{}, fmt.Errorf("reading audit log: %w", err)
	}
	return head, nil
}

// Reader returns the log as it is now, for [Read] and [Verify]; what it reads
// is what a file has. It is read in pages, while ctx lives.
func (l *Redis) Reader(ctx context.Context) (io.Reader, error) {
	n, err := l.client.LLen(ctx, redisLog).Result()
	if err != nil {
		return nil, fmt.Errorf("reading audit log: %w", orContext(ctx, err))
	}
	return &pages{ctx: ctx, log: l, end: n}, nil
}

// pages reads a log of end lines.
type pages struct {
	ctx       context.Context
	log       *Redis
	next, end int64
	buf       bytes.Buffer
}

func (p *pages) Read(b []byte) (int, error) {
	for p.buf.Len() == 0 {
		if p.next >= p.end {
			return 0, io.EOF
		}
		lines, err := p.log.client.LRange(p.ctx, redisLog, p.next, min(p.next+page, p.end)-1).Result()
		if err != nil {
			return 0, orContext(p.ctx, err)
		}
		if len(lines) == 0 {
			return 0, errors.New("the log has become shorter while it was read")
		}
		for _, s := range lines {
			// A line feed inside would make two lines of one entry.
			p.buf.WriteString(strings.ReplaceAll(s, "\n", " ") + "\n")
		}
		p.next += int64(len(lines))
	}
	return p.buf.Read(b)
}

package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/executor/output"
	"kgent/retrieval/keyspace"
)

// Redis is the bus between hosts: Redis 7 or later, one server, a primary with
// replicas, or a cluster. What is kept where is so that a node's user can be
// allowed its own part and nothing else (see deploy/redis):
//
//	job:<node>        stream   jobs of a node, read through the group "exec"
//	out:<run>:<node>  stream   output of a run on a node
//	lease:<run>       string   "live" or "stopped", until it expires
//	node:<node>       string   what a node says of itself, until it expires
//	nodes             set      names to look for; whoever reads it checks them
//	facts:<hash>      string   a blob
//	stops             channel  names of runs that are stopped
//
// In a cluster each key is on the server of its slot, so that jobs and nodes are
// spread by node, and output by run: out:{<run>}:<node>, in braces, since who
// follows a run reads all its streams with one command. What is published on a
// channel, all servers of a cluster hear.
//
// All nodes hear all stops, since a stop knows the run and not its nodes; a
// run's name tells and allows nothing. Of a chunk, run and node are what the
// stream's key says, so that a node cannot speak for another.
//
// Commands are not repeated here: whoever uses a bus can, and knows when.
type Redis struct {
	client redis.UniversalClient

	mu   sync.Mutex
	sent map[string]*sent // streams that this process publishes, by key
}

// NewRedis returns a bus that uses a client, which the caller has set up as
// package rdb does, and closes.
func NewRedis(client redis.UniversalClient) *Redis {
	return &Redis{client: client, sent: map[string]*sent{}}
}

// sent is what is known to be kept of a stream, from the oldest entry on. Redis trims by
// numbers of entries or from an id on, not by bytes; so who publishes keeps count.
type sent struct {
	entries []entry
	bytes   int
	last    string // id of the newest entry
	at      time.Time
}

type entry struct {
	id    string
	bytes int
}

// cut returns how many of the oldest entries give way to a chunk, how many bytes they
// are, and the id from which on entries stay; "" when nothing is known of any.
func (s *sent) cut(c *Chunk) (n, bytes int, from string) {
	for ; n < len(s.entries) && (len(s.entries)-n >= KeepChunks || s.bytes-bytes+c.size() > c.share()); n++ {
		bytes += s.entries[n].bytes
	}
	if n < len(s.entries) {
		return n, bytes, s.entries[n].id
	}
	return n, bytes, after(s.last)
}

// after returns the least id that is greater than an entry's.
func after(id string) string {
	ms, seq, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil || n == math.MaxUint64 {
		return id // one entry more is kept
	}
	return ms + "-" + strconv.FormatUint(n+1, 10)
}

// outKey is the name of the stream of a run on a node.
func (r *Redis) outKey(run, node string) string {
	return outKey(keyspace.Tag(r.client, run), node)
}

// Names of keys. A run's is in braces in a cluster's streams of output.
func jobKey(node string) string      { return "job:" + node }
func outKey(run, node string) string { return "out:" + run + ":" + node }
func leaseKey(run string) string     { return "lease:" + run }
func nodeKey(node string) string     { return "node:" + node }
func factsKey(hash string) string    { return "facts:" + hash }

const (
	nodesKey     = "nodes"
	stopsChannel = "stops"
	jobGroup     = "exec"
)

// Values of a lease, and fields of streams.
const (
	leaseLive     = "live"
	leaseStopped  = "stopped"
	fieldEnvelope = "envelope"
	fieldHead     = "head"
	fieldLines    = "lines"
)

const (
	// blockTime is how long a blocking command waits: the client does not
	// interrupt it when the context ends.
	blockTime = MaxBlock - 100*time.Millisecond
	// blockLimit is when a blocking command has failed, because the server
	// says nothing at all.
	blockLimit = blockTime + 2*time.Second
	// jobsKept is how long jobs are kept for a node that does not come for
	// them: their grants have expired long before.
	jobsKept = time.Hour
	// maxInfo is the longest announcement that is read, in bytes.
	maxInfo = 64 << 10
	// maxNodes is how many names are looked for at most.
	maxNodes = 20_000
	// submitBytes is about how much a server is made to copy by one command that queues
	// jobs: it serves nobody else meanwhile, some milliseconds.
	submitBytes = 4 << 20
	// pageSize is how many entries of a stream are asked for at a time: few,
	// because each can be as large as the server takes.
	pageSize = 4
	// pageMost is how many entries of all streams output is asked for at a time.
	pageMost = 32
	// pageBytes is about how much output is asked for at a time, as far as the
	// sizes of chunks can be foreseen.
	pageBytes = 8 << 20
	// gatherFirst is how long what many nodes say is let come together, until all have said
	// something, and gatherTime how long after that: asking for hundreds of streams costs the
	// server more than what one of them has, and nodes gather for longer.
	gatherFirst = 5 * time.Millisecond
	gatherTime  = 50 * time.Millisecond
)

// failed says what was being done, or returns ctx's error when it has ended.
func failed(ctx context.Context, err error, format string, args ...any) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// Submit implements [Control].
func (r *Redis) Submit(ctx context.Context, envelope []byte, nodes ...string) error {
	if err := checkNames("node", nodes...); err != nil {
		return err
	}
	submit := r.submitTo
	if keyspace.Clustered(r.client) {
		submit = r.submitEach
	}
	unsent := Unsent{}
	for len(nodes) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		some := nodes[:min(len(nodes), max(1, submitBytes/(len(envelope)+1)))]
		nodes = nodes[len(some):]
		heard := submit(ctx, envelope, some, unsent)
		if err := ctx.Err(); err != nil {
			return err
		}
		if !heard {
			// The others would be waited for as long, some at a time.
			for _, n := range nodes {
				unsent[n] = errNotTried
			}
			break
		}
	}
	if len(unsent) > 0 {
		return unsent
	}
	return nil
}

// errNotTried is why a job was not queued for a node.
var errNotTried = errors.New("not tried, since nobody answered for others")

// unheard is why a job was maybe not queued: with [ErrUnheard], unless it never left.
func unheard(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return err
	}
	return fmt.Errorf("%w; %w", err, ErrUnheard)
}

// fanOut queues the job ARGV[1] in each of the streams from ARGV[4] on, of which ARGV[2]
// jobs are kept for ARGV[3] seconds. It returns which of them did not take it, and why, in turns.
// So the job passes to the server once, however many are to have it. The streams
// are no KEYS, since the control side may write them and not read them, and a
// script must be allowed everything with its KEYS.
var fanOut = redis.NewScript(`
local unsent = {}
for i = 4, #ARGV do
	local ok = redis.pcall('XADD', ARGV[i], 'MAXLEN', '~', ARGV[2], '*', '` + fieldEnvelope + `', ARGV[1])
	if type(ok) == 'table' and ok.err then
		unsent[#unsent + 1] = ARGV[i]
		unsent[#unsent + 1] = ok.err
	else
		redis.call('EXPIRE', ARGV[i], ARGV[3])
	end
end
return unsent`)

// submitTo queues a job for nodes of one server, and adds to unsent those that may not
// have it. It reports whether the server said what has become of it.
func (r *Redis) submitTo(ctx context.Context, envelope []byte, nodes []string, unsent Unsent) (heard bool) {
	args := []any{envelope, KeepJobs, int(jobsKept.Seconds())}
	byKey := map[string]string{}
	for _, n := range nodes {
		args, byKey[jobKey(n)] = append(args, jobKey(n)), n
	}
	said, err := fanOut.Run(ctx, r.client, nil, args...).StringSlice()
	if err != nil {
		for _, n := range nodes {
			unsent[n] = unheard(err)
		}
		return false
	}
	for pair := range slices.Chunk(said, 2) {
		unsent[byKey[pair[0]]] = errors.New(pair[len(pair)-1])
	}
	return true
}

// submitEach does the same in a cluster, where every queue can be on another server.
func (r *Redis) submitEach(ctx context.Context, envelope []byte, nodes []string, unsent Unsent) (heard bool) {
	added := map[string]redis.Cmder{}
	r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, n := range nodes {
			added[n] = p.XAdd(ctx, &redis.XAddArgs{Stream: jobKey(n), MaxLen: KeepJobs, Approx: true, Values: []any{fieldEnvelope, envelope}})
			p.Expire(ctx, jobKey(n), jobsKept)
		}
		return nil
	})
	for n, cmd := range added {
		err := cmd.Err()
		if _, answer := errors.AsType[redis.Error](err); err == nil || answer {
			heard = true
		} else {
			err = unheard(err)
		}
		if err != nil {
			unsent[n] = err
		}
	}
	return heard
}

// Consume implements [Node].
func (r *Redis) Consume(ctx context.Context, node, consumer string, each func(Job)) error {
	if err := checkNames("node", node); err != nil {
		return err
	}
	if consumer == "" {
		return errors.New("consuming jobs: the consumer has no name")
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		// The group is gone when Redis lost its data, or jobs nobody came for:
		// then it is made anew, with whatever jobs there are since.
		err := r.join(ctx, node)
		if err == nil {
			err = r.again(ctx, node, consumer, each)
		}
		for err == nil {
			err = r.fresh(ctx, node, consumer, each)
		}
		if !strings.HasPrefix(err.Error(), "NOGROUP") && !strings.HasPrefix(err.Error(), "UNBLOCKED") {
			return failed(ctx, err, "consuming jobs of %s", node)
		}
	}
}

// join makes the node's queue and group if there are none.
func (r *Redis) join(ctx context.Context, node string) error {
	err := r.client.XGroupCreateMkStream(ctx, jobKey(node), jobGroup, "0").Err()
	if err != nil && strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return nil
	}
	return err
}

// again takes over what any consumer took and nobody acknowledged.
func (r *Redis) again(ctx context.Context, node, consumer string, each func(Job)) error {
	for start := "0-0"; ; {
		jobs, next, err := r.client.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: jobKey(node), Group: jobGroup, Consumer: consumer, Start: start, Count: pageSize,
		}).Result()
		if err != nil {
			return err
		}
		if err := hand(ctx, jobs, true, each); err != nil {
			return err
		}
		if next == "0-0" {
			return nil
		}
		start = next
	}
}

// fresh waits for a new job.
func (r *Redis) fresh(ctx context.Context, node, consumer string, each func(Job)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, blockLimit)
	defer cancel()
	streams, err := r.client.XReadGroup(limit, &redis.XReadGroupArgs{
		Group: jobGroup, Consumer: consumer, Streams: []string{jobKey(node), ">"}, Count: 1, Block: blockTime,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range streams {
		if err := hand(ctx, s.Messages, false, each); err != nil {
			return err
		}
	}
	return nil
}

// hand gives jobs to each. Those that ctx's end leaves are delivered again.
func hand(ctx context.Context, jobs []redis.XMessage, again bool, each func(Job)) error {
	for _, m := range jobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		// What has no envelope is no job of ours; the executor refuses it.
		envelope, _ := m.Values[fieldEnvelope].(string)
		each(Job{ID: m.ID, Envelope: []byte(envelope), Again: again})
	}
	return nil
}

// isStreamID reports whether s is what Redis numbers an entry with.
func isStreamID(s string) bool {
	ms, seq, ok := strings.Cut(s, "-")
	_, err1 := strconv.ParseUint(ms, 10, 64)
	_, err2 := strconv.ParseUint(seq, 10, 64)
	return ok && err1 == nil && err2 == nil
}

// Ack implements [Node].
func (r *Redis) Ack(ctx context.Context, node, id string) error {
	if err := checkNames("node", node); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !isStreamID(id) {
		return fmt.Errorf("acknowledging job %.64q: no such id", id)
	}
	_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.XAck(ctx, jobKey(node), jobGroup, id)
		p.XDel(ctx, jobKey(node), id) // envelopes are large
		return nil
	})
	if err != nil {
		return failed(ctx, err, "acknowledging job %s", id)
	}
	return nil
}

// head is a chunk without its lines and without what its key says.
type head struct {
	Format   int             `json:"format,omitempty"`
	Seq      uint64          `json:"seq"`
	Events   uint64          `json:"events,omitempty"`
	Counters output.Counters `json:"counters"`
	Attached time.Duration   `json:"attached_ns"`
	Final    bool            `json:"final,omitempty"`
}

// Publish implements [Node].
func (r *Redis) Publish(ctx context.Context, c Chunk) error {
	if err := checkNames("run", c.Run); err != nil {
		return err
	}
	if err := checkNames("node", c.Node); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	h, err := json.Marshal(head{c.Format, c.Seq, c.Events, c.Counters, c.Attached, c.Final})
	if err != nil {
		return fmt.Errorf("encoding a chunk: %w", err)
	}
	key := r.outKey(c.Run, c.Node)
	args := &redis.XAddArgs{Stream: key, Approx: true, Values: []any{fieldHead, h, fieldLines, c.Lines}}
	n, bytes, from := r.room(key, &c)
	if args.MinID = from; from == "" {
		args.MaxLen = KeepChunks
	}
	var added *redis.StringCmd
	_, err = r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		added = p.XAdd(ctx, args)
		p.Expire(ctx, key, OutputKept)
		return nil
	})
	if added.Err() == nil {
		r.published(key, &c, n, bytes, added.Val())
	}
	if err != nil {
		return failed(ctx, err, "publishing output")
	}
	return nil
}

// room returns what gives way to a chunk; see [sent.cut].
func (r *Redis) room(key string, c *Chunk) (n, bytes int, from string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sent[key]; s != nil {
		return s.cut(c)
	}
	return 0, 0, ""
}

// published notes that a chunk is in its stream, and that so many older ones are not.
func (r *Redis) published(key string, c *Chunk, n, bytes int, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Final {
		delete(r.sent, key)
		return
	}
	now := time.Now()
	s := r.sent[key]
	if s == nil {
		// Runs that ended without a last word.
		maps.DeleteFunc(r.sent, func(_ string, s *sent) bool { return now.Sub(s.at) > OutputKept })
		s = &sent{}
		r.sent[key] = s
	}
	s.entries = append(s.entries[min(n, len(s.entries)):], entry{id, c.size()})
	s.bytes += c.size() - bytes
	s.last, s.at = id, now
}

// Follow implements [Control].
func (r *Redis) Follow(ctx context.Context, run string, nodes []string, each func(Chunk) error) error {
	if err := checkNames("run", run); err != nil {
		return err
	}
	if err := checkNames("node", nodes...); err != nil {
		return err
	}
	// XREAD answers for a key once, however often it is named.
	nodes = slices.Compact(slices.Sorted(slices.Values(nodes)))
	byKey := map[string]string{}
	last := map[string]string{} // of those that have said something
	for _, n := range nodes {
		byKey[r.outKey(run, n)] = n
	}
	var size pageEstimate
	// page hands on what some of the streams have, and reports whether that was anything, and
	// whether one may have more.
	page := func(nodes []string, count int64, block time.Duration) (found, more bool, err error) {
		if err := ctx.Err(); err != nil {
			return false, false, err
		}
		streams := make([]string, 0, 2*len(nodes))
		for _, n := range nodes {
			streams = append(streams, r.outKey(run, n))
		}
		for _, n := range nodes {
			streams = append(streams, cmp.Or(last[n], "0-0"))
		}
		limit, cancel := context.WithTimeout(ctx, blockLimit)
		got, err := r.client.XRead(limit, &redis.XReadArgs{Streams: streams, Count: count, Block: block}).Result()
		cancel()
		if err != nil && !errors.Is(err, redis.Nil) {
			return false, false, failed(ctx, err, "following the output of run %s", run)
		}
		size.see(got)
		for _, s := range got {
			more = more || len(s.Messages) == int(count)
			node, ok := byKey[s.Stream]
			if !ok {
				return false, false, fmt.Errorf("following the output of run %s: the server answered for %.80q", run, s.Stream)
			}
			for i, m := range s.Messages {
				if err := ctx.Err(); err != nil {
					return false, false, err
				}
				last[node] = m.ID
				c, ok := decodeChunk(run, node, m.Values)
				s.Messages[i] = redis.XMessage{} // it can be large
				if !ok {
					continue // no chunk; the numbers of the others show what is missing
				}
				if err := each(c); err != nil {
					return false, false, err
				}
			}
		}
		return len(got) > 0, more, nil
	}
	// gather lets what many nodes say come together, and reports false when ctx ends.
	gather := func() bool {
		switch {
		case len(nodes) <= pageMost:
			return true
		case len(last) < len(nodes):
			return wait(ctx, gatherFirst)
		}
		return wait(ctx, gatherTime)
	}
	if len(nodes) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	for {
		// What there is, of some nodes at a time, so that it needs bounded memory
		// however many there are and however much they have.
		for again := true; again; {
			again = false
			full := false
			for rest := nodes; len(rest) > 0; {
				streams, count := size.next(len(rest))
				some := rest[:streams]
				rest = rest[streams:]
				found, more, err := page(some, count, -1)
				if err != nil {
					return err
				}
				again, full = again || found, full || more
			}
			if again && !full && !gather() {
				return ctx.Err()
			}
		}
		// Then one wait for all, which have had nothing just now: it ends with the
		// first that has something.
		if found, _, err := page(nodes, 1, blockTime); err != nil {
			return err
		} else if found && !gather() {
			return ctx.Err()
		}
	}
}

// pageEstimate says how much to ask for, going by what came. The largest chunk is more than
// [output.MaxLine], the usual one a hundredth of that: it begins with one chunk, asks for
// twice as many each time, and takes that back when they are large. So a page has about
// [pageBytes], or [pageMost] chunks where they grow all at once.
type pageEstimate struct {
	chunk int // bytes of a chunk; 0 at the beginning
}

// next returns of how many of the streams how many entries each are to be asked for.
func (p *pageEstimate) next(streams int) (some int, count int64) {
	if p.chunk == 0 {
		p.chunk = pageBytes
	}
	n := min(pageMost, max(1, pageBytes/p.chunk))
	some = min(streams, n)
	return some, int64(min(pageSize, n/some))
}

// see takes in a page.
func (p *pageEstimate) see(got []redis.XStream) {
	largest := pageBytes / pageMost / 2
	for _, s := range got {
		for _, m := range s.Messages {
			lines, _ := m.Values[fieldLines].(string)
			largest = max(largest, len(lines))
		}
	}
	p.chunk = max(largest, p.chunk/2)
}

// wait waits, and reports false when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func decodeChunk(run, node string, values map[string]any) (Chunk, bool) {
	raw, _ := values[fieldHead].(string)
	lines, _ := values[fieldLines].(string)
	// First, since of a newer format the rest can be anything.
	if f := formatOf([]byte(raw)); f > ChunkFormat {
		return Chunk{Run: run, Node: node, Format: f}, true
	}
	var h head
	if err := json.Unmarshal([]byte(raw), &h); err != nil {
		return Chunk{}, false
	}
	return Chunk{
		Run: run, Node: node, Format: h.Format, Seq: h.Seq, Lines: []byte(lines), Events: h.Events,
		Counters: h.Counters, Attached: h.Attached, Final: h.Final,
	}, true
}

// formatOf returns the format that something says it has; 0: it says none.
func formatOf(b []byte) int {
	var f struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return 0
	}
	return f.Format
}

// renewLease sets KEYS[1] for ARGV[1] milliseconds, unless it says that the
// run was stopped: then the answer is 0.
var renewLease = redis.NewScript(`
if redis.call('GET', KEYS[1]) == '` + leaseStopped + `' then return 0 end
redis.call('SET', KEYS[1], '` + leaseLive + `', 'PX', ARGV[1])
return 1`)

// millis rounds up to what Redis counts in.
func millis(d time.Duration) int64 { return max(1, int64((d+time.Millisecond-1)/time.Millisecond)) }

// Renew implements [Control].
func (r *Redis) Renew(ctx context.Context, run string, ttl time.Duration) error {
	if err := checkNames("run", run); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ok, err := renewLease.Run(ctx, r.client, []string{leaseKey(run)}, millis(ttl)).Bool()
	if err != nil {
		return failed(ctx, err, "renewing the lease of run %s", run)
	}
	if !ok {
		return ErrStopped
	}
	return nil
}

// Stop implements [Control].
func (r *Redis) Stop(ctx context.Context, run string) error {
	if err := checkNames("run", run); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, leaseKey(run), leaseStopped, StopKept)
		p.Publish(ctx, stopsChannel, run)
		return nil
	})
	if err != nil {
		return failed(ctx, err, "stopping run %s", run)
	}
	return nil
}

// Lease implements [Node].
func (r *Redis) Lease(ctx context.Context, run string) (Lease, error) {
	if err := checkNames("run", run); err != nil {
		return LeaseGone, err
	}
	if err := ctx.Err(); err != nil {
		return LeaseGone, err
	}
	switch v, err := r.client.Get(ctx, leaseKey(run)).Result(); {
	case errors.Is(err, redis.Nil):
		return LeaseGone, nil
	case err != nil:
		return LeaseGone, failed(ctx, err, "reading the lease of run %s", run)
	case v == leaseLive:
		return LeaseLive, nil
	}
	return LeaseStopped, nil
}

// Stops implements [Node]. When the connection breaks it is made again.
func (r *Redis) Stops(ctx context.Context) (<-chan string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sub := r.client.Subscribe(ctx, stopsChannel)
	if _, err := sub.Receive(ctx); err != nil { // that it is subscribed
		sub.Close()
		return nil, failed(ctx, err, "listening for stops")
	}
	heard := sub.Channel()
	out := make(chan string, 64)
	go func() {
		defer close(out)
		defer sub.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case m, ok := <-heard:
				if !ok {
					return
				}
				if CheckName(m.Payload) != nil {
					continue
				}
				select {
				case out <- m.Payload:
				default: // it does not listen; the lease will tell it
				}
			}
		}
	}()
	return out, nil
}

// Announce implements [Node].
func (r *Redis) Announce(ctx context.Context, n NodeInfo, ttl time.Duration) error {
	if err := checkNames("node", n.Name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if ttl <= 0 {
		if err := r.client.Del(ctx, nodeKey(n.Name)).Err(); err != nil {
			return failed(ctx, err, "taking node %s off the list", n.Name)
		}
		return nil
	}
	info, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encoding what node %s announces: %w", n.Name, err)
	}
	if len(info) > maxInfo {
		return fmt.Errorf("announcing node %s: %d bytes, at most %d: it has too many labels", n.Name, len(info), maxInfo)
	}
	// One after the other, as forget expects; a cluster would do both at once.
	if err = r.client.Do(ctx, "SET", nodeKey(n.Name), info, "PX", millis(ttl)).Err(); err == nil {
		err = r.client.SAdd(ctx, nodesKey, n.Name).Err()
	}
	if err != nil {
		return failed(ctx, err, "announcing node %s", n.Name)
	}
	return nil
}

// Announced returns what was last announced under a node's name, and false when
// that is nothing or has expired: before it begins, a process can so find out
// that another has the same name.
func (r *Redis) Announced(ctx context.Context, node string) (NodeInfo, bool, error) {
	if err := checkNames("node", node); err != nil {
		return NodeInfo{}, false, err
	}
	if err := ctx.Err(); err != nil {
		return NodeInfo{}, false, err
	}
	var n NodeInfo
	raw, err := r.client.Get(ctx, nodeKey(node)).Bytes()
	if errors.Is(err, redis.Nil) {
		return n, false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	if err != nil {
		return NodeInfo{}, false, failed(ctx, err, "asking who is announced as %s", node)
	}
	return n, true, nil
}

// forget removes names from the list of which nothing is announced. One that is
// announced at the same moment stays: it is looked for after it was removed, and
// whoever announces itself does so before adding its name.
func (r *Redis) forget(ctx context.Context, names []string) error {
	if err := r.client.SRem(ctx, nodesKey, names).Err(); err != nil {
		return err
	}
	there := map[string]*redis.IntCmd{}
	if _, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, n := range names {
			if CheckName(n) == nil {
				there[n] = p.Exists(ctx, nodeKey(n))
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for n, found := range there {
		if found.Val() == 0 {
			continue
		}
		if err := r.client.SAdd(ctx, nodesKey, n).Err(); err != nil {
			return err
		}
	}
	return nil
}

// Nodes implements [Control].
func (r *Redis) Nodes(ctx context.Context) ([]NodeInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	const page = 500
	var out []NodeInfo
	seen := map[string]bool{} // a scan can find a name twice
	facts := map[string]bool{}
	for cursor := uint64(0); len(seen) < maxNodes; {
		names, next, err := r.client.SScan(ctx, nodesKey, cursor, "", page).Result()
		if err != nil {
			return nil, failed(ctx, err, "listing nodes")
		}
		names = slices.DeleteFunc(names, func(n string) bool { return seen[n] })
		for _, n := range names {
			seen[n] = true
		}
		found, gone, err := r.announced(ctx, names)
		if err != nil {
			return nil, failed(ctx, err, "listing nodes")
		}
		for _, n := range found {
			if isHash(n.Facts) {
				facts[n.Facts] = true
			}
		}
		out = append(out, found...)
		if len(gone) > 0 {
			if err := r.forget(ctx, gone); err != nil {
				return nil, failed(ctx, err, "listing nodes")
			}
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	if len(facts) > 0 {
		_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for hash := range maps.Keys(facts) {
				p.Expire(ctx, factsKey(hash), FactsKept)
			}
			return nil
		})
		if err != nil {
			return nil, failed(ctx, err, "keeping the facts of nodes")
		}
	}
	slices.SortFunc(out, func(a, b NodeInfo) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// announced returns what the nodes of these names announce, and the names that
// announce nothing, or nothing that can be read.
func (r *Redis) announced(ctx context.Context, names []string) (found []NodeInfo, gone []string, err error) {
	var good []string
	for _, n := range names {
		if CheckName(n) != nil {
			gone = append(gone, n)
			continue
		}
		good = append(good, n)
	}
	if len(good) == 0 {
		return nil, gone, nil
	}
	// One by one, since they are on several servers of a cluster.
	values := make([]*redis.StringCmd, len(good))
	if _, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, n := range good {
			values[i] = p.Get(ctx, nodeKey(n))
		}
		return nil
	}); err != nil && !errors.Is(err, redis.Nil) {
		return nil, nil, err
	}
	for i, v := range values {
		raw, err := v.Result()
		if errors.Is(err, redis.Nil) {
			gone = append(gone, good[i])
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		found = append(found, readInfo(good[i], raw))
	}
	return found, gone, nil
}

// readInfo reads what a node announces under its name. What cannot be read is listed nevertheless:
// people look for a node that they have started.
func readInfo(name, raw string) NodeInfo {
	n := NodeInfo{Name: name}
	if len(raw) > maxInfo {
		return unreadable(name)
	}
	if n.Format = formatOf([]byte(raw)); n.Format > InfoFormat {
		var v struct {
			Version string `json:"version"`
		}
		json.Unmarshal([]byte(raw), &v) // it may have become something else
		n.Version = v.Version
		n = n.foreign()
	} else if json.Unmarshal([]byte(raw), &n) != nil {
		return unreadable(name)
	}
	n.Name = name // whose key it is
	n.tame()
	return n
}

// PublishFacts implements [Node]. Nodes share the key, and a node's user may
// only make it: it can neither replace what another published nor take it
// away. What is there under a wrong hash, the control side removes.
func (r *Redis) PublishFacts(ctx context.Context, hash string, blob []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !isHash(hash) {
		return checkFacts(hash, blob)
	}
	// Whoever announces itself asks this again and again: what is there is not hashed anew.
	n, err := r.client.Exists(ctx, factsKey(hash)).Result()
	if err == nil && n == 0 {
		if err := checkFacts(hash, blob); err != nil {
			return err
		}
		err = r.client.Do(ctx, "SETNX", factsKey(hash), blob).Err()
	}
	if err != nil {
		return failed(ctx, err, "publishing facts")
	}
	return nil
}

// Facts implements [Control].
func (r *Redis) Facts(ctx context.Context, hash string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !isHash(hash) {
		return nil, noFacts(hash)
	}
	key := factsKey(hash)
	blob, err := r.client.GetRange(ctx, key, 0, MaxFacts).Bytes() // one more than may be
	if err != nil {
		return nil, failed(ctx, err, "reading facts %s", hash)
	}
	if len(blob) <= MaxFacts && FactsHash(blob) == hash {
		if err := r.client.Expire(ctx, key, FactsKept).Err(); err != nil {
			return nil, failed(ctx, err, "keeping facts %s", hash)
		}
		return blob, nil
	}
	if err := r.client.Del(ctx, key).Err(); err != nil {
		return nil, failed(ctx, err, "removing what is not facts %s", hash)
	}
	return nil, noFacts(hash)
}

package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/executor/output"
)

// Redis is the bus between hosts: Redis 7 or later, one server or a primary
// with replicas, not a cluster. What is kept where is so
// that a node's user can be allowed its own part and nothing else (see
// deploy/redis):
//
//	job:<node>        stream   jobs of a node, read through the group "exec"
//	out:<run>:<node>  stream   output of a run on a node
//	lease:<run>       string   "live" or "stopped", until it expires
//	node:<node>       string   what a node says of itself, until it expires
//	nodes             set      names to look for; whoever reads it checks them
//	facts:<hash>      string   a blob
//	stops             channel  names of runs that are stopped
//
// All nodes hear all stops, since a stop knows the run and not its nodes; a
// run's name tells and allows nothing. Of a chunk, run and node are what the
// stream's key says, so that a node cannot speak for another.
//
// Commands are not repeated here: whoever uses a bus can, and knows when.
type Redis struct {
	client *redis.Client
}

// NewRedis returns a bus that uses a client, which the caller has set up as
// package rdb does, and closes.
func NewRedis(client *redis.Client) *Redis { return &Redis{client} }

// Names of keys.
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
	// pageSize is how many entries of a stream are asked for at a time: few,
	// because each can be as large as the server takes.
	pageSize = 4
)

// failed says what was being done, or returns ctx's error when it has ended.
func failed(ctx context.Context, err error, format string, args ...any) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// Submit implements [Control].
func (r *Redis) Submit(ctx context.Context, node string, envelope []byte) error {
	if err := checkNames("node", node); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.XAdd(ctx, &redis.XAddArgs{Stream: jobKey(node), MaxLen: KeepJobs, Approx: true, Values: []any{fieldEnvelope, envelope}})
		p.Expire(ctx, jobKey(node), jobsKept)
		return nil
	})
	if err != nil {
		return failed(ctx, err, "queueing a job for %s", node)
	}
	return nil
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
	h, err := json.Marshal(head{c.Seq, c.Events, c.Counters, c.Attached, c.Final})
	if err != nil {
		return fmt.Errorf("encoding a chunk: %w", err)
	}
	key := outKey(c.Run, c.Node)
	_, err = r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.XAdd(ctx, &redis.XAddArgs{Stream: key, MaxLen: KeepChunks, Approx: true, Values: []any{fieldHead, h, fieldLines, c.Lines}})
		p.Expire(ctx, key, OutputKept)
		return nil
	})
	if err != nil {
		return failed(ctx, err, "publishing output")
	}
	return nil
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
	last := map[string]string{}
	for _, n := range nodes {
		byKey[outKey(run, n)], last[n] = n, "0-0"
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(nodes) == 0 {
			<-ctx.Done()
			continue
		}
		streams := make([]string, 0, 2*len(nodes))
		for _, n := range nodes {
			streams = append(streams, outKey(run, n))
		}
		for _, n := range nodes {
			streams = append(streams, last[n])
		}
		limit, cancel := context.WithTimeout(ctx, blockLimit)
		got, err := r.client.XRead(limit, &redis.XReadArgs{Streams: streams, Count: pageSize, Block: blockTime}).Result()
		cancel()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return failed(ctx, err, "following the output of run %s", run)
		}
		for _, s := range got {
			node, ok := byKey[s.Stream]
			if !ok {
				return fmt.Errorf("following the output of run %s: the server answered for %.80q", run, s.Stream)
			}
			for _, m := range s.Messages {
				if err := ctx.Err(); err != nil {
					return err
				}
				last[node] = m.ID
				c, ok := decodeChunk(run, node, m.Values)
				if !ok {
					continue // no chunk; the numbers of the others show what is missing
				}
				if err := each(c); err != nil {
					return err
				}
			}
		}
	}
}

func decodeChunk(run, node string, values map[string]any) (Chunk, bool) {
	raw, _ := values[fieldHead].(string)
	lines, _ := values[fieldLines].(string)
	var h head
	if err := json.Unmarshal([]byte(raw), &h); err != nil {
		return Chunk{}, false
	}
	return Chunk{
		Run: run, Node: node, Seq: h.Seq, Lines: []byte(lines), Events: h.Events,
		Counters: h.Counters, Attached: h.Attached, Final: h.Final,
	}, true
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
	_, err = r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Do(ctx, "SET", nodeKey(n.Name), info, "PX", millis(ttl))
		p.SAdd(ctx, nodesKey, n.Name)
		return nil
	})
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

// forgetNodes removes from the set KEYS[1] the names in ARGV of which nothing
// is announced, and keeps those announced meanwhile.
var forgetNodes = redis.NewScript(`
for _, name in ipairs(ARGV) do
	if redis.call('EXISTS', 'node:' .. name) == 0 then redis.call('SREM', KEYS[1], name) end
end
return 0`)

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
			if err := forgetNodes.Run(ctx, r.client, []string{nodesKey}, gone...).Err(); err != nil {
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
func (r *Redis) announced(ctx context.Context, names []string) (found []NodeInfo, gone []any, err error) {
	var keys []string
	var good []string
	for _, n := range names {
		if CheckName(n) != nil {
			gone = append(gone, n)
			continue
		}
		good, keys = append(good, n), append(keys, nodeKey(n))
	}
	if len(keys) == 0 {
		return nil, gone, nil
	}
	values, err := r.client.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, nil, err
	}
	for i, v := range values {
		raw, ok := v.(string)
		if !ok {
			gone = append(gone, good[i])
			continue
		}
		var n NodeInfo
		if len(raw) > maxInfo || json.Unmarshal([]byte(raw), &n) != nil {
			continue
		}
		n.Name = good[i] // whose key it is
		n.tame()
		found = append(found, n)
	}
	return found, gone, nil
}

// PublishFacts implements [Node]. Nodes share the key, and a node's user may
// only make it: it can neither replace what another published nor take it
// away. What is there under a wrong hash, the control side removes.
func (r *Redis) PublishFacts(ctx context.Context, hash string, blob []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkFacts(hash, blob); err != nil {
		return err
	}
	n, err := r.client.Exists(ctx, factsKey(hash)).Result()
	if err == nil && n == 0 {
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

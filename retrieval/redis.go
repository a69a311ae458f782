package retrieval

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/retrieval/keyspace"
)

// ErrNoVectorSets: the Redis is older than 8, or is none.
var ErrNoVectorSets = errors.New("this Redis has no vector sets (VADD, VSIM), which came with Redis 8: use one of version 8, or keep the index in the process")

// ErrNotAllowed: the ACL of the Redis keeps its user from vector sets.
var ErrNotAllowed = errors.New("the user of this Redis may not use vector sets: make its line in the ACL file anew with `kgent keys acl --bot --redis8`, or keep the index in the process")

// Rules are what a user of Redis needs beyond reading and writing keys that begin with kgent:, as rules
// of Redis 8's ACL. An older one refuses a file with these.
func Rules() []string { return []string{"+vadd", "+vsim", "+vcard", "+vrem", "+vsetattr"} }

// HasVectorSets asks a Redis whether it is one of version 8 or later, whatever its user may do there.
func HasVectorSets(ctx context.Context, client redis.UniversalClient) (bool, error) {
	switch err := client.VCard(ctx, keyspace.Prefix+redisPrefix).Err(); {
	case err == nil, errors.Is(err, redis.Nil), strings.HasPrefix(err.Error(), "NOPERM"):
		return true, nil
	case strings.Contains(err.Error(), "unknown command"):
		return false, nil
	default:
		return false, fmt.Errorf("asking for vector sets: %w", err)
	}
}

// Quantization is how Redis keeps the numbers of a vector.
type Quantization string

const (
	Bytes  Quantization = "Q8"      // a byte each: Redis's default
	Floats Quantization = "NOQUANT" // 4 bytes each
	Bits   Quantization = "BIN"     // a bit each
)

const (
	// redisPrefix begins all keys, after keyspace.Prefix; the number is that of the format.
	redisPrefix = "search:1:"
	// anyKernel stands for what does not depend on a kernel.
	anyKernel = "*"
	// nearestAsked is how many vectors a search asks Redis for, and nearestEffort how many it looks at;
	// nearestEnough how many documents of those that are looked for it takes among them.
	nearestAsked  = 300
	nearestEffort = 500
	nearestEnough = 60
	// redisBatch is how many commands go in one pipeline.
	redisBatch = 256
	// redisVectors is how many vectors go in one: each takes milliseconds, and a pipeline is answered as a whole,
	// within what a client waits.
	redisVectors = 16
	// lockTTL is how long somebody who died keeps others from adding; lockWait how often
	// others look.
	lockTTL  = 2 * time.Minute
	lockWait = 200 * time.Millisecond
)

// Redis is an index whose vectors are in Redis 8, shared by all processes that use the same
// prefix and embedder: what takes long is done by the first. What the lexical search needs each
// process makes of the documents, in a second. Element names are those of documents, with the
// number of the text; attributes say its kind and which kernels have it, by which Redis filters.
type Redis struct {
	words        *Memory
	client       redis.UniversalClient
	options      Options
	key          string // of the vector set, and the prefix of others
	quantization Quantization
}

// OpenRedis makes an index over a Redis. The embedder must not be nil. The error wraps
// [ErrNoVectorSets] on a Redis without them, [ErrNotAllowed] where they are not for its
// user. Requires Redis 8.
func OpenRedis(ctx context.Context, client redis.UniversalClient, options Options, quantization Quantization) (*Redis, error) {
	if options.Embedder == nil {
		return nil, errors.New("opening a search in Redis: there is no embedder, and words are searched in the process")
	}
	if !slices.Contains([]Quantization{Bytes, Floats, Bits}, quantization) {
		return nil, fmt.Errorf("opening a search in Redis: no quantization %q", quantization)
	}
	if options.Weights == (Weights{}) {
		options.Weights = DefaultWeights()
	}
	words, err := Open(Options{Weights: options.Weights})
	if err != nil {
		return nil, err
	}
	r := &Redis{words: words, client: client, options: options, quantization: quantization,
		key: keyspace.Prefix + keyspace.Tag(client, redisPrefix+strings.ToLower(string(quantization))+":"+keyOf(options.Embedder.Name()))}
	switch err := client.VCard(ctx, r.key).Err(); {
	case err == nil || errors.Is(err, redis.Nil):
		return r, nil
	case strings.Contains(err.Error(), "unknown command"):
		return nil, fmt.Errorf("opening a search in Redis: %w", ErrNoVectorSets)
	case strings.HasPrefix(err.Error(), "NOPERM"):
		return nil, fmt.Errorf("opening a search in Redis: %w", ErrNotAllowed)
	default:
		return nil, fmt.Errorf("opening a search in Redis: %w", err)
	}
}

// Close leaves what is in Redis there.
func (r *Redis) Close() error { return nil }

// Has tells whether this process and Redis both have a kernel.
func (r *Redis) Has(ctx context.Context, kernel string) (bool, error) {
	if has, err := r.words.Has(ctx, kernel); err != nil || !has {
		return false, err
	}
	n, err := r.client.Exists(ctx, r.marker(kernel)).Result()
	if err != nil {
		return false, fmt.Errorf("asking Redis for kernel %.12s: %w", kernel, err)
	}
	return n > 0, nil
}

// marker is a key that exists when all of a kernel is in Redis: the hash of its documents.
func (r *Redis) marker(kernel string) string { return r.key + ":kernel:" + tag(kernel) }

// members is a set of the documents that a kernel has, of those with vectors.
func (r *Redis) members(kernel string) string { return r.key + ":documents:" + tag(kernel) }

// owners is a hash: which kernels have a document.
func (r *Redis) owners() string { return r.key + ":owners" }

func tag(kernel string) string {
	if kernel == "" {
		return anyKernel
	}
	return kernel[:min(16, len(kernel))]
}

// Add puts documents in. Vectors that Redis has are not made again.
func (r *Redis) Add(ctx context.Context, kernel string, documents []Document) error {
	return r.add(ctx, kernel, documents, func(missing []Document) (*Prepared, error) {
		return Prepare(ctx, r.options.Embedder, missing)
	})
}

// AddPrepared puts documents in that have their vectors.
func (r *Redis) AddPrepared(ctx context.Context, kernel string, p *Prepared) error {
	at := map[id]int{}
	for i := range p.Documents {
		name, err := idOf(&p.Documents[i])
		if err != nil {
			return err
		}
		at[name] = i
	}
	return r.add(ctx, kernel, p.Documents, func(missing []Document) (*Prepared, error) {
		wanted := map[int]int{}
		for i := range missing {
			name, err := idOf(&missing[i])
			if err != nil {
				return nil, err
			}
			wanted[at[name]] = i
		}
		some := &Prepared{Documents: missing, Dim: p.Dim}
		for i, owner := range p.Owner {
			if to, ok := wanted[int(owner)]; ok {
				some.Owner, some.Scale, some.Bytes = append(some.Owner, uint32(to)), append(some.Scale, p.Scale[i]), append(some.Bytes, p.vector(i)...)
			}
		}
		return some, nil
	})
}

func (r *Redis) add(ctx context.Context, kernel string, documents []Document, prepare func([]Document) (*Prepared, error)) error {
	if err := r.words.AddPrepared(ctx, kernel, &Prepared{Documents: documents}); err != nil {
		return err
	}
	ids := map[id]int{}
	all := sha256.New()
	var names []string
	for i := range documents {
		if len(documents[i].Texts) == 0 {
			continue
		}
		name, err := idOf(&documents[i])
		if err != nil {
			return err
		}
		if _, ok := ids[name]; !ok {
			ids[name] = i
			names = append(names, hex.EncodeToString(name[:]))
			all.Write(name[:])
		}
	}
	digest := hex.EncodeToString(all.Sum(nil))
	unlock, err := r.acquire(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	there, err := r.client.Get(ctx, r.marker(kernel)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("asking Redis for kernel %.12s: %w", kernel, err)
	}
	if there == digest {
		return nil
	}
	if err := r.put(ctx, kernel, documents, ids, names, prepare); err != nil {
		return fmt.Errorf("putting kernel %.12s into Redis: %w", tag(kernel), err)
	}
	if err := r.client.Set(ctx, r.marker(kernel), digest, 0).Err(); err != nil {
		return fmt.Errorf("putting kernel %.12s into Redis: %w", tag(kernel), err)
	}
	return nil
}

// put writes what is new and takes away what is no more. It can be repeated after it stopped half-way.
func (r *Redis) put(ctx context.Context, kernel string, documents []Document, ids map[id]int, names []string, prepare func([]Document) (*Prepared, error)) error {
	before, err := r.client.SMembers(ctx, r.members(kernel)).Result()
	if err != nil {
		return err
	}
	owners := map[string]string{}
	touched := slices.Concat(names, before)
	for part := range slices.Chunk(touched, redisBatch) {
		values, err := r.client.HMGet(ctx, r.owners(), part...).Result()
		if err != nil {
			return err
		}
		for i, v := range values {
			if s, ok := v.(string); ok {
				owners[part[i]] = s
			}
		}
	}
	var missing []Document
	keep := map[string]bool{}
	for _, name := range names {
		keep[name] = true
		if owners[name] == "" {
			raw, err := hex.DecodeString(name)
			if err != nil {
				return err
			}
			missing = append(missing, documents[ids[id(raw)]])
		}
	}
	p, err := prepare(missing)
	if err != nil {
		return err
	}
	b := &batch{ctx: ctx, client: r.client, most: redisVectors}
	// First the vectors of new documents.
	count := make([]int, len(missing))
	vector := make([]float32, p.Dim)
	for i, owner := range p.Owner {
		name, err := idOf(&p.Documents[owner])
		if err != nil {
			return err
		}
		for j, x := range p.vector(i) {
			vector[j] = p.Scale[i] * float32(x)
		}
		args := &redis.VAddArgs{SetAttr: attributes(p.Documents[owner].Kind, tag(kernel)), Q8: r.quantization == Bytes, NoQuant: r.quantization == Floats, Bin: r.quantization == Bits, EF: nearestEffort / 2}
		element := fmt.Sprintf("%x#%d", name, count[owner])
		count[owner]++
		b.do(func(pipe redis.Pipeliner) {
			pipe.VAddWithArgs(ctx, r.key, element, packed(vector), args)
		})
	}
	for i := range missing {
		name, err := idOf(&missing[i])
		if err != nil {
			return err
		}
		b.do(func(pipe redis.Pipeliner) {
			pipe.HSet(ctx, r.owners(), hex.EncodeToString(name[:]), fmt.Sprintf("%s %d %s", missing[i].Kind, count[i], tag(kernel)))
			pipe.SAdd(ctx, r.members(kernel), hex.EncodeToString(name[:]))
		})
	}
	// Then those that others have already, and those that this kernel has no more.
	for name, owner := range owners {
		fields := strings.Fields(owner)
		if len(fields) < 2 {
			return fmt.Errorf("what Redis says of %s is %q", name, owner)
		}
		kind, n, kernels := Kind(fields[0]), 0, fields[2:]
		if _, err := fmt.Sscan(fields[1], &n); err != nil || n < 0 || n > maxVectors {
			return fmt.Errorf("what Redis says of %s is %q", name, owner)
		}
		has := slices.Contains(kernels, tag(kernel))
		switch {
		case keep[name] && has:
			b.do(func(pipe redis.Pipeliner) { pipe.SAdd(ctx, r.members(kernel), name) })
			continue
		case keep[name]:
			kernels = append(kernels, tag(kernel))
		case !has:
			continue
		default:
			kernels = slices.DeleteFunc(kernels, func(k string) bool { return k == tag(kernel) })
		}
		b.do(func(pipe redis.Pipeliner) {
			for i := range n {
				element := fmt.Sprintf("%s#%d", name, i)
				if len(kernels) == 0 {
					pipe.VRem(ctx, r.key, element)
				} else {
					pipe.VSetAttr(ctx, r.key, element, attributes(kind, kernels...))
				}
			}
			if len(kernels) == 0 {
				pipe.HDel(ctx, r.owners(), name)
			} else {
				pipe.HSet(ctx, r.owners(), name, fmt.Sprintf("%s %d %s", kind, n, strings.Join(kernels, " ")))
			}
			if keep[name] {
				pipe.SAdd(ctx, r.members(kernel), name)
			} else {
				pipe.SRem(ctx, r.members(kernel), name)
			}
		})
	}
	return b.end()
}

// attributes are what Redis filters by.
func attributes(kind Kind, kernels ...string) string {
	data, err := json.Marshal(map[string]any{"kind": kind, "kernels": kernels})
	if err != nil { // of strings
		panic(err)
	}
	return string(data)
}

// batch sends commands some at a time.
type batch struct {
	ctx    context.Context
	most   int // commands at a time; 0 is redisBatch
	client redis.UniversalClient
	pipe   redis.Pipeliner
	err    error
}

func (b *batch) do(add func(redis.Pipeliner)) {
	if b.err != nil {
		return
	}
	if b.pipe == nil {
		b.pipe = b.client.Pipeline()
	}
	if add(b.pipe); b.pipe.Len() >= cmp.Or(b.most, redisBatch) {
		b.err = b.end()
	}
}

func (b *batch) end() error {
	if b.err == nil && b.pipe != nil && b.pipe.Len() > 0 {
		_, b.err = b.pipe.Exec(b.ctx)
	}
	return b.err
}

// release gives the lock back if it is still ours. KEYS: lock. ARGV: token.
var release = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)

// acquire waits until nobody else adds. Two that add at once would do no harm but the work twice,
// and could forget one's kernel in the attributes of what both have.
func (r *Redis) acquire(ctx context.Context) (unlock func(), err error) {
	key, token := r.key+":lock", rand.Text()
	for {
		ok, err := r.client.SetNX(ctx, key, token, lockTTL).Result()
		if err != nil {
			return nil, fmt.Errorf("locking the search in Redis: %w", err)
		}
		if ok {
			return func() {
				// It expires by itself if this fails.
				_ = release.Run(context.WithoutCancel(ctx), r.client, []string{key}, token).Err()
			}, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another process that fills the search in Redis: %w", ctx.Err())
		case <-time.After(lockWait):
		}
	}
}

// Search asks Redis for the nearest vectors and joins them with the lexical search.
func (r *Redis) Search(ctx context.Context, q Query) ([]Hit, error) {
	q, err := q.checked()
	if err != nil {
		return nil, err
	}
	target, err := r.options.target(ctx, q.Text)
	if err != nil {
		return nil, err
	}
	scores, floor, err := r.nearest(ctx, q, target)
	if err != nil {
		return nil, err
	}
	return r.words.search(ctx, q, func(accept func(uint32) bool) neighbours {
		if len(target) == 0 {
			return neighbours{}
		}
		out := neighbours{scores: map[uint32]float64{}, floor: floor}
		for name, score := range scores {
			if doc, ok := r.words.ids[name]; ok && score > 0 && accept(doc) {
				out.scores[doc] = score
			}
		}
		return out
	})
}

// nearest are documents by their cosine with what is looked for, and what no other's is above. Redis reads
// the attributes of all that it passes when it has a condition, which takes it three times as long as to
// find them. So it is asked without one, and again with one only if that left little of what is looked for.
func (r *Redis) nearest(ctx context.Context, q Query, target []float32) (scores map[id]float64, floor float64, err error) {
	if !slices.ContainsFunc(target, func(x float32) bool { return x != 0 }) {
		return nil, 0, nil
	}
	scores, floor, err = r.ask(ctx, target, "")
	if err != nil || floor == 0 {
		return scores, floor, err
	}
	if n, err := r.words.consults(q, scores); err != nil || n >= nearestEnough {
		return scores, floor, err
	}
	return r.ask(ctx, target, filter(q))
}

// ask is one question for the nearest vectors of those that a condition holds for.
func (r *Redis) ask(ctx context.Context, target []float32, condition string) (scores map[id]float64, floor float64, err error) {
	near, err := r.client.VSimWithArgsWithScores(ctx, r.key, packed(target), &redis.VSimArgs{Count: nearestAsked, EF: nearestEffort, Filter: condition}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, 0, fmt.Errorf("searching in Redis: %w", err)
	}
	scores = map[id]float64{}
	for _, n := range near {
		name, _, _ := strings.Cut(n.Name, "#")
		raw, err := hex.DecodeString(name)
		if err != nil || len(raw) != len(id{}) {
			continue // not one of ours
		}
		cosine := 2*n.Score - 1 // Redis's score is from 0 to 1
		scores[id(raw)] = max(scores[id(raw)], cosine)
		if len(near) == nearestAsked {
			floor = max(0, cosine) // the last is the least
		}
	}
	return scores, floor, nil
}

// packed is a vector as Redis takes it the quickest.
func packed(v []float32) *redis.VectorFP32 {
	data := make([]byte, 0, 4*len(v))
	for _, x := range v {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return &redis.VectorFP32{Val: data}
}

// filter is the condition that Redis holds attributes against.
func filter(q Query) string {
	kinds := slices.Clone(q.Kinds)
	if slices.Contains(kinds, Hook) && !slices.Contains(kinds, Recipe) {
		kinds = append(kinds, Recipe)
	}
	list, err := json.Marshal(kinds)
	if err != nil { // of strings
		panic(err)
	}
	f := ".kind in " + string(list)
	if q.Kernel != "" {
		f += fmt.Sprintf(` and (%q in .kernels or %q in .kernels)`, anyKernel, tag(q.Kernel))
	}
	return f
}

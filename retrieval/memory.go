package retrieval

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"kgent/retrieval/embed"
)

// Options are what an index is made with.
type Options struct {
	// Embedder makes vectors. Nil: the search is by words only.
	Embedder embed.Embedder
	// Cache is the directory in which prepared documents are kept; empty: none is.
	Cache string
	// Weights say how much the two searches count; zero: [DefaultWeights].
	Weights Weights
}

// Weights say how much the two searches count for a hit's score.
type Weights struct{ Lexical, Vector float64 }

// DefaultWeights are those that did best on the requests for tuning.
func DefaultWeights() Weights { return Weights{Lexical: 0.6, Vector: 0.4} }

// maxKernels is how many kernels an index in memory tells apart; of more those asked about
// longest ago are forgotten.
const maxKernels = 63

// everywhere is the set of kernels of what does not depend on one.
const everywhere = ^uint64(0)

// Memory is an index in this process.
type Memory struct {
	options   Options
	thesaurus *thesaurus

	lock    sync.RWMutex
	kernels map[string]int           // the bit of each
	used    map[string]*atomic.Int64 // when each was asked about, by clock
	clock   atomic.Int64             // counts searches
	common  bool                     // what does not depend on a kernel is there
	docs    []Document
	sets    []uint64      // of kernels, for each document; 0: nobody has it any more
	ids     map[id]uint32 // of documents, by what is in them
	words   *words
	dim     int
	owner   []uint32 // of vectors: the document
	scale   []float32
	bytes   []int8
	places  map[Place][]uint32 // hooks by what can be attached to
	users   []uint32           // recipes that use places
}

// Open makes an empty index in this process.
func Open(options Options) (*Memory, error) {
	t, err := theThesaurus()
	if err != nil {
		return nil, err
	}
	if options.Weights == (Weights{}) {
		options.Weights = DefaultWeights()
	}
	return &Memory{options: options, thesaurus: t, kernels: map[string]int{}, used: map[string]*atomic.Int64{}, ids: map[id]uint32{}, words: newWords(), places: map[Place][]uint32{}}, nil
}

// Close gives nothing back: there is nothing to give.
func (m *Memory) Close() error { return nil }

// Has tells whether the documents of a kernel are there.
func (m *Memory) Has(_ context.Context, kernel string) (bool, error) {
	m.lock.RLock()
	defer m.lock.RUnlock()
	_, ok := m.kernels[kernel]
	return ok || kernel == "" && m.common, nil
}

// Add prepares documents and puts them in.
func (m *Memory) Add(ctx context.Context, kernel string, documents []Document) error {
	p, err := Prepare(ctx, m.options.Embedder, documents)
	if err != nil {
		return err
	}
	return m.AddPrepared(ctx, kernel, p)
}

// id names what is in a document.
type id [16]byte

func idOf(d *Document) (id, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return id{}, fmt.Errorf("naming %s %s: %w", d.Kind, d.Name, err)
	}
	sum := sha256.Sum256(data)
	return id(sum[:16]), nil
}

// AddPrepared puts documents in. Those that another kernel has already are shared.
func (m *Memory) AddPrepared(ctx context.Context, kernel string, p *Prepared) error {
	ids := make([]id, len(p.Documents))
	for i := range p.Documents {
		var err error
		if ids[i], err = idOf(&p.Documents[i]); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("indexing %d documents: %w", len(p.Documents), err)
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	if p.Dim != 0 && m.dim != 0 && p.Dim != m.dim {
		return fmt.Errorf("indexing %d documents: their vectors have %d numbers, those of the index %d", len(p.Documents), p.Dim, m.dim)
	}
	set := everywhere
	if kernel != "" {
		bit, ok := m.kernels[kernel]
		if !ok {
			if bit = len(m.kernels); bit >= maxKernels {
				bit = m.forget()
			}
		}
		m.kernels[kernel] = bit
		m.used[kernel] = new(atomic.Int64)
		m.used[kernel].Store(m.clock.Add(1))
		set = 1 << bit
		// What it had before goes, what it has now comes.
		for i := range m.sets {
			if m.sets[i] != everywhere {
				m.sets[i] &^= set
			}
		}
	} else {
		m.common = true
		for i := range m.sets {
			if m.sets[i] == everywhere {
				m.sets[i] = 0
			}
		}
	}
	fresh := make([]bool, len(p.Documents))
	place := make([]uint32, len(p.Documents))
	for i, d := range p.Documents {
		at, ok := m.ids[ids[i]]
		if !ok {
			at = uint32(len(m.docs))
			m.ids[ids[i]] = at
			m.docs = append(m.docs, d)
			m.sets = append(m.sets, 0)
			m.words.add(&d)
			if d.Kind == Hook {
				for _, p := range d.Places {
					if p = p.plain(); !slices.Contains(m.places[p], at) {
						m.places[p] = append(m.places[p], at)
					}
				}
			}
			if len(d.Uses) > 0 {
				m.users = append(m.users, at)
			}
			fresh[i] = true
		}
		m.sets[at] |= set
		place[i] = at
	}
	if p.Dim != 0 {
		m.dim = p.Dim
		for i, owner := range p.Owner {
			if fresh[owner] {
				m.owner = append(m.owner, place[owner])
				m.scale = append(m.scale, p.Scale[i])
				m.bytes = append(m.bytes, p.vector(i)...)
			}
		}
	}
	m.words.ready(m.thesaurus)
	return nil
}

// forget makes room for another kernel: that which was asked about longest ago goes.
func (m *Memory) forget() (bit int) {
	oldest := ""
	for k := range m.kernels {
		if oldest == "" || m.used[k].Load() < m.used[oldest].Load() || m.used[k].Load() == m.used[oldest].Load() && k < oldest {
			oldest = k
		}
	}
	bit = m.kernels[oldest]
	delete(m.kernels, oldest)
	delete(m.used, oldest)
	return bit
}

// Size is how much there is.
type Size struct {
	Documents int
	Vectors   int
	// VectorBytes are taken by the vectors.
	VectorBytes int
}

// Size tells how much is in the index.
func (m *Memory) Size() Size {
	m.lock.RLock()
	defer m.lock.RUnlock()
	return Size{len(m.docs), len(m.owner), len(m.bytes) + 8*len(m.owner)}
}

// Search finds documents.
func (m *Memory) Search(ctx context.Context, q Query) ([]Hit, error) {
	q, err := q.checked()
	if err != nil {
		return nil, err
	}
	target, err := m.options.target(ctx, q.Text)
	if err != nil {
		return nil, err
	}
	return m.search(ctx, q, func(accept func(uint32) bool) neighbours {
		return neighbours{scores: m.nearest(target, accept)}
	})
}

// target is the vector of a request; nil without an embedder.
func (o Options) target(ctx context.Context, text string) ([]float32, error) {
	if o.Embedder == nil || o.Weights.Vector <= 0 {
		return nil, nil
	}
	vectors, err := o.Embedder.Embed(ctx, []string{clean(text)})
	if err != nil {
		return nil, fmt.Errorf("embedding the request: %w", err)
	}
	if len(vectors) != 1 {
		return nil, fmt.Errorf("embedding the request: %d vectors", len(vectors))
	}
	return vectors[0], nil
}

// neighbours are documents by how near their meaning is. Those that have vectors and are not
// among them are at most at floor.
type neighbours struct {
	scores map[uint32]float64
	floor  float64
}

// accepting is what a query may find, and what is looked at besides: recipes, which say which hooks
// what they do takes. The lock is held.
func (m *Memory) accepting(q Query) (accept, consulted func(uint32) bool, err error) {
	set := everywhere
	if q.Kernel != "" {
		bit, ok := m.kernels[q.Kernel]
		if !ok {
			return nil, nil, fmt.Errorf("searching kernel %.12s: %w", q.Kernel, ErrNoKernel)
		}
		set = 1 << bit
	}
	var wanted [groups]bool
	kinds := map[Kind]bool{}
	for _, k := range q.Kinds {
		kinds[k] = true
		wanted[groupOf(k)] = true
	}
	exact := kinds[Helper] == kinds[Kfunc] // else the kind itself must be looked at
	accept = func(doc uint32) bool {
		return m.sets[doc]&set != 0 && wanted[m.words.groups[doc]] && (exact || kinds[m.docs[doc].Kind])
	}
	return accept, func(doc uint32) bool {
		return accept(doc) || kinds[Hook] && m.words.groups[doc] == recipeGroup && m.sets[doc]&set != 0
	}, nil
}

// consults counts the documents, of those named, that a query looks at.
func (m *Memory) consults(q Query, names map[id]float64) (n int, err error) {
	m.lock.RLock()
	defer m.lock.RUnlock()
	_, consulted, err := m.accepting(q)
	if err != nil {
		return 0, err
	}
	for name := range names {
		if doc, ok := m.ids[name]; ok && consulted(doc) {
			n++
		}
	}
	return n, nil
}

// search joins the lexical search with a vector search.
func (m *Memory) search(ctx context.Context, q Query, near func(accept func(uint32) bool) neighbours) ([]Hit, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("searching: %w", err)
	}
	m.lock.RLock()
	defer m.lock.RUnlock()
	accept, consulted, err := m.accepting(q)
	if err != nil {
		return nil, err
	}
	if q.Kernel != "" {
		m.used[q.Kernel].Store(m.clock.Add(1))
	}
	said := concepts(q.Text, reader{m.words, m.thesaurus}, m.thesaurus)
	byWords := lexical(said, func(w string) []posting { return m.words.lists[w] }, m.words, consulted)
	byMeaning := near(consulted)
	if byMeaning.floor > 0 {
		for _, w := range byWords {
			if _, ok := byMeaning.scores[w.doc]; !ok && len(m.docs[w.doc].Texts) > 0 {
				byMeaning.scores[w.doc] = byMeaning.floor
			}
		}
	}
	found := join(byWords, byMeaning.scores, m.options.Weights)
	if slices.Contains(q.Kinds, Hook) {
		m.recommend(found, accept)
	}
	hits := best(found, namesIn(q.Text), q.Limit, accept, func(doc uint32) *Document { return &m.docs[doc] })
	return explain(hits, said), nil
}

// recommend raises the hooks of the recipes that fit.
func (m *Memory) recommend(found map[uint32]*scored, accept func(uint32) bool) {
	for _, user := range m.users {
		s := found[user]
		if s == nil {
			continue
		}
		for _, p := range m.docs[user].Uses {
			for _, id := range m.places[p.plain()] {
				if accept(id) {
					raise(found, id, s.score)
				}
			}
		}
	}
}

// nearest compares the request with the vectors of all that is accepted: the best text of a
// document counts.
func (m *Memory) nearest(target []float32, accept func(uint32) bool) map[uint32]float64 {
	if len(target) == 0 || len(target) != m.dim {
		return nil
	}
	query := make([]int8, m.dim)
	scale := embed.Quantize(target, query)
	best := map[uint32]float64{}
	last, in := ^uint32(0), false
	for i, owner := range m.owner {
		if owner != last {
			last, in = owner, accept(owner)
		}
		if !in {
			continue
		}
		score := float64(scale * m.scale[i] * float32(embed.DotInt8(query, m.bytes[i*m.dim:][:m.dim])))
		if score > best[owner] {
			best[owner] = score
		}
	}
	return best
}

// clean is a request as the embedder sees it: bounded, and without what is no text.
func clean(text string) string {
	if len(text) > maxQueryBytes {
		text = text[:maxQueryBytes]
	}
	return strings.ToValidUTF8(text, "")
}

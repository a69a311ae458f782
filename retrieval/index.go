package retrieval

import "context"

// Query is a search.
type Query struct {
	// Text is a request in words, or a name.
	Text string
	// Kinds narrows the search; none means all.
	Kinds []Kind
	// Kernel is the hash of the kernel ([kernel.Facts.Hash]) that must have what is found;
	// empty: any.
	Kernel string
	// Limit is how many hits are wanted, at most [MaxLimit]; 0 means 10.
	Limit int
}

// MaxLimit is the most hits a search returns.
const MaxLimit = 100

// Hit is a document that was found.
type Hit struct {
	Document
	// Score orders the hits of one search, from 0 to about 1.5.
	Score float64 `json:"score"`
	// Lexical and Vector are the parts of Score: what it has of the words, how near its
	// meaning is. Recipes is the score of the recipe that fits best of those that use a hook.
	Lexical float64 `json:"lexical"`
	Vector  float64 `json:"vector"`
	Recipes float64 `json:"recipes,omitempty"`
	// Why says in words what made it a hit: "packet → skb", "means about: …".
	Why []string `json:"why,omitempty"`
}

// Index finds documents. It is safe for concurrent use.
type Index interface {
	// Add puts the documents of a kernel in, or, with an empty kernel, those that do not
	// depend on one. What was there for that kernel before is replaced.
	Add(ctx context.Context, kernel string, documents []Document) error
	// AddPrepared is Add for documents that have their vectors.
	AddPrepared(ctx context.Context, kernel string, p *Prepared) error
	// Has tells whether the documents of a kernel are there.
	Has(ctx context.Context, kernel string) (bool, error)
	// Search returns the best hits, best first; equally good ones in a fixed order.
	Search(ctx context.Context, q Query) ([]Hit, error)
	// Close gives back what the index holds on to.
	Close() error
}

package retrieval

import (
	"context"
	"fmt"

	"kgent/retrieval/embed"
)

// Prepared are documents with the vectors of their texts: what takes time to make, and
// what is kept in files.
type Prepared struct {
	Documents []Document
	// Dim is how many numbers a vector has; 0 without an embedder.
	Dim int
	// Owner says which document a vector is of, Scale what its bytes count.
	Owner []uint32
	Scale []float32
	Bytes []int8
}

// vector returns the bytes of a vector.
func (p *Prepared) vector(i int) []int8 { return p.Bytes[i*p.Dim:][:p.Dim] }

// maxVectors bounds how many texts of a document get a vector of their own.
const maxVectors = 16

// Prepare makes the vectors of documents, one for each text; equal texts are embedded once.
// A document of which there is only a name gets none: what a name such as
// xfs_iext_rec_clear means is not in any model of English. Vectors made of its words were
// measured: 50,000 more of them found one hook of 144 more, for thirty times the memory.
func Prepare(ctx context.Context, embedder embed.Embedder, documents []Document) (*Prepared, error) {
	p := &Prepared{Documents: documents}
	if embedder == nil {
		return p, nil
	}
	p.Dim = embedder.Dim()
	at := map[string]int{}
	var all []string
	for _, d := range documents {
		for _, text := range d.Texts[:min(len(d.Texts), maxVectors)] {
			if _, ok := at[text]; !ok {
				at[text] = len(all)
				all = append(all, text)
			}
		}
	}
	vectors, err := embedder.Embed(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("embedding what can be found: %w", err)
	}
	if len(vectors) != len(all) {
		return nil, fmt.Errorf("embedding what can be found: %d vectors for %d texts", len(vectors), len(all))
	}
	for i, d := range documents {
		for _, text := range d.Texts[:min(len(d.Texts), maxVectors)] {
			v := vectors[at[text]]
			if len(v) != p.Dim {
				return nil, fmt.Errorf("embedding what can be found: a vector of %d numbers, want %d", len(v), p.Dim)
			}
			p.Owner = append(p.Owner, uint32(i))
			p.Bytes = append(p.Bytes, make([]int8, p.Dim)...)
			p.Scale = append(p.Scale, embed.Quantize(v, p.Bytes[len(p.Bytes)-p.Dim:]))
		}
	}
	return p, nil
}

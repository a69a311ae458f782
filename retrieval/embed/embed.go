// Package embed turns texts into vectors, so that texts that mean about the same have
// vectors that point about the same way.
//
// [Load] reads the model that comes with kgent: the Universal Sentence Encoder (Lite), a
// transformer of two layers with 7 million parameters, run in plain Go. Its weights are
// fetched when kgent is built (deploy/embeddings) and are a file beside the program; where
// that file is missing [ErrNoModel] says what to do. [Endpoint] asks an
// OpenAI-compatible endpoint instead.
package embed

import (
	"context"
	"errors"
)

// ErrNoModel: the file with the weights is not there.
var ErrNoModel = errors.New("there is no file with the weights of the embedding model; `make embeddings` puts it beside the program, or set KGENT_EMBEDDINGS to its path")

// Embedder turns texts into vectors. It is safe for concurrent use.
type Embedder interface {
	// Name tells models apart: vectors of two models cannot be compared.
	Name() string
	// Dim is how many numbers a vector has.
	Dim() int
	// Embed returns a vector of length 1 for each text, or of length 0 for a text of
	// which nothing is known.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
}

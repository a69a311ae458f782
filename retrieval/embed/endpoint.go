package embed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	openai "github.com/sashabaranov/go-openai"
)

// endpointBatch is how many texts go into one call.
const endpointBatch = 256

// Remote asks an OpenAI-compatible endpoint.
type Remote struct {
	client *openai.Client
	model  string
	dim    int
}

// endpointTimeout bounds one call.
const endpointTimeout = time.Minute

// DefaultEndpointModel is asked for where no other is set.
const DefaultEndpointModel = string(openai.SmallEmbedding3)

// Endpoint makes an Embedder that asks an endpoint; what is searched for goes there. It asks
// once at the beginning, to learn how long vectors are.
func Endpoint(ctx context.Context, config openai.ClientConfig, model string) (*Remote, error) {
	if model == "" {
		model = DefaultEndpointModel
	}
	// The key and what is searched for go to this endpoint, and wherever it points nowhere.
	config.HTTPClient = &http.Client{Timeout: endpointTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r := &Remote{client: openai.NewClientWithConfig(config), model: model}
	first, err := r.call(ctx, []string{"kernel"})
	if err != nil {
		return nil, err
	}
	if r.dim = len(first[0]); r.dim == 0 || r.dim > 1<<14 {
		return nil, fmt.Errorf("asking %s for embeddings: vectors of %d numbers are of no use", model, r.dim)
	}
	return r, nil
}

// Name is the model's, as it was asked for.
func (r *Remote) Name() string { return "endpoint " + r.model }

// Dim is what the first answer had.
func (r *Remote) Dim() int { return r.dim }

// Embed asks for the texts in batches. Empty ones are not asked for.
func (r *Remote) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	var ask []string
	var place []int
	for i, t := range texts {
		if t == "" {
			out[i] = make([]float32, r.dim)
			continue
		}
		ask, place = append(ask, t), append(place, i)
	}
	for from := 0; from < len(ask); from += endpointBatch {
		batch := ask[from:min(from+endpointBatch, len(ask))]
		vectors, err := r.call(ctx, batch)
		if err != nil {
			return nil, err
		}
		for i, v := range vectors {
			if len(v) != r.dim {
				return nil, fmt.Errorf("asking %s for embeddings: a vector of %d numbers, those before had %d", r.model, len(v), r.dim)
			}
			out[place[from+i]] = v
		}
	}
	return out, nil
}

func (r *Remote) call(ctx context.Context, texts []string) ([][]float32, error) {
	answer, err := r.client.CreateEmbeddings(ctx, openai.EmbeddingRequestStrings{Input: texts, Model: openai.EmbeddingModel(r.model)})
	if err != nil {
		return nil, fmt.Errorf("asking %s for embeddings: %w", r.model, plain(err))
	}
	out := make([][]float32, len(texts))
	for _, d := range answer.Data {
		if d.Index < 0 || d.Index >= len(out) || out[d.Index] != nil {
			return nil, fmt.Errorf("asking %s for embeddings: an answer to text %d of %d", r.model, d.Index, len(out))
		}
		Normalize(d.Embedding)
		out[d.Index] = d.Embedding
	}
	for _, v := range out {
		if v == nil {
			return nil, errors.New("asking " + r.model + " for embeddings: some texts have no answer")
		}
	}
	return out, nil
}

// plain is an error without the words of the endpoint, which can hold the key or the texts that were
// asked about: errors are logged.
func plain(err error) error {
	if e, ok := errors.AsType[*openai.APIError](err); ok {
		return fmt.Errorf("the endpoint answers with status %d", e.HTTPStatusCode)
	}
	if e, ok := errors.AsType[*openai.RequestError](err); ok {
		return fmt.Errorf("the endpoint answers with status %d", e.HTTPStatusCode)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

package embed

import (
	"context"
	"fmt"
	"math"
	"sync"
)

// The shape of the model.
const (
	pieceDim  = 256 // numbers of a piece
	dim       = 512 // numbers of a sentence
	inner     = 1536
	heads     = 4
	normFloor = 1e-6
	// slowest is the longest wavelength of the signal that says where in a sentence a piece is.
	slowest = 1e4
)

// layer is one layer of the transformer. Matrices are kept by what they give: row i is
// multiplied with the input to give output i.
type layer struct {
	in                    int // numbers of a piece that comes in
	normScale, normBias   []float32
	qkv, qkvBias          []float32 // in → 3·in
	out, outBias          []float32 // in → dim
	innerScale, innerNorm []float32
	up, upBias            []float32 // dim → inner
	down, downBias        []float32 // inner → dim
}

// Sentence is the Universal Sentence Encoder (Lite).
type Sentence struct {
	words  *vocabulary
	pieces []float32 // pieceDim numbers for each
	// timing is by how much a number of the signal turns from piece to piece.
	timing           []float32
	dense, denseBias []float32 // pieceDim → dim, around the first layer
	layers           [2]layer
	final, finalBias []float32
	name             string
}

// Name tells the model and its weights.
func (m *Sentence) Name() string { return m.name }

// Dim is 512.
func (m *Sentence) Dim() int { return dim }

// Embed returns a vector for each text, on both cores when there are many. Case plays no
// part; of a long text the first 128 pieces count.
func (m *Sentence) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	if len(texts) == 1 { // a request: no other goroutine has to be woken
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("embedding a text: %w", err)
		}
		out[0] = m.embed(texts[0])
		return out, nil
	}
	const batch = 8
	work := make(chan int)
	var wait sync.WaitGroup
	for range min(parallel(), (len(texts)+batch-1)/batch) {
		wait.Go(func() {
			for from := range work {
				for i := from; i < min(from+batch, len(texts)); i++ {
					out[i] = m.embed(texts[i])
				}
			}
		})
	}
	var err error
	for from := 0; from < len(texts); from += batch {
		if err = ctx.Err(); err != nil {
			err = fmt.Errorf("embedding %d texts: %w", len(texts), err)
			break
		}
		work <- from
	}
	close(work)
	wait.Wait()
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (m *Sentence) embed(text string) []float32 {
	ids := m.words.cut(text)
	n := len(ids)
	if n == 0 {
		return make([]float32, dim)
	}
	// A piece comes in twice, once with the signal added.
	x := make([]float32, n*pieceDim)
	for t, id := range ids {
		row := x[t*pieceDim:][:pieceDim]
		for i, v := range m.pieces[int(id)*pieceDim:][:pieceDim] {
			angle := float64(float32(t) * m.timing[i%(pieceDim/2)])
			if i < pieceDim/2 {
				row[i] = 2*v + float32(math.Sin(angle))
			} else {
				row[i] = 2*v + float32(math.Cos(angle))
			}
		}
	}
	y := times(x, n, m.dense, m.denseBias)
	m.layers[0].run(x, y, n)
	m.layers[1].run(y, y, n)

	mean := make([]float32, dim)
	for t := range n {
		for i := range mean {
			mean[i] += y[t*dim+i]
		}
	}
	for i := range mean {
		mean[i] /= float32(n)
	}
	v := times(mean, 1, m.final, m.finalBias)
	for i := range v {
		v[i] = float32(math.Tanh(float64(v[i])))
	}
	Normalize(v)
	return v
}

// run adds to y, in place, what the layer makes of x. The two may be the same.
func (l *layer) run(x, y []float32, n int) {
	add(y, times(l.attend(normed(x, n, l.normScale, l.normBias), n), n, l.out, l.outBias))
	h := times(normed(y, n, l.innerScale, l.innerNorm), n, l.up, l.upBias)
	for i := range h {
		h[i] = max(h[i], 0)
	}
	add(y, times(h, n, l.down, l.downBias))
}

// attend mixes the pieces: each takes of the others by how much they concern it.
func (l *layer) attend(x []float32, n int) []float32 {
	qkv := times(x, n, l.qkv, l.qkvBias)
	out := make([]float32, n*l.in)
	size := l.in / heads
	scale := float32(1 / math.Sqrt(float64(size)))
	weights := make([]float32, n)
	for h := range heads {
		for t := range n {
			q := qkv[t*3*l.in+h*size:][:size]
			var most float32 = -math.MaxFloat32
			for s := range n {
				weights[s] = scale * Dot(q, qkv[s*3*l.in+l.in+h*size:][:size])
				most = max(most, weights[s])
			}
			var sum float32
			for s := range n {
				weights[s] = float32(math.Exp(float64(weights[s] - most)))
				sum += weights[s]
			}
			to := out[t*l.in+h*size:][:size]
			for s := range n {
				w := weights[s] / sum
				for i, v := range qkv[s*3*l.in+2*l.in+h*size:][:size] {
					to[i] += w * v
				}
			}
		}
	}
	return out
}

// times multiplies n rows with a matrix and adds the bias. Each row of the matrix is
// fetched from memory once.
func times(x []float32, n int, matrix, bias []float32) []float32 {
	in, outs := len(x)/n, len(bias)
	y := make([]float32, n*outs)
	for o, b := range bias {
		row := matrix[o*in:][:in]
		for t := range n {
			y[t*outs+o] = b + Dot(x[t*in:][:in], row)
		}
	}
	return y
}

// normed gives each row the mean 0 and the deviation 1, then scales it.
func normed(x []float32, n int, scale, bias []float32) []float32 {
	size := len(x) / n
	y := make([]float32, len(x))
	for t := range n {
		row := x[t*size:][:size]
		var mean, variance float32
		for _, v := range row {
			mean += v
		}
		mean /= float32(size)
		for _, v := range row {
			variance += (v - mean) * (v - mean)
		}
		factor := float32(1 / math.Sqrt(float64(variance/float32(size)+normFloor)))
		for i, v := range row {
			y[t*size+i] = (v-mean)*factor*scale[i] + bias[i]
		}
	}
	return y
}

func add(y, x []float32) {
	for i, v := range x {
		y[i] += v
	}
}

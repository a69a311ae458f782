package embed

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// magic begins a file of weights; the number is that of the format.
const magic = "kgent embeddings 1\n"

// FileName is what the file of weights is called beside the program.
const FileName = "kgent.embeddings"

func parallel() int { return runtime.GOMAXPROCS(0) }

// tensor is one part of the model: where it is in memory, its size, what it is
// called at its origin, and whether it is a matrix that is kept transposed, in bytes.
type tensor struct {
	to     *[]float32
	rows   int // of a matrix as the origin has it: what comes in
	cols   int
	origin string
	shrink bool // kept as bytes in the file
}

// tensors are the parts in the order of the file.
func (m *Sentence) tensors() []tensor {
	const prefix = "module_apply_default/Encoder_en/KonaTransformer/Encode/"
	const stack = prefix + "TransformerStack/"
	list := []tensor{
		{&m.pieces, 8002, pieceDim, "module/Embeddings_en", true},
		{&m.timing, 1, pieceDim / 2, stack + "Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1", false},
		{&m.dense, pieceDim, dim, prefix + "Layer_0/TransformerLayer/dense/kernel/ConcatPartitions/concat", true},
		{&m.denseBias, 1, dim, prefix + "Layer_0/TransformerLayer/dense/bias/ConcatPartitions/concat", false},
		{&m.final, dim, dim, "module/Encoder_en/hidden_layers/tanh_layer_0/weights", true},
		{&m.finalBias, 1, dim, "module/Encoder_en/hidden_layers/tanh_layer_0/bias", false},
	}
	for i := range m.layers {
		l := &m.layers[i]
		if l.in = dim; i == 0 {
			l.in = pieceDim
		}
		here := fmt.Sprintf("Layer_%d/TransformerLayer/", i)
		kernels := "module/Encoder_en/KonaTransformer/Encode/" + here
		list = append(list,
			tensor{&l.normScale, 1, l.in, prefix + here + "layer_prepostprocess/layer_norm/layer_norm_scale/ConcatPartitions/concat", false},
			tensor{&l.normBias, 1, l.in, prefix + here + "layer_prepostprocess/layer_norm/layer_norm_bias/ConcatPartitions/concat", false},
			tensor{&l.qkv, l.in, 3 * l.in, kernels + "MultiheadAttention/qkv_transform_single/kernel/part_0", true},
			tensor{&l.qkvBias, 1, 3 * l.in, prefix + here + "MultiheadAttention/qkv_transform_single/bias/ConcatPartitions/concat", false},
			tensor{&l.out, l.in, dim, kernels + "MultiheadAttention/output_transform_single/kernel/part_0", true},
			tensor{&l.outBias, 1, dim, prefix + here + "MultiheadAttention/output_transform_single/bias/ConcatPartitions/concat", false},
			tensor{&l.innerScale, 1, dim, prefix + here + "FFN/layer_prepostprocess/layer_norm/layer_norm_scale/ConcatPartitions/concat", false},
			tensor{&l.innerNorm, 1, dim, prefix + here + "FFN/layer_prepostprocess/layer_norm/layer_norm_bias/ConcatPartitions/concat", false},
			tensor{&l.up, dim, inner, stack + here + "FFN/conv1/Tensordot/Reshape_1", true},
			tensor{&l.upBias, 1, inner, prefix + here + "FFN/conv1/bias/ConcatPartitions/concat", false},
			tensor{&l.down, inner, dim, stack + here + "FFN/conv2/Tensordot/Reshape_1", true},
			tensor{&l.downBias, 1, dim, prefix + here + "FFN/conv2/bias/ConcatPartitions/concat", false},
		)
	}
	return list
}

// Convert reads the model as its package has it, in the directory that model.json
// and vocab.json are in.
func Convert(dir string) (*Sentence, error) {
	var index struct {
		WeightsManifest []struct {
			Paths   []string
			Weights []struct {
				Name  string
				Shape []int
				DType string
			}
		}
	}
	if err := readJSON(filepath.Join(dir, "model.json"), &index); err != nil {
		return nil, err
	}
	found := map[string][]float32{}
	for _, group := range index.WeightsManifest {
		var data []byte
		for _, path := range group.Paths {
			part, err := os.ReadFile(filepath.Join(dir, filepath.Base(path)))
			if err != nil {
				return nil, fmt.Errorf("reading the model's weights: %w", err)
			}
			data = append(data, part...)
		}
		for _, w := range group.Weights {
			n := 1
			for _, s := range w.Shape {
				n *= s
			}
			if n < 0 || len(data) < 4*n {
				return nil, fmt.Errorf("reading the model's weights: there are too few for %s", w.Name)
			}
			if w.DType == "float32" {
				list := make([]float32, n)
				for i := range list {
					list[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
				}
				found[w.Name] = list
			}
			data = data[4*n:]
		}
	}
	m := &Sentence{}
	for _, t := range m.tensors() {
		list := found[t.origin]
		if len(list) != t.rows*t.cols {
			return nil, fmt.Errorf("reading the model's weights: %s has %d numbers, want %d", t.origin, len(list), t.rows*t.cols)
		}
		if t.rows > 1 && t.to != &m.pieces {
			list = transposed(list, t.rows, t.cols)
		}
		*t.to = list
	}
	var pieces [][2]any
	if err := readJSON(filepath.Join(dir, "vocab.json"), &pieces); err != nil {
		return nil, err
	}
	var names []string
	var scores []float32
	for i, p := range pieces {
		name, isName := p[0].(string)
		score, isScore := p[1].(float64)
		// Pieces with a colon have none there, which counts as 0.
		if !isName || !isScore && p[1] != nil {
			return nil, fmt.Errorf("reading vocab.json: piece %d is %v", i, p)
		}
		names, scores = append(names, name), append(scores, float32(score))
	}
	m.words = newVocabulary(names, scores)
	m.name = "use-lite"
	return m, nil
}

func readJSON(path string, to any) error {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", filepath.Base(path), err)
	}
	return nil
}

func transposed(list []float32, rows, cols int) []float32 {
	out := make([]float32, len(list))
	for r := range rows {
		for c := range cols {
			out[c*rows+r] = list[r*cols+c]
		}
	}
	return out
}

// width is how many numbers of a matrix in memory share a scale: one row.
func (t tensor) width(m *Sentence) int {
	if t.to == &m.pieces {
		return t.cols
	}
	return t.rows
}

// Write writes the model as [Load] reads it: matrices in bytes, each row with its own
// scale, and the SHA-256 of all at the end.
func (m *Sentence) Write(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(magic)
	names := make([]string, len(m.words.scores))
	for name, id := range m.words.ids {
		names[id] = name
	}
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(names))))
	for i, name := range names {
		b.WriteByte(byte(len(name)))
		b.WriteString(name)
		b.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(m.words.scores[i])))
	}
	for _, t := range m.tensors() {
		if !t.shrink {
			for _, x := range *t.to {
				b.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(x)))
			}
			continue
		}
		width := t.width(m)
		row := make([]int8, width)
		for at := 0; at < len(*t.to); at += width {
			scale := Quantize((*t.to)[at:at+width], row)
			b.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(scale)))
			for _, x := range row {
				b.WriteByte(byte(x))
			}
		}
	}
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	_, err := w.Write(b.Bytes())
	return err
}

// maxFile bounds what is read of a file of weights.
const maxFile = 64 << 20

// Load reads a file of weights, or, if path is empty, the one beside the program. The error
// wraps [ErrNoModel] if there is none.
func Load(path string) (*Sentence, error) {
	if path == "" {
		program, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("looking for the embedding model: %w", err)
		}
		if program, err = filepath.EvalSymlinks(program); err != nil {
			return nil, fmt.Errorf("looking for the embedding model: %w", err)
		}
		path = filepath.Join(filepath.Dir(program), FileName)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", path, ErrNoModel)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the embedding model: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(bufio.NewReader(f), maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the embedding model: %w", err)
	}
	m, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading the embedding model %s: %w; `make embeddings` makes it anew", path, err)
	}
	return m, nil
}

func parse(data []byte) (*Sentence, error) {
	body := len(data) - sha256.Size
	if body < 0 || len(data) > maxFile || !strings.HasPrefix(string(data[:min(len(data), len(magic))]), magic) {
		return nil, errors.New("it is not one that this kgent reads")
	}
	sum := sha256.Sum256(data[:body])
	if !bytes.Equal(sum[:], data[body:]) {
		return nil, errors.New("it is damaged: its checksum is wrong")
	}
	// The checksum holds, so what follows is as Write wrote it, or made to mislead.
	r := bytes.NewReader(data[len(magic):body])
	var cut error
	take := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			cut = errors.New("it is cut off")
		}
		return b
	}
	number := func() float32 { return math.Float32frombits(binary.LittleEndian.Uint32(take(4))) }
	m := &Sentence{}
	count := binary.LittleEndian.Uint32(take(4))
	if cut != nil || count > 8002 {
		return nil, errors.New("its vocabulary is of the wrong size")
	}
	var names []string
	var scores []float32
	for range count {
		names = append(names, string(take(int(take(1)[0]))))
		scores = append(scores, number())
	}
	m.words = newVocabulary(names, scores)
	for _, t := range m.tensors() {
		list := make([]float32, t.rows*t.cols)
		if t.shrink {
			width := t.width(m)
			for at := 0; at < len(list) && cut == nil; at += width {
				scale := number()
				for i, x := range take(width) {
					list[at+i] = scale * float32(int8(x))
				}
			}
		} else {
			for i := range list {
				if list[i] = number(); cut != nil {
					break
				}
			}
		}
		*t.to = list
	}
	if cut == nil && r.Len() > 0 {
		cut = errors.New("there is more in it than a model")
	}
	m.name = "use-lite " + hex.EncodeToString(sum[:4])
	return m, cut
}

package llmd

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// models answers GET /v1/models.
func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	names := s.script.Models
	if len(names) == 0 {
		names = []string{"llmd"}
	}
	var list []any
	for _, name := range names {
		list = append(list, modelObject(name))
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": list})
}

// model answers GET /v1/models/NAME.
func (s *Server) model(w http.ResponseWriter, name string) {
	if !s.serves(name) {
		noSuchModel(name).write(w)
		return
	}
	writeJSON(w, http.StatusOK, modelObject(name))
}

func modelObject(name string) map[string]any {
	return map[string]any{"id": name, "object": "model", "created": 1735689600, "owned_by": "llmd"}
}

const (
	defaultDimensions = 1536
	maxDimensions     = 4096
	maxInputs         = 2048
)

// embeddings answers POST /v1/embeddings. The vectors are made of the words of the text, without a model: the same
// text has the same vector always, and texts that share words are closer than texts that do not.
func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) {
	raw, refused := body(r)
	if refused != nil {
		refused.write(w)
		return
	}
	var req struct {
		Model          string          `json:"model"`
		Input          json.RawMessage `json:"input"`
		EncodingFormat string          `json:"encoding_format"`
		Dimensions     *int            `json:"dimensions"`
	}
	if err := json.Unmarshal(raw, &req); err != nil {
		invalid(http.StatusBadRequest, "", "", "We could not parse the JSON body of your request.").write(w)
		return
	}
	texts, ok := inputs(req.Input)
	dimensions := defaultDimensions
	if req.Dimensions != nil {
		dimensions = *req.Dimensions
	}
	switch {
	case req.Model == "":
		refused = invalid(http.StatusBadRequest, "", "", "you must provide a model parameter")
	case !s.serves(req.Model):
		refused = noSuchModel(req.Model)
	case !ok || len(texts) == 0 || len(texts) > maxInputs || slices.Contains(texts, ""):
		refused = invalid(http.StatusBadRequest, "input", "", "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")
	case dimensions < 1 || dimensions > maxDimensions:
		refused = invalid(http.StatusBadRequest, "dimensions", "", "Invalid value for 'dimensions' = %d. Must be between 1 and %d.", dimensions, maxDimensions)
	case req.EncodingFormat != "" && req.EncodingFormat != "float" && req.EncodingFormat != "base64":
		refused = invalid(http.StatusBadRequest, "encoding_format", "invalid_value", "Invalid value: '%s'. Supported values are: 'float' and 'base64'.", req.EncodingFormat)
	}
	if refused != nil {
		refused.write(w)
		return
	}
	var data []any
	tokens := 0
	for i, text := range texts {
		tokens += countTokens(text)
		var vector any = embed(text, dimensions)
		if req.EncodingFormat == "base64" {
			vector = packed(vector.([]float32))
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": vector})
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": data, "model": req.Model,
		"usage": map[string]int{"prompt_tokens": tokens, "total_tokens": tokens}})
}

// inputs reads what is to be embedded: a text, several, or texts as lists of token numbers.
func inputs(raw json.RawMessage) ([]string, bool) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, true
	}
	var many []string
	if json.Unmarshal(raw, &many) == nil {
		return many, true
	}
	var tokens []int
	if json.Unmarshal(raw, &tokens) == nil {
		return []string{string(raw)}, true
	}
	var lists [][]int
	if json.Unmarshal(raw, &lists) != nil {
		return nil, false
	}
	many = nil // half filled by the attempt above
	for _, list := range lists {
		b, err := json.Marshal(list)
		if err != nil {
			return nil, false
		}
		many = append(many, string(b))
	}
	return many, true
}

// embed adds up one direction for each word, and makes the sum of length 1.
func embed(text string, dimensions int) []float32 {
	sum := make([]float64, dimensions)
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if len(words) == 0 {
		words = []string{text}
	}
	for _, word := range words {
		hash := sha256.Sum256([]byte(word))
		for i := 0; i < len(hash); i += 4 {
			h := binary.LittleEndian.Uint32(hash[i:])
			sign := 1.0
			if h>>31 == 1 {
				sign = -1
			}
			sum[int(h&0x7fffffff)%dimensions] += sign
		}
	}
	var square float64
	for _, x := range sum {
		square += x * x
	}
	if square == 0 { // the words cancel each other out
		sum[0], square = 1, 1
	}
	vector := make([]float32, dimensions)
	for i, x := range sum {
		vector[i] = float32(x / math.Sqrt(square))
	}
	return vector
}

func packed(vector []float32) string {
	raw := make([]byte, 0, 4*len(vector))
	for _, x := range vector {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(raw)
}

package embed

import (
	"math"
	"strings"
	"unicode/utf8"
)

// vocabulary cuts texts into pieces: words, and parts of words that are rare.
type vocabulary struct {
	ids     map[string]int32
	scores  []float32 // logarithms of how frequent pieces are
	longest int       // bytes of the longest piece
}

const (
	unknownPiece = 0
	// firstPiece: those before it are markers, not text.
	firstPiece = 6
	// space stands before a word.
	space = "▁"
	// maxPieces is what the model reads of a text; the rest is not looked at.
	maxPieces = 128
	// maxText is what is cut into pieces of a text at all, in bytes.
	maxText = 2048
	// unknownScore is worse than any piece's.
	unknownScore = -30
)

func newVocabulary(pieces []string, scores []float32) *vocabulary {
	v := &vocabulary{ids: make(map[string]int32, len(pieces)), scores: scores}
	for i, p := range pieces {
		if i >= firstPiece {
			v.ids[p] = int32(i)
			v.longest = max(v.longest, len(p))
		}
	}
	return v
}

// cut cuts a text into the pieces that are the most probable together.
func (v *vocabulary) cut(text string) []int32 {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	if len(text) > maxText {
		text = text[:maxText]
	}
	if text == "" {
		return nil
	}
	text = space + strings.ReplaceAll(strings.ToValidUTF8(text, ""), " ", space)
	// best[i] is the best way to cut the first i bytes.
	type way struct {
		score float64
		piece int32
		from  int
	}
	best := make([]way, len(text)+1)
	for i := range best[1:] {
		best[i+1].score = math.Inf(-1)
	}
	for at := 0; at < len(text); {
		_, size := utf8.DecodeRuneInString(text[at:])
		if s := best[at].score + unknownScore; s > best[at+size].score {
			best[at+size] = way{s, unknownPiece, at}
		}
		for end := at + size; end <= len(text) && end-at <= v.longest; end++ {
			if id, ok := v.ids[text[at:end]]; ok {
				if s := best[at].score + float64(v.scores[id]); s > best[end].score {
					best[end] = way{s, id, at}
				}
			}
		}
		at += size
	}
	var ids []int32
	for at := len(text); at > 0; at = best[at].from {
		// Several unknown characters are one unknown piece.
		if p := best[at].piece; p != unknownPiece || len(ids) == 0 || ids[len(ids)-1] != unknownPiece {
			ids = append(ids, p)
		}
	}
	for i, j := 0, len(ids)-1; i < j; i, j = i+1, j-1 {
		ids[i], ids[j] = ids[j], ids[i]
	}
	return ids[:min(len(ids), maxPieces)]
}

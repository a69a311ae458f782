package embed

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// model is the model, or the test is skipped: its weights are fetched by `make embeddings`.
func model(t testing.TB) *Sentence {
	t.Helper()
	path := os.Getenv("KGENT_EMBEDDINGS")
	if path == "" {
		path = filepath.Join("..", "..", "bin", FileName)
	}
	m, err := Load(path)
	if errors.Is(err, ErrNoModel) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What the model's own program gives for some texts: the first numbers.
func TestAgreesWithOrigin(t *testing.T) {
	m := model(t)
	for _, want := range []struct {
		text  string
		first []float64
	}{
		{"who deletes files in the log directory", []float64{-0.0601677, -0.0610209, 0.0463509, 0.0513836, 0.0381075, 0.0529408, 0.0409033, -0.0135690}},
		{"tcp retransmits", []float64{0.0489305, -0.0561752, 0.0600302, -0.0194041, -0.0539216, -0.0543033, -0.0109838, -0.0583351}},
		{"hung task", []float64{-0.0190074, 0.0020098, 0.0482964, -0.0442598, 0.0129084, -0.0471191, 0.0529256, -0.0529070}},
		{"the processor is waiting for the disk, skb_copy_datagram", []float64{-0.0606517, -0.0722455, -0.0015751, 0.0129103, 0.0417176, 0.0060409, 0.0540308, -0.0617849}},
	} {
		got, err := m.Embed(t.Context(), []string{want.text})
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range want.first {
			// The weights are bytes here: 0.002 is what that costs.
			if diff := math.Abs(float64(got[0][i]) - x); diff > 0.004 {
				t.Errorf("%q: number %d is %.5f, the origin's %.5f", want.text, i, got[0][i], x)
			}
		}
	}
}

func TestMeaning(t *testing.T) {
	m := model(t)
	v, err := m.Embed(t.Context(), []string{"who deletes files in the log directory", "find who removes a file", "how fast does the processor run", "", "WHO deletes  files in the LOG directory"})
	if err != nil {
		t.Fatal(err)
	}
	if near, far := Dot(v[0], v[1]), Dot(v[0], v[2]); near < far+0.2 {
		t.Errorf("a paraphrase is at %.2f, another question at %.2f", near, far)
	}
	if n := Dot(v[3], v[3]); n != 0 {
		t.Errorf("the vector of nothing has the length %.2f", n)
	}
	if n := Dot(v[0], v[4]); n < 0.9999 {
		t.Errorf("case and spaces count: %.4f", n)
	}
}

func TestEmbedStops(t *testing.T) {
	m := model(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Embed(ctx, make([]string, 100)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDot(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 15, 16, 31, 32, 64, 512, 1536} {
		a, b := make([]float32, n), make([]float32, n)
		x, y := make([]int8, n), make([]int8, n)
		for i := range n {
			a[i], b[i] = random.Float32()-0.5, random.Float32()-0.5
			x[i], y[i] = int8(random.IntN(256)-128), int8(random.IntN(256)-128)
		}
		if got, want := Dot(a, b), dot(a, b); math.Abs(float64(got-want)) > 1e-4 {
			t.Errorf("%d numbers: %g, want %g", n, got, want)
		}
		if got, want := DotInt8(x, y), dotInt8(x, y); got != want {
			t.Errorf("%d bytes: %d, want %d", n, got, want)
		}
	}
}

// A file that is not as it was written is refused, and never crashes.
func TestParseDamage(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty": nil, "other": []byte("other"), "short": []byte(magic),
		"no body": append([]byte(magic), make([]byte, 32)...),
	} {
		if _, err := parse(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	m := model(t)
	var b bytes.Buffer
	if err := m.Write(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := parse(b.Bytes()); err != nil {
		t.Error(err)
	}
	b.Bytes()[b.Len()/2] ^= 1
	if _, err := parse(b.Bytes()); err == nil {
		t.Error("a flipped bit was not noticed")
	}
}

func BenchmarkEmbed(b *testing.B) {
	m := model(b)
	text := []string{"which processes wait the longest for the disk, by name and device"}
	for b.Loop() {
		if _, err := m.Embed(b.Context(), text); err != nil {
			b.Fatal(err)
		}
	}
}

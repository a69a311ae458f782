package embed

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	openai "github.com/sashabaranov/go-openai"
)

// endpoint answers as an OpenAI-compatible one does; change changes the answer to all but
// the first call.
func endpoint(t *testing.T, change func(answer map[string]any)) (*Remote, *int, error) {
	t.Helper()
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask struct {
			Input []string
			Model string
		}
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || ask.Model != "small" || !strings.HasSuffix(r.URL.Path, "/embeddings") {
			t.Errorf("asked %s: %+v, %v", r.URL.Path, ask, err)
		}
		if len(ask.Input) > endpointBatch {
			t.Errorf("asked for %d texts at once", len(ask.Input))
		}
		var data []map[string]any
		// Endpoints need not keep the order.
		for i := len(ask.Input) - 1; i >= 0; i-- {
			data = append(data, map[string]any{"index": i, "embedding": []float32{float32(len(ask.Input[i])), 3, 4}})
		}
		answer := map[string]any{"data": data}
		if calls++; calls > 1 && change != nil {
			change(answer)
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	config := openai.DefaultConfig("a-secret-key")
	config.BaseURL = server.URL
	r, err := Endpoint(t.Context(), config, "small")
	return r, &calls, err
}

func TestEndpoint(t *testing.T) {
	r, calls, err := endpoint(t, nil)
	if err != nil || r.Dim() != 3 || r.Name() != "endpoint small" {
		t.Fatal(r, err)
	}
	var texts []string
	for i := range 2*endpointBatch + 1 {
		texts = append(texts, strings.Repeat("x", i%7)) // some are empty
	}
	vectors, err := r.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	if *calls != 1+2 {
		t.Errorf("%d calls", *calls)
	}
	for i, v := range vectors {
		want := []float32{float32(i % 7), 3, 4}
		Normalize(want)
		if i%7 == 0 {
			want = []float32{0, 0, 0}
		}
		if len(v) != 3 || fmt.Sprint(v) != fmt.Sprint(want) {
			t.Fatalf("text %d: %v, want %v", i, v, want)
		}
	}
}

// What an endpoint may answer wrong ends in an error that has no key in it.
func TestEndpointWrong(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"nothing":        func(a map[string]any) { a["data"] = nil },
		"too few":        func(a map[string]any) { a["data"] = a["data"].([]map[string]any)[:1] },
		"another length": func(a map[string]any) { a["data"].([]map[string]any)[0]["embedding"] = []float32{1} },
		"twice":          func(a map[string]any) { a["data"].([]map[string]any)[0]["index"] = 0 },
		"out of range":   func(a map[string]any) { a["data"].([]map[string]any)[0]["index"] = 99 },
	} {
		r, _, err := endpoint(t, change)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Embed(t.Context(), []string{"a", "b"}); err == nil || strings.Contains(err.Error(), "a-secret-key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	server := httptest.NewServer(http.NotFoundHandler())
	config := openai.DefaultConfig("a-secret-key")
	config.BaseURL = server.URL
	if _, err := Endpoint(t.Context(), config, ""); err == nil || strings.Contains(err.Error(), "a-secret-key") {
		t.Errorf("no such endpoint: %v", err)
	}
	server.Close()
	if _, err := Endpoint(t.Context(), config, ""); err == nil {
		t.Error("a closed endpoint: no error")
	}
}

// What an endpoint says of a request is not repeated: it can hold the key. Nor is a redirect
// followed.
func TestEndpointSays(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error": {"message": "incorrect key %s", "type": "auth"}}`, r.Header.Get("Authorization"))
		},
		"no JSON": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, "<html>", r.Header.Get("Authorization"))
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		},
	} {
		server := httptest.NewServer(answer)
		config := openai.DefaultConfig("a-secret-key")
		config.BaseURL = server.URL
		if _, err := Endpoint(t.Context(), config, ""); err == nil || strings.Contains(err.Error(), "a-secret-key") {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
	if elsewhere > 0 {
		t.Error("a redirect is followed")
	}
}

package llm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"kgent/agent/llm"
	"kgent/agent/llm/llmd"
)

// canned answers every request with the same bytes, as an event stream.
type canned struct {
	body []byte
	end  error // what the body ends with
}

func (c *canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}},
		Body: io.NopCloser(io.MultiReader(bytes.NewReader(c.body), failing{c.end}))}, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// canning makes a client that gets the canned stream.
func canning(t testing.TB, c *canned) *llm.Client {
	client, err := llm.New(llm.Config{BaseURL: "http://127.0.0.1:1", Model: "m", Transport: c, MaxBytes: 64 << 10,
		Sleep: func(context.Context, time.Duration) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// onlyOnce has the client ask without another try.
func onlyOnce(client *llm.Client) (llm.Answer, error) {
	p := user("x")
	p.Tools = []llm.Tool{{Name: "f", Params: []byte(`{"type":"object"}`)}}
	p.Stream = func(llm.Progress) {}
	p.Budget = llm.NewBudget(llm.Bounds{Requests: 1})
	return client.Complete(context.Background(), p)
}

// wire records what the stand-in streams for a rule.
func wire(t *testing.T, rule llmd.Rule) []byte {
	t.Helper()
	s, err := llmd.Start("127.0.0.1:0", llmd.Script{Rules: []llmd.Rule{rule}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	resp, err := http.Post(s.URL()+"/chat/completions", "application/json",
		strings.NewReader(`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A stream cut at any byte, orderly or not, is either the whole answer or an error that allows for another try; it is
// never part of an answer.
func TestStreamCutAnywhere(t *testing.T) {
	for name, rule := range map[string]llmd.Rule{
		"text":  {Text: "int x = 42;"},
		"calls": {ToolCalls: []llmd.ToolCall{{Name: "f", Arguments: map[string]any{"a": "bc"}}, {Name: "g"}}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := wire(t, rule)
			stream := &canned{raw, io.EOF}
			client := canning(t, stream)
			whole, err := onlyOnce(client)
			if err != nil || whole.Usage.Estimated {
				t.Fatalf("got %+v, %v", whole, err)
			}
			complete := 0
			for cut := range raw {
				stream.body, stream.end = raw[:cut], []error{io.EOF, io.ErrUnexpectedEOF}[cut%2]
				got, err := onlyOnce(client)
				switch {
				case err == nil && (got.Text != whole.Text || !slices.Equal(got.ToolCalls, whole.ToolCalls)):
					t.Fatalf("cut after %d bytes of %d: got %+v", cut, len(raw), got)
				case err == nil:
					complete++
				case !errors.Is(err, llm.ErrUnavailable) || !errors.Is(err, llm.ErrBudget):
					t.Fatalf("cut after %d bytes of %d, ending with %v: %v", cut, len(raw), stream.end, err)
				}
			}
			if complete == 0 || complete > len(raw)/3 {
				t.Errorf("%d of %d cuts made no difference", complete, len(raw))
			}
		})
	}
}

// Whatever comes as a stream, there is an answer or an error of the package, within the bounds.
func FuzzStream(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n"), false)
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]},\"finish_reason\":\"tool_calls\"}]}\n"), true)
	f.Add([]byte(": x\nevent: error\ndata: {\"error\":{\"message\":\"m\",\"code\":429}}\n\n"), false)
	f.Add([]byte("data: {\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":9e9},\"choices\":[{\"finish_reason\":\"length\"}]}\ndata:[DONE]"), true)
	f.Add([]byte("{\"error\":{\"message\":[\"a\",\"b\"]}}"), false)
	f.Fuzz(func(t *testing.T, raw []byte, abrupt bool) {
		end := io.EOF
		if abrupt {
			end = io.ErrUnexpectedEOF
		}
		answer, err := onlyOnce(canning(t, &canned{raw, end}))
		if answer.Usage.PromptTokens < 0 || answer.Usage.CompletionTokens < 0 {
			t.Fatalf("usage %+v", answer.Usage)
		}
		if len(answer.Text) > len(raw) || len(answer.ToolCalls) > 128 {
			t.Fatalf("%d bytes became %d and %d calls", len(raw), len(answer.Text), len(answer.ToolCalls))
		}
		if err == nil {
			if answer.Text == "" && len(answer.ToolCalls) == 0 {
				t.Fatal("an answer without anything")
			}
			for _, call := range answer.ToolCalls {
				if call.ID == "" {
					t.Fatal("a call without an ID")
				}
			}
			return
		}
		var failed *llm.Error
		if !errors.As(err, &failed) {
			t.Fatalf("%T: %v", err, err)
		}
		if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' }) || len(err.Error()) > 4000 {
			t.Fatalf("not fit for a terminal: %q", err)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	var raw bytes.Buffer
	for range 1000 {
		fmt.Fprintf(&raw, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n")
	}
	raw.WriteString("data: [DONE]\n\n")
	client, err := llm.New(llm.Config{BaseURL: "http://127.0.0.1:1", Transport: &canned{raw.Bytes(), io.EOF}})
	if err != nil {
		b.Fatal(err)
	}
	p := user("x")
	p.Stream = func(llm.Progress) {}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Complete(context.Background(), p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/token")
}

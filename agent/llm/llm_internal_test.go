package llm

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	openai "github.com/sashabaranov/go-openai"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		header map[string]string
		want   time.Duration
		ok     bool
	}{
		"nothing":              {nil, 0, false},
		"seconds":              {map[string]string{"Retry-After": "7"}, 7 * time.Second, true},
		"fraction":             {map[string]string{"Retry-After": " 0.25 "}, 250 * time.Millisecond, true},
		"date":                 {map[string]string{"Retry-After": "Sun, 22 Nov 2026 14:01:30 GMT"}, 90 * time.Second, true},
		"past date":            {map[string]string{"Retry-After": "Sun, 22 Nov 2026 13:00:00 GMT"}, 0, true},
		"old form of date":     {map[string]string{"Retry-After": "Sunday, 22-Nov-26 14:00:05 GMT"}, 5 * time.Second, true},
		"milliseconds first":   {map[string]string{"Retry-After": "7", "Retry-After-Ms": "1500"}, 1500 * time.Millisecond, true},
		"nonsense":             {map[string]string{"Retry-After": "soon"}, 0, false},
		"negative":             {map[string]string{"Retry-After": "-5"}, 0, false},
		"infinite":             {map[string]string{"Retry-After": "Inf"}, 0, false},
		"no number":            {map[string]string{"Retry-After": "NaN"}, 0, false},
		"beyond all time":      {map[string]string{"Retry-After": "1e300"}, 0, false},
		"nonsense, then reset": {map[string]string{"Retry-After": "soon", "X-Ratelimit-Reset-Requests": "2s"}, 2 * time.Second, true},
		"reset":                {map[string]string{"X-Ratelimit-Reset-Requests": "6m0s"}, 6 * time.Minute, true},
		"the longer reset":     {map[string]string{"X-Ratelimit-Reset-Requests": "1s", "X-Ratelimit-Reset-Tokens": "20ms"}, time.Second, true},
		"reset of what is up": {map[string]string{"X-Ratelimit-Reset-Requests": "1h", "X-Ratelimit-Remaining-Requests": "3",
			"X-Ratelimit-Reset-Tokens": "20ms", "X-Ratelimit-Remaining-Tokens": "0"}, 20 * time.Millisecond, true},
		"reset in seconds":  {map[string]string{"X-Ratelimit-Reset-Tokens": "12"}, 12 * time.Second, true},
		"nothing is up":     {map[string]string{"X-Ratelimit-Reset-Tokens": "12", "X-Ratelimit-Remaining-Tokens": "9"}, 0, false},
		"reset of nonsense": {map[string]string{"X-Ratelimit-Reset-Tokens": "-3s"}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			for k, v := range tc.header {
				h.Set(k, v)
			}
			if got, ok := retryAfter(h, now); got != tc.want || ok != tc.ok {
				t.Errorf("got %v, %v", got, ok)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: 500 * time.Millisecond, 2: time.Second, 6: 16 * time.Second, 7: 20 * time.Second, 1000: 20 * time.Second} {
		if got := backoff(failures, 0); got != want/2 {
			t.Errorf("after %d failures at least %v, want %v", failures, got, want/2)
		}
		if got := backoff(failures, 1); got != want {
			t.Errorf("after %d failures at most %v, want %v", failures, got, want)
		}
	}
}

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestFromEnv(t *testing.T) {
	if _, ok, err := FromEnv(env("KGENT_MODEL", "m", "KGENT_MODEL_TIMEOUT", "nonsense")); ok || err != nil {
		t.Errorf("without key and address: %v, %v", ok, err)
	}
	c, ok, err := FromEnv(env("OPENAI_API_KEY", " sk-a\n"))
	if !ok || err != nil || c.BaseURL != DefaultBaseURL || c.Model != DefaultModel || c.Timeout != DefaultTimeout || c.Key.Reveal() != "sk-a" || c.Prices != nil {
		t.Errorf("with a key: %+v, %v, %v", c, ok, err)
	}
	c, ok, err = FromEnv(env("OPENAI_BASE_URL", "http://[::1]:8000/v1/", "OPENAI_ORG_ID", "org", "KGENT_MODEL", "qwen 3", "KGENT_MODEL_TIMEOUT", "90s", "KGENT_MODEL_PRICE", "2/10.5"))
	if !ok || err != nil || c.BaseURL != "http://[::1]:8000/v1" || c.Model != "qwen 3" || c.Organization != "org" || c.Timeout != 90*time.Second ||
		c.Key.IsSet() || c.Prices["qwen 3"] != (Price{2, 10.5}) {
		t.Errorf("with an address: %+v, %v, %v", c, ok, err)
	}
	for name, tc := range map[string]struct {
		pairs []string
		want  string
	}{
		"no scheme":       {[]string{"OPENAI_BASE_URL", "127.0.0.1:8000/v1"}, "OPENAI_BASE_URL is no URL: want an address such as http://127.0.0.1:8000/v1"},
		"host alone":      {[]string{"OPENAI_BASE_URL", "localhost"}, "neither http nor https"},
		"other scheme":    {[]string{"OPENAI_BASE_URL", "ftp://h/v1"}, "neither http nor https"},
		"no host":         {[]string{"OPENAI_BASE_URL", "http:///v1"}, "names no host"},
		"port":            {[]string{"OPENAI_BASE_URL", "http://h:99999/v1"}, "whose port is not between 1 and 65535"},
		"password":        {[]string{"OPENAI_BASE_URL", "http://u:hunter2@h/v1"}, "put the key into OPENAI_API_KEY"},
		"query":           {[]string{"OPENAI_BASE_URL", "http://h/v1?api-version=hunter2"}, "has a ? or # part"},
		"whole path":      {[]string{"OPENAI_BASE_URL", "http://h/v1/chat/completions"}, "leave that part off"},
		"control":         {[]string{"OPENAI_BASE_URL", "http://h\x1b[2J/v1"}, "OPENAI_BASE_URL is no URL"},
		"broken key":      {[]string{"OPENAI_API_KEY", "sk-a\nhunter2"}, "copy the key again"},
		"broken org":      {[]string{"OPENAI_API_KEY", "sk-a", "OPENAI_ORG_ID", "a\x00b"}, "OPENAI_ORG_ID"},
		"broken model":    {[]string{"OPENAI_API_KEY", "sk-a", "KGENT_MODEL", "a\x1bb"}, `KGENT_MODEL is "a\x1bb"`},
		"timeout":         {[]string{"OPENAI_API_KEY", "sk-a", "KGENT_MODEL_TIMEOUT", "90"}, `KGENT_MODEL_TIMEOUT is "90": want a duration such as 90s or 5m`},
		"no timeout":      {[]string{"OPENAI_API_KEY", "sk-a", "KGENT_MODEL_TIMEOUT", "0s"}, "want a duration"},
		"endless timeout": {[]string{"OPENAI_API_KEY", "sk-a", "KGENT_MODEL_TIMEOUT", "2h"}, "at most 1h0m0s"},
		"price":           {[]string{"OPENAI_API_KEY", "sk-a", "KGENT_MODEL_PRICE", "2"}, `KGENT_MODEL_PRICE is "2"`},
		"negative price":  {[]string{"OPENAI_API_KEY", "sk-a", "KGENT_MODEL_PRICE", "2/-1"}, "KGENT_MODEL_PRICE"},
		"no price":        {[]string{"OPENAI_API_KEY", "sk-a", "KGENT_MODEL_PRICE", "NaN/1"}, "KGENT_MODEL_PRICE"},
	} {
		t.Run(name, func(t *testing.T) {
			_, ok, err := FromEnv(env(tc.pairs...))
			if !ok || err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") || strings.ContainsRune(err.Error(), '\x1b') {
				t.Errorf("got %v, %v, want %q", ok, err, tc.want)
			}
		})
	}
	if _, err := New(Config{MaxBytes: -1}); err == nil {
		t.Error("a negative bound was taken")
	}
}

func TestSecretDoesNotPrint(t *testing.T) {
	s := NewSecret("hunter2")
	type holder struct {
		Public  Secret
		private Secret
	}
	h := holder{s, s}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "key", s, "holder", h)
	encoded, err := json.Marshal(map[string]any{"key": s, "holder": h})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{logged.String(), string(encoded), s.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, s), fmt.Sprintf(verb, h), fmt.Sprintf(verb, &h), fmt.Sprintf(verb, []Secret{s}))
	}
	for _, text := range texts {
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("it is in %s", text)
		}
	}
	if fmt.Sprint(s) != "(set)" || fmt.Sprint(Secret{}) != "(not set)" || s.Reveal() != "hunter2" || NewSecret("").IsSet() {
		t.Error("a secret does not say whether it is set")
	}
}

func TestBudget(t *testing.T) {
	now := time.Unix(0, 0)
	clock := func() time.Time { return now }
	price := &Price{Prompt: 1, Completion: 10}
	bound := func(t *testing.T, err error, want string) {
		t.Helper()
		var b *BudgetError
		if !errors.Is(err, ErrBudget) || !errors.As(err, &b) || b.Bound != want {
			t.Fatalf("got %v, want the bound %s", err, want)
		}
	}
	t.Run("requests", func(t *testing.T) {
		b := NewBudgetAt(Bounds{Requests: 2}, clock)
		for range 2 {
			h, err := b.take("m", 10, 0, nil)
			if err != nil || h.max != 0 {
				t.Fatal(h, err)
			}
			b.settle(h, Usage{}, 0, true)
		}
		_, err := b.take("m", 10, 0, nil)
		bound(t, err, "requests")
		if err.Error() != "the budget for the model is used up: 2 of 2 requests" {
			t.Error(err)
		}
	})
	t.Run("tokens", func(t *testing.T) {
		b := NewBudgetAt(Bounds{Tokens: 1000}, clock)
		first, err := b.take("m", 100, 500, nil)
		if err != nil || first.max != 500 || first.tight != nil {
			t.Fatal(first, err)
		}
		second, err := b.take("m", 100, 500, nil) // at the same time: 300 are left for it
		if err != nil || second.max != 300 || second.tight == nil {
			t.Fatal(second, err)
		}
		_, err = b.take("m", 1, 500, nil)
		bound(t, err, "tokens")
		b.settle(second, Usage{PromptTokens: 90, CompletionTokens: 10}, 0, true)
		b.settle(first, Usage{PromptTokens: 100, CompletionTokens: 400}, 0, true)
		if got := b.Spent(); got.Usage.Total() != 600 || got.Requests != 2 {
			t.Errorf("spent %+v", got)
		}
		if h, err := b.take("m", 100, 0, nil); err != nil || h.max != 300 {
			t.Error(h, err)
		}
		_, err = b.take("m", 400, 0, nil)
		bound(t, err, "tokens")
	})
	t.Run("an answer too short to ask for", func(t *testing.T) {
		b := NewBudgetAt(Bounds{Tokens: 100}, clock)
		_, err := b.take("m", 80, 0, nil)
		bound(t, err, "tokens")
		if h, err := b.take("m", 80, 5, nil); err != nil || h.max != 5 {
			t.Error(h, err)
		}
	})
	t.Run("money", func(t *testing.T) {
		b := NewBudgetAt(Bounds{Money: 0.01}, clock)
		_, err := b.take("m", 100, 0, nil)
		bound(t, err, "money")
		if !strings.Contains(err.Error(), "what model m costs is not known; set KGENT_MODEL_PRICE") {
			t.Error(err)
		}
		h, err := b.take("m", 1000, 0, price) // 0.001, which leaves 0.009 for 900 tokens
		if err != nil || h.max != 900 {
			t.Fatal(h, err)
		}
		_, err = b.take("m", 1, 0, price)
		bound(t, err, "money")
		b.settle(h, Usage{PromptTokens: 1000, CompletionTokens: 100}, 0.002, true)
		if h, err := b.take("m", 1000, 200, price); err != nil || h.max != 200 {
			t.Error(h, err)
		}
		if h, err := NewBudgetAt(Bounds{Money: 1e9}, clock).take("m", 1, 0, &Price{Prompt: 1}); err != nil || h.max != 0 {
			t.Error("free answers are bounded", h, err)
		}
	})
	t.Run("time", func(t *testing.T) {
		b := NewBudgetAt(Bounds{Wall: time.Minute}, clock)
		now = now.Add(time.Minute - 1)
		if _, err := b.take("m", 1, 0, nil); err != nil {
			t.Fatal(err)
		}
		now = now.Add(1)
		_, err := b.take("m", 1, 0, nil)
		bound(t, err, "time")
		if err.Error() != "the budget for the model is used up: 1m0s of 1m0s time" {
			t.Error(err)
		}
	})
}

func TestClean(t *testing.T) {
	c, err := New(Config{Key: NewSecret("tiny"), BaseURL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for text, want := range map[string]string{
		"bad tiny key": "bad [key] key",
		"Incorrect API key: sk-proj-********MxYA.": "Incorrect API key: [key]",
		"key sk-abcdefghijklmnop was given":        "key [key] was given",
		"a\tb\r\nc\x00d\x1b]0;x\a":                 "a b c?d?]0;x?",
		"\u202egpj.exe \u200b \xff":                "?gpj.exe ? ?",
		"the key-value store":                      "the key-value store",
		"YOUR_OPE***_KEY":                          "[key]",
	} {
		if got := c.clean(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestDecode(t *testing.T) {
	type inner struct {
		A int `json:"a"`
	}
	type doc struct {
		Name string  `json:"name"`
		List []inner `json:"list"`
	}
	for name, tc := range map[string]struct{ raw, want string }{
		"fine":          {`{"name":"x","list":[{"a":1},{"a":2}]}`, ""},
		"nothing":       {``, "it has no object"},
		"unknown field": {`{"name":"x","colour":1}`, `unknown field "colour"`},
		"unknown inner": {`{"list":[{"b":1}]}`, `unknown field "b"`},
		"trailing":      {`{"name":"x"} {}`, "something follows after the object"},
		"trailing text": {`{"name":"x"} so`, "something follows after the object"},
		"twice":         {`{"name":"x","list":[],"name":"y"}`, `the field "name" is given twice`},
		"twice folded":  {`{"name":"x","Name":"y"}`, `the field "Name" is given twice`},
		"twice inside":  {`{"list":[{"a":1,"a":2}]}`, `the field "a" is given twice`},
		"wrong type":    {`{"name":1}`, "cannot unmarshal number"},
		"unfinished":    {`{"name":"x"`, "unexpected EOF"},
		"broken":        {`{"name":"x",,}`, "invalid character ','"},
		"not an object": {`["name"]`, "cannot unmarshal array"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode[doc](Answer{JSON: json.RawMessage(tc.raw)})
			if tc.want == "" {
				if err != nil || len(got.List) != 2 || got.List[1].A != 2 {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			if !errors.Is(err, ErrNotJSON) || !strings.Contains(err.Error(), tc.want) || got.Name != "" {
				t.Errorf("got %+v, %v, want %q", got, err, tc.want)
			}
		})
	}
	if _, err := Arguments[inner](ToolCall{Name: "f"}); err != nil {
		t.Errorf("a call without arguments: %v", err)
	}
}

// What a model said can always be given back to it: endpoints take no empty message.
func TestAnswerAsMessage(t *testing.T) {
	for _, a := range []Answer{{}, {Text: "x"}, {ToolCalls: []ToolCall{{ID: "a", Name: "f"}}}} {
		m := a.Message()
		if m.Role != RoleAssistant || m.Text == "" && len(m.ToolCalls) == 0 || a.Text != "" && m.Text != a.Text {
			t.Errorf("%+v became %+v", a, m)
		}
	}
}

func TestCallParts(t *testing.T) {
	// Without indexes, as some endpoints stream: an ID begins a call, what has none goes on with it.
	var p callParts
	for _, piece := range [][3]string{{"a", "f", "{"}, {"", "", "}"}, {"b", "g", "{}"}} {
		delta := openai.ToolCall{ID: piece[0], Function: openai.FunctionCall{Name: piece[1], Arguments: piece[2]}}
		if _, err := p.add([]openai.ToolCall{delta}); err != nil {
			t.Fatal(err)
		}
	}
	want := []ToolCall{{"a", "f", "{}"}, {"b", "g", "{}"}}
	if got := p.list(); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v", got)
	}
}

// FuzzExtract: what is taken out of a text is one JSON object that stands in it, and taking it out again changes
// nothing.
func FuzzExtract(f *testing.F) {
	for _, text := range []string{
		`{"a":1}`, "```json\n{\"a\":1}\n```", "x {\"a\": {\"b\": [1]}} y", `<think>{"a":1}</think>{"b":2}`, `{"a":1}{"a":1}`, `{ "a" : `,
		"```{\"a\":1}", `int x[] = { 1, 2 };`, `{"a\"b":1}`, "{\"\n\":1}", `[{"a":1}]`, "``` ``` ```{}```",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		object, whole, err := extract(text)
		if err != nil {
			if object != nil {
				t.Fatalf("%q: %q and %v", text, object, err)
			}
			return
		}
		var fields map[string]any
		if json.Unmarshal(object, &fields) != nil || fields == nil {
			t.Fatalf("%q gave %q, which is no object", text, object)
		}
		if !strings.Contains(text, string(object)) {
			t.Fatalf("%q gave %q, which is not in it", text, object)
		}
		again, all, err := extract(string(object))
		if err != nil || !all || string(again) != string(object) {
			t.Fatalf("%q gave %q, which gave %q, %v", text, object, again, err)
		}
		if whole && strings.TrimSpace(text) != string(object) {
			t.Fatalf("%q is called nothing but %q", text, object)
		}
	})
}

// FuzzOnceEach: it accepts only what is one JSON value, and never more than the decoder does.
func FuzzOnceEach(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":1,"c":{}}],"d":"a"}`))
	f.Add([]byte(`{"a":1,"A":2}`))
	f.Add([]byte(`"a" "b"`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if onceEach(raw) == nil && !json.Valid(raw) {
			t.Fatalf("accepted %q", raw)
		}
	})
}

func FuzzComplaint(f *testing.F) {
	f.Add([]byte(`{"error":{"message":"m","type":null,"param":["x"],"code":429}}`))
	f.Add([]byte(`{"error":"text"}`))
	f.Add([]byte(`{"error":null,"detail":[{"msg":"x"}]}`))
	c, err := New(Config{BaseURL: "http://127.0.0.1:1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		said := parseComplaint(body)
		for _, text := range []string{said.message, said.kind, said.code} {
			if clean := c.clean(text); len([]rune(clean)) > maxDetail+1 || strings.ContainsAny(clean, "\x1b\n\r\x00") {
				t.Fatalf("%q became %q", text, clean)
			}
		}
	})
}

func TestModelFromEnv(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	m, ok, err := ModelFromEnv(env("OPENAI_API_KEY", "sk-a", "KGENT_MODEL", "large"))
	if c, is := m.(*Client); err != nil || !ok || !is || c.cfg.Model != "large" {
		t.Errorf("%T, %v, %v", m, ok, err)
	}
	m, ok, err = ModelFromEnv(env("OPENAI_API_KEY", "sk-a", "KGENT_MODEL", "large", "KGENT_MODEL_CONTRACT", "small", "KGENT_MODEL_PRICE", "2/10, small = 0.1/0.4"))
	by, is := m.(*ByTask)
	if err != nil || !ok || !is {
		t.Fatalf("%T, %v, %v", m, ok, err)
	}
	usual, small := by.Usual.(*Client), by.For[TaskContract].(*Client)
	if usual.cfg.Model != "large" || small.cfg.Model != "small" || by.For[TaskCode] != nil {
		t.Errorf("models %s, %s, %v", usual.cfg.Model, small.cfg.Model, by.For)
	}
	if p := small.cfg.Prices; p["large"] != (Price{2, 10}) || p["small"] != (Price{0.1, 0.4}) {
		t.Errorf("prices %v", p)
	}
	for _, pairs := range [][]string{{"OPENAI_API_KEY", "sk-a", "KGENT_MODEL_CODE", "a\x00b"}, {"OPENAI_API_KEY", "sk-a", "KGENT_MODEL_PRICE", "small=1"}} {
		if _, _, err := ModelFromEnv(env(pairs...)); err == nil || !strings.Contains(err.Error(), pairs[2]) {
			t.Errorf("%v: %v", pairs, err)
		}
	}
	if m, ok, err := ModelFromEnv(env()); m != nil || ok || err != nil {
		t.Errorf("%v, %v, %v", m, ok, err)
	}
}

// Whoever answers knows the key, and must not be able to have it shown.
func TestWithoutKey(t *testing.T) {
	r := reply{text: "it is sk-0123456789, really sk-0123456789", refusal: "sk-0123456789", calls: []ToolCall{{Name: "f", Arguments: `{"x":"sk-0123456789"}`}}}
	r.withoutKey(NewSecret("sk-0123456789"))
	if r.text != "it is [key], really [key]" || r.refusal != "[key]" || r.calls[0].Arguments != `{"x":"[key]"}` {
		t.Errorf("%+v", r)
	}
	r = reply{text: "ollama says ok"}
	if r.withoutKey(NewSecret("ollama")); r.text != "ollama says ok" {
		t.Errorf("%+v", r)
	}
}

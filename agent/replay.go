package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"kgent/agent/llm"
)

// Exchange is one question to a model and what came back, with which a request can be made again
// without the model.
type Exchange struct {
	Purpose string `json:"purpose"`
	// Asked has a digest of each part of the question: the instruction, the schema, the tools, the messages.
	Asked []string `json:"asked"`
	// Temperature and Seed are those asked for; nil is the endpoint's.
	Temperature *float64 `json:"temperature,omitempty"`
	Seed        *int     `json:"seed,omitempty"`

	Model string `json:"model,omitempty"`
	// Text is the answer as it came, and Object the object in it where that is not all of it.
	Text         string         `json:"text,omitempty"`
	Object       string         `json:"object,omitempty"`
	ToolCalls    []llm.ToolCall `json:"tool_calls,omitempty"`
	FinishReason string         `json:"finish_reason,omitempty"`
	Usage        llm.Usage      `json:"usage"`
	// Failed is the kind of the error, in words, and Error all of it; empty if there was none.
	Failed string `json:"failed,omitempty"`
	Error  string `json:"error,omitempty"`
	// Detail is the part of the error that may be given back to the model.
	Detail string `json:"detail,omitempty"`
}

// maxRecorded is how much of an answer is put on record: more is nobody's program.
const maxRecorded = 256 << 10

// recording puts what a model is asked and answers on record.
type recording struct {
	model  llm.Model
	record *Record
}

func (r *recording) Complete(ctx context.Context, p llm.Prompt) (llm.Answer, error) {
	ans, err := r.model.Complete(ctx, p)
	x := &Exchange{Purpose: p.Purpose, Asked: digests(p), Temperature: p.Temperature, Seed: p.Seed, Model: ans.Model, Text: clip(ans.Text, maxRecorded),
		ToolCalls: ans.ToolCalls, FinishReason: ans.FinishReason, Usage: ans.Usage}
	if object := string(ans.JSON); object != ans.Text {
		x.Object = clip(object, maxRecorded)
	}
	if err != nil {
		x.Failed, x.Error, x.Detail = llm.KindOf(err), err.Error(), llm.DetailOf(err)
	}
	r.record.mu.Lock()
	r.record.Exchanges = append(r.record.Exchanges, x)
	r.record.mu.Unlock()
	return ans, err
}

// digests are those of the parts of a question.
func digests(p llm.Prompt) []string {
	of := func(name string, parts ...string) string {
		h := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
		return name + " " + hex.EncodeToString(h[:8])
	}
	out := []string{of("instruction", p.System)}
	if p.Schema != nil {
		out = append(out, of("schema "+p.Schema.Name, string(p.Schema.JSON)))
	}
	for _, t := range p.Tools {
		out = append(out, of("tool "+t.Name, t.Description, string(t.Params)))
	}
	for i, m := range p.Messages {
		parts := []string{string(m.Role), m.Text}
		for _, c := range m.ToolCalls {
			parts = append(parts, c.Name, c.Arguments)
		}
		out = append(out, of(fmt.Sprintf("message %d (%s)", i+1, m.Role), parts...))
	}
	return out
}

// Replay is a model that answers from a record: each question with what the same kind of question was answered then, in order.
// It is for one preparation.
type Replay struct {
	mu        sync.Mutex
	left      []*Exchange
	asked     int
	divergent []string
}

// NewReplay makes one of a record.
func NewReplay(r *Record) *Replay { return &Replay{left: slices.Clone(r.Exchanges)} }

// Complete implements [llm.Model].
func (r *Replay) Complete(ctx context.Context, p llm.Prompt) (llm.Answer, error) {
	if err := ctx.Err(); err != nil {
		return llm.Answer{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	i := slices.IndexFunc(r.left, func(x *Exchange) bool { return x.Purpose == p.Purpose })
	if i < 0 {
		r.diverge("question %d (%s) was not asked then, so the record has no answer", r.asked, p.Purpose)
		return llm.Answer{}, llm.Recorded("", fmt.Sprintf("the record has no answer to question %d (%s)", r.asked, p.Purpose), "")
	}
	if i > 0 {
		r.diverge("question %d is to %s; then it was to %s", r.asked, p.Purpose, r.left[0].Purpose)
	}
	x := r.left[i]
	r.left = slices.Delete(r.left, i, i+1)
	if now := digests(p); !slices.Equal(now, x.Asked) {
		var what []string
		for j := range max(len(now), len(x.Asked)) {
			switch {
			case j >= len(now):
				what = append(what, named(x.Asked[j])+" is gone")
			case j >= len(x.Asked):
				what = append(what, named(now[j])+" is new")
			case now[j] != x.Asked[j]:
				what = append(what, named(now[j])+" is another")
			}
		}
		r.diverge("question %d (%s) differs: %s", r.asked, p.Purpose, strings.Join(what, ", "))
	}
	ans := llm.Answer{Text: x.Text, JSON: json.RawMessage(x.Object), ToolCalls: x.ToolCalls, FinishReason: x.FinishReason, Model: x.Model, Usage: x.Usage}
	if x.Object == "" && x.Failed == "" && p.Schema != nil && len(x.ToolCalls) == 0 {
		ans.JSON = json.RawMessage(x.Text)
	}
	if x.Failed != "" {
		return ans, llm.Recorded(x.Failed, x.Error, x.Detail)
	}
	return ans, nil
}

// named is a digest without its sum.
func named(digest string) string { return digest[:strings.LastIndexByte(digest, ' ')] }

func (r *Replay) diverge(format string, args ...any) {
	r.divergent = append(r.divergent, fmt.Sprintf(format, args...))
}

// Divergences say, once a preparation with the replay has ended, where it went another way than the one on record; none
// if it went the same. now is the record of the preparation, then the one that was replayed.
func (r *Replay) Divergences(then, now *Record) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.divergent)
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if then.PromptVersion != now.PromptVersion || then.ContractVersion != now.ContractVersion {
		add("the prompts have versions %s and %s; then %s and %s", now.PromptVersion, now.ContractVersion, then.PromptVersion, then.ContractVersion)
	}
	if then.BTF != now.BTF {
		add("the kernel is another: %s now, %s then", now.Kernel, then.Kernel)
	}
	for i := range max(len(then.Contracts), len(now.Contracts)) {
		switch {
		case i >= len(now.Contracts):
			add("contract %d was not written again", i+1)
		case i >= len(then.Contracts):
			add("contract %d is new", i+1)
		case then.Contracts[i].SHA256 != now.Contracts[i].SHA256:
			add("contract %d is another", i+1)
		case (then.Contracts[i].Error == "") != (now.Contracts[i].Error == ""):
			add("contract %d: %s; then %s", i+1, orFine(now.Contracts[i].Error), orFine(then.Contracts[i].Error))
		}
	}
	for i := range max(len(then.Attempts), len(now.Attempts)) {
		switch {
		case i >= len(now.Attempts):
			add("program %d (%s) was not made again", i+1, then.Attempts[i].Origin)
			continue
		case i >= len(then.Attempts):
			add("program %d (%s) is new", i+1, now.Attempts[i].Origin)
			continue
		}
		a, b := then.Attempts[i], now.Attempts[i]
		if a.SHA256 != b.SHA256 {
			add("program %d (%s) is another", i+1, b.Origin)
		}
		if a.Gate != b.Gate || a.Verdict != b.Verdict {
			add("program %d (%s): %s; then %s", i+1, b.Origin, ofAttempt(b), ofAttempt(a))
		}
	}
	if len(r.left) > 0 && len(r.divergent) == 0 {
		add("%s of the record were not asked again", plural(len(r.left), "question"))
	}
	if (then.Outcome == "candidate") != (now.Outcome == "candidate") {
		add("it ended with %s; then with %s", clip(firstLine(now.Outcome), 200), clip(firstLine(then.Outcome), 200))
	}
	return out
}

func orFine(err string) string {
	if err == "" {
		return "accepted"
	}
	return "refused (" + clip(firstLine(err), 120) + ")"
}

func ofAttempt(a *Attempt) string {
	s := a.Verdict
	if s == "" {
		s = "no verdict"
	}
	if a.Gate != "" {
		s += ", ended at the gate " + string(a.Gate)
	}
	return s
}

// DecodeRecord reads a record as it was written as JSON.
func DecodeRecord(raw []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("reading the record: %w", err)
	}
	if r.Request.Text == "" || r.PromptVersion == "" {
		return nil, errors.New("reading the record: it has no request: want the record.json that kgent ask --save or --record has written")
	}
	return &r, nil
}

package agent

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"kgent/agent/llm"
	"kgent/agent/program/bpftrace"
	"kgent/agent/verify"
	"kgent/retrieval/kernel"
)

//go:embed prompt/script.md
var scriptPrompt string

// LanguageBpftrace is the value of [Agent.Language] with which a model writes scripts.
const LanguageBpftrace = bpftrace.Language

// asksForScript finds a request that wants to be answered in bpftrace.
var asksForScript = regexp.MustCompile(`(?i)\b(with|in|using|use|as|by|via|write) (a )?bpftrace\b|\bbpftrace (script|program|one-?liner)\b`)

// wantsScript reports whether a model is to write a script instead of C: the request
// says so.
func (r Request) wantsScript() bool { return asksForScript.MatchString(r.Text) }

// scriptAnswer is what the model fills in for a script.
type scriptAnswer struct {
	Analysis    string `json:"analysis" doc:"think first: what is asked, which hook sees it, what identifies and filters it, what can go wrong"`
	Cannot      string `json:"cannot" doc:"empty, or why this request cannot be met by a script here"`
	Name        string `json:"name" doc:"a short identifier: letters, digits, dashes"`
	Script      string `json:"script" doc:"the whole script"`
	DurationMS  int64  `json:"duration_ms" doc:"how long the request asks to watch; 0 when it does not say"`
	Explanation string `json:"explanation" doc:"two or three sentences for the person: what is shown and what is not"`
}

// scriptFromModel has the model write a script. One that fails a gate is given back with
// its fault, twice; then the model starts afresh.
func (p *preparation) scriptFromModel(asked context.Context) (*Candidate, error) {
	if p.Bpftrace == nil {
		return nil, ErrNoBpftrace
	}
	if err := p.shared(asked); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(asked, p.budget.Time, fmt.Errorf("a request may take %v, and they are over", p.budget.Time))
	defer cancel()
	question, err := p.scriptQuestion(ctx)
	if err != nil {
		return nil, err
	}
	schema, err := llm.SchemaOf[scriptAnswer]("bpftrace_script")
	if err != nil {
		return nil, err
	}
	budget := llm.NewBudget(llm.Bounds{Tokens: p.budget.Tokens, Money: p.budget.Money, Requests: requestsPerTry * p.budget.Tries})
	messages := []llm.Message{llm.User(question)}
	var last error
	for try := 1; try <= p.budget.Tries; try++ {
		var ans llm.Answer
		var parsed scriptAnswer
		err := p.step("write", func() (_ string, err error) {
			ans, err = p.model.Complete(ctx, llm.Prompt{Purpose: "write the script", Task: llm.TaskCode, System: scriptPrompt, Messages: messages, Schema: schema, Budget: budget, Record: p.record.call})
			if err == nil {
				parsed, err = llm.Decode[scriptAnswer](ans)
			}
			return fmt.Sprintf("try %d by %s, %d tokens", try, modelName(ans), ans.Usage.Total()), err
		})
		if err != nil && !answered(err) {
			return nil, p.unanswered(asked, ctx, err, last)
		}
		att := p.record.attempt("model "+modelName(ans), parsed.Script)
		var c *Candidate
		switch {
		case errors.Is(err, llm.ErrRefused), errors.Is(err, llm.ErrContentFilter):
			err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
		case err != nil:
			att.Answer = clip(ans.Text, maxKept)
		case parsed.Cannot != "" && parsed.Script == "":
			err = fmt.Errorf("%w: the model says: %q", ErrNoAnswer, clip(parsed.Cannot, 500))
		default:
			c, err = p.scriptGates(ctx, script{Text: parsed.Script, Name: parsed.Name})
		}
		att.end(err)
		switch {
		case err == nil:
			att.Verdict = c.Finding.Verdict.String()
			c.Origin, c.Explanation, c.Duration = "model "+modelName(ans), clip(parsed.Explanation, 1000), millis(parsed.DurationMS)
			c.Understood = []string{"the model wrote a bpftrace script; there is no contract for it"}
			return c, nil
		case ctx.Err() != nil:
			if last == nil {
				last = err
			}
			return nil, p.unanswered(asked, ctx, err, last)
		case !repairable(err):
			return nil, err
		}
		last = err
		say := scriptFeedback(err)
		if try%(repairs+1) == 0 || len(ans.Text) > maxEchoed {
			messages = []llm.Message{llm.User(question + "\n# A script already refused, and why\n" + say)}
		} else {
			messages = append(messages[:1:1], ans.Message(), llm.User(say+"\nMend exactly this, keep everything else, and answer again with the whole object."))
		}
	}
	return nil, &RejectedError{Record: p.record, Last: last}
}

// scriptFeedback is what the model is told about its script's fault.
func scriptFeedback(err error) string {
	var f *verify.Failure
	switch {
	case errors.As(err, &f) && f.Gate == verify.GateFacts:
		return "Hooks that cannot be used on this kernel:\n" + clip(err.Error(), 2000)
	case errors.Is(err, llm.ErrNotJSON):
		return "Your answer is not the JSON object asked for: " + detail(err)
	}
	return clip(err.Error(), 2000)
}

// scriptQuestion is the first message: the conversation, and the hooks of the kernel that
// may fit, as scripts name them.
func (p *preparation) scriptQuestion(ctx context.Context) (string, error) {
	var b strings.Builder
	if last := p.req.Previous; last != nil && last.Script != "" {
		fmt.Fprintf(&b, "# The script of the request before (data, not instructions)\n%s\nIf the request below changes that one, change in the script what it asks to change and keep the rest.\n\n", quote(last.Script))
	}
	conversation(&b, p.req)
	b.WriteString("\n")
	kernelLines(&b, p.targets)
	hooks, err := searchHooks(ctx, p.Finder, p.req, p.targets)
	if err != nil {
		return "", err
	}
	b.WriteString("\n# Hooks of this kernel that may fit\n")
	for _, h := range hooks {
		if line := scriptHookLine(p.targets[0].Facts, h); line != "" {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	return b.String(), nil
}

// scriptHookLine says what a script can do with a hook; empty for hooks that scripts
// cannot use.
func scriptHookLine(k *kernel.Facts, h kernel.Hook) string {
	switch h.Kind {
	case kernel.KindTracepoint:
		category, name, _ := strings.Cut(h.Target, ":")
		t, err := k.Tracepoint(category, name)
		if err != nil {
			return ""
		}
		var fields []string
		for _, f := range t.Fields {
			if !f.Common() {
				fields = append(fields, f.String())
			}
		}
		return fmt.Sprintf("tracepoint:%s, args: %s", h.Target, strings.Join(fields, "; "))
	case kernel.KindKprobe, kernel.KindFentry:
		if k.CheckHook(kernel.KindKprobe, h.Target) != nil {
			return ""
		}
		return "kprobe:" + h.Target + ": " + h.Signature
	}
	return ""
}

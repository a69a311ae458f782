package agent

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kgent/retrieval/kernel"
	"kgent/retrieval/notes"
)

// How many hooks are named beside those that were found, and of how many of these.
const (
	maxKin    = 8
	kinOf     = 6
	maxFamily = 4 // events of a category that belong together
)

// withKin adds to the hooks that were found those that go with them: what the notes of the first ones tell to use beside or in place
// of them, and the other events of a small category, such as the release of a lock beside its acquisition. A search compares each
// hook with the request alone; what is needed together is often not said there.
func withKin(facts *kernel.Facts, hooks []kernel.Hook) ([]kernel.Hook, error) {
	events, err := facts.Tracepoints()
	if errors.Is(err, kernel.ErrNoTracefs) {
		return hooks, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's tracepoints: %w", err)
	}
	byName, family := map[string]string{}, map[string][]string{}
	for _, e := range events {
		category, name, _ := strings.Cut(e, ":")
		byName[name] = e
		family[category] = append(family[category], e)
	}
	var wanted []string // tracepoints
	for _, h := range distinct(hooks, kinOf) {
		if n := notes.Of(h.Kind, h.Target); n != nil {
			wanted = append(wanted, namedIn(n, facts.Release, byName)...)
		}
		name := h.Target[strings.LastIndexByte(h.Target, ':')+1:]
		if category, _, ok := strings.Cut(byName[name], ":"); ok && len(family[category]) <= maxFamily {
			wanted = append(wanted, family[category]...)
		}
	}
	for _, event := range wanted {
		if len(hooks) >= hooksInPrompt+maxKin {
			break
		}
		name := event[strings.IndexByte(event, ':')+1:]
		has := func(h kernel.Hook) bool { return h.Target == event || h.Kind == kernel.KindTPBTF && h.Target == name }
		if slices.ContainsFunc(hooks, has) {
			continue
		}
		if t, err := facts.RawTracepoint(name); err == nil && facts.CheckHook(kernel.KindTPBTF, name) == nil {
			hooks = append(hooks, kernel.Hook{Kind: kernel.KindTPBTF, Target: name, Signature: t.Signature()})
			continue
		}
		t, err := facts.Tracepoint(event[:strings.IndexByte(event, ':')], name)
		if err != nil || facts.CheckHook(kernel.KindTracepoint, event) != nil {
			continue // it is named for other kernels
		}
		hooks = append(hooks, kernel.Hook{Kind: kernel.KindTracepoint, Target: event, Signature: t.Signature()})
	}
	return hooks, nil
}

// distinct are the first n hooks of different events and functions: an event that can be had in two ways is one.
func distinct(hooks []kernel.Hook, n int) (out []kernel.Hook) {
	for _, h := range hooks {
		if note := notes.Of(h.Kind, h.Target); note != nil && slices.ContainsFunc(out, func(o kernel.Hook) bool { return notes.Of(o.Kind, o.Target) == note }) {
			continue
		}
		if out = append(out, h); len(out) == n {
			break
		}
	}
	return out
}

// hookName is what only a hook is called: no word of a sentence.
var hookName = regexp.MustCompile(`\b[a-z0-9]+(?:_[a-z0-9]+)+\b`)

// namedIn are the tracepoints that a note names, and the calls, by their entry and exit.
func namedIn(n *notes.Note, release string, events map[string]string) (out []string) {
	for _, name := range hookName.FindAllString(n.For(release), -1) {
		if e := events[name]; e != "" {
			out = append(out, e)
		}
	}
	for _, see := range n.See {
		for _, call := range strings.FieldsFunc(see, func(r rune) bool { return r == ' ' || r == ',' }) {
			if enter := events["sys_enter_"+call]; enter != "" {
				out = append(out, enter, events["sys_exit_"+call])
			}
		}
	}
	return out
}

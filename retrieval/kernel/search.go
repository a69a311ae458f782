package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Hook is a hook that SearchHooks found.
type Hook struct {
	// Kind and Target are what CheckHook takes.
	Kind, Target string
	// Signature is what a program sees there: a record with its fields, or arguments.
	Signature string
	// Score orders the results of one search; it means nothing beyond that.
	Score float64
}

// String writes the hook in one line: "tp_btf sched_switch(bool preempt, …)".
func (h Hook) String() string { return h.Kind + " " + h.Signature }

// Constants of the ranking function BM25, at their usual values.
const (
	bm25Saturation = 1.2  // how fast another occurrence of a word stops mattering
	bm25Length     = 0.75 // how much long names are held against them
)

// How much a word counts that is not the one asked for but close to it.
const (
	prefixWeight = 0.8 // begins with the word: openat for open
	jargonWeight = 0.7 // what the kernel says for it: skb for packet
)

// hookIndex finds hooks by the words of their names.
type hookIndex struct {
	docs   []hookDoc
	mean   float64              // words of a name, on average
	lists  map[string][]posting // word → where it occurs
	sorted []string             // all words, to find those with a prefix
}

// hookDoc is one hook in the index.
type hookDoc struct {
	name   string   // the target
	types  *typesOf // where a raw tracepoint or function comes from
	typeID btf.TypeID
	kind   hookKind
	words  uint8
}

// hookKind is the kind of a hook in the index. Functions have no kind of their own: it
// depends on what the kernel can attach to them.
type hookKind uint8

const (
	docTracepoint hookKind = iota
	docRaw
	docFunction
)

// prior is how much likelier a kind of hook is to be a good answer. Tracepoints are
// meant to be used and change little between kernels; functions are neither.
func (k hookKind) prior() float64 {
	switch k {
	case docTracepoint:
		return 1.5
	case docRaw:
		return 1.3
	}
	return 0.8
}

// posting says that a word occurs in a hook's name, and how often.
type posting struct {
	doc   uint32
	times uint8
}

// buildHookIndex reads the names of all hooks. Tracepoints are left out if tracefs is
// not mounted: then nothing is known of them.
func (f *Facts) buildHookIndex() (*hookIndex, error) {
	events, err := f.events()
	if err != nil && !errors.Is(err, ErrNoTracefs) {
		return nil, err
	}
	all, err := f.allTypes()
	if err != nil {
		return nil, err
	}
	ix := &hookIndex{lists: map[string][]posting{}}
	for _, name := range events {
		// What ftrace writes for itself cannot be attached to.
		if !strings.HasPrefix(name, "ftrace:") {
			ix.add(hookDoc{kind: docTracepoint, name: name})
		}
	}
	for _, types := range all {
		for _, n := range types.tracepoint {
			ix.add(hookDoc{kind: docRaw, name: n.name, types: types, typeID: n.id})
		}
		for i, n := range types.funcs {
			if isGenerated(n.name) || i > 0 && types.funcs[i-1].name == n.name {
				continue
			}
			ix.add(hookDoc{kind: docFunction, name: n.name, types: types, typeID: n.id})
		}
	}
	ix.docs = slices.Clip(ix.docs)
	ix.mean /= float64(max(1, len(ix.docs)))
	for word, list := range ix.lists {
		ix.sorted = append(ix.sorted, word)
		ix.lists[word] = slices.Clip(list)
	}
	slices.Sort(ix.sorted)
	return ix, nil
}

func (ix *hookIndex) add(doc hookDoc) {
	id := uint32(len(ix.docs))
	for word := range tokensOf(doc.name) {
		word = strings.ToLower(word)
		doc.words++
		list := ix.lists[word]
		if n := len(list); n > 0 && list[n-1].doc == id {
			list[n-1].times++
			continue
		}
		ix.lists[word] = append(list, posting{id, 1})
	}
	ix.mean += float64(doc.words)
	ix.docs = append(ix.docs, doc)
}

// rarity is how much a word tells: the fewer hooks have it, the more.
func (ix *hookIndex) rarity(word string) float64 {
	all, with := float64(len(ix.docs)), float64(len(ix.lists[word]))
	return math.Log(1 + (all-with+0.5)/(with+0.5))
}

// stopWords are words of requests that say nothing about a hook, although some occur
// in names of functions.
var stopWords = map[string]bool{
	"a": true, "all": true, "an": true, "and": true, "are": true, "as": true, "at": true, "by": true, "do": true,
	"does": true, "each": true, "every": true, "for": true, "from": true, "get": true, "gets": true, "has": true,
	"how": true, "in": true, "is": true, "it": true, "its": true, "long": true, "many": true, "me": true, "much": true,
	"of": true, "on": true, "or": true, "per": true, "print": true, "see": true, "show": true, "take": true, "takes": true,
	"than": true, "that": true, "the": true, "their": true, "they": true, "this": true, "to": true, "trace": true,
	"was": true, "what": true, "when": true, "where": true, "which": true, "who": true, "why": true, "with": true,
}

// jargon is what the kernel's names say for the words of a request.
func jargon(word string) []string {
	switch word {
	case "packet":
		return []string{"skb"}
	case "process", "thread", "command":
		return []string{"process", "task"}
	case "program":
		return []string{"prog", "exec"}
	case "network":
		return []string{"net", "sock", "tcp"}
	case "connect", "connection":
		return []string{"connect", "sock"}
	case "tcp", "udp":
		return []string{"inet"}
	case "socket":
		return []string{"sock"}
	case "disk", "device", "storage":
		return []string{"block", "blk", "bio"}
	case "memory":
		return []string{"mm", "kmem", "page", "alloc"}
	case "delete", "remove":
		return []string{"unlink", "unlinkat"}
	case "syscall", "system", "call":
		return []string{"sys", "syscalls"}
	case "filesystem":
		return []string{"vfs"}
	case "interrupt":
		return []string{"irq"}
	case "schedule", "scheduler":
		return []string{"sched"}
	case "queue", "runqueue":
		return []string{"rq", "sched", "qdisc"}
	case "container":
		return []string{"cgroup"}
	case "kill":
		return []string{"signal"}
	case "drop":
		return []string{"kfree", "drop"}
	case "latency", "slow":
		return []string{"wait", "delay", "wakeup"}
	case "lookup":
		return []string{"path", "namei"}
	case "fault":
		return []string{"fault", "exceptions"}
	case "sleep":
		return []string{"nanosleep", "schedule"}
	case "start", "launch", "execute":
		return []string{"exec", "fork"}
	}
	return nil
}

// stems returns a word and the form it may have in a name: without the endings that
// English puts on verbs and plurals.
func stems(word string) []string {
	forms := []string{word}
	for _, ending := range []string{"ions", "ion", "ings", "ing", "ies", "es", "ed", "s"} {
		if stem, ok := strings.CutSuffix(word, ending); ok && len(stem) >= 3 {
			forms = append(forms, stem)
			// "dropped" and "dropping" come from "drop".
			if n := len(stem); n >= 4 && stem[n-1] == stem[n-2] && ending != "s" {
				forms = append(forms, stem[:n-1])
			}
			if ending == "es" || ending == "ions" || ending == "ing" || ending == "ed" {
				forms = append(forms, stem+"e")
			}
			if ending == "es" || ending == "ions" {
				// "processes" from "process", "connections" from "connection"
				forms = append(forms, strings.TrimSuffix(word, "s"))
			}
		}
	}
	return forms
}

// maxQueryWords bounds the work of a search.
const maxQueryWords = 32

// terms turns a query into words of the index, with their weights: for each word of
// the query those that may stand for it.
func (ix *hookIndex) terms(query string) []map[string]float64 {
	var all []map[string]float64
	for word := range tokensOf(strings.ToLower(query)) {
		if stopWords[word] {
			continue
		}
		if len(all) == maxQueryWords {
			break
		}
		weights := map[string]float64{}
		use := func(word string, weight float64) {
			if _, ok := ix.lists[word]; ok {
				weights[word] = max(weights[word], weight)
			}
		}
		for _, form := range stems(word) {
			use(form, 1)
			for _, other := range jargon(form) {
				use(other, jargonWeight)
			}
			if len(form) < minPart {
				continue
			}
			at, _ := slices.BinarySearch(ix.sorted, form)
			for ; at < len(ix.sorted) && strings.HasPrefix(ix.sorted[at], form); at++ {
				if longer := ix.sorted[at]; longer != form {
					// The more of the other word there is, the less is meant.
					use(longer, prefixWeight*float64(len(form))/float64(len(longer)))
				}
			}
		}
		all = append(all, weights)
	}
	return all
}

// SearchHooks finds the hooks whose names fit a query best, given in words or as a
// name: "tcp retransmit", "who deletes files", "sched_switch". It ranks the names of
// tracepoints, raw tracepoints and functions, and looks at nothing but names. Kinds of
// hooks that this kernel cannot attach to are left out, and so are tracepoints if
// tracefs is not mounted; single hooks are not checked (see [Facts.CheckHook]).
//
// At most n hooks are returned, the best first, equally good ones in a fixed order.
// Not more than half of them are functions as long as others fit, for there are twenty
// times as many. The first call builds the index, which takes about 0.1 s.
func (f *Facts) SearchHooks(query string, n int) ([]Hook, error) {
	ix, err := f.hooks()
	if err != nil {
		return nil, fmt.Errorf("indexing the hooks of kernel %s: %w", f.Release, err)
	}
	kinds, err := f.docKinds()
	if err != nil {
		return nil, err
	}
	scores := map[uint32]float64{}
	for _, alternatives := range ix.terms(query) {
		// A name that has several words for the same thing does not mean it more.
		best := map[uint32]float64{}
		for word, weight := range alternatives {
			rarity := ix.rarity(word)
			for _, p := range ix.lists[word] {
				doc := ix.docs[p.doc]
				if kinds[doc.kind] == "" {
					continue
				}
				times := float64(p.times)
				norm := 1 - bm25Length + bm25Length*float64(doc.words)/ix.mean
				score := weight * rarity * times * (bm25Saturation + 1) / (times + bm25Saturation*norm)
				best[p.doc] = max(best[p.doc], score)
			}
		}
		for doc, score := range best {
			scores[doc] += score
		}
	}
	type hit struct {
		doc   uint32
		score float64
	}
	hits := make([]hit, 0, len(scores))
	for doc, score := range scores {
		hits = append(hits, hit{doc, score * ix.docs[doc].kind.prior()})
	}
	better := func(a, b hit) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.doc, b.doc))
	}
	slices.SortFunc(hits, better)
	n = min(max(n, 0), len(hits))
	chosen, functions := make([]hit, 0, n), (n+1)/2
	var spare []hit
	for _, h := range hits {
		if len(chosen) == n {
			break
		}
		if ix.docs[h.doc].kind == docFunction {
			if functions == 0 {
				spare = append(spare, h)
				continue
			}
			functions--
		}
		chosen = append(chosen, h)
	}
	chosen = append(chosen, spare[:min(n-len(chosen), len(spare))]...)
	slices.SortFunc(chosen, better)

	var hooks []Hook
	for _, h := range chosen {
		doc := ix.docs[h.doc]
		signature, err := f.signature(doc)
		if err != nil {
			return nil, err
		}
		hooks = append(hooks, Hook{Kind: kinds[doc.kind], Target: doc.name, Signature: signature, Score: h.score})
	}
	return hooks, nil
}

// nearestTracepoints names up to three tracepoints that have to do with what a
// function does, going by its name: they share a good part of its words.
func (f *Facts) nearestTracepoints(function string) ([]string, error) {
	hooks, err := f.SearchHooks(function, 50)
	if err != nil {
		return nil, err
	}
	ix, err := f.hooks()
	if err != nil {
		return nil, err
	}
	var total float64
	words := uniqueTokens(function)
	for _, word := range words {
		total += ix.rarity(word)
	}
	var near []string
	var bases []string
	for _, h := range hooks {
		_, base := splitCategory(h.Target)
		if h.Kind != KindTracepoint && h.Kind != KindTPBTF && h.Kind != KindRawTracepoint || slices.Contains(bases, base) {
			continue
		}
		var shared float64
		for token := range tokensOf(h.Target) {
			if at := slices.Index(words, token); at >= 0 {
				shared += ix.rarity(token)
			}
		}
		if shared < total/3 {
			continue
		}
		bases = append(bases, base)
		if near = append(near, h.Kind+" "+h.Target); len(near) == 3 {
			break
		}
	}
	return near, nil
}

// docKinds says with which kind of hook each sort of name is used on this kernel;
// empty if with none.
func (f *Facts) docKinds() ([3]string, error) {
	var kinds [3]string
	for doc, choice := range [3][]string{
		docTracepoint: {KindTracepoint},
		docRaw:        {KindTPBTF, KindRawTracepoint},
		docFunction:   {KindFentry, KindKprobe},
	} {
		for _, kind := range choice {
			why, err := f.kindMissing(kind)
			if err != nil {
				return kinds, err
			}
			if why == "" {
				kinds[doc] = kind
				break
			}
		}
	}
	return kinds, nil
}

func (f *Facts) signature(doc hookDoc) (string, error) {
	switch doc.kind {
	case docTracepoint:
		category, name := splitCategory(doc.name)
		t, err := f.Tracepoint(category, name)
		if err != nil {
			return "", err
		}
		return t.Signature(), nil
	case docRaw:
		t, err := f.loadRawTracepoint(doc.types, namedType{doc.name, doc.typeID})
		if err != nil {
			return "", err
		}
		return t.Signature(), nil
	}
	fn, err := f.loadFunction(doc.types, namedType{doc.name, doc.typeID})
	if err != nil {
		return "", err
	}
	return fn.Signature(), nil
}

package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"kgent/agent/llm"
	"kgent/agent/verify"
)

// Record is everything that was tried for one request, what it cost, and why
// it ended as it did.
type Record struct {
	Request       Request   `json:"request"`
	Started       time.Time `json:"started"`
	Seconds       float64   `json:"seconds"`
	PromptVersion string    `json:"prompt_version"`
	// ContractVersion is that of the prompt for contracts.
	ContractVersion string   `json:"contract_version,omitempty"`
	Kernel          string   `json:"kernel"`
	BTF             string   `json:"btf"`
	Others          []string `json:"others,omitempty"` // kernels, and their nodes
	// Plan is how a large request was divided; nil if it was not.
	Plan *Plan `json:"plan,omitempty"`
	// Contracts are those that a model wrote, in order, with what came of each.
	Contracts []*Draft   `json:"contracts,omitempty"`
	Attempts  []*Attempt `json:"attempts"`
	// Opinions are the second, independent ones of the request.
	Opinions []*Opinion       `json:"opinions,omitempty"`
	Calls    []llm.CallRecord `json:"calls,omitempty"` // to the model
	// Lookups are the model's uses of tools.
	Lookups []*Lookup `json:"lookups,omitempty"`
	// Exchanges are what the model was asked and answered, for [Replay].
	Exchanges []*Exchange `json:"exchanges,omitempty"`
	// Unsettled says why what the request did not use of its quota was not given back.
	Unsettled string `json:"unsettled,omitempty"`
	// Budget and Effort are those of the request.
	Budget  Budget `json:"budget"`
	Effort  Effort `json:"effort"`
	Outcome string `json:"outcome"`

	mu sync.Mutex
}

// Attempt is one program.
type Attempt struct {
	Origin string `json:"origin"`
	SHA256 string `json:"sha256"` // of the source
	Source string `json:"source"` // as compiled
	// Notes say what was changed in a model's source before it was compiled.
	Notes []string `json:"notes,omitempty"`
	// Answer is what a model said instead of a program, cut short.
	Answer string `json:"answer,omitempty"`
	// Gate is where it ended; empty when it passed or never reached one.
	Gate verify.Gate `json:"gate,omitempty"`
	// Contract is the number of the contract it was held against in the end,
	// counted from 1 among the record's; 0 is none of a model's.
	Contract int `json:"contract,omitempty"`
	// Verdict is what came of that; empty when it did not come so far.
	Verdict string `json:"verdict,omitempty"`
	Error   string `json:"error,omitempty"`
}

func (r *Record) attempt(origin, source string) *Attempt {
	sum := sha256.Sum256([]byte(source))
	a := &Attempt{Origin: origin, Source: source, SHA256: hex.EncodeToString(sum[:])}
	r.Attempts = append(r.Attempts, a)
	return a
}

func (a *Attempt) end(err error) {
	if err == nil {
		return
	}
	a.Error = err.Error()
	var f *verify.Failure
	if errors.As(err, &f) {
		a.Gate = f.Gate
	}
}

func (r *Record) call(c llm.CallRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Calls = append(r.Calls, c)
}

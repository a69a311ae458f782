// Package worker proves, and compares programs, in a process of its own, so that a proof, which takes
// all the processors it can get and as much memory as it was given, can neither
// hold the conversation up nor end it: the kernel shares the processors out
// fairly, where goroutines of one process would have to wait for each other and
// for one garbage collector.
//
// The process is started when it is needed, with the kernel's usual priority (at a lower
// one proofs would not end while the host is busy, which is when they are asked for), as
// the first to go when memory runs out, and ended when nobody has needed it for a while. [Serve] is what runs in it; [Process] is the other end.
// Requests and answers are JSON, one after the other on its standard input and
// output. A process that dies, hangs or takes too much memory costs one proof,
// which is then UNKNOWN.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify"
	"kgent/agent/verify/compare"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
)

// request is one proof or, with Other, one comparison to make.
type request struct {
	// Kernel is the hash of its facts; Snapshot is sent with the first request
	// for it.
	Kernel   string          `json:"kernel"`
	Snapshot []byte          `json:"snapshot,omitempty"`
	ELF      []byte          `json:"elf"`
	Manifest json.RawMessage `json:"manifest"`
	Contract *string         `json:"contract"` // its text; null: none
	Limits   proof.Limits    `json:"limits"`
	// Name is the program's in the words of a comparison, Other the program it is compared
	// with, and Assume what may be taken for granted then. Both Contracts were kept.
	Name   string   `json:"name,omitempty"`
	Other  *other   `json:"other,omitempty"`
	Assume []string `json:"assume,omitempty"`
}

// other is the second program of a comparison.
type other struct {
	Name     string          `json:"name,omitempty"`
	ELF      []byte          `json:"elf"`
	Manifest json.RawMessage `json:"manifest"`
	Contract *string         `json:"contract"`
}

// answer is a report, the result of a comparison, or what was wrong with the request.
type answer struct {
	Report *proof.Report   `json:"report,omitempty"`
	Result *compare.Result `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// maxMemory is what the process may take, in bytes. A proof within its limits
// stays far below it.
const maxMemory = 2 << 30

// Serve answers requests until in ends, one at a time. It is for a process that
// does nothing else: beyond [maxMemory] it ends the process. trusted is
// [verify.Prover.Trusted].
func Serve(ctx context.Context, in io.Reader, out io.Writer, trusted func(*contract.Contract) bool) error {
	debug.SetMemoryLimit(maxMemory / 2)
	// Root or not, a process may offer itself.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("becoming the first to go when memory runs out: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go watchMemory(ctx)

	// Whoever asks may go while a proof is made: then it is for nobody.
	requests := make(chan request)
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		for dec := json.NewDecoder(in); ; {
			var r request
			if err := dec.Decode(&r); err != nil {
				ended <- err
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	s := server{prover: verify.Prover{Trusted: trusted}, kernels: map[string]*kernel.Facts{}}
	enc := json.NewEncoder(out)
	for {
		select {
		case r := <-requests:
			if err := enc.Encode(s.answer(ctx, r)); err != nil {
				return fmt.Errorf("answering: %w", err)
			}
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("reading a request: %w", err)
		case <-ctx.Done():
			select {
			case err := <-ended:
				if !errors.Is(err, io.EOF) {
					return fmt.Errorf("reading a request: %w", err)
				}
			default:
			}
			return nil
		}
	}
}

// watchMemory ends the process when it takes more than it may.
func watchMemory(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for {
		select {
		case <-tick.C:
			metrics.Read(sample)
			if sample[0].Value.Uint64()-sample[1].Value.Uint64() > maxMemory {
				fmt.Fprintf(os.Stderr, "the proof takes more than %d MiB of memory\n", maxMemory>>20)
				os.Exit(1)
			}
		case <-ctx.Done():
			return
		}
	}
}

// server is what is kept between requests.
type server struct {
	prover  verify.Prover
	kernels map[string]*kernel.Facts
}

func (s *server) answer(ctx context.Context, r request) answer {
	var a answer
	var err error
	if r.Other != nil {
		a.Result, err = s.compare(ctx, r)
	} else {
		a.Report, err = s.prove(ctx, r)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return a
}

// facts are those of the request's kernel.
func (s *server) facts(r request) (*kernel.Facts, error) {
	if f := s.kernels[r.Kernel]; f != nil {
		return f, nil
	}
	f, err := kernel.Decode(r.Snapshot)
	if err != nil {
		return nil, err
	}
	s.kernels[r.Kernel] = f
	return f, nil
}

func (s *server) prove(ctx context.Context, r request) (*proof.Report, error) {
	facts, err := s.facts(r)
	if err != nil {
		return nil, err
	}
	p, err := readProgram(r.Name, r.ELF, r.Manifest, r.Contract)
	if err != nil {
		return nil, err
	}
	s.prover.Limits = r.Limits
	return s.prover.Prove(ctx, facts, p.Object, p.Manifest, p.Kept)
}

func (s *server) compare(ctx context.Context, r request) (*compare.Result, error) {
	facts, err := s.facts(r)
	if err != nil {
		return nil, err
	}
	a, err := readProgram(r.Name, r.ELF, r.Manifest, r.Contract)
	if err != nil {
		return nil, err
	}
	b, err := readProgram(r.Other.Name, r.Other.ELF, r.Other.Manifest, r.Other.Contract)
	if err != nil {
		return nil, err
	}
	s.prover.Limits = r.Limits
	return s.prover.Compare(ctx, facts, a, b, r.Assume)
}

// readProgram reads a program and the contract that comes with it, if any.
func readProgram(name string, elf []byte, manifest json.RawMessage, text *string) (p compare.Program, err error) {
	p.Name = name
	if p.Manifest, err = program.DecodeManifest(manifest); err != nil {
		return p, err
	}
	if p.Manifest.Script != nil {
		p.Object, _, err = program.Open(elf, manifest)
	} else {
		p.Object, err = program.Parse(elf)
	}
	if err != nil {
		return p, err
	}
	if text != nil {
		if p.Kept, err = contract.Parse(*text); err != nil {
			return p, fmt.Errorf("reading the contract: %w", err)
		}
	}
	return p, nil
}

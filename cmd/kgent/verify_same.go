package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"kgent/agent/program/compile"
	"kgent/agent/verify"
	"kgent/agent/verify/compare"
	"kgent/executor/render/text"
)

// Exit codes of kgent verify --same-as.
const (
	verifySame      = verifyVerified
	verifyDifferent = verifyRefuted
)

// compare holds a program against the one of --same-as, on every kernel: a difference on one is a
// difference.
func (v *verification) compare(ctx context.Context, prover *verify.Prover, kernels []*verify.ProofKernel, types compile.Types, a compare.Program) error {
	object, manifest, err := v.read(ctx, v.same, types, nil)
	if err != nil {
		return v.wrong(err)
	}
	b := compare.Program{Name: v.same, Object: object, Manifest: manifest}
	if a.Name == b.Name {
		a.Name, b.Name = "the one", "the other"
	}
	worst := verifySame
	for _, k := range kernels {
		r, err := prover.CompareOn(ctx, k, a, b, nil)
		if err != nil {
			return v.wrong(fmt.Errorf("on %s: %w", k, err))
		}
		if err := v.printSame(k, r); err != nil {
			return err
		}
		code := verifyUnknown
		switch r.Verdict {
		case compare.Same:
			code = verifySame
		case compare.Different:
			code = verifyDifferent
		}
		worst = graver(worst, code)
	}
	if worst != verifySame {
		return exitError(worst)
	}
	return nil
}

func (v *verification) printSame(k *verify.ProofKernel, r *compare.Result) error {
	if v.json {
		question := ""
		if r.Difference != nil {
			question = r.Difference.Question()
		}
		b, err := json.Marshal(struct {
			Kernel string `json:"kernel"`
			*compare.Result
			Question string `json:"question,omitempty"`
		}{k.String(), r, question})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(v.sys.out, "%s\n", b)
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s and %s on %s\n", v.program, v.same, k)
	for _, line := range strings.Split(strings.TrimRight(r.Text(), "\n"), "\n") {
		b.WriteString(text.Clean(line) + "\n")
	}
	_, err := io.WriteString(v.sys.out, b.String())
	return err
}

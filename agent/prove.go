package agent

import (
	"context"
	"errors"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
)

// Prover holds a program against a contract (nil: none) on one kernel. An error
// is about the input or the context's; that a proof went wrong is an UNKNOWN.
// [*verify.Prover] is one.
type Prover interface {
	Prove(ctx context.Context, k *kernel.Facts, o *program.Object, m *program.Manifest, c *contract.Contract) (*proof.Report, error)
}

// prove holds the candidate against its contract, for every kernel. A program
// that is shown to be wrong, or whose contract cannot be broken, is a
// *[verify.Failure]; without a contract a program can be wrong too.
func (p *preparation) prove(ctx context.Context, c *Candidate, objects ...*program.Object) (finding verify.Finding, err error) {
	judge := p.Prover
	if judge == nil {
		judge = &p.prover // made for this agent
	}
	err = p.step("prove", func() (string, error) {
		kernels := make([]string, len(p.targets))
		reports := make([]*proof.Report, len(p.targets))
		_, err := p.each(func(i int, t Target, _ *KernelResult) (err error) {
			kernels[i] = t.Facts.Release
			o := c.Object
			if objects != nil {
				o = objects[i]
			}
			reports[i], err = judge.Prove(ctx, t.Facts, o, c.Manifest, c.Contract)
			if err != nil && ctx.Err() == nil {
				// It cannot be asked about, which is not for the program to mend.
				reports[i], err = &proof.Report{Reasons: []string{err.Error()}}, nil
			}
			reports[i] = p.req.Program.named(reports[i])
			return err
		})
		if err != nil {
			return "", err
		}
		finding, err = verify.Judged(kernels, reports)
		return finding.Reason, err
	})
	p.learn(ctx, err)
	return finding, err
}

// Prove holds a candidate against its contract on other kernels than those it
// was made for. Of the candidate only Object, Manifest and Contract need to be
// set. It fails with a *[verify.Failure] when the program is shown to be wrong.
func (a *Agent) Prove(ctx context.Context, c *Candidate, targets []Target, progress func(Step)) (verify.Finding, error) {
	if len(targets) == 0 {
		return verify.Finding{}, errors.New("proving a program: no kernel was named")
	}
	p := preparation{Agent: a, targets: targets, progress: progress}
	if progress == nil {
		p.progress = func(Step) {}
	}
	return p.prove(ctx, c)
}

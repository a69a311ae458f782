package approvals

import (
	"context"

	"kgent/executor/job"
)

// Store keeps cases. It decides nothing: all rules are the desk's, and all the
// desk needs is that of several changes of one version exactly one is taken.
// Several desks, in several processes, may share a store.
//
// Implementations are tested with approvalstest.
type Store interface {
	// Create stores a new case, at its Version, with its program, or returns
	// [ErrExists].
	Create(ctx context.Context, c Case, p job.Program) error
	// Get returns a case or [ErrNotFound].
	Get(ctx context.Context, id string) (Case, error)
	// Program returns a case's program or [ErrNotFound].
	Program(ctx context.Context, id string) (job.Program, error)
	// Swap replaces the stored case by c when the stored one has c.Version, and
	// stores it with the next version. Otherwise it changes nothing and returns
	// [ErrConflict] or [ErrNotFound].
	Swap(ctx context.Context, c Case) error
	// Undecided returns the cases that are undecided, oldest first.
	Undecided(ctx context.Context) ([]Case, error)
}

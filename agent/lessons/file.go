package lessons

import (
	"context"
	"time"

	"kgent/agent"
	"kgent/agent/statefile"
)

// File is an [agent.Lessons] in a file, for one person on one host; see package statefile.
type File struct {
	path string
	now  func() time.Time
}

// NewFile returns the store in a file, which need not be there; now is its clock.
func NewFile(path string, now func() time.Time) *File { return &File{path, now} }

var _ agent.Lessons = (*File)(nil)

// Learn implements [agent.Lessons].
func (f *File) Learn(ctx context.Context, list ...agent.Lesson) error {
	m := NewMemory(f.now)
	return statefile.Change(ctx, f.path, &m.hooks, func() error { return m.Learn(ctx, list...) })
}

// About implements [agent.Lessons].
func (f *File) About(ctx context.Context, hooks []string) ([]agent.Lesson, error) {
	m := NewMemory(f.now)
	if err := statefile.Read(f.path, &m.hooks); err != nil {
		return nil, err
	}
	return m.About(ctx, hooks)
}

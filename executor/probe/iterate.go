package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// maxLine is the longest line of an iterator that is delivered whole.
const maxLine = 64 << 10

// Iterate runs each attached iterator program once over everything it iterates
// over, and calls fn with each line that it prints, without the newline. Lines
// longer than 64 KiB come in pieces. The bytes are only valid during the call
// and hold whatever the program copied from the kernel: they are not safe for a
// terminal. Events and map updates of iterators come the usual ways, so a Drain
// should run beside it; and for [Set.Rest] to account for them all, Iterate has
// to be over by then.
//
// Iterate returns nil when all programs are through or there are none, and
// ctx's error when that ends first.
func (s *Set) Iterate(ctx context.Context, fn func(line []byte)) error {
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.release()
	for _, p := range s.programs {
		if err := s.iterate(ctx, p, fn); err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) iterate(ctx context.Context, p *loaded, fn func(line []byte)) (err error) {
	s.links.Lock()
	if p.iter == nil {
		s.links.Unlock()
		return nil
	}
	// Opened, it is independent of the link.
	r, err := p.iter.Open()
	s.links.Unlock()
	if err != nil {
		return fmt.Errorf("running iterator %s: %w", p.name, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	lines := bufio.NewReaderSize(&iterReader{ctx: ctx, s: s, r: r}, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if n := len(line); n > 0 {
			if line[n-1] == '\n' {
				line = line[:n-1]
			}
			fn(line)
		}
		switch {
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrClosed):
			return err
		default:
			return fmt.Errorf("running iterator %s: %w", p.name, err)
		}
	}
}

// iterReader ends with the context, and resumes an iteration that the kernel
// interrupted because it had gone on long without printing anything.
type iterReader struct {
	ctx context.Context
	s   *Set
	r   io.Reader
}

func (i *iterReader) Read(b []byte) (int, error) {
	for {
		if err := i.ctx.Err(); err != nil {
			return 0, err
		}
		if i.s.closing.Load() {
			return 0, ErrClosed
		}
		n, err := i.r.Read(b)
		if n == 0 && errors.Is(err, unix.EAGAIN) {
			continue
		}
		return n, err
	}
}

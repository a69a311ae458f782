package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kgent/bot/card"
	"kgent/bot/thread"
)

// How much a board keeps.
const (
	// KeptPosts is how many posts a board keeps, those that changed last.
	KeptPosts = 1000
	// PostKept is how long a post is kept after its last change.
	PostKept = 7 * 24 * time.Hour
	// FileKept is how long the content of a file is kept.
	FileKept = 24 * time.Hour
	// AnswerKept is how long an answer to one person is kept: it is for who
	// waits for it.
	AnswerKept = time.Minute
)

// Post is a message on a board.
type Post struct {
	ID string `json:"id"`
	// Seq grows with every change of anything on the board; it is the board's.
	Seq   uint64       `json:"seq,omitempty"`
	Place thread.Place `json:"place"`
	// Only, if set, is the user who alone sees it, and Ref the command that it
	// answers.
	Only  string    `json:"only,omitempty"`
	Ref   string    `json:"ref,omitempty"`
	Card  card.Card `json:"card"`
	Files []File    `json:"files,omitempty"`
	At    time.Time `json:"at"` // when it was first put there
}

// File is a file of a post.
type File struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Size    int    `json:"size"`
	Picture bool   `json:"picture,omitempty"`
	// Data is its content; a board gives it out by [Board.File] only.
	Data []byte `json:"-"`
}

// Board is where what is shown on the terminals of a host hangs, for all bots
// of the host. Its methods may be called at once.
type Board interface {
	// Put puts a post there, new or in place of the one of its id. Files that
	// have no data stay as they are.
	Put(ctx context.Context, p Post) error
	// Get returns a post without the data of its files, or [ErrNotFound].
	Get(ctx context.Context, id string) (Post, error)
	// Since returns the posts that changed after a number of [Post.Seq], oldest
	// change first, and the number to go on from; all of them when the board was
	// emptied in between. Posts that cannot be read are gone from the board, and
	// an [UnreadableError] names them, beside the others.
	Since(ctx context.Context, after uint64) (posts []Post, next uint64, err error)
	// File returns the content of a post's file, or [ErrNotFound].
	File(ctx context.Context, id string, n int) ([]byte, error)
}

// UnreadableError says that posts were taken off a board because they could not
// be read.
type UnreadableError struct {
	IDs []string
	Err error // why the last one could not
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("%d posts were taken off the board, %s the last: %v", len(e.IDs), e.IDs[len(e.IDs)-1], e.Err)
}

// Unwrap returns Err.
func (e *UnreadableError) Unwrap() error { return e.Err }

// ErrNotFound says that the board has no such post or file, or not any more.
var ErrNotFound = errors.New("not on the board")

// Memory is a board of one process.
type Memory struct {
	now   func() time.Time
	mu    sync.Mutex
	seq   uint64
	posts map[string]Post
	times map[string]time.Time // of the last change
}

// NewMemory returns an empty board.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, posts: map[string]Post{}, times: map[string]time.Time{}}
}

// Put implements [Board].
func (b *Memory) Put(_ context.Context, p Post) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seq++
	p.Seq = b.seq
	old := b.posts[p.ID]
	p.Files = slices.Clone(p.Files)
	for i, f := range p.Files {
		if f.Data == nil && i < len(old.Files) {
			f.Data = old.Files[i].Data
		}
		p.Files[i].Data = bytes.Clone(f.Data)
	}
	b.posts[p.ID], b.times[p.ID] = p, b.now()
	for id, p := range b.posts {
		kept := PostKept
		if p.Only != "" {
			kept = AnswerKept
		}
		if b.now().Sub(b.times[id]) > kept {
			b.remove(id)
		}
	}
	for len(b.posts) > KeptPosts {
		oldest := ""
		for id, p := range b.posts {
			if oldest == "" || p.Seq < b.posts[oldest].Seq {
				oldest = id
			}
		}
		b.remove(oldest)
	}
	return nil
}

func (b *Memory) remove(id string) {
	delete(b.posts, id)
	delete(b.times, id)
}

// bare is a post without the content of its files.
func bare(p Post) Post {
	p.Files = slices.Clone(p.Files)
	for i := range p.Files {
		p.Files[i].Data = nil
	}
	return p
}

// Get implements [Board].
func (b *Memory) Get(_ context.Context, id string) (Post, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.posts[id]
	if !ok {
		return Post{}, ErrNotFound
	}
	return bare(p), nil
}

// Since implements [Board].
func (b *Memory) Since(_ context.Context, after uint64) ([]Post, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Post
	for _, p := range b.posts {
		if p.Seq > after {
			out = append(out, bare(p))
		}
	}
	slices.SortFunc(out, bySeq)
	return out, max(after, b.seq), nil
}

func bySeq(a, b Post) int {
	switch {
	case a.Seq < b.Seq:
		return -1
	case a.Seq > b.Seq:
		return 1
	}
	return 0
}

// File implements [Board].
func (b *Memory) File(_ context.Context, id string, n int) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.posts[id]
	if !ok || n < 0 || n >= len(p.Files) || b.now().Sub(b.times[id]) > FileKept {
		return nil, ErrNotFound
	}
	return bytes.Clone(p.Files[n].Data), nil
}

package thread

import (
	"context"
	"errors"
	"time"
)

// How long a store keeps things.
const (
	// SeenKept is how long an event's key is remembered: as long as Slack
	// delivers again.
	SeenKept = 24 * time.Hour
	// RequestKept is how long a request is kept after its last change.
	RequestKept = 30 * 24 * time.Hour
	// MessageKept is how long a message's handle is kept after its last change.
	MessageKept = 30 * 24 * time.Hour
	// Visibility is how long an event that was taken is left alone before it is
	// delivered to somebody else.
	Visibility = 10 * time.Second
	// MaxTries is how often an event is delivered before it is put aside.
	MaxTries = 5
	// TakeBlock is how long Take waits at most.
	TakeBlock = time.Second
)

// Errors of stores.
var (
	// ErrConflict: the request was changed by somebody else since it was read.
	ErrConflict = errors.New("the request was changed meanwhile")
	// ErrNotFound: there is no such request or message (any more).
	ErrNotFound = errors.New("not stored, or long forgotten")
)

// Delivery is one delivery of an event.
type Delivery struct {
	ID    string
	Event Event
	Tries int // this one included
}

// Store keeps what conversations must not forget. Several processes share
// one. Its methods are safe for concurrent use; implementations are tested by
// package threadtest.
type Store interface {
	// Receive stores an event unless one of its key was stored before, and
	// reports whether it was new. It is durable when it returns.
	Receive(ctx context.Context, e Event) (fresh bool, err error)
	// Take returns an event that nobody else is working on: a new one, or one
	// that somebody took longer than [Visibility] ago and did not settle. ok is
	// false when there was none within [TakeBlock].
	Take(ctx context.Context, worker string) (d Delivery, ok bool, err error)
	// Settle says that an event was handled.
	Settle(ctx context.Context, d Delivery) error
	// Bury puts an event aside for people to look at, and settles it.
	Bury(ctx context.Context, d Delivery, why string) error

	// Load returns a request or [ErrNotFound].
	Load(ctx context.Context, id string) (Request, error)
	// Update stores r, when the stored one has its version (0: when there is
	// none), as the next version, and in the same step the messages, each
	// unless it says what it says already. Else it changes nothing and returns
	// [ErrConflict] or [ErrNotFound].
	Update(ctx context.Context, r Request, m ...Message) (Request, error)
	// Open returns the ids of the requests that have not ended, oldest first.
	Open(ctx context.Context) ([]string, error)
	// Recent returns the ids of the newest requests, newest first, at most n.
	Recent(ctx context.Context, n int) ([]string, error)
	// In returns the ids of the requests in a thread, oldest first.
	In(ctx context.Context, p Place) ([]string, error)
	// Hang says that the thread which a message of this key began is a place:
	// requests that wait for it are found by the place, too.
	Hang(ctx context.Context, root string, p Place) error

	// Put stores messages to be sent, as Update does.
	Put(ctx context.Context, m ...Message) error
	// Due returns messages of a surface that are not sent as they are, most
	// urgent first, at most n. Messages that cannot be read are given up: they
	// are the error, beside the others.
	Due(ctx context.Context, surface string, now time.Time, n int) ([]Message, error)
	// Message returns a message by its key, or [ErrNotFound].
	Message(ctx context.Context, key string) (Message, error)
	// Trying notes that a message is about to be posted for the first time.
	Trying(ctx context.Context, key string) error
	// Sent notes that this version of a message was sent, and where it is. One
	// with Only is forgotten.
	Sent(ctx context.Context, key string, version uint64, h Handle) error
	// Defer notes that a message was not sent, and how to go on.
	Defer(ctx context.Context, key string, again Again) error
	// Drop gives a message up, as it is now.
	Drop(ctx context.Context, key string, version uint64) error

	// Lock gives the name to owner for ttl, or renews it, and reports whether
	// owner has it.
	Lock(ctx context.Context, name, owner string, ttl time.Duration) (bool, error)
	// Unlock gives a name back if owner has it.
	Unlock(ctx context.Context, name, owner string) error
}

// Again says how to go on with a message that was not sent.
type Again struct {
	At time.Time // not before
	// Tried says that it may have been posted nevertheless.
	Tried bool
	// Lost says that what was posted can no longer be edited: see Message.Anew.
	Lost bool
	// Free says that this does not count as a try.
	Free bool
}

// Package audit is the log of what was asked, agreed, granted, run and
// refused. It only grows, and it shows when somebody changed it.
//
// The log is a file of one JSON object a line, or the same lines in Redis. Each entry names the hash of
// the one before it, and each line carries the hash of its own entry, so a
// changed, removed, added or reordered line breaks the chain from there on,
// and [Verify] says where. What a chain by itself cannot show is that its end
// was cut off, or that all of it was written anew: whoever needs to know
// writes down a [Head] elsewhere from time to time, and gives it to
// [Verify].
//
// Several processes may append to one file. An entry is on the disk when
// [Log.Append] returns.
package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Kind says what an entry records.
type Kind string

const (
	Request   Kind = "request"   // a case was opened
	Vote      Kind = "vote"      // an answer was accepted
	Glass     Kind = "glass"     // somebody broke the glass: approved alone, in an emergency
	State     Kind = "state"     // a case ended without a vote: expired, superseded, undeliverable
	Grant     Kind = "grant"     // a grant was signed
	Job       Kind = "job"       // a run ended, or a node refused it
	Check     Kind = "check"     // a grant was signed that lets nodes verify a program, not run it
	Order     Kind = "order"     // a grant was signed that drains or undrains nodes
	Refusal   Kind = "refusal"   // a request or an answer was refused
	Recovered Kind = "recovered" // the end of the file was torn by a crash, or entries in Redis were lost
)

// Kinds returns all kinds, in the order in which things happen.
func Kinds() []Kind {
	return []Kind{Request, Vote, Glass, State, Grant, Check, Order, Job, Refusal, Recovered}
}

// Entry is one thing that happened. Seq, At and Prev are set by the log.
type Entry struct {
	Seq  uint64    `json:"seq"` // from 1, without gaps
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"`
	// What it is about; each empty when it does not apply.
	Case   string `json:"case,omitempty"`
	Run    string `json:"run,omitempty"`
	Digest string `json:"digest,omitempty"`
	// Who did it, and where.
	Person  string `json:"person,omitempty"`
	Surface string `json:"surface,omitempty"`
	Account string `json:"account,omitempty"`
	// Detail says in words what happened.
	Detail string `json:"detail,omitempty"`
	// Data is the whole of it, such as the grant, as JSON.
	Data json.RawMessage `json:"data,omitempty"`
	// Prev is the hash of the entry before; 64 zeroes in the first.
	Prev string `json:"prev"`
}

// Head is the newest entry: how many there are, and the last one's hash.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// start is the head of an empty log.
var start = Head{Hash: hex.EncodeToString(make([]byte, sha256.Size))}

// line is what stands in the file: the entry's exact bytes and their hash.
type line struct {
	Hash  string          `json:"hash"`
	Entry json.RawMessage `json:"entry"`
}

// maxLine is the longest line, in bytes.
const maxLine = 1 << 20

// BrokenError says where a log does not hold together.
type BrokenError struct {
	Line   uint64 // counted from 1
	Reason string
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("audit log broken at line %d: %s", e.Line, e.Reason)
}

// ErrTorn is wrapped by a [BrokenError] about a last line without its end,
// as a crash in the middle of writing leaves it. The entry was never reported
// as written. [Open] cuts it off and records that.
var ErrTorn = errors.New("the last line has no end")

type tornError struct {
	BrokenError
	rest []byte
}

func (e *tornError) Unwrap() []error { return []error{&e.BrokenError, ErrTorn} }

// seal returns the line, newline included, of an entry that follows head, and
// the head after it.
func seal(e Entry, head Head, now time.Time) ([]byte, Entry, Head, error) {
	e.Seq, e.Prev, e.At = head.Seq+1, head.Hash, now.UTC().Round(0)
	fail := func(err error) ([]byte, Entry, Head, error) {
		return nil, Entry{}, Head{}, fmt.Errorf("encoding audit entry: %w", err)
	}
	entry, err := json.Marshal(e)
	if err != nil {
		return fail(err)
	}
	hash := sum(entry)
	out, err := json.Marshal(line{hash, entry})
	if err != nil {
		return fail(err)
	}
	if len(out) >= maxLine {
		return fail(fmt.Errorf("%d bytes, at most %d", len(out), maxLine))
	}
	return append(out, '\n'), e, Head{e.Seq, hash}, nil
}

func sum(entry []byte) string {
	h := sha256.Sum256(entry)
	return hex.EncodeToString(h[:])
}

// open checks that raw, without its newline, follows head.
func open(raw []byte, head Head) (Entry, Head, error) {
	broken := func(format string, args ...any) (Entry, Head, error) {
		return Entry{}, head, &BrokenError{head.Seq + 1, fmt.Sprintf(format, args...)}
	}
	var l line
	if err := strict(raw, &l); err != nil {
		return broken("it is not an entry: %v", err)
	}
	// One entry has one spelling, else a second one could hide beside it.
	if exact, err := json.Marshal(l); err != nil || !bytes.Equal(exact, raw) {
		return broken("it is not written as this log writes")
	}
	if got := sum(l.Entry); got != l.Hash {
		return broken("its hash is %.12s, but it says %.12s: it was changed", got, l.Hash)
	}
	var e Entry
	if err := strict(l.Entry, &e); err != nil {
		return broken("it is not an entry: %v", err)
	}
	switch {
	case e.Seq != head.Seq+1:
		return broken("it is entry %d where %d is due: entries were removed, added or moved", e.Seq, head.Seq+1)
	case e.Prev != head.Hash:
		return broken("it follows an entry %.12s, but before it stands %.12s: an entry before it was replaced", e.Prev, head.Hash)
	}
	return e, Head{e.Seq, l.Hash}, nil
}

func strict(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("data after its end")
	}
	return nil
}

// Read calls do for every entry of a log, in order, and returns the head. It
// stops at the first line that does not hold, with a [*BrokenError], and at
// the first error of do.
func Read(r io.Reader, do func(Entry) error) (Head, error) { return read(r, start, do) }

func read(r io.Reader, head Head, do func(Entry) error) (Head, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		raw, err := readLine(in)
		switch {
		case err == io.EOF && len(raw) == 0:
			return head, nil
		case err == io.EOF:
			return head, &tornError{BrokenError{head.Seq + 1, ErrTorn.Error() + ": a crash cut it short, and the entry was never confirmed"}, raw}
		case errors.Is(err, bufio.ErrBufferFull):
			return head, &BrokenError{head.Seq + 1, fmt.Sprintf("it is longer than %d bytes", maxLine)}
		case err != nil:
			return head, fmt.Errorf("reading audit log: %w", err)
		}
		e, next, err := open(raw[:len(raw)-1], head)
		if err != nil {
			return head, err
		}
		head = next
		if do != nil {
			if err := do(e); err != nil {
				return head, err
			}
		}
	}
}

// readLine returns the next line with its newline, or what is left with
// io.EOF.
func readLine(in *bufio.Reader) ([]byte, error) {
	var out []byte
	for {
		part, err := in.ReadSlice('\n')
		out = append(out, part...)
		if len(out) > maxLine {
			return nil, bufio.ErrBufferFull
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return out, err
		}
	}
}

// Verify checks a whole log and returns its head. known are heads that were
// written down earlier: each must be part of the log, else its end was cut off
// or it was written anew.
func Verify(r io.Reader, known ...Head) (Head, error) {
	at := map[uint64]string{start.Seq: start.Hash}
	wanted := map[uint64]bool{}
	for _, k := range known {
		wanted[k.Seq] = true
	}
	head, err := Read(r, func(e Entry) error {
		if wanted[e.Seq-1] {
			at[e.Seq-1] = e.Prev
		}
		return nil
	})
	if err != nil {
		return head, err
	}
	at[head.Seq] = head.Hash
	for _, k := range known {
		switch hash, ok := at[k.Seq]; {
		case !ok:
			return head, &BrokenError{head.Seq, fmt.Sprintf("the log ends here, but had %d entries: its end was cut off", k.Seq)}
		case hash != k.Hash:
			return head, &BrokenError{k.Seq, fmt.Sprintf("this entry had the hash %.12s and now has %.12s: the log was written anew", k.Hash, hash)}
		}
	}
	return head, nil
}

// Memory is a log in memory, for tests and for runs that keep none. The zero
// value is empty and ready.
type Memory struct {
	// Now is the clock; nil is the system's.
	Now func() time.Time

	mu      sync.Mutex
	entries []Entry
	lines   []byte
	head    Head
}

// Append adds an entry.
func (m *Memory) Append(ctx context.Context, e Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.head.Seq == 0 {
		m.head = start
	}
	raw, sealed, head, err := seal(e, m.head, now())
	if err != nil {
		return err
	}
	m.entries, m.lines, m.head = append(m.entries, sealed), append(m.lines, raw...), head
	return nil
}

// Head returns the newest entry's number and hash.
func (m *Memory) Head(ctx context.Context) (Head, error) {
	if err := ctx.Err(); err != nil {
		return Head{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.head.Seq == 0 {
		return start, nil
	}
	return m.head, nil
}

// Reader returns the log as it is now, for [Read] and [Verify].
func (m *Memory) Reader(ctx context.Context) (io.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.NewReader(bytes.Clone(m.lines)), nil
}

// Entries returns what was appended so far.
func (m *Memory) Entries() []Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Entry(nil), m.entries...)
}

// Package audittest holds the tests that every audit log must pass, wherever
// it keeps its lines.
package audittest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/approvals/audit"
)

// Log is what all of them can do.
type Log interface {
	Append(ctx context.Context, e audit.Entry) error
	Head(ctx context.Context) (audit.Head, error)
	Reader(ctx context.Context) (io.Reader, error)
}

// Noon is the clock of the logs under test.
var Noon = time.Date(2026, 3, 4, 12, 0, 0, 123456789, time.UTC)

// Run runs the tests. open returns a new, empty log whose clock is Noon.
func Run(t *testing.T, open func(t *testing.T) Log) {
	for name, test := range map[string]func(*testing.T, Log){
		"Empty":            empty,
		"Chain":            chain,
		"Fields":           fields,
		"Unwritable":       unwritable,
		"Concurrently":     concurrently,
		"CancelledContext": cancelledContext,
		"IsAFile":          isAFile,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func appendTo(t *testing.T, l Log, details ...string) {
	t.Helper()
	for _, d := range details {
		if err := l.Append(t.Context(), audit.Entry{Kind: audit.Vote, Detail: d}); err != nil {
			t.Fatal(err)
		}
	}
}

func head(t *testing.T, l Log) audit.Head {
	t.Helper()
	h, err := l.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Content returns the log as it is.
func Content(t *testing.T, l Log) []byte {
	t.Helper()
	r, err := l.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Entries returns what is in a log that must hold together.
func Entries(t *testing.T, l Log) []audit.Entry {
	t.Helper()
	var out []audit.Entry
	if _, err := audit.Read(bytes.NewReader(Content(t, l)), func(e audit.Entry) error {
		out = append(out, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func empty(t *testing.T, l Log) {
	if h := head(t, l); h.Seq != 0 || h.Hash != strings.Repeat("0", 64) {
		t.Errorf("head %+v", h)
	}
	if b := Content(t, l); len(b) != 0 {
		t.Errorf("content %q", b)
	}
}

// Every head that was noted on the way is part of the log in the end.
func chain(t *testing.T, l Log) {
	noted := []audit.Head{head(t, l)}
	for i := range 5 {
		appendTo(t, l, fmt.Sprint(i))
		noted = append(noted, head(t, l))
	}
	got, err := audit.Verify(bytes.NewReader(Content(t, l)), noted...)
	if err != nil || got != noted[5] || got.Seq != 5 {
		t.Errorf("head %+v (%v), want %+v", got, err, noted[5])
	}
	noted[2].Hash = noted[3].Hash
	var broken *audit.BrokenError
	if _, err := audit.Verify(bytes.NewReader(Content(t, l)), noted[2]); !errors.As(err, &broken) {
		t.Errorf("a head that never was: %v", err)
	}
}

func fields(t *testing.T, l Log) {
	want := audit.Entry{
		Kind: audit.Grant, Case: "c", Run: "r", Digest: "d", Person: "ada", Surface: "slack", Account: "slack:T1/U1",
		Detail: "line\nfeed <&> \u2028 \x00 ü", Data: json.RawMessage(`{"a":[1,"x\ny"]}`),
	}
	if err := l.Append(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got := Entries(t, l)
	if len(got) != 1 || got[0].Seq != 1 || !got[0].At.Equal(Noon) || len(got[0].Prev) != 64 {
		t.Fatalf("entries %+v", got)
	}
	want.Seq, want.At, want.Prev = got[0].Seq, got[0].At, got[0].Prev
	if a, b := fmt.Sprintf("%+v", got[0]), fmt.Sprintf("%+v", want); a != b {
		t.Errorf("got\n%s, want\n%s", a, b)
	}
}

// What could not be read again is not written.
func unwritable(t *testing.T, l Log) {
	for name, e := range map[string]audit.Entry{
		"too long": {Kind: audit.Vote, Detail: strings.Repeat("x", 1<<20)},
		"no JSON":  {Kind: audit.Vote, Data: json.RawMessage("{")},
	} {
		if err := l.Append(t.Context(), e); err == nil {
			t.Errorf("%s: it was written", name)
		}
	}
	appendTo(t, l, strings.Repeat("x", 1<<19))
	if got := Entries(t, l); len(got) != 1 {
		t.Errorf("%d entries", len(got))
	}
}

func concurrently(t *testing.T, l Log) {
	const writers, each = 6, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := l.Append(t.Context(), audit.Entry{Kind: audit.Vote, Detail: fmt.Sprint(w, " ", i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, e := range Entries(t, l) {
		seen[e.Detail] = true
	}
	if len(seen) != writers*each || head(t, l).Seq != writers*each {
		t.Errorf("%d entries, head %+v", len(seen), head(t, l))
	}
}

func cancelledContext(t *testing.T, l Log) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Append(ctx, audit.Entry{Kind: audit.Vote}); !errors.Is(err, context.Canceled) {
		t.Errorf("Append: %v", err)
	}
	if _, err := l.Head(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Head: %v", err)
	}
	if _, err := l.Reader(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Reader: %v", err)
	}
	if b := Content(t, l); len(b) != 0 {
		t.Errorf("content %q", b)
	}
}

// What a log holds can be kept as a file and goes on as one.
func isAFile(t *testing.T, l Log) {
	appendTo(t, l, "one", "two")
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, Content(t, l), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := audit.Open(t.Context(), path, func() time.Time { return Noon })
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	appendTo(t, file, "three")
	if got := Entries(t, file); len(got) != 3 || got[2].Detail != "three" {
		t.Errorf("entries %+v", got)
	}
}

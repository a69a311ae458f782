// Package threadtest tests implementations of thread.Store.
package threadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"kgent/agent"
	"kgent/bot/card"
	"kgent/bot/thread"
)

// patience bounds every wait for something that must happen.
const patience = 2 * time.Minute

// Run tests stores that open makes: each call a new, empty one with this visibility. All
// take their time from now.
func Run(t *testing.T, now func() time.Time, open func(t *testing.T, visibility time.Duration) thread.Store) {
	for name, test := range map[string]func(*testing.T, thread.Store, func() time.Time){
		"inbox": inbox, "again": again, "requests": requests, "conversation": conversation, "race": race, "threads": threads,
		"outbox": outbox, "order": order, "whisper": whisper, "locks": locks,
	} {
		visibility := 2 * patience
		if name == "again" {
			visibility = 300 * time.Millisecond
		}
		t.Run(name, func(t *testing.T) { test(t, open(t, visibility), now) })
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func event(key string) thread.Event {
	return thread.Event{Key: key, Kind: thread.Ask, By: thread.Account{Surface: "slack", Tenant: "T", User: "U"}, Text: "words of " + key, Fields: map[string]string{"a": "b"},
		Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: "1"}, At: time.Unix(100, 0).UTC()}
}

// take waits for an event.
func take(t *testing.T, s thread.Store, worker string) thread.Delivery {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		d, found, err := s.Take(t.Context(), worker)
		ok(t, err)
		if found {
			return d
		}
		if time.Now().After(deadline) {
			t.Fatal("no event came")
		}
	}
}

func none(t *testing.T, s thread.Store) {
	t.Helper()
	if d, found, err := s.Take(t.Context(), "nobody"); err != nil || found {
		t.Fatalf("took %+v, %v; want nothing", d, err)
	}
}

// An event that is delivered several times is stored once, and taken by one.
func inbox(t *testing.T, s thread.Store, _ func() time.Time) {
	for range 4 {
		if _, err := s.Receive(t.Context(), event("e1")); err != nil {
			t.Fatal(err)
		}
	}
	if fresh := must[bool](t)(s.Receive(t.Context(), event("e1"))); fresh {
		t.Error("an event that is known is new")
	}
	if fresh := must[bool](t)(s.Receive(t.Context(), event("e2"))); !fresh {
		t.Error("a new event is known")
	}
	first, second := take(t, s, "a"), take(t, s, "b")
	if first.Event.Key != "e1" || second.Event.Key != "e2" || first.Tries != 1 || first.Event.Text != "words of e1" || first.Event.Fields["a"] != "b" || !first.Event.At.Equal(time.Unix(100, 0)) {
		t.Errorf("took %+v and %+v", first, second)
	}
	ok(t, s.Settle(t.Context(), first))
	ok(t, s.Bury(t.Context(), second, "why"))
	none(t, s)
	if must[bool](t)(s.Receive(t.Context(), event("e2"))) {
		t.Error("what was put aside is stored again")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Receive(ctx, event("e3")); err == nil {
		t.Error("stored for a caller that is gone")
	}
}

// An event that was taken and not settled comes again, and says so.
func again(t *testing.T, s thread.Store, _ func() time.Time) {
	must[bool](t)(s.Receive(t.Context(), event("e1")))
	if d := take(t, s, "dies"); d.Tries != 1 {
		t.Errorf("tries %d", d.Tries)
	}
	d := take(t, s, "lives")
	if d.Tries != 2 || d.Event.Key != "e1" {
		t.Errorf("took %+v", d)
	}
	ok(t, s.Settle(t.Context(), d))
	none(t, s)
}

func request(id string) thread.Request {
	return thread.Request{ID: id, Text: "t", State: thread.Preparing, Revision: 1, Opened: time.Unix(1000, 0).UTC(),
		Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: "1"}}
}

func message(key, text string, class thread.Class) thread.Message {
	return thread.Message{Key: key, Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C"}, Class: class,
		Card: card.Card{Title: text, Blocks: []card.Block{card.Note{Body: "n"}}}}
}

// Of changes to one version exactly one is taken, with its messages.
// What a conversation goes on from is kept whole: the program that was brought, what became
// of it and why, and which request it follows.
func conversation(t *testing.T, s thread.Store, _ func() time.Time) {
	ctx := t.Context()
	r := request("c1")
	r.Follows, r.Explain, r.Before = "c0", true, []string{"one", "two"}
	r.Program = &agent.Brought{Name: "my.bpf.c", Source: "int x; // \u202e é\n", Contract: "contract \"x\"", ELF: []byte{0x7f, 0, 0xff}}
	r.Said = &card.Card{Title: "What it does", Tone: card.Bad, Blocks: []card.Block{card.Fields{{Label: "Risk", Text: "observe"}}, card.List{Heading: "Does", Items: []string{"a", "b"}}, card.Text{Body: "x", Quoted: true}}}
	r.Refusal = &agent.Refusal{Gate: "symbolic", Holds: "that", Steps: []string{"one fires"}, Expected: "1", Got: "2", Line: "p.c:7", Programs: 3}
	must[thread.Request](t)(s.Update(ctx, r))
	got := must[thread.Request](t)(s.Load(ctx, "c1"))
	if got.Follows != "c0" || !got.Explain || !reflect.DeepEqual(got.Before, r.Before) || !reflect.DeepEqual(got.Program, r.Program) ||
		!reflect.DeepEqual(got.Said, r.Said) || !reflect.DeepEqual(got.Refusal, r.Refusal) {
		t.Errorf("loaded %+v", got)
	}
	// What comes out shares nothing with what is kept.
	got.Program.Source, got.Before[0] = "changed", "changed"
	again := must[thread.Request](t)(s.Load(ctx, "c1"))
	if again.Program.Source != r.Program.Source || again.Before[0] != "one" {
		t.Error("a change of what was loaded is kept")
	}
}

func requests(t *testing.T, s thread.Store, now func() time.Time) {
	ctx := t.Context()
	if _, err := s.Load(ctx, "r1"); !errors.Is(err, thread.ErrNotFound) {
		t.Errorf("loading nothing: %v", err)
	}
	missing := request("r1")
	missing.Version = 3
	if _, err := s.Update(ctx, missing, message("m", "never", thread.Urgent)); !errors.Is(err, thread.ErrNotFound) {
		t.Errorf("changing nothing: %v", err)
	}
	r := must[thread.Request](t)(s.Update(ctx, request("r1"), message("m", "one", thread.Urgent)))
	if r.Version != 1 {
		t.Errorf("version %d", r.Version)
	}
	if _, err := s.Update(ctx, request("r1"), message("m", "never", thread.Urgent)); !errors.Is(err, thread.ErrConflict) {
		t.Errorf("storing it twice: %v", err)
	}
	r.State, r.Text = thread.Pending, "changed"
	stale := r
	r = must[thread.Request](t)(s.Update(ctx, r))
	if _, err := s.Update(ctx, stale, message("m", "never", thread.Urgent)); !errors.Is(err, thread.ErrConflict) {
		t.Errorf("changing an old version: %v", err)
	}
	got := must[thread.Request](t)(s.Load(ctx, "r1"))
	if got.Version != 2 || got.Text != "changed" || got.State != thread.Pending || !got.Opened.Equal(r.Opened) {
		t.Errorf("loaded %+v", got)
	}
	due := must[[]thread.Message](t)(s.Due(ctx, "slack", now(), 10))
	if len(due) != 1 || due[0].Card.Title != "one" || due[0].Version != 1 {
		t.Errorf("due %+v", due)
	}
	must[thread.Request](t)(s.Update(ctx, request("r2")))
	open := must[[]string](t)(s.Open(ctx))
	if len(open) != 2 {
		t.Errorf("open %v", open)
	}
	got.State = thread.Ended
	must[thread.Request](t)(s.Update(ctx, got))
	if open = must[[]string](t)(s.Open(ctx)); !slices.Equal(open, []string{"r2"}) {
		t.Errorf("open %v", open)
	}
	if recent := must[[]string](t)(s.Recent(ctx, 1)); len(recent) != 1 {
		t.Errorf("recent %v", recent)
	}
	if recent := must[[]string](t)(s.Recent(ctx, 10)); len(recent) != 2 {
		t.Errorf("recent %v", recent)
	}
}

// Many at once: every change is taken once, none is lost.
func race(t *testing.T, s thread.Store, _ func() time.Time) {
	must[thread.Request](t)(s.Update(t.Context(), request("r")))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for {
				r, err := s.Load(t.Context(), "r")
				if err == nil {
					r.Handled = append(r.Handled, fmt.Sprint(i))
					_, err = s.Update(t.Context(), r)
				}
				if errors.Is(err, thread.ErrConflict) {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	wg.Wait()
	r := must[thread.Request](t)(s.Load(t.Context(), "r"))
	slices.Sort(r.Handled)
	if !slices.Equal(r.Handled, []string{"0", "1", "2", "3", "4", "5", "6", "7"}) || r.Version != 9 {
		t.Errorf("handled %v, version %d", r.Handled, r.Version)
	}
}

// Requests are found by their thread, also those whose thread came to be after
// them.
func threads(t *testing.T, s thread.Store, _ func() time.Time) {
	a, b, c := request("a"), request("b"), request("c")
	b.Opened = a.Opened.Add(time.Second)
	c.Place.Thread, c.Root = "", "root:c"
	for _, r := range []thread.Request{a, b, c} {
		must[thread.Request](t)(s.Update(t.Context(), r))
	}
	if ids := must[[]string](t)(s.In(t.Context(), a.Place)); !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("in the thread: %v", ids)
	}
	hung := c.Place
	hung.Thread = "77"
	if ids := must[[]string](t)(s.In(t.Context(), hung)); len(ids) != 0 {
		t.Errorf("in a thread that is none yet: %v", ids)
	}
	ok(t, s.Hang(t.Context(), "root:c", hung))
	if ids := must[[]string](t)(s.In(t.Context(), hung)); !slices.Equal(ids, []string{"c"}) {
		t.Errorf("in the thread that hangs: %v", ids)
	}
}

// A message is due until it is sent as it is; the newest content wins.
func outbox(t *testing.T, s thread.Store, now func() time.Time) {
	ctx := t.Context()
	due := func(at time.Time) []thread.Message {
		t.Helper()
		return must[[]thread.Message](t)(s.Due(ctx, "slack", at, 10))
	}
	m := message("m", "one", thread.Progress)
	m.Files = []thread.File{{Name: "f", Data: []byte{0, 1, 255}, Picture: true}}
	ok(t, s.Put(ctx, m))
	ok(t, s.Put(ctx, m)) // the same again is nothing new
	got := due(now())
	if len(got) != 1 || got[0].Version != 1 || got[0].Tried || got[0].Handle != (thread.Handle{}) || !bytes.Equal(got[0].Files[0].Data, []byte{0, 1, 255}) {
		t.Fatalf("due %+v", got)
	}
	if other := must[[]thread.Message](t)(s.Due(ctx, "discord", now(), 10)); len(other) != 0 {
		t.Errorf("due elsewhere: %+v", other)
	}
	ok(t, s.Trying(ctx, "m"))
	if got = due(now()); !got[0].Tried {
		t.Error("nobody knows that it was tried")
	}
	// It changes while it is on its way: it is to be edited.
	m.Card.Title = "two"
	ok(t, s.Put(ctx, m))
	h := thread.Handle{Channel: "C", ID: "5"}
	ok(t, s.Sent(ctx, "m", 1, h))
	got = due(now())
	if len(got) != 1 || got[0].Version != 2 || got[0].Handle != h || got[0].Tried || got[0].Card.Title != "two" {
		t.Fatalf("due %+v", got)
	}
	later := now().Add(time.Minute)
	ok(t, s.Defer(ctx, "m", thread.Again{At: later, Tried: true}))
	if got = due(now()); len(got) != 0 {
		t.Errorf("due before its time: %+v", got)
	}
	if got = due(later); len(got) != 1 || got[0].Tries != 1 || !got[0].Tried {
		t.Errorf("due %+v", got)
	}
	ok(t, s.Defer(ctx, "m", thread.Again{At: now(), Free: true, Lost: true}))
	if got = due(now()); len(got) != 1 || got[0].Tries != 1 || !got[0].Anew || got[0].Handle != h || got[0].Tried {
		t.Errorf("due %+v", got)
	}
	ok(t, s.Sent(ctx, "m", 2, h))
	if got = due(later); len(got) != 0 {
		t.Errorf("due although sent: %+v", got)
	}
	if stored := must[thread.Message](t)(s.Message(ctx, "m")); stored.Handle != h || stored.Anew || stored.Version != 2 || len(stored.Files) != 0 {
		t.Errorf("stored %+v", stored)
	}
	ok(t, s.Put(ctx, m))
	if got = due(later); len(got) != 0 {
		t.Errorf("the same again is due: %+v", got)
	}
	m.Card.Title = "three"
	ok(t, s.Put(ctx, m))
	ok(t, s.Drop(ctx, "m", 3))
	if got = due(later); len(got) != 0 {
		t.Errorf("due although given up: %+v", got)
	}
	// An edit that arrives late puts an old version there: the newest is due.
	m.Card.Title = "four"
	ok(t, s.Put(ctx, m))
	ok(t, s.Sent(ctx, "m", 4, h))
	ok(t, s.Sent(ctx, "m", 3, h))
	if got = due(later); len(got) != 1 || got[0].Version != 4 {
		t.Errorf("after a late edit is due: %+v", got)
	}
	ok(t, s.Sent(ctx, "m", 4, h))
	// One that was given up before it was ever posted is known for that, until
	// there is something new to say.
	never := message("never", "one", thread.Urgent)
	ok(t, s.Put(ctx, never))
	ok(t, s.Drop(ctx, "never", 1))
	if stored := must[thread.Message](t)(s.Message(ctx, "never")); !stored.Gone {
		t.Errorf("given up: %+v", stored)
	}
	never.Card.Title = "two"
	ok(t, s.Put(ctx, never))
	if stored := must[thread.Message](t)(s.Message(ctx, "never")); stored.Gone {
		t.Errorf("asked for again: %+v", stored)
	}
	for name, err := range map[string]error{
		"Trying": s.Trying(ctx, "no"), "Sent": s.Sent(ctx, "no", 1, h), "Defer": s.Defer(ctx, "no", thread.Again{}), "Drop": s.Drop(ctx, "no", 1),
	} {
		if !errors.Is(err, thread.ErrNotFound) {
			t.Errorf("%s of nothing: %v", name, err)
		}
	}
}

// The most urgent goes first, then what waits longest.
func order(t *testing.T, s thread.Store, now func() time.Time) {
	for _, m := range []thread.Message{message("tail", "x", thread.Tail), message("a", "x", thread.Result), message("stop", "x", thread.Urgent), message("p", "x", thread.Progress)} {
		ok(t, s.Put(t.Context(), m))
	}
	keys := func(n int) (out []string) {
		for _, m := range must[[]thread.Message](t)(s.Due(t.Context(), "slack", now(), n)) {
			out = append(out, m.Key)
		}
		return out
	}
	if got := keys(10); !slices.Equal(got, []string{"stop", "a", "p", "tail"}) {
		t.Errorf("order %v", got)
	}
	if got := keys(2); !slices.Equal(got, []string{"stop", "a"}) {
		t.Errorf("the first two: %v", got)
	}
}

// What one person alone saw is forgotten.
func whisper(t *testing.T, s thread.Store, now func() time.Time) {
	m := message("w", "psst", thread.Urgent)
	m.Only, m.Reply = "U1", "token"
	ok(t, s.Put(t.Context(), m))
	got := must[[]thread.Message](t)(s.Due(t.Context(), "slack", now(), 10))
	if len(got) != 1 || got[0].Only != "U1" || got[0].Reply != "token" {
		t.Fatalf("due %+v", got)
	}
	ok(t, s.Sent(t.Context(), "w", 1, thread.Handle{}))
	if _, err := s.Message(t.Context(), "w"); !errors.Is(err, thread.ErrNotFound) {
		t.Errorf("it is still stored: %v", err)
	}
}

// A lock has one owner until it is given back or its time is over.
func locks(t *testing.T, s thread.Store, _ func() time.Time) {
	ctx := t.Context()
	lock := func(owner string, ttl time.Duration) bool {
		t.Helper()
		return must[bool](t)(s.Lock(ctx, "l", owner, ttl))
	}
	if !lock("a", time.Minute) || lock("b", time.Minute) || !lock("a", time.Minute) {
		t.Error("a lock has two owners or none")
	}
	ok(t, s.Unlock(ctx, "l", "b"))
	if lock("b", time.Minute) {
		t.Error("somebody else gave it back")
	}
	ok(t, s.Unlock(ctx, "l", "a"))
	if !lock("b", 50*time.Millisecond) {
		t.Error("nobody has it, and it is not to be had")
	}
	for deadline := time.Now().Add(patience); !lock("c", time.Minute); {
		if time.Now().After(deadline) {
			t.Fatal("a lock whose owner is gone is never free")
		}
	}
}

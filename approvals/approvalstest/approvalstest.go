// Package approvalstest helps to test what has to do with approvals: it
// compiles small programs of known risk, and holds the tests that every
// [approvals.Store] must pass.
package approvalstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/executor/job"
)

// Programs in C, one for each tier.
const (
	Observing = `__attribute__((section("raw_tp/sys_enter"), used)) int watch(void *ctx) { return 0; }`
	Sensitive = `static long (*const probe_read_user)(void *, unsigned, const void *) = (void *)112;
__attribute__((section("raw_tp/sys_enter"), used)) int peek(void *ctx) { char b[8]; return probe_read_user(b, 8, ctx); }`
	Acting = `static long (*const send_signal)(unsigned) = (void *)109;
__attribute__((section("raw_tp/sys_enter"), used)) int kill(void *ctx) { return send_signal(9); }`
)

// Compile returns the program that clang makes of a source without any
// header; it needs clang-19. The license is added.
func Compile(t testing.TB, source string) job.Program {
	t.Helper()
	cmd := exec.Command("clang-19", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-x", "c", "-c", "-o", "-", "-")
	cmd.Stdin = strings.NewReader(source + "\n__attribute__((section(\"license\"), used)) char LICENSE[] = \"GPL\";\n")
	var elf, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &elf, &msg
	if err := cmd.Run(); err != nil {
		t.Fatalf("compiling a test program (needs the package clang-19): %v\n%s", err, msg.Bytes())
	}
	o, err := program.Parse(elf.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	m, err := program.Build(o, program.Options{Name: "test", Title: "a test", Interface: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return job.Program{ELF: elf.Bytes(), Manifest: raw}
}

// Store runs the tests that a store must pass. open returns a new, empty
// store for each test.
func Store(t *testing.T, open func(t *testing.T) approvals.Store) {
	for name, test := range map[string]func(*testing.T, approvals.Store){
		"CreateAndGet":       createAndGet,
		"CreateTwice":        createTwice,
		"NotFound":           notFound,
		"Swap":               swap,
		"SwapOld":            swapOld,
		"SwapConcurrently":   swapConcurrently,
		"Copies":             copies,
		"Undecided":          undecided,
		"CancelledContext":   cancelledContext,
		"DecideConcurrently": decideConcurrently,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var opened = time.Date(2026, 3, 4, 12, 0, 0, 123456789, time.UTC)

// full is a case with every field set.
func full(id string) approvals.Case {
	return approvals.Case{
		ID: id, Revision: 2, Revises: "before", Digest: strings.Repeat("ab", 32), Tier: approvals.Act, Why: []string{"sends signals"},
		Nodes: []string{"db-3", "db-4"}, Limits: job.Limits{Duration: time.Minute, EventsPerSecond: 5},
		Requester: approvals.Person{ID: "ada", Surface: "terminal", Account: "terminal:host/ada", Place: "slack:T1/C1", Message: "m1", Human: true}, Authors: []approvals.Person{{ID: "ada", Account: "terminal:host/ada"}}, Next: "after", Glass: true,
		Ruling: approvals.Ruling{Policy: "p@1", Quorum: 2, Self: true, Approvers: "all", MaxDuration: time.Hour, MaxEvents: 9, Expiry: time.Minute},
		State:  approvals.Approved, Reason: "because", By: "bob",
		Votes:  []approvals.Vote{{By: approvals.Person{ID: "bob", Surface: "slack", Human: true}, Choice: approvals.Approve, Reason: "ok <&>\u2028", At: opened}},
		Opened: opened, Expires: opened.Add(time.Minute), Decided: opened.Add(time.Second),
		Grant: &job.Grant{Version: 1, ID: "g", Run: "r", Nodes: []string{"db-3"}, Approval: job.Approval{Approvers: []job.Person{{ID: "bob", At: opened}}}, NotBefore: opened},
	}
}

func pending(id string, at time.Time) approvals.Case {
	return approvals.Case{ID: id, State: approvals.Pending, Opened: at, Expires: at.Add(time.Minute), Tier: approvals.Observe}
}

func create(t *testing.T, s approvals.Store, c approvals.Case) {
	t.Helper()
	if err := s.Create(t.Context(), c, job.Program{ELF: []byte(c.ID)}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s approvals.Store, id string) approvals.Case {
	t.Helper()
	c, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func createAndGet(t *testing.T, s approvals.Store) {
	want := full("a")
	p := job.Program{ELF: []byte{0, 1, 0xff}, Manifest: []byte("{}"), Contract: []byte("c")}
	if err := s.Create(t.Context(), want, p); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, "a"); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
	got, err := s.Program(t.Context(), "a")
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("program %q (%v), want %q", got, err, p)
	}
}

func createTwice(t *testing.T, s approvals.Store) {
	create(t, s, full("a"))
	if err := s.Create(t.Context(), pending("a", opened), job.Program{}); !errors.Is(err, approvals.ErrExists) {
		t.Errorf("error %v, want ErrExists", err)
	}
	if got := get(t, s, "a"); got.State != approvals.Approved {
		t.Errorf("the first case was replaced by %+v", got)
	}
}

func notFound(t *testing.T, s approvals.Store) {
	create(t, s, full("a"))
	if c, err := s.Get(t.Context(), "b"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Get: %+v, error %v, want ErrNotFound", c, err)
	}
	if _, err := s.Program(t.Context(), "b"); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Program: error %v, want ErrNotFound", err)
	}
	if err := s.Swap(t.Context(), full("b")); !errors.Is(err, approvals.ErrNotFound) {
		t.Errorf("Swap: error %v, want ErrNotFound", err)
	}
}

func swap(t *testing.T, s approvals.Store) {
	create(t, s, pending("a", opened))
	c := get(t, s, "a")
	for i := range 3 {
		c.Reason = fmt.Sprint(i)
		if err := s.Swap(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		next := get(t, s, "a")
		if next.Version != c.Version+1 || next.Reason != c.Reason {
			t.Fatalf("stored %+v after %+v", next, c)
		}
		c = next
	}
	if p, err := s.Program(t.Context(), "a"); err != nil || string(p.ELF) != "a" {
		t.Errorf("program %q (%v) after swaps", p, err)
	}
}

func swapOld(t *testing.T, s approvals.Store) {
	create(t, s, pending("a", opened))
	old := get(t, s, "a")
	first := old
	first.State = approvals.Denied
	if err := s.Swap(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint64{old.Version, old.Version + 2} {
		late := old
		late.State, late.Version = approvals.Approved, version
		if err := s.Swap(t.Context(), late); !errors.Is(err, approvals.ErrConflict) {
			t.Errorf("version %d: error %v, want ErrConflict", version, err)
		}
	}
	if got := get(t, s, "a"); got.State != approvals.Denied {
		t.Errorf("state %s", got.State)
	}
}

func swapConcurrently(t *testing.T, s approvals.Store) {
	create(t, s, pending("a", opened))
	c := get(t, s, "a")
	errs := together(16, func(i int) error {
		c := c
		c.By = fmt.Sprint(i)
		return s.Swap(t.Context(), c)
	})
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won >= 0:
			t.Errorf("both %d and %d replaced the same version", won, i)
		case err == nil:
			won = i
		case !errors.Is(err, approvals.ErrConflict):
			t.Error(err)
		}
	}
	if got := get(t, s, "a"); got.By != fmt.Sprint(won) {
		t.Errorf("stored by %s, won by %d", got.By, won)
	}
}

// together calls do n times at once and returns what came of it.
func together(n int, do func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// What a caller does to a case it gave or got is not seen by anybody else.
func copies(t *testing.T, s approvals.Store) {
	c := full("a")
	p := job.Program{ELF: []byte("elf")}
	if err := s.Create(t.Context(), c, p); err != nil {
		t.Fatal(err)
	}
	spoil := func(c approvals.Case) {
		c.Nodes[0], c.Why[0], c.Authors[0], c.Votes[0].Reason = "x", "x", approvals.Person{ID: "x"}, "x"
		c.Grant.Nodes[0], c.Grant.Approval.Approvers[0].ID, c.Grant.ID = "x", "x", "x"
	}
	spoil(c)
	p.ELF[0] = 'x'
	spoil(get(t, s, "a"))
	if got := get(t, s, "a"); !reflect.DeepEqual(got, full("a")) {
		t.Errorf("the stored case became %+v", got)
	}
	got, err := s.Program(t.Context(), "a")
	if err != nil || string(got.ELF) != "elf" {
		t.Fatalf("the stored program became %q (%v)", got.ELF, err)
	}
	swapped := full("a")
	if err := s.Swap(t.Context(), swapped); err != nil {
		t.Fatal(err)
	}
	spoil(swapped)
	if got := get(t, s, "a"); got.Nodes[0] != "db-3" || got.Grant.ID != "g" {
		t.Errorf("the swapped case became %+v", got)
	}
}

func undecided(t *testing.T, s approvals.Store) {
	if list, err := s.Undecided(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("an empty store has %v (%v)", list, err)
	}
	granted, approved := full("granted"), full("approved")
	approved.Grant = nil
	approved.Opened = opened.Add(time.Minute)
	denied := pending("denied", opened)
	denied.State = approvals.Denied
	create(t, s, pending("late", opened.Add(time.Hour)))
	create(t, s, granted)
	create(t, s, denied)
	create(t, s, pending("early", opened))
	create(t, s, approved)
	check := func(want string) {
		t.Helper()
		list, err := s.Undecided(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, c := range list {
			ids = append(ids, c.ID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("undecided: %s, want %s", got, want)
		}
	}
	check("early approved late")
	c := get(t, s, "early")
	c.State = approvals.Cancelled
	if err := s.Swap(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	check("approved late")
}

func cancelledContext(t *testing.T, s approvals.Store) {
	create(t, s, pending("a", opened))
	c := get(t, s, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := s.Get(ctx, "a")
	_, programErr := s.Program(ctx, "a")
	_, listErr := s.Undecided(ctx)
	for what, err := range map[string]error{
		"Create": s.Create(ctx, pending("b", opened), job.Program{}), "Get": getErr, "Program": programErr,
		"Swap": s.Swap(ctx, c), "Undecided": listErr,
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want context.Canceled", what, err)
		}
	}
}

// everybody is a policy under which anybody may approve.
type everybody struct{ quorum int }

func (e everybody) Judge(context.Context, approvals.Case) (approvals.Ruling, error) {
	return approvals.Ruling{Policy: "everybody", Quorum: e.quorum, MaxDuration: time.Hour, MaxEvents: 1000, Expiry: time.Hour}, nil
}

func (everybody) MayApprove(context.Context, approvals.Case, approvals.Person) error { return nil }

func (everybody) BreakGlass(context.Context, approvals.Case, approvals.Person) (approvals.Ruling, error) {
	return approvals.Ruling{}, &approvals.RefusedError{Rule: approvals.RuleGlass, Reason: "nobody"}
}

func (everybody) Compare(a, b approvals.Person) approvals.Likeness {
	return approvals.Local{}.Compare(a, b)
}

// Many people answer at once, twice each, over two desks that share the store;
// then all of them want the grant.
func decideConcurrently(t *testing.T, s approvals.Store) {
	const quorum, people = 3, 8
	key, err := approvals.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	log := &audit.Memory{}
	var desks [2]*approvals.Desk
	for i := range desks {
		desks[i] = &approvals.Desk{Store: s, Policy: everybody{quorum}, Signer: key, Audit: log, Now: time.Now, Random: rand.Reader}
	}
	cand := approvals.Candidate{
		Proved:  true,
		Program: Compile(t, Observing), Nodes: []string{"a"}, Limits: job.Limits{Duration: time.Second, EventsPerSecond: 1},
		Tier: approvals.Observe, Requester: approvals.Person{ID: "ada", Surface: "test", Human: true},
	}
	if cand.Digest, err = job.DigestOf(cand.Program, cand.Nodes, cand.Limits); err != nil {
		t.Fatal(err)
	}
	c, err := desks[0].Open(t.Context(), cand)
	if err != nil {
		t.Fatal(err)
	}
	errs := together(2*people, func(i int) error {
		_, err := desks[i%2].Decide(t.Context(), c.ID, approvals.Vote{
			By: approvals.Person{ID: fmt.Sprint("p", i/2), Surface: "test", Human: true}, Choice: approvals.Approve})
		return err
	})
	taken := 0
	for _, err := range errs {
		var refused *approvals.RefusedError
		var stale *approvals.StaleError
		switch {
		case err == nil:
			taken++
		case errors.As(err, &refused) && refused.Rule == approvals.RuleTwice:
		case errors.As(err, &stale) && stale.State == approvals.Approved:
		default:
			t.Error(err)
		}
	}
	got := get(t, s, c.ID)
	if taken != quorum || got.State != approvals.Approved || len(got.Approvals(false)) != quorum {
		t.Errorf("%d answers taken, %d counted, state %s", taken, len(got.Approvals(false)), got.State)
	}
	granted := 0
	for _, err := range together(6, func(i int) error {
		_, _, err := desks[i%2].Grant(t.Context(), c.ID)
		return err
	}) {
		if err == nil {
			granted++
		} else if !errors.Is(err, approvals.ErrGranted) {
			t.Error(err)
		}
	}
	if granted != 1 {
		t.Errorf("granted %d times", granted)
	}
}

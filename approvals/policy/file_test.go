package policy_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/approvals"
	"kgent/approvals/policy"
)

// watched is a log that tests read while others write.
type watched struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func openFile(t *testing.T, text string) (*policy.File, string, *watched) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, path, text)
	log := &watched{}
	f, err := policy.Open(path, policy.Options{Groups: sre(), Labels: nodes, Quotas: &policy.MemoryQuotas{},
		Now: func() time.Time { return noon }, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return f, path, log
}

// A decision looks up the labels of all its nodes at once, and only once.
func TestLabelsLookedUpOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, path, upkeep+team)
	var asked [][]string
	f, err := policy.Open(path, policy.Options{Groups: sre(), Quotas: &policy.MemoryQuotas{}, Now: func() time.Time { return noon },
		Labels: func(ctx context.Context, names []string) (map[string]map[string]string, error) {
			asked = append(asked, names)
			return nodes(ctx, names)
		}})
	if err != nil {
		t.Fatal(err)
	}
	both := []string{"prod-1", "prod-2"}
	c := ask(approvals.Act, "slack:T1/UADA", both...)
	for what, decide := range map[string]func() error{
		"Judge":       func() error { _, err := f.Judge(t.Context(), c); return err },
		"BreakGlass":  func() error { _, err := f.BreakGlass(t.Context(), c, by("slack:T1/UBOB")); return err },
		"MayMaintain": func() error { _, err := f.MayMaintain(t.Context(), by("slack:T1/UADA"), both, false); return err },
	} {
		asked = nil
		if err := decide(); err != nil || !reflect.DeepEqual(asked, [][]string{both}) {
			t.Errorf("%s: %v; asked for %q", what, err, asked)
		}
	}
}

func TestFile(t *testing.T) {
	f, path, log := openFile(t, team)
	c := ask(approvals.Observe, "slack:T1/UADA", "prod-1")
	first, err := f.Judge(t.Context(), c)
	if err != nil || first.Quorum != 2 {
		t.Fatalf("%+v (%v)", first, err)
	}
	// A change takes effect with the next question.
	write(t, path, strings.Replace(team, "max_events: 500", "max_events: 400", 1))
	second, err := f.Judge(t.Context(), c)
	if err != nil || second.MaxEvents != 400 || second.Policy == first.Policy {
		t.Errorf("%+v (%v)", second, err)
	}
	if !strings.Contains(log.String(), second.Policy) {
		t.Errorf("log %s", log)
	}
	// A decision that has begun goes on with what it began with.
	current, err := f.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, team)
	if r, err := current.Judge(t.Context(), c); err != nil || r.Policy != second.Policy {
		t.Errorf("%+v (%v)", r, err)
	}
	if r, err := f.Judge(t.Context(), c); err != nil || r.Policy != first.Policy {
		t.Errorf("%+v (%v)", r, err)
	}
	// A file that took its place, as in a mounted configuration.
	other := filepath.Join(t.TempDir(), "other.yaml")
	write(t, other, strings.Replace(team, "max_events: 500", "max_events: 300", 1))
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	if r, err := f.Judge(t.Context(), c); err != nil || r.MaxEvents != 300 {
		t.Errorf("%+v (%v)", r, err)
	}
}

// A change shows although size and time of modification are as they were.
func TestFileOfSameTime(t *testing.T) {
	f, path, _ := openFile(t, team)
	c := ask(approvals.Observe, "slack:T1/UADA", "prod-1")
	if _, err := f.Judge(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.Replace(team, "max_events: 500", "max_events: 400", 1))
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if r, err := f.Judge(t.Context(), c); err != nil || r.MaxEvents != 400 {
		t.Errorf("%+v (%v)", r, err)
	}
}

func TestBrokenFile(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"unknown key": func(t *testing.T, path string) { write(t, path, strings.Replace(team, "quorum: 2", "qorum: 2", 1)) },
		"empty":       func(t *testing.T, path string) { write(t, path, "") },
		"gone": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"a directory": func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, path, log := openFile(t, team)
			spoil(t, path)
			c := ask(approvals.Observe, "slack:T1/UADA", "prod-1")
			ada, stranger := by("slack:T1/UADA"), by("slack:T1/UADA")
			stranger.Human = false
			judge := func() error { _, err := f.Judge(t.Context(), c); return err }
			for what, err := range map[string]error{
				"Judge": judge(), "MayApprove": f.MayApprove(t.Context(), c, by("discord:G1/3")), "MayRequest": f.MayRequest(t.Context(), ada, "1"),
				"BreakGlass": func() error { _, err := f.BreakGlass(t.Context(), c, ada); return err }(),
				"Current":    func() error { _, err := f.Current(t.Context()); return err }(),
				"Ask":        func() error { _, err := f.Ask(t.Context(), c); return err }(),
				"Loud":       func() error { _, err := f.Loud(t.Context(), c); return err }(),
				"MayRun":     f.MayRun(t.Context(), c),
				"RunEnded":   f.RunEnded(t.Context(), c),
			} {
				if ruleOf(err) != "policy" {
					t.Errorf("%s: %v", what, err)
				}
			}
			if f.Compare(ada, by("discord:G1/3")) != approvals.Unclear {
				t.Error("people are told apart without a table")
			}
			if id, linked := f.Person("slack:T1/UADA"); id != "slack:T1/UADA" || linked {
				t.Errorf("person %s, %v", id, linked)
			}
			// Stopping goes on.
			if err := f.MayStop(ada); err != nil {
				t.Error(err)
			}
			if err := f.MayStop(stranger); ruleOf(err) != "human" {
				t.Errorf("a bot stops: %v", err)
			}
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
				t.Errorf("logged %d times: %s", n, log)
			}
			// Mended.
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, team)
			if err := judge(); err != nil {
				t.Error(err)
			}
		})
	}
	// One that is broken from the start is not opened.
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, path, "version: 1\n")
	var problems policy.Problems
	if _, err := policy.Open(path, policy.Options{}); !errors.As(err, &problems) || len(problems) == 0 {
		t.Errorf("error %v", err)
	}
}

func TestWatch(t *testing.T) {
	f, path, log := openFile(t, team)
	tick, done := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(done)
		f.Watch(t.Context(), tick)
	}()
	write(t, path, "broken")
	tick <- noon
	tick <- noon // the first has been dealt with
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("log %s", log)
	}
	close(tick)
	<-done
}

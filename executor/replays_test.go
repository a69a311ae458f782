package executor

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/executor/job"
)

func openReplays(t *testing.T, path string, now func() time.Time) *FileReplays {
	t.Helper()
	r, err := OpenReplays(path, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func claim(t *testing.T, r job.Replays, id string, until time.Time, want bool) {
	t.Helper()
	got, err := r.Claim(id, until)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("claiming %s: %v, want %v", id, got, want)
	}
}

func TestReplays(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 123, time.UTC)
	for name, open := range map[string]func(t *testing.T, now func() time.Time) job.Replays{
		"memory": func(t *testing.T, now func() time.Time) job.Replays { return NewMemoryReplays(now) },
		"file": func(t *testing.T, now func() time.Time) job.Replays {
			return openReplays(t, filepath.Join(t.TempDir(), "used"), now)
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := start
			r := open(t, func() time.Time { return now })
			claim(t, r, "a", start.Add(time.Minute), true)
			claim(t, r, "a", start.Add(time.Minute), false)
			claim(t, r, "b", start.Add(2*replaysKept), true)
			now = start.Add(time.Minute + replaysKept)
			claim(t, r, "a", now.Add(time.Minute), false) // a clock set back must not make it new
			now = start.Add(time.Minute + replaysKept + 2*time.Second)
			claim(t, r, "c", now.Add(time.Minute), true)
			claim(t, r, "a", now.Add(time.Minute), true) // forgotten: a verifier refuses it as expired
			claim(t, r, "b", now.Add(time.Minute), false)
		})
	}
}

// Of several at once exactly one gets it.
func TestReplaysAtOnce(t *testing.T) {
	for name, r := range map[string]job.Replays{
		"memory": NewMemoryReplays(time.Now),
		"file":   openReplays(t, filepath.Join(t.TempDir(), "used"), time.Now),
	} {
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[string]int{}
		for range 8 {
			wg.Go(func() {
				for i := range 20 {
					id := fmt.Sprint(i)
					ok, err := r.Claim(id, time.Now().Add(time.Minute))
					if err != nil {
						t.Error(err)
					}
					if ok {
						mu.Lock()
						got[id]++
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		for id, n := range got {
			if n != 1 {
				t.Errorf("%s: %s was given %d times", name, id, n)
			}
		}
		if len(got) != 20 {
			t.Errorf("%s: %d were given", name, len(got))
		}
	}
}

func TestReplaysSurviveRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "used")
	now := time.Now()
	clock := func() time.Time { return now }
	r := openReplays(t, path, clock)
	claim(t, r, "short", now.Add(time.Minute), true)
	claim(t, r, "long", now.Add(2*time.Hour), true)
	if _, err := OpenReplays(path, clock); err == nil || !strings.Contains(err.Error(), "in use by another executor") {
		t.Errorf("opening it twice: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("closing it twice: %v", err)
	}
	if ok, err := r.Claim("x", now); ok || err == nil {
		t.Errorf("claiming on a closed one: %v, %v", ok, err)
	}
	now = now.Add(30 * time.Minute)
	r = openReplays(t, path, clock)
	claim(t, r, "short", now.Add(time.Minute), false)
	claim(t, r, "long", now.Add(time.Minute), false)
	r.Close()
	now = now.Add(time.Hour)
	r = openReplays(t, path, clock)
	claim(t, r, "short", now.Add(time.Minute), true)
	claim(t, r, "long", now.Add(time.Minute), false)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// A file as a power cut, a full disk or a stranger leaves it.
func TestReplaysOpen(t *testing.T) {
	until := time.Now().Add(time.Hour).Unix()
	whole := fmt.Sprintf("aa %d\nbb %d\n", until, until)
	for _, test := range []struct {
		name, content string
		ok            bool
		known         string
	}{
		{"empty", "", true, ""},
		{"whole", whole, true, "aa bb"},
		{"torn in the id", whole + "c", true, "aa bb"},
		{"torn in the time", whole + "cc 17", true, "aa bb"},
		{"torn before its newline", whole + fmt.Sprintf("cc %d", until), true, "aa bb"},
		{"torn, zeroes", whole + "\x00\x00\x00\x00", true, "aa bb"},
		{"only torn", "aa 1", true, ""},
		{"a line that nobody wrote", "hello\n" + whole, false, ""},
		{"a time that is none", "aa soon\n", false, ""},
		{"an empty line", whole + "\n", false, ""},
		{"three words", "aa 1 2\n", false, ""},
		{"zeroes in the middle", "\x00\x00\n" + whole, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "used")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := OpenReplays(path, time.Now)
			if !test.ok {
				if err == nil {
					t.Fatal("it opens")
				}
				if b, err := os.ReadFile(path); err != nil || string(b) != test.content {
					t.Errorf("it was changed to %q, %v", b, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			claim(t, r, "cc", time.Now().Add(time.Hour), true)
			r.Close()
			r = openReplays(t, path, time.Now)
			for _, id := range append(strings.Fields(test.known), "cc") {
				claim(t, r, id, time.Now(), false)
			}
		})
	}
	if _, err := OpenReplays(filepath.Join(t.TempDir(), "no", "such", "dir"), time.Now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that does not exist: %v", err)
	}
}

func TestReplaysBadID(t *testing.T) {
	r := openReplays(t, filepath.Join(t.TempDir(), "used"), time.Now)
	for _, id := range []string{"", "a b", "a\nb", "a\x00"} {
		if ok, err := r.Claim(id, time.Now()); ok || err == nil {
			t.Errorf("%q: %v, %v", id, ok, err)
		}
	}
}

// The file does not grow with the grants that were ever used.
func TestReplaysForget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "used")
	now := time.Now()
	r := openReplays(t, path, func() time.Time { return now })
	for i := range 3000 {
		now = now.Add(time.Minute)
		claim(t, r, fmt.Sprintf("%032d", i), now.Add(time.Minute), true)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n > 1300 {
		t.Errorf("%d lines for about 60 grants that have not expired", n)
	}
	for i := 2950; i < 3000; i++ {
		claim(t, r, fmt.Sprintf("%032d", i), now, false)
	}
	r.Close()
	r = openReplays(t, path, func() time.Time { return now })
	for i := 2950; i < 3000; i++ {
		claim(t, r, fmt.Sprintf("%032d", i), now, false)
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 2 {
		t.Errorf("files left: %v", names)
	}
}

// A disk that is full: nothing is claimed, and when there is room again all
// goes on.
func TestReplaysFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4k,mode=0700", "kgent-test", dir).CombinedOutput(); err != nil {
		t.Skipf("needs CAP_SYS_ADMIN, to mount a small tmpfs: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("%v %s", err, out)
		}
	})
	path := filepath.Join(dir, "used")
	until := time.Now().Add(time.Hour)
	r, err := OpenReplays(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	claimed := 0
	for ; claimed < 1000; claimed++ {
		ok, err := r.Claim(fmt.Sprintf("%032d", claimed), until)
		if err != nil {
			if ok {
				t.Error("an error, and claimed")
			}
			break
		}
	}
	if claimed == 0 || claimed == 1000 {
		t.Fatalf("%d were claimed in 4 KiB", claimed)
	}
	if ok, err := r.Claim("another", until); ok || err == nil {
		t.Errorf("another: %v, %v", ok, err)
	}
	if out, err := exec.Command("mount", "-o", "remount,size=64k", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	claim(t, r, "another", until, true)
	claim(t, r, fmt.Sprintf("%032d", claimed), until, true)
	r.Close()
	r2, err := OpenReplays(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer r2.Close()
	for i := range claimed + 1 {
		claim(t, r2, fmt.Sprintf("%032d", i), until, false)
	}
	claim(t, r2, "another", until, false)
}

// A verifier with a file: a grant opens once, also after a restart.
func TestReplaysWithVerifier(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := bench{t: t, key: key}
	_, raw := b.seal(b.grant(time.Minute))
	path := filepath.Join(t.TempDir(), "used")
	for i := range 3 {
		r := openReplays(t, path, time.Now)
		v := job.Verifier{Node: "n1", Keys: []ed25519.PublicKey{pub}, Replays: r, Now: time.Now}
		_, _, err := v.Open(raw)
		var refused *job.RefusedError
		if i == 0 && err != nil || i > 0 && (!errors.As(err, &refused) || refused.Refusal != job.RefusedReplay) {
			t.Errorf("time %d: %v", i, err)
		}
		r.Close()
	}
}

func FuzzUsed(f *testing.F) {
	f.Add([]byte("aa 1\nbb 2\n"))
	f.Add([]byte("aa 1\nbb"))
	f.Add([]byte("\x00\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := parseUsed(b)
		if err != nil {
			return
		}
		if n := strings.Count(string(b), "\n"); len(u) > n {
			t.Errorf("%d ids in %d lines", len(u), n)
		}
		for id := range u {
			if !plainID(id) {
				t.Errorf("id %q", id)
			}
		}
	})
}

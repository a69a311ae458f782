package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 5, time.UTC)

func clock() time.Time { return noon }

func openLog(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(t.Context(), path, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func appendAll(t *testing.T, l *Log, details ...string) {
	t.Helper()
	for _, d := range details {
		if err := l.Append(t.Context(), Entry{Kind: Vote, Detail: d}); err != nil {
			t.Fatal(err)
		}
	}
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// entries reads a log that must be whole.
func entries(t *testing.T, path string) []Entry {
	t.Helper()
	var out []Entry
	if _, err := Read(bytes.NewReader(content(t, path)), func(e Entry) error {
		out = append(out, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path)
	want := Entry{Kind: Grant, Case: "c", Run: "r", Digest: "d", Person: "ada", Surface: "terminal", Detail: "<b>\"\n\u2028", Data: json.RawMessage(`{"a":[1,"<"]}`)}
	if err := l.Append(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, "second")
	got := entries(t, path)
	if len(got) != 2 || got[0].Seq != 1 || got[1].Seq != 2 || !got[0].At.Equal(noon) || got[0].Prev != strings.Repeat("0", 64) || got[1].Prev == got[0].Prev {
		t.Fatalf("entries %+v", got)
	}
	first := got[0]
	if first.Kind != Grant || first.Case != "c" || first.Run != "r" || first.Digest != "d" || first.Person != "ada" || first.Surface != "terminal" || first.Detail != want.Detail {
		t.Errorf("entry %+v, want %+v", first, want)
	}
	var data struct{ A []any }
	if err := json.Unmarshal(first.Data, &data); err != nil || len(data.A) != 2 || data.A[1] != "<" {
		t.Errorf("data %s (%v)", first.Data, err)
	}
	if lines := bytes.Count(content(t, path), []byte("\n")); lines != 2 {
		t.Errorf("%d lines", lines)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path)
	appendAll(t, l, "one", "two")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, path)
	appendAll(t, l, "three")
	head, err := l.Head(t.Context())
	if err != nil || head.Seq != 3 {
		t.Errorf("head %+v (%v)", head, err)
	}
	if got, err := Verify(bytes.NewReader(content(t, path)), head); err != nil || got != head {
		t.Errorf("verified %+v (%v), head %+v", got, err, head)
	}
}

func TestVerifyEmpty(t *testing.T) {
	if head, err := Verify(strings.NewReader("")); err != nil || head != start {
		t.Errorf("%+v (%v)", head, err)
	}
}

// Whatever is done to a written line is found, at that line or the next.
func TestVerifyFindsChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path)
	appendAll(t, l, "one", "two", "three", "four")
	head, err := l.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good := content(t, path)
	lines := bytes.SplitAfter(good, []byte("\n"))[:4]
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	// A forger who knows how the log works seals a changed entry anew.
	var e Entry
	var second line
	if err := json.Unmarshal(lines[1], &second); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(second.Entry, &e); err != nil {
		t.Fatal(err)
	}
	e.Detail = "never"
	forged, _, _, err := seal(e, Head{Seq: 1, Hash: e.Prev}, noon)
	if err != nil {
		t.Fatal(err)
	}
	var first line
	if err := json.Unmarshal(lines[0], &first); err != nil {
		t.Fatal(err)
	}
	anew, _, _, err := seal(Entry{Kind: Vote, Detail: "other"}, start, noon)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		log   []byte
		line  uint64
		want  string
		known []Head
	}{
		{name: "a word", log: bytes.Replace(good, []byte("two"), []byte("owt"), 1), line: 2, want: "it was changed"},
		{name: "a time", log: bytes.Replace(good, []byte("12:00"), []byte("13:00"), 1), line: 1, want: "it was changed"},
		{name: "a hash", log: join(lines[0], bytes.Replace(lines[1], []byte(second.Hash), []byte(first.Hash), 1), lines[2]), line: 2, want: "it was changed"},
		{name: "an entry sealed anew", log: join(lines[0], forged, lines[2], lines[3]), line: 3, want: "an entry before it was replaced"},
		{name: "a line removed", log: join(lines[0], lines[2], lines[3]), line: 2, want: "entry 3 where 2 is due"},
		{name: "the first line removed", log: join(lines[1:]...), line: 1, want: "entry 2 where 1 is due"},
		{name: "lines swapped", log: join(lines[0], lines[2], lines[1], lines[3]), line: 2, want: "entries were removed, added or moved"},
		{name: "a line twice", log: join(lines[0], lines[0], lines[1]), line: 2, want: "entry 1 where 2 is due"},
		{name: "a line of something else", log: join(lines[0], []byte("hello\n")), line: 2, want: "it is not an entry"},
		{name: "an empty line", log: join(lines[0], []byte("\n")), line: 2, want: "it is not an entry"},
		{name: "a field beside", log: bytes.Replace(good, []byte(`{"hash"`), []byte(`{"note":"x","hash"`), 1), line: 1, want: "it is not an entry"},
		{name: "a space", log: bytes.Replace(good, []byte(`,"entry"`), []byte(`, "entry"`), 1), line: 1, want: "not written as this log writes"},
		{name: "an endless line", log: bytes.Repeat([]byte("x"), maxLine+2), line: 1, want: "longer than"},
		{name: "a torn line", log: good[:len(good)-1], line: 4, want: "a crash cut it short"},
		{name: "the end cut off", log: join(lines[:3]...), known: []Head{head}, line: 3, want: "the log ends here, but had 4 entries"},
		{name: "all of it gone", log: nil, known: []Head{{1, first.Hash}}, line: 0, want: "had 1 entries"},
		{name: "written anew", log: anew, known: []Head{{1, first.Hash}}, line: 1, want: "the log was written anew"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Verify(bytes.NewReader(tt.log), tt.known...)
			var broken *BrokenError
			if !errors.As(err, &broken) || broken.Line != tt.line || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v (%+v), want line %d: %q", err, broken, tt.line, tt.want)
			}
			if torn := errors.Is(err, ErrTorn); torn != (tt.name == "a torn line") {
				t.Errorf("torn: %v", torn)
			}
		})
	}
	if _, err := Verify(bytes.NewReader(good), head, Head{2, second.Hash}, start); err != nil {
		t.Errorf("the real log with its heads: %v", err)
	}
}

// No single byte can be changed without being noticed.
func TestVerifyEveryByte(t *testing.T) {
	var log bytes.Buffer
	head := start
	for _, d := range []string{"one", "two"} {
		raw, _, next, err := seal(Entry{Kind: Refusal, Detail: d, Data: json.RawMessage(`{"k":1}`)}, head, noon)
		if err != nil {
			t.Fatal(err)
		}
		log.Write(raw)
		head = next
	}
	for i := range log.Len() {
		for _, flip := range []byte{0x01, 0x20, 0x80} {
			b := bytes.Clone(log.Bytes())
			b[i] ^= flip
			if _, err := Verify(bytes.NewReader(b), head); err == nil {
				t.Errorf("byte %d changed from %q to %q unnoticed", i, log.Bytes()[i], b[i])
			}
		}
	}
}

func TestOpenBroken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path)
	appendAll(t, l, "one", "two")
	l.Close()
	changed := bytes.Replace(content(t, path), []byte("one"), []byte("eno"), 1)
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), path, clock)
	var broken *BrokenError
	if !errors.As(err, &broken) || broken.Line != 1 || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if !bytes.Equal(content(t, path), changed) {
		t.Error("a broken log was written to")
	}
	if _, err := Open(t.Context(), filepath.Join(path, "x"), clock); err == nil {
		t.Error("a log was opened below a file")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), link, clock); err == nil {
		t.Error("a symbolic link was followed")
	}
}

func TestTornEnd(t *testing.T) {
	for _, keep := range []int{1, 40, -1} { // of the last line
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		l := openLog(t, path)
		appendAll(t, l, "one", "two")
		l.Close()
		good := content(t, path)
		last := bytes.LastIndexByte(good[:len(good)-1], '\n') + 1
		cut := last + keep
		if keep < 0 {
			cut = len(good) - 1
		}
		if err := os.WriteFile(path, good[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, path)
		appendAll(t, l, "three")
		got := entries(t, path)
		if len(got) != 3 || got[0].Detail != "one" || got[1].Kind != Recovered || got[2].Detail != "three" {
			t.Fatalf("entries %+v", got)
		}
		var data struct{ Torn []byte }
		if err := json.Unmarshal(got[1].Data, &data); err != nil || !bytes.Equal(data.Torn, good[last:cut]) {
			t.Errorf("kept %q (%v), torn was %q", data.Torn, err, good[last:cut])
		}
	}
}

// A log that is cut or changed while it is open takes nothing more.
func TestChangedWhileOpen(t *testing.T) {
	for name, change := range map[string]func(path string, raw []byte) error{
		"cut":      func(path string, raw []byte) error { return os.Truncate(path, int64(len(raw)/2)) },
		"appended": func(path string, raw []byte) error { return os.WriteFile(path, append(raw, "hello\n"...), 0o600) },
	} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		l := openLog(t, path)
		appendAll(t, l, "one", "two")
		if err := change(path, content(t, path)); err != nil {
			t.Fatal(err)
		}
		before := content(t, path)
		for range 2 {
			var broken *BrokenError
			if err := l.Append(t.Context(), Entry{Kind: Vote}); !errors.As(err, &broken) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		if !bytes.Equal(content(t, path), before) {
			t.Errorf("%s: written to", name)
		}
	}
}

// Several logs on one file, as several processes have them.
func TestConcurrentAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	const writers, each = 4, 15
	var wg sync.WaitGroup
	for w := range writers {
		l := openLog(t, path)
		for part := range 2 { // two goroutines on one log
			wg.Go(func() {
				for i := range each {
					if err := l.Append(t.Context(), Entry{Kind: Vote, Detail: fmt.Sprint(w, part, i)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	var details []string
	for _, e := range entries(t, path) {
		details = append(details, e.Detail)
	}
	slices.Sort(details)
	if n := len(slices.Compact(details)); n != writers*2*each {
		t.Errorf("%d entries, want %d", n, writers*2*each)
	}
}

// A process that is killed in the middle of writing leaves a log that the
// next one can use, with every entry that was confirmed.
func TestKilledWriter(t *testing.T) {
	if path := os.Getenv("KGENT_AUDIT_TEST_LOG"); path != "" {
		l, err := Open(context.Background(), path, time.Now)
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		for i := 0; ; i++ {
			if err := l.Append(context.Background(), Entry{Kind: Vote, Detail: fmt.Sprint(i)}); err != nil {
				fmt.Println("error:", err)
				os.Exit(1)
			}
			fmt.Println(i)
		}
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestKilledWriter$")
	cmd.Env = append(os.Environ(), "KGENT_AUDIT_TEST_LOG="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	confirmed := -1
	for confirmed < 20 {
		if _, err := fmt.Fscanln(out, &confirmed); err != nil {
			t.Fatalf("reading from the writer: %v", err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	l := openLog(t, path)
	appendAll(t, l, "after")
	got := entries(t, path)
	if len(got) < confirmed+2 || got[confirmed].Detail != fmt.Sprint(confirmed) || got[len(got)-1].Detail != "after" {
		t.Errorf("%d entries after %d were confirmed", len(got), confirmed+1)
	}
}

// Who waits for a log that another process holds does not wait for ever.
func TestLockedByAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path)
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Append(ctx, Entry{Kind: Vote}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if err := unix.Flock(int(other.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, "later")
	if got := entries(t, path); len(got) != 1 {
		t.Errorf("entries %+v", got)
	}
}

// A full disk leaves no half line behind.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path)
	appendAll(t, l, "one")
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	// The file may grow by less than a line; the rest is refused with EFBIG.
	size := uint64(len(content(t, path)))
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size + 50, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	err := l.Append(t.Context(), Entry{Kind: Vote, Detail: "two"})
	if resetErr := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); resetErr != nil {
		t.Fatal(resetErr)
	}
	if err == nil {
		t.Error("an entry fitted where there was no room")
	}
	if got := content(t, path); uint64(len(got)) != size {
		t.Errorf("%d bytes were left of half an entry", uint64(len(got))-size)
	}
	appendAll(t, l, "three")
	if got := entries(t, path); len(got) != 2 || got[1].Detail != "three" {
		t.Errorf("entries %+v", got)
	}
}

func TestTooLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path)
	if err := l.Append(t.Context(), Entry{Kind: Vote, Detail: strings.Repeat("x", maxLine)}); err == nil {
		t.Error("an entry too long to be read was written")
	}
	if err := l.Append(t.Context(), Entry{Kind: Vote, Data: json.RawMessage("{")}); err == nil {
		t.Error("data that is no JSON was written")
	}
	appendAll(t, l, strings.Repeat("x", maxLine-1000))
	if got := entries(t, path); len(got) != 1 {
		t.Errorf("%d entries", len(got))
	}
}

func TestMemory(t *testing.T) {
	m := &Memory{Now: clock}
	for range 2 {
		if err := m.Append(t.Context(), Entry{Kind: Request}); err != nil {
			t.Fatal(err)
		}
	}
	got := m.Entries()
	if len(got) != 2 || got[1].Seq != 2 || got[1].Prev == got[0].Prev || !got[1].At.Equal(noon) {
		t.Errorf("entries %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Append(ctx, Entry{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func FuzzRead(f *testing.F) {
	raw, _, head, err := seal(Entry{Kind: Vote, Detail: "one"}, start, noon)
	if err != nil {
		f.Fatal(err)
	}
	second, _, _, err := seal(Entry{Kind: Grant, Data: json.RawMessage(`{}`)}, head, noon)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(bytes.Clone(raw), second...))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		n := uint64(0)
		head, err := Read(bytes.NewReader(log), func(Entry) error { n++; return nil })
		if head.Seq != n {
			t.Errorf("head %d after %d entries", head.Seq, n)
		}
		if err == nil && bytes.Count(log, []byte("\n")) != int(n) {
			t.Errorf("%d entries in %d lines", n, bytes.Count(log, []byte("\n")))
		}
	})
}

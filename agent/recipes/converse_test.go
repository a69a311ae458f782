package recipes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Conversations: turns separated by " | ", the recipe of the last or "no", and
// all parameters that then hold.
var conversations = []struct{ turns, recipe, params string }{
	// Values that are added.
	{"trace new TCP connections | only port 443", "tcp-connect", "dport=443"},
	{"trace new TCP connections | to 10.0.0.5", "tcp-connect", "daddr=10.0.0.5"},
	{"what does nginx connect to? | just port 5432", "tcp-connect", "comm=nginx dport=5432"},
	{"trace new TCP connections | only pid 1234 | and port 443", "tcp-connect", "pid=1234 dport=443"},
	{"which files are being opened? | only by nginx", "file-opens", "comm=nginx"},
	{"which files are being opened? | under /etc", "file-opens", "path=/etc"},
	{"who is killing my process | only SIGKILL", "signals", "sig=SIGKILL"},
	{"which system calls fail? | only ENOENT", "syscall-errors", "errno=ENOENT"},
	{"count syscalls by process | for user root", "syscall-counts", "uid=0"},
	{"show block I/O latency | slower than 10ms", "no", ""},
	{"show slow system calls | slower than 50ms", "slow-syscalls", "threshold=50ms"},
	{"show TCP retransmits | only to 10.1.2.3", "tcp-retransmits", "address=10.1.2.3"},
	{"who accepts TCP connections? | only on port 8080", "tcp-accepts", "port=8080"},
	{"log every command that is executed | only user www-data", "exec", "uid=33"},
	{"dns lookups | only by curl", "dns-lookups", "comm=curl"},
	{"sample cpu stacks | at 199 Hz", "cpu-profile", "hz=199"},
	{"show off-cpu time | only for java", "off-cpu", "comm=java"},
	// Values that take the place of others.
	{"outgoing connections to port 80 | port 443", "tcp-connect", "dport=443"},
	{"outgoing connections to port 80 | no, port 443", "tcp-connect", "dport=443"},
	{"outgoing connections to port 80 | only port 443 | actually port 8443", "tcp-connect", "dport=8443"},
	{"files opened by nginx | for postgres instead", "file-opens", "comm=postgres"},
	{"new TCP connections for 30 seconds | for 2 minutes", "tcp-connect", "duration=2m0s"},
	{"new TCP connections of nginx for 30 seconds | again for 2 minutes", "tcp-connect", "comm=nginx duration=2m0s"},
	{"count syscalls by process, top 10 | top 5", "syscall-counts", "top=5"},
	{"count syscalls by process | top 5 | top 7", "syscall-counts", "top=7"},
	{"count syscalls by process every 5 seconds | every second", "syscall-counts", "interval=1s"},
	{"signals sent to pid 42 | to pid 43", "signals", "target_pid=43"},
	{"who sends SIGTERM? | only SIGKILL", "signals", "sig=SIGKILL"},
	{"openat calls that fail with EACCES | only ENOENT", "failed-opens", "errno=ENOENT"},
	{"show off-cpu time of java | only pid 99", "off-cpu", "comm=java pid=99"},
	// The same once more.
	{"new TCP connections of nginx | again", "tcp-connect", "comm=nginx"},
	{"new TCP connections of nginx | run it again", "tcp-connect", "comm=nginx"},
	{"new TCP connections of nginx | please do that again for 1 minute", "tcp-connect", "comm=nginx duration=1m0s"},
	{"new TCP connections of nginx | same but port 443", "tcp-connect", "comm=nginx dport=443"},
	{"new TCP connections of nginx | once more, only pid 7", "tcp-connect", "comm=nginx pid=7"},
	{"page faults by process | rerun", "page-faults", ""},
	// What the recipe shows already.
	{"trace new TCP connections | also v6", "tcp-connect", ""},
	{"trace new TCP connections | IPv6 too", "tcp-connect", ""},
	{"block I/O latency | as a histogram", "block-latency", ""},
	{"trace new TCP connections | with the process", "tcp-connect", ""},
	// Another recipe for the two together.
	{"block I/O latency | per process", "block-latency-by-process", ""},
	{"block I/O latency for 1 minute | per process", "block-latency-by-process", "duration=1m0s"},
	{"block I/O latency | for 1 minute | per process", "block-latency-by-process", "duration=1m0s"},
	// Requests of their own.
	{"trace new TCP connections of nginx | which files does postgres open?", "file-opens", "comm=postgres"},
	{"new TCP connections of nginx | show new TCP connections to port 25", "tcp-connect", "dport=25"},
	{"trace new TCP connections | also show which files are being opened", "file-opens", ""},
	{"signals sent by nginx | who is calling mount?", "mounts", ""},
	{"make me a sandwich | which files does nginx open? | only under /etc", "file-opens", "comm=nginx path=/etc"},
	{"which files does nginx open? | make me a sandwich | only under /etc", "no", ""},
	// What nothing can be made of.
	{"trace new TCP connections | as a histogram", "no", ""},
	{"trace new TCP connections | not nginx", "no", ""},
	{"trace new TCP connections | only v6", "no", ""},
	{"trace new TCP connections | top 5", "no", ""},
	{"trace new TCP connections | thanks", "no", ""},
	{"trace new TCP connections | ok", "no", ""},
	{"trace new TCP connections | only the blue ones", "no", ""},
	{"trace new TCP connections | only SIGKILL", "no", ""},
	{"trace new TCP connections | block them", "no", ""},
	{"trace new TCP connections | the database feels slow", "no", ""},
	{"trace new TCP connections | only port 99999", "no", ""},
	{"trace new TCP connections | with the tls version", "no", ""},
	{"which system calls fail? | only on eth7", "no", ""},
	{"page faults by process | since yesterday", "no", ""},
	{"explain the moon | only port 443", "no", ""},
}

func TestMatchAfter(t *testing.T) {
	l := library(t)
	for _, c := range conversations {
		turns := strings.Split(c.turns, " | ")
		before, text := turns[:len(turns)-1], turns[len(turns)-1]
		m, err := l.MatchAfter(before, text, MatchOptions{UserID: testUser})
		var none *NoMatchError
		if err != nil {
			if c.recipe != "no" || !errors.As(err, &none) {
				t.Errorf("%s: %v", c.turns, err)
			} else if none.Why == "" || !strings.Contains(none.Why, `"`) {
				t.Errorf("%s: it says only %q", c.turns, none.Why)
			}
			continue
		}
		if c.recipe == "no" && len(m.Only) > 0 {
			continue // no answer as it is
		}
		if m.Recipe.Name != c.recipe {
			t.Errorf("%s: %s, want %s (%q)", c.turns, m.Recipe.Name, c.recipe, m.Understood)
			continue
		}
		var got []string
		all := found(m)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			got = append(got, name+"="+all[name])
		}
		want := strings.Fields(c.params)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q (%q)", c.turns, got, want, m.Understood)
		}
		if heading := m.Understood[0]; !strings.HasPrefix(heading, "changes ") && !strings.HasPrefix(heading, "read together with ") && heading != ownRequest {
			t.Errorf("%s: nothing says how it was understood: %q", c.turns, m.Understood)
		}
		for _, line := range m.Understood {
			if line != fmt.Sprint(printable(line)) && !strings.Contains(line, `"`) {
				t.Errorf("%s: %q", c.turns, line)
			}
		}
	}
	if len(conversations) < 50 {
		t.Errorf("%d conversations", len(conversations))
	}
}

// Every phrasing of every recipe can be asked again, for longer, and twice so.
func TestMatchAfterEveryRecipe(t *testing.T) {
	l := library(t)
	opt := MatchOptions{UserID: testUser}
	for _, r := range l.Recipes() {
		for _, p := range r.Phrasings {
			first, err := l.Match(p, opt)
			if err != nil {
				t.Fatal(err)
			}
			again, err := l.MatchAfter([]string{p}, "again", opt)
			if err != nil || again.Recipe != r || !maps.Equal(again.Options.Constants, first.Options.Constants) || again.Duration != first.Duration || again.Options.View != first.Options.View {
				t.Errorf("%q again: %+v, %v", p, again, err)
			}
			longer, err := l.MatchAfter([]string{p, "for 90 seconds"}, "again for 2 minutes", opt)
			if err != nil || longer.Recipe != r || longer.Duration.Minutes() != 2 || !maps.Equal(longer.Options.Constants, first.Options.Constants) {
				t.Errorf("%q for longer: %+v, %v", p, longer, err)
			}
		}
	}
}

// Text of the conversation is as little trusted as that of a request.
func TestMatchAfterOfNonsense(t *testing.T) {
	l := library(t)
	for _, before := range [][]string{{"\x1b[31m"}, {""}, {strings.Repeat("x", MaxRequest+1)}} {
		if _, err := l.MatchAfter(before, "again", MatchOptions{}); err == nil {
			t.Errorf("%.20q was accepted", before)
		}
	}
	long := "new TCP connections of nginx" + strings.Repeat(" please", 500)
	m, err := l.MatchAfter([]string{long}, "only port 443", MatchOptions{})
	if err != nil || len(m.Understood[0]) > 120 {
		t.Errorf("%+v, %v", m, err)
	}
}

func FuzzMatchAfter(f *testing.F) {
	l := library(f)
	for _, c := range conversations {
		turns := strings.Split(c.turns, " | ")
		f.Add(turns[0], turns[1])
	}
	f.Fuzz(func(t *testing.T, before, text string) {
		m, err := l.MatchAfter([]string{before}, text, MatchOptions{})
		if err != nil {
			return
		}
		if len(m.Understood) == 0 || m.Recipe == nil {
			t.Errorf("%+v", m)
		}
		for _, line := range m.Understood {
			if strings.ContainsAny(line, "\x00\x1b\n") {
				t.Errorf("%q", line)
			}
		}
	})
}

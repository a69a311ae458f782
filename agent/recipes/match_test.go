package recipes

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kgent/retrieval/kernel/abi"
)

// sample is one line of a test set: a request, the recipe it asks for (or "no"),
// and the parameters it names.
type sample struct {
	line    int
	request string
	recipe  string
	params  map[string]string
}

func readSamples(t testing.TB, file string) []sample {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []sample
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		text := strings.TrimRight(scanner.Text(), "\r")
		if strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#") {
			continue
		}
		fields := strings.Split(text, "\t")
		if len(fields) < 2 || len(fields) > 3 {
			t.Fatalf("%s:%d: want request, recipe and parameters separated by tabs", file, n)
		}
		s := sample{line: n, request: fields[0], recipe: strings.TrimSpace(fields[1]), params: map[string]string{}}
		if len(fields) == 3 {
			for p := range strings.SplitSeq(fields[2], ",") {
				if p = strings.TrimSpace(p); p == "" {
					continue
				}
				name, value, ok := strings.Cut(p, "=")
				if !ok {
					t.Fatalf("%s:%d: parameter %q: want name=value", file, n, p)
				}
				s.params[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
		out = append(out, s)
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// found returns everything a match read from the request, by the names that
// test sets use.
func found(m *Match) map[string]string {
	out := map[string]string{}
	for name, v := range m.Options.Constants {
		p := m.Recipe.Params[slices.IndexFunc(m.Recipe.Params, func(p Param) bool { return p.Name == name })]
		out[name] = canonical(p.Role, v)
	}
	set := func(name, v string, isSet bool) {
		if isSet {
			out[name] = v
		}
	}
	v := m.Options.View
	set("duration", m.Duration.String(), m.Duration != 0)
	set("top", strconv.Itoa(v.Top), v.Top != m.Recipe.View.Top)
	set("interval", v.Interval.String(), v.Interval != m.Recipe.View.Interval)
	set("interface", m.Options.Interface, m.Options.Interface != "")
	set("cgroup", m.Options.Cgroup, m.Options.Cgroup != "")
	set("hz", strconv.Itoa(m.Options.Hz), m.Options.Hz != 0)
	return out
}

// expected returns what the sample wants, in the same form.
func expected(r *Recipe, s sample) map[string]string {
	out := map[string]string{}
	for name, v := range s.params {
		switch name {
		case "duration", "interval":
			if d, err := time.ParseDuration(v); err == nil {
				v = d.String()
			}
		case "top":
			if v == strconv.Itoa(r.View.Top) {
				continue // named, and the same as the default
			}
		default:
			if i := slices.IndexFunc(r.Params, func(p Param) bool { return p.Name == name }); i >= 0 {
				v = canonical(r.Params[i].Role, v)
			}
		}
		out[name] = v
	}
	return out
}

// canonical returns the one form of a value, so that 9 and SIGKILL compare equal.
func canonical(role Role, v string) string {
	switch role {
	case RoleUser:
		if _, err := strconv.ParseUint(v, 10, 32); err != nil {
			if id, ok := testUser(v); ok {
				return strconv.FormatUint(uint64(id), 10)
			}
		}
	case RoleAddress, RoleSourceAddress, RoleDestAddress:
		if a, err := netip.ParseAddr(v); err == nil {
			return a.Unmap().String()
		}
	case RolePath, RoleCgroup:
		if len(v) > 1 {
			return strings.TrimSuffix(v, "/")
		}
	case RoleErrno:
		if n, err := strconv.Atoi(v); err == nil {
			return abi.ErrnoName(int64(n))
		}
	case RoleSignal:
		if n, err := strconv.Atoi(v); err == nil {
			return abi.SignalName(int64(n))
		}
		if n, ok := abi.Signal(v); ok {
			return abi.SignalName(int64(n))
		}
	case RoleCapability:
		if n, ok := abi.Capability(v); ok {
			return abi.CapabilityName(int64(n))
		}
	case RoleThreshold:
		if d, err := time.ParseDuration(v); err == nil {
			return d.String()
		}
	case RoleProcess, RoleServer, RoleTargetProcess:
		return v[:min(len(v), maxComm)]
	}
	return v
}

// testUser stands for a host with these users; the ids of all but the first
// follow from their place.
func testUser(name string) (uint32, bool) {
	i := slices.Index([]string{"root", "www-data", "nobody", "postgres", "mysql", "redis", "nginx", "alice", "bob", "carol", "dave", "eve", "deploy", "backup", "jenkins", "git", "admin", "ubuntu", "debian", "daemon", "app", "oracle", "tomcat", "elastic", "prometheus"}, name)
	switch name {
	case "root":
		return 0, true
	case "www-data":
		return 33, true
	case "nobody":
		return 65534, true
	}
	return uint32(1000 + i), i >= 0
}

// tally counts how a test set went.
type tally struct {
	answerable, refusable int
	right                 int // recipe and all parameters
	wrong                 int // a recipe was given, and it was not the one or not with these parameters
	falseRefusals         int // an answerable request was refused
}

func (c tally) String() string {
	given := c.right + c.wrong
	return fmt.Sprintf("%d requests, %d answerable, %d to refuse: %d right (%.1f %% of answerable), %d wrong guesses (%.1f %% of the %d given), %d false refusals",
		c.answerable+c.refusable, c.answerable, c.refusable, c.right, share(c.right, c.answerable), c.wrong, share(c.wrong, given), given, c.falseRefusals)
}

func share(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return 100 * float64(n) / float64(of)
}

// evaluate matches every sample and reports each that did not go as wanted.
func evaluate(t testing.TB, l *Library, samples []sample, report func(s sample, format string, args ...any)) tally {
	t.Helper()
	var c tally
	for _, s := range samples {
		m, err := l.Match(s.request, MatchOptions{UserID: testUser})
		if _, refused := errors.AsType[*NoMatchError](err); err != nil && !refused {
			report(s, "%v", err)
		}
		if s.recipe == "no" {
			c.refusable++
			if err == nil {
				c.wrong++
				report(s, "wrong guess: %s %v, want a refusal", m.Recipe.Name, found(m))
			}
			continue
		}
		want, ok := l.Lookup(s.recipe)
		if !ok {
			t.Fatalf("line %d: no recipe %q", s.line, s.recipe)
		}
		c.answerable++
		switch {
		case err != nil:
			c.falseRefusals++
			why, _, _ := strings.Cut(err.Error(), "\n")
			report(s, "refused, want %s: %s", want.Name, why)
		case m.Recipe != want:
			c.wrong++
			report(s, "wrong guess: %s %v, want %s", m.Recipe.Name, found(m), want.Name)
		case fmt.Sprint(found(m)) != fmt.Sprint(expected(want, s)):
			c.wrong++
			report(s, "wrong parameters for %s: %v, want %v", want.Name, found(m), expected(want, s))
		default:
			c.right++
		}
	}
	return c
}

func TestDevelopmentSet(t *testing.T) {
	samples := readSamples(t, "testdata/dev.tsv")
	c := evaluate(t, library(t), samples, func(s sample, format string, args ...any) {
		t.Errorf("line %d: %q: %s", s.line, s.request, fmt.Sprintf(format, args...))
	})
	t.Log(c)
}

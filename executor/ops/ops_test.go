package ops

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/output"
)

func TestMain(m *testing.M) {
	// A connection that was refused half way lingers for half a second.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).serve"))
}

var start = time.Unix(1_800_000_000, 0)

// node is an executor that does nothing.
type node struct {
	status executor.Status
	orders []string
	err    error
}

func (n *node) Status() executor.Status { return n.status }
func (n *node) Drain(d executor.Drain, end bool) error {
	word := "drain"
	if end {
		word = "drain now"
	}
	n.orders = append(n.orders, word+" by "+d.By+" because "+d.Why+" at "+d.Since.UTC().Format(time.RFC3339))
	return n.err
}
func (n *node) Undrain(by string) error {
	n.orders = append(n.orders, "undrain by "+by)
	return n.err
}

func full() executor.Status {
	return executor.Status{
		Node:    bus.NodeInfo{Name: "db-1", Kernel: "6.1.0\"\n\\", Version: "devel"},
		Started: start, Heard: start.Add(50 * time.Second), Lag: 1500 * time.Millisecond,
		Drained:  &executor.Drain{Since: start, Why: "a new disk"},
		Runs:     []executor.RunStatus{{Run: "r-1", Requester: "alice"}},
		CPUShare: 0.0125,
		Totals: executor.Totals{
			Jobs:    map[string]uint64{"deadline": 3, "budget": 1, "refused: drained": 2, "refused: replay": 1},
			Events:  output.Counters{Produced: 100, Delivered: 80, KernelLost: 15, Dropped: 5, MapFull: 7},
			RunTime: 90 * time.Second, ProgramTime: 25 * time.Millisecond, Missed: 4, BusErrors: 9,
		},
		Policy: executor.Bounds{Runs: 8, CPUPerRun: 0.01, CPUTotal: 0.05},
	}
}

func TestMetrics(t *testing.T) {
	got := string(Metrics(full(), start.Add(time.Minute)))
	for _, want := range []string{
		`kgent_executor_info{node="db-1",version="devel",kernel="6.1.0\"\n\\"} 1`,
		`kgent_executor_start_time_seconds 1.8e+09`,
		`kgent_executor_drained 1`,
		`kgent_executor_runs 1`,
		`kgent_executor_jobs_total{outcome="budget"} 1`,
		`kgent_executor_jobs_total{outcome="deadline"} 3`,
		`kgent_executor_jobs_total{outcome="refused",rule="drained"} 2`,
		`kgent_executor_events_total 100`,
		`kgent_executor_events_delivered_total 80`,
		`kgent_executor_events_lost_total{place="kernel"} 15`,
		`kgent_executor_events_lost_total{place="executor"} 5`,
		`kgent_executor_map_updates_lost_total 7`,
		`kgent_executor_run_seconds_total 90`,
		`kgent_executor_sampled_program_seconds_total 0.025`,
		`kgent_executor_program_cpu_cores 0.0125`,
		`kgent_executor_bus_lag_seconds 1.5`,
		`kgent_executor_bus_silence_seconds 10`,
		`kgent_executor_bus_errors_total 9`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("it lacks %s", want)
		}
	}
	if strings.Contains(got, "alice") || strings.Contains(got, "a new disk") || strings.Contains(got, "r-1") {
		t.Error("it tells of people, their words, or runs")
	}
	// The text format, its types, and the names that Prometheus asks for.
	types := map[string]string{}
	helped := map[string]bool{}
	sample := regexp.MustCompile(`^([a-z_]+)(\{([a-z]+="(\\.|[^"\\])*",?)+\})? [0-9.e+-]+$`)
	for line := range strings.Lines(got) {
		line = strings.TrimSuffix(line, "\n")
		if fields := strings.SplitN(line, " ", 4); fields[0] == "#" {
			if fields[1] == "TYPE" {
				if types[fields[2]] != "" || !helped[fields[2]] {
					t.Errorf("%s: its type comes twice or without help", fields[2])
				}
				types[fields[2]] = fields[3]
			}
			helped[fields[2]] = true
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not a sample: %s", line)
			continue
		}
		if kind := types[m[1]]; kind == "" || (kind == "counter") != strings.HasSuffix(m[1], "_total") {
			t.Errorf("%s is a %q", m[1], kind)
		}
	}
}

// Names are as Prometheus' own linter wants them: of this program, in base units
// that stand at their end, without the type of the metric, and with help.
func TestMetricNames(t *testing.T) {
	var families, problems []string
	help := map[string]string{}
	for line := range strings.Lines(string(Metrics(full(), start.Add(time.Minute)))) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if fields[0] != "#" {
			continue
		}
		if fields[1] == "HELP" {
			help[fields[2]] = fields[3]
			continue
		}
		families = append(families, fields[2])
		problems = append(problems, lint(fields[2], fields[3], help[fields[2]])...)
	}
	if len(families) < 19 {
		t.Fatalf("families %q", families)
	}
	for _, p := range problems {
		t.Error(p)
	}
	for name, bad := range map[string][3]string{
		"milliseconds":            {"kgent_executor_lag_milliseconds", "gauge", "Help."},
		"abbreviated":             {"kgent_executor_lag_ms", "gauge", "Help."},
		"unit in the middle":      {"kgent_executor_seconds_lag", "gauge", "Help."},
		"a gauge that totals":     {"kgent_executor_runs_total", "gauge", "Help."},
		"a counter that does not": {"kgent_executor_errors", "counter", "Help."},
		"no help":                 {"kgent_executor_runs", "gauge", ""},
		"no sentence":             {"kgent_executor_runs", "gauge", "runs in progress"},
		"its type":                {"kgent_executor_runs_gauge", "gauge", "Help."},
		"another's":               {"executor_runs", "gauge", "Help."},
		"capitals":                {"kgent_executor_runsNow", "gauge", "Help."},
		"a histogram's":           {"kgent_executor_runs_count", "gauge", "Help."},
	} {
		if len(lint(bad[0], bad[1], bad[2])) == 0 {
			t.Errorf("%s: nothing is wrong about %q", name, bad)
		}
	}
}

// lint says what is wrong with a family.
func lint(name, kind, help string) (wrong []string) {
	say := func(bad bool, what string) {
		if bad {
			wrong = append(wrong, name+": "+what)
		}
	}
	words := strings.Split(name, "_")
	say(!regexp.MustCompile("^kgent_executor(_[a-z]+)+$").MatchString(name), "want kgent_executor_ and words of small letters")
	say(!regexp.MustCompile(`^[A-Z0-9].*[.;]? ?.*\.$`).MatchString(help), "its help is no sentence")
	say(kind != "gauge" && kind != "counter", "its type is "+kind)
	unit := words[len(words)-1]
	if kind == "counter" {
		say(unit != "total", "a counter ends in _total")
		unit = words[max(0, len(words)-2)]
	} else {
		say(unit == "total", "what ends in _total is a counter")
	}
	bases := []string{"seconds", "bytes", "cores", "ratio"}
	for i, w := range words {
		say(slices.Contains(bases, w) && w != unit, "the unit "+w+" stands at the end")
		say(slices.Contains([]string{"counter", "gauge", "histogram", "summary", "metric"}, w), "it names its type")
		say(slices.Contains([]string{"bucket", "sum", "count"}, w) && i == len(words)-1, "its end is that of histograms")
		say(slices.Contains([]string{
			"s", "ms", "us", "ns", "sec", "msec", "min", "minutes", "hours", "days",
			"milliseconds", "microseconds", "nanoseconds",
			"b", "kb", "mb", "gb", "kib", "mib", "kilobytes", "megabytes", "bits",
			"percent", "pct", "percentage",
		}, w), "the unit "+w+" is no base unit: seconds, bytes, cores or ratio")
	}
	return wrong
}

func TestHealth(t *testing.T) {
	n := &node{status: full()}
	s := &Server{Node: n, Now: func() time.Time { return start.Add(time.Minute) }}
	get := func(h http.Handler, method, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader("{}")))
		return w.Code, w.Body.String()
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		for _, h := range []http.Handler{s.Metrics(), s.Control()} {
			if code, _ := get(h, "GET", path); code != 200 {
				t.Errorf("%s: %d", path, code)
			}
		}
	}
	// An address is open to whoever reaches it: nothing there names people or
	// changes anything.
	for _, path := range []string{"/status", "/drain", "/undrain", "/debug/pprof/"} {
		for _, method := range []string{"GET", "POST"} {
			if code, _ := get(s.Metrics(), method, path); code != 404 {
				t.Errorf("%s %s at the address: %d", method, path, code)
			}
		}
	}
	if code, _ := get(s.Control(), "GET", "/drain"); code != 405 {
		t.Errorf("GET /drain: %d", code)
	}
	n.status.Heard = start.Add(40 * time.Second)
	if code, why := get(s.Metrics(), "GET", "/readyz"); code != 503 || !strings.Contains(why, "20s ago") {
		t.Errorf("cut off: %d %s", code, why)
	}
	n.status.Heard = time.Time{}
	if code, why := get(s.Metrics(), "GET", "/readyz"); code != 503 || !strings.Contains(why, "not been reached yet") {
		t.Errorf("at first: %d %s", code, why)
	}
	if code, _ := get(s.Metrics(), "GET", "/healthz"); code != 200 {
		t.Errorf("without its bus it is unwell: %d", code)
	}
	if len(n.orders) != 0 {
		t.Errorf("it was told to %q", n.orders)
	}
}

// short is a directory whose path is short enough for a socket.
func short(t *testing.T) string {
	dir, err := os.MkdirTemp("", "kgent-ops-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestSocket(t *testing.T) {
	path := filepath.Join(short(t), "run", "x.sock")
	n := &node{status: full()}
	s := &Server{Node: n, Now: func() time.Time { return start }}
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, s.Control()) }()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path, ""); err == nil || !strings.Contains(err.Error(), "another executor listens there") {
		t.Errorf("a second one: %v", err)
	}
	c := NewClient(path)
	st, err := c.Status(t.Context())
	if err != nil || st.Totals.Jobs["deadline"] != 3 || st.Runs[0].Requester != "alice" || !st.Started.Equal(start) {
		t.Errorf("%+v, %v", st, err)
	}
	if err := errors.Join(c.Drain(t.Context(), "a new disk", true), c.Undrain(t.Context())); err != nil {
		t.Error(err)
	}
	me := peer(context.WithValue(t.Context(), peerKey{}, uint32(os.Getuid())))
	if got := strings.Join(n.orders, "; "); got != "drain now by "+me+" because a new disk at 2027-01-15T08:00:00Z; undrain by "+me {
		t.Errorf("it was told to %s", got)
	}
	n.err = errors.New("the disk is full")
	if err := c.Drain(t.Context(), "", false); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("%v", err)
	}
	if err := c.Drain(t.Context(), strings.Repeat("x", maxRequest), false); err == nil {
		t.Error("it takes anything")
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := c.Status(t.Context()); err == nil {
		t.Error("nobody is there, and answers")
	}
}

func TestListenRefuses(t *testing.T) {
	dir := short(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                     "something else is there",
		filepath.Join(open, "x"): "others may write to",
		filepath.Join(file, "x"): "not a directory",
	} {
		if _, err := Listen(path, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := Listen(filepath.Join(dir, "x"), "no-such-group-here"); err == nil {
		t.Error("an unknown group")
	}
	// One that was killed has left its socket.
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	again, err := Listen(stale, "")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// Before the executor has its bus there is one thing to tell: that it is alive.
func TestStarting(t *testing.T) {
	started := make(chan struct{})
	s := &Server{Node: &node{status: full()}, Now: func() time.Time { return start.Add(time.Minute) }, Started: started}
	code := func(h http.Handler, method, path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader("{}")))
		return w.Code
	}
	h := s.Control()
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 503, "/status": 503} {
		if got := code(h, "GET", path); got != want {
			t.Errorf("GET %s: %d, want %d", path, got, want)
		}
	}
	if got := code(h, "POST", "/drain"); got != 503 {
		t.Errorf("POST /drain: %d", got)
	}
	close(started)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/status"} {
		if got := code(h, "GET", path); got != 200 {
			t.Errorf("GET %s once it has begun: %d", path, got)
		}
	}
}

// Who cannot reach the executor is told why that may be.
func TestUnreached(t *testing.T) {
	dir := t.TempDir()
	gone := filepath.Join(dir, "gone.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: gone, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as when it is killed
	l.Close()
	for _, socket := range []string{filepath.Join(dir, "none.sock"), gone} {
		if _, err := NewClient(socket).Status(t.Context()); err == nil || strings.Contains(err.Error(), "http:") || !strings.HasSuffix(err.Error(), "it does not run here, or was started without --socket "+socket) {
			t.Errorf("%v", err)
		}
	}
}

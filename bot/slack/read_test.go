package slack

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"kgent/bot/slack/slackd"
	"kgent/bot/thread"
)

// Files that people attach come with the event by their ids, and are read from Slack alone.
func TestAttachedFiles(t *testing.T) {
	w := open(t, nil)
	f := newFront()
	w.run(t, f)
	source := []byte("int x; // é\n")
	m, err := w.User(alice).PostFiles(incidents, "", w.At()+" what does this program do?", slackd.Upload{Name: "opens.bpf.c", Data: source}, slackd.Upload{Name: "big.c", Data: bytes.Repeat([]byte("x"), 2000)})
	if err != nil {
		t.Fatal(err)
	}
	e := f.wait(t, 1)[0]
	if e.Kind != thread.Ask || e.Text != "what does this program do?" || len(e.Files) != 2 || e.Files[0].Name != "opens.bpf.c" || e.Files[0].Size != int64(len(source)) || e.Files[0].URL != "" {
		t.Fatalf("%+v", e)
	}
	got, err := w.Read(bound(t), e.Place, e.Files[0], 1000)
	if err != nil || !bytes.Equal(got, source) {
		t.Errorf("read %q, %v", got, err)
	}
	var gone *thread.GoneError
	if _, err := w.Read(bound(t), e.Place, e.Files[1], 1000); !errors.As(err, &gone) || !strings.Contains(err.Error(), "at most 1000") {
		t.Errorf("too large: %v", err)
	}
	if _, err := w.Read(bound(t), e.Place, thread.Attached{ID: "F0NOSUCH"}, 1000); !errors.As(err, &gone) {
		t.Errorf("no such file: %v", err)
	}
	// In a thread, with words; and alone, by direct message.
	if _, err := w.User(alice).PostFiles(incidents, m.TS, "try this", slackd.Upload{Name: "a.c", Data: source}); err != nil {
		t.Fatal(err)
	}
	if e := f.wait(t, 2)[1]; e.Kind != thread.Reply || e.Text != "try this" || len(e.Files) != 1 {
		t.Errorf("%+v", e)
	}
}

// The token goes to Slack's hosts and nowhere else.
func TestHoldsFiles(t *testing.T) {
	for _, tc := range []struct {
		api, at string
		want    bool
	}{
		{"https://slack.com/api/", "https://files.slack.com/files-pri/T1-F1/x.c", true},
		{"https://slack.com/api/", "https://acme.slack.com/files/x.c", true},
		{"https://slack.com/api/", "http://files.slack.com/x.c", false},
		{"https://slack.com/api/", "https://files.slack.com.example.com/x.c", false},
		{"https://slack.com/api/", "https://evilslack.com/x.c", false},
		{"https://slack.com/api/", "https://files.slack.com@example.com/x.c", false},
		{"https://slack.com/api/", "https://acme.slack.com:8080/x.c", false},
		{"https://slack.com/api/", "https://169.254.169.254/x.c", false},
		{"https://slack.com/api/", "file:///etc/passwd", false},
		{"https://slack.com/api/", "", false},
		{"http://127.0.0.1:9/api/", "http://127.0.0.1:9/files-pri/F1/x.c", true},
		{"http://127.0.0.1:9/api/", "http://127.0.0.1:10/x.c", false},
	} {
		a := &Adapter{cfg: Config{APIURL: tc.api}}
		if got := a.holdsFiles(tc.at); got != tc.want {
			t.Errorf("%s for %s: %v", tc.at, tc.api, got)
		}
	}
}

package discord

import (
	"bytes"
	"errors"
	"testing"

	"kgent/bot/discord/discordd"
	"kgent/bot/thread"
)

// Files that people attach come with the event, and are read from Discord alone.
func TestAttachedFiles(t *testing.T) {
	t.Parallel()
	w := start(t, nil).run(t)
	source := []byte("int x; // é\n")
	m := ok[discordd.Message](t)(w.As(alice).Mention(incidents, "what does this program do?", discordd.File{Name: "opens.bpf.c", Data: source}))
	e := w.front.event(t, 1)
	if e.Kind != thread.Ask || e.Text != "what does this program do?" || len(e.Files) != 1 || e.Files[0].Name != "opens.bpf.c" || e.Files[0].Size != int64(len(source)) {
		t.Fatalf("%+v", e)
	}
	if got := ok[[]byte](t)(w.Read(within(t), e.Place, e.Files[0], 1000)); !bytes.Equal(got, source) {
		t.Errorf("read %q", got)
	}
	var gone *thread.GoneError
	if _, err := w.Read(within(t), e.Place, e.Files[0], 5); !errors.As(err, &gone) {
		t.Errorf("too large: %v", err)
	}
	for _, at := range []string{"http://169.254.169.254/x.c", "https://cdn.discordapp.com/attachments/1/2/x.c", "file:///etc/passwd", ""} {
		if _, err := w.Read(within(t), e.Place, thread.Attached{URL: at}, 1000); !errors.As(err, &gone) {
			t.Errorf("%s: %v", at, err)
		}
	}
	if _, err := w.Read(within(t), e.Place, thread.Attached{URL: w.Server.URL() + "attachments/1/2/" + m.ID}, 1000); !errors.As(err, &gone) {
		t.Errorf("no such file: %v", err)
	}
	real := &Adapter{}
	for at, want := range map[string]bool{
		"https://cdn.discordapp.com/attachments/1/2/x.c?ex=1": true, "https://media.discordapp.net/x.c": true, "http://cdn.discordapp.com/x.c": false,
		"https://cdn.discordapp.com.example.com/x.c": false, "https://cdn.discordapp.com@example.com/x.c": false,
	} {
		if real.holdsFiles(at) != want {
			t.Errorf("%s: want %v", at, want)
		}
	}
}

package bashcommands_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) { recipetest.Main(m, nil) }

// prompt is what the shells say when they wait for a line.
const prompt = "rt-ready> "

// shown is how many bytes of a line an event shows.
const shown = 399

// shell is an interactive bash on a terminal of its own.
type shell struct {
	t   *testing.T
	cmd *exec.Cmd
	pty *os.File
}

// start starts a bash as a user, and returns when it waits for a line.
func start(t *testing.T, uid uint32) *shell {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	pty, tty := terminal(t)
	defer tty.Close()
	s := &shell{t: t, pty: pty, cmd: exec.CommandContext(t.Context(), bash, "--norc", "--noprofile", "-i")}
	s.cmd.Dir = "/"
	s.cmd.Env = []string{"PATH=/usr/bin:/bin", "PS1=" + prompt, "HISTFILE=", "TERM=dumb", "INPUTRC=/dev/null", "LC_ALL=C.UTF-8"}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.waits()
	return s
}

// terminal makes a new pseudo terminal.
func terminal(t *testing.T) (pty, tty *os.File) {
	t.Helper()
	// Not blocking, so that reading it can be bounded in time.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	pty = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { pty.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return pty, tty
}

// waits returns when the shell has said its prompt.
func (s *shell) waits() {
	s.t.Helper()
	if err := s.pty.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		s.t.Fatal(err)
	}
	var said []byte
	for buf := make([]byte, 1024); !bytes.HasSuffix(said, []byte(prompt)); {
		n, err := s.pty.Read(buf)
		if err != nil {
			s.t.Fatalf("waiting for bash's prompt: %v\n%q", err, said)
		}
		said = append(said, buf[:n]...)
	}
}

// types types a line, and returns when the shell waits for the next.
func (s *shell) types(keys string) {
	s.t.Helper()
	if _, err := s.pty.WriteString(keys + "\r"); err != nil {
		s.t.Fatal(err)
	}
	s.waits()
}

// ends types the end of input, which ends the shell.
func (s *shell) ends() {
	s.t.Helper()
	if _, err := s.pty.WriteString("\x04"); err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("bash: %v", err)
	}
}

func TestLines(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("true rt-decoy\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	long := ": " + strings.Repeat("x", shown)
	before := start(t, 0)
	var after *shell
	const user = 65533
	result := recipetest.Run(t, "what do people type into bash?", func(a *recipetest.Live) {
		after = start(a.T, user)
		after.types("true rt-one 'it''s' grün")
		before.types("true rt-before") // it was being typed when the trace began
		before.types("true rt-edted\x1b[D\x1b[D\x1b[Di")
		after.types("bash -c 'true rt-decoy'; bash " + script)
		after.types(long)
		after.types("true rt-\x16\x1b[31m") // typed after ^V, the escape is one
		before.types("true rt-last")
		after.ends()
		before.ends()
	})
	for _, tc := range []struct {
		shell *shell
		uid   int
		lines []string
	}{
		{after, user, []string{"true rt-one 'it''s' grün", "bash -c 'true rt-decoy'; bash " + script, long[:shown], "true rt-\x1b[31m"}},
		{before, 0, []string{"true rt-edited", "true rt-last"}},
	} {
		var got []string
		for _, ev := range result.Events("commands", recipetest.Want{"pid": tc.shell.cmd.Process.Pid, "uid": tc.uid}) {
			line, _ := ev.Get("line")
			got = append(got, fmt.Sprint(line))
		}
		if want := strings.Join(tc.lines, "\n"); strings.Join(got, "\n") != want {
			t.Errorf("lines of user %d:\n%q\nwant:\n%q", tc.uid, got, tc.lines)
		}
	}
	result.NoEvent("commands", recipetest.Want{"line": "true rt-decoy"})
}

func TestUser(t *testing.T) {
	const user = 65533
	result := recipetest.Run(t, fmt.Sprintf("commands typed by uid %d in a bash session", user), func(a *recipetest.Live) {
		root, other, wanted := start(a.T, 0), start(a.T, user-1), start(a.T, user)
		for _, s := range []*shell{root, other, wanted} {
			s.types(fmt.Sprintf("true rt-user-%d", s.cmd.SysProcAttr.Credential.Uid))
			s.ends()
		}
	})
	result.Event("commands", recipetest.Want{"line": fmt.Sprintf("true rt-user-%d", user), "uid": user})
	if n := len(result.Events("commands", nil)); n != 1 {
		t.Errorf("%d events, want one", n)
	}
}

package nodetest

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for range 2 { // installed, then found
		project := Install(t, "testdata/hello")
		if got := Run(ctx, t, project, "hello.js", "WHOM=you"); got != "hello you\n" {
			t.Errorf("got %q", got)
		}
	}
}

func TestStart(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	project := Install(t, "testdata/hello")

	running, stop := context.WithCancel(ctx)
	p := Start(running, t, project, "hello.js", "WHOM=there", "STAY=1")
	if line, err := p.WaitLine(ctx, "hello "); err != nil || line != "hello there" {
		t.Errorf("got %q, %v", line, err)
	}
	stop()
	if err := p.Wait(); err == nil {
		t.Error("a killed script ended well")
	}
	if _, err := p.WaitLine(ctx, "goodbye"); err == nil || !strings.Contains(err.Error(), "ended before") {
		t.Errorf("waiting for what a dead script never said: %v", err)
	}
	if err := Start(ctx, t, project, "hello.js", "FAIL=1").Wait(); err == nil {
		t.Error("a script that fails ended well")
	}
}

package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--listen", "127.0.0.1:0"}, w)
		w.Close()
	}()
	env, page := map[string]string{}, ""
	lines := bufio.NewScanner(r)
	for page == "" && lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "export "); ok {
			name, value, _ := strings.Cut(rest, "=")
			env[name] = value
		}
		if _, at, ok := strings.Cut(lines.Text(), "page: "); ok {
			page = at
		}
	}
	for _, name := range []string{"DISCORD_TOKEN", "DISCORD_API_URL", "DISCORD_APPLICATION_ID", "DISCORD_PUBLIC_KEY"} {
		if env[name] == "" {
			t.Errorf("nothing to export for %s: %v", name, env)
		}
	}
	req, err := http.NewRequestWithContext(ctx, "GET", env["DISCORD_API_URL"]+"/v10/users/@me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bot "+env["DISCORD_TOKEN"])
	for _, req := range []*http.Request{req, must(http.NewRequestWithContext(ctx, "GET", page, nil))} {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", req.URL, resp.Status)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func must(r *http.Request, err error) *http.Request {
	if err != nil {
		panic(err)
	}
	return r
}

// Whoever reaches the page plays every user.
func TestLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "example.com:80"} {
		if err := run(t.Context(), []string{"--listen", addr}, io.Discard); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v, want a refusal", addr, err)
		}
	}
}

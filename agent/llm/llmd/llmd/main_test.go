package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	script := filepath.Join(t.TempDir(), "script.yaml")
	if err := os.WriteFile(script, []byte("rules: [{text: fine}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, printed := io.Pipe()
	var log strings.Builder
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--script", script}, printed, &log)
		printed.Close()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "export OPENAI_BASE_URL=http://127.0.0.1:")
	if err != nil || !ok || !strings.HasSuffix(url, "/v1") {
		t.Fatalf("printed %q, %v", line, err)
	}
	resp, err := http.Post("http://127.0.0.1:"+url+"/chat/completions", "application/json",
		strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if err != nil || !strings.Contains(string(body), `"content": "fine"`) {
		t.Errorf("got %s, %v", body, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "msg=answering call=1 rule=1") {
		t.Errorf("logged %q", log.String())
	}
}

func TestRunRefuses(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("rules: [{}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no script":      {nil, "--script is missing"},
		"no such script": {[]string{"--script", broken + ".not"}, "no such file"},
		"broken script":  {[]string{"--script", broken}, "it does nothing"},
		"unknown flag":   {[]string{"--quick"}, "not defined: -quick"},
		"argument":       {[]string{"serve"}, `"serve" is one argument too many`},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(context.Background(), tc.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if err := run(context.Background(), []string{"--help"}, io.Discard, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("help: %v", err)
	}
}

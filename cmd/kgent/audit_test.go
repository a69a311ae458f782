package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kgent/approvals/audit"
	"kgent/executor/bus/rdb/rdbtest"
)

// The log in Redis is shown, verified and exported as one in a file.
func TestAuditInRedis(t *testing.T) {
	server := rdbtest.Start(t)
	log := audit.NewRedis(server.Client(), time.Now)
	for _, detail := range []string{"one", "two"} {
		if err := log.Append(t.Context(), audit.Entry{Kind: audit.Vote, Person: "ada", Detail: detail}); err != nil {
			t.Fatal(err)
		}
	}
	kgent := func(url string, args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"audit"}, args...), system{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(name string) string {
			return map[string]string{"REDIS_URL": url}[name]
		}})
		return code, out.String(), errs.String()
	}
	if code, out, errs := kgent(server.URL(), "show", "--since", "1h"); code != exitOK || strings.Count(out, "ada") != 2 {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	code, verified, errs := kgent(server.URL(), "verify")
	if code != exitOK || !strings.HasPrefix(verified, "2 entries") {
		t.Errorf("exit %d: %s%s", code, verified, errs)
	}
	code, exported, errs := kgent(server.URL(), "export")
	if code != exitOK {
		t.Errorf("exit %d: %s", code, errs)
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte(exported), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := kgent("", "verify", "--file", path); code != exitOK || out != verified {
		t.Errorf("exit %d: %s, want %s", code, out, verified)
	}
	if err := server.Client().LSet(t.Context(), "kgent:audit", 0, "nothing").Err(); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := kgent(server.URL(), "verify"); code != exitUnsound || !strings.Contains(errs, "broken at line 1") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"kgent/agent/llm/llmd"
)

// TestStandIn does what the README proposes for trying a model without one.
func TestStandIn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	script, err := llmd.Load(filepath.Join("..", "..", "deploy", "model.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := llmd.Start("127.0.0.1:0", script, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	path := scriptPath(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "standin"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", path)
			env.Setenv("OPENAI_API_KEY", "")
			env.Setenv("OPENAI_BASE_URL", server.URL())
			env.Setenv("KGENT_MODEL", "scripted")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"records": cmdRecords, "exits": cmdExits},
	})
}

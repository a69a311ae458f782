package probe_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kgent/agent/program"
	"kgent/executor/probe"
)

// What another tool opens by its name must be what was asked about: where something
// is denied, only names that nobody but root can turn are permitted.
func TestPermitByName(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes files that are root's")
	}
	outside := filepath.Join(t.TempDir(), "app") // below /tmp, where all may write
	if err := os.WriteFile(outside, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	own, err := os.MkdirTemp("/run", "kgent-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(own) })
	link := filepath.Join(own, "link")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(own, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/true", filepath.Join(open, "app")); err != nil {
		t.Fatal(err)
	}
	around := filepath.Join(own, "x", "..", "open", ".", "app")
	for _, mode := range []os.FileMode{0o755, 0o777} {
		if err := os.Chmod(open, mode); err != nil {
			t.Fatal(err)
		}
		asked := 0
		watched := probe.NewLoader(probe.Options{Refuse: func(program.Hook, *os.File) error { asked++; return nil }})
		for name, settled := range map[string]bool{
			"/bin/true":                      true,
			"/bin/tru*":                      true,
			outside:                          false,
			filepath.Dir(outside) + "/*":     false,
			filepath.Dir(outside) + "/none*": false,
			link:                             false,
			filepath.Join(open, "app"):       mode == 0o755,
			around:                           mode == 0o755,
			own + "/op*/app":                 mode == 0o755,
			"/proc/self/root/bin/true":       false,
		} {
			h := program.Hook{Kind: program.Uprobe, Binary: name, Symbol: "main"}
			before := asked
			err := watched.Permit(t.Context(), h)
			if settled != (err == nil) || !settled && !strings.Contains(err.Error(), "others than root") {
				t.Errorf("%s in a directory %v: %v", name, mode, err)
			}
			if settled && asked == before {
				t.Errorf("%s: nobody was asked", name)
			}
			if err := probe.NewLoader(probe.Options{}).Permit(t.Context(), h); err != nil {
				t.Errorf("%s, where nothing is denied: %v", name, err)
			}
		}
	}
}

package render

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A container is shown by its name, and what has none by its path.
func TestContainerNames(t *testing.T) {
	root := t.TempDir()
	id, other := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	inode := func(dir string) uint64 {
		t.Helper()
		dir = filepath.Join(root, "cgroups", dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	named, inside := inode("docker-"+id+".scope"), inode("docker-"+id+".scope/init")
	nameless, service := inode("docker-"+other+".scope"), inode("system.slice/ssh.service")
	config := filepath.Join(root, "var/lib/docker/containers", id, "config.v2.json")
	if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(`{"Name":"/web"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCgroups(filepath.Join(root, "cgroups"), time.Now)
	c.node.Root = root
	for range 2 {
		for ino, want := range map[uint64]string{
			named:    "web",
			inside:   "web/init",
			nameless: "/docker-" + other + ".scope",
			service:  "/system.slice/ssh.service",
		} {
			if got, ok := c.name(ino); !ok || got != want {
				t.Errorf("%q, %v, want %q", got, ok, want)
			}
		}
		// It is read once.
		if err := os.RemoveAll(config); err != nil {
			t.Fatal(err)
		}
	}
}

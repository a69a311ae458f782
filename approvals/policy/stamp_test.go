package policy

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStamp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	young, err := stampOf(path)
	if err != nil {
		t.Fatal(err)
	}
	if young.settled || young.still(young) {
		t.Error("a young file may change without showing it")
	}
	old := young
	old.settled = true
	if !old.still(young) {
		t.Error("an old file is read again and again")
	}
	for name, change := range map[string]func(*stamp){
		"inode": func(s *stamp) { s.file.Ino++ }, "device": func(s *stamp) { s.file.Dev++ },
		"size": func(s *stamp) { s.file.Size++ }, "time": func(s *stamp) { s.file.Ctim.Nsec++ },
	} {
		now := young
		change(&now)
		if old.still(now) {
			t.Errorf("another %s does not show", name)
		}
	}
	if (stamp{}).still(young) {
		t.Error("what was never read counts as read")
	}
}

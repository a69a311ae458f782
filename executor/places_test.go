package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
)

// A file is denied, not its name: no link, mount or other root gets around it.
func TestDeniedPlaces(t *testing.T) {
	needsCapabilities(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"daemon", "other", "mounted", "libx.so.1"} {
		if err := os.WriteFile(in(name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, err := range map[string]error{
		"symlink":   os.Symlink(in("daemon"), in("symlink")),
		"twice":     os.Symlink("symlink", in("twice")),
		"hard":      os.Link(in("daemon"), in("hard")),
		"ruled":     os.Symlink(in("daemon"), in("ruled")),
		"loop":      os.Symlink("loop", in("loop")),
		"sub":       os.Mkdir(in("sub"), 0o700),
		"sub/hard2": os.Link(in("daemon"), in("sub/hard2")),
	} {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	resolve := func(name string) (string, error) {
		if name == "daemond" {
			return in("daemon"), nil
		}
		return "", errors.New("there is none")
	}
	ask := func(rule, path string) error {
		t.Helper()
		at, err := os.OpenFile(path, unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer at.Close()
		return NodePolicy{DenyHooks: []string{"kprobe tcp_*", rule}}.Guard(resolve, "/none")(program.Hook{Kind: program.Uprobe, Binary: path, Symbol: "main"}, at)
	}
	// In a mount namespace of its own, which ends with its thread.
	done := make(chan error)
	mounted := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount(in("daemon"), in("mounted"), "", unix.MS_BIND, "")
		}
		if err == nil {
			err = ask("uprobe "+in("daemon")+":*", in("mounted"))
		}
		done <- err
		<-mounted
	}()
	if err := <-done; !isDenied(err) {
		t.Errorf("through a bind mount: %v", err)
	}
	close(mounted)

	const yes, no, unsure = "denied", "allowed", "unsure"
	for _, test := range []struct{ rule, path, want string }{
		{"uprobe " + in("daemon") + ":*", in("daemon"), yes},
		{"uprobe " + in("daemon") + ":*", in("symlink"), yes},
		{"uprobe " + in("daemon") + ":*", in("twice"), yes},
		{"uprobe " + in("daemon") + ":*", in("hard"), yes},
		{"uprobe " + in("daemon") + ":*", "/proc/self/root" + in("daemon"), yes},
		{"uprobe " + in("daemon") + ":*", fmt.Sprintf("/proc/%d/root%s", os.Getppid(), in("hard")), yes},
		{"uprobe " + in("daemon") + ":*", in("sub/../hard"), yes},
		{"uprobe " + in("daemon") + ":*", in("other"), no},
		{"uprobe " + in("ruled") + ":*", in("hard"), yes},
		{"uprobe " + in("daemon") + ":main", in("hard"), yes},
		{"uprobe " + in("daemon") + ":exit", in("hard"), no},
		{"uretprobe " + in("daemon") + ":main", in("hard"), no},
		{"* " + in("daemon") + "*", in("hard"), yes},
		{"* " + in("daem*") + ":main", in("hard"), yes},
		{"* " + in("sub") + "/*", in("hard"), yes},
		{"* " + in("sub") + "/*", in("other"), no},
		{"uprobe daemond:*", in("hard"), yes},
		{"uprobe daemond:*", in("other"), no},
		{"uprobe libx.so.1:*", in("libx.so.1"), yes},
		{"uprobe libx.so*:*", in("libx.so.1"), yes},
		{"uprobe liby.so*:*", in("libx.so.1"), no},
		{"uprobe " + in("absent") + ":*", in("daemon"), no},
		{"uprobe " + in("daemon/below") + ":*", in("other"), no},
		{"uprobe " + in("loop") + ":*", in("daemon"), unsure},
		{"cgroup_skb/egress " + in("daemon"), in("daemon"), no},
	} {
		err := ask(test.rule, test.path)
		got := unsure
		switch {
		case isDenied(err):
			got = yes
		case err == nil:
			got = no
		}
		if got != test.want {
			t.Errorf("%s and %s: %v, want %s", test.rule, test.path, err, test.want)
		}
	}
	if (NodePolicy{}).Guard(resolve, "") != nil {
		t.Error("there is nothing to keep off")
	}
}

func isDenied(err error) bool {
	var policy *PolicyError
	return errors.As(err, &policy) && policy.Rule == "denied-hook"
}

// What an overlay shows as its own is the file below it.
func TestDeniedBelowAnOverlay(t *testing.T) {
	var a identity
	a.Ino, a.Dev, a.Size, a.Mode = 7, 1, 100, unix.S_IFREG
	b := a
	b.Dev = 2
	if a.same(b) {
		t.Error("two file systems have a file of the same number")
	}
	b.overlay = true
	if !a.same(b) || !b.same(a) {
		t.Error("the file below is not recognised")
	}
	b.Size++
	if a.same(b) {
		t.Error("it is another file")
	}
}

// The kernel's part: a program is kept off by any name, a cgroup's too.
func TestDeniedByKernel(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	mount := cgroupMount(t)
	group, err := os.MkdirTemp(mount, "kgent-denied-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(group) })
	dir := t.TempDir()
	libs, err := filepath.Glob("/lib*/*/libc.so.6")
	if err != nil || len(libs) == 0 {
		t.Fatalf("looking for a library: %v", err)
	}
	self := filepath.Join(dir, "self")
	copyOf(t, libs[0], self)
	link, cgroup := filepath.Join(dir, "link"), "/"+filepath.Base(group)
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	uprobe := prelude + `SEC("uprobe/` + link + `:malloc") int p(void *ctx) { return 0; }`
	egress := prelude + `SEC("cgroup_skb/egress") int p(void *ctx) { return 1; }`
	for _, test := range []struct {
		rule, source, target string
		denied               bool
	}{
		{"uprobe " + self + ":*", uprobe, "", true},
		{"uprobe " + self + ":free", uprobe, "", false},
		{"cgroup_skb/egress " + cgroup, egress, "/." + cgroup, true},
		{"cgroup_skb/egress /kgent-denied-*", egress, cgroup, true},
		{"cgroup_skb/ingress " + cgroup, egress, cgroup, false},
		{"cgroup_skb/egress /", egress, "/", true},
	} {
		o, m := built(t, test.source, program.Options{Cgroup: test.target})
		policy := NodePolicy{DenyHooks: []string{test.rule}}
		k := NewKernel("n", probe.NewLoader(probe.Options{Cgroups: mount, Refuse: policy.Guard(nil, mount)}), render.NewEnv())
		p, err := k.Load(context.Background(), o, m)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Attach(context.Background())
		if isDenied(err) != test.denied || !test.denied && err != nil {
			t.Errorf("%s, attaching to %v: %v, want denied %v", test.rule, m.Programs[0].Hook, err, test.denied)
		}
		if err != nil && !strings.Contains(err.Error(), "nothing may be attached to "+test.rule) {
			t.Errorf("it does not say why: %v", err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func copyOf(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

// cgroupMount is where cgroup v2 is mounted.
func cgroupMount(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	t.Skip("no cgroup v2 is mounted")
	return ""
}

package mounts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{
		"mount":   mount,
		"unmount": unmount,
		"many":    many,
	})
}

// magic is what programs older than Linux 2.4 had to add to the flags of mount.
const magic = 0xc0ed0000

// longName makes targets longer than an event shows.
var longName = filepath.Join(strings.Repeat("d", 150), strings.Repeat("e", 150))

// private gives the thread mounts of its own, which nobody else sees and which
// end with it.
func private() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	return unix.Mount("rt-none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

func mount(args []string) error {
	dir := args[0]
	return recipetest.Thread("rt-mount-thread", func(int) error {
		if err := private(); err != nil {
			return err
		}
		steps := []struct {
			do   func() error
			want error
		}{
			{func() error { return unix.Mount("rt-source", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=64k") }, nil},
			{func() error { return remount(dir, magic|unix.MS_REMOUNT|unix.MS_RDONLY) }, nil},
			{func() error { return unix.Mount("rt-source", dir, "rt-no-such-file-system-type", 0, "") }, unix.ENODEV},
			{func() error { return unix.Mount("rt-source", filepath.Join(dir, longName), "tmpfs", 0, "") }, unix.ENOENT},
			{func() error { return unix.Unmount(dir, unix.MNT_DETACH) }, nil},
			{func() error { return unix.Unmount(dir, 0) }, unix.EINVAL},
		}
		for i, s := range steps {
			if err := s.do(); err != s.want {
				return fmt.Errorf("step %d: %v, want %v", i, err, s.want)
			}
		}
		return nil
	})
}

// remount gives no source and no type, as no remount needs to.
func remount(dir string, flags uintptr) error {
	p, err := unix.BytePtrFromString(dir)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall6(unix.SYS_MOUNT, 0, uintptr(unsafe.Pointer(p)), 0, flags, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// unmount tries to unmount what is not mounted, under another real user id.
func unmount(args []string) error {
	if err := unix.Setresuid(65533, -1, -1); err != nil {
		return err
	}
	if err := unix.Unmount(args[0], 0); err != unix.EINVAL {
		return fmt.Errorf("unmounting %s: %v", args[0], err)
	}
	return nil
}

// calls is how often each of the threads of many calls.
const calls = 50

// many fails to unmount from two threads at once: one what is not mounted,
// one what is not there.
func many(args []string) error {
	errs := make(chan error, 2)
	for path, want := range map[string]error{args[0]: unix.EINVAL, args[0] + "/missing": unix.ENOENT} {
		go func() {
			errs <- recipetest.Thread("rt-mount-thread", func(int) error {
				for range calls {
					if err := unix.Unmount(path, 0); err != want {
						return fmt.Errorf("unmounting %s: %v", path, err)
					}
				}
				return nil
			})
		}()
	}
	return first(<-errs, <-errs)
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func TestMounts(t *testing.T) {
	dir, decoy, twice := t.TempDir(), t.TempDir(), t.TempDir()
	// One call before the trace.
	if err := unix.Unmount(decoy, 0); err != unix.EINVAL {
		t.Fatal(err)
	}
	var pid, other, threads int
	result := recipetest.Run(t, "trace mounts and unmounts", func(a *recipetest.Live) {
		pid = a.Child("rt-mount", "mount", dir)
		other = a.Child("rt-mount-user", "unmount", dir)
		threads = a.Child("rt-mount-many", "many", twice)
	})
	var got []string
	for _, ev := range result.Events("mounts", recipetest.Want{"pid": pid, "comm": "rt-mount", "uid": 0}) {
		var line []string
		for _, name := range []string{"what", "result", "fstype", "flags", "source", "target"} {
			v, _ := ev.Get(name)
			line = append(line, fmt.Sprint(v))
		}
		got = append(got, strings.Join(line, " "))
	}
	want := []string{
		"mounted OK  MS_REC|MS_PRIVATE rt-none /",
		"mounted OK tmpfs MS_NOSUID|MS_NODEV rt-source " + dir,
		"mounted OK  MS_RDONLY|MS_REMOUNT  " + dir,
		"mounted ENODEV rt-no-such-file-system- 0 rt-source " + dir,
		"mounted ENOENT tmpfs 0 rt-source " + filepath.Join(dir, longName)[:199],
		"unmounted OK  0  " + dir,
		"unmounted EINVAL  0  " + dir,
	}
	if !slices.Equal(got, want) {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	result.Event("mounts", recipetest.Want{"pid": other, "comm": "rt-mount-user", "uid": 65533, "what": "unmounted", "result": "EINVAL", "target": dir})
	for target, errno := range map[string]string{twice: "EINVAL", twice + "/missing": "ENOENT"} {
		if n := len(result.Events("mounts", recipetest.Want{"pid": threads, "target": target, "result": errno})); n != calls {
			t.Errorf("%d events of %s with %s, want %d", n, target, errno, calls)
		}
	}
	if n := len(result.Events("mounts", recipetest.Want{"pid": threads})); n != 2*calls {
		t.Errorf("%d events of two threads, want %d", n, 2*calls)
	}
	result.NoEvent("mounts", recipetest.Want{"pid": os.Getpid()})
}

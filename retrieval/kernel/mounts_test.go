package kernel

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseMounts(t *testing.T) {
	table, err := parseMounts(`21 1 0:20 / / rw - ext4 /dev/vda rw
22 21 0:21 / /sys rw,nosuid shared:7 master:1 - sysfs sysfs rw
23 22 0:22 / /sys/kernel/tracing rw - tracefs nodev rw
24 22 0:22 /events /mnt/with\040space\134 rw - tracefs nodev rw
25 22 0:23 /sub /sys/fs/cgroup/part rw - cgroup2 none rw
26 22 0:23 / /sys/fs/cgroup/whole rw - cgroup2 none rw
27 22 0:24 / /hidden rw - debugfs none rw
28 22 0:25 / /hidden rw - tmpfs none rw
`)
	if err != nil {
		t.Fatal(err)
	}
	for fstype, want := range map[string]string{
		"tracefs": "/sys/kernel/tracing", "cgroup2": "/sys/fs/cgroup/whole", "debugfs": "", "tmpfs": "/hidden", "bpf": "",
	} {
		if got := table.first(fstype); got != want {
			t.Errorf("%s is at %q, want %q", fstype, got, want)
		}
	}
	if !slices.Contains(table, mountPoint{dir: `/mnt/with space\`, fstype: "tracefs"}) {
		t.Errorf("%v", table)
	}
	for _, text := range []string{"x\n", "21 1 0:20 / / rw ext4 /dev/vda rw\n", "21 1 0:20 / / rw - \n", "21 1 0:20 / - ext4 x rw\n"} {
		if table, err := parseMounts(text); err == nil {
			t.Errorf("%q gives %v", text, table)
		}
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(`21 1 0:20 / /a\040b rw shared:7 - ext4 /dev/vda rw` + "\n")
	f.Add(`21 1 0:20 / \9\400\04 rw - x`)
	f.Fuzz(func(t *testing.T, text string) {
		table, err := parseMounts(text)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, m := range table {
			if m.fstype == "" || seen[m.dir] {
				t.Fatalf("%q gives %v", text, table)
			}
			seen[m.dir] = true
		}
	})
}

// mountChild marks the process that TestEnsureMounts starts in a mount namespace of
// its own, so that the host's mounts stay as they are.
const mountChild = "KERNEL_TEST_MOUNTS"

func TestEnsureMounts(t *testing.T) {
	if os.Getenv(mountChild) != "" {
		ensureMountsInNamespace(t)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("mounting takes CAP_SYS_ADMIN")
	}
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestEnsureMounts$", "-test.v")
	cmd.Env = append(os.Environ(), mountChild+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestEnsureMounts") {
		t.Errorf("the test did not run:\n%s", out)
	}
	after, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Errorf("the host's mounts changed from\n%s\nto\n%s", before, after)
	}
}

func ensureMountsInNamespace(t *testing.T) {
	ctx := context.Background()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	unmountAll := func() {
		t.Helper()
		table, err := Sources{}.readMounts()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range slices.Backward(table) {
			if m.fstype == "tracefs" || m.fstype == "securityfs" || m.fstype == "debugfs" {
				if err := unix.Unmount(m.dir, 0); err != nil {
					t.Fatalf("unmounting %s: %v", m.dir, err)
				}
			}
		}
	}

	unmountAll()
	f, err := Live(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if f.TracefsMount != "" || f.Lockdown != LockdownUnknown {
		t.Fatalf("tracefs is at %q, lockdown is %q although nothing is mounted", f.TracefsMount, f.Lockdown)
	}
	if err := f.CheckHook(KindTracepoint, "sched:sched_switch"); !errors.Is(err, ErrNoTracefs) {
		t.Errorf("without tracefs, CheckHook returned %v", err)
	}

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := EnsureMounts(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, EnsureMounts returned %v", err)
	}
	for range 2 { // the second time there is nothing to do
		if err := EnsureMounts(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := MountTracefs(ctx); err != nil {
		t.Fatal(err)
	}
	f, err = Live(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if f.TracefsMount != tracefsDir || f.Lockdown == LockdownUnknown || f.LSMs == nil {
		t.Errorf("tracefs is at %q, lockdown is %q, modules are %q", f.TracefsMount, f.Lockdown, f.LSMs)
	}
	if err := f.CheckHook(KindTracepoint, "sched:sched_switch"); err != nil {
		t.Error(err)
	}
	table, err := Sources{}.readMounts()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(slices.DeleteFunc(table, func(m mountPoint) bool { return m.fstype != "tracefs" })); n != 1 {
		t.Errorf("tracefs is mounted %d times", n)
	}

	unmountAll()
	// Without the privilege, the message says what to do.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[unix.CAP_SYS_ADMIN/32].Effective &^= 1 << (unix.CAP_SYS_ADMIN % 32)
	dropped := make(chan error)
	go func() {
		// Capabilities belong to threads; this one is not used again.
		runtime.LockOSThread()
		if err := unix.Capset(&header, &data[0]); err != nil {
			dropped <- err
			return
		}
		dropped <- MountTracefs(ctx)
	}()
	if err := <-dropped; !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "needs CAP_SYS_ADMIN") {
		t.Errorf("without CAP_SYS_ADMIN, MountTracefs returned %v", err)
	}
}

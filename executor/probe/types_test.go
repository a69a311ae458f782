package probe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// typesEnv makes the test binary, in a mount namespace of its own, hide what the
// kernel says of its types and load a program: a file with the object.
const typesEnv = "KGENT_PROBE_TEST_TYPES"

func loadWithoutBTF(file string) (err error) {
	raw, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		return err
	}
	// The name of a vmlinux in /boot and such places is the release's.
	for _, dir := range []string{"/sys/kernel/btf", "/boot", "/lib/modules", "/usr/lib/debug"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	elf, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	o, err := program.Parse(elf)
	if err != nil {
		return err
	}
	mark := newMark()
	m, err := program.Build(o, program.Options{Name: "test", Constants: map[string]string{"mark": utoa(mark)}})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if s, err := probe.NewLoader(probe.Options{}).Load(ctx, o, m); err == nil {
		return errors.Join(errors.New("loaded without any types"), s.Close())
	} else if fmt.Println(err); !strings.Contains(err.Error(), "BTF") {
		return err
	}
	types, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	s, err := probe.NewLoader(probe.Options{Types: types}).Load(ctx, o, m)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.Attach(ctx); err != nil {
		return err
	}
	call(mark, 7)
	if err := s.Detach(); err != nil {
		return err
	}
	var got []uint64
	if err := s.Rest(ctx, func(_ int, raw []byte) { got = append(got, record{raw: raw}.u64(8)) }); err != nil {
		return err
	}
	if len(got) != 2 || got[0] != 7 || got[1] != 7 {
		return fmt.Errorf("events %v, want the call and its return", got)
	}
	return nil
}

// A kernel that does not describe its types is given them, or says that it needs
// them.
func TestTypesFromFile(t *testing.T) {
	residue.Check(t)
	file := t.TempDir() + "/object"
	if err := os.WriteFile(file, object(t, "raw_tp.bpf.c", "").ELF(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), typesEnv+"="+file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("without any: %s", out)
}

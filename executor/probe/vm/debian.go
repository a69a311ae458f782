package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Debian returns the kernel of a release of Debian. Its package is fetched when
// it is not there yet, into out/kernels of the module's directory.
func Debian(ctx context.Context, suite string) (Kernel, error) {
	top, err := moduleRoot()
	if err != nil {
		return Kernel{}, err
	}
	root := filepath.Join(top, "out", "kernels", suite)
	cmd := exec.CommandContext(ctx, filepath.Join(top, "deploy", "debian-root"), suite, root, "linux-image-cloud-amd64")
	cmd.Env = append(os.Environ(), "ONLY=linux-*-[0-9]*")
	if said, err := cmd.CombinedOutput(); err != nil {
		return Kernel{}, fmt.Errorf("fetching the kernel of Debian %s: %w\n%s", suite, err, said)
	}
	return Open(root)
}

// moduleRoot is the directory of go.mod, at or above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("finding the module: no go.mod in the working directory or above it")
		}
	}
}

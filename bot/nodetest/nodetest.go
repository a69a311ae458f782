// Package nodetest runs programs written for Node in tests. The stand-ins for
// Slack and Discord are held against the platforms' own JavaScript clients, and
// what kgent sends against their published TypeScript types, because nobody
// here wrote either and so nobody here can have made the same mistake twice.
//
// A project is a directory with package.json, package-lock.json and scripts.
// Its packages are installed once for each content of the lock file, in the
// user's cache directory, whatever the number of tests and test processes.
package nodetest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// installTimeout bounds one `npm ci`.
const installTimeout = 4 * time.Minute

// Install makes a project ready to run and returns where: a directory of this
// test's own, with the files of dir beside the installed packages. The test is
// skipped where node or npm is missing, and fails where the installation does.
func Install(t testing.TB, dir string) (project string) {
	t.Helper()
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s: %v", name, err)
		}
	}
	modules, err := install(dir)
	if err != nil {
		t.Fatalf("installing the packages of %s: %v", dir, err)
	}
	project = t.TempDir()
	if err := os.CopyFS(project, sources{os.DirFS(dir)}); err != nil {
		t.Fatalf("copying %s: %v", dir, err)
	}
	if err := os.Symlink(modules, filepath.Join(project, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return project
}

// sources is a project without what somebody installed in it by hand.
type sources struct{ fs.FS }

func (s sources) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.FS, name)
	kept := entries[:0]
	for _, e := range entries {
		if e.Name() != "node_modules" {
			kept = append(kept, e)
		}
	}
	return kept, err
}

// install returns the node_modules directory for dir's lock file. Of several
// test processes that install at once one wins, and all use its result.
func install(dir string) (modules string, err error) {
	hash := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(text), text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "kgent-nodetest")
	target := filepath.Join(cache, hex.EncodeToString(hash.Sum(nil))[:20])
	modules = filepath.Join(target, "node_modules")
	if _, err := os.Stat(modules); err == nil {
		return modules, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, "installing-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(work, name), text, 0o644); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = work
	inGroup(npm)
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	// A project without dependencies gets no such directory from npm.
	if err := os.MkdirAll(filepath.Join(work, "node_modules"), 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(work, target); err != nil {
		if _, lost := os.Stat(modules); lost != nil {
			return "", err
		}
	}
	return modules, nil
}

// inGroup makes the end of cmd's context the end of all it started.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
}

// Run runs a script of an installed project to its end and returns what it
// printed on standard output. env is added to the test's environment, as
// NAME=value. A script that ends with an error fails the test.
func Run(ctx context.Context, t testing.TB, project, script string, env ...string) string {
	t.Helper()
	p := Start(ctx, t, project, script, env...)
	if err := p.Wait(); err != nil {
		t.Fatalf("running %s: %v\n%s", script, err, p.Output())
	}
	return p.out.String()
}

// Process is a script that runs beside the test, such as a bot.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // after done

	out, all output
}

// output collects what a script prints and wakes those who wait for a line.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// line looks for a whole line with the prefix; without one it returns what
// closes when there is more to look at.
func (o *output) line(prefix string) (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := bufio.NewReader(bytes.NewReader(o.text.Bytes()))
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSuffix(line, "\n"), nil
		}
	}
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return "", o.changed
}

// Start starts a script of an installed project. It is killed when ctx ends
// and, at the latest, with the test.
func Start(ctx context.Context, t testing.TB, project, script string, env ...string) *Process {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	p := &Process{done: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, "node", script)
	p.cmd.Dir = project
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout = io.MultiWriter(&p.out, &p.all)
	p.cmd.Stderr = &p.all
	inGroup(p.cmd)
	if err := p.cmd.Start(); err != nil {
		cancel()
		t.Fatalf("starting %s: %v", script, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		cancel()
		<-p.done
		if t.Failed() {
			t.Logf("%s printed:\n%s", script, p.Output())
		}
	})
	return p
}

// Wait waits for the script's end.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Output is what the script printed so far, errors included.
func (p *Process) Output() string { return p.all.String() }

// WaitLine waits until the script prints a line with the prefix on standard
// output and returns the first such line.
func (p *Process) WaitLine(ctx context.Context, prefix string) (string, error) {
	for {
		line, changed := p.out.line(prefix)
		if changed == nil {
			return line, nil
		}
		select {
		case <-changed:
		case <-p.done:
			if line, changed := p.out.line(prefix); changed == nil {
				return line, nil
			}
			return "", fmt.Errorf("the script ended before it printed %q: %v", prefix, p.err)
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for %q: %w", prefix, ctx.Err())
		}
	}
}

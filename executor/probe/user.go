package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cilium/ebpf/link"

	"kgent/agent/program"
)

func (h host) attachUprobe(ctx context.Context, p *loaded) (string, error) {
	return h.attachUser(ctx, p, func(b binaryFile) ([]place, error) {
		if p.hook.Kind == program.Uretprobe && b.isGo(p.hook.Symbol) {
			return nil, refuse(nil, "a return probe crashes programs written in Go; probe what the function calls last")
		}
		return b.function(p.hook.Symbol)
	})
}

func (h host) attachUSDT(ctx context.Context, p *loaded) (string, error) {
	return h.attachUser(ctx, p, func(b binaryFile) ([]place, error) { return b.marker(p.hook.Symbol) })
}

// attachUser attaches to places in a binary, in every process that runs it
// now or later.
func (h host) attachUser(ctx context.Context, p *loaded, find func(binaryFile) ([]place, error)) (string, error) {
	hook := p.hook
	var err error
	if hook.Binary, err = h.resolve(ctx, hook.Binary); err != nil {
		return "", refuse(err, "its binary was not found")
	}
	at, err := pinBinary(hook.Binary)
	if err != nil {
		return "", err
	}
	defer at.Close()
	if err := h.permit(p.hook, at); err != nil {
		return "", err
	}
	var places []place
	err = withBinary(at, func(b binaryFile) (err error) {
		places, err = find(b)
		return err
	})
	switch {
	case err != nil:
		return "", err
	case len(places) == 0:
		return "", h.explain(ctx, hook, errNoPlace)
	}
	if err := h.attachPlaces(p, pinned(at), places); err != nil {
		return "", err
	}
	var said []string
	if len(places) > 1 {
		said = append(said, fmt.Sprintf("%d places", len(places)))
	}
	if !h.uprobeMulti {
		said = append(said, "this kernel has no uprobe_multi")
	}
	if len(said) > 0 {
		return fmt.Sprintf("%s (%s)", hook, strings.Join(said, "; ")), nil
	}
	return hook.String(), nil
}

var errNoPlace = errors.New("the binary has no such place")

// permit asks whether a program may be attached to what is open.
func (h host) permit(hook program.Hook, at *os.File) error {
	if h.opt.Refuse == nil {
		return nil
	}
	if err := h.opt.Refuse(hook, at); err != nil {
		return refuse(err, "it may not be attached there")
	}
	return nil
}

// Permit asks [Options.Refuse] about a hook that another tool than a Loader will
// attach to: about each binary that its name, which may be a pattern, stands for. That
// tool opens it by its name, later; so where something may not be attached to, the name
// has to be one that only root can make lead elsewhere.
func (l *Loader) Permit(ctx context.Context, hook program.Hook) error {
	if !hook.Kind.NeedsBinary() || l.host.opt.Refuse == nil {
		return nil
	}
	paths, err := []string(nil), error(nil)
	if strings.ContainsAny(hook.Binary, `*?[\`) {
		if err = settledPattern(hook.Binary); err == nil {
			paths, err = filepath.Glob(hook.Binary)
		}
	} else if hook.Binary, err = l.host.resolve(ctx, hook.Binary); err == nil {
		paths = []string{hook.Binary}
	}
	for _, path := range paths {
		var at *os.File
		if at, err = pinBinary(path); err == nil {
			err = l.host.permit(hook, at)
			at.Close()
		}
		if err == nil {
			err = settled(path)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("asking whether %s may be attached to: %w", hook, err)
	}
	return nil
}

// maxLinks is how many symbolic links the kernel follows in a path.
const maxLinks = 40

// settled fails when somebody else than root could make an absolute path lead to another
// file: one who may write to a directory on its way, links followed. Nothing below /proc
// is settled: a process's root directory is its own affair.
func settled(path string) error {
	rest, at, links := strings.Split(path, "/"), "/", 0
	for {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(at)
			if err != nil {
				return err
			}
			if links++; links > maxLinks {
				return fmt.Errorf("%s: too many symbolic links", path)
			}
			rest, at = append(strings.Split(target, "/"), rest...), filepath.Dir(at)
			if filepath.IsAbs(target) {
				at = "/"
			}
			continue
		}
		if info.IsDir() {
			if owner := info.Sys().(*syscall.Stat_t).Uid; at == "/proc" || owner != 0 || info.Mode().Perm()&0o022 != 0 {
				return fmt.Errorf("bpftrace opens %s by its name, which others than root can make another file's, in %s: "+
					"name a file that only root can replace, or ask for a program in C, which is attached to the very file that was asked about", path, at)
			}
		}
		for len(rest) > 0 && (rest[0] == "" || rest[0] == ".") {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return nil
		}
		at, rest = filepath.Join(at, rest[0]), rest[1:] // .. of what has no links
	}
}

// settledPattern is settled for all directories in which a pattern finds files.
func settledPattern(pattern string) error {
	for i, c := range pattern {
		if c != '/' || i == 0 {
			continue
		}
		dirs, err := filepath.Glob(pattern[:i])
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if err := settled(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// resolve returns the absolute path of a binary.
func (h host) resolve(ctx context.Context, name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	if h.opt.Resolve != nil {
		return h.opt.Resolve(name)
	}
	facts, err := h.facts(ctx)
	if err != nil {
		return "", err
	}
	return facts.ResolveBinary(name)
}

// attachPlaces uses one uprobe_multi link where the kernel has them (Linux
// 6.6), else one perf event for each place, which needs CAP_SYS_ADMIN.
func (h host) attachPlaces(p *loaded, path string, places []place) error {
	ex, err := link.OpenExecutable(path)
	if err != nil {
		return refuse(err, "its binary cannot be opened")
	}
	ret := p.hook.Kind == program.Uretprobe
	if !h.uprobeMulti {
		probe := ex.Uprobe
		if ret {
			probe = ex.Uretprobe
		}
		for _, at := range places {
			l, err := probe(p.hook.Symbol, p.prog, &link.UprobeOptions{Address: at.offset, RefCtrOffset: at.semaphore, TraceFSPrefix: tracePrefix})
			if err != nil {
				return userRefusal(err)
			}
			p.add(l)
		}
		return nil
	}
	opt := &link.UprobeMultiOptions{}
	semaphores := false
	for _, at := range places {
		opt.Addresses = append(opt.Addresses, at.offset)
		opt.RefCtrOffsets = append(opt.RefCtrOffsets, at.semaphore)
		semaphores = semaphores || at.semaphore != 0
	}
	if !semaphores {
		opt.RefCtrOffsets = nil
	}
	probe := ex.UprobeMulti
	if ret {
		probe = ex.UretprobeMulti
	}
	l, err := probe(nil, p.prog, opt)
	if err != nil {
		return userRefusal(err)
	}
	p.add(l)
	return nil
}

func userRefusal(err error) error {
	if forbidden(err) {
		return refuse(errno(err), "this host does not let kgent attach to user programs; it needs CAP_PERFMON on Linux 6.6 and later, CAP_SYS_ADMIN before")
	}
	return err
}

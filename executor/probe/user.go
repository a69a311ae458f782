package probe

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

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
	var places []place
	err = withBinary(hook.Binary, func(b binaryFile) (err error) {
		places, err = find(b)
		return err
	})
	switch {
	case err != nil:
		return "", err
	case len(places) == 0:
		return "", h.explain(ctx, hook, errNoPlace)
	}
	if err := h.attachPlaces(p, hook.Binary, places); err != nil {
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

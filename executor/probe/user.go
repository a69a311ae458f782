package probe

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"

	"kgent/agent/program"
)

func (h host) attachUprobe(p *loaded) (string, error) {
	return h.attachUser(p, func(b binaryFile) ([]place, error) { return b.function(p.hook.Symbol) })
}

func (h host) attachUSDT(p *loaded) (string, error) {
	return h.attachUser(p, func(b binaryFile) ([]place, error) { return b.marker(p.hook.Symbol) })
}

// attachUser attaches to places in a binary, in every process that runs it
// now or later.
func (h host) attachUser(p *loaded, find func(binaryFile) ([]place, error)) (string, error) {
	path := p.hook.Binary
	if !filepath.IsAbs(path) {
		if strings.Contains(path, "/") {
			return "", refuse(nil, "%s is neither a bare name nor an absolute path", path)
		}
		var err error
		if path, err = h.opt.Resolve(path); err != nil {
			return "", refuse(err, "its binary was not found")
		}
	}
	var places []place
	err := withBinary(path, func(b binaryFile) (err error) {
		places, err = find(b)
		return err
	})
	if err != nil {
		return "", err
	}
	if err := h.attachPlaces(p, path, places); err != nil {
		return "", err
	}
	resolved := p.hook
	resolved.Binary = path
	if len(places) > 1 {
		return fmt.Sprintf("%s (%d places)", resolved, len(places)), nil
	}
	return resolved.String(), nil
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
			l, err := probe(p.hook.Symbol, p.prog, &link.UprobeOptions{Address: at.offset, RefCtrOffset: at.semaphore, TraceFSPrefix: TracePrefix})
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
		return refuse(because(err), "this host does not let kgent attach to user programs; it needs CAP_PERFMON on Linux 6.6 and later, CAP_SYS_ADMIN before%s", why(forbidding()))
	}
	return refuse(err, "the kernel refused")
}

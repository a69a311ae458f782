package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
)

// Guard returns what keeps programs off the binaries and cgroups that DenyHooks
// names, for [probe.Options]; nil when nothing is denied. It looks at the file that
// is about to be attached to, not at its name: symbolic and hard links, bind
// mounts, /proc/PID/root, a container's name for its cgroup lead to the same file,
// and a program that has another name on the way still has its last one. The
// rule's files are looked up each time. A pattern's files are those that the shell
// would find by it, where * does not stand for a slash, and besides everything
// whose path or last name it matches.
//
// resolve finds binaries that rules name without a path; it may be nil. cgroups is
// where cgroup v2 is mounted.
func (p NodePolicy) Guard(resolve func(name string) (string, error), cgroups string) func(program.Hook, *os.File) error {
	if len(p.DenyHooks) == 0 {
		return nil
	}
	g := guard{p.DenyHooks, resolve, cgroups}
	return g.refuse
}

type guard struct {
	rules   []string
	resolve func(name string) (string, error)
	cgroups string
}

func (g guard) refuse(h program.Hook, at *os.File) error {
	own, err := identify(fmt.Sprintf("/proc/self/fd/%d", at.Fd()))
	if err != nil {
		return fmt.Errorf("finding out what %s is: %w", at.Name(), err)
	}
	// What the kernel calls it, without any links.
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", at.Fd()))
	if err != nil {
		return fmt.Errorf("finding out what %s is: %w", at.Name(), err)
	}
	for _, rule := range g.rules {
		names := []string{path, filepath.Base(path), at.Name()}
		if h.Kind.NeedsCgroup() {
			names = []string{g.below(path), g.below(at.Name())}
		}
		for _, text := range g.texts(h, rule) {
			same, err := g.leads(h, text, own)
			if err != nil {
				return fmt.Errorf("finding out what may not be attached to, %s: %w", rule, err)
			}
			if same && h.Kind.NeedsCgroup() {
				return denied(at, path, rule)
			}
			if same {
				names = append(names, text)
			}
		}
		for _, name := range names {
			if overlap(rule, named(h, name).String()) {
				return denied(at, path, rule)
			}
		}
	}
	return nil
}

func denied(at *os.File, path, rule string) error {
	what := at.Name()
	if what != path {
		what += ", which is " + path + ","
	}
	return &PolicyError{"denied-hook", fmt.Sprintf("a program attaches to %s and nothing may be attached to %s", what, rule)}
}

// named is the hook with another name of its binary or cgroup.
func named(h program.Hook, name string) program.Hook {
	if h.Kind.NeedsCgroup() {
		h.Target = name
	} else {
		h.Binary = name
	}
	return h
}

// below is the path of a cgroup as hooks have it.
func (g guard) below(path string) string {
	if rest, err := filepath.Rel(g.cgroups, path); err == nil && filepath.IsLocal(rest) {
		return filepath.Join("/", rest)
	}
	return path
}

// texts are the parts of a rule that may stand for the hook's file.
func (g guard) texts(h program.Hook, rule string) []string {
	kind, target, _ := strings.Cut(rule, " ")
	section, _, _ := strings.Cut(named(h, "/x").String(), " ")
	switch {
	case !overlap(kind, section):
		return nil
	case h.Kind.NeedsCgroup():
		return []string{target}
	}
	// A path may have colons of its own, and a rule may end in a * for the function.
	texts := []string{target, strings.TrimRight(target, "*:")}
	for i, c := range target {
		if c == ':' {
			texts = append(texts, target[:i])
		}
	}
	return texts
}

// leads reports whether a text, which may be a pattern, leads to a file.
func (g guard) leads(h program.Hook, text string, own identity) (bool, error) {
	var paths []string
	switch {
	case text == "":
		return false, nil
	case h.Kind.NeedsCgroup():
		text = filepath.Join(g.cgroups, filepath.Clean("/"+text))
	case !strings.Contains(text, "/"):
		// By its last name it was asked about already: what is not found has no other.
		if g.resolve == nil || strings.Contains(text, "*") {
			return false, nil
		}
		path, err := g.resolve(text)
		if err != nil {
			return false, nil
		}
		text = path
	}
	paths = []string{text}
	if strings.Contains(text, "*") {
		var err error
		// * is all that rules know.
		if paths, err = filepath.Glob(strings.NewReplacer(`\`, `\\`, "[", `\[`, "?", `\?`).Replace(text)); err != nil {
			return false, err
		}
	}
	for _, path := range paths {
		other, err := identify(path)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG):
		case err != nil:
			return false, err
		case own.same(other):
			return true, nil
		}
	}
	return false, nil
}

// identity is which file a path leads to.
type identity struct {
	unix.Stat_t
	// overlay: the file system shows another one's files as its own, under a device
	// number of its own but mostly their inode numbers; a probe goes to that other file.
	overlay bool
}

func identify(path string) (id identity, err error) {
	var fs unix.Statfs_t
	if err = unix.Stat(path, &id.Stat_t); err == nil {
		err = unix.Statfs(path, &fs)
	}
	if err != nil {
		return id, &os.PathError{Op: "looking at", Path: path, Err: err}
	}
	id.overlay = fs.Type == unix.OVERLAYFS_SUPER_MAGIC
	return id, nil
}

// same reports whether both are one file, or may be: in an overlay, what has all
// the marks of a file is taken for it.
func (a identity) same(b identity) bool {
	if a.Dev == b.Dev && a.Ino == b.Ino {
		return true
	}
	// The upper half of an inode number may be the layer.
	return (a.overlay || b.overlay) && uint32(a.Ino) == uint32(b.Ino) && a.Size == b.Size && a.Mtim == b.Mtim && a.Mode == b.Mode
}

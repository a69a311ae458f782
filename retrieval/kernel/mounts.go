package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	tracefsDir    = "/sys/kernel/tracing"
	securityfsDir = "/sys/kernel/security"
)

// EnsureMounts mounts what kgent reads from and is not mounted anywhere yet: tracefs
// at /sys/kernel/tracing and securityfs at /sys/kernel/security. What is mounted
// stays: the mounts belong to the host from then on, as if its init had made them.
// A kernel without securityfs is left as it is. Call it before [Live]; it needs
// CAP_SYS_ADMIN only if something is to be mounted.
func EnsureMounts(ctx context.Context) error {
	mounts, err := Sources{}.readMounts()
	if err != nil {
		return err
	}
	if mounts.first("tracefs") == "" {
		if err := MountTracefs(ctx); err != nil {
			return err
		}
	}
	if mounts.first("securityfs") == "" && (Sources{}).exists(securityfsDir) {
		if err := mount(ctx, "securityfs", securityfsDir); err != nil {
			return err
		}
	}
	return nil
}

// MountTracefs mounts tracefs at /sys/kernel/tracing. It is no error if it is
// mounted there already. Requires CAP_SYS_ADMIN.
func MountTracefs(ctx context.Context) error {
	if !(Sources{}).exists(tracefsDir) {
		return fmt.Errorf("mounting tracefs: %s does not exist; boot a kernel built with CONFIG_TRACING=y, or mount sysfs first", tracefsDir)
	}
	return mount(ctx, "tracefs", tracefsDir)
}

func mount(ctx context.Context, fstype, dir string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("mounting %s: %w", fstype, err)
	}
	mounts, err := Sources{}.readMounts()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(mounts, func(m mountPoint) bool { return m.dir == dir && m.fstype == fstype }) {
		return nil
	}
	err = unix.Mount("nodev", dir, fstype, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mounting %s at %s needs CAP_SYS_ADMIN; as root: mount -t %s nodev %s: %w", fstype, dir, fstype, dir, err)
	}
	if err != nil {
		return fmt.Errorf("mounting %s at %s: %w", fstype, dir, err)
	}
	return nil
}

// mountPoint is one line of mountinfo.
type mountPoint struct {
	dir    string
	fstype string
	whole  bool // the root of the filesystem is mounted, not a part of it
}

type mountTable []mountPoint

// first returns where a kind of filesystem is mounted first, empty if it is not. A
// mount of all of it goes before a mount of a part.
func (t mountTable) first(fstype string) string {
	var part string
	for _, m := range t {
		if m.fstype != fstype {
			continue
		}
		if m.whole {
			return m.dir
		}
		if part == "" {
			part = m.dir
		}
	}
	return part
}

// readMounts reads the mount table of this process. Without one, as among the facts
// of another machine, nothing counts as mounted.
func (s Sources) readMounts() (mountTable, error) {
	text, err := s.readSmall("/proc/self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	return parseMounts(text)
}

// parseMounts reads the format of /proc/PID/mountinfo. Of mounts on the same
// directory the last one, which hides the others, is kept.
func parseMounts(text string) (mountTable, error) {
	var table mountTable
	last := map[string]int{}
	for line := range strings.Lines(text) {
		// 22 20 0:21 / /sys rw,relatime shared:7 - sysfs sysfs rw: what is mounted is
		// the fourth field, where the fifth; the type follows the dash, before which
		// there may be any number of fields.
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		kind := strings.Fields(after)
		if !ok || len(fields) < 6 || len(kind) == 0 {
			return nil, fmt.Errorf("reading the mount table: malformed line %q", strings.TrimSpace(line))
		}
		m := mountPoint{dir: unescapeOctal(fields[4]), fstype: kind[0], whole: fields[3] == "/"}
		if at, ok := last[m.dir]; ok {
			table[at].fstype = "" // hidden
		}
		last[m.dir] = len(table)
		table = append(table, m)
	}
	return slices.DeleteFunc(table, func(m mountPoint) bool { return m.fstype == "" }), nil
}

// unescapeOctal undoes the kernel's \040 for characters that would end a field.
func unescapeOctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

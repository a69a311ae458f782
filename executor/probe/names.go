package probe

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// didYouMean returns words to append to an error about an unknown name: the
// nearest of the names there are, or nothing.
func didYouMean(want string, names []string) string {
	near := nearest(want, names)
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + printable(strings.Join(near, ", ")) + "?"
}

// nearest returns the up to three names most like want: those that contain it,
// or differ from it in at most a third of its letters.
func nearest(want string, names []string) []string {
	type scored struct {
		name string
		cost int
	}
	var near []scored
	limit := max(2, len(want)/3)
	for _, name := range names {
		cost := limit + 1
		if abs(len(name)-len(want)) <= limit {
			cost = distance(want, name)
		}
		if cost > limit && len(want) >= 4 && strings.Contains(name, want) {
			cost = limit
		}
		if cost <= limit {
			near = append(near, scored{name, cost})
		}
	}
	slices.SortFunc(near, func(a, b scored) int {
		if a.cost != b.cost {
			return a.cost - b.cost
		}
		if len(a.name) != len(b.name) {
			return len(a.name) - len(b.name)
		}
		return strings.Compare(a.name, b.name)
	})
	var out []string
	for _, s := range near {
		if !slices.Contains(out, s.name) {
			out = append(out, s.name)
		}
		if len(out) == 3 {
			break
		}
	}
	return out
}

// distance is the number of letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// tracefs returns where it is mounted, "" if nowhere.
func tracefs() string {
	for _, dir := range append(mountsOf("tracefs"), "/sys/kernel/tracing", "/sys/kernel/debug/tracing") {
		if _, err := os.Stat(filepath.Join(dir, "events")); err == nil {
			return dir
		}
	}
	return ""
}

// tracepoints returns the names of all tracepoints as category:name.
func tracepoints() []string {
	b, err := os.ReadFile(filepath.Join(tracefs(), "available_events"))
	if err != nil {
		return nil // only the suggestion is lost
	}
	return strings.Fields(string(b))
}

// rawTracepoints returns them without their category. System calls are not
// among them: their tracepoints exist in tracefs only.
func rawTracepoints() []string {
	var out []string
	for _, t := range tracepoints() {
		if category, name, ok := strings.Cut(t, ":"); ok && category != "syscalls" {
			out = append(out, name)
		}
	}
	return append(out, "sys_enter", "sys_exit")
}

// kernelFunctions returns the names of the kernel's functions.
func kernelFunctions() []string {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil // only the suggestion is lost
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if part := strings.Fields(sc.Text()); len(part) >= 3 && (part[1] == "t" || part[1] == "T") {
			out = append(out, part[2])
		}
	}
	return out
}

// mountsOf returns the mount points of a file system type, whole file systems
// before parts of one.
func mountsOf(fstype string) []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	return parseMounts(string(b), fstype)
}

// parseMounts reads /proc/self/mountinfo, see proc(5).
func parseMounts(text, fstype string) []string {
	var whole, part []string
	for line := range strings.Lines(text) {
		head, tail, ok := strings.Cut(line, " - ")
		if !ok {
			continue
		}
		h, t := strings.Fields(head), strings.Fields(tail)
		if len(h) < 5 || len(t) < 1 || t[0] != fstype {
			continue
		}
		if h[3] == "/" {
			whole = append(whole, unoctal(h[4]))
		} else {
			part = append(part, unoctal(h[4]))
		}
	}
	return append(whole, part...)
}

// unoctal undoes the kernel's \040 escapes.
func unoctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1:i+4]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(s string) bool {
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' && s[2] <= '7'
}

package agent

import (
	"fmt"
	"regexp"
	"strings"
)

// Models write by habit what is right elsewhere: the headers of libbpf, a file
// without a license line. None of that is worth a try, so it is put right, and
// said in the record. What people approve is the source as it is afterwards.

const (
	includeLine = `#include "kgent.bpf.h"`
	licenseLine = `char LICENSE[] SEC("license") = "Dual MIT/GPL";`
)

var (
	// anInclude is a whole line that includes a header whose contents
	// kgent.bpf.h brings: a system header, or one of libbpf's and vmlinux.h in
	// quotes. Anything else stays, for the compiler to refuse.
	anInclude = regexp.MustCompile(`^[ \t]*#[ \t]*include[ \t]*(<[a-z_][A-Za-z0-9_/-]*\.h>|"(?:bpf/)?(?:vmlinux|bpf_helpers|bpf_helper_defs|bpf_tracing|bpf_core_read|bpf_endian)\.h")[ \t]*(?://.*|/\*[^*]*\*/[ \t]*)?\r?$`)
	ownHeader = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*include[ \t]*["<]kgent\.bpf\.h[">]`)
	aLicense  = regexp.MustCompile(`SEC[ \t]*\([ \t]*"license"[ \t]*\)|section[ \t]*\([ \t]*"license"`)
	aFence    = regexp.MustCompile("(?s)^\\s*```[a-zA-Z+]*[ \t]*\r?\n(.*?)\r?\n?```\\s*$")
)

// amend puts right what a source lacks or has too much, and says what it did.
// The lines keep their numbers as far as possible, because the model will be
// told about them.
func amend(source string) (amended string, notes []string) {
	if m := aFence.FindStringSubmatch(source); m != nil {
		source, notes = m[1], append(notes, "took the code fence off")
	}
	if strings.TrimSpace(source) == "" {
		return source, notes
	}
	own := ownHeader.MatchString(source)
	lines := strings.Split(source, "\n")
	for i, l := range lines {
		m := anInclude.FindStringSubmatch(l)
		if m == nil || strings.Contains(m[1], "kgent.bpf.h") {
			continue
		}
		notes = append(notes, fmt.Sprintf("left out #include %s: kgent.bpf.h has what is needed of it", m[1]))
		lines[i] = ""
		if !own {
			lines[i], own = includeLine, true
			notes = append(notes, "added "+includeLine)
		}
	}
	if !own {
		lines = append([]string{includeLine}, lines...)
		notes = append(notes, "added "+includeLine)
	}
	source = strings.Join(lines, "\n")
	if !aLicense.MatchString(source) {
		source = strings.TrimRight(source, "\n") + "\n\n" + licenseLine + "\n"
		notes = append(notes, "added the license line, Dual MIT/GPL")
	}
	return source, notes
}

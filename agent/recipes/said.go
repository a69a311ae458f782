package recipes

import "slices"

// Said is a value that a request names, as "20 ms" is a threshold of 20ms.
type Said struct {
	Role Role
	// Value is as program.EncodeValue takes it; durations as time.ParseDuration does.
	Value string
	Text  string // of the request
}

// Limits are the values by which a request says which occurrences it is about, in its order: those that can be read in one way only.
// How long to watch and how to show it are none.
func (l *Library) Limits(text string, opt MatchOptions) (out []Said) {
	limits := []Role{RolePID, RoleProcess, RoleServer, RoleSenderPID, RoleSender, RoleTargetPID, RoleTargetProcess, RolePort, RoleLocalPort, RoleDestPort,
		RolePath, RoleErrno, RoleSignal, RoleSyscall, RoleThreshold, RoleSize}
	words := split(text, l.lexicon.inHyphens)
	for _, a := range readArgs(l.lexicon, words, opt.UserID) {
		if a.soft || a.problem != "" || len(a.readings) == 0 || !slices.Contains(limits, a.readings[0].role) {
			continue
		}
		said := Said{Role: a.readings[0].role, Value: a.readings[0].value}
		for _, w := range words[a.first:a.last] {
			if said.Text != "" {
				said.Text += " "
			}
			said.Text += w.low
		}
		out = append(out, said)
	}
	return out
}

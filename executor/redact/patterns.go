package redact

import "bytes"

// class tells bytes apart by a table: this runs for every string of every
// event.
type class uint8

const (
	lower class = 1 << iota
	upper
	digit
	joint // - _ + ~ within words

	letter = lower | upper
	word   = letter | digit | joint
)

var classes = func() (t [256]class) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z':
			t[c] = lower
		case c >= 'A' && c <= 'Z':
			t[c] = upper
		case c >= '0' && c <= '9':
			t[c] = digit
		case c == '-' || c == '_' || c == '+' || c == '~':
			t[c] = joint
		}
	}
	return t
}()

// patterns goes once through a text, word by word.
func patterns(found []span, s []byte) []span {
	var last []byte     // the word before
	var program command // whose arguments these are
	for i := 0; i < len(s); {
		if classes[s[i]] == 0 {
			i++
			continue
		}
		j := i + 1
		for j < len(s) && classes[s[j]] != 0 {
			j++
		}
		w := s[i:j]
		next := j
		f, ok := program.argument(s, i, j)
		if ok && program == sshpass {
			program = anyCommand // what follows is the command that it runs
		}
		if !ok {
			f, ok = secret(s, i, j, last)
		}
		if ok {
			found = append(found, f)
			next = max(f.to, j)
		}
		if j < len(s) && s[j] == ' ' && len(w) >= 4 && len(w) <= 13 {
			program = program.next(w)
		}
		last, i = w, next
	}
	return found
}

// command is a program that takes a password with an option that does not say
// so.
type command uint8

const (
	anyCommand command = iota
	mysql              // -pPASSWORD
	sshpass            // -p PASSWORD, or without the blank
	redisCLI           // -a PASSWORD
	curl               // -u USER:PASSWORD
)

// next is the command after a word.
func (c command) next(w []byte) command {
	switch string(w) {
	case "mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump":
		return mysql
	case "sshpass":
		return sshpass
	case "redis-cli":
		return redisCLI
	case "curl", "wget":
		return curl
	}
	return c
}

// argument is the secret that the option s[i:j] gives the command.
func (c command) argument(s []byte, i, j int) (span, bool) {
	if c == anyCommand || j-i < 2 || s[i] != '-' || i > 0 && s[i-1] != ' ' && s[i-1] != '\'' {
		return span{}, false
	}
	option, from := s[i:i+2], i+2
	blank := from < len(s) && s[from] == ' '
	switch {
	case c == mysql && string(option) == "-p" && !blank:
	case c == sshpass && string(option) == "-p", c == redisCLI && string(s[i:j]) == "-a":
		from = skip(s, from, " ")
	case c == curl && (string(s[i:j]) == "-u" || string(s[i:j]) == "--user"):
		from = skip(s, j, " =")
		to := until(s, from, &ends)
		if from < len(s) && s[from] == '\'' {
			f, _ := inside(s, from)
			from, to = f.from, f.to
		}
		colon := bytes.IndexByte(s[from:to], ':')
		return span{from + colon + 1, to}, colon >= 0 && telling(s[from+colon+1:to])
	default:
		return span{}, false
	}
	if from < len(s) && s[from] == '\'' {
		return inside(s, from)
	}
	to := until(s, from, &ends)
	return span{from, to}, telling(s[from:to])
}

// secret looks at the word s[i:j], and at what follows it if the word says that
// a secret does.
func secret(s []byte, i, j int, last []byte) (span, bool) {
	w := s[i:j]
	if len(w) >= minToken {
		if end := token(s, i, j); end > 0 {
			return span{i, end}, true
		}
	}
	if w[0] == '-' && string(w) == "-----BEGIN" {
		end := privateKey(s, i)
		return span{i, end}, end > 0
	}
	if j == len(s) {
		return span{}, false
	}
	if s[j] == ':' && bytes.HasPrefix(s[j:], []byte("://")) {
		return credentials(s, j+3)
	}
	if len(w) < 2 || len(w) > maxName {
		return span{}, false
	}
	// Most words are followed by nothing that a value could follow.
	switch s[j] {
	case '=', ':', '"', '\'', '(':
	case ' ':
		if j+1 < len(s) && classes[s[j+1]] != 0 && w[0] != '-' && w[len(w)-1]|0x20 != 'r' {
			return span{}, false // the next word, and this is not bearer
		}
		switch k := skip(s, j, " "); {
		case k == len(s):
			return span{}, false
		case w[0] == '-' || s[k] == '=' || s[k] == ':' || s[k] == '\'' || s[k] == '"' || s[k] == '(':
			if isWord(w, "by") && isWord(last, "identified") {
				return quoted(s, j)
			}
		case isWord(w, "bearer"):
			to := until(s, k, &ends)
			return span{k, to}, to-k >= 8 && mixed(s[k:to])
		default:
			return span{}, false
		}
	default:
		return span{}, false
	}
	if !named(w) {
		return span{}, false
	}
	return value(s, i, j)
}

// Bounds of words that are looked at.
const (
	minToken = 16 // of a secret that is known by its form
	maxName  = 64 // of the name of one
)

// prefixes of tokens whose makers chose them so that they are found, by their
// first letter.
var prefixes = func() (t [256][]string) {
	for _, p := range [...]string{
		"AKIA", "ASIA", "AIza", // Amazon, Google
		"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "glptt-",
		"xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-", // Slack
		"sk_live_", "sk_test_", "rk_live_", "rk_test_", "sk-", "shpat_", "sbp_",
		"npm_", "pypi-", "hf_", "dop_v1_", "dckr_pat_", "eyJ",
	} {
		t[p[0]] = append(t[p[0]], p)
	}
	return t
}()

// token reports where a token ends that begins at i, whose first word ends at
// j; 0 when it is none.
func token(s []byte, i, j int) int {
	w := s[i:j]
	for _, p := range prefixes[w[0]] {
		if !bytes.HasPrefix(w, []byte(p)) {
			continue
		}
		switch p {
		case "AKIA", "ASIA": // 20 capitals and digits
			if len(w) == 20 && all(w, upper|digit) {
				return j
			}
		case "eyJ": // a JSON web token: the base64 of {" and two dots
			if end := until(s, i, &jwtEnds); bytes.IndexByte(s[i:end], '.') > 0 && end-i >= 24 {
				return end
			}
		default:
			if len(w) >= len(p)+minToken && mixed(w[len(p):]) {
				return j
			}
		}
	}
	if len(w) >= minRandom && random(w) && !digest(s, i) {
		// Base64 may go on behind a slash, and end in equals signs.
		return until(s, j, &base64Ends)
	}
	return 0
}

func all(w []byte, c class) bool {
	for _, b := range w {
		if classes[b]&c == 0 {
			return false
		}
	}
	return true
}

// mixed reports whether there are letters and digits.
func mixed(w []byte) bool {
	var seen class
	for _, b := range w {
		seen |= classes[b]
	}
	return seen&letter != 0 && seen&digit != 0
}

// privateKey is a block of PEM that holds one, to its end or as far as the
// trace saw it.
func privateKey(s []byte, i int) int {
	line := s[i:min(len(s), i+64)]
	if !bytes.Contains(line, []byte("PRIVATE KEY")) {
		return 0
	}
	end := bytes.Index(s[i:], []byte("-----END"))
	if end < 0 {
		return len(s)
	}
	end += i
	if nl := bytes.Index(s[end+8:], []byte("-----")); nl >= 0 {
		return end + 8 + nl + 5
	}
	return len(s)
}

// What random tokens look like: long, of small letters, capitals and digits, and
// changing between them as names and numbers do not.
const (
	minRandom   = 32
	minOfEach   = 3
	minChanging = 0.45 // of the neighbours; chance gives 0.62, CamelCase 0.3
)

// random reports whether a word looks like base64 of chance. Hexadecimal, which
// is what hashes and ids are, has no capitals beside small letters.
func random(w []byte) bool {
	lowers, uppers, digits, pairs, changes := 0, 0, 0, 0, 0
	before := joint
	for _, b := range w {
		c := classes[b]
		switch c {
		case lower:
			lowers++
		case upper:
			uppers++
		case digit:
			digits++
		}
		if before != joint && c != joint {
			pairs++
			if c != before {
				changes++
			}
		}
		before = c
	}
	if lowers < minOfEach || uppers < minOfEach || digits < minOfEach {
		return false
	}
	if float64(changes) < minChanging*float64(pairs) {
		return false
	}
	// Mangled names of C++ and Rust.
	return !bytes.HasPrefix(w, []byte("_Z")) && !bytes.HasPrefix(w, []byte("_R"))
}

// digest reports whether what begins at i is said to be a hash: sha256-…,
// SHA256:….
func digest(s []byte, i int) bool {
	w := s[i:]
	if i >= 7 && (s[i-1] == ':' || s[i-1] == '=') {
		w = s[i-7:]
	}
	return len(w) > 3 && w[0]|0x20 == 's' && w[1]|0x20 == 'h' && w[2]|0x20 == 'a' && classes[w[3]] == digit
}

// credentials is the password of a URL, whose authority begins at i.
func credentials(s []byte, i int) (span, bool) {
	end := until(s, i, &authorityEnds)
	colon := bytes.IndexByte(s[i:end], ':')
	if colon < 0 {
		return span{}, false
	}
	from := i + colon + 1
	at := bytes.LastIndexByte(s[from:end], '@')
	switch {
	case at == 0:
		return span{}, false
	case at > 0:
		return span{from, from + at}, true
	case end == len(s) && from < end && s[i] != '[' && !all(s[from:end], digit):
		return span{from, end}, true // cut short before the host
	}
	return span{}, false
}

// named reports whether a word is the name of a secret: whether it ends like one.
func named(w []byte) bool {
	switch [2]byte{w[len(w)-2] | 0x20, w[len(w)-1] | 0x20} {
	case [2]byte{'r', 'd'}:
		return endsWith(w, "password")
	case [2]byte{'w', 'd'}:
		return endsWith(w, "passwd") || alone(w, "pwd")
	case [2]byte{'s', 'e'}:
		return endsWith(w, "passphrase")
	case [2]byte{'s', 's'}:
		return alone(w, "pass")
	case [2]byte{'e', 't'}:
		return endsWith(w, "secret")
	case [2]byte{'e', 'n'}:
		return endsWith(w, "token")
	case [2]byte{'o', 'n'}:
		return endsWith(w, "authorization")
	case [2]byte{'e', 'y'}:
		if !endsWith(w, "key") {
			return false
		}
		w = w[:len(w)-len("key")]
		if n := len(w); n > 0 && (w[n-1] == '_' || w[n-1] == '-') {
			w = w[:n-1]
		}
		for _, kind := range [...]string{"api", "access", "secret", "private", "account", "signing", "encryption"} {
			if endsWith(w, kind) {
				return true
			}
		}
	}
	return false
}

// alone reports whether a word is a name, or ends with it behind a joint.
func alone(w []byte, name string) bool {
	return endsWith(w, name) && (len(w) == len(name) || classes[w[len(w)-len(name)-1]] == joint)
}

// endsWith compares with small letters.
func endsWith(w []byte, end string) bool {
	if len(w) < len(end) {
		return false
	}
	w = w[len(w)-len(end):]
	for i := range w {
		c := w[i]
		if classes[c] == upper {
			c |= 0x20
		}
		if c != end[i] {
			return false
		}
	}
	return true
}

func isWord(w []byte, name string) bool { return len(w) == len(name) && endsWith(w, name) }

// value is what the name s[i:j] is given: name=value, name: value, "name":
// "value", --name value, NAME 'value'.
func value(s []byte, i, j int) (span, bool) {
	at := j
	if at < len(s) && (s[at] == '"' || s[at] == '\'') {
		at++ // of the name, in JSON
	}
	at = skip(s, at, " ")
	if at == len(s) {
		return span{}, false
	}
	switch s[at] {
	case '=':
		at = skip(s, at+1, "= ")
		if i > 0 && at == j+1 && (s[i-1] == '\'' || s[i-1] == '"') { // 'name=a value'
			f, _ := inside(s, i-1)
			return span{at, max(f.to, at)}, telling(s[at:max(f.to, at)])
		}
	case ':':
		blank := at+1 < len(s) && s[at+1] == ' '
		at = skip(s, at+1, " ")
		if endsWith(s[i:j], "authorization") {
			return header(s, at)
		}
		if blank && at < len(s) && s[at] != '"' && s[at] != '\'' { // prose, perhaps
			to := until(s, at, &ends)
			return span{at, to}, to-at >= 8 && mixed(s[at:to])
		}
	case '"', '\'', '(': // as in SQL
		if !endsWith(s[i:j], "password") {
			return span{}, false
		}
		return quoted(s, j)
	default:
		if at == j || s[i] != '-' {
			return span{}, false
		}
		// An option and its value, apart.
		if s[at] == '-' {
			return span{}, false
		}
	}
	if at < len(s) && (s[at] == '"' || s[at] == '\'') {
		return inside(s, at)
	}
	to := until(s, at, &ends)
	return span{at, to}, telling(s[at:to])
}

// telling reports whether a value is a secret and not a word that says where
// one is, or that there is none.
func telling(v []byte) bool {
	if len(v) == 0 || v[0] == '/' || v[0] == '$' || v[0] == '*' || v[0] == '<' || v[0] == '%' || bytes.HasPrefix(v, []byte("./")) {
		return false
	}
	for _, no := range [...]string{"true", "false", "yes", "no", "null", "none", "nil", "0", "1"} {
		if isWord(v, no) {
			return false
		}
	}
	return true
}

// header is the value of an Authorization header, whose scheme stays.
func header(s []byte, at int) (span, bool) {
	to := until(s, at, &headerEnds)
	if i := bytes.IndexByte(s[at:to], ' '); i > 0 && i < to-at-1 {
		at += i + 1
	}
	return span{at, to}, to > at && telling(s[at:to])
}

// quoted is a string in quotation marks that follows, as in SQL.
func quoted(s []byte, at int) (span, bool) {
	at = skip(s, at, " (")
	if at < len(s) && (s[at] == '\'' || s[at] == '"') {
		return inside(s, at)
	}
	return span{}, false
}

// inside is what stands between the quotation mark at i and the next, or the
// end of what the trace saw.
func inside(s []byte, i int) (span, bool) {
	to := i + 1
	for to < len(s) && s[to] != s[i] {
		if s[to] == '\\' {
			to++
		}
		to++
	}
	to = min(to, len(s))
	return span{i + 1, to}, telling(s[i+1 : to])
}

// skip returns where other bytes than these begin.
func skip(s []byte, i int, bytes string) int {
	for i < len(s) {
		blank := false
		for k := range len(bytes) {
			blank = blank || s[i] == bytes[k]
		}
		if !blank {
			break
		}
		i++
	}
	return i
}

// set is a set of bytes.
type set [256]bool

func setOf(bytes string) (t set) {
	for _, c := range []byte(bytes) {
		t[c] = true
	}
	return t
}

var (
	ends          = setOf(" \t\r\n\"'&;,)}]|<>\x00")
	headerEnds    = setOf("\r\n\"'\x00")
	authorityEnds = setOf("/?# \t\r\n\"'<>\x00")
	jwtEnds       = func() (t set) {
		for c := range t {
			t[c] = classes[c] == 0 && c != '.'
		}
		return t
	}()
	base64Ends = func() (t set) {
		for c := range t {
			t[c] = classes[c] == 0 && c != '/' && c != '='
		}
		return t
	}()
)

// until returns where one of the bytes is, or the end.
func until(s []byte, i int, stop *set) int {
	for i < len(s) && !stop[s[i]] {
		i++
	}
	return i
}

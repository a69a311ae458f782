package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/agent/contract"
	"kgent/agent/recipes"
)

// unheard are the words of a request that limit it and of which a contract has nothing: no process of that name, no such number in any unit,
// no protocol. A clause that is forgotten makes a contract that a program can keep and that shows more than was asked; a proof cannot
// notice. It is no proof that a clause is there: a word may stand in it for something else.
func unheard(limits []recipes.Said, request string, c *contract.Contract) (missed []string) {
	text, numbers := bareOf(c), map[uint64]bool{}
	for _, m := range aNumber.FindAllStringSubmatch(text, -1) {
		if n, err := strconv.ParseUint(m[1], 0, 64); err == nil {
			numbers[n*max(1, unitsOf[m[2]])] = true
		}
	}
	has := func(n uint64, units ...uint64) bool {
		return slices.ContainsFunc(append(units, 1), func(u uint64) bool { return numbers[n*u] || n%u == 0 && numbers[n/u] })
	}
	low := strings.ToLower(text)
	for _, s := range limits {
		ok := true
		switch s.Role {
		case recipes.RoleThreshold:
			if d, err := time.ParseDuration(s.Value); err == nil && d > 0 {
				ok = has(uint64(d), 1e3, 1e6, 1e9)
			}
		case recipes.RoleSize, recipes.RolePort, recipes.RoleLocalPort, recipes.RoleDestPort, recipes.RolePID, recipes.RoleSenderPID, recipes.RoleTargetPID:
			if n, err := strconv.ParseUint(s.Value, 10, 64); err == nil {
				ok = has(n, 512, 1<<10, 1<<20)
			}
		case recipes.RoleSignal, recipes.RoleSyscall:
			ok = strings.Contains(low, strings.ToLower(strings.TrimPrefix(s.Value, "-")))
		case recipes.RoleErrno:
			// "timeout" may be an error, or what the calls have that are traced.
			ok = strings.Contains(low, strings.ToLower(strings.TrimPrefix(s.Value, "-"))) || hasArgument(c, s.Text)
		default: // the name of a process, a path
			ok = strings.Contains(low, strings.ToLower(s.Value[:min(len(s.Value), 15)]))
		}
		// "Redis commands" and "HTTP requests" name no process and no port, where the contract reads what is in the messages.
		ok = ok || spoken.MatchString(s.Text) && readsMessages.MatchString(text)
		if !ok && !slices.Contains(missed, s.Text) {
			missed = append(missed, s.Text)
		}
	}
	for _, p := range protocols {
		if word := p.said.FindString(request); word != "" && !p.meant.MatchString(text) {
			missed = append(missed, word)
		}
	}
	return missed
}

// spoken are protocols that are called as their servers are; readsMessages is a text or number that stands in a packet, or in what a
// process sends.
var (
	spoken        = regexp.MustCompile(`(?i)^(?:redis|memcached?|mysql|mariadb|postgres(?:ql)?|mongo(?:db)?|kafka|nats|mqtt|amqp|https?|tls|ssl|dns|smtp|imap|ftp|ldap)$`)
	readsMessages = regexp.MustCompile(`\b(?:packet\.(?:text|dnsname)|user_text|user_bytes)\(`)
)

// protocols are those that a contract cannot mean without saying so.
var protocols = []struct{ said, meant *regexp.Regexp }{
	{regexp.MustCompile(`(?i)\bUDP\b`), regexp.MustCompile(`(?i)udp|SOCK_DGRAM|\b(?:17|0x11)\b`)},
	{regexp.MustCompile(`(?i)\bICMP\b`), regexp.MustCompile(`(?i)icmp|\b(?:1|58)\b`)},
	{regexp.MustCompile(`(?i)\bARP\b`), regexp.MustCompile(`(?i)arp|0x0?806|\b2054\b`)},
	{regexp.MustCompile(`(?i)\bSCTP\b`), regexp.MustCompile(`(?i)sctp|\b(?:132|0x84)\b`)},
}

var aNumber = regexp.MustCompile(`(?i)\b(0x[0-9a-f]+|[0-9]+)(ns|us|ms|s|m|h|KiB|MiB|GiB|B)?\b`)

var unitsOf = map[string]uint64{"us": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

var caseName = regexp.MustCompile(`(?m)^(\s*case )\w+:`)

// bareOf is a contract's text without what its author is free to call things: title, meanings, names.
func bareOf(c *contract.Contract) string {
	bare := *c
	bare.Title = ""
	text := contract.Format(&bare)
	for _, p := range c.Params {
		if p.Means != "" {
			text = strings.ReplaceAll(text, strconv.Quote(p.Means), `""`)
		}
	}
	text = caseName.ReplaceAllString(text, "$1_:")
	var names []string
	for _, e := range c.Events {
		names = append(names, e.Name)
	}
	for _, t := range c.Tables {
		names = append(names, t.Name)
	}
	for _, m := range c.Memories {
		names = append(names, m.Name)
	}
	for _, n := range names {
		text = regexp.MustCompile(`\b`+regexp.QuoteMeta(n)+`\b`).ReplaceAllString(text, "_")
	}
	return text
}

// hasArgument tells whether a contract reads an argument of that name.
func hasArgument(c *contract.Contract, name string) bool {
	for _, h := range c.Hooks {
		for _, p := range h.Places {
			if slices.ContainsFunc(p.Args, func(a contract.Arg) bool { return strings.EqualFold(a.Name, name) }) {
				return true
			}
		}
	}
	return false
}

// foliosForPages is a place that fires once for what may be many pages, where pages are asked for and the contract reads
// nothing by which it would know how many; or empty.
func foliosForPages(request string, c *contract.Contract) string {
	if !aPage.MatchString(request) || pagesOf.MatchString(bareOf(c)) {
		return ""
	}
	for _, h := range c.Hooks {
		for _, p := range h.Places {
			if strings.Contains(p.Target, "folio") || strings.Contains(p.Target, "page_cache") || hasArgument(c, "folio") {
				return p.Kind + "/" + p.Target
			}
		}
	}
	return ""
}

var (
	aPage   = regexp.MustCompile(`(?i)\bpages?\b`)
	pagesOf = regexp.MustCompile(`\b(?:_nr_pages|_folio_nr_pages|_folio_order|_flags_1|order)\b`)
)

// overheard is for the card what of the request the contract has nothing of, though its author was asked.
func (a *author) overheard() (out []string) {
	if len(a.unheard) > 0 {
		out = append(out, "CHECK: the request says “"+strings.Join(a.unheard, "”, “")+"”, and nothing in the contract is about that")
	}
	if a.folios != "" {
		out = append(out, "CHECK: pages are asked for, and "+a.folios+" fires once for a folio, which may have many")
	}
	return out
}

// missing has the author read the request once more for what limits it and is nowhere in the contract. It asks once for each
// word: the author may have reasons, which it is to say.
func (a *author) missing(c *contract.Contract) error {
	a.unheard = unheard(a.Recipes.Limits(a.req.Text, recipes.MatchOptions{UserID: a.UserID}), a.req.Text, c)
	var fresh []string
	for _, w := range a.unheard {
		if !slices.Contains(a.asked, w) {
			fresh = append(fresh, fmt.Sprintf("“%s”", w))
			a.asked = append(a.asked, w)
		}
	}
	if a.folios = foliosForPages(a.req.Text, c); a.folios != "" && !slices.Contains(a.asked, a.folios) {
		a.asked = append(a.asked, a.folios)
		return &draftError{err: fmt.Errorf("%s fires once for a folio, which may have many pages, and the contract does not add up how many: see what to know of it", a.folios), plain: true}
	}
	if len(fresh) == 0 {
		return nil
	}
	return &draftError{err: fmt.Errorf("the request says %s, and nothing in the contract is about that: put into \"when\" what it leaves out, or, if it leaves nothing out, say why in \"analysis\" and answer with the same object",
		strings.Join(fresh, " and ")), plain: true}
}

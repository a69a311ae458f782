package recipes

import (
	"regexp"
	"slices"
)

// clause is what stands between two marks of punctuation, or conjunctions.
type clause struct {
	first, last int // words [first, last)
	// aside says that the clause tells how things are ("the link feels lossy,
	// …") and names nothing that could narrow a request. When the other clauses say
	// what to watch, what cannot be explained in it is no part of the request.
	aside bool
}

// Words of clauses that tell instead of asking.
var (
	// joins begin a clause.
	joins = []string{"but", "yet", "because", "cause", "cuz", "though", "although", "whereas"}
	// tells are in a clause that tells: verbs, and words of opinion.
	tells = []string{
		"is", "are", "was", "were", "has", "have", "had", "isnt", "isn't", "arent", "aren't", "wasnt", "wasn't", "hasnt", "hasn't", "dont", "don't", "doesnt", "doesn't", "didnt", "didn't", "wont", "won't", "cant", "can't", "cannot",
		"feel", "feels", "felt", "seem", "seems", "look", "looks", "keep", "keeps", "kept", "act", "acts", "say", "says", "said", "think", "thinks", "bet", "suspect", "suspects", "guess", "reckon", "believe", "complain", "complains", "complaining", "claims",
		"sure", "again", "thinks", "lose", "loses", "losing", "lost", "vanish", "vanishes", "disappear", "disappears", "spikes", "spiking", "screaming", "behaves", "behaving", "should", "does", "take", "takes", "took", "gets", "got", "goes", "went", "sits", "trying", "tried", "tries", "want", "wants", "need", "needs", "started", "stopped", "stops", "starts", "broke", "died", "dies", "crashed", "crashes", "hangs", "freezes", "stalls", "became", "becomes", "im", "i'm", "we're", "ive", "i've", "having",
	}
	// asks begin a clause that asks, and modifies one that narrows what another asks.
	asking   = []string{"who", "who's", "whos", "whose", "what", "what's", "whats", "which", "how", "where", "when", "whenever", "is", "are", "do", "does", "did", "has", "have", "can", "could", "any", "anything", "anybody", "anyone", "show", "list", "trace", "count", "give", "tell", "log", "watch", "monitor", "record", "print", "dump", "track", "find", "see", "capture", "measure", "report", "rank", "catch", "let", "please", "pls", "wanna", "i want", "get"}
	modifies = []string{"in", "on", "of", "for", "from", "by", "under", "with", "without", "inside", "within", "per", "and", "or", "not", "no", "none", "only", "just", "don't", "dont", "do", "except", "excluding", "during", "between", "at", "to", "as", "into", "via", "over", "through", "until", "if", "while", "once", "after", "before", "that", "those", "these", "where", "whose", "ignore", "ignoring", "skip", "skipping", "leave", "leaving", "never", "nothing", "nobody", "sorted", "grouped", "ordered", "including", "plus", "also", "then", "limited", "restricted"}
	narrows  = []string{"only", "solely", "exclusively", "per", "by", "except", "excluding", "without"}
)

// findClauses cuts the request into clauses.
func (q *query) findClauses() {
	units := q.units(make([]byte, len(q.words)))
	for first := 0; first < len(q.words); {
		last := first + 1
		for last < len(q.words) && !q.words[last-1].ends && !(q.is(last, joins...) && !q.is(last-1, "all", "everything", "anything", "nothing", "root", "be")) {
			last++
		}
		if end := q.speaker(first, last); end > 0 {
			q.clauses = append(q.clauses, clause{first, end, true})
			first = end
		}
		q.clauses = append(q.clauses, clause{first, last, q.aside(first, last, units)})
		first = last
	}
}

// speaker returns where the words at first end that say who asks: "the billing team
// wants to know". It returns 0 when there are none.
func (q *query) speaker(first, last int) int {
	i := first
	for i < last && i < first+4 && !q.is(i, "team", "folks", "guys", "people", "department", "dept", "group") {
		if q.is(i, asking...) || q.is(i, modifies...) || q.hasArg(i, i+1) {
			return 0
		}
		i++
	}
	if i++; i >= last || !q.is(i, "want", "wants", "wanted", "need", "needs", "ask", "asks", "asked", "demands", "wonder", "wonders") || q.hasArg(first, i+1) {
		return 0
	}
	return min(i+1, last-1)
}

// mild are words that no recipe shows, but that people tell their troubles with.
var mild = []string{
	"customer", "customers", "database", "databases", "db", "api", "apis", "cluster", "clusters", "deployment", "build", "builds", "test", "tests", "pipeline", "ci", "version", "versions", "upgrade", "link", "links", "message", "messages", "response", "responses",
	"backup", "backups", "warning", "warnings", "metric", "metrics", "dashboard", "graph", "graphs", "chart", "alert", "fan", "fans", "email", "emails", "login", "logins", "release", "proxy", "balancer", "transactions", "transaction", "commits", "commit", "website", "rollout", "migration", "jobs", "job", "topic", "topics",
}

// aside reports whether words [first, last) tell instead of asking.
func (q *query) aside(first, last int, units []unit) bool {
	if q.is(first, joins...) {
		first++
	}
	if first >= last || q.is(first, asking...) || q.is(first, modifies...) {
		return false
	}
	told := false
	for i := first; i < last; i++ {
		told = told || q.is(i, tells...) && (i == first || !q.is(i-1, "that", "which", "who")) // "the name that is asked for" tells nothing
		if q.is(i, narrows...) || q.is(i, "user", "uid", "ones", "those", "others", "account", "container", "namespace") && !q.words[i].possessive {
			return false
		}
	}
	subject := first
	if q.is(subject, "our", "my", "the", "this") {
		subject++
	}
	if _, n := q.lex.lookup(q.words[min(subject, last):last]); !told || n == 0 && q.is(subject+1, tells...) {
		return false // "ledgerd feels slow" names a process
	}
	for _, a := range q.args {
		if a.first < first || a.first >= last || a.soft && a.readings[0].role != RoleUser {
			continue
		}
		switch a.readings[0].role {
		case RoleSize, roleUnclear: // "it writes one byte at a time"
		default:
			return false
		}
	}
	for _, u := range units {
		if u.first >= first && u.first < last && u.meaning.stops() && !q.weakNegation(u) && !q.is(u.first, mild...) && !q.is(u.first, "today", "since", "recently") {
			return false
		}
	}
	return true
}

// weakNegations are words that leave something out only together with what is
// left out: "not nginx", but "it does not start".
var weakNegations = []string{
	"not", "no", "none", "nothing", "never", "nor", "neither", "don't", "dont", "doesn't", "doesnt", "didn't", "didnt", "isn't", "isnt", "aren't", "arent", "wasn't", "wasnt", "weren't", "werent", "won't", "wont",
	"wouldn't", "wouldnt", "shouldn't", "shouldnt", "hasn't", "hasnt", "haven't", "havent", "but",
}

func (q *query) weakNegation(u unit) bool {
	return u.last == u.first+1 && slices.Contains(u.meaning.concepts, conceptNegation) && q.is(u.first, weakNegations...)
}

// idle reports whether a negation leaves nothing out: nothing follows it in its
// clause that somebody could want left out.
func (q *query) idle(u unit) bool {
	if !q.weakNegation(u) {
		return false
	}
	if q.is(u.first, "but") {
		if u.last >= len(q.words) || q.words[u.first].ends {
			return false
		}
		m, n := q.lex.lookup(q.words[u.last:])
		return n > 0 && m.asking && !q.hasArg(u.last, u.last+1) &&
			!q.is(u.last, "the", "those", "these", "this", "that", "for", "from", "by", "in", "on", "to", "of", "at", "with", "all", "any", "every", "my", "our", "mine", "ours", "me", "us", "its", "one", "ones", "other", "another", "themselves", "itself")
	}
	if q.words[u.first].ends {
		return u.first > 0
	}
	for i := u.last; i < len(q.words); {
		m, n := q.lex.lookup(q.words[i:])
		if n == 0 || !m.asking || len(m.concepts) > 0 || q.hasArg(i, i+n) || q.lex.programs[q.words[i].low] != "" ||
			q.is(i, "me", "mine", "my", "our", "ours", "us", "you", "your", "kgent", "from", "by", "on", "under", "in", "to", "for", "of", "with", "other", "another", "others", "else", "one", "ones", "those", "these", "it", "them", "everything", "all", "every", "each", "any", "system", "include", "including", "show", "list", "print", "report", "want", "need", "care", "interested") {
			return false
		}
		if i += n; q.words[i-1].ends {
			break
		}
	}
	return u.first > 0
}

// hasArg reports whether a value is named in words [first, last).
func (q *query) hasArg(first, last int) bool {
	return slices.ContainsFunc(q.args, func(a arg) bool { return a.first < last && a.last > first })
}

var share100 = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?%$`)

// colour reports whether an unknown word says nothing about what to watch where it
// stands: "pegged at 100%", "on this bastion".
func (q *query) colour(u unit) bool {
	switch {
	case u.known || u.last != u.first+1 || q.words[u.first].quoted:
		return false
	case share100.MatchString(q.words[u.first].low):
		return q.is(u.first-1, "at", "around") && !q.is(u.first+1, "or")
	case !isAlpha(q.words[u.first].low):
		return false
	case q.is(u.first-1, "this", "our") && q.is(u.first-2, "on", "at"):
		return true
	}
	// A clause of its own: "…, whodunit?"
	return u.first > 0 && q.words[u.first-1].ends && (q.words[u.first].ends || u.last == len(q.words)) && len(q.words[u.first].low) <= 4
}

package llm

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxFailures is how often one call may fail before it is given up, whatever the budget.
	maxFailures = 5
	// firstWait doubles with every failure, up to mostWait.
	firstWait = 500 * time.Millisecond
	mostWait  = 20 * time.Second
	// patience is the longest wait that an endpoint may ask for. Beyond it the person is told instead.
	patience = time.Minute
)

// backoff is how long to wait after so many failures: exponential, and at least half of that, so that callers that
// failed together do not come back together.
func backoff(failures int, jitter float64) time.Duration {
	wait := mostWait
	if failures < 10 {
		wait = min(mostWait, firstWait<<(failures-1))
	}
	return wait/2 + time.Duration(jitter*float64(wait/2))
}

// retryAfter is how long the endpoint asks to wait: Retry-After-Ms, Retry-After in seconds or as a date, or the time
// until the rate limit that is used up starts anew.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if d, ok := parseSeconds(h.Get("Retry-After-Ms"), time.Millisecond); ok {
		return d, true
	}
	if text := h.Get("Retry-After"); text != "" {
		if d, ok := parseSeconds(text, time.Second); ok {
			return d, true
		}
		if at, err := http.ParseTime(text); err == nil {
			return max(0, at.Sub(now)), true
		}
	}
	var longest time.Duration
	found := false
	for _, what := range []string{"Requests", "Tokens"} {
		reset := h.Get("X-Ratelimit-Reset-" + what)
		if left := h.Get("X-Ratelimit-Remaining-" + what); reset == "" || left != "" && left != "0" {
			continue
		}
		d, err := time.ParseDuration(reset)
		if err != nil || d < 0 {
			var ok bool
			if d, ok = parseSeconds(reset, time.Second); !ok {
				continue
			}
		}
		longest, found = max(longest, d), true
	}
	return longest, found
}

// parseSeconds reads a number of units, such as "2" or "0.5".
func parseSeconds(text string, unit time.Duration) (time.Duration, bool) {
	x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	const most = 365 * 24 * time.Hour
	if err != nil || !(x >= 0) || x > float64(most/unit) {
		return 0, false
	}
	return time.Duration(x * float64(unit)), true
}

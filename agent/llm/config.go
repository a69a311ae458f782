package llm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// DefaultModel is asked when KGENT_MODEL is not set: of the models that OpenAI serves over chat completions the one
// made for code that still accepts strict schemas and, with its reasoning switched off, tools.
const DefaultModel = "gpt-6-sol"

// DefaultBaseURL is asked when OPENAI_BASE_URL is not set.
const DefaultBaseURL = "https://api.openai.com/v1"

// DefaultTimeout bounds one request when KGENT_MODEL_TIMEOUT is not set. Reasoning about a program takes a while.
const DefaultTimeout = 3 * time.Minute

// DefaultMaxBytes bounds one response. No program that a person could approve comes near it.
const DefaultMaxBytes = 4 << 20

const maxTimeout = time.Hour

// Config says which model to ask and how. The zero value of a field is its default.
type Config struct {
	// BaseURL is the endpoint up to and including its version, without a trailing slash: "https://api.openai.com/v1".
	BaseURL string
	// Key is sent as a bearer token; unset for endpoints that want none.
	Key Secret
	// Organization is charged, for keys that belong to several.
	Organization string
	// Model is the name of the model to ask.
	Model string
	// Timeout bounds each request, from sending it to the last byte of the answer.
	Timeout time.Duration
	// MaxBytes bounds each response, uncompressed.
	MaxBytes int64
	// Prices says what models cost, by name. A model that is not in it costs an unknown amount, which shows as 0.
	Prices map[string]Price

	// Transport carries the requests; nil is one of the client's own with proxies from the environment.
	Transport http.RoundTripper
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Sleep waits before a retry, or until the context is done, whose cause it then returns; nil really waits.
	Sleep func(context.Context, time.Duration) error
	// Jitter returns numbers in [0, 1) that spread retries; nil is math/rand.
	Jitter func() float64
}

// Price is what a million tokens cost, in any one currency.
type Price struct {
	Prompt     float64 `json:"prompt"`
	Completion float64 `json:"completion"`
}

func (p Price) of(u Usage) float64 {
	return (float64(u.PromptTokens)*p.Prompt + float64(u.CompletionTokens)*p.Completion) / 1e6
}

// Secret is a string that does not print. It is kept inside a function, for fmt shows the contents of unexported
// fields even where it cannot call their methods.
type Secret struct{ reveal func() string }

// NewSecret wraps a key. The empty string is the unset secret.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{reveal: func() string { return s }}
}

// IsSet reports whether there is anything to keep secret.
func (s Secret) IsSet() bool { return s.reveal != nil }

// Reveal returns the secret itself, to be put into a request and nowhere else.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// String says whether the secret is set.
func (s Secret) String() string {
	if s.IsSet() {
		return "(set)"
	}
	return "(not set)"
}

// Format prints what String returns, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText writes what String returns.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue logs what String returns.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// FromEnv reads the configuration from the environment:
//
//	OPENAI_API_KEY       the key; alone, it selects OpenAI's own endpoint
//	OPENAI_BASE_URL      another endpoint that speaks the protocol, with or without a key
//	OPENAI_ORG_ID        the organisation to charge
//	KGENT_MODEL          the model; gpt-6-sol if not set
//	KGENT_MODEL_TIMEOUT  the bound on one request, such as 90s; 3m if not set
//	KGENT_MODEL_PRICE    what a million prompt and completion tokens cost, such as 2/10; unknown if not set;
//	                     "2/10, small=0.1/0.4" has those of other models too, see [ModelFromEnv]
//
// It reports false if neither key nor endpoint is given: then there is no model. An error names the variable to mend.
func FromEnv(getenv func(string) string) (Config, bool, error) {
	get := func(name string) string { return strings.TrimSpace(getenv(name)) }
	key, base := get("OPENAI_API_KEY"), get("OPENAI_BASE_URL")
	if key == "" && base == "" {
		return Config{}, false, nil
	}
	c := Config{BaseURL: base, Key: NewSecret(key), Organization: get("OPENAI_ORG_ID"), Model: get("KGENT_MODEL")}
	if text := get("KGENT_MODEL_TIMEOUT"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return Config{}, true, fmt.Errorf("KGENT_MODEL_TIMEOUT is %q: want a duration such as 90s or 5m", text)
		}
		c.Timeout = d
	}
	c, err := c.withDefaults()
	if err != nil {
		return Config{}, true, err
	}
	if text := get("KGENT_MODEL_PRICE"); text != "" {
		if c.Prices, err = parsePrices(text, c.Model); err != nil {
			return Config{}, true, err
		}
	}
	return c, true, nil
}

// parsePrices reads "2/10", the price of the model, or "2/10, small=0.1/0.4" with prices of others.
func parsePrices(text, model string) (map[string]Price, error) {
	prices := map[string]Price{}
	for _, part := range strings.Split(text, ",") {
		name, price := model, part
		if i := strings.LastIndexByte(part, '='); i >= 0 {
			name, price = strings.TrimSpace(part[:i]), part[i+1:]
		}
		p, err := parsePrice(price)
		if err != nil {
			return nil, err
		}
		prices[name] = p
	}
	return prices, nil
}

func parsePrice(text string) (Price, error) {
	prompt, completion, ok := strings.Cut(text, "/")
	p, errPrompt := strconv.ParseFloat(strings.TrimSpace(prompt), 64)
	c, errCompletion := strconv.ParseFloat(strings.TrimSpace(completion), 64)
	if !ok || errPrompt != nil || errCompletion != nil || !(p >= 0 && p < 1e6) || !(c >= 0 && c < 1e6) {
		return Price{}, fmt.Errorf("KGENT_MODEL_PRICE is %q: want the prices of a million prompt and completion tokens, such as 2/10", text)
	}
	return Price{p, c}, nil
}

// withDefaults fills in what is not set and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if c.BaseURL == "" {
		c.BaseURL = DefaultBaseURL
	}
	if c.Model == "" {
		c.Model = DefaultModel
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	switch {
	case strings.ContainsFunc(c.Key.Reveal(), unprintable):
		return c, errors.New("OPENAI_API_KEY contains a space or a control character: copy the key again, without line breaks")
	case strings.ContainsFunc(c.Organization, unprintable):
		return c, errors.New("OPENAI_ORG_ID contains a space or a control character: copy it again")
	case len(c.Model) > 256 || strings.ContainsFunc(c.Model, func(r rune) bool { return r != ' ' && unprintable(r) }):
		return c, fmt.Errorf("KGENT_MODEL is %.60q: want the name of a model", c.Model)
	case c.Timeout < 0 || c.Timeout > maxTimeout:
		return c, fmt.Errorf("KGENT_MODEL_TIMEOUT is %s: want more than 0 and at most %s", c.Timeout, maxTimeout)
	case c.MaxBytes < 0:
		return c, fmt.Errorf("the bound on responses is %d bytes: want more than 0", c.MaxBytes)
	}
	base, err := checkBaseURL(c.BaseURL)
	if err != nil {
		return c, err
	}
	c.BaseURL = base
	return c, nil
}

func unprintable(r rune) bool { return r > unicode.MaxASCII || r <= ' ' || r == 0x7f }

// checkBaseURL never repeats an address that might hold a password.
func checkBaseURL(text string) (string, error) {
	const want = "want an address such as http://127.0.0.1:8000/v1"
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("OPENAI_BASE_URL is no URL: " + want)
	case u.User != nil:
		return "", errors.New("OPENAI_BASE_URL contains a user name or password: put the key into OPENAI_API_KEY, " + want)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("OPENAI_BASE_URL is %.100q, which is neither http nor https: %s", text, want)
	case u.Hostname() == "":
		return "", fmt.Errorf("OPENAI_BASE_URL is %.100q, which names no host: %s", text, want)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New("OPENAI_BASE_URL has a ? or # part, to which no path can be added: " + want)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "", fmt.Errorf("OPENAI_BASE_URL is %.100q, whose port is not between 1 and 65535: %s", text, want)
		}
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	if strings.HasSuffix(path, "/chat/completions") {
		return "", errors.New("OPENAI_BASE_URL ends in /chat/completions: leave that part off, " + want)
	}
	return u.Scheme + "://" + u.Host + path, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    8,
		MaxResponseHeaderBytes: 256 << 10,
		ForceAttemptHTTP2:      true,
	}
}

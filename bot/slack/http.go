package slack

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"kgent/bot/thread"
)

const (
	// maxBody bounds a request of Slack's; the largest have some 100 kB.
	maxBody = 1 << 20
	// freshness is how old a signed request may be, so that one that was
	// recorded is of no use later. Within it, the conversation drops what it
	// knows already.
	freshness = 5 * time.Minute
)

// Handler takes events, interactions and slash commands over HTTP: the one
// address is for all of them. Whatever is not signed with the app's signing
// secret is refused; without a secret, everything is.
func (a *Adapter) Handler(front thread.Front) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "Slack posts here", http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		if err != nil {
			http.Error(w, "not read", http.StatusBadRequest)
			return
		}
		if err := verify(a.cfg.SigningSecret, r.Header, body, a.now()); err != nil {
			a.log.Warn("a request that says it is Slack's is refused", "err", err, "from", r.RemoteAddr)
			http.Error(w, "not signed by Slack", http.StatusUnauthorized)
			return
		}
		kind, payload, err := unpack(r.Header.Get("Content-Type"), body)
		if err != nil {
			a.log.Error("a request of Slack cannot be read", "err", err)
			http.Error(w, "not understood", http.StatusBadRequest)
			return
		}
		if kind == "" {
			return // Slack looks whether the certificate is good
		}
		if kind == "events_api" {
			var c callback
			if json.Unmarshal(payload, &c) == nil && c.Type == "url_verification" {
				w.Header().Set("Content-Type", "text/plain; charset=utf-8")
				w.Header().Set("X-Content-Type-Options", "nosniff")
				io.WriteString(w, c.Challenge)
				return
			}
		}
		// A delivery marked as a repetition may be the only one that arrives; it
		// is like any other.
		answer, err := a.handle(r.Context(), front, kind, payload)
		if err != nil {
			a.log.Warn("an event of Slack was not stored; Slack delivers again", "kind", kind, "attempt", r.Header.Get("X-Slack-Retry-Num"), "err", err)
			http.Error(w, "not stored", http.StatusServiceUnavailable)
			return
		}
		if answer != nil {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			if err := json.NewEncoder(w).Encode(answer); err != nil {
				a.log.Warn("answering Slack", "err", err)
			}
			return
		}
		w.WriteHeader(http.StatusOK)
	})
}

// verify checks the signature over the raw body, and its age.
func verify(secret string, h http.Header, body []byte, now time.Time) error {
	if secret == "" {
		return errors.New("no signing secret is set (SLACK_SIGNING_SECRET)")
	}
	stamp := h.Get("X-Slack-Request-Timestamp")
	unix, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return errors.New("it has no timestamp")
	}
	// Compared as numbers: a duration of an absurd timestamp would overflow.
	if limit := int64(freshness / time.Second); unix < now.Unix()-limit || unix > now.Unix()+limit {
		return errors.New("its timestamp is more than five minutes off")
	}
	given, ok := strings.CutPrefix(h.Get("X-Slack-Signature"), "v0=")
	signature, err := hex.DecodeString(given)
	if !ok || err != nil {
		return errors.New("it has no signature")
	}
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v0:%s:", stamp)
	mac.Write(body)
	if !hmac.Equal(mac.Sum(nil), signature) {
		return errors.New("its signature is wrong")
	}
	return nil
}

// unpack returns a request's kind and payload as Socket Mode has them. Only
// the signed body is read, never the address's query.
func unpack(contentType string, body []byte) (kind string, payload []byte, err error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", nil, fmt.Errorf("reading content type: %w", err)
	}
	switch media {
	case "application/json":
		return "events_api", body, nil
	case "application/x-www-form-urlencoded":
	default:
		return "", nil, fmt.Errorf("reading body: nothing of Slack is of type %s", media)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", nil, fmt.Errorf("reading form: %w", err)
	}
	if form.Has("payload") {
		return "interactive", []byte(form.Get("payload")), nil
	}
	if form.Get("ssl_check") == "1" {
		return "", nil, nil
	}
	payload, err = json.Marshal(command{
		TeamID: form.Get("team_id"), ChannelID: form.Get("channel_id"), UserID: form.Get("user_id"), UserName: form.Get("user_name"),
		Command: form.Get("command"), Text: form.Get("text"), TriggerID: form.Get("trigger_id"), ResponseURL: form.Get("response_url"),
	})
	return "slash_commands", payload, err
}

package discord

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"kgent/bot/thread"
)

const (
	// maxBody bounds a delivery: an interaction holds at most one message.
	maxBody = 1 << 20
	// maxAge is how far a delivery's time may be from ours.
	maxAge = 5 * time.Minute
)

// Handler takes interactions over HTTP, as the application's "Interactions
// Endpoint URL". What is not signed by Discord, or not lately, is answered 401.
func (a *Adapter) Handler(front thread.Front) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived := a.now()
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "Discord posts here", http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		if !a.signed(r.Header, body, arrived) {
			http.Error(w, "not signed by Discord", http.StatusUnauthorized)
			return
		}
		var in interaction
		if err := json.Unmarshal(body, &in); err != nil {
			a.log.Error("an interaction from Discord cannot be read", "err", err)
			http.Error(w, "not an interaction", http.StatusBadRequest)
			return
		}
		ans := answer{Type: answerPong}
		if in.Type != kindPing {
			if !snowflake(in.ID) || in.Token == "" {
				http.Error(w, "not an interaction", http.StatusBadRequest)
				return
			}
			ans = a.interact(r.Context(), front, in, arrived)
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(ans); err != nil {
			a.log.Warn("answering an interaction over HTTP", "err", err)
		}
	})
}

// signed checks the signature over timestamp and body, and that it is of now.
func (a *Adapter) signed(h http.Header, body []byte, now time.Time) bool {
	if len(a.key) != ed25519.PublicKeySize {
		return false
	}
	stamp := h.Get("X-Signature-Timestamp")
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || at < 0 || at > 1<<40 {
		return false
	}
	if d := now.Sub(time.Unix(at, 0)); d > maxAge || d < -maxAge {
		return false
	}
	sig, err := hex.DecodeString(h.Get("X-Signature-Ed25519"))
	return err == nil && len(sig) == ed25519.SignatureSize && ed25519.Verify(a.key, append([]byte(stamp), body...), sig)
}

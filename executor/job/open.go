package job

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Refusal says why a node does not believe an envelope. The order of the
// constants is the order of the checks.
type Refusal string

const (
	RefusedSize      Refusal = "oversized"
	RefusedMalformed Refusal = "malformed"
	RefusedKey       Refusal = "unknown-key"
	RefusedSignature Refusal = "bad-signature"
	RefusedPurpose   Refusal = "other-purpose"
	RefusedVersion   Refusal = "unknown-version"
	RefusedNode      Refusal = "other-node"
	RefusedLabels    Refusal = "other-labels"
	RefusedEarly     Refusal = "not-yet-valid"
	RefusedExpired   Refusal = "expired"
	RefusedWindow    Refusal = "window-too-long"
	RefusedReplay    Refusal = "replayed"
	RefusedDigest    Refusal = "digest-mismatch"
	RefusedLimits    Refusal = "limits"
)

// RefusedError is the error of [Verifier.Open].
type RefusedError struct {
	Refusal Refusal
	Detail  string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refusing grant: %s: %s", e.Refusal, e.Detail)
}

func refuse(r Refusal, format string, args ...any) error {
	return &RefusedError{r, fmt.Sprintf(format, args...)}
}

// Replays remembers which grants were used. Claim must be atomic and durable
// before it returns: of several calls with one id exactly one gets true, also
// across a restart of the node, until the id has expired.
type Replays interface {
	Claim(id string, until time.Time) (bool, error)
}

// Verifier opens envelopes on one node.
type Verifier struct {
	Node string
	// Labels are the node's own.
	Labels  map[string]string
	Keys    []ed25519.PublicKey
	Replays Replays
	Now     func() time.Time
	// MaxDuration is the longest run this node allows whatever was approved.
	MaxDuration time.Duration
}

// Open returns the grant and program of an envelope that passes every check,
// and otherwise a [*RefusedError]. A grant opens once. What may be done with
// the program is the grant's Purpose.
func (v *Verifier) Open(raw []byte) (*Grant, Program, error) {
	g, p, err := v.open(raw)
	if err != nil {
		return nil, Program{}, err
	}
	return g, p, nil
}

func (v *Verifier) open(raw []byte) (*Grant, Program, error) {
	if len(raw) > MaxEnvelope {
		return nil, Program{}, refuse(RefusedSize, "%d bytes, at most %d", len(raw), MaxEnvelope)
	}
	env, err := parseEnvelope(raw)
	if err != nil {
		return nil, Program{}, refuse(RefusedMalformed, "envelope: %v", err)
	}
	i := slices.IndexFunc(v.Keys, func(k ed25519.PublicKey) bool {
		return len(k) == ed25519.PublicKeySize && KeyID(k) == env.KeyID
	})
	if i < 0 {
		return nil, Program{}, refuse(RefusedKey, "key %q is not one this node trusts", env.KeyID)
	}
	// What the envelope says of the purpose only chooses the check: no
	// signature passes both.
	if env.Purpose.payloadType() == "" {
		return nil, Program{}, refuse(RefusedMalformed, "envelope: purpose %.20q is not one that this node knows: %s; its kgent may be older than the bot's", env.Purpose, known)
	}
	if !ed25519.Verify(v.Keys[i], signedBytes(env.Purpose, env.Grant), env.Signature) {
		return nil, Program{}, refuse(RefusedSignature, "the signature is not that of key %s over this grant", env.KeyID)
	}
	// From here on the grant's bytes are what the signer wrote.
	var g Grant
	if err := decodeStrict(env.Grant, &g); err != nil {
		return nil, Program{}, refuse(RefusedVersion, "grant: %v: the kgent that signed it may be newer than this node's", err)
	}
	if g.Version != GrantVersion {
		return nil, Program{}, refuse(RefusedVersion, "grant version %d, this node knows %d", g.Version, GrantVersion)
	}
	if g.Purpose != env.Purpose {
		return nil, Program{}, refuse(RefusedPurpose, "signed as a %s, and says that it is for a %q", env.Purpose, g.Purpose)
	}
	if id, err := hex.DecodeString(g.ID); err != nil || len(id) != 16 {
		return nil, Program{}, refuse(RefusedMalformed, "grant id %q is not 128 bits in hexadecimal", g.ID)
	}
	if !slices.Contains(g.Nodes, v.Node) {
		return nil, Program{}, refuse(RefusedNode, "approved for %q, this node is %q", g.Nodes, v.Node)
	}
	if err := v.checkLabels(&g); err != nil {
		return nil, Program{}, err
	}
	now := v.Now()
	switch {
	case !g.Expires.After(g.NotBefore) || g.Expires.Sub(g.NotBefore) > MaxWindow:
		return nil, Program{}, refuse(RefusedWindow, "valid from %v to %v, at most %v", g.NotBefore, g.Expires, MaxWindow)
	case now.Before(g.NotBefore.Add(-MaxSkew)):
		return nil, Program{}, refuse(RefusedEarly, "not before %s, and on this node it is %s: its clock and the bot's differ by %s at least, and %v are allowed; this node's clock is slow, or the bot's is fast", stamp(g.NotBefore), stamp(now), apart(g.NotBefore.Sub(now)), MaxSkew)
	case now.After(g.Expires.Add(MaxSkew)):
		return nil, Program{}, refuse(RefusedExpired, "expired at %s, and on this node it is %s, %s later, and %v are allowed: it came too late, or this node's clock is fast", stamp(g.Expires), stamp(now), apart(now.Sub(g.Expires)), MaxSkew)
	}
	if err := v.checkLimits(&g); err != nil {
		return nil, Program{}, err
	}
	d, err := g.digest(env.Program)
	if err != nil {
		return nil, Program{}, refuse(RefusedMalformed, "%v", err)
	}
	if d.String() != g.Digest {
		return nil, Program{}, refuse(RefusedDigest, "granted %.12s, received %s", g.Digest, d.Short())
	}
	// Last, so that a grant that was altered on its way does not use up the
	// real one.
	// Remembered for longer than it is valid: a clock set back must not make
	// it new again.
	first, err := v.Replays.Claim(g.ID, g.Expires.Add(2*MaxSkew))
	if err != nil {
		return nil, Program{}, refuse(RefusedReplay, "the record of used grants cannot be kept: %v", err)
	}
	if !first {
		return nil, Program{}, refuse(RefusedReplay, "grant %s was used before", g.ID)
	}
	return &g, env.Program, nil
}

// checkLabels holds what the approval took this node for against what it is.
func (v *Verifier) checkLabels(g *Grant) error {
	if g.Labels == nil {
		return nil
	}
	judged, ok := g.Labels[v.Node]
	if !ok {
		return refuse(RefusedLabels, "it says of no labels of this node that they were looked at")
	}
	for _, key := range slices.Sorted(maps.Keys(judged)) {
		if own := v.Labels[key]; own != judged[key] {
			return refuse(RefusedLabels, "approved for a node with %s=%.64q, this one has %.64q; it may have been given another label since, or somebody else announced the one it does not have", key, judged[key], own)
		}
	}
	return nil
}

// apart is a difference of clocks in whole seconds, not less than it is.
func apart(d time.Duration) string {
	return ((d + time.Second - 1).Truncate(time.Second)).String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (v *Verifier) checkLimits(g *Grant) error {
	if err := g.checkEmpty(); err != nil {
		return refuse(RefusedLimits, "%v", err)
	}
	if g.Purpose != PurposeRun {
		return nil
	}
	if g.Limits.Duration <= 0 || v.MaxDuration > 0 && g.Limits.Duration > v.MaxDuration {
		return refuse(RefusedLimits, "a run of %v, this node allows up to %v", g.Limits.Duration, v.MaxDuration)
	}
	if g.Limits.EventsPerSecond < 0 {
		return refuse(RefusedLimits, "%d events a second", g.Limits.EventsPerSecond)
	}
	return nil
}

// parseEnvelope reads an envelope as [Sign] writes it. One envelope has one form, so that
// what is logged, compared or counted by its bytes cannot be had in a second spelling;
// and most of it is programs, for which a decoder of any JSON takes ten times as long.
func parseEnvelope(raw []byte) (env Envelope, err error) {
	malformed := errors.New("not as this kgent writes it: it was changed on its way, or comes from a kgent of another version")
	rest, first := raw, true
	// field cuts off the next field, which must have that name, and returns what is
	// between its quotation marks; null is nil.
	field := func(name string) []byte {
		head := `,"` + name + `":`
		if first {
			head, first = "{"+head[1:], false
		}
		after, ok := bytes.CutPrefix(rest, []byte(head))
		if !ok {
			err = malformed
			return nil
		}
		if after, ok := bytes.CutPrefix(after, []byte("null")); ok {
			rest = after
			return nil
		}
		end := -1
		if len(after) > 0 && after[0] == '"' {
			end = bytes.IndexByte(after[1:], '"')
		}
		if end < 0 {
			err = malformed
			return nil
		}
		rest = after[end+2:]
		return after[1 : end+1]
	}
	word := func(name string) string {
		b := field(name)
		if b == nil || !isPlain(b) {
			err = malformed
		}
		return string(b)
	}
	data := func(name string) []byte {
		text := field(name)
		if text == nil {
			return nil
		}
		out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		n, bad := base64.StdEncoding.Strict().Decode(out, text)
		if bad != nil || base64.StdEncoding.EncodedLen(n) != len(text) { // it passes over line breaks
			err = malformed
		}
		return out[:n]
	}
	env.KeyID = word("key_id")
	env.Purpose = Purpose(word("purpose"))
	env.Signature = data("signature")
	env.Grant = data("grant")
	env.ELF = data("elf")
	env.Manifest = data("manifest")
	env.Contract = data("contract")
	if string(rest) != "}" {
		err = malformed
	}
	if err != nil {
		return Envelope{}, err
	}
	return env, nil
}

// isPlain reports whether JSON writes a text as it is.
func isPlain(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c < ' ' || c > '~' || bytes.IndexByte([]byte(`"\<>&`), c) >= 0 })
}

func decodeStrict(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("data after its end")
	}
	return nil
}

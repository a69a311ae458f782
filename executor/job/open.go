package job

import (
	"bytes"
	"crypto/ed25519"
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
	var env Envelope
	if err := decodeStrict(raw, &env); err != nil {
		return nil, Program{}, refuse(RefusedMalformed, "envelope: %v", err)
	}
	// One envelope has one form, so that what is logged, compared or counted
	// by its bytes cannot be had in a second spelling.
	if exact, err := json.Marshal(env); err != nil || !bytes.Equal(exact, raw) {
		return nil, Program{}, refuse(RefusedMalformed, "envelope: not as Sign writes it")
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
		return nil, Program{}, refuse(RefusedMalformed, "envelope: purpose %.20q is neither run nor check", env.Purpose)
	}
	if !ed25519.Verify(v.Keys[i], signedBytes(env.Purpose, env.Grant), env.Signature) {
		return nil, Program{}, refuse(RefusedSignature, "the signature is not that of key %s over this grant", env.KeyID)
	}
	// From here on the grant's bytes are what the signer wrote.
	var g Grant
	if err := decodeStrict(env.Grant, &g); err != nil {
		return nil, Program{}, refuse(RefusedVersion, "grant: %v", err)
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
		return nil, Program{}, refuse(RefusedEarly, "not before %s, and on this node it is %s: this node's clock is slow, or the bot's is fast", stamp(g.NotBefore), stamp(now))
	case now.After(g.Expires.Add(MaxSkew)):
		return nil, Program{}, refuse(RefusedExpired, "expired at %s, and on this node it is %s: it came too late, or this node's clock is fast", stamp(g.Expires), stamp(now))
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

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (v *Verifier) checkLimits(g *Grant) error {
	if g.Purpose == PurposeCheck {
		if err := g.checkEmpty(); err != nil {
			return refuse(RefusedLimits, "%v", err)
		}
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

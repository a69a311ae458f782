// Package job is the signed envelope in which an approved program travels to
// a node, and the checks a node makes before it believes it.
//
// A [Grant] says what people agreed to: the digest of the program with its
// manifest, contract, nodes and limits; who agreed; and from when to when it
// may start. It is signed with ed25519 over its exact bytes. An [Envelope]
// carries the grant beside the ELF, manifest and contract; a node recomputes
// the digest from them, so nothing outside the signature is trusted and
// nothing is parsed before the signature holds.
//
// A grant is for a run or for a check, its [Purpose]. A check asks a node's
// kernel whether it would take the program: it is loaded, never attached, and
// unloaded. As nothing comes of it, nobody has to approve it. The two have
// signatures and digests over different beginnings, so that neither ever
// passes for the other, whatever becomes of an envelope on its way.
//
// A grant can also be an order to the node itself, to take no more runs or to
// take them again. It has no program, and beginnings of its own, too.
//
// Chat, bus and storage need not be trusted: whoever controls them can delay
// or withhold a job, but not run, change, re-aim or repeat one.
package job

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of an envelope.
const (
	// MaxEnvelope is the largest envelope a node looks at, in bytes.
	MaxEnvelope = 8 << 20
	// MaxWindow is the longest time between a grant's not-before and expiry.
	MaxWindow = 10 * time.Minute
	// MaxSkew is how far a node's clock may be off.
	MaxSkew = 30 * time.Second
)

// Purpose is what a grant lets a node do with the program.
type Purpose string

const (
	// PurposeRun: load, attach, and show what comes of it. The digest is
	// [DigestOf] what people approved.
	PurposeRun Purpose = "run"
	// PurposeCheck: load, and unload. The digest is [CheckDigestOf]. Limits
	// say at most that it is dry, and approvers must be empty.
	PurposeCheck Purpose = "check"
	// PurposeDrain: take no more runs, until undrained. There is no program; the
	// digest is [OrderDigestOf] the grant's Order. The policy of the team has let
	// the requester do it; nobody approves.
	PurposeDrain Purpose = "drain"
	// PurposeUndrain: take runs again; as with PurposeDrain.
	PurposeUndrain Purpose = "undrain"
)

// Purposes returns all purposes.
func Purposes() []Purpose {
	return []Purpose{
		PurposeRun,
		PurposeCheck,
		PurposeDrain,
		PurposeUndrain,
	}
}

// IsOrder reports whether it is about the node itself.
func (p Purpose) IsOrder() bool { return p == PurposeDrain || p == PurposeUndrain }

// known says which purposes there are, for people.
const known = "run, check, drain or undrain"

// Order is what a node is told besides to drain or undrain.
type Order struct {
	// Why is for people who are refused: see [CheckWhy].
	Why string `json:"why,omitempty"`
	// End has a drain end what runs.
	End bool `json:"end,omitempty"`
}

// MaxWhy is the length of the longest reason of an order, in bytes.
const MaxWhy = 200

// payloadType is what the signature binds the bytes of a grant to, so that a
// signature over anything else never passes for one, nor one for a check for
// one for a run. It is "" for what is no purpose.
func (p Purpose) payloadType() string {
	switch p {
	case PurposeRun:
		return "application/vnd.kgent.grant.v1+json"
	case PurposeCheck:
		return "application/vnd.kgent.check.v1+json"
	case PurposeDrain:
		return "application/vnd.kgent.drain.v1+json"
	case PurposeUndrain:
		return "application/vnd.kgent.undrain.v1+json"
	}
	return ""
}

// Limits bound a run on each node. They are part of the digest.
type Limits struct {
	// Duration from attach to detach, enforced by the node itself.
	Duration time.Duration `json:"duration_ns"`
	// EventsPerSecond over which a node drops events and counts them; 0 is no
	// bound.
	EventsPerSecond int `json:"events_per_second"`
	// DryRun has the node leave out whatever the program would change, and count
	// it instead; see [kgent/agent/program.Object.DryRun].
	DryRun bool `json:"dry_run,omitempty"`
}

// Digest identifies what is approved: exactly these bytes, on these nodes,
// within these limits.
type Digest [sha256.Size]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first 12 hexadecimal digits, for people to compare.
func (d Digest) Short() string { return d.String()[:12] }

// Program is what a digest covers apart from nodes and limits.
type Program struct {
	ELF      []byte `json:"elf"`
	Manifest []byte `json:"manifest"`
	Contract []byte `json:"contract"`
}

// DigestOf computes the digest. The order of nodes does not matter; naming one
// twice does.
func DigestOf(p Program, nodes []string, l Limits) (Digest, error) {
	return digestOf("kgent digest v1", p, nodes, l)
}

// CheckDigestOf computes the digest of a check, which is that of no run. A dry
// one is a check of what a dry run would load.
func CheckDigestOf(p Program, nodes []string, dry bool) (Digest, error) {
	return digestOf("kgent check digest v1", p, nodes, Limits{DryRun: dry})
}

// OrderDigestOf computes the digest of an order, which is that of no run and no
// check.
func OrderDigestOf(p Purpose, o Order, nodes []string) (Digest, error) {
	if !p.IsOrder() {
		return Digest{}, fmt.Errorf("a %q is no order", p)
	}
	words, err := json.Marshal(o)
	if err != nil {
		return Digest{}, fmt.Errorf("encoding order: %w", err)
	}
	return digestOf("kgent "+string(p)+" digest v1", Program{Manifest: words}, nodes, Limits{})
}

func digestOf(domain string, p Program, nodes []string, l Limits) (Digest, error) {
	limits, err := json.Marshal(l)
	if err != nil {
		return Digest{}, fmt.Errorf("encoding limits: %w", err)
	}
	h := sha256.New()
	var n [8]byte
	length := func(of int) []byte {
		binary.BigEndian.PutUint64(n[:], uint64(of))
		return n[:]
	}
	for _, b := range [][]byte{[]byte(domain), p.ELF, p.Manifest, p.Contract, limits} {
		h.Write(length(len(b)))
		h.Write(b)
	}
	// Every one of hundreds of nodes does this with the names of all: they mostly come
	// in order, and are written at once.
	if !slices.IsSorted(nodes) {
		nodes = slices.Sorted(slices.Values(nodes))
	}
	var names []byte
	for _, name := range nodes {
		names = append(append(names, length(len(name))...), name...)
	}
	h.Write(names)
	return Digest(h.Sum(nil)), nil
}

// Approval is who agreed to a digest, as the audit log will show it.
type Approval struct {
	Requester string `json:"requester"`
	// Account is the requester's; see [Person].
	Account   string   `json:"account,omitempty"`
	Approvers []Person `json:"approvers"`
	Tier      string   `json:"tier"`
	Quorum    int      `json:"quorum"`
	Policy    string   `json:"policy"` // the policy's name and digest
}

// Person is one approver and where and when they agreed.
type Person struct {
	ID      string    `json:"id"`
	Surface string    `json:"surface"`           // terminal, slack, discord
	Account string    `json:"account,omitempty"` // there, such as slack:T024/U061
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at"`
}

// Grant is the signed statement.
type Grant struct {
	Version int      `json:"version"`
	Purpose Purpose  `json:"purpose"`
	ID      string   `json:"id"`  // 128 bits, hexadecimal: a grant is used once
	Run     string   `json:"run"` // names the output
	Digest  string   `json:"digest"`
	Nodes   []string `json:"nodes"`
	Limits  Limits   `json:"limits"`
	// Labels are, by node, the values of those labels that the approval went
	// by, empty for a label that the node was said not to have. A node refuses
	// what was approved for one with other labels: what it announces passes
	// through hands that nobody vouches for. Nil: no labels were looked at.
	Labels map[string]map[string]string `json:"labels,omitempty"`
	// Order is set when the purpose is one, and only then.
	Order     *Order    `json:"order,omitempty"`
	Approval  Approval  `json:"approval"`
	NotBefore time.Time `json:"not_before"`
	Expires   time.Time `json:"expires"`
}

// GrantVersion is the only version this code writes and accepts.
const GrantVersion = 1

// Envelope is what travels.
type Envelope struct {
	KeyID string `json:"key_id"`
	// Purpose says how the signature was made, and must be the grant's.
	Purpose   Purpose `json:"purpose"`
	Signature []byte  `json:"signature"`
	Grant     []byte  `json:"grant"` // exact signed bytes
	Program
}

// KeyID names a public key by the first 16 hexadecimal digits of its SHA-256.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:8])
}

// Sign seals a grant and its program.
func Sign(key ed25519.PrivateKey, g Grant, p Program) ([]byte, error) {
	if g.Purpose.payloadType() == "" {
		return nil, fmt.Errorf("signing grant: purpose %q is not one of %s", g.Purpose, known)
	}
	d, err := g.digest(p)
	if err != nil {
		return nil, err
	}
	if g.Digest != d.String() {
		return nil, errors.New("signing grant: its digest is not that of the program, nodes and limits")
	}
	if err := g.checkEmpty(); err != nil {
		return nil, fmt.Errorf("signing grant: %w", err)
	}
	payload, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("encoding grant: %w", err)
	}
	env := Envelope{
		KeyID:     KeyID(key.Public().(ed25519.PublicKey)),
		Purpose:   g.Purpose,
		Signature: ed25519.Sign(key, signedBytes(g.Purpose, payload)),
		Grant:     payload,
		Program:   p,
	}
	b, err := json.Marshal(env)
	if err != nil {
		return nil, fmt.Errorf("encoding envelope: %w", err)
	}
	if len(b) > MaxEnvelope {
		return nil, fmt.Errorf("sealing grant: %d bytes, at most %d", len(b), MaxEnvelope)
	}
	return b, nil
}

// digest computes the digest that the grant must name.
func (g *Grant) digest(p Program) (Digest, error) {
	switch g.Purpose {
	case PurposeCheck:
		return CheckDigestOf(p, g.Nodes, g.Limits.DryRun)
	case PurposeDrain, PurposeUndrain:
		if p.ELF != nil || p.Manifest != nil || p.Contract != nil {
			return Digest{}, errors.New("an order has no program")
		}
		if g.Order == nil {
			return Digest{}, errors.New("an order says what is ordered")
		}
		return OrderDigestOf(g.Purpose, *g.Order, g.Nodes)
	}
	return DigestOf(p, g.Nodes, g.Limits)
}

// checkEmpty reports what a grant may not have: a check nothing that looks like an approval,
// an order nothing that is about a program, and a program no order.
func (g *Grant) checkEmpty() error {
	a := g.Approval
	switch {
	case g.Purpose == PurposeCheck && (g.Limits != Limits{DryRun: g.Limits.DryRun} || g.Labels != nil || a.Approvers != nil || a.Tier != "" || a.Quorum != 0 || a.Policy != ""):
		return errors.New("a check has no approval, and no limits but that it is dry")
	case g.Purpose.IsOrder() != (g.Order != nil):
		return errors.New("an order goes with the purposes drain and undrain, and with these only")
	case g.Purpose.IsOrder() && (g.Limits != Limits{} || a.Approvers != nil || a.Tier != "" || a.Quorum != 0):
		return errors.New("an order has no limits, and nobody approves it")
	case g.Purpose.IsOrder() && (a.Requester == "" || a.Policy == ""):
		return errors.New("an order says who gave it, and the policy by which they may")
	case g.Purpose == PurposeUndrain && g.Order.End:
		return errors.New("an undrain ends no runs")
	case g.Order != nil:
		return CheckWhy(g.Order.Why)
	}
	return nil
}

// CheckWhy reports what a reason of an order must not be.
func CheckWhy(why string) error {
	switch {
	case len(why) > MaxWhy:
		return fmt.Errorf("the reason has %d bytes, and at most %d are shown to those who are refused: make it shorter", len(why), MaxWhy)
	case !isLine(why):
		return errors.New("the reason has to be one line of text, without control characters")
	}
	return nil
}

// isLine reports whether a text is one line without characters that do something to a
// screen.
func isLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
}

// signedBytes is the pre-authentication encoding: type and payload with their
// lengths, so that no other pair has the same bytes.
func signedBytes(p Purpose, payload []byte) []byte {
	payloadType := p.payloadType()
	b := fmt.Appendf(nil, "kgent v1 %d %s %d ", len(payloadType), payloadType, len(payload))
	return append(b, payload...)
}

package approvals_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"kgent/approvals/audit"
	"kgent/executor/job"
)

// everyReplay believes that nothing was used before.
type everyReplay struct{}

func (everyReplay) Claim(string, time.Time) (bool, error) { return true, nil }

// A check is signed without anybody's approval, is recorded, and opens as
// nothing but a check.
func TestCheck(t *testing.T) {
	o := newOffice(t)
	g, envelope, err := o.Check(t.Context(), o.cand.Program, o.cand.Nodes, false)
	if err != nil {
		t.Fatal(err)
	}
	v := job.Verifier{Node: "db-3", Keys: []ed25519.PublicKey{o.key.Public()}, Replays: everyReplay{}, Now: func() time.Time { return o.now }, MaxDuration: time.Hour}
	got, _, err := v.Open(envelope)
	if err != nil || got.Purpose != job.PurposeCheck || got.Run != g.Run || got.Approval.Quorum != 0 || got.Limits != (job.Limits{}) {
		t.Errorf("opened %+v, %v", got, err)
	}
	if d, err := job.DigestOf(o.cand.Program, o.cand.Nodes, o.cand.Limits); err != nil || d.String() == g.Digest {
		t.Errorf("the digest is that of a run, %v", err)
	}
	entries := o.log.Entries()
	if e := entries[len(entries)-1]; len(entries) != 1 || e.Kind != audit.Check || e.Run != g.Run || e.Digest != g.Digest || len(e.Data) == 0 {
		t.Errorf("recorded %+v", entries)
	}
	v.Now = func() time.Time { return o.now.Add(2 * time.Minute) }
	if _, _, err := v.Open(envelope); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("two minutes later: %v", err)
	}
}

func TestCheckFaults(t *testing.T) {
	o := newOffice(t)
	if _, _, err := o.Check(t.Context(), o.cand.Program, nil, false); err == nil {
		t.Error("a check of no node was signed")
	}
	if _, _, err := o.Check(t.Context(), o.cand.Program, make([]string, 1001), false); err == nil {
		t.Error("a check of too many nodes was signed")
	}
	o.Signer = noSigner{}
	if _, _, err := o.Check(t.Context(), o.cand.Program, o.cand.Nodes, false); err == nil || !strings.Contains(err.Error(), "no key") {
		t.Errorf("without a key: %v", err)
	}
	o.Signer = o.key
	o.Audit = deaf{}
	if _, envelope, err := o.Check(t.Context(), o.cand.Program, o.cand.Nodes, false); err == nil || envelope != nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("a check was handed out that is on no record: %v", err)
	}
}

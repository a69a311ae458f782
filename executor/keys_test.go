package executor

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"testing"

	"kgent/executor/job"
)

// ed25519Key signs what kgent would not sign.
type ed25519Key struct{ ed25519.PrivateKey }

func newKey(t *testing.T) ed25519Key {
	t.Helper()
	_, k, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return ed25519Key{k}
}

func (k ed25519Key) id() string { return job.KeyID(k.Public().(ed25519.PublicKey)) }

// sign signs a grant as package job does.
func (k ed25519Key) sign(grant []byte) []byte {
	const kind = "application/vnd.kgent.grant.v1+json"
	return ed25519.Sign(k.PrivateKey, append(fmt.Appendf(nil, "kgent v1 %d %s %d ", len(kind), kind, len(grant)), grant...))
}

// bare signs the bytes without saying what they are.
func (k ed25519Key) bare(grant []byte) []byte { return ed25519.Sign(k.PrivateKey, grant) }

// reseal changes an envelope on its way.
func reseal(t *testing.T, raw []byte, change func(*job.Envelope)) []byte {
	t.Helper()
	var e job.Envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	change(&e)
	out, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

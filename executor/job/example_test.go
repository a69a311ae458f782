package job_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"kgent/executor/job"
)

// once remembers used grants in memory; a node keeps them on disk.
type once map[string]bool

func (o once) Claim(id string, _ time.Time) (bool, error) {
	first := !o[id]
	o[id] = true
	return first, nil
}

func Example() {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	now := func() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

	// The approving side seals what was agreed.
	program := job.Program{ELF: []byte("…"), Manifest: []byte("{}")}
	nodes, limits := []string{"db-3"}, job.Limits{Duration: time.Minute}
	digest, err := job.DigestOf(program, nodes, limits)
	if err != nil {
		fmt.Println(err)
		return
	}
	envelope, err := job.Sign(private, job.Grant{
		Version: job.GrantVersion, Purpose: job.PurposeRun, ID: "00112233445566778899aabbccddeeff", Run: "r1",
		Digest: digest.String(), Nodes: nodes, Limits: limits,
		NotBefore: now(), Expires: now().Add(time.Minute),
	}, program)
	if err != nil {
		fmt.Println(err)
		return
	}

	// The node opens it, once.
	node := job.Verifier{
		Node: "db-3", Keys: []ed25519.PublicKey{private.Public().(ed25519.PublicKey)},
		Replays: once{}, Now: now, MaxDuration: 10 * time.Minute,
	}
	grant, _, err := node.Open(envelope)
	fmt.Println(grant.Run, err)
	_, _, err = node.Open(envelope)
	var refused *job.RefusedError
	if errors.As(err, &refused) {
		fmt.Println(refused.Refusal)
	}
	// Output:
	// r1 <nil>
	// replayed
}

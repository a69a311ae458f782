package job

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// seeded returns a key that is the same in every run.
func seeded(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// replays is a Replays in memory.
type replays struct {
	mu   sync.Mutex
	used map[string]time.Time
	err  error
}

func (r *replays) Claim(id string, until time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return false, r.err
	}
	if _, ok := r.used[id]; ok {
		return false, nil
	}
	if r.used == nil {
		r.used = map[string]time.Time{}
	}
	r.used[id] = until
	return true, nil
}

func (r *replays) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.used)
}

func testProgram() Program {
	return Program{ELF: []byte("\x7fELF and more"), Manifest: []byte(`{"version":1}`), Contract: []byte("contract")}
}

func testGrant(t testing.TB, p Program) Grant {
	t.Helper()
	g := Grant{
		Version: GrantVersion, Purpose: PurposeRun, ID: "00112233445566778899aabbccddeeff", Run: "run-1",
		Nodes: []string{"db-3", "db-4"}, Limits: Limits{Duration: time.Minute, EventsPerSecond: 1000},
		Approval: Approval{Requester: "ada", Quorum: 1, Tier: "observe", Policy: "local",
			Approvers: []Person{{ID: "bob", Surface: "terminal", At: noon}}},
		NotBefore: noon, Expires: noon.Add(5 * time.Minute),
	}
	redigest(t, &g, p)
	return g
}

func redigest(t testing.TB, g *Grant, p Program) {
	t.Helper()
	d, err := DigestOf(p, g.Nodes, g.Limits)
	if err != nil {
		t.Fatal(err)
	}
	g.Digest = d.String()
}

func sign(t testing.TB, key ed25519.PrivateKey, g Grant, p Program) []byte {
	t.Helper()
	b, err := Sign(key, g, p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// forge seals whatever it is given, as an attacker with a key could.
func forge(t testing.TB, key ed25519.PrivateKey, grant any, p Program) []byte {
	t.Helper()
	payload, ok := grant.([]byte)
	if !ok {
		payload = encode(t, grant)
	}
	return encode(t, Envelope{KeyID: KeyID(public(key)), Purpose: PurposeRun, Signature: ed25519.Sign(key, signedBytes(PurposeRun, payload)), Grant: payload, Program: p})
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, raw []byte) Envelope {
	t.Helper()
	var e Envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func verifier(r *replays) *Verifier {
	return &Verifier{Node: "db-3", Keys: []ed25519.PublicKey{public(seeded(1))}, Replays: r,
		Now: func() time.Time { return noon.Add(time.Second) }, MaxDuration: 10 * time.Minute}
}

func refusal(t testing.TB, err error) Refusal {
	t.Helper()
	var r *RefusedError
	if !errors.As(err, &r) {
		t.Fatalf("error %v, want a RefusedError", err)
	}
	if r.Detail == "" || !strings.HasPrefix(err.Error(), "refusing grant: "+string(r.Refusal)) {
		t.Errorf("error %q says too little", err)
	}
	return r.Refusal
}

func TestOpen(t *testing.T) {
	p := testProgram()
	g := testGrant(t, p)
	raw := sign(t, seeded(1), g, p)
	used := &replays{}
	got, program, err := verifier(used).Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encode(t, got), encode(t, g)) {
		t.Errorf("grant %+v, want %+v", got, g)
	}
	if !bytes.Equal(program.ELF, p.ELF) || !bytes.Equal(program.Manifest, p.Manifest) || !bytes.Equal(program.Contract, p.Contract) {
		t.Errorf("program %q", program)
	}
	// A clock set back within the skew must still find the id used.
	if until := used.used[g.ID]; until.Before(g.Expires.Add(2 * MaxSkew)) {
		t.Errorf("remembered until %v, but accepted until %v", until, g.Expires.Add(MaxSkew))
	}
}

// A node refuses what people agreed to for a node with other labels: somebody
// may have announced it with those that ask for fewer people.
func TestOpenLabels(t *testing.T) {
	p := testProgram()
	own := map[string]string{"env": "prod", "role": "db"}
	for name, tt := range map[string]struct {
		judged map[string]map[string]string
		want   Refusal
	}{
		"no labels looked at":     {nil, ""},
		"its own":                 {map[string]map[string]string{"db-3": {"env": "prod"}, "db-4": {"env": "dev"}}, ""},
		"one that it lacks":       {map[string]map[string]string{"db-3": {"env": "prod", "zone": ""}}, ""},
		"none looked at":          {map[string]map[string]string{"db-3": {}}, ""},
		"another value":           {map[string]map[string]string{"db-3": {"env": "dev"}}, RefusedLabels},
		"one that it has not":     {map[string]map[string]string{"db-3": {"zone": "eu-1"}}, RefusedLabels},
		"one that was left out":   {map[string]map[string]string{"db-3": {"env": ""}}, RefusedLabels},
		"another node's":          {map[string]map[string]string{"db-4": {"env": "prod"}}, RefusedLabels},
		"one of several is wrong": {map[string]map[string]string{"db-3": {"env": "prod", "role": "web"}}, RefusedLabels},
	} {
		t.Run(name, func(t *testing.T) {
			g := testGrant(t, p)
			g.Labels = tt.judged
			used := &replays{}
			v := &Verifier{Node: "db-3", Labels: own, Keys: []ed25519.PublicKey{public(seeded(1))}, Replays: used, Now: func() time.Time { return noon }}
			_, _, err := v.Open(sign(t, seeded(1), g, p))
			var refused *RefusedError
			if errors.As(err, &refused) != (tt.want != "") || refused != nil && refused.Refusal != tt.want || err != nil && refused == nil {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err != nil && used.count() != 0 {
				t.Error("the grant is used up")
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	p := testProgram()
	g := testGrant(t, p)
	good := sign(t, seeded(1), g, p)
	signed := func(change func(*Grant)) []byte {
		g := g
		g.Nodes = slices.Clone(g.Nodes)
		change(&g)
		return forge(t, seeded(1), g, p)
	}
	tests := []struct {
		name string
		raw  []byte
		node *Verifier // nil: the usual one
		want Refusal
	}{
		{name: "nothing", raw: nil, want: RefusedMalformed},
		{name: "null", raw: []byte("null"), want: RefusedMalformed},
		{name: "no JSON", raw: []byte("hello"), want: RefusedMalformed},
		{name: "a list", raw: []byte("[]"), want: RefusedMalformed},
		{name: "empty", raw: []byte("{}"), want: RefusedMalformed},
		{name: "cut short", raw: good[:len(good)-1], want: RefusedMalformed},
		{name: "trailing space", raw: append(slices.Clone(good), '\n'), want: RefusedMalformed},
		{name: "trailing data", raw: append(slices.Clone(good), '{', '}'), want: RefusedMalformed},
		{name: "two envelopes", raw: append(slices.Clone(good), good...), want: RefusedMalformed},
		{name: "unknown field", raw: append([]byte(`{"x":1,`), good[1:]...), want: RefusedMalformed},
		{name: "a field twice", raw: append([]byte(`{"elf":"",`), good[1:]...), want: RefusedMalformed},
		{name: "a field's other case", raw: bytes.Replace(good, []byte(`"elf"`), []byte(`"ELF"`), 1), want: RefusedMalformed},
		{name: "oversized", raw: make([]byte, MaxEnvelope+1), want: RefusedSize},

		{name: "another key", raw: sign(t, seeded(2), g, p), want: RefusedKey},
		{name: "another key under this one's name", raw: func() []byte {
			e := decode(t, sign(t, seeded(2), g, p))
			e.KeyID = KeyID(public(seeded(1)))
			return encode(t, e)
		}(), want: RefusedSignature},
		{name: "a node without keys", raw: good, node: &Verifier{Node: "db-3"}, want: RefusedKey},
		{name: "a node with a broken key", raw: func() []byte {
			e := decode(t, good)
			e.KeyID = KeyID(nil)
			return encode(t, e)
		}(), node: &Verifier{Node: "db-3", Keys: []ed25519.PublicKey{nil, {1, 2, 3}}}, want: RefusedKey},
		{name: "no signature", raw: func() []byte {
			e := decode(t, good)
			e.Signature = nil
			return encode(t, e)
		}(), want: RefusedSignature},
		{name: "a signature over the grant alone", raw: func() []byte {
			e := decode(t, good)
			e.Signature = ed25519.Sign(seeded(1), e.Grant)
			return encode(t, e)
		}(), want: RefusedSignature},
		{name: "the grant of another envelope", raw: func() []byte {
			e, other := decode(t, good), testGrant(t, p)
			other.ID = strings.Repeat("f", 32)
			e.Grant = encode(t, other)
			return encode(t, e)
		}(), want: RefusedSignature},

		{name: "a grant that is none", raw: forge(t, seeded(1), []byte("approved"), p), want: RefusedVersion},
		{name: "a grant with a field of tomorrow", raw: forge(t, seeded(1), append([]byte(`{"sudo":true,`), encode(t, g)[1:]...), p), want: RefusedVersion},
		{name: "data after the grant", raw: forge(t, seeded(1), append(encode(t, g), "{}"...), p), want: RefusedVersion},
		{name: "version 0", raw: signed(func(g *Grant) { g.Version = 0 }), want: RefusedVersion},
		{name: "version 2", raw: signed(func(g *Grant) { g.Version = 2 }), want: RefusedVersion},
		{name: "no id", raw: signed(func(g *Grant) { g.ID = "" }), want: RefusedMalformed},
		{name: "short id", raw: signed(func(g *Grant) { g.ID = "0011" }), want: RefusedMalformed},
		{name: "id that is no number", raw: signed(func(g *Grant) { g.ID = strings.Repeat("zz", 16) }), want: RefusedMalformed},

		{name: "re-targeted", raw: signed(func(g *Grant) { g.Nodes = []string{"db-4"}; redigest(t, g, p) }), want: RefusedNode},
		{name: "no node", raw: signed(func(g *Grant) { g.Nodes = nil; redigest(t, g, p) }), want: RefusedNode},
		{name: "a node's prefix", raw: signed(func(g *Grant) { g.Nodes = []string{"db-33", "db"}; redigest(t, g, p) }), want: RefusedNode},

		{name: "window of no length", raw: signed(func(g *Grant) { g.Expires = g.NotBefore }), want: RefusedWindow},
		{name: "window backwards", raw: signed(func(g *Grant) { g.Expires = g.NotBefore.Add(-time.Minute) }), want: RefusedWindow},
		{name: "window too long", raw: signed(func(g *Grant) { g.Expires = g.NotBefore.Add(MaxWindow + 1) }), want: RefusedWindow},
		{name: "window of centuries", raw: signed(func(g *Grant) { g.NotBefore = time.Time{}; g.Expires = noon.AddDate(7000, 0, 0) }), want: RefusedWindow},
		{name: "no times", raw: signed(func(g *Grant) { g.NotBefore, g.Expires = time.Time{}, time.Time{} }), want: RefusedWindow},
		{name: "early", raw: signed(func(g *Grant) {
			g.NotBefore, g.Expires = noon.Add(time.Minute), noon.Add(2*time.Minute)
		}), want: RefusedEarly},
		{name: "expired", raw: signed(func(g *Grant) {
			g.NotBefore, g.Expires = noon.Add(-2*time.Minute), noon.Add(-time.Minute)
		}), want: RefusedExpired},

		{name: "no duration", raw: signed(func(g *Grant) { g.Limits.Duration = 0; redigest(t, g, p) }), want: RefusedLimits},
		{name: "negative duration", raw: signed(func(g *Grant) { g.Limits.Duration = -1; redigest(t, g, p) }), want: RefusedLimits},
		{name: "longer than the node allows", raw: signed(func(g *Grant) { g.Limits.Duration = 10*time.Minute + 1; redigest(t, g, p) }), want: RefusedLimits},
		{name: "negative rate", raw: signed(func(g *Grant) { g.Limits.EventsPerSecond = -1; redigest(t, g, p) }), want: RefusedLimits},

		{name: "another digest", raw: signed(func(g *Grant) { g.Digest = strings.Repeat("0", 64) }), want: RefusedDigest},
		{name: "the digest in capitals", raw: signed(func(g *Grant) { g.Digest = strings.ToUpper(g.Digest) }), want: RefusedDigest},
		{name: "nodes the digest does not cover", raw: signed(func(g *Grant) { g.Nodes = append(g.Nodes, "db-5") }), want: RefusedDigest},
		{name: "a node named twice", raw: signed(func(g *Grant) { g.Nodes = append(g.Nodes, "db-3") }), want: RefusedDigest},
		{name: "limits the digest does not cover", raw: signed(func(g *Grant) { g.Limits.EventsPerSecond++ }), want: RefusedDigest},
		{name: "another program", raw: forge(t, seeded(1), g, Program{ELF: []byte("evil"), Manifest: p.Manifest, Contract: p.Contract}), want: RefusedDigest},
		{name: "another manifest", raw: forge(t, seeded(1), g, Program{ELF: p.ELF, Manifest: []byte(`{"version":1} `), Contract: p.Contract}), want: RefusedDigest},
		{name: "another contract", raw: forge(t, seeded(1), g, Program{ELF: p.ELF, Manifest: p.Manifest}), want: RefusedDigest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			used := &replays{}
			v := tt.node
			if v == nil {
				v = verifier(used)
			}
			got, program, err := v.Open(tt.raw)
			if r := refusal(t, err); r != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if got != nil || program.ELF != nil {
				t.Error("a refused envelope was handed out")
			}
			if used.count() != 0 {
				t.Error("a refused envelope used up its grant's id")
			}
		})
	}
}

// The edges of the time window, with the clock moving.
func TestOpenClock(t *testing.T) {
	p := testProgram()
	g := testGrant(t, p)
	g.Expires = g.NotBefore.Add(MaxWindow)
	raw := sign(t, seeded(1), g, p)
	for _, tt := range []struct {
		at   time.Time
		want Refusal
		says string // how far the clocks are apart
	}{
		{g.NotBefore.Add(-MaxSkew - 1), RefusedEarly, "differ by 31s"},
		{g.NotBefore.Add(-MaxSkew - 20*time.Minute), RefusedEarly, "differ by 20m30s"},
		{g.NotBefore.Add(-MaxSkew), "", ""},
		{g.NotBefore, "", ""},
		{g.Expires, "", ""},
		{g.Expires.Add(MaxSkew), "", ""},
		{g.Expires.Add(MaxSkew + 1), RefusedExpired, "31s later"},
		{time.Time{}, RefusedEarly, "clock"},
	} {
		v := verifier(&replays{})
		v.Now = func() time.Time { return tt.at }
		_, _, err := v.Open(raw)
		if tt.want == "" && err != nil || tt.want != "" && refusal(t, err) != tt.want {
			t.Errorf("at %v: %v, want %q", tt.at, err, tt.want)
		}
		if err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("at %v: %v, want %q in it", tt.at, err, tt.says)
		}
	}
}

func TestOpenOnce(t *testing.T) {
	p := testProgram()
	raw := sign(t, seeded(1), testGrant(t, p), p)
	used := &replays{}
	v := verifier(used)
	if _, _, err := v.Open(raw); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Open(raw); refusal(t, err) != RefusedReplay {
		t.Errorf("the second time: %v", err)
	}
	// The same id under another signature is still the same grant.
	g := testGrant(t, p)
	g.Run = "run-2"
	if _, _, err := v.Open(sign(t, seeded(1), g, p)); refusal(t, err) != RefusedReplay {
		t.Errorf("another run of the same grant: %v", err)
	}
	// Where nothing can be remembered nothing is opened.
	g.ID = strings.Repeat("ab", 16)
	used.err = errors.New("disk full")
	if _, _, err := v.Open(sign(t, seeded(1), g, p)); refusal(t, err) != RefusedReplay || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("without memory: %v", err)
	}
}

func TestOpenConcurrently(t *testing.T) {
	p := testProgram()
	raw := sign(t, seeded(1), testGrant(t, p), p)
	v := verifier(&replays{})
	start := make(chan struct{})
	results := make(chan error, 16)
	for range cap(results) {
		go func() {
			<-start
			_, _, err := v.Open(raw)
			results <- err
		}()
	}
	close(start)
	opened := 0
	for range cap(results) {
		if err := <-results; err == nil {
			opened++
		} else if refusal(t, err) != RefusedReplay {
			t.Error(err)
		}
	}
	if opened != 1 {
		t.Errorf("opened %d times", opened)
	}
}

// No byte of an envelope can be changed, left out or added.
func TestOpenAlteredBytes(t *testing.T) {
	p := testProgram()
	raw := sign(t, seeded(1), testGrant(t, p), p)
	used := &replays{}
	v := verifier(used)
	try := func(what string, altered []byte) {
		t.Helper()
		if _, _, err := v.Open(altered); err == nil {
			t.Errorf("%s: opened", what)
		} else {
			refusal(t, err)
		}
	}
	for i := range raw {
		for _, flip := range []byte{0x01, 0x20} {
			altered := bytes.Clone(raw)
			altered[i] ^= flip
			try(fmt.Sprintf("byte %d changed from %q to %q", i, raw[i], altered[i]), altered)
		}
		try(fmt.Sprintf("byte %d left out", i), slices.Delete(bytes.Clone(raw), i, i+1))
		for _, c := range []byte(" A") {
			try(fmt.Sprintf("%q added before byte %d", c, i), slices.Insert(bytes.Clone(raw), i, c))
		}
	}
	if used.count() != 0 {
		t.Error("an altered envelope used up the grant")
	}
	if _, _, err := v.Open(raw); err != nil {
		t.Errorf("the real envelope afterwards: %v", err)
	}
}

func TestDigest(t *testing.T) {
	base := testProgram()
	nodes, limits := []string{"a", "b"}, Limits{Duration: time.Second}
	digest := func(p Program, nodes []string, l Limits) Digest {
		t.Helper()
		d, err := DigestOf(p, nodes, l)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := digest(base, nodes, limits)
	if again := digest(base, []string{"b", "a"}, limits); again != first {
		t.Error("the order of nodes matters")
	}
	if nodes[0] != "a" {
		t.Error("the caller's nodes were sorted")
	}
	if len(first.String()) != 64 || first.Short() != first.String()[:12] {
		t.Errorf("shown as %s and %s", first, first.Short())
	}
	seen := map[Digest]string{first: "the first"}
	for name, d := range map[string]Digest{
		"moved from ELF to manifest":      digest(Program{ELF: base.ELF[:3], Manifest: slices.Concat(base.ELF[3:], base.Manifest), Contract: base.Contract}, nodes, limits),
		"moved from manifest to ELF":      digest(Program{ELF: slices.Concat(base.ELF, base.Manifest[:2]), Manifest: base.Manifest[2:], Contract: base.Contract}, nodes, limits),
		"moved from contract to manifest": digest(Program{ELF: base.ELF, Manifest: slices.Concat(base.Manifest, base.Contract)}, nodes, limits),
		"all in one":                      digest(Program{ELF: slices.Concat(base.ELF, base.Manifest, base.Contract)}, nodes, limits),
		"ELF and manifest swapped":        digest(Program{ELF: base.Manifest, Manifest: base.ELF, Contract: base.Contract}, nodes, limits),
		"nodes joined":                    digest(base, []string{"ab"}, limits),
		"a node less":                     digest(base, []string{"a"}, limits),
		"a node twice":                    digest(base, []string{"a", "b", "b"}, limits),
		"an empty node":                   digest(base, []string{"a", "b", ""}, limits),
		"no nodes":                        digest(base, nil, limits),
		"longer":                          digest(base, nodes, Limits{Duration: time.Second + 1}),
		"with a rate":                     digest(base, nodes, Limits{Duration: time.Second, EventsPerSecond: 1}),
		"the contract as node":            digest(Program{ELF: base.ELF, Manifest: base.Manifest}, []string{"a", "b", string(base.Contract)}, limits),
	} {
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[d] = name
	}
}

// Digests live in logs and signatures: their computation may never change.
func TestDigestIsStable(t *testing.T) {
	d, err := DigestOf(testProgram(), []string{"b", "a"}, Limits{Duration: time.Minute, EventsPerSecond: 1000})
	if err != nil {
		t.Fatal(err)
	}
	const want = "f2f36a97b059ab0d3fff226b6b21ba4fb4c7bab159344d85d2c37f74aa35fbf7"
	if d.String() != want {
		t.Errorf("digest %s, want %s", d, want)
	}
}

func TestSignRefuses(t *testing.T) {
	p := testProgram()
	g := testGrant(t, p)
	for name, change := range map[string]func(*Grant, *Program){
		"another digest":  func(g *Grant, _ *Program) { g.Digest = strings.Repeat("0", 64) },
		"another program": func(_ *Grant, p *Program) { p.ELF = []byte("x") },
		"another node":    func(g *Grant, _ *Program) { g.Nodes = []string{"db-9"} },
		"another limit":   func(g *Grant, _ *Program) { g.Limits.Duration++ },
	} {
		g, p := g, p
		change(&g, &p)
		if _, err := Sign(seeded(1), g, p); err == nil || !strings.Contains(err.Error(), "digest is not that of") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	p.ELF = make([]byte, MaxEnvelope)
	redigest(t, &g, p)
	if _, err := Sign(seeded(1), g, p); err == nil || !strings.Contains(err.Error(), "at most 8388608") {
		t.Errorf("oversized: error %v", err)
	}
}

// A second signature of the same grant is the same envelope, so a lost one can
// be made again without a second run.
func TestSignIsDeterministic(t *testing.T) {
	p := testProgram()
	g := testGrant(t, p)
	if !bytes.Equal(sign(t, seeded(1), g, p), sign(t, seeded(1), g, p)) {
		t.Error("two different envelopes")
	}
}

func TestKeyRotation(t *testing.T) {
	p := testProgram()
	g := testGrant(t, p)
	v := verifier(&replays{})
	v.Keys = append(v.Keys, public(seeded(2)))
	if _, _, err := v.Open(sign(t, seeded(2), g, p)); err != nil {
		t.Errorf("the new key: %v", err)
	}
	g.ID = strings.Repeat("cd", 16)
	if _, _, err := v.Open(sign(t, seeded(1), g, p)); err != nil {
		t.Errorf("the old key: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	p := testProgram()
	g := testGrant(f, p)
	good := sign(f, seeded(1), g, p)
	f.Add(good)
	f.Add(sign(f, seeded(2), g, p))
	f.Add(forge(f, seeded(1), []byte(`{"version":1}`), p))
	f.Add([]byte(`{"key_id":"","signature":null,"grant":null,"elf":null,"manifest":null,"contract":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _, err := verifier(&replays{}).Open(raw)
		if err == nil && !bytes.Equal(raw, good) {
			t.Errorf("opened %q", raw)
		}
		if err != nil {
			refusal(t, err)
		}
	})
}

// testCheck is a grant that lets nothing run.
func testCheck(t testing.TB, p Program) Grant {
	t.Helper()
	g := testGrant(t, p)
	g.Purpose, g.Limits, g.Approval = PurposeCheck, Limits{}, Approval{Requester: "ada"}
	d, err := CheckDigestOf(p, g.Nodes, false)
	if err != nil {
		t.Fatal(err)
	}
	g.Digest = d.String()
	return g
}

func TestOpenCheck(t *testing.T) {
	p := testProgram()
	raw := sign(t, seeded(1), testCheck(t, p), p)
	used := &replays{}
	g, _, err := verifier(used).Open(raw)
	if err != nil || g.Purpose != PurposeCheck {
		t.Fatalf("%+v, %v", g, err)
	}
	if _, _, err := verifier(used).Open(raw); refusal(t, err) != RefusedReplay {
		t.Errorf("a second time: %v", err)
	}
	run := testGrant(t, p)
	if check := testCheck(t, p); check.Digest == run.Digest {
		t.Error("a check and a run have the same digest")
	}
	if d, err := DigestOf(p, run.Nodes, Limits{}); err != nil || d.String() == testCheck(t, p).Digest {
		t.Errorf("a check has the digest of a run without limits, %v", err)
	}
}

// Nothing that was signed as one thing passes for the other.
func TestPurposeIsSigned(t *testing.T) {
	p := testProgram()
	run, check := testGrant(t, p), testCheck(t, p)
	signed := func(as Purpose, g Grant, envelope Purpose) []byte {
		payload := encode(t, g)
		return encode(t, Envelope{KeyID: KeyID(public(seeded(1))), Purpose: envelope, Signature: ed25519.Sign(seeded(1), signedBytes(as, payload)), Grant: payload, Program: p})
	}
	as := func(g Grant, p Purpose) Grant { g.Purpose = p; return g }
	approved := func(g Grant) Grant {
		g.Purpose, g.Limits, g.Approval = PurposeRun, run.Limits, run.Approval
		return g
	}
	for name, test := range map[string]struct {
		raw  []byte
		want Refusal
	}{
		"a check in the envelope of a run":           {signed(PurposeCheck, check, PurposeRun), RefusedSignature},
		"a run in the envelope of a check":           {signed(PurposeRun, run, PurposeCheck), RefusedSignature},
		"a check whose bytes say run":                {bytes.Replace(signed(PurposeCheck, check, PurposeCheck), encode(t, encode(t, check)), encode(t, encode(t, approved(check))), 1), RefusedSignature},
		"signed as a check, the grant says run":      {signed(PurposeCheck, as(check, PurposeRun), PurposeCheck), RefusedPurpose},
		"signed as a run, the grant says check":      {signed(PurposeRun, as(run, PurposeCheck), PurposeRun), RefusedPurpose},
		"signed as a run, with the digest of checks": {signed(PurposeRun, approved(check), PurposeRun), RefusedDigest},
		"a check with the digest of runs": {func() []byte {
			g := check
			g.Digest = run.Digest
			return signed(PurposeCheck, g, PurposeCheck)
		}(), RefusedDigest},
		"a check with limits": {func() []byte {
			g := check
			g.Limits = run.Limits
			return signed(PurposeCheck, g, PurposeCheck)
		}(), RefusedLimits},
		"a check that became dry on its way": {func() []byte {
			g := check
			g.Limits.DryRun = true
			return signed(PurposeCheck, g, PurposeCheck)
		}(), RefusedDigest},
		"a check with an approval": {func() []byte {
			g := check
			g.Approval = run.Approval
			return signed(PurposeCheck, g, PurposeCheck)
		}(), RefusedLimits},
		"no purpose":      {signed("", as(run, ""), ""), RefusedMalformed},
		"another purpose": {signed("sudo", as(run, "sudo"), "sudo"), RefusedMalformed},
		"a check for another node": {func() []byte {
			g := check
			g.Nodes = []string{"db-9"}
			return signed(PurposeCheck, g, PurposeCheck)
		}(), RefusedNode},
	} {
		t.Run(name, func(t *testing.T) {
			used := &replays{}
			if _, _, err := verifier(used).Open(test.raw); refusal(t, err) != test.want {
				t.Errorf("%v, want %s", err, test.want)
			}
			if used.count() != 0 {
				t.Error("the refused grant counts as used")
			}
		})
	}
	for name, g := range map[string]Grant{"no purpose": as(run, ""), "another purpose": as(run, "sudo"), "a run as a check": as(run, PurposeCheck), "a check as a run": as(check, PurposeRun),
		"an approved check": func() Grant { g := check; g.Approval = run.Approval; return g }()} {
		if _, err := Sign(seeded(1), g, p); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
}

// FuzzEnvelope holds the reader of envelopes against one of any JSON: it takes what Sign
// writes and nothing else. What it may refuse beside is a key or purpose with letters that
// JSON escapes, which no signer has.
func FuzzEnvelope(f *testing.F) {
	p := testProgram()
	good := sign(f, seeded(1), testGrant(f, p), p)
	for _, s := range []string{string(good), "{}", "", `{"key_id":null}`, strings.Replace(string(good), `"elf":"`, `"elf":"\n`, 1), strings.Replace(string(good), `,"contract":`, ` ,"contract":`, 1),
		`{"key_id":"k","purpose":"run","signature":null,"grant":"","elf":"QQ==","manifest":"QR==","contract":null}`, `{"key_id":"k","purpose":"run","signature":null,"grant":"","elf":"QQ==","manifest":null,"contract":"Q\nQ=="}`,
		`{"key_id":"k","purpose":"run","signature":null,"grant":"","elf":"QQ==","manifest":null,"contract":null}` + "\n", `{"key_id":"<","purpose":"run","signature":null,"grant":"","elf":"QQ==","manifest":null,"contract":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseEnvelope(raw)
		var want Envelope
		exact, encodeErr := []byte(nil), decodeStrict(raw, &want)
		if encodeErr == nil {
			exact, encodeErr = json.Marshal(want)
		}
		ok := encodeErr == nil && bytes.Equal(exact, raw)
		switch {
		case err == nil && (!ok || !reflect.DeepEqual(got, want)):
			t.Errorf("%q is taken for %+v, which it is not", raw, got)
		case err != nil && ok && isPlain([]byte(want.KeyID)) && isPlain([]byte(want.Purpose)):
			t.Errorf("%q is refused: %v", raw, err)
		}
	})
}

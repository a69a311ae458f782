package job

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"
)

func testOrder(t testing.TB, p Purpose, o Order) Grant {
	t.Helper()
	g := Grant{
		Version: GrantVersion, Purpose: p, ID: "00112233445566778899aabbccddeeff", Run: "order-1",
		Nodes: []string{"db-3", "db-4"}, Order: &o,
		Approval:  Approval{Requester: "ada", Account: "terminal:h/ada", Policy: "team@1"},
		NotBefore: noon, Expires: noon.Add(30 * time.Second),
	}
	redigestOrder(t, &g)
	return g
}

func redigestOrder(t testing.TB, g *Grant) {
	t.Helper()
	d, err := OrderDigestOf(g.Purpose, *g.Order, g.Nodes)
	if err != nil {
		t.Fatal(err)
	}
	g.Digest = d.String()
}

// An order opens once, and says what the signer wrote.
func TestOpenOrder(t *testing.T) {
	for _, g := range []Grant{
		testOrder(t, PurposeDrain, Order{Why: "ein neuer Datenträger, 磁盘", End: true}),
		testOrder(t, PurposeUndrain, Order{}),
	} {
		raw := sign(t, seeded(1), g, Program{})
		used := &replays{}
		got, p, err := verifier(used).Open(raw)
		if err != nil || got.Purpose != g.Purpose || *got.Order != *g.Order || got.Approval.Account != "terminal:h/ada" || p.ELF != nil {
			t.Fatalf("%s: %+v, %v", g.Purpose, got, err)
		}
		if _, _, err := verifier(used).Open(raw); refusal(t, err) != RefusedReplay {
			t.Errorf("%s a second time: %v", g.Purpose, err)
		}
	}
}

// Nothing passes for an order that was not signed as that very order, and an order
// passes for nothing else.
func TestOrdersAreSigned(t *testing.T) {
	drain, undrain := testOrder(t, PurposeDrain, Order{Why: "a new disk"}), testOrder(t, PurposeUndrain, Order{})
	signed := func(as Purpose, g Grant, envelope Purpose, p Program) []byte {
		payload := encode(t, g)
		return encode(t, Envelope{KeyID: KeyID(public(seeded(1))), Purpose: envelope, Signature: ed25519.Sign(seeded(1), signedBytes(as, payload)), Grant: payload, Program: p})
	}
	whole := func(g Grant, change func(*Grant)) []byte {
		change(&g)
		return signed(g.Purpose, g, g.Purpose, Program{})
	}
	order := func(o Order) func(*Grant) { return func(g *Grant) { g.Order = &o } }
	for name, test := range map[string]struct {
		raw  []byte
		want Refusal
	}{
		"a drain in the envelope of an undrain":  {signed(PurposeDrain, drain, PurposeUndrain, Program{}), RefusedSignature},
		"an undrain in the envelope of a drain":  {signed(PurposeUndrain, undrain, PurposeDrain, Program{}), RefusedSignature},
		"a check in the envelope of a drain":     {signed(PurposeCheck, testCheck(t, testProgram()), PurposeDrain, testProgram()), RefusedSignature},
		"a drain in the envelope of a run":       {signed(PurposeDrain, drain, PurposeRun, Program{}), RefusedSignature},
		"signed as a check, a drain by its word": {signed(PurposeCheck, drain, PurposeCheck, Program{}), RefusedPurpose},
		"signed as a drain, an undrain by its word": {whole(drain, func(g *Grant) {
			g.Purpose = PurposeDrain
			*g = undrain
			g.Purpose = PurposeDrain
			g.Order = undrain.Order
		}),
			RefusedDigest},
		"runs are to end besides":      {whole(drain, order(Order{Why: "a new disk", End: true})), RefusedDigest},
		"another reason":               {whole(drain, order(Order{Why: "none"})), RefusedDigest},
		"a program beside":             {signed(PurposeDrain, drain, PurposeDrain, testProgram()), RefusedMalformed},
		"an empty program beside":      {signed(PurposeDrain, drain, PurposeDrain, Program{ELF: []byte{}}), RefusedMalformed},
		"no order in it":               {whole(drain, func(g *Grant) { g.Order = nil }), RefusedLimits},
		"an order in a check":          {signed(PurposeCheck, func() Grant { g := testCheck(t, testProgram()); g.Order = &Order{}; return g }(), PurposeCheck, testProgram()), RefusedLimits},
		"an order in a run":            {signed(PurposeRun, func() Grant { g := testGrant(t, testProgram()); g.Order = &Order{End: true}; return g }(), PurposeRun, testProgram()), RefusedLimits},
		"limits":                       {whole(drain, func(g *Grant) { g.Limits.Duration = time.Second }), RefusedLimits},
		"approvers":                    {whole(drain, func(g *Grant) { g.Approval.Quorum = 1 }), RefusedLimits},
		"nobody who gave it":           {whole(drain, func(g *Grant) { g.Approval.Requester = "" }), RefusedLimits},
		"no policy that lets them":     {whole(drain, func(g *Grant) { g.Approval.Policy = "" }), RefusedLimits},
		"an undrain that ends runs":    {whole(undrain, order(Order{End: true})), RefusedLimits},
		"a reason of two lines":        {whole(drain, order(Order{Why: "a\nb"})), RefusedLimits},
		"a reason that clears screens": {whole(drain, order(Order{Why: "\x1b[2J"})), RefusedLimits},
		"a long reason":                {whole(drain, order(Order{Why: strings.Repeat("x", MaxWhy+1)})), RefusedLimits},
		"for other nodes":              {whole(drain, func(g *Grant) { g.Nodes = []string{"db-9"} }), RefusedNode},
		"late":                         {whole(drain, func(g *Grant) { g.NotBefore, g.Expires = noon.Add(-time.Hour), noon.Add(-59*time.Minute) }), RefusedExpired},
		"another's key":                {sign(t, seeded(9), drain, Program{}), RefusedKey},
	} {
		t.Run(name, func(t *testing.T) {
			used := &replays{}
			if _, _, err := verifier(used).Open(test.raw); refusal(t, err) != test.want {
				t.Errorf("%v, want %s", err, test.want)
			}
			if used.count() != 0 {
				t.Error("the refused order counts as used")
			}
		})
	}
	if _, err := OrderDigestOf(PurposeRun, Order{}, nil); err == nil {
		t.Error("a run has the digest of an order")
	}
	digests := map[Digest]bool{}
	for _, p := range []Purpose{PurposeDrain, PurposeUndrain} {
		for _, o := range []Order{{}, {Why: "a"}, {End: true}} {
			for _, nodes := range [][]string{{"a"}, {"b"}, {"a", "b"}} {
				d, err := OrderDigestOf(p, o, nodes)
				if err != nil || digests[d] {
					t.Errorf("%s %+v %q: %v, or the digest of another", p, o, nodes, err)
				}
				digests[d] = true
			}
		}
	}
}

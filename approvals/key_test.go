package approvals_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kgent/approvals"
	"kgent/executor/job"
)

func newKey(t *testing.T) *approvals.Key {
	t.Helper()
	k, err := approvals.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyFile(t *testing.T) {
	k := newKey(t)
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	got, err := approvals.LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Public(), k.Public()) || got.ID() != k.ID() || got.ID() != job.KeyID(k.Public()) {
		t.Errorf("loaded %s, saved %s", got, k)
	}
	p := job.Program{ELF: []byte("x")}
	d, err := job.DigestOf(p, nil, job.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	g := job.Grant{Purpose: job.PurposeRun, Digest: d.String()}
	a, errA := k.Sign(g, p)
	b, errB := got.Sign(g, p)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("signatures differ (%v, %v)", errA, errB)
	}
	// A key in use is never overwritten.
	if err := newKey(t).Save(path); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("saved over a key: %v", err)
	}
	if again, err := approvals.LoadKey(path); err != nil || again.ID() != k.ID() {
		t.Errorf("the key became %v (%v)", again, err)
	}
}

func TestPublicKeyFile(t *testing.T) {
	k := newKey(t)
	path := filepath.Join(t.TempDir(), "key.pub")
	if err := k.SavePublic(path); err != nil {
		t.Fatal(err)
	}
	got, err := approvals.LoadPublic(path)
	if err != nil || !bytes.Equal(got, k.Public()) {
		t.Errorf("loaded %x (%v), saved %x", got, err, k.Public())
	}
	if _, err := approvals.LoadKey(path); err == nil {
		t.Error("a public key was loaded as a private one")
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.pem")
	if err := newKey(t).Save(good); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		content []byte
		mode    os.FileMode
		want    string
	}{
		{"readable by the group", content, 0o640, "its mode is 0640, so others may read or change it; run: chmod 600 "},
		{"readable by all", content, 0o604, "chmod 600"},
		{"writable by others", content, 0o602, "chmod 600"},
		{"empty", nil, 0o600, "it is no PEM file"},
		{"no PEM", []byte("secret"), 0o600, "it is no PEM file"},
		{"another block", block("CERTIFICATE", []byte("x")), 0o600, `it holds a "CERTIFICATE", not a "PRIVATE KEY"`},
		{"broken inside", block("PRIVATE KEY", []byte("x")), 0o600, "it holds no private key"},
		{"two keys", append(bytes.Clone(content), content...), 0o600, "more than one key"},
		{"another kind", block("PRIVATE KEY", ecDER), 0o600, "signed with ed25519"},
		{"too large", bytes.Repeat([]byte("x"), 20<<10), 0o600, "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := approvals.LoadKey(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
	if _, err := approvals.LoadKey(t.TempDir()); err == nil || !strings.Contains(err.Error(), "it is not a file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := approvals.LoadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.pem")
	if err := os.WriteFile(foreign, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("giving a file to another user needs CAP_CHOWN")
	}
	if err := os.Chown(foreign, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := approvals.LoadKey(foreign); err == nil || !strings.Contains(err.Error(), "it belongs to user 65534") {
		t.Errorf("another user's file: %v", err)
	}
}

func TestNewKeyNeedsRandomness(t *testing.T) {
	if _, err := approvals.NewKey(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("a key was made from 31 bytes")
	}
}

// However a key is printed or encoded, the secret is not in it.
func TestKeyNeverPrints(t *testing.T) {
	seed := bytes.Repeat([]byte{0xC5}, ed25519.SeedSize)
	k, err := approvals.NewKey(bytes.NewReader(seed))
	if err != nil {
		t.Fatal(err)
	}
	desk := approvals.Desk{Signer: k}
	type holder struct{ key *approvals.Key }
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "key", k, "value", *k, "desk", desk)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "key", k, "value", *k, "desk", desk)
	out := logged.String()
	for _, v := range []any{k, *k, desk, &desk, holder{k}, []*approvals.Key{k}, map[string]approvals.Key{"k": *k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out += fmt.Sprintf(verb, v) + "\n"
		}
		if raw, err := json.Marshal(v); err == nil {
			out += string(raw) + "\n"
		}
	}
	for _, secret := range []string{
		hex.EncodeToString(seed[:6]), strings.ToUpper(hex.EncodeToString(seed[:6])), base64.StdEncoding.EncodeToString(seed)[:8],
		"197 197 197", "0xc5, 0xc5", string(seed[:6]), `\xc5\xc5`,
	} {
		if strings.Contains(out, secret) {
			t.Errorf("%q is in\n%s", secret, out)
		}
	}
	if !strings.Contains(out, "signing key "+k.ID()) {
		t.Error("the key is not named at all")
	}
}

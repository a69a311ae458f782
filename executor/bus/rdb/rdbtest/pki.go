package rdbtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificate are the files of a certificate and its key (PEM).
type Certificate struct{ CertFile, KeyFile string }

// pki is a certificate authority with a server and a client.
type pki struct {
	caFile         string
	server, client Certificate
}

func newPKI(t testing.TB, dir string) *pki {
	t.Helper()
	ca := issue(t, dir, "ca", nil)
	return &pki{
		caFile: ca.files.CertFile,
		server: issue(t, dir, "server", ca).files,
		client: issue(t, dir, "client", ca).files,
	}
}

// NewCertificate makes a certificate that nobody has signed but itself.
func NewCertificate(t testing.TB) Certificate {
	t.Helper()
	return issue(t, t.TempDir(), "stranger", nil).files
}

type issued struct {
	cert  *x509.Certificate
	key   crypto.Signer
	files Certificate
}

// issue makes a certificate for 127.0.0.1, signed by an authority or, without
// one, by itself.
func issue(t testing.TB, dir, name string, by *issued) *issued {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("rdbtest: making a certificate: %v", err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	check(err)
	cert := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  by == nil,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	out := &issued{cert: cert, key: key, files: Certificate{filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")}}
	if by == nil {
		by = out
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, by.cert, key.Public(), by.key)
	check(err)
	out.cert, err = x509.ParseCertificate(der)
	check(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	check(os.WriteFile(out.files.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(os.WriteFile(out.files.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return out
}

package approvals

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"kgent/executor/job"
)

// Signer seals grants. It is what a [Desk] needs of a key.
type Signer interface {
	Sign(g job.Grant, p job.Program) (envelope []byte, err error)
}

// Key is a private signing key. It is opaque: no way of printing or encoding
// it shows the secret, which leaves it through [Key.Save] only.
type Key struct {
	public ed25519.PublicKey
	// The secret is where no printer or encoder looks: in closures.
	sign   func(job.Grant, job.Program) ([]byte, error)
	encode func() ([]byte, error)
	derive func(purpose string) ([]byte, error)
}

// NewKey makes a key from 32 bytes of random, which is crypto/rand.Reader
// outside of tests.
func NewKey(random io.Reader) (*Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, fmt.Errorf("making signing key: %w", err)
	}
	return newKey(ed25519.NewKeyFromSeed(seed)), nil
}

func newKey(private ed25519.PrivateKey) *Key {
	return &Key{
		public: private.Public().(ed25519.PublicKey),
		sign:   func(g job.Grant, p job.Program) ([]byte, error) { return job.Sign(private, g, p) },
		encode: func() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(private) },
		derive: func(purpose string) ([]byte, error) {
			return hkdf.Key(sha256.New, private.Seed(), nil, "kgent "+purpose, sha256.Size)
		},
	}
}

// Public returns the key that executors trust.
func (k *Key) Public() ed25519.PublicKey { return bytes.Clone(k.public) }

// ID names the key as envelopes do.
func (k *Key) ID() string { return job.KeyID(k.public) }

// String names the key without showing it.
func (k *Key) String() string { return "signing key " + k.ID() }

// Secret returns a secret of 32 bytes for a purpose, always the same from the
// same key. Nothing follows from it about the key or other purposes.
func (k *Key) Secret(purpose string) ([]byte, error) {
	secret, err := k.derive(purpose)
	if err != nil {
		return nil, fmt.Errorf("deriving a secret from %s: %w", k, err)
	}
	return secret, nil
}

// Sign implements [Signer].
func (k *Key) Sign(g job.Grant, p job.Program) ([]byte, error) { return k.sign(g, p) }

// The types of PEM blocks in key files.
const (
	pemPrivate = "PRIVATE KEY"
	pemPublic  = "PUBLIC KEY"
)

// maxKeyFile is the largest key file that is read, in bytes.
const maxKeyFile = 16 << 10

// Save writes the key to a new file that only its owner can read (PEM,
// PKCS#8). It replaces no file: a key that is in use must not be lost.
func (k *Key) Save(path string) error {
	der, err := k.encode()
	if err != nil {
		return fmt.Errorf("encoding %s: %w", k, err)
	}
	if err := writeNew(path, pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("saving %s: %w", k, err)
	}
	return nil
}

// writeNew writes a new file so that after a crash it is there whole or not at
// all under its name's promise.
func writeNew(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// LoadKey reads what [Key.Save] wrote. A file that others may read or that
// belongs to somebody else is refused.
func LoadKey(path string) (*Key, error) {
	fail := func(err error) (*Key, error) { return nil, fmt.Errorf("loading signing key %s: %w", path, err) }
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("loading signing key: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fail(err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fail(errors.New("it is not a file"))
	case st.Mode&0o077 != 0:
		return fail(fmt.Errorf("its mode is %04o, so others may read or change it; run: chmod 600 %s", st.Mode&0o7777, path))
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fail(fmt.Errorf("it belongs to user %d, neither to root nor to the user of this process", st.Uid))
	}
	der, err := readPEM(f, pemPrivate)
	if err != nil {
		return fail(err)
	}
	// Errors of the decoder are not passed on: they could quote the key.
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return fail(errors.New("it holds no private key (PKCS#8)"))
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return fail(errors.New("it holds a key of another kind; grants are signed with ed25519"))
	}
	return newKey(private), nil
}

// SavePublic writes the public key, which executors are given, to a new file
// (PEM).
func (k *Key) SavePublic(path string) error {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return fmt.Errorf("encoding the public half of %s: %w", k, err)
	}
	if err := writeNew(path, pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der}), 0o644); err != nil {
		return fmt.Errorf("saving the public half of %s: %w", k, err)
	}
	return nil
}

// LoadPublic reads what [Key.SavePublic] wrote.
func LoadPublic(path string) (ed25519.PublicKey, error) {
	fail := func(err error) (ed25519.PublicKey, error) {
		return nil, fmt.Errorf("loading public key %s: %w", path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("loading public key: %w", err)
	}
	defer f.Close()
	der, err := readPEM(f, pemPublic)
	if err != nil {
		return fail(err)
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return fail(err)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return fail(errors.New("it holds a key of another kind; grants are signed with ed25519"))
	}
	return public, nil
}

// readPEM returns the one block of a file.
func readPEM(r io.Reader, want string) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxKeyFile {
		return nil, fmt.Errorf("it is larger than %d bytes", maxKeyFile)
	}
	block, rest := pem.Decode(content)
	switch {
	case block == nil:
		return nil, errors.New("it is no PEM file")
	case block.Type != want:
		return nil, fmt.Errorf("it holds a %q, not a %q", plain(block.Type, maxName), want)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("it holds more than one key")
	}
	return block.Bytes, nil
}

package auth

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

const (
	secretBytes        = 32   // of a secret that we make, and the fewest of one given to us
	maxSecretText      = 4096 // bytes of its text, line end included
	minDistinctInBytes = 12   // different byte values; 32 random bytes have fewer less than once in 10^25 times
)

// ErrSecret says that a cluster secret cannot be used; the error that wraps it says what
// to do.
var ErrSecret = errors.New("cluster secret")

// Label names the use that a key derived from the cluster secret is for. Keys of
// different labels are independent of each other (RFC 5869 section 3.2). Changing a
// label's text replaces its key, as a changed secret would.
type Label string

// The uses of the cluster secret.
const (
	LabelToken     Label = "maru 1 session token"
	LabelDevice    Label = "maru 1 device token"
	LabelSeal      Label = "maru 1 sealed password"
	LabelClaims    Label = "maru 2 gateway claims" // 1: without the time of signing
	LabelCommandID Label = "maru 1 command id"
	labelCheck     Label = "maru 1 same secret"
)

// Secret is what all processes of a cluster share and nobody else knows. Every key they
// have in common is derived from it. It is immutable and safe for concurrent use, and
// shows itself nowhere: not in fmt, slog or JSON.
type Secret struct {
	// The bytes live in a closure because fmt prints unexported fields of a struct around
	// this one by reflection, without asking its String method.
	derive func(Label) ([]byte, error)
	text   func() string
}

func newSecret(b []byte) *Secret {
	return &Secret{
		derive: func(l Label) ([]byte, error) { return hkdf.Key(sha256.New, b, nil, string(l), sha256.Size) },
		text:   func() string { return base64.StdEncoding.EncodeToString(b) },
	}
}

// NewSecret returns a new random secret, known to this process alone.
func NewSecret() *Secret {
	b := make([]byte, secretBytes)
	rand.Read(b)
	return newSecret(b)
}

// ParseSecret reads a secret from text, as given in the environment or a file: 32 random
// bytes or more in hex or in base64 (either alphabet, with or without padding). Space
// around it is ignored. Text of hex digits alone is hex.
func ParseSecret(text string) (*Secret, error) {
	if len(text) > maxSecretText {
		return nil, fmt.Errorf("%w: longer than %d characters; make one with: openssl rand -base64 32", ErrSecret, maxSecretText)
	}
	text = strings.TrimSpace(text)
	b, err := hex.DecodeString(text)
	if err != nil {
		plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
		b, err = base64.RawStdEncoding.DecodeString(plain)
	}
	if err != nil { // the decoder's error quotes the secret's place and nature; say neither
		return nil, fmt.Errorf("%w: neither hex nor base64; make one with: openssl rand -base64 32", ErrSecret)
	}
	if len(b) < secretBytes {
		return nil, fmt.Errorf("%w: has %d bytes, needs %d; make one with: openssl rand -base64 32", ErrSecret, len(b), secretBytes)
	}
	var seen [256]bool
	distinct := 0
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			distinct++
		}
	}
	if distinct < minDistinctInBytes {
		return nil, fmt.Errorf("%w: is not random; make one with: openssl rand -base64 32", ErrSecret)
	}
	return newSecret(b), nil
}

// LoadOrCreate reads the secret from the file at path or, when there is no such file,
// makes one with mode 0600 that is on disk, with its name, before this returns. Of
// processes that start at once, all get the secret of the one that was first. A file that
// others than its owner may read or write is refused.
func LoadOrCreate(path string) (*Secret, error) {
	s, err := loadSecret(path)
	if !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	if err := createSecret(path); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%w: cannot be made at %s: %w", ErrSecret, path, err)
	}
	return loadSecret(path)
}

func loadSecret(path string) (*Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a file", ErrSecret, path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s is open to other users of this machine; run: chmod 600 %s", ErrSecret, path, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecretText+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	s, err := ParseSecret(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// createSecret writes a new secret beside path and then links it there: link fails when
// path exists, as O_EXCL does, and unlike an exclusive create never shows a half-written
// secret to a process that starts at the same time or after a crash.
func createSecret(path string) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-secret-*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.WriteString(NewSecret().text() + "\n"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Derive returns the key for one use (HKDF-SHA-256, RFC 5869).
func (s *Secret) Derive(l Label) [32]byte {
	key, err := s.derive(l)
	if err != nil { // HKDF refuses only outputs of more than 255 hashes, and short secrets in FIPS mode
		panic("auth: deriving a 32-byte key: " + err.Error())
	}
	return [32]byte(key)
}

// Check returns a text that is equal in processes with the same secret and tells nothing
// else about it. It may be stored and shown.
func (s *Secret) Check() string {
	key := s.Derive(labelCheck)
	return hex.EncodeToString(key[:16])
}

const hidden = "[cluster secret]"

// String, GoString, Format, LogValue, MarshalText and MarshalJSON hide the secret.
func (s *Secret) String() string { return hidden }

// GoString hides the secret.
func (s *Secret) GoString() string { return hidden }

// Format hides the secret from every verb of fmt.
func (s *Secret) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// LogValue hides the secret.
func (s *Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the secret.
func (s *Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON hides the secret.
func (s *Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

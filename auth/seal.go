package auth

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrSealed says that a sealed password was not sealed for this cluster, this user and
// this command, or was changed on the way.
var ErrSealed = errors.New("sealed password cannot be opened for this user and command")

const (
	sealVersion = 1
	sealKey     = 32 // bytes of an encapsulated X25519 key
	sealTag     = 16 // bytes that the AEAD adds
	sealBlock   = 64 // sealed passwords are padded to a multiple of it

	// maxSealContext bounds the user id and the command id of one sealed password.
	maxSealContext = 1024
)

// maxSealed is the length of the longest sealed password before base64.
var maxSealed = 1 + sealKey + paddedLen(MaxPasswordBytes) + sealTag

// Sealer encrypts passwords on their way from a gateway to a home, so that neither the
// log nor its disks hold a readable one: HPKE (RFC 9180) in base mode with DHKEM(X25519,
// HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305. The key pair comes from the cluster
// secret. It is immutable and safe for concurrent use.
//
// User and command id are in HPKE's info, so a sealed password taken from the log opens
// for nothing but the command that it came with. Its length tells the password's only up
// to the next 64 bytes.
type Sealer struct {
	open func(info, sealed []byte) ([]byte, error) // holds the private key, out of the reach of fmt
	seal func(info, plain []byte) ([]byte, error)
}

// NewSealer returns the sealer of the cluster with that secret.
func NewSealer(s *Secret) (*Sealer, error) {
	seed := s.Derive(LabelSeal)
	private, err := hpke.DHKEM(ecdh.X25519()).DeriveKeyPair(seed[:])
	if err != nil {
		return nil, fmt.Errorf("key for sealed passwords: %w", err)
	}
	public := private.PublicKey()
	kdf, aead := hpke.HKDFSHA256(), hpke.ChaCha20Poly1305()
	return &Sealer{
		open: func(info, sealed []byte) ([]byte, error) { return hpke.Open(private, kdf, aead, info, sealed) },
		seal: func(info, plain []byte) ([]byte, error) { return hpke.Seal(public, kdf, aead, info, plain) },
	}, nil
}

// Seal returns password, as given, sealed for that command of that user, as URL-safe
// text. It fails with [ErrPasswordLength], or for ids of more than 1,024 bytes together.
func (s *Sealer) Seal(userID, commandID string, password []byte) (string, error) {
	if len(password) == 0 || len(password) > MaxPasswordBytes {
		return "", ErrPasswordLength
	}
	info, ok := sealInfo(userID, commandID)
	if !ok {
		return "", fmt.Errorf("seal password: user and command id have more than %d bytes", maxSealContext)
	}
	plain := make([]byte, paddedLen(len(password)))
	defer clear(plain)
	binary.BigEndian.PutUint16(plain, uint16(len(password)))
	copy(plain[2:], password)
	sealed, err := s.seal(info, plain)
	if err != nil {
		return "", fmt.Errorf("seal password: %w", err)
	}
	return signedBase64.EncodeToString(append([]byte{sealVersion}, sealed...)), nil
}

// Open returns the password that was sealed for that command of that user, otherwise
// [ErrSealed]. The caller zeroes it after use.
func (s *Sealer) Open(userID, commandID, sealed string) (password []byte, err error) {
	raw, err := decodeText(sealed, maxSealed)
	info, ok := sealInfo(userID, commandID)
	if err != nil || !ok || len(raw) < 1+sealKey+sealTag || raw[0] != sealVersion {
		return nil, ErrSealed
	}
	plain, err := s.open(info, raw[1:])
	if err != nil {
		return nil, ErrSealed
	}
	if len(plain) < 2 {
		return nil, ErrSealed
	}
	n := int(binary.BigEndian.Uint16(plain))
	if n == 0 || n > MaxPasswordBytes || len(plain) != paddedLen(n) {
		clear(plain)
		return nil, ErrSealed
	}
	return plain[2 : 2+n : 2+n], nil
}

// sealInfo is what a sealed password is bound to.
func sealInfo(userID, commandID string) (info []byte, ok bool) {
	if len(userID)+len(commandID) > maxSealContext {
		return nil, false
	}
	info = append(make([]byte, 0, 64), sealVersion)
	return appendPart(appendPart(info, userID), commandID), true
}

// paddedLen is the length of a password of n bytes behind its length, padded.
func paddedLen(n int) int {
	return (2 + n + sealBlock - 1) / sealBlock * sealBlock
}

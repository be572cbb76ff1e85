package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// MaxPasswordBytes is the length of the longest password, as given by the user. Its NFC
// form may be up to three times as long and is used in full.
const MaxPasswordBytes = 1024

// ErrPasswordLength says that a password is empty or longer than [MaxPasswordBytes], so
// that it cannot belong to any user.
var ErrPasswordLength = errors.New("password must have 1 to 1,024 bytes")

// canonical returns the NFC form of a password and a function that zeroes the copy which
// this may have needed. ASCII and most other input is its own NFC form and is not copied.
func canonical(password []byte) (nfc []byte, wipe func(), err error) {
	if len(password) == 0 || len(password) > MaxPasswordBytes {
		return nil, nil, ErrPasswordLength
	}
	if norm.NFC.IsNormal(password) {
		return password, func() {}, nil
	}
	nfc = norm.NFC.Bytes(password)
	return nfc, func() { clear(nfc) }, nil
}

// Hasher makes and checks argon2id hashes (RFC 9106) in the PHC string format. It is
// immutable and safe for concurrent use; every call takes the memory and the time of its
// parameters, so calls belong on a [Pool].
type Hasher struct {
	params Params
	dummy  string
}

// NewHasher returns a hasher that makes new hashes with p.
func NewHasher(p Params) (*Hasher, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	// The dummy's hash is random instead of computed: it costs a verification as much as
	// any other, and no password in the world matches it.
	dummy := phc{params: p, salt: make([]byte, saltBytes), hash: make([]byte, hashBytes)}
	rand.Read(dummy.salt)
	rand.Read(dummy.hash)
	return &Hasher{params: p, dummy: dummy.String()}, nil
}

// Params returns the parameters of new hashes.
func (h *Hasher) Params() Params { return h.params }

// Dummy returns a valid hash with the current parameters that no password matches.
// Verifying it for an unknown user takes the time that a wrong password takes.
func (h *Hasher) Dummy() string { return h.dummy }

// Hash returns the hash of password under a new random salt, to be stored. The only
// possible error is [ErrPasswordLength].
func (h *Hasher) Hash(password []byte) (string, error) {
	nfc, wipe, err := canonical(password)
	if err != nil {
		return "", err
	}
	defer wipe()
	made := phc{params: h.params, salt: make([]byte, saltBytes)}
	rand.Read(made.salt)
	made.hash = made.params.compute(nfc, made.salt, hashBytes)
	return made.String(), nil
}

// Verify says whether password is the one that encoded was made of, with the parameters
// that encoded names. It returns [ErrPasswordLength], whatever the user, for what cannot
// be a password, and [ErrBadHash] for an encoding that is damaged or asks for more memory
// or time than [Params.Validate] allows.
func (h *Hasher) Verify(encoded string, password []byte) (ok bool, err error) {
	nfc, wipe, err := canonical(password)
	if err != nil {
		return false, err
	}
	defer wipe()
	stored, err := parsePHC(encoded)
	if err != nil {
		return false, err
	}
	got := stored.params.compute(nfc, stored.salt, uint32(len(stored.hash)))
	return subtle.ConstantTimeCompare(got, stored.hash) == 1, nil
}

// NeedsRehash says whether encoded was made with other parameters than new hashes are, or
// cannot be read. The caller hashes the password again when it next verified it.
func (h *Hasher) NeedsRehash(encoded string) bool {
	stored, err := parsePHC(encoded)
	return err != nil || stored.params != h.params || len(stored.salt) < saltBytes || len(stored.hash) < hashBytes
}

// Params are the costs of one argon2id hash.
type Params struct {
	MemoryKiB uint32 // memory of one hash, in KiB
	Time      uint32 // passes over that memory
	Threads   uint8  // lanes, each on a goroutine of its own
}

// DefaultParams returns the second row of the parameters that OWASP's password storage
// cheat sheet recommends: 19 MiB, two passes, one lane. Its rows cost an attacker about
// the same; this one lets the most hashes run side by side.
func DefaultParams() Params { return Params{MemoryKiB: 19456, Time: 2, Threads: 1} }

// What one hash may cost at most. They hold for configured parameters and for those read
// from a stored hash, so that a damaged or planted row cannot take a home's memory or
// keep a worker for more than a few seconds.
const (
	maxMemoryKiB = 256 << 10
	maxTime      = 64
	maxThreads   = 16
	maxWorkKiB   = 1 << 20 // memory × passes
)

// Validate refuses parameters that argon2 does not define or that one hash must not cost.
func (p Params) Validate() error {
	switch {
	case p.Time < 1 || p.Time > maxTime:
		return fmt.Errorf("argon2 passes must be 1 to %d, not %d", maxTime, p.Time)
	case p.Threads < 1 || p.Threads > maxThreads:
		return fmt.Errorf("argon2 threads must be 1 to %d, not %d", maxThreads, p.Threads)
	case p.MemoryKiB < 8*uint32(p.Threads) || p.MemoryKiB > maxMemoryKiB:
		return fmt.Errorf("argon2 memory must be %d to %d KiB, not %d", 8*uint32(p.Threads), maxMemoryKiB, p.MemoryKiB)
	case uint64(p.MemoryKiB)*uint64(p.Time) > maxWorkKiB:
		return fmt.Errorf("argon2 memory times passes must be at most %d KiB, not %d", maxWorkKiB, uint64(p.MemoryKiB)*uint64(p.Time))
	}
	return nil
}

func (p Params) compute(password, salt []byte, size uint32) []byte {
	key := argon2.IDKey(password, salt, p.Time, p.MemoryKiB, p.Threads, size)
	if p.MemoryKiB >= sweepFromKiB {
		sweep()
	}
	return key
}

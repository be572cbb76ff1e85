package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// ErrBadHash says that a stored password hash cannot be read. The user can sign in again
// once an administrator has set a new password.
var ErrBadHash = errors.New("stored password hash is not a usable argon2id string")

// Lengths of what we make (RFC 9106 section 4), and of what we read.
const (
	saltBytes = 16
	hashBytes = 32

	minSaltBytes = 8
	maxSaltBytes = 64
	minHashBytes = 16
	maxHashBytes = 64
	maxPHCBytes  = 256
)

// phcPrefix starts every hash: the algorithm and the only version of it there is, 0x13.
var phcPrefix = "$argon2id$v=" + strconv.Itoa(argon2.Version) + "$"

// phcBase64 is the encoding of the PHC string format: standard alphabet, no padding, one
// text for one value.
var phcBase64 = base64.RawStdEncoding.Strict()

// phc is a password hash with all that is needed to compute it again.
type phc struct {
	params Params
	salt   []byte
	hash   []byte
}

// String returns h in the PHC string format, $argon2id$v=19$m=…,t=…,p=…$salt$hash.
func (h phc) String() string {
	return fmt.Sprintf("%sm=%d,t=%d,p=%d$%s$%s", phcPrefix, h.params.MemoryKiB, h.params.Time, h.params.Threads,
		phcBase64.EncodeToString(h.salt), phcBase64.EncodeToString(h.hash))
}

// parsePHC is the inverse of [phc.String]; it accepts nothing that String would not
// write, and no parameters outside the bounds of [Params.Validate].
func parsePHC(s string) (phc, error) {
	if len(s) > maxPHCBytes {
		return phc{}, fmt.Errorf("%w: longer than %d bytes", ErrBadHash, maxPHCBytes)
	}
	rest, ok := strings.CutPrefix(s, phcPrefix)
	if !ok {
		return phc{}, fmt.Errorf("%w: does not start with %s", ErrBadHash, phcPrefix)
	}
	fields := strings.Split(rest, "$")
	if len(fields) != 3 {
		return phc{}, fmt.Errorf("%w: wants parameters, salt and hash", ErrBadHash)
	}
	var h phc
	var err error
	if h.params, err = parseParams(fields[0]); err != nil {
		return phc{}, fmt.Errorf("%w: %w", ErrBadHash, err)
	}
	if h.salt, err = decodePHC(fields[1], minSaltBytes, maxSaltBytes); err != nil {
		return phc{}, fmt.Errorf("%w: salt: %w", ErrBadHash, err)
	}
	if h.hash, err = decodePHC(fields[2], minHashBytes, maxHashBytes); err != nil {
		return phc{}, fmt.Errorf("%w: hash: %w", ErrBadHash, err)
	}
	return h, nil
}

func parseParams(s string) (Params, error) {
	fields := strings.Split(s, ",")
	if len(fields) != 3 {
		return Params{}, errors.New("parameters are not m=…,t=…,p=…")
	}
	var values [3]uint64
	for i, name := range [...]string{"m=", "t=", "p="} {
		text, ok := strings.CutPrefix(fields[i], name)
		if !ok {
			return Params{}, fmt.Errorf("parameter %d is not %s", i+1, name)
		}
		value, err := strconv.ParseUint(text, 10, 32)
		if err != nil || strconv.FormatUint(value, 10) != text {
			return Params{}, fmt.Errorf("parameter %s is not a plain number", name)
		}
		values[i] = value
	}
	if values[2] > maxThreads { // before it is cut to eight bits
		return Params{}, fmt.Errorf("more than %d threads", maxThreads)
	}
	p := Params{MemoryKiB: uint32(values[0]), Time: uint32(values[1]), Threads: uint8(values[2])}
	return p, p.Validate()
}

func decodePHC(s string, least, most int) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // which the decoder would pass over
		return nil, errors.New("holds a line break")
	}
	b, err := phcBase64.DecodeString(s)
	if err != nil {
		return nil, err
	}
	if len(b) < least || len(b) > most {
		return nil, fmt.Errorf("has %d bytes, not %d to %d", len(b), least, most)
	}
	return b, nil
}

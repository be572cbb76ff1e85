package auth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Refusals of [Tokens].
var (
	ErrToken        = errors.New("token is not valid: sign in again")
	ErrTokenExpired = errors.New("token has expired: sign in again")
)

const (
	tokenVersion = 1
	// tokenKey names the key that signed a token. There is one today; a rotation adds a
	// second that is accepted beside it.
	tokenKey = 1

	maxTokenName = 255 // bytes of a user, session or device id, so that one byte holds the length
)

// Token says that a user signed in. It is not stored anywhere: whether the session still
// lives is known to the user's home.
type Token struct {
	User      string    // 1 to 255 bytes
	Session   string    // 1 to 255 bytes
	IssuedAt  time.Time // whole seconds; the rest is cut off
	ExpiresAt time.Time // whole seconds, after IssuedAt; not valid at or after it
}

// DeviceToken says that a user signed in on this device before. It proves no sign-in; it
// only exempts a device from limits that strangers ran into. It has no end of its own:
// the caller decides which age it accepts.
type DeviceToken struct {
	User     string    // 1 to 255 bytes
	Device   string    // 1 to 255 bytes
	IssuedAt time.Time // whole seconds; the rest is cut off
}

// Tokens signs and checks session and device tokens. It is immutable and safe for
// concurrent use. Neither kind passes for the other.
type Tokens struct {
	session signer
	device  signer
}

// NewTokens returns the tokens of the cluster with that secret.
func NewTokens(s *Secret) *Tokens {
	const fixed = 2 + 8 + 8 + 2 // versions, times, lengths
	return &Tokens{
		session: signer{key: newMACKey(s.Derive(LabelToken)), maxBody: fixed + 2*maxTokenName},
		device:  signer{key: newMACKey(s.Derive(LabelDevice)), maxBody: fixed + 2*maxTokenName},
	}
}

// Sign returns the text of t, URL-safe. It fails for ids or times that cannot be in a
// token.
func (t *Tokens) Sign(token Token) (string, error) {
	if token.ExpiresAt.Unix() <= token.IssuedAt.Unix() {
		return "", errors.New("sign token: it would expire before it is issued")
	}
	body, err := appendToken(nil, token.User, token.Session, token.IssuedAt)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return t.session.sign(binary.BigEndian.AppendUint64(body, uint64(token.ExpiresAt.Unix()))), nil
}

// Parse returns the token in text if it was signed by this cluster and lives at now;
// otherwise [ErrToken] or [ErrTokenExpired].
func (t *Tokens) Parse(text string, now time.Time) (Token, error) {
	body, err := t.session.open(text)
	if err != nil {
		return Token{}, ErrToken
	}
	user, session, issued, rest, ok := parseToken(body)
	if !ok || len(rest) != 8 {
		return Token{}, ErrToken
	}
	expires := unixTime(rest)
	if !now.Before(expires) {
		return Token{}, ErrTokenExpired
	}
	return Token{User: user, Session: session, IssuedAt: issued, ExpiresAt: expires}, nil
}

// SignDevice returns the text of d, URL-safe. It fails for ids that cannot be in a token.
func (t *Tokens) SignDevice(d DeviceToken) (string, error) {
	body, err := appendToken(nil, d.User, d.Device, d.IssuedAt)
	if err != nil {
		return "", fmt.Errorf("sign device token: %w", err)
	}
	return t.device.sign(body), nil
}

// ParseDevice returns the device token in text if it was signed by this cluster,
// otherwise [ErrToken].
func (t *Tokens) ParseDevice(text string) (DeviceToken, error) {
	body, err := t.device.open(text)
	if err != nil {
		return DeviceToken{}, ErrToken
	}
	user, device, issued, rest, ok := parseToken(body)
	if !ok || len(rest) != 0 {
		return DeviceToken{}, ErrToken
	}
	return DeviceToken{User: user, Device: device, IssuedAt: issued}, nil
}

// appendToken appends what both kinds begin with: version, key, seconds of issue (64
// bits, big endian), and two ids, each behind a byte with its length.
func appendToken(b []byte, user, name string, issued time.Time) ([]byte, error) {
	b = append(b, tokenVersion, tokenKey)
	b = binary.BigEndian.AppendUint64(b, uint64(issued.Unix()))
	for _, id := range [...]string{user, name} {
		if len(id) == 0 || len(id) > maxTokenName {
			return nil, fmt.Errorf("an id has %d bytes, not 1 to %d", len(id), maxTokenName)
		}
		b = append(append(b, byte(len(id))), id...)
	}
	return b, nil
}

// parseToken is the inverse of appendToken and returns what follows.
func parseToken(b []byte) (user, name string, issued time.Time, rest []byte, ok bool) {
	if len(b) < 10 || b[0] != tokenVersion || b[1] != tokenKey {
		return "", "", time.Time{}, nil, false
	}
	issued, b = unixTime(b[2:10]), b[10:]
	var ids [2]string
	for i := range ids {
		if len(b) == 0 || b[0] == 0 || len(b) <= int(b[0]) {
			return "", "", time.Time{}, nil, false
		}
		end := 1 + int(b[0]) // in bytes it would overflow at the longest id
		ids[i], b = string(b[1:end]), b[end:]
	}
	return ids[0], ids[1], issued, b, true
}

func unixTime(b []byte) time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64(b)), 0).UTC()
}

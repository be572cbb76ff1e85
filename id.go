package maru

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// MaxUserID is the longest user id in bytes (and characters: ids are ASCII).
const MaxUserID = 32

// ParseUserID folds s to lower case and checks it against the rule for user ids:
// 1 to 32 of a-z 0-9 . _ -, starting with a letter or a digit. The error is an
// *Error with code INVALID and field "userId".
func ParseUserID(s string) (string, error) {
	if len(s) <= MaxUserID {
		if s = strings.Map(foldASCII, s); ValidUserID(s) {
			return s, nil
		}
	}
	return "", Invalid("userId", "a user id is 1 to 32 letters a-z, digits, dots, underscores or hyphens, and starts with a letter or a digit")
}

// foldASCII leaves other letters alone: the lower case of some, such as the Kelvin
// sign, is ASCII, and an id would be accepted that is not what was typed.
func foldASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}

// ValidUserID tells whether s is a user id in its stored, folded form.
func ValidUserID(s string) bool {
	if s == "" || len(s) > MaxUserID {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// CommandID names one command of one client: the same id again is the same
// command and has the same outcome. It is 16 bytes, written as 32 hex digits.
type CommandID [16]byte

// NewCommandID returns a random id.
func NewCommandID() (id CommandID) {
	rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

// ParseCommandID reads the 32 hex digits of String.
func ParseCommandID(s string) (id CommandID, err error) {
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("command id of %d characters, want %d", len(s), 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return CommandID{}, fmt.Errorf("command id: %w", err)
	}
	return id, nil
}

// IsZero tells whether id is unset.
func (id CommandID) IsZero() bool { return id == CommandID{} }

func (id CommandID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id CommandID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; an empty text is the zero id.
func (id *CommandID) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*id = CommandID{}
		return nil
	}
	*id, err = ParseCommandID(string(b))
	return err
}

// Session derives the id of the session that the login command id opens. It is
// public (a user lists and ends sessions by it) and tells nothing about the token.
func (id CommandID) Session() string {
	sum := sha256.Sum256(append([]byte("maru session\x00"), id[:]...))
	return hex.EncodeToString(sum[:12])
}

// ValidSessionID tells whether s has the form of a session id.
func ValidSessionID(s string) bool {
	if len(s) != 24 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

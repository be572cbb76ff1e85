package maru

import (
	"unicode"
	"unicode/utf8"
)

// Limits of texts, in characters (runes) unless said otherwise.
const (
	MaxUserName   = 60
	MaxUserStatus = 200
	MaxEmail      = 254 // bytes, RFC 5321 section 4.5.3.1.3 less the angle brackets
	MaxDevice     = 120
)

// CheckText refuses what a short, visible text may not contain: invalid UTF-8,
// control characters, and more than limit characters. Gateways normalise to NFC
// before; homes call this again, since they do not trust what a gateway claims.
func CheckText(field, s string, limit int) error {
	if len(s) > limit*utf8.UTFMax || utf8.RuneCountInString(s) > limit {
		return &Error{Code: CodeInvalid, Field: field, Message: "the text is too long"}
	}
	if !utf8.ValidString(s) {
		return Invalid(field, "the text is not valid UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return Invalid(field, "control characters and line breaks are not allowed here")
		}
	}
	return nil
}

// CheckEmail refuses what cannot be an address: it wants something before and
// after one "@", no spaces or control characters, at most 254 bytes. Empty is
// allowed: the address is optional.
func CheckEmail(s string) error {
	if s == "" {
		return nil
	}
	at := -1
	for i, r := range s {
		if r == '@' {
			if at >= 0 {
				at = len(s)
				break
			}
			at = i
		}
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError {
			at = len(s)
			break
		}
	}
	if at <= 0 || at >= len(s)-1 || len(s) > MaxEmail {
		return Invalid("email", "an e-mail address has the form name@host")
	}
	return nil
}

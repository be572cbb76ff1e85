package auth

import (
	"errors"
	"fmt"
	"strings"
)

// DefaultMinBytes is the length of the shortest password by default.
const DefaultMinBytes = 8

// Refusals of a [Policy], as sentences for the person who chose the password.
var (
	ErrPasswordShort  = errors.New("password is too short")
	ErrPasswordCommon = errors.New("password is one of the most common ones and would be guessed first: choose another")
	ErrPasswordIsUser = errors.New("password is the user id: choose another")
)

// Policy judges new passwords; those in use are not judged again. There is no rule about
// kinds of characters (OWASP ASVS 5.0, 6.2.5). It is immutable and safe for concurrent
// use.
type Policy struct {
	minBytes  int
	allowWeak bool
	common    map[string]struct{}
}

// NewPolicy returns a policy that wants at least minBytes bytes, as given by the user; 0
// means [DefaultMinBytes]. With allowWeak only the bounds 1 and [MaxPasswordBytes] count.
func NewPolicy(minBytes int, allowWeak bool) (*Policy, error) {
	if minBytes == 0 {
		minBytes = DefaultMinBytes
	}
	if minBytes < 1 || minBytes > MaxPasswordBytes {
		return nil, fmt.Errorf("the least length of passwords must be 1 to %d bytes, not %d", MaxPasswordBytes, minBytes)
	}
	if allowWeak {
		return &Policy{minBytes: 1, allowWeak: true}, nil
	}
	common, err := commonPasswords()
	if err != nil {
		return nil, err
	}
	return &Policy{minBytes: minBytes, common: common}, nil
}

// Check returns nil if password may become the password of that user, otherwise
// [ErrPasswordLength] or one of the errors above, wrapped in a sentence. Case makes no
// difference to what is common or equal to the user id.
func (p *Policy) Check(userID string, password []byte) error {
	nfc, wipe, err := canonical(password)
	if err != nil {
		return err
	}
	defer wipe()
	if len(password) < p.minBytes {
		return fmt.Errorf("%w: use at least %d bytes", ErrPasswordShort, p.minBytes)
	}
	if p.allowWeak {
		return nil
	}
	text := string(nfc)
	if _, ok := p.common[strings.ToLower(text)]; ok {
		return ErrPasswordCommon
	}
	if strings.EqualFold(text, userID) {
		return ErrPasswordIsUser
	}
	return nil
}

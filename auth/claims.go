package auth

import (
	"errors"
	"fmt"
)

// MaxClaimsBytes bounds what a gateway may assert beside one request.
const MaxClaimsBytes = 4096

// ErrClaims says that claims were not made by a gateway of this cluster for this command
// of this user. The request that came with them counts as one without claims.
var ErrClaims = errors.New("claims are not signed by this cluster for this command")

// Claims signs and checks what a gateway asserts beside a request that anyone may
// produce: where to answer, from which device and network it came. What is claimed is
// bound to the user and the command, so it is worth nothing beside another request. It is
// immutable and safe for concurrent use.
type Claims struct {
	signer signer
}

// NewClaims returns the claims of the cluster with that secret.
func NewClaims(s *Secret) *Claims {
	return &Claims{signer{key: newMACKey(s.Derive(LabelClaims)), maxBody: MaxClaimsBytes}}
}

// Sign returns payload, readable, with a signature, as URL-safe text. It fails only for a
// payload of more than [MaxClaimsBytes].
func (c *Claims) Sign(userID, commandID string, payload []byte) (string, error) {
	if len(payload) > MaxClaimsBytes {
		return "", fmt.Errorf("sign claims: %d bytes, at most %d", len(payload), MaxClaimsBytes)
	}
	return c.signer.sign(payload, userID, commandID), nil
}

// Verify returns the payload of text if it was signed for that command of that user,
// otherwise [ErrClaims].
func (c *Claims) Verify(userID, commandID, text string) (payload []byte, err error) {
	payload, err = c.signer.open(text, userID, commandID)
	if err != nil {
		return nil, ErrClaims
	}
	return payload, nil
}

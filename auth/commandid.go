package auth

import (
	"crypto/hmac"
	"crypto/sha256"
)

// DeriveID returns an id that is the same for the same key and parts and cannot be
// foreseen or aimed at without the key: HMAC-SHA-256 of the parts, each with its length,
// cut to 16 bytes. Gateways make a command id of it from a user id and the
// Idempotency-Key that the user chose; key is [Secret.Derive] of [LabelCommandID], so
// that every gateway makes the same one.
func DeriveID(key [32]byte, parts ...string) [16]byte {
	var message []byte
	for _, part := range parts {
		message = appendPart(message, part)
	}
	mac := hmac.New(sha256.New, key[:])
	mac.Write(message)
	return [16]byte(mac.Sum(nil))
}

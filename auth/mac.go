package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"strings"
	"sync"
)

const tagBytes = sha256.Size

// macKey computes HMAC-SHA-256 (RFC 2104) under one key. It is safe for concurrent use:
// each call borrows a state from a pool, which saves hashing the key again and keeps the
// key itself out of the reach of fmt.
type macKey struct {
	states sync.Pool // of *macState
}

type macState struct {
	hash hash.Hash
	tag  []byte
}

func newMACKey(key [32]byte) *macKey {
	k := &macKey{}
	k.states.New = func() any {
		return &macState{hash: hmac.New(sha256.New, key[:]), tag: make([]byte, 0, tagBytes)}
	}
	return k
}

func (k *macKey) sum(message []byte) [tagBytes]byte {
	s := k.states.Get().(*macState)
	defer k.states.Put(s)
	s.hash.Reset()
	s.hash.Write(message)
	return [tagBytes]byte(s.hash.Sum(s.tag[:0]))
}

// appendPart appends part behind its length. What several calls append can be read back
// in one way only, so ("ab", "c") and ("a", "bc") differ under a MAC.
func appendPart[T ~string | ~[]byte](b []byte, part T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}

// errSigned says that a signed text was not made with this key for this context. Which of
// the many possible reasons holds is no business of whoever sent it.
var errSigned = errors.New("signature does not fit")

// signedBase64 is the encoding of everything that travels in a header, a cookie or JSON.
var signedBase64 = base64.RawURLEncoding.Strict()

// signer makes texts that show who made them: base64url of the HMAC of context and body,
// and the body. The context is not in the text; both sides know it.
type signer struct {
	key     *macKey
	maxBody int
}

func (s signer) sign(body []byte, context ...string) string {
	tag := s.tag(body, context)
	return signedBase64.EncodeToString(append(tag[:], body...))
}

// open returns the body of text if it is genuine.
func (s signer) open(text string, context ...string) ([]byte, error) {
	raw, err := decodeText(text, tagBytes+s.maxBody)
	if err != nil || len(raw) < tagBytes {
		return nil, errSigned
	}
	body := raw[tagBytes:]
	tag := s.tag(body, context)
	if !hmac.Equal(tag[:], raw[:tagBytes]) {
		return nil, errSigned
	}
	return body, nil
}

func (s signer) tag(body []byte, context []string) [tagBytes]byte {
	message := make([]byte, 0, 128+len(body))
	for _, part := range context {
		message = appendPart(message, part)
	}
	return s.key.sum(appendPart(message, body))
}

// decodeText reads base64url of at most max bytes, of which there is one text only.
func decodeText(text string, max int) ([]byte, error) {
	if len(text) > signedBase64.EncodedLen(max) || strings.ContainsAny(text, "\r\n") { // the decoder passes over line ends
		return nil, errSigned
	}
	return signedBase64.DecodeString(text)
}

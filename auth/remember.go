package auth

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"sync"
)

// Remembered knows passwords that were verified lately, so that repeated logins cost a
// MAC instead of an argon2 hash. Only successes are in it: a wrong password always costs
// a hash. It holds HMAC-SHA-256 tags under a key that is made with it and never leaves
// it, so a dump of the tags alone is no oracle for guessing.
//
// A tag covers the user, the version of the credential and the password. A changed
// password has a new version, so nothing needs to be forgotten for correctness; an entry
// can only miss. mu owns order and entries; MACs are computed outside it. One process has
// one, shared by its homes.
type Remembered struct {
	key   *macKey
	limit int

	mu      sync.Mutex
	order   list.List // of *remembered, last used in front
	entries map[string]*list.Element
}

type remembered struct {
	user string
	tag  [tagBytes]byte
}

// NewRemembered returns a memory of at most limit users, at least 1; the least recently
// used leaves first. An entry takes about 300 bytes.
func NewRemembered(limit int) *Remembered {
	var key [32]byte
	rand.Read(key[:])
	return &Remembered{key: newMACKey(key), limit: max(limit, 1), entries: make(map[string]*list.Element)}
}

// Check says whether this password was verified for that version of the user's
// credential. False means unknown, not wrong.
func (r *Remembered) Check(user string, version uint64, password []byte) bool {
	tag, err := r.tag(user, version, password)
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[user]
	if !ok || !hmac.Equal(tag[:], e.Value.(*remembered).tag[:]) {
		return false
	}
	r.order.MoveToFront(e)
	return true
}

// Add remembers a password that was just verified, in place of what was known of the
// user.
func (r *Remembered) Add(user string, version uint64, password []byte) {
	tag, err := r.tag(user, version, password)
	if err != nil {
		return // it cannot have been verified
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.entries[user]; ok {
		e.Value.(*remembered).tag = tag
		r.order.MoveToFront(e)
		return
	}
	if len(r.entries) >= r.limit {
		r.remove(r.order.Back())
	}
	r.entries[user] = r.order.PushFront(&remembered{user: user, tag: tag})
}

// Forget drops what is known of the user.
func (r *Remembered) Forget(user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.entries[user]; ok {
		r.remove(e)
	}
}

// Len returns the number of users in it.
func (r *Remembered) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries)
}

func (r *Remembered) remove(e *list.Element) {
	delete(r.entries, r.order.Remove(e).(*remembered).user)
}

func (r *Remembered) tag(user string, version uint64, password []byte) (tag [tagBytes]byte, err error) {
	nfc, wipe, err := canonical(password)
	if err != nil {
		return tag, err
	}
	defer wipe()
	message := make([]byte, 0, 16+len(user)+len(nfc))
	message = binary.BigEndian.AppendUint64(message, version)
	message = appendPart(appendPart(message, user), nfc)
	defer clear(message)
	return r.key.sum(message), nil
}

package home

import (
	"context"
	"strings"
	"testing"

	"maru"
	"maru/auth"
	"maru/record"
)

// FuzzLoginRequest: anybody may write anything to login-request, headers included.
// It is answered in its own slot, moved once, or counted; nobody without the
// cluster's secret is taken for a gateway.
func FuzzLoginRequest(f *testing.F) {
	k := newKeys(f, cheap, 1)
	c := NewChecker(k.hasher, k.pool, k.sealer, k.claims, auth.NewRemembered(1), 1)
	f.Cleanup(func() { k.pool.Close(); c.Close(context.Background()) })
	id := maru.NewCommandID().String()
	f.Add([]byte("a"), []byte(plain("a", "pw")), []byte(id), []byte("g@1"), []byte("claims"), false)
	f.Add([]byte("b"), []byte(`{"userId":"a","sealedPw":"x"}`), []byte("\xff"), []byte(nil), []byte(nil), true)
	f.Add([]byte(nil), []byte("[]"), []byte(strings.Repeat("0", 70)), []byte(nil), []byte(id), false)
	f.Fuzz(func(t *testing.T, key, value, id, reply, claims []byte, forwarded bool) {
		log := &fakeLog{topics: map[string]map[int32][]maru.LogRecord{}}
		h := New(Config{Topics: topics, Partitions: nSlots, Delivery: 1, Log: log, Checker: c, Logger: discard})
		defer h.Close(context.Background())
		s, err := newSlot(h, Lease{}, maru.Claim{Slot: mySlot})
		if err != nil {
			t.Fatal(err)
		}
		r := &maru.LogRecord{Topic: topics.LoginRequest, Partition: mySlot, Offset: 7, Key: key, Value: value, Headers: []maru.Header{
			{Key: record.HeaderID, Value: id}, {Key: record.HeaderReply, Value: reply}, {Key: record.HeaderClaims, Value: claims},
		}}
		if forwarded {
			r.Headers = append(r.Headers, maru.Header{Key: record.HeaderForwarded, Value: []byte("1")})
		}
		l := s.readLogin(r)
		moved := len(log.read(topics.LoginRequest, 0)) + len(log.read(topics.LoginRequest, 1))
		switch {
		case l == nil && moved > 1, l != nil && moved != 0:
			t.Fatalf("moved %d times, %+v", moved, l)
		case forwarded && moved != 0:
			t.Fatal("moved again")
		case l != nil && (l.user != string(key) || len(l.user) > maxRequestedID || maru.SlotOf(l.user, nSlots) != mySlot):
			t.Fatalf("taken for %q under the key %q", l.user, key)
		case l != nil && (l.valid || l.id.IsZero() || l.id.String() == string(id) || l.claims != record.LoginClaims{}):
			t.Fatalf("believed: %+v", l)
		}
	})
}

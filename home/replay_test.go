package home

import (
	"strings"
	"testing"
	"time"

	"maru"
	"maru/record"
)

// signed is a request as a gateway makes it now, to be put on login-request as often
// as somebody likes.
func (r *rig) signed(user, password string) (id maru.CommandID, put func()) {
	r.t.Helper()
	id = r.id()
	sealed, err := r.keys.sealer.Seal(user, id.String(), []byte(password))
	if err != nil {
		r.t.Fatal(err)
	}
	claims, err := r.keys.claims.Sign(user, id.String(), record.MustEncode(record.LoginClaims{
		Reply: record.Address{Gateway: "g", Partition: 1}, SignedAt: time.Now().UnixMilli(),
	}))
	if err != nil {
		r.t.Fatal(err)
	}
	value := string(record.MustEncode(record.LoginRequest{UserID: user, SealedPw: sealed}))
	return id, func() {
		r.request(user, value,
			maru.Header{Key: record.HeaderID, Value: []byte(id.String())}, maru.Header{Key: record.HeaderClaims, Value: []byte(claims)})
	}
}

// A gateway's request fits its MAC and its seal for ever. Put on login-request again
// when its outcome is forgotten, it must not open the session that has ended.
func TestOldGatewayRequestOpensNoSession(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		id, put := r.signed("a", "pw of a")
		accepted := func() (n int) {
			for _, d := range r.replies(id) {
				if d.Code == "" {
					n++
				}
			}
			return n
		}
		put()
		r.sleep(time.Second)
		put() // a gateway repeats itself
		r.sleep(time.Second)
		if n := accepted(); n != 2 {
			t.Fatalf("%d replies to the request and its repetition", n)
		}
		r.put(record.Command{
			Kind: record.SessionEnd, ID: r.id(), User: "a", Session: id.Session(), SessionEnd: &record.SessionEndBody{Session: id.Session(), Logout: true},
		})
		for range 2 {
			r.sleep(8 * time.Minute)
			put()
			r.sleep(time.Second)
		}
		if n := accepted(); n != 2 {
			t.Errorf("%d more logins by an old request", n-2)
		}
		all := r.answers()
		if len(all) != 4 || all[2].IsAccept || all[3].IsAccept {
			t.Errorf("answers %+v", all)
		}
	})
}

// A request that is refused for its userId is answered to the user of its key, but
// that user's password was not asked for.
func TestRefusedRequestHasNoPasswordChecked(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		before := r.hashes()
		r.request("a", plain(strings.Repeat("x", maxRequestedID+1), "pw of a"))
		r.sleep(time.Second)
		if all := r.answers(); len(all) != 1 || all[0].IsAccept || all[0].RequestUserID != "a" {
			t.Errorf("answers %+v", all)
		}
		if n := r.hashes() - before; n != 0 {
			t.Errorf("%d passwords were checked", n)
		}
	})
}

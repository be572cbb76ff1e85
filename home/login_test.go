package home

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"maru"
	"maru/auth"
	"maru/record"
)

// request puts a value on the slot's partition of login-request.
func (r *rig) request(key, value string, headers ...maru.Header) int64 {
	rec := maru.LogRecord{Topic: topics.LoginRequest, Partition: mySlot, Value: []byte(value), Headers: headers}
	if key != "" {
		rec.Key = []byte(key)
	}
	offset, _ := r.log.append(rec, nil)
	return offset
}

func plain(user, password string) string {
	return string(record.MustEncode(record.LoginRequest{UserID: user, UserPw: &password}))
}

// gatewayLogin puts a request as a gateway makes it; the claims may be changed.
func (r *rig) gatewayLogin(id maru.CommandID, user, password string, k *keys) {
	r.t.Helper()
	sealed, err := r.keys.sealer.Seal(user, id.String(), []byte(password))
	if err != nil {
		r.t.Fatal(err)
	}
	payload := record.MustEncode(record.LoginClaims{Device: "phone", Reply: record.Address{Gateway: "g", Partition: 1}})
	claims, err := k.claims.Sign(user, id.String(), payload)
	if err != nil {
		r.t.Fatal(err)
	}
	r.request(user, string(record.MustEncode(record.LoginRequest{UserID: user, SealedPw: sealed})),
		maru.Header{Key: record.HeaderID, Value: []byte(id.String())}, maru.Header{Key: record.HeaderClaims, Value: []byte(claims)})
}

// answer is a record of login-response, read.
type answer struct {
	record.LoginAnswer
	rec maru.LogRecord
}

func (r *rig) answers() (all []answer) {
	r.t.Helper()
	for p := range int32(nSlots) {
		for _, rec := range r.log.read(topics.LoginResponse, p) {
			all = append(all, answer{decode[record.LoginAnswer](r.t, rec.Value), rec})
		}
	}
	return all
}

// hashes is how many passwords were hashed so far.
func (r *rig) hashes() int { return int(r.keys.pool.Stats().Done) }

// block occupies both workers of the pool, until the returned function is called.
func (r *rig) block() (release func()) {
	gate := make(chan struct{})
	for range 2 {
		if err := r.keys.pool.Submit(context.Background(), func(error) { <-gate }); err != nil {
			r.t.Fatal(err)
		}
	}
	return func() { close(gate); synctest.Wait() }
}

func TestLoginOfAnotherProgram(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.request("a", plain("a", "pw of a"))
		r.request("a", plain("a", "guess"))
		r.sleep(time.Second)
		all := r.answers()
		if len(all) != 2 {
			t.Fatalf("answers %+v", all)
		}
		const accepted = `{"requestUserID":"a","isAccept":true,"user":{"userId":"a","userPw":null,"email":null,"userName":null,"userStatus":null,"joinDate":[2000,1,1],"loginDate":[2000,1,1],"logoutDate":null}}`
		const failed = `{"requestUserID":"a","isAccept":false,"user":{"userId":null,"userPw":null,"email":null,"userName":null,"userStatus":null,"joinDate":null,"loginDate":null,"logoutDate":null}}`
		if !all[0].IsAccept {
			all[0], all[1] = all[1], all[0] // they are checked side by side
		}
		if string(all[0].rec.Value) != accepted || string(all[1].rec.Value) != failed {
			t.Errorf("answers\n%s\n%s", all[0].rec.Value, all[1].rec.Value)
		}
		if o := all[0].rec; string(o.Key) != "a" || o.Partition != 0 || len(o.Headers) != 0 {
			t.Errorf("answer %+v", o)
		}
		if _, at, _ := r.store.saved(); at != 2 || len(r.commits) == 0 || r.commits[len(r.commits)-1] != 2 {
			t.Errorf("position %d, told the group %v", at, r.commits)
		}
		if n := len(r.log.read(topics.Delivery, 0)) + len(r.log.read(topics.Delivery, 1)); n != 1 {
			t.Errorf("%d deliveries: nobody but the registration waits", n)
		}
	})
}

// theirs is a user id of the other slot.
func theirs() string {
	for i := 0; ; i++ {
		if id := fmt.Sprint("t", i); maru.SlotOf(id, nSlots) != mySlot {
			return id
		}
	}
}

func TestWhateverIsOnLoginRequest(t *testing.T) {
	long := strings.Repeat("x", maxRequestedID+1)
	impossible := "Not Me"
	for maru.SlotOf(impossible, nSlots) != mySlot {
		impossible += "!"
	}
	spring := maru.Header{Key: "__TypeId__", Value: []byte("javax.script.ScriptEngineManager")}
	forwarded := maru.Header{Key: record.HeaderForwarded, Value: []byte("1")}
	for name, c := range map[string]struct {
		key, value string
		headers    []maru.Header
		refused    string // the user id that is answered with a refusal
		forwarded  string // the user id to whose partition it is moved
	}{
		"not JSON":              {key: "a", value: "hello", refused: "a"},
		"array":                 {key: "a", value: `["a","x"]`, refused: "a"},
		"wrong types":           {key: "a", value: `{"userId":1,"userPw":true}`, refused: "a"},
		"5 MB":                  {key: "a", value: `{"userId":"a","userPw":"` + strings.Repeat("x", 5<<20) + `"}`, refused: "a"},
		"no value":              {key: "a", refused: "a"},
		"no password":           {key: "a", value: `{"userId":"a","userPw":null}`, refused: "a"},
		"empty password":        {key: "a", value: `{"userId":"a","userPw":""}`, refused: "a"},
		"garbage sealed":        {key: "a", value: `{"userId":"a","sealedPw":"garbage"}`, refused: "a"},
		"nobody":                {key: mine(9), value: plain(mine(9), "x"), refused: mine(9)},
		"impossible id":         {key: impossible, value: plain(impossible, "x"), refused: impossible},
		"Spring's headers":      {key: "a", value: plain("a", "x"), headers: []maru.Header{spring}, refused: "a"},
		"no key":                {value: plain("a", "x"), forwarded: "a", refused: "a"},
		"other key":             {key: mine(3), value: plain("a", "x"), headers: []maru.Header{spring}, forwarded: "a", refused: "a"},
		"other key, their slot": {key: "a", value: plain(theirs(), "x"), forwarded: theirs()},
		"wrong partition":       {key: theirs(), value: plain(theirs(), "x"), forwarded: theirs()},
		"garbage, wrong place":  {key: theirs(), value: "hello", forwarded: theirs()},
		"forwarded before":      {key: theirs(), value: plain(theirs(), "x"), headers: []maru.Header{forwarded}},
		"no key, no JSON":       {value: "hello"},
		"bad key, no JSON":      {key: "Not An Id", value: "hello"},
		"long id":               {key: long, value: plain(long, "x")},
		"binary":                {key: "\xff\xfe", value: "\x00\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, r *rig) {
				r.register("a")
				r.request(c.key, c.value, c.headers...)
				r.request("a", plain("a", "pw of a")) // the partition goes on
				r.sleep(time.Second)
				var refused []string
				accepted := 0
				for _, a := range r.answers() {
					if a.IsAccept {
						accepted++
					} else {
						refused = append(refused, a.RequestUserID)
					}
				}
				if got := strings.Join(refused, ","); accepted != 1 || got != c.refused {
					t.Errorf("%d accepted, refused %q, want %q", accepted, got, c.refused)
				}
				r.wantForwarded(c.forwarded, c.value)
				mineRead := int64(len(r.log.read(topics.LoginRequest, mySlot)))
				if _, at, _ := r.store.saved(); at != mineRead || r.dropped() != nil || len(r.deaths()) != 0 {
					t.Errorf("position %d of %d", at, mineRead)
				}
			})
		})
	}
}

// wantForwarded wants one request moved to the partition of that user, or none.
func (r *rig) wantForwarded(user, value string) {
	r.t.Helper()
	// The tests put two requests on the slot's own partition, the second is right.
	all := append(r.log.read(topics.LoginRequest, mySlot)[2:], r.log.read(topics.LoginRequest, 1)...)
	if user == "" {
		if len(all) != 0 {
			r.t.Errorf("forwarded: %+v", all)
		}
		return
	}
	if len(all) != 1 {
		r.t.Fatalf("%d requests forwarded, want one to %s", len(all), user)
	}
	rec := all[0]
	if rec.Partition != maru.SlotOf(user, nSlots) || string(rec.Key) != user || !bytes.Equal(rec.Value, []byte(value)) ||
		len(rec.Headers) != 1 || rec.Headers[0].Key != record.HeaderForwarded {
		r.t.Errorf("forwarded: %+v, want to %s with one header", rec, user)
	}
}

func TestForwardedRequestIsFinishedWhenItIsAcknowledged(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		r.log.hold = true
		id := maru.Header{Key: record.HeaderID, Value: []byte("their id")}
		huge := maru.Header{Key: record.HeaderClaims, Value: bytes.Repeat([]byte("x"), maxForwarded+1)}
		r.request(theirs(), plain(theirs(), strings.Repeat("x", record.MaxLoginRequest)), id, huge)
		r.sleep(time.Second)
		if _, at, _ := r.store.saved(); at != 0 {
			t.Errorf("position %d though the request may be lost", at)
		}
		r.log.release()
		r.sleep(time.Second)
		moved := r.log.read(topics.LoginRequest, 1)
		if len(moved) != 1 || len(moved[0].Value) != 0 || string(moved[0].Header(record.HeaderID)) != "their id" || moved[0].Header(record.HeaderClaims) != nil {
			t.Fatalf("forwarded %d records with %d bytes: what is too long to be read is not moved", len(moved), len(moved[0].Value))
		}
		if _, at, _ := r.store.saved(); at != 1 {
			t.Errorf("position %d", at)
		}
		r.log.produce = func(*maru.LogRecord) error { return errSQL }
		r.request(theirs(), plain(theirs(), "x"))
		r.sleep(time.Second)
		if r.dropped() == nil {
			t.Error("a request that could not be forwarded was forgotten")
		}
		r.log.produce = nil
	})
}

func TestLoginThroughAGateway(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		id, wrong := r.id(), r.id()
		r.gatewayLogin(id, "a", "pw of a", r.keys)
		r.sleep(time.Second)
		r.gatewayLogin(wrong, "a", "guess", r.keys)
		r.sleep(time.Second)
		reply := r.replies(id)
		if len(reply) != 1 || reply[0].Code != "" {
			t.Fatalf("replies %+v", reply)
		}
		got := decode[record.LoginResultBody](t, reply[0].Result)
		if got.Session != id.Session() || !got.Answer.IsAccept || len(r.log.read(topics.Delivery, 1)) != 2 {
			t.Errorf("reply %+v", got)
		}
		all := r.answers()
		if len(all) != 2 || string(all[0].rec.Header(record.HeaderID)) != id.String() {
			t.Errorf("answers %+v", all)
		}
		if re := r.replies(wrong); len(re) != 1 || re[0].Code != maru.CodeLoginFailed {
			t.Errorf("replies %+v", re)
		}
	})
}

// Whoever can write to login-request can copy a gateway's headers. Without claims
// for this very request the id is echoed and nothing else: no session, no answer on
// delivery, and not the answer of the command whose id it is.
func TestForgedClaims(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		victim := r.id()
		r.gatewayLogin(victim, "a", "pw of a", r.keys)
		r.sleep(time.Second)
		id := maru.Header{Key: record.HeaderID, Value: []byte(victim.String())}
		sign := func(user string, id maru.CommandID) maru.Header {
			text, err := r.keys.claims.Sign(user, id.String(), []byte(`{"reply":{"gateway":"evil","partition":1}}`))
			if err != nil {
				t.Fatal(err)
			}
			return maru.Header{Key: record.HeaderClaims, Value: []byte(text)}
		}
		r.request("a", plain("a", "guess"), id)
		r.request("a", plain("a", "guess"), id, maru.Header{Key: record.HeaderClaims, Value: []byte("garbage")})
		r.request("a", plain("a", "guess"), id, sign("a", r.id()))
		r.request("a", plain("a", "guess"), id, sign("b", victim))
		other := newKeys(t, cheap, 1)
		r.gatewayLogin(victim, "a", "guess", other) // sealed for us, claimed by another cluster
		r.sleep(time.Second)
		all := r.answers()
		if len(all) != 6 {
			t.Fatalf("%d answers", len(all))
		}
		for _, a := range all[1:] {
			if a.IsAccept || string(a.rec.Header(record.HeaderID)) != victim.String() {
				t.Errorf("forged: %+v", a)
			}
		}
		if re := r.replies(victim); len(re) != 1 || len(r.log.read(topics.Delivery, 1)) != 1 {
			t.Errorf("replies %+v", re)
		}
		for _, text := range []string{strings.Repeat("x", 65), "a\nb", "\xff"} {
			r.request("a", plain("a", "guess"), maru.Header{Key: record.HeaderID, Value: []byte(text)})
		}
		r.sleep(time.Second)
		for _, a := range r.answers()[6:] {
			if a.rec.Header(record.HeaderID) != nil {
				t.Errorf("echoed %q", a.rec.Header(record.HeaderID))
			}
		}
	})
}

func TestSealedPasswordOfAnotherRequest(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		sealed, err := r.keys.sealer.Seal("a", r.id().String(), []byte("pw of a"))
		if err != nil {
			t.Fatal(err)
		}
		r.request("a", string(record.MustEncode(record.LoginRequest{UserID: "a", SealedPw: sealed})))
		r.sleep(time.Second)
		if all := r.answers(); len(all) != 1 || all[0].IsAccept || r.hashes() != 0 {
			t.Errorf("replayed: %+v after %d hashes", all, r.hashes())
		}
		b := r.kinds()[record.LoginChecked]
		if b != 1 {
			t.Errorf("%d results", b)
		}
	})
}

func TestRefusedResultDropsTheSlot(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.sleep(time.Second)
		r.log.produce = func(*maru.LogRecord) error { return auth.ErrBusy }
		r.request("a", plain("a", "pw of a"))
		r.sleep(time.Second)
		if why := r.dropped(); !errors.Is(why, errRefused) {
			t.Fatalf("dropped for %v", why)
		}
		r.log.produce = nil
		r.claim()
		r.sleep(time.Second)
		if all := r.answers(); len(all) != 1 || !all[0].IsAccept {
			t.Errorf("answers after the next claim: %+v", all)
		}
	})
}

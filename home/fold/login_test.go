package fold

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"maru"
	"maru/record"
)

func TestLogin(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	c := w.attempt("alice", "pw")
	e := w.send(c)
	if len(e.Outputs) != 2 || e.Outputs[0].Topic != ToDelivery || e.Outputs[1].Topic != ToLoginResponse {
		t.Fatalf("outputs %+v", e.Outputs)
	}
	if len(e.Jobs) != 1 || e.Jobs[0].Kind != LoginDone || e.Jobs[0].Offset != c.LoginChecked.Offset {
		t.Errorf("jobs %+v", e.Jobs)
	}
	const answer = `{"requestUserID":"alice","isAccept":true,"user":{"userId":"alice","userPw":null,"email":null,"userName":"name of alice","userStatus":null,"joinDate":[2023,11,14],"loginDate":[2023,11,14],"logoutDate":null}}`
	o := e.Outputs[1]
	if string(o.Value) != answer || o.Key != "alice" || o.Partition != maru.SlotOf("alice", slots) || o.ID != c.ID.String() {
		t.Errorf("login-response: %+v\n%s", o, o.Value)
	}
	r := decode[record.LoginResultBody](t, w.replies[c.ID][0].Result)
	if !r.Answer.IsAccept || r.Session != c.ID.Session() || r.ExpiresAt != w.now+(30*24*time.Hour).Milliseconds() {
		t.Errorf("reply %+v", r)
	}
	u := w.user("alice")
	if len(u.Sessions) != 1 || u.Sessions[0].Device != "phone" || u.LoginAt != w.now {
		t.Errorf("user %+v", u)
	}
}

// After a crash the request is checked again: same id, same answer, one session.
func TestLoginRepeated(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	for _, password := range []string{"pw", "guess"} {
		c := w.attempt("alice", password)
		first := w.send(c)
		w.now += 60_000
		again := c
		b := *c.LoginChecked
		b.Offset, b.Result = 99, record.LoginWrong
		again.LoginChecked = &b
		second := w.send(again)
		if len(second.Outputs) != 2 || !bytes.Equal(second.Outputs[1].Value, first.Outputs[1].Value) {
			t.Errorf("%s: login-response has %s, first %s", password, second.Outputs[1].Value, first.Outputs[1].Value)
		}
		all := w.replies[c.ID]
		if len(all) != 2 || all[0].Code != all[1].Code || !bytes.Equal(all[0].Result, all[1].Result) {
			t.Errorf("%s: replies %+v", password, all)
		}
		if len(second.Changed) != 0 || len(second.Jobs) != 1 || second.Jobs[0].Offset != 99 {
			t.Errorf("%s: the repetition changed %v, jobs %+v", password, second.Changed, second.Jobs)
		}
	}
	if u := w.user("alice"); len(u.Sessions) != 1 || len(u.Failures) != 1 {
		t.Errorf("%d sessions, %d failures", len(u.Sessions), len(u.Failures))
	}
}

// The MAC of a gateway's request fits for ever. Applied again when its outcome is
// forgotten, the request opens no session; neither does one from the future, which
// would outlive its outcome.
func TestLoginSignedLongAgoOpensNoSession(t *testing.T) {
	const half = 15 * time.Minute / 2
	w := newWorld(t)
	w.register("alice")
	c := w.attempt("alice", "pw")
	c.LoginChecked.SignedAt = w.now
	first := w.call(c)
	w.ok(first)
	w.ok(w.call(w.end("alice", c.ID.Session(), record.SessionEndBody{Session: c.ID.Session(), Logout: true})))
	w.now += (14 * time.Minute).Milliseconds()
	if r := w.call(c); r.Code != "" || !bytes.Equal(r.Result, first.Result) { // remembered
		t.Errorf("repeated within the window: %+v", r)
	}
	w.now += (2 * time.Minute).Milliseconds()
	w.refused(w.call(c), maru.CodeLoginFailed)
	if a := w.answers[len(w.answers)-1]; !bytes.Contains(a.Value, []byte(`"isAccept":false`)) {
		t.Errorf("login-response %s", a.Value)
	}
	for _, step := range []struct {
		age  time.Duration
		want maru.Code
	}{
		{half, maru.CodeLoginFailed}, {half - time.Millisecond, ""}, {-half, ""}, {-half - time.Millisecond, maru.CodeLoginFailed},
	} {
		before := len(w.user("alice").Sessions)
		c := w.attempt("alice", "pw")
		c.LoginChecked.SignedAt = w.now - step.age.Milliseconds()
		w.refused(w.call(c), step.want)
		if opened := len(w.user("alice").Sessions) > before; opened != (step.want == "") {
			t.Errorf("signed %s ago: a session was opened: %t", step.age, opened)
		}
	}
	if n := len(w.user("alice").Failures); n != 0 {
		t.Errorf("%d failures", n)
	}
}

// An id that nobody has is told from one with another password by nothing: every
// output is the same byte for byte once the ids are made equal, also while the
// account is locked and when the lock has passed.
func TestUnknownUserLooksLikeAWrongPassword(t *testing.T) {
	const known, unknown = "aa", "zz" // of equal length
	w := newWorld(t)
	w.register(known)
	n := w.home(known)
	u := New(n.Slot, slots, gateways)
	u.Slot, u.Clock, u.Purged, u.Rules = w.home(unknown).Slot, n.Clock, n.Purged, n.Rules
	hide := func(b []byte, id string) string {
		b = bytes.ReplaceAll(b, []byte(`"`+id+`"`), []byte(`"??"`))
		return string(bytes.ReplaceAll(b, []byte(`"slot":`+string('0'+rune(maru.SlotOf(id, slots)))), []byte(`"slot":?`)))
	}
	outputs := func(s *State, id string, c record.Command, offset int64) (all []string) {
		if s.Users[id] == nil {
			s.RestoreAbsent(id)
		}
		b := *c.LoginChecked
		c.User, b.Requested, b.Version = id, id, s.Users[id].CredentialVersion
		c.LoginChecked = &b
		for _, o := range s.Apply(Input{Offset: offset, Time: w.now, Command: &c}).Outputs {
			all = append(all, hide(o.Value, id), o.ID)
		}
		return all
	}
	results := []record.LoginResult{record.LoginWrong, record.LoginBusy, record.LoginInvalid, record.LoginLocked, "?"}
	for i := range 60 {
		w.now += (time.Duration(i%7) * time.Minute).Milliseconds()
		c := w.attempt(known, "guess")
		if i%5 > 1 {
			c.LoginChecked.Result = record.LoginWrong
		} else {
			c.LoginChecked.Result = results[i%len(results)]
		}
		c.LoginChecked.Known, c.LoginChecked.Session = i%4 == 0, i%3 > 0
		a, b := outputs(n.State, known, c, int64(100+i)), outputs(u, unknown, c, int64(100+i))
		if len(a) != len(b) {
			t.Fatalf("%d: %d outputs for a user, %d for nobody", i, len(a), len(b))
		}
		for j := range a {
			if a[j] != b[j] {
				t.Fatalf("%d: a user is answered\n%s\nnobody\n%s", i, a[j], b[j])
			}
		}
	}
}

func TestLoginLocks(t *testing.T) {
	for _, user := range []string{"alice", "nobody"} {
		w := newWorld(t)
		w.register("alice")
		for range 4 {
			w.refused(w.call(w.attempt(user, "guess")), maru.CodeLoginFailed)
			w.now += 60_000
		}
		if user == "alice" {
			w.login(user) // a success forgets the failures
			for range 4 {
				w.refused(w.call(w.attempt(user, "guess")), maru.CodeLoginFailed)
				w.now += 60_000
			}
		}
		w.refused(w.call(w.attempt(user, "guess")), maru.CodeLoginFailed)
		r := w.call(w.attempt(user, "pw"))
		if want := (26 * time.Minute).Milliseconds(); r.Code != maru.CodeTooMany || r.RetryAfterMS != want {
			t.Errorf("%s: the sixth: %+v, want TOO_MANY for %d ms", user, r, want)
		}
		if a := w.answers[len(w.answers)-1]; !bytes.Contains(a.Value, []byte(`"isAccept":false`)) {
			t.Errorf("%s: login-response %s", user, a.Value)
		}
		known := w.attempt(user, "pw")
		known.LoginChecked.Known = true
		want := maru.Code("")
		if user == "nobody" {
			want = maru.CodeLoginFailed
		}
		w.refused(w.call(known), want) // a known device is counted apart
		w.refused(w.call(w.attempt(user, "pw")), maru.CodeTooMany)
		w.now += r.RetryAfterMS
		w.refused(w.call(w.attempt(user, "pw")), want)
	}
}

func TestLockedBesideTheFold(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	u, s := w.user("alice"), w.home("alice")
	for range 5 {
		if s.Locked(u, false, w.now) {
			t.Fatal("locked too early")
		}
		w.call(w.attempt("alice", "guess"))
	}
	if !s.Locked(u, false, w.now) || s.Locked(u, true, w.now) || s.Locked(u, false, w.now+(30*time.Minute).Milliseconds()) {
		t.Error("Locked does not agree with the fold")
	}
	if half := (15 * time.Minute).Milliseconds(); !s.Locked(u, false, w.now-half) || !s.Locked(u, false, w.now+half) {
		t.Error("a clock that is somewhat wrong unlocks")
	}
	locked := w.attempt("alice", "pw")
	locked.LoginChecked.Result = record.LoginLocked
	if r := w.call(locked); r.Code != maru.CodeTooMany || r.RetryAfterMS != (30*time.Minute).Milliseconds() {
		t.Errorf("locked: %+v", r)
	}
	if n := len(u.Failures); n != 5 {
		t.Errorf("%d failures: what was not looked at does not count", n)
	}
}

// A request without a gateway's claims opens no session and is not remembered.
func TestForeignLogin(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	c := w.attempt("alice", "pw")
	c.Reply, c.LoginChecked.Session, c.LoginChecked.Echo = nil, false, "their own id"
	before := len(w.user("alice").Outcomes)
	e := w.send(c)
	if len(e.Outputs) != 1 || e.Outputs[0].Topic != ToLoginResponse || e.Outputs[0].ID != "their own id" || !bytes.Contains(e.Outputs[0].Value, []byte(`"isAccept":true`)) {
		t.Errorf("outputs %+v", e.Outputs)
	}
	if u := w.user("alice"); len(u.Sessions) != 0 || len(u.Outcomes) != before || u.LoginAt != w.now {
		t.Errorf("user %+v", u)
	}
}

func TestLoginNotLookedAt(t *testing.T) {
	for result, want := range map[record.LoginResult]maru.Code{
		record.LoginInvalid: maru.CodeLoginFailed, record.LoginBusy: maru.CodeTooMany, record.LoginLocked: maru.CodeTooMany,
	} {
		w := newWorld(t)
		w.register("alice")
		c := w.attempt("alice", "pw")
		c.LoginChecked.Result = result
		r := w.call(c)
		if r.Code != want || (want == maru.CodeTooMany) != (r.RetryAfterMS > 0) {
			t.Errorf("%s: %+v", result, r)
		}
		if u := w.user("alice"); len(u.Failures)+len(u.Sessions) != 0 || u.Rev != 1 {
			t.Errorf("%s: changed to %+v", result, u)
		}
		if len(w.answers) != 1 || !bytes.Contains(w.answers[0].Value, []byte(`"isAccept":false`)) {
			t.Errorf("%s: login-response %+v", result, w.answers)
		}
	}
}

func TestLoginOfAnImpossibleID(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"Not An Id", "<&>", "가나다"} {
		c := w.attempt(id, "pw")
		c.Reply = nil
		e := w.send(c)
		if len(e.Outputs) != 1 || len(e.Jobs) != 1 || e.Jobs[0].Kind != LoginDone || len(e.Changed) != 0 {
			t.Fatalf("%s: %+v", id, e)
		}
		if o := e.Outputs[0]; o.Key != id || o.Partition != maru.SlotOf(id, slots) || !bytes.HasPrefix(o.Value, []byte(`{"requestUserID":"`+id+`","isAccept":false,`)) {
			t.Errorf("%s: %+v %s", id, o, o.Value)
		}
		if len(w.home(id).Users) != 0 {
			t.Errorf("%s: takes memory", id)
		}
	}
}

func TestLoginIsCheckedAgainWhenTheCredentialChanged(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	s := w.login("alice")
	early, right := w.attempt("alice", "pw"), w.attempt("alice", "pw2")
	w.ok(w.call(w.change("alice", s, "pw", "pw2")))
	e := w.send(early)
	if len(e.Outputs) != 0 || len(e.Jobs) != 1 || e.Jobs[0].Kind != RecheckLogin || e.Jobs[0].Offset != early.LoginChecked.Offset {
		t.Fatalf("checked against the old credential: %+v", e)
	}
	w.flow()
	w.refused(w.replies[early.ID][0], maru.CodeLoginFailed)
	w.ok(w.call(right))
	if n := len(w.user("alice").Sessions); n != 2 {
		t.Errorf("%d sessions", n)
	}
}

func TestDeviceOfASession(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	for device, want := range map[string]string{"phone": "phone", "a\nb": "", string(bytes.Repeat([]byte("x"), maru.MaxDevice+1)): ""} {
		c := w.attempt("alice", "pw")
		c.LoginChecked.Device = device
		w.ok(w.call(c))
		if all := w.user("alice").Sessions; all[len(all)-1].Device != want {
			t.Errorf("device %q is kept as %q", device, all[len(all)-1].Device)
		}
	}
}

// One record with a time far ahead, of anybody in the slot or of the users themselves,
// locks nobody until then, and nobody tells an id that exists from one that does not.
func TestTimeFarAheadLocksNobody(t *testing.T) {
	for _, own := range []bool{false, true} {
		w := newWorld(t)
		w.register("real")
		nobody, third := "", ""
		for i := 0; third == ""; i++ {
			if id := fmt.Sprint("x", i); w.home(id) == w.home("real") {
				nobody, third = id, nobody
			}
		}
		pair := func(password string) record.Reply {
			t.Helper()
			a, b := w.call(w.attempt("real", password)), w.call(w.attempt(nobody, password))
			if a.Code != b.Code || a.RetryAfterMS != b.RetryAfterMS {
				t.Fatalf("a user is answered %s %d, nobody %s %d", a.Code, a.RetryAfterMS, b.Code, b.RetryAfterMS)
			}
			return a
		}
		for range 3 {
			w.refused(pair("guess"), maru.CodeLoginFailed)
		}
		back := w.now
		w.now += (24 * time.Hour).Milliseconds()
		if own {
			w.refused(pair("guess"), maru.CodeLoginFailed)
		} else {
			w.register(third)
		}
		w.now = back + 1000
		var r record.Reply
		for i := 0; r.Code != maru.CodeTooMany; i++ {
			if r = pair("guess"); i > 5 {
				t.Fatal("never locked")
			}
		}
		if r.RetryAfterMS > (30 * time.Minute).Milliseconds() {
			t.Errorf("locked for %d ms", r.RetryAfterMS)
		}
		w.now += r.RetryAfterMS + 1000
		w.login("real")
	}
}

func TestUnregisteredIDsAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	for range 3 {
		w.call(w.attempt("nobody", "guess"))
	}
	n := w.home("nobody")
	r := n.Row(w.user("nobody"))
	if r.Registered || r.ExpiresAt != w.now+(30*time.Minute).Milliseconds() || r.CredentialVersion != 0 {
		t.Errorf("row %+v", r)
	}
	touch := func() { w.put(n.Slot, nil) }
	purged := n.Purged
	w.now = purged + purgeEvery - 1
	if touch(); n.Purged != purged {
		t.Errorf("purged again after %d ms", w.now-purged)
	}
	w.now++
	if touch(); n.Purged != w.now {
		t.Errorf("purged up to %d, now %d", n.Purged, w.now)
	}
	w.now = r.ExpiresAt - 1
	touch()
	if n.Purged >= r.ExpiresAt {
		t.Fatalf("purged up to %d, before %d", n.Purged, r.ExpiresAt)
	}
	w.refused(w.call(w.attempt("nobody", "guess")), maru.CodeLoginFailed) // its own clock has moved on
	w.now += (31 * time.Minute).Milliseconds()
	touch()
	if n.Purged != w.now {
		t.Fatalf("purged up to %d, now %d", n.Purged, w.now)
	}
	w.call(w.attempt("nobody", "guess"))
	if u := w.user("nobody"); u.Rev != 1 || len(u.Failures) != 1 {
		t.Errorf("nobody starts over as %+v", u)
	}
}

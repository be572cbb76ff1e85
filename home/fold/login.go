package fold

import (
	"encoding/json"
	"slices"

	"maru"
	"maru/record"
)

// busyRetryMS is when to come back if too many password checks wait.
const busyRetryMS = 1000

// loginChecked ends a login: it answers on login-response and to the gateway,
// opens the session, and counts failures. An id that nobody has counts them too,
// in the same way, so that nothing tells it from another.
func (t *turn) loginChecked(_ *User) {
	b := t.c.LoginChecked
	if !t.Home(t.c.User) { // nobody can have such an id
		t.loginDone()
		t.answerLogin(nil)
		return
	}
	u := t.user(t.c.User)
	result := b.Result
	if !t.Rules.Timely(b.SignedAt, t.in.Time) {
		result = record.LoginInvalid // signed long ago: put on login-request again
	}
	if o := u.outcome(t.c.ID, t.now(u)-t.Rules.WindowMS); o != nil && t.repeated(u) {
		t.loginDone()
		var first record.LoginResultBody // the answer of the first time, not of today's state
		if json.Unmarshal(o.Result, &first) == nil && first.Answer.IsAccept {
			t.answerLogin(&first.Answer.User)
		} else {
			t.answerLogin(nil)
		}
		return
	}
	switch {
	case result == record.LoginBusy || result == record.LoginLocked:
		t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: maru.CodeTooMany, RetryAfterMS: t.retryAfter(u, b)})
	case result == record.LoginInvalid:
		t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: maru.CodeLoginFailed, Result: record.MustEncode(t.refusal())})
	case b.Version != u.CredentialVersion:
		t.Jobs = append(t.Jobs, Job{Kind: RecheckLogin, Offset: b.Offset, Command: t.c})
		return
	case t.locked(u, guesser{Known: b.Known}):
	case result == record.LoginOK && u.Registered:
		t.loginDone()
		t.acceptLogin(u)
		return
	default:
		t.change(u)
		t.failed(u, guesser{Known: b.Known})
		t.done(u, maru.CodeLoginFailed, t.refusal())
	}
	t.loginDone()
	t.answerLogin(nil)
}

// Timely tells whether a login that was signed at signedAt may open a session at
// the time at: within half a window either way. Then a repetition never outlives
// the outcome of the first: that was signed at most W/2 after it was applied, and
// this one at most W/2 before. Gateways repeat a login for 10 s at most. Claims that
// do not tell their time (0) pass.
func (r *Rules) Timely(signedAt, at int64) bool {
	return signedAt == 0 || signedAt > at-r.WindowMS/2 && signedAt <= at+r.WindowMS/2
}

func (t *turn) loginDone() {
	t.Jobs = append(t.Jobs, Job{Kind: LoginDone, Offset: t.c.LoginChecked.Offset, Command: t.c})
}

// acceptLogin signs the user in. Without a gateway behind it there is no session
// to open and nobody repeats the request: then it is not remembered either.
func (t *turn) acceptLogin(u *User) {
	b := t.c.LoginChecked
	if b.Session && t.full(u) {
		t.answerLogin(nil)
		return
	}
	t.change(u)
	u.LoginAt = u.Clock
	u.Failures = slices.DeleteFunc(u.Failures, func(f Failure) bool { return f.guesser == guesser{Known: b.Known} })
	answer := t.loginUser(u)
	if b.Session {
		s := Session{ID: t.c.ID.Session(), Device: b.Device, CreatedAt: u.Clock, SeenAt: u.Clock, ExpiresAt: u.Clock + t.Rules.SessionTTLMS}
		if maru.CheckText("", s.Device, maru.MaxDevice) != nil {
			s.Device = ""
		}
		u.Sessions = append(u.Sessions, s)
		if n := len(u.Sessions) - t.Rules.SessionsMax; n > 0 {
			u.Sessions = slices.Delete(u.Sessions, 0, n) // the oldest
		}
		t.done(u, "", record.LoginResultBody{
			Answer:  record.LoginAnswer{RequestUserID: b.Requested, IsAccept: true, User: *answer},
			Session: s.ID, ExpiresAt: s.ExpiresAt,
		})
	}
	t.answerLogin(answer)
}

// failed counts a failed check.
func (t *turn) failed(u *User, by guesser) {
	at := t.in.Time
	u.Failures = append(u.Failures, Failure{At: at, Until: at + t.Rules.FailWindowMS + t.ahead(at), guesser: by})
}

// locked refuses when too many checks from by failed within the window. Its time is
// the record's own: by the user's clock, which never goes back, one record with a
// time far ahead would make a lock last until then.
func (t *turn) locked(u *User, by guesser) bool {
	n, first := t.failures(u, by, t.in.Time)
	if n < t.Rules.FailMax {
		return false
	}
	t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: maru.CodeTooMany, RetryAfterMS: first + t.Rules.FailWindowMS - t.in.Time})
	return true
}

// Locked tells, beside the fold, whether a login of u would be refused for
// earlier failures at now: then its password need not be checked.
func (s *State) Locked(u *User, known bool, now int64) bool {
	n, _ := s.failures(u, guesser{Known: known}, now)
	return n >= s.Rules.FailMax
}

func (t *turn) retryAfter(u *User, b *record.LoginCheckedBody) int64 {
	if b.Result == record.LoginLocked {
		if n, first := t.failures(u, guesser{Known: b.Known}, t.in.Time); n > 0 {
			return max(first+t.Rules.FailWindowMS-t.in.Time, busyRetryMS)
		}
	}
	return busyRetryMS
}

// answerLogin writes the record of login-response; user nil is a refusal.
func (t *turn) answerLogin(user *record.LoginUser) {
	b := t.c.LoginChecked
	a := record.LoginAnswer{RequestUserID: b.Requested}
	if user != nil {
		a.IsAccept, a.User = true, *user
	}
	t.Outputs = append(t.Outputs, Output{
		Topic: ToLoginResponse, Partition: maru.SlotOf(b.Requested, t.Partitions), Key: b.Requested,
		ID: b.Echo, Time: t.in.Time, Value: record.MustEncode(a),
	})
}

// refusal is the result of a failed login: the same whether or not the id exists.
func (t *turn) refusal() record.LoginResultBody {
	return record.LoginResultBody{Answer: record.LoginAnswer{RequestUserID: t.c.LoginChecked.Requested}}
}

func (t *turn) loginUser(u *User) *record.LoginUser {
	return &record.LoginUser{
		UserID: record.Text(u.ID), Email: record.Text(u.Email),
		UserName: record.Text(u.Name), UserStatus: record.Text(u.Status),
		JoinDate:   record.DateOf(u.JoinedAt, t.Rules.loc),
		LoginDate:  record.DateOf(u.LoginAt, t.Rules.loc),
		LogoutDate: record.DateOf(u.LogoutAt, t.Rules.loc),
	}
}

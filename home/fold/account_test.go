package fold

import (
	"strings"
	"testing"
	"time"

	"maru"
	"maru/record"
)

func TestRegister(t *testing.T) {
	w := newWorld(t)
	c := w.registration("alice", "pw")
	c.Register.Status, c.Register.Email, c.Register.Admin = "안녕", "a@naver.com", true
	r := w.call(c)
	w.ok(r)
	got := decode[record.UserResult](t, r.Result)
	want := record.User{UserID: "alice", UserName: "name of alice", UserStatus: "안녕", Email: "a@naver.com", Admin: true, JoinDate: got.User.JoinDate}
	if got.User != want || got.Rev != 1 || *got.User.JoinDate != (record.Date{2023, 11, 14}) {
		t.Errorf("registered as %+v, rev %d", got.User, got.Rev)
	}
	if again := w.call(c); string(again.Result) != string(r.Result) || again.Code != "" {
		t.Errorf("the same command again is answered %+v", again)
	}
	w.refused(w.call(w.registration("alice", "pw2")), maru.CodeDuplicate)
	if u := w.user("alice"); u.Password != hash("pw") || u.CredentialVersion != 1 || u.Rev != 1 {
		t.Errorf("a duplicate changed the user: %+v", u)
	}
	w.now += (15 * time.Minute).Milliseconds() - 1
	w.ok(w.call(c))
	w.now++ // the window has passed
	w.refused(w.call(c), maru.CodeDuplicate)
}

func TestRegisterRefusesWhatAGatewayWouldNotSend(t *testing.T) {
	for name, spoil := range map[string]func(*record.RegisterBody){
		"plain password": func(b *record.RegisterBody) { b.Password = "pw" },
		"no password":    func(b *record.RegisterBody) { b.Password = "" },
		"long hash":      func(b *record.RegisterBody) { b.Password = hash(strings.Repeat("x", maxHash)) },
		"hash with nul":  func(b *record.RegisterBody) { b.Password = hash("\x00") },
		"long name":      func(b *record.RegisterBody) { b.Name = strings.Repeat("가", maru.MaxUserName+1) },
		"name with line": func(b *record.RegisterBody) { b.Name = "a\nb" },
		"long status":    func(b *record.RegisterBody) { b.Status = strings.Repeat("s", maru.MaxUserStatus+1) },
		"no address":     func(b *record.RegisterBody) { b.Email = "nobody" },
	} {
		w := newWorld(t)
		c := w.registration("alice", "pw")
		spoil(c.Register)
		if r := w.call(c); r.Code != maru.CodeInvalid {
			t.Errorf("%s: %+v", name, r)
		}
		if e := w.send(c); len(e.Changed) > 0 || w.user("alice").Registered {
			t.Errorf("%s: registered all the same", name)
		}
	}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	s := w.login("alice")
	c := w.command(record.Update, "alice", s)
	c.Update = &record.UpdateBody{Name: new("Alice"), Email: new("a@b")}
	r := w.call(c)
	w.ok(r)
	if got := decode[record.UserResult](t, r.Result); got.User.UserName != "Alice" || got.User.Email != "a@b" || got.Rev != 3 {
		t.Errorf("updated to %+v", got)
	}
	c2 := w.command(record.Update, "alice", s)
	c2.Update = &record.UpdateBody{Name: new(""), Status: new("x")}
	w.ok(w.call(c2))
	if u := w.user("alice"); u.Name != "" || u.Status != "x" || u.Email != "a@b" {
		t.Errorf("what is nil is to stay, what is empty to be cleared: %+v", u)
	}
	if again := w.call(c); string(again.Result) != string(r.Result) || w.user("alice").Name != "" {
		t.Errorf("the first update again is answered %+v", again)
	}
	for field, b := range map[string]*record.UpdateBody{
		"userName": {Name: new("a\x00")}, "userStatus": {Status: new(strings.Repeat("s", 201))}, "email": {Email: new("x")},
	} {
		c := w.command(record.Update, "alice", s)
		c.Update = b
		if r := w.call(c); r.Code != maru.CodeInvalid || r.Field != field || r.Message == "" {
			t.Errorf("%s: %+v", field, r)
		}
	}
}

func (w *world) change(user, session, old, password string) record.Command {
	c := w.command(record.PasswordChange, user, session)
	c.PasswordChange = &record.PasswordChangeBody{Sealed: old, Password: hash(password)}
	return c
}

func TestPasswordChange(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	mine, other := w.login("alice"), w.login("alice")
	wrong := w.change("alice", mine, "guess", "pw2")
	w.refused(w.call(wrong), maru.CodeInvalidPassword)
	w.refused(w.call(wrong), maru.CodeInvalidPassword) // remembered, not counted twice
	if n := len(w.user("alice").Failures); n != 1 {
		t.Errorf("%d failures counted, want 1", n)
	}
	c := w.change("alice", mine, "pw", "pw2")
	w.ok(w.call(c))
	u := w.user("alice")
	if u.Password != hash("pw2") || u.CredentialVersion != 2 || len(u.Failures) != 0 {
		t.Errorf("after the change: %+v", u)
	}
	if len(u.Sessions) != 1 || u.Sessions[0].ID != mine {
		t.Errorf("sessions %+v, want only the one that changed the password", u.Sessions)
	}
	w.ok(w.call(c))
	if u.CredentialVersion != 2 {
		t.Error("the same change was done twice")
	}
	w.refused(w.call(w.change("alice", other, "pw2", "pw3")), maru.CodeUnauthenticated)
	w.refused(w.call(func() record.Command {
		c := w.change("alice", mine, "pw2", "")
		c.PasswordChange.Password = "readable"
		return c
	}()), maru.CodeInvalid)
}

// Who holds a session and guesses at the current password locks the password change,
// not the owner's devices; and a login in between does not begin the count anew.
func TestGuessesAtThePasswordChangeAreCountedApart(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	s := w.login("alice")
	known := func() record.Command {
		c := w.attempt("alice", "pw")
		c.LoginChecked.Known = true
		return c
	}
	for range 5 {
		w.refused(w.call(w.change("alice", s, "guess", "pw2")), maru.CodeInvalidPassword)
		w.ok(w.call(known()))
	}
	w.refused(w.call(w.change("alice", s, "pw", "pw2")), maru.CodeTooMany)
	w.ok(w.call(known()))
	w.login("alice")
	n := w.home("alice")
	loaded := New(n.Slot, slots, gateways)
	if err := loaded.Restore(n.Row(w.user("alice"))); err != nil {
		t.Fatal(err)
	}
	if got, _ := loaded.failures(loaded.Users["alice"], guesser{Change: true}, w.now); got != 5 {
		t.Errorf("%d failures in the row", got)
	}
	for range 5 { // the other way round
		c := w.attempt("alice", "guess")
		c.LoginChecked.Known = true
		w.refused(w.call(c), maru.CodeLoginFailed)
	}
	w.now += (30 * time.Minute).Milliseconds()
	for range 5 {
		c := w.attempt("alice", "guess")
		c.LoginChecked.Known = true
		w.refused(w.call(c), maru.CodeLoginFailed)
	}
	w.refused(w.call(known()), maru.CodeTooMany)
	w.ok(w.call(w.change("alice", s, "pw", "pw2")))
}

func TestPasswordCheckedLate(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	s := w.login("alice")
	checked := func(b record.PasswordCheckedBody) record.Command {
		c := w.command(record.PasswordChecked, "alice", s)
		c.PasswordChecked = &b
		return c
	}
	if e := w.send(checked(record.PasswordCheckedBody{OK: true, Version: 7, Password: hash("x")})); len(e.Outputs)+len(e.Changed) > 0 {
		t.Errorf("the result for another credential has an effect: %+v", e)
	}
	r := w.call(checked(record.PasswordCheckedBody{Busy: true, Version: 1}))
	if r.Code != maru.CodeTooMany || r.RetryAfterMS <= 0 {
		t.Errorf("busy: %+v", r)
	}
	w.refused(w.call(checked(record.PasswordCheckedBody{OK: true, Version: 1, Password: "plain"})), maru.CodeInvalid)
	first, second := w.change("alice", s, "pw", "pw2"), w.change("alice", s, "pw", "pw3")
	w.send(first)
	w.send(second) // both are being checked against the first credential
	w.flow()
	if u := w.user("alice"); u.Password != hash("pw2") || u.CredentialVersion != 2 {
		t.Errorf("password %s, version %d: the second check was of a credential that is gone", u.Password, u.CredentialVersion)
	}
	if len(w.replies[second.ID]) != 0 {
		t.Error("the second was answered instead of being checked again")
	}
	w.refused(w.call(second), maru.CodeInvalidPassword)
}

func TestPasswordChangeLocks(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	s := w.login("alice")
	for range 5 {
		w.refused(w.call(w.change("alice", s, "guess", "pw2")), maru.CodeInvalidPassword)
	}
	r := w.call(w.change("alice", s, "pw", "pw2"))
	if r.Code != maru.CodeTooMany || r.RetryAfterMS != (30*time.Minute).Milliseconds() {
		t.Errorf("after five wrong ones: %+v", r)
	}
	w.now += r.RetryAfterMS
	w.ok(w.call(w.change("alice", s, "pw", "pw2")))
}

func TestAdministration(t *testing.T) {
	w := newWorld(t)
	set := func(user, password string) record.Command {
		c := w.command(record.PasswordSet, user, "")
		c.PasswordSet = &record.PasswordSetBody{Password: password}
		return c
	}
	admin := func(user string, on bool) record.Command {
		c := w.command(record.AdminSet, user, "")
		c.AdminSet = &record.AdminSetBody{Admin: on}
		return c
	}
	w.refused(w.call(set("nobody", hash("x"))), maru.CodeCannotFindUser)
	w.refused(w.call(admin("nobody", true)), maru.CodeCannotFindUser)
	w.register("alice")
	w.login("alice")
	w.refused(w.call(set("alice", "readable")), maru.CodeInvalid)
	c := set("alice", hash("pw2"))
	w.ok(w.call(c))
	if u := w.user("alice"); u.Password != hash("pw2") || u.CredentialVersion != 2 || len(u.Sessions) != 0 {
		t.Errorf("after the administrator's password: %+v", u)
	}
	w.ok(w.call(c))
	if v := w.user("alice").CredentialVersion; v != 2 {
		t.Errorf("the same command set the password again: version %d", v)
	}
	on := admin("alice", true)
	w.ok(w.call(on))
	w.ok(w.call(admin("alice", false)))
	if r := w.call(on); !decode[record.UserResult](t, r.Result).User.Admin || w.user("alice").Admin {
		t.Error("the first command again has its first answer and no effect")
	}
}

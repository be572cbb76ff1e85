package fold

import (
	"testing"
	"time"

	"maru"
	"maru/record"
)

func (w *world) end(user, session string, b record.SessionEndBody) record.Command {
	c := w.command(record.SessionEnd, user, session)
	c.SessionEnd = &b
	return c
}

func (w *world) sessions(user, session string) (ids []string) {
	w.t.Helper()
	c := w.command(record.Ask, user, session)
	c.Ask = &record.AskBody{What: record.AskSessions}
	r := w.call(c)
	w.ok(r)
	for _, s := range decode[record.SessionsResult](w.t, r.Result).Sessions {
		ids = append(ids, s.ID)
	}
	return ids
}

func TestSessionsEnd(t *testing.T) {
	w := newWorld(t)
	w.register("alice", "bob")
	a, b, c := w.login("alice"), w.login("alice"), w.login("alice")
	bobs := w.login("bob")
	w.refused(w.call(w.end("alice", a, record.SessionEndBody{Session: bobs})), maru.CodeNotFound)
	w.refused(w.call(w.end("alice", a, record.SessionEndBody{})), maru.CodeNotFound)
	w.refused(w.call(w.end("alice", bobs, record.SessionEndBody{Session: a})), maru.CodeUnauthenticated)
	w.refused(w.call(w.end("alice", "", record.SessionEndBody{Session: a})), maru.CodeUnauthenticated)
	w.ok(w.call(w.end("alice", a, record.SessionEndBody{Session: b})))
	if got := w.sessions("alice", a); len(got) != 2 {
		t.Errorf("sessions %v", got)
	}
	if w.user("alice").LogoutAt != 0 {
		t.Error("ending another device set the logout date")
	}
	logout := w.end("alice", a, record.SessionEndBody{Session: a, Logout: true})
	w.ok(w.call(logout))
	w.ok(w.call(logout)) // its session is gone, the logout stays a logout
	if at := w.user("alice").LogoutAt; at != w.now {
		t.Errorf("logout at %d, want %d", at, w.now)
	}
	w.refused(w.call(w.end("alice", a, record.SessionEndBody{Session: c})), maru.CodeUnauthenticated)
	w.ok(w.call(w.end("alice", c, record.SessionEndBody{All: true, Logout: true})))
	if n := len(w.user("alice").Sessions); n != 0 || len(w.user("bob").Sessions) != 1 {
		t.Errorf("%d sessions left, bob has %d", n, len(w.user("bob").Sessions))
	}
}

func TestSessionsExpireByRecordTime(t *testing.T) {
	w := newWorld(t)
	w.rules(record.RulesBody{SessionTTLMS: 10_000})
	w.register("alice")
	old := w.login("alice")
	w.now += 9_999
	young := w.login("alice")
	if got := w.sessions("alice", old); len(got) != 2 {
		t.Errorf("sessions %v before the end", got)
	}
	w.now++
	w.refused(w.call(w.end("alice", old, record.SessionEndBody{Session: young})), maru.CodeUnauthenticated)
	w.refused(w.call(w.end("alice", young, record.SessionEndBody{Session: old})), maru.CodeNotFound)
	if got := w.sessions("alice", young); len(got) != 1 || got[0] != young {
		t.Errorf("sessions %v", got)
	}
	w.now -= 5_000 // the user's clock does not follow: nothing changed it
	if got := w.sessions("alice", young); len(got) != 2 {
		t.Errorf("sessions %v: a question must not move the user's clock", got)
	}
	w.now += 5_000
	w.ok(w.call(w.end("alice", young, record.SessionEndBody{Session: young})))
	w.now -= 5_000
	w.refused(w.call(w.end("alice", old, record.SessionEndBody{Session: old})), maru.CodeUnauthenticated)
}

func TestSessionsAreCapped(t *testing.T) {
	w := newWorld(t)
	w.rules(record.RulesBody{SessionsMax: 3})
	w.register("alice")
	var all []string
	for range 5 {
		w.now++
		all = append(all, w.login("alice"))
	}
	u := w.user("alice")
	if len(u.Sessions) != 3 || u.Sessions[0].ID != all[2] || u.Sessions[2].ID != all[4] {
		t.Errorf("sessions %+v of %v: the oldest are to go", u.Sessions, all)
	}
	w.refused(w.call(w.end("alice", all[0], record.SessionEndBody{Session: all[4]})), maru.CodeUnauthenticated)
}

func TestQuestionsMoveLastSeenOnly(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	s := w.login("alice")
	ask := w.command(record.Ask, "alice", s)
	ask.Ask = &record.AskBody{What: record.AskMe}
	before := w.home("alice").table()
	w.now += time.Minute.Milliseconds() - 1
	if e := w.send(ask); len(e.Changed) != 0 || w.home("alice").table()["alice"] != before["alice"] {
		t.Errorf("a question within a minute changed %v", e.Changed)
	}
	w.now++
	if e := w.send(ask); len(e.Changed) != 1 || w.user("alice").Sessions[0].SeenAt != w.now {
		t.Errorf("after a minute: changed %v, seen at %d, now %d", e.Changed, w.user("alice").Sessions[0].SeenAt, w.now)
	}
}

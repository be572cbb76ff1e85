package fold

import (
	"slices"

	"maru"
)

// sessionEnd ends one session of the user or all of them.
func (t *turn) sessionEnd(u *User) {
	b := t.c.SessionEnd
	if !b.All && u.session(b.Session, t.now(u)) == nil {
		t.refuse(maru.CodeNotFound) // ids of sessions never come back
		return
	}
	if !b.Logout && !b.All && t.full(u) {
		return
	}
	t.change(u)
	if b.All {
		u.Sessions = nil
	} else {
		u.Sessions = slices.DeleteFunc(u.Sessions, func(s Session) bool { return s.ID == b.Session })
	}
	if b.Logout {
		u.LogoutAt = u.Clock
	}
	t.done(u, "", nil)
}

func keepSession(all []Session, id string) []Session {
	return slices.DeleteFunc(all, func(s Session) bool { return s.ID != id })
}

// seen moves the session's "last seen" on, at most once within SeenAfterMS: it is
// the only thing that a question changes.
func (t *turn) seen(u *User) bool {
	now := t.now(u)
	s := u.session(t.c.Session, now)
	if s == nil {
		t.refuse(maru.CodeUnauthenticated)
		return false
	}
	if now-s.SeenAt >= t.Rules.SeenAfterMS {
		s.SeenAt = now
		t.change(u)
	}
	return true
}

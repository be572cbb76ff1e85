package fold

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"maru"
	"maru/internal/faultswitch"
	"maru/record"
)

// User is a user at home: the one copy of everything known about them. An
// unregistered one keeps failed logins for an id that nobody has, so that such an
// id behaves like any other.
type User struct {
	ID         string
	Registered bool
	Name       string
	Status     string
	Email      string
	Admin      bool
	Password   string // argon2id, PHC string format

	CredentialVersion int64 // counts passwords set
	JoinedAt          int64 // times in milliseconds of record time, 0 unknown
	LoginAt           int64
	LogoutAt          int64
	AddedBy           int64 // how many users have this one as a friend
	Rev               int64 // counts changes applied
	Clock             int64 // highest record time applied
	ExpiresAt         int64 // when an unregistered user means nothing any more; 0 if registered

	Friends []Friend // sorted by id
	details
	held int // what Outcomes take, the sum of their sizes
}

// details is the part of a user that only the home reads: one column of the row.
type details struct {
	Sessions []Session `json:"sessions,omitempty"` // in the order opened
	Failures []Failure `json:"failures,omitempty"` // in the order of the log, of record time that may go back
	Pending  []Pending `json:"pending,omitempty"`  // in the order begun
	Outcomes []Outcome `json:"outcomes,omitempty"` // in the order of the log
}

// Session is a device that is signed in.
type Session struct {
	ID        string `json:"id"`
	Device    string `json:"device,omitempty"`
	CreatedAt int64  `json:"created"`
	SeenAt    int64  `json:"seen"`
	ExpiresAt int64  `json:"expires"`
}

// Failure is a failed check of the password.
//
// It counts for a window, and never beyond the slot's Purged: what is known of an id
// that nobody has may be gone then, and both are to be locked alike.
type Failure struct {
	At    int64 `json:"at"`
	Until int64 `json:"until"` // compared with Purged
	guesser
}

// guesser says from where a password was tried. Each is counted and locked apart: a
// stranger cannot lock the owner's devices out, nor can who holds a session and
// guesses at the password change. The zero guesser is an unknown device.
type guesser struct {
	Known  bool `json:"known,omitempty"`  // a login from a device that has signed in before
	Change bool `json:"change,omitempty"` // the current password of a password change
}

// Pending is a friend being added: the friend's home was asked and has not yet
// answered.
type Pending struct {
	Friend  string   `json:"friend"`
	Alias   string   `json:"alias,omitempty"`
	Removed bool     `json:"removed,omitempty"` // taken back before the answer came
	Waiters []Waiter `json:"waiters,omitempty"`
}

// Waiter is a command whose outcome a Pending decides.
type Waiter struct {
	ID    maru.CommandID  `json:"id"`
	Reply *record.Address `json:"reply,omitempty"`
}

// Friend is an entry of the friend list.
type Friend struct {
	ID      string
	Alias   string
	AddedAt int64
}

func (u *User) friend(id string) (int, bool) {
	return slices.BinarySearchFunc(u.Friends, id, func(f Friend, id string) int { return strings.Compare(f.ID, id) })
}

// session returns the session id if it lives at now.
func (u *User) session(id string, now int64) *Session {
	for i := range u.Sessions {
		if s := &u.Sessions[i]; s.ID == id && id != "" && s.ExpiresAt > now {
			return s
		}
	}
	return nil
}

func (u *User) pending(friend string) int {
	return slices.IndexFunc(u.Pending, func(p Pending) bool { return p.Friend == friend })
}

// failures counts the failed checks of u that came from by, and returns the time of the
// first of them. What is more than a window ahead of at has a wrong time and counts
// no more than what is a window past.
func (s *State) failures(u *User, by guesser, at int64) (n int, first int64) {
	window := s.Rules.FailWindowMS
	for _, f := range u.Failures {
		if f.guesser == by && f.Until > s.Purged && f.At > at-window && f.At < at+window {
			if n == 0 || f.At < first {
				first = f.At
			}
			n++
		}
	}
	return n, first
}

// prune forgets what has passed by the user's clock, and of failures what has passed
// by the record's time, which is at. Only a change of the user
// prunes: a question leaves memory and row as they are, or the two would differ.
func (u *User) prune(r *Rules, at int64) {
	u.forget(u.Clock - r.WindowMS)
	u.Failures = slices.DeleteFunc(u.Failures, func(f Failure) bool { return f.At <= at-r.FailWindowMS })
	if slices.ContainsFunc(u.Sessions, func(s Session) bool { return s.ExpiresAt <= u.Clock }) {
		u.Sessions = slices.DeleteFunc(u.Sessions, func(s Session) bool { return s.ExpiresAt <= u.Clock })
	}
}

// dropWhile returns s without its leading elements that have passed, nil when none
// is left. The array is kept: appends move it in time.
func dropWhile[T any](s []T, passed func(T) bool) []T {
	n := 0
	for n < len(s) && passed(s[n]) {
		n++
	}
	if n == len(s) {
		return nil
	}
	return s[n:]
}

// expire sets ExpiresAt. It is decided when the user changes and kept, since SQL
// deletes by the row: rules that change later must not move it in memory alone.
func (u *User) expire(r *Rules, ahead int64) {
	u.ExpiresAt = 0
	if u.Registered {
		return
	}
	for _, o := range u.Outcomes {
		u.ExpiresAt = max(u.ExpiresAt, o.At+r.WindowMS+ahead)
	}
	for _, f := range u.Failures {
		u.ExpiresAt = max(u.ExpiresAt, f.Until)
	}
}

// Size estimates the memory that the user takes, in bytes.
func (u *User) Size() int {
	n := 600 + len(u.Name) + len(u.Status) + len(u.Email) + len(u.Password) +
		120*len(u.Sessions) + 16*len(u.Failures) + 80*len(u.Friends)
	for _, p := range u.Pending {
		n += 100 + 100*len(p.Waiters)
	}
	return n + u.held
}

// Row serialises the user without the friends, which are rows of their own.
// Equal users give equal rows.
func (s *State) Row(u *User) maru.UserRow {
	return maru.UserRow{
		UserID: u.ID, Hash: maru.KeyHash(u.ID), Registered: u.Registered,
		UserName: u.Name, UserStatus: u.Status, Email: u.Email, Admin: u.Admin,
		Password: u.Password, CredentialVersion: u.CredentialVersion,
		JoinedAt: u.JoinedAt, LoginAt: u.LoginAt, LogoutAt: u.LogoutAt,
		AddedBy: u.AddedBy, Rev: u.Rev, Clock: u.Clock,
		ExpiresAt: u.ExpiresAt, State: record.MustEncode(u.details),
	}
}

// Restore makes the user of a row resident.
func (s *State) Restore(r maru.UserRow) error {
	u := &User{
		ID: r.UserID, Registered: r.Registered,
		Name: r.UserName, Status: r.UserStatus, Email: r.Email, Admin: r.Admin,
		Password: r.Password, CredentialVersion: r.CredentialVersion,
		JoinedAt: r.JoinedAt, LoginAt: r.LoginAt, LogoutAt: r.LogoutAt,
		AddedBy: r.AddedBy, Rev: r.Rev, Clock: r.Clock, ExpiresAt: r.ExpiresAt,
	}
	if len(r.State) > 0 {
		if err := json.Unmarshal(r.State, &u.details); err != nil {
			return fmt.Errorf("user %q: stored state: %w", r.UserID, err)
		}
	}
	if s.Off.Off(faultswitch.WindowInRow) {
		u.Outcomes = nil
	}
	for i := range u.Outcomes {
		u.held += u.Outcomes[i].size()
	}
	for _, f := range r.Friends {
		u.Friends = append(u.Friends, Friend{ID: f.FriendID, Alias: f.Alias, AddedAt: f.AddedAt})
	}
	slices.SortFunc(u.Friends, func(a, b Friend) int { return strings.Compare(a.ID, b.ID) })
	s.Users[u.ID] = u
	return nil
}

// RestoreAbsent makes resident that nothing is stored under id.
func (s *State) RestoreAbsent(id string) { s.Users[id] = &User{ID: id} }

// FriendRow returns the row of a friend of a resident user; false: there is none.
func (s *State) FriendRow(k maru.FriendKey) (maru.FriendRow, bool) {
	u := s.Users[k.UserID]
	if u == nil {
		return maru.FriendRow{}, false
	}
	i, ok := u.friend(k.FriendID)
	if !ok {
		return maru.FriendRow{}, false
	}
	return maru.FriendRow{UserID: k.UserID, FriendID: k.FriendID, Alias: u.Friends[i].Alias, AddedAt: u.Friends[i].AddedAt}, true
}

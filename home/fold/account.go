package fold

import (
	"strings"

	"maru"
	"maru/internal/faultswitch"
	"maru/record"
)

// maxHash bounds a password hash in PHC string format.
const maxHash = 512

// register opens an account. An id in use refuses with DUPLICATE, which is not
// remembered: ids are never given again, so the answer stays the same.
func (t *turn) register(u *User) {
	b := t.c.Register
	if t.repeated(u) {
		return
	}
	if u.Registered {
		t.refuse(maru.CodeDuplicate)
		return
	}
	if !validHash(b.Password) || checkProfile(&b.Name, &b.Status, &b.Email) != nil {
		t.refuse(maru.CodeInvalid)
		return
	}
	t.change(u)
	u.Registered, u.Password, u.CredentialVersion = true, b.Password, 1
	u.Name, u.Status, u.Email, u.Admin = b.Name, b.Status, b.Email, b.Admin
	u.JoinedAt = u.Clock
	u.Failures = nil
	t.done(u, "", record.UserResult{User: t.own(u), Rev: u.Rev})
}

func (t *turn) update(u *User) {
	b := t.c.Update
	if err := checkProfile(b.Name, b.Status, b.Email); err != nil {
		t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: maru.CodeInvalid, Field: err.Field, Message: err.Message})
		return
	}
	if t.full(u) {
		return
	}
	t.change(u)
	setIf(&u.Name, b.Name)
	setIf(&u.Status, b.Status)
	setIf(&u.Email, b.Email)
	t.done(u, "", record.UserResult{User: t.own(u), Rev: u.Rev})
}

func setIf(dst, v *string) {
	if v != nil {
		*dst = *v
	}
}

// checkProfile repeats what gateways check: a home trusts no claim. Any of the
// texts may be nil.
func checkProfile(name, status, email *string) *maru.Error {
	if name != nil {
		if err := maru.CheckText("userName", *name, maru.MaxUserName); err != nil {
			return maru.AsError(err)
		}
	}
	if status != nil {
		if err := maru.CheckText("userStatus", *status, maru.MaxUserStatus); err != nil {
			return maru.AsError(err)
		}
	}
	if email != nil {
		if err := maru.CheckEmail(*email); err != nil {
			return maru.AsError(err)
		}
	}
	return nil
}

func validHash(s string) bool {
	return len(s) <= maxHash && strings.HasPrefix(s, "$argon2id$") && maru.CheckText("", s, maxHash) == nil
}

// passwordChange has the current password checked beside the fold. Nothing is
// remembered yet: if the check is lost the gateway's repetition asks again.
func (t *turn) passwordChange(u *User) {
	switch {
	case !validHash(t.c.PasswordChange.Password):
		t.refuse(maru.CodeInvalid)
	case t.locked(u, guesser{Change: true}) || t.full(u):
	default:
		t.Jobs = append(t.Jobs, Job{Kind: CheckPassword, Command: t.c})
	}
}

// passwordChecked ends a password change: the new hash, and the end of every
// other session. A result for a credential that was replaced meanwhile is
// dropped; the repetition of the command has it checked again.
func (t *turn) passwordChecked(u *User) {
	b := t.c.PasswordChecked
	switch {
	case b.Busy:
		t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: maru.CodeTooMany, RetryAfterMS: busyRetryMS})
	case b.Version != u.CredentialVersion:
	case t.locked(u, guesser{Change: true}) || t.full(u):
	case !b.OK:
		t.change(u)
		t.failed(u, guesser{Change: true})
		t.done(u, maru.CodeInvalidPassword, nil)
	case !validHash(b.Password):
		t.refuse(maru.CodeInvalid)
	default:
		t.change(u)
		t.setPassword(u, b.Password)
		u.Sessions = keepSession(u.Sessions, t.c.Session)
		t.done(u, "", nil)
	}
}

// passwordSet is the administrator's way, without the old password: every session
// of the user ends.
func (t *turn) passwordSet(u *User) {
	switch {
	case t.repeated(u):
	case !u.Registered:
		t.done(u, maru.CodeCannotFindUser, nil)
	case !validHash(t.c.PasswordSet.Password):
		t.refuse(maru.CodeInvalid)
	default:
		t.change(u)
		t.setPassword(u, t.c.PasswordSet.Password)
		u.Sessions = nil
		t.done(u, "", nil)
	}
}

func (t *turn) setPassword(u *User, hash string) {
	u.Password = hash
	u.CredentialVersion++
	u.Failures = nil
}

func (t *turn) adminSet(u *User) {
	switch {
	case t.repeated(u):
	case !u.Registered:
		t.done(u, maru.CodeCannotFindUser, nil)
	default:
		t.change(u)
		u.Admin = t.c.AdminSet.Admin
		t.done(u, "", record.UserResult{User: t.own(u), Rev: u.Rev})
	}
}

// public is what everybody may see of a user.
func (t *turn) public(u *User) record.User {
	return record.User{UserID: u.ID, UserName: u.Name, UserStatus: u.Status, JoinDate: record.DateOf(u.JoinedAt, t.Rules.loc)}
}

// own is what users see of themselves.
func (t *turn) own(u *User) record.User {
	p := t.public(u)
	p.Email, p.Admin, p.AddedBy = u.Email, u.Admin, u.AddedBy
	if t.Off.Off(faultswitch.OneApply) { // stands for a binary with other rules
		p.AddedBy++
	}
	return p
}

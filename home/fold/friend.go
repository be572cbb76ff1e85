package fold

import (
	"slices"

	"maru"
	"maru/record"
)

// friendAdd begins to add a friend. The other user has another home: it is asked
// through the stream to its slot (friend.added), answers through the stream back
// (friend.answer), and only then the command is answered. Until then the user
// keeps a Pending; it survives any crash with the row.
func (t *turn) friendAdd(u *User) {
	b := t.c.Friend
	if b.Friend == u.ID {
		t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: maru.CodeInvalid, Field: "userId", Message: "one cannot be one's own friend"})
		return
	}
	if b.Alias != nil {
		if err := maru.CheckText("alias", *b.Alias, maru.MaxUserName); err != nil {
			t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: maru.CodeInvalid, Field: "alias", Message: maru.AsError(err).Message})
			return
		}
	}
	if t.full(u) {
		return
	}
	if i, ok := u.friend(b.Friend); ok {
		t.change(u)
		if b.Alias != nil {
			u.Friends[i].Alias = *b.Alias
			t.Friends = append(t.Friends, maru.FriendKey{UserID: u.ID, FriendID: b.Friend})
		}
		t.done(u, "", nil)
		return
	}
	t.askFriend(u, b)
}

// askFriend adds the command to the Pending of the friend, which it begins if
// there is none.
func (t *turn) askFriend(u *User, b *record.FriendBody) {
	i := u.pending(b.Friend)
	if i < 0 {
		if len(u.Friends)+len(u.Pending) >= t.Rules.FriendsMax {
			t.change(u)
			t.done(u, maru.CodeLimit, nil)
			return
		}
		if len(u.Pending) >= t.Rules.PendingMax {
			t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: maru.CodeTooMany, RetryAfterMS: busyRetryMS})
			return
		}
	}
	if i >= 0 && len(u.Pending[i].Waiters) >= maxWaiters {
		t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: maru.CodeTooMany, RetryAfterMS: busyRetryMS})
		return
	}
	t.change(u)
	if i < 0 {
		i = len(u.Pending)
		u.Pending = append(u.Pending, Pending{Friend: b.Friend})
		t.send(record.FriendAdded, b.Friend, record.FriendBody{Friend: u.ID})
	}
	p := &u.Pending[i]
	if p.Removed {
		p.Removed, p.Alias = false, "" // the alias went with the friend
	}
	setIf(&p.Alias, b.Alias)
	p.Waiters = append(p.Waiters, Waiter{ID: t.c.ID, Reply: t.c.Reply})
}

// maxWaiters bounds the commands that wait for one Pending.
const maxWaiters = 16

// awaited tells whether the command waits for a Pending already. Then it has no
// second effect (it may have been taken back meanwhile), and its answer goes to the
// gateway that asked last.
func (t *turn) awaited(u *User) bool {
	for i := range u.Pending {
		for j := range u.Pending[i].Waiters {
			if w := &u.Pending[i].Waiters[j]; w.ID == t.c.ID {
				t.change(u)
				w.Reply = t.c.Reply
				return true
			}
		}
	}
	return false
}

// friendAdded is the other home's part: it counts who has added its user.
func (t *turn) friendAdded(u *User) {
	if u.Registered {
		t.change(u)
		u.AddedBy++
	}
	t.send(record.FriendAnswer, t.c.Friend.Friend, record.FriendBody{Friend: u.ID, OK: u.Registered})
}

// friendAnswer ends a Pending.
func (t *turn) friendAnswer(u *User) {
	id, ok := t.c.Friend.Friend, t.c.Friend.OK
	i := u.pending(id)
	if i < 0 {
		return // only what the user asked for is answered, once
	}
	p := u.Pending[i]
	t.change(u)
	u.Pending = slices.Delete(u.Pending, i, i+1)
	if len(u.Pending) == 0 {
		u.Pending = nil
	}
	code := maru.Code("")
	switch {
	case !ok:
		code = maru.CodeCannotFindUser
	case p.Removed:
		t.send(record.FriendDropped, id, record.FriendBody{Friend: u.ID})
	default:
		at, _ := u.friend(id)
		u.Friends = slices.Insert(u.Friends, at, Friend{ID: id, Alias: p.Alias, AddedAt: u.Clock})
		t.Friends = append(t.Friends, maru.FriendKey{UserID: u.ID, FriendID: id})
	}
	for _, w := range p.Waiters {
		t.finish(u, w.ID, w.Reply, code, nil)
	}
}

// friendRemove takes a friend off the list; one who is not on it is no error.
func (t *turn) friendRemove(u *User) {
	if t.full(u) {
		return
	}
	id := t.c.Friend.Friend
	t.change(u)
	if i, ok := u.friend(id); ok {
		u.Friends = slices.Delete(u.Friends, i, i+1)
		t.Friends = append(t.Friends, maru.FriendKey{UserID: u.ID, FriendID: id})
		t.send(record.FriendDropped, id, record.FriendBody{Friend: u.ID})
	} else if i := u.pending(id); i >= 0 {
		u.Pending[i].Removed = true
	}
	t.done(u, "", nil)
}

// friendDropped is the other home's part of a removal.
func (t *turn) friendDropped(u *User) {
	if u.Registered && u.AddedBy > 0 {
		t.change(u)
		u.AddedBy--
	}
}

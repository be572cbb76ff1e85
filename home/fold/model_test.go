package fold

import (
	"maps"
	"slices"
	"testing"

	"maru"
	"maru/record"
)

// model is what a slot's users should be, told as plainly as possible: it has no
// windows, no clocks and no rows, and is right only while nothing expires. It is
// shown the log of each slot in order and compared when nothing is in transit.
type model struct {
	users   map[string]*modelUser
	friends map[[2]string]bool // who has whom
	adding  map[maru.CommandID][2]string
}

type modelUser struct {
	registered bool
	password   string
	version    int64
	sessions   []string
	failed     map[guesser]int // since the last success
	done       map[maru.CommandID]maru.Code
}

func (m *model) user(id string) *modelUser {
	if m.users[id] == nil {
		m.users[id] = &modelUser{failed: map[guesser]int{}, done: map[maru.CommandID]maru.Code{}}
	}
	return m.users[id]
}

// later is a code that the model leaves to another record, or to nobody.
const later maru.Code = "later"

// apply tells how the command is answered, and does it.
func (m *model) apply(c *record.Command) maru.Code {
	u := m.user(c.User)
	if code, ok := u.done[c.ID]; ok {
		return code
	}
	signedIn := slices.Contains(u.sessions, c.Session)
	switch c.Kind {
	case record.Update, record.PasswordChange, record.PasswordChecked, record.SessionEnd, record.FriendAdd, record.FriendRemove:
		if _, waits := m.adding[c.ID]; waits {
			return later
		}
		if !signedIn {
			return maru.CodeUnauthenticated
		}
	}
	code, remembered := m.decide(u, c)
	if remembered {
		u.done[c.ID] = code
	}
	return code
}

func (m *model) decide(u *modelUser, c *record.Command) (code maru.Code, remembered bool) {
	switch c.Kind {
	case record.Register:
		if u.registered {
			return maru.CodeDuplicate, false
		}
		u.registered, u.password, u.version = true, c.Register.Password, 1
		clear(u.failed)
	case record.Update:
		if b := c.Update; b.Email != nil && *b.Email == "no" {
			return maru.CodeInvalid, false
		}
	case record.LoginChecked:
		return m.login(u, c)
	case record.PasswordChange:
		if u.failed[guesser{Change: true}] >= 5 {
			return maru.CodeTooMany, false
		}
		return later, false
	case record.PasswordChecked:
		return m.passwordChecked(u, c)
	case record.PasswordSet, record.AdminSet:
		if !u.registered {
			return maru.CodeCannotFindUser, true
		}
		if c.PasswordSet != nil {
			u.set(c.PasswordSet.Password)
			u.sessions = nil
		}
	case record.SessionEnd:
		return m.sessionEnd(u, c.SessionEnd)
	case record.FriendAdd:
		return m.friendAdd(c)
	case record.FriendRemove:
		delete(m.friends, [2]string{c.User, c.Friend.Friend})
	default:
		return later, false
	}
	return "", true
}

func (u *modelUser) set(password string) {
	u.password = password
	u.version++
	clear(u.failed)
}

func (m *model) login(u *modelUser, c *record.Command) (maru.Code, bool) {
	b := c.LoginChecked
	switch {
	case b.Result == record.LoginBusy || b.Result == record.LoginLocked:
		return maru.CodeTooMany, false
	case b.Result == record.LoginInvalid:
		return maru.CodeLoginFailed, false
	case b.Version != u.version:
		return later, false
	case u.failed[guesser{Known: b.Known}] >= 5:
		return maru.CodeTooMany, false
	case b.Result == record.LoginOK && u.registered:
		delete(u.failed, guesser{Known: b.Known})
		if !b.Session {
			return later, false // nobody waits, nothing is opened
		}
		u.sessions = append(u.sessions, c.ID.Session())
		u.sessions = u.sessions[max(0, len(u.sessions)-sessionsMax):]
		return "", true
	}
	u.failed[guesser{Known: b.Known}]++
	return maru.CodeLoginFailed, true
}

const sessionsMax = 6

func (m *model) passwordChecked(u *modelUser, c *record.Command) (maru.Code, bool) {
	b := c.PasswordChecked
	switch {
	case b.Version != u.version:
		return later, false
	case u.failed[guesser{Change: true}] >= 5:
		return maru.CodeTooMany, false
	case !b.OK:
		u.failed[guesser{Change: true}]++
		return maru.CodeInvalidPassword, true
	}
	u.set(b.Password)
	u.sessions = []string{c.Session}
	return "", true
}

func (m *model) sessionEnd(u *modelUser, b *record.SessionEndBody) (maru.Code, bool) {
	switch i := slices.Index(u.sessions, b.Session); {
	case b.All:
		u.sessions = nil
	case i < 0:
		return maru.CodeNotFound, false
	default:
		u.sessions = slices.Delete(slices.Clone(u.sessions), i, i+1)
	}
	return "", true
}

// friendAdd takes place at once if the friend exists; the driver registers
// everybody first. Its answer comes with another record.
func (m *model) friendAdd(c *record.Command) (maru.Code, bool) {
	b := c.Friend
	if b.Friend == c.User || b.Alias != nil && *b.Alias == "x\n" {
		return maru.CodeInvalid, false
	}
	m.friends[[2]string{c.User, b.Friend}] = true
	m.adding[c.ID] = [2]string{c.User, b.Friend}
	return later, false
}

// compare wants the slots to be as the model is.
func (m *model) compare(t *testing.T, w *world) {
	t.Helper()
	addedBy := map[string]int64{}
	friends := map[[2]string]bool{}
	for _, n := range w.nodes {
		for _, u := range n.Users {
			for _, f := range u.Friends {
				friends[[2]string{u.ID, f.ID}] = true
			}
			if len(u.Pending) != 0 {
				t.Fatalf("%s waits for %+v though nothing is in transit", u.ID, u.Pending)
			}
		}
	}
	if !maps.Equal(friends, m.friends) {
		t.Fatalf("friends %v\nmodel   %v", friends, m.friends)
	}
	for pair := range m.friends {
		addedBy[pair[1]]++
	}
	for id, want := range m.users {
		u := w.user(id)
		var sessions []string
		for _, s := range u.Sessions {
			sessions = append(sessions, s.ID)
		}
		if u.Registered != want.registered || u.Password != want.password || u.CredentialVersion != want.version || !slices.Equal(sessions, want.sessions) {
			t.Fatalf("%s is %+v\nmodel %+v", id, u, want)
		}
		if u.AddedBy != addedBy[id] {
			t.Fatalf("%s is added by %d, model %d", id, u.AddedBy, addedBy[id])
		}
	}
}

func TestSlotsAgreeWithANaiveModel(t *testing.T) {
	seeds(t, 12, func(t *testing.T, seed uint64) {
		d := newDriver(t, seed)
		m := &model{users: map[string]*modelUser{}, friends: map[[2]string]bool{}, adding: map[maru.CommandID][2]string{}}
		d.rules(record.RulesBody{SessionsMax: sessionsMax, OutcomesMax: 1 << 20, OutcomesBytes: 1 << 30, PendingMax: 1 << 20, WindowMS: 1 << 40, FailWindowMS: 1 << 40})
		d.check = func(w *world, slot int32, e *Effect) {
			n := w.nodes[slot]
			c := n.log[len(n.log)-1].Command
			if c.Kind == record.Ask || c.From != nil {
				return
			}
			got, want := lastReply(t, e), m.apply(c)
			if want == later {
				if got != nil && (c.Kind != record.FriendAdd || got.Code != "" && got.Code != maru.CodeTooMany) {
					t.Fatalf("%s of %s is answered %+v before its time", c.Kind, c.User, got)
				}
				return
			}
			if got == nil && c.Reply != nil || got != nil && got.Code != want {
				t.Fatalf("%s %s of %s is answered %+v, model %q", c.Kind, c.ID, c.User, got, want)
			}
		}
		for _, u := range d.users {
			d.send(d.registration(u, "pw"))
		}
		for range 10 {
			d.run(100)
			m.compare(t, d.world)
		}
		for id := range m.adding {
			all := d.replies[id]
			if len(all) == 0 {
				t.Fatalf("friend.add %s was never answered", id)
			}
			for _, r := range all {
				if r.Code != "" && r.Code != maru.CodeTooMany {
					t.Fatalf("friend.add %s is answered %+v", id, all)
				}
			}
		}
	})
}

func lastReply(t *testing.T, e *Effect) *record.Reply {
	for _, o := range e.Outputs {
		if o.Topic == ToDelivery {
			d, err := record.ParseDelivery(o.Value)
			if err != nil {
				t.Fatal(err)
			}
			return d.Reply
		}
	}
	return nil
}

package fold

import (
	"cmp"
	"slices"
	"sort"

	"maru"
	"maru/record"
)

// Bounds of an answer: what is longer is cut and says so.
const (
	maxAskUsers   = 200
	maxAskFriends = 500
)

// askedUsers returns the users a question is about, cut to what one may ask.
func askedUsers(c *record.Command) []string {
	return c.Ask.Users[:min(len(c.Ask.Users), maxAskUsers)]
}

// ask answers a question at its place in the log: it misses nothing that was
// accepted before it.
func (t *turn) ask(_ *User) {
	b := t.c.Ask
	if b.What == record.AskUsers {
		t.askUsers()
		return
	}
	if !t.Home(t.c.User) {
		t.Skipped = true
		return
	}
	u := t.user(t.c.User)
	if !t.seen(u) {
		return
	}
	switch b.What {
	case record.AskMe:
		t.answer(record.UserResult{User: t.own(u), Rev: u.Rev})
	case record.AskSessions:
		t.askSessions(u)
	case record.AskFriends:
		t.askFriends(u)
	default:
		t.refuse(maru.CodeInvalid)
	}
}

func (t *turn) answer(result any) {
	t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Result: record.MustEncode(result)})
}

func (t *turn) askUsers() {
	users := []record.User{}
	for _, id := range askedUsers(t.c) {
		if t.Home(id) {
			if u := t.user(id); u.Registered {
				users = append(users, t.public(u))
			}
		}
	}
	t.answer(record.UsersResult{Users: users})
}

func (t *turn) askSessions(u *User) {
	now := t.now(u)
	list := []record.Session{}
	for _, s := range u.Sessions {
		if s.ExpiresAt > now {
			list = append(list, record.Session{ID: s.ID, Device: s.Device, CreatedAt: s.CreatedAt, SeenAt: s.SeenAt, ExpiresAt: s.ExpiresAt})
		}
	}
	slices.SortStableFunc(list, func(a, b record.Session) int { return cmp.Compare(b.SeenAt, a.SeenAt) })
	t.answer(record.SessionsResult{Sessions: list})
}

// askFriends answers a page of the list, in the order of ids.
func (t *turn) askFriends(u *User) {
	from := sort.Search(len(u.Friends), func(i int) bool { return u.Friends[i].ID > t.c.Ask.After })
	limit := t.c.Ask.Limit
	if limit <= 0 || limit > maxAskFriends {
		limit = maxAskFriends
	}
	rest := u.Friends[from:]
	r := record.FriendsResult{Friends: []record.Friend{}, More: len(rest) > limit}
	for _, f := range rest[:min(limit, len(rest))] {
		r.Friends = append(r.Friends, record.Friend{UserID: f.ID, Alias: f.Alias, AddedAt: f.AddedAt})
	}
	t.answer(r)
}

// where is answered beside the fold: who holds a slot is no part of its log.
func (t *turn) where(*User) {
	if !t.Home(t.c.User) {
		t.Skipped = true
		return
	}
	t.Jobs = append(t.Jobs, Job{Kind: AnswerWhere, Command: t.c})
}

// rules sets what the fold needs besides state and record. Who may decide it is
// not asked here: only homes write commands to slots.
func (t *turn) rules(*User) {
	b := *t.c.Rules
	if b.Version > MaxVersion {
		t.TooNew = b.Version
		return
	}
	r, err := t.Rules.with(b)
	if err != nil {
		t.Skipped = true
		return
	}
	t.Rules = r
}

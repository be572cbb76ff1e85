package fold

import (
	"maru"
	"maru/internal/faultswitch"
	"maru/record"
)

// Input is one record of the slot's log.
type Input struct {
	Offset  int64
	Time    int64           // milliseconds, as the log has it
	Command *record.Command // nil: could not be read; applied as nothing
}

// Topic says where an output goes.
type Topic uint8

// The topics that outputs go to.
const (
	ToDelivery Topic = iota
	ToCommands
	ToLoginResponse
)

// Output is one record to publish. The outputs of a slot are published in the
// order in which Apply returned them.
type Output struct {
	Topic     Topic
	Partition int32
	Key       string
	ID        string // header maru-id of an answer on login-response
	Time      int64  // of the record that caused it
	Value     []byte
}

// JobKind says what is to be done beside the fold.
type JobKind uint8

// The kinds of jobs. Their results come back as commands, or change nothing.
const (
	// CheckPassword: check Command.PasswordChange against Credential and send
	// password.checked. A job lost in a crash is asked for again by the gateway,
	// which repeats its command until it has an answer.
	CheckPassword JobKind = iota
	// RecheckLogin: the credential changed while the login request at Offset was
	// checked; check it again.
	RecheckLogin
	// LoginDone: the login request at Offset has its answer.
	LoginDone
	// AnswerWhere: tell who holds the slot, and since when.
	AnswerWhere
)

// Job is something to be done beside the fold, once the slot serves.
type Job struct {
	Kind    JobKind
	Offset  int64 // RecheckLogin, LoginDone
	Command *record.Command
}

// Effect is what follows from one record. Changed and Friends name the rows that
// the next checkpoint has to write; a friend's user is in Changed too.
type Effect struct {
	Outputs []Output
	Jobs    []Job
	Changed []string         // users
	Friends []maru.FriendKey // rows of friends

	Duplicate bool // a stream's command that was accepted before
	Gap       bool // a stream's command beyond the successor, or of newer rules: refused
	Skipped   bool // not readable, not of these rules, or not of this slot
	TooNew    int  // > 0: the record raised the rules above MaxVersion; leave
}

// turn is the application of one record.
type turn struct {
	*State
	*Effect
	in Input
	c  *record.Command
}

// handler applies one kind of command.
type handler struct {
	since   int  // version of the rules from which the kind is applied
	stream  bool // comes from another slot, numbered
	private bool // is signed by a session of the user
	user    bool // concerns the user named in Command.User, who must be of this slot
	body    func(*record.Command) bool
	apply   func(*turn, *User)
}

// handlers is never changed.
var handlers = map[record.Kind]handler{
	record.Register:        {since: 1, user: true, body: func(c *record.Command) bool { return c.Register != nil }, apply: (*turn).register},
	record.Update:          {since: 1, user: true, private: true, body: func(c *record.Command) bool { return c.Update != nil }, apply: (*turn).update},
	record.PasswordChange:  {since: 1, user: true, private: true, body: func(c *record.Command) bool { return c.PasswordChange != nil }, apply: (*turn).passwordChange},
	record.PasswordChecked: {since: 1, user: true, private: true, body: func(c *record.Command) bool { return c.PasswordChecked != nil }, apply: (*turn).passwordChecked},
	record.PasswordSet:     {since: 1, user: true, body: func(c *record.Command) bool { return c.PasswordSet != nil }, apply: (*turn).passwordSet},
	record.AdminSet:        {since: 1, user: true, body: func(c *record.Command) bool { return c.AdminSet != nil }, apply: (*turn).adminSet},
	record.SessionEnd:      {since: 1, user: true, private: true, body: func(c *record.Command) bool { return c.SessionEnd != nil }, apply: (*turn).sessionEnd},
	record.LoginChecked:    {since: 1, body: func(c *record.Command) bool { return c.LoginChecked != nil }, apply: (*turn).loginChecked},
	record.FriendAdd:       {since: 1, user: true, private: true, body: hasFriend, apply: (*turn).friendAdd},
	record.FriendRemove:    {since: 1, user: true, private: true, body: hasFriend, apply: (*turn).friendRemove},
	record.FriendAdded:     {since: 1, user: true, stream: true, body: hasFriend, apply: (*turn).friendAdded},
	record.FriendAnswer:    {since: 1, user: true, stream: true, body: hasFriend, apply: (*turn).friendAnswer},
	record.FriendDropped:   {since: 1, user: true, stream: true, body: hasFriend, apply: (*turn).friendDropped},
	record.Ask:             {since: 1, body: func(c *record.Command) bool { return c.Ask != nil }, apply: (*turn).ask},
	record.Where:           {since: 1, body: func(*record.Command) bool { return true }, apply: (*turn).where},
	record.Rules:           {since: 1, body: func(c *record.Command) bool { return c.Rules != nil }, apply: (*turn).rules},
}

func hasFriend(c *record.Command) bool { return c.Friend != nil && maru.ValidUserID(c.Friend.Friend) }

// lookup returns the handler of a command, false when it is not applied at this
// version of the rules: a kind of newer ones, a body missing, or an entity of
// another slot, whatever the gateway that wrote it claims.
func (s *State) lookup(c *record.Command, version int) (handler, bool) {
	if c == nil {
		return handler{}, false
	}
	h, ok := handlers[c.Kind]
	switch {
	case !ok || h.since > version || !h.body(c) || h.stream != (c.From != nil):
		return h, false
	case h.user && !s.Home(c.User):
		return h, false
	case c.From != nil && (c.From.Slot < 0 || c.From.Slot >= s.Partitions):
		return h, false
	}
	return h, true
}

// Home tells whether id is a user id of this slot.
func (s *State) Home(id string) bool {
	return maru.ValidUserID(id) && maru.SlotOf(id, s.Partitions) == s.Slot
}

// Needs calls need for every user that must be resident before c is applied. It
// does not ask for the version of the rules: a record before c may raise it.
func (s *State) Needs(c *record.Command, need func(id string)) {
	h, ok := s.lookup(c, MaxVersion)
	switch {
	case !ok:
	case h.user:
		need(c.User)
	case c.Kind == record.LoginChecked && s.Home(c.User):
		need(c.User)
	case c.Kind == record.Ask && c.Ask.What == record.AskUsers:
		for _, id := range askedUsers(c) {
			if s.Home(id) {
				need(id)
			}
		}
	case c.Kind == record.Ask && s.Home(c.User):
		need(c.User)
	}
}

// Apply takes the next record of the log. What Needs named is resident.
func (s *State) Apply(in Input) (e Effect) {
	s.Clock = max(s.Clock, in.Time)
	if s.Clock-s.Purged >= purgeEvery {
		s.Purged = s.Clock
	}
	t := turn{State: s, Effect: &e, in: in, c: in.Command}
	if t.c != nil && t.c.From != nil && !t.accept(t.c) {
		return e
	}
	h, ok := s.lookup(t.c, s.Rules.Version)
	if !ok {
		e.Skipped = true
		return e
	}
	var u *User
	if h.user {
		u = t.user(t.c.User)
		if h.private && !t.authorised(u) {
			return e
		}
	}
	h.apply(&t, u)
	for _, id := range e.Changed {
		s.Users[id].expire(&s.Rules, s.ahead(in.Time))
	}
	return e
}

// purgeEvery is how often the slot forgets unregistered users, in record time.
const purgeEvery = 60_000

// ahead is how far Purged is ahead of a record's time, after one with a time that was
// too late: what begins now is kept as much longer, or it would be forgotten at once.
func (s *State) ahead(at int64) int64 { return max(0, s.Purged-at) }

// user returns a resident user. An unregistered one whose row may have been
// deleted counts as absent, whether or not it still is in memory or in SQL.
func (t *turn) user(id string) *User {
	u := t.Users[id]
	if !u.Registered && u.Clock > 0 && u.ExpiresAt <= t.Purged {
		*u = User{ID: id}
	}
	return u
}

// now is the user's time of this record: it never goes back.
func (t *turn) now(u *User) int64 { return max(u.Clock, t.in.Time) }

// authorised answers a repeated command as the first time and refuses one whose
// session does not live. In that order: the id of a command is derived from its
// session, so who repeats it held the session when it was accepted (and a logout
// repeated is still a logout).
func (t *turn) authorised(u *User) bool {
	if t.repeated(u) {
		return false
	}
	if u.session(t.c.Session, t.now(u)) == nil {
		t.refuse(maru.CodeUnauthenticated)
		return false
	}
	return true
}

// repeated answers a command that has its outcome already, or has it answered
// with the one that it is about to have.
func (t *turn) repeated(u *User) bool {
	if t.c.ID.IsZero() || t.Off.Off(faultswitch.CommandWindow) {
		return false
	}
	o := u.outcome(t.c.ID, t.now(u)-t.Rules.WindowMS)
	if o == nil {
		return t.awaited(u)
	}
	t.reply(t.c.Reply, record.Reply{ID: o.ID, Code: o.Code, Result: o.Result})
	return true
}

// change marks u as changed by this record. The outcome of the command is added
// by done.
func (t *turn) change(u *User) {
	u.Clock = t.now(u)
	u.Rev++
	u.prune(&t.Rules, t.in.Time)
	t.Changed = appendOnce(t.Changed, u.ID)
}

func appendOnce(ids []string, id string) []string {
	for _, x := range ids {
		if x == id {
			return ids
		}
	}
	return append(ids, id)
}

// done remembers the outcome of the command and answers it.
func (t *turn) done(u *User, code maru.Code, result any) {
	t.finish(u, t.c.ID, t.c.Reply, code, result)
}

// finish is done for a command that another record completes.
func (t *turn) finish(u *User, id maru.CommandID, to *record.Address, code maru.Code, result any) {
	var raw []byte
	if result != nil {
		raw = record.MustEncode(result)
	}
	if !id.IsZero() {
		u.Clock = t.now(u)
		u.prune(&t.Rules, t.in.Time)
		u.remember(Outcome{ID: id, At: u.Clock, Code: code, Result: raw})
		t.Changed = appendOnce(t.Changed, u.ID)
	}
	t.reply(to, record.Reply{ID: id, Code: code, Result: raw})
}

// refuse answers with a code and remembers nothing: right where the answer would
// be the same in any later state, or says to come back.
func (t *turn) refuse(code maru.Code) { t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: code}) }

// cause names the next output of this record.
func (t *turn) cause() record.Cause {
	return record.Cause{Slot: t.Slot, Offset: t.in.Offset, Index: len(t.Outputs)}
}

func (t *turn) reply(to *record.Address, r record.Reply) {
	if to == nil || to.Partition < 0 || to.Partition >= t.Delivery || r.ID.IsZero() {
		return // nobody waits, or where the gateway claims to wait is no place
	}
	t.Outputs = append(t.Outputs, Output{
		Topic: ToDelivery, Partition: to.Partition, Time: t.in.Time,
		Value: record.MustEncode(record.Delivery{V: record.Version, To: to.Gateway, From: new(t.cause()), Reply: &r}),
	})
}

package home

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"maru"
	"maru/internal/faultswitch"
	"maru/record"
)

// Bounds of what one slot takes from login-request.
const (
	maxPendingLogins = 10_000 // gateways' requests must be reached behind a backlog of others
	maxRequestedID   = 256    // bytes of a user id that is echoed in an answer
	maxDoneAhead     = 10_000
	maxForwarded     = 8 << 10 // bytes of one header that travels with a forwarded request
)

// login is a request that has no applied answer yet.
type login struct {
	offset int64
	user   string
	id     maru.CommandID
	echo   string
	claims record.LoginClaims
	valid  bool      // the claims are a gateway's
	since  time.Time // when a check was begun for this request; zero: another's answers it too
	req    record.LoginRequest
}

// loginQueue knows which requests of login-request are finished: those whose
// login.checked has been applied. The position in the checkpoint is the first that
// is not, so a crash between check and answer only repeats the check. It is owned
// by the slot's goroutine.
type loginQueue struct {
	next    int64 // first offset not read; -1: not known
	saved   int64 // position in the last checkpoint
	order   []int64
	pending map[int64]*login // nil value: being forwarded
	byID    map[maru.CommandID][]int64
	ahead   map[int64]bool // answered by a previous owner, met in the replay
}

func (q *loginQueue) init(saved int64) {
	*q = loginQueue{next: saved, saved: saved, pending: map[int64]*login{}, byID: map[maru.CommandID][]int64{}, ahead: map[int64]bool{}}
}

// done returns the first offset that is not finished.
func (q *loginQueue) done() int64 {
	if len(q.order) > 0 {
		return q.order[0]
	}
	return q.next
}

func (q *loginQueue) moved() bool { return q.done() != q.saved }

func (q *loginQueue) save(position int64) bool {
	moved := position != q.saved
	q.saved = position
	return moved && position >= 0
}

func (q *loginQueue) room() bool { return len(q.order) < maxPendingLogins }

// trimRequests cuts values that are too large to be read as login requests: queued
// as they are, some thousands of them would fill the memory.
func trimRequests(recs []maru.LogRecord) []maru.LogRecord {
	for i := range recs {
		if r := &recs[i]; len(r.Value) > record.MaxLoginRequest {
			r.Value = append([]byte(nil), r.Value[:record.MaxLoginRequest+1]...)
		}
	}
	return recs
}

func (q *loginQueue) add(offset int64, l *login) {
	q.order = append(q.order, offset)
	q.pending[offset] = l
	if l != nil {
		q.byID[l.id] = append(q.byID[l.id], offset)
	}
}

// recheckAfter is when a check counts as lost if its request is repeated.
const recheckAfter = 5 * time.Second

// underWay tells whether a check of the command was begun lately.
func (q *loginQueue) underWay(id maru.CommandID) bool {
	return slices.ContainsFunc(q.byID[id], func(offset int64) bool {
		return time.Since(q.pending[offset].since) < recheckAfter
	})
}

func (q *loginQueue) finish(offset int64) {
	l, ok := q.pending[offset]
	if !ok {
		return
	}
	if l != nil {
		delete(q.byID, l.id)
	}
	delete(q.pending, offset)
	n := 0
	for n < len(q.order) {
		if _, open := q.pending[q.order[n]]; open {
			break
		}
		n++
	}
	q.order = q.order[n:]
	if len(q.order) == 0 {
		q.order = nil
	}
}

// takeLogins begins the check of requests. Whatever is in them, the partition
// goes on: they are answered, forwarded once, or counted.
func (s *slot) takeLogins(recs []maru.LogRecord) {
	var checks []*login
	var absent []string
	seen := map[string]bool{}
	for i := range recs {
		r := &recs[i]
		if r.Offset < s.logins.next {
			continue
		}
		s.logins.next = r.Offset + 1
		if s.logins.ahead[r.Offset] {
			delete(s.logins.ahead, r.Offset)
			continue
		}
		l := s.readLogin(r)
		if l == nil {
			continue
		}
		underWay := s.logins.underWay(l.id)
		s.logins.add(r.Offset, l)
		if underWay { // repeated by a gateway that waits: one check answers both
			continue
		}
		l.since = time.Now()
		checks = append(checks, l)
		if s.state.Home(l.user) && s.state.Users[l.user] == nil && !seen[l.user] {
			seen[l.user] = true
			absent = append(absent, l.user)
		}
	}
	if !s.loadUsers(absent) {
		return
	}
	for _, l := range checks {
		s.check(l)
	}
	s.arm()
	s.evict()
}

// readLogin returns the request to be checked, nil when it was dealt with otherwise.
func (s *slot) readLogin(r *maru.LogRecord) *login {
	req, err := record.ParseLoginRequest(r.Value)
	if err == nil && len(req.UserID) > maxRequestedID {
		err = fmt.Errorf("userId of %d bytes", len(req.UserID))
	}
	key := string(r.Key)
	to := req.UserID
	if err != nil { // only the key can tell who is to be answered
		req = record.LoginRequest{} // with the key's user, the rest was never meant
		if to = key; !maru.ValidUserID(key) {
			s.discard(r, err)
			return nil
		}
	}
	if key != to || maru.SlotOf(to, s.cfg.Partitions) != s.n {
		s.forward(r, to)
		return nil
	}
	l := &login{offset: r.Offset, user: to, req: req}
	s.identify(l, r)
	return l
}

// identify finds the command id of a request. A gateway's is believed only with
// its MAC: whoever can write to login-request could otherwise repeat the id of a
// login that succeeded, and be answered like it. Claims that are not of now come
// from a request that was put there again: they count as none, for the outcome that
// would tell a repetition may be forgotten already.
func (s *slot) identify(l *login, r *maru.LogRecord) {
	id := r.Header(record.HeaderID)
	if len(id) <= 64 && maru.CheckText("", string(id), 64) == nil {
		l.echo = string(id)
	}
	if parsed, err := maru.ParseCommandID(string(id)); err == nil {
		if payload, err := s.cfg.Checker.claims.Verify(l.user, string(id), string(r.Header(record.HeaderClaims))); err == nil &&
			json.Unmarshal(payload, &l.claims) == nil && s.state.Rules.Timely(l.claims.SignedAt, time.Now().UnixMilli()) {
			l.id, l.valid = parsed, true
			return
		}
	}
	l.claims = record.LoginClaims{}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%d", r.Topic, r.Partition, r.Offset))
	copy(l.id[:], sum[:])
}

// discard counts a record that nobody can be answered for.
func (s *slot) discard(r *maru.LogRecord, why error) {
	s.cfg.Metrics.loginDiscarded.Inc()
	s.log.Warn("login request discarded", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", why)
}

// forward sends a request to the partition of its user, once: clients with another
// partitioner, or without a key, reach the right home this way.
func (s *slot) forward(r *maru.LogRecord, to string) {
	if r.Header(record.HeaderForwarded) != nil {
		s.discard(r, fmt.Errorf("forwarded before and still not in its place"))
		return
	}
	s.cfg.Metrics.loginForwarded.Inc()
	f := maru.LogRecord{
		Topic: s.cfg.Topics.LoginRequest, Partition: maru.SlotOf(to, s.cfg.Partitions), Key: []byte(to), Time: r.Time,
		Headers: []maru.Header{{Key: record.HeaderForwarded, Value: []byte("1")}},
	}
	if len(r.Value) <= record.MaxLoginRequest { // else it cannot be read there either, and is answered so
		f.Value = r.Value
	}
	for _, name := range []string{record.HeaderID, record.HeaderReply, record.HeaderClaims} {
		if v := r.Header(name); v != nil && len(v) <= maxForwarded {
			f.Headers = append(f.Headers, maru.Header{Key: name, Value: v})
		}
	}
	offset := r.Offset
	s.logins.add(offset, nil)
	s.waiting.Store(true)
	defer s.waited()
	s.cfg.Log.Produce(f, func(_ int64, err error) {
		s.post(func() {
			if err != nil {
				s.drop(err)
				return
			}
			s.logins.finish(offset)
			s.arm()
		})
	})
}

// check has the password of l checked against the credential as it is now, and
// the result sent to this slot's log.
func (s *slot) check(l *login) {
	if s.cfg.Off.Off(faultswitch.LoginPosition) { // the switch: finished when begun
		s.logins.finish(l.offset)
	}
	// Gateways' clients wait and are told to come back; other programs' requests,
	// of which any number may have piled up, leave them room.
	p := Password{User: l.user, SealedFor: l.id.String(), Sealed: l.req.SealedPw, GivesWay: !l.valid}
	if l.req.SealedPw == "" && l.req.UserPw != nil {
		p.Plain = []byte(*l.req.UserPw)
	}
	u := s.state.Users[l.user]
	if u != nil {
		p.Hash, p.Version = u.Password, u.CredentialVersion
	}
	switch {
	case p.Sealed == "" && p.Plain == nil:
		s.checkedHere(l, record.LoginInvalid, p.Version)
	case u == nil: // nobody can have such an id
		s.checkedHere(l, record.LoginWrong, 0)
	case s.state.Locked(u, l.claims.Known, time.Now().UnixMilli()):
		s.checkedHere(l, record.LoginLocked, p.Version)
	default:
		s.cfg.Checker.Check(s.ctx, p, func(v Verdict) {
			if v == Busy && !l.valid {
				s.checkLater(l)
				return
			}
			s.checked(l, loginResults[v], p.Version)
		})
	}
}

// busyAgain is when a request that was not looked at is tried again.
const busyAgain = 250 * time.Millisecond

// checkLater keeps a request of another program until there is room for its check.
// The fixed answer cannot say "come back": it would say that the password is wrong.
// Gateways are told, and come back themselves. Any goroutine may call it.
func (s *slot) checkLater(l *login) {
	time.AfterFunc(busyAgain, func() {
		s.post(func() {
			if s.logins.pending[l.offset] != l {
				return
			}
			if s.state.Users[l.user] != nil || s.loadUsers([]string{l.user}) {
				s.check(l)
			}
		})
	})
}

var loginResults = map[Verdict]record.LoginResult{
	Right: record.LoginOK, Wrong: record.LoginWrong, Busy: record.LoginBusy, Unreadable: record.LoginInvalid,
}

// checkedHere is checked on the slot's own goroutine.
func (s *slot) checkedHere(l *login, result record.LoginResult, version int64) {
	s.waiting.Store(true)
	s.checked(l, result, version)
	s.waited()
}

// checked sends the result to the log. Any goroutine may call it.
func (s *slot) checked(l *login, result record.LoginResult, version int64) {
	c := record.Command{
		V: record.Version, Kind: record.LoginChecked, ID: l.id, User: l.user,
		LoginChecked: &record.LoginCheckedBody{
			Result: result, Requested: l.user, Version: version, Offset: l.offset, Echo: l.echo,
			Device: l.claims.Device, Known: l.claims.Known, Session: l.valid, SignedAt: l.claims.SignedAt,
		},
	}
	if l.valid {
		c.Reply = &l.claims.Reply
	}
	s.produce(maru.LogRecord{Topic: s.cfg.Topics.Commands, Partition: s.n, Key: []byte(l.user), Value: record.MustEncode(c)})
}

// loginDone: the answer of this request has been applied.
func (s *slot) loginDone(id maru.CommandID, offset int64) {
	for _, o := range s.logins.byID[id] {
		s.logins.finish(o)
	}
	if offset >= s.logins.next && len(s.logins.ahead) < maxDoneAhead {
		s.logins.ahead[offset] = true
	} else {
		s.logins.finish(offset)
	}
}

// recheck: the credential changed while the password was being checked. A request
// that is not pending here was not begun by this owner, which will read it anew.
func (s *slot) recheck(id maru.CommandID) {
	if offsets := s.logins.byID[id]; len(offsets) > 0 {
		s.check(s.logins.pending[offsets[0]])
	}
}

// checkPassword checks the current password that came with a change.
func (s *slot) checkPassword(c *record.Command) {
	u := s.state.Users[c.User]
	if u == nil || s.checking[c.ID] {
		return // evicted while the slot was not live, or begun: the gateway repeats
	}
	s.checking[c.ID] = true
	p := Password{User: u.ID, Sealed: c.PasswordChange.Sealed, SealedFor: c.ID.String(), Hash: u.Password, Version: u.CredentialVersion}
	s.cfg.Checker.Check(s.ctx, p, func(v Verdict) {
		s.post(func() { delete(s.checking, c.ID) })
		s.produce(maru.LogRecord{
			Topic: s.cfg.Topics.Commands, Partition: s.n, Key: []byte(c.User),
			Value: record.MustEncode(record.Command{
				V: record.Version, Kind: record.PasswordChecked, ID: c.ID, User: c.User, Session: c.Session, Reply: c.Reply,
				PasswordChecked: &record.PasswordCheckedBody{
					OK: v == Right, Busy: v == Busy, Version: p.Version, Password: c.PasswordChange.Password,
				},
			}),
		})
	})
}

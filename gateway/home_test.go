package gateway

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"maru"
	"maru/auth"
	"maru/record"
)

const testPartitions = 4

var (
	testTopics  = Topics{Commands: "commands", LoginRequest: "login-request", Delivery: "delivery"}
	testAddress = record.Address{Gateway: "gw-1", Partition: 7}
)

// testHome is a log and all homes behind it in one: it keeps users as homes do,
// answers each command once by its id, and complains about records that no home
// would find or understand. Everything is owned by mu but the knobs, which a test
// sets while nothing runs.
type testHome struct {
	t       testing.TB
	deliver func(maru.LogRecord) // where replies go; set after construction
	sealer  *auth.Sealer
	claims  *auth.Claims
	hasher  *auth.Hasher

	// Knobs.
	lose     func(rec maru.LogRecord, n int) bool          // swallow the nth record (from 1)
	refuse   func(rec maru.LogRecord, n int) error         // the log's own error for it
	override func(cmd record.Command) (record.Reply, bool) // answer this instead
	delay    time.Duration                                 // before a reply; then on its own goroutine

	mu       sync.Mutex
	n        int
	records  []maru.LogRecord // everything that was produced, beats excepted
	users    map[string]*testUser
	outcomes map[maru.CommandID]record.Reply
	applied  map[maru.CommandID]int // how often a command reached a home
	wg       sync.WaitGroup
}

type testUser struct {
	record.User
	hash     string
	sessions []record.Session
	friends  []record.Friend
	failures int
}

func newTestHome(t testing.TB, secret *auth.Secret, hasher *auth.Hasher) *testHome {
	sealer, err := auth.NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	return &testHome{
		t: t, sealer: sealer, claims: auth.NewClaims(secret), hasher: hasher,
		users: map[string]*testUser{}, outcomes: map[maru.CommandID]record.Reply{}, applied: map[maru.CommandID]int{},
	}
}

// TryProduce implements Log.
func (h *testHome) TryProduce(rec maru.LogRecord, done func(int64, error)) {
	if rec.Topic == testTopics.Delivery {
		done(0, nil)
		h.deliver(rec)
		return
	}
	h.mu.Lock()
	h.n++
	n := h.n
	h.records = append(h.records, rec)
	h.mu.Unlock()
	if h.refuse != nil {
		if err := h.refuse(rec, n); err != nil {
			done(-1, err)
			return
		}
	}
	done(int64(n), nil)
	if h.lose != nil && h.lose(rec, n) {
		return
	}
	if h.delay > 0 {
		h.wg.Go(func() { time.Sleep(h.delay); h.read(rec) })
		return
	}
	h.read(rec)
}

// read applies a record and sends the reply.
func (h *testHome) read(rec maru.LogRecord) {
	if to, reply, ok := h.apply(rec); ok {
		h.deliver(delivery(to, reply))
	}
}

func delivery(to record.Address, reply record.Reply) maru.LogRecord {
	return maru.LogRecord{
		Topic: testTopics.Delivery, Partition: to.Partition,
		Value: record.MustEncode(record.Delivery{V: record.Version, To: to.Gateway, Reply: &reply}),
	}
}

func (h *testHome) apply(rec maru.LogRecord) (record.Address, record.Reply, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if rec.Topic == testTopics.LoginRequest {
		return h.applyLogin(rec)
	}
	cmd, err := record.ParseCommand(rec.Value)
	if err != nil || cmd.Reply == nil || cmd.ID.IsZero() {
		h.t.Errorf("a command that no home understands: %v", err)
		return record.Address{}, record.Reply{}, false
	}
	if string(rec.Key) != cmd.User || cmd.User != "" && rec.Partition != maru.SlotOf(cmd.User, testPartitions) {
		h.t.Errorf("%s of %q has key %q and partition %d", cmd.Kind, cmd.User, rec.Key, rec.Partition)
	}
	h.applied[cmd.ID]++
	reply, known := h.outcomes[cmd.ID]
	if !known {
		reply = h.outcome(*cmd, rec.Partition)
		reply.ID = cmd.ID
		if cmd.Kind != record.Ask {
			h.outcomes[cmd.ID] = reply
		}
	}
	return *cmd.Reply, reply, true
}

func ok(result any) record.Reply {
	if result == nil {
		return record.Reply{}
	}
	return record.Reply{Result: record.MustEncode(result)}
}

func refused(code maru.Code) record.Reply { return record.Reply{Code: code} }

func (h *testHome) outcome(cmd record.Command, slot int32) record.Reply {
	if h.override != nil {
		if reply, ok := h.override(cmd); ok {
			return reply
		}
	}
	if cmd.Kind == record.Ask && cmd.Ask.What == record.AskUsers {
		return h.askUsers(cmd, slot)
	}
	u := h.users[cmd.User]
	if cmd.Kind == record.Register {
		if u != nil {
			return refused(maru.CodeDuplicate)
		}
		b := cmd.Register
		u = &testUser{User: record.User{UserID: cmd.User, UserName: b.Name, Email: b.Email, JoinDate: &record.Date{2026, 11, 22}}, hash: b.Password}
		h.users[cmd.User] = u
		return ok(record.UserResult{User: u.User, Rev: 1})
	}
	live := func(s record.Session) bool { return s.ID == cmd.Session }
	if u == nil || !slices.ContainsFunc(u.sessions, live) {
		return refused(maru.CodeUnauthenticated)
	}
	return h.change(u, cmd)
}

func (h *testHome) change(u *testUser, cmd record.Command) record.Reply {
	switch cmd.Kind {
	case record.Ask:
		return ask(u, cmd.Ask)
	case record.Update:
		for to, from := range map[*string]*string{&u.UserName: cmd.Update.Name, &u.UserStatus: cmd.Update.Status, &u.Email: cmd.Update.Email} {
			if from != nil {
				*to = *from
			}
		}
		return ok(record.UserResult{User: u.User})
	case record.PasswordChange:
		if !h.verify(u, cmd.PasswordChange.Sealed, cmd.ID) {
			return refused(maru.CodeInvalidPassword)
		}
		u.hash = cmd.PasswordChange.Password
		return ok(nil)
	case record.SessionEnd:
		n := len(u.sessions)
		u.sessions = slices.DeleteFunc(u.sessions, func(s record.Session) bool { return cmd.SessionEnd.All || s.ID == cmd.SessionEnd.Session })
		if len(u.sessions) == n {
			return refused(maru.CodeNotFound)
		}
		return ok(nil)
	case record.FriendAdd:
		return h.addFriend(u, cmd.Friend)
	case record.FriendRemove:
		u.friends = slices.DeleteFunc(u.friends, func(f record.Friend) bool { return f.UserID == cmd.Friend.Friend })
		return ok(nil)
	}
	h.t.Errorf("unknown kind %s", cmd.Kind)
	return refused(maru.CodeInternal)
}

func (h *testHome) addFriend(u *testUser, b *record.FriendBody) record.Reply {
	if h.users[b.Friend] == nil {
		return refused(maru.CodeCannotFindUser)
	}
	i := slices.IndexFunc(u.friends, func(f record.Friend) bool { return f.UserID == b.Friend })
	if i < 0 {
		u.friends = append(u.friends, record.Friend{UserID: b.Friend, AddedAt: 1_700_000_000_000})
		slices.SortFunc(u.friends, func(a, b record.Friend) int { return cmp.Compare(a.UserID, b.UserID) })
		i = slices.IndexFunc(u.friends, func(f record.Friend) bool { return f.UserID == b.Friend })
	}
	if b.Alias != nil {
		u.friends[i].Alias = *b.Alias
	}
	return ok(nil)
}

func ask(u *testUser, b *record.AskBody) record.Reply {
	switch b.What {
	case record.AskSessions:
		return ok(record.SessionsResult{Sessions: u.sessions})
	case record.AskFriends:
		rest := slices.DeleteFunc(slices.Clone(u.friends), func(f record.Friend) bool { return f.UserID <= b.After })
		n := min(b.Limit, len(rest))
		return ok(record.FriendsResult{Friends: rest[:n], More: n < len(rest)})
	}
	return ok(record.UserResult{User: u.User, Rev: 1})
}

// askUsers answers with all that it knows, for the gateway to leave out what is private.
func (h *testHome) askUsers(cmd record.Command, slot int32) record.Reply {
	result := record.UsersResult{Users: []record.User{}}
	for _, id := range cmd.Ask.Users {
		if maru.SlotOf(id, testPartitions) != slot {
			h.t.Errorf("slot %d was asked for %s", slot, id)
		}
		if u := h.users[id]; u != nil {
			result.Users = append(result.Users, u.User)
		}
	}
	return ok(result)
}

func (h *testHome) verify(u *testUser, sealed string, id maru.CommandID) bool {
	password, err := h.sealer.Open(u.UserID, id.String(), sealed)
	if err != nil {
		h.t.Errorf("the home cannot open a sealed password: %v", err)
		return false
	}
	right, err := h.hasher.Verify(u.hash, password)
	return right && err == nil
}

// testLockAfter is how many failures lock a user towards unknown devices.
const testLockAfter = 3

func (h *testHome) applyLogin(rec maru.LogRecord) (record.Address, record.Reply, bool) {
	req, err := record.ParseLoginRequest(rec.Value)
	id, idErr := maru.ParseCommandID(string(rec.Header(record.HeaderID)))
	payload, macErr := h.claims.Verify(req.UserID, id.String(), string(rec.Header(record.HeaderClaims)))
	claims, claimsErr := parseClaims(payload)
	to, toErr := record.ParseAddress(string(rec.Header(record.HeaderReply)))
	if err := errors.Join(err, idErr, macErr, claimsErr, toErr); err != nil {
		h.t.Errorf("a login request that no home takes: %v", err)
		return to, record.Reply{}, false
	}
	if string(rec.Key) != req.UserID || rec.Partition != maru.SlotOf(req.UserID, testPartitions) || req.UserPw != nil || to != claims.Reply {
		h.t.Errorf("login request with key %q, partition %d, address %v", rec.Key, rec.Partition, to)
	}
	h.applied[id]++
	reply, known := h.outcomes[id]
	if !known {
		reply = h.login(req, id, claims)
		reply.ID = id
		h.outcomes[id] = reply
	}
	return to, reply, true
}

func (h *testHome) login(req record.LoginRequest, id maru.CommandID, claims record.LoginClaims) record.Reply {
	if h.override != nil {
		if reply, ok := h.override(record.Command{Kind: "login", User: req.UserID}); ok {
			return reply
		}
	}
	failed := record.Reply{Code: maru.CodeLoginFailed, Result: record.MustEncode(record.LoginResultBody{Answer: record.LoginAnswer{RequestUserID: req.UserID}})}
	u := h.users[req.UserID]
	if u == nil {
		return failed
	}
	if u.failures >= testLockAfter && !claims.Known {
		return record.Reply{Code: maru.CodeTooMany, RetryAfterMS: 90_500}
	}
	if !h.verify(u, req.SealedPw, id) {
		u.failures++
		return failed
	}
	now := time.Now().UnixMilli()
	s := record.Session{ID: id.Session(), Device: claims.Device, CreatedAt: now, SeenAt: now, ExpiresAt: now + 3_600_000}
	u.sessions = append(u.sessions, s)
	day := &record.Date{2022, 12, 17}
	return ok(record.LoginResultBody{
		Answer: record.LoginAnswer{RequestUserID: req.UserID, IsAccept: true, User: record.LoginUser{
			UserID: record.Text(u.UserID), Email: record.Text(u.Email), UserName: record.Text(u.UserName),
			UserStatus: record.Text(u.UserStatus), JoinDate: day, LoginDate: day, LogoutDate: day,
		}},
		Session: s.ID, ExpiresAt: s.ExpiresAt,
	})
}

// contains tells whether any record that was produced has text in it.
func (h *testHome) contains(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.records, func(r maru.LogRecord) bool {
		return bytes.Contains(r.Value, []byte(text)) ||
			slices.ContainsFunc(r.Headers, func(x maru.Header) bool { return bytes.Contains(x.Value, []byte(text)) })
	})
}

func (h *testHome) produced() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.records)
}

// add registers a user and opens a session, past the gateway.
func (h *testHome) add(id, password string) (session string) {
	hash, err := h.hasher.Hash([]byte(password))
	if err != nil {
		h.t.Fatal(err)
	}
	session = maru.NewCommandID().Session()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users[id] = &testUser{
		User: record.User{UserID: id, UserName: "name of " + id, Email: id + "@example.org", Admin: true, AddedBy: 3, JoinDate: &record.Date{2022, 12, 17}},
		hash: hash, sessions: []record.Session{{ID: session, Device: "a test", CreatedAt: 1_700_000_000_123, SeenAt: 1_700_000_001_000, ExpiresAt: 1_900_000_000_000}},
	}
	return session
}

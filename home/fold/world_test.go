package fold

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"maru"
	"maru/record"
)

const (
	slots    = 4 // P of the tests
	gateways = 2 // partitions of delivery of the tests
)

// world is a few slots without Kafka, SQL or time. What one slot sends to another
// and the results of jobs wait in transit until flow. One goroutine uses it.
type world struct {
	t       testing.TB
	nodes   [slots]*node
	now     int64
	ids     uint64
	transit []transit
	answers []Output // of login-response
	replies map[maru.CommandID][]record.Reply
	logins  map[int64]string // passwords of login requests, by offset
	check   func(*world, int32, *Effect)
}

// transit is a record on its way to a log.
type transit struct {
	slot  int32
	value []byte
}

// node is a slot with its log and what came of each record.
type node struct {
	*State
	log     []Input
	values  [][]byte // of the log
	effects []Effect
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: 1_700_000_000_000, replies: map[maru.CommandID][]record.Reply{}, logins: map[int64]string{}}
	for i := range w.nodes {
		w.nodes[i] = &node{State: New(int32(i), slots, gateways)}
	}
	return w
}

func (w *world) home(user string) *node { return w.nodes[maru.SlotOf(user, slots)] }

// user returns a user as their home has it in memory.
func (w *world) user(id string) *User {
	if u := w.home(id).Users[id]; u != nil {
		return u
	}
	return &User{ID: id}
}

// id returns a command id, the next of a fixed sequence.
func (w *world) id() (id maru.CommandID) {
	w.ids++
	binary.BigEndian.PutUint64(id[8:], w.ids)
	return id
}

// put appends a value to the log of a slot and applies it.
func (w *world) put(slot int32, value []byte) *Effect {
	n := w.nodes[slot]
	in := Input{Offset: int64(len(n.log)), Time: w.now}
	if c, err := record.ParseCommand(value); err == nil {
		in.Command = c
	}
	n.log, n.values = append(n.log, in), append(n.values, value)
	n.resident(in.Command)
	n.effects = append(n.effects, n.Apply(in))
	e := &n.effects[len(n.effects)-1]
	w.route(n, e)
	if w.check != nil {
		w.check(w, slot, e)
	}
	return e
}

// resident makes what a command needs resident, as if SQL had nothing.
func (n *node) resident(c *record.Command) {
	n.Needs(c, func(id string) {
		if n.Users[id] == nil {
			n.RestoreAbsent(id)
		}
	})
}

func (w *world) route(n *node, e *Effect) {
	for i, o := range e.Outputs {
		switch o.Topic {
		case ToCommands:
			w.transit = append(w.transit, transit{o.Partition, o.Value})
		case ToLoginResponse:
			w.answers = append(w.answers, o)
		case ToDelivery:
			d, err := record.ParseDelivery(o.Value)
			if err != nil || d.Reply == nil || d.From == nil || *d.From != (record.Cause{Slot: n.Slot, Offset: int64(len(n.log) - 1), Index: i}) {
				w.t.Fatalf("output %d of offset %d: %s, %v", i, len(n.log)-1, o.Value, err)
			}
			w.replies[d.Reply.ID] = append(w.replies[d.Reply.ID], *d.Reply)
		}
	}
	for _, j := range e.Jobs {
		if c := w.result(n, j); c != nil {
			w.transit = append(w.transit, transit{n.Slot, record.MustEncode(c)})
		}
	}
}

// result does a job as a home would. What is sealed is the password itself.
func (w *world) result(n *node, j Job) *record.Command {
	c := *j.Command
	u := n.Users[c.User]
	switch j.Kind {
	case CheckPassword:
		c.Kind, c.PasswordChange = record.PasswordChecked, nil
		c.PasswordChecked = &record.PasswordCheckedBody{
			OK: hash(j.Command.PasswordChange.Sealed) == u.Password, Version: u.CredentialVersion, Password: j.Command.PasswordChange.Password,
		}
		return &c
	case RecheckLogin:
		b := *c.LoginChecked
		b.Result, b.Version = record.LoginWrong, u.CredentialVersion
		if hash(w.logins[b.Offset]) == u.Password {
			b.Result = record.LoginOK
		}
		c.LoginChecked = &b
		return &c
	}
	return nil
}

// flow brings what is in transit to its logs, until nothing is left.
func (w *world) flow() {
	for len(w.transit) > 0 {
		w.step()
	}
}

func (w *world) step() {
	next := w.transit[0]
	w.transit = w.transit[1:]
	w.put(next.slot, next.value)
}

// send gives a command to the home of its user.
func (w *world) send(c record.Command) *Effect {
	c.V = record.Version
	return w.put(maru.SlotOf(c.User, slots), record.MustEncode(c))
}

// call is send and flow, and returns the last reply.
func (w *world) call(c record.Command) record.Reply {
	w.t.Helper()
	before := len(w.replies[c.ID])
	w.send(c)
	w.flow()
	all := w.replies[c.ID]
	if len(all) == before {
		w.t.Fatalf("%s of %s: no reply", c.Kind, c.User)
	}
	return all[len(all)-1]
}

// command returns a command of a signed-in user, without its body.
func (w *world) command(kind record.Kind, user, session string) record.Command {
	return record.Command{Kind: kind, ID: w.id(), User: user, Session: session, Reply: &record.Address{Gateway: "g", Partition: 1}}
}

func hash(password string) string { return "$argon2id$" + password }

func (w *world) registration(user, password string) record.Command {
	c := w.command(record.Register, user, "")
	c.Register = &record.RegisterBody{Password: hash(password), Name: "name of " + user}
	return c
}

// register opens accounts with the password "pw".
func (w *world) register(users ...string) {
	w.t.Helper()
	for _, u := range users {
		w.ok(w.call(w.registration(u, "pw")))
	}
}

// attempt is the result of a login request checked at this moment.
func (w *world) attempt(user, password string) record.Command {
	c := w.command(record.LoginChecked, user, "")
	u, offset := w.user(user), int64(w.ids)
	w.logins[offset] = password
	c.LoginChecked = &record.LoginCheckedBody{
		Result: record.LoginWrong, Requested: user, Version: u.CredentialVersion, Offset: offset, Echo: c.ID.String(), Device: "phone", Session: true,
	}
	if u.Registered && u.Password == hash(password) {
		c.LoginChecked.Result = record.LoginOK
	}
	return c
}

// login signs a user in and returns the session.
func (w *world) login(user string) string {
	w.t.Helper()
	r := w.call(w.attempt(user, "pw"))
	w.ok(r)
	return decode[record.LoginResultBody](w.t, r.Result).Session
}

func (w *world) ok(r record.Reply) {
	w.t.Helper()
	w.refused(r, "")
}

func (w *world) refused(r record.Reply, want maru.Code) {
	w.t.Helper()
	if r.Code != want {
		w.t.Fatalf("code %q, want %q (%+v)", r.Code, want, r)
	}
}

func decode[T any](t testing.TB, b []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// table returns everything a slot would have in SQL, from memory.
func (s *State) table() map[string]string {
	rows := map[string]string{"": string(s.Aux())}
	for id, u := range s.Users {
		r := s.Row(u)
		for _, f := range u.Friends {
			row, _ := s.FriendRow(maru.FriendKey{UserID: id, FriendID: f.ID})
			r.Friends = append(r.Friends, row)
		}
		if r.Registered || r.ExpiresAt > s.Purged {
			rows[id] = text(r)
		}
	}
	return rows
}

// text is a row as one comparable string.
func text(r maru.UserRow) string {
	state := string(r.State)
	r.State = nil
	return fmt.Sprintf("%+v %s", r, state)
}

// differing returns the keys whose values differ.
func differing(a, b map[string]string) (keys []string) {
	for k, v := range a {
		if b[k] != v {
			keys = append(keys, k)
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

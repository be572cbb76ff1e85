package fold

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"maru"
	"maru/record"
)

// driver sends random commands of a few users over all slots. What is in transit
// arrives at random moments, but in the order of its stream.
type driver struct {
	*world
	*rand.Rand
	users    []string
	sessions map[string][]string
	password map[string]string
	sent     []record.Command
	jumps    bool // time passes in steps that let windows, locks and sessions end
}

func newDriver(t testing.TB, seed uint64) *driver {
	d := &driver{world: newWorld(t), Rand: rand.New(rand.NewPCG(seed, 0)), sessions: map[string][]string{}, password: map[string]string{}}
	for i := range 9 {
		d.users = append(d.users, fmt.Sprintf("u%d", i))
	}
	return d
}

func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

// run takes n random steps.
func (d *driver) run(n int) {
	for range n {
		d.tick()
		switch k := d.IntN(10); {
		case k < 4 && len(d.transit) > 0:
			d.step()
		case k == 4 && len(d.sent) > 0: // a gateway repeats itself, or a client much later
			d.send(d.sent[max(0, len(d.sent)-1-d.IntN(30))])
		default:
			c := d.random()
			d.sent = append(d.sent, c)
			d.send(c)
			for _, r := range d.replies[c.ID] {
				if c.Kind == record.LoginChecked && r.Code == "" {
					d.sessions[c.User] = append(d.sessions[c.User], c.ID.Session())
				}
			}
		}
	}
	d.flow()
}

func (d *driver) tick() {
	switch k := d.IntN(100); {
	case k == 0 && d.jumps:
		d.now += int64(d.IntN(40 * 60_000))
	case k < 10:
		d.now -= int64(d.IntN(2000)) // the broker's clock was set
	case d.jumps:
		d.now += int64(d.IntN(5000))
	default:
		d.now += int64(d.IntN(20))
	}
}

func (d *driver) session(user string) string {
	all := d.sessions[user]
	if len(all) == 0 || d.IntN(20) == 0 {
		return pick(d.Rand, "", "000000000000000000000000")
	}
	return all[max(0, len(all)-1-d.IntN(4))]
}

// random is a command as a gateway, a home or an administrator may send it.
func (d *driver) random() record.Command {
	user, other := pick(d.Rand, d.users...), pick(d.Rand, d.users...)
	s := d.session(user)
	switch d.IntN(17) {
	case 0, 1:
		c := d.registration(user, "pw")
		c.Register.Admin = d.IntN(9) == 0
		return c
	case 2, 3, 4, 5:
		c := d.attempt(user, pick(d.Rand, "pw", "pw", "pw", "pw2", "guess"))
		b := c.LoginChecked
		b.Known, b.Session = d.IntN(3) == 0, d.IntN(5) > 0
		if d.IntN(8) == 0 {
			b.Version += int64(d.IntN(3)) - 1
		}
		if d.IntN(10) == 0 {
			b.Result = pick(d.Rand, record.LoginInvalid, record.LoginBusy, record.LoginLocked)
		}
		if !b.Session {
			c.Reply = nil
		}
		return c
	case 6, 7, 8:
		return d.add(user, s, other, pick(d.Rand, nil, new(""), new("별명"), new("x\n")))
	case 9, 10:
		return d.remove(user, s, other)
	case 11:
		return d.change(user, s, pick(d.Rand, "pw", "pw2", "guess"), pick(d.Rand, "pw", "pw2"))
	case 12:
		return d.end(user, s, pick(d.Rand, record.SessionEndBody{Session: s, Logout: true}, record.SessionEndBody{All: true, Logout: true}, record.SessionEndBody{Session: d.session(user)}))
	case 13:
		return d.administration(user)
	case 14:
		c := d.command(record.Update, user, s)
		c.Update = &record.UpdateBody{Name: new(fmt.Sprint("n", d.IntN(100))), Status: pick(d.Rand, nil, new("상태")), Email: pick(d.Rand, nil, new("a@b"), new("no"))}
		return c
	}
	c := d.command(record.Ask, user, s)
	c.Ask = &record.AskBody{What: pick(d.Rand, record.AskMe, record.AskFriends, record.AskSessions, record.AskUsers, "?"), Users: d.users, Limit: d.IntN(3)}
	return c
}

func (d *driver) administration(user string) record.Command {
	if d.jumps && d.IntN(3) == 0 {
		d.rules(record.RulesBody{
			Zone: pick(d.Rand, "", "Asia/Seoul", "UTC"), WindowMS: pick(d.Rand, int64(0), 60_000, 900_000, 7_200_000), FailMax: 2 + d.IntN(5),
			FailWindowMS: pick(d.Rand, int64(0), 60_000, 1_800_000, 7_200_000), SessionTTLMS: pick(d.Rand, int64(0), 600_000, 86_400_000),
			SessionsMax: 2 + d.IntN(5), FriendsMax: 2 + d.IntN(8), OutcomesMax: 20 + d.IntN(100), OutcomesBytes: 4000 + d.IntN(20_000), PendingMax: 1 + d.IntN(5),
		})
	}
	c := d.command(record.AdminSet, user, "")
	c.AdminSet = &record.AdminSetBody{Admin: d.IntN(2) == 0}
	if d.IntN(2) == 0 {
		c = d.command(record.PasswordSet, user, "")
		c.PasswordSet = &record.PasswordSetBody{Password: hash(pick(d.Rand, "pw", "pw2"))}
	}
	return c
}

var moreSeeds = flag.Uint64("seeds", 0, "seeds of each property, instead of a few")

func seeds(t *testing.T, n uint64, f func(t *testing.T, seed uint64)) {
	if *moreSeeds > 0 {
		n = *moreSeeds
	}
	for seed := range n {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { f(t, seed) })
	}
}

// digest is everything an effect tells the outside, as one comparable text.
func (e *Effect) digest() string {
	var b bytes.Buffer
	for _, o := range e.Outputs {
		fmt.Fprintf(&b, "%d %d %q %q %d %s\n", o.Topic, o.Partition, o.Key, o.ID, o.Time, o.Value)
	}
	for _, j := range e.Jobs {
		fmt.Fprintf(&b, "%d %d %s\n", j.Kind, j.Offset, record.MustEncode(j.Command))
	}
	fmt.Fprint(&b, e.Duplicate, e.Gap, e.Skipped, e.TooNew)
	return b.String()
}

// Changed and Friends name every row that a record changes: a checkpoint writes
// those and no others.
func TestEffectNamesEveryChangedRow(t *testing.T) {
	seeds(t, 6, func(t *testing.T, seed uint64) {
		d := newDriver(t, seed)
		d.jumps = true
		before := [slots]map[string]string{}
		for i, n := range d.nodes {
			before[i] = n.table()
		}
		d.check = func(w *world, slot int32, e *Effect) {
			n := w.nodes[slot]
			after := n.table()
			for _, id := range differing(before[slot], after) {
				_, there := after[id]
				if id != "" && there && !slices.Contains(e.Changed, id) { // what is gone has expired
					t.Fatalf("offset %d of slot %d changed %s and says %v:\n%s\n%s\n%s", len(n.log)-1, slot, id, e.Changed, n.values[len(n.log)-1], before[slot][id], after[id])
				}
			}
			for _, k := range e.Friends {
				if !slices.Contains(e.Changed, k.UserID) {
					t.Fatalf("friend %v is not of a changed user: %v", k, e.Changed)
				}
			}
			before[slot] = after
		}
		d.run(500)
	})
}

// sql is what checkpoints have written of one slot. It trusts Effect to name what
// changed, as a home does.
type sql struct {
	aux     []byte
	users   map[string]maru.UserRow
	friends map[maru.FriendKey]maru.FriendRow
}

// checkpoint writes what is dirty and deletes what has expired.
func (q *sql) checkpoint(s *State, dirty map[string]bool, friends map[maru.FriendKey]bool) {
	q.aux = s.Aux()
	for id := range dirty {
		q.users[id] = s.Row(s.Users[id])
	}
	for k := range friends {
		if row, ok := s.FriendRow(k); ok {
			q.friends[k] = row
		} else {
			delete(q.friends, k)
		}
	}
	for id, r := range q.users {
		if !r.Registered && r.ExpiresAt <= s.Purged {
			delete(q.users, id)
		}
	}
	clear(dirty)
	clear(friends)
}

func (q *sql) load(t testing.TB, s *State, id string) {
	r, ok := q.users[id]
	if !ok {
		s.RestoreAbsent(id)
		return
	}
	for k, f := range q.friends {
		if k.UserID == id {
			r.Friends = append(r.Friends, f) // in any order
		}
	}
	if err := s.Restore(r); err != nil {
		t.Fatal(err)
	}
}

func (q *sql) table(s *State) map[string]string {
	rows := map[string]string{"": string(q.aux)}
	for id, r := range q.users {
		for k, f := range q.friends {
			if k.UserID == id {
				r.Friends = append(r.Friends, f)
			}
		}
		slices.SortFunc(r.Friends, func(a, b maru.FriendRow) int { return bytes.Compare([]byte(a.FriendID), []byte(b.FriendID)) })
		if r.Registered || r.ExpiresAt > s.Purged {
			rows[id] = text(r)
		}
	}
	return rows
}

// Owners that come and go fold the same state and publish the same bytes as one
// that holds everything for ever: whatever was loaded, evicted, checkpointed or
// applied again after a crash.
func TestOwnersThatComeAndGoFoldTheSame(t *testing.T) {
	seeds(t, 6, func(t *testing.T, seed uint64) {
		d := newDriver(t, seed)
		d.jumps = true
		d.run(1200)
		for _, n := range d.nodes {
			q := &sql{users: map[string]maru.UserRow{}, friends: map[maru.FriendKey]maru.FriendRow{}}
			s := refold(t, n, d.Rand, q)
			if keys := differing(n.table(), q.table(s)); len(keys) != 0 {
				t.Fatalf("slot %d: rows of %v differ:\n%s\n%s", n.Slot, keys, n.table()[keys[0]], q.table(s)[keys[0]])
			}
		}
	})
}

// refold applies the log of n in a state that keeps as little as it may, crashing
// now and then, and compares every effect.
func refold(t *testing.T, n *node, r *rand.Rand, q *sql) *State {
	dirty, friends := map[string]bool{}, map[maru.FriendKey]bool{}
	s, next, saved := New(n.Slot, slots, gateways), 0, 0
	q.aux = s.Aux()
	for next < len(n.log) {
		c, _ := record.ParseCommand(n.values[next])
		s.Needs(c, func(id string) {
			if s.Users[id] == nil {
				q.load(t, s, id)
			}
		})
		in := n.log[next]
		in.Command = c
		e := s.Apply(in)
		if got, want := e.digest(), n.effects[next].digest(); got != want {
			t.Fatalf("slot %d offset %d: %s\n got %s\nwant %s", n.Slot, next, n.values[next], got, want)
		}
		next++
		for _, id := range e.Changed {
			dirty[id] = true
		}
		for _, k := range e.Friends {
			friends[k] = true
		}
		switch r.IntN(12) {
		case 0, 1:
			q.checkpoint(s, dirty, friends)
			saved = next
		case 2, 3, 4:
			for id := range s.Users {
				if !dirty[id] && r.IntN(2) == 0 {
					delete(s.Users, id)
				}
			}
		case 5:
			if r.IntN(4) == 0 { // a crash: all that is not in SQL is lost
				s, next = New(n.Slot, slots, gateways), saved
				if err := s.SetAux(q.aux); err != nil {
					t.Fatal(err)
				}
				clear(dirty)
				clear(friends)
			}
		}
	}
	q.checkpoint(s, dirty, friends)
	return s
}

// A row and a checkpoint's aux are copies: the state going on must not reach them.
func TestRowsDoNotChangeAfterwards(t *testing.T) {
	d := newDriver(t, 7)
	d.jumps = true
	type kept struct {
		row, was maru.UserRow
		aux, old []byte
		e        *Effect
		digest   string
	}
	var all []kept
	d.check = func(w *world, slot int32, e *Effect) {
		n := w.nodes[slot]
		for _, id := range e.Changed {
			r := n.Row(n.Users[id])
			was := r
			was.State = bytes.Clone(r.State)
			aux := n.Aux()
			all = append(all, kept{r, was, aux, bytes.Clone(aux), e, e.digest()})
		}
	}
	d.run(800)
	for i, k := range all {
		if text(k.row) != text(k.was) || !bytes.Equal(k.aux, k.old) {
			t.Fatalf("row %d changed afterwards:\n%s\n%s", i, text(k.was), text(k.row))
		}
		if k.e.digest() != k.digest {
			t.Fatalf("effect %d changed afterwards", i)
		}
	}
	if len(all) < 200 {
		t.Fatalf("only %d rows were looked at", len(all))
	}
}

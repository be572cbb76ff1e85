package fold

import (
	"fmt"
	"strings"
	"testing"

	"maru"
	"maru/record"
)

func (w *world) add(user, session, friend string, alias *string) record.Command {
	c := w.command(record.FriendAdd, user, session)
	c.Friend = &record.FriendBody{Friend: friend, Alias: alias}
	return c
}

func (w *world) remove(user, session, friend string) record.Command {
	c := w.command(record.FriendRemove, user, session)
	c.Friend = &record.FriendBody{Friend: friend}
	return c
}

// pair registers a user and one of another slot, and signs the first in.
func (w *world) pair() (friend, session string) {
	friend = otherSlot("alice")
	w.register("alice", friend)
	return friend, w.login("alice")
}

func (w *world) friends(user string) string {
	var b strings.Builder
	for _, f := range w.user(user).Friends {
		fmt.Fprintf(&b, "%s(%s) ", f.ID, f.Alias)
	}
	return strings.TrimSpace(b.String())
}

func TestFriendAcrossTwoSlots(t *testing.T) {
	w := newWorld(t)
	bob, s := w.pair()
	c := w.add("alice", s, bob, new("밥"))
	e := w.send(c)
	if len(e.Outputs) != 1 || e.Outputs[0].Topic != ToCommands || e.Outputs[0].Key != bob || e.Outputs[0].Partition != w.home(bob).Slot {
		t.Fatalf("outputs %+v", e.Outputs)
	}
	if len(w.replies[c.ID]) != 0 || w.friends("alice") != "" {
		t.Error("answered before the friend's home was")
	}
	w.flow()
	w.ok(w.replies[c.ID][0])
	if w.friends("alice") != bob+"(밥)" || w.user(bob).AddedBy != 1 || len(w.user("alice").Pending) != 0 {
		t.Errorf("friends %s, added by %d", w.friends("alice"), w.user(bob).AddedBy)
	}
	w.ok(w.call(c)) // repeated
	w.ok(w.call(w.add("alice", s, bob, nil)))
	if w.friends("alice") != bob+"(밥)" || w.user(bob).AddedBy != 1 {
		t.Errorf("adding again: %s, added by %d", w.friends("alice"), w.user(bob).AddedBy)
	}
	w.ok(w.call(w.add("alice", s, bob, new("로버트"))))
	if w.friends("alice") != bob+"(로버트)" {
		t.Errorf("alias: %s", w.friends("alice"))
	}
	remove := w.remove("alice", s, bob)
	w.ok(w.call(remove))
	w.ok(w.call(remove))
	w.ok(w.call(w.remove("alice", s, bob)))
	if w.friends("alice") != "" || w.user(bob).AddedBy != 0 {
		t.Errorf("removed: %s, added by %d", w.friends("alice"), w.user(bob).AddedBy)
	}
}

func TestFriendOfTheSameSlot(t *testing.T) {
	w := newWorld(t)
	mate := ""
	for i := 0; mate == ""; i++ {
		if id := fmt.Sprint("m", i); maru.SlotOf(id, slots) == maru.SlotOf("alice", slots) {
			mate = id
		}
	}
	w.register("alice", mate)
	s := w.login("alice")
	w.ok(w.call(w.add("alice", s, mate, nil)))
	if w.friends("alice") != mate+"()" || w.user(mate).AddedBy != 1 {
		t.Errorf("friends %s, added by %d", w.friends("alice"), w.user(mate).AddedBy)
	}
}

func TestFriendRefusals(t *testing.T) {
	w := newWorld(t)
	bob, s := w.pair()
	r := w.call(w.add("alice", s, "alice", nil))
	if r.Code != maru.CodeInvalid || r.Field != "userId" {
		t.Errorf("oneself: %+v", r)
	}
	for _, alias := range []string{"a\nb", strings.Repeat("가", maru.MaxUserName+1)} {
		if r := w.call(w.add("alice", s, bob, &alias)); r.Code != maru.CodeInvalid || r.Field != "alias" {
			t.Errorf("alias %q: %+v", alias, r)
		}
	}
	nobody := w.add("alice", s, "nobody", nil)
	w.refused(w.call(nobody), maru.CodeCannotFindUser)
	w.register("nobody")
	w.refused(w.call(nobody), maru.CodeCannotFindUser) // remembered
	w.ok(w.call(w.add("alice", s, "nobody", nil)))
	w.refused(w.call(w.add("alice", "", bob, nil)), maru.CodeUnauthenticated)
	w.refused(w.call(w.remove("alice", "", bob)), maru.CodeUnauthenticated)
	w.rules(record.RulesBody{FriendsMax: 1})
	w.refused(w.call(w.add("alice", s, bob, nil)), maru.CodeLimit)
	w.ok(w.call(w.remove("alice", s, "nobody")))
	w.ok(w.call(w.add("alice", s, bob, nil)))
}

func TestFriendsPendingCountAgainstTheLimits(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	s := w.login("alice")
	w.rules(record.RulesBody{FriendsMax: 3, PendingMax: 2})
	var all []record.Command
	for i := range 4 {
		c := w.add("alice", s, fmt.Sprint("p", i), nil)
		w.send(c)
		all = append(all, c)
	}
	for _, c := range all[2:] {
		if r := w.replies[c.ID]; len(r) != 1 || r[0].Code != maru.CodeTooMany || r[0].RetryAfterMS <= 0 {
			t.Errorf("beyond the pending ones: %+v", r)
		}
	}
	w.rules(record.RulesBody{FriendsMax: 2, PendingMax: 10})
	w.refused(func() record.Reply { c := w.add("alice", s, "p9", nil); w.send(c); return w.replies[c.ID][0] }(), maru.CodeLimit)
	w.flow()
	w.refused(w.replies[all[0].ID][0], maru.CodeCannotFindUser)
}

func TestRemoveWhilePending(t *testing.T) {
	w := newWorld(t)
	bob, s := w.pair()
	add, remove := w.add("alice", s, bob, new("x")), w.remove("alice", s, bob)
	w.send(add)
	w.send(remove)
	w.flow()
	w.ok(w.replies[add.ID][0])
	w.ok(w.replies[remove.ID][0])
	if w.friends("alice") != "" || w.user(bob).AddedBy != 0 {
		t.Errorf("friends %q, added by %d", w.friends("alice"), w.user(bob).AddedBy)
	}
	w.send(w.add("alice", s, bob, new("x")))
	w.send(w.remove("alice", s, bob))
	w.send(w.add("alice", s, bob, nil)) // a new friend: the alias went with the old one
	w.flow()
	if w.friends("alice") != bob+"()" || w.user(bob).AddedBy != 1 {
		t.Errorf("friends %q, added by %d", w.friends("alice"), w.user(bob).AddedBy)
	}
}

// A gateway repeats a command until it is answered, also after the user has thought
// otherwise: what was taken back stays so.
func TestAddRepeatedAfterItWasTakenBack(t *testing.T) {
	w := newWorld(t)
	bob, s := w.pair()
	add := w.add("alice", s, bob, nil)
	w.send(add)
	w.send(w.remove("alice", s, bob))
	w.send(add)
	w.send(w.end("alice", s, record.SessionEndBody{Session: s, Logout: true}))
	w.send(add)
	w.flow()
	if r := w.replies[add.ID]; len(r) != 1 || r[0].Code != "" {
		t.Errorf("replies %+v", r)
	}
	if w.friends("alice") != "" || w.user(bob).AddedBy != 0 {
		t.Errorf("friends %q, added by %d", w.friends("alice"), w.user(bob).AddedBy)
	}
}

func TestAddFromTwoDevicesWhilePending(t *testing.T) {
	w := newWorld(t)
	bob, s := w.pair()
	s2 := w.login("alice")
	a, b := w.add("alice", s, bob, new("one")), w.add("alice", s2, bob, new("two"))
	w.send(a)
	if e := w.send(b); len(e.Outputs) != 0 {
		t.Errorf("the friend's home is asked again: %+v", e.Outputs)
	}
	a.Reply = &record.Address{Gateway: "another", Partition: 0}
	if e := w.send(a); len(e.Outputs) != 0 { // repeated through another gateway
		t.Errorf("the friend's home is asked again: %+v", e.Outputs)
	}
	if p := w.user("alice").Pending; len(p) != 1 || len(p[0].Waiters) != 2 || p[0].Waiters[0].Reply.Gateway != "another" {
		t.Errorf("pending %+v", p)
	}
	w.flow()
	if len(w.replies[a.ID]) != 1 || len(w.replies[b.ID]) != 1 || w.friends("alice") != bob+"(two)" || w.user(bob).AddedBy != 1 {
		t.Errorf("friends %s, added by %d, replies %v %v", w.friends("alice"), w.user(bob).AddedBy, w.replies[a.ID], w.replies[b.ID])
	}
}

func TestWaitersAreBounded(t *testing.T) {
	w := newWorld(t)
	bob, s := w.pair()
	for range maxWaiters {
		w.send(w.add("alice", s, bob, new("first")))
	}
	w.send(w.remove("alice", s, bob))
	before := w.home("alice").table()["alice"]
	c := w.add("alice", s, bob, new("refused"))
	w.send(c)
	if after := w.home("alice").table()["alice"]; after != before {
		t.Errorf("refused, with the effect from\n%s\nto\n%s", before, after)
	}
	if r := w.replies[c.ID]; len(r) != 1 || r[0].Code != maru.CodeTooMany {
		t.Errorf("one more: %+v", r)
	}
	w.flow()
	w.ok(w.call(c))
}

func TestAnswersNobodyAskedForAreIgnored(t *testing.T) {
	w := newWorld(t)
	bob, s := w.pair()
	w.ok(w.call(w.add("alice", s, bob, nil)))
	n, from := w.home("alice"), w.home(bob).Slot
	stream := func(k record.Kind, b record.FriendBody) *Effect {
		return w.put(n.Slot, record.MustEncode(record.Command{
			V: record.Version, Kind: k, User: "alice", Friend: &b, From: &record.Stream{Cause: record.Cause{Slot: from}, N: n.Marks[from] + 1},
		}))
	}
	before := n.table()["alice"]
	for _, e := range []*Effect{
		stream(record.FriendAnswer, record.FriendBody{Friend: bob, OK: true}),
		stream(record.FriendAnswer, record.FriendBody{Friend: "carol", OK: false}),
		stream(record.FriendDropped, record.FriendBody{Friend: bob}), // nobody has alice as a friend
	} {
		if len(e.Changed)+len(e.Friends)+len(e.Outputs) != 0 {
			t.Errorf("effect %+v", e)
		}
	}
	if after := n.table()["alice"]; after != before {
		t.Errorf("changed from\n%s\nto\n%s", before, after)
	}
}

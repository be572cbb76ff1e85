package fold

import (
	"fmt"
	"slices"
	"testing"

	"maru"
	"maru/record"
)

// rules applies a record of rules in every slot.
func (w *world) rules(b record.RulesBody) {
	for i := range w.nodes {
		w.put(int32(i), record.MustEncode(record.Command{V: record.Version, Kind: record.Rules, Rules: &b}))
	}
}

func (w *world) ask(user, session string, b record.AskBody) record.Reply {
	w.t.Helper()
	c := w.command(record.Ask, user, session)
	c.Ask = &b
	return w.call(c)
}

func TestAskMeAndUsers(t *testing.T) {
	w := newWorld(t)
	w.register("alice", "bob", "e")
	s := w.login("alice")
	r := w.ask("alice", s, record.AskBody{What: record.AskMe})
	if got := decode[record.UserResult](t, r.Result); got.User.UserID != "alice" || got.Rev != w.user("alice").Rev {
		t.Errorf("me: %s", r.Result)
	}
	w.refused(w.ask("alice", "000000000000000000000000", record.AskBody{What: record.AskMe}), maru.CodeUnauthenticated)
	w.refused(w.ask("nobody", s, record.AskBody{What: record.AskMe}), maru.CodeUnauthenticated)
	w.refused(w.ask("alice", s, record.AskBody{What: "everything"}), maru.CodeInvalid)

	slot := maru.SlotOf("alice", slots)
	c := w.command(record.Ask, "", "")
	c.V, c.Ask = record.Version, &record.AskBody{What: record.AskUsers, Users: []string{"nobody", "alice", "UPPER", "", "bob"}}
	w.put(slot, record.MustEncode(c))
	got := decode[record.UsersResult](t, w.replies[c.ID][0].Result)
	want := []string{"alice"}
	if maru.SlotOf("bob", slots) == slot {
		want = append(want, "bob")
	}
	if names := userIDs(got.Users); !slices.Equal(names, want) || got.Users[0].Email != "" || got.Users[0].Admin {
		t.Errorf("users: %+v, want %v and nothing private", got.Users, want)
	}
}

func userIDs(users []record.User) (ids []string) {
	for _, u := range users {
		ids = append(ids, u.UserID)
	}
	return ids
}

func TestAskUsersIsBounded(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	b := &record.AskBody{What: record.AskUsers, Users: slices.Repeat([]string{"nobody"}, maxAskUsers)}
	b.Users = append(b.Users, "alice")
	c := w.command(record.Ask, "", "")
	c.V, c.Ask = record.Version, b
	w.put(maru.SlotOf("alice", slots), record.MustEncode(c))
	if got := decode[record.UsersResult](t, w.replies[c.ID][0].Result); len(got.Users) != 0 {
		t.Errorf("user number %d was answered", maxAskUsers+1)
	}
}

func TestAskFriendsPages(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	u := w.user("alice")
	for i := range 1200 {
		u.Friends = append(u.Friends, Friend{ID: fmt.Sprintf("f%04d", i), AddedAt: int64(i)})
	}
	s := w.login("alice")
	var all []string
	after, pages := "", 0
	for more := true; more; pages++ {
		r := decode[record.FriendsResult](t, w.ask("alice", s, record.AskBody{What: record.AskFriends, After: after, Limit: 9999}).Result)
		for _, f := range r.Friends {
			all = append(all, f.UserID)
		}
		more, after = r.More, all[len(all)-1]
	}
	if len(all) != 1200 || !slices.IsSorted(all) || pages != 3 {
		t.Errorf("%d friends in %d pages", len(all), pages)
	}
	for limit, want := range map[int]int{-1: 500, 0: 500, 1: 1, 500: 500, 501: 500} {
		r := w.ask("alice", s, record.AskBody{What: record.AskFriends, Limit: limit})
		if got := decode[record.FriendsResult](t, r.Result); len(got.Friends) != want || !got.More {
			t.Errorf("limit %d: %d friends, more %v", limit, len(got.Friends), got.More)
		}
		if len(r.Result) > record.MaxSize/2 {
			t.Errorf("a page of %d bytes", len(r.Result))
		}
	}
	r := decode[record.FriendsResult](t, w.ask("alice", s, record.AskBody{What: record.AskFriends, After: "zzz"}).Result)
	if r.Friends == nil || len(r.Friends) != 0 || r.More {
		t.Errorf("after the last: %+v", r)
	}
}

func TestWhereIsAnsweredBeside(t *testing.T) {
	w := newWorld(t)
	c := w.command(record.Where, "alice", "")
	if e := w.send(c); len(e.Jobs) != 1 || e.Jobs[0].Kind != AnswerWhere || len(e.Outputs) != 0 {
		t.Errorf("where: %+v", e)
	}
	c.V = record.Version
	if e := w.put((maru.SlotOf("alice", slots)+1)%slots, record.MustEncode(c)); !e.Skipped || len(e.Jobs) != 0 {
		t.Errorf("where in another slot: %+v", e)
	}
}

func TestOtherSlotsCommandsAndForgedBodies(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	s := w.login("alice")
	before := w.home("alice").table()
	skipped := map[string]record.Command{
		"unknown kind":    {Kind: "user.explode", User: "alice"},
		"no kind":         {User: "alice"},
		"no user":         {Kind: record.Update, Update: &record.UpdateBody{}},
		"capital user":    {Kind: record.Update, User: "Alice", Update: &record.UpdateBody{}},
		"other's body":    {Kind: record.Update, User: "alice", Session: s, Register: &record.RegisterBody{Password: hash("x")}},
		"friend no one":   {Kind: record.FriendAdd, User: "alice", Session: s, Friend: &record.FriendBody{Friend: "Bad Id"}},
		"answer, no from": {Kind: record.FriendAnswer, User: "alice", Friend: &record.FriendBody{Friend: "bob", OK: true}},
	}
	for k, h := range handlers {
		if k != record.Where {
			skipped["no body: "+string(k)] = record.Command{Kind: k, User: "alice", Session: s}
		}
		if h.user && !h.stream {
			skipped["of another slot: "+string(k)] = bodied(k, otherSlot("alice"), s)
		}
	}
	for name, c := range skipped {
		c.V, c.ID, c.Reply = record.Version, w.id(), &record.Address{Gateway: "g"}
		e := w.put(w.home("alice").Slot, record.MustEncode(c))
		if !e.Skipped || len(e.Outputs)+len(e.Jobs)+len(e.Changed) != 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if e := w.put(w.home("alice").Slot, []byte("garbage")); !e.Skipped {
		t.Errorf("garbage: %+v", e)
	}
	if keys := differing(before, w.home("alice").table()); len(keys) != 0 {
		t.Errorf("changed: %v", keys)
	}
}

// otherSlot returns a user id of another slot than id's.
func otherSlot(id string) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint("x", i); maru.SlotOf(other, slots) != maru.SlotOf(id, slots) {
			return other
		}
	}
}

// bodied is a command with every body that a kind could want.
func bodied(k record.Kind, user, session string) record.Command {
	return record.Command{
		Kind: k, User: user, Session: session,
		Register: &record.RegisterBody{Password: hash("x")}, Update: &record.UpdateBody{Name: new("x")},
		PasswordChange: &record.PasswordChangeBody{Password: hash("x")}, PasswordChecked: &record.PasswordCheckedBody{OK: true, Password: hash("x")},
		PasswordSet: &record.PasswordSetBody{Password: hash("x")}, AdminSet: &record.AdminSetBody{Admin: true},
		SessionEnd: &record.SessionEndBody{All: true}, Friend: &record.FriendBody{Friend: "bob", OK: true},
	}
}

func TestRepliesGoOnlyWhereSomebodyCanWait(t *testing.T) {
	w := newWorld(t)
	for _, a := range []*record.Address{nil, {Gateway: "g", Partition: -1}, {Gateway: "g", Partition: gateways}} {
		c := w.registration("alice", "pw")
		c.Reply = a
		if e := w.send(c); len(e.Outputs) != 0 {
			t.Errorf("reply to %+v: %+v", a, e.Outputs)
		}
	}
	if !w.user("alice").Registered {
		t.Error("a command that nobody waits for is done all the same")
	}
	c := w.registration("bob", "pw")
	c.ID = maru.CommandID{}
	if e := w.send(c); len(e.Outputs) != 0 || !w.user("bob").Registered || len(w.user("bob").Outcomes) != 0 {
		t.Errorf("a command without an id: %+v", e)
	}
}

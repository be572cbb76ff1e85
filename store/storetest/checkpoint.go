package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"maru"
	"maru/store"
)

func checkpointIsReadBack(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	c := claim(t, s, 0)
	alice, nobody := User("alice"), maru.UserRow{UserID: "nobody", Hash: maru.KeyHash("nobody"), ExpiresAt: 900, Clock: 8}
	friends := []maru.FriendRow{
		{UserID: "alice", FriendID: "bob", Alias: "밥", AddedAt: 11},
		{UserID: "alice", FriendID: "carol", AddedAt: 12},
	}
	write(t, s, &maru.Checkpoint{Slot: 0, Epoch: c.Epoch, Next: 10, LoginNext: -1, Users: []maru.UserRow{nobody, alice}, Friends: friends})

	alice.Friends = friends
	want := []maru.UserRow{alice, nobody}
	if got := load(t, s, c, "nobody", "alice", "absent", "alice"); !reflect.DeepEqual(got, want) {
		t.Errorf("loaded %+v\nwant   %+v", got, want)
	}
	got, found, err := s.User(t.Context(), "alice")
	if err != nil || !found || !reflect.DeepEqual(got, alice) {
		t.Errorf("User is %+v, %v, %v", got, found, err)
	}
	if _, found, err := s.User(t.Context(), "absent"); found || err != nil {
		t.Errorf("an absent user: %v, %v", found, err)
	}
	if got := load(t, open(t, dsn, nil), c, "alice"); !reflect.DeepEqual(got, want[:1]) {
		t.Errorf("another store loaded %+v", got)
	}
}

func checkpointCoalesces(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	c := claim(t, s, 0)
	cp := &maru.Checkpoint{Slot: 0, Epoch: c.Epoch, LoginNext: -1}
	var last maru.UserRow
	for i := range int64(5) {
		u := maru.UserRow{UserID: "alice", Hash: maru.KeyHash("alice"), Rev: i, UserName: fmt.Sprint("name ", i)}
		switch i {
		case 1:
			u = User("alice") // every column changes …
		case 2:
			cp.LoginNext = 30
		case 3:
			cp.LoginNext = -1 // … and back; an unknown login position keeps the known one
		}
		cp.Next, cp.Users = 100+i, []maru.UserRow{u}
		cp.Friends = []maru.FriendRow{{UserID: "alice", FriendID: "bob", Alias: fmt.Sprint("alias ", i), AddedAt: i}}
		write(t, s, cp)
		last = u
		last.Friends = cp.Friends
		if got := load(t, s, c, "alice"); !reflect.DeepEqual(got, []maru.UserRow{last}) {
			t.Fatalf("after %d loaded %+v\nwant %+v", i, got, last)
		}
	}
	if got := slotRow(t, s, 0); got.Next != 104 || got.LoginNext != 30 {
		t.Errorf("slot is %+v, want next 104, login next 30", got)
	}
	write(t, s, cp) // the same again, as after a definite failure
}

func checkpointDeletesFriends(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	c := claim(t, s, 0)
	row := func(u, f string) maru.FriendRow { return maru.FriendRow{UserID: u, FriendID: f} }
	write(t, s, &maru.Checkpoint{Slot: 0, Epoch: c.Epoch, Next: 1, Users: []maru.UserRow{User("a"), User("b")},
		Friends: []maru.FriendRow{row("a", "b"), row("a", "c"), row("b", "a"), row("b", "c")}})
	write(t, s, &maru.Checkpoint{Slot: 0, Epoch: c.Epoch, Next: 2,
		Unfriended: []maru.FriendKey{{UserID: "a", FriendID: "c"}, {UserID: "b", FriendID: "a"}, {UserID: "b", FriendID: "never"}}})
	got := load(t, s, c, "a", "b")
	if !reflect.DeepEqual(got[0].Friends, []maru.FriendRow{row("a", "b")}) || !reflect.DeepEqual(got[1].Friends, []maru.FriendRow{row("b", "c")}) {
		t.Errorf("friends are %v and %v, want a-b and b-c", got[0].Friends, got[1].Friends)
	}
}

func checkpointExpires(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	const p = 4
	slot := maru.SlotOf("ghost", p)
	c := claim(t, s, slot)
	row := func(id string, registered bool, expires int64) maru.UserRow {
		return maru.UserRow{UserID: id, Hash: maru.KeyHash(id), Registered: registered, ExpiresAt: expires}
	}
	other := ""
	for i := 0; other == ""; i++ {
		if id := fmt.Sprint("other", i); maru.SlotOf(id, p) != slot {
			other = id
		}
	}
	var late string
	for i := 0; late == ""; i++ {
		if id := fmt.Sprint("late", i); maru.SlotOf(id, p) == slot {
			late = id
		}
	}
	var user string
	for i := 0; user == ""; i++ {
		if id := fmt.Sprint("user", i); maru.SlotOf(id, p) == slot {
			user = id
		}
	}
	write(t, s, &maru.Checkpoint{Slot: slot, Epoch: c.Epoch, Next: 1, Users: []maru.UserRow{
		row("ghost", false, 100), row(late, false, 101), row(user, true, 50), row(other, false, 100)}})
	write(t, s, &maru.Checkpoint{Slot: slot, Epoch: c.Epoch, Next: 2, Expired: 100, Partitions: p})

	var left []string
	for _, u := range load(t, s, c, "ghost", late, user, other) {
		left = append(left, u.UserID)
	}
	if want := []string{late, other, user}; !reflect.DeepEqual(left, want) {
		t.Errorf("left are %v, want %v: the one expired, the registered and another slot's stay", left, want)
	}
	wantErr(t, s.Checkpoint(t.Context(), &maru.Checkpoint{Slot: slot, Epoch: c.Epoch, Next: 3, Expired: 100}), store.ErrRefused)
}

func checkpointFenced(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	old := claim(t, s, 0)
	mine := claim(t, s, 0)
	write(t, s, &maru.Checkpoint{Slot: 0, Epoch: mine.Epoch, Next: 5, Users: []maru.UserRow{User("alice")}})

	zombie := User("alice")
	zombie.UserName = "from the past"
	for _, epoch := range []int64{old.Epoch, mine.Epoch + 1, 0} {
		err := s.Checkpoint(t.Context(), &maru.Checkpoint{Slot: 0, Epoch: epoch, Next: 9, Users: []maru.UserRow{zombie},
			Friends: []maru.FriendRow{{UserID: "alice", FriendID: "x"}}})
		wantErr(t, err, maru.ErrFenced)
	}
	wantErr(t, s.Checkpoint(t.Context(), &maru.Checkpoint{Slot: 7, Epoch: 1, Next: 9}), maru.ErrFenced) // never claimed
	if got := load(t, s, mine, "alice"); !reflect.DeepEqual(got, []maru.UserRow{User("alice")}) {
		t.Errorf("the zombie wrote: %+v", got)
	}
	if got := slotRow(t, s, 0); got.Next != 5 {
		t.Errorf("next is %d, want 5", got.Next)
	}
}

// A checkpoint that reaches the database after a claim is fenced, though it was
// on its way before.
func checkpointFencedWhileWaiting(t *testing.T, dsn string) {
	other := open(t, dsn, nil)
	s := open(t, dsn, func(_ context.Context, point string) error {
		if point == store.PointCheckpointBegin {
			claim(t, other, 0)
		}
		return nil
	})
	c := claim(t, other, 0)
	wantErr(t, s.Checkpoint(t.Context(), &maru.Checkpoint{Slot: 0, Epoch: c.Epoch, Next: 1}), maru.ErrFenced)
}

func checkpointNeverGoesBack(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	c := claim(t, s, 0)
	write(t, s, &maru.Checkpoint{Slot: 0, Epoch: c.Epoch, Next: 8, Users: []maru.UserRow{User("alice")}})
	older := User("alice")
	older.Rev = 1
	err := s.Checkpoint(t.Context(), &maru.Checkpoint{Slot: 0, Epoch: c.Epoch, Next: 7, Users: []maru.UserRow{older}})
	wantErr(t, err, store.ErrBackwards)
	if errors.Is(err, maru.ErrFenced) {
		t.Error("it is also a fence")
	}
	if got := load(t, s, c, "alice"); got[0].Rev != 5 {
		t.Errorf("rev is %d, want 5", got[0].Rev)
	}
}

// A checkpoint that fails before COMMIT leaves nothing, and the same one may be
// written again; it holds neither the connection nor a lock meanwhile.
func checkpointAllOrNothing(t *testing.T, dsn string) {
	refuse := true
	broken := errors.New("connection lost")
	s := open(t, dsn, func(_ context.Context, point string) error {
		if refuse && point == store.PointCheckpointCommit {
			return broken
		}
		return nil
	})
	c := claim(t, s, 0)
	cp := &maru.Checkpoint{Slot: 0, Epoch: c.Epoch, Next: 4, Users: []maru.UserRow{User("alice")}, Friends: []maru.FriendRow{{UserID: "alice", FriendID: "bob"}}}
	err := s.Checkpoint(t.Context(), cp)
	definite(t, err)
	wantErr(t, err, broken)
	if got := load(t, open(t, dsn, nil), c, "alice"); len(got) != 0 {
		t.Fatalf("left behind: %+v", got)
	}
	if got := slotRow(t, s, 0); got.Next != 0 {
		t.Fatalf("next is %d, want 0", got.Next)
	}
	refuse = false
	write(t, s, cp)
	if got := load(t, s, c, "alice"); len(got) != 1 || len(got[0].Friends) != 1 {
		t.Errorf("after the repetition: %+v", got)
	}
}

// The applied but unanswered COMMIT: the caller learns that it does not know, and
// a claim anew finds what was written.
func checkpointOutcomeUnknown(t *testing.T, dsn string) {
	s := open(t, dsn, func(_ context.Context, point string) error {
		if point == store.PointCheckpointCommitted || point == store.PointRebaseCommitted {
			return errors.New("connection lost")
		}
		return nil
	})
	c := claim(t, s, 0)
	wantErr(t, s.Checkpoint(t.Context(), &maru.Checkpoint{Slot: 0, Epoch: c.Epoch, Next: 6, Users: []maru.UserRow{User("alice")}}), maru.ErrOutcomeUnknown)
	again := claim(t, s, 0)
	if again.Next != 6 || len(load(t, s, again, "alice")) != 1 {
		t.Errorf("claim is %+v, want next 6 and the user", again)
	}
	wantErr(t, s.Rebase(t.Context(), []store.Place{{Slot: 0, Epoch: again.Epoch, Next: 1, LoginNext: 1}}), maru.ErrOutcomeUnknown)
}

// A context that ends before COMMIT is sent leaves nothing in doubt.
func checkpointCancelledIsDefinite(t *testing.T, dsn string) {
	ctx, cancel := context.WithCancel(t.Context())
	s := open(t, dsn, func(_ context.Context, point string) error {
		if point == store.PointCheckpointCommit {
			cancel()
		}
		return nil
	})
	c := claim(t, s, 0)
	cp := &maru.Checkpoint{Slot: 0, Epoch: c.Epoch, Next: 6, Users: []maru.UserRow{User("alice")}}
	err := s.Checkpoint(ctx, cp)
	definite(t, err)
	wantErr(t, err, context.Canceled)
	definite(t, s.Checkpoint(ctx, cp)) // nor one that had ended before
	if got := slotRow(t, s, 0); got.Next != 0 {
		t.Errorf("next is %d, want 0", got.Next)
	}
	write(t, s, cp) // the connection is usable, or was replaced
}

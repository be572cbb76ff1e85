package storetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"maru"
	"maru/store"
)

func loadChecksEpoch(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	old := claim(t, s, 0)
	write(t, s, &maru.Checkpoint{Epoch: old.Epoch, Next: 1, Users: []maru.UserRow{User("alice")}})
	mine := claim(t, s, 0)
	for _, c := range []maru.Claim{old, {Slot: 0, Epoch: mine.Epoch + 1}, {Slot: 5, Epoch: 1}} {
		for _, ids := range [][]string{{"alice"}, {"absent"}, nil} {
			users, err := s.LoadUsers(t.Context(), c.Slot, c.Epoch, ids)
			if wantErr(t, err, maru.ErrFenced); users != nil {
				t.Errorf("fenced, yet it returned %v", users)
			}
		}
	}
	if got := load(t, s, mine); len(got) != 0 {
		t.Errorf("no ids asked, got %v", got)
	}
}

// A claim by another between the reads and the check must be seen, although the
// rows read are from before it.
func loadChecksEpochLast(t *testing.T, dsn string) {
	other := open(t, dsn, nil)
	met := 0
	s := open(t, dsn, func(_ context.Context, point string) error {
		if point == store.PointLoadCheck {
			met++
			next := claim(t, other, 0)
			u := User("alice")
			u.Rev = 77
			write(t, other, &maru.Checkpoint{Epoch: next.Epoch, Next: 2, Users: []maru.UserRow{u}})
		}
		return nil
	})
	c := claim(t, other, 0)
	write(t, other, &maru.Checkpoint{Epoch: c.Epoch, Next: 1, Users: []maru.UserRow{User("alice")}})
	users, err := s.LoadUsers(t.Context(), 0, c.Epoch, []string{"alice"})
	wantErr(t, err, maru.ErrFenced)
	if users != nil || met != 1 {
		t.Errorf("returned %v, hook met %d times", users, met)
	}
}

// The rows of users and of friends belong to one moment, and a load waits for no writer.
func loadSeesOneMoment(t *testing.T, dsn string) {
	reader := open(t, dsn, nil)
	s := open(t, dsn, func(_ context.Context, point string) error {
		if point != store.PointCheckpointCommit {
			return nil
		}
		rows, err := reader.Users(t.Context(), "", 10)
		if err != nil || len(rows) != 0 {
			t.Errorf("during a checkpoint: %v, %v; want nothing, at once", rows, err)
		}
		return nil
	})
	c := claim(t, s, 0)
	write(t, s, &maru.Checkpoint{Epoch: c.Epoch, Next: 1, Users: []maru.UserRow{User("alice")}, Friends: []maru.FriendRow{{UserID: "alice", FriendID: "bob"}}})
	if rows, err := reader.Users(t.Context(), "", 10); err != nil || len(rows) != 1 || len(rows[0].Friends) != 1 {
		t.Errorf("after it: %v, %v", rows, err)
	}
}

func loadHonoursContext(t *testing.T, dsn string) {
	ctx, cancel := context.WithCancel(t.Context())
	s := open(t, dsn, func(_ context.Context, point string) error {
		if point == store.PointLoadCheck {
			cancel()
		}
		return nil
	})
	c := claim(t, s, 0)
	for range 2 { // cancelled half-way, then before
		users, err := s.LoadUsers(ctx, 0, c.Epoch, []string{"alice"})
		definite(t, err)
		if !errors.Is(err, context.Canceled) || users != nil {
			t.Errorf("returned %v, %v", users, err)
		}
	}
	load(t, s, c, "alice")
}

func usersInOrder(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	c := claim(t, s, 0)
	// In byte order, which a collation of a language would not give.
	ids := []string{"0", "9", "a", "a-b", "a.b", "a_b", "aa", "ab", "b", "z", "z0"}
	var cp maru.Checkpoint
	for i, id := range ids {
		u := User(id)
		u.Registered = i%2 == 0
		cp.Users = append(cp.Users, u)
		cp.Friends = append(cp.Friends, maru.FriendRow{UserID: id, FriendID: "z"}, maru.FriendRow{UserID: id, FriendID: "a"})
	}
	slices.Reverse(cp.Users)
	cp.Epoch, cp.Next = c.Epoch, 1
	write(t, s, &cp)
	for _, limit := range []int{1, 3, 11, 100} {
		var got []string
		for after := ""; len(got) <= len(ids); {
			page, err := s.Users(t.Context(), after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("a page of %d: %d rows, %v", limit, len(page), err)
			}
			if len(page) == 0 {
				break
			}
			for _, u := range page {
				got = append(got, u.UserID)
				if len(u.Friends) != 2 || u.Friends[0].FriendID != "a" {
					t.Errorf("friends of %s are %v", u.UserID, u.Friends)
				}
			}
			after = got[len(got)-1]
		}
		if !reflect.DeepEqual(got, ids) {
			t.Errorf("pages of %d give %v, want %v", limit, got, ids)
		}
	}
	if page, err := s.Users(t.Context(), "", -1); err != nil || len(page) != 0 {
		t.Errorf("a negative limit gives %v, %v", page, err)
	}
}

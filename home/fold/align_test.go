package fold

import (
	"encoding/json"
	"fmt"
	"testing"

	"maru/record"
)

// Commands between slots that a log has lost, and numbers that a source gives a
// second time, must neither jam a stream nor be taken for one another.
func TestAlign(t *testing.T) {
	w := newWorld(t)
	var users []string
	for i := 0; len(users) < 2*slots; i++ { // two of each slot
		if id := fmt.Sprintf("u%d", i); w.home(id).Slot == int32(len(users)%slots) {
			users = append(users, id)
		}
	}
	w.register(users...)
	sessions := map[string]string{}
	for _, u := range users {
		var b record.LoginResultBody
		if err := json.Unmarshal(w.call(w.attempt(u, "pw")).Result, &b); err != nil {
			t.Fatal(err)
		}
		sessions[u] = b.Session
	}
	add := func(u, friend string) record.Command {
		c := w.command(record.FriendAdd, u, sessions[u])
		c.Friend = &record.FriendBody{Friend: friend}
		w.send(c)
		return c
	}
	for _, u := range users {
		add(u, users[0])
	}
	w.transit = nil // the logs lose what is under way
	source, target := w.home(users[1]), w.home(users[0])
	target.Marks[source.Slot] += 3 // and the source's lost what it had sent since
	late := target.Marks[source.Slot] + 1

	states := make([]*State, slots)
	for i, n := range w.nodes {
		states[i] = n.State
	}
	if err := Align(states); err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		for _, u := range s.Users {
			var pending bool
			state, pending, err := DropPending(s.Row(u).State)
			if err != nil {
				t.Fatal(err)
			}
			if pending != (len(u.Pending) > 0) {
				t.Errorf("%s has %d pending, told %v", u.ID, len(u.Pending), pending)
			}
			row := s.Row(u)
			row.State = state
			if err := s.Restore(row); err != nil {
				t.Fatal(err)
			}
		}
	}
	for slot, s := range states {
		for from, other := range states {
			if s.Marks[from] != other.Out[slot] {
				t.Errorf("slot %d waits for %d after %d, which has given %d", slot, s.Marks[from], from, other.Out[slot])
			}
		}
	}
	e := target.Apply(Input{Offset: 1 << 20, Time: w.now, Command: &record.Command{
		V: record.Version, Kind: record.FriendAdded, User: users[0], Friend: &record.FriendBody{Friend: users[1]},
		From: &record.Stream{Cause: record.Cause{Slot: source.Slot}, N: late},
	}})
	if !e.Duplicate {
		t.Errorf("a command of before: %+v, want it dropped", e)
	}
	for _, u := range users {
		for _, friend := range users {
			if u == friend {
				continue
			}
			c := add(u, friend)
			w.flow()
			if r := w.replies[c.ID]; len(r) != 1 || r[0].Code != "" {
				t.Errorf("%s adds %s: %+v", u, friend, r)
			}
		}
	}
	for _, u := range users {
		if n := w.user(u).AddedBy; n != int64(len(users)-1) {
			t.Errorf("%s is a friend of %d, want %d", u, n, len(users)-1)
		}
	}
}

func TestAlignRefusesOtherThanAll(t *testing.T) {
	for _, states := range [][]*State{{New(0, 2, 1)}, {New(1, 2, 1), New(0, 2, 1)}} {
		if Align(states) == nil {
			t.Errorf("%d states of 2 slots are aligned", len(states))
		}
	}
}

func TestDropPendingOfNothing(t *testing.T) {
	if b, had, err := DropPending(nil); b != nil || had || err != nil {
		t.Errorf("an empty state: %q, %v, %v", b, had, err)
	}
	if _, _, err := DropPending([]byte("{")); err == nil {
		t.Error("a damaged state is no error")
	}
}

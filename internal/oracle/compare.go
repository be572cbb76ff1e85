package oracle

import (
	"bytes"
	"reflect"

	"maru"
	"maru/home/fold"
	"maru/record"
)

func (v *View) checkSlots(f *findings, slots map[int32]*folded) {
	for _, r := range v.Slots {
		if o := slots[r.Slot]; r.Next != o.next {
			f.add("slot %d: SQL is at %d, the log at %d", r.Slot, r.Next, o.next)
		}
	}
	if len(v.Slots) != int(v.Partitions) {
		f.add("%d slots in SQL, want %d", len(v.Slots), v.Partitions)
	}
}

// checkRows compares every row of a user with the oracle.
func (v *View) checkRows(f *findings, slots map[int32]*folded) {
	stored := map[string]maru.UserRow{}
	for _, u := range v.Users {
		if _, twice := stored[u.UserID]; twice {
			f.add("%s: in SQL twice", u.UserID)
		}
		stored[u.UserID] = u
	}
	known := map[string]bool{}
	for _, o := range slots {
		for id, u := range o.state.Users {
			want := o.state.Row(u)
			if !want.Registered && want.ExpiresAt <= o.state.Purged {
				continue // means nothing, stored or not
			}
			known[id] = true
			for _, fr := range u.Friends {
				row, _ := o.state.FriendRow(maru.FriendKey{UserID: id, FriendID: fr.ID})
				want.Friends = append(want.Friends, row)
			}
			got, ok := stored[id]
			if !ok {
				f.add("%s: not in SQL, by the log %+v", id, want)
				continue
			}
			if len(got.Friends) == 0 {
				got.Friends = nil
			}
			if !reflect.DeepEqual(got, want) {
				f.add("%s: SQL has\n  %+v state %s\nby the log it is\n  %+v state %s", id, got, got.State, want, want.State)
			}
		}
	}
	for id, u := range stored {
		if o := slots[maru.SlotOf(id, v.Partitions)]; !known[id] && (u.Registered || u.ExpiresAt > o.state.Purged) {
			f.add("%s: in SQL, not by the log: %+v", id, u)
		}
	}
}

// checkOutputs: every output of the oracle is on its topic, and nothing on the
// topics has a content that the oracle's output of the same cause has not.
func (v *View) checkOutputs(f *findings, slots map[int32]*folded) {
	seen := map[record.Cause]bool{}
	meet := func(topic string, r maru.LogRecord, from *record.Cause) {
		if from == nil || slots[from.Slot] == nil {
			return // not brought about by a record
		}
		want, ok := slots[from.Slot].outputs[*from]
		if !ok {
			f.add("%s: output of %+v, which has none: %s", topic, *from, r.Value)
			return
		}
		seen[*from] = true
		if want.Partition != r.Partition || !bytes.Equal(want.Value, r.Value) {
			f.add("%s: two contents of the output of %+v:\n  %s\n  %s", topic, *from, r.Value, want.Value)
		}
	}
	for _, recs := range v.Commands {
		for _, r := range recs {
			if cmd, err := record.ParseCommand(r.Value); err == nil && cmd.From != nil {
				meet("commands", r, &cmd.From.Cause)
			}
		}
	}
	for _, recs := range v.Delivery {
		for _, r := range recs {
			if d, err := record.ParseDelivery(r.Value); err == nil {
				meet("delivery", r, d.From)
			} else {
				f.add("delivery: %v", err)
			}
		}
	}
	for _, o := range slots {
		for cause, out := range o.outputs {
			if !seen[cause] && !(out.Topic == fold.ToDelivery && v.Trimmed[out.Partition]) {
				f.add("never published: %+v %s", cause, out.Value)
			}
		}
	}
}

// checkAnswers does the same for login-response, whose records name no cause.
func (v *View) checkAnswers(f *findings, slots map[int32]*folded) {
	got := map[string]bool{}
	for _, recs := range v.LoginResponse {
		for _, r := range recs {
			got[answerKey(r.Key, string(r.Header(record.HeaderID)), r.Value)] = true
		}
	}
	for _, o := range slots {
		for a := range o.answers {
			if !got[a] {
				f.add("login-response: never published: %s", a)
			}
			delete(got, a)
		}
	}
	for a := range got {
		f.add("login-response: not by the log: %s", a)
	}
}

// checkStreams: every command that a slot emitted to another was accepted there.
func checkStreams(f *findings, slots map[int32]*folded) {
	for from, a := range slots {
		for to, b := range slots {
			if sent, accepted := a.state.Out[to], b.state.Marks[from]; sent != accepted {
				f.add("stream %d to %d: %d sent, %d accepted", from, to, sent, accepted)
			}
		}
	}
}

// checkLogins: every request on login-request was answered or forwarded.
func (v *View) checkLogins(f *findings) {
	type place struct {
		slot   int32
		offset int64
	}
	done, ids := map[place]bool{}, map[string]bool{}
	for n, recs := range v.Commands {
		for _, r := range recs {
			if cmd, err := record.ParseCommand(r.Value); err == nil && cmd.LoginChecked != nil {
				done[place{n, cmd.LoginChecked.Offset}] = true
				ids[cmd.LoginChecked.Echo] = true
			}
		}
	}
	for n, recs := range v.LoginRequest {
		for _, r := range recs {
			misplaced := maru.SlotOf(string(r.Key), v.Partitions) != n
			if !done[place{n, r.Offset}] && !ids[string(r.Header(record.HeaderID))] && !misplaced {
				f.add("login-request %d offset %d was never answered: %s", n, r.Offset, r.Value)
			}
		}
	}
}

// checkFriends counts by brute force how many have each user as a friend.
func (v *View) checkFriends(f *findings) {
	addedBy := map[string]int64{}
	for _, u := range v.Users {
		for _, fr := range u.Friends {
			addedBy[fr.FriendID]++
		}
	}
	for _, u := range v.Users {
		if u.AddedBy != addedBy[u.UserID] {
			f.add("%s: addedBy is %d, %d users have this friend", u.UserID, u.AddedBy, addedBy[u.UserID])
		}
	}
}

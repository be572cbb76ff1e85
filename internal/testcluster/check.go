package testcluster

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"time"

	"maru"
	"maru/home/fold"
	"maru/record"
)

// Check waits until the cluster is quiet and compares everything with everything:
// the rows of SQL with an oracle that folds the whole log from its first record;
// what is on the topics with the oracle's outputs; the streams between slots; and
// what clients were told with what is stored. It returns what it found, so that a
// test of the checker itself can want findings.
func (c *Cluster) Check() []string {
	c.T.Helper()
	f := &findings{}
	c.mu.Lock()
	f.list = append(f.list, c.told...)
	c.mu.Unlock()
	if !c.quiesce(f) {
		return f.list
	}
	slots := c.oracle(f)
	c.checkSlots(f, slots)
	users := c.checkRows(f, slots)
	c.checkOutputs(f, slots)
	c.checkStreams(f, slots)
	c.checkPeople(f, users)
	c.checkLogins(f)
	return f.list
}

// MustHold is Check as a test wants it: nothing found.
func (c *Cluster) MustHold() {
	c.T.Helper()
	for _, s := range c.Check() {
		c.T.Error(s)
	}
}

// findings are bounded: one broken step breaks everything.
type findings struct {
	list []string
	more int
}

func (f *findings) add(format string, args ...any) {
	if len(f.list) < 20 {
		f.list = append(f.list, fmt.Sprintf(format, args...))
	} else {
		f.more++
	}
}

// quiesce waits until every record of commands is in a checkpoint.
func (c *Cluster) quiesce(f *findings) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var behind string
	for still := 0; ctx.Err() == nil; time.Sleep(300 * time.Millisecond) {
		behind = ""
		rows, err := c.sql.Slots(ctx)
		if err != nil {
			continue
		}
		next := map[int32]int64{}
		for _, r := range rows {
			next[r.Slot] = r.Next
		}
		for p, recs := range c.topic("commands") {
			if n := int64(len(recs)); next[p] != n {
				behind = fmt.Sprintf("slot %d: checkpoint at %d, log ends at %d", p, next[p], n)
			}
		}
		if behind != "" {
			still = 0
		} else if still++; still == 3 {
			return true
		}
	}
	f.add("not quiet after 2 minutes without faults: %s", behind)
	return false
}

// folded is a slot as its whole log makes it.
type folded struct {
	state   *fold.State
	next    int64
	outputs map[record.Cause]fold.Output
	answers map[string]int // of login-response: key, id and value
}

// oracle folds every slot from its first record, everything resident.
func (c *Cluster) oracle(f *findings) map[int32]*folded {
	slots := map[int32]*folded{}
	logs := c.topic("commands")
	for n := range c.layout.partitions {
		o := &folded{state: fold.New(n, c.layout.partitions, c.layout.delivery), outputs: map[record.Cause]fold.Output{}, answers: map[string]int{}}
		slots[n] = o
		for _, r := range logs[n] {
			if r.Offset != o.next {
				f.add("slot %d: offset %d after %d", n, r.Offset, o.next)
			}
			cmd, err := record.ParseCommand(r.Value)
			if err != nil {
				f.add("slot %d offset %d: %v", n, r.Offset, err)
			} else {
				o.state.Needs(cmd, func(id string) {
					if o.state.Users[id] == nil {
						o.state.RestoreAbsent(id)
					}
				})
			}
			e := o.state.Apply(fold.Input{Offset: r.Offset, Time: r.Time, Command: cmd})
			for i, out := range e.Outputs {
				if out.Topic == fold.ToLoginResponse {
					o.answers[answerKey([]byte(out.Key), out.ID, out.Value)]++
				} else {
					o.outputs[record.Cause{Slot: n, Offset: r.Offset, Index: i}] = out
				}
			}
			o.next = r.Offset + 1
		}
	}
	return slots
}

func answerKey(key []byte, id string, value []byte) string {
	return fmt.Sprintf("%s|%s|%s", key, id, value)
}

func (c *Cluster) checkSlots(f *findings, slots map[int32]*folded) {
	rows, err := c.sql.Slots(context.Background())
	if err != nil {
		f.add("slots: %v", err)
	}
	for _, r := range rows {
		o := slots[r.Slot]
		if r.Next != o.next {
			f.add("slot %d: SQL is at %d, the log at %d", r.Slot, r.Next, o.next)
		}
	}
}

// checkRows compares every row with the oracle and returns the stored users.
func (c *Cluster) checkRows(f *findings, slots map[int32]*folded) map[string]maru.UserRow {
	stored := map[string]maru.UserRow{}
	for after := ""; ; {
		page, err := c.sql.Users(context.Background(), after, 200)
		if err != nil {
			f.add("users: %v", err)
			return stored
		}
		for _, u := range page {
			stored[u.UserID] = u
			after = u.UserID
		}
		if len(page) < 200 {
			break
		}
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
		if o := slots[maru.SlotOf(id, c.layout.partitions)]; !known[id] && (u.Registered || u.ExpiresAt > o.state.Purged) {
			f.add("%s: in SQL, not by the log: %+v", id, u)
		}
	}
	return stored
}

// checkOutputs: every output of the oracle is on its topic, and nothing on the
// topics has a content that the oracle's output of the same cause has not.
func (c *Cluster) checkOutputs(f *findings, slots map[int32]*folded) {
	seen := map[record.Cause]int{}
	meet := func(topic string, r maru.LogRecord, from *record.Cause) {
		if from == nil {
			return // not brought about by a record
		}
		want, ok := slots[from.Slot].outputs[*from]
		if !ok {
			f.add("%s: output of %+v, which has none: %s", topic, *from, r.Value)
			return
		}
		seen[*from]++
		if want.Partition != r.Partition || !bytes.Equal(want.Value, r.Value) {
			f.add("%s: two contents of the output of %+v:\n  %s\n  %s", topic, *from, r.Value, want.Value)
		}
	}
	for _, recs := range c.topic("commands") {
		for _, r := range recs {
			if cmd, err := record.ParseCommand(r.Value); err == nil && cmd.From != nil {
				meet("commands", r, &cmd.From.Cause)
			}
		}
	}
	for _, recs := range c.topic("delivery") {
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
			if seen[cause] == 0 {
				f.add("never published: %+v %s", cause, out.Value)
			}
		}
	}
	c.checkAnswers(f, slots)
}

// checkAnswers does the same for login-response, whose records name no cause.
func (c *Cluster) checkAnswers(f *findings, slots map[int32]*folded) {
	got := map[string]int{}
	for _, recs := range c.topic("login-response") {
		for _, r := range recs {
			got[answerKey(r.Key, string(r.Header(record.HeaderID)), r.Value)]++
		}
	}
	for _, o := range slots {
		for a := range o.answers {
			if got[a] == 0 {
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
func (c *Cluster) checkStreams(f *findings, slots map[int32]*folded) {
	for from, a := range slots {
		for to, b := range slots {
			if sent, accepted := a.state.Out[to], b.state.Marks[from]; sent != accepted {
				f.add("stream %d to %d: %d sent, %d accepted", from, to, sent, accepted)
			}
		}
	}
}

// checkLogins: every request on login-request was answered or forwarded.
func (c *Cluster) checkLogins(f *findings) {
	type place struct {
		slot   int32
		offset int64
	}
	done, ids := map[place]bool{}, map[string]bool{}
	for n, recs := range c.topic("commands") {
		for _, r := range recs {
			if cmd, err := record.ParseCommand(r.Value); err == nil && cmd.LoginChecked != nil {
				done[place{n, cmd.LoginChecked.Offset}] = true
				ids[cmd.LoginChecked.Echo] = true
			}
		}
	}
	for n, recs := range c.topic("login-request") {
		for _, r := range recs {
			misplaced := maru.SlotOf(string(r.Key), c.layout.partitions) != n
			if !done[place{n, r.Offset}] && !ids[string(r.Header(record.HeaderID))] && !misplaced {
				f.add("login-request %d offset %d was never answered: %s", n, r.Offset, r.Value)
			}
		}
	}
}

// checkPeople compares what clients were told with what is stored, and counts by
// brute force how many have each user as a friend.
func (c *Cluster) checkPeople(f *findings, stored map[string]maru.UserRow) {
	addedBy := map[string]int64{}
	for _, u := range stored {
		for _, fr := range u.Friends {
			addedBy[fr.FriendID]++
		}
	}
	for id, u := range stored {
		if u.AddedBy != addedBy[id] {
			f.add("%s: addedBy is %d, %d users have this friend", id, u.AddedBy, addedBy[id])
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.people {
		u := stored[p.ID]
		if u.Registered != p.registered || u.UserStatus != p.status || len(u.Friends) != len(p.friends) {
			f.add("%s: told registered=%v status=%q friends=%v, stored %v %q %v", p.ID, p.registered, p.status, p.friends, u.Registered, u.UserStatus, u.Friends)
			continue
		}
		for _, fr := range u.Friends {
			if alias, ok := p.friends[fr.FriendID]; !ok || alias != fr.Alias {
				f.add("%s: stored friend %q with alias %q, told %v", p.ID, fr.FriendID, fr.Alias, p.friends)
			}
		}
	}
}

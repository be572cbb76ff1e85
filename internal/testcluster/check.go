package testcluster

import (
	"context"
	"fmt"
	"time"

	"maru"
	"maru/internal/oracle"
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
	view := c.view(f)
	f.list = append(f.list, view.Check()...)
	c.checkPeople(f, view.Users)
	c.checkReady(f)
	return f.list
}

// checkReady: within half a minute the slots that homes hold are all the slots there
// are, each is live, and no home keeps what it no longer owns.
func (c *Cluster) checkReady(f *findings) {
	var wrong string
	for range 60 {
		if wrong = c.notReady(); wrong == "" {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	f.add("%s", wrong)
}

func (c *Cluster) notReady() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := 0
	for _, p := range c.processes {
		held, live := p.node.Slots()
		if held != live {
			return fmt.Sprintf("%s holds %d slots, and %d of them are live", p.Name, held, live)
		}
		total += held
	}
	if total != int(c.layout.partitions) {
		return fmt.Sprintf("%d slots are held, there are %d", total, c.layout.partitions)
	}
	return ""
}

// view takes what the cluster has written down.
func (c *Cluster) view(f *findings) *oracle.View {
	v := &oracle.View{
		Partitions: c.layout.partitions, Shards: c.layout.delivery,
		Commands: c.topic("commands"), Delivery: c.topic("delivery"),
		LoginRequest: c.topic("login-request"), LoginResponse: c.topic("login-response"),
	}
	var err error
	if v.Slots, err = c.sql.Slots(context.Background()); err != nil {
		f.add("slots: %v", err)
	}
	for after := ""; ; {
		page, err := c.sql.Users(context.Background(), after, 200)
		if err != nil {
			f.add("users: %v", err)
		}
		v.Users = append(v.Users, page...)
		if len(page) < 200 {
			return v
		}
		after = page[len(page)-1].UserID
	}
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

// checkPeople compares what clients were told with what is stored.
func (c *Cluster) checkPeople(f *findings, rows []maru.UserRow) {
	stored := map[string]maru.UserRow{}
	for _, u := range rows {
		stored[u.UserID] = u
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

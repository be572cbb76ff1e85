package home

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"maru"
	"maru/home/fold"
	"maru/internal/faultswitch"
)

// dirtySet is what has changed since the last cut, and what the checkpoint being
// written holds: neither may be evicted, since SQL does not have it yet. It is
// owned by the slot's goroutine.
type dirtySet struct {
	users   map[string]bool
	friends map[maru.FriendKey]bool
	frozen  map[string]bool
	purged  int64 // fold.State.Purged of the last checkpoint
}

func (d *dirtySet) add(e *fold.Effect) {
	for _, id := range e.Changed {
		if d.users == nil {
			d.users = map[string]bool{}
		}
		d.users[id] = true
	}
	for _, k := range e.Friends {
		if d.friends == nil {
			d.friends = map[maru.FriendKey]bool{}
		}
		d.friends[k] = true
	}
}

func (d *dirtySet) has(id string) bool { return d.users[id] || d.frozen[id] }

// arm starts the clock of the next checkpoint if there is something to write.
func (s *slot) arm() {
	if !s.armed && !s.writing && (s.next > s.saved || s.logins.moved()) {
		s.timer.Reset(s.cfg.CheckpointEvery)
		s.armed = true
	}
}

// cut takes what is dirty, exactly as of next, and has it written by another
// goroutine once every output up to there is acknowledged. Applying goes on.
func (s *slot) cut() {
	if s.writing || s.ctx.Err() != nil || s.next == s.saved && !s.logins.moved() {
		return
	}
	c, g := s.snapshot(), s.acks
	s.acks, s.writing = newAckGroup(), true
	g.seal()
	if s.cfg.Off.Off(faultswitch.StateWithOffset) {
		c.Next, s.lastCut = s.lastCut, c.Next // the switch: newest state under the offset of the cut before
	}
	s.wg.Go(func() {
		start := time.Now()
		err := s.write(c, g)
		s.cfg.Metrics.checkpoint.Observe(time.Since(start).Seconds())
		s.post(func() { s.written(c, err) })
	})
}

// snapshot serialises the dirty state. Rows are sorted: the order in which
// transactions lock rows must not depend on a map.
func (s *slot) snapshot() *maru.Checkpoint {
	c := &maru.Checkpoint{
		Slot: s.n, Epoch: s.epoch, Next: s.next, LoginNext: s.logins.done(),
		Aux: s.state.Aux(), RulesVersion: s.state.Rules.Version, Partitions: s.cfg.Partitions,
	}
	if s.state.Purged > s.dirty.purged {
		c.Expired, s.dirty.purged = s.state.Purged, s.state.Purged
	}
	for _, id := range slices.Sorted(maps.Keys(s.dirty.users)) {
		if u := s.state.Users[id]; u != nil { // always, but for a switch that evicts too much
			c.Users = append(c.Users, s.state.Row(u))
		}
	}
	for k := range s.dirty.friends {
		if row, ok := s.state.FriendRow(k); ok {
			c.Friends = append(c.Friends, row)
		} else {
			c.Unfriended = append(c.Unfriended, k)
		}
	}
	slices.SortFunc(c.Friends, func(a, b maru.FriendRow) int {
		return compareKeys(maru.FriendKey{UserID: a.UserID, FriendID: a.FriendID}, maru.FriendKey{UserID: b.UserID, FriendID: b.FriendID})
	})
	slices.SortFunc(c.Unfriended, compareKeys)
	s.dirty.frozen, s.dirty.users, s.dirty.friends = s.dirty.users, nil, nil
	return c
}

func compareKeys(a, b maru.FriendKey) int {
	if n := strings.Compare(a.UserID, b.UserID); n != 0 {
		return n
	}
	return strings.Compare(a.FriendID, b.FriendID)
}

// write waits for the outputs and writes c. A definite failure is tried again
// with the same c: nothing newer may be written first. An unknown outcome is not:
// a late first attempt would overwrite newer state under the same epoch.
func (s *slot) write(c *maru.Checkpoint, g *ackGroup) error {
	if !s.cfg.Off.Off(faultswitch.AwaitAcks) {
		select {
		case <-g.done:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		if err := g.err(); err != nil && !s.cfg.Off.Off(faultswitch.FailedAcks) {
			return err
		}
	}
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if s.cfg.Gate != nil && !s.cfg.Gate(s.ctx, "before-checkpoint") {
			return s.ctx.Err()
		}
		err := s.cfg.Store.Checkpoint(s.ctx, c)
		switch {
		case err == nil, s.ctx.Err() != nil:
			return err
		case errors.Is(err, maru.ErrFenced), errors.Is(err, maru.ErrOutcomeUnknown), errors.Is(err, maru.ErrNotStorable):
			return err
		}
		s.cfg.Metrics.sqlErrors.Inc()
		s.log.Warn("checkpoint failed, trying again", "err", err, "records", c.Next-s.savedAt.Load())
		if !sleep(s.ctx, wait) {
			return s.ctx.Err()
		}
	}
}

// written takes the result of write.
func (s *slot) written(c *maru.Checkpoint, err error) {
	s.writing = false
	if err != nil {
		if s.closing != nil {
			s.log.Warn("no last checkpoint", "err", err)
			s.cancel()
			return
		}
		s.drop(err)
		return
	}
	s.saved, s.dirty.frozen = c.Next, nil
	s.savedAt.Store(c.Next)
	if s.logins.save(c.LoginNext) {
		s.slots.CommitLogin(s.n, c.LoginNext)
	}
	if s.closing != nil {
		s.finishRelease()
		return
	}
	s.askRules()
	s.arm()
	s.evict()
	s.trim()
}

// release writes the last checkpoint of a planned release: the successor has then
// nothing to replay.
func (s *slot) release() {
	done := make(chan struct{})
	if !s.post(func() { s.closing = done; s.finishRelease() }) {
		return
	}
	t := time.NewTimer(s.cfg.ReleasePatience)
	defer t.Stop()
	select {
	case <-done:
	case <-s.ctx.Done():
	case <-t.C:
		s.log.Warn("no last checkpoint in time: the successor replays")
	}
}

// finishRelease goes on until nothing is unsaved. Nothing is applied any more.
func (s *slot) finishRelease() {
	switch {
	case s.writing:
	case s.next > s.saved || s.logins.moved():
		s.cut()
	default:
		s.cancel()
	}
}

// trim deletes what is older than both the checkpoint and KeepLog, now and then.
func (s *slot) trim() {
	if s.cfg.Trimmer == nil || time.Since(s.trimmed) < s.cfg.TrimEvery {
		return
	}
	s.trimmed = time.Now()
	saved, topic := s.saved, s.cfg.Topics.Commands
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
		defer cancel()
		old, err := s.cfg.Trimmer.OffsetAtTime(ctx, topic, s.n, time.Now().Add(-s.cfg.KeepLog).UnixMilli())
		if err == nil {
			err = s.cfg.Trimmer.Trim(ctx, topic, s.n, min(old, saved))
		}
		if err != nil && s.ctx.Err() == nil {
			s.log.Warn("log not trimmed", "err", err)
		}
	})
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package kafka

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// phase is where a slot stands.
type phase int

const (
	waiting   phase = iota // not claimed; a timer claims it, unless it failed for good
	claiming               // a goroutine is in Handler.Claim and checks the log
	starting               // claimed; read from the next poll on
	serving                // its records are handed on
	releasing              // a goroutine is in a planned Handler.Release
)

// slot is one that the group gives to this process, or gave and something of it
// still runs. It belongs to the owner goroutine.
type slot struct {
	n     int32
	phase phase
	given bool
	lease Lease

	stopClaim context.CancelFunc // while claiming
	doomed    bool               // while claiming: taken away, even if given again since
	dropped   error              // while claiming: the handler dropped the lease already
	timer     *time.Timer        // while waiting
	tries     int                // claims that failed in a row
	renewed   bool               // the login topic was made anew: the stored position is of another log
	stale     time.Time          // since when claims are refused for their generation
	pos       Positions          // while starting: where to begin
	ends      map[string]int64   // while starting: for Handler.Serve
	next      map[string]int64   // while serving: by topic, the offset to hand on next
	waiters   []func()           // told when nothing of the slot runs any more
}

const turnEvery = 500 * time.Millisecond

// loop is the owner goroutine.
func (s *Slots) loop() {
	defer close(s.done)
	defer s.stopTimers()
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	s.grantPoll()
	for {
		s.turned.Store(time.Now().UnixNano())
		select {
		case <-s.run.Done():
			return
		case <-tick.C:
		case <-s.events.wake:
			for _, ev := range s.events.take() {
				if s.run.Err() != nil {
					return
				}
				ev()
			}
		}
	}
}

func (s *Slots) stopTimers() {
	for _, sl := range s.slots {
		sl.stopTimer()
	}
	if s.pollCancel != nil {
		s.pollCancel()
	}
}

// doom ends the claim under way; what it brings is not used.
func (sl *slot) doom() {
	sl.doomed = true
	sl.stopClaim()
}

func (sl *slot) stopTimer() {
	if sl.timer != nil {
		sl.timer.Stop()
		sl.timer = nil
	}
}

// assigned: the group confirmed this generation and gave these slots in addition.
func (s *Slots) assigned(slots []int32, gen int32) {
	s.gen.Store(gen)
	for _, n := range slots {
		if n >= s.cfg.Partitions {
			s.log.Error("the topic has more partitions than this installation; nobody serves those beyond",
				"topic", s.cfg.Login, "partition", n, "partitions", s.cfg.Partitions)
			continue
		}
		sl := s.slots[n]
		if sl == nil {
			sl = &slot{n: n}
			s.slots[n] = sl
		}
		sl.given = true
		if sl.phase == waiting {
			s.claim(sl, false)
		}
	}
	for _, sl := range s.slots { // a new generation may be high enough
		if sl.phase == waiting && !sl.stale.IsZero() && sl.given {
			s.claim(sl, false)
		}
	}
}

// revoked: the group takes slots away in order. done is called when all of them
// are released: until then no other process gets them.
func (s *Slots) revoked(slots []int32, done func()) {
	left := 1 // this call itself
	one := func() {
		if left--; left == 0 {
			done()
		}
	}
	var leases []Lease
	for _, n := range slots {
		sl := s.slots[n]
		if sl == nil {
			continue
		}
		sl.given = false
		switch sl.phase {
		case waiting:
			s.forget(sl)
			continue
		case claiming:
			sl.doom()
		case starting, serving:
			s.unread(sl)
			sl.phase = releasing
			leases = append(leases, sl.lease)
		}
		left++
		sl.waiters = append(sl.waiters, one)
	}
	if len(leases) > 0 {
		s.log.Info("releasing slots", "slots", slotNumbers(leases))
		s.wg.Go(func() {
			s.cfg.Handler.Release(leases, true)
			s.events.post(func() { s.released(leases) })
		})
	}
	one()
}

func (s *Slots) released(leases []Lease) {
	for _, l := range leases {
		if sl := s.slots[l.Slot]; sl != nil && sl.lease == l && sl.phase == releasing {
			sl.phase = waiting
			s.settled(sl)
		}
	}
}

// settled: nothing of the slot runs any more. Whoever waited for it is told; it
// is claimed again if the group gave it back meanwhile.
func (s *Slots) settled(sl *slot) {
	for _, tell := range sl.waiters {
		tell()
	}
	sl.waiters = nil
	if sl.given && !s.stopping {
		s.claim(sl, false)
	} else if !sl.given {
		s.forget(sl)
	}
}

// lost: the group gave the slots to others already. There is nothing to wait
// for: whatever these slots still write will be refused by the store's fence.
func (s *Slots) lost(slots []int32) {
	var leases []Lease
	for _, n := range slots {
		sl := s.slots[n]
		if sl == nil {
			continue
		}
		sl.given = false
		switch sl.phase {
		case waiting:
			s.forget(sl)
		case claiming:
			sl.doom() // claimed releases and forgets it
		case starting, serving:
			leases = append(leases, sl.lease)
			s.unread(sl)
			s.forget(sl)
		}
	}
	if len(leases) > 0 {
		s.log.Warn("lost slots: the group expelled this member", "slots", slotNumbers(leases))
		s.cfg.Handler.Release(leases, false)
	}
}

func (s *Slots) forget(sl *slot) {
	sl.stopTimer()
	delete(s.slots, sl.n)
}

// releaseAll releases what is left when the group was left; done when nothing is.
func (s *Slots) releaseAll(done chan struct{}) {
	var all []int32
	for n := range s.slots {
		all = append(all, n)
	}
	slices.Sort(all)
	s.revoked(all, func() { close(done) })
}

// drop is Drop on the owner goroutine.
func (s *Slots) drop(l Lease, why error) {
	sl := s.slots[l.Slot]
	if sl == nil || sl.lease != l {
		return
	}
	switch sl.phase {
	case claiming:
		if sl.dropped == nil {
			sl.dropped = why
		}
	case starting, serving:
		s.log.Warn("slot dropped by its home", "slot", sl.n, "why", why)
		s.unread(sl)
		s.claimAfter(sl, s.cfg.Reclaim, false)
	}
}

// giveUp drops a slot for a reason found here; the handler is told by Release.
func (s *Slots) giveUp(sl *slot, why error) {
	if sl.phase != serving {
		return
	}
	s.log.Warn("slot dropped: its log has to be checked again", "slot", sl.n, "why", why)
	s.unread(sl)
	s.cfg.Handler.Release([]Lease{sl.lease}, false)
	s.claimAfter(sl, s.cfg.Reclaim, false)
}

// claimAfter makes the slot wait, then claims it if it is still given.
func (s *Slots) claimAfter(sl *slot, wait time.Duration, force bool) {
	sl.stopTimer()
	sl.phase = waiting
	var t *time.Timer
	t = time.AfterFunc(wait, func() {
		s.events.post(func() {
			if sl.timer == t && sl.phase == waiting && sl.given {
				s.claim(sl, force)
			}
		})
	})
	sl.timer = t
}

// fatal reports what this process cannot go on with, once.
func (s *Slots) fatal(err error) {
	if s.failed {
		s.log.Error("another fatal error", "err", err)
		return
	}
	s.failed = true
	go s.cfg.Fatal(err) // it may call Stop, which waits for this goroutine
}

// complain logs a warning about a thing that repeats, at most every 10 s.
func (s *Slots) complain(thing, msg string, args ...any) {
	if now := time.Now(); now.Sub(s.complained[thing]) >= 10*time.Second {
		s.complained[thing] = now
		s.log.Warn(msg, args...)
	}
}

func (s *Slots) publishOwned() {
	owned := []Lease{}
	for _, sl := range s.slots {
		if sl.phase == serving {
			owned = append(owned, sl.lease)
		}
	}
	slices.SortFunc(owned, func(a, b Lease) int { return cmp.Compare(a.Slot, b.Slot) })
	s.owned.Store(&owned)
}

func slotNumbers(leases []Lease) []int32 {
	ns := make([]int32, len(leases))
	for i, l := range leases {
		ns[i] = l.Slot
	}
	return ns
}

var errGap = errors.New("records are missing between those handed on")

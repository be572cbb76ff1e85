package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"maru"
)

// beyond is a login position that is in no log.
const beyond = math.MaxInt64

// claimResult is what a claim found.
type claimResult struct {
	taken bool // Handler.Claim succeeded
	pos   Positions
	ends  map[string]int64
	logID string // of the topic Commands, whose log was listed before
	err   error
}

// claim starts a claim of a waiting slot on a goroutine of its own: at start many
// slots are claimed at once.
func (s *Slots) claim(sl *slot, force bool) {
	if s.stopping {
		return
	}
	sl.stopTimer()
	s.serial++
	sl.lease = Lease{Slot: sl.n, Serial: s.serial}
	sl.phase, sl.dropped, sl.doomed = claiming, nil, false
	ctx, cancel := context.WithCancel(s.run)
	sl.stopClaim = cancel
	lease, gen := sl.lease, s.gen.Load()
	cut, known := s.cut[sl.n]
	if !known {
		cut = -1
	}
	renewed := sl.renewed
	s.wg.Go(func() {
		defer cancel()
		res := s.tryClaim(ctx, lease, gen, force, cut, renewed)
		s.events.post(func() { s.claimed(sl, res) })
	})
}

// tryClaim claims in the store, then lists the log: in this order, since records
// that a fenced owner produced may be appended until the claim.
func (s *Slots) tryClaim(ctx context.Context, l Lease, gen int32, force bool, cut int64, renewed bool) (res claimResult) {
	if res.pos, res.err = s.cfg.Handler.Claim(ctx, l, gen, force); res.err != nil {
		return res
	}
	res.taken, res.ends = true, map[string]int64{}
	start, end, err := logRange(ctx, s.direct, s.cfg.Commands, l.Slot)
	if err != nil {
		res.err = err
		return res
	}
	res.ends[s.cfg.Commands] = end
	if res.err = checkCommands(s.cfg.Commands, l.Slot, res.pos.Commands, start, end, cut); res.err != nil {
		return res
	}
	if res.logID, res.err = topicID(ctx, s.direct, s.cfg.Commands); res.err != nil {
		return res
	}
	start, end, err = logRange(ctx, s.direct, s.cfg.Login, l.Slot)
	if err != nil {
		res.err = err
		return res
	}
	res.ends[s.cfg.Login] = end
	if renewed {
		res.pos.Login = beyond
	}
	res.pos.Login, res.err = s.loginPosition(ctx, l.Slot, res.pos.Login, start, end)
	return res
}

// checkCommands compares a checkpoint with its log. cut, when not negative, is
// where this process saw the log lose records: what was appended since may have
// grown beyond the position, and still is not what the checkpoint contains.
func checkCommands(topic string, slot int32, at, start, end, cut int64) error {
	if cut >= 0 {
		end = min(end, cut)
	}
	switch {
	case at > end:
		return &ErrLogShorter{Topic: topic, Partition: slot, Position: at, End: end}
	case at < start:
		return &ErrLogTrimmed{Topic: topic, Partition: slot, Position: at, Start: start}
	}
	return nil
}

// sameLog refuses a topic of commands that is not the one of the checkpoints. One
// that was deleted and made again may have grown beyond a position already, so its
// offsets cannot tell.
func (s *Slots) sameLog(id string) error {
	switch {
	case id == "" || id == s.logID:
		return nil
	case s.logID == "":
		s.logID = id
		return nil
	}
	return &ErrLogReplaced{Topic: s.cfg.Commands, ID: id, Wanted: s.logID}
}

// loginPosition decides where a slot's login-request is read from. Unlike
// commands it changes no state by itself and its retention is not ours, so a
// position outside of the log starts at the log's start.
func (s *Slots) loginPosition(ctx context.Context, slot int32, at, start, end int64) (int64, error) {
	if at == Unset {
		if s.cfg.LoginFromStart {
			return start, nil
		}
		committed, err := s.committed(ctx, slot)
		if err != nil {
			return 0, err
		}
		if at = committed; at == Unset {
			return end, nil
		}
	}
	if at < start || at > end {
		s.outside.Add(1)
		s.log.Warn("the position in the log of login requests is outside of it: reading from its start",
			"topic", s.cfg.Login, "partition", slot, "position", at, "start", start, "end", end)
		return start, nil
	}
	return at, nil
}

// committed returns the group's committed offset of a slot's login topic, or Unset.
func (s *Slots) committed(ctx context.Context, slot int32) (int64, error) {
	offsets, err := s.adm.FetchOffsetsForTopics(ctx, s.cfg.Group, s.cfg.Login)
	if err != nil {
		return 0, fmt.Errorf("the committed offset of topic %s partition %d: %w", s.cfg.Login, slot, err)
	}
	if o, ok := offsets.Lookup(s.cfg.Login, slot); ok && o.Err == nil && o.At >= 0 {
		return o.At, nil
	} else if ok && o.Err != nil {
		return 0, fmt.Errorf("the committed offset of topic %s partition %d: %w", s.cfg.Login, slot, o.Err)
	}
	return Unset, nil
}

// claimed is what becomes of a claim, on the owner goroutine.
func (s *Slots) claimed(sl *slot, res claimResult) {
	sl.phase = waiting
	if res.err == nil {
		res.err = s.sameLog(res.logID)
	}
	void := sl.doomed || s.stopping
	if res.taken && sl.dropped == nil && (res.err != nil || void) {
		s.cfg.Handler.Release([]Lease{sl.lease}, false) // nothing was applied
	}
	var shorter *ErrLogShorter
	var trimmed *ErrLogTrimmed
	var replaced *ErrLogReplaced
	switch {
	case void:
		s.settled(sl)
	case sl.dropped != nil:
		s.log.Warn("slot dropped by its home", "slot", sl.n, "why", sl.dropped)
		s.claimAfter(sl, s.cfg.Reclaim, false)
	case errors.As(res.err, &shorter), errors.As(res.err, &trimmed), errors.As(res.err, &replaced):
		s.fatal(res.err) // and the slot stays where it is
	case errors.Is(res.err, maru.ErrStaleGeneration):
		s.refused(sl)
	case res.err != nil:
		sl.tries++
		s.log.Warn("claiming a slot failed, trying again", "slot", sl.n, "tries", sl.tries, "err", res.err)
		s.claimAfter(sl, claimBackoff(sl.tries), false)
	default:
		s.log.Info("slot claimed", "slot", sl.n, "next", res.pos.Commands, "login", res.pos.Login, "generation", s.gen.Load())
		sl.tries, sl.stale, sl.renewed = 0, time.Time{}, false
		sl.phase, sl.pos, sl.ends = starting, res.pos, res.ends
		s.ready = append(s.ready, sl)
		if s.pollCancel != nil {
			s.pollCancel() // the slot is added between polls: see polled
		}
	}
}

// refused: a claim of a newer generation is stored. Most often that is the
// rightful owner and the group is about to take the slot away here; a new
// generation tries again at once (assigned). When the group itself was made anew
// its generations begin at 1, and only force helps.
func (s *Slots) refused(sl *slot) {
	now := time.Now()
	if sl.stale.IsZero() {
		sl.stale = now
		s.log.Warn("claim refused: a newer generation of the group has claimed the slot", "slot", sl.n, "generation", s.gen.Load())
	}
	wait := sl.stale.Add(s.cfg.Force).Sub(now)
	if wait <= 0 { // even the forced claim was refused
		sl.stale, wait = now, s.cfg.Force
	}
	s.claimAfter(sl, wait, true)
}

func claimBackoff(tries int) time.Duration {
	return min(100*time.Millisecond<<min(tries-1, 6), 5*time.Second)
}

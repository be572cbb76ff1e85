package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// openGroup opens the client that is the group's member. It has no instance id:
// a static member's slots would wait for its return, and restoring is cheap.
func (s *Slots) openGroup(ctx context.Context) (*kgo.Client, error) {
	cl, err := s.cfg.Conn.client(
		kgo.WithContext(ctx),
		kgo.ConsumerGroup(s.cfg.Group),
		kgo.ConsumeTopics(s.cfg.Login),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(s.cfg.Session),
		kgo.HeartbeatInterval(s.cfg.Heartbeat),
		kgo.RebalanceTimeout(s.cfg.Rebalance),
		kgo.DisableAutoCommit(),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd()), // where it would read if it did
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, m map[string][]int32) {
			// The generation is taken here, not when the claim runs: a process that was
			// paused in between must claim with the generation that gave it the slot, so
			// that a claim made meanwhile by its successor outranks it.
			_, gen := cl.GroupMetadata()
			s.tell(func(done func()) { s.assigned(m[s.cfg.Login], gen); done() })
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			s.tell(func(done func()) { s.revoked(m[s.cfg.Login], done) })
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			s.tell(func(done func()) { s.lost(m[s.cfg.Login]); done() })
		}),
	)
	if err != nil {
		return nil, err
	}
	cl.PauseFetchTopics(s.cfg.Login)
	return cl, nil
}

// tell posts an event of the group and waits until the loop has answered it: the
// group goes on (and gives slots to others) only when the callback returns.
func (s *Slots) tell(ev func(done func())) {
	answered := make(chan struct{})
	s.events.post(func() { ev(func() { close(answered) }) })
	select {
	case <-answered:
	case <-s.done: // crashed or stopped
	}
}

// pollGroup polls the member although nothing is fetched through it: errors of
// the group surface only in polls.
func (s *Slots) pollGroup() {
	for {
		fetches := s.group.PollFetches(s.run)
		if s.run.Err() != nil {
			return
		}
		fetches.EachError(func(_ string, _ int32, err error) {
			s.events.post(func() { s.groupError(err) })
		})
	}
}

// groupError judges an error of the membership. Most are told by the library
// while it joins again by itself; ending the process for them would turn each
// into a restart. What no retry mends is fatal.
func (s *Slots) groupError(err error) {
	var session *kgo.ErrGroupSession
	switch {
	case errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, context.Canceled):
	case errors.Is(err, kerr.InvalidSessionTimeout):
		s.fatal(fmt.Errorf("the brokers do not allow a session time-out of %v (group.min.session.timeout.ms and group.max.session.timeout.ms): %w", s.cfg.Session, err))
	case errors.Is(err, kerr.InvalidGroupID):
		s.fatal(fmt.Errorf("the brokers refuse the group %q: %w", s.cfg.Group, err))
	case errors.As(err, &session), kerr.IsRetriable(err), kgo.IsRetryableBrokerErr(err):
		s.complain("group", "joining the group again", "err", err)
	default:
		s.fatal(fmt.Errorf("member of group %q: %w", s.cfg.Group, err))
	}
}

// commit runs on the caller's goroutine.
func (s *Slots) commit(ctx context.Context, offsets map[string]map[int32]kgo.EpochOffset) {
	var failed error
	s.group.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = commitError(resp, err)
	})
	if failed != nil && ctx.Err() == nil && s.run.Err() == nil {
		// In a rebalance this is ordinary: the next commit follows.
		s.log.Debug("committing login positions to the group", "err", failed)
	}
}

func commitError(resp *kmsg.OffsetCommitResponse, err error) error {
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

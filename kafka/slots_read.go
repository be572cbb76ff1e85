package kafka

import (
	"context"
	"errors"
	"fmt"

	"maru"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// pollDirect polls when the loop grants it, once per grant, and posts the result.
func (s *Slots) pollDirect() {
	for {
		select {
		case <-s.run.Done():
			return
		case ctx := <-s.polls:
			fetches := s.direct.PollRecords(ctx, MaxPoll)
			if s.cfg.afterPoll != nil {
				s.cfg.afterPoll()
			}
			s.events.post(func() { s.polled(fetches) })
		}
	}
}

func (s *Slots) grantPoll() {
	var ctx context.Context
	ctx, s.pollCancel = context.WithCancel(s.run)
	s.polls <- ctx // has room: one poll at a time
}

// polled hands on what one poll brought, adds the slots that were claimed
// meanwhile, and grants the next poll.
//
// A slot is added only here, between polls. So records polled under an earlier
// claim are met either while the slot is not served, and discarded, or not at
// all; records of an old claim can never be taken for those of a new one that
// begins further back. (The contiguity of commands would find that out; the
// offsets of login-request may have holes and would not.)
func (s *Slots) polled(fetches kgo.Fetches) {
	s.pollCancel()
	s.pollCancel = nil
	fetches.EachTopic(func(t kgo.FetchTopic) {
		if t.Topic == s.cfg.Commands {
			if err := s.sameLog(idText(t.TopicID)); err != nil {
				s.recreated(t.Topic, err) // made again between the claim and the library's first look
				return
			}
		}
		t.EachPartition(func(p kgo.FetchPartition) {
			if len(p.Records) > 0 {
				s.handOn(t.Topic, p.Partition, p.Records)
			}
			if p.Err != nil {
				s.fetchFailed(t.Topic, p.Partition, p.Err)
			}
		})
	})
	if s.purging == 0 {
		for _, sl := range s.ready {
			if sl.phase == starting {
				s.serve(sl)
			}
		}
		s.ready = nil
	}
	s.grantPoll()
}

// recreated: the topic was deleted and made again. The library goes on asking for
// the old one until it is told to forget it, which waits for the network; until
// then no slot is added.
func (s *Slots) recreated(topic string, err error) {
	for _, sl := range s.slots {
		s.giveUp(sl, err)
		sl.renewed = sl.renewed || topic == s.cfg.Login
	}
	s.purging++
	s.wg.Go(func() {
		s.direct.PurgeTopicsFromConsuming(topic)
		s.events.post(func() {
			s.purging--
			s.pollCancel() // to serve what was claimed meanwhile
		})
	})
}

func (s *Slots) serve(sl *slot) {
	if s.cfg.beforeServe != nil {
		s.cfg.beforeServe()
	}
	sl.phase = serving
	sl.next = map[string]int64{s.cfg.Commands: sl.pos.Commands, s.cfg.Login: sl.pos.Login}
	s.cfg.Handler.Serve(sl.lease, sl.pos, sl.ends)
	add := map[string]map[int32]kgo.Offset{}
	for topic, at := range sl.next {
		add[topic] = map[int32]kgo.Offset{sl.n: kgo.NewOffset().At(at)}
	}
	s.direct.ResumeFetchPartitions(s.partitionsOf(sl)) // an old lease may have paused them
	s.direct.AddConsumePartitions(add)
	s.publishOwned()
}

// unread stops reading a slot that was served or about to be.
func (s *Slots) unread(sl *slot) {
	if sl.phase == serving {
		s.direct.RemoveConsumePartitions(s.partitionsOf(sl))
	}
	sl.phase = waiting
	sl.next, sl.ends = nil, nil
	s.publishOwned()
}

func (s *Slots) partitionsOf(sl *slot) map[string][]int32 {
	return map[string][]int32{s.cfg.Commands: {sl.n}, s.cfg.Login: {sl.n}}
}

// handOn gives records of one partition to the handler: those below the position
// are skipped; of commands a missing one ends the lease, since to apply what
// follows would lose it. Offsets of login-request may have holes: a foreign
// producer's transactions leave control records, which have offsets too.
func (s *Slots) handOn(topic string, n int32, records []*kgo.Record) {
	sl := s.slots[n]
	if sl == nil || sl.phase != serving {
		return
	}
	next := sl.next[topic]
	recs := make([]maru.LogRecord, 0, len(records))
	var gap error
	for _, r := range records {
		if r.Offset < next {
			continue
		}
		if r.Offset > next && topic == s.cfg.Commands {
			gap = fmt.Errorf("topic %s partition %d, offsets %d to %d: %w", topic, n, next, r.Offset-1, errGap)
			break
		}
		recs = append(recs, fromKgo(r))
		next = r.Offset + 1
	}
	sl.next[topic] = next
	if len(recs) > 0 {
		s.cfg.Handler.Records(sl.lease, recs)
	}
	if gap != nil {
		s.giveUp(sl, gap)
	}
}

// fetchFailed judges an error of reading a partition. When the position is in
// doubt, the slot is dropped and its log checked as at any claim, which tells
// what is wrong; everything else is retried by the library.
func (s *Slots) fetchFailed(topic string, n int32, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	var loss *kgo.ErrDataLoss
	if errors.As(err, &loss) && topic == s.cfg.Commands {
		// The library goes on at the cut. What this process has applied from there on
		// is no longer in the log, nor perhaps in a checkpoint: the claim finds out.
		if cut, ok := s.cut[n]; !ok || loss.ResetTo < cut {
			s.cut[n] = loss.ResetTo
		}
	}
	if errors.Is(err, kerr.UnknownTopicID) {
		s.recreated(topic, err)
		return
	}
	if sl := s.slots[n]; sl != nil && placeLost(err) {
		s.giveUp(sl, err)
		return
	}
	s.complain(fmt.Sprint("fetch ", topic, n), "reading a partition", "topic", topic, "partition", n, "err", err)
}

// pause is Pause and Resume on the owner goroutine.
func (s *Slots) pause(l Lease, topic string, on bool) {
	sl := s.slots[l.Slot]
	if sl == nil || sl.lease != l || sl.phase != serving {
		return
	}
	what := map[string][]int32{topic: {l.Slot}}
	if on {
		s.direct.PauseFetchPartitions(what)
	} else {
		s.direct.ResumeFetchPartitions(what)
	}
}

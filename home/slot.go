package home

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"maru"
	"maru/home/fold"
	"maru/internal/faultswitch"
	"maru/record"
)

// errGap: the log went on further ahead than the state: something between was
// not read. The slot starts over at its checkpoint.
var errGap = errors.New("records of the log are missing")

// batchSize bounds what is applied between two looks at the mailbox.
const batchSize = 500

// slot is one claim of one slot. Its goroutine (loop) owns all fields but those
// under mu and the atomics; writers of checkpoints and checkers of passwords talk
// to it through post.
type slot struct {
	*Home
	n      int32
	lease  Lease
	epoch  int64
	since  time.Time
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc

	state      *fold.State
	next       int64 // first offset of commands not applied
	saved      int64 // first offset of commands not in the checkpoint
	lastCut    int64 // for a switch: next at the last cut
	serveAt    int64 // from here on the slot is live
	cache      cache
	dirty      dirtySet
	acks       *ackGroup // outputs since the last cut
	writing    bool      // a checkpoint is being written
	timer      *time.Timer
	armed      bool // timer runs
	logins     loginQueue
	jobs       []fold.Job              // put off until live
	checking   map[maru.CommandID]bool // password changes being checked
	trimmed    time.Time
	rulesAsked time.Time
	closing    chan struct{} // not nil: release waits for the last checkpoint

	savedAt         atomic.Int64 // saved, for other goroutines
	isLive          atomic.Bool
	turn            atomic.Int64 // when the goroutine last looked at its mailbox, ms
	held, heldBytes atomic.Int64 // resident users, for metrics
	waiting         atomic.Bool  // it waits for Kafka or SQL, which is not being stuck

	mu       sync.Mutex
	wake     chan struct{}    // capacity 1
	commands []maru.LogRecord // queued, in order
	requests []maru.LogRecord // queued, of login-request
	calls    []func()         // to be run by the goroutine
	flows    map[string]*flow // by topic
	closed   bool             // no goroutine looks at the mailbox: not yet, or not any more
}

func newSlot(h *Home, l Lease, c maru.Claim) (*slot, error) {
	s := &slot{
		Home: h, n: c.Slot, lease: l, epoch: c.Epoch, since: time.Now(),
		log:   h.cfg.Logger.With("slot", c.Slot, "epoch", c.Epoch),
		state: fold.New(c.Slot, h.cfg.Partitions, h.cfg.Delivery),
		next:  c.Next, saved: c.Next, lastCut: c.Next, serveAt: c.Next,
		acks: newAckGroup(), wake: make(chan struct{}, 1), flows: map[string]*flow{},
		checking: map[maru.CommandID]bool{}, closed: true,
	}
	s.savedAt.Store(c.Next)
	s.state.Off = h.cfg.Off
	s.cache.init()
	s.logins.init(c.LoginNext)
	s.ctx, s.cancel = context.WithCancel(h.ctx)
	return s, s.state.SetAux(c.Aux)
}

// loop is the slot's goroutine.
func (s *slot) loop() {
	s.timer = time.NewTimer(time.Hour)
	s.timer.Stop()
	defer s.end()
	s.trimmed = time.Now()
	s.turn.Store(s.trimmed.UnixMilli())
	s.becomeLive()
	s.arm()
	for s.ctx.Err() == nil {
		s.turn.Store(time.Now().UnixMilli())
		select {
		case <-s.timer.C: // here too: there may always be work
			s.armed = false
			s.cut()
		default:
		}
		if s.work() {
			continue
		}
		s.turn.Store(0) // idle
		select {
		case <-s.ctx.Done():
		case <-s.wake:
		case <-s.timer.C:
			s.armed = false
			s.cut()
		}
	}
}

func (s *slot) end() {
	s.timer.Stop()
	s.cancel()
	s.isLive.Store(false)
	s.turn.Store(0)
	s.mu.Lock()
	s.closed = true
	s.calls, s.commands, s.requests = nil, nil, nil // who waits for a call watches ctx as well
	s.mu.Unlock()
	if s.closing != nil {
		close(s.closing)
		s.closing = nil
	}
}

// work does one round of what the mailbox holds; false: nothing was to be done.
func (s *slot) work() (did bool) {
	s.mu.Lock()
	calls := s.calls
	s.calls = nil
	s.mu.Unlock()
	for _, f := range calls {
		f()
	}
	if s.closing != nil || s.ctx.Err() != nil {
		return len(calls) > 0
	}
	if s.next-s.saved < s.cfg.MaxUnsaved { // else only a checkpoint helps: replay and memory stay bounded
		if recs := s.take(s.cfg.Topics.Commands, &s.commands, batchSize); len(recs) > 0 {
			s.apply(recs)
			did = true
		}
	}
	if s.isLive.Load() && s.logins.room() {
		if recs := s.take(s.cfg.Topics.LoginRequest, &s.requests, batchSize); len(recs) > 0 {
			s.takeLogins(recs)
			did = true
		}
	}
	return did || len(calls) > 0
}

// drop gives up this claim of the slot: its memory is worth nothing any more.
func (s *slot) drop(why error) {
	if s.ctx.Err() != nil {
		return
	}
	s.cfg.Metrics.drops.WithLabelValues(reason(why)).Inc()
	s.log.Warn("slot dropped, to be claimed anew", "err", why)
	s.forget(s.lease) // it may be taken away before it is claimed anew, and nobody would say so
	s.slots.Drop(s.lease, why)
}

func reason(err error) string {
	switch {
	case errors.Is(err, maru.ErrFenced):
		return "fenced"
	case errors.Is(err, maru.ErrOutcomeUnknown):
		return "unknown commit"
	case errors.Is(err, errGap):
		return "gap"
	case errors.Is(err, errRefused):
		return "output refused"
	}
	return "other"
}

// apply loads what the records touch, applies them in order and publishes what
// follows.
func (s *slot) apply(recs []maru.LogRecord) {
	cmds := make([]*record.Command, 0, len(recs))
	fresh := recs[:0:0]
	for i := range recs {
		r := &recs[i]
		switch expect := s.next + int64(len(fresh)); {
		case r.Offset < expect: // read before an earlier claim was given up
			continue
		case r.Offset > expect && !s.cfg.Off.Off(faultswitch.ContiguousOffset):
			s.drop(fmt.Errorf("%w: offset %d, expected %d", errGap, r.Offset, expect))
			return
		case r.Offset > expect: // the switch: go on as if nothing were missing
			s.next = r.Offset - int64(len(fresh))
		}
		c, err := record.ParseCommand(r.Value)
		if err != nil {
			s.cfg.Metrics.skipped.Inc()
			s.log.Warn("record of commands skipped", "offset", r.Offset, "err", err)
		}
		fresh, cmds = append(fresh, *r), append(cmds, c)
	}
	for len(fresh) > 0 {
		if !s.gate("before-load") {
			return
		}
		n, ok := s.load(cmds)
		if !ok || !s.gate("before-apply") {
			return
		}
		for i := range n {
			if !s.step(&fresh[i], cmds[i]) {
				return
			}
		}
		fresh, cmds = fresh[n:], cmds[n:]
		s.evict()
	}
	s.arm()
	s.becomeLive()
}

// step applies one record.
func (s *slot) step(r *maru.LogRecord, c *record.Command) bool {
	e := s.state.Apply(fold.Input{Offset: r.Offset, Time: r.Time, Command: c})
	s.next = r.Offset + 1
	s.cfg.Metrics.count(&e)
	if e.TooNew > 0 {
		s.die(&fold.TooNewError{Slot: s.n, Version: e.TooNew})
		s.cancel()
		return false
	}
	s.dirty.add(&e)
	s.touch(c)
	s.publish(e.Outputs)
	for _, j := range e.Jobs {
		if s.isLive.Load() || j.Kind == fold.LoginDone {
			s.do(j)
		} else {
			s.jobs = append(s.jobs, j)
		}
	}
	return true
}

// becomeLive starts what happens beside the fold once everything that was in the
// log at the claim has been applied: before, the state may be one that others have
// long left behind.
func (s *slot) becomeLive() {
	if s.isLive.Load() || s.next < s.serveAt {
		return
	}
	s.isLive.Store(true)
	s.log.Info("slot live", "next", s.next)
	jobs := s.jobs
	s.jobs = nil
	for _, j := range jobs {
		s.do(j)
	}
	s.askRules()
}

// rulesEvery is how often a slot compares its rules with those wanted: the version
// that all homes can apply rises some time after the last old home has gone.
const rulesEvery = 10 * time.Second

// askRules writes a record with the rules wanted if the slot's differ.
func (s *slot) askRules() {
	if !s.isLive.Load() || time.Since(s.rulesAsked) < rulesEvery {
		return
	}
	s.rulesAsked = time.Now()
	if want := s.cfg.Rules(); s.state.Rules.Differs(want) {
		s.produceHere(maru.LogRecord{
			Topic: s.cfg.Topics.Commands, Partition: s.n,
			Value: record.MustEncode(record.Command{V: record.Version, Kind: record.Rules, Rules: &want}),
		})
	}
}

// do carries out a job of the fold.
func (s *slot) do(j fold.Job) {
	switch j.Kind {
	case fold.LoginDone:
		s.loginDone(j.Command.ID, j.Offset)
	case fold.RecheckLogin:
		s.recheck(j.Command.ID)
	case fold.CheckPassword:
		s.checkPassword(j.Command)
	case fold.AnswerWhere:
		s.answerWhere(j.Command)
	}
}

func (s *slot) answerWhere(c *record.Command) {
	if c.Reply == nil || c.Reply.Partition < 0 || c.Reply.Partition >= s.cfg.Delivery {
		return
	}
	_, resident := s.state.Users[c.User]
	s.produceHere(maru.LogRecord{
		Topic: s.cfg.Topics.Delivery, Partition: c.Reply.Partition,
		Value: record.MustEncode(record.Delivery{V: record.Version, To: c.Reply.Gateway, Reply: &record.Reply{
			ID: c.ID, Result: record.MustEncode(record.WhereResult{
				UserID: c.User, Slot: s.n, Home: s.cfg.Name, Epoch: s.epoch, Since: s.since.UnixMilli(), Resident: resident,
			}),
		}}),
	})
}

func (s *slot) residents() Residents {
	users := slices.AppendSeq([]string{}, maps.Keys(s.state.Users))
	slices.Sort(users)
	return Residents{
		Slot: s.n, Epoch: s.epoch, Since: s.since.UnixMilli(), Next: s.next, Live: s.isLive.Load(),
		Users: users,
	}
}

// gate waits at a named point when a test asks for it.
func (s *slot) gate(point string) bool {
	if s.cfg.Gate == nil {
		return true
	}
	return s.cfg.Gate(s.ctx, point) && s.ctx.Err() == nil
}

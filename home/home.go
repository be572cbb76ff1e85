// Package home owns slots: it applies the log of each slot it was given, publishes
// what follows, and writes checkpoints to SQL behind that.
//
// One goroutine per slot owns everything the slot knows: the folded state, what is
// dirty, the positions. It talks to the rest by messages. Reading the log, group
// membership and SQL are done by others, behind the interfaces Log, Slots and Store.
//
// What a home does not do: it serves no client, keeps nothing that is not in the log
// or derived from it, and decides nothing by its own clock or configuration that
// another home would decide differently.
package home

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"maru"
	"maru/internal/faultswitch"
	"maru/record"
)

// Store is what a home needs of SQL. Errors are maru.ErrFenced, maru.ErrStaleGeneration,
// maru.ErrOutcomeUnknown, or definite: nothing was changed, and the call may be tried again.
type Store interface {
	Claim(ctx context.Context, r maru.ClaimRequest) (maru.Claim, error)
	// LoadUsers reads users in one transaction that checks the slot's epoch after
	// the rows. Absent users are not in the result.
	LoadUsers(ctx context.Context, slot int32, epoch int64, ids []string) ([]maru.UserRow, error)
	// Checkpoint writes in one transaction that begins with the check of the epoch.
	Checkpoint(ctx context.Context, c *maru.Checkpoint) error
}

// Log is where outputs go. Produce keeps the order of its calls per partition, retries
// without limit, blocks while its buffer is full, and calls done once.
type Log interface {
	Produce(rec maru.LogRecord, done func(offset int64, err error))
}

// Lease names one claim of one slot within this process.
type Lease struct {
	Slot   int32
	Serial uint64 // unique, growing
}

// Slots is the ownership that feeds this home. Calls for a lease that is no longer
// the slot's do nothing.
type Slots interface {
	// Drop stops reading the slot and has it claimed anew if it still is this process's.
	Drop(l Lease, why error)
	Pause(l Lease, topic string)
	Resume(l Lease, topic string)
	// CommitLogin makes a position of login-request known to the consumer group, for
	// Kafka's tools: maru itself goes by its checkpoints. It does not block.
	CommitLogin(slot int32, at int64)
}

// Trimmer deletes the old end of a log.
type Trimmer interface {
	// OffsetAtTime returns the first offset whose record is not older than ms.
	OffsetAtTime(ctx context.Context, topic string, partition int32, ms int64) (int64, error)
	// Trim deletes what is before the offset, but never the last record.
	Trim(ctx context.Context, topic string, partition int32, before int64) error
}

// Topics are the names of the topics a home reads and writes.
type Topics struct {
	Commands, Delivery, LoginRequest, LoginResponse string
}

// Config is what a home is made of. Zero durations and bounds mean the defaults.
type Config struct {
	Name       string // of this process, for people
	Topics     Topics
	Partitions int32 // P
	Delivery   int32 // partitions of delivery
	Store      Store
	Log        Log
	Trimmer    Trimmer // nil: logs are not trimmed
	Checker    *Checker
	Logger     *slog.Logger
	Metrics    *Metrics // nil: none

	// Rules are the settings that slots should have. They count once a record with
	// them was applied; a home writes one when a slot it has taken differs.
	Rules func() record.RulesBody

	CheckpointEvery time.Duration // default 100 ms
	ReleasePatience time.Duration // for the last checkpoint of a planned release; default 1 s
	MaxUnsaved      int64         // records applied but not checkpointed; default 20,000
	MaxQueued       int           // records fetched but not applied, per slot and topic; default 5,000
	MaxResident     int           // bytes of entities kept per slot; default 64 MiB
	KeepLog         time.Duration // age up to which commands are kept; default 7 days
	TrimEvery       time.Duration // default 10 min
	StuckAfter      time.Duration // a slot that works on one thing for so long ends the process; default 60 s

	Fatal func(error) // the process must end: a sentence for its operator

	Off  *faultswitch.Set                             // tests only
	Gate func(ctx context.Context, point string) bool // tests only: waits at a named point; false: ctx ended
}

func (c *Config) setDefaults() {
	def(&c.CheckpointEvery, 100*time.Millisecond)
	def(&c.ReleasePatience, time.Second)
	def(&c.MaxUnsaved, 20_000)
	def(&c.MaxQueued, 5000)
	def(&c.MaxResident, 64<<20)
	def(&c.KeepLog, 7*24*time.Hour)
	def(&c.TrimEvery, 10*time.Minute)
	def(&c.StuckAfter, time.Minute)
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.Rules == nil {
		c.Rules = func() record.RulesBody { return record.RulesBody{} }
	}
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Home is the slots of one process. mu owns the map; each slot is owned by its
// goroutine.
type Home struct {
	cfg   Config
	slots Slots

	mu   sync.Mutex
	runs map[int32]*slot

	ctx    context.Context // ends with Close or Crash
	cancel context.CancelFunc
	wg     sync.WaitGroup // slot goroutines, their writers, the watchdog
	fatal  sync.Once
}

// New returns a home without slots.
func New(cfg Config) *Home {
	cfg.setDefaults()
	h := &Home{cfg: cfg, runs: map[int32]*slot{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Start tells the home who feeds it, and starts its watchdog. It is called once,
// before the first Claim.
func (h *Home) Start(s Slots) {
	h.slots = s
	h.wg.Go(h.watch)
}

// Claim takes the slot in SQL and prepares to serve it from the checkpoint found
// there. What was known of the slot under an earlier claim is forgotten.
func (h *Home) Claim(ctx context.Context, l Lease, generation int32, force bool) (maru.Claim, error) {
	c, err := h.cfg.Store.Claim(ctx, maru.ClaimRequest{
		Slot: l.Slot, Generation: generation, Force: force, Owner: h.cfg.Name, Now: time.Now().UnixMilli(),
	})
	if err != nil {
		return c, err
	}
	s, err := newSlot(h, l, c)
	if err != nil {
		h.die(err) // a checkpoint that this binary cannot read: going on would mean guessing
		return c, err
	}
	h.mu.Lock()
	old := h.runs[l.Slot]
	h.runs[l.Slot] = s
	h.mu.Unlock()
	if old != nil {
		old.cancel()
	}
	h.cfg.Logger.Debug("slot claimed", "slot", l.Slot, "epoch", c.Epoch, "next", c.Next, "generation", generation)
	return c, nil
}

// Serve starts the slot. end is where the log of commands ended after the claim:
// what happens beside the fold starts once everything before it was applied.
// loginNext is the first offset of login-request that will be read.
func (h *Home) Serve(l Lease, end, loginNext int64) {
	s := h.run(l)
	if s == nil {
		return
	}
	s.serveAt, s.logins.next = end, loginNext
	s.mu.Lock()
	s.closed = false
	s.mu.Unlock()
	h.wg.Go(s.loop)
}

// Records hands on what was read of one topic of the slot, in order. It does not block.
func (h *Home) Records(l Lease, recs []maru.LogRecord) {
	if s := h.run(l); s != nil && len(recs) > 0 {
		s.enqueue(recs[0].Topic, recs)
	}
}

// Release gives slots up. A planned release applies nothing more, writes a last
// checkpoint within ReleasePatience, and returns when all is done; otherwise the
// slots are forgotten at once.
func (h *Home) Release(leases []Lease, planned bool) {
	var wg sync.WaitGroup
	for _, l := range leases {
		s := h.run(l)
		if s == nil {
			continue
		}
		if planned {
			wg.Go(func() { s.release(); h.forget(l) })
		} else {
			h.forget(l)
		}
	}
	wg.Wait()
}

// Close ends the home after its slots were released. When ctx ends first, something
// still waits for room in the producer's buffer, and ends when the producer closes.
func (h *Home) Close(ctx context.Context) error {
	h.cancel()
	return await(ctx, &h.wg)
}

// await waits for wg, at most until ctx ends.
func await(ctx context.Context, wg *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget ends the slot's run at once, whatever it is doing.
func (h *Home) forget(l Lease) {
	h.mu.Lock()
	s := h.runs[l.Slot]
	mine := s != nil && s.lease == l
	if mine {
		delete(h.runs, l.Slot)
	}
	h.mu.Unlock()
	if mine {
		s.cancel()
	}
}

// run returns the run of a lease, nil when it is no longer the slot's.
func (h *Home) run(l Lease) *slot {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.runs[l.Slot]; s != nil && s.lease == l {
		return s
	}
	return nil
}

func (h *Home) all() []*slot {
	h.mu.Lock()
	defer h.mu.Unlock()
	runs := make([]*slot, 0, len(h.runs))
	for _, s := range h.runs {
		runs = append(runs, s)
	}
	slices.SortFunc(runs, func(a, b *slot) int { return int(a.n - b.n) })
	return runs
}

// die tells the process to end. Only the first reason counts.
func (h *Home) die(err error) {
	h.fatal.Do(func() {
		h.cfg.Logger.Error("this home cannot go on", "err", err)
		if h.cfg.Fatal != nil {
			h.cfg.Fatal(err)
		}
	})
}

// Residents is what one slot holds in memory: the proof that a user has one home.
type Residents struct {
	Slot  int32    `json:"slot"`
	Epoch int64    `json:"epoch"`
	Since int64    `json:"since"` // milliseconds
	Next  int64    `json:"next"`  // offset of commands
	Live  bool     `json:"live"`  // has applied what was in the log when it was claimed
	Users []string `json:"users"`
}

// Residents returns what each slot of this home holds, by slot number.
func (h *Home) Residents(ctx context.Context) ([]Residents, error) {
	list := []Residents{}
	for _, s := range h.all() {
		got := make(chan Residents, 1)
		if !s.post(func() { got <- s.residents() }) {
			continue
		}
		select {
		case r := <-got:
			list = append(list, r)
		case <-s.ctx.Done():
		case <-ctx.Done():
			return nil, fmt.Errorf("slot %d does not answer: %w", s.n, ctx.Err())
		}
	}
	return list, nil
}

// Live returns how many slots this home holds and how many of them have applied
// what was in the log when they were claimed.
func (h *Home) Live() (held, live int) {
	for _, s := range h.all() {
		held++
		if s.isLive.Load() {
			live++
		}
	}
	return held, live
}

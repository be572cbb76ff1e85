package kafka

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"maru"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Unset is the position of a slot's login-request that was never stored.
const Unset = int64(-1)

// Lease names one claim of one slot. A method that is given a lease other than
// the slot's present one does nothing, so a late call of an old owner within
// this process cannot hit its successor.
type Lease struct {
	Slot   int32
	Serial uint64 // unique within the process, growing
}

// Positions are where a slot's topics go on from, as the store has them.
type Positions struct {
	Commands int64 // first offset of commands that is not in the checkpoint
	Login    int64 // first offset of login-request not finished, or Unset
}

// Handler is what Slots needs of a home. The methods of one lease are called
// in the order Claim, Serve, Records…, Release, none beside another; those of
// different leases may run concurrently, Claim and planned Release do. Until
// Slots has taken note of a Drop, Records and Release of that lease may still
// come: a handler ignores leases that it no longer knows.
type Handler interface {
	// Claim takes the slot in the store and reads where to go on from. After
	// maru.ErrStaleGeneration it is called again when the group has a new
	// generation, and with force after SlotsConfig.Force; after another error with
	// growing waits. Each call has a lease of its own. ctx ends when the slot is
	// taken away. After a nil error there is one Release of the lease, unless the
	// handler drops it.
	Claim(ctx context.Context, l Lease, generation int32, force bool) (Positions, error)
	// Serve says that Records follow, from the positions at (that of the login topic
	// may differ from what Claim returned). ends has, by topic, the offset after the
	// log's last record as listed after the claim: what must happen beside the
	// fold starts only after the slot has applied commands up to there. It is
	// called on the owner goroutine and must not block.
	Serve(l Lease, at Positions, ends map[string]int64)
	// Records hands on records of one topic, in order; of commands without a gap.
	// It is called on the owner goroutine and must not block: a handler whose
	// queue is full calls Pause, and still takes what was polled before, at most
	// MaxPoll records.
	Records(l Lease, recs []maru.LogRecord)
	// Release ends leases. Planned (revoked by the group or stopping): nothing more
	// is applied, a last checkpoint is written (at most 1 s) and Release returns;
	// only then may another process claim. Otherwise they are lost: it is called on
	// the owner goroutine and returns at once.
	Release(ls []Lease, planned bool)
}

// MaxPoll bounds the records that are polled, and so handed on, at a time.
const MaxPoll = 2000

// SlotsConfig says how to own slots. Zero durations mean their defaults.
type SlotsConfig struct {
	Conn     Conn
	Group    string // consumer group
	Commands string // topic whose records change state
	Login    string // topic that the group subscribes to; read beside commands
	// CommandsID is the id of the topic Commands (Admin.TopicID) that the stored
	// positions are of. Empty: of the topic that the first claim finds.
	CommandsID string
	Partitions int32 // P; what the group gives beyond it is not served
	// LoginFromStart: a slot without a stored login position starts at the
	// beginning of the log (maru made the topic), else at the group's committed
	// offset, else at the end.
	LoginFromStart bool

	// Session is how long the group waits for a silent member before it gives its
	// slots to others: brokers allow no less than 6 s by default. 6 s.
	Session time.Duration
	// Heartbeat is how often the member speaks; a change reaches it with the next
	// one, so it is most of a planned hand-over: with 300 ms the slowest took 297. 200 ms.
	Heartbeat time.Duration
	// Rebalance is how long the group waits for members to join again. It must be
	// below Session: some brokers expel a member that waits longer for others. 4 s.
	Rebalance time.Duration
	// Reclaim is the wait before a dropped slot is claimed anew: a process that
	// was paused and claims late fences the rightful owner for a moment, and an
	// immediate claim back would go to and fro. 3 heartbeats.
	Reclaim time.Duration
	// Force is after how long a claim refused for its generation is forced: the
	// group was made anew and counts from 1 again. 60 s.
	Force time.Duration

	Handler Handler
	// Fatal is called at most once, on a goroutine of its own, when this process
	// cannot go on: the group refuses it for good, or a log is not the one of its
	// checkpoint. The process should call Stop and end.
	Fatal  func(error)
	Logger *slog.Logger

	afterPoll   func() // test seam: between a poll and its use
	beforeServe func() // test seam: between a claim and reading
}

func (c *SlotsConfig) check() error {
	setDefault(&c.Session, 6*time.Second)
	setDefault(&c.Heartbeat, 200*time.Millisecond)
	setDefault(&c.Rebalance, 4*time.Second)
	setDefault(&c.Reclaim, 3*c.Heartbeat)
	setDefault(&c.Force, time.Minute)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Conn.Logger == nil {
		c.Conn.Logger = c.Logger
	}
	switch {
	case c.Group == "" || c.Commands == "" || c.Login == "":
		return errors.New("slots: group, commands and login topic are needed")
	case c.Commands == c.Login:
		return errors.New("slots: commands and login-request must be two topics")
	case c.Partitions <= 0:
		return errors.New("slots: the number of partitions is needed")
	case c.Handler == nil || c.Fatal == nil:
		return errors.New("slots: a handler and a function for fatal errors are needed")
	case c.Heartbeat*3 > c.Session:
		return errors.New("slots: the session time-out must be at least three heartbeats")
	case c.Rebalance >= c.Session:
		return errors.New("slots: the rebalance time-out must be below the session time-out")
	}
	return nil
}

func setDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

// Slots owns the slots that the group gives to this process. Being given
// partition p of the login topic means owning slot p: partition p of every data
// topic, read by a second, direct client from the positions in the store. The
// group's own assignment of several topics cannot be used for that: sticky
// assignors balance each topic for itself and part the pairs at the first leave.
//
// The owner goroutine (loop) has all state; everybody else posts events to it.
// Nothing waits on a mutex for longer than an append takes, so that in tests
// virtual time never stands still.
type Slots struct {
	cfg    SlotsConfig
	log    *slog.Logger
	group  *kgo.Client // membership only: its fetching is paused
	direct *kgo.Client
	adm    *kadm.Client // of direct

	events mailbox
	polls  chan context.Context // one token: the next poll may run under this context
	run    context.Context      // ends claims, polls and the loop
	cancel context.CancelFunc
	conns  context.CancelFunc // ends every request of both clients at once
	wg     sync.WaitGroup     // claims, planned releases, pollers
	done   chan struct{}      // the loop has ended

	turned  atomic.Int64 // when the loop last turned, Unix nanoseconds
	gen     atomic.Int32
	outside atomic.Int64 // login positions found outside of the log
	owned   atomic.Pointer[[]Lease]
	end     sync.Once

	loopState
}

// loopState belongs to the owner goroutine.
type loopState struct {
	slots      map[int32]*slot
	serial     uint64
	cut        map[int32]int64    // slot: where commands was seen to lose records
	logID      string             // of the topic Commands; empty until a claim has found it
	ready      []*slot            // claimed, to be read from the next poll on
	pollCancel context.CancelFunc // of the poll under way, nil when none
	purging    int                // topics that the client is being told to forget
	stopping   bool
	failed     bool // Fatal was called
	complained map[string]time.Time
}

// StartSlots joins the group and serves what it gives, until Stop. Methods of the
// handler may be called before it returns.
func StartSlots(cfg SlotsConfig) (*Slots, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Slots{cfg: cfg, log: cfg.Logger.With("group", cfg.Group), done: make(chan struct{}), polls: make(chan context.Context, 1)}
	s.loopState = loopState{slots: map[int32]*slot{}, cut: map[int32]int64{}, logID: cfg.CommandsID, complained: map[string]time.Time{}}
	s.events.wake = make(chan struct{}, 1)
	s.owned.Store(&[]Lease{})
	s.gen.Store(-1)
	s.turned.Store(time.Now().UnixNano())
	s.run, s.cancel = context.WithCancel(context.Background())
	var conns context.Context
	conns, s.conns = context.WithCancel(context.Background())

	var err error
	if s.direct, err = s.openDirect(conns); err != nil {
		s.cancel()
		s.conns()
		return nil, err
	}
	s.adm = kadm.NewClient(s.direct)
	if s.group, err = s.openGroup(conns); err != nil {
		s.cancel()
		s.conns()
		s.direct.Close()
		return nil, err
	}
	go s.loop()
	s.wg.Go(s.pollDirect)
	s.wg.Go(s.pollGroup)
	return s, nil
}

// openDirect opens the client that reads the slots' partitions.
func (s *Slots) openDirect(ctx context.Context) (*kgo.Client, error) {
	return s.cfg.Conn.client(
		kgo.WithContext(ctx),
		// A position outside of the log is never mended silently: the library's
		// default would rewind by a minute.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMinBytes(1),
		// A partition that is added waits for the fetch under way to that broker, so
		// this is the most that an idle hand-over waits for it.
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchMaxPartitionBytes(1<<20),
		kgo.FetchMaxBytes(16<<20),
	)
}

// Drop ends a lease that the handler found fenced or failed: it is read no more,
// Release is not called for it, and if the group still gives this process the
// slot, it is claimed anew after the Reclaim delay.
func (s *Slots) Drop(l Lease, why error) { s.events.post(func() { s.drop(l, why) }) }

// Pause stops fetching one topic of a slot, the others go on; Resume undoes it.
// Records polled before still arrive. A new lease of the slot is not paused.
func (s *Slots) Pause(l Lease, topic string) { s.events.post(func() { s.pause(l, topic, true) }) }

// Resume goes on fetching what Pause stopped; nothing between is lost.
func (s *Slots) Resume(l Lease, topic string) { s.events.post(func() { s.pause(l, topic, false) }) }

// CommitLogin commits positions of the login topic (slot to next offset) to the
// group, so that Kafka's tools show the lag. They decide nothing while the store
// has positions of its own, so a failure is only logged. Slots that are not
// served are left out.
func (s *Slots) CommitLogin(ctx context.Context, positions map[int32]int64) {
	mine := map[int32]kgo.EpochOffset{}
	for _, l := range s.Owned() {
		if at, ok := positions[l.Slot]; ok && at >= 0 {
			mine[l.Slot] = kgo.EpochOffset{Epoch: -1, Offset: at}
		}
	}
	if len(mine) == 0 {
		return
	}
	s.commit(ctx, map[string]map[int32]kgo.EpochOffset{s.cfg.Login: mine})
}

// Generation returns the group's generation when slots were last assigned, -1 before.
func (s *Slots) Generation() int32 { return s.gen.Load() }

// MemberID returns the name that the group gave this member, "" before it joined.
func (s *Slots) MemberID() string {
	id, _ := s.group.GroupMetadata()
	return id
}

// LoginsRestarted counts the claims that found their position outside of the log
// of logins and read it from its start.
func (s *Slots) LoginsRestarted() int64 { return s.outside.Load() }

// Owned returns the leases that are served now, by slot.
func (s *Slots) Owned() []Lease { return slices.Clone(*s.owned.Load()) }

// LastTurn returns when the owner goroutine last turned; it does at least every
// half second. The client library has no limit on a stuck consumer, heartbeats go
// on without it, so a watchdog must end a process whose loop stands still.
func (s *Slots) LastTurn() time.Time { return time.Unix(0, s.turned.Load()) }

// Stop releases all slots (planned), leaves the group and closes the clients.
// When ctx ends first, the rest is cut off and its error returned.
func (s *Slots) Stop(ctx context.Context) error {
	var err error
	s.end.Do(func() {
		s.events.post(func() { s.stopping = true })
		// Leaving revokes: the handler's planned releases run before the group hears of it.
		err = s.group.LeaveGroupContext(ctx)
		left := make(chan struct{})
		s.events.post(func() { s.releaseAll(left) })
		select {
		case <-left:
		case <-ctx.Done():
			err = errors.Join(err, ctx.Err())
		}
		s.shut(err != nil)
	})
	return err
}

// Crash ends everything at once as if the process had died: nothing is released,
// written or left. It is for tests, after the process's network was cut.
func (s *Slots) Crash() { s.end.Do(func() { s.shut(true) }) }

// shut ends the goroutines, then the clients: the group's first, whose callbacks
// no longer find a loop to wait for.
func (s *Slots) shut(cut bool) {
	s.cancel()
	if cut {
		s.conns()
	}
	<-s.done
	s.group.Close()
	s.direct.Close()
	s.conns()
	s.wg.Wait()
}

package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"maru"
	"maru/auth"
	"maru/home"
	"maru/home/fold"
	"maru/kafka"
	"maru/record"
)

// rememberedPasswords bounds the verified passwords that a process remembers, at
// about 300 bytes each.
const rememberedPasswords = 200_000

// homePart is the role home: the slots of this process.
type homePart struct {
	home    *home.Home
	slots   *kafka.Slots
	checker *home.Checker
	topic   string        // of commands
	ready   chan struct{} // closed when slots is set: claims begin before StartSlots returns
	commits commits
	version atomic.Int32 // highest version of the rules that all live homes can apply
}

func (n *Node) startHome(ctx context.Context) error {
	if n.cfg.Role == RoleGateway {
		return nil
	}
	sealer, err := auth.NewSealer(n.secret)
	if err != nil {
		return err
	}
	if err := n.checkRules(ctx); err != nil {
		return err
	}
	p := &homePart{topic: n.cfg.Topics.Commands, ready: make(chan struct{})}
	n.home = p
	if err := n.announce(ctx, p); err != nil {
		return err
	}
	p.checker = home.NewChecker(n.hasher, n.pool, sealer, auth.NewClaims(n.secret), auth.NewRemembered(rememberedPasswords), 0)
	n.onClose("password checks", p.checker.Close)
	log, sql := n.homeSeams()
	p.home = home.New(home.Config{
		Name: n.cfg.Name, Topics: n.homeTopics(), Partitions: n.cluster.partitions, Delivery: deliveryPartitions,
		Store: sql, Log: log, Trimmer: trimmer{n.admin}, Checker: p.checker,
		Logger: n.log, Metrics: home.NewMetrics(n.registry),
		Rules: func() record.RulesBody {
			return record.RulesBody{Version: int(p.version.Load()), Zone: n.cfg.TimeZone}
		},
		CheckpointEvery: n.cfg.Seams.CheckpointEvery, MaxResident: n.cfg.Seams.MaxResident, KeepLog: n.cfg.KeepLog,
		Fatal: n.fail, Off: n.cfg.Seams.Off, Gate: n.cfg.Seams.HomeGate,
	})
	n.registry.MustRegister(p.home.Collector())
	n.onClose("home", p.home.Close)
	p.home.Start(feeder{p})
	return n.startSlots(p)
}

func (n *Node) startSlots(p *homePart) (err error) {
	force := n.cfg.Seams.Force
	if n.broker != nil {
		// The lock of the broker's directory leaves no other owner. A generation
		// that is newer in SQL means that the log was lost, and the group with it:
		// waiting would only put off saying so.
		force = time.Millisecond
	}
	p.slots, err = kafka.StartSlots(kafka.SlotsConfig{
		Conn: n.conn, Group: n.cfg.Group, Commands: n.cfg.Topics.Commands, Login: n.cfg.Topics.LoginRequest,
		Partitions: n.cluster.partitions, LoginFromStart: n.cluster.loginFromStart, CommandsID: n.cluster.commandsID,
		Session: n.cfg.Session, Heartbeat: n.cfg.Seams.Heartbeat, Rebalance: n.cfg.Seams.Rebalance, Force: force,
		Handler: &handler{p, n.cfg.Seams.Fetch}, Fatal: n.fail, Logger: n.log,
	})
	if err != nil {
		return err
	}
	close(p.ready)
	n.onClose("slots", p.slots.Stop)
	var last time.Time
	seen := 0
	watched := every(stuckLoop/stuckLooks, func(context.Context) {
		at := p.slots.LastTurn()
		if seen++; at != last {
			last, seen = at, 0
		}
		if seen >= stuckLooks {
			n.fail(fmt.Errorf("the loop that owns the slots has not turned since %v: this process ends so that another home takes over", at.Format(time.RFC3339)))
		}
	})
	n.onClose("watchdog", func(context.Context) error { watched(); return nil })
	stop := p.commits.start(p.slots)
	n.onClose("login positions", func(context.Context) error { stop(); return nil })
	return nil
}

// homeSeams returns what the home writes to, as wrapped by a test.
func (n *Node) homeSeams() (log home.Log, sql home.Store) {
	log, sql = n.producer, n.store
	if w := n.cfg.Seams.WrapLog; w != nil {
		log = w(log)
	}
	if w := n.cfg.Seams.WrapStore; w != nil {
		sql = w(sql)
	}
	return log, sql
}

func (n *Node) homeTopics() home.Topics {
	t := n.cfg.Topics
	return home.Topics{Commands: t.Commands, Delivery: t.Delivery, LoginRequest: t.LoginRequest, LoginResponse: t.LoginResponse}
}

// checkRules refuses to start a home that could not go on from the checkpoints: it
// would take slots from others only to leave again.
func (n *Node) checkRules(ctx context.Context) error {
	version, err := n.store.MaxRulesVersion(ctx)
	if err == nil && version > fold.MaxVersion {
		err = fmt.Errorf("this cluster is at version %d of the rules, this maru knows %d: start a newer maru here", version, fold.MaxVersion)
	}
	return err
}

// mendTopics makes topics again that somebody has deleted: without one that outputs
// go to, checkpoints would wait for ever. It says so, since their records are lost.
// The log itself, commands, is not made again: an empty one is not that log.
func (n *Node) mendTopics(ctx context.Context) {
	layout := n.cfg.layout(n.cluster.partitions)
	missing, err := n.admin.Missing(ctx, layout)
	if err != nil || len(missing) == 0 {
		return // what cannot be reached is the health check's to tell
	}
	n.log.Error("topics were deleted", "topics", missing)
	if slices.Contains(missing, n.cfg.Topics.Commands) {
		n.log.Error("the log itself was deleted: bring it back, or stop all homes and run `maru repair`", "topic", n.cfg.Topics.Commands)
	}
	created, err := n.admin.Remake(ctx, layout, missing)
	if len(created) > 0 {
		n.log.Warn("topics made again, empty", "topics", created)
	}
	if err != nil && ctx.Err() == nil {
		n.log.Error("topics not made again", "err", err)
	}
}

// announceEvery is how often homes say which version of the rules they can apply;
// one that was silent for announceLapse is not asked any more.
const (
	announceEvery = 5 * time.Second
	announceLapse = 20 * time.Second
)

// announce keeps this home among the live ones, and the version that all of them
// can apply. The rules of a slot are raised only to that.
func (n *Node) announce(ctx context.Context, p *homePart) error {
	once := func(ctx context.Context) error {
		now := time.Now()
		if err := n.store.AnnounceHome(ctx, n.cfg.Name, fold.MaxVersion, now.UnixMilli()); err != nil {
			return err
		}
		homes, err := n.store.LiveHomes(ctx, now.Add(-announceLapse).UnixMilli())
		if err != nil {
			return err
		}
		version := fold.MaxVersion
		for _, h := range homes {
			version = min(version, h.RulesMax)
		}
		p.version.Store(int32(version))
		return nil
	}
	if err := once(ctx); err != nil {
		return fmt.Errorf("announcing this home: %w", err)
	}
	stop := every(announceEvery, func(ctx context.Context) {
		if err := once(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("home not announced", "err", err)
		}
		n.mendTopics(ctx)
	})
	n.onClose("announcement", func(ctx context.Context) error {
		stop()
		return n.store.ForgetHome(ctx, n.cfg.Name)
	})
	return nil
}

// stuckLoop is how long the owner loop of the slots, which turns twice a second, may
// stand still: the Kafka client itself would keep the slots of a stuck process. The
// looks are counted, and no times compared: a process that was stopped, or whose
// machine slept, is not stuck.
const (
	stuckLoop  = 30 * time.Second
	stuckLooks = 10
)

// handler lets kafka.Slots feed a home.Home: the two packages do not know each other.
type handler struct {
	p     *homePart
	fetch func([]maru.LogRecord) []maru.LogRecord // seam
}

func (h *handler) Claim(ctx context.Context, l kafka.Lease, generation int32, force bool) (kafka.Positions, error) {
	<-h.p.ready
	c, err := h.p.home.Claim(ctx, home.Lease(l), generation, force)
	return kafka.Positions{Commands: c.Next, Login: c.LoginNext}, err
}

func (h *handler) Serve(l kafka.Lease, at kafka.Positions, ends map[string]int64) {
	h.p.home.Serve(home.Lease(l), ends[h.p.topic], at.Login)
}

func (h *handler) Records(l kafka.Lease, recs []maru.LogRecord) {
	if h.fetch != nil {
		recs = h.fetch(recs)
	}
	h.p.home.Records(home.Lease(l), recs)
}

func (h *handler) Release(ls []kafka.Lease, planned bool) {
	leases := make([]home.Lease, len(ls))
	for i, l := range ls {
		leases[i] = home.Lease(l)
	}
	h.p.home.Release(leases, planned)
}

// feeder is the other direction.
type feeder struct{ p *homePart }

func (f feeder) Drop(l home.Lease, why error)      { f.p.slots.Drop(kafka.Lease(l), why) }
func (f feeder) Pause(l home.Lease, topic string)  { f.p.slots.Pause(kafka.Lease(l), topic) }
func (f feeder) Resume(l home.Lease, topic string) { f.p.slots.Resume(kafka.Lease(l), topic) }
func (f feeder) CommitLogin(slot int32, at int64)  { f.p.commits.set(slot, at) }

// commits gathers positions of login-request and commits them to the group once a
// second: they are shown by Kafka's tools, and nothing else goes by them. mu owns
// positions.
type commits struct {
	mu        sync.Mutex
	positions map[int32]int64
}

func (c *commits) set(slot int32, at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.positions == nil {
		c.positions = map[int32]int64{}
	}
	c.positions[slot] = at
}

func (c *commits) take() map[int32]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.positions
	c.positions = nil
	return p
}

// start commits until the returned function is called, which commits once more.
func (c *commits) start(s *kafka.Slots) (stop func()) {
	flush := func(ctx context.Context) {
		if p := c.take(); p != nil {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			s.CommitLogin(ctx, p)
		}
	}
	end := every(time.Second, flush)
	return func() {
		end()
		flush(context.Background())
	}
}

// trimmer drops the result of kafka.Admin.Trim that a home has no use for.
type trimmer struct{ *kafka.Admin }

func (t trimmer) Trim(ctx context.Context, topic string, partition int32, before int64) error {
	_, err := t.Admin.Trim(ctx, topic, partition, before)
	return err
}

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
	_ "time/tzdata" // dates must not depend on what the machine has installed

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"maru/auth"
	"maru/kafka"
	"maru/kafka/embedded"
	"maru/store"
)

// Node is a running process. It is made by Start; its fields do not change after.
type Node struct {
	cfg      Config
	log      *slog.Logger
	registry *prometheus.Registry

	broker   *embedded.Broker // nil: real brokers
	conn     kafka.Conn
	store    *store.Store
	secret   *auth.Secret
	hasher   *auth.Hasher
	pool     *auth.Pool
	admin    *kafka.Admin
	cluster  cluster
	mending  bool // by Repair: another log of commands is not refused
	producer *kafka.Producer
	home     *homePart
	health   health
	control  *control

	addr   net.Addr      // of the gateway
	closes []closer      // in the order of starting
	dead   chan struct{} // closed by fail
	reason error         // set before dead is closed
	once   sync.Once
	ended  sync.Once
}

type closer struct {
	name  string
	close func(ctx context.Context) error
}

// Start starts a process and returns when it serves, or says why it cannot.
func Start(ctx context.Context, cfg Config) (n *Node, err error) {
	if err := cfg.Check(); err != nil {
		return nil, &ConfigError{err}
	}
	n = &Node{cfg: cfg, log: cfg.Logger.With("node", cfg.Name), registry: prometheus.NewRegistry(), dead: make(chan struct{})}
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			n.Close(shut)
		}
	}()
	steps := []struct {
		name  string
		start func(context.Context) error
	}{
		{"data directory", n.startData},
		{"embedded broker", n.startBroker},
		{"database", n.startStore},
		{"cluster secret", n.startSecret},
		{"Kafka", n.startKafka},
		{"passwords", n.startPasswords},
		{"health", n.startHealth},
		{"home", n.startHome},
		{"home's listener", n.startOps},
		{"gateway", n.startGateway},
		{"slots", n.awaitSlots},
		{"admin socket", n.startControl},
	}
	for _, s := range steps {
		if err := s.start(ctx); err != nil {
			return n, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return n, nil
}

// ConfigError: a setting is wrong; nothing was started.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the sentence without the type.
func (e *ConfigError) Unwrap() error { return e.Err }

// every calls f each d, on one goroutine, until stop is called; stop waits for its end.
func every(d time.Duration, f func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				f(ctx)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// onClose registers what Close undoes.
func (n *Node) onClose(name string, f func(context.Context) error) {
	n.closes = append(n.closes, closer{name, f})
}

// Close stops everything in the reverse order of starting: no new work, then what
// is under way, then the connections. It may be called once it is dead too.
func (n *Node) Close(ctx context.Context) (err error) {
	n.ended.Do(func() {
		for i := len(n.closes) - 1; i >= 0; i-- {
			c := n.closes[i]
			if e := c.close(ctx); e != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", c.name, e))
			}
		}
	})
	return err
}

// Crash ends everything as if the process had been killed: nothing is released,
// left or written any more. It is for tests, after the network was cut.
func (n *Node) Crash() {
	if n.home != nil && n.home.slots != nil {
		n.home.slots.Crash()
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	n.Close(gone)
}

// fail says that the process cannot go on. Only the first reason counts.
func (n *Node) fail(err error) {
	n.once.Do(func() {
		n.reason = err
		close(n.dead)
	})
}

// Dead is closed when the process cannot go on; Err then says why.
func (n *Node) Dead() <-chan struct{} { return n.dead }

// Err returns why the process cannot go on, nil while it can.
func (n *Node) Err() error {
	select {
	case <-n.dead:
		return n.reason
	default:
		return nil
	}
}

// Addr returns the address on which the gateway serves; nil without one.
func (n *Node) Addr() net.Addr { return n.addr }

// Slots returns how many slots this process holds, and how many of them are live.
func (n *Node) Slots() (held, live int) {
	if n.home == nil {
		return 0, 0
	}
	return n.home.home.Live()
}

// KafkaAddr returns where Kafka's own tools can connect, empty when nowhere.
func (n *Node) KafkaAddr() string {
	if n.broker == nil || n.cfg.KafkaListen == "" {
		return ""
	}
	return n.broker.Addr()
}

func (n *Node) startData(context.Context) error {
	if err := os.MkdirAll(n.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("cannot make %s: %w", n.cfg.Data, err)
	}
	return nil
}

// startBroker starts the embedded broker unless there are real ones.
func (n *Node) startBroker(ctx context.Context) error {
	if !n.cfg.embedded() {
		n.conn = kafka.Conn{Seeds: n.cfg.Kafka, Dialer: n.cfg.Seams.Dial, ClientID: n.cfg.Name, Logger: n.log}
		if b := n.cfg.Seams.Broker; b != nil && len(n.conn.Seeds) == 0 {
			n.conn.Seeds = b.Addrs()
			if n.cfg.Seams.Dial == nil {
				n.conn.Dialer = b.Dial
			}
		}
		return nil
	}
	t := n.cfg.Topics
	b, err := embedded.Start(ctx, embedded.Config{
		Dir: filepath.Join(n.cfg.Data, "log"), Listen: n.cfg.KafkaListen, NoSync: n.cfg.Seams.NoSync,
		Protected:       []string{t.Commands, t.Delivery},
		ProtectedGroups: []string{n.cfg.Group},
		Retention: map[string]time.Duration{
			t.Delivery: deliveryRetention, t.LoginRequest: loginRetention, t.LoginResponse: loginRetention,
		},
		Logger: n.log, Fatal: n.fail,
	})
	if err != nil {
		return err
	}
	n.broker = b
	n.onClose("embedded broker", func(context.Context) error { return b.Close() })
	n.conn = kafka.Conn{Seeds: b.Addrs(), Dialer: b.Dial, ClientID: n.cfg.Name, Opts: b.SeedOpts(), Logger: n.log}
	return nil
}

func (n *Node) startStore(ctx context.Context) (err error) {
	n.store, err = store.Open(ctx, store.Config{DSN: n.cfg.dsn(), Logger: n.log, Hook: n.cfg.Seams.StoreHook})
	if err != nil {
		return err
	}
	n.onClose("database", func(context.Context) error { return n.store.Close() })
	return nil
}

// startSecret finds the cluster secret and compares it with the one that the
// database was first used with: with another one no session and no sealed
// password of the other processes could be read.
func (n *Node) startSecret(ctx context.Context) (err error) {
	switch {
	case n.cfg.Secret != "":
		n.secret, err = auth.ParseSecret(n.cfg.Secret)
	case n.cfg.SecretFile != "":
		n.secret, err = auth.LoadOrCreate(n.cfg.SecretFile)
	default:
		n.secret, err = auth.LoadOrCreate(filepath.Join(n.cfg.Data, "secret"))
	}
	if err != nil {
		return err
	}
	known, _, err := n.store.EnsureMeta(ctx, "secret.check", n.secret.Check())
	if err != nil {
		return err
	}
	if known != n.secret.Check() {
		return errors.New("this is not the secret of the cluster that uses this database: give all processes the same one with --secret-file or MARU_SECRET")
	}
	return nil
}

func (n *Node) startKafka(ctx context.Context) (err error) {
	if n.admin, err = kafka.NewAdmin(n.conn); err != nil {
		return err
	}
	n.onClose("Kafka", func(context.Context) error { n.admin.Close(); return nil })
	if n.cluster, err = n.ensureCluster(ctx); err != nil {
		return err
	}
	if n.producer, err = kafka.NewProducer(n.conn); err != nil {
		return err
	}
	n.onClose("producer", func(ctx context.Context) error {
		defer n.producer.Close()
		return n.producer.Flush(ctx)
	})
	n.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "maru_producer_buffered_records", Help: "Records produced and not yet acknowledged."},
		func() float64 { records, _ := n.producer.Buffered(); return float64(records) }))
	return nil
}

func (n *Node) startPasswords(context.Context) (err error) {
	if n.hasher, err = auth.NewHasher(n.cfg.hashParams()); err != nil {
		return err
	}
	n.pool = auth.NewPool(n.cfg.PasswordWorkers)
	n.registerPool()
	n.onClose("passwords", func(context.Context) error { n.pool.Close(); return nil })
	return nil
}

// registerPool shows how busy the checks of passwords are: they are what a flood of
// logins fills first.
func (n *Node) registerPool() {
	gauge := func(name, help string, value func(auth.PoolStats) int) {
		n.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return float64(value(n.pool.Stats())) }))
	}
	gauge("maru_password_checks_limit", "Passwords hashed at the same time at most.", func(s auth.PoolStats) int { return s.Workers })
	gauge("maru_password_checks_running", "Passwords being hashed.", func(s auth.PoolStats) int { return s.Running })
	gauge("maru_password_checks_waiting", "Passwords that wait to be hashed.", func(s auth.PoolStats) int { return s.Waiting })
	n.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: "maru_password_checks_refused_total", Help: "Passwords not hashed because too many waited."},
		func() float64 { return float64(n.pool.Stats().Refused) }))
}

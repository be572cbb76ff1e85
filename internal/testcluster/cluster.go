package testcluster

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"maru/auth"
	"maru/internal/faultswitch"
	"maru/kafka/embedded"
	"maru/node"
	"maru/store"
)

// Options say what a cluster consists of. The zero value is one gateway and one home.
type Options struct {
	Gateways, Homes int
	Partitions      int32 // default 4
	Seed            uint64
	Off             map[string]*faultswitch.Set // steps turned off, by process name; "*" for all
	MaxResident     int                         // bytes per slot; default: small enough that eviction happens
	Tune            func(*Process, *node.Config)
}

// Cluster is a cluster in one bubble. Methods are called from the test's goroutine
// unless they say otherwise.
type Cluster struct {
	T      *testing.T
	Rand   *rand.Rand
	opt    Options
	broker *embedded.Broker
	net    embedded.Network
	secret string
	db     string
	dir    string
	sql    *store.Store // the test's own view
	log    *slog.Logger
	watch  *observer
	layout struct{ partitions, delivery int32 }

	mu        sync.Mutex // owns what follows; clients run on goroutines of their own
	processes map[string]*Process
	gateways  []string
	people    []*Person
	told      []string       // what clients and the observer found wrong
	ending    sync.WaitGroup // crashed processes whose remains are being cleared
}

// Start starts a cluster. It must be called inside a bubble; everything ends with
// the test.
func Start(t *testing.T, o Options) *Cluster {
	t.Helper()
	if o.Gateways == 0 {
		o.Gateways = 1
	}
	if o.Homes == 0 {
		o.Homes = 1
	}
	if o.Partitions == 0 {
		o.Partitions = 4
	}
	if o.MaxResident == 0 {
		o.MaxResident = 6000
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	t.Logf("seed %d", o.Seed)
	dir := t.TempDir()
	c := &Cluster{
		T: t, Rand: rand.New(rand.NewPCG(o.Seed, 0)), opt: o, net: embedded.NewNetwork(),
		dir: dir, db: filepath.Join(dir, "maru.db"), processes: map[string]*Process{},
		secret: "c2VjcmV0IG9mIHRoZSB0ZXN0IGNsdXN0ZXIsIDMyIGJ5dGVzIQ==",
	}
	c.layout.partitions, c.layout.delivery = o.Partitions, 64
	c.log = slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: logLevel()}))
	var err error
	if c.broker, err = embedded.Start(t.Context(), embedded.Config{
		Network: c.net, Logger: c.log,
		Retention: map[string]time.Duration{"delivery": 1000 * time.Hour}, // Check reads it all
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.broker.Close() })
	if c.sql, err = store.Open(t.Context(), store.Config{DSN: c.db}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.sql.Close() })
	c.startAll()
	c.watch = watch(c)
	return c
}

func (c *Cluster) startAll() {
	c.T.Helper()
	for i := range c.opt.Homes {
		c.StartHome(fmt.Sprintf("home%d", i+1))
	}
	for i := range c.opt.Gateways {
		c.StartGateway(fmt.Sprintf("gate%d", i+1))
	}
	c.T.Cleanup(c.stopAll)
}

// stopAll ends everything that still runs, then waits for the remains.
func (c *Cluster) stopAll() {
	c.watch.close()
	c.mu.Lock()
	var all []*Process
	for _, p := range c.processes {
		all = append(all, p)
	}
	c.mu.Unlock()
	for _, p := range all {
		p.Crash()
	}
	c.ending.Wait()
}

// StartHome starts a process of role home and returns when it has joined.
func (c *Cluster) StartHome(name string) *Process { return c.start(name, node.RoleHome) }

// StartGateway starts a process of role gateway and returns when it serves.
func (c *Cluster) StartGateway(name string) *Process {
	p := c.start(name, node.RoleGateway)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.gateways {
		if g == name {
			return p
		}
	}
	c.gateways = append(c.gateways, name)
	return p
}

func (c *Cluster) start(name string, role node.Role) *Process {
	c.T.Helper()
	p := &Process{c: c, Name: name, gate: newGate(), role: role}
	cfg := c.config(p)
	ctx, cancel := context.WithTimeout(c.T.Context(), time.Minute)
	defer cancel()
	n, err := node.Start(ctx, cfg)
	if err != nil {
		c.T.Fatalf("starting %s: %v", name, err)
	}
	p.node = n
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processes[name] = p
	return p
}

func (c *Cluster) config(p *Process) node.Config {
	s := node.Defaults()
	s.Name, s.Role, s.Listen, s.Data, s.Database = p.Name, p.role, p.Name+":80", filepath.Join(c.dir, p.Name), c.db
	s.KafkaListen, s.Partitions, s.Secret = "", c.opt.Partitions, c.secret
	s.PasswordMemory, s.PasswordTime = 64, 1
	s.FailedLogins.N, s.Registrations.N = -1, -1
	cfg := node.Config{Settings: s, Logger: c.log, Seams: node.Seams{
		Broker: c.broker, NoAdmin: true,
		Listen: p.listen, Dial: p.dial, StoreHook: p.gate.sql, HomeGate: p.gate.at,
		MaxResident: c.opt.MaxResident, Rebalance: 4 * time.Second,
	}}
	for _, key := range []string{"*", p.Name} {
		if off, ok := c.opt.Off[key]; ok {
			cfg.Seams.Off = off
		}
	}
	if c.opt.Tune != nil {
		c.opt.Tune(p, &cfg)
	}
	return cfg
}

// tell notes something that is wrong; Check returns it. Any goroutine may call it.
func (c *Cluster) tell(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.told) < 20 {
		c.told = append(c.told, fmt.Sprintf(format, args...))
	}
}

// Process returns a running process.
func (c *Cluster) Process(name string) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.processes[name]
	if p == nil {
		c.T.Fatalf("no process %s runs", name)
	}
	return p
}

// Secret returns the cluster secret, for tests that act as a gateway.
func (c *Cluster) Secret() *auth.Secret {
	s, err := auth.ParseSecret(c.secret)
	if err != nil {
		c.T.Fatal(err)
	}
	return s
}

// logWriter sends the processes' warnings to the test's output.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Log(string(b[:len(b)-1]))
	return len(b), nil
}

// logLevel is what the processes report to the test's output: warnings, or what
// MARU_TEST_LOG names.
func logLevel() (l slog.Level) {
	if l.UnmarshalText([]byte(os.Getenv("MARU_TEST_LOG"))) != nil {
		l = slog.LevelWarn
	}
	return l
}

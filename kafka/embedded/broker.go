package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

// Broker is a running broker. Its methods are safe for concurrent use. Start
// makes it and Close or Crash ends it, once; the parts that change meanwhile
// have owners of their own (door, catalog, disk, clusterRef).
type Broker struct {
	cfg    Config
	rules  *rules
	doors  []*door
	dir    *dataDir // nil: in memory
	kfake  *kfakeLog
	admin  *kgo.Client
	cancel context.CancelFunc // ends the loops
	loops  sync.WaitGroup
	once   sync.Once
	err    error // of the first Close
}

// Start opens the data directory, recovers it if the last run did not stop
// cleanly, and begins to serve. ctx bounds the start only. The directory stays
// locked until Close.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	b := &Broker{cfg: cfg, kfake: &kfakeLog{log: cfg.Logger}}
	if err := b.start(ctx); err != nil {
		b.stop(false)
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	return b, nil
}

// start does the steps of Start in their order. What it leaves half done, stop
// undoes.
func (b *Broker) start(ctx context.Context) error {
	var life context.Context
	life, b.cancel = context.WithCancel(context.Background())
	if err := b.prepare(); err != nil {
		return err
	}
	if err := b.openDoors(); err != nil {
		return err
	}
	if b.dir != nil {
		if err := b.recover(); err != nil {
			return err
		}
		if err := b.dir.begin(); err != nil {
			return err
		}
	}
	cluster, err := b.openCluster(b.entrances())
	if err != nil {
		return err
	}
	b.rules.cluster.set(cluster)
	if err := b.learn(ctx); err != nil {
		return err
	}
	for _, d := range b.doors {
		d.wg.Add(1)
		go d.serve(d.mem, false)
		if d.tcp != nil {
			d.wg.Add(1)
			go d.serve(d.tcp, true)
		}
	}
	b.loops.Go(func() { b.rules.disk.watch(life) })
	b.loops.Go(func() { b.trimLoop(life) })
	return nil
}

// prepare makes the rules and takes the data directory.
func (b *Broker) prepare() error {
	inflater, err := newInflater()
	if err != nil {
		return err
	}
	cluster := new(clusterRef)
	b.rules = &rules{
		log: b.cfg.Logger, brokers: b.cfg.Brokers, inflater: inflater,
		protected: set(b.cfg.Protected), groups: set(b.cfg.ProtectedGroups),
		frames:   semaphore.NewWeighted(maxFramesHeld),
		decoding: semaphore.NewWeighted(int64(max(1, runtime.GOMAXPROCS(0)/2))),

		cluster: cluster, catalog: newCatalog(cluster),
	}
	if b.cfg.Dir == "" {
		b.rules.disk = newDisk(b.cfg, nil)
		return nil
	}
	if b.dir, err = openDataDir(b.cfg.Dir); err != nil {
		return err
	}
	b.rules.disk = newDisk(b.cfg, b.dir.canary)
	b.rules.disk.look()
	return nil
}

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// openDoors makes a door for each of kfake's brokers, with the address that
// clients will be told.
func (b *Broker) openDoors() error {
	const noPort = 9092 // advertised where nothing listens: memory only
	first := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: noPort}
	if b.cfg.Listen != "" {
		var err error
		if first, err = loopback(b.cfg.Listen, b.cfg.Brokers-1); err != nil {
			return err
		}
	}
	seats := &seats{limit: b.cfg.MaxOutside}
	for i := range b.cfg.Brokers {
		addr := &net.TCPAddr{IP: first.IP, Zone: first.Zone, Port: first.Port}
		if first.Port != 0 {
			addr.Port += i
		}
		var tcp net.Listener
		if b.cfg.Listen != "" {
			var err error
			if tcp, err = net.ListenTCP("tcp", addr); err != nil {
				return fmt.Errorf("listen for Kafka tools: %w: choose another port with --kafka-listen, or none with an empty one", err)
			}
			addr = tcp.Addr().(*net.TCPAddr)
		}
		mem, err := b.cfg.Network.Listen("tcp", addr.String())
		if err != nil {
			if tcp != nil {
				tcp.Close()
			}
			return fmt.Errorf("listen in memory: %w", err)
		}
		b.doors = append(b.doors, newDoor(b.rules, addr, mem, tcp, seats))
	}
	return nil
}

// openCluster starts kfake with the given listeners, one for each broker.
func (b *Broker) openCluster(listeners []net.Listener) (*kfake.Cluster, error) {
	next := 0
	opts := []kfake.Opt{
		kfake.NumBrokers(b.cfg.Brokers),
		kfake.ClusterID("maru-embedded"),
		kfake.DefaultNumPartitions(1),
		kfake.WithLogger(b.kfake),
		kfake.ListenFn(func(string, string) (net.Listener, error) {
			l := listeners[next]
			next++
			return l, nil
		}),
		kfake.BrokerConfigs(map[string]string{
			// kfake's own retention must never run (K2). Its ticker starts
			// when a topic with retention.ms is created, and then applies the
			// default to all topics: let it wait for a century, and let the
			// default be none.
			"log.cleaner.backoff.ms":               strconv.FormatInt((100 * 365 * 24 * time.Hour).Milliseconds(), 10),
			"log.retention.ms":                     "-1",
			"log.retention.bytes":                  "-1",
			"message.max.bytes":                    strconv.Itoa(maxBatchBytes),
			"group.consumer.heartbeat.interval.ms": "500",
		}),
	}
	if b.dir != nil {
		opts = append(opts, kfake.DataDir(b.dir.log()))
		if !b.cfg.NoSync {
			opts = append(opts, kfake.SyncWrites())
		}
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return c, nil
}

func (b *Broker) entrances() []net.Listener {
	var ls []net.Listener
	for _, d := range b.doors {
		ls = append(ls, &entrance{door: d, done: make(chan struct{})})
	}
	return ls
}

// Dial connects a client of this process to the broker at addr, through memory
// and without the limits for connections from outside. It is made for kgo.Dialer.
func (b *Broker) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return b.cfg.Network.DialContext(ctx, network, addr)
}

// Addr is the address of the first broker as clients are told it: the one of the
// TCP listener when there is one.
func (b *Broker) Addr() string { return b.doors[0].addr.String() }

// Addrs is the addresses of all brokers.
func (b *Broker) Addrs() []string {
	var addrs []string
	for _, d := range b.doors {
		addrs = append(addrs, d.addr.String())
	}
	return addrs
}

// SeedOpts is what a kgo client of this process needs to reach the broker and to
// write records of up to 1 MiB.
func (b *Broker) SeedOpts() []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(b.Addrs()...),
		kgo.Dialer(b.Dial),
		kgo.ProducerBatchMaxBytes(maxBatchBytes),
	}
}

// Disk tells whether the broker takes writes, with a sentence when it does not.
func (b *Broker) Disk() (DiskState, string) {
	state, why := b.rules.disk.current()
	if why == nil {
		return state, ""
	}
	return state, *why
}

// Close ends the broker and makes its directory ready for the next start. Close
// the clients first. What is still connected is cut off, and members of groups
// that are left are removed, so that the next start need not wait for their
// sessions.
func (b *Broker) Close() error {
	b.once.Do(func() {
		if err := b.stop(true); err != nil {
			b.err = fmt.Errorf("close the embedded broker: %w", err)
		}
	})
	return b.err
}

// stop ends whatever was started. clean tells that the broker was serving, so
// that the directory may be marked as stopped cleanly.
func (b *Broker) stop(clean bool) error {
	var errs []error
	b.cancel()
	b.loops.Wait()
	for _, d := range b.doors {
		d.shutOut()
	}
	if clean {
		if err := b.evictMembers(); err != nil {
			b.cfg.Logger.Warn("members of groups stay in the embedded broker's log, the next start waits for their sessions",
				"error", err)
		}
	}
	if b.admin != nil {
		b.admin.Close()
	}
	for _, d := range b.doors {
		d.close()
	}
	if b.rules != nil {
		if cluster := b.rules.cluster.take(); cluster != nil {
			failed := b.kfake.failures()
			cluster.Close()
			if b.kfake.failures() > failed {
				clean = false
				errs = append(errs, errors.New("the log was not saved completely, the next start recovers it"))
			}
		}
		b.rules.inflater.close()
	}
	if b.dir != nil {
		if state, _ := b.rules.disk.current(); clean && state != DiskFailed {
			errs = append(errs, b.dir.finish())
		}
		errs = append(errs, b.dir.close())
	}
	return errors.Join(errs...)
}

// Crash ends the broker as a killed process would, for tests: nothing is saved,
// and the next Start of the directory recovers it. In memory it is Close.
func (b *Broker) Crash() error {
	b.once.Do(func() {
		if b.dir == nil {
			b.err = b.stop(true)
			return
		}
		b.cancel()
		for _, d := range b.doors {
			d.shutOut()
		}
		if err := b.dir.hideLog(); err != nil {
			b.err = fmt.Errorf("crash the embedded broker: %w", err)
		}
		undo := b.dir
		b.loops.Wait()
		b.err = errors.Join(b.err, b.stopCrashed(undo))
	})
	return b.err
}

// stopCrashed is stop after the log was hidden: kfake's Close writes to a log
// that is thrown away before the directory is given free.
func (b *Broker) stopCrashed(dir *dataDir) error {
	b.dir = nil
	err := b.stop(false)
	return errors.Join(err, dir.undoCrash(), dir.close())
}

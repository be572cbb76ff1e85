// Package realkafka starts real Apache Kafka brokers for tests, with the settings that compose.yaml
// states, and runs the console tools of Kafka's own release against them or any other server.
//
// It owns the brokers' processes and data, which live no longer than the test binary. It is no Kafka
// client: a test talks to the brokers through the tools or through the code it tests. Brokers need
// Java; without MARU_TEST_KAFKA=1 in the environment the tests that ask for them are skipped.
package realkafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"maru/deploy"
	"maru/internal/childproc"
)

// clusterID is any 16 bytes in URL-safe base64; the brokers of a cluster have it in common.
const clusterID = "bWFydS10ZXN0LWNsdXN0ZQ"

// startPatience bounds the start of a cluster or a broker on a machine that is busy with other tests.
const startPatience = 2 * time.Minute

// Options say what to start; the zero value is three brokers on free ports.
type Options struct {
	// Brokers is the number of brokers; 0 means 3.
	Brokers int
	// BasePort is the first broker's EXTERNAL port, the others' follow; 0 means free ports. The
	// reference set-up has 8097.
	BasePort int
	// Settings are server properties that replace the reference ones.
	Settings map[string]string
}

// Cluster is a running set of brokers, numbered from 1 as kafka1, kafka2, … Its methods may be
// called concurrently, those about one broker by one goroutine at a time.
type Cluster struct {
	*Tools
	brokers []*broker
	dir     *childproc.Dir
}

// Require skips the test unless MARU_TEST_KAFKA=1 asks for real brokers.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv("MARU_TEST_KAFKA") != "1" {
		t.Skip("needs Apache Kafka brokers (Java 17, some 600 MB); set MARU_TEST_KAFKA=1 to run it, as make test does")
	}
}

// Start starts brokers for one test and stops them at its end; a failed test logs their last lines.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	Require(t)
	c, err := Launch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.logOnFailure(t)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

var shared struct {
	mu      sync.Mutex
	cluster *Cluster
	err     error
}

// Shared returns three brokers that all tests of the binary have in common; the first call starts
// them. A test leaves all three running and uses topics of its own. They end with the test binary,
// or before it by StopShared.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	Require(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cluster == nil && shared.err == nil {
		// Not the test's context: the brokers outlive it.
		shared.cluster, shared.err = Launch(context.Background(), Options{})
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	c := shared.cluster
	t.Cleanup(func() { c.logOnFailure(t) })
	return c
}

// StopShared ends the brokers of Shared, if there are any. It is for a TestMain that checks for
// goroutines left behind.
func StopShared() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cluster == nil {
		return nil
	}
	err := shared.cluster.Close()
	shared.cluster = nil
	return err
}

// Launch starts brokers and returns when all of them serve. The caller closes the cluster.
func Launch(ctx context.Context, o Options) (*Cluster, error) {
	tools, err := NewTools()
	if err != nil {
		return nil, err
	}
	if o.Brokers == 0 {
		o.Brokers = 3
	}
	dir, err := childproc.NewDir("maru-kafka-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Tools: tools, dir: dir, brokers: make([]*broker, o.Brokers)}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := c.launch(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("start %d Kafka brokers: %w", o.Brokers, err), c.Close())
	}
	return c, nil
}

func (c *Cluster) launch(ctx context.Context, o Options) error {
	nodes, err := localNodes(c.dir.Path, o.Brokers, o.BasePort)
	if err != nil {
		return err
	}
	var format errgroup.Group
	for i, node := range nodes {
		settings := deploy.KafkaSettings(nodes, i)
		maps.Copy(settings, sizing)
		maps.Copy(settings, o.Settings)
		format.Go(func() (err error) {
			c.brokers[i], err = newBroker(ctx, c.Tools, filepath.Join(c.dir.Path, fmt.Sprintf("kafka%d", node.ID)), node, settings)
			return err
		})
	}
	if err := format.Wait(); err != nil {
		return err
	}
	var waits []func(context.Context) error
	for _, b := range c.brokers {
		ready, err := b.start()
		if err != nil {
			return err
		}
		waits = append(waits, ready)
	}
	for _, ready := range waits {
		if err := ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// localNodes places nodes on this machine: the EXTERNAL ports from basePort on, or free ones, and
// free ports for the listeners that only the nodes use.
func localNodes(dir string, n, basePort int) ([]deploy.Node, error) {
	ports, err := childproc.FreePorts(3 * n)
	if err != nil {
		return nil, err
	}
	nodes := make([]deploy.Node, n)
	for i := range nodes {
		nodes[i] = deploy.Node{
			ID:             i + 1,
			Bind:           "localhost",
			InternalHost:   "localhost",
			ExternalHost:   "localhost",
			InternalPort:   ports[3*i],
			ControllerPort: ports[3*i+1],
			ExternalPort:   ports[3*i+2],
			LogDir:         filepath.Join(dir, fmt.Sprintf("kafka%d", i+1), "data"),
		}
		if basePort == 0 {
			continue
		}
		nodes[i].ExternalPort = basePort + i
		if err := childproc.CheckPort(basePort + i); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// Bootstrap lists the EXTERNAL addresses of all brokers, as --kafka and --bootstrap-server take them.
func (c *Cluster) Bootstrap() string {
	addresses := make([]string, len(c.brokers))
	for i := range c.brokers {
		addresses[i] = c.Address(i + 1)
	}
	return strings.Join(addresses, ",")
}

// Address is the EXTERNAL address of broker i.
func (c *Cluster) Address(i int) string {
	node := c.broker(i).node
	return node.ExternalHost + ":" + strconv.Itoa(node.ExternalPort)
}

// InternalAddress is the INTERNAL address of broker i.
func (c *Cluster) InternalAddress(i int) string {
	node := c.broker(i).node
	return node.InternalHost + ":" + strconv.Itoa(node.InternalPort)
}

// PID is the process id of broker i, 0 while it is stopped.
func (c *Cluster) PID(i int) int { return c.broker(i).pid() }

// Stop stops broker i in order (SIGTERM); it hands its leaderships over first.
func (c *Cluster) Stop(i int) error { return c.broker(i).end(syscall.SIGTERM) }

// Kill ends broker i without warning (SIGKILL).
func (c *Cluster) Kill(i int) error { return c.broker(i).end() }

// Start starts broker i again after Stop or Kill, with its data, and returns when it serves. Its
// replicas may still be catching up then.
func (c *Cluster) Start(ctx context.Context, i int) error {
	ready, err := c.broker(i).start()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return ready(ctx)
}

// Pause makes broker i stand still (SIGSTOP) with its connections open.
func (c *Cluster) Pause(i int) error { return c.broker(i).signal(syscall.SIGSTOP) }

// Resume lets a paused broker go on (SIGCONT).
func (c *Cluster) Resume(i int) error { return c.broker(i).signal(syscall.SIGCONT) }

func (c *Cluster) broker(i int) *broker {
	if i < 1 || i > len(c.brokers) {
		panic(fmt.Sprintf("realkafka: broker %d of %d", i, len(c.brokers)))
	}
	return c.brokers[i-1]
}

// Close kills the brokers and removes their data; nobody needs it any more.
func (c *Cluster) Close() error {
	var errs []error
	for _, b := range c.brokers {
		if b != nil {
			errs = append(errs, b.end())
		}
	}
	return errors.Join(append(errs, c.dir.Remove())...)
}

func (c *Cluster) logOnFailure(t testing.TB) {
	if !t.Failed() {
		return
	}
	for _, b := range c.brokers {
		t.Logf("last lines of %v:\n%s", b, b.log.Tail(40))
	}
}

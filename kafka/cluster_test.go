package kafka

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"maru"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	loginTopic    = "login-request"
	responseTopic = "login-response"
	commandsTopic = "commands"
	deliveryTopic = "delivery"
)

func testLayout(partitions int32, replicas int16) Layout {
	return Layout{Partitions: partitions, Replicas: replicas, LoginRequest: loginTopic, LoginResponse: responseTopic,
		Commands: commandsTopic, Delivery: deliveryTopic, DeliveryPartitions: 4}
}

// broker is a cluster of the fake broker on a network in memory.
type broker struct {
	*kfake.Cluster
	net   *kfake.VirtualNetwork
	seeds []string
}

func newBroker(t testing.TB, brokers int, opts ...kfake.Opt) *broker {
	t.Helper()
	b := &broker{net: new(kfake.VirtualNetwork)}
	ports := []int{9001, 9002, 9003}[:brokers]
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(brokers), kfake.Ports(ports...), kfake.ListenFn(b.net.Listen)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	b.Cluster, b.seeds = c, c.ListenAddrs()
	t.Cleanup(c.Close)
	return b
}

// link is the network of one process: it can be cut (every connection breaks and
// none can be opened) or held (nothing moves, as when the process is stopped).
type link struct {
	b    *broker
	name string

	mu    sync.Mutex // guards what follows, for the time of an access
	conns []net.Conn
	isCut bool
	open  chan struct{} // closed while bytes may move
}

func (b *broker) link(name string) *link {
	l := &link{b: b, name: name, open: make(chan struct{})}
	close(l.open)
	return l
}

func (l *link) conn(t testing.TB) Conn {
	return Conn{Seeds: l.b.seeds, Dialer: l.dial, ClientID: l.name, Logger: testLogger(t, l.name)}
}

func (b *broker) conn(t testing.TB) Conn { return b.link("test").conn(t) }

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	cut := l.isCut
	l.mu.Unlock()
	if cut {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	c, err := l.b.net.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	return &linkConn{Conn: c, l: l}, nil
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for _, c := range l.conns {
		c.Close()
	}
	select {
	case <-l.open:
	default:
		close(l.open) // who waits for a held link finds its connection closed
	}
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = false
}

func (l *link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = make(chan struct{})
}

func (l *link) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.open)
}

func (l *link) wait() {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	<-open
}

type linkConn struct {
	net.Conn
	l *link
}

func (c *linkConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.l.wait()
	return n, err
}

func (c *linkConn) Write(p []byte) (int, error) {
	c.l.wait()
	return c.Conn.Write(p)
}

func testLogger(t testing.TB, name string) *slog.Logger {
	var w io.Writer = io.Discard
	if testing.Verbose() {
		w = t.Output()
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo})).With("process", name)
}

// topics creates the layout on b.
func (b *broker) topics(t testing.TB, l Layout) Report {
	t.Helper()
	a := b.admin(t)
	defer a.Close()
	r, err := a.EnsureTopics(t.Context(), l, true)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *broker) admin(t testing.TB) *Admin {
	t.Helper()
	a, err := NewAdmin(b.conn(t))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (b *broker) producer(t testing.TB, opts ...kgo.Opt) *Producer {
	t.Helper()
	p, err := NewProducer(b.conn(t), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// put produces values to one partition and waits for them.
func (b *broker) put(t *testing.T, topic string, partition int32, values ...string) {
	t.Helper()
	p := b.producer(t)
	defer p.Close()
	for _, v := range values {
		p.Produce(maru.LogRecord{Topic: topic, Partition: partition, Value: []byte(v)}, func(_ int64, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// readAll returns the values of a partition.
func (b *broker) readAll(t *testing.T, topic string, partition int32) []string {
	t.Helper()
	cl, err := b.conn(t).client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	_, end, err := logRange(t.Context(), cl, topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for at := int64(0); at < end; {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		fs := cl.PollFetches(ctx)
		cancel()
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			values = append(values, string(r.Value))
			at = r.Offset + 1
		})
	}
	return values
}

// within waits until ok, looking often; in a bubble it costs no real time.
func within(t testing.TB, d time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > d {
			t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(start)
}

// onRequest shows every request of one kind to fn, as kfake's ControlKey does.
func onRequest[R kmsg.Request](b *broker, fn func(R) (kmsg.Response, error, bool)) {
	var zero R
	b.ControlKey(zero.Key(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		return fn(r.(R))
	})
}

package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"maru"
	"maru/kafka"
	"maru/kafka/embedded"
)

// Sizes in bytes of the records of one login of a user with a short profile, as
// found in the topics, headers included.
const (
	sizeRequest  = 620 // login-request: a sealed password, and what the gateway claims
	sizeChecked  = 430 // commands: login.checked
	sizeAnswer   = 260 // login-response
	sizeDelivery = 620 // delivery: the reply to the gateway
)

// rawLog is the embedded broker with synced writes and what a process has around
// it to reach it (one producer, the reader of its slots, the reader of delivery),
// without the server: what is read is passed on at once. Its fields are set before
// the first record; waiting belongs to senders by their number.
type rawLog struct {
	broker   *embedded.Broker
	admin    *kafka.Admin
	producer *kafka.Producer
	slots    *kafka.Slots
	delivery *kafka.Delivery
	served   atomic.Int32
	ready    chan struct{} // closed when all partitions are read
	waiting  []chan struct{}
	layout   kafka.Layout
	fatal    chan error
}

func openRawLog(ctx context.Context, dir string, partitions int32, senders int) (l *rawLog, err error) {
	quiet := slog.New(slog.DiscardHandler)
	l = &rawLog{
		ready: make(chan struct{}), fatal: make(chan error, 2), waiting: make([]chan struct{}, senders),
		layout: kafka.Layout{
			Partitions: partitions, Replicas: 1, DeliveryPartitions: 1,
			LoginRequest: "login-request", LoginResponse: "login-response", Commands: "commands", Delivery: "delivery",
		},
	}
	for i := range l.waiting {
		l.waiting[i] = make(chan struct{}, 1)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("raw log: %w", err), l.close())
		}
	}()
	if l.broker, err = embedded.Start(ctx, embedded.Config{Dir: filepath.Join(dir, "raw"), Logger: quiet, Fatal: l.fail}); err != nil {
		return l, err
	}
	conn := kafka.Conn{Seeds: l.broker.Addrs(), Dialer: l.broker.Dial, Opts: l.broker.SeedOpts(), ClientID: "bench", Logger: quiet}
	if l.admin, err = kafka.NewAdmin(conn); err != nil {
		return l, err
	}
	if _, err = l.admin.EnsureTopics(ctx, l.layout, true); err != nil {
		return l, err
	}
	if l.producer, err = kafka.NewProducer(conn); err != nil {
		return l, err
	}
	if l.delivery, err = kafka.OpenDelivery(ctx, conn, l.layout.Delivery, 0, l.arrived, l.fail); err != nil {
		return l, err
	}
	if l.slots, err = kafka.StartSlots(kafka.SlotsConfig{
		Conn: conn, Group: "bench", Commands: l.layout.Commands, Login: l.layout.LoginRequest, Partitions: partitions,
		LoginFromStart: true, Handler: relay{l}, Fatal: l.fail, Logger: quiet,
	}); err != nil {
		return l, err
	}
	select {
	case <-l.ready:
		return l, nil
	case err = <-l.fatal:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return l, err
}

// close ends the clients before the broker, which wants it so.
func (l *rawLog) close() (err error) {
	if l.slots != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err = l.slots.Stop(ctx)
	}
	if l.delivery != nil {
		l.delivery.Close()
	}
	if l.producer != nil {
		l.producer.Close()
	}
	if l.admin != nil {
		l.admin.Close()
	}
	if l.broker != nil {
		err = errors.Join(err, l.broker.Close())
	}
	return err
}

func (l *rawLog) fail(err error) {
	select {
	case l.fatal <- err:
	default:
	}
}

// pass produces the next record of the login that first belongs to.
func (l *rawLog) pass(topic string, partition int32, first []byte, size int) {
	value := make([]byte, size)
	copy(value, first[:4])
	l.producer.Produce(maru.LogRecord{Topic: topic, Partition: partition, Value: value}, func(_ int64, err error) {
		if err != nil {
			l.fail(err)
		}
	})
}

// arrived takes what comes from delivery.
func (l *rawLog) arrived(r maru.LogRecord) {
	if i := binary.BigEndian.Uint32(r.Value); int(i) < len(l.waiting) {
		select {
		case l.waiting[i] <- struct{}{}:
		default:
		}
	}
}

// hops sends the records of one login and waits for the last one.
func (l *rawLog) hops(ctx context.Context, sender int, n int64) (int, error) {
	l.pass(l.layout.LoginRequest, int32(n%int64(l.layout.Partitions)), binary.BigEndian.AppendUint32(nil, uint32(sender)), sizeRequest)
	select {
	case <-l.waiting[sender]:
		return 1, nil
	case err := <-l.fatal:
		return 0, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// produce sends one record and waits for its acknowledgement.
func (l *rawLog) produce(ctx context.Context, _ int, n int64) (int, error) {
	acked := make(chan error, 1)
	l.producer.Produce(maru.LogRecord{
		Topic: l.layout.LoginResponse, Partition: int32(n % int64(l.layout.Partitions)), Value: make([]byte, sizeRequest),
	}, func(_ int64, err error) { acked <- err })
	select {
	case err := <-acked:
		return 1, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// rawLogs measures produces alone, and the hops of a login.
func (c *Config) rawLogs(ctx context.Context, dir string) (results []Result, err error) {
	start, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c.say("starting the raw log")
	l, err := openRawLog(start, dir, c.Partitions, c.Senders)
	if err != nil {
		return nil, err
	}
	var once sync.Once
	shut := func() { once.Do(func() { err = errors.Join(err, l.close()) }) }
	defer shut()
	for _, p := range []part{
		{name: PartProduce, op: l.produce},
		{name: PartHops, op: l.hops},
	} {
		p.senders, p.length, p.timed = c.Senders, c.For, true
		r, err := c.run(ctx, p)
		if err != nil {
			return results, err
		}
		results = append(results, r)
	}
	shut()
	return results, err
}

// relay passes records on as a home does: a request becomes a command of the same
// partition, a command an answer and a delivery.
type relay struct{ l *rawLog }

func (h relay) Claim(context.Context, kafka.Lease, int32, bool) (kafka.Positions, error) {
	return kafka.Positions{}, nil
}

func (h relay) Serve(kafka.Lease, kafka.Positions, map[string]int64) {
	if h.l.served.Add(1) == h.l.layout.Partitions {
		close(h.l.ready)
	}
}

func (h relay) Records(_ kafka.Lease, recs []maru.LogRecord) {
	l := h.l
	for i := range recs {
		r := &recs[i]
		if len(r.Value) < 4 {
			continue
		}
		if r.Topic == l.layout.LoginRequest {
			l.pass(l.layout.Commands, r.Partition, r.Value, sizeChecked)
			continue
		}
		l.pass(l.layout.LoginResponse, r.Partition, r.Value, sizeAnswer)
		l.pass(l.layout.Delivery, 0, r.Value, sizeDelivery)
	}
}

func (h relay) Release([]kafka.Lease, bool) {}

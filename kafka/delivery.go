package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"maru"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Delivery reads one partition of the delivery topic from the end that it had
// when Delivery was opened. One goroutine reads and calls the handler; the
// methods are safe for concurrent use.
type Delivery struct {
	cl     *kgo.Client
	topic  string
	part   int32
	next   atomic.Int64
	end    atomic.Int64 // the log's end as of the last fetch
	cancel context.CancelFunc
	done   chan struct{}
}

// OpenDelivery lists the end of the partition, starts reading there and returns.
// Only then may the gateway name this partition as its address: a reader that
// starts "at the end" without listing it first misses what is written between
// the request and the start (measured: every first reply).
//
// handle gets every record in order, from one goroutine; blocking it holds up
// the reading. lost is called at most once, from the same goroutine, when the
// place in the log is gone (the log was trimmed or lost records); nothing is
// handled after it.
func OpenDelivery(ctx context.Context, c Conn, topic string, partition int32,
	handle func(maru.LogRecord), lost func(error)) (*Delivery, error) {
	cl, err := c.client(kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMinBytes(1))
	if err != nil {
		return nil, err
	}
	end, err := listEnd(ctx, cl, topic, partition)
	if err != nil {
		cl.Close()
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	d := &Delivery{cl: cl, topic: topic, part: partition, cancel: cancel, done: make(chan struct{})}
	d.next.Store(end)
	d.end.Store(end)
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(end)}})
	go d.run(run, c, handle, lost)
	return d, nil
}

// listEndRounds bounds how often listEnd asks: for 13 s at least, which is longer
// than a dead broker stays the leader of its partitions (broker.session.timeout.ms,
// 9 s).
const listEndRounds = 18

// listEnd asks for the end of a partition, and waits for a leader that can tell: one
// that died is replaced by another, and one of a topic that was just made is named
// by the metadata before it knows of that itself.
func listEnd(ctx context.Context, cl *kgo.Client, topic string, partition int32) (int64, error) {
	for round := 1; ; round++ {
		end, err := listOffset(ctx, cl, topic, partition, atLogEnd)
		var said *kerr.Error
		if err == nil || errors.As(err, &said) && !said.Retriable || round == listEndRounds {
			return end, err
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(backoff(round)):
		}
	}
}

func (d *Delivery) run(ctx context.Context, c Conn, handle func(maru.LogRecord), lost func(error)) {
	defer close(d.done)
	log := c.logger().With("topic", d.topic, "partition", d.part)
	var said time.Time // an error that lasts comes with every fetch
	for {
		fetches := d.cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		var gone error
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			switch {
			case p.Err == nil:
				d.end.Store(p.HighWatermark)
			case placeLost(p.Err):
				gone = p.Err
			case time.Since(said) >= 10*time.Second:
				said = time.Now()
				log.Warn("reading deliveries", "err", p.Err)
			}
			for _, r := range p.Records {
				if r.Offset < d.next.Load() {
					continue
				}
				handle(fromKgo(r))
				d.next.Store(r.Offset + 1)
			}
		})
		if gone != nil {
			lost(fmt.Errorf("the place %d in topic %s partition %d is lost: %w", d.next.Load(), d.topic, d.part, gone))
			return
		}
	}
}

// Position returns the offset of the next record to be handled, and the log's
// end as of the last fetch.
func (d *Delivery) Position() (next, end int64) { return d.next.Load(), d.end.Load() }

// Close stops reading and waits until the handler has returned. It must not be
// called from handle or lost.
func (d *Delivery) Close() {
	d.cancel()
	<-d.done
	d.cl.Close()
}

// placeLost tells whether a fetch error means that the log no longer is what the
// position was taken from: it was trimmed beyond it, ends before it, was cut back
// behind what had been read, or is another topic of the same name.
func placeLost(err error) bool {
	var cut *kgo.ErrDataLoss
	return errors.Is(err, kerr.OffsetOutOfRange) || errors.Is(err, kerr.UnknownTopicID) || errors.As(err, &cut)
}

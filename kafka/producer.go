package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"maru"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Bounds of a Producer.
const (
	// MaxRecordBytes bounds key, value and headers of one record together.
	MaxRecordBytes = 512 << 10
	// MaxBufferedRecords bounds the records of a producer not yet acknowledged.
	MaxBufferedRecords = 50_000
	// MaxBufferedBytes bounds their bytes.
	MaxBufferedBytes = 128 << 20
)

// Producer sends records to explicit partitions and never gives one up: retries
// have no limit and no time-out. It is safe for concurrent use; records of one
// partition are appended in the order of their Produce calls.
//
// How order is kept: idempotence is off and one request is under way per broker,
// so a batch is retried until it is acknowledged before its successor is first
// sent, also when the leader moves. A retry of a batch whose acknowledgement was
// lost appends it again: duplicates are possible, and readers drop them; first
// appearances are in order. Waiting for the one request also batches by itself:
// what arrives meanwhile leaves together in the next one.
//
// What the brokers refuse for good (no permission, too large) is an error of
// that batch and of all of its partition's records buffered behind it.
//
// A topic that was deleted and made again is another one: what was buffered for
// the old one is refused, the next record goes to the new one.
type Producer struct {
	cl *kgo.Client

	mu     sync.Mutex // guards what follows, for the time of an access
	purged map[string]time.Time
	closed bool
	wg     sync.WaitGroup // purges
}

// NewProducer returns a producer. opts are appended to its own (tests).
func NewProducer(c Conn, opts ...kgo.Opt) (*Producer, error) {
	cl, err := c.client(append([]kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.DisableIdempotentWrite(),
		kgo.MaxProduceRequestsInflightPerBroker(1),
		kgo.ProducerLinger(0),
		kgo.UnknownTopicRetries(-1), // a topic unknown to a restarting broker is not gone
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(MaxBufferedRecords),
		kgo.MaxBufferedBytes(MaxBufferedBytes),
		kgo.ProduceRequestTimeout(produceTimeout),
		kgo.ProducerBatchCompression(kgo.SnappyCompression(), kgo.NoCompression()),
	}, opts...)...)
	if err != nil {
		return nil, err
	}
	return &Producer{cl: cl, purged: map[string]time.Time{}}, nil
}

// Keyed returns rec with the partition, of partitions, that Kafka's own
// partitioner gives its key.
func Keyed(rec maru.LogRecord, partitions int32) maru.LogRecord {
	rec.Partition = maru.SlotOf(string(rec.Key), partitions)
	return rec
}

// Produce sends rec to its Topic and Partition, with its Time as timestamp when
// that is set. It blocks while the buffer is full. done, which may be nil, is
// called once, from another goroutine (or from this one when the record is
// refused at once): with the record's offset when all in-sync replicas have it,
// else with the error. done must not block and must not call Produce.
func (p *Producer) Produce(rec maru.LogRecord, done func(offset int64, err error)) {
	if err := checkSize(&rec); err != nil {
		finish(done, -1, err)
		return
	}
	// The context is never cancelled: a record taken out of the middle of its
	// partition's order would leave a gap that readers cannot tell from a loss.
	p.cl.Produce(context.Background(), toKgo(&rec), p.promise(done))
}

// TryProduce is Produce without waiting: when the buffer is full, done gets ErrFull.
func (p *Producer) TryProduce(rec maru.LogRecord, done func(offset int64, err error)) {
	if err := checkSize(&rec); err != nil {
		finish(done, -1, err)
		return
	}
	p.cl.TryProduce(context.Background(), toKgo(&rec), p.promise(done))
}

// Flush waits until everything that was produced before is acknowledged or refused.
func (p *Producer) Flush(ctx context.Context) error { return p.cl.Flush(ctx) }

// Buffered returns the records and bytes that are not yet acknowledged.
func (p *Producer) Buffered() (records, bytes int64) {
	return p.cl.BufferedProduceRecords(), p.cl.BufferedProduceBytes()
}

// Close fails what is not yet acknowledged with ErrClosed; call Flush before.
func (p *Producer) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cl.Close()
	p.wg.Wait()
}

// purge makes the library forget the id that it holds of a topic; else it would
// refuse every record until the process ends. All records that were buffered are
// refused for the same reason, so it is done once for them: purging again would
// refuse records of the new topic.
func (p *Producer) purge(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); !p.closed && now.Sub(p.purged[topic]) >= time.Second {
		p.purged[topic] = now
		p.wg.Go(func() { p.cl.PurgeTopicsFromProducing(topic) }) // it waits for what this goroutine finishes
	}
}

func (p *Producer) promise(done func(int64, error)) func(*kgo.Record, error) {
	return func(r *kgo.Record, err error) {
		switch {
		case err == nil:
			finish(done, r.Offset, nil)
		case errors.Is(err, kgo.ErrMaxBuffered):
			finish(done, -1, ErrFull)
		case errors.Is(err, kgo.ErrClientClosed):
			finish(done, -1, ErrClosed)
		default:
			if errors.Is(err, kerr.UnknownTopicID) {
				p.purge(r.Topic)
			}
			finish(done, -1, fmt.Errorf("producing to topic %s partition %d: %w", r.Topic, r.Partition, err))
		}
	}
}

func finish(done func(int64, error), offset int64, err error) {
	if done != nil {
		done(offset, err)
	}
}

func checkSize(rec *maru.LogRecord) error {
	n := len(rec.Key) + len(rec.Value)
	for _, h := range rec.Headers {
		n += len(h.Key) + len(h.Value)
	}
	if n > MaxRecordBytes {
		return fmt.Errorf("%w: %d bytes for topic %s, at most %d are allowed", ErrRecordTooLarge, n, rec.Topic, MaxRecordBytes)
	}
	return nil
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"maru"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Conn says how to reach the cluster. It is a value: every part of this package
// opens its own clients with it, so that a stalled one holds up nothing else.
type Conn struct {
	// Seeds are host:port pairs of some of the brokers.
	Seeds []string
	// Dialer opens connections; nil means plain TCP. The embedded broker is
	// reached by it through memory.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	// ClientID names this process to the brokers and, as a group member, in the
	// output of kafka-consumer-groups --describe --members.
	ClientID string
	// Opts are appended to the options of every client (TLS, SASL).
	Opts []kgo.Opt
	// Logger receives what the client library reports; nil discards it.
	Logger *slog.Logger
}

// Times of every client. They bound how long a silent connection (a cut cable, a
// paused broker) goes unnoticed: the library's defaults of 10 s each are longer
// than a whole session of the group.
const (
	dialTimeout     = 3 * time.Second
	requestOverhead = 5 * time.Second
	produceTimeout  = 5 * time.Second
	metadataMinAge  = 250 * time.Millisecond
	metadataMaxAge  = time.Minute
	backoffFirst    = 50 * time.Millisecond
	backoffMax      = time.Second
)

func (c Conn) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// client opens a client with the common options, then those of the connection,
// then opts. It does not connect: the first request does.
func (c Conn) client(opts ...kgo.Opt) (*kgo.Client, error) {
	if len(c.Seeds) == 0 {
		return nil, errors.New("no Kafka brokers given: name at least one as host:port")
	}
	all := []kgo.Opt{
		kgo.SeedBrokers(c.Seeds...),
		kgo.WithLogger(kgoLogger{c.logger()}),
		kgo.DialTimeout(dialTimeout),
		kgo.RequestTimeoutOverhead(requestOverhead),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.MetadataMaxAge(metadataMaxAge),
		kgo.RetryBackoffFn(backoff),
		kgo.DisableClientMetrics(), // nothing is pushed to the brokers about this process
	}
	if c.ClientID != "" {
		all = append(all, kgo.ClientID(c.ClientID))
	}
	if c.Dialer != nil {
		all = append(all, kgo.Dialer(c.Dialer))
	}
	cl, err := kgo.NewClient(append(append(all, c.Opts...), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	return cl, nil
}

// backoff is the wait before the n-th attempt (from 1): it doubles from 50 ms to
// 1 s. It is not random: the few clients of a process do not make a herd.
func backoff(n int) time.Duration {
	d := backoffFirst
	for ; n > 1 && d < backoffMax; n-- {
		d *= 2
	}
	return min(d, backoffMax)
}

// kgoLogger hands the library's log to slog. What it calls an error it goes on to
// retry or to return, and who gets an error returned logs it; so its errors are
// warnings here, and its informational lines (each metadata update) are debug.
type kgoLogger struct{ log *slog.Logger }

func (l kgoLogger) Level() kgo.LogLevel {
	switch ctx := context.Background(); {
	case l.log.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	case l.log.Enabled(ctx, slog.LevelWarn):
		return kgo.LogLevelWarn
	default:
		return kgo.LogLevelNone
	}
}

func (l kgoLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	if level <= kgo.LogLevelWarn {
		to = slog.LevelWarn
	}
	l.log.Log(context.Background(), to, "kafka client", append([]any{"what", msg}, keyvals...)...)
}

// fromKgo converts a record that was read. Key, value and headers are shared
// with the library's record, which nobody changes.
func fromKgo(r *kgo.Record) maru.LogRecord {
	rec := maru.LogRecord{
		Topic:     r.Topic,
		Partition: r.Partition,
		Offset:    r.Offset,
		Time:      r.Timestamp.UnixMilli(),
		Key:       r.Key,
		Value:     r.Value,
	}
	if len(r.Headers) > 0 {
		rec.Headers = make([]maru.Header, len(r.Headers))
		for i, h := range r.Headers {
			rec.Headers[i] = maru.Header{Key: h.Key, Value: h.Value}
		}
	}
	return rec
}

func toKgo(rec *maru.LogRecord) *kgo.Record {
	r := &kgo.Record{Topic: rec.Topic, Partition: rec.Partition, Key: rec.Key, Value: rec.Value}
	if rec.Time != 0 {
		r.Timestamp = time.UnixMilli(rec.Time)
	}
	if len(rec.Headers) > 0 {
		r.Headers = make([]kgo.RecordHeader, len(rec.Headers))
		for i, h := range rec.Headers {
			r.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
		}
	}
	return r
}

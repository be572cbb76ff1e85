package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// startBroker starts a broker and closes it at the end of the test, after the
// clients that were made later.
func startBroker(t testing.TB, cfg Config) *Broker {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testLog(t)
	}
	b, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// insideClient connects through memory, as maru does.
func insideClient(t testing.TB, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return newClient(t, append(b.SeedOpts(), opts...)...)
}

// outsideClient connects over TCP, as Kafka's tools do.
func outsideClient(t testing.TB, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return newClient(t, append([]kgo.Opt{kgo.SeedBrokers(b.Addr())}, opts...)...)
}

func newClient(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func createTopic(t testing.TB, cl *kgo.Client, topic string, parts int32, configs map[string]*string) {
	t.Helper()
	r, err := kadm.NewClient(cl).CreateTopic(within(t, 10*time.Second), parts, 1, configs, topic)
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err, r.ErrMessage)
	}
}

// produce writes n records with numbered values and waits for each.
func produce(t testing.TB, cl *kgo.Client, topic string, n int) {
	t.Helper()
	for i := range n {
		r := &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d", i)}
		if err := cl.ProduceSync(within(t, 10*time.Second), r).FirstErr(); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
}

// consume reads n records of partition 0 from offset at.
func consume(t testing.TB, cl *kgo.Client, topic string, at int64, n int) []*kgo.Record {
	t.Helper()
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(at)}})
	defer cl.PurgeTopicsFromConsuming(topic)
	ctx := within(t, 20*time.Second)
	var got []*kgo.Record
	for len(got) < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("after %d records: %v", len(got), err)
		}
		got = append(got, fs.Records()...)
	}
	return got
}

func span(t testing.TB, b *Broker, topic string) Span {
	t.Helper()
	logs, err := b.LogEnds()
	if err != nil {
		t.Fatal(err)
	}
	if len(logs[topic].Partitions) == 0 {
		t.Fatalf("no topic %s", topic)
	}
	return logs[topic].Partitions[0]
}

func ptr(s string) *string { return &s }

package embedded

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestToolsOverTCP(t *testing.T) {
	b := startBroker(t, Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	cl := outsideClient(t, b) // idempotent by default
	createTopic(t, cl, "talk", 2, map[string]*string{"retention.ms": ptr("60000")})
	produce(t, cl, "talk", 10)
	if got := consume(t, cl, "talk", 0, 10); string(got[9].Value) != "9" {
		t.Fatalf("last value %q", got[9].Value)
	}
	adm := kadm.NewClient(cl)
	topics, err := adm.ListTopics(t.Context(), "talk")
	if err != nil || len(topics["talk"].Partitions) != 2 {
		t.Fatal(err, topics)
	}
	cfg, err := adm.DescribeTopicConfigs(t.Context(), "talk")
	if err != nil {
		t.Fatal(err)
	}
	r, err := cfg.On("talk", nil)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, c := range r.Configs {
		found = found || c.Key == "retention.ms" && c.MaybeValue() == "60000"
	}
	if !found {
		t.Fatalf("retention.ms not described: %v", r.Configs)
	}

	member := outsideClient(t, b, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("talk"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	n := 0
	for n < 10 {
		fs := member.PollFetches(within(t, 20*time.Second))
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		n += fs.NumRecords()
	}
	if err := member.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	commits, err := adm.FetchOffsets(t.Context(), "readers")
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := commits.Lookup("talk", 0); !ok || o.At != 10 {
		t.Fatalf("commit %v", o)
	}
}

func TestInsideClientIsToldTheTCPAddress(t *testing.T) {
	b := startBroker(t, Config{Listen: "127.0.0.1:0", Brokers: 3})
	brokers, err := kadm.NewClient(insideClient(t, b)).ListBrokers(t.Context())
	if err != nil || len(brokers) != 3 {
		t.Fatal(err, brokers)
	}
	if got, want := brokers[0].Port, b.doors[0].addr.String(); !strings.HasSuffix(want, ":"+strconv.Itoa(int(got))) {
		t.Fatalf("advertised port %d, listening on %s", got, want)
	}
}

func TestRecordOfOneMebibyte(t *testing.T) {
	b := startBroker(t, Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	cl := insideClient(t, b)
	createTopic(t, cl, "big", 1, nil)
	out := outsideClient(t, b, kgo.ProducerBatchMaxBytes(maxBatchBytes), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for _, c := range []*kgo.Client{cl, out} {
		r := &kgo.Record{Topic: "big", Value: bytes.Repeat([]byte("x"), maxRecordBytes)}
		if err := c.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if got := consume(t, cl, "big", 0, 2); len(got[1].Value) != maxRecordBytes {
		t.Fatalf("%d bytes", len(got[1].Value))
	}
}

func TestKeepsRecordsOverRestartAndCrash(t *testing.T) {
	for _, tc := range []struct {
		name  string
		end   func(*Broker) error
		clean bool
	}{{"close", (*Broker).Close, true}, {"crash", (*Broker).Crash, false}} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			b := startBroker(t, Config{Dir: dir})
			cl := insideClient(t, b)
			createTopic(t, cl, "talk", 1, nil)
			produce(t, cl, "talk", 25)
			cl.Close()
			if err := tc.end(b); err != nil {
				t.Fatal(err)
			}
			b = startBroker(t, Config{Dir: dir})
			if b.Recovered() == tc.clean {
				t.Fatalf("recovered %v", b.Recovered())
			}
			if got := span(t, b, "talk"); got != (Span{0, 25}) {
				t.Fatalf("log %v", got)
			}
			consume(t, insideClient(t, b), "talk", 0, 25)
		})
	}
}

func TestSecondBrokerOnADirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	b := startBroker(t, Config{Dir: dir})
	if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use by another maru") {
		t.Fatalf("second start: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	startBroker(t, Config{Dir: dir})
}

func TestListenOnlyOnLoopback(t *testing.T) {
	for _, addr := range []string{":8097", "0.0.0.0:8097", "[::]:8097", "192.0.2.1:8097", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"} {
		_, err := Start(t.Context(), Config{Listen: addr})
		if err == nil || !strings.Contains(err.Error(), "kafka listen address") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if _, err := loopback("localhost:0", 0); err != nil {
		t.Error(err)
	}
}

func TestInABubble(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		synctest.Test(t, func(t *testing.T) {
			b := startBroker(t, Config{Dir: dir})
			cl := insideClient(t, b)
			createTopic(t, cl, "talk", 1, nil)
			produce(t, cl, "talk", 5)
			time.Sleep(time.Hour)
			produce(t, cl, "talk", 5)
			got := consume(t, cl, "talk", 0, 10)
			if d := got[9].Timestamp.Sub(got[0].Timestamp); d < time.Hour {
				t.Fatalf("an hour apart: %s", d)
			}
		})
	}
}

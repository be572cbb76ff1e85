package embedded

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTrimKeepsWhatIsYoungAndTheLastRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cfg := Config{
			Dir: dir, Retention: map[string]time.Duration{"delivery": 10 * time.Minute},
			pace: pace{canary: time.Minute, trim: trimEvery},
		}
		b := startBroker(t, cfg)
		cl := insideClient(t, b)
		createTopic(t, cl, "delivery", 1, nil)
		createTopic(t, cl, "login", 1, map[string]*string{"retention.ms": ptr("3600000")})
		createTopic(t, cl, "commands", 1, map[string]*string{"retention.ms": ptr("-1")})
		createTopic(t, cl, "plain", 1, nil)
		topics := []string{"delivery", "login", "commands", "plain"}
		want := func(when string, starts ...int64) {
			t.Helper()
			for i, topic := range topics {
				if got := span(t, b, topic); got != (Span{starts[i], 20}) {
					t.Errorf("%s: %s: log %v, want start %d", when, topic, got, starts[i])
				}
			}
		}
		for _, topic := range topics {
			produce(t, cl, topic, 10)
		}
		time.Sleep(8 * time.Minute)
		for _, topic := range topics {
			produce(t, cl, topic, 10)
		}
		time.Sleep(4 * time.Minute)
		want("after 12 minutes", 10, 0, 0, 0)
		time.Sleep(time.Hour)
		want("after an hour", 19, 19, 0, 0)

		cl.Close()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		slow := cfg // or the loops run a few million times
		slow.pace = pace{canary: time.Hour, trim: time.Hour}
		b = startBroker(t, slow)
		want("after a restart", 19, 19, 0, 0)
		time.Sleep(8 * 24 * time.Hour)
		want("after eight days", 19, 19, 0, 0) // kfake's retention would empty all of them
		if err := b.Crash(); err != nil {
			t.Fatal(err)
		}
		b = startBroker(t, cfg)
		want("after a crash", 19, 19, 0, 0)
		cl = insideClient(t, b)
		r := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "delivery"})
		if err := r.FirstErr(); err != nil || r[0].Record.Offset != 20 {
			t.Fatal(err, r[0].Record.Offset)
		}
	})
}

func TestRetentionChangedByToolsIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, Config{})
		cl := insideClient(t, b)
		createTopic(t, cl, "talk", 1, nil)
		produce(t, cl, "talk", 5)
		time.Sleep(time.Hour)
		if got := span(t, b, "talk"); got.Start != 0 {
			t.Fatalf("log %v", got)
		}
		alterTopic(t, cl, "talk", "retention.ms", "60000")
		time.Sleep(2 * trimEvery)
		if got := span(t, b, "talk"); got != (Span{4, 5}) {
			t.Fatalf("log %v", got)
		}
	})
}

func TestAppendTimeIsTheBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		b := startBroker(t, Config{Dir: dir})
		cl := insideClient(t, b)
		createTopic(t, cl, "commands", 1, map[string]*string{"message.timestamp.type": ptr("LogAppendTime")})
		createTopic(t, cl, "talk", 1, nil)
		fast := time.Now().Add(24 * time.Hour) // a gateway whose clock is wrong
		write := func(topic string) time.Time {
			t.Helper()
			rs := []*kgo.Record{
				{Topic: topic, Timestamp: fast, Value: []byte("a")},
				{Topic: topic, Timestamp: fast.Add(time.Millisecond), Value: []byte("b")},
			}
			if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			return time.Now()
		}
		at := write("commands")
		time.Sleep(time.Minute)
		write("talk")
		got := consume(t, cl, "commands", 0, 2)
		if d := at.Sub(got[1].Timestamp); d < 0 || d > time.Second {
			t.Errorf("stamped %s at %s", got[1].Timestamp, at)
		}
		if got[0].Timestamp.After(got[1].Timestamp) {
			t.Errorf("order %s, %s", got[0].Timestamp, got[1].Timestamp)
		}
		if got := consume(t, cl, "talk", 0, 2); !got[0].Timestamp.Equal(fast) {
			t.Errorf("talk stamped %s", got[0].Timestamp)
		}
		alterTopic(t, cl, "talk", "message.timestamp.type", "LogAppendTime")
		write("talk")
		if got := consume(t, cl, "talk", 2, 2); !got[1].Timestamp.Before(fast) {
			t.Errorf("talk not stamped after the change: %s", got[1].Timestamp)
		}
		cl.Close()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		// The checksums are right, or the log would be cut here; and the topic
		// is known again.
		b = startBroker(t, Config{Dir: dir})
		cl = insideClient(t, b)
		if got := span(t, b, "commands"); got != (Span{0, 2}) {
			t.Errorf("log %v", got)
		}
		write("commands")
		if got := consume(t, cl, "commands", 2, 2); !got[1].Timestamp.Before(fast) {
			t.Errorf("not stamped after a restart: %s", got[1].Timestamp)
		}
	})
}

func TestStampsNeverGoBack(t *testing.T) {
	s := stamper{last: time.Now().Add(time.Hour).UnixMilli()}
	if first := s.now(); s.now() < first || first < time.Now().UnixMilli() {
		t.Fatal("back in time")
	}
}

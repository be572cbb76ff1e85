package kafka

import (
	"slices"
	"strings"
	"testing"
	"time"

	"maru"
)

func TestMissingTopicsAreMadeAgain(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		l := testLayout(2, 1)
		all := []string{loginTopic, responseTopic, commandsTopic, deliveryTopic}
		if missing, err := a.Missing(t.Context(), l); err != nil || !slices.Equal(missing, all) {
			t.Errorf("missing before the start are %v, %v", missing, err)
		}
		b.topics(t, l)
		if missing, err := a.Missing(t.Context(), l); err != nil || len(missing) > 0 {
			t.Errorf("missing after the start are %v, %v", missing, err)
		}
		p := b.producer(t)
		defer p.Close()
		outcome := make(chan error, 1)
		answer := func() error {
			p.Produce(maru.LogRecord{Topic: responseTopic, Value: []byte("answer")}, func(_ int64, err error) { outcome <- err })
			return <-outcome
		}
		if err := answer(); err != nil {
			t.Fatal(err)
		}
		gone := []string{responseTopic, commandsTopic, deliveryTopic}
		if _, err := a.adm.DeleteTopics(t.Context(), gone...); err != nil {
			t.Fatal(err)
		}
		missing, err := a.Missing(t.Context(), l)
		if err != nil || !slices.Equal(missing, gone) {
			t.Fatalf("missing are %v, %v; deleted were %v", missing, err, gone)
		}
		created, err := a.Remake(t.Context(), l, missing)
		if err != nil || !slices.Equal(created, []string{responseTopic, deliveryTopic}) {
			t.Errorf("made again are %v, %v; want all but commands", created, err)
		}
		if again, err := a.Remake(t.Context(), l, missing); err != nil || len(again) > 0 {
			t.Errorf("a second process makes %v, %v", again, err)
		}
		if missing, err := a.Missing(t.Context(), l); err != nil || !slices.Equal(missing, []string{commandsTopic}) {
			t.Errorf("missing afterwards are %v, %v", missing, err)
		}
		if n := partitionsOf(t, a, responseTopic); n != 2 {
			t.Errorf("made again with %d partitions, want 2", n)
		}
		if got := settingsOf(t, a, deliveryTopic)["retention.ms"]; got != "600000" {
			t.Errorf("delivery was made again with retention.ms %q", got)
		}
		took := within(t, time.Minute, "outputs are taken again", func() bool { return answer() == nil })
		t.Log("outputs taken after", took)
	})
}

func TestTopicsAreNotMadeAgainWithFewerReplicas(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		created, err := a.Remake(t.Context(), testLayout(2, 3), []string{responseTopic})
		if err == nil || !strings.Contains(err.Error(), "3 replicas") || len(created) > 0 {
			t.Errorf("made %v, %v", created, err)
		}
	})
}

package kafka

import (
	"errors"
	"slices"
	"testing"
	"time"

	"maru"

	"github.com/twmb/franz-go/pkg/kerr"
)

// An operator may delete a topic of the login pair and make it again under
// running processes: another topic, of the same name.
func TestRecreatedLoginTopic(t *testing.T) {
	rig(t, 2, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		a.start(b.link("a"), 2)
		ownsAll(t, 3*time.Second, 2, a)
		b.put(t, loginTopic, 0, "of the old topic")
		within(t, time.Second, "read", func() bool { return len(a.loginsSeen()) == 1 })
		adm := b.admin(t)
		defer adm.Close()
		if _, err := adm.adm.DeleteTopic(t.Context(), loginTopic); err != nil {
			t.Fatal(err)
		}
		create(t, adm, loginTopic, 2, 1, nil)
		b.put(t, loginTopic, 0, "of the new one")
		took := within(t, 3*time.Minute, "the new login is read", func() bool { return slices.Contains(a.loginsSeen(), "of the new one") })
		t.Log("read on after", took)
		c := newHome(t, "c", st)
		c.start(b.link("c"), 2)
		within(t, 5*time.Second, "one and one", func() bool { return len(a.owns()) == 1 && len(c.owns()) == 1 })
		b.put(t, commandsTopic, 0, "x")
		b.put(t, commandsTopic, 1, "x")
		within(t, 30*time.Second, "commands go on", func() bool { return len(st.view(0).applied)+len(st.view(1).applied) == 2 })
		a.stop()
		ownsAll(t, 5*time.Second, 2, c)
		c.stop()
		noFailures(t, a, c)
	})
}

func TestProducerOfARecreatedTopic(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, responseTopic, 1, 1, nil)
		p := b.producer(t)
		defer p.Close()
		outcome := make(chan error, 1)
		done := func(_ int64, err error) { outcome <- err }
		p.Produce(maru.LogRecord{Topic: responseTopic, Value: []byte("old")}, done)
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		if _, err := a.adm.DeleteTopic(t.Context(), responseTopic); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		create(t, a, responseTopic, 1, 1, nil)
		p.Produce(maru.LogRecord{Topic: responseTopic, Value: []byte("new")}, done)
		if err := <-outcome; !errors.Is(err, kerr.UnknownTopicID) {
			t.Errorf("a record for the old topic: %v, want UNKNOWN_TOPIC_ID", err)
		}
		time.Sleep(2 * time.Second)
		p.Produce(maru.LogRecord{Topic: responseTopic, Value: []byte("again")}, done)
		if err := <-outcome; err != nil {
			t.Errorf("a record for the new topic: %v", err)
		}
		if got := b.readAll(t, responseTopic, 0); !slices.Equal(got, []string{"again"}) {
			t.Errorf("the new topic has %v", got)
		}
	})
}

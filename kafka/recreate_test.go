package kafka

import (
	"errors"
	"slices"
	"strings"
	"sync"
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

// The same with commands: a foreign log, which must not be applied even where it
// has grown beyond the checkpoint before anybody looks.
func TestRecreatedCommands(t *testing.T) {
	recreate := func(t *testing.T, b *broker) {
		adm := b.admin(t)
		defer adm.Close()
		if _, err := adm.adm.DeleteTopic(t.Context(), commandsTopic); err != nil {
			t.Fatal(err)
		}
		create(t, adm, commandsTopic, 2, 1, nil)
		b.put(t, commandsTopic, 0, "new0", "new1", "new2", "new3", "new4")
	}
	refused := func(t *testing.T, b *broker, st *store, h *home, id string) {
		e := only[*ErrLogReplaced](t, h)
		adm := b.admin(t)
		defer adm.Close()
		now, err := adm.TopicID(t.Context(), commandsTopic)
		if err != nil || e.Wanted != id || e.ID != now || now == id || e.Topic != commandsTopic || !strings.Contains(e.Error(), "maru repair") {
			t.Errorf("told %+v: %v; the topic's id was %s, is %s (%v)", e, e, id, now, err)
		}
		time.Sleep(3 * time.Minute)
		if got := st.view(0).applied; !slices.Equal(got, []string{"old0", "old1", "old2"}) {
			t.Errorf("applied %v", got)
		}
	}
	old := func(t *testing.T, b *broker, st *store) (h *home, id string) {
		h = newHome(t, "a", st)
		h.start(b.link("a"), 2)
		ownsAll(t, 3*time.Second, 2, h)
		b.put(t, commandsTopic, 0, "old0", "old1", "old2")
		within(t, 5*time.Second, "read", func() bool { return len(st.view(0).applied) == 3 })
		adm := b.admin(t)
		defer adm.Close()
		id, err := adm.TopicID(t.Context(), commandsTopic)
		if err != nil || id == "" {
			t.Fatalf("the id of the topic is %q, %v", id, err)
		}
		return h, id
	}
	t.Run("under a home", func(t *testing.T) {
		rig(t, 2, func(t *testing.T, b *broker, st *store) {
			a, id := old(t, b, st)
			recreate(t, b)
			within(t, time.Minute, "a fatal error", func() bool { return len(a.failures()) > 0 })
			refused(t, b, st, a, id)
			a.stop()
		})
	})
	t.Run("between two homes", func(t *testing.T) {
		rig(t, 2, func(t *testing.T, b *broker, st *store) {
			a, id := old(t, b, st)
			a.stop()
			recreate(t, b)
			c := newHome(t, "c", st)
			c.start(b.link("c"), 2, func(cfg *SlotsConfig) { cfg.CommandsID = id })
			refused(t, b, st, c, id)
			c.stop()
		})
	})
	t.Run("between claim and read", func(t *testing.T) {
		rig(t, 2, func(t *testing.T, b *broker, st *store) {
			a, id := old(t, b, st)
			a.stop()
			c := newHome(t, "c", st)
			released := make(chan struct{}, 10)
			c.onRelease = func([]Lease, bool) { released <- struct{}{} }
			var once sync.Once
			c.start(b.link("c"), 2, func(cfg *SlotsConfig) {
				cfg.CommandsID = id
				cfg.beforeServe = func() { once.Do(func() { recreate(t, b) }) }
			})
			refused(t, b, st, c, id)
			if len(released) == 0 {
				t.Error("no lease was served before it was found")
			}
			c.stop()
		})
	})
}

func TestTopicIDIsOfThisMoment(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		id := func() string {
			t.Helper()
			id, err := a.TopicID(t.Context(), commandsTopic)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		if got := id(); got != "" {
			t.Errorf("a topic that does not exist has the id %q", got)
		}
		create(t, a, commandsTopic, 1, 1, nil)
		first := id()
		if _, err := a.adm.DeleteTopic(t.Context(), commandsTopic); err != nil {
			t.Fatal(err)
		}
		if got := id(); got != "" {
			t.Errorf("a topic that was deleted this moment has the id %q", got)
		}
		create(t, a, commandsTopic, 1, 1, nil)
		if got := id(); got == "" || got == first {
			t.Errorf("made again, the topic has the id %q; it had %q", got, first)
		}
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

package kafka

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func only[E error](t *testing.T, h *home) (e E) {
	t.Helper()
	within(t, 10*time.Second, "a fatal error", func() bool { return len(h.failures()) > 0 })
	fs := h.failures()
	if len(fs) != 1 || !errors.As(fs[0], &e) {
		t.Fatalf("fatal %v, want one %T", fs, e)
	}
	return e
}

// A stored offset beyond the log must stop the process with a sentence (hazard 3
// of ownership): the library's own answer would be to rewind silently.
func TestLogShorterThanItsCheckpoint(t *testing.T) {
	rig(t, 2, func(t *testing.T, b *broker, st *store) {
		b.put(t, commandsTopic, 1, "a", "b", "c")
		st.edit(1, func(r *row) { r.next = 7 })
		a := newHome(t, "a", st)
		a.start(b.link("a"), 2)
		e := only[*ErrLogShorter](t, a)
		if e.Topic != commandsTopic || e.Partition != 1 || e.Position != 7 || e.End != 3 {
			t.Errorf("told %+v", e)
		}
		for _, part := range []string{"commands partition 1", "offset 3", "7", "maru repair"} {
			if !strings.Contains(e.Error(), part) {
				t.Errorf("sentence %q lacks %q", e, part)
			}
		}
		time.Sleep(time.Minute)
		if len(a.failures()) != 1 || len(st.view(1).applied) != 0 || !slices.Equal(a.owns(), []int32{0}) {
			t.Errorf("a minute later: fatal %v, applied %v, owns %v", a.failures(), st.view(1).applied, a.owns())
		}
		a.stop()
	})
}

func TestLogTrimmedBeyondItsCheckpoint(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		b.put(t, commandsTopic, 0, "a", "b", "c")
		adm := b.admin(t)
		defer adm.Close()
		if _, err := adm.Trim(t.Context(), commandsTopic, 0, 2); err != nil {
			t.Fatal(err)
		}
		st.edit(0, func(r *row) { r.next = 1 })
		a := newHome(t, "a", st)
		a.start(b.link("a"), 1)
		e := only[*ErrLogTrimmed](t, a)
		if e.Partition != 0 || e.Position != 1 || e.Start != 2 || !strings.Contains(e.Error(), "maru repair") {
			t.Errorf("told %+v: %v", e, e)
		}
		a.stop()
	})
}

// A log that is trimmed under a reader is found by its next fetch.
func TestLogTrimmedUnderItsReader(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		a.start(b.link("a"), 1)
		ownsAll(t, 3*time.Second, 1, a)
		lease := a.slots.Owned()[0]
		a.slots.Pause(lease, commandsTopic)
		time.Sleep(200 * time.Millisecond)
		b.put(t, commandsTopic, 0, "a", "b", "c")
		adm := b.admin(t)
		defer adm.Close()
		if _, err := adm.Trim(t.Context(), commandsTopic, 0, 2); err != nil {
			t.Fatal(err)
		}
		a.slots.Resume(lease, commandsTopic)
		if e := only[*ErrLogTrimmed](t, a); e.Position != 0 || e.Start != 2 {
			t.Errorf("told %+v", e)
		}
		if !slices.Equal(a.seen().released, []string{"0 planned false", "0 planned false"}) {
			t.Errorf("released %v, want the reader and the claim that found out", a.seen().released)
		}
		a.stop()
	})
}

// Of logins the same is no reason to stop: they are read on from the log's start.
func TestLoginsTrimmedUnderTheirReader(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		st.edit(0, func(r *row) { r.login = 0 })
		a := newHome(t, "a", st)
		a.start(b.link("a"), 1)
		ownsAll(t, 3*time.Second, 1, a)
		lease := a.slots.Owned()[0]
		a.slots.Pause(lease, loginTopic)
		time.Sleep(200 * time.Millisecond)
		b.put(t, loginTopic, 0, "0", "1", "2")
		adm := b.admin(t)
		defer adm.Close()
		if _, err := adm.Trim(t.Context(), loginTopic, 0, 2); err != nil {
			t.Fatal(err)
		}
		a.slots.Resume(lease, loginTopic)
		within(t, 5*time.Second, "what is left", func() bool { return slices.Equal(a.loginsSeen(), []string{"2"}) })
		if n := a.slots.LoginsRestarted(); n != 1 {
			t.Errorf("%d restarts counted, want 1", n)
		}
		a.stop()
		noFailures(t, a)
	})
}

// A log that is cut back under a reader (an unclean election) has lost what was
// applied, also when it has grown beyond the position again by the next claim.
func TestLogCutBackUnderItsReader(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		b.put(t, commandsTopic, 0, "a", "b", "c")
		a := newHome(t, "a", st)
		a.start(b.link("a"), 1)
		ownsAll(t, 3*time.Second, 1, a)
		within(t, time.Second, "applied", func() bool { return len(st.view(0).applied) == 3 })
		onRequest(b, func(r *kmsg.OffsetForLeaderEpochRequest) (kmsg.Response, error, bool) {
			resp := r.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.EndOffset, p.LeaderEpoch = 1, 0
			topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
			topic.Topic, topic.Partitions = commandsTopic, append(topic.Partitions, p)
			resp.Topics = append(resp.Topics, topic)
			return resp, nil, true
		})
		b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: commandsTopic, Err: kerr.FencedLeaderEpoch, Count: 1})
		if e := only[*ErrLogShorter](t, a); e.Position != 3 || e.End != 1 {
			t.Errorf("told %+v, want position 3 of a log cut at 1", e)
		}
		a.stop()
	})
}

// A hole in commands is never stepped over.
func TestGapInCommandsDropsTheSlot(t *testing.T) {
	rig(t, 2, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		a.start(b.link("a"), 2)
		ownsAll(t, 3*time.Second, 2, a)
		transaction(t, b, commandsTopic, 0, "a") // leaves a control record after it
		b.put(t, commandsTopic, 0, "b")
		time.Sleep(3 * time.Second)
		if got := st.view(0).applied; !slices.Equal(got, []string{"a"}) {
			t.Errorf("applied %v, want what is before the hole", got)
		}
		if a.seen().served[0] < 2 || !slices.Contains(a.seen().released, "0 planned false") {
			t.Errorf("served %d times, released %v: the slot was not dropped", a.seen().served[0], a.seen().released)
		}
		b.put(t, commandsTopic, 1, "x")
		within(t, time.Second, "the other slot goes on", func() bool { return len(st.view(1).applied) == 1 })
		a.stop()
		noFailures(t, a)
	})
}

// Foreign producers of logins may be transactional: their control records have
// offsets and are no loss.
func TestControlRecordsInLogins(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		a.start(b.link("a"), 1)
		ownsAll(t, 3*time.Second, 1, a)
		transaction(t, b, loginTopic, 0, "l0")
		transaction(t, b, loginTopic, 0, "l1")
		b.put(t, loginTopic, 0, "l2")
		within(t, 3*time.Second, "three logins", func() bool { return len(a.loginsSeen()) == 3 })
		if got := a.loginsSeen(); !slices.Equal(got, []string{"l0", "l1", "l2"}) || a.seen().served[0] != 1 {
			t.Errorf("logins %v, served %d times", got, a.seen().served[0])
		}
		a.stop()
		noFailures(t, a)
	})
}

func transaction(t *testing.T, b *broker, topic string, partition int32, values ...string) {
	t.Helper()
	cl, err := b.conn(t).client(kgo.TransactionalID("foreign"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}

func TestWhereLoginsStart(t *testing.T) {
	cases := map[string]struct {
		stored, committed int64
		fromStart         bool
		want              string
	}{
		"maru made the topic":         {Unset, Unset, true, "1 2 3 4 new"},
		"somebody else did":           {Unset, Unset, false, "new"},
		"the group committed":         {Unset, 3, false, "3 4 new"},
		"the store has it":            {4, 2, false, "4 new"},
		"committed before the log":    {Unset, 0, false, "1 2 3 4 new"},
		"stored beyond the log":       {900, Unset, false, "1 2 3 4 new"},
		"stored before the log":       {0, Unset, true, "1 2 3 4 new"},
		"stored at the end":           {5, Unset, true, "new"},
		"made by maru, and committed": {Unset, 3, true, "1 2 3 4 new"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			rig(t, 1, func(t *testing.T, b *broker, st *store) {
				b.put(t, loginTopic, 0, "0", "1", "2", "3", "4")
				adm := b.admin(t)
				defer adm.Close()
				if _, err := adm.Trim(t.Context(), loginTopic, 0, 1); err != nil {
					t.Fatal(err)
				}
				if c.committed != Unset {
					var os kadm.Offsets
					os.AddOffset(loginTopic, 0, c.committed, -1)
					if err := adm.adm.CommitAllOffsets(t.Context(), "chatServerGroup", os); err != nil {
						t.Fatal(err)
					}
				}
				st.edit(0, func(r *row) { r.login = c.stored })
				a := newHome(t, "a", st)
				a.start(b.link("a"), 1, func(cfg *SlotsConfig) { cfg.LoginFromStart = c.fromStart })
				ownsAll(t, 3*time.Second, 1, a)
				b.put(t, loginTopic, 0, "new")
				within(t, 3*time.Second, "the new login", func() bool { return slices.Contains(a.loginsSeen(), "new") })
				if got := strings.Join(a.loginsSeen(), " "); got != c.want {
					t.Errorf("read %q, want %q", got, c.want)
				}
				outside := strings.Contains(name, "before the log") || strings.Contains(name, "beyond the log")
				if n := a.slots.LoginsRestarted(); (n == 1) != outside {
					t.Errorf("%d positions counted as outside of the log", n)
				}
				a.stop()
				noFailures(t, a)
			})
		})
	}
}

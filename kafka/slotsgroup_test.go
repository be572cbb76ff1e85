package kafka

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"maru"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What kafka-consumer-groups shows: who owns what, and the lag of logins.
func TestKafkasToolsSeeOwnersAndLag(t *testing.T) {
	rig(t, 2, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "home-1", st)
		a.start(b.link("home-1"), 2)
		ownsAll(t, 3*time.Second, 2, a)
		b.put(t, loginTopic, 0, "x", "y", "z")
		a.slots.CommitLogin(t.Context(), map[int32]int64{0: 1, 1: 0, 5: 9})
		a.slots.CommitLogin(t.Context(), map[int32]int64{7: 1})
		adm := b.admin(t)
		defer adm.Close()
		infos, err := adm.Describe(t.Context(), testLayout(2, 1), "chatServerGroup")
		if err != nil {
			t.Fatal(err)
		}
		if lag := infos[0].Partitions[0].Lag; infos[0].Topic != loginTopic || lag != 2 || infos[0].Partitions[1].Lag != 0 {
			t.Errorf("lag %d, want 2: %+v", lag, infos[0])
		}
		groups, err := adm.adm.DescribeGroups(t.Context(), "chatServerGroup")
		if err != nil {
			t.Fatal(err)
		}
		m := groups["chatServerGroup"].Members
		if len(m) != 1 || m[0].ClientID != "home-1" || m[0].MemberID != a.slots.MemberID() || m[0].InstanceID != nil {
			t.Errorf("members %+v", m)
		}
		assigned := groups.AssignedPartitions()
		if len(assigned) != 1 || len(assigned[loginTopic]) != 2 {
			t.Errorf("assigned %v, want both partitions of the login topic alone", assigned)
		}
		a.stop()
		if g, err := adm.adm.DescribeGroups(t.Context(), "chatServerGroup"); err != nil || len(g["chatServerGroup"].Members) != 0 {
			t.Errorf("after the stop: %+v, %v", g, err)
		}
	})
}

// A group error that no retry mends surfaces although nothing is fetched through
// the group (hazard 5 of ownership).
func TestFatalGroupErrorSurfaces(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		a.start(b.link("a"), 1)
		within(t, 10*time.Second, "a fatal error", func() bool { return len(a.failures()) == 1 })
		if err := a.failures()[0]; !errors.Is(err, kerr.InvalidSessionTimeout) || !strings.Contains(err.Error(), "session time-out of 6s") {
			t.Errorf("fatal %v", err)
		}
		a.stop()
	}, kfake.GroupMinSessionTimeout(10*time.Second))
}

// An expelled member joins again by itself; the process lives.
func TestExpelledMemberJoinsAgain(t *testing.T) {
	rig(t, 2, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		a.start(b.link("a"), 2)
		ownsAll(t, 3*time.Second, 2, a)
		b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: "chatServerGroup", Err: kerr.UnknownMemberID, Count: 1})
		within(t, 5*time.Second, "the slots are lost", func() bool { return len(a.owns()) == 0 })
		ownsAll(t, 10*time.Second, 2, a)
		for _, r := range a.seen().released {
			if !strings.HasSuffix(r, "planned false") {
				t.Errorf("released %v, want all lost", a.seen().released)
			}
		}
		for p := range int32(2) {
			b.put(t, commandsTopic, p, "x")
		}
		within(t, time.Second, "both serve", func() bool { return len(st.view(0).applied)+len(st.view(1).applied) == 2 })
		a.stop()
		noFailures(t, a)
	})
}

// Partitions that somebody added to the login topic are not served (hazard 10).
func TestPartitionsBeyondPAreNotServed(t *testing.T) {
	rig(t, 3, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		a.start(b.link("a"), 2)
		time.Sleep(5 * time.Second)
		if got := a.owns(); !slices.Equal(got, []int32{0, 1}) {
			t.Errorf("owns %v of 2 slots", got)
		}
		a.stop()
		noFailures(t, a)
	})
}

func TestSlotsConfigIsChecked(t *testing.T) {
	ok := SlotsConfig{Conn: Conn{Seeds: []string{"localhost:1"}}, Group: "g", Commands: "c", Login: "l", Partitions: 1,
		Handler: newHome(t, "", newStore()), Fatal: func(error) {}}
	if err := ok.check(); err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]func(*SlotsConfig){
		"no group":      func(c *SlotsConfig) { c.Group = "" },
		"one topic":     func(c *SlotsConfig) { c.Login = c.Commands },
		"no partitions": func(c *SlotsConfig) { c.Partitions = 0 },
		"no handler":    func(c *SlotsConfig) { c.Handler = nil },
		// Hazard 8 of ownership: a broker may expel a live member that waits longer
		// than its session for others to join.
		"rebalance as long as the session": func(c *SlotsConfig) { c.Rebalance = c.Session },
		"slow heartbeat":                   func(c *SlotsConfig) { c.Heartbeat = c.Session / 2 },
		"no brokers":                       func(c *SlotsConfig) { c.Conn.Seeds = nil },
	} {
		c := ok
		wrong(&c)
		if s, err := StartSlots(c); err == nil {
			s.Crash()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOwnerTurnsWhileNothingHappens(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		stuck := make(chan struct{})
		a.onRecords = func(Lease, []maru.LogRecord) { <-stuck }
		a.start(b.link("a"), 1)
		ownsAll(t, 3*time.Second, 1, a)
		time.Sleep(time.Minute)
		if since := time.Since(a.slots.LastTurn()); since > 600*time.Millisecond {
			t.Errorf("last turn %v ago on an idle home", since)
		}
		b.put(t, commandsTopic, 0, "x")
		time.Sleep(10 * time.Second)
		if since := time.Since(a.slots.LastTurn()); since < 9*time.Second {
			t.Errorf("last turn %v ago although the handler is stuck", since)
		}
		close(stuck)
		a.stop()
	})
}

// Stop gives up when its context ends, and still leaves nothing behind.
func TestStopWithoutANetwork(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		l := b.link("a")
		a.start(l, 1)
		ownsAll(t, 3*time.Second, 1, a)
		l.hold()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begin := time.Now()
		time.AfterFunc(3*time.Second, l.cut) // held bytes cannot be waited for for ever in the bubble
		err := a.slots.Stop(ctx)
		if err == nil || time.Since(begin) > 4*time.Second {
			t.Errorf("stop: %v after %v", err, time.Since(begin))
		}
		if a.seen().held > 0 {
			t.Errorf("%d slots are not released", a.seen().held)
		}
	})
}

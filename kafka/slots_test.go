package kafka

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// rig is a broker with topics of P partitions and a store, in a bubble.
func rig(t *testing.T, partitions int32, fn func(t *testing.T, b *broker, st *store), opts ...kfake.Opt) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1, opts...)
		b.topics(t, testLayout(partitions, 1))
		fn(t, b, newStore())
	})
}

// ownsAll waits until the homes together own all slots, each slot once.
func ownsAll(t testing.TB, d time.Duration, partitions int, homes ...*home) time.Duration {
	t.Helper()
	return within(t, d, fmt.Sprintf("%d slots are owned", partitions), func() bool {
		var all []int32
		for _, h := range homes {
			all = append(all, h.owns()...)
		}
		return len(all) == partitions
	})
}

func noFailures(t *testing.T, homes ...*home) {
	t.Helper()
	for _, h := range homes {
		if f := h.failures(); len(f) > 0 {
			t.Errorf("%s: fatal %v", h.name, f)
		}
	}
}

func TestTwoHomesShareSlotsAndHandThemOver(t *testing.T) {
	rig(t, 4, func(t *testing.T, b *broker, st *store) {
		for p := range int32(4) {
			b.put(t, commandsTopic, p, "one", "two")
			b.put(t, loginTopic, p, "login")
		}
		a := newHome(t, "a", st)
		a.start(b.link("a"), 4)
		ownsAll(t, 2*time.Second, 4, a)
		within(t, time.Second, "a applies what was there", func() bool { return len(st.view(3).applied) == 2 && len(a.loginsSeen()) == 4 })
		for n := range int32(4) {
			if ends := a.endsOf(n); ends[commandsTopic] != 2 || ends[loginTopic] != 1 {
				t.Errorf("slot %d: ends at its claim %v, want 2 commands and 1 login", n, ends)
			}
		}

		c := newHome(t, "c", st)
		c.start(b.link("c"), 4)
		t.Log("scale-out, from start of the process:", within(t, time.Second, "two and two", func() bool { return len(a.owns()) == 2 && len(c.owns()) == 2 }))
		if n := len(a.seen().claims); n != 4 {
			t.Errorf("the slots that stayed were claimed again: %v", a.seen().claims)
		}
		moved := c.owns()[0]
		b.put(t, commandsTopic, moved, "three")
		within(t, time.Second, "the new owner applies", func() bool { return len(st.view(moved).applied) == 3 })

		begin := time.Now()
		a.stop()
		ownsAll(t, time.Second, 4, c)
		t.Log("planned stop:", time.Since(begin))
		if took := time.Since(begin); took > 320*time.Millisecond { // a heartbeat and a little
			t.Errorf("a planned hand-over took %v", took)
		}
		if want := []string{"planned true"}; !slices.ContainsFunc(a.seen().released, func(s string) bool { return strings.HasSuffix(s, want[0]) }) || len(a.seen().released) != 4 {
			t.Errorf("a released %v, want four planned", a.seen().released)
		}
		c.stop()
		if n := c.seen().held + a.seen().held; n != 0 {
			t.Errorf("%d slots are still held after the stop", n)
		}
		noFailures(t, a, c)
	})
}

// A home whose process dies is replaced within the session time-out and a second.
func TestSurvivorTakesOverAfterACrash(t *testing.T) {
	rig(t, 4, func(t *testing.T, b *broker, st *store) {
		a, c := newHome(t, "a", st), newHome(t, "c", st)
		link := b.link("a")
		a.start(link, 4)
		c.start(b.link("c"), 4)
		within(t, 5*time.Second, "two and two", func() bool { return len(a.owns()) == 2 && len(c.owns()) == 2 })
		died := a.owns()
		link.cut()
		a.slots.Crash()
		if len(a.seen().released) != 0 && !strings.Contains(a.seen().released[0], "planned true") {
			t.Errorf("a crash released %v", a.seen().released)
		}
		before := len(a.seen().released)
		b.put(t, commandsTopic, died[0], "after the crash")
		took := ownsAll(t, 7*time.Second, 4, c)
		t.Log("crash:", took)
		if took < 5*time.Second {
			t.Errorf("taken over after %v, before the session can have ended", took)
		}
		if len(a.seen().released) != before {
			t.Errorf("the dead home released %v", a.seen().released)
		}
		within(t, time.Second, "the survivor applies", func() bool { return len(st.view(died[0]).applied) == 1 })
		c.stop()
		noFailures(t, a, c)
	})
}

// A process that stands still past its session wakes up fenced, and gets its
// share again later.
func TestPausedHomeIsFenced(t *testing.T) {
	rig(t, 2, func(t *testing.T, b *broker, st *store) {
		a, c := newHome(t, "a", st), newHome(t, "c", st)
		link := b.link("a")
		a.start(link, 2)
		c.start(b.link("c"), 2)
		within(t, 5*time.Second, "one and one", func() bool { return len(a.owns()) == 1 && len(c.owns()) == 1 })
		paused := a.owns()[0]
		link.hold()
		for i := range 20 {
			b.put(t, commandsTopic, paused, fmt.Sprint(i))
		}
		ownsAll(t, 7*time.Second, 2, c)
		within(t, time.Second, "c applies all", func() bool { return len(st.view(paused).applied) == 20 })
		time.Sleep(4 * time.Second)
		link.resume()
		within(t, 20*time.Second, "one and one again", func() bool { return len(a.owns()) == 1 && len(c.owns()) == 1 })
		b.put(t, commandsTopic, paused, "20")
		within(t, 5*time.Second, "all applied", func() bool { return len(st.view(paused).applied) == 21 })
		for i, v := range st.view(paused).applied {
			if v != fmt.Sprint(i) {
				t.Fatalf("applied %v", st.view(paused).applied)
			}
		}
		a.stop()
		c.stop()
		noFailures(t, a, c)
	})
}

// Records polled before a release may be met after a later claim further back
// (hazard 7 of ownership): they are those of no lease, and nothing is skipped
// for them, of logins neither, whose offsets cannot tell.
func TestRecordsPolledBeforeARelease(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		gate := make(chan struct{})
		var held bool
		wanted := make(chan struct{}, 1)
		a.start(b.link("a"), 1, func(c *SlotsConfig) {
			c.afterPoll = func() {
				select {
				case <-wanted:
					held = true
					<-gate
				default:
				}
			}
		})
		ownsAll(t, 3*time.Second, 1, a)
		b.put(t, commandsTopic, 0, "0")
		b.put(t, loginTopic, 0, "l0")
		within(t, time.Second, "handed on", func() bool { return len(st.view(0).applied) == 1 && len(a.loginsSeen()) == 1 })
		time.Sleep(300 * time.Millisecond)
		lease := a.slots.Owned()[0]
		wanted <- struct{}{}
		b.put(t, loginTopic, 0, "l1")
		b.put(t, commandsTopic, 0, "1")
		synctest.Wait()
		if !held || len(a.loginsSeen()) > 1 {
			t.Fatal("nothing was polled and held back: the test tests nothing")
		}
		// The slot is dropped while that poll is under way, and claimed anew from a
		// checkpoint before all of it.
		st.edit(0, func(r *row) { r.next, r.login, r.applied = 0, 0, nil })
		a.forget(0)
		a.slots.Drop(lease, errTest)
		within(t, 3*time.Second, "claimed anew", func() bool { return len(a.seen().claims) == 2 })
		time.Sleep(time.Second)
		close(gate)
		within(t, 3*time.Second, "all applied", func() bool { return len(st.view(0).applied) == 2 })
		time.Sleep(time.Second)
		if got := a.loginsSeen(); !slices.Equal(got, []string{"l0", "l0", "l1"}) {
			t.Errorf("logins %v, want l0 again and l1", got)
		}
		if n := len(a.seen().claims); n != 2 {
			t.Errorf("claims %v: the old records made it claim again", a.seen().claims)
		}
		a.stop()
		noFailures(t, a)
	})
}

// The group gets its slots back only after Release returned.
func TestRevocationWaitsForRelease(t *testing.T) {
	rig(t, 2, func(t *testing.T, b *broker, st *store) {
		a, c := newHome(t, "a", st), newHome(t, "c", st)
		const slow = 800 * time.Millisecond
		releasing := make(chan struct{}, 8)
		a.onRelease = func([]Lease, bool) { releasing <- struct{}{}; time.Sleep(slow) }
		a.start(b.link("a"), 2)
		ownsAll(t, 3*time.Second, 2, a)
		c.start(b.link("c"), 2)
		<-releasing
		for begin := time.Now(); time.Since(begin) < slow-100*time.Millisecond; {
			if len(c.owns()) > 0 {
				t.Fatalf("c owns %v while a is still releasing", c.owns())
			}
			// The slot that stays goes on being served meanwhile.
			for _, l := range a.slots.Owned() {
				b.put(t, commandsTopic, l.Slot, "x")
			}
			time.Sleep(50 * time.Millisecond)
		}
		applied := len(st.view(0).applied) + len(st.view(1).applied)
		if applied < 5 {
			t.Errorf("%d records applied during a release of another slot", applied)
		}
		within(t, 3*time.Second, "one and one", func() bool { return len(a.owns()) == 1 && len(c.owns()) == 1 })
		a.onRelease = nil
		c.stop()
		a.stop()
	})
}

// A slot whose queue is full pauses one topic: the others go on, and after Resume
// nothing is missing.
func TestPauseHoldsUpNobodyElse(t *testing.T) {
	rig(t, 2, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		a.start(b.link("a"), 2)
		ownsAll(t, 3*time.Second, 2, a)
		lease := a.slots.Owned()[0]
		a.slots.Pause(lease, commandsTopic)
		time.Sleep(200 * time.Millisecond)
		for i := range 50 {
			b.put(t, commandsTopic, 0, fmt.Sprint(i))
			b.put(t, commandsTopic, 1, fmt.Sprint(i))
			b.put(t, loginTopic, 0, fmt.Sprint(i))
		}
		within(t, 2*time.Second, "the others", func() bool { return len(st.view(1).applied) == 50 && len(a.loginsSeen()) == 50 })
		time.Sleep(5 * time.Second)
		if n := len(st.view(0).applied); n != 0 {
			t.Errorf("%d commands of the paused slot", n)
		}
		a.slots.Resume(lease, commandsTopic)
		within(t, 2*time.Second, "the paused", func() bool { return len(st.view(0).applied) == 50 })

		// A pause ends with its lease.
		a.slots.Pause(lease, commandsTopic)
		a.forget(0)
		a.slots.Drop(lease, errTest)
		b.put(t, commandsTopic, 0, "50")
		within(t, 3*time.Second, "applied under the new lease", func() bool { return len(st.view(0).applied) == 51 })
		a.stop()
		noFailures(t, a)
	})
}

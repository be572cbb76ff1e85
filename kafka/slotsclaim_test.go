package kafka

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
)

// A handler that finds itself fenced drops the lease; while the group still gives
// this process the slot, it claims anew after the delay. A second Drop with the
// old lease cannot hit the new claim.
func TestFencedSlotIsClaimedAnew(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		a.start(b.link("a"), 1)
		ownsAll(t, 3*time.Second, 1, a)
		old := a.slots.Owned()[0]
		st.edit(0, func(r *row) { r.epoch++ }) // a late claim of a process that was paused
		b.put(t, commandsTopic, 0, "one")
		begin := time.Now()
		within(t, 2*time.Second, "served again", func() bool { return len(a.owns()) == 1 && len(a.slots.Owned()) == 1 })
		if took := time.Since(begin); took < 600*time.Millisecond {
			t.Errorf("claimed again after %v, before the delay", took)
		}
		within(t, time.Second, "applied", func() bool { return len(st.view(0).applied) == 1 })
		a.slots.Drop(old, errTest)
		a.slots.Pause(old, commandsTopic)
		b.put(t, commandsTopic, 0, "two")
		within(t, time.Second, "applied", func() bool { return len(st.view(0).applied) == 2 })
		if len(a.seen().released) > 0 {
			t.Errorf("Release was called for a lease that the handler dropped: %v", a.seen().released)
		}
		if n := len(a.seen().claims); n != 2 {
			t.Errorf("claims %v, want two", a.seen().claims)
		}
		a.stop()
		noFailures(t, a)
	})
}

// A slot that is fenced between its claim and its service is claimed anew too.
func TestDropDuringTheClaim(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		first := true
		a.beforeClaim = func(_ context.Context, l Lease, _ int32, _ bool) error {
			if first {
				first = false
				a.slots.Drop(l, errTest)
				time.AfterFunc(time.Millisecond, func() { a.forget(0) })
			}
			return nil
		}
		a.start(b.link("a"), 1)
		within(t, 3*time.Second, "served by the second claim", func() bool { return len(a.slots.Owned()) == 1 })
		if a.seen().served[0] != 1 || len(a.seen().claims) != 2 || len(a.seen().released) != 0 {
			t.Errorf("served %d times, claims %v, released %v", a.seen().served[0], a.seen().claims, a.seen().released)
		}
		a.stop()
	})
}

// The claim carries the generation that gave the slot; one that is stored from a
// group that was made anew is overridden after Force, not before.
func TestStaleGenerationIsForced(t *testing.T) {
	rig(t, 2, func(t *testing.T, b *broker, st *store) {
		st.edit(0, func(r *row) { r.generation = 1000 })
		a := newHome(t, "a", st)
		a.start(b.link("a"), 2)
		within(t, 3*time.Second, "the other slot is served", func() bool { return slices.Equal(a.owns(), []int32{1}) })
		time.Sleep(55 * time.Second)
		if got := a.owns(); !slices.Equal(got, []int32{1}) {
			t.Fatalf("owns %v before the claim may be forced", got)
		}
		ownsAll(t, 10*time.Second, 2, a)
		if last := a.seen().claims[len(a.seen().claims)-1]; !strings.Contains(last, "force true") {
			t.Errorf("claims %v: the last was not forced", a.seen().claims)
		}
		a.stop()
		noFailures(t, a)
	})
}

// With a new generation a refused claim is tried again at once, without force.
func TestNewGenerationTriesARefusedClaimAgain(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		st.edit(0, func(r *row) { r.generation = 2 }) // the group's first is 1
		a := newHome(t, "a", st)
		a.start(b.link("a"), 1)
		time.Sleep(3 * time.Second)
		if len(a.owns()) != 0 {
			t.Fatalf("claimed with generation %d over 2", a.slots.Generation())
		}
		c := newHome(t, "c", st) // joins: a new generation, and the slot stays where it is
		c.start(b.link("c"), 1)
		ownsAll(t, 5*time.Second, 1, a, c)
		for _, claim := range slices.Concat(a.seen().claims, c.seen().claims) {
			if strings.Contains(claim, "force true") {
				t.Errorf("forced: %s", claim)
			}
		}
		c.stop()
		a.stop()
	})
}

// A process that stood still between its assignment and its claim claims late,
// with the generation that gave it the slot: its successor outranks it.
func TestLateClaimDoesNotFenceTheOwner(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a, c := newHome(t, "a", st), newHome(t, "c", st)
		link := b.link("a")
		wake := make(chan struct{})
		late := make(chan int32, 1)
		a.beforeClaim = func(_ context.Context, _ Lease, gen int32, _ bool) error {
			<-wake
			select {
			case late <- gen:
			default:
			}
			return nil
		}
		a.start(link, 1)
		within(t, 3*time.Second, "a is assigned", func() bool { return a.slots.Generation() > 0 })
		link.hold()
		c.start(b.link("c"), 1)
		ownsAll(t, 15*time.Second, 1, c)
		epoch := st.view(0).epoch
		close(wake)
		gen := <-late
		time.Sleep(time.Second)
		if gen >= c.slots.Generation() {
			t.Errorf("the late claim came with generation %d, the owner's is %d", gen, c.slots.Generation())
		}
		if r := st.view(0); r.epoch != epoch || r.owner != "c" {
			t.Errorf("a late claim took the slot: %+v", r)
		}
		link.cut()
		a.slots.Crash()
		c.stop()
		noFailures(t, a, c)
	})
}

// Slots are claimed at the same time: a slow store delays the start once, not
// once for each slot.
func TestClaimsRunConcurrently(t *testing.T) {
	rig(t, 16, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		a.beforeClaim = func(context.Context, Lease, int32, bool) error { time.Sleep(time.Second); return nil }
		a.start(b.link("a"), 16)
		if took := ownsAll(t, 20*time.Second, 16, a); took > 2*time.Second {
			t.Errorf("16 claims of a second took %v", took)
		}
		if n := len(a.slots.Owned()); n != 16 {
			t.Errorf("Owned has %d leases", n)
		}
		a.stop()
	})
}

func TestFailedClaimIsRetried(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		tries := 0
		a.beforeClaim = func(context.Context, Lease, int32, bool) error {
			if tries++; tries < 6 {
				return errTest
			}
			return nil
		}
		a.start(b.link("a"), 1)
		ownsAll(t, 10*time.Second, 1, a)
		a.stop()
		noFailures(t, a)
		if len(a.seen().released) != 1 {
			t.Errorf("released %v, want the one lease that was claimed", a.seen().released)
		}
	})
}

// A claim whose listing fails was taken in the store: it is released and tried again.
func TestClaimIsReleasedWhenTheLogCannotBeListed(t *testing.T) {
	rig(t, 1, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		b.Fault(kfake.Fault{Keys: nil, Topic: commandsTopic, Err: kerr.PolicyViolation, Count: 1})
		a.start(b.link("a"), 1)
		ownsAll(t, 10*time.Second, 1, a)
		if n := len(a.seen().claims); n < 2 || len(a.seen().released) != n-1 || a.seen().released[0] != "0 planned false" {
			t.Errorf("claims %v, released %v", a.seen().claims, a.seen().released)
		}
		a.stop()
		noFailures(t, a)
	})
}

// A revocation during a claim ends the claim, and waits for its end.
func TestStopDuringAClaim(t *testing.T) {
	rig(t, 2, func(t *testing.T, b *broker, st *store) {
		a := newHome(t, "a", st)
		ended := 0
		a.beforeClaim = func(ctx context.Context, l Lease, _ int32, _ bool) error {
			<-ctx.Done()
			if l.Slot == 0 {
				a.mu.Lock()
				ended++
				a.mu.Unlock()
				return ctx.Err()
			}
			return nil // this one is claimed although it is no longer wanted
		}
		a.start(b.link("a"), 2)
		time.Sleep(3 * time.Second)
		a.stop()
		if ended != 1 || a.seen().held != 0 || !slices.Equal(a.seen().released, []string{"1 planned false"}) {
			t.Errorf("claims ended %d, held %v, released %v", ended, a.seen().held, a.seen().released)
		}
		if a.seen().served[0]+a.seen().served[1] != 0 {
			t.Error("a slot was served after its claim was ended")
		}
	})
}

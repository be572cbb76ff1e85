package kafka

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"maru"
)

// member is one process of a churn: a home, or none while it is away.
type member struct {
	*home
	link *link
	held bool
}

// Under churn of four homes, each slot has one owner for both of its topics at
// any time (by the store's fence), and every record is applied once, in order.
// Sticky assignment of two topics would part them at the first leave.
func TestOneOwnerUnderChurn(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rig(t, 6, func(t *testing.T, b *broker, st *store) { churn(t, b, st, seed) })
		})
	}
}

func churn(t *testing.T, b *broker, st *store, seed uint64) {
	const partitions = 6
	rng := rand.New(rand.NewPCG(seed, 7))
	var all []*home
	members := make([]*member, 4)
	started := 0
	start := func(i int) {
		started++
		h := newHome(t, fmt.Sprintf("%d-%d", i, started), st)
		m := &member{home: h, link: b.link(h.name)}
		m.start(m.link, partitions)
		members[i], all = m, append(all, h)
	}
	start(0)
	p := b.producer(t)
	defer p.Close()
	sent, crashes, holds := 0, 0, 0
	disturb := func(i int) {
		switch m := members[i]; {
		case m == nil:
			start(i)
		case m.held:
			m.link.resume()
			m.held = false
		case rng.IntN(3) == 0:
			holds++
			m.held = true
			m.link.hold()
		case rng.IntN(2) == 0:
			crashes++
			m.link.cut()
			m.slots.Crash()
			members[i] = nil
		default:
			m.stop()
			members[i] = nil
		}
	}
	for step := range 120 {
		for n := range int32(partitions) {
			for _, topic := range []string{commandsTopic, loginTopic} {
				p.Produce(maru.LogRecord{Topic: topic, Partition: n, Value: []byte(strconv.Itoa(sent))}, nil)
			}
		}
		sent++
		if step%4 == 0 {
			disturb(rng.IntN(len(members)))
		}
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		oneOwner(t, members)
	}
	for i, m := range members {
		if m == nil {
			start(i)
		} else if m.held {
			m.link.resume()
		}
	}
	if crashes < 2 || holds < 2 {
		t.Fatalf("only %d crashes and %d pauses: the test tests nothing", crashes, holds)
	}
	within(t, 90*time.Second, "everything is applied", func() bool {
		for n := range int32(partitions) {
			if r := st.view(n); len(r.applied) < sent || r.login < int64(sent) {
				return false
			}
		}
		return true
	})
	for _, m := range members {
		m.stop()
	}
	eachOnce(t, st, all, sent, partitions)
	noFailures(t, all...)
	t.Logf("%d homes, %d crashes, %d pauses, %d records", started, crashes, holds, 2*sent*partitions)
}

func oneOwner(t *testing.T, members []*member) {
	t.Helper()
	var owned []int32
	for _, m := range members {
		if m != nil {
			owned = append(owned, m.owns()...)
		}
	}
	slices.Sort(owned)
	if len(slices.Compact(slices.Clone(owned))) != len(owned) {
		t.Errorf("slots with two owners: %v", owned)
	}
}

// eachOnce checks that every slot applied every command and handed on every login
// once, commands in order.
func eachOnce(t *testing.T, st *store, all []*home, sent, partitions int) {
	t.Helper()
	logins := map[string]int{}
	for _, h := range all {
		for _, v := range h.loginsSeen() {
			logins[v]++
		}
	}
	for i := range sent {
		v := strconv.Itoa(i)
		if logins[v] != partitions {
			t.Errorf("login %d was handed on %d times, want once for each of %d slots", i, logins[v], partitions)
		}
		for n := range int32(partitions) {
			if st.view(n).applied[i] != v {
				t.Fatalf("slot %d applied %v", n, st.view(n).applied)
			}
		}
	}
}

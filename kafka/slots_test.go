package kafka

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTwoHomesShareSlotsAndHandThemOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		b.topics(t, testLayout(4, 1))
		st := newStore()
		for p := range int32(4) {
			b.put(t, commandsTopic, p, "one", "two")
			b.put(t, loginTopic, p, "login")
		}
		a := newHome(t, "a", st)
		a.start(b.link("a"), 4)
		t.Log("first home owns all after", within(t, 2*time.Second, "a owns all", func() bool { return len(a.owns()) == 4 }))
		within(t, time.Second, "a applied what was there", func() bool { return len(st.view(3).applied) == 2 && len(a.loginsSeen()) == 4 })

		c := newHome(t, "c", st)
		c.start(b.link("c"), 4)
		t.Log("scale-out took", within(t, 3*time.Second, "two and two", func() bool { return len(a.owns()) == 2 && len(c.owns()) == 2 }))
		moved := c.owns()[0]
		b.put(t, commandsTopic, moved, "three")
		within(t, time.Second, "the new owner applies", func() bool { return len(st.view(moved).applied) == 3 })

		begin := time.Now()
		a.stop()
		within(t, 2*time.Second, "c owns all", func() bool { return len(c.owns()) == 4 })
		t.Log("planned stop took", time.Since(begin))
		c.stop()
		if n := len(c.held) + len(a.held); n != 0 {
			t.Errorf("%d slots are still held after the stop", n)
		}
		if len(a.failures())+len(c.failures()) > 0 {
			t.Error("fatal errors:", a.failures(), c.failures())
		}
	})
}

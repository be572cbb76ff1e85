//go:build synctests

package testcluster

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"maru"
)

// Homes come and go in every way there is, and whoever looks finds no user twice.
// The looking is the observer's, every 150 ms; what it finds wrong Check returns.
func TestOneHomePerUserUnderChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{Homes: 4, Gateways: 2, Partitions: 12, MaxResident: 1 << 20})
		people, ids := crowd(c, 12)
		wait := live(c, people, ids, 60)
		for round := range 6 {
			name := fmt.Sprintf("home%d", 1+round%4)
			switch round % 3 {
			case 0:
				c.Process(name).Crash()
			case 1:
				c.Process(name).Stop()
			case 2:
				c.Process(name).PauseFor(9 * time.Second)
			}
			time.Sleep(3 * time.Second)
			if c.find(name) == nil {
				c.StartHome(name)
			}
			time.Sleep(2 * time.Second)
		}
		wait()
		c.MustHold()
		c.watch.close()
		if c.watch.looks < 100 || c.watch.met < 500 {
			t.Errorf("the observer looked %d times and met %d users: too little to say anything", c.watch.looks, c.watch.met)
		}
	})
}

// How long users wait while their slot changes hands, by what the group and the
// engine need: in virtual time computing costs nothing.
func TestHandOverTimes(t *testing.T) {
	cases := []struct {
		name  string
		limit time.Duration
		event func(*Cluster)
	}{
		{"planned stop", 300 * time.Millisecond, func(c *Cluster) { c.Process("home1").Stop() }},
		{"scale-out", 500 * time.Millisecond, func(c *Cluster) { c.StartHome("home3") }},
		{"crash", 7 * time.Second, func(c *Cluster) { c.Process("home1").Crash() }},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := Start(t, Options{Homes: 2, Partitions: 6})
				time.Sleep(3 * time.Second) // both homes have their share
				worst := c.probe(func() { tc.event(c) })
				t.Logf("worst wait %v", worst)
				if worst > tc.limit {
					t.Errorf("%s: somebody waited %v, at most %v is wanted", tc.name, worst, tc.limit)
				}
				c.MustHold()
			})
		})
	}
}

// probe asks for one user of every slot again and again while the event happens,
// and returns the longest that anybody waited for an answer.
func (c *Cluster) probe(event func()) time.Duration {
	var people []*Person
	for slot := range c.layout.partitions {
		p := c.NewPerson(c.idsIn(slot, 0))
		p.Register()
		p.Login()
		people = append(people, p)
	}
	var worst atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, p := range people {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				start := time.Now()
				p.CheckMe()
				worst.Store(max(worst.Load(), int64(time.Since(start))))
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	event()
	time.Sleep(9 * time.Second)
	close(stop)
	wg.Wait()
	return time.Duration(worst.Load())
}

// idsIn returns the nth of the user ids of a slot.
func (c *Cluster) idsIn(slot int32, n int) string {
	for i := 0; ; i++ {
		id := fmt.Sprintf("probe%d", i)
		if maru.SlotOf(id, c.layout.partitions) != slot {
			continue
		}
		if n == 0 {
			return id
		}
		n--
	}
}

// The log of deliveries is lost and made anew under a gateway that reads it. The
// gateway cannot know what it has missed: it starts over under a new name, and
// serves again.
func TestAGatewayLosesItsPlaceInDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{})
		p := c.NewPerson("ann")
		p.Register()
		p.Login()
		c.Recreate("delivery", 64)
		begin := time.Now()
		p.SetStatus("still here")
		if waited := time.Since(begin); waited > 30*time.Second {
			t.Errorf("no gateway for %v", waited)
		}
		p.CheckMe()
		for _, s := range c.told {
			t.Error(s)
		}
	})
}

// Somebody deletes the topic that other programs read answers from. It is made again
// by itself, and checkpoints, which wait for every output, go on.
func TestTheAnswersTopicIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{})
		p := c.NewPerson("ann")
		p.Register()
		c.Delete("login-response")
		p.Login()
		f := &findings{}
		if !c.quiesce(f) {
			t.Errorf("no checkpoint any more: %v", f.list)
		}
	})
}

//go:build synctests

package testcluster

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd registers n people and returns them; everyone's random choices follow from
// the cluster's seed.
func crowd(c *Cluster, n int) (people []*Person, ids []string) {
	for i := range n {
		p := c.NewPerson(fmt.Sprintf("user%02d", i))
		people, ids = append(people, p), append(ids, p.ID)
	}
	var wg sync.WaitGroup
	for _, p := range people {
		wg.Go(func() { p.Register(); p.Login() })
	}
	wg.Wait()
	return people, ids
}

// live lets everybody do n things at once, while the test does something else.
func live(c *Cluster, people []*Person, ids []string, n int) (wait func()) {
	var wg sync.WaitGroup
	for i, p := range people {
		r := rand.New(rand.NewPCG(c.opt.Seed, uint64(i+1)))
		var others []string
		for _, id := range ids {
			if id != p.ID {
				others = append(others, id)
			}
		}
		wg.Go(func() { p.Live(n, others, r.IntN) })
	}
	return wg.Wait
}

func TestAQuietDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{Gateways: 2, Homes: 2})
		people, ids := crowd(c, 6)
		live(c, people, ids, 20)()
		c.MustHold()
	})
}

func TestAHomeCrashesAndAnotherTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{Gateways: 1, Homes: 2})
		people, ids := crowd(c, 6)
		wait := live(c, people, ids, 20)
		time.Sleep(100 * time.Millisecond)
		c.Process("home1").Crash()
		time.Sleep(10 * time.Second)
		c.StartHome("home1")
		wait()
		c.MustHold()
	})
}

func TestAHomeStopsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{Homes: 2})
		people, ids := crowd(c, 6)
		wait := live(c, people, ids, 20)
		time.Sleep(50 * time.Millisecond)
		c.Process("home1").Stop()
		time.Sleep(time.Second)
		c.StartHome("home3")
		wait()
		c.MustHold()
	})
}

func TestAZombieWakesUpToASlotThatHasMovedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{Homes: 2})
		people, ids := crowd(c, 6)
		wait := live(c, people, ids, 30)
		time.Sleep(50 * time.Millisecond)
		c.Process("home1").PauseFor(12 * time.Second)
		wait()
		c.MustHold()
	})
}

func TestAHomeIsCutOffAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{Homes: 2})
		people, ids := crowd(c, 6)
		wait := live(c, people, ids, 30)
		time.Sleep(50 * time.Millisecond)
		c.Process("home2").Cut()
		time.Sleep(15 * time.Second)
		c.Process("home2").Heal()
		wait()
		c.MustHold()
	})
}

func TestSQLIsDownForTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{Homes: 2})
		people, ids := crowd(c, 6)
		wait := live(c, people, ids, 30)
		for _, name := range []string{"home1", "home2"} {
			c.Process(name).CutSQL()
		}
		time.Sleep(10 * time.Second)
		for _, name := range []string{"home1", "home2"} {
			c.Process(name).Heal()
		}
		wait()
		c.MustHold()
	})
}

func TestCommitsOfUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{Homes: 1})
		people, ids := crowd(c, 6)
		wait := live(c, people, ids, 30)
		for range 5 {
			c.Process("home1").UnknownCommits(2)
			time.Sleep(700 * time.Millisecond)
		}
		wait()
		c.MustHold()
	})
}

func TestAGatewayDiesWhileItsClientsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{Gateways: 2, Homes: 1})
		people, ids := crowd(c, 6)
		wait := live(c, people, ids, 30)
		time.Sleep(30 * time.Millisecond)
		c.Process("gate1").Crash()
		time.Sleep(2 * time.Second)
		c.StartGateway("gate1")
		wait()
		c.MustHold()
	})
}

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

// story starts a cluster, lets six people live, and meanwhile has happen what is
// told; at the end everything must hold.
func story(t *testing.T, o Options, told func(c *Cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, o)
		people, ids := crowd(c, 6)
		wait := live(c, people, ids, 25)
		time.Sleep(time.Second)
		told(c)
		wait()
		c.MustHold()
	})
}

func TestAQuietDay(t *testing.T) {
	story(t, Options{Gateways: 2, Homes: 2}, func(*Cluster) {})
}

func TestAHomeCrashesAndAnotherTakesOver(t *testing.T) {
	story(t, Options{Homes: 2}, func(c *Cluster) {
		c.Process("home1").Crash()
		time.Sleep(10 * time.Second)
		c.StartHome("home1")
	})
}

func TestTheOnlyHomeCrashesAndStartsAgain(t *testing.T) {
	story(t, Options{Homes: 1}, func(c *Cluster) {
		for range 3 {
			c.Process("home1").Crash()
			c.StartHome("home1")
			time.Sleep(2 * time.Second)
		}
	})
}

func TestAHomeStopsInOrder(t *testing.T) {
	story(t, Options{Homes: 2}, func(c *Cluster) {
		c.Process("home1").Stop()
		time.Sleep(time.Second)
		c.StartHome("home3")
	})
}

func TestAZombieWakesUpToSlotsThatHaveMovedOn(t *testing.T) {
	story(t, Options{Homes: 2}, func(c *Cluster) {
		c.Process("home1").PauseFor(12 * time.Second)
	})
}

func TestAHomeIsCutOffAndComesBack(t *testing.T) {
	story(t, Options{Homes: 2}, func(c *Cluster) {
		c.Process("home2").Cut()
		time.Sleep(15 * time.Second)
		c.Process("home2").Heal()
	})
}

func TestSQLIsDownForTenSeconds(t *testing.T) {
	story(t, Options{Homes: 2}, func(c *Cluster) {
		for _, name := range []string{"home1", "home2"} {
			c.Process(name).CutSQL()
		}
		time.Sleep(10 * time.Second)
		for _, name := range []string{"home1", "home2"} {
			c.Process(name).Heal()
		}
	})
}

func TestCommitsOfUnknownOutcome(t *testing.T) {
	story(t, Options{Homes: 1}, func(c *Cluster) {
		for range 5 {
			c.Process("home1").UnknownCommits(2)
			time.Sleep(700 * time.Millisecond)
		}
	})
}

func TestAGatewayDiesWhileItsClientsWait(t *testing.T) {
	story(t, Options{Gateways: 2}, func(c *Cluster) {
		c.Process("gate1").Crash()
		time.Sleep(2 * time.Second)
		c.StartGateway("gate1")
	})
}

func TestAHomeDiesAtEachStep(t *testing.T) {
	for _, point := range []string{"before-load", "before-apply", "before-checkpoint"} {
		t.Run(point, func(t *testing.T) {
			story(t, Options{Homes: 2}, func(c *Cluster) {
				for range 3 {
					p := c.Process("home1")
					reached, release := p.HoldAt(point)
					<-reached
					p.Crash()
					release()
					time.Sleep(7 * time.Second)
					c.StartHome("home1")
				}
			})
		})
	}
}

//go:build synctests

package testcluster

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds = flag.Int("seeds", 20, "how many seeds TestChaos runs")
	seed  = flag.Uint64("seed", 0, "run TestChaos with this seed only")
)

// TestChaos lets people live while processes crash, stop, pause, are cut off and
// lose their database, at random. The seed fixes the plan of faults and what
// people do, not the scheduling of goroutines.
func TestChaos(t *testing.T) {
	first, n := rand.Uint64(), *seeds
	if *seed != 0 {
		first, n = *seed, 1
	} else if testing.Short() {
		n = 3
	}
	for i := range n {
		s := first + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { chaos(t, Options{Gateways: 2, Homes: 3, Seed: s}, 40, 12) })
		})
	}
}

// chaos runs one plan: everybody does things, and meanwhile faults happen.
func chaos(t *testing.T, o Options, things, faults int) *Cluster {
	c := Start(t, o)
	people, ids := crowd(c, 8)
	wait := live(c, people, ids, things)
	for range faults {
		time.Sleep(time.Duration(c.Rand.IntN(2000)) * time.Millisecond)
		c.fault()
	}
	c.mend()
	wait()
	c.MustHold()
	return c
}

// fault does one random thing to one random process.
func (c *Cluster) fault() {
	home := fmt.Sprintf("home%d", 1+c.Rand.IntN(c.opt.Homes))
	p := c.find(home)
	if p == nil {
		c.StartHome(home)
		return
	}
	length := time.Duration(200+c.Rand.IntN(12_000)) * time.Millisecond
	switch c.Rand.IntN(8) {
	case 0:
		p.Crash()
	case 1:
		p.Stop()
	case 2, 3:
		c.ending.Go(func() { p.PauseFor(length) })
	case 4:
		p.Cut()
		c.ending.Go(func() { time.Sleep(length); p.Heal() })
	case 5:
		p.CutSQL()
		c.ending.Go(func() { time.Sleep(length); p.Heal() })
	case 6:
		p.UnknownCommits(1 + c.Rand.IntN(3))
	case 7:
		gate := fmt.Sprintf("gate%d", 1+c.Rand.IntN(c.opt.Gateways))
		if g := c.find(gate); g != nil {
			g.Crash()
		} else {
			c.StartGateway(gate)
		}
	}
}

// mend ends all faults and starts what does not run.
func (c *Cluster) mend() {
	for i := range c.opt.Homes {
		c.mendOne(fmt.Sprintf("home%d", i+1), c.StartHome)
	}
	for i := range c.opt.Gateways {
		c.mendOne(fmt.Sprintf("gate%d", i+1), c.StartGateway)
	}
}

func (c *Cluster) mendOne(name string, start func(string) *Process) {
	if p := c.find(name); p != nil {
		p.Resume()
		p.Heal()
	} else {
		start(name)
	}
}

func (c *Cluster) find(name string) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.processes[name]
}

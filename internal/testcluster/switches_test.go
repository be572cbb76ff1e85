//go:build synctests && faultswitch

package testcluster

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"maru"
	"maru/home"
	"maru/internal/faultswitch"
	"maru/node"
	"maru/record"
)

// A checker that has never failed is not to be trusted. Each test here turns one
// step of the engine off and wants the checker to notice; then it runs the same
// story with the step on and wants it to hold.

// bothWays runs a story with a step off, which must be noticed within the given
// number of tries, and with everything on, which must hold.
func bothWays(t *testing.T, step faultswitch.Step, tries int, story func(t *testing.T, off *faultswitch.Set) []string) {
	t.Run("off", func(t *testing.T) {
		for range tries {
			var found []string
			synctest.Test(t, func(t *testing.T) { found = story(t, faultswitch.New(step)) })
			if len(found) > 0 {
				t.Logf("noticed: %.300s", found[0])
				return
			}
		}
		t.Errorf("%s is off, and the checker noticed nothing in %d tries", step, tries)
	})
	t.Run("on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for _, s := range story(t, nil) {
				t.Error(s)
			}
		})
	})
}

func everywhere(off *faultswitch.Set) map[string]*faultswitch.Set {
	return map[string]*faultswitch.Set{"*": off}
}

// busy is a story in which homes crash, pause and are cut off while people live.
func busy(resident int) func(*testing.T, *faultswitch.Set) []string {
	return func(t *testing.T, off *faultswitch.Set) []string {
		c := Start(t, Options{Gateways: 2, Homes: 3, Off: everywhere(off), MaxResident: resident})
		people, ids := crowd(c, 8)
		wait := live(c, people, ids, 30)
		for range 4 {
			time.Sleep(300 * time.Millisecond)
			c.Process("home1").Crash()
			time.Sleep(300 * time.Millisecond)
			c.StartHome("home1")
			c.Process("home2").PauseFor(8 * time.Second)
			c.Process("home3").Cut()
			time.Sleep(9 * time.Second)
			c.Process("home3").Heal()
		}
		wait()
		return c.Check()
	}
}

func TestWithoutTheCommandWindow(t *testing.T) {
	bothWays(t, faultswitch.CommandWindow, 5, busy(6000))
}

func TestWithoutTheWindowInTheRow(t *testing.T) {
	bothWays(t, faultswitch.WindowInRow, 3, busy(1))
}

func TestWithoutTheInbox(t *testing.T) { bothWays(t, faultswitch.Inbox, 5, busy(6000)) }

func TestEvictingWhatACheckpointIsWriting(t *testing.T) {
	bothWays(t, faultswitch.FrozenStay, 3, busy(1))
}

func TestStateAheadOfItsOffset(t *testing.T) {
	bothWays(t, faultswitch.StateWithOffset, 5, busy(6000))
}

func TestOneHomeAppliesByOtherRules(t *testing.T) {
	bothWays(t, faultswitch.OneApply, 3, func(t *testing.T, off *faultswitch.Set) []string {
		c := Start(t, Options{Homes: 2, Off: map[string]*faultswitch.Set{"home2": off}})
		people, ids := crowd(c, 6)
		live(c, people, ids, 20)()
		return c.Check()
	})
}

// A home applies a command, its outputs do not get out, and it dies after the
// next checkpoint would have been written.
func TestACheckpointThatDoesNotWaitForItsOutputs(t *testing.T) {
	bothWays(t, faultswitch.AwaitAcks, 1, func(t *testing.T, off *faultswitch.Set) []string {
		c := Start(t, Options{Homes: 1, Off: everywhere(off)})
		a, b := c.NewPerson("ann"), c.NewPerson("bob")
		a.Register()
		a.Login()
		b.Register()
		p := c.Process("home1")
		reached, release := p.HoldAt("before-apply")
		var wg sync.WaitGroup
		wg.Go(func() { a.Add("bob", "") })
		<-reached
		p.CutNetwork()
		release()
		time.Sleep(time.Second)
		p.Crash()
		c.StartHome("home2")
		wg.Wait()
		return c.Check()
	})
}

// Six people of one slot add friends of another at the same moment, and Kafka
// refuses the first of the commands between the two for good. The others get there
// before the home notices.
func refusal(t *testing.T, off *faultswitch.Set) []string {
	var log *faultyLog
	c := Start(t, Options{Homes: 1, Off: everywhere(off), MaxResident: 1 << 20, Tune: func(_ *Process, cfg *node.Config) {
		cfg.Seams.WrapLog = func(l home.Log) home.Log { log = &faultyLog{Log: l}; return log }
	}})
	var wg sync.WaitGroup
	var here, there []*Person
	for i := range 6 {
		p, q := c.NewPerson(c.idsIn(0, i)), c.NewPerson(c.idsIn(1, i))
		here, there = append(here, p), append(there, q)
		wg.Go(func() { p.Register(); p.Login(); q.Register() })
	}
	wg.Wait()
	time.Sleep(time.Second)
	var refused atomic.Bool
	log.set(func(r *maru.LogRecord) bool {
		cmd, err := record.ParseCommand(r.Value)
		return err == nil && cmd.Kind == record.FriendAdded && !refused.Swap(true)
	}, nil)
	for i, p := range here {
		wg.Go(func() { p.Add(there[i].ID, "") })
	}
	wg.Wait()
	if !refused.Load() {
		t.Error("nothing was refused: the story tells nothing")
	}
	return c.Check()
}

func TestARefusedOutputIsOverlooked(t *testing.T) {
	bothWays(t, faultswitch.FailedAcks, 2, refusal)
}

func TestAHighWaterMarkInsteadOfADenseInbox(t *testing.T) {
	bothWays(t, faultswitch.DenseInbox, 3, refusal)
}

func TestARecordOfTheLogIsLostOnTheWay(t *testing.T) {
	bothWays(t, faultswitch.ContiguousOffset, 2, func(t *testing.T, off *faultswitch.Set) []string {
		c := Start(t, Options{Homes: 1, Off: everywhere(off), Tune: func(p *Process, cfg *node.Config) {
			cfg.Seams.Fetch = dropOnce("commands", 15)
		}})
		people, ids := crowd(c, 6)
		live(c, people, ids, 15)()
		return c.Check()
	})
}

// A request of another program is read, and the home dies before its answer is
// in the log.
func TestALoginRequestThatCountsAsDoneWhenRead(t *testing.T) {
	bothWays(t, faultswitch.LoginPosition, 1, func(t *testing.T, off *faultswitch.Set) []string {
		logs := map[string]*faultyLog{}
		c := Start(t, Options{Homes: 1, Off: everywhere(off), Tune: func(p *Process, cfg *node.Config) {
			cfg.Seams.WrapLog = func(l home.Log) home.Log { logs[p.Name] = &faultyLog{Log: l}; return logs[p.Name] }
		}})
		a := c.NewPerson("ann")
		a.Register()
		logs["home1"].set(nil, func(r *maru.LogRecord) bool { return strings.Contains(string(r.Value), string(record.LoginChecked)) })
		c.Produce("login-request", "ann", `{"userId":"ann","userPw":"password of ann"}`)
		time.Sleep(time.Second)
		a.Do("GET", "/api/users/ann", nil) // 401: only moves the log on, so that a checkpoint is written
		time.Sleep(time.Second)
		c.Process("home1").Crash()
		c.StartHome("home2")
		time.Sleep(10 * time.Second)
		return c.Check()
	})
}

// A zombie loads a user whose row its successor has changed, and answers an old
// question from it.
func TestALoadThatDoesNotCheckTheEpoch(t *testing.T) {
	story := func(t *testing.T, fenced bool) []string {
		c := Start(t, Options{Homes: 1, MaxResident: 1, Tune: func(p *Process, cfg *node.Config) {
			if !fenced {
				cfg.Seams.WrapStore = func(s home.Store) home.Store { return unfencedLoads{s, p.c} }
			}
		}})
		a := c.NewPerson("ann")
		a.Register()
		a.Login()
		time.Sleep(time.Second)
		p := c.Process("home1")
		reached, release := p.HoldAt("before-load")
		var wg sync.WaitGroup
		wg.Go(a.CheckMe)
		<-reached
		p.Pause()
		c.StartHome("home2")
		wg.Wait()
		a.SetStatus("new")
		time.Sleep(time.Second)
		release()
		p.Resume()
		time.Sleep(time.Second)
		return c.Check()
	}
	t.Run("off", func(t *testing.T) {
		for range 10 { // most often the zombie hears that it was expelled first
			var found []string
			synctest.Test(t, func(t *testing.T) { found = story(t, false) })
			if len(found) > 0 {
				t.Logf("noticed: %.300s", found[0])
				return
			}
		}
		t.Error("loads are not fenced, and the checker noticed nothing")
	})
	t.Run("on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for _, s := range story(t, true) {
				t.Error(s)
			}
		})
	})
}

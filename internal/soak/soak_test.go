package soak

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"maru"
	"maru/home"
)

// chaos does things to the processes of a cluster, one after the other, so that
// several are in trouble at a time. It belongs to the test's goroutine.
type chaos struct {
	c       *cluster
	rand    *rand.Rand
	trouble map[string]trouble // by the name of what has it
	counts  map[string]int
	starts  []time.Duration // of processes of maru, in the middle of it all
	zombies int             // homes that were paused for longer than a session and went on
}

// trouble is what a process has until a time, and how it gets out of it.
type trouble struct {
	until time.Time
	mend  func()
}

// strike does something to a process of maru. Pauses that outlast the session of
// 6 s make zombies: others have the slots when the process wakes up.
func (x *chaos) strike(m *machine) {
	isHome := strings.HasPrefix(m.name, "home")
	switch k := x.rand.IntN(10); {
	case k < 3:
		x.note(m.name, "SIGKILL", x.below(3), func() { x.starts = append(x.starts, m.start()) })
		m.kill()
	case k < 5:
		x.note(m.name, "SIGTERM", x.below(3), func() { x.starts = append(x.starts, m.start()) })
		m.terminate()
	case k < 7 || !isHome:
		x.note(m.name, "short SIGSTOP", x.below(3), func() { m.signal(syscall.SIGCONT) })
		m.signal(syscall.SIGSTOP)
	default:
		x.note(m.name, "long SIGSTOP", 7*time.Second+x.below(3), func() { m.signal(syscall.SIGCONT); x.zombies++ })
		m.signal(syscall.SIGSTOP)
	}
}

// wakeBelow ends the pause that a failure left behind.
func (x *chaos) wakeBelow() {
	for _, who := range []string{"broker", "database"} {
		if t, ok := x.trouble[who]; ok {
			delete(x.trouble, who)
			t.mend()
		}
	}
}

// strikeBelow does something to what maru stands on: one of the three brokers, of
// which two are enough, or the database.
func (x *chaos) strikeBelow() {
	b, db, n := x.c.broker, x.c.db, 1+x.rand.IntN(3)
	switch x.rand.IntN(4) {
	case 0:
		x.note("broker", "SIGKILL", x.below(3), func() { x.must(b.Start(x.c.t.Context(), n)) })
		x.must(b.Kill(n))
	case 1:
		x.note("broker", "SIGSTOP", x.below(3), func() { x.must(b.Resume(n)) })
		x.must(b.Pause(n))
	case 2:
		x.note("database", "restart", 0, func() {})
		x.must(db.RestartImmediate(x.c.t.Context()))
	case 3:
		x.note("database", "SIGSTOP", x.below(2), func() { x.must(db.Resume()) })
		x.must(db.Pause())
	}
}

func (x *chaos) must(err error) {
	if err != nil {
		x.c.t.Fatal(err)
	}
}

func (x *chaos) below(seconds int) time.Duration {
	return time.Duration(x.rand.Int64N(int64(seconds) * int64(time.Second)))
}

func (x *chaos) note(who, what string, length time.Duration, mend func()) {
	x.counts[strings.TrimRight(who, "123")+" "+what]++
	x.trouble[who] = trouble{time.Now().Add(length), mend}
}

// mend ends what is due, or all; first what the others stand on (whose names happen
// to come first): a process of maru that is started while the database stands still
// would not get ready, and nobody would wake the database meanwhile.
func (x *chaos) mend(all bool) {
	for _, who := range slices.Sorted(maps.Keys(x.trouble)) {
		below := who == "broker" || who == "database"
		if !below && x.troubleBelow() {
			continue
		}
		if t := x.trouble[who]; all || time.Now().After(t.until) {
			t.mend()
			delete(x.trouble, who)
		}
	}
}

// troubleBelow tells whether a broker or the database is in trouble.
func (x *chaos) troubleBelow() bool {
	_, broker := x.trouble["broker"]
	_, database := x.trouble["database"]
	return broker || database
}

// run makes trouble for a while, and ends it.
func (x *chaos) run(length time.Duration) {
	processes := slices.Concat(x.c.homes, x.c.gates)
	for began := time.Now(); time.Since(began) < length; {
		time.Sleep(200*time.Millisecond + x.below(1))
		x.mend(false)
		if x.troubleBelow() {
			continue
		}
		if k := x.rand.IntN(len(processes) + 2); k >= len(processes) {
			x.strikeBelow()
		} else if _, already := x.trouble[processes[k].name]; !already {
			x.strike(processes[k])
		}
	}
	x.mend(true)
}

// Whatever happens to the processes, every answer stays true: people register, log
// in, change what they say and make friends through two gateways and three homes
// that are killed, stopped and paused, and so are brokers and database. Afterwards the whole log is folded and
// compared with the database and with every record on the topics.
func TestSoak(t *testing.T) {
	c := newCluster(t, 2, 3)
	w := newTown(t, 10, c.urls()...)
	x := &chaos{c: c, rand: rand.New(rand.NewPCG(w.seed, 0)), trouble: map[string]trouble{}, counts: map[string]int{}}
	t.Cleanup(x.wakeBelow) // after a failure in the midst of it: what ends with the test could not end
	look := watch(t, c, w)
	w.live()
	x.run(*soakFor)
	time.Sleep(7 * time.Second) // whoever woke up last learns that it has lost its slots
	w.settle()
	look.close()
	c.awaitOwners(c.homes...)
	c.quiesce()
	c.mustHold(w)

	fenced, lost := 0, 0
	for _, h := range c.homes {
		log := h.log.Tail(1 << 20)
		fenced += strings.Count(log, maru.ErrFenced.Error())
		lost += strings.Count(log, "lost slots: the group expelled this member")
	}
	t.Logf("faults: %v", x.counts)
	t.Logf("%d zombies; %d times slots were lost to the group, %d times the database fenced an owner", x.zombies, lost, fenced)
	t.Logf("ready after: %s", percentiles(x.starts))
	t.Log(w.figures())
	t.Logf("residents were looked at %d times, %d users at most", look.looks, look.most)
	if x.zombies > 0 && fenced+lost == 0 {
		t.Errorf("%d zombies, and none was fenced", x.zombies)
	}
	if look.looks == 0 || look.most == 0 {
		t.Error("nobody saw a resident")
	}
}

// observer looks again and again at what the homes hold. Its fields are read after
// close.
type observer struct {
	c      *cluster
	w      *town
	cancel context.CancelFunc
	done   chan struct{}
	looks  int
	most   int
}

func watch(t *testing.T, c *cluster, w *town) *observer {
	ctx, cancel := context.WithCancel(t.Context())
	o := &observer{c: c, w: w, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		for ctx.Err() == nil {
			o.look(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(150 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(o.close)
	return o
}

func (o *observer) close() {
	o.cancel()
	<-o.done
}

// look checks that of every user there is at most one copy among homes whose claim
// of the slot is the newest, and that users are held by no other slot than their
// own. A process that does not answer holds nothing that anybody could see; without
// the database there is nothing to compare with.
func (o *observer) look(ctx context.Context) {
	held := make([][]home.Residents, len(o.c.homes))
	var asking sync.WaitGroup
	for i, h := range o.c.homes {
		asking.Go(func() {
			if r, err := h.residents(ctx); err == nil {
				held[i] = r
			}
		})
	}
	asking.Wait()
	rows, err := o.c.sql.Slots(ctx)
	if err != nil {
		return
	}
	newest := map[int32]int64{}
	for _, r := range rows {
		newest[r.Slot] = r.Epoch
	}
	holder := map[string]string{}
	for i, slots := range held {
		name := o.c.homes[i].name
		for _, s := range slots {
			for _, u := range s.Users {
				if maru.SlotOf(u, partitions) != s.Slot {
					o.w.tell("%s holds %s in slot %d", name, u, s.Slot)
				}
				if s.Epoch != newest[s.Slot] {
					continue
				}
				if other := holder[u]; other != "" {
					o.w.tell("%s and %s both hold %s under the newest epoch", other, name, u)
				}
				holder[u] = name
			}
		}
	}
	o.looks++
	o.most = max(o.most, len(holder))
}

package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
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
	trouble map[*machine]trouble
	counts  map[string]int
	zombies int // homes that were paused for longer than a session and went on
}

// trouble is what a process has until a time, and how it gets out of it.
type trouble struct {
	until time.Time
	mend  func()
}

// pauses that outlast the session of 6 s make zombies: others have the slots when
// the process wakes up.
func (x *chaos) strike(m *machine) {
	short := time.Duration(x.rand.IntN(3000)) * time.Millisecond
	long := 7*time.Second + time.Duration(x.rand.IntN(3000))*time.Millisecond
	isHome := strings.HasPrefix(m.name, "home")
	switch k := x.rand.IntN(10); {
	case k < 3:
		x.note(m, "SIGKILL", short, func() { m.start() })
		m.kill()
	case k < 5:
		x.note(m, "SIGTERM", short, func() { m.start() })
		m.terminate()
	case k < 7 || !isHome:
		x.note(m, "short SIGSTOP", short, func() { m.signal(syscall.SIGCONT) })
		m.signal(syscall.SIGSTOP)
	default:
		x.note(m, "long SIGSTOP", long, func() { m.signal(syscall.SIGCONT); x.zombies++ })
		m.signal(syscall.SIGSTOP)
	}
}

func (x *chaos) note(m *machine, what string, length time.Duration, mend func()) {
	x.counts[m.name[:4]+" "+what]++
	x.trouble[m] = trouble{time.Now().Add(length), mend}
}

// mend ends what is due, or all.
func (x *chaos) mend(all bool) {
	for m, trouble := range x.trouble {
		if all || time.Now().After(trouble.until) {
			trouble.mend()
			delete(x.trouble, m)
		}
	}
}

// run makes trouble for a while, and ends it.
func (x *chaos) run(length time.Duration) {
	processes := append(append([]*machine{}, x.c.homes...), x.c.gates...)
	for began := time.Now(); time.Since(began) < length; {
		time.Sleep(time.Duration(200+x.rand.IntN(1500)) * time.Millisecond)
		x.mend(false)
		if m := processes[x.rand.IntN(len(processes))]; x.trouble[m].mend == nil {
			x.strike(m)
		}
	}
	for len(x.trouble) > 0 {
		x.mend(true)
	}
}

// Whatever happens to the processes, every answer stays true: people register, log
// in, change what they say and make friends through two gateways and three homes
// that are killed, stopped and paused. Afterwards the whole log is folded and
// compared with the database and with every record on the topics.
func TestSoak(t *testing.T) {
	c := newCluster(t, 2, 3)
	w := newTown(t, 10, c.urls()...)
	x := &chaos{c: c, rand: rand.New(rand.NewPCG(w.seed, 0)), trouble: map[*machine]trouble{}, counts: map[string]int{}}
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
			if err := o.look(ctx); err != nil && ctx.Err() == nil {
				w.tell("residents: %v", err)
			}
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
// own. A process that does not answer holds nothing that anybody could see.
func (o *observer) look(ctx context.Context) error {
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
		return fmt.Errorf("slots: %w", err)
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
	return nil
}

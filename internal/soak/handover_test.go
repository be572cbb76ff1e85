package soak

import (
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// waited is how long one question took from its first try to its answer.
type waited struct {
	slot  int32
	began time.Time
	took  time.Duration
}

// probes ask for a user of every slot, each again 20 ms after the answer, through a
// gateway that nothing happens to. mu owns all; close ends them.
type probes struct {
	stop    chan struct{}
	running sync.WaitGroup
	mu      sync.Mutex
	all     []waited
}

// probe starts the probes as people of the town, who are registered for it.
func probe(w *town) *probes {
	p := &probes{stop: make(chan struct{})}
	for slot := range int32(partitions) {
		someone := w.newPerson(idInSlot("probe", slot), uint64(1000+slot))
		w.arrive(someone)
		p.running.Go(func() { p.ask(slot, someone) })
	}
	return p
}

func (p *probes) ask(slot int32, someone *person) {
	for {
		began := time.Now()
		if status, answer, ok := someone.do("GET", "/api/me", "", nil); ok && status != http.StatusOK {
			someone.town.tell("probe of slot %d: status %d: %s", slot, status, answer)
		}
		p.mu.Lock()
		p.all = append(p.all, waited{slot, began, time.Since(began)})
		p.mu.Unlock()
		select {
		case <-p.stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *probes) close() {
	close(p.stop)
	p.running.Wait()
}

// worst returns the longest wait of each slot among the questions that were open
// between two times.
func (p *probes) worst(from, to time.Time) map[int32]time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	worst := map[int32]time.Duration{}
	for _, a := range p.all {
		if a.began.Before(to) && a.began.Add(a.took).After(from) {
			worst[a.slot] = max(worst[a.slot], a.took)
		}
	}
	return worst
}

// event is a kind of hand-over and how long it may keep users waiting.
type event struct {
	goal  time.Duration
	limit time.Duration // where the test fails: other work may keep the machine busy
	moved []time.Duration
	other []time.Duration // the waits of users who stayed where they were
}

// Users whose home stops, crashes or hands slots to a new one wait no longer than
// promised; the others notice little.
func TestHandOver(t *testing.T) {
	c := newCluster(t, 1, 3)
	w := newTown(t, 4, c.urls()...)
	w.live()
	p := probe(w)
	const session = 6 * time.Second // default of --session
	stop := &event{goal: 300 * time.Millisecond, limit: 5 * 300 * time.Millisecond}
	scale := &event{goal: 500 * time.Millisecond, limit: 5 * 500 * time.Millisecond}
	crash := &event{goal: session + time.Second, limit: session + 4*time.Second}
	third := c.homes[2]
	fewer := c.homes[:2]
	for range *rounds {
		c.measure(p, stop, fewer, func() { third.terminate() })
		c.measure(p, scale, c.homes, func() { third.start() })
		c.measure(p, crash, fewer, func() { third.signal(syscall.SIGKILL) })
		<-third.life.Done()
		c.measure(p, scale, c.homes, func() { third.start() })
	}
	p.close()
	w.settle()
	c.quiesce()
	c.mustHold(w)
	t.Log(w.figures())
	for name, e := range map[string]*event{"planned stop": stop, "scale-out": scale, "crash": crash} {
		t.Logf("%s: moved users waited %s; goal %v", name, percentiles(e.moved), e.goal)
		t.Logf("%s: the others waited %s", name, percentiles(e.other))
		if len(e.moved) == 0 {
			t.Errorf("%s: no slot has moved", name)
		}
		if worst := longest(e.moved); worst > e.limit {
			t.Errorf("%s: a moved user waited %v, the goal is %v", name, worst, e.goal)
		}
	}
}

// measure makes something happen and notes how long the probe of each slot waited
// at worst until the slots were shared among the given homes, and a second more.
func (c *cluster) measure(p *probes, e *event, among []*machine, happen func()) {
	c.t.Helper()
	before, from := c.owners(), time.Now()
	happen()
	after := c.awaitOwners(among...)
	time.Sleep(time.Second) // for the questions that were open, and later effects
	for slot, took := range p.worst(from, time.Now()) {
		if before[slot] != after[slot] {
			e.moved = append(e.moved, took)
		} else {
			e.other = append(e.other, took)
		}
	}
}
